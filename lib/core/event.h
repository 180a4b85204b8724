/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that can happen to a node. `momi_core_step` takes one event; its answer is
 * in effect.h.
 *
 * Pointers in an event are borrowed for the step.
 */
#ifndef MOMI_CORE_EVENT_H
#define MOMI_CORE_EVENT_H

#include "core/call.h"
#include "core/types.h"
#include "wire/frame.h"

enum momi_event_type {
    EV_TIME, /* the deadline of momi_core_deadline has come, or nothing has: only `now_us`
                matters */
    EV_LANE_UP, /* a lane to `node` passed its handshake; a later one replaces an earlier
                   one */
    EV_LANE_DOWN, /* the current lane to `node` is gone; `reason` */
    EV_LANE_FULL, /* much is queued on the lane to `node`: deliveries and snapshots to it
                     wait */
    EV_LANE_ROOM, /* it has room again */
    EV_PEER_HINT, /* others say where `lane`.node may be reached; nothing of it is proved
                     but that somebody said so */
    EV_DIAL_FAILED, /* FX_DIAL `token` came to nothing; `error` */
    EV_FRAME,       /* a frame from `node` over its current lane */
    EV_WRITTEN,     /* FX_WRITE up to `token` is done (synced, if it asked for that), or
                       failed: `error` */
    EV_READ,    /* FX_READ `token`: the entry in `buf`, or `error` (NOT_FOUND, CORRUPT) */
    EV_SCANNED, /* FX_SCAN `token`: `items`, and whether the range is finished */
    EV_SPACE,   /* free space of the store: `value` bytes of `total` */
    EV_IDENTITY,        /* FX_IDENTITY was made durable, or failed: `error` */
    EV_CALL,            /* the program calls */
    EV_CALL_CANCEL,     /* the program gives up call `token` */
    EV_CONSUMER_TAKEN,  /* the program has taken messages of consumer `token` up to
                           delivery number `value`, `total` of them in all */
    EV_CONSUMER_SETTLE, /* the program settles messages of consumer `token`: `settles` */
    EV_CLOSE,           /* leave leadership, sync, stop: ends with FX_CLOSED */
};

enum momi_down_reason {
    MOMI_DOWN_CLOSED, /* the peer's end closed, or its process died (R5: elect at once) */
    MOMI_DOWN_SILENT, /* no frame within the lane's deadline */
    MOMI_DOWN_LOCAL,  /* we closed it */
};

struct momi_scan_item {
    struct momi_slice key; /* without the shard and side prefix */
    struct momi_slice value;
};

struct momi_event {
    enum momi_event_type type;
    uint64_t now_us;  /* monotonic */
    uint64_t wall_us; /* since 1970; display only (R8) */
    uint64_t node;
    uint64_t token;
    uint64_t value;
    uint64_t total;
    int error;
    enum momi_down_reason reason;
    const struct momi_lane_info *lane;  /* EV_LANE_UP; EV_PEER_HINT: node and address */
    const struct momi_frame *frame;     /* EV_FRAME */
    const struct momi_call *call;       /* EV_CALL */
    struct momi_buf *buf;               /* EV_READ */
    const struct momi_scan_item *items; /* EV_SCANNED */
    size_t items_count;
    bool finished;                     /* EV_SCANNED */
    const struct momi_settle *settles; /* EV_CONSUMER_SETTLE */
    size_t settles_count;
};

/* What the handshake has proved about the other end of a lane. */
struct momi_lane_info {
    uint64_t node;
    uint64_t incarnation;
    enum momi_role role;
    struct momi_mesh_id mesh; /* none: it has not joined a mesh yet */
    uint64_t founders_hash;   /* of the list it forms with (N1); 0 when it does not */
    struct momi_slice name;
    struct momi_slice address; /* where it listens; empty when it does not */
    bool we_dialed;
    uint64_t dial_token; /* of the FX_DIAL that made it, when we dialed */
};

#endif
