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
#include "side.h"
#include "base/mem.h"

struct sim_side *sim_side_new(struct sim_world *world) {
    struct sim_side *side = momi_must_calloc(1, sizeof *side);
    world->side = side;
    side->is_on = world->options.side;
    side->id_next = SIM_SIDE_FIRST;
    side->sequence_next = 1;
    if (!side->is_on) {
        return side;
    }
    sim_side_draw_options(world);
    side->ends_deleted = sim_side_chance(world, 40);
    side->pace_us = sim_side_chance(world, 50) ? sim_side_draw(world, 5, 40) * MOMI_MS
                                               : sim_side_draw(world, 100, 500) * MOMI_MS;
    sim_side_later(world, sim_side_draw(world, 0, MOMI_S), SIDE_DRIVER, 0);
    sim_side_later(world, sim_side_draw(world, 0, MOMI_S), SIDE_OBSERVER, 0);
    for (uint32_t i = 0; i < READERS; i++) {
        side->readers[i].node = sim_side_draw_node(world);
        sim_side_later(world, sim_side_draw(world, 0, 3 * MOMI_S), SIDE_READER, i);
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

/* --- observers -------------------------------------------------------------------- */

static void observe(struct sim_world *world) {
    struct sim_side *side = world->side;
    uint32_t under_way = 0;
    for (uint32_t i = 0; i < SIDE_CALLS_MAX; i++) {
        under_way += side->calls[i].id != 0 && side->calls[i].what == OBSERVE;
    }
    uint32_t node = sim_side_draw_node(world);
    bool is_wanted =
        side->exists && under_way < OBSERVERS_MAX && sim_call_may_act(world, node);
    struct side_call *call = is_wanted ? sim_side_call_new(world, OBSERVE, node) : NULL;
    if (call != NULL) {
        call->at_least = side->sequence_next;
        struct side_name name = sim_side_name(side->queue, false);
        struct momi_call request = {.type = CALL_DESCRIBE,
                                    .deadline_us =
                                        world->nodes[node].now_floor_us + 5 * MOMI_S,
                                    .kind = MOMI_KIND_QUEUE,
                                    .name = momi_slice(name.text, name.size)};
        sim_side_tell_call(world, call, (struct check_record){.op = 0});
        sim_side_make(world, call, &request);
    }
    if (!side->is_calm) {
        sim_side_later(world, sim_side_draw(world, side->pace_us / 4, side->pace_us),
                       SIDE_OBSERVER, 0);
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
    } else if (done->error == MOM_OK && sim_side_told(done) < call->at_least) {
        sim_fail(world,
                 "n%u gets a stale answer: next sequence %llu, it was %llu before the "
                 "question",
                 call->node, (unsigned long long)sim_side_told(done),
                 (unsigned long long)call->at_least);
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
        bool is_told = is_ok && sim_side_kinds[call->what] == CHECK_DESCRIBE;
        sim_history_done(world, call->node, sim_side_kinds[call->what], call->op,
                         done->error, is_told ? sim_side_told(done) : 0);
    }
}

static void complete(struct sim_world *world, struct side_call *call,
                     const struct momi_completion *done) {
    struct side_call ended = *call;
    if (world->tells_frames) {
        sim_say(world, "side call %llu (%s) on n%u: %s",
                (unsigned long long)(call->id - SIM_SIDE_FIRST),
                sim_side_whats[call->what], call->node, mom_err_name(done->error));
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
        sim_side_driven(world, &ended, done);
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
        if (sim_side_goes_on(world->side)) {
            sim_side_drive(world);
        }
        break;
    case SIDE_READER:
        sim_side_read(world, (uint32_t)task->b);
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
    if (side->driver != NULL || (sim_side_goes_on(side) && side->is_calm)) {
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
            .stream = sim_side_stream(world, world->side->queue, is_dead != 0)};
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
                    sim_side_whats[side->calls[i].what], side->calls[i].node);
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
