/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live table: see live.h. Blocks in rising order in an array of pointers; the last
 * one is never packed, the others while they are not among the `hot` ones. A block
 * without references goes, but for the last.
 *
 * `dead` lists the entries below the beginning of the log that fell to zero since the
 * last checkpoint: the others need no list, since the beginning of the log passes over
 * them later and finds them without references. Until the first checkpoint after a start
 * the beginning is not known here, and all are listed.
 *
 * Called from apply: memory is taken with momi_must_*; packing is left out when there is
 * no memory for it.
 */
#include "core/live.h"

#include "base/assert.h"
#include "base/mem.h"
#include "core/keys.h"
#include "core/live_block.h"
#include "core/mutant.h"

enum {
    HOT = 8,
    ROOM_MIN = 8,
    KEY_BYTES = 9,
    RANGE_MIN = 32, /* so many consecutive deletes are still single ones */
    BLOCK_BYTES = 32,
    ENTRY_BYTES = 7,
};

struct indexes {
    uint64_t *list; /* owned */
    size_t count;
    size_t room;
};

struct momi_live {
    uint32_t shard;
    struct momi_live_block **blocks; /* owned; the first is at blocks_head */
    size_t blocks_head;
    size_t blocks_count;
    size_t blocks_room;
    struct momi_live_block *hot[HOT]; /* worked on last, the newest first */
    struct momi_live_block *spare_block;
    struct momi_live_slot *spare_array;
    uint64_t count;
    uint64_t bytes;
    uint64_t last;        /* the highest index ever added */
    uint64_t first;       /* beginning of the log; UINT64_MAX: not known yet */
    struct indexes dead;  /* below `first` */
    struct indexes freed; /* bases of blocks whose records are to be deleted */
    size_t dirty_bytes;
};

static void indexes_push(struct indexes *indexes, uint64_t value) {
    if (indexes->count == indexes->room) {
        size_t room = indexes->room == 0 ? (size_t)ROOM_MIN : indexes->room * 2;
        indexes->list = momi_must_realloc(indexes->list, room * sizeof *indexes->list);
        indexes->room = room;
    }
    indexes->list[indexes->count++] = value;
}

static void sift(uint64_t *list, size_t count, size_t root) {
    uint64_t value = list[root];
    for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && list[child + 1] > list[child]) {
            child++;
        }
        if (list[child] <= value) {
            break;
        }
        list[root] = list[child];
        root = child;
    }
    list[root] = value;
}

/* Heapsort; mostly they are in order already. */
static void indexes_sort(struct indexes *indexes) {
    uint64_t *list = indexes->list;
    bool is_sorted = true;
    for (size_t i = 1; i < indexes->count && is_sorted; i++) {
        is_sorted = list[i - 1] <= list[i];
    }
    if (is_sorted) {
        return;
    }
    for (size_t i = indexes->count / 2; i-- > 0;) {
        sift(list, indexes->count, i);
    }
    for (size_t i = indexes->count; i-- > 1;) {
        uint64_t largest = list[0];
        list[0] = list[i];
        list[i] = largest;
        sift(list, i, 0);
    }
}

/* Blocks. */

static struct momi_live_block *block_at(const struct momi_live *live, size_t position) {
    return live->blocks[live->blocks_head + position];
}

static bool is_last(const struct momi_live *live, const struct momi_live_block *block) {
    return block == block_at(live, live->blocks_count - 1);
}

/* Position of the first block that ends above `index`; blocks_count: none does. */
static size_t find_block(const struct momi_live *live, uint64_t index) {
    size_t low = 0;
    size_t high = live->blocks_count;
    /* Nearly all work is at the end. */
    if (high > 0 && block_at(live, high - 1)->base <= index) {
        low = index - block_at(live, high - 1)->base < MOMI_LIVE_BLOCK ? high - 1 : high;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (block_at(live, middle)->base + (MOMI_LIVE_BLOCK - 1) < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void array_free(struct momi_live *live, struct momi_live_block *block) {
    if (live->spare_array == NULL) {
        live->spare_array = block->array;
    } else {
        momi_free(block->array);
    }
    block->array = NULL;
}

static struct momi_live_slot *array_new(struct momi_live *live) {
    struct momi_live_slot *array = live->spare_array;
    live->spare_array = NULL;
    return array != NULL ? array : momi_must_alloc(MOMI_LIVE_BLOCK * sizeof *array);
}

static void pack(struct momi_live *live, struct momi_live_block *block) {
    uint8_t room[MOMI_BLOCK_BYTES_MAX];
    struct momi_slice bytes = momi_live_block_encode(block, room);
    uint8_t *packed = momi_alloc_optional(bytes.size);
    if (packed != NULL) {
        memcpy(packed, bytes.data, bytes.size);
        block->packed = packed;
        block->packed_size = (uint16_t)bytes.size;
        array_free(live, block);
    }
}

static void cool(struct momi_live *live, const struct momi_live_block *block) {
    for (size_t i = 0; i < HOT; i++) {
        if (live->hot[i] == block) {
            memmove(&live->hot[i], &live->hot[i + 1],
                    (HOT - 1 - i) * sizeof live->hot[0]);
            live->hot[HOT - 1] = NULL;
            return;
        }
    }
}

static void heat(struct momi_live *live, struct momi_live_block *block) {
    if (live->hot[0] == block) {
        return;
    }
    cool(live, block);
    struct momi_live_block *coldest = live->hot[HOT - 1];
    memmove(&live->hot[1], &live->hot[0], (HOT - 1) * sizeof live->hot[0]);
    live->hot[0] = block;
    if (coldest != NULL && coldest->packed == NULL && !is_last(live, coldest)) {
        pack(live, coldest);
    }
}

/* The block at `position`, unpacked. */
static struct momi_live_block *open_block(struct momi_live *live, size_t position) {
    struct momi_live_block *block = block_at(live, position);
    heat(live, block); /* first: what it pushes out may leave its array to this one */
    if (block->packed != NULL) {
        momi_live_block_unpack(block, array_new(live));
    }
    return block;
}

static void blocks_put(struct momi_live *live, size_t position,
                       struct momi_live_block *block) {
    if (live->blocks_head + live->blocks_count == live->blocks_room) {
        if (live->blocks_head > live->blocks_room / 2) {
            memmove(live->blocks, live->blocks + live->blocks_head,
                    live->blocks_count * sizeof(struct momi_live_block *));
            live->blocks_head = 0;
        } else {
            size_t room =
                live->blocks_room == 0 ? (size_t)ROOM_MIN : live->blocks_room * 2;
            live->blocks =
                momi_must_realloc(live->blocks, room * sizeof(struct momi_live_block *));
            live->blocks_room = room;
        }
    }
    struct momi_live_block **at = live->blocks + live->blocks_head + position;
    memmove(at + 1, at, (live->blocks_count - position) * sizeof *at);
    *at = block;
    live->blocks_count++;
}

static void block_free(struct momi_live *live, size_t position) {
    struct momi_live_block *block = block_at(live, position);
    if (block->is_written) {
        indexes_push(&live->freed, block->base);
    }
    cool(live, block);
    live->blocks_count--;
    if (position == 0) {
        live->blocks_head = live->blocks_count == 0 ? 0 : live->blocks_head + 1;
    } else {
        struct momi_live_block **at = live->blocks + live->blocks_head + position;
        memmove(at, at + 1, (live->blocks_count - position) * sizeof *at);
    }
    live->dirty_bytes -= block->estimate;
    momi_free(block->packed);
    array_free(live, block);
    if (live->spare_block == NULL) {
        live->spare_block = block;
    } else {
        momi_free(block);
    }
}

static void changed(struct momi_live *live, struct momi_live_block *block) {
    live->dirty_bytes -= block->estimate;
    block->estimate = (uint16_t)(BLOCK_BYTES + ENTRY_BYTES * block->used);
    live->dirty_bytes += block->estimate;
    block->is_dirty = true;
}

struct momi_live *momi_live_new(uint32_t shard) {
    struct momi_live *live = momi_calloc(1, sizeof *live);
    if (live != NULL) {
        live->shard = shard;
        live->first = UINT64_MAX;
    }
    return live;
}

void momi_live_free(struct momi_live *live) {
    if (live == NULL) {
        return;
    }
    for (size_t i = 0; i < live->blocks_count; i++) {
        struct momi_live_block *block = block_at(live, i);
        momi_free(block->packed);
        momi_free(block->array);
        momi_free(block);
    }
    momi_free(live->blocks);
    momi_free(live->spare_block);
    momi_free(live->spare_array);
    momi_free(live->dead.list);
    momi_free(live->freed.list);
    momi_free(live);
}

void momi_live_add(struct momi_live *live, uint64_t index, uint64_t term, uint32_t bytes,
                   uint32_t slots) {
    MOMI_ASSERT(index > live->last);
    MOMI_ASSERT(slots > 0);
    live->last = index;
    uint64_t base = index / MOMI_LIVE_BLOCK * MOMI_LIVE_BLOCK;
    size_t position = find_block(live, index);
    if (position == live->blocks_count) {
        struct momi_live_block *block = live->spare_block;
        live->spare_block = NULL;
        block = block != NULL ? block : momi_must_alloc(sizeof *block);
        *block = (struct momi_live_block){.base = base, .array = array_new(live)};
        memset(block->array, 0, MOMI_LIVE_BLOCK * sizeof *block->array);
        blocks_put(live, position, block);
        if (position > 0) {
            if (block_at(live, position - 1)->used == 0) {
                block_free(live, --position);
            } else {
                heat(live, block_at(live, position - 1));
            }
        }
    }
    MOMI_ASSERT(block_at(live, position)->base == base);
    struct momi_live_block *block = open_block(live, position);
    block->array[index - base] = (struct momi_live_slot){
        .term = term, .whole_bytes = bytes, .bytes = bytes, .slots = slots};
}

/* The slot of an entry that was added and is not gone. */
static struct momi_live_slot *slot_of(struct momi_live *live, uint64_t index,
                                      size_t *position) {
    *position = find_block(live, index);
    MOMI_ASSERT(*position < live->blocks_count);
    struct momi_live_block *block = open_block(live, *position);
    MOMI_ASSERT(block->base <= index);
    struct momi_live_slot *slot = &block->array[index - block->base];
    MOMI_ASSERT(slot->slots > 0);
    return slot;
}

void momi_live_reference(struct momi_live *live, uint64_t index, uint32_t count) {
    if (count == 0) {
        return;
    }
    size_t position;
    struct momi_live_slot *slot = slot_of(live, index, &position);
    struct momi_live_block *block = block_at(live, position);
    MOMI_ASSERT(count <= UINT32_MAX - slot->references);
    if (slot->references == 0) {
        block->used++;
        live->count++;
        live->bytes += slot->bytes;
    }
    slot->references += count;
    changed(live, block);
}

void momi_live_release(struct momi_live *live, uint64_t index, uint32_t count) {
    if (count == 0) {
        return;
    }
    size_t position;
    struct momi_live_slot *slot = slot_of(live, index, &position);
    struct momi_live_block *block = block_at(live, position);
    MOMI_ASSERT(count <= slot->references);
    slot->references -= count;
    if (slot->references > 0) {
        changed(live, block);
        return;
    }
    block->used--;
    live->count--;
    live->bytes -= slot->bytes;
    if (index < live->first) {
        indexes_push(&live->dead, index);
    }
    if (block->used == 0 && !is_last(live, block)) {
        block_free(live, position);
    } else {
        changed(live, block);
    }
}

bool momi_live_next(const struct momi_live *live, uint64_t index,
                    struct momi_live_entry *entry) {
    for (size_t i = find_block(live, index); i < live->blocks_count; i++) {
        if (momi_live_block_next(block_at(live, i), index, entry)) {
            return true;
        }
    }
    return false;
}

bool momi_live_find(const struct momi_live *live, uint64_t index,
                    struct momi_live_entry *entry) {
    size_t position = find_block(live, index);
    struct momi_live_entry found;
    if (position < live->blocks_count &&
        momi_live_block_next(block_at(live, position), index, &found) &&
        found.index == index) {
        *entry = found;
        return true;
    }
    return false;
}

uint64_t momi_live_message_bytes(struct momi_live *live, uint64_t index) {
    size_t position = find_block(live, index);
    if (position == live->blocks_count || block_at(live, position)->base > index) {
        return 0;
    }
    const struct momi_live_block *block = open_block(live, position);
    const struct momi_live_slot *slot = &block->array[index - block->base];
    bool is_asked_for = slot->references > 0 || index == live->last;
    return slot->slots == 0 || !is_asked_for ? 0 : slot->whole_bytes / slot->slots;
}

uint64_t momi_live_count(const struct momi_live *live) { return live->count; }
uint64_t momi_live_bytes(const struct momi_live *live) { return live->bytes; }

void momi_live_hollowed(struct momi_live *live, uint64_t index, uint32_t bytes) {
    struct momi_live_entry entry;
    if (!momi_live_find(live, index, &entry)) {
        return;
    }
    size_t position;
    struct momi_live_slot *slot = slot_of(live, index, &position);
    live->bytes -= slot->bytes;
    live->bytes += bytes;
    slot->bytes = bytes;
    slot->is_hollow = true;
    changed(live, block_at(live, position));
}

/* [from, to) goes from the store; nothing in it is live. */
static void delete_span(const struct momi_live *live, uint64_t from, uint64_t to,
                        struct momi_batch *batch) {
    if (to - from > RANGE_MIN) {
        struct momi_key low = momi_key_entry(live->shard, from);
        struct momi_key high = momi_key_entry(live->shard, to);
        momi_batch_delete_range(batch, MOMI_FAMILY_LOG, momi_key_slice(&low),
                                momi_key_slice(&high));
        return;
    }
    for (; from < to; from++) {
        momi_batch_delete_entry(batch, live->shard, from);
    }
}

/* The first index at or above `index` whose entry must stay; `limit` when none is below
 * it. */
static uint64_t next_kept(const struct momi_live *live, uint64_t index, uint64_t limit) {
    struct momi_live_entry entry;
    while (index < limit && momi_live_next(live, index, &entry) && entry.index < limit) {
        if (!MUTANT(RELEASE_TOO_EARLY) || entry.references == entry.slots) {
            return entry.index;
        }
        index = entry.index + 1;
    }
    return limit;
}

/* Those in `dead` below `limit`. A span of them may hold entries without messages, or
 * deleted before: only live ones end it. */
static uint64_t delete_listed(struct momi_live *live, uint64_t limit,
                              struct momi_batch *batch) {
    indexes_sort(&live->dead);
    const uint64_t *list = live->dead.list;
    size_t count = live->dead.count;
    uint64_t deleted = 0;
    for (size_t i = 0; i < count && list[i] < limit;) {
        uint64_t kept = next_kept(live, list[i], limit);
        size_t end = i;
        while (end < count && list[end] < kept) {
            end++;
        }
        if (end == i) {
            i++;
            continue;
        }
        if (end - i > RANGE_MIN) {
            delete_span(live, list[i], list[end - 1] + 1, batch);
        } else {
            for (size_t at = i; at < end; at++) {
                momi_batch_delete_entry(batch, live->shard, list[at]);
            }
        }
        deleted += end - i;
        i = end;
    }
    return deleted;
}

uint64_t momi_live_delete_dead(struct momi_live *live, uint64_t first_before,
                               uint64_t first_index, struct momi_batch *batch) {
    MOMI_ASSERT(first_before <= first_index);
    /* Below it, what died is listed. */
    uint64_t from = first_before < live->first ? first_before : live->first;
    uint64_t deleted = delete_listed(live, from, batch);
    while (from < first_index) {
        uint64_t kept = next_kept(live, from, first_index);
        delete_span(live, from, kept, batch);
        deleted += kept - from;
        from = kept + 1;
    }
    if (!batch->failed) {
        live->first = first_index;
        live->dead.count = 0;
    }
    return deleted;
}

static struct momi_key key_of(uint64_t base) {
    struct momi_key key = {.size = KEY_BYTES};
    key.bytes[0] = 'e';
    for (size_t i = 0; i < 8; i++) {
        key.bytes[1 + i] = (uint8_t)(base >> (56 - 8 * i));
    }
    return key;
}

void momi_live_save(struct momi_live *live, uint8_t side, struct momi_batch *batch) {
    for (size_t i = 0; i < live->freed.count; i++) {
        struct momi_key key = key_of(live->freed.list[i]);
        momi_batch_delete_record(batch, live->shard, side, momi_key_slice(&key));
    }
    live->freed.count = 0;
    for (size_t i = 0; i < live->blocks_count; i++) {
        struct momi_live_block *block = block_at(live, i);
        if (!block->is_dirty) {
            continue;
        }
        struct momi_key key = key_of(block->base);
        if (block->used > 0) {
            uint8_t room[MOMI_BLOCK_BYTES_MAX];
            struct momi_slice value = block->packed != NULL
                                          ? momi_slice(block->packed, block->packed_size)
                                          : momi_live_block_encode(block, room);
            momi_batch_put_record(batch, live->shard, side, momi_key_slice(&key), value);
        } else if (block->is_written) {
            momi_batch_delete_record(batch, live->shard, side, momi_key_slice(&key));
        }
        block->is_written = block->used > 0;
        block->is_dirty = false;
        block->estimate = 0;
    }
    live->dirty_bytes = 0;
}

bool momi_live_load(struct momi_live *live, struct momi_slice key,
                    struct momi_slice value) {
    struct momi_reader in = momi_reader(key);
    uint8_t letter = momi_get_u8(&in);
    struct momi_live_block loaded = {.base = momi_get_be64(&in), .is_written = true};
    uint64_t bytes = 0;
    if (!momi_reader_done(&in) || letter != 'e' || loaded.base % MOMI_LIVE_BLOCK != 0 ||
        loaded.base > UINT64_MAX / 2 || !momi_live_block_check(&loaded, value, &bytes)) {
        return false;
    }
    size_t position = find_block(live, loaded.base);
    if (position < live->blocks_count && block_at(live, position)->base == loaded.base) {
        return false;
    }
    struct momi_live_block *block = momi_alloc(sizeof *block);
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
    blocks_put(live, position, block);
    live->count += block->used;
    live->bytes += bytes;
    uint64_t last = block->base;
    struct momi_live_entry entry;
    while (momi_live_block_next(block, last, &entry)) {
        last = entry.index + 1;
    }
    live->last = last - 1 > live->last ? last - 1 : live->last;
    return true;
}

size_t momi_live_dirty_bytes(const struct momi_live *live) {
    return live->dirty_bytes + live->freed.count * BLOCK_BYTES;
}

size_t momi_live_cost(const struct momi_live *live, uint64_t entries) {
    size_t changed_count = (size_t)(entries < live->count ? entries : live->count);
    size_t blocks =
        1 + (changed_count < live->blocks_count ? changed_count : live->blocks_count);
    size_t cost =
        blocks * (momi_reserve_cost(sizeof(struct momi_live_block)) +
                  momi_reserve_cost(MOMI_LIVE_BLOCK * sizeof(struct momi_live_slot)));
    cost += momi_reserve_cost((live->blocks_room * 2 + ROOM_MIN) * sizeof(void *));
    cost += momi_reserve_cost((live->freed.room * 2 + blocks * 4 + ROOM_MIN) *
                              sizeof(uint64_t));
    return cost + momi_reserve_cost((live->dead.room * 2 + changed_count * 4 + ROOM_MIN) *
                                    sizeof(uint64_t));
}
