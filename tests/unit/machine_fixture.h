/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A state machine of a shard with its log and its checkpoint records in memory, for the
 * tests of machine*.c, session.c, streams.c, subscription.c, publish.c and checkout.c:
 * commands go through real entries, checkpoints through real batches into a map of
 * records, and a restart loads that map and replays the log behind it.
 */
#ifndef MOM_TESTS_MACHINE_FIXTURE_H
#define MOM_TESTS_MACHINE_FIXTURE_H

#include "t.h"

#include "base/batch.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/checkout.h"
#include "core/commands.h"
#include "core/filter.h"
#include "core/keys.h"
#include "core/live.h"
#include "core/machine.h"
#include "core/mutant.h"

#include <mom/error.h>

enum { WORLD_SHARD = 3, WORLD_SIDE = 1, STATE_PREFIX = 5 /* shard, side */ };

struct world_record {
    struct momi_bytes key; /* owned, as both */
    struct momi_bytes value;
};

struct world {
    struct momi_machine machine;
    struct momi_core_counters counters;
    struct momi_buf **log; /* log[index - 1]; owned */
    size_t log_count;
    size_t log_room;
    struct world_record *records; /* by rising key; owned */
    size_t records_count;
    size_t records_room;
    uint64_t saved_index; /* applied index of the checkpoint; 0: none */
    uint64_t saved_term;
    struct momi_bytes commands; /* of the entry being put together */
    uint32_t commands_count;
    uint64_t elapsed_us;
    uint64_t wall_us;
    uint64_t term;
    bool is_starved; /* apply gets nothing from the allocator: the reserve must do (R9) */
};

static inline struct world *world_new(void) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    CHECK_OK(momi_machine_init(&world->machine, WORLD_SHARD, 1, &world->counters));
    world->term = 1;
    world->elapsed_us = 1000;
    world->wall_us = 1700000000 * MOMI_S;
    return world;
}

static inline void world_free(struct world *world) {
    momi_machine_free(&world->machine);
    for (size_t i = 0; i < world->log_count; i++) {
        momi_buf_release(world->log[i]);
    }
    free(world->log);
    for (size_t i = 0; i < world->records_count; i++) {
        momi_bytes_free(&world->records[i].key);
        momi_bytes_free(&world->records[i].value);
    }
    free(world->records);
    momi_bytes_free(&world->commands);
    free(world);
}

static inline void world_apply(struct world *world, uint64_t index) {
    struct momi_entry entry;
    CHECK(momi_entry_parse(momi_buf_slice(world->log[index - 1]), &entry));
    CHECK(momi_machine_reserve(&world->machine, &entry));
    momi_mem_fail_after(world->is_starved ? 0 : -1, true);
    momi_machine_apply(&world->machine, index, &entry);
    momi_mem_fail_after(-1, false);
    momi_machine_check(&world->machine);
}

/* Makes an entry of the commands put so far, appends and applies it; returns its index.
 */
static inline uint64_t world_commit(struct world *world) {
    if (world->log_count == world->log_room) {
        world->log_room = world->log_room == 0 ? 64 : 2 * world->log_room;
        world->log = realloc(world->log, world->log_room * sizeof(struct momi_buf *));
        assert_non_null(world->log);
    }
    CHECK(!world->commands.failed);
    struct momi_slice commands = momi_bytes_slice(&world->commands);
    uint32_t slots = 0;
    struct momi_command_reader reader = momi_command_reader(commands);
    struct momi_command command;
    while (momi_command_next(&reader, &command)) {
        struct momi_publish publish;
        if (command.type == CMD_PUBLISH && momi_publish_parse(command.body, &publish)) {
            slots += publish.count;
        }
    }
    CHECK(!reader.failed);
    struct momi_buf *buf =
        momi_entry_build(MOMI_ENTRY_COMMANDS, world->term, world->elapsed_us,
                         world->wall_us, world->commands_count, slots, &commands, 1);
    assert_non_null(buf);
    world->log[world->log_count++] = buf;
    momi_bytes_clear(&world->commands);
    world->commands_count = 0;
    world_apply(world, world->log_count);
    return world->log_count;
}

/* --- the store -------------------------------------------------------------------- */

static inline size_t world_find(const struct world *world, struct momi_slice key,
                                bool *found) {
    size_t low = 0;
    size_t high = world->records_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order =
            momi_slice_compare(momi_bytes_slice(&world->records[middle].key), key);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = false;
    return low;
}

static inline void world_put(struct world *world, struct momi_slice key,
                             struct momi_slice value) {
    bool found;
    size_t at = world_find(world, key, &found);
    if (!found) {
        if (world->records_count == world->records_room) {
            world->records_room = world->records_room == 0 ? 64 : 2 * world->records_room;
            world->records =
                realloc(world->records, world->records_room * sizeof *world->records);
            assert_non_null(world->records);
        }
        memmove(world->records + at + 1, world->records + at,
                (world->records_count - at) * sizeof *world->records);
        world->records[at] = (struct world_record){.key = {0}};
        momi_bytes_append(&world->records[at].key, key.data, key.size);
        world->records_count++;
    }
    momi_bytes_clear(&world->records[at].value);
    momi_bytes_append(&world->records[at].value, value.data, value.size);
}

static inline void world_delete(struct world *world, struct momi_slice key) {
    bool found;
    size_t at = world_find(world, key, &found);
    if (!found) {
        return;
    }
    momi_bytes_free(&world->records[at].key);
    momi_bytes_free(&world->records[at].value);
    world->records_count--;
    memmove(world->records + at, world->records + at + 1,
            (world->records_count - at) * sizeof *world->records);
}

static inline void world_save(struct world *world) {
    struct momi_batch batch = {0};
    while (momi_machine_has_graves(&world->machine)) { /* as a checkpoint waits */
        CHECK(momi_machine_bury(&world->machine));
    }
    momi_machine_save(&world->machine, WORLD_SIDE, &batch);
    CHECK(!batch.failed);
    for (size_t i = 0; i < momi_batch_count(&batch); i++) {
        struct momi_batch_view view = momi_batch_at(&batch, i);
        if (view.family != MOMI_FAMILY_STATE) {
            continue;
        }
        CHECK(view.key.size > STATE_PREFIX);
        struct momi_slice key =
            momi_slice(view.key.data + STATE_PREFIX, view.key.size - STATE_PREFIX);
        if (view.kind == MOMI_BATCH_PUT) {
            world_put(world, key, view.value);
        } else {
            CHECK_EQ(view.kind, MOMI_BATCH_DELETE);
            world_delete(world, key);
        }
    }
    momi_batch_free(&batch);
    world->saved_index = world->machine.applied;
    world->saved_term = world->machine.applied_term;
}

/* What is in the store as a machine; `applied` entries of the log follow. */
static inline void world_load(struct world *world) {
    momi_machine_free(&world->machine);
    CHECK_OK(momi_machine_init(&world->machine, WORLD_SHARD, 1, &world->counters));
    for (size_t i = 0; i < world->records_count; i++) {
        CHECK(momi_machine_load(&world->machine, momi_bytes_slice(&world->records[i].key),
                                momi_bytes_slice(&world->records[i].value)));
    }
    CHECK(momi_machine_loaded(&world->machine, world->saved_index, world->saved_term));
    momi_machine_check(&world->machine);
}

static inline void world_restart(struct world *world) {
    uint64_t applied = world->machine.applied;
    world_load(world);
    for (uint64_t index = world->saved_index + 1; index <= applied; index++) {
        world_apply(world, index);
    }
}

/* A restart changes nothing that a hash can see. */
static inline void world_check_restart(struct world *world) {
    uint64_t before = momi_machine_hash(&world->machine);
    world_restart(world);
    assert_true(momi_machine_hash(&world->machine) == before);
}

/* --- commands --------------------------------------------------------------------- */

/* A client of the shard: its session and its numbers. */
struct client {
    struct world *world;
    uint64_t node;
    struct momi_session_id id;
    uint64_t number;   /* of the last command sent */
    uint64_t answered; /* told with the next command */
};

static inline size_t begin(struct client *client, uint8_t type) {
    client->number++;
    client->world->commands_count++;
    return momi_command_begin(&client->world->commands, type, client->id, client->number,
                              client->answered);
}

static inline void end(struct world *world, size_t offset) {
    momi_command_finish(&world->commands, offset);
}

/* A leader's own command with an empty body. */
static inline void put_plain(struct world *world, uint8_t type,
                             struct momi_session_id id) {
    world->commands_count++;
    end(world, momi_command_begin(&world->commands, type, id, 0, 0));
}

static inline void put_open(struct world *world, uint64_t node, uint64_t incarnation,
                            uint64_t opening) {
    world->commands_count++;
    size_t at = momi_command_begin(&world->commands, CMD_SESSION_OPEN,
                                   (struct momi_session_id){0}, 0, 0);
    momi_session_open_put(&world->commands,
                          &(struct momi_session_open){.node = node,
                                                      .incarnation = incarnation,
                                                      .opening = opening,
                                                      .principal = node});
    end(world, at);
}

static inline struct client client_open(struct world *world, uint64_t node) {
    put_open(world, node, 1, 1);
    world_commit(world);
    struct momi_session *session = momi_machine_session_of(&world->machine, node);
    assert_non_null(session);
    return (struct client){.world = world, .node = node, .id = session->id};
}

static inline struct momi_session *session_of(const struct client *client) {
    return momi_machine_session(&client->world->machine, client->id);
}

/* The kept outcome of a number; error 1 when none is kept. */
static inline struct momi_result result_of(const struct client *client, uint64_t number) {
    const struct momi_session *session = session_of(client);
    if (session == NULL || number <= session->answered || number > session->last) {
        return (struct momi_result){.error = 1};
    }
    struct momi_result *result =
        momi_ring_at(&session->results, (size_t)(number - session->answered - 1));
    return *result;
}

/* Commits what was put and gives the outcome of the client's last command. */
static inline struct momi_result commit(struct client *client) {
    world_commit(client->world);
    return result_of(client, client->number);
}

static inline void put_create(struct client *client, enum momi_kind kind,
                              const char *name, bool if_missing,
                              struct momi_stream_options options) {
    size_t at = begin(client, CMD_STREAM_CREATE);
    momi_stream_create_put(&client->world->commands,
                           &(struct momi_stream_create){.kind = kind,
                                                        .name = momi_slice_str(name),
                                                        .if_missing = if_missing,
                                                        .options = options});
    end(client->world, at);
}

static inline struct momi_result create(struct client *client, enum momi_kind kind,
                                        const char *name,
                                        struct momi_stream_options options) {
    put_create(client, kind, name, false, options);
    return commit(client);
}

static inline struct momi_result name_command(struct client *client, uint8_t type,
                                              enum momi_kind kind, const char *name) {
    size_t at = begin(client, type);
    momi_stream_name_put(
        &client->world->commands,
        &(struct momi_stream_name){.kind = kind, .name = momi_slice_str(name)});
    end(client->world, at);
    return commit(client);
}

/* `keys`: one message per key. */
static inline void put_publish(struct client *client, enum momi_kind kind,
                               const char *name, uint8_t flags, const char *const *keys,
                               uint32_t count, size_t body_size) {
    static uint8_t body[1 << 16];
    struct momi_bytes *out = &client->world->commands;
    size_t at = begin(client, CMD_PUBLISH);
    momi_publish_put_head(out, &(struct momi_publish){.kind = kind,
                                                      .flags = flags,
                                                      .publisher = client->node,
                                                      .name = momi_slice_str(name),
                                                      .count = count});
    for (uint32_t i = 0; i < count; i++) {
        struct momi_record record = {.key = momi_slice_str(keys == NULL ? "" : keys[i]),
                                     .body = momi_slice(body, body_size)};
        size_t size = momi_record_size(record.key.size, 0, body_size);
        CHECK(momi_bytes_reserve(out, size));
        momi_record_write(out->data + out->size, &record);
        out->size += size;
    }
    end(client->world, at);
}

static inline struct momi_result publish(struct client *client, const char *queue,
                                         uint32_t count) {
    put_publish(client, MOMI_KIND_QUEUE, queue, 0, NULL, count, 10);
    return commit(client);
}

static inline struct momi_result publish_keys(struct client *client, const char *topic,
                                              const char *const *keys, uint32_t count) {
    put_publish(client, MOMI_KIND_TOPIC, topic, 0, keys, count, 10);
    return commit(client);
}

static inline struct momi_result
subscribe(struct client *client, const struct momi_subscription_create *create_) {
    size_t at = begin(client, CMD_SUBSCRIPTION_CREATE);
    momi_subscription_create_put(&client->world->commands, create_);
    end(client->world, at);
    return commit(client);
}

static inline struct momi_result unsubscribe(struct client *client, const char *topic,
                                             const char *name) {
    size_t at = begin(client, CMD_SUBSCRIPTION_DELETE);
    momi_subscription_name_put(
        &client->world->commands,
        &(struct momi_subscription_name){.topic = momi_slice_str(topic),
                                         .name = momi_slice_str(name)});
    end(client->world, at);
    return commit(client);
}

/* `group`: the id that the group of that name must have; 0: any. */
static inline struct momi_result attach_to(struct client *client, enum momi_kind kind,
                                           const char *name, const char *subscription,
                                           uint64_t consumer, uint64_t credit,
                                           uint64_t group) {
    size_t at = begin(client, CMD_CONSUMER_ATTACH);
    momi_consumer_attach_put(
        &client->world->commands,
        &(struct momi_consumer_attach){.kind = kind,
                                       .name = momi_slice_str(name),
                                       .subscription = momi_slice_str(subscription),
                                       .consumer = consumer,
                                       .credit = credit,
                                       .group = group});
    end(client->world, at);
    return commit(client);
}

static inline struct momi_result attach(struct client *client, enum momi_kind kind,
                                        const char *name, const char *subscription,
                                        uint64_t consumer, uint64_t credit) {
    return attach_to(client, kind, name, subscription, consumer, credit, 0);
}

static inline struct momi_result detach(struct client *client, uint64_t consumer) {
    size_t at = begin(client, CMD_CONSUMER_DETACH);
    momi_consumer_detach_put(&client->world->commands, consumer);
    end(client->world, at);
    return commit(client);
}

static inline struct momi_result consume(struct client *client, uint64_t consumer,
                                         uint64_t credit, uint64_t handed,
                                         const struct momi_settle *settles,
                                         size_t settles_count) {
    size_t at = begin(client, CMD_CONSUME);
    momi_checkout_put_consume(&client->world->commands, consumer, credit, handed, settles,
                              settles_count);
    end(client->world, at);
    return commit(client);
}

static inline void tick(struct world *world) {
    put_plain(world, CMD_TICK, (struct momi_session_id){0});
    world_commit(world);
}

static inline void fill(struct world *world, const struct momi_group *group,
                        uint64_t from, uint64_t to, const struct momi_fill_range *ranges,
                        size_t count) {
    world->commands_count++;
    size_t at =
        momi_command_begin(&world->commands, CMD_FILL, (struct momi_session_id){0}, 0, 0);
    momi_fill_put(
        &world->commands,
        &(struct momi_fill){
            .stream = group->stream->id, .group = group->id, .from = from, .to = to},
        ranges, count);
    end(world, at);
    world_commit(world);
}

static inline struct momi_stream *stream_of(const struct world *world,
                                            enum momi_kind kind, const char *name) {
    return momi_machine_stream(&world->machine, kind, momi_slice_str(name));
}

static inline struct momi_group *group_of(const struct world *world, enum momi_kind kind,
                                          const char *name, const char *subscription) {
    const struct momi_stream *stream = stream_of(world, kind, name);
    return stream == NULL ? NULL
                          : momi_machine_group(stream, momi_slice_str(subscription));
}

static inline struct momi_consumer *consumer_of(const struct client *client,
                                                uint64_t consumer) {
    const struct momi_session *session = session_of(client);
    return session == NULL
               ? NULL
               : momi_machine_consumer(&client->world->machine, session, consumer);
}

/* Sequences of the ready messages of a group, in order, into `list`; their number. */
struct sequences {
    uint64_t list[512];
    size_t count;
};
static inline void add_sequences(void *user, const struct momi_run *run) {
    struct sequences *sequences = user;
    for (uint32_t i = 0; i < run->count; i++) {
        CHECK(sequences->count < 512);
        sequences->list[sequences->count++] = run->sequence + i;
    }
}
static inline struct sequences ready_of(const struct momi_group *group) {
    struct sequences sequences = {.count = 0};
    momi_runs_each(&group->ready, add_sequences, &sequences);
    return sequences;
}
static inline struct sequences leased_by(const struct momi_consumer *consumer) {
    struct sequences sequences = {.count = 0};
    for (size_t i = 0; i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        add_sequences(&sequences, &lease->run);
    }
    return sequences;
}
#define CHECK_SEQUENCES(got, ...)                                                        \
    do {                                                                                 \
        const uint64_t expected_[] = {__VA_ARGS__};                                      \
        struct sequences actual_ = (got);                                                \
        CHECK_EQ(actual_.count, sizeof expected_ / sizeof expected_[0]);                 \
        CHECK_BYTES(actual_.list, expected_, sizeof expected_);                          \
    } while (0)

#endif
