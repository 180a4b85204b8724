/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See peers.h: life of lanes, callbacks of the transport, frames in, time.
 */
#include "node/peers.h"

#include "base/assert.h"
#include "base/mem.h"
#include "node/node_internal.h"
#include "port/clock.h"
#include "wire/codec.h"

/* --- callbacks: any thread
 * ---------------------------------------------------------------- */

static struct momi_peer_lane *lane_new(mom_node *node, struct momi_lane *lane) {
    struct momi_peer_lane *created = momi_calloc(1, sizeof *created);
    if (created == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&created->mutex, NULL) != 0) {
        momi_free(created);
        return NULL;
    }
    momi_post_init(&created->post, POST_LANE);
    momi_post_init(&created->end_post, POST_LANE_END);
    momi_list_init(&created->all_link);
    momi_list_init(&created->touched_link);
    momi_ring_init(&created->inbox, sizeof(struct momi_incoming));
    momi_ring_init(&created->taken, sizeof(struct momi_incoming));
    momi_outbox_init(&created->outbox);
    created->node = node;
    created->lane = lane;
    created->state = LANE_HELLO;
    created->down_reason = MOMI_DOWN_CLOSED;
    created->opened_us = momi_clock_monotonic_us();
    atomic_init(&created->heard_us, created->opened_us);
    momi_lane_set_user(lane, created);
    pthread_mutex_lock(&node->peers.mutex);
    momi_list_push_back(&node->peers.all, &created->all_link);
    pthread_mutex_unlock(&node->peers.mutex);
    return created;
}

static void accepted(void *user, struct momi_lane *lane) {
    mom_node *node = user;
    struct momi_peer_lane *created = lane_new(node, lane);
    if (created == NULL) {
        momi_lane_close(lane); /* `closed` releases it */
        return;
    }
    (void)momi_mailbox_post(&node->mailbox, &created->post);
}

static void dialed(void *user, uint64_t token, struct momi_lane *lane, int error) {
    mom_node *node = user;
    struct momi_dial *dial = (struct momi_dial *)(uintptr_t)token;
    dial->error = error;
    if (lane != NULL) {
        struct momi_peer_lane *created = lane_new(node, lane);
        if (created == NULL) {
            dial->error = MOM_NO_MEMORY;
            momi_lane_close(lane);
        } else {
            created->we_dialed = true;
            created->dial_token = dial->token;
            created->dial_node = dial->expected;
            created->connection = dial->connection;
            (void)momi_mailbox_post(&node->mailbox, &created->post);
        }
    }
    (void)momi_mailbox_post(&node->mailbox, &dial->post);
}

/* All or nothing: what was pushed of a refused call is taken back. */
static bool push_frames(struct momi_peer_lane *lane, struct momi_buf *chunk,
                        const struct momi_slice *frames, size_t count) {
    if (lane->inbox_bytes > MOMI_INBOX_BYTES_MAX ||
        !momi_ring_reserve(&lane->inbox, lane->inbox.count + count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct momi_incoming *in = momi_ring_push(&lane->inbox);
        MOMI_ASSERT(in != NULL); /* it was reserved */
        in->buf = momi_buf_ref(chunk);
        in->bytes = frames[i];
        lane->inbox_bytes += frames[i].size;
    }
    return true;
}

static bool received(void *user, struct momi_lane *lane, struct momi_buf *chunk,
                     const struct momi_slice *frames, size_t count) {
    mom_node *node = user;
    struct momi_peer_lane *peer = momi_lane_user(lane);
    if (peer == NULL) {
        return true; /* being closed for want of memory */
    }
    atomic_store_explicit(&peer->heard_us, momi_clock_monotonic_us(),
                          memory_order_relaxed);
    pthread_mutex_lock(&peer->mutex);
    bool is_taken = push_frames(peer, chunk, frames, count);
    peer->is_stopped = !is_taken;
    pthread_mutex_unlock(&peer->mutex);
    (void)momi_mailbox_bring(&node->mailbox, &peer->post);
    momi_node_visit(node);
    return is_taken;
}

static void drained(void *user, struct momi_lane *lane) {
    mom_node *node = user;
    struct momi_peer_lane *peer = momi_lane_user(lane);
    if (peer != NULL) {
        pthread_mutex_lock(&peer->mutex);
        peer->is_drained = true;
        pthread_mutex_unlock(&peer->mutex);
        (void)momi_mailbox_post(&node->mailbox, &peer->post);
    }
}

static void closed(void *user, struct momi_lane *lane, int error) {
    mom_node *node = user;
    struct momi_peer_lane *peer = momi_lane_user(lane);
    if (peer == NULL) {
        momi_lane_release(lane);
        return;
    }
    peer->gone_error = error;
    (void)momi_mailbox_post(&node->mailbox, &peer->end_post); /* the loop frees it */
}

/* --- life
 * ------------------------------------------------------------------------------------ */

int momi_peers_init(struct momi_peers *peers) {
    memset(peers, 0, sizeof *peers);
    momi_list_init(&peers->all);
    momi_list_init(&peers->dials);
    momi_list_init(&peers->touched);
    peers->check_us = MOMI_NEVER;
    return pthread_mutex_init(&peers->mutex, NULL) == 0
               ? MOM_OK
               : momi_err(MOM_NO_MEMORY, "no memory for a mutex");
}

/* No thread of the network is started before somebody is to be reached. */
static int need_transport(mom_node *node) {
    if (node->peers.transport != NULL) {
        return MOM_OK;
    }
    static const struct momi_transport_callbacks callbacks = {.accepted = accepted,
                                                              .dialed = dialed,
                                                              .received = received,
                                                              .drained = drained,
                                                              .closed = closed};
    int error = momi_transport_open(&node->peers.transport, &callbacks, node);
    if (error == MOM_OK) {
        momi_transport_set_lane_pending(node->peers.transport, MOMI_LANE_BYTES_MAX);
    }
    return error;
}

int momi_peers_listen(mom_node *node, const char *address, char *actual, size_t size) {
    int error = need_transport(node);
    return error != MOM_OK
               ? error
               : momi_transport_listen(node->peers.transport, address, actual, size);
}

static void release_ring(struct momi_ring *ring) {
    for (size_t i = 0; i < ring->count; i++) {
        momi_buf_release(((struct momi_incoming *)momi_ring_at(ring, i))->buf);
    }
    momi_ring_free(ring);
}

/* `closed` is over: nobody else knows the lane any more. */
static void lane_free(struct momi_peer_lane *lane) {
    struct momi_peers *peers = &lane->node->peers;
    pthread_mutex_lock(&peers->mutex);
    momi_list_remove(&lane->all_link);
    pthread_mutex_unlock(&peers->mutex);
    momi_list_remove(&lane->touched_link);
    momi_mailbox_unpost(&lane->node->mailbox, &lane->post);
    momi_mailbox_unpost(&lane->node->mailbox, &lane->end_post);
    release_ring(&lane->inbox);
    release_ring(&lane->taken);
    momi_outbox_clear(&lane->outbox);
    momi_join_reset(&lane->join);
    momi_bytes_free(&lane->own_hello);
    momi_bytes_free(&lane->peer_hello);
    pthread_mutex_destroy(&lane->mutex);
    momi_lane_release(lane->lane);
    momi_free(lane);
}

static void dial_free(mom_node *node, struct momi_dial *dial) {
    pthread_mutex_lock(&node->peers.mutex);
    momi_list_remove(&dial->all_link);
    pthread_mutex_unlock(&node->peers.mutex);
    momi_mailbox_unpost(&node->mailbox, &dial->post);
    momi_free(dial);
}

int momi_peers_close(struct momi_peers *peers) {
    int error = momi_transport_close(peers->transport);
    peers->transport = NULL;
    if (error != MOM_OK) {
        return error; /* lanes of which `closed` never came stay behind */
    }
    while (!momi_list_empty(&peers->all)) {
        lane_free(MOMI_CONTAINER_OF(peers->all.next, struct momi_peer_lane, all_link));
    }
    while (!momi_list_empty(&peers->dials)) {
        struct momi_dial *dial =
            MOMI_CONTAINER_OF(peers->dials.next, struct momi_dial, all_link);
        dial_free(dial->node, dial);
    }
    momi_map_free(&peers->current);
    pthread_mutex_destroy(&peers->mutex);
    return MOM_OK;
}

/* --- the current lane of a node
 * ----------------------------------------------------------- */

struct momi_peer_lane *momi_peers_current(const mom_node *node, uint64_t peer) {
    struct momi_map_node *at = momi_map_first(&node->peers.current, momi_hash_u64(peer));
    for (; at != NULL; at = momi_map_next(at)) {
        struct momi_peer_lane *lane =
            MOMI_CONTAINER_OF(at, struct momi_peer_lane, by_node);
        if (lane->peer.node == peer) {
            return lane;
        }
    }
    return NULL;
}

static void set_current(struct momi_peer_lane *lane, bool is_current) {
    struct momi_peers *peers = &lane->node->peers;
    if (lane->is_current == is_current) {
        return;
    }
    lane->is_current = is_current;
    if (is_current) {
        momi_map_insert(&peers->current, &lane->by_node, momi_hash_u64(lane->peer.node));
        peers->up_count++;
    } else {
        momi_map_remove(&peers->current, &lane->by_node);
        peers->up_count--;
    }
}

static uint64_t dialler(const struct momi_peer_lane *lane) {
    return lane->we_dialed ? lane->node->id : lane->peer.node;
}

static uint64_t connection_of(const struct momi_peer_lane *lane) {
    return lane->we_dialed ? lane->connection : lane->peer.connection;
}

bool momi_lane_may_replace(const struct momi_peer_lane *lane) {
    const struct momi_peer_lane *old = momi_peers_current(lane->node, lane->peer.node);
    if (old == NULL || old == lane || lane->peer.incarnation > old->peer.incarnation) {
        return true;
    }
    if (lane->peer.incarnation < old->peer.incarnation ||
        lane->peer.boot_nonce != old->peer.boot_nonce) {
        return false; /* D1: a copy of its directory, or an older life */
    }
    if (dialler(lane) == dialler(old)) {
        return connection_of(lane) > connection_of(old);
    }
    return dialler(lane) < dialler(old);
}

void momi_lane_shut(struct momi_peer_lane *lane) {
    lane->state = LANE_LEAVING;
    if (!lane->is_closing) {
        lane->is_closing = true;
        momi_lane_close(lane->lane);
    }
}

static void answer_dial(struct momi_peer_lane *lane, int error) {
    if (lane->we_dialed && !lane->is_answered) {
        lane->is_answered = true;
        struct momi_event event = {
            .type = EV_DIAL_FAILED, .token = lane->dial_token, .error = error};
        momi_node_step(lane->node, &event);
    }
}

void momi_lane_leave(struct momi_peer_lane *lane, uint64_t close_us, int error) {
    lane->state = LANE_LEAVING;
    lane->leaving_us = close_us;
    answer_dial(lane, error);
}

void momi_lane_passed(struct momi_peer_lane *lane) {
    mom_node *node = lane->node;
    struct momi_peer_lane *old = momi_peers_current(node, lane->peer.node);
    if (old != NULL) {
        /* Not closed at once: its end may not have seen the new one, and would take the
         * loss for ours (R5). */
        set_current(old, false);
        momi_lane_leave(old, node->now_us + MOMI_REFUSED_US, MOM_EXISTS);
    }
    lane->state = LANE_UP;
    lane->is_answered = true;
    set_current(lane, true);
    struct momi_lane_info info = {.node = lane->peer.node,
                                  .incarnation = lane->peer.incarnation,
                                  .role = lane->peer.role,
                                  .mesh = lane->peer.mesh,
                                  .founders_hash = lane->peer.founders_hash,
                                  .name = lane->peer.name,
                                  .address = lane->peer.address,
                                  .we_dialed = lane->we_dialed,
                                  .dial_token = lane->dial_token};
    momi_log(&node->log, MOM_LOG_INFO, "MOM-LANE-UP", "lane",
             "lane to node %016llx (%.*s) at %s", (unsigned long long)lane->peer.node,
             (int)lane->peer.name.size, (const char *)lane->peer.name.data,
             momi_lane_peer(lane->lane));
    struct momi_event event = {.type = EV_LANE_UP, .node = info.node, .lane = &info};
    momi_node_step(node, &event);
    momi_discovery_lane_up(node, &lane->peer);
}

/* --- frames in
 * ----------------------------------------------------------------------------- */

static void frame_in(struct momi_peer_lane *lane, struct momi_slice bytes,
                     struct momi_buf *buf) {
    mom_node *node = lane->node;
    struct momi_frame frame;
    int error = momi_codec_decode(bytes, buf, &node->arena, &frame);
    if (error != MOM_OK) {
        node->peers.frames_invalid++;
        momi_log(&node->log, MOM_LOG_WARNING, "MOM-FRAME-INVALID", "lane",
                 "a frame of %s is not readable: %s", momi_lane_peer(lane->lane),
                 mom_last_error_text());
        if (error == MOM_CORRUPT || error == MOM_INVALID) {
            momi_lane_shut(lane);
        }
        return;
    }
    node->peers.frames_in++;
    struct momi_event event = {
        .type = EV_FRAME, .node = lane->peer.node, .frame = &frame};
    momi_node_step(node, &event);
}

static void fragment_in(struct momi_peer_lane *lane, struct momi_slice bytes) {
    struct momi_buf *whole = NULL;
    int error = momi_join_add(&lane->join, bytes, &whole);
    if (error != MOM_OK) {
        lane->node->peers.frames_invalid++;
        momi_lane_shut(lane);
    } else if (whole != NULL) {
        frame_in(lane, momi_buf_slice(whole), whole);
        momi_buf_release(whole);
    }
}

static void bytes_in(struct momi_peer_lane *lane, const struct momi_incoming *in) {
    enum momi_wire_kind kind = momi_wire_kind(in->bytes);
    if (lane->state == LANE_LEAVING) {
        return;
    }
    if (kind == MOMI_WIRE_HELLO) {
        momi_handshake_message(lane, in->bytes);
    } else if (lane->state == LANE_UP && kind == MOMI_WIRE_FRAME) {
        frame_in(lane, in->bytes, in->buf);
    } else if (lane->state == LANE_UP && kind == MOMI_WIRE_FRAGMENT) {
        fragment_in(lane, in->bytes);
    } else {
        lane->node->peers.frames_invalid++;
        momi_log(&lane->node->log, MOM_LOG_WARNING, "MOM-LANE-STRANGER", "lane",
                 "%s does not speak our language", momi_lane_peer(lane->lane));
        momi_lane_shut(lane);
    }
}

/* True: all that had come was handled. */
static bool handle_inbox(struct momi_peer_lane *lane) {
    uint64_t until_us = momi_clock_monotonic_us() + MOMI_TURN_US;
    size_t done = 0;
    while (done < lane->taken.count) {
        struct momi_incoming in =
            *(struct momi_incoming *)momi_ring_at(&lane->taken, done);
        done++;
        bytes_in(lane, &in);
        momi_buf_release(in.buf);
        if (done % MOMI_TURN_CHECK == 0 && momi_clock_monotonic_us() > until_us) {
            break;
        }
    }
    momi_ring_pop_front(&lane->taken, done);
    return lane->taken.count == 0;
}

/* --- what was posted
 * -------------------------------------------------------------------------- */

static void lane_gone(mom_node *node, struct momi_peer_lane *lane, int error) {
    if (lane->is_current) {
        set_current(lane, false);
        momi_log(&node->log, MOM_LOG_INFO, "MOM-LANE-DOWN", "lane",
                 "lane to node %016llx is gone: %s", (unsigned long long)lane->peer.node,
                 mom_strerror(error));
        struct momi_event event = {
            .type = EV_LANE_DOWN, .node = lane->peer.node, .reason = lane->down_reason};
        momi_node_step(node, &event);
        momi_discovery_lane_down(node, lane->peer.node);
    }
    answer_dial(lane, error == MOM_CLOSED ? MOM_UNAVAILABLE : error);
    lane_free(lane);
}

static void tell_room(struct momi_peer_lane *lane) {
    bool is_full = lane->outbox.bytes > MOMI_OUTBOX_FULL_BYTES;
    bool has_room = lane->outbox.bytes <= MOMI_OUTBOX_ROOM_BYTES;
    if (!lane->is_current || (lane->full_told ? !has_room : !is_full)) {
        return;
    }
    lane->full_told = is_full;
    struct momi_event event = {.type = is_full ? EV_LANE_FULL : EV_LANE_ROOM,
                               .node = lane->peer.node};
    momi_node_step(lane->node, &event);
}

void momi_peers_lane(mom_node *node, struct momi_peer_lane *lane) {
    if (!lane->has_begun) {
        lane->has_begun = true;
        momi_handshake_begin(lane);
    }
    pthread_mutex_lock(&lane->mutex);
    if (lane->taken.count == 0) {
        struct momi_ring taken = lane->inbox;
        lane->inbox = lane->taken;
        lane->taken = taken;
        lane->inbox_bytes = 0;
    }
    bool is_drained = lane->is_drained;
    lane->is_drained = false;
    bool may_resume = lane->is_stopped && lane->inbox_bytes == 0;
    if (may_resume) {
        lane->is_stopped = false;
    }
    pthread_mutex_unlock(&lane->mutex);
    if (may_resume) {
        momi_lane_resume(lane->lane);
    }
    if (is_drained) {
        lane->outbox.is_blocked = false;
        momi_outbox_pump(lane);
    }
    tell_room(lane);
    bool is_done = handle_inbox(lane);
    if (!is_done) {
        (void)momi_mailbox_post(&node->mailbox, &lane->post);
    } else if (lane->is_gone) {
        lane_gone(node, lane, lane->gone_error);
    }
}

void momi_peers_lane_end(mom_node *node, struct momi_peer_lane *lane) {
    lane->is_gone = true;
    momi_peers_lane(node, lane);
}

void momi_peers_dialed(mom_node *node, struct momi_dial *dial) {
    if (dial->error != MOM_OK) {
        struct momi_event event = {
            .type = EV_DIAL_FAILED, .token = dial->token, .error = dial->error};
        momi_node_step(node, &event);
    }
    dial_free(node, dial);
}

/* --- effects
 * ----------------------------------------------------------------------------------- */

/* A dial that could not begin is answered like one that failed: by its post. */
void momi_peers_dial(mom_node *node, const struct momi_effect *effect) {
    struct momi_dial *dial = momi_calloc(1, sizeof *dial);
    if (dial == NULL) {
        if (node->peers.lost_dials_count < MOMI_LOST_DIALS_MAX) {
            node->peers.lost_dials[node->peers.lost_dials_count++] = effect->token;
        }
        return;
    }
    momi_post_init(&dial->post, POST_DIAL);
    momi_list_init(&dial->all_link);
    dial->node = node;
    dial->token = effect->token;
    dial->expected = effect->node;
    dial->connection = ++node->peers.connection_next;
    pthread_mutex_lock(&node->peers.mutex);
    momi_list_push_back(&node->peers.dials, &dial->all_link);
    pthread_mutex_unlock(&node->peers.mutex);
    char address[MOMI_ADDRESS_BYTES_MAX];
    int error = MOM_INVALID;
    if (effect->address.size < sizeof address) {
        memcpy(address, effect->address.data, effect->address.size);
        address[effect->address.size] = '\0';
        error = need_transport(node);
        if (error == MOM_OK) {
            error = momi_transport_dial(node->peers.transport, address,
                                        (uint64_t)(uintptr_t)dial);
        }
    }
    if (error != MOM_OK) {
        dial->error = error;
        (void)momi_mailbox_post(&node->mailbox, &dial->post);
    }
}

void momi_peers_hangup(mom_node *node, uint64_t peer) {
    struct momi_peer_lane *lane = momi_peers_current(node, peer);
    if (lane != NULL) {
        lane->down_reason = MOMI_DOWN_LOCAL;
        momi_lane_flush(lane->lane); /* a goodbye goes as far as it goes */
        momi_lane_leave(lane, node->now_us + MOMI_LANES_CHECK_US, MOM_CLOSED);
        momi_lane_shut(lane);
    }
}

void momi_peers_flush(mom_node *node) {
    while (!momi_list_empty(&node->peers.touched)) {
        struct momi_peer_lane *lane = MOMI_CONTAINER_OF(
            node->peers.touched.next, struct momi_peer_lane, touched_link);
        momi_list_remove(&lane->touched_link);
        momi_lane_flush(lane->lane);
    }
}

/* --- time
 * ----------------------------------------------------------------------------------------
 */

uint64_t momi_peers_deadline(const mom_node *node) {
    if (node->peers.lost_dials_count > 0) {
        return node->now_us;
    }
    return node->peers.transport == NULL ? MOMI_NEVER : node->peers.check_us;
}

static void check_lane(mom_node *node, struct momi_peer_lane *lane, uint64_t now_us) {
    uint64_t heard_us = atomic_load_explicit(&lane->heard_us, memory_order_relaxed);
    switch (lane->state) {
    case LANE_HELLO:
    case LANE_PROOF:
        if (now_us > lane->opened_us + MOMI_HANDSHAKE_US) {
            momi_log(&node->log, MOM_LOG_WARNING, "MOM-LANE-SLOW", "lane",
                     "%s did not finish its handshake", momi_lane_peer(lane->lane));
            answer_dial(lane, MOM_TIMEOUT);
            momi_lane_shut(lane);
        }
        break;
    case LANE_UP:
        if (now_us > heard_us + MOMI_SILENCE_US) {
            lane->down_reason = MOMI_DOWN_SILENT;
            momi_lane_shut(lane);
        }
        break;
    case LANE_LEAVING:
        if (now_us > lane->leaving_us) {
            momi_lane_shut(lane);
        }
        break;
    }
}

void momi_peers_time(mom_node *node, uint64_t now_us) {
    struct momi_peers *peers = &node->peers;
    while (peers->lost_dials_count > 0) {
        struct momi_event event = {.type = EV_DIAL_FAILED,
                                   .token = peers->lost_dials[--peers->lost_dials_count],
                                   .error = MOM_NO_MEMORY};
        momi_node_step(node, &event);
    }
    if (peers->transport == NULL) {
        return;
    }
    if (peers->check_us != MOMI_NEVER && now_us < peers->check_us) {
        return;
    }
    peers->check_us = now_us + MOMI_LANES_CHECK_US;
    momi_discovery_time(node, now_us);
    /* Callbacks append only; the loop alone removes. So the list may be walked in steps.
     */
    pthread_mutex_lock(&peers->mutex);
    struct momi_list *link = peers->all.next;
    pthread_mutex_unlock(&peers->mutex);
    while (link != &peers->all) {
        struct momi_peer_lane *lane =
            MOMI_CONTAINER_OF(link, struct momi_peer_lane, all_link);
        if (lane->has_begun) {
            check_lane(node, lane, now_us);
        }
        pthread_mutex_lock(&peers->mutex);
        link = link->next;
        pthread_mutex_unlock(&peers->mutex);
    }
}

size_t momi_peers_stores_up(mom_node *node) {
    size_t count = 0;
    pthread_mutex_lock(&node->peers.mutex);
    MOMI_LIST_FOR_EACH (link, &node->peers.all) {
        const struct momi_peer_lane *lane =
            MOMI_CONTAINER_OF(link, struct momi_peer_lane, all_link);
        count += lane->is_current && lane->peer.role == MOMI_ROLE_STORE ? 1 : 0;
    }
    pthread_mutex_unlock(&node->peers.mutex);
    return count;
}

size_t momi_peers_pending(const mom_node *node) {
    size_t pending = 0;
    struct momi_peers *peers = (struct momi_peers *)(uintptr_t)&node->peers;
    pthread_mutex_lock(&peers->mutex);
    MOMI_LIST_FOR_EACH (link, &peers->all) {
        struct momi_peer_lane *lane =
            MOMI_CONTAINER_OF(link, struct momi_peer_lane, all_link);
        if (lane->is_current && !lane->is_closing) {
            pending += momi_lane_pending_bytes(lane->lane) + lane->outbox.bytes;
        }
    }
    pthread_mutex_unlock(&peers->mutex);
    return pending;
}
