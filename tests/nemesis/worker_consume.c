/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The roles `consume` and `drain`: one consumer of a queue or a subscription.
 *
 * What becomes of a message depends on its number alone, so that it is the same at every
 * delivery: some are poison and always given back until they are dead letters, some are
 * rejected, the rest is acknowledged. In mode `flush` settlements are sent with others
 * and one flush tells their outcome, in mode `wait` each acknowledgement is waited for.
 * Now and then a consumer keeps what it holds for longer than its lease.
 *
 * `drain` ends when nothing is left: nothing to receive, nothing ready, nothing leased.
 */
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_MAX = 16,
    CALL_MS = 10000,
    POISON_EVERY = 97,
    REJECT_EVERY = 101,
    HOLD_EVERY = 600, /* deliveries, for longer than any lease of the run */
    HOLD_MS = 4500,
    HEAD_BYTES = 32,
};

struct held {
    mom_message *message;
    uint32_t publisher, number;
    uint64_t op;
    enum check_kind kind;
    int error;
};

static mom_consumer *consumer;
static uint64_t consumer_number;

static struct check_record about_consumer(const struct worker *worker,
                                          enum check_kind kind) {
    struct check_record record = about(worker, kind);
    record.consumer = consumer_number;
    return record;
}

static bool is_dead_letters(const struct worker *worker) {
    return strncmp(worker->stream, "$dead/", 6) == 0;
}

static int open_consumer(struct worker *worker) {
    mom_consumer_options options;
    mom_consumer_options_init(&options);
    options.prefetch = worker->prefetch;
    consumer_number++;
    uint64_t op = log_call(worker, about_consumer(worker, CHECK_OPEN));
    int error = worker->is_topic
                    ? mom_subscription_consumer(worker->node, worker->stream, worker->sub,
                                                &options, CALL_MS, &consumer)
                    : mom_queue_consumer(worker->node, worker->stream, &options, CALL_MS,
                                         &consumer);
    log_done(worker, CHECK_OPEN, op, error, 0);
    return error;
}

static void close_consumer(struct worker *worker) {
    if (consumer != NULL) {
        uint64_t op = log_call(worker, about_consumer(worker, CHECK_CLOSE));
        int error = mom_consumer_close(consumer, CALL_MS);
        log_done(worker, CHECK_CLOSE, op, error, 0);
        consumer = NULL;
    }
}

/* --- a delivery -----------------------------------------------------------------------
 */

/* What is not a body of ours is publisher 0, whose messages come from nowhere. */
static void read_head(struct held *held) {
    size_t size;
    const char *body = mom_message_body(held->message, &size);
    char head[HEAD_BYTES];
    snprintf(head, sizeof head, "%.*s", (int)(size < sizeof head ? size : sizeof head),
             body);
    if (sscanf(head, "%u %u ", &held->publisher, &held->number) != 2) {
        held->publisher = 0;
        held->number = 0;
    }
}

static void saw_delivery(struct worker *worker, struct held *held) {
    size_t size, key_size;
    const void *body = mom_message_body(held->message, &size);
    const char *key = mom_message_key(held->message, &key_size);
    read_head(held);
    struct check_record record = about_consumer(worker, CHECK_DELIVER);
    record.publisher = held->publisher;
    record.message = held->number;
    record.sequence = mom_message_sequence(held->message);
    record.key = check_name(worker->names, key, key_size);
    record.digest = digest_of(key, key_size, body, size);
    record.deliveries = mom_message_deliveries(held->message);
    record.is_redelivered = mom_message_redelivered(held->message);
    log_saw(worker, record);
}

static enum check_kind fate_of(const struct worker *worker, const struct held *held) {
    if (is_dead_letters(worker)) {
        return CHECK_ACK;
    }
    return held->number % POISON_EVERY == POISON_EVERY - 1   ? CHECK_NACK
           : held->number % REJECT_EVERY == REJECT_EVERY - 1 ? CHECK_REJECT
                                                             : CHECK_ACK;
}

static void call_settle(struct worker *worker, struct held *held) {
    held->kind = fate_of(worker, held);
    struct check_record record = about_consumer(worker, held->kind);
    record.publisher = held->publisher;
    record.message = held->number;
    held->op = log_call(worker, record);
}

static int settle(const struct held *held) {
    return held->kind == CHECK_NACK     ? mom_nack(held->message)
           : held->kind == CHECK_REJECT ? mom_reject(held->message)
                                        : mom_ack(held->message);
}

/* All of them, with one outcome. */
static void settle_flush(struct worker *worker, struct held *held, size_t count) {
    for (size_t i = 0; i < count; i++) {
        call_settle(worker, &held[i]);
        held[i].error = settle(&held[i]);
    }
    int error = mom_consumer_flush(consumer, CALL_MS);
    for (size_t i = 0; i < count; i++) {
        int result = held[i].error != MOM_OK ? held[i].error
                     : error != MOM_OK       ? MOM_UNKNOWN_OUTCOME
                                             : MOM_OK;
        log_done(worker, held[i].kind, held[i].op, result, 0);
    }
}

static void settle_wait(struct worker *worker, struct held *held, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (fate_of(worker, &held[i]) != CHECK_ACK) {
            settle_flush(worker, &held[i], 1);
            continue;
        }
        call_settle(worker, &held[i]);
        int error = mom_ack_wait(held[i].message, CALL_MS);
        log_done(worker, CHECK_ACK, held[i].op, error, 0);
    }
}

/* Takes and settles what comes within the time. What mom_receive_many says. */
static int take_some(struct worker *worker, int timeout_ms, bool may_hold) {
    mom_message *messages[BATCH_MAX];
    struct held held[BATCH_MAX];
    size_t count = 0;
    int error = mom_receive_many(consumer, messages, 1 + (size_t)draw(worker, BATCH_MAX),
                                 &count, timeout_ms);
    if (error != MOM_OK) {
        return error;
    }
    for (size_t i = 0; i < count; i++) {
        held[i] = (struct held){.message = messages[i]};
        saw_delivery(worker, &held[i]);
    }
    if (may_hold && draw(worker, HOLD_EVERY) < count) {
        pause_ms(HOLD_MS);
    }
    if (strcmp(worker->mode, "wait") == 0) {
        settle_wait(worker, held, count);
    } else {
        settle_flush(worker, held, count);
    }
    for (size_t i = 0; i < count; i++) {
        mom_message_release(messages[i]);
    }
    return MOM_OK;
}

/* The consumer has ended; it is opened again. */
static void saw_end(struct worker *worker, int error) {
    struct check_record record = about_consumer(worker, CHECK_END);
    record.result = (int16_t)error;
    log_saw(worker, record);
    close_consumer(worker);
}

int role_consume(struct worker *worker) {
    while (!stopping()) {
        if (consumer == NULL && open_consumer(worker) != MOM_OK) {
            pause_ms(LOOK_MS);
            continue;
        }
        int error = take_some(worker, LOOK_MS, true);
        if (error != MOM_OK && error != MOM_TIMEOUT) {
            saw_end(worker, error);
        }
    }
    close_consumer(worker);
    return 0;
}

/* --- draining -------------------------------------------------------------------------
 */

static bool is_all_gone(struct worker *worker) {
    mom_stream_info info;
    mom_stream_info_init(&info);
    int error = worker->is_topic
                    ? mom_subscription_info(worker->node, worker->stream, worker->sub,
                                            &info, CALL_MS)
                    : mom_queue_info(worker->node, worker->stream, &info, CALL_MS);
    return error == MOM_OK && info.messages_ready == 0 && info.messages_leased == 0 &&
           !info.is_filling;
}

int role_drain(struct worker *worker) {
    while (!stopping()) {
        if (consumer == NULL) {
            int error = open_consumer(worker);
            if (error == MOM_NOT_FOUND || error == MOM_NOT_SUBSCRIBED) {
                break; /* no dead letter ever, or deleted */
            }
            if (error != MOM_OK) {
                pause_ms(LOOK_MS);
                continue;
            }
        }
        int error = take_some(worker, 0, false);
        if (error == MOM_EMPTY && is_all_gone(worker)) {
            break;
        }
        if (error == MOM_EMPTY || error == MOM_UNAVAILABLE) {
            /* Somebody's lease has not ended yet. */
            error = take_some(worker, LOOK_MS, false);
        }
        if (error != MOM_OK && error != MOM_TIMEOUT) {
            saw_end(worker, error);
        }
    }
    bool is_drained = !stopping();
    close_consumer(worker);
    if (is_drained) {
        log_saw(worker, about(worker, CHECK_DRAINED));
    }
    return is_drained ? 0 : ROLE_HUNG;
}
