/* SPDX-License-Identifier: Apache-2.0 */
/* The data directory: identity, lock, damage, setting aside; with the store where both
 * matter. */
#include "t.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mom/error.h>

#include "base/mem.h"
#include "contract/scratch.h"
#include "port/datadir.h"
#include "port/store.h"

static char base[SCRATCH_PATH_BYTES];
static char path[SCRATCH_PATH_BYTES]; /* the data directory of the test, not made yet */

static int set_up(void **state) {
    (void)state;
    scratch_make(base);
    scratch_join(path, base, "data");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    scratch_remove(base);
    return 0;
}

static struct momi_datadir *open_path(void) {
    struct momi_datadir *dir = NULL;
    CHECK_OK(momi_datadir_open(path, &dir));
    CHECK(dir != NULL);
    return dir;
}

static struct momi_datadir_identity identity_of(const struct momi_datadir *dir) {
    return *momi_datadir_identity(dir);
}

/* Opens, reads the identity, closes. */
static struct momi_datadir_identity look(void) {
    struct momi_datadir *dir = open_path();
    struct momi_datadir_identity identity = identity_of(dir);
    momi_datadir_close(dir);
    return identity;
}

static bool is_same_node(const struct momi_datadir_identity *a,
                         const struct momi_datadir_identity *b) {
    return memcmp(a->seed, b->seed, sizeof a->seed) == 0;
}

static void expect_refused(int error) {
    struct momi_datadir *dir = NULL;
    CHECK_ERR(momi_datadir_open(path, &dir), error);
    CHECK(dir == NULL);
    CHECK(mom_last_error_text()[0] != '\0');
}

static void in_dir(char out[SCRATCH_PATH_BYTES], const char *name) {
    scratch_join(out, path, name);
}

/* A store with one synced batch in the directory. */
static void fill_store(struct momi_datadir *dir) {
    struct momi_store *store = NULL;
    struct momi_store_report report;
    struct momi_batch batch = {0};
    CHECK_OK(momi_store_open_rocksdb(&store, momi_datadir_path(dir), NULL, &report));
    momi_batch_put(&batch, MOMI_FAMILY_LOG, momi_slice_str("a"), momi_slice_str("1"));
    batch.number = report.number + 1;
    CHECK_OK(momi_store_write(store, &batch, MOMI_SYNC_YES));
    momi_batch_free(&batch);
    CHECK_OK(momi_store_close(store));
}

/* ---- Identity ---- */

static void new_directory_gets_an_identity(void **state) {
    (void)state;
    struct momi_datadir *dir = open_path();
    struct momi_datadir_identity first = identity_of(dir);
    uint8_t zero[MOMI_DATADIR_SEED_BYTES] = {0};
    CHECK(first.is_new);
    CHECK_EQ(first.incarnation, 1);
    CHECK(memcmp(first.seed, zero, sizeof first.seed) != 0);
    CHECK_BYTES(first.mesh_id, zero, sizeof first.mesh_id);
    CHECK(momi_datadir_path(dir)[0] == '/');
    CHECK_EQ(momi_datadir_kept(dir), 0);
    momi_datadir_close(dir);
    struct stat status;
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0700);
    char file[SCRATCH_PATH_BYTES];
    in_dir(file, "identity");
    CHECK_EQ(stat(file, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0600);

    struct momi_datadir_identity second = look();
    CHECK(!second.is_new);
    CHECK(is_same_node(&first, &second));
    CHECK_EQ(second.incarnation, 2);
    CHECK(second.boot_nonce != first.boot_nonce);
    CHECK_EQ(look().incarnation, 3);
    momi_datadir_close(NULL);
}

static void two_directories_are_two_nodes(void **state) {
    (void)state;
    struct momi_datadir_identity first = look();
    scratch_remove(path); /* a wiped directory is a new node */
    struct momi_datadir_identity second = look();
    CHECK(!is_same_node(&first, &second));
    CHECK_EQ(second.incarnation, 1);
}

static void mesh_id_is_kept(void **state) {
    (void)state;
    uint8_t mesh_id[MOMI_DATADIR_MESH_BYTES];
    memset(mesh_id, 0xab, sizeof mesh_id);
    struct momi_datadir *dir = open_path();
    struct momi_datadir_identity first = identity_of(dir);
    CHECK_OK(momi_datadir_set_mesh_id(dir, mesh_id));
    CHECK_BYTES(momi_datadir_identity(dir)->mesh_id, mesh_id, sizeof mesh_id);
    momi_datadir_close(dir);
    struct momi_datadir_identity second = look();
    CHECK_BYTES(second.mesh_id, mesh_id, sizeof mesh_id);
    CHECK(is_same_node(&first, &second));
    CHECK_EQ(second.incarnation, 2);
}

static void damaged_identity_is_corrupt(void **state) {
    (void)state;
    char file[SCRATCH_PATH_BYTES];
    in_dir(file, "identity");
    (void)look();
    size_t size = scratch_size(file);
    for (size_t at = 0; at < size; at += 5) {
        scratch_damage(file, at, 1);
        expect_refused(MOM_CORRUPT);
        scratch_damage(file, at, 1); /* twice is undone */
    }
    CHECK_EQ(look().incarnation, 2);
    scratch_truncate(file, size - 1);
    expect_refused(MOM_CORRUPT);
    scratch_truncate(file, 0);
    expect_refused(MOM_CORRUPT);
}

static void lost_identity_is_never_made_again(void **state) {
    (void)state;
    char file[SCRATCH_PATH_BYTES];
    in_dir(file, "identity");
    struct momi_datadir *dir = open_path();
    fill_store(dir);
    momi_datadir_close(dir);
    CHECK_EQ(unlink(file), 0);
    expect_refused(MOM_CORRUPT);
    in_dir(file, "db");
    scratch_remove(file); /* the mark still tells that there was a database */
    expect_refused(MOM_CORRUPT);
}

static void foreign_directory_is_left_alone(void **state) {
    (void)state;
    char file[SCRATCH_PATH_BYTES];
    CHECK_EQ(mkdir(path, 0700), 0);
    in_dir(file, "thesis.txt");
    scratch_write(file, "years", 5);
    expect_refused(MOM_CORRUPT);
    in_dir(file, "identity");
    CHECK(!scratch_exists(file));
    in_dir(file, "thesis.txt");
    CHECK_EQ(scratch_size(file), 5);
}

static void crash_while_founding_is_repeated(void **state) {
    (void)state;
    char file[SCRATCH_PATH_BYTES];
    (void)look();
    in_dir(file, "identity"); /* the mark was made, the identity only begun */
    CHECK_EQ(unlink(file), 0);
    in_dir(file, "identity.tmp");
    scratch_write(file, "half", 4);
    struct momi_datadir_identity identity = look();
    CHECK(identity.is_new);
    CHECK_EQ(identity.incarnation, 1);
    CHECK(!scratch_exists(file));
}

/* ---- Refusals ---- */

static void missing_parent_and_file_in_the_way_are_io(void **state) {
    (void)state;
    scratch_join(path, base, "no/such/parent");
    expect_refused(MOM_IO);
    char file[SCRATCH_PATH_BYTES];
    scratch_join(file, base, "file");
    scratch_write(file, "x", 1);
    scratch_join(path, file, "data");
    expect_refused(MOM_IO);
    scratch_join(path, base, "file");
    expect_refused(MOM_IO);
}

static void unwritable_directory_is_io(void **state) {
    (void)state;
    if (geteuid() == 0) {
        scratch_join(path, "/proc",
                     "self"); /* where even the superuser creates nothing */
    } else {
        CHECK_EQ(mkdir(path, 0500), 0);
    }
    expect_refused(MOM_IO);
}

/* Holds the directory until it is killed; 1 when it could not have it. */
static int holder_main(const char *held) {
    struct momi_datadir *dir = NULL;
    if (momi_datadir_open(held, &dir) != 0) {
        return 1;
    }
    uint64_t incarnation = momi_datadir_identity(dir)->incarnation;
    if (write(STDOUT_FILENO, &incarnation, sizeof incarnation) !=
        (ssize_t)sizeof incarnation) {
        return 2;
    }
    for (;;) {
        pause();
    }
}

static void directory_in_use_names_its_process(void **state) {
    (void)state;
    int out_fd = -1;
    pid_t child = scratch_spawn("holder", path, &out_fd);
    uint64_t incarnation = 0;
    CHECK(scratch_read_u64(out_fd, &incarnation));
    CHECK_EQ(incarnation, 1);
    expect_refused(MOM_CONFLICT);
    char pid[32];
    (void)snprintf(pid, sizeof pid, "%ld", (long)child);
    CHECK(strstr(mom_last_error_text(), pid) != NULL);
    CHECK(strstr(mom_last_error_text(), "data") != NULL);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK(scratch_wait(child) == -SIGKILL);
    close(out_fd);
    CHECK_EQ(look().incarnation, 2); /* a refusal counts nothing */
}

static void second_open_in_one_process_is_refused(void **state) {
    (void)state;
    struct momi_datadir *dir = open_path();
    expect_refused(MOM_CONFLICT);
    momi_datadir_close(dir);
    CHECK_EQ(look().incarnation, 2);
}

static void forked_child_is_told(void **state) {
    (void)state;
    struct momi_datadir *dir = open_path();
    CHECK_OK(momi_datadir_check_fork(dir));
    pid_t child = fork();
    if (child == 0) {
        int error = momi_datadir_check_fork(dir);
        momi_datadir_close(dir); /* must leave the parent's lock alone */
        _exit(error == MOM_CLOSED ? 7 : 0);
    }
    CHECK(child > 0);
    CHECK_EQ(scratch_wait(child), 7);
    CHECK_OK(momi_datadir_check_fork(dir));
    expect_refused(MOM_CONFLICT);
    momi_datadir_close(dir);
}

static void every_failed_allocation_is_no_memory(void **state) {
    (void)state;
    (void)look();
    int64_t live = momi_mem_live();
    bool is_through = false;
    for (int64_t n = 0; !is_through; n++) {
        struct momi_datadir *dir = NULL;
        momi_mem_fail_after(n, false);
        int error = momi_datadir_open(path, &dir);
        momi_mem_fail_after(-1, false);
        is_through = error == 0;
        if (!is_through) {
            CHECK_ERR(error, MOM_NO_MEMORY);
        }
        momi_datadir_close(dir);
        CHECK(n < 20);
    }
    CHECK_EQ(momi_mem_live(), live);
}

/* ---- Setting aside ---- */

static uint8_t mesh_of_test[MOMI_DATADIR_MESH_BYTES];

/* A directory with a mesh and a store, still open. */
static struct momi_datadir *make_full(struct momi_datadir_identity *identity) {
    struct momi_datadir *dir = open_path();
    memset(mesh_of_test, 0x3c, sizeof mesh_of_test);
    CHECK_OK(momi_datadir_set_mesh_id(dir, mesh_of_test));
    fill_store(dir);
    *identity = identity_of(dir);
    return dir;
}

/* It is another node of the same mesh, with an empty store. */
static void expect_new_node(struct momi_datadir *dir,
                            const struct momi_datadir_identity *old) {
    struct momi_datadir_identity now = identity_of(dir);
    CHECK(!is_same_node(old, &now));
    CHECK_BYTES(now.mesh_id, mesh_of_test, sizeof mesh_of_test);
    CHECK_EQ(momi_datadir_kept(dir), 1);
    struct momi_store *store = NULL;
    struct momi_store_report report;
    CHECK_OK(momi_store_open_rocksdb(&store, momi_datadir_path(dir), NULL, &report));
    CHECK_EQ(report.found, MOMI_STORE_FRESH);
    CHECK_OK(momi_store_close(store));
}

/* The kept directory is whole: it opens as the old node, with its data. */
static void expect_kept(const struct momi_datadir_identity *old) {
    char kept[SCRATCH_PATH_BYTES];
    in_dir(kept, "kept-1");
    struct momi_datadir *dir = NULL;
    CHECK_OK(momi_datadir_open(kept, &dir));
    struct momi_datadir_identity identity = identity_of(dir);
    CHECK(is_same_node(old, &identity));
    struct momi_store *store = NULL;
    struct momi_store_report report;
    CHECK_OK(momi_store_open_rocksdb(&store, momi_datadir_path(dir), NULL, &report));
    CHECK_EQ(report.found, MOMI_STORE_CLEAN);
    CHECK_EQ(report.number, 1);
    CHECK_OK(momi_store_close(store));
    momi_datadir_close(dir);
}

static void set_aside_makes_another_node(void **state) {
    (void)state;
    struct momi_datadir_identity old;
    struct momi_datadir *dir = make_full(&old);
    CHECK_OK(momi_datadir_set_aside(dir));
    CHECK(identity_of(dir).is_new);
    CHECK_EQ(identity_of(dir).incarnation, 1);
    expect_new_node(dir, &old);
    struct momi_datadir_identity between = identity_of(dir);
    momi_datadir_close(dir);
    struct momi_datadir_identity reopened = look();
    CHECK(is_same_node(&between, &reopened));
    CHECK_EQ(reopened.incarnation, 2);
    expect_kept(&old);
    dir = open_path();
    CHECK_OK(momi_datadir_set_aside(dir)); /* again */
    CHECK_EQ(momi_datadir_kept(dir), 2);
    momi_datadir_close(dir);
}

static void crash_while_setting_aside_is_finished(void **state) {
    (void)state;
    static const char *const moved[] = {"db", "mark", "identity"};
    /* After the directory was made, and after each further step. */
    for (size_t steps = 0; steps <= 3; steps++) {
        struct momi_datadir_identity old;
        struct momi_datadir *dir = make_full(&old);
        momi_datadir_close(dir);
        char kept[SCRATCH_PATH_BYTES];
        in_dir(kept, "kept-1");
        CHECK_EQ(mkdir(kept, 0700), 0);
        for (size_t i = 0; i < steps; i++) {
            char from[SCRATCH_PATH_BYTES];
            char to[SCRATCH_PATH_BYTES];
            in_dir(from, moved[i]);
            scratch_join(to, kept, moved[i]);
            CHECK_EQ(i < 2 ? rename(from, to) : link(from, to), 0);
        }
        dir = open_path();
        expect_new_node(dir, &old);
        momi_datadir_close(dir);
        struct momi_datadir_identity first = look();
        struct momi_datadir_identity second = look();
        CHECK(is_same_node(&first, &second)); /* finished once */
        expect_kept(&old);
        scratch_remove(path);
    }
}

#define DATADIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "holder") == 0) {
        return holder_main(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        DATADIR(new_directory_gets_an_identity),
        DATADIR(two_directories_are_two_nodes),
        DATADIR(mesh_id_is_kept),
        DATADIR(damaged_identity_is_corrupt),
        DATADIR(lost_identity_is_never_made_again),
        DATADIR(foreign_directory_is_left_alone),
        DATADIR(crash_while_founding_is_repeated),
        DATADIR(missing_parent_and_file_in_the_way_are_io),
        DATADIR(unwritable_directory_is_io),
        DATADIR(directory_in_use_names_its_process),
        DATADIR(second_open_in_one_process_is_refused),
        DATADIR(forked_child_is_told),
        DATADIR(every_failed_allocation_is_no_memory),
        DATADIR(set_aside_makes_another_node),
        DATADIR(crash_while_setting_aside_is_finished),
    };
    return cmocka_run_group_tests_name("datadir", tests, NULL, NULL);
}
