/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a durable store keeps: rule D2 against every way in which a database may come back
 * short, damage, a disk that refuses, and a writer that is killed. A copy of the
 * directory of an open store is what a crash of the process leaves.
 */
#include "contract/store_world.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KILLS_COUNT = 20 };

/* ---- How the last life ended ---- */

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

/* ---- Children ---- */

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

#define DURABLE(test) STORE_TEST(test, set_up_rocksdb)

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "writer") == 0) {
        return writer_main(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "limited") == 0) {
        return limited_main(argv[2]);
    }
    const struct CMUnitTest tests[] = {
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
    return cmocka_run_group_tests_name("store_crash", tests, NULL, NULL);
}
