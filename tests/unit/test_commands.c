/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of commands: what is put is parsed, what is cut, longer or changed never harms.
 */
#include "t.h"

#include "base/rng.h"
#include "core/commands.h"

#include <mom/error.h>

static const struct momi_stream_options some_options = {.lease_us = 5 * MOMI_S,
                                                        .deliveries_max = 7,
                                                        .messages_max = 1000,
                                                        .bytes_max = 1 << 20,
                                                        .retention_us = 60 * MOMI_S,
                                                        .retention_bytes = 12345,
                                                        .retention_count = 99,
                                                        .no_dead_letter = true};

static void sessions_and_refusals_come_back(void **state) {
    (void)state;
    struct momi_bytes bytes = {0};
    struct momi_session_open open = {
        .node = 1, .incarnation = 2, .opening = 3, .principal = UINT64_MAX};
    struct momi_session_open opened;
    momi_session_open_put(&bytes, &open);
    CHECK(momi_session_open_parse(momi_bytes_slice(&bytes), &opened));
    CHECK_EQ(opened.node, 1);
    CHECK_EQ(opened.incarnation, 2);
    CHECK_EQ(opened.opening, 3);
    CHECK_EQ(opened.principal, UINT64_MAX);
    for (int error = MOM_INVALID; error >= MOM_VERSION; error--) {
        momi_bytes_clear(&bytes);
        momi_refuse_put(&bytes, error);
        int refused;
        CHECK(momi_refuse_parse(momi_bytes_slice(&bytes), &refused));
        CHECK_EQ(refused, error);
    }
    static const uint8_t none[] = {0, 1, 20, 255};
    for (size_t i = 0; i < sizeof none; i++) {
        int refused;
        CHECK(!momi_refuse_parse(momi_slice(&none[i], 1), &refused));
    }
    momi_bytes_free(&bytes);
}

static void streams_come_back(void **state) {
    (void)state;
    struct momi_bytes bytes = {0};
    struct momi_stream_create create = {.kind = MOMI_KIND_TOPIC,
                                        .if_missing = true,
                                        .name = momi_slice_str("orders"),
                                        .options = some_options};
    momi_stream_create_put(&bytes, &create);
    struct momi_stream_create created;
    CHECK(momi_stream_create_parse(momi_bytes_slice(&bytes), &created));
    CHECK_EQ(created.kind, MOMI_KIND_TOPIC);
    CHECK(created.if_missing);
    CHECK(momi_slice_equal(created.name, create.name));
    CHECK_EQ(created.options.lease_us, some_options.lease_us);
    CHECK_EQ(created.options.deliveries_max, some_options.deliveries_max);
    CHECK_EQ(created.options.messages_max, some_options.messages_max);
    CHECK_EQ(created.options.bytes_max, some_options.bytes_max);
    CHECK_EQ(created.options.retention_us, some_options.retention_us);
    CHECK_EQ(created.options.retention_bytes, some_options.retention_bytes);
    CHECK_EQ(created.options.retention_count, some_options.retention_count);
    CHECK(created.options.no_dead_letter);
    momi_bytes_clear(&bytes);
    momi_stream_name_put(&bytes, &(struct momi_stream_name){.kind = MOMI_KIND_QUEUE,
                                                            .name = momi_slice_str("q")});
    struct momi_stream_name name;
    CHECK(momi_stream_name_parse(momi_bytes_slice(&bytes), &name));
    CHECK_EQ(name.kind, MOMI_KIND_QUEUE);
    CHECK(momi_slice_equal(name.name, momi_slice_str("q")));
    momi_bytes_free(&bytes);
}

static void subscriptions_and_consumers_come_back(void **state) {
    (void)state;
    struct momi_bytes bytes = {0};
    struct momi_subscription_create create = {
        .topic = momi_slice_str("t"),
        .name = momi_slice_str("s"),
        .filters = {momi_slice_str("a.*"), momi_slice_str("#")},
        .filters_count = 2,
        .from = MOMI_FROM_TIME,
        .from_value = 77,
        .temporary = true,
        .if_missing = true};
    momi_subscription_create_put(&bytes, &create);
    struct momi_subscription_create created;
    CHECK(momi_subscription_create_parse(momi_bytes_slice(&bytes), &created));
    CHECK(momi_slice_equal(created.topic, create.topic));
    CHECK(momi_slice_equal(created.name, create.name));
    CHECK_EQ(created.filters_count, 2);
    CHECK(momi_slice_equal(created.filters[0], create.filters[0]));
    CHECK(momi_slice_equal(created.filters[1], create.filters[1]));
    CHECK_EQ(created.from, MOMI_FROM_TIME);
    CHECK_EQ(created.from_value, 77);
    CHECK(created.temporary);
    CHECK(!created.ignore_own);
    CHECK(created.if_missing);
    momi_bytes_clear(&bytes);
    struct momi_consumer_attach attach = {.kind = MOMI_KIND_TOPIC,
                                          .name = momi_slice_str("t"),
                                          .subscription = momi_slice_str("s"),
                                          .consumer = 4,
                                          .lease_us = 5,
                                          .credit = 6};
    momi_consumer_attach_put(&bytes, &attach);
    struct momi_consumer_attach attached;
    CHECK(momi_consumer_attach_parse(momi_bytes_slice(&bytes), &attached));
    CHECK(momi_slice_equal(attached.subscription, attach.subscription));
    CHECK_EQ(attached.consumer, 4);
    CHECK_EQ(attached.lease_us, 5);
    CHECK_EQ(attached.credit, 6);
    momi_bytes_clear(&bytes);
    momi_consumer_detach_put(&bytes, 9);
    uint64_t consumer;
    CHECK(momi_consumer_detach_parse(momi_bytes_slice(&bytes), &consumer));
    CHECK_EQ(consumer, 9);
    momi_bytes_free(&bytes);
}

static bool fill_parses(uint64_t from, uint64_t to, const struct momi_fill_range *ranges,
                        size_t count) {
    struct momi_bytes bytes = {0};
    struct momi_fill fill = {.stream = 1, .group = 2, .from = from, .to = to};
    momi_fill_put(&bytes, &fill, ranges, count);
    struct momi_fill parsed;
    bool is_good = momi_fill_parse(momi_bytes_slice(&bytes), &parsed);
    struct momi_fill_range range;
    for (size_t i = 0; is_good && i < count; i++) {
        CHECK(momi_fill_next(&parsed, &range));
        CHECK_EQ(range.sequence, ranges[i].sequence);
        CHECK_EQ(range.count, ranges[i].count);
    }
    CHECK(!is_good || !momi_fill_next(&parsed, &range));
    momi_bytes_free(&bytes);
    return is_good;
}

static void fills_lie_in_their_range_and_rise(void **state) {
    (void)state;
    CHECK(fill_parses(5, 10, NULL, 0));
    CHECK(!fill_parses(5, 5, NULL, 0));
    CHECK(!fill_parses(6, 5, NULL, 0));
    static const struct momi_fill_range good[] = {{5, 2}, {7, 1}, {9, 1}};
    CHECK(fill_parses(5, 10, good, 3));
    CHECK(!fill_parses(6, 10, good, 3));
    CHECK(!fill_parses(5, 9, good, 3));
    static const struct momi_fill_range overlapping[] = {{5, 2}, {6, 1}};
    CHECK(!fill_parses(5, 10, overlapping, 2));
    static const struct momi_fill_range empty[] = {{5, 0}};
    CHECK(!fill_parses(5, 10, empty, 1));
    static const struct momi_fill_range huge[] = {{6, UINT64_MAX}};
    CHECK(!fill_parses(5, 10, huge, 1));
}

/* Every parser on the same bytes: none may read beyond them (sanitizers watch). */
static unsigned parse_all(struct momi_slice bytes) {
    struct momi_session_open open;
    struct momi_stream_create create;
    struct momi_stream_name name;
    struct momi_subscription_create subscribe;
    struct momi_subscription_name unsubscribe;
    struct momi_consumer_attach attach;
    struct momi_fill fill;
    uint64_t consumer;
    int error;
    return (unsigned)momi_session_open_parse(bytes, &open) +
           (unsigned)momi_stream_create_parse(bytes, &create) +
           (unsigned)momi_stream_name_parse(bytes, &name) +
           (unsigned)momi_subscription_create_parse(bytes, &subscribe) +
           (unsigned)momi_subscription_name_parse(bytes, &unsubscribe) +
           (unsigned)momi_consumer_attach_parse(bytes, &attach) +
           (unsigned)momi_consumer_detach_parse(bytes, &consumer) +
           (unsigned)momi_fill_parse(bytes, &fill) +
           (unsigned)momi_refuse_parse(bytes, &error);
}

static void cut_long_and_random_bodies_are_refused(void **state) {
    (void)state;
    struct momi_bytes bytes = {0};
    momi_stream_create_put(&bytes,
                           &(struct momi_stream_create){.kind = MOMI_KIND_QUEUE,
                                                        .name = momi_slice_str("q"),
                                                        .options = some_options});
    struct momi_stream_create created;
    for (size_t size = 0; size < bytes.size; size++) {
        uint8_t *copy = malloc(size + 1); /* at the very end of a block */
        assert_non_null(copy);
        memcpy(copy, bytes.data, size);
        CHECK(!momi_stream_create_parse(momi_slice(copy, size), &created));
        free(copy);
    }
    momi_put_u8(&bytes, 0);
    CHECK(!momi_stream_create_parse(momi_bytes_slice(&bytes), &created));
    momi_bytes_free(&bytes);
    struct momi_rng rng;
    momi_rng_seed(&rng, 17);
    unsigned parsed = 0;
    for (unsigned round = 0; round < 50000; round++) {
        size_t size = (size_t)momi_rng_between(&rng, 0, 60);
        uint8_t *random = malloc(size + 1);
        assert_non_null(random);
        for (size_t i = 0; i < size; i++) {
            random[i] = (uint8_t)momi_rng_between(&rng, 0, i < 3 ? 4 : 255);
        }
        parsed += parse_all(momi_slice(random, size));
        free(random);
    }
    CHECK(parsed > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(sessions_and_refusals_come_back),
        TEST(streams_come_back),
        TEST(subscriptions_and_consumers_come_back),
        TEST(fills_lie_in_their_range_and_rise),
        TEST(cut_long_and_random_bodies_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
