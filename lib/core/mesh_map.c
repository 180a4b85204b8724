/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map (the content of the registry) and where leaders are.
 *
 * Replicas of the registry have the map in their own state; everybody else follows by
 * FRAME_MAP, pushed by the registry's leader when it changes and asked for now and then.
 * The version says which map is newer; all of them are committed states.
 *
 * Leaders are hints: the highest term wins. They come from own replicas, from answers of
 * replicas, and in the lines of FRAME_MAP, which a new leader also sends around without a
 * map. A leader whose lane went down is not believed in for a while, so that an old hint
 * does not bring it back.
 */
#include "base/mem.h"
#include "core/mesh_internal.h"
#include "core/registry_commands.h"

const struct momi_registry *momi_mesh_map(const struct momi_core *core) {
    const struct momi_registry *own = momi_shard_registry(core);
    const struct momi_registry *followed = &core->mesh->map;
    bool has_own = own != NULL && own->places != NULL &&
                   momi_mesh_id_equal(&own->mesh, &core->config.mesh);
    bool has_followed = followed->places != NULL &&
                        momi_mesh_id_equal(&followed->mesh, &core->config.mesh);
    if (has_own && (!has_followed || own->version >= followed->version)) {
        return own;
    }
    return has_followed ? followed : NULL;
}

uint32_t momi_mesh_shards_count(const struct momi_core *core) {
    const struct momi_registry *map = momi_mesh_map(core);
    return map == NULL ? 0 : map->shards_count;
}

uint32_t momi_mesh_copies_count(const struct momi_core *core) {
    const struct momi_registry *map = momi_mesh_map(core);
    return map == NULL ? 0 : map->copies_count;
}

/* --- leaders -------------------------------------------------------------------------
 */

uint64_t momi_mesh_leader(const struct momi_core *core, uint32_t shard) {
    return shard <= MOMI_SHARDS_MAX ? core->mesh->shards[shard].leader : 0;
}

static void want_answers(struct momi_core *core) {
    core->mesh->ask_wait_us = MESH_ASK_MIN_US;
    core->mesh->ask_due_us = core->now_us;
    momi_mesh_soon(core->mesh, core->now_us);
}

static bool is_believable(const struct momi_core *core,
                          const struct momi_mesh_shard *shard, uint64_t node,
                          uint64_t term) {
    if (term == 0) {
        return shard->leader == 0 && node != shard->lost_node;
    }
    if (shard->leader == 0 && term == shard->term && node == shard->lost_node) {
        return momi_mesh_lane_is_up(core, node) ||
               core->now_us >= shard->lost_us + MESH_LOST_US;
    }
    return term > shard->term || (shard->leader == 0 && term == shard->term);
}

void momi_mesh_leader_hint(struct momi_core *core, uint32_t shard_id, uint64_t node,
                           uint64_t term) {
    if (shard_id > MOMI_SHARDS_MAX || node == 0) {
        return;
    }
    struct momi_mesh_shard *shard = &core->mesh->shards[shard_id];
    if (!is_believable(core, shard, node, term)) {
        return;
    }
    /* Who was just given up for not serving is asked again in its time: else question and
     * answer chase each other for as long as it cannot serve. */
    bool is_again = node == shard->lost_node && term == shard->term;
    shard->leader = node;
    shard->term = term > shard->term ? term : shard->term;
    shard->lost_node = 0;
    shard->leader_changed = true;
    momi_mesh_soon(core->mesh, core->now_us);
    if (shard_id == MOMI_REGISTRY_SHARD && !is_again) {
        core->mesh->join_due_us = core->now_us;
        core->mesh->report_due_us = core->now_us;
    }
    momi_client_routes_changed(core, shard_id);
}

void momi_mesh_leader_lost(struct momi_core *core, uint32_t shard_id, uint64_t node) {
    if (shard_id > MOMI_SHARDS_MAX || node == 0) {
        return;
    }
    struct momi_mesh_shard *shard = &core->mesh->shards[shard_id];
    struct momi_shard_view view;
    bool leads_itself = node == core->config.node &&
                        momi_core_shard_view(core, shard_id, MOMI_VIEW_PLAIN, &view) &&
                        view.is_leader;
    if (shard->leader != node || leads_itself) {
        return; /* who leads and does not serve yet is the leader all the same */
    }
    shard->leader = 0;
    shard->lost_node = node;
    shard->lost_us = core->now_us;
    want_answers(core);
}

bool momi_mesh_knows_leaders(const struct momi_core *core, uint32_t *unknown) {
    const struct momi_registry *map = momi_mesh_map(core);
    for (uint32_t s = 0; map != NULL && s <= map->shards_count; s++) {
        if (core->mesh->shards[s].leader == 0 && !momi_mesh_is_damaged(core, s)) {
            *unknown = s;
            return false;
        }
    }
    return map != NULL;
}

/* The leaders that we know of, as lines of a map frame. */
static void add_lines(struct momi_core *core, struct momi_frame *frame) {
    struct momi_heartbeat_line *lines =
        momi_effect_alloc(core->effects, sizeof *lines * 2 * (MOMI_SHARDS_MAX + 1));
    uint32_t count = momi_mesh_damage_lines(core, lines);
    for (uint32_t s = 0; s <= MOMI_SHARDS_MAX; s++) {
        const struct momi_mesh_shard *shard = &core->mesh->shards[s];
        if (shard->leader != 0 && shard->term != 0) {
            lines[count++] = (struct momi_heartbeat_line){
                .shard = s, .from_replica = shard->leader, .term = shard->term};
        }
    }
    frame->lines = lines;
    frame->lines_count = count;
}

/* --- sending maps --------------------------------------------------------------------
 */

static struct momi_buf *encode_map(const struct momi_registry *map) {
    struct momi_bytes bytes = {.data = NULL};
    momi_registry_encode(map, &bytes);
    struct momi_buf *buf = bytes.failed ? NULL : momi_buf_copy(momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    return buf;
}

void momi_mesh_map_request(struct momi_core *core, uint64_t node,
                           const struct momi_frame *frame) {
    const struct momi_registry *map = momi_mesh_map(core);
    struct momi_frame *answer = momi_core_send(core, node, FRAME_MAP);
    add_lines(core, answer);
    if (map == NULL) {
        return;
    }
    answer->number = map->version;
    if (map->version <= frame->number) {
        return;
    }
    struct momi_buf *buf = encode_map(map);
    if (buf != NULL) {
        momi_frame_add_part(core->effects, answer, buf, momi_buf_slice(buf));
        struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
        if (peer != NULL) {
            peer->map_version = map->version;
        }
    }
    momi_buf_release(buf);
}

/* A changed map goes over all lanes of the registry's leader, and from its other replicas
 * to clients, which may have no lane to the leader. */
uint64_t momi_mesh_push_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_registry *map = momi_mesh_map(core);
    if (map == NULL || map != momi_shard_registry(core) || core->is_closing) {
        return MOMI_NEVER;
    }
    if (core->now_us < mesh->push_due_us) {
        return mesh->push_due_us;
    }
    struct momi_buf *buf = NULL;
    bool is_leader = momi_shard_is_leader(core, MOMI_REGISTRY_SHARD);
    for (size_t i = 0; i < mesh->peers_count; i++) {
        struct momi_peer *peer = mesh->peers[i];
        if (!peer->is_up || peer->map_version >= map->version ||
            (!is_leader && peer->role != MOMI_ROLE_CLIENT)) {
            continue;
        }
        buf = buf != NULL ? buf : encode_map(map);
        if (buf == NULL) {
            return core->now_us + MESH_RETRY_US;
        }
        struct momi_frame *frame = momi_core_send(core, peer->node, FRAME_MAP);
        frame->number = map->version;
        add_lines(core, frame);
        momi_frame_add_part(core->effects, frame, buf, momi_buf_slice(buf));
        peer->map_version = map->version;
        mesh->push_due_us = core->now_us + MESH_PLAN_US;
    }
    momi_buf_release(buf);
    return MOMI_NEVER;
}

/* --- asking --------------------------------------------------------------------------
 */

void momi_mesh_ask(struct momi_core *core, uint64_t node) {
    const struct momi_registry *map = momi_mesh_map(core);
    momi_core_send(core, node, FRAME_MAP_REQUEST)->number =
        map == NULL ? 0 : map->version;
}

/* The next store in turn whose lane is up; 0: none. */
static uint64_t next_to_ask(struct momi_mesh *mesh) {
    for (size_t i = 0; i < mesh->lanes_count; i++) {
        mesh->ask_next = (mesh->ask_next + 1) % mesh->lanes_count;
        const struct momi_peer *peer = momi_mesh_peer(mesh, mesh->lanes[mesh->ask_next]);
        if (peer != NULL && peer->role == MOMI_ROLE_STORE) {
            return peer->node;
        }
    }
    return 0;
}

/* A lane to one who has to know, if there is none: a holder of the shard, in turn. */
static void want_holder(struct momi_core *core, uint32_t shard) {
    const struct momi_registry *map = momi_mesh_map(core);
    const struct momi_raft_config *config =
        map == NULL || map->places[shard].current.count == 0
            ? NULL
            : &map->places[shard].current;
    if (config == NULL || momi_raft_config_on(config, core->config.node) != NULL) {
        return;
    }
    for (uint32_t i = 0; i < config->count; i++) {
        if (momi_mesh_lane_is_up(core, config->at[i].node)) {
            return;
        }
    }
    uint32_t at = (uint32_t)((core->now_us / MESH_RETRY_US) % config->count);
    momi_mesh_want_lane(core, config->at[at].node);
}

uint64_t momi_mesh_ask_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    if (mesh->is_storing || core->is_closing) {
        return MOMI_NEVER;
    }
    uint32_t unknown = 0;
    bool has_map = momi_mesh_map(core) != NULL;
    bool is_waiting = !has_map || !momi_mesh_knows_leaders(core, &unknown) ||
                      !momi_mesh_is_member(core);
    if (core->now_us < mesh->ask_due_us) {
        return mesh->ask_due_us;
    }
    if (has_map && is_waiting) {
        want_holder(core, unknown);
    }
    bool follows = is_waiting || momi_shard_registry(core) == NULL;
    uint64_t node = follows ? next_to_ask(mesh) : 0;
    if (node != 0) {
        momi_mesh_ask(core, node);
    } else if (!has_map || !is_waiting) {
        return MOMI_NEVER; /* a lane that comes up makes us look again */
    }
    mesh->ask_wait_us =
        mesh->ask_wait_us < MESH_ASK_MIN_US ? MESH_ASK_MIN_US : mesh->ask_wait_us * 2;
    mesh->ask_wait_us = momi_earlier(mesh->ask_wait_us, MESH_ASK_MAX_US);
    mesh->ask_due_us = core->now_us + (is_waiting ? mesh->ask_wait_us : MESH_FOLLOW_US);
    return mesh->ask_due_us;
}

/* --- a map comes ---------------------------------------------------------------------
 */

static void take_map(struct momi_core *core, uint64_t node, struct momi_slice bytes) {
    struct momi_mesh *mesh = core->mesh;
    struct momi_registry found;
    momi_registry_init(&found);
    if (!momi_registry_decode(&found, bytes) || found.places == NULL) {
        core->counters.frames_dropped++;
        momi_registry_free(&found);
        return;
    }
    if (momi_mesh_has_id(core) && !momi_mesh_id_equal(&found.mesh, &core->config.mesh)) {
        struct momi_peer *peer = momi_mesh_peer(mesh, node);
        momi_core_notice(core, MOMI_NOTICE_REFUSED, 0, node,
                         "it belongs to another mesh");
        if (peer != NULL) {
            momi_mesh_hang_up(core, peer);
        }
        momi_registry_free(&found);
        return;
    }
    momi_mesh_adopt(core, &found.mesh);
    bool is_other = !momi_mesh_id_equal(&found.mesh, &mesh->map.mesh);
    if (is_other || found.version > mesh->map.version) {
        momi_registry_free(&mesh->map);
        mesh->map = found;
        mesh->join_due_us = momi_earlier(mesh->join_due_us, core->now_us);
        momi_mesh_soon(mesh, core->now_us);
    } else {
        momi_registry_free(&found);
    }
}

void momi_mesh_map_frame(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame) {
    const struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    if (peer == NULL || peer->role != MOMI_ROLE_STORE) {
        core->counters.frames_dropped++; /* only stores know */
        return;
    }
    const struct momi_registry *map = momi_mesh_map(core);
    if (frame->payload.size > 0 && (map == NULL || frame->number > map->version)) {
        take_map(core, node, frame->payload);
    }
    for (uint32_t i = 0; i < frame->lines_count; i++) {
        const struct momi_heartbeat_line *line = &frame->lines[i];
        if (line->from_replica == 0) {
            momi_mesh_damage_told(core, node, line->shard);
        } else {
            momi_mesh_leader_hint(core, line->shard, line->from_replica, line->term);
        }
    }
}

/* --- telling it on -------------------------------------------------------------------
 */

/* A new leader says so to everybody: clients learn of it before they ask. */
static void announce_leader(struct momi_core *core, uint32_t shard_id) {
    const struct momi_mesh *mesh = core->mesh;
    const struct momi_mesh_shard *shard = &mesh->shards[shard_id];
    const struct momi_registry *map = momi_mesh_map(core);
    if (shard->leader != core->config.node) {
        return;
    }
    for (size_t i = 0; i < mesh->lanes_count; i++) {
        struct momi_frame *frame = momi_core_send(core, mesh->lanes[i], FRAME_MAP);
        struct momi_heartbeat_line *line = momi_effect_alloc(core->effects, sizeof *line);
        *line = (struct momi_heartbeat_line){
            .shard = shard_id, .from_replica = shard->leader, .term = shard->term};
        frame->number = map == NULL ? 0 : map->version;
        frame->lines = line;
        frame->lines_count = 1;
    }
}

/* All data shards have two copies: losing either node stops service. */
static bool has_two_copies(const struct momi_registry *map) {
    for (uint32_t s = 1; s <= map->shards_count; s++) {
        if (map->places[s].current.count != 2) {
            return false;
        }
    }
    return true;
}

static void notice_progress(struct momi_core *core, const struct momi_registry *map) {
    struct momi_mesh *mesh = core->mesh;
    bool is_member = momi_mesh_is_member(core);
    if (is_member && !mesh->was_member) {
        momi_core_notice(core, MOMI_NOTICE_JOINED, 0, core->config.node, "");
    }
    mesh->was_member = is_member;
    struct momi_core_state state;
    momi_core_state(core, &state);
    if (state.is_ready && !mesh->was_ready) {
        mesh->was_ready = true;
        momi_core_notice(core, MOMI_NOTICE_READY, 0, core->config.node, "");
    }
    bool is_two = has_two_copies(map);
    if (is_two && !mesh->was_two_copies) {
        momi_core_notice(core, MOMI_NOTICE_TWO_COPIES, 0, core->config.node,
                         "two copies: losing either node stops service");
    }
    mesh->was_two_copies = is_two;
}

uint64_t momi_mesh_tell_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_registry *map = momi_mesh_map(core);
    bool is_new = map != NULL && map->version != mesh->map_seen;
    bool any = is_new;
    for (uint32_t s = 0; s <= MOMI_SHARDS_MAX; s++) {
        struct momi_mesh_shard *shard = &mesh->shards[s];
        if (!shard->leader_changed) {
            continue;
        }
        any = true;
        shard->leader_changed = false;
        if (shard->leader != 0) {
            momi_core_notice(core, MOMI_NOTICE_LEADER, s, shard->leader, "");
            announce_leader(core, s);
        }
    }
    if (map == NULL) {
        return MOMI_NEVER;
    }
    momi_mesh_damage_notice(core);
    if (is_new) {
        bool is_first = mesh->map_seen == 0;
        mesh->map_seen = map->version;
        for (uint32_t s = 0; is_first && s <= map->shards_count; s++) {
            momi_client_routes_changed(core, s);
        }
    }
    if (any) {
        notice_progress(core, map);
    }
    return MOMI_NEVER;
}
