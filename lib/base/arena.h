/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turn memory: allocations that all end together. Blocks are kept across resets, so a
 * steady state allocates nothing. A zeroed struct is an empty arena. Owned by one thread.
 */
#ifndef MOMI_BASE_ARENA_H
#define MOMI_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct momi_arena_block;
struct momi_arena {
    struct momi_arena_block *first;
    struct momi_arena_block *current;
    size_t used; /* in the current block */
};

/* Aligned to 16; NULL: out of memory. */
void *momi_arena_alloc(struct momi_arena *arena, size_t size);
void momi_arena_reset(struct momi_arena *arena); /* keeps up to 1 MiB of blocks */
void momi_arena_free(struct momi_arena *arena);

#endif
