/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorded program: opens one node alone, or the three of a mesh in one process (so
 * that their files have one common order), and sends, receives, acknowledges, creates,
 * deletes and reopens as a seed decides. It tells the recorder what was promised to it,
 * and ends without closing anything.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "power/facts.h"
#include "power/scene.h"

enum {
    STEPS_ALONE = 70,
    STEPS_MESH = 50,
    BATCH_MAX = 12,
    RECEIVE_MAX = 6,
    IDLE_MS = 70, /* longer than the journal waits before it calls itself idle */
    STREAMS_EACH_LIFE = 12,
};

struct life {
    enum scene_shape shape;
    const char *root;
    const char *sockets;
    uint64_t number;
    size_t nodes_count;
    mom_node *nodes[SCENE_NODES];
    mom_consumer *consumers[SCENE_LASTING];
    uint64_t next[SCENE_NODES]; /* count of messages of each publisher */
    uint32_t next_stream;
    struct momi_rng rng;
    uint8_t *bodies[BATCH_MAX]; /* of the main thread, owned */
};

static void tell(enum power_fact_kind kind, uint32_t stream, uint64_t value,
                 uint64_t count) {
    const struct power_fact fact = {
        .kind = (uint32_t)kind, .stream = stream, .value = value, .count = count};
    facts_tell(&fact);
}

/* Nothing may fail alone. In a mesh a leader may change, so only the promise counts. */
static bool is_done(const struct life *life, int error, const char *what) {
    if (error != MOM_OK && life->shape == SCENE_ALONE) {
        fprintf(stderr, "the recorded program: %s: %s: %s\n", what, mom_err_name(error),
                mom_last_error_text());
        _exit(3);
    }
    return error == MOM_OK;
}

static mom_node *any_node(struct life *life) {
    return life->nodes[momi_rng_between(&life->rng, 0, life->nodes_count - 1)];
}

/* ---- Sending ---- */

static size_t draw_filling(struct momi_rng *rng) {
    uint64_t kind = momi_rng_between(rng, 0, 99);
    if (kind < 70) {
        return momi_rng_between(rng, 0, 300);
    }
    return kind < 95 ? momi_rng_between(rng, 300, 6000)
                     : momi_rng_between(rng, 20000, SCENE_BODY_BYTES_MAX - 100);
}

struct sending {
    struct life *life;
    size_t publisher;
    uint32_t stream;
    size_t count;
    size_t filling;
    uint8_t *bodies[BATCH_MAX];
};

/* One call with `count` messages. */
static void send_some(struct sending *sending) {
    struct life *life = sending->life;
    mom_node *node = life->nodes[sending->publisher];
    char name[SCENE_NAME_BYTES];
    mom_slice bodies[BATCH_MAX];
    const char *keys[BATCH_MAX];
    scene_stream_name(sending->stream, name);
    uint64_t first = (life->number * SCENE_NODES + sending->publisher) * SCENE_RANGE +
                     life->next[sending->publisher];
    life->next[sending->publisher] += sending->count;
    for (size_t i = 0; i < sending->count; i++) {
        bodies[i].data = sending->bodies[i];
        bodies[i].size =
            scene_body(sending->stream, first + i, sending->filling, sending->bodies[i]);
        keys[i] = "some.key";
    }
    tell(POWER_SEND_TRY, sending->stream, first, sending->count);
    int error = sending->stream == SCENE_TOPIC
                    ? mom_publish_many(node, name, keys, bodies, sending->count, NULL,
                                       NULL, SCENE_WAIT_MS)
                    : mom_send_many(node, name, bodies, sending->count, NULL, NULL,
                                    SCENE_WAIT_MS);
    if (is_done(life, error, "sending")) {
        tell(POWER_SEND_DONE, sending->stream, first, sending->count);
    }
}

static void send_step(struct life *life, uint32_t stream, size_t count) {
    struct sending sending = {.life = life, .stream = stream, .count = count};
    sending.publisher = momi_rng_between(&life->rng, 0, life->nodes_count - 1);
    sending.filling = draw_filling(&life->rng);
    memcpy(sending.bodies, life->bodies, sizeof sending.bodies);
    send_some(&sending);
}

static void *send_in_thread(void *user) {
    struct sending *sending = user;
    for (int i = 0; i < 3; i++) {
        send_some(sending);
    }
    return NULL;
}

/* Two publishers of a mesh at once. Alone there is one publisher: a number belongs to one
 * thread. */
static void send_together(struct life *life) {
    if (life->nodes_count < 2) {
        send_step(life, 0, 1);
        return;
    }
    struct sending both[2];
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        both[i] = (struct sending){.life = life,
                                   .publisher = i,
                                   .stream = (uint32_t)i,
                                   .count = 1,
                                   .filling = draw_filling(&life->rng)};
        both[i].bodies[0] = life->bodies[i];
        if (pthread_create(&threads[i], NULL, send_in_thread, &both[i]) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < 2; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

/* ---- Receiving ---- */

static mom_consumer *consumer_of(struct life *life, uint32_t stream) {
    if (life->consumers[stream] == NULL) {
        int error = scene_consumer(any_node(life), stream, &life->consumers[stream]);
        if (!is_done(life, error, "a consumer")) {
            return NULL;
        }
    }
    return life->consumers[stream];
}

static uint64_t number_of(const mom_message *message) {
    uint32_t stream;
    uint64_t number;
    size_t size;
    const void *body = mom_message_body(message, &size);
    if (!scene_body_read(body, size, &stream, &number)) {
        fprintf(stderr, "the recorded program: a body that nobody sent\n");
        _exit(4);
    }
    return number;
}

/* Takes a few; acknowledges them, or gives them back. */
static void receive_step(struct life *life, uint32_t stream, size_t max,
                         bool gives_back) {
    mom_consumer *consumer = consumer_of(life, stream);
    mom_message *messages[RECEIVE_MAX];
    size_t count = 0;
    if (consumer == NULL ||
        mom_receive_many(consumer, messages, max, &count, 0) != MOM_OK) {
        return; /* empty */
    }
    for (size_t i = 0; i < count && gives_back; i++) {
        (void)mom_nack(messages[i]);
    }
    for (size_t i = 0; i < count && !gives_back; i++) {
        tell(POWER_ACK_TRY, stream, number_of(messages[i]), 1);
    }
    if (!gives_back) {
        int error = mom_ack_many(messages, count);
        error = error == MOM_OK ? mom_consumer_flush(consumer, SCENE_WAIT_MS) : error;
        for (size_t i = 0; i < count && error == MOM_OK; i++) {
            tell(POWER_ACK_DONE, stream, number_of(messages[i]), 1);
        }
    }
    for (size_t i = 0; i < count; i++) {
        mom_message_release(messages[i]);
    }
}

/* ---- Streams ---- */

static bool create(struct life *life, uint32_t stream) {
    char name[SCENE_NAME_BYTES];
    mom_stream_options options;
    mom_stream_options_init(&options);
    options.if_missing = true;
    scene_stream_name(stream, name);
    tell(POWER_CREATE_TRY, stream, 0, 0);
    mom_node *node = any_node(life);
    int error = stream == SCENE_TOPIC
                    ? mom_topic_create(node, name, &options, SCENE_WAIT_MS)
                    : mom_queue_create(node, name, &options, SCENE_WAIT_MS);
    if (error == MOM_OK && stream == SCENE_TOPIC) {
        mom_subscription_options reader;
        mom_subscription_options_init(&reader);
        reader.if_missing = true;
        error = mom_subscription_create(node, name, "reader", &reader, SCENE_WAIT_MS);
    }
    if (is_done(life, error, "creating")) {
        tell(POWER_CREATE_DONE, stream, 0, 0);
        return true;
    }
    return false;
}

/* A queue that comes and, mostly, goes. */
static void short_lived(struct life *life) {
    char name[SCENE_NAME_BYTES];
    uint64_t base = SCENE_LASTING + life->number * STREAMS_EACH_LIFE;
    uint32_t stream = (uint32_t)base + life->next_stream;
    if (life->next_stream == STREAMS_EACH_LIFE || !create(life, stream)) {
        return;
    }
    life->next_stream++;
    send_step(life, stream, 2);
    if (momi_rng_between(&life->rng, 0, 3) == 0) {
        return;
    }
    scene_stream_name(stream, name);
    tell(POWER_DELETE_TRY, stream, 0, 0);
    int error = mom_queue_delete(any_node(life), name, SCENE_WAIT_MS);
    if (is_done(life, error, "deleting")) {
        tell(POWER_DELETE_DONE, stream, 0, 0);
    }
}

/* ---- Nodes ---- */

static void tell_node(const mom_node *node, mom_status *status) {
    mom_mesh_info mesh;
    mom_mesh_info_init(&mesh);
    if (mom_status_mesh(status, &mesh) != MOM_OK) {
        return;
    }
    struct power_fact fact = {.kind = POWER_MESH, .node = mom_node_id(node)};
    fact.value = scene_hash(mesh.mesh_id);
    facts_tell(&fact);
    fact.kind = POWER_OPENED;
    fact.value = scene_incarnation(node);
    facts_tell(&fact);
    for (size_t i = 0; i < mom_status_shards_count(status); i++) {
        mom_shard_info info;
        mom_shard_info_init(&info);
        if (mom_status_shard(status, i, &info) == MOM_OK && info.leader == fact.node) {
            fact.kind = POWER_LED;
            fact.stream = info.shard;
            fact.value = info.term;
            facts_tell(&fact);
        }
    }
}

static void open_all(struct life *life) {
    for (size_t i = 0; i < life->nodes_count; i++) {
        int error =
            scene_open(life->shape, life->root, life->sockets, i, &life->nodes[i]);
        if (error != MOM_OK) {
            fprintf(stderr, "the recorded program: opening: %s\n", mom_last_error_text());
            _exit(3);
        }
    }
    for (size_t i = 0; i < life->nodes_count; i++) {
        mom_status *status;
        int error = mom_wait_ready(life->nodes[i], SCENE_WAIT_MS);
        if (error != MOM_OK) {
            fprintf(stderr, "the recorded program: waiting: %s\n", mom_last_error_text());
            _exit(3);
        }
        if (mom_status_get(life->nodes[i], &status, SCENE_WAIT_MS) == MOM_OK) {
            tell_node(life->nodes[i], status);
            mom_status_free(status);
        }
    }
}

static void reopen(struct life *life) {
    for (size_t i = 0; i < SCENE_LASTING; i++) {
        (void)mom_consumer_close(life->consumers[i], SCENE_WAIT_MS);
        life->consumers[i] = NULL;
    }
    for (size_t i = 0; i < life->nodes_count; i++) {
        (void)mom_close(life->nodes[i], SCENE_WAIT_MS);
    }
    open_all(life);
}

/* So that the journal has nothing to do and syncs the mark. */
static void idle(struct life *life) {
    mom_consumer *consumer = consumer_of(life, 1);
    mom_message *message;
    if (consumer == NULL) {
        return;
    }
    while (mom_receive(consumer, &message, IDLE_MS) == MOM_OK) {
        tell(POWER_ACK_TRY, 1, number_of(message), 1);
        if (mom_ack_wait(message, SCENE_WAIT_MS) == MOM_OK) {
            tell(POWER_ACK_DONE, 1, number_of(message), 1);
        }
        mom_message_release(message);
    }
}

static void step(struct life *life) {
    uint64_t kind = momi_rng_between(&life->rng, 0, 99);
    uint32_t stream = (uint32_t)momi_rng_between(&life->rng, 0, SCENE_LASTING - 1);
    if (kind < 38) {
        send_step(life, stream, 1);
    } else if (kind < 55) {
        send_step(life, stream, momi_rng_between(&life->rng, 2, BATCH_MAX));
    } else if (kind < 75) {
        receive_step(life, stream, 1, false);
    } else if (kind < 87) {
        receive_step(life, stream, RECEIVE_MAX, false);
    } else if (kind < 90) {
        receive_step(life, stream, 2, true);
    } else if (kind < 94) {
        short_lived(life);
    } else if (kind < 97) {
        send_together(life);
    } else if (kind < 99) {
        idle(life);
    } else if (life->shape == SCENE_ALONE) {
        reopen(life);
    }
}

int scene_live(enum scene_shape shape, const char *root, const char *sockets,
               uint64_t seed, uint64_t number) {
    struct life life = {.shape = shape,
                        .root = root,
                        .sockets = sockets,
                        .number = number,
                        .nodes_count = shape == SCENE_ALONE ? 1 : SCENE_NODES};
    if (shape == SCENE_ASIDE) {
        return aside_live(root, seed);
    }
    momi_rng_seed(&life.rng, seed);
    for (size_t i = 0; i < BATCH_MAX; i++) {
        life.bodies[i] = momi_must_alloc(SCENE_BODY_BYTES_MAX);
    }
    open_all(&life);
    bool is_made = true;
    for (uint32_t stream = 0; stream < SCENE_LASTING; stream++) {
        is_made = create(&life, stream) && is_made;
    }
    int steps = shape == SCENE_ALONE ? STEPS_ALONE : STEPS_MESH;
    for (int i = 0; i < steps && is_made; i++) {
        step(&life);
    }
    _exit(is_made ? 0 : 3); /* as a power cut would: nothing is closed */
}
