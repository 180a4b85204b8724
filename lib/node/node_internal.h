/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node from inside: what its parts share.
 *
 *   node.c           life cycle: open, close, references
 *   open.c           identity, store, restore, listening
 *   loop.c           mail and time into events, one turn after the other
 *   run_effects.c    effects into actions: the second switch
 *   journal.c        the thread that writes      reader.c   the thread that reads
 *   peers.c          lanes      handshake.c, outbox.c
 *   discovery.c      bus and survey: who may be where
 *   calls.c          calls and their answers     completions.c
 *   consumers.c      the program's side          consumers_loop.c   the loop's
 *
 * Fields belong to whoever has the turn (mailbox.h), called the loop, unless a comment
 * says otherwise.
 */
#ifndef MOMI_NODE_NODE_INTERNAL_H
#define MOMI_NODE_NODE_INTERNAL_H

#define MOMI_DRAIN_US (100 * MOMI_MS) /* for the last frames of a node that closes */

#include "base/mem.h"
#include "core/core.h"
#include "node/discovery.h"
#include "node/job.h"
#include "node/journal.h"
#include "node/log.h"
#include "node/node.h"
#include "node/peers.h"
#include "node/reader.h"
#include "port/datadir.h"
#include "port/keys.h"
#include "port/store.h"

enum {
    MOMI_TURN_US = 5000,  /* R10: a turn ends after so long */
    MOMI_TURN_CHECK = 32, /* events between two looks at the clock */
    MOMI_FREE_JOBS_MAX = 64,
    MOMI_LOST_MAX = 64,
    MOMI_FREE_JOB_BYTES_MAX = 1 << 20, /* a larger one is not kept */
    MOMI_NODE_RESERVE_BYTES = 256 << 10,
};

struct mom_node {
    atomic_uint refs;      /* the handle, running calls, and handles that outlive it */
    atomic_bool is_closed; /* no new calls */
    uint32_t forks;        /* momi_forks at the open; constant */
    pthread_mutex_t mutex; /* of completions_open and the published metrics */
    struct momi_list completions_open; /* mom_completions.link */
    mom_metrics published;
    _Atomic uint64_t handle_next;

    /* Constant after the open. */
    uint64_t id;
    struct momi_key key;
    uint64_t incarnation;
    uint64_t boot_nonce;
    enum momi_role role;
    bool is_durable;
    uint64_t founders_hash;
    char name[MOMI_NAME_BYTES_MAX + 1];
    char listen[MOMI_ADDRESS_BYTES_MAX];  /* in force; "" */
    char address[MOMI_ADDRESS_BYTES_MAX]; /* told to peers; "" */
    struct momi_log log;

    struct momi_mailbox mailbox;
    struct momi_calls calls;
    struct momi_journal journal;
    struct momi_reader_thread reader;
    struct momi_peers peers;
    struct momi_discovery discovery;
    struct momi_datadir *dir; /* owned; NULL: none */
    struct momi_store *store; /* owned */
    bool has_peers, has_journal, has_reader;
    pthread_t thread;
    bool has_thread;

    /* How closing goes; under the mailbox's mutex, `closed` told by the loop. */
    struct momi_post close_post;
    pthread_cond_t closed_cond;
    bool is_core_closed; /* and its last frames have left */

    struct momi_core *core; /* owned */
    struct momi_effects effects;
    struct momi_arena arena;     /* decoded frames of a turn */
    struct momi_reserve reserve; /* around each turn */
    struct momi_bytes taken;     /* calls of the mailbox */
    size_t taken_at;
    uint64_t now_us, wall_us;
    struct momi_list free_jobs; /* struct momi_job.link */
    size_t free_jobs_count;
    struct momi_list touched;        /* mom_completions.touched_link */
    struct mom_consumer **consumers; /* owned; consumers_loop.c */
    size_t consumers_room;
    struct momi_list consumers_open, consumers_timed, consumers_touched;
    uint64_t deliveries_dropped;
    struct momi_event lost[MOMI_LOST_MAX]; /* answers to what could not be begun */
    size_t lost_count;
    uint64_t drain_until_us; /* the core has closed: when to give up; 0: it has not */
    bool is_drained;
    bool is_failing; /* the store has failed, and there is nobody else */
    uint64_t turns, events, effects_done;
    uint64_t published_us, published_turns;
};

/* open.c: everything up to the threads; undoes itself on failure, but for `node`. */
int momi_node_prepare(mom_node *node, const mom_options *options);
/* `error` gets that of the store's close, if there was one. */
void momi_node_unprepare(mom_node *node, int *error);

/* loop.c */
void *momi_node_run(void *node);
/* Any thread that has brought mail, without a lock: takes the turn if nobody has it. */
void momi_node_visit(mom_node *node);
void momi_node_step(mom_node *node, struct momi_event *event);

/* run_effects.c */
void momi_node_run_effects(mom_node *node);
void momi_node_job_done(mom_node *node, struct momi_job *job); /* back from a worker */
void momi_consumers_wake(mom_node *node);

/* metrics.c */
void momi_node_publish_metrics(mom_node *node);
uint64_t momi_node_publish_due(const mom_node *node);

uint64_t momi_node_next_handle(mom_node *node);
/* Calls; with `may_wait` false nobody waits for the answer. */
int momi_node_call_closing(mom_node *node, const struct momi_call *call, bool may_wait);

#endif
