/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: the only place that calls malloc and free.
 *
 * Two ways to allocate. `momi_alloc` may return NULL; its caller turns that into
 * NO_MEMORY. Applying a committed entry may not fail (docs/protocol R9): it first fills a
 * reserve that covers its worst case with `momi_reserve_fill`, enters it, and then uses
 * `momi_must_alloc`, which takes from the reserve when the allocator refuses. So does the
 * whole turn of a node, with a reserve around it that is filled before input is accepted.
 * A reserve is owned by one thread; one entered within another is taken from first.
 *
 * Sizes passed to momi_free and momi_realloc are not needed; blocks know where they came
 * from.
 */
#ifndef MOMI_BASE_MEM_H
#define MOMI_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The host's allocator; set before the first node is opened. realloc and free as in the C
 * library. */
struct momi_allocator {
    void *(*alloc)(size_t size, void *user);
    void *(*realloc)(void *block, size_t size, void *user);
    void (*free)(void *block, void *user);
    void *user;
};
void momi_mem_set_allocator(const struct momi_allocator *allocator);

void *momi_alloc(size_t size); /* uninitialised; NULL when out of memory; size 0 is 1 */
/* Zeroed; NULL when out of memory or on overflow. */
void *momi_calloc(size_t count, size_t size);
void *momi_realloc(void *block, size_t size); /* NULL: the old block is unchanged */
/* Never from a reserve: for what may be left out, such as a larger hash table. */
void *momi_alloc_optional(size_t size);
void momi_free(void *block); /* NULL is fine */

/* As above, but panics instead of returning NULL: only inside an entered reserve, or at
 * start-up. */
void *momi_must_alloc(size_t size);
void *momi_must_calloc(size_t count, size_t size);
void *momi_must_realloc(void *block, size_t size);

/* Memory kept for the case that the allocator refuses. Blocks taken from it may outlive
 * it and may be freed by any thread: the chunk that they sit in is counted. A zeroed
 * struct is an empty reserve. */
struct momi_reserve {
    struct momi_reserve_chunk *chunk; /* one reference is owned; NULL while empty */
    size_t size;                      /* usable bytes of the chunk */
    size_t used;
    struct momi_reserve *outer; /* while entered: taken from when this one is empty */
};
/* What a block of `size` bytes costs in a reserve: its header, and rounding to the
 * alignment. */
static inline size_t momi_reserve_cost(size_t size) {
    return 16 + ((size + 15) & ~(size_t)15);
}
/* Makes at least `size` bytes (the sum of the costs) available; false when out of memory,
 * and then the reserve is unchanged. */
bool momi_reserve_fill(struct momi_reserve *reserve, size_t size);
/* From enter to leave, allocations of this thread that the allocator refuses come from
 * `reserve`, then from the one that was entered before. */
void momi_reserve_enter(struct momi_reserve *reserve);
void momi_reserve_leave(void); /* the one entered last */
void momi_reserve_free(struct momi_reserve *reserve);

/* Failure injection for tests: the allocation number `countdown` from now on (0 = the
 * next) fails once, or for ever when `persistent`. A negative countdown turns it off.
 * Counts are process-wide. */
void momi_mem_fail_after(int64_t countdown, bool persistent);
bool momi_mem_will_fail(void);       /* an allocation is still to be refused */
uint64_t momi_mem_allocations(void); /* allocations made since the start */
int64_t momi_mem_live(void);         /* blocks not freed yet */

#endif
