/* SPDX-License-Identifier: Apache-2.0 */
/* Turn memory: apart from each other, aligned, kept across resets, bounded. */
#include "t.h"

#include "base/arena.h"
#include "base/mem.h"
#include "base/rng.h"

static void pieces_do_not_overlap(void **state) {
    (void)state;
    enum { PIECES = 300, ROUNDS = 30 };
    int64_t live = momi_mem_live();
    struct momi_arena arena = {.first = NULL};
    struct momi_rng rng;
    momi_rng_seed(&rng, 8);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t *pieces[PIECES];
        size_t sizes[PIECES];
        for (size_t index = 0; index < PIECES; index++) {
            sizes[index] =
                momi_rng_between(&rng, 0, momi_rng_chance(&rng, 20000) ? 100000 : 300);
            pieces[index] = momi_arena_alloc(&arena, sizes[index]);
            CHECK(pieces[index] != NULL);
            CHECK_EQ((uintptr_t)pieces[index] % 16, 0);
            memset(pieces[index], (int)(index & 0xff), sizes[index]);
        }
        for (size_t index = 0; index < PIECES; index++) {
            for (size_t byte = 0; byte < sizes[index]; byte++) {
                CHECK_EQ(pieces[index][byte], index & 0xff);
            }
        }
        momi_arena_reset(&arena);
    }
    momi_arena_free(&arena);
    CHECK_EQ(momi_mem_live(), live);
}

static void a_steady_turn_allocates_nothing(void **state) {
    (void)state;
    struct momi_arena arena = {.first = NULL};
    uint64_t made = 0;
    for (unsigned turn = 0; turn < 100; turn++) {
        for (unsigned piece = 0; piece < 1000; piece++) {
            CHECK(momi_arena_alloc(&arena, 100) != NULL);
        }
        momi_arena_reset(&arena);
        if (turn == 0) {
            made = momi_mem_allocations();
        }
    }
    CHECK_EQ(momi_mem_allocations(), made);
    momi_arena_free(&arena);
}

static void a_reset_keeps_no_more_than_a_mebibyte(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_arena arena = {.first = NULL};
    CHECK(momi_arena_alloc(&arena, 100) != NULL);
    CHECK(momi_arena_alloc(&arena, 5 * 1024 * 1024) != NULL);
    for (unsigned piece = 0; piece < 300; piece++) {
        CHECK(momi_arena_alloc(&arena, 16000) != NULL);
    }
    momi_arena_reset(&arena);
    CHECK(momi_mem_live() - live <= 64); /* 64 blocks of 16 KiB */
    CHECK(momi_mem_live() - live >= 1);
    momi_arena_reset(&arena);
    momi_arena_free(&arena);
    CHECK_EQ(momi_mem_live(), live);
    momi_arena_free(&arena);
}

static void without_memory_it_gives_null_and_stays_usable(void **state) {
    (void)state;
    struct momi_arena arena = {.first = NULL};
    CHECK(momi_arena_alloc(&arena, SIZE_MAX) == NULL);
    for (int64_t countdown = 0; countdown < 4; countdown++) {
        momi_mem_fail_after(countdown, true);
        unsigned refused = 0;
        for (unsigned piece = 0; piece < 10; piece++) {
            char *memory = momi_arena_alloc(&arena, 20000);
            if (memory == NULL) {
                refused++;
            } else {
                memset(memory, 1, 20000);
            }
        }
        momi_mem_fail_after(-1, false);
        CHECK_EQ(refused, 10 - countdown);
        CHECK(momi_arena_alloc(&arena, 20000) != NULL);
        momi_arena_free(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(pieces_do_not_overlap),
        TEST(a_steady_turn_allocates_nothing),
        TEST(a_reset_keeps_no_more_than_a_mebibyte),
        TEST(without_memory_it_gives_null_and_stays_usable),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
