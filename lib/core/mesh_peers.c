/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers and lanes: who is there, whom to dial and when (N2), pings, silence, and nodes
 * that come back with less than they had (D1).
 *
 * Of two listening nodes the lower id dials; the higher one does so too when nothing came
 * within a second. The wait between attempts grows with the time that a lane has been
 * down, from 50 ms to 10 s, so that a short absence is noticed soon and a long one costs
 * little.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/keys.h"
#include "core/mesh_internal.h"
#include "core/registry_commands.h"

/* --- peers ---------------------------------------------------------------------------
 */

static size_t peer_index(const struct momi_mesh *mesh, uint64_t node) {
    size_t low = 0;
    size_t high = mesh->peers_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (mesh->peers[middle]->node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct momi_peer *momi_mesh_peer(const struct momi_mesh *mesh, uint64_t node) {
    size_t index = peer_index(mesh, node);
    bool is_there = index < mesh->peers_count && mesh->peers[index]->node == node;
    return is_there ? mesh->peers[index] : NULL;
}

static bool grow_peers(struct momi_mesh *mesh) {
    if (mesh->peers_count < mesh->peers_room) {
        return true;
    }
    size_t room = mesh->peers_room == 0 ? 8 : mesh->peers_room * 2;
    struct momi_peer **peers = momi_realloc(mesh->peers, room * sizeof *peers);
    if (peers == NULL) {
        return false;
    }
    mesh->peers = peers;
    uint64_t *lanes = momi_realloc(mesh->lanes, room * sizeof *lanes);
    if (lanes == NULL) {
        return false;
    }
    mesh->lanes = lanes;
    mesh->peers_room = room;
    return true;
}

struct momi_peer *momi_mesh_peer_make(struct momi_core *core, uint64_t node) {
    struct momi_mesh *mesh = core->mesh;
    struct momi_peer *peer = momi_mesh_peer(mesh, node);
    if (peer != NULL || node == 0 || node == core->config.node) {
        return peer;
    }
    if (mesh->peers_count >= MESH_PEERS_MAX || !grow_peers(mesh)) {
        return NULL;
    }
    peer = momi_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return NULL;
    }
    peer->node = node;
    peer->down_us = core->now_us;
    size_t index = peer_index(mesh, node);
    memmove(&mesh->peers[index + 1], &mesh->peers[index],
            (mesh->peers_count - index) * sizeof(struct momi_peer *));
    mesh->peers[index] = peer;
    mesh->peers_count++;
    return peer;
}

static void free_peer(struct momi_peer *peer) {
    momi_free((void *)(uintptr_t)peer->name.data);
    momi_free((void *)(uintptr_t)peer->address.data);
    momi_mesh_hint_free(peer);
    momi_free(peer);
}

void momi_mesh_peers_free(struct momi_mesh *mesh) {
    for (size_t i = 0; i < mesh->peers_count; i++) {
        free_peer(mesh->peers[i]);
    }
    momi_free(mesh->peers);
    momi_free(mesh->lanes);
}

/* Forgets a node that is gone, was a passer-by, and nobody waits for. */
static bool may_forget(const struct momi_core *core, const struct momi_peer *peer) {
    const struct momi_registry *map = momi_mesh_map(core);
    if (peer->is_up || peer->dial_token != 0 || peer->want_us > core->now_us ||
        core->now_us < peer->down_us + MESH_WANT_US ||
        (map != NULL && momi_registry_member(map, peer->node) != NULL)) {
        return false;
    }
    for (size_t i = 0; i < core->mesh->seeds_count; i++) {
        if (core->mesh->seeds[i].node == peer->node) {
            return false;
        }
    }
    return true;
}

/* D1. Only stores make promises that can be lost. Nobody waits for the write. */
static bool is_remembered(const struct momi_core *core, const struct momi_peer *peer) {
    return core->config.role == MOMI_ROLE_STORE && peer->role == MOMI_ROLE_STORE;
}

void momi_mesh_peer_restored(struct momi_core *core, uint64_t node,
                             uint64_t incarnation) {
    struct momi_peer *peer = momi_mesh_peer_make(core, node);
    if (peer != NULL) {
        peer->role = MOMI_ROLE_STORE;
        peer->incarnation_seen = incarnation;
    }
}

static void forget_peers(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    size_t kept = 0;
    for (size_t i = 0; i < mesh->peers_count; i++) {
        if (may_forget(core, mesh->peers[i])) {
            if (is_remembered(core, mesh->peers[i])) {
                struct momi_key key = momi_key_peer(mesh->peers[i]->node);
                momi_batch_delete(&core->effects->batch, MOMI_FAMILY_NODE,
                                  momi_key_slice(&key));
            }
            free_peer(mesh->peers[i]);
        } else {
            mesh->peers[kept++] = mesh->peers[i];
        }
    }
    mesh->peers_count = kept;
}

static bool set_text(struct momi_slice *text, struct momi_slice with) {
    uint8_t *copy = momi_alloc(with.size);
    if (copy == NULL) {
        return false;
    }
    if (with.size > 0) {
        memcpy(copy, with.data, with.size);
    }
    momi_free((void *)(uintptr_t)text->data);
    *text = momi_slice(copy, with.size);
    return true;
}

/* --- lanes ---------------------------------------------------------------------------
 */

static void list_lanes(struct momi_mesh *mesh) {
    mesh->lanes_count = 0;
    for (size_t i = 0; i < mesh->peers_count; i++) {
        if (mesh->peers[i]->is_up) {
            mesh->lanes[mesh->lanes_count++] = mesh->peers[i]->node;
        }
    }
}

static void lose_leaders(struct momi_core *core, uint64_t node) {
    for (uint32_t s = 0; s <= MOMI_SHARDS_MAX; s++) {
        if (core->mesh->shards[s].leader == node) {
            momi_mesh_leader_lost(core, s, node);
        }
    }
}

/* The lane cannot be used from now on. */
static void lane_ended(struct momi_core *core, struct momi_peer *peer) {
    struct momi_mesh *mesh = core->mesh;
    if (!peer->is_up) {
        return;
    }
    peer->is_up = false;
    peer->map_version = 0;
    peer->down_us = core->now_us;
    peer->dial_due_us =
        core->now_us + (peer->said_goodbye
                            ? MESH_RETRY_US
                            : momi_rng_between(&core->rng, 0, MESH_DIAL_MIN_US));
    list_lanes(mesh);
    lose_leaders(core, peer->node);
    mesh->plan_wanted = true;
    momi_mesh_soon(mesh, core->now_us);
}

void momi_mesh_hang_up(struct momi_core *core, struct momi_peer *peer) {
    momi_effect_add(core->effects, FX_HANGUP)->node = peer->node;
    lane_ended(core, peer);
}

/* A lane that we do not take: the host closes it and says LANE_DOWN. */
static void refuse_lane(struct momi_core *core, uint64_t node, const char *why) {
    struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    momi_trace(core, "LANE_REFUSED", 0, node, 0);
    momi_core_notice(core, MOMI_NOTICE_REFUSED, 0, node, why);
    momi_effect_add(core->effects, FX_HANGUP)->node = node;
    if (peer != NULL) {
        lane_ended(core, peer);
    }
}

static uint64_t incarnation_remembered(const struct momi_core *core, uint64_t node) {
    const struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    const struct momi_registry *map = momi_mesh_map(core);
    const struct momi_member *member =
        map == NULL ? NULL : momi_registry_member(map, node);
    uint64_t seen = peer == NULL ? 0 : peer->incarnation_seen;
    return member != NULL && member->incarnation > seen ? member->incarnation : seen;
}

/* Which dial this lane answers, and which founder it is. */
static void note_seed(struct momi_mesh *mesh, const struct momi_lane_info *info) {
    for (size_t i = 0; i < mesh->seeds_count; i++) {
        struct momi_seed *seed = &mesh->seeds[i];
        bool is_dialed = info->we_dialed && seed->dial_token != 0 &&
                         seed->dial_token == info->dial_token;
        bool is_named = seed->name.size > 0 && momi_slice_equal(seed->name, info->name);
        if (is_dialed) {
            seed->dial_token = 0;
        }
        if (is_dialed || is_named) {
            seed->node = info->node;
            seed->error = MOM_OK;
        }
    }
}

static void note_dialed(struct momi_mesh *mesh, const struct momi_lane_info *info) {
    for (size_t i = 0; info->we_dialed && i < mesh->peers_count; i++) {
        if (mesh->peers[i]->dial_token == info->dial_token) {
            mesh->peers[i]->dial_token = 0;
        }
    }
}

void momi_mesh_lane_came(struct momi_core *core, const struct momi_lane_info *info) {
    struct momi_mesh *mesh = core->mesh;
    note_dialed(mesh, info);
    note_seed(mesh, info);
    if (info->node == core->config.node) {
        /* One of the addresses to join by is our own, under another name. */
        momi_effect_add(core->effects, FX_HANGUP)->node = info->node;
        return;
    }
    if (momi_mesh_has_id(core) && !momi_mesh_id_is_none(&info->mesh) &&
        !momi_mesh_id_equal(&info->mesh, &core->config.mesh)) {
        refuse_lane(core, info->node, "it belongs to another mesh");
        return;
    }
    if (info->incarnation < incarnation_remembered(core, info->node)) {
        refuse_lane(core, info->node,
                    "it came back older than it was: its data was replaced by a copy");
        return;
    }
    struct momi_peer *peer = momi_mesh_peer_make(core, info->node);
    if (peer == NULL || !set_text(&peer->name, info->name) ||
        !set_text(&peer->address, info->address)) {
        refuse_lane(core, info->node, "no room for another peer");
        return;
    }
    momi_mesh_hint_free(peer);
    peer->is_up = true;
    peer->said_goodbye = false;
    peer->role = info->role;
    peer->incarnation = info->incarnation;
    if (is_remembered(core, peer) && info->incarnation != peer->incarnation_seen) {
        momi_batch_put_peer(&core->effects->batch, peer->node, info->incarnation);
    }
    peer->incarnation_seen = info->incarnation;
    peer->mesh = info->mesh;
    peer->founders_hash = info->founders_hash;
    peer->heard_us = core->now_us;
    peer->pinged_us = 0; /* at once: it tells our clock (R8) */
    peer->map_version = 0;
    list_lanes(mesh);
    momi_trace(core, "LANE_UP", 0, info->node, info->incarnation);
    if (peer->role == MOMI_ROLE_STORE) {
        momi_mesh_ask(core, peer->node);
    }
    mesh->plan_wanted = true;
    mesh->join_due_us = core->now_us;
    momi_mesh_soon(mesh, core->now_us);
}

void momi_mesh_lane_went(struct momi_core *core, uint64_t node,
                         enum momi_down_reason reason) {
    struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    if (peer != NULL) {
        momi_trace(core, "LANE_DOWN", 0, node, (uint64_t)reason);
        lane_ended(core, peer);
    }
}

void momi_mesh_heard(struct momi_core *core, uint64_t node) {
    struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    if (peer != NULL) {
        peer->heard_us = core->now_us;
    }
}

bool momi_mesh_lane_is_up(const struct momi_core *core, uint64_t node) {
    if (node == core->config.node) {
        return true;
    }
    const struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    return peer != NULL && peer->is_up;
}

size_t momi_mesh_lanes(const struct momi_core *core, const uint64_t **nodes) {
    *nodes = core->mesh->lanes;
    return core->mesh->lanes_count;
}

uint64_t momi_mesh_lanes_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    bool was_away = core->now_us > mesh->passed_us + MESH_PAUSE_US;
    uint64_t due_us = MOMI_NEVER;
    for (size_t i = 0; i < mesh->peers_count; i++) {
        struct momi_peer *peer = mesh->peers[i];
        if (!peer->is_up) {
            continue;
        }
        if (was_away) {
            peer->heard_us = core->now_us; /* what it sent still waits to be read */
        }
        if (core->now_us >= peer->heard_us + MESH_SILENT_US) {
            momi_trace(core, "LANE_SILENT", 0, peer->node, 0);
            momi_mesh_hang_up(core, peer);
            continue;
        }
        if (core->now_us >= peer->pinged_us + MESH_PING_US) {
            peer->pinged_us = core->now_us;
            struct momi_frame *ping = momi_core_send(core, peer->node, FRAME_HEARTBEAT);
            ping->counter = core->heartbeat_counter;
            ping->number = core->wall_us;
        }
        due_us = momi_earlier(due_us, peer->pinged_us + MESH_PING_US);
        due_us = momi_earlier(due_us, peer->heard_us + MESH_SILENT_US);
    }
    return due_us;
}

/* --- dialling ------------------------------------------------------------------------
 */

void momi_mesh_want_lane(struct momi_core *core, uint64_t node) {
    if (node == 0 || node == core->config.node) {
        return;
    }
    struct momi_peer *peer = momi_mesh_peer_make(core, node);
    if (peer == NULL) {
        return;
    }
    peer->want_us = core->now_us + MESH_WANT_US;
    if (!peer->is_up && peer->dial_token == 0) {
        momi_mesh_soon(core->mesh, momi_earlier(peer->dial_due_us, core->now_us));
    }
}

/* From 50 ms to 10 s, a quarter of the time that it has been tried, a little uneven. */
static uint64_t dial_wait(struct momi_core *core, uint64_t since_us) {
    uint64_t wait_us = (core->now_us - since_us) / 4;
    if (wait_us < MESH_DIAL_MIN_US) {
        wait_us = MESH_DIAL_MIN_US;
    }
    if (wait_us > MESH_DIAL_MAX_US) {
        wait_us = MESH_DIAL_MAX_US;
    }
    return momi_rng_between(&core->rng, wait_us * 3 / 4, wait_us);
}

void momi_mesh_dial_failed(struct momi_core *core, uint64_t token, int error) {
    struct momi_mesh *mesh = core->mesh;
    for (size_t i = 0; i < mesh->seeds_count; i++) {
        struct momi_seed *seed = &mesh->seeds[i];
        if (seed->dial_token != token) {
            continue;
        }
        if (error == MOM_CONFLICT && seed->error != error) {
            momi_core_notice(core, MOMI_NOTICE_REFUSED, 0, 0,
                             "an address to join by belongs to another mesh");
        }
        seed->dial_token = 0;
        seed->error = error;
        seed->dial_due_us = core->now_us + dial_wait(core, seed->since_us);
    }
    for (size_t i = 0; i < mesh->peers_count; i++) {
        struct momi_peer *peer = mesh->peers[i];
        if (peer->dial_token == token) {
            peer->dial_token = 0;
            peer->dial_due_us = core->now_us + dial_wait(core, peer->down_us);
        }
    }
    momi_mesh_soon(mesh, core->now_us);
}

static uint64_t dial(struct momi_core *core, struct momi_slice address, uint64_t node) {
    struct momi_effect *effect = momi_effect_add(core->effects, FX_DIAL);
    effect->token = core->token_next++;
    effect->node = node;
    effect->address = momi_effect_copy(core->effects, address);
    return effect->token;
}

struct momi_slice momi_mesh_address(const struct momi_core *core, uint64_t node) {
    if (node == core->config.node) {
        return core->config.address;
    }
    const struct momi_registry *map = momi_mesh_map(core);
    const struct momi_member *member =
        map == NULL ? NULL : momi_registry_member(map, node);
    const struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    /* What it said itself is newer than its record, as long as it comes back to us. */
    if (peer != NULL && peer->address.size > 0 &&
        (member == NULL || peer->incarnation >= member->incarnation)) {
        return peer->address;
    }
    return member == NULL ? (struct momi_slice){0} : member->address;
}

static bool shares_a_shard(const struct momi_core *core, const struct momi_registry *map,
                           uint64_t node) {
    for (uint32_t s = 0; s <= map->shards_count; s++) {
        const struct momi_shard_place *place = &map->places[s];
        bool has_other = momi_plan_on(&place->plan, node) != NULL ||
                         momi_raft_config_on(&place->current, node) != NULL;
        bool has_own = momi_plan_on(&place->plan, core->config.node) != NULL ||
                       momi_raft_config_on(&place->current, core->config.node) != NULL;
        /* Every store follows the registry. */
        if (has_other && (has_own || s == MOMI_REGISTRY_SHARD)) {
            return true;
        }
    }
    return false;
}

/* Whether this node keeps a lane to the other: stores to stores, everybody to whom it
 * needs, and who has no lane at all to the nodes of the registry. */
static bool wants_lane(const struct momi_core *core, const struct momi_peer *peer,
                       uint32_t stores_count) {
    if (peer->want_us > core->now_us) {
        return true;
    }
    const struct momi_registry *map = momi_mesh_map(core);
    const struct momi_member *member =
        map == NULL ? NULL : momi_registry_member(map, peer->node);
    if (member == NULL || member->removed) {
        return false;
    }
    if (core->config.role == MOMI_ROLE_STORE) {
        return stores_count <= MESH_FULL_LANES_MAX ||
               shares_a_shard(core, map, peer->node);
    }
    const struct momi_shard_place *place = &map->places[MOMI_REGISTRY_SHARD];
    return core->mesh->lanes_count == 0 &&
           momi_raft_config_on(&place->current, peer->node) != NULL;
}

/* N2. When the peer may be dialled by us at the earliest. Who knows where we are and has
 * the lower id dials us; for anybody else there is nothing to wait for. */
static uint64_t dial_due(const struct momi_core *core, const struct momi_registry *map,
                         const struct momi_peer *peer) {
    const struct momi_member *own =
        map == NULL ? NULL : momi_registry_member(map, core->config.node);
    bool is_higher = core->config.address.size > 0 && core->config.node > peer->node &&
                     own != NULL && !own->removed &&
                     momi_slice_equal(own->address, core->config.address);
    uint64_t turn_us = is_higher ? peer->down_us + MESH_DIAL_HIGHER_US : 0;
    return turn_us > peer->dial_due_us ? turn_us : peer->dial_due_us;
}

static uint64_t dial_peers(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_registry *map = momi_mesh_map(core);
    uint32_t stores_count = map == NULL ? 0 : map->members_count;
    uint64_t due_us = MOMI_NEVER;
    for (size_t i = 0; i < mesh->peers_count; i++) {
        struct momi_peer *peer = mesh->peers[i];
        if (peer->is_up || peer->dial_token != 0 ||
            !wants_lane(core, peer, stores_count)) {
            continue;
        }
        if (momi_mesh_address(core, peer->node).size == 0 && peer->hint.size == 0) {
            continue;
        }
        if (core->now_us >= dial_due(core, map, peer)) {
            peer->dial_token = dial(core, momi_mesh_dial_address(core, peer), peer->node);
        } else {
            due_us = momi_earlier(due_us, dial_due(core, map, peer));
        }
    }
    return due_us;
}

/* Addresses of the configuration serve until there is a map, and when nobody is left. Of
 * two founders the one whose name sorts first dials. */
static uint64_t dial_seeds(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    uint64_t due_us = MOMI_NEVER;
    bool has_map = momi_mesh_map(core) != NULL;
    if (mesh->is_storing || (has_map && mesh->lanes_count > 0)) {
        return due_us;
    }
    for (size_t i = 0; i < mesh->seeds_count; i++) {
        struct momi_seed *seed = &mesh->seeds[i];
        bool is_up = seed->node != 0 && momi_mesh_lane_is_up(core, seed->node);
        if (is_up || seed->dial_token != 0 ||
            momi_slice_equal(seed->address, core->config.address)) {
            if (is_up) {
                seed->since_us = core->now_us;
            }
            continue;
        }
        bool is_higher =
            seed->name.size > 0 && momi_slice_compare(core->config.name, seed->name) > 0;
        uint64_t seed_due_us = seed->since_us + (is_higher ? MESH_DIAL_HIGHER_US : 0);
        if (seed_due_us < seed->dial_due_us) {
            seed_due_us = seed->dial_due_us;
        }
        if (core->now_us >= seed_due_us) {
            seed->dial_token = dial(core, seed->address, 0);
        } else {
            due_us = momi_earlier(due_us, seed_due_us);
        }
    }
    return due_us;
}

uint64_t momi_mesh_dial_step(struct momi_core *core) {
    if (core->is_closing) {
        return MOMI_NEVER;
    }
    forget_peers(core);
    return momi_earlier(dial_seeds(core), dial_peers(core));
}
