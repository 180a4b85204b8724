/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is there, or the program ends.
 */
#include "check/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *block) {
    if (block == NULL) {
        fputs("check: out of memory\n", stderr);
        abort();
    }
    return block;
}

void *check_calloc(size_t count, size_t size) {
    return must(calloc(count == 0 ? 1 : count, size));
}

void *check_realloc(void *block, size_t size) { return must(realloc(block, size)); }

void check_free(void *block) { free(block); }

void *check_grow(void *list, uint32_t count, uint32_t *room, size_t size) {
    return check_grow_to(list, count, room, size);
}

void *check_grow_to(void *list, uint32_t index, uint32_t *room, size_t size) {
    if (index < *room) {
        return list;
    }
    uint32_t more = *room == 0 ? 16 : *room;
    while (more <= index) {
        more = more > UINT32_MAX / 2 ? UINT32_MAX : more * 2;
    }
    list = check_realloc(list, (size_t)more * size);
    memset((char *)list + (size_t)*room * size, 0, (size_t)(more - *room) * size);
    *room = more;
    return list;
}
