/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mom-check: judges the histories of real processes (history.h).
 *
 *     mom-check [--need WHAT]... [--undrained] FILE...
 *
 * Prints what was checked, and each violation with the records that it is about. It also
 * fails when nothing happened that must have happened: acknowledged, delivered and
 * consumed messages, and every group drained (not with --undrained). --need adds one more
 * count that must not be zero, by its name in the output ("dead letters", "hashes
 * compared", ...).
 *
 * Exit status: 0 fine, 1 violations or nothing to judge, 2 wrong use or unreadable files.
 */
#include "check/judge.h"

#include <string.h>

enum { NEEDS_MAX = 32, RECORDS_SHOWN = 40, RECORDS_AROUND = 8, VIOLATIONS_SHOWN = 20 };

struct options {
    const char *needs[NEEDS_MAX];
    size_t needs_count;
    bool undrained;
    char **files;
    int files_count;
};

static bool read_options(int argc, char **argv, struct options *options) {
    static const char *const always[] = {"acknowledged", "delivered", "consumed"};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        options->needs[options->needs_count++] = always[i];
    }
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--undrained") == 0) {
            options->undrained = true;
        } else if (strcmp(argv[i], "--need") == 0 && i + 1 < argc &&
                   options->needs_count < NEEDS_MAX) {
            options->needs[options->needs_count++] = argv[++i];
        } else {
            return false;
        }
    }
    options->files = argv + i;
    options->files_count = argc - i;
    return options->files_count > 0;
}

/* --- what was checked ------------------------------------------------------------- */

struct telling {
    const struct options *options;
    const char *checker;
    bool was_met[NEEDS_MAX];
    uint64_t not_drained;
};

static void tell(const char *checker, const char *what, uint64_t count, void *user) {
    struct telling *telling = user;
    if (telling->checker == NULL || strcmp(telling->checker, checker) != 0) {
        printf("%s:\n", checker);
        telling->checker = checker;
    }
    printf("  %12llu %s\n", (unsigned long long)count, what);
    for (size_t i = 0; i < telling->options->needs_count; i++) {
        bool is_meant = strcmp(telling->options->needs[i], what) == 0;
        telling->was_met[i] = telling->was_met[i] || (is_meant && count > 0);
    }
    if (strcmp(what, "groups not drained") == 0) {
        telling->not_drained = count;
    }
}

static bool tell_counts(const struct check_judge *judge, const struct options *options) {
    struct telling telling = {.options = options};
    check_judge_counts(judge, tell, &telling);
    bool is_fine = true;
    for (size_t i = 0; i < options->needs_count; i++) {
        if (!telling.was_met[i]) {
            printf("NOTHING: no %s, so nothing was judged of it\n", options->needs[i]);
            is_fine = false;
        }
    }
    if (telling.not_drained > 0 && !options->undrained) {
        printf("NOT DRAINED: %llu queues or subscriptions; what is lost there is not "
               "known\n",
               (unsigned long long)telling.not_drained);
        is_fine = false;
    }
    return is_fine;
}

/* --- violations ------------------------------------------------------------------- */

static void print_record(const struct check_history *history,
                         const struct check_record *record, bool is_it) {
    char line[CHECK_LINE_MAX];
    (void)check_write(history->names, record, line);
    printf("  %s %s:%u: %s", is_it ? ">" : " ", history->files[record->file],
           record->line, line);
}

static bool is_same(const struct check_record *a, const struct check_record *b) {
    return a->file == b->file && a->line == b->line;
}

static bool is_of_message(const struct check_record *record,
                          const struct check_violation *violation) {
    switch ((enum check_kind)record->kind) {
    case CHECK_PUBLISH:
    case CHECK_ACK:
    case CHECK_NACK:
    case CHECK_REJECT:
    case CHECK_EXTEND:
    case CHECK_ARRIVE:
    case CHECK_DELIVER:
        return record->publisher == violation->publisher &&
               record->message == violation->message;
    default:
        return false;
    }
}

/* The answer to a call: the next record of its process that ends it. */
static const struct check_record *answer_of(const struct check_history *history,
                                            const struct check_record *call) {
    const struct check_record *end = history->records + history->count;
    for (const struct check_record *at = call + 1; at < end; at++) {
        if (at->phase == CHECK_DONE && at->process == call->process &&
            at->op == call->op) {
            return at;
        }
    }
    return NULL;
}

/* The life of its message; each call with its answer. */
static void print_message(const struct check_history *history,
                          const struct check_violation *violation) {
    size_t shown = 0;
    for (size_t i = 0; i < history->count && shown < RECORDS_SHOWN; i++) {
        const struct check_record *record = &history->records[i];
        if (record->phase == CHECK_DONE || !is_of_message(record, violation)) {
            continue;
        }
        print_record(history, record, is_same(record, &violation->record));
        shown++;
        const struct check_record *answer =
            record->phase == CHECK_CALL ? answer_of(history, record) : NULL;
        if (answer != NULL) {
            print_record(history, answer, is_same(answer, &violation->record));
        }
    }
}

static void print_around(const struct check_history *history,
                         const struct check_record *it) {
    size_t at = 0;
    while (at < history->count && !is_same(&history->records[at], it)) {
        at++;
    }
    for (size_t i = at < RECORDS_AROUND ? 0 : at - RECORDS_AROUND;
         i < history->count && i <= at + RECORDS_AROUND; i++) {
        print_record(history, &history->records[i], i == at);
    }
}

static void print_violation(const struct check_history *history,
                            const struct check_violation *violation) {
    printf("VIOLATION %s: %s\n", violation->checker, violation->text);
    if (violation->has_message) {
        print_message(history, violation);
    } else if (violation->record.line != 0) {
        print_around(history, &violation->record);
    }
}

static void print_violations(const struct check_history *history,
                             const struct check_violations *violations) {
    uint32_t count =
        violations->count < VIOLATIONS_SHOWN ? violations->count : VIOLATIONS_SHOWN;
    for (uint32_t i = 0; i < count; i++) {
        print_violation(history, &violations->list[i]);
    }
    if (violations->all > count) {
        printf("... and %llu more\n", (unsigned long long)(violations->all - count));
    }
}

int main(int argc, char **argv) {
    struct options options = {.needs_count = 0};
    if (!read_options(argc, argv, &options)) {
        fputs("usage: mom-check [--need WHAT]... [--undrained] FILE...\n", stderr);
        return 2;
    }
    struct check_history history;
    check_history_init(&history);
    bool is_read = true;
    for (int i = 0; i < options.files_count && is_read; i++) {
        is_read = check_history_load(&history, options.files[i], stderr);
    }
    if (!is_read) {
        check_history_free(&history);
        return 2;
    }
    check_history_merge(&history);
    struct check_judge *judge = check_judge_new(history.names);
    for (size_t i = 0; i < history.count; i++) {
        (void)check_judge_feed(judge, &history.records[i]);
    }
    (void)check_judge_finish(judge);
    printf("%zu records of %zu files, %zu torn at the end\n", history.count,
           history.files_count, history.torn);
    bool is_fine = tell_counts(judge, &options);
    const struct check_violations *violations = check_judge_violations(judge);
    print_violations(&history, violations);
    printf("%llu violations\n", (unsigned long long)violations->all);
    is_fine = is_fine && violations->all == 0;
    check_judge_free(judge);
    check_history_free(&history);
    return is_fine ? 0 : 1;
}
