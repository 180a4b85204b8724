/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake: each message comes back, and no other bytes pass for one. */
#include "t.h"

#include "base/crc.h"
#include "base/mem.h"
#include "fuzz/samples.h"

static struct momi_arena arena;

static void check_same_hello(const struct momi_hello *a, const struct momi_hello *b) {
    CHECK_EQ(a->version_min, b->version_min);
    CHECK_EQ(a->version_max, b->version_max);
    CHECK_EQ(a->role, b->role);
    CHECK_BYTES(a->mesh.bytes, b->mesh.bytes, sizeof a->mesh.bytes);
    CHECK_EQ(a->node, b->node);
    CHECK_EQ(a->incarnation, b->incarnation);
    CHECK_EQ(a->boot_nonce, b->boot_nonce);
    CHECK_EQ(a->connection, b->connection);
    CHECK_EQ(a->founders_hash, b->founders_hash);
    CHECK_BYTES(a->public_key, b->public_key, sizeof a->public_key);
    CHECK_BYTES(a->challenge, b->challenge, sizeof a->challenge);
    CHECK(momi_slice_equal(a->name, b->name));
    CHECK(momi_slice_equal(a->address, b->address));
    CHECK(momi_slice_equal(a->gossip_bus, b->gossip_bus));
    CHECK(momi_slice_equal(a->gossip_survey, b->gossip_survey));
    CHECK(momi_slice_equal(a->credential, b->credential));
}

static void check_same(const struct momi_hello_message *a,
                       const struct momi_hello_message *b) {
    CHECK_EQ(a->kind, b->kind);
    switch (a->kind) {
    case MOMI_HELLO:
        check_same_hello(&a->hello, &b->hello);
        break;
    case MOMI_HELLO_PROOF:
        CHECK_BYTES(a->proof.signature, b->proof.signature, sizeof a->proof.signature);
        break;
    case MOMI_HELLO_REFUSED:
        CHECK_EQ((int64_t)a->refused.error, (int64_t)b->refused.error);
        CHECK(momi_slice_equal(a->refused.text, b->refused.text));
        break;
    case MOMI_HELLO_WAKE:
        CHECK_EQ(a->wake.node, b->wake.node);
        CHECK(momi_slice_equal(a->wake.address, b->wake.address));
        break;
    }
}

static void every_kind_comes_back(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 1);
    struct momi_bytes bytes = {.data = NULL};
    for (unsigned round = 0; round < 1000; round++) {
        momi_arena_reset(&arena);
        struct momi_hello_message message, found;
        sample_hello(&rng, &arena,
                     (enum momi_hello_kind)(MOMI_HELLO + round % MOMI_HELLO_WAKE),
                     &message);
        momi_bytes_clear(&bytes);
        CHECK_OK(momi_hello_encode(&message, &bytes));
        CHECK(bytes.size <= MOMI_HELLO_BYTES_MAX);
        CHECK_OK(momi_hello_decode(momi_bytes_slice(&bytes), &found));
        check_same(&found, &message);
    }
    momi_bytes_free(&bytes);
}

static void repair_sum(uint8_t *bytes, size_t size) {
    uint32_t crc = momi_crc32c(0, bytes, 8);
    momi_store_le32(bytes + 8, momi_crc32c(crc, bytes + 12, size - 12));
}

static void truncations_and_flips_are_refused(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 2);
    for (unsigned kind = MOMI_HELLO; kind <= MOMI_HELLO_WAKE; kind++) {
        momi_arena_reset(&arena);
        struct momi_hello_message message, found;
        sample_hello(&rng, &arena, (enum momi_hello_kind)kind, &message);
        struct momi_bytes bytes = {.data = NULL};
        CHECK_OK(momi_hello_encode(&message, &bytes));
        for (size_t size = 0; size < bytes.size; size++) {
            uint8_t *cut = momi_alloc(size);
            if (size > 0) {
                memcpy(cut, bytes.data, size);
            }
            CHECK_ERR(momi_hello_decode(momi_slice(cut, size), &found), MOM_INVALID);
            if (size >= MOMI_HELLO_HEADER) { /* as a hostile sender would */
                momi_store_le32(cut + 4, (uint32_t)size - MOMI_HELLO_HEADER);
                repair_sum(cut, size);
                CHECK_ERR(momi_hello_decode(momi_slice(cut, size), &found), MOM_INVALID);
            }
            momi_free(cut);
        }
        uint8_t *flipped = momi_alloc(bytes.size);
        for (size_t bit = 0; bit < bytes.size * 8; bit++) {
            memcpy(flipped, bytes.data, bytes.size);
            flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
            CHECK(momi_hello_decode(momi_slice(flipped, bytes.size), &found) != MOM_OK);
            repair_sum(flipped, bytes.size);
            if (momi_hello_decode(momi_slice(flipped, bytes.size), &found) == MOM_OK) {
                struct momi_bytes again = {.data = NULL};
                CHECK_OK(momi_hello_encode(&found, &again));
                momi_bytes_free(&again);
            }
        }
        momi_free(flipped);
        momi_bytes_free(&bytes);
    }
}

static void another_format_is_told_apart(void **state) {
    (void)state;
    struct momi_hello_message message = {.kind = MOMI_HELLO_PROOF};
    struct momi_bytes bytes = {.data = NULL};
    CHECK_OK(momi_hello_encode(&message, &bytes));
    bytes.data[2]++;
    CHECK_ERR(momi_hello_decode(momi_bytes_slice(&bytes), &message), MOM_VERSION);
    bytes.data[2]--;
    bytes.data[20]++;
    CHECK_ERR(momi_hello_decode(momi_bytes_slice(&bytes), &message), MOM_CORRUPT);
    momi_bytes_free(&bytes);
}

static void values_out_of_their_limits_are_refused(void **state) {
    (void)state;
    momi_arena_reset(&arena);
    struct momi_rng rng;
    momi_rng_seed(&rng, 3);
    struct momi_hello_message good, message;
    sample_hello(&rng, &arena, MOMI_HELLO, &good);
    struct momi_slice name = sample_bytes(&rng, &arena, MOMI_NAME_BYTES_MAX + 1);
    struct momi_slice credential =
        sample_bytes(&rng, &arena, MOMI_HELLO_CREDENTIAL_BYTES_MAX + 1);
    struct momi_bytes bytes = {.data = NULL};
    for (unsigned wrong = 0; wrong < 10; wrong++) {
        message = good;
        switch (wrong) {
        case 0:
            message.hello.version_min = 0;
            break;
        case 1:
            message.hello.version_min = 2;
            message.hello.version_max = 1;
            break;
        case 2:
            message.hello.role = (enum momi_role)0;
            break;
        case 3:
            message.hello.role = (enum momi_role)3;
            break;
        case 4:
            message.hello.node = 0;
            break;
        case 5:
            message.hello.name = name;
            break;
        case 6:
            message.hello.address = name;
            break;
        case 7:
            message.hello.gossip_bus = name;
            break;
        case 8:
            message.hello.gossip_survey = name;
            break;
        case 9:
            message.hello.credential = credential;
            break;
        }
        CHECK_ERR(momi_hello_encode(&message, &bytes), MOM_INVALID);
        CHECK_EQ(bytes.size, 0);
    }
    message = (struct momi_hello_message){.kind = MOMI_HELLO_WAKE};
    CHECK_ERR(momi_hello_encode(&message, &bytes), MOM_INVALID);
    message.kind = MOMI_HELLO_REFUSED; /* no error */
    CHECK_ERR(momi_hello_encode(&message, &bytes), MOM_INVALID);
    message.kind = (enum momi_hello_kind)5;
    CHECK_ERR(momi_hello_encode(&message, &bytes), MOM_INVALID);
    momi_bytes_free(&bytes);
}

static void a_long_reason_is_cut(void **state) {
    (void)state;
    char text[MOMI_HELLO_TEXT_BYTES_MAX + 50];
    memset(text, 't', sizeof text);
    struct momi_hello_message message = {
        .kind = MOMI_HELLO_REFUSED,
        .refused = {.error = MOM_CONFLICT, .text = momi_slice(text, sizeof text)}};
    struct momi_hello_message found;
    struct momi_bytes bytes = {.data = NULL};
    CHECK_OK(momi_hello_encode(&message, &bytes));
    CHECK_OK(momi_hello_decode(momi_bytes_slice(&bytes), &found));
    CHECK_EQ(found.refused.text.size, MOMI_HELLO_TEXT_BYTES_MAX);
    CHECK_ERR(found.refused.error, MOM_CONFLICT);
    momi_bytes_free(&bytes);
}

static void versions_meet_at_the_highest_common_one(void **state) {
    (void)state;
    struct momi_hello a = {.version_min = 2, .version_max = 5};
    struct momi_hello b = {.version_min = 1, .version_max = 3};
    CHECK_EQ(momi_hello_version(&a, &b), 3);
    CHECK_EQ(momi_hello_version(&b, &a), 3);
    b.version_max = 1;
    CHECK_EQ(momi_hello_version(&a, &b), 0);
    CHECK_EQ(momi_hello_version(&b, &a), 0);
}

/* Whoever signs, and for whom, must show in what is signed. */
static void a_proof_fits_one_end_of_one_handshake(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 4);
    struct momi_hello_message a, b;
    sample_hello(&rng, &arena, MOMI_HELLO, &a);
    sample_hello(&rng, &arena, MOMI_HELLO, &b);
    struct momi_bytes hello = {.data = NULL}, first = {.data = NULL},
                      second = {.data = NULL};
    CHECK_OK(momi_hello_encode(&a, &hello));
    momi_hello_to_sign(&first, MOMI_HELLO_DIALED, momi_bytes_slice(&hello), &b.hello);
    momi_hello_to_sign(&second, MOMI_HELLO_DIALED, momi_bytes_slice(&hello), &b.hello);
    CHECK(momi_slice_equal(momi_bytes_slice(&first), momi_bytes_slice(&second)));
    for (unsigned change = 0; change < 4; change++) {
        momi_bytes_clear(&second);
        momi_bytes_clear(&hello);
        struct momi_hello_message own = a, other = b;
        own.hello.challenge[3] ^= change == 0;
        other.hello.challenge[31] ^= change == 1;
        other.hello.node ^= change == 2 ? 2 : 0;
        CHECK_OK(momi_hello_encode(&own, &hello));
        momi_hello_to_sign(&second, change == 3 ? MOMI_HELLO_ACCEPTED : MOMI_HELLO_DIALED,
                           momi_bytes_slice(&hello), &other.hello);
        CHECK(!momi_slice_equal(momi_bytes_slice(&first), momi_bytes_slice(&second)));
    }
    momi_bytes_free(&hello);
    momi_bytes_free(&first);
    momi_bytes_free(&second);
}

static int free_arena(void **state) {
    (void)state;
    momi_arena_free(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_kind_comes_back),
        TEST(truncations_and_flips_are_refused),
        TEST(another_format_is_told_apart),
        TEST(values_out_of_their_limits_are_refused),
        TEST(a_long_reason_is_cut),
        TEST(versions_meet_at_the_highest_common_one),
        TEST(a_proof_fits_one_end_of_one_handshake),
    };
    return cmocka_run_group_tests_name("hello", tests, NULL, free_arena);
}
