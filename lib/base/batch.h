/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A write batch: the ordered list of changes that one turn hands to the store, for all
 * shards together.
 *
 * The core builds it, the store applies it atomically. Keys and small values are copied
 * into the batch; the value of a log entry is a reference to its momi_buf, so a payload
 * is never copied on its way to the store. A batch has one owner at a time: the loop
 * fills it, hands it to the journal thread, gets it back and clears it. Clearing keeps
 * the memory, so a steady state allocates nothing.
 *
 * An append that runs out of memory sets `failed`, and further appends do nothing: the
 * builder checks once at the end, clears the batch and refuses its input. A failed batch
 * is never written.
 */
#ifndef MOMI_BASE_BATCH_H
#define MOMI_BASE_BATCH_H

#include "base/buf.h"

/* Where a key lives. Families have separate key spaces and are written atomically
 * together. */
enum momi_family {
    MOMI_FAMILY_LOG,   /* entries, by (shard be32, index be64) */
    MOMI_FAMILY_STATE, /* checkpoint records */
    MOMI_FAMILY_NODE,  /* terms, votes, last indexes, the batch number */
};
enum { MOMI_FAMILIES_COUNT = 3 };

enum { MOMI_BATCH_KEY_BYTES_MAX = 320 };

enum momi_batch_kind {
    MOMI_BATCH_PUT,
    MOMI_BATCH_DELETE,
    MOMI_BATCH_DELETE_RANGE, /* [key, to) */
};

struct momi_batch_op; /* packed form, private to batch.c */

struct momi_batch {
    /* Consecutive per node from 1; set by the owner before the batch is written. */
    uint64_t number;
    struct momi_batch_op *ops; /* owned */
    size_t ops_count;
    size_t ops_room;
    struct momi_bytes bytes; /* keys and copied values */
    size_t bufs_bytes;       /* size of all referenced values */
    bool failed;
};

/* One operation, as seen by a reader. Slices are valid until the batch is changed or
 * cleared. */
struct momi_batch_view {
    enum momi_batch_kind kind;
    enum momi_family family;
    struct momi_slice key;
    struct momi_slice to;    /* DELETE_RANGE only: the first key that stays */
    struct momi_slice value; /* PUT only */
    struct momi_buf *buf; /* PUT by reference: the buffer that holds `value`; else NULL */
};

/* A zeroed struct is an empty batch. Keys hold 1 to MOMI_BATCH_KEY_BYTES_MAX bytes. */
void momi_batch_put(struct momi_batch *batch, enum momi_family family,
                    struct momi_slice key, struct momi_slice value);
/* Takes its own reference, which momi_batch_clear releases. The bytes may not change any
 * more. */
void momi_batch_put_buf(struct momi_batch *batch, enum momi_family family,
                        struct momi_slice key, struct momi_buf *value);
void momi_batch_delete(struct momi_batch *batch, enum momi_family family,
                       struct momi_slice key);
/* Deletes the keys from <= key < to; an empty or inverted range deletes nothing. */
void momi_batch_delete_range(struct momi_batch *batch, enum momi_family family,
                             struct momi_slice from, struct momi_slice to);

/* Empty and not failed; keeps memory; number = 0. */
void momi_batch_clear(struct momi_batch *batch);
void momi_batch_free(struct momi_batch *batch);

/* Keys and values, referenced ones included. */
size_t momi_batch_bytes(const struct momi_batch *batch);
static inline size_t momi_batch_count(const struct momi_batch *batch) {
    return batch->ops_count;
}
/* Operation `index` < momi_batch_count, in the order in which they were added. */
struct momi_batch_view momi_batch_at(const struct momi_batch *batch, size_t index);

#endif
