/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal thread: the only writer of the store. It takes all batches that are queued,
 * writes them in order, and syncs once at the end if any of them asks for it: group
 * commit without a timer. When nothing more is queued it brings the news to the loop
 * itself (momi_node_visit). It also makes the mesh id durable, lets the store sync its
 * mark when there is nothing to do, and measures the free space.
 */
#ifndef MOMI_NODE_JOURNAL_H
#define MOMI_NODE_JOURNAL_H

#include <mom/mom.h>

#include "base/mem.h"
#include "node/job.h"
#include "port/datadir.h"
#include "port/store.h"

struct momi_journal {
    struct momi_worker worker;
    struct momi_reserve reserve; /* around each write */
    mom_node *node;              /* whose loop hears of what is written */
    struct momi_mailbox *mailbox;
    struct momi_store *store;    /* borrowed */
    struct momi_datadir *dir;    /* borrowed; NULL: none */
    struct momi_post space_post; /* POST_SPACE */
    _Atomic uint64_t space_free, space_total;
    _Atomic uint64_t queued_bytes;
};

int momi_journal_init(struct momi_journal *journal, mom_node *node,
                      struct momi_store *store, struct momi_datadir *dir);
int momi_journal_start(struct momi_journal *journal);
void momi_journal_stop(struct momi_journal *journal);
void momi_journal_destroy(struct momi_journal *journal);

#endif
