/* SPDX-License-Identifier: Apache-2.0 */
/* The generator gives the published sequence, and its helpers are even. */
#include "t.h"

#include "base/rng.h"

static void the_sequence_is_the_published_one(void **state) {
    (void)state;
    /* The test vector of the rand_xoshiro crate, made with the reference implementation.
     */
    struct momi_rng rng = {.state = {1, 2, 3, 4}};
    static const uint64_t expected[] = {
        UINT64_C(11520),
        UINT64_C(0),
        UINT64_C(1509978240),
        UINT64_C(1215971899390074240),
        UINT64_C(1216172134540287360),
        UINT64_C(607988272756665600),
        UINT64_C(16172922978634559625),
        UINT64_C(8476171486693032832),
        UINT64_C(10595114339597558777),
        UINT64_C(2904607092377533576),
    };
    for (size_t index = 0; index < sizeof expected / sizeof expected[0]; index++) {
        CHECK(momi_rng_next(&rng) == expected[index]);
    }
}

static void seeding_is_splitmix64(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 1234567);
    CHECK(rng.state[0] == UINT64_C(6457827717110365317));
    CHECK(rng.state[1] == UINT64_C(3203168211198807973));
    CHECK(rng.state[2] == UINT64_C(9817491932198370423));
    CHECK(rng.state[3] == UINT64_C(4593380528125082431));
}

static void equal_seeds_give_equal_sequences(void **state) {
    (void)state;
    struct momi_rng a;
    struct momi_rng b;
    struct momi_rng c;
    momi_rng_seed(&a, 42);
    momi_rng_seed(&b, 42);
    momi_rng_seed(&c, 43);
    unsigned same = 0;
    for (unsigned index = 0; index < 1000; index++) {
        uint64_t value = momi_rng_next(&a);
        CHECK(value == momi_rng_next(&b));
        same += value == momi_rng_next(&c);
    }
    CHECK_EQ(same, 0);
}

static void between_is_even_and_inclusive(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 10);
    unsigned counts[7] = {0};
    for (unsigned index = 0; index < 70000; index++) {
        uint64_t value = momi_rng_between(&rng, 100, 106);
        CHECK(value >= 100);
        CHECK(value <= 106);
        counts[value - 100]++;
    }
    for (unsigned index = 0; index < 7; index++) {
        CHECK(counts[index] > 9500); /* five standard deviations below 10,000 */
        CHECK(counts[index] < 10500);
    }
    CHECK_EQ(momi_rng_between(&rng, 5, 5), 5);
    CHECK(momi_rng_between(&rng, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    bool high = false;
    for (unsigned index = 0; index < 100; index++) {
        high = high || momi_rng_between(&rng, 0, UINT64_MAX) >> 63 != 0;
    }
    CHECK(high);
}

static void chances_come_true_as_often_as_said(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 11);
    unsigned hits = 0;
    for (unsigned index = 0; index < 100000; index++) {
        CHECK(!momi_rng_chance(&rng, 0));
        CHECK(momi_rng_chance(&rng, 1000000));
        hits += momi_rng_chance(&rng, 250000);
    }
    CHECK(hits > 24300);
    CHECK(hits < 25700);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_sequence_is_the_published_one),  TEST(seeding_is_splitmix64),
        TEST(equal_seeds_give_equal_sequences),   TEST(between_is_even_and_inclusive),
        TEST(chances_come_true_as_often_as_said),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
