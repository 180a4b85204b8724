/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a leader checks before it proposes a client's command (S3, S4). The answer is a
 * class to refuse with, so that the client learns the reason; the bytes are hostile.
 * Apply checks again whatever decides there: a leader of another make must not be able to
 * break a replica.
 */
#include "core/machine_internal.h"

static int malformed(void) { return momi_err(MOM_INVALID, "a command is malformed"); }

static int validate_create(struct momi_slice body) {
    struct momi_stream_create create;
    if (!momi_stream_create_parse(body, &create)) {
        return malformed();
    }
    int error = momi_name_check(MOMI_NAME_STREAM, create.name);
    if (error == MOM_OK && momi_name_is_system(create.name)) {
        error = momi_err(MOM_FORBIDDEN, "only the system creates names with $");
    }
    return error != MOM_OK ? error : momi_stream_options_check(&create.options);
}

static int validate_name(struct momi_slice body) {
    struct momi_stream_name name;
    if (!momi_stream_name_parse(body, &name)) {
        return malformed();
    }
    return momi_name_check(MOMI_NAME_STREAM, name.name);
}

static int validate_subscribe(struct momi_slice body) {
    struct momi_subscription_create create;
    if (!momi_subscription_create_parse(body, &create)) {
        return malformed();
    }
    int error = momi_name_check(MOMI_NAME_STREAM, create.topic);
    if (error == MOM_OK) {
        error = momi_name_check(MOMI_NAME_SUBSCRIPTION, create.name);
    }
    for (uint32_t i = 0; error == MOM_OK && i < create.filters_count; i++) {
        if (!momi_filter_is_valid(create.filters[i])) {
            error =
                momi_err(MOM_INVALID, "a filter is not words between dots, with * and # "
                                      "only as whole words");
        }
    }
    return error;
}

static int validate_unsubscribe(struct momi_slice body) {
    struct momi_subscription_name name;
    if (!momi_subscription_name_parse(body, &name)) {
        return malformed();
    }
    int error = momi_name_check(MOMI_NAME_STREAM, name.topic);
    return error != MOM_OK ? error : momi_name_check(MOMI_NAME_SUBSCRIPTION, name.name);
}

static int validate_publish(uint64_t node, struct momi_slice body) {
    struct momi_publish publish;
    if (!momi_publish_parse(body, &publish)) {
        return malformed();
    }
    return momi_publish_check(&publish, node);
}

static int validate_attach(struct momi_slice body) {
    struct momi_consumer_attach attach;
    if (!momi_consumer_attach_parse(body, &attach)) {
        return malformed();
    }
    if (attach.lease_us > MOMI_OPTION_US_MAX) {
        return momi_err(MOM_INVALID, "the lease is longer than a hundred years");
    }
    int error = momi_name_check(MOMI_NAME_STREAM, attach.name);
    if (error != MOM_OK) {
        return error;
    }
    if (attach.kind == MOMI_KIND_QUEUE) {
        return attach.subscription.size == 0
                   ? MOM_OK
                   : momi_err(MOM_INVALID, "a queue has no subscriptions");
    }
    return momi_name_check(MOMI_NAME_SUBSCRIPTION, attach.subscription);
}

static int validate_body(uint64_t node, const struct momi_command *command) {
    uint64_t consumer;
    switch (command->type) {
    case CMD_NOOP:
        return command->body.size == 0 ? MOM_OK : malformed();
    case CMD_STREAM_CREATE:
        return validate_create(command->body);
    case CMD_STREAM_DELETE:
    case CMD_STREAM_PURGE:
        return validate_name(command->body);
    case CMD_SUBSCRIPTION_CREATE:
        return validate_subscribe(command->body);
    case CMD_SUBSCRIPTION_DELETE:
        return validate_unsubscribe(command->body);
    case CMD_PUBLISH:
        return validate_publish(node, command->body);
    case CMD_CONSUMER_ATTACH:
        return validate_attach(command->body);
    case CMD_CONSUMER_DETACH:
        return momi_consumer_detach_parse(command->body, &consumer) ? MOM_OK
                                                                    : malformed();
    case CMD_CONSUME:
        return MOM_OK; /* checkout parses all of it before it changes anything */
    default:
        return momi_err(MOM_FORBIDDEN, "only leaders give this command");
    }
}

int momi_machine_validate(const struct momi_machine *machine, uint64_t node,
                          const struct momi_command *command) {
    if (command->version != MOMI_COMMAND_VERSION) {
        return momi_err(MOM_VERSION, "a command of version %u, this is %u",
                        (unsigned)command->version, (unsigned)MOMI_COMMAND_VERSION);
    }
    const struct momi_session *session = momi_machine_session(machine, command->session);
    if (session == NULL || session->node != node) {
        return momi_err(MOM_FORBIDDEN, "not a session of this node");
    }
    if (command->number == 0) {
        return malformed();
    }
    return validate_body(node, command);
}
