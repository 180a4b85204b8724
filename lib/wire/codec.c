/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames as bytes: see codec.h. Encoding and decoding check a frame by the same rules
 * (`check_frame`), so that a mistake of ours shows where it is made.
 */
#include "wire/codec.h"

#include "base/crc.h"
#include "base/pack.h"
#include "wire/mom.pb-c.h"
#include "wire/pb_arena.h"

enum {
    AT_MAGIC = 0,
    AT_VERSION = 2,
    AT_TYPE = 3,
    AT_CONTROL_SIZE = 4,
    AT_PAYLOAD_SIZE = 8,
    AT_CRC = 12,
    TYPES_END = 64,
    ERROR_LEAST = MOM_VERSION, /* the class with the highest number */
    CONTROL_BYTES_MAX = 4096,  /* without lists */
    LINES_BYTES_MAX = 10 + MOMI_CODEC_LINES_MAX * 50,
    RUNS_BYTES_MAX = 10 + MOMI_CODEC_RUNS_MAX * 80,
};

static const struct row {
    const char *name;
    uint32_t fields;
} table[TYPES_END] = {
#define ROW(type, used, text) [FRAME_##type] = {.name = #type, .fields = (used)},
    MOMI_FRAME_MAP(ROW)
#undef ROW
};

const char *momi_frame_type_name(unsigned type) {
    return type < TYPES_END ? table[type].name : NULL;
}

uint32_t momi_frame_type_fields(unsigned type) {
    return type < TYPES_END ? table[type].fields : 0;
}

static const char *field_name(uint32_t fields) {
#define NAME(name, bit, text)                                                            \
    if ((fields & F_##name) != 0) {                                                      \
        return text;                                                                     \
    }
    MOMI_FRAME_FIELD_MAP(NAME)
#undef NAME
    return "";
}

/* The fields of a frame that are not 0 or empty. */
static uint32_t fields_in_use(const struct momi_frame *frame, uint64_t payload_size) {
    bool has_session = frame->session.index != 0 || frame->session.epoch != 0 ||
                       frame->session.place != 0;
    return (frame->shard != 0 ? F_SHARD : 0u) | (frame->from_replica != 0 ? F_FROM : 0u) |
           (frame->to_replica != 0 ? F_TO : 0u) | (frame->term != 0 ? F_TERM : 0u) |
           (frame->index != 0 ? F_INDEX : 0u) | (frame->log_term != 0 ? F_LOG_TERM : 0u) |
           (frame->commit != 0 ? F_COMMIT : 0u) | (frame->counter != 0 ? F_COUNTER : 0u) |
           (frame->number != 0 ? F_NUMBER : 0u) | (frame->flags != 0 ? F_FLAGS : 0u) |
           (frame->error != 0 ? F_ERROR : 0u) | (frame->epoch != 0 ? F_EPOCH : 0u) |
           (has_session ? F_SESSION : 0u) | (frame->consumer != 0 ? F_CONSUMER : 0u) |
           (frame->count != 0 ? F_COUNT : 0u) | (frame->free_bytes != 0 ? F_FREE : 0u) |
           (frame->kind != 0 ? F_KIND : 0u) | (frame->name.size != 0 ? F_NAME : 0u) |
           (frame->detail.size != 0 ? F_DETAIL : 0u) |
           (frame->lines_count != 0 ? F_LINES : 0u) |
           (frame->runs_count != 0 ? F_RUNS : 0u) | (payload_size != 0 ? F_PAYLOAD : 0u);
}

static int check_runs(const struct momi_frame *frame, uint64_t payload_size) {
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < frame->runs_count; index++) {
        const struct momi_delivery_run *run = &frame->runs[index];
        if (run->count == 0 || run->count > run->bytes) {
            return momi_err(MOM_INVALID, "run of %u messages in %u bytes", run->count,
                            run->bytes);
        }
        bytes += run->bytes;
    }
    if (bytes != payload_size) {
        return momi_err(MOM_INVALID, "runs of %llu bytes, payload of %llu",
                        (unsigned long long)bytes, (unsigned long long)payload_size);
    }
    return MOM_OK;
}

/* What must hold of every frame, whoever made it. */
static int check_frame(const struct momi_frame *frame, uint64_t payload_size) {
    const char *type = momi_frame_type_name((unsigned)frame->type);
    if (type == NULL) {
        return momi_err(MOM_INVALID, "frame type %u", (unsigned)frame->type);
    }
    uint32_t odd = fields_in_use(frame, payload_size) & ~table[frame->type].fields;
    if (odd != 0) {
        return momi_err(MOM_INVALID, "frame %s does not use %s", type, field_name(odd));
    }
    if (frame->shard > MOMI_SHARDS_MAX) {
        return momi_err(MOM_INVALID, "frame %s for shard %u", type, frame->shard);
    }
    if ((frame->flags & ~MOMI_FLAGS_ALL) != 0 || frame->error > 0 ||
        frame->error < ERROR_LEAST || frame->error == -1) {
        return momi_err(MOM_INVALID, "frame %s with flags %x, error %d", type,
                        frame->flags, frame->error);
    }
    if (frame->name.size > MOMI_CODEC_NAME_BYTES_MAX ||
        frame->detail.size > MOMI_CODEC_DETAIL_BYTES_MAX ||
        frame->lines_count > MOMI_CODEC_LINES_MAX ||
        frame->runs_count > MOMI_CODEC_RUNS_MAX) {
        return momi_err(MOM_INVALID,
                        "frame %s: name of %zu, detail of %zu bytes, %u "
                        "lines, %u runs",
                        type, frame->name.size, frame->detail.size, frame->lines_count,
                        frame->runs_count);
    }
    for (uint32_t index = 0; index < frame->lines_count; index++) {
        if (frame->lines[index].shard > MOMI_SHARDS_MAX) {
            return momi_err(MOM_INVALID, "line for shard %u", frame->lines[index].shard);
        }
    }
    return frame->type == FRAME_DELIVER ? check_runs(frame, payload_size) : MOM_OK;
}

static size_t control_bytes_max(uint32_t fields) {
    return (size_t)CONTROL_BYTES_MAX + ((fields & F_LINES) != 0 ? LINES_BYTES_MAX : 0) +
           ((fields & F_RUNS) != 0 ? RUNS_BYTES_MAX : 0);
}

/* --- encoding --- */

/* protobuf-c does not write through it. */
static ProtobufCBinaryData binary(struct momi_slice bytes) {
    return (ProtobufCBinaryData){.len = bytes.size,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}

static bool fill_control(const struct momi_frame *frame, struct momi_arena *arena,
                         MomiWire__Control *control) {
    struct momi_slice lines, runs;
    if (!momi_codec_pack_lines(frame, arena, &lines) ||
        !momi_codec_pack_runs(frame, arena, &runs)) {
        return false;
    }
    control->shard = frame->shard;
    control->from_replica = frame->from_replica;
    control->to_replica = frame->to_replica;
    control->term = frame->term;
    control->index = frame->index;
    control->log_term = frame->log_term;
    control->commit = frame->commit;
    control->counter = frame->counter;
    control->number = frame->number;
    control->flags = frame->flags;
    control->error = frame->error;
    control->epoch = frame->epoch;
    control->session_index = frame->session.index;
    control->session_epoch = frame->session.epoch;
    control->session_place = frame->session.place;
    control->consumer = frame->consumer;
    control->count = frame->count;
    control->free_bytes = frame->free_bytes;
    control->kind = frame->kind;
    control->name = binary(frame->name);
    control->detail = binary(frame->detail);
    control->lines = binary(lines);
    control->runs = binary(runs);
    return true;
}

static void seal(const struct momi_frame *frame, uint8_t *bytes, size_t size,
                 size_t payload_size) {
    bytes[AT_MAGIC] = MOMI_WIRE_MAGIC;
    bytes[AT_MAGIC + 1] = MOMI_WIRE_FRAME;
    bytes[AT_VERSION] = MOMI_CODEC_VERSION;
    bytes[AT_TYPE] = (uint8_t)frame->type;
    momi_store_le32(bytes + AT_CONTROL_SIZE, (uint32_t)(size - MOMI_CODEC_HEADER));
    momi_store_le32(bytes + AT_PAYLOAD_SIZE, (uint32_t)payload_size);
    momi_store_le32(bytes + AT_CRC, 0);
    uint32_t crc = momi_crc32c(0, bytes, size);
    for (uint32_t index = 0; index < frame->parts_count; index++) {
        crc = momi_crc32c(crc, frame->parts[index].bytes.data,
                          frame->parts[index].bytes.size);
    }
    momi_store_le32(bytes + AT_CRC, crc);
}

int momi_codec_encode(const struct momi_frame *frame, struct momi_arena *arena,
                      struct momi_slice *head) {
    uint64_t payload_size = 0;
    for (uint32_t index = 0; index < frame->parts_count; index++) {
        payload_size += frame->parts[index].bytes.size;
    }
    int error = check_frame(frame, payload_size);
    if (error != MOM_OK) {
        return error;
    }
    MomiWire__Control control = MOMI_WIRE__CONTROL__INIT;
    if (!fill_control(frame, arena, &control)) {
        return MOM_NO_MEMORY;
    }
    size_t size = MOMI_CODEC_HEADER + momi_wire__control__get_packed_size(&control);
    if (payload_size > MOMI_CODEC_BYTES_MAX ||
        size > MOMI_CODEC_BYTES_MAX - payload_size) {
        return momi_err(MOM_TOO_BIG, "frame %s: payload of %llu bytes",
                        table[frame->type].name, (unsigned long long)payload_size);
    }
    uint8_t *bytes = momi_arena_alloc(arena, size);
    if (bytes == NULL) {
        return MOM_NO_MEMORY;
    }
    momi_wire__control__pack(&control, bytes + MOMI_CODEC_HEADER);
    seal(frame, bytes, size, (size_t)payload_size);
    *head = momi_slice(bytes, size);
    return MOM_OK;
}

/* --- decoding --- */

static struct momi_slice slice_of(ProtobufCBinaryData data) {
    return momi_slice(data.data, data.len);
}

static int read_control(const MomiWire__Control *control, struct momi_arena *arena,
                        struct momi_frame *frame) {
    frame->shard = control->shard;
    frame->from_replica = control->from_replica;
    frame->to_replica = control->to_replica;
    frame->term = control->term;
    frame->index = control->index;
    frame->log_term = control->log_term;
    frame->commit = control->commit;
    frame->counter = control->counter;
    frame->number = control->number;
    frame->flags = control->flags;
    frame->error = control->error;
    frame->epoch = control->epoch;
    frame->session = (struct momi_session_id){.index = control->session_index,
                                              .epoch = control->session_epoch,
                                              .place = control->session_place};
    frame->consumer = control->consumer;
    frame->count = control->count;
    frame->free_bytes = control->free_bytes;
    frame->kind = control->kind;
    frame->name = slice_of(control->name);
    frame->detail = slice_of(control->detail);
    int error = momi_codec_unpack_lines(slice_of(control->lines), arena, frame);
    if (error == MOM_OK) {
        error = momi_codec_unpack_runs(slice_of(control->runs), arena, frame);
    }
    return error;
}

static int decode_control(struct momi_slice bytes, struct momi_arena *arena,
                          struct momi_frame *frame) {
    struct momi_pb_arena pb;
    momi_pb_arena_init(&pb, arena);
    const MomiWire__Control *control =
        momi_wire__control__unpack(&pb.allocator, bytes.size, bytes.data);
    if (control == NULL) {
        return pb.failed ? MOM_NO_MEMORY
                         : momi_err(MOM_INVALID, "control part does not unpack");
    }
    if (control->base.n_unknown_fields != 0) {
        return momi_err(MOM_INVALID, "control part with unknown fields");
    }
    return read_control(control, arena, frame);
}

/* APPEND and ENTRIES: `count` times (u32 size, entry), nothing more. */
static int check_entries(const struct momi_frame *frame) {
    struct momi_reader in = momi_reader(frame->payload);
    for (uint32_t index = 0; index < frame->count && !in.failed; index++) {
        uint32_t size = momi_get_u32(&in);
        if (size == 0 || momi_get_bytes(&in, size).size != size) {
            in.failed = true;
        }
    }
    return momi_reader_done(&in)
               ? MOM_OK
               : momi_err(MOM_INVALID, "payload does not hold %u entries", frame->count);
}

static int check_fixed_header(struct momi_slice bytes) {
    if (bytes.size < MOMI_CODEC_HEADER || bytes.size > MOMI_CODEC_BYTES_MAX ||
        momi_wire_kind(bytes) != MOMI_WIRE_FRAME) {
        return momi_err(MOM_INVALID, "%zu bytes that are no frame", bytes.size);
    }
    if (bytes.data[AT_VERSION] != MOMI_CODEC_VERSION) {
        return momi_err(MOM_VERSION, "frame of version %u", bytes.data[AT_VERSION]);
    }
    uint64_t control_size = momi_load_le32(bytes.data + AT_CONTROL_SIZE);
    uint64_t payload_size = momi_load_le32(bytes.data + AT_PAYLOAD_SIZE);
    if (MOMI_CODEC_HEADER + control_size + payload_size != bytes.size) {
        return momi_err(MOM_INVALID, "frame of %zu bytes says %llu and %llu", bytes.size,
                        (unsigned long long)control_size,
                        (unsigned long long)payload_size);
    }
    return MOM_OK;
}

static bool sum_is_right(struct momi_slice bytes) {
    static const uint8_t zero[4];
    uint32_t crc = momi_crc32c(0, bytes.data, AT_CRC);
    crc = momi_crc32c(crc, zero, sizeof zero);
    crc =
        momi_crc32c(crc, bytes.data + MOMI_CODEC_HEADER, bytes.size - MOMI_CODEC_HEADER);
    return crc == momi_load_le32(bytes.data + AT_CRC);
}

int momi_codec_decode(struct momi_slice bytes, struct momi_buf *chunk,
                      struct momi_arena *arena, struct momi_frame *frame) {
    int error = check_fixed_header(bytes);
    if (error != MOM_OK) {
        return error;
    }
    if (!sum_is_right(bytes)) {
        return momi_err(MOM_CORRUPT, "frame with a wrong checksum");
    }
    uint8_t type = bytes.data[AT_TYPE];
    uint32_t fields = momi_frame_type_fields(type);
    size_t control_size = momi_load_le32(bytes.data + AT_CONTROL_SIZE);
    if (momi_frame_type_name(type) == NULL || control_size > control_bytes_max(fields)) {
        return momi_err(MOM_INVALID, "frame type %u, control part of %zu bytes", type,
                        control_size);
    }
    struct momi_slice control = momi_slice(bytes.data + MOMI_CODEC_HEADER, control_size);
    struct momi_frame found = {.type = (enum momi_frame_type)type, .buf = chunk};
    found.payload = momi_slice(control.data + control.size,
                               bytes.size - MOMI_CODEC_HEADER - control.size);
    error = decode_control(control, arena, &found);
    if (error == MOM_OK) {
        error = check_frame(&found, found.payload.size);
    }
    if (error == MOM_OK && (type == FRAME_APPEND || type == FRAME_ENTRIES)) {
        error = check_entries(&found);
    }
    if (error == MOM_OK) {
        *frame = found;
    }
    return error;
}
