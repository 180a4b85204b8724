/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and clock: signatures hold for their message and key only; ids are stable,
 * distinct, not zero. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "port/clock.h"
#include "port/keys.h"

static void signature_holds_for_its_message_and_key(void **state) {
    (void)state;
    struct momi_key key;
    struct momi_key other;
    struct momi_key_signature signature;
    momi_key_generate(&key);
    momi_key_generate(&other);
    struct momi_slice message = momi_slice_str("challenge of both sides");
    momi_key_sign(&key, message, &signature);
    assert_true(momi_key_verify(&key.public_key, message, &signature));
    assert_false(momi_key_verify(&other.public_key, message, &signature));
    assert_false(
        momi_key_verify(&key.public_key, momi_slice_str("something else"), &signature));
    assert_false(
        momi_key_verify(&key.public_key, momi_slice(message.data, 0), &signature));
    for (size_t bit = 0; bit < 8 * sizeof signature.bytes; bit++) {
        struct momi_key_signature bent = signature;
        bent.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_false(momi_key_verify(&key.public_key, message, &bent));
    }
}

static void empty_message_can_be_signed(void **state) {
    (void)state;
    struct momi_key key;
    struct momi_key_signature signature;
    momi_key_generate(&key);
    struct momi_slice nothing = momi_slice("", 0);
    momi_key_sign(&key, nothing, &signature);
    assert_true(momi_key_verify(&key.public_key, nothing, &signature));
}

/* RFC 8032, section 7.1, test 2: another implementation reads our keys and signatures. */
static void key_and_signature_are_those_of_the_standard(void **state) {
    (void)state;
    static const uint8_t seed[MOMI_KEY_SEED_BYTES] = {
        0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3,
        0x46, 0xec, 0x11, 0x4e, 0x0f, 0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab,
        0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb};
    static const uint8_t public_start[4] = {0x3d, 0x40, 0x17, 0xc3};
    static const uint8_t signature_start[4] = {0x92, 0xa0, 0x09, 0xa9};
    struct momi_key key;
    struct momi_key_signature signature;
    momi_key_from_seed(&key, seed);
    momi_key_sign(&key, momi_slice("\x72", 1), &signature);
    assert_memory_equal(key.public_key.bytes, public_start, sizeof public_start);
    assert_memory_equal(signature.bytes, signature_start, sizeof signature_start);
}

static void key_comes_back_from_its_seed(void **state) {
    (void)state;
    struct momi_key key;
    struct momi_key again;
    momi_key_generate(&key);
    momi_key_from_seed(&again, key.seed);
    assert_memory_equal(&key, &again, sizeof key);
    assert_true(momi_key_node_id(&key.public_key) == momi_key_node_id(&again.public_key));
    momi_key_wipe(&again);
    static const uint8_t zeros[sizeof again];
    assert_memory_equal(&again, zeros, sizeof again);
}

static void ids_differ_and_are_not_zero(void **state) {
    (void)state;
    enum { COUNT = 200 };
    uint64_t ids[COUNT];
    struct momi_id128 wide[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        struct momi_key key;
        momi_key_generate(&key);
        ids[i] = momi_key_node_id(&key.public_key);
        wide[i] = momi_random_id128();
        assert_true(ids[i] != 0);
        assert_true(wide[i].high != 0 || wide[i].low != 0);
        for (size_t j = 0; j < i; j++) {
            assert_true(ids[i] != ids[j]);
            assert_false(momi_id128_equal(wide[i], wide[j]));
        }
    }
    assert_true(momi_id128_equal(wide[0], wide[0]));
}

static void random_bytes_fill_all_of_the_buffer(void **state) {
    (void)state;
    uint8_t seen[64] = {0};
    uint8_t bytes[64];
    for (int round = 0; round < 64; round++) {
        momi_random_bytes(bytes, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes; i++) {
            seen[i] |= bytes[i];
        }
    }
    for (size_t i = 0; i < sizeof seen; i++) {
        assert_true(seen[i] != 0);
    }
}

static void monotonic_clock_moves_on_and_never_back(void **state) {
    (void)state;
    uint64_t start = momi_clock_monotonic_us();
    uint64_t last = start;
    while (last < start + 2000) {
        uint64_t now = momi_clock_monotonic_us();
        assert_true(now >= last);
        last = now;
    }
    assert_true(momi_clock_wall_us() > UINT64_C(1600000000) * 1000000u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signature_holds_for_its_message_and_key),
        cmocka_unit_test(empty_message_can_be_signed),
        cmocka_unit_test(key_and_signature_are_those_of_the_standard),
        cmocka_unit_test(key_comes_back_from_its_seed),
        cmocka_unit_test(ids_differ_and_are_not_zero),
        cmocka_unit_test(random_bytes_fill_all_of_the_buffer),
        cmocka_unit_test(monotonic_clock_moves_on_and_never_back),
    };
    if (momi_keys_init() != MOM_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
