/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap of deadlines. Invariants: a node's position is its index in the array; no node
 * is before its parent in the order of (due, tie).
 */
#include "base/heap.h"

#include "base/assert.h"
#include "base/mem.h"

enum { HEAP_ROOM_MIN = 16 };

static bool is_before(const struct momi_heap_node *a, const struct momi_heap_node *b) {
    return a->due != b->due ? a->due < b->due : a->tie < b->tie;
}

static void place(struct momi_heap *heap, struct momi_heap_node *node, size_t position) {
    heap->nodes[position] = node;
    node->position = position;
}

static void sift_up(struct momi_heap *heap, struct momi_heap_node *node) {
    size_t position = node->position;
    while (position > 0) {
        struct momi_heap_node *parent = heap->nodes[(position - 1) / 2];
        if (!is_before(node, parent)) {
            break;
        }
        place(heap, parent, position);
        position = (position - 1) / 2;
    }
    place(heap, node, position);
}

static void sift_down(struct momi_heap *heap, struct momi_heap_node *node) {
    size_t position = node->position;
    for (;;) {
        size_t child = 2 * position + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count &&
            is_before(heap->nodes[child + 1], heap->nodes[child])) {
            child++;
        }
        if (!is_before(heap->nodes[child], node)) {
            break;
        }
        place(heap, heap->nodes[child], position);
        position = child;
    }
    place(heap, node, position);
}

void momi_heap_free(struct momi_heap *heap) {
    momi_free(heap->nodes);
    *heap = (struct momi_heap){.nodes = NULL, .count = 0, .room = 0};
}

bool momi_heap_reserve(struct momi_heap *heap, size_t count) {
    if (count <= heap->room) {
        return true;
    }
    if (count > SIZE_MAX / 4 / sizeof *heap->nodes) {
        return false;
    }
    size_t room = heap->room < HEAP_ROOM_MIN ? HEAP_ROOM_MIN : heap->room * 2;
    room = room < count ? count : room;
    struct momi_heap_node **nodes = momi_realloc(heap->nodes, room * sizeof *nodes);
    if (nodes == NULL) {
        return false;
    }
    heap->nodes = nodes;
    heap->room = room;
    return true;
}

void momi_heap_node_init(struct momi_heap_node *node) {
    *node = (struct momi_heap_node){.due = 0, .tie = 0, .position = MOMI_HEAP_NONE};
}

void momi_heap_insert(struct momi_heap *heap, struct momi_heap_node *node) {
    MOMI_ASSERT(node->position == MOMI_HEAP_NONE);
    if (!momi_heap_reserve(heap, heap->count + 1)) {
        momi_panic(__FILE__, __LINE__, "no memory for a deadline outside of a reserve");
    }
    place(heap, node, heap->count++);
    sift_up(heap, node);
}

void momi_heap_update(struct momi_heap *heap, struct momi_heap_node *node) {
    MOMI_ASSERT(node->position < heap->count);
    MOMI_ASSERT(heap->nodes[node->position] == node);
    sift_up(heap, node);
    sift_down(heap, node);
}

void momi_heap_remove(struct momi_heap *heap, struct momi_heap_node *node) {
    if (node->position == MOMI_HEAP_NONE) {
        return;
    }
    MOMI_ASSERT(node->position < heap->count);
    MOMI_ASSERT(heap->nodes[node->position] == node);
    struct momi_heap_node *last = heap->nodes[--heap->count];
    if (last != node) {
        place(heap, last, node->position);
        sift_up(heap, last);
        sift_down(heap, last);
    }
    node->position = MOMI_HEAP_NONE;
}
