/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of the side queue: one call at a time, and the outcome that the model says.
 */
#include "base/mem.h"
#include "core/entry.h"
#include "core/info.h"
#include "side.h"

/* Readers go to a queue of another name. */
static void tell_abandoned(struct sim_world *world) {
    for (int is_dead = 0; is_dead < 2; is_dead++) {
        struct check_record record = {
            .stream = sim_side_stream(world, world->side->queue, is_dead != 0)};
        sim_history_add(world, 0, CHECK_ABANDONED, CHECK_SAW, record);
    }
}

/* The outcome of the last call stays unknown: nothing is certain about this queue. */
static void give_up(struct sim_world *world) {
    struct sim_side *side = world->side;
    tell_abandoned(world);
    side->queue++;
    side->generation = 0;
    side->exists = false;
    side->sequence_next = 1;
    sim_side_draw_options(world);
}

/* Returns the size of its body. */
static size_t put_record(struct sim_world *world, struct momi_bytes *out,
                         uint32_t message) {
    uint8_t body[200] = {0};
    size_t size = BODY_BYTES + sim_side_draw(world, 0, 150);
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
    call->count = (uint32_t)sim_side_draw(world, 1, 4);
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
                                      .stream =
                                          sim_side_stream(world, side->queue, false),
                                      .publisher = SIM_SIDE_PUBLISHER,
                                      .message = side->messages_count};
        record.digest = put_record(world, records, side->messages_count++);
        sim_history_add(world, call->node, CHECK_PUBLISH, CHECK_CALL, record);
    }
}

static enum side_what draw_what(struct sim_world *world) {
    uint64_t percent = sim_side_draw(world, 0, 99);
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

void sim_side_drive(struct sim_world *world) {
    static const enum momi_call_type types[] = {
        [DO_CREATE] = CALL_STREAM_CREATE, [DO_DELETE] = CALL_STREAM_DELETE,
        [DO_PUBLISH] = CALL_PUBLISH,      [DO_PURGE] = CALL_STREAM_PURGE,
        [DO_DESCRIBE] = CALL_DESCRIBE,
    };
    struct sim_side *side = world->side;
    if (side->is_calm && world->now_us < side->delete_us) {
        sim_side_later(world, side->delete_us - world->now_us, SIDE_DRIVER, 0);
        return;
    }
    uint32_t node = sim_side_draw_node(world);
    struct side_call *call = sim_call_may_act(world, node)
                                 ? sim_side_call_new(world, draw_what(world), node)
                                 : NULL;
    if (call == NULL) {
        sim_side_later(world, sim_side_draw(world, 1, 100) * MOMI_MS, SIDE_DRIVER, 0);
        return;
    }
    side->driver = call;
    struct side_name name = sim_side_name(side->queue, false);
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
        sim_side_tell_call(world, call, record);
    }
    if (call->what == DO_DELETE) {
        for (uint32_t i = 0; i < READERS; i++) {
            if (side->readers[i].state == READER_OPENING) {
                side->readers[i].generation = 0;
            }
        }
    }
    sim_side_make(world, call, &request);
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
    bool is_quiet = side->is_calm && world->now_us >= side->delete_us;
    for (uint32_t i = 0; i + 1 < READERS; i++) {
        struct side_reader *reader = &side->readers[i];
        /* Before the library asks by itself, where nothing stands between: after long
         * faults a lane may be dialled seconds later. */
        reader->told_us =
            is_quiet && sim_net_reaches_all(world, reader->node)
                ? world->now_us + 300 * MOMI_MS + 6 * world->options.delay_max_us
                : 0;
        reader->must_end = reader->must_end || (reader->state == READER_OPEN &&
                                                reader->queue == side->queue &&
                                                reader->generation == side->generation);
    }
    side->exists = false;
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
uint64_t sim_side_told(const struct momi_completion *done) {
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
    if (done->error == MOM_OK && sim_side_told(done) != side->sequence_next) {
        sim_fail(world,
                 "the side queue x%u is described with next sequence %llu, not %llu",
                 side->queue, (unsigned long long)sim_side_told(done),
                 (unsigned long long)side->sequence_next);
    }
}

bool sim_side_goes_on(const struct sim_side *side) {
    return side->is_on && (!side->is_calm || (side->ends_deleted && side->exists));
}

void sim_side_driven(struct sim_world *world, const struct side_call *call,
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
    if (sim_side_goes_on(side)) {
        sim_side_later(world,
                       sim_side_draw(world, 1, sim_side_chance(world, 50) ? 10 : 200) *
                           MOMI_MS,
                       SIDE_DRIVER, 0);
    }
}
