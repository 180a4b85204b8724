/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that the core asks of its host, and the contract between them.
 *
 *  - The effects of one turn are independent: the host may carry them out in any order.
 * Whatever must wait for durability waits in the core for EV_WRITTEN.
 *  - There is at most one write per turn: `batch`. Writes complete in the order of their
 * numbers. A write that asks for a sync completes after it. A failed write is final: the
 * core stops its store.
 *  - Sends may be lost, duplicated, delayed or reordered between nodes, never altered
 * (checksums).
 *  - Each FX_READ, FX_SCAN, FX_DIAL, FX_IDENTITY gets exactly one answering event (a
 * dial: EV_LANE_UP or EV_DIAL_FAILED), unless the node crashes.
 *  - Each call gets exactly one FX_COMPLETE.
 */
#ifndef MOMI_CORE_EFFECT_H
#define MOMI_CORE_EFFECT_H

#include "base/arena.h"
#include "base/batch.h"
#include "core/call.h"
#include "core/types.h"
#include "wire/frame.h"

enum momi_effect_type {
    FX_SEND,  /* `frame` to `node` */
    FX_WRITE, /* the batch of this turn, number `token`; sync when `sync` */
    FX_READ,  /* the entry (`shard`, `index`) from the store */
    FX_SCAN,  /* checkpoint records of (`shard`, `side`) after key `from`, at most `value`
               * bytes; the first scan of  a `session` opens a store snapshot that
               * FX_SCAN_END releases */
    FX_SCAN_END, /* `token` is the scan session */
    FX_DIAL,     /* `address`, expecting node `node` (0: whoever is there) */
    FX_HANGUP,   /* close the lane to `node` */
    FX_IDENTITY, /* make `mesh` durable as the mesh of this directory (D1) */
    FX_COMPLETE, /* call `token` is done: `completion` */
    /* Messages for consumer `token`: `delivery`, up to delivery number `value`. Without
     * runs: buffered messages up to `value` are void (given back, or their leases are
     * gone); the program drops those that it has not taken. Numbers grow for the whole
     * life of a consumer. The structure of the records is checked, their checksums are
     * not. */
    FX_MESSAGES,
    FX_CONSUMER_ENDED, /* consumer `token` ended by itself: `error` (NOT_FOUND: its stream
                          was deleted) */
    FX_NOTICE, /* something the program or the log may want to know: `notice`, `text` */
    FX_CLOSED, /* the answer to EV_CLOSE; nothing follows */
};

enum momi_notice {
    MOMI_NOTICE_READY, /* the node is a member and sees a leader for every shard */
    MOMI_NOTICE_FOUNDED,
    MOMI_NOTICE_JOINED,
    MOMI_NOTICE_LEADER, /* shard, node: a leader was seen */
    MOMI_NOTICE_STEPPED_DOWN,
    MOMI_NOTICE_STORE_FAILED,
    MOMI_NOTICE_REFUSED,    /* a peer was refused: `text` says why */
    MOMI_NOTICE_TWO_COPIES, /* losing either node stops service */
    MOMI_NOTICE_DAMAGED,    /* shard: a part of its copy here could not be read */
    MOMI_NOTICE_LOST,       /* shard: and no other copy has it */
};

struct momi_delivery {
    const struct momi_delivery_run *runs;
    size_t runs_count;
    struct momi_buf
        *buf; /* holds `payload`; referenced by whoever keeps the messages. Kept alive by
               * momi_effect_hold until the effects are cleared */
    struct momi_slice payload; /* message records, in the order of the runs */
    uint32_t epoch;
};

struct momi_effect {
    enum momi_effect_type type;
    bool sync;
    uint8_t side;
    uint32_t shard;
    uint64_t node;
    uint64_t token;
    uint64_t session; /* FX_SCAN: the scan session */
    uint64_t index;
    uint64_t value;
    int error;
    enum momi_notice notice;
    struct momi_slice from;    /* in the turn arena */
    struct momi_slice address; /* in the turn arena */
    struct momi_slice text;    /* in the turn arena */
    struct momi_mesh_id mesh;
    struct momi_frame *frame;          /* in the turn arena */
    struct momi_completion completion; /* FX_COMPLETE */
    struct momi_delivery *delivery;    /* in the turn arena */
};

struct momi_effects {
    struct momi_effect *list; /* owned, reused */
    size_t count;
    size_t room;
    struct momi_batch batch; /* the write of this turn */
    bool batch_sync;
    struct momi_arena arena; /* lives until the effects are cleared */
    struct momi_effect_hold
        *holds; /* in the turn arena: references of momi_effect_hold */
};

void momi_effects_init(struct momi_effects *effects);
void momi_effects_free(struct momi_effects *effects);
/* After all effects were carried out: releases the references in frames and empties
 * everything. */
void momi_effects_clear(struct momi_effects *effects);
/* A new zeroed effect of the given type; the pointer is good until the next one is added.
 * Panics when out of memory: the core reserves before it steps. */
struct momi_effect *momi_effect_add(struct momi_effects *effects,
                                    enum momi_effect_type type);
/* A new zeroed frame of the turn, addressed and added as FX_SEND. */
struct momi_frame *momi_effect_send(struct momi_effects *effects, uint64_t node,
                                    enum momi_frame_type type);
/* Appends a part; `buf` is referenced (NULL: the bytes are copied into the turn arena).
 */
void momi_frame_add_part(struct momi_effects *effects, struct momi_frame *frame,
                         struct momi_buf *buf, struct momi_slice bytes);
void *momi_effect_alloc(struct momi_effects *effects,
                        size_t size); /* turn arena; panics when out of memory */
/* Keeps a reference to `buf` (NULL is fine) until the effects are cleared: for bytes that
 * an effect only borrows. */
void momi_effect_hold(struct momi_effects *effects, struct momi_buf *buf);
struct momi_slice momi_effect_copy(struct momi_effects *effects, struct momi_slice bytes);

#endif
