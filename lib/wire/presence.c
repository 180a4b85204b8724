/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Presence as bytes: see presence.h. Both ways check a message by the same rules.
 */
#include "wire/presence.h"

#include "base/crc.h"
#include "wire/magic.h"

enum { MAGIC_PRESENCE = 'P', AT_CRC = 4, AFTER_CRC = 8 };

static bool is_sound(const struct momi_presence *presence) {
    if (presence->kind < MOMI_PRESENCE_WHO || presence->kind > MOMI_PRESENCE_ALIVE ||
        presence->count > MOMI_PRESENCE_RECORDS_MAX ||
        (presence->kind == MOMI_PRESENCE_ALIVE && presence->count != 1)) {
        return false;
    }
    for (uint32_t i = 0; i < presence->count; i++) {
        const struct momi_presence_record *record = &presence->records[i];
        if (record->node == 0 || record->name.size > MOMI_NAME_BYTES_MAX ||
            record->address.size == 0 ||
            record->address.size > MOMI_MEMBER_ADDRESS_BYTES_MAX) {
            return false;
        }
    }
    return true;
}

static uint32_t sum_of(const uint8_t *bytes, size_t size) {
    uint32_t crc = momi_crc32c(0, bytes, AT_CRC);
    return momi_crc32c(crc, bytes + AFTER_CRC, size - AFTER_CRC);
}

int momi_presence_encode(const struct momi_presence *presence, struct momi_bytes *out) {
    if (!is_sound(presence)) {
        return momi_err(MOM_INVALID, "a presence that does not fit");
    }
    size_t start = out->size;
    momi_put_u8(out, MOMI_WIRE_MAGIC);
    momi_put_u8(out, MAGIC_PRESENCE);
    momi_put_u8(out, MOMI_PRESENCE_FORMAT);
    momi_put_u8(out, (uint8_t)presence->kind);
    momi_put_u32(out, 0);
    momi_bytes_append(out, presence->mesh.bytes, sizeof presence->mesh.bytes);
    momi_put_u8(out, (uint8_t)presence->count);
    for (uint32_t i = 0; i < presence->count; i++) {
        momi_put_u64(out, presence->records[i].node);
        momi_put_u64(out, presence->records[i].incarnation);
        momi_put_slice(out, presence->records[i].name);
        momi_put_slice(out, presence->records[i].address);
    }
    if (out->failed) {
        return MOM_NO_MEMORY;
    }
    momi_store_le32(out->data + start + AT_CRC,
                    sum_of(out->data + start, out->size - start));
    return MOM_OK;
}

int momi_presence_decode(struct momi_slice bytes, struct momi_presence *presence) {
    if (bytes.size < MOMI_PRESENCE_HEADER || bytes.size > MOMI_PRESENCE_BYTES_MAX ||
        bytes.data[0] != MOMI_WIRE_MAGIC || bytes.data[1] != MAGIC_PRESENCE) {
        return momi_err(MOM_INVALID, "%zu bytes that are no presence", bytes.size);
    }
    if (bytes.data[2] != MOMI_PRESENCE_FORMAT) {
        return momi_err(MOM_VERSION, "presence of format %u", bytes.data[2]);
    }
    if (sum_of(bytes.data, bytes.size) != momi_load_le32(bytes.data + AT_CRC)) {
        return momi_err(MOM_CORRUPT, "presence with a wrong checksum");
    }
    struct momi_reader in = momi_reader(bytes);
    (void)momi_get_bytes(&in, AFTER_CRC);
    presence->kind = (enum momi_presence_kind)bytes.data[3];
    struct momi_slice mesh = momi_get_bytes(&in, sizeof presence->mesh.bytes);
    presence->count = momi_get_u8(&in);
    if (in.failed || presence->count > MOMI_PRESENCE_RECORDS_MAX) {
        return momi_err(MOM_INVALID, "presence of too many");
    }
    memcpy(presence->mesh.bytes, mesh.data, sizeof presence->mesh.bytes);
    for (uint32_t i = 0; i < presence->count; i++) {
        struct momi_presence_record *record = &presence->records[i];
        record->node = momi_get_u64(&in);
        record->incarnation = momi_get_u64(&in);
        record->name = momi_get_slice(&in);
        record->address = momi_get_slice(&in);
    }
    return momi_reader_done(&in) && is_sound(presence)
               ? MOM_OK
               : momi_err(MOM_INVALID, "presence that does not fit");
}
