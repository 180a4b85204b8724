/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Change: configurations (joint consensus), transfer of leadership, snapshots.
 *
 * The newest configuration in the log is in force from the moment it is appended (R1), so
 * the history can go back when the log is truncated. It holds every configuration that is
 * not committed, the one in force at the commit, and a few before that.
 */
#include "base/assert.h"
#include "core/entry.h"
#include "core/keys.h"
#include "core/raft_internal.h"

#include <mom/error.h>

bool momi_raft_is_config(struct momi_slice entry, struct momi_raft_config *config) {
    struct momi_entry header;
    if (!momi_entry_peek(entry, &header) || header.kind != MOMI_ENTRY_CONFIG ||
        entry.size < MOMI_ENTRY_HEADER) {
        return false;
    }
    struct momi_slice body =
        momi_slice(entry.data + MOMI_ENTRY_HEADER, entry.size - MOMI_ENTRY_HEADER);
    return momi_raft_config_decode(body, config) && config->count > 0;
}

static struct momi_config_at *newest(const struct momi_raft *raft) {
    return momi_ring_at(&raft->config_history, raft->config_history.count - 1);
}

/* Progress of all others in the configuration: those who stay keep theirs. */
void momi_raft_rebuild_progress(struct momi_raft *raft) {
    struct momi_progress kept[2 * MOMI_REPLICAS_MAX];
    uint32_t kept_count = raft->progress_count;
    memcpy(kept, raft->progress, sizeof kept);
    raft->progress_count = 0;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct momi_replica_at *at = &raft->config.at[i];
        if (at->replica == raft->replica) {
            continue;
        }
        struct momi_progress *progress = &raft->progress[raft->progress_count++];
        *progress = (struct momi_progress){
            .replica = at->replica,
            .node = at->node,
            .state = PROGRESS_PROBE,
            .next = momi_log_last(&raft->log) + 1,
            .is_connected = true,
            .heard_us = raft->now_us,
            .acked_us = raft->now_us,
        };
        for (uint32_t j = 0; j < kept_count; j++) {
            if (kept[j].replica == at->replica) {
                *progress = kept[j];
                progress->node = at->node;
            }
        }
    }
}

static void put_in_force(struct momi_raft *raft, const struct momi_config_at *at) {
    raft->config = at->config;
    raft->config_index = at->index;
    momi_raft_rebuild_progress(raft);
}

void momi_raft_config_appended(struct momi_raft *raft, uint64_t index,
                               const struct momi_raft_config *config) {
    struct momi_config_at *at = momi_ring_push(&raft->config_history);
    MOMI_ASSERT(at != NULL); /* momi_raft_reserve came before */
    at->index = index;
    at->config = *config;
    if (!MUTANT(CONFIG_AFTER_COMMIT)) {
        put_in_force(raft, at);
    }
}

void momi_raft_restore_config(struct momi_raft *raft, uint64_t index,
                              const struct momi_raft_config *config) {
    if (index <= newest(raft)->index) {
        return; /* the log reaches back behind the checkpoint, which knows better */
    }
    struct momi_config_at *at = momi_ring_push(&raft->config_history);
    if (at == NULL) {
        raft->can_vote = false; /* neither votes nor leads by a configuration it forgot */
        return;
    }
    at->index = index;
    at->config = *config;
    raft->config = *config;
    raft->config_index = index;
}

void momi_raft_config_truncated(struct momi_raft *raft, uint64_t from) {
    size_t before = raft->config_history.count;
    while (raft->config_history.count > 1 && newest(raft)->index >= from) {
        momi_ring_pop_back(&raft->config_history, 1);
    }
    if (raft->config_history.count < before && !MUTANT(CONFIG_NOT_ROLLED_BACK)) {
        put_in_force(raft, newest(raft));
    }
}

void momi_raft_config_committed(struct momi_raft *raft, uint64_t before) {
    size_t committed = 0;
    for (size_t i = 0; i < raft->config_history.count; i++) {
        const struct momi_config_at *at = momi_ring_at(&raft->config_history, i);
        if (at->index > raft->commit) {
            break;
        }
        committed++;
        if (at->index > before) {
            raft->config_committed = true;
            raft->counters->config_changes++;
            if (MUTANT(CONFIG_AFTER_COMMIT)) {
                put_in_force(raft, at);
            }
        }
    }
    if (committed > RAFT_CONFIGS_KEPT) {
        momi_ring_pop_front(&raft->config_history, committed - RAFT_CONFIGS_KEPT);
    }
}

/*
 * Ongaro, "Consensus: Bridging Theory and Practice", 4.2.2: "A server that is not part of
 * its own latest configuration should still start new elections, as it might still be
 * needed until the C_new entry is committed". Else the leader that appended its own
 * removal and crashed has the longest log, and nobody can win without its vote.
 */
bool momi_raft_counts(const struct momi_raft *raft) {
    for (size_t i = raft->config_history.count; i > 0; i--) {
        const struct momi_config_at *at = momi_ring_at(&raft->config_history, i - 1);
        if (momi_raft_config_is_voter(&at->config, raft->replica)) {
            return true;
        }
        if (at->index <= raft->commit) {
            return false;
        }
    }
    return false;
}

const struct momi_raft_config *momi_raft_config_at(const struct momi_raft *raft,
                                                   uint64_t index,
                                                   uint64_t *config_index) {
    for (size_t i = raft->config_history.count; i > 0; i--) {
        const struct momi_config_at *at = momi_ring_at(&raft->config_history, i - 1);
        if (at->index <= index) {
            *config_index = at->index;
            return &at->config;
        }
    }
    return NULL;
}

int momi_raft_propose_config(struct momi_raft *raft, uint64_t now_us,
                             const struct momi_raft_config *config,
                             struct momi_buf *entry, struct momi_effects *effects) {
    raft->now_us = now_us;
    if (!momi_raft_serves(raft) || newest(raft)->index > raft->commit ||
        (!raft->config.is_joint && config->version <= raft->config.version)) {
        return MOM_CONFLICT;
    }
    struct momi_raft_config inside;
    if (!momi_raft_config_may_follow(&raft->config, config) ||
        !momi_raft_is_config(momi_buf_slice(entry), &inside) ||
        !momi_raft_config_equal(config, &inside)) {
        return MOM_INVALID;
    }
    if (!momi_raft_reserve(raft, 1, 1)) {
        return MOM_NO_MEMORY;
    }
    momi_raft_append(raft, raft->term, entry, effects);
    return MOM_OK;
}

/* Ongaro, "Consensus: Bridging Theory and Practice", 4.3: once the joint configuration is
 * committed, "it is now safe for the leader to create a log entry describing C_new". */
static void leave_joint(struct momi_raft *raft, struct momi_effects *effects) {
    struct momi_raft_config simple;
    momi_raft_config_leave(&raft->config, &simple);
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(&simple, &bytes);
    struct momi_slice body = momi_bytes_slice(&bytes);
    struct momi_buf *entry =
        bytes.failed ? NULL
                     : momi_entry_build(MOMI_ENTRY_CONFIG, raft->term, raft->elapsed_us,
                                        raft->wall_us, 0, 0, &body, 1);
    /* Without memory the next tick tries again. */
    if (entry != NULL && momi_raft_reserve(raft, 1, 1)) {
        momi_raft_append(raft, raft->term, entry, effects);
    }
    momi_buf_release(entry);
    momi_bytes_free(&bytes);
}

/* The voter that is nearest to having everything; NULL: none is in reach. */
static struct momi_progress *best_successor(struct momi_raft *raft) {
    struct momi_progress *best = NULL;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        struct momi_progress *progress = &raft->progress[i];
        const struct momi_replica_at *at =
            momi_raft_config_find(&raft->config, progress->replica);
        bool is_fit = at != NULL && at->votes && progress->is_connected &&
                      progress->state != PROGRESS_SNAPSHOT &&
                      raft->now_us - progress->heard_us < MOMI_ELECTION_MIN_US;
        if (is_fit && (best == NULL || progress->match > best->match)) {
            best = progress;
        }
    }
    return best;
}

static void send_timeout_now(struct momi_raft *raft, struct momi_progress *progress,
                             struct momi_effects *effects) {
    momi_raft_send(raft, effects, progress->node, progress->replica, FRAME_TIMEOUT_NOW);
}

void momi_raft_go_forward(struct momi_raft *raft, struct momi_effects *effects) {
    bool is_committed = newest(raft)->index <= raft->commit ||
                        (MUTANT(JOINT_LEFT_EARLY) && raft->config.is_joint);
    if (!momi_raft_serves(raft) || !is_committed) {
        return;
    }
    if (raft->config.is_joint) {
        leave_joint(raft, effects);
    } else if (!momi_raft_config_is_voter(&raft->config, raft->replica)) {
        struct momi_progress *successor = best_successor(raft);
        if (successor != NULL) {
            send_timeout_now(raft, successor, effects);
        }
        momi_raft_become_follower(raft, raft->term, effects);
    }
}

void momi_raft_push_transfer(struct momi_raft *raft, struct momi_effects *effects) {
    if (raft->role != RAFT_LEADER || raft->transfer_to == 0 || raft->transfer_sent) {
        return;
    }
    struct momi_progress *target = momi_raft_progress(raft, raft->transfer_to);
    if (target == NULL) {
        raft->transfer_to = 0;
        return;
    }
    uint64_t last = momi_log_last(&raft->log);
    /* While proposals go on, a target may never have confirmed all: in the second half of
     * the time it is enough that all was sent, which arrives before this frame. */
    bool is_late = raft->now_us + MOMI_ELECTION_MAX_US / 2 >= raft->transfer_due_us;
    bool has_all_sent = target->state == PROGRESS_REPLICATE && target->next > last &&
                        target->match >= raft->term_start_index;
    if (target->match == last || (is_late && has_all_sent)) {
        send_timeout_now(raft, target, effects);
        raft->transfer_sent = true;
    }
}

bool momi_raft_transfer(struct momi_raft *raft, uint64_t now_us, uint64_t to_replica,
                        struct momi_effects *effects) {
    raft->now_us = now_us;
    if (raft->role != RAFT_LEADER || to_replica == raft->replica) {
        return false;
    }
    struct momi_progress *target =
        to_replica == 0 ? best_successor(raft) : momi_raft_progress(raft, to_replica);
    if (target == NULL || !target->is_connected) {
        return false;
    }
    const struct momi_replica_at *at =
        momi_raft_config_find(&raft->config, target->replica);
    if (at == NULL || !at->votes) {
        return false;
    }
    if (raft->transfer_to == target->replica) {
        return true;
    }
    raft->transfer_to = target->replica;
    raft->transfer_due_us = now_us + MOMI_ELECTION_MAX_US;
    raft->transfer_sent = false;
    momi_raft_push_transfer(raft, effects);
    return true;
}

void momi_raft_snapshot_done(struct momi_raft *raft, uint64_t replica, uint64_t index,
                             bool installed) {
    struct momi_progress *progress = momi_raft_progress(raft, replica);
    if (raft->role != RAFT_LEADER || progress == NULL ||
        progress->state != PROGRESS_SNAPSHOT) {
        return;
    }
    momi_raft_probe(progress);
    if (installed && index > progress->match && index <= momi_log_last(&raft->log)) {
        progress->next = index + 1; /* its answer to the probe says what it really has */
    }
}

void momi_raft_install(struct momi_raft *raft, uint64_t index, uint64_t term,
                       const struct momi_raft_config *config, uint64_t config_index,
                       struct momi_effects *effects) {
    if (index < raft->commit) {
        return;
    }
    uint64_t before = raft->commit;
    bool is_kept = momi_log_term(&raft->log, index) == term && index > 0 &&
                   index <= momi_log_last(&raft->log);
    if (!is_kept) {
        /* What is here above the old commit is not what was installed (R6). The keys up
         * to `index` are the shard's to delete: it has put the snapshot's live entries
         * there. */
        if (momi_log_last(&raft->log) > before) {
            momi_raft_forget(raft, before + 1, effects);
        }
        momi_log_reset(&raft->log, index + 1, term);
        momi_batch_truncate(&effects->batch, raft->shard, index + 1);
        raft->cut_from = 0; /* what is not above `index` is the shard's to delete */
    } else {
        momi_log_trim(&raft->log, index + 1);
    }
    uint64_t last = momi_log_last(&raft->log);
    momi_raft_put_end(raft, effects);
    effects->batch_sync = true;
    raft->turn_has_entries = true;
    raft->turn_last_index = last;

    /* The base of the history is replaced; what came after `index` stays. */
    while (raft->config_history.count > 1) {
        const struct momi_config_at *second = momi_ring_at(&raft->config_history, 1);
        if (second->index > index) {
            break;
        }
        momi_ring_pop_front(&raft->config_history, 1);
    }
    struct momi_config_at *base = momi_ring_at(&raft->config_history, 0);
    base->index = config_index;
    base->config = *config;
    raft->commit = index;
    raft->can_vote = true;
    if (raft->matched < index) {
        raft->matched = index;
    }
    put_in_force(raft, newest(raft));
    if (index > before) {
        raft->config_committed = true;
    }
}
