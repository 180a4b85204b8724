/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers, on the program's threads: opening, taking, settling (consumers.h). The
 * loop's side is in consumers_loop.c.
 *
 * A thread that waits for messages tells the core once (CALL_CONSUMER_POLL without a
 * deadline), so that credit flows and buffered messages are not taken back; when the last
 * waiting thread gives up, that call is cancelled.
 */
#include "node/consumers.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/entry.h"
#include "node/node_internal.h"
#include "port/clock.h"

enum { SETTLES_ROOM_FIRST = 64 };

/* --- life ------------------------------------------------------------------------------
 */

static char *copy_text(struct momi_slice text) {
    char *copy = momi_alloc(text.size + 1);
    if (copy != NULL) {
        if (text.size > 0) {
            memcpy(copy, text.data, text.size);
        }
        copy[text.size] = '\0';
    }
    return copy;
}

static void consumer_free(mom_consumer *consumer) {
    MOMI_ASSERT(momi_list_empty(&consumer->batches));
    MOMI_ASSERT(consumer->wait.completions == NULL);
    pthread_mutex_destroy(&consumer->mutex);
    pthread_cond_destroy(&consumer->arrived);
    momi_free(consumer->settles);
    momi_free(consumer->swept);
    momi_free(consumer->stream);
    momi_free(consumer->subscription);
    mom_node *node = consumer->node;
    momi_free(consumer);
    momi_node_unref(node);
}

void momi_consumer_ref(mom_consumer *consumer) {
    atomic_fetch_add_explicit(&consumer->refs, 1, memory_order_relaxed);
}

void momi_consumer_unref(mom_consumer *consumer) {
    if (atomic_fetch_sub_explicit(&consumer->refs, 1, memory_order_acq_rel) == 1) {
        consumer_free(consumer);
    }
}

void momi_consumer_post(mom_consumer *consumer) {
    momi_consumer_ref(consumer);
    if (!momi_mailbox_post(&consumer->node->mailbox, &consumer->post)) {
        momi_consumer_unref(consumer);
    }
}

static mom_consumer *consumer_new(mom_node *node, enum momi_kind kind,
                                  struct momi_slice stream,
                                  struct momi_slice subscription) {
    mom_consumer *consumer = momi_calloc(1, sizeof *consumer);
    if (consumer == NULL) {
        return NULL;
    }
    consumer->stream = copy_text(stream);
    consumer->subscription = copy_text(subscription);
    if (consumer->stream == NULL || consumer->subscription == NULL ||
        momi_cond_init(&consumer->arrived) != MOM_OK) {
        goto fail;
    }
    if (pthread_mutex_init(&consumer->mutex, NULL) != 0) {
        pthread_cond_destroy(&consumer->arrived);
        goto fail;
    }
    atomic_init(&consumer->refs, 1);
    consumer->node = node;
    momi_node_ref(node);
    consumer->handle = momi_node_next_handle(node);
    consumer->kind = kind;
    momi_post_init(&consumer->post, POST_CONSUMER);
    momi_list_init(&consumer->batches);
    momi_list_init(&consumer->link);
    momi_list_init(&consumer->timed_link);
    momi_list_init(&consumer->touched_link);
    return consumer;

fail:
    momi_free(consumer->stream);
    momi_free(consumer->subscription);
    momi_free(consumer);
    return NULL;
}

int momi_consumer_open(mom_node *node, enum momi_kind kind, struct momi_slice stream,
                       struct momi_slice subscription,
                       const struct momi_consumer_terms *terms, uint64_t deadline_us,
                       mom_consumer **consumer_out) {
    mom_consumer *consumer = consumer_new(node, kind, stream, subscription);
    if (consumer == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a consumer");
    }
    consumer->limit = terms->limit == 0 ? UINT64_MAX : terms->limit;
    struct momi_call call = {.type = CALL_CONSUMER_OPEN,
                             .deadline_us = deadline_us,
                             .kind = kind,
                             .name = stream,
                             .subscription = subscription,
                             .consumer = consumer->handle,
                             .prefetch = terms->prefetch,
                             .lease_us = terms->lease_us,
                             .limit = terms->limit};
    struct momi_call_target target = {.target = SLOT_THREAD, .may_wait = true};
    struct momi_slot *slot;
    momi_consumer_ref(consumer); /* the loop's, once the mail is there */
    int error = momi_calls_put(&node->calls, &call, NULL, &target, consumer, &slot, NULL);
    if (error != MOM_OK) {
        momi_consumer_unref(consumer);
    } else {
        error = momi_calls_wait(&node->calls, slot, NULL);
        if (error != MOM_OK) {
            /* The core knows it no more, or lets it go by itself; the loop's table has to
             * forget it. */
            pthread_mutex_lock(&consumer->mutex);
            consumer->is_closed = true;
            pthread_mutex_unlock(&consumer->mutex);
            momi_consumer_post(consumer);
        }
    }
    if (error != MOM_OK) {
        momi_consumer_unref(consumer);
        return error;
    }
    *consumer_out = consumer;
    return MOM_OK;
}

void momi_message_batches_drop(struct momi_list *batches) {
    while (!momi_list_empty(batches)) {
        struct momi_message_batch *batch =
            MOMI_CONTAINER_OF(batches->next, struct momi_message_batch, link);
        momi_list_remove(&batch->link);
        momi_message_batch_unref(batch);
    }
}

int momi_consumer_close(mom_consumer *consumer, uint64_t deadline_us, bool may_wait) {
    mom_node *node = consumer->node;
    struct momi_list dropped;
    momi_list_init(&dropped);
    pthread_mutex_lock(&consumer->mutex);
    consumer->is_closed = true;
    momi_consumer_take_all_locked(consumer, &dropped);
    struct momi_receive_wait wait = consumer->wait;
    consumer->wait = (struct momi_receive_wait){0};
    pthread_cond_broadcast(&consumer->arrived);
    pthread_mutex_unlock(&consumer->mutex);
    momi_message_batches_drop(&dropped);
    if (wait.completions != NULL) {
        mom_completion answer = {.user = wait.user, .error = MOM_CLOSED};
        momi_completions_put(wait.completions, &answer, NULL);
    }
    int error = momi_node_enter(node);
    if (error == MOM_OK) {
        struct momi_call call = {.type = CALL_CONSUMER_CLOSE,
                                 .deadline_us = deadline_us,
                                 .consumer = consumer->handle};
        error = momi_node_call_closing(node, &call, may_wait);
        momi_consumer_post(consumer);
        momi_node_leave(node);
    } else {
        error = MOM_OK; /* it ended with its node */
    }
    momi_consumer_unref(consumer);
    return error == MOM_UNKNOWN_OUTCOME ? MOM_TIMEOUT : error;
}

/* --- taking ----------------------------------------------------------------------------
 */

void momi_message_batch_unref(struct momi_message_batch *batch) {
    if (atomic_fetch_sub_explicit(&batch->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    mom_consumer *consumer = batch->consumer;
    momi_buf_release(batch->buf);
    momi_free(batch);
    momi_consumer_unref(consumer);
}

void momi_consumer_take_all_locked(mom_consumer *consumer, struct momi_list *dropped) {
    while (!momi_list_empty(&consumer->batches)) {
        struct momi_list *link = consumer->batches.next;
        momi_list_remove(link);
        momi_list_push_back(dropped, link);
    }
    consumer->buffered = 0;
}

/* Fills in the next message of the batch, whose records were checked when they came. */
static mom_message *next_message(struct momi_message_batch *batch) {
    const struct momi_delivery_run *run = &batch->runs[batch->run];
    mom_message *message = &batch->messages[batch->taken];
    struct momi_record record;
    if (!momi_record_read(batch->left, &record)) {
        return NULL;
    }
    batch->left = momi_slice(batch->left.data + record.whole.size,
                             batch->left.size - record.whole.size);
    *message = (mom_message){
        .batch = batch,
        .whole = record.whole,
        .key = record.key,
        .headers = record.headers,
        .body = record.body,
        .sequence = run->sequence + batch->in_run,
        .published_us = run->wall_us,
        .publisher = run->publisher,
        .token = {.epoch = batch->epoch, .counter = run->counter + batch->in_run},
        .deliveries = run->deliveries + 1,
        .state = MESSAGE_HELD};
    return message;
}

static size_t take_locked(mom_consumer *consumer, mom_message **messages, size_t max) {
    size_t count = 0;
    if (max > consumer->limit - consumer->taken_count) {
        max = (size_t)(consumer->limit - consumer->taken_count);
    }
    while (count < max && !momi_list_empty(&consumer->batches)) {
        struct momi_message_batch *batch =
            MOMI_CONTAINER_OF(consumer->batches.next, struct momi_message_batch, link);
        mom_message *message = next_message(batch);
        if (message == NULL) { /* not what the run says: what is left of it goes */
            consumer->buffered -= batch->count - batch->taken;
            momi_list_remove(&batch->link);
            momi_message_batch_unref(batch);
            continue;
        }
        atomic_fetch_add_explicit(&batch->refs, 1, memory_order_relaxed);
        messages[count++] = message;
        consumer->taken = batch->runs[batch->run].delivery + batch->in_run;
        consumer->taken_count++;
        consumer->buffered--;
        batch->taken++;
        if (++batch->in_run == batch->runs[batch->run].count) {
            batch->in_run = 0;
            batch->run++;
        }
        if (batch->taken == batch->count) {
            momi_list_remove(&batch->link);
            momi_message_batch_unref(batch); /* not the last: the message holds one */
        }
    }
    return count;
}

/* Tells the core that somebody waits. The mutex is released meanwhile. */
static int start_poll(mom_consumer *consumer) {
    mom_node *node = consumer->node;
    consumer->is_polling = true;
    pthread_mutex_unlock(&consumer->mutex);
    struct momi_call call = {.type = CALL_CONSUMER_POLL,
                             .deadline_us = MOMI_NEVER,
                             .consumer = consumer->handle};
    struct momi_call_target target = {.target = SLOT_POLL, .consumer = consumer};
    uint64_t id = 0;
    momi_consumer_ref(consumer);
    int error = momi_calls_put(&node->calls, &call, NULL, &target, NULL, NULL, &id);
    if (error != MOM_OK) {
        momi_consumer_unref(consumer);
    }
    pthread_mutex_lock(&consumer->mutex);
    if (error != MOM_OK) {
        consumer->is_polling = false;
        /* The mailbox is full for a moment: what was granted still comes. */
        return error == MOM_FULL ? MOM_OK : error;
    }
    if (consumer->is_polling) { /* not completed meanwhile */
        consumer->poll_id = id;
    }
    return MOM_OK;
}

/* The last thread that waited goes away without a message. */
static void stop_poll_locked(mom_consumer *consumer) {
    if (consumer->waiters == 0 && consumer->wait.completions == NULL &&
        consumer->poll_id != 0) {
        momi_calls_cancel(&consumer->node->calls, consumer->poll_id);
        consumer->poll_id = 0;
    }
}

static int state_locked(const mom_consumer *consumer) {
    if (consumer->is_closed) {
        return momi_err(MOM_CLOSED, "the consumer is closed");
    }
    if (consumer->ended != MOM_OK) {
        return momi_err(consumer->ended, "%s \"%s\"%s%s: %s",
                        consumer->kind == MOMI_KIND_QUEUE ? "queue" : "topic",
                        consumer->stream,
                        consumer->kind == MOMI_KIND_QUEUE ? "" : ", subscription ",
                        consumer->subscription, mom_strerror(consumer->ended));
    }
    return MOM_OK;
}

/* The same for who wants a message: there is an end to those that this consumer takes. */
static int may_take_locked(const mom_consumer *consumer) {
    int error = state_locked(consumer);
    if (error == MOM_OK && consumer->taken_count == consumer->limit) {
        error = momi_err(MOM_EMPTY, "all %" PRIu64 " messages of its limit were taken",
                         consumer->limit);
    }
    return error;
}

/* The last one of the limit was taken: nobody waits for another. */
static void end_waits_locked(mom_consumer *consumer, struct momi_receive_wait *wait) {
    if (consumer->taken_count == consumer->limit) {
        *wait = consumer->wait;
        consumer->wait = (struct momi_receive_wait){0};
        pthread_cond_broadcast(&consumer->arrived);
    }
}

/* With the mutex held: waits for messages; MOM_OK when there is one. */
static int wait_locked(mom_consumer *consumer, uint64_t deadline_us,
                       const uint32_t *stops) {
    int error = MOM_OK;
    consumer->waiters++;
    while (error == MOM_OK && consumer->buffered == 0) {
        error = may_take_locked(consumer);
        if (error == MOM_OK && stops != NULL && *stops != consumer->stops) {
            error = MOM_CLOSED;
        } else if (error == MOM_OK && !consumer->is_polling) {
            error = start_poll(consumer);
        } else if (error == MOM_OK &&
                   !momi_cond_wait(&consumer->arrived, &consumer->mutex, deadline_us) &&
                   consumer->buffered == 0) {
            error = momi_err(MOM_TIMEOUT, "no message came");
        }
    }
    consumer->waiters--;
    if (consumer->buffered > 0) {
        error = MOM_OK;
    }
    if (error != MOM_OK) {
        stop_poll_locked(consumer);
    }
    return error;
}

/* M7: nothing is buffered here; the leader knows whether there is anything. */
static int ask(mom_consumer *consumer) {
    struct momi_call call = {.type = CALL_CONSUMER_POLL,
                             .deadline_us =
                                 momi_clock_monotonic_us() + MOMI_POLL_MS * MOMI_MS,
                             .consumer = consumer->handle};
    int error = momi_node_call(consumer->node, &call, NULL, NULL);
    if (error == MOM_TIMEOUT) {
        return momi_err(MOM_UNAVAILABLE, "no leader of the shard answers");
    }
    return error;
}

static int wait_or_ask_locked(mom_consumer *consumer, uint64_t deadline_us,
                              const uint32_t *stops) {
    if (deadline_us > MOMI_ONLY_BUFFERED) {
        return wait_locked(consumer, deadline_us, stops);
    }
    int error = may_take_locked(consumer);
    if (error == MOM_OK && deadline_us == MOMI_ONLY_BUFFERED) {
        error = momi_err(MOM_EMPTY, "nothing is buffered");
    }
    if (error != MOM_OK) {
        return error;
    }
    pthread_mutex_unlock(&consumer->mutex);
    error = ask(consumer);
    pthread_mutex_lock(&consumer->mutex);
    if (error == MOM_OK && consumer->buffered == 0) {
        error = momi_err(MOM_EMPTY, "nothing is there");
    }
    return error;
}

/* Damage is never served: what does not fit its checksum is left to its lease. */
static int check_messages(mom_message **messages, size_t *count) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        mom_message *message = messages[i];
        struct momi_record record = {.key = message->key,
                                     .headers = message->headers,
                                     .body = message->body,
                                     .whole = message->whole};
        if (momi_record_check(&record)) {
            messages[kept++] = message;
        } else {
            message->state = MESSAGE_SETTLED;
            momi_message_release(message);
        }
    }
    *count = kept;
    return kept > 0 ? MOM_OK
                    : momi_err(MOM_CORRUPT, "a message does not fit its checksum");
}

int momi_consumer_receive(mom_consumer *consumer, mom_message **messages, size_t max,
                          size_t *count, uint64_t deadline_us, const uint32_t *stops) {
    int error = MOM_OK;
    size_t found = 0;
    struct momi_receive_wait wait = {0};
    pthread_mutex_lock(&consumer->mutex);
    if (consumer->buffered == 0) {
        error = wait_or_ask_locked(consumer, deadline_us, stops);
    } else if (stops != NULL && *stops != consumer->stops) {
        error = MOM_CLOSED;
    } else if (consumer->is_closed) {
        error = state_locked(consumer);
    }
    if (error == MOM_OK) {
        error = may_take_locked(consumer); /* another thread may have taken the last */
    }
    if (error == MOM_OK) {
        found = take_locked(consumer, messages, max);
        end_waits_locked(consumer, &wait);
    }
    pthread_mutex_unlock(&consumer->mutex);
    if (wait.completions != NULL) {
        mom_completion answer = {.user = wait.user, .error = MOM_EMPTY};
        momi_completions_put(wait.completions, &answer, NULL);
    }
    if (error != MOM_OK) {
        return error;
    }
    if (found == 0) {
        return momi_err(MOM_CORRUPT, "a delivery does not hold what it says");
    }
    momi_consumer_post(consumer);
    error = check_messages(messages, &found);
    if (error == MOM_OK) {
        *count = found;
    }
    return error;
}

int momi_consumer_receive_submit(mom_consumer *consumer, uint64_t deadline_us,
                                 mom_completions *completions, void *user) {
    int error = momi_completions_reserve(completions);
    if (error != MOM_OK) {
        return error;
    }
    bool is_there = false;
    pthread_mutex_lock(&consumer->mutex);
    error = may_take_locked(consumer);
    if (error == MOM_OK && consumer->wait.completions != NULL) {
        error = momi_err(MOM_EXISTS, "this consumer is waited for already");
    }
    if (error == MOM_OK) {
        is_there = consumer->buffered > 0;
        if (!is_there) {
            consumer->wait = (struct momi_receive_wait){
                .completions = completions, .user = user, .deadline_us = deadline_us};
        }
        if (!is_there && !consumer->is_polling) {
            (void)start_poll(consumer); /* without it, what was granted still comes */
        }
    }
    pthread_mutex_unlock(&consumer->mutex);
    if (error != MOM_OK) {
        momi_completions_unreserve(completions);
    } else if (is_there) {
        mom_completion answer = {.user = user};
        momi_completions_put(completions, &answer, NULL);
    } else {
        momi_consumer_post(consumer); /* its deadline */
    }
    return error;
}

uint32_t momi_consumer_stops(mom_consumer *consumer) {
    pthread_mutex_lock(&consumer->mutex);
    uint32_t stops = consumer->stops;
    pthread_mutex_unlock(&consumer->mutex);
    return stops;
}

void momi_consumer_stop(mom_consumer *consumer) {
    pthread_mutex_lock(&consumer->mutex);
    consumer->stops++;
    pthread_cond_broadcast(&consumer->arrived);
    pthread_mutex_unlock(&consumer->mutex);
}

/* --- settling --------------------------------------------------------------------------
 */

/* Appends to the last range where it follows, so that a run acknowledged in order is one.
 */
static int add_settle_locked(mom_consumer *consumer, struct momi_token token,
                             enum momi_settle_action action) {
    if (consumer->settles_count > 0) {
        struct momi_settle *last = &consumer->settles[consumer->settles_count - 1];
        if (last->action == action && last->token.epoch == token.epoch &&
            last->token.counter + last->count == token.counter &&
            last->count < UINT32_MAX) {
            last->count++;
            return MOM_OK;
        }
    }
    if (consumer->settles_count == consumer->settles_room) {
        size_t room =
            consumer->settles_room == 0 ? SETTLES_ROOM_FIRST : consumer->settles_room * 2;
        struct momi_settle *settles =
            momi_realloc(consumer->settles, room * sizeof *settles);
        if (settles == NULL) {
            return momi_err(MOM_NO_MEMORY, "no memory to settle a message");
        }
        consumer->settles = settles;
        consumer->settles_room = room;
    }
    consumer->settles[consumer->settles_count++] =
        (struct momi_settle){.token = token, .count = 1, .action = action};
    return MOM_OK;
}

int momi_message_settle(mom_message *message, enum momi_settle_action action) {
    mom_consumer *consumer = message->batch->consumer;
    if (message->state != MESSAGE_HELD) {
        return momi_err(MOM_CONFLICT, "the message was settled already");
    }
    pthread_mutex_lock(&consumer->mutex);
    int error = state_locked(consumer);
    if (error == MOM_OK) {
        error = add_settle_locked(consumer, message->token, action);
    }
    pthread_mutex_unlock(&consumer->mutex);
    if (error == MOM_OK) {
        if (action != MOMI_SETTLE_EXTEND) {
            message->state = MESSAGE_SETTLED;
        }
        momi_consumer_post(consumer);
    }
    return error;
}

void momi_message_release(mom_message *message) {
    if (message->state == MESSAGE_HELD) {
        (void)momi_message_settle(message, MOMI_SETTLE_GIVE_BACK);
    }
    momi_message_batch_unref(message->batch);
}
