/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a node comes to a mesh (design: nodes and the mesh; N1).
 *
 *   alone   founds, at once.
 *   join    asks the addresses until one answers with a map, never founds.
 *   form    the founder whose name sorts first founds, once it has a lane to each of the
 *           others, all of them without a mesh and with the same list. Whoever finds a
 *           mesh joins it.
 *
 * Founding: shard 0 begins with this node as its only replica and is made durable; then
 * the mesh id is stored (FX_IDENTITY); only then the registry is filled (CMD_FOUND). A
 * crash in between leaves nothing that anybody has seen, and founding goes on from there:
 * a node that has stored a mesh id without a registry replica has joined, never founded.
 *
 * Joining: the mesh id is stored, then JOIN goes to the registry's leader until the map
 * shows our record as it is now. The same after each start.
 */
#include "base/mem.h"
#include "core/mesh_internal.h"
#include "core/mutant.h"
#include "core/registry_commands.h"

/* --- who forms -----------------------------------------------------------------------
 */

/* A sum, so that the order of the list does not matter. */
uint64_t momi_founders_hash(const struct momi_founder *founders, size_t count) {
    uint64_t sum = count;
    for (size_t i = 0; i < count; i++) {
        sum += momi_hash_u64(momi_hash_bytes(founders[i].name) ^
                             momi_hash_u64(momi_hash_bytes(founders[i].address)));
    }
    uint64_t hash = momi_hash_u64(sum);
    return count > 0 && hash == 0 ? 1 : hash * (count > 0);
}

static bool add_seed(struct momi_core *core, struct momi_slice name,
                     struct momi_slice address) {
    struct momi_mesh *mesh = core->mesh;
    if (mesh->seeds_count == MESH_SEEDS_MAX) {
        return false;
    }
    mesh->seeds[mesh->seeds_count++] =
        (struct momi_seed){.name = name, .address = address, .since_us = core->now_us};
    return true;
}

bool momi_mesh_seeds_init(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_core_config *config = &core->config;
    bool ok = true;
    for (size_t i = 0; i < config->form_count; i++) {
        if (!momi_slice_equal(config->form[i].name, config->name)) {
            ok = add_seed(core, config->form[i].name, config->form[i].address) && ok;
        }
    }
    for (size_t i = 0; i < config->join_count; i++) {
        ok = add_seed(core, (struct momi_slice){0}, config->join[i]) && ok;
    }
    mesh->way = config->form_count > 0   ? OPEN_FORM
                : config->join_count > 0 ? OPEN_JOIN
                                         : OPEN_ALONE;
    mesh->founders_hash = momi_founders_hash(config->form, config->form_count);
    return ok;
}

static bool sorts_first(const struct momi_core *core) {
    for (size_t i = 0; i < core->mesh->seeds_count; i++) {
        const struct momi_seed *seed = &core->mesh->seeds[i];
        if (seed->name.size > 0 &&
            momi_slice_compare(seed->name, core->config.name) < 0) {
            return MUTANT(TWO_FOUNDERS);
        }
    }
    return true;
}

struct momi_form_state momi_mesh_form_state(const struct momi_core *core) {
    const struct momi_mesh *mesh = core->mesh;
    for (size_t i = 0; i < mesh->seeds_count; i++) {
        const struct momi_seed *seed = &mesh->seeds[i];
        if (seed->name.size == 0) {
            continue;
        }
        const struct momi_peer *peer =
            seed->node == 0 ? NULL : momi_mesh_peer(mesh, seed->node);
        bool is_there = peer != NULL && peer->is_up &&
                        momi_slice_equal(peer->name, seed->name) &&
                        momi_mesh_id_is_none(&peer->mesh);
        if (!is_there || peer->founders_hash != mesh->founders_hash) {
            return (struct momi_form_state){.waits_for = seed->name,
                                            .has_other_list = is_there};
        }
    }
    return (struct momi_form_state){.waits_for = {0}};
}

/* --- founding ------------------------------------------------------------------------
 */

/* Shard 0 with ourselves alone. What was left of an attempt before is gone on with. */
static void found(struct momi_core *core) {
    enum { FIRST_REPLICA = 1 };
    struct momi_raft_config config = {.version = MOMI_GENESIS_VERSION, .count = 1};
    config.at[0] = (struct momi_replica_at){
        .replica = FIRST_REPLICA, .node = core->config.node, .votes = true};
    core->mesh->is_founding = true;
    if (core->shards[MOMI_REGISTRY_SHARD] == NULL) {
        momi_trace(core, "MESH_FOUNDING", 0, core->config.node, 0);
        momi_shard_found(core, MOMI_REGISTRY_SHARD, &config);
    }
}

static void store_identity(struct momi_core *core, const struct momi_mesh_id *id) {
    core->mesh->is_storing = true;
    core->mesh->storing = *id;
    momi_effect_add(core->effects, FX_IDENTITY)->mesh = *id;
}

void momi_mesh_identity_stored(struct momi_core *core, int error) {
    struct momi_mesh *mesh = core->mesh;
    if (!mesh->is_storing) {
        return;
    }
    mesh->is_storing = false;
    if (error != MOM_OK) {
        momi_core_notice(core, MOMI_NOTICE_STORE_FAILED, 0, core->config.node,
                         mom_strerror(error));
        mesh->found_due_us = core->now_us + MESH_RETRY_US;
        momi_mesh_soon(mesh, mesh->found_due_us);
        return;
    }
    core->config.mesh = mesh->storing;
    if (mesh->is_founding) {
        mesh->is_founding = false;
        momi_core_notice(core, MOMI_NOTICE_FOUNDED, 0, core->config.node, "");
    }
    /* Who belongs to another mesh is no peer any more. */
    for (size_t i = 0; i < mesh->peers_count; i++) {
        struct momi_peer *peer = mesh->peers[i];
        if (peer->is_up && !momi_mesh_id_is_none(&peer->mesh) &&
            !momi_mesh_id_equal(&peer->mesh, &core->config.mesh)) {
            momi_mesh_hang_up(core, peer);
        }
    }
    mesh->ask_due_us = core->now_us;
    mesh->join_due_us = core->now_us;
    momi_mesh_soon(mesh, core->now_us);
}

void momi_mesh_adopt(struct momi_core *core, const struct momi_mesh_id *id) {
    struct momi_mesh *mesh = core->mesh;
    bool may_join = mesh->way != OPEN_ALONE || core->config.role == MOMI_ROLE_CLIENT;
    if (momi_mesh_has_id(core) || mesh->is_storing || !may_join) {
        return;
    }
    if (core->config.role == MOMI_ROLE_CLIENT) {
        core->config.mesh = *id; /* in memory: a client has nothing to keep */
        momi_mesh_soon(mesh, core->now_us);
        return;
    }
    if (core->shards[MOMI_REGISTRY_SHARD] != NULL) {
        /* We began to found, and nobody has seen it. */
        mesh->is_founding = false;
        struct momi_shard_view view;
        if (momi_core_shard_view(core, MOMI_REGISTRY_SHARD, MOMI_VIEW_PLAIN, &view)) {
            momi_shard_remove(core, MOMI_REGISTRY_SHARD, view.replica);
        }
    }
    store_identity(core, id);
}

uint64_t momi_mesh_form_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    if (momi_mesh_has_id(core) || mesh->is_storing || core->is_closing ||
        core->config.role != MOMI_ROLE_STORE) {
        return MOMI_NEVER;
    }
    if (core->now_us < mesh->found_due_us) {
        return mesh->found_due_us;
    }
    if (!mesh->is_founding) {
        bool may_found =
            mesh->way == OPEN_ALONE || (mesh->way == OPEN_FORM && sorts_first(core) &&
                                        momi_mesh_form_state(core).waits_for.size == 0);
        if (!may_found) {
            return MOMI_NEVER; /* a lane that comes up makes us look again */
        }
        found(core);
    }
    if (momi_shard_is_leader(core, MOMI_REGISTRY_SHARD)) {
        store_identity(core, &core->config.mesh_candidate);
        return MOMI_NEVER;
    }
    /* Leading calls us (momi_mesh_registry_changed); this is for want of memory. */
    mesh->found_due_us = core->now_us + MESH_RETRY_US;
    return mesh->found_due_us;
}

/* --- joining -------------------------------------------------------------------------
 */

void momi_mesh_own_record(const struct momi_core *core,
                          struct momi_member_record *record) {
    *record = (struct momi_member_record){.node = core->config.node,
                                          .incarnation = core->config.incarnation,
                                          .role = core->config.role,
                                          .is_durable = core->config.durable,
                                          .name = core->config.name,
                                          .address = core->config.address};
}

static bool is_recorded(const struct momi_core *core, const struct momi_registry *map) {
    const struct momi_member *member = momi_registry_member(map, core->config.node);
    return member != NULL && !member->removed &&
           member->incarnation == core->config.incarnation &&
           momi_slice_equal(member->name, core->config.name) &&
           momi_slice_equal(member->address, core->config.address);
}

static void send_join(struct momi_core *core, uint64_t leader) {
    struct momi_member_record record;
    momi_mesh_own_record(core, &record);
    struct momi_bytes bytes = {.data = NULL};
    momi_member_record_put(&bytes, &record);
    if (!bytes.failed) {
        struct momi_frame *frame = momi_core_send(core, leader, FRAME_JOIN);
        frame->counter = ++core->mesh->join_counter;
        frame->name = momi_effect_copy(core->effects, momi_bytes_slice(&bytes));
    }
    momi_bytes_free(&bytes);
}

uint64_t momi_mesh_join_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_registry *map = momi_mesh_map(core);
    if (map == NULL || core->config.role != MOMI_ROLE_STORE || core->is_closing ||
        is_recorded(core, map)) {
        return MOMI_NEVER; /* a new map makes us look again */
    }
    if (core->now_us < mesh->join_due_us) {
        return mesh->join_due_us;
    }
    uint64_t leader = momi_mesh_leader(core, MOMI_REGISTRY_SHARD);
    if (leader == 0) {
        return MOMI_NEVER; /* asked for in momi_mesh_ask_step */
    }
    if (momi_mesh_lane_is_up(core, leader)) {
        send_join(core, leader);
    } else {
        momi_mesh_want_lane(core, leader);
    }
    uint64_t wait_us =
        mesh->refused_error != MOM_OK ? MESH_JOIN_REFUSED_US : MESH_JOIN_US;
    mesh->join_due_us =
        core->now_us + momi_rng_between(&core->rng, wait_us / 2, wait_us * 3 / 2);
    return mesh->join_due_us;
}

static void note_refusal(struct momi_core *core, const struct momi_frame *frame) {
    struct momi_mesh *mesh = core->mesh;
    struct momi_text text = {.at = mesh->refused_text, .size = sizeof mesh->refused_text};
    char before[MESH_TEXT_BYTES];
    memcpy(before, mesh->refused_text, sizeof before);
    int error_before = mesh->refused_error;
    mesh->refused_error = frame->error;
    momi_text_add(&text, "the mesh refused this node: ");
    momi_text_add_slice(&text, frame->detail);
    if (error_before != mesh->refused_error ||
        !momi_slice_equal(momi_slice_str(before), momi_slice_str(mesh->refused_text))) {
        momi_core_notice(core, MOMI_NOTICE_REFUSED, 0, core->config.node,
                         mesh->refused_text);
    }
    mesh->join_due_us = core->now_us + MESH_JOIN_REFUSED_US;
    momi_mesh_soon(mesh, mesh->join_due_us);
}

void momi_mesh_join_reply(struct momi_core *core, uint64_t node,
                          const struct momi_frame *frame) {
    struct momi_mesh *mesh = core->mesh;
    if (frame->counter == 0 || frame->counter > mesh->join_counter) {
        return;
    }
    if (frame->error == MOM_OK) {
        mesh->refused_error = MOM_OK;
        mesh->refused_text[0] = 0;
        if (node != core->config.node) {
            momi_mesh_ask(core, node); /* the map that shows it */
        }
    } else if (frame->error == MOM_UNAVAILABLE) {
        momi_mesh_leader_lost(core, MOMI_REGISTRY_SHARD, node);
        momi_mesh_leader_hint(core, MOMI_REGISTRY_SHARD, frame->index, 0);
    } else {
        note_refusal(core, frame);
    }
}

bool momi_mesh_is_member(const struct momi_core *core) {
    const struct momi_registry *map = momi_mesh_map(core);
    if (map == NULL) {
        return false;
    }
    const struct momi_member *member = momi_registry_member(map, core->config.node);
    return core->config.role == MOMI_ROLE_CLIENT || (member != NULL && !member->removed);
}
