/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R9, phase one: how much memory applying an entry could take at worst, and putting that
 * aside before it begins.
 *
 * The bound is generous and cheap: it looks at the headers of commands and at counts of
 * the state, never at single messages. Where a structure grows by doubling, the new table
 * is counted beside the old one. momi_reserve_fill keeps what is there and grows only
 * when the next entry needs more, so in steady state nothing is allocated.
 */
#include "core/machine_internal.h"

enum {
    RESERVE_BASE = 128 << 10,  /* tables that grow by doubling */
    RESERVE_COMMAND = 1 << 10, /* the result, marks, one small record */
    RESERVE_MAKE = 8 << 10,  /* a session, stream, group or consumer with what it owns */
    RESERVE_BLOCK = 5 << 10, /* an unpacked block of runs, with its share of the index */
    RESERVE_RUN = 160, /* one run in one place: itself, and its share of new blocks */
    RESERVE_RUNS_PER_BLOCK =
        32,              /* a new block holds at least so many, once it was split */
    RESERVE_SETTLE = 13, /* bytes of the shortest settlement */
};

/* So many runs put anywhere into a set: blocks that are touched are unpacked, new ones
 * are made. */
static size_t runs_cost(const struct momi_runs *runs, size_t count) {
    size_t blocks = runs->blocks_count < count ? runs->blocks_count : count;
    blocks += count / RESERVE_RUNS_PER_BLOCK + 2;
    return count * RESERVE_RUN + blocks * RESERVE_BLOCK;
}

/* A publish's stream and count, without a look at its records. */
static size_t publish_cost(const struct momi_machine *machine, struct momi_slice body,
                           const struct momi_stream **stream_before) {
    struct momi_reader in = momi_reader(body);
    enum momi_kind kind = (enum momi_kind)momi_get_u8(&in);
    (void)momi_get_u8(&in);
    (void)momi_get_u64(&in);
    struct momi_slice name = momi_get_slice(&in);
    uint32_t count = momi_get_u32(&in);
    if (in.failed || count > MOMI_COMMAND_MESSAGES_MAX) {
        return 0; /* INVALID at apply */
    }
    struct momi_stream *stream = momi_machine_stream(machine, kind, name);
    if (stream == NULL) {
        return RESERVE_MAKE + RESERVE_BLOCK;
    }
    bool is_first = stream != *stream_before;
    *stream_before = stream;
    /* The last blocks are unpacked once for all publishes in a row. A group takes one
     * run, or with filters at worst every second message for itself; each run may be
     * handed out in pieces to several consumers. */
    size_t blocks = is_first ? 2 : 0;
    size_t cost = kind == MOMI_KIND_TOPIC ? (blocks + 1) * RESERVE_BLOCK : 0;
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        bool in_pieces = group->filters_count > 0 || group->ignore_own ||
                         !momi_list_empty(&group->waiting);
        size_t runs = 2 + (in_pieces ? count : 0);
        cost += runs * RESERVE_RUN + blocks * RESERVE_BLOCK +
                runs * RESERVE_BLOCK / RESERVE_RUNS_PER_BLOCK;
    }
    return cost;
}

/* Its leases go back, or to the dead-letter queue. */
static size_t consumer_cost(const struct momi_consumer *consumer) {
    size_t pieces = consumer->leases.count + 2;
    return runs_cost(&consumer->group->ready, pieces) + pieces * 3 * RESERVE_RUN +
           RESERVE_MAKE;
}

static size_t session_cost(const struct momi_session *session) {
    size_t cost = RESERVE_MAKE;
    if (session == NULL) {
        return cost;
    }
    MOMI_LIST_FOR_EACH (link, &session->consumers) {
        cost +=
            consumer_cost(MOMI_CONTAINER_OF(link, struct momi_consumer, session_link));
    }
    MOMI_LIST_FOR_EACH (link, &session->temporary) {
        const struct momi_group *group =
            MOMI_CONTAINER_OF(link, struct momi_group, temporary_link);
        cost += RESERVE_MAKE + RESERVE_BLOCK + group->ready.blocks_count * 32;
    }
    return cost;
}

static size_t stream_cost(const struct momi_stream *stream) {
    size_t cost = RESERVE_MAKE;
    if (stream == NULL) {
        return cost;
    }
    cost += stream->history.blocks_count * 32 + stream->name.size;
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        cost += RESERVE_BLOCK + group->ready.blocks_count * 32;
        MOMI_LIST_FOR_EACH (at, &group->consumers) {
            cost +=
                consumer_cost(MOMI_CONTAINER_OF(at, struct momi_consumer, group_link));
        }
    }
    return cost;
}

/* Both name a consumer first. Settled messages are cut out of leases, and go back into
 * place. */
static size_t consume_cost(const struct momi_machine *machine,
                           const struct momi_command *command) {
    struct momi_session *session = momi_machine_session(machine, command->session);
    struct momi_reader in = momi_reader(command->body);
    uint64_t id = momi_get_u64(&in);
    struct momi_consumer *consumer =
        session == NULL || in.failed ? NULL : momi_machine_consumer(machine, session, id);
    if (consumer == NULL) {
        return 0;
    }
    size_t settles = command->body.size / RESERVE_SETTLE + 1;
    return consumer_cost(consumer) + runs_cost(&consumer->group->ready, settles) +
           settles * 3 * RESERVE_RUN;
}

/* A ring of results that doubles, old and new side by side; once for all commands of a
 * session in a row. */
static size_t results_cost(const struct momi_machine *machine, struct momi_session_id id,
                           uint32_t commands_count) {
    struct momi_session *session = momi_machine_session(machine, id);
    if (session == NULL) {
        return 0;
    }
    size_t more =
        commands_count < MOMI_SESSION_WINDOW ? commands_count : MOMI_SESSION_WINDOW;
    return (session->results.count + more) * 4 * sizeof(struct momi_result);
}

/* Sessions end, or everything is copied: what the state is like decides. */
static size_t command_cost(const struct momi_machine *machine,
                           const struct momi_command *command,
                           const struct momi_stream **stream_before) {
    size_t cost = RESERVE_MAKE + 2 * command->body.size;
    switch (command->type) {
    case CMD_SESSION_OPEN: {
        struct momi_session_open open;
        if (momi_session_open_parse(command->body, &open)) {
            cost += session_cost(momi_machine_session_of(machine, open.node));
        }
        return cost;
    }
    case CMD_SESSION_CLOSE:
    case CMD_SESSION_EXPIRE:
    case CMD_SESSION_DETACH:
        return cost + session_cost(momi_machine_session(machine, command->session));
    case CMD_STREAM_DELETE:
    case CMD_STREAM_PURGE: {
        struct momi_stream_name name;
        if (momi_stream_name_parse(command->body, &name)) {
            cost += stream_cost(momi_machine_stream(machine, name.kind, name.name));
        }
        return cost;
    }
    case CMD_SUBSCRIPTION_CREATE: {
        struct momi_subscription_create create;
        if (momi_subscription_create_parse(command->body, &create)) {
            struct momi_stream *stream =
                momi_machine_stream(machine, MOMI_KIND_TOPIC, create.topic);
            cost += stream == NULL
                        ? 0
                        : runs_cost(&stream->history, (size_t)stream->history.runs);
        }
        return cost;
    }
    case CMD_SUBSCRIPTION_DELETE: {
        struct momi_subscription_name name;
        if (momi_subscription_name_parse(command->body, &name)) {
            cost +=
                stream_cost(momi_machine_stream(machine, MOMI_KIND_TOPIC, name.topic));
        }
        return cost;
    }
    case CMD_PUBLISH:
        return RESERVE_COMMAND + publish_cost(machine, command->body, stream_before);
    case CMD_NOOP:
    case CMD_REFUSE:
        return RESERVE_COMMAND;
    case CMD_CONSUMER_DETACH:
    case CMD_CONSUME:
        return cost + consume_cost(machine, command);
    case CMD_TICK:
        return cost + (size_t)MOMI_TICK_ITEMS_MAX * (3 * RESERVE_RUN + RESERVE_BLOCK);
    case CMD_FILL: {
        struct momi_fill fill;
        if (momi_fill_parse(command->body, &fill)) {
            struct momi_stream *stream = momi_stream_by_id(machine, fill.stream);
            size_t runs = stream == NULL ? 0 : (size_t)stream->history.runs;
            cost += stream == NULL
                        ? 0
                        : runs_cost(&stream->history, runs + fill.ranges_count);
        }
        return cost;
    }
    default:
        return cost;
    }
}

/* How many entries' references a command may change: a lease is of one entry, and a tick
 * or a history's bound drops so many runs; what ends as a whole may be everything. */
static uint64_t entries_touched(const struct momi_machine *machine, uint8_t type) {
    switch (type) {
    case CMD_STREAM_DELETE:
    case CMD_STREAM_PURGE:
    case CMD_SUBSCRIPTION_DELETE:
    case CMD_SUBSCRIPTION_CREATE:
    case CMD_FILL:
    case CMD_SESSION_OPEN:
    case CMD_SESSION_CLOSE:
    case CMD_SESSION_EXPIRE:
        return UINT64_MAX;
    default:
        return machine->leases_bytes / sizeof(struct momi_lease) + MOMI_TICK_ITEMS_MAX;
    }
}

bool momi_machine_reserve(struct momi_machine *machine, const struct momi_entry *entry) {
    if (entry->kind != MOMI_ENTRY_COMMANDS) {
        return true; /* the stamps only */
    }
    size_t cost = RESERVE_BASE + 2 * machine->deleted_records.size +
                  2 * machine->ended.count * sizeof(struct momi_ended) +
                  2 * machine->leases_bytes;
    struct momi_command_reader reader = momi_command_reader(entry->body);
    struct momi_command command;
    struct momi_session_id session = {0};
    const struct momi_stream *stream_before = NULL;
    uint64_t entries = 0;
    while (momi_command_next(&reader, &command)) {
        uint64_t touched = entries_touched(machine, command.type);
        entries = touched > entries ? touched : entries;
        cost += command_cost(machine, &command, &stream_before);
        if (!momi_session_id_equal(session, command.session)) {
            session = command.session;
            cost += results_cost(machine, session, entry->commands_count);
        }
    }
    cost += momi_live_cost(machine->live, entries);
    return momi_reserve_fill(&machine->reserve, cost);
}
