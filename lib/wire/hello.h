/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake of a lane, as messages (design: on the wire; D1, N1, N2). Both ends send
 * HELLO first, each with a challenge; then each proves by a signature that it owns the
 * key that its node id is the fingerprint of. An end that does not go on says why with
 * REFUSED. WAKE is a connection of its own: the node with the higher id asks the other to
 * dial it.
 *
 *   u16 magic 'mH', u8 format, u8 kind, u32 size of the body, u32 crc32c of all but
 *   itself, body
 *
 * Pure: bytes and structs only, nothing is signed or verified here. Decoding checks every
 * size and range, and borrows texts from its input.
 */
#ifndef MOMI_WIRE_HELLO_H
#define MOMI_WIRE_HELLO_H

#include "base/err.h"
#include "core/types.h"
#include "wire/magic.h"

#define MOMI_HELLO_FORMAT               1
#define MOMI_HELLO_HEADER               12u
#define MOMI_HELLO_BYTES_MAX            4096u /* of one message */
#define MOMI_HELLO_KEY_BYTES            32u
#define MOMI_HELLO_CHALLENGE_BYTES      32u
#define MOMI_HELLO_SIGNATURE_BYTES      64u
#define MOMI_HELLO_TEXT_BYTES_MAX       512u
#define MOMI_HELLO_CREDENTIAL_BYTES_MAX 1024u

enum momi_hello_kind {
    MOMI_HELLO = 1,
    MOMI_HELLO_PROOF = 2,
    MOMI_HELLO_REFUSED = 3,
    MOMI_HELLO_WAKE = 4,
};

/* Step one. */
struct momi_hello {
    uint8_t version_min; /* of the frames that this end reads and writes */
    uint8_t version_max;
    enum momi_role role;
    struct momi_mesh_id mesh; /* none: no member yet */
    uint64_t node;            /* never 0 */
    uint64_t incarnation;
    uint64_t boot_nonce;    /* D1: tells two copies of one directory apart */
    uint64_t connection;    /* N2: number of this connection, grows per dialler */
    uint64_t founders_hash; /* N1: of the list it forms with; 0: it does not */
    uint8_t public_key[MOMI_HELLO_KEY_BYTES];
    uint8_t challenge[MOMI_HELLO_CHALLENGE_BYTES];
    struct momi_slice name;    /* 0 to MOMI_NAME_BYTES_MAX bytes */
    struct momi_slice address; /* of its lanes; empty: it does not listen */
    struct momi_slice
        gossip_bus; /* addresses of its bus and survey sockets; empty: none */
    struct momi_slice gossip_survey;
    struct momi_slice credential; /* of a user; empty until there are users */
};

/* Step two: the signature over momi_hello_to_sign. */
struct momi_hello_proof {
    uint8_t signature[MOMI_HELLO_SIGNATURE_BYTES];
};

struct momi_hello_refused {
    int32_t error; /* a result class */
    struct momi_slice text;
};

struct momi_hello_wake {
    uint64_t node; /* of the one who asks; never 0 */
    struct momi_slice address;
};

struct momi_hello_message {
    enum momi_hello_kind kind;
    union {
        struct momi_hello hello;
        struct momi_hello_proof proof;
        struct momi_hello_refused refused;
        struct momi_hello_wake wake;
    };
};

/* Appends the encoded message. MOM_OK; MOM_INVALID: a text over its limit, a missing
 * node id, no role; MOM_NO_MEMORY. A text of REFUSED that is too long is cut. */
int momi_hello_encode(const struct momi_hello_message *message, struct momi_bytes *out);
/* MOM_OK, MOM_VERSION, MOM_CORRUPT (checksum), MOM_INVALID. */
int momi_hello_decode(struct momi_slice bytes, struct momi_hello_message *message);

/* The highest version of frames that both ends know; 0: none. */
uint8_t momi_hello_version(const struct momi_hello *own, const struct momi_hello *other);

/* What the signer signs: both challenges and both node ids, and all that its HELLO says.
 * `signer_hello` is that HELLO as it went over the lane; its end keeps a proof
 * from being sent back as the other's. */
enum momi_hello_end { MOMI_HELLO_ACCEPTED, MOMI_HELLO_DIALED };
void momi_hello_to_sign(struct momi_bytes *out, enum momi_hello_end signer,
                        struct momi_slice signer_hello, const struct momi_hello *other);

#endif
