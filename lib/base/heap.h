/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive binary heap of deadlines. Ties are broken by a number that the owner
 * gives, so that the order never depends on addresses. The heap owns only its array of
 * pointers.
 */
#ifndef MOMI_BASE_HEAP_H
#define MOMI_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOMI_HEAP_NONE SIZE_MAX

struct momi_heap_node {
    uint64_t due;
    uint64_t tie;
    size_t position; /* MOMI_HEAP_NONE while in no heap */
};

struct momi_heap {
    struct momi_heap_node **nodes; /* owned */
    size_t count;
    size_t room;
};

void momi_heap_free(struct momi_heap *heap);
/* Makes room for `count` nodes in all; false: out of memory. */
bool momi_heap_reserve(struct momi_heap *heap, size_t count);
void momi_heap_node_init(struct momi_heap_node *node);
/* Grows; panics when it cannot. */
void momi_heap_insert(struct momi_heap *heap, struct momi_heap_node *node);
/* To be called after due or tie has changed. */
void momi_heap_update(struct momi_heap *heap, struct momi_heap_node *node);
/* A node that is in no heap: nothing happens. */
void momi_heap_remove(struct momi_heap *heap, struct momi_heap_node *node);
static inline struct momi_heap_node *momi_heap_top(const struct momi_heap *heap) {
    return heap->count == 0 ? NULL : heap->nodes[0];
}

#endif
