/* SPDX-License-Identifier: Apache-2.0 */
/* Slices, shared buffers, growing byte strings. */
#include "t.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"

#include <pthread.h>

static void slices_compare_as_unsigned_bytes(void **state) {
    (void)state;
    CHECK(momi_slice_compare(momi_slice_str("a"), momi_slice_str("b")) < 0);
    CHECK(momi_slice_compare(momi_slice_str("\xff"), momi_slice_str("a")) > 0);
    CHECK(momi_slice_compare(momi_slice_str("ab"), momi_slice_str("a")) > 0);
    CHECK(momi_slice_compare(momi_slice_str("a"), momi_slice_str("ab")) < 0);
    CHECK(momi_slice_compare(momi_slice(NULL, 0), momi_slice_str("")) == 0);
    CHECK(momi_slice_compare(momi_slice(NULL, 0), momi_slice_str("a")) < 0);
    CHECK(momi_slice_equal(momi_slice(NULL, 0), momi_slice_str("")));
    CHECK(momi_slice_equal(momi_slice("a\0b", 3), momi_slice("a\0b", 3)));
    CHECK(!momi_slice_equal(momi_slice("a\0b", 3), momi_slice("a\0c", 3)));
    CHECK(!momi_slice_equal(momi_slice_str("a"), momi_slice_str("ab")));
}

static void a_buffer_lives_until_its_last_reference(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_buf *buf = momi_buf_copy(momi_slice_str("payload"));
    CHECK(buf != NULL);
    CHECK(momi_buf_ref(buf) == buf);
    momi_buf_release(buf);
    CHECK_EQ(momi_mem_live() - live, 1);
    CHECK(momi_slice_equal(momi_buf_slice(buf), momi_slice_str("payload")));
    momi_buf_release(buf);
    momi_buf_release(NULL);
    CHECK_EQ(momi_mem_live(), live);

    struct momi_buf *empty = momi_buf_copy(momi_slice(NULL, 0));
    CHECK_EQ(momi_buf_slice(empty).size, 0);
    momi_buf_release(empty);
    CHECK(momi_buf_new(SIZE_MAX - 4) == NULL);
}

enum { SHARED_ROUNDS = 10000 };
static void *share(void *user) {
    struct momi_buf *buf = user;
    for (unsigned round = 0; round < SHARED_ROUNDS; round++) {
        momi_buf_release(momi_buf_ref(buf));
    }
    momi_buf_release(buf);
    return NULL;
}

static void references_are_counted_across_threads(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_buf *buf = momi_buf_new(100);
    pthread_t threads[4];
    for (size_t index = 0; index < 4; index++) {
        CHECK_OK(pthread_create(&threads[index], NULL, share, momi_buf_ref(buf)));
    }
    momi_buf_release(buf);
    for (size_t index = 0; index < 4; index++) {
        CHECK_OK(pthread_join(threads[index], NULL));
    }
    CHECK_EQ(momi_mem_live(), live);
}

static void appended_bytes_are_those_of_a_model(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 1);
    static uint8_t model[200000];
    for (unsigned round = 0; round < 20; round++) {
        struct momi_bytes bytes = {.data = NULL};
        size_t size = 0;
        while (size + 1000 < sizeof model && !momi_rng_chance(&rng, 5000)) {
            size_t piece = momi_rng_between(&rng, 0, 1000);
            for (size_t index = 0; index < piece; index++) {
                model[size + index] = (uint8_t)momi_rng_next(&rng);
            }
            momi_bytes_append(&bytes, piece == 0 ? NULL : model + size, piece);
            size += piece;
            CHECK(bytes.size <= bytes.room);
        }
        CHECK(momi_slice_equal(momi_bytes_slice(&bytes), momi_slice(model, size)));
        momi_bytes_clear(&bytes);
        CHECK_EQ(bytes.size, 0);
        momi_bytes_append(&bytes, "again", 5);
        CHECK(momi_slice_equal(momi_bytes_slice(&bytes), momi_slice_str("again")));
        momi_bytes_free(&bytes);
    }
}

static void a_failed_append_sticks(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    /* Whichever allocation fails, what was there before stays, and nothing is added
     * behind a gap. */
    for (int64_t countdown = 0; countdown < 8; countdown++) {
        struct momi_bytes bytes = {.data = NULL};
        momi_mem_fail_after(countdown, false);
        size_t size_at_failure = 0;
        for (unsigned index = 0; index < 4000; index++) {
            momi_bytes_append(&bytes, "x", 1);
            if (bytes.failed && size_at_failure == 0) {
                size_at_failure = bytes.size;
            }
        }
        momi_mem_fail_after(-1, false);
        if (bytes.failed) {
            CHECK_EQ(bytes.size, size_at_failure);
            momi_bytes_clear(&bytes);
            momi_bytes_append(&bytes, "whole again", 11);
            CHECK(momi_slice_equal(momi_bytes_slice(&bytes),
                                   momi_slice_str("whole again")));
        } else {
            CHECK_EQ(bytes.size, 4000);
        }
        momi_bytes_free(&bytes);
    }
    struct momi_bytes bytes = {.data = NULL};
    CHECK(!momi_bytes_reserve(&bytes, SIZE_MAX));
    CHECK(bytes.failed);
    momi_bytes_free(&bytes);
    CHECK_EQ(momi_mem_live(), live);
}

static void buffers_are_refused_without_memory(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    momi_mem_fail_after(0, true);
    struct momi_buf *made = momi_buf_new(10);
    struct momi_buf *copied = momi_buf_copy(momi_slice_str("x"));
    momi_mem_fail_after(-1, false);
    CHECK(made == NULL);
    CHECK(copied == NULL);
    CHECK_EQ(momi_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(slices_compare_as_unsigned_bytes),
        TEST(a_buffer_lives_until_its_last_reference),
        TEST(references_are_counted_across_threads),
        TEST(appended_bytes_are_those_of_a_model),
        TEST(a_failed_append_sticks),
        TEST(buffers_are_refused_without_memory),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
