/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of queries: they come back, can be joined, and damaged ones are refused or
 * harmless. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "core/info.h"

static struct momi_arena arena;

static uint64_t number(struct momi_rng *rng) {
    return momi_rng_next(rng) >> momi_rng_between(rng, 0, 63);
}

static struct momi_slice text(struct momi_rng *rng, char *room, size_t max) {
    size_t size = momi_rng_between(rng, 0, max);
    for (size_t index = 0; index < size; index++) {
        room[index] = (char)momi_rng_between(rng, 'a', 'z');
    }
    return momi_slice(room, size);
}

static struct momi_stream_info make_stream(struct momi_rng *rng, char *room) {
    struct momi_stream_info stream = {
        .kind = momi_rng_chance(rng, 500000) ? MOMI_KIND_QUEUE : MOMI_KIND_TOPIC,
        .name = text(rng, room, MOMI_SYSTEM_NAME_BYTES_MAX),
        .id = number(rng),
        .created_wall_us = number(rng),
        .creator = number(rng),
        .options = {.lease_us = number(rng),
                    .deliveries_max = (uint32_t)momi_rng_next(rng),
                    .messages_max = number(rng),
                    .bytes_max = number(rng),
                    .retention_us = number(rng),
                    .retention_bytes = number(rng),
                    .retention_count = number(rng),
                    .no_dead_letter = momi_rng_chance(rng, 500000)},
        .depth = number(rng),
        .leased = number(rng),
        .consumers = number(rng),
        .first_sequence = number(rng),
        .next_sequence = number(rng),
        .bytes = number(rng),
        .subscriptions_count = number(rng),
        .redelivered = number(rng),
        .dead_lettered = number(rng),
    };
    return stream;
}

static void check_stream(const struct momi_stream_info *a,
                         const struct momi_stream_info *b) {
    CHECK_EQ(a->kind, b->kind);
    CHECK(momi_slice_equal(a->name, b->name));
    CHECK_EQ(a->id, b->id);
    CHECK_EQ(a->created_wall_us, b->created_wall_us);
    CHECK_EQ(a->creator, b->creator);
    CHECK_EQ(a->options.lease_us, b->options.lease_us);
    CHECK_EQ(a->options.deliveries_max, b->options.deliveries_max);
    CHECK_EQ(a->options.messages_max, b->options.messages_max);
    CHECK_EQ(a->options.bytes_max, b->options.bytes_max);
    CHECK_EQ(a->options.retention_us, b->options.retention_us);
    CHECK_EQ(a->options.retention_bytes, b->options.retention_bytes);
    CHECK_EQ(a->options.retention_count, b->options.retention_count);
    CHECK_EQ(a->options.no_dead_letter, b->options.no_dead_letter);
    CHECK_EQ(a->depth, b->depth);
    CHECK_EQ(a->leased, b->leased);
    CHECK_EQ(a->consumers, b->consumers);
    CHECK_EQ(a->first_sequence, b->first_sequence);
    CHECK_EQ(a->next_sequence, b->next_sequence);
    CHECK_EQ(a->bytes, b->bytes);
    CHECK_EQ(a->subscriptions_count, b->subscriptions_count);
    CHECK_EQ(a->redelivered, b->redelivered);
    CHECK_EQ(a->dead_lettered, b->dead_lettered);
}

static const struct momi_place_info PLACE_A = {
    .shard = 3, .leader = 30, .replicas_count = 3, .replicas = {30, 31, UINT64_MAX}};
static const struct momi_place_info PLACE_B = {.shard = 4, .leader = 0};

static void streams_of_several_shards_come_back(void **state) {
    (void)state;
    enum { STREAMS = 40 };
    static char rooms[STREAMS][MOMI_SYSTEM_NAME_BYTES_MAX];
    struct momi_stream_info streams[STREAMS];
    struct momi_rng rng;
    momi_rng_seed(&rng, 1);
    struct momi_bytes bytes = {.data = NULL};
    for (size_t index = 0; index < STREAMS; index++) {
        streams[index] = make_stream(&rng, rooms[index]);
        momi_info_put_stream(&bytes, &streams[index]);
        if (index == 9) {
            momi_info_put_place(&bytes, &PLACE_A);
        }
    }
    momi_info_put_place(&bytes, &PLACE_B);
    struct momi_info_list list;
    CHECK_OK(momi_info_decode(momi_bytes_slice(&bytes), &arena, &list));
    CHECK_EQ(list.streams_count, STREAMS);
    CHECK_EQ(list.subscriptions_count, 0);
    for (size_t index = 0; index < STREAMS; index++) {
        check_stream(&list.streams[index], &streams[index]);
        const struct momi_place_info *place = &list.streams[index].place;
        CHECK_EQ(place->shard, index < 10 ? 3 : 4);
        CHECK_EQ(place->leader, index < 10 ? 30 : 0);
        CHECK_EQ(place->replicas_count, index < 10 ? 3 : 0);
    }
    CHECK_EQ(list.streams[0].place.replicas[2], UINT64_MAX);
    momi_bytes_free(&bytes);
    CHECK_OK(momi_info_decode(momi_slice(NULL, 0), &arena, &list));
    CHECK_EQ(list.streams_count, 0);
}

static void put_subscriptions(struct momi_bytes *bytes) {
    struct momi_slice filters[MOMI_FILTERS_MAX];
    for (size_t index = 0; index < MOMI_FILTERS_MAX; index++) {
        filters[index] = momi_slice("a.*.b.#.", index % 9);
    }
    for (uint32_t index = 0; index < 8; index++) {
        struct momi_subscription_info subscription = {
            .name = momi_slice("subscription", index),
            .filters = filters,
            .filters_count = index == 7 ? MOMI_FILTERS_MAX : index,
            .temporary = (index & 1) != 0,
            .ignore_own = (index & 2) != 0,
            .filling = (index & 4) != 0,
            .creator = UINT64_MAX - index,
            .depth = 1 + index,
            .bytes = 2 + index,
            .leased = 3 + index,
            .consumers = 4 + index,
            .next_sequence = 5 + index,
            .redelivered = 6 + index,
            .dead_lettered = 7 + index,
        };
        momi_info_put_subscription(bytes, &subscription);
    }
}

static void subscriptions_come_back(void **state) {
    (void)state;
    struct momi_bytes bytes = {.data = NULL};
    put_subscriptions(&bytes);
    struct momi_info_list list;
    CHECK_OK(momi_info_decode(momi_bytes_slice(&bytes), &arena, &list));
    CHECK_EQ(list.streams_count, 0);
    CHECK_EQ(list.subscriptions_count, 8);
    for (uint32_t index = 0; index < 8; index++) {
        const struct momi_subscription_info *found = &list.subscriptions[index];
        CHECK(momi_slice_equal(found->name, momi_slice("subscription", index)));
        CHECK_EQ(found->filters_count, index == 7 ? MOMI_FILTERS_MAX : index);
        for (uint32_t filter = 0; filter < found->filters_count; filter++) {
            CHECK(momi_slice_equal(found->filters[filter],
                                   momi_slice("a.*.b.#.", filter % 9)));
        }
        CHECK_EQ(found->temporary, (index & 1) != 0);
        CHECK_EQ(found->ignore_own, (index & 2) != 0);
        CHECK_EQ(found->filling, (index & 4) != 0);
        CHECK_EQ(found->creator, UINT64_MAX - index);
        CHECK_EQ(found->depth, 1 + index);
        CHECK_EQ(found->bytes, 2 + index);
        CHECK_EQ(found->leased, 3 + index);
        CHECK_EQ(found->consumers, 4 + index);
        CHECK_EQ(found->next_sequence, 5 + index);
        CHECK_EQ(found->redelivered, 6 + index);
        CHECK_EQ(found->dead_lettered, 7 + index);
    }
    momi_bytes_free(&bytes);
}

static void put_status(struct momi_bytes *bytes) {
    struct momi_member_info members[3] = {
        {.node = 1,
         .name = momi_slice_str("alpha"),
         .address = momi_slice_str("tcp://127.0.0.1:7400"),
         .role = MOMI_ROLE_STORE,
         .incarnation = 9,
         .is_alive = true},
        {.node = UINT64_MAX, .role = MOMI_ROLE_CLIENT},
        {.node = 3, .role = MOMI_ROLE_STORE, .incarnation = UINT64_MAX},
    };
    struct momi_shard_info shards[2] = {
        {.shard = 0, .leader = 1, .term = 2, .commit = 3, .applied = 4},
        {.shard = MOMI_SHARDS_MAX, .replicas_count = 2 * MOMI_REPLICAS_MAX},
    };
    for (uint32_t index = 0; index < 2 * MOMI_REPLICAS_MAX; index++) {
        shards[1].replicas[index] = (struct momi_replica_info){
            .node = 100 + index, .replica = index, .votes = index < 3, .lag = index * 7};
    }
    struct momi_status status = {
        .mesh = {.bytes = {1, 2, 3}},
        .node = 1,
        .is_durable = true,
        .shards_count = 16,
        .copies_count = 3,
        .members = members,
        .members_count = 3,
        .shards = shards,
        .shards_listed = 2,
    };
    momi_status_put(bytes, &status);
}

static void a_status_comes_back(void **state) {
    (void)state;
    struct momi_bytes bytes = {.data = NULL};
    put_status(&bytes);
    struct momi_status found;
    CHECK_OK(momi_status_decode(momi_bytes_slice(&bytes), &arena, &found));
    CHECK_BYTES(found.mesh.bytes, "\1\2\3\0", 4);
    CHECK_EQ(found.node, 1);
    CHECK(found.is_durable);
    CHECK_EQ(found.shards_count, 16);
    CHECK_EQ(found.copies_count, 3);
    CHECK_EQ(found.members_count, 3);
    CHECK(momi_slice_equal(found.members[0].name, momi_slice_str("alpha")));
    CHECK(momi_slice_equal(found.members[0].address,
                           momi_slice_str("tcp://127.0.0.1:7400")));
    CHECK(found.members[0].is_alive);
    CHECK_EQ(found.members[1].node, UINT64_MAX);
    CHECK_EQ(found.members[1].role, MOMI_ROLE_CLIENT);
    CHECK_EQ(found.members[2].incarnation, UINT64_MAX);
    CHECK_EQ(found.shards_listed, 2);
    CHECK_EQ(found.shards[0].leader, 1);
    CHECK_EQ(found.shards[0].term, 2);
    CHECK_EQ(found.shards[0].commit, 3);
    CHECK_EQ(found.shards[0].applied, 4);
    CHECK_EQ(found.shards[1].shard, MOMI_SHARDS_MAX);
    CHECK_EQ(found.shards[1].replicas_count, 2 * MOMI_REPLICAS_MAX);
    CHECK_EQ(found.shards[1].replicas[5].node, 105);
    CHECK_EQ(found.shards[1].replicas[5].replica, 5);
    CHECK_EQ(found.shards[1].replicas[5].lag, 35);
    CHECK(found.shards[1].replicas[2].votes);
    CHECK(!found.shards[1].replicas[3].votes);
    momi_bytes_free(&bytes);
}

static void a_later_format_is_told_apart(void **state) {
    (void)state;
    struct momi_bytes bytes = {.data = NULL};
    struct momi_info_list list;
    struct momi_status status;
    momi_info_put_place(&bytes, &PLACE_A);
    bytes.data[6]++; /* behind tag and size */
    CHECK_ERR(momi_info_decode(momi_bytes_slice(&bytes), &arena, &list), MOM_VERSION);
    bytes.data[6]--;
    bytes.data[0] = 'x';
    CHECK_ERR(momi_info_decode(momi_bytes_slice(&bytes), &arena, &list), MOM_VERSION);
    momi_bytes_clear(&bytes);
    put_status(&bytes);
    bytes.data[0]++;
    CHECK_ERR(momi_status_decode(momi_bytes_slice(&bytes), &arena, &status), MOM_VERSION);
    CHECK_ERR(momi_status_decode(momi_slice(NULL, 0), &arena, &status), MOM_INVALID);
    momi_bytes_free(&bytes);
}

static void damage_is_refused_or_harmless(void **state) {
    (void)state;
    struct momi_rng rng;
    momi_rng_seed(&rng, 2);
    char room[MOMI_SYSTEM_NAME_BYTES_MAX];
    struct momi_stream_info stream = make_stream(&rng, room);
    struct momi_bytes answers[2] = {{.data = NULL}, {.data = NULL}};
    momi_info_put_stream(&answers[0], &stream);
    size_t boundary = answers[0].size; /* a list may end here */
    momi_info_put_place(&answers[0], &PLACE_A);
    put_status(&answers[1]);
    struct momi_info_list list;
    struct momi_status status;
    for (size_t which = 0; which < 2; which++) {
        struct momi_bytes *answer = &answers[which];
        for (size_t size = 0; size < answer->size; size++) {
            momi_arena_reset(&arena);
            uint8_t *cut = momi_alloc(size);
            if (size > 0) {
                memcpy(cut, answer->data, size);
            }
            bool is_list = which == 0 && (size == 0 || size == boundary);
            CHECK_EQ(momi_info_decode(momi_slice(cut, size), &arena, &list) == MOM_OK,
                     is_list || (which == 1 && size == 0));
            CHECK(momi_status_decode(momi_slice(cut, size), &arena, &status) != MOM_OK);
            momi_free(cut);
        }
        for (size_t bit = 0; bit < answer->size * 8; bit++) {
            momi_arena_reset(&arena);
            answer->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (momi_info_decode(momi_bytes_slice(answer), &arena, &list) == MOM_OK) {
                CHECK(list.streams_count <= 1);
            }
            if (momi_status_decode(momi_bytes_slice(answer), &arena, &status) == MOM_OK) {
                CHECK(status.members_count <= MOMI_MEMBERS_MAX);
                CHECK(status.shards_listed <= MOMI_SHARDS_MAX + 1);
            }
            answer->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        momi_bytes_free(answer);
    }
}

static void many_small_items_ask_for_little_memory(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    uint8_t *bytes = momi_alloc(SIZE);
    for (size_t at = 0; at < SIZE; at += 4) {
        memcpy(bytes + at, "q\x02\x01\x01", 4);
    }
    uint64_t before = momi_mem_allocations();
    struct momi_arena own = {.first = NULL};
    struct momi_info_list list;
    CHECK_ERR(momi_info_decode(momi_slice(bytes, SIZE), &own, &list), MOM_INVALID);
    CHECK_EQ(momi_mem_allocations(), before);
    momi_arena_free(&own);
    momi_free(bytes);
}

static void no_memory_is_told(void **state) {
    (void)state;
    struct momi_bytes bytes = {.data = NULL};
    put_subscriptions(&bytes);
    struct momi_info_list list;
    momi_arena_free(&arena);
    momi_mem_fail_after(0, true);
    int error = momi_info_decode(momi_bytes_slice(&bytes), &arena, &list);
    momi_mem_fail_after(-1, false);
    CHECK_ERR(error, MOM_NO_MEMORY);
    momi_bytes_free(&bytes);
}

static int free_arena(void **state) {
    (void)state;
    momi_arena_free(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(streams_of_several_shards_come_back),
        TEST(subscriptions_come_back),
        TEST(a_status_comes_back),
        TEST(a_later_format_is_told_apart),
        TEST(damage_is_refused_or_harmless),
        TEST(many_small_items_ask_for_little_memory),
        TEST(no_memory_is_told),
    };
    return cmocka_run_group_tests_name("info", tests, NULL, free_arena);
}
