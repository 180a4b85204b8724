/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of the registry's commands, and the pieces that its records and the map are
 * made of. As in commands.h: each `put` appends, each `parse` reads bytes of peers and
 * disks, checks everything, and borrows slices from its input.
 */
#ifndef MOMI_CORE_REGISTRY_COMMANDS_H
#define MOMI_CORE_REGISTRY_COMMANDS_H

#include "core/registry.h"

/* CMD_MEMBER_PUT, and the `name` of FRAME_JOIN: (u64 node, u64 incarnation, u8 role, u8
 * flags, name, address). */
struct momi_member_record {
    uint64_t node;
    uint64_t incarnation;
    enum momi_role role;
    bool is_durable;        /* its store is on disk */
    bool takes_name;        /* set by the registry's leader: who has the name is gone */
    struct momi_slice name; /* may be empty */
    struct momi_slice address;
};
void momi_member_record_put(struct momi_bytes *out,
                            const struct momi_member_record *record);
bool momi_member_record_parse(struct momi_slice body, struct momi_member_record *record);

/* CMD_FOUND: (16 bytes mesh id, varint shards, varint copies, u8 durable, varint replica,
 * founder). The mesh begins with its founder alone, the registry as its replica. */
struct momi_mesh_found {
    struct momi_mesh_id mesh;
    uint32_t shards_count; /* 1 to MOMI_SHARDS_MAX */
    uint32_t copies_count; /* 1 to MOMI_REPLICAS_MAX */
    bool durable;
    uint64_t replica; /* of the registry on the founder */
    struct momi_member_record founder;
};
void momi_mesh_found_put(struct momi_bytes *out, const struct momi_mesh_found *found);
bool momi_mesh_found_parse(struct momi_slice body, struct momi_mesh_found *found);

/* CMD_MEMBER_REMOVE: (u64 node). */
void momi_member_remove_put(struct momi_bytes *out, uint64_t node);
bool momi_member_remove_parse(struct momi_slice body, uint64_t *node);

/* CMD_PLAN: (varint shard, plan). The first plan of a shard is its genesis. */
void momi_place_plan_put(struct momi_bytes *out, uint32_t shard,
                         const struct momi_plan *plan);
bool momi_place_plan_parse(struct momi_slice body, uint32_t *shard,
                           struct momi_plan *plan);

/* CMD_PLAN_DONE: (varint shard, varint version, configuration). `version` is that of the
 * plan; the configuration may be older when the plan only names another leader. */
void momi_place_done_put(struct momi_bytes *out, uint32_t shard, uint64_t version,
                         struct momi_slice config);
bool momi_place_done_parse(struct momi_slice body, uint32_t *shard, uint64_t *version,
                           struct momi_raft_config *config);

/* A plan on its own: (varint version, varint leader, varint count, per replica varint id,
 * varint node). */
void momi_plan_put(struct momi_bytes *out, const struct momi_plan *plan);
void momi_plan_get(struct momi_reader *in, struct momi_plan *plan);
/* The simple configuration whose voters are those of the plan, with its version. */
void momi_plan_config(const struct momi_plan *plan, struct momi_raft_config *config);
/* NULL: none there. */
const struct momi_replica_at *momi_plan_on(const struct momi_plan *plan, uint64_t node);
/* A simple configuration whose voters are exactly those of the plan, and no learners. */
bool momi_plan_is_reached(const struct momi_plan *plan,
                          const struct momi_raft_config *config);

#endif
