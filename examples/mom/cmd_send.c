/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mom send and mom publish. One TEXT is one call; the messages of standard input or a
 * file go in batches, a bounded number of them under way, in order. It ends at the first
 * failure, waits for what is under way, and tells what became of each message.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "json.h"
#include "output.h"

enum {
    BATCHES_MAX = 64, /* under way */
    BATCH_MESSAGES_MAX = 1024,
    BATCH_BYTES_MAX = 64 * 1024,
    TEXT_BYTES = 1200,
    HEADER_BYTES_MAX = MOM_NAME_BYTES_MAX + 1,
};

struct batch {
    uint64_t first; /* message, counted from 1 */
    uint64_t count;
    uint64_t acknowledged;
    int error;
    bool is_under_way;
};

struct sending {
    struct cli *cli;
    const char *name; /* queue or topic */
    const char *key;  /* topic */
    bool is_topic;
    mom_send_options *options; /* owned */
    mom_completions *completions;
    struct input input;
    struct batch batches[BATCHES_MAX];
    size_t under_way;
    struct batch
        problems[BATCHES_MAX]; /* no more can fail: the first stops the sending */
    size_t problems_count;
    mom_slice pending[BATCH_MESSAGES_MAX]; /* taken, not submitted */
    const char *keys[BATCH_MESSAGES_MAX];
    size_t pending_count;
    uint64_t sent;
    uint64_t acknowledged;
    uint64_t start_us;
    struct progress progress;
};

static int read_options(const struct cli *cli, mom_send_options *options) {
    options->create = args_has(&cli->args, OPT_CREATE);
    for (size_t i = 0;; i++) {
        const char *header = args_value_at(&cli->args, OPT_HEADER, i);
        if (header == NULL) {
            return 0;
        }
        const char *equals = strchr(header, '=');
        char name[HEADER_BYTES_MAX];
        if (equals == NULL || (size_t)(equals - header) >= sizeof name) {
            return fail_usage(cli, "--header %s: NAME=VALUE is needed", header);
        }
        memcpy(name, header, (size_t)(equals - header));
        name[equals - header] = 0;
        int error =
            mom_send_options_add_header(options, name, equals + 1, strlen(equals + 1));
        if (error != 0) {
            return fail_mom(cli, error, "--header", NULL);
        }
    }
}

static int fail_send(const struct sending *sending, int error) {
    const struct cli *cli = sending->cli;
    char next[2 * TEXT_BYTES];
    char word[TEXT_BYTES];
    const char *noun = sending->is_topic ? "topic" : "queue";
    if (error != MOM_NOT_FOUND) {
        return fail_stream(cli, error, noun, sending->name);
    }
    shell_word(sending->name, word, sizeof word);
    snprintf(next, sizeof next, "create it with --create, or: mom %s create %s", noun,
             word);
    return fail_mom(cli, error, word, next);
}

/* --- many --- */

static int submit(struct sending *sending) {
    struct cli *cli = sending->cli;
    struct batch *batch = sending->batches;
    while (batch->is_under_way) {
        batch++; /* the caller knows that one is free */
    }
    *batch = (struct batch){.first = sending->sent + 1, .count = sending->pending_count};
    for (size_t i = 0; i < sending->pending_count; i++) {
        sending->keys[i] = sending->key;
    }
    int error = sending->is_topic
                    ? mom_publish_many_submit(cli->node, sending->name,
                                              sending->key != NULL ? sending->keys : NULL,
                                              sending->pending, sending->pending_count,
                                              sending->options, cli->timeout_ms,
                                              sending->completions, batch)
                    : mom_send_many_submit(cli->node, sending->name, sending->pending,
                                           sending->pending_count, sending->options,
                                           cli->timeout_ms, sending->completions, batch);
    if (error == 0) {
        batch->is_under_way = true;
        sending->under_way++;
        sending->sent += sending->pending_count;
        sending->pending_count = 0;
    }
    return error;
}

static void collect(struct sending *sending) {
    mom_completion list[BATCHES_MAX];
    size_t count = 0;
    if (mom_completions_wait(sending->completions, list, BATCHES_MAX, &count, 0) != 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct batch *batch = list[i].user;
        batch->is_under_way = false;
        batch->error = list[i].error;
        batch->acknowledged = list[i].error == 0 ? batch->count : list[i].count;
        sending->under_way--;
        sending->acknowledged += batch->acknowledged;
        if (list[i].error != 0) {
            sending->problems[sending->problems_count++] = *batch;
        }
    }
    progress_show(&sending->progress, "acknowledged", sending->acknowledged,
                  sending->sent);
}

/* Waits for completions, a signal, and, if wanted, input. True: there is input. */
static bool wait_for(struct sending *sending, bool wants_input) {
    struct pollfd fds[3] = {
        {.fd = mom_completions_fd(sending->completions), .events = POLLIN},
        {.fd = signals_came() ? -1 : signals_fd(), .events = POLLIN},
        {.fd = wants_input ? sending->input.fd : -1, .events = POLLIN}};
    return poll(fds, 3, -1) > 0 && fds[2].revents != 0;
}

/* What stopped the sending, beside problems that completions told. */
struct stop {
    bool is_stopped;
    int error;       /* of libmom */
    int errno_input; /* of reading */
};

/* Reads and submits. Returns when nothing more is to be sent. */
static void pump(struct sending *sending, struct stop *stop) {
    struct input *input = &sending->input;
    for (;;) {
        collect(sending);
        if (signals_came() || sending->problems_count > 0) {
            return;
        }
        if (sending->pending_count == 0) {
            sending->pending_count =
                input_take(input, sending->pending, BATCH_MESSAGES_MAX, BATCH_BYTES_MAX);
        }
        if (sending->pending_count > 0) {
            int error = sending->under_way < BATCHES_MAX ? submit(sending) : MOM_FULL;
            if (error == MOM_FULL && sending->under_way > 0) {
                (void)wait_for(sending, false);
            } else if (error != 0) {
                stop->error = error;
                return;
            }
            continue;
        }
        if (input->is_too_big || input->is_at_end) {
            stop->error = input->is_too_big ? MOM_TOO_BIG : 0;
            return;
        }
        if (wait_for(sending, true)) {
            stop->errno_input = input_read(input);
            if (stop->errno_input != 0) {
                return;
            }
        }
    }
}

static int by_first(const void *a, const void *b) {
    const struct batch *one = a;
    const struct batch *two = b;
    return one->first < two->first ? -1 : one->first > two->first;
}

static void report_json(const struct sending *sending) {
    struct json json = {.out = stdout};
    json_open(&json, NULL, '{');
    json_number(&json, "sent", sending->sent);
    json_number(&json, "acknowledged", sending->acknowledged);
    json_open(&json, "problems", '[');
    for (size_t i = 0; i < sending->problems_count; i++) {
        const struct batch *batch = &sending->problems[i];
        json_open(&json, NULL, '{');
        json_number(&json, "first", batch->first);
        json_number(&json, "last", batch->first + batch->count - 1);
        json_number(&json, "acknowledged", batch->acknowledged);
        json_text(&json, "error", mom_err_name(batch->error));
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_real(&json, "seconds", (double)(now_us() - sending->start_us) / 1e6);
    json_close(&json, '}');
    json_line(&json);
}

/* One line for each batch that failed: which messages, what became of them. */
static void report_problems(const struct sending *sending) {
    for (size_t i = 0; i < sending->problems_count; i++) {
        const struct batch *batch = &sending->problems[i];
        bool is_in_doubt = batch->error == MOM_UNKNOWN_OUTCOME;
        fprintf(stderr, "mom: messages %" PRIu64 " to %" PRIu64 ": %s (%s)", batch->first,
                batch->first + batch->count - 1,
                is_in_doubt ? "in doubt, they may have been sent" : "not sent",
                mom_err_name(batch->error));
        if (batch->acknowledged > 0) {
            fprintf(stderr, ", except %" PRIu64 " that are acknowledged",
                    batch->acknowledged);
        }
        fputc('\n', stderr);
    }
}

/* The class that the whole ends with: doubt first, else the first failure. */
static int error_of_all(const struct sending *sending, const struct stop *stop) {
    for (size_t i = 0; i < sending->problems_count; i++) {
        if (sending->problems[i].error == MOM_UNKNOWN_OUTCOME) {
            return MOM_UNKNOWN_OUTCOME;
        }
    }
    return sending->problems_count > 0 ? sending->problems[0].error : stop->error;
}

static int report(struct sending *sending, const struct stop *stop) {
    struct cli *cli = sending->cli;
    char detail[TEXT_BYTES];
    qsort(sending->problems, sending->problems_count, sizeof *sending->problems,
          by_first);
    if (cli->json) {
        report_json(sending);
    }
    int error = error_of_all(sending, stop);
    bool is_interrupted = signals_came() && !sending->input.is_at_end;
    if (error == 0 && stop->errno_input == 0 && !is_interrupted) {
        return 0;
    }
    if (!cli->json) {
        report_problems(sending);
    }
    int length =
        snprintf(detail, sizeof detail,
                 "%" PRIu64 " of %" PRIu64 " messages that were sent are acknowledged",
                 sending->acknowledged, sending->sent);
    char *rest = detail + length;
    size_t room = sizeof detail - (size_t)length;
    if (stop->errno_input != 0) {
        snprintf(rest, room, "; then reading failed: %s", strerror(stop->errno_input));
        return fail_text(cli, 0, detail, "");
    }
    if (error == 0) {
        snprintf(rest, room, "; then it was interrupted");
        return fail_text(cli, 0, detail, "");
    }
    if (error == MOM_TOO_BIG && sending->input.is_too_big) {
        snprintf(rest, room, "; message %" PRIu64 " is larger than %u bytes",
                 sending->sent + 1, MOM_BODY_BYTES_MAX);
    } else if (stop->error == error) {
        snprintf(rest, room, "; message %" PRIu64 ": %s", sending->sent + 1,
                 mom_strerror(error));
    }
    if (error == MOM_NOT_FOUND) {
        return fail_text(cli, error, detail, "create it first, or send with --create");
    }
    return fail_text(cli, error, detail, mom_err_advice(error));
}

static enum input_mode input_mode(const struct cli *cli) {
    return args_has(&cli->args, OPT_RAW)    ? INPUT_RAW
           : args_has(&cli->args, OPT_ZERO) ? INPUT_ZEROS
                                            : INPUT_LINES;
}

static int send_input(struct sending *sending) {
    struct cli *cli = sending->cli;
    const char *file = args_value(&cli->args, OPT_FILE);
    struct stop stop = {0};
    signals_catch();
    int error = input_open(&sending->input, file, input_mode(cli));
    if (error != 0) {
        errno = error;
        return fail_own(cli, "cannot read", file != NULL ? file : "standard input");
    }
    error = mom_completions_open(cli->node, &sending->completions);
    if (error != 0) {
        input_close(&sending->input);
        return fail_mom(cli, error, "", NULL);
    }
    progress_begin(&sending->progress, cli);
    pump(sending, &stop);
    while (sending->under_way > 0) {
        (void)wait_for(sending, false);
        collect(sending);
    }
    progress_end(&sending->progress);
    int status = report(sending, &stop);
    mom_completions_close(sending->completions);
    input_close(&sending->input);
    return status;
}

/* --- one --- */

static int send_text(struct sending *sending, const char *text) {
    struct cli *cli = sending->cli;
    size_t size = strlen(text);
    int error = sending->is_topic
                    ? mom_publish(cli->node, sending->name, sending->key, text, size,
                                  sending->options, cli->timeout_ms)
                    : mom_send(cli->node, sending->name, text, size, sending->options,
                               cli->timeout_ms);
    if (error != 0) {
        return fail_send(sending, error);
    }
    if (cli->json) {
        sending->sent = 1;
        sending->acknowledged = 1;
        report_json(sending);
    }
    return 0;
}

static int check_usage(const struct cli *cli) {
    bool has_text = cli->args.words_count > 1;
    bool has_mode = args_has(&cli->args, OPT_RAW) || args_has(&cli->args, OPT_ZERO);
    if (args_has(&cli->args, OPT_RAW) && args_has(&cli->args, OPT_ZERO)) {
        return fail_usage(cli, "-0 and --raw: one of them, not both");
    }
    if (has_text && (has_mode || args_has(&cli->args, OPT_FILE))) {
        return fail_usage(cli, "TEXT, or -0, --raw and --file: not both");
    }
    return 0;
}

int cmd_send(struct cli *cli) {
    int status = check_usage(cli);
    if (status != 0) {
        return status;
    }
    struct sending *sending = calloc(1, sizeof *sending);
    if (sending == NULL) {
        return fail_text(cli, MOM_NO_MEMORY, "sending", mom_err_advice(MOM_NO_MEMORY));
    }
    sending->cli = cli;
    sending->name = cli->args.words[0];
    sending->is_topic = strcmp(cli->command->noun, "publish") == 0;
    sending->key = args_value(&cli->args, OPT_KEY);
    sending->options = mom_send_options_new();
    status = sending->options == NULL
                 ? fail_text(cli, MOM_NO_MEMORY, "options", mom_err_advice(MOM_NO_MEMORY))
                 : read_options(cli, sending->options);
    status = status == 0 ? cli_open(cli) : status;
    if (status == 0) {
        sending->start_us = now_us();
        status = cli->args.words_count > 1 ? send_text(sending, cli->args.words[1])
                                           : send_input(sending);
    }
    mom_send_options_free(sending->options);
    free(sending);
    return status;
}
