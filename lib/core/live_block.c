/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of the live table: see live_block.h. */
#include "core/live_block.h"

#include "base/assert.h"
#include "base/mem.h"

enum {
    FORMAT = 1,
    /* Terms only grow, so that their differences together stay below 10 bytes more. */
    ENTRY_BYTES_MAX = 2 + 5 + 5 + 5 + 5 + 9,
};

_Static_assert(1 + 10 + MOMI_LIVE_BLOCK * ENTRY_BYTES_MAX <= MOMI_BLOCK_BYTES_MAX,
               "a full block fits a record");

struct walk {
    struct momi_reader in;
    uint64_t base;
    uint64_t offset; /* of the next one at least */
    uint64_t term;
};

/* The next entry as it is in the bytes; nothing of it is trusted. */
static bool read_entry(struct walk *walk, struct momi_live_entry *entry) {
    uint64_t tag = momi_get_varint(&walk->in);
    uint64_t references = momi_get_varint(&walk->in);
    uint64_t slots = momi_get_varint(&walk->in);
    uint64_t whole_bytes = momi_get_varint(&walk->in);
    uint64_t bytes = (tag & 1) != 0 ? momi_get_varint(&walk->in) : whole_bytes;
    uint64_t term = walk->term + momi_get_varint(&walk->in);
    bool is_bad = walk->in.failed || tag >> 1 >= MOMI_LIVE_BLOCK ||
                  walk->offset + (tag >> 1) >= MOMI_LIVE_BLOCK || references == 0 ||
                  references > UINT32_MAX || slots == 0 || slots > UINT32_MAX ||
                  whole_bytes > UINT32_MAX || bytes > UINT32_MAX || term < walk->term;
    if (is_bad) {
        return false;
    }
    *entry = (struct momi_live_entry){
        .index = walk->base + walk->offset + (tag >> 1),
        .term = term,
        .bytes = (uint32_t)bytes,
        .whole_bytes = (uint32_t)whole_bytes,
        .slots = (uint32_t)slots,
        .references = (uint32_t)references,
        .is_hollow = (tag & 1) != 0,
    };
    walk->offset = entry->index - walk->base + 1;
    walk->term = term;
    return true;
}

static struct walk walk_packed(const struct momi_live_block *block) {
    struct walk walk = {
        .in = momi_reader(momi_slice(block->packed, block->packed_size)),
        .base = block->base,
    };
    (void)momi_get_u8(&walk.in);
    return walk;
}

static bool next_unpacked(const struct momi_live_block *block, uint64_t index,
                          struct momi_live_entry *entry) {
    uint64_t from = index > block->base ? index - block->base : 0;
    for (; from < MOMI_LIVE_BLOCK; from++) {
        const struct momi_live_slot *slot = &block->array[from];
        if (slot->references > 0) {
            *entry = (struct momi_live_entry){
                .index = block->base + from,
                .term = slot->term,
                .bytes = slot->bytes,
                .whole_bytes = slot->whole_bytes,
                .slots = slot->slots,
                .references = slot->references,
                .is_hollow = slot->is_hollow,
            };
            return true;
        }
    }
    return false;
}

bool momi_live_block_next(const struct momi_live_block *block, uint64_t index,
                          struct momi_live_entry *entry) {
    if (block->packed == NULL) {
        return next_unpacked(block, index, entry);
    }
    struct walk walk = walk_packed(block);
    while (momi_reader_left(&walk.in) > 0) {
        bool is_good = read_entry(&walk, entry);
        MOMI_ASSERT(is_good); /* packed by us, or checked when loaded */
        if (entry->index >= index) {
            return true;
        }
    }
    return false;
}

struct momi_slice momi_live_block_encode(const struct momi_live_block *block,
                                         uint8_t *room) {
    MOMI_ASSERT(block->array != NULL);
    /* Never grows: the assertion above says that everything fits. */
    struct momi_bytes out = {.data = room, .room = MOMI_BLOCK_BYTES_MAX};
    uint64_t offset = 0;
    uint64_t term = 0;
    momi_put_u8(&out, FORMAT);
    for (uint64_t i = 0; i < MOMI_LIVE_BLOCK; i++) {
        const struct momi_live_slot *slot = &block->array[i];
        if (slot->references == 0) {
            continue;
        }
        momi_put_varint(&out, (i - offset) << 1 | slot->is_hollow);
        momi_put_varint(&out, slot->references);
        momi_put_varint(&out, slot->slots);
        momi_put_varint(&out, slot->whole_bytes);
        if (slot->is_hollow) {
            momi_put_varint(&out, slot->bytes);
        }
        momi_put_varint(&out, slot->term - term);
        offset = i + 1;
        term = slot->term;
    }
    MOMI_ASSERT(!out.failed);
    MOMI_ASSERT(out.data == room);
    return momi_bytes_slice(&out);
}

void momi_live_block_unpack(struct momi_live_block *block, struct momi_live_slot *array) {
    memset(array, 0, MOMI_LIVE_BLOCK * sizeof *array);
    struct walk walk = walk_packed(block);
    while (momi_reader_left(&walk.in) > 0) {
        struct momi_live_entry entry;
        bool is_good = read_entry(&walk, &entry);
        MOMI_ASSERT(is_good);
        array[entry.index - block->base] = (struct momi_live_slot){
            .term = entry.term,
            .whole_bytes = entry.whole_bytes,
            .bytes = entry.bytes,
            .slots = entry.slots,
            .references = entry.references,
            .is_hollow = entry.is_hollow,
        };
    }
    momi_free(block->packed);
    block->packed = NULL;
    block->packed_size = 0;
    block->array = array;
}

bool momi_live_block_check(struct momi_live_block *block, struct momi_slice value,
                           uint64_t *bytes) {
    if (value.size > MOMI_BLOCK_BYTES_MAX) {
        return false;
    }
    struct walk walk = {.in = momi_reader(value), .base = block->base};
    bool is_known = momi_get_u8(&walk.in) == FORMAT;
    *bytes = 0;
    block->used = 0;
    while (momi_reader_left(&walk.in) > 0) {
        struct momi_live_entry entry;
        if (!read_entry(&walk, &entry) || entry.index == 0) {
            return false;
        }
        *bytes += entry.bytes;
        block->used++;
    }
    return is_known && momi_reader_done(&walk.in) && block->used > 0;
}
