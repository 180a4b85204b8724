/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a received message holds. See <mom/message.h>.
 */
#include <string.h>

#include "api/api.h"
#include "core/entry.h"

const void *mom_message_body(const mom_message *message, size_t *size) {
    if (size != NULL) {
        *size = message->body.size;
    }
    return message->body.size == 0 ? "" : (const void *)message->body.data;
}

const char *mom_message_key(const mom_message *message, size_t *size) {
    if (size != NULL) {
        *size = message->key.size;
    }
    return message->key.size == 0 ? "" : (const char *)message->key.data;
}

uint64_t mom_message_sequence(const mom_message *message) { return message->sequence; }

uint64_t mom_message_published_us(const mom_message *message) {
    return message->published_us;
}

uint64_t mom_message_publisher(const mom_message *message) { return message->publisher; }

uint32_t mom_message_deliveries(const mom_message *message) {
    return message->deliveries;
}

bool mom_message_redelivered(const mom_message *message) {
    return message->deliveries > 1;
}

const char *mom_message_stream(const mom_message *message) {
    return message->batch->consumer->stream;
}

const char *mom_message_subscription(const mom_message *message) {
    return message->batch->consumer->subscription;
}

int mom_message_header(const mom_message *message, const char *name, const void **value,
                       size_t *size) {
    struct momi_slice left = message->headers;
    struct momi_slice found_name;
    struct momi_slice found;
    if (name == NULL) {
        return momi_err(MOM_INVALID, "name is NULL");
    }
    while (momi_headers_next(&left, &found_name, &found)) {
        if (momi_slice_equal(found_name, momi_slice_str(name))) {
            if (value != NULL) {
                *value = found.size == 0 ? "" : (const void *)found.data;
            }
            if (size != NULL) {
                *size = found.size;
            }
            return MOM_OK;
        }
    }
    return momi_err(MOM_NOT_FOUND, "no header \"%s\"", name);
}

size_t mom_message_headers_count(const mom_message *message) {
    struct momi_slice left = message->headers;
    struct momi_slice name;
    struct momi_slice value;
    size_t count = 0;
    while (momi_headers_next(&left, &name, &value)) {
        count++;
    }
    return count;
}

int mom_message_header_at(const mom_message *message, size_t index,
                          mom_header_view *header) {
    struct momi_slice left = message->headers;
    struct momi_slice name;
    struct momi_slice value;
    int error = momi_check_pointer(header, "header");
    if (error != MOM_OK) {
        return error;
    }
    for (size_t i = 0; momi_headers_next(&left, &name, &value); i++) {
        if (i == index) {
            *header = (mom_header_view){
                .name = (const char *)name.data,
                .name_size = name.size,
                .value = value.size == 0 ? "" : (const void *)value.data,
                .value_size = value.size};
            return MOM_OK;
        }
    }
    return momi_err(MOM_NOT_FOUND, "no header number %zu", index);
}
