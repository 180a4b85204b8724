/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message records, their headers, and the body of a publish command (entry.h).
 *
 * Records are made once, by the producer, and only read from then on. Nothing here trusts
 * a size; what is found is borrowed from the input.
 */
#include "core/entry.h"

#include "base/crc.h"

enum {
    RECORD_AT_SIZE = 0,
    RECORD_AT_CRC = 4,
    RECORD_AT_FLAGS = 8,
    RECORD_AT_KEY_SIZE = 9,
    RECORD_AT_HEADERS_SIZE = 10,
    RECORD_SUMMED_FROM = 8,
};

_Static_assert(MOMI_KEY_BYTES_MAX <= UINT8_MAX, "the key size is one byte");
_Static_assert(MOMI_HEADERS_BYTES_MAX <= UINT16_MAX, "the headers size is two bytes");

static uint8_t *put_piece(uint8_t *at, struct momi_slice piece) {
    if (piece.size > 0) {
        memcpy(at, piece.data, piece.size);
    }
    return at + piece.size;
}

void momi_record_write(uint8_t *at, const struct momi_record *record) {
    size_t size =
        momi_record_size(record->key.size, record->headers.size, record->body.size);
    momi_store_le32(at + RECORD_AT_SIZE, (uint32_t)size);
    at[RECORD_AT_FLAGS] = 0;
    at[RECORD_AT_KEY_SIZE] = (uint8_t)record->key.size;
    momi_store_le16(at + RECORD_AT_HEADERS_SIZE, (uint16_t)record->headers.size);
    uint8_t *next = put_piece(at + MOMI_RECORD_HEADER, record->key);
    next = put_piece(next, record->headers);
    put_piece(next, record->body);
    momi_store_le32(at + RECORD_AT_CRC,
                    momi_crc32c(0, at + RECORD_SUMMED_FROM, size - RECORD_SUMMED_FROM));
}

static bool take_header(struct momi_reader *in, struct momi_slice *name,
                        struct momi_slice *value) {
    *name = momi_get_bytes(in, momi_get_u8(in));
    *value = momi_get_bytes(in, momi_get_u16(in));
    return !in->failed && name->size > 0;
}

bool momi_headers_next(struct momi_slice *left, struct momi_slice *name,
                       struct momi_slice *value) {
    struct momi_reader in = momi_reader(*left);
    if (left->size == 0 || !take_header(&in, name, value)) {
        return false;
    }
    *left = momi_slice(in.at, momi_reader_left(&in));
    return true;
}

/* Whole headers with names, not too many. */
static bool headers_are_sane(struct momi_slice headers) {
    struct momi_reader in = momi_reader(headers);
    for (unsigned count = 0; momi_reader_left(&in) > 0; count++) {
        struct momi_slice name, value;
        if (count == MOMI_HEADERS_COUNT_MAX || !take_header(&in, &name, &value)) {
            return false;
        }
    }
    return !in.failed;
}

bool momi_record_read(struct momi_slice bytes, struct momi_record *record) {
    if (bytes.size < MOMI_RECORD_HEADER) {
        return false;
    }
    const uint8_t *at = bytes.data;
    size_t size = momi_load_le32(at + RECORD_AT_SIZE);
    size_t key_size = at[RECORD_AT_KEY_SIZE];
    size_t headers_size = momi_load_le16(at + RECORD_AT_HEADERS_SIZE);
    size_t before_body = MOMI_RECORD_HEADER + key_size + headers_size;
    if (at[RECORD_AT_FLAGS] != 0 || size > bytes.size || size < before_body ||
        headers_size > MOMI_HEADERS_BYTES_MAX ||
        size - before_body > MOMI_BODY_BYTES_MAX) {
        return false;
    }
    const uint8_t *headers = at + MOMI_RECORD_HEADER + key_size;
    if (headers_size > 0 && !headers_are_sane(momi_slice(headers, headers_size))) {
        return false;
    }
    *record = (struct momi_record){
        .key = momi_slice(at + MOMI_RECORD_HEADER, key_size),
        .headers = momi_slice(headers, headers_size),
        .body = momi_slice(at + before_body, size - before_body),
        .whole = momi_slice(at, size),
    };
    return true;
}

bool momi_record_check(const struct momi_record *record) {
    const uint8_t *at = record->whole.data;
    return momi_load_le32(at + RECORD_AT_CRC) ==
           momi_crc32c(0, at + RECORD_SUMMED_FROM,
                       record->whole.size - RECORD_SUMMED_FROM);
}

void momi_record_spoil(uint8_t *at) { at[RECORD_AT_CRC] ^= 1U; }

bool momi_publish_peek(struct momi_slice body, struct momi_publish *publish) {
    struct momi_reader in = momi_reader(body);
    struct momi_publish found = {0};
    uint8_t kind = momi_get_u8(&in);
    found.kind = (enum momi_kind)kind;
    found.flags = momi_get_u8(&in);
    found.publisher = momi_get_u64(&in);
    found.name = momi_get_slice(&in);
    found.count = momi_get_u32(&in);
    if (in.failed || (kind != MOMI_KIND_QUEUE && kind != MOMI_KIND_TOPIC) ||
        (found.flags & ~MOMI_PUBLISH_CREATE) != 0 || found.name.size == 0 ||
        found.name.size > MOMI_SYSTEM_NAME_BYTES_MAX || found.count == 0 ||
        found.count > MOMI_COMMAND_MESSAGES_MAX) {
        return false;
    }
    found.records = momi_slice(in.at, momi_reader_left(&in));
    *publish = found;
    return true;
}

bool momi_publish_parse(struct momi_slice body, struct momi_publish *publish) {
    struct momi_publish found;
    if (!momi_publish_peek(body, &found)) {
        return false;
    }
    struct momi_slice left = found.records;
    for (uint32_t index = 0; index < found.count; index++) {
        struct momi_record record;
        if (!momi_record_read(left, &record)) {
            return false;
        }
        left = momi_slice(left.data + record.whole.size, left.size - record.whole.size);
    }
    if (left.size != 0) {
        return false;
    }
    *publish = found;
    return true;
}

void momi_publish_put_head(struct momi_bytes *out, const struct momi_publish *publish) {
    momi_put_u8(out, (uint8_t)publish->kind);
    momi_put_u8(out, publish->flags);
    momi_put_u64(out, publish->publisher);
    momi_put_slice(out, publish->name);
    momi_put_u32(out, publish->count);
}
