/* SPDX-License-Identifier: Apache-2.0 */
/* The planner: even spreads, fewest moves, one voter in and one out, a few at a time. */
#include "t.h"

#include "base/mem.h"
#include "core/placement.h"
#include "core/registry_commands.h"

enum { NODES_MAX = 16, STEPS_MAX = MOMI_SHARDS_MAX + 1 };

struct rig {
    struct momi_registry registry;
    uint64_t live[NODES_MAX];
    size_t live_count;
    struct momi_placement_step steps[STEPS_MAX];
    size_t steps_count;
    size_t moves; /* plans carried out, genesis excluded */
};

static void setup(struct rig *rig, uint32_t shards, uint32_t copies) {
    memset(rig, 0, sizeof *rig);
    struct momi_registry *registry = &rig->registry;
    momi_registry_init(registry);
    registry->shards_count = shards;
    registry->copies_count = copies;
    registry->replica_next = 2;
    registry->places = momi_must_calloc(shards + 1, sizeof *registry->places);
    struct momi_shard_place *place = &registry->places[0];
    place->plan = (struct momi_plan){.version = 1, .count = 1};
    place->plan.at[0] =
        (struct momi_replica_at){.replica = 1, .node = 100, .votes = true};
    momi_plan_config(&place->plan, &place->genesis);
    place->current = place->genesis;
    place->done_version = 1;
    place->is_founded = true;
}

static void add(struct rig *rig, uint64_t node) {
    struct momi_member *member = momi_registry_insert(&rig->registry, node);
    CHECK(member != NULL);
    member->role = MOMI_ROLE_STORE;
    rig->live[rig->live_count++] = node;
}

static void teardown(struct rig *rig) { momi_registry_free(&rig->registry); }

static void think(struct rig *rig) {
    struct momi_placement_input input = {.registry = &rig->registry,
                                         .live = rig->live,
                                         .live_count = rig->live_count,
                                         .may_found = true};
    rig->steps_count =
        momi_placement_steps(&input, &rig->registry.replica_next, rig->steps, STEPS_MAX);
}

static const struct momi_replica_at *replica_in(const struct momi_raft_config *config,
                                                uint64_t replica) {
    return momi_raft_config_find(config, replica);
}

/* Carries out the steps as the shards would, checking each (N3, R2). */
static void carry_out(struct rig *rig) {
    size_t in_flight = 0;
    for (size_t i = 0; i < rig->steps_count; i++) {
        struct momi_shard_place *place = &rig->registry.places[rig->steps[i].shard];
        const struct momi_plan *plan = &rig->steps[i].plan;
        if (!place->is_founded) {
            CHECK_EQ(plan->version, MOMI_GENESIS_VERSION);
            momi_plan_config(plan, &place->genesis);
            place->is_founded = true;
        } else {
            in_flight++;
            rig->moves++;
            CHECK_EQ(plan->version, place->plan.version + MOMI_PLAN_STEP);
            uint32_t come = 0;
            for (uint32_t j = 0; j < plan->count; j++) {
                come += replica_in(&place->current, plan->at[j].replica) == NULL;
            }
            uint32_t gone = place->current.count + come - plan->count;
            CHECK(come <= 1);
            CHECK(gone <= come); /* never fewer voters */
        }
        place->plan = *plan;
        momi_plan_config(plan, &place->current);
        place->done_version = plan->version;
    }
    CHECK(in_flight <= MOMI_PLANS_IN_FLIGHT_MAX);
}

static void settle(struct rig *rig) {
    for (unsigned round = 0; round < 1000; round++) {
        think(rig);
        if (rig->steps_count == 0) {
            return;
        }
        carry_out(rig);
    }
    fail_msg("the planner does not come to rest");
}

struct spread {
    uint32_t copies_min, copies_max, leads_min, leads_max;
};
static struct spread spread_of(const struct rig *rig) {
    struct spread spread = {UINT32_MAX, 0, UINT32_MAX, 0};
    for (size_t i = 0; i < rig->live_count; i++) {
        uint32_t copies = 0;
        uint32_t leads = 0;
        for (uint32_t s = 1; s <= rig->registry.shards_count; s++) {
            const struct momi_shard_place *place = &rig->registry.places[s];
            copies += momi_raft_config_on(&place->current, rig->live[i]) != NULL;
            leads += place->plan.leader == rig->live[i];
        }
        spread.copies_min = copies < spread.copies_min ? copies : spread.copies_min;
        spread.copies_max = copies > spread.copies_max ? copies : spread.copies_max;
        spread.leads_min = leads < spread.leads_min ? leads : spread.leads_min;
        spread.leads_max = leads > spread.leads_max ? leads : spread.leads_max;
    }
    return spread;
}

static void check_even(const struct rig *rig) {
    struct spread spread = spread_of(rig);
    CHECK(spread.copies_max - spread.copies_min <= 1);
    CHECK(spread.leads_max - spread.leads_min <= 1);
    size_t wanted = rig->registry.copies_count < rig->live_count
                        ? rig->registry.copies_count
                        : rig->live_count;
    for (uint32_t s = 1; s <= rig->registry.shards_count; s++) {
        CHECK(rig->registry.places[s].current.count >= wanted);
    }
}

static void one_node_holds_everything(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig, 16, 3);
    add(&rig, 100);
    think(&rig);
    CHECK_EQ(rig.steps_count, 16);
    carry_out(&rig);
    settle(&rig);
    CHECK_EQ(rig.moves, 0);
    check_even(&rig);
    teardown(&rig);
}

static void genesis_is_even(void **state) {
    (void)state;
    for (uint32_t nodes = 1; nodes <= 8; nodes++) {
        for (uint32_t copies = 1; copies <= 5; copies++) {
            struct rig rig;
            setup(&rig, 16, copies);
            for (uint32_t i = 0; i < nodes; i++) {
                add(&rig, 100 + i);
            }
            settle(&rig);
            check_even(&rig);
            teardown(&rig);
        }
    }
}

static void it_grows_node_by_node(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig, 16, 3);
    for (uint32_t i = 0; i < 8; i++) {
        add(&rig, 100 + i);
        settle(&rig);
        check_even(&rig);
        static const uint32_t voters[] = {1, 2, 3, 3, 5, 5, 5, 5};
        CHECK_EQ(rig.registry.places[0].current.count, voters[i]);
    }
    teardown(&rig);
}

static void a_fourth_node_costs_the_fewest_moves(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig, 16, 3);
    for (uint32_t i = 0; i < 3; i++) {
        add(&rig, 100 + i);
    }
    settle(&rig);
    add(&rig, 200);
    rig.moves = 0;
    settle(&rig);
    check_even(&rig);
    /* 48 copies on four nodes: twelve move; four leaderships follow, some with a copy. */
    CHECK(rig.moves >= 12);
    CHECK(rig.moves <= 16);
    teardown(&rig);
}

static void nothing_new_goes_to_dead_nodes(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig, 8, 3);
    for (uint32_t i = 0; i < 4; i++) {
        add(&rig, 100 + i);
    }
    rig.live_count = 3; /* 103 is a member and away */
    settle(&rig);
    for (uint32_t s = 0; s <= 8; s++) {
        CHECK(momi_raft_config_on(&rig.registry.places[s].current, 103) == NULL);
    }
    /* And dead ones keep what they have. */
    rig.live_count = 4;
    settle(&rig);
    struct spread before = spread_of(&rig);
    rig.live_count = 3;
    rig.moves = 0;
    settle(&rig);
    rig.live_count = 4;
    struct spread after = spread_of(&rig);
    CHECK_EQ(after.copies_max, before.copies_max);
    CHECK_EQ(after.copies_min, before.copies_min);
    teardown(&rig);
}

static void a_plan_under_way_blocks_its_shard(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig, 4, 2);
    add(&rig, 100);
    settle(&rig);
    add(&rig, 101);
    think(&rig);
    CHECK_EQ(rig.steps_count, MOMI_PLANS_IN_FLIGHT_MAX);
    for (size_t i = 0; i < rig.steps_count; i++) {
        rig.registry.places[rig.steps[i].shard].plan = rig.steps[i].plan; /* not done */
    }
    struct momi_placement_step first = rig.steps[0];
    think(&rig);
    CHECK_EQ(rig.steps_count, 0);
    struct momi_shard_place *place = &rig.registry.places[first.shard];
    momi_plan_config(&first.plan, &place->current);
    place->done_version = first.plan.version;
    think(&rig);
    CHECK_EQ(rig.steps_count, 1);
    CHECK(rig.steps[0].shard != first.shard);
    teardown(&rig);
}

static void a_plan_given_up_is_made_again(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig, 1, 2);
    add(&rig, 100);
    settle(&rig);
    add(&rig, 101);
    think(&rig);
    for (size_t i = 0; i < rig.steps_count; i++) {
        struct momi_shard_place *place = &rig.registry.places[rig.steps[i].shard];
        place->plan = rig.steps[i].plan;
        place->done_version = place->plan.version;
        place->current.version = place->plan.version; /* the old voters */
    }
    settle(&rig);
    CHECK_EQ(rig.registry.places[1].current.count, 2);
    check_even(&rig);
    teardown(&rig);
}

static void equal_inputs_give_equal_plans(void **state) {
    (void)state;
    struct rig one;
    struct rig two;
    setup(&one, 16, 3);
    setup(&two, 16, 3);
    for (uint32_t i = 0; i < 5; i++) {
        add(&one, 100 + i);
        add(&two, 104 - i);
    }
    think(&one);
    think(&two);
    CHECK_EQ(one.steps_count, two.steps_count);
    for (size_t i = 0; i < one.steps_count; i++) {
        struct momi_raft_config left, right;
        momi_plan_config(&one.steps[i].plan, &left);
        momi_plan_config(&two.steps[i].plan, &right);
        CHECK_EQ(one.steps[i].shard, two.steps[i].shard);
        CHECK_EQ(one.steps[i].plan.leader, two.steps[i].plan.leader);
        CHECK(momi_raft_config_equal(&left, &right));
    }
    teardown(&one);
    teardown(&two);
}

static void without_memory_nothing_is_planned(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig, 16, 3);
    add(&rig, 100);
    for (int64_t n = 0; n < 2; n++) {
        momi_mem_fail_after(n, false);
        think(&rig);
        momi_mem_fail_after(-1, false);
        CHECK_EQ(rig.steps_count, 0);
    }
    settle(&rig);
    check_even(&rig);
    teardown(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_node_holds_everything),
        TEST(genesis_is_even),
        TEST(it_grows_node_by_node),
        TEST(a_fourth_node_costs_the_fewest_moves),
        TEST(nothing_new_goes_to_dead_nodes),
        TEST(a_plan_under_way_blocks_its_shard),
        TEST(a_plan_given_up_is_made_again),
        TEST(equal_inputs_give_equal_plans),
        TEST(without_memory_nothing_is_planned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
