/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gossip: best-effort talk between store nodes. The bus sends a small datagram to all
 * connected peers; a survey asks all of them and collects what is answered until its
 * deadline. Both lose without a word (a bus drops under bursts although every send
 * succeeds), so nothing that matters may depend on them.
 *
 * Each node listens with a bus socket and a respondent. Of two nodes *one* connects to
 * the other's bus (two connections would deliver twice); *each* connects to the other's
 * respondent in order to ask it.
 *
 * Threads: functions from any thread but a callback's; callbacks come on threads of the
 * transport and may only post (`asked` answers from what it has at hand). No callback is
 * called with a lock held.
 */
#ifndef MOMI_PORT_GOSSIP_H
#define MOMI_PORT_GOSSIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    MOMI_GOSSIP_BYTES_MAX = 60 * 1024, /* of a datagram, a question, an answer */
    MOMI_GOSSIP_SURVEYS_MAX = 16,      /* under way at the same time */
    MOMI_GOSSIP_PEERS_MAX = 512,       /* connections, bus and survey together */
};

struct momi_gossip;

struct momi_gossip_callbacks {
    /* A datagram from some peer; borrowed. */
    void (*received)(void *user, struct momi_slice datagram);
    /* A peer asks: append the answer and return true, or return false to stay silent. An
     * answer over MOMI_GOSSIP_BYTES_MAX, or one that could not be built, is not sent. */
    bool (*asked)(void *user, struct momi_slice question, struct momi_bytes *answer);
    /* One answer to the survey `token`; borrowed. */
    void (*answered)(void *user, uint64_t token, struct momi_slice answer);
    /* The deadline of the survey passed, or the gossip was closed. Exactly once per
     * momi_gossip_ask that answered MOM_OK; no `answered` follows for this token. */
    void (*survey_ended)(void *user, uint64_t token);
};

struct momi_gossip_stats {
    uint64_t datagrams_in;
    uint64_t datagrams_out;
    uint64_t questions_in;
    uint64_t answers_in;
};

/* The callbacks are copied. MOM_OK, MOM_NO_MEMORY, MOM_UNAVAILABLE. */
int momi_gossip_open(struct momi_gossip **gossip,
                     const struct momi_gossip_callbacks *callbacks, void *user);

/* Listens with the bus and with the respondent, `tcp://host:port` (port 0: from the
 * kernel) or `ipc:///path` each; the addresses in force go to `bus_actual` and
 * `survey_actual`, both of `actual_size` bytes. Once. MOM_OK; MOM_CONFLICT: an address is
 * in use, or it listens already; MOM_INVALID; MOM_NO_MEMORY. */
int momi_gossip_listen(struct momi_gossip *gossip, const char *bus_address,
                       const char *survey_address, char *bus_actual, char *survey_actual,
                       size_t actual_size);

/* Keeps a connection to a peer's bus, or to its respondent, redialling for ever (from 100
 * ms up to 10 s). MOM_OK, MOM_EXISTS (already told), MOM_INVALID, MOM_FULL,
 * MOM_NO_MEMORY, MOM_CLOSED. */
int momi_gossip_connect_bus(struct momi_gossip *gossip, const char *address);
int momi_gossip_connect_survey(struct momi_gossip *gossip, const char *address);

/* Stops redialling an address; best once the peer is gone (closing a live one is what
 * this nng does worst). Ends in the background. MOM_OK, MOM_NOT_FOUND, MOM_CLOSED. */
int momi_gossip_disconnect(struct momi_gossip *gossip, const char *address);

/* To all connected peers; success says nothing about arrival. MOM_OK, MOM_TOO_BIG,
 * MOM_NO_MEMORY, MOM_CLOSED, MOM_FULL (the datagram before it is still being handed over;
 * dropped). */
int momi_gossip_publish(struct momi_gossip *gossip, struct momi_slice datagram);

/* Asks all connected respondents; `token` is the caller's. MOM_OK, MOM_TOO_BIG, MOM_FULL,
 * MOM_NO_MEMORY, MOM_INVALID (no time given), MOM_CLOSED. */
int momi_gossip_ask(struct momi_gossip *gossip, uint64_t token,
                    struct momi_slice question, uint32_t timeout_ms);

void momi_gossip_stats(struct momi_gossip *gossip, struct momi_gossip_stats *stats);

/* Say goodbye before. Stops sending, ends the surveys, waits until receipt has been idle
 * for 20 ms, then closes the sockets on a thread of its own. When it returns, all
 * callbacks are done. Never from a callback. MOM_OK, or MOM_TIMEOUT: closing did not end
 * in time (this nng can hang there); what is left is leaked and no further callback
 * begins. NULL is fine. */
int momi_gossip_close(struct momi_gossip *gossip, uint32_t timeout_ms);

#endif
