/* SPDX-License-Identifier: Apache-2.0 */
/* Printing what queues, topics and subscriptions have in common. */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include "cli.h"

enum described { DESCRIBED_QUEUE, DESCRIBED_TOPIC, DESCRIBED_SUBSCRIPTION };

/* `topic` is NULL except for subscriptions. Returns the exit status. */
int describe(struct cli *cli, enum described what, const char *topic, const char *name,
             const mom_stream_info *info);
/* Names one a line, or one JSON array. With `only_own`, those that this node created. */
int print_list(struct cli *cli, const mom_list *list, bool only_own);
/* {"result":"OK"} with --json, else nothing. */
int print_done(struct cli *cli);

#endif
