/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of runs against a plain array, one element per message. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/runs.h"

enum { SPACE = 6000, RECORDS_MAX = 4096 };

struct cell {
    uint64_t index;
    uint32_t slot;
    uint32_t deliveries;
    bool is_there;
};

/* The set under test, what it should hold, and the records a store would hold. */
struct model {
    struct momi_runs runs;
    struct cell cells[SPACE];
    uint64_t messages;
    uint64_t top; /* the highest sequence ever appended */
    uint8_t *records[RECORDS_MAX];
    size_t record_sizes[RECORDS_MAX];
    size_t puts;
};

static void put_record(void *user, uint32_t block, const struct momi_slice *value) {
    struct model *model = user;
    assert_in_range(block, 0, RECORDS_MAX - 1);
    free(model->records[block]);
    model->records[block] = NULL;
    if (value != NULL) {
        assert_in_range(value->size, 1, MOMI_BLOCK_BYTES_MAX);
        model->records[block] = malloc(value->size);
        memcpy(model->records[block], value->data, value->size);
        model->record_sizes[block] = value->size;
        model->puts++;
    }
}

static void reload(struct model *model) {
    momi_runs_save(&model->runs, put_record, model);
    CHECK_EQ(momi_runs_dirty_bytes(&model->runs), 0);
    uint64_t hash = momi_runs_hash(&model->runs, 1);
    uint64_t runs = model->runs.runs;
    momi_runs_free(&model->runs);
    for (uint32_t i = RECORDS_MAX; i-- > 0;) {
        if (model->records[i] != NULL) {
            CHECK(momi_runs_load(&model->runs, i,
                                 momi_slice(model->records[i], model->record_sizes[i])));
        }
    }
    CHECK(momi_runs_loaded(&model->runs));
    CHECK_EQ(momi_runs_hash(&model->runs, 1), hash);
    CHECK_EQ(model->runs.runs, runs);
}

static void set_cells(struct model *model, const struct momi_run *run) {
    for (uint32_t i = 0; i < run->count; i++) {
        struct cell *cell = &model->cells[run->sequence + i];
        CHECK(!cell->is_there);
        *cell = (struct cell){run->index, run->slot + i, run->deliveries, true};
    }
    model->messages += run->count;
}

static void clear_cells(struct model *model, const struct momi_run *run) {
    CHECK(run->count > 0);
    for (uint32_t i = 0; i < run->count; i++) {
        struct cell *cell = &model->cells[run->sequence + i];
        CHECK(cell->is_there);
        CHECK_EQ(cell->index, run->index);
        CHECK_EQ(cell->slot, run->slot + i);
        CHECK_EQ(cell->deliveries, run->deliveries);
        cell->is_there = false;
    }
    model->messages -= run->count;
}

static void gone(void *user, const struct momi_run *run) { clear_cells(user, run); }

struct walk {
    struct model *model;
    uint64_t next;
    uint64_t messages;
};

static void compare_run(void *user, const struct momi_run *run) {
    struct walk *walk = user;
    for (; walk->next < run->sequence; walk->next++) {
        CHECK(!walk->model->cells[walk->next].is_there);
    }
    for (uint32_t i = 0; i < run->count; i++, walk->next++) {
        const struct cell *cell = &walk->model->cells[walk->next];
        CHECK(cell->is_there);
        CHECK_EQ(cell->index, run->index);
        CHECK_EQ(cell->slot, run->slot + i);
        CHECK_EQ(cell->deliveries, run->deliveries);
    }
    walk->messages += run->count;
}

static void compare(struct model *model) {
    struct walk walk = {.model = model};
    momi_runs_each(&model->runs, compare_run, &walk);
    for (; walk.next < SPACE; walk.next++) {
        CHECK(!model->cells[walk.next].is_there);
    }
    CHECK_EQ(walk.messages, model->messages);
    CHECK_EQ(model->runs.messages, model->messages);
}

static void append(struct model *model, struct momi_rng *rng, uint32_t count) {
    struct momi_run run = {.sequence = model->top + momi_rng_between(rng, 1, 2),
                           .count = count,
                           .slot = (uint32_t)momi_rng_between(rng, 0, 3),
                           .index = model->top + 1,
                           .deliveries = momi_rng_chance(rng, 100000) ? 3 : 0};
    if (run.sequence + run.count >= SPACE) {
        return;
    }
    model->top = run.sequence + run.count - 1;
    set_cells(model, &run);
    momi_runs_append(&model->runs, &run);
}

/* Puts back a piece that is not there, one message or a few. */
static void insert(struct model *model, struct momi_rng *rng) {
    if (model->top == 0) {
        return;
    }
    uint64_t from = momi_rng_between(rng, 1, model->top);
    uint32_t count = 0;
    uint64_t count_max = momi_rng_between(rng, 1, 5);
    while (count < count_max && from + count <= model->top &&
           !model->cells[from + count].is_there) {
        count++;
    }
    if (count == 0) {
        return;
    }
    struct momi_run run = {
        .sequence = from,
        .count = count,
        .slot = (uint32_t)(from % 64),
        .index = from / 64 + 1,
        .deliveries = momi_rng_chance(rng, 500000) ? 1 : 0,
    };
    set_cells(model, &run);
    momi_runs_insert(&model->runs, &run);
}

static void take(struct model *model, uint32_t count_max) {
    struct momi_run first;
    struct momi_run run;
    bool has_first = momi_runs_first(&model->runs, &first);
    CHECK_EQ(momi_runs_take(&model->runs, count_max, &run), has_first);
    if (has_first) {
        CHECK_EQ(run.sequence, first.sequence);
        CHECK(run.count <= count_max);
        for (uint64_t i = 0; i < run.sequence; i++) {
            CHECK(!model->cells[i].is_there);
        }
        clear_cells(model, &run);
    } else {
        CHECK_EQ(model->messages, 0);
    }
}

static void look(struct model *model, uint64_t sequence) {
    struct momi_run run;
    bool is_there = momi_runs_at(&model->runs, sequence, &run);
    uint64_t next = sequence;
    while (next < SPACE && !model->cells[next].is_there) {
        next++;
    }
    CHECK_EQ(is_there, next < SPACE);
    if (is_there) {
        CHECK_EQ(run.sequence, next);
        CHECK_EQ(run.slot, model->cells[next].slot);
        CHECK_EQ(run.index, model->cells[next].index);
    }
}

static void random_step(struct model *model, struct momi_rng *rng, uint32_t lean) {
    uint64_t dice = momi_rng_between(rng, 0, 99);
    if (dice < lean) {
        append(model, rng, (uint32_t)momi_rng_between(rng, 1, 3));
    } else if (dice < 70) {
        take(model, (uint32_t)momi_rng_between(rng, 1, 4));
    } else if (dice < 84) {
        insert(model, rng);
    } else if (dice < 95) {
        momi_runs_remove(&model->runs, momi_rng_between(rng, 1, SPACE),
                         momi_rng_between(rng, 1, dice == 94 ? 400 : 5), gone, model);
    } else if (dice < 98) {
        look(model, momi_rng_between(rng, 1, SPACE - 1));
    } else if (momi_rng_chance(rng, 20000)) {
        momi_runs_clear(&model->runs);
        memset(model->cells, 0, sizeof model->cells);
        model->messages = 0;
    } else if (momi_rng_chance(rng, 200000)) {
        reload(model);
    }
}

static void agrees_with_an_array(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct model *model = calloc(1, sizeof *model);
        struct momi_rng rng;
        momi_rng_seed(&rng, seed);
        momi_runs_init(&model->runs);
        uint32_t lean = 25 + (uint32_t)(seed % 4) * 12;
        for (int step = 0; step < 6000; step++) {
            random_step(model, &rng, lean);
            if (step % 97 == 0) {
                compare(model);
            }
        }
        reload(model);
        compare(model);
        while (model->messages > 0) {
            take(model, 1000);
        }
        reload(model);
        for (size_t i = 0; i < RECORDS_MAX; i++) {
            CHECK(model->records[i] == NULL); /* an empty set leaves no record */
        }
        momi_runs_free(&model->runs);
        free(model);
    }
    CHECK_EQ(momi_mem_live(), 0);
}

static size_t allocated_bytes;
static void *counting_alloc(size_t size, void *user) {
    (void)user;
    size_t *block = malloc(size + 16);
    *block = size;
    allocated_bytes += size + 16; /* with what the allocator itself needs for a block */
    return (char *)block + 16;
}
static void counting_free(void *pointer, void *user) {
    (void)user;
    if (pointer != NULL) {
        size_t *block = (size_t *)(void *)((char *)pointer - 16);
        allocated_bytes -= *block + 16;
        free(block);
    }
}
static void *counting_realloc(void *pointer, size_t size, void *user) {
    void *moved = counting_alloc(size, user);
    if (pointer != NULL) {
        size_t *block = (size_t *)(void *)((char *)pointer - 16);
        memcpy(moved, pointer, *block < size ? *block : size);
        counting_free(pointer, user);
    }
    return moved;
}
static const struct momi_allocator counting = {counting_alloc, counting_realloc,
                                               counting_free, NULL};
static void *plain_alloc(size_t size, void *user) {
    (void)user;
    return malloc(size);
}
static void *plain_realloc(void *pointer, size_t size, void *user) {
    (void)user;
    return realloc(pointer, size);
}
static void plain_free(void *pointer, void *user) {
    (void)user;
    free(pointer);
}
static const struct momi_allocator plain = {plain_alloc, plain_realloc, plain_free, NULL};

static void a_million_single_messages_cost_a_few_bytes_each(void **state) {
    (void)state;
    momi_mem_set_allocator(&counting);
    allocated_bytes = 0;
    struct momi_runs runs;
    momi_runs_init(&runs);
    const uint64_t count = 1000000;
    for (uint64_t i = 0; i < count; i++) {
        /* Every second slot of entries of some hundreds of messages. */
        struct momi_run run = {.sequence = i + 1,
                               .count = 1,
                               .slot = (uint32_t)(i % 250) * 2,
                               .index = 1000 + i / 250};
        momi_runs_append(&runs, &run);
    }
    CHECK_EQ(runs.runs, count);
    print_message("[          ] %.2f bytes a run\n", (double)allocated_bytes / count);
    CHECK(allocated_bytes <= 8 * count);
    struct momi_run run;
    for (uint64_t i = 0; i < count; i++) {
        CHECK(momi_runs_take(&runs, 10, &run));
        CHECK_EQ(run.sequence, i + 1);
        CHECK_EQ(run.index, 1000 + i / 250);
        CHECK_EQ(run.slot, i % 250 * 2);
    }
    momi_runs_free(&runs);
    CHECK_EQ(allocated_bytes, 0);
    momi_mem_set_allocator(&plain);
}

static void steady_state_allocates_nothing(void **state) {
    (void)state;
    for (uint64_t depth = 0; depth <= 90; depth += 30) {
        struct momi_runs runs;
        momi_runs_init(&runs);
        uint64_t allocations = 0;
        for (uint64_t i = 1; i <= 20000; i++) {
            struct momi_run run = {.sequence = 2 * i, .count = 1, .index = i};
            momi_runs_append(&runs, &run);
            if (i > depth) {
                CHECK(momi_runs_take(&runs, 1, &run));
                CHECK_EQ(run.index, i - depth);
            }
            if (i == 1000) {
                allocations = momi_mem_allocations();
            }
        }
        CHECK_EQ(momi_mem_allocations(), allocations);
        momi_runs_free(&runs);
    }
}

static void save_writes_only_what_has_changed(void **state) {
    (void)state;
    struct model *model = calloc(1, sizeof *model);
    struct momi_run run = {.count = 1, .index = 7};
    for (uint32_t i = 1; i <= 5000; i++) {
        run.sequence = i;
        run.slot = 2 * i;
        momi_runs_append(&model->runs, &run);
    }
    momi_runs_save(&model->runs, put_record, model);
    CHECK(model->puts >= 5000 / MOMI_RUNS_BLOCK_MAX);
    model->puts = 0;
    momi_runs_save(&model->runs, put_record, model);
    CHECK_EQ(model->puts, 0);
    momi_runs_remove(&model->runs, 2500, 1, NULL, NULL);
    CHECK(momi_runs_dirty_bytes(&model->runs) > 0);
    momi_runs_save(&model->runs, put_record, model);
    CHECK_EQ(model->puts, 1);
    run.sequence = 5001;
    momi_runs_append(&model->runs, &run);
    CHECK(momi_runs_take(&model->runs, 1, &run));
    momi_runs_save(&model->runs, put_record, model);
    CHECK_EQ(model->puts, 3);
    momi_runs_clear(&model->runs);
    CHECK_EQ(model->runs.messages, 0);
    momi_runs_save(&model->runs, put_record, model);
    for (size_t i = 0; i < RECORDS_MAX; i++) {
        CHECK(model->records[i] == NULL);
    }
    momi_runs_free(&model->runs);
    free(model);
}

static void keep_record(void *user, uint32_t block, const struct momi_slice *value) {
    (void)block;
    momi_bytes_append(user, value->data, value->size);
}

static void malformed_blocks_are_refused(void **state) {
    (void)state;
    struct momi_runs runs;
    momi_runs_init(&runs);
    for (uint32_t i = 1; i <= 50; i++) {
        struct momi_run run = {
            .sequence = 3 * i, .count = 2, .index = i, .deliveries = i % 3};
        momi_runs_append(&runs, &run);
    }
    struct momi_bytes good = {0};
    momi_runs_save(&runs, keep_record, &good);
    momi_runs_free(&runs);
    for (size_t size = 0; size < good.size; size++) { /* cut short */
        CHECK(!momi_runs_load(&runs, 0, momi_slice(good.data, size)));
    }
    struct momi_rng rng;
    momi_rng_seed(&rng, 5);
    for (int i = 0; i < 20000; i++) { /* changed: refused, or something that is sound */
        struct momi_bytes bad = {0};
        momi_bytes_append(&bad, good.data, good.size);
        for (int flips = 0; flips < 3; flips++) {
            bad.data[momi_rng_between(&rng, 0, bad.size - 1)] =
                (uint8_t)momi_rng_next(&rng);
        }
        if (momi_runs_load(&runs, 0, momi_bytes_slice(&bad))) {
            CHECK(momi_runs_loaded(&runs));
            struct momi_run run;
            while (momi_runs_take(&runs, UINT32_MAX, &run)) {
                CHECK(run.count > 0);
            }
            CHECK_EQ(runs.messages, 0);
        }
        momi_runs_free(&runs);
        momi_bytes_free(&bad);
    }
    CHECK(momi_runs_load(&runs, 0, momi_bytes_slice(&good)));
    CHECK(momi_runs_load(&runs, 1, momi_bytes_slice(&good)));
    CHECK(!momi_runs_loaded(&runs)); /* the same messages twice */
    momi_runs_free(&runs);
    momi_bytes_free(&good);
    CHECK_EQ(momi_mem_live(), 0);
}

static void hash_is_over_messages_not_over_runs(void **state) {
    (void)state;
    struct momi_runs whole, pieces;
    momi_runs_init(&whole);
    momi_runs_init(&pieces);
    struct momi_run run = {.sequence = 1, .count = 500, .index = 3};
    momi_runs_append(&whole, &run);
    momi_runs_append(&pieces, &run);
    momi_runs_remove(&pieces, 100, 50, NULL, NULL);
    CHECK(momi_runs_hash(&whole, 9) != momi_runs_hash(&pieces, 9));
    for (uint32_t i = 149; i >= 100; i--) {
        struct momi_run one = {.sequence = i, .count = 1, .slot = i - 1, .index = 3};
        momi_runs_insert(&pieces, &one);
    }
    CHECK_EQ(momi_runs_hash(&whole, 9), momi_runs_hash(&pieces, 9));
    CHECK_EQ(pieces.runs, 1);
    momi_runs_free(&whole);
    momi_runs_free(&pieces);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(agrees_with_an_array),
        TEST(a_million_single_messages_cost_a_few_bytes_each),
        TEST(steady_state_allocates_nothing),
        TEST(save_writes_only_what_has_changed),
        TEST(malformed_blocks_are_refused),
        TEST(hash_is_over_messages_not_over_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
