/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: the state machine of shard 0. Members, mesh settings, and for every shard
 * its genesis, its plan and the configuration it last reported (R3, N3). Commands are
 * proposed by its leader only and are idempotent.
 *
 * Applied, saved, loaded and hashed like the machine of a data shard (machine.h); it is
 * small, so that every checkpoint writes what changed and the map that clients get
 * (FRAME_MAP) is its whole content.
 */
#ifndef MOMI_CORE_REGISTRY_H
#define MOMI_CORE_REGISTRY_H

#include "base/batch.h"
#include "base/mem.h"
#include "core/core_internal.h"
#include "core/entry.h"
#include "core/raft_config.h"

/* Plans of a shard are numbered in steps of two: the version between two plans is that of
 * the configuration that adds the newcomers as learners. The genesis has version 1. */
#define MOMI_GENESIS_VERSION 1u
#define MOMI_PLAN_STEP       2u

struct momi_member {
    uint64_t node;
    uint64_t incarnation;
    enum momi_role role;       /* only stores are members */
    struct momi_slice name;    /* owned */
    struct momi_slice address; /* owned; empty: it does not listen */
    bool removed;
};

struct momi_shard_place {
    bool is_founded;                 /* genesis was decided */
    struct momi_raft_config genesis; /* R3: never changed */
    struct momi_plan plan;           /* version 0: none yet */
    uint64_t done_version;           /* of the last plan that was reported done */
    struct momi_raft_config current; /* as last reported by its leader */
};

struct momi_registry {
    struct momi_mesh_id mesh; /* none: not founded yet */
    uint32_t shards_count;
    uint32_t copies_count;
    bool durable;
    uint64_t version;      /* grows with every change: of the map */
    uint64_t replica_next; /* next replica id to give */
    uint64_t applied, applied_term;
    uint64_t elapsed_us, wall_us;
    struct momi_member *members; /* owned, sorted by node */
    uint32_t members_count, members_room;
    struct momi_shard_place *places; /* owned, shards_count + 1 of them (0: the registry
                                        itself); NULL: not founded */
    bool is_dirty;
    struct momi_reserve reserve; /* R9 */
};

void momi_registry_init(struct momi_registry *registry);
void momi_registry_free(
    struct momi_registry *registry); /* empty again, and may be used so */

/* R9, phase one: everything that applying this entry could allocate; false: out of
 * memory, try again later. */
bool momi_registry_reserve(struct momi_registry *registry,
                           const struct momi_entry *entry);
/* Phase two: cannot fail. `index` is applied + 1. What does not parse or does not fit the
 * state changes nothing. */
void momi_registry_apply(struct momi_registry *registry, uint64_t index,
                         const struct momi_entry *entry);

/* Checkpoints (E4), as in machine.h. */
void momi_registry_save(struct momi_registry *registry, uint8_t side,
                        struct momi_batch *batch);
bool momi_registry_load(struct momi_registry *registry, struct momi_slice key,
                        struct momi_slice value);
bool momi_registry_loaded(struct momi_registry *registry, uint64_t applied,
                          uint64_t applied_term);
uint64_t momi_registry_hash(const struct momi_registry *registry);

/* The map: the whole content but stamps and applied index. Decoding checks everything (it
 * serves bytes of peers) and replaces the content only when all of it is sound. */
void momi_registry_encode(const struct momi_registry *registry, struct momi_bytes *out);
bool momi_registry_decode(struct momi_registry *registry, struct momi_slice bytes);

/* NULL: none. Removed members are found, too. */
const struct momi_member *momi_registry_member(const struct momi_registry *registry,
                                               uint64_t node);
/* The member that bears this name and was not removed; NULL: none, or the name is empty.
 */
const struct momi_member *momi_registry_named(const struct momi_registry *registry,
                                              struct momi_slice name);
/* No plan is under way for it. */
static inline bool momi_place_is_settled(const struct momi_shard_place *place) {
    return place->is_founded && place->done_version == place->plan.version;
}
/* Used by loading, decoding and applying. */
struct momi_member *momi_registry_insert(struct momi_registry *registry,
                                         uint64_t node); /* NULL: out of memory */
bool momi_member_set(struct momi_member *member, struct momi_slice name,
                     struct momi_slice address);

#endif
