/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing: the whole command or nothing (docs/protocol.md M1, M2).
 *
 * First everything is decided (the stream, its limits, what matches whom), then
 * everything is changed. A queue takes the command as one run. In a topic each record's
 * key is read from the entry once and held against the filters of every subscription;
 * neighbours that match become one run. Bytes are counted as the entry's average
 * (checkout.h).
 */
#include "core/machine_internal.h"

int momi_publish_check(const struct momi_publish *publish, uint64_t node) {
    if (publish->publisher != node) {
        return momi_err(MOM_FORBIDDEN, "a publish names another publisher");
    }
    int error = momi_name_check(MOMI_NAME_STREAM, publish->name);
    if (error != MOM_OK) {
        return error;
    }
    if (momi_name_is_system(publish->name)) {
        return momi_err(MOM_FORBIDDEN, "only the system publishes to names with $");
    }
    return MOM_OK;
}

static bool group_wants_all(const struct momi_group *group) {
    return group->filters_count == 0;
}

static bool group_skips(const struct momi_group *group, uint64_t publisher) {
    return group->ignore_own && group->creator == publisher;
}

static bool group_matches(const struct momi_group *group, struct momi_slice key) {
    for (uint32_t i = 0; i < group->filters_count; i++) {
        if (momi_filter_matches(group->filters[i].pattern, key)) {
            return true;
        }
    }
    return false;
}

static bool has_limits(const struct momi_stream *stream) {
    return stream->options.messages_max != 0 || stream->options.bytes_max != 0;
}

/* Does a walk over the keys decide anything? */
static bool has_filters(const struct momi_stream *stream, uint64_t publisher) {
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        if (!group_wants_all(group) && !group_skips(group, publisher)) {
            return true;
        }
    }
    return false;
}

/* Counts what each group would get, into match_count. */
static void count_matches(const struct momi_stream *stream,
                          const struct momi_publish *publish) {
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        bool all = group_wants_all(group) && !group_skips(group, publish->publisher);
        group->match_count = all ? publish->count : 0;
    }
    if (!has_filters(stream, publish->publisher)) {
        return;
    }
    struct momi_slice left = publish->records;
    for (uint32_t i = 0; i < publish->count; i++) {
        struct momi_record record;
        bool is_there = momi_record_read(left, &record);
        MOMI_ASSERT(is_there); /* momi_publish_parse read it */
        left = momi_slice(left.data + record.whole.size, left.size - record.whole.size);
        MOMI_LIST_FOR_EACH (link, &stream->groups) {
            struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
            if (!group_wants_all(group) && !group_skips(group, publish->publisher) &&
                group_matches(group, record.key)) {
                group->match_count++;
            }
        }
    }
}

bool momi_stream_is_full(const struct momi_stream *stream, const struct momi_group *group,
                         uint64_t count, uint64_t bytes) {
    const struct momi_stream_options *options = &stream->options;
    uint64_t waiting = group->ready.messages + group->leased;
    uint64_t waiting_bytes = group->ready_bytes + group->leased_bytes;
    return (options->messages_max != 0 && waiting + count > options->messages_max) ||
           (options->bytes_max != 0 && waiting_bytes + bytes > options->bytes_max);
}

/* Is there a group over a limit of the stream with this? Also counts the matches of
 * limited topics. */
static bool is_full(const struct momi_machine *machine, const struct momi_stream *stream,
                    const struct momi_publish *publish, uint64_t index) {
    if (!has_limits(stream)) {
        return false;
    }
    count_matches(stream, publish);
    uint64_t each = momi_checkout_message_bytes(machine, index);
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        if (group->match_count > 0 &&
            momi_stream_is_full(stream, group, group->match_count,
                                group->match_count * each)) {
            return true;
        }
    }
    return false;
}

static void flush_match(struct momi_machine *machine, struct momi_group *group) {
    if (group->match.count > 0) {
        momi_checkout_add(machine, group, &group->match);
        group->match.count = 0;
    }
}

/* One record more for a group: it continues the run being put together, or begins one. */
static void add_match(struct momi_machine *machine, struct momi_group *group,
                      const struct momi_run *run, uint32_t at) {
    struct momi_run *match = &group->match;
    if (match->count > 0 && match->slot + match->count == run->slot + at) {
        match->count++;
        return;
    }
    flush_match(machine, group);
    *match = (struct momi_run){.sequence = run->sequence + at,
                               .count = 1,
                               .slot = run->slot + at,
                               .index = run->index};
}

static void add_filtered(struct momi_machine *machine, struct momi_stream *stream,
                         const struct momi_publish *publish, const struct momi_run *run) {
    struct momi_slice left = publish->records;
    for (uint32_t i = 0; i < run->count; i++) {
        struct momi_record record;
        bool is_there = momi_record_read(left, &record);
        MOMI_ASSERT(is_there); /* momi_publish_parse read it */
        left = momi_slice(left.data + record.whole.size, left.size - record.whole.size);
        MOMI_LIST_FOR_EACH (link, &stream->groups) {
            struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
            if (!group_wants_all(group) && !group_skips(group, publish->publisher) &&
                group_matches(group, record.key)) {
                add_match(machine, group, run, i);
            }
        }
    }
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        flush_match(machine, MOMI_CONTAINER_OF(link, struct momi_group, link));
    }
}

static void add_to_groups(struct momi_machine *machine, struct momi_stream *stream,
                          const struct momi_publish *publish,
                          const struct momi_run *run) {
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        if (group_wants_all(group) && !group_skips(group, publish->publisher)) {
            momi_checkout_add(machine, group, run);
        }
    }
    if (has_filters(stream, publish->publisher)) {
        add_filtered(machine, stream, publish, run);
    }
}

/* The stream to publish to, made when the command says so. */
static int find_stream(struct momi_machine *machine, struct momi_session *session,
                       const struct momi_publish *publish, struct momi_stream **stream) {
    *stream = momi_machine_stream(machine, publish->kind, publish->name);
    if (*stream != NULL) {
        return MOM_OK;
    }
    if ((publish->flags & MOMI_PUBLISH_CREATE) == 0) {
        return MOM_NOT_FOUND;
    }
    if (machine->streams_count >= MOMI_STREAMS_MAX) {
        return MOM_FULL;
    }
    struct momi_stream_options defaults = {0};
    *stream =
        momi_stream_make(machine, publish->kind, publish->name, &defaults, session->node);
    return MOM_OK;
}

struct momi_result momi_publish_apply(struct momi_machine *machine,
                                      struct momi_session *session,
                                      const struct momi_publish *publish, uint64_t index,
                                      uint32_t slot) {
    int error = momi_publish_check(publish, session->node);
    if (error != MOM_OK) {
        return (struct momi_result){.error = error};
    }
    struct momi_stream *stream;
    error = find_stream(machine, session, publish, &stream);
    if (error != MOM_OK) {
        return (struct momi_result){.error = error};
    }
    struct momi_run run = {.sequence = stream->sequence_next,
                           .count = publish->count,
                           .slot = slot,
                           .index = index};
    if (is_full(machine, stream, publish, index)) {
        if (!MUTANT(PARTIAL_PUBLISH) || run.count < 2) {
            return (struct momi_result){.error = MOM_FULL};
        }
        run.count = run.count / 2; /* the first half gets in */
        error = MOM_FULL;
    }
    stream->sequence_next += run.count;
    add_to_groups(machine, stream, publish, &run);
    if (stream->kind == MOMI_KIND_TOPIC) {
        momi_history_append(machine, stream, &run);
        (void)momi_history_trim(machine, stream, MOMI_TICK_ITEMS_MAX);
    }
    momi_stream_dirty(machine, stream);
    machine->dirty_bytes += 8;
    machine->counters->messages_published += run.count;
    return (struct momi_result){.error = error, .value = run.sequence};
}

void momi_stream_move_in(struct momi_machine *machine, struct momi_group *target,
                         struct momi_run run) {
    struct momi_stream *stream = target->stream;
    MOMI_ASSERT(stream->kind == MOMI_KIND_QUEUE); /* dead-letter queues are */
    run.sequence = stream->sequence_next;
    run.deliveries = 0;
    stream->sequence_next += run.count;
    momi_checkout_add(machine, target, &run);
    momi_stream_dirty(machine, stream);
}
