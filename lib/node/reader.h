/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader thread: entries that are not in memory any more, and checkpoint records for
 * snapshots, which are read under one store snapshot for each scan session (E6, E8).
 */
#ifndef MOMI_NODE_READER_H
#define MOMI_NODE_READER_H

#include "node/job.h"
#include "port/store.h"

enum { MOMI_SCAN_SESSIONS_MAX = 64 };

struct momi_scan_session {
    uint64_t session; /* 0: free */
    struct momi_store_snapshot *snapshot;
};

struct momi_reader_thread {
    struct momi_worker worker;
    struct momi_mailbox *mailbox;
    struct momi_store *store; /* borrowed */
    struct momi_scan_session sessions[MOMI_SCAN_SESSIONS_MAX];
};

int momi_reader_init(struct momi_reader_thread *reader, struct momi_mailbox *mailbox,
                     struct momi_store *store);
int momi_reader_start(struct momi_reader_thread *reader);
void momi_reader_stop(struct momi_reader_thread *reader);
void momi_reader_destroy(struct momi_reader_thread *reader);

#endif
