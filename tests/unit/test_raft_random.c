/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raft under random trouble: lost, doubled and reordered frames, cut links, crashes that
 * lose what was not synced, slow disks, changes of configuration, transfers, reads. What
 * must hold is checked after every turn (raft_cluster.h); at the end everything is healed
 * and the group must work again.
 */
#include "raft_cluster.h"

enum { SEEDS = 500, READS_MAX = 64, ACTS = 300 };

struct read_asked {
    uint64_t request;
    uint64_t replica;
    uint64_t committed; /* by anybody, when it was asked */
};
struct trouble {
    struct cluster *c;
    struct read_asked reads[READS_MAX];
    uint64_t reads_next;
    uint32_t trouble_ppm;
    bool stirs;
};

static uint64_t pick(struct trouble *t) {
    return momi_rng_between(&t->c->rng, 1, REPLICAS);
}

static void ask_read(struct trouble *t, uint64_t replica) {
    struct member *m = &t->c->member[replica];
    uint64_t request = ++t->reads_next;
    if (momi_raft_read_index(&m->raft, request, m->heartbeat_counter + 1)) {
        t->reads[request % READS_MAX] = (struct read_asked){
            .request = request, .replica = replica, .committed = t->c->committed_last};
    }
}

static void take_reads(struct trouble *t, uint64_t replica) {
    struct momi_read_index taken[8];
    size_t count = momi_raft_take_reads(&t->c->member[replica].raft, taken, 8);
    for (size_t i = 0; i < count; i++) {
        const struct read_asked *asked = &t->reads[taken[i].request % READS_MAX];
        if (asked->request == taken[i].request && taken[i].index < asked->committed) {
            cluster_fail(t->c, "stale read", replica, taken[i].index);
        }
    }
}

static void change_randomly(struct trouble *t, uint64_t replica) {
    static const char *const letters[] = {"vvvll", "vvvv-", "vvvvv", "-vvvl", "v-v-v",
                                          "lvvvl", "vlllv", "v----", "--vvv", "vvlll"};
    (void)cluster_change_to(t->c, replica, letters[momi_rng_between(&t->c->rng, 0, 9)]);
}

static void cut_randomly(struct trouble *t) {
    struct cluster *c = t->c;
    for (uint64_t a = 1; a <= REPLICAS; a++) {
        for (uint64_t b = 1; b <= REPLICAS; b++) {
            c->cut[a][b] = momi_rng_chance(&c->rng, 200000);
        }
    }
    if (momi_rng_chance(&c->rng, 500000)) {
        /* Two halves. */
        uint64_t half = momi_rng_between(&c->rng, 0, 31);
        for (uint64_t a = 1; a <= REPLICAS; a++) {
            for (uint64_t b = 1; b <= REPLICAS; b++) {
                c->cut[a][b] = ((half >> a) & 1) != ((half >> b) & 1);
            }
        }
    }
}

static void heal(struct trouble *t) {
    struct cluster *c = t->c;
    memset(c->cut, 0, sizeof c->cut);
    for (uint64_t r = 1; r <= REPLICAS; r++) {
        c->member[r].disk_is_stuck = false;
        if (!c->member[r].is_up) {
            cluster_start(c, r);
            cluster_lanes(c, r, true);
        }
    }
}

/* Every leader gets work, also one that does not know yet that it is none. */
static void work(struct trouble *t) {
    struct cluster *c = t->c;
    for (uint64_t r = 1; r <= REPLICAS; r++) {
        struct member *m = &c->member[r];
        if (!m->is_up || m->raft.role != RAFT_LEADER) {
            continue;
        }
        uint64_t dice = momi_rng_between(&c->rng, 0, 99);
        if (dice < 60) {
            for (uint64_t i = momi_rng_between(&c->rng, 1, 3); i > 0; i--) {
                cluster_propose(c, r, momi_rng_between(&c->rng, 8, 200));
            }
        } else if (dice < 80) {
            ask_read(t, r);
        } else if (dice < 88) {
            change_randomly(t, r);
        } else if (dice < 90) {
            (void)momi_raft_transfer(&m->raft, c->now_us, 0, &m->effects);
            turn_end(c, r);
        }
    }
}

/* Two candidates at once, in the same term if need be, and a voter that crashes among
 * them. TIMEOUT_NOW is what a leader may send at any time. */
static void stir(struct trouble *t) {
    struct cluster *c = t->c;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t r = pick(t);
        struct member *m = &c->member[r];
        if (!m->is_up) {
            continue;
        }
        if (i == 2) {
            cluster_run(c, momi_rng_between(&c->rng, 0, 2 * c->delay_max_us));
            cluster_crash(c, r);
            cluster_start(c, r);
            cluster_lanes(c, r, true);
            continue;
        }
        struct momi_frame now = {.type = FRAME_TIMEOUT_NOW,
                                 .from_replica = r % REPLICAS + 1,
                                 .to_replica = r,
                                 .term = m->raft.term > 0 ? m->raft.term : 1};
        momi_raft_frame(&m->raft, c->now_us, NODE_BASE + now.from_replica, &now, NULL,
                        NULL, 0, &m->effects);
        turn_end(c, r);
    }
}

static void trouble_someone(struct trouble *t) {
    struct cluster *c = t->c;
    uint64_t r = pick(t);
    struct member *m = &c->member[r];
    uint64_t dice = momi_rng_between(&c->rng, 0, 99);
    if (!m->is_up) {
        cluster_start(c, r);
        cluster_lanes(c, r, true);
    } else if (t->stirs && dice < 60) {
        stir(t);
    } else if (dice < 12) {
        cluster_crash(c, r);
        cluster_lanes(c, r, false);
    } else if (dice < 30) {
        cluster_crash(c, r);
        cluster_start(c, r);
        cluster_lanes(c, r, true);
    } else if (dice < 45) {
        cut_randomly(t);
    } else if (dice < 70) {
        memset(c->cut, 0, sizeof c->cut);
    } else if (dice < 85) {
        m->disk_is_stuck = !m->disk_is_stuck;
    } else if (m->raft.leader_node != 0 && m->raft.role != RAFT_LEADER) {
        uint64_t leader = m->raft.leader_node;
        momi_raft_lane_down(&m->raft, c->now_us, leader, true, &m->effects);
        turn_end(c, r);
        momi_raft_lane_up(&m->raft, c->now_us, leader, &m->effects);
        turn_end(c, r);
    }
}

static void act(struct trouble *t) {
    work(t);
    if (momi_rng_chance(&t->c->rng, t->trouble_ppm)) {
        trouble_someone(t);
    }
}

/* After the trouble: one leader, and everybody of the configuration has all of its log.
 */
static void check_recovery(struct trouble *t) {
    struct cluster *c = t->c;
    c->loss_ppm = c->duplicate_ppm = 0;
    c->delay_min_us = 100;
    c->delay_max_us = 1000;
    heal(t);
    cluster_run(c, 5 * MOMI_S);
    uint64_t leader = cluster_leader(c);
    if (leader == 0) {
        cluster_fail(c, "nobody leads", 0, 0);
        return;
    }
    uint64_t index = cluster_propose(c, leader, 8);
    cluster_run(c, 1 * MOMI_S);
    if (c->failure[0] != '\0') {
        return;
    }
    struct momi_raft *raft = &c->member[leader].raft;
    if (raft->commit < index || raft->config.is_joint) {
        cluster_fail(c, "does not commit", leader, index);
        return;
    }
    for (uint32_t i = 0; i < raft->config.count; i++) {
        uint64_t replica = raft->config.at[i].replica;
        if (c->member[replica].raft.commit < index) {
            cluster_fail(c, "does not follow", replica, index);
        }
    }
}

/* Empty when all is well. */
static void run_seed(uint64_t seed, char *failure, size_t failure_size) {
    struct trouble *t = calloc(1, sizeof *t);
    CHECK(t != NULL);
    struct cluster *c = t->c = cluster_new(seed, "vvvll");
    c->loss_ppm = (uint32_t)momi_rng_between(&c->rng, 0, 3) * 50000;
    c->duplicate_ppm = (uint32_t)momi_rng_between(&c->rng, 0, 2) * 50000;
    c->delay_max_us = momi_rng_between(&c->rng, 300, 30000);
    c->sync_max_us = momi_rng_between(&c->rng, 1500, 40000);
    t->stirs = momi_rng_chance(&c->rng, 500000);
    t->trouble_ppm = (uint32_t)momi_rng_between(&c->rng, 1, 4) * 50000;
    for (unsigned i = 0; i < ACTS && c->failure[0] == '\0'; i++) {
        uint64_t pause = momi_rng_chance(&c->rng, 100000)
                             ? momi_rng_between(&c->rng, 0, 1500 * MOMI_MS)
                             : momi_rng_between(&c->rng, 0, 40 * MOMI_MS);
        cluster_run(c, pause);
        act(t);
        for (uint64_t r = 1; r <= REPLICAS; r++) {
            if (c->member[r].is_up) {
                take_reads(t, r);
            }
        }
        if (i % 25 == 0) {
            check_log_matching(c);
        }
    }
    if (c->failure[0] == '\0') {
        check_recovery(t);
    }
    check_log_matching(c);
    snprintf(failure, failure_size, "%s", c->failure);
    cluster_free(c);
    free(t);
}

static void promises_hold_under_random_trouble(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        char failure[200];
        run_seed(seed, failure, sizeof failure);
        if (failure[0] != '\0') {
            fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
        }
    }
    CHECK_EQ(momi_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(promises_hold_under_random_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
