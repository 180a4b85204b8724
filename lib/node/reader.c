/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See reader.h. Started by node.c, fed by run_effects.c; answers by posts to the loop.
 */
#include "node/reader.h"

#include "base/err.h"
#include "base/mem.h"
#include "core/keys.h"

enum { RECORD_PREFIX_BYTES = 5 }; /* shard be32, side u8 (keys.h) */

int momi_reader_init(struct momi_reader_thread *reader, struct momi_mailbox *mailbox,
                     struct momi_store *store) {
    memset(reader, 0, sizeof *reader);
    reader->mailbox = mailbox;
    reader->store = store;
    return momi_worker_init(&reader->worker);
}

void momi_reader_destroy(struct momi_reader_thread *reader) {
    for (size_t i = 0; i < MOMI_SCAN_SESSIONS_MAX; i++) {
        if (reader->sessions[i].session != 0) {
            momi_store_snapshot_close(reader->store, reader->sessions[i].snapshot);
        }
    }
    momi_worker_destroy(&reader->worker);
}

/* --- scans
 * ------------------------------------------------------------------------------ */

static int find_snapshot(struct momi_reader_thread *reader, uint64_t session,
                         struct momi_store_snapshot **snapshot) {
    struct momi_scan_session *free_one = NULL;
    for (size_t i = 0; i < MOMI_SCAN_SESSIONS_MAX; i++) {
        struct momi_scan_session *at = &reader->sessions[i];
        if (at->session == session) {
            *snapshot = at->snapshot;
            return MOM_OK;
        }
        if (at->session == 0 && free_one == NULL) {
            free_one = at;
        }
    }
    if (free_one == NULL) {
        return momi_err(MOM_FULL, "%d scans at the same time", MOMI_SCAN_SESSIONS_MAX);
    }
    int error = momi_store_snapshot_open(reader->store, snapshot);
    if (error == MOM_OK) {
        *free_one = (struct momi_scan_session){.session = session, .snapshot = *snapshot};
    }
    return error;
}

static void end_scan(struct momi_reader_thread *reader, uint64_t session) {
    for (size_t i = 0; i < MOMI_SCAN_SESSIONS_MAX; i++) {
        struct momi_scan_session *at = &reader->sessions[i];
        if (at->session == session) {
            momi_store_snapshot_close(reader->store, at->snapshot);
            *at = (struct momi_scan_session){0};
        }
    }
}

/* Until all is read, items hold offsets in place of pointers: the bytes still move. */
static bool collect_item(struct momi_slice key, struct momi_slice value, void *user) {
    struct momi_job *job = user;
    key = momi_slice(key.data + RECORD_PREFIX_BYTES, key.size - RECORD_PREFIX_BYTES);
    if (job->from.size > 0 && momi_slice_equal(key, momi_bytes_slice(&job->from))) {
        return true; /* the scan goes on after it */
    }
    if (job->items_count > 0 &&
        job->bytes.size + key.size + value.size > job->bytes_max) {
        job->finished = false;
        return false;
    }
    if (job->items_count == job->items_room) {
        size_t room = job->items_room == 0 ? 64 : job->items_room * 2;
        struct momi_scan_item *items = momi_realloc(job->items, room * sizeof *items);
        if (items == NULL) {
            job->error = MOM_NO_MEMORY;
            return false;
        }
        job->items = items;
        job->items_room = room;
    }
    struct momi_scan_item *item = &job->items[job->items_count++];
    item->key = momi_slice(NULL, key.size);
    item->value = momi_slice(NULL, value.size);
    momi_bytes_append(&job->bytes, key.data, key.size);
    momi_bytes_append(&job->bytes, value.data, value.size);
    return true;
}

static void point_items(struct momi_job *job) {
    const uint8_t *at = job->bytes.data;
    for (size_t i = 0; i < job->items_count; i++) {
        job->items[i].key.data = at;
        at += job->items[i].key.size;
        job->items[i].value.data = at;
        at += job->items[i].value.size;
    }
}

static void scan(struct momi_reader_thread *reader, struct momi_job *job) {
    struct momi_store_snapshot *snapshot = NULL;
    struct momi_key from =
        momi_key_record(job->shard, job->side, momi_bytes_slice(&job->from));
    struct momi_key to =
        momi_key_record(job->shard, (uint8_t)(job->side + 1), momi_slice(NULL, 0));
    int error = find_snapshot(reader, job->session, &snapshot);
    job->finished = true;
    if (error == MOM_OK) {
        error = momi_store_scan(reader->store, snapshot, MOMI_FAMILY_STATE,
                                momi_key_slice(&from), momi_key_slice(&to), collect_item,
                                job);
    }
    if (error == MOM_OK && job->bytes.failed) {
        error = MOM_NO_MEMORY;
    }
    if (job->error == MOM_OK) {
        job->error = error;
    }
    if (job->error != MOM_OK) {
        job->items_count = 0;
        job->finished = false;
    }
    point_items(job);
}

/* --- the thread
 * ------------------------------------------------------------------------- */

static void do_job(struct momi_reader_thread *reader, struct momi_job *job) {
    switch (job->type) {
    case JOB_READ: {
        struct momi_key key = momi_key_entry(job->shard, job->index);
        job->error = momi_store_get(reader->store, MOMI_FAMILY_LOG, momi_key_slice(&key),
                                    &job->buf);
        break;
    }
    case JOB_SCAN:
        scan(reader, job);
        break;
    case JOB_SCAN_END:
        end_scan(reader, job->session);
        break;
    default:
        job->error = MOM_INVALID;
        break;
    }
    momi_job_return(job, reader->mailbox);
}

static void *run(void *user) {
    struct momi_reader_thread *reader = user;
    struct momi_list jobs;
    momi_list_init(&jobs);
    while (momi_worker_take(&reader->worker, &jobs, MOMI_NEVER)) {
        while (!momi_list_empty(&jobs)) {
            struct momi_job *job = MOMI_CONTAINER_OF(jobs.next, struct momi_job, link);
            momi_list_remove(&job->link);
            do_job(reader, job);
        }
    }
    return NULL;
}

int momi_reader_start(struct momi_reader_thread *reader) {
    return momi_worker_start(&reader->worker, "mom-reader", run, reader);
}

void momi_reader_stop(struct momi_reader_thread *reader) {
    momi_worker_stop(&reader->worker);
}
