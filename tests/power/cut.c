/* SPDX-License-Identifier: Apache-2.0 */
/* See cut.h. */
#include "power/cut.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

enum { PAGE_BYTES = 4096, SECTOR_BYTES = 512, DEPTH_MAX = 6 };

const char *const cut_names_text[CUT_NAMES_COUNT] = {"kept", "lost", "journal", "ordered",
                                                     "any"};
const char *const cut_data_text[CUT_DATA_COUNT] = {
    "kept", "lost", "prefix", "pages", "sectors", "short", "zeros", "rubbish", "mixed"};

/* ---- Names ---- */

static bool lies_below(const struct image *image, const struct inode *directory,
                       const char *name, const char *change_name) {
    const struct inode *wanted = entries_get(&image->root->names_now, name);
    if (directory == image->root) {
        return strcmp(change_name, name) == 0;
    }
    if (wanted == NULL || directory == wanted) {
        return directory == wanted;
    }
    for (size_t i = 0; i < wanted->names_now.count; i++) {
        if (wanted->names_now.list[i].inode == directory) {
            return true;
        }
    }
    return false;
}

static bool is_spared(const struct image *image, const struct cut *cut,
                      const struct rename *change) {
    const struct inode *directory = change->to != NULL ? change->to : change->from;
    const char *name = change->to != NULL ? change->to_name : change->from_name;
    return cut->only != NULL && !lies_below(image, directory, cut->only, name);
}

/* Where each directory's journal ends, when it has its own. */
static uint64_t limit_of(const struct inode *directory, uint64_t salt, uint64_t low,
                         uint64_t high) {
    uint64_t mixed = (directory->number + 1) * 0x9e3779b97f4a7c15ULL ^ salt;
    mixed = (mixed ^ (mixed >> 29)) * 0xbf58476d1ce4e5b9ULL;
    return low + (mixed >> 11) % (high - low + 1);
}

static bool is_applied(const struct image *image, const struct cut *cut,
                       const struct rename *change, uint64_t limit, uint64_t salt,
                       struct momi_rng *rng) {
    const struct inode *directory = change->to != NULL ? change->to : change->from;
    if (is_spared(image, cut, change)) {
        return true;
    }
    switch (cut->names) {
    case CUT_NAMES_KEPT:
        return true;
    case CUT_NAMES_LOST:
        return false;
    case CUT_NAMES_JOURNAL:
        return change->order <= limit;
    case CUT_NAMES_ORDERED:
        return change->order <=
               limit_of(directory, salt, image->renames[0].order - 1, image->order);
    case CUT_NAMES_ANY:
    case CUT_NAMES_COUNT:
        break;
    }
    return momi_rng_chance(rng, 500000);
}

/* A rename that has reached the disk has everything before it in its directories with it.
 */
static void carry_along(struct image *image, size_t at) {
    const struct rename *change = &image->renames[at];
    if (!change->is_cut_in || change->from == NULL || change->to == NULL) {
        return;
    }
    for (size_t i = 0; i < at; i++) {
        struct rename *before = &image->renames[i];
        bool is_there = before->from == change->from || before->from == change->to ||
                        before->to == change->from || before->to == change->to;
        before->is_cut_in = before->is_cut_in || is_there;
    }
}

static void cut_names(struct image *image, const struct cut *cut, struct momi_rng *rng) {
    for (struct inode *inode = image->inodes; inode != NULL; inode = inode->next) {
        if (inode->is_directory) {
            entries_copy(&inode->names_cut, &inode->names_durable);
        }
    }
    uint64_t limit = momi_rng_between(rng, image->order_committed, image->order);
    uint64_t salt = momi_rng_next(rng);
    for (size_t i = 0; i < image->renames_count; i++) {
        struct rename *change = &image->renames[i];
        change->is_cut_in = is_applied(image, cut, change, limit, salt, rng);
    }
    for (size_t i = image->renames_count; i-- > 0;) {
        carry_along(image, i);
    }
    for (size_t i = 0; i < image->renames_count; i++) {
        const struct rename *change = &image->renames[i];
        struct entries none = {0};
        if (change->is_cut_in) {
            rename_apply(change, change->from == NULL ? &none : &change->from->names_cut,
                         change->to == NULL ? &none : &change->to->names_cut);
        }
    }
}

/* ---- Data ---- */

static void apply_prefix(const struct inode *inode, size_t count, struct content *out) {
    content_copy(out, &inode->durable);
    for (size_t i = 0; i < count; i++) {
        const struct change *change = &inode->changes[i];
        if (change->bytes == NULL) {
            content_resize(out, change->offset);
        } else {
            content_write(out, change->offset, change->bytes, change->size);
        }
    }
}

static bool is_touched(const struct inode *inode, size_t from, size_t to) {
    for (size_t i = 0; i < inode->changes_count; i++) {
        const struct change *change = &inode->changes[i];
        size_t end = change->bytes == NULL ? SIZE_MAX : change->offset + change->size;
        if (change->offset < to && end > from) {
            return true;
        }
    }
    return false;
}

static void copy_unit(struct content *out, const struct content *source, size_t from,
                      size_t to) {
    size_t end = to < source->size ? to : source->size;
    memset(out->bytes + from, 0, to - from);
    if (from < end) {
        memcpy(out->bytes + from, source->bytes + from, end - from);
    }
}

/* Each unit of `out`, which is at full length, becomes an old or a middle one, or stays.
 */
static void tear(const struct inode *inode, size_t unit, struct momi_rng *rng,
                 struct content *out) {
    struct content middle = {0};
    apply_prefix(inode, momi_rng_between(rng, 0, inode->changes_count), &middle);
    for (size_t from = 0; from < out->size; from += unit) {
        size_t to = from + unit < out->size ? from + unit : out->size;
        uint64_t kind = momi_rng_between(rng, 0, 4);
        if (kind >= 3 || !is_touched(inode, from, to)) {
            continue;
        }
        copy_unit(out, kind == 2 ? &middle : &inode->durable, from, to);
    }
    content_free(&middle);
}

/* Units beyond what was durable that hold other data. What is overwritten in place is old
 * or new: a sector is written whole. */
static void spoil(const struct inode *inode, struct momi_rng *rng, struct content *out) {
    size_t first = (inode->durable.size + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    for (size_t from = first; from < out->size; from += SECTOR_BYTES) {
        size_t to = from + SECTOR_BYTES < out->size ? from + SECTOR_BYTES : out->size;
        if (momi_rng_chance(rng, 400000)) {
            for (size_t i = from; i < to; i++) {
                out->bytes[i] = (uint8_t)(momi_rng_next(rng) >> 56);
            }
        }
    }
}

/* See `torn_manifests`: what a manifest loses it loses from its end. */
static enum cut_data spare_records(enum cut_data data) {
    bool tears =
        data == CUT_DATA_PAGES || data == CUT_DATA_SECTORS || data == CUT_DATA_RUBBISH;
    return tears ? CUT_DATA_PREFIX : data;
}

static void cut_data(const struct inode *inode, enum cut_data data, bool may_tear,
                     struct momi_rng *rng, struct content *out) {
    if (data == CUT_DATA_MIXED) {
        data = (enum cut_data)momi_rng_between(rng, CUT_DATA_KEPT, CUT_DATA_RUBBISH);
    }
    data = may_tear ? data : spare_records(data);
    content_copy(out, &inode->now);
    switch (data) {
    case CUT_DATA_KEPT:
        break;
    case CUT_DATA_LOST:
        content_copy(out, &inode->durable);
        break;
    case CUT_DATA_PREFIX:
        apply_prefix(inode, momi_rng_between(rng, 0, inode->changes_count), out);
        break;
    case CUT_DATA_PAGES:
        tear(inode, PAGE_BYTES, rng, out);
        break;
    case CUT_DATA_SECTORS:
        tear(inode, SECTOR_BYTES, rng, out);
        break;
    case CUT_DATA_SHORT:
        if (may_tear) {
            tear(inode, SECTOR_BYTES, rng, out);
        }
        if (out->size > inode->durable.size) {
            content_resize(out, momi_rng_between(rng, inode->durable.size, out->size));
        }
        break;
    case CUT_DATA_ZEROS:
        content_copy(out, &inode->durable);
        content_resize(out, inode->now.size);
        break;
    case CUT_DATA_RUBBISH:
        tear(inode, PAGE_BYTES, rng, out);
        spoil(inode, rng, out);
        break;
    case CUT_DATA_MIXED:
    case CUT_DATA_COUNT:
        break;
    }
}

/* ---- Making it ---- */

struct making {
    const struct cut *cut;
    struct momi_rng *rng;
    struct content content;
    uint64_t hash;
};

static void mix(struct making *making, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    uint64_t hash = making->hash ^ size;
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * 0x9fb21c651e98df25ULL;
        hash ^= hash >> 32;
    }
    for (; size > 0; size--, at++) {
        hash = (hash ^ *at) * 0x100000001b3ULL;
    }
    making->hash = hash;
}

static void make_file(struct making *making, const struct inode *inode, bool may_lose,
                      const char *path) {
    const struct content *content = &inode->now;
    if (inode->changes_count > 0 && may_lose) {
        const char *name = strrchr(path, '/') + 1;
        bool is_manifest = strncmp(name, "MANIFEST-", strlen("MANIFEST-")) == 0;
        cut_data(inode, making->cut->data, !is_manifest || making->cut->torn_manifests,
                 making->rng, &making->content);
        content = &making->content;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    MOMI_ASSERT(fd >= 0);
    size_t done = 0;
    while (done < content->size) {
        ssize_t count = write(fd, content->bytes + done, content->size - done);
        MOMI_ASSERT(count > 0);
        done += (size_t)count;
    }
    close(fd);
    mix(making, content->bytes, content->size);
}

static void make_directory(struct making *making, const struct inode *inode,
                           bool may_lose, const char *path, int depth) {
    MOMI_ASSERT(depth < DEPTH_MAX);
    MOMI_ASSERT(mkdir(path, 0700) == 0);
    for (size_t i = 0; i < inode->names_cut.count; i++) {
        const struct entry *entry = &inode->names_cut.list[i];
        char below[IMAGE_PATH_BYTES];
        (void)snprintf(below, sizeof below, "%s/%s", path, entry->name);
        mix(making, entry->name, strlen(entry->name));
        bool is_only =
            making->cut->only == NULL ||
            (depth == 0 ? strcmp(entry->name, making->cut->only) == 0 : may_lose);
        if (entry->inode->is_directory) {
            make_directory(making, entry->inode, is_only, below, depth + 1);
        } else {
            make_file(making, entry->inode, is_only, below);
        }
    }
}

bool cut_has_choice(const struct image *image) {
    if (image->renames_count > 0) {
        return true;
    }
    for (const struct inode *inode = image->inodes; inode != NULL; inode = inode->next) {
        if (inode->changes_count > 0) {
            return true;
        }
    }
    return false;
}

uint64_t cut_make(struct image *image, const struct cut *cut, struct momi_rng *rng,
                  const char *path) {
    struct making making = {.cut = cut, .rng = rng, .hash = 1};
    cut_names(image, cut, rng);
    make_directory(&making, image->root, true, path, 0);
    content_free(&making.content);
    return making.hash;
}
