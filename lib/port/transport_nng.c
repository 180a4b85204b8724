/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport on nng streams: listeners, dials, and the worker thread.
 *
 * The worker exists because nothing of nng may be torn down from a callback of its own:
 * it retires lanes, frees finished dials, offers refused frames again after a resume, and
 * at the end closes everything. It is the only thread that takes elements out of the
 * lists.
 */
#include "port/transport_nng.h"

#include <errno.h>
#include <time.h>

#include "base/assert.h"
#include "base/mem.h"
#include "port/error_nng.h"

enum { ACCEPT_RETRY_MS = 100 };

struct listener {
    struct momi_transport *transport;
    struct momi_list link; /* momi_transport.listeners */
    nng_stream_listener *handle;
    nng_aio *accept_aio;
    nng_aio *retry_aio; /* waits after a failed accept (no file descriptors left) */
};

struct dial {
    struct momi_transport *transport;
    struct momi_list link; /* momi_transport.dials, then dials_done */
    nng_stream_dialer *handle;
    nng_aio *aio;
    uint64_t token;
};

static void *work(void *user);
static void accept_done(void *user);
static void retry_done(void *user);
static void dial_done(void *user);

/* The class of the result of a dial. A name that does not resolve now may do so later. */
static int class_of_dial(int nng_error) {
    int error = momi_nng_class(nng_error);
    bool is_said = error == MOM_OK || error == MOM_NO_MEMORY || error == MOM_CLOSED ||
                   error == MOM_TIMEOUT;
    return is_said ? error : MOM_UNAVAILABLE;
}

/* ---- open and close ---- */

static int init_locks(struct momi_transport *transport) {
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        return MOM_NO_MEMORY;
    }
    int error = MOM_NO_MEMORY;
    if (pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) != 0 ||
        pthread_mutex_init(&transport->chunks.mutex, NULL) != 0) {
        goto out;
    }
    if (pthread_mutex_init(&transport->mutex, NULL) != 0) {
        goto fail_mutex;
    }
    if (pthread_cond_init(&transport->wake, NULL) != 0) {
        goto fail_wake;
    }
    if (pthread_cond_init(&transport->ended, &monotonic) != 0) {
        goto fail_ended;
    }
    error = MOM_OK;
    goto out;

fail_ended:
    pthread_cond_destroy(&transport->wake);
fail_wake:
    pthread_mutex_destroy(&transport->mutex);
fail_mutex:
    pthread_mutex_destroy(&transport->chunks.mutex);
out:
    pthread_condattr_destroy(&monotonic);
    return error;
}

static void free_transport(struct momi_transport *transport) {
    for (size_t i = 0; i < MOMI_CHUNKS_KEPT; i++) {
        momi_buf_release(transport->chunks.kept[i]);
    }
    pthread_cond_destroy(&transport->ended);
    pthread_cond_destroy(&transport->wake);
    pthread_mutex_destroy(&transport->mutex);
    pthread_mutex_destroy(&transport->chunks.mutex);
    momi_free(transport);
}

int momi_transport_open(struct momi_transport **out,
                        const struct momi_transport_callbacks *callbacks, void *user) {
    struct momi_transport *transport = momi_calloc(1, sizeof *transport);
    if (transport == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a transport");
    }
    transport->callbacks = *callbacks;
    transport->user = user;
    atomic_init(&transport->lane_pending_bytes_max, MOMI_LANE_PENDING_BYTES_MAX);
    momi_list_init(&transport->lanes);
    momi_list_init(&transport->lanes_work);
    momi_list_init(&transport->dials);
    momi_list_init(&transport->dials_done);
    momi_list_init(&transport->listeners);
    if (init_locks(transport) != MOM_OK) {
        momi_free(transport);
        return momi_err(MOM_NO_MEMORY, "no resources for the locks of a transport");
    }
    if (pthread_create(&transport->worker, NULL, work, transport) != 0) {
        free_transport(transport);
        return momi_err(MOM_NO_MEMORY, "cannot start the thread of a transport");
    }
    *out = transport;
    return MOM_OK;
}

void momi_transport_set_lane_pending(struct momi_transport *transport, size_t bytes_max) {
    atomic_store(&transport->lane_pending_bytes_max, bytes_max);
}

int momi_transport_close(struct momi_transport *transport) {
    if (transport == NULL) {
        return MOM_OK;
    }
    struct timespec deadline;
    int result = clock_gettime(CLOCK_MONOTONIC, &deadline);
    MOMI_ASSERT(result == 0);
    deadline.tv_sec += MOMI_TRANSPORT_CLOSE_TIMEOUT_MS / 1000;

    pthread_mutex_lock(&transport->mutex);
    transport->closing = true;
    pthread_cond_signal(&transport->wake);
    int waited = 0;
    while (!transport->has_ended && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&transport->ended, &transport->mutex, &deadline);
    }
    bool has_ended = transport->has_ended;
    pthread_mutex_unlock(&transport->mutex);

    if (!has_ended) {
        atomic_store(&transport->is_muted, true);
        pthread_detach(transport->worker);
        return momi_err(MOM_TIMEOUT,
                        "the network library did not end its connections in %d ms",
                        MOMI_TRANSPORT_CLOSE_TIMEOUT_MS);
    }
    pthread_join(transport->worker, NULL);
    free_transport(transport);
    return MOM_OK;
}

void momi_transport_stats(struct momi_transport *transport,
                          struct momi_transport_stats *stats) {
    stats->bytes_in = atomic_load_explicit(&transport->bytes_in, memory_order_relaxed);
    stats->frames_in = atomic_load_explicit(&transport->frames_in, memory_order_relaxed);
    stats->bytes_out = atomic_load_explicit(&transport->bytes_out, memory_order_relaxed);
    stats->frames_out =
        atomic_load_explicit(&transport->frames_out, memory_order_relaxed);
    stats->refused = atomic_load_explicit(&transport->refused, memory_order_relaxed);
    stats->invalid = atomic_load_explicit(&transport->invalid, memory_order_relaxed);
    pthread_mutex_lock(&transport->mutex);
    stats->lanes = transport->lanes_count;
    pthread_mutex_unlock(&transport->mutex);
}

/* ---- listening ---- */

static void free_listener(struct listener *listener) {
    if (listener->handle != NULL) {
        nng_stream_listener_close(listener->handle);
    }
    if (listener->accept_aio != NULL) {
        nng_aio_stop(listener->accept_aio);
        nng_aio_free(listener->accept_aio);
    }
    if (listener->retry_aio != NULL) {
        nng_aio_stop(listener->retry_aio);
        nng_aio_free(listener->retry_aio);
    }
    if (listener->handle != NULL) {
        nng_stream_listener_free(listener->handle);
    }
    momi_free(listener);
}

static int make_listener(struct momi_transport *transport, const char *address,
                         struct listener **out) {
    struct listener *listener = momi_calloc(1, sizeof *listener);
    if (listener == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory to listen at %s", address);
    }
    listener->transport = transport;
    momi_list_init(&listener->link);
    int result = nng_stream_listener_alloc(&listener->handle, address);
    if (result == 0) {
        result = nng_aio_alloc(&listener->accept_aio, accept_done, listener);
    }
    if (result == 0) {
        result = nng_aio_alloc(&listener->retry_aio, retry_done, listener);
    }
    if (result == 0 && momi_address_is_tcp(address)) {
        result =
            nng_stream_listener_set_bool(listener->handle, NNG_OPT_TCP_NODELAY, true);
    }
    if (result == 0) {
        result = nng_stream_listener_listen(listener->handle);
    }
    if (result != 0) {
        free_listener(listener);
        return momi_err(momi_nng_class(result), "cannot listen at %s: %s", address,
                        nng_strerror(result));
    }
    *out = listener;
    return MOM_OK;
}

static int write_actual(const struct listener *listener, const char *address,
                        char *actual, size_t actual_size) {
    if (actual == NULL) {
        return MOM_OK;
    }
    int port = 0;
    if (momi_address_is_tcp(address)) {
        int result =
            nng_stream_listener_get_int(listener->handle, NNG_OPT_TCP_BOUND_PORT, &port);
        if (result != 0) {
            return momi_err(momi_nng_class(result), "cannot find the port of %s",
                            address);
        }
    }
    return momi_address_write_actual(address, port, actual, actual_size);
}

int momi_transport_listen(struct momi_transport *transport, const char *address,
                          char *actual, size_t actual_size) {
    struct listener *listener = NULL;
    int error = momi_address_check(address, MOMI_ADDRESS_LISTEN);
    if (error == MOM_OK) {
        error = make_listener(transport, address, &listener);
    }
    if (error != MOM_OK) {
        return error;
    }
    error = write_actual(listener, address, actual, actual_size);
    pthread_mutex_lock(&transport->mutex);
    if (error == MOM_OK && transport->closing) {
        error = momi_err(MOM_CLOSED, "the transport is closing");
    }
    if (error == MOM_OK && transport->listeners_count >= MOMI_LISTENERS_MAX) {
        error = momi_err(MOM_FULL, "%d addresses are listened at already",
                         MOMI_LISTENERS_MAX);
    }
    if (error == MOM_OK) {
        momi_list_push_back(&transport->listeners, &listener->link);
        transport->listeners_count++;
        nng_stream_listener_accept(listener->handle, listener->accept_aio);
    }
    pthread_mutex_unlock(&transport->mutex);
    if (error != MOM_OK) {
        free_listener(listener);
    }
    return error;
}

static void hand_out_accepted(struct momi_transport *transport, nng_stream *stream) {
    struct momi_lane *lane;
    if (momi_lane_new(transport, stream, &lane) != MOM_OK) {
        return;
    }
    if (!atomic_load(&transport->is_muted)) {
        transport->callbacks.accepted(transport->user, lane);
    }
    momi_lane_start(lane);
    momi_lane_unref(lane);
}

static void accept_done(void *user) {
    struct listener *listener = user;
    struct momi_transport *transport = listener->transport;
    int result = nng_aio_result(listener->accept_aio);
    if (result == 0) {
        hand_out_accepted(transport, nng_aio_get_output(listener->accept_aio, 0));
    }
    pthread_mutex_lock(&transport->mutex);
    if (!transport->closing) {
        if (result == 0) {
            nng_stream_listener_accept(listener->handle, listener->accept_aio);
        } else {
            nng_sleep_aio(ACCEPT_RETRY_MS, listener->retry_aio);
        }
    }
    pthread_mutex_unlock(&transport->mutex);
}

static void retry_done(void *user) {
    struct listener *listener = user;
    struct momi_transport *transport = listener->transport;
    pthread_mutex_lock(&transport->mutex);
    if (!transport->closing) {
        nng_stream_listener_accept(listener->handle, listener->accept_aio);
    }
    pthread_mutex_unlock(&transport->mutex);
}

/* ---- dialling ---- */

static void free_dial(struct dial *dial) {
    if (dial->handle != NULL) {
        nng_stream_dialer_close(dial->handle);
    }
    if (dial->aio != NULL) {
        nng_aio_stop(dial->aio);
        nng_aio_free(dial->aio);
    }
    if (dial->handle != NULL) {
        nng_stream_dialer_free(dial->handle);
    }
    momi_free(dial);
}

static int make_dial(struct momi_transport *transport, const char *address,
                     uint64_t token, struct dial **out) {
    struct dial *dial = momi_calloc(1, sizeof *dial);
    if (dial == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory to dial %s", address);
    }
    dial->transport = transport;
    dial->token = token;
    momi_list_init(&dial->link);
    int result = nng_stream_dialer_alloc(&dial->handle, address);
    if (result == 0) {
        result = nng_aio_alloc(&dial->aio, dial_done, dial);
    }
    if (result == 0 && momi_address_is_tcp(address)) {
        result = nng_stream_dialer_set_bool(dial->handle, NNG_OPT_TCP_NODELAY, true);
    }
    if (result != 0) {
        free_dial(dial);
        return momi_err(momi_nng_class(result), "cannot dial %s: %s", address,
                        nng_strerror(result));
    }
    nng_aio_set_timeout(dial->aio, MOMI_DIAL_TIMEOUT_MS);
    *out = dial;
    return MOM_OK;
}

int momi_transport_dial(struct momi_transport *transport, const char *address,
                        uint64_t token) {
    struct dial *dial = NULL;
    int error = momi_address_check(address, MOMI_ADDRESS_DIAL);
    if (error == MOM_OK) {
        error = make_dial(transport, address, token, &dial);
    }
    if (error != MOM_OK) {
        return error;
    }
    pthread_mutex_lock(&transport->mutex);
    if (transport->closing) {
        error = momi_err(MOM_CLOSED, "the transport is closing");
    } else if (transport->dials_count >= MOMI_DIALS_MAX) {
        error = momi_err(MOM_FULL, "%d dials are under way", MOMI_DIALS_MAX);
    } else {
        momi_list_push_back(&transport->dials, &dial->link);
        transport->dials_count++;
        nng_stream_dialer_dial(dial->handle, dial->aio);
    }
    pthread_mutex_unlock(&transport->mutex);
    if (error != MOM_OK) {
        free_dial(dial);
    }
    return error;
}

static void dial_done(void *user) {
    struct dial *dial = user;
    struct momi_transport *transport = dial->transport;
    struct momi_lane *lane = NULL;
    int result = nng_aio_result(dial->aio);
    int error = class_of_dial(result);
    if (result == 0) {
        error = momi_lane_new(transport, nng_aio_get_output(dial->aio, 0), &lane);
    }
    if (!atomic_load(&transport->is_muted)) {
        transport->callbacks.dialed(transport->user, dial->token, lane, error);
    }
    if (lane != NULL) {
        momi_lane_start(lane);
        momi_lane_unref(lane);
    }
    pthread_mutex_lock(&transport->mutex);
    momi_list_remove(&dial->link);
    momi_list_push_back(&transport->dials_done, &dial->link);
    pthread_cond_signal(&transport->wake);
    pthread_mutex_unlock(&transport->mutex);
}

/* ---- the worker ---- */

static struct momi_list *pop_locked(struct momi_list *head) {
    if (momi_list_empty(head)) {
        return NULL;
    }
    struct momi_list *link = head->next;
    momi_list_remove(link);
    return link;
}

/* One lane or dial from the work lists. Called and left with the mutex held; false: both
 * are empty. */
static bool work_once_locked(struct momi_transport *transport) {
    struct momi_list *lane_link = pop_locked(&transport->lanes_work);
    if (lane_link != NULL) {
        pthread_mutex_unlock(&transport->mutex);
        momi_lane_work(MOMI_CONTAINER_OF(lane_link, struct momi_lane, work_link));
        pthread_mutex_lock(&transport->mutex);
        return true;
    }
    struct momi_list *dial_link = pop_locked(&transport->dials_done);
    if (dial_link != NULL) {
        MOMI_ASSERT(transport->dials_count > 0);
        transport->dials_count--;
        pthread_mutex_unlock(&transport->mutex);
        free_dial(MOMI_CONTAINER_OF(dial_link, struct dial, link));
        pthread_mutex_lock(&transport->mutex);
        return true;
    }
    return false;
}

/* `closing` is set: nothing is added to the lists any more, but for what is under way. */
static void end_all_locked(struct momi_transport *transport) {
    struct momi_list *link;
    while ((link = pop_locked(&transport->listeners)) != NULL) {
        transport->listeners_count--;
        pthread_mutex_unlock(&transport->mutex);
        free_listener(MOMI_CONTAINER_OF(link, struct listener, link));
        pthread_mutex_lock(&transport->mutex);
    }
    MOMI_LIST_FOR_EACH (dial_link, &transport->dials) {
        /* Its result becomes CLOSED, or a connection that is refused; then it is in
         * dials_done. */
        nng_stream_dialer_close(MOMI_CONTAINER_OF(dial_link, struct dial, link)->handle);
    }
    for (;;) {
        if (work_once_locked(transport)) {
            continue;
        }
        if (transport->dials_count > 0) {
            /* Lanes come last: one that a dial has just made is in the list already, and
             * may not be reported as closed before it is reported as dialled. */
            pthread_cond_wait(&transport->wake, &transport->mutex);
            continue;
        }
        if (momi_list_empty(&transport->lanes)) {
            return;
        }
        struct momi_lane *lane =
            MOMI_CONTAINER_OF(transport->lanes.next, struct momi_lane, lanes_link);
        pthread_mutex_unlock(&transport->mutex);
        momi_lane_retire(lane);
        pthread_mutex_lock(&transport->mutex);
    }
}

static void *work(void *user) {
    struct momi_transport *transport = user;
    pthread_mutex_lock(&transport->mutex);
    while (!transport->closing) {
        if (!work_once_locked(transport)) {
            pthread_cond_wait(&transport->wake, &transport->mutex);
        }
    }
    end_all_locked(transport);
    transport->has_ended = true;
    pthread_cond_signal(&transport->ended);
    pthread_mutex_unlock(&transport->mutex);
    return NULL;
}
