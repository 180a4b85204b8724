/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What machine_save.c and machine_load.c share about checkpoint records besides
 * machine_internal.h.
 */
#ifndef MOMI_CORE_MACHINE_RECORD_H
#define MOMI_CORE_MACHINE_RECORD_H

#include "core/machine_internal.h"

#define MOMI_RECORD_FORMAT 1 /* first byte of the records m, a, s, w, g */

static inline void momi_record_store_be32(uint8_t *at, uint32_t value) {
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static inline void momi_record_store_be64(uint8_t *at, uint64_t value) {
    momi_record_store_be32(at, (uint32_t)(value >> 32));
    momi_record_store_be32(at + 4, (uint32_t)value);
}

#endif
