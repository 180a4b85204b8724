/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica's life: making and removing it (R2, R3), frames of its group, applying what
 * is committed (R9), and its part of each turn.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/mutant.h"
#include "core/shard_internal.h"

/* --- making and removing
 * ------------------------------------------------------------------------------------------
 */

struct momi_machine *momi_shard_new_machine(struct momi_core *core, uint32_t shard) {
    struct momi_machine *machine = momi_alloc(sizeof *machine);
    if (machine != NULL &&
        momi_machine_init(machine, shard, 0, &core->counters) != MOM_OK) {
        momi_free(machine);
        return NULL;
    }
    return machine;
}

void momi_shard_free_machine(struct momi_machine *machine) {
    if (machine != NULL) {
        momi_machine_free(machine);
        momi_free(machine);
    }
}

struct momi_shard *momi_shard_alloc(struct momi_core *core, uint32_t id) {
    MOMI_ASSERT(id <= MOMI_SHARDS_MAX);
    MOMI_ASSERT(core->shards[id] == NULL);
    struct momi_shard *shard = momi_calloc(1, sizeof *shard);
    if (shard == NULL) {
        return NULL;
    }
    shard->core = core;
    shard->id = id;
    shard->is_registry = id == MOMI_REGISTRY_SHARD;
    shard->log_from = 1;
    momi_ring_init(&shard->pending, sizeof(struct momi_pending));
    momi_ring_init(&shard->openings, sizeof(struct momi_opening));
    momi_ring_init(&shard->queries, sizeof(struct momi_query_waiting));
    if (shard->is_registry) {
        momi_registry_init(&shard->registry);
    } else {
        shard->machine = momi_shard_new_machine(core, id);
        if (shard->machine == NULL) {
            momi_free(shard);
            return NULL;
        }
    }
    core->shards[id] = shard;
    if (core->shards_end <= id) {
        core->shards_end = id + 1;
    }
    return shard;
}

void momi_shard_free(struct momi_shard *shard) {
    if (shard == NULL) {
        return;
    }
    momi_shard_drop_pending(shard);
    momi_shard_drop_queries(shard);
    momi_shard_forget_recent(shard);
    momi_shard_receive_abandon(shard);
    for (size_t i = 0; i < sizeof shard->sends / sizeof shard->sends[0]; i++) {
        momi_bytes_free(&shard->sends[i].after);
    }
    momi_ring_free(&shard->pending);
    momi_ring_free(&shard->openings);
    momi_ring_free(&shard->queries);
    momi_raft_free(&shard->raft);
    if (shard->is_registry) {
        momi_registry_free(&shard->registry);
    } else {
        momi_shard_free_machine(shard->machine);
    }
    momi_free(shard);
}

void momi_shard_header(const struct momi_shard *shard, struct momi_shard_header *header) {
    *header = (struct momi_shard_header){
        .replica = shard->replica,
        .side = shard->side,
        .has_state = shard->has_state,
        .applied = shard->applied,
        .applied_term = shard->applied_term,
        .first_index = shard->raft.log.first_index,
        .before_term = shard->raft.log.before_term,
    };
    const struct momi_raft_config *config =
        momi_raft_config_at(&shard->raft, shard->applied, &header->config_index);
    MOMI_ASSERT(config != NULL);
    header->config = *config;
}

void momi_shard_write_header(struct momi_shard *shard,
                             enum momi_header_sync sync_wanted) {
    struct momi_effects *effects = shard->core->effects;
    struct momi_shard_header header;
    momi_shard_header(shard, &header);
    momi_batch_put_header(&effects->batch, shard->id, &header);
    momi_raft_put_end(&shard->raft, effects);
    if (sync_wanted == MOMI_SYNC_NEEDED) {
        effects->batch_sync = true;
    }
    shard->has_batch = true;
}

static struct momi_shard *make_replica(struct momi_core *core, uint32_t id,
                                       uint64_t replica, bool has_state,
                                       const struct momi_raft_config *config) {
    struct momi_shard *shard = momi_shard_alloc(core, id);
    if (shard == NULL) {
        return NULL;
    }
    shard->replica = replica;
    shard->has_state = has_state;
    struct momi_raft_start start = {
        .shard = id,
        .replica = replica,
        .node = core->config.node,
        .seed = momi_rng_next(&core->rng),
        .now_us = core->now_us,
        .has_state = has_state,
        .counters = &core->counters,
    };
    if (config != NULL) {
        start.config = *config;
    }
    if (!momi_raft_init(&shard->raft, &start)) {
        core->shards[id] = NULL;
        momi_shard_free(shard);
        return NULL;
    }
    momi_raft_restored(&shard->raft);
    momi_shard_write_header(shard, MOMI_SYNC_NEEDED);
    return shard;
}

void momi_shard_found(struct momi_core *core, uint32_t id,
                      const struct momi_raft_config *config) {
    const struct momi_replica_at *own = momi_raft_config_on(config, core->config.node);
    if (core->shards[id] != NULL || own == NULL) {
        return;
    }
    (void)make_replica(core, id, own->replica, true, config);
    momi_trace(core, "SHARD_FOUNDED", id, own->replica, config->count);
}

struct momi_shard *momi_shard_learn(struct momi_core *core, uint32_t id,
                                    uint64_t replica) {
    if (id > MOMI_SHARDS_MAX || core->shards[id] != NULL ||
        (replica <= core->tombstones[id] && !MUTANT(LEARNER_BELOW_TOMBSTONE))) {
        return NULL;
    }
    momi_trace(core, "SHARD_LEARNS", id, replica, 0);
    return make_replica(core, id, replica, false, NULL);
}

void momi_shard_remove(struct momi_core *core, uint32_t id, uint64_t replica) {
    struct momi_shard *shard = core->shards[id];
    if (replica <= core->tombstones[id]) {
        return;
    }
    core->tombstones[id] = replica;
    struct momi_effects *effects = core->effects;
    struct momi_bytes value = {0};
    momi_put_u64(&value, replica);
    struct momi_key key = momi_key_node('t', id);
    momi_batch_put(&effects->batch, MOMI_FAMILY_NODE, momi_key_slice(&key),
                   momi_bytes_slice(&value));
    momi_bytes_free(&value);
    effects->batch_sync = true;
    if (shard == NULL || shard->replica > replica) {
        return;
    }
    momi_raft_stop(&shard->raft, effects);
    momi_batch_clear_side(&effects->batch, id, 0);
    momi_batch_clear_side(&effects->batch, id, 1);
    momi_batch_truncate(&effects->batch, id, 0);
    for (const char *letter = "hsl"; *letter != 0; letter++) {
        key = momi_key_node((uint8_t)*letter, id);
        momi_batch_delete(&effects->batch, MOMI_FAMILY_NODE, momi_key_slice(&key));
    }
    momi_trace(core, "SHARD_REMOVED", id, shard->replica, 0);
    core->shards[id] = NULL;
    momi_shard_free(shard);
}

void momi_shard_stop(struct momi_shard *shard) {
    momi_shard_drop_pending(shard);
    momi_shard_drop_queries(shard);
    momi_raft_stop(&shard->raft, shard->core->effects);
    momi_shard_raft_changed(shard);
}

struct momi_registry *momi_shard_registry(const struct momi_core *core) {
    struct momi_shard *shard = core->shards[MOMI_REGISTRY_SHARD];
    return shard != NULL && shard->has_state && shard->applied > 0 ? &shard->registry
                                                                   : NULL;
}

bool momi_shard_is_leader(const struct momi_core *core, uint32_t id) {
    return id <= MOMI_SHARDS_MAX && core->shards[id] != NULL &&
           momi_shard_serves(core->shards[id]);
}

bool momi_shard_is_hurt(const struct momi_core *core, uint32_t id) {
    const struct momi_shard *shard = id <= MOMI_SHARDS_MAX ? core->shards[id] : NULL;
    return shard != NULL && (shard->is_damaged || shard->raft.missing.index != 0);
}

bool momi_shard_serves(const struct momi_shard *shard) {
    return momi_raft_serves(&shard->raft) &&
           shard->applied >= shard->raft.term_start_index && !shard->core->store_failed;
}

/* --- the elapsed clock (R8)
 * ---------------------------------------------------------------------------------------
 */

uint64_t momi_shard_elapsed(const struct momi_shard *shard) {
    return shard->elapsed_base_us + (shard->core->now_us - shard->elapsed_since_us);
}

/* --- what Raft changed
 * --------------------------------------------------------------------------------------------
 */

/* A new leader gives all sessions a full term, and has sent nothing yet (S1). */
static void begin_leading(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    shard->elapsed_base_us = shard->raft.elapsed_us;
    shard->elapsed_since_us = core->now_us;
    shard->stamped_us = core->now_us;
    shard->tick_index = 0;
    shard->plan_reported = 0;
    shard->unapplied_bytes = 0;
    momi_trace(core, "LEADER", shard->id, shard->raft.term, shard->replica);
    momi_mesh_leader_hint(core, shard->id, core->config.node, shard->raft.term);
}

/* The new leader's view of sessions and consumers starts when everything before its term
 * is applied. */
static void begin_serving(struct momi_shard *shard) {
    if (shard->is_registry) {
        momi_mesh_registry_changed(shard->core);
        return;
    }
    struct momi_machine *machine = shard->machine;
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        struct momi_session *session = MOMI_CONTAINER_OF(link, struct momi_session, link);
        session->proposed = session->last;
        session->sent = session->answered;
        session->heard_us = shard->core->now_us;
        session->lane_down_us = 0;
        session->detach_proposed = false;
        session->end_proposed = false;
        if (!momi_list_linked(&session->fresh_link)) {
            momi_list_push_back(&machine->fresh_sessions, &session->fresh_link);
        }
        MOMI_LIST_FOR_EACH (at, &session->consumers) {
            struct momi_consumer *consumer =
                MOMI_CONTAINER_OF(at, struct momi_consumer, session_link);
            consumer->sent = 0;
            if (!momi_list_linked(&consumer->fresh_link)) {
                momi_list_push_back(&machine->fresh_consumers, &consumer->fresh_link);
            }
        }
    }
}

static void end_leading(struct momi_shard *shard) {
    momi_trace(shard->core, "STEPPED_DOWN", shard->id, shard->raft.term, shard->replica);
    momi_shard_drop_pending(shard);
    momi_shard_drop_queries(shard);
    momi_shard_snapshot_stop(shard);
    shard->openings.count = 0;
    shard->openings.head = 0;
    momi_mesh_leader_lost(shard->core, shard->id, shard->core->config.node);
}

void momi_shard_raft_changed(struct momi_shard *shard) {
    struct momi_raft *raft = &shard->raft;
    if (raft->lost_leadership) {
        raft->lost_leadership = false;
        end_leading(shard);
    }
    if (raft->became_leader) {
        raft->became_leader = false;
        if (momi_raft_is_leader(raft)) {
            begin_leading(shard);
        }
    }
    if (raft->truncated_from != 0 && shard->receive.is_on &&
        shard->receive.fetch_next > raft->truncated_from) {
        /* Entries fetched for an install went with the tail of the log: ask for them
         * again. */
        shard->receive.fetch_next = raft->truncated_from;
        shard->receive.fetch_last = 0;
    }
    raft->truncated_from = 0;
    if (raft->leader_node != 0 && raft->leader_node != shard->core->config.node) {
        momi_mesh_leader_hint(shard->core, shard->id, raft->leader_node, raft->term);
    }
}

/* --- frames
 * -------------------------------------------------------------------------------------------------------
 */

/* Takes the entries of an APPEND out of its payload: each with its u32 size, checked, in
 * a buffer of its own. */
static bool unpack_entries(struct momi_shard *shard, const struct momi_frame *frame,
                           struct momi_buf **entries, uint64_t *terms) {
    struct momi_reader in = momi_reader(frame->payload);
    uint32_t done = 0;
    for (; done < frame->count; done++) {
        uint32_t size = momi_get_u32(&in);
        struct momi_slice bytes = momi_get_bytes(&in, size);
        struct momi_entry entry;
        if (in.failed || !momi_entry_parse(bytes, &entry) ||
            entry.kind == MOMI_ENTRY_HOLLOW) {
            break;
        }
        entries[done] = momi_buf_copy(bytes);
        if (entries[done] == NULL) {
            break;
        }
        terms[done] = entry.term;
    }
    if (done == frame->count && momi_reader_done(&in)) {
        return true;
    }
    for (uint32_t i = 0; i < done; i++) {
        momi_buf_release(entries[i]);
    }
    shard->core->counters.frames_dropped++;
    return false;
}

static void raft_frame(struct momi_shard *shard, uint64_t node,
                       const struct momi_frame *frame) {
    struct momi_core *core = shard->core;
    struct momi_buf **entries = NULL;
    uint64_t *terms = NULL;
    uint32_t count = frame->type == FRAME_APPEND ? frame->count : 0;
    if (count > 0) {
        if (count > frame->payload.size / MOMI_ENTRY_HEADER) {
            core->counters.frames_dropped++;
            return;
        }
        entries = momi_effect_alloc(core->effects, sizeof(struct momi_buf *) * count);
        terms = momi_effect_alloc(core->effects, sizeof *terms * count);
        if (!momi_log_reserve(&shard->raft.log, count) ||
            !unpack_entries(shard, frame, entries, terms)) {
            return;
        }
    }
    momi_raft_frame(&shard->raft, core->now_us, node, frame, entries, terms, count,
                    core->effects);
    for (uint32_t i = 0; i < count; i++) {
        momi_buf_release(entries[i]);
    }
    momi_shard_raft_changed(shard);
}

/* A sender's id that the configuration knows must be on the node that sent it. */
static bool sender_fits(const struct momi_shard *shard, uint64_t node,
                        const struct momi_frame *frame) {
    const struct momi_replica_at *at =
        momi_raft_config_find(&shard->raft.config, frame->from_replica);
    return at == NULL || at->node == node;
}

void momi_shard_frame(struct momi_shard *shard, uint64_t node,
                      const struct momi_frame *frame) {
    if (!sender_fits(shard, node, frame) && !MUTANT(REPLICA_ID_IGNORED)) {
        shard->core->counters.frames_dropped++;
        return;
    }
    switch (frame->type) {
    case FRAME_VOTE:
    case FRAME_VOTE_REPLY:
    case FRAME_APPEND:
    case FRAME_APPEND_REPLY:
    case FRAME_TIMEOUT_NOW:
        raft_frame(shard, node, frame);
        break;
    case FRAME_SNAPSHOT_RECORDS:
        momi_shard_snapshot_records(shard, node, frame);
        break;
    case FRAME_SNAPSHOT_REPLY:
        momi_shard_snapshot_reply(shard, node, frame);
        break;
    case FRAME_FETCH:
        momi_shard_fetch(shard, node, frame);
        break;
    case FRAME_ENTRIES:
        momi_shard_snapshot_entries(shard, node, frame);
        break;
    default:
        shard->core->counters.frames_dropped++;
        break;
    }
}

/* --- applying (R9)
 * ------------------------------------------------------------------------------------------------
 */

/* One committed entry; false: out of memory or not readable now, stay where we are. */
static bool apply_entry(struct momi_shard *shard, uint64_t index, struct momi_buf *buf) {
    struct momi_core *core = shard->core;
    struct momi_entry entry;
    /* Checked when it came in or was read back; a broken one here is our own fault. */
    bool is_sane = momi_entry_peek(momi_buf_slice(buf), &entry);
    MOMI_ASSERT(is_sane);
    bool reserved = shard->is_registry ? momi_registry_reserve(&shard->registry, &entry)
                                       : momi_machine_reserve(shard->machine, &entry);
    if (!reserved) {
        shard->is_parked = true;
        shard->parked_until_us = core->now_us + 100 * MOMI_MS;
        (void)momi_raft_transfer(&shard->raft, core->now_us, 0, core->effects);
        return false;
    }
    if (shard->is_registry) {
        momi_registry_apply(&shard->registry, index, &entry);
    } else {
        momi_machine_apply(shard->machine, index, &entry);
    }
    core->counters.commands_applied += entry.commands_count;
    shard->applied = index;
    shard->applied_term = entry.term;
    shard->checkpoint_log_bytes += buf->size;
    uint64_t size = momi_log_size(&shard->raft.log, index);
    shard->unapplied_bytes -=
        size < shard->unapplied_bytes ? size : shard->unapplied_bytes;
    return true;
}

static bool apply_committed(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    if (!shard->has_state) {
        return false; /* waits for a snapshot */
    }
    if (shard->is_parked && core->now_us < shard->parked_until_us) {
        return false;
    }
    shard->is_parked = false;
    uint64_t bytes = 0;
    bool any = false;
    bool served = momi_shard_serves(shard);
    while (shard->applied < shard->raft.commit && bytes < SHARD_APPLY_BYTES) {
        bool gone = false;
        struct momi_buf *buf = momi_shard_entry(shard, shard->applied + 1, &gone);
        if (buf == NULL || !apply_entry(shard, shard->applied + 1, buf)) {
            break;
        }
        bytes += buf->size;
        any = true;
    }
    if (!served && momi_shard_serves(shard)) {
        begin_serving(shard);
    }
    if (any && shard->is_registry) {
        momi_mesh_registry_changed(core);
    }
    return any;
}

/* --- the turn
 * -----------------------------------------------------------------------------------------------------
 */

static void read_for_raft(void *user, uint64_t index) {
    struct momi_shard *shard = user;
    bool gone = false;
    struct momi_buf *buf = momi_shard_entry(shard, index, &gone);
    if (buf != NULL) {
        momi_log_fill(&shard->raft.log, index, buf);
    }
}

static void evict(struct momi_shard *shard) {
    uint64_t keep = shard->core->config.cache_bytes_max / (shard->core->shards_end + 1);
    if (shard->raft.log.cached_bytes <= keep) {
        return;
    }
    uint64_t limit = momi_earlier(shard->applied, shard->raft.durable);
    momi_log_evict(&shard->raft.log, limit, keep);
}

/* Drops what only a leader looks at. */
static void drop_fresh(struct momi_machine *machine) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->fresh_sessions) {
        momi_list_remove(link);
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->fresh_consumers) {
        momi_list_remove(link);
    }
    momi_ring_pop_front(&machine->ended, machine->ended.count);
}

/* E4: a slice in each turn, and another turn at once if more is left. */
static void bury(struct momi_shard *shard) {
    if (shard->is_registry || !momi_machine_has_graves(shard->machine)) {
        return;
    }
    bool is_done = momi_machine_bury(shard->machine);
    shard->wants_turn =
        shard->wants_turn || (is_done && momi_machine_has_graves(shard->machine));
}

bool momi_shard_turn(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    if (shard->raft.is_stopped) {
        return false;
    }
    shard->wants_turn = false;
    bool more = apply_committed(shard);
    if (momi_shard_serves(shard)) {
        momi_shard_propose_due(shard);
        momi_shard_build_entries(shard);
        momi_shard_answer(shard);
        momi_shard_fill(shard);
        momi_shard_work_plan(shard);
    } else if (!shard->is_registry && !momi_raft_is_leader(&shard->raft)) {
        drop_fresh(shard->machine);
    }
    momi_raft_send_appends(&shard->raft, core->now_us, read_for_raft, shard,
                           core->effects);
    momi_shard_raft_changed(shard);
    momi_shard_snapshot_turn(shard);
    momi_shard_receive_turn(shard);
    momi_shard_repair_turn(shard);
    bury(shard);
    momi_shard_maybe_checkpoint(shard);
    evict(shard);
    return more;
}

void momi_shard_batch_numbered(struct momi_shard *shard, uint64_t number) {
    momi_raft_batch_numbered(&shard->raft, shard->core->now_us, number);
    if (shard->has_batch) {
        shard->has_batch = false;
        if (shard->checkpoint_wanted) {
            shard->checkpoint_wanted = false;
            shard->checkpoint_batch = number;
        }
    }
}

void momi_shard_written(struct momi_shard *shard, uint64_t number) {
    struct momi_core *core = shard->core;
    momi_raft_written(&shard->raft, core->now_us, number, core->effects);
    momi_shard_raft_changed(shard);
    momi_shard_checkpoint_written(shard, number);
}

/* --- lanes and time
 * -----------------------------------------------------------------------------------------------
 */

/* S1: a closed lane detaches consumers after a while, its return within that time does
 * not. */
static void mark_sessions(struct momi_shard *shard, uint64_t node, bool up) {
    if (shard->is_registry) {
        return;
    }
    struct momi_session *session = momi_machine_session_of(shard->machine, node);
    if (session == NULL) {
        return;
    }
    session->lane_down_us = up ? 0 : shard->core->now_us;
    session->heard_us = shard->core->now_us;
    if (up) {
        session->detach_proposed = false;
        session->sent = session->answered;
        if (!momi_list_linked(&session->fresh_link)) {
            momi_list_push_back(&shard->machine->fresh_sessions, &session->fresh_link);
        }
    }
}

void momi_shard_lane(struct momi_shard *shard, uint64_t node, bool up, bool closed) {
    struct momi_core *core = shard->core;
    if (up) {
        momi_raft_lane_up(&shard->raft, core->now_us, node, core->effects);
    } else {
        momi_raft_lane_down(&shard->raft, core->now_us, node, closed, core->effects);
    }
    momi_shard_raft_changed(shard);
    mark_sessions(shard, node, up);
}

void momi_shard_time(struct momi_shard *shard) {
    momi_raft_time(&shard->raft, shard->core->now_us, shard->core->effects);
    momi_shard_raft_changed(shard);
}

uint64_t momi_shard_deadline(const struct momi_shard *shard) {
    if (shard->raft.is_stopped) {
        return MOMI_NEVER;
    }
    if (shard->wants_turn) {
        return shard->core->now_us;
    }
    uint64_t due = momi_raft_deadline(&shard->raft);
    due = momi_earlier(due, momi_shard_repair_deadline(shard));
    if (shard->is_parked) {
        due = momi_earlier(due, shard->parked_until_us);
    }
    if (shard->receive.is_on) {
        due = momi_earlier(due, shard->receive.heard_us + SNAPSHOT_SILENCE_US);
    }
    if (momi_shard_serves(shard)) {
        due = momi_earlier(due, momi_shard_propose_deadline(shard));
        if (shard->plan.version != 0 && !shard->core->is_closing) {
            due = momi_earlier(due, shard->plan_due_us);
        }
    }
    return due;
}
