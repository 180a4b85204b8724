/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from a file or a pipe: each ends with a separator, or all of it is one. What
 * is there is handed out at once, so that a slow pipe is sent as it comes.
 */
#ifndef INPUT_H
#define INPUT_H

#include <mom/mom.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum input_mode { INPUT_LINES, INPUT_ZEROS, INPUT_RAW };

struct input {
    int fd;
    enum input_mode mode;
    bool is_at_end;
    bool is_too_big; /* the message that would come next is over the limit */
    char *buffer;    /* owned */
    size_t size;     /* allocated */
    size_t start, end;
    size_t searched; /* no separator before this */
};

int input_open(struct input *input, const char *file,
               enum input_mode mode); /* 0, errno */
void input_close(struct input *input);
/* Reads once, waiting for it. 0, or an errno; then see is_at_end, is_too_big. */
int input_read(struct input *input);
/* Takes up to `max` whole messages of what was read, of together about `bytes_max`. They
 * are valid until the next input_read. */
size_t input_take(struct input *input, mom_slice *messages, size_t max, size_t bytes_max);

#endif
