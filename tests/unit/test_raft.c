/* SPDX-License-Identifier: Apache-2.0 */
/* Elections and liveness of one replica, step by step (raft_rig.h). */
#include "raft_rig.h"

/* --- votes -----------------------------------------------------------------------------
 */

static void vote_is_answered_after_its_sync(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_vote(&rig, 2, 1, 0, 0, 0);
    CHECK(rig_sent(&rig, FRAME_VOTE_REPLY, 2) == NULL);
    uint64_t number = rig_turn(&rig);
    CHECK(number != 0);
    CHECK(rig_sent(&rig, FRAME_VOTE_REPLY, 2) == NULL);
    rig_written(&rig, number);
    const struct momi_frame *reply = rig_sent(&rig, FRAME_VOTE_REPLY, 2);
    CHECK(reply != NULL);
    CHECK_EQ(reply->flags, MOMI_FLAG_GRANTED);
    CHECK_EQ(reply->term, 1);
    rig_free(&rig);
}

static void vote_and_term_are_in_the_batch(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_vote(&rig, 2, 5, 0, 0, 0);
    struct momi_hard_state hard = {0};
    struct momi_key key = momi_key_node('h', RIG_SHARD);
    for (size_t i = 0; i < momi_batch_count(&rig.effects.batch); i++) {
        struct momi_batch_view view = momi_batch_at(&rig.effects.batch, i);
        CHECK(momi_slice_equal(view.key, momi_key_slice(&key)));
        CHECK(momi_hard_state_decode(view.value, &hard));
    }
    CHECK_EQ(hard.term, 5);
    CHECK_EQ(hard.vote, 2);
    rig_free(&rig);
}

static void one_vote_in_a_term(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_vote(&rig, 2, 1, 0, 0, 0);
    rig_sync(&rig);
    rig_clear(&rig);
    rig_vote(&rig, 3, 1, 9, 1, 0);
    rig_sync(&rig);
    const struct momi_frame *reply = rig_sent(&rig, FRAME_VOTE_REPLY, 3);
    CHECK(reply != NULL);
    CHECK_EQ(reply->flags, 0);
    /* The one that has it may ask again. */
    rig_vote(&rig, 2, 1, 0, 0, 0);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 2)->flags, MOMI_FLAG_GRANTED);
    rig_free(&rig);
}

static void a_later_term_overtakes_a_vote_in_flight(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_vote(&rig, 2, 1, 0, 0, 0);
    uint64_t first = rig_turn(&rig);
    rig_vote(&rig, 3, 2, 0, 0, 0);
    uint64_t second = rig_turn(&rig);
    rig_written(&rig, first);
    CHECK_EQ(rig_count(&rig, FRAME_VOTE_REPLY), 0);
    rig_written(&rig, second);
    CHECK_EQ(rig_count(&rig, FRAME_VOTE_REPLY), 1);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 3)->flags, MOMI_FLAG_GRANTED);
    rig_free(&rig);
}

static void vote_needs_a_log_as_good_as_ours(void **state) {
    (void)state;
    static const uint64_t terms[] = {1, 1, 3};
    static const struct {
        uint64_t index, log_term;
        bool granted;
    } cases[] = {{3, 3, true}, {4, 3, true}, {2, 3, false}, {9, 2, false}, {1, 4, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (unsigned pre = 0; pre < 2; pre++) {
            struct rig rig;
            rig_init_with(&rig, "vvv", 3, terms, 3);
            rig_vote(&rig, 2, 5, cases[i].index, cases[i].log_term,
                     pre ? MOMI_FLAG_PRE : 0);
            rig_sync(&rig);
            const struct momi_frame *reply = rig_sent(&rig, FRAME_VOTE_REPLY, 2);
            CHECK(reply != NULL);
            CHECK_EQ((reply->flags & MOMI_FLAG_GRANTED) != 0, cases[i].granted);
            rig_free(&rig);
        }
    }
}

static void a_promoted_learner_that_does_not_know_votes(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "lvv");
    rig_vote(&rig, 9, 1, 0, 0, 0); /* nor does it know the candidate */
    rig_sync(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 9)->flags, MOMI_FLAG_GRANTED);
    CHECK_EQ(momi_raft_deadline(&rig.raft), MOMI_NEVER); /* but it never stands */
    rig_free(&rig);
}

static void without_state_no_vote(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig.raft.can_vote = false;
    rig_vote(&rig, 2, 1, 5, 5, 0);
    rig_sync(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 2)->flags, 0);
    CHECK_EQ(momi_raft_deadline(&rig.raft), MOMI_NEVER);
    static const uint64_t terms[] = {1};
    rig_append(&rig, 2, 1, 0, 0, 0, terms, 1);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 2)->flags, MOMI_FLAG_REFUSED);
    CHECK_EQ(momi_log_last(&rig.raft.log), 0);
    rig_free(&rig);
}

/* D3. The log ends at 1 of term 1; before the damage it ended at 3 of term 2. */
static void rig_damaged(struct rig *rig) {
    static const uint64_t terms[] = {1};
    rig_init_with(rig, "vvv", 3, terms, 1);
    rig->raft.missing = (struct momi_log_end){.index = 3, .term = 2};
    rig->raft.cut_from = 2;
}

static void a_missing_end_counts_in_votes(void **state) {
    (void)state;
    static const struct {
        uint64_t index, log_term;
        bool has_state;
        bool granted;
    } cases[] = {{1, 1, true, false}, {9, 1, true, false}, {2, 2, true, false},
                 {3, 2, true, true},  {1, 3, true, true},  {3, 2, false, true},
                 {2, 2, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig rig;
        rig_damaged(&rig);
        rig.raft.can_vote = cases[i].has_state;
        rig_vote(&rig, 2, 4, cases[i].index, cases[i].log_term, 0);
        rig_sync(&rig);
        CHECK_EQ((rig_sent(&rig, FRAME_VOTE_REPLY, 2)->flags & MOMI_FLAG_GRANTED) != 0,
                 cases[i].granted);
        rig_free(&rig);
    }
}

static void who_misses_its_end_does_not_stand(void **state) {
    (void)state;
    struct rig rig;
    rig_damaged(&rig);
    CHECK_EQ(momi_raft_deadline(&rig.raft), MOMI_NEVER);
    struct momi_frame now = {.type = FRAME_TIMEOUT_NOW,
                             .from_replica = 2,
                             .to_replica = 1,
                             .term = rig.raft.term};
    rig_frame(&rig, &now);
    CHECK_EQ(rig.raft.role, RAFT_FOLLOWER);
    rig_free(&rig);
}

/* The record of the end stays until a leader has brought as much; what lies behind the
 * damage is deleted when its place is taken, and not before. */
static void a_leader_ends_what_is_missing(void **state) {
    (void)state;
    static const uint64_t terms[] = {1, 2};
    struct rig rig;
    rig_damaged(&rig);
    rig_append(&rig, 2, 3, 1, 1, 0, NULL, 0);
    CHECK_EQ(momi_batch_count(&rig.effects.batch), 0);
    rig_append(&rig, 2, 3, 1, 1, 0, terms, 1);
    uint64_t index = 0;
    uint64_t term = 0;
    struct momi_batch_view first = momi_batch_at(&rig.effects.batch, 0);
    struct momi_batch_view last = momi_batch_at(&rig.effects.batch, 2);
    CHECK_EQ(first.kind, MOMI_BATCH_DELETE_RANGE);
    CHECK(momi_last_decode(last.value, &index, &term));
    CHECK_EQ(index, 3);
    CHECK_EQ(term, 2);
    CHECK_EQ(rig.raft.missing.index, 3);
    rig_append(&rig, 2, 3, 2, 1, 0, terms + 1, 1);
    rig_append(&rig, 2, 3, 3, 2, 0, terms + 1, 1);
    CHECK_EQ(rig.raft.missing.index, 0);
    CHECK_EQ(rig.raft.cut_from, 0);
    rig_sync(&rig);
    rig_wait(&rig);
    CHECK(rig_count(&rig, FRAME_VOTE) > 0);
    rig_free(&rig);
}

static void lower_terms_are_answered_with_our_own(void **state) {
    (void)state;
    struct rig rig;
    rig_init_with(&rig, "vvv", 7, NULL, 0);
    rig_vote(&rig, 2, 6, 9, 6, MOMI_FLAG_PRE);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 2)->term, 7);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 2)->flags, MOMI_FLAG_PRE);
    rig_append(&rig, 3, 6, 0, 0, 0, NULL, 0);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 3)->term, 7);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 3)->flags, 0);
    uint64_t term = 0;
    CHECK(rig_line(&rig, 3, 6, 0, &term));
    CHECK_EQ(term, 7);
    CHECK_EQ(rig.raft.leader_replica, 0);
    rig_free(&rig);
}

/* --- candidates ------------------------------------------------------------------------
 */

static void pre_vote_does_not_raise_the_term(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_wait(&rig);
    CHECK(rig.now_us >= RIG_START_US + MOMI_ELECTION_MIN_US);
    CHECK(rig.now_us <= RIG_START_US + MOMI_ELECTION_MAX_US);
    CHECK_EQ(rig.raft.role, RAFT_PRE_CANDIDATE);
    CHECK_EQ(rig.raft.term, 0);
    CHECK_EQ(rig_count(&rig, FRAME_VOTE), 2);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE, 3)->term, 1);
    CHECK_EQ(rig_turn(&rig), 0); /* nothing to write */
    rig_vote_reply(&rig, 2, 0, MOMI_FLAG_PRE);
    rig_vote_reply(&rig, 3, 0, MOMI_FLAG_PRE);
    CHECK_EQ(rig.raft.role, RAFT_FOLLOWER);
    CHECK_EQ(rig.raft.term, 0);
    rig_free(&rig);
}

static void candidate_asks_after_its_own_vote_is_synced(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_wait(&rig);
    rig_clear(&rig);
    rig_vote_reply(&rig, 2, 1, MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    CHECK_EQ(rig.raft.role, RAFT_CANDIDATE);
    CHECK_EQ(rig.raft.vote, 1);
    uint64_t number = rig_turn(&rig);
    CHECK(number != 0);
    CHECK_EQ(rig_count(&rig, FRAME_VOTE), 0);
    rig_written(&rig, number);
    CHECK_EQ(rig_count(&rig, FRAME_VOTE), 2);
    /* A pre-vote that comes late is no vote. */
    rig_vote_reply(&rig, 3, 2, MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    CHECK_EQ(rig.raft.role, RAFT_CANDIDATE);
    rig_vote_reply(&rig, 3, 1, MOMI_FLAG_GRANTED);
    CHECK_EQ(rig.raft.role, RAFT_LEADER);
    CHECK(rig.raft.became_leader);
    CHECK_EQ(rig.raft.term_start_index, 1);
    CHECK_EQ(momi_log_term(&rig.raft.log, 1), 1);
    CHECK(!momi_raft_serves(&rig.raft));
    rig_free(&rig);
}

static void alone_it_elects_itself_and_commits_when_synced(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "v");
    CHECK(momi_raft_deadline(&rig.raft) <= rig.now_us);
    rig_wait(&rig);
    rig_sync(&rig);
    CHECK_EQ(rig.raft.role, RAFT_LEADER);
    CHECK(!momi_raft_serves(&rig.raft));
    rig_sync(&rig);
    CHECK(momi_raft_serves(&rig.raft));
    CHECK_EQ(rig_propose(&rig, 100), 2);
    uint64_t number = rig_turn(&rig);
    CHECK_EQ(rig.raft.commit, 1);
    rig_written(&rig, number);
    CHECK_EQ(rig.raft.commit, 2);
    CHECK_EQ(momi_raft_deadline(&rig.raft), MOMI_NEVER);
    CHECK(momi_raft_read_index(&rig.raft, 1, 1));
    struct momi_read_index read;
    CHECK_EQ(momi_raft_take_reads(&rig.raft, &read, 1), 1);
    rig_free(&rig);
}

static void higher_term_ends_leadership(void **state) {
    (void)state;
    for (unsigned way = 0; way < 4; way++) {
        struct rig rig;
        uint64_t term = 0;
        rig_init(&rig, "vvv");
        rig_lead(&rig, 2);
        if (way == 0) {
            rig_append(&rig, 3, 9, 0, 0, 0, NULL, 0);
        } else if (way == 1) {
            CHECK(rig_line(&rig, 3, 9, 0, &term));
        } else if (way == 2) {
            rig_line_reply(&rig, 3, 9, 1);
        } else {
            rig_vote(&rig, 3, 9, 9, 8, MOMI_FLAG_TRANSFER);
        }
        CHECK_EQ(rig.raft.role, RAFT_FOLLOWER);
        CHECK_EQ(rig.raft.term, 9);
        CHECK(rig.raft.lost_leadership);
        CHECK_EQ(rig_propose(&rig, 8), 0);
        rig_free(&rig);
    }
}

/* --- liveness --------------------------------------------------------------------------
 */

static void votes_are_refused_while_a_leader_lives(void **state) {
    (void)state;
    struct rig rig;
    uint64_t term = 0;
    rig_init(&rig, "vvv");
    CHECK(rig_line(&rig, 2, 1, 0, &term));
    rig_sync(&rig);
    rig.now_us += MOMI_ELECTION_MIN_US - 1;
    rig_vote(&rig, 3, 2, 9, 1, MOMI_FLAG_PRE);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 3)->flags, MOMI_FLAG_PRE | MOMI_FLAG_LIVE);
    rig_vote(&rig, 3, 2, 9, 1, 0);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 3)->flags, MOMI_FLAG_LIVE);
    CHECK_EQ(rig.raft.term, 1);
    rig_vote(&rig, 3, 2, 9, 1, MOMI_FLAG_TRANSFER | MOMI_FLAG_PRE);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 3)->flags,
             MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    rig.now_us += 1;
    rig_vote(&rig, 3, 2, 9, 1, MOMI_FLAG_PRE);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 3)->flags,
             MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    rig_free(&rig);
}

static void closed_lane_ends_the_leaders_life(void **state) {
    (void)state;
    struct rig rig;
    uint64_t term = 0;
    rig_init(&rig, "vvv");
    CHECK(rig_line(&rig, 2, 1, 0, &term));
    rig_sync(&rig);
    momi_raft_lane_down(&rig.raft, rig.now_us, RIG_NODE + 3, true, &rig.effects);
    momi_raft_lane_down(&rig.raft, rig.now_us, RIG_NODE + 2, false, &rig.effects);
    CHECK_EQ(rig.raft.leader_replica, 2); /* another one's lane, or only silent */
    momi_raft_lane_down(&rig.raft, rig.now_us, RIG_NODE + 2, true, &rig.effects);
    CHECK_EQ(rig.raft.leader_replica, 0);
    uint64_t due = momi_raft_deadline(&rig.raft);
    CHECK(due >= rig.now_us + 5 * MOMI_MS);
    CHECK(due <= rig.now_us + 25 * MOMI_MS);
    rig_vote(&rig, 3, 2, 9, 1, MOMI_FLAG_PRE);
    CHECK_EQ(rig_sent(&rig, FRAME_VOTE_REPLY, 3)->flags,
             MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    rig_wait(&rig);
    CHECK_EQ(rig.raft.role, RAFT_PRE_CANDIDATE);
    rig_free(&rig);
}

static void refused_for_a_live_leader_it_asks_again(void **state) {
    (void)state;
    struct rig rig;
    rig_init_with(&rig, "vvv", 1, NULL, 0);
    rig_wait(&rig);
    uint64_t election_due = rig.raft.election_due_us;
    unsigned asked = 0;
    while (rig.raft.election_due_us == election_due) {
        CHECK_EQ(rig_count(&rig, FRAME_VOTE), 2);
        rig_clear(&rig);
        asked++;
        uint64_t refused_us = rig.now_us;
        rig_vote_reply(&rig, 2, 1, MOMI_FLAG_PRE | MOMI_FLAG_LIVE);
        rig_vote_reply(&rig, 3, 1, MOMI_FLAG_PRE | MOMI_FLAG_LIVE);
        CHECK_EQ(rig.raft.role, RAFT_PRE_CANDIDATE);
        rig_wait(&rig);
        CHECK(rig.now_us <= refused_us + 40 * MOMI_MS);
        CHECK(rig.now_us >= refused_us + 20 * MOMI_MS || rig.now_us >= election_due);
    }
    CHECK(asked >= 7);
    rig_free(&rig);
}

static void only_lines_of_the_term_reset_the_timer(void **state) {
    (void)state;
    struct rig rig;
    uint64_t term = 0;
    rig_init_with(&rig, "vvv", 5, NULL, 0);
    uint64_t due = momi_raft_deadline(&rig.raft);
    rig.now_us += 100 * MOMI_MS;
    CHECK(rig_line(&rig, 2, 4, 0, &term)); /* answered, with our term */
    CHECK_EQ(momi_raft_deadline(&rig.raft), due);
    CHECK(rig_line(&rig, 2, 5, 0, &term));
    CHECK_EQ(rig.raft.leader_replica, 2);
    CHECK(momi_raft_deadline(&rig.raft) >= rig.now_us + MOMI_ELECTION_MIN_US);
    /* Nobody else can lead the same term. */
    CHECK(!rig_line(&rig, 3, 5, 0, &term));
    CHECK_EQ(rig.raft.leader_replica, 2);
    rig_free(&rig);
}

static void leader_without_a_quorum_steps_down(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvvl");
    rig_lead(&rig, 2);
    uint64_t since = rig.now_us;
    /* A learner, and a voter in another term, keep nobody in office. */
    while (rig.raft.role == RAFT_LEADER && rig.now_us < since + 10 * MOMI_S) {
        rig_line_reply(&rig, 4, rig.raft.term, 1);
        rig_line_reply(&rig, 2, rig.raft.term - 1, 1);
        rig_wait(&rig);
        rig_turn(&rig);
        rig_clear(&rig);
    }
    CHECK_EQ(rig.raft.role, RAFT_FOLLOWER);
    CHECK(rig.raft.lost_leadership);
    CHECK(rig.now_us <= since + MOMI_ELECTION_MAX_US);
    rig_free(&rig);
}

static void leader_with_a_quorum_stays(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_lead(&rig, 2);
    for (unsigned i = 0; i < 100; i++) {
        rig.now_us += MOMI_HEARTBEAT_US;
        rig_line_reply(&rig, 3, rig.raft.term, i);
        momi_raft_time(&rig.raft, rig.now_us, &rig.effects);
        CHECK_EQ(rig.raft.role, RAFT_LEADER);
    }
    CHECK_EQ(momi_raft_progress(&rig.raft, 3)->free_bytes, 77);
    rig_free(&rig);
}

static void reads_wait_for_a_heartbeat_sent_later(void **state) {
    (void)state;
    struct rig rig;
    struct momi_read_index read[4];
    rig_init(&rig, "vvv");
    rig_lead(&rig, 2);
    CHECK(!momi_raft_read_index(&rig.raft, 1, 5)); /* its no-op is not committed */
    rig_confirm(&rig, 2);
    CHECK(momi_raft_serves(&rig.raft));
    CHECK(momi_raft_read_index(&rig.raft, 1, 5));
    CHECK(momi_raft_read_index(&rig.raft, 2, 7));
    CHECK_EQ(momi_raft_take_reads(&rig.raft, read, 4), 0);
    rig_line_reply(&rig, 2, rig.raft.term, 4);
    rig_line_reply(&rig, 3, rig.raft.term - 1, 9);
    CHECK_EQ(momi_raft_take_reads(&rig.raft, read, 4), 0);
    rig_line_reply(&rig, 3, rig.raft.term, 6);
    CHECK_EQ(momi_raft_take_reads(&rig.raft, read, 4), 1);
    CHECK_EQ(read[0].request, 1);
    CHECK_EQ(read[0].index, 1);
    rig_vote(&rig, 3, 9, 9, 9, MOMI_FLAG_TRANSFER);
    CHECK_EQ(momi_raft_take_reads(&rig.raft, read, 4), 0);
    CHECK_EQ(rig.raft.reads.count, 0);
    rig_free(&rig);
}

static void stopped_it_says_nothing(void **state) {
    (void)state;
    struct rig rig;
    uint64_t term = 0;
    rig_init(&rig, "vvv");
    rig_lead(&rig, 2);
    rig_propose(&rig, 8);
    uint64_t number = rig_turn(&rig);
    rig_clear(&rig);
    momi_raft_stop(&rig.raft, &rig.effects);
    CHECK(rig.raft.lost_leadership);
    rig_written(&rig, number);
    rig_vote(&rig, 2, 9, 9, 9, 0);
    rig_vote(&rig, 2, 1, 9, 9, MOMI_FLAG_PRE);
    rig_append(&rig, 2, 9, 0, 0, 0, NULL, 0);
    CHECK(!rig_line(&rig, 2, 9, 0, &term));
    rig.now_us += MOMI_S;
    momi_raft_time(&rig.raft, rig.now_us, &rig.effects);
    CHECK_EQ(momi_raft_deadline(&rig.raft), MOMI_NEVER);
    CHECK_EQ(rig_turn(&rig), 0);
    CHECK_EQ(rig.effects.count, 0);
    rig_free(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(vote_is_answered_after_its_sync),
        TEST(vote_and_term_are_in_the_batch),
        TEST(one_vote_in_a_term),
        TEST(a_later_term_overtakes_a_vote_in_flight),
        TEST(vote_needs_a_log_as_good_as_ours),
        TEST(a_promoted_learner_that_does_not_know_votes),
        TEST(without_state_no_vote),
        TEST(a_missing_end_counts_in_votes),
        TEST(who_misses_its_end_does_not_stand),
        TEST(a_leader_ends_what_is_missing),
        TEST(lower_terms_are_answered_with_our_own),
        TEST(pre_vote_does_not_raise_the_term),
        TEST(candidate_asks_after_its_own_vote_is_synced),
        TEST(alone_it_elects_itself_and_commits_when_synced),
        TEST(higher_term_ends_leadership),
        TEST(votes_are_refused_while_a_leader_lives),
        TEST(closed_lane_ends_the_leaders_life),
        TEST(refused_for_a_live_leader_it_asks_again),
        TEST(only_lines_of_the_term_reset_the_timer),
        TEST(leader_without_a_quorum_steps_down),
        TEST(leader_with_a_quorum_stays),
        TEST(reads_wait_for_a_heartbeat_sent_later),
        TEST(stopped_it_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
