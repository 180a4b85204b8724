/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of lanes, over tcp and over ipc. Each test ends with end_close, which
 * checks that every lane was closed exactly once and last and that no frame arrived out
 * of order or changed; the teardown checks that no memory is left.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/pack.h"
#include "base/rng.h"
#include "lane_ends.h"
#include "port/transport.h"

static char ipc_folder[] = "/tmp/mom-lanes-XXXXXX";

struct scheme {
    bool is_ipc;
    int64_t live_before;
};
static struct scheme over_tcp = {.is_ipc = false};
static struct scheme over_ipc = {.is_ipc = true};

/* A new address of the scheme under test. */
static const char *address_of(void **state) {
    static char address[MOMI_ADDRESS_BYTES_MAX];
    static unsigned count;
    const struct scheme *scheme = *state;
    if (!scheme->is_ipc) {
        return "tcp://127.0.0.1:0";
    }
    snprintf(address, sizeof address, "ipc://%s/%u", ipc_folder, count++);
    return address;
}

static int note_memory(void **state) {
    struct scheme *scheme = *state;
    scheme->live_before = momi_mem_live();
    return 0;
}

static int check_memory(void **state) {
    struct scheme *scheme = *state;
    return momi_mem_live() == scheme->live_before ? 0 : -1;
}

/* ---- frames ---- */

static void frames_come_back_in_order_in_all_sizes(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *echo;
    struct momi_rng rng;
    momi_rng_seed(&rng, 42);
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    atomic_store(&there.mode, END_ECHO);
    connect_ends(&here, &there, &lane, &echo);
    uint64_t count = 0;
    for (; count < 2000; count++) {
        size_t most = count % 100 == 0  ? MOMI_FRAME_BYTES_MAX
                      : count % 10 == 0 ? 100 * 1000
                                        : 300;
        size_t size = count == 100 ? MOMI_FRAME_BYTES_MAX
                                   : momi_rng_between(&rng, FRAME_HEAD_BYTES, most);
        send_frame(lane, count, size);
        if (momi_rng_chance(&rng, 500000)) {
            momi_lane_flush(lane->lane);
        }
    }
    momi_lane_flush(lane->lane);
    WAIT_FOR(lane->frames == count || lane->closed > 0);
    CHECK_EQ(lane->frames, count);
    struct momi_transport_stats stats;
    momi_transport_stats(here.transport, &stats);
    CHECK_EQ(stats.frames_in, count);
    CHECK_EQ(stats.frames_out, count);
    CHECK_EQ(stats.bytes_in, stats.bytes_out);
    CHECK_EQ(stats.lanes, 1);
    end_close(&here);
    end_close(&there);
}

static void empty_and_oversized_frames_are_not_sent(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    connect_ends(&here, &there, &lane, &accepted);
    struct momi_slice most = test_frame(0, MOMI_FRAME_BYTES_MAX);
    struct momi_slice parts[2] = {most, momi_slice("x", 1)};
    CHECK_ERR(momi_lane_send(lane->lane, parts, 2), MOM_TOO_BIG);
    struct momi_slice huge[2] = {momi_slice("x", 1), momi_slice("x", SIZE_MAX)};
    CHECK_ERR(momi_lane_send(lane->lane, huge, 2), MOM_TOO_BIG);
    CHECK_ERR(momi_lane_send(lane->lane, NULL, 0), MOM_INVALID);
    CHECK_EQ(momi_lane_pending_bytes(lane->lane), 0);
    CHECK_OK(momi_lane_send(lane->lane, parts, 1));
    momi_lane_flush(lane->lane);
    WAIT_FOR(accepted->frames == 1);
    end_close(&here);
    end_close(&there);
}

static void kept_chunks_are_not_written_again(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    atomic_store(&there.mode, END_KEEP);
    connect_ends(&here, &there, &lane, &accepted);
    enum { COUNT = 3000 };
    for (uint64_t i = 0; i < COUNT; i++) {
        send_frame(lane, i, i % 50 == 0 ? 200 * 1000 : 1000);
        momi_lane_flush(lane->lane);
    }
    WAIT_FOR(accepted->frames == COUNT);
    for (uint64_t i = COUNT - END_CHUNKS_MAX; i < COUNT; i++) {
        CHECK(is_test_frame(accepted->kept_frames[i % END_CHUNKS_MAX], i));
    }
    end_close(&here);
    /* They outlive the transport, too; end_close has released them when it returns. */
    end_close(&there);
}

static void steady_flow_allocates_nothing(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    connect_ends(&here, &there, &lane, &accepted);
    uint64_t sent = 0;
    uint64_t before = 0;
    for (int round = 0; round < 2; round++) {
        before = momi_mem_allocations();
        for (int burst = 0; burst < 200; burst++) {
            for (int i = 0; i < 100; i++) {
                send_frame(lane, sent++, 100);
            }
            momi_lane_flush(lane->lane);
            WAIT_FOR(accepted->frames == sent);
        }
    }
    /* The first round has grown the write buffers; later growth comes from unlike timing.
     */
    CHECK(momi_mem_allocations() - before <= 4);
    end_close(&here);
    end_close(&there);
}

/* ---- back-pressure ---- */

static void refused_frames_are_offered_again_after_resume(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 1024 * 1024);
    atomic_store(&there.mode, END_REFUSE);
    connect_ends(&here, &there, &lane, &accepted);
    uint64_t sent = 0;
    struct momi_slice frame;
    do {
        frame = test_frame(sent, 64 * 1024);
        momi_lane_flush(lane->lane);
    } while (momi_lane_send(lane->lane, &frame, 1) == MOM_OK && ++sent < 4000);
    CHECK(sent < 4000); /* the receiver that does not read stops the sender */
    WAIT_FOR(accepted->refusals == 1);
    CHECK_EQ(accepted->frames, 0);
    momi_lane_resume(accepted->lane);
    WAIT_FOR(accepted->refusals == 2);
    CHECK_EQ(accepted->frames, 0);
    atomic_store(&there.mode, END_COUNT);
    momi_lane_resume(accepted->lane);
    WAIT_FOR(accepted->frames == sent);
    /* Asked for room once, told once. */
    WAIT_FOR(lane->drained == 1);
    send_frame(lane, sent, 100);
    momi_lane_flush(lane->lane);
    WAIT_FOR(accepted->frames == sent + 1);
    end_close(&here);
    end_close(&there);
}

static void resume_at_any_moment_loses_nothing(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    atomic_store(&there.mode, END_FICKLE);
    connect_ends(&here, &there, &lane, &accepted);
    enum { COUNT = 3000 };
    for (uint64_t i = 0; i < COUNT; i++) {
        send_frame(lane, i, 500);
        momi_lane_flush(lane->lane);
        momi_lane_resume(accepted->lane);
    }
    for (uint64_t refusals = 0;;) {
        momi_lane_resume(accepted->lane);
        WAIT_FOR(accepted->frames == COUNT || accepted->refusals > refusals);
        pthread_mutex_lock(&ends_mutex);
        bool is_through = accepted->frames == COUNT;
        refusals = accepted->refusals;
        pthread_mutex_unlock(&ends_mutex);
        if (is_through) {
            break;
        }
    }
    end_close(&here);
    end_close(&there);
}

static void empty_queue_takes_one_frame_of_any_size(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 1000);
    atomic_store(&there.mode, END_REFUSE);
    connect_ends(&here, &there, &lane, &accepted);
    struct momi_slice frame = test_frame(0, MOMI_FRAME_BYTES_MAX);
    CHECK_OK(momi_lane_send(lane->lane, &frame, 1));
    CHECK_EQ(momi_lane_pending_bytes(lane->lane), MOMI_FRAME_BYTES_MAX + 4);
    frame = test_frame(1, 100);
    /* Full although nobody has flushed: the write begins, so that `drained` can come. */
    CHECK_ERR(momi_lane_send(lane->lane, &frame, 1), MOM_FULL);
    atomic_store(&there.mode, END_COUNT);
    momi_lane_resume(accepted->lane);
    WAIT_FOR(lane->drained == 1);
    CHECK_OK(momi_lane_send(lane->lane, &frame, 1));
    momi_lane_flush(lane->lane);
    WAIT_FOR(accepted->frames == 2);
    end_close(&here);
    end_close(&there);
}

/* ---- ends of lanes ---- */

static void closing_one_side_closes_the_other(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    connect_ends(&here, &there, &lane, &accepted);
    CHECK_EQ(here.dial_token, 7);
    send_frame(lane, 0, 100);
    momi_lane_flush(lane->lane);
    WAIT_FOR(accepted->frames == 1);
    momi_lane_close(lane->lane);
    momi_lane_close(lane->lane);
    WAIT_FOR(lane->closed == 1);
    WAIT_FOR(accepted->closed == 1);
    CHECK_EQ(lane->close_error, MOM_CLOSED);
    CHECK_EQ(accepted->close_error, MOM_UNAVAILABLE);
    struct momi_slice frame = test_frame(1, 100);
    CHECK_ERR(momi_lane_send(accepted->lane, &frame, 1), MOM_CLOSED);
    end_close(&here);
    end_close(&there);
}

static void two_hundred_lanes_close_under_load(void **state) {
    struct end here;
    struct end there;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 256 * 1024);
    atomic_store(&there.mode, END_ECHO);
    for (uint64_t cycle = 0; cycle < 200; cycle++) {
        struct end_lane *lane;
        struct end_lane *accepted;
        connect_ends(&here, &there, &lane, &accepted);
        size_t size = cycle % 4 == 0 ? 64 * 1024 : cycle % 4 == 1 ? 1000 : 100;
        /* Fill both ways, so that operations are under way on both sides. */
        for (uint64_t i = 0; i < 200; i++) {
            struct momi_slice frame = test_frame(i, size);
            if (momi_lane_send(lane->lane, &frame, 1) != MOM_OK) {
                break;
            }
            if (i % 10 == 0) {
                momi_lane_flush(lane->lane);
            }
        }
        momi_lane_flush(lane->lane);
        WAIT_FOR(lane->frames > 0);
        momi_lane_close(cycle % 2 == 0 ? lane->lane : accepted->lane);
        WAIT_FOR(lane->closed == 1);
        WAIT_FOR(accepted->closed == 1);
    }
    struct momi_transport_stats stats;
    momi_transport_stats(here.transport, &stats);
    CHECK_EQ(stats.lanes, 0);
    end_close(&here);
    end_close(&there);
}

static void transport_closes_with_traffic(void **state) {
    for (int cycle = 0; cycle < 30; cycle++) {
        struct end here;
        struct end there;
        struct end_lane *lanes[4];
        struct end_lane *accepted;
        end_open(&there, address_of(state), 0);
        end_open(&here, NULL, 0);
        atomic_store(&there.mode, cycle % 3 == 0 ? END_REFUSE : END_ECHO);
        for (size_t i = 0; i < 4; i++) {
            connect_ends(&here, &there, &lanes[i], &accepted);
        }
        for (uint64_t i = 0; i < 100; i++) {
            struct momi_slice frame = test_frame(i, 20 * 1000);
            int error = momi_lane_send(lanes[i % 4]->lane, &frame, 1);
            CHECK(error == MOM_OK || error == MOM_FULL);
            momi_lane_flush(lanes[i % 4]->lane);
        }
        /* The frames of one lane have gaps here, so what arrives is not judged. */
        for (int i = 0; i < 8; i++) {
            int error = momi_transport_dial(here.transport, there.address, 0);
            CHECK_OK(error);
        }
        struct end *first = cycle % 2 == 0 ? &here : &there;
        struct end *second = cycle % 2 == 0 ? &there : &here;
        CHECK_OK(momi_transport_close(first->transport));
        CHECK_OK(momi_transport_close(second->transport));
        CHECK_EQ(here.dial_results, 12);
        for (int side = 0; side < 2; side++) {
            struct end *end = side == 0 ? &here : &there;
            for (size_t i = 0; i < end->lanes_count; i++) {
                CHECK_EQ(end->lanes[i]->closed, 1);
                CHECK_EQ(end->lanes[i]->after_closed, 0);
                momi_lane_release(end->lanes[i]->lane);
                free(end->lanes[i]);
            }
        }
    }
}

/* ---- addresses ---- */

static void refused_connection_is_reported(void **state) {
    struct end here;
    struct end there;
    char address[MOMI_ADDRESS_BYTES_MAX];
    end_open(&there, address_of(state), 0);
    memcpy(address, there.address, sizeof address);
    end_close(&there);
    end_open(&here, NULL, 0);
    for (uint64_t i = 1; i <= 20; i++) {
        CHECK_OK(momi_transport_dial(here.transport, address, i));
        WAIT_FOR(here.dial_results == i);
        CHECK_EQ(here.dial_token, i);
        CHECK_EQ(here.dial_failures, i);
        CHECK_EQ(here.dial_error, MOM_UNAVAILABLE);
    }
    end_close(&here);
}

static void address_in_use_is_a_conflict(void **state) {
    struct end here;
    struct end there;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    CHECK_ERR(momi_transport_listen(here.transport, there.address, here.address,
                                    sizeof here.address),
              MOM_CONFLICT);
    CHECK(strstr(mom_last_error_text(), there.address) != NULL);
    end_close(&here);
    end_close(&there);
}

static void bad_addresses_are_invalid(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "tcp://",
                                      "tcp://127.0.0.1",
                                      "tcp://127.0.0.1:",
                                      "tcp://:7400",
                                      "tcp://127.0.0.1:65536",
                                      "tcp://127.0.0.1:-1",
                                      "tcp://127.0.0.1:7400/path",
                                      "tcp://127.0.0.1:74x",
                                      "tcp://127.0.0.1:111111111111111111111",
                                      "tcp://user@127.0.0.1:7400",
                                      "127.0.0.1:7400",
                                      "ipc://",
                                      "ipc:///",
                                      "ipc://relative",
                                      "inproc://name",
                                      "tls+tcp://127.0.0.1:7400",
                                      "http://127.0.0.1:80"};
    struct end here;
    char long_address[2000];
    memset(long_address, 'a', sizeof long_address);
    memcpy(long_address, "ipc:///", 7);
    long_address[sizeof long_address - 1] = '\0';
    end_open(&here, NULL, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_ERR(momi_transport_listen(here.transport, bad[i], NULL, 0), MOM_INVALID);
        CHECK_ERR(momi_transport_dial(here.transport, bad[i], 0), MOM_INVALID);
    }
    for (size_t length = 200; length < sizeof long_address; length += 100) {
        long_address[length] = '\0';
        CHECK_ERR(momi_transport_listen(here.transport, long_address, NULL, 0),
                  MOM_INVALID);
        long_address[length] = 'a';
    }
    CHECK_ERR(momi_transport_listen(here.transport, NULL, NULL, 0), MOM_INVALID);
    CHECK_ERR(momi_transport_listen(here.transport, "tcp://192.0.2.1:0", NULL, 0),
              MOM_INVALID);
    CHECK_ERR(momi_transport_dial(here.transport, "tcp://127.0.0.1:0", 0), MOM_INVALID);
    char small[8];
    CHECK_ERR(
        momi_transport_listen(here.transport, "tcp://127.0.0.1:0", small, sizeof small),
        MOM_INVALID);
    CHECK_EQ(here.dial_results, 0);
    end_close(&here);
}

static void listening_at_all_interfaces_works(void **state) {
    (void)state;
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, "tcp://0.0.0.0:0", 0);
    CHECK(strncmp(there.address, "tcp://0.0.0.0:", 14) == 0);
    CHECK(strcmp(there.address, "tcp://0.0.0.0:0") != 0);
    end_open(&here, NULL, 0);
    connect_ends(&here, &there, &lane, &accepted);
    CHECK(strncmp(momi_lane_peer(lane->lane), "tcp://", 6) == 0);
    end_close(&here);
    end_close(&there);
}

/* ---- hostile peers (tcp) ---- */

static void illegal_length_closes_the_lane(void **state) {
    struct end there;
    end_open(&there, address_of(state), 0);
    const uint32_t lengths[] = {0, MOMI_FRAME_BYTES_MAX + 1, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t bytes[4 + 100 + 4];
        momi_store_le32(bytes, 100);
        memcpy(bytes + 4, test_frame(0, 100).data, 100);
        momi_store_le32(bytes + 104, lengths[i]);
        int64_t live = momi_mem_live();
        int fd = raw_connect(&there);
        raw_send(fd, bytes, sizeof bytes);
        WAIT_FOR(there.closed == i + 1);
        CHECK_EQ(there.lanes[i]->close_error, MOM_INVALID);
        CHECK_EQ(there.lanes[i]->frames, 1); /* the frame before it was good */
        CHECK(momi_mem_live() <= live + 4);
        char byte;
        CHECK(recv(fd, &byte, 1, 0) <= 0);
        close(fd);
    }
    struct momi_transport_stats stats;
    momi_transport_stats(there.transport, &stats);
    CHECK_EQ(stats.invalid, sizeof lengths / sizeof lengths[0]);
    end_close(&there);
}

static void garbage_and_half_frames_do_no_harm(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    struct momi_rng rng;
    momi_rng_seed(&rng, 7);
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    connect_ends(&here, &there, &lane, &accepted);
    int held[3];
    for (size_t i = 0; i < 3; i++) {
        held[i] = raw_connect(&there); /* says nothing until the end */
    }
    uint8_t bytes[2000];
    for (int round = 0; round < 150; round++) {
        int fd = raw_connect(&there);
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)momi_rng_next(&rng);
        }
        if (round % 2 == 0) {
            /* A legal length, so that the rest is waited for; never a whole frame. */
            momi_store_le32(bytes,
                            (uint32_t)momi_rng_between(&rng, 3000, MOMI_FRAME_BYTES_MAX));
        }
        size_t size = round % 3 == 0 ? 0 : momi_rng_between(&rng, 1, sizeof bytes);
        if (round % 3 == 1) {
            size = momi_rng_between(&rng, 1, 3); /* half a length */
        }
        if (size > 0) {
            raw_send(fd, bytes, size);
        }
        if (round % 5 == 0) {
            struct linger abort_it = {.l_onoff = 1, .l_linger = 0};
            CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof abort_it));
        }
        close(fd);
    }
    /* An honest peer is served as before. */
    for (uint64_t i = 0; i < 100; i++) {
        send_frame(lane, i, 1000);
    }
    momi_lane_flush(lane->lane);
    WAIT_FOR(accepted->frames == 100);
    for (size_t i = 0; i < 3; i++) {
        close(held[i]);
    }
    /* A connection that is reset before it is accepted may never be seen. */
    WAIT_FOR(there.closed > 100 && there.closed == there.lanes_count - 1);
    end_close(&here);
    end_close(&there);
}

static void frame_that_comes_byte_by_byte_is_whole(void **state) {
    struct end there;
    end_open(&there, address_of(state), 0);
    int fd = raw_connect(&there);
    for (uint64_t sequence = 0; sequence < 3; sequence++) {
        struct momi_slice frame = test_frame(sequence, 60);
        uint8_t length[4];
        momi_store_le32(length, 60);
        for (size_t i = 0; i < 4; i++) {
            raw_send(fd, length + i, 1);
        }
        for (size_t i = 0; i < frame.size; i++) {
            raw_send(fd, frame.data + i, 1);
        }
    }
    WAIT_FOR(there.lanes_count == 1 && there.lanes[0]->frames == 3);
    close(fd);
    WAIT_FOR(there.closed == 1);
    CHECK_EQ(there.lanes[0]->close_error, MOM_UNAVAILABLE);
    end_close(&there);
}

/* ---- memory ---- */

/* Fails allocation after allocation; each round must end as an error or as success, and
 * leave nothing. */
static void every_failing_allocation_is_survived(void **state) {
    for (int64_t n = 0; n < 24; n++) {
        struct end here;
        struct end there;
        end_open(&there, address_of(state), 0);
        end_open(&here, NULL, 0);
        momi_mem_fail_after(n, false);
        int error = momi_transport_dial(here.transport, there.address, 1);
        CHECK(error == MOM_OK || error == MOM_NO_MEMORY);
        if (error == MOM_OK) {
            WAIT_FOR(here.dial_results == 1);
            if (here.dial_failures == 0) {
                struct momi_slice frame = test_frame(0, 400 * 1000);
                error = momi_lane_send(here.lanes[0]->lane, &frame, 1);
                CHECK(error == MOM_OK || error == MOM_NO_MEMORY || error == MOM_CLOSED);
                momi_lane_flush(here.lanes[0]->lane);
                WAIT_FOR(there.closed > 0 || error != MOM_OK ||
                         (there.lanes_count > 0 && there.lanes[0]->frames == 1) ||
                         here.lanes[0]->closed > 0);
            } else {
                CHECK_EQ(here.dial_error, MOM_NO_MEMORY);
            }
        }
        momi_mem_fail_after(-1, false);
        end_close(&here);
        end_close(&there);
    }
}

static void failed_queueing_changes_nothing(void **state) {
    struct end here;
    struct end there;
    struct end_lane *lane;
    struct end_lane *accepted;
    end_open(&there, address_of(state), 0);
    end_open(&here, NULL, 0);
    connect_ends(&here, &there, &lane, &accepted);
    struct momi_slice frame = test_frame(0, 300 * 1000);
    momi_mem_fail_after(0, false);
    CHECK_ERR(momi_lane_send(lane->lane, &frame, 1), MOM_NO_MEMORY);
    momi_mem_fail_after(-1, false);
    CHECK_EQ(momi_lane_pending_bytes(lane->lane), 0);
    send_frame(lane, 0, 300 * 1000);
    momi_lane_flush(lane->lane);
    WAIT_FOR(accepted->frames == 1);
    end_close(&here);
    end_close(&there);
}

#define OVER(name, scheme)                                                               \
    { #name " (" #scheme ")", name, note_memory, check_memory, &scheme }
#define OVER_BOTH(name) OVER(name, over_tcp), OVER(name, over_ipc)

int main(void) {
    const struct CMUnitTest tests[] = {
        OVER_BOTH(frames_come_back_in_order_in_all_sizes),
        OVER_BOTH(empty_and_oversized_frames_are_not_sent),
        OVER_BOTH(kept_chunks_are_not_written_again),
        OVER_BOTH(steady_flow_allocates_nothing),
        OVER_BOTH(refused_frames_are_offered_again_after_resume),
        OVER_BOTH(resume_at_any_moment_loses_nothing),
        OVER_BOTH(empty_queue_takes_one_frame_of_any_size),
        OVER_BOTH(closing_one_side_closes_the_other),
        OVER_BOTH(two_hundred_lanes_close_under_load),
        OVER_BOTH(transport_closes_with_traffic),
        OVER_BOTH(refused_connection_is_reported),
        OVER_BOTH(address_in_use_is_a_conflict),
        OVER(bad_addresses_are_invalid, over_tcp),
        OVER(listening_at_all_interfaces_works, over_tcp),
        OVER(illegal_length_closes_the_lane, over_tcp),
        OVER(garbage_and_half_frames_do_no_harm, over_tcp),
        OVER(frame_that_comes_byte_by_byte_is_whole, over_tcp),
        OVER_BOTH(every_failing_allocation_is_survived),
        OVER_BOTH(failed_queueing_changes_nothing),
    };
    if (mkdtemp(ipc_folder) == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(ipc_folder);
    return failed;
}
