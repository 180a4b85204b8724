/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Synced batches per second of the store, beside what the disk does for an append of the
 * same bytes with fdatasync, in turn in the same run: disks vary from run to run, the
 * ratio does not.
 *
 *     bench_store [DIRECTORY [SECONDS]]      per measurement; a directory of its own is
 * made and removed
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mom/error.h>

#include "base/batch.h"
#include "base/pack.h"
#include "port/datadir.h"
#include "port/store.h"

enum { PATH_BYTES = 512, ROUNDS = 3, KEEP_ENTRIES = 2000, DURATIONS_MAX = 1 << 20 };

struct shape {
    const char *name;
    size_t puts_count;
    size_t value_bytes;
    enum momi_sync sync;
};

static const struct shape shapes[] = {
    {"1 x 100 B", 1, 100, MOMI_SYNC_YES},
    {"1 x 12.8 KB", 1, 12800, MOMI_SYNC_YES},
    {"4 x 64 KB", 4, 65536, MOMI_SYNC_YES},
    {"1 x 256 KB", 1, 262144, MOMI_SYNC_YES},
    {"1 x 100 B, not synced", 1, 100, MOMI_SYNC_NO},
    {"4 x 64 KB, not synced", 4, 65536, MOMI_SYNC_NO},
};

static uint32_t durations_us[DURATIONS_MAX];

struct result {
    double per_second;
    uint32_t p50_us;
    uint32_t p99_us;
};

static void die(const char *what) {
    fprintf(stderr, "bench_store: %s: %s %s\n", what, mom_last_error_text(),
            strerror(errno));
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

static int compare(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static struct result summarise(size_t count, uint64_t elapsed_us) {
    size_t kept = count < DURATIONS_MAX ? count : DURATIONS_MAX;
    qsort(durations_us, kept, sizeof *durations_us, compare);
    return (struct result){
        .per_second = (double)count * 1e6 / (double)elapsed_us,
        .p50_us = durations_us[kept / 2],
        .p99_us = durations_us[kept * 99 / 100],
    };
}

static struct result run_disk(const char *dir, const struct shape *shape,
                              uint64_t length_us) {
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/append", dir) >= (int)sizeof path) {
        die("path");
    }
    size_t size = shape->puts_count * shape->value_bytes;
    char *bytes = malloc(size);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (bytes == NULL || fd < 0) {
        die("append");
    }
    memset(bytes, 'd', size);
    size_t count = 0;
    uint64_t start_us = now_us();
    uint64_t before_us = start_us;
    while (before_us - start_us < length_us) {
        bool is_written = write(fd, bytes, size) == (ssize_t)size;
        if (!is_written || (shape->sync == MOMI_SYNC_YES && fdatasync(fd) != 0)) {
            die("append");
        }
        uint64_t after_us = now_us();
        durations_us[count++ % DURATIONS_MAX] = (uint32_t)(after_us - before_us);
        before_us = after_us;
    }
    close(fd);
    (void)unlink(path);
    free(bytes);
    return summarise(count, before_us - start_us);
}

static void log_key(struct momi_bytes *key, uint64_t index) {
    momi_bytes_clear(key);
    momi_put_be32(key, 1);
    momi_put_be64(key, index);
}

/* Like a queue that is read soon after: each batch also deletes what is old. */
static struct result run_store(struct momi_store *store, uint64_t *number,
                               uint64_t *index, const struct shape *shape,
                               uint64_t length_us) {
    struct momi_buf *value = momi_buf_new(shape->value_bytes);
    struct momi_batch batch = {0};
    struct momi_bytes key = {0};
    if (value == NULL) {
        die("memory");
    }
    memset(value->data, 's', value->size);
    size_t count = 0;
    uint64_t start_us = now_us();
    uint64_t before_us = start_us;
    while (before_us - start_us < length_us) {
        for (size_t i = 0; i < shape->puts_count; i++) {
            log_key(&key, ++*index);
            momi_batch_put_buf(&batch, MOMI_FAMILY_LOG, momi_bytes_slice(&key), value);
            if (*index > KEEP_ENTRIES) {
                log_key(&key, *index - KEEP_ENTRIES);
                momi_batch_delete(&batch, MOMI_FAMILY_LOG, momi_bytes_slice(&key));
            }
        }
        batch.number = ++*number;
        if (batch.failed || momi_store_write(store, &batch, shape->sync) != 0) {
            die("write");
        }
        momi_batch_clear(&batch);
        uint64_t after_us = now_us();
        durations_us[count++ % DURATIONS_MAX] = (uint32_t)(after_us - before_us);
        before_us = after_us;
    }
    momi_batch_free(&batch);
    momi_bytes_free(&key);
    momi_buf_release(value);
    return summarise(count, before_us - start_us);
}

static void show(const char *who, const struct shape *shape, struct result result) {
    double bytes = (double)(shape->puts_count * shape->value_bytes);
    printf("  %-22s %9.0f/s  %7.1f MB/s  p50 %6u us  p99 %6u us\n", who,
           result.per_second, result.per_second * bytes / 1e6, result.p50_us,
           result.p99_us);
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *at) {
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

int main(int argc, char **argv) {
    char dir[PATH_BYTES];
    char data[PATH_BYTES + 8];
    const char *parent = argc > 1 ? argv[1] : "/tmp";
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 1.0;
    if (seconds <= 0 ||
        snprintf(dir, sizeof dir, "%s/mom-bench-XXXXXX", parent) >= (int)sizeof dir ||
        mkdtemp(dir) == NULL) {
        die("directory");
    }
    (void)snprintf(data, sizeof data, "%s/data", dir);
    struct momi_datadir *datadir = NULL;
    struct momi_store *store = NULL;
    struct momi_store *memory = NULL;
    struct momi_store_report report;
    if (momi_datadir_open(data, &datadir) != 0 ||
        momi_store_open_rocksdb(&store, data, NULL, &report) != 0 ||
        momi_store_open_memory(&memory) != 0) {
        die("open");
    }
    uint64_t length_us = (uint64_t)(seconds * 1e6);
    uint64_t number = 0;
    uint64_t index = 0;
    uint64_t memory_number = 0;
    uint64_t memory_index = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        printf("%s\n", shapes[i].name);
        for (int round = 0; round < ROUNDS; round++) {
            struct result disk = run_disk(dir, &shapes[i], length_us);
            show("append", &shapes[i], disk);
            struct result stored =
                run_store(store, &number, &index, &shapes[i], length_us);
            show("rocksdb", &shapes[i], stored);
            printf("  ratio %.2f\n", stored.per_second / disk.per_second);
        }
        if (shapes[i].sync == MOMI_SYNC_NO) {
            show("memory", &shapes[i],
                 run_store(memory, &memory_number, &memory_index, &shapes[i], length_us));
        }
    }
    if (momi_store_close(memory) != 0 || momi_store_close(store) != 0) {
        die("close");
    }
    momi_datadir_close(datadir);
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : 1;
}
