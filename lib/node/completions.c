/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See completions.h. Called by the API and by the loop thread. The descriptor is written
 * and read with the mutex held: both never block, and otherwise a signal could be eaten
 * by a reader that had emptied the queue before.
 */
#include "node/completions.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/types.h"
#include "node/node.h"
#include "port/clock.h"

enum { RESERVED_MAX = 1 << 20, WAIT_MS_MAX = 60000 };

int momi_completions_new(mom_node *node, mom_completions **completions) {
    mom_completions *created = momi_calloc(1, sizeof *created);
    if (created == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for completions");
    }
    created->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (created->fd < 0) {
        momi_free(created);
        return momi_err(MOM_FULL, "no file descriptor for completions (%d)", errno);
    }
    if (pthread_mutex_init(&created->mutex, NULL) != 0) {
        close(created->fd);
        momi_free(created);
        return momi_err(MOM_NO_MEMORY, "no memory for a mutex");
    }
    atomic_init(&created->refs, 1);
    momi_ring_init(&created->ring, sizeof(mom_completion));
    momi_list_init(&created->link);
    momi_list_init(&created->touched_link);
    created->node = node;
    momi_node_ref(node);
    *completions = created;
    return MOM_OK;
}

void momi_completions_ref(mom_completions *completions) {
    atomic_fetch_add_explicit(&completions->refs, 1, memory_order_relaxed);
}

void momi_completions_unref(mom_completions *completions) {
    if (atomic_fetch_sub_explicit(&completions->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    mom_node *node = completions->node;
    momi_node_forget_completions(node, completions);
    close(completions->fd);
    pthread_mutex_destroy(&completions->mutex);
    momi_ring_free(&completions->ring);
    momi_free(completions);
    momi_node_unref(node);
}

int momi_completions_reserve(mom_completions *completions) {
    int error = MOM_OK;
    pthread_mutex_lock(&completions->mutex);
    size_t wanted = completions->ring.count + completions->reserved + 1;
    if (completions->is_closed) {
        error = MOM_CLOSED;
    } else if (wanted > RESERVED_MAX) {
        error = MOM_FULL;
    } else if (!momi_ring_reserve(&completions->ring, wanted)) {
        error = MOM_NO_MEMORY;
    } else {
        completions->reserved++;
    }
    pthread_mutex_unlock(&completions->mutex);
    if (error == MOM_OK) {
        momi_completions_ref(completions);
        return MOM_OK;
    }
    return momi_err(error, "%s",
                    error == MOM_FULL ? "too many completions that nobody collects"
                                      : mom_strerror(error));
}

void momi_completions_unreserve(mom_completions *completions) {
    pthread_mutex_lock(&completions->mutex);
    MOMI_ASSERT(completions->reserved > 0);
    completions->reserved--;
    pthread_mutex_unlock(&completions->mutex);
    momi_completions_unref(completions);
}

static void signal_locked(mom_completions *completions) {
    if (!completions->is_signalled) {
        completions->is_signalled = true;
        uint64_t one = 1;
        ssize_t written = write(completions->fd, &one, sizeof one);
        MOMI_ASSERT(written == sizeof one); /* the counter is at 0 */
    }
}

void momi_completions_put(mom_completions *completions, const mom_completion *completion,
                          struct momi_list *touched) {
    pthread_mutex_lock(&completions->mutex);
    MOMI_ASSERT(completions->reserved > 0);
    completions->reserved--;
    bool is_closed = completions->is_closed;
    if (!is_closed) {
        mom_completion *slot = momi_ring_push(&completions->ring);
        MOMI_ASSERT(slot != NULL); /* it was reserved */
        *slot = *completion;
        if (touched == NULL) {
            signal_locked(completions);
        }
    }
    pthread_mutex_unlock(&completions->mutex);
    if (is_closed || touched == NULL || momi_list_linked(&completions->touched_link)) {
        momi_completions_unref(completions);
    } else {
        momi_list_push_back(touched, &completions->touched_link);
    }
}

void momi_completions_signal(struct momi_list *touched) {
    while (!momi_list_empty(touched)) {
        mom_completions *completions =
            MOMI_CONTAINER_OF(touched->next, mom_completions, touched_link);
        momi_list_remove(&completions->touched_link);
        pthread_mutex_lock(&completions->mutex);
        if (completions->ring.count > 0) {
            signal_locked(completions);
        }
        pthread_mutex_unlock(&completions->mutex);
        momi_completions_unref(completions);
    }
}

void momi_completions_node_closed(mom_completions *completions) {
    pthread_mutex_lock(&completions->mutex);
    completions->is_node_closed = true;
    signal_locked(completions);
    pthread_mutex_unlock(&completions->mutex);
}

void momi_completions_close(mom_completions *completions) {
    pthread_mutex_lock(&completions->mutex);
    completions->is_closed = true;
    momi_ring_pop_front(&completions->ring, completions->ring.count);
    signal_locked(completions); /* who waits in another thread comes back */
    pthread_mutex_unlock(&completions->mutex);
    momi_completions_unref(completions);
}

/* What is there; MOM_EMPTY, or MOM_CLOSED when nothing more will come. */
static int collect(mom_completions *completions, mom_completion *list, size_t max,
                   size_t *count) {
    pthread_mutex_lock(&completions->mutex);
    size_t found = completions->ring.count < max ? completions->ring.count : max;
    for (size_t i = 0; i < found; i++) {
        list[i] = *(mom_completion *)momi_ring_at(&completions->ring, i);
    }
    momi_ring_pop_front(&completions->ring, found);
    bool is_ended = completions->is_node_closed || completions->is_closed;
    if (completions->ring.count == 0 && completions->is_signalled && !is_ended) {
        uint64_t ignored;
        completions->is_signalled = false;
        ssize_t got = read(completions->fd, &ignored, sizeof ignored);
        MOMI_ASSERT(got == sizeof ignored);
    }
    pthread_mutex_unlock(&completions->mutex);
    if (found > 0) {
        *count = found;
        return MOM_OK;
    }
    return is_ended ? MOM_CLOSED : MOM_EMPTY;
}

int momi_completions_wait(mom_completions *completions, mom_completion *list, size_t max,
                          size_t *count, uint64_t deadline_us) {
    for (;;) {
        int error = collect(completions, list, max, count);
        if (error != MOM_EMPTY) {
            return error;
        }
        int wait_ms = -1;
        if (deadline_us != MOMI_NEVER) {
            uint64_t now_us = momi_clock_monotonic_us();
            if (now_us >= deadline_us) {
                return MOM_EMPTY;
            }
            uint64_t left_ms = (deadline_us - now_us + 999) / 1000;
            wait_ms = left_ms < WAIT_MS_MAX ? (int)left_ms : WAIT_MS_MAX;
        }
        struct pollfd entry = {.fd = completions->fd, .events = POLLIN};
        if (poll(&entry, 1, wait_ms) < 0 && errno != EINTR) {
            return momi_err(MOM_IO, "cannot wait for completions (%d)", errno);
        }
    }
}
