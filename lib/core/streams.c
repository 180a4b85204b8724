/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of streams: created, deleted, purged by commands of clients; dead-letter
 * queues come into being when the first message moves there.
 *
 * A stream owns its name, its history and its groups. Deleting ends consumers with
 * NOT_FOUND at once; a queue of the same name made later is another stream, with another
 * id and its own sequences.
 */
#include "core/machine_internal.h"

static uint64_t name_hash(enum momi_kind kind, struct momi_slice name) {
    return momi_hash_u64(momi_hash_bytes(name) + (uint64_t)kind);
}

struct momi_stream *momi_machine_stream(const struct momi_machine *machine,
                                        enum momi_kind kind, struct momi_slice name) {
    struct momi_map_node *node =
        momi_map_first(&machine->streams_by_name, name_hash(kind, name));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_stream *stream = MOMI_CONTAINER_OF(node, struct momi_stream, by_name);
        if (stream->kind == kind && momi_slice_equal(stream->name, name)) {
            return stream;
        }
    }
    return NULL;
}

struct momi_stream *momi_stream_by_id(const struct momi_machine *machine, uint64_t id) {
    struct momi_map_node *node =
        momi_map_first(&machine->streams_by_id, momi_hash_u64(id));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_stream *stream = MOMI_CONTAINER_OF(node, struct momi_stream, by_id);
        if (stream->id == id) {
            return stream;
        }
    }
    return NULL;
}

/* Before the first stream with a higher id, looked for from the end: ids mostly rise. */
static void link_by_id(struct momi_machine *machine, struct momi_stream *stream) {
    struct momi_list *at = &machine->streams;
    while (at->prev != &machine->streams &&
           MOMI_CONTAINER_OF(at->prev, struct momi_stream, link)->id > stream->id) {
        at = at->prev;
    }
    momi_list_insert_before(at, &stream->link);
}

struct momi_stream *momi_stream_add(struct momi_machine *machine, uint64_t id) {
    struct momi_stream *stream = momi_calloc(1, sizeof *stream);
    if (stream == NULL) {
        return NULL;
    }
    stream->id = id;
    stream->sequence_next = 1;
    momi_runs_init(&stream->history);
    momi_ring_init(&stream->marks, sizeof(struct momi_time_mark));
    momi_list_init(&stream->groups);
    momi_list_init(&stream->dirty_link);
    momi_heap_node_init(&stream->retention_due);
    momi_map_insert(&machine->streams_by_id, &stream->by_id, momi_hash_u64(id));
    link_by_id(machine, stream);
    machine->streams_count++;
    return stream;
}

bool momi_stream_named(struct momi_machine *machine, struct momi_stream *stream,
                       enum momi_kind kind, struct momi_slice name) {
    uint8_t *copy = momi_alloc(name.size);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, name.data, name.size);
    stream->name = momi_slice(copy, name.size);
    stream->kind = kind;
    momi_map_insert(&machine->streams_by_name, &stream->by_name, name_hash(kind, name));
    return true;
}

void momi_stream_free(struct momi_stream *stream) {
    momi_runs_free(&stream->history);
    momi_ring_free(&stream->marks);
    momi_free((void *)(uintptr_t)stream->name.data);
    momi_free(stream);
}

int momi_stream_options_check(const struct momi_stream_options *options) {
    if (options->lease_us > MOMI_OPTION_US_MAX) {
        return momi_err(MOM_INVALID, "the lease is longer than a hundred years");
    }
    if (options->retention_us > MOMI_OPTION_US_MAX) {
        return momi_err(MOM_INVALID, "the retention is longer than a hundred years");
    }
    return MOM_OK;
}

static struct momi_stream_options filled_in(enum momi_kind kind,
                                            const struct momi_stream_options *given) {
    struct momi_stream_options options = *given;
    if (options.lease_us == 0) {
        options.lease_us = MOMI_LEASE_DEFAULT_US;
    }
    if (options.deliveries_max == 0) {
        options.deliveries_max = MOMI_DELIVERIES_DEFAULT;
    }
    if (kind == MOMI_KIND_TOPIC && options.retention_bytes == 0) {
        options.retention_bytes = MOMI_RETENTION_BYTES_DEFAULT;
    }
    return options;
}

static bool options_equal(const struct momi_stream_options *a,
                          const struct momi_stream_options *b) {
    return a->lease_us == b->lease_us && a->deliveries_max == b->deliveries_max &&
           a->messages_max == b->messages_max && a->bytes_max == b->bytes_max &&
           a->retention_us == b->retention_us &&
           a->retention_bytes == b->retention_bytes &&
           a->retention_count == b->retention_count &&
           a->no_dead_letter == b->no_dead_letter;
}

struct momi_stream *momi_stream_make(struct momi_machine *machine, enum momi_kind kind,
                                     struct momi_slice name,
                                     const struct momi_stream_options *options,
                                     uint64_t creator) {
    struct momi_stream *stream = momi_stream_add(machine, machine->id_next++);
    MOMI_ASSERT(stream != NULL); /* reserved */
    bool is_named = momi_stream_named(machine, stream, kind, name);
    MOMI_ASSERT(is_named); /* reserved */
    stream->options = filled_in(kind, options);
    stream->creator = creator;
    stream->created_wall_us = machine->wall_us;
    momi_stream_dirty(machine, stream);
    if (kind == MOMI_KIND_QUEUE) {
        struct momi_group *group = momi_group_add(machine, stream, machine->id_next++,
                                                  momi_slice(NULL, 0), NULL, 0);
        MOMI_ASSERT(group != NULL); /* reserved */
        group->creator = creator;
        momi_group_dirty(machine, group);
    }
    return stream;
}

struct momi_result momi_stream_create(struct momi_machine *machine,
                                      struct momi_session *session,
                                      struct momi_slice body) {
    struct momi_stream_create create;
    if (!momi_stream_create_parse(body, &create) ||
        momi_name_check(MOMI_NAME_STREAM, create.name) != MOM_OK ||
        momi_stream_options_check(&create.options) != MOM_OK) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    if (momi_name_is_system(create.name)) {
        return (struct momi_result){.error = MOM_FORBIDDEN};
    }
    struct momi_stream *stream = momi_machine_stream(machine, create.kind, create.name);
    if (stream != NULL) {
        struct momi_stream_options options = filled_in(create.kind, &create.options);
        int error = !create.if_missing                          ? MOM_EXISTS
                    : options_equal(&options, &stream->options) ? MOM_OK
                                                                : MOM_CONFLICT;
        return (struct momi_result){.error = error, .value = stream->id};
    }
    if (machine->streams_count >= MOMI_STREAMS_MAX) {
        return (struct momi_result){.error = MOM_FULL};
    }
    stream = momi_stream_make(machine, create.kind, create.name, &create.options,
                              session->node);
    return (struct momi_result){.error = MOM_OK, .value = stream->id};
}

struct forget {
    struct momi_machine *machine;
    uint64_t stream;
};

/* A block of history that a checkpoint wrote. */
static void forget_block(void *user, uint32_t block, const struct momi_slice *value) {
    const struct forget *forget = user;
    (void)value;
    struct momi_key key = momi_record_block_key('h', forget->stream, block);
    momi_record_deleted(forget->machine, momi_key_slice(&key));
}

static void forget_records(struct momi_machine *machine, struct momi_stream *stream) {
    struct forget forget = {.machine = machine, .stream = stream->id};
    momi_runs_records(&stream->history, forget_block, &forget);
    for (uint32_t block = 0; block < stream->marks_saved; block++) {
        struct momi_key marks = momi_record_block_key('w', stream->id, block);
        momi_record_deleted(machine, momi_key_slice(&marks));
    }
    struct momi_key key = momi_record_key('s', stream->id);
    momi_record_deleted(machine, momi_key_slice(&key));
}

/* The deliberate bug DELETE_LEAVES_CONSUMERS: nobody is told. */
static void untell(struct momi_machine *machine, size_t ended_count) {
    if (MUTANT(DELETE_LEAVES_CONSUMERS) && machine->ended.count > ended_count) {
        momi_ring_pop_back(&machine->ended, machine->ended.count - ended_count);
    }
}

struct momi_result momi_stream_delete(struct momi_machine *machine,
                                      struct momi_slice body) {
    struct momi_stream_name name;
    if (!momi_stream_name_parse(body, &name)) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_stream *stream = momi_machine_stream(machine, name.kind, name.name);
    if (stream == NULL) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    size_t ended_count = machine->ended.count;
    while (!momi_list_empty(&stream->groups)) {
        momi_group_end(machine,
                       MOMI_CONTAINER_OF(stream->groups.next, struct momi_group, link),
                       MOM_NOT_FOUND);
    }
    untell(machine, ended_count);
    (void)momi_history_clear(machine, stream);
    forget_records(machine, stream);
    momi_heap_remove(&machine->retention, &stream->retention_due);
    momi_map_remove(&machine->streams_by_name, &stream->by_name);
    momi_map_remove(&machine->streams_by_id, &stream->by_id);
    momi_list_remove(&stream->link);
    momi_list_remove(&stream->dirty_link);
    machine->streams_count--;
    uint64_t id = stream->id;
    momi_stream_free(stream);
    return (struct momi_result){.error = MOM_OK, .value = id};
}

struct momi_result momi_stream_purge(struct momi_machine *machine,
                                     struct momi_slice body) {
    struct momi_stream_name name;
    if (!momi_stream_name_parse(body, &name)) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_stream *stream = momi_machine_stream(machine, name.kind, name.name);
    if (stream == NULL) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    uint64_t count = 0;
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        count += momi_checkout_purge(machine, group);
        momi_group_fill_done(group); /* what it would be filled with is gone */
        momi_group_dirty(machine, group);
    }
    if (stream->kind == MOMI_KIND_TOPIC) {
        count = momi_history_clear(machine, stream);
    }
    return (struct momi_result){.error = MOM_OK, .value = count};
}

/* `$dead/queue/NAME`, or `$dead/topic/TOPIC/SUBSCRIPTION`; the size written. */
static size_t dead_name(const struct momi_group *origin, char *name, size_t room) {
    const struct momi_stream *stream = origin->stream;
    bool is_queue = stream->kind == MOMI_KIND_QUEUE;
    const char *prefix = is_queue ? "$dead/queue/" : "$dead/topic/";
    size_t size = strlen(prefix);
    MOMI_ASSERT(size + stream->name.size + 1 + origin->name.size <= room);
    memcpy(name, prefix, size);
    memcpy(name + size, stream->name.data, stream->name.size);
    size += stream->name.size;
    if (!is_queue) {
        name[size++] = '/';
        memcpy(name + size, origin->name.data, origin->name.size);
        size += origin->name.size;
    }
    return size;
}

struct momi_group *momi_stream_dead_letters(struct momi_machine *machine,
                                            struct momi_group *origin) {
    const struct momi_stream *from = origin->stream;
    if (from->options.no_dead_letter || momi_name_is_system(from->name)) {
        return NULL; /* a message rejected from a dead-letter queue is gone */
    }
    char text[MOMI_SYSTEM_NAME_BYTES_MAX];
    struct momi_slice name = momi_slice(text, dead_name(origin, text, sizeof text));
    struct momi_stream *stream = momi_machine_stream(machine, MOMI_KIND_QUEUE, name);
    if (stream == NULL) {
        /* Over MOMI_STREAMS_MAX as well: apply cannot refuse to keep a message. It never
         * sends on by itself what came here, however often it is looked at. */
        struct momi_stream_options options = {.deliveries_max = UINT32_MAX,
                                              .no_dead_letter = true};
        stream =
            momi_stream_make(machine, MOMI_KIND_QUEUE, name, &options, from->creator);
    }
    return MOMI_CONTAINER_OF(stream->groups.next, struct momi_group, link);
}
