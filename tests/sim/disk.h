/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated disk under one node's store: what RocksDB's write-ahead log leaves after a
 * power cut.
 *
 * Batches are appended to a log and become visible at once; a sync makes all earlier ones
 * safe. A crash drops pages of the unsynced part at random, also in the middle; recovery
 * keeps the batches up to the first damaged one (point in time). A mark of the last
 * synced batch (D2) tells lost promises from a torn tail.
 */
#ifndef MOM_SIM_DISK_H
#define MOM_SIM_DISK_H

#include "base/batch.h"
#include "base/rng.h"
#include "core/types.h"

struct sim_item {
    struct momi_buf *key;
    struct momi_buf *value;
};

/* Keys in order. */
struct sim_table {
    struct sim_item *items;
    size_t count;
    size_t room;
};

/* A batch that is not synced yet. */
struct sim_write {
    struct momi_batch batch;
    size_t bytes; /* in the log */
};

struct sim_disk {
    struct sim_table written[MOMI_FAMILIES_COUNT]; /* what reads see */
    struct sim_table synced[MOMI_FAMILIES_COUNT];  /* what survives for certain */
    struct sim_write *unsynced;
    size_t unsynced_count;
    size_t unsynced_room;
    uint64_t synced_number;
    uint64_t last_number;
    struct momi_mesh_id mesh;
    uint64_t incarnation;
    uint64_t writes_lost;     /* unsynced batches that a crash took */
    struct momi_buf *damaged; /* the value of every key that cannot be read; owned */
    uint64_t writes_torn;     /* batches of which a crash took a part */
};

void sim_disk_init(struct sim_disk *disk);
void sim_disk_free(struct sim_disk *disk);
void sim_disk_write(struct sim_disk *disk, const struct momi_batch *batch);
void sim_disk_sync(struct sim_disk *disk);
/* The power goes; `survive_ppm` is the chance of each unsynced page. */
void sim_disk_crash(struct sim_disk *disk, struct momi_rng *rng, uint32_t survive_ppm);
/* The item at position `at` of a family cannot be read from now on, until it is written
 * again. Only while nothing is unsynced. */
void sim_disk_damage(struct sim_disk *disk, enum momi_family family, size_t at);
static inline bool sim_disk_is_damaged(const struct sim_disk *disk,
                                       const struct momi_buf *value) {
    return value != NULL && value == disk->damaged;
}
/* Borrowed; NULL: no such key. */
struct momi_buf *sim_disk_get(const struct sim_disk *disk, enum momi_family family,
                              struct momi_slice key);
/* The position of the first key at or above `key`. */
size_t sim_table_seek(const struct sim_table *table, struct momi_slice key);
/* A copy that shares keys and values: a store snapshot. */
void sim_table_copy(struct sim_table *target, const struct sim_table *source);
void sim_table_free(struct sim_table *table);

#endif
