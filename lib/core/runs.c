/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of runs: see runs.h. This file has the set and its blocks; runs_block.c has what
 * happens inside one block.
 *
 * Invariants: runs of a block are ordered and do not overlap, neither do blocks; a block
 * holds at least one run, except that the only block of an empty set may stay, so that a
 * queue that is filled and emptied in turns allocates nothing. A block is packed or has
 * an array, never both; any operation that changes a block unpacks it first. Blocks that
 * are neither first nor last go through `hot`, and are packed when they fall out of it.
 *
 * Called from apply: memory is taken with momi_must_*; packing is left out when there is
 * no memory for it.
 */
#include "core/runs.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/runs_block.h"

enum { BLOCKS_ROOM_MIN = 4, KEEP_ROOM_MAX = 16, DIRTY_DELETE_BYTES = 24 };

static struct momi_runs_block *block_at(const struct momi_runs *runs, size_t position) {
    return runs->blocks[runs->blocks_head + position];
}

static bool is_in_middle(const struct momi_runs *runs,
                         const struct momi_runs_block *block) {
    return runs->blocks_count > 2 && block != block_at(runs, 0) &&
           block != block_at(runs, runs->blocks_count - 1);
}

/* After every change of a block. */
static void changed(struct momi_runs *runs, struct momi_runs_block *block) {
    momi_runs_block_bounds(block);
    runs->dirty_bytes -= block->estimate;
    block->estimate = (uint16_t)(32 + 5 * block->count);
    runs->dirty_bytes += block->estimate;
    block->is_dirty = true;
}

static void array_free(struct momi_runs *runs, struct momi_runs_block *block) {
    if (runs->spare_array == NULL && block->room == MOMI_RUNS_BLOCK_MAX) {
        runs->spare_array = block->array;
    } else {
        momi_free(block->array);
    }
    block->array = NULL;
    block->head = block->room = 0;
}

static struct momi_run *array_new(struct momi_runs *runs) {
    struct momi_run *array = runs->spare_array;
    runs->spare_array = NULL;
    return array != NULL ? array : momi_must_alloc(MOMI_RUNS_BLOCK_MAX * sizeof *array);
}

static void pack(struct momi_runs *runs, struct momi_runs_block *block) {
    uint8_t room[MOMI_BLOCK_BYTES_MAX];
    struct momi_slice bytes = momi_runs_block_encode(block, room);
    uint8_t *packed = momi_alloc_optional(bytes.size);
    if (packed != NULL) {
        memcpy(packed, bytes.data, bytes.size);
        block->packed = packed;
        block->packed_size = (uint16_t)bytes.size;
        array_free(runs, block);
    }
}

static void cool(struct momi_runs *runs, const struct momi_runs_block *block) {
    for (size_t i = 0; i < MOMI_RUNS_HOT; i++) {
        if (runs->hot[i] == block) {
            memmove(&runs->hot[i], &runs->hot[i + 1],
                    (MOMI_RUNS_HOT - 1 - i) * sizeof runs->hot[0]);
            runs->hot[MOMI_RUNS_HOT - 1] = NULL;
            return;
        }
    }
}

static void heat(struct momi_runs *runs, struct momi_runs_block *block) {
    if (runs->hot[0] == block) {
        return;
    }
    cool(runs, block);
    struct momi_runs_block *coldest = runs->hot[MOMI_RUNS_HOT - 1];
    memmove(&runs->hot[1], &runs->hot[0], (MOMI_RUNS_HOT - 1) * sizeof runs->hot[0]);
    runs->hot[0] = block;
    if (coldest != NULL && coldest->packed == NULL && is_in_middle(runs, coldest)) {
        pack(runs, coldest);
    }
}

/* The block, unpacked. */
static struct momi_runs_block *open_block(struct momi_runs *runs, size_t position) {
    struct momi_runs_block *block = block_at(runs, position);
    if (is_in_middle(runs, block)) {
        heat(runs, block); /* first: what it pushes out may leave its array to this one */
    }
    if (block->packed != NULL) {
        momi_runs_block_unpack(block, array_new(runs));
    }
    return block;
}

/* The pointers. */

static void blocks_put(struct momi_runs *runs, size_t position,
                       struct momi_runs_block *block) {
    if (position == 0 && runs->blocks_head > 0) {
        runs->blocks_head--;
    } else {
        if (runs->blocks_head + runs->blocks_count == runs->blocks_room) {
            if (runs->blocks_head > runs->blocks_room / 2) {
                memmove(runs->blocks, runs->blocks + runs->blocks_head,
                        runs->blocks_count * sizeof *runs->blocks);
                runs->blocks_head = 0;
            } else {
                size_t room = runs->blocks_room == 0 ? (size_t)BLOCKS_ROOM_MIN
                                                     : runs->blocks_room * 2;
                runs->blocks =
                    momi_must_realloc(runs->blocks, room * sizeof *runs->blocks);
                runs->blocks_room = room;
            }
        }
        struct momi_runs_block **at = runs->blocks + runs->blocks_head + position;
        memmove(at + 1, at, (runs->blocks_count - position) * sizeof *at);
    }
    runs->blocks[runs->blocks_head + position] = block;
    runs->blocks_count++;
}

static void blocks_erase(struct momi_runs *runs, size_t position) {
    runs->blocks_count--;
    if (position == 0) {
        runs->blocks_head = runs->blocks_count == 0 ? 0 : runs->blocks_head + 1;
    } else {
        struct momi_runs_block **at = runs->blocks + runs->blocks_head + position;
        memmove(at, at + 1, (runs->blocks_count - position) * sizeof *at);
    }
}

/* Ids of records that are there still are used again first, so that ids stay small. */
static uint32_t id_new(struct momi_runs *runs, bool *is_written) {
    *is_written = runs->freed_count > 0;
    return runs->freed_count > 0 ? runs->freed[--runs->freed_count] : runs->block_next++;
}

static void id_free(struct momi_runs *runs, const struct momi_runs_block *block) {
    if (!block->is_written && block->id + 1 == runs->block_next) {
        runs->block_next--;
        return;
    }
    if (runs->freed_count == runs->freed_room) {
        size_t room =
            runs->freed_room == 0 ? (size_t)BLOCKS_ROOM_MIN : runs->freed_room * 2;
        runs->freed = momi_must_realloc(runs->freed, room * sizeof *runs->freed);
        runs->freed_room = room;
    }
    runs->freed[runs->freed_count++] = block->id;
}

static struct momi_runs_block *block_new(struct momi_runs *runs, size_t position) {
    struct momi_runs_block *block = runs->spare_block;
    runs->spare_block = NULL;
    if (block == NULL) {
        block = momi_must_alloc(sizeof *block);
    }
    memset(block, 0, sizeof *block);
    block->id = id_new(runs, &block->is_written);
    if (runs->blocks_count > 0) { /* small sets stay small: their array grows instead */
        block->array = array_new(runs);
        block->room = MOMI_RUNS_BLOCK_MAX;
    }
    blocks_put(runs, position, block);
    /* A neighbour may have become one of the middle. */
    if (position > 0 && is_in_middle(runs, block_at(runs, position - 1))) {
        heat(runs, block_at(runs, position - 1));
    }
    if (position + 1 < runs->blocks_count &&
        is_in_middle(runs, block_at(runs, position + 1))) {
        heat(runs, block_at(runs, position + 1));
    }
    if (is_in_middle(runs, block)) {
        heat(runs, block);
    }
    return block;
}

static void block_free(struct momi_runs *runs, size_t position) {
    struct momi_runs_block *block = block_at(runs, position);
    id_free(runs, block);
    cool(runs, block);
    blocks_erase(runs, position);
    runs->dirty_bytes -= block->estimate;
    momi_free(block->packed);
    array_free(runs, block);
    if (runs->spare_block == NULL) {
        runs->spare_block = block;
    } else {
        momi_free(block);
    }
}

/* Position of the last block that begins at or below `sequence`; 0 when all begin above
 * it. The set is not empty. */
static size_t find_block(const struct momi_runs *runs, uint64_t sequence) {
    size_t low = 0;
    size_t high = runs->blocks_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (block_at(runs, middle)->first <= sequence) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

void momi_runs_init(struct momi_runs *runs) { memset(runs, 0, sizeof *runs); }

void momi_runs_free(struct momi_runs *runs) {
    for (size_t i = 0; i < runs->blocks_count; i++) {
        struct momi_runs_block *block = block_at(runs, i);
        momi_free(block->packed);
        momi_free(block->array);
        momi_free(block);
    }
    momi_free(runs->blocks);
    momi_free(runs->freed);
    momi_free(runs->spare_block);
    momi_free(runs->spare_array);
    momi_runs_init(runs);
}

bool momi_run_continues(const struct momi_run *run, const struct momi_run *next) {
    return run->index == next->index && run->slot + run->count == next->slot &&
           run->sequence + run->count == next->sequence &&
           run->deliveries == next->deliveries && next->count <= UINT32_MAX - run->count;
}

static void check_run(const struct momi_run *run) {
    MOMI_ASSERT(run->count > 0);
    MOMI_ASSERT(run->sequence > 0);
    MOMI_ASSERT(run->index > 0);
    MOMI_ASSERT(run->sequence <= UINT64_MAX / 2);
}

void momi_runs_append(struct momi_runs *runs, const struct momi_run *run) {
    check_run(run);
    if (runs->blocks_count == 0) {
        block_new(runs, 0);
    }
    struct momi_runs_block *block = open_block(runs, runs->blocks_count - 1);
    MOMI_ASSERT(runs->messages == 0 || run->sequence >= block->end);
    runs->messages += run->count;
    if (block->count > 0) {
        struct momi_run *last = &block->array[block->head + block->count - 1];
        if (momi_run_continues(last, run)) {
            last->count += run->count;
            changed(runs, block);
            return;
        }
    }
    /* Moving the runs to the beginning of their array pays when enough were taken. */
    bool is_at_end = block->head + block->count == MOMI_RUNS_BLOCK_MAX;
    if (is_at_end && block->head < MOMI_RUNS_BLOCK_MAX / 4) {
        block = block_new(runs, runs->blocks_count);
    }
    momi_runs_block_put(block, block->count, run);
    runs->runs++;
    changed(runs, block);
}

/* A full block at `position` gets half of its runs into a new one behind it. */
static void split_block(struct momi_runs *runs, size_t position) {
    struct momi_runs_block *low = open_block(runs, position);
    struct momi_runs_block *high = block_new(runs, position + 1);
    low = open_block(runs, position); /* making the other may have packed it */
    uint16_t kept = low->count / 2;
    high->count = (uint16_t)(low->count - kept);
    memcpy(high->array, &low->array[low->head + kept], high->count * sizeof *high->array);
    low->count = kept;
    changed(runs, low);
    changed(runs, high);
}

/* Puts a run, without merging, where it belongs in the block at `position`. */
static void put_in_block(struct momi_runs *runs, size_t position,
                         const struct momi_run *run) {
    if (block_at(runs, position)->count == MOMI_RUNS_BLOCK_MAX) {
        if (position == 0 && run->sequence < block_at(runs, 0)->first) {
            block_new(runs, 0);
        } else {
            split_block(runs, position);
            position = find_block(runs, run->sequence);
        }
    }
    struct momi_runs_block *block = open_block(runs, position);
    momi_runs_block_put(block, momi_runs_block_find(block, run->sequence), run);
    runs->runs++;
    changed(runs, block);
}

void momi_runs_insert(struct momi_runs *runs, const struct momi_run *run) {
    check_run(run);
    if (runs->messages == 0 ||
        run->sequence >= block_at(runs, runs->blocks_count - 1)->end) {
        momi_runs_append(runs, run);
        return;
    }
    size_t position = find_block(runs, run->sequence);
    struct momi_runs_block *block = open_block(runs, position);
    uint16_t at = momi_runs_block_find(block, run->sequence);
    struct momi_run *before = at > 0 ? &block->array[block->head + at - 1] : NULL;
    struct momi_run *after = at < block->count ? &block->array[block->head + at] : NULL;
    MOMI_ASSERT(before == NULL || before->sequence + before->count <= run->sequence);
    MOMI_ASSERT(after == NULL || run->sequence + run->count <= after->sequence);
    runs->messages += run->count;
    if (before != NULL && momi_run_continues(before, run)) {
        before->count += run->count;
        if (after != NULL && momi_run_continues(before, after)) {
            before->count += after->count;
            momi_runs_block_erase(block, at);
            runs->runs--;
        }
        changed(runs, block);
    } else if (after != NULL && momi_run_continues(run, after)) {
        after->sequence = run->sequence;
        after->slot = run->slot;
        after->count += run->count;
        changed(runs, block);
    } else {
        put_in_block(runs, position, run);
    }
}

bool momi_runs_first(const struct momi_runs *runs, struct momi_run *run) {
    if (runs->messages == 0) {
        return false;
    }
    struct momi_runs_walk walk = momi_runs_walk(block_at(runs, 0));
    return momi_runs_walk_next(&walk, run);
}

bool momi_runs_take(struct momi_runs *runs, uint32_t count_max, struct momi_run *run) {
    MOMI_ASSERT(count_max > 0);
    if (runs->messages == 0) {
        return false;
    }
    struct momi_runs_block *block = open_block(runs, 0);
    struct momi_run *first = &block->array[block->head];
    *run = *first;
    if (first->count > count_max) {
        run->count = count_max;
        first->sequence += count_max;
        first->slot += count_max;
        first->count -= count_max;
    } else {
        momi_runs_block_erase(block, 0);
        runs->runs--;
    }
    runs->messages -= run->count;
    if (block->count == 0 && runs->blocks_count > 1) {
        block_free(runs, 0);
    } else {
        changed(runs, block);
    }
    return true;
}

bool momi_runs_at(const struct momi_runs *runs, uint64_t sequence, struct momi_run *run) {
    if (runs->messages == 0) {
        return false;
    }
    size_t position = find_block(runs, sequence);
    if (block_at(runs, position)->end <= sequence && ++position == runs->blocks_count) {
        return false;
    }
    struct momi_runs_walk walk = momi_runs_walk(block_at(runs, position));
    while (momi_runs_walk_next(&walk, run)) {
        if (run->sequence + run->count > sequence) {
            if (run->sequence < sequence) {
                uint32_t skipped = (uint32_t)(sequence - run->sequence);
                run->sequence = sequence;
                run->slot += skipped;
                run->count -= skipped;
            }
            return true;
        }
    }
    return false;
}

/* Cuts [from, to) out of the run at `at` of the block at `position`, in which it lies;
 * the piece is in `piece`. */
static void cut(struct momi_runs *runs, size_t position, uint16_t at, uint64_t from,
                uint64_t to, struct momi_run *piece) {
    struct momi_runs_block *block = block_at(runs, position);
    struct momi_run *run = &block->array[block->head + at];
    uint32_t skipped = (uint32_t)(from - run->sequence);
    uint32_t rest = (uint32_t)(run->sequence + run->count - to);
    *piece = *run;
    piece->sequence = from;
    piece->slot += skipped;
    piece->count = (uint32_t)(to - from);
    runs->messages -= piece->count;
    struct momi_run behind = *piece;
    behind.sequence = to;
    behind.slot += piece->count;
    behind.count = rest;
    if (skipped > 0) {
        run->count = skipped;
        if (rest > 0) {
            put_in_block(runs, position, &behind);
            block = block_at(runs, position);
        }
    } else if (rest > 0) {
        *run = behind;
    } else {
        momi_runs_block_erase(block, at);
        runs->runs--;
    }
    if (block->count == 0 && runs->blocks_count > 1) {
        block_free(runs, position);
    } else if (block->packed == NULL) {
        changed(runs, block);
    }
}

void momi_runs_remove(struct momi_runs *runs, uint64_t sequence, uint64_t count,
                      momi_run_fn gone, void *user) {
    MOMI_ASSERT(count <= UINT64_MAX - sequence);
    uint64_t end = sequence + count;
    while (sequence < end && runs->messages > 0) {
        size_t position = find_block(runs, sequence);
        if (block_at(runs, position)->end <= sequence &&
            ++position == runs->blocks_count) {
            return;
        }
        struct momi_runs_block *block = block_at(runs, position);
        if (block->first >= end) {
            return;
        }
        block = open_block(runs, position);
        uint16_t at = momi_runs_block_find(block, sequence);
        const struct momi_run *run = &block->array[block->head + at];
        if (at > 0 && run[-1].sequence + run[-1].count > sequence) {
            at--;
            run--;
        }
        if (run->sequence >= end) {
            return;
        }
        uint64_t from = run->sequence < sequence ? sequence : run->sequence;
        uint64_t run_end = run->sequence + run->count;
        uint64_t to = run_end < end ? run_end : end;
        struct momi_run piece;
        cut(runs, position, at, from, to, &piece);
        if (gone != NULL) {
            gone(user, &piece);
        }
        sequence = to;
    }
}

void momi_runs_clear(struct momi_runs *runs) {
    while (runs->blocks_count > 1) {
        block_free(runs, runs->blocks_count - 1);
    }
    if (runs->blocks_count == 1) {
        struct momi_runs_block *block = open_block(runs, 0);
        block->head = block->count = 0;
        changed(runs, block);
    }
    runs->messages = 0;
    runs->runs = 0;
}

void momi_runs_move(struct momi_runs *runs, struct momi_runs *to) {
    momi_runs_init(to);
    for (size_t i = 0; i < runs->blocks_count; i++) {
        struct momi_runs_block *block = block_at(runs, i);
        id_free(runs, block);
        runs->dirty_bytes -= block->estimate;
    }
    to->blocks = runs->blocks;
    to->blocks_head = runs->blocks_head;
    to->blocks_count = runs->blocks_count;
    to->blocks_room = runs->blocks_room;
    to->messages = runs->messages;
    to->runs = runs->runs;
    runs->blocks = NULL;
    runs->blocks_head = runs->blocks_count = runs->blocks_room = 0;
    runs->messages = runs->runs = 0;
    memset(runs->hot, 0, sizeof runs->hot);
}

bool momi_runs_bury(struct momi_runs *runs, momi_run_fn visit, void *user) {
    if (runs->blocks_count == 0) {
        return false;
    }
    struct momi_runs_block *block = block_at(runs, 0);
    struct momi_runs_walk walk = momi_runs_walk(block);
    struct momi_run run;
    while (momi_runs_walk_next(&walk, &run)) {
        runs->messages -= run.count;
        runs->runs--;
        visit(user, &run);
    }
    blocks_erase(runs, 0);
    momi_free(block->packed);
    momi_free(block->array);
    momi_free(block);
    return true;
}

void momi_runs_each(const struct momi_runs *runs, momi_run_fn visit, void *user) {
    for (size_t i = 0; i < runs->blocks_count; i++) {
        struct momi_runs_walk walk = momi_runs_walk(block_at(runs, i));
        struct momi_run run;
        while (momi_runs_walk_next(&walk, &run)) {
            visit(user, &run);
        }
    }
}

struct hasher {
    uint64_t hash;
    struct momi_run run;
};

static void hash_run(struct hasher *hasher) {
    const struct momi_run *run = &hasher->run;
    const uint64_t words[] = {run->sequence, run->count, run->slot, run->index,
                              run->deliveries};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        hasher->hash = momi_hash_u64(hasher->hash ^ words[i]);
    }
}

static void hash_visit(void *user, const struct momi_run *run) {
    struct hasher *hasher = user;
    if (hasher->run.count > 0 && momi_run_continues(&hasher->run, run)) {
        hasher->run.count += run->count;
        return;
    }
    if (hasher->run.count > 0) {
        hash_run(hasher);
    }
    hasher->run = *run;
}

uint64_t momi_runs_hash(const struct momi_runs *runs, uint64_t hash) {
    struct hasher hasher = {.hash = momi_hash_u64(hash ^ runs->messages)};
    momi_runs_each(runs, hash_visit, &hasher);
    if (hasher.run.count > 0) {
        hash_run(&hasher);
    }
    return hasher.hash;
}

/* An empty set gives back what a long one has needed, and begins to count ids anew. */
static void trim(struct momi_runs *runs) {
    MOMI_ASSERT(runs->freed_count == 0);
    bool is_small =
        runs->spare_array == NULL && runs->spare_block == NULL &&
        (runs->blocks_count == 0 ||
         (runs->blocks_count == 1 && block_at(runs, 0)->room <= KEEP_ROOM_MAX));
    if (!is_small || runs->block_next > UINT32_MAX / 2) {
        momi_runs_free(runs);
    }
}

void momi_runs_save(struct momi_runs *runs, momi_runs_block_fn put, void *user) {
    for (size_t i = 0; i < runs->blocks_count; i++) {
        struct momi_runs_block *block = block_at(runs, i);
        if (!block->is_dirty) {
            continue;
        }
        if (block->count > 0) {
            uint8_t room[MOMI_BLOCK_BYTES_MAX];
            struct momi_slice value = block->packed != NULL
                                          ? momi_slice(block->packed, block->packed_size)
                                          : momi_runs_block_encode(block, room);
            put(user, block->id, &value);
        } else if (block->is_written) {
            put(user, block->id, NULL);
        }
        block->is_written = block->count > 0;
        block->is_dirty = false;
        block->estimate = 0;
    }
    for (size_t i = 0; i < runs->freed_count; i++) {
        put(user, runs->freed[i], NULL);
    }
    runs->freed_count = 0;
    runs->dirty_bytes = 0;
    if (runs->messages == 0) {
        trim(runs);
    }
}

void momi_runs_records(const struct momi_runs *runs, momi_runs_block_fn visit,
                       void *user) {
    for (size_t i = 0; i < runs->blocks_count; i++) {
        if (block_at(runs, i)->is_written) {
            visit(user, block_at(runs, i)->id, NULL);
        }
    }
    for (size_t i = 0; i < runs->freed_count; i++) {
        visit(user, runs->freed[i], NULL);
    }
}

size_t momi_runs_dirty_bytes(const struct momi_runs *runs) {
    return runs->dirty_bytes + runs->freed_count * DIRTY_DELETE_BYTES;
}

bool momi_runs_load(struct momi_runs *runs, uint32_t id, struct momi_slice value) {
    struct momi_runs_block loaded = {.id = id, .is_written = true};
    uint64_t messages = 0;
    if (id == UINT32_MAX || !momi_runs_block_check(&loaded, value, &messages)) {
        return false;
    }
    struct momi_runs_block *block = momi_alloc(sizeof *block);
    uint8_t *packed = momi_alloc(value.size);
    if (block == NULL || packed == NULL) {
        momi_free(block);
        momi_free(packed);
        return false;
    }
    memcpy(packed, value.data, value.size);
    *block = loaded;
    block->packed = packed;
    block->packed_size = (uint16_t)value.size;
    size_t position = 0;
    if (runs->blocks_count > 0) {
        position = find_block(runs, block->first);
        position += block_at(runs, position)->first <= block->first;
    }
    blocks_put(runs, position, block);
    runs->messages += messages;
    runs->runs += block->count;
    runs->block_next = id < runs->block_next ? runs->block_next : id + 1;
    return true;
}

bool momi_runs_loaded(const struct momi_runs *runs) {
    for (size_t i = 1; i < runs->blocks_count; i++) {
        if (block_at(runs, i - 1)->end > block_at(runs, i)->first) {
            return false;
        }
    }
    return true;
}

static size_t blocks_cost(const struct momi_runs *runs, uint64_t blocks) {
    size_t cost =
        blocks * (momi_reserve_cost(sizeof(struct momi_runs_block)) +
                  momi_reserve_cost(MOMI_RUNS_BLOCK_MAX * sizeof(struct momi_run)));
    /* The two arrays of pointers and ids at most double, and that often. */
    size_t pointers = runs->blocks_room * 2 + blocks * 4 + BLOCKS_ROOM_MIN;
    size_t ids = runs->freed_room * 2 + blocks * 4 + BLOCKS_ROOM_MIN;
    return cost + momi_reserve_cost(pointers * sizeof(void *)) +
           momi_reserve_cost(ids * sizeof(uint32_t)) + 256;
}

size_t momi_runs_append_cost(const struct momi_runs *runs, uint64_t count) {
    return blocks_cost(runs, count / (MOMI_RUNS_BLOCK_MAX * 3 / 4) + 2);
}

size_t momi_runs_insert_cost(const struct momi_runs *runs, uint64_t count) {
    /* Each may unpack a block and split one, but a block only once in so many. */
    uint64_t touched = count < runs->blocks_count ? count : runs->blocks_count;
    return blocks_cost(runs, 2 * touched + count / (MOMI_RUNS_BLOCK_MAX / 2) + 2);
}
