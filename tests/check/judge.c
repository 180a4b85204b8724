/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds each step to every checker, and keeps what they report.
 */
#include "check/judge.h"

#include "check/ledger.h"
#include "check/memory.h"

#include <stdarg.h>
#include <string.h>

static const struct check_checker *const checkers[] = {
    &check_total_queue, &check_outcomes,     &check_order,   &check_leases,
    &check_redelivery,  &check_dead_letters, &check_creates, &check_hashes,
};
enum { CHECKERS = sizeof checkers / sizeof checkers[0] };

struct check_judge {
    struct check_ledger *ledger;
    struct check_violations violations;
    void *states[CHECKERS];
    const struct check_record *now; /* the record that is judged; NULL at the end */
};

struct check_judge *check_judge_new(struct check_names *names) {
    struct check_judge *judge = check_calloc(1, sizeof *judge);
    judge->ledger = check_ledger_new(names, &judge->violations);
    for (int i = 0; i < CHECKERS; i++) {
        judge->states[i] = check_calloc(1, checkers[i]->size);
    }
    return judge;
}

void check_judge_free(struct check_judge *judge) {
    if (judge == NULL) {
        return;
    }
    for (int i = 0; i < CHECKERS; i++) {
        checkers[i]->free(judge->states[i]);
        check_free(judge->states[i]);
    }
    check_ledger_free(judge->ledger);
    check_free(judge);
}

bool check_judge_feed(struct check_judge *judge, const struct check_record *record) {
    struct check_violations *violations = &judge->violations;
    uint64_t before = violations->all;
    uint32_t kept = violations->count;
    struct check_step step;
    if (check_ledger_step(judge->ledger, record, &step)) {
        for (int i = 0; i < CHECKERS; i++) {
            checkers[i]->feed(judge->states[i], &step);
        }
        check_ledger_settle(judge->ledger, &step);
    }
    for (; kept < violations->count; kept++) {
        violations->list[kept].record = *record;
        violations->list[kept].time_ns = record->time_ns;
    }
    return violations->all == before;
}

bool check_judge_finish(struct check_judge *judge) {
    uint64_t before = judge->violations.all;
    for (int i = 0; i < CHECKERS; i++) {
        if (checkers[i]->finish != NULL) {
            checkers[i]->finish(judge->states[i], judge->ledger);
        }
    }
    return judge->violations.all == before;
}

const struct check_violations *check_judge_violations(const struct check_judge *judge) {
    return &judge->violations;
}

uint64_t check_judge_missing(const struct check_judge *judge) {
    uint64_t count = 0;
    for (int i = 0; i < CHECKERS; i++) {
        if (checkers[i]->missing != NULL) {
            count += checkers[i]->missing(judge->states[i], judge->ledger);
        }
    }
    return count;
}

void check_judge_counts(const struct check_judge *judge, check_count_fn tell,
                        void *user) {
    for (int i = 0; i < CHECKERS; i++) {
        const struct check_counter *counter = checkers[i]->counters;
        for (; counter->what != NULL; counter++) {
            uint64_t count;
            memcpy(&count, (const char *)judge->states[i] + counter->offset,
                   sizeof count);
            tell(checkers[i]->name, counter->what, count, user);
        }
    }
}

void check_report(struct check_ledger *ledger, const char *checker,
                  const struct check_message *message, const char *format, ...) {
    struct check_violations *violations = ledger->violations;
    violations->all++;
    if (violations->count == CHECK_VIOLATIONS_MAX) {
        return;
    }
    struct check_violation *violation = &violations->list[violations->count++];
    *violation = (struct check_violation){.checker = checker};
    size_t size = 0;
    if (message != NULL) {
        violation->has_message = true;
        violation->publisher = message->publisher;
        violation->message = message->message;
        int written = snprintf(violation->text, sizeof violation->text, "p%u:%u ",
                               message->publisher, message->message);
        size = written > 0 ? (size_t)written : 0;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(violation->text + size, sizeof violation->text - size, format,
                    arguments);
    va_end(arguments);
}
