/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three things that a lane carries, told apart by their first two bytes: 'm' and a
 * letter. A version byte follows in each.
 */
#ifndef MOMI_WIRE_MAGIC_H
#define MOMI_WIRE_MAGIC_H

#include "base/buf.h"

enum momi_wire_kind {
    MOMI_WIRE_NONE = 0,
    MOMI_WIRE_FRAME = 'O',    /* codec.h */
    MOMI_WIRE_FRAGMENT = 'F', /* split.h */
    MOMI_WIRE_HELLO = 'H',    /* hello.h */
};

#define MOMI_WIRE_MAGIC 'm'

static inline enum momi_wire_kind momi_wire_kind(struct momi_slice bytes) {
    if (bytes.size < 2 || bytes.data[0] != MOMI_WIRE_MAGIC) {
        return MOMI_WIRE_NONE;
    }
    switch (bytes.data[1]) {
    case MOMI_WIRE_FRAME:
    case MOMI_WIRE_FRAGMENT:
    case MOMI_WIRE_HELLO:
        return (enum momi_wire_kind)bytes.data[1];
    default:
        return MOMI_WIRE_NONE;
    }
}

#endif
