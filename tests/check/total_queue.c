/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Total queue. Nothing is lost: every message that was acknowledged, or that came to
 * anybody, has been consumed after the final drain in each group that wants it, or has
 * come as a dead letter; purged and deleted ones are excused. Nothing comes from nowhere:
 * what comes was published before, with this key and body, to this stream, matches the
 * filter, and its stream was not deleted since.
 *
 * After the total-queue checker of Jepsen (jepsen.checker/total-queue: lost, unexpected,
 * recovered; duplicates are with leases.c and redelivery.c), which demands that what was
 * enqueued is dequeued; here it must be settled as well.
 */
#include "check/ledger.h"

#include "check/memory.h"

static const char name[] = "total queue";

struct own {            /* of a copy */
    uint64_t ack_token; /* highest that was acknowledged */
    uint64_t renewed;   /* step at which a later lease came: acks before are void */
    uint32_t acks;      /* since then, that were not refused as far as is known */
    uint32_t rejects;   /* that may have been accepted */
    uint32_t n;         /* highest count of deliveries */
    uint32_t ack_n;
    bool came, was_consumed;
};

struct state {
    struct own *copies;
    uint32_t copies_room;
    uint64_t acknowledged, came, consumed, dead, recovered, lost, excused, groups_drained,
        groups_not_drained;
};

static struct own *own_of(struct state *state, const struct check_copy *copy) {
    state->copies = check_grow_to(state->copies, copy->number, &state->copies_room,
                                  sizeof *state->copies);
    return &state->copies[copy->number];
}

/* --- nothing from nowhere --------------------------------------------------------- */

static bool belongs(const struct check_step *step) {
    const struct check_ledger *ledger = step->ledger;
    uint32_t dead_of = step->stream->dead_of;
    const struct check_group *home =
        dead_of == CHECK_NONE ? step->group : &ledger->groups[dead_of];
    return check_ledger_may_want(ledger, home, step->message);
}

static const char *what_is_strange(const struct check_step *step) {
    const struct check_record *record = step->record;
    const struct check_message *message = step->message;
    const struct check_stream *stream = step->stream;
    if (!belongs(step)) {
        return "does not belong there";
    }
    if (record->digest != 0 && message->digest != 0 &&
        record->digest != message->digest) {
        return "is not what was sent";
    }
    if (record->key != 0 && record->key != message->key) {
        return "has another key";
    }
    if (message->stream == stream->number && message->known != 0 &&
        message->known < stream->delete_called &&
        stream->delete_done < step->reader->opened) {
        return "was deleted with its stream before this reader was opened";
    }
    return NULL;
}

static void comes(struct state *state, const struct check_step *step) {
    const struct check_record *record = step->record;
    if (step->message == NULL) {
        check_report(step->ledger, name, NULL,
                     "p%u:%u came to %s and was never published", record->publisher,
                     record->message,
                     check_group_text(step->ledger, step->group->number));
        return;
    }
    const char *strange = what_is_strange(step);
    if (strange != NULL) {
        check_report(step->ledger, name, step->message, "came to %s and %s",
                     check_group_text(step->ledger, step->group->number), strange);
    }
    struct own *own = own_of(state, step->copy);
    state->came += record->kind == CHECK_DELIVER;
    state->dead += !own->came && step->stream->dead_of != CHECK_NONE;
    own->came = true;
    own->n = record->deliveries > own->n ? record->deliveries : own->n;
    bool is_newer = record->token != 0 ? record->token > own->ack_token
                                       : record->deliveries > own->ack_n;
    if (is_newer && own->acks > 0) {
        own->acks = 0;
        own->renewed = step->number;
    }
}

/* --- nothing is lost -------------------------------------------------------------- */

static void settled(struct state *state, const struct check_step *step) {
    const struct check_record *record = step->record;
    if (step->copy == NULL) {
        return; /* reported where it came from nowhere */
    }
    struct own *own = own_of(state, step->copy);
    bool is_call = record->phase == CHECK_CALL;
    if (record->kind == CHECK_REJECT) {
        own->rejects += is_call;
        own->rejects -= !is_call && step->outcome == CHECK_OUTCOME_REFUSED;
        return;
    }
    if (is_call) {
        own->acks++;
        own->ack_token = record->token > own->ack_token ? record->token : own->ack_token;
        own->ack_n = own->n;
        return;
    }
    own->acks -= step->outcome == CHECK_OUTCOME_REFUSED && step->called > own->renewed;
    if (step->outcome == CHECK_OUTCOME_OK) {
        state->consumed += !own->was_consumed;
        own->was_consumed = true;
    }
}

static const struct own *find_own(const struct state *state,
                                  const struct check_ledger *ledger,
                                  const struct check_message *message, uint32_t group) {
    const struct check_copy *copy = check_ledger_copy(ledger, message, group);
    return copy == NULL || copy->number >= state->copies_room
               ? NULL
               : &state->copies[copy->number];
}

/* Has it come as a dead letter, or may it be one that nobody looks for? */
static bool is_dead(const struct state *state, const struct check_ledger *ledger,
                    const struct check_message *message, const struct check_group *group,
                    const struct own *own) {
    const struct check_group *dead = NULL;
    if (group->dead_stream != CHECK_NONE) {
        dead = &ledger->groups[ledger->streams[group->dead_stream].first_group];
        const struct own *letter = find_own(state, ledger, message, dead->number);
        if (letter != NULL && letter->came) {
            return true;
        }
    }
    uint32_t most = ledger->streams[group->stream].deliveries_max;
    bool may_be = own != NULL && (own->rejects > 0 || (most > 0 && own->n >= most));
    return may_be && (dead == NULL || !dead->is_read);
}

/* Must be consumed in this group, and is not. */
static bool is_missing(const struct state *state, const struct check_ledger *ledger,
                       const struct check_message *message,
                       const struct check_group *group) {
    const struct own *own = find_own(state, ledger, message, group->number);
    bool has_come = own != NULL && own->came;
    if (has_come ? group->is_removed : !check_ledger_wants(ledger, group, message)) {
        return false;
    }
    return (own == NULL || (own->acks == 0 && !own->was_consumed)) &&
           !is_dead(state, ledger, message, group, own);
}

/* Calls `each` for every message that must be somewhere, in every group of its stream. */
typedef void (*each_fn)(const struct state *state, const struct check_ledger *ledger,
                        const struct check_message *message,
                        const struct check_group *group, void *user);

static void each_present(const struct state *state, const struct check_ledger *ledger,
                         each_fn each, void *user) {
    for (uint32_t i = 0; i < ledger->messages_count; i++) {
        const struct check_message *message = &ledger->messages[i];
        if (message->known == 0 || check_ledger_may_be_removed(ledger, message)) {
            continue;
        }
        for (uint32_t g = ledger->streams[message->stream].first_group; g != CHECK_NONE;
             g = ledger->groups[g].next) {
            each(state, ledger, message, &ledger->groups[g], user);
        }
    }
    /* Dead letters that came must be settled as well. */
    for (uint32_t i = 0; i < ledger->copies_count && i < state->copies_room; i++) {
        const struct check_group *group = &ledger->groups[ledger->copies[i].group];
        const struct check_stream *stream = &ledger->streams[group->stream];
        if (state->copies[i].came && stream->dead_of != CHECK_NONE &&
            stream->removals_open == 0 && stream->removed_until == 0) {
            each(state, ledger, &ledger->messages[ledger->copies[i].message], group,
                 user);
        }
    }
}

static void count_missing(const struct state *state, const struct check_ledger *ledger,
                          const struct check_message *message,
                          const struct check_group *group, void *user) {
    *(uint64_t *)user += is_missing(state, ledger, message, group);
}

static uint64_t missing(const void *state, const struct check_ledger *ledger) {
    uint64_t count = 0;
    each_present(state, ledger, count_missing, &count);
    return count;
}

static void report_missing(const struct state *state, const struct check_ledger *ledger,
                           const struct check_message *message,
                           const struct check_group *group, void *user) {
    struct state *counts = user;
    if (group->is_drained && is_missing(state, ledger, message, group)) {
        counts->lost++;
        check_report((struct check_ledger *)(uintptr_t)ledger, name, message,
                     "%s and was never consumed in %s: lost",
                     message->outcome == CHECK_OUTCOME_OK ? "was acknowledged"
                                                          : "came to somebody",
                     check_group_text(ledger, group->number));
    }
}

/* Its messages are those of its subscriptions; nobody reads the topic itself. */
static bool is_topic_itself(const struct check_ledger *ledger,
                            const struct check_group *group) {
    bool has_subscriptions = false;
    for (uint32_t g = ledger->streams[group->stream].first_group; g != CHECK_NONE;
         g = ledger->groups[g].next) {
        has_subscriptions = has_subscriptions || ledger->groups[g].subscription != 0;
    }
    return group->subscription == 0 && has_subscriptions;
}

static void finish(void *own, struct check_ledger *ledger) {
    struct state *state = own;
    for (uint32_t g = 0; g < ledger->groups_count; g++) {
        const struct check_group *group = &ledger->groups[g];
        bool is_expected = group->wants_from != UINT64_MAX && !group->is_removed &&
                           !is_topic_itself(ledger, group) &&
                           ledger->streams[group->stream].dead_of == CHECK_NONE;
        state->groups_drained += group->is_drained;
        state->groups_not_drained += is_expected && !group->is_drained;
    }
    for (uint32_t i = 0; i < ledger->messages_count; i++) {
        const struct check_message *message = &ledger->messages[i];
        state->recovered += message->known != 0 && message->outcome != CHECK_OUTCOME_OK;
        state->excused +=
            message->known != 0 && check_ledger_may_be_removed(ledger, message);
    }
    each_present(state, ledger, report_missing, state);
}

static void feed(void *own, const struct check_step *step) {
    struct state *state = own;
    const struct check_record *record = step->record;
    if (check_step_comes(step)) {
        comes(state, step);
    } else if (record->kind == CHECK_ACK || record->kind == CHECK_REJECT) {
        settled(state, step);
    } else if (check_step_is(step, CHECK_PUBLISH, CHECK_DONE)) {
        state->acknowledged += step->outcome == CHECK_OUTCOME_OK;
    }
}

static void free_own(void *own) { check_free(((struct state *)own)->copies); }

#define COUNTER(what)                                                                    \
    { #what, offsetof(struct state, what) }
static const struct check_counter counters[] = {
    COUNTER(acknowledged),
    {"delivered", offsetof(struct state, came)},
    COUNTER(consumed),
    {"dead letters", offsetof(struct state, dead)},
    {"recovered: came without an acknowledgement", offsetof(struct state, recovered)},
    {"excused by purge or delete", offsetof(struct state, excused)},
    COUNTER(lost),
    {"groups drained", offsetof(struct state, groups_drained)},
    {"groups not drained", offsetof(struct state, groups_not_drained)},
    {NULL, 0},
};

const struct check_checker check_total_queue = {
    name, sizeof(struct state), feed, finish, free_own, counters, missing};
