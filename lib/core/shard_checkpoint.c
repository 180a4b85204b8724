/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints (E3 to E5): changed records, the applied index, the new beginning of the
 * log and the deletion of dead entries in one batch. Entries that are nearly dead are
 * rewritten as hollow ones.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "base/sort.h"
#include "core/mutant.h"
#include "core/shard_internal.h"

enum {
    HOLLOW_PER_CHECKPOINT = 16,
    HOLLOW_BYTES_MIN = 4096, /* smaller entries are not worth it */
};

/* E3: where the log may begin after this checkpoint. */
static uint64_t new_beginning(const struct momi_shard *shard) {
    const struct momi_log *log = &shard->raft.log;
    uint64_t first = log->first_index;
    uint64_t behind = 0;
    /* Walk back from the applied index over what is kept for followers that are a little
     * behind. */
    uint64_t index = shard->applied;
    while (index >= log->first_index && behind < shard->core->config.log_behind_bytes) {
        behind += momi_log_size(log, index);
        index--;
    }
    if (index + 1 > first) {
        first = index + 1;
    }
    uint64_t keep = momi_shard_snapshot_keep(shard);
    if (momi_raft_is_leader(&shard->raft)) {
        for (uint32_t i = 0; i < shard->raft.progress_count; i++) {
            const struct momi_progress *progress = &shard->raft.progress[i];
            bool is_heard = shard->core->now_us < progress->heard_us + 60 * MOMI_S;
            if (is_heard && progress->match + 1 < keep &&
                log->bytes < MOMI_LOG_BEHIND_BYTES_MAX) {
                keep = progress->match + 1;
            }
        }
    }
    if (keep < first) {
        first = keep > log->first_index ? keep : log->first_index;
    }
    MOMI_ASSERT(first <= shard->applied + 1);
    return first;
}

static void delete_registry_log(struct momi_shard *shard, uint64_t from, uint64_t to) {
    for (uint64_t index = from; index < to; index++) {
        momi_batch_delete_entry(&shard->core->effects->batch, shard->id, index);
    }
}

static void write_checkpoint(struct momi_shard *shard) {
    struct momi_batch *batch = &shard->core->effects->batch;
    uint64_t before = shard->log_from;
    uint64_t first = new_beginning(shard);
    momi_log_trim(&shard->raft.log, first);
    shard->log_from = first;
    if (shard->is_registry) {
        momi_registry_save(&shard->registry, shard->side, batch);
        delete_registry_log(shard, before, first);
    } else {
        shard->core->counters.entries_deleted +=
            momi_live_delete_dead(shard->machine->live, before, first, batch);
        momi_machine_save(shard->machine, shard->side, batch);
    }
    momi_shard_write_header(shard, MOMI_SYNC_UNNEEDED);
    /* The header once more among the records: a snapshot is read from one side alone
     * (E6). */
    struct momi_bytes bytes = {0};
    struct momi_shard_header header;
    momi_shard_header(shard, &header);
    momi_shard_header_encode(&header, &bytes);
    momi_batch_put_record(batch, shard->id, shard->side, momi_slice("\0", 1),
                          momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    shard->checkpoint_applied = shard->applied;
    shard->checkpoint_log_bytes = 0;
    shard->checkpoint_wanted = true;
    shard->checkpoint_batch = UINT64_MAX; /* until the turn's batch has its number */
    shard->core->counters.checkpoints++;
    momi_trace(shard->core, "CHECKPOINT", shard->id, shard->applied, first);
}

/* --- hollow entries (E5)
 * ------------------------------------------------------------------------------------------
 */

struct slot_set {
    uint64_t index;
    uint32_t *slots;
    uint32_t count;
    uint32_t room;
    bool failed;
};

static void collect_slots(void *user, const struct momi_run *run) {
    struct slot_set *set = user;
    if (run->index != set->index) {
        return;
    }
    for (uint32_t i = 0; i < run->count; i++) {
        if (set->count == set->room) {
            set->failed = true;
            return;
        }
        set->slots[set->count++] = run->slot + i;
    }
}

static int compare_slots(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* Every place of the state that may refer to a message. */
static void each_run(const struct momi_machine *machine, momi_run_fn visit, void *user) {
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        const struct momi_stream *stream =
            MOMI_CONTAINER_OF(link, struct momi_stream, link);
        momi_runs_each(&stream->history, visit, user);
        MOMI_LIST_FOR_EACH (at, &stream->groups) {
            const struct momi_group *group =
                MOMI_CONTAINER_OF(at, struct momi_group, link);
            momi_runs_each(&group->ready, visit, user);
            MOMI_LIST_FOR_EACH (to, &group->consumers) {
                const struct momi_consumer *consumer =
                    MOMI_CONTAINER_OF(to, struct momi_consumer, group_link);
                for (size_t i = 0; i < consumer->leases.count; i++) {
                    const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
                    visit(user, &lease->run);
                }
            }
        }
    }
}

/* Sorts and drops doubles: one message may be referred to by several groups. */
static uint32_t unique_slots(uint32_t *slots, uint32_t count) {
    momi_sort(slots, count, sizeof *slots, compare_slots);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || slots[kept - 1] != slots[i]) {
            slots[kept++] = slots[i];
        }
    }
    return kept;
}

static void hollow_entry(struct momi_shard *shard, const struct momi_live_entry *live,
                         struct momi_buf *buf) {
    struct slot_set set = {.index = live->index, .room = live->references};
    set.slots = momi_alloc(sizeof *set.slots * (set.room + 1));
    if (set.slots == NULL) {
        return;
    }
    each_run(shard->machine, collect_slots, &set);
    struct momi_buf *hollow = NULL;
    if (!set.failed && set.count > 0) {
        set.count = unique_slots(set.slots, set.count);
        hollow = momi_entry_hollow(momi_buf_slice(buf), set.slots, set.count);
    }
    if (hollow != NULL && hollow->size * 2 < buf->size) {
        momi_batch_put_entry(&shard->core->effects->batch, shard->id, live->index,
                             hollow);
        momi_live_hollowed(shard->machine->live, live->index, (uint32_t)hollow->size);
        momi_shard_forget_recent(shard);
        shard->core->counters.entries_hollowed++;
    }
    momi_buf_release(hollow);
    momi_free(set.slots);
}

/* Looks at the next live entries below the beginning of the log and hollows those that
 * are nearly dead. */
static void hollow_some(struct momi_shard *shard) {
    if (shard->is_registry || shard->receive.is_on) {
        return;
    }
    struct momi_live_entry live;
    for (int looked = 0; looked < HOLLOW_PER_CHECKPOINT; looked++) {
        if (!momi_live_next(shard->machine->live, shard->hollow_next, &live) ||
            live.index >= shard->raft.log.first_index) {
            shard->hollow_next = 0;
            return;
        }
        shard->hollow_next = live.index + 1;
        if (live.is_hollow || live.bytes < HOLLOW_BYTES_MIN ||
            live.references * 4 >= live.slots) {
            continue;
        }
        bool gone = false;
        struct momi_buf *buf = momi_shard_entry(shard, live.index, &gone);
        if (buf == NULL && momi_shard_is_damaged(shard, live.index)) {
            continue;
        }
        if (buf == NULL) {
            shard->hollow_next = live.index; /* being read: at the next checkpoint */
            return;
        }
        hollow_entry(shard, &live, buf);
    }
}

/* ------------------------------------------------------------------------------------------------------------------
 */

static size_t dirty_bytes(const struct momi_shard *shard) {
    return shard->is_registry ? 0
                              : shard->machine->dirty_bytes +
                                    momi_live_dirty_bytes(shard->machine->live);
}

/* The deliberate bug DELETION_BEFORE_CHECKPOINT: the checkpoint comes in a later batch.
 */
static void delete_early(struct momi_shard *shard) {
    uint64_t first = shard->raft.log.first_index;
    (void)momi_live_delete_dead(shard->machine->live, first, first,
                                &shard->core->effects->batch);
    shard->has_batch = true;
    shard->checkpoint_asked = true;
}

void momi_shard_maybe_checkpoint(struct momi_shard *shard) {
    const struct momi_core *core = shard->core;
    if (shard->checkpoint_batch != 0 || shard->applied == shard->checkpoint_applied ||
        !shard->has_state || shard->receive.is_on || core->store_failed ||
        shard->applied < shard->replay_to ||
        (!shard->is_registry && momi_machine_has_graves(shard->machine))) {
        return;
    }
    bool is_wanted = shard->checkpoint_asked;
    if (!is_wanted && shard->checkpoint_log_bytes < core->config.checkpoint_log_bytes &&
        dirty_bytes(shard) < MOMI_CHECKPOINT_DIRTY_BYTES) {
        return;
    }
    if (MUTANT(DELETION_BEFORE_CHECKPOINT) && !is_wanted && !shard->is_registry) {
        delete_early(shard);
        return;
    }
    shard->checkpoint_asked = false;
    hollow_some(shard);
    write_checkpoint(shard);
}

void momi_shard_checkpoint_written(struct momi_shard *shard, uint64_t number) {
    if (shard->checkpoint_batch != 0 && shard->checkpoint_batch <= number) {
        shard->checkpoint_batch = 0;
    }
}
