/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the nng transport, shared by transport_nng.c (listeners, dials, the
 * worker thread) and lane_nng.c (one connection). Only these two include it.
 *
 * nng 1.5.2 sets the rules: an operation submitted after
 * close or error never completes, so each submit happens under the mutex that guards the
 * flag `is_dead` (of a lane) or `closing` (of the transport); a stream is torn down in
 * the order close, stop both aios, free, and never from a callback of an aio, so the
 * worker thread does it; nng_aio_wait is never called.
 *
 * Lock order: lane, then transport, then chunk pool. Callbacks are called with none of
 * them held.
 */
#ifndef MOMI_PORT_TRANSPORT_NNG_H
#define MOMI_PORT_TRANSPORT_NNG_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "port/transport.h"

enum {
    /* A log entry (256 KiB) with its headers fits, so that it is not assembled in a
       buffer of its own. */
    MOMI_CHUNK_BYTES = 320 * 1024,
    MOMI_CHUNKS_KEPT = 16,
};

/* Receive buffers that were read to their end. They may still be referenced by receivers;
 * one is used again when the pool holds the only reference. */
struct momi_chunk_pool {
    pthread_mutex_t mutex;
    struct momi_buf *kept[MOMI_CHUNKS_KEPT];
    size_t next; /* the slot that gives way when all are taken */
};

struct momi_transport {
    struct momi_transport_callbacks callbacks;
    void *user;
    atomic_size_t lane_pending_bytes_max;
    atomic_bool is_muted; /* closing took too long: no further callback begins */

    atomic_uint_fast64_t bytes_in;
    atomic_uint_fast64_t frames_in;
    atomic_uint_fast64_t bytes_out;
    atomic_uint_fast64_t frames_out;
    atomic_uint_fast64_t refused;
    atomic_uint_fast64_t invalid;

    struct momi_chunk_pool chunks;

    pthread_t worker;
    pthread_mutex_t mutex;
    /* All below is guarded by `mutex`. */
    pthread_cond_t wake;  /* the worker: something in a work list, or closing */
    pthread_cond_t ended; /* momi_transport_close: the worker is through */
    bool closing;
    bool has_ended;
    struct momi_list lanes;      /* momi_lane.lanes_link */
    struct momi_list lanes_work; /* momi_lane.work_link: to resume or to retire */
    size_t lanes_count;
    struct momi_list dials;      /* dial.link: under way */
    struct momi_list dials_done; /* dial.link: to be freed */
    size_t dials_count;          /* in both lists */
    struct momi_list listeners;  /* listener.link */
    size_t listeners_count;
};

enum momi_receive_state {
    MOMI_RECEIVE_READING, /* an operation is submitted, or its frames are being offered */
    MOMI_RECEIVE_STOPPED, /* refused; waits for momi_lane_resume */
    MOMI_RECEIVE_RESUMING, /* in the work list, to be offered again */
};

struct momi_lane {
    struct momi_transport
        *transport;   /* valid until the lane is retired, so while !is_dead */
    atomic_uint refs; /* the transport's, the owner's, and one while it is handed out */
    _Atomic(void *) user;
    size_t pending_bytes_max;
    char peer[MOMI_ADDRESS_BYTES_MAX];

    struct momi_list lanes_link; /* guarded by the transport's mutex */
    struct momi_list work_link;  /* likewise */

    nng_stream *stream;
    nng_aio *receive_aio;
    nng_aio *send_aio;

    /* The receiver's: touched by whoever reads or offers, one at a time (receive_state
     * says who). */
    struct momi_buf *chunk;
    size_t chunk_at;   /* the first byte that was not taken */
    size_t chunk_used; /* behind the last byte received */

    pthread_mutex_t mutex;
    /* All below is guarded by `mutex`. */
    atomic_bool is_dead; /* written under the mutex, read also without */
    int close_error;
    enum momi_receive_state receive_state;
    bool is_resume_wanted;     /* resumed while the refused offer was still returning */
    struct momi_bytes filling; /* frames for the next write */
    struct momi_bytes flying;  /* frames of the write under way */
    size_t flying_sent;        /* of them, handed to the kernel */
    bool is_sending;
    bool is_drain_owed; /* MOM_FULL was answered */
};

/* Takes over `stream`, also when it fails (MOM_FULL, MOM_CLOSED, MOM_NO_MEMORY). The lane
 * comes with three references: the transport's, the owner's, and one for the caller to
 * release. */
int momi_lane_new(struct momi_transport *transport, nng_stream *stream,
                  struct momi_lane **lane);
void momi_lane_unref(struct momi_lane *lane);
/* Begins to read. */
void momi_lane_start(struct momi_lane *lane);
/* The worker's: does what the lane was put into the work list for. */
void momi_lane_work(struct momi_lane *lane);
/* The worker's: ends the lane, reports it, drops the transport's reference. */
void momi_lane_retire(struct momi_lane *lane);

/* A buffer of MOMI_CHUNK_BYTES with one reference, or NULL. */
struct momi_buf *momi_chunk_get(struct momi_chunk_pool *pool);
/* Takes the reference. */
void momi_chunk_put(struct momi_chunk_pool *pool, struct momi_buf *chunk);

#endif
