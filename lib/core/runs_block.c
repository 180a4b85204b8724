/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of runs: see runs_block.h. */
#include "core/runs_block.h"

#include "base/assert.h"
#include "base/mem.h"

enum {
    FORMAT = 1,
    ROOM_FIRST = 4,
    HEAD_BYTES_MAX = 1 + 2 + 10,
    RUN_BYTES_MAX = 5 + 10 + 10 + 5 + 5,
};
#define TAG_GAP        1u
#define TAG_DELIVERIES 2u

_Static_assert(HEAD_BYTES_MAX + MOMI_RUNS_BLOCK_MAX * RUN_BYTES_MAX <=
                   MOMI_BLOCK_BYTES_MAX,
               "a full block fits a record");

static uint64_t zigzag(uint64_t difference) {
    return difference << 1 ^ (difference >> 63 != 0 ? UINT64_MAX : 0);
}
static uint64_t unzigzag(uint64_t value) {
    return value >> 1 ^ ((value & 1) != 0 ? UINT64_MAX : 0);
}

struct momi_runs_walk momi_runs_walk(const struct momi_runs_block *block) {
    struct momi_runs_walk walk = {.left = block->count};
    if (block->packed == NULL) {
        walk.next = block->array == NULL ? NULL : block->array + block->head;
        return walk;
    }
    walk.in = momi_reader(momi_slice(block->packed, block->packed_size));
    (void)momi_get_u8(&walk.in);
    (void)momi_get_varint(&walk.in);
    walk.sequence = momi_get_varint(&walk.in);
    return walk;
}

/* The next run as it is in the bytes; nothing of it is trusted. */
static bool read_run(struct momi_runs_walk *walk, struct momi_run *run) {
    uint64_t tag = momi_get_varint(&walk->in);
    uint64_t gap = (tag & TAG_GAP) != 0 ? momi_get_varint(&walk->in) : 0;
    walk->index += unzigzag(momi_get_varint(&walk->in));
    uint64_t slot = momi_get_varint(&walk->in);
    uint64_t deliveries = (tag & TAG_DELIVERIES) != 0 ? momi_get_varint(&walk->in) : 0;
    uint64_t count = (tag >> 2) + 1;
    bool is_bad = walk->in.failed || count > UINT32_MAX || gap > UINT64_MAX / 4 ||
                  slot > UINT32_MAX - count || deliveries > UINT32_MAX ||
                  walk->sequence + gap == 0 || walk->sequence + gap > UINT64_MAX / 2 ||
                  walk->index == 0;
    if (is_bad) {
        return false;
    }
    *run = (struct momi_run){
        .sequence = walk->sequence + gap,
        .count = (uint32_t)count,
        .slot = (uint32_t)slot,
        .index = walk->index,
        .deliveries = (uint32_t)deliveries,
    };
    walk->sequence = run->sequence + run->count;
    return true;
}

bool momi_runs_walk_next(struct momi_runs_walk *walk, struct momi_run *run) {
    if (walk->left == 0) {
        return false;
    }
    walk->left--;
    if (walk->next != NULL) {
        *run = *walk->next++;
        return true;
    }
    bool is_good = read_run(walk, run);
    MOMI_ASSERT(is_good); /* packed by us, or checked when loaded */
    return true;
}

void momi_runs_block_bounds(struct momi_runs_block *block) {
    if (block->count > 0) {
        const struct momi_run *last = &block->array[block->head + block->count - 1];
        block->first = block->array[block->head].sequence;
        block->end = last->sequence + last->count;
    }
}

uint16_t momi_runs_block_find(const struct momi_runs_block *block, uint64_t sequence) {
    uint16_t low = 0;
    uint16_t high = block->count;
    while (low < high) {
        uint16_t middle = (uint16_t)(low + (high - low) / 2);
        if (block->array[block->head + middle].sequence < sequence) {
            low = (uint16_t)(middle + 1);
        } else {
            high = middle;
        }
    }
    return low;
}

void momi_runs_block_put(struct momi_runs_block *block, uint16_t at,
                         const struct momi_run *run) {
    MOMI_ASSERT(block->count < MOMI_RUNS_BLOCK_MAX);
    MOMI_ASSERT(at <= block->count);
    bool is_at_end = block->head + block->count == block->room;
    if (is_at_end && at == block->count && block->head >= ROOM_FIRST &&
        block->head >= block->room / 4) {
        memmove(block->array, block->array + block->head,
                block->count * sizeof *block->array);
        block->head = 0;
        is_at_end = false;
    } else if (is_at_end && block->room < MOMI_RUNS_BLOCK_MAX) {
        uint16_t room =
            block->room < ROOM_FIRST ? ROOM_FIRST : (uint16_t)(block->room * 2);
        room = room < MOMI_RUNS_BLOCK_MAX ? room : MOMI_RUNS_BLOCK_MAX;
        block->array = momi_must_realloc(block->array, room * sizeof *block->array);
        block->room = room;
        is_at_end = false;
    }
    struct momi_run *base = block->array + block->head;
    if (block->head > 0 && (at == 0 || is_at_end)) {
        memmove(base - 1, base, at * sizeof *base);
        block->head--;
    } else {
        memmove(base + at + 1, base + at, (size_t)(block->count - at) * sizeof *base);
    }
    block->array[block->head + at] = *run;
    block->count++;
}

void momi_runs_block_erase(struct momi_runs_block *block, uint16_t at) {
    MOMI_ASSERT(at < block->count);
    struct momi_run *base = block->array + block->head;
    block->count--;
    if (at == 0) {
        block->head = block->count == 0 ? 0 : (uint16_t)(block->head + 1);
    } else {
        memmove(base + at, base + at + 1, (size_t)(block->count - at) * sizeof *base);
    }
}

struct momi_slice momi_runs_block_encode(const struct momi_runs_block *block,
                                         uint8_t *room) {
    MOMI_ASSERT(block->array != NULL);
    MOMI_ASSERT(block->count > 0);
    /* Never grows: the assertion above says that everything fits. */
    struct momi_bytes out = {.data = room, .room = MOMI_BLOCK_BYTES_MAX};
    const struct momi_run *run = block->array + block->head;
    uint64_t sequence = run->sequence;
    uint64_t index = 0;
    momi_put_u8(&out, FORMAT);
    momi_put_varint(&out, block->count);
    momi_put_varint(&out, sequence);
    for (uint16_t i = 0; i < block->count; i++, run++) {
        uint64_t gap = run->sequence - sequence;
        uint64_t tag = (uint64_t)(run->count - 1) << 2 | (gap > 0 ? TAG_GAP : 0) |
                       (run->deliveries > 0 ? TAG_DELIVERIES : 0);
        momi_put_varint(&out, tag);
        if (gap > 0) {
            momi_put_varint(&out, gap);
        }
        momi_put_varint(&out, zigzag(run->index - index));
        momi_put_varint(&out, run->slot);
        if (run->deliveries > 0) {
            momi_put_varint(&out, run->deliveries);
        }
        sequence = run->sequence + run->count;
        index = run->index;
    }
    MOMI_ASSERT(!out.failed);
    MOMI_ASSERT(out.data == room);
    return momi_bytes_slice(&out);
}

void momi_runs_block_unpack(struct momi_runs_block *block, struct momi_run *array) {
    struct momi_runs_walk walk = momi_runs_walk(block);
    for (uint16_t i = 0; i < block->count; i++) {
        (void)momi_runs_walk_next(&walk, &array[i]);
    }
    momi_free(block->packed);
    block->packed = NULL;
    block->packed_size = 0;
    block->array = array;
    block->head = 0;
    block->room = MOMI_RUNS_BLOCK_MAX;
}

bool momi_runs_block_check(struct momi_runs_block *block, struct momi_slice value,
                           uint64_t *messages) {
    if (value.size > MOMI_BLOCK_BYTES_MAX) {
        return false;
    }
    struct momi_runs_walk walk = {.in = momi_reader(value)};
    bool is_known = momi_get_u8(&walk.in) == FORMAT;
    uint64_t count = momi_get_varint(&walk.in);
    walk.sequence = momi_get_varint(&walk.in);
    if (walk.in.failed || !is_known || count == 0 || count > MOMI_RUNS_BLOCK_MAX ||
        walk.sequence > UINT64_MAX / 2) {
        return false;
    }
    struct momi_run run;
    *messages = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!read_run(&walk, &run)) {
            return false;
        }
        if (i == 0) {
            block->first = run.sequence;
        }
        *messages += run.count;
    }
    block->end = walk.sequence;
    block->count = (uint16_t)count;
    return momi_reader_done(&walk.in);
}
