/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine with a queue, sessions and a store of records, set up by hand: what the tests
 * of checkout stand on. They call checkout itself; no entry is applied.
 */
#ifndef MOM_TESTS_UNIT_CHECKOUT_FIXTURE_H
#define MOM_TESTS_UNIT_CHECKOUT_FIXTURE_H

#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/machine_internal.h"

enum {
    SHARD = 2,
    SIDE = 1,
    MESSAGES_MAX = 6000,
    ENTRIES_MAX = 3000,
    SESSIONS = 3,
    CONSUMERS_MAX = 6,
    RECORDS_MAX = 4000,
    TOKENS_KEPT = 64,
    EPOCH = 7,
};

enum place { READY, LEASED, GONE };

struct message {
    int group; /* 0: the queue, 1: its dead letters */
    uint64_t sequence;
    uint64_t index;
    uint32_t slot;
    uint32_t deliveries;
    enum place place;
    int holder; /* of model.consumers */
    uint64_t token;
    uint64_t delivery;
    uint64_t due_us;
};

struct reader {
    bool is_attached;
    int session;
    int group;
    uint64_t id;
    uint64_t number; /* order of attachment */
    uint64_t lease_us;
    uint64_t credit;
    uint64_t delivered;
    uint64_t handed;
    uint64_t old_tokens[TOKENS_KEPT]; /* some that it had once */
    size_t old_tokens_count;
};

struct record {
    uint8_t key[64];
    size_t key_size;
    uint8_t value[MOMI_BLOCK_BYTES_MAX];
    size_t value_size;
};

struct model {
    struct momi_machine machine;
    struct momi_core_counters counters;
    struct momi_rng rng;
    struct message messages[MESSAGES_MAX];
    size_t messages_count;
    uint64_t entry_bytes[ENTRIES_MAX]; /* average of a message */
    uint64_t index;
    uint64_t sequence_next[2];
    struct reader readers[CONSUMERS_MAX];
    int waiting[2][CONSUMERS_MAX]; /* in turn */
    int waiting_count[2];
    uint64_t counter;
    uint64_t number;
    uint64_t elapsed_us;
    uint32_t deliveries_max;
    bool has_dead_letters;
    bool no_dead_letter;
    uint64_t acknowledged, buried, expired, purged, published, dropped;
    struct record *records;
    size_t records_count;
};

/* --- the machine under test ------------------------------------------------------- */

static inline struct momi_session_id session_id(int session) {
    return (struct momi_session_id){
        .index = 1, .epoch = EPOCH, .place = (uint32_t)session};
}

static inline struct momi_session *session_of(struct model *model, int session) {
    return momi_machine_session(&model->machine, session_id(session));
}

static inline struct momi_group *group_of(struct model *model, int group) {
    const char *name = group == 0 ? "jobs" : "$dead/queue/jobs";
    struct momi_stream *stream =
        momi_machine_stream(&model->machine, MOMI_KIND_QUEUE, momi_slice_str(name));
    return stream == NULL ? NULL : momi_machine_group(stream, momi_slice(NULL, 0));
}

static inline struct momi_consumer *consumer_of(struct model *model, int reader) {
    const struct reader *at = &model->readers[reader];
    return momi_machine_consumer(&model->machine, session_of(model, at->session), at->id);
}

static inline struct model *model_new(uint64_t seed, uint32_t deliveries_max,
                                      bool no_dead_letter) {
    struct model *model = calloc(1, sizeof *model);
    model->records = calloc(RECORDS_MAX, sizeof *model->records);
    momi_rng_seed(&model->rng, seed);
    CHECK_OK(momi_machine_init(&model->machine, SHARD, EPOCH, &model->counters));
    model->machine.elapsed_us = model->elapsed_us = 1000;
    model->deliveries_max = deliveries_max;
    model->no_dead_letter = no_dead_letter;
    model->sequence_next[0] = model->sequence_next[1] = 1;
    for (int i = 0; i < SESSIONS; i++) {
        struct momi_session *session =
            momi_session_add(&model->machine, session_id(i), 100 + (uint64_t)i);
        momi_session_dirty(&model->machine, session);
    }
    struct momi_stream_options options = {.deliveries_max = deliveries_max,
                                          .no_dead_letter = no_dead_letter};
    momi_stream_make(&model->machine, MOMI_KIND_QUEUE, momi_slice_str("jobs"), &options,
                     100);
    return model;
}

static inline void model_free(struct model *model) {
    momi_machine_free(&model->machine);
    free(model->records);
    free(model);
}

static inline uint64_t pick(struct model *model, uint64_t low, uint64_t high) {
    return momi_rng_between(&model->rng, low, high);
}

/* --- checkpoints ------------------------------------------------------------------ */

static inline int compare_keys(const void *a, const void *b) {
    const struct record *left = a;
    const struct record *right = b;
    return momi_slice_compare(momi_slice(left->key, left->key_size),
                              momi_slice(right->key, right->key_size));
}

static inline struct record *find_record(struct model *model, struct momi_slice key) {
    for (size_t i = 0; i < model->records_count; i++) {
        struct record *record = &model->records[i];
        if (momi_slice_equal(momi_slice(record->key, record->key_size), key)) {
            return record;
        }
    }
    return NULL;
}

static inline void carry_out(struct model *model, const struct momi_batch *batch) {
    CHECK(!batch->failed);
    for (size_t i = 0; i < momi_batch_count(batch); i++) {
        struct momi_batch_view view = momi_batch_at(batch, i);
        struct momi_slice key =
            momi_slice(view.key.data + 5, view.key.size - 5); /* shard and side */
        struct record *record = find_record(model, key);
        if (view.kind == MOMI_BATCH_DELETE) {
            if (record != NULL) {
                *record = model->records[--model->records_count];
            }
            continue;
        }
        CHECK(view.kind == MOMI_BATCH_PUT);
        if (record == NULL) {
            CHECK(model->records_count < RECORDS_MAX);
            record = &model->records[model->records_count++];
            memcpy(record->key, key.data, key.size);
            record->key_size = key.size;
        }
        assert_in_range(view.value.size, 0, MOMI_BLOCK_BYTES_MAX);
        memcpy(record->value, view.value.data, view.value.size);
        record->value_size = view.value.size;
    }
}

/* What was purged refers to nothing any more. */
static inline void bury_all(struct model *model) {
    while (momi_machine_has_graves(&model->machine)) {
        CHECK(momi_machine_bury(&model->machine));
    }
}

static inline void save(struct model *model) {
    struct momi_batch batch = {0};
    bury_all(model); /* as a checkpoint waits */
    model->machine.applied = model->index;
    momi_machine_save(&model->machine, SIDE, &batch);
    carry_out(model, &batch);
    momi_batch_free(&batch);
}

static inline void reload(struct model *model) {
    save(model);
    uint64_t hash = momi_machine_hash(&model->machine);
    qsort(model->records, model->records_count, sizeof *model->records, compare_keys);
    momi_machine_free(&model->machine);
    CHECK_OK(momi_machine_init(&model->machine, SHARD, EPOCH, &model->counters));
    for (size_t i = 0; i < model->records_count; i++) {
        const struct record *record = &model->records[i];
        CHECK(momi_machine_load(&model->machine,
                                momi_slice(record->key, record->key_size),
                                momi_slice(record->value, record->value_size)));
    }
    CHECK(momi_machine_loaded(&model->machine, model->index, 0));
    CHECK_EQ(momi_machine_hash(&model->machine), hash);
}

#endif
