/* SPDX-License-Identifier: Apache-2.0 */
/* Reads of the state machine, its records when they are damaged, and apply without
 * memory. */
#include "unit/machine_fixture.h"

#include "core/info.h"

static const struct momi_stream_options plain;
static const char *const trades[] = {"eu.dax", "eu.cac", "us.dow", "eu.dax", "us.spx"};

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

/* --- queries ---------------------------------------------------------------------- */

static void streams_are_described_and_listed_in_pages(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    char name[16];
    for (unsigned i = 0; i < 25; i++) {
        snprintf(name, sizeof name, "q%02u", i * 7 % 25);
        CHECK_OK(create(&client, MOMI_KIND_QUEUE, name, plain).error);
    }
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    CHECK_OK(publish(&client, "q03", 5).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q03", "", 1, 2).error);
    struct momi_subscription_create sub = subscription("s", "a.*");
    CHECK_OK(subscribe(&client, &sub).error);
    struct momi_arena arena = {0};
    struct momi_info_list list;
    struct momi_bytes bytes = {0};
    struct momi_slice none = momi_slice(NULL, 0);
    CHECK_OK(momi_machine_describe(&world->machine, MOMI_KIND_QUEUE,
                                   momi_slice_str("q03"), none, &bytes));
    CHECK_OK(momi_info_decode(momi_bytes_slice(&bytes), &arena, &list));
    CHECK_EQ(list.streams_count, 1);
    CHECK_EQ(list.streams[0].depth, 3);
    CHECK_EQ(list.streams[0].leased, 2);
    CHECK_EQ(list.streams[0].consumers, 1);
    CHECK_EQ(list.streams[0].first_sequence, 3);
    CHECK_EQ(list.streams[0].next_sequence, 6);
    CHECK_ERR(momi_machine_describe(&world->machine, MOMI_KIND_QUEUE, momi_slice_str("x"),
                                    none, &bytes),
              MOM_NOT_FOUND);
    CHECK_ERR(momi_machine_describe(&world->machine, MOMI_KIND_TOPIC, momi_slice_str("t"),
                                    momi_slice_str("x"), &bytes),
              MOM_NOT_SUBSCRIBED);
    momi_bytes_clear(&bytes);
    CHECK_OK(momi_machine_subscriptions(&world->machine, momi_slice_str("t"), &bytes));
    CHECK_OK(momi_info_decode(momi_bytes_slice(&bytes), &arena, &list));
    CHECK_EQ(list.subscriptions_count, 1);
    CHECK(momi_slice_equal(list.subscriptions[0].filters[0], momi_slice_str("a.*")));
    /* Every queue once, by name. */
    char after[16] = "";
    unsigned seen = 0;
    bool more = true;
    while (more) {
        momi_bytes_clear(&bytes);
        CHECK_OK(momi_machine_list(&world->machine, MOMI_KIND_QUEUE,
                                   momi_slice_str(after), 10, &bytes, &more));
        CHECK_OK(momi_info_decode(momi_bytes_slice(&bytes), &arena, &list));
        CHECK_EQ(list.streams_count, more ? 10 : 5);
        for (size_t i = 0; i < list.streams_count; i++) {
            snprintf(name, sizeof name, "q%02u", seen++);
            CHECK(momi_slice_equal(list.streams[i].name, momi_slice_str(name)));
        }
        snprintf(after, sizeof after, "q%02u", seen - 1);
    }
    CHECK_EQ(seen, 25);
    momi_bytes_free(&bytes);
    momi_arena_free(&arena);
    world_free(world);
}

/* --- checkpoints ------------------------------------------------------------------ */

static void damaged_records_are_refused(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    struct momi_subscription_create sub = subscription("s", "a.#");
    CHECK_OK(subscribe(&client, &sub).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 3).error);
    CHECK_OK(publish(&client, "q", 7).error);
    CHECK_OK(publish_keys(&client, "t", trades, 5).error);
    world_save(world);
    unsigned refused = 0;
    unsigned tried = 0;
    /* Cut each record short, and leave each one out: never a crash, nearly always
     * noticed. */
    for (size_t damaged = 0; damaged < world->records_count; damaged++) {
        size_t size = world->records[damaged].value.size;
        for (size_t cut = 0; cut <= size; cut++) {
            struct momi_machine machine;
            CHECK_OK(momi_machine_init(&machine, WORLD_SHARD, 1, &world->counters));
            bool is_whole = true;
            for (size_t i = 0; is_whole && i < world->records_count; i++) {
                struct momi_slice value = momi_bytes_slice(&world->records[i].value);
                if (i == damaged && cut == size) {
                    continue;
                }
                value.size = i == damaged ? cut : value.size;
                is_whole = momi_machine_load(
                    &machine, momi_bytes_slice(&world->records[i].key), value);
            }
            is_whole = is_whole && momi_machine_loaded(&machine, world->saved_index,
                                                       world->saved_term);
            refused += !is_whole;
            tried++;
            momi_machine_free(&machine);
        }
    }
    CHECK(tried > 300);
    CHECK(refused + 20 >
          tried); /* what a session or consumer alone says may be missing */
    CHECK(!momi_machine_load(&world->machine, momi_slice("z", 1), momi_slice("", 0)));
    CHECK(!momi_machine_load(&world->machine, momi_slice("", 0), momi_slice("", 0)));
    world_free(world);
}

static void flipped_bits_are_refused_or_harmless(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    struct momi_subscription_create sub = subscription("s", "a.#");
    CHECK_OK(subscribe(&client, &sub).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 3).error);
    CHECK_OK(publish(&client, "q", 7).error);
    CHECK_OK(publish_keys(&client, "t", trades, 5).error);
    world_save(world);
    struct momi_rng rng;
    momi_rng_seed(&rng, 3);
    for (unsigned round = 0; round < 20000; round++) {
        size_t at = (size_t)momi_rng_between(&rng, 0, world->records_count - 1);
        struct momi_bytes *value = &world->records[at].value;
        size_t byte = (size_t)momi_rng_between(&rng, 0, value->size - 1);
        uint8_t before = value->data[byte];
        value->data[byte] ^= (uint8_t)(1u << momi_rng_between(&rng, 0, 7));
        struct momi_machine machine;
        CHECK_OK(momi_machine_init(&machine, WORLD_SHARD, 1, &world->counters));
        bool is_whole = true;
        for (size_t i = 0; is_whole && i < world->records_count; i++) {
            is_whole =
                momi_machine_load(&machine, momi_bytes_slice(&world->records[i].key),
                                  momi_bytes_slice(&world->records[i].value));
        }
        if (is_whole &&
            momi_machine_loaded(&machine, world->saved_index, world->saved_term)) {
            momi_machine_check(&machine); /* what is let in is sound */
            (void)momi_machine_hash(&machine);
        }
        momi_machine_free(&machine);
        value->data[byte] = before;
    }
    world_free(world);
}

static void without_memory_nothing_is_applied(void **state) {
    (void)state;
    struct world *world = world_new();
    struct client client = client_open(world, 7);
    CHECK_OK(create(&client, MOMI_KIND_TOPIC, "t", plain).error);
    CHECK_OK(create(&client, MOMI_KIND_QUEUE, "q", plain).error);
    struct momi_subscription_create sub = subscription("s", "eu.*");
    CHECK_OK(subscribe(&client, &sub).error);
    CHECK_OK(attach(&client, MOMI_KIND_QUEUE, "q", "", 1, 1000).error);
    world_save(world);
    /* What was reserved is enough, with an allocator that has nothing left. */
    for (unsigned round = 0; round < 60; round++) {
        put_publish(&client, MOMI_KIND_TOPIC, "t", 0, trades, 5, 10);
        put_publish(&client, MOMI_KIND_QUEUE, "q", 0, NULL, 5, 10);
        put_create(&client, MOMI_KIND_QUEUE, round % 2 == 0 ? "r" : "q", true, plain);
        put_plain(world, CMD_TICK, (struct momi_session_id){0});
        put_open(world, 100 + round, 1, 1);
        struct momi_slice commands = momi_bytes_slice(&world->commands);
        struct momi_buf *buf =
            momi_entry_build(MOMI_ENTRY_COMMANDS, 1, world->elapsed_us, world->wall_us,
                             world->commands_count, 10, &commands, 1);
        assert_non_null(buf);
        struct momi_entry entry;
        CHECK(momi_entry_parse(momi_buf_slice(buf), &entry));
        if (round % 7 == 0) {
            uint64_t before = momi_machine_hash(&world->machine);
            struct momi_reserve kept = world->machine.reserve;
            world->machine.reserve = (struct momi_reserve){0};
            momi_mem_fail_after(0, true);
            CHECK(!momi_machine_reserve(&world->machine, &entry));
            momi_mem_fail_after(-1, false);
            world->machine.reserve = kept;
            CHECK(momi_machine_hash(&world->machine) == before);
        }
        CHECK(momi_machine_reserve(&world->machine, &entry));
        momi_mem_fail_after(0, true);
        momi_machine_apply(&world->machine, world->machine.applied + 1, &entry);
        momi_mem_fail_after(-1, false);
        momi_machine_check(&world->machine);
        momi_buf_release(buf);
        momi_bytes_clear(&world->commands);
        world->commands_count = 0;
    }
    CHECK_EQ(queue_of(world, "q")->leased, 300);
    CHECK_EQ(topic_of(world, "s")->ready.messages, 180);
    world_free(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(streams_are_described_and_listed_in_pages),
        TEST(damaged_records_are_refused),
        TEST(flipped_bits_are_refused_or_harmless),
        TEST(without_memory_nothing_is_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
