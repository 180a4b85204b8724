/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams, publishing, subscriptions and retention of the state machine.
 * Consumers and leases have their own tests.
 */
#include "unit/machine_fixture.h"

static const struct momi_stream_options plain;

static struct momi_group *queue_of(const struct world *world, const char *name) {
    return group_of(world, MOMI_KIND_QUEUE, name, "");
}

static struct momi_group *topic_of(const struct world *world, const char *subscription) {
    return group_of(world, MOMI_KIND_TOPIC, "t", subscription);
}

static struct momi_subscription_create subscription(const char *name,
                                                    const char *filter) {
    struct momi_subscription_create create_ = {.topic = momi_slice_str("t"),
                                               .name = momi_slice_str(name)};
    if (filter != NULL) {
        create_.filters[0] = momi_slice_str(filter);
        create_.filters_count = 1;
    }
    return create_;
}

/* --- streams ---------------------------------------------------------------------- */

static void streams_are_created_once(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    struct momi_result made = create(&client, MOMI_KIND_QUEUE, "q", plain);
    CHECK_OK(made.error);
    const struct momi_stream *stream = stream_of(world, MOMI_KIND_QUEUE, "q");
    CHECK_EQ(made.value, stream->id);
    CHECK_EQ(stream->options.lease_us, MOMI_LEASE_DEFAULT_US);
    CHECK_EQ(stream->options.deliveries_max, MOMI_DELIVERIES_DEFAULT);
    CHECK_EQ(stream->creator, 7);
    CHECK_ERR(create(&client, MOMI_KIND_QUEUE, "q", plain).error, MOM_EXISTS);
    put_create(&client, MOMI_KIND_QUEUE, "q", true, plain);
    struct momi_result again = commit(&client);
    CHECK_OK(again.error);
    CHECK_EQ(again.value, made.value);
    /* The default, said aloud, is the same. */
    put_create(&client, MOMI_KIND_QUEUE, "q", true,
               (struct momi_stream_options){.lease_us = MOMI_LEASE_DEFAULT_US});
    CHECK_OK(commit(&client).error);
    put_create(&client, MOMI_KIND_QUEUE, "q", true,
               (struct momi_stream_options){.messages_max = 4});
    CHECK_ERR(commit(&client).error, MOM_CONFLICT);
    /* A topic of the same name is another stream. */
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "q", plain).error);
    CHECK_ERR(create(&client, MOMI_KIND_QUEUE, "$dead/queue/q", plain).error,
              MOM_FORBIDDEN);
    CHECK_ERR(create(&client, MOMI_KIND_QUEUE, "", plain).error, MOM_INVALID);
    CHECK_ERR(create(&client, MOMI_KIND_QUEUE, "a\n", plain).error, MOM_INVALID);
    CHECK_ERR(create(&client, MOMI_KIND_QUEUE, "r",
                     (struct momi_stream_options){.lease_us = UINT64_MAX})
                  .error,
              MOM_INVALID);
    CHECK_EQ(world->machine.streams_count, 2);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void a_deleted_stream_ends_its_consumers(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    CHECK_OK(publish(&client, "q", 5).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 3, 2).error);
    world_save(world);
    CHECK_EQ(momi_live_count(world->machine.live), 1);
    CHECK_OK(name_command(&client, CMD_STREAM_DELETE, MOMI_KIND_QUEUE, "q").error);
    CHECK(stream_of(world, MOMI_KIND_QUEUE, "q") == NULL);
    CHECK_EQ(world->machine.consumers_count, 0);
    CHECK_EQ(momi_live_count(world->machine.live), 0);
    CHECK_EQ(world->machine.ended.count, 1);
    const struct momi_ended *ended = momi_ring_at(&world->machine.ended, 0);
    CHECK_EQ(ended->consumer, 3);
    CHECK_ERR(ended->error, MOM_NOT_FOUND);
    CHECK_ERR(name_command(&client, CMD_STREAM_DELETE, MOMI_KIND_QUEUE, "q").error,
              MOM_NOT_FOUND);
    CHECK_ERR(publish(&client, "q", 1).error, MOM_NOT_FOUND);
    CHECK_ERR(attach(&client, MOMI_KIND_QUEUE, "q", "", 3, 2).error, MOM_NOT_FOUND);
    world_check_restart(world);
    world_save(world);
    /* The machine and the session are left. */
    for (size_t i = 0; i < world->records_count; i++) {
        uint8_t letter = world->records[i].key.data[0];
        CHECK(letter == 'm' || letter == 'a' || letter == 'e');
    }
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    CHECK_EQ(publish(&client, "q", 1).value, 1);
    world_check_restart(world);
    world_free(world);
}

static void a_purge_drops_what_waits(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    CHECK_OK(publish(&client, "q", 5).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 3, 2).error);
    struct momi_result purged =
        name_command(&client, CMD_STREAM_PURGE, MOMI_KIND_QUEUE, "q");
    CHECK_OK(purged.error);
    CHECK_EQ(purged.value, 3);
    CHECK_EQ(queue_of(world, "q")->leased, 2); /* leases stay */
    CHECK_EQ(queue_of(world, "q")->ready.messages, 0);
    CHECK_EQ(publish(&client, "q", 1).value, 6);
    CHECK_ERR(name_command(&client, CMD_STREAM_PURGE, MOMI_KIND_TOPIC, "q").error,
              MOM_NOT_FOUND);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

enum { LARGE = 8000 };

/* More runs than one slice takes. */
static void fill_large(struct client *client) {
    enum { PER_ENTRY = LARGE / 4 };
    for (int i = 0; i < LARGE / PER_ENTRY; i++) {
        for (int j = 0; j < PER_ENTRY; j++) {
            /* Every second message goes elsewhere, so that no run continues. */
            put_publish(client, MOMI_KIND_QUEUE, "large", 0, NULL, 1, 1);
            put_publish(client, MOMI_KIND_QUEUE, "other", 0, NULL, 1, 1);
        }
        CHECK_OK(commit(client).error);
    }
}

static uint64_t references_of(const struct world *world) {
    uint64_t references = 0;
    struct momi_live_entry entry;
    for (uint64_t index = 0; momi_live_next(world->machine.live, index, &entry);
         index = entry.index + 1) {
        references += entry.references;
    }
    return references;
}

static void what_is_large_goes_at_once_and_is_let_go_of_in_slices(void **state) {
    (void)state;
    static const uint8_t ways[] = {CMD_STREAM_PURGE, CMD_STREAM_DELETE};
    for (size_t way = 0; way < sizeof ways; way++) {
        struct world *world = world_new();
        struct client client = client_open(world, 7);
        CHECK_OK(create(&client, MOMI_KIND_QUEUE, "large", plain).error);
        CHECK_OK(create(&client, MOMI_KIND_QUEUE, "other", plain).error);
        fill_large(&client);
        world_save(world);
        uint64_t before = references_of(world);
        CHECK_EQ(before, 2 * LARGE);
        CHECK_OK(name_command(&client, ways[way], MOMI_KIND_QUEUE, "large").error);
        /* Gone for everybody, and not let go of. */
        CHECK(momi_machine_has_graves(&world->machine));
        CHECK_EQ(references_of(world), before);
        if (ways[way] == CMD_STREAM_PURGE) {
            CHECK_EQ(queue_of(world, "large")->ready.messages, 0);
        } else {
            CHECK(stream_of(world, MOMI_KIND_QUEUE, "large") == NULL);
            CHECK_OK(create(&client, MOMI_KIND_QUEUE, "large", plain).error);
        }
        CHECK_OK(publish(&client, "large", 3).error);
        uint64_t hash = momi_machine_hash(&world->machine);
        size_t slices = 0;
        while (momi_machine_has_graves(&world->machine)) {
            uint64_t left = references_of(world);
            CHECK(momi_machine_bury(&world->machine));
            CHECK(left - references_of(world) < LARGE); /* a slice is bounded */
            momi_machine_check(&world->machine);
            slices++;
        }
        CHECK(slices > 1);
        CHECK_EQ(references_of(world), LARGE + 3);
        CHECK_EQ(momi_machine_hash(&world->machine), hash); /* it is no state */
        world_save(world);
        world_check_restart(world);
        CHECK_EQ(references_of(world), LARGE + 3);
        world_free(world);
    }
}

static void graves_go_with_their_machine(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "large", plain).error);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "other", plain).error);
    fill_large(&client);
    CHECK_OK(name_command(&client, CMD_STREAM_DELETE, MOMI_KIND_QUEUE, "large").error);
    CHECK(momi_machine_has_graves(&world->machine));
    world_free(world); /* LeakSanitizer looks */
}

/* --- publishing ------------------------------------------------------------------- */

static void a_publish_is_whole_or_nothing(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q",
                    (struct momi_stream_options){.messages_max = 5})
                 .error);
    CHECK_EQ(publish(&client, "q", 3).value, 1);
    CHECK_ERR(publish(&client, "q", 3).error, MOM_FULL);
    CHECK_EQ(queue_of(world, "q")->ready.messages, 3);
    CHECK_EQ(publish(&client, "q", 2).value, 4);
    /* Leased ones count as waiting until they are settled. */
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 5).error);
    CHECK_EQ(queue_of(world, "q")->leased, 5);
    CHECK_ERR(publish(&client, "q", 1).error, MOM_FULL);
    struct momi_settle ack = {
        .token = {.epoch = 1, .counter = 1}, .count = 1, .action = MOMI_SETTLE_ACK};
    CHECK_EQ(consume(&client, 1, 5, 5, &ack, 1).value, 1);
    CHECK_EQ(publish(&client, "q", 1).value, 6);
    /* An entry without a message that was taken up is dead from the beginning. */
    CHECK_ERR(publish(&client, "q", 1).error, MOM_FULL);
    struct momi_live_entry entry;
    CHECK(!momi_live_find(world->machine.live, world->machine.applied, &entry));
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void bytes_are_limited_too(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q",
                    (struct momi_stream_options){.bytes_max = 4096})
                 .error);
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 3, 1000);
    CHECK_OK(commit(&client).error);
    CHECK(queue_of(world, "q")->ready_bytes > 3000);
    CHECK(queue_of(world, "q")->ready_bytes < 4096);
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 1, 1000);
    CHECK_ERR(commit(&client).error, MOM_FULL);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 5).error);
    CHECK_EQ(queue_of(world, "q")->ready_bytes, 0);
    CHECK(queue_of(world, "q")->leased_bytes > 3000);
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 1, 1000);
    CHECK_ERR(commit(&client).error, MOM_FULL);
    put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 1, 10);
    CHECK_OK(commit(&client).error);
    world_free(world);
}

static void a_publish_can_create(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    put_publish(&client, MOMI_KIND_QUEUE, "new", MOMI_PUBLISH_CREATE, NULL, 2, 1);
    CHECK_EQ(commit(&client).value, 1);
    CHECK_SEQUENCES(ready_of(queue_of(world, "new")), 1, 2);
    put_publish(&client, MOMI_KIND_QUEUE, "new", MOMI_PUBLISH_CREATE, NULL, 1, 1);
    CHECK_EQ(commit(&client).value, 3);
    put_publish(&client, MOMI_KIND_QUEUE, "$dead/queue/new", MOMI_PUBLISH_CREATE, NULL, 1,
                1);
    CHECK_ERR(commit(&client).error, MOM_FORBIDDEN);
    put_publish(&client, MOMI_KIND_QUEUE, "a\n", MOMI_PUBLISH_CREATE, NULL, 1, 1);
    CHECK_ERR(commit(&client).error, MOM_INVALID);
    /* In another's name. */
    struct client forger = client;
    forger.node = 8;
    put_publish(&forger, MOMI_KIND_QUEUE, "new", 0, NULL, 1, 1);
    CHECK_ERR(commit(&forger).error, MOM_FORBIDDEN);
    CHECK_EQ(world->machine.streams_count, 1);
    world_free(world);
}

static void rejected_messages_move_to_one_place(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 10).error);
    CHECK_OK(publish(&client, "q", 3).error);
    struct momi_settle reject = {
        .token = {.epoch = 1, .counter = 2}, .count = 1, .action = MOMI_SETTLE_REJECT};
    CHECK_EQ(consume(&client, 1, 10, 3, &reject, 1).value, 1);
    const char *dead = "$dead/queue/q";
    CHECK_SEQUENCES(ready_of(queue_of(world, dead)), 1);
    struct momi_run run;
    CHECK(momi_runs_first(&queue_of(world, dead)->ready, &run));
    CHECK_EQ(run.slot, 1); /* the second message of its entry */
    CHECK_EQ(queue_of(world, "q")->dead_lettered, 1);
    CHECK_SEQUENCES(leased_by(consumer_of(&client, 1)), 1, 3);
    world_save(world);
    world_check_restart(world);
    /* It can be consumed; rejected there, it is gone. */
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, dead, "", 2, 10).error);
    reject.token.counter = world->machine.counter;
    CHECK_EQ(consume(&client, 2, 10, 1, &reject, 1).value, 1);
    CHECK_EQ(queue_of(world, dead)->ready.messages + queue_of(world, dead)->leased, 0);
    CHECK_EQ(world->machine.streams_count, 2);
    CHECK_OK(name_command(&client, CMD_STREAM_DELETE, MOMI_KIND_QUEUE, dead).error);
    world_free(world);
}

/* --- topics ----------------------------------------------------------------------- */

static const char *const trades[] = {"eu.dax", "eu.cac", "us.dow", "eu.dax", "us.spx"};

static void keys_are_matched_with_each_subscription(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    struct client other = client_open(world, 8);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    struct momi_subscription_create all = subscription("all", NULL);
    struct momi_subscription_create europe = subscription("europe", "eu.*");
    struct momi_subscription_create both = subscription("both", "eu.dax");
    both.filters[both.filters_count++] = momi_slice_str("us.#");
    struct momi_subscription_create others = subscription("others", NULL);
    others.ignore_own = true;
    CHECK_OK(subscribe(&client, &all).error);
    CHECK_OK(subscribe(&client, &europe).error);
    CHECK_OK(subscribe(&client, &both).error);
    CHECK_OK(subscribe(&client, &others).error);
    CHECK_EQ(publish_keys(&client, "t", trades, 5).value, 1);
    CHECK_EQ(publish_keys(&other, "t", trades + 1, 1).value, 6);
    CHECK_SEQUENCES(ready_of(topic_of(world, "all")), 1, 2, 3, 4, 5, 6);
    CHECK_SEQUENCES(ready_of(topic_of(world, "europe")), 1, 2, 4, 6);
    CHECK_SEQUENCES(ready_of(topic_of(world, "both")), 1, 3, 4, 5);
    CHECK_SEQUENCES(ready_of(topic_of(world, "others")), 6);
    /* Neighbours are one run. */
    CHECK_EQ(topic_of(world, "both")->ready.runs, 2);
    world_save(world);
    world_check_restart(world);
    CHECK_OK(unsubscribe(&client, "t", "all").error);
    CHECK_ERR(unsubscribe(&client, "t", "all").error, MOM_NOT_SUBSCRIBED);
    CHECK_ERR(unsubscribe(&client, "x", "all").error, MOM_NOT_FOUND);
    CHECK_ERR(attach(&client, MOMI_KIND_TOPIC, "t", "all", 1, 1).error,
              MOM_NOT_SUBSCRIBED);
    world_check_restart(world);
    world_free(world);
}

static void one_full_subscription_refuses_the_publish(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t",
                    (struct momi_stream_options){.messages_max = 3})
                 .error);
    struct momi_subscription_create europe = subscription("europe", "eu.#");
    CHECK_OK(subscribe(&client, &europe).error);
    CHECK_OK(publish_keys(&client, "t", trades, 5).error); /* 3 of them */
    CHECK_ERR(publish_keys(&client, "t", trades, 5).error, MOM_FULL);
    CHECK_ERR(publish_keys(&client, "t", trades, 1).error, MOM_FULL);
    CHECK_OK(publish_keys(&client, "t", trades + 2, 1).error); /* matches nothing */
    CHECK_EQ(stream_of(world, MOMI_KIND_TOPIC, "t")->sequence_next, 7);
    CHECK_SEQUENCES(ready_of(topic_of(world, "europe")), 1, 2, 4);
    world_free(world);
}

static void a_deleted_subscription_ends_its_consumers(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    struct momi_subscription_create sub = subscription("s", "a.*");
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    CHECK_OK(subscribe(&client, &sub).error);
    CHECK_OK(attach(&client, MOMI_KIND_TOPIC, "t", "s", 3, 2).error);
    uint64_t group = topic_of(world, "s")->id;
    CHECK_OK(unsubscribe(&client, "t", "s").error);
    CHECK_EQ(world->machine.ended.count, 1);
    const struct momi_ended *ended = momi_ring_at(&world->machine.ended, 0);
    CHECK_EQ(ended->consumer, 3);
    CHECK_ERR(ended->error, MOM_NOT_SUBSCRIBED);
    /* Who was not connected then, and comes back to another one of that name. */
    CHECK_OK(subscribe(&client, &sub).error);
    CHECK_ERR(attach_to(&client, MOMI_KIND_TOPIC, "t", "s", 3, 2, group).error,
              MOM_NOT_SUBSCRIBED);
    world_free(world);
}

static void subscriptions_are_created_once(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    struct momi_subscription_create sub = subscription("s", "a.*");
    CHECK_ERR(subscribe(&client, &sub).error, MOM_NOT_FOUND);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    struct momi_result made = subscribe(&client, &sub);
    CHECK_OK(made.error);
    CHECK_ERR(subscribe(&client, &sub).error, MOM_EXISTS);
    sub.if_missing = true;
    CHECK_EQ(subscribe(&client, &sub).value, made.value);
    CHECK_OK(result_of(&client, client.number).error);
    struct momi_subscription_create changed = sub;
    changed.filters[0] = momi_slice_str("b.*");
    CHECK_ERR(subscribe(&client, &changed).error, MOM_CONFLICT);
    changed = sub;
    changed.filters_count = 0;
    CHECK_ERR(subscribe(&client, &changed).error, MOM_CONFLICT);
    changed = sub;
    changed.ignore_own = true;
    CHECK_ERR(subscribe(&client, &changed).error, MOM_CONFLICT);
    changed = sub;
    changed.temporary = true;
    CHECK_ERR(subscribe(&client, &changed).error, MOM_CONFLICT);
    changed = subscription("x", "a*");
    CHECK_ERR(subscribe(&client, &changed).error, MOM_INVALID);
    changed = subscription("a/b", NULL);
    CHECK_ERR(subscribe(&client, &changed).error, MOM_INVALID);
    changed = subscription("late", NULL);
    changed.from = MOMI_FROM_SEQUENCE;
    changed.from_value = 2;
    CHECK_ERR(subscribe(&client, &changed).error, MOM_INVALID); /* 1 is the next */
    changed.from_value = 1;
    CHECK_OK(subscribe(&client, &changed).error);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void a_subscription_starts_where_it_says(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    uint64_t start_us = world->wall_us;
    for (unsigned i = 0; i < 6; i++) {
        CHECK_OK(publish_keys(&client, "t", NULL, 2).error);
        world->wall_us += 10 * MOMI_S;
        world->elapsed_us += 10 * MOMI_S;
    }
    struct momi_subscription_create sub = subscription("new", NULL);
    CHECK_OK(subscribe(&client, &sub).error);
    sub = subscription("first", NULL);
    sub.from = MOMI_FROM_FIRST;
    CHECK_OK(subscribe(&client, &sub).error);
    sub = subscription("five", NULL);
    sub.from = MOMI_FROM_SEQUENCE;
    sub.from_value = 5;
    CHECK_OK(subscribe(&client, &sub).error);
    sub = subscription("later", NULL);
    sub.from = MOMI_FROM_TIME;
    sub.from_value = start_us + 35 * MOMI_S;
    CHECK_OK(subscribe(&client, &sub).error);
    CHECK_OK(publish_keys(&client, "t", NULL, 1).error);
    CHECK_SEQUENCES(ready_of(topic_of(world, "new")), 13);
    CHECK_SEQUENCES(ready_of(topic_of(world, "first")), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
                    12, 13);
    CHECK_SEQUENCES(ready_of(topic_of(world, "five")), 5, 6, 7, 8, 9, 10, 11, 12, 13);
    /* 30 s had the mark before: all of it may be as late as the next mark. */
    CHECK_SEQUENCES(ready_of(topic_of(world, "later")), 7, 8, 9, 10, 11, 12, 13);
    CHECK(momi_list_empty(&world->machine.filling));
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void the_past_is_filled_in_before_the_present(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    CHECK_OK(publish_keys(&client, "t", trades, 5).error);
    struct momi_subscription_create sub = subscription("europe", "eu.*");
    sub.from = MOMI_FROM_FIRST;
    CHECK_OK(subscribe(&client, &sub).error);
    struct momi_group *group = topic_of(world, "europe");
    CHECK_EQ(group->fill_from, 1);
    CHECK_EQ(group->fill_to, 6);
    CHECK(world->machine.filling.next == &group->fill_link);
    CHECK_OK(attach(&client, MOMI_KIND_TOPIC, "t", "europe", 1, 100).error);
    CHECK_OK(publish_keys(&client, "t", trades, 2).error); /* 6, 7 wait behind */
    CHECK_EQ(group->leased, 0);
    CHECK_SEQUENCES(ready_of(group), 6, 7);
    world_save(world);
    world_check_restart(world);
    group = topic_of(world, "europe");
    const struct momi_fill_range one[] = {{.sequence = 1, .count = 2}};
    fill(world, group, 2, 4, one, 0); /* not the fill position */
    CHECK_EQ(group->fill_from, 1);
    fill(world, group, 1, 3, one, 1);
    CHECK_EQ(group->fill_from, 3);
    CHECK_SEQUENCES(leased_by(consumer_of(&client, 1)), 1, 2);
    fill(world, group, 1, 3, one, 1); /* again: no longer the position */
    CHECK_SEQUENCES(leased_by(consumer_of(&client, 1)), 1, 2);
    world_check_restart(world);
    group = topic_of(world, "europe");
    const struct momi_fill_range two[] = {{.sequence = 4, .count = 1}};
    fill(world, group, 3, 9, two, 1); /* beyond the end */
    CHECK_EQ(group->fill_from, 3);
    fill(world, group, 3, 6, two, 1);
    CHECK_EQ(group->fill_from, group->fill_to);
    CHECK(momi_list_empty(&world->machine.filling));
    CHECK_SEQUENCES(leased_by(consumer_of(&client, 1)), 1, 2, 4, 6, 7);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void fills_of_what_is_gone_do_nothing(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    CHECK_OK(publish_keys(&client, "t", trades, 5).error);
    struct momi_subscription_create sub = subscription("others", NULL);
    sub.from = MOMI_FROM_FIRST;
    sub.ignore_own = true;
    CHECK_OK(subscribe(&client, &sub).error);
    struct momi_group group = *topic_of(world, "others");
    CHECK_EQ(group.fill_to, 6);
    CHECK_EQ(name_command(&client, CMD_STREAM_PURGE, MOMI_KIND_TOPIC, "t").value, 5);
    CHECK(momi_list_empty(&world->machine.filling));
    struct momi_fill_range range = {.sequence = 1, .count = 5};
    fill(world, &group, 1, 6, &range, 1);
    CHECK_EQ(topic_of(world, "others")->ready.messages, 0);
    CHECK_OK(unsubscribe(&client, "t", "others").error);
    fill(world, &group, 1, 6, &range, 1);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

/* --- retention -------------------------------------------------------------------- */

static struct sequences history_of(const struct world *world) {
    struct sequences sequences = {.count = 0};
    momi_runs_each(&stream_of(world, MOMI_KIND_TOPIC, "t")->history, add_sequences,
                   &sequences);
    return sequences;
}

static void history_is_kept_by_count_and_bytes(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t",
                    (struct momi_stream_options){.retention_count = 4})
                 .error);
    CHECK_OK(publish_keys(&client, "t", NULL, 3).error);
    CHECK_OK(publish_keys(&client, "t", NULL, 3).error);
    CHECK_SEQUENCES(history_of(world), 3, 4, 5, 6);
    world_save(world);
    world_check_restart(world);
    CHECK_OK(name_command(&client, CMD_STREAM_DELETE, MOMI_KIND_TOPIC, "t").error);
    CHECK_EQ(momi_live_count(world->machine.live), 0);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t",
                    (struct momi_stream_options){.retention_bytes = 5000})
                 .error);
    for (unsigned i = 0; i < 8; i++) {
        put_publish(&client, MOMI_KIND_TOPIC, "t", 0, NULL, 1, 1000);
        CHECK_OK(commit(&client).error);
    }
    CHECK_SEQUENCES(history_of(world), 5, 6, 7, 8);
    CHECK(stream_of(world, MOMI_KIND_TOPIC, "t")->history_bytes <= 5000);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void history_is_kept_by_age_on_the_elapsed_clock(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t",
                    (struct momi_stream_options){.retention_us = 60 * MOMI_S})
                 .error);
    CHECK(!momi_machine_is_timed(&world->machine));
    CHECK_EQ(momi_machine_due(&world->machine), MOMI_NEVER);
    uint64_t start_us = world->elapsed_us;
    for (unsigned i = 0; i < 4; i++) {
        CHECK_OK(publish_keys(&client, "t", NULL, 1).error);
        world->elapsed_us += 20 * MOMI_S;
        world->wall_us += 20 * MOMI_S;
    }
    CHECK(momi_machine_is_timed(&world->machine));
    /* The first one is at most as old as the second. */
    CHECK_EQ(momi_machine_due(&world->machine), start_us + 80 * MOMI_S);
    world->wall_us += 86400 * MOMI_S; /* the wall clock jumps: nothing expires by it */
    world->elapsed_us = start_us + 80 * MOMI_S - 1;
    tick(world);
    CHECK_SEQUENCES(history_of(world), 1, 2, 3, 4);
    world->elapsed_us = start_us + 80 * MOMI_S;
    tick(world);
    CHECK_SEQUENCES(history_of(world), 2, 3, 4);
    world_save(world);
    world_check_restart(world);
    world->elapsed_us = start_us + 1000 * MOMI_S;
    tick(world);
    CHECK_EQ(history_of(world).count, 0);
    CHECK_EQ(momi_live_count(world->machine.live), 0);
    CHECK_EQ(momi_machine_due(&world->machine), MOMI_NEVER);
    world_save(world);
    world_check_restart(world);
    world_free(world);
}

static void time_marks_are_bounded(void **state) {
    enum { COUNT = 1500 }; /* more than there are marks */
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    uint64_t start_us = world->wall_us;
    for (unsigned i = 0; i < COUNT; i++) {
        put_publish(&client, MOMI_KIND_TOPIC, "t", 0, NULL, 1, 10);
        client.answered = client.number - 1;
        CHECK_OK(commit(&client).error);
        world->wall_us += 2 * MOMI_S;
        world->elapsed_us += 2 * MOMI_S;
    }
    const struct momi_stream *stream = stream_of(world, MOMI_KIND_TOPIC, "t");
    CHECK(stream->marks.count <= 1024);
    CHECK(stream->marks.count >= 128);
    world_save(world);
    world_check_restart(world);
    stream = stream_of(world, MOMI_KIND_TOPIC, "t");
    /* Never later than asked for; the younger, the closer. */
    for (unsigned back = 1; back < COUNT; back += 37) {
        struct momi_subscription_create sub = subscription("s", NULL);
        sub.from = MOMI_FROM_TIME;
        sub.from_value =
            start_us + (COUNT - back) * 2 * MOMI_S; /* of message COUNT + 1 - back */
        CHECK_OK(subscribe(&client, &sub).error);
        struct momi_run first;
        CHECK(momi_runs_first(&topic_of(world, "s")->ready, &first));
        CHECK(first.sequence <= COUNT + 1 - back);
        CHECK(first.sequence + 2 + back / 8 >= COUNT + 1 - back);
        CHECK_OK(unsubscribe(&client, "t", "s").error);
    }
    world_free(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(streams_are_created_once),
        TEST(a_deleted_stream_ends_its_consumers),
        TEST(a_purge_drops_what_waits),
        TEST(what_is_large_goes_at_once_and_is_let_go_of_in_slices),
        TEST(graves_go_with_their_machine),
        TEST(a_publish_is_whole_or_nothing),
        TEST(bytes_are_limited_too),
        TEST(a_publish_can_create),
        TEST(rejected_messages_move_to_one_place),
        TEST(keys_are_matched_with_each_subscription),
        TEST(one_full_subscription_refuses_the_publish),
        TEST(a_deleted_subscription_ends_its_consumers),
        TEST(subscriptions_are_created_once),
        TEST(a_subscription_starts_where_it_says),
        TEST(the_past_is_filled_in_before_the_present),
        TEST(fills_of_what_is_gone_do_nothing),
        TEST(history_is_kept_by_count_and_bytes),
        TEST(history_is_kept_by_age_on_the_elapsed_clock),
        TEST(time_marks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
