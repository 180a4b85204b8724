/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data directory of a node: who it is, that nobody else uses it, and where its store
 * lies.
 *
 *     lock       held (flock) while open; contains the process id
 *     identity   key seed, mesh id, incarnation; checksummed (rule D1)
 *     mark       see mark.h; made before the identity
 *     db/        see store.h
 *     kept-N/    database, mark and identity that were set aside (rule D3)
 *
 * The identity is durable before a database is created, and is never made again where
 * anything else was found: a wiped directory is a new node, a damaged one is MOM_CORRUPT.
 * Opened before the store, closed after it. Owned by one thread.
 */
#ifndef MOMI_PORT_DATADIR_H
#define MOMI_PORT_DATADIR_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MOMI_DATADIR_SEED_BYTES = 32,
    MOMI_DATADIR_MESH_BYTES = 16,
    MOMI_DATADIR_KEPT_MAX = 1000, /* kept-1 to kept-1000 */
};

struct momi_datadir;

/* What the directory says about the node. */
struct momi_datadir_identity {
    uint8_t seed[MOMI_DATADIR_SEED_BYTES];    /* of the node's signing key; secret */
    uint8_t mesh_id[MOMI_DATADIR_MESH_BYTES]; /* all zero: of no mesh yet */
    uint64_t incarnation;                     /* counts the opens, from 1 */
    uint64_t boot_nonce;                      /* random per open, never stored */
    bool is_new; /* made by this open, or by setting the old one aside */
};

/* Creates the directory if it is missing (its parent must exist), locks it, makes or
 * reads the identity and counts the incarnation up, durably. MOM_CONFLICT: in use, names
 * the process; MOM_CORRUPT: holds something, but no valid identity; MOM_VERSION: of a
 * newer format; MOM_IO with the reason; MOM_NO_MEMORY. */
int momi_datadir_open(const char *path, struct momi_datadir **dir);
/* Releases the lock; NULL is fine. In a forked child it leaves the parent's lock alone.
 */
void momi_datadir_close(struct momi_datadir *dir);

const char *momi_datadir_path(const struct momi_datadir *dir);
const struct momi_datadir_identity *momi_datadir_identity(const struct momi_datadir *dir);

/* Durable when it returns 0; on MOM_IO the old one stays in force. */
int momi_datadir_set_mesh_id(struct momi_datadir *dir, const uint8_t *mesh_id);

/* The same. Higher than before: the identity file turned out to be an old one. */
int momi_datadir_set_incarnation(struct momi_datadir *dir, uint64_t incarnation);

/* Moves database, mark and identity to a new kept-N (see momi_datadir_kept) and makes a
 * new identity: new seed, incarnation 1, the same mesh id, so that the node can only
 * return to its mesh, as someone else (rule D3). The store must be closed. A crash in
 * between is finished by the next open. MOM_FULL: too many kept ones; MOM_IO. */
int momi_datadir_set_aside(struct momi_datadir *dir);
/* The N of the last kept-N, 0 if there is none. */
uint32_t momi_datadir_kept(const struct momi_datadir *dir);

/* 0 in the process that opened it, MOM_CLOSED in a forked child. */
int momi_datadir_check_fork(const struct momi_datadir *dir);

#endif
