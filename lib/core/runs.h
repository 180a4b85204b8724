/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: which messages are there, in a few bytes (M1). A run is a range of consecutive
 * messages that sit in consecutive slots of one log entry. A momi_runs is a set of runs
 * ordered by sequence, kept in blocks that are also the checkpoint records: blocks in the
 * middle are packed as varints, the ones being worked on are unpacked.
 *
 * Appending at the end and taking from the front are O(1) and allocate nothing in steady
 * state; inserting or removing anywhere is O(log n) and the work on one block. Where runs
 * are cut is not logical content: replicas may differ in it, so nothing may depend on it.
 */
#ifndef MOMI_CORE_RUNS_H
#define MOMI_CORE_RUNS_H

#include "base/pack.h"
#include "core/types.h"

struct momi_run {
    uint64_t sequence; /* of the first message */
    uint32_t count;
    uint32_t slot;       /* of the first message in its entry */
    uint64_t index;      /* of the entry */
    uint32_t deliveries; /* how often each was handed out before; 1 at least when it may
                            have been (M4) */
};

struct momi_runs_block;          /* private to runs.c */
#define MOMI_RUNS_HOT       4u   /* unpacked blocks in the middle */
#define MOMI_RUNS_BLOCK_MAX 112u /* runs of one block */

struct momi_runs {
    struct momi_runs_block **blocks; /* owned, ordered; the first is at blocks_head */
    size_t blocks_head;
    size_t blocks_count;
    size_t blocks_room;
    uint64_t messages;   /* in all runs */
    uint64_t runs;       /* number of runs */
    uint32_t block_next; /* id for the next new block */
    uint32_t
        *freed; /* ids of blocks that are gone and whose records may still be there */
    size_t freed_count;
    size_t freed_room;
    size_t dirty_bytes;
    struct momi_runs_block *hot[MOMI_RUNS_HOT]; /* worked on last, the newest first */
    struct momi_runs_block *spare_block; /* owned: what the next block is made of */
    struct momi_run *spare_array;        /* owned: room for MOMI_RUNS_BLOCK_MAX */
};

void momi_runs_init(struct momi_runs *runs);
void momi_runs_free(struct momi_runs *runs);
/* `run.sequence` must be above every message in the set. Extends the last run where it
 * continues it. */
void momi_runs_append(struct momi_runs *runs, const struct momi_run *run);
/* Anywhere; must not overlap. */
void momi_runs_insert(struct momi_runs *runs, const struct momi_run *run);
/* The first run; false when empty. */
bool momi_runs_first(const struct momi_runs *runs, struct momi_run *run);
/* Takes the first run away, at most `count_max` > 0 messages of it; false when empty. */
bool momi_runs_take(struct momi_runs *runs, uint32_t count_max, struct momi_run *run);
/* The run (or what is left of it from `sequence` on) at or after `sequence`; false when
 * there is none. For walks. */
bool momi_runs_at(const struct momi_runs *runs, uint64_t sequence, struct momi_run *run);
/* Removes [sequence, sequence + count) as far as it is there; calls `gone` for every
 * piece removed (may be NULL; it must not touch the set). */
typedef void (*momi_run_fn)(void *user, const struct momi_run *run);
void momi_runs_remove(struct momi_runs *runs, uint64_t sequence, uint64_t count,
                      momi_run_fn gone, void *user);
/* Removes everything: a step for each block. */
void momi_runs_clear(struct momi_runs *runs);
/* The same, but what was there goes to `to`, which may only be buried or freed. */
void momi_runs_move(struct momi_runs *runs, struct momi_runs *to);
/* Visits the runs of the first block, and frees it; allocates nothing. False: none is
 * left. */
bool momi_runs_bury(struct momi_runs *runs, momi_run_fn visit, void *user);
void momi_runs_each(const struct momi_runs *runs, momi_run_fn visit, void *user);
/* Over the messages, however they are cut into runs and blocks; goes on from `hash`. */
uint64_t momi_runs_hash(const struct momi_runs *runs, uint64_t hash);
/* Does `next` continue `run`, so that the two are one? */
bool momi_run_continues(const struct momi_run *run, const struct momi_run *next);

/* Checkpoints: visits every block changed since the last call and marks it clean, then
 * the id of every record to delete (value NULL). */
typedef void (*momi_runs_block_fn)(void *user, uint32_t block,
                                   const struct momi_slice *value);
void momi_runs_save(struct momi_runs *runs, momi_runs_block_fn put, void *user);
/* Every record that checkpoints may have left (value NULL): they go when the set goes. */
void momi_runs_records(const struct momi_runs *runs, momi_runs_block_fn visit,
                       void *user);
/* About what momi_runs_save would write now. O(1). */
size_t momi_runs_dirty_bytes(const struct momi_runs *runs);
/* Restoring: blocks in any order, then momi_runs_loaded checks order and overlap. False:
 * malformed (or no memory: the caller cannot go on either way). */
bool momi_runs_load(struct momi_runs *runs, uint32_t block, struct momi_slice value);
bool momi_runs_loaded(const struct momi_runs *runs);

/* R9: bounds of what adding `count` runs at the end, or anywhere, can allocate. Removing
 * in the middle counts as adding. */
size_t momi_runs_append_cost(const struct momi_runs *runs, uint64_t count);
size_t momi_runs_insert_cost(const struct momi_runs *runs, uint64_t count);

#endif
