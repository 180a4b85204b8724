/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elections: pre-votes, votes, and TIMEOUT_NOW.
 *
 * A vote is a promise, so it leaves this node only when it is synced: the grant of
 * another candidate waits in `vote_owed`, a candidate's own requests (and its own vote)
 * in `requests_owed`. Refusals and pre-votes promise nothing and are answered at once.
 */
#include "base/assert.h"
#include "core/raft_internal.h"

bool momi_raft_may_campaign(const struct momi_raft *raft) {
    return !raft->is_stopped && raft->can_vote && raft->missing.index == 0 &&
           raft->role != RAFT_LEADER && momi_raft_counts(raft);
}

static void send_requests(struct momi_raft *raft, struct momi_effects *effects) {
    bool is_pre = raft->role == RAFT_PRE_CANDIDATE;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        struct momi_progress *progress = &raft->progress[i];
        if (progress->vote > 0 ||
            !momi_raft_config_is_voter(&raft->config, progress->replica)) {
            continue;
        }
        struct momi_frame *frame =
            momi_raft_send(raft, effects, progress->node, progress->replica, FRAME_VOTE);
        frame->term = is_pre ? raft->term + 1 : raft->term;
        frame->index = momi_log_last(&raft->log);
        frame->log_term = momi_log_term(&raft->log, frame->index);
        frame->flags =
            (is_pre ? MOMI_FLAG_PRE : 0) | (raft->by_transfer ? MOMI_FLAG_TRANSFER : 0);
    }
}

static int vote_of(void *user, uint64_t replica) {
    struct momi_raft *raft = user;
    if (replica == raft->replica) {
        return raft->requests_owed ? 0 : 1;
    }
    struct momi_progress *progress = momi_raft_progress(raft, replica);
    return progress == NULL ? 0 : progress->vote;
}

static void clear_votes(struct momi_raft *raft) {
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        raft->progress[i].vote = 0;
    }
}

/* The vote for ourselves and the new term go into the batch; the requests wait for it. */
static void start_election(struct momi_raft *raft, bool by_transfer,
                           struct momi_effects *effects) {
    MOMI_ASSERT(momi_raft_may_campaign(raft));
    momi_raft_become_follower(raft, raft->term + 1, effects);
    raft->role = RAFT_CANDIDATE;
    raft->vote = raft->replica;
    momi_raft_put_hard(raft, effects);
    raft->by_transfer = by_transfer;
    raft->requests_owed = true;
    clear_votes(raft);
    momi_raft_reset_election(raft);
    raft->counters->elections++;
    if (MUTANT(VOTE_BEFORE_SYNC)) {
        momi_raft_hard_done(raft, effects);
    }
}

/* Nobody is left whose answer could still come: some have refused, the others have no
 * lane.
 */
static bool is_split(const struct momi_raft *raft) {
    bool any_refused = false;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        const struct momi_progress *progress = &raft->progress[i];
        if (!momi_raft_config_is_voter(&raft->config, progress->replica)) {
            continue;
        }
        if (progress->is_connected && progress->vote == 0) {
            return false;
        }
        any_refused = any_refused || progress->vote < 0;
    }
    return any_refused;
}

static void count_votes(struct momi_raft *raft, struct momi_effects *effects) {
    int result = momi_raft_config_votes(&raft->config, vote_of, raft);
    if (result == 0 && raft->role == RAFT_CANDIDATE && !raft->requests_owed &&
        is_split(raft)) {
        result = -1; /* R5: waiting for the election timeout would help nobody */
    }
    if (result == 0) {
        return;
    }
    enum momi_raft_role role = raft->role;
    if (result > 0 && role == RAFT_PRE_CANDIDATE) {
        start_election(raft, false, effects);
    } else if (result > 0) {
        momi_raft_become_leader(raft, effects);
    } else {
        momi_raft_become_follower(raft, raft->term, effects);
        if (role == RAFT_CANDIDATE) {
            /* Most often two candidates have split the votes: one of them soon goes on.
             */
            raft->election_due_us =
                raft->now_us +
                momi_rng_between(&raft->rng, RAFT_LOST_MIN_US, RAFT_LOST_MAX_US);
        }
    }
}

/*
 * Ongaro, "Consensus: Bridging Theory and Practice", 9.6: "In the Pre-Vote algorithm, a
 * candidate only increments its term if it first learns from a majority of the cluster
 * that they would be willing to grant the candidate their votes."
 */
void momi_raft_campaign(struct momi_raft *raft, struct momi_effects *effects) {
    MOMI_ASSERT(momi_raft_may_campaign(raft));
    momi_raft_become_follower(raft, raft->term, effects);
    raft->role = RAFT_PRE_CANDIDATE;
    clear_votes(raft);
    momi_raft_reset_election(raft);
    send_requests(raft, effects);
    count_votes(raft, effects); /* alone, it has won */
}

/* R5: those who refused for a live leader may have noticed by now that it is gone. */
void momi_raft_ask_again(struct momi_raft *raft, struct momi_effects *effects) {
    raft->retry_due_us = MOMI_NEVER;
    bool is_asking = raft->role == RAFT_PRE_CANDIDATE ||
                     (raft->role == RAFT_CANDIDATE && !raft->requests_owed);
    if (is_asking) {
        send_requests(raft, effects);
    }
}

static void send_vote_reply(struct momi_raft *raft, uint64_t node, uint64_t replica,
                            uint64_t term, uint32_t flags, struct momi_effects *effects) {
    struct momi_frame *frame =
        momi_raft_send(raft, effects, node, replica, FRAME_VOTE_REPLY);
    frame->term = term;
    frame->flags = flags;
}

/* Hard state is synced: what waited for it may go. */
void momi_raft_hard_done(struct momi_raft *raft, struct momi_effects *effects) {
    if (raft->vote_owed.replica != 0) {
        MOMI_ASSERT(raft->vote == raft->vote_owed.replica);
        send_vote_reply(raft, raft->vote_owed.node, raft->vote_owed.replica, raft->term,
                        MOMI_FLAG_GRANTED, effects);
        raft->vote_owed.replica = 0;
    }
    if (raft->requests_owed) {
        MOMI_ASSERT(raft->role == RAFT_CANDIDATE);
        raft->requests_owed = false;
        send_requests(raft, effects);
        count_votes(raft, effects);
    }
}

/*
 * Ongaro and Ousterhout, 5.4.1: "the voter denies its vote if its own log is more
 * up-to-date than that of the candidate."
 */
static bool is_up_to_date(const struct momi_raft *raft, const struct momi_frame *frame) {
    struct momi_log_end end = momi_raft_end(raft);
    return frame->log_term > end.term ||
           (frame->log_term == end.term && frame->index >= end.index) ||
           MUTANT(NO_LOG_CHECK);
}

/* E6: a replica that waits for its first state knows nothing to compare a candidate with.
 * One that lost its state to damage knows where its log ended, and its votes of before:
 * its vote is as good as it was, and may be the one that gets it a leader (D3). */
static bool has_vote(const struct momi_raft *raft) {
    return raft->can_vote || raft->missing.index != 0;
}

/* The same dissertation, 4.2.3: a server that has heard from a leader within the minimum
 * election timeout neither updates its term nor grants its vote. */
static bool has_live_leader(const struct momi_raft *raft) {
    return raft->role == RAFT_LEADER ||
           (raft->has_heard && raft->leader_replica != 0 &&
            raft->now_us - raft->leader_heard_us < MOMI_ELECTION_MIN_US);
}

/* Whoever has a complete state votes, whatever its own configuration says (R1): it may
 * have been promoted by an entry that it does not have yet. */
void momi_raft_on_vote(struct momi_raft *raft, uint64_t node,
                       const struct momi_frame *frame, struct momi_effects *effects) {
    uint32_t pre = frame->flags & MOMI_FLAG_PRE;
    uint64_t candidate = frame->from_replica;
    if (frame->term < raft->term) {
        send_vote_reply(raft, node, candidate, raft->term, pre, effects);
        return;
    }
    if (has_live_leader(raft) && (frame->flags & MOMI_FLAG_TRANSFER) == 0) {
        send_vote_reply(raft, node, candidate, raft->term, pre | MOMI_FLAG_LIVE, effects);
        return;
    }
    if (frame->term > raft->term && pre == 0) {
        if (MUTANT(NO_STEP_DOWN) && raft->role == RAFT_LEADER) {
            return;
        }
        momi_raft_become_follower(raft, frame->term, effects);
    }
    bool is_free = raft->vote == candidate || frame->term > raft->term ||
                   (raft->vote == 0 && raft->leader_replica == 0);
    if (!has_vote(raft) || !is_free || !is_up_to_date(raft, frame)) {
        send_vote_reply(raft, node, candidate, raft->term, pre, effects);
        return;
    }
    if (pre != 0) {
        send_vote_reply(raft, node, candidate, frame->term, pre | MOMI_FLAG_GRANTED,
                        effects);
        return;
    }
    if (raft->vote != candidate) {
        raft->vote = candidate;
        momi_raft_put_hard(raft, effects);
    }
    if (raft->role != RAFT_FOLLOWER) {
        /* Only a pre-candidate gets here: in the other roles it has voted for itself. */
        momi_raft_become_follower(raft, raft->term, effects);
    }
    raft->vote_owed.node = node;
    raft->vote_owed.replica = candidate;
    momi_raft_reset_election(raft);
    if (momi_raft_hard_synced(raft) || MUTANT(VOTE_BEFORE_SYNC)) {
        momi_raft_hard_done(raft, effects);
    }
}

static void note_refusal(struct momi_raft *raft, const struct momi_frame *frame,
                         struct momi_progress *progress, struct momi_effects *effects) {
    if ((frame->flags & MOMI_FLAG_LIVE) != 0) {
        if (raft->retry_due_us == MOMI_NEVER) {
            raft->retry_due_us =
                raft->now_us +
                momi_rng_between(&raft->rng, RAFT_RETRY_MIN_US, RAFT_RETRY_MAX_US);
        }
        return;
    }
    bool counts = raft->role == RAFT_PRE_CANDIDATE || frame->term == raft->term;
    if (counts && progress->vote == 0) {
        progress->vote = -1;
        count_votes(raft, effects);
    }
}

void momi_raft_on_vote_reply(struct momi_raft *raft, const struct momi_frame *frame,
                             struct momi_effects *effects) {
    bool is_pre = (frame->flags & MOMI_FLAG_PRE) != 0;
    bool is_granted = (frame->flags & MOMI_FLAG_GRANTED) != 0;
    if (frame->term > raft->term && !(is_pre && is_granted)) {
        if (MUTANT(NO_STEP_DOWN) && raft->role == RAFT_LEADER) {
            return;
        }
        momi_raft_become_follower(raft, frame->term, effects);
        return;
    }
    enum momi_raft_role asked = is_pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE;
    struct momi_progress *progress = momi_raft_progress(raft, frame->from_replica);
    if (raft->role != asked || progress == NULL) {
        return;
    }
    if (!is_granted) {
        note_refusal(raft, frame, progress, effects);
        return;
    }
    uint64_t term = is_pre ? raft->term + 1 : raft->term;
    if (frame->term == term && !raft->requests_owed) {
        progress->vote = 1;
        count_votes(raft, effects);
    }
}

void momi_raft_on_timeout_now(struct momi_raft *raft, const struct momi_frame *frame,
                              struct momi_effects *effects) {
    if (frame->term < raft->term) {
        return;
    }
    if (frame->term > raft->term) {
        momi_raft_become_follower(raft, frame->term, effects);
    }
    if (raft->role != RAFT_CANDIDATE && momi_raft_may_campaign(raft)) {
        start_election(raft, true, effects);
    }
}
