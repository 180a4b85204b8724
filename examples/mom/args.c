/* SPDX-License-Identifier: Apache-2.0 */
/* The command line as options and words, and values as numbers and times. */
#include "args.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct option_spec {
    const char *name;
    char letter;
    bool has_value;
};
static const struct option_spec specs[] = {
#define OPTION_SPEC(id, name, letter, has_value) {name, letter, has_value},
    OPTION_MAP(OPTION_SPEC)
#undef OPTION_SPEC
};

const char *option_name(enum option_id id) { return specs[id].name; }

static enum option_id find_long(const char *name, size_t len) {
    for (int i = 0; i < OPT_END; i++) {
        if (strlen(specs[i].name) == len && memcmp(specs[i].name, name, len) == 0) {
            return (enum option_id)i;
        }
    }
    return OPT_END;
}

static enum option_id find_short(char letter) {
    for (int i = 0; i < OPT_END; i++) {
        if (specs[i].letter != 0 && specs[i].letter == letter) {
            return (enum option_id)i;
        }
    }
    return OPT_END;
}

static bool fail(struct args *args, const char *format, const char *what) {
    snprintf(args->problem, sizeof args->problem, format, what);
    return false;
}

/* Takes the option at argv[*at] and moves `at` to its last part. */
static bool take_option(struct args *args, int argc, char **argv, int *at) {
    const char *text = argv[*at];
    const char *inline_value = NULL;
    enum option_id id = OPT_END;
    if (text[1] == '-') {
        const char *equals = strchr(text, '=');
        size_t len = equals != NULL ? (size_t)(equals - text) - 2 : strlen(text) - 2;
        inline_value = equals != NULL ? equals + 1 : NULL;
        id = find_long(text + 2, len);
    } else if (text[2] == 0) {
        id = find_short(text[1]);
    }
    if (id == OPT_END) {
        return fail(args, "unknown option %s", text);
    }
    if (!specs[id].has_value && inline_value != NULL) {
        return fail(args, "--%s takes no value", specs[id].name);
    }
    if (specs[id].has_value && inline_value == NULL) {
        if (*at + 1 >= argc) {
            return fail(args, "--%s needs a value", specs[id].name);
        }
        *at += 1;
        inline_value = argv[*at];
    }
    args->given[args->given_count++] =
        (struct args_given){.id = id, .value = inline_value};
    return true;
}

bool args_parse(struct args *args, int argc, char **argv) {
    *args = (struct args){0};
    args->given = calloc((size_t)argc + 1, sizeof *args->given);
    args->words = calloc((size_t)argc + 1, sizeof *args->words);
    if (args->given == NULL || args->words == NULL) {
        return fail(args, "%s", "out of memory");
    }
    bool options_end = false;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        if (!options_end && strcmp(text, "--") == 0) {
            options_end = true;
        } else if (!options_end && text[0] == '-' && text[1] != 0) {
            if (!take_option(args, argc, argv, &i)) {
                return false;
            }
        } else {
            args->words[args->words_count++] = text;
        }
    }
    return true;
}

void args_free(struct args *args) {
    free(args->given);
    free(args->words);
    *args = (struct args){0};
}

void args_shift(struct args *args) {
    args->words_count--;
    memmove(args->words, args->words + 1, args->words_count * sizeof *args->words);
    args->words[args->words_count] = NULL;
}

const char *args_value_at(const struct args *args, enum option_id id, size_t index) {
    for (size_t i = 0; i < args->given_count; i++) {
        if (args->given[i].id == id && index-- == 0) {
            return args->given[i].value;
        }
    }
    return NULL;
}

const char *args_value(const struct args *args, enum option_id id) {
    const char *value = NULL;
    for (size_t i = 0; i < args->given_count; i++) {
        value = args->given[i].id == id ? args->given[i].value : value;
    }
    return value;
}

bool args_has(const struct args *args, enum option_id id) {
    for (size_t i = 0; i < args->given_count; i++) {
        if (args->given[i].id == id) {
            return true;
        }
    }
    return false;
}

bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number) {
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != 0 || value < min || value > max) {
        return false;
    }
    *number = value;
    return true;
}

bool parse_seconds(const char *text, int *ms) {
    if (text == NULL || ((text[0] < '0' || text[0] > '9') && text[0] != '.')) {
        return false;
    }
    char *end = NULL;
    double seconds = strtod(text, &end);
    /* Written this way round, it also refuses what is not a number. */
    if (*end != 0 || !(seconds >= 0 && seconds <= INT_MAX / 1000)) {
        return false;
    }
    *ms = (int)(seconds * 1000);
    return true;
}

static bool parse_ago(const char *text, uint64_t *us) {
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end = NULL;
    errno = 0;
    long long count = strtoll(text, &end, 10);
    if (errno != 0 || end == text || end[0] == 0 || end[1] != 0 || count < 0 ||
        count > 1000000000) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (units[i].letter == *end) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            int64_t seconds = (int64_t)now.tv_sec - count * units[i].seconds;
            *us = seconds < 0 ? 0 : (uint64_t)seconds * 1000000;
            return true;
        }
    }
    return false;
}

bool parse_moment(const char *text, uint64_t *us) {
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M",
                                          "%Y-%m-%d"};
    if (text[0] == '-') {
        return parse_ago(text + 1, us);
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *end = strptime(text, formats[i], &tm);
        if (end == NULL || (*end != 0 && strcmp(end, "Z") != 0)) {
            continue;
        }
        time_t seconds = *end == 'Z' ? timegm(&tm) : mktime(&tm);
        if (seconds < 0) {
            return false;
        }
        *us = (uint64_t)seconds * 1000000;
        return true;
    }
    return false;
}
