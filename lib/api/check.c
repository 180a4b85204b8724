/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments of the program: every one is checked before anything is done, and the text
 * names it.
 */
#include <string.h>

#include "api/api.h"

int momi_check_pointer(const void *pointer, const char *argument) {
    return pointer != NULL ? MOM_OK : momi_err(MOM_INVALID, "%s is NULL", argument);
}

int momi_check_stream(const char *name, const char *argument) {
    return momi_check_pointer(name, argument); /* the rest of it the core checks */
}

int momi_check_subscription(const char *name) { return momi_check_pointer(name, "name"); }

int momi_check_wait(int timeout_ms, uint64_t *deadline_us) {
    if (timeout_ms < MOM_FOREVER) {
        return momi_err(MOM_INVALID, "timeout_ms is %d", timeout_ms);
    }
    if (timeout_ms == MOM_FOREVER) {
        *deadline_us = MOMI_NEVER;
    } else if (timeout_ms == 0) {
        *deadline_us = 0;
    } else {
        *deadline_us = momi_node_deadline_us((uint32_t)timeout_ms);
    }
    return MOM_OK;
}

int momi_check_deadline(int timeout_ms, uint64_t *deadline_us) {
    if (timeout_ms == 0) {
        return momi_err(MOM_INVALID, "timeout_ms is 0: a command needs time");
    }
    return momi_check_wait(timeout_ms, deadline_us);
}

int momi_options_import(void *out, size_t out_size, const void *in, const char *what) {
    memset(out, 0, out_size);
    memcpy(out, &out_size, sizeof out_size);
    if (in == NULL) {
        return MOM_OK;
    }
    size_t size;
    memcpy(&size, in, sizeof size);
    if (size < sizeof size || size > 65536) {
        return momi_err(MOM_INVALID, "%s: size is %zu; was it initialised?", what, size);
    }
    const unsigned char *bytes = in;
    for (size_t i = out_size; i < size; i++) {
        if (bytes[i] != 0) {
            return momi_err(MOM_VERSION, "%s: of a later version than the library", what);
        }
    }
    memcpy(out, in, size < out_size ? size : out_size);
    memcpy(out, &out_size, sizeof out_size);
    return MOM_OK;
}
