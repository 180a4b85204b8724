/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Presence: what store nodes tell each other over bus and survey (design: on the wire).
 * Hints only: nobody signs them, they get lost without a word, and all that comes of one
 * is an attempt to dial, at whose other end the handshake of a lane decides.
 *
 *   u16 magic 'mP', u8 format, u8 kind, u32 crc32c of all but itself, 16 bytes mesh id
 *   (zero: none), u8 count, then each record: u64 node, u64 incarnation, name and lane
 *   address as varint size and bytes
 *
 * Pure. Decoding checks every size and borrows texts from its input.
 */
#ifndef MOMI_WIRE_PRESENCE_H
#define MOMI_WIRE_PRESENCE_H

#include "base/err.h"
#include "base/pack.h"
#include "core/types.h"

#define MOMI_PRESENCE_FORMAT      1
#define MOMI_PRESENCE_HEADER      25u
#define MOMI_PRESENCE_RECORDS_MAX 64u
#define MOMI_PRESENCE_BYTES_MAX   (48u << 10) /* of one message */

enum momi_presence_kind {
    MOMI_PRESENCE_WHO = 1,   /* a survey's question: the asker, if it is somebody */
    MOMI_PRESENCE_HERE = 2,  /* its answer: who answers, first, and whom it knows */
    MOMI_PRESENCE_ALIVE = 3, /* on the bus: one record, the sender */
};

struct momi_presence_record {
    uint64_t node; /* never 0 */
    uint64_t incarnation;
    struct momi_slice name;
    struct momi_slice address; /* of its lanes; never empty */
};

struct momi_presence {
    enum momi_presence_kind kind;
    struct momi_mesh_id mesh; /* none: not a member yet */
    uint32_t count;
    struct momi_presence_record records[MOMI_PRESENCE_RECORDS_MAX];
};

/* Appends the message. MOM_OK; MOM_INVALID: a text or a count over its limit, no node or
 * address in a record; MOM_NO_MEMORY. */
int momi_presence_encode(const struct momi_presence *presence, struct momi_bytes *out);
/* MOM_OK, MOM_VERSION, MOM_CORRUPT (checksum), MOM_INVALID. */
int momi_presence_decode(struct momi_slice bytes, struct momi_presence *presence);

#endif
