/* SPDX-License-Identifier: Apache-2.0 */
/* The map against an array of flags, with and without memory for its table. */
#include "t.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"

struct element {
    uint64_t key;
    bool is_in;
    struct momi_map_node node; /* in `map` of the test */
};

static struct element *element_of(struct momi_map_node *node) {
    return MOMI_CONTAINER_OF(node, struct element, node);
}

static struct element *find(const struct momi_map *map, uint64_t key, uint64_t hash) {
    for (struct momi_map_node *node = momi_map_first(map, hash); node != NULL;
         node = momi_map_next(node)) {
        if (element_of(node)->key == key) {
            return element_of(node);
        }
    }
    return NULL;
}

static void count_visit(struct momi_map_node *node, void *user) {
    CHECK(element_of(node)->is_in);
    (*(size_t *)user)++;
}

static void remove_even_visit(struct momi_map_node *node, void *user) {
    if (element_of(node)->key % 2 == 0) {
        momi_map_remove(user, node);
        element_of(node)->is_in = false;
        memset(node, 0x5a, sizeof *node); /* as if freed */
    }
}

enum { ELEMENTS = 500, STEPS = 30000 };

/* `hash_mask` makes collisions; `fail_countdown` is given to the failure injection. */
static void work(uint64_t seed, uint64_t hash_mask, int64_t fail_countdown) {
    static struct element elements[ELEMENTS];
    struct momi_map map = {.buckets = NULL};
    struct momi_rng rng;
    size_t count = 0;
    momi_rng_seed(&rng, seed);
    memset(elements, 0, sizeof elements);
    momi_mem_fail_after(fail_countdown, true);
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t key = momi_rng_between(&rng, 0, ELEMENTS - 1);
        uint64_t hash = momi_hash_u64(key) & hash_mask;
        struct element *element = &elements[key];
        CHECK(find(&map, key, hash) == (element->is_in ? element : NULL));
        if (element->is_in) {
            momi_map_remove(&map, &element->node);
            count--;
        } else {
            element->key = key;
            momi_map_insert(&map, &element->node, hash);
            count++;
        }
        element->is_in = !element->is_in;
        CHECK_EQ(map.count, count);
    }
    momi_mem_fail_after(-1, false);
    size_t visited = 0;
    momi_map_each(&map, count_visit, &visited);
    CHECK_EQ(visited, count);
    momi_map_each(&map, remove_even_visit, &map);
    for (uint64_t key = 0; key < ELEMENTS; key++) {
        struct element *found = find(&map, key, momi_hash_u64(key) & hash_mask);
        CHECK(found == (elements[key].is_in ? &elements[key] : NULL));
        CHECK(key % 2 == 1 || found == NULL);
    }
    momi_map_free(&map);
}

static void random_work_agrees_with_a_model(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    work(1, UINT64_MAX, -1);
    work(2, 0xff, -1);
    work(3, 0x3, -1);
    CHECK_EQ(momi_mem_live(), live);
}

static void a_map_works_without_memory(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    for (int64_t countdown = 0; countdown < 8; countdown++) {
        work(10 + (uint64_t)countdown, UINT64_MAX, countdown);
    }
    CHECK_EQ(momi_mem_live(), live);
}

static void a_reserved_map_does_not_allocate(void **state) {
    (void)state;
    static struct element elements[1000];
    struct momi_map map = {.buckets = NULL};
    CHECK(momi_map_reserve(&map, 1000));
    uint64_t made = momi_mem_allocations();
    for (uint64_t key = 0; key < 1000; key++) {
        elements[key].key = key;
        momi_map_insert(&map, &elements[key].node, momi_hash_u64(key));
    }
    CHECK_EQ(momi_mem_allocations(), made);
    CHECK(find(&map, 999, momi_hash_u64(999)) == &elements[999]);
    momi_map_free(&map);
    CHECK(!momi_map_reserve(&map, SIZE_MAX));
    momi_mem_fail_after(0, true);
    CHECK(!momi_map_reserve(&map, 10));
    momi_mem_fail_after(-1, false);
}

static void a_growing_table_leaves_the_reserve_alone(void **state) {
    (void)state;
    struct momi_reserve reserve = {.chunk = NULL};
    CHECK(momi_reserve_fill(&reserve, 100000));
    static struct element elements[100];
    struct momi_map map = {.buckets = NULL};
    momi_mem_fail_after(0, true);
    momi_reserve_enter(&reserve);
    for (uint64_t key = 0; key < 100; key++) {
        elements[key].key = key;
        momi_map_insert(&map, &elements[key].node, momi_hash_u64(key));
    }
    momi_reserve_leave();
    momi_mem_fail_after(-1, false);
    CHECK_EQ(reserve.used, 0);
    CHECK_EQ(map.buckets_count, 0);
    CHECK(find(&map, 50, momi_hash_u64(50)) == &elements[50]);
    momi_map_free(&map);
    momi_reserve_free(&reserve);
}

static void hashes_are_the_same_everywhere(void **state) {
    (void)state;
    CHECK(momi_hash_u64(0) == 0);
    CHECK(momi_hash_u64(1) == UINT64_C(0x5692161d100b05e5));
    /* FNV-1a of "a" is 0xaf63dc4c8601ec8c; the map's hash mixes it once more. */
    CHECK(momi_hash_bytes(momi_slice_str("a")) ==
          momi_hash_u64(UINT64_C(0xaf63dc4c8601ec8c)));
    CHECK(momi_hash_bytes(momi_slice(NULL, 0)) ==
          momi_hash_u64(UINT64_C(0xcbf29ce484222325)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(random_work_agrees_with_a_model),
        TEST(a_map_works_without_memory),
        TEST(a_reserved_map_does_not_allocate),
        TEST(a_growing_table_leaves_the_reserve_alone),
        TEST(hashes_are_the_same_everywhere),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
