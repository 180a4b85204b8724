/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three nodes that replicate to each other; usually in three programs on three machines,
 * here in one. The one that leads the queue goes away, and nothing stops.
 *
 *     three_nodes DIR
 */
#include <mom/mom.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 30000, NODES = 3, MESSAGES = 100 };

static const char *const names[NODES] = {"anna", "bert", "cleo"};

static void check(const char *what, int error) {
    if (error != MOM_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, mom_strerror(error),
                mom_last_error_text());
        exit(-error);
    }
}

/* Each founder gets the same list, and its own name. */
static mom_node *open_node(const char *base, int index, const char *form) {
    char dir[512];
    char listen[600];
    mom_node *node;
    snprintf(dir, sizeof dir, "%s/%s", base, names[index]);
    snprintf(listen, sizeof listen, "ipc://%s.sock", dir);
    mom_options options;
    mom_options_init(&options);
    options.name = names[index];
    options.data_dir = dir;
    options.listen = listen;
    options.form = form;
    check("open", mom_open(&options, &node));
    return node;
}

static void send_some(mom_node *node, int from) {
    for (int i = from; i < from + MESSAGES; i++) {
        check("send", mom_send(node, "work", &i, sizeof i, NULL, TIMEOUT_MS));
    }
}

static void receive_all(mom_node *node, int count) {
    mom_consumer *consumer;
    check("consumer", mom_queue_consumer(node, "work", NULL, TIMEOUT_MS, &consumer));
    for (int i = 0; i < count; i++) {
        mom_message *message;
        int number;
        check("receive", mom_receive(consumer, &message, TIMEOUT_MS));
        memcpy(&number, mom_message_body(message, NULL), sizeof number);
        if (number != i) {
            fprintf(stderr, "got %d in place of %d\n", number, i);
            exit(1);
        }
        check("ack", mom_ack(message));
        mom_message_release(message);
    }
    check("close", mom_consumer_close(consumer, TIMEOUT_MS));
}

int main(int argc, char **argv) {
    char form[2048] = "";
    size_t size = 0;
    mom_node *nodes[NODES];
    if (argc != 2 || strlen(argv[1]) > 80) {
        fprintf(stderr, "usage: %s DIR (an existing one, with a short path)\n", argv[0]);
        return 2;
    }
    for (int i = 0; i < NODES; i++) {
        size += (size_t)snprintf(form + size, sizeof form - size, "%s%s=ipc://%s/%s.sock",
                                 i == 0 ? "" : ",", names[i], argv[1], names[i]);
    }
    for (int i = 0; i < NODES; i++) {
        nodes[i] = open_node(argv[1], i, form);
    }
    for (int i = 0; i < NODES; i++) {
        check("ready", mom_wait_ready(nodes[i], TIMEOUT_MS));
    }
    check("create", mom_queue_create(nodes[0], "work", NULL, TIMEOUT_MS));
    send_some(nodes[0], 0);
    mom_stream_info info;
    mom_stream_info_init(&info);
    check("info", mom_queue_info(nodes[0], "work", &info, TIMEOUT_MS));
    printf("%u copies, led by %s\n", info.replicas_count, info.leader_name);
    int survivor = 0;
    for (int i = 0; i < NODES; i++) {
        if (mom_node_id(nodes[i]) == info.leader) {
            check("close", mom_close(nodes[i], TIMEOUT_MS));
            nodes[i] = NULL;
        } else {
            survivor = i;
        }
    }
    send_some(nodes[survivor], MESSAGES);
    mom_stream_info_init(&info);
    check("info", mom_queue_info(nodes[survivor], "work", &info, TIMEOUT_MS));
    printf("that one is closed; now led by %s\n", info.leader_name);
    receive_all(nodes[survivor], 2 * MESSAGES);
    printf("received all %d messages in order\n", 2 * MESSAGES);
    for (int i = 0; i < NODES; i++) {
        check("close", mom_close(nodes[i], TIMEOUT_MS));
    }
    return 0;
}
