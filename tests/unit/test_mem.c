/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, the reserve, failure injection, and the host's allocator. */
#include "t.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/rng.h"

#include <pthread.h>

static void blocks_are_aligned_and_counted(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    uint64_t made = momi_mem_allocations();
    void *blocks[64];
    for (size_t index = 0; index < 64; index++) {
        blocks[index] = momi_alloc(index);
        CHECK(blocks[index] != NULL);
        CHECK_EQ((uintptr_t)blocks[index] % 16, 0);
        memset(blocks[index], 0x5a, index);
    }
    CHECK_EQ(momi_mem_live() - live, 64);
    CHECK_EQ(momi_mem_allocations() - made, 64);
    for (size_t index = 0; index < 64; index++) {
        momi_free(blocks[index]);
    }
    momi_free(NULL);
    CHECK_EQ(momi_mem_live(), live);
}

static void calloc_zeroes_and_refuses_overflow(void **state) {
    (void)state;
    uint8_t *block = momi_calloc(100, 7);
    CHECK(block != NULL);
    for (size_t index = 0; index < 700; index++) {
        CHECK_EQ(block[index], 0);
    }
    momi_free(block);
    CHECK(momi_calloc(SIZE_MAX / 2, 3) == NULL);
    CHECK(momi_alloc(SIZE_MAX) == NULL);
    CHECK(momi_alloc(SIZE_MAX - 15) == NULL);
}

static void realloc_keeps_the_bytes(void **state) {
    (void)state;
    uint8_t *block = momi_realloc(NULL, 10);
    memcpy(block, "0123456789", 10);
    block = momi_realloc(block, 100000);
    CHECK_BYTES(block, "0123456789", 10);
    block = momi_realloc(block, 4);
    CHECK_BYTES(block, "0123", 4);
    CHECK(momi_realloc(block, SIZE_MAX) == NULL);
    CHECK_BYTES(block, "0123", 4);
    momi_free(block);
}

static void injection_refuses_the_nth_allocation(void **state) {
    (void)state;
    momi_mem_fail_after(2, false);
    void *first = momi_alloc(1);
    void *second = momi_alloc(1);
    void *third = momi_alloc(1);
    void *fourth = momi_alloc(1);
    momi_mem_fail_after(-1, false);
    CHECK(first != NULL);
    CHECK(second != NULL);
    CHECK(third == NULL);
    CHECK(fourth != NULL);
    momi_free(first);
    momi_free(second);
    momi_free(fourth);

    momi_mem_fail_after(1, true);
    first = momi_alloc(1);
    second = momi_alloc(1);
    third = momi_calloc(1, 1);
    fourth = momi_realloc(first, 10);
    momi_mem_fail_after(-1, false);
    CHECK(first != NULL);
    CHECK(second == NULL);
    CHECK(third == NULL);
    CHECK(fourth == NULL);
    momi_free(first);
    first = momi_alloc(1);
    CHECK(first != NULL);
    momi_free(first);
}

static void the_reserve_serves_when_the_allocator_refuses(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_reserve reserve = {.chunk = NULL};
    CHECK(momi_reserve_fill(&reserve, momi_reserve_cost(100) + momi_reserve_cost(33)));
    CHECK_EQ(momi_mem_live(), live);

    void *outside = momi_must_alloc(8);
    memcpy(outside, "outside", 8);
    momi_mem_fail_after(0, true);
    momi_reserve_enter(&reserve);
    CHECK(momi_alloc_optional(1) == NULL);
    char *first = momi_must_calloc(50, 2);
    char *moved = momi_must_realloc(outside, 33);
    CHECK_EQ((uintptr_t)first % 16, 0);
    CHECK_EQ((uintptr_t)moved % 16, 0);
    CHECK_STR(moved, "outside");
    CHECK_EQ(reserve.used, momi_reserve_cost(100) + momi_reserve_cost(33));
    momi_reserve_leave();
    CHECK(momi_alloc(1) == NULL);
    momi_mem_fail_after(-1, false);

    memset(first, 'x', 100);
    CHECK_STR(moved, "outside");
    moved = momi_realloc(moved, 5000); /* back to the allocator */
    CHECK_STR(moved, "outside");
    momi_free(moved);
    momi_free(first);
    CHECK_EQ(momi_mem_live(), live);

    /* Nothing of it is in use any more: it serves from the start again. */
    CHECK(momi_reserve_fill(&reserve, 10));
    CHECK_EQ(reserve.used, 0);
    momi_reserve_free(&reserve);
    momi_reserve_free(&reserve);
}

static void an_exhausted_reserve_refuses(void **state) {
    (void)state;
    struct momi_reserve reserve = {.chunk = NULL};
    CHECK(momi_reserve_fill(&reserve, 64));
    size_t size = reserve.size;
    momi_mem_fail_after(0, true);
    momi_reserve_enter(&reserve);
    CHECK(momi_alloc(size) == NULL); /* no room for the header */
    void *most = momi_alloc(size - 16);
    CHECK(most != NULL);
    CHECK(momi_alloc(1) == NULL);
    momi_reserve_leave();
    CHECK(!momi_reserve_fill(&reserve, 64));
    CHECK_EQ(reserve.used, size);
    momi_mem_fail_after(-1, false);
    momi_free(most);
    momi_reserve_free(&reserve);
}

static void *free_elsewhere(void *block) {
    momi_free(block);
    return NULL;
}

static void blocks_outlive_their_reserve(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_reserve reserve = {.chunk = NULL};
    CHECK(momi_reserve_fill(&reserve, 1000));
    momi_mem_fail_after(0, true);
    momi_reserve_enter(&reserve);
    char *first = momi_must_alloc(100);
    char *second = momi_must_alloc(100);
    momi_reserve_leave();
    momi_mem_fail_after(-1, false);
    struct momi_reserve_chunk *before = reserve.chunk;
    CHECK(momi_reserve_fill(&reserve, 100000)); /* another chunk; the blocks stay */
    CHECK(reserve.chunk != before);
    momi_reserve_free(&reserve);
    memset(first, 1, 100);
    memset(second, 2, 100);
    pthread_t thread;
    CHECK_OK(pthread_create(&thread, NULL, free_elsewhere, first));
    momi_free(second);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(momi_mem_live(), live);
}

struct counting_host {
    int64_t blocks;
    uint64_t calls;
};
static void *host_alloc(size_t size, void *user) {
    struct counting_host *host = user;
    host->blocks++;
    host->calls++;
    return malloc(size);
}
static void *host_realloc(void *block, size_t size, void *user) {
    ((struct counting_host *)user)->calls++;
    return realloc(block, size);
}
static void host_free(void *block, void *user) {
    ((struct counting_host *)user)->blocks--;
    free(block);
}
static void *plain_alloc(size_t size, void *user) {
    (void)user;
    return malloc(size);
}
static void *plain_realloc(void *block, size_t size, void *user) {
    (void)user;
    return realloc(block, size);
}
static void plain_free(void *block, void *user) {
    (void)user;
    free(block);
}

static void the_hosts_allocator_is_used_for_all(void **state) {
    (void)state;
    struct counting_host host = {.blocks = 0};
    momi_mem_set_allocator(&(struct momi_allocator){
        .alloc = host_alloc, .realloc = host_realloc, .free = host_free, .user = &host});
    struct momi_reserve reserve = {.chunk = NULL};
    CHECK(momi_reserve_fill(&reserve, 100));
    void *block = momi_realloc(momi_alloc(10), 1000);
    CHECK_EQ(host.blocks, 2);
    CHECK_EQ(host.calls, 3);
    momi_free(block);
    momi_reserve_free(&reserve);
    CHECK_EQ(host.blocks, 0);
    momi_mem_set_allocator(&(struct momi_allocator){.alloc = plain_alloc,
                                                    .realloc = plain_realloc,
                                                    .free = plain_free,
                                                    .user = NULL});
}

static jmp_buf after_panic;
static const char *panic_what;
static void catch_panic(const char *file, int line, const char *what, void *user) {
    CHECK(file != NULL);
    CHECK(line > 0);
    CHECK_STR(user, "user");
    panic_what = what;
    longjmp(after_panic, 1);
}

static void must_alloc_panics_through_the_hook(void **state) {
    (void)state;
    char user[] = "user";
    panic_what = NULL;
    momi_panic_set_hook(catch_panic, user);
    momi_mem_fail_after(0, true);
    if (setjmp(after_panic) == 0) {
        momi_free(momi_must_alloc(1));
    }
    momi_mem_fail_after(-1, false);
    momi_panic_set_hook(NULL, NULL);
    CHECK(panic_what != NULL);
    CHECK_STR(panic_what, "out of memory, and of the reserve");
}

/* Random work against a mirror of what each block holds; sometimes the allocator refuses.
 */
static void random_work_keeps_every_byte(void **state) {
    (void)state;
    enum { SLOTS = 40, STEPS = 20000, SIZE_MOST = 600 };
    int64_t live = momi_mem_live();
    struct momi_rng rng;
    momi_rng_seed(&rng, 7);
    struct momi_reserve reserve = {.chunk = NULL};
    struct {
        uint8_t *block;
        size_t size;
        uint8_t fill;
    } slots[SLOTS] = {{.block = NULL}};
    for (unsigned step = 0; step < STEPS; step++) {
        size_t at = momi_rng_between(&rng, 0, SLOTS - 1);
        size_t size = momi_rng_between(&rng, 1, SIZE_MOST);
        CHECK(momi_reserve_fill(&reserve, momi_reserve_cost(size)));
        momi_mem_fail_after(momi_rng_chance(&rng, 300000) ? 0 : -1, true);
        momi_reserve_enter(&reserve);
        for (size_t byte = 0; byte < slots[at].size; byte++) {
            CHECK_EQ(slots[at].block[byte], slots[at].fill);
        }
        if (momi_rng_chance(&rng, 300000)) {
            momi_free(slots[at].block);
            slots[at].block = NULL;
            slots[at].size = 0;
        } else {
            uint8_t *block = momi_must_realloc(slots[at].block, size);
            size_t kept = slots[at].size < size ? slots[at].size : size;
            for (size_t byte = 0; byte < kept; byte++) {
                CHECK_EQ(block[byte], slots[at].fill);
            }
            slots[at].block = block;
            slots[at].size = size;
            slots[at].fill = (uint8_t)momi_rng_next(&rng);
            memset(block, slots[at].fill, size);
        }
        momi_reserve_leave();
        momi_mem_fail_after(-1, false);
    }
    for (size_t at = 0; at < SLOTS; at++) {
        momi_free(slots[at].block);
    }
    momi_reserve_free(&reserve);
    CHECK_EQ(momi_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(blocks_are_aligned_and_counted),
        TEST(calloc_zeroes_and_refuses_overflow),
        TEST(realloc_keeps_the_bytes),
        TEST(injection_refuses_the_nth_allocation),
        TEST(the_reserve_serves_when_the_allocator_refuses),
        TEST(an_exhausted_reserve_refuses),
        TEST(blocks_outlive_their_reserve),
        TEST(the_hosts_allocator_is_used_for_all),
        TEST(must_alloc_panics_through_the_hook),
        TEST(random_work_keeps_every_byte),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
