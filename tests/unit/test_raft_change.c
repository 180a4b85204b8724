/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations, transfer, snapshots: one replica step by step (raft_rig.h), and a small
 * group (raft_cluster.h) that lives through changes. */
#include "raft_cluster.h"
#include "raft_rig.h"

/* --- configurations of one replica -----------------------------------------------------
 */

static void lead_of(struct rig *rig, const char *letters) {
    rig_init(rig, letters);
    rig_lead(rig, 2);
    rig_confirm(rig, 2);
    rig_sync(rig);
    CHECK(momi_raft_serves(&rig->raft));
    rig_clear(rig);
}

static void learner_is_not_counted(void **state) {
    (void)state;
    struct rig rig;
    lead_of(&rig, "vvvll");
    rig_propose(&rig, 8);
    rig_sync(&rig);
    rig_append_reply(&rig, 4, 2, MOMI_FLAG_OK);
    rig_append_reply(&rig, 5, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 1);
    rig_append_reply(&rig, 3, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 2);
    rig_free(&rig);
}

static void configuration_acts_when_appended(void **state) {
    (void)state;
    struct rig rig;
    lead_of(&rig, "vvvl");
    struct momi_raft_config joint = rig_config(2, "bbov");
    CHECK_OK(rig_change(&rig, &joint));
    CHECK(rig.raft.config.is_joint);
    CHECK_EQ(rig.raft.config_index, 2);
    rig_sync(&rig);
    /* 1 and 2 are no majority of {1 2 4} and {1 2 3}? They are: both halves agree. */
    rig_append_reply(&rig, 2, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 2);
    CHECK(rig.raft.config_committed);
    /* It leaves by itself. */
    CHECK_EQ(momi_log_last(&rig.raft.log), 3);
    CHECK(!rig.raft.config.is_joint);
    CHECK_EQ(rig.raft.config.version, 2);
    CHECK(momi_raft_progress(&rig.raft, 3) == NULL);
    rig_sync(&rig);
    rig_append_reply(&rig, 4, 3, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 3);
    CHECK_EQ(rig.counters.config_changes, 2);
    uint64_t index = 0;
    const struct momi_raft_config *before = momi_raft_config_at(&rig.raft, 1, &index);
    CHECK(before != NULL);
    CHECK_EQ(before->version, 1);
    CHECK_EQ(index, 0);
    CHECK(momi_raft_config_at(&rig.raft, 2, &index)->is_joint);
    CHECK_EQ(index, 2);
    rig_free(&rig);
}

static void joint_asks_both_halves(void **state) {
    (void)state;
    struct rig rig;
    lead_of(&rig, "vvvlll");
    struct momi_raft_config joint = rig_config(2, "ooovvv");
    CHECK_OK(rig_change(&rig, &joint));
    rig_sync(&rig);
    rig_append_reply(&rig, 2, 2, MOMI_FLAG_OK);
    rig_append_reply(&rig, 3, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 1);
    rig_append_reply(&rig, 4, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 1);
    rig_append_reply(&rig, 5, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 2);
    /* It led itself out: once that is committed it hands over and goes. */
    rig_sync(&rig);
    rig_append_reply(&rig, 4, 3, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.role, RAFT_LEADER);
    rig_append_reply(&rig, 5, 3, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 3);
    CHECK_EQ(rig.raft.role, RAFT_FOLLOWER);
    CHECK(rig_sent(&rig, FRAME_TIMEOUT_NOW, 0) != NULL);
    CHECK(rig_sent(&rig, FRAME_TIMEOUT_NOW, 0)->to_replica >= 4);
    CHECK_EQ(momi_raft_deadline(&rig.raft), MOMI_NEVER);
    rig_free(&rig);
}

static void one_change_at_a_time(void **state) {
    (void)state;
    struct rig rig;
    struct momi_raft_config learner = rig_config(2, "vvvl");
    struct momi_raft_config other = rig_config(3, "vvv-l");
    rig_init(&rig, "vvv");
    CHECK_ERR(rig_change(&rig, &learner), MOM_CONFLICT); /* no leader */
    rig_lead(&rig, 2);
    CHECK_ERR(rig_change(&rig, &learner), MOM_CONFLICT); /* the no-op is not committed */
    rig_confirm(&rig, 2);
    struct momi_raft_config bad = rig_config(2, "vvvv");
    CHECK_ERR(rig_change(&rig, &bad), MOM_INVALID);
    bad = rig_config(1, "vvvl");
    CHECK_ERR(rig_change(&rig, &bad), MOM_CONFLICT);
    CHECK_OK(rig_change(&rig, &learner));
    CHECK_ERR(rig_change(&rig, &other), MOM_CONFLICT); /* one is under way */
    rig_sync(&rig);
    rig_confirm(&rig, 3);
    CHECK_OK(rig_change(&rig, &other));
    CHECK(momi_raft_progress(&rig.raft, 5) != NULL);
    CHECK(momi_raft_progress(&rig.raft, 4) == NULL);
    rig_free(&rig);
}

/* An append of one entry that carries a configuration. */
static void append_config(struct rig *rig, uint64_t from, uint64_t term, uint64_t index,
                          uint64_t log_term, const struct momi_raft_config *config) {
    struct momi_buf *entry = rig_config_entry(term, config);
    struct momi_frame frame = {.type = FRAME_APPEND,
                               .from_replica = from,
                               .to_replica = 1,
                               .term = term,
                               .index = index,
                               .log_term = log_term,
                               .count = 1};
    momi_raft_frame(&rig->raft, rig->now_us, RIG_NODE + from, &frame, &entry, &term, 1,
                    &rig->effects);
    momi_buf_release(entry);
}

static void truncated_configuration_is_rolled_back(void **state) {
    (void)state;
    static const uint64_t twos[] = {2};
    struct rig rig;
    rig_init(&rig, "vvv");
    struct momi_raft_config learner = rig_config(2, "vvvl");
    struct momi_raft_config joint = rig_config(3, "obbv");
    append_config(&rig, 2, 1, 0, 0, &learner);
    append_config(&rig, 2, 1, 1, 1, &joint);
    CHECK_EQ(rig.raft.config.version, 3);
    CHECK_EQ(rig.raft.config_index, 2);
    rig_append(&rig, 3, 2, 1, 1, 0, twos, 1);
    CHECK(momi_raft_config_equal(&rig.raft.config, &learner));
    CHECK_EQ(rig.raft.config_index, 1);
    rig_append(&rig, 2, 3, 0, 0, 0, twos, 1);
    CHECK_EQ(rig.raft.config.version, 1);
    CHECK_EQ(rig.raft.config_index, 0);
    CHECK_EQ(rig.raft.progress_count, 2);
    rig_free(&rig);
}

static void a_new_leader_goes_on_with_a_joint_configuration(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    struct momi_raft_config joint = rig_config(2, "bbov");
    append_config(&rig, 3, 1, 0, 0, &joint);
    rig_sync(&rig);
    rig_lead(&rig, 2); /* with 2 both halves have a majority */
    CHECK(rig.raft.config.is_joint);
    rig_append_reply(&rig, 2, 1, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 0); /* of an older term */
    rig_append_reply(&rig, 2, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 2);
    CHECK(!rig.raft.config.is_joint);
    CHECK_EQ(rig.raft.config_index, 3);
    rig_free(&rig);
}

static void restored_history_is_in_order(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    struct momi_raft_config before = rig_config(2, "vvvl");
    struct momi_raft_config after = rig_config(4, "vvv-l");
    struct momi_raft_start start = {.replica = 1,
                                    .node = RIG_NODE + 1,
                                    .commit = 3,
                                    .config = rig_config(3, "vvv"),
                                    .config_index = 2,
                                    .has_state = true,
                                    .counters = &rig.counters};
    momi_raft_free(&rig.raft);
    CHECK(momi_raft_init(&rig.raft, &start));
    for (unsigned i = 0; i < 4; i++) {
        momi_log_append(&rig.raft.log, 1, NULL, 100);
    }
    momi_raft_restore_config(&rig.raft, 1, &before);
    CHECK_EQ(rig.raft.config.version, 3);
    momi_raft_restore_config(&rig.raft, 4, &after);
    momi_raft_restored(&rig.raft);
    CHECK_EQ(rig.raft.config.version, 4);
    CHECK_EQ(rig.raft.progress_count, 3);
    uint64_t index = 0;
    CHECK_EQ(momi_raft_config_at(&rig.raft, 3, &index)->version, 3);
    CHECK_EQ(index, 2);
    CHECK(momi_raft_config_at(&rig.raft, 1, &index) == NULL);
    rig_free(&rig);
}

/* Who appended its own removal and crashed may have the only vote that is missing. */
static void removed_voter_stands_until_that_is_committed(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    struct momi_raft_config joint = rig_config(2, "obb");
    struct momi_raft_config without = rig_config(2, "-vv");
    append_config(&rig, 2, 1, 0, 0, &joint);
    append_config(&rig, 2, 1, 1, 1, &without);
    rig_sync(&rig);
    CHECK(!momi_raft_config_is_voter(&rig.raft.config, 1));
    CHECK(momi_raft_deadline(&rig.raft) != MOMI_NEVER);
    rig_append(&rig, 2, 1, 2, 1, 2, NULL, 0);
    CHECK_EQ(rig.raft.commit, 2);
    CHECK_EQ(momi_raft_deadline(&rig.raft), MOMI_NEVER);
    rig_free(&rig);
}

/* --- transfer --------------------------------------------------------------------------
 */

static void transfer_waits_until_the_target_has_all(void **state) {
    (void)state;
    struct rig rig;
    lead_of(&rig, "vvvl");
    rig_propose(&rig, 8);
    rig_sync(&rig);
    CHECK(!momi_raft_transfer(&rig.raft, rig.now_us, 4, &rig.effects)); /* a learner */
    CHECK(!momi_raft_transfer(&rig.raft, rig.now_us, 1, &rig.effects));
    CHECK(!momi_raft_transfer(&rig.raft, rig.now_us, 9, &rig.effects));
    CHECK(momi_raft_transfer(&rig.raft, rig.now_us, 3, &rig.effects));
    rig_turn(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_TIMEOUT_NOW), 0);
    rig_append_reply(&rig, 3, 2, MOMI_FLAG_OK);
    rig_turn(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_TIMEOUT_NOW), 1);
    CHECK(rig_sent(&rig, FRAME_TIMEOUT_NOW, 3) != NULL);
    rig_turn(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_TIMEOUT_NOW), 1);
    rig.now_us += MOMI_ELECTION_MAX_US;
    rig_line_reply(&rig, 2, rig.raft.term, 1);
    momi_raft_time(&rig.raft, rig.now_us, &rig.effects);
    CHECK_EQ(rig.raft.transfer_to, 0); /* nothing came of it: it goes on */
    CHECK_EQ(rig.raft.role, RAFT_LEADER);
    rig_free(&rig);
}

static void timeout_now_elects_without_pre_vote(void **state) {
    (void)state;
    struct rig rig;
    uint64_t term = 0;
    rig_init(&rig, "vvv");
    CHECK(rig_line(&rig, 2, 1, 0, &term));
    rig_sync(&rig);
    struct momi_frame now = {.type = FRAME_TIMEOUT_NOW, .from_replica = 2, .term = 1};
    rig_frame(&rig, &now);
    CHECK_EQ(rig.raft.role, RAFT_CANDIDATE);
    CHECK_EQ(rig.raft.term, 2);
    rig_sync(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_VOTE), 2);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE, 2)->flags, MOMI_FLAG_TRANSFER);
    now.term = 1; /* an old one does nothing */
    rig_vote_reply(&rig, 2, 2, MOMI_FLAG_GRANTED);
    rig_frame(&rig, &now);
    CHECK_EQ(rig.raft.role, RAFT_LEADER);
    rig_free(&rig);
}

/* --- snapshots -------------------------------------------------------------------------
 */

static void who_is_behind_the_log_needs_a_snapshot(void **state) {
    (void)state;
    struct rig rig;
    lead_of(&rig, "vvv");
    for (unsigned i = 0; i < 5; i++) {
        rig_propose(&rig, 8);
    }
    rig_sync(&rig);
    rig_confirm(&rig, 2);
    momi_log_trim(&rig.raft.log, 5);
    momi_raft_lane_up(&rig.raft, rig.now_us, RIG_NODE + 3, &rig.effects);
    rig_clear(&rig);
    rig_turn(&rig);
    CHECK_EQ(momi_raft_progress(&rig.raft, 3)->state, PROGRESS_SNAPSHOT);
    CHECK(rig_sent(&rig, FRAME_APPEND, 3) == NULL);
    momi_raft_snapshot_done(&rig.raft, 3, 4, true);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 3)->index, 4);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 3)->count, 2);
    rig_append_reply(&rig, 3, 6, MOMI_FLAG_OK);
    CHECK_EQ(momi_raft_progress(&rig.raft, 3)->state, PROGRESS_REPLICATE);
    rig_append_reply(&rig, 3, 0, MOMI_FLAG_REFUSED);
    CHECK_EQ(momi_raft_progress(&rig.raft, 3)->state, PROGRESS_SNAPSHOT);
    rig_free(&rig);
}

static void install_replaces_or_keeps_the_log(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 1, 2, 2};
    struct momi_raft_config config = rig_config(7, "vvvl");
    for (unsigned kept = 0; kept < 2; kept++) {
        struct rig rig;
        rig_init_with(&rig, "vvv", 3, log, 4);
        rig.raft.can_vote = false;
        momi_raft_install(&rig.raft, 3, kept ? 2 : 3, &config, 2, &rig.effects);
        CHECK(rig.raft.can_vote);
        CHECK_EQ(rig.raft.commit, 3);
        CHECK_EQ(rig.raft.log.first_index, 4);
        CHECK_EQ(rig.raft.log.before_term, kept ? 2 : 3);
        CHECK_EQ(momi_log_last(&rig.raft.log), kept ? 4 : 3);
        CHECK_EQ(rig.raft.config.version, 7);
        CHECK_EQ(rig.raft.config_index, 2);
        CHECK_EQ(rig.raft.progress_count, 3);
        CHECK_EQ(rig.raft.durable, kept ? 4 : 0);
        uint64_t number = rig_turn(&rig);
        CHECK(number != 0);
        rig_written(&rig, number);
        CHECK_EQ(rig.raft.durable, kept ? 4 : 3);
        rig_append(&rig, 2, 3, 3, kept ? 2 : 3, 3, NULL, 0);
        CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 2)->flags, MOMI_FLAG_OK);
        rig_free(&rig);
    }
}

/* --- a group ---------------------------------------------------------------------------
 */

static void check_group(struct cluster *c) {
    check_log_matching(c);
    if (c->failure[0] != '\0') {
        fail_msg("%s", c->failure);
    }
}

static uint64_t wait_for_leader(struct cluster *c) {
    for (unsigned i = 0; i < 500; i++) {
        uint64_t leader = cluster_leader(c);
        if (leader != 0 && momi_raft_serves(&c->member[leader].raft)) {
            return leader;
        }
        cluster_run(c, 10 * MOMI_MS);
    }
    fail_msg("nobody leads: %s", c->failure);
    return 0;
}

static void all_have_what_is_committed(void **state) {
    (void)state;
    struct cluster *c = cluster_new(1, "vvvvl");
    uint64_t leader = wait_for_leader(c);
    uint64_t last = 0;
    for (unsigned i = 0; i < 100; i++) {
        last = cluster_propose(c, leader, 100);
        cluster_run(c, 1 * MOMI_MS);
    }
    cluster_run(c, MOMI_HEARTBEAT_US + 20 * MOMI_MS); /* which tells the commit */
    for (uint64_t r = 1; r <= REPLICAS; r++) {
        CHECK_EQ(c->member[r].raft.commit, last);
        CHECK_EQ(c->member[r].raft.term, c->member[leader].raft.term);
    }
    check_group(c);
    cluster_free(c);
}

static void a_killed_leader_is_replaced_at_once(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct cluster *c = cluster_new(seed, "vvv--");
        uint64_t leader = wait_for_leader(c);
        cluster_run(c, 500 * MOMI_MS);
        uint64_t begin = c->now_us;
        cluster_crash(c, leader);
        cluster_lanes(c, leader, false);
        while (cluster_leader(c) == 0 && c->now_us < begin + MOMI_S) {
            cluster_run(c, 1 * MOMI_MS);
        }
        CHECK(cluster_leader(c) != 0);
        CHECK(c->now_us - begin <= 250 * MOMI_MS); /* below the election timeout */
        check_group(c);
        cluster_free(c);
    }
}

static void a_silent_leader_is_replaced_and_steps_down(void **state) {
    (void)state;
    struct cluster *c = cluster_new(3, "vvv--");
    uint64_t old = wait_for_leader(c);
    cluster_run(c, 100 * MOMI_MS);
    cluster_cut(c, old, true);
    cluster_run(c, 2 * MOMI_ELECTION_MAX_US);
    uint64_t leader = wait_for_leader(c);
    CHECK(leader != old);
    CHECK(c->member[old].raft.role != RAFT_LEADER);
    uint64_t term = c->member[leader].raft.term;
    cluster_run(c, 5 * MOMI_S);
    cluster_cut(c, old, false);
    cluster_run(c, 2 * MOMI_S);
    /* The pre-vote kept the lonely one from disturbing. */
    CHECK_EQ(cluster_leader(c), leader);
    CHECK_EQ(c->member[leader].raft.term, term);
    CHECK_EQ(c->member[old].raft.leader_replica, leader);
    check_group(c);
    cluster_free(c);
}

static void leadership_moves_on_request(void **state) {
    (void)state;
    struct cluster *c = cluster_new(4, "vvv--");
    uint64_t old = wait_for_leader(c);
    cluster_run(c, 100 * MOMI_MS);
    for (unsigned i = 0; i < 20; i++) {
        struct member *m = &c->member[old];
        uint64_t to = old % 3 + 1;
        cluster_propose(c, old, 10);
        CHECK(momi_raft_transfer(&m->raft, c->now_us, to, &m->effects));
        turn_end(c, old);
        cluster_run(c, 50 * MOMI_MS);
        CHECK_EQ(cluster_leader(c), to);
        old = to;
    }
    check_group(c);
    cluster_free(c);
}

static void every_replica_is_replaced(void **state) {
    (void)state;
    static const char *const steps[] = {"vvvl-", "vvvll", "-vvvl", "--vvv", "--vvv"};
    struct cluster *c = cluster_new(5, "vvv--");
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        uint64_t leader = wait_for_leader(c);
        cluster_propose(c, leader, 10);
        cluster_run(c, 100 * MOMI_MS);
        CHECK_OK(cluster_change_to(c, leader, steps[i]));
        cluster_run(c, 1 * MOMI_S);
    }
    uint64_t leader = wait_for_leader(c);
    CHECK(leader >= 3);
    struct momi_raft_config expected = cluster_config(6, "--vvv");
    CHECK(momi_raft_config_equal(&c->member[leader].raft.config, &expected));
    /* The old ones may go for good. */
    cluster_crash(c, 1);
    cluster_crash(c, 2);
    uint64_t index = cluster_propose(c, leader, 10);
    cluster_run(c, 100 * MOMI_MS);
    CHECK(c->member[leader].raft.commit >= index);
    check_group(c);
    cluster_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(learner_is_not_counted),
        TEST(configuration_acts_when_appended),
        TEST(joint_asks_both_halves),
        TEST(one_change_at_a_time),
        TEST(truncated_configuration_is_rolled_back),
        TEST(a_new_leader_goes_on_with_a_joint_configuration),
        TEST(restored_history_is_in_order),
        TEST(removed_voter_stands_until_that_is_committed),
        TEST(transfer_waits_until_the_target_has_all),
        TEST(timeout_now_elects_without_pre_vote),
        TEST(who_is_behind_the_log_needs_a_snapshot),
        TEST(install_replaces_or_keeps_the_log),
        TEST(all_have_what_is_committed),
        TEST(a_killed_leader_is_replaced_at_once),
        TEST(a_silent_leader_is_replaced_and_steps_down),
        TEST(leadership_moves_on_request),
        TEST(every_replica_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
