/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store over RocksDB; the only file that includes rocksdb/c.h (7.8). See store.h for
 * the contract.
 *
 * Opening follows rule D2, because RocksDB's recovery alone cannot keep a promise: it
 * opens silently when the active write-ahead log was cut at a record boundary or removed.
 * So the database is first opened read-only, with point-in-time recovery, and its batch
 * number compared with the mark; only if nothing is missing is it opened for writing,
 * which may drop a torn tail for good. Tracking of older write-ahead logs in the manifest
 * is on for the same reason. A database is created only while the mark says that none was
 * established.
 *
 * A compaction that meets a damaged block would stop all writing for good. So compactions
 * begin when the start-up has read what it needs, and end for good when any block was
 * found damaged; the mark remembers it. Damage that a compaction finds first does stop
 * the store, once: the next open begins without them.
 *
 * RocksDB allocates by itself and throws when it cannot: that is outside the reach of
 * base/mem.h.
 */
#include "port/store.h"

#include <errno.h>
#include <fcntl.h>
#include <rocksdb/c.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/pack.h"
#include "port/file.h"
#include "port/mark.h"
#include "port/tables.h"

#define DATABASE_NAME "db"

enum {
    HANDLES_COUNT =
        MOMI_FAMILIES_COUNT + 1, /* RocksDB insists on its default family; unused */
    HANDLE_DEFAULT = MOMI_FAMILIES_COUNT,
    MEMTABLE_BYTES = 64 * 1024 * 1024,
    WAL_BYTES_MAX = 256 * 1024 * 1024,
    BLOCK_CACHE_BYTES = 32 * 1024 * 1024,
    LOG_MEMTABLES_MAX = 4, /* so that a flush of one does not stall appends of 250 MB/s */
    OPEN_FILES_MAX = 256,  /* the host's limit is often 1,024 for everything */
    BACKGROUND_JOBS_MAX = 2,
    OPENING_THREADS_MAX = 1, /* by default 120 threads come and go at each opening */
    /* Above all levels of RocksDB: nothing goes to its text log. As packaged it asserts
     * that the log can be written, and would end the host when the disk is full
     * (measured). */
    INFO_LOG_LEVEL_NONE = 6,
    INFO_LOG_FILES_MAX = 1,
    BATCH_KEPT_BYTES_MAX =
        8 * 1024 * 1024, /* a reused write batch above it is given back */
    MARK_SYNC_INTERVAL_MS = 1000,
};

/* What has no setter in the C API. A store that failed stays stopped, so it may not
 * resume by itself. */
static const char extra_options[] = "track_and_verify_wals_in_manifest=true;"
                                    "max_bgerror_resume_count=0;"
                                    "stats_dump_period_sec=0;"
                                    "stats_persist_period_sec=0";

static const char *const family_names[HANDLES_COUNT] = {
    [MOMI_FAMILY_LOG] = "log",
    [MOMI_FAMILY_STATE] = "state",
    [MOMI_FAMILY_NODE] = "node",
    [HANDLE_DEFAULT] = "default",
};

/* NODE family: the number of the last batch (u64), written by every batch. */
static const uint8_t number_key[] = {0, 'b', 'a', 't', 'c', 'h'};

struct rocks {
    struct momi_store store; /* first */
    struct momi_mark *mark;
    char *path; /* of the database, owned */
    rocksdb_t *db;
    rocksdb_options_t *options; /* of the database and of the default family */
    rocksdb_options_t *family_options[HANDLES_COUNT];
    rocksdb_column_family_handle_t *handles[HANDLES_COUNT];
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t
        *read_options; /* for gets; never changed, so any thread may use it */
    rocksdb_writeoptions_t *write_options;
    rocksdb_writeoptions_t *sync_options;
    rocksdb_writebatch_t *batch; /* reused; journal thread */
    uint64_t mark_synced_ms;
    atomic_bool is_damaged; /* a block was found damaged, now or in an earlier life */
    bool compacts;          /* journal thread */
    int dir_fd;             /* the data directory */
};

struct momi_store_snapshot {
    const rocksdb_snapshot_t *handle;
};

static struct rocks *rocks_of(struct momi_store *store) {
    return (struct rocks *)(void *)store;
}

static uint64_t monotonic_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

static bool begins_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Turns RocksDB's error into ours and frees it. */
static int fail(const char *what, char *text) {
    int class = begins_with(text, "Corruption") ? MOM_CORRUPT : MOM_IO;
    bool is_full = strstr(text, "No space left") != NULL;
    int error = momi_err(class, "%s: %s%s", what, is_full ? "FULL: " : "", text);
    rocksdb_free(text);
    return error;
}

/* ---- Options ---- */

static void set_database_options(rocksdb_options_t *options,
                                 const struct momi_store_options *wanted) {
    size_t wal_bytes_max =
        wanted->wal_bytes_max != 0 ? wanted->wal_bytes_max : WAL_BYTES_MAX;
    rocksdb_options_set_max_total_wal_size(options, wal_bytes_max);
    rocksdb_options_set_max_background_jobs(options, BACKGROUND_JOBS_MAX);
    rocksdb_options_set_wal_recovery_mode(options, rocksdb_point_in_time_recovery);
    rocksdb_options_set_recycle_log_file_num(options, 0);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_max_file_opening_threads(options, OPENING_THREADS_MAX);
    rocksdb_options_set_info_log_level(options, INFO_LOG_LEVEL_NONE);
    rocksdb_options_set_keep_log_file_num(options, INFO_LOG_FILES_MAX);
}

static void set_family_options(rocksdb_options_t *options, size_t family,
                               rocksdb_cache_t *cache,
                               const struct momi_store_options *wanted) {
    size_t memtable_bytes =
        wanted->memtable_bytes != 0 ? wanted->memtable_bytes : MEMTABLE_BYTES;
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_options_set_block_based_table_factory(options, table); /* copies */
    rocksdb_block_based_options_destroy(table);
    rocksdb_options_set_write_buffer_size(options, memtable_bytes);
    rocksdb_options_set_compaction_style(options, rocksdb_level_compaction);
    rocksdb_options_set_disable_auto_compactions(options, 1); /* set_compactions */
    if (family == MOMI_FAMILY_LOG) {
        rocksdb_options_set_compression(options, rocksdb_no_compression);
        rocksdb_options_set_max_write_buffer_number(options, LOG_MEMTABLES_MAX);
    }
}

static int make_options(struct rocks *rocks, const struct momi_store_options *wanted) {
    size_t cache_bytes =
        wanted->block_cache_bytes != 0 ? wanted->block_cache_bytes : BLOCK_CACHE_BYTES;
    rocks->cache = rocksdb_cache_create_lru(cache_bytes);
    rocks->options = rocksdb_options_create();
    rocksdb_options_t *base = rocksdb_options_create();
    char *text = NULL;
    rocksdb_get_options_from_string(base, extra_options, rocks->options, &text);
    rocksdb_options_destroy(base);
    if (text != NULL) {
        return fail("options of the database", text);
    }
    set_database_options(rocks->options, wanted);
    for (size_t i = 0; i < HANDLES_COUNT; i++) {
        rocks->family_options[i] = rocksdb_options_create();
        set_family_options(rocks->family_options[i], i, rocks->cache, wanted);
    }
    rocks->read_options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(rocks->read_options, 1);
    rocks->write_options = rocksdb_writeoptions_create();
    rocks->sync_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(rocks->sync_options, 1);
    rocks->batch = rocksdb_writebatch_create();
    return 0;
}

/* ---- Open and close of the database ---- */

static void close_database(struct rocks *rocks) {
    for (size_t i = 0; i < HANDLES_COUNT; i++) {
        if (rocks->handles[i] != NULL) {
            rocksdb_column_family_handle_destroy(rocks->handles[i]);
            rocks->handles[i] = NULL;
        }
    }
    if (rocks->db != NULL) {
        rocksdb_close(rocks->db);
        rocks->db = NULL;
    }
}

static void release(struct rocks *rocks) {
    close_database(rocks);
    for (size_t i = 0; i < HANDLES_COUNT; i++) {
        if (rocks->family_options[i] != NULL) {
            rocksdb_options_destroy(rocks->family_options[i]);
        }
    }
    if (rocks->batch != NULL) {
        rocksdb_writebatch_destroy(rocks->batch);
        rocksdb_writeoptions_destroy(rocks->sync_options);
        rocksdb_writeoptions_destroy(rocks->write_options);
        rocksdb_readoptions_destroy(rocks->read_options);
    }
    if (rocks->options != NULL) {
        rocksdb_options_destroy(rocks->options);
        rocksdb_cache_destroy(rocks->cache);
    }
    momi_mark_close(rocks->mark);
    if (rocks->dir_fd >= 0) {
        close(rocks->dir_fd);
    }
    momi_free(rocks->path);
    momi_free(rocks);
}

enum access {
    ACCESS_CREATE,
    ACCESS_READ,
    ACCESS_WRITE,
};

/* On refusal `text` belongs to the caller. */
static bool open_database(struct rocks *rocks, enum access access, char **text) {
    const rocksdb_options_t *const *options =
        (const rocksdb_options_t *const *)rocks->family_options;
    unsigned char is_creating = access == ACCESS_CREATE ? 1 : 0;
    rocksdb_options_set_create_if_missing(rocks->options, is_creating);
    rocksdb_options_set_create_missing_column_families(rocks->options, is_creating);
    if (access == ACCESS_READ) {
        rocks->db = rocksdb_open_for_read_only_column_families(
            rocks->options, rocks->path, HANDLES_COUNT, family_names, options,
            rocks->handles, 0, text);
    } else {
        rocks->db =
            rocksdb_open_column_families(rocks->options, rocks->path, HANDLES_COUNT,
                                         family_names, options, rocks->handles, text);
    }
    if (rocks->db == NULL) {
        memset(rocks->handles, 0, sizeof rocks->handles);
        return false;
    }
    return true;
}

/* The number of the last batch in the open database; 0 if there was none. */
static int read_number(struct rocks *rocks, uint64_t *number) {
    char *text = NULL;
    size_t size = 0;
    char *value =
        rocksdb_get_cf(rocks->db, rocks->read_options, rocks->handles[MOMI_FAMILY_NODE],
                       (const char *)number_key, sizeof number_key, &size, &text);
    if (text != NULL) {
        return fail("reading the batch number", text);
    }
    if (value != NULL && size != sizeof *number) {
        rocksdb_free(value);
        return momi_err(MOM_CORRUPT, "the batch number has %zu bytes", size);
    }
    *number = value == NULL ? 0 : momi_load_le64((const uint8_t *)value);
    rocksdb_free(value);
    return 0;
}

/* Something of the database is gone or damaged, as opposed to a system that would not let
 * us look. */
static bool tells_damage(const char *text) {
    return begins_with(text, "Corruption") || begins_with(text, "Invalid argument") ||
           begins_with(text, "NotFound") ||
           strstr(text, "No such file or directory") != NULL;
}

static int refuse(struct momi_store_report *report, char *text) {
    if (tells_damage(text)) {
        report->found = MOMI_STORE_LOST_PROMISES;
        (void)fail("opening the database", text); /* for its text */
        return MOM_CORRUPT;
    }
    return fail("opening the database", text);
}

/* D3: votes and the ends of logs are promises. When some of them cannot be read, it is
 * not known which: all of them count as lost. */
static int read_promises(struct rocks *rocks) {
    rocksdb_iterator_t *iterator = rocksdb_create_iterator_cf(
        rocks->db, rocks->read_options, rocks->handles[MOMI_FAMILY_NODE]);
    rocksdb_iter_seek_to_first(iterator);
    while (rocksdb_iter_valid(iterator)) {
        rocksdb_iter_next(iterator);
    }
    char *text = NULL;
    rocksdb_iter_get_error(iterator, &text);
    rocksdb_iter_destroy(iterator);
    return text == NULL ? 0 : fail("reading what was promised", text);
}

/* D2: look without changing anything. */
static int probe(struct rocks *rocks, struct momi_store_report *report) {
    char *text = NULL;
    int error = momi_tables_check(rocks->dir_fd, DATABASE_NAME);
    if (error != 0) {
        report->found =
            error == MOM_CORRUPT ? MOMI_STORE_LOST_PROMISES : MOMI_STORE_NOT_OPENED;
        return error;
    }
    if (!open_database(rocks, ACCESS_READ, &text)) {
        return refuse(report, text);
    }
    error = read_number(rocks, &report->number);
    if (error == 0) {
        error = read_promises(rocks);
    }
    close_database(rocks);
    if (error == MOM_CORRUPT) {
        report->found = MOMI_STORE_LOST_PROMISES;
    } else if (error == 0 && report->number < report->mark) {
        report->found = MOMI_STORE_LOST_PROMISES;
        error = momi_err(
            MOM_CORRUPT, "the database ends at batch %llu, but %llu was synced",
            (unsigned long long)report->number, (unsigned long long)report->mark);
    }
    return error;
}

/* Without compactions, files of the first level gather: nothing may wait for fewer. */
static void set_compactions(struct rocks *rocks, bool are_on) {
    static const char *const names[] = {"disable_auto_compactions",
                                        "level0_slowdown_writes_trigger",
                                        "level0_stop_writes_trigger"};
    static const char *const on[] = {"false", "20", "36"};
    static const char *const off[] = {"true", "1000000000", "1000000000"};
    for (size_t i = 0; i < HANDLES_COUNT; i++) {
        char *text = NULL;
        rocksdb_set_options_cf(rocks->db, rocks->handles[i],
                               sizeof names / sizeof names[0], names, are_on ? on : off,
                               &text);
        rocksdb_free(text); /* as it was, then: the next call tries again */
    }
    rocks->compacts = are_on;
}

static int open_for_writing(struct rocks *rocks, enum access access,
                            struct momi_store_report *report) {
    char *text = NULL;
    if (!open_database(rocks, access, &text)) {
        return refuse(report, text);
    }
    uint64_t number = 0;
    int error = read_number(rocks, &number);
    if (error == 0 && number != report->number) {
        error = momi_err(MOM_IO, "the database changed while it was opened");
    }
    if (error == 0 && access == ACCESS_CREATE) {
        error = momi_file_sync_dir(
            rocks->dir_fd); /* the name of the database, before the mark */
    }
    if (error != 0) {
        return error;
    }
    /* The text of the options, left behind half written at each opening for the sake of
     * the log level. */
    momi_file_remove_ending(rocks->dir_fd, DATABASE_NAME, ".dbtmp");
    /* Recovery has written what it replayed to synced tables: the whole of it is promised
     * now. */
    struct momi_mark_value value = {.number = number,
                                    .is_established = true,
                                    .is_damaged = atomic_load(&rocks->is_damaged)};
    error = momi_mark_set(rocks->mark, value);
    if (error == 0 && atomic_load(&rocks->is_damaged)) {
        set_compactions(rocks, false);
    }
    return error != 0 ? error : momi_mark_sync(rocks->mark);
}

static int open_found(struct rocks *rocks, struct momi_store_report *report) {
    int error = momi_mark_open(rocks->dir_fd, &rocks->mark);
    if (error == MOM_NOT_FOUND || error == MOM_CORRUPT) {
        report->found = MOMI_STORE_CORRUPT;
        return MOM_CORRUPT; /* with the text of momi_mark_open */
    }
    if (error != 0) {
        return error;
    }
    struct momi_mark_value mark = momi_mark_get(rocks->mark);
    report->mark = mark.number;
    atomic_store(&rocks->is_damaged, mark.is_damaged);
    if (!mark.is_established) {
        /* No batch was ever taken: whatever a crash left of an earlier creation holds no
         * data. */
        error = open_for_writing(rocks, ACCESS_CREATE, report);
        if (error == 0) {
            report->found = MOMI_STORE_FRESH;
        } else if (error == MOM_CORRUPT) {
            report->found = MOMI_STORE_CORRUPT; /* no promise was ever made here */
        }
        return error;
    }
    error = probe(rocks, report);
    if (error == 0) {
        error = open_for_writing(rocks, ACCESS_WRITE, report);
        if (error == 0) {
            report->found = mark.is_clean ? MOMI_STORE_CLEAN : MOMI_STORE_RECOVERED;
        }
    }
    return error;
}

/* ---- Writing ---- */

static void fill(struct rocks *rocks, const struct momi_batch *batch) {
    size_t count = momi_batch_count(batch);
    for (size_t i = 0; i < count; i++) {
        struct momi_batch_view op = momi_batch_at(batch, i);
        rocksdb_column_family_handle_t *family = rocks->handles[op.family];
        const char *key = (const char *)op.key.data;
        switch (op.kind) {
        case MOMI_BATCH_PUT:
            rocksdb_writebatch_put_cf(
                rocks->batch, family, key, op.key.size,
                op.value.size > 0 ? (const char *)op.value.data : "", op.value.size);
            break;
        case MOMI_BATCH_DELETE:
            rocksdb_writebatch_delete_cf(rocks->batch, family, key, op.key.size);
            break;
        case MOMI_BATCH_DELETE_RANGE:
            rocksdb_writebatch_delete_range_cf(rocks->batch, family, key, op.key.size,
                                               (const char *)op.to.data, op.to.size);
            break;
        }
    }
    uint8_t number[sizeof batch->number];
    momi_store_le64(number, batch->number);
    rocksdb_writebatch_put_cf(rocks->batch, rocks->handles[MOMI_FAMILY_NODE],
                              (const char *)number_key, sizeof number_key,
                              (const char *)number, sizeof number);
}

/* Everything up to `number` is on disk now. */
static int advance_mark(struct rocks *rocks, uint64_t number) {
    struct momi_mark_value value = {.number = number,
                                    .is_established = true,
                                    .is_damaged = atomic_load(&rocks->is_damaged)};
    int error = momi_mark_set(rocks->mark, value);
    uint64_t now_ms = monotonic_ms();
    if (error != 0 || now_ms - rocks->mark_synced_ms < MARK_SYNC_INTERVAL_MS) {
        return error;
    }
    rocks->mark_synced_ms = now_ms;
    return momi_mark_sync(rocks->mark);
}

/* A final failure is MOM_IO, whatever RocksDB calls it. */
static int fail_write(struct rocks *rocks, const char *what, char *text) {
    if (fail(what, text) == MOM_CORRUPT) {
        /* A compaction has met a damaged block: the next life does without. */
        struct momi_mark_value value = momi_mark_get(rocks->mark);
        value.is_damaged = true;
        if (momi_mark_set(rocks->mark, value) == 0) {
            (void)momi_mark_sync(rocks->mark);
        }
    }
    return MOM_IO;
}

static int rocks_write(struct momi_store *store, const struct momi_batch *batch,
                       enum momi_sync sync) {
    struct rocks *rocks = rocks_of(store);
    fill(rocks, batch);
    char *text = NULL;
    rocksdb_write(rocks->db,
                  sync == MOMI_SYNC_YES ? rocks->sync_options : rocks->write_options,
                  rocks->batch, &text);
    if (momi_batch_bytes(batch) > BATCH_KEPT_BYTES_MAX) {
        rocksdb_writebatch_destroy(rocks->batch);
        rocks->batch = rocksdb_writebatch_create();
    } else {
        rocksdb_writebatch_clear(rocks->batch);
    }
    if (text != NULL) {
        return fail_write(rocks, "writing a batch", text);
    }
    return sync == MOMI_SYNC_YES ? advance_mark(rocks, batch->number) : 0;
}

static int rocks_flush(struct momi_store *store) {
    struct rocks *rocks = rocks_of(store);
    char *text = NULL;
    rocksdb_flush_wal(rocks->db, 1, &text);
    if (text != NULL) {
        return fail_write(rocks, "syncing the write-ahead log", text);
    }
    return advance_mark(rocks, store->number);
}

static int rocks_idle(struct momi_store *store) {
    struct rocks *rocks = rocks_of(store);
    rocks->mark_synced_ms = monotonic_ms();
    bool may_compact = !atomic_load(&rocks->is_damaged);
    if (may_compact != rocks->compacts && !momi_store_is_stopped(store)) {
        set_compactions(rocks, may_compact);
    }
    return momi_mark_sync(rocks->mark);
}

static int rocks_close(struct momi_store *store) {
    struct rocks *rocks = rocks_of(store);
    int error = momi_store_is_stopped(store) ? 0 : rocks_flush(store);
    bool was_stopped = momi_store_is_stopped(store) || error != 0;
    close_database(rocks);
    if (!was_stopped) {
        struct momi_mark_value value = {.number = store->number,
                                        .is_established = true,
                                        .is_clean = true,
                                        .is_damaged = atomic_load(&rocks->is_damaged)};
        error = momi_mark_set(rocks->mark, value);
        if (error == 0) {
            error = momi_mark_sync(rocks->mark);
        }
    }
    release(rocks);
    return error;
}

/* ---- Reading ---- */

static int fail_read(struct rocks *rocks, const char *what, char *text) {
    int error = fail(what, text);
    if (error == MOM_CORRUPT) {
        atomic_store(&rocks->is_damaged, true);
    }
    return error;
}

static int rocks_get(struct momi_store *store, enum momi_family family,
                     struct momi_slice key, struct momi_buf **value) {
    struct rocks *rocks = rocks_of(store);
    char *text = NULL;
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned_cf(rocks->db, rocks->read_options, rocks->handles[family],
                              (const char *)key.data, key.size, &text);
    if (text != NULL) {
        return fail_read(rocks, "reading a value", text);
    }
    if (found == NULL) {
        return MOM_NOT_FOUND;
    }
    size_t size = 0;
    const char *bytes = rocksdb_pinnableslice_value(found, &size);
    struct momi_buf *copy = momi_buf_copy(momi_slice(bytes, size));
    rocksdb_pinnableslice_destroy(found);
    if (copy == NULL) {
        return momi_err(MOM_NO_MEMORY, "a value of %zu bytes", size);
    }
    *value = copy;
    return 0;
}

static int rocks_scan(struct momi_store *store,
                      const struct momi_store_snapshot *snapshot, enum momi_family family,
                      struct momi_slice from, struct momi_slice to,
                      momi_store_scan_fn visit, void *user) {
    struct rocks *rocks = rocks_of(store);
    uint8_t beyond[MOMI_BATCH_KEY_BYTES_MAX + 1]; /* above every legal key */
    if (to.size == 0) {
        memset(beyond, 0xff, sizeof beyond);
        to = momi_slice(beyond, sizeof beyond);
    }
    const char *first = from.size > 0 ? (const char *)from.data : "";
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(options, 1);
    rocksdb_readoptions_set_fill_cache(options, 0); /* a scan reads once */
    rocksdb_readoptions_set_iterate_lower_bound(options, first, from.size);
    rocksdb_readoptions_set_iterate_upper_bound(options, (const char *)to.data, to.size);
    if (snapshot != NULL) {
        rocksdb_readoptions_set_snapshot(options, snapshot->handle);
    }
    rocksdb_iterator_t *iterator =
        rocksdb_create_iterator_cf(rocks->db, options, rocks->handles[family]);
    bool goes_on = true;
    for (rocksdb_iter_seek(iterator, first, from.size);
         goes_on && rocksdb_iter_valid(iterator); rocksdb_iter_next(iterator)) {
        struct momi_slice key = {0};
        struct momi_slice value = {0};
        key.data = (const uint8_t *)rocksdb_iter_key(iterator, &key.size);
        value.data = (const uint8_t *)rocksdb_iter_value(iterator, &value.size);
        goes_on = visit(key, value, user);
    }
    char *text = NULL;
    if (goes_on) {
        rocksdb_iter_get_error(iterator, &text);
    }
    rocksdb_iter_destroy(iterator);
    rocksdb_readoptions_destroy(options);
    return text == NULL ? 0 : fail_read(rocks, "reading a range", text);
}

static int rocks_snapshot_open(struct momi_store *store,
                               struct momi_store_snapshot **snapshot) {
    struct momi_store_snapshot *opened = momi_alloc(sizeof *opened);
    if (opened == NULL) {
        return momi_err(MOM_NO_MEMORY, "a snapshot");
    }
    opened->handle = rocksdb_create_snapshot(rocks_of(store)->db);
    *snapshot = opened;
    return 0;
}

static void rocks_snapshot_close(struct momi_store *store,
                                 struct momi_store_snapshot *snapshot) {
    rocksdb_release_snapshot(rocks_of(store)->db, snapshot->handle);
    momi_free(snapshot);
}

static int rocks_space(struct momi_store *store, uint64_t *free_bytes,
                       uint64_t *total_bytes) {
    struct statvfs status;
    if (fstatvfs(rocks_of(store)->dir_fd, &status) != 0) {
        return momi_err(MOM_IO, "free space: %s", strerror(errno));
    }
    *free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    *total_bytes = (uint64_t)status.f_blocks * status.f_frsize;
    return 0;
}

static const struct momi_store_ops rocks_ops = {
    .write = rocks_write,
    .flush = rocks_flush,
    .idle = rocks_idle,
    .close = rocks_close,
    .get = rocks_get,
    .scan = rocks_scan,
    .snapshot_open = rocks_snapshot_open,
    .snapshot_close = rocks_snapshot_close,
    .space = rocks_space,
    .is_durable = true,
};

/* ---- Opening ---- */

static int open_directory(struct rocks *rocks, const char *dir) {
    size_t dir_size = strlen(dir);
    rocks->path = momi_alloc(dir_size + sizeof "/" DATABASE_NAME);
    if (rocks->path == NULL) {
        return momi_err(MOM_NO_MEMORY, "opening the store");
    }
    memcpy(rocks->path, dir, dir_size);
    memcpy(rocks->path + dir_size, "/" DATABASE_NAME, sizeof "/" DATABASE_NAME);
    rocks->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rocks->dir_fd < 0) {
        return momi_err(MOM_IO, "opening %s: %s", dir, strerror(errno));
    }
    return 0;
}

int momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                            const struct momi_store_options *options,
                            struct momi_store_report *report) {
    static const struct momi_store_options defaults = {0};
    *report = (struct momi_store_report){.found = MOMI_STORE_NOT_OPENED};
    struct rocks *rocks = momi_calloc(1, sizeof *rocks);
    if (rocks == NULL) {
        return momi_err(MOM_NO_MEMORY, "opening the store");
    }
    rocks->dir_fd = -1;
    int error = open_directory(rocks, dir);
    if (error == 0) {
        error = make_options(rocks, options != NULL ? options : &defaults);
    }
    if (error == 0) {
        error = open_found(rocks, report);
    }
    if (error != 0) {
        release(rocks);
        return error;
    }
    momi_store_init(&rocks->store, &rocks_ops, report->number);
    rocks->mark_synced_ms = monotonic_ms();
    *store = &rocks->store;
    return 0;
}
