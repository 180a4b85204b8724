/* SPDX-License-Identifier: Apache-2.0 */
/* Messages from a file or a pipe. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES_FIRST = 256 * 1024 };
/* Room for the longest message, its separator, and one byte more to see that it is over.
 */
#define BUFFER_BYTES_MAX ((size_t)MOM_BODY_BYTES_MAX + 2)

int input_open(struct input *input, const char *file, enum input_mode mode) {
    *input = (struct input){.fd = STDIN_FILENO, .mode = mode};
    if (file != NULL) {
        input->fd = open(file, O_RDONLY | O_CLOEXEC);
        if (input->fd < 0) {
            return errno;
        }
    }
    input->size = BUFFER_BYTES_FIRST;
    input->buffer = malloc(input->size);
    return input->buffer == NULL ? ENOMEM : 0;
}

void input_close(struct input *input) {
    if (input->fd > STDIN_FILENO) {
        close(input->fd);
    }
    free(input->buffer);
    input->buffer = NULL;
}

static int make_room(struct input *input) {
    if (input->start > 0) {
        memmove(input->buffer, input->buffer + input->start, input->end - input->start);
        input->end -= input->start;
        input->searched -= input->start;
        input->start = 0;
    }
    if (input->end < input->size) {
        return 0;
    }
    size_t size = input->size * 2 < BUFFER_BYTES_MAX ? input->size * 2 : BUFFER_BYTES_MAX;
    char *buffer = realloc(input->buffer, size);
    if (buffer == NULL) {
        return ENOMEM;
    }
    input->buffer = buffer;
    input->size = size;
    return 0;
}

int input_read(struct input *input) {
    int error = make_room(input);
    if (error != 0) {
        return error;
    }
    ssize_t got = read(input->fd, input->buffer + input->end, input->size - input->end);
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN ? 0 : errno;
    }
    input->is_at_end = got == 0;
    input->end += (size_t)got;
    return 0;
}

/* The next whole message; false: it is not complete yet. */
static bool next_message(struct input *input, mom_slice *message) {
    size_t separator = input->end;
    if (input->mode != INPUT_RAW) {
        char *found =
            memchr(input->buffer + input->searched, input->mode == INPUT_LINES ? '\n' : 0,
                   input->end - input->searched);
        separator = found != NULL ? (size_t)(found - input->buffer) : input->end;
    }
    bool is_whole = separator < input->end;
    /* At the end of the input the last message needs no separator; raw is one always. */
    bool is_last = input->is_at_end && !is_whole &&
                   (input->mode == INPUT_RAW || input->end > input->start);
    if (separator - input->start > MOM_BODY_BYTES_MAX) {
        input->is_too_big = true;
        return false;
    }
    if (!is_whole && !is_last) {
        input->searched = input->end;
        return false;
    }
    *message = (mom_slice){input->buffer + input->start, separator - input->start};
    input->start = is_whole ? separator + 1 : input->end;
    input->searched = input->start;
    return true;
}

size_t input_take(struct input *input, mom_slice *messages, size_t max,
                  size_t bytes_max) {
    size_t count = 0;
    size_t bytes = 0;
    while (count < max && bytes < bytes_max && !input->is_too_big &&
           next_message(input, &messages[count])) {
        bytes += messages[count].size;
        count++;
        if (input->mode == INPUT_RAW) {
            input->mode = INPUT_LINES; /* nothing is left; no second, empty one */
            break;
        }
    }
    return count;
}
