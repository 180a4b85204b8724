/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store in memory: for memory meshes and tests. See store.h for the contract.
 *
 * One skip list per family (Pugh, "Skip lists: a probabilistic alternative to balanced
 * trees", 1990) holds versions, ordered by key and, within a key, newest first. A version
 * is visible to a reader at position p if born <= p < died. A delete only sets `died`, so
 * a write allocates for puts alone: all of them before the first change, which makes it
 * atomic. A version that died is unlinked at once when no snapshot is open, otherwise it
 * waits in the list of the dead until the oldest snapshot has passed it.
 *
 * A mutex guards everything; it is never held while a visitor runs: a scan takes a short
 * lock per step and finds its place again by key, with a snapshot of its own.
 */
#include "port/store.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/rng.h"

enum { LEVELS_MAX = 16 };
static const uint64_t alive = UINT64_MAX;

struct version {
    struct momi_list dead_link; /* store.dead while died and still linked in */
    struct version *chain;      /* of the versions prepared for a write */
    uint64_t born;
    uint64_t died; /* `alive`, or the position of the delete or of the next put */
    struct momi_buf *value;
    uint16_t key_size;
    uint8_t family;
    uint8_t levels;
    struct version *next[]; /* `levels` of them, then the key */
};

struct momi_store_snapshot {
    struct momi_list link; /* store.snapshots */
    uint64_t position;
};

struct memory {
    struct momi_store store; /* first */
    pthread_mutex_t mutex;
    uint64_t position;                                      /* of the last operation */
    struct version *first[MOMI_FAMILIES_COUNT][LEVELS_MAX]; /* heads of the skip lists */
    struct momi_list dead;      /* of struct version by dead_link, in order of `died` */
    struct momi_list snapshots; /* of struct momi_store_snapshot by link, oldest first */
    struct momi_rng rng;        /* journal thread; levels only, no result depends on it */
};

static struct memory *memory_of(struct momi_store *store) {
    return (struct memory *)(void *)store;
}

static struct momi_slice key_of(const struct version *version) {
    return momi_slice(&version->next[version->levels], version->key_size);
}

static struct version *version_new(struct memory *memory,
                                   const struct momi_batch_view *op) {
    uint8_t levels = 1;
    while (levels < LEVELS_MAX && momi_rng_between(&memory->rng, 0, 3) == 0) {
        levels++;
    }
    struct version *version = NULL;
    size_t links_bytes = levels * sizeof(struct version *);
    version = momi_alloc(sizeof *version + links_bytes + op->key.size);
    if (version == NULL) {
        return NULL;
    }
    version->value = op->buf != NULL ? momi_buf_ref(op->buf) : momi_buf_copy(op->value);
    if (version->value == NULL) {
        momi_free(version);
        return NULL;
    }
    momi_list_init(&version->dead_link);
    version->chain = NULL;
    version->died = alive;
    version->key_size = (uint16_t)op->key.size;
    version->family = (uint8_t)op->family;
    version->levels = levels;
    memcpy(&version->next[levels], op->key.data, op->key.size);
    return version;
}

static void version_free(struct version *version) {
    momi_buf_release(version->value);
    momi_free(version);
}

/* ---- Skip list; the mutex is held ---- */

/* Is `version` before (key, born)? Newer versions of a key come first. */
static bool is_before(const struct version *version, struct momi_slice key,
                      uint64_t born) {
    int order = momi_slice_compare(key_of(version), key);
    return order < 0 || (order == 0 && version->born > born);
}

/* The first version that is not before (key, born). `links` gets, per level, the pointer
 * to it. */
static struct version *seek(struct memory *memory, enum momi_family family,
                            struct momi_slice key, uint64_t born,
                            struct version **links[LEVELS_MAX]) {
    struct version **row = memory->first[family];
    for (size_t level = LEVELS_MAX; level-- > 0;) {
        while (row[level] != NULL && is_before(row[level], key, born)) {
            row = row[level]->next;
        }
        links[level] = &row[level];
    }
    return row[0];
}

static void unlink_version(struct memory *memory, struct version *version) {
    struct version **links[LEVELS_MAX];
    struct version *found = seek(memory, (enum momi_family)version->family,
                                 key_of(version), version->born, links);
    MOMI_ASSERT(found == version);
    for (size_t level = 0; level < version->levels; level++) {
        *links[level] = version->next[level];
    }
    momi_list_remove(&version->dead_link);
    version_free(version);
}

static void link_version(struct memory *memory, struct version *version, uint64_t born) {
    struct version **links[LEVELS_MAX];
    version->born = born;
    (void)seek(memory, (enum momi_family)version->family, key_of(version), born, links);
    for (size_t level = 0; level < version->levels; level++) {
        version->next[level] = *links[level];
        *links[level] = version;
    }
}

/* The first visible version from `key` on, below `to` (empty: no end). */
static struct version *find(struct memory *memory, enum momi_family family,
                            struct momi_slice key, struct momi_slice to,
                            uint64_t position) {
    struct version **links[LEVELS_MAX];
    struct version *version = seek(memory, family, key, UINT64_MAX, links);
    while (version != NULL && (position < version->born || position >= version->died)) {
        version = version->next[0];
    }
    if (version != NULL && to.size > 0 && momi_slice_compare(key_of(version), to) >= 0) {
        return NULL;
    }
    return version;
}

/* The live version of exactly this key. */
static struct version *find_live(struct memory *memory, enum momi_family family,
                                 struct momi_slice key) {
    struct version **links[LEVELS_MAX];
    struct version *version = seek(memory, family, key, UINT64_MAX, links);
    /* The newest version of a key is the only one that can be alive. */
    bool is_live = version != NULL && momi_slice_equal(key_of(version), key) &&
                   version->died == alive;
    return is_live ? version : NULL;
}

static void bury(struct memory *memory, struct version *version, uint64_t died) {
    version->died = died;
    momi_list_push_back(&memory->dead, &version->dead_link);
}

/* Frees the dead that no snapshot can see any more. */
static void sweep(struct memory *memory) {
    uint64_t oldest = UINT64_MAX;
    if (!momi_list_empty(&memory->snapshots)) {
        oldest =
            MOMI_CONTAINER_OF(memory->snapshots.next, struct momi_store_snapshot, link)
                ->position;
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &memory->dead) {
        struct version *version = MOMI_CONTAINER_OF(link, struct version, dead_link);
        if (version->died > oldest) {
            break;
        }
        unlink_version(memory, version);
    }
}

/* ---- Writing ---- */

static void free_chain(struct version *chain) {
    while (chain != NULL) {
        struct version *next = chain->chain;
        version_free(chain);
        chain = next;
    }
}

/* One version per put, in order. False: out of memory, nothing done. */
static bool prepare(struct memory *memory, const struct momi_batch *batch,
                    struct version **chain) {
    struct version **last = chain;
    *chain = NULL;
    size_t count = momi_batch_count(batch);
    for (size_t i = 0; i < count; i++) {
        struct momi_batch_view op = momi_batch_at(batch, i);
        if (op.kind != MOMI_BATCH_PUT) {
            continue;
        }
        *last = version_new(memory, &op);
        if (*last == NULL) {
            free_chain(*chain);
            return false;
        }
        last = &(*last)->chain;
    }
    return true;
}

static void delete_range(struct memory *memory, const struct momi_batch_view *op,
                         uint64_t position) {
    struct version **links[LEVELS_MAX];
    struct version *version = seek(memory, op->family, op->key, UINT64_MAX, links);
    while (version != NULL && momi_slice_compare(key_of(version), op->to) < 0) {
        if (version->died == alive) {
            bury(memory, version, position);
        }
        version = version->next[0];
    }
}

static void apply(struct memory *memory, const struct momi_batch *batch,
                  struct version *chain) {
    size_t count = momi_batch_count(batch);
    for (size_t i = 0; i < count; i++) {
        struct momi_batch_view op = momi_batch_at(batch, i);
        uint64_t position = ++memory->position;
        if (op.kind == MOMI_BATCH_DELETE_RANGE) {
            delete_range(memory, &op, position);
            continue;
        }
        struct version *live = find_live(memory, op.family, op.key);
        if (live != NULL) {
            bury(memory, live, position);
        }
        if (op.kind == MOMI_BATCH_PUT) {
            struct version *next = chain->chain;
            link_version(memory, chain, position);
            chain = next;
        }
    }
    MOMI_ASSERT(chain == NULL);
    sweep(memory);
}

static int memory_write(struct momi_store *store, const struct momi_batch *batch,
                        enum momi_sync sync) {
    (void)sync;
    struct memory *memory = memory_of(store);
    struct version *chain = NULL;
    if (!prepare(memory, batch, &chain)) {
        return momi_err(MOM_IO, "out of memory for a batch of %zu bytes",
                        momi_batch_bytes(batch));
    }
    pthread_mutex_lock(&memory->mutex);
    apply(memory, batch, chain);
    pthread_mutex_unlock(&memory->mutex);
    return 0;
}

static int memory_flush(struct momi_store *store) {
    (void)store;
    return 0; /* nothing survives anyway; is_durable says so */
}

static int memory_close(struct momi_store *store) {
    struct memory *memory = memory_of(store);
    MOMI_ASSERT(momi_list_empty(&memory->snapshots));
    for (size_t family = 0; family < MOMI_FAMILIES_COUNT; family++) {
        struct version *version = memory->first[family][0];
        while (version != NULL) {
            struct version *next = version->next[0];
            version_free(version);
            version = next;
        }
    }
    pthread_mutex_destroy(&memory->mutex);
    momi_free(memory);
    return 0;
}

/* ---- Reading ---- */

static int memory_get(struct momi_store *store, enum momi_family family,
                      struct momi_slice key, struct momi_buf **value) {
    struct memory *memory = memory_of(store);
    int error = MOM_NOT_FOUND;
    pthread_mutex_lock(&memory->mutex);
    struct version *version = find_live(memory, family, key);
    if (version != NULL) {
        *value = momi_buf_ref(version->value);
        error = 0;
    }
    pthread_mutex_unlock(&memory->mutex);
    return error;
}

static void enter(struct memory *memory, struct momi_store_snapshot *snapshot) {
    pthread_mutex_lock(&memory->mutex);
    snapshot->position = memory->position;
    momi_list_push_back(&memory->snapshots, &snapshot->link);
    pthread_mutex_unlock(&memory->mutex);
}

static void leave(struct memory *memory, struct momi_store_snapshot *snapshot) {
    pthread_mutex_lock(&memory->mutex);
    momi_list_remove(&snapshot->link);
    sweep(memory);
    pthread_mutex_unlock(&memory->mutex);
}

static void scan_at(struct memory *memory, uint64_t position, enum momi_family family,
                    struct momi_slice from, struct momi_slice to,
                    momi_store_scan_fn visit, void *user) {
    /* The place to go on from: the last key and a zero byte, the least key above it. */
    uint8_t place[MOMI_BATCH_KEY_BYTES_MAX + 1];
    bool goes_on = true;
    while (goes_on) {
        pthread_mutex_lock(&memory->mutex);
        struct version *version = find(memory, family, from, to, position);
        struct momi_buf *value = NULL;
        size_t key_size = 0;
        if (version != NULL) {
            value = momi_buf_ref(version->value);
            key_size = version->key_size;
            memcpy(place, key_of(version).data, key_size);
        }
        pthread_mutex_unlock(&memory->mutex);
        if (value == NULL) {
            return;
        }
        goes_on = visit(momi_slice(place, key_size), momi_buf_slice(value), user);
        momi_buf_release(value);
        place[key_size] = 0;
        from = momi_slice(place, key_size + 1);
    }
}

static int memory_scan(struct momi_store *store,
                       const struct momi_store_snapshot *snapshot,
                       enum momi_family family, struct momi_slice from,
                       struct momi_slice to, momi_store_scan_fn visit, void *user) {
    struct memory *memory = memory_of(store);
    if (snapshot != NULL) {
        scan_at(memory, snapshot->position, family, from, to, visit, user);
        return 0;
    }
    struct momi_store_snapshot own;
    enter(memory, &own);
    scan_at(memory, own.position, family, from, to, visit, user);
    leave(memory, &own);
    return 0;
}

static int memory_snapshot_open(struct momi_store *store,
                                struct momi_store_snapshot **snapshot) {
    struct momi_store_snapshot *opened = momi_alloc(sizeof *opened);
    if (opened == NULL) {
        return momi_err(MOM_NO_MEMORY, "a snapshot");
    }
    enter(memory_of(store), opened);
    *snapshot = opened;
    return 0;
}

static void memory_snapshot_close(struct momi_store *store,
                                  struct momi_store_snapshot *snapshot) {
    leave(memory_of(store), snapshot);
    momi_free(snapshot);
}

static int memory_space(struct momi_store *store, uint64_t *free_bytes,
                        uint64_t *total_bytes) {
    (void)store;
    *free_bytes = UINT64_MAX;
    *total_bytes = UINT64_MAX;
    return 0;
}

static const struct momi_store_ops memory_ops = {
    .write = memory_write,
    .flush = memory_flush,
    .idle = memory_flush,
    .close = memory_close,
    .get = memory_get,
    .scan = memory_scan,
    .snapshot_open = memory_snapshot_open,
    .snapshot_close = memory_snapshot_close,
    .space = memory_space,
    .is_durable = false,
};

int momi_store_open_memory(struct momi_store **store) {
    struct memory *memory = momi_calloc(1, sizeof *memory);
    if (memory == NULL) {
        return momi_err(MOM_NO_MEMORY, "opening the store");
    }
    if (pthread_mutex_init(&memory->mutex, NULL) != 0) {
        momi_free(memory);
        return momi_err(MOM_NO_MEMORY, "a mutex of the store");
    }
    momi_list_init(&memory->dead);
    momi_list_init(&memory->snapshots);
    momi_rng_seed(&memory->rng, 1);
    momi_store_init(&memory->store, &memory_ops, 0);
    *store = &memory->store;
    return 0;
}
