/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random good histories of a queue, made by a model of it, must pass; each of them with
 * one thing wrong must be flagged, whatever is wrong and wherever.
 */
#include "t.h"

#include "base/rng.h"
#include "check/judge.h"

#include <mom/error.h>

enum { MESSAGES = 60, PUBLISHERS = 3, READERS = 3, RECORDS_MAX = 4000, RUNS = 300 };

struct made {
    struct check_names *names;
    struct check_record records[RECORDS_MAX];
    uint32_t count;
    uint64_t now_ns, op, token;
    uint32_t stream;
    struct momi_rng rng;
    struct {
        uint32_t publisher, number, deliveries;
        bool is_gone;
    } messages[MESSAGES];
    uint32_t published, next_number[PUBLISHERS];
};

static uint32_t pick(struct made *made, uint32_t count) {
    return (uint32_t)(momi_rng_next(&made->rng) % count);
}

static void add(struct made *made, uint32_t process, enum check_kind kind,
                enum check_phase phase, struct check_record record) {
    record.time_ns = ++made->now_ns;
    record.process = process;
    record.kind = (uint8_t)kind;
    record.phase = (uint8_t)phase;
    record.stream = phase == CHECK_DONE ? 0 : made->stream;
    CHECK(made->count < RECORDS_MAX);
    made->records[made->count++] = record;
}

static void both(struct made *made, uint32_t process, enum check_kind kind,
                 struct check_record record, uint64_t sequence) {
    record.op = ++made->op;
    add(made, process, kind, CHECK_CALL, record);
    add(made, process, kind, CHECK_DONE,
        (struct check_record){.op = record.op, .sequence = sequence});
}

static void publish(struct made *made) {
    uint32_t at = made->published++;
    uint32_t publisher = pick(made, PUBLISHERS);
    made->messages[at].publisher = publisher;
    made->messages[at].number = made->next_number[publisher]++;
    both(made, 1 + publisher, CHECK_PUBLISH,
         (struct check_record){.publisher = publisher,
                               .message = made->messages[at].number,
                               .digest = 1000 + at},
         at + 1);
}

/* The first message that is left, to a reader that keeps it or gives it back. */
static void deliver(struct made *made, bool keeps) {
    uint32_t at = 0;
    while (at < made->published && made->messages[at].is_gone) {
        at++;
    }
    if (at == made->published) {
        return;
    }
    uint32_t n = ++made->messages[at].deliveries;
    struct check_record record = {.publisher = made->messages[at].publisher,
                                  .message = made->messages[at].number,
                                  .consumer = 1,
                                  .token = ++made->token};
    struct check_record delivery = record;
    delivery.sequence = at + 1;
    delivery.digest = 1000 + at;
    delivery.deliveries = n;
    delivery.is_redelivered = n > 1;
    uint32_t process = 10 + pick(made, READERS);
    add(made, process, CHECK_DELIVER, CHECK_SAW, delivery);
    both(made, process, keeps ? CHECK_ACK : CHECK_NACK, record, 0);
    made->messages[at].is_gone = keeps;
}

static void make(struct made *made, uint64_t seed) {
    memset(made, 0, sizeof *made);
    momi_rng_seed(&made->rng, seed);
    made->names = check_names_new();
    made->stream = check_name_str(made->names, "q");
    both(made, 1, CHECK_CREATE, (struct check_record){.value = 1000}, 0);
    publish(made);
    deliver(made, false); /* at least one is redelivered */
    while (made->published < MESSAGES) {
        if (pick(made, 2) == 0) {
            publish(made);
        } else {
            deliver(made, pick(made, 4) != 0);
        }
    }
    for (uint32_t i = 0; i < MESSAGES; i++) {
        deliver(made, true);
    }
    add(made, 1, CHECK_DRAINED, CHECK_SAW, (struct check_record){.op = 0});
}

static bool is_good(const struct made *made) {
    struct check_judge *judge = check_judge_new(made->names);
    for (uint32_t i = 0; i < made->count; i++) {
        (void)check_judge_feed(judge, &made->records[i]);
    }
    (void)check_judge_finish(judge);
    const struct check_violations *violations = check_judge_violations(judge);
    bool good = violations->all == 0;
    check_judge_free(judge);
    return good;
}

/* --- what goes wrong -------------------------------------------------------------- */

enum wrong {
    LOST,
    REFUSED,
    NOWHERE,
    OTHER_BODY,
    DOUBLED,
    UNMARKED,
    OLD_TOKEN,
    COMES_AGAIN,
    OUT_OF_ORDER,
    CREATED_TWICE,
    WRONGS
};
static const char *const wrongs[] = {
    "lost",     "refused",   "nowhere",     "other body",   "doubled",
    "unmarked", "old token", "comes again", "out of order", "created twice"};

/* A record of this kind, drawn at random; redelivered ones only if asked for. */
static struct check_record *find(struct made *made, enum check_kind kind,
                                 enum check_phase phase, bool is_redelivered) {
    for (;;) {
        struct check_record *record = &made->records[pick(made, made->count)];
        if (record->kind == kind && record->phase == phase &&
            record->is_redelivered == is_redelivered) {
            return record;
        }
    }
}

/* Two messages of one publisher change their places in the stream, for all who see. */
static void change_places(struct made *made) {
    uint32_t one = pick(made, MESSAGES);
    uint32_t other = pick(made, MESSAGES);
    while (other == one ||
           made->messages[other].publisher != made->messages[one].publisher) {
        one = pick(made, MESSAGES);
        other = pick(made, MESSAGES);
    }
    for (uint32_t i = 0; i < made->count; i++) {
        uint64_t *sequence = &made->records[i].sequence;
        *sequence = *sequence == one + 1     ? other + 1
                    : *sequence == other + 1 ? one + 1
                                             : *sequence;
    }
}

static void corrupt(struct made *made, enum wrong wrong) {
    struct check_record again;
    switch (wrong) {
    case LOST:
        find(made, CHECK_ACK, CHECK_DONE, false)->result = MOM_CONFLICT;
        break;
    case REFUSED:
        find(made, CHECK_PUBLISH, CHECK_DONE, false)->result = MOM_FULL;
        break;
    case NOWHERE:
        find(made, CHECK_DELIVER, CHECK_SAW, false)->message += MESSAGES;
        break;
    case OTHER_BODY:
        find(made, CHECK_DELIVER, CHECK_SAW, false)->digest++;
        break;
    case DOUBLED:
        find(made, CHECK_DELIVER, CHECK_SAW, false)->sequence += MESSAGES;
        break;
    case UNMARKED:
        again = *find(made, CHECK_DELIVER, CHECK_SAW, true);
        for (uint32_t i = 0; i < made->count; i++) {
            if (made->records[i].token == again.token) {
                made->records[i].is_redelivered = false;
                made->records[i].deliveries = 0;
            }
        }
        break;
    case OLD_TOKEN:
        find(made, CHECK_DELIVER, CHECK_SAW, true)->token = 1;
        break;
    case COMES_AGAIN:
        again = *find(made, CHECK_ACK, CHECK_CALL, false);
        again.token = ++made->token;
        again.deliveries = 9;
        again.is_redelivered = true;
        add(made, again.process, CHECK_DELIVER, CHECK_SAW, again);
        break;
    case OUT_OF_ORDER:
        change_places(made);
        break;
    case CREATED_TWICE:
        both(made, 2, CHECK_CREATE, (struct check_record){.value = 1000}, 0);
        break;
    case WRONGS:
        break;
    }
}

static void good_histories_pass_and_corrupted_ones_do_not(void **state) {
    (void)state;
    static struct made made;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        make(&made, seed);
        if (!is_good(&made)) {
            fail_msg("seed %llu is flagged and is good", (unsigned long long)seed);
        }
        check_names_free(made.names);
        for (int wrong = 0; wrong < WRONGS; wrong++) {
            make(&made, seed);
            corrupt(&made, (enum wrong)wrong);
            if (is_good(&made)) {
                fail_msg("seed %llu: %s is not found", (unsigned long long)seed,
                         wrongs[wrong]);
            }
            check_names_free(made.names);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(good_histories_pass_and_corrupted_ones_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
