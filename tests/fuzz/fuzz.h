/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share. A target is one file fuzz_NAME.c, which is linked either
 * with libFuzzer (tests/campaign.sh fuzz) or with replay.c, which runs its corpus in
 * every test run. A target never reads beyond its input, keeps nothing from one input to
 * the next but what fuzz_end frees, and states what must hold with MOMI_ASSERT.
 */
#ifndef MOM_TESTS_FUZZ_FUZZ_H
#define MOM_TESTS_FUZZ_FUZZ_H

#include "base/assert.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void fuzz_end(void); /* frees what the target keeps between inputs */

/* Puts the checksum of `bytes` where it belongs: of all but the four bytes at `at`, which
 * count as zeros or not at all. */
enum fuzz_sum { FUZZ_SUM_WITHOUT, FUZZ_SUM_AS_ZERO };
static inline void fuzz_repair_sum(uint8_t *bytes, size_t size, size_t at,
                                   enum fuzz_sum how) {
    static const uint8_t zero[4];
    if (size >= at + 4) {
        uint32_t crc = momi_crc32c(0, bytes, at);
        crc = how == FUZZ_SUM_AS_ZERO ? momi_crc32c(crc, zero, sizeof zero) : crc;
        momi_store_le32(bytes + at, momi_crc32c(crc, bytes + at + 4, size - at - 4));
    }
}

/* A block of its own for a piece of the input, so that a step beyond its end is noticed.
 * Free it with momi_free. */
static inline uint8_t *fuzz_copy(struct momi_slice bytes) {
    uint8_t *copy = momi_must_alloc(bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return copy;
}

#endif
