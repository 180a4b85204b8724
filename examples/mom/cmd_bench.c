/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mom bench: what this machine and this mesh give. Each figure is of acknowledged work: a
 * message counts when a majority of the copies has it synced (with --memory: has it).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "output.h"

enum {
    COUNT_DEFAULT = 100000,
    ROUNDTRIPS_DEFAULT = 2000,
    COUNT_MAX = 100000000,
    SIZE_DEFAULT = 100,
    IN_FLIGHT_DEFAULT = 512,
    COMPLETIONS_MAX = 256,
    RECEIVE_MAX = 256,
    NAME_BYTES = 300,
};

struct bench {
    struct cli *cli;
    const char *queue;
    uint64_t count;
    size_t size;
    uint64_t in_flight;
    char *body;        /* owned */
    uint64_t *us;      /* owned; latencies, one for each message */
    uint64_t *sent_us; /* owned; when each was sent */
    struct json json;
};

static int by_value(const void *a, const void *b) {
    uint64_t one = *(const uint64_t *)a;
    uint64_t two = *(const uint64_t *)b;
    return one < two ? -1 : one > two;
}

/* Prints the rate, and of the latencies in bench->us the median and the worst hundredth.
 */
static void print_figures(struct bench *bench, const char *name, const char *what,
                          uint64_t elapsed_us) {
    qsort(bench->us, bench->count, sizeof *bench->us, by_value);
    uint64_t p50 = bench->us[bench->count / 2];
    uint64_t p99 = bench->us[bench->count * 99 / 100];
    double rate = elapsed_us == 0 ? 0 : (double)bench->count * 1e6 / (double)elapsed_us;
    if (bench->cli->json) {
        json_open(&bench->json, name, '{');
        json_number(&bench->json, "count", bench->count);
        json_real(&bench->json, "seconds", (double)elapsed_us / 1e6);
        json_real(&bench->json, "per_second", rate);
        json_number(&bench->json, "p50_us", p50);
        json_number(&bench->json, "p99_us", p99);
        json_close(&bench->json, '}');
        return;
    }
    printf("%-10s %10.0f /s  p50 %7" PRIu64 " us  p99 %7" PRIu64 " us   %s\n", name, rate,
           p50, p99, what);
    fflush(stdout);
}

/* Collects at least one completion of a send. Returns its error, or the first. */
static int collect(struct bench *bench, mom_completions *completions, uint64_t *done) {
    mom_completion list[COMPLETIONS_MAX];
    size_t count = 0;
    int first = mom_completions_wait(completions, list, COMPLETIONS_MAX, &count,
                                     bench->cli->timeout_ms);
    uint64_t now = now_us();
    for (size_t i = 0; first == 0 && i < count; i++) {
        uint64_t index = (uint64_t)(uintptr_t)list[i].user;
        bench->us[index] = now - bench->sent_us[index];
        *done += 1;
        first = list[i].error;
    }
    return first;
}

/* Sends all messages, `in_flight` of them under way. */
static int send_all(struct bench *bench, const char *what) {
    struct cli *cli = bench->cli;
    mom_completions *completions = NULL;
    struct progress progress;
    uint64_t sent = 0;
    uint64_t done = 0;
    int error = mom_completions_open(cli->node, &completions);
    progress_begin(&progress, cli);
    while (error == 0 && done < bench->count) {
        bool has_room = sent < bench->count && sent - done < bench->in_flight;
        if (has_room) {
            bench->sent_us[sent] = now_us();
            error =
                mom_send_submit(cli->node, bench->queue, bench->body, bench->size, NULL,
                                cli->timeout_ms, completions, (void *)(uintptr_t)sent);
            if (error == 0) {
                sent++;
                continue;
            }
            if (error != MOM_FULL || sent == done) {
                break;
            }
        }
        error = collect(bench, completions, &done);
        progress_show(&progress, what, done, 0);
        error = signals_came() ? MOM_CLOSED : error;
    }
    progress_end(&progress);
    mom_completions_close(completions);
    return error;
}

static int bench_publish(struct bench *bench) {
    uint64_t start_us = now_us();
    int error = send_all(bench, "acknowledged");
    if (error != 0) {
        return error;
    }
    print_figures(bench, "publish", "sent and acknowledged", now_us() - start_us);
    return mom_queue_purge(bench->cli->node, bench->queue, bench->cli->timeout_ms);
}

/* Receives and acknowledges `bench->count` messages that are there. */
static int bench_receive(struct bench *bench) {
    struct cli *cli = bench->cli;
    mom_message *messages[RECEIVE_MAX];
    mom_consumer *consumer = NULL;
    mom_consumer_options options;
    mom_consumer_options_init(&options);
    options.prefetch = 4 * RECEIVE_MAX;
    int error = send_all(bench, "sent");
    if (error == 0) {
        error = mom_queue_consumer(cli->node, bench->queue, &options, cli->timeout_ms,
                                   &consumer);
    }
    uint64_t start_us = now_us();
    uint64_t received = 0;
    while (error == 0 && received < bench->count) {
        size_t count = 0;
        uint64_t asked_us = now_us();
        uint64_t left = bench->count - received;
        error = mom_receive_many(consumer, messages,
                                 left < RECEIVE_MAX ? (size_t)left : RECEIVE_MAX, &count,
                                 cli->timeout_ms);
        if (error != 0) {
            break;
        }
        uint64_t waited_us = now_us() - asked_us;
        error = mom_ack_many(messages, count);
        for (size_t i = 0; i < count; i++) {
            mom_message_release(messages[i]);
            bench->us[received++] = waited_us;
        }
        error = signals_came() ? MOM_CLOSED : error;
    }
    if (error == 0) {
        error = mom_consumer_flush(consumer, cli->timeout_ms);
    }
    uint64_t elapsed_us = now_us() - start_us;
    mom_consumer_close(consumer, cli->timeout_ms);
    if (error == 0) {
        print_figures(bench, "receive", "received and acknowledged; waits of one call",
                      elapsed_us);
    }
    return error;
}

/* Send, receive, acknowledge: one message at a time. */
static int roundtrip(struct bench *bench, mom_consumer *consumer, uint64_t *sent_us) {
    struct cli *cli = bench->cli;
    mom_message *message = NULL;
    uint64_t start_us = now_us();
    int error = mom_send(cli->node, bench->queue, bench->body, bench->size, NULL,
                         cli->timeout_ms);
    *sent_us = now_us() - start_us;
    if (error == 0) {
        error = mom_receive(consumer, &message, cli->timeout_ms);
    }
    if (error == 0) {
        error = mom_ack_wait(message, cli->timeout_ms);
        mom_message_release(message);
    }
    return error;
}

static int bench_roundtrip(struct bench *bench) {
    struct cli *cli = bench->cli;
    mom_consumer *consumer = NULL;
    uint64_t sending_us = 0;
    uint64_t start_us = now_us();
    int error =
        mom_queue_consumer(cli->node, bench->queue, NULL, cli->timeout_ms, &consumer);
    for (uint64_t i = 0; error == 0 && i < bench->count; i++) {
        uint64_t began_us = now_us();
        error = roundtrip(bench, consumer, &bench->sent_us[i]);
        bench->us[i] = now_us() - began_us;
        sending_us += bench->sent_us[i];
        error = signals_came() ? MOM_CLOSED : error;
    }
    uint64_t elapsed_us = now_us() - start_us;
    mom_consumer_close(consumer, cli->timeout_ms);
    if (error == 0) {
        print_figures(bench, "roundtrip", "one at a time: sent, received, acknowledged",
                      elapsed_us);
        memcpy(bench->us, bench->sent_us, bench->count * sizeof *bench->us);
        print_figures(bench, "send", "one at a time, of these: until acknowledged",
                      sending_us);
    }
    return error;
}

static int run(struct bench *bench, const char *mode, bool has_count) {
    int error = 0;
    if (mode == NULL || strcmp(mode, "publish") == 0) {
        error = bench_publish(bench);
    }
    if (error == 0 && (mode == NULL || strcmp(mode, "receive") == 0)) {
        error = bench_receive(bench);
    }
    if (error == 0 && (mode == NULL || strcmp(mode, "roundtrip") == 0)) {
        bench->count = has_count ? bench->count : ROUNDTRIPS_DEFAULT;
        error = bench_roundtrip(bench);
    }
    return error;
}

static int run_on_queue(struct bench *bench, const char *mode, bool is_given,
                        bool has_count) {
    struct cli *cli = bench->cli;
    if (!is_given) {
        int error = mom_queue_create(cli->node, bench->queue, NULL, cli->timeout_ms);
        if (error != 0) {
            return fail_mom(cli, error, bench->queue, NULL);
        }
    }
    bench->json.out = stdout;
    if (cli->json) {
        json_open(&bench->json, NULL, '{');
        json_number(&bench->json, "bytes", bench->size);
        json_number(&bench->json, "in_flight", bench->in_flight);
        json_bool(&bench->json, "is_durable", cli_is_durable(cli));
    } else {
        printf("%zu bytes, %" PRIu64 " in flight, %s\n", bench->size, bench->in_flight,
               cli_is_durable(cli) ? "each acknowledged when a quorum has it synced"
                                   : "in memory only, without syncs");
    }
    int error = run(bench, mode, has_count);
    if (cli->json) {
        json_close(&bench->json, '}');
        json_line(&bench->json);
    }
    int status = 0;
    if (signals_came()) {
        status = fail_text(cli, 0, "interrupted", "");
    } else if (error != 0) {
        status = fail_mom(cli, error, bench->queue, NULL);
    }
    if (!is_given) {
        error = mom_queue_delete(cli->node, bench->queue, cli->timeout_ms);
        status =
            error != 0 && status == 0 ? fail_mom(cli, error, bench->queue, NULL) : status;
    }
    return status;
}

static int read_options(struct bench *bench, const char **mode) {
    const struct cli *cli = bench->cli;
    const struct args *args = &cli->args;
    const char *count = args_value(args, OPT_COUNT);
    const char *size = args_value(args, OPT_SIZE);
    const char *in_flight = args_value(args, OPT_IN_FLIGHT);
    uint64_t number = SIZE_DEFAULT;
    bench->count = COUNT_DEFAULT;
    bench->in_flight = IN_FLIGHT_DEFAULT;
    *mode = args->words_count > 0 ? args->words[0] : NULL;
    if (*mode != NULL && strcmp(*mode, "publish") != 0 && strcmp(*mode, "receive") != 0 &&
        strcmp(*mode, "roundtrip") != 0) {
        return fail_usage(cli, "%s: publish, receive or roundtrip", *mode);
    }
    if (count == NULL && *mode != NULL && strcmp(*mode, "roundtrip") == 0) {
        bench->count = ROUNDTRIPS_DEFAULT;
    }
    if (count != NULL && !parse_number(count, 1, COUNT_MAX, &bench->count)) {
        return fail_usage(cli, "--count %s: 1 to %d", count, COUNT_MAX);
    }
    if (size != NULL && !parse_number(size, 0, MOM_BODY_BYTES_MAX, &number)) {
        return fail_usage(cli, "--size %s: 0 to %u", size, MOM_BODY_BYTES_MAX);
    }
    bench->size = (size_t)number;
    if (in_flight != NULL && !parse_number(in_flight, 1, 65536, &bench->in_flight)) {
        return fail_usage(cli, "--in-flight %s: 1 to 65536", in_flight);
    }
    if (args_has(args, OPT_MEMORY) &&
        (args_has(args, OPT_DATA) || args_has(args, OPT_PEER))) {
        return fail_usage(cli, "--memory is a mesh of its own: no --data, no --peer");
    }
    return 0;
}

int cmd_bench(struct cli *cli) {
    struct bench bench = {.cli = cli};
    const char *mode = NULL;
    char name[NAME_BYTES];
    int status = read_options(&bench, &mode);
    if (status != 0) {
        return status;
    }
    bool is_given = args_has(&cli->args, OPT_QUEUE);
    bool has_count = args_has(&cli->args, OPT_COUNT);
    snprintf(name, sizeof name, "mom-bench-%ld", (long)getpid());
    bench.queue = is_given ? args_value(&cli->args, OPT_QUEUE) : name;
    uint64_t room = bench.count > ROUNDTRIPS_DEFAULT ? bench.count : ROUNDTRIPS_DEFAULT;
    bench.body = malloc(bench.size + 1);
    bench.us = malloc(room * sizeof *bench.us);
    bench.sent_us = malloc(room * sizeof *bench.sent_us);
    if (bench.body == NULL || bench.us == NULL || bench.sent_us == NULL) {
        status = fail_text(cli, MOM_NO_MEMORY, "bench", "take a smaller --count");
    } else {
        memset(bench.body, 'x', bench.size);
        signals_catch();
        status = args_has(&cli->args, OPT_MEMORY) ? cli_open_memory(cli) : cli_open(cli);
        status = status == 0 ? run_on_queue(&bench, mode, is_given, has_count) : status;
    }
    free(bench.body);
    free(bench.us);
    free(bench.sent_us);
    return status;
}
