/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the replicas of a shard owe each other, beyond what checks.c sees: a leader that
 * hears no quorum steps down (CheckQuorum), and after the faults every replica that is up
 * catches up with one leader.
 */
#include "core/raft_internal.h"
#include "core/shard_internal.h"
#include "world.h"

/* An election timeout, and the time until the leader's next look at it. */
enum { QUORUM_LATE_US = 700 * 1000 };

void sim_replicas_check_quorum(struct sim_world *world, uint32_t node, uint32_t shard) {
    const struct momi_core *core = world->nodes[node].core;
    const struct momi_shard *replica = core == NULL ? NULL : core->shards[shard];
    uint64_t *since_us = &world->unheard_since_us[node][shard % SIM_UNHEARD_SHARDS];
    if (replica == NULL || replica->raft.role != RAFT_LEADER) {
        *since_us = 0;
        return;
    }
    uint64_t heard_us = momi_raft_quorum_heard_us(&replica->raft);
    bool is_unheard = heard_us != MOMI_NEVER &&
                      core->now_us > heard_us + MOMI_ELECTION_MAX_US + QUORUM_LATE_US;
    if (!is_unheard) {
        *since_us = 0;
    } else if (*since_us == 0) {
        /* A process that was paused sees it at its first event, and steps down then. */
        *since_us = core->now_us;
    } else if (core->now_us > *since_us + QUORUM_LATE_US) {
        sim_fail(world,
                 "n%u leads shard %u in term %llu, and has heard no quorum for %llu ms",
                 node, shard, (unsigned long long)replica->raft.term,
                 (unsigned long long)(core->now_us - heard_us) / 1000);
    }
}

static const struct momi_shard *leader_of(const struct sim_world *world, uint32_t shard) {
    const struct momi_shard *leader = NULL;
    for (uint32_t node = 0; node < world->options.stores; node++) {
        const struct momi_core *core = world->nodes[node].core;
        const struct momi_shard *replica = core == NULL ? NULL : core->shards[shard];
        if (replica != NULL && replica->raft.role == RAFT_LEADER &&
            (leader == NULL || replica->raft.term > leader->raft.term)) {
            leader = replica;
        }
    }
    return leader;
}

/* Why not; NULL: the replicas of all shards that are up stand equal. */
const char *sim_replicas_uneven(const struct sim_world *world) {
    for (uint32_t shard = 0; shard <= world->options.shards; shard++) {
        const struct momi_shard *leader = leader_of(world, shard);
        if (leader == NULL) {
            return "a shard has no leader";
        }
        for (uint32_t i = 0; i < leader->raft.config.count; i++) {
            const struct momi_replica_at *at = &leader->raft.config.at[i];
            uint32_t node = sim_net_find(world, at->node);
            if (node == UINT32_MAX || world->nodes[node].core == NULL) {
                continue;
            }
            const struct momi_shard *replica = world->nodes[node].core->shards[shard];
            if (replica == NULL || replica->replica != at->replica) {
                return "a member of a shard has no replica of it";
            }
            if (replica->raft.term != leader->raft.term) {
                return "a replica stays behind in an old term";
            }
            if (replica->raft.commit != leader->raft.commit) {
                return "a replica stays behind its leader";
            }
        }
    }
    return NULL;
}
