/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that reads what a disk gives back, whatever it has become:
 *
 *   r  checkpoint records of a data shard: (u8 size, key, u16 size, value) each, in
 *      this order; what loads as a whole must be sound, and live on
 *   g  the same of the registry
 *   m  a map of the mesh (the registry as one piece)
 *   k  a key of the store
 *   v  a value of the node's own records; the first byte is the letter of its key
 *   i  the identity file, I with its checksum made right
 *   a  the mark file, A the same
 *
 * Log entries and commands are read by fuzz_codec.c.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/commands.h"
#include "core/keys.h"
#include "core/machine.h"
#include "core/registry.h"
#include "fuzz/fuzz.h"
#include "port/datadir.h"
#include "port/mark.h"

#include <mom/error.h>

enum { SHARD = 3, APPLIED = 1000, RECORDS_MAX = 256, PATH_BYTES = 256 };

static char scratch[PATH_BYTES];
static struct momi_core_counters counters;

/* --- records ---------------------------------------------------------------------- */

static bool next_record(struct momi_reader *in, struct momi_slice *key,
                        struct momi_slice *value) {
    *key = momi_get_bytes(in, momi_get_u8(in));
    *value = momi_get_bytes(in, momi_get_u16(in));
    return !in->failed;
}

/* A command of the leader itself, an hour later: leases, retention and sessions end. */
static void let_time_pass(struct momi_machine *machine) {
    struct momi_bytes commands = {.data = NULL};
    size_t at =
        momi_command_begin(&commands, CMD_TICK, (struct momi_session_id){0}, 0, 0);
    momi_command_finish(&commands, at);
    struct momi_slice bytes = momi_bytes_slice(&commands);
    struct momi_buf *buf = momi_entry_build(MOMI_ENTRY_COMMANDS, 7,
                                            machine->elapsed_us > UINT64_MAX / 2
                                                ? machine->elapsed_us
                                                : machine->elapsed_us + 3600 * MOMI_S,
                                            machine->wall_us, 1, 0, &bytes, 1);
    struct momi_entry entry;
    MOMI_ASSERT(buf != NULL);
    MOMI_ASSERT(momi_entry_parse(momi_buf_slice(buf), &entry));
    MOMI_ASSERT(momi_machine_reserve(machine, &entry));
    momi_machine_apply(machine, APPLIED + 1, &entry);
    momi_machine_check(machine);
    momi_buf_release(buf);
    momi_bytes_free(&commands);
}

static void fuzz_machine(struct momi_slice bytes) {
    struct momi_machine machine;
    MOMI_ASSERT(momi_machine_init(&machine, SHARD, 1, &counters) == MOM_OK);
    struct momi_reader in = momi_reader(bytes);
    bool is_good = true;
    while (is_good && momi_reader_left(&in) > 0) {
        struct momi_slice key, value;
        is_good =
            next_record(&in, &key, &value) && momi_machine_load(&machine, key, value);
    }
    if (is_good && momi_machine_loaded(&machine, APPLIED, 5)) {
        momi_machine_check(&machine);
        struct momi_batch batch = {.ops = NULL};
        (void)momi_machine_hash(&machine);
        let_time_pass(&machine);
        momi_machine_save(&machine, 1, &batch);
        MOMI_ASSERT(!batch.failed);
        momi_batch_free(&batch);
    }
    momi_machine_free(&machine);
}

static void check_map(const struct momi_registry *registry) {
    struct momi_bytes map = {.data = NULL};
    momi_registry_encode(registry, &map);
    struct momi_registry again;
    momi_registry_init(&again);
    MOMI_ASSERT(momi_registry_decode(&again, momi_bytes_slice(&map)));
    MOMI_ASSERT(again.version == registry->version);
    MOMI_ASSERT(again.members_count == registry->members_count);
    momi_registry_free(&again);
    momi_bytes_free(&map);
}

static void fuzz_registry(struct momi_slice bytes) {
    struct momi_registry registry;
    momi_registry_init(&registry);
    struct momi_reader in = momi_reader(bytes);
    bool is_good = true;
    while (is_good && momi_reader_left(&in) > 0) {
        struct momi_slice key, value;
        is_good =
            next_record(&in, &key, &value) && momi_registry_load(&registry, key, value);
    }
    if (is_good && momi_registry_loaded(&registry, APPLIED, 5)) {
        check_map(&registry);
        (void)momi_registry_hash(&registry);
    }
    momi_registry_free(&registry);
}

static void fuzz_map(struct momi_slice bytes) {
    struct momi_registry registry;
    momi_registry_init(&registry);
    if (momi_registry_decode(&registry, bytes)) {
        check_map(&registry);
    }
    momi_registry_free(&registry);
}

/* --- keys and single values ------------------------------------------------------- */

static void fuzz_key(struct momi_slice key) {
    uint32_t shard;
    uint64_t number;
    uint8_t letter;
    struct momi_key again = {.size = 0};
    if (momi_key_entry_decode(key, &shard, &number)) {
        again = momi_key_entry(shard, number);
        MOMI_ASSERT(momi_slice_equal(momi_key_slice(&again), key));
    }
    if (momi_key_node_decode(key, &letter, &shard)) {
        again = momi_key_node(letter, shard);
        MOMI_ASSERT(momi_slice_equal(momi_key_slice(&again), key));
    }
    if (momi_key_peer_decode(key, &number)) {
        again = momi_key_peer(number);
        MOMI_ASSERT(momi_slice_equal(momi_key_slice(&again), key));
    }
}

static void fuzz_header(struct momi_slice value) {
    struct momi_shard_header header, again;
    if (!momi_shard_header_decode(value, &header)) {
        return;
    }
    struct momi_bytes bytes = {.data = NULL};
    momi_shard_header_encode(&header, &bytes);
    MOMI_ASSERT(momi_shard_header_decode(momi_bytes_slice(&bytes), &again));
    MOMI_ASSERT(again.replica == header.replica);
    MOMI_ASSERT(again.applied == header.applied);
    MOMI_ASSERT(momi_raft_config_equal(&again.config, &header.config));
    momi_bytes_free(&bytes);
}

static void fuzz_config(struct momi_slice value) {
    struct momi_raft_config config, again;
    if (!momi_raft_config_decode(value, &config)) {
        return;
    }
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(&config, &bytes);
    MOMI_ASSERT(momi_raft_config_decode(momi_bytes_slice(&bytes), &again));
    MOMI_ASSERT(momi_raft_config_equal(&again, &config));
    if (config.is_joint) {
        momi_raft_config_leave(&config, &again);
        MOMI_ASSERT(!again.is_joint);
        MOMI_ASSERT(momi_raft_config_may_follow(&config, &again));
    }
    momi_bytes_free(&bytes);
}

static void fuzz_value(struct momi_slice value) {
    if (value.size == 0) {
        return;
    }
    struct momi_slice rest = momi_slice(value.data + 1, value.size - 1);
    struct momi_hard_state hard;
    uint64_t number;
    switch (value.data[0]) {
    case 'h':
        MOMI_ASSERT(!momi_hard_state_decode(rest, &hard) || rest.size == 17);
        break;
    case 's':
        fuzz_header(rest);
        break;
    case 'c':
        fuzz_config(rest);
        break;
    default:
        MOMI_ASSERT(!momi_number_decode(rest, &number) || rest.size == 8);
        break;
    }
}

/* --- files ------------------------------------------------------------------------ */

/* One directory for the whole run, in memory where there is such a place. */
static const char *folder(void) {
    if (scratch[0] == '\0') {
        struct stat status;
        bool has_shm = stat("/dev/shm", &status) == 0;
        (void)snprintf(scratch, sizeof scratch, "%s/mom-fuzz-XXXXXX",
                       has_shm ? "/dev/shm" : "/tmp");
        MOMI_ASSERT(mkdtemp(scratch) != NULL);
    }
    return scratch;
}

static void write_file(int dir_fd, const char *name, struct momi_slice bytes) {
    int fd = openat(dir_fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    MOMI_ASSERT(fd >= 0);
    MOMI_ASSERT(write(fd, bytes.data, bytes.size) == (ssize_t)bytes.size);
    (void)close(fd);
}

static void fuzz_mark(int dir_fd, struct momi_slice bytes) {
    struct momi_mark *mark = NULL;
    write_file(dir_fd, MOMI_MARK_NAME, bytes);
    int error = momi_mark_open(dir_fd, &mark);
    MOMI_ASSERT(error == MOM_OK || error == MOM_CORRUPT || error == MOM_VERSION);
    if (error != MOM_OK) {
        return;
    }
    struct momi_mark_value value = momi_mark_get(mark);
    value.number++;
    MOMI_ASSERT(momi_mark_set(mark, value) == MOM_OK);
    momi_mark_close(mark);
    MOMI_ASSERT(momi_mark_open(dir_fd, &mark) == MOM_OK);
    MOMI_ASSERT(momi_mark_get(mark).number == value.number);
    momi_mark_close(mark);
}

/* A directory whose identity is damaged is never taken for a new one. */
static void fuzz_identity(int dir_fd, struct momi_slice bytes) {
    struct momi_datadir *dir = NULL;
    MOMI_ASSERT(momi_mark_create(dir_fd) == MOM_OK);
    write_file(dir_fd, "identity", bytes);
    int error = momi_datadir_open(folder(), &dir);
    MOMI_ASSERT(error == MOM_OK || error == MOM_CORRUPT || error == MOM_VERSION);
    if (error == MOM_OK) {
        MOMI_ASSERT(!momi_datadir_identity(dir)->is_new);
        momi_datadir_close(dir);
    }
}

static void fuzz_file(uint8_t target, uint8_t *bytes, size_t size) {
    enum { IDENTITY_SUM_AT = 68, SLOT_STRIDE = 4096, SLOT_BYTES = 36, SLOT_SUM_AT = 32 };
    int dir_fd = open(folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MOMI_ASSERT(dir_fd >= 0);
    if (target == 'I' && size >= IDENTITY_SUM_AT + 4) {
        momi_store_le32(bytes + IDENTITY_SUM_AT, momi_crc32c(0, bytes, IDENTITY_SUM_AT));
    }
    for (size_t at = 0; target == 'A' && at + SLOT_BYTES <= size; at += SLOT_STRIDE) {
        momi_store_le32(bytes + at + SLOT_SUM_AT,
                        momi_crc32c(0, bytes + at, SLOT_SUM_AT));
    }
    if (target == 'i' || target == 'I') {
        fuzz_identity(dir_fd, momi_slice(bytes, size));
    } else {
        fuzz_mark(dir_fd, momi_slice(bytes, size));
    }
    (void)close(dir_fd);
}

/* --- all -------------------------------------------------------------------------- */

void fuzz_end(void) {
    if (scratch[0] != '\0') {
        static const char *const names[] = {"/identity", "/mark", "/lock", ""};
        char path[PATH_BYTES + 16];
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            (void)snprintf(path, sizeof path, "%s%s", scratch, names[i]);
            (void)remove(path);
        }
        scratch[0] = '\0';
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    uint8_t *bytes = fuzz_copy(momi_slice(data + 1, size - 1));
    struct momi_slice slice = momi_slice(bytes, size - 1);
    switch (data[0]) {
    case 'r':
        fuzz_machine(slice);
        break;
    case 'g':
        fuzz_registry(slice);
        break;
    case 'm':
        fuzz_map(slice);
        break;
    case 'k':
        fuzz_key(slice);
        break;
    case 'v':
        fuzz_value(slice);
        break;
    case 'i':
    case 'I':
    case 'a':
    case 'A':
        fuzz_file(data[0], bytes, size - 1);
        break;
    default:
        break;
    }
    momi_free(bytes);
    return 0;
}
