/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between nodes, decoded: what a lane carries (docs/protocol.md). wire/codec.h
 * turns them into bytes and back; the core builds and reads these structs.
 *
 * A frame is a type, a few numbers, and a payload. The payload never passes through
 * protobuf: outgoing, it is a list of parts (references to buffers); incoming, one slice
 * of the received chunk.
 *
 * Ownership: frames and their arrays live in the turn arena. A part holds a reference to
 * its buffer, released when the effects are cleared. An incoming frame borrows from the
 * chunk `buf`, which the reader references if it keeps bytes.
 */
#ifndef MOMI_WIRE_FRAME_H
#define MOMI_WIRE_FRAME_H

#include "core/types.h"

enum momi_frame_type {
    /* Replication. */
    FRAME_HEARTBEAT = 1,
    FRAME_HEARTBEAT_REPLY = 2,
    FRAME_VOTE = 3,
    FRAME_VOTE_REPLY = 4,
    FRAME_APPEND = 5,
    FRAME_APPEND_REPLY = 6,
    FRAME_TIMEOUT_NOW = 7,
    FRAME_SNAPSHOT = 8, /* begin of a snapshot: index, term, configuration */
    FRAME_SNAPSHOT_RECORDS = 9,
    FRAME_SNAPSHOT_LIST = 10, /* live entries: (index, term) each */
    FRAME_SNAPSHOT_REPLY = 11,
    FRAME_FETCH = 12, /* entries by index, for an install or a repair (E6, E7) */
    FRAME_ENTRIES = 13,
    /* Sessions and commands. */
    FRAME_SESSION_OPEN = 16,
    FRAME_SESSION_OPENED = 17,
    FRAME_COMMANDS = 18,
    FRAME_RESULTS = 19,
    FRAME_DELIVER = 20,
    FRAME_CONSUMER_ENDED = 21,
    FRAME_NOT_LEADER = 22,
    FRAME_QUERY = 23,
    FRAME_QUERY_REPLY = 24,
    FRAME_SESSION_PING =
        25, /* keeps sessions alive and attached; one for all shards of a node pair */
    /* The mesh. */
    FRAME_MAP_REQUEST = 32,
    FRAME_MAP = 33,
    FRAME_JOIN = 34,
    FRAME_JOIN_REPLY = 35,
    FRAME_PLAN_DONE = 36,
    FRAME_GOODBYE = 37,
};

struct momi_part {
    struct momi_buf *buf; /* a reference, or NULL for bytes of the turn arena */
    struct momi_slice bytes;
};

struct momi_heartbeat_line {
    uint32_t shard;
    uint64_t from_replica;
    uint64_t to_replica;
    uint64_t term;
    uint64_t commit; /* in a reply: 0 */
};

struct momi_delivery_run {
    uint64_t delivery; /* number of the first (M5) */
    uint64_t sequence; /* of the first */
    uint64_t counter;  /* token of the first; consecutive (M3) */
    uint32_t count;
    uint32_t deliveries; /* times each has been handed out before; > 0: redelivered */
    uint64_t wall_us;    /* of publication */
    uint64_t publisher;  /* the node id that published: a client cannot forge it */
    uint32_t bytes;      /* of the payload that belong to this run */
};

/* One frame. Which fields a type uses is listed in docs/protocol.md and checked by the
 * codec; unused ones are 0. */
struct momi_frame {
    enum momi_frame_type type;
    uint32_t shard;
    uint64_t from_replica;
    uint64_t to_replica;
    uint64_t term;
    uint64_t
        index;         /* VOTE: last index; APPEND: previous index; APPEND_REPLY: match or
                        * hint;    SNAPSHOT: applied; FETCH, ENTRIES: first; NOT_LEADER: leader
                        * node;    RESULTS: copies that had it synced, 0 in a memory mesh */
    uint64_t log_term; /* term at `index` */
    uint64_t commit;
    uint64_t counter; /* HEARTBEAT: frame counter; SNAPSHOT*: snapshot id; QUERY, JOIN,
                         SESSION_OPEN: request id */
    uint64_t number;  /* SNAPSHOT_RECORDS, _LIST: part number from 0; FETCH: last index;
                         SESSION_OPEN: opening number; HEARTBEAT, HEARTBEAT_REPLY: the
                         sender's wall clock in microseconds (R8) */
    uint32_t flags;   /* MOMI_FLAG_* */
    int32_t error;    /* a result class, 0 or negative */
    uint32_t epoch;   /* recovery epoch (token, session) */
    struct momi_session_id session;
    uint64_t consumer;   /* the client's number of the consumer */
    uint32_t count;      /* APPEND, ENTRIES: entries in the payload, each with a u32 size
                            before it; QUERY: enum momi_kind */
    uint64_t free_bytes; /* HEARTBEAT, HEARTBEAT_REPLY: free space of the sender's store
                            (D4) */
    uint32_t kind;       /* QUERY: enum momi_query */
    struct momi_slice
        name; /* QUERY: name; SNAPSHOT: encoded configuration; JOIN: encoded member */
    struct momi_slice detail; /* error text, or the second name of a query */

    struct momi_heartbeat_line *lines;
    uint32_t lines_count;
    struct momi_delivery_run *runs;
    uint32_t runs_count;

    struct momi_part *parts; /* outgoing payload */
    uint32_t parts_count;
    struct momi_slice payload; /* incoming payload */
    struct momi_buf *buf; /* incoming: the chunk that `payload` and the slices lie in */
};

#define MOMI_FLAG_PRE      1u   /* VOTE, VOTE_REPLY: a PreVote */
#define MOMI_FLAG_GRANTED  2u   /* VOTE_REPLY */
#define MOMI_FLAG_LIVE     4u   /* VOTE_REPLY: refused because a leader is alive (R5) */
#define MOMI_FLAG_TRANSFER 8u   /* VOTE: a leader asked for it; ignore leader liveness */
#define MOMI_FLAG_OK       16u  /* APPEND_REPLY: matched; SNAPSHOT_REPLY: installed */
#define MOMI_FLAG_LAST     32u  /* last part of a snapshot, a list, a query answer */
#define MOMI_FLAG_REFUSED  64u  /* SNAPSHOT_REPLY: abandoned */
#define MOMI_FLAG_CLOSED   128u /* SESSION_PING: the session ends cleanly */
#define MOMI_FLAGS_ALL     255u /* the codec refuses any other */

enum momi_query {
    QUERY_DESCRIBE = 1, /* of the stream `name`, subscription `detail` (may be empty) */
    QUERY_LIST = 2,     /* streams of the shard of one kind, after `name`, paged */
    QUERY_EMPTY = 3,    /* M7: the last delivery number assigned to `consumer` */
    QUERY_SUBSCRIPTIONS = 4,
};

#endif
