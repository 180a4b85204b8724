/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See mailbox.h. Called by every thread of a node and by the program's.
 */
#include "node/mailbox.h"

#include <errno.h>
#include <time.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/types.h"
#include "port/clock.h"

int momi_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) {
        return momi_err(MOM_NO_MEMORY, "no memory for a condition");
    }
    int result = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (result == 0) {
        result = pthread_cond_init(cond, &attributes);
    }
    pthread_condattr_destroy(&attributes);
    return result == 0 ? MOM_OK : momi_err(MOM_NO_MEMORY, "no memory for a condition");
}

bool momi_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_us) {
    if (deadline_us == MOMI_NEVER) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
                             .tv_nsec = (long)(deadline_us % 1000000) * 1000};
    return pthread_cond_timedwait(cond, mutex, &until) != ETIMEDOUT;
}

int momi_mailbox_init(struct momi_mailbox *mailbox) {
    memset(mailbox, 0, sizeof *mailbox);
    momi_list_init(&mailbox->posts);
    mailbox->is_turning = true; /* until the loop's thread has begun */
    int error = momi_cond_init(&mailbox->wake);
    if (error != MOM_OK) {
        return error;
    }
    error = momi_cond_init(&mailbox->room);
    if (error != MOM_OK) {
        pthread_cond_destroy(&mailbox->wake);
        return error;
    }
    if (pthread_mutex_init(&mailbox->mutex, NULL) != 0) {
        pthread_cond_destroy(&mailbox->wake);
        pthread_cond_destroy(&mailbox->room);
        return momi_err(MOM_NO_MEMORY, "no memory for a mutex");
    }
    return MOM_OK;
}

void momi_mailbox_destroy(struct momi_mailbox *mailbox) {
    pthread_mutex_destroy(&mailbox->mutex);
    pthread_cond_destroy(&mailbox->wake);
    pthread_cond_destroy(&mailbox->room);
    momi_bytes_free(&mailbox->calls);
}

void momi_post_init(struct momi_post *post, enum momi_post_type type) {
    momi_list_init(&post->link);
    post->type = type;
    post->is_posted = false;
}

bool momi_mailbox_has_mail(const struct momi_mailbox *mailbox) {
    return mailbox->calls.size > 0 || !momi_list_empty(&mailbox->posts);
}

static bool push(struct momi_mailbox *mailbox, struct momi_post *post, bool wakes) {
    pthread_mutex_lock(&mailbox->mutex);
    bool is_new = !post->is_posted && !mailbox->is_ended;
    if (is_new) {
        post->is_posted = true;
        momi_list_push_back(&mailbox->posts, &post->link);
        mailbox->posts_count++;
        if (wakes) {
            momi_mailbox_wake(mailbox);
        }
    }
    pthread_mutex_unlock(&mailbox->mutex);
    return is_new;
}

bool momi_mailbox_post(struct momi_mailbox *mailbox, struct momi_post *post) {
    return push(mailbox, post, true);
}

bool momi_mailbox_bring(struct momi_mailbox *mailbox, struct momi_post *post) {
    return push(mailbox, post, false);
}

void momi_mailbox_nudge(struct momi_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->mutex);
    if (momi_mailbox_has_mail(mailbox)) {
        momi_mailbox_wake(mailbox);
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

void momi_mailbox_close(struct momi_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->is_closed = true;
    pthread_cond_broadcast(&mailbox->room);
    pthread_mutex_unlock(&mailbox->mutex);
}

void momi_mailbox_refuse(struct momi_mailbox *mailbox, int error) {
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->refusal = error;
    pthread_cond_broadcast(&mailbox->room);
    pthread_mutex_unlock(&mailbox->mutex);
}

void momi_mailbox_stop(struct momi_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->is_stopped = true;
    momi_mailbox_wake(mailbox);
    pthread_mutex_unlock(&mailbox->mutex);
}

void momi_mailbox_leave(struct momi_mailbox *mailbox, uint64_t due_us) {
    mailbox->is_turning = false;
    mailbox->due_us = due_us;
    if (momi_mailbox_has_mail(mailbox) || mailbox->is_stopped ||
        due_us < mailbox->until_us) {
        momi_mailbox_wake(mailbox);
    }
}

static bool must_wait(const struct momi_mailbox *mailbox) {
    return mailbox->is_turning ||
           (!momi_mailbox_has_mail(mailbox) && !mailbox->is_stopped &&
            (mailbox->due_us == MOMI_NEVER ||
             momi_clock_monotonic_us() < mailbox->due_us));
}

void momi_mailbox_wait(struct momi_mailbox *mailbox) {
    while (must_wait(mailbox)) {
        /* A visitor tells when its turn ends, and what is due then. */
        mailbox->until_us = mailbox->is_turning ? MOMI_NEVER : mailbox->due_us;
        mailbox->is_sleeping = true;
        (void)momi_cond_wait(&mailbox->wake, &mailbox->mutex, mailbox->until_us);
        mailbox->is_sleeping = false;
    }
}

size_t momi_mailbox_take(struct momi_mailbox *mailbox, struct momi_bytes *calls) {
    MOMI_ASSERT(calls->size == 0);
    struct momi_bytes taken = mailbox->calls;
    mailbox->calls = *calls;
    *calls = taken;
    if (mailbox->room_waiters > 0) {
        pthread_cond_broadcast(&mailbox->room);
    }
    return mailbox->posts_count;
}

static void take_out(struct momi_mailbox *mailbox, struct momi_post *post) {
    momi_list_remove(&post->link);
    mailbox->posts_count--;
    post->is_posted = false;
}

struct momi_post *momi_mailbox_next_post(struct momi_mailbox *mailbox) {
    struct momi_post *post = NULL;
    pthread_mutex_lock(&mailbox->mutex);
    if (!momi_list_empty(&mailbox->posts)) {
        post = MOMI_CONTAINER_OF(mailbox->posts.next, struct momi_post, link);
        take_out(mailbox, post);
    }
    pthread_mutex_unlock(&mailbox->mutex);
    return post;
}

void momi_mailbox_unpost(struct momi_mailbox *mailbox, struct momi_post *post) {
    pthread_mutex_lock(&mailbox->mutex);
    if (post->is_posted) {
        take_out(mailbox, post);
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

void momi_mailbox_end(struct momi_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->is_closed = true;
    mailbox->is_ended = true;
    pthread_mutex_unlock(&mailbox->mutex);
}
