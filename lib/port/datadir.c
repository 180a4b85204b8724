/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data directory: see datadir.h. Identity, little-endian: magic (8), format (u32),
 * seed (32), mesh id (16), incarnation (u64), crc32c over all before (u32). It is only
 * ever replaced as a whole.
 *
 * Setting aside moves the database, then the mark, then copies the identity, and last
 * replaces the identity in place; every step is durable before the next and may be
 * repeated. So the directory is never without an identity, and a kept-N whose identity is
 * missing or still ours tells of an unfinished one.
 */
#include "port/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/pack.h"
#include "port/file.h"
#include "port/mark.h"

#define LOCK_NAME     "lock"
#define IDENTITY_NAME "identity"
#define DATABASE_NAME "db"
#define KEPT_PREFIX   "kept-"

enum {
    IDENTITY_FORMAT = 1,
    IDENTITY_BYTES = 72,
    SEED_AT = 12,
    MESH_AT = SEED_AT + MOMI_DATADIR_SEED_BYTES,
    INCARNATION_AT = MESH_AT + MOMI_DATADIR_MESH_BYTES,
    CHECKSUM_AT = INCARNATION_AT + 8,
    KEPT_NAME_BYTES = 32,
    PID_BYTES = 32,
};
static const char magic[8] = {'m', 'o', 'm', ' ', 'n', 'o', 'd', 'e'};

struct momi_datadir {
    char path[PATH_MAX]; /* absolute, without links */
    int dir_fd;
    int lock_fd;
    pid_t opener;
    uint32_t kept;
    struct momi_datadir_identity identity;
};

/* ---- Identity ---- */

static void encode(uint8_t *out, const struct momi_datadir_identity *identity) {
    memcpy(out, magic, sizeof magic);
    momi_store_le32(out + sizeof magic, IDENTITY_FORMAT);
    memcpy(out + SEED_AT, identity->seed, sizeof identity->seed);
    memcpy(out + MESH_AT, identity->mesh_id, sizeof identity->mesh_id);
    momi_store_le64(out + INCARNATION_AT, identity->incarnation);
    momi_store_le32(out + CHECKSUM_AT, momi_crc32c(0, out, CHECKSUM_AT));
}

static int decode(const uint8_t *in, size_t size,
                  struct momi_datadir_identity *identity) {
    bool is_ours = size >= sizeof magic + 4 && memcmp(in, magic, sizeof magic) == 0;
    if (is_ours && size == IDENTITY_BYTES &&
        momi_load_le32(in + CHECKSUM_AT) == momi_crc32c(0, in, CHECKSUM_AT)) {
        uint32_t format = momi_load_le32(in + sizeof magic);
        if (format != IDENTITY_FORMAT) {
            return momi_err(MOM_VERSION, "the identity file is of format %u",
                            (unsigned)format);
        }
        memcpy(identity->seed, in + SEED_AT, sizeof identity->seed);
        memcpy(identity->mesh_id, in + MESH_AT, sizeof identity->mesh_id);
        identity->incarnation = momi_load_le64(in + INCARNATION_AT);
        return 0;
    }
    return momi_err(MOM_CORRUPT, "the identity file is damaged");
}

static int write_identity(int dir_fd, const struct momi_datadir_identity *identity) {
    uint8_t content[IDENTITY_BYTES];
    encode(content, identity);
    int error =
        momi_file_replace(dir_fd, IDENTITY_NAME, momi_slice(content, sizeof content));
    explicit_bzero(content, sizeof content);
    return error;
}

/* MOM_NOT_FOUND: there is none. */
static int read_identity(int dir_fd, struct momi_datadir_identity *identity) {
    uint8_t content[IDENTITY_BYTES + 1]; /* one more, to see a file that is too long */
    size_t size = 0;
    int error = momi_file_read(dir_fd, IDENTITY_NAME, content, sizeof content, &size);
    if (error == 0) {
        error = decode(content, size, identity);
    }
    explicit_bzero(content, sizeof content);
    return error;
}

static int random_bytes(void *out, size_t size) {
    ssize_t count = 0;
    do {
        count = getrandom(out, size, 0);
    } while (count < 0 && errno == EINTR);
    if (count < 0 || (size_t)count != size) {
        return momi_err(MOM_IO, "random numbers of the system: %s", strerror(errno));
    }
    return 0;
}

/* A new name for the node in a directory that holds no database: first the mark, then the
 * identity. */
static int make_identity(struct momi_datadir *dir, const uint8_t *mesh_id) {
    struct momi_datadir_identity made = {.incarnation = 1, .is_new = true};
    made.boot_nonce = dir->identity.boot_nonce;
    if (mesh_id != NULL) {
        memcpy(made.mesh_id, mesh_id, sizeof made.mesh_id);
    }
    int error = random_bytes(made.seed, sizeof made.seed);
    if (error == 0) {
        error = momi_mark_create(dir->dir_fd);
    }
    if (error == 0) {
        error = write_identity(dir->dir_fd, &made);
    }
    if (error == 0) {
        dir->identity = made;
    }
    explicit_bzero(&made, sizeof made);
    return error;
}

/* ---- Setting aside ---- */

static void kept_name(char *out, uint32_t number) {
    (void)snprintf(out, KEPT_NAME_BYTES, KEPT_PREFIX "%u",
                   (unsigned)number); /* fits always */
}

static int open_kept(const struct momi_datadir *dir, uint32_t number, int *kept_fd) {
    char name[KEPT_NAME_BYTES];
    kept_name(name, number);
    *kept_fd = openat(dir->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *kept_fd >= 0 ? 0 : momi_err(MOM_IO, "opening %s: %s", name, strerror(errno));
}

/* Moves `name` unless it was moved before. */
static int move_aside(const struct momi_datadir *dir, int kept_fd, const char *name) {
    if (momi_file_exists(kept_fd, name) || !momi_file_exists(dir->dir_fd, name)) {
        return 0;
    }
    if (renameat(dir->dir_fd, name, kept_fd, name) != 0) {
        return momi_err(MOM_IO, "setting %s aside: %s", name, strerror(errno));
    }
    int error = momi_file_sync_dir(kept_fd);
    return error != 0 ? error : momi_file_sync_dir(dir->dir_fd);
}

static int finish_aside(struct momi_datadir *dir, uint32_t number) {
    int kept_fd = -1;
    int error = open_kept(dir, number, &kept_fd);
    if (error != 0) {
        return error;
    }
    error = move_aside(dir, kept_fd, DATABASE_NAME);
    if (error == 0) {
        error = move_aside(dir, kept_fd, MOMI_MARK_NAME);
    }
    if (error == 0) {
        error = write_identity(kept_fd, &dir->identity);
    }
    close(kept_fd);
    return error != 0 ? error : make_identity(dir, dir->identity.mesh_id);
}

/* Is kept-N from a setting aside that a crash has cut short? */
static bool is_unfinished(const struct momi_datadir *dir, uint32_t number) {
    int kept_fd = -1;
    if (open_kept(dir, number, &kept_fd) != 0) {
        return false;
    }
    struct momi_datadir_identity kept;
    int error = read_identity(kept_fd, &kept);
    close(kept_fd);
    bool is_ours =
        error == 0 && memcmp(kept.seed, dir->identity.seed, sizeof kept.seed) == 0;
    explicit_bzero(&kept, sizeof kept);
    return error == MOM_NOT_FOUND || is_ours;
}

static uint32_t last_kept(const struct momi_datadir *dir) {
    uint32_t last = 0;
    for (uint32_t number = 1; number <= MOMI_DATADIR_KEPT_MAX; number++) {
        char name[KEPT_NAME_BYTES];
        kept_name(name, number);
        if (!momi_file_exists(dir->dir_fd, name)) {
            break;
        }
        last = number;
    }
    return last;
}

int momi_datadir_set_aside(struct momi_datadir *dir) {
    if (dir->kept >= MOMI_DATADIR_KEPT_MAX) {
        return momi_err(MOM_FULL, "%s holds %u kept stores", dir->path,
                        (unsigned)dir->kept);
    }
    char name[KEPT_NAME_BYTES];
    kept_name(name, dir->kept + 1);
    /* There already, if an earlier call failed half-way. */
    if (mkdirat(dir->dir_fd, name, 0700) != 0 && errno != EEXIST) {
        return momi_err(MOM_IO, "making %s: %s", name, strerror(errno));
    }
    int error = momi_file_sync_dir(dir->dir_fd);
    if (error == 0) {
        error = finish_aside(dir, dir->kept + 1);
    }
    if (error == 0) {
        dir->kept++;
    }
    return error;
}

/* ---- Opening ---- */

static bool may_precede_identity(const char *name) {
    static const char *const names[] = {
        ".",
        "..",
        "lost+found",
        LOCK_NAME,
        IDENTITY_NAME ".tmp",
        MOMI_MARK_NAME,
        MOMI_MARK_NAME ".tmp",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A directory without identity may hold only what a crash during its making can leave
 * behind. */
static int check_empty(const struct momi_datadir *dir) {
    int fd = openat(dir->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        int error = momi_err(MOM_IO, "listing %s: %s", dir->path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return error;
    }
    int error = 0;
    errno = 0;
    for (struct dirent *entry = readdir(stream); entry != NULL && error == 0;
         entry = readdir(stream)) {
        if (!may_precede_identity(entry->d_name)) {
            error = momi_err(MOM_CORRUPT, "%s is not empty (%s), but has no identity",
                             dir->path, entry->d_name);
        }
    }
    if (error == 0 && errno != 0) {
        error = momi_err(MOM_IO, "listing %s: %s", dir->path, strerror(errno));
    }
    closedir(stream);
    return error;
}

static int check_no_database(const struct momi_datadir *dir) {
    struct momi_mark *mark = NULL;
    int error = momi_mark_open(dir->dir_fd, &mark);
    if (error == MOM_NOT_FOUND) {
        return 0;
    }
    if (error == 0 && momi_mark_get(mark).is_established) {
        error = momi_err(MOM_CORRUPT, "%s has lost its identity", dir->path);
    }
    momi_mark_close(mark);
    return error;
}

/* Makes the name of the directory survive a power cut. Whoever made it may have been
 * killed before this, so it is repeated until there is an identity. */
static int sync_parent(const struct momi_datadir *dir) {
    int parent_fd = openat(dir->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd < 0) {
        return errno == EACCES
                   ? 0 /* not ours to look into, and so not made by us */
                   : momi_err(MOM_IO, "above %s: %s", dir->path, strerror(errno));
    }
    int error = 0;
    /* EINVAL, EROFS: nothing can be made there. */
    if (fsync(parent_fd) != 0 && errno != EINVAL && errno != EROFS) {
        error = momi_err(MOM_IO, "sync of the directory above %s: %s", dir->path,
                         strerror(errno));
    }
    close(parent_fd);
    return error;
}

static int found_identity(struct momi_datadir *dir) {
    int error = check_empty(dir);
    if (error == 0) {
        error = check_no_database(dir);
    }
    if (error == 0) {
        error = sync_parent(dir);
    }
    return error != 0 ? error : make_identity(dir, NULL);
}

static int load_identity(struct momi_datadir *dir) {
    int error = random_bytes(&dir->identity.boot_nonce, sizeof dir->identity.boot_nonce);
    if (error != 0) {
        return error;
    }
    error = read_identity(dir->dir_fd, &dir->identity);
    if (error == MOM_NOT_FOUND) {
        return found_identity(dir);
    }
    if (error != 0) {
        return error;
    }
    dir->kept = last_kept(dir);
    if (dir->kept > 0 && is_unfinished(dir, dir->kept)) {
        return finish_aside(dir, dir->kept);
    }
    dir->identity.incarnation++;
    return write_identity(dir->dir_fd, &dir->identity);
}

static int refuse_in_use(const struct momi_datadir *dir) {
    char pid[PID_BYTES] = "";
    ssize_t size = pread(dir->lock_fd, pid, sizeof pid - 1, 0);
    pid[size > 0 ? size : 0] = '\0';
    return momi_err(MOM_CONFLICT, "%s is in use by process %s", dir->path,
                    size > 0 ? pid : "unknown");
}

static int lock(struct momi_datadir *dir) {
    dir->lock_fd =
        openat(dir->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock_fd < 0) {
        return momi_err(MOM_IO, "%s/%s: %s", dir->path, LOCK_NAME, strerror(errno));
    }
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? refuse_in_use(dir)
                   : momi_err(MOM_IO, "locking %s: %s", dir->path, strerror(errno));
    }
    char pid[PID_BYTES];
    int size = snprintf(pid, sizeof pid, "%ld", (long)dir->opener);
    if (ftruncate(dir->lock_fd, 0) != 0 ||
        !momi_file_pwrite(dir->lock_fd, momi_slice(pid, (size_t)size), 0)) {
        return momi_err(MOM_IO, "writing %s/%s: %s", dir->path, LOCK_NAME,
                        strerror(errno));
    }
    return 0;
}

static int open_directory(struct momi_datadir *dir, const char *path) {
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return momi_err(MOM_IO, "making the directory %s: %s", path, strerror(errno));
    }
    dir->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->dir_fd < 0 || realpath(path, dir->path) == NULL) {
        return momi_err(MOM_IO, "opening the directory %s: %s", path, strerror(errno));
    }
    return 0;
}

int momi_datadir_open(const char *path, struct momi_datadir **dir) {
    struct momi_datadir *opened = momi_calloc(1, sizeof *opened);
    if (opened == NULL) {
        return momi_err(MOM_NO_MEMORY, "opening %s", path);
    }
    opened->dir_fd = -1;
    opened->lock_fd = -1;
    opened->opener = getpid();
    int error = open_directory(opened, path);
    if (error == 0) {
        error = lock(opened);
    }
    if (error == 0) {
        error = load_identity(opened);
    }
    if (error != 0) {
        momi_datadir_close(opened);
        return error;
    }
    *dir = opened;
    return 0;
}

void momi_datadir_close(struct momi_datadir *dir) {
    if (dir == NULL) {
        return;
    }
    /* Closing releases the lock, unless a child or parent holds the same open file. */
    if (dir->lock_fd >= 0) {
        close(dir->lock_fd);
    }
    if (dir->dir_fd >= 0) {
        close(dir->dir_fd);
    }
    explicit_bzero(&dir->identity, sizeof dir->identity);
    momi_free(dir);
}

/* ---- Reading and changing ---- */

const char *momi_datadir_path(const struct momi_datadir *dir) { return dir->path; }

const struct momi_datadir_identity *
momi_datadir_identity(const struct momi_datadir *dir) {
    return &dir->identity;
}

int momi_datadir_set_mesh_id(struct momi_datadir *dir, const uint8_t *mesh_id) {
    struct momi_datadir_identity changed = dir->identity;
    memcpy(changed.mesh_id, mesh_id, sizeof changed.mesh_id);
    int error = write_identity(dir->dir_fd, &changed);
    if (error == 0) {
        dir->identity = changed;
    }
    explicit_bzero(&changed, sizeof changed);
    return error;
}

int momi_datadir_set_incarnation(struct momi_datadir *dir, uint64_t incarnation) {
    struct momi_datadir_identity changed = dir->identity;
    changed.incarnation = incarnation;
    int error = write_identity(dir->dir_fd, &changed);
    if (error == 0) {
        dir->identity = changed;
    }
    explicit_bzero(&changed, sizeof changed);
    return error;
}

uint32_t momi_datadir_kept(const struct momi_datadir *dir) { return dir->kept; }

int momi_datadir_check_fork(const struct momi_datadir *dir) {
    return getpid() == dir->opener
               ? 0
               : momi_err(MOM_CLOSED, "the node was opened before a fork of the process");
}
