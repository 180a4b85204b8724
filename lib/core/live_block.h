/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 128 consecutive indexes of the live table, and their packed form, which is the
 * checkpoint record:
 *
 *   u8 format, then for each entry with references
 *   varint (offset - that of the one before) << 1 | is hollow, varint references,
 *   varint slots, varint whole bytes, [varint bytes of the hollow one],
 *   varint term - that of the one before
 *
 * live.c alone includes it, and owns the blocks.
 */
#ifndef MOMI_CORE_LIVE_BLOCK_H
#define MOMI_CORE_LIVE_BLOCK_H

#include "base/pack.h"
#include "core/live.h"

#define MOMI_LIVE_BLOCK 128u

struct momi_live_slot {
    uint64_t term;
    uint32_t whole_bytes;
    uint32_t bytes;
    uint32_t slots; /* 0: no entry with messages */
    uint32_t references;
    bool is_hollow;
};

struct momi_live_block {
    uint64_t base;                /* a multiple of MOMI_LIVE_BLOCK */
    struct momi_live_slot *array; /* owned, MOMI_LIVE_BLOCK of them; NULL: packed */
    uint8_t *packed;              /* owned; NULL: unpacked */
    uint16_t packed_size;
    uint16_t used;     /* entries with references */
    uint16_t estimate; /* its share of the dirty bytes */
    bool is_dirty;
    bool is_written; /* its record is there */
};

/* The first entry with references at or above `index`; packed blocks stay packed. */
bool momi_live_block_next(const struct momi_live_block *block, uint64_t index,
                          struct momi_live_entry *entry);
/* The packed form of an unpacked block, in `room` of MOMI_BLOCK_BYTES_MAX bytes. */
struct momi_slice momi_live_block_encode(const struct momi_live_block *block,
                                         uint8_t *room);
/* Takes the array and frees the packed form. */
void momi_live_block_unpack(struct momi_live_block *block, struct momi_live_slot *array);
/* Is `value` a packed block? Sets `used`, and sums up the bytes as stored. */
bool momi_live_block_check(struct momi_live_block *block, struct momi_slice value,
                           uint64_t *bytes);

#endif
