/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of the store port, over every implementation; then what only a durable one
 * can show: rule D2 against every way in which a database may come back short, and a
 * writer that is killed. A copy of the directory of an open store is what a crash of the
 * process leaves.
 */
#include "t.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mom/error.h>

#include "base/mem.h"
#include "base/pack.h"
#include "contract/scratch.h"
#include "port/datadir.h"
#include "port/store.h"

enum { KILLS_COUNT = 20 };

/* ---- A store to test ---- */

struct world {
    bool is_durable;
    char base[SCRATCH_PATH_BYTES]; /* for this test alone */
    char path[SCRATCH_PATH_BYTES]; /* of the data directory, in it */
    char db[SCRATCH_PATH_BYTES];
    struct momi_datadir *dir;
    struct momi_store *store;
    struct momi_store_report report;
    struct momi_store_options options;
    struct momi_batch batch;
    uint64_t number;
};

static int open_directory(struct world *world) {
    int error = momi_datadir_open(world->path, &world->dir);
    if (error == 0) {
        error = momi_store_open_rocksdb(&world->store, momi_datadir_path(world->dir),
                                        &world->options, &world->report);
        world->number = world->report.number;
    }
    if (error != 0) {
        momi_datadir_close(world->dir);
        world->dir = NULL;
        world->store = NULL;
    }
    return error;
}

static int open_world(struct world *world) {
    return world->is_durable ? open_directory(world)
                             : momi_store_open_memory(&world->store);
}

static int close_world(struct world *world) {
    int error = momi_store_close(world->store);
    momi_datadir_close(world->dir);
    world->store = NULL;
    world->dir = NULL;
    return error;
}

static int set_up(void **state, bool is_durable) {
    struct world *world = calloc(1, sizeof *world);
    world->is_durable = is_durable;
    if (is_durable) {
        scratch_make(world->base);
        scratch_join(world->path, world->base, "data");
        scratch_join(world->db, world->path, "db");
    }
    *state = world;
    return open_world(world);
}

static int set_up_memory(void **state) { return set_up(state, false); }
static int set_up_rocksdb(void **state) { return set_up(state, true); }

static int tear_down(void **state) {
    struct world *world = *state;
    (void)close_world(world);
    momi_batch_free(&world->batch);
    if (world->is_durable) {
        scratch_remove(world->base);
    }
    free(world);
    return 0;
}

/* ---- Words of the tests ---- */

static struct momi_slice text(const char *string) { return momi_slice_str(string); }

static void put(struct world *world, enum momi_family family, const char *key,
                const char *value) {
    momi_batch_put(&world->batch, family, text(key), text(value));
}

static int write_batch(struct world *world, enum momi_sync sync) {
    world->batch.number = ++world->number;
    int error = momi_store_write(world->store, &world->batch, sync);
    momi_batch_clear(&world->batch);
    return error;
}

static int put_one(struct world *world, const char *key, const char *value,
                   enum momi_sync sync) {
    put(world, MOMI_FAMILY_LOG, key, value);
    return write_batch(world, sync);
}

static void expect(struct world *world, enum momi_family family, const char *key,
                   const char *value) {
    struct momi_buf *found = NULL;
    int error = momi_store_get(world->store, family, text(key), &found);
    if (value == NULL) {
        CHECK_ERR(error, MOM_NOT_FOUND);
        CHECK(found == NULL);
        return;
    }
    CHECK_OK(error);
    CHECK(momi_slice_equal(momi_buf_slice(found), text(value)));
    momi_buf_release(found);
}

struct listing {
    char text[1024];
    size_t size;
    size_t limit; /* keys to visit at most; 0: all */
    size_t count;
};

static bool list_one(struct momi_slice key, struct momi_slice value, void *user) {
    struct listing *listing = user;
    listing->size += (size_t)snprintf(
        listing->text + listing->size, sizeof listing->text - listing->size, "%.*s=%.*s ",
        (int)key.size, (const char *)key.data, (int)value.size, (const char *)value.data);
    CHECK(listing->size < sizeof listing->text);
    listing->count++;
    return listing->limit == 0 || listing->count < listing->limit;
}

static void expect_list(struct world *world, const struct momi_store_snapshot *snapshot,
                        enum momi_family family, const char *from, const char *to,
                        const char *list) {
    struct listing listing = {0};
    CHECK_OK(momi_store_scan(world->store, snapshot, family, text(from), text(to),
                             list_one, &listing));
    CHECK_STR(listing.text, list);
}

/* ---- The contract ---- */

static void get_returns_what_was_put(void **state) {
    struct world *world = *state;
    expect(world, MOMI_FAMILY_LOG, "a", NULL);
    put(world, MOMI_FAMILY_LOG, "a", "1");
    put(world, MOMI_FAMILY_STATE, "a", "2");
    put(world, MOMI_FAMILY_NODE, "a", "3");
    put(world, MOMI_FAMILY_NODE, "empty", "");
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    expect(world, MOMI_FAMILY_LOG, "a", "1");
    expect(world, MOMI_FAMILY_STATE, "a", "2");
    expect(world, MOMI_FAMILY_NODE, "a", "3");
    expect(world, MOMI_FAMILY_NODE, "empty", "");
    expect(world, MOMI_FAMILY_LOG, "empty", NULL);
    CHECK_OK(put_one(world, "a", "new", MOMI_SYNC_NO));
    expect(world, MOMI_FAMILY_LOG, "a", "new");
}

static void values_go_in_by_reference(void **state) {
    struct world *world = *state;
    size_t size = 3 * 1024 * 1024;
    struct momi_buf *value = momi_buf_new(size);
    CHECK(value != NULL);
    for (size_t i = 0; i < size; i++) {
        value->data[i] = (uint8_t)(i * 31 >> 3);
    }
    momi_batch_put_buf(&world->batch, MOMI_FAMILY_LOG, text("big"), value);
    CHECK_EQ(momi_batch_bytes(&world->batch), size + 3);
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    struct momi_buf *found = NULL;
    CHECK_OK(momi_store_get(world->store, MOMI_FAMILY_LOG, text("big"), &found));
    CHECK(momi_slice_equal(momi_buf_slice(found), momi_buf_slice(value)));
    momi_buf_release(found);
    momi_buf_release(value);
}

static void operations_of_a_batch_act_in_order(void **state) {
    struct world *world = *state;
    put(world, MOMI_FAMILY_LOG, "a", "1");
    momi_batch_delete(&world->batch, MOMI_FAMILY_LOG, text("a"));
    put(world, MOMI_FAMILY_LOG, "b", "1");
    put(world, MOMI_FAMILY_LOG, "b", "2");
    put(world, MOMI_FAMILY_LOG, "c", "1");
    put(world, MOMI_FAMILY_LOG, "d", "1");
    momi_batch_delete_range(&world->batch, MOMI_FAMILY_LOG, text("c"), text("e"));
    put(world, MOMI_FAMILY_LOG, "d", "2");
    CHECK_EQ(momi_batch_count(&world->batch), 8);
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    expect_list(world, NULL, MOMI_FAMILY_LOG, "", "", "b=2 d=2 ");
}

static void deletes_take_away(void **state) {
    struct world *world = *state;
    for (const char *key = "abcdefgh"; *key != '\0'; key++) {
        momi_batch_put(&world->batch, MOMI_FAMILY_LOG, momi_slice(key, 1), text("v"));
        momi_batch_put(&world->batch, MOMI_FAMILY_STATE, momi_slice(key, 1), text("s"));
    }
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    momi_batch_delete(&world->batch, MOMI_FAMILY_LOG, text("b"));
    momi_batch_delete(&world->batch, MOMI_FAMILY_LOG, text("nothing"));
    momi_batch_delete_range(&world->batch, MOMI_FAMILY_LOG, text("d"), text("g"));
    momi_batch_delete_range(&world->batch, MOMI_FAMILY_LOG, text("h"), text("h"));
    momi_batch_delete_range(&world->batch, MOMI_FAMILY_LOG, text("h"), text("a"));
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    expect_list(world, NULL, MOMI_FAMILY_LOG, "", "", "a=v c=v g=v h=v ");
    expect_list(world, NULL, MOMI_FAMILY_STATE, "c", "e", "c=s d=s ");
    expect(world, MOMI_FAMILY_LOG, "d", NULL);
}

static void scan_keeps_order_and_bounds(void **state) {
    struct world *world = *state;
    const char *keys[] = {"m", "a", "zz", "mm", "\xff\xff", "b", "\x01"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        put(world, MOMI_FAMILY_STATE, keys[i], "v");
    }
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    expect_list(world, NULL, MOMI_FAMILY_STATE, "", "",
                "\x01=v a=v b=v m=v mm=v zz=v \xff\xff=v ");
    expect_list(world, NULL, MOMI_FAMILY_STATE, "a", "mm", "a=v b=v m=v ");
    expect_list(world, NULL, MOMI_FAMILY_STATE, "aa", "mn", "b=v m=v mm=v ");
    expect_list(world, NULL, MOMI_FAMILY_STATE, "c", "c", "");
    expect_list(world, NULL, MOMI_FAMILY_STATE, "z", "a", "");
    struct listing two = {.limit = 2};
    CHECK_OK(momi_store_scan(world->store, NULL, MOMI_FAMILY_STATE, text("a"), text("z"),
                             list_one, &two));
    CHECK_STR(two.text, "a=v b=v ");
}

static void keys_order_as_unsigned_bytes(void **state) {
    struct world *world = *state;
    uint64_t indexes[] = {1, 255, 256, 65535, 1ULL << 40, UINT64_MAX};
    size_t count = sizeof indexes / sizeof *indexes;
    for (size_t i = count; i-- > 0;) {
        struct momi_bytes key = {0};
        momi_put_be32(&key, 7);
        momi_put_be64(&key, indexes[i]);
        char value[8];
        int size = snprintf(value, sizeof value, "%zu", i);
        momi_batch_put(&world->batch, MOMI_FAMILY_LOG, momi_bytes_slice(&key),
                       momi_slice(value, (size_t)size));
        momi_bytes_free(&key);
    }
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    struct listing listing = {0};
    CHECK_OK(momi_store_scan(world->store, NULL, MOMI_FAMILY_LOG, text(""), text(""),
                             list_one, &listing));
    CHECK_EQ(listing.count, count);
    const char *at = listing.text;
    for (size_t i = 0; i < count; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "=%zu ", i);
        /* Keys hold zero bytes, so the listing is searched as bytes. */
        size_t left = listing.size - (size_t)(at - listing.text);
        at = memmem(at, left, value, strlen(value));
        CHECK(at != NULL);
    }
}

static void the_stores_own_key_is_hidden(void **state) {
    struct world *world = *state;
    put(world, MOMI_FAMILY_NODE, "vote", "1");
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    expect_list(world, NULL, MOMI_FAMILY_NODE, "", "", "vote=1 ");
    CHECK_OK(write_batch(world, MOMI_SYNC_YES)); /* an empty batch is legal */
    expect_list(world, NULL, MOMI_FAMILY_NODE, "", "", "vote=1 ");
}

static void snapshot_does_not_see_later_writes(void **state) {
    struct world *world = *state;
    put(world, MOMI_FAMILY_STATE, "a", "1");
    put(world, MOMI_FAMILY_STATE, "b", "1");
    put(world, MOMI_FAMILY_STATE, "c", "1");
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    struct momi_store_snapshot *first = NULL;
    struct momi_store_snapshot *second = NULL;
    CHECK_OK(momi_store_snapshot_open(world->store, &first));
    put(world, MOMI_FAMILY_STATE, "a", "2");
    momi_batch_delete(&world->batch, MOMI_FAMILY_STATE, text("b"));
    put(world, MOMI_FAMILY_STATE, "d", "2");
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    CHECK_OK(momi_store_snapshot_open(world->store, &second));
    momi_batch_delete_range(&world->batch, MOMI_FAMILY_STATE, text("a"), text("d"));
    put(world, MOMI_FAMILY_STATE, "b", "3");
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    expect_list(world, first, MOMI_FAMILY_STATE, "", "", "a=1 b=1 c=1 ");
    expect_list(world, second, MOMI_FAMILY_STATE, "", "", "a=2 c=1 d=2 ");
    expect_list(world, NULL, MOMI_FAMILY_STATE, "", "", "b=3 d=2 ");
    momi_store_snapshot_close(world->store, first);
    expect_list(world, second, MOMI_FAMILY_STATE, "", "", "a=2 c=1 d=2 ");
    momi_store_snapshot_close(world->store, second);
    expect_list(world, NULL, MOMI_FAMILY_STATE, "", "", "b=3 d=2 ");
    momi_store_snapshot_close(world->store, NULL);
}

struct meddler {
    struct world *world;
    size_t count;
};

static bool write_while_scanning(struct momi_slice key, struct momi_slice value,
                                 void *user) {
    struct meddler *meddler = user;
    (void)value;
    meddler->count++;
    struct momi_buf *found = NULL;
    CHECK_OK(momi_store_get(meddler->world->store, MOMI_FAMILY_LOG, key, &found));
    momi_buf_release(found);
    put(meddler->world, MOMI_FAMILY_LOG, "z-later", "x");
    momi_batch_delete(&meddler->world->batch, MOMI_FAMILY_LOG, key);
    CHECK_OK(write_batch(meddler->world, MOMI_SYNC_NO));
    return true;
}

static void scan_sees_one_state_while_others_write(void **state) {
    struct world *world = *state;
    put(world, MOMI_FAMILY_LOG, "a", "1");
    put(world, MOMI_FAMILY_LOG, "b", "1");
    put(world, MOMI_FAMILY_LOG, "c", "1");
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    struct meddler meddler = {.world = world};
    CHECK_OK(momi_store_scan(world->store, NULL, MOMI_FAMILY_LOG, text(""), text(""),
                             write_while_scanning, &meddler));
    CHECK_EQ(meddler.count, 3);
    expect_list(world, NULL, MOMI_FAMILY_LOG, "", "", "z-later=x ");
}

static void numbers_must_rise(void **state) {
    struct world *world = *state;
    CHECK_OK(put_one(world, "a", "1", MOMI_SYNC_NO));
    put(world, MOMI_FAMILY_LOG, "a", "2");
    world->batch.number = world->number;
    CHECK_ERR(momi_store_write(world->store, &world->batch, MOMI_SYNC_YES), MOM_INVALID);
    expect(world, MOMI_FAMILY_LOG, "a", "1");
    CHECK(!momi_store_is_stopped(world->store));
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    expect(world, MOMI_FAMILY_LOG, "a", "2");
}

static void counters_count(void **state) {
    struct world *world = *state;
    CHECK_OK(put_one(world, "a", "12", MOMI_SYNC_NO));
    CHECK_OK(put_one(world, "b", "12", MOMI_SYNC_YES));
    CHECK_OK(momi_store_flush(world->store));
    CHECK_OK(momi_store_idle(world->store));
    struct momi_store_counters counters;
    momi_store_counters_get(world->store, &counters);
    CHECK_EQ(counters.batches, 2);
    CHECK_EQ(counters.bytes, 6);
    CHECK_EQ(counters.syncs, 2);
    uint64_t sum = 0;
    for (size_t i = 0; i < MOMI_STORE_SYNC_BUCKETS; i++) {
        sum += counters.sync_us_log2[i];
    }
    CHECK_EQ(sum, 2);
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    CHECK_OK(momi_store_space(world->store, &free_bytes, &total_bytes));
    CHECK(free_bytes > 0);
    CHECK(free_bytes <= total_bytes);
    CHECK_EQ(momi_store_is_durable(world->store), world->is_durable);
}

static void many_keys_agree_with_a_naive_table(void **state) {
    struct world *world = *state;
    enum { KEYS = 64, STEPS = 400 };
    uint32_t table[KEYS] = {0}; /* 0: absent, else the step that put it */
    uint32_t seed = 12345;
    for (uint32_t step = 1; step <= STEPS; step++) {
        seed = seed * 1664525U + 1013904223U;
        uint32_t first = (seed >> 8) % KEYS;
        uint32_t length = (seed >> 16) % 12;
        uint8_t key[1] = {(uint8_t)(1 + first)};
        if (step % 7 == 0) {
            uint8_t to[1] = {(uint8_t)(1 + first + length)};
            momi_batch_delete_range(&world->batch, MOMI_FAMILY_STATE, momi_slice(key, 1),
                                    momi_slice(to, 1));
            for (uint32_t i = first; i < first + length && i < KEYS; i++) {
                table[i] = 0;
            }
        } else if (step % 5 == 0) {
            momi_batch_delete(&world->batch, MOMI_FAMILY_STATE, momi_slice(key, 1));
            table[first] = 0;
        } else {
            momi_batch_put(&world->batch, MOMI_FAMILY_STATE, momi_slice(key, 1),
                           momi_slice(&step, sizeof step));
            table[first] = step;
        }
        if (step % 3 == 0) {
            CHECK_OK(write_batch(world, MOMI_SYNC_NO));
        }
    }
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t key[1] = {(uint8_t)(1 + i)};
        struct momi_buf *found = NULL;
        int error =
            momi_store_get(world->store, MOMI_FAMILY_STATE, momi_slice(key, 1), &found);
        CHECK_ERR(error, table[i] == 0 ? MOM_NOT_FOUND : 0);
        if (error == 0) {
            CHECK_BYTES(found->data, &table[i], sizeof table[i]);
            momi_buf_release(found);
        }
    }
}

/* ---- Out of memory ---- */

static void failed_allocation_leaves_the_batch_whole_or_undone(void **state) {
    (void)state;
    bool is_through = false;
    for (int64_t n = 0; !is_through; n++) {
        struct world world = {.is_durable = false};
        CHECK_OK(open_world(&world));
        CHECK_OK(put_one(&world, "old", "1", MOMI_SYNC_NO));
        put(&world, MOMI_FAMILY_LOG, "a", "1");
        put(&world, MOMI_FAMILY_LOG, "b", "1");
        momi_batch_delete(&world.batch, MOMI_FAMILY_LOG, text("old"));
        momi_mem_fail_after(n, false);
        int error = write_batch(&world, MOMI_SYNC_NO);
        momi_mem_fail_after(-1, false);
        is_through = error == 0;
        if (is_through) {
            expect_list(&world, NULL, MOMI_FAMILY_LOG, "", "", "a=1 b=1 ");
        } else {
            CHECK_ERR(error, MOM_IO);
            CHECK(momi_store_is_stopped(world.store));
            expect_list(&world, NULL, MOMI_FAMILY_LOG, "", "", "old=1 ");
            CHECK_ERR(put_one(&world, "c", "1", MOMI_SYNC_NO), MOM_IO);
        }
        momi_batch_free(&world.batch);
        CHECK_OK(close_world(&world));
        CHECK(n < 100);
    }
}

static void batch_that_runs_out_of_memory_says_so(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    bool is_through = false;
    for (int64_t n = 0; !is_through; n++) {
        struct momi_batch batch = {0};
        struct momi_buf *value = momi_buf_copy(text("value"));
        CHECK(value != NULL);
        momi_mem_fail_after(n, false);
        for (uint8_t i = 1; i <= 40; i++) {
            momi_batch_put_buf(&batch, MOMI_FAMILY_LOG, momi_slice(&i, 1), value);
            momi_batch_put(&batch, MOMI_FAMILY_NODE, momi_slice(&i, 1), text("copied"));
        }
        momi_mem_fail_after(-1, false);
        is_through = !batch.failed;
        CHECK(is_through == (momi_batch_count(&batch) == 80));
        momi_batch_clear(&batch);
        CHECK(!batch.failed);
        CHECK_EQ(momi_batch_bytes(&batch), 0);
        momi_batch_free(&batch);
        momi_buf_release(value);
        CHECK(n < 100);
    }
    CHECK_EQ(momi_mem_live(), live);
}

static void opening_survives_every_failed_allocation(void **state) {
    struct world *world = *state;
    CHECK_OK(put_one(world, "a", "1", MOMI_SYNC_YES));
    CHECK_OK(close_world(world));
    bool is_through = false;
    for (int64_t n = 0; !is_through; n++) {
        momi_mem_fail_after(n, false);
        int error = open_world(world);
        momi_mem_fail_after(-1, false);
        is_through = error == 0;
        if (!is_through) {
            CHECK_ERR(error, MOM_NO_MEMORY);
        }
        CHECK(n < 100);
    }
    CHECK_EQ(world->report.found, MOMI_STORE_CLEAN);
    momi_mem_fail_after(0, false);
    struct momi_buf *found = NULL;
    CHECK_ERR(momi_store_get(world->store, MOMI_FAMILY_LOG, text("a"), &found),
              MOM_NO_MEMORY);
    momi_mem_fail_after(-1, false);
    expect(world, MOMI_FAMILY_LOG, "a", "1");
}

/* ---- Durable ones: how the last life ended ---- */

/* Ten synced batches "1" to "10"; the size of the write-ahead log after each goes into
 * `sizes`. */
static void write_ten(struct world *world, size_t sizes[11],
                      char wal[SCRATCH_PATH_BYTES]) {
    for (size_t i = 1; i <= 10; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "%zu", i);
        CHECK_OK(put_one(world, key, "a value of some length, to have bytes to tear",
                         MOMI_SYNC_YES));
        CHECK(scratch_last(wal, world->db, ".log"));
        sizes[i] = scratch_size(wal);
    }
    /* The same file in the copy that the test damages. */
    char name[SCRATCH_PATH_BYTES];
    char crashed[SCRATCH_PATH_BYTES];
    (void)snprintf(name, sizeof name, "%s", strrchr(wal, '/') + 1);
    scratch_join(crashed, world->base, "crashed/db");
    scratch_join(wal, crashed, name);
}

/* A second world on a copy of the first one's directory, as a crash would leave it. */
static void crash(struct world *world, struct world *crashed) {
    memset(crashed, 0, sizeof *crashed);
    crashed->is_durable = true;
    crashed->options = world->options;
    scratch_join(crashed->path, world->base, "crashed");
    scratch_remove(crashed->path);
    scratch_copy(world->path, crashed->path);
    scratch_join(crashed->db, crashed->path, "db");
}

static void end_crashed(struct world *crashed) {
    (void)close_world(crashed);
    momi_batch_free(&crashed->batch);
    scratch_remove(crashed->path);
}

static void expect_lost(struct world *crashed, enum momi_store_found found) {
    for (int attempt = 0; attempt < 2; attempt++) { /* looking changes nothing */
        CHECK_ERR(open_world(crashed), MOM_CORRUPT);
        CHECK_EQ(crashed->report.found, found);
        CHECK(mom_last_error_text()[0] != '\0');
    }
    end_crashed(crashed);
}

static void expect_recovered(struct world *crashed, uint64_t number) {
    CHECK_OK(open_world(crashed));
    CHECK_EQ(crashed->report.found, MOMI_STORE_RECOVERED);
    CHECK_EQ(crashed->report.number, number);
    char key[24];
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)number);
    expect(crashed, MOMI_FAMILY_LOG, key,
           "a value of some length, to have bytes to tear");
    /* It can be written to, closed and opened again. */
    CHECK_OK(put_one(crashed, "after", "1", MOMI_SYNC_YES));
    CHECK_OK(close_world(crashed));
    CHECK_OK(open_world(crashed));
    CHECK_EQ(crashed->report.found, MOMI_STORE_CLEAN);
    CHECK_EQ(crashed->report.number, number + 1);
    expect(crashed, MOMI_FAMILY_LOG, "after", "1");
    end_crashed(crashed);
}

static void reopening_finds_everything(void **state) {
    struct world *world = *state;
    CHECK_EQ(world->report.found, MOMI_STORE_FRESH);
    CHECK_EQ(world->report.number, 0);
    CHECK_OK(put_one(world, "a", "1", MOMI_SYNC_YES));
    CHECK_OK(put_one(world, "b", "1", MOMI_SYNC_NO));
    CHECK_OK(close_world(world));
    CHECK_OK(open_world(world));
    CHECK_EQ(world->report.found, MOMI_STORE_CLEAN);
    CHECK_EQ(world->report.number, 2);
    CHECK_EQ(world->report.mark, 2);
    expect_list(world, NULL, MOMI_FAMILY_LOG, "", "", "a=1 b=1 ");
    put(world, MOMI_FAMILY_LOG, "c", "1");
    world->batch.number = 2; /* numbers go on across lives */
    CHECK_ERR(momi_store_write(world->store, &world->batch, MOMI_SYNC_NO), MOM_INVALID);
    CHECK_OK(write_batch(world, MOMI_SYNC_NO));
    CHECK_OK(close_world(world));
    CHECK_OK(open_world(world));
    expect_list(world, NULL, MOMI_FAMILY_LOG, "", "", "a=1 b=1 c=1 ");
}

static void opening_often_leaves_nothing_behind(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < 3; i++) {
        char leftover[SCRATCH_PATH_BYTES];
        CHECK_OK(put_one(world, "a", "1", MOMI_SYNC_YES));
        CHECK_OK(close_world(world));
        CHECK_OK(open_world(world));
        CHECK(!scratch_first(leftover, world->db, ".dbtmp"));
    }
}

static void crash_before_the_first_batch_is_recovered(void **state) {
    struct world *world = *state;
    struct world crashed;
    crash(world, &crashed);
    CHECK_OK(open_world(&crashed));
    CHECK_EQ(crashed.report.found, MOMI_STORE_RECOVERED);
    CHECK_EQ(crashed.report.number, 0);
    end_crashed(&crashed);
}

static void crash_keeps_what_was_synced(void **state) {
    struct world *world = *state;
    size_t sizes[11];
    char wal[SCRATCH_PATH_BYTES];
    write_ten(world, sizes, wal);
    struct world crashed;
    crash(world, &crashed);
    expect_recovered(&crashed, 10);
}

static void half_made_database_is_made_again(void **state) {
    struct world *world = *state;
    CHECK_OK(close_world(world));
    scratch_remove(world->path);
    CHECK_OK(momi_datadir_open(world->path, &world->dir));
    momi_datadir_close(world->dir);
    world->dir = NULL;
    struct world crashed;
    crash(world, &crashed);
    char leftover[SCRATCH_PATH_BYTES];
    CHECK_EQ(mkdir(crashed.db, 0700), 0);
    scratch_join(leftover, crashed.db, "MANIFEST-000001");
    scratch_write(leftover, "half", 4);
    CHECK_OK(open_world(&crashed));
    CHECK_EQ(crashed.report.found, MOMI_STORE_FRESH);
    end_crashed(&crashed);
    CHECK_OK(open_world(world));
    CHECK_EQ(world->report.found, MOMI_STORE_FRESH);
}

static void torn_unsynced_tail_is_recovered(void **state) {
    struct world *world = *state;
    size_t sizes[11];
    char wal[SCRATCH_PATH_BYTES];
    struct world crashed;
    write_ten(world, sizes, wal);
    CHECK_OK(
        put_one(world, "11", "never synced, so nobody was promised it", MOMI_SYNC_NO));
    crash(world, &crashed); /* whole */
    CHECK_OK(open_world(&crashed));
    CHECK_EQ(crashed.report.found, MOMI_STORE_RECOVERED);
    CHECK_EQ(crashed.report.number, 11);
    CHECK_EQ(crashed.report.mark, 10);
    end_crashed(&crashed);

    crash(world, &crashed); /* short */
    scratch_truncate(wal, scratch_size(wal) - 5);
    expect_recovered(&crashed, 10);

    crash(world, &crashed); /* at full length, its end zero */
    size_t size = scratch_size(wal);
    CHECK(size > sizes[10] + 20);
    scratch_zero(wal, size - 20, 20);
    expect_recovered(&crashed, 10);

    crash(world, &crashed); /* at full length, all zero */
    scratch_zero(wal, sizes[10], size - sizes[10]);
    expect_recovered(&crashed, 10);

    crash(world, &crashed); /* at full length, rubbish */
    scratch_damage(wal, sizes[10], size - sizes[10]);
    expect_recovered(&crashed, 10);
}

static void cut_at_a_record_boundary_is_lost_promises(void **state) {
    struct world *world = *state;
    size_t sizes[11];
    char wal[SCRATCH_PATH_BYTES];
    struct world crashed;
    write_ten(world, sizes, wal);
    for (size_t kept = 1; kept < 10; kept += 4) {
        crash(world, &crashed);
        scratch_truncate(wal, sizes[kept]);
        expect_lost(&crashed, MOMI_STORE_LOST_PROMISES);
    }
}

static void removed_write_ahead_log_is_lost_promises(void **state) {
    struct world *world = *state;
    size_t sizes[11];
    char wal[SCRATCH_PATH_BYTES];
    struct world crashed;
    write_ten(world, sizes, wal);
    crash(world, &crashed);
    CHECK_EQ(unlink(wal), 0);
    expect_lost(&crashed, MOMI_STORE_LOST_PROMISES);
}

static void damaged_synced_record_is_lost_promises(void **state) {
    struct world *world = *state;
    size_t sizes[11];
    char wal[SCRATCH_PATH_BYTES];
    struct world crashed;
    write_ten(world, sizes, wal);
    crash(world, &crashed);
    scratch_damage(wal, sizes[4] + 20, 1);
    expect_lost(&crashed, MOMI_STORE_LOST_PROMISES);
}

static void removed_older_write_ahead_log_is_lost_promises(void **state) {
    struct world *world = *state;
    CHECK_OK(close_world(world));
    world->options.memtable_bytes =
        64 * 1024; /* so that the write-ahead log changes soon */
    CHECK_OK(open_world(world));
    put(world, MOMI_FAMILY_STATE, "kept", "in the first write-ahead log only");
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    char first[SCRATCH_PATH_BYTES];
    char last[SCRATCH_PATH_BYTES];
    CHECK(scratch_last(first, world->db, ".log"));
    char value[8192];
    memset(value, 'x', sizeof value);
    for (size_t i = 0; i < 64; i++) {
        uint8_t key[2] = {'k', (uint8_t)i};
        momi_batch_put(&world->batch, MOMI_FAMILY_LOG, momi_slice(key, 2),
                       momi_slice(value, sizeof value));
        CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    }
    CHECK(scratch_last(last, world->db, ".log"));
    CHECK(strcmp(first, last) != 0);
    struct world crashed;
    crash(world, &crashed);
    char removed[SCRATCH_PATH_BYTES];
    scratch_join(removed, crashed.db, strrchr(first, '/') + 1);
    CHECK_EQ(unlink(removed), 0);
    expect_lost(&crashed, MOMI_STORE_LOST_PROMISES);
}

static void missing_parts_of_the_database_are_lost_promises(void **state) {
    struct world *world = *state;
    struct world crashed;
    CHECK_OK(put_one(world, "a", "1", MOMI_SYNC_YES));
    CHECK_OK(close_world(world));
    CHECK_OK(open_world(world)); /* recovery has written a table */
    CHECK_OK(close_world(world));
    const char *const endings[] = {"CURRENT", ".sst"};
    for (size_t i = 0; i < 2; i++) {
        crash(world, &crashed);
        char part[SCRATCH_PATH_BYTES];
        if (i == 0) {
            scratch_join(part, crashed.db, endings[i]);
        } else {
            CHECK(scratch_first(part, crashed.db, endings[i]));
        }
        CHECK_EQ(unlink(part), 0);
        expect_lost(&crashed, MOMI_STORE_LOST_PROMISES);
    }
    crash(world, &crashed); /* all of it: never created again under the old name */
    scratch_remove(crashed.db);
    expect_lost(&crashed, MOMI_STORE_LOST_PROMISES);
    CHECK_OK(open_world(world));
    CHECK_EQ(world->report.found, MOMI_STORE_CLEAN);
}

static void mark_ahead_of_the_database_is_lost_promises(void **state) {
    struct world *world = *state;
    struct world crashed;
    CHECK_OK(put_one(world, "a", "1", MOMI_SYNC_YES));
    crash(world, &crashed);
    CHECK_OK(put_one(world, "b", "1", MOMI_SYNC_YES));
    /* The older database beside the newer mark: a restored copy. */
    char newer[SCRATCH_PATH_BYTES];
    char mark[SCRATCH_PATH_BYTES];
    scratch_join(newer, world->base, "newer");
    scratch_remove(newer);
    scratch_copy(world->path, newer);
    char source[SCRATCH_PATH_BYTES];
    scratch_join(source, newer, "mark");
    scratch_join(mark, crashed.path, "mark");
    CHECK_EQ(rename(source, mark), 0);
    scratch_remove(newer);
    expect_lost(&crashed, MOMI_STORE_LOST_PROMISES);
}

static void damaged_mark_is_corrupt(void **state) {
    struct world *world = *state;
    struct world crashed;
    char mark[SCRATCH_PATH_BYTES];
    CHECK_OK(put_one(world, "1", "a value of some length, to have bytes to tear",
                     MOMI_SYNC_YES));
    crash(world, &crashed); /* one slot: the other one serves */
    scratch_join(mark, crashed.path, "mark");
    scratch_damage(mark, 20, 1);
    expect_recovered(&crashed, 1);
    crash(world, &crashed);
    scratch_damage(mark, 4096 + 20, 1);
    expect_recovered(&crashed, 1);
    crash(world, &crashed);
    scratch_damage(mark, 20, 1);
    scratch_damage(mark, 4096 + 20, 1);
    expect_lost(&crashed, MOMI_STORE_CORRUPT);
    crash(world, &crashed);
    scratch_truncate(mark, 0);
    expect_lost(&crashed, MOMI_STORE_CORRUPT);
    crash(world, &crashed);
    CHECK_EQ(unlink(mark), 0);
    expect_lost(&crashed, MOMI_STORE_CORRUPT);
}

static void damaged_block_is_never_served(void **state) {
    struct world *world = *state;
    char value[1024];
    memset(value, 'v', sizeof value);
    for (size_t i = 0; i < 64; i++) {
        uint8_t key[2] = {'k', (uint8_t)(1 + i)};
        momi_batch_put(&world->batch, MOMI_FAMILY_LOG, momi_slice(key, 2),
                       momi_slice(value, sizeof value));
    }
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    CHECK_OK(close_world(world));
    CHECK_OK(open_world(world)); /* recovery has written a table */
    CHECK_OK(close_world(world));
    char table[SCRATCH_PATH_BYTES];
    CHECK(scratch_first(table, world->db, ".sst"));
    CHECK(scratch_size(table) > 32 * 1024);
    scratch_damage(table, 100, 1);
    CHECK_OK(open_world(world));
    uint8_t first[2] = {'k', 1};
    uint8_t last[2] = {'k', 64};
    struct momi_buf *found = NULL;
    CHECK_ERR(momi_store_get(world->store, MOMI_FAMILY_LOG, momi_slice(first, 2), &found),
              MOM_CORRUPT);
    CHECK_OK(momi_store_get(world->store, MOMI_FAMILY_LOG, momi_slice(last, 2), &found));
    momi_buf_release(found);
    struct listing listing = {0};
    CHECK_ERR(momi_store_scan(world->store, NULL, MOMI_FAMILY_LOG, text(""), text(""),
                              list_one, &listing),
              MOM_CORRUPT);
    /* The damage costs the entry: what is written over it is served again (rule E7). */
    momi_batch_put(&world->batch, MOMI_FAMILY_LOG, momi_slice(first, 2),
                   text("repaired"));
    CHECK_OK(write_batch(world, MOMI_SYNC_YES));
    CHECK_OK(momi_store_get(world->store, MOMI_FAMILY_LOG, momi_slice(first, 2), &found));
    CHECK(momi_slice_equal(momi_buf_slice(found), text("repaired")));
    momi_buf_release(found);
}

/* ---- Durable ones: children ---- */

static int open_in_child(struct world *world, const char *path) {
    *world = (struct world){.is_durable = true};
    (void)snprintf(world->path, sizeof world->path, "%s", path);
    return open_world(world);
}

static void log_key(uint8_t key[12], uint64_t index) {
    for (size_t i = 0; i < 12; i++) {
        key[i] = i < 8 + 4 && i >= 4 ? (uint8_t)(index >> (8 * (11 - i))) : 0;
    }
}

/* Writes for ever, every third batch synced; prints the number of each batch whose sync
 * returned. */
static int writer_main(const char *path) {
    struct world world;
    if (open_in_child(&world, path) != 0) {
        return 1;
    }
    char value[700];
    memset(value, 'w', sizeof value);
    for (;;) {
        uint8_t key[12];
        log_key(key, world.number + 1);
        momi_batch_put(&world.batch, MOMI_FAMILY_LOG, momi_slice(key, sizeof key),
                       momi_slice(value, sizeof value));
        enum momi_sync sync = world.number % 3 == 0 ? MOMI_SYNC_YES : MOMI_SYNC_NO;
        if (write_batch(&world, sync) != 0) {
            return 2;
        }
        if (sync == MOMI_SYNC_YES &&
            write(STDOUT_FILENO, &world.number, sizeof world.number) !=
                (ssize_t)sizeof world.number) {
            return 3;
        }
    }
}

static void killed_writer_keeps_every_synced_batch(void **state) {
    struct world *world = *state;
    CHECK_OK(close_world(world));
    for (unsigned round = 1; round <= KILLS_COUNT; round++) {
        int out_fd = -1;
        pid_t child = scratch_spawn("writer", world->path, &out_fd);
        uint64_t synced = 0;
        for (unsigned acks = 0; acks < 1 + round * 7 % 40; acks++) {
            CHECK(scratch_read_u64(out_fd, &synced));
        }
        CHECK_EQ(kill(child, SIGKILL), 0);
        while (scratch_read_u64(out_fd, &synced)) {
        }
        close(out_fd);
        CHECK(scratch_wait(child) == -SIGKILL);
        CHECK_OK(open_world(world));
        CHECK_EQ(world->report.found, MOMI_STORE_RECOVERED);
        CHECK(world->report.number >= synced);
        CHECK(world->report.mark >= synced);
        for (uint64_t number = 1; number <= world->report.number; number++) {
            uint8_t key[12];
            struct momi_buf *found = NULL;
            log_key(key, number);
            CHECK_OK(momi_store_get(world->store, MOMI_FAMILY_LOG,
                                    momi_slice(key, sizeof key), &found));
            CHECK_EQ(found->size, 700);
            momi_buf_release(found);
        }
        CHECK_OK(close_world(world));
    }
}

/* A disk that refuses: the limit on the size of files stands in for it. 0 if all is as it
 * should be. */
static int limited_main(const char *path) {
    struct world world;
    char wal[SCRATCH_PATH_BYTES];
    char value[4096];
    memset(value, 'l', sizeof value);
    signal(SIGXFSZ, SIG_IGN);
    if (open_in_child(&world, path) != 0 ||
        put_one(&world, "a", "1", MOMI_SYNC_YES) != 0) {
        return 1;
    }
    scratch_join(world.db, world.path, "db");
    if (!scratch_last(wal, world.db, ".log")) {
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = scratch_size(wal) + 10000;
    setrlimit(RLIMIT_FSIZE, &limit);
    int error = 0;
    uint64_t synced = 0;
    for (size_t i = 0; i < 100 && error == 0; i++) {
        uint8_t key[12];
        log_key(key, i);
        momi_batch_put(&world.batch, MOMI_FAMILY_STATE, momi_slice(key, sizeof key),
                       momi_slice(value, sizeof value));
        error = write_batch(&world, MOMI_SYNC_YES);
        synced = error == 0 ? world.number : synced;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
    bool is_final = error == MOM_IO && momi_store_is_stopped(world.store) &&
                    put_one(&world, "b", "1", MOMI_SYNC_NO) == MOM_IO &&
                    momi_store_flush(world.store) == MOM_IO &&
                    momi_store_idle(world.store) == MOM_IO;
    struct momi_buf *found = NULL;
    bool is_read = momi_store_get(world.store, MOMI_FAMILY_LOG, text("a"), &found) == 0;
    momi_buf_release(found);
    momi_batch_free(&world.batch);
    (void)close_world(&world); /* of a stopped store: only lets go */
    bool is_told = write(STDOUT_FILENO, &synced, sizeof synced) == (ssize_t)sizeof synced;
    return is_final && is_read && is_told ? 0 : 3;
}

static void failed_write_is_final(void **state) {
    struct world *world = *state;
    CHECK_OK(close_world(world));
    int out_fd = -1;
    pid_t child = scratch_spawn("limited", world->path, &out_fd);
    uint64_t synced = 0;
    CHECK(scratch_read_u64(out_fd, &synced));
    close(out_fd);
    CHECK_EQ(scratch_wait(child), 0);
    CHECK_OK(open_world(world));
    CHECK_EQ(world->report.found, MOMI_STORE_RECOVERED);
    CHECK(world->report.number >= synced);
    CHECK_OK(put_one(world, "b", "1", MOMI_SYNC_YES));
}

static void second_opening_is_refused(void **state) {
    struct world *world = *state;
    struct momi_store *second = NULL;
    struct momi_store_report report;
    CHECK_ERR(momi_store_open_rocksdb(&second, world->path, NULL, &report), MOM_IO);
    CHECK_EQ(report.found, MOMI_STORE_NOT_OPENED);
    CHECK(second == NULL);
    CHECK_ERR(momi_store_open_rocksdb(&second, "/nonexistent", NULL, &report), MOM_IO);
    CHECK_OK(put_one(world, "a", "1", MOMI_SYNC_YES));
}

#define CONTRACT(test, set_up_fn)                                                        \
    cmocka_unit_test_setup_teardown(test, set_up_fn, tear_down)
#define EVERY_STORE(set_up_fn)                                                           \
    CONTRACT(get_returns_what_was_put, set_up_fn),                                       \
        CONTRACT(values_go_in_by_reference, set_up_fn),                                  \
        CONTRACT(operations_of_a_batch_act_in_order, set_up_fn),                         \
        CONTRACT(deletes_take_away, set_up_fn),                                          \
        CONTRACT(scan_keeps_order_and_bounds, set_up_fn),                                \
        CONTRACT(keys_order_as_unsigned_bytes, set_up_fn),                               \
        CONTRACT(the_stores_own_key_is_hidden, set_up_fn),                               \
        CONTRACT(snapshot_does_not_see_later_writes, set_up_fn),                         \
        CONTRACT(scan_sees_one_state_while_others_write, set_up_fn),                     \
        CONTRACT(numbers_must_rise, set_up_fn), CONTRACT(counters_count, set_up_fn),     \
        CONTRACT(many_keys_agree_with_a_naive_table, set_up_fn)
#define DURABLE(test) CONTRACT(test, set_up_rocksdb)

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "writer") == 0) {
        return writer_main(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "limited") == 0) {
        return limited_main(argv[2]);
    }
    const struct CMUnitTest in_memory[] = {
        EVERY_STORE(set_up_memory),
        TEST(failed_allocation_leaves_the_batch_whole_or_undone),
        TEST(batch_that_runs_out_of_memory_says_so),
    };
    const struct CMUnitTest on_disk[] = {
        EVERY_STORE(set_up_rocksdb),
        DURABLE(opening_survives_every_failed_allocation),
        DURABLE(reopening_finds_everything),
        DURABLE(opening_often_leaves_nothing_behind),
        DURABLE(crash_before_the_first_batch_is_recovered),
        DURABLE(crash_keeps_what_was_synced),
        DURABLE(half_made_database_is_made_again),
        DURABLE(torn_unsynced_tail_is_recovered),
        DURABLE(cut_at_a_record_boundary_is_lost_promises),
        DURABLE(removed_write_ahead_log_is_lost_promises),
        DURABLE(damaged_synced_record_is_lost_promises),
        DURABLE(removed_older_write_ahead_log_is_lost_promises),
        DURABLE(missing_parts_of_the_database_are_lost_promises),
        DURABLE(mark_ahead_of_the_database_is_lost_promises),
        DURABLE(damaged_mark_is_corrupt),
        DURABLE(damaged_block_is_never_served),
        DURABLE(killed_writer_keeps_every_synced_batch),
        DURABLE(failed_write_is_final),
        DURABLE(second_opening_is_refused),
    };
    int failures = cmocka_run_group_tests_name("memory", in_memory, NULL, NULL);
    return failures + cmocka_run_group_tests_name("rocksdb", on_disk, NULL, NULL);
}
