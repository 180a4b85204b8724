/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Result classes and the text of the last error, one per thread. The text is formatted
 * aside first, since an argument may be the present text ("cannot open: %s").
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_TEXT_SIZE = 512 };

static _Thread_local char error_text[ERROR_TEXT_SIZE];

int momi_err(int error, const char *format, ...) {
    char text[ERROR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text[0] = '\0';
    }
    memcpy(error_text, text, strlen(text) + 1);
    return error;
}

void momi_err_clear(void) { error_text[0] = '\0'; }

const char *mom_err_name(int error) {
    switch (error) {
    case MOM_OK:
        return "OK";
#define ERROR_NAME(name, number, text, advice)                                           \
    case MOM_##name:                                                                     \
        return #name;
        MOM_ERROR_MAP(ERROR_NAME)
#undef ERROR_NAME
    default:
        return "UNKNOWN";
    }
}

const char *mom_strerror(int error) {
    switch (error) {
    case MOM_OK:
        return "done";
#define ERROR_TEXT(name, number, text, advice)                                           \
    case MOM_##name:                                                                     \
        return text;
        MOM_ERROR_MAP(ERROR_TEXT)
#undef ERROR_TEXT
    default:
        return "not a result class of libmom";
    }
}

const char *mom_err_advice(int error) {
    switch (error) {
    case MOM_OK:
        return "nothing to do";
#define ERROR_ADVICE(name, number, text, advice)                                         \
    case MOM_##name:                                                                     \
        return advice;
        MOM_ERROR_MAP(ERROR_ADVICE)
#undef ERROR_ADVICE
    default:
        return "check where the number came from";
    }
}

const char *mom_last_error_text(void) { return error_text; }
