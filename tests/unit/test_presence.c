/* SPDX-License-Identifier: Apache-2.0 */
/* Presence: what is encoded comes back, and nothing else is read. */
#include "t.h"

#include "base/rng.h"
#include "wire/presence.h"

static struct momi_presence sample(enum momi_presence_kind kind, uint32_t count) {
    struct momi_presence presence = {.kind = kind, .count = count};
    memset(presence.mesh.bytes, 7, sizeof presence.mesh.bytes);
    for (uint32_t i = 0; i < count; i++) {
        presence.records[i] =
            (struct momi_presence_record){.node = i + 1,
                                          .incarnation = i,
                                          .name = momi_slice_str(i == 0 ? "" : "name"),
                                          .address = momi_slice_str("tcp://h:1")};
    }
    return presence;
}

static void what_is_said_is_heard(void **state) {
    (void)state;
    static const struct {
        enum momi_presence_kind kind;
        uint32_t count;
    } cases[] = {{MOMI_PRESENCE_WHO, 0},
                 {MOMI_PRESENCE_WHO, 1},
                 {MOMI_PRESENCE_ALIVE, 1},
                 {MOMI_PRESENCE_HERE, MOMI_PRESENCE_RECORDS_MAX}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct momi_presence presence = sample(cases[c].kind, cases[c].count);
        struct momi_presence found;
        struct momi_bytes bytes = {0};
        momi_put_u8(&bytes, 9); /* it is appended */
        CHECK_OK(momi_presence_encode(&presence, &bytes));
        struct momi_slice message = momi_slice(bytes.data + 1, bytes.size - 1);
        CHECK_OK(momi_presence_decode(message, &found));
        CHECK_EQ(found.kind, presence.kind);
        CHECK_EQ(found.count, presence.count);
        CHECK_EQ(memcmp(&found.mesh, &presence.mesh, sizeof found.mesh), 0);
        for (uint32_t i = 0; i < found.count; i++) {
            CHECK_EQ(found.records[i].node, presence.records[i].node);
            CHECK_EQ(found.records[i].incarnation, presence.records[i].incarnation);
            CHECK(momi_slice_equal(found.records[i].name, presence.records[i].name));
            CHECK(
                momi_slice_equal(found.records[i].address, presence.records[i].address));
        }
        /* Every shorter one, and every flipped bit, is refused. */
        for (size_t size = 0; size < message.size; size++) {
            CHECK(momi_presence_decode(momi_slice(message.data, size), &found) != MOM_OK);
        }
        for (size_t bit = 0; bit < message.size * 8; bit++) {
            bytes.data[1 + bit / 8] ^= (uint8_t)(1u << bit % 8);
            CHECK(momi_presence_decode(message, &found) != MOM_OK);
            bytes.data[1 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        momi_bytes_free(&bytes);
    }
}

static void what_does_not_fit_is_not_said(void **state) {
    (void)state;
    static const char long_text[300] = {1};
    struct momi_bytes bytes = {0};
    struct momi_presence presence = sample(MOMI_PRESENCE_ALIVE, 2);
    CHECK_ERR(momi_presence_encode(&presence, &bytes), MOM_INVALID);
    presence = sample(MOMI_PRESENCE_HERE, 2);
    presence.records[1].node = 0;
    CHECK_ERR(momi_presence_encode(&presence, &bytes), MOM_INVALID);
    presence = sample(MOMI_PRESENCE_HERE, 2);
    presence.records[1].address = momi_slice(NULL, 0);
    CHECK_ERR(momi_presence_encode(&presence, &bytes), MOM_INVALID);
    presence.records[1].address = momi_slice(long_text, sizeof long_text);
    CHECK_ERR(momi_presence_encode(&presence, &bytes), MOM_INVALID);
    presence = sample(MOMI_PRESENCE_HERE, 2);
    presence.records[1].name = momi_slice(long_text, sizeof long_text);
    CHECK_ERR(momi_presence_encode(&presence, &bytes), MOM_INVALID);
    presence = sample(MOMI_PRESENCE_HERE, 0);
    presence.count = MOMI_PRESENCE_RECORDS_MAX + 1;
    CHECK_ERR(momi_presence_encode(&presence, &bytes), MOM_INVALID);
    CHECK_EQ(bytes.size, 0);
    momi_bytes_free(&bytes);
}

static void random_bytes_are_refused(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 5);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[200];
        size_t size = (size_t)momi_rng_between(&rng, 0, sizeof bytes);
        for (size_t j = 0; j < size; j++) {
            bytes[j] = (uint8_t)momi_rng_next(&rng);
        }
        if (size > 4) {
            memcpy(bytes, "mP\1\2", 4);
        }
        struct momi_presence found;
        CHECK(momi_presence_decode(momi_slice(bytes, size), &found) != MOM_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_is_said_is_heard),
        TEST(what_does_not_fit_is_not_said),
        TEST(random_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
