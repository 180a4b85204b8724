/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replicated state machine of a data shard: sessions, streams, subscriptions,
 * consumers, leases (S, M rules).
 *
 * momi_machine_apply takes a committed entry and changes state only (R10): it reads
 * nothing but the entry and memory, and is the same on every replica. What a leader has
 * to send (results, deliveries, ended consumers) it derives from the state afterwards;
 * "fresh" lists tell where to look, and are not state.
 *
 *   stream 1 --- * group      a queue has exactly one group (its name is empty), a topic
 * one per subscription group  1 --- * consumer   ready messages are assigned to waiting
 * consumers in fair turns, at apply consumer 1 - * lease run  ordered by token; token and
 * delivery numbers only grow message:   ready --assigned--> leased (buffered) --handed
 * out--> leased (due) --settled--> gone
 *                ^------ given back, returned, lost consumer, expired ------'--> dead
 * letter
 */
#ifndef MOMI_CORE_MACHINE_H
#define MOMI_CORE_MACHINE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/ring.h"
#include "core/call.h"
#include "core/core.h"
#include "core/entry.h"
#include "core/runs.h"

struct momi_machine;

/* What is kept of a command's outcome until its client has it (S2). */
struct momi_result {
    int32_t error;
    uint64_t value; /* PUBLISH: first sequence; creates: id */
};

struct momi_session {
    struct momi_session_id id;
    uint64_t node;
    uint64_t incarnation;
    uint64_t opening;         /* number of the opening */
    uint64_t principal;       /* until there are users: the node id (S4) */
    uint64_t last;            /* last number applied */
    uint64_t answered;        /* results up to here are forgotten */
    struct momi_ring results; /* of struct momi_result, numbers answered + 1 .. last */
    struct momi_list
        consumers; /* struct momi_consumer.session_link, in order of attachment */
    struct momi_list
        temporary; /* struct momi_group.temporary_link: subscriptions that end with it */
    struct momi_map_node by_id;
    struct momi_map_node by_node;
    struct momi_list link; /* momi_machine.sessions, in order of id */
    struct momi_list
        dirty_link; /* momi_machine.dirty_sessions: changed since the checkpoint */
    /* Not state: the leader's. */
    struct momi_list
        fresh_link; /* momi_machine.fresh_sessions: has results that were not looked at */
    uint64_t sent;  /* results up to here were sent in this term */
    uint64_t proposed;     /* last number put into the log in this term */
    uint64_t heard_us;     /* monotonic: last sign of life */
    uint64_t lane_down_us; /* 0: its lane is up */
    bool detach_proposed;
    bool end_proposed;
};

/* Messages leased to one consumer: consecutive in sequence, slot, token and delivery
 * number. */
struct momi_lease {
    struct momi_run run;
    uint64_t counter;  /* token of the first */
    uint64_t delivery; /* delivery number of the first */
    uint64_t due_us;   /* elapsed; 0: in the library's buffer, no countdown (M4) */
};

struct momi_consumer {
    struct momi_session *session;
    uint64_t id; /* the client's number, unique in its session */
    struct momi_group *group;
    uint64_t lease_us;
    uint64_t credit;    /* M5: may be assigned up to this delivery number */
    uint64_t delivered; /* last delivery number assigned */
    uint64_t handed;    /* told as handed out, up to this delivery number */
    struct momi_ring
        leases; /* of struct momi_lease, by rising counter; settled ones are cut out */
    uint64_t leased; /* messages in `leases` */
    uint64_t number; /* of the attachment: unique in the shard, grows */
    uint64_t turn;   /* while it waits: its place, rising within the group; 0: it does not
                        wait */
    bool dues_mixed; /* a cache: due_us of `leases` may not be rising (lease.h) */
    uint32_t
        leases_empty; /* within a command only: elements of `leases` without messages */
    uint32_t records_saved; /* how many records the last checkpoint wrote for it
                               (consumer_save.c) */
    uint64_t group_id;      /* while restoring: `group` is not known yet */
    struct momi_list session_link;
    struct momi_list group_link;   /* momi_group.consumers */
    struct momi_list waiting_link; /* momi_group.waiting, while credit > delivered: the
                                      fair turn (M6) */
    struct momi_heap_node due;     /* earliest due_us of its leases */
    struct momi_map_node by_id;    /* of (session, id) */
    struct momi_list dirty_link;
    /* Not state: the leader's. */
    struct momi_list fresh_link; /* has leases with a delivery number above `sent` */
    uint64_t sent; /* leases up to this delivery number were sent in this term */
};

struct momi_filter;

struct momi_group {
    struct momi_stream *stream;
    uint64_t id;                 /* unique in the shard, grows */
    struct momi_slice name;      /* owned; empty for the group of a queue */
    struct momi_filter *filters; /* owned (filter.h) */
    uint32_t filters_count;
    bool ignore_own;
    uint64_t creator;           /* node id */
    struct momi_session *owner; /* temporary: ends with this session; NULL: durable */
    struct momi_runs ready;
    uint64_t ready_bytes;
    /* M2: while filling, live matches wait in `ready` from fill_to on, and nothing is
     * assigned from there: momi_group_fill_limit. */
    uint64_t fill_from; /* next sequence to look at; fill_from == fill_to: done */
    uint64_t fill_to;   /* excluded: the stream's next sequence when the subscription was
                           created */
    uint64_t leased;
    uint64_t leased_bytes; /* as ready_bytes: moves there and back with the message
                              (checkout.c) */
    struct momi_run
        match; /* scratch of publish.c: the run of matches that is being put together */
    uint64_t match_count;                /* scratch of publish.c */
    uint64_t redelivered, dead_lettered; /* since creation */
    struct momi_list consumers;          /* in order of attachment */
    struct momi_list waiting;            /* the first is next in turn */
    uint64_t waiting_count;
    uint64_t turn_last;    /* the turn given last */
    struct momi_list link; /* momi_stream.groups, by id */
    struct momi_list temporary_link;
    struct momi_list dirty_link;
    struct momi_list fill_link; /* momi_machine.filling, in order of id */
    struct momi_map_node by_id; /* momi_machine.groups_by_id */
};

/* Only ready messages with a sequence below this may be assigned; above it they wait
 * until the fill is done. */
static inline uint64_t momi_group_fill_limit(const struct momi_group *group) {
    return group->fill_from == group->fill_to ? UINT64_MAX : group->fill_from;
}

/* Where in a topic's history the clocks stood: every message from `sequence` to the next
 * mark was published at or after these stamps, and at or before the next mark's. About
 * one a second, older ones thinned out; it serves start-from-time (wall) and retention
 * age (elapsed, R8). */
struct momi_time_mark {
    uint64_t sequence;
    uint64_t elapsed_us;
    uint64_t wall_us;
};

struct momi_stream {
    uint64_t id; /* unique in the shard, grows */
    enum momi_kind kind;
    struct momi_slice name;             /* owned */
    struct momi_stream_options options; /* with defaults filled in */
    uint64_t creator;
    uint64_t created_wall_us;
    uint64_t sequence_next;
    struct momi_runs history; /* topics: kept messages, oldest first */
    uint64_t history_bytes;
    struct momi_ring marks; /* of struct momi_time_mark; topics */
    bool marks_dirty;
    uint32_t marks_saved;    /* blocks of marks that the last checkpoint wrote */
    struct momi_list groups; /* struct momi_group.link */
    uint32_t groups_count;
    struct momi_heap_node retention_due; /* of the oldest kept message */
    struct momi_map_node by_name;
    struct momi_map_node by_id;
    struct momi_list link; /* momi_machine.streams, by id */
    struct momi_list dirty_link;
};

/* A consumer that ended by itself; told to its client by the leader. */
struct momi_ended {
    struct momi_session_id session;
    uint64_t node;
    uint64_t consumer;
    int error;
};

struct momi_live; /* entries in which messages live: live.h */

struct momi_machine {
    uint32_t shard;
    uint32_t epoch;
    uint64_t applied;
    uint64_t applied_term;
    uint64_t elapsed_us; /* last stamps applied (R8) */
    uint64_t wall_us;
    uint64_t counter; /* last token given */
    uint64_t id_next; /* for streams and groups */
    struct momi_map sessions_by_id;
    struct momi_map sessions_by_node;
    struct momi_map streams_by_name;
    struct momi_map streams_by_id;
    struct momi_map groups_by_id;
    struct momi_map consumers_by_id;
    struct momi_list sessions;
    struct momi_list streams;
    uint32_t sessions_count, streams_count, consumers_count;
    struct momi_live *live;
    struct momi_heap due; /* consumers: struct momi_consumer.due, on elapsed */
    struct momi_heap
        retention; /* streams: struct momi_stream.retention_due, on elapsed */
    struct momi_list filling;
    struct momi_list dirty_sessions, dirty_streams, dirty_groups, dirty_consumers;
    struct momi_bytes deleted_records; /* keys (u8 size, key) of records to delete at the
                                          next checkpoint */
    size_t dirty_bytes;                /* estimate of what a checkpoint would write */
    struct momi_list graves;     /* graves.c: what is gone, and still refers to entries */
    struct momi_reserve reserve; /* R9 */
    size_t leases_bytes; /* memory of all consumers' lease rings: what doubling one could
                            take at most */
    struct momi_core_counters *counters;
    /* Fresh: what the leader has to look at; cleared by it, and dropped when it is not
     * leader. */
    struct momi_list fresh_sessions;
    struct momi_list fresh_consumers;
    struct momi_ring ended; /* of struct momi_ended */
};

int momi_machine_init(struct momi_machine *machine, uint32_t shard, uint32_t epoch,
                      struct momi_core_counters *counters); /* MOM_OK or MOM_NO_MEMORY */
void momi_machine_free(struct momi_machine *machine);

/* E4: what was purged or deleted is let go of in slices. Something is left; one slice of
 * it, outside of applying (false: no memory now). No checkpoint while anything is left.
 */
bool momi_machine_has_graves(const struct momi_machine *machine);
bool momi_machine_bury(struct momi_machine *machine);

/* R9, phase one: everything that applying this entry could allocate; false: out of
 * memory, try again later. */
bool momi_machine_reserve(struct momi_machine *machine, const struct momi_entry *entry);
/* Phase two: cannot fail. `index` is applied + 1. Entries of kind NOOP and CONFIG move
 * the stamps only. */
void momi_machine_apply(struct momi_machine *machine, uint64_t index,
                        const struct momi_entry *entry);

/* What the leader checks before it proposes (S3): the class to refuse with, or 0. Must be
 * safe on hostile bytes; what it lets through that does not parse is INVALID at apply.
 * `node` sent it. */
int momi_machine_validate(const struct momi_machine *machine, uint64_t node,
                          const struct momi_command *command);

struct momi_session *momi_machine_session(const struct momi_machine *machine,
                                          struct momi_session_id id);
/* The newest session of a node, for session opening (S1); NULL: none. */
struct momi_session *momi_machine_session_of(const struct momi_machine *machine,
                                             uint64_t node);
struct momi_consumer *momi_machine_consumer(const struct momi_machine *machine,
                                            const struct momi_session *session,
                                            uint64_t consumer);
struct momi_stream *momi_machine_stream(const struct momi_machine *machine,
                                        enum momi_kind kind, struct momi_slice name);
struct momi_group *momi_machine_group(const struct momi_stream *stream,
                                      struct momi_slice name); /* NULL: none */

/* When the leader should propose a CMD_TICK, on the elapsed clock; MOMI_NEVER: nothing is
 * timed. */
uint64_t momi_machine_due(const struct momi_machine *machine);
/* Anything timed at all (R8: the leader then stamps every 10 s). */
bool momi_machine_is_timed(const struct momi_machine *machine);

/* The class of a publish or anything else refused for a full stream is decided in apply.
 */

/* Checkpoints (E4). Everything changed since the last save is put as records under
 * (shard, side); the caller adds the header. All of it belongs into one batch. */
void momi_machine_save(struct momi_machine *machine, uint8_t side,
                       struct momi_batch *batch);
/* Restoring: records in key order, then loaded. False: malformed or inconsistent: the
 * shard is damaged. */
bool momi_machine_load(struct momi_machine *machine, struct momi_slice key,
                       struct momi_slice value);
bool momi_machine_loaded(struct momi_machine *machine, uint64_t applied,
                         uint64_t applied_term);

/* A hash over the logical content (not blocks, runs or caches): equal at equal applied
 * index on all replicas. */
uint64_t momi_machine_hash(const struct momi_machine *machine);
/* The first invariant that does not hold, as its text; NULL: all hold. O(state). For what
 * was loaded, and for debug builds, tests and the simulator; these panic. */
const char *momi_machine_fault(const struct momi_machine *machine);
void momi_machine_check(const struct momi_machine *machine);

/* Queries (reads), after ReadIndex: encoded answers as in info.h. */
int momi_machine_describe(const struct momi_machine *machine, enum momi_kind kind,
                          struct momi_slice name, struct momi_slice subscription,
                          struct momi_bytes *out);
int momi_machine_list(const struct momi_machine *machine, enum momi_kind kind,
                      struct momi_slice after, uint32_t max, struct momi_bytes *out,
                      bool *more);
int momi_machine_subscriptions(const struct momi_machine *machine,
                               struct momi_slice topic, struct momi_bytes *out);
/* M7: the delivery number that a consumer must have seen before it may say EMPTY; `waits`
 * when others wait before. */
uint64_t momi_machine_delivered(const struct momi_consumer *consumer);

#endif
