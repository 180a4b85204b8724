/* SPDX-License-Identifier: Apache-2.0 */
/* What is packed comes out again; what is not whole, or hostile, fails and reads nothing
 * beyond its end. */
#include "t.h"

#include "base/mem.h"
#include "base/pack.h"
#include "base/rng.h"

static void layouts_are_as_documented(void **state) {
    (void)state;
    struct momi_bytes out = {.data = NULL};
    momi_put_u8(&out, 0x01);
    momi_put_u16(&out, 0x0203);
    momi_put_u32(&out, 0x04050607);
    momi_put_u64(&out, UINT64_C(0x08090a0b0c0d0e0f));
    momi_put_be32(&out, 0x10111213);
    momi_put_be64(&out, UINT64_C(0x1415161718191a1b));
    momi_put_varint(&out, 300);
    momi_put_slice(&out, momi_slice_str("ab"));
    static const uint8_t expected[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
                                       0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x10,
                                       0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
                                       0x19, 0x1a, 0x1b, 0xac, 0x02, 0x02, 'a',  'b'};
    CHECK(
        momi_slice_equal(momi_bytes_slice(&out), momi_slice(expected, sizeof expected)));

    struct momi_reader in = momi_reader(momi_bytes_slice(&out));
    CHECK_EQ(momi_get_u8(&in), 0x01);
    CHECK_EQ(momi_get_u16(&in), 0x0203);
    CHECK_EQ(momi_get_u32(&in), 0x04050607);
    CHECK_EQ(momi_get_u64(&in), UINT64_C(0x08090a0b0c0d0e0f));
    CHECK_EQ(momi_get_be32(&in), 0x10111213);
    CHECK_EQ(momi_get_be64(&in), UINT64_C(0x1415161718191a1b));
    CHECK_EQ(momi_get_varint(&in), 300);
    CHECK(momi_slice_equal(momi_get_slice(&in), momi_slice_str("ab")));
    CHECK(momi_reader_done(&in));
    momi_bytes_free(&out);
}

static void big_endian_keys_sort_as_numbers(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 2);
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t a = momi_rng_next(&rng) >> momi_rng_between(&rng, 0, 63);
        uint64_t b = momi_rng_next(&rng) >> momi_rng_between(&rng, 0, 63);
        struct momi_bytes key_a = {.data = NULL};
        struct momi_bytes key_b = {.data = NULL};
        momi_put_be64(&key_a, a);
        momi_put_be64(&key_b, b);
        int order =
            momi_slice_compare(momi_bytes_slice(&key_a), momi_bytes_slice(&key_b));
        CHECK_EQ(order < 0, a < b);
        CHECK_EQ(order == 0, a == b);
        momi_bytes_free(&key_a);
        momi_bytes_free(&key_b);
    }
}

static void varints_come_back_at_every_size(void **state) {
    (void)state;
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t top = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
        uint64_t values[] = {top, top == UINT64_MAX ? top : top + 1, top / 2};
        for (size_t index = 0; index < 3; index++) {
            struct momi_bytes out = {.data = NULL};
            momi_put_varint(&out, values[index]);
            CHECK(out.size >= 1);
            CHECK(out.size <= 10);
            struct momi_reader in = momi_reader(momi_bytes_slice(&out));
            CHECK(momi_get_varint(&in) == values[index]);
            CHECK(momi_reader_done(&in));
            /* Every proper beginning of it is refused. */
            for (size_t size = 0; size < out.size; size++) {
                in = momi_reader(momi_slice(out.data, size));
                CHECK_EQ(momi_get_varint(&in), 0);
                CHECK(in.failed);
            }
            momi_bytes_free(&out);
        }
    }
}

static void varints_over_64_bits_are_refused(void **state) {
    (void)state;
    uint8_t bytes[11];
    memset(bytes, 0x80, sizeof bytes);
    bytes[10] = 0x01;
    struct momi_reader in = momi_reader(momi_slice(bytes, 11));
    CHECK_EQ(momi_get_varint(&in), 0);
    CHECK(in.failed);
    bytes[9] = 0x02; /* bit 64 */
    in = momi_reader(momi_slice(bytes, 10));
    CHECK_EQ(momi_get_varint(&in), 0);
    CHECK(in.failed);
    bytes[9] = 0x01; /* bit 63 */
    in = momi_reader(momi_slice(bytes, 10));
    CHECK(momi_get_varint(&in) == UINT64_C(1) << 63);
    CHECK(!in.failed);
}

static void a_failed_reader_stays_failed(void **state) {
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3};
    struct momi_reader in = momi_reader(momi_slice(bytes, sizeof bytes));
    CHECK_EQ(momi_get_u32(&in), 0);
    CHECK(in.failed);
    CHECK_EQ(momi_get_u8(&in), 0);
    CHECK_EQ(momi_reader_left(&in), 0);
    CHECK(!momi_reader_done(&in));
    struct momi_slice none = momi_get_bytes(&in, 1);
    CHECK(none.data == NULL);
    CHECK_EQ(none.size, 0);

    in = momi_reader(momi_slice(NULL, 0));
    CHECK(momi_reader_done(&in));
    CHECK_EQ(momi_get_bytes(&in, 0).size, 0);
    CHECK(momi_reader_done(&in));
    CHECK_EQ(momi_get_u8(&in), 0);
    CHECK(in.failed);
}

static void a_slice_longer_than_the_input_is_refused(void **state) {
    (void)state;
    uint64_t sizes[] = {4, 100, UINT32_MAX, UINT64_MAX, (uint64_t)INT64_MAX};
    for (size_t index = 0; index < sizeof sizes / sizeof sizes[0]; index++) {
        struct momi_bytes out = {.data = NULL};
        momi_put_varint(&out, sizes[index]);
        momi_bytes_append(&out, "abc", 3);
        struct momi_reader in = momi_reader(momi_bytes_slice(&out));
        CHECK_EQ(momi_get_slice(&in).size, 0);
        CHECK(in.failed);
        momi_bytes_free(&out);
    }
}

/* One random value of each kind, written and read back by the same random choices. */
static void random_records_come_back(void **state) {
    (void)state;
    enum { ROUNDS = 3000, FIELDS_MAX = 20 };
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct momi_rng rng;
        struct momi_bytes out = {.data = NULL};
        static const uint8_t filler[300];
        momi_rng_seed(&rng, seed);
        uint64_t fields = momi_rng_between(&rng, 0, FIELDS_MAX);
        struct momi_rng again = rng;
        for (uint64_t field = 0; field < fields; field++) {
            uint64_t kind = momi_rng_between(&rng, 0, 7);
            uint64_t value = momi_rng_next(&rng) >> momi_rng_between(&rng, 0, 63);
            switch (kind) {
            case 0:
                momi_put_u8(&out, (uint8_t)value);
                break;
            case 1:
                momi_put_u16(&out, (uint16_t)value);
                break;
            case 2:
                momi_put_u32(&out, (uint32_t)value);
                break;
            case 3:
                momi_put_u64(&out, value);
                break;
            case 4:
                momi_put_be32(&out, (uint32_t)value);
                break;
            case 5:
                momi_put_be64(&out, value);
                break;
            case 6:
                momi_put_varint(&out, value);
                break;
            default:
                momi_put_slice(&out, momi_slice(filler, value % sizeof filler));
                break;
            }
        }
        struct momi_reader in = momi_reader(momi_bytes_slice(&out));
        for (uint64_t field = 0; field < fields; field++) {
            uint64_t kind = momi_rng_between(&again, 0, 7);
            uint64_t value = momi_rng_next(&again) >> momi_rng_between(&again, 0, 63);
            switch (kind) {
            case 0:
                CHECK(momi_get_u8(&in) == (uint8_t)value);
                break;
            case 1:
                CHECK(momi_get_u16(&in) == (uint16_t)value);
                break;
            case 2:
                CHECK(momi_get_u32(&in) == (uint32_t)value);
                break;
            case 3:
                CHECK(momi_get_u64(&in) == value);
                break;
            case 4:
                CHECK(momi_get_be32(&in) == (uint32_t)value);
                break;
            case 5:
                CHECK(momi_get_be64(&in) == value);
                break;
            case 6:
                CHECK(momi_get_varint(&in) == value);
                break;
            default:
                CHECK_EQ(momi_get_slice(&in).size, value % sizeof filler);
                break;
            }
            CHECK(!in.failed);
        }
        CHECK(momi_reader_done(&in));
        momi_bytes_free(&out);
    }
}

/* The bytes are on the heap at their exact size, so that a sanitizer sees every step
 * beyond them. */
static void noise_is_read_without_a_step_beyond_it(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 3);
    for (unsigned round = 0; round < 20000; round++) {
        size_t size = momi_rng_between(&rng, 0, 40);
        uint8_t *bytes = momi_must_alloc(size);
        for (size_t index = 0; index < size; index++) {
            bytes[index] = (uint8_t)momi_rng_next(&rng);
        }
        struct momi_reader in = momi_reader(momi_slice(bytes, size));
        size_t consumed = 0;
        while (!in.failed && momi_reader_left(&in) > 0) {
            size_t before = momi_reader_left(&in);
            switch (momi_rng_between(&rng, 0, 3)) {
            case 0:
                (void)momi_get_varint(&in);
                break;
            case 1: {
                struct momi_slice slice = momi_get_slice(&in);
                CHECK(slice.size <= size);
                CHECK(slice.size == 0 || slice.data + slice.size <= bytes + size);
                break;
            }
            case 2:
                (void)momi_get_u64(&in);
                break;
            default:
                (void)momi_get_u8(&in);
                break;
            }
            consumed += in.failed ? 0 : before - momi_reader_left(&in);
        }
        CHECK(consumed <= size);
        momi_free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(layouts_are_as_documented),
        TEST(big_endian_keys_sort_as_numbers),
        TEST(varints_come_back_at_every_size),
        TEST(varints_over_64_bits_are_refused),
        TEST(a_failed_reader_stays_failed),
        TEST(a_slice_longer_than_the_input_is_refused),
        TEST(random_records_come_back),
        TEST(noise_is_read_without_a_step_beyond_it),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
