/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of `receive` and `subscribe`: write, then acknowledge. */
#ifndef RECEIVING_H
#define RECEIVING_H

#include "cli.h"

struct receiving {
    struct cli *cli;
    uint64_t count_max; /* --count; 0: no limit */
    int wait_ms;        /* --wait; MOM_FOREVER */
    char separator;
    bool is_raw;
    FILE *out;
    const char *out_name;
};

/* Reads the options. Returns 0 or an exit status. Opens nothing yet. */
int receiving_init(struct receiving *receiving, struct cli *cli);
/* What a consumer for it is opened with. */
void receiving_consumer_options(const struct receiving *receiving,
                                mom_consumer_options *options);
/* Receives until done; closes the consumer. Returns the exit status. */
int receiving_run(struct receiving *receiving, mom_consumer *consumer);

#endif
