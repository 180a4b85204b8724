/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One queue that is created, filled, emptied, purged and deleted over and over, against
 * an exact model.
 *
 * The driver makes one call at a time, each from a node drawn anew, and waits for its
 * outcome; nobody else writes to the queue. So every outcome is known beforehand: whether
 * the queue is there, which sequence a publish gets, what a describe must say. When an
 * outcome stays unknown (its node died) the driver goes on with a queue of another name.
 *
 * Besides, observers ask from everywhere, whatever the driver does: an answer must not be
 * older than what was known before the question. Two readers consume and reject, one
 * reads the dead letters: each message ends in one place. Readers of a deleted queue must
 * be told.
 */
#include "base/mem.h"
#include "core/call.h"
#include "core/entry.h"
#include "core/info.h"
#include "world.h"

enum {
    READERS = 3, /* the last one reads the dead letters */
    HELD_MAX = 256,
    CALLS_MAX = 256,
    OBSERVERS_MAX = 8, /* describes under way */
    BODY_BYTES = 12,
};

enum side_task { SIDE_DRIVER, SIDE_READER, SIDE_OBSERVER };
enum what {
    DO_CREATE,
    DO_DELETE,
    DO_PUBLISH,
    DO_PURGE,
    DO_DESCRIBE,
    OBSERVE,
    OPEN,
    FLUSH
};
static const char *const whats[] = {"create",   "delete",  "publish", "purge",
                                    "describe", "observe", "open",    "flush"};
enum outcome { OUTCOME_OPEN, OUTCOME_ACKED, OUTCOME_REFUSED, OUTCOME_UNKNOWN };
enum reader_state { READER_CLOSED, READER_OPENING, READER_OPEN };

struct message {
    uint32_t queue, generation;
    enum outcome outcome;
    bool is_excused;   /* purged, deleted, or its queue was given up */
    bool may_be_gone;  /* acknowledged by a reader, with an outcome that nobody knows */
    uint64_t token;    /* highest seen, in either queue */
    uint64_t dead;     /* first token with which it came as a dead letter */
    uint64_t consumed; /* token with which it was consumed; 0: not */
};

struct held {
    struct momi_token token;
    uint64_t delivery;
    uint32_t message;
};

struct reader {
    uint32_t node;
    uint32_t queue, generation; /* generation 0: not certain which */
    uint64_t handle;
    enum reader_state state;
    bool must_end; /* its queue was deleted */
    struct held held[HELD_MAX];
    uint32_t held_count;
};

struct call {
    uint64_t id; /* 0: free */
    enum what what;
    uint32_t node;
    uint32_t who; /* reader */
    uint32_t queue, generation;
    uint64_t at_least;    /* OBSERVE: the next sequence must not be lower */
    struct held *settled; /* FLUSH: owned */
    uint32_t count;
};

struct sim_side {
    bool is_on, is_calm;
    bool ends_deleted;  /* the last act of the driver is to delete the queue */
    uint64_t delete_us; /* when it does: all is quiet by then */
    uint64_t told_us;   /* until then its readers are told; 0: it is not deleted yet */
    uint64_t id_next;
    uint32_t queue; /* the number in its name */
    uint32_t generation;
    bool exists;
    uint64_t sequence_next; /* what its next message gets */
    struct momi_stream_options options;
    struct call *driver;   /* its call, NULL: none */
    uint32_t first, count; /* messages of the publish under way */
    struct message *messages;
    uint32_t messages_count, messages_room;
    struct reader readers[READERS];
    struct call calls[CALLS_MAX];
    uint64_t pace_us; /* of the observers */
};

/* --- small things ----------------------------------------------------------------- */

static uint64_t draw(struct sim_world *world, uint64_t low, uint64_t high) {
    return sim_draw(&world->rng_side, low, high);
}

static bool chance(struct sim_world *world, uint32_t percent) {
    return momi_rng_chance(&world->rng_side, percent * 10000);
}

static bool may_act(const struct sim_world *world, uint32_t node) {
    return sim_node_is_up(world, node) && !world->nodes[node].is_paused &&
           !world->nodes[node].is_closing;
}

static uint32_t draw_node(struct sim_world *world) {
    return (uint32_t)draw(world, 0, world->nodes_count - 1);
}

static void later(struct sim_world *world, uint64_t delay_us, enum side_task what,
                  uint32_t who) {
    sim_task_add(world, delay_us, TASK_PROGRAM, SIM_SIDE_FIRST + what, who, 0);
}

struct name {
    char text[32];
    size_t size;
};

static struct name name_of(uint32_t queue, bool is_dead) {
    static const char prefix[] = "$dead/queue/";
    struct name name = {.size = is_dead ? sizeof prefix - 1 : 0};
    memcpy(name.text, prefix, name.size);
    name.text[name.size++] = 'x';
    char digits[10];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + queue % 10);
        queue /= 10;
    } while (queue > 0);
    while (count > 0) {
        name.text[name.size++] = digits[--count];
    }
    return name;
}

static void draw_options(struct sim_world *world) {
    world->side->options = (struct momi_stream_options){
        .lease_us = draw(world, 1, 3) * MOMI_S,
        .deliveries_max = (uint32_t)draw(world, 1, 4),
        .messages_max = chance(world, 60) ? draw(world, 4, 40) : 0};
}

struct sim_side *sim_side_new(struct sim_world *world) {
    struct sim_side *side = momi_must_calloc(1, sizeof *side);
    world->side = side;
    side->is_on = world->options.side;
    side->id_next = SIM_SIDE_FIRST;
    side->sequence_next = 1;
    if (!side->is_on) {
        return side;
    }
    draw_options(world);
    side->ends_deleted = chance(world, 40);
    side->pace_us = chance(world, 50) ? draw(world, 5, 40) * MOMI_MS
                                      : draw(world, 100, 500) * MOMI_MS;
    later(world, draw(world, 0, MOMI_S), SIDE_DRIVER, 0);
    later(world, draw(world, 0, MOMI_S), SIDE_OBSERVER, 0);
    for (uint32_t i = 0; i < READERS; i++) {
        side->readers[i].node = draw_node(world);
        later(world, draw(world, 0, 3 * MOMI_S), SIDE_READER, i);
    }
    return side;
}

void sim_side_free(struct sim_side *side) {
    for (int i = 0; side != NULL && i < CALLS_MAX; i++) {
        momi_free(side->calls[i].settled);
    }
    momi_free(side == NULL ? NULL : side->messages);
    momi_free(side);
}

/* --- calls ------------------------------------------------------------------------ */

static struct call *new_call(struct sim_world *world, enum what what, uint32_t node) {
    struct sim_side *side = world->side;
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        struct call *call = &side->calls[i];
        if (call->id == 0) {
            *call = (struct call){.id = ++side->id_next,
                                  .what = what,
                                  .node = node,
                                  .queue = side->queue,
                                  .generation = side->generation};
            return call;
        }
    }
    return NULL;
}

static void make(struct sim_world *world, const struct call *call,
                 struct momi_call *request) {
    request->id = call->id;
    world->totals.commands++;
    if (world->tells_frames) {
        sim_say(world, "side call %llu (%s) from n%u, consumer %llu",
                (unsigned long long)(call->id - SIM_SIDE_FIRST), whats[call->what],
                call->node, (unsigned long long)request->consumer);
    }
    struct momi_event event = {.type = EV_CALL, .call = request};
    sim_node_event(world, call->node, &event);
}

/* --- the driver ------------------------------------------------------------------- */

/* The outcome of the last call stays unknown: nothing is certain about this queue. */
static void give_up(struct sim_world *world) {
    struct sim_side *side = world->side;
    for (uint32_t i = 0; i < side->messages_count; i++) {
        side->messages[i].is_excused = true;
    }
    side->queue++;
    side->generation = 0;
    side->exists = false;
    side->sequence_next = 1;
    draw_options(world);
}

static void put_record(struct sim_world *world, struct momi_bytes *out,
                       uint32_t message) {
    uint8_t body[200] = {0};
    size_t size = BODY_BYTES + draw(world, 0, 150);
    momi_store_le32(body, message);
    momi_store_le32(body + 4, 0x51de51de);
    momi_store_le32(body + 8, ~(message * 31));
    struct momi_record record = {.body = momi_slice(body, size)};
    size_t record_size = momi_record_size(0, 0, size);
    if (momi_bytes_reserve(out, record_size)) {
        momi_record_write(out->data + out->size, &record);
        out->size += record_size;
    }
}

static void add_messages(struct sim_world *world, struct momi_bytes *records) {
    struct sim_side *side = world->side;
    side->first = side->messages_count;
    side->count = (uint32_t)draw(world, 1, 4);
    for (uint32_t i = 0; i < side->count; i++) {
        if (side->messages_count == side->messages_room) {
            side->messages_room =
                side->messages_room == 0 ? 256 : side->messages_room * 2;
            side->messages = momi_must_realloc(
                side->messages, side->messages_room * sizeof *side->messages);
        }
        side->messages[side->messages_count] =
            (struct message){.queue = side->queue, .generation = side->generation};
        put_record(world, records, side->messages_count++);
    }
}

static enum what draw_what(struct sim_world *world) {
    uint64_t percent = draw(world, 0, 99);
    if (world->side->is_calm) {
        return DO_DELETE;
    }
    if (!world->side->exists) {
        return percent < 70   ? DO_CREATE
               : percent < 80 ? DO_PUBLISH
               : percent < 85 ? DO_DELETE
                              : DO_DESCRIBE;
    }
    return percent < 60   ? DO_PUBLISH
           : percent < 90 ? DO_DESCRIBE
           : percent < 95 ? DO_PURGE
           : percent < 98 ? DO_CREATE
                          : DO_DELETE;
}

static void drive(struct sim_world *world) {
    static const enum momi_call_type types[] = {
        [DO_CREATE] = CALL_STREAM_CREATE, [DO_DELETE] = CALL_STREAM_DELETE,
        [DO_PUBLISH] = CALL_PUBLISH,      [DO_PURGE] = CALL_STREAM_PURGE,
        [DO_DESCRIBE] = CALL_DESCRIBE,
    };
    struct sim_side *side = world->side;
    if (side->is_calm && world->now_us < side->delete_us) {
        later(world, side->delete_us - world->now_us, SIDE_DRIVER, 0);
        return;
    }
    uint32_t node = draw_node(world);
    struct call *call =
        may_act(world, node) ? new_call(world, draw_what(world), node) : NULL;
    if (call == NULL) {
        later(world, draw(world, 1, 100) * MOMI_MS, SIDE_DRIVER, 0);
        return;
    }
    side->driver = call;
    struct name name = name_of(side->queue, false);
    struct momi_bytes records = {0};
    struct momi_call request = {.type = types[call->what],
                                .deadline_us = MOMI_NEVER,
                                .kind = MOMI_KIND_QUEUE,
                                .name = momi_slice(name.text, name.size)};
    if (call->what == DO_CREATE) {
        request.options = side->options;
    }
    if (call->what == DO_PUBLISH) {
        add_messages(world, &records);
        request.records_count = side->count;
        request.records = momi_bytes_slice(&records);
    }
    if (call->what == DO_DELETE) {
        for (uint32_t i = 0; i < READERS; i++) {
            if (side->readers[i].state == READER_OPENING) {
                side->readers[i].generation = 0;
            }
        }
    }
    make(world, call, &request);
    momi_bytes_free(&records);
}

static void excuse_acked(struct sim_side *side) {
    for (uint32_t i = 0; i < side->messages_count; i++) {
        side->messages[i].is_excused = true;
    }
}

static void must(struct sim_world *world, bool is_right, const char *what, int error) {
    if (!is_right) {
        sim_fail(world,
                 "the side queue x%u (generation %u, %s, next sequence %llu): %s "
                 "answers %s",
                 world->side->queue, world->side->generation,
                 world->side->exists ? "is there" : "is not there",
                 (unsigned long long)world->side->sequence_next, what,
                 mom_err_name(error));
    }
}

static void created(struct sim_world *world, int error) {
    struct sim_side *side = world->side;
    must(world, error == (side->exists ? MOM_EXISTS : MOM_OK), "create", error);
    if (error == MOM_OK) {
        side->exists = true;
        side->generation++;
        side->sequence_next = 1;
    }
}

static void deleted(struct sim_world *world, int error) {
    struct sim_side *side = world->side;
    must(world, error == (side->exists ? MOM_OK : MOM_NOT_FOUND), "delete", error);
    if (error != MOM_OK) {
        return;
    }
    for (uint32_t i = 0; i + 1 < READERS; i++) {
        struct reader *reader = &side->readers[i];
        reader->must_end = reader->must_end || (reader->state == READER_OPEN &&
                                                reader->queue == side->queue &&
                                                reader->generation == side->generation);
    }
    excuse_acked(side);
    side->exists = false;
    if (side->is_calm) {
        /* Before the library asks by itself. */
        side->told_us = world->now_us + 300 * MOMI_MS + 6 * world->options.delay_max_us;
    }
}

static void published(struct sim_world *world, const struct momi_completion *done) {
    struct sim_side *side = world->side;
    int error = done->error;
    bool is_right = side->exists ? error == MOM_OK || (error == MOM_FULL &&
                                                       side->options.messages_max > 0)
                                 : error == MOM_NOT_FOUND;
    is_right = is_right || (error == MOM_FULL && world->options.space_us > 0);
    must(world, is_right, "publish", error);
    if (error == MOM_OK && done->sequence != side->sequence_next) {
        sim_fail(world, "the side queue x%u gives sequence %llu, its next is %llu",
                 side->queue, (unsigned long long)done->sequence,
                 (unsigned long long)side->sequence_next);
    }
    for (uint32_t i = 0; i < side->count; i++) {
        struct message *message = &side->messages[side->first + i];
        message->outcome = error == MOM_OK ? OUTCOME_ACKED : OUTCOME_REFUSED;
        if (error != MOM_OK && message->token != 0) {
            sim_fail(world, "side message %u was delivered and refused (%s)",
                     side->first + i, mom_err_name(error));
        }
    }
    side->sequence_next += error == MOM_OK ? side->count : 0;
}

/* What the answer says of the next sequence; 0: it says nothing. */
static uint64_t told_sequence(const struct momi_completion *done) {
    struct momi_arena arena = {0};
    struct momi_info_list list;
    uint64_t sequence = 0;
    if (momi_info_decode(done->body, &arena, &list) == MOM_OK &&
        list.streams_count == 1) {
        sequence = list.streams[0].next_sequence;
    }
    momi_arena_free(&arena);
    return sequence;
}

static void described(struct sim_world *world, const struct momi_completion *done) {
    struct sim_side *side = world->side;
    must(world, done->error == (side->exists ? MOM_OK : MOM_NOT_FOUND), "describe",
         done->error);
    if (done->error == MOM_OK && told_sequence(done) != side->sequence_next) {
        sim_fail(world,
                 "the side queue x%u is described with next sequence %llu, not %llu",
                 side->queue, (unsigned long long)told_sequence(done),
                 (unsigned long long)side->sequence_next);
    }
}

static bool goes_on(const struct sim_side *side) {
    return side->is_on && (!side->is_calm || (side->ends_deleted && side->exists));
}

static void driven(struct sim_world *world, const struct call *call,
                   const struct momi_completion *done) {
    struct sim_side *side = world->side;
    side->driver = NULL;
    if (done->error == MOM_UNKNOWN_OUTCOME || done->error == MOM_CLOSED) {
        if (call->what != DO_DESCRIBE) {
            give_up(world);
        }
    } else {
        switch (call->what) {
        case DO_CREATE:
            created(world, done->error);
            break;
        case DO_DELETE:
            deleted(world, done->error);
            break;
        case DO_PUBLISH:
            published(world, done);
            break;
        case DO_PURGE:
            must(world, done->error == (side->exists ? MOM_OK : MOM_NOT_FOUND), "purge",
                 done->error);
            excuse_acked(side);
            break;
        default:
            described(world, done);
            break;
        }
    }
    if (goes_on(side)) {
        later(world, draw(world, 1, chance(world, 50) ? 10 : 200) * MOMI_MS, SIDE_DRIVER,
              0);
    }
}

/* --- observers -------------------------------------------------------------------- */

static void observe(struct sim_world *world) {
    struct sim_side *side = world->side;
    uint32_t under_way = 0;
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        under_way += side->calls[i].id != 0 && side->calls[i].what == OBSERVE;
    }
    uint32_t node = draw_node(world);
    bool is_wanted = side->exists && under_way < OBSERVERS_MAX && may_act(world, node);
    struct call *call = is_wanted ? new_call(world, OBSERVE, node) : NULL;
    if (call != NULL) {
        call->at_least = side->sequence_next;
        struct name name = name_of(side->queue, false);
        struct momi_call request = {.type = CALL_DESCRIBE,
                                    .deadline_us =
                                        world->nodes[node].now_floor_us + 5 * MOMI_S,
                                    .kind = MOMI_KIND_QUEUE,
                                    .name = momi_slice(name.text, name.size)};
        make(world, call, &request);
    }
    if (!side->is_calm) {
        later(world, draw(world, side->pace_us / 4, side->pace_us), SIDE_OBSERVER, 0);
    }
}

static void observed(struct sim_world *world, const struct call *call,
                     const struct momi_completion *done) {
    const struct sim_side *side = world->side;
    bool is_deleting = side->driver != NULL && side->driver->what == DO_DELETE;
    if (call->queue != side->queue || call->generation != side->generation ||
        !side->exists || is_deleting) {
        return; /* it went meanwhile */
    }
    if (done->error == MOM_NOT_FOUND) {
        sim_fail(world, "n%u is told that the side queue x%u does not exist", call->node,
                 call->queue);
    } else if (done->error == MOM_OK && told_sequence(done) < call->at_least) {
        sim_fail(world,
                 "n%u gets a stale answer: next sequence %llu, it was %llu before the "
                 "question",
                 call->node, (unsigned long long)told_sequence(done),
                 (unsigned long long)call->at_least);
    }
}

/* --- readers ---------------------------------------------------------------------- */

static void open_reader(struct sim_world *world, uint32_t who) {
    struct sim_side *side = world->side;
    struct reader *reader = &side->readers[who];
    struct call *call = new_call(world, OPEN, reader->node);
    if (call == NULL) {
        return;
    }
    bool is_moving = side->driver != NULL &&
                     (side->driver->what == DO_CREATE || side->driver->what == DO_DELETE);
    reader->state = READER_OPENING;
    reader->handle = ++side->id_next;
    reader->queue = side->queue;
    reader->generation = is_moving || !side->exists ? 0 : side->generation;
    reader->held_count = 0;
    call->who = who;
    struct name name = name_of(side->queue, who + 1 == READERS);
    struct momi_call request = {.type = CALL_CONSUMER_OPEN,
                                .deadline_us =
                                    world->nodes[reader->node].now_floor_us + 5 * MOMI_S,
                                .kind = MOMI_KIND_QUEUE,
                                .name = momi_slice(name.text, name.size),
                                .consumer = reader->handle,
                                .prefetch = (uint32_t)draw(world, 1, 20)};
    make(world, call, &request);
}

static void close_reader(struct sim_world *world, struct reader *reader) {
    struct momi_call request = {.type = CALL_CONSUMER_CLOSE,
                                .deadline_us = MOMI_NEVER,
                                .consumer = reader->handle};
    struct call *call = new_call(world, FLUSH, reader->node);
    if (call != NULL) {
        reader->state = READER_CLOSED;
        reader->held_count = 0;
        make(world, call, &request);
    }
}

/* Takes some of what it holds, and acknowledges, rejects, gives back, extends or forgets
 * it. */
static void settle(struct sim_world *world, uint32_t who) {
    struct sim_side *side = world->side;
    struct reader *reader = &side->readers[who];
    bool is_calm = side->is_calm;
    uint32_t count =
        is_calm ? reader->held_count : (uint32_t)draw(world, 0, reader->held_count);
    struct call *call = count == 0 ? NULL : new_call(world, FLUSH, reader->node);
    if (call == NULL) {
        return;
    }
    bool rejects = who + 1 < READERS && !is_calm;
    struct momi_settle *settles = momi_must_calloc(count, sizeof *settles);
    call->settled = momi_must_calloc(count, sizeof *call->settled);
    call->who = who;
    uint32_t settles_count = 0;
    uint64_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct held *held = &reader->held[i];
        last = held->delivery > last ? held->delivery : last;
        uint64_t percent = is_calm ? 0 : draw(world, 0, 99);
        enum momi_settle_action action = percent < 60              ? MOMI_SETTLE_ACK
                                         : percent < 75            ? MOMI_SETTLE_GIVE_BACK
                                         : percent < 90 && rejects ? MOMI_SETTLE_REJECT
                                                                   : MOMI_SETTLE_EXTEND;
        if (percent >= 95) {
            continue; /* forgotten: the lease runs out */
        }
        settles[settles_count++] =
            (struct momi_settle){.token = held->token, .count = 1, .action = action};
        if (action == MOMI_SETTLE_ACK) {
            call->settled[call->count++] = *held;
        }
    }
    memmove(reader->held, reader->held + count,
            (reader->held_count - count) * sizeof *reader->held);
    reader->held_count -= count;
    uint64_t handle = reader->handle;
    struct momi_event taken = {.type = EV_CONSUMER_TAKEN, .token = handle, .value = last};
    struct momi_event event = {.type = EV_CONSUMER_SETTLE,
                               .token = handle,
                               .settles = settles,
                               .settles_count = settles_count};
    struct momi_call request = {
        .type = CALL_CONSUMER_FLUSH, .deadline_us = MOMI_NEVER, .consumer = handle};
    sim_node_event(world, reader->node, &taken);
    if (settles_count > 0) {
        sim_node_event(world, reader->node, &event);
    }
    make(world, call, &request);
    momi_free(settles);
}

static void read_on(struct sim_world *world, uint32_t who) {
    struct sim_side *side = world->side;
    struct reader *reader = &side->readers[who];
    bool is_elsewhere = reader->queue != side->queue;
    if (reader->state == READER_CLOSED) {
        reader->node = draw_node(world);
        if (may_act(world, reader->node) && (side->exists || chance(world, 10))) {
            open_reader(world, who);
        }
    } else if (reader->state == READER_OPEN && reader->must_end && !is_elsewhere &&
               side->told_us != 0 && world->now_us > side->told_us) {
        sim_fail(world, "side reader %u on n%u is not told that x%u was deleted", who,
                 reader->node, side->queue);
    } else if (reader->state == READER_OPEN && may_act(world, reader->node)) {
        bool leaves = is_elsewhere || (!side->is_calm && chance(world, 2));
        if (leaves && (!reader->must_end || is_elsewhere)) {
            reader->must_end = false;
            close_reader(world, reader);
        } else {
            settle(world, who);
        }
    }
    later(world, draw(world, 2, side->is_calm ? 50 : 300) * MOMI_MS, SIDE_READER, who);
}

static void settled(struct sim_world *world, const struct call *call, int error) {
    for (uint32_t i = 0; i < call->count; i++) {
        struct message *message = &world->side->messages[call->settled[i].message];
        uint64_t token = call->settled[i].token.counter;
        if (message->token != token) {
            continue; /* its lease had ended */
        }
        message->may_be_gone = true;
        if (error == MOM_OK) {
            message->consumed = token;
        }
    }
}

static bool read_body(const struct sim_side *side, struct momi_slice body,
                      uint32_t *message) {
    if (body.size < BODY_BYTES || momi_load_le32(body.data + 4) != 0x51de51de) {
        return false;
    }
    *message = momi_load_le32(body.data);
    return *message < side->messages_count &&
           momi_load_le32(body.data + 8) == ~(*message * 31);
}

static void comes(struct sim_world *world, struct reader *reader,
                  const struct held *held) {
    struct sim_side *side = world->side;
    struct message *message = &side->messages[held->message];
    bool is_dead = reader == &side->readers[READERS - 1];
    uint64_t token = held->token.counter;
    world->totals.delivered++;
    if (world->tells_frames) {
        sim_say(world, "side message %u (x%u, generation %u) comes to %llu, token %llu",
                held->message, message->queue, message->generation,
                (unsigned long long)reader->handle, (unsigned long long)token);
    }
    const char *wrong = NULL;
    if (message->queue != reader->queue) {
        wrong = "comes from another queue";
    } else if (message->outcome == OUTCOME_REFUSED) {
        wrong = "was refused and is delivered";
    } else if (!is_dead && reader->generation != 0 &&
               reader->generation > message->generation) {
        wrong = "comes from a queue that was deleted";
    } else if (message->token == token) {
        wrong = "comes twice with one token";
    } else if (message->consumed != 0 && token > message->consumed) {
        wrong = is_dead ? "was consumed and is a dead letter"
                        : "was consumed and comes again";
    } else if (!is_dead && message->dead != 0 && token > message->dead) {
        wrong = "is a dead letter and comes from its queue again";
    }
    if (wrong != NULL) {
        sim_fail(world, "side message %u %s, token %llu", held->message, wrong,
                 (unsigned long long)token);
    }
    if (is_dead && message->dead == 0) {
        message->dead = token;
    }
    if (!is_dead && reader->generation < message->generation) {
        /* It was detached while its queue was deleted and made again: attached anew by
         * the library, it goes on with the new one. */
        reader->generation = message->generation;
        reader->must_end = false;
    }
    if (token > message->token) {
        message->token = token;
        message->may_be_gone = false;
    }
}

static struct reader *find_reader(struct sim_side *side, uint64_t handle) {
    for (uint32_t i = 0; i < READERS; i++) {
        if (side->readers[i].handle == handle &&
            side->readers[i].state != READER_CLOSED) {
            return &side->readers[i];
        }
    }
    return NULL;
}

static void drop_void(struct reader *reader, uint64_t kept_up_to) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < reader->held_count; i++) {
        if (reader->held[i].delivery > kept_up_to) {
            reader->held[kept++] = reader->held[i];
        }
    }
    reader->held_count = kept;
}

void sim_side_messages(struct sim_world *world, const struct momi_effect *effect) {
    struct reader *reader = find_reader(world->side, effect->token);
    if (reader == NULL) {
        return;
    }
    if (effect->delivery->runs_count == 0) {
        drop_void(reader, effect->value);
        return;
    }
    struct momi_slice left = effect->delivery->payload;
    for (size_t r = 0; r < effect->delivery->runs_count; r++) {
        const struct momi_delivery_run *run = &effect->delivery->runs[r];
        for (uint32_t i = 0; i < run->count; i++) {
            struct momi_record record;
            struct held held = {
                .token = {.epoch = effect->delivery->epoch, .counter = run->counter + i},
                .delivery = run->delivery + i};
            if (!momi_record_read(left, &record) || !momi_record_check(&record) ||
                !read_body(world->side, record.body, &held.message)) {
                sim_fail(world, "a message from nowhere came to a side reader");
                return;
            }
            left =
                momi_slice(left.data + record.whole.size, left.size - record.whole.size);
            comes(world, reader, &held);
            if (reader->held_count < HELD_MAX) {
                reader->held[reader->held_count++] = held;
            }
        }
    }
}

void sim_side_ended(struct sim_world *world, const struct momi_effect *effect) {
    struct reader *reader = find_reader(world->side, effect->token);
    if (reader != NULL) {
        sim_say(world, "side reader %llu ended: %s", (unsigned long long)effect->token,
                mom_err_name(effect->error));
        reader->state = READER_CLOSED;
        reader->must_end = false;
        reader->held_count = 0;
    }
}

/* --- outcomes, and the end -------------------------------------------------------- */

static void complete(struct sim_world *world, struct call *call,
                     const struct momi_completion *done) {
    struct call ended = *call;
    if (world->tells_frames) {
        sim_say(world, "side call %llu (%s) on n%u: %s",
                (unsigned long long)(call->id - SIM_SIDE_FIRST), whats[call->what],
                call->node, mom_err_name(done->error));
    }
    call->id = 0;
    call->settled = NULL;
    if (ended.what == OBSERVE) {
        observed(world, &ended, done);
    } else if (ended.what == OPEN) {
        struct reader *reader = &world->side->readers[ended.who];
        if (reader->state == READER_OPENING) {
            reader->state = done->error == MOM_OK ? READER_OPEN : READER_CLOSED;
        }
    } else if (ended.what == FLUSH) {
        settled(world, &ended, done->error);
    } else {
        driven(world, &ended, done);
    }
    momi_free(ended.settled);
}

void sim_side_completed(struct sim_world *world, const struct momi_effect *effect) {
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        struct call *call = &world->side->calls[i];
        if (call->id == effect->token) {
            complete(world, call, &effect->completion);
            return;
        }
    }
    sim_fail(world, "side call %llu was completed twice, or never made",
             (unsigned long long)(effect->token - SIM_SIDE_FIRST));
}

void sim_side_node_down(struct sim_world *world, uint32_t node) {
    static const struct momi_completion unknown = {.error = MOM_UNKNOWN_OUTCOME};
    struct sim_side *side = world->side;
    for (uint32_t i = 0; side != NULL && i < READERS; i++) {
        if (side->readers[i].node == node) {
            side->readers[i].state = READER_CLOSED;
            side->readers[i].must_end = false;
            side->readers[i].held_count = 0;
        }
    }
    for (uint32_t i = 0; side != NULL && i < CALLS_MAX; i++) {
        if (side->calls[i].id != 0 && side->calls[i].node == node) {
            complete(world, &side->calls[i], &unknown);
        }
    }
}

void sim_side_task(struct sim_world *world, const struct sim_task *task) {
    switch ((enum side_task)(task->a - SIM_SIDE_FIRST)) {
    case SIDE_DRIVER:
        if (goes_on(world->side)) {
            drive(world);
        }
        break;
    case SIDE_READER:
        read_on(world, (uint32_t)task->b);
        break;
    case SIDE_OBSERVER:
        observe(world);
        break;
    }
}

void sim_side_calm(struct sim_world *world) {
    world->side->is_calm = true;
    world->side->delete_us = world->now_us + 6 * MOMI_S;
}

static bool is_missing(const struct message *message) {
    return message->outcome == OUTCOME_ACKED && !message->is_excused &&
           !message->may_be_gone;
}

static uint32_t count_missing(const struct sim_side *side) {
    uint32_t missing = 0;
    for (uint32_t i = 0; i < side->messages_count; i++) {
        missing += is_missing(&side->messages[i]);
    }
    return missing;
}

bool sim_side_is_done(const struct sim_world *world) {
    const struct sim_side *side = world->side;
    for (uint32_t i = 0; i < READERS; i++) {
        /* Where a queue of the name was made anew, a reader that was away meanwhile may
         * have been attached to that one. */
        const struct reader *reader = &side->readers[i];
        bool must_end = reader->must_end && reader->queue == side->queue && !side->exists;
        if (must_end || reader->held_count > 0) {
            return false;
        }
    }
    if (side->driver != NULL || (goes_on(side) && side->is_calm)) {
        return false;
    }
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        if (side->calls[i].id != 0 && side->calls[i].what != OPEN) {
            return false;
        }
    }
    return count_missing(side) == 0;
}

void sim_side_say_waiting(struct sim_world *world) {
    const struct sim_side *side = world->side;
    if (!side->is_on) {
        return;
    }
    sim_say(world, "side queue x%u, generation %u, %s: %u messages missing", side->queue,
            side->generation, side->exists ? "there" : "not there", count_missing(side));
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        if (side->calls[i].id != 0) {
            sim_say(world, "side call %llu (%s) on n%u is open",
                    (unsigned long long)(side->calls[i].id - SIM_SIDE_FIRST),
                    whats[side->calls[i].what], side->calls[i].node);
        }
    }
    for (uint32_t i = 0; i < READERS; i++) {
        const struct reader *reader = &side->readers[i];
        sim_say(world,
                "side reader %u on n%u, queue x%u generation %u: state %d, holds %u%s", i,
                reader->node, reader->queue, reader->generation, (int)reader->state,
                reader->held_count, reader->must_end ? ", must be told of the end" : "");
    }
}
