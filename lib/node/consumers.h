/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers, on the program's side: a buffer of deliveries for each, and what the program
 * has taken and settled, gathered for the loop.
 *
 * The loop thread puts in whole deliveries (one allocation each, the bodies stay in the
 * chunk that they came in); the program's threads take single messages out. Taking and
 * settling are noted under the consumer's own mutex and swept by the loop once a turn:
 * no event and no allocation for a message.
 *
 * Reference counted: the program's handle, the loop's table, and every delivery hold one,
 * so messages stay readable when consumer and node are closed.
 */
#ifndef MOMI_NODE_CONSUMERS_H
#define MOMI_NODE_CONSUMERS_H

#include <mom/mom.h>
#include <stdatomic.h>

#include "core/effect.h"
#include "node/mailbox.h"

enum {
    MOMI_CONSUMERS_OPEN_MAX = 65536, /* open at one node */
    MOMI_POLL_MS = 10000,   /* how long a receive that may not wait asks the leader */
    MOMI_ONLY_BUFFERED = 1, /* as a deadline: takes what is here */
};

enum momi_message_state { MESSAGE_HELD, MESSAGE_SETTLED };

struct momi_message_batch;

struct mom_message {
    struct momi_message_batch *batch;
    struct momi_slice whole; /* the encoded record */
    struct momi_slice key, headers, body;
    uint64_t sequence;
    uint64_t published_us;
    uint64_t publisher;
    struct momi_token token;
    uint32_t deliveries;
    enum momi_message_state state;
};

/* One delivery. */
struct momi_message_batch {
    atomic_uint refs; /* one while it is buffered, one for each message handed out */
    struct mom_consumer *consumer; /* a reference */
    struct momi_list link;         /* mom_consumer.batches */
    struct momi_buf *buf;          /* a reference; holds all bodies */
    struct momi_slice left;        /* records not taken yet */
    uint32_t epoch;
    uint32_t runs_count, run;       /* run: of the next message */
    uint32_t in_run;                /* of it, messages taken */
    uint32_t taken, count;          /* messages */
    struct momi_delivery_run *runs; /* behind this struct, like the messages */
    struct mom_message *messages;
};

/* A mom_receive_submit under way. */
struct momi_receive_wait {
    mom_completions *completions; /* with a reservation; NULL: none */
    void *user;
    uint64_t deadline_us;
};

struct mom_consumer {
    atomic_uint refs;
    mom_node *node;  /* a reference */
    uint64_t handle; /* names it in the core */
    enum momi_kind kind;
    char *stream, *subscription; /* owned */
    struct momi_post post;
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    /* Under the mutex. */
    struct momi_list batches;    /* struct momi_message_batch.link */
    uint64_t buffered;           /* messages in them */
    uint64_t taken;              /* highest delivery number handed out */
    uint64_t taken_count;        /* messages handed out in all */
    uint64_t limit;              /* at most so many; UINT64_MAX: any */
    struct momi_settle *settles; /* owned; gathered since the last sweep */
    size_t settles_count, settles_room;
    int ended;       /* a result class: nothing comes any more */
    bool is_closed;  /* by the program */
    bool is_polling; /* the core knows that we wait: call `poll_id` */
    uint64_t poll_id;
    uint32_t waiters; /* threads in mom_receive */
    uint32_t stops;   /* calls of mom_consumer_stop */
    struct momi_receive_wait wait;
    /* Loop thread. */
    struct momi_settle *swept; /* owned; changes places with `settles` */
    size_t swept_room;
    uint64_t taken_told;
    struct momi_list link;       /* mom_node.consumers_open */
    struct momi_list timed_link; /* mom_node.consumers_timed: `wait` has a deadline */
    struct momi_list
        touched_link; /* its waiters are to be woken at the end of the turn */
};

/* The program's side. */
struct momi_consumer_terms {
    uint32_t prefetch; /* 0: default */
    uint64_t lease_us; /* 0: the stream's */
    uint64_t limit;    /* 0: none */
};
int momi_consumer_open(mom_node *node, enum momi_kind kind, struct momi_slice stream,
                       struct momi_slice subscription,
                       const struct momi_consumer_terms *terms, uint64_t deadline_us,
                       mom_consumer **consumer);
int momi_consumer_close(mom_consumer *consumer, uint64_t deadline_us, bool may_wait);
void momi_consumer_ref(mom_consumer *consumer);
void momi_consumer_unref(mom_consumer *consumer);
/* Has the loop look at it; the post holds a reference until then. */
void momi_consumer_post(mom_consumer *consumer);
/* At least one, at most `max`. `deadline_us` 0: asks the leader instead of waiting;
 * MOMI_ONLY_BUFFERED: neither. When `stops` is given, it ends with MOM_CLOSED as soon as
 * mom_consumer.stops differs. */
int momi_consumer_receive(mom_consumer *consumer, mom_message **messages, size_t max,
                          size_t *count, uint64_t deadline_us, const uint32_t *stops);
int momi_consumer_receive_submit(mom_consumer *consumer, uint64_t deadline_us,
                                 mom_completions *completions, void *user);
uint32_t momi_consumer_stops(mom_consumer *consumer);
void momi_consumer_stop(mom_consumer *consumer);

/* MOM_OK, MOM_CONFLICT (settled already), MOM_CLOSED, what ended the consumer,
 * MOM_NO_MEMORY. */
int momi_message_settle(mom_message *message, enum momi_settle_action action);
void momi_message_release(mom_message *message);

void momi_message_batch_unref(struct momi_message_batch *batch);
/* With the mutex held: moves the whole buffer to `dropped`. */
void momi_consumer_take_all_locked(mom_consumer *consumer, struct momi_list *dropped);
void momi_message_batches_drop(struct momi_list *batches);

/* Loop thread. */
void momi_consumers_opened(mom_node *node, mom_consumer *consumer);
void momi_consumers_closed(mom_node *node, uint64_t handle);
void momi_consumers_delivered(mom_node *node, const struct momi_effect *effect);
void momi_consumers_ended(mom_node *node, uint64_t handle, int error);
/* Steps what was taken and settled; ends the reference of the post. */
void momi_consumers_sweep(mom_node *node, mom_consumer *consumer);
void momi_consumer_poll_done(mom_consumer *consumer, int error); /* and its reference */
/* Deadlines of mom_receive_submit: the earliest; and those that have come. */
uint64_t momi_consumers_deadline(const mom_node *node);
void momi_consumers_time(mom_node *node, uint64_t now_us);
/* They end, and wait to be closed by the program. */
void momi_consumers_fail(mom_node *node, int error);
/* The node is closed. */
void momi_consumers_end_all(mom_node *node, int error);
mom_consumer *momi_consumers_find(const mom_node *node, uint64_t handle);

#endif
