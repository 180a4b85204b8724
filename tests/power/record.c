/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder: preloaded into a process, it writes down every call that changes files
 * below one directory, in the order in which they happened (record.h has the format).
 *
 * One lock is held over each call and its record, so the order is the true one; a sync
 * covers what was written before it and nothing else. Files are told apart by inode,
 * which needs no table of descriptors: a duplicate, or one that libc opened inside, is
 * seen all the same. What libc writes inside (streams) is not seen; the tester compares
 * the replay of the whole log with the directory, so anything missed is an error there,
 * never a silent gap.
 *
 * Its own syncs can be made to do nothing (MOM_POWER_MUTANT), to prove that the tester
 * sees it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "power/record.h"

#define EXPORT __attribute__((visibility("default")))

enum { INODES_ROOM = 1 << 14, TEXT_BYTES = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct power_log *log_map; /* NULL: nothing is recorded */
static char root[PATH_MAX];
static size_t root_size;
static dev_t root_device;
static enum power_mutant mutant;
/* Open addressing; 0 is free. Inodes below the root that were opened or made. */
static uint64_t inodes[INODES_ROOM];
static size_t inodes_count;
static uint64_t records_left = UINT64_MAX;

/* The real functions, under the names that they have here. */
static struct {
    int (*open)(const char *, int, ...);
    int (*openat)(int, const char *, int, ...);
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*pwrite)(int, const void *, size_t, off_t);
    ssize_t (*writev)(int, const struct iovec *, int);
    ssize_t (*pwritev)(int, const struct iovec *, int, off_t);
    int (*fsync)(int);
    int (*fdatasync)(int);
    void (*sync)(void);
    int (*syncfs)(int);
    int (*ftruncate)(int, off_t);
    int (*truncate)(const char *, off_t);
    int (*fallocate)(int, int, off_t, off_t);
    int (*posix_fallocate)(int, off_t, off_t);
    int (*renameat)(int, const char *, int, const char *);
    int (*unlinkat)(int, const char *, int);
    int (*linkat)(int, const char *, int, const char *, int);
    int (*mkdirat)(int, const char *, mode_t);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    FILE *(*fopen)(const char *, const char *);
} real;

/* ---- The log ---- */

static void add(enum power_op op, uint64_t inode, uint64_t offset, const char *path,
                const void *payload, size_t size) {
    size_t path_size = strlen(path) + 1;
    struct power_record record = {.op = (uint16_t)op,
                                  .path_size = (uint16_t)path_size,
                                  .inode = inode,
                                  .offset = offset,
                                  .payload_size = size};
    size_t whole = (sizeof record + path_size + size + 7) & ~(size_t)7;
    if (log_map->used_bytes + whole > POWER_LOG_BYTES) {
        static const char text[] = "the recorder's log is full\n";
        (void)!real.write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    record.size = (uint32_t)whole;
    uint8_t *at = (uint8_t *)log_map + log_map->used_bytes;
    memcpy(at, &record, sizeof record);
    memcpy(at + sizeof record, path, path_size);
    if (size > 0) {
        memcpy(at + sizeof record + path_size, payload, size);
    }
    __atomic_store_n(&log_map->used_bytes, log_map->used_bytes + whole, __ATOMIC_RELEASE);
    if (--records_left == 0) {
        syscall(SYS_exit_group, POWER_DIED);
    }
}

static void problem(const char *what) {
    add(POWER_PROBLEM, 0, 0, "", what, strlen(what));
}

/* ---- Start ---- */

static const char *const mutant_names[POWER_MUTANTS_COUNT] = {
    "none",     "wal",       "table",  "manifest", "current",
    "database", "directory", "parent", "identity", "mark",
};

static void map_log(const char *path) {
    struct stat status;
    int fd = real.open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || stat(root, &status) != 0) {
        perror("the recorder");
        abort();
    }
    root_size = strlen(root);
    root_device = status.st_dev;
    void *map =
        real.mmap(NULL, POWER_LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        perror("the recorder");
        abort();
    }
    close(fd);
    log_map = map;
}

#define FIND(name) *(void **)(void *)&real.name = dlsym(RTLD_NEXT, #name)

static void start(void) {
    FIND(open);
    FIND(openat);
    FIND(write);
    FIND(pwrite);
    FIND(writev);
    FIND(pwritev);
    FIND(fsync);
    FIND(fdatasync);
    FIND(sync);
    FIND(syncfs);
    FIND(ftruncate);
    FIND(truncate);
    FIND(fallocate);
    FIND(posix_fallocate);
    FIND(renameat);
    FIND(unlinkat);
    FIND(linkat);
    FIND(mkdirat);
    FIND(mmap);
    FIND(fopen);
    const char *path = getenv(POWER_LOG_VARIABLE);
    const char *watched = getenv(POWER_ROOT_VARIABLE);
    const char *wrong = getenv(POWER_MUTANT_VARIABLE);
    const char *dies = getenv(POWER_DIE_VARIABLE);
    records_left = dies != NULL ? strtoull(dies, NULL, 10) : UINT64_MAX;
    for (int i = 0; wrong != NULL && i < POWER_MUTANTS_COUNT; i++) {
        mutant = strcmp(mutant_names[i], wrong) == 0 ? (enum power_mutant)i : mutant;
    }
    if (path != NULL && watched != NULL && realpath(watched, root) != NULL) {
        map_log(path);
    }
}

/* Every call of the process comes through here. */
static bool enter(void) {
    (void)pthread_once(&once, start);
    if (log_map == NULL) {
        return false;
    }
    pthread_mutex_lock(&lock);
    return true;
}

static void leave(bool is_recording) {
    if (is_recording) {
        int saved = errno;
        pthread_mutex_unlock(&lock);
        errno = saved;
    }
}

EXPORT void power_fact(const struct power_fact *fact) {
    bool is_recording = enter();
    if (is_recording) {
        add(POWER_FACT, 0, 0, "", fact, sizeof *fact);
    }
    leave(is_recording);
}

/* ---- Which file ---- */

static uint64_t *find_inode(uint64_t inode) {
    size_t at = (size_t)(inode * 0x9e3779b97f4a7c15ULL) % INODES_ROOM;
    while (inodes[at] != 0 && inodes[at] != inode) {
        at = (at + 1) % INODES_ROOM;
    }
    return &inodes[at];
}

static void know_inode(uint64_t inode) {
    uint64_t *slot = find_inode(inode);
    if (*slot == 0) {
        if (++inodes_count > INODES_ROOM / 2) {
            problem("too many files");
            abort();
        }
        *slot = inode;
    }
}

/* Is the open file below the root? `status` is filled in if so. */
static bool is_watched(int fd, struct stat *status) {
    return fstat(fd, status) == 0 && status->st_dev == root_device &&
           *find_inode(status->st_ino) == status->st_ino;
}

/* The name relative to the root, or NULL if it is not below it. */
static const char *name_below(int dir_fd, const char *path, char out[2 * PATH_MAX]) {
    if (path[0] == '/') {
        (void)snprintf(out, (size_t)2 * PATH_MAX, "%s", path);
    } else if (dir_fd == AT_FDCWD) {
        if (getcwd(out, PATH_MAX) == NULL) {
            return NULL;
        }
        size_t size = strlen(out);
        (void)snprintf(out + size, PATH_MAX, "/%s", path);
    } else {
        char link[64];
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", dir_fd);
        ssize_t size = readlink(link, out, PATH_MAX - 1);
        if (size < 0) {
            return NULL;
        }
        (void)snprintf(out + size, PATH_MAX, "/%s", path);
    }
    if (strncmp(out, root, root_size) != 0 ||
        (out[root_size] != '/' && out[root_size] != '\0')) {
        return NULL;
    }
    const char *name = out + root_size;
    while (*name == '/') {
        name++;
    }
    return name;
}

static const char *path_of(int fd, char out[PATH_MAX]) {
    char link[64];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, out, PATH_MAX - 1);
    out[size < 0 ? 0 : size] = '\0';
    return out;
}

/* ---- Opening ---- */

static bool exists(int dir_fd, const char *path) {
    struct stat status;
    int saved = errno;
    bool found = fstatat(dir_fd, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
    errno = saved;
    return found;
}

static void opened(int fd, int flags, bool was_there, const char *name) {
    struct stat status;
    if (fd < 0 || name == NULL || fstat(fd, &status) != 0) {
        return;
    }
    know_inode(status.st_ino);
    if (!was_there) {
        add(POWER_CREATE, status.st_ino, 0, name, NULL, 0);
    } else if ((flags & O_TRUNC) != 0) {
        add(POWER_TRUNCATE, status.st_ino, 0, "", NULL, 0);
    }
}

static int do_open(int dir_fd, const char *path, int flags, mode_t mode) {
    bool is_recording = enter();
    char room[2 * PATH_MAX];
    const char *name = is_recording ? name_below(dir_fd, path, room) : NULL;
    bool was_there = name == NULL || exists(dir_fd, path);
    int fd = real.openat(dir_fd, path, flags, mode);
    if (is_recording) {
        int saved = errno;
        opened(fd, flags, was_there, name);
        errno = saved;
    }
    leave(is_recording);
    return fd;
}

static mode_t mode_of(int flags, va_list list) {
    bool has_mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    return has_mode ? va_arg(list, mode_t) : 0;
}

#define DEFINE_OPEN(function)                                                            \
    EXPORT int function(const char *path, int flags, ...) {                              \
        va_list list;                                                                    \
        va_start(list, flags);                                                           \
        mode_t mode = mode_of(flags, list);                                              \
        va_end(list);                                                                    \
        return do_open(AT_FDCWD, path, flags, mode);                                     \
    }
#define DEFINE_OPENAT(function)                                                          \
    EXPORT int function(int dir_fd, const char *path, int flags, ...) {                  \
        va_list list;                                                                    \
        va_start(list, flags);                                                           \
        mode_t mode = mode_of(flags, list);                                              \
        va_end(list);                                                                    \
        return do_open(dir_fd, path, flags, mode);                                       \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

/* What a fortified program calls. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags);
int __openat64_2(int dir_fd, const char *path, int flags);
EXPORT int __open_2(const char *path, int flags) {
    return do_open(AT_FDCWD, path, flags, 0);
}
EXPORT int __open64_2(const char *path, int flags) {
    return do_open(AT_FDCWD, path, flags, 0);
}
EXPORT int __openat_2(int dir_fd, const char *path, int flags) {
    return do_open(dir_fd, path, flags, 0);
}
EXPORT int __openat64_2(int dir_fd, const char *path, int flags) {
    return do_open(dir_fd, path, flags, 0);
}
EXPORT int creat(const char *path, mode_t mode) {
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
EXPORT int creat64(const char *path, mode_t mode) {
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* RocksDB's text log is a stream. Nothing is written to it; what were, would be missed
 * and found by the comparison at the end. */
static FILE *do_fopen(const char *path, const char *mode) {
    bool is_recording = enter();
    char room[2 * PATH_MAX];
    const char *name = is_recording ? name_below(AT_FDCWD, path, room) : NULL;
    bool was_there = name == NULL || exists(AT_FDCWD, path);
    FILE *stream = real.fopen(path, mode);
    if (is_recording && stream != NULL) {
        opened(fileno(stream), mode[0] == 'w' ? O_TRUNC : 0, was_there, name);
    }
    leave(is_recording);
    return stream;
}
EXPORT FILE *fopen(const char *path, const char *mode) { return do_fopen(path, mode); }
EXPORT FILE *fopen64(const char *path, const char *mode) { return do_fopen(path, mode); }

/* ---- Writing ---- */

static void wrote(int fd, const struct stat *status, off_t before, const void *bytes,
                  ssize_t count) {
    if (count > 0) {
        bool appends = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
        off_t offset = appends ? status->st_size : before;
        add(POWER_WRITE, status->st_ino, (uint64_t)offset, "", bytes, (size_t)count);
    }
}

EXPORT ssize_t write(int fd, const void *bytes, size_t size) {
    bool is_recording = enter();
    struct stat status;
    if (!is_recording || !is_watched(fd, &status)) {
        leave(is_recording);
        return real.write(fd, bytes, size); /* may wait: not under the lock */
    }
    off_t before = lseek(fd, 0, SEEK_CUR);
    ssize_t count = real.write(fd, bytes, size);
    int saved = errno;
    wrote(fd, &status, before, bytes, count);
    errno = saved;
    leave(is_recording);
    return count;
}

static ssize_t do_pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    bool is_recording = enter();
    struct stat status;
    bool is_ours = is_recording && is_watched(fd, &status);
    ssize_t count = real.pwrite(fd, bytes, size, offset);
    if (is_ours) {
        int saved = errno;
        wrote(fd, &status, offset, bytes, count);
        errno = saved;
    }
    leave(is_recording);
    return count;
}
EXPORT ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    return do_pwrite(fd, bytes, size, offset);
}
EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset) {
    return do_pwrite(fd, bytes, size, offset);
}

/* Vectors are written one by one: as the caller may have to do anyway. */
static ssize_t do_writev(int fd, const struct iovec *vector, int count, bool has_offset,
                         off_t offset) {
    struct stat status;
    bool is_recording = enter();
    bool is_ours = is_recording && is_watched(fd, &status);
    leave(is_recording);
    if (!is_ours) {
        return has_offset ? real.pwritev(fd, vector, count, offset)
                          : real.writev(fd, vector, count);
    }
    ssize_t whole = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = has_offset ? do_pwrite(fd, vector[i].iov_base, vector[i].iov_len,
                                              offset + whole)
                                  : write(fd, vector[i].iov_base, vector[i].iov_len);
        if (done < 0) {
            return whole > 0 ? whole : -1;
        }
        whole += done;
        if ((size_t)done < vector[i].iov_len) {
            break;
        }
    }
    return whole;
}
EXPORT ssize_t writev(int fd, const struct iovec *vector, int count) {
    return do_writev(fd, vector, count, false, 0);
}
EXPORT ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset) {
    return do_writev(fd, vector, count, true, offset);
}
EXPORT ssize_t pwritev64(int fd, const struct iovec *vector, int count, off_t offset) {
    return do_writev(fd, vector, count, true, offset);
}

/* Ways to write that nothing here uses: refused, so that their use is seen at once. */
static void refuse_if_watched(int fd, const char *what) {
    struct stat status;
    bool is_recording = enter();
    if (is_recording && is_watched(fd, &status)) {
        problem(what);
    }
    leave(is_recording);
}
EXPORT ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset,
                               size_t size, unsigned flags) {
    refuse_if_watched(to, "copy_file_range");
    return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, size, flags);
}
EXPORT ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
    refuse_if_watched(to, "sendfile");
    return syscall(SYS_sendfile, to, from, offset, count);
}
static void *do_mmap(void *at, size_t size, int protection, int flags, int fd,
                     off_t offset) {
    bool is_recording = enter();
    struct stat status;
    if (is_recording && fd >= 0 && (protection & PROT_WRITE) != 0 &&
        (flags & MAP_SHARED) != 0 && is_watched(fd, &status)) {
        problem("a file is written through a mapping");
    }
    leave(is_recording);
    return real.mmap(at, size, protection, flags, fd, offset);
}
EXPORT void *mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset) {
    return do_mmap(at, size, protection, flags, fd, offset);
}
EXPORT void *mmap64(void *at, size_t size, int protection, int flags, int fd,
                    off_t offset) {
    return do_mmap(at, size, protection, flags, fd, offset);
}

/* ---- Lengths ---- */

static int do_ftruncate(int fd, off_t size) {
    bool is_recording = enter();
    struct stat status;
    int result = real.ftruncate(fd, size);
    if (is_recording && result == 0 && is_watched(fd, &status)) {
        add(POWER_TRUNCATE, status.st_ino, (uint64_t)size, "", NULL, 0);
    }
    leave(is_recording);
    return result;
}
EXPORT int ftruncate(int fd, off_t size) { return do_ftruncate(fd, size); }
EXPORT int ftruncate64(int fd, off_t size) { return do_ftruncate(fd, size); }

static int do_truncate(const char *path, off_t size) {
    bool is_recording = enter();
    char room[2 * PATH_MAX];
    struct stat status;
    int result = real.truncate(path, size);
    if (is_recording && result == 0 && name_below(AT_FDCWD, path, room) != NULL &&
        stat(path, &status) == 0) {
        add(POWER_TRUNCATE, status.st_ino, (uint64_t)size, "", NULL, 0);
    }
    leave(is_recording);
    return result;
}
EXPORT int truncate(const char *path, off_t size) { return do_truncate(path, size); }
EXPORT int truncate64(const char *path, off_t size) { return do_truncate(path, size); }

static void allocated(int fd, int mode, off_t offset, off_t size) {
    struct stat status;
    if (!is_watched(fd, &status) || (mode & FALLOC_FL_KEEP_SIZE) != 0) {
        if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0 && is_watched(fd, &status)) {
            problem("holes are punched");
        }
        return; /* space only */
    }
    if (mode != 0) {
        problem("an unknown kind of fallocate");
    }
    /* Zeros up to there, if it was shorter. */
    if (status.st_size == offset + size) {
        add(POWER_TRUNCATE, status.st_ino, (uint64_t)status.st_size, "", NULL, 0);
    }
}

static int do_fallocate(int fd, int mode, off_t offset, off_t size) {
    bool is_recording = enter();
    int result = real.fallocate(fd, mode, offset, size);
    if (is_recording && result == 0) {
        allocated(fd, mode, offset, size);
    }
    leave(is_recording);
    return result;
}
EXPORT int fallocate(int fd, int mode, off_t offset, off_t size) {
    return do_fallocate(fd, mode, offset, size);
}
EXPORT int fallocate64(int fd, int mode, off_t offset, off_t size) {
    return do_fallocate(fd, mode, offset, size);
}
static int do_posix_fallocate(int fd, off_t offset, off_t size) {
    bool is_recording = enter();
    int result = real.posix_fallocate(fd, offset, size);
    if (is_recording && result == 0) {
        allocated(fd, 0, offset, size);
    }
    leave(is_recording);
    return result;
}
EXPORT int posix_fallocate(int fd, off_t offset, off_t size) {
    return do_posix_fallocate(fd, offset, size);
}
EXPORT int posix_fallocate64(int fd, off_t offset, off_t size) {
    return do_posix_fallocate(fd, offset, size);
}

/* ---- Syncs ---- */

static bool ends_with(const char *text, const char *ending) {
    size_t size = strlen(text);
    size_t ending_size = strlen(ending);
    return size >= ending_size && strcmp(text + size - ending_size, ending) == 0;
}

static bool is_left_out(int fd, const struct stat *status) {
    char path[PATH_MAX];
    if (mutant == POWER_MUTANT_NONE) {
        return false;
    }
    bool is_directory = S_ISDIR(status->st_mode);
    path_of(fd, path);
    switch (mutant) {
    case POWER_MUTANT_WAL:
        return ends_with(path, ".log");
    case POWER_MUTANT_TABLE:
        return ends_with(path, ".sst");
    case POWER_MUTANT_MANIFEST:
        return strstr(path, "/MANIFEST-") != NULL;
    case POWER_MUTANT_CURRENT:
        return ends_with(path, ".dbtmp");
    case POWER_MUTANT_DATABASE:
        return is_directory && ends_with(path, "/db");
    case POWER_MUTANT_DIRECTORY:
        return is_directory && strcmp(path, root) != 0 && !ends_with(path, "/db");
    case POWER_MUTANT_PARENT:
        return is_directory && strcmp(path, root) == 0;
    case POWER_MUTANT_IDENTITY:
        return ends_with(path, "/identity.tmp");
    case POWER_MUTANT_MARK:
        return ends_with(path, "/mark") || ends_with(path, "/mark.tmp");
    case POWER_MUTANT_NONE:
    case POWER_MUTANTS_COUNT:
        break;
    }
    return false;
}

static int do_sync(int fd, int (*sync_file)(int)) {
    bool is_recording = enter();
    struct stat status;
    if (!is_recording || !is_watched(fd, &status)) {
        leave(is_recording);
        return sync_file(fd);
    }
    int result = 0;
    if (!is_left_out(fd, &status)) {
        result = sync_file(fd);
        if (result == 0) {
            add(POWER_SYNC, status.st_ino, 0, "", NULL, 0);
        }
    }
    leave(is_recording);
    return result;
}
EXPORT int fsync(int fd) {
    (void)pthread_once(&once, start);
    return do_sync(fd, real.fsync);
}
EXPORT int fdatasync(int fd) {
    (void)pthread_once(&once, start);
    return do_sync(fd, real.fdatasync);
}
EXPORT void sync(void) {
    bool is_recording = enter();
    real.sync();
    if (is_recording) {
        add(POWER_SYNC_ALL, 0, 0, "", NULL, 0);
    }
    leave(is_recording);
}
EXPORT int syncfs(int fd) {
    bool is_recording = enter();
    struct stat status;
    int result = real.syncfs(fd);
    if (is_recording && result == 0 && is_watched(fd, &status)) {
        add(POWER_SYNC_ALL, 0, 0, "", NULL, 0);
    }
    leave(is_recording);
    return result;
}
/* sync_file_range is not here: it promises nothing after a power cut. */

/* ---- Names ---- */

static int do_rename(int from_fd, const char *from, int to_fd, const char *to) {
    bool is_recording = enter();
    char from_room[2 * PATH_MAX];
    char to_room[2 * PATH_MAX];
    const char *source = is_recording ? name_below(from_fd, from, from_room) : NULL;
    const char *target = is_recording ? name_below(to_fd, to, to_room) : NULL;
    int result = real.renameat(from_fd, from, to_fd, to);
    if (result == 0 && source != NULL && target != NULL) {
        add(POWER_RENAME, 0, 0, source, target, strlen(target));
    } else if (result == 0 && (source != NULL || target != NULL)) {
        problem("a name crosses the border of the directory");
    }
    leave(is_recording);
    return result;
}
EXPORT int rename(const char *from, const char *to) {
    return do_rename(AT_FDCWD, from, AT_FDCWD, to);
}
EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    return do_rename(from_fd, from, to_fd, to);
}
EXPORT int renameat2(int from_fd, const char *from, int to_fd, const char *to,
                     unsigned flags) {
    if (flags != 0) {
        errno = EINVAL;
        return -1;
    }
    return do_rename(from_fd, from, to_fd, to);
}

static int do_unlink(int dir_fd, const char *path, int flags) {
    bool is_recording = enter();
    char room[2 * PATH_MAX];
    const char *name = is_recording ? name_below(dir_fd, path, room) : NULL;
    int result = real.unlinkat(dir_fd, path, flags);
    if (result == 0 && name != NULL) {
        add(POWER_UNLINK, 0, 0, name, NULL, 0);
    }
    leave(is_recording);
    return result;
}
EXPORT int unlink(const char *path) { return do_unlink(AT_FDCWD, path, 0); }
EXPORT int unlinkat(int dir_fd, const char *path, int flags) {
    return do_unlink(dir_fd, path, flags);
}
EXPORT int rmdir(const char *path) { return do_unlink(AT_FDCWD, path, AT_REMOVEDIR); }
EXPORT int remove(const char *path) {
    int result = do_unlink(AT_FDCWD, path, 0);
    return result != 0 && errno == EISDIR ? rmdir(path) : result;
}

static int do_link(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    bool is_recording = enter();
    char from_room[2 * PATH_MAX];
    char to_room[2 * PATH_MAX];
    const char *source = is_recording ? name_below(from_fd, from, from_room) : NULL;
    const char *target = is_recording ? name_below(to_fd, to, to_room) : NULL;
    int result = real.linkat(from_fd, from, to_fd, to, flags);
    if (result == 0 && source != NULL && target != NULL) {
        add(POWER_LINK, 0, 0, source, target, strlen(target));
    } else if (result == 0 && target != NULL) {
        problem("a link from outside of the directory");
    }
    leave(is_recording);
    return result;
}
EXPORT int link(const char *from, const char *to) {
    return do_link(AT_FDCWD, from, AT_FDCWD, to, 0);
}
EXPORT int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    return do_link(from_fd, from, to_fd, to, flags);
}

static int do_mkdir(int dir_fd, const char *path, mode_t mode) {
    bool is_recording = enter();
    char room[2 * PATH_MAX];
    const char *name = is_recording ? name_below(dir_fd, path, room) : NULL;
    int result = real.mkdirat(dir_fd, path, mode);
    struct stat status;
    if (result == 0 && name != NULL && fstatat(dir_fd, path, &status, 0) == 0) {
        know_inode(status.st_ino);
        add(POWER_MKDIR, status.st_ino, 0, name, NULL, 0);
    }
    leave(is_recording);
    return result;
}
EXPORT int mkdir(const char *path, mode_t mode) { return do_mkdir(AT_FDCWD, path, mode); }
EXPORT int mkdirat(int dir_fd, const char *path, mode_t mode) {
    return do_mkdir(dir_fd, path, mode);
}
