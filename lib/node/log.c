/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See log.h.
 */
#include "node/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "port/clock.h"

/* False: too many in this second. The one at the limit says so. */
static bool admit(struct momi_log *log, uint32_t *number) {
    uint64_t second = momi_clock_monotonic_us() / 1000000;
    if (atomic_exchange_explicit(&log->second, second, memory_order_relaxed) != second) {
        atomic_store_explicit(&log->lines, 0, memory_order_relaxed);
    }
    *number = atomic_fetch_add_explicit(&log->lines, 1, memory_order_relaxed);
    return *number <= MOMI_LOG_LINES_MAX;
}

void momi_log(struct momi_log *log, mom_log_level level, const char *id,
              const char *group, const char *format, ...) {
    uint32_t number;
    if (log->sink == NULL || level > log->level || !admit(log, &number)) {
        return;
    }
    if (number == MOMI_LOG_LINES_MAX) {
        log->sink(MOM_LOG_WARNING, "MOM-LOG-LIMIT", "log",
                  "more lines in this second are left out", log->user);
        return;
    }
    char line[MOMI_LOG_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log->sink(level, id, group, line, log->user);
}
