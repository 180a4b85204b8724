/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mark file: see mark.h. Slot layout, little-endian: magic (8), format (u32), flags
 * (u32), number (u64), generation (u64), crc32c over all before (u32). Generation g lives
 * in slot g & 1; the valid slot with the higher generation counts.
 */
#include "port/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/pack.h"
#include "port/file.h"

enum {
    SLOT_STRIDE = 4096, /* a page each, so that one torn write damages one slot */
    SLOTS_COUNT = 2,
    SLOT_BYTES = 36,
    FORMAT = 1,
    FLAG_ESTABLISHED = 1,
    FLAG_CLEAN = 2,
    FLAG_DAMAGED = 4,
};
static const char magic[8] = {'m', 'o', 'm', ' ', 'm', 'a', 'r', 'k'};

struct momi_mark {
    int fd;
    bool is_dirty;  /* set but not synced */
    bool is_failed; /* an error is never retried */
    uint64_t generation;
    struct momi_mark_value value;
};

static void encode(uint8_t *out, uint64_t generation, struct momi_mark_value value) {
    uint32_t flags = (value.is_established ? FLAG_ESTABLISHED : 0U) |
                     (value.is_clean ? FLAG_CLEAN : 0U) |
                     (value.is_damaged ? FLAG_DAMAGED : 0U);
    memcpy(out, magic, sizeof magic);
    momi_store_le32(out + 8, FORMAT);
    momi_store_le32(out + 12, flags);
    momi_store_le64(out + 16, value.number);
    momi_store_le64(out + 24, generation);
    momi_store_le32(out + 32, momi_crc32c(0, out, 32));
}

/* 0, MOM_CORRUPT or MOM_VERSION; sets no error text, since one bad slot is no error. */
static int decode(const uint8_t *in, uint64_t *generation,
                  struct momi_mark_value *value) {
    if (memcmp(in, magic, sizeof magic) != 0 ||
        momi_load_le32(in + 32) != momi_crc32c(0, in, 32)) {
        return MOM_CORRUPT;
    }
    if (momi_load_le32(in + 8) != FORMAT) {
        return MOM_VERSION;
    }
    uint32_t flags = momi_load_le32(in + 12);
    *generation = momi_load_le64(in + 24);
    *value = (struct momi_mark_value){
        .number = momi_load_le64(in + 16),
        .is_established = (flags & FLAG_ESTABLISHED) != 0,
        .is_clean = (flags & FLAG_CLEAN) != 0,
        .is_damaged = (flags & FLAG_DAMAGED) != 0,
    };
    return 0;
}

int momi_mark_create(int dir_fd) {
    uint8_t content[SLOTS_COUNT * SLOT_STRIDE] = {0};
    uint64_t generation = 1;
    encode(content + (generation % SLOTS_COUNT) * SLOT_STRIDE, generation,
           (struct momi_mark_value){0});
    return momi_file_replace(dir_fd, MOMI_MARK_NAME, momi_slice(content, sizeof content));
}

static int load(struct momi_mark *mark) {
    int result = MOM_CORRUPT;
    for (size_t i = 0; i < SLOTS_COUNT; i++) {
        uint8_t slot[SLOT_BYTES];
        if (!momi_file_pread(mark->fd, slot, sizeof slot, i * SLOT_STRIDE)) {
            continue; /* an unreadable slot is a damaged one */
        }
        uint64_t generation = 0;
        struct momi_mark_value value = {0};
        int error = decode(slot, &generation, &value);
        if (error == MOM_VERSION) {
            return momi_err(MOM_VERSION, "the mark file is of a newer format");
        }
        if (error == 0 && generation % SLOTS_COUNT == i &&
            generation > mark->generation) {
            mark->generation = generation;
            mark->value = value;
            result = 0;
        }
    }
    return result == 0 ? 0
                       : momi_err(MOM_CORRUPT, "the mark file is damaged in both slots");
}

int momi_mark_open(int dir_fd, struct momi_mark **mark) {
    struct momi_mark *opened = momi_calloc(1, sizeof *opened);
    if (opened == NULL) {
        return momi_err(MOM_NO_MEMORY, "opening the mark file");
    }
    opened->fd = openat(dir_fd, MOMI_MARK_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (opened->fd < 0) {
        int class = errno == ENOENT ? MOM_NOT_FOUND : MOM_IO;
        int error = momi_err(class, "opening the mark file: %s", strerror(errno));
        momi_free(opened);
        return error;
    }
    int error = load(opened);
    if (error != 0) {
        momi_mark_close(opened);
        return error;
    }
    *mark = opened;
    return 0;
}

void momi_mark_close(struct momi_mark *mark) {
    if (mark == NULL) {
        return;
    }
    close(mark->fd);
    momi_free(mark);
}

struct momi_mark_value momi_mark_get(const struct momi_mark *mark) {
    return mark->value;
}

int momi_mark_set(struct momi_mark *mark, struct momi_mark_value value) {
    if (mark->is_failed) {
        return momi_err(MOM_IO, "the mark file failed before");
    }
    uint64_t generation = mark->generation + 1;
    uint8_t slot[SLOT_BYTES];
    encode(slot, generation, value);
    size_t offset = (size_t)(generation % SLOTS_COUNT) * SLOT_STRIDE;
    if (!momi_file_pwrite(mark->fd, momi_slice(slot, sizeof slot), offset)) {
        mark->is_failed = true;
        return momi_err(MOM_IO, "writing the mark file: %s", strerror(errno));
    }
    mark->generation = generation;
    mark->value = value;
    mark->is_dirty = true;
    return 0;
}

int momi_mark_sync(struct momi_mark *mark) {
    if (mark->is_failed) {
        return momi_err(MOM_IO, "the mark file failed before");
    }
    if (!mark->is_dirty) {
        return 0;
    }
    if (fdatasync(mark->fd) != 0) {
        mark->is_failed = true;
        return momi_err(MOM_IO, "syncing the mark file: %s", strerror(errno));
    }
    mark->is_dirty = false;
    return 0;
}
