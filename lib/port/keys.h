/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys: the signing key of a node (Ed25519), its fingerprint as node id, and random
 * bytes. The only source of randomness that secrets and ids may come from. A key is plain
 * memory of its owner; wipe it when done. Thread: any, after momi_keys_init.
 */
#ifndef MOMI_PORT_KEYS_H
#define MOMI_PORT_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    MOMI_KEY_SEED_BYTES = 32,
    MOMI_KEY_PUBLIC_BYTES = 32,
    MOMI_KEY_SIGNATURE_BYTES = 64,
};

struct momi_key_public {
    uint8_t bytes[MOMI_KEY_PUBLIC_BYTES];
};
struct momi_key_signature {
    uint8_t bytes[MOMI_KEY_SIGNATURE_BYTES];
};
struct momi_key {
    uint8_t seed[MOMI_KEY_SEED_BYTES]; /* the secret; all that has to be stored */
    struct momi_key_public public_key;
    uint8_t secret[64]; /* derived from the seed */
};
struct momi_id128 {
    uint64_t high;
    uint64_t low;
};

/* Before any other; more than once is fine. MOM_OK, MOM_UNAVAILABLE (no source of
 * randomness). */
int momi_keys_init(void);

void momi_key_generate(struct momi_key *key);
void momi_key_from_seed(struct momi_key *key, const uint8_t seed[MOMI_KEY_SEED_BYTES]);
void momi_key_wipe(struct momi_key *key);

void momi_key_sign(const struct momi_key *key, struct momi_slice message,
                   struct momi_key_signature *signature);
bool momi_key_verify(const struct momi_key_public *public_key, struct momi_slice message,
                     const struct momi_key_signature *signature);

/* The fingerprint as node id: the first eight bytes of BLAKE2b over the public key that
 * are not all zero. Never 0; the same on every machine. */
uint64_t momi_key_node_id(const struct momi_key_public *public_key);

void momi_random_bytes(void *bytes, size_t size);
uint64_t momi_random_u64(void);
struct momi_id128 momi_random_id128(void); /* never all zero */
static inline bool momi_id128_equal(struct momi_id128 a, struct momi_id128 b) {
    return a.high == b.high && a.low == b.low;
}

#endif
