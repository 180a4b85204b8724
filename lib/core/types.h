/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of the core: ids, kinds, and every limit with its name.
 *
 * Plain integers carry the ids: `node` (fingerprint of a node's key, never 0), `shard` (0
 * is the registry), `replica` (given by the registry, never reused, never 0), `term`,
 * `index` (of a Raft log, the first is 1), `sequence` (of a message in its stream, the
 * first is 1), `slot` (a message's place in its log entry, from 0).
 */
#ifndef MOMI_CORE_TYPES_H
#define MOMI_CORE_TYPES_H

#include "base/buf.h"

enum momi_role { MOMI_ROLE_STORE = 1, MOMI_ROLE_CLIENT = 2 };
enum momi_kind { MOMI_KIND_QUEUE = 1, MOMI_KIND_TOPIC = 2 };

/* Recovery epoch, log index and place in the entry of the command that opened the session
 * (S1). */
struct momi_session_id {
    uint64_t index;
    uint32_t epoch;
    uint32_t place;
};
static inline bool momi_session_id_equal(struct momi_session_id a,
                                         struct momi_session_id b) {
    return a.index == b.index && a.epoch == b.epoch && a.place == b.place;
}
static inline bool momi_session_id_is_none(struct momi_session_id id) {
    return id.index == 0;
}

/* M3: the fencing token of a lease. Grows with every lease of a shard, also across
 * leaders. */
struct momi_token {
    uint32_t epoch;
    uint64_t counter;
};

struct momi_mesh_id {
    uint8_t bytes[16]; /* all zero: none yet */
};
static inline bool momi_mesh_id_is_none(const struct momi_mesh_id *id) {
    static const struct momi_mesh_id none = {{0}};
    return memcmp(id, &none, sizeof none) == 0;
}

#define MOMI_REGISTRY_SHARD 0u

#define MOMI_SHARDS_MAX               256u /* data shards of a mesh, besides the registry */
#define MOMI_SHARDS_DEFAULT           16u
#define MOMI_COPIES_DEFAULT           3u /* k + 1 with k = 2 */
#define MOMI_REPLICAS_MAX             9u /* replicas of one shard in one configuration */
#define MOMI_MEMBERS_MAX              1024u
#define MOMI_NAME_BYTES_MAX           255u
#define MOMI_SYSTEM_NAME_BYTES_MAX    640u /* with the prefix of a dead-letter queue */
#define MOMI_MEMBER_ADDRESS_BYTES_MAX 255u
#define MOMI_KEY_BYTES_MAX            255u
#define MOMI_HEADERS_BYTES_MAX        16384u
#define MOMI_HEADERS_COUNT_MAX        64u
#define MOMI_BODY_BYTES_MAX           (8u << 20)
#define MOMI_RECORD_BYTES_MAX         (MOMI_BODY_BYTES_MAX + MOMI_HEADERS_BYTES_MAX + 1024u)
#define MOMI_ENTRY_BYTES_TARGET       (256u << 10) /* E1: an entry is closed at this size */
#define MOMI_ENTRY_BYTES_MAX          (MOMI_RECORD_BYTES_MAX + 4096u)
#define MOMI_COMMAND_MESSAGES_MAX     4096u       /* messages in one publish command */
#define MOMI_FILTERS_MAX              64u         /* filters of one subscription */
#define MOMI_SESSIONS_MAX             10000u      /* per shard (S1) */
#define MOMI_RETENTION_BYTES_DEFAULT  (64u << 20) /* history of a topic */
#define MOMI_STREAMS_MAX              100000u     /* per shard (M1) */
#define MOMI_SUBSCRIPTIONS_MAX        1000u       /* per topic */
#define MOMI_CONSUMERS_MAX            10000u      /* per shard */
#define MOMI_CREDIT_MAX               65536u /* unassigned credit and leases of one consumer */
#define MOMI_SESSION_WINDOW           1024u /* commands in flight of one session */
#define MOMI_TICK_ITEMS_MAX           1000u /* R8: items that one tick releases */

#define MOMI_INFLIGHT_BYTES_DEFAULT (64u << 20) /* S5, per node */
#define MOMI_CACHE_BYTES_DEFAULT    (64u << 20) /* E8, per node */
#define MOMI_LOG_BEHIND_BYTES       (16u << 20) /* E3: log kept behind a checkpoint */
#define MOMI_LOG_BEHIND_BYTES_MAX   (1u << 30)  /* E3: kept for a lagging peer at most */
#define MOMI_CHECKPOINT_LOG_BYTES   (32u << 20) /* E4: log that starts a checkpoint */
#define MOMI_CHECKPOINT_DIRTY_BYTES (1u << 20)  /* E4: changed records that start one */
#define MOMI_BLOCK_BYTES_MAX        4096u       /* E4: one checkpoint record */

#define MOMI_MS    1000ull /* microseconds */
#define MOMI_S     1000000ull
#define MOMI_NEVER UINT64_MAX /* a deadline that never comes */

#define MOMI_HEARTBEAT_US       (50 * MOMI_MS)
#define MOMI_ELECTION_MIN_US    (300 * MOMI_MS)
#define MOMI_ELECTION_MAX_US    (600 * MOMI_MS)
#define MOMI_LEASE_DEFAULT_US   (30 * MOMI_S)
#define MOMI_DELIVERIES_DEFAULT 20u
#define MOMI_SESSION_EXPIRY_US  (600 * MOMI_S)
#define MOMI_DETACH_CLOSED_US   (2 * MOMI_S)  /* S1: closed lane */
#define MOMI_DETACH_SILENT_US   (10 * MOMI_S) /* S1: silence */
#define MOMI_STAMP_US           (10 * MOMI_S) /* R8: a stamp while anything is timed */
#define MOMI_DEAD_AFTER_US      (600 * MOMI_S)

#endif
