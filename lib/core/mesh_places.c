/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the map means for the replicas of this node: which begin by genesis (R3), which
 * are over (R2), what each works towards (N3), and the reports of plans that were
 * reached.
 */
#include "core/mesh_internal.h"
#include "core/mutant.h"
#include "core/registry_commands.h"

static uint64_t replica_here(const struct momi_core *core, uint32_t shard) {
    struct momi_shard_view view;
    return momi_core_shard_view(core, shard, MOMI_VIEW_PLAIN, &view) ? view.replica : 0;
}

/* In force, or to come by the plan under way. */
static bool is_wanted(const struct momi_shard_place *place, uint64_t replica) {
    if (momi_raft_config_find(&place->current, replica) != NULL) {
        return true;
    }
    for (uint32_t i = 0; !momi_place_is_settled(place) && i < place->plan.count; i++) {
        if (place->plan.at[i].replica == replica) {
            return true;
        }
    }
    return false;
}

/* R3: a listed node without any record of the shard starts empty, as long as the replica
 * is one that the shard counts on. */
static void begin_by_genesis(struct momi_core *core, uint32_t shard,
                             const struct momi_shard_place *place) {
    const struct momi_replica_at *at =
        momi_raft_config_on(&place->genesis, core->config.node);
    if (at == NULL) {
        return;
    }
    bool has_record =
        at->replica <= core->tombstones[shard] || !is_wanted(place, at->replica);
    if (!has_record || MUTANT(GENESIS_WITH_RECORD)) {
        momi_shard_found(core, shard, &place->genesis);
    }
}

/* R2: ids are given once and in rising order. One that was given, is not in force, and
 * not in the plan under way, will never be: its removal is committed. */
static bool is_over(const struct momi_registry *map, const struct momi_shard_place *place,
                    uint64_t replica) {
    return place->is_founded && replica < map->replica_next && !is_wanted(place, replica);
}

static void look_after(struct momi_core *core, const struct momi_registry *map,
                       uint32_t shard) {
    const struct momi_shard_place *place = &map->places[shard];
    struct momi_mesh_shard *known = &core->mesh->shards[shard];
    uint64_t replica = replica_here(core, shard);
    if (!place->is_founded) {
        return;
    }
    if (replica == 0) {
        begin_by_genesis(core, shard, place);
        replica = replica_here(core, shard);
    } else if (is_over(map, place, replica)) {
        momi_trace(core, "REPLICA_OVER", shard, replica, place->done_version);
        momi_shard_remove(core, shard, replica);
        replica = 0;
    }
    bool is_told =
        known->told_replica == replica && known->told_version == place->plan.version;
    if (replica != 0 && !is_told) {
        momi_shard_plan(core, shard, &place->plan);
        known->told_version = place->plan.version;
    }
    known->told_replica = replica;
}

/* Peers exist for all whom we may want to dial. */
static void know_members(struct momi_core *core, const struct momi_registry *map) {
    const struct momi_shard_place *place = &map->places[MOMI_REGISTRY_SHARD];
    for (uint32_t i = 0; i < map->members_count; i++) {
        const struct momi_member *member = &map->members[i];
        bool is_useful = core->config.role == MOMI_ROLE_STORE ||
                         momi_raft_config_on(&place->current, member->node) != NULL;
        if (is_useful && !member->removed) {
            (void)momi_mesh_peer_make(core, member->node);
        }
    }
}

uint64_t momi_mesh_places_step(struct momi_core *core) {
    const struct momi_registry *map = momi_mesh_map(core);
    if (map == NULL || core->is_closing || core->store_failed) {
        return MOMI_NEVER;
    }
    if (map->version != core->mesh->map_seen) {
        know_members(core, map);
    }
    if (core->config.role != MOMI_ROLE_STORE) {
        return MOMI_NEVER;
    }
    /* Shard 0 last: removing its replica takes the map with it. */
    for (uint32_t s = map->shards_count; s > 0; s--) {
        look_after(core, map, s);
    }
    look_after(core, map, MOMI_REGISTRY_SHARD);
    return MOMI_NEVER;
}

/* --- reports -------------------------------------------------------------------------
 */

void momi_mesh_plan_reached(struct momi_core *core, uint32_t shard,
                            const struct momi_raft_config *config) {
    struct momi_mesh *mesh = core->mesh;
    if (mesh->reached == NULL || shard > MOMI_SHARDS_MAX) {
        return;
    }
    mesh->reached[shard] = *config;
    mesh->shards[shard].reached_version = mesh->shards[shard].told_version;
    mesh->report_due_us = core->now_us;
    momi_mesh_soon(mesh, core->now_us);
}

static void report(struct momi_core *core, uint64_t leader, uint32_t shard) {
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(&core->mesh->reached[shard], &bytes);
    if (!bytes.failed) {
        struct momi_frame *frame = momi_core_send(core, leader, FRAME_PLAN_DONE);
        frame->shard = shard;
        frame->number = core->mesh->shards[shard].reached_version;
        frame->name = momi_effect_copy(core->effects, momi_bytes_slice(&bytes));
    }
    momi_bytes_free(&bytes);
}

uint64_t momi_mesh_report_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_registry *map = momi_mesh_map(core);
    uint64_t leader = momi_mesh_leader(core, MOMI_REGISTRY_SHARD);
    if (map == NULL || mesh->reached == NULL) {
        return MOMI_NEVER;
    }
    if (core->now_us < mesh->report_due_us) {
        return mesh->report_due_us;
    }
    bool is_waiting = false;
    for (uint32_t s = 0; s <= map->shards_count; s++) {
        struct momi_mesh_shard *known = &mesh->shards[s];
        if (known->reached_version == 0) {
            continue;
        }
        if (map->places[s].done_version >= known->reached_version) {
            known->reached_version = 0;
            continue;
        }
        is_waiting = true;
        if (leader != 0 && momi_mesh_lane_is_up(core, leader)) {
            report(core, leader, s);
        } else {
            momi_mesh_want_lane(core, leader);
        }
    }
    if (!is_waiting) {
        return MOMI_NEVER;
    }
    mesh->report_due_us = core->now_us + MESH_REPORT_US;
    return mesh->report_due_us;
}
