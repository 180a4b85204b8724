/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the checkers. Not that of the library: its accounting and its injected
 * failures are under test. Running out ends the program.
 */
#ifndef MOM_CHECK_MEMORY_H
#define MOM_CHECK_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *check_calloc(size_t count, size_t size);
void *check_realloc(void *block, size_t size);
void check_free(void *block);

/* Makes room for one more than `count` elements in a list that has `*room`; returns the
 * list, where it lies now. New room is zeroed. */
void *check_grow(void *list, uint32_t count, uint32_t *room, size_t size);
/* The same for element `index`, with all before it. */
void *check_grow_to(void *list, uint32_t index, uint32_t *room, size_t size);

#endif
