/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fuzz_calls.c works with: the node, the input, consumers and the messages that they
 * hold, each beside what the model knows of it.
 */
#ifndef MOM_TESTS_FUZZ_CALLS_RIG_H
#define MOM_TESTS_FUZZ_CALLS_RIG_H

#include <sched.h>
#include <stdio.h>

#include "fuzz/calls_model.h"

enum {
    WAIT_MS = 60000, /* nothing waits so long when all is well */
    CALLS_MAX = 64,  /* of one input */
    CONSUMERS = 4,
    HELD_MAX = 24,
    MANY_MAX = 5,
    BODY_MAX = 600,
    NODE_INPUTS_MAX = 2000, /* then it is opened anew */
    LEASE_MS = 3600000,
};

struct consumer {
    mom_consumer *handle; /* NULL: closed */
    unsigned group;
    uint64_t last; /* the highest sequence that came in order */
    uint64_t limit, taken;
    bool is_alone;  /* nobody else was attached as long as it was */
    bool is_unsent; /* something was settled and not flushed */
    int gone;       /* what was consumed is deleted: its answer */
};

struct held {
    mom_message *message;
    unsigned consumer;
    uint32_t opening; /* of the consumer; another one: it is closed */
    uint64_t sequence;
    bool is_settled;
};

static struct {
    mom_node *node;
    mom_completions *completions;
    unsigned inputs;
    struct model model;
    struct consumer consumers[CONSUMERS];
    uint32_t openings[CONSUMERS];
    struct held held[HELD_MAX];
    size_t held_count;
    const uint8_t *at, *end;
    char body[MOM_BODY_BYTES_MAX + 1];
} fuzz;

static inline void expect_at(int line, int actual, int expected) {
    if (actual != expected) {
        fprintf(stderr, "fuzz_calls.c:%d: %s (%s) instead of %s\n", line,
                mom_err_name(actual), mom_last_error_text(), mom_err_name(expected));
    }
    MOMI_ASSERT(actual == expected);
}
#define EXPECT(call, expected) expect_at(__LINE__, (call), (expected))

static inline uint8_t take(void) { return fuzz.at < fuzz.end ? *fuzz.at++ : 0; }

/* --- the node ------------------------------------------------------------------------
 */

static inline void open_node(void) {
    mom_options options;
    mom_options_init(&options);
    options.memory = true;
    options.shards = 2;
    EXPECT(mom_open(&options, &fuzz.node), MOM_OK);
    EXPECT(mom_wait_ready(fuzz.node, WAIT_MS), MOM_OK);
    EXPECT(mom_completions_open(fuzz.node, &fuzz.completions), MOM_OK);
}

/* The result of a call that was submitted, when it was. */
static inline int completed(int accepted, mom_completion *done) {
    size_t count;
    if (accepted != MOM_OK) {
        return accepted;
    }
    EXPECT(mom_completions_wait(fuzz.completions, done, 1, &count, WAIT_MS), MOM_OK);
    MOMI_ASSERT(count == 1);
    MOMI_ASSERT(done->user == &fuzz);
    return done->error;
}
#define SUBMIT(function, ...)                                                            \
    completed(function(__VA_ARGS__, WAIT_MS, fuzz.completions, &fuzz),                   \
              &(mom_completion){0})

/* --- consumers and what they hold ----------------------------------------------------
 */

static inline void flush(void) {
    for (unsigned i = 0; i < CONSUMERS; i++) {
        struct consumer *consumer = &fuzz.consumers[i];
        if (consumer->handle != NULL && consumer->gone == MOM_OK && consumer->is_unsent) {
            EXPECT(mom_consumer_flush(consumer->handle, WAIT_MS), MOM_OK);
            consumer->is_unsent = false;
        }
    }
}

static inline bool is_open(const struct held *held) {
    return held->opening == fuzz.openings[held->consumer] &&
           fuzz.consumers[held->consumer].handle != NULL;
}

static inline struct row *row_of(const struct held *held) {
    struct consumer *consumer = &fuzz.consumers[held->consumer];
    struct row *row = rows_find(&fuzz.model.groups[consumer->group].rows, held->sequence);
    MOMI_ASSERT(row != NULL);
    return row;
}

/* What settling it must answer. */
static inline int settles_with(const struct held *held) {
    return held->is_settled ? MOM_CONFLICT
           : is_open(held)  ? fuzz.consumers[held->consumer].gone
                            : MOM_CLOSED;
}

enum action { ACK, NACK, REJECT, EXTEND, ACK_WAIT, ACK_SUBMIT, ACK_MANY, ACTIONS };

/* Tells the model, before the call: dead letters come in the order of flushes. */
static inline void settle_in_model(struct held *held, enum action action) {
    struct consumer *consumer = &fuzz.consumers[held->consumer];
    struct row *row = row_of(held);
    if (action == EXTEND) {
        return;
    }
    bool is_last = model_is_last(&fuzz.model, consumer->group, row);
    if (action == REJECT || (action == NACK && is_last)) {
        flush();
    }
    consumer->is_unsent = true;
    held->is_settled = true;
    row->is_held = false;
    if (action == NACK) {
        model_give_back(&fuzz.model, consumer->group, row);
    } else if (action == REJECT) {
        model_bury(&fuzz.model, consumer->group, row);
    } else {
        row->is_gone = true;
    }
}

static inline void settle(struct held *held, enum action action) {
    int expected = settles_with(held);
    if (expected == MOM_OK) {
        settle_in_model(held, action);
    }
    mom_message *message = held->message;
    switch (action) {
    case ACK:
        EXPECT(mom_ack(message), expected);
        break;
    case NACK:
        EXPECT(mom_nack(message), expected);
        break;
    case REJECT:
        EXPECT(mom_reject(message), expected);
        break;
    case EXTEND:
        EXPECT(mom_extend(message), expected);
        break;
    case ACK_WAIT:
        EXPECT(mom_ack_wait(message, WAIT_MS), expected);
        break;
    case ACK_SUBMIT:
        EXPECT(SUBMIT(mom_ack_submit, message), expected);
        break;
    default:
        EXPECT(mom_ack_many(&message, 1), expected);
        break;
    }
}

static inline void release(size_t index) {
    struct held *held = &fuzz.held[index];
    if (settles_with(held) == MOM_OK) {
        settle_in_model(held, NACK);
    }
    mom_message_release(held->message);
    fuzz.held_count--;
    memmove(held, held + 1, (fuzz.held_count - index) * sizeof *held);
}

static inline void close_consumer(unsigned index) {
    struct consumer *consumer = &fuzz.consumers[index];
    flush();
    EXPECT(mom_consumer_close(consumer->handle, WAIT_MS), MOM_OK);
    consumer->handle = NULL;
    if (consumer->gone != MOM_OK) {
        return;
    }
    struct group *group = &fuzz.model.groups[consumer->group];
    group->consumers--;
    for (size_t i = 0; i < fuzz.held_count; i++) { /* in the order of their leases */
        struct held *held = &fuzz.held[i];
        if (held->consumer == index && held->opening == fuzz.openings[index] &&
            !held->is_settled) {
            model_give_back(&fuzz.model, consumer->group, row_of(held));
        }
    }
    for (size_t i = 0; i < group->rows.count; i++) { /* what its buffer held */
        group->rows.row[i].is_late = group->consumers > 0;
    }
}

static inline void end_consumers(unsigned at, int error) {
    for (unsigned i = 0; i < CONSUMERS; i++) {
        struct consumer *consumer = &fuzz.consumers[i];
        if (consumer->handle == NULL || consumer->gone != MOM_OK ||
            consumer->group != at) {
            continue;
        }
        int result;
        do {
            mom_message *message;
            size_t count;
            result = mom_receive_ready(consumer->handle, &message, 1, &count);
            if (result == MOM_OK) {
                mom_message_release(message);
            }
            (void)sched_yield();
        } while (result == MOM_OK || result == MOM_EMPTY);
        EXPECT(result, error);
        consumer->gone = error;
    }
    fuzz.model.groups[at].exists = false;
    fuzz.model.groups[at].consumers = 0;
}

/* --- messages ------------------------------------------------------------------------
 */

static inline size_t body_size(uint32_t serial) {
    return 4 + serial * 37 % (BODY_MAX - 4);
}

static inline void check_message(const mom_message *message, unsigned at,
                                 const struct row *row) {
    size_t size;
    const uint8_t *body = mom_message_body(message, &size);
    MOMI_ASSERT(size == body_size(row->serial));
    MOMI_ASSERT(momi_load_le32(body) == row->serial);
    MOMI_ASSERT(body[size - 1] == (size == 4 ? body[3] : (uint8_t)row->serial));
    const char *key = mom_message_key(message, &size);
    MOMI_ASSERT(size == strlen(key_names[row->key]));
    MOMI_ASSERT(memcmp(key, key_names[row->key], size) == 0);
    MOMI_ASSERT(mom_message_deliveries(message) == row->deliveries + 1);
    MOMI_ASSERT(mom_message_redelivered(message) == (row->deliveries > 0));
    MOMI_ASSERT(mom_message_publisher(message) == mom_node_id(fuzz.node));
    MOMI_ASSERT(strcmp(mom_message_stream(message), stream_name(stream_of(at))) == 0);
    MOMI_ASSERT(strcmp(mom_message_subscription(message), subscription_name(at)) == 0);
    const void *value;
    EXPECT(mom_message_header(message, "serial", &value, &size),
           row->serial % 2 == 0 ? MOM_OK : MOM_NOT_FOUND);
}

static inline void got(unsigned index, mom_message *message) {
    struct consumer *consumer = &fuzz.consumers[index];
    struct group *group = &fuzz.model.groups[consumer->group];
    uint64_t sequence = mom_message_sequence(message);
    struct row *row = rows_find(&group->rows, sequence);
    MOMI_ASSERT(row != NULL);
    model_receive(group, row, consumer->is_alone, &consumer->last);
    check_message(message, consumer->group, row);
    consumer->taken++;
    MOMI_ASSERT(consumer->limit == 0 || consumer->taken <= consumer->limit);
    if (fuzz.held_count == HELD_MAX) {
        release(0);
    }
    fuzz.held[fuzz.held_count++] = (struct held){.message = message,
                                                 .consumer = index,
                                                 .opening = fuzz.openings[index],
                                                 .sequence = sequence};
}

static inline bool is_certain(const struct consumer *consumer) {
    bool has_left = consumer->limit == 0 || consumer->taken < consumer->limit;
    struct counts counts = group_count(&fuzz.model.groups[consumer->group]);
    return consumer->is_alone && has_left && counts.certain > counts.held;
}

static inline void check_empty(struct consumer *consumer) {
    if (consumer->limit != 0 && consumer->taken == consumer->limit) {
        return;
    }
    if (consumer->is_alone) {
        model_empty(&fuzz.model.groups[consumer->group]);
    }
}

#endif
