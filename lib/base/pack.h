/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing: little-endian integers, big-endian keys, varints (LEB128, as in protobuf).
 *
 * A writer appends to momi_bytes. A reader walks a slice and never reads beyond it: a
 * read past the end sets `failed` and returns 0 or an empty slice, so a decoder checks
 * once at the end.
 */
#ifndef MOMI_BASE_PACK_H
#define MOMI_BASE_PACK_H

#include "base/buf.h"

static inline void momi_store_le16(uint8_t *at, uint16_t value) {
    memcpy(at, &value, sizeof value);
}
static inline void momi_store_le32(uint8_t *at, uint32_t value) {
    memcpy(at, &value, sizeof value);
}
static inline void momi_store_le64(uint8_t *at, uint64_t value) {
    memcpy(at, &value, sizeof value);
}
static inline uint16_t momi_load_le16(const uint8_t *at) {
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline uint32_t momi_load_le32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline uint64_t momi_load_le64(const uint8_t *at) {
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the little-endian loads above copy bytes as they are"
#endif

void momi_put_u8(struct momi_bytes *out, uint8_t value);
void momi_put_u16(struct momi_bytes *out, uint16_t value);
void momi_put_u32(struct momi_bytes *out, uint32_t value);
void momi_put_u64(struct momi_bytes *out, uint64_t value);
/* For keys: byte order = number order. */
void momi_put_be32(struct momi_bytes *out, uint32_t value);
void momi_put_be64(struct momi_bytes *out, uint64_t value);
void momi_put_varint(struct momi_bytes *out, uint64_t value);
/* Varint size, then the bytes. */
void momi_put_slice(struct momi_bytes *out, struct momi_slice bytes);

struct momi_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};
static inline struct momi_reader momi_reader(struct momi_slice bytes) {
    return (struct momi_reader){.at = bytes.data,
                                .end = bytes.size == 0 ? bytes.data
                                                       : bytes.data + bytes.size,
                                .failed = false};
}
uint8_t momi_get_u8(struct momi_reader *in);
uint16_t momi_get_u16(struct momi_reader *in);
uint32_t momi_get_u32(struct momi_reader *in);
uint64_t momi_get_u64(struct momi_reader *in);
uint32_t momi_get_be32(struct momi_reader *in);
uint64_t momi_get_be64(struct momi_reader *in);
/* More than 10 bytes, or over 64 bits: failed. */
uint64_t momi_get_varint(struct momi_reader *in);
/* Borrowed from the input. */
struct momi_slice momi_get_bytes(struct momi_reader *in, size_t size);
/* Varint size, then the bytes. */
struct momi_slice momi_get_slice(struct momi_reader *in);
static inline size_t momi_reader_left(const struct momi_reader *in) {
    return in->failed ? 0 : (size_t)(in->end - in->at);
}
static inline bool momi_reader_done(const struct momi_reader *in) {
    return !in->failed && in->at == in->end;
}

#endif
