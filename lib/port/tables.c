/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See tables.h. The footer's layout is that of format versions 1 to 5: kind of checksum
 * (u8), two block handles in 40 bytes, version (u32), magic number (u64).
 */
#include "port/tables.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "port/file.h"

enum { FOOTER_BYTES = 53, NO_CHECKSUM = 0, MAGIC_AT = 45 };
static const uint8_t magic[8] = {0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88};

static bool is_table(const char *name) {
    static const char ending[] = ".sst";
    size_t size = strlen(name);
    return size > sizeof ending - 1 &&
           strcmp(name + size - (sizeof ending - 1), ending) == 0;
}

/* A power cut may leave a table that nobody refers to yet with anything in its last page,
 * zeros most of all: only what is a footer otherwise is looked at. */
static bool is_footer(const uint8_t *footer) {
    return memcmp(footer + MAGIC_AT, magic, sizeof magic) == 0 && footer[1] != 0;
}

/* What is too short or cannot be read is left to RocksDB, which says what it is. */
static bool has_checksums(int dir_fd, const char *name) {
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return true;
    }
    struct stat status;
    uint8_t footer[FOOTER_BYTES];
    bool is_read = fstat(fd, &status) == 0 && status.st_size >= FOOTER_BYTES &&
                   momi_file_pread(fd, footer, sizeof footer,
                                   (size_t)status.st_size - sizeof footer);
    close(fd);
    return !is_read || !is_footer(footer) || footer[0] != NO_CHECKSUM;
}

int momi_tables_check(int dir_fd, const char *name) {
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? MOM_OK /* RocksDB says what is missing */
                               : momi_err(MOM_IO, "%s: %s", name, strerror(errno));
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        close(fd);
        return momi_err(MOM_IO, "listing %s: %s", name, strerror(errno));
    }
    int error = MOM_OK;
    for (struct dirent *entry = readdir(stream); entry != NULL && error == MOM_OK;
         entry = readdir(stream)) {
        if (is_table(entry->d_name) && !has_checksums(dirfd(stream), entry->d_name)) {
            error = momi_err(MOM_CORRUPT, "the table %s says that it has no checksums",
                             entry->d_name);
        }
    }
    closedir(stream);
    return error;
}
