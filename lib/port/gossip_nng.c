/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gossip on nng sockets: one bus, one surveyor, one respondent, made once and closed
 * once. The worker thread frees surveys, forgets peers, and at the end closes the
 * sockets.
 */
#include "port/gossip_nng.h"

#include <errno.h>
#include <nng/protocol/bus0/bus.h>
#include <nng/protocol/survey0/respond.h>
#include <nng/protocol/survey0/survey.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/mem.h"
#include "port/address.h"
#include "port/error_nng.h"

enum {
    MESSAGE_BYTES_MAX = 64 * 1024, /* a datagram with nng's own headers */
    RECONNECT_LEAST_MS = 100,
    RECONNECT_MOST_MS = 10000,
    BUS_RECEIVE_DEPTH = 128,
    IDLE_US = 20000, /* receipt has ended when nothing came for so long */
};

enum peer_kind { PEER_BUS, PEER_SURVEY };

struct peer {
    struct momi_list link; /* momi_gossip.peers, then peers_gone */
    enum peer_kind kind;
    nng_dialer dialer;
    char address[MOMI_ADDRESS_BYTES_MAX];
};

static void *work(void *user);
static void bus_received(void *user);
static void bus_sent(void *user);

static uint64_t now_us(void) {
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC, &now);
    MOMI_ASSERT(result == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* Waits for a signal, at most until `limit_us`; false: the time came. */
static bool wait_until_locked(struct momi_gossip *gossip, pthread_cond_t *condition,
                              uint64_t limit_us) {
    struct timespec limit = {.tv_sec = (time_t)(limit_us / 1000000u),
                             .tv_nsec = (long)(limit_us % 1000000u) * 1000};
    return pthread_cond_timedwait(condition, &gossip->mutex, &limit) != ETIMEDOUT;
}

void momi_gossip_note_receipt(struct momi_gossip *gossip) {
    uint64_t now = now_us();
    pthread_mutex_lock(&gossip->mutex);
    gossip->last_receipt_us = now;
    pthread_mutex_unlock(&gossip->mutex);
}

int momi_gossip_message(struct momi_slice bytes, nng_msg **message) {
    if (bytes.size > MOMI_GOSSIP_BYTES_MAX) {
        return momi_err(MOM_TOO_BIG, "%zu bytes of gossip, at most %d", bytes.size,
                        MOMI_GOSSIP_BYTES_MAX);
    }
    nng_msg *made = NULL;
    if (nng_msg_alloc(&made, 0) != 0) {
        return momi_err(MOM_NO_MEMORY, "no memory for gossip");
    }
    if (bytes.size > 0 && nng_msg_append(made, bytes.data, bytes.size) != 0) {
        nng_msg_free(made);
        return momi_err(MOM_NO_MEMORY, "no memory for %zu bytes of gossip", bytes.size);
    }
    *message = made;
    return MOM_OK;
}

/* ---- open and close ---- */

static int init_locks(struct momi_gossip *gossip) {
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        return MOM_NO_MEMORY;
    }
    int error = MOM_NO_MEMORY;
    if (pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) != 0 ||
        pthread_mutex_init(&gossip->mutex, NULL) != 0) {
        goto out;
    }
    if (pthread_cond_init(&gossip->wake, &monotonic) != 0) {
        goto fail_wake;
    }
    if (pthread_cond_init(&gossip->ended, &monotonic) != 0) {
        goto fail_ended;
    }
    error = MOM_OK;
    goto out;

fail_ended:
    pthread_cond_destroy(&gossip->wake);
fail_wake:
    pthread_mutex_destroy(&gossip->mutex);
out:
    pthread_condattr_destroy(&monotonic);
    return error;
}

static int open_sockets(struct momi_gossip *gossip) {
    int (*const open[])(nng_socket *) = {nng_bus0_open, nng_surveyor0_open,
                                         nng_respondent0_open};
    nng_socket *const sockets[] = {&gossip->bus, &gossip->surveyor, &gossip->respondent};
    for (int i = 0; i < 3; i++) {
        int result = open[i](sockets[i]);
        if (result == 0) {
            gossip->sockets_count++;
            /* The default is unlimited: a peer could make us allocate anything. */
            result =
                nng_socket_set_size(*sockets[i], NNG_OPT_RECVMAXSZ, MESSAGE_BYTES_MAX);
        }
        if (result == 0) {
            result =
                nng_socket_set_ms(*sockets[i], NNG_OPT_RECONNMINT, RECONNECT_LEAST_MS);
        }
        if (result == 0) {
            result =
                nng_socket_set_ms(*sockets[i], NNG_OPT_RECONNMAXT, RECONNECT_MOST_MS);
        }
        if (result == 0 && i == 0) {
            result = nng_socket_set_int(*sockets[i], NNG_OPT_RECVBUF, BUS_RECEIVE_DEPTH);
        }
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

static void close_sockets(struct momi_gossip *gossip) {
    nng_socket sockets[] = {gossip->bus, gossip->surveyor, gossip->respondent};
    for (int i = 0; i < gossip->sockets_count; i++) {
        nng_close(sockets[i]);
    }
    gossip->sockets_count = 0;
    if (gossip->bus_receive_aio != NULL) {
        nng_aio_stop(gossip->bus_receive_aio);
        nng_aio_free(gossip->bus_receive_aio);
    }
    if (gossip->bus_send_aio != NULL) {
        nng_aio_stop(gossip->bus_send_aio);
        nng_aio_free(gossip->bus_send_aio);
    }
    momi_responders_free(gossip);
}

static void free_gossip(struct momi_gossip *gossip) {
    pthread_cond_destroy(&gossip->ended);
    pthread_cond_destroy(&gossip->wake);
    pthread_mutex_destroy(&gossip->mutex);
    momi_free(gossip);
}

int momi_gossip_open(struct momi_gossip **out,
                     const struct momi_gossip_callbacks *callbacks, void *user) {
    struct momi_gossip *gossip = momi_calloc(1, sizeof *gossip);
    if (gossip == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for gossip");
    }
    gossip->callbacks = *callbacks;
    gossip->user = user;
    momi_list_init(&gossip->peers);
    momi_list_init(&gossip->peers_gone);
    momi_list_init(&gossip->surveys);
    momi_list_init(&gossip->surveys_done);
    if (init_locks(gossip) != MOM_OK) {
        momi_free(gossip);
        return momi_err(MOM_NO_MEMORY, "no resources for the locks of gossip");
    }
    int error = MOM_OK;
    int result = open_sockets(gossip);
    if (result == 0) {
        result = nng_aio_alloc(&gossip->bus_receive_aio, bus_received, gossip);
    }
    if (result == 0) {
        result = nng_aio_alloc(&gossip->bus_send_aio, bus_sent, gossip);
    }
    if (result != 0) {
        error = momi_err(momi_nng_class(result), "cannot open the gossip sockets: %s",
                         nng_strerror(result));
    } else {
        error = momi_responders_init(gossip);
    }
    if (error == MOM_OK && pthread_create(&gossip->worker, NULL, work, gossip) != 0) {
        error = momi_err(MOM_NO_MEMORY, "cannot start the thread of gossip");
    }
    if (error != MOM_OK) {
        close_sockets(gossip);
        free_gossip(gossip);
        return error;
    }
    nng_recv_aio(gossip->bus, gossip->bus_receive_aio);
    momi_responders_start(gossip);
    *out = gossip;
    return MOM_OK;
}

int momi_gossip_close(struct momi_gossip *gossip, uint32_t timeout_ms) {
    if (gossip == NULL) {
        return MOM_OK;
    }
    uint64_t start = now_us();
    uint64_t limit = start + (uint64_t)timeout_ms * 1000u;
    pthread_mutex_lock(&gossip->mutex);
    gossip->is_closing = true;
    gossip->quiet_limit_us = start + (uint64_t)timeout_ms * 500u;
    momi_surveys_cancel_locked(gossip);
    pthread_cond_signal(&gossip->wake);
    while (!gossip->has_ended && wait_until_locked(gossip, &gossip->ended, limit)) {
    }
    bool has_ended = gossip->has_ended;
    pthread_mutex_unlock(&gossip->mutex);
    if (!has_ended) {
        atomic_store(&gossip->is_muted, true);
        pthread_detach(gossip->worker);
        return momi_err(MOM_TIMEOUT, "the gossip sockets did not close in %u ms",
                        timeout_ms);
    }
    pthread_join(gossip->worker, NULL);
    free_gossip(gossip);
    return MOM_OK;
}

void momi_gossip_stats(struct momi_gossip *gossip, struct momi_gossip_stats *stats) {
    stats->datagrams_in =
        atomic_load_explicit(&gossip->datagrams_in, memory_order_relaxed);
    stats->datagrams_out =
        atomic_load_explicit(&gossip->datagrams_out, memory_order_relaxed);
    stats->questions_in =
        atomic_load_explicit(&gossip->questions_in, memory_order_relaxed);
    stats->answers_in = atomic_load_explicit(&gossip->answers_in, memory_order_relaxed);
}

/* ---- addresses and peers ---- */

static int listen_at(nng_socket socket, const char *address, nng_listener *listener,
                     char *actual, size_t actual_size) {
    int port = 0;
    int result = nng_listen(socket, address, listener, 0);
    if (result != 0) {
        return momi_err(momi_nng_class(result), "cannot listen at %s: %s", address,
                        nng_strerror(result));
    }
    if (momi_address_is_tcp(address)) {
        result = nng_listener_get_int(*listener, NNG_OPT_TCP_BOUND_PORT, &port);
    }
    int error =
        result == 0
            ? momi_address_write_actual(address, port, actual, actual_size)
            : momi_err(momi_nng_class(result), "cannot find the port of %s", address);
    if (error != MOM_OK) {
        nng_listener_close(*listener);
    }
    return error;
}

int momi_gossip_listen(struct momi_gossip *gossip, const char *bus_address,
                       const char *survey_address, char *bus_actual, char *survey_actual,
                       size_t actual_size) {
    int error = momi_address_check(bus_address, MOMI_ADDRESS_LISTEN);
    if (error == MOM_OK) {
        error = momi_address_check(survey_address, MOMI_ADDRESS_LISTEN);
    }
    if (error != MOM_OK) {
        return error;
    }
    pthread_mutex_lock(&gossip->mutex);
    bool is_refused = gossip->is_closing || gossip->is_listening;
    bool is_closing = gossip->is_closing;
    gossip->is_listening = true;
    pthread_mutex_unlock(&gossip->mutex);
    if (is_refused) {
        return is_closing ? momi_err(MOM_CLOSED, "the gossip is closing")
                          : momi_err(MOM_CONFLICT, "the gossip listens already");
    }
    nng_listener bus_listener;
    nng_listener survey_listener;
    error = listen_at(gossip->bus, bus_address, &bus_listener, bus_actual, actual_size);
    if (error == MOM_OK) {
        error = listen_at(gossip->respondent, survey_address, &survey_listener,
                          survey_actual, actual_size);
        if (error != MOM_OK) {
            nng_listener_close(bus_listener);
        }
    }
    if (error != MOM_OK) {
        pthread_mutex_lock(&gossip->mutex);
        gossip->is_listening = false;
        pthread_mutex_unlock(&gossip->mutex);
    }
    return error;
}

static bool is_known_locked(const struct momi_gossip *gossip, enum peer_kind kind,
                            const char *address) {
    MOMI_LIST_FOR_EACH (link, &gossip->peers) {
        const struct peer *peer = MOMI_CONTAINER_OF(link, struct peer, link);
        if (peer->kind == kind && strcmp(peer->address, address) == 0) {
            return true;
        }
    }
    return false;
}

/* Starting a dialer without waiting only queues work in nng, so it is done under the
 * mutex. */
static int add_peer_locked(struct momi_gossip *gossip, struct peer *peer) {
    if (gossip->is_closing) {
        return momi_err(MOM_CLOSED, "the gossip is closing");
    }
    if (is_known_locked(gossip, peer->kind, peer->address)) {
        return momi_err(MOM_EXISTS, "%s is connected to already", peer->address);
    }
    if (gossip->peers_count >= MOMI_GOSSIP_PEERS_MAX) {
        return momi_err(MOM_FULL, "%d gossip peers already", MOMI_GOSSIP_PEERS_MAX);
    }
    nng_socket socket = peer->kind == PEER_BUS ? gossip->bus : gossip->surveyor;
    int result = nng_dialer_create(&peer->dialer, socket, peer->address);
    if (result == 0) {
        result = nng_dialer_start(peer->dialer, NNG_FLAG_NONBLOCK);
        if (result != 0) {
            nng_dialer_close(peer->dialer);
        }
    }
    if (result != 0) {
        return momi_err(momi_nng_class(result), "cannot dial %s: %s", peer->address,
                        nng_strerror(result));
    }
    momi_list_push_back(&gossip->peers, &peer->link);
    gossip->peers_count++;
    return MOM_OK;
}

static int connect_peer(struct momi_gossip *gossip, enum peer_kind kind,
                        const char *address) {
    int error = momi_address_check(address, MOMI_ADDRESS_DIAL);
    if (error != MOM_OK) {
        return error;
    }
    struct peer *peer = momi_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a gossip peer");
    }
    momi_list_init(&peer->link);
    peer->kind = kind;
    memcpy(peer->address, address, strlen(address) + 1);
    pthread_mutex_lock(&gossip->mutex);
    error = add_peer_locked(gossip, peer);
    pthread_mutex_unlock(&gossip->mutex);
    if (error != MOM_OK) {
        momi_free(peer);
    }
    return error;
}

int momi_gossip_connect_bus(struct momi_gossip *gossip, const char *address) {
    return connect_peer(gossip, PEER_BUS, address);
}

int momi_gossip_connect_survey(struct momi_gossip *gossip, const char *address) {
    return connect_peer(gossip, PEER_SURVEY, address);
}

int momi_gossip_disconnect(struct momi_gossip *gossip, const char *address) {
    int error = MOM_NOT_FOUND;
    pthread_mutex_lock(&gossip->mutex);
    if (gossip->is_closing) {
        error = MOM_CLOSED;
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &gossip->peers) {
        struct peer *peer = MOMI_CONTAINER_OF(link, struct peer, link);
        if (error != MOM_CLOSED && strcmp(peer->address, address) == 0) {
            momi_list_remove(link);
            gossip->peers_count--;
            momi_list_push_back(&gossip->peers_gone, link);
            pthread_cond_signal(&gossip->wake);
            error = MOM_OK;
        }
    }
    pthread_mutex_unlock(&gossip->mutex);
    return error;
}

/* ---- the bus ---- */

static void bus_received(void *user) {
    struct momi_gossip *gossip = user;
    int result = nng_aio_result(gossip->bus_receive_aio);
    if (result == 0) {
        nng_msg *message = nng_aio_get_msg(gossip->bus_receive_aio);
        momi_gossip_note_receipt(gossip);
        atomic_fetch_add_explicit(&gossip->datagrams_in, 1, memory_order_relaxed);
        if (!atomic_load(&gossip->is_muted)) {
            gossip->callbacks.received(
                gossip->user, momi_slice(nng_msg_body(message), nng_msg_len(message)));
        }
        nng_msg_free(message);
    }
    if (result == NNG_ECLOSED) {
        return;
    }
    pthread_mutex_lock(&gossip->mutex);
    if (!gossip->is_stopped) {
        nng_recv_aio(gossip->bus, gossip->bus_receive_aio);
    }
    pthread_mutex_unlock(&gossip->mutex);
}

static void send_next_locked(struct momi_gossip *gossip) {
    if (gossip->is_sending || gossip->pending_count == 0 || gossip->is_stopped) {
        return;
    }
    nng_aio_set_msg(gossip->bus_send_aio, gossip->pending[gossip->pending_first]);
    gossip->pending_first = (gossip->pending_first + 1) % MOMI_GOSSIP_PENDING_MAX;
    gossip->pending_count--;
    gossip->is_sending = true;
    nng_send_aio(gossip->bus, gossip->bus_send_aio);
}

static void bus_sent(void *user) {
    struct momi_gossip *gossip = user;
    if (nng_aio_result(gossip->bus_send_aio) != 0) {
        nng_msg_free(nng_aio_get_msg(gossip->bus_send_aio));
        nng_aio_set_msg(gossip->bus_send_aio, NULL);
    }
    pthread_mutex_lock(&gossip->mutex);
    gossip->is_sending = false;
    send_next_locked(gossip);
    if (gossip->is_closing && !gossip->is_sending) {
        pthread_cond_signal(&gossip->wake);
    }
    pthread_mutex_unlock(&gossip->mutex);
}

int momi_gossip_publish(struct momi_gossip *gossip, struct momi_slice datagram) {
    nng_msg *message = NULL;
    int error = momi_gossip_message(datagram, &message);
    if (error != MOM_OK) {
        return error;
    }
    pthread_mutex_lock(&gossip->mutex);
    if (gossip->is_closing) {
        error = momi_err(MOM_CLOSED, "the gossip is closing");
    } else if (gossip->pending_count == MOMI_GOSSIP_PENDING_MAX) {
        error =
            momi_err(MOM_FULL, "%d datagrams wait for the bus", MOMI_GOSSIP_PENDING_MAX);
    } else {
        size_t slot =
            (gossip->pending_first + gossip->pending_count) % MOMI_GOSSIP_PENDING_MAX;
        gossip->pending[slot] = message;
        gossip->pending_count++;
        send_next_locked(gossip);
    }
    pthread_mutex_unlock(&gossip->mutex);
    if (error != MOM_OK) {
        nng_msg_free(message);
        return error;
    }
    atomic_fetch_add_explicit(&gossip->datagrams_out, 1, memory_order_relaxed);
    return MOM_OK;
}

/* ---- the worker ---- */

/* One survey or peer from the lists of what is to be freed. Called and left with the
 * mutex held; false: both are empty. */
static bool work_once_locked(struct momi_gossip *gossip) {
    if (!momi_list_empty(&gossip->surveys_done)) {
        struct momi_list *link = gossip->surveys_done.next;
        momi_list_remove(link);
        pthread_mutex_unlock(&gossip->mutex);
        momi_survey_free(MOMI_CONTAINER_OF(link, struct momi_survey, link));
        pthread_mutex_lock(&gossip->mutex);
        gossip->surveys_count--;
        return true;
    }
    if (!momi_list_empty(&gossip->peers_gone)) {
        struct peer *peer = MOMI_CONTAINER_OF(gossip->peers_gone.next, struct peer, link);
        momi_list_remove(&peer->link);
        pthread_mutex_unlock(&gossip->mutex);
        nng_dialer_close(peer->dialer);
        momi_free(peer);
        pthread_mutex_lock(&gossip->mutex);
        return true;
    }
    return false;
}

/* Until our datagrams are out and nothing came for a while; at most until quiet_limit_us.
 */
static void wait_quiet_locked(struct momi_gossip *gossip) {
    uint64_t begin = now_us();
    for (;;) {
        uint64_t last = gossip->last_receipt_us > begin ? gossip->last_receipt_us : begin;
        uint64_t until = last + IDLE_US;
        uint64_t now = now_us();
        bool is_sent = !gossip->is_sending && gossip->pending_count == 0;
        if (now >= gossip->quiet_limit_us || (is_sent && now >= until)) {
            return;
        }
        if (!is_sent || until > gossip->quiet_limit_us) {
            until = gossip->quiet_limit_us;
        }
        wait_until_locked(gossip, &gossip->wake, until);
    }
}

static void end_all_locked(struct momi_gossip *gossip) {
    while (gossip->surveys_count > 0 || !momi_list_empty(&gossip->peers_gone)) {
        if (!work_once_locked(gossip)) {
            pthread_cond_wait(&gossip->wake, &gossip->mutex);
        }
    }
    wait_quiet_locked(gossip);
    gossip->is_stopped = true;
    while (gossip->pending_count > 0) {
        nng_msg_free(gossip->pending[gossip->pending_first]);
        gossip->pending_first = (gossip->pending_first + 1) % MOMI_GOSSIP_PENDING_MAX;
        gossip->pending_count--;
    }
    pthread_mutex_unlock(&gossip->mutex);
    close_sockets(gossip);
    pthread_mutex_lock(&gossip->mutex);
    MOMI_LIST_FOR_EACH_SAFE (link, after, &gossip->peers) {
        momi_list_remove(link); /* its dialer went with the socket */
        momi_free(MOMI_CONTAINER_OF(link, struct peer, link));
    }
}

static void *work(void *user) {
    struct momi_gossip *gossip = user;
    pthread_mutex_lock(&gossip->mutex);
    while (!gossip->is_closing) {
        if (!work_once_locked(gossip)) {
            pthread_cond_wait(&gossip->wake, &gossip->mutex);
        }
    }
    end_all_locked(gossip);
    gossip->has_ended = true;
    pthread_cond_signal(&gossip->ended);
    pthread_mutex_unlock(&gossip->mutex);
    return NULL;
}
