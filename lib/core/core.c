/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch: one event in, effects out. Everything a node does begins here; the parts
 * are mesh, client and shards (core_internal.h).
 */
#include "core/core.h"

#include "base/assert.h"
#include "base/mem.h"
#include "core/core_internal.h"
#include "core/mutant.h"
#include "core/shard_internal.h"

enum {
    TURN_ROUNDS_MAX = 64,
    HEARTBEAT_LINES_MAX = MOMI_SHARDS_MAX + 1,
    RESERVE_BYTES = 1 << 20, /* for what one turn adds to lists, effects and its batch */
};

/* --- life
 * ---------------------------------------------------------------------------------------------------------
 */

static bool copy_slice(struct momi_slice *slice) {
    uint8_t *copy = momi_alloc(slice->size + 1);
    if (copy == NULL) {
        *slice = (struct momi_slice){0};
        return false;
    }
    if (slice->size > 0) {
        memcpy(copy, slice->data, slice->size);
    }
    copy[slice->size] = 0;
    slice->data = copy;
    return true;
}

/* Makes the core's own copies of what the configuration points to. */
static bool copy_config(struct momi_core_config *config) {
    bool ok = copy_slice(&config->name);
    ok = copy_slice(&config->address) && ok;
    const struct momi_slice *join = config->join;
    struct momi_slice *join_copy = momi_calloc(config->join_count + 1, sizeof *join_copy);
    const struct momi_founder *form = config->form;
    struct momi_founder *form_copy =
        momi_calloc(config->form_count + 1, sizeof *form_copy);
    config->join = join_copy;
    config->form = form_copy;
    if (join_copy == NULL || form_copy == NULL) {
        config->join_count = 0;
        config->form_count = 0;
        return false;
    }
    for (size_t i = 0; i < config->join_count; i++) {
        join_copy[i] = join[i];
        ok = copy_slice(&join_copy[i]) && ok;
    }
    for (size_t i = 0; i < config->form_count; i++) {
        form_copy[i] = form[i];
        ok = copy_slice(&form_copy[i].name) && ok;
        ok = copy_slice(&form_copy[i].address) && ok;
    }
    return ok;
}

static void free_config(struct momi_core_config *config) {
    for (size_t i = 0; i < config->join_count; i++) {
        momi_free((void *)(uintptr_t)config->join[i].data);
    }
    for (size_t i = 0; i < config->form_count; i++) {
        momi_free((void *)(uintptr_t)config->form[i].name.data);
        momi_free((void *)(uintptr_t)config->form[i].address.data);
    }
    momi_free((void *)(uintptr_t)config->join);
    momi_free((void *)(uintptr_t)config->form);
    momi_free((void *)(uintptr_t)config->name.data);
    momi_free((void *)(uintptr_t)config->address.data);
}

static void apply_defaults(struct momi_core_config *config) {
    if (config->shards_count == 0) {
        config->shards_count = MOMI_SHARDS_DEFAULT;
    }
    if (config->copies_count == 0) {
        config->copies_count = MOMI_COPIES_DEFAULT;
    }
    if (config->inflight_bytes_max == 0) {
        config->inflight_bytes_max = MOMI_INFLIGHT_BYTES_DEFAULT;
    }
    if (config->cache_bytes_max == 0) {
        config->cache_bytes_max = MOMI_CACHE_BYTES_DEFAULT;
    }
    if (config->checkpoint_log_bytes == 0) {
        config->checkpoint_log_bytes = MOMI_CHECKPOINT_LOG_BYTES;
    }
    if (config->log_behind_bytes == 0) {
        config->log_behind_bytes = MOMI_LOG_BEHIND_BYTES;
    }
}

bool momi_core_reserve(struct momi_core *core) {
    return momi_reserve_fill(&core->reserve, RESERVE_BYTES);
}

struct momi_core *momi_core_new(const struct momi_core_config *config) {
    struct momi_core *core = momi_calloc(1, sizeof *core);
    if (core == NULL) {
        return NULL;
    }
    core->config = *config;
    momi_ring_init(&core->local_frames, sizeof(struct momi_frame *));
    momi_ring_init(&core->full_lanes, sizeof(uint64_t));
    bool copied = copy_config(&core->config);
    apply_defaults(&core->config);
    momi_rng_seed(&core->rng, config->seed);
    core->batch_next = config->batch_next == 0 ? 1 : config->batch_next;
    core->batch_written = core->batch_next - 1;
    core->token_next = 1;
    core->space_free = UINT64_MAX;
    core->space_total = UINT64_MAX;
    core->mesh = momi_mesh_new(core);
    core->client = momi_client_new(core);
    if (!copied || core->mesh == NULL || core->client == NULL ||
        !momi_core_reserve(core)) {
        momi_core_free(core);
        return NULL;
    }
    return core;
}

void momi_core_free(struct momi_core *core) {
    if (core == NULL) {
        return;
    }
    if (core->client != NULL) {
        momi_client_free(core->client);
    }
    for (size_t i = 0; i <= MOMI_SHARDS_MAX; i++) {
        momi_shard_free(core->shards[i]);
    }
    if (core->mesh != NULL) {
        momi_mesh_free(core->mesh);
    }
    momi_ring_free(&core->local_frames);
    momi_ring_free(&core->full_lanes);
    momi_free(core->restore_found);
    momi_bytes_free(&core->restore_key[0]);
    momi_bytes_free(&core->restore_key[1]);
    free_config(&core->config);
    momi_reserve_free(&core->reserve);
    momi_free(core);
}

/* --- sending
 * ------------------------------------------------------------------------------------------------------
 */

static bool has_room_for(const struct momi_core *core, uint64_t node) {
    return node != core->config.node && momi_mesh_lane_is_up(core, node);
}

struct momi_frame *momi_core_send(struct momi_core *core, uint64_t node,
                                  enum momi_frame_type type) {
    MOMI_ASSERT(core->effects != NULL);
    if (has_room_for(core, node)) {
        return momi_effect_send(core->effects, node, type);
    }
    struct momi_frame *frame = momi_effect_alloc(core->effects, sizeof *frame);
    memset(frame, 0, sizeof *frame);
    frame->type = type;
    if (node == core->config.node) {
        struct momi_frame **at = momi_ring_push(&core->local_frames);
        if (at != NULL) {
            *at = frame;
        }
        return frame;
    }
    core->counters.frames_dropped++;
    return frame;
}

void momi_core_notice(struct momi_core *core, enum momi_notice notice, uint32_t shard,
                      uint64_t node, const char *text) {
    struct momi_effect *effect = momi_effect_add(core->effects, FX_NOTICE);
    effect->notice = notice;
    effect->shard = shard;
    effect->node = node;
    effect->text = momi_effect_copy(core->effects, momi_slice_str(text));
}

/* Turns the parts of a frame to ourselves into the single payload that a reader sees. */
static void join_parts(struct momi_core *core, struct momi_frame *frame) {
    size_t size = 0;
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        size += frame->parts[i].bytes.size;
    }
    if (size == 0) {
        return;
    }
    if (frame->parts_count == 1 && frame->parts[0].buf != NULL) {
        frame->buf = momi_buf_ref(frame->parts[0].buf);
        frame->payload = frame->parts[0].bytes;
        return;
    }
    struct momi_buf *buf = momi_buf_new(size);
    if (buf == NULL) {
        return; /* as if lost: the payload is empty, and its reader drops it */
    }
    size_t at = 0;
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        memcpy(buf->data + at, frame->parts[i].bytes.data, frame->parts[i].bytes.size);
        at += frame->parts[i].bytes.size;
    }
    (void)core;
    frame->buf = buf;
    frame->payload = momi_buf_slice(buf);
}

static void release_parts(struct momi_frame *frame) {
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        momi_buf_release(frame->parts[i].buf);
    }
    frame->parts_count = 0;
}

/* --- frames
 * -------------------------------------------------------------------------------------------------------
 */

static struct momi_shard *shard_of(const struct momi_core *core, uint32_t shard) {
    return shard <= MOMI_SHARDS_MAX ? core->shards[shard] : NULL;
}

/* R2: both ids are those of this replica and of the sender's. */
static bool is_called(const struct momi_shard *shard, uint64_t replica) {
    return shard->replica == replica || MUTANT(REPLICA_ID_IGNORED);
}

static void heartbeat_received(struct momi_core *core, uint64_t node,
                               const struct momi_frame *frame) {
    struct momi_heartbeat_line *replies =
        momi_effect_alloc(core->effects, sizeof *replies * (frame->lines_count + 1));
    uint32_t replies_count = 0;
    for (uint32_t i = 0; i < frame->lines_count; i++) {
        const struct momi_heartbeat_line *line = &frame->lines[i];
        struct momi_shard *shard = shard_of(core, line->shard);
        if (shard == NULL || !is_called(shard, line->to_replica)) {
            continue;
        }
        if (momi_raft_heartbeat(&shard->raft, core->now_us, node, line,
                                &replies[replies_count], core->effects)) {
            replies_count++;
        }
        momi_shard_raft_changed(shard);
    }
    if (frame->lines_count == 0) {
        return;
    }
    struct momi_frame *reply = momi_core_send(core, node, FRAME_HEARTBEAT_REPLY);
    reply->counter = frame->counter;
    reply->lines = replies;
    reply->lines_count = replies_count;
    reply->number = core->wall_us;
    reply->free_bytes = core->space_free;
}

static void heartbeat_reply_received(struct momi_core *core, uint64_t node,
                                     const struct momi_frame *frame) {
    for (uint32_t i = 0; i < frame->lines_count; i++) {
        const struct momi_heartbeat_line *line = &frame->lines[i];
        struct momi_shard *shard = shard_of(core, line->shard);
        if (shard == NULL || !is_called(shard, line->to_replica)) {
            continue;
        }
        momi_raft_heartbeat_reply(&shard->raft, core->now_us, node, frame->counter, line,
                                  frame->free_bytes, core->effects);
        momi_shard_raft_changed(shard);
    }
}

/* R2, R3: frames carry both replica ids; only a leader's first frame makes a learner. */
static void shard_frame(struct momi_core *core, uint64_t node,
                        const struct momi_frame *frame) {
    struct momi_shard *shard = shard_of(core, frame->shard);
    bool calls = frame->type == FRAME_APPEND || frame->type == FRAME_SNAPSHOT_RECORDS;
    if (shard == NULL && calls && core->config.role == MOMI_ROLE_STORE) {
        shard = momi_shard_learn(core, frame->shard, frame->to_replica);
    }
    if (shard == NULL || !is_called(shard, frame->to_replica)) {
        core->counters.frames_dropped++;
        return;
    }
    momi_shard_frame(shard, node, frame);
}

static void request_frame(struct momi_core *core, uint64_t node,
                          const struct momi_frame *frame) {
    struct momi_shard *shard = shard_of(core, frame->shard);
    if (shard == NULL || !momi_raft_is_leader(&shard->raft)) {
        struct momi_frame *answer = momi_core_send(core, node, FRAME_NOT_LEADER);
        answer->shard = frame->shard;
        answer->counter = frame->counter;
        answer->index = shard != NULL ? shard->raft.leader_node
                                      : momi_mesh_leader(core, frame->shard);
        if (answer->index == core->config.node) {
            answer->index = 0;
        }
        answer->term = shard != NULL ? shard->raft.term : 0;
        return;
    }
    switch (frame->type) {
    case FRAME_SESSION_OPEN:
        momi_shard_session_open(shard, node, frame);
        break;
    case FRAME_COMMANDS:
        momi_shard_commands(shard, node, frame);
        break;
    default:
        momi_shard_query(shard, node, frame);
        break;
    }
}

static void mesh_frame(struct momi_core *core, uint64_t node,
                       const struct momi_frame *frame) {
    struct momi_event event = {.type = EV_FRAME,
                               .now_us = core->now_us,
                               .wall_us = core->wall_us,
                               .node = node,
                               .frame = frame};
    momi_mesh_event(core, &event);
}

static void frame_received(struct momi_core *core, uint64_t node,
                           const struct momi_frame *frame) {
    if (!momi_mesh_lane_is_up(core, node)) {
        /* Still under way when its lane was given up: nobody vouches for the sender (S1:
         * a session would be opened for no life of it). */
        core->counters.frames_dropped++;
        return;
    }
    momi_mesh_heard(core, node);
    switch (frame->type) {
    case FRAME_HEARTBEAT:
        momi_mesh_clock_heard(core, node, frame->number);
        heartbeat_received(core, node, frame);
        break;
    case FRAME_HEARTBEAT_REPLY:
        momi_mesh_clock_heard(core, node, frame->number);
        heartbeat_reply_received(core, node, frame);
        break;
    case FRAME_VOTE:
    case FRAME_VOTE_REPLY:
    case FRAME_APPEND:
    case FRAME_APPEND_REPLY:
    case FRAME_TIMEOUT_NOW:
    case FRAME_SNAPSHOT:
    case FRAME_SNAPSHOT_RECORDS:
    case FRAME_SNAPSHOT_LIST:
    case FRAME_SNAPSHOT_REPLY:
    case FRAME_FETCH:
    case FRAME_ENTRIES:
        shard_frame(core, node, frame);
        break;
    case FRAME_SESSION_OPEN:
    case FRAME_COMMANDS:
    case FRAME_QUERY:
        request_frame(core, node, frame);
        break;
    case FRAME_SESSION_PING:
        if (frame->count == 0) {
            momi_shard_session_ping(core, node, frame);
        }
        break;
    case FRAME_SESSION_OPENED:
    case FRAME_RESULTS:
    case FRAME_DELIVER:
    case FRAME_CONSUMER_ENDED:
    case FRAME_NOT_LEADER:
    case FRAME_QUERY_REPLY:
        momi_client_frame(core, node, frame);
        break;
    case FRAME_MAP_REQUEST:
    case FRAME_MAP:
    case FRAME_JOIN:
    case FRAME_JOIN_REPLY:
    case FRAME_PLAN_DONE:
    case FRAME_GOODBYE:
        mesh_frame(core, node, frame);
        break;
    }
}

static bool handle_local_frames(struct momi_core *core) {
    bool any = core->local_frames.count > 0;
    while (core->local_frames.count > 0) {
        struct momi_frame *frame =
            *(struct momi_frame **)momi_ring_at(&core->local_frames, 0);
        momi_ring_pop_front(&core->local_frames, 1);
        join_parts(core, frame);
        frame_received(core, core->config.node, frame);
        release_parts(frame);
        momi_buf_release(frame->buf);
    }
    return any;
}

/* --- heartbeats: one frame per node pair for all shards (R4)
 * ------------------------------------------------------ */

static void send_heartbeats(struct momi_core *core) {
    core->heartbeat_counter++;
    const uint64_t *nodes = NULL;
    size_t nodes_count = momi_mesh_lanes(core, &nodes);
    for (size_t i = 0; i < nodes_count; i++) {
        struct momi_heartbeat_line *lines = NULL;
        uint32_t lines_count = 0;
        for (uint32_t s = 0; s < core->shards_end; s++) {
            struct momi_shard *shard = core->shards[s];
            if (shard == NULL || !momi_raft_is_leader(&shard->raft)) {
                continue;
            }
            if (lines == NULL) {
                lines =
                    momi_effect_alloc(core->effects, sizeof *lines * HEARTBEAT_LINES_MAX);
            }
            lines_count +=
                momi_raft_heartbeat_line(&shard->raft, nodes[i], &lines[lines_count]);
        }
        if (lines_count == 0) {
            continue;
        }
        struct momi_frame *frame = momi_core_send(core, nodes[i], FRAME_HEARTBEAT);
        frame->counter = core->heartbeat_counter;
        frame->lines = lines;
        frame->lines_count = lines_count;
        frame->number = core->wall_us;
        frame->free_bytes = core->space_free;
    }
    core->heartbeat_due_us = core->now_us + MOMI_HEARTBEAT_US;
}

static bool leads_anything(const struct momi_core *core) {
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL && momi_raft_is_leader(&core->shards[s]->raft)) {
            return true;
        }
    }
    return false;
}

/* --- events
 * -------------------------------------------------------------------------------------------------------
 */

static void store_failed(struct momi_core *core, int error) {
    if (core->store_failed) {
        return;
    }
    core->store_failed = true;
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            momi_shard_stop(core->shards[s]);
        }
    }
    momi_core_notice(core, MOMI_NOTICE_STORE_FAILED, 0, core->config.node,
                     mom_strerror(error));
}

static void written(struct momi_core *core, const struct momi_event *event) {
    if (event->error != MOM_OK && !MUTANT(FAILED_WRITE_IGNORED)) {
        store_failed(core, event->error);
        return;
    }
    core->batch_written = event->token;
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            momi_shard_written(core->shards[s], event->token);
        }
    }
}

static size_t find_full(const struct momi_core *core, uint64_t node) {
    size_t i = 0;
    while (i < core->full_lanes.count &&
           *(uint64_t *)momi_ring_at(&core->full_lanes, i) != node) {
        i++;
    }
    return i;
}

static void set_full(struct momi_core *core, uint64_t node, bool is_full) {
    size_t at = find_full(core, node);
    bool was_full = at < core->full_lanes.count;
    if (is_full && !was_full) {
        uint64_t *slot = momi_ring_push(&core->full_lanes);
        if (slot != NULL) {
            *slot = node;
        }
    } else if (!is_full && was_full) {
        uint64_t last =
            *(uint64_t *)momi_ring_at(&core->full_lanes, core->full_lanes.count - 1);
        *(uint64_t *)momi_ring_at(&core->full_lanes, at) = last;
        momi_ring_pop_back(&core->full_lanes, 1);
    }
}

bool momi_core_has_room(const struct momi_core *core, uint64_t node) {
    return momi_mesh_lane_is_up(core, node) &&
           find_full(core, node) == core->full_lanes.count;
}

static void lane_changed(struct momi_core *core, const struct momi_event *event) {
    uint64_t node = event->type == EV_LANE_UP ? event->lane->node : event->node;
    set_full(core, node, false);
    momi_mesh_event(core, event);
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            momi_shard_lane(core->shards[s], node, event->type == EV_LANE_UP,
                            event->reason == MOMI_DOWN_CLOSED);
        }
    }
    momi_client_event(core, event);
}

static void read_done(struct momi_core *core, const struct momi_event *event) {
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL &&
            momi_shard_has_read(core->shards[s], event->token)) {
            momi_shard_read_done(core->shards[s], event->token, event->error, event->buf);
            return;
        }
    }
}

static void scanned(struct momi_core *core, const struct momi_event *event) {
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL &&
            momi_shard_snapshot_scanned(core->shards[s], event)) {
            return;
        }
    }
}

static void close_node(struct momi_core *core) {
    if (core->is_closing) {
        return;
    }
    core->is_closing = true;
    momi_client_close(core);
    for (uint32_t s = 0; s < core->shards_end; s++) {
        struct momi_shard *shard = core->shards[s];
        if (shard != NULL && momi_raft_is_leader(&shard->raft)) {
            (void)momi_raft_transfer(&shard->raft, core->now_us, 0, core->effects);
        }
    }
}

static void pass_time(struct momi_core *core) {
    momi_mesh_time(core);
    momi_client_time(core);
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            momi_shard_time(core->shards[s]);
        }
    }
    if (leads_anything(core) && core->now_us >= core->heartbeat_due_us) {
        send_heartbeats(core);
    }
}

/* Without memory for what may follow, input is refused before anything is changed: calls
 * are NO_MEMORY, frames as if lost. Everything else goes on with what the reserve holds.
 */
static void refuse(struct momi_core *core, const struct momi_event *event) {
    if (event->type == EV_FRAME) {
        core->counters.frames_dropped++;
        return;
    }
    struct momi_effect *effect = momi_effect_add(core->effects, FX_COMPLETE);
    effect->token = event->call->id;
    effect->completion.error = MOM_NO_MEMORY;
}

static void begin(struct momi_core *core) {
    core->restore_stage = UINT8_MAX;
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            momi_shard_start(core->shards[s]);
        }
    }
    momi_mesh_start(core);
}

static void step(struct momi_core *core, const struct momi_event *event) {
    switch (event->type) {
    case EV_TIME:
        pass_time(core);
        break;
    case EV_LANE_UP:
    case EV_LANE_DOWN:
        lane_changed(core, event);
        break;
    case EV_LANE_FULL:
    case EV_LANE_ROOM:
        set_full(core, event->node, event->type == EV_LANE_FULL);
        break; /* what waits for room is derived at the end of the turn */
    case EV_PEER_HINT:
    case EV_DIAL_FAILED:
    case EV_IDENTITY:
        momi_mesh_event(core, event);
        break;
    case EV_FRAME:
        frame_received(core, event->node, event->frame);
        break;
    case EV_WRITTEN:
        written(core, event);
        break;
    case EV_READ:
        read_done(core, event);
        break;
    case EV_SCANNED:
        scanned(core, event);
        break;
    case EV_SPACE:
        core->space_free = event->value;
        core->space_total = event->total;
        break;
    case EV_CALL:
    case EV_CALL_CANCEL:
    case EV_CONSUMER_TAKEN:
    case EV_CONSUMER_SETTLE:
        momi_client_event(core, event);
        break;
    case EV_CLOSE:
        close_node(core);
        break;
    }
}

void momi_core_step(struct momi_core *core, const struct momi_event *event,
                    struct momi_effects *effects) {
    MOMI_ASSERT(!core->is_stepping);
    MOMI_ASSERT(event->now_us >= core->now_us);
    core->effects = effects;
    core->now_us = event->now_us;
    core->wall_us = event->wall_us;
    if (core->is_closed) {
        return;
    }
    core->is_stepping = true;
    bool has_memory = momi_core_reserve(core);
    momi_reserve_enter(&core->reserve);
    if (core->restore_stage != UINT8_MAX) {
        begin(core);
    }
    if (!has_memory && (event->type == EV_CALL || event->type == EV_FRAME)) {
        refuse(core, event);
    } else {
        step(core, event);
    }
    momi_reserve_leave();
    core->is_stepping = false;
}

/* --- the end of a turn
 * --------------------------------------------------------------------------------------------
 */

static void number_batch(struct momi_core *core) {
    struct momi_effects *effects = core->effects;
    MOMI_ASSERT(!effects->batch.failed);
    if (momi_batch_count(&effects->batch) == 0) {
        return;
    }
    if (core->store_failed) {
        momi_batch_clear(&effects->batch);
        return;
    }
    uint64_t number = core->batch_next++;
    effects->batch.number = number;
    struct momi_effect *effect = momi_effect_add(effects, FX_WRITE);
    effect->token = number;
    effect->sync = effects->batch_sync;
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            momi_shard_batch_numbered(core->shards[s], number);
        }
    }
}

/* Closing ends when leadership has moved (or nobody can take it) and everything written
 * is on disk. */
static void finish_closing(struct momi_core *core) {
    if (!core->is_closing || core->is_closed) {
        return;
    }
    for (uint32_t s = 0; s < core->shards_end; s++) {
        struct momi_shard *shard = core->shards[s];
        if (shard != NULL && shard->raft.transfer_to != 0) {
            return;
        }
    }
    if (!core->store_failed && core->batch_written + 1 < core->batch_next) {
        return;
    }
    momi_mesh_close(core);
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            momi_shard_stop(core->shards[s]);
        }
    }
    core->is_closed = true;
    (void)momi_effect_add(core->effects, FX_CLOSED);
}

void momi_core_turn_end(struct momi_core *core, struct momi_effects *effects) {
    if (core->is_closed) {
        return;
    }
    MOMI_ASSERT(!core->is_stepping);
    core->is_stepping = true;
    core->effects = effects;
    momi_reserve_enter(&core->reserve);
    for (int round = 0; round < TURN_ROUNDS_MAX; round++) {
        momi_client_turn_end(core);
        bool more = handle_local_frames(core);
        for (uint32_t s = 0; s < core->shards_end; s++) {
            if (core->shards[s] != NULL) {
                more = momi_shard_turn(core->shards[s]) || more;
            }
        }
        if (!more && core->local_frames.count == 0) {
            break;
        }
    }
    finish_closing(core);
    if (leads_anything(core) && core->now_us >= core->heartbeat_due_us) {
        send_heartbeats(core);
    }
    number_batch(core);
    momi_reserve_leave();
    core->effects = NULL;
    core->is_stepping = false;
}

uint64_t momi_core_deadline(const struct momi_core *core) {
    if (core->is_closed) {
        return MOMI_NEVER;
    }
    uint64_t due = momi_earlier(momi_mesh_deadline(core), momi_client_deadline(core));
    for (uint32_t s = 0; s < core->shards_end; s++) {
        if (core->shards[s] != NULL) {
            due = momi_earlier(due, momi_shard_deadline(core->shards[s]));
        }
    }
    if (leads_anything(core)) {
        due = momi_earlier(due, core->heartbeat_due_us);
    }
    return core->local_frames.count > 0 ? core->now_us : due;
}

/* --- views
 * --------------------------------------------------------------------------------------------------------
 */

void momi_core_state(const struct momi_core *core, struct momi_core_state *state) {
    memset(state, 0, sizeof *state);
    state->is_member = momi_mesh_is_member(core);
    state->store_failed = core->store_failed;
    state->mesh = core->config.mesh;
    state->shards_count = momi_mesh_shards_count(core);
    state->copies_count = momi_mesh_copies_count(core);
    state->is_ready = state->is_member && state->shards_count != 0;
    for (uint32_t s = 0; state->is_ready && s <= state->shards_count; s++) {
        state->is_ready = momi_mesh_leader(core, s) != 0 || momi_mesh_is_damaged(core, s);
    }
}

size_t momi_core_waiting_for(const struct momi_core *core, char *text, size_t size) {
    return momi_mesh_waiting_for(core, text, size);
}

bool momi_core_shard_view(const struct momi_core *core, uint32_t shard_id,
                          enum momi_view_detail detail, struct momi_shard_view *view) {
    const struct momi_shard *shard = shard_of(core, shard_id);
    if (shard == NULL) {
        return false;
    }
    memset(view, 0, sizeof *view);
    const struct momi_replica_at *at =
        momi_raft_config_find(&shard->raft.config, shard->replica);
    view->replica = shard->replica;
    view->term = shard->raft.term;
    view->is_leader = momi_raft_is_leader(&shard->raft);
    view->is_voter = at != NULL && at->votes;
    view->has_state = shard->has_state;
    view->leader_node = shard->raft.leader_node;
    view->commit = shard->raft.commit;
    view->applied = shard->applied;
    view->first_index = shard->raft.log.first_index;
    view->last_index = momi_log_last(&shard->raft.log);
    view->durable_index = shard->raft.durable;
    if (detail == MOMI_VIEW_HASH) {
        view->state_hash = shard->is_registry ? momi_registry_hash(&shard->registry)
                                              : momi_machine_hash(shard->machine);
    }
    return true;
}

uint64_t momi_core_log_term(const struct momi_core *core, uint32_t shard_id,
                            uint64_t index) {
    const struct momi_shard *shard = shard_of(core, shard_id);
    return shard == NULL ? 0 : momi_log_term(&shard->raft.log, index);
}

const struct momi_core_counters *momi_core_counters(const struct momi_core *core) {
    return &core->counters;
}
