/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable FIFO of fixed-size elements in one array. Index 0 is the oldest. Owned by
 * one thread.
 */
#ifndef MOMI_BASE_RING_H
#define MOMI_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct momi_ring {
    uint8_t *data; /* owned; room elements */
    size_t element_size;
    size_t room; /* a power of two, 0 while empty */
    size_t head;
    size_t count;
};

void momi_ring_init(struct momi_ring *ring, size_t element_size);
void momi_ring_free(struct momi_ring *ring);
bool momi_ring_reserve(struct momi_ring *ring, size_t count);
/* The new, zeroed last element; NULL: no memory. */
void *momi_ring_push(struct momi_ring *ring);
void *momi_ring_at(const struct momi_ring *ring, size_t index);
void momi_ring_pop_front(struct momi_ring *ring, size_t count);
void momi_ring_pop_back(struct momi_ring *ring, size_t count);

#endif
