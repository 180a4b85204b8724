/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An allocator for protobuf-c over turn memory: unpacked messages end with the turn and
 * are never freed one by one.
 */
#ifndef MOMI_WIRE_PB_ARENA_H
#define MOMI_WIRE_PB_ARENA_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

struct momi_pb_arena {
    ProtobufCAllocator allocator; /* for the unpack function */
    struct momi_arena *arena;
    bool failed; /* an allocation was refused: NULL from unpack was not the sender's fault
                  */
};

/* Points into itself: may not be moved. */
void momi_pb_arena_init(struct momi_pb_arena *pb, struct momi_arena *arena);

#endif
