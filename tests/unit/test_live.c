/* SPDX-License-Identifier: Apache-2.0 */
/* The live table against a plain array of entries, and a store from which it deletes. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/keys.h"
#include "core/live.h"

enum { SPACE = 20000, BLOCKS = SPACE / 128 + 1, SHARD = 3, SIDE = 1 };

struct model {
    struct momi_live *live;
    struct momi_live_entry entries[SPACE]; /* slots 0: an entry without messages */
    bool stored[SPACE];
    uint64_t top;   /* of the log */
    uint64_t first; /* of the log */
    uint64_t low;   /* dies next */
    uint64_t last;  /* added last */
    uint8_t *records[BLOCKS];
    size_t record_sizes[BLOCKS];
    uint64_t deleted;
};

static uint64_t be64(const uint8_t *at) { return __builtin_bswap64(momi_load_le64(at)); }

static void carry_out(struct model *model, struct momi_batch *batch) {
    CHECK(!batch->failed);
    for (size_t i = 0; i < momi_batch_count(batch); i++) {
        struct momi_batch_view view = momi_batch_at(batch, i);
        if (view.family == MOMI_FAMILY_LOG) {
            uint64_t from = be64(view.key.data + 4);
            uint64_t to =
                view.kind == MOMI_BATCH_DELETE_RANGE ? be64(view.to.data + 4) : from + 1;
            CHECK(view.kind != MOMI_BATCH_PUT);
            for (; from < to; from++) {
                model->stored[from] = false;
            }
            continue;
        }
        CHECK_EQ(view.key.size, 14); /* shard, side, letter, index */
        CHECK_EQ(view.key.data[4], SIDE);
        CHECK_EQ(view.key.data[5], 'e');
        uint64_t block = be64(view.key.data + 6) / 128;
        free(model->records[block]);
        model->records[block] = NULL;
        if (view.kind == MOMI_BATCH_PUT) {
            assert_in_range(view.value.size, 1, MOMI_BLOCK_BYTES_MAX);
            model->records[block] = malloc(view.value.size);
            memcpy(model->records[block], view.value.data, view.value.size);
            model->record_sizes[block] = view.value.size;
        } else {
            CHECK(view.kind == MOMI_BATCH_DELETE);
        }
    }
    momi_batch_free(batch);
}

static void reload(struct model *model) {
    struct momi_batch batch = {0};
    model->deleted +=
        momi_live_delete_dead(model->live, model->first, model->first, &batch);
    momi_live_save(model->live, SIDE, &batch);
    CHECK_EQ(momi_live_dirty_bytes(model->live), 0);
    carry_out(model, &batch);
    momi_live_free(model->live);
    model->live = momi_live_new(SHARD);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        if (model->records[i] != NULL) {
            uint8_t key[9] = {'e'};
            momi_store_le64(key + 1, __builtin_bswap64(i * 128));
            CHECK(momi_live_load(model->live, momi_slice(key, sizeof key),
                                 momi_slice(model->records[i], model->record_sizes[i])));
        }
    }
}

static void checkpoint(struct model *model, struct momi_rng *rng) {
    uint64_t before = model->first;
    model->first = momi_rng_between(rng, before, model->top + 1);
    struct momi_batch batch = {0};
    model->deleted += momi_live_delete_dead(model->live, before, model->first, &batch);
    momi_live_save(model->live, SIDE, &batch);
    carry_out(model, &batch);
    for (uint64_t i = 1; i <= model->top; i++) {
        bool is_kept = i >= model->first || model->entries[i].references > 0;
        CHECK_EQ(model->stored[i], is_kept);
    }
}

static void compare(struct model *model) {
    uint64_t next = 0;
    uint64_t count = 0;
    uint64_t bytes = 0;
    struct momi_live_entry entry;
    while (momi_live_next(model->live, next, &entry)) {
        for (; next < entry.index; next++) {
            CHECK_EQ(model->entries[next].references, 0);
        }
        const struct momi_live_entry *expected = &model->entries[next];
        CHECK_EQ(entry.term, expected->term);
        CHECK_EQ(entry.bytes, expected->bytes);
        CHECK_EQ(entry.whole_bytes, expected->whole_bytes);
        CHECK_EQ(entry.slots, expected->slots);
        CHECK_EQ(entry.references, expected->references);
        CHECK_EQ(entry.is_hollow, expected->is_hollow);
        count++;
        bytes += entry.bytes;
        next++;
    }
    for (; next <= model->top; next++) {
        CHECK_EQ(model->entries[next].references, 0);
    }
    CHECK_EQ(momi_live_count(model->live), count);
    CHECK_EQ(momi_live_bytes(model->live), bytes);
}

static void add(struct model *model, struct momi_rng *rng) {
    uint64_t index = ++model->top;
    model->stored[index] = true;
    if (momi_rng_chance(rng, 300000)) {
        return; /* an entry without messages */
    }
    struct momi_live_entry *entry = &model->entries[index];
    *entry = (struct momi_live_entry){
        .index = index,
        .term = 1 + index / 777,
        .whole_bytes = (uint32_t)momi_rng_between(rng, 1000, 300000),
        .slots = (uint32_t)momi_rng_between(rng, 1, 300),
    };
    entry->bytes = entry->whole_bytes;
    model->last = index;
    momi_live_add(model->live, index, entry->term, entry->bytes, entry->slots);
    CHECK_EQ(momi_live_message_bytes(model->live, index),
             entry->whole_bytes / entry->slots);
    if (momi_rng_chance(rng, 900000)) {
        entry->references = entry->slots;
        momi_live_reference(model->live, index, entry->slots);
    }
}

static void touch(struct model *model, struct momi_rng *rng, uint64_t index) {
    struct momi_live_entry *entry = &model->entries[index];
    struct momi_live_entry found;
    CHECK_EQ(momi_live_find(model->live, index, &found), entry->references > 0);
    if (entry->references == 0) {
        if (index < model->last) { /* the last one may still get its references */
            CHECK_EQ(momi_live_message_bytes(model->live, index), 0);
        }
        return;
    }
    CHECK_EQ(found.references, entry->references);
    CHECK_EQ(momi_live_message_bytes(model->live, index),
             entry->whole_bytes / entry->slots);
    uint64_t dice = momi_rng_between(rng, 0, 9);
    uint32_t count = (uint32_t)momi_rng_between(rng, 1, entry->references);
    if (dice == 0) {
        entry->references += count;
        momi_live_reference(model->live, index, count);
    } else if (dice == 1) {
        entry->bytes = entry->whole_bytes / 5;
        entry->is_hollow = true;
        momi_live_hollowed(model->live, index, entry->bytes);
    } else {
        count = dice < 6 ? entry->references : count;
        entry->references -= count;
        momi_live_release(model->live, index, count);
    }
}

static void random_step(struct model *model, struct momi_rng *rng) {
    uint64_t dice = momi_rng_between(rng, 0, 999);
    if (dice < 400 && model->top + 1 < SPACE) {
        add(model, rng);
    } else if (dice < 900 && model->top > 0) {
        /* Mostly the oldest goes first, as in a queue. */
        if (momi_rng_chance(rng, 700000) && model->low < model->top) {
            touch(model, rng, ++model->low);
        } else {
            touch(model, rng, momi_rng_between(rng, 1, model->top));
        }
    } else if (dice == 998) {
        checkpoint(model, rng);
    } else if (dice == 999) {
        reload(model);
    }
}

static void agrees_with_an_array(void **state) {
    (void)state;
    uint64_t deleted = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct model *model = calloc(1, sizeof *model);
        struct momi_rng rng;
        momi_rng_seed(&rng, seed);
        model->live = momi_live_new(SHARD);
        model->first = 1;
        for (int step = 0; step < 30000; step++) {
            random_step(model, &rng);
            if (step % 499 == 0) {
                compare(model);
            }
        }
        reload(model);
        compare(model);
        checkpoint(model, &rng);
        for (uint64_t i = 1; i <= model->top; i++) {
            if (model->entries[i].references > 0) {
                momi_live_release(model->live, i, model->entries[i].references);
                model->entries[i].references = 0;
            }
        }
        compare(model);
        model->first = model->top + 1;
        checkpoint(model, &rng);
        for (size_t i = 0; i < BLOCKS; i++) {
            CHECK(model->records[i] == NULL);
        }
        deleted += model->deleted;
        momi_live_free(model->live);
        free(model);
    }
    CHECK(deleted > 10000);
    CHECK_EQ(momi_mem_live(), 0);
}

static void long_dead_ranges_are_one_delete(void **state) {
    (void)state;
    struct momi_live *live = momi_live_new(SHARD);
    for (uint64_t i = 1; i <= 10000; i += 2) { /* every other entry has a message */
        momi_live_add(live, i, 1, 200, 1);
        momi_live_reference(live, i, 1);
    }
    struct momi_batch batch = {0};
    CHECK_EQ(momi_live_delete_dead(live, 1, 10001, &batch), 5000); /* the others */
    CHECK_EQ(momi_batch_count(&batch), 5000);
    momi_batch_clear(&batch);
    for (uint64_t i = 1; i <= 10000; i += 2) {
        if (i != 4999) {
            momi_live_release(live, i, 1);
        }
    }
    CHECK_EQ(momi_live_delete_dead(live, 10001, 10001, &batch), 4999);
    CHECK_EQ(momi_batch_count(&batch), 2); /* around the one that lives */
    momi_batch_clear(&batch);
    CHECK_EQ(momi_live_delete_dead(live, 10001, 20001, &batch), 10000);
    CHECK_EQ(momi_batch_count(&batch), 1);
    momi_batch_free(&batch);
    momi_live_free(live);
}

static void steady_state_allocates_nothing(void **state) {
    (void)state;
    struct momi_live *live = momi_live_new(SHARD);
    uint64_t allocations = 0;
    for (uint64_t i = 1; i <= 50000; i++) {
        momi_live_add(live, i, 1, 1000, 10);
        momi_live_reference(live, i, 10);
        if (i > 300) {
            momi_live_release(live, i - 300, 10);
        }
        if (i == 1) {
            struct momi_batch batch = {0};
            momi_live_delete_dead(live, 1, 1, &batch); /* now it knows the beginning */
            momi_batch_free(&batch);
        }
        if (i == 2000) {
            allocations = momi_mem_allocations();
        }
    }
    CHECK_EQ(momi_mem_allocations(), allocations);
    momi_live_free(live);
}

static void malformed_blocks_are_refused(void **state) {
    (void)state;
    struct momi_live *live = momi_live_new(SHARD);
    for (uint64_t i = 128; i < 256; i += 3) {
        momi_live_add(live, i, i / 64, 1000, 10);
        momi_live_reference(live, i, 10);
    }
    momi_live_hollowed(live, 128, 99);
    struct momi_batch batch = {0};
    momi_live_save(live, SIDE, &batch);
    CHECK_EQ(momi_batch_count(&batch), 1);
    struct momi_batch_view view = momi_batch_at(&batch, 0);
    struct momi_slice key = momi_slice(view.key.data + 5, view.key.size - 5);
    CHECK(!momi_live_load(live, key, view.value)); /* it is there */
    momi_live_free(live);
    struct momi_rng rng;
    momi_rng_seed(&rng, 9);
    for (int i = 0; i < 20000; i++) {
        live = momi_live_new(SHARD);
        uint8_t value[MOMI_BLOCK_BYTES_MAX];
        memcpy(value, view.value.data, view.value.size);
        size_t size = view.value.size;
        if (i % 2 == 0) {
            size = momi_rng_between(&rng, 0, size - 1);
        } else {
            value[momi_rng_between(&rng, 0, size - 1)] = (uint8_t)momi_rng_next(&rng);
        }
        if (momi_live_load(live, key, momi_slice(value, size))) {
            struct momi_live_entry entry;
            uint64_t next = 0;
            while (momi_live_next(live, next, &entry)) {
                assert_in_range(entry.index, 128, 255);
                CHECK(entry.references > 0);
                momi_live_release(live, entry.index, entry.references);
                next = entry.index + 1;
            }
            CHECK_EQ(momi_live_count(live), 0);
            CHECK_EQ(momi_live_bytes(live), 0);
        }
        momi_live_free(live);
    }
    live = momi_live_new(SHARD);
    uint8_t off[9] = {'e', 0, 0, 0, 0, 0, 0, 0, 5}; /* not the beginning of a block */
    CHECK(!momi_live_load(live, momi_slice(off, sizeof off), view.value));
    CHECK(momi_live_load(live, key, view.value));
    momi_live_free(live);
    momi_batch_free(&batch);
    CHECK_EQ(momi_mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(agrees_with_an_array),
        TEST(long_dead_ranges_are_one_delete),
        TEST(steady_state_allocates_nothing),
        TEST(malformed_blocks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
