/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings and their numbers: an open table of numbers over one list of strings. Strings
 * are few (names, keys, filters) and stay until the end.
 */
#include "check/history.h"
#include "check/memory.h"

#include <string.h>

struct check_names {
    char **texts;
    uint32_t count, room;
    uint32_t *table; /* number + 1; 0: free. A power of two, less than half full */
    uint32_t table_size;
};

static uint64_t hash_of(const char *text, size_t size) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    }
    return hash ^ (hash >> 29);
}

/* Where the string is, or would be. */
static uint32_t *place(const struct check_names *names, const char *text, size_t size) {
    uint32_t mask = names->table_size - 1;
    uint32_t at = (uint32_t)hash_of(text, size) & mask;
    while (names->table[at] != 0) {
        const char *other = names->texts[names->table[at] - 1];
        if (strncmp(other, text, size) == 0 && other[size] == 0) {
            break;
        }
        at = (at + 1) & mask;
    }
    return &names->table[at];
}

static void grow_table(struct check_names *names) {
    check_free(names->table);
    names->table_size = names->table_size == 0 ? 64 : names->table_size * 2;
    names->table = check_calloc(names->table_size, sizeof *names->table);
    for (uint32_t i = 0; i < names->count; i++) {
        *place(names, names->texts[i], strlen(names->texts[i])) = i + 1;
    }
}

struct check_names *check_names_new(void) {
    struct check_names *names = check_calloc(1, sizeof *names);
    grow_table(names);
    (void)check_name(names, "", 0);
    return names;
}

void check_names_free(struct check_names *names) {
    if (names == NULL) {
        return;
    }
    for (uint32_t i = 0; i < names->count; i++) {
        check_free(names->texts[i]);
    }
    check_free(names->texts);
    check_free(names->table);
    check_free(names);
}

uint32_t check_name(struct check_names *names, const char *text, size_t size) {
    uint32_t *found = place(names, text, size);
    if (*found != 0) {
        return *found - 1;
    }
    names->texts =
        check_grow(names->texts, names->count, &names->room, sizeof *names->texts);
    char *copy = check_calloc(size + 1, 1);
    memcpy(copy, text, size);
    names->texts[names->count++] = copy;
    *found = names->count;
    if (names->count * 2 > names->table_size) {
        grow_table(names);
    }
    return names->count - 1;
}

uint32_t check_name_str(struct check_names *names, const char *text) {
    return check_name(names, text, strlen(text));
}

const char *check_name_text(const struct check_names *names, uint32_t name) {
    return name < names->count ? names->texts[name] : "?";
}

uint32_t check_names_count(const struct check_names *names) { return names->count; }
