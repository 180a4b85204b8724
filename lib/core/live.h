/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which log entries still hold live messages (E3, E5): the table behind "the log is the
 * message store".
 *
 * A reference is one message in one place: ready in a group, leased, or kept as history.
 * An entry whose count falls to zero may be deleted at a checkpoint once it is below
 * first_index. Kept in blocks of 128 consecutive indexes, which are the checkpoint
 * records and are packed while nobody works on them; walks are in rising index.
 */
#ifndef MOMI_CORE_LIVE_H
#define MOMI_CORE_LIVE_H

#include "base/batch.h"
#include "core/types.h"

struct momi_live;

struct momi_live_entry {
    uint64_t index;
    uint64_t term;
    uint32_t bytes; /* of the entry as stored now (hollow: what is left of it) */
    uint32_t
        whole_bytes;     /* of the entry as it was in the log: the same on all replicas */
    uint32_t slots;      /* message records in it */
    uint32_t references; /* to its messages, over all groups and histories */
    bool is_hollow;
};

struct momi_live *momi_live_new(uint32_t shard);
void momi_live_free(struct momi_live *live);
/* An entry with messages was applied; references follow. Must be above all others. */
void momi_live_add(struct momi_live *live, uint64_t index, uint64_t term, uint32_t bytes,
                   uint32_t slots);
/* Before the next entry is added, or while other references are there: an entry that
 * fell to zero does not come back. */
void momi_live_reference(struct momi_live *live, uint64_t index, uint32_t count);
void momi_live_release(struct momi_live *live, uint64_t index, uint32_t count);
/* Only entries with references are found. */
bool momi_live_find(const struct momi_live *live, uint64_t index,
                    struct momi_live_entry *entry);
/* The first entry at or above `index` that has references; false: none. */
bool momi_live_next(const struct momi_live *live, uint64_t index,
                    struct momi_live_entry *entry);
/* Average bytes of a message of this entry as it was in the log; 0 when it is not live,
 * unless it is the one that was added last. The same on every replica. */
uint64_t momi_live_message_bytes(struct momi_live *live, uint64_t index);
uint64_t momi_live_count(const struct momi_live *live); /* of entries with references */
uint64_t momi_live_bytes(const struct momi_live *live); /* theirs, as stored now */
/* Nothing happens when it died meanwhile. */
void momi_live_hollowed(struct momi_live *live, uint64_t index, uint32_t bytes);

/* E3: at a checkpoint that makes `first_index` the new beginning of the log (old one:
 * `first_before`): deletes from the store every entry below it that has no references:
 * those that died since the last checkpoint, and those that the beginning passes over
 * now, with messages or without. Returns how many. A failed batch changes nothing. */
uint64_t momi_live_delete_dead(struct momi_live *live, uint64_t first_before,
                               uint64_t first_index, struct momi_batch *batch);
/* Changed blocks as records under (shard, side), in the batch of momi_live_delete_dead.
 * Records' keys begin with 'e'. */
void momi_live_save(struct momi_live *live, uint8_t side, struct momi_batch *batch);
/* In any order. False: malformed (or no memory). */
bool momi_live_load(struct momi_live *live, struct momi_slice key,
                    struct momi_slice value);
size_t momi_live_dirty_bytes(const struct momi_live *live);

/* R9: a bound of what adding an entry and changing the references of `entries` others can
 * allocate. */
size_t momi_live_cost(const struct momi_live *live, uint64_t entries);

#endif
