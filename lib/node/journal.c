/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See journal.h. Started by node.c, fed by run_effects.c; answers by posts to the loop.
 */
#include "node/journal.h"

#include "base/assert.h"
#include "base/err.h"
#include "node/node_internal.h"
#include "port/clock.h"

#define IDLE_US  (50 * MOMI_MS) /* without work for so long, the store is idle */
#define SPACE_US MOMI_S

int momi_journal_init(struct momi_journal *journal, mom_node *node,
                      struct momi_store *store, struct momi_datadir *dir) {
    journal->node = node;
    journal->mailbox = &node->mailbox;
    journal->store = store;
    journal->dir = dir;
    momi_post_init(&journal->space_post, POST_SPACE);
    atomic_init(&journal->space_free, UINT64_MAX);
    atomic_init(&journal->space_total, UINT64_MAX);
    return momi_worker_init(&journal->worker);
}

void momi_journal_destroy(struct momi_journal *journal) {
    momi_reserve_free(&journal->reserve);
    momi_worker_destroy(&journal->worker);
}

static void measure_space(struct momi_journal *journal) {
    uint64_t free_bytes;
    uint64_t total_bytes;
    if (momi_store_space(journal->store, &free_bytes, &total_bytes) != MOM_OK) {
        return; /* the last figure stands */
    }
    atomic_store_explicit(&journal->space_total, total_bytes, memory_order_relaxed);
    uint64_t before =
        atomic_exchange_explicit(&journal->space_free, free_bytes, memory_order_relaxed);
    if (before != free_bytes) {
        (void)momi_mailbox_post(journal->mailbox, &journal->space_post);
    }
}

static int set_identity(struct momi_journal *journal, const struct momi_job *job) {
    return journal->dir == NULL ? MOM_OK
                                : momi_datadir_set_mesh_id(journal->dir, job->mesh.bytes);
}

/* The last job with a batch; with it everything before is written. */
static struct momi_job *last_write(struct momi_list *jobs, bool *sync) {
    struct momi_job *last = NULL;
    *sync = false;
    MOMI_LIST_FOR_EACH (link, jobs) {
        struct momi_job *job = MOMI_CONTAINER_OF(link, struct momi_job, link);
        if (job->type == JOB_WRITE) {
            last = job;
            *sync = *sync || job->sync;
        }
    }
    return last;
}

/* A failed write is final; for want of memory it fails only when the reserve is used up,
 * too. */
static int write_batch(struct momi_journal *journal, const struct momi_batch *batch,
                       enum momi_sync how) {
    (void)momi_reserve_fill(&journal->reserve, MOMI_NODE_RESERVE_BYTES);
    momi_reserve_enter(&journal->reserve);
    int error = momi_store_write(journal->store, batch, how);
    momi_reserve_leave();
    return error;
}

/* Writes all batches; one event reports them (EV_WRITTEN names the last number). */
static void do_jobs(struct momi_journal *journal, struct momi_list *jobs) {
    bool sync;
    struct momi_job *last = last_write(jobs, &sync);
    int error = MOM_OK;
    while (!momi_list_empty(jobs)) {
        struct momi_job *job = MOMI_CONTAINER_OF(jobs->next, struct momi_job, link);
        momi_list_remove(&job->link);
        if (job->type == JOB_IDENTITY) {
            job->error = set_identity(journal, job);
        } else {
            enum momi_sync how = job == last && sync ? MOMI_SYNC_YES : MOMI_SYNC_NO;
            if (error == MOM_OK) {
                error = write_batch(journal, &job->batch, how);
            }
            momi_batch_clear(&job->batch);
            job->error = error;
            job->is_reported = job == last;
        }
        momi_job_bring(job, journal->mailbox);
    }
    if (momi_worker_is_idle(&journal->worker)) {
        momi_node_visit(journal->node);
    } else {
        momi_mailbox_nudge(journal->mailbox); /* the next sync begins at once */
    }
}

static void *run(void *user) {
    struct momi_journal *journal = user;
    struct momi_list jobs;
    momi_list_init(&jobs);
    bool is_idle = false;
    uint64_t idled_us = momi_clock_monotonic_us();
    measure_space(journal);
    for (;;) {
        uint64_t now_us = momi_clock_monotonic_us();
        uint64_t due_us = idled_us + SPACE_US;
        if (!is_idle && now_us + IDLE_US < due_us) {
            due_us = now_us + IDLE_US;
        }
        if (!momi_worker_take(&journal->worker, &jobs, due_us)) {
            break;
        }
        bool had_work = !momi_list_empty(&jobs);
        do_jobs(journal, &jobs);
        now_us = momi_clock_monotonic_us();
        bool is_late = now_us >= idled_us + SPACE_US;
        if ((!had_work && !is_idle) || is_late) {
            /* A failure is final and is reported with the next write. */
            (void)momi_store_idle(journal->store);
        }
        is_idle = !had_work;
        if (is_late) {
            measure_space(journal);
            idled_us = now_us;
        }
    }
    return NULL;
}

int momi_journal_start(struct momi_journal *journal) {
    return momi_worker_start(&journal->worker, "mom-journal", run, journal);
}

void momi_journal_stop(struct momi_journal *journal) {
    momi_worker_stop(&journal->worker);
}
