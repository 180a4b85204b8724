/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histories in memory and from files, and their merging by time.
 */
#include "check/history.h"

#include "check/memory.h"

#include <stdlib.h>
#include <string.h>

void check_history_init(struct check_history *history) {
    *history = (struct check_history){.names = check_names_new()};
}

void check_history_free(struct check_history *history) {
    for (size_t i = 0; i < history->files_count; i++) {
        check_free(history->files[i]);
    }
    check_free(history->files);
    check_free(history->records);
    check_names_free(history->names);
    *history = (struct check_history){.count = 0};
}

void check_history_add(struct check_history *history, const struct check_record *record) {
    if (history->count == history->room) {
        history->room = history->room == 0 ? 1024 : history->room * 2;
        history->records =
            check_realloc(history->records, history->room * sizeof *history->records);
    }
    history->records[history->count++] = *record;
}

/* --- files ------------------------------------------------------------------------ */

static char *read_all(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    size_t room = 1 << 16;
    char *data = check_calloc(room, 1);
    size_t got;
    *size = 0;
    while ((got = fread(data + *size, 1, room - *size, file)) > 0) {
        *size += got;
        if (*size == room) {
            room *= 2;
            data = check_realloc(data, room);
        }
    }
    if (ferror(file) != 0) {
        check_free(data);
        data = NULL;
    }
    (void)fclose(file); /* it was only read */
    return data;
}

static void add_file(struct check_history *history, const char *path) {
    history->files = check_realloc(history->files,
                                   (history->files_count + 1) * sizeof *history->files);
    char *copy = check_calloc(strlen(path) + 1, 1);
    memcpy(copy, path, strlen(path));
    history->files[history->files_count++] = copy;
}

/* What is wrong with the line that begins at `line`; NULL: nothing. */
static const char *add_line(struct check_history *history, const char *line, size_t size,
                            uint32_t number, uint64_t *last_ns) {
    struct check_record record;
    const char *why = NULL;
    int found = check_read(history->names, line, size, &record, &why);
    if (found < 0) {
        return why;
    }
    if (found == 0) {
        return NULL;
    }
    if (record.time_ns < *last_ns) {
        return "time went back";
    }
    *last_ns = record.time_ns;
    record.file = (uint16_t)(history->files_count - 1);
    record.line = number;
    check_history_add(history, &record);
    return NULL;
}

bool check_history_load(struct check_history *history, const char *path,
                        FILE *complaints) {
    if (history->files_count == UINT16_MAX) {
        fprintf(complaints, "%s: more than %d files\n", path, UINT16_MAX);
        return false;
    }
    size_t size;
    char *data = read_all(path, &size);
    if (data == NULL) {
        fprintf(complaints, "%s: cannot be read\n", path);
        return false;
    }
    add_file(history, path);
    uint64_t last_ns = 0;
    uint32_t number = 0;
    const char *why = NULL;
    for (size_t at = 0; at < size && why == NULL;) {
        const char *end = memchr(data + at, '\n', size - at);
        if (end == NULL) {
            history->torn++;
            break;
        }
        size_t length = (size_t)(end - data) - at;
        why = add_line(history, data + at, length, ++number, &last_ns);
        if (why != NULL) {
            fprintf(complaints, "%s:%u: %s: %.*s\n", path, (unsigned)number, why,
                    (int)(length < 200 ? length : 200), data + at);
        }
        at += length + 1;
    }
    check_free(data);
    return why == NULL;
}

/* --- merging ---------------------------------------------------------------------- */

/* One file's records that were not taken yet. */
struct head {
    const struct check_record *next, *end;
};

/* Calls first: then what took the same nanosecond is taken for concurrent. */
static bool comes_before(const struct head *a, const struct head *b) {
    if (a->next->time_ns != b->next->time_ns) {
        return a->next->time_ns < b->next->time_ns;
    }
    bool a_calls = a->next->phase == CHECK_CALL;
    bool b_calls = b->next->phase == CHECK_CALL;
    return a_calls != b_calls ? a_calls : a->next->file < b->next->file;
}

static void sift_down(struct head *heads, size_t count, size_t at) {
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            if (comes_before(&heads[child], &heads[least])) {
                least = child;
            }
        }
        if (least == at) {
            return;
        }
        struct head moved = heads[at];
        heads[at] = heads[least];
        heads[least] = moved;
        at = least;
    }
}

/* The records lie file by file. */
static size_t find_heads(const struct check_history *history, struct head *heads) {
    size_t count = 0;
    for (size_t i = 0; i < history->count; i++) {
        const struct check_record *record = &history->records[i];
        if (i == 0 || record->file != record[-1].file) {
            heads[count++].next = record;
        }
        heads[count - 1].end = record + 1;
    }
    return count;
}

void check_history_merge(struct check_history *history) {
    struct head *heads = check_calloc(history->files_count + 1, sizeof *heads);
    size_t heads_count = find_heads(history, heads);
    struct check_record *merged = check_calloc(history->count, sizeof *merged);
    for (size_t i = heads_count; i-- > 0;) {
        sift_down(heads, heads_count, i);
    }
    for (size_t i = 0; heads_count > 0; i++) {
        merged[i] = *heads[0].next++;
        if (heads[0].next == heads[0].end) {
            heads[0] = heads[--heads_count];
        }
        sift_down(heads, heads_count, 0);
    }
    check_free(heads);
    check_free(history->records);
    history->records = merged;
    history->room = history->count;
}
