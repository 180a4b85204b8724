/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport: point-to-point lanes between nodes. A lane is one byte-stream connection
 * (tcp or ipc) that carries frames in order: u32 length, little-endian, then the bytes.
 * What a frame means is not known here.
 *
 * Threads: the functions may be called from any thread, all but momi_transport_close also
 * in a callback. Callbacks come on threads of the transport, concurrently for different
 * lanes; they may only take references, queue and post, and never block. No callback is
 * called with a lock held. For one lane `accepted` or `dialed` comes first, `received`
 * calls are in order and one at a time, `closed` comes exactly once and last. `drained`
 * may come at the same time as `received`.
 *
 * Ownership: a lane that was handed out by `accepted` or `dialed` belongs to the user
 * until momi_lane_release, also after the transport is closed. Resending, redialling and
 * heartbeats are the caller's: a frame that momi_lane_send took may be lost when the lane
 * closes, and a peer that went silent is not reported.
 */
#ifndef MOMI_PORT_TRANSPORT_H
#define MOMI_PORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "port/address.h"

enum {
    MOMI_FRAME_BYTES_MAX =
        1024 * 1024 + 64 * 1024, /* without its length; 1 is the least */
    MOMI_LANE_PENDING_BYTES_MAX =
        4 * 1024 * 1024,   /* queued for sending per lane, by default */
    MOMI_LANES_MAX = 1024, /* of one transport; more connections are closed at once */
    MOMI_DIALS_MAX = 256,  /* under way at the same time */
    MOMI_LISTENERS_MAX = 8,
    MOMI_DIAL_TIMEOUT_MS = 5000,
    MOMI_RECEIVE_FRAMES_MAX = 512, /* frames in one `received` call */
    MOMI_TRANSPORT_CLOSE_TIMEOUT_MS = 10000,
};

struct momi_transport;
struct momi_lane;

struct momi_transport_callbacks {
    /* A peer connected. Frames are not read before this returns. */
    void (*accepted)(void *user, struct momi_lane *lane);
    /* The result of one momi_transport_dial: a lane and MOM_OK, or NULL and what went
     * wrong. */
    void (*dialed)(void *user, uint64_t token, struct momi_lane *lane, int error);
    /* Complete frames, all inside `chunk`; both are borrowed. Who keeps a frame takes a
     * momi_buf_ref on the chunk. False: no room, nothing of this call was taken; the lane
     * stops reading (so the peer is slowed), and the same frames are offered again after
     * momi_lane_resume. While a lane is stopped, the loss of its peer is noticed only by
     * sending. */
    bool (*received)(void *user, struct momi_lane *lane, struct momi_buf *chunk,
                     const struct momi_slice *frames, size_t count);
    /* After momi_lane_send answered MOM_FULL: the queue fell to a quarter of its limit.
     */
    void (*drained)(void *user, struct momi_lane *lane);
    /* The lane is gone; no callback follows. MOM_CLOSED: closed by us; MOM_UNAVAILABLE:
     * by the peer or the network; MOM_INVALID: the peer sent an illegal length;
     * MOM_NO_MEMORY. */
    void (*closed)(void *user, struct momi_lane *lane, int error);
};

struct momi_transport_stats {
    uint64_t bytes_in; /* with the lengths */
    uint64_t frames_in;
    uint64_t bytes_out; /* as queued */
    uint64_t frames_out;
    uint64_t lanes;   /* open now */
    uint64_t refused; /* connections closed at once, being too many */
    uint64_t invalid; /* lanes closed for an illegal length */
};

/* The callbacks are copied. No thread is started by others before this is called.
 * MOM_OK, MOM_NO_MEMORY. */
int momi_transport_open(struct momi_transport **transport,
                        const struct momi_transport_callbacks *callbacks, void *user);

/* The limit of queued bytes of lanes made from now on. */
void momi_transport_set_lane_pending(struct momi_transport *transport, size_t bytes_max);

/* `tcp://host:port` (port 0: from the kernel) or `ipc:///path`. The address with the port
 * in force goes to `actual`, of `actual_size` bytes (may be NULL). MOM_OK; MOM_CONFLICT:
 * in use; MOM_INVALID: not an address of this machine, or not an address; MOM_FORBIDDEN,
 * MOM_FULL, MOM_NO_MEMORY, MOM_UNAVAILABLE. */
int momi_transport_listen(struct momi_transport *transport, const char *address,
                          char *actual, size_t actual_size);

/* One attempt; the result comes as `dialed`, exactly once if this answers MOM_OK and
 * never otherwise. MOM_OK, MOM_INVALID, MOM_FULL (too many at once), MOM_NO_MEMORY,
 * MOM_CLOSED. */
int momi_transport_dial(struct momi_transport *transport, const char *address,
                        uint64_t token);

void momi_transport_stats(struct momi_transport *transport,
                          struct momi_transport_stats *stats);

/* Closes listeners, dials (each reported as MOM_CLOSED) and lanes; when it returns, all
 * callbacks are done. Never from a callback. MOM_OK, or MOM_TIMEOUT: something below did
 * not end in time; its memory is left behind and no further callback begins. NULL is
 * fine. */
int momi_transport_close(struct momi_transport *transport);

/* Queues one frame made of the parts, which are copied. It leaves with the next flush, or
 * when the write before it completes. MOM_OK; MOM_FULL: over the limit (an empty queue
 * takes one frame of any legal size), `drained` follows; MOM_TOO_BIG: over
 * MOMI_FRAME_BYTES_MAX; MOM_INVALID: empty; MOM_CLOSED; MOM_NO_MEMORY. */
int momi_lane_send(struct momi_lane *lane, const struct momi_slice *parts,
                   size_t parts_count);

/* Starts the write of what is queued, if none is under way. Once after the frames of a
 * turn. */
void momi_lane_flush(struct momi_lane *lane);

/* After `received` answered false: offer again, on a thread of the transport. */
void momi_lane_resume(struct momi_lane *lane);

/* Asynchronous: `closed` follows. Frames not written yet are lost. Twice, or when closed,
 * is fine. */
void momi_lane_close(struct momi_lane *lane);

/* Gives the handle back; only after `closed`. */
void momi_lane_release(struct momi_lane *lane);

void momi_lane_set_user(struct momi_lane *lane, void *lane_user);
void *momi_lane_user(const struct momi_lane *lane);
size_t momi_lane_pending_bytes(
    struct momi_lane *lane); /* queued and not yet handed to the kernel */
const char *momi_lane_peer(
    const struct momi_lane *lane); /* for messages; lives as long as the lane */

#endif
