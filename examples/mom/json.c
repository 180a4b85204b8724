/* SPDX-License-Identifier: Apache-2.0 */
/* JSON (RFC 8259) to a stream. Errors of the stream are its user's to look at. */
#include "json.h"

#include <inttypes.h>
#include <string.h>

static void put_escaped(FILE *out, const unsigned char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = text[i];
        if (c == '"' || c == '\\') {
            fputc('\\', out);
            fputc(c, out);
        } else if (c < 0x20 || c == 0x7f) {
            fprintf(out, "\\u%04x", c);
        } else {
            fputc(c, out);
        }
    }
}

static void put_key(struct json *json, const char *key, const char *suffix) {
    if (json->needs_comma) {
        fputc(',', json->out);
    }
    json->needs_comma = true;
    if (key != NULL) {
        fputc('"', json->out);
        put_escaped(json->out, (const unsigned char *)key, strlen(key));
        fprintf(json->out, "%s\":", suffix);
    }
}

void json_open(struct json *json, const char *key, char bracket) {
    put_key(json, key, "");
    fputc(bracket, json->out);
    json->needs_comma = false;
}

void json_close(struct json *json, char bracket) {
    fputc(bracket, json->out);
    json->needs_comma = true;
}

void json_number(struct json *json, const char *key, uint64_t value) {
    put_key(json, key, "");
    fprintf(json->out, "%" PRIu64, value);
}

void json_real(struct json *json, const char *key, double value) {
    put_key(json, key, "");
    fprintf(json->out, "%.3f", value);
}

void json_bool(struct json *json, const char *key, bool value) {
    put_key(json, key, "");
    fputs(value ? "true" : "false", json->out);
}

/* Bytes of the well-formed UTF-8 sequence at `s` (Unicode, table 3-7); 0: none. */
static size_t utf8_length(const unsigned char *s, size_t size) {
    if (s[0] < 0x80) {
        return 1;
    }
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || length > size) {
        return 0;
    }
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < length; i++) {
        if (s[i] < low || s[i] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

static bool is_utf8(const unsigned char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        size_t length = utf8_length(text + i, size - i);
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}

static void put_base64(FILE *out, const unsigned char *data, size_t size) {
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t bits = (uint32_t)data[i] << 16;
        bits |= left > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)data[i + 2] : 0;
        fputc(digits[bits >> 18], out);
        fputc(digits[bits >> 12 & 63], out);
        fputc(left > 1 ? digits[bits >> 6 & 63] : '=', out);
        fputc(left > 2 ? digits[bits & 63] : '=', out);
    }
}

void json_bytes(struct json *json, const char *key, const void *data, size_t size) {
    bool is_text = is_utf8(data, size);
    put_key(json, key, is_text ? "" : "_base64");
    fputc('"', json->out);
    if (is_text) {
        put_escaped(json->out, data, size);
    } else {
        put_base64(json->out, data, size);
    }
    fputc('"', json->out);
}

void json_text(struct json *json, const char *key, const char *text) {
    json_bytes(json, key, text, strlen(text));
}

void json_id(struct json *json, const char *key, uint64_t id) {
    put_key(json, key, "");
    fprintf(json->out, "\"%016" PRIx64 "\"", id);
}

void json_line(struct json *json) {
    fputc('\n', json->out);
    json->needs_comma = false;
}
