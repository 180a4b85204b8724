/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of the state machine (E4): what changed since the last one, as records
 * under one side of a shard.
 *
 * Record values begin with a format byte. Deleted records come first, then changed ones
 * (machine_internal.h says which letter is what). machine_load.c reads them back;
 * consumers and ready runs are checkout's, entries are live.c's.
 */
#include "core/machine_internal.h"
#include "core/machine_record.h"

struct momi_key momi_record_key(char letter, uint64_t id) {
    struct momi_key key = {.bytes = {(uint8_t)letter}, .size = 9};
    momi_record_store_be64(key.bytes + 1, id);
    return key;
}

struct momi_key momi_record_block_key(char letter, uint64_t id, uint32_t block) {
    struct momi_key key = momi_record_key(letter, id);
    momi_record_store_be32(key.bytes + 9, block);
    key.size = 13;
    return key;
}

struct momi_key momi_record_session_key(struct momi_session_id id) {
    struct momi_key key = {.bytes = {'a'}, .size = 17};
    momi_record_store_be32(key.bytes + 1, id.epoch);
    momi_record_store_be64(key.bytes + 5, id.index);
    momi_record_store_be32(key.bytes + 13, id.place);
    return key;
}

/* Where records go, and room to put one together. */
struct saver {
    struct momi_machine *machine;
    struct momi_batch *batch;
    struct momi_bytes value; /* owned, reused */
    uint64_t id;             /* of the stream whose blocks are visited */
    uint8_t side;
};

static void begin_record(struct saver *saver) {
    momi_bytes_clear(&saver->value);
    momi_put_u8(&saver->value, MOMI_RECORD_FORMAT);
}

static void put_record(struct saver *saver, struct momi_key key) {
    if (saver->value.failed) {
        saver->batch->failed = true; /* the caller checks once, and tries again later */
        return;
    }
    momi_batch_put_record(saver->batch, saver->machine->shard, saver->side,
                          momi_key_slice(&key), momi_bytes_slice(&saver->value));
}

static void save_deleted(struct saver *saver) {
    struct momi_machine *machine = saver->machine;
    struct momi_reader in = momi_reader(momi_bytes_slice(&machine->deleted_records));
    while (momi_reader_left(&in) > 0) {
        struct momi_slice key = momi_get_bytes(&in, momi_get_u8(&in));
        momi_batch_delete_record(saver->batch, machine->shard, saver->side, key);
    }
    momi_bytes_clear(&machine->deleted_records);
}

/* The deliberate bug COUNTER_NOT_SAVED: only what leases still show is known afterwards.
 */
static uint64_t counter_to_save(const struct momi_machine *machine) {
    uint64_t counter = 0;
    if (!MUTANT(COUNTER_NOT_SAVED)) {
        return machine->counter;
    }
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        struct momi_session *session = MOMI_CONTAINER_OF(link, struct momi_session, link);
        MOMI_LIST_FOR_EACH (at, &session->consumers) {
            struct momi_consumer *consumer =
                MOMI_CONTAINER_OF(at, struct momi_consumer, session_link);
            size_t count = consumer->leases.count;
            const struct momi_lease *last =
                count == 0 ? NULL : momi_ring_at(&consumer->leases, count - 1);
            uint64_t held = last == NULL ? 0 : last->counter + last->run.count - 1;
            counter = held > counter ? held : counter;
        }
    }
    return counter;
}

static void save_machine(struct saver *saver) {
    const struct momi_machine *machine = saver->machine;
    begin_record(saver);
    momi_put_u32(&saver->value, machine->epoch);
    momi_put_u64(&saver->value, machine->elapsed_us);
    momi_put_u64(&saver->value, machine->wall_us);
    momi_put_u64(&saver->value, counter_to_save(machine));
    momi_put_u64(&saver->value, machine->id_next);
    put_record(saver, (struct momi_key){.bytes = {'m'}, .size = 1});
}

static void save_session(struct saver *saver, const struct momi_session *session) {
    struct momi_bytes *out = &saver->value;
    begin_record(saver);
    momi_put_u64(out, session->node);
    momi_put_u64(out, session->incarnation);
    momi_put_u64(out, session->opening);
    momi_put_u64(out, session->principal);
    momi_put_u64(out, session->last);
    if (MUTANT(RESULTS_NOT_SAVED)) {
        momi_put_u64(out, session->last);
        put_record(saver, momi_record_session_key(session->id));
        return;
    }
    momi_put_u64(out, session->answered);
    for (size_t i = 0; i < session->results.count; i++) {
        const struct momi_result *result = momi_ring_at(&session->results, i);
        momi_put_varint(out, (uint64_t) - (int64_t)result->error);
        momi_put_varint(out, result->value);
    }
    put_record(saver, momi_record_session_key(session->id));
}

static void save_history_block(void *user, uint32_t block,
                               const struct momi_slice *value) {
    struct saver *saver = user;
    struct momi_key key = momi_record_block_key('h', saver->id, block);
    if (value == NULL) {
        momi_batch_delete_record(saver->batch, saver->machine->shard, saver->side,
                                 momi_key_slice(&key));
        return;
    }
    momi_batch_put_record(saver->batch, saver->machine->shard, saver->side,
                          momi_key_slice(&key), *value);
}

/* All marks anew: they change at most once a second. Each block begins with whole
 * numbers, then differences. */
static void save_marks(struct saver *saver, struct momi_stream *stream) {
    size_t count = stream->marks.count;
    uint32_t blocks = (uint32_t)((count + MOMI_MARKS_BLOCK - 1) / MOMI_MARKS_BLOCK);
    for (uint32_t block = 0; block < blocks; block++) {
        struct momi_time_mark before = {0};
        begin_record(saver);
        for (size_t i = (size_t)block * MOMI_MARKS_BLOCK;
             i < count && i < (size_t)(block + 1) * MOMI_MARKS_BLOCK; i++) {
            const struct momi_time_mark *mark = momi_ring_at(&stream->marks, i);
            momi_put_varint(&saver->value, mark->sequence - before.sequence);
            momi_put_varint(&saver->value, mark->elapsed_us - before.elapsed_us);
            momi_put_varint(&saver->value, mark->wall_us - before.wall_us);
            before = *mark;
        }
        put_record(saver, momi_record_block_key('w', stream->id, block));
    }
    for (uint32_t block = blocks; block < stream->marks_saved; block++) {
        struct momi_key key = momi_record_block_key('w', stream->id, block);
        momi_batch_delete_record(saver->batch, saver->machine->shard, saver->side,
                                 momi_key_slice(&key));
    }
    stream->marks_saved = blocks;
    stream->marks_dirty = false;
}

static void save_stream(struct saver *saver, struct momi_stream *stream) {
    struct momi_bytes *out = &saver->value;
    begin_record(saver);
    momi_put_u8(out, (uint8_t)stream->kind);
    momi_put_slice(out, stream->name);
    momi_put_u64(out, stream->options.lease_us);
    momi_put_u32(out, stream->options.deliveries_max);
    momi_put_u64(out, stream->options.messages_max);
    momi_put_u64(out, stream->options.bytes_max);
    momi_put_u64(out, stream->options.retention_us);
    momi_put_u64(out, stream->options.retention_bytes);
    momi_put_u64(out, stream->options.retention_count);
    momi_put_u8(out, stream->options.no_dead_letter ? 1 : 0);
    momi_put_u64(out, stream->creator);
    momi_put_u64(out, stream->created_wall_us);
    momi_put_u64(out, stream->sequence_next);
    put_record(saver, momi_record_key('s', stream->id));
    saver->id = stream->id;
    momi_runs_save(&stream->history, save_history_block, saver);
    if (stream->marks_dirty) {
        save_marks(saver, stream);
    }
}

static void save_group(struct saver *saver, const struct momi_group *group) {
    struct momi_bytes *out = &saver->value;
    begin_record(saver);
    momi_put_u64(out, group->stream->id);
    momi_put_slice(out, group->name);
    momi_put_u8(out, group->ignore_own ? 1 : 0);
    momi_put_u64(out, group->creator);
    struct momi_session_id owner = {0};
    if (group->owner != NULL) {
        owner = group->owner->id;
    }
    momi_put_u64(out, owner.index);
    momi_put_u32(out, owner.epoch);
    momi_put_u32(out, owner.place);
    momi_put_u64(out, group->fill_from);
    momi_put_u64(out, group->fill_to);
    momi_put_u64(out, group->redelivered);
    momi_put_u64(out, group->dead_lettered);
    momi_put_varint(out, group->filters_count);
    for (uint32_t i = 0; i < group->filters_count; i++) {
        momi_put_slice(out, group->filters[i].pattern);
    }
    put_record(saver, momi_record_key('g', group->id));
}

void momi_machine_save(struct momi_machine *machine, uint8_t side,
                       struct momi_batch *batch) {
    struct saver saver = {.machine = machine, .batch = batch, .side = side};
    save_deleted(&saver);
    save_machine(&saver);
    /* Before groups: whether its ready runs changed is known by the group's mark. */
    momi_checkout_save(machine, side, batch);
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->dirty_sessions) {
        save_session(&saver, MOMI_CONTAINER_OF(link, struct momi_session, dirty_link));
        momi_list_remove(link);
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->dirty_streams) {
        save_stream(&saver, MOMI_CONTAINER_OF(link, struct momi_stream, dirty_link));
        momi_list_remove(link);
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->dirty_groups) {
        save_group(&saver, MOMI_CONTAINER_OF(link, struct momi_group, dirty_link));
        momi_list_remove(link);
    }
    momi_live_save(machine->live, side, batch);
    machine->dirty_bytes = 0;
    momi_bytes_free(&saver.value);
}
