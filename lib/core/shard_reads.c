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
void momi_shard_remember(struct momi_shard *shard, uint64_t index, struct momi_buf *buf) {
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
    if (momi_shard_is_damaged(shard, index)) {
        return NULL; /* shard_repair.c asks for it */
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
        if (error == MOM_OK && !(momi_entry_parse(momi_buf_slice(buf), &entry) &&
                                 momi_shard_fits(shard, index, &entry))) {
            error = MOM_CORRUPT;
        }
        momi_trace(shard->core, "ENTRY_READ", shard->id, index, (uint64_t)-error);
        if (error == MOM_NOT_FOUND && is_certain && momi_shard_needs(shard, index)) {
            error = MOM_CORRUPT;
        }
        /* An entry that others have committed may leave memory before its own write is
         * done: then it is not in the store yet, and is read again. */
        if (error == MOM_OK || (error == MOM_NOT_FOUND && is_certain)) {
            momi_shard_remember(shard, index, error == MOM_OK ? buf : NULL);
        } else if (error == MOM_CORRUPT) {
            momi_shard_repair(shard, index);
        }
        return;
    }
}
