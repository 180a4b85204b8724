/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments: what was cut comes together again, whatever passes between; the rest is
 * refused. */
#include "t.h"

#include "base/mem.h"
#include "base/pack.h"
#include "base/rng.h"
#include "wire/split.h"

enum { SLICES_MAX = 8, FRAGMENT_ROOM = MOMI_SPLIT_HEADER + MOMI_SPLIT_BYTES_MAX };

/* A frame to be cut: random bytes in random parts. */
struct source {
    uint8_t *bytes;
    size_t size;
    struct momi_slice head;
    struct momi_part parts[16];
    uint32_t parts_count;
};

static void source_init(struct source *source, struct momi_rng *rng, size_t size) {
    source->bytes = momi_alloc(size);
    source->size = size;
    for (size_t at = 0; at < size; at++) {
        source->bytes[at] = (uint8_t)(at * 31 + size);
    }
    size_t at = momi_rng_between(rng, 0, size < 100 ? size : 100);
    source->head = momi_slice(source->bytes, at);
    source->parts_count = (uint32_t)momi_rng_between(rng, 1, 16);
    for (uint32_t index = 0; index < source->parts_count; index++) {
        bool is_last = index + 1 == source->parts_count;
        size_t part = is_last ? size - at : momi_rng_between(rng, 0, (size - at) / 2);
        source->parts[index] =
            (struct momi_part){.bytes = momi_slice(source->bytes + at, part)};
        at += part;
    }
}

static struct momi_slice gather(const struct momi_slice *slices, size_t count,
                                uint8_t *room) {
    size_t size = 0;
    for (size_t index = 0; index < count; index++) {
        CHECK(slices[index].size > 0);
        CHECK(size + slices[index].size <= FRAGMENT_ROOM);
        memcpy(room + size, slices[index].data, slices[index].size);
        size += slices[index].size;
    }
    return momi_slice(room, size);
}

static void frames_of_every_size_come_back(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 1);
    uint8_t *room = momi_alloc(FRAGMENT_ROOM);
    size_t sizes[] = {1,
                      2,
                      300,
                      MOMI_SPLIT_BYTES_MAX - 1,
                      MOMI_SPLIT_BYTES_MAX,
                      MOMI_SPLIT_BYTES_MAX + 1,
                      3 * MOMI_SPLIT_BYTES_MAX + 77,
                      MOMI_CODEC_BYTES_MAX};
    for (size_t index = 0; index < sizeof sizes / sizeof *sizes; index++) {
        for (size_t max = 2; max <= SLICES_MAX; max += 3) {
            struct source source;
            source_init(&source, &rng, sizes[index]);
            struct momi_join join = {0};
            struct momi_split split;
            momi_split_begin(&split, 9, source.head, source.parts, source.parts_count);
            struct momi_slice slices[SLICES_MAX];
            struct momi_buf *whole = NULL;
            size_t count;
            while ((count = momi_split_next(&split, slices, max)) > 0) {
                CHECK(count <= max);
                CHECK(whole == NULL);
                CHECK_OK(momi_join_add(&join, gather(slices, count, room), &whole));
            }
            CHECK(whole != NULL);
            CHECK_EQ(whole->size, source.size);
            CHECK(memcmp(whole->data, source.bytes, source.size) == 0);
            CHECK_EQ(momi_split_next(&split, slices, max), 0);
            momi_buf_release(whole);
            momi_free(source.bytes);
        }
    }
    momi_free(room);
}

static void streams_may_be_mixed(void **state) {
    (void)state;
    enum { STREAMS = MOMI_JOIN_STREAMS_MAX };
    int64_t live = momi_mem_live();
    struct momi_rng rng;
    momi_rng_seed(&rng, 2);
    uint8_t *room = momi_alloc(FRAGMENT_ROOM);
    struct source sources[STREAMS];
    struct momi_split splits[STREAMS];
    for (uint32_t index = 0; index < STREAMS; index++) {
        source_init(&sources[index], &rng, 1000000 + index * 333333);
        momi_split_begin(&splits[index], 100 + index, sources[index].head,
                         sources[index].parts, sources[index].parts_count);
    }
    struct momi_join join = {0};
    unsigned done = 0;
    while (done < STREAMS) {
        uint32_t index = (uint32_t)momi_rng_between(&rng, 0, STREAMS - 1);
        struct momi_slice slices[SLICES_MAX];
        size_t count = momi_split_next(&splits[index], slices, SLICES_MAX);
        if (count == 0) {
            continue;
        }
        struct momi_buf *whole;
        CHECK_OK(momi_join_add(&join, gather(slices, count, room), &whole));
        if (whole != NULL) {
            CHECK_EQ(whole->size, sources[index].size);
            CHECK(memcmp(whole->data, sources[index].bytes, whole->size) == 0);
            momi_buf_release(whole);
            done++;
        }
    }
    for (uint32_t index = 0; index < STREAMS; index++) {
        momi_free(sources[index].bytes);
    }
    momi_free(room);
    CHECK_EQ(momi_mem_live(), live);
}

/* A fragment by hand: `size` zero bytes behind the header. */
struct fragment {
    uint8_t bytes[MOMI_SPLIT_HEADER + 64];
    size_t size;
};

static struct fragment fragment(uint8_t flags, uint32_t stream, uint32_t number,
                                uint32_t total, size_t size) {
    struct fragment made = {.bytes = {'m', 'F', MOMI_SPLIT_VERSION, flags}};
    momi_store_le32(made.bytes + 4, stream);
    momi_store_le32(made.bytes + 8, number);
    momi_store_le32(made.bytes + 12, total);
    made.size = MOMI_SPLIT_HEADER + size;
    return made;
}

static int add(struct momi_join *join, struct fragment made) {
    struct momi_buf *whole = NULL;
    int error = momi_join_add(join, momi_slice(made.bytes, made.size), &whole);
    if (error == MOM_OK) {
        momi_buf_release(whole);
    }
    return error;
}

static void what_does_not_follow_is_refused(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    static const struct {
        uint8_t flags;
        uint32_t stream, number, total, size;
    } wrong[] = {
        {0, 1, 2, 0, 5},                   /* a gap */
        {0, 1, 0, 20, 5},                  /* from the start again */
        {0, 2, 1, 0, 5},                   /* of a stream that did not begin */
        {1, 1, 1, 0, 9},                   /* last, but not complete */
        {0, 1, 1, 0, 10},                  /* complete, but not last */
        {1, 1, 1, 0, 11},                  /* more than the total */
        {0, 1, 1, 20, 5},                  /* the total told twice */
        {2, 1, 1, 0, 10},                  /* an unknown flag */
        {3, 1, 1, 0, 10}, {0, 1, 1, 0, 0}, /* nothing in it */
    };
    for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index++) {
        struct momi_join join = {0};
        CHECK_OK(add(&join, fragment(0, 1, 0, 20, 10)));
        CHECK_ERR(add(&join, fragment(wrong[index].flags, wrong[index].stream,
                                      wrong[index].number, wrong[index].total,
                                      wrong[index].size)),
                  MOM_INVALID);
        momi_join_reset(&join);
        CHECK_OK(add(&join, fragment(0, 1, 0, 20, 10)));
        CHECK_OK(add(&join, fragment(1, 1, 1, 0, 10)));
    }
    CHECK_EQ(momi_mem_live(), live);
}

static void a_hostile_start_is_refused(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_join join = {0};
    CHECK_ERR(add(&join, fragment(0, 1, 0, 0, 10)), MOM_INVALID);
    CHECK_ERR(add(&join, fragment(0, 1, 0, 5, 10)), MOM_INVALID);
    CHECK_ERR(add(&join, fragment(0, 1, 0, MOMI_CODEC_BYTES_MAX + 1, 10)), MOM_INVALID);
    CHECK_ERR(add(&join, fragment(0, 1, 0, UINT32_MAX, 10)), MOM_INVALID);
    struct fragment other = fragment(0, 1, 0, 20, 10);
    other.bytes[2]++;
    CHECK_ERR(add(&join, other), MOM_VERSION);
    other = fragment(0, 1, 0, 20, 10);
    other.bytes[1] = 'O';
    CHECK_ERR(add(&join, other), MOM_INVALID);
    other.size = 3;
    CHECK_ERR(add(&join, other), MOM_INVALID);
    for (uint32_t stream = 0; stream < MOMI_JOIN_STREAMS_MAX; stream++) {
        CHECK_OK(add(&join, fragment(0, stream, 0, MOMI_CODEC_BYTES_MAX, 1)));
    }
    CHECK_ERR(add(&join, fragment(0, 77, 0, 20, 10)), MOM_INVALID);
    momi_join_reset(&join);
    CHECK_EQ(momi_mem_live(), live);
}

static void no_memory_is_told(void **state) {
    (void)state;
    struct momi_join join = {0};
    momi_mem_fail_after(0, true);
    int error = add(&join, fragment(0, 1, 0, 20, 10));
    momi_mem_fail_after(-1, false);
    CHECK_ERR(error, MOM_NO_MEMORY);
    CHECK_OK(add(&join, fragment(1, 1, 0, 10, 10)));
}

static void noise_is_harmless(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct momi_rng rng;
    momi_rng_seed(&rng, 3);
    struct momi_join join = {0};
    for (unsigned round = 0; round < 20000; round++) {
        (void)add(&join, fragment((uint8_t)momi_rng_between(&rng, 0, 2),
                                  (uint32_t)momi_rng_between(&rng, 0, 6),
                                  (uint32_t)momi_rng_between(&rng, 0, 2),
                                  (uint32_t)momi_rng_between(&rng, 0, 2) * 20,
                                  momi_rng_between(&rng, 0, 20)));
    }
    momi_join_reset(&join);
    CHECK_EQ(momi_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(frames_of_every_size_come_back),
        TEST(streams_may_be_mixed),
        TEST(what_does_not_follow_is_refused),
        TEST(a_hostile_start_is_refused),
        TEST(no_memory_is_told),
        TEST(noise_is_harmless),
    };
    return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
