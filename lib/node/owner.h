/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose store it is (D1). The store remembers the node and the incarnation that opened it
 * last; the identity file lies beside it, and may be another one, or older.
 */
#ifndef MOMI_NODE_OWNER_H
#define MOMI_NODE_OWNER_H

#include "port/datadir.h"
#include "port/store.h"

/* Before the threads start. Writes batch `number`. An identity older than the store is
 * brought up to it, since peers refuse a lower incarnation; that of another node is
 * MOM_CORRUPT. MOM_IO, MOM_NO_MEMORY. */
int momi_owner_take(struct momi_store *store, struct momi_datadir *dir, uint64_t node,
                    uint64_t number);

#endif
