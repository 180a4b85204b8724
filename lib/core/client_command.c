/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that are one command each: streams and subscriptions come and go. They keep their
 * place among the publishes of their session, so that "publish, then delete" is just
 * that.
 */
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/filter.h"

static int check_filters(const struct momi_call *call) {
    if (call->filters_count > MOMI_FILTERS_MAX) {
        return momi_err(MOM_INVALID, "%zu filters, at most %u", call->filters_count,
                        MOMI_FILTERS_MAX);
    }
    for (size_t i = 0; i < call->filters_count; i++) {
        if (!momi_filter_is_valid(call->filters[i])) {
            return momi_err(MOM_INVALID, "filter %zu is not valid", i + 1);
        }
    }
    return MOM_OK;
}

int momi_client_command_check(const struct momi_call *call) {
    bool is_subscription =
        call->type == CALL_SUBSCRIPTION_CREATE || call->type == CALL_SUBSCRIPTION_DELETE;
    if (!is_subscription && call->kind != MOMI_KIND_QUEUE &&
        call->kind != MOMI_KIND_TOPIC) {
        return momi_err(MOM_INVALID, "neither a queue nor a topic");
    }
    int error = momi_name_check(MOMI_NAME_STREAM, call->name);
    if (error == MOM_OK && is_subscription) {
        error = momi_name_check(MOMI_NAME_SUBSCRIPTION, call->subscription);
    }
    if (error != MOM_OK) {
        return error;
    }
    bool is_create =
        call->type == CALL_STREAM_CREATE || call->type == CALL_SUBSCRIPTION_CREATE;
    if (is_create && momi_name_is_system(call->name)) {
        return momi_err(MOM_FORBIDDEN, "names that begin with $ belong to the system");
    }
    return call->type == CALL_SUBSCRIPTION_CREATE ? check_filters(call) : MOM_OK;
}

static void put_subscription(struct momi_bytes *out, const struct momi_call *call) {
    struct momi_subscription_create create = {.topic = call->name,
                                              .name = call->subscription,
                                              .filters_count =
                                                  (uint32_t)call->filters_count,
                                              .from = call->from,
                                              .from_value = call->from_value,
                                              .temporary = call->temporary,
                                              .ignore_own = call->ignore_own,
                                              .if_missing = call->if_missing};
    for (size_t i = 0; i < call->filters_count; i++) {
        create.filters[i] = call->filters[i];
    }
    momi_subscription_create_put(out, &create);
}

/* The whole command; returns its type. */
static uint8_t encode(struct momi_bytes *out, const struct momi_call *call) {
    struct momi_stream_name stream = {.kind = call->kind, .name = call->name};
    struct momi_stream_create create = {.kind = call->kind,
                                        .if_missing = call->if_missing,
                                        .name = call->name,
                                        .options = call->options};
    struct momi_subscription_name subscription = {.topic = call->name,
                                                  .name = call->subscription};
    momi_bytes_clear(out);
    (void)momi_command_begin(out, CMD_NOOP, (struct momi_session_id){0}, 0, 0);
    switch (call->type) {
    case CALL_STREAM_CREATE:
        momi_stream_create_put(out, &create);
        return CMD_STREAM_CREATE;
    case CALL_STREAM_DELETE:
        momi_stream_name_put(out, &stream);
        return CMD_STREAM_DELETE;
    case CALL_STREAM_PURGE:
        momi_stream_name_put(out, &stream);
        return CMD_STREAM_PURGE;
    case CALL_SUBSCRIPTION_CREATE:
        put_subscription(out, call);
        return CMD_SUBSCRIPTION_CREATE;
    case CALL_SUBSCRIPTION_DELETE:
        momi_subscription_name_put(out, &subscription);
        return CMD_SUBSCRIPTION_DELETE;
    default:
        return CMD_NOOP;
    }
}

void momi_client_command_start(struct momi_core *core, struct momi_client_shard *shard,
                               struct momi_client_call *call) {
    momi_client_publish_close(shard);
    uint8_t type = encode(&core->client->scratch, &call->call);
    struct momi_client_command *command = momi_client_command_push(core, shard, type);
    if (command == NULL) {
        int error =
            shard->commands.count >= CLIENT_COMMANDS_MAX ? MOM_FULL : MOM_NO_MEMORY;
        momi_client_finish(core, call, error, 0, momi_slice(NULL, 0));
        return;
    }
    command->call = call;
    call->shard = shard;
    call->state = CALL_STATE_COMMAND;
}
