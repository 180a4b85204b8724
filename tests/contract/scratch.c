/* SPDX-License-Identifier: Apache-2.0 */
/* See scratch.h. Every failure of the system ends the test. */
#include "contract/scratch.h"

#include "t.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

void scratch_join(char path[SCRATCH_PATH_BYTES], const char *dir, const char *name) {
    int size = snprintf(path, SCRATCH_PATH_BYTES, "%s/%s", dir, name);
    CHECK(size > 0 && size < SCRATCH_PATH_BYTES);
}

void scratch_make(char path[SCRATCH_PATH_BYTES]) {
    const char *parent = getenv("TMPDIR");
    scratch_join(path, parent != NULL ? parent : "/tmp", "mom-test-XXXXXX");
    CHECK(mkdtemp(path) != NULL);
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *at) {
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

void scratch_remove(const char *path) {
    int result = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    CHECK(result == 0 || errno == ENOENT);
}

static void copy_file(const char *source, const char *target) {
    int in = open(source, O_RDONLY | O_CLOEXEC);
    int out = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(in >= 0 && out >= 0);
    char block[65536];
    for (ssize_t count = 1; count > 0;) {
        count = read(in, block, sizeof block);
        CHECK(count >= 0);
        CHECK(write(out, block, (size_t)count) == count);
    }
    close(in);
    close(out);
}

void scratch_copy(const char *source, const char *target) {
    CHECK(mkdir(target, 0700) == 0);
    DIR *stream = opendir(source);
    CHECK(stream != NULL);
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        char from[SCRATCH_PATH_BYTES];
        char to[SCRATCH_PATH_BYTES];
        scratch_join(from, source, entry->d_name);
        scratch_join(to, target, entry->d_name);
        struct stat status;
        CHECK(lstat(from, &status) == 0);
        if (S_ISDIR(status.st_mode)) {
            scratch_copy(from, to); /* as deep as the data directory: two levels */
        } else {
            copy_file(from, to);
        }
    }
    closedir(stream);
}

bool scratch_exists(const char *path) { return access(path, F_OK) == 0; }

size_t scratch_size(const char *path) {
    struct stat status;
    CHECK(stat(path, &status) == 0);
    return (size_t)status.st_size;
}

void scratch_truncate(const char *path, size_t size) {
    CHECK(truncate(path, (off_t)size) == 0);
}

static void change(const char *path, size_t offset, size_t size, uint8_t keep,
                   uint8_t flip) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = 0;
        CHECK(pread(fd, &byte, 1, (off_t)(offset + i)) == 1);
        byte = (uint8_t)((byte & keep) ^ flip);
        CHECK(pwrite(fd, &byte, 1, (off_t)(offset + i)) == 1);
    }
    close(fd);
}

void scratch_damage(const char *path, size_t offset, size_t size) {
    change(path, offset, size, 0xff, 0x5a);
}

void scratch_zero(const char *path, size_t offset, size_t size) {
    change(path, offset, size, 0, 0);
}

void scratch_write(const char *path, const void *content, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, content, size) == (ssize_t)size);
    close(fd);
}

static bool find(char path[SCRATCH_PATH_BYTES], const char *dir, const char *ending,
                 int order) {
    char best[256] = "";
    DIR *stream = opendir(dir);
    CHECK(stream != NULL);
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        size_t size = strlen(entry->d_name);
        size_t ending_size = strlen(ending);
        if (size <= ending_size ||
            strcmp(entry->d_name + size - ending_size, ending) != 0) {
            continue;
        }
        if (best[0] == '\0' || strcmp(entry->d_name, best) * order > 0) {
            (void)snprintf(best, sizeof best, "%s", entry->d_name);
        }
    }
    closedir(stream);
    scratch_join(path, dir, best);
    return best[0] != '\0';
}

bool scratch_first(char path[SCRATCH_PATH_BYTES], const char *dir, const char *ending) {
    return find(path, dir, ending, -1);
}

bool scratch_last(char path[SCRATCH_PATH_BYTES], const char *dir, const char *ending) {
    return find(path, dir, ending, 1);
}

pid_t scratch_spawn(const char *mode, const char *argument, int *out_fd) {
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) == 0);
    char *arguments[] = {(char *)"test", (char *)mode, (char *)argument, NULL};
    pid_t child = -1;
    CHECK(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ) == 0);
    CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
    close(ends[1]);
    *out_fd = ends[0];
    return child;
}

int scratch_wait(pid_t child) {
    int status = 0;
    pid_t waited = -1;
    do {
        waited = waitpid(child, &status, 0);
    } while (waited < 0 && errno == EINTR);
    CHECK(waited == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool scratch_read_u64(int fd, uint64_t *value) {
    size_t done = 0;
    while (done < sizeof *value) {
        ssize_t count = read(fd, (uint8_t *)value + done, sizeof *value - done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return false;
        }
        done += (size_t)count;
    }
    return true;
}
