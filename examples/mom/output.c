/* SPDX-License-Identifier: Apache-2.0 */
/* Errors with what to do next, and progress. */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"

enum { TEXT_BYTES = 1024, PROGRESS_EVERY_US = 200 * 1000 };

int fail_text(const struct cli *cli, int error, const char *detail, const char *next) {
    int status = error == 0 ? EXIT_OWN : -error;
    const char *name = error == 0 ? "FAILED" : mom_err_name(error);
    fflush(stdout);
    if (cli->json) {
        struct json json = {.out = stderr};
        json_open(&json, NULL, '{');
        json_text(&json, "error", name);
        json_number(&json, "code", (uint64_t)status);
        json_text(&json, "detail", detail);
        json_text(&json, "next", next);
        json_close(&json, '}');
        json_line(&json);
    } else {
        fprintf(stderr, "mom: %s: %s%s%s\n", name, detail, next[0] != 0 ? "; " : "",
                next);
    }
    return status;
}

int fail_mom(const struct cli *cli, int error, const char *what, const char *next) {
    char detail[TEXT_BYTES];
    const char *text = mom_last_error_text();
    snprintf(detail, sizeof detail, "%s%s%s", what, what[0] != 0 ? ": " : "",
             text[0] != 0 ? text : mom_strerror(error));
    return fail_text(cli, error, detail, next != NULL ? next : mom_err_advice(error));
}

int fail_usage(const struct cli *cli, const char *format, ...) {
    char detail[TEXT_BYTES];
    char next[TEXT_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(detail, sizeof detail, format, list);
    va_end(list);
    if (cli->command == NULL) {
        snprintf(next, sizeof next, "`mom help` shows what there is");
    } else {
        snprintf(next, sizeof next, "usage: mom %s%s%s %s", cli->command->noun,
                 cli->command->verb != NULL ? " " : "",
                 cli->command->verb != NULL ? cli->command->verb : "",
                 cli->command->usage);
    }
    return fail_text(cli, MOM_INVALID, detail, next);
}

int fail_own(const struct cli *cli, const char *what, const char *name) {
    char detail[TEXT_BYTES];
    snprintf(detail, sizeof detail, "%s %s: %s", what, name, strerror(errno));
    return fail_text(cli, 0, detail, "");
}

const char *shell_word(const char *word, char *text, size_t size) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@%+={}";
    bool is_plain =
        word[0] != 0 && strspn(word, plain) == strlen(word) && strchr(word, '{') == NULL;
    size_t used = 0;
    if (is_plain) {
        snprintf(text, size, "%s", word);
        return text;
    }
    text[used++] = '\'';
    for (; *word != 0 && used + 6 < size; word++) {
        if (*word == '\'') {
            memcpy(text + used, "'\\''", 4);
            used += 4;
        } else {
            text[used++] = *word;
        }
    }
    text[used++] = '\'';
    text[used] = 0;
    return text;
}

int fail_stream(const struct cli *cli, int error, const char *noun, const char *name) {
    char word[TEXT_BYTES];
    char what[2 * TEXT_BYTES];
    char next[3 * TEXT_BYTES];
    shell_word(name, word, sizeof word);
    snprintf(what, sizeof what, "%s %s", noun, word);
    const char *where = cli->data != NULL ? "--data " : "";
    char data[TEXT_BYTES];
    const char *directory =
        cli->data != NULL ? shell_word(cli->data, data, sizeof data) : "";
    const char *space = cli->data != NULL ? " " : "";
    switch (error) {
    case MOM_NOT_FOUND:
        snprintf(next, sizeof next, "create it: mom %s%s%s%s create %s", where, directory,
                 space, noun, word);
        return fail_mom(cli, error, what, next);
    case MOM_EXISTS:
        snprintf(next, sizeof next,
                 "use it, or say --if-missing; see mom %s%s%s%s info %s", where,
                 directory, space, noun, word);
        return fail_mom(cli, error, what, next);
    default:
        return fail_mom(cli, error, what, NULL);
    }
}

int finish_output(const struct cli *cli) {
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        return fail_own(cli, "cannot write to", "standard output");
    }
    return 0;
}

void progress_begin(struct progress *progress, const struct cli *cli) {
    *progress = (struct progress){.is_on = !cli->json && isatty(STDERR_FILENO) == 1,
                                  .start_us = now_us(),
                                  .shown_us = now_us()};
}

void progress_show(struct progress *progress, const char *what, uint64_t done,
                   uint64_t sent) {
    if (!progress->is_on) {
        return;
    }
    uint64_t now = now_us();
    if (now - progress->shown_us < PROGRESS_EVERY_US) {
        return;
    }
    progress->rate =
        (done - progress->shown_count) * UINT64_C(1000000) / (now - progress->shown_us);
    progress->shown_us = now;
    progress->shown_count = done;
    if (sent > 0) {
        fprintf(stderr, "\r\033[K%s %" PRIu64 " of %" PRIu64 " sent, %" PRIu64 "/s", what,
                done, sent, progress->rate);
    } else {
        fprintf(stderr, "\r\033[K%s %" PRIu64 ", %" PRIu64 "/s", what, done,
                progress->rate);
    }
    fflush(stderr);
}

void progress_wait(struct progress *progress, const char *text) {
    if (progress->is_on) {
        fprintf(stderr, "\r\033[K%s", text);
        fflush(stderr);
    }
}

void progress_end(struct progress *progress) {
    if (progress->is_on) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}
