/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf-c over turn memory: see pb_arena.h. */
#include "wire/pb_arena.h"

static void *take(void *allocator_data, size_t size) {
    struct momi_pb_arena *pb = allocator_data;
    void *memory = momi_arena_alloc(pb->arena, size);
    pb->failed = pb->failed || memory == NULL;
    return memory;
}

static void leave(void *allocator_data, void *memory) {
    (void)allocator_data;
    (void)memory;
}

void momi_pb_arena_init(struct momi_pb_arena *pb, struct momi_arena *arena) {
    *pb = (struct momi_pb_arena){
        .allocator = {.alloc = take, .free = leave, .allocator_data = pb},
        .arena = arena,
    };
}
