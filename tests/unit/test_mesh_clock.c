/* SPDX-License-Identifier: Apache-2.0 */
/* The wall clock of a stream (docs/protocol.md R8): the median of the replicas' clocks,
 * which one clock that is set wrong does not move. */
#include "mesh_rig.h"

#include "core/mesh_internal.h"
#include "core/shard_internal.h"

static const uint64_t hour_us = 3600 * MOMI_S;

static void form_three(struct rig *rig) {
    rig_init(rig);
    for (int i = 0; i < 3; i++) {
        struct rig_node *node = &rig->nodes[i];
        node->form_count = 3;
        for (int j = 0; j < 3; j++) {
            node->form[j] =
                (struct momi_founder){.name = momi_slice_str(rig->nodes[j].name),
                                      .address = momi_slice_str(rig->nodes[j].address)};
        }
        rig_start(rig, i);
    }
    rig_run(rig, 5 * MOMI_S);
}

static int leader_of(const struct rig *rig, uint32_t shard) {
    for (int i = 0; i < RIG_NODES; i++) {
        if (rig->nodes[i].core != NULL &&
            momi_shard_is_leader(rig->nodes[i].core, shard)) {
            return i;
        }
    }
    return -1;
}

static const struct momi_shard *led(const struct rig *rig, uint32_t shard) {
    int leader = leader_of(rig, shard);
    CHECK(leader >= 0);
    return rig->nodes[leader].core->shards[shard];
}

/* A stamp goes into the log of the shard, as soon as it has a leader. */
static void stamp(struct rig *rig, uint32_t shard) {
    uint64_t until_us = rig->now_us + 10 * MOMI_S;
    while (leader_of(rig, shard) < 0) {
        CHECK(rig_next(rig, until_us));
    }
    int leader = leader_of(rig, shard);
    struct rig_node *node = &rig->nodes[leader];
    node->core->effects = &node->effects;
    CHECK(momi_shard_propose(node->core, shard, CMD_TICK, momi_slice(NULL, 0)));
    node->core->effects = NULL;
    struct momi_event event = {.type = EV_TIME};
    rig_step(rig, leader, &event);
    rig_run(rig, 100 * MOMI_MS);
}

static uint64_t wall_of(const struct rig *rig, uint32_t shard) {
    return led(rig, shard)->machine->wall_us;
}

/* Within a second of what a right clock says. */
static void check_right(const struct rig *rig, uint32_t shard) {
    uint64_t right_us = rig->now_us + RIG_WALL_US;
    CHECK(wall_of(rig, shard) > right_us - MOMI_S);
    CHECK(wall_of(rig, shard) < right_us + MOMI_S);
}

static void one_wrong_clock_moves_nothing(void **state) {
    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            struct rig rig;
            form_three(&rig);
            stamp(&rig, 1);
            check_right(&rig, 1);
            rig.nodes[wrong].wall_offset_us = sign * (int64_t)hour_us;
            rig_run(&rig, 2 * MOMI_S);
            stamp(&rig, 1);
            check_right(&rig, 1);
            /* The next leader knows the clocks before it stamps anything. */
            rig_kill(&rig, leader_of(&rig, 1));
            stamp(&rig, 1);
            check_right(&rig, 1);
            rig_free(&rig);
        }
    }
}

static void two_right_clocks_correct_the_time(void **state) {
    (void)state;
    struct rig rig;
    form_three(&rig);
    for (int i = 0; i < 3; i++) {
        rig.nodes[i].wall_offset_us = i == 0 ? 0 : (int64_t)hour_us;
    }
    rig_run(&rig, 2 * MOMI_S);
    stamp(&rig, 1);
    CHECK(wall_of(&rig, 1) > rig.now_us + RIG_WALL_US + hour_us - MOMI_S);
    uint64_t before_us = wall_of(&rig, 1);
    for (int i = 1; i < 3; i++) {
        rig.nodes[i].wall_offset_us = 0;
    }
    rig_run(&rig, 2 * MOMI_S);
    stamp(&rig, 1);
    CHECK_EQ(wall_of(&rig, 1), before_us); /* it stands, and never goes back */
    rig_free(&rig);
}

static void of_two_clocks_the_lower_counts(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.nodes[1].join[rig.nodes[1].join_count++] = momi_slice_str(rig.nodes[0].address);
    rig_start(&rig, 0);
    rig_start(&rig, 1);
    rig_run(&rig, 10 * MOMI_S);
    stamp(&rig, 1);
    check_right(&rig, 1);
    for (int wrong = 0; wrong < 2; wrong++) {
        rig.nodes[wrong].wall_offset_us = (int64_t)hour_us;
        rig_run(&rig, 2 * MOMI_S);
        stamp(&rig, 1);
        check_right(&rig, 1);
        rig.nodes[wrong].wall_offset_us = 0;
    }
    rig_free(&rig);
}

static void without_a_majority_nothing_is_known(void **state) {
    (void)state;
    struct rig rig;
    form_three(&rig);
    const struct momi_core *core = rig.nodes[0].core;
    struct momi_raft_config config = {.count = 3};
    for (uint32_t i = 0; i < 3; i++) {
        config.at[i] = (struct momi_replica_at){
            .replica = i + 1, .node = rig.nodes[i].id, .votes = true};
    }
    CHECK(momi_mesh_wall(core, &config) != 0);
    config.at[1].node = 4711; /* never heard of */
    CHECK(momi_mesh_wall(core, &config) != 0);
    config.at[2].node = 4712;
    CHECK_EQ(momi_mesh_wall(core, &config), 0);
    config.at[1].votes = config.at[2].votes = false; /* learners have no say */
    CHECK_EQ(momi_mesh_wall(core, &config), core->wall_us);
    /* What a peer says is no number of ours to trust. */
    momi_mesh_clock_heard(rig.nodes[0].core, rig.nodes[1].id, UINT64_MAX);
    momi_mesh_clock_heard(rig.nodes[0].core, rig.nodes[1].id, 0);
    momi_mesh_clock_heard(rig.nodes[0].core, 4713, 1);
    config.at[1] =
        (struct momi_replica_at){.replica = 2, .node = rig.nodes[1].id, .votes = true};
    uint64_t right_us = rig.now_us + RIG_WALL_US;
    CHECK(momi_mesh_wall(core, &config) > right_us - MOMI_S);
    CHECK(momi_mesh_wall(core, &config) < right_us + MOMI_S);
    rig_free(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_wrong_clock_moves_nothing),
        TEST(two_right_clocks_correct_the_time),
        TEST(of_two_clocks_the_lower_counts),
        TEST(without_a_majority_nothing_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
