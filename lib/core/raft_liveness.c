/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is alive: heartbeat lines (R4), closed lanes (R5), CheckQuorum, ReadIndex, and
 * time.
 *
 * A line says something about one group in one term and nothing else: in any other term
 * it neither resets a timer nor counts for a quorum.
 */
#include "base/assert.h"
#include "core/raft_internal.h"

bool momi_raft_heartbeat_line(struct momi_raft *raft, uint64_t node,
                              struct momi_heartbeat_line *line) {
    const struct momi_progress *progress = momi_raft_progress_on(raft, node);
    if (raft->role != RAFT_LEADER || progress == NULL) {
        return false;
    }
    *line = (struct momi_heartbeat_line){
        .shard = raft->shard,
        .from_replica = raft->replica,
        .to_replica = progress->replica,
        .term = raft->term,
        .commit = progress->match < raft->commit ? progress->match : raft->commit,
    };
    return true;
}

bool momi_raft_heartbeat(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                         const struct momi_heartbeat_line *line,
                         struct momi_heartbeat_line *reply,
                         struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->is_stopped || line->term == 0 || line->term > RAFT_NUMBER_MAX) {
        return false;
    }
    bool is_old = line->term < raft->term;
    if (is_old && MUTANT(HEARTBEAT_WITHOUT_TERM)) {
        raft->leader_heard_us = now_us;
        momi_raft_reset_election(raft);
    } else if (!is_old) {
        if (!momi_raft_follow(raft, line->term, node, line->from_replica, effects)) {
            return false;
        }
        uint64_t limit = raft->matched;
        if (MUTANT(COMMIT_PAST_MATCH)) {
            limit = momi_log_last(&raft->log);
        }
        momi_raft_commit_to(raft, line->commit < limit ? line->commit : limit);
    }
    *reply = (struct momi_heartbeat_line){
        .shard = raft->shard,
        .from_replica = raft->replica,
        .to_replica = line->from_replica,
        .term = raft->term,
    };
    return true;
}

/* What was sent and not confirmed for a heartbeat may be lost: look what is there. */
static void look_for_loss(struct momi_raft *raft, struct momi_progress *progress) {
    bool in_flight = progress->next > progress->match + 1;
    if (progress->state == PROGRESS_REPLICATE && in_flight &&
        raft->now_us - progress->acked_us > MOMI_HEARTBEAT_US) {
        momi_raft_probe(progress);
        /* Without entries: most often the other disk is just slow. */
        progress->probe_sent = true;
        progress->probe_sent_us = raft->now_us - MOMI_HEARTBEAT_US;
    }
}

void momi_raft_heartbeat_reply(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                               uint64_t counter, const struct momi_heartbeat_line *line,
                               uint64_t free_bytes, struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->is_stopped || line->term > RAFT_NUMBER_MAX) {
        return;
    }
    if (line->term > raft->term) {
        if (!(MUTANT(NO_STEP_DOWN) && raft->role == RAFT_LEADER)) {
            momi_raft_become_follower(raft, line->term, effects);
        }
        return;
    }
    struct momi_progress *progress = momi_raft_progress_on(raft, node);
    bool is_own_term = line->term == raft->term || MUTANT(HEARTBEAT_WITHOUT_TERM);
    if (raft->role != RAFT_LEADER || !is_own_term || progress == NULL ||
        progress->replica != line->from_replica) {
        return;
    }
    progress->heard_us = now_us;
    progress->free_bytes = free_bytes;
    if (counter > progress->heard_counter) {
        progress->heard_counter = counter;
    }
    look_for_loss(raft, progress);
}

void momi_raft_lane_down(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                         bool closed, struct momi_effects *effects) {
    (void)effects;
    raft->now_us = now_us;
    struct momi_progress *progress = momi_raft_progress_on(raft, node);
    if (progress != NULL) {
        progress->is_connected = false;
        if (progress->state != PROGRESS_SNAPSHOT) {
            momi_raft_probe(progress);
        }
    }
    if (raft->is_stopped || !closed || raft->role == RAFT_LEADER ||
        raft->leader_node != node || raft->leader_replica == 0) {
        return;
    }
    raft->has_heard = false;
    raft->leader_replica = 0;
    raft->leader_node = 0;
    raft->append_owed = false; /* a leader that comes back asks again */
    uint64_t due = now_us + momi_rng_between(&raft->rng, RAFT_CLOSED_JITTER_MIN_US,
                                             RAFT_CLOSED_JITTER_MAX_US);
    if (due < raft->election_due_us) {
        raft->election_due_us = due;
    }
}

void momi_raft_lane_up(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                       struct momi_effects *effects) {
    (void)effects;
    raft->now_us = now_us;
    struct momi_progress *progress = momi_raft_progress_on(raft, node);
    if (progress == NULL) {
        return;
    }
    progress->is_connected = true;
    if (progress->state != PROGRESS_SNAPSHOT) {
        uint64_t next = progress->next;
        momi_raft_probe(progress); /* what was on its way over the old lane is gone */
        if (progress->match == 0) {
            progress->next = next; /* nothing is known yet: the search goes on there */
        }
    }
}

static uint64_t heard_at(void *user, uint64_t replica) {
    struct momi_raft *raft = user;
    if (replica == raft->replica) {
        return MOMI_NEVER;
    }
    struct momi_progress *progress = momi_raft_progress(raft, replica);
    return progress == NULL ? 0 : progress->heard_us;
}

uint64_t momi_raft_quorum_heard_us(const struct momi_raft *raft) {
    return momi_raft_config_quorum(&raft->config, heard_at, (void *)(uintptr_t)raft);
}

/* When CheckQuorum fails unless somebody is heard; MOMI_NEVER: it cannot. */
static uint64_t quorum_due_us(const struct momi_raft *raft) {
    uint64_t heard_us = momi_raft_quorum_heard_us(raft);
    if (heard_us == MOMI_NEVER || MUTANT(NO_CHECK_QUORUM)) {
        return MOMI_NEVER;
    }
    return heard_us + MOMI_ELECTION_MAX_US;
}

/* R7: when a leader whose own sync lags behind the commit hands over. */
static uint64_t slow_due_us(const struct momi_raft *raft) {
    if (raft->durable >= raft->commit || raft->inflight.count == 0) {
        return MOMI_NEVER;
    }
    const struct momi_inflight_batch *oldest = momi_ring_at(&raft->inflight, 0);
    uint64_t due = oldest->sent_us + RAFT_SLOW_SYNC_US;
    return due > raft->slow_due_us ? due : raft->slow_due_us;
}

static void lead_on(struct momi_raft *raft, struct momi_effects *effects) {
    if (quorum_due_us(raft) <= raft->now_us) {
        momi_raft_become_follower(raft, raft->term, effects);
        return;
    }
    if (raft->transfer_to != 0 && raft->transfer_due_us <= raft->now_us) {
        raft->transfer_to = 0;
    }
    if (slow_due_us(raft) <= raft->now_us) {
        raft->slow_due_us = raft->now_us + RAFT_SLOW_SYNC_US;
        (void)momi_raft_transfer(raft, raft->now_us, 0,
                                 effects); /* or stay: nobody else */
    }
    momi_raft_go_forward(raft, effects);
}

void momi_raft_time(struct momi_raft *raft, uint64_t now_us,
                    struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->is_stopped) {
        return;
    }
    if (raft->role == RAFT_LEADER) {
        lead_on(raft, effects);
        return;
    }
    if (!momi_raft_may_campaign(raft)) {
        return;
    }
    if (raft->election_due_us <= now_us) {
        momi_raft_campaign(raft, effects);
    } else if (raft->retry_due_us <= now_us) {
        momi_raft_ask_again(raft, effects);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint64_t momi_raft_deadline(const struct momi_raft *raft) {
    if (raft->is_stopped) {
        return MOMI_NEVER;
    }
    if (raft->role != RAFT_LEADER) {
        return momi_raft_may_campaign(raft)
                   ? earlier(raft->election_due_us, raft->retry_due_us)
                   : MOMI_NEVER;
    }
    uint64_t due = earlier(quorum_due_us(raft), slow_due_us(raft));
    if (raft->transfer_to != 0) {
        due = earlier(due, raft->transfer_due_us);
    }
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        const struct momi_progress *progress = &raft->progress[i];
        if (progress->state == PROGRESS_PROBE && progress->is_connected &&
            progress->probe_sent) {
            due = earlier(due, progress->probe_sent_us + MOMI_HEARTBEAT_US);
        }
    }
    return due;
}

/* Ongaro, "Consensus: Bridging Theory and Practice", 6.4, read-only queries: the leader
 * saves its commit index, then waits until a majority has answered a later heartbeat. */
bool momi_raft_read_index(struct momi_raft *raft, uint64_t request,
                          uint64_t heartbeat_counter_next) {
    if (!momi_raft_serves(raft) || raft->reads.count >= RAFT_READS_MAX) {
        return false;
    }
    struct momi_read_index *waiting = momi_ring_push(&raft->reads);
    if (waiting == NULL) {
        return false;
    }
    waiting->request = request;
    waiting->index = raft->commit;
    waiting->counter = heartbeat_counter_next;
    return true;
}

static uint64_t counter_at(void *user, uint64_t replica) {
    struct momi_raft *raft = user;
    if (replica == raft->replica) {
        return UINT64_MAX;
    }
    struct momi_progress *progress = momi_raft_progress(raft, replica);
    return progress == NULL ? 0 : progress->heard_counter;
}

size_t momi_raft_take_reads(struct momi_raft *raft, struct momi_read_index *out,
                            size_t max) {
    if (raft->reads.count == 0) {
        return 0;
    }
    uint64_t confirmed = momi_raft_config_quorum(&raft->config, counter_at, raft);
    if (MUTANT(READ_WITHOUT_CONFIRMATION)) {
        confirmed = UINT64_MAX;
    }
    size_t count = 0;
    while (count < max && count < raft->reads.count) {
        const struct momi_read_index *waiting = momi_ring_at(&raft->reads, count);
        if (waiting->counter > confirmed) {
            break;
        }
        out[count++] = *waiting;
    }
    momi_ring_pop_front(&raft->reads, count);
    return count;
}
