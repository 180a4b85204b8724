/* SPDX-License-Identifier: Apache-2.0 */
/* See nodes.h. */
#include "integration/nodes.h"

#include <mom/mom.h>

#include <ftw.h>
#include <sys/wait.h>
#include <unistd.h>

void nodes_scratch(char path[DIR_BYTES]) {
    const char *base = getenv("TMPDIR");
    snprintf(path, DIR_BYTES, "%s/mom-test-XXXXXX", base == NULL ? "/tmp" : base);
    CHECK(mkdtemp(path) != NULL);
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *at) {
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

void nodes_scratch_remove(const char *path) {
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void nodes_path(char path[DIR_BYTES], const char *scratch, const char *name) {
    int size = snprintf(path, DIR_BYTES, "%s/%s", scratch, name);
    CHECK(size > 0 && size < DIR_BYTES);
}

void nodes_copy(const char *source, const char *target) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execlp("cp", "cp", "-a", source, target, (char *)NULL);
        _exit(127);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

static void print_line(mom_log_level level, const char *id, const char *group,
                       const char *message, void *user) {
    fprintf(stderr, "%s %d %s %s %s\n", (const char *)user, (int)level, id, group,
            message);
}

void nodes_log(mom_options *options) {
    static char nobody[] = "?";
    if (getenv("MOM_TEST_LOG") != NULL) {
        options->log = print_line;
        options->log_level = MOM_LOG_DEBUG;
        options->log_user =
            options->name != NULL ? (void *)(uintptr_t)options->name : (void *)nobody;
    }
}

static void check_open(int error) {
    if (error != MOM_OK) {
        fail_msg("%s: %s", mom_err_name(error), mom_last_error_text());
    }
}

static void check_ready(mom_node *node) {
    int error = mom_wait_ready(node, WAIT_MS);
    if (error != MOM_OK) {
        fail_msg("%s: %s: %s", mom_node_name(node), mom_err_name(error),
                 mom_last_error_text());
    }
}

mom_node *nodes_open_alone(const char *dir) {
    mom_options options;
    mom_options_init(&options);
    options.data_dir = dir;
    nodes_log(&options);
    mom_node *node = NULL;
    check_open(mom_open(&options, &node));
    check_ready(node);
    return node;
}

static const char *const names[NODES_MAX] = {"one", "two", "three", "four", "five"};

void mesh_open_node(struct mesh *mesh, size_t index) {
    char dir[DIR_BYTES];
    mom_options options;
    nodes_path(dir, mesh->scratch, names[index]);
    mom_options_init(&options);
    options.data_dir = dir;
    options.name = names[index];
    options.listen = mesh->addresses[index];
    options.form = mesh->form;
    nodes_log(&options);
    check_open(mom_open(&options, &mesh->nodes[index]));
}

void mesh_open(struct mesh *mesh, size_t count) {
    memset(mesh, 0, sizeof *mesh);
    nodes_scratch(mesh->scratch);
    mesh->count = count;
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        int written = snprintf(mesh->addresses[i], DIR_BYTES, "ipc://%.200s/%s.sock",
                               mesh->scratch, names[i]);
        CHECK(written > 0 && written < DIR_BYTES);
        size += (size_t)snprintf(mesh->form + size, sizeof mesh->form - size, "%s%s=%s",
                                 i == 0 ? "" : ",", names[i], mesh->addresses[i]);
    }
    for (size_t i = 0; i < count; i++) {
        mesh_open_node(mesh, i);
    }
    mesh_wait_ready(mesh);
}

void mesh_wait_ready(const struct mesh *mesh) {
    for (size_t i = 0; i < mesh->count; i++) {
        if (mesh->nodes[i] != NULL) {
            check_ready(mesh->nodes[i]);
        }
    }
}

void mesh_close_node(struct mesh *mesh, size_t index) {
    CHECK_OK(mom_close(mesh->nodes[index], WAIT_MS));
    mesh->nodes[index] = NULL;
}

void mesh_close(struct mesh *mesh) {
    for (size_t i = 0; i < mesh->count; i++) {
        if (mesh->nodes[i] != NULL) {
            mesh_close_node(mesh, i);
        }
    }
    nodes_scratch_remove(mesh->scratch);
}

mom_node *mesh_client(const struct mesh *mesh) {
    char join[NODES_MAX * DIR_BYTES];
    size_t size = 0;
    for (size_t i = 0; i < mesh->count; i++) {
        size += (size_t)snprintf(join + size, sizeof join - size, "%s%s",
                                 i == 0 ? "" : ",", mesh->addresses[i]);
    }
    mom_options options;
    mom_options_init(&options);
    options.join = join;
    options.name = "client";
    nodes_log(&options);
    mom_node *node = NULL;
    check_open(mom_open(&options, &node));
    check_ready(node);
    return node;
}

size_t mesh_leader_of(const struct mesh *mesh, size_t asked, const char *queue) {
    mom_stream_info info;
    mom_stream_info_init(&info);
    CHECK_OK(mom_queue_info(mesh->nodes[asked], queue, &info, WAIT_MS));
    for (size_t i = 0; i < mesh->count; i++) {
        if (mesh->nodes[i] != NULL && mom_node_id(mesh->nodes[i]) == info.leader) {
            return i;
        }
    }
    fail_msg("no node of the mesh leads %s", queue);
    return 0;
}

void check_body(const mom_message *message, const char *text) {
    size_t size;
    const void *body = mom_message_body(message, &size);
    if (size != strlen(text) || memcmp(body, text, size) != 0) {
        fail_msg("got \"%.*s\", not \"%s\"", (int)size, (const char *)body, text);
    }
}

void send_in_order(mom_node *node, const char *queue, const char *text, size_t from,
                   size_t count) {
    for (size_t i = from; i < from + count; i++) {
        char body[64];
        int size = snprintf(body, sizeof body, "%s-%zu", text, i);
        check_open(mom_send(node, queue, body, (size_t)size, NULL, WAIT_MS));
    }
}

void receive_in_order(mom_consumer *consumer, const char *text, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char body[64];
        mom_message *message;
        snprintf(body, sizeof body, "%s-%zu", text, i);
        check_open(mom_receive(consumer, &message, WAIT_MS));
        check_body(message, body);
        CHECK_OK(mom_ack(message));
        mom_message_release(message);
    }
    check_open(mom_consumer_flush(consumer, WAIT_MS));
}
