/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls: what a program asks of its own node. The shell turns each API call into one of
 * these; the client half of the core (client.h) carries it out against the leaders of the
 * mesh and completes it exactly once.
 */
#ifndef MOMI_CORE_CALL_H
#define MOMI_CORE_CALL_H

#include "core/types.h"

enum momi_call_type {
    CALL_PUBLISH = 1, /* records to a queue or topic; one completion for all of them */
    CALL_STREAM_CREATE,
    CALL_STREAM_DELETE,
    CALL_STREAM_PURGE,
    CALL_SUBSCRIPTION_CREATE,
    CALL_SUBSCRIPTION_DELETE,
    CALL_CONSUMER_OPEN,  /* `consumer` is the shell's handle: it names the consumer in
                            events and effects */
    CALL_CONSUMER_CLOSE, /* the handle is forgotten at once */
    /* A receive that found its buffer empty (M7). OK as soon as messages are there. With
     * a deadline: EMPTY as soon as the leader says that nothing is there, TIMEOUT if it
     * does not say so in time. With MOMI_NEVER: waits, until EV_CALL_CANCEL (TIMEOUT).
     * When it ends without messages the program has given up: unless it polls or takes
     * again within a second, unused credit is taken back (M4). */
    CALL_CONSUMER_POLL,
    /* Completes when every settlement made before it is committed. CONFLICT: some of
     * those made since the flush before came too late, their leases had ended.
     * UNKNOWN_OUTCOME: that may be so. */
    CALL_CONSUMER_FLUSH,
    CALL_DESCRIBE,
    /* Streams of a kind in the whole mesh, sorted by name, from behind `name` on, a page
     * (info.h) in each answer; its `sequence` is 1 if more follow. UNAVAILABLE naming the
     * silent shards, if there are any (M10). */
    CALL_LIST,
    CALL_SUBSCRIPTIONS,
    CALL_WAIT_READY,
    CALL_STATUS, /* the mesh as this node sees it */
};

struct momi_stream_options {
    uint64_t lease_us;       /* 0: default; of its consumers that say nothing else */
    uint32_t deliveries_max; /* before dead letter; 0: default */
    uint64_t messages_max;   /* waiting messages (queue) or kept ones per subscription; 0:
                                no limit */
    uint64_t bytes_max;      /* the same in bytes; 0: no limit */
    uint64_t retention_us;   /* topics: history is kept this long; 0: no limit */
    uint64_t retention_bytes; /* topics: 0: 64 MiB */
    uint64_t retention_count; /* topics: 0: no limit */
    bool no_dead_letter;      /* drop instead of moving to the dead-letter queue */
};

enum momi_from {
    MOMI_FROM_NEW = 0,
    MOMI_FROM_FIRST = 1,
    MOMI_FROM_SEQUENCE = 2,
    MOMI_FROM_TIME = 3
};

struct momi_call {
    enum momi_call_type type;
    uint64_t id;          /* names the completion; the shell's, never 0, not reused */
    uint64_t deadline_us; /* monotonic; MOMI_NEVER: none */
    enum momi_kind kind;
    struct momi_slice name;
    struct momi_slice subscription;
    bool if_missing; /* creates: an existing one with the same options is OK */
    bool create;     /* publish: create the stream when it is missing (U16) */
    /* CALL_PUBLISH: encoded message records (entry.h), each with its checksum. One call
     * has at most MOMI_COMMAND_MESSAGES_MAX of them in MOMI_RECORD_BYTES_MAX; their
     * sequences follow each other. With a deadline of now it is FULL rather than wait for
     * room (S5). */
    uint32_t records_count;
    struct momi_slice records;
    struct momi_stream_options options; /* CALL_STREAM_CREATE */
    /* CALL_SUBSCRIPTION_CREATE */
    const struct momi_slice *filters;
    size_t filters_count;
    enum momi_from from;
    uint64_t from_value; /* sequence, or wall microseconds */
    bool temporary;      /* the subscription ends with the session that made it */
    bool ignore_own;     /* no messages that the session's node published itself */
    /* CALL_CONSUMER_*: */
    uint64_t consumer;
    uint32_t prefetch;
    uint64_t lease_us;
    uint64_t limit; /* messages that the program takes in all; 0: no limit */
};

/* One message that the program has done with. */
enum momi_settle_action {
    MOMI_SETTLE_ACK = 1,
    MOMI_SETTLE_GIVE_BACK =
        2, /* counts as a delivery; returns to its place, marked redelivered */
    MOMI_SETTLE_REJECT = 3, /* to the dead-letter queue at once */
    MOMI_SETTLE_RETURN = 4, /* was never handed out: goes back uncounted */
    MOMI_SETTLE_EXTEND = 5, /* the lease starts anew; the message stays */
};
struct momi_settle {
    struct momi_token token;
    uint32_t count; /* consecutive tokens from `token` on */
    enum momi_settle_action action;
};

struct momi_completion {
    int error;
    uint64_t sequence; /* CALL_PUBLISH: of the first record; creates: the stream's id */
    uint32_t synced_copies; /* CALL_PUBLISH: the quorum that had it synced; 0 in a memory
                               mesh */
    struct momi_slice body; /* encoded answer of describe, list, status (core/info.h); in
                               the turn arena */
    struct momi_slice text; /* what to add to the error, in the turn arena */
};

#endif
