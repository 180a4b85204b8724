/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client half of the core, from inside: calls of this program become commands in
 * sessions, questions to leaders, and consumers.
 *
 *   client.c           life, events, calls, timers, the end of a turn
 *   client_session.c   one shard: its leader, the session there, numbers, results (S1 to
 * S3) client_publish.c   publish calls into few commands, the window (S5)
 *   client_command.c   the other commands of streams and subscriptions
 *   client_consumer.c  consumers: life, credit, hand-out, settlements (M4)
 *   client_deliver.c   what comes in for consumers: deliveries, endings (M5)
 *   client_query.c     questions without a command: describe, list, empty, ready (M7,
 * M10)
 *
 * A call is either one element of its shard's ring of publishes (no memory of its own),
 * or a struct momi_client_call, which is in exactly one list and owns copies of what the
 * program gave. Each call is completed exactly once.
 *
 * What is sent is derived from state when a turn ends: a number is given to a command in
 * the moment in which it is handed to a lane, never before. So "has a number" and "may
 * have been done" are the same thing, and TIMEOUT and UNKNOWN_OUTCOME never mix.
 */
#ifndef MOMI_CORE_CLIENT_INTERNAL_H
#define MOMI_CORE_CLIENT_INTERNAL_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/ring.h"
#include "core/commands.h"
#include "core/core_internal.h"
#include "core/entry.h"

enum {
    /* Commands of one kind that wait for their results before more is gathered instead.
     */
    CLIENT_PUBLISHES_UNANSWERED_MAX = 4,
    CLIENT_CONSUMES_UNANSWERED_MAX = 4,
    CLIENT_COMMAND_COST = 512,   /* counted in the window beside a command's records */
    CLIENT_COMMANDS_MAX = 65536, /* of one session, sent or not */
    CLIENT_CALLS_MAX = 65536,    /* calls with memory of their own */
    CLIENT_PREFETCH_DEFAULT = 256,
    CLIENT_SETTLES_MAX = 8192, /* ranges in one CMD_CONSUME */
    CLIENT_LIST_PAGE = 1000,   /* names in one answer of CALL_LIST */
    CLIENT_BUF_CLASSES = 5,
    CLIENT_BUFS_KEPT_MAX = 64, /* of each class */
};

/* Waiting for a leader, or after a refusal: drawn between these two, later ten times as
 * long. */
#define CLIENT_RETRY_MIN_US  (20 * MOMI_MS)
#define CLIENT_RETRY_MAX_US  (100 * MOMI_MS)
#define CLIENT_RETRIES_SHORT 20u
/* Without an answer of a new leader, and without one of a leader that did answer. */
#define CLIENT_ANSWER_FIRST_US (300 * MOMI_MS)
#define CLIENT_ANSWER_US       MOMI_S
#define CLIENT_PING_US         MOMI_S
#define CLIENT_GAVE_UP_US      MOMI_S        /* M4: unused credit is taken back */
#define CLIENT_IDLE_US         (10 * MOMI_S) /* then an unused session shows that it lives */
#define CLIENT_ATTACH_AGAIN_US (500 * MOMI_MS)

struct momi_client_consumer;
struct momi_client_call;

/* A deadline of anything; the owner is found by the kind. */
enum momi_client_timer_kind {
    CLIENT_TIMER_CALL,
    CLIENT_TIMER_SHARD,
    CLIENT_TIMER_CONSUMER,
    CLIENT_TIMER_PING,
};
struct momi_client_timer {
    struct momi_heap_node node;
    enum momi_client_timer_kind kind;
};

/* One publish call inside its command. Removed or completed ones stay as zeros until
 * their command goes. */
struct momi_client_publish {
    uint64_t id; /* 0: completed already */
    uint64_t deadline_us;
    uint32_t count;
    uint32_t bytes;
};

/* A command on its way, in the order of its session. */
struct momi_client_command {
    struct momi_buf *buf;    /* owned; header and body; not written after it was sent */
    uint64_t calls_due_us;   /* publish: no call of it is due before */
    uint64_t id_min, id_max; /* publish: of its calls */
    uint64_t charge_bytes;   /* what it takes of the window */
    uint64_t consumer;       /* ATTACH, DETACH, CONSUME: the wire number */
    uint64_t credit;         /* ATTACH, CONSUME: what it grants */
    uint64_t settled;        /* CONSUME: messages in its settlements */
    uint64_t expected;       /* CONSUME: of these, how many must have been leased still */
    uint64_t value;          /* of the result */
    struct momi_client_call *call; /* not for publishes; NULL: nobody waits for it */
    uint32_t calls_count;          /* publish: elements of the ring of publishes */
    uint32_t messages_count;       /* publish */
    uint32_t head_bytes;           /* publish: where the records begin */
    uint32_t name_bytes;           /* publish */
    uint32_t synced_copies;        /* of the result */
    int error;                     /* of the result */
    uint8_t type;                  /* enum momi_command_type */
    uint8_t kind;                  /* publish */
    uint8_t flags;                 /* publish */
    bool is_open;     /* publish: still takes more; only ever the last command */
    bool is_answered; /* results are taken in order; this one came early */
    bool is_given_up; /* all its calls were (S2: it is sent all the same) */
};

/* A question to a shard's leader; asked again until it is answered. */
struct momi_client_request {
    uint64_t id; /* 0: none under way */
    struct momi_map_node by_id;
    struct momi_list link; /* momi_client_shard.requests */
    struct momi_client_shard *shard;
    struct momi_client_call *call; /* either of these two asks */
    struct momi_client_consumer *consumer;
    bool is_sent; /* to the leader in use */
    uint64_t sent_us;
};

enum momi_client_session_state { SESSION_NONE, SESSION_OPENING, SESSION_OPEN };

/* This node's dealings with one shard. Made on first use, lives as long as the client. */
struct momi_client_shard {
    uint32_t shard;
    /* The way to its leader. */
    uint64_t node;        /* leader in use, its lane is up; 0: to be found */
    uint64_t last_node;   /* used before: asked when nobody else is known */
    uint64_t synced_node; /* consumers have told their last delivery to this one */
    uint64_t hold_us;     /* no new attempt before */
    uint64_t retry_us;    /* when to look again; MOMI_NEVER: nothing is awaited */
    uint64_t
        dialed_us; /* since when a lane to the known leader is awaited; 0: it is not */
    uint64_t heard_us;  /* last answer concerning this shard */
    uint32_t finds;     /* attempts to find a leader since one was in use */
    uint32_t redirects; /* NOT_LEADER since the last answer */
    uint32_t timeouts;  /* since the last answer */
    bool has_answered;  /* the leader in use has, since it is in use */
    uint64_t term;      /* highest seen in a delivery */
    /* The session (S1). */
    enum momi_client_session_state state;
    struct momi_session_id session;
    uint64_t opening;
    uint64_t opening_request;
    bool opening_is_sent; /* to the leader in use; while open: as a sign of life */
    /* Commands. Numbered ones first: element i < numbered has number number_first + i. */
    struct momi_ring commands;  /* struct momi_client_command */
    struct momi_ring publishes; /* struct momi_client_publish, in the order of commands */
    uint64_t number_first;
    size_t numbered;
    size_t sent; /* commands before this one were sent to the leader in use */
    uint32_t publishes_unanswered;
    uint64_t calls_due_us;    /* no publish call is due before */
    uint64_t inflight_bytes;  /* of the window */
    struct momi_list waiting; /* calls for room in the window, and calls behind those */
    struct momi_list waiting_link;    /* momi_client.waiting_shards */
    struct momi_list consumers;       /* struct momi_client_consumer.shard_link */
    struct momi_list consumers_dirty; /* struct momi_client_consumer.dirty_link */
    struct momi_list requests;
    struct momi_list
        dirty_link; /* momi_client.dirty: has something to do at the turn's end */
    struct momi_client_timer timer;
};

enum momi_client_call_state {
    CALL_STATE_UNROUTED, /* the map is not known; momi_client.unrouted */
    CALL_STATE_WAITING,  /* momi_client_shard.waiting */
    CALL_STATE_COMMAND,  /* a command of its shard points to it */
    CALL_STATE_OPENING,  /* momi_client_consumer.open_call */
    CALL_STATE_CLOSING,  /* momi_client_consumer.close_call */
    CALL_STATE_POLLING,  /* momi_client_consumer.polls */
    CALL_STATE_FLUSHING, /* momi_client_consumer.flushes */
    CALL_STATE_ASKING,   /* `requests` */
    CALL_STATE_READY,    /* momi_client.ready_waits */
};

struct momi_client_call {
    struct momi_call call; /* slices lie behind this struct, in the same block */
    size_t block_bytes;
    enum momi_client_call_state state;
    struct momi_client_shard *shard;
    struct momi_client_consumer *consumer;
    struct momi_map_node by_id;
    struct momi_list link;
    struct momi_client_timer timer;
    uint64_t poll_request; /* POLLING: an answer to this request or a later one counts;
                            * UINT64_MAX: it was empty, and waits */
    uint64_t flush_from;   /* FLUSHING: of settles_added, what it covers: from here */
    uint64_t flush_at;     /* to here */
    int flush_error;       /* what is known of the settlements in between */
    struct momi_client_request *requests; /* ASKING: owned; one for each shard asked */
    struct momi_buf **pages; /* ASKING: owned; answers, one for each request */
    bool *pages_last;        /* ASKING: owned; nothing comes after that page */
    uint32_t requests_count;
    uint32_t answers_count;
};

enum momi_client_consumer_state {
    CONSUMER_NEW,       /* to be attached */
    CONSUMER_ATTACHING, /* the command is on its way */
    CONSUMER_ATTACHED,
    CONSUMER_DETACHING,
    CONSUMER_ENDED, /* by itself, with `error`; waits for the program to close it */
};

/* Messages delivered and not handed out: what must be given back if nobody takes them. */
struct momi_client_buffered {
    uint64_t delivery; /* wire number of the first */
    uint64_t counter;
    uint32_t count;
    uint32_t epoch;
};

/* A consumer of the program. Delivery numbers of the wire begin at 1 with each
 * attachment; towards the program `base` is added, so that they only grow. */
struct momi_client_consumer {
    uint64_t handle; /* the program's */
    uint64_t id;     /* the wire's; new with each attachment */
    enum momi_client_consumer_state state;
    int error;
    struct momi_client_shard *shard;
    enum momi_kind kind;
    struct momi_slice name;         /* owned */
    struct momi_slice subscription; /* owned */
    uint64_t lease_us;              /* as the program said; 0: the stream's */
    uint64_t prefetch;
    uint64_t limit;     /* messages that the program takes in all; 0: no limit */
    uint64_t taken;     /* so many it has */
    uint64_t group;     /* that it was attached to; 0: not yet */
    uint64_t attach_us; /* not before */
    bool was_attached;
    bool is_closing; /* the program is done with it; its handle is forgotten */
    /* Numbers of the wire, except base. */
    uint64_t base;
    uint64_t delivered; /* last one received */
    uint64_t handed;    /* last one taken by the program */
    uint64_t voided;    /* up to here buffered messages were given back */
    uint64_t handed_told;
    uint64_t credit_told;
    uint64_t credit_acked;     /* of an answered command */
    uint64_t credit_max;       /* ever told: nothing beyond can be delivered */
    struct momi_ring buffered; /* struct momi_client_buffered, above `handed` */
    uint64_t buffered_us;      /* when the buffer became non-empty */
    uint64_t untold_us;        /* first hand-out not told; 0: all are told */
    uint64_t receive_us;       /* last sign that the program receives */
    uint64_t gave_up_us;       /* it waited and went away; 0: it did not */
    bool is_paused;            /* M4: no credit until it comes back */
    /* Settlements. */
    struct momi_settle *settles; /* owned, reused */
    size_t settles_count, settles_room;
    uint64_t settles_added; /* messages since it was made, in the order of being told */
    uint64_t settles_done;  /* of these, answered, or lost with an attachment */
    uint64_t flushed_to;    /* settles_added when it was flushed last */
    int flush_error;        /* what is known of the settlements since then */
    uint32_t consumes_unanswered;
    uint32_t settles_unanswered; /* commands among them with settlements */
    /* Calls. */
    struct momi_client_call *open_call, *close_call;
    struct momi_list polls, flushes;
    bool wants_sync; /* tell the leader the last delivery (M5) */
    struct momi_client_request request;
    bool request_is_poll; /* its answer is one to the polls of then */
    uint64_t promised;    /* the leader has assigned messages up to here */
    struct momi_map_node by_handle, by_wire;
    struct momi_list shard_link;
    struct momi_list link;       /* momi_client.consumers */
    struct momi_list dirty_link; /* momi_client_shard.consumers_dirty */
    struct momi_client_timer timer;
};

/* The shard of the stream named last: most programs publish to the same one again. */
struct momi_client_recent {
    uint8_t name[MOMI_SYSTEM_NAME_BYTES_MAX];
    size_t name_bytes;
    uint32_t shard;
};

struct momi_client {
    struct momi_core *core;
    struct momi_client_shard *shards[MOMI_SHARDS_MAX + 1]; /* owned; NULL: not used yet */
    struct momi_list dirty;
    struct momi_list consumers;
    struct momi_list unrouted;
    struct momi_list ready_waits;
    struct momi_list waiting_shards;
    struct momi_map calls;
    struct momi_map consumers_by_handle;
    struct momi_map consumers_by_wire;
    struct momi_map requests;
    struct momi_heap timers;
    size_t timers_count; /* that exist: room in the heap is kept for all of them */
    struct momi_client_timer ping;
    uint64_t inflight_bytes;           /* S5: in all windows */
    uint64_t waiting_bytes;            /* records of calls that wait */
    struct momi_client_shard *starved; /* its first call needs the window empty */
    uint64_t calls_count;
    uint64_t consumer_next;
    uint64_t request_next;
    uint64_t tie_next;
    struct momi_bytes scratch;
    struct momi_buf *bufs[CLIENT_BUF_CLASSES][CLIENT_BUFS_KEPT_MAX]; /* free, owned */
    uint32_t bufs_count[CLIENT_BUF_CLASSES];
    struct momi_client_recent recent;
    bool has_room; /* the window has got room since waiting calls were looked at */
    bool is_closed;
};

static inline uint64_t momi_client_later(uint64_t at_us, uint64_t after_us) {
    return at_us > MOMI_NEVER - after_us ? MOMI_NEVER : at_us + after_us;
}

/* client.c: completing. `text` may be empty. */
void momi_client_complete(struct momi_core *core, uint64_t id,
                          const struct momi_completion *completion);
void momi_client_finish(struct momi_core *core, struct momi_client_call *call, int error,
                        uint64_t value, struct momi_slice text); /* completes and frees */
void momi_client_finish_with(struct momi_core *core, struct momi_client_call *call,
                             const struct momi_completion *completion);
/* Everything a call needs in order to wait; NULL: out of memory or too many. */
struct momi_client_call *momi_client_call_new(struct momi_core *core,
                                              const struct momi_call *call);
/* Frees it without completing: somebody else does. */
void momi_client_call_drop(struct momi_client *client, struct momi_client_call *call);
/* The deadline has passed, or the program gave up. */
void momi_client_call_expire(struct momi_core *core, struct momi_client_call *call);
/* Timers; `at_us` MOMI_NEVER takes it out. */
bool momi_client_timer_init(struct momi_client *client, struct momi_client_timer *timer,
                            enum momi_client_timer_kind kind); /* false: out of memory */
void momi_client_timer_set(struct momi_client *client, struct momi_client_timer *timer,
                           uint64_t at_us);
void momi_client_timer_drop(struct momi_client *client, struct momi_client_timer *timer);
/* Text in the turn arena: "PREFIX" and the numbers of shards behind it. */
struct momi_slice momi_client_shards_text(struct momi_core *core, const char *prefix,
                                          const uint32_t *shards, size_t count);

/* client_session.c */
struct momi_client_shard *momi_client_shard(struct momi_core *core,
                                            uint32_t shard); /* NULL: out of memory */
void momi_client_shard_free(struct momi_client *client, struct momi_client_shard *shard);
void momi_client_shard_touch(struct momi_client *client, struct momi_client_shard *shard);
void momi_client_shard_pump(struct momi_core *core, struct momi_client_shard *shard);
void momi_client_shard_time(struct momi_core *core, struct momi_client_shard *shard);
void momi_client_shard_arm(struct momi_core *core, struct momi_client_shard *shard);
void momi_client_shard_unroute(struct momi_core *core, struct momi_client_shard *shard,
                               uint64_t hold_us);
void momi_client_shard_heard(struct momi_core *core, struct momi_client_shard *shard,
                             uint64_t node);
uint64_t momi_client_retry_us(struct momi_core *core, uint32_t attempt);
/* A command of the bytes in client->scratch, behind all others, but before an open
 * publish. NULL: out of memory, or too many. */
struct momi_client_command *momi_client_command_push(struct momi_core *core,
                                                     struct momi_client_shard *shard,
                                                     uint8_t type);
bool momi_client_shard_takes_commands(const struct momi_client_shard *shard);
void momi_client_session_opened(struct momi_core *core, uint64_t node,
                                const struct momi_frame *frame);
/* S1: unknown to the leader. */
void momi_client_session_lost(struct momi_core *core, struct momi_client_shard *shard);
void momi_client_results(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame);
void momi_client_not_leader(struct momi_core *core, uint64_t node,
                            const struct momi_frame *frame);
void momi_client_ping(struct momi_core *core, uint32_t flags);
/* Takes a command without number out of the line; its call is the caller's. */
void momi_client_command_remove(struct momi_core *core, struct momi_client_shard *shard,
                                size_t index);

/* client_publish.c */
struct momi_buf *momi_client_buf_get(struct momi_client *client, size_t size);
void momi_client_buf_put(struct momi_client *client, struct momi_buf *buf);
bool momi_client_window_admits(const struct momi_client *client,
                               const struct momi_client_shard *shard, uint64_t bytes);
/* Takes a publish into a command; MOM_OK, or MOM_NO_MEMORY, MOM_FULL. */
int momi_client_publish_append(struct momi_core *core, struct momi_client_shard *shard,
                               const struct momi_call *call);
void momi_client_publish_close(struct momi_client_shard *shard);
/* Removes from commands without number what is due: TIMEOUT; gives up the rest that is.
 */
void momi_client_publish_expire(struct momi_core *core, struct momi_client_shard *shard);
/* The first command of its session is answered: so are its calls, which leave the ring.
 */
void momi_client_publish_result(struct momi_core *core, struct momi_client_shard *shard,
                                const struct momi_client_command *command);
bool momi_client_publish_cancel(struct momi_core *core, uint64_t id);
void momi_client_window_release(struct momi_client *client,
                                struct momi_client_shard *shard,
                                struct momi_client_command *command);
void momi_client_admit_waiting(struct momi_core *core);
void momi_client_wait(struct momi_core *core, struct momi_client_shard *shard,
                      struct momi_client_call *call);
void momi_client_unwait(struct momi_client *client, struct momi_client_call *call);
/* MOM_OK, or why the call cannot be carried out whatever happens; error text is set. */
int momi_client_publish_check(const struct momi_core *core, const struct momi_call *call);
uint32_t momi_client_shard_of_name(struct momi_core *core, struct momi_slice name);

/* client_command.c */
int momi_client_command_check(const struct momi_call *call);
/* The call becomes a command of its shard. */
void momi_client_command_start(struct momi_core *core, struct momi_client_shard *shard,
                               struct momi_client_call *call);

/* client_consumer.c */
int momi_client_consumer_check(const struct momi_call *call);
void momi_client_consumer_call(struct momi_core *core, struct momi_client_call *call);
struct momi_client_consumer *momi_client_consumer_find(const struct momi_client *client,
                                                       uint64_t handle);
struct momi_client_consumer *
momi_client_consumer_find_wire(const struct momi_client *client, uint64_t id);
void momi_client_consumer_touch(struct momi_client *client,
                                struct momi_client_consumer *consumer);
void momi_client_consumer_free(struct momi_client *client,
                               struct momi_client_consumer *consumer);
void momi_client_consumer_pump(struct momi_core *core,
                               struct momi_client_consumer *consumer);
void momi_client_consumer_time(struct momi_core *core,
                               struct momi_client_consumer *consumer);
void momi_client_consumer_arm(struct momi_core *core,
                              struct momi_client_consumer *consumer);
void momi_client_consumer_taken(struct momi_core *core, uint64_t handle, uint64_t number,
                                uint64_t total);
void momi_client_consumer_settle(struct momi_core *core, uint64_t handle,
                                 const struct momi_settle *settles, size_t count);
/* Results of ATTACH, DETACH and CONSUME. */
void momi_client_consumer_result(struct momi_core *core,
                                 const struct momi_client_command *command);
/* The attachment is gone (session expired, detached by the leader): attach again. */
void momi_client_consumer_lost(struct momi_core *core,
                               struct momi_client_consumer *consumer);
/* It ended for good. */
void momi_client_consumer_end(struct momi_core *core,
                              struct momi_client_consumer *consumer, int error);
void momi_client_consumer_call_expired(struct momi_core *core,
                                       struct momi_client_call *call);
/* QUERY_EMPTY was answered. */
void momi_client_consumer_answered(struct momi_core *core,
                                   struct momi_client_consumer *consumer,
                                   uint64_t request, int error, uint64_t number);
/* Polls that wait for messages complete: some are there. */
void momi_client_consumer_arrived(struct momi_core *core,
                                  struct momi_client_consumer *consumer);
/* Settlements that the program made came to nothing, or nobody knows: remembered for the
 * flush that covers them. */
void momi_client_consumer_missed(struct momi_client_consumer *consumer, int error);
void momi_client_consumer_add_settle(struct momi_client_consumer *consumer,
                                     const struct momi_settle *settle);

/* client_deliver.c */
void momi_client_deliver(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame);
void momi_client_consumer_ended(struct momi_core *core, const struct momi_frame *frame);
/* FX_MESSAGES without runs: the program drops what it has up to this number. */
void momi_client_void_messages(struct momi_core *core,
                               struct momi_client_consumer *consumer, uint64_t number);
/* M4: everything buffered goes back to its place. */
void momi_client_return_buffered(struct momi_core *core,
                                 struct momi_client_consumer *consumer);

/* client_query.c */
int momi_client_ask_check(const struct momi_call *call);
void momi_client_ask(struct momi_core *core, struct momi_client_call *call);
void momi_client_status(struct momi_core *core, const struct momi_call *call);
void momi_client_wait_ready(struct momi_core *core, struct momi_client_call *call);
void momi_client_check_ready(struct momi_core *core);
void momi_client_request_start(struct momi_core *core,
                               struct momi_client_request *request,
                               struct momi_client_shard *shard);
void momi_client_request_stop(struct momi_client *client,
                              struct momi_client_request *request);
void momi_client_requests_send(struct momi_core *core, struct momi_client_shard *shard);
/* Asks again what was not answered for a while, though the leader answers others. */
void momi_client_requests_fail(struct momi_core *core, struct momi_client_shard *shard,
                               int error);
void momi_client_requests_again(struct momi_core *core, struct momi_client_shard *shard);
void momi_client_query_reply(struct momi_core *core, uint64_t node,
                             const struct momi_frame *frame);
void momi_client_ask_expired(struct momi_core *core, struct momi_client_call *call);
void momi_client_ask_free(struct momi_client *client, struct momi_client_call *call);

#endif
