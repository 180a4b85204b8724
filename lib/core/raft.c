/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a Raft group: start, roles, log and batch, commit.
 *
 * Invariants, checked where they are touched:
 *   first_index - 1 <= commit <= last; a truncation never reaches down to commit.
 *   Every index up to `durable` is synced here with the term that the log now has (R6).
 *   `matched` belongs to the current term: at least commit, since every leader has what
 * is committed. The newest element of config_history is in force.
 */
#include "base/assert.h"
#include "core/entry.h"
#include "core/keys.h"
#include "core/raft_internal.h"

bool momi_raft_init(struct momi_raft *raft, const struct momi_raft_start *start) {
    *raft = (struct momi_raft){
        .shard = start->shard,
        .replica = start->replica,
        .node = start->node,
        .term = start->term,
        .vote = start->vote,
        .commit = start->commit,
        .can_vote = start->has_state,
        .now_us = start->now_us,
        .counters = start->counters,
        .retry_due_us = MOMI_NEVER,
        .election_due_us = MOMI_NEVER,
    };
    momi_log_init(&raft->log);
    momi_ring_init(&raft->inflight, sizeof(struct momi_inflight_batch));
    momi_ring_init(&raft->config_history, sizeof(struct momi_config_at));
    momi_ring_init(&raft->reads, sizeof(struct momi_read_index));
    momi_rng_seed(&raft->rng, start->seed);
    /* Room for one of each, so that what never fails later has a place to go. */
    struct momi_config_at *base = momi_ring_push(&raft->config_history);
    if (base == NULL || !momi_ring_reserve(&raft->inflight, 1)) {
        momi_raft_free(raft);
        return false;
    }
    base->index = start->config_index;
    base->config = start->config;
    raft->config = start->config;
    raft->config_index = start->config_index;
    return true;
}

void momi_raft_free(struct momi_raft *raft) {
    momi_log_free(&raft->log);
    momi_ring_free(&raft->inflight);
    momi_ring_free(&raft->config_history);
    momi_ring_free(&raft->reads);
}

void momi_raft_restored(struct momi_raft *raft) {
    uint64_t last = momi_log_last(&raft->log);
    if (raft->commit > last || raft->commit + 1 < raft->log.first_index) {
        raft->can_vote = false; /* not what we wrote (D3): a snapshot heals it */
        raft->commit = last;
    }
    raft->durable = last;
    raft->matched = raft->commit;
    momi_raft_rebuild_progress(raft);
    momi_raft_reset_election(raft);
    if (momi_raft_may_campaign(raft) && momi_raft_quorum_heard_us(raft) == MOMI_NEVER) {
        /* Nobody else's vote is needed, so there is nobody to wait for. */
        raft->election_due_us = raft->now_us;
    }
}

static bool is_behind(struct momi_log_end end, struct momi_log_end other) {
    return end.term < other.term || (end.term == other.term && end.index < other.index);
}

static struct momi_log_end own_end(const struct momi_raft *raft) {
    uint64_t last = momi_log_last(&raft->log);
    return (struct momi_log_end){.index = last, .term = momi_log_term(&raft->log, last)};
}

struct momi_log_end momi_raft_end(const struct momi_raft *raft) {
    struct momi_log_end own = own_end(raft);
    return raft->missing.index != 0 && is_behind(own, raft->missing) ? raft->missing
                                                                     : own;
}

/* A log that ends no earlier than the missing one has come from a leader that was elected
 * with everything that this replica may have acknowledged before. */
void momi_raft_put_end(struct momi_raft *raft, struct momi_effects *effects) {
    if (raft->missing.index != 0 && !is_behind(own_end(raft), raft->missing)) {
        raft->missing = (struct momi_log_end){0};
    }
    struct momi_log_end end = momi_raft_end(raft);
    momi_batch_put_last(&effects->batch, raft->shard, end.index, end.term);
}

bool momi_raft_hard_synced(const struct momi_raft *raft) {
    return !raft->turn_has_hard && raft->written_batch >= raft->hard_batch;
}

void momi_raft_put_hard(struct momi_raft *raft, struct momi_effects *effects) {
    struct momi_hard_state hard = {.term = raft->term, .vote = raft->vote};
    if (MUTANT(VOTE_NOT_PERSISTED)) {
        hard.vote = 0;
    }
    momi_batch_put_hard(&effects->batch, raft->shard, &hard);
    effects->batch_sync = true;
    raft->turn_has_hard = true;
}

void momi_raft_reset_election(struct momi_raft *raft) {
    raft->election_due_us =
        raft->now_us +
        momi_rng_between(&raft->rng, MOMI_ELECTION_MIN_US, MOMI_ELECTION_MAX_US);
}

void momi_raft_become_follower(struct momi_raft *raft, uint64_t term,
                               struct momi_effects *effects) {
    MOMI_ASSERT(term >= raft->term);
    bool led = raft->role == RAFT_LEADER;
    if (term > raft->term) {
        raft->term = term;
        raft->vote = 0;
        momi_raft_put_hard(raft, effects);
        raft->vote_owed.replica = 0;
        raft->matched = raft->commit; /* a term has one leader: within it a match stays */
    }
    raft->append_owed = false;
    raft->role = RAFT_FOLLOWER;
    raft->leader_replica = 0;
    raft->leader_node = 0;
    raft->has_heard = false;
    raft->requests_owed = false;
    raft->by_transfer = false;
    raft->retry_due_us = MOMI_NEVER;
    if (led) {
        raft->lost_leadership = true;
        raft->transfer_to = 0;
        momi_ring_pop_front(&raft->reads, raft->reads.count);
        momi_raft_reset_election(raft);
    }
}

bool momi_raft_follow(struct momi_raft *raft, uint64_t term, uint64_t node,
                      uint64_t replica, struct momi_effects *effects) {
    MOMI_ASSERT(term >= raft->term);
    if (MUTANT(NO_STEP_DOWN) && raft->role == RAFT_LEADER) {
        return false;
    }
    if (term > raft->term) {
        momi_raft_become_follower(raft, term, effects);
    } else if (raft->role == RAFT_LEADER ||
               (raft->leader_replica != 0 && raft->leader_replica != replica)) {
        raft->counters->frames_dropped++;
        return false;
    } else if (raft->role != RAFT_FOLLOWER) {
        momi_raft_become_follower(raft, term, effects);
    }
    raft->leader_replica = replica;
    raft->leader_node = node;
    raft->leader_heard_us = raft->now_us;
    raft->has_heard = true;
    momi_raft_reset_election(raft);
    return true;
}

void momi_raft_become_leader(struct momi_raft *raft, struct momi_effects *effects) {
    struct momi_buf *noop = momi_entry_build(
        MOMI_ENTRY_NOOP, raft->term, raft->elapsed_us, raft->wall_us, 0, 0, NULL, 0);
    if (noop == NULL || !momi_raft_reserve(raft, 1, 0)) {
        momi_buf_release(noop);
        momi_raft_become_follower(raft, raft->term, effects);
        momi_raft_reset_election(raft);
        return;
    }
    raft->role = RAFT_LEADER;
    raft->leader_replica = raft->replica;
    raft->leader_node = raft->node;
    raft->leader_since_us = raft->now_us;
    raft->by_transfer = false;
    raft->retry_due_us = MOMI_NEVER;
    raft->transfer_to = 0;
    raft->slow_due_us = 0;
    raft->became_leader = true;
    raft->counters->leader_changes++;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        struct momi_progress *progress = &raft->progress[i];
        *progress = (struct momi_progress){
            .replica = progress->replica,
            .node = progress->node,
            .is_connected = progress->is_connected,
            .free_bytes = progress->free_bytes,
            .state = PROGRESS_PROBE,
            .next = momi_log_last(&raft->log) + 1,
            .heard_us = raft->now_us,
            .acked_us = raft->now_us,
        };
    }
    raft->term_start_index = momi_log_last(&raft->log) + 1;
    if (MUTANT(NO_NOOP)) {
        raft->term_start_index = 0;
    } else {
        momi_raft_append(raft, raft->term, noop, effects);
    }
    momi_buf_release(noop);
}

bool momi_raft_reserve(struct momi_raft *raft, size_t entries, size_t configs) {
    return momi_log_reserve(&raft->log, entries) &&
           momi_ring_reserve(&raft->config_history, raft->config_history.count + configs);
}

void momi_raft_append(struct momi_raft *raft, uint64_t term, struct momi_buf *entry,
                      struct momi_effects *effects) {
    momi_log_append(&raft->log, term, entry, (uint32_t)entry->size);
    uint64_t index = momi_log_last(&raft->log);
    if (raft->cut_from != 0) {
        momi_batch_truncate(&effects->batch, raft->shard, raft->cut_from);
        raft->cut_from = 0;
    }
    momi_batch_put_entry(&effects->batch, raft->shard, index, entry);
    momi_raft_put_end(raft, effects);
    effects->batch_sync = true;
    raft->turn_has_entries = true;
    raft->turn_last_index = index;
    raft->counters->entries_appended++;

    struct momi_entry header;
    if (!momi_entry_peek(momi_buf_slice(entry), &header)) {
        return; /* a no-op to everybody (R9) */
    }
    if (header.elapsed_us > raft->elapsed_us &&
        !(MUTANT(STAMP_FALLS) && raft->role != RAFT_LEADER)) {
        raft->elapsed_us = header.elapsed_us;
    }
    if (header.wall_us > raft->wall_us) {
        raft->wall_us = header.wall_us;
    }
    struct momi_raft_config config;
    if (momi_raft_is_config(momi_buf_slice(entry), &config)) {
        momi_raft_config_appended(raft, index, &config);
    }
}

/* R6. Nothing that was written before speaks for what comes in its place. */
static void lower_written(struct momi_raft *raft, uint64_t from) {
    if (MUTANT(TRUNCATION_FORGETS_BATCHES)) {
        return;
    }
    if (raft->durable >= from) {
        raft->durable = from - 1;
    }
    for (size_t i = 0; i < raft->inflight.count; i++) {
        struct momi_inflight_batch *batch = momi_ring_at(&raft->inflight, i);
        if (batch->last_index >= from) {
            batch->last_index = from - 1;
        }
    }
}

void momi_raft_forget(struct momi_raft *raft, uint64_t from,
                      struct momi_effects *effects) {
    MOMI_ASSERT(from > raft->commit);
    momi_log_truncate(&raft->log, from);
    effects->batch_sync = true;
    raft->turn_has_entries = true;
    raft->turn_last_index = from - 1;
    lower_written(raft, from);
    if (raft->matched >= from) {
        raft->matched = from - 1; /* only a leader that contradicts itself gets here */
    }
    momi_raft_config_truncated(raft, from);
    if (raft->truncated_from == 0 || raft->truncated_from > from) {
        raft->truncated_from = from;
    }
    raft->counters->truncations++;
}

void momi_raft_truncate(struct momi_raft *raft, uint64_t from,
                        struct momi_effects *effects) {
    momi_raft_forget(raft, from, effects);
    momi_batch_truncate(&effects->batch, raft->shard, from);
    raft->cut_from = 0; /* above `from` */
    momi_raft_put_end(raft, effects);
}

void momi_raft_commit_to(struct momi_raft *raft, uint64_t index) {
    if (index <= raft->commit) {
        return;
    }
    MOMI_ASSERT(index <= momi_log_last(&raft->log));
    uint64_t before = raft->commit;
    raft->commit = index;
    momi_raft_config_committed(raft, before);
}

static uint64_t synced_at(void *user, uint64_t replica) {
    struct momi_raft *raft = user;
    if (replica == raft->replica) {
        return raft
            ->durable; /* R7: its own copy counts once it is synced, and not before */
    }
    struct momi_progress *progress = momi_raft_progress(raft, replica);
    return progress == NULL ? 0 : progress->match;
}

/*
 * Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 5.4.2:
 * "Raft never commits log entries from previous terms by counting replicas. Only log
 * entries from the leader's current term are committed by counting replicas."
 */
void momi_raft_maybe_commit(struct momi_raft *raft, struct momi_effects *effects) {
    if (raft->role != RAFT_LEADER) {
        return;
    }
    uint64_t last = momi_log_last(&raft->log);
    uint64_t quorum = momi_raft_config_quorum(&raft->config, synced_at, raft);
    if (quorum > last) {
        quorum = last;
    }
    bool own_term = momi_log_term(&raft->log, quorum) == raft->term;
    if (quorum > raft->commit && (own_term || MUTANT(COMMIT_OLD_TERM))) {
        momi_raft_commit_to(raft, quorum);
        momi_raft_go_forward(raft, effects);
    }
}

uint64_t momi_raft_propose(struct momi_raft *raft, uint64_t now_us,
                           struct momi_buf *entry, struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->role != RAFT_LEADER || !momi_raft_reserve(raft, 1, 0)) {
        return 0;
    }
    momi_raft_append(raft, raft->term, entry, effects);
    return momi_log_last(&raft->log);
}

void momi_raft_batch_numbered(struct momi_raft *raft, uint64_t now_us, uint64_t number) {
    raft->now_us = now_us;
    if (raft->turn_has_hard) {
        raft->turn_has_hard = false;
        raft->hard_batch = number;
    }
    if (!raft->turn_has_entries) {
        return;
    }
    raft->turn_has_entries = false;
    struct momi_inflight_batch *batch = momi_ring_push(&raft->inflight);
    if (batch == NULL) {
        /* Without memory two batches count as one, which is done when the later one is:
         * the answer comes later, and is as true. The room made at start has one. */
        batch = momi_ring_at(&raft->inflight, raft->inflight.count - 1);
    } else {
        batch->sent_us = now_us;
    }
    batch->number = number;
    batch->last_index = raft->turn_last_index;
}

void momi_raft_written(struct momi_raft *raft, uint64_t now_us, uint64_t number,
                       struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->is_stopped || number <= raft->written_batch) {
        return;
    }
    uint64_t durable_before = raft->durable;
    bool was_synced = momi_raft_hard_synced(raft);
    raft->written_batch = number;
    while (raft->inflight.count > 0) {
        const struct momi_inflight_batch *batch = momi_ring_at(&raft->inflight, 0);
        if (batch->number > number) {
            break;
        }
        if (batch->last_index > raft->durable) {
            raft->durable = batch->last_index;
        }
        momi_ring_pop_front(&raft->inflight, 1);
    }
    if (MUTANT(COMPLETION_WITHOUT_BATCH)) {
        raft->durable = momi_log_last(&raft->log);
    }
    bool has_synced = !was_synced && momi_raft_hard_synced(raft);
    if (has_synced) {
        momi_raft_hard_done(raft, effects);
    }
    if (has_synced || raft->durable > durable_before) {
        momi_raft_answer_append(raft, effects);
        momi_raft_maybe_commit(raft, effects);
    }
}

void momi_raft_frame(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                     const struct momi_frame *frame, struct momi_buf *const *entries,
                     const uint64_t *terms, size_t entries_count,
                     struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->is_stopped) {
        return;
    }
    /* Only a replica that has never heard of a term answers with none. */
    bool has_term = frame->term > 0 || frame->type == FRAME_VOTE_REPLY;
    if (!has_term || frame->term > RAFT_NUMBER_MAX || frame->index > RAFT_NUMBER_MAX) {
        raft->counters->frames_dropped++;
        return;
    }
    switch (frame->type) {
    case FRAME_VOTE:
        momi_raft_on_vote(raft, node, frame, effects);
        break;
    case FRAME_VOTE_REPLY:
        momi_raft_on_vote_reply(raft, frame, effects);
        break;
    case FRAME_APPEND:
        momi_raft_on_append(raft, node, frame, entries, terms, entries_count, effects);
        break;
    case FRAME_APPEND_REPLY:
        momi_raft_on_append_reply(raft, frame, effects);
        break;
    case FRAME_TIMEOUT_NOW:
        momi_raft_on_timeout_now(raft, frame, effects);
        break;
    default:
        raft->counters->frames_dropped++;
        break;
    }
}

void momi_raft_stop(struct momi_raft *raft, struct momi_effects *effects) {
    if (raft->is_stopped) {
        return;
    }
    momi_raft_become_follower(raft, raft->term, effects);
    raft->is_stopped = true;
    raft->vote_owed.replica = 0;
}

struct momi_frame *momi_raft_send(struct momi_raft *raft, struct momi_effects *effects,
                                  uint64_t node, uint64_t replica,
                                  enum momi_frame_type type) {
    struct momi_frame *frame = momi_effect_send(effects, node, type);
    frame->shard = raft->shard;
    frame->from_replica = raft->replica;
    frame->to_replica = replica;
    frame->term = raft->term;
    return frame;
}

struct momi_progress *momi_raft_progress(struct momi_raft *raft, uint64_t replica) {
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        if (raft->progress[i].replica == replica) {
            return &raft->progress[i];
        }
    }
    return NULL;
}

struct momi_progress *momi_raft_progress_on(struct momi_raft *raft, uint64_t node) {
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        if (raft->progress[i].node == node) {
            return &raft->progress[i];
        }
    }
    return NULL;
}
