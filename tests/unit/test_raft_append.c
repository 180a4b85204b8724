/* SPDX-License-Identifier: Apache-2.0 */
/* Log and replication of one replica, step by step (raft_rig.h). */
#include "raft_rig.h"

static const uint64_t ones[] = {1, 1, 1, 1, 1, 1, 1, 1};

/* --- a follower ------------------------------------------------------------------------
 */

static void append_is_answered_after_its_sync(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_append(&rig, 2, 1, 0, 0, 0, ones, 2);
    uint64_t first = rig_turn(&rig);
    rig_append(&rig, 2, 1, 2, 1, 0, ones, 2);
    uint64_t second = rig_turn(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND_REPLY), 0);
    rig_written(&rig, first);
    const struct momi_frame *reply = rig_sent(&rig, FRAME_APPEND_REPLY, 2);
    CHECK_EQ(reply->flags, MOMI_FLAG_OK);
    CHECK_EQ(reply->index, 2);
    CHECK_EQ(reply->number, 4);
    rig_written(&rig, second);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 2)->index, 4);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND_REPLY), 2);
    /* The same again brings nothing to sync. */
    rig_append(&rig, 2, 1, 1, 1, 0, ones, 3);
    CHECK_EQ(rig_turn(&rig), 0);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND_REPLY), 3);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 2)->index, 4);
    rig_free(&rig);
}

static void answer_of_a_new_term_waits_for_the_term(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 1};
    struct rig rig;
    rig_init_with(&rig, "vvv", 1, log, 2);
    rig_append(&rig, 2, 2, 2, 1, 0, NULL, 0); /* nothing but the term is new */
    uint64_t number = rig_turn(&rig);
    CHECK(number != 0);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND_REPLY), 0);
    rig_written(&rig, number);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 2)->index, 2);
    rig_free(&rig);
}

/* R6: the completion of a truncated entry does not vouch for its successor. */
static void truncation_with_batches_in_flight(void **state) {
    (void)state;
    static const uint64_t twos[] = {2, 2};
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_append(&rig, 2, 1, 0, 0, 0, ones, 2);
    uint64_t first = rig_turn(&rig);
    rig_append(&rig, 2, 1, 2, 1, 0, ones, 3);
    uint64_t second = rig_turn(&rig);
    rig_append(&rig, 3, 2, 1, 1, 0, twos, 2);
    CHECK_EQ(rig.raft.truncated_from, 2);
    uint64_t third = rig_turn(&rig);
    CHECK_EQ(momi_log_last(&rig.raft.log), 3);
    rig_written(&rig, first);
    CHECK_EQ(rig.raft.durable, 1);
    rig_written(&rig, second);
    CHECK_EQ(rig.raft.durable, 1);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND_REPLY), 0); /* term 2 is not synced */
    rig_written(&rig, third);
    CHECK_EQ(rig.raft.durable, 3);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND_REPLY, 3)->index, 3);
    rig_free(&rig);
}

static void truncation_lowers_what_is_durable(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 1, 1, 1};
    static const uint64_t twos[] = {2};
    struct rig rig;
    rig_init_with(&rig, "vvv", 1, log, 4);
    CHECK_EQ(rig.raft.durable, 4);
    rig_append(&rig, 3, 2, 1, 1, 0, twos, 1);
    CHECK_EQ(rig.raft.durable, 1);
    uint64_t number = rig_turn(&rig);
    rig_written(&rig, number);
    CHECK_EQ(rig.raft.durable, 2);
    CHECK_EQ(rig.counters.truncations, 1);
    rig_free(&rig);
}

static void truncation_within_a_turn(void **state) {
    (void)state;
    static const uint64_t twos[] = {2};
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_append(&rig, 2, 1, 0, 0, 0, ones, 3);
    rig_append(&rig, 3, 2, 1, 1, 0, twos, 1);
    rig_sync(&rig);
    CHECK_EQ(rig.raft.durable, 2);
    CHECK_EQ(momi_log_last(&rig.raft.log), 2);
    CHECK_EQ(momi_log_term(&rig.raft.log, 2), 2);
    rig_free(&rig);
}

/* R4: nothing above the match with the leader of this term is committed. */
static void commit_stays_below_the_match(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 1, 2};
    uint64_t term = 0;
    struct rig rig;
    rig_init_with(&rig, "vvv", 2, log, 3);
    CHECK(rig_line(&rig, 2, 3, 3, &term));
    CHECK_EQ(rig.raft.commit, 0);
    rig_append(&rig, 2, 3, 2, 1, 3, NULL, 0);
    CHECK_EQ(rig.raft.commit, 2);
    CHECK(rig_line(&rig, 2, 3, 3, &term));
    CHECK_EQ(rig.raft.commit, 2);
    /* A new term, a new match: but what is committed stays matched. */
    CHECK(rig_line(&rig, 3, 4, 3, &term));
    CHECK_EQ(rig.raft.matched, 2);
    rig_append(&rig, 3, 4, 3, 2, 3, NULL, 0);
    CHECK_EQ(rig.raft.commit, 3);
    rig_free(&rig);
}

static void rejection_points_to_where_terms_may_agree(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 1, 3, 3, 3};
    static const struct {
        uint64_t index, log_term, hint, hint_term;
    } cases[] = {{9, 5, 5, 3}, {5, 2, 2, 1}, {4, 4, 4, 3}, {9, 1, 2, 1}, {2, 2, 2, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig rig;
        rig_init_with(&rig, "vvv", 5, log, 5);
        rig_append(&rig, 2, 5, cases[i].index, cases[i].log_term, 0, NULL, 0);
        const struct momi_frame *reply = rig_sent(&rig, FRAME_APPEND_REPLY, 2);
        CHECK(reply != NULL);
        CHECK_EQ(reply->flags, 0);
        CHECK_EQ(reply->index, cases[i].hint);
        CHECK_EQ(reply->log_term, cases[i].hint_term);
        rig_free(&rig);
    }
}

static void committed_entries_are_never_touched(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 1, 1};
    static const uint64_t threes[] = {2, 2, 2, 2};
    struct rig rig;
    rig_init_with(&rig, "vvv", 1, log, 3);
    rig_append(&rig, 2, 1, 3, 1, 2, NULL, 0);
    CHECK_EQ(rig.raft.commit, 2);
    rig_append(&rig, 3, 2, 0, 0, 0, threes, 4);
    CHECK_EQ(momi_log_term(&rig.raft.log, 2), 1);
    CHECK_EQ(momi_log_term(&rig.raft.log, 3), 2);
    CHECK_EQ(momi_log_last(&rig.raft.log), 4);
    rig_free(&rig);
}

static void senseless_frames_change_nothing(void **state) {
    (void)state;
    static const uint64_t falling[] = {2, 1};
    static const uint64_t above[] = {9};
    static const uint64_t none[] = {0};
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_append(&rig, 2, 2, 0, 0, 0, falling, 2);
    rig_append(&rig, 2, 2, 0, 0, 0, above, 1);
    rig_append(&rig, 2, 2, 0, 0, 0, none, 1);
    rig_append(&rig, 2, UINT64_MAX, 0, 0, 0, NULL, 0);
    rig_append(&rig, 2, 2, UINT64_MAX, 1, UINT64_MAX, ones, 1);
    rig_append(&rig, 2, 0, 0, 0, 0, NULL, 0);
    struct momi_frame frame = {.type = FRAME_DELIVER, .from_replica = 2, .term = 1};
    rig_frame(&rig, &frame);
    CHECK_EQ(rig.counters.frames_dropped, 7);
    CHECK_EQ(momi_log_last(&rig.raft.log), 0);
    CHECK_EQ(rig.raft.term, 0);
    /* A leader that contradicts itself within its term. */
    static const uint64_t a[] = {1, 1, 1};
    static const uint64_t b[] = {2};
    rig_append(&rig, 2, 2, 0, 0, 0, a, 3);
    rig_append(&rig, 2, 2, 1, 1, 9, b, 1);
    CHECK_EQ(momi_log_last(&rig.raft.log), 2);
    CHECK(rig.raft.commit <= 2);
    rig_sync(&rig);
    rig_lead(&rig, 3);
    rig_append_reply(&rig, 2, 1000000, MOMI_FLAG_OK);
    CHECK_EQ(momi_raft_progress(&rig.raft, 2)->match, 0);
    rig_free(&rig);
}

static void stamps_of_the_log_are_remembered(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_append(&rig, 2, 1, 0, 0, 0, ones, 1);
    rig_sync(&rig);
    rig_lead(&rig, 2);
    struct momi_entry noop;
    struct momi_buf *buf = momi_log_buf(&rig.raft.log, 2);
    CHECK(momi_entry_parse(momi_buf_slice(buf), &noop));
    CHECK_EQ(noop.kind, MOMI_ENTRY_NOOP);
    CHECK_EQ(noop.term, rig.raft.term);
    CHECK_EQ(noop.elapsed_us, 5);
    CHECK_EQ(noop.wall_us, 6);
    rig_free(&rig);
}

/* --- a leader --------------------------------------------------------------------------
 */

/* Figure 8 of the Raft paper: an entry of an older term is not committed by counting. */
static void only_entries_of_the_own_term_are_counted(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 2};
    struct rig rig;
    rig_init_with(&rig, "vvvvv", 3, log, 2);
    while (rig.raft.role != RAFT_PRE_CANDIDATE) {
        rig_wait(&rig);
    }
    rig_vote_reply(&rig, 2, 4, MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    rig_vote_reply(&rig, 3, 4, MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    rig_sync(&rig);
    rig_vote_reply(&rig, 2, 4, MOMI_FLAG_GRANTED);
    rig_vote_reply(&rig, 3, 4, MOMI_FLAG_GRANTED);
    CHECK_EQ(rig.raft.role, RAFT_LEADER);
    rig_sync(&rig);
    for (uint64_t r = 2; r <= 5; r++) {
        rig_append_reply(&rig, r, 2, MOMI_FLAG_OK);
        CHECK_EQ(rig.raft.commit, 0);
    }
    rig_append_reply(&rig, 2, 3, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 0);
    rig_append_reply(&rig, 3, 3, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 3);
    rig_free(&rig);
}

/* R7: the own copy counts when it is synced, and is not waited for. */
static void own_copy_counts_when_synced(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_lead(&rig, 2);
    rig_confirm(&rig, 2);
    CHECK_EQ(rig.raft.commit, 1);
    rig_clear(&rig);
    rig_propose(&rig, 8);
    uint64_t number = rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count,
             1); /* sent before it is synced here */
    rig_append_reply(&rig, 2, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 1);
    rig_append_reply(&rig, 3, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 2);
    rig_written(&rig, number);
    rig_propose(&rig, 8);
    number = rig_turn(&rig);
    rig_append_reply(&rig, 2, 3, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 2);
    rig_written(&rig, number);
    CHECK_EQ(rig.raft.commit, 3);
    rig_free(&rig);
}

static void slow_disk_hands_leadership_over(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig, "vvv");
    rig_lead(&rig, 2);
    rig_confirm(&rig, 2);
    rig_confirm(&rig, 3);
    rig_propose(&rig, 8);
    rig_turn(&rig);
    uint64_t begin = rig.now_us;
    rig_confirm(&rig, 2);
    rig_confirm(&rig, 3);
    CHECK_EQ(rig.raft.commit, 2);
    rig_clear(&rig);
    while (rig_sent(&rig, FRAME_TIMEOUT_NOW, 0) == NULL) {
        CHECK(rig.now_us < begin + 2 * MOMI_S);
        rig.now_us += MOMI_HEARTBEAT_US;
        rig_line_reply(&rig, 2, rig.raft.term, 1);
        rig_line_reply(&rig, 3, rig.raft.term, 1);
        momi_raft_time(&rig.raft, rig.now_us, &rig.effects);
    }
    CHECK(rig.now_us >= begin + MOMI_S);
    rig_free(&rig);
}

/* A leader whose followers 2 and 3 have its no-op. */
static void lead_in_step(struct rig *rig) {
    rig_init(rig, "vvv");
    rig_lead(rig, 2);
    rig_confirm(rig, 2);
    rig_confirm(rig, 3);
    rig_sync(rig);
    CHECK_EQ(momi_raft_progress(&rig->raft, 2)->state, PROGRESS_REPLICATE);
    rig_clear(rig);
}

static void window_and_frames_are_bounded(void **state) {
    (void)state;
    enum { ENTRIES = 40, SIZE = 100 << 10 };
    struct rig rig;
    lead_in_step(&rig);
    for (unsigned i = 0; i < ENTRIES; i++) {
        rig_propose(&rig, SIZE);
    }
    rig_turn(&rig);
    uint64_t sent = 0;
    for (size_t i = 0; i < rig.effects.count; i++) {
        const struct momi_frame *frame = rig.effects.list[i].frame;
        uint64_t bytes = 0;
        for (uint32_t p = 0; p < frame->parts_count; p++) {
            bytes += frame->parts[p].bytes.size;
        }
        CHECK_EQ(frame->count, 2);
        CHECK(bytes <= (256 << 10));
        sent += frame->to_replica == 2 ? bytes : 0;
    }
    CHECK(sent >= (1 << 20));
    CHECK(sent < (1 << 20) + (256 << 10));
    uint64_t next = momi_raft_progress(&rig.raft, 2)->next;
    rig_clear(&rig);
    rig_append_reply(&rig, 2, 4, MOMI_FLAG_OK);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->index, next - 1);
    CHECK(rig_sent(&rig, FRAME_APPEND, 3) == NULL);
    rig_free(&rig);
}

static void a_large_entry_goes_alone(void **state) {
    (void)state;
    struct rig rig;
    lead_in_step(&rig);
    rig_propose(&rig, 3 << 20);
    rig_propose(&rig, 8);
    rig_turn(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND), 2); /* one each: then the window is full */
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count, 1);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->parts_count, 2);
    rig_clear(&rig);
    rig_append_reply(&rig, 2, 2, MOMI_FLAG_OK);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->index, 2);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count, 1);
    rig_free(&rig);
}

/* To the replicas of a data shard the commit comes with the next entries or heartbeat; to
 * those of the registry at once, when nothing is in flight. */
static void commit_is_told_when_nothing_else_is(void **state) {
    (void)state;
    struct rig rig;
    lead_in_step(&rig);
    rig_propose(&rig, 8);
    rig_sync(&rig);
    rig_clear(&rig);
    rig_append_reply(&rig, 2, 2, MOMI_FLAG_OK);
    CHECK_EQ(rig.raft.commit, 2);
    rig_turn(&rig);
    CHECK_EQ(rig.effects.count, 0);
    rig.raft.shard = 0;
    rig_turn(&rig);
    CHECK_EQ(rig.effects.count, 1); /* replica 3 still has something in flight */
    const struct momi_frame *told = rig.effects.list[0].frame;
    CHECK_EQ(told->type, FRAME_APPEND);
    CHECK_EQ(told->to_replica, 2);
    CHECK_EQ(told->count, 0);
    CHECK_EQ(told->index, 2);
    CHECK_EQ(told->commit, 2);
    rig_clear(&rig);
    rig_turn(&rig);
    CHECK_EQ(rig.effects.count, 0); /* once */
    rig.raft.shard = RIG_SHARD;
    rig_append_reply(&rig, 3, 2, MOMI_FLAG_OK);
    struct momi_heartbeat_line line;
    CHECK(momi_raft_heartbeat_line(&rig.raft, RIG_NODE + 3, &line));
    CHECK_EQ(line.commit, 2);
    CHECK_EQ(line.to_replica, 3);
    rig_propose(&rig, 8);
    CHECK(!momi_raft_heartbeat_line(&rig.raft, RIG_NODE + 9, &line));
    rig_free(&rig);
}

static void lost_frames_are_sent_again(void **state) {
    (void)state;
    struct rig rig;
    lead_in_step(&rig);
    rig_propose(&rig, 8);
    rig_propose(&rig, 8);
    rig_sync(&rig);
    rig_clear(&rig);
    rig.now_us += MOMI_HEARTBEAT_US / 2;
    rig_line_reply(&rig, 2, rig.raft.term, 1);
    rig_turn(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND), 0);
    rig.now_us += MOMI_HEARTBEAT_US;
    rig_line_reply(&rig, 2, rig.raft.term, 2);
    rig_turn(&rig);
    const struct momi_frame *probe = rig_sent(&rig, FRAME_APPEND, 2);
    CHECK_EQ(probe->index, 1);
    CHECK_EQ(probe->count, 0);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND), 1);
    rig_clear(&rig);
    rig_append_reply(&rig, 2, 1, MOMI_FLAG_OK);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->index, 1);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count, 2);
    rig_free(&rig);
}

static void what_is_being_synced_there_is_not_sent_again(void **state) {
    (void)state;
    struct rig rig;
    lead_in_step(&rig);
    rig_propose(&rig, 8);
    rig_propose(&rig, 8);
    rig_sync(&rig);
    rig.now_us += 2 * MOMI_HEARTBEAT_US;
    rig_line_reply(&rig, 2, rig.raft.term, 2);
    rig_turn(&rig);
    CHECK_EQ(momi_raft_progress(&rig.raft, 2)->state, PROGRESS_PROBE);
    rig_clear(&rig);
    struct momi_frame slow = {.type = FRAME_APPEND_REPLY,
                              .from_replica = 2,
                              .term = rig.raft.term,
                              .index = 1,
                              .number = 3,
                              .flags = MOMI_FLAG_OK};
    rig_frame(&rig, &slow);
    rig_turn(&rig);
    CHECK_EQ(rig_count(&rig, FRAME_APPEND), 0);
    CHECK_EQ(momi_raft_progress(&rig.raft, 2)->match, 1);
    CHECK_EQ(momi_raft_progress(&rig.raft, 2)->next, 4);
    rig_free(&rig);
}

static void a_new_lane_begins_with_a_probe(void **state) {
    (void)state;
    struct rig rig;
    lead_in_step(&rig);
    rig_propose(&rig, 8);
    rig_sync(&rig);
    momi_raft_lane_down(&rig.raft, rig.now_us, RIG_NODE + 2, true, &rig.effects);
    rig_clear(&rig);
    rig_propose(&rig, 8);
    rig_sync(&rig);
    CHECK(rig_sent(&rig, FRAME_APPEND, 2) == NULL);
    momi_raft_lane_up(&rig.raft, rig.now_us, RIG_NODE + 2, &rig.effects);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->index, 1);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count, 2);
    rig_clear(&rig);
    rig_turn(&rig);
    CHECK_EQ(rig.effects.count, 0); /* one at a time */
    CHECK(momi_raft_deadline(&rig.raft) <= rig.now_us + MOMI_HEARTBEAT_US);
    rig.now_us += MOMI_HEARTBEAT_US;
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count, 0);
    rig_free(&rig);
}

static void back_up_finds_the_match(void **state) {
    (void)state;
    static const uint64_t log[] = {1, 1, 2, 2, 4, 4};
    struct rig rig;
    rig_init_with(&rig, "vvv", 4, log, 6);
    rig_lead(&rig, 3);
    rig_clear(&rig);
    /* The follower has 1 1 3 3 3: term 3 up to index 5. */
    struct momi_frame reply = {.type = FRAME_APPEND_REPLY,
                               .from_replica = 2,
                               .term = rig.raft.term,
                               .index = 5,
                               .log_term = 3};
    rig_frame(&rig, &reply);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->index, 4);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->log_term, 2);
    rig_frame(&rig, &reply); /* once more, late: nothing moves */
    CHECK_EQ(momi_raft_progress(&rig.raft, 2)->next, 5);
    reply.index = 2;
    reply.log_term = 1;
    rig_frame(&rig, &reply);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->index, 2);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count, 5);
    rig_free(&rig);
}

static void bytes_that_are_not_in_memory_are_asked_for(void **state) {
    (void)state;
    struct rig rig;
    lead_in_step(&rig);
    momi_raft_lane_down(&rig.raft, rig.now_us, RIG_NODE + 2, true, &rig.effects);
    for (unsigned i = 0; i < 10; i++) {
        rig_propose(&rig, 8);
    }
    rig_sync(&rig);
    rig_confirm(&rig, 3);
    struct momi_buf *kept = momi_buf_ref(momi_log_buf(&rig.raft.log, 2));
    momi_log_evict(&rig.raft.log, 8, 0);
    momi_raft_lane_up(&rig.raft, rig.now_us, RIG_NODE + 2, &rig.effects);
    rig_append_reply(&rig, 2, 1, MOMI_FLAG_OK);
    rig_clear(&rig);
    rig_turn(&rig);
    CHECK_EQ(rig.reads, 4);
    CHECK_EQ(rig.read_index, 5);
    CHECK(rig_sent(&rig, FRAME_APPEND, 2) == NULL);
    rig_turn(&rig);
    CHECK_EQ(rig.reads, 5); /* it waits for these, and looks whether the first has come */
    CHECK_EQ(rig.read_index, 2);
    momi_log_fill(&rig.raft.log, 2, kept);
    rig_turn(&rig);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->index, 1);
    CHECK_EQ(rig_sent(&rig, FRAME_APPEND, 2)->count, 1);
    momi_buf_release(kept);
    rig_free(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(append_is_answered_after_its_sync),
        TEST(answer_of_a_new_term_waits_for_the_term),
        TEST(truncation_with_batches_in_flight),
        TEST(truncation_lowers_what_is_durable),
        TEST(truncation_within_a_turn),
        TEST(commit_stays_below_the_match),
        TEST(rejection_points_to_where_terms_may_agree),
        TEST(committed_entries_are_never_touched),
        TEST(senseless_frames_change_nothing),
        TEST(stamps_of_the_log_are_remembered),
        TEST(only_entries_of_the_own_term_are_counted),
        TEST(own_copy_counts_when_synced),
        TEST(slow_disk_hands_leadership_over),
        TEST(window_and_frames_are_bounded),
        TEST(a_large_entry_goes_alone),
        TEST(commit_is_told_when_nothing_else_is),
        TEST(lost_frames_are_sent_again),
        TEST(what_is_being_synced_there_is_not_sent_again),
        TEST(a_new_lane_begins_with_a_probe),
        TEST(back_up_finds_the_match),
        TEST(bytes_that_are_not_in_memory_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
