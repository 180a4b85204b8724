/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All checkers over one history. Records are fed as they happen, so that a violation is
 * known at the first record that shows it; what can only be said of the whole (nothing is
 * lost) is said at the end. The library under test is not used: the judge has its own
 * notion of filters, leases and results.
 */
#ifndef MOM_CHECK_JUDGE_H
#define MOM_CHECK_JUDGE_H

#include "check/history.h"

struct check_violation {
    const char *checker; /* static */
    char text[300];
    uint64_t time_ns;
    bool has_message;
    uint32_t publisher, message;
    struct check_record record; /* that showed it; zero at the end */
};

enum { CHECK_VIOLATIONS_MAX = 100 }; /* kept; the others are only counted */
struct check_violations {
    struct check_violation list[CHECK_VIOLATIONS_MAX];
    uint32_t count; /* kept */
    uint64_t all;
};

struct check_judge;
/* `names` is borrowed, and may get more names. */
struct check_judge *check_judge_new(struct check_names *names);
void check_judge_free(struct check_judge *judge);
/* One more record; false: it shows a violation, which is the last one of the list. */
bool check_judge_feed(struct check_judge *judge, const struct check_record *record);
/* The history is complete; false: there are violations at the end. */
bool check_judge_finish(struct check_judge *judge);
const struct check_violations *check_judge_violations(const struct check_judge *judge);

/* How much is still to come, as it looks now: messages that must be consumed or be dead
 * letters, of the groups that are known to want them. One may count twice. */
uint64_t check_judge_missing(const struct check_judge *judge);

/* What was checked, for those who want to know that something was. */
typedef void (*check_count_fn)(const char *checker, const char *what, uint64_t count,
                               void *user);
void check_judge_counts(const struct check_judge *judge, check_count_fn tell, void *user);

#endif
