/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends of lanes for tests: a transport whose callbacks keep a record that the test thread
 * waits on. Test frames carry a sequence number and bytes that follow from it, so that
 * the receiving end checks order and content by itself. Nothing here asserts on a thread
 * of the transport; findings are counted.
 */
#ifndef MOM_TESTS_LANE_ENDS_H
#define MOM_TESTS_LANE_ENDS_H

#include <pthread.h>
#include <stdatomic.h>

#include "port/transport.h"
#include "t.h"

enum {
    END_LANES_MAX = 1024,
    END_CHUNKS_MAX = 64,
    WAIT_SECONDS = 30, /* of anything; a machine under load and sanitizers is slow */
    FRAME_HEAD_BYTES = 8,
};

/* What an end does with the frames that it receives. */
enum end_mode {
    END_COUNT,  /* checks and counts */
    END_ECHO,   /* sends them back; stops reading while the way back is full */
    END_REFUSE, /* answers false until the mode changes */
    END_FICKLE, /* answers false now and then; a thread of the test resumes */
    END_KEEP,   /* counts, and keeps a reference on the chunk */
};

/* All records of all ends are guarded by one lock, so that a test can wait for either
 * side. */
extern pthread_mutex_t ends_mutex;
extern pthread_cond_t ends_changed;

struct end;

struct end_lane {
    struct end *end;
    struct momi_lane *lane;
    uint64_t frames;   /* taken */
    uint64_t wrong;    /* of them, out of order or with other bytes */
    uint64_t refusals; /* offers answered with false */
    uint64_t drained;
    uint64_t closed;
    uint64_t after_closed; /* callbacks that came too late */
    int close_error;
    bool is_dialled;
    bool is_released;
    size_t echoed; /* frames of the current offer that were sent back already */
    struct momi_buf *kept[END_CHUNKS_MAX];
    struct momi_slice kept_frames[END_CHUNKS_MAX];
    size_t kept_count;
};

struct end {
    struct momi_transport *transport;
    char address[MOMI_ADDRESS_BYTES_MAX]; /* where it listens */
    _Atomic(enum end_mode) mode;
    struct end_lane *lanes[END_LANES_MAX]; /* in the order of accepted and dialled */
    size_t lanes_count;
    uint64_t dial_results;
    uint64_t dial_failures;
    int dial_error;      /* of the last that failed */
    uint64_t dial_token; /* of the last result */
    uint64_t closed;
};

/* Listens at `address` unless it is NULL; `pending` 0: the default limit. */
void end_open(struct end *end, const char *address, size_t pending);
/* Closes, and checks what must hold at the end of each test: every lane closed exactly
 * once and last. */
void end_close(struct end *end);
/* Dials and waits for the lane, on both sides. */
void connect_ends(struct end *dialler, struct end *listener, struct end_lane **dialled,
                  struct end_lane **accepted);
/* Waits, at most WAIT_SECONDS, and fails the test if it did not come true. */
#define WAIT_FOR(condition)                                                              \
    do {                                                                                 \
        pthread_mutex_lock(&ends_mutex);                                                 \
        struct timespec limit = wait_limit();                                            \
        int waited = 0;                                                                  \
        while (!(condition) && waited == 0) {                                            \
            waited = pthread_cond_timedwait(&ends_changed, &ends_mutex, &limit);         \
        }                                                                                \
        bool has_come = (condition);                                                     \
        pthread_mutex_unlock(&ends_mutex);                                               \
        if (!has_come) {                                                                 \
            fail_msg("%s:%d: not within %d s: %s", __FILE__, __LINE__, WAIT_SECONDS,     \
                     #condition);                                                        \
        }                                                                                \
    } while (0)
struct timespec wait_limit(void);

/* The frame number `sequence` of `size` bytes, at least FRAME_HEAD_BYTES; in static
 * memory. */
struct momi_slice test_frame(uint64_t sequence, size_t size);
bool is_test_frame(struct momi_slice frame, uint64_t sequence);
/* Sends it, waits for room when the lane is full. */
void send_frame(struct end_lane *from, uint64_t sequence, size_t size);

/* A plain socket to the end's tcp address; and one that has sent `bytes`. */
int raw_connect(const struct end *end);
void raw_send(int fd, const void *bytes, size_t size);

#endif
