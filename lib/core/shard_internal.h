/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One replica of a shard on this node: Raft, the state machine behind it, and what moves
 * between them.
 *
 *   shard.c             life, frames, applying, the turn
 *   shard_restore.c     from the store at start-up
 *   shard_propose.c     sessions and commands into entries (leader)
 *   shard_answer.c      results, deliveries, queries out of state (leader)
 *   shard_reads.c       bytes of entries that are not in memory
 *   shard_repair.c      damaged entries from other copies (E7)
 *   shard_checkpoint.c  checkpoints, trimming, deletion, hollow entries
 *   shard_snapshot_send.c, shard_snapshot_receive.c    moving a whole state (E6)
 *   shard_fill.c        subscriptions that start in the past (M2, leader)
 *   shard_plan.c        working towards a plan of the registry (N3, leader)
 *
 * Owned by the core. Nobody outside these files includes this header.
 */
#ifndef MOMI_CORE_SHARD_INTERNAL_H
#define MOMI_CORE_SHARD_INTERNAL_H

#include "core/core_internal.h"
#include "core/entry.h"
#include "core/keys.h"
#include "core/live.h"
#include "core/machine.h"
#include "core/raft.h"
#include "core/registry.h"

enum {
    SHARD_READS_MAX = 16,  /* entry reads under way of one shard */
    SHARD_RECENT_MAX = 64, /* entries read back and kept for the next use */
    SHARD_UNSTABLE_MAX =
        4, /* entries appended and not committed, before commands wait and gather */
    SHARD_APPLY_BYTES = 4 << 20,   /* applied in one turn at most */
    SHARD_DELIVER_BYTES = 1 << 20, /* to one consumer in one turn at most */
    SHARD_QUERIES_MAX = 1024,
    SHARD_LIST_PAGE = 1000, /* streams in one answer to a list */
    SHARD_OPENINGS_MAX = 1024,
    SNAPSHOT_PART_BYTES = 256 << 10,
    SNAPSHOT_WINDOW = 4, /* parts sent and not answered */
    SNAPSHOT_SENDS_MAX = 2,
    SHARD_FETCHES_MAX = 8,
    SHARD_REPAIRS_MAX = 64, /* damaged entries known at the same time */
    FETCH_ENTRIES_MAX = 64, /* asked for at once */
};

/* A snapshot of which nothing comes any more is given up. */
#define SNAPSHOT_SILENCE_US (10 * MOMI_S)

/* Commands of one client frame that wait to become part of an entry. */
struct momi_pending {
    struct momi_buf *buf; /* holds `commands`; a reference */
    struct momi_slice commands;
    uint32_t commands_count;
    uint32_t slots_count;
};

struct momi_query_waiting {
    uint64_t token; /* of the read index */
    uint64_t node;
    uint64_t request;
    uint32_t kind;
    uint32_t arg; /* enum momi_kind */
    struct momi_session_id session;
    uint64_t consumer;
    uint64_t number;
    bool is_confirmed;
    uint64_t index;         /* then: the state to wait for */
    struct momi_buf *names; /* name, then detail; a reference */
    uint32_t name_size;
};

struct momi_opening {
    uint64_t node;
    uint64_t incarnation;
    uint64_t request;
    uint64_t number;
};

/* A read under way. Who waits looks again when anything arrives. */
struct momi_read_waiting {
    uint64_t token;
    uint64_t index;
    bool is_certain; /* nothing was on its way to the store: NOT_FOUND means it */
};

/* An entry read back. */
struct momi_recent {
    uint64_t index;
    struct momi_buf *buf;
    uint64_t used; /* grows with each use: the oldest is replaced */
};

/* A damaged entry that the other replicas are asked for. */
struct momi_repair {
    uint64_t index; /* 0: free */
    uint64_t asked_us;
    uint64_t answered[2 * MOMI_REPLICAS_MAX]; /* replicas that do not have it either */
    uint32_t answered_count;
    bool is_lost; /* all of them have answered */
};

/* A snapshot being sent to one replica. */
struct momi_snapshot_send {
    uint64_t replica; /* 0: free */
    uint64_t node;
    uint64_t id; /* also the scan session; 0: waits for a checkpoint to be written */
    uint64_t scan_token; /* 0: none under way */
    uint64_t parts_sent;
    uint64_t parts_answered;
    uint64_t keep_from; /* the log is kept from here for the receiver */
    uint64_t heard_us;
    bool is_scanned;         /* the last record was sent */
    struct momi_bytes after; /* key to go on behind */
};

/* A request for entries being answered (E6, E7). */
struct momi_fetch {
    uint64_t node; /* 0: free */
    uint64_t replica;
    uint64_t id;
    uint64_t first; /* as asked */
    uint64_t last;
};

/* A snapshot being received. */
struct momi_snapshot_receive {
    bool is_on;
    bool is_loaded; /* all records are there; entries are being fetched */
    bool has_header;
    uint64_t id;
    uint64_t from_node;
    uint64_t from_replica;
    uint64_t term; /* of the sender */
    uint64_t part_next;
    struct momi_shard_header header; /* of the sender's checkpoint */
    struct momi_machine *machine;    /* being filled; owned */
    struct momi_registry registry;
    uint64_t fetch_next; /* next live index to look at */
    uint64_t fetch_last; /* end of the range asked for; 0: none */
    uint64_t fetch_asked_us;
    uint64_t heard_us;
};

struct momi_shard {
    struct momi_core *core;
    uint32_t id;
    uint64_t replica;
    struct momi_raft raft;
    bool is_registry;
    struct momi_machine *machine;  /* data shards; owned */
    struct momi_registry registry; /* shard 0 */
    uint8_t side;
    bool has_state;
    bool is_damaged;  /* D3: its state could not be read; waits for a snapshot */
    bool wants_turn;  /* stopped at a bound of the turn: go on in the next, at once */
    bool has_batch;   /* something of it is in this turn's batch besides Raft's */
    bool clears_side; /* `side` may hold remains, which go before it is used */
    bool is_parked;   /* R9: out of memory at `applied` */
    uint64_t parked_until_us;
    uint64_t applied;
    uint64_t applied_term;
    struct momi_log_end restored_last; /* from 'l' */
    uint64_t replay_to; /* the state is made again out of the log up to here */
    uint64_t log_from;  /* entries are deleted from here on by the next checkpoint */
    /* Stamps (R8), while leading. */
    uint64_t elapsed_base_us;
    uint64_t elapsed_since_us;
    uint64_t stamped_us;      /* monotonic: last entry appended */
    uint64_t fill_index;      /* index of the last CMD_FILL proposed */
    uint64_t tick_index;      /* index of the last CMD_TICK proposed */
    uint64_t sessions_due_us; /* next look at silent sessions */
    /* Leader: what comes in. */
    struct momi_ring pending; /* of struct momi_pending */
    uint64_t pending_bytes;
    uint64_t unapplied_bytes;
    struct momi_ring openings; /* of struct momi_opening */
    struct momi_ring queries;  /* of struct momi_query_waiting */
    uint64_t query_next;
    /* Reads. */
    struct momi_read_waiting reads[SHARD_READS_MAX];
    uint32_t reads_count;
    struct momi_recent recent[SHARD_RECENT_MAX];
    uint64_t recent_used;
    struct momi_repair repairs[SHARD_REPAIRS_MAX];
    uint32_t repairs_end; /* those in use lie below */
    /* Checkpoint. */
    uint64_t checkpoint_applied;
    uint64_t checkpoint_log_bytes; /* applied since */
    uint64_t checkpoint_batch;     /* under way; 0: none */
    bool checkpoint_asked;         /* a snapshot waits for one */
    bool checkpoint_wanted;        /* it is in this turn's batch */
    uint64_t hollow_next;          /* next live index to look at */
    /* Snapshots. */
    struct momi_snapshot_send sends[SNAPSHOT_SENDS_MAX];
    struct momi_fetch fetches[SHARD_FETCHES_MAX];
    struct momi_snapshot_receive receive;
    /* Plan. */
    struct momi_plan plan;
    uint64_t plan_reported; /* version reported as reached */
    uint64_t plan_due_us;
};

/* shard.c */
struct momi_machine *momi_shard_new_machine(struct momi_core *core,
                                            uint32_t shard); /* NULL: out of memory */
void momi_shard_free_machine(struct momi_machine *machine);  /* NULL is fine */
struct momi_shard *momi_shard_alloc(struct momi_core *core,
                                    uint32_t shard); /* NULL: out of memory */
void momi_shard_free(struct momi_shard *shard);
void momi_shard_frame(struct momi_shard *shard, uint64_t node,
                      const struct momi_frame *frame);
void momi_shard_time(struct momi_shard *shard);
uint64_t momi_shard_deadline(const struct momi_shard *shard);
/* True when something was done that may let others go on (more to apply, local frames).
 */
bool momi_shard_turn(struct momi_shard *shard);
void momi_shard_lane(struct momi_shard *shard, uint64_t node, bool up, bool closed);
void momi_shard_written(struct momi_shard *shard, uint64_t number);
void momi_shard_batch_numbered(struct momi_shard *shard, uint64_t number);
void momi_shard_stop(struct momi_shard *shard);
/* After a step of Raft: takes up what it changed. */
void momi_shard_raft_changed(struct momi_shard *shard);
uint64_t
momi_shard_elapsed(const struct momi_shard *shard); /* leader: now on the elapsed clock */
enum momi_header_sync { MOMI_SYNC_UNNEEDED, MOMI_SYNC_NEEDED };
void momi_shard_write_header(struct momi_shard *shard, enum momi_header_sync sync_wanted);
void momi_shard_header(const struct momi_shard *shard, struct momi_shard_header *header);
/* Leader and applied its own no-op: accepts commands and answers reads. */
bool momi_shard_serves(const struct momi_shard *shard);

/* shard_restore.c */
void momi_shard_restore_entry(struct momi_shard *shard, struct momi_slice key,
                              struct momi_slice value);
void momi_shard_restore_record(struct momi_shard *shard, struct momi_slice key,
                               struct momi_slice value);
void momi_shard_restored(struct momi_shard *shard);
void momi_shard_start(struct momi_shard *shard); /* in the first step after it */

/* shard_propose.c */
void momi_shard_commands(struct momi_shard *shard, uint64_t node,
                         const struct momi_frame *frame);
void momi_shard_session_open(struct momi_shard *shard, uint64_t node,
                             const struct momi_frame *frame);
bool momi_shard_propose_command(struct momi_shard *shard, uint8_t command,
                                struct momi_session_id session, struct momi_slice body);
void momi_shard_answer_openings(struct momi_shard *shard);
void momi_shard_build_entries(struct momi_shard *shard);
void momi_shard_propose_due(struct momi_shard *shard); /* ticks, stamps, session ends */
void momi_shard_drop_pending(struct momi_shard *shard);
uint64_t momi_shard_propose_deadline(const struct momi_shard *shard);
void momi_shard_session_ping(struct momi_core *core, uint64_t node,
                             const struct momi_frame *frame);
void momi_shard_not_leader(struct momi_shard *shard, uint64_t node,
                           const struct momi_frame *frame);

/* shard_answer.c */
void momi_shard_answer(struct momi_shard *shard);
void momi_shard_query(struct momi_shard *shard, uint64_t node,
                      const struct momi_frame *frame);
void momi_shard_drop_queries(struct momi_shard *shard);

/* shard_reads.c: the bytes of an entry, borrowed until the next turn; NULL: a read was
 * started (or is under way), look again when something has arrived. `gone` is set when
 * the store says that it does not exist. */
struct momi_buf *momi_shard_entry(struct momi_shard *shard, uint64_t index, bool *gone);
void momi_shard_read_done(struct momi_shard *shard, uint64_t token, int error,
                          struct momi_buf *buf);
bool momi_shard_has_read(const struct momi_shard *shard, uint64_t token);
void momi_shard_forget_recent(struct momi_shard *shard);
/* Remembers an entry read back; buf NULL: the store says that it does not exist. */
void momi_shard_remember(struct momi_shard *shard, uint64_t index, struct momi_buf *buf);

/* shard_repair.c (E7) */
/* The entry could not be read: ask the other replicas for it. */
void momi_shard_repair(struct momi_shard *shard, uint64_t index);
/* One of them has sent it, */
void momi_shard_repaired(struct momi_shard *shard, uint64_t index,
                         struct momi_slice bytes);
/* or has answered for these indexes without it. */
void momi_shard_repair_answered(struct momi_shard *shard, uint64_t replica,
                                uint64_t first, uint64_t last);
void momi_shard_repair_turn(struct momi_shard *shard);
uint64_t momi_shard_repair_deadline(const struct momi_shard *shard);
/* It cannot be read, and no whole copy has come yet; */
bool momi_shard_is_damaged(const struct momi_shard *shard, uint64_t index);
/* and no replica has one. */
bool momi_shard_is_lost(const struct momi_shard *shard, uint64_t index);
/* Part of the log, or alive: the store must have it. */
bool momi_shard_needs(const struct momi_shard *shard, uint64_t index);
/* Not something else that is known to stand in its place. */
bool momi_shard_fits(const struct momi_shard *shard, uint64_t index,
                     const struct momi_entry *entry);

/* shard_checkpoint.c */
void momi_shard_maybe_checkpoint(struct momi_shard *shard);
void momi_shard_checkpoint_written(struct momi_shard *shard, uint64_t number);

/* shard_snapshot_send.c */
void momi_shard_snapshot_turn(struct momi_shard *shard);
void momi_shard_snapshot_reply(struct momi_shard *shard, uint64_t node,
                               const struct momi_frame *frame);
bool momi_shard_snapshot_scanned(struct momi_shard *shard,
                                 const struct momi_event *event);
void momi_shard_fetch(struct momi_shard *shard, uint64_t node,
                      const struct momi_frame *frame);
uint64_t momi_shard_snapshot_keep(
    const struct momi_shard *shard); /* lowest index to keep; UINT64_MAX: any */
void momi_shard_snapshot_stop(struct momi_shard *shard);

/* shard_snapshot_receive.c */
void momi_shard_snapshot_records(struct momi_shard *shard, uint64_t node,
                                 const struct momi_frame *frame);
void momi_shard_snapshot_entries(struct momi_shard *shard, uint64_t node,
                                 const struct momi_frame *frame);
void momi_shard_receive_turn(struct momi_shard *shard);
void momi_shard_receive_abandon(struct momi_shard *shard);

/* shard_fill.c, shard_plan.c */
void momi_shard_fill(struct momi_shard *shard);
void momi_shard_work_plan(struct momi_shard *shard);

#endif
