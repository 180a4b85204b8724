/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants of the cores, looked at after every step: one leader per term, log matching,
 * nothing committed lost, equal states at equal applied index.
 */
#include "base/mem.h"
#include "world.h"

enum { SHARDS = 32, HASH_EVERY = 13, STATE_EVERY = 19 };

struct numbers {
    uint64_t *at;
    size_t room;
};

struct sim_checks {
    struct numbers leaders[SHARDS];      /* by term: node + 1 */
    struct numbers committed[SHARDS];    /* by index: term */
    struct numbers committed_in[SHARDS]; /* by index: term of the leader that did it */
    struct numbers hashes[SHARDS];       /* by applied index */
    uint64_t last_committed[SHARDS];
    uint64_t seen_commit[SIM_NODES_MAX][SHARDS];
    uint64_t seen_term[SIM_NODES_MAX]
                      [SHARDS]; /* last term in which it was seen leading */
    uint64_t seen_life[SIM_NODES_MAX];
    uint64_t steps;
};

static uint64_t *slot(struct numbers *numbers, uint64_t index) {
    if (index >= numbers->room) {
        size_t room = numbers->room == 0 ? 256 : numbers->room;
        while (room <= index) {
            room *= 2;
        }
        numbers->at = momi_must_realloc(numbers->at, room * sizeof *numbers->at);
        memset(numbers->at + numbers->room, 0,
               (room - numbers->room) * sizeof *numbers->at);
        numbers->room = room;
    }
    return &numbers->at[index];
}

struct sim_checks *sim_checks_new(void) {
    return momi_must_calloc(1, sizeof(struct sim_checks));
}

void sim_checks_free(struct sim_checks *checks) {
    if (checks == NULL) {
        return;
    }
    for (int i = 0; i < SHARDS; i++) {
        momi_free(checks->leaders[i].at);
        momi_free(checks->committed[i].at);
        momi_free(checks->committed_in[i].at);
        momi_free(checks->hashes[i].at);
    }
    momi_free(checks);
}

/* Raft's election safety, and leader completeness (Ongaro, 3.6.3): it holds everything
 * that was committed in an earlier term. */
static void check_leader(struct sim_world *world, uint32_t node, uint32_t shard,
                         const struct momi_shard_view *view) {
    struct sim_checks *checks = world->checks;
    uint64_t *leader = slot(&checks->leaders[shard], view->term);
    if (*leader != 0 && *leader != node + 1) {
        sim_fail(world, "two leaders of shard %u in term %llu: n%llu and n%u", shard,
                 (unsigned long long)view->term, (unsigned long long)*leader - 1, node);
        return;
    }
    *leader = node + 1;
    if (checks->seen_term[node][shard] == view->term) {
        return;
    }
    checks->seen_term[node][shard] = view->term;
    sim_say(world, "n%u leads shard %u in term %llu", node, shard,
            (unsigned long long)view->term);
    for (uint64_t i = view->first_index; i <= checks->last_committed[shard]; i++) {
        uint64_t term = *slot(&checks->committed[shard], i);
        if (*slot(&checks->committed_in[shard], i) > view->term) {
            return; /* late votes have made a leader of the past */
        }
        if (term != 0 && momi_core_log_term(world->nodes[node].core, shard, i) != term) {
            sim_fail(world,
                     "n%u leads shard %u in term %llu without committed entry %llu of "
                     "term %llu",
                     node, shard, (unsigned long long)view->term, (unsigned long long)i,
                     (unsigned long long)term);
            return;
        }
    }
}

static void check_commits(struct sim_world *world, uint32_t node, uint32_t shard,
                          const struct momi_shard_view *view) {
    struct sim_checks *checks = world->checks;
    uint64_t *seen = &checks->seen_commit[node][shard];
    for (uint64_t i = *seen + 1; i <= view->commit; i++) {
        uint64_t term = momi_core_log_term(world->nodes[node].core, shard, i);
        uint64_t *committed = slot(&checks->committed[shard], i);
        if (term == 0 || i < view->first_index) {
            continue; /* came with a snapshot */
        }
        if (*committed == 0) {
            *committed = term;
            *slot(&checks->committed_in[shard], i) = view->term; /* the leader is first */
        } else if (*committed != term) {
            sim_fail(world,
                     "n%u committed entry %llu of shard %u with term %llu, others with "
                     "term %llu",
                     node, (unsigned long long)i, shard, (unsigned long long)term,
                     (unsigned long long)*committed);
            return;
        }
    }
    if (view->commit > *seen) {
        *seen = view->commit;
    }
    if (view->commit > checks->last_committed[shard]) {
        checks->last_committed[shard] = view->commit;
    }
    if (view->commit > view->last_index || view->applied > view->commit) {
        sim_fail(world,
                 "n%u shard %u: applied %llu, commit %llu, last %llu are out of order",
                 node, shard, (unsigned long long)view->applied,
                 (unsigned long long)view->commit, (unsigned long long)view->last_index);
    }
}

static void check_hash(struct sim_world *world, uint32_t node, uint32_t shard) {
    struct momi_shard_view view;
    if (!momi_core_shard_view(world->nodes[node].core, shard, MOMI_VIEW_HASH, &view) ||
        !view.has_state) {
        return;
    }
    uint64_t *hash = slot(&world->checks->hashes[shard], view.applied);
    if (*hash != 0 && *hash != view.state_hash) {
        sim_fail(world, "states of shard %u differ at applied index %llu (n%u)", shard,
                 (unsigned long long)view.applied, node);
    }
    *hash = view.state_hash;
}

void sim_checks_step(struct sim_world *world, uint32_t node) {
    struct sim_checks *checks = world->checks;
    if (world->has_failed || world->nodes[node].role != MOMI_ROLE_STORE) {
        return;
    }
    if (checks->seen_life[node] != world->nodes[node].life) {
        checks->seen_life[node] = world->nodes[node].life;
        memset(checks->seen_commit[node], 0, sizeof checks->seen_commit[node]);
        memset(checks->seen_term[node], 0, sizeof checks->seen_term[node]);
    }
    checks->steps++;
    for (uint32_t shard = 0; shard <= world->options.shards && shard < SHARDS; shard++) {
        struct momi_shard_view view;
        if (!momi_core_shard_view(world->nodes[node].core, shard, MOMI_VIEW_PLAIN,
                                  &view)) {
            continue;
        }
        check_commits(world, node, shard, &view);
        if (view.is_leader) {
            check_leader(world, node, shard, &view);
        }
        sim_replicas_check_quorum(world, node, shard);
    }
    if (checks->steps % HASH_EVERY == 0) {
        check_hash(world, node,
                   (uint32_t)(checks->steps / HASH_EVERY % (world->options.shards + 1)));
    }
    if (checks->steps % STATE_EVERY == 0) {
        sim_machines_check(
            world, node,
            1 + (uint32_t)(checks->steps / STATE_EVERY % world->options.shards));
    }
}

void sim_checks_final(struct sim_world *world) {
    for (uint32_t node = 0; node < world->options.stores; node++) {
        for (uint32_t shard = 0;
             sim_node_is_up(world, node) && shard <= world->options.shards; shard++) {
            check_hash(world, node, shard);
            if (shard != MOMI_REGISTRY_SHARD) {
                sim_machines_check(world, node, shard);
            }
        }
    }
}
