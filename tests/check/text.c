/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as lines (history.h), both ways: one pass over the line and no copies, since
 * there may be a million of them.
 */
#include "check/history.h"

#include <mom/error.h>
#include <string.h>

static const char *const kinds[] = {
#define KIND(upper, lower) #lower,
    CHECK_KIND_MAP(KIND)
#undef KIND
};
static const char *const phases[] = {"call", "done", "saw"};
static const struct {
    const char *name;
    int16_t result;
} results[] = {{"OK", MOM_OK},
#define RESULT(name, number, text, advice) {#name, -(number)},
               MOM_ERROR_MAP(RESULT)
#undef RESULT
};
enum { RESULTS = sizeof results / sizeof results[0] };

enum shape { IS_U64, IS_U32, IS_HEX, IS_NAME, IS_FLAG, IS_RESULT, IS_FROM };

/* Number, name in the line, how it is written, member of the record. */
#define FIELD_MAP(X)                                                                     \
    X(OP, "op", IS_U64, op)                                                              \
    X(STREAM, "stream", IS_NAME, stream)                                                 \
    X(SUB, "sub", IS_NAME, subscription)                                                 \
    X(CONSUMER, "consumer", IS_U64, consumer)                                            \
    X(PUB, "pub", IS_U32, publisher)                                                     \
    X(MSG, "msg", IS_U32, message)                                                       \
    X(RESULT, "result", IS_RESULT, result)                                               \
    X(SEQ, "seq", IS_U64, sequence)                                                      \
    X(KEY, "key", IS_NAME, key)                                                          \
    X(LIFE, "life", IS_U32, life)                                                        \
    X(DIGEST, "digest", IS_HEX, digest)                                                  \
    X(N, "n", IS_U32, deliveries)                                                        \
    X(RE, "re", IS_FLAG, is_redelivered)                                                 \
    X(TOKEN, "token", IS_U64, token)                                                     \
    X(NEXT, "next", IS_U64, sequence)                                                    \
    X(LEASE_MS, "lease_ms", IS_U64, value)                                               \
    X(DELIVERIES, "deliveries", IS_U32, deliveries)                                      \
    X(IF_MISSING, "if_missing", IS_FLAG, if_missing)                                     \
    X(FILTER, "filter", IS_NAME, filter)                                                 \
    X(FROM, "from", IS_FROM, from)                                                       \
    X(SHARD, "shard", IS_U32, life)                                                      \
    X(INDEX, "index", IS_U64, value)                                                     \
    X(HASH, "hash", IS_HEX, digest)                                                      \
    X(OF, "of", IS_U64, value)                                                           \
    X(WHAT, "what", IS_NAME, key)

enum field {
#define NUMBER(number, name, shape, member) FIELD_##number,
    FIELD_MAP(NUMBER)
#undef NUMBER
        FIELDS
};

static const struct {
    const char *name;
    size_t size;
    enum shape shape;
    size_t offset;
} fields[] = {
#define FIELD(number, name, shape, member)                                               \
    {name, sizeof name - 1, shape, offsetof(struct check_record, member)},
    FIELD_MAP(FIELD)
#undef FIELD
};

/* What a kind may say, and what it must. */
struct form {
    uint32_t may, must;
};
#define F(number)  (1u << FIELD_##number)
#define OP_STREAM  (F(OP) | F(STREAM))
#define TO_READER  (F(STREAM) | F(SUB) | F(CONSUMER))
#define TO_MESSAGE (TO_READER | F(PUB) | F(MSG) | F(TOKEN))
#define CAME       (TO_MESSAGE | F(SEQ) | F(KEY) | F(DIGEST) | F(N) | F(RE))
#define WHICH      (F(STREAM) | F(PUB) | F(MSG))

static const struct form first_forms[] = {
    [CHECK_CREATE] = {OP_STREAM | F(LEASE_MS) | F(DELIVERIES) | F(IF_MISSING), OP_STREAM},
    [CHECK_DELETE] = {OP_STREAM, OP_STREAM},
    [CHECK_SUBSCRIBE] = {OP_STREAM | F(SUB) | F(FILTER) | F(FROM) | F(IF_MISSING),
                         OP_STREAM | F(SUB)},
    [CHECK_UNSUBSCRIBE] = {OP_STREAM | F(SUB), OP_STREAM | F(SUB)},
    [CHECK_DESCRIBE] = {OP_STREAM, OP_STREAM},
    [CHECK_PURGE] = {OP_STREAM, OP_STREAM},
    [CHECK_PUBLISH] = {F(OP) | WHICH | F(KEY) | F(LIFE) | F(DIGEST), F(OP) | WHICH},
    [CHECK_OPEN] = {F(OP) | TO_READER, OP_STREAM},
    [CHECK_CLOSE] = {F(OP) | TO_READER, OP_STREAM},
    [CHECK_ACK] = {F(OP) | TO_MESSAGE, F(OP) | WHICH},
    [CHECK_NACK] = {F(OP) | TO_MESSAGE, F(OP) | WHICH},
    [CHECK_REJECT] = {F(OP) | TO_MESSAGE, F(OP) | WHICH},
    [CHECK_EXTEND] = {F(OP) | TO_MESSAGE, F(OP) | WHICH},
    [CHECK_ARRIVE] = {CAME, WHICH},
    [CHECK_DELIVER] = {CAME, WHICH},
    [CHECK_END] = {TO_READER | F(RESULT), F(STREAM)},
    [CHECK_HASH] = {F(SHARD) | F(INDEX) | F(HASH), F(SHARD) | F(INDEX) | F(HASH)},
    [CHECK_DEATH] = {F(OF), F(OF)},
    [CHECK_FAULT] = {F(OP) | F(WHAT), F(OP)},
    [CHECK_DRAINED] = {F(STREAM) | F(SUB), F(STREAM)},
    [CHECK_ABANDONED] = {F(STREAM) | F(SUB), F(STREAM)},
};

static bool is_instant(enum check_kind kind) {
    return kind == CHECK_ARRIVE || kind == CHECK_DELIVER || kind == CHECK_END ||
           kind == CHECK_HASH || kind == CHECK_DEATH || kind == CHECK_DRAINED ||
           kind == CHECK_ABANDONED;
}

/* may == 0: there is no such record. */
static struct form form_of(enum check_kind kind, enum check_phase phase) {
    if ((phase == CHECK_SAW) != is_instant(kind)) {
        return (struct form){.may = 0};
    }
    if (phase != CHECK_DONE) {
        return first_forms[kind];
    }
    struct form form = {F(OP) | F(RESULT), F(OP) | F(RESULT)};
    form.may |= kind == CHECK_PUBLISH ? F(SEQ) : kind == CHECK_DESCRIBE ? F(NEXT) : 0;
    return kind == CHECK_FAULT ? (struct form){F(OP), F(OP)} : form;
}

const char *check_kind_name(enum check_kind kind) { return kinds[kind]; }

const char *check_result_name(int16_t result) {
    for (size_t i = 0; i < RESULTS; i++) {
        if (results[i].result == result) {
            return results[i].name;
        }
    }
    return "?";
}

/* --- writing ---------------------------------------------------------------------- */

/* Text that grows in a line, and stays within it. */
struct out {
    char *line;
    size_t size;
};

static void put_char(struct out *out, char c) {
    if (out->size + 2 < CHECK_LINE_MAX) { /* the end of the line, and the zero */
        out->line[out->size++] = c;
    }
}

static void put_text(struct out *out, const char *text) {
    for (; *text != 0; text++) {
        put_char(out, *text);
    }
}

static void put_number(struct out *out, uint64_t number, unsigned base) {
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    while (count > 0) {
        put_char(out, digits[--count]);
    }
}

static bool is_plain(char c) { return (uint8_t)c > ' ' && c != '%' && c != 127; }

static void put_name(struct out *out, const char *text) {
    for (; *text != 0; text++) {
        if (is_plain(*text)) {
            put_char(out, *text);
        } else if (out->size + 5 < CHECK_LINE_MAX) {
            put_char(out, '%');
            put_char(out, "0123456789abcdef"[(uint8_t)*text >> 4]);
            put_char(out, "0123456789abcdef"[(uint8_t)*text & 15]);
        }
    }
}

static uint64_t member_of(const struct check_record *record, enum field field) {
    const char *member = (const char *)record + fields[field].offset;
    uint64_t wide;
    uint32_t narrow;
    int16_t result;
    switch (fields[field].shape) {
    case IS_U64:
    case IS_HEX:
        memcpy(&wide, member, sizeof wide);
        return wide;
    case IS_U32:
    case IS_NAME:
        memcpy(&narrow, member, sizeof narrow);
        return narrow;
    case IS_RESULT:
        memcpy(&result, member, sizeof result);
        return (uint64_t)(int64_t)result;
    case IS_FLAG:
    case IS_FROM:
        break;
    }
    return *(const uint8_t *)member;
}

static void put_value(struct out *out, const struct check_names *names, enum field field,
                      uint64_t value) {
    switch (fields[field].shape) {
    case IS_U64:
    case IS_U32:
    case IS_FLAG:
        put_number(out, value, 10);
        break;
    case IS_HEX:
        put_number(out, value, 16);
        break;
    case IS_NAME:
        put_name(out, check_name_text(names, (uint32_t)value));
        break;
    case IS_RESULT:
        put_text(out, check_result_name((int16_t)(int64_t)value));
        break;
    case IS_FROM:
        put_text(out, value == CHECK_FROM_FIRST ? "first" : "new");
        break;
    }
}

size_t check_write(const struct check_names *names, const struct check_record *record,
                   char line[CHECK_LINE_MAX]) {
    struct out out = {.line = line};
    struct form form =
        form_of((enum check_kind)record->kind, (enum check_phase)record->phase);
    put_number(&out, record->time_ns, 10);
    put_char(&out, ' ');
    put_number(&out, record->process, 10);
    put_char(&out, ' ');
    put_text(&out, phases[record->phase]);
    put_char(&out, ' ');
    put_text(&out, kinds[record->kind]);
    for (int i = 0; i < FIELDS; i++) {
        uint64_t value = member_of(record, (enum field)i);
        uint32_t bit = 1u << i;
        if ((form.must & bit) == 0 && ((form.may & bit) == 0 || value == 0)) {
            continue;
        }
        put_char(&out, ' ');
        put_text(&out, fields[i].name);
        put_char(&out, '=');
        put_value(&out, names, (enum field)i, value);
    }
    line[out.size++] = '\n';
    line[out.size] = 0;
    return out.size;
}

/* --- reading ---------------------------------------------------------------------- */

struct word {
    const char *text;
    size_t size;
};

/* Takes the next word off the line; empty at its end. */
static struct word next_word(const char **line, const char *end) {
    const char *at = *line;
    while (at < end && *at == ' ') {
        at++;
    }
    struct word word = {.text = at};
    while (at < end && *at != ' ') {
        at++;
    }
    word.size = (size_t)(at - word.text);
    *line = at;
    return word;
}

static bool is_word(struct word word, const char *text) {
    return strlen(text) == word.size && memcmp(word.text, text, word.size) == 0;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_number(struct word word, unsigned base, uint64_t max, uint64_t *number) {
    uint64_t value = 0;
    for (size_t i = 0; i < word.size; i++) {
        int digit = digit_of(word.text[i]);
        if (digit < 0 || (unsigned)digit >= base || (unsigned)digit > max ||
            value > (max - (unsigned)digit) / base) {
            return false;
        }
        value = value * base + (unsigned)digit;
    }
    *number = value;
    return word.size > 0;
}

static bool read_name(struct check_names *names, struct word word, uint64_t *name) {
    char text[CHECK_LINE_MAX];
    size_t size = 0;
    for (size_t i = 0; i < word.size && size < sizeof text; i++) {
        char c = word.text[i];
        if (c == '%') {
            struct word code = {.text = word.text + i + 1, .size = 2};
            uint64_t byte;
            if (word.size - i < 3 || !read_number(code, 16, 255, &byte)) {
                return false;
            }
            c = (char)(uint8_t)byte;
            i += 2;
        }
        if (c == 0) {
            return false;
        }
        text[size++] = c;
    }
    *name = check_name(names, text, size);
    return true;
}

static bool read_result(struct word word, uint64_t *result) {
    for (size_t i = 0; i < RESULTS; i++) {
        if (is_word(word, results[i].name)) {
            *result = (uint64_t)(int64_t)results[i].result;
            return true;
        }
    }
    return false;
}

static bool read_value(struct check_names *names, enum shape shape, struct word word,
                       uint64_t *value) {
    switch (shape) {
    case IS_U64:
        return read_number(word, 10, UINT64_MAX, value);
    case IS_U32:
        return read_number(word, 10, UINT32_MAX, value);
    case IS_HEX:
        return read_number(word, 16, UINT64_MAX, value);
    case IS_FLAG:
        return read_number(word, 10, 1, value);
    case IS_NAME:
        return read_name(names, word, value);
    case IS_RESULT:
        return read_result(word, value);
    case IS_FROM:
        break;
    }
    *value = is_word(word, "first") ? CHECK_FROM_FIRST : CHECK_FROM_NEW;
    return *value == CHECK_FROM_FIRST || is_word(word, "new");
}

static void set_member(struct check_record *record, enum field field, uint64_t value) {
    char *member = (char *)record + fields[field].offset;
    uint32_t narrow = (uint32_t)value;
    int16_t result = (int16_t)(int64_t)value;
    uint8_t byte = (uint8_t)value;
    bool flag = value != 0;
    switch (fields[field].shape) {
    case IS_U64:
    case IS_HEX:
        memcpy(member, &value, sizeof value);
        break;
    case IS_U32:
    case IS_NAME:
        memcpy(member, &narrow, sizeof narrow);
        break;
    case IS_RESULT:
        memcpy(member, &result, sizeof result);
        break;
    case IS_FLAG:
        memcpy(member, &flag, sizeof flag);
        break;
    case IS_FROM:
        memcpy(member, &byte, sizeof byte);
        break;
    }
}

/* One FIELD=VALUE; NULL: fine. */
static const char *read_field(struct check_names *names, struct word word,
                              struct check_record *record, struct form form,
                              uint32_t *seen) {
    const char *equals = memchr(word.text, '=', word.size);
    if (equals == NULL) {
        return "a word that is no FIELD=VALUE";
    }
    struct word name = {.text = word.text, .size = (size_t)(equals - word.text)};
    struct word text = {.text = equals + 1, .size = word.size - name.size - 1};
    for (int i = 0; i < FIELDS; i++) {
        if (fields[i].size != name.size ||
            memcmp(fields[i].name, name.text, name.size) != 0) {
            continue;
        }
        uint64_t value;
        if ((form.may & 1u << i) == 0) {
            return "a field that this record does not have";
        }
        if ((*seen & 1u << i) != 0) {
            return "a field twice";
        }
        if (!read_value(names, fields[i].shape, text, &value)) {
            return "a value that cannot be read";
        }
        *seen |= 1u << i;
        set_member(record, (enum field)i, value);
        return NULL;
    }
    return "an unknown field";
}

/* The number of a word in a list; `count`: it is not there. */
static size_t find(const char *const *list, size_t count, struct word word) {
    size_t i = 0;
    while (i < count && !is_word(word, list[i])) {
        i++;
    }
    return i;
}

/* TIME PROCESS PHASE KIND; NULL: fine. */
static const char *read_head(const char **line, const char *end,
                             struct check_record *record) {
    uint64_t process;
    if (!read_number(next_word(line, end), 10, UINT64_MAX, &record->time_ns)) {
        return "no time";
    }
    if (!read_number(next_word(line, end), 10, UINT32_MAX, &process) || process == 0) {
        return "no process";
    }
    record->process = (uint32_t)process;
    record->phase = (uint8_t)find(phases, 3, next_word(line, end));
    record->kind = (uint8_t)find(kinds, CHECK_KINDS_COUNT, next_word(line, end));
    if (record->phase == 3) {
        return "an unknown phase";
    }
    return record->kind == CHECK_KINDS_COUNT ? "an unknown kind" : NULL;
}

int check_read(struct check_names *names, const char *line, size_t size,
               struct check_record *record, const char **why) {
    const char *end = line + size;
    const char *at = line;
    struct word first = next_word(&at, end);
    if (first.size == 0 || first.text[0] == '#') {
        return 0;
    }
    *record = (struct check_record){0};
    *why = read_head(&line, end, record);
    if (*why != NULL) {
        return -1;
    }
    struct form form =
        form_of((enum check_kind)record->kind, (enum check_phase)record->phase);
    uint32_t seen = 0;
    *why = form.may == 0 ? "a kind that has no such phase" : NULL;
    for (struct word word = next_word(&line, end); *why == NULL && word.size > 0;
         word = next_word(&line, end)) {
        *why = read_field(names, word, record, form, &seen);
    }
    if (*why == NULL && (seen & form.must) != form.must) {
        *why = "a field is missing";
    }
    return *why == NULL ? 1 : -1;
}
