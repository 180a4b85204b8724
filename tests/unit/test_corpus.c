/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays tests/fuzz/corpus through what the fuzzer runs, as it is and with small
 * changes, so that what was once found stays found without a fuzzer.
 */
#include "t.h"

#include "fuzz/fuzz_codec.c"

#include <dirent.h>

enum { FILE_BYTES_MAX = 1 << 20, CHANGES_EACH = 200 };

static bool corpus_path(char *path, size_t size) {
    const char *end = strstr(__FILE__, "tests/unit/");
    int length = end == NULL ? -1
                             : snprintf(path, size, "%.*stests/fuzz/corpus",
                                        (int)(end - __FILE__), __FILE__);
    return length > 0 && (size_t)length < size;
}

static size_t read_file(const char *folder, const char *name, uint8_t *bytes) {
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK(length > 0 && (size_t)length < sizeof path);
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    size_t size = fread(bytes, 1, FILE_BYTES_MAX, file);
    CHECK(ferror(file) == 0);
    fclose(file);
    return size;
}

static void change(struct momi_rng *rng, uint8_t *bytes, size_t *size) {
    size_t at = momi_rng_between(rng, 1, *size - 1);
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

static void replay(struct momi_rng *rng, const uint8_t *bytes, size_t size) {
    LLVMFuzzerTestOneInput(bytes, size);
    uint8_t *changed = momi_alloc(size);
    for (unsigned round = 0; size > 1 && round < CHANGES_EACH; round++) {
        memcpy(changed, bytes, size);
        size_t left = size;
        for (uint64_t more = momi_rng_between(rng, 1, 3); more > 0 && left > 1; more--) {
            change(rng, changed, &left);
        }
        LLVMFuzzerTestOneInput(changed, left);
    }
    momi_free(changed);
}

static void the_corpus_is_survived(void **state) {
    (void)state;
    char folder[4096];
    CHECK(corpus_path(folder, sizeof folder));
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        skip(); /* the sources are not where they were compiled */
    }
    int64_t live = momi_mem_live();
    uint8_t *bytes = momi_alloc(FILE_BYTES_MAX);
    unsigned files = 0;
    unsigned targets[256] = {0};
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        size_t size = read_file(folder, entry->d_name, bytes);
        CHECK(size > 0);
        struct momi_rng rng;
        momi_rng_seed(&rng, momi_crc32c(0, entry->d_name, strlen(entry->d_name)));
        replay(&rng, bytes, size);
        targets[bytes[0]]++;
        files++;
    }
    closedir(dir);
    momi_free(bytes);
    momi_arena_free(&arena);
    CHECK_EQ(momi_mem_live(), live);
    for (const char *target = "fsjhietcn"; *target != 0; target++) {
        CHECK(targets[(uint8_t)*target] > 0);
    }
    CHECK(files >= 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(the_corpus_is_survived)};
    return cmocka_run_group_tests_name("corpus", tests, NULL, NULL);
}
