/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C: the published values, and the two implementations against each other and
 * against bit by bit. */
#include "t.h"

#include "base/crc.h"
#include "base/rng.h"

static void check_both(const void *data, size_t size, uint32_t expected) {
    CHECK_EQ(momi_crc32c(0, data, size), expected);
    CHECK_EQ(momi_crc32c_portable(0, data, size), expected);
}

static void values_of_rfc_3720_come_out(void **state) {
    (void)state;
    uint8_t bytes[32];
    check_both("", 0, 0);
    check_both("123456789", 9, 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    check_both(bytes, sizeof bytes, 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    check_both(bytes, sizeof bytes, 0x62a8ab43);
    for (uint8_t index = 0; index < 32; index++) {
        bytes[index] = index;
    }
    check_both(bytes, sizeof bytes, 0x46dd794e);
    for (uint8_t index = 0; index < 32; index++) {
        bytes[index] = (uint8_t)(31 - index);
    }
    check_both(bytes, sizeof bytes, 0x113fdb5c);
}

static uint32_t bit_by_bit(uint32_t crc, const uint8_t *at, size_t size) {
    crc = ~crc;
    for (size_t index = 0; index < size; index++) {
        crc ^= at[index];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

static void every_length_and_alignment_agrees(void **state) {
    (void)state;
    uint8_t bytes[256 + 16];
    struct momi_rng rng;
    momi_rng_seed(&rng, 12);
    for (size_t index = 0; index < sizeof bytes; index++) {
        bytes[index] = (uint8_t)momi_rng_next(&rng);
    }
    for (size_t start = 0; start < 16; start++) {
        for (size_t size = 0; size <= 256; size++) {
            check_both(bytes + start, size, bit_by_bit(0, bytes + start, size));
        }
    }
}

static void it_continues_over_any_split(void **state) {
    (void)state;
    uint8_t bytes[300];
    struct momi_rng rng;
    momi_rng_seed(&rng, 13);
    for (size_t index = 0; index < sizeof bytes; index++) {
        bytes[index] = (uint8_t)momi_rng_next(&rng);
    }
    uint32_t whole = momi_crc32c(0, bytes, sizeof bytes);
    for (size_t split = 0; split <= sizeof bytes; split++) {
        uint32_t head = momi_crc32c(0, bytes, split);
        CHECK_EQ(momi_crc32c(head, bytes + split, sizeof bytes - split), whole);
        CHECK_EQ(momi_crc32c_portable(head, bytes + split, sizeof bytes - split), whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(values_of_rfc_3720_come_out),
        TEST(every_length_and_alignment_agrees),
        TEST(it_continues_over_any_split),
    };
    return cmocka_run_group_tests_name("crc", tests, NULL, NULL);
}
