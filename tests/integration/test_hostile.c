/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What strangers send to a node's address, and ways to open a node that do not fit:
 * nothing of it crashes, hangs or stops the service for others.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "integration/nodes.h"

enum { STRANGERS = 40, BYTES_MAX = 5000 };

struct scene {
    char scratch[DIR_BYTES];
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
        TEST(a_port_in_use_is_a_conflict),
        TEST(nodes_of_two_meshes_do_not_mix),
        TEST(a_memory_mesh_grows_by_joining_and_says_that_it_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
