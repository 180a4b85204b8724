/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands of `mom` share: the command line as it was given, the node that a
 * command works through, and signals.
 *
 * Every command is one function `int cmd_NOUN_VERB(struct cli *)`, found through the
 * table in main.c. It returns the exit status: 0, the number of a result class, or
 * EXIT_OWN for a failure that is not the mesh's (a file that cannot be read or written).
 */
#ifndef CLI_H
#define CLI_H

#include <mom/mom.h>
#include <stdio.h>

#include "args.h"

enum {
    EXIT_OWN = 1,
    EXIT_INVALID = -MOM_INVALID,
    TIMEOUT_DEFAULT_MS = 10 * 1000,
    PEER_TIMEOUT_MS = 5 * 1000, /* for the first answer of any peer */
    CLOSE_TIMEOUT_MS = 10 * 1000,
    SLICE_MS = 200, /* how late a signal is seen by a call that waits */
};

#define PEER_DEFAULT "tcp://127.0.0.1:7400"

struct command;

struct cli {
    struct args args;              /* options and words, without those that name it */
    const struct command *command; /* the one that runs */
    const char *data;              /* --data; NULL: through `peer` */
    const char *peer;              /* --peer, MOM_PEER or the default */
    int timeout_ms;
    bool json;
    mom_node *node; /* of cli_open; closed by main */
};

/* One row of the table of commands. */
struct command {
    const char *noun;
    const char *verb;  /* NULL: the noun is all */
    const char *usage; /* words and options behind noun and verb */
    const char *help;  /* one line */
    int words_min, words_max;
    uint64_t options; /* OPT_BIT of each that it takes, beside the global ones */
    int (*run)(struct cli *cli);
};
const struct command *command_at(size_t index); /* NULL beyond the end */

/* Opens the node that --data or --peer name, and waits until it has met its mesh.
 * Returns 0 or an exit status, then the error is printed. */
int cli_open(struct cli *cli);
/* The same as a memory mesh of its own, for measuring without disks. */
int cli_open_memory(struct cli *cli);
/* True when what the mesh acknowledges is on disk. */
bool cli_is_durable(const struct cli *cli);
/* Closes it in order. Returns 0 or an exit status, then the error is printed. */
int cli_close(struct cli *cli);

/* From now on SIGINT and SIGTERM are noted instead of ending the program; the second one
 * ends it. */
void signals_catch(void);
bool signals_came(void);
int signals_fd(void); /* readable when one came */

/* Monotonic time. */
uint64_t now_us(void);

int cmd_help(struct cli *cli);
int cmd_node(struct cli *cli);
int cmd_status(struct cli *cli);
int cmd_stream_create(struct cli *cli);
int cmd_stream_delete(struct cli *cli);
int cmd_stream_info(struct cli *cli);
int cmd_stream_list(struct cli *cli);
int cmd_queue_purge(struct cli *cli);
int cmd_subscription_create(struct cli *cli);
int cmd_subscription_list(struct cli *cli);
int cmd_subscription_info(struct cli *cli);
int cmd_subscription_delete(struct cli *cli);
int cmd_send(struct cli *cli);
int cmd_receive(struct cli *cli);
int cmd_subscribe(struct cli *cli);
int cmd_bench(struct cli *cli);

#endif
