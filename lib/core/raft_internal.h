/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Raft group share. Nobody else includes this.
 */
#ifndef MOMI_CORE_RAFT_INTERNAL_H
#define MOMI_CORE_RAFT_INTERNAL_H

#include "core/effect.h"
#include "core/mutant.h"
#include "core/raft.h"

enum {
    RAFT_FRAME_BYTES_MAX = 256 << 10, /* of one append; one larger entry alone is fine */
    RAFT_FRAME_ENTRIES_MAX = 512,
    RAFT_WINDOW_BYTES = 1 << 20, /* sent to one replica and not confirmed */
    RAFT_READ_AHEAD = 4,    /* entries asked from the store for one replica at a time */
    RAFT_READS_MAX = 4096,  /* reads that wait for confirmation */
    RAFT_CONFIGS_KEPT = 16, /* committed configurations in the history */
    RAFT_READ_RETRY_US = 100000,      /* an entry asked for and not there: ask again */
    RAFT_CLOSED_JITTER_MIN_US = 5000, /* R5 */
    RAFT_CLOSED_JITTER_MAX_US = 25000,
    RAFT_RETRY_MIN_US = 20000, /* R5: refused for a live leader */
    RAFT_RETRY_MAX_US = 40000,
    RAFT_LOST_MIN_US = 20000, /* a lost election is tried again after this */
    RAFT_LOST_MAX_US = 120000,
    RAFT_SLOW_SYNC_US = 1000000, /* R7 */
};
/* No honest node comes near; keeps sums of a peer's numbers from wrapping around. */
#define RAFT_NUMBER_MAX (UINT64_C(1) << 60)

/* One entry of config_history. */
struct momi_config_at {
    uint64_t index;
    struct momi_raft_config config;
};

/* raft.c */
bool momi_raft_hard_synced(const struct momi_raft *raft);
void momi_raft_put_hard(struct momi_raft *raft, struct momi_effects *effects);
void momi_raft_reset_election(struct momi_raft *raft);
/* Takes up a higher term, or leaves a role of the current one; nobody leads. */
void momi_raft_become_follower(struct momi_raft *raft, uint64_t term,
                               struct momi_effects *effects);
/* A leader of `term` has spoken: follow it. False: its word does not count (we lead that
 * term ourselves, or somebody else does). */
bool momi_raft_follow(struct momi_raft *raft, uint64_t term, uint64_t node,
                      uint64_t replica, struct momi_effects *effects);
void momi_raft_become_leader(struct momi_raft *raft, struct momi_effects *effects);
bool momi_raft_reserve(struct momi_raft *raft, size_t entries, size_t configs);
/* After momi_raft_reserve. Puts the entry into log and batch; a configuration acts. */
void momi_raft_append(struct momi_raft *raft, uint64_t term, struct momi_buf *entry,
                      struct momi_effects *effects);
/* Drops `from` and everything above from memory only: what the store holds there is the
 * caller's to delete, in the same batch. */
void momi_raft_forget(struct momi_raft *raft, uint64_t from,
                      struct momi_effects *effects);
void momi_raft_commit_to(struct momi_raft *raft, uint64_t index);
void momi_raft_maybe_commit(struct momi_raft *raft, struct momi_effects *effects);
struct momi_frame *momi_raft_send(struct momi_raft *raft, struct momi_effects *effects,
                                  uint64_t node, uint64_t replica,
                                  enum momi_frame_type type);
struct momi_progress *momi_raft_progress_on(struct momi_raft *raft, uint64_t node);

/* raft_vote.c */
void momi_raft_campaign(struct momi_raft *raft, struct momi_effects *effects);
void momi_raft_ask_again(struct momi_raft *raft, struct momi_effects *effects);
void momi_raft_hard_done(struct momi_raft *raft, struct momi_effects *effects);
bool momi_raft_may_campaign(const struct momi_raft *raft);
void momi_raft_on_vote(struct momi_raft *raft, uint64_t node,
                       const struct momi_frame *frame, struct momi_effects *effects);
void momi_raft_on_vote_reply(struct momi_raft *raft, const struct momi_frame *frame,
                             struct momi_effects *effects);
void momi_raft_on_timeout_now(struct momi_raft *raft, const struct momi_frame *frame,
                              struct momi_effects *effects);

/* raft_append.c */
void momi_raft_on_append(struct momi_raft *raft, uint64_t node,
                         const struct momi_frame *frame, struct momi_buf *const *entries,
                         const uint64_t *terms, size_t entries_count,
                         struct momi_effects *effects);
void momi_raft_on_append_reply(struct momi_raft *raft, const struct momi_frame *frame,
                               struct momi_effects *effects);
/* Answers what is owed to the leader, if hard state allows. */
void momi_raft_answer_append(struct momi_raft *raft, struct momi_effects *effects);
void momi_raft_probe(struct momi_progress *progress);

/* raft_liveness.c */
/* When enough voters were heard, counting backwards: CheckQuorum fails an election
 * timeout later. MOMI_NEVER: no other voter is needed. */
uint64_t momi_raft_quorum_heard_us(const struct momi_raft *raft);

/* raft_change.c */
bool momi_raft_is_config(struct momi_slice entry, struct momi_raft_config *config);
void momi_raft_config_appended(struct momi_raft *raft, uint64_t index,
                               const struct momi_raft_config *config);
void momi_raft_config_truncated(struct momi_raft *raft, uint64_t from);
void momi_raft_config_committed(struct momi_raft *raft, uint64_t before);
/* Votes in a configuration that is in force or may still have to be: such a one stands
 * for election. */
bool momi_raft_counts(const struct momi_raft *raft);
void momi_raft_rebuild_progress(struct momi_raft *raft);
/* Leader: out of a committed joint configuration, or out of office when the committed
 * configuration has no place for it. */
void momi_raft_go_forward(struct momi_raft *raft, struct momi_effects *effects);
/* Leader: sends TIMEOUT_NOW once the target of a transfer has everything. */
void momi_raft_push_transfer(struct momi_raft *raft, struct momi_effects *effects);

#endif
