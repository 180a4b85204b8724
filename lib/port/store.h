/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store port: an ordered, atomic, durable place for the batches of a node.
 *
 * One journal thread writes; any thread reads. A write is atomic over all families. What
 * a synced write has acknowledged survives every crash, or the next open says that it did
 * not (rule D2). Every failure of a write or a sync is final: the store is stopped and
 * all later writes answer MOM_IO, since the kernel may have dropped the data that an
 * fsync could not write (rule R7). Reads still work then.
 *
 * Implementations: RocksDB (store_rocksdb.c), memory (store_mem.c), the simulator's disk.
 * One contract suite, tests/contract/test_store.c, holds for all.
 */
#ifndef MOMI_PORT_STORE_H
#define MOMI_PORT_STORE_H

#include <stdatomic.h>

#include "base/batch.h"

enum momi_sync {
    MOMI_SYNC_NO,  /* ordered behind all earlier writes; may be lost with everything after
                      it */
    MOMI_SYNC_YES, /* returns when this and all earlier writes are on disk */
};

/* How the last life of a store ended. */
enum momi_store_found {
    MOMI_STORE_NOT_OPENED, /* MOM_IO, MOM_NO_MEMORY, MOM_VERSION: nothing is known about
                              the data */
    MOMI_STORE_FRESH,      /* just created */
    MOMI_STORE_CLEAN,      /* closed in order */
    MOMI_STORE_RECOVERED,  /* not closed, and all that was synced is there */
    MOMI_STORE_LOST_PROMISES, /* something that was synced is missing, or recovery was
                                 refused (D3) */
    MOMI_STORE_CORRUPT, /* the mark is damaged or gone: whether something is missing is
                           unknown */
};

struct momi_store_report {
    enum momi_store_found found;
    uint64_t
        number; /* of the last batch in the store; the owner goes on with the next one */
    uint64_t mark; /* the highest number known as synced when it was opened */
};

/* Zero means the default. */
struct momi_store_options {
    size_t memtable_bytes; /* 64 MiB */
    size_t wal_bytes_max;  /* 256 MiB: over it the oldest unflushed family is flushed */
    size_t block_cache_bytes; /* 32 MiB */
};

enum { MOMI_STORE_SYNC_BUCKETS = 24 };

struct momi_store_counters {
    uint64_t batches;
    uint64_t bytes; /* keys and values handed in */
    uint64_t syncs;
    /* Synced writes by duration: bucket i counts those under 2^i us that fit in no lower
     * one; the last takes the rest. */
    uint64_t sync_us_log2[MOMI_STORE_SYNC_BUCKETS];
};

struct momi_store;
struct momi_store_snapshot;

/* Called in key order; returns false to stop. Both slices are valid during the call only.
 * It may read from the store. */
typedef bool (*momi_store_scan_fn)(struct momi_slice key, struct momi_slice value,
                                   void *user);

/* A store that forgets everything at close. */
int momi_store_open_memory(struct momi_store **store);

/* Opens the database of the data directory `dir`, which momi_datadir_open has prepared
 * and locked: it lies in `dir`/db, its mark in `dir`/mark. `report` is filled in every
 * case. MOM_CORRUPT with LOST_PROMISES or CORRUPT in the report (nothing was changed on
 * disk), MOM_IO, MOM_VERSION, MOM_NO_MEMORY. Never fork while it is open. */
int momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                            const struct momi_store_options *options,
                            struct momi_store_report *report);

/* Syncs and closes. The store is gone in every case; MOM_IO if the last sync failed, and
 * then the next open is a recovery. Snapshots must be closed and other threads done
 * before. NULL is fine. */
int momi_store_close(struct momi_store *store);

/* Journal thread only. Batch numbers rise from write to write (else MOM_INVALID, nothing
 * done). Keys of the NODE family that begin with a zero byte belong to the store. Errors:
 * MOM_IO, final. */
int momi_store_write(struct momi_store *store, const struct momi_batch *batch,
                     enum momi_sync sync);
/* Journal thread only: syncs everything written so far. Errors: MOM_IO, final. */
int momi_store_flush(struct momi_store *store);
/* Journal thread only: called when it has nothing to do, and at least once a second:
 * syncs the mark if it moved. It never syncs a batch that nobody waits for. Errors:
 * MOM_IO, final. */
int momi_store_idle(struct momi_store *store);

/* Any thread. `value` belongs to the caller. MOM_NOT_FOUND (without error text),
 * MOM_CORRUPT for a damaged block, MOM_IO, MOM_NO_MEMORY. */
int momi_store_get(struct momi_store *store, enum momi_family family,
                   struct momi_slice key, struct momi_buf **value);
/* Any thread. Visits from <= key < to in order; an empty `from` is the first key, an
 * empty `to` is beyond the last. Sees one state throughout: that of `snapshot`, or of the
 * moment of the call when NULL. MOM_CORRUPT, MOM_IO, MOM_NO_MEMORY, possibly after some
 * visits. */
int momi_store_scan(struct momi_store *store, const struct momi_store_snapshot *snapshot,
                    enum momi_family family, struct momi_slice from, struct momi_slice to,
                    momi_store_scan_fn visit, void *user);
/* Any thread. An open snapshot pins old versions: close it soon. */
int momi_store_snapshot_open(struct momi_store *store,
                             struct momi_store_snapshot **snapshot);
void momi_store_snapshot_close(struct momi_store *store,
                               struct momi_store_snapshot *snapshot);

/* Any thread. Of the file system that holds the store; UINT64_MAX twice for memory.
 * MOM_IO. */
int momi_store_space(struct momi_store *store, uint64_t *free_bytes,
                     uint64_t *total_bytes);
/* Any thread. Does a synced write survive the process? */
bool momi_store_is_durable(const struct momi_store *store);
/* Any thread. Has a write or sync failed? */
bool momi_store_is_stopped(const struct momi_store *store);
/* Any thread; numbers of different counters may be a moment apart. */
void momi_store_counters_get(const struct momi_store *store,
                             struct momi_store_counters *counters);

/* ---- For implementations only ---- */

struct momi_store_ops {
    int (*write)(struct momi_store *, const struct momi_batch *, enum momi_sync);
    int (*flush)(struct momi_store *);
    int (*idle)(struct momi_store *);
    int (*close)(struct momi_store *); /* frees; has to sync unless stopped */
    int (*get)(struct momi_store *, enum momi_family, struct momi_slice,
               struct momi_buf **);
    int (*scan)(struct momi_store *, const struct momi_store_snapshot *, enum momi_family,
                struct momi_slice, struct momi_slice, momi_store_scan_fn, void *);
    int (*snapshot_open)(struct momi_store *, struct momi_store_snapshot **);
    void (*snapshot_close)(struct momi_store *, struct momi_store_snapshot *);
    int (*space)(struct momi_store *, uint64_t *, uint64_t *);
    bool is_durable;
};

/* The head of every implementation's struct. Counters are written by the journal thread
 * alone. */
struct momi_store {
    const struct momi_store_ops *ops;
    uint64_t number; /* of the last batch written; journal thread */
    atomic_bool is_stopped;
    _Atomic uint64_t batches;
    _Atomic uint64_t bytes;
    _Atomic uint64_t syncs;
    _Atomic uint64_t sync_us_log2[MOMI_STORE_SYNC_BUCKETS];
};

void momi_store_init(struct momi_store *store, const struct momi_store_ops *ops,
                     uint64_t number);

#endif
