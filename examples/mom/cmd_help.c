/* SPDX-License-Identifier: Apache-2.0 */
/* mom help: what there is, or one command in full. */
#include <string.h>

#include "output.h"

static const char global_help[] =
    "Options of every command:\n"
    "  --peer ADDR[,ADDR...]  work through this node (or MOM_PEER; " PEER_DEFAULT ")\n"
    "  --data DIR             open this directory oneself; no running node is needed\n"
    "  --timeout SECONDS      10 by default\n"
    "  --json                 results and errors as JSON, one object a line\n"
    "  --version, --help\n"
    "Addresses: tcp://HOST:PORT or ipc:///PATH. Words behind -- are no options.\n"
    "\n"
    "Exit status: 0 done, 1 a failure of mom itself (a file, a signal), else the number "
    "of\n"
    "the result class:\n";

static void print_classes(void) {
    size_t column = 0;
#define PRINT_CLASS(name, number, text, advice)                                          \
    column = (column + 1) % 2;                                                           \
    printf("  %2d %-30s%s", number, #name, column == 0 ? "\n" : "");
    MOM_ERROR_MAP(PRINT_CLASS)
#undef PRINT_CLASS
    if (column != 0) {
        putchar('\n');
    }
}

static const char node_help[] =
    "  --listen ADDR        where peers and clients reach it; " PEER_DEFAULT "\n"
    "  --join ADDR,...      become a member of the mesh that answers there\n"
    "  --form NAME=ADDR,... all founders of a new mesh, the same list on each of them\n"
    "  --name NAME          a label for people; with --form the name in the list\n"
    "  --copies N           of every queue and topic, in a mesh founded here; 3\n"
    "  --shards N           in a mesh founded here; 16\n"
    "  --memory             keep nothing on disk (instead of --data)\n"
    "  --advertise ADDR     where peers reach it, if not at --listen\n"
    "  --log LEVEL          error, warning, info or debug, on standard error\n"
    "Without --join and --form it founds a mesh of its own, which others may join. A\n"
    "directory that belongs to a mesh returns to it. In a mesh of two copies on two "
    "nodes\n"
    "service stops while one of them is away.\n";
static const char set_help[] =
    "  --set lease_ms=N         how long a consumer may keep a message unsettled; 30000\n"
    "  --set deliveries_max=N   then it goes to the dead-letter queue; 20\n"
    "  --set messages_max=N     more are refused as FULL; no limit\n"
    "  --set bytes_max=N        the same in bytes\n"
    "  --set no_dead_letter=true\n"
    "  --set retention_ms=N, retention_bytes=N, retention_count=N   history of topics\n"
    "  --if-missing             one that exists with the same options is fine\n";
static const char send_help[] =
    "  --create             make it if it is missing\n"
    "  --key KEY            publish: the routing key that filters look at\n"
    "  --header NAME=VALUE  may be repeated\n"
    "  --file FILE          instead of standard input\n"
    "  -0                   messages end with a zero byte, not with a line\n"
    "  --raw                all of the input is one message\n"
    "Exits 0 only when all are acknowledged: synced to disk on a majority of the "
    "copies.\n"
    "Otherwise it says how many are and which are in doubt, counted from 1.\n";
static const char receive_help[] =
    "  --count N            end after N; what was fetched ahead goes back untouched\n"
    "  --wait SECONDS       end after so long without a message: with 3 if none was\n"
    "                       printed, with 13 if fewer than --count\n"
    "  -0                   each message ends with a zero byte, not with a line\n"
    "  --raw                nothing behind a message\n"
    "  --output FILE        instead of standard output\n"
    "A message is acknowledged after it was written; if that fails, it comes again.\n";
static const char subscribe_help[] =
    "  --as NAME            create or continue a lasting subscription (with --filter, "
    "of\n"
    "                       these filters); without it, a temporary one\n"
    "  --filter PATTERN     words with dots between; * is one word, # any number\n"
    "  --from first|new|SEQUENCE|TIME   where a new subscription starts; new. TIME is\n"
    "                       2026-01-31, 2026-01-31T12:00:00Z, or -10m: so long ago\n"
    "  --ignore-own         nothing that this node itself publishes\n";
static const char bench_help[] =
    "  publish              each message acknowledged, --in-flight N (512) at a time\n"
    "  receive              send, receive and acknowledge through\n"
    "  roundtrip            one at a time: sent, received, acknowledged\n"
    "  --count N, --size BYTES   100000 messages of 100 bytes; roundtrip 2000\n"
    "  --queue NAME         instead of one that is made and deleted\n"
    "  --memory             a mesh of its own in memory: without disks and syncs\n"
    "Against the mesh behind --peer, or with --data against one node alone.\n";

static void print_details(const struct command *command) {
    if (strcmp(command->noun, "node") == 0) {
        fputs(node_help, stdout);
    } else if (command->run == cmd_stream_create) {
        fputs(set_help, stdout);
    } else if (command->run == cmd_send) {
        fputs(send_help, stdout);
    } else if (command->run == cmd_receive) {
        fputs(receive_help, stdout);
    } else if (command->run == cmd_subscribe) {
        fputs(subscribe_help, stdout);
        fputs(receive_help, stdout);
    } else if (command->run == cmd_subscription_create) {
        fputs(subscribe_help, stdout);
    } else if (command->run == cmd_bench) {
        fputs(bench_help, stdout);
    }
}

static void print_usage(const struct command *command) {
    printf("  mom %s%s%s %s\n", command->noun, command->verb != NULL ? " " : "",
           command->verb != NULL ? command->verb : "", command->usage);
}

int cmd_help(struct cli *cli) {
    const struct args *args = &cli->args;
    if (args->words_count == 0) {
        printf("mom %s: durable, replicated queues and topics, without a server\n\n",
               mom_version());
        for (size_t i = 0; command_at(i) != NULL; i++) {
            const struct command *command = command_at(i);
            printf("  %-12s %-8s %s\n", command->noun,
                   command->verb != NULL ? command->verb : "", command->help);
        }
        printf("\n%s", global_help);
        print_classes();
        printf("\nThe best first minute:\n"
               "  mom --data d send greetings hello --create\n"
               "  mom --data d receive greetings --count 1\n");
        return 0;
    }
    bool found = false;
    for (size_t i = 0; command_at(i) != NULL; i++) {
        const struct command *command = command_at(i);
        bool is_meant = strcmp(command->noun, args->words[0]) == 0 &&
                        (args->words_count == 1 || command->verb == NULL ||
                         strcmp(command->verb, args->words[1]) == 0);
        if (is_meant) {
            print_usage(command);
            printf("      %s\n", command->help);
            print_details(command);
            found = true;
        }
    }
    return found ? 0 : fail_usage(cli, "unknown command %s", args->words[0]);
}
