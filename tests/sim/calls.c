/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls under way, and the bodies of messages.
 */
#include "core/entry.h"
#include "programs.h"

struct call *sim_call_new(struct sim_world *world, uint32_t node, enum call_kind kind,
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

void sim_call_make(struct sim_world *world, const struct call *call,
                   struct momi_call *request) {
    request->id = call->id;
    world->totals.commands++;
    struct momi_event event = {.type = EV_CALL, .call = request};
    sim_node_event(world, call->node, &event);
}

bool sim_call_may_act(const struct sim_world *world, uint32_t node) {
    return sim_node_is_up(world, node) && !world->nodes[node].is_paused &&
           !world->nodes[node].is_closing;
}

uint64_t sim_call_now(const struct sim_world *world, uint32_t node) {
    return world->nodes[node].now_floor_us;
}

static uint32_t check_of(uint32_t publisher, uint32_t message) {
    return ~(publisher * 31 + message);
}

void sim_body_write(uint8_t *body, uint32_t publisher, uint32_t message) {
    momi_store_le32(body, publisher);
    momi_store_le32(body + 4, message);
    momi_store_le32(body + 8, check_of(publisher, message));
}

bool sim_body_read(struct momi_slice body, uint32_t *publisher, uint32_t *message) {
    if (body.size < BODY_BYTES) {
        return false;
    }
    *publisher = momi_load_le32(body.data);
    *message = momi_load_le32(body.data + 4);
    return momi_load_le32(body.data + 8) == check_of(*publisher, *message);
}
