/* SPDX-License-Identifier: Apache-2.0 */
/* The keyspace: byte order is number order, values come back, damaged ones are refused.
 */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/keys.h"

static int sign(int value) { return (value > 0) - (value < 0); }

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static void key_order_is_number_order(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 1);
    for (unsigned round = 0; round < 20000; round++) {
        uint32_t shard[2];
        uint64_t index[2];
        for (size_t side = 0; side < 2; side++) {
            shard[side] = (uint32_t)momi_rng_between(&rng, 254, 257);
            index[side] = momi_rng_next(&rng) >> momi_rng_between(&rng, 0, 63);
        }
        struct momi_key a = momi_key_entry(shard[0], index[0]);
        struct momi_key b = momi_key_entry(shard[1], index[1]);
        int expected = compare(shard[0], shard[1]);
        expected = expected != 0 ? expected : compare(index[0], index[1]);
        CHECK_EQ(sign(momi_slice_compare(momi_key_slice(&a), momi_key_slice(&b))),
                 expected);
        a = momi_key_node('h', shard[0]);
        b = momi_key_node('h', shard[1]);
        CHECK_EQ(sign(momi_slice_compare(momi_key_slice(&a), momi_key_slice(&b))),
                 compare(shard[0], shard[1]));
        a = momi_key_peer(index[0]);
        b = momi_key_peer(index[1]);
        CHECK_EQ(sign(momi_slice_compare(momi_key_slice(&a), momi_key_slice(&b))),
                 compare(index[0], index[1]));
    }
}

static void keys_are_as_documented_and_come_back(void **state) {
    (void)state;
    struct momi_key key = momi_key_entry(0x01020304, 0x1122334455667788);
    CHECK_EQ(key.size, 12);
    CHECK_BYTES(key.bytes, "\x01\x02\x03\x04\x11\x22\x33\x44\x55\x66\x77\x88", 12);
    uint32_t shard;
    uint64_t number;
    CHECK(momi_key_entry_decode(momi_key_slice(&key), &shard, &number));
    CHECK_EQ(shard, 0x01020304);
    CHECK_EQ(number, 0x1122334455667788);
    CHECK(!momi_key_entry_decode(momi_slice(key.bytes, 11), &shard, &number));
    CHECK(!momi_key_peer_decode(momi_slice(key.bytes, 9), &number));

    key = momi_key_record(5, 1, momi_slice_str("rec"));
    CHECK_EQ(key.size, 8);
    CHECK_BYTES(key.bytes, "\0\0\0\x05\x01rec", 8);

    uint8_t letter;
    key = momi_key_node('s', 7);
    CHECK_BYTES(key.bytes, "s\0\0\0\x07", 5);
    CHECK(momi_key_node_decode(momi_key_slice(&key), &letter, &shard));
    CHECK_EQ(letter, 's');
    CHECK_EQ(shard, 7);
    CHECK(!momi_key_node_decode(momi_slice(key.bytes, 4), &letter, &shard));

    key = momi_key_peer(0xfe);
    CHECK_BYTES(key.bytes, "p\0\0\0\0\0\0\0\xfe", 9);
    CHECK(momi_key_peer_decode(momi_key_slice(&key), &number));
    CHECK_EQ(number, 0xfe);
    CHECK(!momi_key_node_decode(momi_key_slice(&key), &letter, &shard));
}

static struct momi_shard_header sample_header(void) {
    struct momi_shard_header header = {
        .replica = 9,
        .side = 1,
        .has_state = true,
        .applied = 1000,
        .applied_term = 4,
        .first_index = 900,
        .before_term = 3,
        .config_index = 17,
        .config = {.version = 2, .count = 3},
    };
    for (uint32_t index = 0; index < 3; index++) {
        header.config.at[index] =
            (struct momi_replica_at){.replica = 7 + index,
                                     .node = 0xffffffff00000000u + index,
                                     .votes = index < 2};
    }
    return header;
}

static void values_come_back(void **state) {
    (void)state;
    struct momi_batch batch = {0};
    struct momi_hard_state hard = {.term = 5, .vote = UINT64_MAX};
    struct momi_shard_header header = sample_header();
    momi_batch_put_hard(&batch, 3, &hard);
    momi_batch_put_header(&batch, 3, &header);
    momi_batch_put_last(&batch, 3, 76, 77);
    momi_batch_put_removed(&batch, 3, 78);
    momi_batch_put_peer(&batch, 4, 79);
    CHECK(!batch.failed);
    CHECK_EQ(momi_batch_count(&batch), 5);

    struct momi_hard_state hard_found;
    CHECK(momi_hard_state_decode(momi_batch_at(&batch, 0).value, &hard_found));
    CHECK_EQ(hard_found.term, 5);
    CHECK_EQ(hard_found.vote, UINT64_MAX);
    struct momi_shard_header found;
    CHECK(momi_shard_header_decode(momi_batch_at(&batch, 1).value, &found));
    CHECK_EQ(found.replica, header.replica);
    CHECK_EQ(found.side, header.side);
    CHECK(found.has_state);
    CHECK_EQ(found.applied, header.applied);
    CHECK_EQ(found.applied_term, header.applied_term);
    CHECK_EQ(found.first_index, header.first_index);
    CHECK_EQ(found.before_term, header.before_term);
    CHECK_EQ(found.config_index, header.config_index);
    CHECK_EQ(found.config.count, 3);
    CHECK_EQ(found.config.at[2].node, header.config.at[2].node);
    static const uint8_t letters[] = {'h', 's', 'l', 't'};
    for (size_t index = 0; index < 4; index++) {
        struct momi_key key = momi_key_node(letters[index], 3);
        struct momi_batch_view view = momi_batch_at(&batch, index);
        CHECK(momi_slice_equal(view.key, momi_key_slice(&key)));
        CHECK_EQ(view.family, MOMI_FAMILY_NODE);
    }
    uint64_t last_index = 0;
    uint64_t last_term = 0;
    struct momi_slice last = momi_batch_at(&batch, 2).value;
    CHECK(momi_last_decode(last, &last_index, &last_term));
    CHECK_EQ(last_index, 76);
    CHECK_EQ(last_term, 77);
    CHECK(!momi_last_decode(momi_slice(last.data, 8), &last_index, &last_term));
    for (size_t index = 3; index < 5; index++) {
        uint64_t number;
        CHECK(momi_number_decode(momi_batch_at(&batch, index).value, &number));
        CHECK_EQ(number, 75 + index);
        CHECK(!momi_number_decode(momi_slice(&number, 7), &number));
    }
    momi_batch_free(&batch);
}

static void damaged_values_are_refused_or_harmless(void **state) {
    (void)state;
    struct momi_batch batch = {0};
    struct momi_hard_state hard = {.term = 5, .vote = 6};
    struct momi_shard_header header = sample_header();
    momi_batch_put_hard(&batch, 3, &hard);
    momi_batch_put_header(&batch, 3, &header);
    for (size_t index = 0; index < 2; index++) {
        struct momi_slice value = momi_batch_at(&batch, index).value;
        for (size_t size = 0; size <= value.size + 1; size++) {
            uint8_t *copy = momi_calloc(1, size);
            memcpy(copy, value.data, size < value.size ? size : value.size);
            bool is_whole = size == value.size;
            if (index == 0) {
                CHECK_EQ(momi_hard_state_decode(momi_slice(copy, size), &hard), is_whole);
            } else {
                CHECK_EQ(momi_shard_header_decode(momi_slice(copy, size), &header),
                         is_whole);
            }
            for (size_t bit = 0; bit < size * 8; bit++) {
                copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
                (void)momi_hard_state_decode(momi_slice(copy, size), &hard);
                if (momi_shard_header_decode(momi_slice(copy, size), &header)) {
                    CHECK(header.replica != 0);
                    CHECK(header.side < 2);
                    CHECK(header.first_index <= header.applied + 1);
                    CHECK(header.config_index <= header.applied);
                    CHECK(header.config.count <= 2 * MOMI_REPLICAS_MAX);
                }
                copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            momi_free(copy);
        }
    }
    momi_batch_free(&batch);
}

static bool covers(const struct momi_batch_view *range, struct momi_key key) {
    return momi_slice_compare(range->key, momi_key_slice(&key)) <= 0 &&
           momi_slice_compare(momi_key_slice(&key), range->to) < 0;
}

static void ranges_cover_what_they_name(void **state) {
    (void)state;
    struct momi_batch batch = {0};
    momi_batch_truncate(&batch, 255, 100);
    momi_batch_clear_side(&batch, 255, 1);
    struct momi_batch_view log = momi_batch_at(&batch, 0);
    CHECK_EQ(log.kind, MOMI_BATCH_DELETE_RANGE);
    CHECK_EQ(log.family, MOMI_FAMILY_LOG);
    CHECK(!covers(&log, momi_key_entry(255, 99)));
    CHECK(covers(&log, momi_key_entry(255, 100)));
    CHECK(covers(&log, momi_key_entry(255, UINT64_MAX)));
    CHECK(!covers(&log, momi_key_entry(256, 0)));
    CHECK(!covers(&log, momi_key_entry(254, 100)));
    struct momi_batch_view side = momi_batch_at(&batch, 1);
    uint8_t high[MOMI_RECORD_KEY_BYTES_MAX];
    memset(high, 0xff, sizeof high);
    CHECK_EQ(side.family, MOMI_FAMILY_STATE);
    CHECK(covers(&side, momi_key_record(255, 1, momi_slice(high, 1))));
    CHECK(covers(&side, momi_key_record(255, 1, momi_slice(high, sizeof high))));
    CHECK(!covers(&side, momi_key_record(255, 0, momi_slice(high, sizeof high))));
    CHECK(!covers(&side, momi_key_record(256, 0, momi_slice(high, 1))));
    CHECK(!covers(&side, momi_key_record(256, 1, momi_slice(high, 1))));
    momi_batch_free(&batch);
}

static void entries_and_records_go_where_they_belong(void **state) {
    (void)state;
    struct momi_batch batch = {0};
    struct momi_buf *entry = momi_buf_copy(momi_slice_str("entry"));
    momi_batch_put_entry(&batch, 1, 2, entry);
    momi_batch_delete_entry(&batch, 1, 3);
    momi_batch_put_record(&batch, 1, 0, momi_slice_str("k"), momi_slice_str("v"));
    momi_batch_delete_record(&batch, 1, 0, momi_slice_str("k"));
    static const enum momi_family families[] = {MOMI_FAMILY_LOG, MOMI_FAMILY_LOG,
                                                MOMI_FAMILY_STATE, MOMI_FAMILY_STATE};
    static const enum momi_batch_kind kinds[] = {MOMI_BATCH_PUT, MOMI_BATCH_DELETE,
                                                 MOMI_BATCH_PUT, MOMI_BATCH_DELETE};
    CHECK_EQ(momi_batch_count(&batch), 4);
    for (size_t index = 0; index < 4; index++) {
        CHECK_EQ(momi_batch_at(&batch, index).family, families[index]);
        CHECK_EQ(momi_batch_at(&batch, index).kind, kinds[index]);
    }
    CHECK(momi_batch_at(&batch, 0).buf == entry);
    uint8_t key[MOMI_RECORD_KEY_BYTES_MAX + 1] = {0};
    momi_batch_put_record(&batch, 1, 0, momi_slice(key, sizeof key - 1),
                          momi_slice(NULL, 0));
    CHECK(!batch.failed);
    momi_batch_put_record(&batch, 1, 0, momi_slice(key, sizeof key), momi_slice(NULL, 0));
    CHECK(batch.failed);
    momi_batch_free(&batch);
    momi_buf_release(entry);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(key_order_is_number_order),
        TEST(keys_are_as_documented_and_come_back),
        TEST(values_come_back),
        TEST(damaged_values_are_refused_or_harmless),
        TEST(ranges_cover_what_they_name),
        TEST(entries_and_records_go_where_they_belong),
    };
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
