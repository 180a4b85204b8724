/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of one replica, as far as memory holds it: the term of every index from
 * first_index - 1 on, the size of each entry, and the bytes of recent ones (E2, E8).
 * Bytes that were dropped from the cache are read back by FX_READ.
 *
 * Owned by the replica's shard. It decides nothing: raft.c says what to append and
 * truncate, shard.c what to trim.
 */
#ifndef MOMI_CORE_LOG_H
#define MOMI_CORE_LOG_H

#include "base/buf.h"
#include "base/ring.h"

struct momi_log_item {
    uint64_t term;
    struct momi_buf *buf; /* a reference, or NULL: in the store only */
    uint32_t size;        /* bytes of the entry */
};

struct momi_log {
    uint64_t first_index;   /* of `items`; last index = first_index + items.count - 1 */
    uint64_t before_term;   /* term at first_index - 1; 0 when first_index is 1 */
    struct momi_ring items; /* of struct momi_log_item */
    uint64_t bytes;         /* sizes of all items */
    uint64_t cached_bytes;  /* sizes of items with bytes in memory */
    uint64_t cache_low;     /* no item below this index has bytes in memory */
};

void momi_log_init(struct momi_log *log);
void momi_log_free(struct momi_log *log);
static inline uint64_t momi_log_last(const struct momi_log *log) {
    return log->first_index + log->items.count - 1;
}
/* 0 when the index is not in [first_index - 1, last]. */
uint64_t momi_log_term(const struct momi_log *log, uint64_t index);
bool momi_log_reserve(struct momi_log *log,
                      size_t extra); /* room for so many appends; false: out of memory */
/* Takes a reference on `buf` (NULL: restored without bytes). Panics without memory:
 * momi_log_reserve comes before. */
void momi_log_append(struct momi_log *log, uint64_t term, struct momi_buf *buf,
                     uint32_t size);
void momi_log_truncate(struct momi_log *log, uint64_t from); /* drops `from` and above */
void momi_log_trim(struct momi_log *log,
                   uint64_t first); /* drops below `first`; keeps the term before it */
void momi_log_reset(struct momi_log *log, uint64_t first,
                    uint64_t before_term); /* empty, after an install */
/* The largest index in [low, high] whose term is at most `term`; `low` when there is
 * none. Both ends must be in [first_index - 1, last]. */
uint64_t momi_log_find_term(const struct momi_log *log, uint64_t low, uint64_t high,
                            uint64_t term);
/* Borrowed; NULL when its bytes are not in memory. */
struct momi_buf *momi_log_buf(const struct momi_log *log, uint64_t index);
uint32_t momi_log_size(const struct momi_log *log, uint64_t index);
void momi_log_fill(struct momi_log *log, uint64_t index,
                   struct momi_buf *buf); /* read back; takes a reference */
/* Drops bytes of the oldest entries up to `limit_index` (included) until at most
 * `keep_bytes` are cached. */
void momi_log_evict(struct momi_log *log, uint64_t limit_index, uint64_t keep_bytes);

#endif
