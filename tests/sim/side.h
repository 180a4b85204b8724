/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the side queue share: side.c begins it, asks from everywhere and
 * hears of outcomes, side_driver.c makes its calls against the model, side_readers.c
 * consumes, side_calls.c has their calls and what the history is told of them.
 */
#ifndef MOM_SIM_SIDE_H
#define MOM_SIM_SIDE_H

#include "programs.h"

enum {
    READERS = 3, /* the last one reads the dead letters */
    SIDE_HELD_MAX = 256,
    SIDE_CALLS_MAX = 256,
    OBSERVERS_MAX = 8, /* describes under way */
};

enum side_task { SIDE_DRIVER, SIDE_READER, SIDE_OBSERVER };
enum side_what {
    DO_CREATE,
    DO_DELETE,
    DO_PUBLISH,
    DO_PURGE,
    DO_DESCRIBE,
    OBSERVE,
    OPEN,
    FLUSH,
    CLOSE
};
enum reader_state { READER_CLOSED, READER_OPENING, READER_OPEN };

struct side_message {
    uint32_t queue, generation;
};

struct side_held {
    struct momi_token token;
    uint64_t delivery, sequence;
    uint32_t message;
    uint32_t deliveries; /* this one included */
};

struct side_reader {
    uint32_t node;
    uint32_t queue, generation; /* generation 0: not certain which */
    uint64_t handle;
    enum reader_state state;
    bool must_end;    /* its queue was deleted */
    uint64_t told_us; /* it must have heard of that by then; 0: whenever it asks */
    struct side_held held[SIDE_HELD_MAX];
    uint32_t held_count;
};

struct side_call {
    uint64_t id; /* 0: free */
    enum side_what what;
    uint32_t node;
    uint32_t who; /* reader */
    uint32_t queue, generation;
    uint64_t at_least; /* OBSERVE: the next sequence must not be lower */
    uint64_t op;       /* in the history, of the first of `count` */
    uint32_t count;    /* messages of a publish, or settled ones of a flush */
    uint8_t *kinds;    /* FLUSH: how each was settled, enum check_kind; owned */
};

struct sim_side {
    bool is_on, is_calm;
    bool ends_deleted;  /* the last act of the driver is to delete the queue */
    uint64_t delete_us; /* when it does: all is quiet by then */
    uint64_t id_next;
    uint32_t queue; /* the number in its name */
    uint32_t generation;
    bool exists;
    uint64_t sequence_next; /* what its next message gets */
    struct momi_stream_options options;
    struct side_call *driver; /* its call, NULL: none */
    struct side_message *messages;
    uint32_t messages_count, messages_room;
    struct side_reader readers[READERS];
    struct side_call calls[SIDE_CALLS_MAX];
    uint64_t pace_us; /* of the observers */
};

struct side_name {
    char text[32];
    size_t size;
};

/* --- side_calls.c ----------------------------------------------------------------- */

extern const char *const sim_side_whats[];     /* by enum side_what */
extern const enum check_kind sim_side_kinds[]; /* by enum side_what, but FLUSH */
uint64_t sim_side_draw(struct sim_world *world, uint64_t low, uint64_t high);
bool sim_side_chance(struct sim_world *world, uint32_t percent);
uint32_t sim_side_draw_node(struct sim_world *world);
void sim_side_later(struct sim_world *world, uint64_t delay_us, enum side_task what,
                    uint32_t who);
/* Of a queue, or of its dead letters. */
struct side_name sim_side_name(uint32_t queue, bool is_dead);
void sim_side_draw_options(struct sim_world *world);
/* NULL: too many are open. */
struct side_call *sim_side_call_new(struct sim_world *world, enum side_what what,
                                    uint32_t node);
void sim_side_make(struct sim_world *world, const struct side_call *call,
                   struct momi_call *request);
/* Its number in the history. */
uint32_t sim_side_stream(struct sim_world *world, uint32_t queue, bool is_dead);
/* What a call of one record asks for. */
void sim_side_tell_call(struct sim_world *world, struct side_call *call,
                        struct check_record record);

/* --- side_driver.c ---------------------------------------------------------------- */

void sim_side_drive(struct sim_world *world);
void sim_side_driven(struct sim_world *world, const struct side_call *call,
                     const struct momi_completion *done);
/* The driver has something left to do. */
bool sim_side_goes_on(const struct sim_side *side);
/* The next sequence that a describe tells. */
uint64_t sim_side_told(const struct momi_completion *done);

/* --- side_readers.c --------------------------------------------------------------- */

void sim_side_read(struct sim_world *world, uint32_t who);

#endif
