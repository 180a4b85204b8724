/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory. Every block has a header of 16 bytes in front of what the caller sees: its
 * size, and the chunk of the reserve that it was taken from (NULL: from the allocator).
 * So free and realloc need no help, and alignment is 16 throughout.
 *
 * A chunk counts its users: one for the reserve that owns it, one for each block in it.
 * The last one to go gives it back, on whatever thread that is.
 *
 * Invariant: `live_blocks` is the number of blocks handed out to callers; chunks are not
 * counted in it.
 */
#include "base/mem.h"

#include "base/assert.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct momi_reserve_chunk {
    atomic_size_t users;
    size_t size; /* bytes behind this header */
};

struct block_header {
    struct momi_reserve_chunk *chunk; /* NULL: from the allocator */
    size_t size;                      /* as the caller asked for */
};

_Static_assert(sizeof(struct block_header) == 16, "keeps blocks aligned to 16");
_Static_assert(sizeof(struct momi_reserve_chunk) == 16, "keeps blocks aligned to 16");

static void *default_alloc(size_t size, void *user) {
    (void)user;
    return malloc(size);
}
static void *default_realloc(void *block, size_t size, void *user) {
    (void)user;
    return realloc(block, size);
}
static void default_free(void *block, void *user) {
    (void)user;
    free(block);
}

static struct momi_allocator allocator_now = {.alloc = default_alloc,
                                              .realloc = default_realloc,
                                              .free = default_free,
                                              .user = NULL};
static _Thread_local struct momi_reserve *reserve_entered;

static atomic_int_least64_t fail_countdown = -1;
static atomic_bool fail_for_ever;
static atomic_uint_least64_t allocations_made;
static atomic_int_least64_t live_blocks;

void momi_mem_set_allocator(const struct momi_allocator *allocator) {
    MOMI_ASSERT(atomic_load(&live_blocks) == 0);
    allocator_now = *allocator;
}

/* True when failure injection wants this allocation to be refused. */
static bool refused_by_test(void) {
    int_least64_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    while (left >= 0) {
        int_least64_t after = left == 0 && atomic_load(&fail_for_ever) ? 0 : left - 1;
        if (atomic_compare_exchange_weak(&fail_countdown, &left, after)) {
            return left == 0;
        }
    }
    return false;
}

static void *hand_out(struct block_header *header, struct momi_reserve_chunk *chunk,
                      size_t size) {
    header->chunk = chunk;
    header->size = size;
    atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return header + 1;
}

static void chunk_release(struct momi_reserve_chunk *chunk) {
    if (atomic_fetch_sub_explicit(&chunk->users, 1, memory_order_acq_rel) == 1) {
        allocator_now.free(chunk, allocator_now.user);
    }
}

static void *take_from(struct momi_reserve *reserve, size_t size) {
    if (reserve->chunk == NULL || size > reserve->size) {
        return NULL;
    }
    size_t cost = momi_reserve_cost(size);
    if (cost > reserve->size - reserve->used) {
        return NULL;
    }
    uint8_t *start = (uint8_t *)(reserve->chunk + 1) + reserve->used;
    reserve->used += cost;
    atomic_fetch_add_explicit(&reserve->chunk->users, 1, memory_order_relaxed);
    return hand_out((struct block_header *)(void *)start, reserve->chunk, size);
}

static void *alloc_from_reserve(size_t size) {
    void *block = NULL;
    for (struct momi_reserve *reserve = reserve_entered; reserve != NULL && block == NULL;
         reserve = reserve->outer) {
        block = take_from(reserve, size);
    }
    return block;
}

void *momi_alloc_optional(size_t size) {
    size = size == 0 ? 1 : size;
    if (size > SIZE_MAX / 2 || refused_by_test()) {
        return NULL;
    }
    struct block_header *header =
        allocator_now.alloc(sizeof *header + size, allocator_now.user);
    if (header == NULL) {
        return NULL;
    }
    atomic_fetch_add_explicit(&allocations_made, 1, memory_order_relaxed);
    return hand_out(header, NULL, size);
}

void *momi_alloc(size_t size) {
    void *block = momi_alloc_optional(size);
    return block != NULL ? block : alloc_from_reserve(size == 0 ? 1 : size);
}

void *momi_calloc(size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    void *block = momi_alloc(count * size);
    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

/* For a block that the allocator cannot grow in place of us: a new one, a copy, and the
 * old one freed. */
static void *move_block(struct block_header *header, size_t size) {
    void *moved = momi_alloc(size);
    if (moved != NULL) {
        memcpy(moved, header + 1, header->size < size ? header->size : size);
        momi_free(header + 1);
    }
    return moved;
}

void *momi_realloc(void *block, size_t size) {
    if (block == NULL) {
        return momi_alloc(size);
    }
    size = size == 0 ? 1 : size;
    struct block_header *header = (struct block_header *)block - 1;
    if (header->chunk != NULL) {
        return move_block(header, size);
    }
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    if (!refused_by_test()) {
        struct block_header *grown =
            allocator_now.realloc(header, sizeof *header + size, allocator_now.user);
        if (grown != NULL) {
            atomic_fetch_add_explicit(&allocations_made, 1, memory_order_relaxed);
            grown->size = size;
            return grown + 1;
        }
    }
    void *moved = alloc_from_reserve(size);
    if (moved != NULL) {
        memcpy(moved, block, header->size < size ? header->size : size);
        momi_free(block);
    }
    return moved;
}

void momi_free(void *block) {
    if (block == NULL) {
        return;
    }
    struct block_header *header = (struct block_header *)block - 1;
    atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
    if (header->chunk != NULL) {
        chunk_release(header->chunk);
    } else {
        allocator_now.free(header, allocator_now.user);
    }
}

static void *must(void *block) {
    if (block == NULL) {
        momi_panic(__FILE__, __LINE__, "out of memory, and of the reserve");
    }
    return block;
}
void *momi_must_alloc(size_t size) { return must(momi_alloc(size)); }
void *momi_must_calloc(size_t count, size_t size) {
    return must(momi_calloc(count, size));
}
void *momi_must_realloc(void *block, size_t size) {
    return must(momi_realloc(block, size));
}

bool momi_reserve_fill(struct momi_reserve *reserve, size_t size) {
    if (reserve->chunk != NULL &&
        atomic_load_explicit(&reserve->chunk->users, memory_order_acquire) == 1) {
        reserve->used = 0;
    }
    if (reserve->size - reserve->used >= size) {
        return true;
    }
    if (size > SIZE_MAX / 2 || refused_by_test()) {
        return false;
    }
    size_t rounded = (size + 4095) & ~(size_t)4095;
    struct momi_reserve_chunk *chunk =
        allocator_now.alloc(sizeof *chunk + rounded, allocator_now.user);
    if (chunk == NULL) {
        return false;
    }
    atomic_fetch_add_explicit(&allocations_made, 1, memory_order_relaxed);
    atomic_init(&chunk->users, 1);
    chunk->size = rounded;
    momi_reserve_free(reserve);
    *reserve = (struct momi_reserve){.chunk = chunk, .size = rounded};
    return true;
}

void momi_reserve_enter(struct momi_reserve *reserve) {
    MOMI_ASSERT(reserve != reserve_entered);
    MOMI_ASSERT(reserve->outer == NULL);
    reserve->outer = reserve_entered;
    reserve_entered = reserve;
}

void momi_reserve_leave(void) {
    struct momi_reserve *left = reserve_entered;
    MOMI_ASSERT(left != NULL);
    reserve_entered = left->outer;
    left->outer = NULL;
}

void momi_reserve_free(struct momi_reserve *reserve) {
    MOMI_ASSERT(reserve_entered != reserve);
    if (reserve->chunk != NULL) {
        chunk_release(reserve->chunk);
    }
    *reserve = (struct momi_reserve){.chunk = NULL};
}

void momi_mem_fail_after(int64_t countdown, bool persistent) {
    atomic_store(&fail_for_ever, persistent);
    atomic_store(&fail_countdown, countdown < 0 ? -1 : countdown);
}
bool momi_mem_will_fail(void) { return atomic_load(&fail_countdown) >= 0; }
uint64_t momi_mem_allocations(void) { return atomic_load(&allocations_made); }
int64_t momi_mem_live(void) { return atomic_load(&live_blocks); }
