/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane: one nng_stream connection with frames on it.
 *
 * Sending copies frames into `filling`; when no write is under way the two buffers change
 * places. So what is queued during a write leaves with the next one: coalescing without a
 * timer. Receiving reads into one chunk and offers the complete frames in it; a chunk is
 * refilled from its start when nobody else holds it, filled up behind the frames that
 * somebody holds otherwise, and replaced when its rest is too small. So a steady flow
 * allocates nothing, and bytes that somebody holds are never written.
 *
 * One receive and one send are in flight at most: with more, this nng completes them out
 * of order.
 */
#include "port/transport_nng.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/pack.h"

enum {
    LENGTH_BYTES = 4,
    READ_BYTES_MIN = 4096, /* a chunk with less room behind its bytes is replaced */
    IDLE_BYTES_MAX =
        1024 * 1024, /* a larger write buffer is given back when the lane falls idle */
    DRAINED_DIVISOR = 4, /* drained: at a quarter of the limit */
};

static void receive_done(void *user);
static void send_done(void *user);

/* ---- life ---- */

static void describe_peer(struct momi_lane *lane) {
    nng_sockaddr address;
    lane->peer[0] = '\0';
    if (nng_stream_get_addr(lane->stream, NNG_OPT_REMADDR, &address) != 0) {
        return;
    }
    if (address.s_family == NNG_AF_INET) {
        const uint8_t *ip = (const uint8_t *)&address.s_in.sa_addr;
        const uint8_t *port = (const uint8_t *)&address.s_in.sa_port;
        snprintf(lane->peer, sizeof lane->peer, "tcp://%u.%u.%u.%u:%u", ip[0], ip[1],
                 ip[2], ip[3], port[0] * 256u + port[1]);
    } else if (address.s_family == NNG_AF_INET6) {
        const uint8_t *ip = address.s_in6.sa_addr;
        const uint8_t *port = (const uint8_t *)&address.s_in6.sa_port;
        size_t used = (size_t)snprintf(lane->peer, sizeof lane->peer, "tcp://[");
        for (size_t i = 0; i < 16; i += 2) {
            used += (size_t)snprintf(lane->peer + used, sizeof lane->peer - used, "%s%x",
                                     i == 0 ? "" : ":", ip[i] * 256u + ip[i + 1]);
        }
        snprintf(lane->peer + used, sizeof lane->peer - used, "]:%u",
                 port[0] * 256u + port[1]);
    } else if (address.s_family == NNG_AF_IPC) {
        snprintf(lane->peer, sizeof lane->peer, "ipc://%s", address.s_ipc.sa_path);
    }
}

void momi_lane_unref(struct momi_lane *lane) {
    unsigned before = atomic_fetch_sub_explicit(&lane->refs, 1, memory_order_acq_rel);
    MOMI_ASSERT(before > 0);
    if (before == 1) {
        pthread_mutex_destroy(&lane->mutex);
        momi_free(lane);
    }
}

/* Frees a lane that nobody has seen, but for its stream. */
static void discard_new(struct momi_lane *lane) {
    nng_aio_free(lane->receive_aio);
    nng_aio_free(lane->send_aio);
    momi_buf_release(lane->chunk);
    pthread_mutex_destroy(&lane->mutex);
    momi_free(lane);
}

static struct momi_lane *make_lane(struct momi_transport *transport, nng_stream *stream) {
    struct momi_lane *lane = momi_calloc(1, sizeof *lane);
    if (lane == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&lane->mutex, NULL) != 0) {
        momi_free(lane);
        return NULL;
    }
    lane->transport = transport;
    lane->stream = stream;
    atomic_init(&lane->refs, 3);
    atomic_init(&lane->is_dead, false);
    lane->pending_bytes_max = atomic_load(&transport->lane_pending_bytes_max);
    momi_list_init(&lane->lanes_link);
    momi_list_init(&lane->work_link);
    lane->chunk = momi_chunk_get(&transport->chunks);
    if (lane->chunk == NULL ||
        nng_aio_alloc(&lane->receive_aio, receive_done, lane) != 0 ||
        nng_aio_alloc(&lane->send_aio, send_done, lane) != 0) {
        discard_new(lane);
        return NULL;
    }
    describe_peer(lane);
    return lane;
}

int momi_lane_new(struct momi_transport *transport, nng_stream *stream,
                  struct momi_lane **out) {
    int error = MOM_OK;
    struct momi_lane *lane = make_lane(transport, stream);
    if (lane == NULL) {
        error = MOM_NO_MEMORY;
        goto fail;
    }
    pthread_mutex_lock(&transport->mutex);
    if (transport->closing) {
        error = MOM_CLOSED;
    } else if (transport->lanes_count >= MOMI_LANES_MAX) {
        error = MOM_FULL;
    } else {
        momi_list_push_back(&transport->lanes, &lane->lanes_link);
        transport->lanes_count++;
    }
    pthread_mutex_unlock(&transport->mutex);
    if (error != MOM_OK) {
        discard_new(lane);
        goto fail;
    }
    *out = lane;
    return MOM_OK;

fail:
    /* No operation was ever submitted on the stream, so this is allowed in a callback. */
    nng_stream_close(stream);
    nng_stream_free(stream);
    atomic_fetch_add_explicit(&transport->refused, 1, memory_order_relaxed);
    return error;
}

static void post_to_worker(struct momi_lane *lane) {
    struct momi_transport *transport = lane->transport;
    pthread_mutex_lock(&transport->mutex);
    if (!momi_list_linked(&lane->work_link)) {
        momi_list_push_back(&transport->lanes_work, &lane->work_link);
        pthread_cond_signal(&transport->wake);
    }
    pthread_mutex_unlock(&transport->mutex);
}

/* From here on nothing is submitted; the worker does the rest. */
static void fail_locked(struct momi_lane *lane, int error) {
    if (!atomic_load_explicit(&lane->is_dead, memory_order_relaxed)) {
        atomic_store_explicit(&lane->is_dead, true, memory_order_release);
        lane->close_error = error;
        post_to_worker(lane);
    }
}

static void fail(struct momi_lane *lane, int error) {
    pthread_mutex_lock(&lane->mutex);
    fail_locked(lane, error);
    pthread_mutex_unlock(&lane->mutex);
}

static bool is_dead(const struct momi_lane *lane) {
    return atomic_load_explicit(&lane->is_dead, memory_order_acquire);
}

static bool is_muted(const struct momi_lane *lane) {
    return atomic_load_explicit(&lane->transport->is_muted, memory_order_acquire);
}

void momi_lane_retire(struct momi_lane *lane) {
    struct momi_transport *transport = lane->transport;
    fail(lane, MOM_CLOSED); /* unless it has failed before */
    nng_stream_close(lane->stream);
    nng_aio_stop(lane->receive_aio);
    nng_aio_stop(lane->send_aio);
    nng_stream_free(lane->stream);
    nng_aio_free(lane->receive_aio);
    nng_aio_free(lane->send_aio);
    momi_chunk_put(&transport->chunks, lane->chunk);
    lane->chunk = NULL;

    pthread_mutex_lock(&lane->mutex);
    int error = lane->close_error;
    momi_bytes_free(&lane->filling);
    momi_bytes_free(&lane->flying);
    lane->flying_sent = 0;
    pthread_mutex_unlock(&lane->mutex);

    pthread_mutex_lock(&transport->mutex);
    momi_list_remove(&lane->lanes_link);
    momi_list_remove(&lane->work_link);
    MOMI_ASSERT(transport->lanes_count > 0);
    transport->lanes_count--;
    pthread_mutex_unlock(&transport->mutex);

    if (error == MOM_INVALID) {
        atomic_fetch_add_explicit(&transport->invalid, 1, memory_order_relaxed);
    }
    if (!is_muted(lane)) {
        transport->callbacks.closed(transport->user, lane, error);
    }
    momi_lane_unref(lane);
}

void momi_lane_close(struct momi_lane *lane) { fail(lane, MOM_CLOSED); }

void momi_lane_release(struct momi_lane *lane) {
    MOMI_ASSERT(is_dead(lane));
    momi_lane_unref(lane);
}

void momi_lane_set_user(struct momi_lane *lane, void *lane_user) {
    atomic_store_explicit(&lane->user, lane_user, memory_order_release);
}

void *momi_lane_user(const struct momi_lane *lane) {
    return atomic_load_explicit(&lane->user, memory_order_acquire);
}

const char *momi_lane_peer(const struct momi_lane *lane) { return lane->peer; }

/* ---- sending ---- */

static size_t pending_locked(const struct momi_lane *lane) {
    return lane->filling.size + lane->flying.size - lane->flying_sent;
}

static void submit_send_locked(struct momi_lane *lane) {
    nng_iov rest = {.iov_buf = lane->flying.data + lane->flying_sent,
                    .iov_len = lane->flying.size - lane->flying_sent};
    int result = nng_aio_set_iov(lane->send_aio, 1, &rest);
    MOMI_ASSERT(result == 0); /* refuses only more than eight parts */
    nng_stream_send(lane->stream, lane->send_aio);
}

static void start_write_locked(struct momi_lane *lane) {
    if (lane->is_sending || lane->filling.size == 0 || is_dead(lane)) {
        return;
    }
    struct momi_bytes written = lane->flying;
    lane->flying = lane->filling;
    lane->filling = written;
    momi_bytes_clear(&lane->filling);
    lane->flying_sent = 0;
    lane->is_sending = true;
    submit_send_locked(lane);
}

static void finish_write_locked(struct momi_lane *lane) {
    momi_bytes_clear(&lane->flying);
    lane->flying_sent = 0;
    lane->is_sending = false;
    start_write_locked(lane);
    if (!lane->is_sending) {
        if (lane->flying.room > IDLE_BYTES_MAX) {
            momi_bytes_free(&lane->flying);
        }
        if (lane->filling.room > IDLE_BYTES_MAX) {
            momi_bytes_free(&lane->filling);
        }
    }
}

static void send_done(void *user) {
    struct momi_lane *lane = user;
    int result = nng_aio_result(lane->send_aio);
    bool is_drained = false;
    pthread_mutex_lock(&lane->mutex);
    if (result != 0) {
        fail_locked(lane, MOM_UNAVAILABLE);
    } else if (!is_dead(lane)) {
        /* A write may be partial. */
        lane->flying_sent += nng_aio_count(lane->send_aio);
        MOMI_ASSERT(lane->flying_sent <= lane->flying.size);
        if (lane->flying_sent < lane->flying.size) {
            submit_send_locked(lane);
        } else {
            finish_write_locked(lane);
        }
        is_drained = lane->is_drain_owed &&
                     pending_locked(lane) <= lane->pending_bytes_max / DRAINED_DIVISOR;
        if (is_drained) {
            lane->is_drain_owed = false;
        }
    }
    pthread_mutex_unlock(&lane->mutex);
    if (is_drained && !is_muted(lane)) {
        lane->transport->callbacks.drained(lane->transport->user, lane);
    }
}

static int append_frame_locked(struct momi_lane *lane, const struct momi_slice *parts,
                               size_t parts_count, size_t size) {
    struct momi_bytes *out = &lane->filling;
    if (!momi_bytes_reserve(out, LENGTH_BYTES + size)) {
        out->failed = false; /* nothing was appended; later frames may fit */
        return momi_err(MOM_NO_MEMORY, "no memory to queue a frame of %zu bytes", size);
    }
    uint8_t length[LENGTH_BYTES];
    momi_store_le32(length, (uint32_t)size);
    momi_bytes_append(out, length, sizeof length);
    for (size_t i = 0; i < parts_count; i++) {
        momi_bytes_append(out, parts[i].data, parts[i].size);
    }
    MOMI_ASSERT(!out->failed);
    atomic_fetch_add_explicit(&lane->transport->frames_out, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&lane->transport->bytes_out, LENGTH_BYTES + size,
                              memory_order_relaxed);
    return MOM_OK;
}

int momi_lane_send(struct momi_lane *lane, const struct momi_slice *parts,
                   size_t parts_count) {
    size_t size = 0;
    for (size_t i = 0; i < parts_count; i++) {
        if (parts[i].size > MOMI_FRAME_BYTES_MAX - size) {
            return momi_err(MOM_TOO_BIG, "a frame over %d bytes", MOMI_FRAME_BYTES_MAX);
        }
        size += parts[i].size;
    }
    if (size == 0) {
        return momi_err(MOM_INVALID, "an empty frame");
    }
    int error = MOM_OK;
    pthread_mutex_lock(&lane->mutex);
    size_t pending = pending_locked(lane);
    if (is_dead(lane)) {
        error = MOM_CLOSED;
    } else if (pending > 0 && pending + LENGTH_BYTES + size > lane->pending_bytes_max) {
        /* `drained` comes out of a write; make sure that there is one. */
        lane->is_drain_owed = true;
        start_write_locked(lane);
        error = MOM_FULL;
    } else {
        error = append_frame_locked(lane, parts, parts_count, size);
    }
    pthread_mutex_unlock(&lane->mutex);
    return error;
}

void momi_lane_flush(struct momi_lane *lane) {
    pthread_mutex_lock(&lane->mutex);
    start_write_locked(lane);
    pthread_mutex_unlock(&lane->mutex);
}

size_t momi_lane_pending_bytes(struct momi_lane *lane) {
    pthread_mutex_lock(&lane->mutex);
    size_t pending = pending_locked(lane);
    pthread_mutex_unlock(&lane->mutex);
    return pending;
}

/* ---- receiving ---- */

static void submit_receive(struct momi_lane *lane) {
    pthread_mutex_lock(&lane->mutex);
    if (!is_dead(lane)) { /* a dead lane may have no chunk any more */
        nng_iov rest = {.iov_buf = lane->chunk->data + lane->chunk_used,
                        .iov_len = lane->chunk->room - lane->chunk_used};
        MOMI_ASSERT(rest.iov_len > 0);
        lane->receive_state = MOMI_RECEIVE_READING;
        int result = nng_aio_set_iov(lane->receive_aio, 1, &rest);
        MOMI_ASSERT(result == 0);
        nng_stream_recv(lane->stream, lane->receive_aio);
    }
    pthread_mutex_unlock(&lane->mutex);
}

void momi_lane_start(struct momi_lane *lane) { submit_receive(lane); }

/* True: the frames were taken. False: the lane is stopped, or dead. */
static bool offer(struct momi_lane *lane, const struct momi_slice *frames, size_t count) {
    struct momi_transport *transport = lane->transport;
    while (!is_dead(lane) && !is_muted(lane)) {
        if (transport->callbacks.received(transport->user, lane, lane->chunk, frames,
                                          count)) {
            return true;
        }
        pthread_mutex_lock(&lane->mutex);
        bool is_stopped = !lane->is_resume_wanted;
        lane->is_resume_wanted = false;
        if (is_stopped) {
            lane->receive_state = MOMI_RECEIVE_STOPPED;
        }
        pthread_mutex_unlock(&lane->mutex);
        if (is_stopped) {
            return false;
        }
    }
    return false;
}

/* Offers all complete frames of the chunk. True: all were taken and it may read on. */
static bool offer_chunk(struct momi_lane *lane) {
    struct momi_transport *transport = lane->transport;
    struct momi_slice frames[MOMI_RECEIVE_FRAMES_MAX];
    const uint8_t *data = lane->chunk->data;
    size_t count;
    do {
        size_t at = lane->chunk_at;
        bool is_legal = true;
        for (count = 0; count < MOMI_RECEIVE_FRAMES_MAX; count++) {
            if (lane->chunk_used - at < LENGTH_BYTES) {
                break;
            }
            size_t size = momi_load_le32(data + at);
            is_legal = size > 0 && size <= MOMI_FRAME_BYTES_MAX;
            if (!is_legal || lane->chunk_used - at - LENGTH_BYTES < size) {
                break;
            }
            frames[count] = momi_slice(data + at + LENGTH_BYTES, size);
            at += LENGTH_BYTES + size;
        }
        if (count > 0) {
            /* Counted first, so that who has seen a frame finds it counted. */
            atomic_fetch_add_explicit(&transport->frames_in, count, memory_order_relaxed);
            if (!offer(lane, frames, count)) {
                atomic_fetch_sub_explicit(&transport->frames_in, count,
                                          memory_order_relaxed);
                return false;
            }
            lane->chunk_at = at;
        }
        if (!is_legal) {
            fail(lane, MOM_INVALID);
            return false;
        }
    } while (count == MOMI_RECEIVE_FRAMES_MAX);
    return true;
}

/* The bytes not taken, at most the head of one frame, move to a buffer that has room for
 * all of it. */
static bool replace_chunk(struct momi_lane *lane, size_t left, size_t need) {
    struct momi_chunk_pool *pool = &lane->transport->chunks;
    struct momi_buf *chunk =
        need <= MOMI_CHUNK_BYTES ? momi_chunk_get(pool) : momi_buf_new(need);
    if (chunk == NULL) {
        return false;
    }
    memcpy(chunk->data, lane->chunk->data + lane->chunk_at, left);
    momi_chunk_put(pool, lane->chunk);
    lane->chunk = chunk;
    lane->chunk_at = 0;
    lane->chunk_used = left;
    return true;
}

/* Room for the rest of the frame that has begun, or for the next. False: no memory. */
static bool make_room(struct momi_lane *lane) {
    struct momi_buf *chunk = lane->chunk;
    size_t left = lane->chunk_used - lane->chunk_at;
    size_t need = LENGTH_BYTES;
    if (left >= LENGTH_BYTES) {
        need += momi_load_le32(chunk->data + lane->chunk_at);
    }
    bool is_usual = chunk->room == MOMI_CHUNK_BYTES;
    bool is_ours = atomic_load_explicit(&chunk->refs, memory_order_acquire) == 1;
    if (need > chunk->room || (!is_usual && left == 0)) {
        return replace_chunk(lane, left, need);
    }
    if (is_ours && left == 0) {
        lane->chunk_at = 0;
        lane->chunk_used = 0;
        return true;
    }
    bool is_roomy = chunk->room - lane->chunk_at >= need &&
                    (!is_usual || chunk->room - lane->chunk_used >= READ_BYTES_MIN);
    if (is_roomy) {
        return true;
    }
    if (!is_ours) {
        return replace_chunk(lane, left, need);
    }
    memmove(chunk->data, chunk->data + lane->chunk_at, left);
    lane->chunk_at = 0;
    lane->chunk_used = left;
    return true;
}

static void offer_and_read_on(struct momi_lane *lane) {
    if (!offer_chunk(lane)) {
        return;
    }
    if (!make_room(lane)) {
        fail(lane, MOM_NO_MEMORY);
        return;
    }
    submit_receive(lane);
}

static void receive_done(void *user) {
    struct momi_lane *lane = user;
    size_t size = nng_aio_count(lane->receive_aio);
    if (nng_aio_result(lane->receive_aio) != 0 || size == 0) {
        fail(lane, MOM_UNAVAILABLE);
        return;
    }
    lane->chunk_used += size;
    MOMI_ASSERT(lane->chunk_used <= lane->chunk->room);
    atomic_fetch_add_explicit(&lane->transport->bytes_in, size, memory_order_relaxed);
    offer_and_read_on(lane);
}

void momi_lane_resume(struct momi_lane *lane) {
    pthread_mutex_lock(&lane->mutex);
    if (!is_dead(lane)) {
        if (lane->receive_state == MOMI_RECEIVE_STOPPED) {
            lane->receive_state = MOMI_RECEIVE_RESUMING;
            post_to_worker(lane);
        } else {
            lane->is_resume_wanted = true;
        }
    }
    pthread_mutex_unlock(&lane->mutex);
}

void momi_lane_work(struct momi_lane *lane) {
    pthread_mutex_lock(&lane->mutex);
    bool is_resuming = lane->receive_state == MOMI_RECEIVE_RESUMING;
    if (is_resuming) {
        lane->receive_state = MOMI_RECEIVE_READING;
    }
    pthread_mutex_unlock(&lane->mutex);
    if (is_dead(lane)) {
        momi_lane_retire(lane);
    } else if (is_resuming) {
        offer_and_read_on(lane);
    }
}
