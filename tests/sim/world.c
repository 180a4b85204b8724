/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world's clock: tasks in order of time, and the two phases of a run.
 *
 * Phase one: programs work while faults come. Phase two: faults end; in safety mode
 * everything is healed, in liveness mode only a random majority of the stores is, and the
 * rest stays away for ever. Then everything must be drained in time.
 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "core/shard_internal.h"

enum {
    DRAIN_S = 180,     /* after the faults ... */
    DRAIN_MORE_S = 60, /* ... and again, while fewer and fewer messages are left */
    DRAIN_MAX_S = 1800,
    SPINS_MAX = 2000000
};

uint64_t sim_draw(struct momi_rng *rng, uint64_t low, uint64_t high) {
    return momi_rng_between(rng, low, high < low ? low : high);
}

/* --- the story
 * ----------------------------------------------------------------------------- */

void sim_say(struct sim_world *world, const char *format, ...) {
    char *line = world->story[world->story_count++ % SIM_STORY_LINES];
    int at = snprintf(line, SIM_STORY_WIDTH, "[%9llu.%03llu] ",
                      (unsigned long long)(world->now_us / 1000),
                      (unsigned long long)(world->now_us % 1000));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + at, SIM_STORY_WIDTH - (size_t)at, format, arguments);
    va_end(arguments);
    world->trace_hash = world->trace_hash * 31 + momi_hash_bytes(momi_slice_str(line));
    if (world->is_verbose) {
        puts(line);
    }
}

void sim_trace(struct sim_world *world, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t hash = world->trace_hash * 31 + world->now_us;
    hash = momi_hash_u64(hash + a);
    hash = momi_hash_u64(hash + b);
    world->trace_hash = momi_hash_u64(hash + c);
}

void sim_fail(struct sim_world *world, const char *format, ...) {
    if (world->has_failed) {
        return;
    }
    world->has_failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure, sizeof world->failure, format, arguments);
    va_end(arguments);
    sim_say(world, "VIOLATION %s", world->failure);
}

/* --- tasks
 * --------------------------------------------------------------------------------- */

static void add_at(struct sim_world *world, struct sim_task *task, uint64_t due_us) {
    task->heap.due = due_us;
    task->heap.tie = world->sequence++;
    momi_heap_insert(&world->heap, &task->heap);
}

struct sim_task *sim_task_add(struct sim_world *world, uint64_t delay_us,
                              enum sim_task_type type, uint64_t a, uint64_t b,
                              uint64_t c) {
    struct sim_task *task = momi_must_calloc(1, sizeof *task);
    momi_heap_node_init(&task->heap);
    task->type = type;
    task->a = a;
    task->b = b;
    task->c = c;
    add_at(world, task, world->now_us + delay_us);
    return task;
}

static void free_task(struct sim_task *task) {
    if (task->free_data != NULL) {
        task->free_data(task->data);
    }
    momi_free(task);
}

/* The node that a task happens to; UINT32_MAX: to no one. */
static uint32_t target_of(const struct sim_task *task) {
    switch (task->type) {
    case TASK_NODE_TIME:
    case TASK_READ:
    case TASK_DISK:
    case TASK_WRITTEN:
    case TASK_ROOM:
    case TASK_SPACE:
    case TASK_IDENTITY:
    case TASK_LANE_DOWN:
    case TASK_DIAL:
        return (uint32_t)task->a;
    case TASK_FRAME:
        return (uint32_t)task->b;
    default:
        return UINT32_MAX;
    }
}

/* --- phases
 * -------------------------------------------------------------------------------- */

static void calm(struct sim_world *world) {
    sim_faults_end(world);
    sim_programs_calm(world);
    sim_task_add(world, DRAIN_S * MOMI_S, TASK_PHASE, 1, 0, 0);
}

/* Groups and consumers as the leader of a shard has them. */
static void say_groups(struct sim_world *world, const struct momi_machine *machine) {
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        const struct momi_stream *stream =
            MOMI_CONTAINER_OF(link, struct momi_stream, link);
        MOMI_LIST_FOR_EACH (at, &stream->groups) {
            const struct momi_group *group =
                MOMI_CONTAINER_OF(at, struct momi_group, link);
            sim_say(world, "  %.*s/%.*s: %llu ready, %llu leased, fill %llu..%llu",
                    (int)stream->name.size, (const char *)stream->name.data,
                    (int)group->name.size, (const char *)group->name.data,
                    (unsigned long long)group->ready.messages,
                    (unsigned long long)group->leased,
                    (unsigned long long)group->fill_from,
                    (unsigned long long)group->fill_to);
            MOMI_LIST_FOR_EACH (to, &group->consumers) {
                const struct momi_consumer *consumer =
                    MOMI_CONTAINER_OF(to, struct momi_consumer, group_link);
                sim_say(world,
                        "    consumer %llu of node %llu: credit %llu delivered %llu sent "
                        "%llu "
                        "handed %llu leased %llu%s",
                        (unsigned long long)consumer->id,
                        (unsigned long long)consumer->session->node,
                        (unsigned long long)consumer->credit,
                        (unsigned long long)consumer->delivered,
                        (unsigned long long)consumer->sent,
                        (unsigned long long)consumer->handed,
                        (unsigned long long)consumer->leased,
                        momi_list_linked(&consumer->fresh_link) ? " fresh" : "");
            }
        }
    }
}

static void say_who_waits(struct sim_world *world) {
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (!sim_node_is_up(world, i)) {
            sim_say(world, "n%u is down", i);
            continue;
        }
        char text[200];
        momi_core_waiting_for(world->nodes[i].core, text, sizeof text);
        sim_say(world, "n%u waits for: %s", i, text);
        for (uint32_t s = 0; s <= world->options.shards; s++) {
            struct momi_shard_view view;
            if (momi_core_shard_view(world->nodes[i].core, s, MOMI_VIEW_PLAIN, &view)) {
                sim_say(
                    world,
                    "n%u shard %u replica %llu term %llu %s%s log %llu..%llu durable "
                    "%llu commit %llu applied %llu",
                    i, s, (unsigned long long)view.replica, (unsigned long long)view.term,
                    view.is_leader  ? "leader"
                    : view.is_voter ? "follower"
                                    : "learner",
                    view.has_state ? "" : " without state",
                    (unsigned long long)view.first_index,
                    (unsigned long long)view.last_index,
                    (unsigned long long)view.durable_index,
                    (unsigned long long)view.commit, (unsigned long long)view.applied);
                const struct momi_shard *shard = world->nodes[i].core->shards[s];
                if (view.is_leader && !shard->is_registry) {
                    say_groups(world, shard->machine);
                }
            }
        }
    }
}

/* Slow is not stuck: a consumer with a credit of one, far away, needs its time. */
static void drain_on(struct sim_world *world) {
    uint64_t left = sim_programs_left(world);
    bool is_late = world->now_us > world->options.run_us + DRAIN_MAX_S * MOMI_S;
    if (left < world->drain_left && !is_late) {
        world->drain_left = left;
        sim_task_add(world, DRAIN_MORE_S * MOMI_S, TASK_PHASE, 1, 0, 0);
        return;
    }
    say_who_waits(world);
    sim_programs_say_waiting(world);
    sim_fail(world, "no progress: not drained %llu s after the faults ended",
             (unsigned long long)((world->now_us - world->options.run_us) / MOMI_S));
}

static void dispatch(struct sim_world *world, struct sim_task *task) {
    switch (task->type) {
    case TASK_FRAME:
    case TASK_DIAL:
    case TASK_LANE_DOWN:
        sim_net_task(world, task);
        break;
    case TASK_NODE_TIME:
    case TASK_DISK:
    case TASK_WRITTEN:
    case TASK_READ:
    case TASK_IDENTITY:
    case TASK_RESTART:
    case TASK_RESUME:
        sim_node_task(world, task);
        break;
    case TASK_FAULT:
    case TASK_HEAL:
    case TASK_ROOM:
    case TASK_SPACE:
        sim_faults_task(world, task);
        break;
    case TASK_PROGRAM:
        sim_programs_task(world, task);
        break;
    case TASK_PHASE:
        if (task->a == 0) {
            calm(world);
        } else {
            drain_on(world);
        }
        break;
    default:
        break;
    }
}

static void run(struct sim_world *world) {
    while (!world->has_failed && world->heap.count > 0) {
        struct momi_heap_node *top = momi_heap_top(&world->heap);
        struct sim_task *task = MOMI_CONTAINER_OF(top, struct sim_task, heap);
        momi_heap_remove(&world->heap, top);
        world->spins = task->heap.due == world->now_us ? world->spins + 1 : 0;
        if (world->spins > SPINS_MAX) {
            say_who_waits(world);
            sim_fail(world, "time stands still: node %llu, task %d",
                     (unsigned long long)task->a, (int)task->type);
        }
        world->now_us = task->heap.due;
        uint32_t target = target_of(task);
        if (target != UINT32_MAX && target < world->nodes_count &&
            world->nodes[target].is_paused &&
            world->now_us < world->nodes[target].resume_us) {
            add_at(world, task, world->nodes[target].resume_us);
            continue;
        }
        dispatch(world, task);
        free_task(task);
        if (world->is_calm && sim_programs_are_done(world)) {
            return;
        }
    }
}

static void set_up(struct sim_world *world) {
    const struct sim_options *options = &world->options;
    uint64_t seed = options->seed * 16;
    momi_rng_seed(&world->rng_net, seed + 1);
    momi_rng_seed(&world->rng_disk, seed + 2);
    momi_rng_seed(&world->rng_fault, seed + 3);
    momi_rng_seed(&world->rng_program, seed + 4);
    momi_rng_seed(&world->rng_node, seed + 5);
    momi_rng_seed(&world->rng_side, seed + 6);
    world->nodes_count = options->stores + options->clients;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct sim_node *node = &world->nodes[i];
        sim_disk_init(&node->disk);
        node->role = i < options->stores ? MOMI_ROLE_STORE : MOMI_ROLE_CLIENT;
        node->is_late =
            i < options->stores && i >= options->stores - options->late_stores;
        node->offset_us = sim_draw(&world->rng_node, 1, 1000 * MOMI_S);
        node->drift_ppm = (int64_t)sim_draw(&world->rng_node, 0, 2 * options->drift_ppm) -
                          options->drift_ppm;
        node->sync_factor = ((options->slow_disks >> i) & 1) != 0 ? 20 : 1;
        node->id = 100 + i; /* until its first start */
    }
    world->programs = sim_programs_new(world);
    world->side = sim_side_new(world);
    world->checks = sim_checks_new();
    world->machines = sim_machines_new();
    world->rules = sim_rules_new();
    world->drain_left = UINT64_MAX;
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (!world->nodes[i].is_late) {
            sim_task_add(world, sim_draw(&world->rng_node, 0, 100 * MOMI_MS),
                         TASK_RESTART, i, 0, 0);
        }
    }
    sim_faults_begin(world);
    sim_task_add(world, options->run_us, TASK_PHASE, 0, 0, 0);
}

bool sim_world_run(struct sim_world *world, const struct sim_options *options,
                   enum sim_story story) {
    memset(world, 0, sizeof *world);
    world->options = *options;
    world->is_verbose = story != SIM_STORY_KEPT;
    world->tells_frames = story == SIM_STORY_WITH_FRAMES;
    set_up(world);
    run(world);
    if (!world->has_failed) {
        sim_checks_final(world);
    }
    if (!world->has_failed) {
        sim_programs_judge(world);
    }
    world->totals.virtual_us = world->now_us;
    for (uint32_t i = 0; i < options->stores; i++) {
        world->totals.writes_lost += world->nodes[i].disk.writes_lost;
    }
    return !world->has_failed;
}

void sim_world_free(struct sim_world *world) {
    bool failed = world->has_failed;
    world->has_failed = true; /* nothing is run any more */
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        sim_node_free(world, i);
    }
    while (world->heap.count > 0) {
        struct momi_heap_node *top = momi_heap_top(&world->heap);
        momi_heap_remove(&world->heap, top);
        free_task(MOMI_CONTAINER_OF(top, struct sim_task, heap));
    }
    momi_heap_free(&world->heap);
    momi_arena_free(&world->arena);
    sim_programs_free(world->programs);
    sim_side_free(world->side);
    sim_checks_free(world->checks);
    sim_machines_free(world->machines);
    sim_rules_free(world->rules);
    world->has_failed = failed;
}
