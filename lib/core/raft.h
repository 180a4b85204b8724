/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Raft group on one node (docs/protocol.md R1 to R7). A step function in the manner
 * of etcd-io/raft: it takes frames, time and completions, changes its own state, adds
 * entries and hard state to the turn's batch, and sends frames.
 *
 * Owned by the replica's shard (shard.h), which applies what is committed, builds entries
 * out of commands, and moves snapshots. Nothing here knows what an entry means, except
 * that a config entry acts when it is appended (R1).
 *
 * Roles:                 timeout             majority of pre-votes        majority of
 * votes follower ------------> pre-candidate ------------> candidate ------------> leader
 *               ^  ^---- higher term, or live leader ------------'  | |
 *               '------- higher term, or CheckQuorum fails
 * ---------'---------------------'
 *
 * One turn: any number of calls that take input, then momi_raft_send_appends, then
 * momi_raft_batch_numbered with the number of the turn's batch; later momi_raft_written.
 * Files: raft.c (life, log, commit), raft_vote.c, raft_append.c, raft_liveness.c
 * (heartbeats, CheckQuorum, ReadIndex, time), raft_change.c (configurations, transfer,
 * snapshots).
 */
#ifndef MOMI_CORE_RAFT_H
#define MOMI_CORE_RAFT_H

#include "base/rng.h"
#include "core/core.h"
#include "core/log.h"
#include "core/raft_config.h"

enum momi_raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

enum momi_progress_state {
    PROGRESS_PROBE,     /* one append at a time until a match is found */
    PROGRESS_REPLICATE, /* pipelined */
    PROGRESS_SNAPSHOT,  /* receives a snapshot; appends go on behind it when it is done */
};

/* What the leader knows of one replica. */
struct momi_progress {
    uint64_t replica;
    uint64_t node;
    enum momi_progress_state state;
    uint64_t match; /* known synced there */
    uint64_t next;  /* next index to send */
    uint64_t sent_commit;
    uint64_t inflight_bytes;
    uint64_t heard_us; /* last line or reply in this term (CheckQuorum) */
    uint64_t
        heard_counter; /* highest heartbeat counter that its reply echoed (ReadIndex) */
    uint64_t acked_us; /* when it last confirmed something new, or sending began with
                          nothing in flight */
    uint64_t probe_sent_us; /* of the probe under way; a lost one is repeated after a
                               heartbeat */
    bool probe_sent;
    bool is_connected;   /* no lane to its node is known to be down */
    uint64_t free_bytes; /* its disk (D4) */
    bool is_reading;     /* bytes for it are being read from the store, */
    uint64_t read_to;    /* asked for up to this index, */
    uint64_t read_us;    /* then */
    int vote;            /* as candidate: 1 granted, -1 refused, 0 unknown */
};

/* Where a log ends; the order in which votes compare logs. */
struct momi_log_end {
    uint64_t index;
    uint64_t term;
};

/* A batch that carries entries of this group and is not synced yet (R6). */
struct momi_inflight_batch {
    uint64_t number;
    uint64_t last_index; /* lowered by truncation */
    uint64_t sent_us;
};

struct momi_read_index {
    uint64_t request; /* the shard's token */
    uint64_t index;
    uint64_t counter; /* confirmed by heartbeats sent with this counter or later */
};

struct momi_raft {
    /* Identity. */
    uint32_t shard;
    uint64_t replica; /* our own id */
    uint64_t node;
    /* Hard state: durable before it is acted upon. */
    uint64_t term;
    uint64_t vote; /* replica id, 0: none */
    /* Log. */
    struct momi_log log;
    uint64_t commit;
    uint64_t durable; /* last index synced here */
    uint64_t matched; /* follower: last index known equal to this term's leader */
    /* D3. Where the log ended before damage took its end; index 0: nothing is missing.
     * What is missing may have been acknowledged: in votes the log counts as long as it
     * was, and the replica does not lead, until a leader has brought as much again. */
    struct momi_log_end missing;
    uint64_t cut_from; /* the store holds remains of the log from here on, which go with
                          the first entry that takes their place; 0: none */
    struct momi_ring inflight; /* of struct momi_inflight_batch */
    uint64_t
        hard_batch; /* number of the last batch with hard state; answers wait for it */
    uint64_t written_batch; /* number of the last batch completed */
    /* Configuration: in force, and its history down to the commit, for roll-back. */
    struct momi_raft_config config;
    uint64_t config_index;
    struct momi_ring config_history; /* of struct { uint64_t index; struct
                                        momi_raft_config config; }, oldest first */
    /* Role. */
    enum momi_raft_role role;
    uint64_t leader_replica; /* 0: unknown */
    uint64_t leader_node;
    uint64_t leader_heard_us;
    uint64_t election_due_us;
    uint64_t term_start_index; /* leader: index of its no-op */
    uint64_t leader_since_us;
    uint64_t quorum_checked_us;
    uint64_t transfer_to; /* replica that a transfer is under way to; 0: none */
    uint64_t transfer_due_us;
    struct momi_progress progress[2 * MOMI_REPLICAS_MAX];
    uint32_t progress_count;
    struct momi_ring reads; /* of struct momi_read_index, waiting for confirmation */
    struct momi_rng rng;
    uint64_t now_us; /* of the last call that told it */
    /* Of this turn's batch, until it gets its number. */
    bool turn_has_entries;
    bool turn_has_hard;
    uint64_t
        turn_last_index; /* lowered by truncation, as in struct momi_inflight_batch */
    /* Answers that wait for a sync. One of each is enough: a vote is given once in a
     * term, and append replies are cumulative. */
    struct {
        uint64_t node, replica; /* 0: none owed */
    } vote_owed;
    bool append_owed;      /* to the leader of this term */
    bool requests_owed;    /* candidate: its own vote is not synced yet */
    bool by_transfer;      /* this election was asked for by a leader */
    bool has_heard;        /* leader_heard_us counts (R5) */
    uint64_t retry_due_us; /* R5: ask for votes again */
    bool transfer_sent;
    uint64_t slow_due_us; /* R7: not handing over for a slow disk again before this */
    /* Highest stamps met in the log (R8); appends raise them, the shard sets them at
     * restore and install. The no-op of a new leader carries them. */
    uint64_t elapsed_us;
    uint64_t wall_us;
    bool can_vote;   /* false while the replica has no complete state (E6) */
    bool is_stopped; /* the store failed: neither votes nor leads nor answers (R7) */
    struct momi_core_counters *counters; /* the core's */
    /* What the last step changed, for the shard to take up; cleared by it. */
    bool became_leader;
    bool lost_leadership;
    bool config_committed;
    uint64_t truncated_from; /* 0: no truncation */
};

struct momi_raft_start {
    uint32_t shard;
    uint64_t replica, node, term, vote,
        commit; /* commit: the checkpoint's applied index */
    uint64_t seed, now_us;
    struct momi_raft_config config; /* at the checkpoint (genesis for a new one) */
    uint64_t config_index;
    bool has_state;
    struct momi_core_counters *counters;
};
/* The log is restored by the caller directly into raft->log, then momi_raft_restored is
 * called once. */
bool momi_raft_init(struct momi_raft *raft, const struct momi_raft_start *start);
void momi_raft_free(struct momi_raft *raft);
/* A config entry met while restoring the log after the checkpoint. */
void momi_raft_restore_config(struct momi_raft *raft, uint64_t index,
                              const struct momi_raft_config *config);
void momi_raft_restored(struct momi_raft *raft);
/* The end of the log for the shard's record of it, and for votes: what is missing counts.
 */
struct momi_log_end momi_raft_end(const struct momi_raft *raft);
/* Puts it into the batch, with every change of the log and every header. */
void momi_raft_put_end(struct momi_raft *raft, struct momi_effects *effects);

void momi_raft_time(struct momi_raft *raft, uint64_t now_us,
                    struct momi_effects *effects);
uint64_t momi_raft_deadline(const struct momi_raft *raft);

/* A frame of this group: VOTE, VOTE_REPLY, APPEND, APPEND_REPLY, TIMEOUT_NOW. The shard
 * has checked shard and both replica ids (R2). Appended entries were checked for checksum
 * and are given as buffers of their own, with their terms. `node` is where it came from:
 * answers go there, since a candidate need not be in our configuration (R1).
 *
 * APPEND_REPLY: with MOMI_FLAG_OK `index` is synced and matched, `number` matched;
 * without, (`index`, `log_term`) is the hint where to look for a match.
 * MOMI_FLAG_REFUSED: this replica has no state, it needs a snapshot. */
void momi_raft_frame(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                     const struct momi_frame *frame, struct momi_buf *const *entries,
                     const uint64_t *terms, size_t entries_count,
                     struct momi_effects *effects);

/* R4. The lines this leader wants in the heartbeat to `node`, and what comes in. */
bool momi_raft_heartbeat_line(struct momi_raft *raft, uint64_t node,
                              struct momi_heartbeat_line *line);
/* True when the line is accepted (then a reply line with our term is due; also when our
 * term is higher). */
bool momi_raft_heartbeat(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                         const struct momi_heartbeat_line *line,
                         struct momi_heartbeat_line *reply, struct momi_effects *effects);
void momi_raft_heartbeat_reply(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                               uint64_t counter, const struct momi_heartbeat_line *line,
                               uint64_t free_bytes, struct momi_effects *effects);
/* R5. The lane to a node closed (not merely replaced), or is up again. */
void momi_raft_lane_down(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                         bool closed, struct momi_effects *effects);
void momi_raft_lane_up(struct momi_raft *raft, uint64_t now_us, uint64_t node,
                       struct momi_effects *effects);

/* Leader only: appends one built entry (takes a reference). The term in it is raft->term.
 * Returns its index; 0: not leader, or out of memory, and nothing was done. */
uint64_t momi_raft_propose(struct momi_raft *raft, uint64_t now_us,
                           struct momi_buf *entry, struct momi_effects *effects);
/* Leader only: appends a configuration entry. MOM_CONFLICT: not leader, one is under way,
 * the no-op is not committed, or the version is not higher; MOM_INVALID: it may not
 * follow the one in force (momi_raft_config_may_follow; use momi_raft_config_enter to
 * make it). `entry` is the encoded entry of kind CONFIG that carries `config`. A joint
 * configuration is left by the leader itself (R1): the shard proposes only the way in. */
int momi_raft_propose_config(struct momi_raft *raft, uint64_t now_us,
                             const struct momi_raft_config *config,
                             struct momi_buf *entry, struct momi_effects *effects);
/* Sends what there is to send to every replica; called once at the end of a turn. Entries
 * whose bytes are not in memory are asked for through `read` (FX_READ by the shard), at
 * most a few at a time. */
typedef void (*momi_raft_read_fn)(void *user, uint64_t index);
void momi_raft_send_appends(struct momi_raft *raft, uint64_t now_us,
                            momi_raft_read_fn read, void *user,
                            struct momi_effects *effects);
/* The number of this turn's batch, after the last change of the turn. Does nothing for a
 * group that put nothing into it, so the core may call it for every group. */
void momi_raft_batch_numbered(struct momi_raft *raft, uint64_t now_us, uint64_t number);
/* Batches up to `number` are synced. */
void momi_raft_written(struct momi_raft *raft, uint64_t now_us, uint64_t number,
                       struct momi_effects *effects);

/* The configuration in force at `index`, for checkpoints and snapshots; NULL when it is
 * no longer known (it is kept for the last few changes). Sets its own index. Borrowed
 * until the next call that changes the log. */
const struct momi_raft_config *
momi_raft_config_at(const struct momi_raft *raft, uint64_t index, uint64_t *config_index);

/* ReadIndex: `request` is confirmed by momi_raft_take_reads once the state at its index
 * may be read. False: not leader, or the no-op is not committed yet. */
bool momi_raft_read_index(struct momi_raft *raft, uint64_t request,
                          uint64_t heartbeat_counter_next);
size_t momi_raft_take_reads(struct momi_raft *raft, struct momi_read_index *out,
                            size_t max);

/* Hands leadership to a voter (0: the best one) as soon as it is caught up; given up
 * after an election timeout, when transfer_to is 0 again. False: there is none, or not
 * leader. */
bool momi_raft_transfer(struct momi_raft *raft, uint64_t now_us, uint64_t to_replica,
                        struct momi_effects *effects);
/* The store failed or the node closes: step down for good (R7). Nothing is sent or
 * answered from here on. */
void momi_raft_stop(struct momi_raft *raft, struct momi_effects *effects);

/* Drops `from` and everything above, which must not be committed: entries that an install
 * replaces (E6). */
void momi_raft_truncate(struct momi_raft *raft, uint64_t from,
                        struct momi_effects *effects);

/* Snapshot hooks for shard_snapshot.c: the peer needs entries that the log no longer has
 * -> its progress enters PROGRESS_SNAPSHOT; the shard looks for such replicas, and tells
 * how it ended. */
void momi_raft_snapshot_done(struct momi_raft *raft, uint64_t replica, uint64_t index,
                             bool installed);
/* Receiver: the state is now complete at (index, term) with this configuration. The log
 * was cut or kept by the shard with momi_raft_install: entries above `index` that match
 * stay. */
void momi_raft_install(struct momi_raft *raft, uint64_t index, uint64_t term,
                       const struct momi_raft_config *config, uint64_t config_index,
                       struct momi_effects *effects);

static inline bool momi_raft_is_leader(const struct momi_raft *raft) {
    return raft->role == RAFT_LEADER;
}
/* R1: may answer reads and acknowledge: leader whose no-op is committed. */
static inline bool momi_raft_serves(const struct momi_raft *raft) {
    return raft->role == RAFT_LEADER && raft->commit >= raft->term_start_index;
}
struct momi_progress *momi_raft_progress(struct momi_raft *raft,
                                         uint64_t replica); /* NULL: none */

/* Hard state (term, vote, commit hint) is put into the batch under the shard's key by
 * raft.c itself: keys.h. */

#endif
