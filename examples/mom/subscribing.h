/* SPDX-License-Identifier: Apache-2.0 */
/* What `subscribe` and `subscription create` have in common. */
#ifndef SUBSCRIBING_H
#define SUBSCRIBING_H

#include "cli.h"

/* Takes --filter, --from and --ignore-own. Returns 0 or an exit status. */
int read_subscription(const struct cli *cli, mom_subscription_options *options);
/* Errors of a subscription, with the command that helps. */
int fail_subscription(const struct cli *cli, int error, const char *topic,
                      const char *name);

#endif
