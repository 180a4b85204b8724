/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replication: appends from the leader, answers to it, and what the leader does with
 * them.
 *
 * The leader sends while its own sync runs (R7). To a replica in PROGRESS_REPLICATE it
 * sends ahead up to RAFT_WINDOW_BYTES; in PROGRESS_PROBE one frame at a time, the first
 * with entries, repetitions without. A follower answers min(durable, matched) (R6): once
 * when the sync is done, or at once when the frame brought nothing to sync.
 */
#include "base/assert.h"
#include "core/raft_internal.h"

static struct momi_frame *start_answer(struct momi_raft *raft,
                                       const struct momi_frame *to, uint64_t node,
                                       struct momi_effects *effects) {
    return momi_raft_send(raft, effects, node, to->from_replica, FRAME_APPEND_REPLY);
}

/* Promises nothing, so it need not wait for a sync. The hint is the highest index at
 * which the logs may still agree: terms below it are not higher than the one that the
 * leader has. What is committed agrees. */
static void reject_append(struct momi_raft *raft, uint64_t node,
                          const struct momi_frame *frame, struct momi_effects *effects) {
    uint64_t last = momi_log_last(&raft->log);
    uint64_t high = frame->index < last ? frame->index : last;
    uint64_t low = raft->commit < high ? raft->commit : high;
    struct momi_frame *answer = start_answer(raft, frame, node, effects);
    answer->index = momi_log_find_term(&raft->log, low, high, frame->log_term);
    answer->log_term = momi_log_term(&raft->log, answer->index);
}

void momi_raft_answer_append(struct momi_raft *raft, struct momi_effects *effects) {
    if (!raft->append_owed || raft->leader_replica == 0 ||
        !(momi_raft_hard_synced(raft) || MUTANT(APPEND_BEFORE_SYNC))) {
        return;
    }
    uint64_t synced = raft->durable < raft->matched ? raft->durable : raft->matched;
    if (MUTANT(APPEND_BEFORE_SYNC)) {
        synced = raft->matched;
    }
    struct momi_frame *answer = momi_raft_send(raft, effects, raft->leader_node,
                                               raft->leader_replica, FRAME_APPEND_REPLY);
    answer->flags = MOMI_FLAG_OK;
    answer->index = synced;
    answer->number = raft->matched;
    raft->append_owed = synced < raft->matched;
}

/* Terms of entries never fall, and none is above the leader's. */
static bool terms_fit(const struct momi_frame *frame, const uint64_t *terms,
                      size_t entries_count) {
    uint64_t before = frame->log_term > 0 ? frame->log_term : 1;
    for (size_t i = 0; i < entries_count; i++) {
        if (terms[i] < before) {
            return false;
        }
        before = terms[i];
    }
    return before <= frame->term;
}

static size_t count_configs(struct momi_buf *const *entries, size_t entries_count) {
    size_t count = 0;
    for (size_t i = 0; i < entries_count; i++) {
        struct momi_raft_config config;
        count += momi_raft_is_config(momi_buf_slice(entries[i]), &config) ? 1 : 0;
    }
    return count;
}

enum append_outcome { APPEND_KNOWN, APPEND_NEW, APPEND_NO_MEMORY };

/* Entries from `index` on, which follow something that matches. Truncates at the first
 * that differs. */
static enum append_outcome put_entries(struct momi_raft *raft, uint64_t index,
                                       struct momi_buf *const *entries,
                                       const uint64_t *terms, size_t entries_count,
                                       struct momi_effects *effects) {
    size_t i = 0;
    while (i < entries_count && index <= momi_log_last(&raft->log) &&
           momi_log_term(&raft->log, index) == terms[i]) {
        i++;
        index++;
    }
    if (i == entries_count) {
        return APPEND_KNOWN;
    }
    size_t configs = count_configs(entries + i, entries_count - i);
    if (!momi_raft_reserve(raft, entries_count - i, configs)) {
        return APPEND_NO_MEMORY;
    }
    if (index <= momi_log_last(&raft->log)) {
        momi_raft_truncate(raft, index, effects);
    }
    for (; i < entries_count; i++) {
        momi_raft_append(raft, terms[i], entries[i], effects);
    }
    return APPEND_NEW;
}

/* Checks the place of the frame in the log, and takes what is new. False: answered or
 * dropped. */
static bool take_entries(struct momi_raft *raft, uint64_t node,
                         const struct momi_frame *frame, struct momi_buf *const *entries,
                         const uint64_t *terms, size_t entries_count,
                         enum append_outcome *outcome, struct momi_effects *effects) {
    uint64_t end = frame->index + entries_count;
    if (end <= raft->commit) {
        *outcome = APPEND_KNOWN; /* all committed: the leader has the same */
        return true;
    }
    uint64_t from = frame->index + 1;
    if (frame->index < raft->commit) {
        size_t skip = (size_t)(raft->commit - frame->index);
        from += skip;
        entries += skip;
        terms += skip;
        entries_count -= skip;
    } else if (frame->index > momi_log_last(&raft->log) ||
               momi_log_term(&raft->log, frame->index) != frame->log_term) {
        reject_append(raft, node, frame, effects);
        return false;
    }
    *outcome = put_entries(raft, from, entries, terms, entries_count, effects);
    if (*outcome == APPEND_NO_MEMORY) {
        raft->counters->frames_dropped++; /* the leader will send it again */
        return false;
    }
    return true;
}

void momi_raft_on_append(struct momi_raft *raft, uint64_t node,
                         const struct momi_frame *frame, struct momi_buf *const *entries,
                         const uint64_t *terms, size_t entries_count,
                         struct momi_effects *effects) {
    if (frame->term < raft->term) {
        reject_append(raft, node, frame, effects); /* with our term: it steps down */
        return;
    }
    if (!terms_fit(frame, terms, entries_count)) {
        raft->counters->frames_dropped++;
        return;
    }
    if (!momi_raft_follow(raft, frame->term, node, frame->from_replica, effects)) {
        return;
    }
    if (!raft->can_vote) {
        start_answer(raft, frame, node, effects)->flags = MOMI_FLAG_REFUSED;
        return;
    }
    enum append_outcome outcome;
    if (!take_entries(raft, node, frame, entries, terms, entries_count, &outcome,
                      effects)) {
        return;
    }
    uint64_t end = frame->index + entries_count;
    if (end > raft->matched) {
        raft->matched = end;
    }
    uint64_t limit =
        MUTANT(COMMIT_PAST_MATCH) ? momi_log_last(&raft->log) : raft->matched;
    momi_raft_commit_to(raft, frame->commit < limit ? frame->commit : limit);
    raft->append_owed = true;
    if (outcome == APPEND_KNOWN || MUTANT(APPEND_BEFORE_SYNC)) {
        momi_raft_answer_append(raft, effects);
    }
}

void momi_raft_probe(struct momi_progress *progress) {
    progress->state = PROGRESS_PROBE;
    progress->next = progress->match + 1;
    progress->inflight_bytes = 0;
    progress->probe_sent = false;
    progress->is_reading = false;
}

/* Fast back-up, as in etcd-io/raft: the hint is moved down to where our own terms are not
 * above the one that the follower has there. */
static void note_rejection(struct momi_raft *raft, struct momi_progress *progress,
                           const struct momi_frame *frame) {
    if (progress->state == PROGRESS_SNAPSHOT) {
        return;
    }
    if (progress->state == PROGRESS_PROBE && progress->next == progress->match + 1 &&
        frame->index < progress->match) {
        /* D3: it lacks even what it had confirmed. Damage has taken it; its votes still
         * count it, so that what it helped to commit stays. An old answer that looks the
         * same costs a few frames. */
        progress->match = 0;
    }
    uint64_t last = momi_log_last(&raft->log);
    uint64_t high = frame->index < last ? frame->index : last;
    uint64_t low = progress->match;
    if (low + 1 < raft->log.first_index) {
        low = raft->log.first_index - 1;
    }
    uint64_t at =
        high <= low ? high : momi_log_find_term(&raft->log, low, high, frame->log_term);
    if (at > progress->match && momi_log_term(&raft->log, at) > frame->log_term) {
        at--; /* even the lowest entry we know is not the follower's: it needs a snapshot
               */
    }
    if (progress->state == PROGRESS_PROBE && at + 1 >= progress->next) {
        return; /* an old one: the answer to the probe under way points lower */
    }
    uint64_t next = at + 1 < progress->next ? at + 1 : progress->next - 1;
    momi_raft_probe(progress);
    if (next > progress->next) {
        progress->next = next;
    }
}

static uint64_t bytes_between(const struct momi_raft *raft, uint64_t from, uint64_t to) {
    uint64_t bytes = 0;
    for (uint64_t index = from; index < to; index++) {
        bytes += momi_log_size(&raft->log, index);
    }
    return bytes;
}

static void note_match(struct momi_raft *raft, struct momi_progress *progress,
                       const struct momi_frame *frame) {
    uint64_t last = momi_log_last(&raft->log);
    if (frame->index > progress->match) {
        uint64_t known = frame->index + 1;
        uint64_t to = known < progress->next ? known : progress->next;
        uint64_t bytes = bytes_between(raft, progress->match + 1, to);
        progress->inflight_bytes -=
            bytes < progress->inflight_bytes ? bytes : progress->inflight_bytes;
        progress->match = frame->index;
        progress->acked_us = raft->now_us;
    }
    if (progress->state == PROGRESS_PROBE) {
        progress->state = PROGRESS_REPLICATE;
        /* What it has and is still syncing need not be sent again. */
        progress->next = frame->number <= last ? frame->number + 1 : last + 1;
        progress->inflight_bytes =
            bytes_between(raft, progress->match + 1, progress->next);
        progress->acked_us = raft->now_us;
    } else if (progress->state == PROGRESS_SNAPSHOT &&
               progress->match + 1 >= raft->log.first_index) {
        momi_raft_probe(progress);
    }
    if (progress->next <= progress->match) {
        progress->next = progress->match + 1;
    }
    if (progress->next == progress->match + 1) {
        progress->inflight_bytes = 0;
    }
}

void momi_raft_on_append_reply(struct momi_raft *raft, const struct momi_frame *frame,
                               struct momi_effects *effects) {
    if (frame->term > raft->term) {
        if (!(MUTANT(NO_STEP_DOWN) && raft->role == RAFT_LEADER)) {
            momi_raft_become_follower(raft, frame->term, effects);
        }
        return;
    }
    struct momi_progress *progress = momi_raft_progress(raft, frame->from_replica);
    if (raft->role != RAFT_LEADER || frame->term < raft->term || progress == NULL) {
        return;
    }
    progress->heard_us = raft->now_us;
    if ((frame->flags & MOMI_FLAG_REFUSED) != 0) {
        progress->state = PROGRESS_SNAPSHOT;
        progress->inflight_bytes = 0;
    } else if ((frame->flags & MOMI_FLAG_OK) == 0) {
        note_rejection(raft, progress, frame);
    } else if (frame->index > momi_log_last(&raft->log)) {
        raft->counters->frames_dropped++; /* nobody has more of our term than we have */
    } else {
        note_match(raft, progress, frame);
        momi_raft_maybe_commit(raft, effects);
    }
}

/* True when the bytes of the next entry are there; else they are asked for. */
static bool has_bytes(struct momi_raft *raft, struct momi_progress *progress,
                      momi_raft_read_fn read, void *user) {
    if (momi_log_buf(&raft->log, progress->next) != NULL) {
        progress->is_reading = false;
        return true;
    }
    uint64_t last = momi_log_last(&raft->log);
    uint64_t to = progress->next + RAFT_READ_AHEAD - 1;
    to = to < last ? to : last;
    bool is_waiting = progress->is_reading && progress->next <= progress->read_to &&
                      raft->now_us - progress->read_us < RAFT_READ_RETRY_US;
    if (is_waiting) {
        read(user, progress->next); /* it may have come, and was not kept in the log */
    } else {
        for (uint64_t index = progress->next; index <= to; index++) {
            if (momi_log_buf(&raft->log, index) == NULL) {
                read(user, index);
            }
        }
        progress->is_reading = true;
        progress->read_to = to;
        progress->read_us = raft->now_us;
    }
    /* What was filled in is sent in this turn: at its end a full cache drops it again. */
    return momi_log_buf(&raft->log, progress->next) != NULL;
}

/* One frame from `next` on, with as many entries as fit and are in memory; none when
 * `entries_max` is 0. Returns the bytes of entries. */
static uint64_t send_frame(struct momi_raft *raft, struct momi_progress *progress,
                           uint32_t entries_max, struct momi_effects *effects) {
    struct momi_frame *frame =
        momi_raft_send(raft, effects, progress->node, progress->replica, FRAME_APPEND);
    frame->index = progress->next - 1;
    frame->log_term = momi_log_term(&raft->log, frame->index);
    frame->commit = raft->commit;
    progress->sent_commit = raft->commit;
    uint64_t bytes = 0;
    uint64_t last = momi_log_last(&raft->log);
    for (uint64_t index = progress->next; index <= last; index++) {
        struct momi_buf *buf = momi_log_buf(&raft->log, index);
        if (buf == NULL || frame->count == entries_max ||
            (frame->count > 0 && bytes + buf->size > RAFT_FRAME_BYTES_MAX)) {
            break;
        }
        uint8_t size[4];
        momi_store_le32(size, (uint32_t)buf->size);
        momi_frame_add_part(effects, frame, NULL, momi_slice(size, sizeof size));
        momi_frame_add_part(effects, frame, buf, momi_buf_slice(buf));
        frame->count++;
        bytes += buf->size;
    }
    progress->next += frame->count;
    return bytes;
}

static void send_probe(struct momi_raft *raft, struct momi_progress *progress,
                       momi_raft_read_fn read, void *user, struct momi_effects *effects) {
    bool is_first = !progress->probe_sent;
    if (!is_first && raft->now_us - progress->probe_sent_us < MOMI_HEARTBEAT_US) {
        return;
    }
    uint64_t next = progress->next;
    if (is_first && next <= momi_log_last(&raft->log)) {
        (void)has_bytes(raft, progress, read, user); /* a probe goes out without, too */
    }
    send_frame(raft, progress, is_first ? RAFT_FRAME_ENTRIES_MAX : 0, effects);
    progress->next = next; /* until it is known to have matched */
    progress->probe_sent = true;
    progress->probe_sent_us = raft->now_us;
}

static void send_ahead(struct momi_raft *raft, struct momi_progress *progress,
                       momi_raft_read_fn read, void *user, struct momi_effects *effects) {
    uint64_t last = momi_log_last(&raft->log);
    while (progress->next <= last && progress->inflight_bytes < RAFT_WINDOW_BYTES) {
        if (!has_bytes(raft, progress, read, user)) {
            break;
        }
        if (progress->next == progress->match + 1) {
            progress->acked_us = raft->now_us;
        }
        progress->inflight_bytes +=
            send_frame(raft, progress, RAFT_FRAME_ENTRIES_MAX, effects);
    }
    /* The commit rides on the next entries or the next heartbeat. Only the replicas of
     * the registry act on it at once (N2), so only they get a frame for it, unless
     * something is in flight: then it rides on what follows the answer. */
    bool is_idle = progress->next == progress->match + 1;
    if (raft->shard == 0 && is_idle && progress->sent_commit < raft->commit) {
        send_frame(raft, progress, 0, effects);
    }
}

void momi_raft_send_appends(struct momi_raft *raft, uint64_t now_us,
                            momi_raft_read_fn read, void *user,
                            struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->role != RAFT_LEADER) {
        return;
    }
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        struct momi_progress *progress = &raft->progress[i];
        if (!progress->is_connected || progress->state == PROGRESS_SNAPSHOT) {
            continue;
        }
        if (progress->next < raft->log.first_index) {
            progress->state =
                PROGRESS_SNAPSHOT; /* the log no longer reaches back to it */
            progress->inflight_bytes = 0;
            continue;
        }
        if (progress->state == PROGRESS_PROBE) {
            send_probe(raft, progress, read, user, effects);
        } else {
            send_ahead(raft, progress, read, user, effects);
        }
    }
    momi_raft_push_transfer(raft, effects);
}
