/* SPDX-License-Identifier: Apache-2.0 */
/* See lane_ends.h. */
#include "lane_ends.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/pack.h"
#include "port/transport.h"

enum { PATTERN_BYTES = 256, FICKLE_ONE_IN = 3 };

pthread_mutex_t ends_mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t ends_changed = PTHREAD_COND_INITIALIZER;

/* ---- frames ---- */

struct momi_slice test_frame(uint64_t sequence, size_t size) {
    static uint8_t frame[MOMI_FRAME_BYTES_MAX];
    momi_store_le64(frame, sequence);
    for (size_t i = FRAME_HEAD_BYTES; i < size; i++) {
        frame[i] = (uint8_t)(sequence * 7 + i * 13 + (i >> 8));
    }
    return momi_slice(frame, size);
}

bool is_test_frame(struct momi_slice frame, uint64_t sequence) {
    if (frame.size < FRAME_HEAD_BYTES || momi_load_le64(frame.data) != sequence) {
        return false;
    }
    for (size_t i = FRAME_HEAD_BYTES; i < frame.size; i++) {
        if (frame.data[i] != (uint8_t)(sequence * 7 + i * 13 + (i >> 8))) {
            return false;
        }
    }
    return true;
}

void send_frame(struct end_lane *from, uint64_t sequence, size_t size) {
    struct momi_slice frame = test_frame(sequence, size);
    struct momi_slice parts[3] = {
        momi_slice(frame.data, FRAME_HEAD_BYTES), momi_slice(NULL, 0),
        momi_slice(frame.data + FRAME_HEAD_BYTES, size - FRAME_HEAD_BYTES)};
    for (;;) {
        pthread_mutex_lock(&ends_mutex);
        uint64_t drained = from->drained;
        pthread_mutex_unlock(&ends_mutex);
        int error = momi_lane_send(from->lane, parts, 3);
        if (error != MOM_FULL) {
            CHECK_OK(error);
            return;
        }
        WAIT_FOR(from->drained > drained || from->closed > 0);
    }
}

/* ---- callbacks ---- */

static void add_lane(struct end *end, struct momi_lane *lane, bool is_dialled) {
    struct end_lane *record = calloc(1, sizeof *record);
    record->end = end;
    record->lane = lane;
    record->is_dialled = is_dialled;
    momi_lane_set_user(lane, record);
    pthread_mutex_lock(&ends_mutex);
    if (end->lanes_count < END_LANES_MAX) {
        end->lanes[end->lanes_count++] = record;
    }
    pthread_cond_broadcast(&ends_changed);
    pthread_mutex_unlock(&ends_mutex);
}

static void on_accepted(void *user, struct momi_lane *lane) {
    add_lane(user, lane, false);
}

static void on_dialed(void *user, uint64_t token, struct momi_lane *lane, int error) {
    struct end *end = user;
    if (lane != NULL) {
        add_lane(end, lane, true);
    }
    pthread_mutex_lock(&ends_mutex);
    end->dial_results++;
    end->dial_token = token;
    if ((error == MOM_OK) != (lane != NULL)) {
        end->dial_failures += END_LANES_MAX; /* never right */
    }
    if (error != MOM_OK) {
        end->dial_failures++;
        end->dial_error = error;
    }
    pthread_cond_broadcast(&ends_changed);
    pthread_mutex_unlock(&ends_mutex);
}

static bool echo(struct end_lane *record, const struct momi_slice *frames, size_t count) {
    while (record->echoed < count) {
        int error = momi_lane_send(record->lane, &frames[record->echoed], 1);
        if (error == MOM_FULL) {
            return false; /* on_drained resumes */
        }
        if (error != MOM_OK) {
            break; /* closed: taken and lost */
        }
        record->echoed++;
    }
    record->echoed = 0;
    momi_lane_flush(record->lane);
    return true;
}

static void keep(struct end_lane *record, struct momi_buf *chunk,
                 struct momi_slice frame) {
    size_t slot = record->kept_count % END_CHUNKS_MAX;
    momi_buf_release(record->kept[slot]);
    record->kept[slot] = momi_buf_ref(chunk);
    record->kept_frames[slot] = frame;
    record->kept_count++;
}

static bool takes(struct end_lane *record, struct momi_buf *chunk,
                  const struct momi_slice *frames, size_t count) {
    switch (atomic_load(&record->end->mode)) {
    case END_ECHO:
        return echo(record, frames, count);
    case END_REFUSE:
        return false;
    case END_FICKLE:
        return (record->refusals + record->frames) % FICKLE_ONE_IN != 0;
    case END_KEEP:
        for (size_t i = 0; i < count; i++) {
            keep(record, chunk, frames[i]);
        }
        return true;
    case END_COUNT:
        break;
    }
    return true;
}

static bool on_received(void *user, struct momi_lane *lane, struct momi_buf *chunk,
                        const struct momi_slice *frames, size_t count) {
    (void)user;
    struct end_lane *record = momi_lane_user(lane);
    bool is_taken = takes(record, chunk, frames, count);
    uint64_t wrong = 0;
    for (size_t i = 0; is_taken && i < count; i++) {
        bool is_inside = frames[i].data >= chunk->data &&
                         frames[i].data + frames[i].size <= chunk->data + chunk->room;
        if (!is_inside || !is_test_frame(frames[i], record->frames + i)) {
            wrong++;
        }
    }
    pthread_mutex_lock(&ends_mutex);
    record->after_closed += record->closed;
    if (is_taken) {
        record->frames += count;
        record->wrong += wrong;
    } else {
        record->refusals++;
    }
    pthread_cond_broadcast(&ends_changed);
    pthread_mutex_unlock(&ends_mutex);
    return is_taken;
}

static void on_drained(void *user, struct momi_lane *lane) {
    struct end *end = user;
    struct end_lane *record = momi_lane_user(lane);
    pthread_mutex_lock(&ends_mutex);
    record->drained++;
    record->after_closed += record->closed;
    pthread_cond_broadcast(&ends_changed);
    pthread_mutex_unlock(&ends_mutex);
    if (atomic_load(&end->mode) == END_ECHO) {
        momi_lane_resume(lane);
    }
}

static void on_closed(void *user, struct momi_lane *lane, int error) {
    struct end *end = user;
    struct end_lane *record = momi_lane_user(lane);
    pthread_mutex_lock(&ends_mutex);
    record->closed++;
    record->close_error = error;
    end->closed++;
    pthread_cond_broadcast(&ends_changed);
    pthread_mutex_unlock(&ends_mutex);
}

/* ---- ends ---- */

struct timespec wait_limit(void) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += WAIT_SECONDS;
    return limit;
}

void end_open(struct end *end, const char *address, size_t pending) {
    static const struct momi_transport_callbacks callbacks = {.accepted = on_accepted,
                                                              .dialed = on_dialed,
                                                              .received = on_received,
                                                              .drained = on_drained,
                                                              .closed = on_closed};
    memset(end, 0, sizeof *end);
    atomic_init(&end->mode, END_COUNT);
    CHECK_OK(momi_transport_open(&end->transport, &callbacks, end));
    if (pending > 0) {
        momi_transport_set_lane_pending(end->transport, pending);
    }
    if (address != NULL) {
        CHECK_OK(momi_transport_listen(end->transport, address, end->address,
                                       sizeof end->address));
    }
}

void end_close(struct end *end) {
    CHECK_OK(momi_transport_close(end->transport));
    /* All callbacks are done: no lock needed, and TSan would tell if they were not. */
    for (size_t i = 0; i < end->lanes_count; i++) {
        struct end_lane *record = end->lanes[i];
        CHECK_EQ(record->closed, 1);
        CHECK_EQ(record->after_closed, 0);
        CHECK_EQ(record->wrong, 0);
        CHECK_ERR(momi_lane_send(record->lane,
                                 &(struct momi_slice){(const uint8_t *)"x", 1}, 1),
                  MOM_CLOSED);
        CHECK_EQ(momi_lane_pending_bytes(record->lane), 0);
        momi_lane_close(record->lane);
        momi_lane_resume(record->lane);
        momi_lane_flush(record->lane);
        momi_lane_release(record->lane);
        for (size_t k = 0; k < END_CHUNKS_MAX; k++) {
            momi_buf_release(record->kept[k]);
        }
        free(record);
    }
}

static struct end_lane *newest(struct end *end, bool is_dialled) {
    struct end_lane *found = NULL;
    pthread_mutex_lock(&ends_mutex);
    for (size_t i = 0; i < end->lanes_count; i++) {
        if (end->lanes[i]->is_dialled == is_dialled) {
            found = end->lanes[i];
        }
    }
    pthread_mutex_unlock(&ends_mutex);
    return found;
}

void connect_ends(struct end *dialler, struct end *listener, struct end_lane **dialled,
                  struct end_lane **accepted) {
    pthread_mutex_lock(&ends_mutex);
    size_t before = listener->lanes_count;
    uint64_t results = dialler->dial_results;
    pthread_mutex_unlock(&ends_mutex);
    CHECK_OK(momi_transport_dial(dialler->transport, listener->address, 7));
    WAIT_FOR(dialler->dial_results > results);
    CHECK_EQ(dialler->dial_failures, 0);
    WAIT_FOR(listener->lanes_count > before);
    *dialled = newest(dialler, true);
    *accepted = newest(listener, false);
    CHECK(*dialled != NULL);
    CHECK(*accepted != NULL);
}

/* ---- raw sockets ---- */

int raw_connect(const struct end *end) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_port = htons((uint16_t)strtoul(strrchr(end->address, ':') + 1, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK_OK(connect(fd, (const struct sockaddr *)&address, sizeof address));
    return fd;
}

void raw_send(int fd, const void *bytes, size_t size) {
    CHECK_EQ(send(fd, bytes, size, MSG_NOSIGNAL), size);
}
