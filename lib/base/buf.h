/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes: a borrowed slice, and a shared buffer that is immutable once it is shared.
 *
 * A payload is put into a buffer once, when it is published or received; log, cache,
 * frames and deliveries hold references. The reference count is atomic, since buffers
 * cross threads; the bytes are not written after the first momi_buf_ref.
 */
#ifndef MOMI_BASE_BUF_H
#define MOMI_BASE_BUF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct momi_slice {
    const uint8_t *data;
    size_t size;
};

static inline struct momi_slice momi_slice(const void *data, size_t size) {
    return (struct momi_slice){.data = data, .size = size};
}
static inline struct momi_slice momi_slice_str(const char *text) {
    return momi_slice(text, strlen(text));
}
static inline bool momi_slice_equal(struct momi_slice a, struct momi_slice b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
/* Lexicographic, bytes unsigned: <0, 0, >0. */
int momi_slice_compare(struct momi_slice a, struct momi_slice b);

struct momi_buf {
    atomic_uint refs;
    size_t size;   /* bytes in use */
    size_t room;   /* bytes allocated */
    uint8_t *data; /* follows the struct in the same block */
};

/* With `size` bytes in use, uninitialised, and no more room; NULL: out of memory. */
struct momi_buf *momi_buf_new(size_t size);
struct momi_buf *momi_buf_copy(struct momi_slice bytes);
struct momi_buf *momi_buf_ref(struct momi_buf *buf);
void momi_buf_release(struct momi_buf *buf); /* NULL is fine */
static inline struct momi_slice momi_buf_slice(const struct momi_buf *buf) {
    return momi_slice(buf->data, buf->size);
}

/* A growable byte string with one owner. A failed append sets `failed` and further
 * appends do nothing, so a writer checks once at the end. */
struct momi_bytes {
    uint8_t *data;
    size_t size;
    size_t room;
    bool failed;
};
void momi_bytes_free(struct momi_bytes *bytes);
bool momi_bytes_reserve(struct momi_bytes *bytes, size_t extra);
void momi_bytes_append(struct momi_bytes *bytes, const void *data, size_t size);
static inline void momi_bytes_clear(struct momi_bytes *bytes) {
    bytes->size = 0;
    bytes->failed = false;
}
static inline struct momi_slice momi_bytes_slice(const struct momi_bytes *bytes) {
    return momi_slice(bytes->data, bytes->size);
}

#endif
