/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the first inputs of the fuzzers, one file each, after a change of the encodings:
 *
 *   make_corpus tests/fuzz/corpus
 *
 * What a fuzzer finds is added beside them by hand. This file has the inputs of
 * fuzz_codec.c.
 */
#include "fuzz/corpus.h"
#include "fuzz/samples.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/entry.h"
#include "core/info.h"
#include "wire/split.h"

static const char *folder;
static struct momi_arena arena;

void corpus_write(const char *target, const char *name, unsigned number, char letter,
                  struct momi_slice bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s-%u", folder, target, name, number);
    FILE *file = fopen(path, "wb");
    if (file == NULL || (letter != 0 && fputc(letter, file) == EOF) ||
        fwrite(bytes.data, 1, bytes.size, file) != bytes.size || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static void write_file(const char *name, unsigned number, char letter,
                       struct momi_slice bytes) {
    corpus_write("codec", name, number, letter, bytes);
}

static void make_frames(struct momi_rng *rng) {
    for (unsigned type = 0; type < SAMPLE_TYPES_END; type++) {
        if (momi_frame_type_name(type) == NULL) {
            continue;
        }
        struct momi_frame frame;
        struct momi_slice head;
        sample_frame(rng, &arena, type, &frame);
        MOMI_ASSERT(momi_codec_encode(&frame, &arena, &head) == MOM_OK);
        struct momi_buf *whole = sample_whole(&frame, head);
        write_file("frame", type, type % 7 == 0 ? 'f' : 's', momi_buf_slice(whole));
        momi_buf_release(whole);
    }
}

static void make_hellos(struct momi_rng *rng) {
    for (unsigned kind = MOMI_HELLO; kind <= MOMI_HELLO_WAKE; kind++) {
        struct momi_hello_message message;
        struct momi_bytes bytes = {.data = NULL};
        sample_hello(rng, &arena, (enum momi_hello_kind)kind, &message);
        MOMI_ASSERT(momi_hello_encode(&message, &bytes) == MOM_OK);
        write_file("hello", kind, kind == MOMI_HELLO ? 'h' : 'i',
                   momi_bytes_slice(&bytes));
        momi_bytes_free(&bytes);
    }
}

/* One whole frame in fragments of two streams: two parts of 100 bytes make the first. */
static void make_fragments(struct momi_rng *rng) {
    for (unsigned number = 0; number < 4; number++) {
        struct momi_frame frame;
        struct momi_slice head;
        sample_frame(rng, &arena, number % 2 == 0 ? FRAME_COMMANDS : FRAME_DELIVER,
                     &frame);
        MOMI_ASSERT(momi_codec_encode(&frame, &arena, &head) == MOM_OK);
        struct momi_split splits[2];
        momi_split_begin(&splits[0], 1, head, frame.parts, frame.parts_count);
        momi_split_begin(&splits[1], 2, head, frame.parts, frame.parts_count);
        struct momi_bytes bytes = {.data = NULL};
        for (bool more = true; more;) {
            more = false;
            for (unsigned which = 0; which < 2; which++) {
                struct momi_slice slices[2]; /* small: one part in each fragment */
                size_t count = momi_split_next(&splits[which], slices, 2);
                if (count > 0) {
                    momi_put_u16(&bytes, (uint16_t)(slices[0].size + slices[1].size));
                    momi_bytes_append(&bytes, slices[0].data, slices[0].size);
                    momi_bytes_append(&bytes, slices[1].data, slices[1].size);
                    more = true;
                }
            }
        }
        write_file("fragments", number, 'j', momi_bytes_slice(&bytes));
        momi_bytes_free(&bytes);
    }
}

static void put_commands(struct momi_rng *rng, struct momi_bytes *out, uint32_t *commands,
                         uint32_t *slots) {
    static const uint8_t headers[] = {1, 'a', 2, 0, 'x', 'y', 3, 'b', 'c', 'd', 0, 0};
    *commands = (uint32_t)momi_rng_between(rng, 1, 3);
    *slots = 0;
    for (uint32_t command = 0; command < *commands; command++) {
        struct momi_session_id session = {.index = sample_u64(rng), .epoch = 1};
        size_t at = momi_command_begin(out, CMD_PUBLISH, session, command + 1, command);
        uint32_t count = (uint32_t)momi_rng_between(rng, 1, 5);
        momi_publish_put_head(out,
                              &(struct momi_publish){.kind = MOMI_KIND_TOPIC,
                                                     .publisher = sample_u64(rng),
                                                     .name = momi_slice_str("prices"),
                                                     .count = count});
        for (uint32_t index = 0; index < count; index++) {
            struct momi_record record = {
                .key = momi_slice_str("a.b"),
                .headers = momi_slice(headers, index % 2 == 0 ? 0 : sizeof headers),
                .body = sample_bytes(rng, &arena, momi_rng_between(rng, 0, 40))};
            size_t size =
                momi_record_size(record.key.size, record.headers.size, record.body.size);
            MOMI_ASSERT(momi_bytes_reserve(out, size));
            momi_record_write(out->data + out->size, &record);
            out->size += size;
        }
        momi_command_finish(out, at);
        *slots += count;
    }
}

static void make_entries(struct momi_rng *rng) {
    for (unsigned number = 0; number < 6; number++) {
        struct momi_bytes bytes = {.data = NULL};
        uint32_t commands, slots;
        put_commands(rng, &bytes, &commands, &slots);
        struct momi_slice all = momi_bytes_slice(&bytes);
        write_file("commands", number, 'c', all);
        struct momi_buf *entry =
            momi_entry_build(MOMI_ENTRY_COMMANDS, 3, 4, 5, commands, slots, &all, 1);
        write_file("entry", number, number == 0 ? 'e' : 't', momi_buf_slice(entry));
        uint32_t kept[] = {0, slots - 1};
        struct momi_buf *hollow =
            momi_entry_hollow(momi_buf_slice(entry), kept, slots > 1 ? 2 : 1);
        write_file("hollow", number, 't', momi_buf_slice(hollow));
        momi_buf_release(hollow);
        momi_buf_release(entry);
        momi_bytes_free(&bytes);
    }
}

static void make_infos(void) {
    struct momi_bytes bytes = {.data = NULL};
    struct momi_slice filter = momi_slice_str("a.#");
    momi_info_put_stream(&bytes, &(struct momi_stream_info){.kind = MOMI_KIND_QUEUE,
                                                            .name = filter,
                                                            .depth = 300});
    momi_info_put_place(
        &bytes, &(struct momi_place_info){
                    .shard = 1, .leader = 7, .replicas_count = 1, .replicas = {7}});
    momi_info_put_subscription(
        &bytes, &(struct momi_subscription_info){
                    .name = filter, .filters = &filter, .filters_count = 1});
    write_file("info", 0, 'n', momi_bytes_slice(&bytes));
    momi_bytes_clear(&bytes);
    struct momi_member_info member = {
        .node = 1, .name = filter, .address = filter, .role = MOMI_ROLE_STORE};
    struct momi_shard_info shard = {.shard = 1, .leader = 1, .replicas_count = 2};
    momi_status_put(&bytes, &(struct momi_status){.node = 1,
                                                  .shards_count = 1,
                                                  .copies_count = 1,
                                                  .members = &member,
                                                  .members_count = 1,
                                                  .shards = &shard,
                                                  .shards_listed = 1});
    write_file("info", 1, 'n', momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus FOLDER\n");
        return 1;
    }
    folder = argv[1];
    struct momi_rng rng;
    momi_rng_seed(&rng, 2024);
    make_frames(&rng);
    make_hellos(&rng);
    make_fragments(&rng);
    make_entries(&rng);
    make_infos();
    momi_arena_free(&arena);
    corpus_make_records();
    corpus_make_texts();
    corpus_make_calls();
    return 0;
}
