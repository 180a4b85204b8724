/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting large frames into fragments and joining them again: see split.h. */
#include "wire/split.h"

#include "base/assert.h"
#include "base/pack.h"

enum {
    AT_MAGIC = 0,
    AT_VERSION = 2,
    AT_FLAGS = 3,
    AT_STREAM = 4,
    AT_NUMBER = 8,
    AT_TOTAL = 12,
};

void momi_split_begin(struct momi_split *split, uint32_t stream, struct momi_slice head,
                      const struct momi_part *parts, uint32_t parts_count) {
    *split = (struct momi_split){.head = head,
                                 .parts = parts,
                                 .parts_count = parts_count,
                                 .stream = stream,
                                 .total = head.size};
    for (uint32_t index = 0; index < parts_count; index++) {
        split->total += parts[index].bytes.size;
    }
    MOMI_ASSERT(split->total > 0);
    MOMI_ASSERT(split->total <= MOMI_CODEC_BYTES_MAX);
}

static void write_header(struct momi_split *split) {
    uint8_t *at = split->header;
    at[AT_MAGIC] = MOMI_WIRE_MAGIC;
    at[AT_MAGIC + 1] = MOMI_WIRE_FRAGMENT;
    at[AT_VERSION] = MOMI_SPLIT_VERSION;
    at[AT_FLAGS] = split->sent == split->total ? MOMI_SPLIT_LAST : 0;
    momi_store_le32(at + AT_STREAM, split->stream);
    momi_store_le32(at + AT_NUMBER, split->number);
    momi_store_le32(at + AT_TOTAL, split->number == 0 ? (uint32_t)split->total : 0);
}

size_t momi_split_next(struct momi_split *split, struct momi_slice *slices, size_t max) {
    MOMI_ASSERT(max >= 2);
    size_t count = 1;
    size_t left = MOMI_SPLIT_BYTES_MAX;
    while (split->sent < split->total && left > 0 && count < max) {
        struct momi_slice piece =
            split->piece == 0 ? split->head : split->parts[split->piece - 1].bytes;
        size_t size = piece.size - split->offset;
        if (size > left) {
            size = left;
        }
        if (size > 0) {
            slices[count++] = momi_slice(piece.data + split->offset, size);
            split->offset += size;
            split->sent += size;
            left -= size;
        }
        if (split->offset == piece.size) {
            split->piece++;
            split->offset = 0;
        }
    }
    if (count == 1) {
        return 0;
    }
    write_header(split);
    split->number++;
    slices[0] = momi_slice(split->header, sizeof split->header);
    return count;
}

static void drop(struct momi_assembly *assembly) {
    momi_buf_release(assembly->buf);
    *assembly = (struct momi_assembly){.buf = NULL};
}

void momi_join_reset(struct momi_join *join) {
    for (size_t index = 0; index < MOMI_JOIN_STREAMS_MAX; index++) {
        drop(&join->at[index]);
    }
}

static struct momi_assembly *find(struct momi_join *join, uint32_t stream) {
    for (size_t index = 0; index < MOMI_JOIN_STREAMS_MAX; index++) {
        struct momi_assembly *assembly = &join->at[index];
        if (assembly->buf != NULL && assembly->stream == stream) {
            return assembly;
        }
    }
    return NULL;
}

/* Takes a free assembly for a stream that begins. */
static int begin(struct momi_join *join, uint32_t stream, size_t total,
                 struct momi_assembly **begun) {
    if (total == 0 || total > MOMI_CODEC_BYTES_MAX) {
        return momi_err(MOM_INVALID, "fragments of a frame of %zu bytes", total);
    }
    for (size_t index = 0; index < MOMI_JOIN_STREAMS_MAX; index++) {
        struct momi_assembly *assembly = &join->at[index];
        if (assembly->buf == NULL) {
            assembly->buf = momi_buf_new(total);
            if (assembly->buf == NULL) {
                return MOM_NO_MEMORY;
            }
            assembly->filled = 0;
            assembly->stream = stream;
            assembly->number = 0;
            *begun = assembly;
            return MOM_OK;
        }
    }
    return momi_err(MOM_INVALID, "more than %u fragmented frames at once",
                    MOMI_JOIN_STREAMS_MAX);
}

int momi_join_add(struct momi_join *join, struct momi_slice fragment,
                  struct momi_buf **whole) {
    if (fragment.size <= MOMI_SPLIT_HEADER ||
        fragment.size > MOMI_SPLIT_HEADER + MOMI_SPLIT_BYTES_MAX ||
        momi_wire_kind(fragment) != MOMI_WIRE_FRAGMENT) {
        return momi_err(MOM_INVALID, "%zu bytes that are no fragment", fragment.size);
    }
    const uint8_t *at = fragment.data;
    if (at[AT_VERSION] != MOMI_SPLIT_VERSION) {
        return momi_err(MOM_VERSION, "fragment of version %u", at[AT_VERSION]);
    }
    uint32_t stream = momi_load_le32(at + AT_STREAM);
    uint32_t number = momi_load_le32(at + AT_NUMBER);
    uint32_t total = momi_load_le32(at + AT_TOTAL);
    struct momi_assembly *assembly = find(join, stream);
    if (assembly == NULL && number == 0) {
        int error = begin(join, stream, total, &assembly);
        if (error != MOM_OK) {
            return error;
        }
        total = 0;
    }
    size_t size = fragment.size - MOMI_SPLIT_HEADER;
    bool is_last = at[AT_FLAGS] == MOMI_SPLIT_LAST;
    if (assembly == NULL || number != assembly->number || total != 0 ||
        (at[AT_FLAGS] & ~MOMI_SPLIT_LAST) != 0 ||
        size > assembly->buf->size - assembly->filled ||
        is_last != (size == assembly->buf->size - assembly->filled)) {
        if (assembly != NULL) {
            drop(assembly);
        }
        return momi_err(MOM_INVALID, "fragment %u of stream %u does not follow", number,
                        stream);
    }
    memcpy(assembly->buf->data + assembly->filled, at + MOMI_SPLIT_HEADER, size);
    assembly->filled += size;
    assembly->number++;
    *whole = NULL;
    if (is_last) {
        *whole = assembly->buf;
        *assembly = (struct momi_assembly){.buf = NULL};
    }
    return MOM_OK;
}
