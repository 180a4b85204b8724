/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs of a run share. publisher.c and consumer.c act, calls.c remembers
 * what they asked for, programs.c sets them up and hears of outcomes, history.c writes
 * down what all of them, and the side queue, see, for the judge (tests/check).
 */
#ifndef MOM_SIM_PROGRAMS_H
#define MOM_SIM_PROGRAMS_H

#include "check/judge.h"
#include "core/call.h"
#include "world.h"

enum {
    STREAMS_MAX = 4,
    GROUPS_MAX = 8,
    PUBLISHERS_MAX = 4,
    CONSUMERS_MAX = 16,
    CALLS_MAX = 4096,
    HELD_MAX = 2048,
    BODY_BYTES = 12,           /* at least: who wrote it, which it is, and both again */
    SIM_SIDE_PUBLISHER = 1000, /* in histories */
};

struct publisher {
    uint32_t node;
    uint32_t count; /* messages, numbered from 0 */
    uint32_t open;  /* calls not completed */
};

struct stream {
    enum momi_kind kind;
    char name[8];
    uint32_t name_number; /* in the history */
    bool is_created;
    uint32_t first_group, groups_count;
};

struct group {
    uint32_t stream;
    char subscription[8]; /* empty for a queue */
    const char *filter;   /* NULL: everything */
    uint32_t subscription_number, filter_number;
    bool is_created;
    uint64_t late_us; /* created then, from the topic's first message on; 0: at once */
};

/* A message in a consumer's hands, or in its library's buffer. */
struct held {
    struct momi_token token;
    uint64_t delivery, sequence;
    uint32_t publisher, counter;
    uint32_t deliveries; /* this one included */
};

enum consumer_state { CONSUMER_CLOSED, CONSUMER_OPENING, CONSUMER_OPEN };
struct consumer {
    uint32_t node;
    uint32_t group;
    uint64_t handle; /* new for each opening */
    enum consumer_state state;
    struct held held[HELD_MAX];
    uint32_t held_count;
};

enum call_kind {
    WANT_CREATE,
    WANT_SUBSCRIBE,
    WANT_PUBLISH,
    WANT_OPEN,
    WANT_FLUSH,
    WANT_CLOSE
};
struct call {
    uint64_t id; /* 0: free */
    uint32_t node;
    enum call_kind kind;
    uint32_t who;     /* stream, group, publisher or consumer */
    uint32_t counter; /* publish: first message */
    uint32_t count;
    uint64_t op;    /* in the history, of the first of `count` */
    uint8_t *kinds; /* flush: how each was settled, enum check_kind; owned */
};

struct sim_programs {
    struct sim_history *history;
    struct stream streams[STREAMS_MAX];
    uint32_t streams_count;
    struct group groups[GROUPS_MAX];
    uint32_t groups_count;
    struct publisher publishers[PUBLISHERS_MAX];
    uint32_t publishers_count;
    struct consumer consumers[CONSUMERS_MAX];
    uint32_t consumers_count;
    struct call calls[CALLS_MAX];
    uint64_t id_next;
    bool is_calm;
    uint64_t quiet_since_us;
};

/* programs.c */
enum program_kind { PROGRAM_SET_UP, PROGRAM_PUBLISHER, PROGRAM_CONSUMER };
uint32_t sim_programs_draw_node(struct sim_world *world);
void sim_programs_later(struct sim_world *world, uint64_t delay_us,
                        enum program_kind kind, uint32_t who);
/* The stream and its groups are there, or will be with everything from the beginning. */
bool sim_programs_is_ready(const struct sim_programs *programs, uint32_t stream);

/* calls.c */
struct call *sim_call_new(struct sim_world *world, uint32_t node, enum call_kind kind,
                          uint32_t who); /* NULL: too many */
void sim_call_make(struct sim_world *world, const struct call *call,
                   struct momi_call *request);
bool sim_call_may_act(const struct sim_world *world, uint32_t node);
uint64_t sim_call_now(const struct sim_world *world, uint32_t node);
/* A body that says who wrote it and which it is, and what it says; false: nobody wrote
 * that. */
void sim_body_write(uint8_t *body, uint32_t publisher, uint32_t message);
bool sim_body_read(struct momi_slice body, uint32_t *publisher, uint32_t *message);

/* publisher.c */
void sim_publisher_acts(struct sim_world *world, uint32_t who);
void sim_publisher_completed(struct sim_world *world, const struct call *call,
                             const struct momi_completion *done);

/* consumer.c */
void sim_consumer_acts(struct sim_world *world, uint32_t who);
void sim_consumer_completed(struct sim_world *world, const struct call *call,
                            const struct momi_completion *done);

/* side.c: its queues were drained. */
void sim_side_judge(struct sim_world *world);

/* --- history.c -------------------------------------------------------------------- */

struct sim_history *sim_history_new(struct sim_world *world);
void sim_history_free(struct sim_history *history);
uint32_t sim_history_name(struct sim_world *world, const char *name);
/* The same of a name or key that has no zero at its end. */
uint32_t sim_history_slice(struct sim_world *world, struct momi_slice key);
/* The process that a node is in its present life. */
uint32_t sim_history_process(const struct sim_world *world, uint32_t node);
/* Numbers for this many calls; returns the first. */
uint64_t sim_history_ops(struct sim_world *world, uint32_t count);
/* Writes down what node `node` did or saw now; a violation fails the run. */
void sim_history_add(struct sim_world *world, uint32_t node, enum check_kind kind,
                     enum check_phase phase, struct check_record record);
void sim_history_done(struct sim_world *world, uint32_t node, enum check_kind kind,
                      uint64_t op, int result, uint64_t sequence);
/* How an acknowledgement ended whose flush ended so. */
int sim_history_flushed(int error);
uint64_t sim_history_missing(const struct sim_world *world);
void sim_history_finish(struct sim_world *world);

#endif
