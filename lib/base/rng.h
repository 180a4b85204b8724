/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators",
 * 2018), seeded by splitmix64. For timeouts, jitter and the simulator; never for keys.
 */
#ifndef MOMI_BASE_RNG_H
#define MOMI_BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct momi_rng {
    uint64_t state[4];
};

void momi_rng_seed(struct momi_rng *rng, uint64_t seed);
uint64_t momi_rng_next(struct momi_rng *rng);
/* Uniform in [low, high], both included. */
uint64_t momi_rng_between(struct momi_rng *rng, uint64_t low, uint64_t high);
/* True with a probability of `parts` in a million. */
bool momi_rng_chance(struct momi_rng *rng, uint32_t parts_per_million);

#endif
