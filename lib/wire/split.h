/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large frames in fragments, so that heartbeats and votes pass between them (E1).
 *
 * A fragment travels like a frame of its own:
 *
 *   u16 magic 'mF', u8 version, u8 flags (1: last), u32 stream, u32 number from 0,
 *   u32 total size of the whole (of the first fragment; 0 in the others), bytes
 *
 * Fragments of one stream come in order on one lane; those of several streams may be
 * mixed. A stream number may be used again once its last fragment was sent. Damage is
 * found by the checksum of the frame within.
 *
 * The sender cuts with struct momi_split, without copying: it borrows head and parts
 * until it is through. The receiver keeps one struct momi_join per lane. After an error
 * the lane is of no use any more: close it and momi_join_reset.
 */
#ifndef MOMI_WIRE_SPLIT_H
#define MOMI_WIRE_SPLIT_H

#include "base/err.h"
#include "wire/codec.h"

#define MOMI_SPLIT_VERSION    1
#define MOMI_SPLIT_HEADER     16u
#define MOMI_SPLIT_BYTES_MAX  (256u << 10) /* of one fragment, without its header */
#define MOMI_SPLIT_LAST       1u           /* flag */
#define MOMI_JOIN_STREAMS_MAX 4u

/* Frames above this are sent in fragments; others as they are. */
static inline bool momi_split_is_needed(size_t frame_bytes) {
    return frame_bytes > MOMI_SPLIT_BYTES_MAX;
}

struct momi_split {
    struct momi_slice head;        /* borrowed */
    const struct momi_part *parts; /* borrowed */
    uint32_t parts_count;
    uint32_t stream;
    uint32_t number; /* of the next fragment */
    size_t total;
    size_t sent;
    uint32_t piece;                    /* the next: 0 is the head, then the parts */
    size_t offset;                     /* in it */
    uint8_t header[MOMI_SPLIT_HEADER]; /* of the fragment given last */
};

/* head and parts as momi_codec_encode took and gave them; not empty. */
void momi_split_begin(struct momi_split *split, uint32_t stream, struct momi_slice head,
                      const struct momi_part *parts, uint32_t parts_count);
/* The next fragment as slices (at most `max`, at least 2), good until the next call; how
 * many, or 0 when all was given. A fragment is shorter when the slices do not reach. */
size_t momi_split_next(struct momi_split *split, struct momi_slice *slices, size_t max);

struct momi_assembly {
    struct momi_buf *buf; /* owned; NULL: free */
    size_t filled;
    uint32_t stream;
    uint32_t number; /* of the next fragment */
};

/* A zeroed struct is empty. */
struct momi_join {
    struct momi_assembly at[MOMI_JOIN_STREAMS_MAX];
};

/* Adds one fragment. MOM_OK, and `*whole` is the complete frame (the caller's), or NULL
 * while more has to come. MOM_INVALID: malformed, out of order, or over a limit;
 * MOM_VERSION; MOM_NO_MEMORY. */
int momi_join_add(struct momi_join *join, struct momi_slice fragment,
                  struct momi_buf **whole);
void momi_join_reset(struct momi_join *join); /* releases what was begun */

#endif
