/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch directories, damage to files in them, and children of the test's own program.
 */
#ifndef MOM_TESTS_SCRATCH_H
#define MOM_TESTS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SCRATCH_PATH_BYTES = 512 };

/* A new, empty directory; its path goes into `path`. */
void scratch_make(char path[SCRATCH_PATH_BYTES]);
void scratch_remove(const char *path); /* with all that is in it; missing is fine */
/* Copies a directory: of an open store it is what a crash of the process would leave. */
void scratch_copy(const char *source, const char *target);
void scratch_join(char path[SCRATCH_PATH_BYTES], const char *dir, const char *name);

bool scratch_exists(const char *path);
size_t scratch_size(const char *path);
void scratch_truncate(const char *path, size_t size);
/* Overwrites `size` bytes at `offset` with others. */
void scratch_damage(const char *path, size_t offset, size_t size);
void scratch_zero(const char *path, size_t offset, size_t size);
void scratch_write(const char *path, const void *content, size_t size);

/* The path of the first or last file of `dir` with this ending, by name; false if there
 * is none. */
bool scratch_first(char path[SCRATCH_PATH_BYTES], const char *dir, const char *ending);
bool scratch_last(char path[SCRATCH_PATH_BYTES], const char *dir, const char *ending);

/* Starts this program again with two arguments; its standard output comes from `out_fd`.
 */
pid_t scratch_spawn(const char *mode, const char *argument, int *out_fd);
/* Waits for it; the exit status, or minus the signal that ended it. */
int scratch_wait(pid_t child);
/* Reads one u64 of the child; false at the end. */
bool scratch_read_u64(int fd, uint64_t *value);

#endif
