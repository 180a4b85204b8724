/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing under load: 50 times, with threads that send, submit and receive. Every call
 * comes back, every accepted submission completes once, and what was acknowledged is
 * there after the next open.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "integration/nodes.h"

enum { ROUNDS = 50, SENDERS = 3, RECEIVERS = 2 };

struct load {
    mom_node *node;
    mom_consumer *consumer;
    mom_completions *completions;
    atomic_uint_fast64_t sent, unknown, received, submitted, completed;
    atomic_int wrong; /* an error that closing does not explain */
};

static bool ends(struct load *load, int error) {
    if (error == MOM_OK) {
        return false;
    }
    if (error != MOM_CLOSED && error != MOM_UNKNOWN_OUTCOME && error != MOM_FULL) {
        atomic_store(&load->wrong, error);
    }
    return error != MOM_FULL;
}

static void *keep_sending(void *user) {
    struct load *load = user;
    for (;;) {
        int error = mom_send(load->node, "q", "body", 4, NULL, WAIT_MS);
        if (error == MOM_OK) {
            atomic_fetch_add(&load->sent, 1);
        } else if (error == MOM_UNKNOWN_OUTCOME) {
            atomic_fetch_add(&load->unknown, 1);
        }
        if (ends(load, error)) {
            return NULL;
        }
    }
}

static void *keep_receiving(void *user) {
    struct load *load = user;
    for (;;) {
        mom_message *message;
        int error = mom_receive(load->consumer, &message, MOM_FOREVER);
        if (error == MOM_OK) {
            atomic_fetch_add(&load->received, 1);
            error = mom_ack(message);
            mom_message_release(message);
        }
        if (ends(load, error)) {
            return NULL;
        }
    }
}

static void count_completion(struct load *load, const mom_completion *completion) {
    atomic_fetch_add(&load->completed, 1);
    if (completion->error == MOM_OK) {
        atomic_fetch_add(&load->sent, 1);
    } else if (completion->error == MOM_UNKNOWN_OUTCOME) {
        atomic_fetch_add(&load->unknown, 1);
    } else {
        (void)ends(load, completion->error);
    }
}

static void *keep_submitting(void *user) {
    struct load *load = user;
    for (;;) {
        int error = mom_send_submit(load->node, "q", "body", 4, NULL, MOM_FOREVER,
                                    load->completions, NULL);
        if (error == MOM_OK) {
            atomic_fetch_add(&load->submitted, 1);
        } else if (ends(load, error)) {
            return NULL;
        }
    }
}

static void *keep_collecting(void *user) {
    struct load *load = user;
    for (;;) {
        mom_completion list[32];
        size_t count;
        int error =
            mom_completions_wait(load->completions, list, 32, &count, MOM_FOREVER);
        for (size_t i = 0; error == MOM_OK && i < count; i++) {
            count_completion(load, &list[i]);
        }
        if (error != MOM_OK && ends(load, error)) {
            return NULL;
        }
    }
}

/* Closes while at least `until` messages have been sent in this round. */
static void run_round(const char *dir, struct load *load, uint64_t until) {
    load->node = nodes_open_alone(dir);
    mom_stream_options options;
    mom_stream_options_init(&options);
    options.if_missing = true;
    CHECK_OK(mom_queue_create(load->node, "q", &options, WAIT_MS));
    CHECK_OK(mom_queue_consumer(load->node, "q", NULL, WAIT_MS, &load->consumer));
    CHECK_OK(mom_completions_open(load->node, &load->completions));
    pthread_t threads[SENDERS + RECEIVERS + 2];
    size_t count = 0;
    for (int i = 0; i < SENDERS; i++) {
        CHECK_EQ(pthread_create(&threads[count++], NULL, keep_sending, load), 0);
    }
    for (int i = 0; i < RECEIVERS; i++) {
        CHECK_EQ(pthread_create(&threads[count++], NULL, keep_receiving, load), 0);
    }
    CHECK_EQ(pthread_create(&threads[count++], NULL, keep_submitting, load), 0);
    CHECK_EQ(pthread_create(&threads[count++], NULL, keep_collecting, load), 0);
    uint64_t target = atomic_load(&load->sent) + until;
    while (atomic_load(&load->sent) < target && atomic_load(&load->wrong) == 0) {
        CHECK_OK(mom_wait_ready(load->node, WAIT_MS)); /* a turn of the loop each */
    }
    CHECK_OK(mom_close(load->node, WAIT_MS));
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(atomic_load(&load->completed), atomic_load(&load->submitted));
    CHECK_OK(mom_consumer_close(load->consumer, WAIT_MS));
    mom_completions_close(load->completions);
    CHECK_EQ(atomic_load(&load->wrong), 0);
}

static void closing_under_load_loses_nothing_that_was_acknowledged(void **state) {
    (void)state;
    static struct load load;
    char scratch[DIR_BYTES];
    char dir[DIR_BYTES];
    memset(&load, 0, sizeof load);
    nodes_scratch(scratch);
    nodes_path(dir, scratch, "data");
    for (uint64_t round = 0; round < ROUNDS; round++) {
        run_round(dir, &load, 20 + 7 * (round % 10));
    }
    mom_node *node = nodes_open_alone(dir);
    mom_stream_info info;
    mom_stream_info_init(&info);
    CHECK_OK(mom_queue_info(node, "q", &info, WAIT_MS));
    uint64_t stored = info.sequence_next - 1;
    CHECK(stored >= atomic_load(&load.sent));
    CHECK(stored <= atomic_load(&load.sent) + atomic_load(&load.unknown));
    CHECK(info.messages_ready + atomic_load(&load.received) >= stored);
    CHECK_OK(mom_close(node, WAIT_MS));
    nodes_scratch_remove(scratch);
}

static void a_node_that_may_not_take_its_time_still_closes(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    CHECK_OK(mom_queue_create(mesh.nodes[0], "q", NULL, WAIT_MS));
    for (size_t i = 0; i < mesh.count; i++) {
        int error = mom_close(mesh.nodes[i], 0);
        CHECK(error == MOM_OK || error == MOM_TIMEOUT);
        mesh.nodes[i] = NULL;
    }
    for (size_t i = 0; i < mesh.count; i++) {
        mesh_open_node(&mesh, i);
    }
    mesh_wait_ready(&mesh);
    CHECK_ERR(mom_queue_create(mesh.nodes[2], "q", NULL, WAIT_MS), MOM_EXISTS);
    mesh_close(&mesh);
}

static void *send_one(void *user) {
    mom_node *node = user;
    int error = mom_send(node, "nobody answers", "x", 1, NULL, MOM_FOREVER);
    return error == MOM_CLOSED ? NULL : node;
}

static void a_call_that_waits_for_a_mesh_is_woken_with_closed(void **state) {
    (void)state;
    mom_options options;
    mom_options_init(&options);
    options.join = "tcp://127.0.0.1:1";
    mom_node *node;
    mom_metrics metrics;
    pthread_t thread;
    void *failed;
    CHECK_OK(mom_open(&options, &node));
    CHECK_EQ(pthread_create(&thread, NULL, send_one, node), 0);
    mom_metrics_init(&metrics);
    while (metrics.calls_count == 0) { /* until the call is there */
        CHECK_ERR(mom_wait_ready(node, 1), MOM_TIMEOUT);
        CHECK_OK(mom_metrics_get(node, &metrics));
        metrics.calls_count = metrics.calls_pending > 1 ? 1 : metrics.calls_count / 1000;
    }
    CHECK_OK(mom_close(node, WAIT_MS));
    CHECK_EQ(pthread_join(thread, &failed), 0);
    CHECK(failed == NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(closing_under_load_loses_nothing_that_was_acknowledged),
        TEST(a_node_that_may_not_take_its_time_still_closes),
        TEST(a_call_that_waits_for_a_mesh_is_woken_with_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
