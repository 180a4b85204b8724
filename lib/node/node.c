/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a node: opened, entered by calls, closed (node.h). Threads are stopped in
 * the order in which nothing is left for the next: loop, network, journal, reader, store.
 *
 * The memory of the struct outlives the close until the last consumer, completion queue,
 * message and call that refer to it are gone.
 */
#include "node/node.h"

#include <signal.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"
#include "node/node_internal.h"
#include "port/clock.h"

/* Counts the forks on the way to this process: a child's differs from that of its nodes.
 * A system call for each call of the program would be the alternative. */
static _Atomic uint32_t forks;
static pthread_once_t forks_once = PTHREAD_ONCE_INIT;

static void count_fork(void) {
    atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}
static void watch_forks(void) { (void)pthread_atfork(NULL, NULL, count_fork); }

/* --- references
 * ---------------------------------------------------------------------------- */

int momi_node_check_fork(const mom_node *node) {
    return atomic_load_explicit(&forks, memory_order_relaxed) == node->forks
               ? MOM_OK
               : momi_err(MOM_CLOSED,
                          "the node was opened before this process was forked");
}

void momi_node_ref(mom_node *node) {
    atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
}

static void node_free(mom_node *node) {
    momi_calls_free(&node->calls);
    momi_mailbox_destroy(&node->mailbox);
    pthread_cond_destroy(&node->closed_cond);
    pthread_mutex_destroy(&node->mutex);
    momi_key_wipe(&node->key);
    momi_free(node);
}

void momi_node_unref(mom_node *node) {
    if (atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) == 1) {
        node_free(node);
    }
}

int momi_node_enter(mom_node *node) {
    int error = momi_node_check_fork(node);
    if (error != MOM_OK) {
        return error;
    }
    momi_node_ref(node);
    if (atomic_load_explicit(&node->is_closed, memory_order_acquire)) {
        momi_node_unref(node);
        return momi_err(MOM_CLOSED, "the node is closed");
    }
    return MOM_OK;
}

void momi_node_leave(mom_node *node) { momi_node_unref(node); }

/* --- opening
 * --------------------------------------------------------------------------------- */

static mom_node *node_new(const mom_options *options) {
    mom_node *node = momi_calloc(1, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    atomic_init(&node->refs, 1);
    atomic_init(&node->is_closed, false);
    atomic_init(&node->handle_next, 1);
    node->forks = atomic_load_explicit(&forks, memory_order_relaxed);
    if (pthread_mutex_init(&node->mutex, NULL) != 0) {
        momi_free(node);
        return NULL;
    }
    if (momi_cond_init(&node->closed_cond) != MOM_OK) {
        pthread_mutex_destroy(&node->mutex);
        momi_free(node);
        return NULL;
    }
    if (momi_mailbox_init(&node->mailbox) != MOM_OK) {
        pthread_cond_destroy(&node->closed_cond);
        pthread_mutex_destroy(&node->mutex);
        momi_free(node);
        return NULL;
    }
    uint64_t inflight = options->inflight_bytes_max;
    momi_calls_init(&node->calls, &node->mailbox,
                    inflight == 0 ? MOMI_INFLIGHT_BYTES_DEFAULT : inflight);
    momi_post_init(&node->close_post, POST_CLOSE);
    momi_list_init(&node->completions_open);
    momi_list_init(&node->free_jobs);
    momi_list_init(&node->touched);
    momi_list_init(&node->consumers_open);
    momi_list_init(&node->consumers_timed);
    momi_list_init(&node->consumers_touched);
    momi_effects_init(&node->effects);
    node->log = (struct momi_log){.sink = options->log, .user = options->log_user};
    node->log.level = options->log_level == 0 ? MOM_LOG_INFO : options->log_level;
    return node;
}

static int start_threads(mom_node *node) {
    int error = momi_journal_start(&node->journal);
    if (error == MOM_OK) {
        error = momi_reader_start(&node->reader);
    }
    if (error == MOM_OK &&
        pthread_create(&node->thread, NULL, momi_node_run, node) != 0) {
        error = momi_err(MOM_NO_MEMORY, "cannot start a thread");
    }
    if (error == MOM_OK) {
        node->has_thread = true;
        (void)pthread_setname_np(node->thread, "mom-loop"); /* for people only */
    }
    return error;
}

/* Signals are for the program's own threads: all that start below, RocksDB's and nng's
 * too, inherit the mask. What a thread does wrong itself still stops it. */
static void block_signals(sigset_t *before) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE,  SIGILL,
                              SIGABRT, SIGSYS, SIGTRAP, SIGPROF};
    sigset_t blocked;
    (void)sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        (void)sigdelset(&blocked, own[i]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &blocked, before);
}

static int open_and_start(mom_node *node, const mom_options *options) {
    int error = momi_node_prepare(node, options);
    if (error == MOM_OK) {
        error = start_threads(node);
        if (error != MOM_OK) {
            momi_mailbox_end(&node->mailbox);
            int ignored = MOM_OK;
            momi_node_unprepare(node, &ignored);
        }
    }
    return error;
}

int momi_node_open(const mom_options *options, mom_node **node_out) {
    (void)pthread_once(&forks_once, watch_forks);
    mom_node *node = node_new(options);
    if (node == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a node");
    }
    sigset_t before;
    block_signals(&before);
    int error = open_and_start(node, options);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != MOM_OK) {
        momi_node_unref(node);
        return error;
    }
    *node_out = node;
    return MOM_OK;
}

/* --- closing
 * --------------------------------------------------------------------------------- */

static int wait_for_core(mom_node *node, uint64_t deadline_us) {
    int error = MOM_OK;
    (void)momi_mailbox_post(&node->mailbox, &node->close_post);
    pthread_mutex_lock(&node->mailbox.mutex);
    while (!node->is_core_closed && error == MOM_OK) {
        if (!momi_cond_wait(&node->closed_cond, &node->mailbox.mutex, deadline_us)) {
            error = momi_err(MOM_TIMEOUT, "closed before everything was in order");
        }
    }
    if (node->is_core_closed) {
        error = MOM_OK;
    }
    pthread_mutex_unlock(&node->mailbox.mutex);
    return error;
}

/* Handles stay valid; who waits on them is woken. References are taken under the mutex,
 * since a completion queue may be on its way out at the same time. */
static void close_completions(mom_node *node) {
    for (;;) {
        mom_completions *completions = NULL;
        pthread_mutex_lock(&node->mutex);
        if (!momi_list_empty(&node->completions_open)) {
            completions =
                MOMI_CONTAINER_OF(node->completions_open.next, mom_completions, link);
            momi_list_remove(&completions->link);
            momi_completions_node_closed(completions);
        }
        pthread_mutex_unlock(&node->mutex);
        if (completions == NULL) {
            return;
        }
    }
}

int momi_node_close(mom_node *node, uint64_t deadline_us) {
    int error = momi_node_check_fork(node);
    if (error != MOM_OK) {
        return error; /* its threads are in the parent; the memory is left alone */
    }
    if (atomic_exchange_explicit(&node->is_closed, true, memory_order_acq_rel)) {
        return momi_err(MOM_CLOSED, "the node is being closed already");
    }
    momi_mailbox_close(&node->mailbox);
    error = wait_for_core(node, deadline_us);
    momi_mailbox_stop(&node->mailbox);
    (void)pthread_join(node->thread, NULL);
    int store_error = MOM_OK;
    momi_node_unprepare(node, &store_error);
    close_completions(node);
    momi_node_unref(node);
    return store_error != MOM_OK ? store_error : error;
}

/* --- calls
 * -------------------------------------------------------------------------------------
 */

uint64_t momi_node_next_handle(mom_node *node) {
    return atomic_fetch_add_explicit(&node->handle_next, 1, memory_order_relaxed);
}

struct momi_calls *momi_node_calls(mom_node *node) {
    return &node->calls;
}

int momi_node_call(mom_node *node, const struct momi_call *call,
                   const struct momi_messages *messages, struct momi_answer *answer) {
    struct momi_call_target target = {
        .target = SLOT_THREAD, .may_wait = true, .visits = true};
    struct momi_slot *slot;
    int error = momi_calls_put(&node->calls, call, messages, &target, NULL, &slot, NULL);
    if (error != MOM_OK) {
        return error;
    }
    momi_node_visit(node); /* this thread would sleep anyway */
    return momi_calls_wait(&node->calls, slot, answer);
}

int momi_node_call_closing(mom_node *node, const struct momi_call *call, bool may_wait) {
    if (may_wait) {
        return momi_node_call(node, call, NULL, NULL);
    }
    struct momi_call unbound = *call;
    unbound.deadline_us = MOMI_NEVER;
    struct momi_call_target target = {.target = SLOT_NOBODY, .may_wait = false};
    return momi_calls_put(&node->calls, &unbound, NULL, &target, NULL, NULL, NULL);
}

int momi_node_completions(mom_node *node, mom_completions **completions) {
    mom_completions *created;
    int error = momi_completions_new(node, &created);
    if (error == MOM_OK) {
        pthread_mutex_lock(&node->mutex);
        momi_list_push_back(&node->completions_open, &created->link);
        pthread_mutex_unlock(&node->mutex);
        *completions = created;
    }
    return error;
}

void momi_node_forget_completions(mom_node *node, mom_completions *completions) {
    pthread_mutex_lock(&node->mutex);
    momi_list_remove(&completions->link);
    pthread_mutex_unlock(&node->mutex);
}

uint64_t momi_node_id(const mom_node *node) { return node->id; }
const char *momi_node_name(const mom_node *node) { return node->name; }
const char *momi_node_address(const mom_node *node) { return node->listen; }
bool momi_node_is_durable(const mom_node *node) { return node->is_durable; }

int momi_node_check_address(const char *address, enum momi_node_address use) {
    return momi_address_check(address, use == MOMI_NODE_LISTENS_AT ? MOMI_ADDRESS_LISTEN
                                                                   : MOMI_ADDRESS_DIAL);
}

uint64_t momi_node_deadline_us(uint32_t timeout_ms) {
    return momi_clock_monotonic_us() + timeout_ms * MOMI_MS;
}
