/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See job.h. Called by the loop thread and by the two workers.
 */
#include "node/job.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"

struct momi_job *momi_job_new(enum momi_job_type type) {
    struct momi_job *job = momi_calloc(1, sizeof *job);
    if (job != NULL) {
        momi_post_init(&job->post, POST_JOB);
        momi_list_init(&job->link);
        job->type = type;
    }
    return job;
}

void momi_job_clear(struct momi_job *job) {
    momi_batch_clear(&job->batch);
    momi_bytes_clear(&job->from);
    momi_bytes_clear(&job->bytes);
    momi_buf_release(job->buf);
    job->buf = NULL;
    job->items_count = 0;
    job->finished = false;
    job->error = MOM_OK;
    job->is_reported = false;
}

void momi_job_free(struct momi_job *job) {
    if (job == NULL) {
        return;
    }
    momi_batch_free(&job->batch);
    momi_bytes_free(&job->from);
    momi_bytes_free(&job->bytes);
    momi_buf_release(job->buf);
    momi_free(job->items);
    momi_free(job);
}

void momi_job_return(struct momi_job *job, struct momi_mailbox *mailbox) {
    if (!momi_mailbox_post(mailbox, &job->post)) {
        momi_job_free(job);
    }
}

void momi_job_bring(struct momi_job *job, struct momi_mailbox *mailbox) {
    if (!momi_mailbox_bring(mailbox, &job->post)) {
        momi_job_free(job);
    }
}

int momi_worker_init(struct momi_worker *worker) {
    memset(worker, 0, sizeof *worker);
    momi_list_init(&worker->jobs);
    int error = momi_cond_init(&worker->wake);
    if (error == MOM_OK && pthread_mutex_init(&worker->mutex, NULL) != 0) {
        pthread_cond_destroy(&worker->wake);
        error = momi_err(MOM_NO_MEMORY, "no memory for a mutex");
    }
    return error;
}

void momi_worker_destroy(struct momi_worker *worker) {
    MOMI_ASSERT(!worker->is_running);
    while (!momi_list_empty(&worker->jobs)) {
        struct momi_job *job =
            MOMI_CONTAINER_OF(worker->jobs.next, struct momi_job, link);
        momi_list_remove(&job->link);
        momi_job_free(job);
    }
    pthread_mutex_destroy(&worker->mutex);
    pthread_cond_destroy(&worker->wake);
}

int momi_worker_start(struct momi_worker *worker, const char *name,
                      void *(*run)(void *user), void *user) {
    if (pthread_create(&worker->thread, NULL, run, user) != 0) {
        return momi_err(MOM_NO_MEMORY, "cannot start a thread");
    }
    (void)pthread_setname_np(worker->thread, name); /* for people only */
    worker->is_running = true;
    return MOM_OK;
}

void momi_worker_stop(struct momi_worker *worker) {
    if (!worker->is_running) {
        return;
    }
    pthread_mutex_lock(&worker->mutex);
    worker->is_stopping = true;
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->mutex);
    (void)pthread_join(worker->thread, NULL);
    worker->is_running = false;
}

void momi_worker_put(struct momi_worker *worker, struct momi_job *job) {
    pthread_mutex_lock(&worker->mutex);
    momi_list_push_back(&worker->jobs, &job->link);
    if (worker->is_sleeping) {
        worker->is_sleeping = false;
        pthread_cond_signal(&worker->wake);
    }
    pthread_mutex_unlock(&worker->mutex);
}

bool momi_worker_is_idle(struct momi_worker *worker) {
    pthread_mutex_lock(&worker->mutex);
    bool is_idle = momi_list_empty(&worker->jobs);
    pthread_mutex_unlock(&worker->mutex);
    return is_idle;
}

bool momi_worker_take(struct momi_worker *worker, struct momi_list *jobs,
                      uint64_t deadline_us) {
    pthread_mutex_lock(&worker->mutex);
    bool in_time = true;
    while (momi_list_empty(&worker->jobs) && !worker->is_stopping && in_time) {
        worker->is_sleeping = true;
        in_time = momi_cond_wait(&worker->wake, &worker->mutex, deadline_us);
        worker->is_sleeping = false;
    }
    bool goes_on = !worker->is_stopping || !momi_list_empty(&worker->jobs);
    while (!momi_list_empty(&worker->jobs)) {
        struct momi_list *link = worker->jobs.next;
        momi_list_remove(link);
        momi_list_push_back(jobs, link);
    }
    pthread_mutex_unlock(&worker->mutex);
    return goes_on;
}
