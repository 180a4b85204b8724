/* SPDX-License-Identifier: Apache-2.0 */
/* Questions of the client half: lists over all shards (M10), describe. */
#include "client_fake.h"

#include "core/info.h"

static int setup(void **state) {
    (void)state;
    fake_open(1 << 20);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    fake_shut();
    return 0;
}

static struct momi_buf *page_of(uint32_t shard, const char *const *names, size_t count) {
    struct momi_bytes bytes = {0};
    for (size_t i = 0; i < count; i++) {
        struct momi_stream_info info = {.kind = MOMI_KIND_QUEUE,
                                        .name = momi_slice_str(names[i]),
                                        .id = i + 1,
                                        .next_sequence = 1,
                                        .first_sequence = 1};
        momi_info_put_stream(&bytes, &info);
    }
    struct momi_place_info place = {.shard = shard, .leader = shard * 10};
    momi_info_put_place(&bytes, &place);
    struct momi_buf *page = momi_buf_copy(momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    return page;
}

static void list_reply(uint64_t request, uint32_t shard, const char *const *names,
                       size_t count, uint32_t flags) {
    struct momi_buf *page = page_of(shard, names, count);
    struct momi_frame frame = {.type = FRAME_QUERY_REPLY,
                               .shard = shard,
                               .counter = request,
                               .flags = flags,
                               .payload = momi_buf_slice(page)};
    fake_frame(2, &frame);
    momi_buf_release(page);
}

static uint64_t list_request(uint32_t shard) {
    for (size_t i = 0; i < fake.sent_count; i++) {
        const struct momi_frame *frame = fake.sent[i].frame;
        if (frame->type == FRAME_QUERY && frame->shard == shard) {
            CHECK_EQ(frame->kind, QUERY_LIST);
            CHECK_EQ(frame->count, MOMI_KIND_QUEUE);
            return frame->counter;
        }
    }
    fail();
    return 0;
}

static struct momi_call list_call(uint64_t deadline_us) {
    return (struct momi_call){
        .type = CALL_LIST, .id = 5, .deadline_us = deadline_us, .kind = MOMI_KIND_QUEUE};
}

static void a_list_is_merged_by_name_and_says_where(void **state) {
    (void)state;
    fake.shards_count = 3;
    struct momi_call call = list_call(MOMI_NEVER);
    fake_begin();
    fake_call(&call);
    fake_end();
    uint64_t requests[3] = {list_request(1), list_request(2), list_request(3)};
    static const char *const first[] = {"b", "c", "x"};
    static const char *const second[] = {"a", "c", "d"};
    fake_begin();
    list_reply(requests[0], 1, first, 3, MOMI_FLAG_LAST);
    list_reply(requests[2], 3, NULL, 0, MOMI_FLAG_LAST);
    fake_end();
    CHECK_EQ(fake.done_count, 0);
    fake_begin();
    list_reply(requests[1], 2, second, 3, MOMI_FLAG_LAST);
    fake_end();
    const struct momi_effect *effect = fake_effect_of(FX_COMPLETE);
    assert_non_null(effect);
    CHECK_OK(effect->completion.error);
    CHECK_EQ(effect->completion.sequence, 0);
    struct momi_arena arena = {0};
    struct momi_info_list list;
    CHECK_OK(momi_info_decode(effect->completion.body, &arena, &list));
    static const char *const expected[] = {"a", "b", "c", "d", "x"};
    static const uint32_t places[] = {2, 1, 1, 2, 1};
    CHECK_EQ(list.streams_count, 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK(momi_slice_equal(list.streams[i].name, momi_slice_str(expected[i])));
        CHECK_EQ(list.streams[i].place.shard, places[i]);
    }
    momi_arena_free(&arena);
}

static void a_page_ends_where_a_shard_may_have_more(void **state) {
    (void)state;
    fake.shards_count = 2;
    struct momi_call call = list_call(MOMI_NEVER);
    fake_begin();
    fake_call(&call);
    fake_end();
    uint64_t requests[2] = {list_request(1), list_request(2)};
    static const char *const first[] = {"a", "c"};
    static const char *const second[] = {"b", "d", "e"};
    fake_begin();
    list_reply(requests[0], 1, first, 2, 0);
    list_reply(requests[1], 2, second, 3, MOMI_FLAG_LAST);
    fake_end();
    const struct momi_effect *effect = fake_effect_of(FX_COMPLETE);
    CHECK_EQ(effect->completion.sequence, 1);
    struct momi_arena arena = {0};
    struct momi_info_list list;
    CHECK_OK(momi_info_decode(effect->completion.body, &arena, &list));
    CHECK_EQ(list.streams_count, 3);
    CHECK(momi_slice_equal(list.streams[2].name, momi_slice_str("c")));
    momi_arena_free(&arena);
}

static void a_silent_shard_makes_a_list_unavailable(void **state) {
    (void)state;
    fake.shards_count = 3;
    fake.leaders[2] = 0;
    struct momi_call call = list_call(fake.core.now_us + MOMI_S);
    fake_begin();
    fake_call(&call);
    fake_end();
    uint64_t request = list_request(1);
    fake_begin();
    list_reply(request, 1, NULL, 0, MOMI_FLAG_LAST);
    fake_end();
    fake_run_until(fake.core.now_us + 2 * MOMI_S);
    CHECK_DONE(5, MOM_UNAVAILABLE);
    CHECK_STR(fake.text, "no answer of shard 2,3");
}

static struct momi_call describe_call(uint64_t id) {
    return (struct momi_call){.type = CALL_DESCRIBE,
                              .id = id,
                              .deadline_us = MOMI_NEVER,
                              .kind = MOMI_KIND_QUEUE,
                              .name = momi_slice_str("q")};
}

/* There is no session, and the leader answers one question after the other. */
static void a_lost_question_is_asked_again_though_others_are_answered(void **state) {
    (void)state;
    struct momi_call call = describe_call(100);
    fake_begin();
    fake_call(&call);
    fake_end();
    uint64_t lost = fake_query_sent()->counter;
    uint64_t until_us = fake.core.now_us + 2 * CLIENT_ANSWER_US;
    bool is_asked_again = false;
    for (uint64_t id = 101; fake.core.now_us < until_us && !is_asked_again; id++) {
        fake_run_until(fake.core.now_us + CLIENT_ANSWER_US / 8);
        call = describe_call(id);
        fake_begin();
        fake_call(&call);
        fake_end();
        struct momi_frame reply = {.type = FRAME_QUERY_REPLY,
                                   .shard = 1,
                                   .counter = fake_query_sent()->counter,
                                   .error = MOM_NOT_FOUND};
        CHECK(reply.counter != lost);
        fake_begin();
        fake_frame(2, &reply);
        fake_end();
        CHECK_DONE(id, MOM_NOT_FOUND);
        is_asked_again = fake_query_sent() != NULL && fake_query_sent()->counter == lost;
    }
    CHECK(is_asked_again);
}

static void a_question_follows_the_leader(void **state) {
    (void)state;
    struct momi_call call = {.type = CALL_DESCRIBE,
                             .id = 5,
                             .deadline_us = MOMI_NEVER,
                             .kind = MOMI_KIND_TOPIC,
                             .name = momi_slice_str("t"),
                             .subscription = momi_slice_str("s")};
    fake_begin();
    fake_call(&call);
    fake_end();
    uint64_t request = fake_query_sent()->counter;
    fake_not_leader(2, 1, 3);
    const struct momi_frame *query = fake_query_sent();
    assert_non_null(query);
    CHECK_EQ(query->counter, request);
    CHECK_EQ(query->kind, QUERY_DESCRIBE);
    CHECK_EQ(query->count, MOMI_KIND_TOPIC);
    CHECK(momi_slice_equal(query->name, momi_slice_str("t")));
    CHECK(momi_slice_equal(query->detail, momi_slice_str("s")));
    fake_reply(request, MOM_NOT_SUBSCRIBED, 0);
    CHECK_DONE(5, MOM_NOT_SUBSCRIBED);
    fake_reply(request, MOM_OK, 0);
    CHECK_NOTHING_DONE();
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_list_is_merged_by_name_and_says_where),
        CASE(a_page_ends_where_a_shard_may_have_more),
        CASE(a_silent_shard_makes_a_list_unavailable),
        CASE(a_lost_question_is_asked_again_though_others_are_answered),
        CASE(a_question_follows_the_leader),
    };
    return cmocka_run_group_tests_name("client questions", tests, NULL, NULL);
}
