/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing and unpacking. Everything that is read here may come from a peer or a disk, so
 * a reader that failed once stays failed and gives zeroes.
 */
#include "base/pack.h"

enum { VARINT_BYTES_MAX = 10 };

void momi_put_u8(struct momi_bytes *out, uint8_t value) {
    momi_bytes_append(out, &value, sizeof value);
}

void momi_put_u16(struct momi_bytes *out, uint16_t value) {
    uint8_t bytes[sizeof value];
    momi_store_le16(bytes, value);
    momi_bytes_append(out, bytes, sizeof bytes);
}

void momi_put_u32(struct momi_bytes *out, uint32_t value) {
    uint8_t bytes[sizeof value];
    momi_store_le32(bytes, value);
    momi_bytes_append(out, bytes, sizeof bytes);
}

void momi_put_u64(struct momi_bytes *out, uint64_t value) {
    uint8_t bytes[sizeof value];
    momi_store_le64(bytes, value);
    momi_bytes_append(out, bytes, sizeof bytes);
}

void momi_put_be32(struct momi_bytes *out, uint32_t value) {
    momi_put_u32(out, __builtin_bswap32(value));
}

void momi_put_be64(struct momi_bytes *out, uint64_t value) {
    momi_put_u64(out, __builtin_bswap64(value));
}

void momi_put_varint(struct momi_bytes *out, uint64_t value) {
    uint8_t bytes[VARINT_BYTES_MAX];
    size_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    momi_bytes_append(out, bytes, size);
}

void momi_put_slice(struct momi_bytes *out, struct momi_slice bytes) {
    momi_put_varint(out, bytes.size);
    momi_bytes_append(out, bytes.data, bytes.size);
}

/* The next `size` bytes, or NULL and a failed reader. */
static const uint8_t *take(struct momi_reader *in, size_t size) {
    if (in->failed || size > (size_t)(in->end - in->at)) {
        in->failed = true;
        return NULL;
    }
    const uint8_t *at = in->at;
    in->at = size == 0 ? at : at + size;
    return at;
}

uint8_t momi_get_u8(struct momi_reader *in) {
    const uint8_t *at = take(in, 1);
    return at == NULL ? 0 : *at;
}

uint16_t momi_get_u16(struct momi_reader *in) {
    const uint8_t *at = take(in, sizeof(uint16_t));
    return at == NULL ? 0 : momi_load_le16(at);
}

uint32_t momi_get_u32(struct momi_reader *in) {
    const uint8_t *at = take(in, sizeof(uint32_t));
    return at == NULL ? 0 : momi_load_le32(at);
}

uint64_t momi_get_u64(struct momi_reader *in) {
    const uint8_t *at = take(in, sizeof(uint64_t));
    return at == NULL ? 0 : momi_load_le64(at);
}

uint32_t momi_get_be32(struct momi_reader *in) {
    return __builtin_bswap32(momi_get_u32(in));
}

uint64_t momi_get_be64(struct momi_reader *in) {
    return __builtin_bswap64(momi_get_u64(in));
}

uint64_t momi_get_varint(struct momi_reader *in) {
    uint64_t value = 0;
    for (unsigned index = 0; index < VARINT_BYTES_MAX; index++) {
        uint8_t byte = momi_get_u8(in);
        if (index == VARINT_BYTES_MAX - 1 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * index);
        if ((byte & 0x80) == 0) {
            return in->failed ? 0 : value;
        }
    }
    in->failed = true;
    return 0;
}

struct momi_slice momi_get_bytes(struct momi_reader *in, size_t size) {
    const uint8_t *at = take(in, size);
    return momi_slice(at, in->failed ? 0 : size);
}

struct momi_slice momi_get_slice(struct momi_reader *in) {
    uint64_t size = momi_get_varint(in);
    return momi_get_bytes(in, (size_t)size);
}
