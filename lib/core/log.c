/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log in memory. Item `index` sits at ring position index - first_index; terms never
 * fall from one item to the next. Each cached item owns one reference to its buffer.
 */
#include "core/log.h"

#include "base/assert.h"

static struct momi_log_item *item_at(const struct momi_log *log, uint64_t index) {
    if (index < log->first_index || index - log->first_index >= log->items.count) {
        return NULL;
    }
    return momi_ring_at(&log->items, (size_t)(index - log->first_index));
}

static void drop_bytes(struct momi_log *log, struct momi_log_item *item) {
    if (item->buf != NULL) {
        log->cached_bytes -= item->size;
        momi_buf_release(item->buf);
        item->buf = NULL;
    }
}

static void forget_item(struct momi_log *log, struct momi_log_item *item) {
    drop_bytes(log, item);
    log->bytes -= item->size;
}

void momi_log_init(struct momi_log *log) {
    *log = (struct momi_log){.first_index = 1, .cache_low = 1};
    momi_ring_init(&log->items, sizeof(struct momi_log_item));
}

void momi_log_free(struct momi_log *log) {
    momi_log_reset(log, 1, 0);
    momi_ring_free(&log->items);
}

uint64_t momi_log_term(const struct momi_log *log, uint64_t index) {
    if (index + 1 == log->first_index) {
        return log->before_term;
    }
    const struct momi_log_item *item = item_at(log, index);
    return item == NULL ? 0 : item->term;
}

bool momi_log_reserve(struct momi_log *log, size_t extra) {
    return momi_ring_reserve(&log->items, log->items.count + extra);
}

void momi_log_append(struct momi_log *log, uint64_t term, struct momi_buf *buf,
                     uint32_t size) {
    MOMI_ASSERT(term >= momi_log_term(log, momi_log_last(log)));
    struct momi_log_item *item = momi_ring_push(&log->items);
    MOMI_ASSERT(item != NULL);
    item->term = term;
    item->buf = buf == NULL ? NULL : momi_buf_ref(buf);
    item->size = size;
    log->bytes += size;
    if (buf != NULL) {
        log->cached_bytes += size;
    }
}

void momi_log_truncate(struct momi_log *log, uint64_t from) {
    MOMI_ASSERT(from >= log->first_index);
    while (momi_log_last(log) >= from) {
        forget_item(log, momi_ring_at(&log->items, log->items.count - 1));
        momi_ring_pop_back(&log->items, 1);
    }
    if (log->cache_low > from) {
        log->cache_low = from;
    }
}

void momi_log_trim(struct momi_log *log, uint64_t first) {
    if (first <= log->first_index) {
        return;
    }
    MOMI_ASSERT(first <= momi_log_last(log) + 1);
    uint64_t before_term = momi_log_term(log, first - 1);
    for (uint64_t index = log->first_index; index < first; index++) {
        forget_item(log, momi_ring_at(&log->items, 0));
        momi_ring_pop_front(&log->items, 1);
    }
    log->first_index = first;
    log->before_term = before_term;
    if (log->cache_low < first) {
        log->cache_low = first;
    }
}

void momi_log_reset(struct momi_log *log, uint64_t first, uint64_t before_term) {
    for (size_t i = 0; i < log->items.count; i++) {
        forget_item(log, momi_ring_at(&log->items, i));
    }
    momi_ring_pop_front(&log->items, log->items.count);
    MOMI_ASSERT(log->bytes == 0);
    MOMI_ASSERT(log->cached_bytes == 0);
    log->first_index = first;
    log->before_term = before_term;
    log->cache_low = first;
}

uint64_t momi_log_find_term(const struct momi_log *log, uint64_t low, uint64_t high,
                            uint64_t term) {
    /* Terms never fall, so the indexes that qualify are a prefix of the range. */
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (momi_log_term(log, middle) <= term) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

struct momi_buf *momi_log_buf(const struct momi_log *log, uint64_t index) {
    const struct momi_log_item *item = item_at(log, index);
    return item == NULL ? NULL : item->buf;
}

uint32_t momi_log_size(const struct momi_log *log, uint64_t index) {
    const struct momi_log_item *item = item_at(log, index);
    return item == NULL ? 0 : item->size;
}

void momi_log_fill(struct momi_log *log, uint64_t index, struct momi_buf *buf) {
    struct momi_log_item *item = item_at(log, index);
    /* A read may come back after the entry was trimmed or replaced by another one. */
    if (item == NULL || item->buf != NULL || item->size != buf->size) {
        return;
    }
    item->buf = momi_buf_ref(buf);
    log->cached_bytes += item->size;
    if (log->cache_low > index) {
        log->cache_low = index;
    }
}

void momi_log_evict(struct momi_log *log, uint64_t limit_index, uint64_t keep_bytes) {
    uint64_t last = momi_log_last(log);
    uint64_t limit = limit_index < last ? limit_index : last;
    while (log->cached_bytes > keep_bytes && log->cache_low <= limit) {
        struct momi_log_item *item = item_at(log, log->cache_low);
        if (item != NULL) {
            drop_bytes(log, item);
        }
        log->cache_low++;
    }
}
