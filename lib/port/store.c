/* SPDX-License-Identifier: Apache-2.0 */
/* What all stores have in common: finality of failures, order of batch numbers, counters.
 * See store.h. */
#include "port/store.h"

#include <time.h>

#include "base/assert.h"
#include "base/err.h"

void momi_store_init(struct momi_store *store, const struct momi_store_ops *ops,
                     uint64_t number) {
    store->ops = ops;
    store->number = number;
    atomic_init(&store->is_stopped, false);
    atomic_init(&store->batches, 0);
    atomic_init(&store->bytes, 0);
    atomic_init(&store->syncs, 0);
    for (size_t i = 0; i < MOMI_STORE_SYNC_BUCKETS; i++) {
        atomic_init(&store->sync_us_log2[i], 0);
    }
}

static uint64_t monotonic_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

/* One writer per counter, so a load and a store do. */
static void count(_Atomic uint64_t *counter, uint64_t amount) {
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

static void count_sync(struct momi_store *store, uint64_t duration_us) {
    size_t bucket = 0;
    while (bucket + 1 < MOMI_STORE_SYNC_BUCKETS && duration_us >= (1ULL << bucket)) {
        bucket++;
    }
    count(&store->syncs, 1);
    count(&store->sync_us_log2[bucket], 1);
}

static int refuse_stopped(const struct momi_store *store) {
    return momi_store_is_stopped(store)
               ? momi_err(MOM_IO, "the store has stopped after a failed write or sync")
               : 0;
}

static int stop_on(struct momi_store *store, int error) {
    if (error != 0) {
        atomic_store(&store->is_stopped, true);
    }
    return error;
}

#ifdef MOMI_CHECKS
static bool touches_no_own_key(const struct momi_batch *batch) {
    for (size_t i = 0; i < momi_batch_count(batch); i++) {
        struct momi_batch_view op = momi_batch_at(batch, i);
        if (op.family == MOMI_FAMILY_NODE && op.key.data[0] == 0) {
            return false;
        }
    }
    return true;
}
#endif

int momi_store_write(struct momi_store *store, const struct momi_batch *batch,
                     enum momi_sync sync) {
    MOMI_ASSERT(!batch->failed);
    MOMI_CHECK(touches_no_own_key(batch));
    int error = refuse_stopped(store);
    if (error != 0) {
        return error;
    }
    if (batch->number <= store->number) {
        return momi_err(MOM_INVALID, "batch %llu after batch %llu",
                        (unsigned long long)batch->number,
                        (unsigned long long)store->number);
    }
    uint64_t start_us = sync == MOMI_SYNC_YES ? monotonic_us() : 0;
    error = stop_on(store, store->ops->write(store, batch, sync));
    if (error != 0) {
        return error;
    }
    store->number = batch->number;
    count(&store->batches, 1);
    count(&store->bytes, momi_batch_bytes(batch));
    if (sync == MOMI_SYNC_YES) {
        count_sync(store, monotonic_us() - start_us);
    }
    return 0;
}

int momi_store_flush(struct momi_store *store) {
    int error = refuse_stopped(store);
    if (error != 0) {
        return error;
    }
    uint64_t start_us = monotonic_us();
    error = stop_on(store, store->ops->flush(store));
    if (error == 0) {
        count_sync(store, monotonic_us() - start_us);
    }
    return error;
}

int momi_store_idle(struct momi_store *store) {
    int error = refuse_stopped(store);
    return error != 0 ? error : stop_on(store, store->ops->idle(store));
}

int momi_store_close(struct momi_store *store) {
    return store == NULL ? 0 : store->ops->close(store);
}

int momi_store_get(struct momi_store *store, enum momi_family family,
                   struct momi_slice key, struct momi_buf **value) {
    return store->ops->get(store, family, key, value);
}

int momi_store_scan(struct momi_store *store, const struct momi_store_snapshot *snapshot,
                    enum momi_family family, struct momi_slice from, struct momi_slice to,
                    momi_store_scan_fn visit, void *user) {
    static const uint8_t first_node_key[1] = {1}; /* what is below belongs to the store */
    if (family == MOMI_FAMILY_NODE && (from.size == 0 || from.data[0] == 0)) {
        from = momi_slice(first_node_key, sizeof first_node_key);
    }
    if (to.size > 0 && momi_slice_compare(from, to) >= 0) {
        return 0;
    }
    return store->ops->scan(store, snapshot, family, from, to, visit, user);
}

int momi_store_snapshot_open(struct momi_store *store,
                             struct momi_store_snapshot **snapshot) {
    return store->ops->snapshot_open(store, snapshot);
}

void momi_store_snapshot_close(struct momi_store *store,
                               struct momi_store_snapshot *snapshot) {
    if (snapshot != NULL) {
        store->ops->snapshot_close(store, snapshot);
    }
}

int momi_store_space(struct momi_store *store, uint64_t *free_bytes,
                     uint64_t *total_bytes) {
    return store->ops->space(store, free_bytes, total_bytes);
}

bool momi_store_is_durable(const struct momi_store *store) {
    return store->ops->is_durable;
}

bool momi_store_is_stopped(const struct momi_store *store) {
    return atomic_load(&store->is_stopped);
}

void momi_store_counters_get(const struct momi_store *store,
                             struct momi_store_counters *counters) {
    counters->batches = atomic_load_explicit(&store->batches, memory_order_relaxed);
    counters->bytes = atomic_load_explicit(&store->bytes, memory_order_relaxed);
    counters->syncs = atomic_load_explicit(&store->syncs, memory_order_relaxed);
    for (size_t i = 0; i < MOMI_STORE_SYNC_BUCKETS; i++) {
        counters->sync_us_log2[i] =
            atomic_load_explicit(&store->sync_us_log2[i], memory_order_relaxed);
    }
}
