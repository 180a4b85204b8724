/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shards that cannot come to life because their copies are damaged (D3).
 *
 * A store whose copy of a shard is damaged, and that sees no leader for it, says so in a
 * line of its FRAME_MAP: a leader of 0, and its own replica. Who has heard that of every
 * replica of a shard without a leader knows that waiting does not help: its calls end
 * with CORRUPT, and the rest goes on. A leader that appears ends it.
 */
#include "core/mesh_internal.h"

static bool is_hurt(const struct momi_core *core, uint32_t shard) {
    return core->mesh->shards[shard].leader == 0 && momi_shard_is_hurt(core, shard);
}

uint32_t momi_mesh_damage_lines(const struct momi_core *core,
                                struct momi_heartbeat_line *lines) {
    uint32_t count = 0;
    for (uint32_t s = 0; s <= MOMI_SHARDS_MAX; s++) {
        struct momi_shard_view view;
        if (is_hurt(core, s) && momi_core_shard_view(core, s, MOMI_VIEW_PLAIN, &view)) {
            lines[count++] = (struct momi_heartbeat_line){
                .shard = s, .to_replica = view.replica, .term = view.term};
        }
    }
    return count;
}

void momi_mesh_damage_told(struct momi_core *core, uint64_t node, uint32_t shard_id) {
    if (shard_id > MOMI_SHARDS_MAX) {
        return;
    }
    struct momi_mesh_shard *shard = &core->mesh->shards[shard_id];
    struct momi_damage_told *oldest = &shard->damaged[0];
    for (size_t i = 0; i < MOMI_REPLICAS_MAX; i++) {
        struct momi_damage_told *told = &shard->damaged[i];
        if (told->node == node) {
            told->heard_us = core->now_us;
            return;
        }
        oldest = told->heard_us < oldest->heard_us ? told : oldest;
    }
    *oldest = (struct momi_damage_told){.node = node, .heard_us = core->now_us};
    momi_mesh_soon(core->mesh, core->now_us);
}

static bool is_told(const struct momi_core *core, uint32_t shard, uint64_t node) {
    if (node == core->config.node) {
        return is_hurt(core, shard);
    }
    for (size_t i = 0; i < MOMI_REPLICAS_MAX; i++) {
        const struct momi_damage_told *told = &core->mesh->shards[shard].damaged[i];
        if (told->node == node) {
            return core->now_us < told->heard_us + MESH_DAMAGE_US;
        }
    }
    return false;
}

bool momi_mesh_is_damaged(const struct momi_core *core, uint32_t shard) {
    const struct momi_registry *map = momi_mesh_map(core);
    if (map == NULL || shard > map->shards_count ||
        core->mesh->shards[shard].leader != 0) {
        return false;
    }
    const struct momi_shard_place *place = &map->places[shard];
    const struct momi_raft_config *config =
        place->current.count != 0 ? &place->current : &place->genesis;
    for (uint32_t i = 0; i < config->count; i++) {
        if (!is_told(core, shard, config->at[i].node)) {
            return false;
        }
    }
    return config->count > 0;
}

void momi_mesh_damage_notice(struct momi_core *core) {
    for (uint32_t s = 0; s <= MOMI_SHARDS_MAX; s++) {
        struct momi_mesh_shard *shard = &core->mesh->shards[s];
        bool is_damaged = momi_mesh_is_damaged(core, s);
        if (is_damaged && !shard->was_damaged) {
            momi_core_notice(core, MOMI_NOTICE_LOST, s, core->config.node,
                             "every copy of the shard is damaged");
        }
        if (is_damaged != shard->was_damaged) {
            shard->was_damaged = is_damaged;
            momi_client_routes_changed(core, s);
        }
    }
}
