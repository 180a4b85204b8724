/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery: the bus and survey sockets of a store node that listens. A newcomer dials
 * one lane address, learns the others' sockets from their HELLO, asks who is there, and
 * tells the core where nodes may be reached (EV_PEER_HINT). Each node says on the bus
 * every few seconds that it lives.
 *
 * Everything here is a hint and may be lost: the registry alone decides who is a member,
 * and lanes carry all that matters. Connections are only made to sockets that a peer
 * announced in a handshake that it has proved.
 *
 * The callbacks copy what comes into a bounded inbox; the loop looks at it twice a second
 * with the lanes, and is never woken for it.
 */
#ifndef MOMI_NODE_DISCOVERY_H
#define MOMI_NODE_DISCOVERY_H

#include <mom/mom.h>
#include <pthread.h>

#include "base/ring.h"
#include "port/address.h"
#include "port/gossip.h"
#include "wire/hello.h"

enum {
    MOMI_DISCOVERY_PEERS_MAX = 64,  /* connected to; in meshes beyond that the first */
    MOMI_DISCOVERY_INBOX_MAX = 64,  /* messages that came and were not looked at */
    MOMI_DISCOVERY_CLOSE_MS = 2000, /* then what is left of the sockets is left behind */
    MOMI_SURVEY_MS = 1000,          /* for the answers */
};
#define MOMI_ALIVE_US          (2 * MOMI_S)
#define MOMI_SURVEY_LEAST_US   MOMI_S
#define MOMI_SURVEY_MOST_US    (32 * MOMI_S)
#define MOMI_DISCOVERY_GONE_US (60 * MOMI_S) /* then its sockets are let go */

/* The sockets of one peer. */
struct momi_discovery_peer {
    uint64_t node; /* 0: free */
    bool is_up;    /* its lane */
    uint64_t down_us;
    char bus[MOMI_ADDRESS_BYTES_MAX]; /* connected to; "": the peer connects to ours */
    char survey[MOMI_ADDRESS_BYTES_MAX];
};

struct momi_discovery {
    struct momi_gossip *gossip;       /* owned; NULL: this node has no such sockets */
    char bus[MOMI_ADDRESS_BYTES_MAX]; /* told to peers */
    char survey[MOMI_ADDRESS_BYTES_MAX];
    bool has_mutex;
    pthread_mutex_t mutex;
    /* Under the mutex. */
    struct momi_ring inbox;   /* of struct momi_buf *, references */
    struct momi_bytes answer; /* to who asks; empty: none yet */
    uint64_t dropped, invalid;
    /* The loop's. */
    struct momi_discovery_peer peers[MOMI_DISCOVERY_PEERS_MAX];
    bool has_changed; /* lanes came or went since `answer` was made */
    uint64_t alive_us, survey_us, survey_wait_us;
    uint64_t surveys_count, hints_count;
};

/* With a store's options; a node that does not listen has none. Sockets of its own choice
 * that cannot be had are done without; those of the options are an error. */
int momi_discovery_open(mom_node *node, const mom_options *options);
/* Before the network is closed. MOM_TIMEOUT: something of it was left behind. */
int momi_discovery_close(mom_node *node);

/* Loop thread. */
void momi_discovery_lane_up(mom_node *node, const struct momi_hello *peer);
void momi_discovery_lane_down(mom_node *node, uint64_t peer);
void momi_discovery_time(mom_node *node, uint64_t now_us);

#endif
