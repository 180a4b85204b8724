/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The faults of a run, each drawn again and again from the options of its seed until the
 * first phase ends.
 */
#include "core/shard_internal.h"
#include "world.h"

enum fault {
    FAULT_CRASH,
    FAULT_CRASH_ALL,
    FAULT_PAUSE,
    FAULT_LANE,
    FAULT_PARTITION,
    FAULT_CLOSE,
    FAULT_CLIENT,
    FAULT_CLOCK,
    FAULT_LATE,
    FAULT_CHANGE,
    FAULT_HUNT,
    FAULT_DISK,
    FAULT_SPACE,
    FAULT_FULL,
    FAULTS
};

enum { SPACE_TOTAL = 1 << 20 };

static uint64_t mean_of(const struct sim_options *options, enum fault fault) {
    switch (fault) {
    case FAULT_CRASH:
        return options->crash_us;
    case FAULT_CRASH_ALL:
        return options->crash_all_us;
    case FAULT_PAUSE:
        return options->pause_us;
    case FAULT_LANE:
        return options->lane_close_us;
    case FAULT_PARTITION:
        return options->partition_us;
    case FAULT_CLOSE:
        return options->transfer_us;
    case FAULT_CLIENT:
        return options->client_crash_us;
    case FAULT_CLOCK:
        return options->clock_jump_us;
    case FAULT_LATE:
        return options->late_stores > 0 ? options->run_us / (options->late_stores + 1)
                                        : 0;
    case FAULT_CHANGE:
        return options->change_us;
    case FAULT_HUNT:
        return options->hunt_us;
    case FAULT_DISK:
        return options->disk_failure_us;
    case FAULT_SPACE:
        return options->space_us;
    case FAULT_FULL:
        return options->lane_full_us;
    default:
        return 0;
    }
}

static void schedule(struct sim_world *world, enum fault fault) {
    uint64_t mean_us = mean_of(&world->options, fault);
    if (mean_us > 0) {
        sim_task_add(world, sim_draw(&world->rng_fault, mean_us / 4, mean_us * 2),
                     TASK_FAULT, fault, 0, 0);
    }
}

void sim_faults_begin(struct sim_world *world) {
    for (int fault = 0; fault < FAULTS; fault++) {
        schedule(world, (enum fault)fault);
    }
}

static uint32_t draw_store(struct sim_world *world) {
    return (uint32_t)sim_draw(&world->rng_fault, 0, world->options.stores - 1);
}

static void crash(struct sim_world *world, uint32_t node, uint64_t away_max_us) {
    if (sim_node_is_up(world, node)) {
        sim_node_crash(world, node);
        sim_task_add(world, sim_draw(&world->rng_fault, 1000, away_max_us), TASK_RESTART,
                     node, 0, 0);
    }
}

static void start_late_store(struct sim_world *world) {
    for (uint32_t i = 0; i < world->options.stores; i++) {
        if (world->nodes[i].is_late && world->nodes[i].life == 0) {
            sim_node_start(world, i);
            return;
        }
    }
}

static void cut(struct sim_world *world) {
    sim_net_partition(world);
    uint64_t most_us = world->options.storm ? 1500 * MOMI_MS : 8 * MOMI_S;
    sim_task_add(world, sim_draw(&world->rng_fault, 100 * MOMI_MS, most_us), TASK_HEAL,
                 world->partition_id, 0, 0);
}

static void close_a_lane(struct sim_world *world, uint32_t node) {
    uint32_t peer = (uint32_t)sim_draw(&world->rng_fault, 0, world->nodes_count - 1);
    if (peer != node) {
        sim_net_close_lane(world, node, peer);
    }
}

/* Whoever leads is cut off with what it has not replicated, dies for a moment, stands
 * still for an election, or loses its followers' lanes. */
static void hunt(struct sim_world *world) {
    struct momi_rng *rng = &world->rng_fault;
    uint32_t node = sim_changes_draw_leader(world);
    if (node == UINT32_MAX) {
        return;
    }
    world->totals.hunts++;
    uint64_t kind = sim_draw(rng, 0, 9);
    if (kind < 4) {
        sim_net_isolate(world, node, kind != 1, kind != 2);
        sim_task_add(world, sim_draw(rng, 200 * MOMI_MS, 5 * MOMI_S), TASK_HEAL,
                     world->partition_id, 0, 0);
    } else if (kind < 6) {
        crash(world, node, 400 * MOMI_MS);
    } else if (kind < 7) {
        sim_node_pause(world, node, sim_draw(rng, 100 * MOMI_MS, 3 * MOMI_S));
    } else {
        for (uint32_t peer = 0; peer < world->nodes_count; peer++) {
            if (peer != node) {
                sim_net_close_lane(world, node, peer);
            }
        }
    }
}

static bool hears(const struct sim_world *world, uint32_t node) {
    return sim_node_is_up(world, node) && !world->nodes[node].is_paused &&
           !world->nodes[node].is_closing;
}

static void run_short_of_space(struct sim_world *world, uint32_t node) {
    if (!hears(world, node)) {
        return;
    }
    world->totals.shortages++;
    struct momi_event event = {.type = EV_SPACE, .total = SPACE_TOTAL};
    event.value = sim_draw(&world->rng_fault, 0, SPACE_TOTAL / 60);
    sim_node_event(world, node, &event);
    sim_task_add(world, sim_draw(&world->rng_fault, 50 * MOMI_MS, 4 * MOMI_S), TASK_SPACE,
                 node, world->nodes[node].life, 0);
}

static void fill_a_lane(struct sim_world *world, uint32_t node) {
    uint32_t peer = (uint32_t)sim_draw(&world->rng_fault, 0, world->nodes_count - 1);
    if (peer == node || !hears(world, node)) {
        return;
    }
    world->totals.full_lanes++;
    struct momi_event event = {.type = EV_LANE_FULL, .node = world->nodes[peer].id};
    sim_node_event(world, node, &event);
    sim_task_add(world, sim_draw(&world->rng_fault, MOMI_MS, 1500 * MOMI_MS), TASK_ROOM,
                 node, world->nodes[node].life, world->nodes[peer].id);
}

static void fault_comes(struct sim_world *world, enum fault fault) {
    if (world->is_calm) {
        return;
    }
    world->totals.faults++;
    const struct sim_options *options = &world->options;
    struct momi_rng *rng = &world->rng_fault;
    uint32_t node = draw_store(world);
    switch (fault) {
    case FAULT_CRASH:
        crash(world, node, options->restart_max_us);
        break;
    case FAULT_CRASH_ALL:
        for (uint32_t i = 0; i < options->stores; i++) {
            crash(world, i, options->restart_max_us);
        }
        break;
    case FAULT_PAUSE:
        sim_node_pause(
            world, node,
            sim_draw(rng, 50 * MOMI_MS, options->storm ? 900 * MOMI_MS : 5 * MOMI_S));
        break;
    case FAULT_LANE:
        close_a_lane(world, node);
        break;
    case FAULT_PARTITION:
        cut(world);
        break;
    case FAULT_CLOSE:
        sim_node_close(world, node);
        break;
    case FAULT_CLIENT:
        if (options->clients > 0) {
            crash(world,
                  options->stores + (uint32_t)sim_draw(rng, 0, options->clients - 1),
                  options->restart_max_us);
        }
        break;
    case FAULT_CLOCK:
        world->nodes[node].wall_offset_us +=
            (int64_t)sim_draw(rng, 0, 7200 * MOMI_S) - (int64_t)(3600 * MOMI_S);
        break;
    case FAULT_LATE:
        start_late_store(world);
        break;
    case FAULT_CHANGE:
        sim_changes_issue(world);
        break;
    case FAULT_HUNT:
        hunt(world);
        break;
    case FAULT_DISK:
        world->nodes[node].disk_failure =
            momi_rng_chance(rng, 500000) ? DISK_FAILS_WRITE : DISK_FAILS_SYNC;
        break;
    case FAULT_SPACE:
        run_short_of_space(world, node);
        break;
    case FAULT_FULL:
        fill_a_lane(world, node);
        break;
    default:
        break;
    }
    schedule(world, fault);
}

void sim_faults_task(struct sim_world *world, const struct sim_task *task) {
    struct momi_event event = {0};
    switch (task->type) {
    case TASK_FAULT:
        fault_comes(world, (enum fault)task->a);
        break;
    case TASK_HEAL:
        if (world->partition_id == task->a) {
            sim_net_heal(world);
        }
        break;
    case TASK_ROOM:
        event.type = EV_LANE_ROOM;
        event.node = task->c;
        break;
    case TASK_SPACE:
        event.type = EV_SPACE;
        event.value = event.total = SPACE_TOTAL;
        break;
    default:
        break;
    }
    if ((task->type == TASK_ROOM || task->type == TASK_SPACE) &&
        world->nodes[task->a].life == task->b) {
        sim_node_event(world, (uint32_t)task->a, &event);
    }
}

/* --- the end of the faults ------------------------------------------------------------
 */

/* Voters of a half (the new one: those that vote) that are left without `node`. */
static bool half_lives(const struct sim_world *world,
                       const struct momi_raft_config *config, bool is_new,
                       uint32_t node) {
    uint32_t count = 0;
    uint32_t left = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        if (is_new ? config->at[i].votes : config->at[i].voted) {
            uint32_t at = sim_net_find(world, config->at[i].node);
            count++;
            left += at != node && at != UINT32_MAX && !world->nodes[at].is_dead ? 1 : 0;
        }
    }
    return left > count / 2;
}

/* In every configuration that anybody has in force. */
static bool is_spared(const struct sim_world *world, uint32_t node) {
    for (uint32_t i = 0; i < world->options.stores; i++) {
        const struct momi_core *core = world->nodes[i].core;
        for (uint32_t s = 0; core != NULL && s <= world->options.shards; s++) {
            const struct momi_shard *shard = core->shards[s];
            if (shard == NULL || shard->raft.config.count == 0) {
                continue;
            }
            const struct momi_raft_config *config = &shard->raft.config;
            if (!half_lives(world, config, true, node) ||
                (config->is_joint && !half_lives(world, config, false, node))) {
                return false;
            }
        }
    }
    return true;
}

bool sim_faults_may_damage(const struct sim_world *world, uint32_t index) {
    for (uint32_t s = 0; s <= world->options.shards; s++) {
        bool is_seen = false;
        for (uint32_t i = 0; i < world->options.stores && !is_seen; i++) {
            const struct momi_core *core = i == index ? NULL : world->nodes[i].core;
            is_seen = core != NULL && core->shards[s] != NULL &&
                      core->shards[s]->raft.config.count > 0;
        }
        if (!is_seen) {
            return false; /* nobody tells whether the others are enough */
        }
    }
    return is_spared(world, index);
}

/* A minority of the stores stays away for ever, where that leaves a quorum of every
 * shard. Whoever takes copies away meanwhile has to look for that himself. */
static void bury_some(struct sim_world *world) {
    const struct sim_options *options = &world->options;
    bool may_die = options->liveness && !options->storm && options->change_us == 0;
    uint32_t away = may_die ? (options->stores - 1) / 2 : 0;
    for (; away > 0; away--) {
        uint32_t node = draw_store(world);
        if (!world->nodes[node].is_dead && is_spared(world, node)) {
            sim_node_crash(world, node);
            world->nodes[node].is_dead = true;
        }
    }
}

void sim_faults_end(struct sim_world *world) {
    world->is_calm = true;
    sim_net_heal(world);
    sim_say(world, "the faults end");
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct sim_node *node = &world->nodes[i];
        node->disk_failure = DISK_SOUND;
        if (node->has_failed_disk) {
            sim_node_crash(world, i);
        }
        if (!sim_node_is_up(world, i) && !node->is_dead) {
            sim_node_start(world, i);
        }
    }
    bury_some(world);
}
