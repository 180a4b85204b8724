/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkout against a model that knows every message for itself: where it is, who has it
 * under which token, until when. The model decides turns, deadlines and dead letters
 * naively; after every step both must agree in everything, and at any point the state may
 * go through a checkpoint and come back.
 *
 * Two groups: a queue and its dead-letter queue, which comes into being by itself.
 */
#include "checkout_fixture.h"

/* --- the model -------------------------------------------------------------------- */

static struct message *first_ready(struct model *model, int group) {
    struct message *first = NULL;
    for (size_t i = 0; i < model->messages_count; i++) {
        struct message *message = &model->messages[i];
        if (message->group == group && message->place == READY &&
            (first == NULL || message->sequence < first->sequence)) {
            first = message;
        }
    }
    return first;
}

static uint64_t count_ready(const struct model *model, int group) {
    uint64_t count = 0;
    for (size_t i = 0; i < model->messages_count; i++) {
        count += model->messages[i].group == group && model->messages[i].place == READY;
    }
    return count;
}

static void leave(struct model *model, int reader) {
    int group = model->readers[reader].group;
    int *waiting = model->waiting[group];
    for (int i = 0; i < model->waiting_count[group]; i++) {
        if (waiting[i] == reader) {
            model->waiting_count[group]--;
            memmove(&waiting[i], &waiting[i + 1],
                    (size_t)(model->waiting_count[group] - i) * sizeof *waiting);
            return;
        }
    }
}

static bool is_waiting(const struct model *model, int reader) {
    int group = model->readers[reader].group;
    for (int i = 0; i < model->waiting_count[group]; i++) {
        if (model->waiting[group][i] == reader) {
            return true;
        }
    }
    return false;
}

static void wait_in_turn(struct model *model, int reader) {
    const struct reader *at = &model->readers[reader];
    if (at->credit <= at->delivered) {
        leave(model, reader);
    } else if (!is_waiting(model, reader)) {
        model->waiting[at->group][model->waiting_count[at->group]++] = reader;
    }
}

static void model_assign(struct model *model, int group) {
    uint64_t ready = count_ready(model, group);
    if (ready == 0 || model->waiting_count[group] == 0) {
        return;
    }
    uint64_t turn = ready / (uint64_t)model->waiting_count[group];
    turn = turn < 1 ? 1 : turn > 64 ? 64 : turn;
    while (model->waiting_count[group] > 0 && ready > 0) {
        int reader = model->waiting[group][0];
        struct reader *at = &model->readers[reader];
        for (uint64_t n = 0; n < turn && at->credit > at->delivered && ready > 0; n++) {
            struct message *message = first_ready(model, group);
            message->place = LEASED;
            message->holder = reader;
            message->token = ++model->counter;
            message->delivery = ++at->delivered;
            message->due_us = 0;
            ready--;
        }
        leave(model, reader);
        wait_in_turn(model, reader);
    }
}

static void model_bury(struct model *model, struct message *message) {
    model->buried++;
    if (message->group == 1 || model->no_dead_letter) {
        message->place = GONE;
        model->dropped++;
        return;
    }
    model->has_dead_letters = true;
    message->group = 1;
    message->sequence = model->sequence_next[1]++;
    message->deliveries = 0;
    message->place = READY;
    model_assign(model, 1);
}

static void remember_token(struct model *model, const struct message *message) {
    struct reader *reader = &model->readers[message->holder];
    reader->old_tokens[reader->old_tokens_count++ % TOKENS_KEPT] = message->token;
}

enum how { UNCOUNTED, MARKED, COUNTED };

static void model_return(struct model *model, struct message *message, enum how how) {
    remember_token(model, message);
    if (how == COUNTED) {
        message->deliveries++;
        uint32_t most = message->group == 1 ? UINT32_MAX : model->deliveries_max;
        if (message->deliveries >= most) {
            model_bury(model, message);
            return;
        }
    } else if (how == MARKED && message->deliveries == 0) {
        message->deliveries = 1;
    }
    message->place = READY;
}

/* Of a reader, by token; NULL: it has none at or above `from`. */
static struct message *next_lease(struct model *model, int reader, uint64_t from) {
    struct message *next = NULL;
    for (size_t i = 0; i < model->messages_count; i++) {
        struct message *message = &model->messages[i];
        if (message->place == LEASED && message->holder == reader &&
            message->token >= from && (next == NULL || message->token < next->token)) {
            next = message;
        }
    }
    return next;
}

static uint64_t model_due(const struct model *model) {
    uint64_t due_us = MOMI_NEVER;
    for (size_t i = 0; i < model->messages_count; i++) {
        const struct message *message = &model->messages[i];
        if (message->place == LEASED && message->due_us != 0 &&
            message->due_us < due_us) {
            due_us = message->due_us;
        }
    }
    return due_us;
}

static void model_detach(struct model *model, int reader, enum momi_detach how) {
    bool has_counted = false;
    leave(model, reader);
    struct message *message;
    while ((message = next_lease(model, reader, 0)) != NULL) {
        bool is_told = message->due_us != 0;
        bool counts = is_told || (how == MOMI_DETACH_LOST && !has_counted);
        has_counted = has_counted || !is_told;
        model_return(model, message,
                     counts                     ? COUNTED
                     : how == MOMI_DETACH_CLEAN ? UNCOUNTED
                                                : MARKED);
    }
    model->readers[reader].is_attached = false;
    model_assign(model, model->readers[reader].group);
}

static uint64_t model_settle(struct model *model, int reader,
                             const struct momi_settle *settle) {
    uint64_t settled = 0;
    if (settle->token.epoch != EPOCH) {
        return 0;
    }
    uint64_t end = settle->token.counter + settle->count;
    struct message *message;
    uint64_t from = settle->token.counter;
    while ((message = next_lease(model, reader, from)) != NULL && message->token < end) {
        from = message->token + 1;
        settled++;
        switch (settle->action) {
        case MOMI_SETTLE_ACK:
            remember_token(model, message);
            message->place = GONE;
            model->acknowledged++;
            break;
        case MOMI_SETTLE_GIVE_BACK:
            model_return(model, message, COUNTED);
            break;
        case MOMI_SETTLE_REJECT:
            remember_token(model, message);
            model_bury(model, message);
            break;
        case MOMI_SETTLE_RETURN:
            model_return(model, message, UNCOUNTED);
            break;
        case MOMI_SETTLE_EXTEND:
            message->due_us = model->elapsed_us + model->readers[reader].lease_us;
            break;
        }
    }
    return settled;
}

static void model_hand_out(struct model *model, int reader, uint64_t handed) {
    struct reader *at = &model->readers[reader];
    handed = handed < at->delivered ? handed : at->delivered;
    if (handed <= at->handed) {
        return;
    }
    at->handed = handed;
    for (size_t i = 0; i < model->messages_count; i++) {
        struct message *message = &model->messages[i];
        if (message->place == LEASED && message->holder == reader &&
            message->delivery <= handed && message->due_us == 0) {
            message->due_us = model->elapsed_us + at->lease_us;
        }
    }
}

static uint32_t model_expire(struct model *model, uint32_t max) {
    uint32_t expired = 0;
    while (expired < max && model_due(model) <= model->elapsed_us) {
        uint64_t due_us = model_due(model);
        int reader = -1; /* the one attached first, of those with this deadline */
        for (size_t i = 0; i < model->messages_count; i++) {
            const struct message *message = &model->messages[i];
            if (message->place == LEASED && message->due_us == due_us &&
                (reader < 0 || model->readers[message->holder].number <
                                   model->readers[reader].number)) {
                reader = message->holder;
            }
        }
        struct message *message;
        uint64_t from = 0;
        while (expired < max && (message = next_lease(model, reader, from)) != NULL) {
            from = message->token + 1;
            if (message->due_us != 0 && message->due_us <= model->elapsed_us) {
                model_return(model, message, COUNTED);
                expired++;
            }
        }
        model_assign(model, model->readers[reader].group);
    }
    model->expired += expired;
    return expired;
}

/* --- both agree ------------------------------------------------------------------- */

static struct message *find_message(struct model *model, int group, uint64_t sequence) {
    for (size_t i = 0; i < model->messages_count; i++) {
        struct message *message = &model->messages[i];
        if (message->group == group && message->sequence == sequence &&
            message->place != GONE) {
            return message;
        }
    }
    return NULL;
}

struct visit {
    struct model *model;
    int group;
    uint64_t ready;
    uint64_t bytes;
};

static void compare_ready(void *user, const struct momi_run *run) {
    struct visit *visit = user;
    for (uint32_t i = 0; i < run->count; i++) {
        const struct message *message =
            find_message(visit->model, visit->group, run->sequence + i);
        CHECK(message != NULL);
        CHECK(message->place == READY);
        CHECK_EQ(message->index, run->index);
        CHECK_EQ(message->slot, run->slot + i);
        CHECK_EQ(message->deliveries, run->deliveries);
        visit->ready++;
        visit->bytes += visit->model->entry_bytes[run->index];
    }
}

static uint64_t compare_leases(struct model *model, int reader) {
    const struct momi_consumer *consumer = consumer_of(model, reader);
    const struct reader *at = &model->readers[reader];
    CHECK(consumer != NULL);
    CHECK_EQ(consumer->credit, at->credit);
    CHECK_EQ(consumer->delivered, at->delivered);
    CHECK_EQ(consumer->handed, at->handed);
    uint64_t leased = 0;
    for (size_t i = 0; i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        CHECK(lease->run.count > 0);
        for (uint32_t n = 0; n < lease->run.count; n++) {
            const struct message *message =
                find_message(model, at->group, lease->run.sequence + n);
            CHECK(message != NULL);
            CHECK(message->place == LEASED);
            CHECK_EQ(message->holder, reader);
            CHECK_EQ(message->token, lease->counter + n);
            CHECK_EQ(message->delivery, lease->delivery + n);
            CHECK_EQ(message->due_us, lease->due_us);
            CHECK_EQ(message->deliveries, lease->run.deliveries);
            CHECK_EQ(message->slot, lease->run.slot + n);
            leased++;
        }
    }
    CHECK_EQ(consumer->leased, leased);
    return leased;
}

static void compare_group(struct model *model, int group) {
    struct momi_group *real = group_of(model, group);
    CHECK_EQ(real != NULL, group == 0 || model->has_dead_letters);
    if (real == NULL) {
        return;
    }
    struct visit visit = {.model = model, .group = group};
    momi_runs_each(&real->ready, compare_ready, &visit);
    CHECK_EQ(visit.ready, count_ready(model, group));
    CHECK_EQ(real->ready.messages, visit.ready);
    CHECK_EQ(real->ready_bytes, visit.bytes);
    uint64_t leased = 0;
    for (int i = 0; i < CONSUMERS_MAX; i++) {
        if (model->readers[i].is_attached && model->readers[i].group == group) {
            leased += compare_leases(model, i);
        }
    }
    CHECK_EQ(real->leased, leased);
    CHECK_EQ(real->waiting_count, model->waiting_count[group]);
    int at = 0;
    MOMI_LIST_FOR_EACH (link, &real->waiting) {
        CHECK(MOMI_CONTAINER_OF(link, struct momi_consumer, waiting_link) ==
              consumer_of(model, model->waiting[group][at++]));
    }
    CHECK_EQ(at, model->waiting_count[group]);
}

/* Those that are gone decide nothing any more. */
static void forget_gone(struct model *model) {
    size_t kept = 0;
    for (size_t i = 0; i < model->messages_count; i++) {
        if (model->messages[i].place != GONE) {
            model->messages[kept++] = model->messages[i];
        }
    }
    model->messages_count = kept;
}

static void compare(struct model *model) {
    forget_gone(model);
    CHECK_EQ(model->machine.counter, model->counter);
    compare_group(model, 0);
    compare_group(model, 1);
    const struct momi_heap_node *top = momi_heap_top(&model->machine.due);
    CHECK_EQ(top == NULL ? MOMI_NEVER : top->due, model_due(model));
    uint64_t there = 0;
    for (size_t i = 0; i < model->messages_count; i++) {
        there += model->messages[i].place != GONE;
    }
    bury_all(model);
    uint64_t references = 0;
    struct momi_live_entry entry;
    for (uint64_t next = 0; momi_live_next(model->machine.live, next, &entry);
         next = entry.index + 1) {
        references += entry.references;
    }
    CHECK_EQ(references, there);
    CHECK_EQ(model->counters.dead_letters, model->buried);
    CHECK_EQ(model->counters.leases_expired, model->expired);
    /* Conservation: every message has one end, or none yet. */
    CHECK_EQ(model->published,
             there + model->acknowledged + model->dropped + model->purged);
    momi_machine_check(&model->machine);
}

/* --- steps ------------------------------------------------------------------------ */

static void publish(struct model *model, uint32_t count) {
    if (model->messages_count + count > MESSAGES_MAX || model->index + 2 > ENTRIES_MAX) {
        return;
    }
    uint64_t index = ++model->index;
    uint32_t commands = (uint32_t)pick(model, 1, 2);
    uint32_t bytes = (uint32_t)pick(model, 2000, 9000) * count;
    momi_live_add(model->machine.live, index, 1, bytes, count * commands);
    model->entry_bytes[index] = bytes / (count * commands);
    struct momi_group *group = group_of(model, 0);
    for (uint32_t command = 0; command < commands; command++) {
        struct momi_run run = {.sequence = model->sequence_next[0],
                               .count = count,
                               .slot = command * count,
                               .index = index};
        if (model->messages_count + count > MESSAGES_MAX) {
            return;
        }
        for (uint32_t i = 0; i < count; i++) {
            model->messages[model->messages_count++] =
                (struct message){.group = 0,
                                 .sequence = run.sequence + i,
                                 .index = index,
                                 .slot = run.slot + i};
        }
        model->published += count;
        model->sequence_next[0] += count;
        group->stream->sequence_next = model->sequence_next[0];
        momi_stream_dirty(&model->machine, group->stream);
        momi_checkout_add(&model->machine, group, &run);
        model_assign(model, 0);
    }
}

static void attach(struct model *model, int reader) {
    struct reader *at = &model->readers[reader];
    int group = model->has_dead_letters && pick(model, 0, 3) == 0 ? 1 : 0;
    *at = (struct reader){
        .is_attached = true,
        .session = reader % SESSIONS,
        .group = group,
        .id = pick(model, 1, 1u << 30) * CONSUMERS_MAX + (uint64_t)reader,
        .number = model->number++,
        .lease_us = pick(model, 100, 5000),
        .credit = pick(model, 0, 40),
    };
    CHECK_OK(momi_checkout_attach(&model->machine, session_of(model, at->session), at->id,
                                  group_of(model, group), at->lease_us, at->credit));
    CHECK_ERR(momi_checkout_attach(&model->machine, session_of(model, at->session),
                                   at->id, group_of(model, group), at->lease_us, 1),
              MOM_EXISTS);
    wait_in_turn(model, reader);
    model_assign(model, group);
}

/* Tokens that it has, had, never had, or that somebody else has. */
static uint64_t pick_token(struct model *model, int reader) {
    struct reader *at = &model->readers[reader];
    uint64_t dice = pick(model, 0, 9);
    if (dice < 6) {
        struct message *message =
            next_lease(model, reader, pick(model, 0, model->counter));
        message = message == NULL ? next_lease(model, reader, 0) : message;
        return message == NULL ? 1 : message->token;
    }
    if (dice < 8 && at->old_tokens_count > 0) {
        size_t count =
            at->old_tokens_count < TOKENS_KEPT ? at->old_tokens_count : TOKENS_KEPT;
        return at->old_tokens[pick(model, 0, count - 1)];
    }
    return pick(model, 1, model->counter + 3);
}

static void consume(struct model *model, int reader) {
    struct reader *at = &model->readers[reader];
    struct momi_settle settles[6];
    size_t count = pick(model, 0, 6);
    uint64_t handed = pick(model, 0, 2) == 0 ? pick(model, 0, at->delivered + 2) : 0;
    uint64_t credit = at->delivered + pick(model, 0, 30);
    credit = pick(model, 0, 19) == 0 ? pick(model, 0, at->delivered) : credit;
    for (size_t i = 0; i < count; i++) {
        static const enum momi_settle_action actions[] = {
            MOMI_SETTLE_ACK,       MOMI_SETTLE_ACK,    MOMI_SETTLE_ACK,
            MOMI_SETTLE_GIVE_BACK, MOMI_SETTLE_REJECT, MOMI_SETTLE_RETURN,
            MOMI_SETTLE_EXTEND,
        };
        settles[i] = (struct momi_settle){
            .token = {.epoch = pick(model, 0, 30) == 0 ? EPOCH - 1 : EPOCH,
                      .counter = pick_token(model, reader)},
            .count = (uint32_t)pick(model, 1, pick(model, 0, 3) == 0 ? 30 : 3),
            .action = actions[pick(model, 0, 6)],
        };
    }
    struct momi_bytes body = {0};
    momi_checkout_put_consume(&body, at->id, credit, handed, settles, count);
    struct momi_result result = momi_checkout_consume(
        &model->machine, session_of(model, at->session), momi_bytes_slice(&body));
    momi_bytes_free(&body);
    CHECK_OK(result.error);
    model_hand_out(model, reader, handed);
    uint64_t settled = 0;
    for (size_t i = 0; i < count; i++) {
        settled += model_settle(model, reader, &settles[i]);
    }
    CHECK_EQ(result.value, settled);
    at->credit = credit > at->delivered ? credit : at->delivered;
    wait_in_turn(model, reader);
    model_assign(model, at->group);
}

static void purge(struct model *model) {
    uint64_t count = 0;
    for (size_t i = 0; i < model->messages_count; i++) {
        struct message *message = &model->messages[i];
        if (message->group == 0 && message->place == READY) {
            message->place = GONE;
            count++;
        }
    }
    model->purged += count;
    CHECK_EQ(momi_checkout_purge(&model->machine, group_of(model, 0)), count);
}

static void lose_session(struct model *model, int session) {
    momi_checkout_detach_all(&model->machine, session_of(model, session),
                             MOMI_DETACH_LOST);
    /* None of them gets what another one leaves. */
    int order[CONSUMERS_MAX];
    int count = 0;
    for (int i = 0; i < CONSUMERS_MAX; i++) {
        if (model->readers[i].is_attached && model->readers[i].session == session) {
            leave(model, i);
            int at = count++;
            for (; at > 0 &&
                   model->readers[order[at - 1]].number > model->readers[i].number;
                 at--) {
                order[at] = order[at - 1];
            }
            order[at] = i;
        }
    }
    for (int i = 0; i < count; i++) {
        model_detach(model, order[i], MOMI_DETACH_LOST);
    }
}

static void random_step(struct model *model) {
    uint64_t dice = pick(model, 0, 999);
    int reader = (int)pick(model, 0, CONSUMERS_MAX - 1);
    bool is_attached = model->readers[reader].is_attached;
    if (dice < 200) {
        publish(model, (uint32_t)pick(model, 1, pick(model, 0, 5) == 0 ? 60 : 5));
    } else if (dice < 800) {
        if (is_attached) {
            consume(model, reader);
        } else {
            attach(model, reader);
        }
    } else if (dice < 900) {
        model->elapsed_us += pick(model, 1, 800);
        model->machine.elapsed_us = model->elapsed_us;
        uint32_t max = (uint32_t)pick(model, 1, pick(model, 0, 1) == 0 ? 3 : 100);
        CHECK_EQ(momi_checkout_expire(&model->machine, max), model_expire(model, max));
    } else if (dice < 930 && is_attached) {
        enum momi_detach how =
            (enum momi_detach)pick(model, MOMI_DETACH_CLEAN, MOMI_DETACH_LOST);
        momi_checkout_detach(&model->machine, consumer_of(model, reader), how);
        model_detach(model, reader, how);
    } else if (dice < 940) {
        lose_session(model, (int)pick(model, 0, SESSIONS - 1));
    } else if (dice < 944) {
        purge(model);
    } else if (dice < 960) {
        save(model);
    } else if (dice < 975) {
        reload(model);
    }
}

static void agrees_with_the_model(void **state) {
    (void)state;
    uint64_t buried = 0;
    uint64_t expired = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct model *model = model_new(seed, 1 + (uint32_t)(seed % 4), seed % 10 == 0);
        for (int step = 0; step < 700; step++) {
            random_step(model);
            compare(model);
        }
        reload(model);
        compare(model);
        buried += model->buried;
        expired += model->expired;
        CHECK(model->acknowledged > 50);
        CHECK(model->counters.redeliveries > 50);
        model_free(model);
    }
    CHECK(buried > 500);
    CHECK(expired > 50);
    CHECK_EQ(momi_mem_live(), 0);
}

/* The same commands give the same state whether a replica was restarted in between or
 * not. */
static void restarts_do_not_show(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct model *steady = model_new(seed, 3, false);
        struct model *restarted = model_new(seed, 3, false);
        for (int step = 0; step < 400; step++) {
            random_step(steady);
            random_step(restarted);
            reload(restarted);
            steady->machine.applied = steady->index;
            CHECK_EQ(momi_machine_hash(&steady->machine),
                     momi_machine_hash(&restarted->machine));
        }
        model_free(steady);
        model_free(restarted);
    }
}

static void malformed_records_are_refused(void **state) {
    (void)state;
    struct model *model = model_new(77, 3, false);
    for (int step = 0; step < 300; step++) {
        random_step(model);
    }
    reload(model);
    for (int i = 0; i < 800; i++) {
        struct momi_machine other;
        CHECK_OK(momi_machine_init(&other, SHARD, EPOCH, &model->counters));
        size_t chosen = pick(model, 0, model->records_count - 1);
        bool is_good = true;
        for (size_t n = 0; n < model->records_count && is_good; n++) {
            struct record record = model->records[n];
            if (n == chosen && (record.key[0] == 'c' || record.key[0] == 'r')) {
                if (pick(model, 0, 4) == 0) {
                    record.value_size = pick(model, 0, record.value_size - 1);
                } else {
                    record.value[pick(model, 0, record.value_size - 1)] =
                        (uint8_t)pick(model, 0, 255);
                }
            }
            is_good = momi_machine_load(&other, momi_slice(record.key, record.key_size),
                                        momi_slice(record.value, record.value_size));
        }
        (void)(is_good && momi_machine_loaded(&other, model->index, 0));
        momi_machine_free(&other);
    }
    model_free(model);
    CHECK_EQ(momi_mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(agrees_with_the_model),
        TEST(restarts_do_not_show),
        TEST(malformed_records_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
