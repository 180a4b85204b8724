/* SPDX-License-Identifier: Apache-2.0 */
/* Write batches: what goes in comes out in order; references are held and given back;
 * refusal sticks. */
#include "t.h"

#include "base/batch.h"
#include "base/mem.h"
#include "base/pack.h"
#include "base/rng.h"

static void operations_come_out_as_they_went_in(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_buf *body = momi_buf_copy(momi_slice_str("a body"));
    struct momi_batch batch = {.ops = NULL};
    momi_batch_put(&batch, MOMI_FAMILY_NODE, momi_slice_str("term"), momi_slice_str("7"));
    momi_batch_put_buf(&batch, MOMI_FAMILY_LOG, momi_slice_str("entry"), body);
    momi_batch_delete(&batch, MOMI_FAMILY_STATE, momi_slice_str("record"));
    momi_batch_delete_range(&batch, MOMI_FAMILY_LOG, momi_slice_str("a"),
                            momi_slice_str("c"));
    momi_batch_put(&batch, MOMI_FAMILY_STATE, momi_slice_str("none"),
                   momi_slice(NULL, 0));
    CHECK_EQ(momi_batch_count(&batch), 5);
    CHECK_EQ(momi_batch_bytes(&batch), 4 + 1 + 5 + 6 + 6 + 2 + 4);
    CHECK(!batch.failed);

    struct momi_batch_view view = momi_batch_at(&batch, 0);
    CHECK_EQ(view.kind, MOMI_BATCH_PUT);
    CHECK_EQ(view.family, MOMI_FAMILY_NODE);
    CHECK(momi_slice_equal(view.key, momi_slice_str("term")));
    CHECK(momi_slice_equal(view.value, momi_slice_str("7")));
    CHECK(view.buf == NULL);
    view = momi_batch_at(&batch, 1);
    CHECK_EQ(view.kind, MOMI_BATCH_PUT);
    CHECK(view.buf == body);
    CHECK(view.value.data == body->data);
    CHECK_EQ(view.value.size, 6);
    view = momi_batch_at(&batch, 2);
    CHECK_EQ(view.kind, MOMI_BATCH_DELETE);
    CHECK_EQ(view.family, MOMI_FAMILY_STATE);
    CHECK(momi_slice_equal(view.key, momi_slice_str("record")));
    view = momi_batch_at(&batch, 3);
    CHECK_EQ(view.kind, MOMI_BATCH_DELETE_RANGE);
    CHECK(momi_slice_equal(view.key, momi_slice_str("a")));
    CHECK(momi_slice_equal(view.to, momi_slice_str("c")));
    CHECK_EQ(momi_batch_at(&batch, 4).value.size, 0);

    /* The batch has its own reference. */
    momi_buf_release(body);
    CHECK(momi_slice_equal(momi_batch_at(&batch, 1).value, momi_slice_str("a body")));
    momi_batch_clear(&batch);
    CHECK_EQ(momi_batch_count(&batch), 0);
    CHECK_EQ(momi_batch_bytes(&batch), 0);
    momi_batch_free(&batch);
    CHECK_EQ(momi_mem_live(), live);
}

static void empty_ranges_delete_nothing(void **state) {
    (void)state;
    struct momi_batch batch = {.ops = NULL};
    momi_batch_delete_range(&batch, MOMI_FAMILY_LOG, momi_slice_str("b"),
                            momi_slice_str("b"));
    momi_batch_delete_range(&batch, MOMI_FAMILY_LOG, momi_slice_str("c"),
                            momi_slice_str("b"));
    CHECK_EQ(momi_batch_count(&batch), 0);
    momi_batch_free(&batch);
}

static void fill(struct momi_batch *batch, uint64_t seed, struct momi_buf *body) {
    struct momi_rng rng;
    momi_rng_seed(&rng, seed);
    for (unsigned index = 0; index < 200; index++) {
        uint8_t key[8];
        momi_store_le64(key, momi_rng_next(&rng));
        if (momi_rng_chance(&rng, 500000)) {
            momi_batch_put_buf(batch, MOMI_FAMILY_LOG, momi_slice(key, 8), body);
        } else {
            momi_batch_put(batch, MOMI_FAMILY_STATE, momi_slice(key, 8),
                           momi_slice(key, momi_rng_between(&rng, 0, 8)));
        }
    }
}

static void a_refusal_sticks_until_the_batch_is_cleared(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_buf *body = momi_buf_new(10);
    bool whole = false;
    for (int64_t countdown = 0; !whole; countdown++) {
        CHECK(countdown < 100);
        struct momi_batch batch = {.ops = NULL};
        momi_mem_fail_after(countdown, false);
        fill(&batch, 1, body);
        momi_mem_fail_after(-1, false);
        whole = !batch.failed;
        CHECK_EQ(whole, momi_batch_count(&batch) == 200);
        momi_batch_clear(&batch);
        fill(&batch, 2, body);
        CHECK(!batch.failed);
        CHECK_EQ(momi_batch_count(&batch), 200);
        momi_batch_free(&batch);
        CHECK_EQ(atomic_load(&body->refs), 1);
    }
    momi_buf_release(body);
    CHECK_EQ(momi_mem_live(), live);
}

static void a_cleared_batch_is_filled_again_without_allocating(void **state) {
    (void)state;
    struct momi_buf *body = momi_buf_new(10);
    struct momi_batch batch = {.ops = NULL};
    fill(&batch, 1, body);
    momi_batch_clear(&batch);
    uint64_t made = momi_mem_allocations();
    fill(&batch, 1, body);
    CHECK_EQ(momi_mem_allocations(), made);
    momi_batch_free(&batch);
    momi_buf_release(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(operations_come_out_as_they_went_in),
        TEST(empty_ranges_delete_nothing),
        TEST(a_refusal_sticks_until_the_batch_is_cleared),
        TEST(a_cleared_batch_is_filled_again_without_allocating),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
