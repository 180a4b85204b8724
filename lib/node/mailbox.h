/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mailbox: all that other threads hand to the loop of a node, under one mutex.
 *
 * The loop is a role. Whoever holds the *turn* (`is_turning`) is alone with the core and
 * all that belongs to the loop: usually the loop's thread, but a thread that brings mail
 * while nobody has the turn may take it (momi_node_visit), which saves waking the loop's
 * thread: a visitor. Only the loop's thread waits here.
 *
 * Two kinds of mail. *Calls* of the program are bytes, appended to a buffer that changes
 * places with the loop's own when the loop takes it: a call costs one lock and one copy,
 * and no allocation in steady state. *Posts* are links inside structs that exist anyway
 * (a lane, a job, a consumer): posting one cannot fail, and posting it again before the
 * loop has taken it does nothing.
 *
 * The mutex also guards the pool of call slots (calls.h). Nothing is called out with it
 * held. Posts are handled before the calls that were taken with them, so what a thread
 * posts before it calls is seen before.
 */
#ifndef MOMI_NODE_MAILBOX_H
#define MOMI_NODE_MAILBOX_H

#include <pthread.h>

#include "base/buf.h"
#include "base/list.h"

enum {
    MOMI_MAILBOX_BYTES_MAX = 4 << 20, /* of calls; over it, callers wait or get FULL */
};

enum momi_post_type {
    POST_LANE,     /* struct momi_peer_lane: something happened on it */
    POST_LANE_END, /* struct momi_peer_lane: the transport is through with it */
    POST_DIAL,     /* struct momi_dial: it ended */
    POST_JOB,      /* struct momi_job: journal or reader did it */
    POST_CONSUMER, /* struct mom_consumer: something was taken or settled */
    POST_SPACE,    /* mom_node.space */
    POST_CLOSE,    /* mom_node.close_post */
};

struct momi_post {
    struct momi_list link;
    enum momi_post_type type;
    bool is_posted;
};

struct momi_mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t wake;     /* of the loop's thread */
    pthread_cond_t room;     /* of callers that wait for room */
    struct momi_bytes calls; /* being filled */
    struct momi_list posts;  /* struct momi_post.link */
    size_t posts_count;
    uint32_t room_waiters;
    bool is_turning; /* somebody has the turn; at first, and when it ended, the thread */
    uint64_t due_us; /* nothing is to be done before, but for mail; set with each turn */
    uint64_t until_us; /* until when the thread sleeps, if it does */
    bool is_sleeping;  /* the loop's thread waits on `wake` */
    bool is_closed;    /* no calls any more */
    int refusal;       /* what calls are answered with instead of being taken, or 0 */
    bool is_stopped;   /* the loop shall end */
    bool is_ended;     /* the loop has ended: posts go nowhere */
};

int momi_mailbox_init(struct momi_mailbox *mailbox);
void momi_mailbox_destroy(struct momi_mailbox *mailbox);

void momi_post_init(struct momi_post *post, enum momi_post_type type);
/* Any thread. False: it is posted already, or the loop has ended. */
bool momi_mailbox_post(struct momi_mailbox *mailbox, struct momi_post *post);
/* The same, but nobody is woken: momi_node_visit or momi_mailbox_nudge must follow. */
bool momi_mailbox_bring(struct momi_mailbox *mailbox, struct momi_post *post);
/* Any thread: wakes the loop's thread if it sleeps on mail. */
void momi_mailbox_nudge(struct momi_mailbox *mailbox);
/* With the mutex held: wakes the loop's thread if it sleeps. Who has the turn looks at
 * the mail when it ends. */
static inline void momi_mailbox_wake(struct momi_mailbox *mailbox) {
    if (mailbox->is_sleeping && !mailbox->is_turning) {
        mailbox->is_sleeping = false;
        pthread_cond_signal(&mailbox->wake);
    }
}
/* Any thread: no more calls; those that wait for room are woken. */
void momi_mailbox_close(struct momi_mailbox *mailbox);
/* Calls are answered with `error` from now on. */
void momi_mailbox_refuse(struct momi_mailbox *mailbox, int error);
void momi_mailbox_stop(struct momi_mailbox *mailbox);
/* When the loop has ended: no more posts or calls. */
void momi_mailbox_end(struct momi_mailbox *mailbox);

/* With the mutex held: there are calls or posts. */
bool momi_mailbox_has_mail(const struct momi_mailbox *mailbox);
/* With the mutex held: the turn ends; nothing has to be done before `due_us`. */
void momi_mailbox_leave(struct momi_mailbox *mailbox, uint64_t due_us);
/* The loop's thread: with the mutex held, waits until nobody has the turn and there is
 * mail, it shall stop, or something is due. */
void momi_mailbox_wait(struct momi_mailbox *mailbox);
/* Who has the turn, with the mutex held: `calls` must be empty; it changes places with
 * the filled buffer. Returns how many posts there are: to be handled before these calls.
 */
size_t momi_mailbox_take(struct momi_mailbox *mailbox, struct momi_bytes *calls);
/* Who has the turn: the oldest post; NULL when there is none. What was posted is to be
 * looked at after this returns. */
struct momi_post *momi_mailbox_next_post(struct momi_mailbox *mailbox);
/* Any thread, before the struct that the post sits in goes. */
void momi_mailbox_unpost(struct momi_mailbox *mailbox, struct momi_post *post);

/* Shared by all that waits with a deadline: conditions on the monotonic clock. */
int momi_cond_init(pthread_cond_t *cond);
/* False: the deadline (monotonic, MOMI_NEVER: none) has come. */
bool momi_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_us);

#endif
