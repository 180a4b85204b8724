/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random but legal frames and handshake messages, for the codec's tests and the corpus.
 * Everything lies in the arena that is passed.
 */
#ifndef MOM_TESTS_FUZZ_SAMPLES_H
#define MOM_TESTS_FUZZ_SAMPLES_H

#include "base/arena.h"
#include "base/assert.h"
#include "base/pack.h"
#include "base/rng.h"
#include "wire/codec.h"
#include "wire/hello.h"

enum { SAMPLE_TYPES_END = 64 };

/* A number of any width, so that every length of varint occurs. Never 0. */
static inline uint64_t sample_u64(struct momi_rng *rng) {
    return (momi_rng_next(rng) >> momi_rng_between(rng, 0, 63)) | 1;
}

static inline uint32_t sample_u32(struct momi_rng *rng) {
    return (uint32_t)(momi_rng_next(rng) >> momi_rng_between(rng, 32, 63)) | 1;
}

static inline void *sample_alloc(struct momi_arena *arena, size_t size) {
    void *memory = momi_arena_alloc(arena, size);
    MOMI_ASSERT(memory != NULL);
    return memory;
}

static inline struct momi_slice sample_bytes(struct momi_rng *rng,
                                             struct momi_arena *arena, size_t size) {
    uint8_t *bytes = sample_alloc(arena, size);
    for (size_t index = 0; index < size; index++) {
        bytes[index] = (uint8_t)momi_rng_next(rng);
    }
    return momi_slice(bytes, size);
}

static inline int32_t sample_error(struct momi_rng *rng) {
    return -(int32_t)momi_rng_between(rng, 2, 19);
}

static inline void sample_add_part(struct momi_frame *frame, struct momi_arena *arena,
                                   struct momi_slice bytes) {
    struct momi_part *parts =
        sample_alloc(arena, (frame->parts_count + 1) * sizeof *parts);
    if (frame->parts_count > 0) {
        memcpy(parts, frame->parts, frame->parts_count * sizeof *parts);
    }
    parts[frame->parts_count] = (struct momi_part){.bytes = bytes};
    frame->parts = parts;
    frame->parts_count++;
}

static inline void sample_payload(struct momi_rng *rng, struct momi_arena *arena,
                                  struct momi_frame *frame) {
    bool has_entries = frame->type == FRAME_APPEND || frame->type == FRAME_ENTRIES;
    uint64_t pieces = momi_rng_between(rng, 0, 4);
    for (uint64_t piece = 0; piece < pieces; piece++) {
        size_t size = momi_rng_between(rng, has_entries ? 1 : 0, 200);
        if (has_entries) {
            uint8_t *prefix = sample_alloc(arena, 4);
            momi_store_le32(prefix, (uint32_t)size);
            sample_add_part(frame, arena, momi_slice(prefix, 4));
        }
        sample_add_part(frame, arena, sample_bytes(rng, arena, size));
    }
    if (has_entries) {
        frame->count = (uint32_t)pieces;
    }
}

static inline void sample_lines(struct momi_rng *rng, struct momi_arena *arena,
                                struct momi_frame *frame, uint32_t count) {
    frame->lines = sample_alloc(arena, count * sizeof *frame->lines);
    memset(frame->lines, 0, count * sizeof *frame->lines);
    frame->lines_count = count;
    for (uint32_t index = 0; index < count; index++) {
        frame->lines[index] = (struct momi_heartbeat_line){
            .shard = (uint32_t)momi_rng_between(rng, 0, MOMI_SHARDS_MAX),
            .from_replica = sample_u64(rng),
            .to_replica = sample_u64(rng),
            .term = sample_u64(rng),
            .commit = momi_rng_next(rng),
        };
    }
}

/* Runs, and a payload of exactly their bytes. */
static inline void sample_runs(struct momi_rng *rng, struct momi_arena *arena,
                               struct momi_frame *frame, uint32_t count) {
    frame->runs = sample_alloc(arena, count * sizeof *frame->runs);
    memset(frame->runs, 0, count * sizeof *frame->runs);
    frame->runs_count = count;
    for (uint32_t index = 0; index < count; index++) {
        struct momi_delivery_run *run = &frame->runs[index];
        run->delivery = momi_rng_next(rng);
        run->sequence = sample_u64(rng);
        run->counter = sample_u64(rng);
        run->bytes = (uint32_t)momi_rng_between(rng, 1, 40);
        run->count = (uint32_t)momi_rng_between(rng, 1, run->bytes);
        run->deliveries = (uint32_t)momi_rng_between(rng, 0, 3);
        run->wall_us = sample_u64(rng);
        run->publisher = momi_rng_next(rng);
        sample_add_part(frame, arena, sample_bytes(rng, arena, run->bytes));
    }
}

static inline void sample_field(struct momi_rng *rng, struct momi_arena *arena,
                                struct momi_frame *frame, uint32_t field) {
    switch (field) {
    case F_SHARD:
        frame->shard = (uint32_t)momi_rng_between(rng, 1, MOMI_SHARDS_MAX);
        break;
    case F_FROM:
        frame->from_replica = sample_u64(rng);
        break;
    case F_TO:
        frame->to_replica = sample_u64(rng);
        break;
    case F_TERM:
        frame->term = sample_u64(rng);
        break;
    case F_INDEX:
        frame->index = sample_u64(rng);
        break;
    case F_LOG_TERM:
        frame->log_term = sample_u64(rng);
        break;
    case F_COMMIT:
        frame->commit = sample_u64(rng);
        break;
    case F_COUNTER:
        frame->counter = sample_u64(rng);
        break;
    case F_NUMBER:
        frame->number = sample_u64(rng);
        break;
    case F_FLAGS:
        frame->flags = (uint32_t)momi_rng_between(rng, 1, MOMI_FLAGS_ALL);
        break;
    case F_ERROR:
        frame->error = sample_error(rng);
        break;
    case F_EPOCH:
        frame->epoch = sample_u32(rng);
        break;
    case F_SESSION:
        frame->session = (struct momi_session_id){
            .index = sample_u64(rng), .epoch = sample_u32(rng), .place = sample_u32(rng)};
        break;
    case F_CONSUMER:
        frame->consumer = sample_u64(rng);
        break;
    case F_COUNT:
        frame->count = sample_u32(rng);
        break;
    case F_FREE:
        frame->free_bytes = momi_rng_next(rng);
        break;
    case F_KIND:
        frame->kind = sample_u32(rng);
        break;
    case F_NAME:
        frame->name = sample_bytes(rng, arena, momi_rng_between(rng, 1, 300));
        break;
    case F_DETAIL:
        frame->detail = sample_bytes(rng, arena, momi_rng_between(rng, 1, 100));
        break;
    case F_LINES:
        sample_lines(rng, arena, frame, (uint32_t)momi_rng_between(rng, 1, 20));
        break;
    case F_RUNS:
        sample_runs(rng, arena, frame, (uint32_t)momi_rng_between(rng, 1, 20));
        break;
    case F_PAYLOAD:
        if (frame->type != FRAME_DELIVER) {
            sample_payload(rng, arena, frame);
        }
        break;
    default:
        MOMI_ASSERT(false);
    }
}

/* A frame of an existing type; each of its fields is set or left out by chance. */
static inline void sample_frame(struct momi_rng *rng, struct momi_arena *arena,
                                unsigned type, struct momi_frame *frame) {
    memset(frame, 0, sizeof *frame);
    frame->type = (enum momi_frame_type)type;
    uint32_t fields = momi_frame_type_fields(type);
    for (uint32_t bit = 0; bit < 32; bit++) {
        uint32_t field = 1u << bit;
        if ((fields & field) != 0 && momi_rng_chance(rng, 750000)) {
            sample_field(rng, arena, frame, field);
        }
    }
    if (frame->parts_count == 0 &&
        (frame->type == FRAME_APPEND || frame->type == FRAME_ENTRIES)) {
        frame->count = 0;
    }
}

static inline struct momi_slice sample_text(struct momi_rng *rng,
                                            struct momi_arena *arena, size_t max) {
    return sample_bytes(rng, arena, momi_rng_between(rng, 0, max));
}

static inline void sample_fill(struct momi_rng *rng, uint8_t *bytes, size_t size) {
    for (size_t index = 0; index < size; index++) {
        bytes[index] = (uint8_t)momi_rng_next(rng);
    }
}

static inline void sample_hello(struct momi_rng *rng, struct momi_arena *arena,
                                enum momi_hello_kind kind,
                                struct momi_hello_message *message) {
    memset(message, 0, sizeof *message);
    message->kind = kind;
    struct momi_hello *hello = &message->hello;
    switch (kind) {
    case MOMI_HELLO:
        hello->version_min = (uint8_t)momi_rng_between(rng, 1, 100);
        hello->version_max = (uint8_t)momi_rng_between(rng, hello->version_min, 255);
        hello->role = momi_rng_chance(rng, 500000) ? MOMI_ROLE_STORE : MOMI_ROLE_CLIENT;
        sample_fill(rng, hello->mesh.bytes, sizeof hello->mesh.bytes);
        hello->node = sample_u64(rng);
        hello->incarnation = sample_u64(rng);
        hello->boot_nonce = momi_rng_next(rng);
        hello->connection = sample_u64(rng);
        hello->founders_hash = momi_rng_next(rng);
        sample_fill(rng, hello->public_key, sizeof hello->public_key);
        sample_fill(rng, hello->challenge, sizeof hello->challenge);
        hello->name = sample_text(rng, arena, MOMI_NAME_BYTES_MAX);
        hello->address = sample_text(rng, arena, MOMI_MEMBER_ADDRESS_BYTES_MAX);
        hello->gossip_bus = sample_text(rng, arena, MOMI_MEMBER_ADDRESS_BYTES_MAX);
        hello->gossip_survey = sample_text(rng, arena, MOMI_MEMBER_ADDRESS_BYTES_MAX);
        hello->credential = sample_text(rng, arena, MOMI_HELLO_CREDENTIAL_BYTES_MAX);
        break;
    case MOMI_HELLO_PROOF:
        sample_fill(rng, message->proof.signature, sizeof message->proof.signature);
        break;
    case MOMI_HELLO_REFUSED:
        message->refused.error = sample_error(rng);
        message->refused.text = sample_text(rng, arena, MOMI_HELLO_TEXT_BYTES_MAX);
        break;
    case MOMI_HELLO_WAKE:
        message->wake.node = sample_u64(rng);
        message->wake.address = sample_text(rng, arena, MOMI_MEMBER_ADDRESS_BYTES_MAX);
        break;
    }
}

/* A copy of head and payload in one block. */
static inline struct momi_buf *sample_whole(const struct momi_frame *frame,
                                            struct momi_slice head) {
    size_t size = head.size;
    for (uint32_t index = 0; index < frame->parts_count; index++) {
        size += frame->parts[index].bytes.size;
    }
    struct momi_buf *whole = momi_buf_new(size);
    MOMI_ASSERT(whole != NULL);
    memcpy(whole->data, head.data, head.size);
    size_t at = head.size;
    for (uint32_t index = 0; index < frame->parts_count; index++) {
        struct momi_slice bytes = frame->parts[index].bytes;
        if (bytes.size > 0) {
            memcpy(whole->data + at, bytes.data, bytes.size);
        }
        at += bytes.size;
    }
    return whole;
}

#endif
