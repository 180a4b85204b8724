/* SPDX-License-Identifier: Apache-2.0 */
/* The status of the mesh as one node sees it: see info.h. */
#include "core/info.h"

#include "base/assert.h"
#include "base/pack.h"

enum {
    FORMAT = 1,
    MEMBER_BYTES_MIN = 6,
    SHARD_BYTES_MIN = 6,
    MEMBER_ALIVE = 1,
    REPLICA_VOTES = 1,
};

static void put_shard(struct momi_bytes *out, const struct momi_shard_info *shard) {
    MOMI_ASSERT(shard->replicas_count <= 2 * MOMI_REPLICAS_MAX);
    momi_put_varint(out, shard->shard);
    momi_put_varint(out, shard->leader);
    momi_put_varint(out, shard->term);
    momi_put_varint(out, shard->commit);
    momi_put_varint(out, shard->applied);
    momi_put_varint(out, shard->replicas_count);
    for (uint32_t index = 0; index < shard->replicas_count; index++) {
        const struct momi_replica_info *replica = &shard->replicas[index];
        momi_put_varint(out, replica->node);
        momi_put_varint(out, replica->replica);
        momi_put_u8(out, replica->votes ? REPLICA_VOTES : 0);
        momi_put_varint(out, replica->lag);
    }
}

void momi_status_put(struct momi_bytes *out, const struct momi_status *status) {
    momi_put_u8(out, FORMAT);
    momi_bytes_append(out, status->mesh.bytes, sizeof status->mesh.bytes);
    momi_put_varint(out, status->node);
    momi_put_u8(out, status->is_durable ? 1 : 0);
    momi_put_varint(out, status->shards_count);
    momi_put_varint(out, status->copies_count);
    momi_put_varint(out, status->members_count);
    for (uint32_t index = 0; index < status->members_count; index++) {
        const struct momi_member_info *member = &status->members[index];
        momi_put_varint(out, member->node);
        momi_put_slice(out, member->name);
        momi_put_slice(out, member->address);
        momi_put_u8(out, (uint8_t)member->role);
        momi_put_varint(out, member->incarnation);
        momi_put_u8(out, member->is_alive ? MEMBER_ALIVE : 0);
    }
    momi_put_varint(out, status->shards_listed);
    for (uint32_t index = 0; index < status->shards_listed; index++) {
        put_shard(out, &status->shards[index]);
    }
}

static uint32_t get_max(struct momi_reader *in, uint32_t max) {
    uint64_t value = momi_get_varint(in);
    if (value > max) {
        in->failed = true;
        return 0;
    }
    return (uint32_t)value;
}

static bool get_bool(struct momi_reader *in) {
    uint8_t value = momi_get_u8(in);
    in->failed = in->failed || value > 1;
    return value == 1;
}

static struct momi_slice get_text(struct momi_reader *in, size_t max) {
    struct momi_slice text = momi_get_slice(in);
    in->failed = in->failed || text.size > max;
    return text;
}

/* A list's count, for which there are enough bytes. */
static uint32_t get_count(struct momi_reader *in, uint32_t max, size_t bytes_min) {
    uint32_t count = get_max(in, max);
    if (count > momi_reader_left(in) / bytes_min) {
        in->failed = true;
        return 0;
    }
    return count;
}

static void get_member(struct momi_reader *in, struct momi_member_info *member) {
    memset(member, 0, sizeof *member);
    member->node = momi_get_varint(in);
    member->name = get_text(in, MOMI_NAME_BYTES_MAX);
    member->address = get_text(in, MOMI_MEMBER_ADDRESS_BYTES_MAX);
    uint8_t role = momi_get_u8(in);
    in->failed = in->failed || (role != MOMI_ROLE_STORE && role != MOMI_ROLE_CLIENT);
    member->role = (enum momi_role)role;
    member->incarnation = momi_get_varint(in);
    member->is_alive = get_bool(in);
}

static void get_shard(struct momi_reader *in, struct momi_shard_info *shard) {
    memset(shard, 0, sizeof *shard);
    shard->shard = get_max(in, MOMI_SHARDS_MAX);
    shard->leader = momi_get_varint(in);
    shard->term = momi_get_varint(in);
    shard->commit = momi_get_varint(in);
    shard->applied = momi_get_varint(in);
    shard->replicas_count = get_max(in, 2 * MOMI_REPLICAS_MAX);
    for (uint32_t index = 0; index < shard->replicas_count; index++) {
        struct momi_replica_info *replica = &shard->replicas[index];
        replica->node = momi_get_varint(in);
        replica->replica = momi_get_varint(in);
        replica->votes = get_bool(in);
        replica->lag = momi_get_varint(in);
    }
}

int momi_status_decode(struct momi_slice bytes, struct momi_arena *arena,
                       struct momi_status *status) {
    struct momi_reader in = momi_reader(bytes);
    struct momi_status found;
    memset(&found, 0, sizeof found);
    if (momi_get_u8(&in) != FORMAT) {
        return bytes.size == 0 ? MOM_INVALID : MOM_VERSION;
    }
    struct momi_slice mesh = momi_get_bytes(&in, sizeof found.mesh.bytes);
    if (mesh.size == sizeof found.mesh.bytes) {
        memcpy(found.mesh.bytes, mesh.data, mesh.size);
    }
    found.node = momi_get_varint(&in);
    found.is_durable = get_bool(&in);
    found.shards_count = get_max(&in, MOMI_SHARDS_MAX);
    found.copies_count = get_max(&in, MOMI_REPLICAS_MAX);
    found.members_count = get_count(&in, MOMI_MEMBERS_MAX, MEMBER_BYTES_MIN);
    found.members = momi_arena_alloc(arena, found.members_count * sizeof *found.members);
    if (found.members == NULL) {
        return MOM_NO_MEMORY;
    }
    for (uint32_t index = 0; index < found.members_count; index++) {
        get_member(&in, &found.members[index]);
    }
    found.shards_listed = get_count(&in, MOMI_SHARDS_MAX + 1, SHARD_BYTES_MIN);
    found.shards = momi_arena_alloc(arena, found.shards_listed * sizeof *found.shards);
    if (found.shards == NULL) {
        return MOM_NO_MEMORY;
    }
    for (uint32_t index = 0; index < found.shards_listed; index++) {
        get_shard(&in, &found.shards[index]);
    }
    if (!momi_reader_done(&in)) {
        return MOM_INVALID;
    }
    *status = found;
    return MOM_OK;
}
