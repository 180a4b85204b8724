/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys by libsodium, the only file that includes it. Its functions used here fail only on
 * wrong arguments or, for verification, on a wrong signature.
 */
#include "port/keys.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"
#include "base/pack.h"

_Static_assert(MOMI_KEY_SEED_BYTES == crypto_sign_SEEDBYTES, "seed of Ed25519");
_Static_assert(MOMI_KEY_PUBLIC_BYTES == crypto_sign_PUBLICKEYBYTES,
               "public key of Ed25519");
_Static_assert(MOMI_KEY_SIGNATURE_BYTES == crypto_sign_BYTES, "signature of Ed25519");
_Static_assert(sizeof((struct momi_key *)0)->secret == crypto_sign_SECRETKEYBYTES,
               "secret of Ed25519");

int momi_keys_init(void) {
    if (sodium_init() < 0) {
        return momi_err(MOM_UNAVAILABLE, "no source of random numbers on this machine");
    }
    return MOM_OK;
}

void momi_key_generate(struct momi_key *key) {
    uint8_t seed[MOMI_KEY_SEED_BYTES];
    randombytes_buf(seed, sizeof seed);
    momi_key_from_seed(key, seed);
    sodium_memzero(seed, sizeof seed);
}

void momi_key_from_seed(struct momi_key *key, const uint8_t seed[MOMI_KEY_SEED_BYTES]) {
    memcpy(key->seed, seed, sizeof key->seed);
    int result = crypto_sign_seed_keypair(key->public_key.bytes, key->secret, key->seed);
    MOMI_ASSERT(result == 0);
}

void momi_key_wipe(struct momi_key *key) { sodium_memzero(key, sizeof *key); }

void momi_key_sign(const struct momi_key *key, struct momi_slice message,
                   struct momi_key_signature *signature) {
    int result = crypto_sign_detached(signature->bytes, NULL, message.data, message.size,
                                      key->secret);
    MOMI_ASSERT(result == 0);
}

bool momi_key_verify(const struct momi_key_public *public_key, struct momi_slice message,
                     const struct momi_key_signature *signature) {
    return crypto_sign_verify_detached(signature->bytes, message.data, message.size,
                                       public_key->bytes) == 0;
}

uint64_t momi_key_node_id(const struct momi_key_public *public_key) {
    uint8_t hash[32];
    int result = crypto_generichash(hash, sizeof hash, public_key->bytes,
                                    sizeof public_key->bytes, NULL, 0);
    MOMI_ASSERT(result == 0);
    for (size_t at = 0; at < sizeof hash; at += sizeof(uint64_t)) {
        uint64_t id = momi_load_le64(hash + at);
        if (id != 0) {
            return id;
        }
    }
    return 1; /* 256 zero bits: as likely as finding the key */
}

void momi_random_bytes(void *bytes, size_t size) { randombytes_buf(bytes, size); }

uint64_t momi_random_u64(void) {
    uint64_t value;
    randombytes_buf(&value, sizeof value);
    return value;
}

struct momi_id128 momi_random_id128(void) {
    struct momi_id128 id;
    do {
        id.high = momi_random_u64();
        id.low = momi_random_u64();
    } while (id.high == 0 && id.low == 0);
    return id;
}
