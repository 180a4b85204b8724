/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers, on the loop thread: the table of open ones, deliveries in, sweeps out
 * (consumers.h).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "node/node_internal.h"

/* Handles count up; the table is an array by slot, in which the handle is compared. */
static struct mom_consumer **entry_of(const mom_node *node, uint64_t handle) {
    size_t at = (size_t)(handle % MOMI_CONSUMERS_OPEN_MAX);
    return at < node->consumers_room ? &node->consumers[at] : NULL;
}

mom_consumer *momi_consumers_find(const mom_node *node, uint64_t handle) {
    struct mom_consumer **entry = entry_of(node, handle);
    return entry != NULL && *entry != NULL && (*entry)->handle == handle ? *entry : NULL;
}

/* The mail's reference becomes the table's. Without room in the table the consumer gets
 * nothing, and ends. */
void momi_consumers_opened(mom_node *node, mom_consumer *consumer) {
    size_t at = (size_t)(consumer->handle % MOMI_CONSUMERS_OPEN_MAX);
    if (at >= node->consumers_room) {
        size_t room = node->consumers_room == 0 ? 64 : node->consumers_room;
        while (room <= at) {
            room *= 2;
        }
        struct mom_consumer **table = momi_realloc(node->consumers, room * sizeof *table);
        if (table != NULL) {
            memset(table + node->consumers_room, 0,
                   (room - node->consumers_room) * sizeof *table);
            node->consumers = table;
            node->consumers_room = room;
        }
    }
    struct mom_consumer **entry = entry_of(node, consumer->handle);
    if (entry == NULL || *entry != NULL) {
        pthread_mutex_lock(&consumer->mutex);
        consumer->ended = entry == NULL ? MOM_NO_MEMORY : MOM_FULL;
        pthread_mutex_unlock(&consumer->mutex);
        momi_consumer_unref(consumer);
        return;
    }
    *entry = consumer;
    momi_list_push_back(&node->consumers_open, &consumer->link);
}

static void forget(mom_node *node, mom_consumer *consumer) {
    if (momi_consumers_find(node, consumer->handle) != consumer) {
        return;
    }
    *entry_of(node, consumer->handle) = NULL;
    momi_list_remove(&consumer->link);
    momi_list_remove(&consumer->timed_link);
    if (momi_list_linked(&consumer->touched_link)) {
        momi_list_remove(&consumer->touched_link);
    }
    momi_consumer_unref(consumer);
}

/* --- deliveries
 * -------------------------------------------------------------------------- */

static struct momi_message_batch *batch_new(mom_consumer *consumer,
                                            const struct momi_delivery *delivery) {
    size_t count = 0;
    for (size_t i = 0; i < delivery->runs_count; i++) {
        count += delivery->runs[i].count;
    }
    size_t runs_bytes = delivery->runs_count * sizeof *delivery->runs;
    struct momi_message_batch *batch =
        momi_alloc(sizeof *batch + runs_bytes + count * sizeof(struct mom_message));
    if (batch == NULL) {
        return NULL;
    }
    memset(batch, 0, sizeof *batch);
    atomic_init(&batch->refs, 1);
    batch->runs = (struct momi_delivery_run *)(batch + 1);
    memcpy(batch->runs, delivery->runs, runs_bytes);
    batch->messages = (struct mom_message *)(batch->runs + delivery->runs_count);
    batch->runs_count = (uint32_t)delivery->runs_count;
    batch->count = (uint32_t)count;
    batch->epoch = delivery->epoch;
    batch->left = delivery->payload;
    batch->buf = momi_buf_ref(delivery->buf);
    batch->consumer = consumer;
    momi_consumer_ref(consumer);
    momi_list_init(&batch->link);
    return batch;
}

/* M4, M5: what is buffered with a delivery number up to `number` is not ours any more. */
static void drop_up_to_locked(mom_consumer *consumer, uint64_t number,
                              struct momi_list *dropped) {
    while (!momi_list_empty(&consumer->batches)) {
        struct momi_message_batch *batch =
            MOMI_CONTAINER_OF(consumer->batches.next, struct momi_message_batch, link);
        if (batch->runs[batch->run].delivery + batch->in_run > number) {
            return;
        }
        /* Deliveries are voided as wholes: nothing newer came with the older. */
        momi_list_remove(&batch->link);
        momi_list_push_back(dropped, &batch->link);
        consumer->buffered -= batch->count - batch->taken;
    }
}

/* With the mutex held: a submitted receive is to be completed. */
static void take_wait_locked(mom_consumer *consumer, struct momi_receive_wait *wait) {
    *wait = consumer->wait;
    consumer->wait = (struct momi_receive_wait){0};
}

static void complete_wait(mom_node *node, mom_consumer *consumer,
                          const struct momi_receive_wait *wait, int error) {
    if (wait->completions != NULL) {
        mom_completion answer = {.user = wait->user, .error = error};
        momi_completions_put(wait->completions, &answer, &node->touched);
        momi_list_remove(&consumer->timed_link);
    }
}

void momi_consumers_delivered(mom_node *node, const struct momi_effect *effect) {
    mom_consumer *consumer = momi_consumers_find(node, effect->token);
    if (consumer == NULL) {
        return;
    }
    struct momi_receive_wait wait = {0};
    struct momi_list dropped;
    momi_list_init(&dropped);
    const struct momi_delivery *delivery = effect->delivery;
    if (delivery->runs_count == 0) {
        pthread_mutex_lock(&consumer->mutex);
        drop_up_to_locked(consumer, effect->value, &dropped);
        pthread_mutex_unlock(&consumer->mutex);
        momi_message_batches_drop(&dropped);
        return;
    }
    struct momi_message_batch *batch = batch_new(consumer, delivery);
    if (batch == NULL) {
        /* Their leases end, and they come again. */
        node->deliveries_dropped++;
        return;
    }
    pthread_mutex_lock(&consumer->mutex);
    bool is_wanted = !consumer->is_closed && batch->count > 0;
    if (is_wanted) {
        momi_list_push_back(&consumer->batches, &batch->link);
        consumer->buffered += batch->count;
        take_wait_locked(consumer, &wait);
    }
    bool has_waiters = consumer->waiters > 0;
    pthread_mutex_unlock(&consumer->mutex);
    if (!is_wanted) {
        momi_message_batch_unref(batch);
        return;
    }
    complete_wait(node, consumer, &wait, MOM_OK);
    if (has_waiters && !momi_list_linked(&consumer->touched_link)) {
        momi_list_push_back(&node->consumers_touched, &consumer->touched_link);
    }
}

void momi_consumers_wake(mom_node *node) {
    while (!momi_list_empty(&node->consumers_touched)) {
        mom_consumer *consumer =
            MOMI_CONTAINER_OF(node->consumers_touched.next, mom_consumer, touched_link);
        momi_list_remove(&consumer->touched_link);
        pthread_mutex_lock(&consumer->mutex);
        if (consumer->buffered == 1) {
            pthread_cond_signal(&consumer->arrived);
        } else {
            pthread_cond_broadcast(&consumer->arrived);
        }
        pthread_mutex_unlock(&consumer->mutex);
    }
}

static void end(mom_node *node, mom_consumer *consumer, int error) {
    struct momi_receive_wait wait;
    struct momi_list dropped;
    momi_list_init(&dropped);
    pthread_mutex_lock(&consumer->mutex);
    if (consumer->ended == MOM_OK) {
        consumer->ended = error;
    }
    momi_consumer_take_all_locked(consumer, &dropped);
    take_wait_locked(consumer, &wait);
    pthread_cond_broadcast(&consumer->arrived);
    pthread_mutex_unlock(&consumer->mutex);
    momi_message_batches_drop(&dropped);
    complete_wait(node, consumer, &wait, error);
}

void momi_consumers_ended(mom_node *node, uint64_t handle, int error) {
    mom_consumer *consumer = momi_consumers_find(node, handle);
    if (consumer != NULL) {
        end(node, consumer, error);
    }
}

void momi_consumer_poll_done(mom_consumer *consumer, int error) {
    (void)error; /* what ended the consumer comes by itself */
    pthread_mutex_lock(&consumer->mutex);
    consumer->is_polling = false;
    consumer->poll_id = 0;
    if (consumer->waiters > 0 && consumer->buffered == 0) {
        pthread_cond_broadcast(&consumer->arrived); /* they ask again */
    }
    pthread_mutex_unlock(&consumer->mutex);
    momi_consumer_unref(consumer);
}

/* --- sweeping
 * ------------------------------------------------------------------------------ */

static void step_taken(mom_node *node, mom_consumer *consumer, uint64_t taken,
                       uint64_t total) {
    if (taken > consumer->taken_told) {
        consumer->taken_told = taken;
        struct momi_event event = {.type = EV_CONSUMER_TAKEN,
                                   .token = consumer->handle,
                                   .value = taken,
                                   .total = total};
        momi_node_step(node, &event);
    }
}

void momi_consumers_sweep(mom_node *node, mom_consumer *consumer) {
    pthread_mutex_lock(&consumer->mutex);
    uint64_t taken = consumer->taken;
    uint64_t total = consumer->taken_count;
    struct momi_settle *settles = consumer->settles;
    size_t settles_count = consumer->settles_count;
    size_t settles_room = consumer->settles_room;
    consumer->settles = consumer->swept;
    consumer->settles_room = consumer->swept_room;
    consumer->settles_count = 0;
    bool is_timed =
        consumer->wait.completions != NULL && consumer->wait.deadline_us != MOMI_NEVER;
    bool is_closed = consumer->is_closed;
    pthread_mutex_unlock(&consumer->mutex);
    consumer->swept = settles;
    consumer->swept_room = settles_room;
    if (momi_consumers_find(node, consumer->handle) != consumer) {
        momi_consumer_unref(consumer);
        return;
    }
    step_taken(node, consumer, taken, total);
    if (settles_count > 0) {
        struct momi_event event = {.type = EV_CONSUMER_SETTLE,
                                   .token = consumer->handle,
                                   .settles = settles,
                                   .settles_count = settles_count};
        momi_node_step(node, &event);
    }
    if (is_timed && !momi_list_linked(&consumer->timed_link)) {
        momi_list_push_back(&node->consumers_timed, &consumer->timed_link);
    }
    if (is_closed) {
        forget(node, consumer);
    }
    momi_consumer_unref(consumer);
}

uint64_t momi_consumers_deadline(const mom_node *node) {
    uint64_t due_us = MOMI_NEVER;
    MOMI_LIST_FOR_EACH (link, &node->consumers_timed) {
        mom_consumer *consumer = MOMI_CONTAINER_OF(link, mom_consumer, timed_link);
        pthread_mutex_lock(&consumer->mutex);
        if (consumer->wait.completions != NULL && consumer->wait.deadline_us < due_us) {
            due_us = consumer->wait.deadline_us;
        }
        pthread_mutex_unlock(&consumer->mutex);
    }
    return due_us;
}

void momi_consumers_time(mom_node *node, uint64_t now_us) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &node->consumers_timed) {
        mom_consumer *consumer = MOMI_CONTAINER_OF(link, mom_consumer, timed_link);
        struct momi_receive_wait wait = {0};
        pthread_mutex_lock(&consumer->mutex);
        if (consumer->wait.completions == NULL) {
            momi_list_remove(&consumer->timed_link);
        } else if (consumer->wait.deadline_us <= now_us) {
            take_wait_locked(consumer, &wait);
        }
        pthread_mutex_unlock(&consumer->mutex);
        complete_wait(node, consumer, &wait, MOM_TIMEOUT);
    }
}

void momi_consumers_fail(mom_node *node, int error) {
    MOMI_LIST_FOR_EACH (link, &node->consumers_open) {
        end(node, MOMI_CONTAINER_OF(link, mom_consumer, link), error);
    }
}

void momi_consumers_end_all(mom_node *node, int error) {
    while (!momi_list_empty(&node->consumers_open)) {
        mom_consumer *consumer =
            MOMI_CONTAINER_OF(node->consumers_open.next, mom_consumer, link);
        end(node, consumer, error);
        forget(node, consumer);
    }
}
