/* SPDX-License-Identifier: Apache-2.0 */
/* xoshiro256** 1.0 and splitmix64 as published by Blackman and Vigna, prng.di.unimi.it.
 */
#include "base/rng.h"

#include "base/assert.h"

static uint64_t rotate_left(uint64_t value, unsigned bits) {
    return (value << bits) | (value >> (64 - bits));
}

static uint64_t splitmix64(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

void momi_rng_seed(struct momi_rng *rng, uint64_t seed) {
    for (unsigned index = 0; index < 4; index++) {
        rng->state[index] = splitmix64(&seed);
    }
}

uint64_t momi_rng_next(struct momi_rng *rng) {
    uint64_t *state = rng->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

uint64_t momi_rng_between(struct momi_rng *rng, uint64_t low, uint64_t high) {
    MOMI_ASSERT(low <= high);
    uint64_t span = high - low + 1; /* 0: all 64 bits */
    if (span == 0) {
        return momi_rng_next(rng);
    }
    /* 2^64 modulo span: values below would make the low results more likely. */
    uint64_t uneven = (UINT64_C(0) - span) % span;
    uint64_t value = momi_rng_next(rng);
    while (value < uneven) {
        value = momi_rng_next(rng);
    }
    return low + value % span;
}

bool momi_rng_chance(struct momi_rng *rng, uint32_t parts_per_million) {
    return momi_rng_between(rng, 0, 999999) < parts_per_million;
}
