/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers: lanes to other nodes, from the handshake to the last frame.
 *
 * The callbacks of the transport only put frames and facts into a lane's inbox and post
 * the lane; the loop thread does the rest: handshake (handshake.c), decoding, and sending
 * (outbox.c). At most one lane for each node is *current*: the core knows that one.
 *
 * N2: while a lane to a node is current, a newer one replaces it only from the same
 * dialler with a higher (incarnation, connection number); or, from the other end, when
 * the peer was started again, or when the newer one was dialled by the lower id and the
 * older one was not. Both ends decide alike.
 */
#ifndef MOMI_NODE_PEERS_H
#define MOMI_NODE_PEERS_H

#include <mom/mom.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/ring.h"
#include "core/effect.h"
#include "core/event.h"
#include "node/mailbox.h"
#include "port/keys.h"
#include "port/transport.h"
#include "wire/hello.h"
#include "wire/split.h"

enum {
    MOMI_INBOX_BYTES_MAX = 8 << 20,   /* received and not handled, of one lane */
    MOMI_LANE_BYTES_MAX = 512 << 10,  /* handed to the transport, of one lane */
    MOMI_OUTBOX_FULL_BYTES = 1 << 20, /* then the core is told */
    MOMI_OUTBOX_ROOM_BYTES = 256 << 10,
    MOMI_OUTBOX_BYTES_MAX = 64 << 20, /* then frames are dropped, as if lost */
    MOMI_LOST_DIALS_MAX = 64,
};
#define MOMI_HANDSHAKE_US   (5 * MOMI_S)
#define MOMI_SILENCE_US     (3 * MOMI_S)
#define MOMI_LANES_CHECK_US (500 * MOMI_MS)
#define MOMI_REFUSED_US     MOMI_S /* a refused lane is closed by then */

enum momi_lane_state {
    LANE_HELLO, /* waits for the peer's HELLO */
    LANE_PROOF, /* waits for its proof */
    LANE_UP,
    LANE_LEAVING, /* refused, replaced or to be closed: nothing of it counts any more */
};

/* A frame that waits for the lane to drain. */
struct momi_outgoing {
    struct momi_list link;
    size_t size;
    struct momi_slice head;  /* behind this struct */
    struct momi_part *parts; /* behind it; each holds a reference, or bytes behind it */
    uint32_t parts_count;
};

struct momi_incoming {
    struct momi_buf *buf; /* a reference */
    struct momi_slice bytes;
};

struct momi_outbox {
    struct momi_list urgent, bulk; /* struct momi_outgoing.link */
    size_t bytes;                  /* in both */
    struct momi_split split;       /* of the first of `bulk` */
    bool is_splitting;
    bool is_blocked; /* the lane said FULL; `drained` comes */
    uint32_t stream_next;
};

struct momi_peer_lane {
    struct momi_post post;
    /* Posted by the last callback, as its last act: what frees the lane is this post
     * alone, and no flag, which the loop might see before the callback has ended. */
    struct momi_post end_post;
    struct momi_list all_link; /* momi_peers.all, under its mutex */
    mom_node *node;
    struct momi_lane *lane;
    bool we_dialed;
    uint64_t dial_token;
    uint64_t dial_node;  /* expected; 0: anyone */
    uint64_t connection; /* of the dialler */
    _Atomic uint64_t heard_us;
    /* The callbacks' and the loop's, under the mutex. */
    pthread_mutex_t mutex;
    struct momi_ring inbox; /* struct momi_incoming */
    size_t inbox_bytes;
    bool is_stopped; /* reading */
    bool is_drained;
    int gone_error; /* set before end_post is posted */
    /* The loop's. */
    bool is_gone;           /* end_post came */
    struct momi_ring taken; /* struct momi_incoming */
    enum momi_lane_state state;
    enum momi_down_reason down_reason;
    bool has_begun;   /* HELLO was sent */
    bool is_closing;  /* momi_lane_close was called */
    bool is_answered; /* EV_LANE_UP or EV_DIAL_FAILED was stepped */
    uint64_t opened_us;
    uint64_t leaving_us;                     /* closed by then */
    struct momi_bytes own_hello, peer_hello; /* as they went over the lane */
    uint8_t challenge[MOMI_HELLO_CHALLENGE_BYTES];
    struct momi_hello peer;       /* texts in peer_hello; valid from LANE_PROOF on */
    struct momi_map_node by_node; /* momi_peers.current */
    bool is_current;
    struct momi_join join;
    struct momi_outbox outbox;
    bool full_told;
    struct momi_list touched_link; /* to be flushed at the end of the turn */
};

/* One FX_DIAL. */
struct momi_dial {
    struct momi_post post;
    struct momi_list all_link;
    mom_node *node;
    uint64_t token;
    uint64_t expected;
    uint64_t connection;
    int error;
};

struct momi_peers {
    struct momi_transport *transport; /* owned; NULL until it is needed */
    pthread_mutex_t mutex;
    struct momi_list all;   /* struct momi_peer_lane.all_link */
    struct momi_list dials; /* struct momi_dial.all_link */
    /* The loop's. */
    struct momi_map current;
    struct momi_list touched;
    uint64_t check_us;
    uint64_t connection_next;
    uint64_t lost_dials[MOMI_LOST_DIALS_MAX]; /* no memory to begin; to be answered */
    uint32_t lost_dials_count;
    uint32_t up_count;
    uint64_t frames_in, frames_out, frames_invalid, frames_dropped, refused;
};

int momi_peers_init(struct momi_peers *peers);
/* Listens; `actual` gets the address in force. */
int momi_peers_listen(mom_node *node, const char *address, char *actual, size_t size);
/* When the loop has ended: closes all. MOM_TIMEOUT: something was left behind. */
int momi_peers_close(struct momi_peers *peers);

/* Loop thread. */
void momi_peers_lane(mom_node *node, struct momi_peer_lane *lane);     /* was posted */
void momi_peers_lane_end(mom_node *node, struct momi_peer_lane *lane); /* likewise */
void momi_peers_dialed(mom_node *node, struct momi_dial *dial);        /* was posted */
void momi_peers_dial(mom_node *node, const struct momi_effect *effect);
void momi_peers_hangup(mom_node *node, uint64_t peer);
void momi_peers_flush(mom_node *node);
uint64_t momi_peers_deadline(const mom_node *node);
void momi_peers_time(mom_node *node, uint64_t now_us);
struct momi_peer_lane *momi_peers_current(const mom_node *node, uint64_t peer);
/* Lanes to other store nodes. */
size_t momi_peers_stores_up(mom_node *node);
/* Bytes that were handed to the transport and are not sent yet, on all lanes. */
size_t momi_peers_pending(const mom_node *node);

/* handshake.c */
void momi_handshake_begin(struct momi_peer_lane *lane);
void momi_handshake_message(struct momi_peer_lane *lane, struct momi_slice bytes);
/* peers.c, for handshake.c: the lane has passed; it is over. */
void momi_lane_passed(struct momi_peer_lane *lane);
void momi_lane_leave(struct momi_peer_lane *lane, uint64_t close_us, int error);
void momi_lane_shut(struct momi_peer_lane *lane);
/* N2: may this peer's new lane be current? */
bool momi_lane_may_replace(const struct momi_peer_lane *lane);

/* outbox.c */
void momi_outbox_init(struct momi_outbox *outbox);
void momi_outbox_clear(struct momi_outbox *outbox);
void momi_outbox_send(mom_node *node, uint64_t peer, const struct momi_frame *frame);
void momi_outbox_pump(struct momi_peer_lane *lane);
/* Sends bytes of the handshake. */
bool momi_outbox_raw(struct momi_peer_lane *lane, struct momi_slice bytes);

#endif
