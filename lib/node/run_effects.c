/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second switch: effects of a turn into actions (core/effect.h). Effects of one turn
 * are independent, so messages go before completions: who is woken finds them.
 */
#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"
#include "node/node_internal.h"

/* --- jobs
 * ----------------------------------------------------------------------------------- */

/* Finished jobs are used again. NULL: out of memory. */
static struct momi_job *take_job(mom_node *node, enum momi_job_type type) {
    if (momi_list_empty(&node->free_jobs)) {
        return momi_job_new(type);
    }
    struct momi_job *job = MOMI_CONTAINER_OF(node->free_jobs.next, struct momi_job, link);
    momi_list_remove(&job->link);
    node->free_jobs_count--;
    job->type = type;
    return job;
}

static void give_job(mom_node *node, struct momi_job *job) {
    bool is_large = job->bytes.room + job->batch.bytes.room > MOMI_FREE_JOB_BYTES_MAX;
    if (is_large || node->free_jobs_count == MOMI_FREE_JOBS_MAX) {
        momi_job_free(job);
        return;
    }
    momi_job_clear(job);
    momi_list_push_back(&node->free_jobs, &job->link);
    node->free_jobs_count++;
}

void momi_node_job_done(mom_node *node, struct momi_job *job) {
    struct momi_event event = {.token = job->token, .error = job->error};
    switch (job->type) {
    case JOB_WRITE:
        event.type = EV_WRITTEN;
        if (job->is_reported || job->error != MOM_OK) {
            momi_node_step(node, &event);
        }
        break;
    case JOB_IDENTITY:
        event.type = EV_IDENTITY;
        momi_node_step(node, &event);
        break;
    case JOB_READ:
        event.type = EV_READ;
        event.buf = job->buf;
        momi_node_step(node, &event);
        break;
    case JOB_SCAN:
        event.type = EV_SCANNED;
        event.items = job->items;
        event.items_count = job->items_count;
        event.finished = job->finished;
        momi_node_step(node, &event);
        break;
    case JOB_SCAN_END:
        break;
    }
    give_job(node, job);
}

/* No memory for the job: the answer comes in the next turn, as from a worker that failed.
 * A write that cannot be handed over is a store that has failed. */
static void lose(mom_node *node, enum momi_event_type type, uint64_t token) {
    if (node->lost_count < MOMI_LOST_MAX) {
        node->lost[node->lost_count++] =
            (struct momi_event){.type = type, .token = token, .error = MOM_NO_MEMORY};
    }
}

static void start_write(mom_node *node, const struct momi_effect *effect) {
    struct momi_job *job = take_job(node, JOB_WRITE);
    if (job == NULL) {
        lose(node, EV_WRITTEN, effect->token);
        return;
    }
    struct momi_batch empty = job->batch;
    job->batch = node->effects.batch;
    node->effects.batch = empty;
    job->token = effect->token;
    job->sync = effect->sync;
    MOMI_ASSERT(job->batch.number == effect->token);
    momi_worker_put(&node->journal.worker, job);
}

static void start_identity(mom_node *node, const struct momi_effect *effect) {
    struct momi_job *job = take_job(node, JOB_IDENTITY);
    if (job == NULL) {
        lose(node, EV_IDENTITY, effect->token);
        return;
    }
    job->token = effect->token;
    job->mesh = effect->mesh;
    momi_worker_put(&node->journal.worker, job);
}

static void start_read(mom_node *node, const struct momi_effect *effect,
                       enum momi_job_type type) {
    struct momi_job *job = take_job(node, type);
    if (job != NULL && type == JOB_SCAN) {
        momi_bytes_append(&job->from, effect->from.data, effect->from.size);
    }
    if (job == NULL || job->from.failed) {
        momi_job_free(job);
        if (type != JOB_SCAN_END) {
            lose(node, type == JOB_READ ? EV_READ : EV_SCANNED, effect->token);
        }
        return;
    }
    job->token = effect->token;
    job->shard = effect->shard;
    job->side = effect->side;
    job->index = effect->index;
    job->session = type == JOB_SCAN_END ? effect->token : effect->session;
    job->bytes_max = effect->value;
    momi_worker_put(&node->reader.worker, job);
}

/* --- notices
 * -------------------------------------------------------------------------------- */

/* Where other nodes are, this one goes on as their client. Alone nothing can be done any
 * more: what is under way may or may not have been done, and what comes is refused. */
static void store_failed(mom_node *node) {
    if (momi_peers_stores_up(node) == 0) {
        momi_mailbox_refuse(&node->mailbox, MOM_IO);
        node->is_failing = true; /* at the end of the turn */
    }
}

static void notice(mom_node *node, const struct momi_effect *effect) {
    static const struct {
        mom_log_level level;
        const char *id;
        const char *text;
    } lines[] = {
        [MOMI_NOTICE_READY] = {MOM_LOG_INFO, "MOM-READY", "ready"},
        [MOMI_NOTICE_FOUNDED] = {MOM_LOG_INFO, "MOM-FOUNDED", "founded a mesh"},
        [MOMI_NOTICE_JOINED] = {MOM_LOG_INFO, "MOM-JOINED", "joined a mesh"},
        [MOMI_NOTICE_LEADER] = {MOM_LOG_DEBUG, "MOM-LEADER", "a leader was seen"},
        [MOMI_NOTICE_STEPPED_DOWN] = {MOM_LOG_INFO, "MOM-STEPPED-DOWN",
                                      "leads a shard no more"},
        [MOMI_NOTICE_STORE_FAILED] = {MOM_LOG_ERROR, "MOM-STORE-FAILED",
                                      "the store has failed; restart the node"},
        [MOMI_NOTICE_REFUSED] = {MOM_LOG_WARNING, "MOM-REFUSED", "a peer was refused"},
        [MOMI_NOTICE_TWO_COPIES] = {MOM_LOG_WARNING, "MOM-TWO-COPIES",
                                    "losing either of two nodes stops service"},
        [MOMI_NOTICE_DAMAGED] = {MOM_LOG_WARNING, "MOM-DAMAGED",
                                 "a copy is damaged, and is repaired from the others"},
        [MOMI_NOTICE_LOST] = {MOM_LOG_ERROR, "MOM-LOST", "data is lost"},
    };
    size_t at = (size_t)effect->notice;
    if (effect->notice == MOMI_NOTICE_STORE_FAILED) {
        store_failed(node);
    }
    if (at >= sizeof lines / sizeof lines[0] || lines[at].id == NULL) {
        return;
    }
    momi_log(&node->log, lines[at].level, lines[at].id, "mesh",
             "%s (shard %u, node %016llx) %.*s", lines[at].text, effect->shard,
             (unsigned long long)effect->node, (int)effect->text.size,
             effect->text.size == 0 ? "" : (const char *)effect->text.data);
}

/* --- the switch
 * -------------------------------------------------------------------------------- */

static void run_effect(mom_node *node, const struct momi_effect *effect) {
    switch (effect->type) {
    case FX_SEND:
        momi_outbox_send(node, effect->node, effect->frame);
        break;
    case FX_WRITE:
        break; /* after the frames of this turn */
    case FX_READ:
        start_read(node, effect, JOB_READ);
        break;
    case FX_SCAN:
        start_read(node, effect, JOB_SCAN);
        break;
    case FX_SCAN_END:
        start_read(node, effect, JOB_SCAN_END);
        break;
    case FX_DIAL:
        momi_peers_dial(node, effect);
        break;
    case FX_HANGUP:
        break; /* after the frames of this turn */
    case FX_IDENTITY:
        start_identity(node, effect);
        break;
    case FX_COMPLETE:
        break; /* after the messages */
    case FX_MESSAGES:
        momi_consumers_delivered(node, effect);
        break;
    case FX_CONSUMER_ENDED:
        momi_consumers_ended(node, effect->token, effect->error);
        break;
    case FX_NOTICE:
        notice(node, effect);
        break;
    case FX_CLOSED:
        node->drain_until_us = node->now_us + MOMI_DRAIN_US;
        break;
    }
}

void momi_node_run_effects(mom_node *node) {
    struct momi_effects *effects = &node->effects;
    for (size_t i = 0; i < effects->count; i++) {
        run_effect(node, &effects->list[i]);
    }
    /* Frames first: the way to a follower and back is longer than the own sync. */
    momi_peers_flush(node);
    for (size_t i = 0; i < effects->count; i++) {
        const struct momi_effect *effect = &effects->list[i];
        if (effect->type == FX_WRITE) {
            start_write(node, effect);
        } else if (effect->type == FX_COMPLETE) {
            momi_calls_complete(&node->calls, effect->token, &effect->completion,
                                &node->touched);
        } else if (effect->type == FX_HANGUP) {
            momi_peers_hangup(node, effect->node);
        }
    }
    if (node->is_failing) {
        node->is_failing = false;
        momi_calls_complete_all(&node->calls, MOM_UNKNOWN_OUTCOME, &node->touched);
        momi_consumers_fail(node, MOM_IO);
    }
    momi_consumers_wake(node);
    momi_completions_signal(&node->touched);
    node->effects_done += effects->count;
    momi_effects_clear(effects);
}
