/* SPDX-License-Identifier: Apache-2.0 */
/* What a leader refuses before it takes it into the log (S3): clients check the same, but
 * a peer's word is not trusted. */
#include "machine_fixture.h"

#include "core/authorize.h"
#include "core/machine_internal.h"

static struct world *world;
static struct client client;

static int validate(uint8_t type, struct momi_slice body) {
    struct momi_command command = {.type = type,
                                   .version = MOMI_COMMAND_VERSION,
                                   .session = client.id,
                                   .number = 1,
                                   .body = body};
    return momi_machine_validate(&world->machine, client.node, &command);
}

static bool has_action(uint8_t type, struct momi_slice body) {
    struct momi_command command = {.type = type,
                                   .version = MOMI_COMMAND_VERSION,
                                   .session = client.id,
                                   .number = 1,
                                   .body = body};
    enum momi_action action;
    struct momi_object object = {.type = MOMI_OBJECT_MESH};
    return momi_command_action(&world->machine, &command, &action, &object);
}

/* It is good as a whole, and malformed when any of its end is missing. */
static void check_prefixes(uint8_t type, struct momi_bytes *body) {
    struct momi_slice whole = momi_bytes_slice(body);
    CHECK_OK(validate(type, whole));
    CHECK(has_action(type, whole));
    for (size_t size = 0; size < whole.size; size++) {
        CHECK_ERR(validate(type, momi_slice(whole.data, size)), MOM_INVALID);
        CHECK(!has_action(type, momi_slice(whole.data, size)));
    }
    momi_bytes_free(body);
}

static void refused(uint8_t type, struct momi_bytes *body, int error) {
    CHECK_ERR(validate(type, momi_bytes_slice(body)), error);
    momi_bytes_free(body);
}

static void begin_world(void) {
    world = world_new();
    client = client_open(world, 7);
}

static void end_world(void) {
    world_free(world);
    CHECK_EQ(momi_mem_live(), 0);
}

static void a_command_without_its_end_is_refused(void **state) {
    (void)state;
    begin_world();
    struct momi_slice name = momi_slice_str("q");
    struct momi_slice topic = momi_slice_str("t");
    struct momi_bytes body = {.data = NULL};
    momi_stream_create_put(
        &body, &(struct momi_stream_create){.kind = MOMI_KIND_QUEUE, .name = name});
    check_prefixes(CMD_STREAM_CREATE, &body);
    struct momi_stream_name stream = {.kind = MOMI_KIND_QUEUE, .name = name};
    momi_stream_name_put(&body, &stream);
    check_prefixes(CMD_STREAM_DELETE, &body);
    momi_stream_name_put(&body, &stream);
    check_prefixes(CMD_STREAM_PURGE, &body);
    momi_subscription_create_put(
        &body, &(struct momi_subscription_create){.topic = topic,
                                                  .name = momi_slice_str("s"),
                                                  .filters = {momi_slice_str("a.#")},
                                                  .filters_count = 1});
    check_prefixes(CMD_SUBSCRIPTION_CREATE, &body);
    momi_subscription_name_put(&body, &(struct momi_subscription_name){
                                          .topic = topic, .name = momi_slice_str("s")});
    check_prefixes(CMD_SUBSCRIPTION_DELETE, &body);
    momi_consumer_attach_put(
        &body, &(struct momi_consumer_attach){
                   .kind = MOMI_KIND_QUEUE, .name = name, .consumer = 1, .credit = 1});
    check_prefixes(CMD_CONSUMER_ATTACH, &body);
    CHECK_ERR(validate(CMD_PUBLISH, momi_slice(NULL, 0)), MOM_INVALID);
    CHECK_OK(validate(CMD_NOOP, momi_slice(NULL, 0)));
    CHECK_ERR(validate(CMD_NOOP, name), MOM_INVALID);
    end_world();
}

static void values_beyond_their_limits_are_refused(void **state) {
    (void)state;
    begin_world();
    struct momi_bytes body = {.data = NULL};
    struct momi_stream_create create = {.kind = MOMI_KIND_QUEUE,
                                        .name = momi_slice_str("$dead/queue/q")};
    momi_stream_create_put(&body, &create);
    refused(CMD_STREAM_CREATE, &body, MOM_FORBIDDEN);
    create.name = momi_slice_str("q");
    create.options.lease_us = MOMI_OPTION_US_MAX + 1;
    momi_stream_create_put(&body, &create);
    refused(CMD_STREAM_CREATE, &body, MOM_INVALID);
    create.options = (struct momi_stream_options){.retention_us = MOMI_OPTION_US_MAX + 1};
    create.kind = MOMI_KIND_TOPIC;
    momi_stream_create_put(&body, &create);
    refused(CMD_STREAM_CREATE, &body, MOM_INVALID);

    struct momi_subscription_create subscription = {
        .topic = momi_slice_str("t"),
        .name = momi_slice_str("s"),
        .filters = {momi_slice_str("a"), momi_slice_str("a.b*")},
        .filters_count = 2};
    momi_subscription_create_put(&body, &subscription);
    refused(CMD_SUBSCRIPTION_CREATE, &body, MOM_INVALID);

    struct momi_consumer_attach attach = {.kind = MOMI_KIND_QUEUE,
                                          .name = momi_slice_str("q"),
                                          .consumer = 1,
                                          .lease_us = MOMI_OPTION_US_MAX + 1};
    momi_consumer_attach_put(&body, &attach);
    refused(CMD_CONSUMER_ATTACH, &body, MOM_INVALID);
    attach.lease_us = 0;
    attach.subscription = momi_slice_str("s");
    momi_consumer_attach_put(&body, &attach);
    refused(CMD_CONSUMER_ATTACH, &body, MOM_INVALID);
    attach.subscription = momi_slice(NULL, 0);
    attach.name = momi_slice(NULL, 0);
    momi_consumer_attach_put(&body, &attach);
    refused(CMD_CONSUMER_ATTACH, &body, MOM_INVALID);
    end_world();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_command_without_its_end_is_refused),
        TEST(values_beyond_their_limits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
