/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and small values of a node's store (keys.h). Numbers in keys are big-endian, so
 * that the store's byte order is their order. Values come back from a disk: decoders take
 * nothing for granted.
 */
#include "core/keys.h"

#include "base/assert.h"
#include "base/pack.h"

enum {
    HARD_FORMAT = 1,
    HEADER_FORMAT = 1,
    ENTRY_KEY_BYTES = 12,
    NODE_KEY_BYTES = 5, /* letter and shard */
    PEER_KEY_BYTES = 9,
    PAIR_BYTES = 16,
    PEER_LETTER = 'p',
    SIDES_COUNT = 2,
};

_Static_assert(MOMI_KEY_ROOM <= MOMI_BATCH_KEY_BYTES_MAX, "every key fits into a batch");

static void add_be32(struct momi_key *key, uint32_t value) {
    momi_store_le32(key->bytes + key->size, __builtin_bswap32(value));
    key->size += sizeof value;
}

static void add_be64(struct momi_key *key, uint64_t value) {
    momi_store_le64(key->bytes + key->size, __builtin_bswap64(value));
    key->size += sizeof value;
}

static void add_u8(struct momi_key *key, uint8_t value) {
    key->bytes[key->size++] = value;
}

struct momi_key momi_key_entry(uint32_t shard, uint64_t index) {
    struct momi_key key;
    key.size = 0;
    add_be32(&key, shard);
    add_be64(&key, index);
    return key;
}

struct momi_key momi_key_record(uint32_t shard, uint8_t side, struct momi_slice record) {
    MOMI_ASSERT(record.size <= MOMI_RECORD_KEY_BYTES_MAX);
    struct momi_key key;
    key.size = 0;
    add_be32(&key, shard);
    add_u8(&key, side);
    if (record.size > 0) {
        memcpy(key.bytes + key.size, record.data, record.size);
        key.size += record.size;
    }
    return key;
}

struct momi_key momi_key_node(uint8_t letter, uint32_t shard) {
    struct momi_key key;
    key.size = 0;
    add_u8(&key, letter);
    add_be32(&key, shard);
    return key;
}

struct momi_key momi_key_peer(uint64_t node) {
    struct momi_key key;
    key.size = 0;
    add_u8(&key, PEER_LETTER);
    add_be64(&key, node);
    return key;
}

bool momi_key_entry_decode(struct momi_slice key, uint32_t *shard, uint64_t *index) {
    if (key.size != ENTRY_KEY_BYTES) {
        return false;
    }
    struct momi_reader in = momi_reader(key);
    *shard = momi_get_be32(&in);
    *index = momi_get_be64(&in);
    return true;
}

bool momi_key_node_decode(struct momi_slice key, uint8_t *letter, uint32_t *shard) {
    if (key.size != NODE_KEY_BYTES) {
        return false;
    }
    struct momi_reader in = momi_reader(key);
    *letter = momi_get_u8(&in);
    *shard = momi_get_be32(&in);
    return true;
}

bool momi_key_peer_decode(struct momi_slice key, uint64_t *node) {
    if (key.size != PEER_KEY_BYTES || key.data[0] != PEER_LETTER) {
        return false;
    }
    struct momi_reader in = momi_reader(key);
    (void)momi_get_u8(&in);
    *node = momi_get_be64(&in);
    return true;
}

bool momi_hard_state_decode(struct momi_slice bytes, struct momi_hard_state *state) {
    struct momi_reader in = momi_reader(bytes);
    uint8_t format = momi_get_u8(&in);
    struct momi_hard_state found = {0};
    found.term = momi_get_u64(&in);
    found.vote = momi_get_u64(&in);
    if (!momi_reader_done(&in) || format != HARD_FORMAT) {
        return false;
    }
    *state = found;
    return true;
}

bool momi_number_decode(struct momi_slice bytes, uint64_t *number) {
    if (bytes.size != sizeof *number) {
        return false;
    }
    *number = momi_load_le64(bytes.data);
    return true;
}

static bool pair_decode(struct momi_slice bytes, uint64_t *first, uint64_t *second) {
    if (bytes.size != PAIR_BYTES) {
        return false;
    }
    *first = momi_load_le64(bytes.data);
    *second = momi_load_le64(bytes.data + PAIR_BYTES / 2);
    return true;
}

bool momi_last_decode(struct momi_slice bytes, uint64_t *last_index,
                      uint64_t *last_term) {
    return pair_decode(bytes, last_index, last_term);
}

bool momi_owner_decode(struct momi_slice bytes, uint64_t *node, uint64_t *incarnation) {
    return pair_decode(bytes, node, incarnation);
}

void momi_shard_header_encode(const struct momi_shard_header *header,
                              struct momi_bytes *out) {
    momi_put_u8(out, HEADER_FORMAT);
    momi_put_u64(out, header->replica);
    momi_put_u8(out, header->side);
    momi_put_u8(out, header->has_state ? 1 : 0);
    momi_put_u64(out, header->applied);
    momi_put_u64(out, header->applied_term);
    momi_put_u64(out, header->first_index);
    momi_put_u64(out, header->before_term);
    momi_put_u64(out, header->config_index);
    momi_raft_config_encode(&header->config, out);
}

bool momi_shard_header_decode(struct momi_slice bytes, struct momi_shard_header *header) {
    struct momi_reader in = momi_reader(bytes);
    struct momi_shard_header found = {0};
    uint8_t format = momi_get_u8(&in);
    found.replica = momi_get_u64(&in);
    found.side = momi_get_u8(&in);
    uint8_t has_state = momi_get_u8(&in);
    found.has_state = has_state == 1;
    found.applied = momi_get_u64(&in);
    found.applied_term = momi_get_u64(&in);
    found.first_index = momi_get_u64(&in);
    found.before_term = momi_get_u64(&in);
    found.config_index = momi_get_u64(&in);
    /* E3: the log may not begin behind what the checkpoint has applied. */
    if (in.failed || format != HEADER_FORMAT || found.replica == 0 ||
        found.side >= SIDES_COUNT || has_state > 1 || found.first_index == 0 ||
        found.first_index - 1 > found.applied || found.config_index > found.applied) {
        return false;
    }
    struct momi_slice config = momi_slice(in.at, momi_reader_left(&in));
    if (!momi_raft_config_decode(config, &found.config)) {
        return false;
    }
    *header = found;
    return true;
}

/* Puts what was gathered in `value`, and frees it. */
static void put_value(struct momi_batch *batch, struct momi_key key,
                      struct momi_bytes *value) {
    if (value->failed) {
        batch->failed = true;
    } else {
        momi_batch_put(batch, MOMI_FAMILY_NODE, momi_key_slice(&key),
                       momi_bytes_slice(value));
    }
    momi_bytes_free(value);
}

static void put_number(struct momi_batch *batch, struct momi_key key, uint64_t number) {
    uint8_t value[sizeof number];
    momi_store_le64(value, number);
    momi_batch_put(batch, MOMI_FAMILY_NODE, momi_key_slice(&key),
                   momi_slice(value, sizeof value));
}

static void put_pair(struct momi_batch *batch, struct momi_key key, uint64_t first,
                     uint64_t second) {
    uint8_t value[PAIR_BYTES];
    momi_store_le64(value, first);
    momi_store_le64(value + PAIR_BYTES / 2, second);
    momi_batch_put(batch, MOMI_FAMILY_NODE, momi_key_slice(&key),
                   momi_slice(value, sizeof value));
}

void momi_batch_put_entry(struct momi_batch *batch, uint32_t shard, uint64_t index,
                          struct momi_buf *entry) {
    struct momi_key key = momi_key_entry(shard, index);
    momi_batch_put_buf(batch, MOMI_FAMILY_LOG, momi_key_slice(&key), entry);
}

void momi_batch_delete_entry(struct momi_batch *batch, uint32_t shard, uint64_t index) {
    struct momi_key key = momi_key_entry(shard, index);
    momi_batch_delete(batch, MOMI_FAMILY_LOG, momi_key_slice(&key));
}

void momi_batch_truncate(struct momi_batch *batch, uint32_t shard, uint64_t from) {
    MOMI_ASSERT(shard <= MOMI_SHARDS_MAX);
    struct momi_key first = momi_key_entry(shard, from);
    struct momi_key end = momi_key_entry(shard + 1, 0);
    momi_batch_delete_range(batch, MOMI_FAMILY_LOG, momi_key_slice(&first),
                            momi_key_slice(&end));
}

void momi_batch_put_last(struct momi_batch *batch, uint32_t shard, uint64_t last_index,
                         uint64_t last_term) {
    put_pair(batch, momi_key_node('l', shard), last_index, last_term);
}

void momi_batch_put_owner(struct momi_batch *batch, uint64_t node, uint64_t incarnation) {
    put_pair(batch, momi_key_node('i', 0), node, incarnation);
}

void momi_batch_put_removed(struct momi_batch *batch, uint32_t shard, uint64_t replica) {
    put_number(batch, momi_key_node('t', shard), replica);
}

void momi_batch_put_peer(struct momi_batch *batch, uint64_t node, uint64_t incarnation) {
    put_number(batch, momi_key_peer(node), incarnation);
}

void momi_batch_put_hard(struct momi_batch *batch, uint32_t shard,
                         const struct momi_hard_state *state) {
    struct momi_bytes value = {.data = NULL};
    momi_put_u8(&value, HARD_FORMAT);
    momi_put_u64(&value, state->term);
    momi_put_u64(&value, state->vote);
    put_value(batch, momi_key_node('h', shard), &value);
}

void momi_batch_put_header(struct momi_batch *batch, uint32_t shard,
                           const struct momi_shard_header *header) {
    MOMI_ASSERT(header->side < SIDES_COUNT);
    struct momi_bytes value = {.data = NULL};
    momi_shard_header_encode(header, &value);
    put_value(batch, momi_key_node('s', shard), &value);
}

static bool record_key_fits(struct momi_batch *batch, struct momi_slice key) {
    if (key.size == 0 || key.size > MOMI_RECORD_KEY_BYTES_MAX) {
        batch->failed = true;
    }
    return !batch->failed;
}

void momi_batch_put_record(struct momi_batch *batch, uint32_t shard, uint8_t side,
                           struct momi_slice key, struct momi_slice value) {
    if (record_key_fits(batch, key)) {
        struct momi_key record = momi_key_record(shard, side, key);
        momi_batch_put(batch, MOMI_FAMILY_STATE, momi_key_slice(&record), value);
    }
}

void momi_batch_delete_record(struct momi_batch *batch, uint32_t shard, uint8_t side,
                              struct momi_slice key) {
    if (record_key_fits(batch, key)) {
        struct momi_key record = momi_key_record(shard, side, key);
        momi_batch_delete(batch, MOMI_FAMILY_STATE, momi_key_slice(&record));
    }
}

void momi_batch_clear_side(struct momi_batch *batch, uint32_t shard, uint8_t side) {
    MOMI_ASSERT(side < SIDES_COUNT);
    struct momi_key first = momi_key_record(shard, side, momi_slice(NULL, 0));
    struct momi_key end =
        momi_key_record(shard, (uint8_t)(side + 1), momi_slice(NULL, 0));
    momi_batch_delete_range(batch, MOMI_FAMILY_STATE, momi_key_slice(&first),
                            momi_key_slice(&end));
}
