/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model of fuzz_calls.c: what the program may know of queues, topics, subscriptions
 * and dead letters, every message one row of an array, changed at once by each call.
 *
 * A row is `maybe` when a purge may have dropped it: it dropped what lay in no consumer's
 * buffer. A row is `is_late` when it was given back while consumers were attached: it may
 * then come before or behind others.
 */
#ifndef MOM_TESTS_FUZZ_CALLS_MODEL_H
#define MOM_TESTS_FUZZ_CALLS_MODEL_H

#include <mom/mom.h>

#include "fuzz/fuzz.h"

enum {
    QUEUES = 2,
    TOPICS = 2,
    SUBSCRIPTIONS = 2, /* of each topic */
    ORIGINS = QUEUES + TOPICS * SUBSCRIPTIONS,
    GROUPS = 2 * ORIGINS,                /* and the dead-letter queue of each */
    STREAMS = QUEUES + TOPICS + ORIGINS, /* queues, topics, dead-letter queues */
    ROWS_MAX = 512,
    KEYS = 4,
    FILTERS = 4,
};

static const char *const key_names[KEYS] = {"", "a", "a.b", "b.a.b"};
static const char *const filter_names[FILTERS] = {NULL, "a.#", "*.b", "b.*.*"};
static const bool filter_takes[FILTERS][KEYS] = {{true, true, true, true},
                                                 {false, true, true, false},
                                                 {false, false, true, false},
                                                 {false, false, false, true}};

struct row {
    uint64_t sequence;
    uint32_t serial; /* in its body */
    uint8_t key;
    uint32_t deliveries; /* that count */
    bool is_gone, is_held, maybe, is_late;
};

struct rows {
    struct row row[ROWS_MAX];
    size_t count;
};

struct group {
    bool exists, ignore_own, temporary;
    unsigned filter;
    unsigned consumers; /* attached */
    uint64_t dead_lettered;
    struct rows rows;
};

struct stream {
    bool exists;
    uint64_t next;
    uint64_t messages_max, retention_count;
    uint32_t deliveries_max;
    bool no_dead_letter;
    struct rows history; /* of topics */
    size_t history_from;
};

struct model {
    struct stream streams[STREAMS];
    struct group groups[GROUPS];
    uint32_t serial;
};

static inline bool is_topic(unsigned stream) {
    return stream >= QUEUES && stream < QUEUES + TOPICS;
}
static inline bool is_dead(unsigned group) { return group >= ORIGINS; }
static inline unsigned subscription_group(unsigned topic, unsigned subscription) {
    return QUEUES + (topic - QUEUES) * SUBSCRIPTIONS + subscription;
}
static inline unsigned stream_of(unsigned group) {
    if (is_dead(group)) {
        return QUEUES + TOPICS + group - ORIGINS;
    }
    return group < QUEUES ? group : QUEUES + (group - QUEUES) / SUBSCRIPTIONS;
}
/* The group of a queue. */
static inline unsigned group_of(unsigned stream) {
    MOMI_ASSERT(!is_topic(stream));
    MOMI_ASSERT(stream < STREAMS);
    return stream < QUEUES ? stream : ORIGINS + stream - QUEUES - TOPICS;
}

/* Queues and topics have the same names. */
static inline const char *stream_name(unsigned stream) {
    static const char *const names[STREAMS] = {"one",
                                               "two",
                                               "one",
                                               "two",
                                               "$dead/queue/one",
                                               "$dead/queue/two",
                                               "$dead/topic/one/s",
                                               "$dead/topic/one/{t}",
                                               "$dead/topic/two/s",
                                               "$dead/topic/two/{t}"};
    return names[stream];
}
static inline const char *subscription_name(unsigned group) {
    return group < QUEUES || is_dead(group)        ? ""
           : (group - QUEUES) % SUBSCRIPTIONS == 0 ? "s"
                                                   : "{t}";
}

static inline struct row *rows_add(struct rows *rows, struct row row) {
    MOMI_ASSERT(rows->count < ROWS_MAX);
    rows->row[rows->count] = row;
    return &rows->row[rows->count++];
}

static inline struct row *rows_find(struct rows *rows, uint64_t sequence) {
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->row[i].sequence == sequence) {
            return &rows->row[i];
        }
    }
    return NULL;
}

struct counts {
    uint64_t certain, maybe, held;
};
static inline struct counts group_count(const struct group *group) {
    struct counts counts = {0};
    for (size_t i = 0; i < group->rows.count; i++) {
        const struct row *row = &group->rows.row[i];
        counts.certain += !row->is_gone && !row->maybe;
        counts.maybe += !row->is_gone && row->maybe;
        counts.held += !row->is_gone && row->is_held;
    }
    return counts;
}

/* The options as one of few sets, as bits of a byte of the input. */
enum { SET_LIMIT = 2, SET_DELIVERIES = 4, SET_NO_DEAD = 8, SET_RETENTION = 16 };

static inline void model_make(struct model *model, unsigned at, unsigned set) {
    struct stream *stream = &model->streams[at];
    memset(stream, 0, sizeof *stream);
    stream->exists = true;
    stream->next = 1;
    stream->messages_max = set & SET_LIMIT ? 3 : 0;
    stream->deliveries_max = set & SET_DELIVERIES ? 2 : 20;
    stream->no_dead_letter = (set & SET_NO_DEAD) != 0;
    stream->retention_count = set & SET_RETENTION ? 4 : 0;
    if (!is_topic(at)) {
        memset(&model->groups[group_of(at)], 0, sizeof *model->groups);
        model->groups[group_of(at)].exists = true;
    }
}

static inline bool model_is_same(const struct stream *stream, unsigned set) {
    return (stream->messages_max != 0) == ((set & SET_LIMIT) != 0) &&
           (stream->deliveries_max == 2) == ((set & SET_DELIVERIES) != 0) &&
           stream->no_dead_letter == ((set & SET_NO_DEAD) != 0) &&
           (stream->retention_count != 0) == ((set & SET_RETENTION) != 0);
}

static inline bool group_takes(const struct group *group, unsigned key) {
    return group->exists && !group->ignore_own && filter_takes[group->filter][key];
}

/* Calls visit for each group of a stream. */
#define FOR_EACH_GROUP(model, stream, group)                                             \
    for (unsigned group##_at = 0; group##_at < GROUPS; group##_at++)                     \
        for (struct group *group = &(model)->groups[group##_at];                         \
             group != NULL && stream_of(group##_at) == (stream); group = NULL)

enum verdict { FITS, FULL, EITHER };

/* Would `count` messages with these keys be over a limit? */
static inline enum verdict model_fits(struct model *model, unsigned at,
                                      const uint8_t *keys, size_t count) {
    enum verdict verdict = FITS;
    uint64_t most = model->streams[at].messages_max;
    FOR_EACH_GROUP(model, at, group) {
        struct counts counts = group_count(group);
        uint64_t more = 0;
        for (size_t i = 0; i < count; i++) {
            more += group_takes(group, keys[i]);
        }
        if (most != 0 && more > 0 && counts.certain + more > most) {
            return FULL;
        }
        if (most != 0 && more > 0 && counts.certain + counts.maybe + more > most) {
            verdict = EITHER;
        }
    }
    return verdict;
}

static inline void model_publish(struct model *model, unsigned at, const uint8_t *keys,
                                 size_t count, uint32_t serial) {
    struct stream *stream = &model->streams[at];
    for (size_t i = 0; i < count; i++) {
        struct row row = {
            .sequence = stream->next++, .serial = serial + (uint32_t)i, .key = keys[i]};
        FOR_EACH_GROUP(model, at, group) {
            if (group_takes(group, keys[i])) {
                rows_add(&group->rows, row);
            }
        }
        if (is_topic(at)) {
            rows_add(&stream->history, row);
        }
    }
    if (stream->retention_count != 0 &&
        stream->history.count - stream->history_from > stream->retention_count) {
        stream->history_from = stream->history.count - stream->retention_count;
    }
}

static inline void model_bury(struct model *model, unsigned at, struct row *row) {
    struct group *group = &model->groups[at];
    row->is_gone = true;
    group->dead_lettered++;
    if (is_dead(at) || model->streams[stream_of(at)].no_dead_letter) {
        return;
    }
    unsigned dead = stream_of(at + ORIGINS);
    if (!model->streams[dead].exists) {
        model_make(model, dead, SET_NO_DEAD);
        model->streams[dead].deliveries_max = UINT32_MAX;
    }
    model_publish(model, dead, &row->key, 1, row->serial);
}

/* Would giving it back end its life here? */
static inline bool model_is_last(const struct model *model, unsigned at,
                                 const struct row *row) {
    return row->deliveries + 1 >= model->streams[stream_of(at)].deliveries_max;
}

static inline void model_give_back(struct model *model, unsigned at, struct row *row) {
    bool is_last = model_is_last(model, at, row);
    row->is_held = false;
    row->deliveries++;
    if (is_last) {
        model_bury(model, at, row);
    } else {
        row->is_late = model->groups[at].consumers > 0;
    }
}

static inline void model_purge(struct model *model, unsigned at) {
    struct group *group = &model->groups[group_of(at)];
    for (size_t i = 0; i < group->rows.count; i++) {
        struct row *row = &group->rows.row[i];
        row->is_gone = row->is_gone || (!row->is_held && group->consumers == 0);
        row->maybe = row->maybe || !row->is_held;
    }
}

/* from: 0 what is new, else the first sequence. */
static inline void model_subscribe(struct model *model, unsigned topic, unsigned at,
                                   const struct group *how, uint64_t from) {
    struct stream *stream = &model->streams[topic];
    struct group *group = &model->groups[at];
    memset(group, 0, sizeof *group);
    group->exists = true;
    group->filter = how->filter;
    group->ignore_own = how->ignore_own;
    group->temporary = how->temporary;
    for (size_t i = stream->history_from; from != 0 && i < stream->history.count; i++) {
        const struct row *row = &stream->history.row[i];
        if (row->sequence >= from && group_takes(group, row->key)) {
            rows_add(&group->rows, *row);
        }
    }
}

/* May this row be what a consumer gets next, which got `last` before? The rows that were
 * skipped and may be gone, are. `alone`: nobody else has consumed since it came. */
static inline void model_receive(struct group *group, struct row *row, bool alone,
                                 uint64_t *last) {
    MOMI_ASSERT(!row->is_gone);
    MOMI_ASSERT(!row->is_held);
    if (!row->is_late) {
        MOMI_ASSERT(row->sequence > *last);
        *last = row->sequence;
        for (struct row *before = group->rows.row; alone && before < row; before++) {
            bool is_waiting = !before->is_gone && !before->is_held && !before->is_late;
            MOMI_ASSERT(!is_waiting || before->maybe);
            before->is_gone = before->is_gone || is_waiting;
        }
    }
    row->is_held = true;
    row->maybe = false;
}

/* A consumer who is alone was told that there is nothing. */
static inline void model_empty(struct group *group) {
    for (size_t i = 0; i < group->rows.count; i++) {
        struct row *row = &group->rows.row[i];
        bool is_waiting = !row->is_gone && !row->is_held;
        MOMI_ASSERT(!is_waiting || row->maybe);
        row->is_gone = row->is_gone || is_waiting;
    }
}

#endif
