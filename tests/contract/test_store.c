/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of the store port, over every implementation. What only a durable one can
 * show is in test_store_crash.c. */
#include "contract/store_world.h"

#include "base/mem.h"
#include "base/pack.h"

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

#define EVERY_STORE(set_up_fn)                                                           \
    STORE_TEST(get_returns_what_was_put, set_up_fn),                                     \
        STORE_TEST(values_go_in_by_reference, set_up_fn),                                \
        STORE_TEST(operations_of_a_batch_act_in_order, set_up_fn),                       \
        STORE_TEST(deletes_take_away, set_up_fn),                                        \
        STORE_TEST(scan_keeps_order_and_bounds, set_up_fn),                              \
        STORE_TEST(keys_order_as_unsigned_bytes, set_up_fn),                             \
        STORE_TEST(the_stores_own_key_is_hidden, set_up_fn),                             \
        STORE_TEST(snapshot_does_not_see_later_writes, set_up_fn),                       \
        STORE_TEST(scan_sees_one_state_while_others_write, set_up_fn),                   \
        STORE_TEST(numbers_must_rise, set_up_fn), STORE_TEST(counters_count, set_up_fn), \
        STORE_TEST(many_keys_agree_with_a_naive_table, set_up_fn)

int main(void) {
    const struct CMUnitTest in_memory[] = {
        EVERY_STORE(set_up_memory),
        TEST(failed_allocation_leaves_the_batch_whole_or_undone),
        TEST(batch_that_runs_out_of_memory_says_so),
    };
    const struct CMUnitTest on_disk[] = {
        EVERY_STORE(set_up_rocksdb),
        STORE_TEST(opening_survives_every_failed_allocation, set_up_rocksdb),
    };
    int failures = cmocka_run_group_tests_name("memory", in_memory, NULL, NULL);
    return failures + cmocka_run_group_tests_name("rocksdb", on_disk, NULL, NULL);
}
