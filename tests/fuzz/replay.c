/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs one fuzz target without a fuzzer: every file of a folder as it is, and with a
 * number of small changes, the same in each run.
 *
 *   fuzz_NAME FOLDER [CHANGES]     FOLDER may also be a single file
 *
 * What was once found stays found, with any compiler and under any sanitizer. An input
 * after which memory is left over is a failure.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "fuzz/fuzz.h"

enum { FILE_BYTES_MAX = 1 << 20, PATH_BYTES = 4096 };

static unsigned files;
static unsigned inputs;

static void fail(const char *what, const char *path) {
    fprintf(stderr, "%s: %s\n", path, what);
    exit(1);
}

static size_t read_file(const char *path, uint8_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail("cannot be opened", path);
    }
    size_t size = fread(bytes, 1, FILE_BYTES_MAX, file);
    if (ferror(file) != 0 || size == FILE_BYTES_MAX) {
        fail("cannot be read, or is too large", path);
    }
    (void)fclose(file);
    return size;
}

static void change(struct momi_rng *rng, uint8_t *bytes, size_t *size) {
    size_t at = momi_rng_between(rng, 0, *size - 1);
    switch (momi_rng_between(rng, 0, 3)) {
    case 0:
        bytes[at] ^= (uint8_t)(1u << momi_rng_between(rng, 0, 7));
        break;
    case 1:
        bytes[at] = (uint8_t)momi_rng_next(rng);
        break;
    case 2:
        bytes[at] = momi_rng_chance(rng, 500000) ? 0 : 0xff;
        break;
    default:
        *size = at + 1;
        break;
    }
}

static void run(const char *path, const uint8_t *bytes, size_t size) {
    (void)LLVMFuzzerTestOneInput(bytes, size);
    inputs++;
    fuzz_end();
    int64_t before = momi_mem_live();
    (void)LLVMFuzzerTestOneInput(bytes, size);
    fuzz_end();
    if (momi_mem_live() > before) {
        fail("leaves memory behind", path);
    }
}

static void replay(const char *path, uint8_t *bytes, uint64_t changes) {
    size_t size = read_file(path, bytes);
    run(path, bytes, size);
    files++;
    struct momi_rng rng;
    momi_rng_seed(&rng, momi_crc32c(0, bytes, size));
    uint8_t *changed = momi_must_alloc(size);
    for (uint64_t round = 0; size > 1 && round < changes; round++) {
        memcpy(changed, bytes, size);
        size_t left = size;
        for (uint64_t more = momi_rng_between(&rng, 1, 3); more > 0; more--) {
            change(&rng, changed, &left);
        }
        (void)LLVMFuzzerTestOneInput(changed, left);
        inputs++;
    }
    momi_free(changed);
}

static int by_name(const struct dirent **one, const struct dirent **two) {
    return strcmp((*one)->d_name, (*two)->d_name);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [CHANGES]\n", argv[0]);
        return 2;
    }
    uint64_t changes = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint8_t *bytes = momi_must_alloc(FILE_BYTES_MAX);
    struct dirent **list;
    int count = scandir(argv[1], &list, NULL, by_name);
    if (count < 0) {
        replay(argv[1], bytes, changes);
    }
    for (int i = 0; i < count; i++) {
        char path[PATH_BYTES];
        int size = snprintf(path, sizeof path, "%s/%s", argv[1], list[i]->d_name);
        if (size > 0 && size < PATH_BYTES && list[i]->d_name[0] != '.') {
            replay(path, bytes, changes);
        }
        free(list[i]);
    }
    if (count >= 0) {
        free(list);
    }
    momi_free(bytes);
    fuzz_end();
    if (momi_mem_live() != 0) {
        fail("memory is left at the end", argv[1]);
    }
    printf("%u files, %u inputs\n", files, inputs);
    return files == 0;
}
