/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyspace of a node's store (docs/storage.md).
 *
 *   LOG    shard be32, index be64             entry (entry.h)
 *   STATE  shard be32, side u8, record key    checkpoint record (machine.h)
 *   NODE   'h' shard be32                     hard state: term, vote
 *          's' shard be32                     shard header: replica, side, applied, ...
 *          'l' shard be32                     last index and its term, in every batch
 *                                             that touches the shard's log
 *          't' shard be32                     highest removed replica id (R2)
 *          'i' 0 be32                         node id and incarnation that opened it last
 *          'p' node be64                      highest incarnation seen of a peer (D1)
 *          0   ...                            the store's own
 */
#ifndef MOMI_CORE_KEYS_H
#define MOMI_CORE_KEYS_H

#include "base/batch.h"
#include "core/raft_config.h"
#include "core/types.h"

#define MOMI_KEY_ROOM 320u
#define MOMI_RECORD_KEY_BYTES_MAX                                                        \
    (MOMI_KEY_ROOM - 5u) /* of a checkpoint record, without shard and side */

struct momi_key {
    uint8_t bytes[MOMI_KEY_ROOM];
    size_t size;
};
static inline struct momi_slice momi_key_slice(const struct momi_key *key) {
    return momi_slice(key->bytes, key->size);
}

struct momi_key momi_key_entry(uint32_t shard, uint64_t index);
struct momi_key momi_key_record(uint32_t shard, uint8_t side, struct momi_slice record);
struct momi_key momi_key_node(uint8_t letter, uint32_t shard);
struct momi_key momi_key_peer(uint64_t node);
/* The inverse, for restoring; false: not such a key. */
bool momi_key_entry_decode(struct momi_slice key, uint32_t *shard, uint64_t *index);
bool momi_key_node_decode(struct momi_slice key, uint8_t *letter, uint32_t *shard);
bool momi_key_peer_decode(struct momi_slice key, uint64_t *node);

struct momi_hard_state {
    uint64_t term;
    uint64_t vote;
};

/* Written with every checkpoint, install and first start; all of it in one record, so
 * that it cannot tear. */
struct momi_shard_header {
    uint64_t replica;
    uint8_t side;     /* of STATE in force */
    bool has_state;   /* false: an empty learner that waits for a snapshot */
    uint64_t applied; /* of the checkpoint */
    uint64_t applied_term;
    uint64_t first_index;
    uint64_t before_term; /* term at first_index - 1 */
    uint64_t config_index;
    struct momi_raft_config config; /* in force at `applied` */
};
void momi_shard_header_encode(const struct momi_shard_header *header,
                              struct momi_bytes *out);
bool momi_shard_header_decode(struct momi_slice bytes, struct momi_shard_header *header);
bool momi_hard_state_decode(struct momi_slice bytes, struct momi_hard_state *state);
/* The values of 't' and 'p': one u64. */
bool momi_number_decode(struct momi_slice bytes, uint64_t *number);
/* The value of 'l'. */
bool momi_last_decode(struct momi_slice bytes, uint64_t *last_index, uint64_t *last_term);

void momi_batch_put_entry(struct momi_batch *batch, uint32_t shard, uint64_t index,
                          struct momi_buf *entry);
void momi_batch_delete_entry(struct momi_batch *batch, uint32_t shard, uint64_t index);
/* R6: deletes `from` and everything above in the shard's log. */
void momi_batch_truncate(struct momi_batch *batch, uint32_t shard, uint64_t from);
void momi_batch_put_last(struct momi_batch *batch, uint32_t shard, uint64_t last_index,
                         uint64_t last_term);
void momi_batch_put_hard(struct momi_batch *batch, uint32_t shard,
                         const struct momi_hard_state *state);
/* Who has opened the store (D1): written by the host before anything else. */
void momi_batch_put_owner(struct momi_batch *batch, uint64_t node, uint64_t incarnation);
bool momi_owner_decode(struct momi_slice bytes, uint64_t *node, uint64_t *incarnation);
void momi_batch_put_removed(struct momi_batch *batch, uint32_t shard, uint64_t replica);
void momi_batch_put_peer(struct momi_batch *batch, uint64_t node, uint64_t incarnation);
void momi_batch_put_header(struct momi_batch *batch, uint32_t shard,
                           const struct momi_shard_header *header);
/* Record keys hold 1 to MOMI_RECORD_KEY_BYTES_MAX bytes; another size makes the batch
 * fail (a peer's records pass here). */
void momi_batch_put_record(struct momi_batch *batch, uint32_t shard, uint8_t side,
                           struct momi_slice key, struct momi_slice value);
void momi_batch_delete_record(struct momi_batch *batch, uint32_t shard, uint8_t side,
                              struct momi_slice key);
void momi_batch_clear_side(struct momi_batch *batch, uint32_t shard, uint8_t side);

#endif
