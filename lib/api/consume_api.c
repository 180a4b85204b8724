/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers: opened, received from, settled, closed. See <mom/mom.h>.
 */
#include "api/api.h"

/* --- opening and closing
 * ------------------------------------------------------------------ */

static int open_consumer(mom_node *node, enum momi_kind kind, const char *stream,
                         const char *subscription, const mom_consumer_options *options,
                         int timeout_ms, mom_consumer **consumer) {
    mom_consumer_options known;
    uint64_t deadline_us = 0;
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(consumer, "consumer");
    }
    if (error == MOM_OK) {
        error = momi_check_stream(stream, kind == MOMI_KIND_QUEUE ? "queue" : "topic");
    }
    if (error == MOM_OK && kind == MOMI_KIND_TOPIC) {
        error = momi_check_subscription(subscription);
    }
    if (error == MOM_OK) {
        error = momi_options_import(&known, sizeof known, options, "options");
    }
    if (error == MOM_OK) {
        error = momi_check_deadline(timeout_ms, &deadline_us);
    }
    if (error != MOM_OK) {
        return error;
    }
    if (known.prefetch > MOM_PREFETCH_MAX) {
        return momi_err(MOM_INVALID, "prefetch is %u, at most %u", known.prefetch,
                        MOM_PREFETCH_MAX);
    }
    if (known.lease_ms > UINT64_MAX / MOMI_MS) {
        return momi_err(MOM_INVALID, "lease_ms is too large");
    }
    error = momi_node_enter(node);
    if (error == MOM_OK) {
        struct momi_consumer_terms terms = {.prefetch = known.prefetch,
                                            .lease_us = known.lease_ms * MOMI_MS,
                                            .limit = known.limit};
        error =
            momi_consumer_open(node, kind, momi_slice_str(stream),
                               momi_slice_str(subscription == NULL ? "" : subscription),
                               &terms, deadline_us, consumer);
        momi_node_leave(node);
    }
    return error;
}

int mom_queue_consumer(mom_node *node, const char *queue,
                       const mom_consumer_options *options, int timeout_ms,
                       mom_consumer **consumer) {
    return open_consumer(node, MOMI_KIND_QUEUE, queue, NULL, options, timeout_ms,
                         consumer);
}

int mom_subscription_consumer(mom_node *node, const char *topic, const char *name,
                              const mom_consumer_options *options, int timeout_ms,
                              mom_consumer **consumer) {
    return open_consumer(node, MOMI_KIND_TOPIC, topic, name, options, timeout_ms,
                         consumer);
}

int mom_consumer_close(mom_consumer *consumer, int timeout_ms) {
    uint64_t deadline_us;
    if (consumer == NULL) {
        return MOM_OK;
    }
    int error = momi_node_check_fork(consumer->node);
    if (error != MOM_OK) {
        return error;
    }
    if (momi_check_wait(timeout_ms, &deadline_us) != MOM_OK) {
        deadline_us = 0;
    }
    return momi_consumer_close(consumer, deadline_us, deadline_us != 0);
}

/* --- receiving
 * ------------------------------------------------------------------------------- */

static int check_consumer(const mom_consumer *consumer) {
    int error = momi_check_pointer(consumer, "consumer");
    return error != MOM_OK ? error : momi_node_check_fork(consumer->node);
}

static int check_receive(const mom_consumer *consumer, mom_message **messages, size_t max,
                         const size_t *count) {
    int error = check_consumer(consumer);
    if (error == MOM_OK) {
        error = momi_check_pointer(messages, "messages");
    }
    if (error == MOM_OK) {
        error = momi_check_pointer(count, "count");
    }
    if (error == MOM_OK && max == 0) {
        error = momi_err(MOM_INVALID, "max is 0");
    }
    return error;
}

int mom_receive_many(mom_consumer *consumer, mom_message **messages, size_t max,
                     size_t *count, int timeout_ms) {
    uint64_t deadline_us = 0;
    int error = check_receive(consumer, messages, max, count);
    if (error == MOM_OK) {
        error = momi_check_wait(timeout_ms, &deadline_us);
    }
    return error != MOM_OK
               ? error
               : momi_consumer_receive(consumer, messages, max, count, deadline_us, NULL);
}

int mom_receive_ready(mom_consumer *consumer, mom_message **messages, size_t max,
                      size_t *count) {
    int error = check_receive(consumer, messages, max, count);
    return error != MOM_OK ? error
                           : momi_consumer_receive(consumer, messages, max, count,
                                                   MOMI_ONLY_BUFFERED, NULL);
}

int mom_receive(mom_consumer *consumer, mom_message **message, int timeout_ms) {
    size_t count;
    return mom_receive_many(consumer, message, 1, &count, timeout_ms);
}

int mom_receive_submit(mom_consumer *consumer, int timeout_ms,
                       mom_completions *completions, void *user) {
    uint64_t deadline_us = 0;
    int error = check_consumer(consumer);
    if (error == MOM_OK) {
        error = momi_check_pointer(completions, "completions");
    }
    if (error == MOM_OK && completions->node != consumer->node) {
        error = momi_err(MOM_INVALID, "completions are of another node");
    }
    if (error == MOM_OK) {
        error = momi_check_deadline(timeout_ms, &deadline_us);
    }
    return error != MOM_OK
               ? error
               : momi_consumer_receive_submit(consumer, deadline_us, completions, user);
}

/* --- pushing
 * ------------------------------------------------------------------------------------ */

static int settle_handled(mom_message *message, mom_handled handled) {
    switch (handled) {
    case MOM_HANDLED_ACK:
        return mom_ack(message);
    case MOM_HANDLED_NACK:
        return mom_nack(message);
    case MOM_HANDLED_REJECT:
        return mom_reject(message);
    case MOM_HANDLED_KEEP:
        break;
    }
    return MOM_OK;
}

int mom_consumer_run(mom_consumer *consumer, mom_handler_fn handler, void *user) {
    int error = check_consumer(consumer);
    if (error == MOM_OK && handler == NULL) {
        error = momi_err(MOM_INVALID, "handler is NULL");
    }
    if (error != MOM_OK) {
        return error;
    }
    const uint32_t stops = 0; /* one that came before this thread did counts as well */
    for (;;) {
        mom_message *message;
        size_t count;
        error = momi_consumer_receive(consumer, &message, 1, &count, MOMI_NEVER, &stops);
        if ((error == MOM_CLOSED && momi_consumer_stops(consumer) != stops) ||
            error == MOM_EMPTY) { /* its limit was taken */
            return MOM_OK;
        }
        if (error != MOM_OK) {
            return error;
        }
        mom_handled handled = handler(message, user);
        if (handled != MOM_HANDLED_KEEP) {
            error = settle_handled(message, handled);
            momi_message_release(message);
            if (error != MOM_OK && error != MOM_CONFLICT) {
                return error;
            }
        }
    }
}

void mom_consumer_stop(mom_consumer *consumer) {
    if (check_consumer(consumer) == MOM_OK) {
        momi_consumer_stop(consumer);
    }
}

/* --- settling
 * ----------------------------------------------------------------------------------- */

static int settle(mom_message *message, enum momi_settle_action action) {
    int error = momi_check_pointer(message, "message");
    if (error == MOM_OK) {
        error = momi_node_check_fork(message->batch->consumer->node);
    }
    return error != MOM_OK ? error : momi_message_settle(message, action);
}

int mom_ack(mom_message *message) { return settle(message, MOMI_SETTLE_ACK); }
int mom_nack(mom_message *message) { return settle(message, MOMI_SETTLE_GIVE_BACK); }
int mom_reject(mom_message *message) { return settle(message, MOMI_SETTLE_REJECT); }
int mom_extend(mom_message *message) { return settle(message, MOMI_SETTLE_EXTEND); }

int mom_ack_many(mom_message *const *messages, size_t count) {
    int first_error = momi_check_pointer(messages, "messages");
    for (size_t i = 0; messages != NULL && i < count; i++) {
        int error = mom_ack(messages[i]);
        if (first_error == MOM_OK) {
            first_error = error;
        }
    }
    return first_error;
}

static int flush_call(mom_consumer *consumer, int timeout_ms, struct momi_call *call) {
    *call = (struct momi_call){.type = CALL_CONSUMER_FLUSH};
    int error = check_consumer(consumer);
    if (error == MOM_OK) {
        error = momi_check_deadline(timeout_ms, &call->deadline_us);
    }
    if (error == MOM_OK) {
        call->consumer = consumer->handle;
    }
    return error;
}

int mom_consumer_flush(mom_consumer *consumer, int timeout_ms) {
    struct momi_call call;
    int error = flush_call(consumer, timeout_ms, &call);
    if (error == MOM_OK) {
        error = momi_node_enter(consumer->node);
    }
    if (error != MOM_OK) {
        return error;
    }
    error = momi_node_call(consumer->node, &call, NULL, NULL);
    momi_node_leave(consumer->node);
    return error;
}

int mom_consumer_flush_submit(mom_consumer *consumer, int timeout_ms,
                              mom_completions *completions, void *user) {
    struct momi_call call;
    int error = flush_call(consumer, timeout_ms, &call);
    return error != MOM_OK ? error
                           : momi_submit(consumer->node, &call, completions, user);
}

/* The deadline is looked at first: an acknowledgement cannot be taken back. */
int mom_ack_wait(mom_message *message, int timeout_ms) {
    struct momi_call call;
    int error = momi_check_pointer(message, "message");
    if (error == MOM_OK) {
        error = flush_call(message->batch->consumer, timeout_ms, &call);
    }
    if (error == MOM_OK) {
        error = mom_ack(message);
    }
    return error != MOM_OK ? error
                           : mom_consumer_flush(message->batch->consumer, timeout_ms);
}

int mom_ack_submit(mom_message *message, int timeout_ms, mom_completions *completions,
                   void *user) {
    struct momi_call call;
    int error = momi_check_pointer(message, "message");
    if (error == MOM_OK) {
        error = momi_check_pointer(completions, "completions");
    }
    if (error == MOM_OK) {
        error = flush_call(message->batch->consumer, timeout_ms, &call);
    }
    if (error == MOM_OK) {
        error = mom_ack(message);
    }
    return error != MOM_OK ? error
                           : mom_consumer_flush_submit(message->batch->consumer,
                                                       timeout_ms, completions, user);
}

void mom_message_release(mom_message *message) {
    if (message != NULL &&
        momi_node_check_fork(message->batch->consumer->node) == MOM_OK) {
        momi_message_release(message);
    }
}
