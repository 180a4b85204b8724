/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions, numbers, windows and batches of the client half (S1 to S5). */
#include "client_fake.h"

enum { Q_MAX = 64 };

static int setup(void **state) {
    (void)state;
    fake_open(1 << 20);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    fake_shut();
    return 0;
}

/* The session of shard 1 is open at node 2, nothing is under way. */
static void open_session(void) {
    fake_begin();
    fake_publish(1, "q", MOMI_NEVER);
    fake_end();
    fake_opened(2, 1);
    fake_result(2, 1, 1, MOM_OK, 1);
    CHECK_DONE(1, MOM_OK);
    CHECK_NOTHING_DONE();
}

static struct momi_publish publish_of(const struct momi_command *command) {
    struct momi_publish publish = {0};
    CHECK_EQ(command->type, CMD_PUBLISH);
    CHECK(momi_publish_parse(command->body, &publish));
    return publish;
}

static void publish_opens_a_session_and_completes_with_sequences(void **state) {
    (void)state;
    fake_begin();
    fake_publish(11, "q", MOMI_NEVER);
    fake_publish_many(12, "q", 3, 100, MOMI_NEVER);
    fake_publish(13, "q", MOMI_NEVER);
    fake_end();
    const struct fake_sent *opening = fake_next_sent(FRAME_SESSION_OPEN);
    assert_non_null(opening);
    CHECK_EQ(opening->node, 2);
    CHECK_EQ(opening->frame->number, 1);
    CHECK_EQ(fake_sent_of(FRAME_COMMANDS), 0);
    fake_opened(2, 1);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 1);
    CHECK_EQ(commands[0].answered, 0);
    CHECK(momi_session_id_equal(commands[0].session, fake_session));
    struct momi_publish publish = publish_of(&commands[0]);
    CHECK_EQ(publish.count, 5);
    CHECK_EQ(publish.publisher, FAKE_SELF);
    CHECK(momi_slice_equal(publish.name, momi_slice_str("q")));
    fake_result(2, 1, 1, MOM_OK, 40);
    CHECK_EQ(fake.done[0].sequence, 40);
    CHECK_EQ(fake.done[1].sequence, 41);
    CHECK_EQ(fake.done[2].sequence, 44);
    CHECK_EQ(fake.done[2].synced_copies, 2);
    CHECK_DONE(11, MOM_OK);
    CHECK_DONE(12, MOM_OK);
    CHECK_DONE(13, MOM_OK);
    CHECK_NOTHING_DONE();
    CHECK_EQ(fake.core.client->inflight_bytes, 0);
}

static void another_stream_or_command_closes_a_batch(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "a", MOMI_NEVER);
    fake_publish(3, "a", MOMI_NEVER);
    fake_publish(4, "b", MOMI_NEVER);
    struct momi_call create = {.type = CALL_STREAM_CREATE,
                               .id = 5,
                               .deadline_us = MOMI_NEVER,
                               .kind = MOMI_KIND_QUEUE,
                               .name = momi_slice_str("b")};
    fake_call(&create);
    fake_publish(6, "b", MOMI_NEVER);
    fake_end();
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 4);
    CHECK_EQ(publish_of(&commands[0]).count, 2);
    CHECK_EQ(publish_of(&commands[1]).count, 1);
    CHECK_EQ(commands[2].type, CMD_STREAM_CREATE);
    CHECK_EQ(publish_of(&commands[3]).count, 1);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(commands[i].number, 2 + i);
        CHECK_EQ(commands[i].answered, 1);
    }
    struct fake_result results[4] = {
        {MOM_OK, 1}, {MOM_FULL, 0}, {MOM_EXISTS, 0}, {MOM_OK, 9}};
    fake_begin();
    fake_results(2, 1, 2, results, 4);
    fake_end();
    CHECK_DONE(2, MOM_OK);
    CHECK_DONE(3, MOM_OK);
    CHECK_DONE(4, MOM_FULL);
    CHECK_DONE(5, MOM_EXISTS);
    CHECK_DONE(6, MOM_OK);
}

static void gathers_while_four_are_unanswered(void **state) {
    (void)state;
    open_session();
    struct momi_command commands[Q_MAX];
    for (uint64_t i = 0; i < 4; i++) {
        fake_begin();
        fake_publish(2 + i, "q", MOMI_NEVER);
        fake_end();
        CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    }
    for (uint64_t i = 0; i < 10; i++) {
        fake_begin();
        fake_publish(10 + i, "q", MOMI_NEVER);
        fake_end();
        CHECK_EQ(fake_commands(1, commands, Q_MAX), 0);
    }
    fake_result(2, 1, 2, MOM_OK, 2);
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 6);
    CHECK_EQ(commands[0].answered, 2);
    CHECK_EQ(publish_of(&commands[0]).count, 10);
}

static void full_batches_do_not_wait(void **state) {
    (void)state;
    open_session();
    struct momi_command commands[Q_MAX];
    fake_begin();
    for (uint64_t i = 0; i < 6; i++) {
        fake_publish_many(10 + i, "q", 1, 100000, MOMI_NEVER);
    }
    fake_end();
    /* Two fit into one of 256 KiB. */
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 3);
    CHECK_EQ(fake_sent_of(FRAME_COMMANDS), 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(publish_of(&commands[i]).count, 2);
    }
}

static void a_new_leader_gets_everything_unanswered_again(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "a", MOMI_NEVER);
    fake_publish(3, "b", MOMI_NEVER);
    fake_publish(4, "c", MOMI_NEVER);
    fake_end();
    fake_result(2, 1, 2, MOM_OK, 1);
    CHECK_DONE(2, MOM_OK);
    fake_not_leader(2, 1, 3);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 2);
    CHECK_EQ(fake_next_sent(FRAME_COMMANDS)->node, 3);
    CHECK_EQ(commands[0].number, 3);
    CHECK_EQ(commands[1].number, 4);
    CHECK_EQ(publish_of(&commands[1]).count, 1);
    fake_publish(5, "d", MOMI_NEVER);
    fake_begin();
    fake_end();
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 5);
    struct fake_result results[3] = {{MOM_OK, 1}, {MOM_OK, 1}, {MOM_OK, 1}};
    fake_begin();
    fake_results(3, 1, 3, results, 3);
    fake_end();
    CHECK_DONE(3, MOM_OK);
    CHECK_DONE(4, MOM_OK);
    CHECK_DONE(5, MOM_OK);
    /* Answers that come again, or late from the old leader, change nothing. */
    fake_begin();
    fake_results(2, 1, 2, results, 3);
    fake_end();
    CHECK_NOTHING_DONE();
}

static void a_closed_lane_sends_again_after_a_moment(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    fake_lane(2, false);
    CHECK_EQ(fake_sent_of(FRAME_COMMANDS), 0);
    fake.leaders[1] = 3;
    uint64_t from_us = fake.core.now_us;
    struct momi_command commands[Q_MAX];
    fake_at(momi_client_deadline(&fake.core));
    CHECK(fake.core.now_us >= from_us + CLIENT_RETRY_MIN_US);
    CHECK(fake.core.now_us <= from_us + CLIENT_RETRY_MAX_US);
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 2);
    CHECK_EQ(fake_next_sent(FRAME_COMMANDS)->node, 3);
}

static void a_replaced_lane_sends_again_at_once(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    fake_lane(2, true);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 2);
}

static void silence_makes_it_look_for_the_leader_anew(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    fake.losses = 0;
    fake_not_leader(2, 1, 3);
    uint64_t from_us = fake.core.now_us;
    uint32_t losses = fake.losses;
    struct momi_command commands[Q_MAX];
    while (fake.losses == losses) {
        fake_at(momi_client_deadline(&fake.core));
    }
    CHECK_EQ(fake.core.now_us, from_us + CLIENT_ANSWER_FIRST_US);
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 2);
}

static void nodes_that_point_at_each_other_are_asked_slowly(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    uint64_t from_us = fake.core.now_us;
    uint64_t node = 2;
    size_t sends = 0;
    for (int i = 0; i < 1000 && fake.core.now_us < from_us + MOMI_S; i++) {
        uint64_t other = node == 2 ? 3 : 2;
        fake_not_leader(node, 1, other);
        while (fake_sent_of(FRAME_COMMANDS) == 0) {
            fake_at(momi_client_deadline(&fake.core));
        }
        sends++;
        node = fake_next_sent(FRAME_COMMANDS)->node;
    }
    CHECK(fake.core.now_us >= from_us + MOMI_S);
    CHECK(sends <= 2 + MOMI_S / CLIENT_RETRY_MIN_US);
}

static void without_a_number_the_deadline_is_a_timeout(void **state) {
    (void)state;
    open_session();
    fake.leaders[1] = 0;
    fake_lane(2, false);
    uint64_t now_us = fake.core.now_us;
    fake_begin();
    fake_publish(2, "q", now_us + 10 * MOMI_S);
    fake_publish(3, "q", now_us + 1 * MOMI_S);
    fake_publish_many(4, "q", 2, 300, now_us + 1 * MOMI_S);
    fake_publish(5, "q", now_us + 10 * MOMI_S);
    struct momi_call purge = {.type = CALL_STREAM_PURGE,
                              .id = 6,
                              .deadline_us = now_us + 2 * MOMI_S,
                              .kind = MOMI_KIND_QUEUE,
                              .name = momi_slice_str("q")};
    fake_call(&purge);
    fake_publish(7, "q", now_us + 2 * MOMI_S);
    fake_publish(8, "q", MOMI_NEVER);
    fake_end();
    fake_run_until(now_us + 3 * MOMI_S);
    CHECK_DONE(3, MOM_TIMEOUT);
    CHECK_DONE(4, MOM_TIMEOUT);
    CHECK_STR(fake.text, "no leader reached of shard 1");
    const struct fake_done *first = fake_next_done();
    const struct fake_done *second = fake_next_done();
    assert_non_null(second);
    CHECK_EQ(first->error, MOM_TIMEOUT);
    CHECK_EQ(second->error, MOM_TIMEOUT);
    CHECK_EQ(first->id + second->id, 6 + 7);
    CHECK_NOTHING_DONE();
    fake.leaders[1] = 3;
    fake_begin();
    momi_client_routes_changed(&fake.core, 1);
    fake_end();
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 2);
    CHECK_EQ(commands[0].number, 2);
    CHECK_EQ(publish_of(&commands[0]).count, 2);
    CHECK_EQ(publish_of(&commands[1]).count, 1);
    struct fake_result results[2] = {{MOM_OK, 5}, {MOM_OK, 7}};
    fake_begin();
    fake_results(3, 1, 2, results, 2);
    fake_end();
    CHECK_DONE(2, MOM_OK);
    CHECK_EQ(fake.done[fake.done_count - 2].sequence, 6);
    CHECK_DONE(5, MOM_OK);
    CHECK_DONE(8, MOM_OK);
    CHECK_EQ(fake.core.client->inflight_bytes, 0);
}

static void with_a_number_the_outcome_is_unknown_and_the_command_goes_on(void **state) {
    (void)state;
    open_session();
    uint64_t now_us = fake.core.now_us;
    fake_begin();
    fake_publish(2, "q", now_us + 50 * MOMI_MS);
    fake_publish(3, "q", MOMI_NEVER);
    struct momi_call create = {.type = CALL_STREAM_CREATE,
                               .id = 4,
                               .deadline_us = now_us + 60 * MOMI_MS,
                               .kind = MOMI_KIND_TOPIC,
                               .name = momi_slice_str("t")};
    fake_call(&create);
    fake_end();
    fake_run_until(now_us + 100 * MOMI_MS);
    CHECK_DONE(2, MOM_UNKNOWN_OUTCOME);
    CHECK_DONE(4, MOM_UNKNOWN_OUTCOME);
    CHECK_NOTHING_DONE();
    fake_not_leader(2, 1, 3);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 2);
    CHECK_EQ(publish_of(&commands[0]).count, 2);
    fake_begin();
    fake_publish(5, "q", MOMI_NEVER);
    struct fake_result results[3] = {{MOM_OK, 7}, {MOM_OK, 1}, {MOM_OK, 9}};
    fake_results(3, 1, 2, results, 2);
    fake_end();
    CHECK_EQ(fake.done[fake.done_next].sequence, 8);
    CHECK_DONE(3, MOM_OK);
    CHECK_NOTHING_DONE();
    fake_result(3, 1, 4, MOM_OK, 9);
    CHECK_DONE(5, MOM_OK);
}

static void cancel_is_a_deadline_of_now(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    fake_begin();
    fake_cancel(2);
    fake_end();
    fake_lane(2, false);
    CHECK_DONE(2, MOM_UNKNOWN_OUTCOME);
    fake.leaders[1] = 0;
    fake_begin();
    fake_publish(3, "q", MOMI_NEVER);
    fake_publish(4, "q", MOMI_NEVER);
    fake_cancel(3);
    fake_cancel(99);
    fake_end();
    CHECK_DONE(3, MOM_TIMEOUT);
    CHECK_NOTHING_DONE();
}

static void a_full_window_refuses_or_lets_wait_in_order(void **state) {
    (void)state;
    open_session();
    uint64_t now_us = fake.core.now_us;
    fake_begin();
    fake_publish_many(2, "q", 1, 600000, MOMI_NEVER);
    fake_publish_many(3, "q", 1, 300000, now_us);
    fake_publish_many(4, "q", 1, 300000, MOMI_NEVER);
    fake_publish_many(5, "q", 1, 100, MOMI_NEVER);
    fake_publish_many(6, "q", 1, 100, now_us + MOMI_S / 10);
    fake_end();
    CHECK_DONE(3, MOM_FULL);
    CHECK_NOTHING_DONE();
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    fake_run_until(now_us + MOMI_S / 5);
    CHECK_DONE(6, MOM_TIMEOUT);
    fake_result(2, 1, 2, MOM_OK, 1);
    CHECK_DONE(2, MOM_OK);
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 2);
    CHECK_EQ(publish_of(&commands[0]).records.size, momi_record_size(0, 0, 300000));
    CHECK_EQ(publish_of(&commands[1]).count, 1);
    CHECK_EQ(fake.core.client->waiting_bytes, 0);
}

static void an_empty_window_admits_any_legal_size(void **state) {
    (void)state;
    fake.core.config.inflight_bytes_max = 1000;
    fake_begin();
    fake_publish_many(2, "q", 1, 500000, fake.core.now_us + 1);
    fake_publish_many(3, "q", 1, 500, fake.core.now_us);
    fake_end();
    CHECK_DONE(3, MOM_FULL);
    fake_opened(2, 1);
    CHECK_NOTHING_DONE();
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
}

static void a_stuck_shard_leaves_room_for_others(void **state) {
    (void)state;
    fake.shards_count = 2;
    char name[2][2] = {"a", "b"};
    for (char c = 'a'; c <= 'z'; c++) { /* one name on each shard */
        char text[2] = {c, 0};
        uint32_t shard = momi_client_shard_of_name(&fake.core, momi_slice_str(text));
        name[shard - 1][0] = c;
    }
    fake.leaders[1] = 0;
    fake_begin();
    for (uint64_t i = 0; i < 1000; i++) {
        fake_publish_many(100 + i, name[0], 1, 10000, fake.core.now_us);
    }
    fake_publish_many(5000, name[1], 1, 100000, fake.core.now_us + MOMI_S);
    fake_end();
    CHECK(fake.core.client->inflight_bytes <= fake.core.config.inflight_bytes_max);
    CHECK_EQ(fake_sent_of(FRAME_SESSION_OPEN), 1);
    fake_opened(2, 2);
    CHECK_EQ(fake_sent_of(FRAME_COMMANDS), 1);
}

static void an_expired_session_tells_what_was_sent_apart(void **state) {
    (void)state;
    open_session();
    fake_begin();
    for (uint64_t i = 0; i < 4; i++) {
        fake_publish(10 + i, i % 2 == 0 ? "a" : "b", MOMI_NEVER);
    }
    fake_end();
    fake_begin();
    fake_publish(20, "a", MOMI_NEVER);
    fake_end();
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 0);
    struct momi_frame unknown = {.type = FRAME_RESULTS,
                                 .shard = 1,
                                 .session = fake_session,
                                 .error = MOM_NOT_FOUND};
    fake_begin();
    fake_frame(3, &unknown); /* not the one we talk to: it may just be behind */
    fake_end();
    CHECK_NOTHING_DONE();
    fake_begin();
    fake_frame(2, &unknown);
    fake_end();
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_DONE(10 + i, MOM_UNKNOWN_OUTCOME);
    }
    CHECK_NOTHING_DONE();
    CHECK_EQ(fake_next_sent(FRAME_SESSION_OPEN)->frame->number, 2);
    fake_session.index++;
    fake_opened(2, 1);
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 1);
    CHECK(momi_session_id_equal(commands[0].session, fake_session));
    fake_result(2, 1, 1, MOM_OK, 3);
    CHECK_DONE(20, MOM_OK);
}

static void a_refused_opening_ends_what_was_never_sent(void **state) {
    (void)state;
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    struct momi_frame refused = {.type = FRAME_SESSION_OPENED,
                                 .shard = 1,
                                 .counter =
                                     fake_next_sent(FRAME_SESSION_OPEN)->frame->counter,
                                 .error = MOM_FULL};
    fake_begin();
    fake_frame(2, &refused);
    fake_end();
    CHECK_DONE(2, MOM_FULL);
    CHECK_EQ(fake.core.client->inflight_bytes, 0);
}

static void a_lower_opening_is_followed_by_a_higher_one(void **state) {
    (void)state;
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    struct momi_frame refused = {.type = FRAME_SESSION_OPENED,
                                 .shard = 1,
                                 .counter =
                                     fake_next_sent(FRAME_SESSION_OPEN)->frame->counter,
                                 .error = MOM_CONFLICT};
    fake_begin();
    fake_frame(2, &refused);
    fake_end();
    CHECK_EQ(fake_sent_of(FRAME_SESSION_OPEN), 0);
    fake_at(momi_client_deadline(&fake.core));
    CHECK_EQ(fake_next_sent(FRAME_SESSION_OPEN)->frame->number, 2);
    CHECK_NOTHING_DONE();
}

static void results_are_taken_in_order_whatever_their_order(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "a", MOMI_NEVER);
    fake_publish(3, "b", MOMI_NEVER);
    fake_end();
    fake_result(2, 1, 3, MOM_OK, 8);
    CHECK_NOTHING_DONE();
    fake_result(2, 1, 3, MOM_FULL, 0);
    fake_result(2, 1, 2, MOM_OK, 4);
    CHECK_DONE(2, MOM_OK);
    CHECK_EQ(fake.done[fake.done_next].sequence, 8);
    CHECK_DONE(3, MOM_OK);
}

static void hostile_results_are_dropped(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "a", MOMI_NEVER);
    fake_end();
    struct momi_frame frame = {.type = FRAME_RESULTS,
                               .shard = 1,
                               .session = fake_session,
                               .number = 2,
                               .count = UINT32_MAX,
                               .payload = momi_slice("\xff", 1)};
    fake_begin();
    fake_frame(2, &frame);
    frame.number = UINT64_MAX;
    frame.payload = momi_slice("\0\0\0\0\0\0", 6);
    fake_frame(2, &frame);
    frame.shard = 77777;
    fake_frame(2, &frame);
    frame.shard = 9;
    fake_frame(2, &frame);
    fake_end();
    CHECK_NOTHING_DONE();
    CHECK_EQ(fake.core.counters.frames_dropped, 2);
}

static void bad_calls_are_refused_at_once(void **state) {
    (void)state;
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    struct momi_slice patterns[1] = {momi_slice_str("a.*b")};
    uint8_t record[64];
    struct momi_record message = {.body = momi_slice_str("x")};
    momi_record_write(record, &message);
    struct momi_slice good = momi_slice(record, momi_record_size(0, 0, 1));
    struct momi_slice queue = momi_slice_str("q");
    const struct momi_call calls[] = {
        {.type = CALL_PUBLISH, .name = queue, .records = good, .records_count = 1},
        {.type = CALL_PUBLISH, .kind = MOMI_KIND_QUEUE, .name = queue},
        {.type = CALL_PUBLISH,
         .kind = MOMI_KIND_QUEUE,
         .name = momi_slice(long_name, 256),
         .records = good,
         .records_count = 1},
        {.type = CALL_PUBLISH,
         .kind = MOMI_KIND_QUEUE,
         .name = queue,
         .records = good,
         .records_count = 2},
        {.type = CALL_PUBLISH,
         .kind = MOMI_KIND_QUEUE,
         .name = queue,
         .records = momi_slice(record, good.size - 1),
         .records_count = 1},
        {.type = CALL_STREAM_CREATE, .kind = MOMI_KIND_QUEUE},
        {.type = CALL_STREAM_CREATE,
         .kind = MOMI_KIND_QUEUE,
         .name = momi_slice_str("$dead/queue/x")},
        {.type = CALL_SUBSCRIPTION_CREATE,
         .name = queue,
         .subscription = momi_slice_str("a/b")},
        {.type = CALL_SUBSCRIPTION_CREATE,
         .name = queue,
         .subscription = momi_slice_str("s"),
         .filters = patterns,
         .filters_count = 1},
        {.type = CALL_CONSUMER_OPEN, .kind = MOMI_KIND_QUEUE, .name = queue},
        {.type = CALL_CONSUMER_OPEN,
         .kind = MOMI_KIND_TOPIC,
         .name = queue,
         .consumer = 1},
        {.type = (enum momi_call_type)99},
    };
    fake_begin();
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct momi_call call = calls[i];
        call.id = 100 + i;
        call.deadline_us = MOMI_NEVER;
        fake_call(&call);
    }
    struct momi_call big = {.type = CALL_PUBLISH,
                            .id = 200,
                            .kind = MOMI_KIND_QUEUE,
                            .name = queue,
                            .records = momi_slice(record, MOMI_RECORD_BYTES_MAX + 1),
                            .records_count = 1};
    fake_call(&big);
    fake_end();
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        bool is_system = momi_slice_equal(calls[i].name, momi_slice_str("$dead/queue/x"));
        CHECK_DONE(100 + i, is_system ? MOM_FORBIDDEN : MOM_INVALID);
    }
    CHECK_DONE(200, MOM_TOO_BIG);
    CHECK(strlen(fake.text) > 0);
    CHECK_EQ(fake.sent_count, 0);
}

static void calls_wait_for_the_map_in_order(void **state) {
    (void)state;
    fake.shards_count = 0;
    uint64_t now_us = fake.core.now_us;
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_publish(3, "q", now_us + MOMI_S);
    struct momi_call create = {.type = CALL_STREAM_CREATE,
                               .id = 4,
                               .deadline_us = MOMI_NEVER,
                               .kind = MOMI_KIND_QUEUE,
                               .name = momi_slice_str("q")};
    fake_call(&create);
    fake_publish(5, "q", MOMI_NEVER);
    struct momi_call ready = {
        .type = CALL_WAIT_READY, .id = 6, .deadline_us = MOMI_NEVER};
    fake_call(&ready);
    ready.id = 7;
    ready.deadline_us = now_us + MOMI_S;
    fake_call(&ready);
    fake_end();
    CHECK_EQ(fake.sent_count, 0);
    fake_run_until(now_us + 2 * MOMI_S);
    CHECK_DONE(3, MOM_TIMEOUT);
    CHECK_DONE(7, MOM_TIMEOUT);
    CHECK_STR(fake.text, "waiting for the map");
    fake.shards_count = 1;
    fake_begin();
    fake_end();
    CHECK_DONE(6, MOM_OK);
    fake_opened(2, 1);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 3);
    CHECK_EQ(publish_of(&commands[0]).count, 1);
    CHECK_EQ(commands[1].type, CMD_STREAM_CREATE);
    CHECK_EQ(publish_of(&commands[2]).count, 1);
    CHECK_NOTHING_DONE();
}

static void ready_means_the_registry_too(void **state) {
    (void)state;
    fake.leaders[MOMI_REGISTRY_SHARD] = 0;
    struct momi_call ready = {
        .type = CALL_WAIT_READY, .id = 6, .deadline_us = MOMI_NEVER};
    fake_begin();
    fake_call(&ready);
    fake_end();
    CHECK_NOTHING_DONE();
    fake.leaders[MOMI_REGISTRY_SHARD] = 2;
    fake_begin();
    fake_end();
    CHECK_DONE(6, MOM_OK);
}

static void closing_tells_what_was_sent_apart(void **state) {
    (void)state;
    open_session();
    fake_begin();
    fake_publish(2, "q", MOMI_NEVER);
    fake_end();
    fake.has_room[2] = false; /* what comes now is not handed to a lane any more */
    fake_begin();
    fake_publish(3, "q", MOMI_NEVER);
    fake_end();
    fake_begin();
    momi_client_close(&fake.core);
    fake_collect();
    CHECK_DONE(2, MOM_UNKNOWN_OUTCOME);
    CHECK_DONE(3, MOM_CLOSED);
    const struct fake_sent *ping = fake_next_sent(FRAME_SESSION_PING);
    assert_non_null(ping);
    CHECK_EQ(ping->node, 2);
    CHECK_EQ(ping->frame->flags, MOMI_FLAG_CLOSED);
    fake_begin();
    fake_publish(4, "q", MOMI_NEVER);
    fake_end();
    CHECK_DONE(4, MOM_CLOSED);
    CHECK_EQ(momi_client_deadline(&fake.core), MOMI_NEVER);
}

static void sessions_are_pinged_each_second_and_shown_alive(void **state) {
    (void)state;
    open_session();
    uint64_t from_us = fake.core.now_us;
    size_t pings = 0;
    size_t openings = 0;
    while (fake.core.now_us < from_us + 30 * MOMI_S) {
        fake_at(momi_client_deadline(&fake.core));
        pings += fake_sent_of(FRAME_SESSION_PING);
        if (fake_sent_of(FRAME_SESSION_OPEN) > 0) {
            openings++;
            CHECK_EQ(fake_next_sent(FRAME_SESSION_OPEN)->frame->number, 1);
            fake_opened(2, 1); /* the same session */
        }
    }
    CHECK(pings >= 29);
    CHECK(pings <= 31);
    CHECK(openings >= 2);
    CHECK(openings <= 3);
    CHECK(momi_session_id_equal(fake.core.client->shards[1]->session, fake_session));
}

static void a_full_lane_holds_commands_back(void **state) {
    (void)state;
    open_session();
    fake.has_room[2] = false;
    for (int i = 0; i < 3; i++) {
        fake_begin();
        fake_publish(10 + (uint64_t)i, "q", MOMI_NEVER);
        fake_end();
        CHECK_EQ(fake.sent_count, 0);
    }
    fake.has_room[2] = true;
    fake_begin();
    fake_end();
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(publish_of(&commands[0]).count, 3);
}

static void a_steady_state_allocates_nothing(void **state) {
    (void)state;
    open_session();
    uint64_t id = 10;
    uint64_t number = 2;
    uint64_t before = 0;
    for (int round = 0; round < 200; round++) {
        if (round == 100) {
            before = momi_mem_allocations();
        }
        fake_begin();
        for (int i = 0; i < 100; i++) {
            fake_publish(id++, "q", fake.core.now_us + 5 * MOMI_S);
        }
        fake_end();
        struct momi_bytes results = {0};
        uint8_t bytes[8] = {0, 1};
        results.data = bytes;
        results.size = 2;
        struct momi_frame frame = {.type = FRAME_RESULTS,
                                   .shard = 1,
                                   .session = fake_session,
                                   .number = number++,
                                   .count = 1,
                                   .payload = momi_bytes_slice(&results)};
        fake_begin();
        fake_frame(2, &frame);
        fake_end();
        CHECK_EQ(fake.done_count - fake.done_next, 100);
        fake.done_count = fake.done_next = 0;
    }
    CHECK_EQ(momi_mem_allocations(), before);
}

/* Without memory a call is NO_MEMORY, and everything else is as before. */
static void every_failing_allocation_is_an_answer(void **state) {
    (void)state;
    open_session();
    for (int64_t at = 0; at < 40; at++) {
        uint64_t id = 100 + (uint64_t)at * 10;
        fake_begin();
        size_t before = fake.done_count;
        momi_mem_fail_after(at, false);
        fake_publish_many(id, "m", 1, 40000, MOMI_NEVER);
        fake_publish_many(id + 1, "n", 1, 2000, MOMI_NEVER);
        struct momi_call create = {.type = CALL_STREAM_CREATE,
                                   .id = id + 2,
                                   .deadline_us = MOMI_NEVER,
                                   .kind = MOMI_KIND_QUEUE,
                                   .name = momi_slice_str("q")};
        fake_call(&create);
        momi_mem_fail_after(-1, false);
        fake_end();
        size_t refused = fake.done_count - before;
        for (size_t i = before; i < fake.done_count; i++) {
            CHECK_ERR(fake.done[i].error, MOM_NO_MEMORY);
        }
        struct momi_client_shard *shard = fake.core.client->shards[1];
        size_t sent = shard->numbered;
        CHECK(refused <= 1);
        CHECK_EQ(sent + refused, 3);
        struct fake_result results[3] = {{MOM_OK, 1}, {MOM_OK, 1}, {MOM_OK, 1}};
        fake_begin();
        fake_results(2, 1, shard->number_first, results, (uint32_t)sent);
        fake_end();
        CHECK_EQ(fake.done_count - before, 3);
        CHECK_EQ(fake.core.client->inflight_bytes, 0);
    }
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(publish_opens_a_session_and_completes_with_sequences),
        CASE(another_stream_or_command_closes_a_batch),
        CASE(gathers_while_four_are_unanswered),
        CASE(full_batches_do_not_wait),
        CASE(a_new_leader_gets_everything_unanswered_again),
        CASE(a_closed_lane_sends_again_after_a_moment),
        CASE(a_replaced_lane_sends_again_at_once),
        CASE(silence_makes_it_look_for_the_leader_anew),
        CASE(nodes_that_point_at_each_other_are_asked_slowly),
        CASE(without_a_number_the_deadline_is_a_timeout),
        CASE(with_a_number_the_outcome_is_unknown_and_the_command_goes_on),
        CASE(cancel_is_a_deadline_of_now),
        CASE(a_full_window_refuses_or_lets_wait_in_order),
        CASE(an_empty_window_admits_any_legal_size),
        CASE(a_stuck_shard_leaves_room_for_others),
        CASE(an_expired_session_tells_what_was_sent_apart),
        CASE(a_refused_opening_ends_what_was_never_sent),
        CASE(a_lower_opening_is_followed_by_a_higher_one),
        CASE(results_are_taken_in_order_whatever_their_order),
        CASE(hostile_results_are_dropped),
        CASE(bad_calls_are_refused_at_once),
        CASE(calls_wait_for_the_map_in_order),
        CASE(ready_means_the_registry_too),
        CASE(closing_tells_what_was_sent_apart),
        CASE(sessions_are_pinged_each_second_and_shown_alive),
        CASE(a_full_lane_holds_commands_back),
        CASE(a_steady_state_allocates_nothing),
        CASE(every_failing_allocation_is_an_answer),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
