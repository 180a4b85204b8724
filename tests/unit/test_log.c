/* SPDX-License-Identifier: Apache-2.0 */
/* The log in memory against a plain array. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/log.h"

static struct momi_buf *buf_of(size_t size) {
    struct momi_buf *buf = momi_buf_new(size);
    CHECK(buf != NULL);
    memset(buf->data, 7, size);
    return buf;
}

static void append(struct momi_log *log, uint64_t term, size_t size) {
    struct momi_buf *buf = buf_of(size);
    CHECK(momi_log_reserve(log, 1));
    momi_log_append(log, term, buf, (uint32_t)size);
    momi_buf_release(buf);
}

static void empty_log_knows_its_edge(void **state) {
    (void)state;
    struct momi_log log;
    momi_log_init(&log);
    CHECK_EQ(momi_log_last(&log), 0);
    CHECK_EQ(momi_log_term(&log, 0), 0);
    CHECK_EQ(momi_log_term(&log, 1), 0);
    momi_log_reset(&log, 11, 4);
    CHECK_EQ(momi_log_last(&log), 10);
    CHECK_EQ(momi_log_term(&log, 10), 4);
    CHECK_EQ(momi_log_term(&log, 9), 0);
    CHECK(momi_log_buf(&log, 10) == NULL);
    CHECK_EQ(momi_log_size(&log, 11), 0);
    momi_log_free(&log);
}

static void trim_keeps_the_term_before(void **state) {
    (void)state;
    struct momi_log log;
    momi_log_init(&log);
    for (uint64_t term = 1; term <= 10; term++) {
        append(&log, term, 100);
    }
    momi_log_trim(&log, 5);
    CHECK_EQ(log.first_index, 5);
    CHECK_EQ(momi_log_term(&log, 4), 4);
    CHECK_EQ(momi_log_term(&log, 3), 0);
    CHECK_EQ(momi_log_last(&log), 10);
    CHECK_EQ(log.bytes, 600);
    CHECK_EQ(log.cached_bytes, 600);
    momi_log_trim(&log, 3); /* nothing comes back */
    CHECK_EQ(log.first_index, 5);
    momi_log_trim(&log, 11);
    CHECK_EQ(momi_log_last(&log), 10);
    CHECK_EQ(momi_log_term(&log, 10), 10);
    momi_log_free(&log);
}

static void finds_the_highest_index_of_a_term(void **state) {
    (void)state;
    static const uint64_t terms[] = {1, 1, 3, 3, 3, 6};
    struct momi_log log;
    momi_log_init(&log);
    for (size_t i = 0; i < 6; i++) {
        append(&log, terms[i], 10);
    }
    CHECK_EQ(momi_log_find_term(&log, 0, 6, 6), 6);
    CHECK_EQ(momi_log_find_term(&log, 0, 6, 5), 5);
    CHECK_EQ(momi_log_find_term(&log, 0, 6, 2), 2);
    CHECK_EQ(momi_log_find_term(&log, 0, 6, 0), 0);
    CHECK_EQ(momi_log_find_term(&log, 3, 5, 1), 3);
    CHECK_EQ(momi_log_find_term(&log, 4, 4, 9), 4);
    momi_log_free(&log);
}

static void fill_takes_only_what_fits(void **state) {
    (void)state;
    struct momi_log log;
    momi_log_init(&log);
    append(&log, 1, 10);
    append(&log, 1, 20);
    momi_log_append(&log, 2, NULL, 30);
    CHECK_EQ(log.cached_bytes, 30);
    momi_log_evict(&log, 3, 0);
    CHECK_EQ(log.cached_bytes, 0);
    CHECK_EQ(log.bytes, 60);
    struct momi_buf *wrong = buf_of(21);
    struct momi_buf *right = buf_of(20);
    momi_log_fill(&log, 2, wrong);
    CHECK(momi_log_buf(&log, 2) == NULL);
    momi_log_fill(&log, 9, right);
    momi_log_fill(&log, 2, right);
    CHECK(momi_log_buf(&log, 2) == right);
    CHECK_EQ(log.cached_bytes, 20);
    momi_log_evict(&log, 1, 0); /* not so far */
    CHECK_EQ(log.cached_bytes, 20);
    momi_log_evict(&log, 3, 0);
    CHECK_EQ(log.cached_bytes, 0);
    momi_buf_release(wrong);
    momi_buf_release(right);
    momi_log_free(&log);
}

static void append_without_memory_is_foreseen(void **state) {
    (void)state;
    struct momi_log log;
    momi_log_init(&log);
    momi_mem_fail_after(0, true);
    CHECK(!momi_log_reserve(&log, 1000));
    momi_mem_fail_after(-1, false);
    CHECK(momi_log_reserve(&log, 1000));
    momi_log_free(&log);
}

static void random_work_agrees_with_a_model(void **state) {
    (void)state;
    enum { STEPS = 20000, MODEL = 40000 };
    static uint64_t terms[MODEL];
    static uint32_t sizes[MODEL];
    int64_t live = momi_mem_live();
    uint64_t first = 1;
    uint64_t last = 0;
    uint64_t term = 1;
    struct momi_log log;
    struct momi_rng rng;
    momi_rng_seed(&rng, 3);
    momi_log_init(&log);
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t act = momi_rng_between(&rng, 0, 99);
        if (act < 70) {
            term += momi_rng_between(&rng, 0, 1);
            last++;
            terms[last] = term;
            sizes[last] = (uint32_t)momi_rng_between(&rng, 1, 64);
            append(&log, term, sizes[last]);
        } else if (act < 80 && last > first + 5) {
            uint64_t from = momi_rng_between(&rng, last - 5, last);
            momi_log_truncate(&log, from);
            last = from - 1;
        } else if (act < 85) {
            first = momi_rng_between(&rng, first, last + 1);
            momi_log_trim(&log, first);
        } else if (act < 95) {
            momi_log_evict(&log, momi_rng_between(&rng, 0, last),
                           momi_rng_between(&rng, 0, 500));
        } else if (last >= first) {
            uint64_t index = momi_rng_between(&rng, first, last);
            struct momi_buf *buf = buf_of(sizes[index]);
            momi_log_fill(&log, index, buf);
            CHECK(momi_log_buf(&log, index) != NULL);
            momi_buf_release(buf);
        }
        CHECK_EQ(momi_log_last(&log), last);
        CHECK_EQ(log.first_index, first);
        uint64_t bytes = 0;
        uint64_t cached = 0;
        for (uint64_t index = first; index <= last; index++) {
            CHECK_EQ(momi_log_term(&log, index), terms[index]);
            CHECK_EQ(momi_log_size(&log, index), sizes[index]);
            bytes += sizes[index];
            bool has = momi_log_buf(&log, index) != NULL;
            cached += has ? sizes[index] : 0;
            CHECK(!has || index >= log.cache_low);
        }
        CHECK_EQ(momi_log_term(&log, first - 1), terms[first - 1]);
        CHECK_EQ(log.bytes, bytes);
        CHECK_EQ(log.cached_bytes, cached);
    }
    momi_log_free(&log);
    CHECK_EQ(momi_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(empty_log_knows_its_edge),          TEST(trim_keeps_the_term_before),
        TEST(finds_the_highest_index_of_a_term), TEST(fill_takes_only_what_fits),
        TEST(append_without_memory_is_foreseen), TEST(random_work_agrees_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
