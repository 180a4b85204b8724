/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share: a store with its directory, and words for writing
 * and looking. */
#ifndef MOM_TESTS_STORE_WORLD_H
#define MOM_TESTS_STORE_WORLD_H

#include "t.h"

#include <mom/error.h>

#include "contract/scratch.h"
#include "port/datadir.h"
#include "port/store.h"

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

static inline int open_directory(struct world *world) {
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

static inline int open_world(struct world *world) {
    return world->is_durable ? open_directory(world)
                             : momi_store_open_memory(&world->store);
}

static inline int close_world(struct world *world) {
    int error = momi_store_close(world->store);
    momi_datadir_close(world->dir);
    world->store = NULL;
    world->dir = NULL;
    return error;
}

static inline int set_up(void **state, bool is_durable) {
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

static inline int set_up_memory(void **state) { return set_up(state, false); }
static inline int set_up_rocksdb(void **state) { return set_up(state, true); }

static inline int tear_down(void **state) {
    struct world *world = *state;
    (void)close_world(world);
    momi_batch_free(&world->batch);
    if (world->is_durable) {
        scratch_remove(world->base);
    }
    free(world);
    return 0;
}

static inline struct momi_slice text(const char *string) {
    return momi_slice_str(string);
}

static inline void put(struct world *world, enum momi_family family, const char *key,
                       const char *value) {
    momi_batch_put(&world->batch, family, text(key), text(value));
}

static inline int write_batch(struct world *world, enum momi_sync sync) {
    world->batch.number = ++world->number;
    int error = momi_store_write(world->store, &world->batch, sync);
    momi_batch_clear(&world->batch);
    return error;
}

static inline int put_one(struct world *world, const char *key, const char *value,
                          enum momi_sync sync) {
    put(world, MOMI_FAMILY_LOG, key, value);
    return write_batch(world, sync);
}

static inline void expect(struct world *world, enum momi_family family, const char *key,
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

static inline bool list_one(struct momi_slice key, struct momi_slice value, void *user) {
    struct listing *listing = user;
    listing->size += (size_t)snprintf(
        listing->text + listing->size, sizeof listing->text - listing->size, "%.*s=%.*s ",
        (int)key.size, (const char *)key.data, (int)value.size, (const char *)value.data);
    CHECK(listing->size < sizeof listing->text);
    listing->count++;
    return listing->limit == 0 || listing->count < listing->limit;
}

static inline void expect_list(struct world *world,
                               const struct momi_store_snapshot *snapshot,
                               enum momi_family family, const char *from, const char *to,
                               const char *list) {
    struct listing listing = {0};
    CHECK_OK(momi_store_scan(world->store, snapshot, family, text(from), text(to),
                             list_one, &listing));
    CHECK_STR(listing.text, list);
}

#define STORE_TEST(test, set_up_fn)                                                      \
    cmocka_unit_test_setup_teardown(test, set_up_fn, tear_down)

#endif
