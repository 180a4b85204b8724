/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers: they take what has come, acknowledge it, give it back, or forget it, close,
 * and open again, on other nodes. What comes in lies in the library's buffer until the
 * program takes it; both are told to the judge.
 */
#include "base/mem.h"
#include "core/entry.h"
#include "programs.h"

static void open_consumer(struct sim_world *world, uint32_t who) {
    struct sim_programs *programs = world->programs;
    struct consumer *consumer = &programs->consumers[who];
    const struct group *group = &programs->groups[consumer->group];
    const struct stream *stream = &programs->streams[group->stream];
    struct call *call = sim_call_new(world, consumer->node, WANT_OPEN, who);
    if (call == NULL) {
        return;
    }
    consumer->state = CONSUMER_OPENING;
    consumer->handle = ++programs->id_next;
    consumer->held_count = 0;
    call->op = sim_history_ops(world, 1);
    struct momi_call request = {
        .type = CALL_CONSUMER_OPEN,
        .deadline_us = sim_call_now(world, consumer->node) + 5 * MOMI_S,
        .kind = stream->kind,
        .name = momi_slice_str(stream->name),
        .subscription = momi_slice_str(group->subscription),
        .consumer = consumer->handle,
        .prefetch = (uint32_t)sim_draw(&world->rng_program, 1, 60)};
    sim_history_add(world, call->node, CHECK_OPEN, CHECK_CALL,
                    (struct check_record){.op = call->op,
                                          .stream = stream->name_number,
                                          .subscription = group->subscription_number,
                                          .consumer = consumer->handle});
    sim_call_make(world, call, &request);
}

/* A message as a record says it: which, and which lease of it. */
static struct check_record record_of(const struct sim_world *world,
                                     const struct consumer *consumer,
                                     const struct held *held) {
    const struct group *group = &world->programs->groups[consumer->group];
    const struct stream *stream = &world->programs->streams[group->stream];
    return (struct check_record){.stream = stream->name_number,
                                 .subscription = group->subscription_number,
                                 .consumer = consumer->handle,
                                 .publisher = held->publisher,
                                 .message = held->counter,
                                 .token = held->token.counter};
}

static void tell_delivery(struct sim_world *world, const struct consumer *consumer,
                          const struct held *held, enum check_kind kind, uint32_t key,
                          uint64_t digest) {
    struct check_record record = record_of(world, consumer, held);
    record.sequence = held->sequence;
    record.deliveries = held->deliveries;
    record.is_redelivered = held->deliveries > 1;
    record.key = key;
    record.digest = digest;
    sim_history_add(world, consumer->node, kind, CHECK_SAW, record);
}

/* --- taking and settling ---------------------------------------------------------- */

/* What the program wants to do with the first `count` that it holds. */
static uint8_t *draw_kinds(struct sim_world *world, uint32_t count) {
    uint8_t *kinds = momi_must_calloc(count, 1);
    for (uint32_t i = 0; i < count; i++) {
        bool gives_back =
            !world->programs->is_calm && momi_rng_chance(&world->rng_program, 60000);
        kinds[i] = gives_back ? CHECK_NACK : CHECK_ACK;
    }
    return kinds;
}

static void send_settles(struct sim_world *world, const struct consumer *consumer,
                         struct call *call, const struct held *taken) {
    struct momi_settle *settles = momi_must_calloc(call->count, sizeof *settles);
    call->op = sim_history_ops(world, call->count);
    for (uint32_t i = 0; i < call->count; i++) {
        bool is_ack = call->kinds[i] == CHECK_ACK;
        settles[i] = (struct momi_settle){.token = taken[i].token,
                                          .count = 1,
                                          .action = is_ack ? MOMI_SETTLE_ACK
                                                           : MOMI_SETTLE_GIVE_BACK};
        struct check_record record = record_of(world, consumer, &taken[i]);
        record.op = call->op + i;
        sim_history_add(world, call->node, (enum check_kind)call->kinds[i], CHECK_CALL,
                        record);
    }
    struct momi_event event = {.type = EV_CONSUMER_SETTLE,
                               .token = consumer->handle,
                               .settles = settles,
                               .settles_count = call->count};
    struct momi_call request = {.type = CALL_CONSUMER_FLUSH,
                                .deadline_us = MOMI_NEVER,
                                .consumer = consumer->handle};
    sim_node_event(world, call->node, &event);
    sim_call_make(world, call, &request);
    momi_free(settles);
}

/* The program takes some of what it holds, settles it, and asks to know when that is
 * committed. */
static void take(struct sim_world *world, uint32_t who) {
    struct consumer *consumer = &world->programs->consumers[who];
    struct momi_rng *rng = &world->rng_program;
    bool is_calm = world->programs->is_calm;
    uint32_t count = (uint32_t)sim_draw(rng, 0, consumer->held_count);
    count = is_calm ? consumer->held_count : count;
    if (count == 0) {
        return;
    }
    uint8_t *kinds = draw_kinds(world, count);
    struct held *taken = momi_must_calloc(count, sizeof *taken);
    memcpy(taken, consumer->held, count * sizeof *taken);
    uint64_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        last = taken[i].delivery > last ? taken[i].delivery : last;
        tell_delivery(world, consumer, &taken[i], CHECK_DELIVER, 0, 0);
    }
    bool forgets = !is_calm && momi_rng_chance(rng, 30000); /* the leases run out */
    memmove(consumer->held, consumer->held + count,
            (consumer->held_count - count) * sizeof *consumer->held);
    consumer->held_count -= count;
    struct momi_event event = {
        .type = EV_CONSUMER_TAKEN, .token = consumer->handle, .value = last};
    sim_node_event(world, consumer->node, &event);
    struct call *call =
        forgets ? NULL : sim_call_new(world, consumer->node, WANT_FLUSH, who);
    if (call != NULL && sim_node_is_up(world, consumer->node)) {
        call->kinds = kinds;
        call->count = count;
        send_settles(world, consumer, call, taken);
    } else {
        momi_free(kinds);
    }
    momi_free(taken);
}

static void close_consumer(struct sim_world *world, uint32_t who) {
    struct consumer *consumer = &world->programs->consumers[who];
    struct momi_call request = {.type = CALL_CONSUMER_CLOSE,
                                .deadline_us = MOMI_NEVER,
                                .consumer = consumer->handle};
    struct call *call = sim_call_new(world, consumer->node, WANT_CLOSE, who);
    if (call != NULL) {
        const struct group *group = &world->programs->groups[consumer->group];
        struct check_record record = {
            .op = sim_history_ops(world, 1),
            .stream = world->programs->streams[group->stream].name_number,
            .subscription = group->subscription_number,
            .consumer = consumer->handle};
        consumer->state = CONSUMER_CLOSED;
        consumer->held_count = 0;
        call->op = record.op;
        sim_history_add(world, call->node, CHECK_CLOSE, CHECK_CALL, record);
        sim_call_make(world, call, &request);
    }
}

void sim_consumer_acts(struct sim_world *world, uint32_t who) {
    struct sim_programs *programs = world->programs;
    struct consumer *consumer = &programs->consumers[who];
    struct momi_rng *rng = &world->rng_program;
    const struct group *group = &programs->groups[consumer->group];
    if (!sim_call_may_act(world, consumer->node)) {
        if (consumer->state == CONSUMER_CLOSED) {
            consumer->node = sim_programs_draw_node(world);
        }
    } else if (consumer->state == CONSUMER_CLOSED) {
        if (sim_programs_is_ready(programs, group->stream) && group->is_created) {
            open_consumer(world, who);
        }
    } else if (consumer->state == CONSUMER_OPEN) {
        if (!programs->is_calm && momi_rng_chance(rng, 5000)) {
            close_consumer(world, who);
        } else {
            take(world, who);
        }
    }
    sim_programs_later(
        world,
        sim_draw(rng, 2 * MOMI_MS, programs->is_calm ? 50 * MOMI_MS : 300 * MOMI_MS),
        PROGRAM_CONSUMER, who);
}

/* --- what comes ------------------------------------------------------------------- */

static struct consumer *find_consumer(struct sim_programs *programs, uint32_t node,
                                      uint64_t handle) {
    for (uint32_t i = 0; i < programs->consumers_count; i++) {
        struct consumer *consumer = &programs->consumers[i];
        if (consumer->handle == handle && consumer->node == node &&
            consumer->state != CONSUMER_CLOSED) {
            return consumer;
        }
    }
    return NULL;
}

/* Buffered messages are void: the program drops those that it has not taken. */
static void drop_void(struct consumer *consumer, uint64_t kept_up_to) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < consumer->held_count; i++) {
        if (consumer->held[i].delivery > kept_up_to) {
            consumer->held[kept++] = consumer->held[i];
        }
    }
    consumer->held_count = kept;
}

static void comes(struct sim_world *world, struct consumer *consumer,
                  const struct held *held, const struct momi_record *record) {
    world->totals.delivered++;
    tell_delivery(world, consumer, held, CHECK_ARRIVE,
                  sim_history_slice(world, record->key), record->body.size);
    if (consumer->held_count < HELD_MAX) {
        consumer->held[consumer->held_count++] = *held;
    }
}

void sim_programs_messages(struct sim_world *world, uint32_t node,
                           const struct momi_effect *effect) {
    if (effect->token >= SIM_SIDE_FIRST) {
        sim_side_messages(world, effect);
        return;
    }
    struct consumer *consumer = find_consumer(world->programs, node, effect->token);
    if (consumer == NULL) {
        return;
    }
    if (effect->delivery->runs_count == 0) {
        drop_void(consumer, effect->value);
        return;
    }
    struct momi_slice left = effect->delivery->payload;
    for (size_t r = 0; r < effect->delivery->runs_count; r++) {
        const struct momi_delivery_run *run = &effect->delivery->runs[r];
        for (uint32_t i = 0; i < run->count; i++) {
            struct momi_record record;
            struct held held = {
                .token = {.epoch = effect->delivery->epoch, .counter = run->counter + i},
                .delivery = run->delivery + i,
                .sequence = run->sequence + i,
                .deliveries = run->deliveries + 1};
            if (!momi_record_read(left, &record) || !momi_record_check(&record) ||
                !sim_body_read(record.body, &held.publisher, &held.counter)) {
                sim_fail(world, "a damaged message came to group %u", consumer->group);
                return;
            }
            left =
                momi_slice(left.data + record.whole.size, left.size - record.whole.size);
            comes(world, consumer, &held, &record);
        }
    }
}

void sim_programs_ended(struct sim_world *world, uint32_t node,
                        const struct momi_effect *effect) {
    if (effect->token >= SIM_SIDE_FIRST) {
        sim_side_ended(world, effect);
        return;
    }
    struct consumer *consumer = find_consumer(world->programs, node, effect->token);
    if (consumer == NULL) {
        return;
    }
    const struct group *group = &world->programs->groups[consumer->group];
    sim_say(world, "consumer %llu ended: %s", (unsigned long long)effect->token,
            mom_err_name(effect->error));
    consumer->state = CONSUMER_CLOSED;
    consumer->held_count = 0;
    sim_history_add(world, node, CHECK_END, CHECK_SAW,
                    (struct check_record){
                        .stream = world->programs->streams[group->stream].name_number,
                        .subscription = group->subscription_number,
                        .consumer = effect->token,
                        .result = (int16_t)effect->error});
}

/* --- outcomes --------------------------------------------------------------------- */

void sim_consumer_completed(struct sim_world *world, const struct call *call,
                            const struct momi_completion *done) {
    struct consumer *consumer = &world->programs->consumers[call->who];
    bool is_ok = done->error == MOM_OK;
    if (call->kind == WANT_OPEN) {
        if (consumer->state == CONSUMER_OPENING) {
            consumer->state = is_ok ? CONSUMER_OPEN : CONSUMER_CLOSED;
        }
        sim_history_done(world, call->node, CHECK_OPEN, call->op, done->error, 0);
    } else if (call->kind == WANT_CLOSE) {
        sim_history_done(world, call->node, CHECK_CLOSE, call->op, done->error, 0);
    } else {
        for (uint32_t i = 0; i < call->count; i++) {
            world->totals.settled += is_ok && call->kinds[i] == CHECK_ACK;
            sim_history_done(world, call->node, (enum check_kind)call->kinds[i],
                             call->op + i, sim_history_flushed(done->error), 0);
        }
    }
}
