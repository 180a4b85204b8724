/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of entries (E8): from the log's cache, from the few read back lately, or by a
 * read of the store. Who needs an entry that is not in memory starts a read, does
 * something else, and looks again in a later turn.
 */
#include "base/assert.h"
#include "core/shard_internal.h"

static struct momi_recent *find_recent(struct momi_shard *shard, uint64_t index) {
    for (size_t i = 0; i < SHARD_RECENT_MAX; i++) {
        if (shard->recent[i].index == index && shard->recent[i].buf != NULL) {
            return &shard->recent[i];
        }
    }
    return NULL;
}

/* Remembers an entry read back; buf NULL: the store says that it does not exist. */
static void remember(struct momi_shard *shard, uint64_t index, struct momi_buf *buf) {
    struct momi_recent *oldest = &shard->recent[0];
    for (size_t i = 1; i < SHARD_RECENT_MAX && oldest->index != 0; i++) {
        if (shard->recent[i].index == 0 || shard->recent[i].used < oldest->used) {
            oldest = &shard->recent[i];
        }
    }
    momi_buf_release(oldest->buf);
    oldest->index = index;
    oldest->buf = buf == NULL ? NULL : momi_buf_ref(buf);
    oldest->used = ++shard->recent_used;
}

void momi_shard_forget_recent(struct momi_shard *shard) {
    for (size_t i = 0; i < SHARD_RECENT_MAX; i++) {
        momi_buf_release(shard->recent[i].buf);
        shard->recent[i] = (struct momi_recent){0};
    }
}

static bool is_absent(const struct momi_shard *shard, uint64_t index) {
    for (size_t i = 0; i < SHARD_RECENT_MAX; i++) {
        if (shard->recent[i].index == index && shard->recent[i].buf == NULL) {
            return true;
        }
    }
    return false;
}

struct momi_buf *momi_shard_entry(struct momi_shard *shard, uint64_t index, bool *gone) {
    *gone = false;
    struct momi_buf *buf = momi_log_buf(&shard->raft.log, index);
    if (buf != NULL) {
        return buf;
    }
    struct momi_recent *recent = find_recent(shard, index);
    if (recent != NULL) {
        recent->used = ++shard->recent_used;
        return recent->buf;
    }
    if (is_absent(shard, index)) {
        *gone = true;
        return NULL;
    }
    for (uint32_t i = 0; i < shard->reads_count; i++) {
        if (shard->reads[i].index == index) {
            return NULL;
        }
    }
    if (shard->reads_count == SHARD_READS_MAX) {
        return NULL;
    }
    struct momi_core *core = shard->core;
    struct momi_effect *effect = momi_effect_add(core->effects, FX_READ);
    effect->token = core->token_next++;
    effect->shard = shard->id;
    effect->index = index;
    shard->reads[shard->reads_count++] = (struct momi_read_waiting){
        .token = effect->token,
        .index = index,
        .is_certain = core->batch_written + 1 == core->batch_next};
    return NULL;
}

bool momi_shard_has_read(const struct momi_shard *shard, uint64_t token) {
    for (uint32_t i = 0; i < shard->reads_count; i++) {
        if (shard->reads[i].token == token) {
            return true;
        }
    }
    return false;
}

void momi_shard_read_done(struct momi_shard *shard, uint64_t token, int error,
                          struct momi_buf *buf) {
    for (uint32_t i = 0; i < shard->reads_count; i++) {
        if (shard->reads[i].token != token) {
            continue;
        }
        uint64_t index = shard->reads[i].index;
        bool is_certain = shard->reads[i].is_certain;
        shard->reads[i] = shard->reads[--shard->reads_count];
        struct momi_entry entry;
        if (error == MOM_OK && !momi_entry_parse(momi_buf_slice(buf), &entry)) {
            error = MOM_CORRUPT;
        }
        momi_trace(shard->core, "ENTRY_READ", shard->id, index, (uint64_t)-error);
        /* An entry that others have committed may leave memory before its own write is
         * done: then it is not in the store yet, and is read again. */
        if (error == MOM_OK || (error == MOM_NOT_FOUND && is_certain)) {
            remember(shard, index, error == MOM_OK ? buf : NULL);
        } else if (error == MOM_CORRUPT) {
            momi_shard_repair(shard, index);
        }
        return;
    }
}

/* --- repair (E7)
 * --------------------------------------------------------------------------------------------------
 */

/* The entry is damaged here: ask the other replicas, one after the other, for a whole
 * one. What waits for it waits. */
void momi_shard_repair(struct momi_shard *shard, uint64_t index) {
    struct momi_core *core = shard->core;
    for (uint32_t i = 0; i < shard->raft.config.count; i++) {
        const struct momi_replica_at *at = &shard->raft.config.at[i];
        if (at->replica == shard->replica || !momi_mesh_lane_is_up(core, at->node)) {
            continue;
        }
        struct momi_frame *frame = momi_core_send(core, at->node, FRAME_FETCH);
        frame->shard = shard->id;
        frame->from_replica = shard->replica;
        frame->to_replica = at->replica;
        frame->index = index;
        frame->number = index;
    }
}

/* An answer to momi_shard_repair: written back when it is what was damaged. */
void momi_shard_repaired(struct momi_shard *shard, uint64_t index,
                         struct momi_slice bytes) {
    struct momi_entry entry;
    if (!momi_entry_parse(bytes, &entry)) {
        return;
    }
    uint64_t term = momi_log_term(&shard->raft.log, index);
    struct momi_live_entry live;
    if (!shard->is_registry && term == 0 &&
        momi_live_find(shard->machine->live, index, &live)) {
        term = live.term;
    }
    bool is_in_log = index >= shard->raft.log.first_index;
    if (term == 0 || entry.term != term || index > shard->applied ||
        (is_in_log && entry.kind == MOMI_ENTRY_HOLLOW)) {
        return;
    }
    struct momi_buf *buf = momi_buf_copy(bytes);
    if (buf == NULL) {
        return;
    }
    momi_batch_put_entry(&shard->core->effects->batch, shard->id, index, buf);
    shard->has_batch = true;
    remember(shard, index, buf);
    momi_buf_release(buf);
    shard->core->counters.entries_repaired++;
}
