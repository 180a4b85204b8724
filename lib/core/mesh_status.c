/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh in words and numbers: the status (info.h), and what this node waits for. */
#include "base/mem.h"
#include "core/info.h"
#include "core/mesh_internal.h"
#include "core/registry_commands.h"

/* --- text ----------------------------------------------------------------------------
 */

void momi_text_add_slice(struct momi_text *text, struct momi_slice bytes) {
    if (text->size == 0) {
        return;
    }
    size_t room = text->size - 1 - text->used;
    size_t size = bytes.size < room ? bytes.size : room;
    if (size > 0) {
        memcpy(text->at + text->used, bytes.data, size);
    }
    text->used += size;
    text->at[text->used] = 0;
}

void momi_text_add(struct momi_text *text, const char *words) {
    momi_text_add_slice(text, momi_slice_str(words));
}

void momi_text_add_number(struct momi_text *text, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    momi_text_add_slice(text, momi_slice(digits + at, sizeof digits - at));
}

void momi_text_add_node(struct momi_text *text, uint64_t node) {
    static const char hex[] = "0123456789abcdef";
    char digits[16];
    for (size_t i = 0; i < sizeof digits; i++) {
        digits[i] = hex[(node >> (60 - 4 * i)) & 15];
    }
    momi_text_add_slice(text, momi_slice(digits, sizeof digits));
}

/* --- what is waited for --------------------------------------------------------------
 */

static const struct momi_seed *first_founder(const struct momi_mesh *mesh,
                                             struct momi_slice own) {
    const struct momi_seed *first = NULL;
    for (size_t i = 0; i < mesh->seeds_count; i++) {
        const struct momi_seed *seed = &mesh->seeds[i];
        bool sorts_first =
            momi_slice_compare(seed->name, own) < 0 &&
            (first == NULL || momi_slice_compare(seed->name, first->name) < 0);
        if (seed->name.size > 0 && sorts_first) {
            first = seed;
        }
    }
    return first;
}

/* N1: who waits for whom. */
static void say_form(const struct momi_core *core, struct momi_text *text) {
    struct momi_form_state state = momi_mesh_form_state(core);
    const struct momi_seed *first = first_founder(core->mesh, core->config.name);
    bool first_is_there =
        first == NULL || (first->node != 0 && momi_mesh_lane_is_up(core, first->node));
    momi_text_add_slice(text, core->config.name);
    momi_text_add(text, " waits for ");
    if (!first_is_there) {
        momi_text_add_slice(text, first->name);
        momi_text_add(text, " at ");
        momi_text_add_slice(text, first->address);
        momi_text_add(text, ", which founds the mesh");
    } else if (state.has_other_list) {
        momi_text_add_slice(text, state.waits_for);
        momi_text_add(text, ", which was given another list of founders");
    } else if (state.waits_for.size > 0) {
        momi_text_add_slice(text, state.waits_for);
        momi_text_add(text, ", a founder that was not heard from");
    } else if (first != NULL) {
        momi_text_add_slice(text, first->name);
        momi_text_add(text, " to found the mesh");
    } else {
        momi_text_add(text, "its own store");
    }
}

static void say_seeds(const struct momi_core *core, struct momi_text *text) {
    const struct momi_mesh *mesh = core->mesh;
    momi_text_add(text, "no answer with a map of a mesh yet from ");
    for (size_t i = 0; i < mesh->seeds_count; i++) {
        const struct momi_seed *seed = &mesh->seeds[i];
        momi_text_add(text, i == 0 ? "" : ", ");
        momi_text_add_slice(text, seed->address);
        if (seed->error == MOM_CONFLICT) {
            momi_text_add(text, " (belongs to another mesh)");
        } else if (seed->node != 0 && momi_mesh_lane_is_up(core, seed->node)) {
            momi_text_add(text, " (is there, but knows of no mesh)");
        } else if (seed->error != MOM_OK) {
            momi_text_add(text, " (");
            momi_text_add(text, mom_err_name(seed->error));
            momi_text_add(text, ")");
        }
    }
}

static void say_without_mesh(const struct momi_core *core, struct momi_text *text) {
    const struct momi_mesh *mesh = core->mesh;
    if (mesh->is_storing || mesh->is_founding ||
        (mesh->way == OPEN_ALONE && core->config.role == MOMI_ROLE_STORE)) {
        momi_text_add(text, "the own store takes up the mesh");
    } else if (mesh->way == OPEN_FORM) {
        say_form(core, text);
    } else if (mesh->way == OPEN_JOIN) {
        say_seeds(core, text);
    } else {
        momi_text_add(text, "a client needs an address to join by");
    }
}

/* A shard without a leader, and who would have to be there for it. */
static void say_shard(const struct momi_core *core, const struct momi_registry *map,
                      uint32_t shard, struct momi_text *text) {
    const struct momi_shard_place *place = &map->places[shard];
    if (!place->is_founded) {
        momi_text_add(text, "shards have no copies yet: founders are missing");
        return;
    }
    momi_text_add(text, "no leader is known for shard ");
    momi_text_add_number(text, shard);
    const char *before = "; not reached: ";
    for (uint32_t i = 0; i < place->current.count; i++) {
        uint64_t node = place->current.at[i].node;
        if (!momi_mesh_lane_is_up(core, node)) {
            struct momi_slice name = momi_mesh_name(core, node);
            momi_text_add(text, before);
            momi_text_add_slice(text, name);
            if (name.size == 0) {
                momi_text_add_node(text, node);
            }
            before = ", ";
        }
    }
}

size_t momi_mesh_waiting_for(const struct momi_core *core, char *at, size_t size) {
    struct momi_text text = {.at = at, .size = size};
    const struct momi_registry *map = momi_mesh_map(core);
    uint32_t unknown = 0;
    momi_text_add(&text, "");
    if (core->store_failed) {
        momi_text_add(&text, "the own store failed");
    } else if (!momi_mesh_has_id(core)) {
        say_without_mesh(core, &text);
    } else if (map == NULL && core->mesh->seeds_count > 0) {
        say_seeds(core, &text);
    } else if (map == NULL) {
        momi_text_add(&text, "the map of the mesh; give an address of another node");
    } else if (core->mesh->refused_error != MOM_OK) {
        momi_text_add(&text, core->mesh->refused_text);
    } else if (!momi_mesh_is_member(core)) {
        momi_text_add(&text, "the leader of the registry has not taken it up yet");
    } else if (!momi_mesh_knows_leaders(core, &unknown)) {
        say_shard(core, map, unknown, &text);
    }
    return text.used;
}

/* --- status --------------------------------------------------------------------------
 */

static uint32_t list_members(const struct momi_core *core,
                             const struct momi_registry *map,
                             struct momi_member_info *infos) {
    uint32_t count = 0;
    for (uint32_t i = 0; map != NULL && i < map->members_count; i++) {
        const struct momi_member *member = &map->members[i];
        if (!member->removed) {
            infos[count++] = (struct momi_member_info){
                .node = member->node,
                .name = member->name,
                .address = member->address,
                .role = member->role,
                .incarnation = member->incarnation,
                .is_alive = momi_mesh_lane_is_up(core, member->node)};
        }
    }
    /* Clients are no members: those that are connected here. */
    for (size_t i = 0; i < core->mesh->peers_count && count < MOMI_MEMBERS_MAX; i++) {
        const struct momi_peer *peer = core->mesh->peers[i];
        if (peer->is_up && peer->role == MOMI_ROLE_CLIENT) {
            infos[count++] = (struct momi_member_info){.node = peer->node,
                                                       .name = peer->name,
                                                       .address = peer->address,
                                                       .role = peer->role,
                                                       .incarnation = peer->incarnation,
                                                       .is_alive = true};
        }
    }
    return count;
}

static void describe_shard(const struct momi_core *core,
                           const struct momi_shard_place *place, uint32_t shard,
                           struct momi_shard_info *info) {
    *info =
        (struct momi_shard_info){.shard = shard, .leader = momi_mesh_leader(core, shard)};
    struct momi_shard_view view;
    if (momi_core_shard_view(core, shard, MOMI_VIEW_PLAIN, &view)) {
        info->term = view.term;
        info->commit = view.commit;
        info->applied = view.applied;
    }
    for (uint32_t i = 0; i < place->current.count; i++) {
        const struct momi_replica_at *at = &place->current.at[i];
        info->replicas[info->replicas_count++] =
            (struct momi_replica_info){.node = at->node,
                                       .replica = at->replica,
                                       .votes = at->votes,
                                       .lag = momi_shard_lag(core, shard, at->replica)};
    }
    /* Newcomers of a plan under way do not vote yet. */
    for (uint32_t i = 0; place->is_founded && i < place->plan.count; i++) {
        const struct momi_replica_at *at = &place->plan.at[i];
        if (momi_raft_config_find(&place->current, at->replica) == NULL &&
            info->replicas_count < 2 * MOMI_REPLICAS_MAX) {
            info->replicas[info->replicas_count++] = (struct momi_replica_info){
                .node = at->node,
                .replica = at->replica,
                .lag = momi_shard_lag(core, shard, at->replica)};
        }
    }
}

void momi_mesh_status(const struct momi_core *core, struct momi_bytes *out) {
    const struct momi_registry *map = momi_mesh_map(core);
    struct momi_status status = {.mesh = core->config.mesh,
                                 .node = core->config.node,
                                 .is_durable = core->config.durable};
    status.members = momi_calloc(MOMI_MEMBERS_MAX, sizeof *status.members);
    status.shards = momi_calloc(MOMI_SHARDS_MAX + 1, sizeof *status.shards);
    if (status.members == NULL || status.shards == NULL) {
        out->failed = true;
    } else {
        status.members_count = list_members(core, map, status.members);
        if (map != NULL) {
            status.is_durable = map->durable;
            status.shards_count = map->shards_count;
            status.copies_count = map->copies_count;
            status.shards_listed = map->shards_count + 1;
        }
        for (uint32_t s = 0; s < status.shards_listed; s++) {
            describe_shard(core, &map->places[s], s, &status.shards[s]);
        }
        momi_status_put(out, &status);
    }
    momi_free(status.members);
    momi_free(status.shards);
}
