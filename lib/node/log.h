/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines of a node, to the sink of its host. Without a sink nothing is formatted. At
 * most MOMI_LOG_LINES_MAX lines a second; what is more is counted and told later.
 * Any thread; the sink is called without a lock.
 */
#ifndef MOMI_NODE_LOG_H
#define MOMI_NODE_LOG_H

#include <mom/options.h>
#include <stdatomic.h>

enum { MOMI_LOG_LINES_MAX = 100, MOMI_LOG_LINE_BYTES = 512 };

struct momi_log {
    mom_log_fn sink; /* NULL: none */
    void *user;
    mom_log_level level;
    _Atomic uint64_t second;
    _Atomic uint32_t lines; /* in it */
};

void momi_log(struct momi_log *log, mom_log_level level, const char *id,
              const char *group, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
