/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linearizability of names. Each stream, and each subscription of a topic that is never
 * deleted, is an object that is there or not. Create and delete change it; describe,
 * purge, publish, opening a reader, and subscribing see it. There must be one order of
 * all of them that respects who was done before whom, in which each gets the answer that
 * it got (Herlihy and Wing, 1990). Nothing is there at the beginning of a history.
 *
 * The search is that of Wing and Gong (1993), in the online form of Lowe (Testing for
 * linearizability, 2017: just-in-time linearization) as in Knossos: all configurations
 * that explain the history so far, kept small by what is peculiar to this object:
 *
 * - Calls that only see need no place in a configuration. Of each configuration it is
 *   known when the object was last there and last not there; a call that saw it there
 *   is explained if that was after it was called.
 * - A call whose outcome is unknown may happen at any later time, or never. Such calls
 *   of one kind are alike: they are counted.
 * - A configuration explains all that another explains if it differs only in a later last
 *   change or in more of such calls left: the other is dropped.
 */
#include "check/ledger.h"
#include "check/memory.h"

#include <mom/error.h>

static const char name[] = "creates and deletes";

enum {
    OPEN_MAX =
        16, /* creates and deletes of a name at a time; the oldest becomes unknown */
    CONFIGURATIONS_MAX = 4096,
    LATE_MAX = 255,
};

struct configuration {
    uint64_t left;                      /* step at which it last was as it is not now */
    uint16_t is_made;                   /* by place: has happened */
    uint16_t changed;                   /* by place: and changed something */
    uint8_t late_creates, late_deletes; /* unknown ones that may still happen */
    bool exists;
};

struct place {
    uint64_t step; /* of the call; 0: free */
    bool creates;
};

struct object {
    struct place places[OPEN_MAX];
    uint32_t open_count; /* of places */
    struct configuration *list, *pending;
    uint32_t count, room, pending_count, pending_room;
    bool has_late; /* some configuration has calls that may still happen */
    bool is_off;   /* judged no more */
};

struct state {
    struct check_table numbers; /* (stream, subscription) -> object + 1 */
    struct object *objects;
    uint32_t objects_count, objects_room;
    bool *is_deleted; /* by stream: its subscriptions are judged no more */
    uint32_t is_deleted_room;
    uint64_t changes, seen, given_up, most;
};

/* --- configurations --------------------------------------------------------------- */

/* a explains whatever b explains. */
static bool covers(const struct configuration *a, const struct configuration *b) {
    return a->exists == b->exists && a->is_made == b->is_made &&
           a->changed == b->changed && a->left >= b->left &&
           a->late_creates >= b->late_creates && a->late_deletes >= b->late_deletes;
}

/* false: it is covered by one that is there. */
static bool add(struct object *object, struct configuration added) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < object->count; i++) {
        if (covers(&object->list[i], &added)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < object->count; i++) {
        if (!covers(&added, &object->list[i])) {
            object->list[kept++] = object->list[i];
        }
    }
    object->list = check_grow(object->list, kept, &object->room, sizeof *object->list);
    object->list[kept] = added;
    object->count = kept + 1;
    return true;
}

static void push(struct object *object, struct configuration configuration) {
    object->pending = check_grow(object->pending, object->pending_count,
                                 &object->pending_room, sizeof *object->pending);
    object->pending[object->pending_count++] = configuration;
}

/* Empties the list into `pending`. */
static void push_all(struct object *object) {
    for (uint32_t i = 0; i < object->count; i++) {
        push(object, object->list[i]);
    }
    object->count = 0;
}

static struct configuration changed(struct configuration from, uint64_t now) {
    from.exists = !from.exists;
    from.left = now;
    return from;
}

/* What a configuration can become by one call that may happen now. */
static void push_successors(struct object *object, struct configuration from,
                            uint64_t now) {
    for (int p = 0; p < OPEN_MAX && object->open_count > 0; p++) {
        uint16_t bit = (uint16_t)(1u << p);
        if (object->places[p].step == 0 || (from.is_made & bit) != 0) {
            continue;
        }
        struct configuration made = from;
        if (from.exists != object->places[p].creates) {
            made = changed(from, now);
            made.changed |= bit;
        }
        made.is_made |= bit;
        push(object, made);
    }
    /* A late call that changes nothing explains nothing. */
    if (from.exists ? from.late_deletes > 0 : from.late_creates > 0) {
        struct configuration made = changed(from, now);
        made.late_deletes = (uint8_t)(made.late_deletes - from.exists);
        made.late_creates = (uint8_t)(made.late_creates - !from.exists);
        push(object, made);
    }
}

/* Adds everything that may have become of the configurations until now. Each step makes
 * one call more, so it ends. */
static void close_over(struct state *state, struct object *object, uint64_t now) {
    if (object->open_count == 0 && !object->has_late) {
        return;
    }
    push_all(object);
    while (object->pending_count > 0) {
        struct configuration next = object->pending[--object->pending_count];
        if (add(object, next)) {
            push_successors(object, next, now);
        }
        if (object->count > CONFIGURATIONS_MAX) {
            state->given_up++;
            object->is_off = true;
            return;
        }
    }
    state->most = object->count > state->most ? object->count : state->most;
}

/* --- creates and deletes ---------------------------------------------------------- */

enum fate { FATE_CHANGED, FATE_UNCHANGED, FATE_MADE, FATE_NOT_MADE, FATE_UNKNOWN };

static enum fate fate_of(const struct check_step *step) {
    uint8_t kind = step->record->kind;
    int16_t result = step->record->result;
    bool creates = kind == CHECK_CREATE || kind == CHECK_SUBSCRIBE;
    if (result == MOM_OK) {
        return creates && step->about->if_missing ? FATE_MADE : FATE_CHANGED;
    }
    if (result == MOM_UNKNOWN_OUTCOME) {
        return FATE_UNKNOWN;
    }
    bool is_unchanged = creates ? result == MOM_EXISTS || result == MOM_CONFLICT
                        : kind == CHECK_DELETE ? result == MOM_NOT_FOUND
                                               : result == MOM_NOT_SUBSCRIBED;
    return is_unchanged ? FATE_UNCHANGED : FATE_NOT_MADE;
}

/* Takes a call out of its place; keeps what agrees with its fate. */
static void end_place(struct object *object, int place, enum fate fate) {
    uint16_t bit = (uint16_t)(1u << place);
    bool creates = object->places[place].creates;
    push_all(object);
    while (object->pending_count > 0) {
        struct configuration kept = object->pending[--object->pending_count];
        bool is_made = (kept.is_made & bit) != 0;
        bool has_changed = (kept.changed & bit) != 0;
        bool agrees = fate == FATE_UNKNOWN     ? true
                      : fate == FATE_CHANGED   ? is_made && has_changed
                      : fate == FATE_UNCHANGED ? is_made && !has_changed
                                               : is_made == (fate == FATE_MADE);
        if (!agrees) {
            continue;
        }
        if (fate == FATE_UNKNOWN && !is_made) {
            object->has_late = true;
            kept.late_creates += creates && kept.late_creates < LATE_MAX;
            kept.late_deletes += !creates && kept.late_deletes < LATE_MAX;
        }
        kept.is_made &= (uint16_t)~bit;
        kept.changed &= (uint16_t)~bit;
        (void)add(object, kept);
    }
    object->places[place].step = 0;
    object->open_count--;
}

static void begin(struct object *object, const struct check_step *step) {
    int place = 0;
    int oldest = 0;
    while (place < OPEN_MAX && object->places[place].step != 0) {
        oldest =
            object->places[place].step < object->places[oldest].step ? place : oldest;
        place++;
    }
    if (place == OPEN_MAX) {
        end_place(object, oldest, FATE_UNKNOWN);
        place = oldest;
    }
    uint8_t kind = step->record->kind;
    object->places[place] = (struct place){
        .step = step->number, .creates = kind == CHECK_CREATE || kind == CHECK_SUBSCRIBE};
    object->open_count++;
}

static void report(struct object *object, const struct check_step *step) {
    const char *result = check_result_name(step->record->result);
    check_report(step->ledger, name, NULL,
                 "%s: no order of its creates and deletes explains that %s answers %s",
                 check_group_text(step->ledger, step->group->number),
                 check_kind_name((enum check_kind)step->record->kind), result);
    object->is_off = true; /* everything after it would be wrong as well */
}

static void end(struct state *state, struct object *object,
                const struct check_step *step) {
    int place = 0;
    while (place < OPEN_MAX && object->places[place].step != step->called) {
        place++;
    }
    if (place == OPEN_MAX) {
        return; /* became unknown before */
    }
    close_over(state, object, step->number);
    if (object->is_off) {
        return;
    }
    state->changes++;
    end_place(object, place, fate_of(step));
    if (object->count == 0) {
        report(object, step);
    }
}

/* --- calls that see --------------------------------------------------------------- */

static void sees(struct state *state, struct object *object,
                 const struct check_step *step, bool exists, uint64_t since) {
    close_over(state, object, step->number);
    if (object->is_off) {
        return;
    }
    state->seen++;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < object->count; i++) {
        if (object->list[i].exists == exists || object->list[i].left > since) {
            object->list[kept++] = object->list[i];
        }
    }
    object->count = kept;
    if (kept == 0) {
        report(object, step);
    }
}

/* What an answer says of the stream; false: nothing. */
static bool says_of_stream(const struct check_step *step, bool *exists) {
    int16_t result = step->record->result;
    uint8_t kind = step->record->kind;
    *exists = result != MOM_NOT_FOUND;
    return result == MOM_OK || result == MOM_NOT_FOUND || result == MOM_NOT_SUBSCRIBED ||
           (kind == CHECK_SUBSCRIBE && (result == MOM_EXISTS || result == MOM_CONFLICT));
}

/* --- records ---------------------------------------------------------------------- */

static struct object *object_of(struct state *state, const struct check_step *step,
                                uint32_t subscription) {
    uint64_t *found =
        check_table_put(&state->numbers, step->stream->number, subscription);
    if (*found == 0) {
        state->objects = check_grow(state->objects, state->objects_count,
                                    &state->objects_room, sizeof *state->objects);
        *found = ++state->objects_count;
        (void)add(&state->objects[*found - 1], (struct configuration){.exists = false});
    }
    return &state->objects[*found - 1];
}

static void feed_subscription(struct state *state, const struct check_step *step,
                              bool changes) {
    struct object *object = object_of(state, step, step->group->subscription);
    bool is_done = step->record->phase == CHECK_DONE;
    int16_t result = step->record->result;
    bool is_deleted = step->stream->number < state->is_deleted_room &&
                      state->is_deleted[step->stream->number];
    if (object->is_off || is_deleted) {
        return;
    }
    if (changes && !is_done) {
        begin(object, step);
    } else if (changes) {
        end(state, object, step);
    } else if (is_done && (result == MOM_OK || result == MOM_NOT_SUBSCRIBED)) {
        sees(state, object, step, result == MOM_OK, step->called);
    }
}

static void feed_stream(struct state *state, const struct check_step *step,
                        bool changes) {
    struct object *object = object_of(state, step, 0);
    bool exists;
    if (object->is_off) {
        return;
    }
    if (changes) {
        if (step->record->phase == CHECK_CALL) {
            begin(object, step);
        } else {
            end(state, object, step);
        }
    } else if (step->record->kind == CHECK_END) {
        if (step->record->result == MOM_NOT_FOUND) {
            sees(state, object, step, false, step->reader->opened);
        }
    } else if (step->record->phase == CHECK_DONE && says_of_stream(step, &exists)) {
        sees(state, object, step, exists, step->called);
    }
}

static void feed(void *own, const struct check_step *step) {
    struct state *state = own;
    bool is_system = step->stream == NULL ||
                     *check_name_text(step->ledger->names, step->stream->name) == '$';
    bool changes_stream = false;
    bool changes_subscription = false;
    switch ((enum check_kind)step->record->kind) {
    case CHECK_DELETE:
        state->is_deleted = check_grow_to(state->is_deleted, step->stream->number,
                                          &state->is_deleted_room, sizeof(bool));
        state->is_deleted[step->stream->number] = true;
        changes_stream = true;
        break;
    case CHECK_CREATE:
        changes_stream = true;
        break;
    case CHECK_SUBSCRIBE:
    case CHECK_UNSUBSCRIBE:
        changes_subscription = true;
        break;
    case CHECK_DESCRIBE:
    case CHECK_PURGE:
    case CHECK_PUBLISH:
    case CHECK_OPEN:
    case CHECK_END:
        break;
    default:
        return;
    }
    if (is_system) {
        return; /* the library makes these by itself */
    }
    feed_stream(state, step, changes_stream);
    if (step->group->subscription != 0 && step->record->kind != CHECK_END) {
        feed_subscription(state, step, changes_subscription);
    }
}

static void free_own(void *own) {
    struct state *state = own;
    for (uint32_t i = 0; i < state->objects_count; i++) {
        check_free(state->objects[i].list);
        check_free(state->objects[i].pending);
    }
    check_free(state->objects);
    check_free(state->is_deleted);
    check_table_free(&state->numbers);
}

static const struct check_counter counters[] = {
    {"creates and deletes", offsetof(struct state, changes)},
    {"answers that saw", offsetof(struct state, seen)},
    {"most configurations of a name", offsetof(struct state, most)},
    {"names given up", offsetof(struct state, given_up)},
    {NULL, 0},
};

const struct check_checker check_creates = {
    name, sizeof(struct state), feed, NULL, free_own, counters, NULL};
