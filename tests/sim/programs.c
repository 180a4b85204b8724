/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of a run: they create streams, publish numbered messages, consume, settle,
 * and write down what they were told. The judge holds the history against the promises:
 * nothing acknowledged lost, nothing refused delivered, nothing from nowhere, order per
 * publisher, growing tokens, consumed stays consumed.
 */
#include "base/mem.h"
#include "core/call.h"
#include "core/entry.h"
#include "world.h"

enum {
    STREAMS_MAX = 4,
    GROUPS_MAX = 8,
    PUBLISHERS_MAX = 4,
    CONSUMERS_MAX = 16,
    CALLS_MAX = 4096,
    HELD_MAX = 2048,
    BODY_BYTES = 12,
};

enum outcome { OUTCOME_OPEN = 0, OUTCOME_ACKED, OUTCOME_REFUSED, OUTCOME_UNKNOWN };

/* One message, as its publisher and its readers saw it. */
struct message {
    uint64_t sequence; /* 0: not known */
    uint64_t life; /* of the publisher's node, and which: order is promised within one */
    enum outcome outcome;
    uint8_t stream;
    uint8_t key;
    uint64_t token[GROUPS_MAX]; /* of the last delivery */
    uint32_t delivered[GROUPS_MAX];
    bool may_be_consumed[GROUPS_MAX]; /* it was acknowledged, with an outcome that nobody
                                         knows */
    bool consumed[GROUPS_MAX];        /* its acknowledgement is committed */
};

struct publisher {
    uint32_t node;
    struct message *messages; /* by counter from 0 */
    uint32_t count, room;
    uint32_t open; /* calls not completed */
};

struct stream {
    enum momi_kind kind;
    char name[8];
    bool is_created;
    uint32_t first_group, groups_count;
};

struct group {
    uint32_t stream;
    char subscription[8]; /* empty for a queue */
    const char *filter;   /* NULL: everything */
    bool is_created;
    uint64_t late_us; /* created then, from the topic's first message on; 0: at once */
};

/* A message in a consumer's hands. */
struct held {
    struct momi_token token;
    uint64_t delivery;
    uint32_t publisher, counter;
};

enum consumer_state { CONSUMER_CLOSED, CONSUMER_OPENING, CONSUMER_OPEN };
struct consumer {
    uint32_t node;
    uint32_t group;
    uint64_t handle; /* new for each opening */
    enum consumer_state state;
    struct held held[HELD_MAX];
    uint32_t held_count;
};

enum call_kind { WANT_CREATE, WANT_SUBSCRIBE, WANT_PUBLISH, WANT_OPEN, WANT_FLUSH };
struct call {
    uint64_t id; /* 0: free */
    uint32_t node;
    enum call_kind kind;
    uint32_t who;     /* stream, group, publisher or consumer */
    uint32_t counter; /* publish: first message */
    uint32_t count;
    struct held *settled; /* flush: what is consumed when it is OK; owned */
};

struct sim_programs {
    struct stream streams[STREAMS_MAX];
    uint32_t streams_count;
    struct group groups[GROUPS_MAX];
    uint32_t groups_count;
    struct publisher publishers[PUBLISHERS_MAX];
    uint32_t publishers_count;
    struct consumer consumers[CONSUMERS_MAX];
    uint32_t consumers_count;
    struct call calls[CALLS_MAX];
    uint64_t id_next;
    bool is_calm;
    uint64_t quiet_since_us;
};

static const char *const keys[] = {"a.b", "a.c", "b", "a.b.c"};
enum { KEYS = 4 };

/* --- what belongs where
 * ---------------------------------------------------------------------- */

/* The filters used here, decided by hand, not by the code under test. */
static bool group_wants(const struct group *group, uint8_t key) {
    if (group->filter == NULL || strcmp(group->filter, "#") == 0) {
        return true;
    }
    if (strcmp(group->filter, "a.*") == 0) {
        return key <= 1;
    }
    return key == 0 || key == 1 || key == 3; /* "a.#" */
}

static uint64_t draw_late(struct sim_world *world) {
    return sim_draw(&world->rng_program, 2 * MOMI_S, world->options.run_us * 2 / 3);
}

static void add_stream(struct sim_world *world, struct sim_programs *programs,
                       enum momi_kind kind, uint32_t number) {
    uint32_t late = world->options.late_groups;
    struct stream *stream = &programs->streams[programs->streams_count];
    stream->kind = kind;
    memcpy(stream->name, kind == MOMI_KIND_QUEUE ? "q0" : "t0", 3);
    stream->name[1] = (char)('0' + number);
    stream->first_group = programs->groups_count;
    static const char *const filters[] = {"#", "a.*", "a.#"};
    stream->groups_count = kind == MOMI_KIND_QUEUE ? 1 : 3;
    for (uint32_t i = 0; i < stream->groups_count; i++) {
        struct group *group = &programs->groups[programs->groups_count++];
        group->stream = programs->streams_count;
        if (kind == MOMI_KIND_TOPIC) {
            memcpy(group->subscription, "s0", 3);
            group->subscription[1] = (char)('0' + i);
            group->filter = filters[i];
            group->late_us = i < late ? draw_late(world) : 0;
        } else {
            group->is_created = true; /* with its queue */
        }
    }
    programs->streams_count++;
}

static uint32_t draw_node(struct sim_world *world) {
    return (uint32_t)sim_draw(&world->rng_program, 0, world->nodes_count - 1);
}

static void program_later(struct sim_world *world, uint64_t delay_us, uint64_t kind,
                          uint64_t who) {
    sim_task_add(world, delay_us, TASK_PROGRAM, kind, who, 0);
}

enum program_kind { PROGRAM_SET_UP, PROGRAM_PUBLISHER, PROGRAM_CONSUMER };

struct sim_programs *sim_programs_new(struct sim_world *world) {
    struct sim_programs *programs = momi_must_calloc(1, sizeof *programs);
    for (uint32_t i = 0; i < world->options.queues; i++) {
        add_stream(world, programs, MOMI_KIND_QUEUE, i);
    }
    for (uint32_t i = 0; i < world->options.topics; i++) {
        add_stream(world, programs, MOMI_KIND_TOPIC, i);
    }
    programs->publishers_count = world->options.publishers;
    for (uint32_t i = 0; i < programs->publishers_count; i++) {
        programs->publishers[i].node = draw_node(world);
        program_later(world, sim_draw(&world->rng_program, 0, MOMI_S), PROGRAM_PUBLISHER,
                      i);
    }
    /* Every group has a consumer; the others compete. */
    programs->consumers_count = programs->groups_count + world->options.consumers;
    for (uint32_t i = 0; i < programs->consumers_count; i++) {
        programs->consumers[i].group =
            i < programs->groups_count
                ? i
                : (uint32_t)sim_draw(&world->rng_program, 0, programs->groups_count - 1);
        programs->consumers[i].node = draw_node(world);
        program_later(world, sim_draw(&world->rng_program, 0, 2 * MOMI_S),
                      PROGRAM_CONSUMER, i);
    }
    program_later(world, 200 * MOMI_MS, PROGRAM_SET_UP, 0);
    return programs;
}

void sim_programs_free(struct sim_programs *programs) {
    if (programs == NULL) {
        return;
    }
    for (uint32_t i = 0; i < PUBLISHERS_MAX; i++) {
        momi_free(programs->publishers[i].messages);
    }
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        momi_free(programs->calls[i].settled);
    }
    momi_free(programs);
}

/* --- calls
 * ----------------------------------------------------------------------------------- */

static struct call *new_call(struct sim_world *world, uint32_t node, enum call_kind kind,
                             uint32_t who) {
    struct sim_programs *programs = world->programs;
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        struct call *call = &programs->calls[(programs->id_next + i) % CALLS_MAX];
        if (call->id == 0) {
            *call = (struct call){
                .id = ++programs->id_next, .node = node, .kind = kind, .who = who};
            return call;
        }
    }
    return NULL;
}

static void make_call(struct sim_world *world, const struct call *call,
                      struct momi_call *request) {
    request->id = call->id;
    world->totals.commands++;
    struct momi_event event = {.type = EV_CALL, .call = request};
    sim_node_event(world, call->node, &event);
}

static bool may_act(const struct sim_world *world, uint32_t node) {
    return sim_node_is_up(world, node) && !world->nodes[node].is_paused &&
           !world->nodes[node].is_closing;
}

static uint64_t node_now(const struct sim_world *world, uint32_t node) {
    return world->nodes[node].now_floor_us;
}

/* --- setting up
 * ------------------------------------------------------------------------------ */

static void create_stream(struct sim_world *world, uint32_t which, uint32_t node) {
    struct stream *stream = &world->programs->streams[which];
    struct call *call = new_call(world, node, WANT_CREATE, which);
    if (call == NULL) {
        return;
    }
    struct momi_call request = {.type = CALL_STREAM_CREATE,
                                .deadline_us = node_now(world, node) + 3 * MOMI_S,
                                .kind = stream->kind,
                                .name = momi_slice_str(stream->name),
                                .if_missing = true};
    request.options.lease_us = 4 * MOMI_S;
    request.options.deliveries_max = 1000000; /* dead letters have tests of their own */
    make_call(world, call, &request);
}

static void create_subscription(struct sim_world *world, uint32_t which, uint32_t node) {
    struct group *group = &world->programs->groups[which];
    struct call *call = new_call(world, node, WANT_SUBSCRIBE, which);
    if (call == NULL) {
        return;
    }
    struct momi_slice filter = momi_slice_str(group->filter);
    struct momi_call request = {
        .type = CALL_SUBSCRIPTION_CREATE,
        .deadline_us = node_now(world, node) + 3 * MOMI_S,
        .kind = MOMI_KIND_TOPIC,
        .name = momi_slice_str(world->programs->streams[group->stream].name),
        .subscription = momi_slice_str(group->subscription),
        .if_missing = true,
        .from = group->late_us != 0 ? MOMI_FROM_FIRST : MOMI_FROM_NEW,
        .filters = &filter,
        .filters_count = 1};
    make_call(world, call, &request);
}

static void set_up(struct sim_world *world) {
    struct sim_programs *programs = world->programs;
    bool is_done = true;
    for (uint32_t i = 0; i < programs->streams_count; i++) {
        uint32_t node = draw_node(world);
        if (!programs->streams[i].is_created) {
            is_done = false;
            if (may_act(world, node)) {
                create_stream(world, i, node);
            }
        }
    }
    for (uint32_t i = 0; i < programs->groups_count; i++) {
        uint32_t node = draw_node(world);
        if (!programs->groups[i].is_created &&
            programs->streams[programs->groups[i].stream].is_created) {
            is_done = false;
            if (may_act(world, node) &&
                (world->now_us >= programs->groups[i].late_us || programs->is_calm)) {
                create_subscription(world, i, node);
            }
        }
        is_done = is_done && programs->groups[i].is_created;
    }
    if (!is_done) {
        program_later(world, sim_draw(&world->rng_program, 100 * MOMI_MS, MOMI_S),
                      PROGRAM_SET_UP, 0);
    }
}

static bool is_ready(const struct sim_programs *programs, uint32_t which) {
    const struct stream *stream = &programs->streams[which];
    bool ready = stream->is_created;
    for (uint32_t i = 0; i < stream->groups_count; i++) {
        const struct group *group = &programs->groups[stream->first_group + i];
        ready = ready && (group->is_created || group->late_us != 0);
    }
    return ready;
}

/* --- publishers
 * ------------------------------------------------------------------------------ */

static struct message *add_message(struct publisher *publisher) {
    if (publisher->count == publisher->room) {
        publisher->room = publisher->room == 0 ? 256 : publisher->room * 2;
        publisher->messages = momi_must_realloc(
            publisher->messages, publisher->room * sizeof *publisher->messages);
    }
    struct message *message = &publisher->messages[publisher->count++];
    *message = (struct message){0};
    return message;
}

static void put_record(struct sim_world *world, struct momi_bytes *out, uint32_t who,
                       uint32_t counter, uint8_t key) {
    uint8_t body[9000] = {0};
    size_t size = BODY_BYTES + (momi_rng_chance(&world->rng_program, 50000)
                                    ? sim_draw(&world->rng_program, 0, 8000)
                                    : sim_draw(&world->rng_program, 0, 100));
    momi_store_le32(body, who);
    momi_store_le32(body + 4, counter);
    momi_store_le32(body + 8, ~(who * 31 + counter));
    struct momi_record record = {.key = momi_slice_str(keys[key]),
                                 .body = momi_slice(body, size)};
    size_t record_size = momi_record_size(record.key.size, 0, size);
    if (momi_bytes_reserve(out, record_size)) {
        momi_record_write(out->data + out->size, &record);
        out->size += record_size;
    }
}

static void publish(struct sim_world *world, uint32_t who) {
    struct sim_programs *programs = world->programs;
    struct publisher *publisher = &programs->publishers[who];
    struct momi_rng *rng = &world->rng_program;
    uint32_t which = (uint32_t)sim_draw(rng, 0, programs->streams_count - 1);
    if (!is_ready(programs, which) || publisher->open > 256) {
        return;
    }
    struct call *call = new_call(world, publisher->node, WANT_PUBLISH, who);
    if (call == NULL) {
        return;
    }
    const struct stream *stream = &programs->streams[which];
    struct momi_bytes records = {0};
    call->counter = publisher->count;
    call->count = (uint32_t)sim_draw(rng, 1, momi_rng_chance(rng, 100000) ? 40 : 3);
    for (uint32_t i = 0; i < call->count; i++) {
        struct message *message = add_message(publisher);
        message->stream = (uint8_t)which;
        message->life =
            world->nodes[publisher->node].life * SIM_NODES_MAX + publisher->node;
        message->key = (uint8_t)sim_draw(rng, 0, KEYS - 1);
        put_record(world, &records, who, call->counter + i, message->key);
    }
    publisher->open++;
    struct momi_call request = {.type = CALL_PUBLISH,
                                .kind = stream->kind,
                                .name = momi_slice_str(stream->name),
                                .records_count = call->count,
                                .records = momi_bytes_slice(&records)};
    bool has_deadline = momi_rng_chance(rng, 300000);
    request.deadline_us = has_deadline ? node_now(world, publisher->node) +
                                             sim_draw(rng, MOMI_MS, 3 * MOMI_S)
                                       : MOMI_NEVER;
    make_call(world, call, &request);
    momi_bytes_free(&records);
}

static void publisher_acts(struct sim_world *world, uint32_t who) {
    struct publisher *publisher = &world->programs->publishers[who];
    if (world->programs->is_calm) {
        return;
    }
    if (!may_act(world, publisher->node)) {
        publisher->node = draw_node(world);
    } else {
        uint64_t burst = sim_draw(&world->rng_program, 1, 4);
        for (uint64_t i = 0; i < burst && may_act(world, publisher->node); i++) {
            publish(world, who);
        }
    }
    program_later(world, sim_draw(&world->rng_program, 5 * MOMI_MS, 500 * MOMI_MS),
                  PROGRAM_PUBLISHER, who);
}

static void published(struct sim_world *world, const struct call *call,
                      const struct momi_completion *done) {
    struct publisher *publisher = &world->programs->publishers[call->who];
    publisher->open--;
    for (uint32_t i = 0; i < call->count; i++) {
        struct message *message = &publisher->messages[call->counter + i];
        if (done->error == MOM_OK) {
            message->outcome = OUTCOME_ACKED;
            world->totals.acknowledged++;
            if (message->sequence != 0 && message->sequence != done->sequence + i) {
                sim_fail(world, "p%u:%u was delivered as %llu and acknowledged as %llu",
                         call->who, call->counter + i,
                         (unsigned long long)message->sequence,
                         (unsigned long long)done->sequence + i);
            }
            message->sequence = done->sequence + i;
        } else {
            message->outcome =
                done->error == MOM_UNKNOWN_OUTCOME ? OUTCOME_UNKNOWN : OUTCOME_REFUSED;
        }
        if (message->outcome == OUTCOME_REFUSED && message->sequence != 0) {
            sim_fail(world, "p%u:%u was delivered and refused (%s)", call->who,
                     call->counter + i, mom_err_name(done->error));
        }
    }
}

/* --- consumers
 * ------------------------------------------------------------------------------- */

static void open_consumer(struct sim_world *world, uint32_t who) {
    struct sim_programs *programs = world->programs;
    struct consumer *consumer = &programs->consumers[who];
    const struct group *group = &programs->groups[consumer->group];
    const struct stream *stream = &programs->streams[group->stream];
    struct call *call = new_call(world, consumer->node, WANT_OPEN, who);
    if (call == NULL) {
        return;
    }
    consumer->state = CONSUMER_OPENING;
    consumer->handle = ++programs->id_next;
    consumer->held_count = 0;
    struct momi_call request = {
        .type = CALL_CONSUMER_OPEN,
        .deadline_us = node_now(world, consumer->node) + 5 * MOMI_S,
        .kind = stream->kind,
        .name = momi_slice_str(stream->name),
        .subscription = momi_slice_str(group->subscription),
        .consumer = consumer->handle,
        .prefetch = (uint32_t)sim_draw(&world->rng_program, 1, 60)};
    make_call(world, call, &request);
}

static struct message *message_of(struct sim_programs *programs,
                                  const struct held *held) {
    return &programs->publishers[held->publisher].messages[held->counter];
}

/* The program takes what it holds, settles some of it, and asks to know when that is
 * committed. */
static void settle(struct sim_world *world, uint32_t who) {
    struct sim_programs *programs = world->programs;
    struct consumer *consumer = &programs->consumers[who];
    struct momi_rng *rng = &world->rng_program;
    uint32_t count = (uint32_t)sim_draw(rng, 0, consumer->held_count);
    if (programs->is_calm) {
        count = consumer->held_count;
    }
    if (count == 0) {
        return;
    }
    struct held *acked = momi_must_calloc(count, sizeof *acked);
    struct momi_settle *settles = momi_must_calloc(count, sizeof *settles);
    uint32_t acked_count = 0;
    uint64_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct held *held = &consumer->held[i];
        bool gives_back = !programs->is_calm && momi_rng_chance(rng, 60000);
        settles[i] = (struct momi_settle){.token = held->token,
                                          .count = 1,
                                          .action = gives_back ? MOMI_SETTLE_GIVE_BACK
                                                               : MOMI_SETTLE_ACK};
        if (!gives_back) {
            acked[acked_count++] = *held;
        }
        last = held->delivery > last ? held->delivery : last;
    }
    bool forgets = !programs->is_calm &&
                   momi_rng_chance(rng, 30000); /* never settled: the lease runs out */
    memmove(consumer->held, consumer->held + count,
            (consumer->held_count - count) * sizeof *consumer->held);
    consumer->held_count -= count;
    uint64_t handle = consumer->handle;
    struct momi_event taken = {.type = EV_CONSUMER_TAKEN, .token = handle, .value = last};
    sim_node_event(world, consumer->node, &taken);
    struct call *call = forgets ? NULL : new_call(world, consumer->node, WANT_FLUSH, who);
    if (call == NULL || !sim_node_is_up(world, consumer->node)) {
        momi_free(acked);
    } else {
        struct momi_event event = {.type = EV_CONSUMER_SETTLE,
                                   .token = handle,
                                   .settles = settles,
                                   .settles_count = count};
        call->settled = acked;
        call->count = acked_count;
        sim_node_event(world, consumer->node, &event);
        struct momi_call request = {
            .type = CALL_CONSUMER_FLUSH, .deadline_us = MOMI_NEVER, .consumer = handle};
        make_call(world, call, &request);
    }
    momi_free(settles);
}

static void close_consumer(struct sim_world *world, uint32_t who) {
    struct consumer *consumer = &world->programs->consumers[who];
    struct momi_call request = {.type = CALL_CONSUMER_CLOSE,
                                .deadline_us = MOMI_NEVER,
                                .consumer = consumer->handle};
    struct call *call = new_call(world, consumer->node, WANT_FLUSH, who);
    consumer->state = CONSUMER_CLOSED;
    consumer->held_count = 0;
    if (call != NULL) {
        make_call(world, call, &request);
    }
}

static void consumer_acts(struct sim_world *world, uint32_t who) {
    struct sim_programs *programs = world->programs;
    struct consumer *consumer = &programs->consumers[who];
    struct momi_rng *rng = &world->rng_program;
    if (!may_act(world, consumer->node)) {
        if (consumer->state == CONSUMER_CLOSED) {
            consumer->node = draw_node(world);
        }
    } else if (consumer->state == CONSUMER_CLOSED) {
        if (is_ready(programs, programs->groups[consumer->group].stream) &&
            programs->groups[consumer->group].is_created) {
            open_consumer(world, who);
        }
    } else if (consumer->state == CONSUMER_OPEN) {
        if (!programs->is_calm && momi_rng_chance(rng, 5000)) {
            close_consumer(world, who);
        } else {
            settle(world, who);
        }
    }
    program_later(
        world,
        sim_draw(rng, 2 * MOMI_MS, programs->is_calm ? 50 * MOMI_MS : 300 * MOMI_MS),
        PROGRAM_CONSUMER, who);
}

/* What a body says: who wrote it and which it is; false: nobody wrote that. */
static bool read_body(const struct sim_programs *programs, struct momi_slice body,
                      struct held *held) {
    if (body.size < BODY_BYTES) {
        return false;
    }
    held->publisher = momi_load_le32(body.data);
    held->counter = momi_load_le32(body.data + 4);
    return momi_load_le32(body.data + 8) == ~(held->publisher * 31 + held->counter) &&
           held->publisher < programs->publishers_count &&
           held->counter < programs->publishers[held->publisher].count;
}

static void deliver(struct sim_world *world, struct consumer *consumer,
                    const struct held *held, const struct momi_delivery_run *run,
                    uint64_t sequence) {
    struct message *message = message_of(world->programs, held);
    uint32_t g = consumer->group;
    const struct group *group = &world->programs->groups[g];
    world->totals.delivered++;
    if (message->stream != group->stream || !group_wants(group, message->key)) {
        sim_fail(world, "p%u:%u came to group %u, where it does not belong",
                 held->publisher, held->counter, g);
    } else if (message->outcome == OUTCOME_REFUSED) {
        sim_fail(world, "p%u:%u was refused and is delivered", held->publisher,
                 held->counter);
    } else if (message->sequence != 0 && message->sequence != sequence) {
        sim_fail(world, "p%u:%u is message %llu and comes as %llu: doubled",
                 held->publisher, held->counter, (unsigned long long)message->sequence,
                 (unsigned long long)sequence);
    } else if (message->consumed[g] && held->token.counter > message->token[g]) {
        sim_fail(world, "p%u:%u was consumed in group %u and comes again",
                 held->publisher, held->counter, g);
    } else if (message->token[g] == held->token.counter) {
        sim_fail(world, "p%u:%u comes to group %u twice with token %llu", held->publisher,
                 held->counter, g, (unsigned long long)held->token.counter);
    }
    (void)run;
    if (world->tells_frames) {
        sim_say(
            world, "p%u:%u comes to consumer %llu of group %u, token %llu delivery %llu",
            held->publisher, held->counter, (unsigned long long)consumer->handle, g,
            (unsigned long long)held->token.counter, (unsigned long long)held->delivery);
    }
    message->sequence = sequence;
    if (held->token.counter > message->token[g]) {
        /* An older one comes late, from a leader that did not know yet that it is none:
         * acts with it are refused. */
        message->may_be_consumed[g] = false;
        message->token[g] = held->token.counter;
    }
    message->delivered[g]++;
}

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

void sim_programs_messages(struct sim_world *world, uint32_t node,
                           const struct momi_effect *effect) {
    struct sim_programs *programs = world->programs;
    if (effect->token >= SIM_SIDE_FIRST) {
        sim_side_messages(world, effect);
        return;
    }
    struct consumer *consumer = find_consumer(programs, node, effect->token);
    if (consumer == NULL) {
        return;
    }
    if (effect->delivery->runs_count == 0) {
        /* Buffered messages are void: the program drops those that it has not taken. Here
         * it takes when it settles. */
        uint32_t kept = 0;
        for (uint32_t i = 0; i < consumer->held_count; i++) {
            if (consumer->held[i].delivery > effect->value) {
                consumer->held[kept++] = consumer->held[i];
            }
        }
        consumer->held_count = kept;
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
                !read_body(programs, record.body, &held)) {
                sim_fail(world,
                         "a message from nowhere, or a damaged one, came to group %u",
                         consumer->group);
                return;
            }
            left =
                momi_slice(left.data + record.whole.size, left.size - record.whole.size);
            deliver(world, consumer, &held, run, run->sequence + i);
            if (consumer->held_count < HELD_MAX) {
                consumer->held[consumer->held_count++] = held;
            }
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
    if (consumer != NULL) {
        sim_say(world, "consumer %llu ended: %s", (unsigned long long)effect->token,
                mom_err_name(effect->error));
        consumer->state = CONSUMER_CLOSED;
        consumer->held_count = 0;
    }
}

/* --- completions
 * ----------------------------------------------------------------------------- */

static void flushed(struct sim_world *world, const struct call *call, int error) {
    if (call->settled == NULL) {
        return;
    }
    uint32_t g = world->programs->consumers[call->who].group;
    for (uint32_t i = 0; i < call->count; i++) {
        struct message *message = message_of(world->programs, &call->settled[i]);
        /* A settlement with a token that is no longer the last one was refused: the
         * message comes again. */
        if (message->token[g] != call->settled[i].token.counter || message->consumed[g]) {
            continue;
        }
        if (world->tells_frames) {
            sim_say(world, "p%u:%u is settled in group %u: %s",
                    call->settled[i].publisher, call->settled[i].counter, g,
                    mom_err_name(error));
        }
        message->may_be_consumed[g] = true;
        if (error == MOM_OK) {
            message->consumed[g] = true;
            world->totals.settled++;
        }
    }
}

static void complete(struct sim_world *world, struct call *call,
                     const struct momi_completion *done) {
    struct sim_programs *programs = world->programs;
    bool ok = done->error == MOM_OK;
    switch (call->kind) {
    case WANT_CREATE:
        programs->streams[call->who].is_created =
            ok || programs->streams[call->who].is_created;
        break;
    case WANT_SUBSCRIBE:
        programs->groups[call->who].is_created =
            ok || programs->groups[call->who].is_created;
        break;
    case WANT_PUBLISH:
        published(world, call, done);
        break;
    case WANT_OPEN:
        if (programs->consumers[call->who].state == CONSUMER_OPENING) {
            programs->consumers[call->who].state = ok ? CONSUMER_OPEN : CONSUMER_CLOSED;
        }
        break;
    case WANT_FLUSH:
        flushed(world, call, done->error);
        break;
    }
    momi_free(call->settled);
    call->settled = NULL;
    call->id = 0;
    programs->quiet_since_us = world->now_us;
}

void sim_programs_completed(struct sim_world *world, uint32_t node,
                            const struct momi_effect *effect) {
    if (effect->token >= SIM_SIDE_FIRST) {
        sim_side_completed(world, effect);
        return;
    }
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        struct call *call = &world->programs->calls[i];
        if (call->id == effect->token && call->id != 0) {
            if (call->node != node) {
                sim_fail(world, "call %llu was completed by another node",
                         (unsigned long long)call->id);
            }
            complete(world, call, &effect->completion);
            return;
        }
    }
    sim_fail(world, "call %llu was completed twice, or never made",
             (unsigned long long)effect->token);
}

void sim_programs_node_down(struct sim_world *world, uint32_t node) {
    static const struct momi_completion unknown = {.error = MOM_UNKNOWN_OUTCOME};
    sim_side_node_down(world, node);
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        struct call *call = &world->programs->calls[i];
        if (call->id != 0 && call->node == node) {
            complete(world, call, &unknown);
        }
    }
    for (uint32_t i = 0; i < world->programs->consumers_count; i++) {
        struct consumer *consumer = &world->programs->consumers[i];
        if (consumer->node == node) {
            consumer->state = CONSUMER_CLOSED;
            consumer->held_count = 0;
        }
    }
}

void sim_programs_node_up(struct sim_world *world, uint32_t node) {
    (void)world;
    (void)node; /* programs look for a node when they act */
}

void sim_programs_task(struct sim_world *world, struct sim_task *task) {
    if (task->a >= SIM_SIDE_FIRST) {
        sim_side_task(world, task);
        return;
    }
    switch ((enum program_kind)task->a) {
    case PROGRAM_SET_UP:
        set_up(world);
        break;
    case PROGRAM_PUBLISHER:
        publisher_acts(world, (uint32_t)task->b);
        break;
    case PROGRAM_CONSUMER:
        consumer_acts(world, (uint32_t)task->b);
        break;
    }
}

/* --- the end
 * --------------------------------------------------------------------------------- */

void sim_programs_calm(struct sim_world *world) {
    world->programs->is_calm = true;
    sim_side_calm(world);
    world->programs->quiet_since_us = world->now_us;
}

static bool is_missing(const struct sim_programs *programs, const struct message *message,
                       uint32_t g) {
    const struct group *group = &programs->groups[g];
    return message->outcome == OUTCOME_ACKED && message->stream == group->stream &&
           group_wants(group, message->key) && !message->may_be_consumed[g];
}

static uint64_t count_missing(const struct sim_programs *programs) {
    uint64_t missing = 0;
    for (uint32_t p = 0; p < programs->publishers_count; p++) {
        for (uint32_t i = 0; i < programs->publishers[p].count; i++) {
            for (uint32_t g = 0; g < programs->groups_count; g++) {
                missing += is_missing(programs, &programs->publishers[p].messages[i], g);
            }
        }
    }
    return missing;
}

uint64_t sim_programs_left(struct sim_world *world) {
    return count_missing(world->programs);
}

bool sim_programs_are_done(struct sim_world *world) {
    struct sim_programs *programs = world->programs;
    if (world->now_us < programs->quiet_since_us + 100 * MOMI_MS) {
        return false;
    }
    programs->quiet_since_us =
        world->now_us; /* look again after a while, not at every task */
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        if (programs->calls[i].id != 0) {
            return false;
        }
    }
    for (uint32_t i = 0; i < programs->groups_count; i++) {
        if (!programs->groups[i].is_created) {
            return false;
        }
    }
    for (uint32_t i = 0; i < programs->consumers_count; i++) {
        if (programs->consumers[i].held_count > 0) {
            return false;
        }
    }
    return count_missing(programs) == 0 && sim_side_is_done(world) &&
           sim_replicas_uneven(world) == NULL;
}

void sim_programs_say_waiting(struct sim_world *world) {
    static const char *const kinds[] = {"create", "subscribe", "publish", "open",
                                        "flush"};
    struct sim_programs *programs = world->programs;
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        const struct call *call = &programs->calls[i];
        if (call->id != 0) {
            sim_say(world, "call %llu (%s of %u, first %u, count %u) on n%u is open",
                    (unsigned long long)call->id, kinds[call->kind], call->who,
                    call->counter, call->count, call->node);
        }
    }
    for (uint32_t i = 0; i < programs->consumers_count; i++) {
        const struct consumer *consumer = &programs->consumers[i];
        sim_say(world, "consumer %u of group %u on n%u, handle %llu: state %d, holds %u",
                i, consumer->group, consumer->node, (unsigned long long)consumer->handle,
                (int)consumer->state, consumer->held_count);
    }
    sim_side_say_waiting(world);
    const char *uneven = sim_replicas_uneven(world);
    if (uneven != NULL) {
        sim_say(world, "%s", uneven);
    }
    sim_say(world, "%llu acknowledged messages are not consumed",
            (unsigned long long)count_missing(programs));
}

/* Sequences of one publisher in one stream rise in the order in which it sent, within one
 * life of its node. */
static void judge_order(struct sim_world *world, uint32_t p) {
    const struct publisher *publisher = &world->programs->publishers[p];
    uint64_t last[STREAMS_MAX] = {0};
    uint64_t life[STREAMS_MAX] = {0};
    for (uint32_t i = 0; i < publisher->count; i++) {
        const struct message *message = &publisher->messages[i];
        if (message->sequence == 0) {
            continue;
        }
        if (life[message->stream] == message->life &&
            message->sequence <= last[message->stream]) {
            sim_fail(
                world,
                "p%u:%u has sequence %llu after %llu: the publisher's order is broken", p,
                i, (unsigned long long)message->sequence,
                (unsigned long long)last[message->stream]);
            return;
        }
        life[message->stream] = message->life;
        last[message->stream] = message->sequence;
    }
}

void sim_programs_judge(struct sim_world *world) {
    uint64_t missing = count_missing(world->programs);
    if (missing > 0) {
        sim_fail(world, "%llu acknowledged messages were never consumed",
                 (unsigned long long)missing);
    }
    for (uint32_t p = 0; p < world->programs->publishers_count; p++) {
        judge_order(world, p);
    }
}
