/* SPDX-License-Identifier: Apache-2.0 */
/* Single rules of checkout (M3 to M7); test_checkout_model.c has them all at once. */
#include "checkout_fixture.h"

static struct momi_consumer *attach_plain(struct model *model, int reader,
                                          uint64_t credit) {
    CHECK_OK(momi_checkout_attach(&model->machine, session_of(model, reader % SESSIONS),
                                  (uint64_t)reader + 1, group_of(model, 0), 1000,
                                  credit));
    return momi_machine_consumer(&model->machine, session_of(model, reader % SESSIONS),
                                 (uint64_t)reader + 1);
}

static void add_messages(struct model *model, uint32_t count) {
    uint64_t index = ++model->index;
    struct momi_group *group = group_of(model, 0);
    struct momi_run run = {
        .sequence = group->stream->sequence_next, .count = count, .index = index};
    group->stream->sequence_next += count;
    momi_live_add(model->machine.live, index, 1, 1000 * count, count);
    momi_checkout_add(&model->machine, group, &run);
}

static struct momi_result settle(struct model *model, struct momi_consumer *consumer,
                                 uint64_t credit, uint64_t handed, uint64_t counter,
                                 uint32_t count, enum momi_settle_action action) {
    struct momi_settle one = {
        .token = {.epoch = EPOCH, .counter = counter}, .count = count, .action = action};
    struct momi_bytes body = {0};
    momi_checkout_put_consume(&body, consumer->id, credit, handed, &one, count > 0);
    struct momi_result result = momi_checkout_consume(&model->machine, consumer->session,
                                                      momi_bytes_slice(&body));
    momi_bytes_free(&body);
    return result;
}

static void turns_are_fair_and_batches_stay_together(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    add_messages(model, 90);
    struct momi_consumer *one = attach_plain(model, 0, 0);
    struct momi_consumer *two = attach_plain(model, 1, 0);
    struct momi_consumer *three = attach_plain(model, 2, 0);
    one->credit = two->credit = three->credit = 100;
    /* All enter before anything is assigned: as if they had waited. */
    struct momi_consumer *all[] = {one, two, three};
    struct momi_group *group = group_of(model, 0);
    for (size_t i = 0; i < 3; i++) {
        momi_list_push_back(&group->waiting, &all[i]->waiting_link);
        group->waiting_count++;
        all[i]->turn = ++group->turn_last;
    }
    momi_checkout_assign(&model->machine, group);
    CHECK_EQ(one->leased, 30);
    CHECK_EQ(two->leased, 30);
    CHECK_EQ(three->leased, 30);
    CHECK_EQ(one->leases.count, 1);
    add_messages(model, 1);
    CHECK_EQ(one->leased, 31); /* its turn again */
    add_messages(model, 1);
    CHECK_EQ(two->leased, 31);
    momi_machine_check(&model->machine);
    model_free(model);
}

static void a_lease_does_not_end_in_the_buffer(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_consumer *consumer = attach_plain(model, 0, 10);
    add_messages(model, 10);
    model->machine.elapsed_us += 1000000;
    CHECK_EQ(momi_machine_due(&model->machine), MOMI_NEVER);
    CHECK_EQ(momi_checkout_expire(&model->machine, 100), 0);
    /* Told as handed out up to the fourth: these end, the others stay. */
    CHECK_OK(settle(model, consumer, 10, 4, 1, 0, MOMI_SETTLE_ACK).error);
    uint64_t due_us = model->machine.elapsed_us + 1000;
    CHECK_EQ(momi_machine_due(&model->machine), due_us);
    model->machine.elapsed_us = due_us - 1;
    CHECK_EQ(momi_checkout_expire(&model->machine, 100), 0);
    model->machine.elapsed_us = due_us;
    CHECK_EQ(momi_checkout_expire(&model->machine, 3), 3); /* bounded */
    CHECK_EQ(momi_checkout_expire(&model->machine, 100), 1);
    CHECK_EQ(consumer->leased, 6);
    CHECK_EQ(group_of(model, 0)->ready.messages, 4);
    /* The old token changes nothing. */
    CHECK_EQ(settle(model, consumer, 10, 4, 1, 4, MOMI_SETTLE_ACK).value, 0);
    struct momi_run run;
    CHECK(momi_runs_first(&group_of(model, 0)->ready, &run));
    CHECK_EQ(run.sequence, 1);
    CHECK_EQ(run.count, 4);
    CHECK_EQ(run.deliveries, 1);
    model_free(model);
}

static void given_back_messages_return_to_their_place(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_consumer *one = attach_plain(model, 0, 5);
    add_messages(model, 10);
    struct momi_group *group = group_of(model, 0);
    CHECK_EQ(settle(model, one, 5, 0, 2, 2, MOMI_SETTLE_GIVE_BACK).value, 2);
    struct momi_run run;
    CHECK(momi_runs_first(&group->ready, &run));
    CHECK_EQ(run.sequence, 2);
    CHECK_EQ(run.deliveries, 1);
    struct momi_consumer *two = attach_plain(model, 1, 3);
    const struct momi_lease *lease = momi_ring_at(&two->leases, 0);
    CHECK_EQ(lease->run.sequence, 2);
    CHECK_EQ(lease->run.count, 2);
    CHECK_EQ(lease->counter, 6); /* tokens grow */
    lease = momi_ring_at(&two->leases, 1);
    CHECK_EQ(lease->run.sequence, 6);
    CHECK_EQ(model->counters.redeliveries, 2);
    CHECK_EQ(group->redelivered, 2);
    model_free(model);
}

static void a_dead_letter_is_in_one_place(void **state) {
    (void)state;
    struct model *model = model_new(1, 2, false);
    struct momi_consumer *consumer = attach_plain(model, 0, 1);
    add_messages(model, 1);
    CHECK_EQ(settle(model, consumer, 2, 0, 1, 1, MOMI_SETTLE_GIVE_BACK).value, 1);
    CHECK(group_of(model, 1) == NULL);
    CHECK_EQ(settle(model, consumer, 3, 0, 2, 1, MOMI_SETTLE_GIVE_BACK).value, 1);
    struct momi_group *dead = group_of(model, 1);
    CHECK(dead != NULL);
    CHECK_EQ(dead->ready.messages, 1);
    CHECK_EQ(group_of(model, 0)->ready.messages, 0);
    CHECK_EQ(group_of(model, 0)->leased, 0);
    CHECK_EQ(group_of(model, 0)->dead_lettered, 1);
    struct momi_live_entry entry;
    CHECK(momi_live_find(model->machine.live, 1, &entry));
    CHECK_EQ(entry.references, 1);
    momi_machine_check(&model->machine);
    model_free(model);
}

static void messages_above_the_fill_wait(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_group *group = group_of(model, 0);
    add_messages(model, 20);
    CHECK_EQ(momi_checkout_purge(&model->machine, group), 20);
    group->fill_from = 5;
    group->fill_to = 21;
    momi_list_push_back(&model->machine.filling, &group->fill_link);
    struct momi_consumer *consumer = attach_plain(model, 0, 100);
    add_messages(model, 10); /* 21 to 30: live matches */
    CHECK_EQ(consumer->leased, 0);
    uint64_t index = ++model->index;
    momi_live_add(model->machine.live, index, 1, 4000, 4);
    struct momi_run run = {.sequence = 3, .count = 4, .index = index};
    momi_checkout_add(&model->machine, group, &run);
    CHECK_EQ(consumer->leased, 2); /* 3 and 4 */
    group->fill_from = 10;
    momi_checkout_assign(&model->machine, group);
    CHECK_EQ(consumer->leased, 4);
    group->fill_from = group->fill_to;
    momi_checkout_assign(&model->machine, group);
    CHECK_EQ(consumer->leased, 14);
    model_free(model);
}

static void credit_and_leases_are_bounded(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_consumer *consumer = attach_plain(model, 0, UINT64_MAX);
    CHECK_EQ(consumer->credit, MOMI_CREDIT_MAX);
    for (int i = 0; i < 30; i++) {
        add_messages(model, 4000);
    }
    CHECK_EQ(consumer->leased, MOMI_CREDIT_MAX);
    CHECK_OK(settle(model, consumer, UINT64_MAX, 0, 1, 100, MOMI_SETTLE_ACK).error);
    CHECK_EQ(consumer->leased, MOMI_CREDIT_MAX);
    CHECK_EQ(consumer->delivered, MOMI_CREDIT_MAX + 100);
    CHECK_OK(settle(model, consumer, 0, 0, 101, 1000, MOMI_SETTLE_ACK).error);
    CHECK_EQ(consumer->leased, MOMI_CREDIT_MAX - 1000); /* credit sank */
    CHECK(!momi_list_linked(&consumer->waiting_link));
    model_free(model);
}

/* Every second one is acknowledged: as many leases as messages, in many records. */
static void many_leases_survive_a_checkpoint(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_consumer *consumer = attach_plain(model, 0, 8000);
    add_messages(model, 4000);
    add_messages(model, 4000);
    for (uint64_t token = 2; token <= 8000; token += 2) {
        struct momi_result result =
            settle(model, consumer, 8000, 8000, token, 1, MOMI_SETTLE_ACK);
        CHECK_EQ(result.value, 1);
        if (token == 1000) {
            save(model);
        }
    }
    CHECK_EQ(consumer->leases.count, 4000);
    model->index = 2;
    reload(model);
    momi_machine_check(&model->machine);
    consumer = momi_machine_consumer(&model->machine, session_of(model, 0), 1);
    CHECK_EQ(consumer->leased, 4000);
    size_t records = model->records_count;
    CHECK(records > 10);
    CHECK_EQ(settle(model, consumer, 8000, 8000, 1, 8000, MOMI_SETTLE_ACK).value, 4000);
    reload(model);
    CHECK(model->records_count < 10);
    model_free(model);
}

static void steady_state_has_one_lease_and_allocates_nothing(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_consumer *consumer = attach_plain(model, 0, 1000);
    struct momi_batch batch = {0};
    momi_live_delete_dead(model->machine.live, 1, 1, &batch);
    uint64_t allocations = 0;
    struct momi_bytes body = {0};
    for (uint64_t i = 1; i <= 3000; i++) {
        add_messages(model, 10);
        if (i > 20) {
            uint64_t settled = (i - 20) * 10;
            struct momi_settle one = {.token = {.epoch = EPOCH, .counter = settled - 9},
                                      .count = 10,
                                      .action = MOMI_SETTLE_ACK};
            momi_bytes_clear(&body);
            momi_checkout_put_consume(&body, 1, settled + 1000, settled, &one, 1);
            struct momi_result result = momi_checkout_consume(
                &model->machine, consumer->session, momi_bytes_slice(&body));
            CHECK_EQ(result.value, 10);
        }
        CHECK(consumer->leases.count <= 21);
        if (i == 1000) {
            allocations = momi_mem_allocations();
        }
    }
    CHECK_EQ(momi_mem_allocations(), allocations);
    momi_bytes_free(&body);
    momi_batch_free(&batch);
    model_free(model);
}

static void malformed_commands_change_nothing(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_consumer *consumer = attach_plain(model, 0, 50);
    add_messages(model, 50);
    struct momi_settle settles[3] = {
        {.token = {EPOCH, 3}, .count = 5, .action = MOMI_SETTLE_ACK},
        {.token = {EPOCH, 9}, .count = 1, .action = MOMI_SETTLE_GIVE_BACK},
        {.token = {EPOCH, 20}, .count = 300, .action = MOMI_SETTLE_EXTEND},
    };
    struct momi_bytes good = {0};
    momi_checkout_put_consume(&good, consumer->id, 50, 9, settles, 3);
    uint64_t hash = momi_machine_hash(&model->machine);
    for (size_t size = 0; size < good.size; size++) {
        CHECK_ERR(momi_checkout_consume(&model->machine, consumer->session,
                                        momi_slice(good.data, size))
                      .error,
                  MOM_INVALID);
    }
    momi_put_u8(&good, 0); /* something behind it */
    CHECK_ERR(
        momi_checkout_consume(&model->machine, consumer->session, momi_bytes_slice(&good))
            .error,
        MOM_INVALID);
    CHECK_EQ(momi_machine_hash(&model->machine), hash);
    for (int i = 0; i < 20000; i++) { /* anything at all: no harm */
        struct momi_bytes bad = {0};
        momi_bytes_append(&bad, good.data, good.size - 1);
        for (int n = 0; n < 2; n++) {
            bad.data[pick(model, 8, bad.size - 1)] = (uint8_t)pick(model, 0, 255);
        }
        (void)momi_checkout_consume(&model->machine, consumer->session,
                                    momi_bytes_slice(&bad));
        momi_bytes_free(&bad);
        if (i % 100 == 0) {
            momi_machine_check(&model->machine);
            add_messages(model, 3);
        }
    }
    momi_bytes_free(&good);
    model_free(model);
}

static void a_dropped_group_ends_its_consumers(void **state) {
    (void)state;
    struct model *model = model_new(1, 20, false);
    struct momi_consumer *consumer = attach_plain(model, 1, 5);
    uint64_t id = consumer->id;
    add_messages(model, 20);
    save(model);
    struct momi_bytes body = {0};
    struct momi_stream_name name = {.kind = MOMI_KIND_QUEUE,
                                    .name = momi_slice_str("jobs")};
    momi_stream_name_put(&body, &name);
    CHECK_OK(momi_stream_delete(&model->machine, momi_bytes_slice(&body)).error);
    momi_bytes_free(&body);
    CHECK_EQ(model->machine.ended.count, 1);
    const struct momi_ended *ended = momi_ring_at(&model->machine.ended, 0);
    CHECK_EQ(ended->consumer, id);
    CHECK_ERR(ended->error, MOM_NOT_FOUND);
    CHECK_EQ(momi_live_count(model->machine.live), 0);
    CHECK_EQ(model->machine.consumers_count, 0);
    CHECK_EQ(model->machine.leases_bytes, 0);
    save(model);
    for (size_t i = 0; i < model->records_count; i++) { /* nothing of it is left */
        uint8_t letter = model->records[i].key[0];
        CHECK(letter == 'm' || letter == 'a');
    }
    momi_machine_check(&model->machine);
    model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(turns_are_fair_and_batches_stay_together),
        TEST(a_lease_does_not_end_in_the_buffer),
        TEST(given_back_messages_return_to_their_place),
        TEST(a_dead_letter_is_in_one_place),
        TEST(messages_above_the_fill_wait),
        TEST(credit_and_leases_are_bounded),
        TEST(many_leases_survive_a_checkpoint),
        TEST(steady_state_has_one_lease_and_allocates_nothing),
        TEST(malformed_commands_change_nothing),
        TEST(a_dropped_group_ends_its_consumers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
