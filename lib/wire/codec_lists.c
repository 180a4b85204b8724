/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heartbeat lines and delivery runs as varints: a count, then the items.
 *
 * A run says what differs from the end of the one before it, so that messages published
 * and leased in order cost about a byte per field: delivery, sequence, counter and time
 * as signed differences, the publisher as exclusive or. Differences wrap around; every
 * value can be told.
 */
#include "wire/codec.h"

#include "base/pack.h"

enum {
    VARINT_MAX = 10,
    LINE_BYTES_MIN = 5,
    LINE_BYTES_MAX = 5 * VARINT_MAX,
    RUN_BYTES_MIN = 8,
    RUN_BYTES_MAX = 8 * VARINT_MAX,
};

static uint8_t *put(uint8_t *at, uint64_t value) {
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* A difference modulo 2^64 with its sign in the lowest bit, so that small ones are short.
 */
static uint8_t *put_difference(uint8_t *at, uint64_t difference) {
    return put(at, difference << 1 ^ (0 - (difference >> 63)));
}

static uint64_t get_difference(struct momi_reader *in) {
    uint64_t folded = momi_get_varint(in);
    return folded >> 1 ^ (0 - (folded & 1));
}

static uint32_t get_u32(struct momi_reader *in) {
    uint64_t value = momi_get_varint(in);
    if (value > UINT32_MAX) {
        in->failed = true;
        return 0;
    }
    return (uint32_t)value;
}

bool momi_codec_pack_lines(const struct momi_frame *frame, struct momi_arena *arena,
                           struct momi_slice *packed) {
    *packed = momi_slice(NULL, 0);
    if (frame->lines_count == 0) {
        return true;
    }
    uint8_t *bytes =
        momi_arena_alloc(arena, VARINT_MAX + (size_t)frame->lines_count * LINE_BYTES_MAX);
    if (bytes == NULL) {
        return false;
    }
    uint8_t *at = put(bytes, frame->lines_count);
    for (uint32_t index = 0; index < frame->lines_count; index++) {
        const struct momi_heartbeat_line *line = &frame->lines[index];
        at = put(at, line->shard);
        at = put(at, line->from_replica);
        at = put(at, line->to_replica);
        at = put(at, line->term);
        at = put(at, line->commit);
    }
    *packed = momi_slice(bytes, (size_t)(at - bytes));
    return true;
}

bool momi_codec_pack_runs(const struct momi_frame *frame, struct momi_arena *arena,
                          struct momi_slice *packed) {
    *packed = momi_slice(NULL, 0);
    if (frame->runs_count == 0) {
        return true;
    }
    uint8_t *bytes =
        momi_arena_alloc(arena, VARINT_MAX + (size_t)frame->runs_count * RUN_BYTES_MAX);
    if (bytes == NULL) {
        return false;
    }
    uint8_t *at = put(bytes, frame->runs_count);
    struct momi_delivery_run before = {0};
    for (uint32_t index = 0; index < frame->runs_count; index++) {
        const struct momi_delivery_run *run = &frame->runs[index];
        at = put_difference(at, run->delivery - before.delivery - before.count);
        at = put_difference(at, run->sequence - before.sequence - before.count);
        at = put_difference(at, run->counter - before.counter - before.count);
        at = put(at, run->count);
        at = put(at, run->deliveries);
        at = put_difference(at, run->wall_us - before.wall_us);
        at = put(at, run->publisher ^ before.publisher);
        at = put(at, run->bytes);
        before = *run;
    }
    *packed = momi_slice(bytes, (size_t)(at - bytes));
    return true;
}

/* The count of a list, checked against its limit and the bytes that are there; 0: bad. */
static uint32_t get_count(struct momi_reader *in, uint32_t max, size_t bytes_min) {
    uint64_t count = momi_get_varint(in);
    return count > max || count > momi_reader_left(in) / bytes_min ? 0 : (uint32_t)count;
}

int momi_codec_unpack_lines(struct momi_slice packed, struct momi_arena *arena,
                            struct momi_frame *frame) {
    if (packed.size == 0) {
        return MOM_OK;
    }
    struct momi_reader in = momi_reader(packed);
    uint32_t count = get_count(&in, MOMI_CODEC_LINES_MAX, LINE_BYTES_MIN);
    if (count == 0) {
        return MOM_INVALID;
    }
    struct momi_heartbeat_line *lines = momi_arena_alloc(arena, count * sizeof *lines);
    if (lines == NULL) {
        return MOM_NO_MEMORY;
    }
    for (uint32_t index = 0; index < count; index++) {
        struct momi_heartbeat_line *line = &lines[index];
        memset(line, 0, sizeof *line);
        line->shard = get_u32(&in);
        line->from_replica = momi_get_varint(&in);
        line->to_replica = momi_get_varint(&in);
        line->term = momi_get_varint(&in);
        line->commit = momi_get_varint(&in);
    }
    if (!momi_reader_done(&in)) {
        return MOM_INVALID;
    }
    frame->lines = lines;
    frame->lines_count = count;
    return MOM_OK;
}

int momi_codec_unpack_runs(struct momi_slice packed, struct momi_arena *arena,
                           struct momi_frame *frame) {
    if (packed.size == 0) {
        return MOM_OK;
    }
    struct momi_reader in = momi_reader(packed);
    uint32_t count = get_count(&in, MOMI_CODEC_RUNS_MAX, RUN_BYTES_MIN);
    if (count == 0) {
        return MOM_INVALID;
    }
    struct momi_delivery_run *runs = momi_arena_alloc(arena, count * sizeof *runs);
    if (runs == NULL) {
        return MOM_NO_MEMORY;
    }
    struct momi_delivery_run before = {0};
    for (uint32_t index = 0; index < count; index++) {
        struct momi_delivery_run *run = &runs[index];
        memset(run, 0, sizeof *run);
        run->delivery = before.delivery + before.count + get_difference(&in);
        run->sequence = before.sequence + before.count + get_difference(&in);
        run->counter = before.counter + before.count + get_difference(&in);
        run->count = get_u32(&in);
        run->deliveries = get_u32(&in);
        run->wall_us = before.wall_us + get_difference(&in);
        run->publisher = before.publisher ^ momi_get_varint(&in);
        run->bytes = get_u32(&in);
        before = *run;
    }
    if (!momi_reader_done(&in)) {
        return MOM_INVALID;
    }
    frame->runs = runs;
    frame->runs_count = count;
    return MOM_OK;
}
