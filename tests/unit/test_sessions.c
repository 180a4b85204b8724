/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and numbers (docs/protocol.md S1 to S3): what opens and ends them, what is
 * applied, what is kept. */
#include "unit/machine_fixture.h"

static const struct momi_stream_options plain;

static void the_same_opening_is_the_same_session(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_EQ(client.id.index, 1);
    CHECK_EQ(client.id.epoch, 1);
    CHECK_EQ(client.id.place, 0);
    CHECK_EQ(session_of(&client)->principal, 7);
    put_open(world, 7, 1, 1); /* resent */
    put_open(world, 7, 1, 0); /* lower */
    put_open(world, 7, 0, 9); /* lower incarnation */
    world_commit(world);
    CHECK(momi_machine_session_of(&world->machine, 7) == session_of(&client));
    CHECK_EQ(world->machine.sessions_count, 1);
    CHECK_EQ(world->counters.sessions_opened, 1);
    /* A second node in the same entry gets an id of its own place. */
    put_open(world, 8, 1, 1);
    put_open(world, 9, 1, 1);
    world_commit(world);
    CHECK_EQ(momi_machine_session_of(&world->machine, 8)->id.place, 0);
    CHECK_EQ(momi_machine_session_of(&world->machine, 9)->id.place, 1);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void a_later_opening_ends_the_older_session(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 10).error);
    CHECK_OK(publish(&client, "q", 3).error);
    CHECK_EQ(consumer_of(&client, 1)->leased, 3);
    struct momi_session_id before = client.id;
    put_open(world, 7, 2, 1);
    world_commit(world);
    CHECK(momi_machine_session(&world->machine, before) == NULL);
    struct momi_session *now = momi_machine_session_of(&world->machine, 7);
    CHECK_EQ(now->incarnation, 2);
    CHECK_EQ(now->last, 0);
    CHECK_EQ(world->machine.sessions_count, 1);
    CHECK_EQ(world->machine.consumers_count, 0);
    CHECK_SEQUENCES(ready_of(group_of(world, MOMI_KIND_QUEUE, "q", "")), 1, 2, 3);
    put_open(world, 7, 2,
             2); /* same incarnation: after an expiry the library opens anew */
    world_commit(world);
    CHECK_EQ(momi_machine_session_of(&world->machine, 7)->opening, 2);
    CHECK_EQ(world->machine.sessions_count, 1);
    world_free(world);
}

static void a_command_without_session_changes_nothing(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client stranger = {.world = world, .node = 5, .id = {.index = 99, .epoch = 1}};
    put_create(&stranger, MOMI_KIND_QUEUE, "q", false, plain);
    world_commit(world);
    struct client nobody = {.world = world, .node = 5};
    put_create(&nobody, MOMI_KIND_QUEUE, "q", false, plain);
    world_commit(world);
    CHECK_EQ(world->machine.sessions_count, 0);
    CHECK_EQ(world->machine.streams_count, 0);
    /* Its records take their slots all the same: those of the next command are where
     * readers look for them. */
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    put_publish(&stranger, MOMI_KIND_QUEUE, "q", 0, NULL, 3, 1);
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 2, 1);
    CHECK_OK(commit(&client).error);
    struct momi_run run;
    CHECK(momi_runs_first(&group_of(world, MOMI_KIND_QUEUE, "q", "")->ready, &run));
    CHECK_EQ(run.slot, 3);
    CHECK_EQ(run.count, 2);
    world_free(world);
}

static void numbers_are_applied_once_and_without_gaps(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    struct momi_result first = publish(&client, "q", 2);
    CHECK_OK(first.error);
    CHECK_EQ(first.value, 1);
    struct momi_stream *stream = stream_of(world, MOMI_KIND_QUEUE, "q");
    /* 2 once more: a duplicate keeps its outcome and adds nothing. */
    client.number = 1;
    struct momi_result again = publish(&client, "q", 2);
    CHECK_EQ(again.value, 1);
    CHECK_EQ(stream->sequence_next, 3);
    /* 5 before 3 and 4: a gap leaves neither trace nor result. */
    client.number = 4;
    CHECK_EQ(publish(&client, "q", 1).error, 1);
    CHECK_EQ(stream->sequence_next, 3);
    CHECK_EQ(session_of(&client)->last, 2);
    client.number = 2;
    CHECK_EQ(publish(&client, "q", 1).value, 3);
    CHECK_EQ(publish(&client, "q", 1).value, 4);
    CHECK_EQ(publish(&client, "q", 1).value, 5);
    CHECK_EQ(session_of(&client)->last, 5);
    /* In one entry, in a row. */
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 1, 1);
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 1, 1);
    client.number -= 1;
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 1, 1); /* 7 twice */
    CHECK_EQ(commit(&client).value, 7);
    CHECK_EQ(stream->sequence_next, 8);
    world_free(world);
}

static void answered_results_are_forgotten(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_OK(publish(&client, "q", 1).error);
    }
    CHECK_EQ(session_of(&client)->results.count, 5);
    client.answered = 3;
    CHECK_OK(publish(&client, "q", 1).error);
    CHECK_EQ(session_of(&client)->answered, 3);
    CHECK_EQ(session_of(&client)->results.count, 3);
    CHECK_EQ(result_of(&client, 4).value, 3);
    CHECK_EQ(result_of(&client, 3).error, 1);
    /* More answered than was ever given is cut down; less changes nothing. */
    client.answered = 1000;
    CHECK_OK(publish(&client, "q", 1).error);
    CHECK_EQ(session_of(&client)->answered, 6);
    CHECK_EQ(session_of(&client)->results.count, 1);
    client.answered = 2;
    CHECK_OK(publish(&client, "q", 1).error);
    CHECK_EQ(session_of(&client)->answered, 6);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void kept_results_are_bounded(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    for (unsigned i = 0; i < MOMI_SESSION_WINDOW + 10; i++) {
        size_t at = begin(&client, CMD_NOOP);
        end(world, at);
    }
    CHECK_OK(commit(&client).error);
    CHECK_EQ(session_of(&client)->results.count, MOMI_SESSION_WINDOW);
    CHECK_EQ(session_of(&client)->answered, 10);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void put_refusal(struct client *client, int error) {
    size_t at = begin(client, CMD_REFUSE);
    momi_refuse_put(&client->world->commands, error);
    end(client->world, at);
}

static void a_refusal_takes_the_number(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    put_refusal(&client, MOM_FULL);
    CHECK_ERR(commit(&client).error, MOM_FULL);
    /* The retransmission of the refused command comes too late. */
    client.number = 0;
    put_create(&client, MOMI_KIND_QUEUE, "q", false, plain);
    CHECK_ERR(commit(&client).error, MOM_FULL);
    CHECK(stream_of(world, MOMI_KIND_QUEUE, "q") == NULL);
    /* And a refusal after the command was applied changes nothing. */
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    client.number = 1;
    put_refusal(&client, MOM_FULL);
    CHECK_OK(commit(&client).error);
    CHECK(stream_of(world, MOMI_KIND_QUEUE, "q") != NULL);
    /* A class that is none is INVALID. */
    size_t at = begin(&client, CMD_REFUSE);
    momi_put_u8(&world->commands, 200);
    end(world, at);
    CHECK_ERR(commit(&client).error, MOM_INVALID);
    world_free(world);
}

static void what_does_not_parse_is_invalid(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    static const uint8_t types[] = {CMD_STREAM_CREATE,
                                    CMD_STREAM_DELETE,
                                    CMD_STREAM_PURGE,
                                    CMD_SUBSCRIPTION_CREATE,
                                    CMD_PUBLISH,
                                    CMD_SUBSCRIPTION_DELETE,
                                    CMD_CONSUMER_ATTACH,
                                    CMD_CONSUMER_DETACH,
                                    CMD_CONSUME,
                                    CMD_FOUND,
                                    99,
                                    200};
    for (size_t i = 0; i < sizeof types; i++) {
        size_t at = begin(&client, types[i]);
        momi_put_u8(&world->commands, 0xff);
        end(world, at);
        CHECK_ERR(commit(&client).error, MOM_INVALID);
    }
    CHECK_EQ(session_of(&client)->last, sizeof types);
    world_free(world);
}

static void a_closed_session_takes_its_own_along(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    struct client other = client_open(world, 8);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    struct momi_subscription_create create_ = {.topic = momi_slice_str("t"),
                                               .name = momi_slice_str("passing"),
                                               .temporary = true};
    CHECK_OK(subscribe(&client, &create_).error);
    create_.name = momi_slice_str("staying");
    create_.temporary = false;
    CHECK_OK(subscribe(&client, &create_).error);
    CHECK_OK(attach(&client, MOMI_KIND_TOPIC, "t", "staying", 1, 10).error);
    CHECK_OK(attach(&other, MOMI_KIND_TOPIC, "t", "passing", 2, 1).error);
    CHECK_OK(publish_keys(&client, "t", NULL, 3).error);
    world_save(world);
    put_plain(world, CMD_SESSION_CLOSE, client.id);
    world_commit(world);
    CHECK(session_of(&client) == NULL);
    CHECK(group_of(world, MOMI_KIND_TOPIC, "t", "passing") == NULL);
    CHECK_SEQUENCES(ready_of(group_of(world, MOMI_KIND_TOPIC, "t", "staying")), 1, 2, 3);
    /* The other's consumer was told. */
    CHECK_EQ(world->machine.ended.count, 1);
    const struct momi_ended *ended = momi_ring_at(&world->machine.ended, 0);
    CHECK_EQ(ended->node, 8);
    CHECK_EQ(ended->consumer, 2);
    CHECK_ERR(ended->error, MOM_NOT_FOUND);
    CHECK(consumer_of(&other, 2) == NULL);
    world_check_restart(world);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void an_expired_session_loses_its_consumers(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 10).error);
    CHECK_OK(publish(&client, "q", 2).error);
    put_plain(world, CMD_SESSION_DETACH, client.id);
    world_commit(world);
    CHECK(session_of(&client) != NULL); /* it lives on */
    CHECK(consumer_of(&client, 1) == NULL);
    CHECK_OK(publish(&client, "q", 1).error);
    put_plain(world, CMD_SESSION_EXPIRE, client.id);
    world_commit(world);
    CHECK(session_of(&client) == NULL);
    CHECK_EQ(world->counters.sessions_expired, 1);
    CHECK_SEQUENCES(ready_of(group_of(world, MOMI_KIND_QUEUE, "q", "")), 1, 2, 3);
    /* The lowest one that was in its buffer counts as a delivery (M4). */
    struct momi_run run;
    CHECK(momi_runs_first(&group_of(world, MOMI_KIND_QUEUE, "q", "")->ready, &run));
    CHECK_EQ(run.deliveries, 1);
    put_plain(world, CMD_SESSION_EXPIRE, client.id); /* twice */
    world_commit(world);
    world_free(world);
}

static void sessions_are_limited(void **state) {
    (void)state;
    struct world *world = world_new();
    for (uint64_t node = 1; node <= MOMI_SESSIONS_MAX; node++) {
        put_open(world, node, 1, 1);
        if (node % 1000 == 0) {
            world_commit(world);
        }
    }
    CHECK_EQ(world->machine.sessions_count, MOMI_SESSIONS_MAX);
    put_open(world, MOMI_SESSIONS_MAX + 1, 1, 1);
    world_commit(world);
    CHECK(momi_machine_session_of(&world->machine, MOMI_SESSIONS_MAX + 1) == NULL);
    /* The place of one that is replaced is free at once. */
    put_open(world, 5, 2, 1);
    world_commit(world);
    CHECK_EQ(momi_machine_session_of(&world->machine, 5)->incarnation, 2);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void a_leader_refuses_before_it_proposes(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    struct momi_bytes bytes = {0};
    size_t at = momi_command_begin(&bytes, CMD_PUBLISH, client.id, 1, 0);
    momi_publish_put_head(&bytes, &(struct momi_publish){.kind = MOMI_KIND_QUEUE,
                                                         .publisher = 7,
                                                         .name = momi_slice_str("q"),
                                                         .count = 1});
    uint8_t record[MOMI_RECORD_HEADER];
    momi_record_write(record, &(struct momi_record){.body = {0}});
    momi_bytes_append(&bytes, record, sizeof record);
    momi_command_finish(&bytes, at);
    struct momi_command_reader reader = momi_command_reader(momi_bytes_slice(&bytes));
    struct momi_command command;
    CHECK(momi_command_next(&reader, &command));
    CHECK_OK(momi_machine_validate(&world->machine, 7, &command));
    CHECK_ERR(momi_machine_validate(&world->machine, 8, &command), MOM_FORBIDDEN);
    struct momi_command changed = command;
    changed.session.index++;
    CHECK_ERR(momi_machine_validate(&world->machine, 7, &changed), MOM_FORBIDDEN);
    changed = command;
    changed.version = 9;
    CHECK_ERR(momi_machine_validate(&world->machine, 7, &changed), MOM_VERSION);
    changed = command;
    changed.number = 0;
    CHECK_ERR(momi_machine_validate(&world->machine, 7, &changed), MOM_INVALID);
    static const uint8_t leaders[] = {CMD_SESSION_OPEN, CMD_SESSION_EXPIRE, CMD_TICK,
                                      CMD_FILL,         CMD_REFUSE,         77};
    for (size_t i = 0; i < sizeof leaders; i++) {
        changed = command;
        changed.type = leaders[i];
        CHECK_ERR(momi_machine_validate(&world->machine, 7, &changed), MOM_FORBIDDEN);
    }
    momi_bytes_free(&bytes);
    world_free(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_same_opening_is_the_same_session),
        TEST(a_later_opening_ends_the_older_session),
        TEST(a_command_without_session_changes_nothing),
        TEST(numbers_are_applied_once_and_without_gaps),
        TEST(answered_results_are_forgotten),
        TEST(kept_results_are_bounded),
        TEST(a_refusal_takes_the_number),
        TEST(what_does_not_parse_is_invalid),
        TEST(a_closed_session_takes_its_own_along),
        TEST(an_expired_session_loses_its_consumers),
        TEST(sessions_are_limited),
        TEST(a_leader_refuses_before_it_proposes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
