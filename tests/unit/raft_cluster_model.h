/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of raft_cluster.h: its types, the disks, and the checks.
 */
#ifndef MOM_TESTS_RAFT_CLUSTER_MODEL_H
#define MOM_TESTS_RAFT_CLUSTER_MODEL_H

#include "t.h"

#include "base/crc.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/effect.h"
#include "core/entry.h"
#include "core/keys.h"
#include "core/mutant.h"
#include "core/raft.h"

#include <mom/error.h>

enum {
    REPLICAS = 5, /* ids 1 to REPLICAS */
    LOG_MAX = 4000,
    TERMS_MAX = 4000,
    FRAMES_MAX = 20000,
    WRITES_MAX = 4096,
    OPS_MAX = 4096,
    SHARD = 7,
    NODE_BASE = 100,
};

struct disk_op {
    enum { OP_PUT, OP_TRUNCATE, OP_HARD, OP_LAST } kind;
    uint64_t index;
    struct momi_buf *entry; /* a reference */
    struct momi_hard_state hard;
};

struct disk_write {
    uint64_t number;
    uint64_t due_us;
    struct disk_op *ops;
    size_t ops_count;
};

struct disk {
    struct momi_buf *entries[LOG_MAX]; /* references */
    struct momi_hard_state hard;
    uint64_t last;
};

struct member {
    struct momi_raft raft;
    struct momi_effects effects;
    struct momi_core_counters counters;
    struct disk disk;
    struct disk_write writes[WRITES_MAX]; /* in flight, oldest first */
    size_t writes_count;
    uint64_t batch; /* number of the last one */
    uint64_t heartbeat_counter;
    uint64_t heartbeat_due_us;
    uint64_t commit_seen;
    bool is_up;
    bool disk_is_stuck;
};

struct flying {
    uint64_t due_us;
    uint64_t order;
    uint64_t from;
    uint64_t to;
    struct momi_frame frame;
    struct momi_heartbeat_line line;
    struct momi_buf *payload; /* entries, each with its size; a reference */
};

struct committed {
    uint64_t term;
    uint32_t crc;
    uint64_t in_term; /* of the leader that committed it */
};

struct cluster {
    uint64_t now_us;
    struct momi_rng rng;
    struct momi_raft_config genesis;
    struct member member[REPLICAS + 1];
    bool cut[REPLICAS + 1][REPLICAS + 1]; /* from, to */
    uint32_t loss_ppm, duplicate_ppm;
    uint64_t delay_min_us, delay_max_us;
    uint64_t sync_min_us, sync_max_us;
    struct flying *flying;
    size_t flying_count;
    uint64_t order;
    uint64_t leaders[TERMS_MAX]; /* replica by term */
    struct committed committed[LOG_MAX];
    uint64_t committed_last;
    uint64_t payload_next;
    char failure[200];
};

static inline void cluster_fail(struct cluster *c, const char *what, uint64_t replica,
                                uint64_t index) {
    if (c->failure[0] == '\0') {
        snprintf(c->failure, sizeof c->failure, "%s: replica %llu, index or term %llu",
                 what, (unsigned long long)replica, (unsigned long long)index);
    }
}

/* --- disk ------------------------------------------------------------------------------
 */

static inline void disk_drop_from(struct disk *disk, uint64_t from) {
    for (uint64_t index = from; index < LOG_MAX; index++) {
        momi_buf_release(disk->entries[index]);
        disk->entries[index] = NULL;
    }
}

static inline void disk_apply(struct disk *disk, const struct disk_write *write) {
    for (size_t i = 0; i < write->ops_count; i++) {
        const struct disk_op *op = &write->ops[i];
        if (op->kind == OP_PUT) {
            momi_buf_release(disk->entries[op->index]);
            disk->entries[op->index] = momi_buf_ref(op->entry);
        } else if (op->kind == OP_TRUNCATE) {
            disk_drop_from(disk, op->index);
        } else if (op->kind == OP_HARD) {
            disk->hard = op->hard;
        } else {
            disk->last = op->index;
        }
    }
}

static inline void write_free(struct disk_write *write) {
    for (size_t i = 0; i < write->ops_count; i++) {
        momi_buf_release(write->ops[i].entry);
    }
    momi_free(write->ops);
}

static inline struct disk_op disk_op_of(const struct momi_batch_view *view) {
    struct disk_op op = {.kind = OP_HARD};
    struct momi_reader key = momi_reader(view->key);
    if (view->family == MOMI_FAMILY_LOG) {
        CHECK_EQ(momi_get_be32(&key), SHARD);
        op.index = momi_get_be64(&key);
        CHECK(op.index < LOG_MAX);
        op.kind = view->kind == MOMI_BATCH_PUT ? OP_PUT : OP_TRUNCATE;
        if (op.kind == OP_PUT) {
            CHECK(view->buf != NULL);
            op.entry = momi_buf_ref(view->buf);
        }
        return op;
    }
    CHECK(view->family == MOMI_FAMILY_NODE);
    uint8_t letter = momi_get_u8(&key);
    if (letter == 'h') {
        CHECK(momi_hard_state_decode(view->value, &op.hard));
    } else {
        CHECK_EQ(letter, 'l');
        op.kind = OP_LAST;
        uint64_t term = 0;
        CHECK(momi_last_decode(view->value, &op.index, &term));
    }
    return op;
}

/* --- what must hold --------------------------------------------------------------------
 */

static inline uint32_t entry_crc(const struct momi_buf *entry) {
    return momi_crc32c(0, entry->data, entry->size);
}

struct on_disks {
    struct cluster *c;
    uint64_t index;
    uint32_t crc;
};
static inline uint64_t is_on_disk(void *user, uint64_t replica) {
    const struct on_disks *on = user;
    const struct momi_buf *entry = on->c->member[replica].disk.entries[on->index];
    return entry != NULL && entry_crc(entry) == on->crc ? 1 : 0;
}

static inline void check_commit(struct cluster *c, uint64_t replica) {
    struct member *m = &c->member[replica];
    while (m->commit_seen < m->raft.commit) {
        uint64_t index = ++m->commit_seen;
        const struct momi_buf *entry = momi_log_buf(&m->raft.log, index);
        if (entry == NULL || index >= LOG_MAX) {
            cluster_fail(c, "committed without an entry", replica, index);
            return;
        }
        struct committed *at = &c->committed[index];
        uint32_t crc = entry_crc(entry);
        if (index <= c->committed_last) {
            if (at->crc != crc) {
                cluster_fail(c, "state machine safety", replica, index);
            }
            continue;
        }
        c->committed_last = index;
        *at = (struct committed){.term = momi_log_term(&m->raft.log, index),
                                 .crc = crc,
                                 .in_term = m->raft.term};
        if (m->raft.term >= TERMS_MAX || c->leaders[m->raft.term] != replica) {
            cluster_fail(c, "a follower commits first", replica, index);
        }
        if (index == m->raft.commit && at->term != m->raft.term) {
            cluster_fail(c, "committed by counting an older term", replica, index);
        }
        struct on_disks on = {.c = c, .index = index, .crc = crc};
        /* Not the group's own quorum function: mutants live there. */
        unsigned voters = 0, voters_have = 0, old = 0, old_have = 0;
        for (uint32_t i = 0; i < m->raft.config.count; i++) {
            const struct momi_replica_at *r = &m->raft.config.at[i];
            unsigned has = (unsigned)is_on_disk(&on, r->replica);
            voters += r->votes;
            voters_have += r->votes ? has : 0;
            old += r->voted;
            old_have += r->voted ? has : 0;
        }
        if (voters_have <= voters / 2 || (old > 0 && old_have <= old / 2)) {
            cluster_fail(c, "durability", replica, index);
        }
    }
}

static inline void check_leader(struct cluster *c, uint64_t replica) {
    struct momi_raft *raft = &c->member[replica].raft;
    if (raft->role != RAFT_LEADER || raft->term >= TERMS_MAX) {
        return;
    }
    uint64_t *leader = &c->leaders[raft->term];
    if (*leader == replica) {
        return;
    }
    if (*leader != 0) {
        cluster_fail(c, "election safety", replica, raft->term);
    }
    *leader = replica;
    for (uint64_t index = 1; index <= c->committed_last; index++) {
        if (c->committed[index].in_term < raft->term &&
            momi_log_term(&raft->log, index) != c->committed[index].term) {
            cluster_fail(c, "leader completeness", replica, index);
        }
    }
}

static inline void check_log_matching(struct cluster *c) {
    for (uint64_t a = 1; a <= REPLICAS; a++) {
        for (uint64_t b = a + 1; b <= REPLICAS; b++) {
            const struct momi_log *left = &c->member[a].raft.log;
            const struct momi_log *right = &c->member[b].raft.log;
            if (!c->member[a].is_up || !c->member[b].is_up) {
                continue;
            }
            uint64_t last = momi_log_last(left) < momi_log_last(right)
                                ? momi_log_last(left)
                                : momi_log_last(right);
            bool must_match = false;
            for (uint64_t index = last; index > 0; index--) {
                bool same = momi_log_term(left, index) == momi_log_term(right, index);
                if (must_match && !same) {
                    cluster_fail(c, "log matching", a, index);
                }
                must_match = must_match || same;
                if (same &&
                    !momi_slice_equal(momi_buf_slice(momi_log_buf(left, index)),
                                      momi_buf_slice(momi_log_buf(right, index)))) {
                    cluster_fail(c, "log matching, bytes", a, index);
                }
            }
        }
    }
}

#endif
