/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line as options and words. Options may stand anywhere; `--` ends them.
 * Values are borrowed from argv.
 */
#ifndef ARGS_H
#define ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* identifier, long name without dashes, short letter or 0, takes a value */
#define OPTION_MAP(X)                                                                    \
    X(PEER, "peer", 0, true)                                                             \
    X(DATA, "data", 0, true)                                                             \
    X(TIMEOUT, "timeout", 0, true)                                                       \
    X(JSON, "json", 0, false)                                                            \
    X(HELP, "help", 'h', false)                                                          \
    X(VERSION, "version", 0, false)                                                      \
    X(LISTEN, "listen", 0, true)                                                         \
    X(ADVERTISE, "advertise", 0, true)                                                   \
    X(JOIN, "join", 0, true)                                                             \
    X(FORM, "form", 0, true)                                                             \
    X(NAME, "name", 0, true)                                                             \
    X(COPIES, "copies", 0, true)                                                         \
    X(SHARDS, "shards", 0, true)                                                         \
    X(MEMORY, "memory", 0, false)                                                        \
    X(LOG, "log", 0, true)                                                               \
    X(WATCH, "watch", 0, false)                                                          \
    X(SET, "set", 0, true)                                                               \
    X(IF_MISSING, "if-missing", 0, false)                                                \
    X(OWN, "own", 0, false)                                                              \
    X(CREATE, "create", 0, false)                                                        \
    X(ZERO, "zero", '0', false)                                                          \
    X(RAW, "raw", 0, false)                                                              \
    X(FILE, "file", 0, true)                                                             \
    X(KEY, "key", 0, true)                                                               \
    X(HEADER, "header", 0, true)                                                         \
    X(COUNT, "count", 0, true)                                                           \
    X(WAIT, "wait", 0, true)                                                             \
    X(OUTPUT, "output", 0, true)                                                         \
    X(AS, "as", 0, true)                                                                 \
    X(FILTER, "filter", 0, true)                                                         \
    X(FROM, "from", 0, true)                                                             \
    X(IGNORE_OWN, "ignore-own", 0, false)                                                \
    X(SIZE, "size", 0, true)                                                             \
    X(IN_FLIGHT, "in-flight", 0, true)                                                   \
    X(QUEUE, "queue", 0, true)

enum option_id {
#define OPTION_ENUM(id, name, letter, has_value) OPT_##id,
    OPTION_MAP(OPTION_ENUM)
#undef OPTION_ENUM
        OPT_END
};
#define OPT_BIT(id) (UINT64_C(1) << OPT_##id)
#define OPTIONS_GLOBAL                                                                   \
    (OPT_BIT(PEER) | OPT_BIT(DATA) | OPT_BIT(TIMEOUT) | OPT_BIT(JSON) | OPT_BIT(HELP) |  \
     OPT_BIT(VERSION))

struct args {
    struct args_given {
        enum option_id id;
        const char *value; /* NULL: takes none */
    } * given;             /* owned, in the order of the command line */
    size_t given_count;
    const char **words; /* owned */
    size_t words_count;
    char problem[160]; /* why args_parse failed */
};

/* False: `problem` says why. Free with args_free in either case. */
bool args_parse(struct args *args, int argc, char **argv);
void args_free(struct args *args);
/* Takes the first word away. */
void args_shift(struct args *args);

const char *option_name(enum option_id id);
bool args_has(const struct args *args, enum option_id id);
/* The last value given; NULL: none. */
const char *args_value(const struct args *args, enum option_id id);
/* Value `index` of an option that may be repeated; NULL beyond the last. */
const char *args_value_at(const struct args *args, enum option_id id, size_t index);

/* A whole number within the bounds. False: it is none. */
bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);
/* Seconds, with a fraction if need be, as milliseconds. False: it is none. */
bool parse_seconds(const char *text, int *ms);
/* A moment: 2026-01-31, 2026-01-31T12:00, 2026-01-31T12:00:30Z (without Z: local time),
 * or
 * "-90s", "-10m", "-2h", "-1d": so long ago; microseconds since 1970. */
bool parse_moment(const char *text, uint64_t *us);

#endif
