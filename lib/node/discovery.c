/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See discovery.h: sockets, callbacks, and what the loop does with them.
 */
#include "node/discovery.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "node/node_internal.h"
#include "wire/presence.h"

/* --- callbacks: threads of the transport
 * -------------------------------------------------- */

static void take(struct momi_discovery *discovery, struct momi_slice bytes) {
    struct momi_buf *buf =
        bytes.size <= MOMI_PRESENCE_BYTES_MAX ? momi_buf_copy(bytes) : NULL;
    bool is_taken = false;
    pthread_mutex_lock(&discovery->mutex);
    if (buf != NULL && discovery->inbox.count < MOMI_DISCOVERY_INBOX_MAX) {
        struct momi_buf **at = momi_ring_push(&discovery->inbox);
        is_taken = at != NULL;
        if (is_taken) {
            *at = buf;
        }
    }
    discovery->dropped += is_taken ? 0 : 1;
    pthread_mutex_unlock(&discovery->mutex);
    if (!is_taken) {
        momi_buf_release(buf);
    }
}

static void received(void *user, struct momi_slice datagram) {
    take(&((mom_node *)user)->discovery, datagram);
}

static void answered(void *user, uint64_t token, struct momi_slice answer) {
    (void)token; /* an answer says itself what it is */
    take(&((mom_node *)user)->discovery, answer);
}

static void survey_ended(void *user, uint64_t token) {
    (void)user;
    (void)token;
}

static bool asked(void *user, struct momi_slice question, struct momi_bytes *answer) {
    struct momi_discovery *discovery = &((mom_node *)user)->discovery;
    struct momi_presence presence;
    bool is_good = momi_presence_decode(question, &presence) == MOM_OK &&
                   presence.kind == MOMI_PRESENCE_WHO;
    pthread_mutex_lock(&discovery->mutex);
    if (is_good) {
        momi_bytes_append(answer, discovery->answer.data, discovery->answer.size);
    } else {
        discovery->invalid++;
    }
    pthread_mutex_unlock(&discovery->mutex);
    if (is_good) {
        take(discovery, question); /* who asks is there, too */
    }
    return is_good && answer->size > 0;
}

/* --- life
 * ------------------------------------------------------------------------------------ */

/* Beside the lanes' address: the same host and a port of the kernel's, or the same file
 * name and one more word. */
static int beside(const char *lanes, const char *word, char *address, size_t size) {
    if (momi_address_is_tcp(lanes)) {
        return momi_address_write_actual(lanes, 0, address, size);
    }
    int length = snprintf(address, size, "%s.%s", lanes, word);
    return length > 0 && (size_t)length < size
               ? MOM_OK
               : momi_err(MOM_INVALID, "no room for an address beside %s", lanes);
}

/* Peers reach the host of our lanes, and the port that we have there. */
static void announce(const mom_node *node, char *actual, size_t size) {
    const char *colon = strrchr(actual, ':');
    if (momi_address_is_tcp(actual) && momi_address_is_tcp(node->address)) {
        char announced[MOMI_ADDRESS_BYTES_MAX];
        int port = (int)strtol(colon + 1, NULL, 10);
        bool fits = momi_address_write_actual(node->address, port, announced,
                                              sizeof announced) == MOM_OK;
        (void)snprintf(actual, size, "%s", fits ? announced : "");
    }
}

static int listen_at(mom_node *node, const mom_options *options) {
    struct momi_discovery *discovery = &node->discovery;
    char bus[MOMI_ADDRESS_BYTES_MAX];
    char survey[MOMI_ADDRESS_BYTES_MAX];
    int error = options->listen_bus != NULL
                    ? (snprintf(bus, sizeof bus, "%s", options->listen_bus), MOM_OK)
                    : beside(options->listen, "bus", bus, sizeof bus);
    if (error == MOM_OK) {
        error =
            options->listen_survey != NULL
                ? (snprintf(survey, sizeof survey, "%s", options->listen_survey), MOM_OK)
                : beside(options->listen, "survey", survey, sizeof survey);
    }
    static const struct momi_gossip_callbacks callbacks = {.received = received,
                                                           .asked = asked,
                                                           .answered = answered,
                                                           .survey_ended = survey_ended};
    if (error == MOM_OK) {
        error = momi_gossip_open(&discovery->gossip, &callbacks, node);
    }
    if (error == MOM_OK) {
        error = momi_gossip_listen(discovery->gossip, bus, survey, discovery->bus,
                                   discovery->survey, sizeof discovery->bus);
    }
    return error;
}

int momi_discovery_open(mom_node *node, const mom_options *options) {
    struct momi_discovery *discovery = &node->discovery;
    if (options->listen == NULL || node->role != MOMI_ROLE_STORE || options->no_gossip) {
        return MOM_OK;
    }
    if (pthread_mutex_init(&discovery->mutex, NULL) != 0) {
        return momi_err(MOM_NO_MEMORY, "no memory for a mutex");
    }
    discovery->has_mutex = true;
    momi_ring_init(&discovery->inbox, sizeof(struct momi_buf *));
    discovery->has_changed = true;
    discovery->survey_us = MOMI_NEVER;
    int error = listen_at(node, options);
    if (error == MOM_OK) {
        announce(node, discovery->bus, sizeof discovery->bus);
        announce(node, discovery->survey, sizeof discovery->survey);
        return MOM_OK;
    }
    if (options->listen_bus != NULL || options->listen_survey != NULL) {
        return error; /* momi_discovery_close undoes the rest */
    }
    momi_log(&node->log, MOM_LOG_WARNING, "MOM-GOSSIP-NONE", "gossip",
             "no bus and survey sockets: %s", mom_last_error_text());
    if (momi_discovery_close(node) != MOM_OK) {
        momi_node_ref(node); /* as in momi_node_unprepare */
    }
    discovery->bus[0] = discovery->survey[0] = '\0';
    return MOM_OK;
}

int momi_discovery_close(mom_node *node) {
    struct momi_discovery *discovery = &node->discovery;
    if (!discovery->has_mutex) {
        return MOM_OK;
    }
    int error = momi_gossip_close(discovery->gossip, MOMI_DISCOVERY_CLOSE_MS);
    discovery->gossip = NULL;
    if (error != MOM_OK) {
        return error; /* a callback may still be under way: all of it stays */
    }
    discovery->has_mutex = false;
    for (size_t i = 0; i < discovery->inbox.count; i++) {
        momi_buf_release(*(struct momi_buf **)momi_ring_at(&discovery->inbox, i));
    }
    momi_ring_free(&discovery->inbox);
    momi_bytes_free(&discovery->answer);
    pthread_mutex_destroy(&discovery->mutex);
    return MOM_OK;
}

/* --- peers
 * ----------------------------------------------------------------------------------- */

static struct momi_discovery_peer *find_peer(struct momi_discovery *discovery,
                                             uint64_t node) {
    for (size_t i = 0; i < MOMI_DISCOVERY_PEERS_MAX; i++) {
        if (discovery->peers[i].node == node) {
            return &discovery->peers[i];
        }
    }
    return NULL;
}

/* From the address in `kept` to the one that the peer announces. */
static void move_connection(struct momi_gossip *gossip, char *kept, size_t size,
                            struct momi_slice announced,
                            int (*connect)(struct momi_gossip *, const char *)) {
    if (momi_slice_equal(momi_slice_str(kept), announced)) {
        return;
    }
    if (kept[0] != '\0') {
        (void)momi_gossip_disconnect(gossip, kept);
        kept[0] = '\0';
    }
    if (announced.size == 0 || announced.size >= size) {
        return;
    }
    memcpy(kept, announced.data, announced.size);
    kept[announced.size] = '\0';
    int error = connect(gossip, kept);
    if (error != MOM_OK && error != MOM_EXISTS) {
        kept[0] = '\0'; /* tried again with the next lane */
    }
}

void momi_discovery_lane_up(mom_node *node, const struct momi_hello *peer) {
    struct momi_discovery *discovery = &node->discovery;
    if (discovery->gossip == NULL || peer->role != MOMI_ROLE_STORE) {
        return;
    }
    discovery->has_changed = true;
    discovery->survey_wait_us = MOMI_SURVEY_LEAST_US;
    discovery->survey_us = node->now_us + discovery->survey_wait_us;
    struct momi_discovery_peer *found = find_peer(discovery, peer->node);
    found = found != NULL ? found : find_peer(discovery, 0);
    if (found == NULL) {
        return; /* as many as there may be */
    }
    found->node = peer->node;
    found->is_up = true;
    /* Two connections would deliver twice: the lower id makes the one. */
    struct momi_slice none = {0};
    bool is_lower = node->id < peer->node;
    move_connection(discovery->gossip, found->bus, sizeof found->bus,
                    is_lower ? peer->gossip_bus : none, momi_gossip_connect_bus);
    move_connection(discovery->gossip, found->survey, sizeof found->survey,
                    peer->gossip_survey, momi_gossip_connect_survey);
}

void momi_discovery_lane_down(mom_node *node, uint64_t peer) {
    struct momi_discovery *discovery = &node->discovery;
    struct momi_discovery_peer *found =
        discovery->gossip == NULL ? NULL : find_peer(discovery, peer);
    if (found != NULL) {
        discovery->has_changed = true;
        found->is_up = false;
        found->down_us = node->now_us;
    }
}

static void forget_gone(struct momi_discovery *discovery, uint64_t now_us) {
    struct momi_slice none = {0};
    for (size_t i = 0; i < MOMI_DISCOVERY_PEERS_MAX; i++) {
        struct momi_discovery_peer *peer = &discovery->peers[i];
        if (peer->node != 0 && !peer->is_up &&
            now_us > peer->down_us + MOMI_DISCOVERY_GONE_US) {
            move_connection(discovery->gossip, peer->bus, sizeof peer->bus, none, NULL);
            move_connection(discovery->gossip, peer->survey, sizeof peer->survey, none,
                            NULL);
            memset(peer, 0, sizeof *peer);
        }
    }
}

/* --- what is said
 * ---------------------------------------------------------------------------- */

static void begin_presence(const mom_node *node, enum momi_presence_kind kind,
                           struct momi_presence *presence) {
    struct momi_core_state state;
    momi_core_state(node->core, &state);
    presence->kind = kind;
    presence->mesh = state.mesh;
    presence->count = 1;
    presence->records[0] =
        (struct momi_presence_record){.node = node->id,
                                      .incarnation = node->incarnation,
                                      .name = momi_slice_str(node->name),
                                      .address = momi_slice_str(node->address)};
}

/* This node, and the stores that it has lanes to. */
static void make_answer(mom_node *node) {
    struct momi_discovery *discovery = &node->discovery;
    struct momi_presence presence;
    begin_presence(node, MOMI_PRESENCE_HERE, &presence);
    for (size_t i = 0;
         i < MOMI_DISCOVERY_PEERS_MAX && presence.count < MOMI_PRESENCE_RECORDS_MAX;
         i++) {
        const struct momi_discovery_peer *peer = &discovery->peers[i];
        const struct momi_peer_lane *lane =
            peer->node == 0 ? NULL : momi_peers_current(node, peer->node);
        if (lane != NULL && lane->peer.address.size > 0 &&
            lane->peer.address.size <= MOMI_MEMBER_ADDRESS_BYTES_MAX) {
            presence.records[presence.count++] =
                (struct momi_presence_record){.node = lane->peer.node,
                                              .incarnation = lane->peer.incarnation,
                                              .name = lane->peer.name,
                                              .address = lane->peer.address};
        }
    }
    struct momi_bytes bytes = {0};
    if (momi_presence_encode(&presence, &bytes) == MOM_OK) {
        pthread_mutex_lock(&discovery->mutex);
        struct momi_bytes before = discovery->answer;
        discovery->answer = bytes;
        pthread_mutex_unlock(&discovery->mutex);
        bytes = before;
        discovery->has_changed = false;
    }
    momi_bytes_free(&bytes);
}

static bool encode_self(const mom_node *node, enum momi_presence_kind kind,
                        struct momi_bytes *bytes) {
    struct momi_presence presence;
    begin_presence(node, kind, &presence);
    return momi_presence_encode(&presence, bytes) == MOM_OK;
}

static void say_alive(mom_node *node) {
    struct momi_bytes bytes = {0};
    if (encode_self(node, MOMI_PRESENCE_ALIVE, &bytes)) {
        (void)momi_gossip_publish(node->discovery.gossip, momi_bytes_slice(&bytes));
    }
    momi_bytes_free(&bytes);
}

/* After a change at once, then less and less often. */
static void ask_who(mom_node *node, uint64_t now_us) {
    struct momi_discovery *discovery = &node->discovery;
    struct momi_bytes bytes = {0};
    if (encode_self(node, MOMI_PRESENCE_WHO, &bytes) &&
        momi_gossip_ask(discovery->gossip, discovery->surveys_count,
                        momi_bytes_slice(&bytes), MOMI_SURVEY_MS) == MOM_OK) {
        discovery->surveys_count++;
    }
    momi_bytes_free(&bytes);
    discovery->survey_us = now_us + discovery->survey_wait_us;
    if (discovery->survey_wait_us < MOMI_SURVEY_MOST_US) {
        discovery->survey_wait_us *= 2;
    }
}

/* --- what is heard
 * --------------------------------------------------------------------------- */

static bool is_of_our_mesh(const mom_node *node, const struct momi_mesh_id *mesh) {
    struct momi_core_state state;
    momi_core_state(node->core, &state);
    return momi_mesh_id_is_none(&state.mesh) || momi_mesh_id_is_none(mesh) ||
           memcmp(&state.mesh, mesh, sizeof *mesh) == 0;
}

static void heard(mom_node *node, struct momi_slice bytes) {
    struct momi_discovery *discovery = &node->discovery;
    struct momi_presence presence;
    if (momi_presence_decode(bytes, &presence) != MOM_OK) {
        pthread_mutex_lock(&discovery->mutex);
        discovery->invalid++;
        pthread_mutex_unlock(&discovery->mutex);
        return;
    }
    if (!is_of_our_mesh(node, &presence.mesh)) {
        return;
    }
    for (uint32_t i = 0; i < presence.count; i++) {
        const struct momi_presence_record *record = &presence.records[i];
        if (record->node == node->id) {
            continue;
        }
        discovery->hints_count++;
        momi_log(&node->log, MOM_LOG_DEBUG, "MOM-GOSSIP-NODE", "gossip",
                 "node %016llx (%.*s) is said to be at %.*s",
                 (unsigned long long)record->node, (int)record->name.size,
                 (const char *)record->name.data, (int)record->address.size,
                 (const char *)record->address.data);
        struct momi_lane_info info = {.node = record->node,
                                      .incarnation = record->incarnation,
                                      .name = record->name,
                                      .address = record->address};
        struct momi_event event = {
            .type = EV_PEER_HINT, .node = record->node, .lane = &info};
        momi_node_step(node, &event);
    }
}

static void empty_inbox(mom_node *node) {
    struct momi_discovery *discovery = &node->discovery;
    for (int i = 0; i < MOMI_DISCOVERY_INBOX_MAX; i++) {
        struct momi_buf *buf = NULL;
        pthread_mutex_lock(&discovery->mutex);
        if (discovery->inbox.count > 0) {
            buf = *(struct momi_buf **)momi_ring_at(&discovery->inbox, 0);
            momi_ring_pop_front(&discovery->inbox, 1);
        }
        pthread_mutex_unlock(&discovery->mutex);
        if (buf == NULL) {
            return;
        }
        heard(node, momi_buf_slice(buf));
        momi_buf_release(buf);
    }
}

void momi_discovery_time(mom_node *node, uint64_t now_us) {
    struct momi_discovery *discovery = &node->discovery;
    if (discovery->gossip == NULL) {
        return;
    }
    empty_inbox(node);
    forget_gone(discovery, now_us);
    if (discovery->has_changed) {
        make_answer(node);
    }
    if (now_us >= discovery->alive_us) {
        discovery->alive_us = now_us + MOMI_ALIVE_US;
        say_alive(node);
    }
    if (now_us >= discovery->survey_us) {
        ask_who(node, now_us);
    }
}
