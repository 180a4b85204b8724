/* SPDX-License-Identifier: Apache-2.0 */
/* The effects of a turn: kept in order, their references released when cleared. */
#include "t.h"

#include "base/mem.h"
#include "core/effect.h"

static void effects_keep_their_order_and_memory(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_effects effects;
    momi_effects_init(&effects);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t index = 0; index < 1000; index++) {
            struct momi_effect *effect =
                momi_effect_add(&effects, index % 2 == 0 ? FX_READ : FX_NOTICE);
            CHECK_EQ(effect->token, 0);
            CHECK(effect->frame == NULL);
            effect->token = index;
            effect->text = momi_effect_copy(&effects, momi_slice_str("why"));
        }
        CHECK_EQ(effects.count, 1000);
        for (uint64_t index = 0; index < 1000; index++) {
            CHECK_EQ(effects.list[index].token, index);
            CHECK_EQ(effects.list[index].type, index % 2 == 0 ? FX_READ : FX_NOTICE);
            CHECK(momi_slice_equal(effects.list[index].text, momi_slice_str("why")));
        }
        momi_effects_clear(&effects);
        CHECK_EQ(effects.count, 0);
    }
    momi_effects_free(&effects);
    CHECK_EQ(momi_mem_live(), live);
}

static void parts_hold_references_until_cleared(void **state) {
    (void)state;
    enum { PARTS = 100 };
    struct momi_effects effects;
    momi_effects_init(&effects);
    struct momi_buf *buf = momi_buf_copy(momi_slice_str("shared bytes"));
    struct momi_frame *frame = momi_effect_send(&effects, 42, FRAME_APPEND);
    CHECK_EQ(frame->type, FRAME_APPEND);
    CHECK_EQ(effects.list[0].node, 42);
    CHECK(effects.list[0].frame == frame);
    for (unsigned index = 0; index < PARTS; index++) {
        uint8_t own = (uint8_t)index;
        momi_frame_add_part(&effects, frame, NULL, momi_slice(&own, 1));
        momi_frame_add_part(&effects, frame, buf, momi_buf_slice(buf));
    }
    CHECK_EQ(frame->parts_count, 2 * PARTS);
    for (unsigned index = 0; index < PARTS; index++) {
        CHECK(frame->parts[2 * index].buf == NULL);
        CHECK_EQ(frame->parts[2 * index].bytes.data[0], index);
        CHECK(frame->parts[2 * index + 1].buf == buf);
        CHECK(frame->parts[2 * index + 1].bytes.data == buf->data);
    }
    CHECK_EQ(atomic_load(&buf->refs), 1 + PARTS);
    momi_effects_clear(&effects);
    CHECK_EQ(atomic_load(&buf->refs), 1);
    momi_effects_free(&effects);
    momi_buf_release(buf);
}

static void a_hold_lasts_until_cleared(void **state) {
    (void)state;
    struct momi_effects effects;
    momi_effects_init(&effects);
    struct momi_buf *buf = momi_buf_copy(momi_slice_str("payload"));
    momi_effect_hold(&effects, buf);
    momi_effect_hold(&effects, buf);
    momi_effect_hold(&effects, NULL);
    CHECK_EQ(atomic_load(&buf->refs), 3);
    momi_effects_clear(&effects);
    CHECK_EQ(atomic_load(&buf->refs), 1);
    momi_effect_hold(&effects, buf);
    momi_effects_free(&effects);
    CHECK_EQ(atomic_load(&buf->refs), 1);
    momi_buf_release(buf);
}

static void clearing_empties_the_batch(void **state) {
    (void)state;
    struct momi_effects effects;
    momi_effects_init(&effects);
    momi_batch_put(&effects.batch, MOMI_FAMILY_NODE, momi_slice_str("k"),
                   momi_slice_str("v"));
    effects.batch_sync = true;
    momi_effects_clear(&effects);
    CHECK_EQ(momi_batch_count(&effects.batch), 0);
    CHECK(!effects.batch_sync);
    momi_effects_free(&effects);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(effects_keep_their_order_and_memory),
        TEST(parts_hold_references_until_cleared),
        TEST(a_hold_lasts_until_cleared),
        TEST(clearing_empties_the_batch),
    };
    return cmocka_run_group_tests_name("effect", tests, NULL, NULL);
}
