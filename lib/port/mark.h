/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mark: the highest batch number that was synced, kept in a small file beside the
 * database (rule D2).
 *
 * A database that opens with a lower number has lost something that was acknowledged,
 * whatever its own recovery says. The mark is written after each sync and before the
 * completion is reported; being written without a sync of its own it survives a killed
 * process, and it is synced once a second and when idle so that it survives a power cut,
 * at worst a second old. The data directory creates it before the identity, so an
 * identity without a mark is damage and a wiped directory never keeps its old name.
 *
 * Two slots on pages of their own are written in turn: one torn by a power cut leaves the
 * other. Owned by one thread at a time (the journal thread, through its store).
 */
#ifndef MOMI_PORT_MARK_H
#define MOMI_PORT_MARK_H

#include <stdbool.h>
#include <stdint.h>

#define MOMI_MARK_NAME "mark"

struct momi_mark;

struct momi_mark_value {
    uint64_t number;     /* no batch up to it may be missing */
    bool is_established; /* the database exists and may never be created again */
    bool is_clean;       /* closed in order, and not opened since */
    bool is_damaged;     /* a block of the database was found damaged, in some life */
};

/* Makes a new mark (number 0, not established), durably, in place of any other. */
int momi_mark_create(int dir_fd);

/* MOM_NOT_FOUND, MOM_CORRUPT (no valid slot), MOM_VERSION, MOM_IO, MOM_NO_MEMORY. */
int momi_mark_open(int dir_fd, struct momi_mark **mark);
void momi_mark_close(struct momi_mark *mark); /* NULL is fine; does not sync */

struct momi_mark_value momi_mark_get(const struct momi_mark *mark);
/* Writes the next slot, not yet synced. A failure is final: later calls fail too. */
int momi_mark_set(struct momi_mark *mark, struct momi_mark_value value);
/* Syncs what was set; free when nothing was set since. A failure is final. */
int momi_mark_sync(struct momi_mark *mark);

#endif
