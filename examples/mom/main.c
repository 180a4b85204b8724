/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mom: queues and topics at a shell. The table of commands, and the way from the command
 * line to one of them.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

#define STREAM_SEND                                                                      \
    (OPT_BIT(CREATE) | OPT_BIT(ZERO) | OPT_BIT(RAW) | OPT_BIT(FILE) | OPT_BIT(HEADER))
#define RECEIVE                                                                          \
    (OPT_BIT(COUNT) | OPT_BIT(WAIT) | OPT_BIT(ZERO) | OPT_BIT(RAW) | OPT_BIT(OUTPUT))
#define SEND_USAGE    "[TEXT] [--create] [-0|--raw] [--file FILE] [--header NAME=VALUE]..."
#define RECEIVE_USAGE "[--count N] [--wait SECONDS] [-0|--raw] [--output FILE]"

static const struct command commands[] = {
    {"node", NULL,
     "--data DIR [--listen ADDR] [--join ADDR,...|--form NAME=ADDR,...] [--name NAME]\n"
     "          [--copies N] [--shards N] [--advertise ADDR] [--memory] [--log LEVEL]",
     "run a node until SIGTERM; prints `ready NAME NODE-ID MESH-ID ADDR`", 0, 0,
     OPT_BIT(LISTEN) | OPT_BIT(JOIN) | OPT_BIT(FORM) | OPT_BIT(NAME) | OPT_BIT(COPIES) |
         OPT_BIT(SHARDS) | OPT_BIT(MEMORY) | OPT_BIT(LOG) | OPT_BIT(ADVERTISE),
     cmd_node},
    {"status", NULL, "[--watch]", "the mesh: nodes, shards, leaders, copies", 0, 0,
     OPT_BIT(WATCH), cmd_status},
    {"queue", "create", "NAME [--if-missing] [--set OPTION=VALUE]...", "create a queue",
     1, 1, OPT_BIT(SET) | OPT_BIT(IF_MISSING), cmd_stream_create},
    {"queue", "delete", "NAME", "delete a queue and its messages", 1, 1, 0,
     cmd_stream_delete},
    {"queue", "info", "NAME", "describe a queue", 1, 1, 0, cmd_stream_info},
    {"queue", "purge", "NAME", "drop the waiting messages", 1, 1, 0, cmd_queue_purge},
    {"queue", "list", "[--own]", "the names of all queues", 0, 0, OPT_BIT(OWN),
     cmd_stream_list},
    {"topic", "create", "NAME [--if-missing] [--set OPTION=VALUE]...", "create a topic",
     1, 1, OPT_BIT(SET) | OPT_BIT(IF_MISSING), cmd_stream_create},
    {"topic", "delete", "NAME", "delete a topic and its messages", 1, 1, 0,
     cmd_stream_delete},
    {"topic", "info", "NAME", "describe a topic", 1, 1, 0, cmd_stream_info},
    {"topic", "list", "[--own]", "the names of all topics", 0, 0, OPT_BIT(OWN),
     cmd_stream_list},
    {"send", NULL, "QUEUE " SEND_USAGE,
     "send TEXT, or each line of standard input, to a queue", 1, 2, STREAM_SEND,
     cmd_send},
    {"receive", NULL, "QUEUE " RECEIVE_USAGE,
     "print messages of a queue, and acknowledge them", 1, 1, RECEIVE, cmd_receive},
    {"publish", NULL, "TOPIC [--key KEY] " SEND_USAGE,
     "publish TEXT, or each line of standard input, to a topic", 1, 2,
     STREAM_SEND | OPT_BIT(KEY), cmd_send},
    {"subscribe", NULL,
     "TOPIC [--as NAME] [--filter PATTERN]... [--from first|new|SEQUENCE|TIME]\n"
     "          [--ignore-own] " RECEIVE_USAGE,
     "print messages of a topic; with --as a lasting subscription", 1, 1,
     RECEIVE | OPT_BIT(AS) | OPT_BIT(FILTER) | OPT_BIT(FROM) | OPT_BIT(IGNORE_OWN),
     cmd_subscribe},
    {"subscription", "create",
     "TOPIC NAME [--if-missing] [--filter PATTERN]...\n"
     "          [--from first|new|SEQUENCE|TIME] [--ignore-own]",
     "create a lasting subscription", 2, 2,
     OPT_BIT(IF_MISSING) | OPT_BIT(FILTER) | OPT_BIT(FROM) | OPT_BIT(IGNORE_OWN),
     cmd_subscription_create},
    {"subscription", "list", "TOPIC", "the names of a topic's subscriptions", 1, 1, 0,
     cmd_subscription_list},
    {"subscription", "info", "TOPIC NAME", "describe a subscription", 2, 2, 0,
     cmd_subscription_info},
    {"subscription", "delete", "TOPIC NAME", "delete a subscription", 2, 2, 0,
     cmd_subscription_delete},
    {"bench", NULL,
     "[publish|receive|roundtrip] [--count N] [--size BYTES] [--in-flight N]\n"
     "          [--queue NAME] [--memory]",
     "measure rates and latencies", 0, 1,
     OPT_BIT(COUNT) | OPT_BIT(SIZE) | OPT_BIT(IN_FLIGHT) | OPT_BIT(QUEUE) |
         OPT_BIT(MEMORY),
     cmd_bench},
    {"help", NULL, "[COMMAND]", "explain a command", 0, 2, 0, cmd_help},
};

const struct command *command_at(size_t index) {
    return index < sizeof commands / sizeof *commands ? &commands[index] : NULL;
}

/* Finds the command that the first words name, and takes them away. */
static int find_command(struct cli *cli) {
    struct args *args = &cli->args;
    bool knows_noun = false;
    for (size_t i = 0; command_at(i) != NULL; i++) {
        const struct command *command = command_at(i);
        if (strcmp(command->noun, args->words[0]) != 0) {
            continue;
        }
        knows_noun = true;
        if (command->verb == NULL) {
            cli->command = command;
            args_shift(args);
            return 0;
        }
        if (args->words_count > 1 && strcmp(command->verb, args->words[1]) == 0) {
            cli->command = command;
            args_shift(args);
            args_shift(args);
            return 0;
        }
    }
    if (!knows_noun) {
        return fail_usage(cli, "unknown command %s", args->words[0]);
    }
    return args->words_count > 1
               ? fail_usage(cli, "unknown command %s %s", args->words[0], args->words[1])
               : fail_usage(cli, "%s what? see `mom help %s`", args->words[0],
                            args->words[0]);
}

static int check_options(const struct cli *cli) {
    const struct args *args = &cli->args;
    for (size_t i = 0; i < args->given_count; i++) {
        enum option_id id = args->given[i].id;
        if ((((cli->command->options | OPTIONS_GLOBAL) >> id) & 1) == 0) {
            return fail_usage(cli, "--%s is not an option of this command",
                              option_name(id));
        }
    }
    if (args->words_count < (size_t)cli->command->words_min) {
        return fail_usage(cli, "something is missing");
    }
    if (args->words_count > (size_t)cli->command->words_max) {
        return fail_usage(cli, "too many words, from \"%s\" on",
                          args->words[cli->command->words_max]);
    }
    return 0;
}

static int read_globals(struct cli *cli) {
    const char *peer = getenv("MOM_PEER");
    const char *timeout = args_value(&cli->args, OPT_TIMEOUT);
    cli->data = args_value(&cli->args, OPT_DATA);
    cli->peer = args_value(&cli->args, OPT_PEER);
    if (cli->data != NULL && cli->peer != NULL) {
        return fail_usage(cli, "--data and --peer: one of them, not both");
    }
    if (cli->peer == NULL) {
        cli->peer = peer != NULL && peer[0] != 0 ? peer : PEER_DEFAULT;
    }
    cli->timeout_ms = TIMEOUT_DEFAULT_MS;
    if (timeout != NULL &&
        (!parse_seconds(timeout, &cli->timeout_ms) || cli->timeout_ms == 0)) {
        return fail_usage(cli, "--timeout %s: a number of seconds above 0 is needed",
                          timeout);
    }
    return 0;
}

static int run(struct cli *cli, int argc, char **argv) {
    bool is_parsed = args_parse(&cli->args, argc, argv);
    cli->json = args_has(&cli->args, OPT_JSON);
    if (!is_parsed) {
        return fail_usage(cli, "%s", cli->args.problem);
    }
    if (args_has(&cli->args, OPT_VERSION)) {
        printf("mom %s\n", mom_version());
        return finish_output(cli);
    }
    if (args_has(&cli->args, OPT_HELP)) {
        return cmd_help(cli);
    }
    if (cli->args.words_count == 0) {
        return fail_usage(cli, "no command");
    }
    int status = find_command(cli);
    status = status == 0 ? check_options(cli) : status;
    status = status == 0 ? read_globals(cli) : status;
    if (status != 0) {
        return status;
    }
    status = cli->command->run(cli);
    int closed = cli_close(cli);
    status = status == 0 ? closed : status;
    return status == 0 ? finish_output(cli) : status;
}

int main(int argc, char **argv) {
    struct cli cli = {0};
    /* A pipe that is closed is a failed write here, not the end of the program. */
    signal(SIGPIPE, SIG_IGN);
    int status = run(&cli, argc, argv);
    args_free(&cli.args);
    return status;
}
