/* SPDX-License-Identifier: Apache-2.0 */
/* What people and scripts read: errors with what to do next, and progress. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "cli.h"

/*
 * Prints "mom: CLASS: detail; what to do" (with --json an object) on standard error and
 * returns the exit status of the class. `error` is a result of libmom, whose detail text
 * is taken if it was the last call on this thread. `next` says what to do; NULL: the
 * advice of the class.
 */
int fail_mom(const struct cli *cli, int error, const char *what, const char *next);
/* Bad usage: INVALID. */
__attribute__((format(printf, 2, 3))) int fail_usage(const struct cli *cli,
                                                     const char *format, ...);
/* A failure of a file, with the text of errno: EXIT_OWN. */
int fail_own(const struct cli *cli, const char *what, const char *name);
/* The one that the others use. */
int fail_text(const struct cli *cli, int error, const char *detail, const char *next);

/* NOT_FOUND and the like of a queue or topic: says which command creates it. */
int fail_stream(const struct cli *cli, int error, const char *noun, const char *name);

/* Flushes standard output; EXIT_OWN, printed, if what was written did not arrive. */
int finish_output(const struct cli *cli);

/* A line that is written again and again, when standard error is a terminal. */
struct progress {
    bool is_on;
    uint64_t start_us, shown_us, shown_count;
    uint64_t rate; /* per second, of late */
};
void progress_begin(struct progress *progress, const struct cli *cli);
/* "WHAT DONE of SENT, RATE/s"; `sent` 0: without that part. */
void progress_show(struct progress *progress, const char *what, uint64_t done,
                   uint64_t sent);
void progress_wait(struct progress *progress, const char *text);
void progress_end(struct progress *progress); /* clears the line */

/* A word as a shell would need it. At most `size` bytes with the end. */
const char *shell_word(const char *word, char *text, size_t size);

#endif
