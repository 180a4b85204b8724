/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The readers of the side queue: they take, acknowledge, reject, give back, extend and
 * forget, and must hear when their queue is deleted.
 */
#include "base/mem.h"
#include "core/entry.h"
#include "side.h"

/* A message that a reader has, or had. */
static struct check_record record_of(struct sim_world *world,
                                     const struct side_reader *reader,
                                     const struct side_held *held) {
    bool is_dead = reader == &world->side->readers[READERS - 1];
    return (struct check_record){.stream = sim_side_stream(world, reader->queue, is_dead),
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

static void open_reader(struct sim_world *world, uint32_t who) {
    struct sim_side *side = world->side;
    struct side_reader *reader = &side->readers[who];
    struct side_call *call = sim_side_call_new(world, OPEN, reader->node);
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
    struct side_name name = sim_side_name(side->queue, who + 1 == READERS);
    struct momi_call request = {.type = CALL_CONSUMER_OPEN,
                                .deadline_us =
                                    world->nodes[reader->node].now_floor_us + 5 * MOMI_S,
                                .kind = MOMI_KIND_QUEUE,
                                .name = momi_slice(name.text, name.size),
                                .consumer = reader->handle,
                                .prefetch = (uint32_t)sim_side_draw(world, 1, 20)};
    bool is_dead = who + 1 == READERS;
    sim_side_tell_call(
        world, call,
        (struct check_record){.stream = sim_side_stream(world, side->queue, is_dead),
                              .consumer = reader->handle});
    sim_side_make(world, call, &request);
}

static void close_reader(struct sim_world *world, struct side_reader *reader) {
    struct momi_call request = {.type = CALL_CONSUMER_CLOSE,
                                .deadline_us = MOMI_NEVER,
                                .consumer = reader->handle};
    struct side_call *call = sim_side_call_new(world, CLOSE, reader->node);
    if (call != NULL) {
        bool is_dead = reader == &world->side->readers[READERS - 1];
        reader->state = READER_CLOSED;
        reader->held_count = 0;
        sim_side_tell_call(world, call,
                           (struct check_record){
                               .stream = sim_side_stream(world, reader->queue, is_dead),
                               .consumer = reader->handle});
        sim_side_make(world, call, &request);
    }
}

/* What a reader does with a message; CHECK_DELIVER: it forgets it, and the lease runs
 * out. */
static enum check_kind draw_kind(struct sim_world *world, uint32_t who) {
    bool is_calm = world->side->is_calm;
    bool rejects = who + 1 < READERS && !is_calm;
    uint64_t percent = is_calm ? 0 : sim_side_draw(world, 0, 99);
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
    uint32_t count = side->is_calm
                         ? reader->held_count
                         : (uint32_t)sim_side_draw(world, 0, reader->held_count);
    struct side_call *call =
        count == 0 ? NULL : sim_side_call_new(world, FLUSH, reader->node);
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
    sim_side_make(world, call, &request);
    momi_free(settles);
}

void sim_side_read(struct sim_world *world, uint32_t who) {
    struct sim_side *side = world->side;
    struct side_reader *reader = &side->readers[who];
    bool is_elsewhere = reader->queue != side->queue;
    if (reader->state == READER_CLOSED) {
        reader->node = sim_side_draw_node(world);
        if (sim_call_may_act(world, reader->node) &&
            (side->exists || sim_side_chance(world, 10))) {
            open_reader(world, who);
        }
    } else if (reader->state == READER_OPEN && reader->must_end && !is_elsewhere &&
               reader->told_us != 0 && world->now_us > reader->told_us &&
               sim_net_reaches_all(world, reader->node)) {
        sim_fail(world, "side reader %u on n%u is not told that x%u was deleted", who,
                 reader->node, side->queue);
    } else if (reader->state == READER_OPEN && sim_call_may_act(world, reader->node)) {
        bool leaves = is_elsewhere || (!side->is_calm && sim_side_chance(world, 2));
        if (leaves && (!reader->must_end || is_elsewhere)) {
            reader->must_end = false;
            close_reader(world, reader);
        } else {
            settle(world, who);
        }
    }
    sim_side_later(world, sim_side_draw(world, 2, side->is_calm ? 50 : 300) * MOMI_MS,
                   SIDE_READER, who);
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
        sim_history_add(world, reader->node, CHECK_END, CHECK_SAW,
                        (struct check_record){
                            .stream = sim_side_stream(world, reader->queue, is_dead),
                            .consumer = reader->handle,
                            .result = (int16_t)effect->error});
    }
}
