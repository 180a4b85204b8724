/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rates and round trips of a lane between two transports in this process.
 *
 *     bench_lane [SECONDS [ADDRESS]]
 *
 * Throughput: one thread sends frames, flushing after each `burst` of them, as a turn of
 * the loop does; the receiver reads one byte of each frame. Round trip: one frame at a
 * time, answered in the callback.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "port/clock.h"
#include "port/transport.h"

enum { ROUNDS_MAX = 200000, WAIT_NS = 1000000 };

struct end {
    struct momi_transport *transport;
    struct momi_lane *_Atomic lane;
    char address[MOMI_ADDRESS_BYTES_MAX];
    bool is_echoing;
    bool is_timing; /* notes the time of each answer, then echoes */
    atomic_uint_fast64_t frames;
    atomic_uint_fast64_t bytes;
    atomic_uint sum; /* so that the bytes are read */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

static uint32_t times[ROUNDS_MAX]; /* of round trips, in us */
static uint64_t last_us;

static void notify(struct end *end) {
    pthread_mutex_lock(&end->mutex);
    pthread_cond_broadcast(&end->changed);
    pthread_mutex_unlock(&end->mutex);
}

static void on_accepted(void *user, struct momi_lane *lane) {
    struct end *end = user;
    atomic_store(&end->lane, lane);
    notify(end);
}

static void on_dialed(void *user, uint64_t token, struct momi_lane *lane, int error) {
    (void)token;
    if (error != MOM_OK) {
        fprintf(stderr, "cannot connect: %s\n", mom_strerror(error));
        exit(1);
    }
    on_accepted(user, lane);
}

static bool on_received(void *user, struct momi_lane *lane, struct momi_buf *chunk,
                        const struct momi_slice *frames, size_t count) {
    struct end *end = user;
    (void)chunk;
    if (end->is_timing) {
        uint64_t now = momi_clock_monotonic_us();
        times[atomic_load(&end->frames) % ROUNDS_MAX] = (uint32_t)(now - last_us);
        last_us = now;
    }
    unsigned sum = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        sum += frames[i].data[0];
        bytes += frames[i].size;
        if (end->is_echoing && momi_lane_send(lane, &frames[i], 1) != MOM_OK) {
            return false; /* one frame is under way at a time, so never */
        }
    }
    if (end->is_echoing) {
        momi_lane_flush(lane);
    }
    atomic_fetch_add(&end->sum, sum);
    atomic_fetch_add(&end->bytes, bytes);
    atomic_fetch_add(&end->frames, count);
    if (!end->is_echoing || end->is_timing) {
        notify(end);
    }
    return true;
}

static void on_drained(void *user, struct momi_lane *lane) {
    (void)lane;
    notify(user);
}

static void on_closed(void *user, struct momi_lane *lane, int error) {
    (void)user;
    (void)error;
    momi_lane_release(lane);
}

static void end_open(struct end *end, const char *address) {
    static const struct momi_transport_callbacks callbacks = {.accepted = on_accepted,
                                                              .dialed = on_dialed,
                                                              .received = on_received,
                                                              .drained = on_drained,
                                                              .closed = on_closed};
    memset(end, 0, sizeof *end);
    pthread_mutex_init(&end->mutex, NULL);
    pthread_cond_init(&end->changed, NULL);
    if (momi_transport_open(&end->transport, &callbacks, end) != MOM_OK ||
        (address != NULL && momi_transport_listen(end->transport, address, end->address,
                                                  sizeof end->address) != MOM_OK)) {
        fprintf(stderr, "%s\n", mom_last_error_text());
        exit(1);
    }
}

static struct momi_lane *wait_lane(struct end *end) {
    pthread_mutex_lock(&end->mutex);
    while (atomic_load(&end->lane) == NULL) {
        pthread_cond_wait(&end->changed, &end->mutex);
    }
    pthread_mutex_unlock(&end->mutex);
    return atomic_load(&end->lane);
}

static void wait_frames(struct end *end, uint64_t frames) {
    pthread_mutex_lock(&end->mutex);
    while (atomic_load(&end->frames) < frames) {
        pthread_cond_wait(&end->changed, &end->mutex);
    }
    pthread_mutex_unlock(&end->mutex);
}

/* Until `drained`, or a moment: the notice may have come before the wait. */
static void wait_room(struct end *end) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += WAIT_NS;
    if (limit.tv_nsec >= 1000000000) {
        limit.tv_sec++;
        limit.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&end->mutex);
    pthread_cond_timedwait(&end->changed, &end->mutex, &limit);
    pthread_mutex_unlock(&end->mutex);
}

static double cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void bench_rate(const char *address, size_t size, size_t burst, double seconds) {
    struct end here;
    struct end there;
    end_open(&there, address);
    end_open(&here, NULL);
    momi_transport_dial(here.transport, there.address, 1);
    struct momi_lane *lane = wait_lane(&here);
    uint8_t *body = calloc(1, size);
    struct momi_slice frame = momi_slice(body, size);
    double cpu_start = cpu_us();
    uint64_t start = momi_clock_monotonic_us();
    uint64_t end = start + (uint64_t)(seconds * 1e6);
    uint64_t sent = 0;
    while (momi_clock_monotonic_us() < end) {
        for (size_t i = 0; i < burst; i++) {
            while (momi_lane_send(lane, &frame, 1) == MOM_FULL) {
                wait_room(&here);
            }
        }
        sent += burst;
        momi_lane_flush(lane);
    }
    wait_frames(&there, sent);
    double elapsed = (double)(momi_clock_monotonic_us() - start) / 1e6;
    double rate = (double)sent / elapsed;
    printf("%-6.6s %6zu B  burst %4zu  %12.0f frames/s  %8.1f MB/s  %7.3f us CPU/frame\n",
           address, size, burst, rate, rate * (double)size / 1e6,
           (cpu_us() - cpu_start) / (double)sent);
    fflush(stdout);
    momi_transport_close(here.transport);
    momi_transport_close(there.transport);
    free(body);
}

static int compare_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

enum sender { SENT_BY_THREAD, SENT_BY_CALLBACK };

static size_t time_rounds(struct end *here, struct momi_slice frame, enum sender sender,
                          double seconds) {
    struct momi_lane *lane = wait_lane(here);
    uint64_t end = momi_clock_monotonic_us() + (uint64_t)(seconds * 1e6);
    size_t rounds = 0;
    if (sender == SENT_BY_CALLBACK) {
        last_us = momi_clock_monotonic_us();
        momi_lane_send(lane, &frame, 1);
        momi_lane_flush(lane);
        rounds = (size_t)(seconds * 5000) % ROUNDS_MAX + 1;
        wait_frames(here, rounds);
        return rounds;
    }
    while (rounds < ROUNDS_MAX && momi_clock_monotonic_us() < end) {
        uint64_t start = momi_clock_monotonic_us();
        momi_lane_send(lane, &frame, 1);
        momi_lane_flush(lane);
        wait_frames(here, rounds + 1);
        times[rounds++] = (uint32_t)(momi_clock_monotonic_us() - start);
    }
    return rounds;
}

static void bench_round_trip(const char *address, size_t size, enum sender sender,
                             double seconds) {
    struct end here;
    struct end there;
    end_open(&there, address);
    there.is_echoing = true;
    end_open(&here, NULL);
    here.is_echoing = here.is_timing = sender == SENT_BY_CALLBACK;
    momi_transport_dial(here.transport, there.address, 1);
    uint8_t *body = calloc(1, size);
    size_t rounds = time_rounds(&here, momi_slice(body, size), sender, seconds);
    momi_transport_close(here.transport);
    momi_transport_close(there.transport);
    qsort(times, rounds, sizeof times[0], compare_u32);
    printf("%-6.6s %6zu B  round trip, sent by the %-8s  p50 %u us, p99 %u us (%zu)\n",
           address, size, sender == SENT_BY_THREAD ? "thread" : "callback",
           times[rounds / 2], times[rounds * 99 / 100], rounds);
    fflush(stdout);
    free(body);
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2.0;
    const char *address = argc > 2 ? argv[2] : "tcp://127.0.0.1:0";
    static const size_t sizes[] = {100, 1024, 64 * 1024, 256 * 1024};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t burst = 1; burst <= 256; burst *= 16) {
            bench_rate(address, sizes[i], burst, seconds);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        bench_round_trip(address, sizes[i], SENT_BY_THREAD, seconds);
        bench_round_trip(address, sizes[i], SENT_BY_CALLBACK, seconds);
    }
    return 0;
}
