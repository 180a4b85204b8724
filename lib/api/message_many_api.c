/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Received messages, many in one call. See <mom/message.h>.
 */
#include <string.h>

#include "api/api.h"

static void describe(const mom_message *message, mom_message_view *view) {
    *view = (mom_message_view){.sequence = message->sequence,
                               .published_us = message->published_us,
                               .publisher = message->publisher,
                               .deliveries = message->deliveries};
    view->body = mom_message_body(message, &view->body_size);
    view->key = mom_message_key(message, &view->key_size);
    if (message->headers.size > 0) {
        view->headers_count = mom_message_headers_count(message);
    }
}

int mom_message_view_many(mom_message *const *messages, size_t count,
                          mom_message_view *views, size_t view_size) {
    int error = momi_check_pointer(messages, "messages");
    if (error == MOM_OK) {
        error = momi_check_pointer(views, "views");
    }
    if (error == MOM_OK && view_size == 0) {
        error = momi_err(MOM_INVALID, "view_size is 0");
    }
    unsigned char *at = (unsigned char *)views;
    for (size_t i = 0; error == MOM_OK && i < count; i++) {
        mom_message_view view;
        describe(messages[i], &view);
        if (view_size > sizeof view) { /* what a later caller knows, and we do not */
            memset(at + sizeof view, 0, view_size - sizeof view);
        }
        memcpy(at, &view, view_size < sizeof view ? view_size : sizeof view);
        at += view_size;
    }
    return error;
}

size_t mom_message_copy_many(mom_message *const *messages, size_t count, void *buffer,
                             size_t size) {
    size_t needed = 0;
    for (size_t i = 0; messages != NULL && i < count; i++) {
        needed += messages[i]->body.size;
    }
    if (buffer == NULL || needed > size) {
        return needed;
    }
    unsigned char *at = buffer;
    for (size_t i = 0; messages != NULL && i < count; i++) {
        if (messages[i]->body.size > 0) {
            memcpy(at, messages[i]->body.data, messages[i]->body.size);
            at += messages[i]->body.size;
        }
    }
    return needed;
}

void mom_message_release_many(mom_message *const *messages, size_t count) {
    for (size_t i = 0; messages != NULL && i < count; i++) {
        mom_message_release(messages[i]);
    }
}
