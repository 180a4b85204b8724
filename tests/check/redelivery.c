/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubles are marked. Whoever gets a message that a program may have had before is told
 * so: of all deliveries of a message in a group at most one is unmarked, whichever is
 * seen first. The count of deliveries agrees with the mark, does not fall from one lease
 * to the next, rises after a message was given back, and stays within the limit of its
 * stream. (docs/guarantees.md, 4; JMS 2.0, JMSRedelivered and JMSXDeliveryCount.)
 */
#include "check/ledger.h"
#include "check/memory.h"

static const char name[] = "redelivery";

struct own { /* of a copy */
    uint64_t token;
    uint64_t last_ns;
    uint32_t n;       /* at the highest token, or the last */
    uint32_t n_least; /* after a nack that was accepted */
    bool was_unmarked, was_taken;
};

struct state {
    struct own *copies;
    uint32_t copies_room;
    uint64_t first, marked, given_back;
};

static struct own *own_of(struct state *state, const struct check_copy *copy) {
    state->copies = check_grow_to(state->copies, copy->number, &state->copies_room,
                                  sizeof *state->copies);
    return &state->copies[copy->number];
}

static void judge_count(const struct own *own, const struct check_step *step) {
    const struct check_record *record = step->record;
    const struct check_message *message = step->message;
    uint32_t n = record->deliveries;
    uint32_t most = step->stream->deliveries_max;
    bool is_later = record->token != 0 ? record->token > own->token
                                       : !check_ledger_faulty(step->ledger, own->last_ns);
    if (record->is_redelivered != (n > 1)) {
        check_report(step->ledger, name, message, "is %s and delivered for the time %u",
                     record->is_redelivered ? "marked" : "unmarked", n);
    } else if (most > 0 && n > most && n > 2) {
        /* One that lay in the buffer of a reader that was lost shows as delivered once,
         * and that is not counted: 2 may be seen where 1 is allowed. */
        check_report(step->ledger, name, message,
                     "is delivered for the time %u, at most %u are allowed", n, most);
    } else if (own->was_taken && is_later && n < own->n) {
        check_report(step->ledger, name, message,
                     "is delivered for the time %u, after the time %u", n, own->n);
    } else if (own->was_taken && is_later && n < own->n_least) {
        check_report(step->ledger, name, message,
                     "is delivered for the time %u though it was given back: that is "
                     "not counted",
                     n);
    }
}

static void delivered(struct state *state, const struct check_step *step) {
    const struct check_record *record = step->record;
    struct own *own = own_of(state, step->copy);
    if (record->deliveries != 0) {
        judge_count(own, step);
    }
    if (!record->is_redelivered && own->was_unmarked) {
        check_report(step->ledger, name, step->message,
                     "comes to %s again and is not marked as redelivered",
                     check_group_text(step->ledger, step->group->number));
    }
    state->first += !record->is_redelivered;
    state->marked += record->is_redelivered;
    own->was_unmarked = own->was_unmarked || !record->is_redelivered;
    if (!own->was_taken || record->token >= own->token) {
        own->n = record->deliveries;
        own->token = record->token;
    }
    own->was_taken = true;
    own->last_ns = record->time_ns;
}

/* With a token it is sure which delivery was given back. */
static void given_back(struct state *state, const struct check_step *step) {
    struct own *own = own_of(state, step->copy);
    state->given_back++;
    if (step->about->token != 0 && step->about->token == own->token &&
        own->n_least < own->n + 1) {
        own->n_least = own->n + 1;
    }
}

static void feed(void *own, const struct check_step *step) {
    if (step->copy == NULL) {
        return;
    }
    if (step->record->kind == CHECK_DELIVER) {
        delivered(own, step);
    } else if (check_step_is(step, CHECK_NACK, CHECK_DONE) &&
               step->outcome == CHECK_OUTCOME_OK) {
        given_back(own, step);
    }
}

static void free_own(void *own) { check_free(((struct state *)own)->copies); }

static const struct check_counter counters[] = {
    {"unmarked deliveries", offsetof(struct state, first)},
    {"marked deliveries", offsetof(struct state, marked)},
    {"given back", offsetof(struct state, given_back)},
    {NULL, 0},
};

const struct check_checker check_redelivery = {
    name, sizeof(struct state), feed, NULL, free_own, counters, NULL};
