/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the handshake as bytes: see hello.h. */
#include "wire/hello.h"

#include "base/assert.h"
#include "base/crc.h"
#include "base/pack.h"

enum {
    AT_MAGIC = 0,
    AT_FORMAT = 2,
    AT_KIND = 3,
    AT_SIZE = 4,
    AT_CRC = 8,
    ERROR_LEAST = MOM_VERSION, /* the class with the highest number */
};

static const char SIGNED_PREFIX[] = "libmom lane 1";

/* --- rules for both directions --- */

static bool hello_is_sane(const struct momi_hello *hello) {
    return hello->version_min > 0 && hello->version_min <= hello->version_max &&
           (hello->role == MOMI_ROLE_STORE || hello->role == MOMI_ROLE_CLIENT) &&
           hello->node != 0 && hello->name.size <= MOMI_NAME_BYTES_MAX &&
           hello->address.size <= MOMI_MEMBER_ADDRESS_BYTES_MAX &&
           hello->gossip_bus.size <= MOMI_MEMBER_ADDRESS_BYTES_MAX &&
           hello->gossip_survey.size <= MOMI_MEMBER_ADDRESS_BYTES_MAX &&
           hello->credential.size <= MOMI_HELLO_CREDENTIAL_BYTES_MAX;
}

static bool refused_is_sane(const struct momi_hello_refused *refused) {
    return refused->error <= MOM_INVALID && refused->error >= ERROR_LEAST &&
           refused->text.size <= MOMI_HELLO_TEXT_BYTES_MAX;
}

static bool wake_is_sane(const struct momi_hello_wake *wake) {
    return wake->node != 0 && wake->address.size <= MOMI_MEMBER_ADDRESS_BYTES_MAX;
}

static bool message_is_sane(const struct momi_hello_message *message) {
    switch (message->kind) {
    case MOMI_HELLO:
        return hello_is_sane(&message->hello);
    case MOMI_HELLO_PROOF:
        return true;
    case MOMI_HELLO_REFUSED:
        return refused_is_sane(&message->refused);
    case MOMI_HELLO_WAKE:
        return wake_is_sane(&message->wake);
    }
    return false;
}

/* --- encoding --- */

static void put_hello(struct momi_bytes *out, const struct momi_hello *hello) {
    momi_put_u8(out, hello->version_min);
    momi_put_u8(out, hello->version_max);
    momi_put_u8(out, (uint8_t)hello->role);
    momi_bytes_append(out, hello->mesh.bytes, sizeof hello->mesh.bytes);
    momi_put_u64(out, hello->node);
    momi_put_u64(out, hello->incarnation);
    momi_put_u64(out, hello->boot_nonce);
    momi_put_u64(out, hello->connection);
    momi_put_u64(out, hello->founders_hash);
    momi_bytes_append(out, hello->public_key, sizeof hello->public_key);
    momi_bytes_append(out, hello->challenge, sizeof hello->challenge);
    momi_put_slice(out, hello->name);
    momi_put_slice(out, hello->address);
    momi_put_slice(out, hello->gossip_bus);
    momi_put_slice(out, hello->gossip_survey);
    momi_put_slice(out, hello->credential);
}

static void put_body(struct momi_bytes *out, const struct momi_hello_message *message) {
    switch (message->kind) {
    case MOMI_HELLO:
        put_hello(out, &message->hello);
        break;
    case MOMI_HELLO_PROOF:
        momi_bytes_append(out, message->proof.signature, MOMI_HELLO_SIGNATURE_BYTES);
        break;
    case MOMI_HELLO_REFUSED:
        momi_put_u8(out, (uint8_t)-message->refused.error);
        momi_put_slice(out, message->refused.text);
        break;
    case MOMI_HELLO_WAKE:
        momi_put_u64(out, message->wake.node);
        momi_put_slice(out, message->wake.address);
        break;
    }
}

static uint32_t sum(const uint8_t *bytes, size_t size) {
    uint32_t crc = momi_crc32c(0, bytes, AT_CRC);
    return momi_crc32c(crc, bytes + MOMI_HELLO_HEADER, size - MOMI_HELLO_HEADER);
}

int momi_hello_encode(const struct momi_hello_message *message, struct momi_bytes *out) {
    struct momi_hello_message checked = *message;
    if (checked.kind == MOMI_HELLO_REFUSED &&
        checked.refused.text.size > MOMI_HELLO_TEXT_BYTES_MAX) {
        checked.refused.text.size = MOMI_HELLO_TEXT_BYTES_MAX;
    }
    if (!message_is_sane(&checked)) {
        return momi_err(MOM_INVALID, "handshake message %u", (unsigned)checked.kind);
    }
    size_t begin = out->size;
    uint8_t header[MOMI_HELLO_HEADER] = {
        [AT_MAGIC] = MOMI_WIRE_MAGIC,
        [AT_MAGIC + 1] = MOMI_WIRE_HELLO,
        [AT_FORMAT] = MOMI_HELLO_FORMAT,
        [AT_KIND] = (uint8_t)checked.kind,
    };
    momi_bytes_append(out, header, sizeof header);
    put_body(out, &checked);
    if (out->failed) {
        return MOM_NO_MEMORY;
    }
    uint8_t *at = out->data + begin;
    size_t size = out->size - begin;
    MOMI_ASSERT(size <= MOMI_HELLO_BYTES_MAX);
    momi_store_le32(at + AT_SIZE, (uint32_t)(size - MOMI_HELLO_HEADER));
    momi_store_le32(at + AT_CRC, sum(at, size));
    return MOM_OK;
}

/* --- decoding --- */

static void copy(struct momi_reader *in, uint8_t *to, size_t size) {
    struct momi_slice bytes = momi_get_bytes(in, size);
    if (bytes.size == size) {
        memcpy(to, bytes.data, size);
    }
}

static void get_hello(struct momi_reader *in, struct momi_hello *hello) {
    hello->version_min = momi_get_u8(in);
    hello->version_max = momi_get_u8(in);
    hello->role = (enum momi_role)momi_get_u8(in);
    copy(in, hello->mesh.bytes, sizeof hello->mesh.bytes);
    hello->node = momi_get_u64(in);
    hello->incarnation = momi_get_u64(in);
    hello->boot_nonce = momi_get_u64(in);
    hello->connection = momi_get_u64(in);
    hello->founders_hash = momi_get_u64(in);
    copy(in, hello->public_key, sizeof hello->public_key);
    copy(in, hello->challenge, sizeof hello->challenge);
    hello->name = momi_get_slice(in);
    hello->address = momi_get_slice(in);
    hello->gossip_bus = momi_get_slice(in);
    hello->gossip_survey = momi_get_slice(in);
    hello->credential = momi_get_slice(in);
}

static void get_body(struct momi_reader *in, struct momi_hello_message *message) {
    switch (message->kind) {
    case MOMI_HELLO:
        get_hello(in, &message->hello);
        break;
    case MOMI_HELLO_PROOF:
        copy(in, message->proof.signature, MOMI_HELLO_SIGNATURE_BYTES);
        break;
    case MOMI_HELLO_REFUSED:
        message->refused.error = -(int32_t)momi_get_u8(in);
        message->refused.text = momi_get_slice(in);
        break;
    case MOMI_HELLO_WAKE:
        message->wake.node = momi_get_u64(in);
        message->wake.address = momi_get_slice(in);
        break;
    default:
        in->failed = true;
        break;
    }
}

int momi_hello_decode(struct momi_slice bytes, struct momi_hello_message *message) {
    if (bytes.size < MOMI_HELLO_HEADER || bytes.size > MOMI_HELLO_BYTES_MAX ||
        momi_wire_kind(bytes) != MOMI_WIRE_HELLO) {
        return momi_err(MOM_INVALID, "%zu bytes that are no handshake", bytes.size);
    }
    if (bytes.data[AT_FORMAT] != MOMI_HELLO_FORMAT) {
        return momi_err(MOM_VERSION, "handshake of format %u", bytes.data[AT_FORMAT]);
    }
    size_t size = momi_load_le32(bytes.data + AT_SIZE);
    if (size != bytes.size - MOMI_HELLO_HEADER) {
        return momi_err(MOM_INVALID, "handshake of %zu bytes says %zu", bytes.size, size);
    }
    if (momi_load_le32(bytes.data + AT_CRC) != sum(bytes.data, bytes.size)) {
        return momi_err(MOM_CORRUPT, "handshake with a wrong checksum");
    }
    struct momi_hello_message found;
    memset(&found, 0, sizeof found);
    found.kind = (enum momi_hello_kind)bytes.data[AT_KIND];
    struct momi_reader in = momi_reader(momi_slice(bytes.data + MOMI_HELLO_HEADER, size));
    get_body(&in, &found);
    if (!momi_reader_done(&in) || !message_is_sane(&found)) {
        return momi_err(MOM_INVALID, "malformed handshake message %u",
                        (unsigned)found.kind);
    }
    *message = found;
    return MOM_OK;
}

uint8_t momi_hello_version(const struct momi_hello *own, const struct momi_hello *other) {
    uint8_t high =
        own->version_max < other->version_max ? own->version_max : other->version_max;
    return high >= own->version_min && high >= other->version_min ? high : 0;
}

void momi_hello_to_sign(struct momi_bytes *out, enum momi_hello_end signer,
                        struct momi_slice signer_hello, const struct momi_hello *other) {
    momi_bytes_append(out, SIGNED_PREFIX, sizeof SIGNED_PREFIX);
    momi_put_u8(out, signer == MOMI_HELLO_DIALED ? 1 : 0);
    momi_put_slice(out, signer_hello);
    momi_bytes_append(out, other->challenge, sizeof other->challenge);
    momi_put_u64(out, other->node);
}
