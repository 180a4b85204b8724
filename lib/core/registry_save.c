/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry as bytes: checkpoint records and the map. Both are made of the same
 * pieces: a head, one piece per member, one per shard.
 *
 *   record   'm'                -> head, stamps
 *            'n' node be64      -> member
 *            'p' shard be32     -> place
 *   map      u8 format, head, members, places
 *
 *   head     u8 founded, then if so: 16 bytes mesh id, varint shards, varint copies, u8
 *            durable; then varint version, varint next replica, varint members
 *   member   u64 node, u64 incarnation, u8 role, u8 removed, name, address
 *   place    u8 founded, then if so: genesis (slice), plan, varint done, current (slice)
 */
#include "core/keys.h"
#include "core/registry_commands.h"

enum { MAP_FORMAT = 1 };

/* --- writing -------------------------------------------------------------------------
 */

static void put_head(const struct momi_registry *registry, struct momi_bytes *out) {
    bool is_founded = registry->places != NULL;
    momi_put_u8(out, is_founded ? 1 : 0);
    if (is_founded) {
        momi_bytes_append(out, registry->mesh.bytes, sizeof registry->mesh.bytes);
        momi_put_varint(out, registry->shards_count);
        momi_put_varint(out, registry->copies_count);
        momi_put_u8(out, registry->durable ? 1 : 0);
    }
    momi_put_varint(out, registry->version);
    momi_put_varint(out, registry->replica_next);
    momi_put_varint(out, registry->members_count);
}

static void put_member(const struct momi_member *member, struct momi_bytes *out) {
    momi_put_u64(out, member->node);
    momi_put_u64(out, member->incarnation);
    momi_put_u8(out, (uint8_t)member->role);
    momi_put_u8(out, member->removed ? 1 : 0);
    momi_put_slice(out, member->name);
    momi_put_slice(out, member->address);
}

/* A configuration with its size before it: at most 10 bytes per number. */
static void put_config(const struct momi_raft_config *config, struct momi_bytes *out) {
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(config, &bytes);
    if (bytes.failed) {
        out->failed = true;
    } else {
        momi_put_slice(out, momi_bytes_slice(&bytes));
    }
    momi_bytes_free(&bytes);
}

static void put_place(const struct momi_shard_place *place, struct momi_bytes *out) {
    momi_put_u8(out, place->is_founded ? 1 : 0);
    if (place->is_founded) {
        put_config(&place->genesis, out);
        momi_plan_put(out, &place->plan);
        momi_put_varint(out, place->done_version);
        put_config(&place->current, out);
    }
}

static uint32_t places_count(const struct momi_registry *registry) {
    return registry->places == NULL ? 0 : registry->shards_count + 1;
}

void momi_registry_encode(const struct momi_registry *registry, struct momi_bytes *out) {
    momi_put_u8(out, MAP_FORMAT);
    put_head(registry, out);
    for (uint32_t i = 0; i < registry->members_count; i++) {
        put_member(&registry->members[i], out);
    }
    for (uint32_t s = 0; s < places_count(registry); s++) {
        put_place(&registry->places[s], out);
    }
}

uint64_t momi_registry_hash(const struct momi_registry *registry) {
    struct momi_bytes bytes = {.data = NULL};
    momi_registry_encode(registry, &bytes);
    momi_put_u64(&bytes, registry->elapsed_us);
    momi_put_u64(&bytes, registry->wall_us);
    uint64_t hash = momi_hash_bytes(momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    return hash;
}

/* One record of the checkpoint; `bytes` is emptied for the next. */
static void save_record(struct momi_batch *batch, uint8_t side, struct momi_bytes *key,
                        struct momi_bytes *bytes) {
    if (key->failed || bytes->failed) {
        batch->failed = true;
    } else {
        momi_batch_put_record(batch, MOMI_REGISTRY_SHARD, side, momi_bytes_slice(key),
                              momi_bytes_slice(bytes));
    }
    momi_bytes_clear(key);
    momi_bytes_clear(bytes);
}

void momi_registry_save(struct momi_registry *registry, uint8_t side,
                        struct momi_batch *batch) {
    struct momi_bytes key = {.data = NULL};
    struct momi_bytes bytes = {.data = NULL};
    momi_put_u8(&key, 'm');
    put_head(registry, &bytes);
    momi_put_varint(&bytes, registry->elapsed_us);
    momi_put_varint(&bytes, registry->wall_us);
    save_record(batch, side, &key, &bytes);
    for (uint32_t i = 0; registry->is_dirty && i < registry->members_count; i++) {
        momi_put_u8(&key, 'n');
        momi_put_be64(&key, registry->members[i].node);
        put_member(&registry->members[i], &bytes);
        save_record(batch, side, &key, &bytes);
    }
    for (uint32_t s = 0; registry->is_dirty && s < places_count(registry); s++) {
        momi_put_u8(&key, 'p');
        momi_put_be32(&key, s);
        put_place(&registry->places[s], &bytes);
        save_record(batch, side, &key, &bytes);
    }
    momi_bytes_free(&key);
    momi_bytes_free(&bytes);
    registry->is_dirty = registry->is_dirty && batch->failed;
}

/* --- reading -------------------------------------------------------------------------
 */

/* False: malformed, or out of memory. The number of members goes to `members_count`. */
static bool get_head(struct momi_registry *registry, struct momi_reader *in,
                     uint64_t *members_count) {
    uint8_t founded = momi_get_u8(in);
    if (founded == 1) {
        struct momi_slice id = momi_get_bytes(in, sizeof registry->mesh.bytes);
        uint64_t shards = momi_get_varint(in);
        uint64_t copies = momi_get_varint(in);
        uint8_t durable = momi_get_u8(in);
        if (in->failed || shards == 0 || shards > MOMI_SHARDS_MAX || copies == 0 ||
            copies > MOMI_REPLICAS_MAX || durable > 1) {
            return false;
        }
        memcpy(registry->mesh.bytes, id.data, id.size);
        registry->shards_count = (uint32_t)shards;
        registry->copies_count = (uint32_t)copies;
        registry->durable = durable == 1;
        registry->places = momi_calloc(shards + 1, sizeof *registry->places);
        if (registry->places == NULL || momi_mesh_id_is_none(&registry->mesh)) {
            return false;
        }
    }
    registry->version = momi_get_varint(in);
    registry->replica_next = momi_get_varint(in);
    *members_count = momi_get_varint(in);
    return !in->failed && founded <= 1 && *members_count <= MOMI_MEMBERS_MAX;
}

static bool get_member(struct momi_registry *registry, struct momi_reader *in) {
    uint64_t node = momi_get_u64(in);
    uint64_t incarnation = momi_get_u64(in);
    uint8_t role = momi_get_u8(in);
    uint8_t removed = momi_get_u8(in);
    struct momi_slice name = momi_get_slice(in);
    struct momi_slice address = momi_get_slice(in);
    if (in->failed || node == 0 || role != MOMI_ROLE_STORE || removed > 1 ||
        name.size > MOMI_NAME_BYTES_MAX || address.size > MOMI_MEMBER_ADDRESS_BYTES_MAX ||
        registry->members_count >= MOMI_MEMBERS_MAX ||
        momi_registry_member(registry, node) != NULL) {
        return false;
    }
    struct momi_member *member = momi_registry_insert(registry, node);
    if (member == NULL) {
        return false;
    }
    member->incarnation = incarnation;
    member->role = (enum momi_role)role;
    member->removed = removed == 1;
    return momi_member_set(member, name, address);
}

static bool get_place(struct momi_shard_place *place, struct momi_reader *in) {
    uint8_t founded = momi_get_u8(in);
    if (founded == 0 || in->failed) {
        return founded == 0 && !in->failed;
    }
    struct momi_slice genesis = momi_get_slice(in);
    momi_plan_get(in, &place->plan);
    place->done_version = momi_get_varint(in);
    struct momi_slice current = momi_get_slice(in);
    place->is_founded = true;
    return !in->failed && founded == 1 &&
           momi_raft_config_decode(genesis, &place->genesis) &&
           momi_raft_config_decode(current, &place->current) &&
           place->genesis.count > 0 && place->current.count > 0 &&
           place->done_version <= place->plan.version;
}

bool momi_registry_load(struct momi_registry *registry, struct momi_slice key,
                        struct momi_slice value) {
    struct momi_reader in = momi_reader(value);
    struct momi_reader at = momi_reader(key);
    uint64_t members_count = 0;
    switch (momi_get_u8(&at)) {
    case 'm':
        if (!momi_reader_done(&at) || registry->places != NULL ||
            !get_head(registry, &in, &members_count)) {
            return false;
        }
        registry->elapsed_us = momi_get_varint(&in);
        registry->wall_us = momi_get_varint(&in);
        return momi_reader_done(&in);
    case 'n':
        (void)momi_get_be64(&at);
        return momi_reader_done(&at) && get_member(registry, &in) &&
               momi_reader_done(&in);
    case 'p': {
        uint32_t shard = momi_get_be32(&at);
        return momi_reader_done(&at) && shard < places_count(registry) &&
               !registry->places[shard].is_founded &&
               get_place(&registry->places[shard], &in) && momi_reader_done(&in);
    }
    default:
        return false;
    }
}

/* The registry's own place is founded with the mesh, and the founder is a member. */
static bool is_sound(const struct momi_registry *registry) {
    if (registry->places == NULL) {
        return registry->members_count == 0;
    }
    return registry->places[MOMI_REGISTRY_SHARD].is_founded &&
           registry->members_count > 0;
}

bool momi_registry_loaded(struct momi_registry *registry, uint64_t applied,
                          uint64_t applied_term) {
    registry->applied = applied;
    registry->applied_term = applied_term;
    registry->is_dirty = false;
    return is_sound(registry);
}

bool momi_registry_decode(struct momi_registry *registry, struct momi_slice bytes) {
    struct momi_registry decoded;
    momi_registry_init(&decoded);
    struct momi_reader in = momi_reader(bytes);
    uint64_t members_count = 0;
    bool ok = momi_get_u8(&in) == MAP_FORMAT && get_head(&decoded, &in, &members_count);
    for (uint64_t i = 0; ok && i < members_count; i++) {
        ok = get_member(&decoded, &in);
    }
    for (uint32_t s = 0; ok && s < places_count(&decoded); s++) {
        ok = get_place(&decoded.places[s], &in);
    }
    if (!ok || !momi_reader_done(&in) || !is_sound(&decoded)) {
        momi_registry_free(&decoded);
        return false;
    }
    momi_registry_free(registry);
    *registry = decoded;
    return true;
}
