/* SPDX-License-Identifier: Apache-2.0 */
/* Failing calls: see fault.h. */
#include "damage/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define VISIBLE          __attribute__((visibility("default")))
#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

enum { PATH_BYTES = 512 };

static struct {
    char dir[PATH_BYTES]; /* what follows is read once `is_armed` */
    enum fault_call call;
    int error;
    unsigned long at;
    atomic_bool is_armed;
    atomic_ulong calls;
    atomic_bool has_struck, was_retried;
    char synced[PATH_BYTES]; /* the file whose sync failed; written before has_struck */
} fault;

void fault_arm(const char *dir, enum fault_call call, int error, unsigned long at) {
    (void)snprintf(fault.dir, sizeof fault.dir, "%s/", dir);
    fault.call = call;
    fault.error = error;
    fault.at = at;
    atomic_store(&fault.calls, 0);
    atomic_store(&fault.is_armed, true);
}

void fault_disarm(void) { atomic_store(&fault.is_armed, false); }
bool fault_has_struck(void) { return atomic_load(&fault.has_struck); }
bool fault_was_retried(void) { return atomic_load(&fault.was_retried); }

static bool strikes(enum fault_call call, const char *path) {
    if (call != fault.call || strncmp(path, fault.dir, strlen(fault.dir)) != 0) {
        return false;
    }
    if (call == FAULT_SYNC && atomic_load(&fault.has_struck) &&
        strcmp(path, fault.synced) == 0) {
        atomic_store(&fault.was_retried, true);
    }
    unsigned long number = atomic_fetch_add(&fault.calls, 1) + 1;
    if (number < fault.at || (number > fault.at && fault.error != ENOSPC)) {
        return false;
    }
    if (number == fault.at) {
        (void)snprintf(fault.synced, sizeof fault.synced, "%s", path);
        atomic_store(&fault.has_struck, true);
    }
    errno = fault.error;
    return true;
}

static bool strikes_fd(enum fault_call call, int fd) {
    if (!atomic_load(&fault.is_armed)) {
        return false;
    }
    char name[64];
    char path[PATH_BYTES];
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    path[size > 0 ? size : 0] = '\0';
    return strikes(call, path);
}

VISIBLE ssize_t write(int fd, const void *bytes, size_t size) {
    if (strikes_fd(FAULT_WRITE, fd)) {
        return -1;
    }
    return REAL("write", ssize_t(*)(int, const void *, size_t))(fd, bytes, size);
}

VISIBLE ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    if (strikes_fd(FAULT_WRITE, fd)) {
        return -1;
    }
    return REAL("pwrite64", ssize_t(*)(int, const void *, size_t, off64_t))(fd, bytes,
                                                                            size, at);
}

VISIBLE ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    return pwrite64(fd, bytes, size, at);
}

VISIBLE int fsync(int fd) {
    return strikes_fd(FAULT_SYNC, fd) ? -1 : REAL("fsync", int (*)(int))(fd);
}

VISIBLE int fdatasync(int fd) {
    return strikes_fd(FAULT_SYNC, fd) ? -1 : REAL("fdatasync", int (*)(int))(fd);
}

VISIBLE int rename(const char *from, const char *to) {
    if (atomic_load(&fault.is_armed) && strikes(FAULT_RENAME, from)) {
        return -1;
    }
    return REAL("rename", int (*)(const char *, const char *))(from, to);
}

static int open_with(const char *name, const char *path, int flags, mode_t mode) {
    bool creates = (flags & O_CREAT) != 0;
    if (creates && atomic_load(&fault.is_armed) && strikes(FAULT_CREATE, path)) {
        return -1;
    }
    return REAL(name, int (*)(const char *, int, ...))(path, flags, mode);
}

VISIBLE int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_with("open", path, flags, mode);
}

VISIBLE int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open_with("open64", path, flags, mode);
}
