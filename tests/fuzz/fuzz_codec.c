/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that reads bytes of a lane: frames, fragments, the handshake, entries,
 * commands, answers.
 *
 * The first byte chooses what reads the rest. What is accepted is encoded again and must
 * be accepted again.
 */
#include "core/entry.h"
#include "core/info.h"
#include "fuzz/fuzz.h"
#include "fuzz/samples.h"
#include "wire/codec.h"
#include "wire/hello.h"
#include "wire/split.h"

enum fuzz_target {
    FUZZ_FRAME = 'f',        /* as it is */
    FUZZ_FRAME_SUMMED = 's', /* with its checksum made right: what lies behind it */
    FUZZ_FRAGMENTS = 'j',    /* u16 size and fragment, repeated */
    FUZZ_HELLO = 'h',
    FUZZ_HELLO_SUMMED = 'i',
    FUZZ_ENTRY = 'e',
    FUZZ_ENTRY_SUMMED = 't',
    FUZZ_COMMANDS = 'c',
    FUZZ_INFO = 'n',
};

static struct momi_arena arena;

static void fuzz_frame(struct momi_slice bytes) {
    struct momi_frame frame, again;
    if (momi_codec_decode(bytes, NULL, &arena, &frame) != MOM_OK) {
        return;
    }
    struct momi_part part = {.bytes = frame.payload};
    frame.parts = &part;
    frame.parts_count = 1;
    struct momi_slice head;
    MOMI_ASSERT(momi_codec_encode(&frame, &arena, &head) == MOM_OK);
    struct momi_buf *whole = sample_whole(&frame, head);
    MOMI_ASSERT(momi_codec_decode(momi_buf_slice(whole), whole, &arena, &again) == 0);
    MOMI_ASSERT(again.type == frame.type);
    MOMI_ASSERT(again.lines_count == frame.lines_count);
    MOMI_ASSERT(again.runs_count == frame.runs_count);
    MOMI_ASSERT(momi_slice_equal(again.payload, frame.payload));
    momi_buf_release(whole);
}

static void fuzz_fragments(struct momi_slice bytes) {
    struct momi_join join = {0};
    struct momi_reader in = momi_reader(bytes);
    while (momi_reader_left(&in) > 0) {
        struct momi_slice fragment = momi_get_bytes(&in, momi_get_u16(&in));
        struct momi_buf *whole = NULL;
        if (in.failed || momi_join_add(&join, fragment, &whole) != MOM_OK) {
            break;
        }
        if (whole != NULL) {
            fuzz_frame(momi_buf_slice(whole));
            momi_buf_release(whole);
        }
    }
    momi_join_reset(&join);
}

static void fuzz_hello(struct momi_slice bytes) {
    struct momi_hello_message message;
    if (momi_hello_decode(bytes, &message) == MOM_OK) {
        struct momi_bytes again = {.data = NULL};
        MOMI_ASSERT(momi_hello_encode(&message, &again) == MOM_OK);
        MOMI_ASSERT(momi_hello_decode(momi_bytes_slice(&again), &message) == MOM_OK);
        momi_bytes_free(&again);
    }
}

static void fuzz_commands(struct momi_slice bytes) {
    uint32_t commands, slots;
    if (momi_entry_slots(bytes, CHECK_SUMS, &commands, &slots)) {
        struct momi_buf *buf =
            momi_entry_build(MOMI_ENTRY_COMMANDS, 1, 2, 3, commands, slots, &bytes, 1);
        struct momi_entry entry;
        MOMI_ASSERT(buf != NULL);
        MOMI_ASSERT(momi_entry_parse(momi_buf_slice(buf), &entry));
        struct momi_slot_cursor cursor = {.offset = 0};
        for (uint32_t slot = 0; slot < slots; slot++) {
            struct momi_record record;
            MOMI_ASSERT(momi_entry_record(&entry, slot, &cursor, &record));
            struct momi_slice left = record.headers, name, value;
            while (momi_headers_next(&left, &name, &value)) {
            }
        }
        momi_buf_release(buf);
    }
}

static void fuzz_entry(struct momi_slice bytes) {
    struct momi_entry entry;
    if (!momi_entry_parse(bytes, &entry)) {
        return;
    }
    struct momi_slot_cursor cursor = {.offset = 0};
    uint32_t slots[256];
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < 256; slot++) {
        struct momi_record record;
        if (momi_entry_record(&entry, slot, &cursor, &record) &&
            momi_record_check(&record)) {
            slots[count++] = slot;
        }
    }
    struct momi_buf *hollow = momi_entry_hollow(bytes, slots, count);
    if (hollow != NULL) {
        struct momi_entry less;
        MOMI_ASSERT(momi_entry_parse(momi_buf_slice(hollow), &less));
        cursor = (struct momi_slot_cursor){.offset = 0};
        for (uint32_t index = 0; index < count; index++) {
            struct momi_record record;
            MOMI_ASSERT(momi_entry_record(&less, slots[index], &cursor, &record));
        }
        momi_buf_release(hollow);
    }
    fuzz_commands(entry.body);
}

static void fuzz_info(struct momi_slice bytes) {
    struct momi_info_list list;
    struct momi_status status;
    (void)momi_info_decode(bytes, &arena, &list);
    (void)momi_status_decode(bytes, &arena, &status);
}

static void fuzz_one(uint8_t target, uint8_t *bytes, size_t size) {
    struct momi_slice slice = momi_slice(bytes, size);
    switch (target) {
    case FUZZ_FRAME_SUMMED:
        fuzz_repair_sum(bytes, size, 12, FUZZ_SUM_AS_ZERO);
        fuzz_frame(slice);
        break;
    case FUZZ_FRAME:
        fuzz_frame(slice);
        break;
    case FUZZ_FRAGMENTS:
        fuzz_fragments(slice);
        break;
    case FUZZ_HELLO_SUMMED:
        fuzz_repair_sum(bytes, size, 8, FUZZ_SUM_WITHOUT);
        fuzz_hello(slice);
        break;
    case FUZZ_HELLO:
        fuzz_hello(slice);
        break;
    case FUZZ_ENTRY_SUMMED:
        fuzz_repair_sum(bytes, size, 0, FUZZ_SUM_WITHOUT);
        fuzz_entry(slice);
        break;
    case FUZZ_ENTRY:
        fuzz_entry(slice);
        break;
    case FUZZ_COMMANDS:
        fuzz_commands(slice);
        break;
    case FUZZ_INFO:
        fuzz_info(slice);
        break;
    default:
        break;
    }
}

void fuzz_end(void) { momi_arena_free(&arena); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        uint8_t *bytes = fuzz_copy(momi_slice(data + 1, size - 1));
        fuzz_one(data[0], bytes, size - 1);
        momi_free(bytes);
        momi_arena_reset(&arena);
    }
    return 0;
}
