/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conservation of dead letters. A message is consumed, or a dead letter, or still there,
 * and never two of these: what was consumed does not come as a dead letter, what came as
 * one does not come from its queue again and is not consumed there. Nothing becomes a
 * dead letter but by a rejection or by as many deliveries as its stream allows, and what
 * was rejected does come as one. (docs/guarantees.md: "in the dead-letter queue, and
 * nowhere else". A conservation law, as the bank test of Jepsen checks one.)
 */
#include "check/ledger.h"
#include "check/memory.h"

static const char name[] = "dead letters";

struct own {             /* of a copy in its own queue or subscription */
    uint64_t dead_token; /* of its first lease as a dead letter */
    uint64_t dead_ns, first_ns;
    uint32_t n; /* highest count of deliveries */
    uint32_t rejects_called;
    bool is_dead, is_consumed, is_rejected;
};

struct state {
    struct own *copies;
    uint32_t copies_room;
    uint64_t dead, rejected, judged_causes;
};

static struct own *own_of(struct state *state, const struct check_copy *copy) {
    state->copies = check_grow_to(state->copies, copy->number, &state->copies_room,
                                  sizeof *state->copies);
    return &state->copies[copy->number];
}

static void comes_dead(struct state *state, const struct check_step *step) {
    const struct check_stream *stream = step->stream;
    const struct check_group *group = &step->ledger->groups[stream->dead_of];
    const struct check_copy *copy =
        check_ledger_copy(step->ledger, step->message, group->number);
    if (copy == NULL) {
        return; /* nobody has seen it before */
    }
    struct own *own = own_of(state, copy);
    uint32_t most = step->ledger->streams[group->stream].deliveries_max;
    if (own->is_consumed) {
        check_report(step->ledger, name, step->message,
                     "was consumed in %s and is a dead letter",
                     check_group_text(step->ledger, group->number));
    }
    if (own->is_dead) {
        return;
    }
    own->is_dead = true;
    own->dead_token = step->record->token;
    own->dead_ns = step->record->time_ns;
    state->dead++;
    if (most > 0 && !check_ledger_faulty(step->ledger, own->first_ns)) {
        state->judged_causes++;
        if (own->rejects_called == 0 && own->n < most) {
            check_report(step->ledger, name, step->message,
                         "is a dead letter without a cause: %u of %u deliveries and no "
                         "rejection",
                         own->n, most);
        }
    }
}

static bool is_after_death(const struct own *own, const struct check_step *step) {
    const struct check_record *record = step->record;
    if (record->token != 0 && own->dead_token != 0) {
        return record->token > own->dead_token;
    }
    return record->deliveries > own->n ||
           !check_ledger_faulty(step->ledger, own->first_ns);
}

static void comes(struct state *state, const struct check_step *step) {
    const struct check_record *record = step->record;
    struct own *own = own_of(state, step->copy);
    if (own->is_dead && is_after_death(own, step)) {
        check_report(step->ledger, name, step->message,
                     "is a dead letter and comes from %s again",
                     check_group_text(step->ledger, step->group->number));
    }
    own->first_ns = own->first_ns == 0 ? record->time_ns : own->first_ns;
    own->n = record->deliveries > own->n ? record->deliveries : own->n;
}

static void settled(struct state *state, const struct check_step *step) {
    struct own *own = own_of(state, step->copy);
    bool is_ok = step->record->phase == CHECK_DONE && step->outcome == CHECK_OUTCOME_OK;
    if (step->record->kind == CHECK_REJECT) {
        own->rejects_called += step->record->phase == CHECK_CALL;
        state->rejected += is_ok;
        own->is_rejected = own->is_rejected || is_ok;
        if (is_ok && own->is_consumed) {
            check_report(step->ledger, name, step->message,
                         "was consumed and its rejection is accepted");
        }
    } else if (is_ok) {
        own->is_consumed = true;
        if (own->is_dead || own->is_rejected) {
            check_report(step->ledger, name, step->message,
                         "is a dead letter and is consumed in %s",
                         check_group_text(step->ledger, step->group->number));
        }
    }
}

static void feed(void *own, const struct check_step *step) {
    if (step->copy == NULL) {
        return;
    }
    bool is_dead_stream = step->stream->dead_of != CHECK_NONE;
    if (check_step_comes(step)) {
        if (is_dead_stream) {
            comes_dead(own, step);
        } else {
            comes(own, step);
        }
    } else if (!is_dead_stream &&
               (step->record->kind == CHECK_ACK || step->record->kind == CHECK_REJECT)) {
        settled(own, step);
    }
}

/* Its rejection was accepted, and it has not come as a dead letter, of which none was
 * removed by a purge or with its queue. */
static bool is_awaited(const struct own *copy, const struct check_ledger *ledger,
                       const struct check_group *group) {
    if (!copy->is_rejected || copy->is_dead || group->dead_stream == CHECK_NONE) {
        return false;
    }
    const struct check_stream *dead = &ledger->streams[group->dead_stream];
    return dead->removals_open == 0 && dead->removed_until == 0;
}

static const struct check_group *dead_group(const struct check_ledger *ledger,
                                            const struct check_group *group) {
    return &ledger->groups[ledger->streams[group->dead_stream].first_group];
}

static uint64_t missing(const void *own, const struct check_ledger *ledger) {
    const struct state *state = own;
    uint64_t count = 0;
    for (uint32_t i = 0; i < ledger->copies_count && i < state->copies_room; i++) {
        const struct check_group *group = &ledger->groups[ledger->copies[i].group];
        count += is_awaited(&state->copies[i], ledger, group) &&
                 dead_group(ledger, group)->is_read &&
                 !dead_group(ledger, group)->is_removed;
    }
    return count;
}

static void finish(void *own, struct check_ledger *ledger) {
    struct state *state = own;
    for (uint32_t i = 0; i < ledger->copies_count && i < state->copies_room; i++) {
        const struct check_group *group = &ledger->groups[ledger->copies[i].group];
        if (is_awaited(&state->copies[i], ledger, group) &&
            dead_group(ledger, group)->is_drained) {
            check_report(ledger, name, &ledger->messages[ledger->copies[i].message],
                         "was rejected in %s and is no dead letter: lost",
                         check_group_text(ledger, group->number));
        }
    }
}

static void free_own(void *own) { check_free(((struct state *)own)->copies); }

static const struct check_counter counters[] = {
    {"dead letters", offsetof(struct state, dead)},
    {"of these with a cause looked for", offsetof(struct state, judged_causes)},
    {"accepted rejections", offsetof(struct state, rejected)},
    {NULL, 0},
};

const struct check_checker check_dead_letters = {
    name, sizeof(struct state), feed, finish, free_own, counters, missing};
