/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: every type comes back as it was, and no other bytes pass for a frame. The
 * table of docs/protocol-frames.md is the codec's.
 */
#include "t.h"

#include "base/crc.h"
#include "base/mem.h"
#include "fuzz/samples.h"

enum { ROUNDS = 200 };

static struct momi_arena arena;

static void check_lines(const struct momi_frame *found, const struct momi_frame *frame) {
    CHECK_EQ(found->lines_count, frame->lines_count);
    for (uint32_t index = 0; index < frame->lines_count; index++) {
        const struct momi_heartbeat_line *a = &found->lines[index];
        const struct momi_heartbeat_line *b = &frame->lines[index];
        CHECK_EQ(a->shard, b->shard);
        CHECK_EQ(a->from_replica, b->from_replica);
        CHECK_EQ(a->to_replica, b->to_replica);
        CHECK_EQ(a->term, b->term);
        CHECK_EQ(a->commit, b->commit);
    }
}

static void check_runs(const struct momi_frame *found, const struct momi_frame *frame) {
    CHECK_EQ(found->runs_count, frame->runs_count);
    for (uint32_t index = 0; index < frame->runs_count; index++) {
        const struct momi_delivery_run *a = &found->runs[index];
        const struct momi_delivery_run *b = &frame->runs[index];
        CHECK_EQ(a->delivery, b->delivery);
        CHECK_EQ(a->sequence, b->sequence);
        CHECK_EQ(a->counter, b->counter);
        CHECK_EQ(a->count, b->count);
        CHECK_EQ(a->deliveries, b->deliveries);
        CHECK_EQ(a->wall_us, b->wall_us);
        CHECK_EQ(a->publisher, b->publisher);
        CHECK_EQ(a->bytes, b->bytes);
    }
}

static void check_same(const struct momi_frame *found, const struct momi_frame *frame) {
    CHECK_EQ(found->type, frame->type);
    CHECK_EQ(found->shard, frame->shard);
    CHECK_EQ(found->from_replica, frame->from_replica);
    CHECK_EQ(found->to_replica, frame->to_replica);
    CHECK_EQ(found->term, frame->term);
    CHECK_EQ(found->index, frame->index);
    CHECK_EQ(found->log_term, frame->log_term);
    CHECK_EQ(found->commit, frame->commit);
    CHECK_EQ(found->counter, frame->counter);
    CHECK_EQ(found->number, frame->number);
    CHECK_EQ(found->flags, frame->flags);
    CHECK_EQ((int64_t)found->error, (int64_t)frame->error);
    CHECK_EQ(found->epoch, frame->epoch);
    CHECK(momi_session_id_equal(found->session, frame->session));
    CHECK_EQ(found->consumer, frame->consumer);
    CHECK_EQ(found->count, frame->count);
    CHECK_EQ(found->free_bytes, frame->free_bytes);
    CHECK_EQ(found->kind, frame->kind);
    CHECK(momi_slice_equal(found->name, frame->name));
    CHECK(momi_slice_equal(found->detail, frame->detail));
    check_lines(found, frame);
    check_runs(found, frame);
    CHECK_EQ(found->parts_count, 0);
}

static struct momi_buf *encode(const struct momi_frame *frame) {
    struct momi_slice head;
    int error = momi_codec_encode(frame, &arena, &head);
    if (error != MOM_OK) {
        fail_msg("%s: %s", momi_frame_type_name(frame->type), mom_last_error_text());
    }
    return sample_whole(frame, head);
}

static void check_payload(const struct momi_frame *found,
                          const struct momi_frame *frame) {
    size_t at = 0;
    for (uint32_t index = 0; index < frame->parts_count; index++) {
        struct momi_slice part = frame->parts[index].bytes;
        CHECK(at + part.size <= found->payload.size);
        CHECK(part.size == 0 ||
              memcmp(found->payload.data + at, part.data, part.size) == 0);
        at += part.size;
    }
    CHECK_EQ(found->payload.size, at);
}

static void every_type_comes_back(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 11);
    unsigned types = 0;
    for (unsigned type = 0; type < SAMPLE_TYPES_END; type++) {
        if (momi_frame_type_name(type) == NULL) {
            continue;
        }
        types++;
        for (unsigned round = 0; round < ROUNDS; round++) {
            momi_arena_reset(&arena);
            struct momi_frame frame, found;
            sample_frame(&rng, &arena, type, &frame);
            struct momi_buf *whole = encode(&frame);
            CHECK_OK(momi_codec_decode(momi_buf_slice(whole), whole, &arena, &found));
            check_same(&found, &frame);
            check_payload(&found, &frame);
            CHECK(found.buf == whole);
            momi_buf_release(whole);
        }
    }
    CHECK_EQ(types, 29);
}

static void an_empty_frame_is_its_header(void **state) {
    (void)state;
    struct momi_frame frame = {.type = FRAME_GOODBYE}, found;
    struct momi_slice head;
    CHECK_OK(momi_codec_encode(&frame, &arena, &head));
    CHECK_EQ(head.size, MOMI_CODEC_HEADER);
    CHECK_BYTES(head.data, "mO\x01\x25\0\0\0\0\0\0\0\0", 12);
    CHECK_OK(momi_codec_decode(head, NULL, &arena, &found));
    CHECK_EQ(found.type, FRAME_GOODBYE);
}

static void hot_frames_are_small(void **state) {
    (void)state;
    struct momi_frame append = {.type = FRAME_APPEND,
                                .shard = 7,
                                .from_replica = 20,
                                .to_replica = 21,
                                .term = 3,
                                .index = 100000,
                                .log_term = 3,
                                .commit = 99990};
    struct momi_slice head;
    CHECK_OK(momi_codec_encode(&append, &arena, &head));
    CHECK(head.size <= MOMI_CODEC_HEADER + 24);

    enum { RUNS = 100 };
    struct momi_delivery_run runs[RUNS];
    uint8_t payload[RUNS * 100] = {0};
    for (uint32_t index = 0; index < RUNS; index++) {
        runs[index] = (struct momi_delivery_run){.delivery = 5000 + index,
                                                 .sequence = 70000 + index,
                                                 .counter = 9000 + index,
                                                 .count = 1,
                                                 .wall_us = 1700000000000000 + index * 50,
                                                 .publisher = 0x1122334455667788,
                                                 .bytes = 100};
    }
    struct momi_part part = {.bytes = momi_slice(payload, sizeof payload)};
    struct momi_frame deliver = {.type = FRAME_DELIVER,
                                 .runs = runs,
                                 .runs_count = RUNS,
                                 .parts = &part,
                                 .parts_count = 1};
    CHECK_OK(momi_codec_encode(&deliver, &arena, &head));
    CHECK(head.size <= RUNS * 10 + 64);
}

static void a_field_of_another_type_is_refused(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 12);
    for (unsigned type = 0; type < SAMPLE_TYPES_END; type++) {
        uint32_t fields = momi_frame_type_fields(type);
        for (uint32_t bit = 0; fields != 0 && bit <= 21; bit++) {
            momi_arena_reset(&arena);
            struct momi_frame frame = {.type = (enum momi_frame_type)type};
            uint32_t field = 1u << bit;
            if ((fields & field) != 0) {
                continue;
            }
            sample_field(&rng, &arena, &frame, field);
            if (field == F_PAYLOAD) {
                sample_add_part(&frame, &arena, momi_slice_str("bytes"));
            }
            struct momi_slice head;
            CHECK_ERR(momi_codec_encode(&frame, &arena, &head), MOM_INVALID);
            CHECK(strstr(mom_last_error_text(), momi_frame_type_name(type)) != NULL);
            /* From a peer that has no such scruples: another type over a legal frame. */
            frame.type = field == F_LINES  ? FRAME_HEARTBEAT
                         : field == F_RUNS ? FRAME_DELIVER
                                           : FRAME_QUERY_REPLY;
            if (momi_codec_encode(&frame, &arena, &head) != MOM_OK) {
                continue;
            }
            struct momi_buf *whole = sample_whole(&frame, head);
            whole->data[3] = (uint8_t)type;
            memset(whole->data + 12, 0, 4);
            momi_store_le32(whole->data + 12, momi_crc32c(0, whole->data, whole->size));
            struct momi_frame found;
            CHECK_ERR(momi_codec_decode(momi_buf_slice(whole), whole, &arena, &found),
                      MOM_INVALID);
            momi_buf_release(whole);
        }
    }
}

static void check_refused(struct momi_frame *frame) {
    struct momi_slice head;
    CHECK_ERR(momi_codec_encode(frame, &arena, &head), MOM_INVALID);
}

static void values_out_of_their_limits_are_refused(void **state) {
    (void)state;
    momi_arena_reset(&arena);
    struct momi_rng rng;
    momi_rng_seed(&rng, 13);
    struct momi_slice head;
    struct momi_frame frame = {.type = (enum momi_frame_type)15};
    check_refused(&frame);
    frame = (struct momi_frame){.type = (enum momi_frame_type)200};
    check_refused(&frame);
    frame = (struct momi_frame){.type = FRAME_VOTE, .shard = MOMI_SHARDS_MAX + 1};
    check_refused(&frame);
    frame = (struct momi_frame){.type = FRAME_VOTE, .flags = MOMI_FLAGS_ALL + 1};
    check_refused(&frame);
    frame = (struct momi_frame){.type = FRAME_GOODBYE, .error = 1};
    check_refused(&frame);
    frame.error = -1;
    check_refused(&frame);
    frame.error = -20;
    check_refused(&frame);

    frame = (struct momi_frame){.type = FRAME_QUERY};
    frame.name = sample_bytes(&rng, &arena, MOMI_CODEC_NAME_BYTES_MAX);
    frame.detail = sample_bytes(&rng, &arena, MOMI_CODEC_DETAIL_BYTES_MAX);
    CHECK_OK(momi_codec_encode(&frame, &arena, &head));
    CHECK_OK(momi_codec_decode(head, NULL, &arena, &frame));
    frame.name = sample_bytes(&rng, &arena, MOMI_CODEC_NAME_BYTES_MAX + 1);
    check_refused(&frame);
    frame.name.size = 0;
    frame.detail = sample_bytes(&rng, &arena, MOMI_CODEC_DETAIL_BYTES_MAX + 1);
    check_refused(&frame);

    frame = (struct momi_frame){.type = FRAME_HEARTBEAT};
    sample_lines(&rng, &arena, &frame, MOMI_CODEC_LINES_MAX);
    CHECK_OK(momi_codec_encode(&frame, &arena, &head));
    CHECK_OK(momi_codec_decode(head, NULL, &arena, &frame));
    frame.lines[3].shard = MOMI_SHARDS_MAX + 1;
    check_refused(&frame);
    sample_lines(&rng, &arena, &frame, MOMI_CODEC_LINES_MAX + 1);
    check_refused(&frame);
}

static void runs_and_payload_must_agree(void **state) {
    (void)state;
    momi_arena_reset(&arena);
    struct momi_rng rng;
    momi_rng_seed(&rng, 14);
    struct momi_frame frame = {.type = FRAME_DELIVER}, found;
    sample_runs(&rng, &arena, &frame, MOMI_CODEC_RUNS_MAX);
    struct momi_buf *whole = encode(&frame);
    CHECK_OK(momi_codec_decode(momi_buf_slice(whole), whole, &arena, &found));
    check_same(&found, &frame);
    momi_buf_release(whole);
    frame.runs[5].bytes++;
    check_refused(&frame);
    frame.runs[5].bytes--;
    frame.runs[5].count = 0;
    check_refused(&frame);
    frame.runs[5].count = frame.runs[5].bytes + 1;
    check_refused(&frame);
    frame = (struct momi_frame){.type = FRAME_DELIVER};
    sample_runs(&rng, &arena, &frame, MOMI_CODEC_RUNS_MAX + 1);
    check_refused(&frame);
}

static void entries_must_fill_the_payload(void **state) {
    (void)state;
    static const uint8_t payload[] = {2, 0, 0, 0, 'a', 'b', 1, 0, 0, 0, 'c'};
    for (uint32_t count = 0; count < 4; count++) {
        for (size_t size = 0; size <= sizeof payload; size++) {
            momi_arena_reset(&arena);
            struct momi_part part = {.bytes = momi_slice(payload, size)};
            struct momi_frame frame = {
                .type = FRAME_APPEND, .count = count, .parts = &part, .parts_count = 1};
            struct momi_buf *whole = encode(&frame);
            bool fits = (count == 0 && size == 0) || (count == 1 && size == 6) ||
                        (count == 2 && size == 11);
            struct momi_frame found;
            CHECK_EQ(
                (int64_t)momi_codec_decode(momi_buf_slice(whole), whole, &arena, &found),
                (int64_t)(fits ? MOM_OK : MOM_INVALID));
            momi_buf_release(whole);
        }
    }
}

static void the_largest_frame_and_no_larger(void **state) {
    (void)state;
    momi_arena_reset(&arena);
    size_t room = MOMI_CODEC_BYTES_MAX;
    uint8_t *bytes = momi_calloc(1, room);
    struct momi_part part = {.bytes = momi_slice(bytes, room - MOMI_CODEC_HEADER)};
    struct momi_frame frame = {.type = FRAME_COMMANDS, .parts = &part, .parts_count = 1};
    struct momi_buf *whole = encode(&frame);
    struct momi_frame found;
    CHECK_OK(momi_codec_decode(momi_buf_slice(whole), whole, &arena, &found));
    momi_buf_release(whole);
    part.bytes.size++;
    struct momi_slice head;
    CHECK_ERR(momi_codec_encode(&frame, &arena, &head), MOM_TOO_BIG);
    struct momi_part parts[2] = {part, part};
    frame.parts = parts;
    frame.parts_count = 2;
    CHECK_ERR(momi_codec_encode(&frame, &arena, &head), MOM_TOO_BIG);
    momi_free(bytes);
}

/* --- damage --- */

static void truncations_and_flips_are_refused(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 15);
    for (unsigned type = 0; type < SAMPLE_TYPES_END; type++) {
        if (momi_frame_type_name(type) == NULL) {
            continue;
        }
        momi_arena_reset(&arena);
        struct momi_frame frame, found;
        sample_frame(&rng, &arena, type, &frame);
        struct momi_buf *whole = encode(&frame);
        for (size_t size = 0; size < whole->size; size++) {
            uint8_t *cut = momi_alloc(size);
            memcpy(cut, whole->data, size);
            CHECK_ERR(momi_codec_decode(momi_slice(cut, size), NULL, &arena, &found),
                      MOM_INVALID);
            momi_free(cut);
        }
        for (size_t bit = 0; bit < whole->size * 8; bit++) {
            whole->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            CHECK(momi_codec_decode(momi_buf_slice(whole), NULL, &arena, &found) != 0);
            whole->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        momi_buf_release(whole);
    }
}

static void an_unknown_version_is_told_apart(void **state) {
    (void)state;
    struct momi_frame frame = {.type = FRAME_GOODBYE};
    struct momi_buf *whole = encode(&frame);
    whole->data[2]++;
    CHECK_ERR(momi_codec_decode(momi_buf_slice(whole), NULL, &arena, &frame),
              MOM_VERSION);
    whole->data[2]--;
    whole->data[12]++;
    CHECK_ERR(momi_codec_decode(momi_buf_slice(whole), NULL, &arena, &frame),
              MOM_CORRUPT);
    momi_buf_release(whole);
}

/* A frame of `type` with hand-made control bytes and a right checksum. */
static int decode_control(unsigned type, struct momi_slice control,
                          struct momi_frame *found) {
    struct momi_buf *whole = momi_buf_new(MOMI_CODEC_HEADER + control.size);
    memset(whole->data, 0, MOMI_CODEC_HEADER);
    memcpy(whole->data, "mO\x01", 3);
    whole->data[3] = (uint8_t)type;
    momi_store_le32(whole->data + 4, (uint32_t)control.size);
    memcpy(whole->data + MOMI_CODEC_HEADER, control.data, control.size);
    momi_store_le32(whole->data + 12, momi_crc32c(0, whole->data, whole->size));
    int error = momi_codec_decode(momi_buf_slice(whole), NULL, &arena, found);
    momi_buf_release(whole);
    return error;
}

static void hostile_control_parts_are_refused(void **state) {
    (void)state;
    momi_arena_reset(&arena);
    struct momi_frame found;
    /* lines: a count without lines, one over the limit, one that promises too much. */
    static const uint8_t lines[][8] = {
        {0xb2, 1, 1, 0},
        {0xb2, 1, 2, 0xff, 0x7f},
        {0xb2, 1, 5, 1, 1, 1, 1, 0x80},
    };
    static const uint8_t sizes[] = {4, 5, 8};
    for (size_t index = 0; index < 3; index++) {
        CHECK_ERR(decode_control(FRAME_HEARTBEAT, momi_slice(lines[index], sizes[index]),
                                 &found),
                  MOM_INVALID);
    }
    /* A field that no version has; a shard as text; a number that never ends. */
    static const uint8_t unknown[] = {0xf8, 0x06, 1};
    static const uint8_t shard_text[] = {0x0a, 1, 'x'};
    static const uint8_t endless[] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    CHECK_ERR(decode_control(FRAME_VOTE, momi_slice(unknown, 3), &found), MOM_INVALID);
    CHECK_ERR(decode_control(FRAME_VOTE, momi_slice(endless, 12), &found), MOM_INVALID);
    CHECK_ERR(decode_control(FRAME_VOTE, momi_slice(shard_text, 3), &found), MOM_INVALID);
    /* More control than the type could need. */
    struct momi_bytes large = {.data = NULL};
    for (unsigned index = 0; index < 4000; index++) {
        momi_put_u16(&large, 0x0108);
    }
    CHECK_ERR(decode_control(FRAME_VOTE, momi_bytes_slice(&large), &found), MOM_INVALID);
    CHECK_OK(decode_control(FRAME_VOTE, momi_slice(large.data, 4096), &found));
    CHECK_EQ(found.shard, 1);
    momi_bytes_free(&large);
}

static void changed_control_parts_are_harmless(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 16);
    unsigned passed = 0;
    for (unsigned round = 0; round < 20000; round++) {
        momi_arena_reset(&arena);
        unsigned type = 0;
        while (momi_frame_type_name(type) == NULL) {
            type = (unsigned)momi_rng_between(&rng, 0, SAMPLE_TYPES_END - 1);
        }
        struct momi_frame frame, found;
        sample_frame(&rng, &arena, type, &frame);
        struct momi_buf *whole = encode(&frame);
        uint64_t changes = momi_rng_between(&rng, 1, 4);
        for (uint64_t change = 0; change < changes; change++) {
            size_t at = momi_rng_between(&rng, 3, whole->size - 1);
            whole->data[at] = (uint8_t)momi_rng_next(&rng);
        }
        memset(whole->data + 12, 0, 4);
        momi_store_le32(whole->data + 12, momi_crc32c(0, whole->data, whole->size));
        if (momi_codec_decode(momi_buf_slice(whole), whole, &arena, &found) == MOM_OK) {
            passed++;
            CHECK(found.payload.size <= whole->size);
            CHECK(found.lines_count <= MOMI_CODEC_LINES_MAX);
        }
        momi_buf_release(whole);
    }
    CHECK(passed > 0);
}

static void no_memory_is_told_at_every_allocation(void **state) {
    (void)state;
    momi_arena_free(&arena);
    struct momi_rng rng;
    momi_rng_seed(&rng, 17);
    struct momi_arena samples = {.first = NULL};
    struct momi_frame frame = {.type = FRAME_DELIVER}, found;
    sample_runs(&rng, &samples, &frame, 5000);
    struct momi_buf *whole = encode(&frame);
    struct momi_slice head;
    unsigned refused = 0;
    for (int64_t nth = 0;; nth++) {
        momi_arena_free(&arena);
        momi_mem_fail_after(nth, true);
        int error = momi_codec_encode(&frame, &arena, &head);
        if (error == MOM_OK) {
            error = momi_codec_decode(momi_buf_slice(whole), whole, &arena, &found);
        }
        momi_mem_fail_after(-1, false);
        if (error == MOM_OK) {
            break;
        }
        CHECK_ERR(error, MOM_NO_MEMORY);
        refused++;
    }
    CHECK(refused >= 3);
    momi_buf_release(whole);
    momi_arena_free(&samples);
}

/* --- the document --- */

static char *read_document(void) {
    char path[4096];
    const char *end = strstr(__FILE__, "tests/unit/");
    CHECK(end != NULL);
    int size = snprintf(path, sizeof path, "%.*sdocs/protocol-frames.md",
                        (int)(end - __FILE__), __FILE__);
    CHECK(size > 0 && (size_t)size < sizeof path);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        skip(); /* the sources are not where they were compiled */
    }
    char *text = calloc(1, 1 << 16);
    CHECK(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

static void add_field(char *row, size_t room, const char *name) {
    size_t size = strlen(row);
    snprintf(row + size, room - size, "%s%s", row[size - 1] == ' ' ? "" : ", ", name);
}

static void make_row(char *row, size_t room, unsigned type, const char *name,
                     uint32_t fields, const char *text) {
    snprintf(row, room, "| %u | %s | ", type, name);
#define ADD(field, bit, field_name)                                                      \
    if ((fields & F_##field) != 0) {                                                     \
        add_field(row, room, field_name);                                                \
    }
    MOMI_FRAME_FIELD_MAP(ADD)
#undef ADD
    size_t size = strlen(row);
    snprintf(row + size, room - size, " | %s |\n", text);
}

static void the_document_has_every_type(void **state) {
    (void)state;
    char *document = read_document();
    char row[1024];
    bool missing = false;
#define CHECK_ROW(type, fields, text)                                                    \
    make_row(row, sizeof row, FRAME_##type, #type, fields, text);                        \
    if (strstr(document, row) == NULL) {                                                 \
        print_message("%s", row);                                                        \
        missing = true;                                                                  \
    }
    MOMI_FRAME_MAP(CHECK_ROW)
#undef CHECK_ROW
    free(document);
    CHECK(!missing); /* the rows above belong into docs/protocol-frames.md */
}

static int free_arena(void **state) {
    (void)state;
    momi_arena_free(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_type_comes_back),
        TEST(an_empty_frame_is_its_header),
        TEST(hot_frames_are_small),
        TEST(a_field_of_another_type_is_refused),
        TEST(values_out_of_their_limits_are_refused),
        TEST(runs_and_payload_must_agree),
        TEST(entries_must_fill_the_payload),
        TEST(the_largest_frame_and_no_larger),
        TEST(truncations_and_flips_are_refused),
        TEST(an_unknown_version_is_told_apart),
        TEST(hostile_control_parts_are_refused),
        TEST(changed_control_parts_are_harmless),
        TEST(no_memory_is_told_at_every_allocation),
        TEST(the_document_has_every_type),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, free_arena);
}
