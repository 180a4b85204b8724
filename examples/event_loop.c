/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmom in a program with an event loop of its own: nothing blocks, one file descriptor
 * tells when there is something to collect.
 *
 *     event_loop DIR
 *
 * Keeps a window of messages in flight and receives them at the same time, all in one
 * thread.
 */
#include <mom/mom.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 10000, MESSAGES = 5000, WINDOW = 500, BATCH = 64 };

struct program {
    mom_node *node;
    mom_consumer *consumer;
    mom_completions *completions;
    int submitted, sent, received;
};

static void check(const char *what, int error) {
    if (error != MOM_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, mom_strerror(error),
                mom_last_error_text());
        exit(-error);
    }
}

static void fill_window(struct program *program) {
    while (program->submitted < MESSAGES && program->submitted - program->sent < WINDOW) {
        int error = mom_send_submit(program->node, "stream", &program->submitted,
                                    sizeof program->submitted, NULL, MOM_FOREVER,
                                    program->completions, &program->sent);
        if (error == MOM_FULL) {
            return; /* collect first */
        }
        check("submit", error);
        program->submitted++;
    }
}

/* Takes all that is buffered, then asks to be told of more. */
static void take_messages(struct program *program) {
    mom_message *messages[BATCH];
    size_t count;
    int error = mom_receive_many(program->consumer, messages, BATCH, &count, 0);
    if (error == MOM_OK) {
        check("ack", mom_ack_many(messages, count));
        for (size_t i = 0; i < count; i++) {
            mom_message_release(messages[i]);
        }
        program->received += (int)count;
    } else if (error != MOM_EMPTY) {
        check("receive", error);
    }
    check("receive", mom_receive_submit(program->consumer, MOM_FOREVER,
                                        program->completions, &program->received));
}

static void collect(struct program *program) {
    mom_completion list[BATCH];
    size_t count;
    int error = mom_completions_wait(program->completions, list, BATCH, &count, 0);
    if (error == MOM_EMPTY) {
        return;
    }
    check("collect", error);
    for (size_t i = 0; i < count; i++) {
        check("completion", list[i].error);
        if (list[i].user == &program->sent) {
            program->sent++;
        } else {
            take_messages(program);
        }
    }
}

int main(int argc, char **argv) {
    struct program program = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    mom_options options;
    mom_options_init(&options);
    options.data_dir = argv[1];
    check("open", mom_open(&options, &program.node));
    mom_stream_options queue;
    mom_stream_options_init(&queue);
    queue.if_missing = true;
    check("create", mom_queue_create(program.node, "stream", &queue, TIMEOUT_MS));
    check("completions", mom_completions_open(program.node, &program.completions));
    check("consumer", mom_queue_consumer(program.node, "stream", NULL, TIMEOUT_MS,
                                         &program.consumer));
    check("receive", mom_receive_submit(program.consumer, MOM_FOREVER,
                                        program.completions, &program.received));
    struct pollfd mine[] = {
        /* The program's own descriptors stand beside this one. */
        {.fd = mom_completions_fd(program.completions), .events = POLLIN},
    };
    while (program.sent < MESSAGES || program.received < MESSAGES) {
        fill_window(&program);
        if (poll(mine, 1, TIMEOUT_MS) <= 0) {
            fprintf(stderr, "nothing happens\n");
            return 1;
        }
        collect(&program);
    }
    printf("sent %d, received %d\n", program.sent, program.received);
    check("close", mom_consumer_close(program.consumer, TIMEOUT_MS));
    mom_completions_close(program.completions);
    check("close", mom_close(program.node, TIMEOUT_MS));
    return 0;
}
