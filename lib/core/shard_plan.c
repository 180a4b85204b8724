/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Working towards the registry's plan (N3): learners first, then one joint change, then
 * the report. Raft leaves the joint configuration by itself. A leader that is not the
 * preferred one hands over when the preferred one is caught up.
 */
#include "core/shard_internal.h"

enum { PLAN_PERIOD_US = 50 * 1000, CATCH_UP_ENTRIES = 64 };

void momi_shard_plan(struct momi_core *core, uint32_t id, const struct momi_plan *plan) {
    struct momi_shard *shard = id <= MOMI_SHARDS_MAX ? core->shards[id] : NULL;
    if (shard == NULL || plan->version < shard->plan.version) {
        return;
    }
    shard->plan = *plan;
    shard->plan_due_us = core->now_us;
}

static void sort_replicas(struct momi_raft_config *config) {
    for (uint32_t i = 1; i < config->count; i++) {
        struct momi_replica_at moved = config->at[i];
        uint32_t at = i;
        for (; at > 0 && config->at[at - 1].replica > moved.replica; at--) {
            config->at[at] = config->at[at - 1];
        }
        config->at[at] = moved;
    }
}

static bool is_wanted(const struct momi_plan *plan, uint64_t replica) {
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->at[i].replica == replica) {
            return true;
        }
    }
    return false;
}

static bool has_exactly(const struct momi_raft_config *config,
                        const struct momi_plan *plan) {
    if (config->is_joint || config->count != plan->count) {
        return false;
    }
    for (uint32_t i = 0; i < config->count; i++) {
        if (!config->at[i].votes || !is_wanted(plan, config->at[i].replica)) {
            return false;
        }
    }
    return true;
}

static void propose_config(struct momi_shard *shard,
                           const struct momi_raft_config *config) {
    struct momi_bytes bytes = {0};
    momi_raft_config_encode(config, &bytes);
    struct momi_slice piece = momi_bytes_slice(&bytes);
    struct momi_buf *entry = bytes.failed
                                 ? NULL
                                 : momi_entry_build(MOMI_ENTRY_CONFIG, shard->raft.term,
                                                    momi_shard_elapsed(shard),
                                                    shard->raft.wall_us, 0, 0, &piece, 1);
    if (entry != NULL) {
        int error = momi_raft_propose_config(&shard->raft, shard->core->now_us, config,
                                             entry, shard->core->effects);
        momi_trace(shard->core, "CONFIG_PROPOSED", shard->id, config->version,
                   (uint64_t)-error);
    }
    momi_buf_release(entry);
    momi_bytes_free(&bytes);
}

/* The configuration in force plus the plan's newcomers as learners; false: they are all
 * there. */
static bool with_learners(const struct momi_raft_config *now,
                          const struct momi_plan *plan, struct momi_raft_config *next) {
    *next = *now;
    for (uint32_t i = 0; i < plan->count; i++) {
        if (momi_raft_config_find(now, plan->at[i].replica) == NULL &&
            next->count < sizeof next->at / sizeof next->at[0]) {
            next->at[next->count++] = (struct momi_replica_at){
                .replica = plan->at[i].replica, .node = plan->at[i].node};
        }
    }
    sort_replicas(next);
    return next->count > now->count;
}

static bool newcomers_are_caught_up(struct momi_shard *shard) {
    for (uint32_t i = 0; i < shard->plan.count; i++) {
        const struct momi_replica_at *at =
            momi_raft_config_find(&shard->raft.config, shard->plan.at[i].replica);
        const struct momi_progress *progress =
            momi_raft_progress(&shard->raft, shard->plan.at[i].replica);
        if (at != NULL && at->votes) {
            continue;
        }
        /* A match is synced there: without one, a crash may leave a voter without state,
         * however short the log is. */
        if (progress == NULL || progress->state != PROGRESS_REPLICATE ||
            progress->match == 0 ||
            progress->match + CATCH_UP_ENTRIES < momi_log_last(&shard->raft.log)) {
            return false;
        }
    }
    return true;
}

static void change_step(struct momi_shard *shard) {
    const struct momi_raft_config *now = &shard->raft.config;
    const struct momi_plan *plan = &shard->plan;
    if (now->is_joint) {
        return; /* Raft leaves it when it is committed */
    }
    struct momi_raft_config next;
    if (with_learners(now, plan, &next)) {
        next.version = plan->version - 1; /* plans are numbered in steps of two */
        propose_config(shard, &next);
    } else if (newcomers_are_caught_up(shard)) {
        struct momi_raft_config target = {.version = plan->version, .count = plan->count};
        for (uint32_t i = 0; i < plan->count; i++) {
            target.at[i] = plan->at[i];
            target.at[i].votes = true;
            target.at[i].voted = false;
        }
        sort_replicas(&target);
        if (momi_raft_config_enter(now, &target, &next)) {
            propose_config(shard, &next);
        }
    }
}

static void prefer_leader(struct momi_shard *shard) {
    const struct momi_plan *plan = &shard->plan;
    if (plan->leader == 0 || plan->leader == shard->core->config.node ||
        shard->raft.transfer_to != 0) {
        return;
    }
    for (uint32_t i = 0; i < shard->raft.progress_count; i++) {
        const struct momi_progress *progress = &shard->raft.progress[i];
        const struct momi_replica_at *at =
            momi_raft_config_find(&shard->raft.config, progress->replica);
        bool is_caught_up =
            progress->state == PROGRESS_REPLICATE &&
            progress->match + CATCH_UP_ENTRIES >= momi_log_last(&shard->raft.log);
        if (at != NULL && at->votes && progress->node == plan->leader && is_caught_up &&
            momi_mesh_lane_is_up(shard->core, progress->node) &&
            shard->core->now_us >= shard->raft.leader_since_us + MOMI_S) {
            (void)momi_raft_transfer(&shard->raft, shard->core->now_us, progress->replica,
                                     shard->core->effects);
        }
    }
}

void momi_shard_work_plan(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    if (shard->plan.version == 0 || core->now_us < shard->plan_due_us ||
        core->is_closing) {
        return;
    }
    shard->plan_due_us = core->now_us + PLAN_PERIOD_US;
    bool is_committed = shard->raft.config_index <= shard->raft.commit;
    if (!is_committed) {
        return;
    }
    if (!has_exactly(&shard->raft.config, &shard->plan)) {
        change_step(shard);
        return;
    }
    if (shard->plan_reported < shard->plan.version) {
        shard->plan_reported = shard->plan.version;
        momi_mesh_plan_reached(core, shard->id, &shard->raft.config);
    }
    prefer_leader(shard);
    shard->plan_due_us = core->now_us + MOMI_S;
}

uint64_t momi_shard_lag(const struct momi_core *core, uint32_t id, uint64_t replica) {
    struct momi_shard *shard = id <= MOMI_SHARDS_MAX ? core->shards[id] : NULL;
    if (shard == NULL || !momi_raft_is_leader(&shard->raft)) {
        return 0;
    }
    const struct momi_progress *progress = momi_raft_progress(&shard->raft, replica);
    return progress == NULL ? 0 : momi_log_last(&shard->raft.log) - progress->match;
}
