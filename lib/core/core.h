/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core of a node: pure. No threads, no I/O, no clock, no randomness but its own
 * seeded state.
 *
 *  1. momi_core_step cannot fail. Memory for input is checked first (what does not fit is
 * refused with NO_MEMORY); hostile input was rejected at the edge.
 *  2. `now_us` in the event is the only time. momi_core_deadline says when to send
 * EV_TIME next.
 *  3. Effects are collected over the events of one turn; momi_core_turn_end derives what
 * depends on the whole turn (one write, one frame per peer and shard, results,
 * deliveries) and must be called before they are carried out.
 *  4. Not re-entrant. Owned by one thread.
 *
 * Start: momi_core_new, then the restore loop (momi_core_restore_next, _item, _done),
 * then events.
 */
#ifndef MOMI_CORE_CORE_H
#define MOMI_CORE_CORE_H

#include "base/batch.h"
#include "core/effect.h"
#include "core/event.h"

struct momi_core;

struct momi_founder {
    struct momi_slice name;
    struct momi_slice address;
};

struct momi_core_config {
    uint64_t node;
    uint64_t incarnation;
    enum momi_role role;
    struct momi_slice name; /* copied */
    struct momi_slice
        address; /* where peers reach this node; empty: it does not listen. Copied */
    struct momi_mesh_id mesh; /* as stored with the identity; none: not a member yet */
    struct momi_mesh_id mesh_candidate; /* fresh random id, used if this node founds */
    bool durable;                       /* the store is on disk */
    uint64_t batch_next; /* number of the first batch to write: one more than the store's
                            last; 0: 1 */
    uint64_t seed;       /* of the core's own randomness */
    /* How to open (design.md section 4): neither: alone. */
    const struct momi_slice *join; /* addresses; copied */
    size_t join_count;
    const struct momi_founder *form; /* all founders, this node included; copied */
    size_t form_count;
    uint32_t shards_count;         /* used by the founder; 0: default */
    uint32_t copies_count;         /* used by the founder; 0: default */
    uint64_t inflight_bytes_max;   /* 0: default */
    uint64_t cache_bytes_max;      /* 0: default */
    uint64_t checkpoint_log_bytes; /* 0: default; tests make it small */
    uint64_t log_behind_bytes;     /* 0: default; tests make it small */
    void (*trace)(void *user, uint64_t now_us, const char *point, uint32_t shard,
                  uint64_t a, uint64_t b);
    void *trace_user; /* NULL trace: none, at no cost */
};

/* N1: of a list of founders, whatever its order; 0 without founders. For the handshake.
 */
uint64_t momi_founders_hash(const struct momi_founder *founders, size_t count);

struct momi_core *
momi_core_new(const struct momi_core_config *config); /* NULL: out of memory */
void momi_core_free(struct momi_core *core);

/* The restore loop. The core asks for ranges until it knows everything; the host feeds
 * each item of the range in key order, then asks for the next. An item that cannot be
 * right makes its shard damaged (D3), not the node. */
struct momi_restore_range {
    enum momi_family family;
    struct momi_slice from; /* included; valid until the next call */
    struct momi_slice to;   /* excluded */
};
bool momi_core_restore_next(struct momi_core *core, struct momi_restore_range *range);
void momi_core_restore_item(struct momi_core *core, struct momi_slice key,
                            struct momi_slice value);
void momi_core_restore_damaged(
    struct momi_core *core); /* the store could not read all of the current range */
/* After the loop. What this node has promised cannot be read: it may not go on with this
 * store (D3). */
bool momi_core_restore_is_refused(const struct momi_core *core);
/* After the loop. Memory ran out: what was read may be less than there is, and the core
 * may not be used. */
bool momi_core_restore_is_short(const struct momi_core *core);

void momi_core_step(struct momi_core *core, const struct momi_event *event,
                    struct momi_effects *effects);
void momi_core_turn_end(struct momi_core *core, struct momi_effects *effects);
uint64_t momi_core_deadline(const struct momi_core *core); /* MOMI_NEVER: none */

/* How the node stands, for the shell and for tests. Borrowed until the next step. */
struct momi_core_state {
    bool is_member;
    bool is_ready;
    bool store_failed;
    struct momi_mesh_id mesh;
    uint32_t shards_count;
    uint32_t copies_count;
};
void momi_core_state(const struct momi_core *core, struct momi_core_state *state);
/* Why momi_core_state.is_ready is false, in words. Returns the length written (without
 * the end). */
size_t momi_core_waiting_for(const struct momi_core *core, char *text, size_t size);

/* For the simulator's checkers: one shard's replica on this node; false when there is
 * none. */
struct momi_shard_view {
    uint64_t replica;
    uint64_t term;
    bool is_leader;
    bool is_voter;
    bool has_state; /* a complete side (E6) */
    uint64_t leader_node;
    uint64_t commit;
    uint64_t applied;
    uint64_t first_index;
    uint64_t last_index;
    uint64_t durable_index;
    uint64_t state_hash; /* over logical content at `applied`; computed on each call:
                            O(state) */
};
enum momi_view_detail { MOMI_VIEW_PLAIN, MOMI_VIEW_HASH };
bool momi_core_shard_view(const struct momi_core *core, uint32_t shard,
                          enum momi_view_detail detail, struct momi_shard_view *view);
/* Term of an index in the range of the log; 0: not known. */
uint64_t momi_core_log_term(const struct momi_core *core, uint32_t shard, uint64_t index);

struct momi_core_counters {
    uint64_t elections, leader_changes, truncations, snapshots_sent, snapshots_installed,
        redeliveries, config_changes, checkpoints, entries_appended, commands_applied,
        commands_refused, messages_published, messages_delivered, messages_settled,
        dead_letters, leases_expired, frames_dropped, sessions_opened, sessions_expired,
        entries_hollowed, entries_repaired, entries_deleted,
        damages_found, /* shards that were damaged when the node was opened */
        entries_lost;  /* damaged here, and on every other copy that has answered */
};
const struct momi_core_counters *momi_core_counters(const struct momi_core *core);

#endif
