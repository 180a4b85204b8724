/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swarm options: each seed draws which faults exist and how strong they are. Most runs
 * lack most faults, so that each can go far on its own.
 */
#include <stdio.h>

#include "world.h"

static bool some(struct momi_rng *rng, uint32_t percent) {
    return momi_rng_chance(rng, percent * 10000);
}

static void draw_shape(struct sim_options *options, struct momi_rng *rng) {
    static const uint32_t stores[] = {3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 1, 2, 6, 7, 3};
    options->stores = stores[sim_draw(rng, 0, sizeof stores / sizeof stores[0] - 1)];
    options->clients = (uint32_t)sim_draw(rng, 0, 2);
    options->copies = some(rng, 85) ? 3 : (uint32_t)sim_draw(rng, 1, 5);
    options->shards = (uint32_t)sim_draw(rng, 1, 3);
    options->form = options->stores > 1 && some(rng, 60);
    if (options->form && options->stores > 3 && some(rng, 50)) {
        options->late_stores = options->stores - 3;
    } else if (!options->form && options->stores > 1) {
        options->late_stores =
            some(rng, 30) ? (uint32_t)sim_draw(rng, 1, options->stores - 1) : 0;
    }
    options->publishers = (uint32_t)sim_draw(rng, 1, 3);
    options->consumers = (uint32_t)sim_draw(rng, 1, 4);
    options->queues = (uint32_t)sim_draw(rng, 1, 2);
    options->topics = some(rng, 40) ? 1 : 0;
}

static void draw_network(struct sim_options *options, struct momi_rng *rng) {
    options->delay_min_us = sim_draw(rng, 20, 500);
    options->delay_max_us =
        options->delay_min_us + sim_draw(rng, 50, some(rng, 20) ? 60000 : 3000);
    options->slow_ppm = some(rng, 30) ? (uint32_t)sim_draw(rng, 100, 20000) : 0;
    options->loss_ppm = some(rng, 30) ? (uint32_t)sim_draw(rng, 100, 50000) : 0;
    options->duplicate_ppm = some(rng, 25) ? (uint32_t)sim_draw(rng, 100, 50000) : 0;
    options->reorder_ppm = some(rng, 25) ? (uint32_t)sim_draw(rng, 100, 50000) : 0;
    options->flip_ppm = some(rng, 10) ? (uint32_t)sim_draw(rng, 10, 5000) : 0;
    options->lane_close_us = some(rng, 30) ? sim_draw(rng, 1 * MOMI_S, 10 * MOMI_S) : 0;
    options->partition_us = some(rng, 35) ? sim_draw(rng, 3 * MOMI_S, 15 * MOMI_S) : 0;
}

/* Elections follow each other faster than most things end: short crashes, cuts and
 * pauses, and disks that are slow at times. */
static void draw_storm(struct sim_options *options, struct momi_rng *rng) {
    options->crash_us = sim_draw(rng, 300 * MOMI_MS, 2 * MOMI_S);
    options->crash_all_us = some(rng, 40) ? sim_draw(rng, 2 * MOMI_S, 8 * MOMI_S) : 0;
    options->pause_us = some(rng, 40) ? sim_draw(rng, 1 * MOMI_S, 4 * MOMI_S) : 0;
    options->partition_us =
        some(rng, 70) ? sim_draw(rng, 500 * MOMI_MS, 3 * MOMI_S) : options->partition_us;
    options->lane_close_us = some(rng, 50) ? sim_draw(rng, 200 * MOMI_MS, 2 * MOMI_S) : 0;
    options->transfer_us = some(rng, 20) ? sim_draw(rng, 2 * MOMI_S, 6 * MOMI_S) : 0;
    options->restart_max_us = sim_draw(rng, 2 * MOMI_MS, 600 * MOMI_MS);
    options->sync_max_us += some(rng, 50) ? sim_draw(rng, 5000, 60000) : 0;
    options->slow_sync_ppm = some(rng, 50) ? (uint32_t)sim_draw(rng, 1000, 60000) : 0;
}

/* What comes on top of crashes and a bad network. */
static void draw_more(struct sim_options *options, struct momi_rng *rng) {
    options->change_us = options->stores > 1 && some(rng, 30)
                             ? sim_draw(rng, 500 * MOMI_MS, 6 * MOMI_S)
                             : 0;
    options->hunt_us = options->stores > 1 && some(rng, 25)
                           ? sim_draw(rng, 400 * MOMI_MS, 6 * MOMI_S)
                           : 0;
    options->disk_failure_us = some(rng, 12) ? sim_draw(rng, 4 * MOMI_S, 20 * MOMI_S) : 0;
    options->space_us = some(rng, 10) ? sim_draw(rng, 2 * MOMI_S, 15 * MOMI_S) : 0;
    options->lane_full_us = some(rng, 15) ? sim_draw(rng, 300 * MOMI_MS, 5 * MOMI_S) : 0;
    options->straggler_ppm = some(rng, 20) ? (uint32_t)sim_draw(rng, 100, 10000) : 0;
    options->late_completion_ppm =
        some(rng, 20) ? (uint32_t)sim_draw(rng, 1000, 300000) : 0;
    options->slow_disks = some(rng, 20) ? 1u << sim_draw(rng, 0, options->stores - 1) : 0;
    if (options->slow_disks != 0 && options->sync_max_us > 3000) {
        options->sync_max_us = options->sync_min_us + 3000; /* slow enough already */
    }
}

/* One store of three or more, whose others keep what it loses. */
static void draw_damage(struct sim_options *options) {
    struct momi_rng rng;
    momi_rng_seed(&rng, options->seed * 16 + 5);
    bool may = options->form && options->late_stores == 0 && options->stores >= 3 &&
               options->copies == 3 && !options->liveness && options->change_us == 0;
    options->damage_ppm =
        may && some(&rng, 30) ? (uint32_t)sim_draw(&rng, 100000, 1000000) : 0;
    options->damage_node = (uint32_t)sim_draw(&rng, 0, options->stores - 1);
}

void sim_options_draw(struct sim_options *options, uint64_t seed) {
    struct momi_rng own;
    struct momi_rng *rng = &own;
    momi_rng_seed(rng, seed * 16);
    *options = (struct sim_options){.seed = seed};
    draw_shape(options, rng);
    draw_network(options, rng);
    options->run_us = sim_draw(rng, 20 * MOMI_S, 50 * MOMI_S);
    options->liveness = some(rng, 40);
    options->sync_min_us = sim_draw(rng, 50, 300);
    options->sync_max_us =
        options->sync_min_us + sim_draw(rng, 100, some(rng, 20) ? 30000 : 2000);
    options->slow_sync_ppm = some(rng, 20) ? (uint32_t)sim_draw(rng, 100, 10000) : 0;
    options->survive_ppm = some(rng, 30) ? 0 : (uint32_t)sim_draw(rng, 0, 1000000);
    options->crash_us = some(rng, 55) ? sim_draw(rng, 2 * MOMI_S, 12 * MOMI_S) : 0;
    options->crash_all_us = some(rng, 20) ? sim_draw(rng, 8 * MOMI_S, 25 * MOMI_S) : 0;
    options->pause_us = some(rng, 25) ? sim_draw(rng, 2 * MOMI_S, 12 * MOMI_S) : 0;
    options->client_crash_us = some(rng, 25) ? sim_draw(rng, 3 * MOMI_S, 15 * MOMI_S) : 0;
    options->transfer_us = some(rng, 25) ? sim_draw(rng, 4 * MOMI_S, 15 * MOMI_S) : 0;
    options->clock_jump_us = some(rng, 20) ? sim_draw(rng, 2 * MOMI_S, 10 * MOMI_S) : 0;
    options->restart_max_us = sim_draw(rng, 10 * MOMI_MS, 6 * MOMI_S);
    options->drift_ppm = some(rng, 40) ? (uint32_t)sim_draw(rng, 1, 2000) : 0;
    options->checkpoint_log_bytes = some(rng, 70) ? sim_draw(rng, 2000, 60000) : 0;
    options->log_behind_bytes =
        options->checkpoint_log_bytes == 0 ? 0 : sim_draw(rng, 500, 30000);
    bool has_fault = options->crash_us || options->crash_all_us || options->pause_us ||
                     options->transfer_us || options->partition_us ||
                     options->lane_close_us;
    if (!has_fault) {
        options->crash_us = 5 * MOMI_S;
    }
    options->commands_min = 200;
    options->side = some(rng, 60);
    options->storm = some(rng, 12);
    if (options->storm) {
        draw_storm(options, rng);
    }
    draw_more(options, rng);
    options->late_groups =
        options->topics > 0 && some(rng, 50) ? (uint32_t)sim_draw(rng, 1, 2) : 0;
    draw_damage(options);
}

void sim_options_print(const struct sim_options *o) {
    printf("seed %llu: stores %u (late %u) clients %u shards %u copies %u %s %s, run "
           "%llu ms\n",
           (unsigned long long)o->seed, o->stores, o->late_stores, o->clients, o->shards,
           o->copies, o->form ? "form" : "alone+join",
           o->storm      ? "storm"
           : o->liveness ? "liveness"
                         : "safety",
           (unsigned long long)o->run_us / 1000);
    printf("  net: delay %llu..%llu us slow %u loss %u duplicate %u reorder %u flip %u "
           "straggle %u "
           "ppm, lanes "
           "close %llu ms, full %llu ms, partitions %llu ms\n",
           (unsigned long long)o->delay_min_us, (unsigned long long)o->delay_max_us,
           o->slow_ppm, o->loss_ppm, o->duplicate_ppm, o->reorder_ppm, o->flip_ppm,
           o->straggler_ppm, (unsigned long long)o->lane_close_us / 1000,
           (unsigned long long)o->lane_full_us / 1000,
           (unsigned long long)o->partition_us / 1000);
    printf("  disk: sync %llu..%llu us slow %u ppm, unsynced pages survive %u ppm, "
           "checkpoint %llu behind %llu "
           "bytes\n",
           (unsigned long long)o->sync_min_us, (unsigned long long)o->sync_max_us,
           o->slow_sync_ppm, o->survive_ppm, (unsigned long long)o->checkpoint_log_bytes,
           (unsigned long long)o->log_behind_bytes);
    printf("  nodes: crash %llu all %llu pause %llu close %llu client %llu ms, restart "
           "<= %llu ms, drift %u ppm, "
           "clock jumps %llu ms\n",
           (unsigned long long)o->crash_us / 1000,
           (unsigned long long)o->crash_all_us / 1000,
           (unsigned long long)o->pause_us / 1000,
           (unsigned long long)o->transfer_us / 1000,
           (unsigned long long)o->client_crash_us / 1000,
           (unsigned long long)o->restart_max_us / 1000, o->drift_ppm,
           (unsigned long long)o->clock_jump_us / 1000);
    printf("  disk: slow ones %#x, completions late %u ppm, failures %llu ms, no space "
           "%llu ms; plans %llu ms, hunts %llu ms\n",
           o->slow_disks, o->late_completion_ppm,
           (unsigned long long)o->disk_failure_us / 1000,
           (unsigned long long)o->space_us / 1000,
           (unsigned long long)o->change_us / 1000,
           (unsigned long long)o->hunt_us / 1000);
    printf(
        "  programs: publishers %u consumers %u queues %u topics %u, late groups %u%s\n",
        o->publishers, o->consumers, o->queues, o->topics, o->late_groups,
        o->side ? ", side queue" : "");
}
