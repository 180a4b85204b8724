/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subscriptions that start in the past (M2): the leader reads the kept entries, matches
 * their keys, and proposes which messages belong to the subscription. Live matches wait
 * behind it.
 */
#include "base/assert.h"
#include "core/commands.h"
#include "core/filter.h"
#include "core/shard_internal.h"

enum { FILL_RUNS_PER_TURN = 64 };

struct fill {
    struct momi_fill_range ranges[MOMI_FILL_RANGES_MAX];
    size_t count;
};

static bool matches(const struct momi_group *group, struct momi_slice key) {
    if (group->filters_count == 0) {
        return true;
    }
    for (uint32_t i = 0; i < group->filters_count; i++) {
        if (momi_filter_matches(group->filters[i].pattern, key)) {
            return true;
        }
    }
    return false;
}

/* Adds what matches of one run of the history; returns how many messages it looked at:
 * all, unless there is no more room for ranges. */
static uint32_t match_run(struct fill *fill, const struct momi_group *group,
                          const struct momi_run *run, struct momi_buf *buf) {
    struct momi_entry entry;
    bool is_sane = momi_entry_peek(momi_buf_slice(buf), &entry);
    MOMI_ASSERT(is_sane);
    struct momi_slot_cursor cursor = {0};
    for (uint32_t i = 0; i < run->count; i++) {
        struct momi_record record;
        if (!momi_entry_record(&entry, run->slot + i, &cursor, &record)) {
            continue;
        }
        if (!matches(group, record.key) ||
            (group->ignore_own && cursor.publisher == group->creator)) {
            continue;
        }
        struct momi_fill_range *last =
            fill->count == 0 ? NULL : &fill->ranges[fill->count - 1];
        if (last != NULL && last->sequence + last->count == run->sequence + i) {
            last->count++;
        } else if (fill->count == MOMI_FILL_RANGES_MAX) {
            return i;
        } else {
            fill->ranges[fill->count++] =
                (struct momi_fill_range){.sequence = run->sequence + i, .count = 1};
        }
    }
    return run->count;
}

/* Looks at a part of the history from group->fill_from on; returns where it stopped
 * (fill_from: bytes are awaited). */
static uint64_t collect(struct momi_shard *shard, const struct momi_group *group,
                        struct fill *fill) {
    uint64_t at = group->fill_from;
    for (int runs = 0; runs < FILL_RUNS_PER_TURN && at < group->fill_to; runs++) {
        struct momi_run run;
        if (!momi_runs_at(&group->stream->history, at, &run) ||
            run.sequence >= group->fill_to) {
            return group->fill_to; /* trimmed, or nothing more */
        }
        if (run.sequence + run.count > group->fill_to) {
            run.count = (uint32_t)(group->fill_to - run.sequence);
        }
        bool gone = false;
        struct momi_buf *buf = momi_shard_entry(shard, run.index, &gone);
        if (buf == NULL && !gone && !momi_shard_is_lost(shard, run.index)) {
            return at;
        }
        uint32_t seen = buf == NULL ? run.count : match_run(fill, group, &run, buf);
        at = run.sequence + seen;
        if (seen < run.count) {
            return at;
        }
    }
    return at;
}

void momi_shard_fill(struct momi_shard *shard) {
    if (shard->is_registry || momi_list_empty(&shard->machine->filling) ||
        shard->fill_index > shard->applied) {
        return;
    }
    struct momi_group *group =
        MOMI_CONTAINER_OF(shard->machine->filling.next, struct momi_group, fill_link);
    struct fill *fill = momi_effect_alloc(shard->core->effects, sizeof *fill);
    fill->count = 0;
    uint64_t to = collect(shard, group, fill);
    if (to == group->fill_from) {
        return;
    }
    struct momi_fill body = {.stream = group->stream->id,
                             .group = group->id,
                             .from = group->fill_from,
                             .to = to};
    struct momi_bytes bytes = {0};
    momi_fill_put(&bytes, &body, fill->ranges, fill->count);
    struct momi_session_id none = {0};
    if (!bytes.failed &&
        momi_shard_propose_command(shard, CMD_FILL, none, momi_bytes_slice(&bytes))) {
        shard->fill_index = momi_log_last(&shard->raft.log) + 1;
        shard->wants_turn = true;
    }
    momi_bytes_free(&bytes);
}
