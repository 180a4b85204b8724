/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of queries, encoded: what a leader tells about streams and subscriptions
 * (QUERY_REPLY), and a node about the mesh (momi_completion.body). Written by the
 * machine, the shard and the mesh; read by the API.
 *
 * The answer of describe, list and subscriptions is a row of items, each (u8 tag, varint
 * size, u8 format, fields as varints), so that pages and the answers of several shards
 * are joined by putting them one behind the other. A place item says where the streams
 * before it live, which only the shard knows.
 *
 * Readers trust nothing; what they give lies in the arena, texts in the input.
 */
#ifndef MOMI_CORE_INFO_H
#define MOMI_CORE_INFO_H

#include "base/arena.h"
#include "base/err.h"
#include "core/call.h"

struct momi_place_info {
    uint32_t shard;
    uint64_t leader; /* node; 0: not known */
    uint32_t replicas_count;
    uint64_t replicas[2 * MOMI_REPLICAS_MAX]; /* nodes that hold a copy */
};

struct momi_stream_info {
    enum momi_kind kind;
    struct momi_slice name;
    uint64_t id;
    struct momi_place_info place; /* not written with the stream, but by a place item */
    uint64_t created_wall_us;
    uint64_t creator;                   /* node */
    struct momi_stream_options options; /* in force, with defaults filled in */
    uint64_t depth;                     /* ready messages; topics: kept ones */
    uint64_t leased;
    uint64_t consumers;
    uint64_t first_sequence; /* oldest that is there; next_sequence: none */
    uint64_t next_sequence;
    uint64_t bytes; /* of the messages counted in `depth` */
    uint64_t subscriptions_count;
    uint64_t redelivered; /* since creation */
    uint64_t dead_lettered;
};

struct momi_subscription_info {
    struct momi_slice name;
    struct momi_slice *filters; /* patterns */
    uint32_t filters_count;
    bool temporary;
    bool ignore_own;
    bool filling;     /* M2: still matching messages of the past */
    uint64_t creator; /* node */
    uint64_t depth;   /* ready messages */
    uint64_t bytes;
    uint64_t leased;
    uint64_t consumers;
    uint64_t next_sequence; /* of the message delivered next; 0: none is ready */
    uint64_t redelivered;
    uint64_t dead_lettered;
};

void momi_info_put_stream(struct momi_bytes *out, const struct momi_stream_info *stream);
void momi_info_put_subscription(struct momi_bytes *out,
                                const struct momi_subscription_info *subscription);
/* Once behind the streams of one shard's answer. */
void momi_info_put_place(struct momi_bytes *out, const struct momi_place_info *place);

struct momi_info_list {
    struct momi_stream_info *streams;
    size_t streams_count;
    struct momi_subscription_info *subscriptions;
    size_t subscriptions_count;
};

/* MOM_OK, MOM_INVALID (malformed), MOM_VERSION (written by a later version),
 * MOM_NO_MEMORY. Order is kept. */
int momi_info_decode(struct momi_slice bytes, struct momi_arena *arena,
                     struct momi_info_list *list);

struct momi_member_info {
    uint64_t node;
    struct momi_slice name;
    struct momi_slice address;
    enum momi_role role;
    uint64_t incarnation;
    bool is_alive; /* a lane to it is up, or it is the node that tells */
};

struct momi_replica_info {
    uint64_t node;
    uint64_t replica;
    bool votes;
    uint64_t lag; /* entries behind the leader's last; known to the leader only, else 0 */
};

struct momi_shard_info {
    uint32_t shard;
    uint64_t leader; /* node; 0: not known */
    uint64_t term;   /* 0, like commit and applied: no replica on the node that tells */
    uint64_t commit;
    uint64_t applied;
    uint32_t replicas_count;
    struct momi_replica_info replicas[2 * MOMI_REPLICAS_MAX];
};

/* The mesh as one node sees it. */
struct momi_status {
    struct momi_mesh_id mesh;
    uint64_t node; /* the one that tells */
    bool is_durable;
    uint32_t shards_count; /* data shards */
    uint32_t copies_count;
    struct momi_member_info *members;
    uint32_t members_count; /* at most MOMI_MEMBERS_MAX */
    struct momi_shard_info *shards;
    uint32_t shards_listed; /* at most MOMI_SHARDS_MAX + 1: the registry as well */
};

void momi_status_put(struct momi_bytes *out, const struct momi_status *status);
int momi_status_decode(struct momi_slice bytes, struct momi_arena *arena,
                       struct momi_status *status); /* as momi_info_decode */

#endif
