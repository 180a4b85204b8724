/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of a run: which streams there are, who publishes, who consumes; hearing
 * of outcomes; and the end, when everything must have been consumed. What they were told
 * and what came is judged by tests/check, record by record (history.c).
 */
#include "programs.h"

#include "base/mem.h"

/* --- what there is ---------------------------------------------------------------- */

static uint64_t draw_late(struct sim_world *world) {
    return sim_draw(&world->rng_program, 2 * MOMI_S, world->options.run_us * 2 / 3);
}

static void add_group(struct sim_world *world, enum momi_kind kind, uint32_t number) {
    static const char *const filters[] = {"#", "a.*", "a.#"};
    struct sim_programs *programs = world->programs;
    struct group *group = &programs->groups[programs->groups_count++];
    group->stream = programs->streams_count;
    if (kind == MOMI_KIND_QUEUE) {
        group->is_created = true; /* with its queue */
        return;
    }
    memcpy(group->subscription, "s0", 3);
    group->subscription[1] = (char)('0' + number);
    group->subscription_number = sim_history_name(world, group->subscription);
    group->filter = filters[number];
    group->filter_number = sim_history_name(world, group->filter);
    group->late_us = number < world->options.late_groups ? draw_late(world) : 0;
}

static void add_stream(struct sim_world *world, enum momi_kind kind, uint32_t number) {
    struct sim_programs *programs = world->programs;
    struct stream *stream = &programs->streams[programs->streams_count];
    stream->kind = kind;
    memcpy(stream->name, kind == MOMI_KIND_QUEUE ? "q0" : "t0", 3);
    stream->name[1] = (char)('0' + number);
    stream->name_number = sim_history_name(world, stream->name);
    stream->first_group = programs->groups_count;
    stream->groups_count = kind == MOMI_KIND_QUEUE ? 1 : 3;
    for (uint32_t i = 0; i < stream->groups_count; i++) {
        add_group(world, kind, i);
    }
    programs->streams_count++;
}

uint32_t sim_programs_draw_node(struct sim_world *world) {
    return (uint32_t)sim_draw(&world->rng_program, 0, world->nodes_count - 1);
}

void sim_programs_later(struct sim_world *world, uint64_t delay_us,
                        enum program_kind kind, uint32_t who) {
    sim_task_add(world, delay_us, TASK_PROGRAM, kind, who, 0);
}

struct sim_programs *sim_programs_new(struct sim_world *world) {
    struct sim_programs *programs = momi_must_calloc(1, sizeof *programs);
    world->programs = programs;
    programs->history = sim_history_new(world);
    for (uint32_t i = 0; i < world->options.queues; i++) {
        add_stream(world, MOMI_KIND_QUEUE, i);
    }
    for (uint32_t i = 0; i < world->options.topics; i++) {
        add_stream(world, MOMI_KIND_TOPIC, i);
    }
    programs->publishers_count = world->options.publishers;
    for (uint32_t i = 0; i < programs->publishers_count; i++) {
        programs->publishers[i].node = sim_programs_draw_node(world);
        sim_programs_later(world, sim_draw(&world->rng_program, 0, MOMI_S),
                           PROGRAM_PUBLISHER, i);
    }
    /* Every group has a consumer; the others compete. */
    programs->consumers_count = programs->groups_count + world->options.consumers;
    for (uint32_t i = 0; i < programs->consumers_count; i++) {
        programs->consumers[i].group =
            i < programs->groups_count
                ? i
                : (uint32_t)sim_draw(&world->rng_program, 0, programs->groups_count - 1);
        programs->consumers[i].node = sim_programs_draw_node(world);
        sim_programs_later(world, sim_draw(&world->rng_program, 0, 2 * MOMI_S),
                           PROGRAM_CONSUMER, i);
    }
    sim_programs_later(world, 200 * MOMI_MS, PROGRAM_SET_UP, 0);
    return programs;
}

void sim_programs_free(struct sim_programs *programs) {
    if (programs == NULL) {
        return;
    }
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        momi_free(programs->calls[i].kinds);
    }
    sim_history_free(programs->history);
    momi_free(programs);
}

/* --- setting up ------------------------------------------------------------------- */

enum { LEASE_MS = 4000, DELIVERIES_MAX = 1000000 /* dead letters are for side.c */ };

static void create_stream(struct sim_world *world, uint32_t which, uint32_t node) {
    const struct stream *stream = &world->programs->streams[which];
    struct call *call = sim_call_new(world, node, WANT_CREATE, which);
    if (call == NULL) {
        return;
    }
    struct momi_call request = {.type = CALL_STREAM_CREATE,
                                .deadline_us = sim_call_now(world, node) + 3 * MOMI_S,
                                .kind = stream->kind,
                                .name = momi_slice_str(stream->name),
                                .if_missing = true};
    request.options.lease_us = LEASE_MS * MOMI_MS;
    request.options.deliveries_max = DELIVERIES_MAX;
    call->op = sim_history_ops(world, 1);
    sim_history_add(world, node, CHECK_CREATE, CHECK_CALL,
                    (struct check_record){.op = call->op,
                                          .stream = stream->name_number,
                                          .value = LEASE_MS,
                                          .deliveries = DELIVERIES_MAX,
                                          .if_missing = true});
    sim_call_make(world, call, &request);
}

static void create_subscription(struct sim_world *world, uint32_t which, uint32_t node) {
    const struct group *group = &world->programs->groups[which];
    const struct stream *stream = &world->programs->streams[group->stream];
    struct call *call = sim_call_new(world, node, WANT_SUBSCRIBE, which);
    if (call == NULL) {
        return;
    }
    bool is_late = group->late_us != 0;
    struct momi_slice filter = momi_slice_str(group->filter);
    struct momi_call request = {.type = CALL_SUBSCRIPTION_CREATE,
                                .deadline_us = sim_call_now(world, node) + 3 * MOMI_S,
                                .kind = MOMI_KIND_TOPIC,
                                .name = momi_slice_str(stream->name),
                                .subscription = momi_slice_str(group->subscription),
                                .if_missing = true,
                                .from = is_late ? MOMI_FROM_FIRST : MOMI_FROM_NEW,
                                .filters = &filter,
                                .filters_count = 1};
    call->op = sim_history_ops(world, 1);
    sim_history_add(
        world, node, CHECK_SUBSCRIBE, CHECK_CALL,
        (struct check_record){.op = call->op,
                              .stream = stream->name_number,
                              .subscription = group->subscription_number,
                              .filter = group->filter_number,
                              .if_missing = true,
                              .from = is_late ? CHECK_FROM_FIRST : CHECK_FROM_NEW});
    sim_call_make(world, call, &request);
}

static void set_up(struct sim_world *world) {
    struct sim_programs *programs = world->programs;
    bool is_done = true;
    for (uint32_t i = 0; i < programs->streams_count; i++) {
        uint32_t node = sim_programs_draw_node(world);
        if (!programs->streams[i].is_created) {
            is_done = false;
            if (sim_call_may_act(world, node)) {
                create_stream(world, i, node);
            }
        }
    }
    for (uint32_t i = 0; i < programs->groups_count; i++) {
        uint32_t node = sim_programs_draw_node(world);
        if (!programs->groups[i].is_created &&
            programs->streams[programs->groups[i].stream].is_created) {
            is_done = false;
            if (sim_call_may_act(world, node) &&
                (world->now_us >= programs->groups[i].late_us || programs->is_calm)) {
                create_subscription(world, i, node);
            }
        }
        is_done = is_done && programs->groups[i].is_created;
    }
    if (!is_done) {
        sim_programs_later(world, sim_draw(&world->rng_program, 100 * MOMI_MS, MOMI_S),
                           PROGRAM_SET_UP, 0);
    }
}

bool sim_programs_is_ready(const struct sim_programs *programs, uint32_t which) {
    const struct stream *stream = &programs->streams[which];
    bool ready = stream->is_created;
    for (uint32_t i = 0; i < stream->groups_count; i++) {
        const struct group *group = &programs->groups[stream->first_group + i];
        ready = ready && (group->is_created || group->late_us != 0);
    }
    return ready;
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
        sim_publisher_acts(world, (uint32_t)task->b);
        break;
    case PROGRAM_CONSUMER:
        sim_consumer_acts(world, (uint32_t)task->b);
        break;
    }
}

/* --- completions ------------------------------------------------------------------ */

static void complete(struct sim_world *world, struct call *call,
                     const struct momi_completion *done) {
    struct sim_programs *programs = world->programs;
    bool ok = done->error == MOM_OK;
    struct call ended = *call;
    call->id = 0;
    call->kinds = NULL;
    switch (ended.kind) {
    case WANT_CREATE:
        programs->streams[ended.who].is_created |= ok;
        sim_history_done(world, ended.node, CHECK_CREATE, ended.op, done->error, 0);
        break;
    case WANT_SUBSCRIBE:
        programs->groups[ended.who].is_created |= ok;
        sim_history_done(world, ended.node, CHECK_SUBSCRIBE, ended.op, done->error, 0);
        break;
    case WANT_PUBLISH:
        sim_publisher_completed(world, &ended, done);
        break;
    case WANT_OPEN:
    case WANT_FLUSH:
    case WANT_CLOSE:
        sim_consumer_completed(world, &ended, done);
        break;
    }
    momi_free(ended.kinds);
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
    sim_history_add(world, node, CHECK_DEATH, CHECK_SAW,
                    (struct check_record){.value = sim_history_process(world, node)});
}

void sim_programs_node_up(struct sim_world *world, uint32_t node) {
    (void)world;
    (void)node; /* programs look for a node when they act */
}

/* --- the end ---------------------------------------------------------------------- */

void sim_programs_calm(struct sim_world *world) {
    world->programs->is_calm = true;
    sim_side_calm(world);
    world->programs->quiet_since_us = world->now_us;
}

uint64_t sim_programs_left(struct sim_world *world) { return sim_history_missing(world); }

static bool is_idle(const struct sim_programs *programs) {
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
    return true;
}

bool sim_programs_are_done(struct sim_world *world) {
    struct sim_programs *programs = world->programs;
    if (world->now_us < programs->quiet_since_us + 100 * MOMI_MS) {
        return false;
    }
    programs->quiet_since_us =
        world->now_us; /* look again after a while, not at every task */
    return is_idle(programs) && sim_history_missing(world) == 0 &&
           sim_side_is_done(world) && sim_replicas_uneven(world) == NULL;
}

void sim_programs_say_waiting(struct sim_world *world) {
    static const char *const kinds[] = {"create", "subscribe", "publish",
                                        "open",   "flush",     "close"};
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
    sim_say(world, "%llu messages are not consumed",
            (unsigned long long)sim_history_missing(world));
}

void sim_programs_judge(struct sim_world *world) {
    const struct sim_programs *programs = world->programs;
    for (uint32_t i = 0; i < programs->groups_count; i++) {
        const struct group *group = &programs->groups[i];
        sim_history_add(
            world, 0, CHECK_DRAINED, CHECK_SAW,
            (struct check_record){.stream = programs->streams[group->stream].name_number,
                                  .subscription = group->subscription_number});
    }
    sim_side_judge(world);
    sim_history_finish(world);
}
