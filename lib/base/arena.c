/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turn memory: a chain of blocks, filled in order. A block that is too small for a
 * request is left behind with its rest unused; it serves again after the reset.
 */
#include "base/arena.h"

#include "base/mem.h"

#include <stdint.h>

enum { BLOCK_SIZE_MIN = 16 * 1024, KEEP_BYTES_MAX = 1024 * 1024, ALIGNMENT = 16 };

struct momi_arena_block {
    struct momi_arena_block *next;
    size_t size; /* bytes behind this header */
};

_Static_assert(sizeof(struct momi_arena_block) % ALIGNMENT == 0, "the bytes are aligned");

/* Makes a block with room for `size` bytes the current one, behind the one that is now.
 */
static bool next_block(struct momi_arena *arena, size_t size) {
    struct momi_arena_block **link =
        arena->current == NULL ? &arena->first : &arena->current->next;
    if (*link == NULL || (*link)->size < size) {
        size_t block_size = size < BLOCK_SIZE_MIN ? BLOCK_SIZE_MIN : size;
        struct momi_arena_block *block = momi_alloc(sizeof *block + block_size);
        if (block == NULL) {
            return false;
        }
        block->size = block_size;
        block->next = *link;
        *link = block;
    }
    arena->current = *link;
    arena->used = 0;
    return true;
}

void *momi_arena_alloc(struct momi_arena *arena, size_t size) {
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = size == 0 ? ALIGNMENT : (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (arena->current == NULL || size > arena->current->size - arena->used) {
        if (!next_block(arena, size)) {
            return NULL;
        }
    }
    void *memory = (uint8_t *)(arena->current + 1) + arena->used;
    arena->used += size;
    return memory;
}

static void free_chain(struct momi_arena_block *block) {
    while (block != NULL) {
        struct momi_arena_block *after = block->next;
        momi_free(block);
        block = after;
    }
}

void momi_arena_reset(struct momi_arena *arena) {
    size_t kept = 0;
    struct momi_arena_block **link = &arena->first;
    while (*link != NULL) {
        struct momi_arena_block *block = *link;
        if (block->size > KEEP_BYTES_MAX - kept) {
            *link = block->next;
            momi_free(block);
        } else {
            kept += block->size;
            link = &block->next;
        }
    }
    arena->current = NULL;
    arena->used = 0;
}

void momi_arena_free(struct momi_arena *arena) {
    free_chain(arena->first);
    *arena = (struct momi_arena){.first = NULL, .current = NULL, .used = 0};
}
