/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the program on their way to the core, and their answers on the way back.
 *
 * A *slot* holds what is known of one call until it is completed; its id names it in the
 * core and is never used again. Slots are taken by the calling thread and filled in by
 * the loop thread, which then wakes the caller, or puts the answer into a completion
 * queue. Slots come from a pool and go back to it: no allocation in steady state.
 *
 * The bytes of publishes that are not completed are counted; over the limit a caller
 * waits or gets FULL, so that the core's own window is never asked for more than it
 * takes.
 */
#ifndef MOMI_NODE_CALLS_H
#define MOMI_NODE_CALLS_H

#include <mom/mom.h>

#include "core/call.h"
#include "node/completions.h"
#include "node/mailbox.h"

enum {
    MOMI_SLOTS_CHUNK = 1024,
    MOMI_SLOTS_CHUNKS_MAX = 32,
    MOMI_SLOTS_MAX = MOMI_SLOTS_CHUNK * MOMI_SLOTS_CHUNKS_MAX,
    MOMI_SLOT_COUNTED_BYTES = 256,       /* of every publish, beside its records */
    MOMI_LARGE_RECORDS_BYTES = 64 << 10, /* encoded outside the mailbox from here on */
};

/* Messages that are not encoded yet: the calling thread does it. */
struct momi_messages {
    const mom_slice *bodies;
    const char *const *keys; /* one for each, or NULL: `key` for all */
    struct momi_slice key;
    struct momi_slice headers; /* encoded (entry.h), for all */
    size_t count;
};
size_t momi_messages_bytes(const struct momi_messages *messages); /* as records */

enum momi_slot_target {
    SLOT_FREE,
    SLOT_THREAD,      /* a thread waits on `state` */
    SLOT_COMPLETIONS, /* `completions` gets it */
    SLOT_GROUP,       /* one of several calls of `group` */
    SLOT_POLL,        /* the consumer `consumer` waits for messages */
    SLOT_NOBODY,      /* the answer is of no interest */
};

struct mom_consumer;

/* Several calls with one completion. It goes when the last of them is completed, and the
 * submitter is through. Guarded by the mutex of its completions. */
struct momi_call_group {
    mom_completions *completions; /* with a reservation */
    uint32_t pending;             /* calls, and one for the submitter */
    mom_completion completion;
};
/* One of them is done, with `count` messages if `error` is MOM_OK. `touched`: the loop's
 * list; NULL: another thread, which signals at once. */
void momi_call_group_done(struct momi_call_group *group, int error, uint32_t count,
                          const struct momi_completion *completion,
                          struct momi_list *touched);

struct momi_slot {
    uint64_t id;
    uint32_t index;
    enum momi_slot_target target;
    _Atomic uint32_t state; /* of SLOT_THREAD: SLOT_PENDING, SLOT_ASLEEP, SLOT_DONE */
    uint32_t count;         /* messages */
    uint64_t bytes;         /* counted */
    void *user;
    mom_completions *completions;
    struct momi_call_group *group;
    struct mom_consumer *consumer; /* SLOT_POLL: a reference */
    struct momi_slot *next;        /* in a list of free ones */
    /* The answer, SLOT_THREAD only. */
    int error;
    uint32_t synced_copies;
    uint64_t sequence;
    struct momi_bytes body; /* the waiting thread takes it */
    char *text;             /* what to add to the error; owned, NULL: nothing */
};

struct momi_calls {
    struct momi_mailbox *mailbox;
    uint64_t bytes_max;
    /* Under the mailbox's mutex. */
    struct momi_slot *chunks[MOMI_SLOTS_CHUNKS_MAX]; /* owned */
    uint32_t chunks_count;
    struct momi_slot *free_slots;
    uint64_t id_next;
    uint64_t bytes;           /* of publishes under way */
    uint64_t pending;         /* slots in use */
    uint64_t submitted, full; /* since the start */
    /* Given back without the mutex; taken all at once with it. */
    _Atomic(struct momi_slot *) returned;
    /* Loop thread: completed in this turn. */
    uint64_t bytes_done;
};

/* Where the answer goes. A zeroed one: nowhere, only valid for SLOT_THREAD. */
struct momi_call_target {
    enum momi_slot_target target;
    mom_completions *completions;
    struct momi_call_group *group;
    struct mom_consumer *consumer;
    void *user;
    bool may_wait; /* for room, until the call's deadline; else FULL */
    bool visits;   /* nobody is woken: momi_node_visit follows */
};

void momi_calls_init(struct momi_calls *calls, struct momi_mailbox *mailbox,
                     uint64_t bytes_max);
void momi_calls_free(struct momi_calls *calls);

/* Any thread. Copies everything into the mailbox. `messages`: of a publish, else NULL.
 * `object` travels with the call (CALL_CONSUMER_OPEN: the consumer). On success `*slot`
 * (may be NULL) is the slot in use. MOM_OK, MOM_FULL, MOM_TIMEOUT (no room), MOM_CLOSED,
 * MOM_NO_MEMORY. */
int momi_calls_put(struct momi_calls *calls, const struct momi_call *call,
                   const struct momi_messages *messages,
                   const struct momi_call_target *target, void *object,
                   struct momi_slot **slot, uint64_t *id);
/* Any thread: the call of this id is given up. Best effort: without memory nothing is. */
void momi_calls_cancel(struct momi_calls *calls, uint64_t id);

/* The thread of a SLOT_THREAD call: waits for the answer, takes it, and gives the slot
 * back. The error text is set. `body` may be NULL. */
struct momi_answer {
    uint64_t sequence;
    uint32_t synced_copies;
    struct momi_bytes body; /* the caller's to free */
};
int momi_calls_wait(struct momi_calls *calls, struct momi_slot *slot,
                    struct momi_answer *answer);

/* Loop thread: completions of a turn. `touched` collects the queues to be signalled. */
void momi_calls_complete(struct momi_calls *calls, uint64_t id,
                         const struct momi_completion *completion,
                         struct momi_list *touched);
/* Loop thread, at its end: everything that is still pending. */
void momi_calls_complete_all(struct momi_calls *calls, int error,
                             struct momi_list *touched);
/* Loop thread, with the mailbox's mutex held: what the last turn completed makes room. */
void momi_calls_make_room(struct momi_calls *calls);

/* --- the loop's side of the bytes ------------------------------------------------------
 */

struct momi_mail {
    bool is_cancel;
    uint64_t id;           /* of what is cancelled */
    struct momi_call call; /* slices lie in the mail or in `buf` */
    struct momi_slice filters[MOMI_FILTERS_MAX];
    void *object;
    struct momi_buf *buf; /* owned by who read it; NULL: records lie in the mail */
};
/* Reads the mail at `*at` of the taken bytes and moves on; false at the end. */
bool momi_mail_next(const struct momi_bytes *bytes, size_t *at, struct momi_mail *mail);

#endif
