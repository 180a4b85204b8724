/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storms: nodes, clients and consumers are opened and closed over and over while ten
 * threads publish and consume. Every call comes back with a class that closing explains;
 * at the end everything that was acknowledged is there, consumed or waiting.
 *
 * MOM_STORM_ROUNDS sets how often (default: short, for every test run;
 * tests/campaign.sh storm has hundreds).
 */
#include <pthread.h>
#include <stdatomic.h>

#include "integration/nodes.h"

enum { SENDERS = 4, RECEIVERS = 4, STORES = 3, ROUNDS_DEFAULT = 6 };

struct storm {
    struct mesh mesh;
    pthread_rwlock_t lock[STORES]; /* held for reading by who uses the node */
    atomic_bool is_over;
    atomic_uint_fast64_t sent, unknown, received, resettled, opened;
    atomic_int wrong; /* an error that closing does not explain */
};

struct hand {
    struct storm *storm;
    unsigned number;
};

static unsigned rounds(void) {
    const char *text = getenv("MOM_STORM_ROUNDS");
    return text == NULL ? ROUNDS_DEFAULT : (unsigned)strtoul(text, NULL, 10);
}

static void note(struct storm *storm, int error) {
    if (error != MOM_OK && error != MOM_CLOSED && error != MOM_UNKNOWN_OUTCOME &&
        error != MOM_TIMEOUT && error != MOM_UNAVAILABLE && error != MOM_FULL &&
        error != MOM_EMPTY && error != MOM_CONFLICT) {
        atomic_store(&storm->wrong, error);
    }
}

/* The node stays open until give_node, but its close may begin at any time: closers take
 * the lock only to replace the handle. NULL: it is closed now. */
static mom_node *take_node(struct storm *storm, unsigned index) {
    (void)pthread_rwlock_rdlock(&storm->lock[index]);
    return storm->mesh.nodes[index];
}

static void give_node(struct storm *storm, unsigned index) {
    (void)pthread_rwlock_unlock(&storm->lock[index]);
}

static void *keep_sending(void *user) {
    const struct hand *hand = user;
    struct storm *storm = hand->storm;
    unsigned index = hand->number;
    while (!atomic_load(&storm->is_over)) {
        index = (index + 1) % STORES;
        mom_node *node = take_node(storm, index);
        int error = node == NULL ? MOM_CLOSED : mom_send(node, "q", "x", 1, NULL, 1000);
        give_node(storm, index);
        atomic_fetch_add(&storm->sent, error == MOM_OK);
        atomic_fetch_add(&storm->unknown, error == MOM_UNKNOWN_OUTCOME);
        note(storm, error);
    }
    return NULL;
}

/* A consumer for a few messages, again and again. */
static void receive_some(struct storm *storm, mom_node *node) {
    mom_consumer *consumer = NULL;
    int error = mom_queue_consumer(node, "q", NULL, 1000, &consumer);
    note(storm, error);
    for (int i = 0; error == MOM_OK && i < 20; i++) {
        mom_message *message;
        error = mom_receive(consumer, &message, 20);
        note(storm, error);
        if (error == MOM_OK) {
            error = mom_ack_wait(message, 1000);
            note(storm, error);
            atomic_fetch_add(&storm->received, error == MOM_OK);
            atomic_fetch_add(&storm->resettled, error == MOM_UNKNOWN_OUTCOME);
            mom_message_release(message);
        }
    }
    if (consumer != NULL) {
        atomic_fetch_add(&storm->opened, 1);
        note(storm, mom_consumer_close(consumer, 100));
    }
}

static void *keep_receiving(void *user) {
    const struct hand *hand = user;
    struct storm *storm = hand->storm;
    unsigned index = hand->number;
    while (!atomic_load(&storm->is_over)) {
        index = (index + 1) % STORES;
        mom_node *node = take_node(storm, index);
        if (node != NULL) {
            receive_some(storm, node);
        }
        give_node(storm, index);
    }
    return NULL;
}

/* Clients that come, use the mesh, and go without waiting. */
static void *keep_coming(void *user) {
    const struct hand *hand = user;
    struct storm *storm = hand->storm;
    char join[DIR_BYTES];
    (void)snprintf(join, sizeof join, "%s", storm->mesh.addresses[hand->number % STORES]);
    while (!atomic_load(&storm->is_over)) {
        mom_options options;
        mom_node *client = NULL;
        mom_options_init(&options);
        options.join = join;
        int error = mom_open(&options, &client);
        note(storm, error);
        if (error == MOM_OK) {
            error = mom_send(client, "q", "y", 1, NULL, 300);
            atomic_fetch_add(&storm->sent, error == MOM_OK);
            atomic_fetch_add(&storm->unknown, error == MOM_UNKNOWN_OUTCOME);
            note(storm, error);
            note(storm, mom_close(client, 0));
        }
    }
    return NULL;
}

/* Calls that wait on the node are woken by its close; nobody begins one meanwhile. */
static void restart(struct storm *storm, unsigned index, int timeout_ms) {
    (void)pthread_rwlock_wrlock(&storm->lock[index]);
    note(storm, mom_close(storm->mesh.nodes[index], timeout_ms));
    storm->mesh.nodes[index] = NULL;
    (void)pthread_rwlock_unlock(&storm->lock[index]);
    struct mesh opening = storm->mesh;
    mesh_open_node(&opening, index); /* the others have the majority meanwhile */
    (void)pthread_rwlock_wrlock(&storm->lock[index]);
    storm->mesh.nodes[index] = opening.nodes[index];
    (void)pthread_rwlock_unlock(&storm->lock[index]);
}

static uint64_t drain(mom_node *node) {
    mom_consumer *consumer;
    uint64_t count = 0;
    int error;
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    for (;;) {
        mom_message *messages[64];
        size_t got = 0;
        error = mom_receive_many(consumer, messages, 64, &got, 0);
        if (error != MOM_OK) {
            break;
        }
        CHECK_OK(mom_ack_many(messages, got));
        for (size_t i = 0; i < got; i++) {
            mom_message_release(messages[i]);
        }
        count += got;
        CHECK_OK(mom_consumer_flush(consumer, WAIT_MS));
    }
    CHECK_ERR(error, MOM_EMPTY);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    return count;
}

static void nothing_is_lost_while_everything_comes_and_goes(void **state) {
    (void)state;
    static struct storm storm;
    enum { THREADS = SENDERS + RECEIVERS + 2 };
    pthread_t threads[THREADS];
    struct hand hands[THREADS];
    mesh_open(&storm.mesh, STORES);
    CHECK_OK(mom_queue_create(storm.mesh.nodes[0], "q", NULL, WAIT_MS));
    for (unsigned i = 0; i < STORES; i++) {
        CHECK_EQ(pthread_rwlock_init(&storm.lock[i], NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        hands[i] = (struct hand){&storm, i};
        CHECK_EQ(pthread_create(&threads[i], NULL,
                                i < SENDERS               ? keep_sending
                                : i < SENDERS + RECEIVERS ? keep_receiving
                                                          : keep_coming,
                                &hands[i]),
                 0);
    }
    for (unsigned round = 0; round < rounds(); round++) {
        unsigned index = round % STORES;
        restart(&storm, index, round % 2 == 0 ? 0 : 1000);
        CHECK_OK(mom_wait_ready(storm.mesh.nodes[index], WAIT_MS));
    }
    atomic_store(&storm.is_over, true);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(atomic_load(&storm.wrong), 0);
    uint64_t left = drain(storm.mesh.nodes[0]);
    uint64_t consumed = atomic_load(&storm.received) + left;
    CHECK(consumed + atomic_load(&storm.resettled) >= atomic_load(&storm.sent));
    CHECK(consumed <= atomic_load(&storm.sent) + atomic_load(&storm.unknown));
    CHECK(atomic_load(&storm.sent) > 0);
    print_message("%llu sent, %llu consumers\n",
                  (unsigned long long)atomic_load(&storm.sent),
                  (unsigned long long)atomic_load(&storm.opened));
    for (unsigned i = 0; i < STORES; i++) {
        (void)pthread_rwlock_destroy(&storm.lock[i]);
    }
    mesh_close(&storm.mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_lost_while_everything_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
