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
#include "core/entry.h"
#include "core/info.h"
#include "programs.h"

enum {
    READERS = 3, /* the last one reads the dead letters */
    SIDE_HELD_MAX = 256,
    SIDE_CALLS_MAX = 256,
    OBSERVERS_MAX = 8, /* describes under way */
};

enum side_task { SIDE_DRIVER, SIDE_READER, SIDE_OBSERVER };
enum side_what {
    DO_CREATE,
    DO_DELETE,
    DO_PUBLISH,
    DO_PURGE,
    DO_DESCRIBE,
    OBSERVE,
    OPEN,
    FLUSH,
    CLOSE
};
static const char *const whats[] = {"create",  "delete", "publish", "purge", "describe",
                                    "observe", "open",   "flush",   "close"};
enum reader_state { READER_CLOSED, READER_OPENING, READER_OPEN };

struct side_message {
    uint32_t queue, generation;
};

struct side_held {
    struct momi_token token;
    uint64_t delivery, sequence;
    uint32_t message;
    uint32_t deliveries; /* this one included */
};

struct side_reader {
    uint32_t node;
    uint32_t queue, generation; /* generation 0: not certain which */
    uint64_t handle;
    enum reader_state state;
    bool must_end; /* its queue was deleted */
    struct side_held held[SIDE_HELD_MAX];
    uint32_t held_count;
};

struct side_call {
    uint64_t id; /* 0: free */
    enum side_what what;
    uint32_t node;
    uint32_t who; /* reader */
    uint32_t queue, generation;
    uint64_t at_least; /* OBSERVE: the next sequence must not be lower */
    uint64_t op;       /* in the history, of the first of `count` */
    uint32_t count;    /* messages of a publish, or settled ones of a flush */
    uint8_t *kinds;    /* FLUSH: how each was settled, enum check_kind; owned */
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
    struct side_call *driver; /* its call, NULL: none */
    struct side_message *messages;
    uint32_t messages_count, messages_room;
    struct side_reader readers[READERS];
    struct side_call calls[SIDE_CALLS_MAX];
    uint64_t pace_us; /* of the observers */
};

/* --- small things ----------------------------------------------------------------- */

static uint64_t draw(struct sim_world *world, uint64_t low, uint64_t high) {
    return sim_draw(&world->rng_side, low, high);
}

static bool chance(struct sim_world *world, uint32_t percent) {
    return momi_rng_chance(&world->rng_side, percent * 10000);
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
    for (int i = 0; side != NULL && i < SIDE_CALLS_MAX; i++) {
        momi_free(side->calls[i].kinds);
    }
    momi_free(side == NULL ? NULL : side->messages);
    momi_free(side);
}

/* --- calls ------------------------------------------------------------------------ */

static struct side_call *new_call(struct sim_world *world, enum side_what what,
                                  uint32_t node) {
    struct sim_side *side = world->side;
    for (uint32_t i = 0; i < SIDE_CALLS_MAX; i++) {
        struct side_call *call = &side->calls[i];
        if (call->id == 0) {
            *call = (struct side_call){.id = ++side->id_next,
                                       .what = what,
                                       .node = node,
                                       .queue = side->queue,
                                       .generation = side->generation};
            return call;
        }
    }
    return NULL;
}

static void make(struct sim_world *world, const struct side_call *call,
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

/* --- the history ------------------------------------------------------------------ */

static const enum check_kind kinds[] = {
    [DO_CREATE] = CHECK_CREATE,
    [DO_DELETE] = CHECK_DELETE,
    [DO_PUBLISH] = CHECK_PUBLISH,
    [DO_PURGE] = CHECK_PURGE,
    [DO_DESCRIBE] = CHECK_DESCRIBE,
    [OBSERVE] = CHECK_DESCRIBE,
    [OPEN] = CHECK_OPEN,
    [CLOSE] = CHECK_CLOSE,
};

static uint32_t stream_number(struct sim_world *world, uint32_t queue, bool is_dead) {
    struct name name = name_of(queue, is_dead);
    return sim_history_slice(world, momi_slice(name.text, name.size));
}

/* What a call of one record asks for. */
static void tell_call(struct sim_world *world, struct side_call *call,
                      struct check_record record) {
    call->op = sim_history_ops(world, 1);
    record.op = call->op;
    record.stream =
        record.stream != 0 ? record.stream : stream_number(world, call->queue, false);
    sim_history_add(world, call->node, kinds[call->what], CHECK_CALL, record);
}

/* A message that a reader has, or had. */
static struct check_record record_of(struct sim_world *world,
                                     const struct side_reader *reader,
                                     const struct side_held *held) {
    bool is_dead = reader == &world->side->readers[READERS - 1];
    return (struct check_record){.stream = stream_number(world, reader->queue, is_dead),
                                 .consumer = reader->handle,
                                 .publisher = SIM_SIDE_PUBLISHER,
                                 .message = held->message,
                                 .token = held->token.counter};
}

static void tell_delivery(struct sim_world *world, const struct side_reader *reader,
                          const struct side_held *held, enum check_kind kind,
                          uint64_t digest) {
    struct check_record record = record_of(world, reader, held);
    record.sequence = held->sequence;
    record.deliveries = held->deliveries;
    record.is_redelivered = held->deliveries > 1;
    record.digest = digest;
    sim_history_add(world, reader->node, kind, CHECK_SAW, record);
}

/* Readers go to a queue of another name. */
static void tell_abandoned(struct sim_world *world) {
    for (int is_dead = 0; is_dead < 2; is_dead++) {
        struct check_record record = {
            .stream = stream_number(world, world->side->queue, is_dead != 0)};
        sim_history_add(world, 0, CHECK_ABANDONED, CHECK_SAW, record);
    }
}

/* --- the driver ------------------------------------------------------------------- */

/* The outcome of the last call stays unknown: nothing is certain about this queue. */
static void give_up(struct sim_world *world) {
    struct sim_side *side = world->side;
    tell_abandoned(world);
    side->queue++;
    side->generation = 0;
    side->exists = false;
    side->sequence_next = 1;
    draw_options(world);
}

/* Returns the size of its body. */
static size_t put_record(struct sim_world *world, struct momi_bytes *out,
                         uint32_t message) {
    uint8_t body[200] = {0};
    size_t size = BODY_BYTES + draw(world, 0, 150);
    sim_body_write(body, SIM_SIDE_PUBLISHER, message);
    struct momi_record record = {.body = momi_slice(body, size)};
    size_t record_size = momi_record_size(0, 0, size);
    if (momi_bytes_reserve(out, record_size)) {
        momi_record_write(out->data + out->size, &record);
        out->size += record_size;
    }
    return size;
}

static void add_messages(struct sim_world *world, struct side_call *call,
                         struct momi_bytes *records) {
    struct sim_side *side = world->side;
    call->count = (uint32_t)draw(world, 1, 4);
    call->op = sim_history_ops(world, call->count);
    for (uint32_t i = 0; i < call->count; i++) {
        if (side->messages_count == side->messages_room) {
            side->messages_room =
                side->messages_room == 0 ? 256 : side->messages_room * 2;
            side->messages = momi_must_realloc(
                side->messages, side->messages_room * sizeof *side->messages);
        }
        side->messages[side->messages_count] =
            (struct side_message){.queue = side->queue, .generation = side->generation};
        struct check_record record = {.op = call->op + i,
                                      .stream = stream_number(world, side->queue, false),
                                      .publisher = SIM_SIDE_PUBLISHER,
                                      .message = side->messages_count};
        record.digest = put_record(world, records, side->messages_count++);
        sim_history_add(world, call->node, CHECK_PUBLISH, CHECK_CALL, record);
    }
}

static enum side_what draw_what(struct sim_world *world) {
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
    struct side_call *call =
        sim_call_may_act(world, node) ? new_call(world, draw_what(world), node) : NULL;
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
        add_messages(world, call, &records);
        request.records_count = call->count;
        request.records = momi_bytes_slice(&records);
    } else {
        struct check_record record = {.op = 0};
        if (call->what == DO_CREATE) {
            record.value = side->options.lease_us / MOMI_MS;
            record.deliveries = side->options.deliveries_max;
        }
        tell_call(world, call, record);
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
        struct side_reader *reader = &side->readers[i];
        reader->must_end = reader->must_end || (reader->state == READER_OPEN &&
                                                reader->queue == side->queue &&
                                                reader->generation == side->generation);
    }
    side->exists = false;
    if (side->is_calm) {
        /* Before the library asks by itself. */
        side->told_us = world->now_us + 300 * MOMI_MS + 6 * world->options.delay_max_us;
    }
}

static void published(struct sim_world *world, const struct side_call *call,
                      const struct momi_completion *done) {
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
    side->sequence_next += error == MOM_OK ? call->count : 0;
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

static void driven(struct sim_world *world, const struct side_call *call,
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
            published(world, call, done);
            break;
        case DO_PURGE:
            must(world, done->error == (side->exists ? MOM_OK : MOM_NOT_FOUND), "purge",
                 done->error);
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
    for (uint32_t i = 0; i < SIDE_CALLS_MAX; i++) {
        under_way += side->calls[i].id != 0 && side->calls[i].what == OBSERVE;
    }
    uint32_t node = draw_node(world);
    bool is_wanted =
        side->exists && under_way < OBSERVERS_MAX && sim_call_may_act(world, node);
    struct side_call *call = is_wanted ? new_call(world, OBSERVE, node) : NULL;
    if (call != NULL) {
        call->at_least = side->sequence_next;
        struct name name = name_of(side->queue, false);
        struct momi_call request = {.type = CALL_DESCRIBE,
                                    .deadline_us =
                                        world->nodes[node].now_floor_us + 5 * MOMI_S,
                                    .kind = MOMI_KIND_QUEUE,
                                    .name = momi_slice(name.text, name.size)};
        tell_call(world, call, (struct check_record){.op = 0});
        make(world, call, &request);
    }
    if (!side->is_calm) {
        later(world, draw(world, side->pace_us / 4, side->pace_us), SIDE_OBSERVER, 0);
    }
}

static void observed(struct sim_world *world, const struct side_call *call,
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
    struct side_reader *reader = &side->readers[who];
    struct side_call *call = new_call(world, OPEN, reader->node);
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
    bool is_dead = who + 1 == READERS;
    tell_call(world, call,
              (struct check_record){.stream = stream_number(world, side->queue, is_dead),
                                    .consumer = reader->handle});
    make(world, call, &request);
}

static void close_reader(struct sim_world *world, struct side_reader *reader) {
    struct momi_call request = {.type = CALL_CONSUMER_CLOSE,
                                .deadline_us = MOMI_NEVER,
                                .consumer = reader->handle};
    struct side_call *call = new_call(world, CLOSE, reader->node);
    if (call != NULL) {
        bool is_dead = reader == &world->side->readers[READERS - 1];
        reader->state = READER_CLOSED;
        reader->held_count = 0;
        tell_call(
            world, call,
            (struct check_record){.stream = stream_number(world, reader->queue, is_dead),
                                  .consumer = reader->handle});
        make(world, call, &request);
    }
}

/* What a reader does with a message; CHECK_DELIVER: it forgets it, and the lease runs
 * out. */
static enum check_kind draw_kind(struct sim_world *world, uint32_t who) {
    bool is_calm = world->side->is_calm;
    bool rejects = who + 1 < READERS && !is_calm;
    uint64_t percent = is_calm ? 0 : draw(world, 0, 99);
    return percent < 60              ? CHECK_ACK
           : percent < 75            ? CHECK_NACK
           : percent < 90 && rejects ? CHECK_REJECT
           : percent < 95            ? CHECK_EXTEND
                                     : CHECK_DELIVER;
}

static enum momi_settle_action action_of(enum check_kind kind) {
    return kind == CHECK_ACK      ? MOMI_SETTLE_ACK
           : kind == CHECK_NACK   ? MOMI_SETTLE_GIVE_BACK
           : kind == CHECK_REJECT ? MOMI_SETTLE_REJECT
                                  : MOMI_SETTLE_EXTEND;
}

/* The first `count` that it holds are in its hands now, and what it does with each is
 * drawn: told, and put into `settles`. Returns the last delivery number. */
static uint64_t take(struct sim_world *world, struct side_call *call, uint32_t count,
                     struct momi_settle *settles) {
    struct side_reader *reader = &world->side->readers[call->who];
    uint64_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct side_held *held = &reader->held[i];
        last = held->delivery > last ? held->delivery : last;
        tell_delivery(world, reader, held, CHECK_DELIVER, 0);
        enum check_kind kind = draw_kind(world, call->who);
        if (kind == CHECK_DELIVER) {
            continue;
        }
        struct check_record record = record_of(world, reader, held);
        record.op = call->op + call->count;
        sim_history_add(world, call->node, kind, CHECK_CALL, record);
        settles[call->count] = (struct momi_settle){
            .token = held->token, .count = 1, .action = action_of(kind)};
        call->kinds[call->count++] = (uint8_t)kind;
    }
    memmove(reader->held, reader->held + count,
            (reader->held_count - count) * sizeof *reader->held);
    reader->held_count -= count;
    return last;
}

/* Takes some of what it holds, and acknowledges, rejects, gives back, extends or forgets
 * it. */
static void settle(struct sim_world *world, uint32_t who) {
    struct sim_side *side = world->side;
    struct side_reader *reader = &side->readers[who];
    uint32_t count =
        side->is_calm ? reader->held_count : (uint32_t)draw(world, 0, reader->held_count);
    struct side_call *call = count == 0 ? NULL : new_call(world, FLUSH, reader->node);
    if (call == NULL) {
        return;
    }
    struct momi_settle *settles = momi_must_calloc(count, sizeof *settles);
    call->kinds = momi_must_calloc(count, sizeof *call->kinds);
    call->who = who;
    call->op = sim_history_ops(world, count);
    uint64_t handle = reader->handle;
    uint64_t last = take(world, call, count, settles);
    struct momi_event taken = {.type = EV_CONSUMER_TAKEN, .token = handle, .value = last};
    struct momi_event event = {.type = EV_CONSUMER_SETTLE,
                               .token = handle,
                               .settles = settles,
                               .settles_count = call->count};
    struct momi_call request = {
        .type = CALL_CONSUMER_FLUSH, .deadline_us = MOMI_NEVER, .consumer = handle};
    sim_node_event(world, reader->node, &taken);
    if (event.settles_count > 0) {
        sim_node_event(world, reader->node, &event);
    }
    make(world, call, &request);
    momi_free(settles);
}

static void read_on(struct sim_world *world, uint32_t who) {
    struct sim_side *side = world->side;
    struct side_reader *reader = &side->readers[who];
    bool is_elsewhere = reader->queue != side->queue;
    if (reader->state == READER_CLOSED) {
        reader->node = draw_node(world);
        if (sim_call_may_act(world, reader->node) &&
            (side->exists || chance(world, 10))) {
            open_reader(world, who);
        }
    } else if (reader->state == READER_OPEN && reader->must_end && !is_elsewhere &&
               side->told_us != 0 && world->now_us > side->told_us) {
        sim_fail(world, "side reader %u on n%u is not told that x%u was deleted", who,
                 reader->node, side->queue);
    } else if (reader->state == READER_OPEN && sim_call_may_act(world, reader->node)) {
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

static void comes(struct sim_world *world, struct side_reader *reader,
                  const struct side_held *held, uint64_t digest) {
    struct sim_side *side = world->side;
    world->totals.delivered++;
    tell_delivery(world, reader, held, CHECK_ARRIVE, digest);
    const struct side_message *message =
        held->message < side->messages_count ? &side->messages[held->message] : NULL;
    bool is_dead = reader == &side->readers[READERS - 1];
    if (message != NULL && !is_dead && reader->generation < message->generation) {
        /* It was detached while its queue was deleted and made again: attached anew by
         * the library, it goes on with the new one. */
        reader->generation = message->generation;
        reader->must_end = false;
    }
}

static struct side_reader *find_reader(struct sim_side *side, uint64_t handle) {
    for (uint32_t i = 0; i < READERS; i++) {
        if (side->readers[i].handle == handle &&
            side->readers[i].state != READER_CLOSED) {
            return &side->readers[i];
        }
    }
    return NULL;
}

static void drop_void(struct side_reader *reader, uint64_t kept_up_to) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < reader->held_count; i++) {
        if (reader->held[i].delivery > kept_up_to) {
            reader->held[kept++] = reader->held[i];
        }
    }
    reader->held_count = kept;
}

void sim_side_messages(struct sim_world *world, const struct momi_effect *effect) {
    struct side_reader *reader = find_reader(world->side, effect->token);
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
            struct side_held held = {
                .token = {.epoch = effect->delivery->epoch, .counter = run->counter + i},
                .delivery = run->delivery + i,
                .sequence = run->sequence + i,
                .deliveries = run->deliveries + 1};
            uint32_t publisher;
            if (!momi_record_read(left, &record) || !momi_record_check(&record) ||
                !sim_body_read(record.body, &publisher, &held.message) ||
                publisher != SIM_SIDE_PUBLISHER) {
                sim_fail(world, "a message from nowhere came to a side reader");
                return;
            }
            left =
                momi_slice(left.data + record.whole.size, left.size - record.whole.size);
            comes(world, reader, &held, record.body.size);
            if (reader->held_count < SIDE_HELD_MAX) {
                reader->held[reader->held_count++] = held;
            }
        }
    }
}

void sim_side_ended(struct sim_world *world, const struct momi_effect *effect) {
    struct side_reader *reader = find_reader(world->side, effect->token);
    if (reader != NULL) {
        sim_say(world, "side reader %llu ended: %s", (unsigned long long)effect->token,
                mom_err_name(effect->error));
        bool is_dead = reader == &world->side->readers[READERS - 1];
        reader->state = READER_CLOSED;
        reader->must_end = false;
        reader->held_count = 0;
        sim_history_add(
            world, reader->node, CHECK_END, CHECK_SAW,
            (struct check_record){.stream = stream_number(world, reader->queue, is_dead),
                                  .consumer = reader->handle,
                                  .result = (int16_t)effect->error});
    }
}

/* --- outcomes, and the end -------------------------------------------------------- */

static void tell_outcome(struct sim_world *world, const struct side_call *call,
                         const struct momi_completion *done) {
    bool is_ok = done->error == MOM_OK;
    if (call->what == FLUSH) {
        for (uint32_t i = 0; i < call->count; i++) {
            sim_history_done(world, call->node, (enum check_kind)call->kinds[i],
                             call->op + i, sim_history_flushed(done->error), 0);
        }
    } else if (call->what == DO_PUBLISH) {
        for (uint32_t i = 0; i < call->count; i++) {
            sim_history_done(world, call->node, CHECK_PUBLISH, call->op + i, done->error,
                             is_ok ? done->sequence + i : 0);
        }
    } else {
        bool is_told = is_ok && kinds[call->what] == CHECK_DESCRIBE;
        sim_history_done(world, call->node, kinds[call->what], call->op, done->error,
                         is_told ? told_sequence(done) : 0);
    }
}

static void complete(struct sim_world *world, struct side_call *call,
                     const struct momi_completion *done) {
    struct side_call ended = *call;
    if (world->tells_frames) {
        sim_say(world, "side call %llu (%s) on n%u: %s",
                (unsigned long long)(call->id - SIM_SIDE_FIRST), whats[call->what],
                call->node, mom_err_name(done->error));
    }
    call->id = 0;
    call->kinds = NULL;
    tell_outcome(world, &ended, done);
    if (ended.what == OBSERVE) {
        observed(world, &ended, done);
    } else if (ended.what == OPEN) {
        struct side_reader *reader = &world->side->readers[ended.who];
        if (reader->state == READER_OPENING) {
            reader->state = done->error == MOM_OK ? READER_OPEN : READER_CLOSED;
        }
    } else if (ended.what != FLUSH && ended.what != CLOSE) {
        driven(world, &ended, done);
    }
    momi_free(ended.kinds);
}

void sim_side_completed(struct sim_world *world, const struct momi_effect *effect) {
    for (uint32_t i = 0; i < SIDE_CALLS_MAX; i++) {
        struct side_call *call = &world->side->calls[i];
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
    for (uint32_t i = 0; side != NULL && i < SIDE_CALLS_MAX; i++) {
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

bool sim_side_is_done(const struct sim_world *world) {
    const struct sim_side *side = world->side;
    for (uint32_t i = 0; i < READERS; i++) {
        /* Where a queue of the name was made anew, a reader that was away meanwhile may
         * have been attached to that one. */
        const struct side_reader *reader = &side->readers[i];
        bool must_end = reader->must_end && reader->queue == side->queue && !side->exists;
        if (must_end || reader->held_count > 0) {
            return false;
        }
    }
    if (side->driver != NULL || (goes_on(side) && side->is_calm)) {
        return false;
    }
    for (uint32_t i = 0; i < SIDE_CALLS_MAX; i++) {
        if (side->calls[i].id != 0 && side->calls[i].what != OPEN) {
            return false;
        }
    }
    return true;
}

void sim_side_judge(struct sim_world *world) {
    for (int is_dead = 0; is_dead < 2 && world->side->is_on; is_dead++) {
        struct check_record record = {
            .stream = stream_number(world, world->side->queue, is_dead != 0)};
        sim_history_add(world, 0, CHECK_DRAINED, CHECK_SAW, record);
    }
}

void sim_side_say_waiting(struct sim_world *world) {
    const struct sim_side *side = world->side;
    if (!side->is_on) {
        return;
    }
    sim_say(world, "side queue x%u, generation %u, %s", side->queue, side->generation,
            side->exists ? "there" : "not there");
    for (uint32_t i = 0; i < SIDE_CALLS_MAX; i++) {
        if (side->calls[i].id != 0) {
            sim_say(world, "side call %llu (%s) on n%u is open",
                    (unsigned long long)(side->calls[i].id - SIM_SIDE_FIRST),
                    whats[side->calls[i].what], side->calls[i].node);
        }
    }
    for (uint32_t i = 0; i < READERS; i++) {
        const struct side_reader *reader = &side->readers[i];
        sim_say(world,
                "side reader %u on n%u, queue x%u generation %u: state %d, holds %u%s", i,
                reader->node, reader->queue, reader->generation, (int)reader->state,
                reader->held_count, reader->must_end ? ", must be told of the end" : "");
    }
}
