/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: what the loop hands to the journal thread and the reader thread, and gets back by
 * a post. A job belongs to the worker between the two, otherwise to the loop, which keeps
 * finished ones for the next use.
 */
#ifndef MOMI_NODE_JOB_H
#define MOMI_NODE_JOB_H

#include "base/batch.h"
#include "core/event.h"
#include "node/mailbox.h"

enum momi_job_type {
    JOB_WRITE,    /* journal: `batch`, synced if `sync` */
    JOB_IDENTITY, /* journal: `mesh` becomes that of the directory */
    JOB_READ,     /* reader: the entry (shard, index) */
    JOB_SCAN,     /* reader: records of (shard, side) after `from`, `bytes_max` of them */
    JOB_SCAN_END, /* reader: the snapshot of scan session `session` goes */
};

struct momi_job {
    struct momi_post post;
    struct momi_list link; /* in the worker's queue, or among the loop's free ones */
    enum momi_job_type type;
    uint64_t token;
    int error;
    /* JOB_WRITE */
    struct momi_batch batch;
    bool sync;
    bool is_reported; /* EV_WRITTEN: this one stands for those before it, too */
    /* JOB_IDENTITY */
    struct momi_mesh_id mesh;
    /* JOB_READ, JOB_SCAN */
    uint32_t shard;
    uint8_t side;
    uint64_t index;
    uint64_t session;
    uint64_t bytes_max;
    struct momi_bytes from;
    struct momi_buf *buf;         /* JOB_READ: what was read */
    struct momi_bytes bytes;      /* JOB_SCAN: keys and values */
    struct momi_scan_item *items; /* owned; slices into `bytes` once it is done */
    size_t items_count, items_room;
    bool finished;
};

struct momi_job *momi_job_new(enum momi_job_type type); /* NULL: out of memory */
void momi_job_free(struct momi_job *job);
/* The worker is done with it: to the loop, or away when that has ended. */
void momi_job_return(struct momi_job *job, struct momi_mailbox *mailbox);
/* The same, but nobody is woken: a visit or momi_mailbox_nudge must follow. */
void momi_job_bring(struct momi_job *job, struct momi_mailbox *mailbox);
/* For the next use: keeps its memory. */
void momi_job_clear(struct momi_job *job);

/* A worker: one thread, one queue of jobs. */
struct momi_worker {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct momi_list jobs; /* struct momi_job.link */
    bool is_sleeping;
    bool is_stopping;
    pthread_t thread;
    bool is_running;
};
int momi_worker_init(struct momi_worker *worker);
void momi_worker_destroy(struct momi_worker *worker);
int momi_worker_start(struct momi_worker *worker, const char *name,
                      void *(*run)(void *user), void *user);
/* The thread does what is queued, then ends; returns when it has. */
void momi_worker_stop(struct momi_worker *worker);
void momi_worker_put(struct momi_worker *worker, struct momi_job *job);
/* Nothing is queued. */
bool momi_worker_is_idle(struct momi_worker *worker);
/* The worker's thread: moves all jobs to `jobs`, after waiting for one up to
 * `deadline_us`. False: it shall end, and nothing is queued. */
bool momi_worker_take(struct momi_worker *worker, struct momi_list *jobs,
                      uint64_t deadline_us);

#endif
