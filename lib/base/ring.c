/* SPDX-License-Identifier: Apache-2.0 */
/* The FIFO in an array. Element `index` sits at (head + index) modulo room. */
#include "base/ring.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

enum { RING_ROOM_MIN = 8 };

void momi_ring_init(struct momi_ring *ring, size_t element_size) {
    MOMI_ASSERT(element_size > 0);
    *ring = (struct momi_ring){.data = NULL, .element_size = element_size};
}

void momi_ring_free(struct momi_ring *ring) {
    momi_free(ring->data);
    momi_ring_init(ring, ring->element_size);
}

bool momi_ring_reserve(struct momi_ring *ring, size_t count) {
    if (count <= ring->room) {
        return true;
    }
    if (count > SIZE_MAX / 4 / ring->element_size) {
        return false;
    }
    size_t room = ring->room < RING_ROOM_MIN ? RING_ROOM_MIN : ring->room;
    while (room < count) {
        room *= 2;
    }
    uint8_t *data = momi_alloc(room * ring->element_size);
    if (data == NULL) {
        return false;
    }
    if (ring->count > 0) {
        size_t to_end = ring->room - ring->head;
        size_t first = ring->count < to_end ? ring->count : to_end;
        memcpy(data, ring->data + ring->head * ring->element_size,
               first * ring->element_size);
        memcpy(data + first * ring->element_size, ring->data,
               (ring->count - first) * ring->element_size);
    }
    momi_free(ring->data);
    ring->data = data;
    ring->room = room;
    ring->head = 0;
    return true;
}

void *momi_ring_push(struct momi_ring *ring) {
    if (!momi_ring_reserve(ring, ring->count + 1)) {
        return NULL;
    }
    ring->count++;
    void *element = momi_ring_at(ring, ring->count - 1);
    memset(element, 0, ring->element_size);
    return element;
}

void *momi_ring_at(const struct momi_ring *ring, size_t index) {
    MOMI_ASSERT(index < ring->count);
    return ring->data + ((ring->head + index) & (ring->room - 1)) * ring->element_size;
}

void momi_ring_pop_front(struct momi_ring *ring, size_t count) {
    MOMI_ASSERT(count <= ring->count);
    if (count > 0) {
        ring->head = (ring->head + count) & (ring->room - 1);
        ring->count -= count;
    }
}

void momi_ring_pop_back(struct momi_ring *ring, size_t count) {
    MOMI_ASSERT(count <= ring->count);
    ring->count -= count;
}
