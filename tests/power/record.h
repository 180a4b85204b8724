/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the recorder (record.c, preloaded into the recorded process) and the tester share:
 * a log of everything that changes one directory, in one order, and the facts that the
 * recorded program adds to it.
 *
 * The log is a file mapped by both: a header, then records, each padded to 8 bytes. A
 * record is whole before `used_bytes` covers it, so a killed process leaves a whole log.
 */
#ifndef MOM_TESTS_POWER_RECORD_H
#define MOM_TESTS_POWER_RECORD_H

#include <stdint.h>

/* Environment of the recorded process. */
#define POWER_LOG_VARIABLE    "MOM_POWER_LOG"    /* path of the log, made by the tester */
#define POWER_ROOT_VARIABLE   "MOM_POWER_ROOT"   /* the directory that is watched */
#define POWER_MUTANT_VARIABLE "MOM_POWER_MUTANT" /* see power_mutants */
#define POWER_DIE_VARIABLE    "MOM_POWER_DIE"    /* records after which it is killed */

enum {
    POWER_LOG_BYTES = 192 << 20, /* sparse: what is not used costs nothing */
    POWER_MAGIC = 0x706f7772,
    POWER_DIED = 77, /* exit status of a process that the recorder killed */
};

enum power_op {
    POWER_CREATE = 1, /* file `inode` under the name `path` */
    POWER_MKDIR,      /* directory `inode` under the name `path` */
    POWER_WRITE,      /* `bytes` of the payload at `offset` of `inode` */
    POWER_TRUNCATE,   /* `inode` to `offset` bytes */
    POWER_SYNC,       /* `inode`, a file or a directory */
    POWER_SYNC_ALL,   /* the whole file system */
    POWER_RENAME,     /* `path` to the name in the payload */
    POWER_LINK,       /* `path` also under the name in the payload */
    POWER_UNLINK,     /* `path`: a file or an empty directory */
    POWER_FACT,       /* the payload is a struct power_fact */
    POWER_PROBLEM,    /* the payload says what the recorder cannot follow */
};

struct power_log {
    uint32_t magic;
    uint32_t reserved;
    uint64_t used_bytes; /* of the file, this header included */
};

/* Names are relative to the root; "" is the root. Path and payload follow, the path with
 * its zero. */
struct power_record {
    uint32_t size; /* of all of it */
    uint16_t op;
    uint16_t path_size;
    uint64_t inode;
    uint64_t offset;
    uint64_t payload_size;
};

/* What the program knew at that moment. _TRY is written before a call, _DONE after it
 * returned success: whatever stands in the log before a cut must hold after it. */
enum power_fact_kind {
    POWER_OPENED = 1,  /* node `node` with incarnation `value` */
    POWER_MESH,        /* it is a member of mesh `value` */
    POWER_CREATE_TRY,  /* stream */
    POWER_CREATE_DONE, /* stream */
    POWER_SEND_TRY,    /* messages `value` to `value` + `count` - 1 of stream */
    POWER_SEND_DONE,
    POWER_ACK_TRY, /* one message, or several in a row */
    POWER_ACK_DONE,
    POWER_DELETE_TRY, /* stream */
    POWER_DELETE_DONE,
    POWER_LED,     /* shard `stream` had term `value` */
    POWER_TERM,    /* node told others of term `value` in shard `stream` */
    POWER_VOTED,   /* and that its vote in it is `other` */
    POWER_MATCHED, /* and that it has synced the log up to `other` */
};

struct power_fact {
    uint32_t kind;
    uint32_t stream;
    uint64_t node;
    uint64_t value;
    uint64_t other;
    uint64_t count;
};

/* Exported by the recorder; the program looks it up, and goes on without it. */
void power_fact(const struct power_fact *fact);

/* Deliberate faults of the recorder: syncs that do nothing and are not in the log. */
enum power_mutant {
    POWER_MUTANT_NONE,
    POWER_MUTANT_WAL,       /* write-ahead logs */
    POWER_MUTANT_TABLE,     /* tables */
    POWER_MUTANT_MANIFEST,  /* manifests */
    POWER_MUTANT_CURRENT,   /* the name of the manifest, before its rename */
    POWER_MUTANT_DATABASE,  /* the directory of the database */
    POWER_MUTANT_DIRECTORY, /* the data directory */
    POWER_MUTANT_PARENT,    /* the directory above it */
    POWER_MUTANT_IDENTITY,  /* the identity, before its rename */
    POWER_MUTANT_MARK,      /* the mark */
    POWER_MUTANTS_COUNT,
};

#endif
