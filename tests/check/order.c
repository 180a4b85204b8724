/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order. Three statements:
 *
 * - A message has one sequence in its stream and a sequence has one message (what is
 *   published once is there once: no doubles by retries).
 * - The sequences of one publisher in one stream rise in the order in which it sent,
 *   within one life; so do those of each of its keys.
 * - The only reader that a group ever had gets what is not marked as redelivered in the
 *   order of the sequences, and so each key in the order of its publisher.
 *
 * After the Kafka workload of Jepsen (one value for each offset, contiguity, duplicates),
 * and FIFO order of channels (Lamport, Time, Clocks, 1978). A stream that is deleted
 * begins its sequences anew, and is not judged from then on.
 */
#include "check/ledger.h"
#include "check/memory.h"

static const char name[] = "order";

struct newest { /* of a publisher's life in a stream */
    uint32_t message;
    uint64_t sequence;
};

struct reading {     /* of a group */
    uint32_t reader; /* number + 1; 0: none yet */
    bool is_shared;
    uint64_t last; /* sequence */
};

struct state {
    struct check_table sequences; /* (stream, sequence) -> message + 1 */
    struct check_table lives;     /* (publisher and stream, life) -> newest + 1 */
    struct newest *newest;
    uint32_t newest_count, newest_room;
    struct reading *readings; /* by group */
    uint32_t readings_room;
    bool *is_deleted; /* by stream */
    uint32_t is_deleted_room;
    uint64_t judged, pairs, in_order;
};

static void out_of_order(const struct check_ledger *ledger,
                         const struct check_message *message, uint64_t sequence,
                         uint32_t other, uint64_t other_sequence) {
    check_report((struct check_ledger *)(uintptr_t)ledger, name, message,
                 "has sequence %llu, and message %u of its publisher has %llu: the "
                 "publisher's order is broken",
                 (unsigned long long)sequence, other, (unsigned long long)other_sequence);
}

/* Against the last message of this life whose sequence is known; those in between are
 * looked at in the end. */
static void compare(struct state *state, const struct check_step *step,
                    uint64_t sequence) {
    const struct check_message *message = step->message;
    uint64_t *found = check_table_put(
        &state->lives, (uint64_t)message->publisher << 32 | message->stream,
        message->life);
    if (*found == 0) {
        state->newest = check_grow(state->newest, state->newest_count,
                                   &state->newest_room, sizeof *state->newest);
        *found = ++state->newest_count;
        state->newest[*found - 1] = (struct newest){message->message, sequence};
        return;
    }
    struct newest *newest = &state->newest[*found - 1];
    state->pairs++;
    bool is_later = message->message > newest->message;
    if (is_later ? sequence <= newest->sequence : sequence >= newest->sequence) {
        out_of_order(step->ledger, message, sequence, newest->message, newest->sequence);
    }
    if (is_later) {
        *newest = (struct newest){message->message, sequence};
    }
}

static void learn(struct state *state, const struct check_step *step, uint64_t sequence) {
    const struct check_message *message = step->message;
    state->is_deleted = check_grow_to(state->is_deleted, message->stream,
                                      &state->is_deleted_room, sizeof(bool));
    if (sequence == 0 || state->is_deleted[message->stream]) {
        return;
    }
    if (message->sequence == sequence) {
        return;
    }
    if (message->sequence != 0) {
        check_report(step->ledger, name, message, "is message %llu and %s %llu: doubled",
                     (unsigned long long)message->sequence,
                     step->record->kind == CHECK_PUBLISH ? "is acknowledged as"
                                                         : "comes as",
                     (unsigned long long)sequence);
        return;
    }
    state->judged++;
    uint64_t *found = check_table_put(&state->sequences, message->stream, sequence);
    if (*found != 0) {
        const struct check_message *other = &step->ledger->messages[*found - 1];
        check_report(step->ledger, name, message, "and p%u:%u both have sequence %llu",
                     other->publisher, other->message, (unsigned long long)sequence);
        return;
    }
    *found = message->number + 1;
    compare(state, step, sequence);
}

static struct reading *reading_of(struct state *state, const struct check_step *step) {
    state->readings = check_grow_to(state->readings, step->group->number,
                                    &state->readings_room, sizeof *state->readings);
    return &state->readings[step->group->number];
}

static void read_by(struct state *state, const struct check_step *step) {
    struct reading *reading = reading_of(state, step);
    bool is_opened = step->record->kind == CHECK_OPEN;
    reading->is_shared = reading->is_shared ||
                         (reading->reader != 0 &&
                          (is_opened || reading->reader != step->reader->number + 1));
    reading->reader = step->reader->number + 1;
}

static void delivered(struct state *state, const struct check_step *step) {
    struct reading *reading = reading_of(state, step);
    const struct check_record *record = step->record;
    if (record->is_redelivered || record->sequence == 0 || reading->is_shared ||
        state->is_deleted[step->message->stream]) {
        return;
    }
    state->in_order++;
    if (record->sequence <= reading->last) {
        check_report(step->ledger, name, step->message,
                     "with sequence %llu comes to the only reader of %s after %llu",
                     (unsigned long long)record->sequence,
                     check_group_text(step->ledger, step->group->number),
                     (unsigned long long)reading->last);
    }
    reading->last = record->sequence;
}

static void feed(void *own, const struct check_step *step) {
    struct state *state = own;
    const struct check_record *record = step->record;
    if (check_step_is(step, CHECK_DELETE, CHECK_CALL)) {
        state->is_deleted = check_grow_to(state->is_deleted, step->stream->number,
                                          &state->is_deleted_room, sizeof(bool));
        state->is_deleted[step->stream->number] = true;
    } else if (check_step_is(step, CHECK_OPEN, CHECK_CALL)) {
        read_by(state, step);
    } else if (check_step_is(step, CHECK_PUBLISH, CHECK_DONE)) {
        learn(state, step, record->sequence);
    } else if (check_step_comes(step) && step->message != NULL) {
        read_by(state, step);
        if (step->stream->number == step->message->stream) {
            learn(state, step, record->sequence);
            if (record->kind == CHECK_DELIVER) {
                delivered(state, step);
            }
        }
    }
}

/* --- the end: each message with the one before it --------------------------------- */

struct before {
    uint64_t stamp; /* publisher + 1 */
    uint32_t life, message;
    uint64_t sequence;
};

static void judge_publisher(const struct state *state, const struct check_ledger *ledger,
                            uint32_t which, struct before *befores) {
    const struct check_publisher *publisher = &ledger->publishers[which];
    for (uint32_t i = 0; i < publisher->count; i++) {
        if (publisher->messages[i] == 0) {
            continue;
        }
        const struct check_message *message =
            &ledger->messages[publisher->messages[i] - 1];
        bool is_judged = message->stream < state->is_deleted_room &&
                         !state->is_deleted[message->stream];
        if (message->sequence == 0 || !is_judged) {
            continue;
        }
        struct before *before = &befores[message->stream];
        if (before->stamp == which + 1 && before->life == message->life &&
            message->sequence <= before->sequence) {
            out_of_order(ledger, message, message->sequence, before->message,
                         before->sequence);
        }
        *before = (struct before){which + 1, message->life, i, message->sequence};
    }
}

static void finish(void *own, struct check_ledger *ledger) {
    struct before *befores = check_calloc(ledger->streams_count, sizeof *befores);
    for (uint32_t i = 0; i < ledger->publishers_count; i++) {
        judge_publisher(own, ledger, i, befores);
    }
    check_free(befores);
}

static void free_own(void *own) {
    struct state *state = own;
    check_table_free(&state->sequences);
    check_table_free(&state->lives);
    check_free(state->newest);
    check_free(state->readings);
    check_free(state->is_deleted);
}

static const struct check_counter counters[] = {
    {"sequences", offsetof(struct state, judged)},
    {"pairs of one publisher", offsetof(struct state, pairs)},
    {"deliveries to only readers", offsetof(struct state, in_order)},
    {NULL, 0},
};

const struct check_checker check_order = {
    name, sizeof(struct state), feed, finish, free_own, counters, NULL};
