/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One damaged directory opened alone, in the way of lib/node/open.c, next to the same
 * directory without damage. What may not happen: a vote, a term or an end of a log that
 * is not the one of before and is not marked as such; a state that differs; an entry with
 * other bytes; a read that does not return.
 */
#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "core/shard_internal.h"
#include "damage/damage.h"
#include "port/datadir.h"
#include "port/store.h"

struct opened {
    struct momi_datadir *dir;
    struct momi_store *store;
    struct momi_store_report report;
    struct momi_core *core;
    int error;
    bool is_range_damaged; /* a scan of the restore has failed */
};

static bool restore_item(struct momi_slice key, struct momi_slice value, void *user) {
    momi_core_restore_item(user, key, value);
    return true;
}

static void restore(struct opened *opened) {
    struct momi_core_config config = {.node = 1,
                                      .incarnation = 1,
                                      .role = MOMI_ROLE_STORE,
                                      .durable = true,
                                      .batch_next = opened->report.number + 1,
                                      .seed = 1};
    opened->core = momi_core_new(&config);
    struct momi_restore_range range;
    while (momi_core_restore_next(opened->core, &range)) {
        if (momi_store_scan(opened->store, NULL, range.family, range.from, range.to,
                            restore_item, opened->core) != MOM_OK) {
            opened->is_range_damaged = true;
            momi_core_restore_damaged(opened->core);
        }
    }
    if (momi_core_restore_is_refused(opened->core)) {
        opened->error = MOM_CORRUPT;
    }
}

static void open_all(struct opened *opened, const char *path) {
    *opened = (struct opened){.error = MOM_OK};
    opened->error = momi_datadir_open(path, &opened->dir);
    if (opened->error == MOM_OK) {
        opened->error =
            momi_store_open_rocksdb(&opened->store, path, NULL, &opened->report);
    }
    if (opened->error == MOM_OK) {
        restore(opened);
    }
}

static void close_all(struct opened *opened) {
    momi_core_free(opened->core);
    if (opened->store != NULL) {
        (void)momi_store_close(opened->store);
    }
    momi_datadir_close(opened->dir);
}

/* --- the judge ---------------------------------------------------------------------- */

struct judge {
    struct opened sane; /* opened once in a process */
    struct opened found;
    char *why;
    enum damage_outcome outcome;
};

static void __attribute__((format(printf, 2, 3)))
violate(struct judge *judge, const char *format, ...) {
    if (judge->outcome == OUTCOME_VIOLATION) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(judge->why, DAMAGE_TEXT, format, arguments);
    va_end(arguments);
    judge->outcome = OUTCOME_VIOLATION;
}

static void note_damage(struct judge *judge) {
    if (judge->outcome == OUTCOME_HARMLESS) {
        judge->outcome = OUTCOME_REPAIRED;
    }
}

static uint64_t hash_of(const struct momi_shard *shard) {
    return shard->is_registry ? momi_registry_hash(&shard->registry)
                              : momi_machine_hash(shard->machine);
}

static void judge_promises(struct judge *judge, const struct momi_shard *sane,
                           const struct momi_shard *found) {
    struct momi_log_end end = momi_raft_end(&sane->raft);
    struct momi_log_end now = momi_raft_end(&found->raft);
    if (found->replica != sane->replica || found->raft.term != sane->raft.term ||
        found->raft.vote != sane->raft.vote) {
        violate(judge, "shard %u: replica, term or vote are others", sane->id);
    }
    if (now.index != end.index || now.term != end.term) {
        violate(judge, "shard %u: the log ends at %llu of term %llu, not %llu of %llu",
                sane->id, (unsigned long long)now.index, (unsigned long long)now.term,
                (unsigned long long)end.index, (unsigned long long)end.term);
    }
    bool is_hurt = momi_shard_is_hurt(judge->found.core, sane->id);
    bool is_short = momi_log_last(&found->raft.log) < end.index || !found->has_state;
    if (is_short != is_hurt) {
        violate(judge, "shard %u: %s", sane->id,
                is_short ? "something is missing, and it does not know"
                         : "hurt, and whole");
    }
    bool is_other = is_hurt || found->replay_to != 0 ||
                    found->raft.log.first_index != sane->raft.log.first_index;
    if (is_other) {
        note_damage(judge);
    }
    if (found->applied == sane->applied && found->has_state && sane->has_state &&
        hash_of(found) != hash_of(sane)) {
        violate(judge, "shard %u: another state", sane->id);
    }
    if (found->applied != sane->applied && found->has_state && found->replay_to == 0) {
        violate(judge, "shard %u: the checkpoint of another index", sane->id);
    }
}

/* What is there is what was there; what is not is known to be missing. */
static bool judge_entry(struct momi_slice key, struct momi_slice value, void *user) {
    struct judge *judge = user;
    struct momi_buf *buf = NULL;
    uint32_t shard = 0;
    uint64_t index = 0;
    int error = momi_store_get(judge->found.store, MOMI_FAMILY_LOG, key, &buf);
    if (error == MOM_OK) {
        if (!momi_slice_equal(momi_buf_slice(buf), value)) {
            struct momi_entry entry;
            if (momi_entry_parse(momi_buf_slice(buf), &entry)) {
                violate(judge, "an entry has other bytes");
            }
            note_damage(judge);
        }
        momi_buf_release(buf);
    } else if (error != MOM_CORRUPT && error != MOM_NOT_FOUND && error != MOM_IO) {
        violate(judge, "reading an entry gives %s", mom_err_name(error));
    } else if (momi_key_entry_decode(key, &shard, &index)) {
        const struct momi_shard *found = judge->found.core->shards[shard];
        const struct momi_shard *sane = judge->sane.core->shards[shard];
        bool was_needed = sane != NULL && momi_shard_needs(sane, index);
        if (error == MOM_NOT_FOUND && was_needed && found != NULL && found->has_state &&
            !momi_shard_is_hurt(judge->found.core, shard) &&
            !momi_shard_needs(found, index)) {
            violate(judge, "entry %llu is gone, and nobody misses it",
                    (unsigned long long)index);
        }
        note_damage(judge);
    }
    return true;
}

static void judge_open(struct judge *judge) {
    for (uint32_t s = 0; s <= DAMAGE_SHARDS; s++) {
        const struct momi_shard *sane = judge->sane.core->shards[s];
        const struct momi_shard *found = judge->found.core->shards[s];
        if ((sane == NULL) != (found == NULL)) {
            violate(judge, "shard %u is not there", s);
        } else if (sane != NULL) {
            judge_promises(judge, sane, found);
        }
    }
    struct momi_slice all = {0};
    if (judge->outcome != OUTCOME_VIOLATION &&
        momi_store_scan(judge->sane.store, NULL, MOMI_FAMILY_LOG, all, all, judge_entry,
                        judge) != MOM_OK) {
        violate(judge, "the undamaged store cannot be read");
    }
}

enum damage_outcome damage_store_case(const char *sane, const char *dir,
                                      char why[DAMAGE_TEXT]) {
    static struct judge judge;
    judge.why = why;
    judge.outcome = OUTCOME_HARMLESS;
    if (judge.sane.core == NULL) {
        open_all(&judge.sane, sane);
    }
    open_all(&judge.found, dir);
    if (judge.sane.error != MOM_OK) {
        violate(&judge, "the undamaged store does not open: %s", mom_last_error_text());
    } else if (judge.found.error == MOM_CORRUPT) {
        judge.outcome = judge.found.report.found == MOMI_STORE_LOST_PROMISES ||
                                judge.found.report.found == MOMI_STORE_CORRUPT
                            ? OUTCOME_ASIDE
                            : OUTCOME_REFUSED;
    } else if (judge.found.error != MOM_OK) {
        violate(&judge, "opening gives %s: %s", mom_err_name(judge.found.error),
                mom_last_error_text());
    } else {
        judge_open(&judge);
    }
    close_all(&judge.found);
    return judge.outcome;
}
