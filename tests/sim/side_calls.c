/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The side queue's calls: how they are drawn, made, and told to the history.
 */
#include "side.h"

const char *const sim_side_whats[] = {"create",  "delete", "publish", "purge", "describe",
                                      "observe", "open",   "flush",   "close"};

/* --- small things ----------------------------------------------------------------- */

uint64_t sim_side_draw(struct sim_world *world, uint64_t low, uint64_t high) {
    return sim_draw(&world->rng_side, low, high);
}

bool sim_side_chance(struct sim_world *world, uint32_t percent) {
    return momi_rng_chance(&world->rng_side, percent * 10000);
}

uint32_t sim_side_draw_node(struct sim_world *world) {
    return (uint32_t)sim_side_draw(world, 0, world->nodes_count - 1);
}

void sim_side_later(struct sim_world *world, uint64_t delay_us, enum side_task what,
                    uint32_t who) {
    sim_task_add(world, delay_us, TASK_PROGRAM, SIM_SIDE_FIRST + what, who, 0);
}

struct side_name sim_side_name(uint32_t queue, bool is_dead) {
    static const char prefix[] = "$dead/queue/";
    struct side_name name = {.size = is_dead ? sizeof prefix - 1 : 0};
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

void sim_side_draw_options(struct sim_world *world) {
    world->side->options = (struct momi_stream_options){
        .lease_us = sim_side_draw(world, 1, 3) * MOMI_S,
        .deliveries_max = (uint32_t)sim_side_draw(world, 1, 4),
        .messages_max = sim_side_chance(world, 60) ? sim_side_draw(world, 4, 40) : 0};
}

/* --- calls ------------------------------------------------------------------------ */

struct side_call *sim_side_call_new(struct sim_world *world, enum side_what what,
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

void sim_side_make(struct sim_world *world, const struct side_call *call,
                   struct momi_call *request) {
    request->id = call->id;
    world->totals.commands++;
    if (world->tells_frames) {
        sim_say(world, "side call %llu (%s) from n%u, consumer %llu",
                (unsigned long long)(call->id - SIM_SIDE_FIRST),
                sim_side_whats[call->what], call->node,
                (unsigned long long)request->consumer);
    }
    struct momi_event event = {.type = EV_CALL, .call = request};
    sim_node_event(world, call->node, &event);
}

/* --- the history ------------------------------------------------------------------ */

const enum check_kind sim_side_kinds[] = {
    [DO_CREATE] = CHECK_CREATE,
    [DO_DELETE] = CHECK_DELETE,
    [DO_PUBLISH] = CHECK_PUBLISH,
    [DO_PURGE] = CHECK_PURGE,
    [DO_DESCRIBE] = CHECK_DESCRIBE,
    [OBSERVE] = CHECK_DESCRIBE,
    [OPEN] = CHECK_OPEN,
    [CLOSE] = CHECK_CLOSE,
};

uint32_t sim_side_stream(struct sim_world *world, uint32_t queue, bool is_dead) {
    struct side_name name = sim_side_name(queue, is_dead);
    return sim_history_slice(world, momi_slice(name.text, name.size));
}

/* What a call of one record asks for. */
void sim_side_tell_call(struct sim_world *world, struct side_call *call,
                        struct check_record record) {
    call->op = sim_history_ops(world, 1);
    record.op = call->op;
    record.stream =
        record.stream != 0 ? record.stream : sim_side_stream(world, call->queue, false);
    sim_history_add(world, call->node, sim_side_kinds[call->what], CHECK_CALL, record);
}
