/* SPDX-License-Identifier: Apache-2.0 */
/* Command bodies of the registry (registry_commands.h). */
#include "core/registry_commands.h"

enum { FLAG_DURABLE = 1, FLAG_TAKES_NAME = 2 };

/* --- members -------------------------------------------------------------------------
 */

void momi_member_record_put(struct momi_bytes *out,
                            const struct momi_member_record *record) {
    momi_put_u64(out, record->node);
    momi_put_u64(out, record->incarnation);
    momi_put_u8(out, (uint8_t)record->role);
    momi_put_u8(out, (uint8_t)((record->is_durable ? FLAG_DURABLE : 0) |
                               (record->takes_name ? FLAG_TAKES_NAME : 0)));
    momi_put_slice(out, record->name);
    momi_put_slice(out, record->address);
}

static void get_member_record(struct momi_reader *in, struct momi_member_record *record) {
    *record = (struct momi_member_record){.node = momi_get_u64(in),
                                          .incarnation = momi_get_u64(in)};
    uint8_t role = momi_get_u8(in);
    uint8_t flags = momi_get_u8(in);
    record->role = (enum momi_role)role;
    record->is_durable = (flags & FLAG_DURABLE) != 0;
    record->takes_name = (flags & FLAG_TAKES_NAME) != 0;
    record->name = momi_get_slice(in);
    record->address = momi_get_slice(in);
    if (record->node == 0 || (role != MOMI_ROLE_STORE && role != MOMI_ROLE_CLIENT) ||
        flags > (FLAG_DURABLE | FLAG_TAKES_NAME) ||
        record->name.size > MOMI_NAME_BYTES_MAX ||
        record->address.size > MOMI_MEMBER_ADDRESS_BYTES_MAX) {
        in->failed = true;
    }
}

bool momi_member_record_parse(struct momi_slice body, struct momi_member_record *record) {
    struct momi_reader in = momi_reader(body);
    get_member_record(&in, record);
    return momi_reader_done(&in);
}

void momi_member_remove_put(struct momi_bytes *out, uint64_t node) {
    momi_put_u64(out, node);
}

bool momi_member_remove_parse(struct momi_slice body, uint64_t *node) {
    struct momi_reader in = momi_reader(body);
    *node = momi_get_u64(&in);
    return momi_reader_done(&in) && *node != 0;
}

/* --- founding ------------------------------------------------------------------------
 */

void momi_mesh_found_put(struct momi_bytes *out, const struct momi_mesh_found *found) {
    momi_bytes_append(out, found->mesh.bytes, sizeof found->mesh.bytes);
    momi_put_varint(out, found->shards_count);
    momi_put_varint(out, found->copies_count);
    momi_put_u8(out, found->durable ? 1 : 0);
    momi_put_varint(out, found->replica);
    momi_member_record_put(out, &found->founder);
}

bool momi_mesh_found_parse(struct momi_slice body, struct momi_mesh_found *found) {
    struct momi_reader in = momi_reader(body);
    *found = (struct momi_mesh_found){.shards_count = 0};
    struct momi_slice id = momi_get_bytes(&in, sizeof found->mesh.bytes);
    uint64_t shards = momi_get_varint(&in);
    uint64_t copies = momi_get_varint(&in);
    uint8_t durable = momi_get_u8(&in);
    found->replica = momi_get_varint(&in);
    get_member_record(&in, &found->founder);
    if (!momi_reader_done(&in) || shards == 0 || shards > MOMI_SHARDS_MAX ||
        copies == 0 || copies > MOMI_REPLICAS_MAX || durable > 1 || found->replica == 0 ||
        found->founder.role != MOMI_ROLE_STORE) {
        return false;
    }
    memcpy(found->mesh.bytes, id.data, id.size);
    found->shards_count = (uint32_t)shards;
    found->copies_count = (uint32_t)copies;
    found->durable = durable == 1;
    return !momi_mesh_id_is_none(&found->mesh);
}

/* --- plans ---------------------------------------------------------------------------
 */

void momi_plan_put(struct momi_bytes *out, const struct momi_plan *plan) {
    momi_put_varint(out, plan->version);
    momi_put_varint(out, plan->leader);
    momi_put_varint(out, plan->count);
    for (uint32_t i = 0; i < plan->count; i++) {
        momi_put_varint(out, plan->at[i].replica);
        momi_put_varint(out, plan->at[i].node);
    }
}

/* Replicas and nodes differ, and the leader is one of them. */
static bool plan_is_sane(const struct momi_plan *plan) {
    bool has_leader = plan->leader == 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct momi_replica_at *at = &plan->at[i];
        has_leader = has_leader || at->node == plan->leader;
        if (at->replica == 0 || at->node == 0) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (plan->at[j].replica == at->replica || plan->at[j].node == at->node) {
                return false;
            }
        }
    }
    return has_leader && plan->version != 0;
}

void momi_plan_get(struct momi_reader *in, struct momi_plan *plan) {
    *plan =
        (struct momi_plan){.version = momi_get_varint(in), .leader = momi_get_varint(in)};
    uint64_t count = momi_get_varint(in);
    if (in->failed || count == 0 || count > MOMI_REPLICAS_MAX) {
        in->failed = true;
        return;
    }
    plan->count = (uint32_t)count;
    for (uint32_t i = 0; i < plan->count; i++) {
        plan->at[i].replica = momi_get_varint(in);
        plan->at[i].node = momi_get_varint(in);
        plan->at[i].votes = true;
    }
    in->failed = in->failed || !plan_is_sane(plan);
}

void momi_plan_config(const struct momi_plan *plan, struct momi_raft_config *config) {
    *config = (struct momi_raft_config){.version = plan->version, .count = plan->count};
    for (uint32_t i = 0; i < plan->count; i++) {
        uint32_t at = i;
        for (; at > 0 && config->at[at - 1].replica > plan->at[i].replica; at--) {
            config->at[at] = config->at[at - 1];
        }
        config->at[at] = (struct momi_replica_at){
            .replica = plan->at[i].replica, .node = plan->at[i].node, .votes = true};
    }
}

const struct momi_replica_at *momi_plan_on(const struct momi_plan *plan, uint64_t node) {
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->at[i].node == node) {
            return &plan->at[i];
        }
    }
    return NULL;
}

bool momi_plan_is_reached(const struct momi_plan *plan,
                          const struct momi_raft_config *config) {
    struct momi_raft_config wanted;
    momi_plan_config(plan, &wanted);
    wanted.version = config->version;
    return momi_raft_config_equal(&wanted, config);
}

void momi_place_plan_put(struct momi_bytes *out, uint32_t shard,
                         const struct momi_plan *plan) {
    momi_put_varint(out, shard);
    momi_plan_put(out, plan);
}

static uint32_t get_shard(struct momi_reader *in) {
    uint64_t shard = momi_get_varint(in);
    if (shard > MOMI_SHARDS_MAX) {
        in->failed = true;
        return 0;
    }
    return (uint32_t)shard;
}

bool momi_place_plan_parse(struct momi_slice body, uint32_t *shard,
                           struct momi_plan *plan) {
    struct momi_reader in = momi_reader(body);
    *shard = get_shard(&in);
    momi_plan_get(&in, plan);
    return momi_reader_done(&in);
}

void momi_place_done_put(struct momi_bytes *out, uint32_t shard, uint64_t version,
                         struct momi_slice config) {
    momi_put_varint(out, shard);
    momi_put_varint(out, version);
    momi_bytes_append(out, config.data, config.size);
}

bool momi_place_done_parse(struct momi_slice body, uint32_t *shard, uint64_t *version,
                           struct momi_raft_config *config) {
    struct momi_reader in = momi_reader(body);
    *shard = get_shard(&in);
    *version = momi_get_varint(&in);
    return !in.failed &&
           momi_raft_config_decode(momi_slice(in.at, momi_reader_left(&in)), config) &&
           config->count > 0 && !config->is_joint;
}
