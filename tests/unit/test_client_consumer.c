/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers of the client half (M4, M5, M7). */
#include "client_fake.h"

enum { Q_MAX = 64, HANDLE = 77 };

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

static void consumer_call(enum momi_call_type type, uint64_t id, uint64_t deadline_us) {
    struct momi_call call = {.type = type,
                             .id = id,
                             .deadline_us = deadline_us,
                             .kind = MOMI_KIND_QUEUE,
                             .name = momi_slice_str("q"),
                             .consumer = HANDLE};
    fake_call(&call);
}

static uint64_t limit; /* of the consumers opened next */

static void open_with(uint32_t prefetch, uint64_t lease_us) {
    struct momi_call call = {.type = CALL_CONSUMER_OPEN,
                             .id = 1,
                             .deadline_us = MOMI_NEVER,
                             .kind = MOMI_KIND_QUEUE,
                             .name = momi_slice_str("q"),
                             .consumer = HANDLE,
                             .prefetch = prefetch,
                             .lease_us = lease_us,
                             .limit = limit};
    fake_begin();
    fake_call(&call);
    fake_end();
    fake_opened(2, 1);
}

static uint64_t number_next; /* of the command that is answered next */

static void answer(int error, uint64_t value) {
    fake_result(2, 1, number_next++, error, value);
}

/* An attached consumer, whose number on the wire is given back. */
static uint64_t attach(uint32_t prefetch, uint64_t lease_us) {
    open_with(prefetch, lease_us);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].type, CMD_CONSUMER_ATTACH);
    struct momi_consumer_attach body;
    CHECK(momi_consumer_attach_parse(commands[0].body, &body));
    uint64_t wanted = prefetch == 0 ? CLIENT_PREFETCH_DEFAULT : prefetch;
    CHECK_EQ(body.credit, limit != 0 && limit < wanted ? limit : wanted);
    CHECK_EQ(body.lease_us, lease_us);
    uint64_t id = body.consumer;
    number_next = 1;
    answer(MOM_OK, 0);
    CHECK_DONE(1, MOM_OK);
    return id;
}

struct consume {
    uint64_t consumer, credit, handed;
    uint64_t count;
    struct momi_settle settles[Q_MAX];
};

static struct consume consume_of(const struct momi_command *command) {
    struct consume consume = {0};
    CHECK_EQ(command->type, CMD_CONSUME);
    struct momi_reader in = momi_reader(command->body);
    consume.consumer = momi_get_u64(&in);
    consume.credit = momi_get_u64(&in);
    consume.handed = momi_get_u64(&in);
    consume.count = momi_get_varint(&in);
    for (uint64_t i = 0; i < consume.count && i < Q_MAX; i++) {
        consume.settles[i].action = (enum momi_settle_action)momi_get_u8(&in);
        consume.settles[i].token.epoch = momi_get_u32(&in);
        consume.settles[i].token.counter = momi_get_u64(&in);
        consume.settles[i].count = (uint32_t)momi_get_varint(&in);
    }
    CHECK(momi_reader_done(&in));
    return consume;
}

/* The only command of the turn. */
static struct consume sent_consume(void) {
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    return consume_of(&commands[0]);
}
static size_t commands_sent(void) {
    struct momi_command commands[Q_MAX];
    return fake_commands(1, commands, Q_MAX);
}

/* A frame with one run of `count` messages of ten bytes; token = delivery + 1000. */
static void deliver_run(uint64_t consumer, uint64_t term, uint64_t delivery,
                        uint32_t count) {
    struct momi_bytes payload = {0};
    uint8_t bytes[64];
    for (uint32_t i = 0; i < count; i++) {
        uint8_t body[10] = {(uint8_t)(delivery + i)};
        struct momi_record record = {.body = momi_slice(body, sizeof body)};
        momi_record_write(bytes, &record);
        momi_bytes_append(&payload, bytes, momi_record_size(0, 0, sizeof body));
    }
    struct momi_buf *buf = momi_buf_copy(momi_bytes_slice(&payload));
    momi_bytes_free(&payload);
    struct momi_delivery_run run = {.delivery = delivery,
                                    .sequence = delivery + 500,
                                    .counter = delivery + 1000,
                                    .count = count,
                                    .bytes = (uint32_t)buf->size};
    struct momi_frame frame = {.type = FRAME_DELIVER,
                               .shard = 1,
                               .session = fake_session,
                               .consumer = consumer,
                               .term = term,
                               .runs = &run,
                               .runs_count = 1,
                               .payload = momi_buf_slice(buf),
                               .buf = buf};
    fake_frame(2, &frame);
    momi_buf_release(buf);
}
static void deliver(uint64_t consumer, uint64_t term, uint64_t delivery, uint32_t count) {
    fake_begin();
    deliver_run(consumer, term, delivery, count);
    fake_end();
}

/* Up to `number`, `total` of them in all: what was void in between was not taken. */
static void taken_of(uint64_t number, uint64_t total) {
    struct momi_event event = {.type = EV_CONSUMER_TAKEN,
                               .now_us = fake.core.now_us,
                               .token = HANDLE,
                               .value = number,
                               .total = total};
    momi_client_event(&fake.core, &event);
}
static void taken(uint64_t number) { taken_of(number, number); }
static void settle(uint64_t counter, uint32_t count, enum momi_settle_action action) {
    struct momi_settle one = {
        .token = {.counter = counter}, .count = count, .action = action};
    struct momi_event event = {.type = EV_CONSUMER_SETTLE,
                               .now_us = fake.core.now_us,
                               .token = HANDLE,
                               .settles = &one,
                               .settles_count = 1};
    momi_client_event(&fake.core, &event);
}

/* --- deliveries and credit ------------------------------------------------------ */

static void messages_come_once_from_the_latest_term(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 5, 1, 3);
    const struct momi_effect *effect = fake_effect_of(FX_MESSAGES);
    assert_non_null(effect);
    CHECK_EQ(effect->token, HANDLE);
    CHECK_EQ(effect->value, 3);
    CHECK_EQ(effect->delivery->runs_count, 1);
    CHECK_EQ(effect->delivery->payload.data, effect->delivery->buf->data);
    deliver(id, 5, 1, 3);
    assert_null(fake_effect_of(FX_MESSAGES));
    deliver(id, 4, 4, 1);
    assert_null(fake_effect_of(FX_MESSAGES));
    deliver(id + 9, 5, 4, 1);
    assert_null(fake_effect_of(FX_MESSAGES));
    /* Overlap: the front is cut; gaps are fine. */
    deliver(id, 6, 2, 5);
    effect = fake_effect_of(FX_MESSAGES);
    assert_non_null(effect);
    const struct momi_delivery_run *run = &effect->delivery->runs[0];
    CHECK_EQ(run->delivery, 4);
    CHECK_EQ(run->sequence, 504);
    CHECK_EQ(run->counter, 1004);
    CHECK_EQ(run->count, 3);
    struct momi_record record;
    CHECK(momi_record_read(effect->delivery->payload, &record));
    CHECK_EQ(record.body.data[0], 4);
    CHECK_EQ(run->bytes, effect->delivery->payload.size);
    deliver(id, 6, 10, 1);
    assert_non_null(fake_effect_of(FX_MESSAGES));
    deliver(id, 6, 100, 2); /* beyond the credit */
    assert_null(fake_effect_of(FX_MESSAGES));
    CHECK_EQ(fake.core.counters.frames_dropped, 1);
}

static void malformed_deliveries_are_dropped(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    uint8_t bytes[64] = {1, 2, 3};
    struct momi_delivery_run runs[2] = {{.delivery = 1, .count = 1, .bytes = 60},
                                        {.delivery = 2, .count = 1, .bytes = 60}};
    struct momi_frame frame = {.type = FRAME_DELIVER,
                               .shard = 1,
                               .session = fake_session,
                               .consumer = id,
                               .term = 1,
                               .runs = runs,
                               .runs_count = 2,
                               .payload = momi_slice(bytes, sizeof bytes)};
    fake_begin();
    fake_frame(2, &frame);
    runs[0].count = UINT32_MAX;
    fake_frame(2, &frame);
    runs[0].delivery = UINT64_MAX;
    fake_frame(2, &frame);
    fake_end();
    assert_null(fake_effect_of(FX_MESSAGES));
    CHECK_EQ(fake.core.counters.frames_dropped, 3);
}

static void credit_is_told_at_a_quarter(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 60);
    fake_begin();
    taken(24);
    fake_end();
    CHECK_EQ(commands_sent(), 0);
    fake_begin();
    taken(25);
    fake_end();
    struct consume consume = sent_consume();
    CHECK_EQ(consume.consumer, id);
    CHECK_EQ(consume.credit, 125);
    CHECK_EQ(consume.handed, 25);
    CHECK_EQ(consume.count, 0);
}

static void credit_ends_at_the_limit(void **state) {
    (void)state;
    limit = 5;
    uint64_t id = attach(4, 0);
    deliver(id, 1, 1, 4);
    fake_begin();
    taken(3);
    fake_end();
    CHECK_EQ(sent_consume().credit, 5);
    answer(MOM_OK, 0);
    deliver(id, 1, 5, 1);
    fake_begin();
    taken(5);
    fake_end();
    CHECK_EQ(commands_sent(), 0);
    limit = 0;
}

static void what_was_void_does_not_count_towards_the_limit(void **state) {
    (void)state;
    limit = 5;
    uint64_t id = attach(10, 0);
    deliver(id, 1, 1, 5);
    fake_begin();
    taken(2);
    settle(1001, 2, MOMI_SETTLE_ACK);
    fake_end();
    CHECK_EQ(sent_consume().credit, 5);
    answer(MOM_NOT_FOUND, 0); /* detached: three of the buffer went back */
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    struct momi_consumer_attach body;
    CHECK(momi_consumer_attach_parse(commands[0].body, &body));
    CHECK_EQ(body.credit, 3);
    answer(MOM_OK, 0);
    deliver(body.consumer, 1, 1, 3);
    fake_begin();
    taken_of(8, 5);
    settle(1001, 3, MOMI_SETTLE_ACK);
    fake_end();
    CHECK_EQ(sent_consume().credit, 3);
    limit = 0;
}

static void settlements_are_merged_and_gathered(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 60);
    fake_begin();
    taken(10);
    settle(1001, 1, MOMI_SETTLE_ACK);
    settle(1003, 1, MOMI_SETTLE_ACK);
    settle(1002, 1, MOMI_SETTLE_ACK);
    settle(1004, 2, MOMI_SETTLE_ACK);
    settle(1006, 1, MOMI_SETTLE_GIVE_BACK);
    fake_end();
    struct consume consume = sent_consume();
    CHECK_EQ(consume.handed, 10);
    CHECK_EQ(consume.credit, 110);
    CHECK_EQ(consume.count, 2);
    CHECK_EQ(consume.settles[0].token.counter, 1001);
    CHECK_EQ(consume.settles[0].count, 5);
    CHECK_EQ(consume.settles[1].action, MOMI_SETTLE_GIVE_BACK);
    for (uint64_t i = 0; i < 3; i++) {
        fake_begin();
        settle(1007 + i, 1, MOMI_SETTLE_ACK);
        fake_end();
        CHECK_EQ(commands_sent(), 1);
    }
    for (uint64_t i = 0; i < 5; i++) { /* four are unanswered: it gathers */
        fake_begin();
        taken(20);
        settle(1011 + i, 1, MOMI_SETTLE_ACK);
        fake_end();
        CHECK_EQ(commands_sent(), 0);
    }
    answer(MOM_OK, 6);
    consume = sent_consume();
    CHECK_EQ(consume.count, 1);
    CHECK_EQ(consume.settles[0].token.counter, 1011);
    CHECK_EQ(consume.settles[0].count, 5);
    CHECK_EQ(consume.handed, 20);
}

static void flush_waits_for_the_settlements_before_it(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    fake_begin();
    consumer_call(CALL_CONSUMER_FLUSH, 5, MOMI_NEVER);
    fake_end();
    CHECK_DONE(5, MOM_OK);
    deliver(id, 1, 1, 10);
    fake_begin();
    taken(2);
    settle(1001, 1, MOMI_SETTLE_ACK);
    consumer_call(CALL_CONSUMER_FLUSH, 6, MOMI_NEVER);
    fake_end();
    fake_begin();
    settle(1002, 1, MOMI_SETTLE_ACK);
    consumer_call(CALL_CONSUMER_FLUSH, 7, MOMI_NEVER);
    fake_end();
    CHECK_NOTHING_DONE();
    answer(MOM_OK, 1);
    CHECK_DONE(6, MOM_OK);
    CHECK_NOTHING_DONE();
    answer(MOM_OK, 0); /* its lease had ended */
    CHECK_DONE(7, MOM_CONFLICT);
}

static void flush(uint64_t id) { consumer_call(CALL_CONSUMER_FLUSH, id, MOMI_NEVER); }

static void a_flush_speaks_of_its_own_settlements(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 20);
    fake_begin(); /* two in one command, one of them too late: nobody knows which */
    taken(20);
    settle(1001, 1, MOMI_SETTLE_ACK);
    flush(5);
    settle(1002, 1, MOMI_SETTLE_ACK);
    flush(6);
    fake_end();
    answer(MOM_OK, 1);
    CHECK_DONE(5, MOM_UNKNOWN_OUTCOME);
    CHECK_DONE(6, MOM_UNKNOWN_OUTCOME);
    fake_begin(); /* answered before the flush is called */
    settle(1003, 1, MOMI_SETTLE_ACK);
    fake_end();
    answer(MOM_OK, 0);
    fake_begin();
    settle(1004, 1, MOMI_SETTLE_ACK);
    flush(7);
    fake_end();
    answer(MOM_OK, 1);
    CHECK_DONE(7, MOM_CONFLICT);
    fake_begin(); /* and told once */
    settle(1005, 1, MOMI_SETTLE_ACK);
    flush(8);
    fake_end();
    answer(MOM_OK, 1);
    CHECK_DONE(8, MOM_OK);
    fake_begin(); /* an extension that came too late may be an acknowledgement */
    settle(1006, 1, MOMI_SETTLE_ACK);
    settle(1007, 1, MOMI_SETTLE_EXTEND);
    flush(9);
    fake_end();
    answer(MOM_OK, 1);
    CHECK_DONE(9, MOM_UNKNOWN_OUTCOME);
    fake_begin(); /* after the attachment was lost */
    settle(1008, 1, MOMI_SETTLE_ACK);
    fake_end();
    answer(MOM_NOT_FOUND, 0);
    fake_begin();
    settle(1009, 1, MOMI_SETTLE_ACK);
    flush(10);
    flush(11);
    fake_end();
    CHECK_DONE(10, MOM_CONFLICT);
    CHECK_DONE(11, MOM_OK);
}

static void hand_out_is_told_within_a_tenth_of_a_lease(void **state) {
    (void)state;
    uint64_t id = attach(100, 10 * MOMI_S);
    deliver(id, 1, 1, 10);
    fake_begin();
    taken(1);
    fake_end();
    uint64_t from_us = fake.core.now_us;
    CHECK_EQ(commands_sent(), 0);
    while (commands_sent() == 0) {
        CHECK(momi_client_deadline(&fake.core) <= from_us + MOMI_S);
        fake_at(momi_client_deadline(&fake.core));
    }
    CHECK_EQ(fake.core.now_us, from_us + MOMI_S);
    CHECK_EQ(sent_consume().handed, 1);
}

static void an_unread_buffer_goes_back_after_a_lease(void **state) {
    (void)state;
    uint64_t id = attach(100, 10 * MOMI_S);
    deliver(id, 1, 1, 4);
    fake_begin();
    taken(1);
    fake_end();
    uint64_t from_us = fake.core.now_us;
    const struct momi_effect *effect = NULL;
    while (effect == NULL) {
        fake_at(momi_client_deadline(&fake.core));
        effect = fake_effect_of(FX_MESSAGES);
        if (commands_sent() > 0 && effect == NULL) {
            answer(MOM_OK, 0);
        }
        if (fake_query_sent() != NULL) {
            fake_reply(fake_query_sent()->counter, MOM_EMPTY, 4);
        }
    }
    CHECK_EQ(fake.core.now_us, from_us + 10 * MOMI_S);
    CHECK_EQ(effect->delivery->runs_count, 0);
    CHECK_EQ(effect->value, 4);
    struct consume consume = sent_consume();
    CHECK_EQ(consume.count, 1);
    CHECK_EQ(consume.settles[0].action, MOMI_SETTLE_RETURN);
    CHECK_EQ(consume.settles[0].token.counter, 1002);
    CHECK_EQ(consume.settles[0].count, 3);
    CHECK_EQ(consume.credit, 4); /* none until the program comes back */
    CHECK_EQ(consume.handed, 1);
    answer(MOM_OK, 3);
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 9, MOMI_NEVER);
    fake_end();
    CHECK_EQ(sent_consume().credit, 104);
}

/* --- empty ---------------------------------------------------------------------- */

static void a_poll_asks_whether_anything_is_there(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 5, fake.core.now_us + MOMI_S);
    fake_end();
    const struct momi_frame *query = fake_query_sent();
    assert_non_null(query);
    CHECK_EQ(query->kind, QUERY_EMPTY);
    CHECK_EQ(query->consumer, id);
    CHECK_EQ(query->number, 0);
    uint64_t request = query->counter;
    fake_reply(request + 100, MOM_EMPTY, 0);
    CHECK_NOTHING_DONE();
    fake_reply(request, MOM_EMPTY, 0);
    CHECK_DONE(5, MOM_EMPTY);
    /* Something is on its way: OK when it is here. */
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 6, fake.core.now_us + MOMI_S);
    fake_end();
    fake_reply(fake_query_sent()->counter, MOM_OK, 2);
    CHECK_NOTHING_DONE();
    CHECK_EQ(fake_sent_of(FRAME_QUERY), 0);
    deliver(id, 1, 1, 2);
    CHECK_DONE(6, MOM_OK);
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 7, fake.core.now_us + MOMI_S);
    fake_end();
    CHECK_DONE(7, MOM_OK); /* the buffer is not empty */
}

static void a_poll_asks_after_what_was_settled_before_it(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 1);
    fake_begin();
    taken(1);
    settle(1001, 1, MOMI_SETTLE_GIVE_BACK);
    consumer_call(CALL_CONSUMER_POLL, 5, fake.core.now_us + MOMI_S);
    fake_end();
    CHECK_EQ(sent_consume().credit, 101);
    CHECK_EQ(fake_sent_of(FRAME_QUERY), 0);
    answer(MOM_OK, 1);
    CHECK_EQ(fake_sent_of(FRAME_QUERY), 1);
}

static void who_gave_up_waiting_loses_its_credit_after_a_second(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 5, MOMI_NEVER);
    fake_end();
    fake_reply(fake_query_sent()->counter, MOM_EMPTY, 0);
    CHECK_NOTHING_DONE(); /* it waits */
    CHECK_EQ(fake_sent_of(FRAME_QUERY), 0);
    fake_begin();
    fake_cancel(5);
    fake_end();
    CHECK_DONE(5, MOM_TIMEOUT);
    uint64_t from_us = fake.core.now_us;
    while (commands_sent() == 0) {
        fake_at(momi_client_deadline(&fake.core));
        if (commands_sent() == 0 && fake_query_sent() != NULL) {
            fake_reply(fake_query_sent()->counter, MOM_EMPTY, 0);
        }
        CHECK(fake.core.now_us <= from_us + MOMI_S);
    }
    CHECK_EQ(fake.core.now_us, from_us + MOMI_S);
    CHECK_EQ(sent_consume().credit, 0);
    answer(MOM_OK, 0);
    /* When it comes back, its credit is there before it asks. */
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 6, fake.core.now_us + MOMI_S);
    fake_end();
    CHECK_EQ(sent_consume().credit, 100);
    CHECK_EQ(fake_sent_of(FRAME_QUERY), 0);
    answer(MOM_OK, 0);
    CHECK_EQ(fake_sent_of(FRAME_QUERY), 1);
    deliver(id, 1, 1, 1);
    CHECK_DONE(6, MOM_OK);
}

static void a_poll_without_answer_times_out(void **state) {
    (void)state;
    (void)attach(100, 0);
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 5, fake.core.now_us + 100 * MOMI_MS);
    fake_end();
    fake_run_until(fake.core.now_us + 200 * MOMI_MS);
    CHECK_DONE(5, MOM_TIMEOUT);
}

/* --- life ----------------------------------------------------------------------- */

static void a_new_leader_is_told_the_last_delivery(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 7);
    fake_not_leader(2, 1, 3);
    const struct momi_frame *query = fake_query_sent();
    assert_non_null(query);
    CHECK_EQ(query->kind, QUERY_EMPTY);
    CHECK_EQ(query->number, 7);
    fake_lane(3, true); /* and so is one whose lane was replaced */
    CHECK_EQ(fake_query_sent()->number, 7);
}

static void a_quiet_leader_is_asked_each_second(void **state) {
    (void)state;
    (void)attach(100, 0);
    uint64_t from_us = fake.core.now_us;
    size_t queries = 0;
    while (fake.core.now_us < from_us + 10 * MOMI_S) {
        fake_at(momi_client_deadline(&fake.core));
        if (fake_query_sent() != NULL) {
            queries++;
            fake_reply(fake_query_sent()->counter, MOM_EMPTY, 0);
        }
    }
    CHECK(queries >= 8);
    CHECK(queries <= 11);
}

static void a_detached_consumer_attaches_again(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 7);
    fake_begin();
    taken(3);
    settle(1001, 3, MOMI_SETTLE_ACK);
    consumer_call(CALL_CONSUMER_FLUSH, 5, MOMI_NEVER);
    fake_end();
    answer(MOM_NOT_FOUND, 0);
    CHECK_DONE(5, MOM_CONFLICT);
    const struct momi_effect *effect = fake_effect_of(FX_MESSAGES);
    assert_non_null(effect);
    CHECK_EQ(effect->delivery->runs_count, 0);
    CHECK_EQ(effect->value, 7);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    struct momi_consumer_attach body;
    CHECK(momi_consumer_attach_parse(commands[0].body, &body));
    CHECK(body.consumer != id);
    CHECK_EQ(body.credit, 100);
    answer(MOM_OK, 0);
    deliver(id, 1, 8, 1);
    assert_null(fake_effect_of(FX_MESSAGES)); /* of the old attachment */
    deliver(body.consumer, 1, 1, 2);
    effect = fake_effect_of(FX_MESSAGES);
    assert_non_null(effect);
    CHECK_EQ(effect->value, 9); /* towards the program numbers only grow */
    CHECK_EQ(effect->delivery->runs[0].delivery, 8);
    fake_begin();
    taken(7); /* late: of the messages that are void */
    settle(1004, 1, MOMI_SETTLE_ACK);
    fake_end();
    CHECK_EQ(sent_consume().handed, 0);
    fake_begin();
    taken(9);
    settle(1001, 2, MOMI_SETTLE_ACK);
    fake_end();
    CHECK_EQ(sent_consume().handed, 2);
}

static void an_expired_session_attaches_again(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 7);
    fake_begin();
    taken(1);
    settle(1001, 1, MOMI_SETTLE_ACK);
    consumer_call(CALL_CONSUMER_FLUSH, 5, MOMI_NEVER);
    consumer_call(CALL_CONSUMER_POLL, 6, MOMI_NEVER);
    fake_end();
    CHECK_DONE(6, MOM_OK);
    struct momi_frame unknown = {.type = FRAME_RESULTS,
                                 .shard = 1,
                                 .session = fake_session,
                                 .error = MOM_NOT_FOUND};
    fake_begin();
    fake_frame(2, &unknown);
    fake_end();
    CHECK_DONE(5, MOM_UNKNOWN_OUTCOME);
    assert_non_null(fake_effect_of(FX_MESSAGES));
    fake_session.index++;
    fake_opened(2, 1);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].number, 1);
    CHECK_EQ(commands[0].type, CMD_CONSUMER_ATTACH);
}

static void an_ended_consumer_says_so_to_later_calls(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 5, MOMI_NEVER);
    fake_end();
    struct momi_frame ended = {.type = FRAME_CONSUMER_ENDED,
                               .shard = 1,
                               .session = fake_session,
                               .consumer = id,
                               .error = MOM_NOT_FOUND};
    fake_begin();
    fake_frame(2, &ended);
    fake_end();
    CHECK_DONE(5, MOM_NOT_FOUND);
    const struct momi_effect *effect = fake_effect_of(FX_CONSUMER_ENDED);
    assert_non_null(effect);
    CHECK_EQ(effect->token, HANDLE);
    CHECK_ERR(effect->error, MOM_NOT_FOUND);
    fake_begin();
    consumer_call(CALL_CONSUMER_POLL, 6, MOMI_NEVER);
    consumer_call(CALL_CONSUMER_FLUSH, 7, MOMI_NEVER);
    consumer_call(CALL_CONSUMER_CLOSE, 8, MOMI_NEVER);
    consumer_call(CALL_CONSUMER_CLOSE, 9, MOMI_NEVER);
    fake_end();
    CHECK_DONE(6, MOM_NOT_FOUND);
    CHECK_DONE(7, MOM_NOT_FOUND);
    CHECK_DONE(8, MOM_OK);
    CHECK_DONE(9, MOM_NOT_FOUND);
}

static void close_settles_and_detaches(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    deliver(id, 1, 1, 5);
    fake_begin();
    taken(2);
    settle(1001, 1, MOMI_SETTLE_ACK);
    consumer_call(CALL_CONSUMER_CLOSE, 5, MOMI_NEVER);
    fake_end();
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 2);
    CHECK_EQ(consume_of(&commands[0]).handed, 2);
    CHECK_EQ(commands[1].type, CMD_CONSUMER_DETACH);
    deliver(id, 1, 6, 1);
    assert_null(fake_effect_of(FX_MESSAGES));
    answer(MOM_OK, 1);
    CHECK_NOTHING_DONE();
    answer(MOM_OK, 0);
    CHECK_DONE(5, MOM_OK);
    CHECK(momi_list_empty(&fake.core.client->consumers));
}

static void an_open_given_up_is_detached_when_it_succeeds(void **state) {
    (void)state;
    open_with(100, 0);
    CHECK_EQ(commands_sent(), 1);
    fake_begin();
    fake_cancel(1);
    fake_end();
    CHECK_DONE(1, MOM_UNKNOWN_OUTCOME);
    number_next = 1;
    answer(MOM_OK, 0);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    CHECK_EQ(commands[0].type, CMD_CONSUMER_DETACH);
    answer(MOM_OK, 0);
    CHECK(momi_list_empty(&fake.core.client->consumers));
    CHECK_NOTHING_DONE();
}

static void a_missing_queue_ends_the_open(void **state) {
    (void)state;
    open_with(100, 0);
    number_next = 1;
    answer(MOM_NOT_FOUND, 0);
    CHECK_DONE(1, MOM_NOT_FOUND);
    assert_null(fake_effect_of(FX_CONSUMER_ENDED));
    CHECK(momi_list_empty(&fake.core.client->consumers));
}

static void consumes_do_not_break_up_gathered_publishes(void **state) {
    (void)state;
    uint64_t id = attach(100, 0);
    for (uint64_t i = 0; i < 4; i++) {
        fake_begin();
        fake_publish(10 + i, "q", MOMI_NEVER);
        fake_end();
    }
    deliver(id, 1, 1, 9);
    for (uint64_t i = 0; i < 3; i++) {
        fake_begin();
        fake_publish(20 + i, "q", MOMI_NEVER);
        taken(1 + i);
        settle(1001 + i, 1, MOMI_SETTLE_ACK);
        fake_end();
        CHECK_EQ(sent_consume().handed, 1 + i);
    }
    answer(MOM_OK, 1);
    struct momi_command commands[Q_MAX];
    CHECK_EQ(fake_commands(1, commands, Q_MAX), 1);
    struct momi_publish publish;
    CHECK(momi_publish_parse(commands[0].body, &publish));
    CHECK_EQ(publish.count, 3);
    CHECK_EQ(commands[0].number, 9);
}

static void closing_ends_every_call(void **state) {
    (void)state;
    (void)attach(100, 0);
    struct momi_call list = {
        .type = CALL_LIST, .id = 5, .deadline_us = MOMI_NEVER, .kind = MOMI_KIND_QUEUE};
    fake_begin();
    fake_call(&list);
    consumer_call(CALL_CONSUMER_POLL, 6, MOMI_NEVER);
    fake_end();
    fake_begin();
    momi_client_close(&fake.core);
    fake_collect();
    CHECK_EQ(fake.done_count - fake.done_next, 2);
    for (size_t i = fake.done_next; i < fake.done_count; i++) {
        CHECK_ERR(fake.done[i].error, MOM_CLOSED);
    }
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(messages_come_once_from_the_latest_term),
        CASE(malformed_deliveries_are_dropped),
        CASE(credit_is_told_at_a_quarter),
        CASE(credit_ends_at_the_limit),
        CASE(what_was_void_does_not_count_towards_the_limit),
        CASE(settlements_are_merged_and_gathered),
        CASE(flush_waits_for_the_settlements_before_it),
        CASE(a_flush_speaks_of_its_own_settlements),
        CASE(hand_out_is_told_within_a_tenth_of_a_lease),
        CASE(an_unread_buffer_goes_back_after_a_lease),
        CASE(a_poll_asks_whether_anything_is_there),
        CASE(a_poll_asks_after_what_was_settled_before_it),
        CASE(who_gave_up_waiting_loses_its_credit_after_a_second),
        CASE(a_poll_without_answer_times_out),
        CASE(a_new_leader_is_told_the_last_delivery),
        CASE(a_quiet_leader_is_asked_each_second),
        CASE(a_detached_consumer_attaches_again),
        CASE(an_expired_session_attaches_again),
        CASE(an_ended_consumer_says_so_to_later_calls),
        CASE(close_settles_and_detaches),
        CASE(an_open_given_up_is_detached_when_it_succeeds),
        CASE(a_missing_queue_ends_the_open),
        CASE(consumes_do_not_break_up_gathered_publishes),
        CASE(closing_ends_every_call),
    };
    return cmocka_run_group_tests_name("client consumers", tests, NULL, NULL);
}
