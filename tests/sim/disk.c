/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include "base/assert.h"
#include "base/mem.h"

enum { PAGE_BYTES = 4096, RECORD_HEADER_BYTES = 12 };

/* --- tables
 * ------------------------------------------------------------------------------- */

size_t sim_table_seek(const struct sim_table *table, struct momi_slice key) {
    size_t low = 0;
    size_t high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (momi_slice_compare(momi_buf_slice(table->items[middle].key), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct sim_table *table, size_t at, struct momi_slice key) {
    return at < table->count &&
           momi_slice_equal(momi_buf_slice(table->items[at].key), key);
}

static void release_item(struct sim_item *item) {
    momi_buf_release(item->key);
    momi_buf_release(item->value);
}

static void table_put(struct sim_table *table, struct momi_slice key,
                      struct momi_buf *value) {
    size_t at = sim_table_seek(table, key);
    if (is_at(table, at, key)) {
        momi_buf_ref(value);
        momi_buf_release(table->items[at].value);
        table->items[at].value = value;
        return;
    }
    if (table->count == table->room) {
        table->room = table->room == 0 ? 64 : table->room * 2;
        table->items =
            momi_must_realloc(table->items, table->room * sizeof *table->items);
    }
    memmove(&table->items[at + 1], &table->items[at],
            (table->count - at) * sizeof *table->items);
    table->items[at].key = momi_buf_copy(key);
    table->items[at].value = momi_buf_ref(value);
    MOMI_ASSERT(table->items[at].key != NULL);
    table->count++;
}

static void table_delete(struct sim_table *table, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        release_item(&table->items[i]);
    }
    memmove(&table->items[from], &table->items[to],
            (table->count - to) * sizeof *table->items);
    table->count -= to - from;
}

void sim_table_free(struct sim_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        release_item(&table->items[i]);
    }
    momi_free(table->items);
    *table = (struct sim_table){0};
}

void sim_table_copy(struct sim_table *target, const struct sim_table *source) {
    sim_table_free(target);
    target->room = source->count;
    target->count = source->count;
    target->items = momi_must_alloc((source->count + 1) * sizeof *target->items);
    for (size_t i = 0; i < source->count; i++) {
        target->items[i].key = momi_buf_ref(source->items[i].key);
        target->items[i].value = momi_buf_ref(source->items[i].value);
    }
}

/* --- writes
 * ------------------------------------------------------------------------------- */

static void apply(struct sim_table *tables, const struct momi_batch *batch) {
    for (size_t i = 0; i < momi_batch_count(batch); i++) {
        struct momi_batch_view op = momi_batch_at(batch, i);
        struct sim_table *table = &tables[op.family];
        if (op.kind == MOMI_BATCH_PUT) {
            struct momi_buf *value =
                op.buf != NULL ? momi_buf_ref(op.buf) : momi_buf_copy(op.value);
            MOMI_ASSERT(value != NULL);
            table_put(table, op.key, value);
            momi_buf_release(value);
        } else {
            size_t from = sim_table_seek(table, op.key);
            size_t to = from + 1;
            if (op.kind == MOMI_BATCH_DELETE_RANGE) {
                to = sim_table_seek(table, op.to);
            } else if (!is_at(table, from, op.key)) {
                continue;
            }
            if (from < to) {
                table_delete(table, from, to);
            }
        }
    }
}

static void copy_batch(struct momi_batch *target, const struct momi_batch *source) {
    *target = (struct momi_batch){.number = source->number};
    for (size_t i = 0; i < momi_batch_count(source); i++) {
        struct momi_batch_view op = momi_batch_at(source, i);
        if (op.kind == MOMI_BATCH_DELETE_RANGE) {
            momi_batch_delete_range(target, op.family, op.key, op.to);
        } else if (op.kind == MOMI_BATCH_DELETE) {
            momi_batch_delete(target, op.family, op.key);
        } else if (op.buf != NULL) {
            momi_batch_put_buf(target, op.family, op.key, op.buf);
        } else {
            momi_batch_put(target, op.family, op.key, op.value);
        }
    }
    MOMI_ASSERT(!target->failed);
}

void sim_disk_init(struct sim_disk *disk) { *disk = (struct sim_disk){0}; }

static void drop_unsynced(struct sim_disk *disk) {
    for (size_t i = 0; i < disk->unsynced_count; i++) {
        momi_batch_free(&disk->unsynced[i].batch);
    }
    disk->unsynced_count = 0;
}

void sim_disk_free(struct sim_disk *disk) {
    drop_unsynced(disk);
    momi_free(disk->unsynced);
    for (int family = 0; family < MOMI_FAMILIES_COUNT; family++) {
        sim_table_free(&disk->written[family]);
        sim_table_free(&disk->synced[family]);
    }
    momi_buf_release(disk->damaged);
    *disk = (struct sim_disk){0};
}

void sim_disk_write(struct sim_disk *disk, const struct momi_batch *batch) {
    MOMI_ASSERT(batch->number > disk->last_number);
    disk->last_number = batch->number;
    apply(disk->written, batch);
    if (disk->unsynced_count == disk->unsynced_room) {
        disk->unsynced_room = disk->unsynced_room == 0 ? 16 : disk->unsynced_room * 2;
        disk->unsynced = momi_must_realloc(disk->unsynced,
                                           disk->unsynced_room * sizeof *disk->unsynced);
    }
    struct sim_write *write = &disk->unsynced[disk->unsynced_count++];
    copy_batch(&write->batch, batch);
    write->bytes = RECORD_HEADER_BYTES + momi_batch_bytes(batch);
}

void sim_disk_sync(struct sim_disk *disk) {
    for (size_t i = 0; i < disk->unsynced_count; i++) {
        apply(disk->synced, &disk->unsynced[i].batch);
    }
    disk->synced_number = disk->last_number;
    drop_unsynced(disk);
}

/* --- the power goes
 * ------------------------------------------------------------------------ */

/* Draws which pages of a record that begins at `offset` in the log survive; the page that
 * it shares with its predecessor was drawn before. */
static bool survives(struct momi_rng *rng, uint32_t survive_ppm, size_t offset,
                     size_t bytes, bool *page_survives) {
    bool all = offset % PAGE_BYTES == 0 || *page_survives;
    size_t page = offset / PAGE_BYTES;
    size_t last = (offset + bytes - 1) / PAGE_BYTES;
    if (offset % PAGE_BYTES == 0) {
        *page_survives = momi_rng_chance(rng, survive_ppm);
        all = *page_survives;
    }
    for (page++; page <= last; page++) {
        *page_survives = momi_rng_chance(rng, survive_ppm);
        all = all && *page_survives;
    }
    return all;
}

void sim_disk_crash(struct sim_disk *disk, struct momi_rng *rng, uint32_t survive_ppm) {
    size_t offset = 0;
    size_t kept = 0;
    bool page_survives = true;
    bool is_whole = true;
    for (size_t i = 0; i < disk->unsynced_count; i++) {
        struct sim_write *write = &disk->unsynced[i];
        bool alive = survives(rng, survive_ppm, offset, write->bytes, &page_survives);
        offset += write->bytes;
        is_whole = is_whole && alive;
        if (is_whole) {
            apply(disk->synced, &write->batch);
            disk->last_number = write->batch.number;
            kept++;
        } else {
            disk->writes_torn += alive ? 0 : 1;
        }
    }
    disk->writes_lost += disk->unsynced_count - kept;
    if (kept == 0) {
        disk->last_number = disk->synced_number;
    }
    drop_unsynced(disk);
    disk->synced_number = disk->last_number;
    for (int family = 0; family < MOMI_FAMILIES_COUNT; family++) {
        sim_table_copy(&disk->written[family], &disk->synced[family]);
    }
}

void sim_disk_damage(struct sim_disk *disk, enum momi_family family, size_t at) {
    static const uint8_t nothing[1];
    MOMI_ASSERT(disk->unsynced_count == 0);
    if (disk->damaged == NULL) {
        disk->damaged = momi_buf_copy(momi_slice(nothing, sizeof nothing));
        MOMI_ASSERT(disk->damaged != NULL);
    }
    struct momi_slice key = momi_buf_slice(disk->written[family].items[at].key);
    table_put(&disk->synced[family], key, disk->damaged);
    table_put(&disk->written[family], key, disk->damaged);
}

struct momi_buf *sim_disk_get(const struct sim_disk *disk, enum momi_family family,
                              struct momi_slice key) {
    const struct sim_table *table = &disk->written[family];
    size_t at = sim_table_seek(table, key);
    return is_at(table, at, key) ? table->items[at].value : NULL;
}
