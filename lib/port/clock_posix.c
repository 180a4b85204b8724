/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock on POSIX. Both clocks are mandatory where the library builds, so
 * clock_gettime cannot fail with these arguments; a failure would be a broken platform
 * and panics.
 */
#include "port/clock.h"

#include <time.h>

#include "base/assert.h"

static uint64_t read_us(clockid_t clock_id) {
    struct timespec now;
    int result = clock_gettime(clock_id, &now);
    MOMI_ASSERT(result == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t momi_clock_monotonic_us(void) { return read_us(CLOCK_MONOTONIC); }

uint64_t momi_clock_wall_us(void) { return read_us(CLOCK_REALTIME); }
