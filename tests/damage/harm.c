/* SPDX-License-Identifier: Apache-2.0 */
/* One damage to the files of one directory: see damage.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "damage/damage.h"

enum {
    FILES_MAX = 128,
    PAGE_BYTES = 4096,
    NOISE_BYTES = 16,
    FLIPS_MAX = 8,
    /* The ends of files are where a table keeps its footer, index and filters. */
    END_BYTES = 1024,
    FOOTER_BYTES = 53,
};

static const char *const place_names[PLACES_COUNT] = {
    [PLACE_WAL] = "wal",           [PLACE_SST] = "sst",
    [PLACE_MANIFEST] = "manifest", [PLACE_CURRENT] = "current",
    [PLACE_OPTIONS] = "options",   [PLACE_DB_IDENTITY] = "db-identity",
    [PLACE_MARK] = "mark",         [PLACE_IDENTITY] = "identity",
};
static const char *const kind_names[KINDS_COUNT] = {
    [KIND_FLIP] = "flip",   [KIND_TRUNCATE] = "truncate", [KIND_ZERO] = "zero",
    [KIND_NOISE] = "noise", [KIND_REMOVE] = "remove",     [KIND_EXCHANGE] = "exchange",
    [KIND_OLD] = "old",
};

const char *damage_place_name(enum damage_place place) { return place_names[place]; }
const char *damage_kind_name(enum damage_kind kind) { return kind_names[kind]; }

static bool ends_with(const char *name, const char *end) {
    size_t size = strlen(name);
    size_t end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static bool is_of(const char *name, enum damage_place place) {
    switch (place) {
    case PLACE_WAL:
        return ends_with(name, ".log");
    case PLACE_SST:
        return ends_with(name, ".sst");
    case PLACE_MANIFEST:
        return strncmp(name, "MANIFEST-", 9) == 0;
    case PLACE_CURRENT:
        return strcmp(name, "CURRENT") == 0;
    case PLACE_OPTIONS:
        return strncmp(name, "OPTIONS-", 8) == 0;
    case PLACE_DB_IDENTITY:
        return strcmp(name, "IDENTITY") == 0;
    case PLACE_MARK:
        return strcmp(name, "mark") == 0;
    case PLACE_IDENTITY:
        return strcmp(name, "identity") == 0;
    default:
        return false;
    }
}

struct files {
    char paths[FILES_MAX][DAMAGE_PATH];
    size_t count;
};

static int compare_paths(const void *left, const void *right) {
    return strcmp(left, right);
}

static void list(struct files *files, const char *dir, enum damage_place place) {
    files->count = 0;
    char at[DAMAGE_PATH];
    bool is_own = place == PLACE_MARK || place == PLACE_IDENTITY;
    damage_path(at, dir, is_own ? "." : "db");
    DIR *stream = opendir(at);
    for (struct dirent *entry = stream == NULL ? NULL : readdir(stream); entry != NULL;
         entry = readdir(stream)) {
        if (is_of(entry->d_name, place) && files->count < FILES_MAX) {
            damage_path(files->paths[files->count++], at, entry->d_name);
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    qsort(files->paths, files->count, sizeof files->paths[0], compare_paths);
}

static uint64_t draw(struct momi_rng *rng, uint64_t count) {
    return momi_rng_between(rng, 0, count - 1);
}

static uint64_t size_of(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/* One of five lies at the end of the file. */
static uint64_t draw_offset(struct momi_rng *rng, uint64_t size) {
    if (size > END_BYTES && draw(rng, 5) == 0) {
        return size - 1 - draw(rng, END_BYTES);
    }
    return draw(rng, size);
}

static void flip(int fd, struct momi_rng *rng, uint64_t at) {
    uint64_t count = draw(rng, 2) == 0 ? 1 : 1 + draw(rng, FLIPS_MAX);
    uint8_t byte = 0;
    if (pread(fd, &byte, 1, (off_t)at) == 1) {
        for (uint64_t i = 0; i < count; i++) {
            byte ^= (uint8_t)(1U << draw(rng, 8));
        }
        byte ^= (uint8_t)(count > 1 ? 0x10 : 0); /* flips may have cancelled out */
        (void)pwrite(fd, &byte, 1, (off_t)at);
    }
}

static bool write_damage(const char *path, enum damage_kind kind, struct momi_rng *rng,
                         char text[DAMAGE_TEXT]) {
    uint64_t size = size_of(path);
    int fd = size == 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    uint64_t at = draw_offset(rng, size);
    uint8_t bytes[PAGE_BYTES] = {0};
    size_t count = sizeof bytes;
    if (kind == KIND_FLIP && is_of(path, PLACE_SST) && draw(rng, 16) == 0) {
        at = size < FOOTER_BYTES ? 0 : size - FOOTER_BYTES;
        (void)pwrite(fd, bytes, 1, (off_t)at); /* "this table has no checksums" */
    } else if (kind == KIND_FLIP) {
        flip(fd, rng, at);
    } else if (kind == KIND_TRUNCATE) {
        (void)ftruncate(fd, (off_t)at);
    } else {
        if (kind == KIND_NOISE) {
            for (size_t i = 0; i < NOISE_BYTES; i++) {
                bytes[i] = (uint8_t)momi_rng_next(rng);
            }
            count = NOISE_BYTES;
        } else {
            at -= at % PAGE_BYTES;
        }
        count = size - at < count ? (size_t)(size - at) : count;
        (void)pwrite(fd, bytes, count, (off_t)at);
    }
    close(fd);
    (void)snprintf(text, DAMAGE_TEXT, "%s of %.150s at %llu of %llu", kind_names[kind],
                   path, (unsigned long long)at, (unsigned long long)size);
    return true;
}

static bool exchange(struct files *files, size_t first, struct momi_rng *rng,
                     char text[DAMAGE_TEXT]) {
    if (files->count < 2) {
        return false;
    }
    size_t second = (first + 1 + draw(rng, files->count - 1)) % files->count;
    char between[DAMAGE_PATH];
    (void)snprintf(between, sizeof between, "%.500s.x", files->paths[first]);
    bool ok = rename(files->paths[first], between) == 0 &&
              rename(files->paths[second], files->paths[first]) == 0 &&
              rename(between, files->paths[second]) == 0;
    (void)snprintf(text, DAMAGE_TEXT, "%.100s exchanged with %.100s", files->paths[first],
                   files->paths[second]);
    return ok;
}

static bool take_old(const char *path, const char *dir, const char *old,
                     char text[DAMAGE_TEXT]) {
    char from[DAMAGE_PATH];
    (void)snprintf(from, sizeof from, "%.250s%.250s", old, path + strlen(dir));
    if (access(from, R_OK) != 0 || unlink(path) != 0) {
        return false;
    }
    damage_copy(from, path);
    (void)snprintf(text, DAMAGE_TEXT, "old version of %.200s", path);
    return true;
}

bool damage_do(const char *dir, const char *old, enum damage_place place,
               enum damage_kind kind, struct momi_rng *rng, char text[DAMAGE_TEXT]) {
    struct files *files = calloc(1, sizeof *files);
    list(files, dir, place);
    bool is_done = files->count > 0;
    size_t at = is_done ? draw(rng, files->count) : 0;
    const char *path = files->paths[at];
    if (!is_done) {
    } else if (kind == KIND_REMOVE) {
        is_done = unlink(path) == 0;
        (void)snprintf(text, DAMAGE_TEXT, "%.200s removed", path);
    } else if (kind == KIND_EXCHANGE) {
        is_done = exchange(files, at, rng, text);
    } else if (kind == KIND_OLD) {
        is_done = take_old(path, dir, old, text);
    } else {
        is_done = write_damage(path, kind, rng, text);
    }
    free(files);
    return is_done;
}
