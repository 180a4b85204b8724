/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all checkers need to know of a history: which call a `done` belongs to, which
 * message, stream, group and reader a record speaks of, and whether faults were at work.
 * Each record is a step; steps are numbered from 1, and the numbers are the order in
 * which things happened: what was done at a lower number was done before what was called
 * at a higher one.
 *
 * Streams, groups (a queue, or a subscription of a topic), messages, copies (of a message
 * in a group) and readers are numbered from 0: checkers keep what is theirs in lists by
 * these numbers. Pointers to them are valid during a step.
 */
#ifndef MOM_CHECK_LEDGER_H
#define MOM_CHECK_LEDGER_H

#include "check/history.h"
#include "check/judge.h"
#include "check/table.h"

enum { CHECK_NONE = UINT32_MAX };

enum check_outcome {
    CHECK_OUTCOME_OPEN,    /* not known yet */
    CHECK_OUTCOME_OK,      /* acknowledged */
    CHECK_OUTCOME_REFUSED, /* not done, now or later */
    CHECK_OUTCOME_UNKNOWN, /* either */
};
enum check_outcome check_outcome_of(int16_t result);

struct check_stream {
    uint32_t number;
    uint32_t name;
    uint32_t dead_of; /* group whose dead letters it holds; CHECK_NONE */
    uint64_t lease_ns;
    uint32_t deliveries_max;
    /* Purges and deletes: those that may still happen, and the step at which the last one
     * was over. What was published before that may be gone. */
    uint32_t removals_open;
    uint64_t removed_until;
    /* The last delete that was done: what was there before its call is gone for ever. */
    uint64_t delete_called, delete_done;
    uint32_t first_group; /* of its list; CHECK_NONE */
    bool is_topic; /* it has, or had, subscriptions: nobody reads the stream itself */
};

struct check_group {
    uint32_t number;
    uint32_t stream, subscription; /* number; name */
    uint32_t filter;               /* name; 0: everything */
    uint64_t wants_from;           /* step from which on published messages are its own;
                                      UINT64_MAX: not known yet */
    bool is_removed;               /* or may be */
    bool is_drained;
    bool is_read; /* somebody opened it */
    uint32_t dead_stream;
    uint32_t next; /* of its stream */
};

struct check_message {
    uint32_t number;
    uint32_t publisher, message;
    uint32_t stream; /* number; CHECK_NONE: a number that was left out */
    uint32_t key;
    uint32_t life;
    uint64_t digest;
    uint64_t sequence;   /* 0: not known */
    uint64_t called;     /* step */
    uint64_t known;      /* step at which it was acknowledged, or first came; 0 */
    uint32_t first_copy; /* of its list; CHECK_NONE */
    enum check_outcome outcome;
};

struct check_copy {
    uint32_t number;
    uint32_t message, group; /* numbers */
    uint32_t next;           /* of the same message */
};

struct check_reader {
    uint32_t number;
    uint32_t process;
    uint32_t group;
    uint64_t opened; /* step of the call, or of the first message of a stream made anew */
    uint64_t ended;  /* step at which it was closed, ended, or died; 0 */
};

struct check_publisher {
    uint32_t publisher;
    uint32_t *messages; /* owned: numbers + 1 by number of the publisher; 0: none */
    uint32_t count, room;
};

struct check_ledger {
    struct check_names *names; /* borrowed */
    uint64_t steps;
    struct check_stream *streams;
    uint32_t streams_count, streams_room;
    struct check_group *groups;
    uint32_t groups_count, groups_room;
    struct check_message *messages;
    uint32_t messages_count, messages_room;
    struct check_copy *copies;
    uint32_t copies_count, copies_room;
    struct check_reader *readers;
    uint32_t readers_count, readers_room;
    struct check_publisher *publishers;
    uint32_t publishers_count, publishers_room;
    struct check_open_call *calls; /* free ones in a list */
    uint32_t calls_count, calls_room, calls_free;
    struct check_table stream_numbers, group_numbers, reader_numbers, publisher_numbers,
        call_numbers;
    uint32_t faults_open;
    bool had_faults;
    uint64_t faults_end_ns; /* when the last one was over */
    struct check_violations *violations;
};

/* One record, and what it is about. */
struct check_step {
    struct check_ledger *ledger;
    uint64_t number;
    const struct check_record *record;
    const struct check_record *about; /* the record itself, or of a done its call */
    uint64_t called;                  /* step of the call of a done */
    struct check_stream *stream;      /* NULL where there is none */
    struct check_group *group;
    struct check_message *message;
    struct check_copy *copy;
    struct check_reader *reader;
    enum check_outcome outcome; /* of a done */
};

struct check_ledger *check_ledger_new(struct check_names *names,
                                      struct check_violations *violations);
void check_ledger_free(struct check_ledger *ledger);
/* Resolves a record; false: the history is wrong in itself, a violation is reported. */
bool check_ledger_step(struct check_ledger *ledger, const struct check_record *record,
                       struct check_step *step);
/* After the checkers have seen the step: what it changes in the ledger for the next. */
void check_ledger_settle(struct check_ledger *ledger, const struct check_step *step);

/* The copy of a message in a group; NULL: there is none yet. */
struct check_copy *check_ledger_copy(const struct check_ledger *ledger,
                                     const struct check_message *message, uint32_t group);
/* Was a fault at work at any time from `since_ns` until now? */
bool check_ledger_faulty(const struct check_ledger *ledger, uint64_t since_ns);
/* May a message have gone with a purge, or with its stream? */
bool check_ledger_may_be_removed(const struct check_ledger *ledger,
                                 const struct check_message *message);
/* Does a group get a message? `true` only if it surely does. */
bool check_ledger_wants(const struct check_ledger *ledger,
                        const struct check_group *group,
                        const struct check_message *message);
/* May a group get it? */
bool check_ledger_may_want(const struct check_ledger *ledger,
                           const struct check_group *group,
                           const struct check_message *message);
/* A filter of words, `*` for one and `#` for any number of them, against a key. */
bool check_filter_matches(const char *filter, const char *key);

/* --- for checkers ----------------------------------------------------------------- */

struct check_counter {
    const char *what;
    size_t offset; /* of a uint64_t in the state */
};

/* One property. The state is zeroed memory of `size` bytes. */
struct check_checker {
    const char *name;
    size_t size;
    void (*feed)(void *state, const struct check_step *step);
    void (*finish)(void *state, struct check_ledger *ledger); /* NULL: nothing to do */
    void (*free)(void *state);
    const struct check_counter *counters; /* up to one without a name */
    /* What is still to come, as it looks now; NULL: it waits for nothing. */
    uint64_t (*missing)(const void *state, const struct check_ledger *ledger);
};
extern const struct check_checker check_total_queue, check_outcomes, check_order,
    check_leases, check_redelivery, check_dead_letters, check_creates, check_hashes;

/* Reports a violation; `message` NULL: it is about no message. */
void check_report(struct check_ledger *ledger, const char *checker,
                  const struct check_message *message, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The group as people write it; up to four at a time are valid. */
const char *check_group_text(const struct check_ledger *ledger, uint32_t group);

/* Did a message come, into the buffer of a library or to a program? */
static inline bool check_step_comes(const struct check_step *step) {
    return step->record->kind == CHECK_ARRIVE || step->record->kind == CHECK_DELIVER;
}
static inline bool check_step_is(const struct check_step *step, enum check_kind kind,
                                 enum check_phase phase) {
    return step->record->kind == kind && step->record->phase == phase;
}

#endif
