/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of `receive` and `subscribe`. A batch is written and flushed, and only then
 * acknowledged: what did not reach its file is not lost, it comes again.
 */
#include "receiving.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "output.h"

enum { BATCH_MAX = 256, PREFETCH = 1024, OUT_BYTES = 1 << 18, TEXT_BYTES = 300 };

int receiving_init(struct receiving *receiving, struct cli *cli) {
    const struct args *args = &cli->args;
    const char *count = args_value(args, OPT_COUNT);
    const char *wait = args_value(args, OPT_WAIT);
    *receiving = (struct receiving){.cli = cli,
                                    .wait_ms = MOM_FOREVER,
                                    .separator = '\n',
                                    .is_raw = args_has(args, OPT_RAW),
                                    .out = stdout,
                                    .out_name = args_value(args, OPT_OUTPUT)};
    if (args_has(args, OPT_ZERO)) {
        receiving->separator = 0;
    }
    if ((receiving->is_raw ? 1 : 0) + (args_has(args, OPT_ZERO) ? 1 : 0) +
            (cli->json ? 1 : 0) >
        1) {
        return fail_usage(cli, "-0, --raw and --json: one of them");
    }
    if (count != NULL && !parse_number(count, 1, UINT64_MAX, &receiving->count_max)) {
        return fail_usage(cli, "--count %s: a number from 1 on is needed", count);
    }
    if (wait != NULL && !parse_seconds(wait, &receiving->wait_ms)) {
        return fail_usage(cli, "--wait %s: a number of seconds is needed", wait);
    }
    return 0;
}

void receiving_consumer_options(const struct receiving *receiving,
                                mom_consumer_options *options) {
    mom_consumer_options_init(options);
    options->prefetch = PREFETCH;
    options->limit = receiving->count_max; /* never more than it will print */
}

static void write_json(FILE *out, const mom_message *message) {
    struct json json = {.out = out};
    size_t size = 0;
    json_open(&json, NULL, '{');
    json_text(&json, "stream", mom_message_stream(message));
    if (mom_message_subscription(message)[0] != 0) {
        json_text(&json, "subscription", mom_message_subscription(message));
    }
    json_number(&json, "sequence", mom_message_sequence(message));
    json_number(&json, "published_us", mom_message_published_us(message));
    json_id(&json, "publisher", mom_message_publisher(message));
    json_number(&json, "deliveries", mom_message_deliveries(message));
    json_bool(&json, "redelivered", mom_message_redelivered(message));
    const char *key = mom_message_key(message, &size);
    if (size > 0) {
        json_bytes(&json, "key", key, size);
    }
    if (mom_message_headers_count(message) > 0) {
        json_open(&json, "headers", '[');
        mom_header_view header;
        for (size_t i = 0; mom_message_header_at(message, i, &header) == 0; i++) {
            json_open(&json, NULL, '{');
            json_bytes(&json, "name", header.name, header.name_size);
            json_bytes(&json, "value", header.value, header.value_size);
            json_close(&json, '}');
        }
        json_close(&json, ']');
    }
    const void *body = mom_message_body(message, &size);
    json_bytes(&json, "body", body, size);
    json_close(&json, '}');
    json_line(&json);
}

static void write_message(const struct receiving *receiving, const mom_message *message) {
    if (receiving->cli->json) {
        write_json(receiving->out, message);
        return;
    }
    size_t size = 0;
    const void *body = mom_message_body(message, &size);
    fwrite(body, 1, size, receiving->out);
    if (!receiving->is_raw) {
        fputc(receiving->separator, receiving->out);
    }
}

/* 0 when every message is with the operating system and acknowledged. */
static int write_batch(const struct receiving *receiving, mom_message **messages,
                       size_t count) {
    const struct cli *cli = receiving->cli;
    errno = 0;
    for (size_t i = 0; i < count; i++) {
        write_message(receiving, messages[i]);
    }
    if (fflush(receiving->out) != 0 || ferror(receiving->out) != 0) {
        clearerr(receiving->out);
        int status = fail_own(cli, "cannot write to",
                              receiving->out_name != NULL ? receiving->out_name
                                                          : "standard output");
        if (!cli->json) {
            fprintf(stderr, "mom: %zu messages were not acknowledged; they come again\n",
                    count);
        }
        return status;
    }
    int error = mom_ack_many(messages, count);
    return error == 0 ? 0 : fail_mom(cli, error, "acknowledging", NULL);
}

/* Why the loop ended, as an exit status. */
static int end_of_wait(const struct receiving *receiving, int error, uint64_t received) {
    const struct cli *cli = receiving->cli;
    char text[TEXT_BYTES];
    if (error != MOM_EMPTY && error != MOM_TIMEOUT) {
        return fail_mom(cli, error, cli->args.words[0], NULL);
    }
    if (received == 0) {
        return fail_text(cli, MOM_EMPTY, "no message came",
                         "wait longer with --wait, or without it for ever");
    }
    if (receiving->count_max != 0) {
        snprintf(text, sizeof text, "%" PRIu64 " of %" PRIu64 " messages came", received,
                 receiving->count_max);
        return fail_text(cli, MOM_TIMEOUT, text, "wait longer with --wait");
    }
    return 0;
}

static int end_of_signal(const struct receiving *receiving, uint64_t received) {
    char text[TEXT_BYTES];
    if (receiving->count_max == 0) {
        return 0; /* that is how it ends */
    }
    snprintf(text, sizeof text, "interrupted after %" PRIu64 " of %" PRIu64 " messages",
             received, receiving->count_max);
    return fail_text(receiving->cli, 0, text, "");
}

/* How long the next call may wait: short, so that a signal is seen. */
static int next_wait_ms(const struct receiving *receiving, uint64_t last_us) {
    if (receiving->wait_ms < 0) {
        return SLICE_MS;
    }
    int64_t left_ms = receiving->wait_ms - (int64_t)((now_us() - last_us) / 1000);
    return left_ms <= 0 ? 0 : left_ms < SLICE_MS ? (int)left_ms : SLICE_MS;
}

static int loop(const struct receiving *receiving, mom_consumer *consumer,
                uint64_t *received) {
    mom_message *messages[BATCH_MAX];
    uint64_t last_us = now_us();
    struct progress progress;
    progress_begin(&progress, receiving->cli);
    progress.is_on = progress.is_on && receiving->out_name != NULL;
    int status = 0;
    bool is_done = false;
    while (!is_done) {
        uint64_t left = receiving->count_max - *received;
        size_t max = receiving->count_max != 0 && left < BATCH_MAX ? left : BATCH_MAX;
        size_t count = 0;
        int wait_ms = next_wait_ms(receiving, last_us);
        if (signals_came()) {
            status = end_of_signal(receiving, *received);
            break;
        }
        int error = mom_receive_many(consumer, messages, max, &count, wait_ms);
        if (error != 0) {
            bool is_over =
                receiving->wait_ms >= 0 && next_wait_ms(receiving, last_us) == 0;
            if (error == MOM_TIMEOUT && !is_over) {
                continue; /* only this slice is */
            }
            progress_end(&progress);
            status = end_of_wait(receiving, error, *received);
            break;
        }
        status = write_batch(receiving, messages, count);
        for (size_t i = 0; i < count; i++) {
            mom_message_release(messages[i]);
        }
        *received += status == 0 ? count : 0;
        last_us = now_us();
        is_done = status != 0 || *received == receiving->count_max;
        progress_show(&progress, "received", *received, 0);
    }
    progress_end(&progress);
    return status;
}

int receiving_run(struct receiving *receiving, mom_consumer *consumer) {
    struct cli *cli = receiving->cli;
    uint64_t received = 0;
    if (receiving->out_name != NULL) {
        receiving->out = fopen(receiving->out_name, "we");
        if (receiving->out == NULL) {
            mom_consumer_close(consumer, cli->timeout_ms);
            return fail_own(cli, "cannot write", receiving->out_name);
        }
    }
    setvbuf(receiving->out, NULL, _IOFBF, OUT_BYTES);
    int status = loop(receiving, consumer, &received);
    /* So that nothing printed comes again: the last acknowledgements are on their way. */
    int error = received > 0 ? mom_consumer_flush(consumer, cli->timeout_ms) : 0;
    if (error != 0 && status == 0) {
        status = fail_mom(cli, error, "some acknowledgements",
                          "these messages may come again");
    }
    mom_consumer_close(consumer, cli->timeout_ms);
    if (receiving->out != stdout && fclose(receiving->out) != 0 && status == 0) {
        status = fail_own(cli, "cannot write", receiving->out_name);
    }
    return status;
}
