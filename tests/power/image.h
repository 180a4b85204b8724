/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorded directory as the operating system sees it, and beside it what is durable:
 * for each file its content at the last sync and every change since; for each directory
 * its durable names and every change of a name since. From these a cut (cut.h) makes what
 * a power failure may leave.
 *
 * What a sync promises is taken at its least: of a file its content and length, not its
 * name; of a directory its names, not what they stand for.
 */
#ifndef MOM_TESTS_POWER_IMAGE_H
#define MOM_TESTS_POWER_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "power/record.h"

enum { IMAGE_NAME_BYTES = 64, IMAGE_PATH_BYTES = 512 };

struct content {
    uint8_t *bytes; /* owned */
    size_t size;
    size_t room;
};
void content_resize(struct content *content, size_t size); /* zeros beyond the old end */
void content_write(struct content *content, size_t offset, const void *bytes,
                   size_t size);
void content_copy(struct content *to, const struct content *from);
void content_free(struct content *content);

/* A write, or a truncation to `offset` when `bytes` is NULL. */
struct change {
    uint8_t *bytes; /* owned */
    size_t offset;
    size_t size;
};

struct inode;
struct entry {
    char name[IMAGE_NAME_BYTES];
    struct inode *inode;
};
struct entries {
    struct entry *list; /* owned */
    size_t count;
    size_t room;
};
struct inode *entries_get(const struct entries *entries, const char *name);
void entries_put(struct entries *entries, const char *name, struct inode *inode);
void entries_remove(struct entries *entries, const char *name);
void entries_copy(struct entries *to, const struct entries *from);

struct inode {
    struct inode *next; /* of the image */
    uint64_t number;
    bool is_directory;
    /* Of a file. */
    struct content durable;
    struct content now;
    struct change *changes; /* since the last sync, owned */
    size_t changes_count;
    size_t changes_room;
    /* Of a directory. */
    struct entries names_durable;
    struct entries names_now;
    struct entries names_cut; /* scratch of a cut */
};

/* A change of names that is not durable: `inode` gets the name (`to`, `to_name`), if `to`
 * is not NULL, and loses (`from`, `from_name`), if `from` is not NULL; both at once. */
struct rename {
    uint64_t order; /* of all of the image */
    struct inode *from;
    struct inode *to;
    struct inode *inode;
    char from_name[IMAGE_NAME_BYTES];
    char to_name[IMAGE_NAME_BYTES];
    bool from_synced;
    bool to_synced;
    bool is_cut_in; /* scratch of a cut: it has reached the disk */
};
void rename_apply(const struct rename *change, struct entries *from, struct entries *to);

struct image {
    struct inode *inodes; /* owned; the root is `root` */
    struct inode *root;
    struct rename *renames; /* not durable, in order; owned */
    size_t renames_count;
    size_t renames_room;
    uint64_t order;           /* of the last change of names */
    uint64_t order_committed; /* with a journal of the file system: all up to it */
};

/* Of a directory as it is; all of it counts as durable. */
struct image *image_read(const char *path);
void image_free(struct image *image);
/* False: the log cannot be followed, `what` says why. */
bool image_apply(struct image *image, const struct power_record *record, char *what,
                 size_t what_room);
/* Is the directory what the image says it is now? False: `what` says what is not. */
bool image_equals(const struct image *image, const char *path, char *what,
                  size_t what_room);

#endif
