/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes JSON to a stream, one value at a time; commas come by themselves. `key` is NULL
 * in arrays and at the top. A whole value ends with json_line, so that several make
 * lines.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *out;
    bool needs_comma;
};

void json_open(struct json *json, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *json, char bracket);                 /* '}' or ']' */
void json_number(struct json *json, const char *key, uint64_t value);
void json_real(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);
void json_text(struct json *json, const char *key, const char *text);
/* Bytes that are UTF-8 as text; others in base 64 under the key with "_base64" behind. */
void json_bytes(struct json *json, const char *key, const void *data, size_t size);
void json_id(struct json *json, const char *key, uint64_t id); /* 16 hexadecimal digits */
void json_line(struct json *json);                             /* ends the value */

#endif
