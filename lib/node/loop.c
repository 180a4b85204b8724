/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop: one turn after the other. A turn takes what is in the mailbox, steps the core
 * for each, ends the core's turn, and carries out the effects: one write for each lane,
 * one batch to the journal, one wake-up for each thread that waits. While the journal
 * syncs, the next turns fill the next batch: group commit without a timer.
 *
 * Turns are taken by the loop's thread, or by a visitor: a thread that brings mail (a
 * frame, a finished write, a call that it will wait for) and finds the turn free. A
 * thread that is awake goes on instead of waking another: a message alone meets half as
 * many sleeping threads on its way (docs/hot-path.md). A visitor takes few turns; what is
 * left is for the loop's thread, as is all that time brings.
 */
#include "base/assert.h"
#include "node/node_internal.h"
#include "port/clock.h"

#define DRAIN_STEP_US MOMI_MS

enum { VISIT_TURNS_MAX = 2 };

static void read_clock(mom_node *node) {
    uint64_t now_us = momi_clock_monotonic_us();
    node->now_us = now_us > node->now_us ? now_us : node->now_us;
    node->wall_us = momi_clock_wall_us();
}

void momi_node_step(mom_node *node, struct momi_event *event) {
    event->now_us = node->now_us;
    event->wall_us = node->wall_us;
    node->events++;
    momi_core_step(node->core, event, &node->effects);
}

/* --- posts
 * -------------------------------------------------------------------------------- */

static void step_space(mom_node *node) {
    struct momi_journal *journal = &node->journal;
    struct momi_event event = {
        .type = EV_SPACE,
        .value = atomic_load_explicit(&journal->space_free, memory_order_relaxed),
        .total = atomic_load_explicit(&journal->space_total, memory_order_relaxed)};
    momi_node_step(node, &event);
}

static void handle_post(mom_node *node, struct momi_post *post) {
    switch (post->type) {
    case POST_LANE:
        momi_peers_lane(node, MOMI_CONTAINER_OF(post, struct momi_peer_lane, post));
        break;
    case POST_LANE_END:
        momi_peers_lane_end(node,
                            MOMI_CONTAINER_OF(post, struct momi_peer_lane, end_post));
        break;
    case POST_DIAL:
        momi_peers_dialed(node, MOMI_CONTAINER_OF(post, struct momi_dial, post));
        break;
    case POST_JOB:
        momi_node_job_done(node, MOMI_CONTAINER_OF(post, struct momi_job, post));
        break;
    case POST_CONSUMER:
        momi_consumers_sweep(node, MOMI_CONTAINER_OF(post, mom_consumer, post));
        break;
    case POST_SPACE:
        step_space(node);
        break;
    case POST_CLOSE: {
        struct momi_event event = {.type = EV_CLOSE};
        momi_node_step(node, &event);
        break;
    }
    }
}

static void handle_posts(mom_node *node, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct momi_post *post = momi_mailbox_next_post(&node->mailbox);
        if (post == NULL) {
            return; /* the last job of a lane may have taken another out */
        }
        handle_post(node, post);
    }
}

/* --- calls
 * -------------------------------------------------------------------------------- */

static void handle_mail(mom_node *node, struct momi_mail *mail) {
    struct momi_event event = {.type = EV_CALL, .call = &mail->call};
    if (mail->is_cancel) {
        event = (struct momi_event){.type = EV_CALL_CANCEL, .token = mail->id};
    } else if (mail->call.type == CALL_CONSUMER_OPEN) {
        momi_consumers_opened(node, mail->object);
    }
    momi_node_step(node, &event);
    momi_buf_release(mail->buf);
}

/* True: all taken calls are handled. False: the turn has lasted long enough. */
static bool handle_calls(mom_node *node) {
    struct momi_mail mail;
    uint64_t until_us = node->now_us + MOMI_TURN_US;
    for (size_t done = 1; momi_mail_next(&node->taken, &node->taken_at, &mail); done++) {
        handle_mail(node, &mail);
        if (done % MOMI_TURN_CHECK == 0 && momi_clock_monotonic_us() > until_us) {
            break;
        }
    }
    if (node->taken_at < node->taken.size) {
        return false;
    }
    momi_bytes_clear(&node->taken);
    node->taken_at = 0;
    return true;
}

/* --- turns
 * -------------------------------------------------------------------------------- */

static uint64_t next_deadline(const mom_node *node) {
    uint64_t due_us = momi_core_deadline(node->core);
    uint64_t lanes_us = momi_peers_deadline(node);
    uint64_t waits_us = momi_consumers_deadline(node);
    due_us = lanes_us < due_us ? lanes_us : due_us;
    due_us = waits_us < due_us ? waits_us : due_us;
    if (node->lost_count > 0) {
        return 0;
    }
    if (node->drain_until_us != 0 && !node->is_drained) {
        due_us = node->now_us + DRAIN_STEP_US;
    }
    uint64_t publish_us = momi_node_publish_due(node);
    return publish_us < due_us ? publish_us : due_us;
}

/* What could not be handed to a worker for want of memory is answered like a failure. */
static void answer_lost(mom_node *node) {
    size_t count = node->lost_count;
    node->lost_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct momi_event event = node->lost[i];
        momi_node_step(node, &event);
    }
}

/* The core is through. What it sent last leaves before anything is closed; the transport
 * does not tell when, so the loop looks again every millisecond, a hundred times at most.
 */
static void drain(mom_node *node) {
    if (node->drain_until_us == 0 || node->is_drained ||
        (momi_peers_pending(node) > 0 && node->now_us < node->drain_until_us)) {
        return;
    }
    node->is_drained = true;
    pthread_mutex_lock(&node->mailbox.mutex);
    node->is_core_closed = true;
    pthread_cond_broadcast(&node->closed_cond);
    pthread_mutex_unlock(&node->mailbox.mutex);
}

/* With the mutex held: returns how many posts the turn begins with. */
static size_t enter(mom_node *node) {
    struct momi_mailbox *mailbox = &node->mailbox;
    mailbox->is_turning = true;
    momi_calls_make_room(&node->calls);
    /* Posts that came with later calls may be handled before them, never after. */
    return node->taken.size > 0 ? mailbox->posts_count
                                : momi_mailbox_take(mailbox, &node->taken);
}

static void turn(mom_node *node, size_t posts_count) {
    read_clock(node);
    node->turns++;
    /* Without memory the core refuses input by its own reserve; what this one holds is
     * for jobs and answers to what was accepted. */
    (void)momi_reserve_fill(&node->reserve, MOMI_NODE_RESERVE_BYTES);
    momi_reserve_enter(&node->reserve);
    if (node->turns == 1 || momi_core_deadline(node->core) <= node->now_us) {
        struct momi_event event = {.type = EV_TIME};
        momi_node_step(node, &event);
    }
    answer_lost(node);
    handle_posts(node, posts_count);
    momi_peers_time(node, node->now_us);
    momi_consumers_time(node, node->now_us);
    (void)handle_calls(node);
    momi_core_turn_end(node->core, &node->effects);
    momi_node_run_effects(node);
    momi_arena_reset(&node->arena);
    momi_reserve_leave();
    drain(node);
    momi_node_publish_metrics(node);
}

/* Mail that nobody will read: references in it end. */
static void drop_mail(mom_node *node) {
    struct momi_mail mail;
    struct momi_mailbox *mailbox = &node->mailbox;
    for (int pass = 0; pass < 2; pass++) {
        while (momi_mail_next(&node->taken, &node->taken_at, &mail)) {
            momi_buf_release(mail.buf);
            if (mail.object != NULL) {
                momi_consumer_unref(mail.object);
            }
            if (!mail.is_cancel) { /* never came to the core: not done */
                struct momi_completion completion = {.error = MOM_CLOSED};
                momi_calls_complete(&node->calls, mail.call.id, &completion,
                                    &node->touched);
            }
        }
        momi_bytes_clear(&node->taken);
        node->taken_at = 0;
        pthread_mutex_lock(&mailbox->mutex);
        (void)momi_mailbox_take(mailbox, &node->taken);
        pthread_mutex_unlock(&mailbox->mutex);
    }
    struct momi_post *post;
    while ((post = momi_mailbox_next_post(mailbox)) != NULL) {
        if (post->type == POST_CONSUMER) {
            momi_consumer_unref(MOMI_CONTAINER_OF(post, mom_consumer, post));
        } else if (post->type == POST_JOB) {
            momi_job_free(MOMI_CONTAINER_OF(post, struct momi_job, post));
        }
    }
}

/* When the next turn is due, if no mail comes; 0: at once, this one left something. */
static uint64_t due_after(mom_node *node) {
    return node->taken.size > 0 ? 0 : next_deadline(node);
}

void momi_node_visit(mom_node *node) {
    struct momi_mailbox *mailbox = &node->mailbox;
    uint64_t due_us = MOMI_NEVER;
    size_t turns = 0;
    pthread_mutex_lock(&mailbox->mutex);
    bool is_free = !mailbox->is_turning;
    while (is_free && turns < VISIT_TURNS_MAX && !mailbox->is_stopped &&
           momi_mailbox_has_mail(mailbox)) {
        size_t posts_count = enter(node);
        pthread_mutex_unlock(&mailbox->mutex);
        turn(node, posts_count);
        due_us = due_after(node);
        turns++;
        pthread_mutex_lock(&mailbox->mutex);
    }
    if (turns > 0) {
        momi_mailbox_leave(mailbox, due_us);
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

void *momi_node_run(void *user) {
    mom_node *node = user;
    struct momi_mailbox *mailbox = &node->mailbox;
    bool goes_on = true;
    turn(node, 0); /* the core begins; the thread has had the turn from the start */
    while (goes_on) {
        uint64_t due_us = due_after(node);
        pthread_mutex_lock(&mailbox->mutex);
        momi_mailbox_leave(mailbox, due_us);
        momi_mailbox_wait(mailbox);
        goes_on = !mailbox->is_stopped;
        size_t posts_count = enter(node);
        pthread_mutex_unlock(&mailbox->mutex);
        if (goes_on) {
            turn(node, posts_count);
        }
    }
    /* The turn is kept: nobody visits any more. */
    momi_mailbox_end(&node->mailbox);
    drop_mail(node);
    /* S3: what was sent and not answered may have been done. */
    momi_calls_complete_all(&node->calls, MOM_UNKNOWN_OUTCOME, &node->touched);
    momi_consumers_end_all(node, MOM_CLOSED);
    momi_completions_signal(&node->touched);
    return NULL;
}
