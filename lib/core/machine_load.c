/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a checkpoint back into a fresh machine: records in key order, then `loaded`
 * checks that they make a whole.
 *
 * The bytes come from a disk or a peer: whatever does not fit is false, and the shard is
 * damaged (D3). History (h) and groups (g) arrive before their streams (s): a stream
 * without its record yet has kind 0. What can be computed is not stored: bytes of runs,
 * marks' blocks, heaps, lists. At the end all invariants are looked at, so that nothing
 * that is applied later stumbles over what damage has left.
 */
#include "core/machine_record.h"

static bool begin(struct momi_reader *in, struct momi_slice value) {
    *in = momi_reader(value);
    return momi_get_u8(in) == MOMI_RECORD_FORMAT && !in->failed;
}

static bool load_machine(struct momi_machine *machine, struct momi_slice value) {
    struct momi_reader in;
    if (!begin(&in, value)) {
        return false;
    }
    machine->epoch = momi_get_u32(&in);
    machine->elapsed_us = momi_get_u64(&in);
    machine->wall_us = momi_get_u64(&in);
    machine->counter = momi_get_u64(&in);
    machine->id_next = momi_get_u64(&in);
    return momi_reader_done(&in) && machine->id_next > 0;
}

static bool load_results(struct momi_session *session, struct momi_reader *in) {
    if (session->answered > session->last ||
        session->last - session->answered > MOMI_SESSION_WINDOW) {
        return false;
    }
    for (uint64_t n = session->answered; n < session->last; n++) {
        uint64_t error = momi_get_varint(in);
        uint64_t value = momi_get_varint(in);
        struct momi_result *result = momi_ring_push(&session->results);
        if (result == NULL || in->failed || error > (uint64_t)-MOM_VERSION) {
            return false;
        }
        *result = (struct momi_result){.error = -(int32_t)error, .value = value};
    }
    return true;
}

static bool load_session(struct momi_machine *machine, struct momi_reader *key,
                         struct momi_slice value) {
    struct momi_session_id id = {0};
    id.epoch = momi_get_be32(key);
    id.index = momi_get_be64(key);
    id.place = momi_get_be32(key);
    struct momi_reader in;
    if (!momi_reader_done(key) || momi_session_id_is_none(id) || !begin(&in, value)) {
        return false;
    }
    uint64_t node = momi_get_u64(&in);
    if (in.failed || machine->sessions_count >= MOMI_SESSIONS_MAX ||
        momi_machine_session(machine, id) != NULL ||
        momi_machine_session_of(machine, node) != NULL) {
        return false;
    }
    struct momi_session *session = momi_session_add(machine, id, node);
    if (session == NULL) {
        return false;
    }
    session->incarnation = momi_get_u64(&in);
    session->opening = momi_get_u64(&in);
    session->principal = momi_get_u64(&in);
    session->last = momi_get_u64(&in);
    session->answered = momi_get_u64(&in);
    return !in.failed && load_results(session, &in) && momi_reader_done(&in);
}

static struct momi_stream *find_stream(struct momi_machine *machine, uint64_t id) {
    struct momi_stream *stream = momi_stream_by_id(machine, id);
    return stream != NULL ? stream : momi_stream_add(machine, id);
}

static bool load_marks(struct momi_machine *machine, struct momi_reader *key,
                       struct momi_slice value) {
    uint64_t id = momi_get_be64(key);
    uint32_t block = momi_get_be32(key);
    struct momi_reader in;
    if (!momi_reader_done(key) || !begin(&in, value)) {
        return false;
    }
    struct momi_stream *stream = find_stream(machine, id);
    if (stream == NULL || block != stream->marks_saved ||
        stream->marks.count != (size_t)block * MOMI_MARKS_BLOCK) {
        return false; /* a block is missing before this one */
    }
    stream->marks_saved = block + 1;
    struct momi_time_mark at = {0};
    while (momi_reader_left(&in) > 0) {
        at.sequence += momi_get_varint(&in);
        at.elapsed_us += momi_get_varint(&in);
        at.wall_us += momi_get_varint(&in);
        struct momi_time_mark *mark = momi_ring_push(&stream->marks);
        if (mark == NULL || in.failed || stream->marks.count > MOMI_MARKS_MAX) {
            return false;
        }
        *mark = at;
    }
    return !in.failed;
}

static bool load_history(struct momi_machine *machine, struct momi_reader *key,
                         struct momi_slice value) {
    uint64_t id = momi_get_be64(key);
    uint32_t block = momi_get_be32(key);
    if (!momi_reader_done(key)) {
        return false;
    }
    struct momi_stream *stream = find_stream(machine, id);
    return stream != NULL && momi_runs_load(&stream->history, block, value);
}

static bool load_stream(struct momi_machine *machine, struct momi_reader *key,
                        struct momi_slice value) {
    uint64_t id = momi_get_be64(key);
    struct momi_reader in;
    if (!momi_reader_done(key) || !begin(&in, value)) {
        return false;
    }
    struct momi_stream *stream = find_stream(machine, id);
    uint8_t kind = momi_get_u8(&in);
    struct momi_slice name = momi_get_slice(&in);
    if (stream == NULL || stream->kind != 0 || in.failed ||
        (kind != MOMI_KIND_QUEUE && kind != MOMI_KIND_TOPIC) ||
        momi_name_check(MOMI_NAME_STREAM, name) != MOM_OK ||
        momi_machine_stream(machine, (enum momi_kind)kind, name) != NULL ||
        !momi_stream_named(machine, stream, (enum momi_kind)kind, name)) {
        return false;
    }
    stream->options.lease_us = momi_get_u64(&in);
    stream->options.deliveries_max = momi_get_u32(&in);
    stream->options.messages_max = momi_get_u64(&in);
    stream->options.bytes_max = momi_get_u64(&in);
    stream->options.retention_us = momi_get_u64(&in);
    stream->options.retention_bytes = momi_get_u64(&in);
    stream->options.retention_count = momi_get_u64(&in);
    stream->options.no_dead_letter = momi_get_u8(&in) != 0;
    stream->creator = momi_get_u64(&in);
    stream->created_wall_us = momi_get_u64(&in);
    stream->sequence_next = momi_get_u64(&in);
    return momi_reader_done(&in) && stream->sequence_next > 0;
}

static bool load_owner(struct momi_machine *machine, struct momi_group *group,
                       struct momi_session_id id) {
    if (momi_session_id_is_none(id)) {
        return true;
    }
    group->owner = momi_machine_session(machine, id); /* sessions come first */
    if (group->owner == NULL) {
        return false;
    }
    momi_list_push_back(&group->owner->temporary, &group->temporary_link);
    return true;
}

/* The fixed part of a group's record, before its filters. */
struct group_record {
    uint64_t stream;
    struct momi_slice name;
    uint8_t ignore_own;
    uint64_t creator;
    struct momi_session_id owner;
    uint64_t fill_from, fill_to, redelivered, dead_lettered;
    uint64_t filters_count;
    struct momi_slice filters[MOMI_FILTERS_MAX];
};

static bool read_group(struct momi_slice value, struct group_record *record) {
    struct momi_reader in;
    if (!begin(&in, value)) {
        return false;
    }
    record->stream = momi_get_u64(&in);
    record->name = momi_get_slice(&in);
    record->ignore_own = momi_get_u8(&in);
    record->creator = momi_get_u64(&in);
    record->owner.index = momi_get_u64(&in);
    record->owner.epoch = momi_get_u32(&in);
    record->owner.place = momi_get_u32(&in);
    record->fill_from = momi_get_u64(&in);
    record->fill_to = momi_get_u64(&in);
    record->redelivered = momi_get_u64(&in);
    record->dead_lettered = momi_get_u64(&in);
    record->filters_count = momi_get_varint(&in);
    if (in.failed || record->filters_count > MOMI_FILTERS_MAX ||
        record->fill_from > record->fill_to || record->name.size > MOMI_NAME_BYTES_MAX) {
        return false;
    }
    for (uint64_t i = 0; i < record->filters_count; i++) {
        record->filters[i] = momi_get_slice(&in);
        if (!momi_filter_is_valid(record->filters[i])) {
            return false;
        }
    }
    return momi_reader_done(&in);
}

static bool load_group(struct momi_machine *machine, struct momi_reader *key,
                       struct momi_slice value) {
    uint64_t id = momi_get_be64(key);
    struct group_record record;
    if (!momi_reader_done(key) || !read_group(value, &record) ||
        momi_group_by_id(machine, id) != NULL) {
        return false;
    }
    struct momi_stream *stream = find_stream(machine, record.stream);
    if (stream == NULL || momi_machine_group(stream, record.name) != NULL) {
        return false;
    }
    struct momi_group *group = momi_group_add(
        machine, stream, id, record.name, record.filters, (uint32_t)record.filters_count);
    if (group == NULL || !load_owner(machine, group, record.owner)) {
        return false;
    }
    group->ignore_own = record.ignore_own != 0;
    group->creator = record.creator;
    group->fill_from = record.fill_from;
    group->fill_to = record.fill_to;
    group->redelivered = record.redelivered;
    group->dead_lettered = record.dead_lettered;
    if (group->fill_from != group->fill_to) {
        momi_list_push_back(&machine->filling, &group->fill_link);
    }
    return true;
}

bool momi_machine_load(struct momi_machine *machine, struct momi_slice key,
                       struct momi_slice value) {
    struct momi_reader in = momi_reader(key);
    switch (momi_get_u8(&in)) {
    case 'm':
        return momi_reader_done(&in) && load_machine(machine, value);
    case 'a':
        return load_session(machine, &in, value);
    case 'c':
    case 'r':
        return momi_checkout_load(machine, key, value);
    case 'e':
        return momi_live_load(machine->live, key, value);
    case 'g':
        return load_group(machine, &in, value);
    case 'h':
        return load_history(machine, &in, value);
    case 's':
        return load_stream(machine, &in, value);
    case 'w':
        return load_marks(machine, &in, value);
    default:
        return false;
    }
}

/* --- the whole -------------------------------------------------------------------- */

/* What the loaded runs need: that their entries live. */
struct weigh {
    const struct momi_machine *machine;
    uint64_t bytes;
    uint64_t end; /* sequence after the last message */
    bool is_live;
};

static void weigh_run(void *user, const struct momi_run *run) {
    struct weigh *weigh = user;
    struct momi_live_entry entry;
    if (!momi_live_find(weigh->machine->live, run->index, &entry) ||
        run->slot >= entry.slots || run->count > entry.slots - run->slot) {
        weigh->is_live = false;
        return;
    }
    weigh->bytes += momi_checkout_message_bytes(weigh->machine, run->index) * run->count;
    weigh->end = run->sequence + run->count;
}

/* Marks rise, the first is at or before the oldest message, the last before the next. */
static bool marks_are_sane(const struct momi_stream *stream) {
    struct momi_run first;
    bool any = momi_runs_first(&stream->history, &first);
    if (any != (stream->marks.count > 0)) {
        return false;
    }
    for (size_t i = 0; i < stream->marks.count; i++) {
        const struct momi_time_mark *mark = momi_ring_at(&stream->marks, i);
        const struct momi_time_mark *before =
            i == 0 ? NULL : momi_ring_at(&stream->marks, i - 1);
        bool fits = before == NULL ? mark->sequence <= first.sequence
                                   : mark->sequence > before->sequence &&
                                         mark->elapsed_us >= before->elapsed_us &&
                                         mark->wall_us >= before->wall_us &&
                                         (i > 1 || mark->sequence > first.sequence);
        if (!fits || mark->sequence >= stream->sequence_next) {
            return false;
        }
    }
    return true;
}

static bool stream_loaded(struct momi_machine *machine, struct momi_stream *stream) {
    bool is_queue = stream->kind == MOMI_KIND_QUEUE;
    if (stream->kind == 0 || stream->id >= machine->id_next ||
        !momi_runs_loaded(&stream->history) || (is_queue && stream->groups_count != 1)) {
        return false;
    }
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        if (group->id >= machine->id_next || (group->name.size == 0) != is_queue ||
            group->fill_to > stream->sequence_next) {
            return false;
        }
    }
    struct weigh weigh = {.machine = machine, .is_live = true};
    momi_runs_each(&stream->history, weigh_run, &weigh);
    if (!weigh.is_live || weigh.end > stream->sequence_next || !marks_are_sane(stream)) {
        return false;
    }
    stream->history_bytes = weigh.bytes;
    momi_history_schedule(machine, stream);
    return true;
}

bool momi_machine_loaded(struct momi_machine *machine, uint64_t applied,
                         uint64_t applied_term) {
    machine->applied = applied;
    machine->applied_term = applied_term;
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        if (!stream_loaded(machine, MOMI_CONTAINER_OF(link, struct momi_stream, link))) {
            return false;
        }
    }
    struct momi_live_entry above;
    return !momi_live_next(machine->live, applied + 1, &above) &&
           momi_checkout_loaded(machine) && momi_machine_fault(machine) == NULL;
}
