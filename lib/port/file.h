/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files that must survive a power cut, relative to an open directory. POSIX only;
 * used by the data directory and by the mark. Every failure is MOM_IO with the reason of
 * the system in the error text, except where said.
 */
#ifndef MOMI_PORT_FILE_H
#define MOMI_PORT_FILE_H

#include "base/buf.h"

/* Replaces `name` as a whole: temporary file, fsync, rename, fsync of the directory.
 * After success the new content survives a power cut; after a failure the old one is
 * still there. */
int momi_file_replace(int dir_fd, const char *name, struct momi_slice content);

/* Reads at most `room` bytes; `size` gets the number read. MOM_NOT_FOUND: no such file.
 */
int momi_file_read(int dir_fd, const char *name, void *out, size_t room, size_t *size);

int momi_file_sync_dir(int dir_fd);

/* Is there anything under this name? A name that cannot be looked at counts as there. */
bool momi_file_exists(int dir_fd, const char *name);

/* Removes every file with this ending from the directory `name`. Best effort: what cannot
 * be removed stays. */
void momi_file_remove_ending(int dir_fd, const char *name, const char *ending);

/* Full positioned write and read, past interrupts and short counts; false with errno set,
 * EIO at the end of the file. */
bool momi_file_pwrite(int fd, struct momi_slice bytes, size_t offset);
bool momi_file_pread(int fd, void *out, size_t size, size_t offset);

#endif
