/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slow disk, as a library that is loaded into a store (LD_PRELOAD): each sync of a file
 * waits first. NEMESIS_SLOW names a file whose first four bytes are the wait in
 * milliseconds; it is mapped, so that whoever started the store changes it at any moment.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WAIT_MS_MAX = 10000 };

static const volatile uint32_t *wait_ms;
static int (*next_fsync)(int);
static int (*next_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("NEMESIS_SLOW");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *map = mmap(NULL, sizeof *wait_ms, PROT_READ, MAP_SHARED, fd, 0);
        wait_ms = map != MAP_FAILED ? map : NULL;
        close(fd);
    }
    *(void **)&next_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&next_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

static void be_slow(void) {
    uint32_t ms = wait_ms != NULL ? *wait_ms : 0;
    if (ms > 0) {
        (void)poll(NULL, 0, (int)(ms < WAIT_MS_MAX ? ms : WAIT_MS_MAX));
    }
}

int fsync(int fd) {
    be_slow();
    return next_fsync(fd);
}

int fdatasync(int fd) {
    be_slow();
    return next_fdatasync(fd);
}
