/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries, commands and records: what is written is read again, whole and hollow, and
 * damaged or hostile bytes are refused or at least harmless.
 */
#include "t.h"

#include "base/crc.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/entry.h"

enum { SLOTS = 9, PUBLISHERS = 3 };

static const struct momi_session_id SESSION = {.index = 77, .epoch = 3, .place = 5};

static struct momi_slice rest(struct momi_slice bytes, size_t offset) {
    return momi_slice(bytes.data + offset, bytes.size - offset);
}

static void put_record(struct momi_bytes *out, const struct momi_record *record) {
    size_t size =
        momi_record_size(record->key.size, record->headers.size, record->body.size);
    CHECK(momi_bytes_reserve(out, size));
    momi_record_write(out->data + out->size, record);
    out->size += size;
}

/* The record of a slot of the sample: each with another mix of empty and filled parts. */
static struct momi_record sample_record(uint32_t slot, char *room) {
    static const uint8_t headers[] = {1, 'a', 2, 0, 'x', 'y', 3, 'b', 'c', 'd', 0, 0};
    int size = snprintf(room, 64, "body of %u", slot);
    return (struct momi_record){
        .key = momi_slice("key.of.many.words", slot % 4 == 0 ? 0 : 4 + slot),
        .headers = momi_slice(headers, slot % 3 == 0   ? 0
                                       : slot % 3 == 1 ? 6
                                                       : 12),
        .body = momi_slice(room, slot == 5 ? 0 : (size_t)size),
    };
}

static uint64_t sample_publisher(uint32_t slot) {
    return 0xabcdef0000000000u + slot / (SLOTS / PUBLISHERS);
}

/* Commands of four kinds: publishes of SLOTS / PUBLISHERS records each, others between.
 */
static uint32_t put_sample_commands(struct momi_bytes *out) {
    uint32_t count = 0;
    for (uint32_t publish = 0; publish < PUBLISHERS; publish++) {
        size_t at = momi_command_begin(out, CMD_NOOP, SESSION, 10 + publish, 9);
        momi_command_finish(out, at);
        at = momi_command_begin(out, CMD_PUBLISH, SESSION, 20 + publish, 19);
        uint32_t first = publish * (SLOTS / PUBLISHERS);
        momi_publish_put_head(
            out, &(struct momi_publish){.kind = MOMI_KIND_QUEUE,
                                        .flags = publish == 1 ? MOMI_PUBLISH_CREATE : 0,
                                        .publisher = sample_publisher(first),
                                        .name = momi_slice_str("orders"),
                                        .count = SLOTS / PUBLISHERS});
        for (uint32_t slot = first; slot < first + SLOTS / PUBLISHERS; slot++) {
            char room[64];
            struct momi_record record = sample_record(slot, room);
            put_record(out, &record);
        }
        momi_command_finish(out, at);
        count += 2;
    }
    CHECK(!out->failed);
    return count;
}

static struct momi_buf *sample_entry(void) {
    struct momi_bytes commands = {.data = NULL};
    uint32_t count = put_sample_commands(&commands);
    struct momi_slice all = momi_bytes_slice(&commands);
    struct momi_slice pieces[] = {momi_slice(all.data, 50), momi_slice(NULL, 0),
                                  rest(all, 50)};
    struct momi_buf *buf =
        momi_entry_build(MOMI_ENTRY_COMMANDS, 12, 345, 678, count, SLOTS, pieces, 3);
    CHECK(buf != NULL);
    momi_bytes_free(&commands);
    return buf;
}

static void check_sample_record(const struct momi_record *record, uint32_t slot) {
    char room[64];
    struct momi_record expected = sample_record(slot, room);
    CHECK(momi_slice_equal(record->key, expected.key));
    CHECK(momi_slice_equal(record->headers, expected.headers));
    CHECK(momi_slice_equal(record->body, expected.body));
    CHECK(momi_record_check(record));
}

/* --- whole entries --- */

static void a_header_comes_back(void **state) {
    (void)state;
    struct momi_buf *buf = sample_entry();
    struct momi_entry peeked, parsed;
    CHECK(momi_entry_peek(momi_buf_slice(buf), &peeked));
    CHECK(momi_entry_parse(momi_buf_slice(buf), &parsed));
    CHECK_EQ(parsed.kind, MOMI_ENTRY_COMMANDS);
    CHECK_EQ(parsed.term, 12);
    CHECK_EQ(parsed.elapsed_us, 345);
    CHECK_EQ(parsed.wall_us, 678);
    CHECK_EQ(parsed.commands_count, 2 * PUBLISHERS);
    CHECK_EQ(parsed.slots_count, SLOTS);
    CHECK_EQ(parsed.body.size, buf->size - MOMI_ENTRY_HEADER);
    CHECK(parsed.body.data == peeked.body.data);
    CHECK_EQ(peeked.term, parsed.term);
    momi_buf_release(buf);
}

static void a_command_has_the_documented_layout(void **state) {
    (void)state;
    struct momi_bytes out = {.data = NULL};
    momi_put_u8(&out, 9); /* the header need not come first */
    size_t at = momi_command_begin(&out, CMD_CONSUME, SESSION, 0x1122, 0x33);
    momi_put_u16(&out, 0xbeef);
    momi_command_finish(&out, at);
    static const uint8_t expected[] = {
        9, 42, 0, 0,    0, CMD_CONSUME, 1, 0, 0, 77, 0,    0,    0,   0, 0,
        0, 0,  3, 0,    0, 0,           5, 0, 0, 0,  0x22, 0x11, 0,   0, 0,
        0, 0,  0, 0x33, 0, 0,           0, 0, 0, 0,  0,    0xef, 0xbe};
    CHECK_EQ(out.size, sizeof expected);
    CHECK_BYTES(out.data, expected, sizeof expected);
    momi_bytes_free(&out);
}

static void commands_are_walked_in_order(void **state) {
    (void)state;
    struct momi_buf *buf = sample_entry();
    struct momi_entry entry;
    CHECK(momi_entry_parse(momi_buf_slice(buf), &entry));
    struct momi_command_reader reader = momi_command_reader(entry.body);
    struct momi_command command;
    for (uint32_t index = 0; index < 2 * PUBLISHERS; index++) {
        CHECK(momi_command_next(&reader, &command));
        CHECK_EQ(command.type, index % 2 == 0 ? CMD_NOOP : CMD_PUBLISH);
        CHECK_EQ(command.version, MOMI_COMMAND_VERSION);
        CHECK_EQ(command.flags, 0);
        CHECK(momi_session_id_equal(command.session, SESSION));
        CHECK_EQ(command.number, (index % 2 == 0 ? 10 : 20) + index / 2);
        CHECK_EQ(command.answered, index % 2 == 0 ? 9 : 19);
        CHECK_EQ(command.whole.size, command.body.size + MOMI_COMMAND_HEADER);
        struct momi_publish publish;
        CHECK_EQ(momi_publish_parse(command.body, &publish), index % 2 == 1);
        if (index % 2 == 1) {
            CHECK_EQ(publish.kind, MOMI_KIND_QUEUE);
            CHECK_EQ(publish.flags, index == 3 ? MOMI_PUBLISH_CREATE : 0);
            CHECK_EQ(publish.publisher, sample_publisher(index / 2 * 3));
            CHECK(momi_slice_equal(publish.name, momi_slice_str("orders")));
            CHECK_EQ(publish.count, 3);
        }
    }
    CHECK(!momi_command_next(&reader, &command));
    CHECK(!reader.failed);
    momi_buf_release(buf);
}

static void every_slot_is_found_from_every_other(void **state) {
    (void)state;
    struct momi_buf *buf = sample_entry();
    struct momi_entry entry;
    CHECK(momi_entry_parse(momi_buf_slice(buf), &entry));
    for (uint32_t first = 0; first < SLOTS; first++) {
        for (uint32_t second = 0; second < SLOTS; second++) {
            struct momi_slot_cursor cursor = {.offset = 0};
            struct momi_record record;
            CHECK(momi_entry_record(&entry, first, &cursor, &record));
            check_sample_record(&record, first);
            CHECK_EQ(cursor.publisher, sample_publisher(first));
            CHECK(momi_entry_record(&entry, second, &cursor, &record));
            check_sample_record(&record, second);
            CHECK_EQ(cursor.publisher, sample_publisher(second));
            CHECK(!momi_entry_record(&entry, SLOTS, &cursor, &record));
            CHECK(momi_entry_record(&entry, first, &cursor, &record));
            check_sample_record(&record, first);
        }
    }
    momi_buf_release(buf);
}

static void slots_are_counted_and_sums_checked_when_asked(void **state) {
    (void)state;
    struct momi_bytes commands = {.data = NULL};
    uint32_t expected = put_sample_commands(&commands);
    uint32_t count = 0, slots = 0;
    CHECK(momi_entry_slots(momi_bytes_slice(&commands), CHECK_SUMS, &count, &slots));
    CHECK_EQ(count, expected);
    CHECK_EQ(slots, SLOTS);
    CHECK(momi_entry_slots(momi_slice(NULL, 0), CHECK_SUMS, &count, &slots));
    CHECK_EQ(count, 0);
    CHECK_EQ(slots, 0);
    commands.data[commands.size - 1] ^= 1; /* the last byte of the last body */
    CHECK(momi_entry_slots(momi_bytes_slice(&commands), SKIP_SUMS, &count, &slots));
    CHECK(!momi_entry_slots(momi_bytes_slice(&commands), CHECK_SUMS, &count, &slots));
    commands.data[commands.size - 1] ^= 1;
    commands.data[5]++; /* the version of the first command */
    CHECK(!momi_entry_slots(momi_bytes_slice(&commands), CHECK_SUMS, &count, &slots));
    momi_bytes_free(&commands);
}

static void other_kinds_hold_no_slots(void **state) {
    (void)state;
    struct momi_slice body = momi_slice_str("a configuration");
    struct momi_buf *buf = momi_entry_build(MOMI_ENTRY_CONFIG, 1, 2, 3, 0, 0, &body, 1);
    struct momi_entry entry;
    CHECK(momi_entry_parse(momi_buf_slice(buf), &entry));
    CHECK_EQ(entry.kind, MOMI_ENTRY_CONFIG);
    CHECK(momi_slice_equal(entry.body, body));
    struct momi_slot_cursor cursor = {.offset = 0};
    struct momi_record record;
    CHECK(!momi_entry_record(&entry, 0, &cursor, &record));
    CHECK(momi_entry_hollow(momi_buf_slice(buf), NULL, 0) == NULL);
    momi_buf_release(buf);
    buf = momi_entry_build(MOMI_ENTRY_NOOP, 1, 2, 3, 0, 0, NULL, 0);
    CHECK(momi_entry_parse(momi_buf_slice(buf), &entry));
    CHECK_EQ(entry.body.size, 0);
    momi_buf_release(buf);
}

/* --- records --- */

static void limits_of_a_record_are_kept(void **state) {
    (void)state;
    size_t body_size = MOMI_BODY_BYTES_MAX + 1;
    size_t room = momi_record_size(MOMI_KEY_BYTES_MAX, 0, body_size);
    uint8_t *body = momi_calloc(1, body_size);
    uint8_t *at = momi_alloc(room);
    uint8_t key[MOMI_KEY_BYTES_MAX] = {1};
    struct momi_record record = {.key = momi_slice(key, sizeof key),
                                 .body = momi_slice(body, MOMI_BODY_BYTES_MAX)};
    momi_record_write(at, &record);
    struct momi_record found;
    CHECK(momi_record_read(momi_slice(at, room), &found));
    CHECK(momi_record_check(&found));
    CHECK_EQ(found.whole.size, room - 1);
    CHECK_EQ(found.key.size, MOMI_KEY_BYTES_MAX);
    record.body.size++;
    momi_record_write(at, &record);
    CHECK(!momi_record_read(momi_slice(at, room), &found));
    momi_free(at);
    momi_free(body);
}

static bool headers_read(struct momi_slice headers, unsigned *count) {
    uint8_t *at = momi_alloc(momi_record_size(0, headers.size, 0));
    momi_record_write(at, &(struct momi_record){.headers = headers});
    struct momi_record record;
    bool is_read =
        momi_record_read(momi_slice(at, momi_record_size(0, headers.size, 0)), &record);
    *count = 0;
    struct momi_slice left = record.headers, name, value;
    while (is_read && momi_headers_next(&left, &name, &value)) {
        CHECK(name.size > 0);
        ++*count;
    }
    momi_free(at);
    return is_read;
}

static void limits_of_headers_are_kept(void **state) {
    (void)state;
    struct momi_bytes headers = {.data = NULL};
    unsigned count;
    for (unsigned index = 0; index < MOMI_HEADERS_COUNT_MAX; index++) {
        momi_put_u8(&headers, 1);
        momi_put_u8(&headers, 'h');
        momi_put_u16(&headers, 2);
        momi_put_u16(&headers, 0x4142);
    }
    CHECK(headers_read(momi_bytes_slice(&headers), &count));
    CHECK_EQ(count, MOMI_HEADERS_COUNT_MAX);
    for (size_t cut = 1; cut < 6; cut++) {
        CHECK(!headers_read(momi_slice(headers.data, headers.size - cut), &count));
    }
    momi_bytes_append(&headers, headers.data + headers.size - 6, 6);
    CHECK(!headers_read(momi_bytes_slice(&headers), &count)); /* one too many */

    static const uint8_t nameless[] = {0, 1, 0, 'x'};
    CHECK(!headers_read(momi_slice(nameless, sizeof nameless), &count));

    momi_bytes_clear(&headers);
    momi_put_u8(&headers, 1);
    momi_put_u8(&headers, 'h');
    momi_put_u16(&headers, MOMI_HEADERS_BYTES_MAX - 4);
    CHECK(momi_bytes_reserve(&headers, MOMI_HEADERS_BYTES_MAX));
    memset(headers.data + headers.size, 'v', MOMI_HEADERS_BYTES_MAX);
    CHECK(headers_read(momi_slice(headers.data, MOMI_HEADERS_BYTES_MAX), &count));
    momi_store_le16(headers.data + 2, MOMI_HEADERS_BYTES_MAX - 3);
    CHECK(!headers_read(momi_slice(headers.data, MOMI_HEADERS_BYTES_MAX + 1), &count));
    momi_bytes_free(&headers);
}

static void odd_publish_bodies_are_refused(void **state) {
    (void)state;
    struct momi_record record = {.body = momi_slice_str("x")};
    struct momi_publish good = {
        .kind = MOMI_KIND_TOPIC, .publisher = 1, .name = momi_slice_str("t"), .count = 1};
    char long_name[MOMI_SYSTEM_NAME_BYTES_MAX + 1];
    memset(long_name, 'n', sizeof long_name);
    struct momi_publish odd[7];
    for (size_t index = 0; index < 7; index++) {
        odd[index] = good;
    }
    odd[0].kind = (enum momi_kind)0;
    odd[1].kind = (enum momi_kind)3;
    odd[2].flags = 2;
    odd[3].name.size = 0;
    odd[4].name = momi_slice(long_name, sizeof long_name);
    odd[5].count = 0;
    odd[6].count = 2;
    struct momi_bytes out = {.data = NULL};
    struct momi_publish found;
    for (size_t index = 0; index < 7; index++) {
        momi_bytes_clear(&out);
        momi_publish_put_head(&out, &odd[index]);
        put_record(&out, &record);
        CHECK(!momi_publish_parse(momi_bytes_slice(&out), &found));
    }
    momi_bytes_clear(&out);
    momi_publish_put_head(&out, &good);
    put_record(&out, &record);
    CHECK(momi_publish_parse(momi_bytes_slice(&out), &found));
    put_record(&out, &record);
    CHECK(!momi_publish_parse(momi_bytes_slice(&out), &found));
    /* One message more than a command may hold. */
    momi_bytes_clear(&out);
    good.count = MOMI_COMMAND_MESSAGES_MAX + 1;
    momi_publish_put_head(&out, &good);
    for (uint32_t index = 0; index < good.count; index++) {
        put_record(&out, &record);
    }
    CHECK(!momi_publish_parse(momi_bytes_slice(&out), &found));
    momi_bytes_free(&out);
}

/* --- hollow entries --- */

static void a_hollow_entry_keeps_what_lives(void **state) {
    (void)state;
    struct momi_buf *whole = sample_entry();
    for (uint32_t kept = 0; kept < 1u << SLOTS; kept++) {
        uint32_t slots[SLOTS];
        size_t count = 0;
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            if ((kept & 1u << slot) != 0) {
                slots[count++] = slot;
            }
        }
        struct momi_buf *hollow = momi_entry_hollow(momi_buf_slice(whole), slots, count);
        CHECK(hollow != NULL);
        struct momi_entry entry;
        CHECK(momi_entry_parse(momi_buf_slice(hollow), &entry));
        CHECK_EQ(entry.kind, MOMI_ENTRY_HOLLOW);
        CHECK_EQ(entry.term, 12);
        CHECK_EQ(entry.slots_count, SLOTS);
        struct momi_slot_cursor cursor = {.offset = 0};
        for (uint32_t round = 0; round < 2; round++) {
            for (uint32_t slot = 0; slot < SLOTS; slot++) {
                struct momi_record record;
                bool is_kept = (kept & 1u << slot) != 0;
                CHECK_EQ(momi_entry_record(&entry, slot, &cursor, &record), is_kept);
                if (is_kept) {
                    check_sample_record(&record, slot);
                    CHECK_EQ(cursor.publisher, sample_publisher(slot));
                }
            }
        }
        /* Once more, from the hollow one: half of what is left. */
        struct momi_buf *less =
            momi_entry_hollow(momi_buf_slice(hollow), slots, count / 2);
        CHECK(less != NULL);
        CHECK(momi_entry_parse(momi_buf_slice(less), &entry));
        cursor = (struct momi_slot_cursor){.offset = 0};
        struct momi_record record;
        if (count / 2 > 0) {
            CHECK(momi_entry_record(&entry, slots[count / 2 - 1], &cursor, &record));
            check_sample_record(&record, slots[count / 2 - 1]);
        }
        momi_buf_release(less);
        momi_buf_release(hollow);
    }
    momi_buf_release(whole);
}

static void a_hollow_entry_needs_its_slots(void **state) {
    (void)state;
    struct momi_buf *whole = sample_entry();
    uint32_t beyond[] = {1, SLOTS};
    uint32_t falling[] = {2, 1};
    uint32_t twice[] = {2, 2};
    CHECK(momi_entry_hollow(momi_buf_slice(whole), beyond, 2) == NULL);
    CHECK(momi_entry_hollow(momi_buf_slice(whole), falling, 2) == NULL);
    CHECK(momi_entry_hollow(momi_buf_slice(whole), twice, 2) == NULL);
    whole->data[whole->size - 1] ^= 1;
    CHECK(momi_entry_hollow(momi_buf_slice(whole), beyond, 1) == NULL);
    momi_buf_release(whole);
}

static void no_memory_is_told(void **state) {
    (void)state;
    struct momi_buf *whole = sample_entry();
    uint32_t slot = 1;
    momi_mem_fail_after(0, true);
    struct momi_buf *hollow = momi_entry_hollow(momi_buf_slice(whole), &slot, 1);
    struct momi_buf *noop = momi_entry_build(MOMI_ENTRY_NOOP, 1, 2, 3, 0, 0, NULL, 0);
    momi_mem_fail_after(-1, false);
    CHECK(hollow == NULL);
    CHECK(noop == NULL);
    momi_buf_release(whole);
}

/* --- damage --- */

/* Does with bytes all that a reader could; they end where their allocation ends. */
static void read_everything(struct momi_slice bytes) {
    struct momi_entry entry;
    if (!momi_entry_peek(bytes, &entry)) {
        return;
    }
    struct momi_slot_cursor cursor = {.offset = 0};
    uint32_t last = entry.slots_count < 64 ? entry.slots_count : 64;
    uint32_t slots[64];
    for (uint32_t slot = 0; slot <= last; slot++) {
        struct momi_record record;
        if (momi_entry_record(&entry, slot, &cursor, &record)) {
            (void)momi_record_check(&record);
        }
        slots[slot % 64] = slot;
    }
    struct momi_buf *hollow = momi_entry_hollow(bytes, slots, last);
    momi_buf_release(hollow);
    uint32_t commands_count, slots_count;
    (void)momi_entry_slots(entry.body, CHECK_SUMS, &commands_count, &slots_count);
}

static void repair_sum(uint8_t *bytes, size_t size) {
    if (size >= MOMI_ENTRY_HEADER) {
        momi_store_le32(bytes, momi_crc32c(0, bytes + 4, size - 4));
    }
}

static void damage_every_way(const struct momi_buf *sample) {
    for (size_t size = 0; size < sample->size; size++) {
        uint8_t *cut = momi_alloc(size);
        if (size > 0) {
            memcpy(cut, sample->data, size);
        }
        struct momi_entry entry;
        CHECK(!momi_entry_parse(momi_slice(cut, size), &entry));
        repair_sum(cut, size);
        read_everything(momi_slice(cut, size));
        momi_free(cut);
    }
    uint8_t *flipped = momi_alloc(sample->size);
    memcpy(flipped, sample->data, sample->size);
    for (size_t bit = 0; bit < sample->size * 8; bit++) {
        flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct momi_entry entry;
        CHECK(!momi_entry_parse(momi_slice(flipped, sample->size), &entry));
        repair_sum(flipped, sample->size); /* as a hostile sender would */
        read_everything(momi_slice(flipped, sample->size));
        memcpy(flipped, sample->data, 4);
        flipped[bit / 8] ^= bit < 32 ? 0 : (uint8_t)(1u << bit % 8);
    }
    momi_free(flipped);
}

static void damaged_entries_are_refused_and_hostile_ones_harmless(void **state) {
    (void)state;
    struct momi_buf *whole = sample_entry();
    uint32_t slots[] = {0, 3, 5, 8};
    struct momi_buf *hollow = momi_entry_hollow(momi_buf_slice(whole), slots, 4);
    damage_every_way(whole);
    damage_every_way(hollow);
    momi_buf_release(hollow);
    momi_buf_release(whole);
}

static void flipped_records_fail_their_sum(void **state) {
    (void)state;
    char room[64];
    struct momi_record sample = sample_record(7, room);
    size_t size =
        momi_record_size(sample.key.size, sample.headers.size, sample.body.size);
    uint8_t *at = momi_alloc(size);
    momi_record_write(at, &sample);
    for (size_t bit = 0; bit < size * 8; bit++) {
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct momi_record record;
        if (momi_record_read(momi_slice(at, size), &record)) {
            CHECK(!momi_record_check(&record));
        }
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    momi_free(at);
}

static void noise_is_harmless(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 4);
    struct momi_buf *whole = sample_entry();
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t *bytes = momi_alloc(whole->size);
        memcpy(bytes, whole->data, whole->size);
        uint64_t changes = momi_rng_between(&rng, 1, 6);
        for (uint64_t change = 0; change < changes; change++) {
            size_t at = momi_rng_between(&rng, 5, whole->size - 1);
            bytes[at] = (uint8_t)momi_rng_next(&rng);
        }
        repair_sum(bytes, whole->size);
        read_everything(momi_slice(bytes, whole->size));
        momi_free(bytes);
    }
    momi_buf_release(whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_header_comes_back),
        TEST(a_command_has_the_documented_layout),
        TEST(commands_are_walked_in_order),
        TEST(every_slot_is_found_from_every_other),
        TEST(slots_are_counted_and_sums_checked_when_asked),
        TEST(other_kinds_hold_no_slots),
        TEST(limits_of_a_record_are_kept),
        TEST(limits_of_headers_are_kept),
        TEST(odd_publish_bodies_are_refused),
        TEST(a_hollow_entry_keeps_what_lives),
        TEST(a_hollow_entry_needs_its_slots),
        TEST(no_memory_is_told),
        TEST(damaged_entries_are_refused_and_hostile_ones_harmless),
        TEST(flipped_records_fail_their_sum),
        TEST(noise_is_harmless),
    };
    return cmocka_run_group_tests_name("entry", tests, NULL, NULL);
}
