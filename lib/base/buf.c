/* SPDX-License-Identifier: Apache-2.0 */
/* Slices, shared buffers, growing byte strings. See the header for who owns what. */
#include "base/buf.h"

#include "base/assert.h"
#include "base/mem.h"

enum { BYTES_ROOM_MIN = 64 };

int momi_slice_compare(struct momi_slice a, struct momi_slice b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

struct momi_buf *momi_buf_new(size_t size) {
    struct momi_buf *buf;
    if (size > SIZE_MAX - sizeof *buf) {
        return NULL;
    }
    buf = momi_alloc(sizeof *buf + size);
    if (buf == NULL) {
        return NULL;
    }
    atomic_init(&buf->refs, 1);
    buf->size = size;
    buf->room = size;
    buf->data = (uint8_t *)(buf + 1);
    return buf;
}

struct momi_buf *momi_buf_copy(struct momi_slice bytes) {
    struct momi_buf *buf = momi_buf_new(bytes.size);
    if (buf != NULL && bytes.size > 0) {
        memcpy(buf->data, bytes.data, bytes.size);
    }
    return buf;
}

struct momi_buf *momi_buf_ref(struct momi_buf *buf) {
    unsigned before = atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    MOMI_ASSERT(before > 0);
    MOMI_ASSERT(before < UINT32_MAX);
    return buf;
}

void momi_buf_release(struct momi_buf *buf) {
    if (buf == NULL) {
        return;
    }
    unsigned before = atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel);
    MOMI_ASSERT(before > 0);
    if (before == 1) {
        momi_free(buf);
    }
}

void momi_bytes_free(struct momi_bytes *bytes) {
    momi_free(bytes->data);
    *bytes = (struct momi_bytes){.data = NULL, .size = 0, .room = 0, .failed = false};
}

bool momi_bytes_reserve(struct momi_bytes *bytes, size_t extra) {
    if (bytes->failed) {
        return false;
    }
    if (extra <= bytes->room - bytes->size) {
        return true;
    }
    if (extra > SIZE_MAX / 4 || bytes->size > SIZE_MAX / 4) {
        bytes->failed = true;
        return false;
    }
    size_t needed = bytes->size + extra;
    size_t room = bytes->room < BYTES_ROOM_MIN ? BYTES_ROOM_MIN : bytes->room * 2;
    room = room < needed ? needed : room;
    uint8_t *data = momi_realloc(bytes->data, room);
    if (data == NULL) {
        bytes->failed = true;
        return false;
    }
    bytes->data = data;
    bytes->room = room;
    return true;
}

void momi_bytes_append(struct momi_bytes *bytes, const void *data, size_t size) {
    if (!momi_bytes_reserve(bytes, size) || size == 0) {
        return;
    }
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}
