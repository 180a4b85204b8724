/* SPDX-License-Identifier: Apache-2.0 */
/* See image.h. */
#include "power/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

enum { DEPTH_MAX = 6 };

/* ---- Contents ---- */

void content_resize(struct content *content, size_t size) {
    if (size > content->room) {
        content->room = size + size / 2 + 64;
        content->bytes = momi_must_realloc(content->bytes, content->room);
    }
    if (size > content->size) {
        memset(content->bytes + content->size, 0, size - content->size);
    }
    content->size = size;
}

void content_write(struct content *content, size_t offset, const void *bytes,
                   size_t size) {
    if (offset + size > content->size) {
        content_resize(content, offset + size);
    }
    if (size > 0) {
        memcpy(content->bytes + offset, bytes, size);
    }
}

void content_copy(struct content *to, const struct content *from) {
    content_resize(to, 0);
    content_write(to, 0, from->bytes, from->size);
}

void content_free(struct content *content) {
    momi_free(content->bytes);
    *content = (struct content){0};
}

/* ---- Names ---- */

static struct entry *find(const struct entries *entries, const char *name) {
    for (size_t i = 0; i < entries->count; i++) {
        if (strcmp(entries->list[i].name, name) == 0) {
            return &entries->list[i];
        }
    }
    return NULL;
}

struct inode *entries_get(const struct entries *entries, const char *name) {
    const struct entry *entry = find(entries, name);
    return entry == NULL ? NULL : entry->inode;
}

void entries_put(struct entries *entries, const char *name, struct inode *inode) {
    struct entry *entry = find(entries, name);
    if (entry == NULL) {
        if (entries->count == entries->room) {
            entries->room = entries->room * 2 + 8;
            entries->list =
                momi_must_realloc(entries->list, entries->room * sizeof *entries->list);
        }
        entry = &entries->list[entries->count++];
        (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    }
    entry->inode = inode;
}

void entries_remove(struct entries *entries, const char *name) {
    struct entry *entry = find(entries, name);
    if (entry != NULL) {
        entries->count--;
        memmove(entry, entry + 1,
                (size_t)(entries->list + entries->count - entry) * sizeof *entry);
    }
}

void entries_copy(struct entries *to, const struct entries *from) {
    to->count = 0;
    for (size_t i = 0; i < from->count; i++) {
        entries_put(to, from->list[i].name, from->list[i].inode);
    }
}

void rename_apply(const struct rename *change, struct entries *from, struct entries *to) {
    if (change->from != NULL && entries_get(from, change->from_name) == change->inode) {
        entries_remove(from, change->from_name);
    }
    if (change->to != NULL) {
        entries_put(to, change->to_name, change->inode);
    }
}

/* ---- Reading a directory ---- */

static struct inode *add_inode(struct image *image, uint64_t number, bool is_directory) {
    struct inode *inode = momi_must_calloc(1, sizeof *inode);
    inode->number = number;
    inode->is_directory = is_directory;
    inode->next = image->inodes;
    image->inodes = inode;
    return inode;
}

static bool read_content(const char *path, struct content *content) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_read = fd >= 0 && fstat(fd, &status) == 0;
    content_resize(content, 0);
    if (is_read) {
        content_resize(content, (size_t)status.st_size);
        ssize_t size = read(fd, content->bytes, content->size);
        is_read = size >= 0 && (size_t)size == content->size;
    }
    if (fd >= 0) {
        close(fd);
    }
    return is_read;
}

static struct inode *read_inode(struct image *image, const char *path, int depth);

static void read_names(struct image *image, struct inode *inode, const char *path,
                       int depth) {
    DIR *stream = opendir(path);
    MOMI_ASSERT(stream != NULL);
    for (struct dirent *item = readdir(stream); item != NULL; item = readdir(stream)) {
        char below[IMAGE_PATH_BYTES];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(below, sizeof below, "%s/%s", path, item->d_name);
        struct inode *child = read_inode(image, below, depth + 1);
        entries_put(&inode->names_now, item->d_name, child);
        entries_put(&inode->names_durable, item->d_name, child);
    }
    closedir(stream);
}

static struct inode *read_inode(struct image *image, const char *path, int depth) {
    struct stat status;
    MOMI_ASSERT(depth < DEPTH_MAX);
    MOMI_ASSERT(lstat(path, &status) == 0);
    struct inode *inode = add_inode(image, status.st_ino, S_ISDIR(status.st_mode));
    if (inode->is_directory) {
        read_names(image, inode, path, depth);
    } else {
        MOMI_ASSERT(read_content(path, &inode->now));
        content_copy(&inode->durable, &inode->now);
    }
    return inode;
}

struct image *image_read(const char *path) {
    struct image *image = momi_must_calloc(1, sizeof *image);
    image->root = read_inode(image, path, 0);
    return image;
}

static void forget_changes(struct inode *inode) {
    for (size_t i = 0; i < inode->changes_count; i++) {
        momi_free(inode->changes[i].bytes);
    }
    inode->changes_count = 0;
}

void image_free(struct image *image) {
    while (image->inodes != NULL) {
        struct inode *inode = image->inodes;
        image->inodes = inode->next;
        forget_changes(inode);
        momi_free(inode->changes);
        content_free(&inode->durable);
        content_free(&inode->now);
        momi_free(inode->names_durable.list);
        momi_free(inode->names_now.list);
        momi_free(inode->names_cut.list);
        momi_free(inode);
    }
    momi_free(image->renames);
    momi_free(image);
}

/* ---- Applying the log ---- */

static struct inode *by_number(const struct image *image, uint64_t number) {
    for (struct inode *inode = image->inodes; inode != NULL; inode = inode->next) {
        if (inode->number == number) {
            return inode;
        }
    }
    return NULL;
}

/* The directory of a path, and the last part of it. NULL: it is not there. */
static struct inode *walk(const struct image *image, const char *path,
                          const char **last) {
    struct inode *inode = image->root;
    for (const char *slash = strchr(path, '/'); inode != NULL && slash != NULL;
         slash = strchr(path, '/')) {
        char part[IMAGE_NAME_BYTES];
        (void)snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (slash != path && strcmp(part, ".") != 0) {
            inode = entries_get(&inode->names_now, part);
        }
        path = slash + 1;
    }
    *last = path;
    return inode != NULL && inode->is_directory ? inode : NULL;
}

static struct rename *add_rename(struct image *image) {
    if (image->renames_count == image->renames_room) {
        image->renames_room = image->renames_room * 2 + 16;
        image->renames = momi_must_realloc(image->renames,
                                           image->renames_room * sizeof *image->renames);
    }
    struct rename *change = &image->renames[image->renames_count++];
    *change = (struct rename){.order = ++image->order};
    return change;
}

static void finish_rename(struct rename *change) {
    struct entries none = {0};
    rename_apply(change, change->from == NULL ? &none : &change->from->names_now,
                 change->to == NULL ? &none : &change->to->names_now);
    change->from_synced = change->from == NULL;
    change->to_synced = change->to == NULL;
}

static bool apply_name(struct image *image, const struct power_record *record,
                       const char *path, const char *payload) {
    const char *name;
    const char *target_name;
    char target[IMAGE_PATH_BYTES];
    struct inode *directory = walk(image, path, &name);
    if (directory == NULL) {
        return false;
    }
    struct inode *inode = entries_get(&directory->names_now, name);
    struct rename *change = add_rename(image);
    (void)snprintf(change->from_name, sizeof change->from_name, "%s", name);
    (void)snprintf(target, sizeof target, "%.*s", (int)record->payload_size, payload);
    switch ((enum power_op)record->op) {
    case POWER_CREATE:
    case POWER_MKDIR:
        change->to = directory;
        (void)snprintf(change->to_name, sizeof change->to_name, "%s", name);
        inode = add_inode(image, record->inode, record->op == POWER_MKDIR);
        break;
    case POWER_RENAME:
    case POWER_LINK:
        change->from = record->op == POWER_RENAME ? directory : NULL;
        change->to = walk(image, target, &target_name);
        if (change->to == NULL) {
            return false;
        }
        (void)snprintf(change->to_name, sizeof change->to_name, "%s", target_name);
        break;
    default:
        change->from = directory;
        break;
    }
    change->inode = inode;
    finish_rename(change);
    return inode != NULL;
}

static void add_change(struct inode *inode, size_t offset, const void *bytes,
                       size_t size) {
    if (inode->changes_count == inode->changes_room) {
        inode->changes_room = inode->changes_room * 2 + 8;
        inode->changes = momi_must_realloc(inode->changes,
                                           inode->changes_room * sizeof *inode->changes);
    }
    struct change *change = &inode->changes[inode->changes_count++];
    *change = (struct change){.offset = offset, .size = size};
    if (bytes == NULL) {
        content_resize(&inode->now, offset);
        return;
    }
    change->bytes = momi_must_alloc(size);
    memcpy(change->bytes, bytes, size);
    content_write(&inode->now, offset, bytes, size);
}

static void sync_file(struct inode *inode) {
    if (inode->changes_count > 0) {
        content_copy(&inode->durable, &inode->now);
        forget_changes(inode);
    }
}

/* Names of the directory that changed are durable now, those of a change between two
 * directories when both are. */
static void sync_names(struct image *image, const struct inode *directory) {
    size_t kept = 0;
    for (size_t i = 0; i < image->renames_count; i++) {
        struct rename *change = &image->renames[i];
        struct entries none = {0};
        change->from_synced |= change->from == directory;
        change->to_synced |= change->to == directory;
        if (change->from_synced && change->to_synced) {
            rename_apply(change,
                         change->from == NULL ? &none : &change->from->names_durable,
                         change->to == NULL ? &none : &change->to->names_durable);
        } else {
            image->renames[kept++] = *change;
        }
    }
    image->renames_count = kept;
}

static bool apply_sync(struct image *image, const struct power_record *record) {
    image->order_committed = image->order;
    for (struct inode *inode = image->inodes; inode != NULL; inode = inode->next) {
        if (record->op == POWER_SYNC && inode->number != record->inode) {
            continue;
        }
        if (inode->is_directory) {
            sync_names(image, inode);
        } else {
            sync_file(inode);
        }
    }
    return record->op == POWER_SYNC_ALL || by_number(image, record->inode) != NULL;
}

static bool apply(struct image *image, const struct power_record *record,
                  const char *path, const void *payload) {
    struct inode *inode = NULL;
    switch ((enum power_op)record->op) {
    case POWER_CREATE:
    case POWER_MKDIR:
    case POWER_RENAME:
    case POWER_LINK:
    case POWER_UNLINK:
        return apply_name(image, record, path, payload);
    case POWER_WRITE:
    case POWER_TRUNCATE:
        inode = by_number(image, record->inode);
        if (inode != NULL) {
            add_change(inode, record->offset, record->op == POWER_WRITE ? payload : NULL,
                       record->payload_size);
        }
        return inode != NULL;
    case POWER_SYNC:
    case POWER_SYNC_ALL:
        return apply_sync(image, record);
    case POWER_FACT:
        return true;
    case POWER_PROBLEM:
        return false;
    }
    return false;
}

bool image_apply(struct image *image, const struct power_record *record, char *what,
                 size_t what_room) {
    const char *path = (const char *)(record + 1);
    const char *payload = path + record->path_size;
    if (apply(image, record, path, payload)) {
        return true;
    }
    (void)snprintf(what, what_room, "the log cannot be followed: op %u, \"%s\", %.*s",
                   (unsigned)record->op, path,
                   record->op == POWER_PROBLEM || record->op == POWER_RENAME
                       ? (int)record->payload_size
                       : 0,
                   payload);
    return false;
}

/* ---- Comparing ---- */

static bool inode_equals(const struct inode *inode, const char *path, char *what,
                         size_t what_room, int depth);

static size_t count_names(const char *path) {
    size_t count = 0;
    DIR *stream = opendir(path);
    for (struct dirent *item = stream == NULL ? NULL : readdir(stream); item != NULL;
         item = readdir(stream)) {
        count++;
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return count < 2 ? 0 : count - 2; /* without . and .. */
}

static bool names_equal(const struct inode *inode, const char *path, char *what,
                        size_t what_room, int depth) {
    const struct entries *names = &inode->names_now;
    if (count_names(path) != names->count) {
        (void)snprintf(what, what_room, "%s has other files than its record", path);
        return false;
    }
    for (size_t i = 0; i < names->count; i++) {
        char below[IMAGE_PATH_BYTES];
        (void)snprintf(below, sizeof below, "%s/%s", path, names->list[i].name);
        if (!inode_equals(names->list[i].inode, below, what, what_room, depth + 1)) {
            return false;
        }
    }
    return true;
}

static bool inode_equals(const struct inode *inode, const char *path, char *what,
                         size_t what_room, int depth) {
    MOMI_ASSERT(depth < DEPTH_MAX);
    if (inode->is_directory) {
        return names_equal(inode, path, what, what_room, depth);
    }
    struct content content = {0};
    bool is_same =
        read_content(path, &content) && content.size == inode->now.size &&
        (content.size == 0 || memcmp(content.bytes, inode->now.bytes, content.size) == 0);
    content_free(&content);
    if (!is_same) {
        (void)snprintf(what, what_room, "%s is not what was recorded", path);
    }
    return is_same;
}

bool image_equals(const struct image *image, const char *path, char *what,
                  size_t what_room) {
    return inode_equals(image->root, path, what, what_room, 0);
}
