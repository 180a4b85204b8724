/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What strangers send to a node's address, and ways to open a node that do not fit:
 * nothing of it crashes, hangs or stops the service for others.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "integration/nodes.h"
#include "port/gossip.h"
#include "wire/presence.h"

enum { STRANGERS = 40, BYTES_MAX = 5000 };

struct scene {
    char scratch[DIR_BYTES];
    char bus[DIR_BYTES + 16], survey[DIR_BYTES + 16];
    mom_node *node;
    int port;
};

static void open_scene(struct scene *scene) {
    char dir[DIR_BYTES];
    nodes_scratch(scene->scratch);
    nodes_path(dir, scene->scratch, "data");
    mom_options options;
    mom_options_init(&options);
    options.data_dir = dir;
    options.listen = "tcp://127.0.0.1:0";
    snprintf(scene->bus, sizeof scene->bus, "ipc://%s/bus", scene->scratch);
    snprintf(scene->survey, sizeof scene->survey, "ipc://%s/survey", scene->scratch);
    options.listen_bus = scene->bus;
    options.listen_survey = scene->survey;
    nodes_log(&options);
    CHECK_OK(mom_open(&options, &scene->node));
    CHECK_OK(mom_wait_ready(scene->node, WAIT_MS));
    const char *colon = strrchr(mom_node_address(scene->node), ':');
    CHECK(colon != NULL);
    scene->port = (int)strtol(colon + 1, NULL, 10);
    CHECK(scene->port > 0);
    CHECK_OK(mom_queue_create(scene->node, "q", NULL, WAIT_MS));
}

static void close_scene(struct scene *scene) {
    CHECK_OK(mom_close(scene->node, WAIT_MS));
    nodes_scratch_remove(scene->scratch);
}

static int connect_to(const struct scene *scene) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)scene->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* A node may close before it has read everything. */
static void send_all(int fd, const void *bytes, size_t size) {
    const unsigned char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0) {
            CHECK(errno == EPIPE || errno == ECONNRESET);
            return;
        }
        at += sent;
        size -= (size_t)sent;
    }
}

/* Reads until the node closes; false: it did not within the time. */
static bool is_closed_by_node(int fd) {
    char bytes[4096];
    for (;;) {
        struct pollfd entry = {.fd = fd, .events = POLLIN};
        if (poll(&entry, 1, WAIT_MS) <= 0) {
            return false;
        }
        if (recv(fd, bytes, sizeof bytes, 0) <= 0) {
            return true;
        }
    }
}

static void check_service(const struct scene *scene) {
    char join[DIR_BYTES];
    snprintf(join, sizeof join, "%s", mom_node_address(scene->node));
    mom_options options;
    mom_options_init(&options);
    options.join = join;
    mom_node *client;
    CHECK_OK(mom_open(&options, &client));
    CHECK_OK(mom_send(client, "q", "x", 1, NULL, WAIT_MS));
    CHECK_OK(mom_close(client, WAIT_MS));
}

/* The same on every run. */
static uint32_t draw(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void random_bytes_are_closed_and_others_served(void **state) {
    (void)state;
    struct scene scene;
    uint32_t seed = 7;
    open_scene(&scene);
    for (int i = 0; i < STRANGERS; i++) {
        unsigned char bytes[BYTES_MAX];
        size_t size = 1 + draw(&seed) % BYTES_MAX;
        for (size_t j = 0; j < size; j++) {
            bytes[j] = (unsigned char)draw(&seed);
        }
        int fd = connect_to(&scene);
        send_all(fd, bytes, size);
        CHECK_EQ(shutdown(fd, SHUT_WR), 0);
        CHECK(is_closed_by_node(fd));
        close(fd);
    }
    check_service(&scene);
    close_scene(&scene);
}

/* A legal length, then bytes that are no handshake, or a part of one. */
static void frames_before_the_handshake_are_refused(void **state) {
    (void)state;
    struct scene scene;
    open_scene(&scene);
    static const char *const bodies[] = {"mO\1\3garbage",  "mF\1\1garbage",
                                         "mH\1\1garbage",  "mH\1\2",
                                         "mH\1\3\0\0\0\0", "GET / HTTP/1.1\r\n"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        unsigned char frame[64] = {0};
        size_t size = 16;
        frame[0] = (unsigned char)size;
        memcpy(frame + 4, bodies[i], strlen(bodies[i]) < size ? strlen(bodies[i]) : size);
        int fd = connect_to(&scene);
        send_all(fd, frame, 4 + size);
        CHECK(is_closed_by_node(fd));
        close(fd);
    }
    check_service(&scene);
    mom_metrics metrics;
    mom_metrics_init(&metrics);
    CHECK_OK(mom_wait_ready(scene.node, WAIT_MS));
    CHECK_OK(mom_metrics_get(scene.node, &metrics));
    CHECK(metrics.frames_invalid_count > 0);
    close_scene(&scene);
}

static void silent_and_halting_strangers_are_closed(void **state) {
    (void)state;
    struct scene scene;
    open_scene(&scene);
    static const unsigned char half[] = {100, 0, 0, 0, 'm', 'H', 1};
    static const unsigned char huge[] = {255, 255, 255, 255, 'm', 'H', 1};
    int silent = connect_to(&scene);
    int halting = connect_to(&scene);
    int greedy = connect_to(&scene);
    send_all(halting, half, sizeof half);
    send_all(greedy, huge, sizeof huge);
    CHECK(is_closed_by_node(greedy));
    CHECK(is_closed_by_node(silent));
    CHECK(is_closed_by_node(halting));
    close(silent);
    close(halting);
    close(greedy);
    check_service(&scene);
    close_scene(&scene);
}

/* --- bus and survey ---------------------------------------------------------------- */

/* Somebody who speaks the language of the sockets. */
struct stranger {
    struct momi_gossip *gossip;
    pthread_mutex_t mutex;
    pthread_cond_t ended_one;
    uint64_t answers, ended;
};

static void ignore(void *user, struct momi_slice datagram) {
    (void)user;
    (void)datagram;
}

static bool stay_silent(void *user, struct momi_slice question,
                        struct momi_bytes *answer) {
    (void)user;
    (void)question;
    (void)answer;
    return false;
}

static void count_answer(void *user, uint64_t token, struct momi_slice answer) {
    struct stranger *stranger = user;
    struct momi_presence presence;
    (void)token;
    CHECK_OK(momi_presence_decode(answer, &presence));
    pthread_mutex_lock(&stranger->mutex);
    stranger->answers++;
    pthread_mutex_unlock(&stranger->mutex);
}

static void count_end(void *user, uint64_t token) {
    struct stranger *stranger = user;
    (void)token;
    pthread_mutex_lock(&stranger->mutex);
    stranger->ended++;
    pthread_cond_signal(&stranger->ended_one);
    pthread_mutex_unlock(&stranger->mutex);
}

/* Asks, and waits until the time for answers is over. */
static void ask(struct stranger *stranger, struct momi_slice question) {
    pthread_mutex_lock(&stranger->mutex);
    uint64_t before = stranger->ended;
    pthread_mutex_unlock(&stranger->mutex);
    CHECK_OK(momi_gossip_ask(stranger->gossip, 1, question, 100));
    pthread_mutex_lock(&stranger->mutex);
    while (stranger->ended == before) {
        pthread_cond_wait(&stranger->ended_one, &stranger->mutex);
    }
    pthread_mutex_unlock(&stranger->mutex);
}

static void say_nonsense(struct stranger *stranger, uint32_t *seed) {
    unsigned char bytes[BYTES_MAX];
    size_t size = 1 + draw(seed) % BYTES_MAX;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)draw(seed);
    }
    (void)momi_gossip_publish(stranger->gossip, momi_slice(bytes, size));
    ask(stranger, momi_slice(bytes, size));
    memcpy(bytes, "mP\1\3", 4); /* almost right */
    (void)momi_gossip_publish(stranger->gossip, momi_slice(bytes, size));
}

/* Readable, and not true. */
static void lie(struct stranger *stranger, mom_node *node) {
    struct momi_presence presence = {.kind = MOMI_PRESENCE_ALIVE, .count = 1};
    struct momi_presence_record *record = &presence.records[0];
    *record = (struct momi_presence_record){.node = 4711,
                                            .incarnation = UINT64_MAX,
                                            .name = momi_slice_str("liar"),
                                            .address = momi_slice_str("tcp://h:1")};
    for (int i = 0; i < 2; i++) {
        struct momi_bytes bytes = {0};
        CHECK_OK(momi_presence_encode(&presence, &bytes));
        (void)momi_gossip_publish(stranger->gossip, momi_bytes_slice(&bytes));
        momi_bytes_free(&bytes);
        record->node = mom_node_id(node);
    }
}

static uint64_t answers_of(struct stranger *stranger) {
    pthread_mutex_lock(&stranger->mutex);
    uint64_t answers = stranger->answers;
    pthread_mutex_unlock(&stranger->mutex);
    return answers;
}

static void nonsense_on_bus_and_survey_is_counted_and_nothing_more(void **state) {
    (void)state;
    struct scene scene;
    struct stranger stranger = {.gossip = NULL};
    uint32_t seed = 11;
    open_scene(&scene);
    CHECK_EQ(pthread_mutex_init(&stranger.mutex, NULL), 0);
    CHECK_EQ(pthread_cond_init(&stranger.ended_one, NULL), 0);
    static const struct momi_gossip_callbacks callbacks = {.received = ignore,
                                                           .asked = stay_silent,
                                                           .answered = count_answer,
                                                           .survey_ended = count_end};
    CHECK_OK(momi_gossip_open(&stranger.gossip, &callbacks, &stranger));
    CHECK_OK(momi_gossip_connect_bus(stranger.gossip, scene.bus));
    CHECK_OK(momi_gossip_connect_survey(stranger.gossip, scene.survey));
    struct momi_presence who = {.kind = MOMI_PRESENCE_WHO};
    struct momi_bytes question = {0};
    CHECK_OK(momi_presence_encode(&who, &question));
    mom_metrics metrics = {0};
    uint64_t hints = 0;
    for (int i = 0; i < 300 && (metrics.gossip_invalid_count < 10 || hints < 2 ||
                                answers_of(&stranger) == 0);
         i++) {
        say_nonsense(&stranger, &seed);
        lie(&stranger, scene.node);
        ask(&stranger, momi_bytes_slice(&question));
        mom_metrics_init(&metrics);
        CHECK_OK(mom_metrics_get(scene.node, &metrics));
        hints = metrics.gossip_hints_count;
    }
    CHECK(metrics.gossip_invalid_count >= 10);
    CHECK(hints >= 2);
    CHECK(answers_of(&stranger) > 0);
    mom_status *status;
    CHECK_OK(mom_status_get(scene.node, &status, WAIT_MS));
    CHECK_EQ(mom_status_nodes_count(status), 1); /* nobody was believed */
    mom_status_free(status);
    check_service(&scene);
    CHECK_OK(momi_gossip_close(stranger.gossip, WAIT_MS));
    momi_bytes_free(&question);
    pthread_cond_destroy(&stranger.ended_one);
    pthread_mutex_destroy(&stranger.mutex);
    close_scene(&scene);
}

static void bytes_that_are_no_socket_protocol_are_closed(void **state) {
    (void)state;
    struct scene scene;
    uint32_t seed = 13;
    open_scene(&scene);
    for (int i = 0; i < STRANGERS; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        const char *path = (i % 2 == 0 ? scene.bus : scene.survey) + strlen("ipc://");
        CHECK(strlen(path) < sizeof address.sun_path);
        memcpy(address.sun_path, path, strlen(path));
        unsigned char bytes[BYTES_MAX];
        for (size_t j = 0; j < sizeof bytes; j++) {
            bytes[j] = (unsigned char)draw(&seed);
        }
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(fd >= 0);
        CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        send_all(fd, bytes, 1 + draw(&seed) % BYTES_MAX);
        CHECK_EQ(shutdown(fd, SHUT_WR), 0);
        CHECK(is_closed_by_node(fd));
        close(fd);
    }
    check_service(&scene);
    close_scene(&scene);
}

static void a_port_in_use_is_a_conflict(void **state) {
    (void)state;
    struct scene scene;
    open_scene(&scene);
    mom_options options;
    char listen[DIR_BYTES];
    snprintf(listen, sizeof listen, "%s", mom_node_address(scene.node));
    mom_options_init(&options);
    options.memory = true;
    options.listen = listen;
    mom_node *second;
    CHECK_ERR(mom_open(&options, &second), MOM_CONFLICT);
    CHECK(strlen(mom_last_error_text()) > 0);
    close_scene(&scene);
}

static void nodes_of_two_meshes_do_not_mix(void **state) {
    (void)state;
    struct scene one;
    struct scene two;
    char dir[DIR_BYTES];
    char join[DIR_BYTES];
    open_scene(&one);
    open_scene(&two);
    nodes_path(dir, two.scratch, "data");
    snprintf(join, sizeof join, "%s", mom_node_address(one.node));
    CHECK_OK(mom_close(two.node, WAIT_MS));
    mom_options options;
    mom_options_init(&options);
    options.data_dir = dir;
    options.listen = "tcp://127.0.0.1:0";
    options.join = join;
    nodes_log(&options);
    CHECK_OK(mom_open(&options, &two.node));
    /* It returns to its own mesh, and only there; the other refuses it. */
    mom_metrics metrics;
    mom_metrics_init(&metrics);
    mom_status *status;
    mom_mesh_info mesh_one;
    mom_mesh_info mesh_two;
    CHECK_OK(mom_status_get(one.node, &status, WAIT_MS));
    mom_mesh_info_init(&mesh_one);
    CHECK_OK(mom_status_mesh(status, &mesh_one));
    CHECK_EQ(mom_status_nodes_count(status), 1);
    mom_status_free(status);
    CHECK_OK(mom_status_get(two.node, &status, WAIT_MS));
    mom_mesh_info_init(&mesh_two);
    CHECK_OK(mom_status_mesh(status, &mesh_two));
    mom_status_free(status);
    CHECK(strcmp(mesh_one.mesh_id, mesh_two.mesh_id) != 0);
    check_service(&one);
    close_scene(&one);
    close_scene(&two);
}

static void a_memory_mesh_grows_by_joining_and_says_that_it_is_one(void **state) {
    (void)state;
    mom_options options;
    mom_node *nodes[3];
    char join[DIR_BYTES];
    for (int i = 0; i < 3; i++) {
        mom_options_init(&options);
        options.memory = true;
        options.listen = "tcp://127.0.0.1:0";
        options.join = i == 0 ? NULL : join;
        nodes_log(&options);
        CHECK_OK(mom_open(&options, &nodes[i]));
        CHECK_OK(mom_wait_ready(nodes[i], WAIT_MS));
        snprintf(join, sizeof join, "%s", mom_node_address(nodes[0]));
        CHECK(!mom_node_is_durable(nodes[i]));
    }
    mom_completions *completions;
    mom_completion completion;
    size_t count;
    CHECK_OK(mom_queue_create(nodes[1], "q", NULL, WAIT_MS));
    CHECK_OK(mom_completions_open(nodes[2], &completions));
    CHECK_OK(
        mom_send_submit(nodes[2], "q", "x", 1, NULL, MOM_FOREVER, completions, NULL));
    CHECK_OK(mom_completions_wait(completions, &completion, 1, &count, WAIT_MS));
    CHECK_EQ(completion.error, MOM_OK);
    CHECK_EQ(completion.synced_copies, 0);
    mom_completions_close(completions);
    mom_consumer *consumer;
    mom_message *message;
    CHECK_OK(mom_queue_consumer(nodes[0], "q", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    CHECK_OK(mom_ack_wait(message, WAIT_MS));
    mom_message_release(message);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(mom_close(nodes[i], WAIT_MS));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(random_bytes_are_closed_and_others_served),
        TEST(frames_before_the_handshake_are_refused),
        TEST(silent_and_halting_strangers_are_closed),
        TEST(nonsense_on_bus_and_survey_is_counted_and_nothing_more),
        TEST(bytes_that_are_no_socket_protocol_are_closed),
        TEST(a_port_in_use_is_a_conflict),
        TEST(nodes_of_two_meshes_do_not_mix),
        TEST(a_memory_mesh_grows_by_joining_and_says_that_it_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
