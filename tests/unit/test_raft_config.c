/* SPDX-License-Identifier: Apache-2.0 */
/* Quorums, votes, encoding, and the ways between configurations. */
#include "t.h"

#include "base/rng.h"
#include "core/raft_config.h"

enum { REPLICAS = 7 };

/* v votes, l learns, o voted before, b both, - is not there. */
static struct momi_raft_config config_of(uint64_t version, const char *letters) {
    struct momi_raft_config config = {.version = version};
    for (uint64_t r = 1; letters[r - 1] != '\0'; r++) {
        char letter = letters[r - 1];
        if (letter == '-') {
            continue;
        }
        config.at[config.count++] =
            (struct momi_replica_at){.replica = r,
                                     .node = 100 + r,
                                     .votes = letter == 'v' || letter == 'b',
                                     .voted = letter == 'o' || letter == 'b'};
        config.is_joint = config.is_joint || letter == 'o' || letter == 'b';
    }
    return config;
}

static uint64_t value_of(void *user, uint64_t replica) {
    return ((const uint64_t *)user)[replica - 1];
}

static void quorum_is_what_a_majority_has(void **state) {
    (void)state;
    static const struct {
        const char *letters;
        uint64_t has[5];
        uint64_t quorum;
    } cases[] = {
        {"v", {5}, 5},
        {"vv", {5, 3}, 3},
        {"vvv", {5, 3, 1}, 3},
        {"vvvv", {9, 8, 2, 1}, 2},
        {"vvvvv", {9, 8, 7, 2, 1}, 7},
        {"vvvll", {5, 3, 1, 9, 9}, 3}, /* learners do not count */
        {"ovb", {9, 1, 9}, 1},         /* both halves: {2 3} and {1 3} */
        {"ovb", {1, 9, 9}, 1},
        {"oobvv", {9, 9, 1, 5, 5}, 5},
        {"oobvv", {3, 3, 1, 5, 5}, 3},
        {"ll", {9, 9}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct momi_raft_config config = config_of(1, cases[i].letters);
        uint64_t has[5];
        memcpy(has, cases[i].has, sizeof has);
        CHECK_EQ(momi_raft_config_quorum(&config, value_of, has), cases[i].quorum);
    }
}

static int vote_of(void *user, uint64_t replica) {
    char letter = ((const char *)user)[replica - 1];
    return letter == 'y' ? 1 : letter == 'n' ? -1 : 0;
}

static void votes_are_won_in_both_halves(void **state) {
    (void)state;
    static const struct {
        const char *letters;
        const char *votes;
        int result;
    } cases[] = {
        {"v", "y", 1},          {"v", "?", 0},         {"vvv", "yy?", 1},
        {"vvv", "y??", 0},      {"vvv", "yn?", 0},     {"vvv", "ynn", -1},
        {"vv", "y?", 0},        {"vv", "yn", -1},      {"vvvll", "y??yy", 0},
        {"oobvv", "yy?yy", 1},  {"oobvv", "???yy", 0}, {"oobvv", "nn?yy", -1},
        {"oobvv", "yy?nn", -1}, {"ll", "yy", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct momi_raft_config config = config_of(1, cases[i].letters);
        char votes[8] = "";
        snprintf(votes, sizeof votes, "%s", cases[i].votes);
        CHECK_EQ(momi_raft_config_votes(&config, vote_of, votes), cases[i].result);
    }
}

static void encoding_comes_back(void **state) {
    (void)state;
    static const char *const all[] = {"v", "vvv", "lvvvl", "-v-v-v", "oobvv", ""};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct momi_raft_config config = config_of(300 + i, all[i]);
        struct momi_bytes bytes = {.data = NULL};
        momi_raft_config_encode(&config, &bytes);
        struct momi_raft_config back;
        CHECK(momi_raft_config_decode(momi_bytes_slice(&bytes), &back));
        CHECK(momi_raft_config_equal(&config, &back));
        for (size_t size = 0; size < bytes.size; size++) {
            CHECK(!momi_raft_config_decode(momi_slice(bytes.data, size), &back));
        }
        momi_put_u8(&bytes, 0);
        CHECK(!momi_raft_config_decode(momi_bytes_slice(&bytes), &back));
        momi_bytes_free(&bytes);
    }
}

static void malformed_ones_are_refused(void **state) {
    (void)state;
    struct momi_raft_config bad[7];
    for (size_t i = 0; i < 7; i++) {
        bad[i] = config_of(1, "vvv");
    }
    bad[0].at[1].replica = 1; /* twice */
    bad[1].at[0].replica = 0;
    bad[2].at[2].node = 0;
    bad[3].at[2].node = 101; /* two replicas on one node */
    bad[4].at[0].voted = true;
    bad[5].is_joint = true;
    bad[6] = config_of(1, "lll");
    for (size_t i = 0; i < 7; i++) {
        struct momi_bytes bytes = {.data = NULL};
        momi_raft_config_encode(&bad[i], &bytes);
        struct momi_raft_config back;
        CHECK(!momi_raft_config_decode(momi_bytes_slice(&bytes), &back));
        momi_bytes_free(&bytes);
    }
    struct momi_raft_config large = config_of(1, "vvvvvvvvvv");
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(&large, &bytes);
    CHECK(!momi_raft_config_decode(momi_bytes_slice(&bytes), &large));
    momi_bytes_free(&bytes);
}

static void random_bytes_do_no_harm(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 5);
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t bytes[64];
        size_t size = momi_rng_between(&rng, 0, sizeof bytes);
        for (size_t b = 0; b < size; b++) {
            bytes[b] = (uint8_t)momi_rng_between(&rng, 0, 4);
        }
        struct momi_raft_config config;
        if (momi_raft_config_decode(momi_slice(bytes, size), &config)) {
            CHECK(config.count <= 2 * MOMI_REPLICAS_MAX);
        }
    }
}

static void the_way_in_and_out(void **state) {
    (void)state;
    static const struct {
        const char *now, *target, *proposal, *left;
    } cases[] = {
        {"vvv", "vvvl", "vvvl", NULL},    /* a learner needs no joint step */
        {"vvvl", "vvv", "vvv", NULL},     /* nor does its end */
        {"vvvl", "-vvv", "obbv", "-vvv"}, /* one in, one out */
        {"vvv", "lvv", "obb", "-vv"},     /* who voted cannot learn: it goes */
        {"v", "vv", "bv", "vv"},          /* growing */
        {"vv-l", "v-vl", "bovl", "v-vl"}, /* learners stay */
        {"vvll", "v-v-", "bov", "v-v"},   /* and go when not named */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct momi_raft_config now = config_of(4, cases[i].now);
        struct momi_raft_config target = config_of(6, cases[i].target);
        struct momi_raft_config proposal;
        CHECK(momi_raft_config_enter(&now, &target, &proposal));
        CHECK(momi_raft_config_may_follow(&now, &proposal));
        CHECK(!momi_raft_config_may_follow(&proposal, &proposal));
        if (cases[i].proposal != NULL) {
            struct momi_raft_config expected = config_of(6, cases[i].proposal);
            CHECK(momi_raft_config_equal(&proposal, &expected));
        }
        if (cases[i].left != NULL) {
            struct momi_raft_config left;
            struct momi_raft_config expected = config_of(6, cases[i].left);
            momi_raft_config_leave(&proposal, &left);
            CHECK(momi_raft_config_equal(&left, &expected));
            CHECK(momi_raft_config_may_follow(&proposal, &left));
        }
    }
}

static void forbidden_ways(void **state) {
    (void)state;
    struct momi_raft_config now = config_of(4, "vvv");
    struct momi_raft_config next = config_of(5, "vvvv");
    CHECK(!momi_raft_config_may_follow(&now, &next)); /* voters change without joint */
    next = config_of(4, "vvvl");
    CHECK(!momi_raft_config_may_follow(&now, &next)); /* not newer */
    next = config_of(5, "bbv");
    CHECK(!momi_raft_config_may_follow(&now, &next)); /* the old half is not ours */
    next = config_of(5, "bbbo");
    CHECK(!momi_raft_config_may_follow(&now, &next));
    next = config_of(5, "bbbl");
    CHECK(momi_raft_config_may_follow(&now, &next));
    next = config_of(5, "");
    CHECK(!momi_raft_config_may_follow(&now, &next));
    now = config_of(5, "bbov");
    next = config_of(6, "vv-v");
    CHECK(!momi_raft_config_may_follow(&now, &next)); /* leaving keeps the version */
    next = config_of(5, "vvv");
    CHECK(!momi_raft_config_may_follow(&now, &next)); /* and never goes back */
    next = config_of(5, "vv-v");
    CHECK(momi_raft_config_may_follow(&now, &next));
    struct momi_raft_config proposal;
    CHECK(!momi_raft_config_enter(&now, &next, &proposal));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(quorum_is_what_a_majority_has),
        TEST(votes_are_won_in_both_halves),
        TEST(encoding_comes_back),
        TEST(malformed_ones_are_refused),
        TEST(random_bytes_do_no_harm),
        TEST(the_way_in_and_out),
        TEST(forbidden_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
