/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage to the files of real stores (protocol.md D1 to D3, E7).
 *
 *   image.c       directories of a mesh of three as a workload leaves them, and what it
 *                 knows of its messages
 *   harm.c        one damage to the files of one directory
 *   store_case.c  one damaged directory opened alone: what is found, against what was
 *   mesh_case.c   the mesh reopened with damaged copies: what the programs get
 *   fault.c       calls of the system that fail, for io cases
 *   tuned.c       small checkpoints and memtables; looks into running nodes
 *   main.c        many cases, each in a process of its own, and the table
 */
#ifndef MOM_TESTS_DAMAGE_H
#define MOM_TESTS_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/rng.h"

enum {
    DAMAGE_NODES = 3,
    DAMAGE_SHARDS = 2,
    DAMAGE_PATH = 512,
    DAMAGE_MESSAGES_MAX = 4096,
    DAMAGE_TEXT = 256,
};

enum damage_place {
    PLACE_WAL,
    PLACE_SST,
    PLACE_MANIFEST,
    PLACE_CURRENT,
    PLACE_OPTIONS,
    PLACE_DB_IDENTITY,
    PLACE_MARK,
    PLACE_IDENTITY,
    PLACES_COUNT,
};

enum damage_kind {
    KIND_FLIP,     /* one to eight bits */
    KIND_TRUNCATE, /* to a random length */
    KIND_ZERO,     /* a page of 4 KiB */
    KIND_NOISE,    /* 16 random bytes */
    KIND_REMOVE,
    KIND_EXCHANGE, /* with another file of the same place */
    KIND_OLD,      /* an older version of the file comes back */
    KINDS_COUNT,
};
const char *damage_place_name(enum damage_place place);
const char *damage_kind_name(enum damage_kind kind);

/* What the workload knows of message `i`. */
enum damage_message { MESSAGE_UNKNOWN, MESSAGE_SENT, MESSAGE_CONSUMED };

struct damage_ledger {
    uint32_t count;
    uint8_t queue[DAMAGE_MESSAGES_MAX]; /* enum damage_message; in queue "work" */
    uint8_t topic[DAMAGE_MESSAGES_MAX]; /* in topic "news", for subscription "all" */
};
/* Body of message `number`: its number and bytes that follow from it. */
size_t damage_body(uint32_t number, char *body, size_t size);

/* image.c: makes `path` with one, two, three, and their older files below `path`/old.
 * False: it could not be made. */
bool damage_image_make(const char *path, uint64_t seed, struct damage_ledger *ledger);
void damage_copy(const char *source, const char *target); /* a tree; ends on errors */
void damage_remove(const char *path);
void damage_path(char out[DAMAGE_PATH], const char *dir, const char *name);
extern const char *const damage_names[DAMAGE_NODES];
struct mom_options;
/* The options of node `index` of a mesh in `path`. The texts lie in `texts`. */
struct damage_texts {
    char dir[DAMAGE_PATH];
    char address[DAMAGE_PATH];
    char form[DAMAGE_NODES * DAMAGE_PATH];
};
void damage_node_options(struct mom_options *options, struct damage_texts *texts,
                         const char *path, size_t index);

/* harm.c: false when the directory holds no such file. `old` holds older versions. */
bool damage_do(const char *dir, const char *old, enum damage_place place,
               enum damage_kind kind, struct momi_rng *rng, char text[DAMAGE_TEXT]);

enum damage_outcome {
    OUTCOME_HARMLESS, /* everything is there */
    OUTCOME_REPAIRED, /* something was missing, was noticed, and comes from the others */
    OUTCOME_STOPPED,  /* a compaction met it first: repaired after a restart */
    OUTCOME_ASIDE,    /* the store was kept aside, and the node came back as another */
    OUTCOME_REFUSED,  /* opening said CORRUPT; the node came back with an empty directory
                       */
    OUTCOME_REPORTED, /* every copy damaged: callers and status say so, the rest goes on
                       */
    OUTCOME_VIOLATION,
    OUTCOMES_COUNT,
};

/* In a process of its own, store cases with the same `sane` one after the other. `why`
 * says what is wrong when it is a violation. */
enum damage_outcome damage_store_case(const char *sane, const char *dir,
                                      char why[DAMAGE_TEXT]);
enum damage_outcome damage_mesh_case(const char *path, size_t victim,
                                     const struct damage_ledger *ledger,
                                     char why[DAMAGE_TEXT]);
/* A running mesh, whose node `victim` meets one failing call (EIO), or a disk that is
 * full from one call on. */
enum damage_outcome damage_io_case(const char *path, size_t victim,
                                   struct damage_ledger *ledger, struct momi_rng *rng,
                                   char harm[DAMAGE_TEXT], char why[DAMAGE_TEXT]);

/* tuned.c: state of a node's replicas, as its loop saw them last. */
struct damage_view {
    bool is_here;
    bool has_state;
    bool is_hurt;
    bool is_leader;
    bool has_failed; /* the store of the node */
    uint64_t commit;
    uint64_t applied;
    uint64_t hash;
};
void damage_watch(bool is_on);
/* Until the nodes have made `count` turns more: they do at each heartbeat. */
void damage_await_turns(uint64_t count);
void damage_forget(void); /* what was seen so far */
bool damage_look(uint64_t node, uint32_t shard, struct damage_view *view);

#endif
