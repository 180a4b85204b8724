/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of deadlines: order, ties, updates, removal, and no memory. */
#include "t.h"

#include "base/heap.h"
#include "base/mem.h"
#include "base/rng.h"

static void check_shape(const struct momi_heap *heap) {
    for (size_t index = 0; index < heap->count; index++) {
        const struct momi_heap_node *node = heap->nodes[index];
        CHECK_EQ(node->position, index);
        if (index > 0) {
            const struct momi_heap_node *parent = heap->nodes[(index - 1) / 2];
            CHECK(parent->due < node->due ||
                  (parent->due == node->due && parent->tie <= node->tie));
        }
    }
}

static void nodes_come_out_by_due_and_tie(void **state) {
    (void)state;
    enum { NODES = 1000 };
    static struct momi_heap_node nodes[NODES];
    struct momi_heap heap = {.nodes = NULL};
    struct momi_rng rng;
    momi_rng_seed(&rng, 5);
    CHECK(momi_heap_top(&heap) == NULL);
    for (size_t index = 0; index < NODES; index++) {
        momi_heap_node_init(&nodes[index]);
        nodes[index].due = momi_rng_between(&rng, 0, 50);
        nodes[index].tie = index * 7919 % NODES;
        momi_heap_insert(&heap, &nodes[index]);
    }
    check_shape(&heap);
    uint64_t last_due = 0;
    uint64_t last_tie = 0;
    for (size_t index = 0; index < NODES; index++) {
        struct momi_heap_node *top = momi_heap_top(&heap);
        CHECK(top->due > last_due ||
              (top->due == last_due && (index == 0 || top->tie > last_tie)));
        last_due = top->due;
        last_tie = top->tie;
        momi_heap_remove(&heap, top);
        CHECK(top->position == MOMI_HEAP_NONE);
    }
    CHECK(momi_heap_top(&heap) == NULL);
    momi_heap_free(&heap);
}

static void random_work_keeps_the_least_on_top(void **state) {
    (void)state;
    enum { NODES = 60, STEPS = 20000 };
    int64_t live = momi_mem_live();
    struct momi_heap_node nodes[NODES];
    struct momi_heap heap = {.nodes = NULL};
    struct momi_rng rng;
    momi_rng_seed(&rng, 6);
    for (size_t index = 0; index < NODES; index++) {
        momi_heap_node_init(&nodes[index]);
        nodes[index].tie = index;
    }
    for (unsigned step = 0; step < STEPS; step++) {
        struct momi_heap_node *node = &nodes[momi_rng_between(&rng, 0, NODES - 1)];
        uint64_t due = momi_rng_between(&rng, 0, 1000);
        if (node->position == MOMI_HEAP_NONE) {
            node->due = due;
            momi_heap_insert(&heap, node);
        } else if (momi_rng_chance(&rng, 500000)) {
            node->due = due;
            momi_heap_update(&heap, node);
        } else {
            momi_heap_remove(&heap, node);
            momi_heap_remove(&heap, node); /* in no heap: nothing */
        }
        check_shape(&heap);
        const struct momi_heap_node *least = NULL;
        size_t count = 0;
        for (size_t index = 0; index < NODES; index++) {
            if (nodes[index].position != MOMI_HEAP_NONE) {
                count++;
                if (least == NULL || nodes[index].due < least->due) {
                    least = &nodes[index];
                }
            }
        }
        CHECK_EQ(heap.count, count);
        CHECK(momi_heap_top(&heap) == least);
    }
    momi_heap_free(&heap);
    CHECK_EQ(momi_mem_live(), live);
}

static void a_reserved_heap_needs_no_memory(void **state) {
    (void)state;
    struct momi_heap heap = {.nodes = NULL};
    struct momi_heap_node nodes[100];
    CHECK(!momi_heap_reserve(&heap, SIZE_MAX));
    momi_mem_fail_after(0, true);
    CHECK(!momi_heap_reserve(&heap, 100));
    momi_mem_fail_after(-1, false);
    CHECK(momi_heap_reserve(&heap, 100));
    momi_mem_fail_after(0, true);
    for (size_t index = 0; index < 100; index++) {
        momi_heap_node_init(&nodes[index]);
        nodes[index].due = 100 - index;
        momi_heap_insert(&heap, &nodes[index]);
    }
    momi_mem_fail_after(-1, false);
    CHECK(momi_heap_top(&heap) == &nodes[99]);
    momi_heap_free(&heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nodes_come_out_by_due_and_tie),
        TEST(random_work_keeps_the_least_on_top),
        TEST(a_reserved_heap_needs_no_memory),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
