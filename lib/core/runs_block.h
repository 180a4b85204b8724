/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of a set of runs, and its packed form, which is the checkpoint record:
 *
 *   u8 format, varint count, varint first sequence, then per run
 *   varint (count - 1) << 2 | has gap | has deliveries << 1, [varint gap to the run
 * before], varint zigzag difference of index, varint slot, [varint deliveries]
 *
 * runs.c alone includes it, and owns the blocks.
 */
#ifndef MOMI_CORE_RUNS_BLOCK_H
#define MOMI_CORE_RUNS_BLOCK_H

#include "core/runs.h"

struct momi_runs_block {
    uint64_t first;         /* sequence of the first message */
    uint64_t end;           /* sequence after the last message */
    struct momi_run *array; /* owned; `count` of `room` from `head` on; NULL: packed */
    uint8_t *packed;        /* owned; NULL: unpacked */
    uint32_t id;
    uint16_t head;
    uint16_t count; /* of runs, packed or not */
    uint16_t room;
    uint16_t packed_size;
    uint16_t estimate; /* its share of momi_runs.dirty_bytes */
    bool is_dirty;
    bool is_written; /* a record with this id may be there */
};

/* Runs of a block in order, packed or not. The block must not change meanwhile. */
struct momi_runs_walk {
    const struct momi_run *next; /* unpacked */
    struct momi_reader in;       /* packed */
    uint64_t sequence;
    uint64_t index;
    uint32_t left;
};
struct momi_runs_walk momi_runs_walk(const struct momi_runs_block *block);
bool momi_runs_walk_next(struct momi_runs_walk *walk, struct momi_run *run);

/* Sets first and end from the runs. */
void momi_runs_block_bounds(struct momi_runs_block *block);
/* Position of the first run that begins at or above `sequence`; count: none does. */
uint16_t momi_runs_block_find(const struct momi_runs_block *block, uint64_t sequence);
/* The block is unpacked and not full. */
void momi_runs_block_put(struct momi_runs_block *block, uint16_t at,
                         const struct momi_run *run);
void momi_runs_block_erase(struct momi_runs_block *block, uint16_t at);
/* The packed form of an unpacked block, in `room` of MOMI_BLOCK_BYTES_MAX bytes. */
struct momi_slice momi_runs_block_encode(const struct momi_runs_block *block,
                                         uint8_t *room);
/* Takes an array with room for MOMI_RUNS_BLOCK_MAX runs and frees the packed form. */
void momi_runs_block_unpack(struct momi_runs_block *block, struct momi_run *array);
/* Is `value` a packed block? Sets first, end and count, and counts the messages. */
bool momi_runs_block_check(struct momi_runs_block *block, struct momi_slice value,
                           uint64_t *messages);

#endif
