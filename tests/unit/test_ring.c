/* SPDX-License-Identifier: Apache-2.0 */
/* The FIFO against an array. */
#include "t.h"

#include "base/mem.h"
#include "base/ring.h"
#include "base/rng.h"

struct element {
    uint64_t value;
    uint32_t zero; /* as pushed */
};

static void random_work_agrees_with_a_model(void **state) {
    (void)state;
    enum { STEPS = 100000, MODEL = 200000 };
    static uint64_t model[MODEL];
    size_t first = 0;
    size_t end = 0;
    int64_t live = momi_mem_live();
    struct momi_ring ring;
    struct momi_rng rng;
    momi_rng_seed(&rng, 9);
    momi_ring_init(&ring, sizeof(struct element));
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t act = momi_rng_between(&rng, 0, 9);
        if (act < 6) {
            struct element *element = momi_ring_push(&ring);
            CHECK(element != NULL);
            CHECK_EQ(element->value, 0);
            CHECK_EQ(element->zero, 0);
            element->value = momi_rng_next(&rng);
            element->zero = UINT32_MAX;
            model[end++] = element->value;
        } else if (act < 9) {
            size_t count = momi_rng_between(&rng, 0, end - first < 5 ? end - first : 5);
            momi_ring_pop_front(&ring, count);
            first += count;
        } else {
            size_t count = momi_rng_between(&rng, 0, end - first < 3 ? end - first : 3);
            momi_ring_pop_back(&ring, count);
            end -= count;
        }
        CHECK_EQ(ring.count, end - first);
        if (ring.count > 0) {
            size_t at = momi_rng_between(&rng, 0, ring.count - 1);
            const struct element *some = momi_ring_at(&ring, at);
            const struct element *oldest = momi_ring_at(&ring, 0);
            const struct element *newest = momi_ring_at(&ring, ring.count - 1);
            CHECK(some->value == model[first + at]);
            CHECK(oldest->value == model[first]);
            CHECK(newest->value == model[end - 1]);
        }
    }
    momi_ring_free(&ring);
    CHECK_EQ(ring.count, 0);
    CHECK_EQ(momi_mem_live(), live);
}

static void a_refused_push_changes_nothing(void **state) {
    (void)state;
    for (int64_t countdown = 0; countdown < 5; countdown++) {
        struct momi_ring ring;
        momi_ring_init(&ring, sizeof(uint32_t));
        momi_mem_fail_after(countdown, true);
        uint32_t pushed = 0;
        uint32_t *element;
        while ((element = momi_ring_push(&ring)) != NULL) {
            *element = pushed++;
            CHECK(pushed < 1000);
        }
        momi_mem_fail_after(-1, false);
        CHECK_EQ(ring.count, pushed);
        CHECK_EQ(pushed, ring.room);
        for (uint32_t index = 0; index < pushed; index++) {
            CHECK_EQ(*(uint32_t *)momi_ring_at(&ring, index), index);
        }
        momi_ring_free(&ring);
    }
}

static void a_reserved_ring_does_not_allocate(void **state) {
    (void)state;
    struct momi_ring ring;
    momi_ring_init(&ring, 24);
    CHECK(!momi_ring_reserve(&ring, SIZE_MAX));
    CHECK(momi_ring_reserve(&ring, 100));
    uint64_t made = momi_mem_allocations();
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned index = 0; index < 100; index++) {
            CHECK(momi_ring_push(&ring) != NULL);
        }
        momi_ring_pop_front(&ring, 60);
        momi_ring_pop_back(&ring, 40);
    }
    CHECK_EQ(momi_mem_allocations(), made);
    momi_ring_free(&ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(random_work_agrees_with_a_model),
        TEST(a_refused_push_changes_nothing),
        TEST(a_reserved_ring_does_not_allocate),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
