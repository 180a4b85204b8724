/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishers: numbered messages to streams drawn at random, alone and in bursts, some
 * with deadlines; a publisher whose node is away goes on over another one.
 */
#include "core/entry.h"
#include "programs.h"

static const char *const keys[] = {"a.b", "a.c", "b", "a.b.c"};
enum { KEYS = 4, OPEN_MAX = 256 };

static void put_record(struct sim_world *world, struct momi_bytes *out, uint32_t who,
                       uint32_t counter, struct check_record *published) {
    uint8_t body[9000] = {0};
    const char *key = keys[sim_draw(&world->rng_program, 0, KEYS - 1)];
    size_t size = BODY_BYTES + (momi_rng_chance(&world->rng_program, 50000)
                                    ? sim_draw(&world->rng_program, 0, 8000)
                                    : sim_draw(&world->rng_program, 0, 100));
    sim_body_write(body, who, counter);
    struct momi_record record = {.key = momi_slice_str(key),
                                 .body = momi_slice(body, size)};
    size_t record_size = momi_record_size(record.key.size, 0, size);
    if (momi_bytes_reserve(out, record_size)) {
        momi_record_write(out->data + out->size, &record);
        out->size += record_size;
    }
    published->key = sim_history_slice(world, record.key);
    published->digest = size;
}

static void publish(struct sim_world *world, uint32_t who) {
    struct sim_programs *programs = world->programs;
    struct publisher *publisher = &programs->publishers[who];
    struct momi_rng *rng = &world->rng_program;
    uint32_t which = (uint32_t)sim_draw(rng, 0, programs->streams_count - 1);
    if (!sim_programs_is_ready(programs, which) || publisher->open > OPEN_MAX) {
        return;
    }
    struct call *call = sim_call_new(world, publisher->node, WANT_PUBLISH, who);
    if (call == NULL) {
        return;
    }
    const struct stream *stream = &programs->streams[which];
    struct momi_bytes records = {0};
    call->counter = publisher->count;
    call->count = (uint32_t)sim_draw(rng, 1, momi_rng_chance(rng, 100000) ? 40 : 3);
    call->op = sim_history_ops(world, call->count);
    for (uint32_t i = 0; i < call->count; i++) {
        struct check_record published = {.op = call->op + i,
                                         .stream = stream->name_number,
                                         .publisher = who,
                                         .message = publisher->count++,
                                         .life = sim_history_process(world, call->node)};
        put_record(world, &records, who, published.message, &published);
        sim_history_add(world, call->node, CHECK_PUBLISH, CHECK_CALL, published);
    }
    publisher->open++;
    struct momi_call request = {.type = CALL_PUBLISH,
                                .kind = stream->kind,
                                .name = momi_slice_str(stream->name),
                                .records_count = call->count,
                                .records = momi_bytes_slice(&records)};
    bool has_deadline = momi_rng_chance(rng, 300000);
    request.deadline_us = has_deadline ? sim_call_now(world, publisher->node) +
                                             sim_draw(rng, MOMI_MS, 3 * MOMI_S)
                                       : MOMI_NEVER;
    sim_call_make(world, call, &request);
    momi_bytes_free(&records);
}

void sim_publisher_acts(struct sim_world *world, uint32_t who) {
    struct publisher *publisher = &world->programs->publishers[who];
    if (world->programs->is_calm) {
        return;
    }
    if (!sim_call_may_act(world, publisher->node)) {
        publisher->node = sim_programs_draw_node(world);
    } else {
        uint64_t burst = sim_draw(&world->rng_program, 1, 4);
        for (uint64_t i = 0; i < burst && sim_call_may_act(world, publisher->node); i++) {
            publish(world, who);
        }
    }
    sim_programs_later(world, sim_draw(&world->rng_program, 5 * MOMI_MS, 500 * MOMI_MS),
                       PROGRAM_PUBLISHER, who);
}

void sim_publisher_completed(struct sim_world *world, const struct call *call,
                             const struct momi_completion *done) {
    world->programs->publishers[call->who].open--;
    for (uint32_t i = 0; i < call->count; i++) {
        bool is_ok = done->error == MOM_OK;
        world->totals.acknowledged += is_ok;
        sim_history_done(world, call->node, CHECK_PUBLISH, call->op + i, done->error,
                         is_ok ? done->sequence + i : 0);
    }
}
