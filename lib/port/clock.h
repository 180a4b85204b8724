/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clock: the time of this machine, in microseconds. Monotonic time orders and measures;
 * wall time is for display and absolute due times only (protocol R8) and may jump.
 * Thread: any.
 */
#ifndef MOMI_PORT_CLOCK_H
#define MOMI_PORT_CLOCK_H

#include <stdint.h>

uint64_t momi_clock_monotonic_us(void); /* never goes back; its zero means nothing */
uint64_t momi_clock_wall_us(void);      /* since 1970-01-01 UTC */

#endif
