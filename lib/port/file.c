/* SPDX-License-Identifier: Apache-2.0 */
/* Small durable files: see file.h. */
#include "port/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

enum { NAME_BYTES_MAX = 128 };

bool momi_file_pwrite(int fd, struct momi_slice bytes, size_t offset) {
    size_t done = 0;
    while (done < bytes.size) {
        ssize_t count =
            pwrite(fd, bytes.data + done, bytes.size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            errno = count == 0 ? EIO : errno;
            return false;
        }
        done += (size_t)count;
    }
    return true;
}

bool momi_file_pread(int fd, void *out, size_t size, size_t offset) {
    size_t done = 0;
    while (done < size) {
        ssize_t count =
            pread(fd, (uint8_t *)out + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            errno = count == 0 ? EIO : errno;
            return false;
        }
        done += (size_t)count;
    }
    return true;
}

int momi_file_sync_dir(int dir_fd) {
    if (fsync(dir_fd) != 0) {
        return momi_err(MOM_IO, "sync of the directory: %s", strerror(errno));
    }
    return 0;
}

bool momi_file_exists(int dir_fd, const char *name) {
    struct stat status;
    return fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

int momi_file_replace(int dir_fd, const char *name, struct momi_slice content) {
    char temporary[NAME_BYTES_MAX];
    int size = snprintf(temporary, sizeof temporary, "%s.tmp", name);
    if (size < 0 || (size_t)size >= sizeof temporary) {
        return momi_err(MOM_INVALID, "file name too long: %s", name);
    }
    int fd = openat(dir_fd, temporary,
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return momi_err(MOM_IO, "creating %s: %s", temporary, strerror(errno));
    }
    if (!momi_file_pwrite(fd, content, 0) || fsync(fd) != 0) {
        int error = momi_err(MOM_IO, "writing %s: %s", temporary, strerror(errno));
        close(fd);
        (void)unlinkat(dir_fd, temporary,
                       0); /* a leftover is harmless, it is truncated next time */
        return error;
    }
    if (close(fd) != 0) {
        return momi_err(MOM_IO, "closing %s: %s", temporary, strerror(errno));
    }
    if (renameat(dir_fd, temporary, dir_fd, name) != 0) {
        return momi_err(MOM_IO, "renaming %s to %s: %s", temporary, name,
                        strerror(errno));
    }
    return momi_file_sync_dir(dir_fd);
}

int momi_file_read(int dir_fd, const char *name, void *out, size_t room, size_t *size) {
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        int class = errno == ENOENT ? MOM_NOT_FOUND : MOM_IO;
        return momi_err(class, "opening %s: %s", name, strerror(errno));
    }
    size_t done = 0;
    while (done < room) {
        ssize_t count = read(fd, (uint8_t *)out + done, room - done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            int error = momi_err(MOM_IO, "reading %s: %s", name, strerror(errno));
            close(fd);
            return error;
        }
        if (count == 0) {
            break;
        }
        done += (size_t)count;
    }
    close(fd);
    *size = done;
    return 0;
}

void momi_file_remove_ending(int dir_fd, const char *name, const char *ending) {
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    size_t ending_size = strlen(ending);
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        size_t size = strlen(entry->d_name);
        if (size > ending_size &&
            strcmp(entry->d_name + size - ending_size, ending) == 0) {
            (void)unlinkat(fd, entry->d_name, 0); /* see above */
        }
    }
    closedir(stream);
}
