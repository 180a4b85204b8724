/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the gossip on nng sockets, shared by gossip_nng.c (open, peers, the bus,
 * close) and survey_nng.c (asking and answering). Only these two include it.
 *
 * Sockets of nng 1.5.2 can hang when they are closed with messages in flight.
 * Hence: no more sends, wait until receipt is idle, close on the worker thread under a
 * deadline, leave the memory behind if it passes. Operations are submitted under the
 * mutex that guards `is_stopped`. No aio is freed in its own callback.
 */
#ifndef MOMI_PORT_GOSSIP_NNG_H
#define MOMI_PORT_GOSSIP_NNG_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "port/gossip.h"

enum {
    MOMI_GOSSIP_RESPONDERS = 4,           /* questions answered at the same time */
    MOMI_GOSSIP_PENDING_MAX = 64,         /* datagrams not yet handed to the bus */
    MOMI_GOSSIP_ANSWER_TIMEOUT_MS = 1000, /* for a peer that does not take our answer */
};

struct momi_responder {
    struct momi_gossip *gossip;
    nng_ctx context;
    nng_aio *aio;
    bool has_context;
    bool is_answering; /* touched by its callback only, else: it waits for a question */
};

struct momi_survey {
    struct momi_gossip *gossip;
    struct momi_list link; /* momi_gossip.surveys, then surveys_done */
    uint64_t token;
    nng_ctx context;
    nng_aio *aio;
    bool has_context;
    bool is_asking; /* touched by its callback only, else: it collects answers */
};

struct momi_gossip {
    struct momi_gossip_callbacks callbacks;
    void *user;
    atomic_bool is_muted; /* closing took too long: no further callback begins */
    atomic_uint_fast64_t datagrams_in;
    atomic_uint_fast64_t datagrams_out;
    atomic_uint_fast64_t questions_in;
    atomic_uint_fast64_t answers_in;

    nng_socket bus;
    nng_socket surveyor;
    nng_socket respondent;
    int sockets_count; /* opened, in the order above */
    nng_aio *bus_receive_aio;
    nng_aio *bus_send_aio;
    struct momi_responder responders[MOMI_GOSSIP_RESPONDERS];

    pthread_t worker;
    pthread_mutex_t mutex;
    /* All below is guarded by `mutex`. */
    pthread_cond_t wake;  /* the worker */
    pthread_cond_t ended; /* momi_gossip_close */
    bool is_closing;      /* nothing is sent any more */
    bool is_stopped;      /* nothing is submitted any more */
    bool has_ended;
    bool is_listening;
    uint64_t quiet_limit_us; /* when to give up waiting for idle receipt */
    uint64_t last_receipt_us;
    struct momi_list peers;      /* peer.link */
    struct momi_list peers_gone; /* peer.link: to be closed by the worker */
    size_t peers_count;          /* in `peers` */
    struct momi_list surveys;
    struct momi_list surveys_done;             /* to be freed by the worker */
    size_t surveys_count;                      /* in both lists */
    nng_msg *pending[MOMI_GOSSIP_PENDING_MAX]; /* a ring */
    size_t pending_first;
    size_t pending_count;
    bool is_sending;
};

/* Notes that something arrived; for the wait at the end. */
void momi_gossip_note_receipt(struct momi_gossip *gossip);
/* A message with these bytes; MOM_TOO_BIG, MOM_NO_MEMORY. */
int momi_gossip_message(struct momi_slice bytes, nng_msg **message);

/* The responders: made, started, and freed after their socket was closed. */
int momi_responders_init(struct momi_gossip *gossip);
void momi_responders_start(struct momi_gossip *gossip);
void momi_responders_free(struct momi_gossip *gossip);

/* The worker's: frees a survey that is done; cancels those under way (mutex held). */
void momi_survey_free(struct momi_survey *survey);
void momi_surveys_cancel_locked(struct momi_gossip *gossip);

#endif
