/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry's state and its commands (registry.h). Apply checks each command against
 * the state and does nothing when it does not fit: the leader proposes from its own view,
 * and a command may be proposed twice, or late.
 */
#include "core/registry.h"

#include "base/assert.h"
#include "core/registry_commands.h"

enum { RESERVE_BASE = 4096, RESERVE_MEMBER = 256, TAKEN_NAME_BYTES = 17 };

void momi_registry_init(struct momi_registry *registry) {
    *registry = (struct momi_registry){.version = 0};
}

void momi_registry_free(struct momi_registry *registry) {
    for (uint32_t i = 0; i < registry->members_count; i++) {
        momi_free((void *)(uintptr_t)registry->members[i].name.data);
        momi_free((void *)(uintptr_t)registry->members[i].address.data);
    }
    momi_free(registry->members);
    momi_free(registry->places);
    momi_reserve_free(&registry->reserve);
    momi_registry_init(registry);
}

/* --- members -------------------------------------------------------------------------
 */

/* The place of a node among the members, or where it would be. */
static uint32_t member_index(const struct momi_registry *registry, uint64_t node) {
    uint32_t low = 0;
    uint32_t high = registry->members_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (registry->members[middle].node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct momi_member *find_member(const struct momi_registry *registry,
                                       uint64_t node) {
    uint32_t index = member_index(registry, node);
    bool is_there =
        index < registry->members_count && registry->members[index].node == node;
    return is_there ? &registry->members[index] : NULL;
}

const struct momi_member *momi_registry_member(const struct momi_registry *registry,
                                               uint64_t node) {
    return find_member(registry, node);
}

static struct momi_member *find_named(const struct momi_registry *registry,
                                      struct momi_slice name) {
    for (uint32_t i = 0; name.size > 0 && i < registry->members_count; i++) {
        struct momi_member *member = &registry->members[i];
        if (!member->removed && momi_slice_equal(member->name, name)) {
            return member;
        }
    }
    return NULL;
}

const struct momi_member *momi_registry_named(const struct momi_registry *registry,
                                              struct momi_slice name) {
    return find_named(registry, name);
}

struct momi_member *momi_registry_insert(struct momi_registry *registry, uint64_t node) {
    if (registry->members_count == registry->members_room) {
        uint32_t room = registry->members_room == 0 ? 4 : registry->members_room * 2;
        struct momi_member *grown =
            momi_realloc(registry->members, room * sizeof *registry->members);
        if (grown == NULL) {
            return NULL;
        }
        registry->members = grown;
        registry->members_room = room;
    }
    uint32_t index = member_index(registry, node);
    struct momi_member *member = &registry->members[index];
    memmove(member + 1, member, (registry->members_count - index) * sizeof *member);
    registry->members_count++;
    *member = (struct momi_member){.node = node};
    return member;
}

static bool replace_text(struct momi_slice *text, struct momi_slice with) {
    uint8_t *copy = momi_alloc(with.size);
    if (copy == NULL) {
        return false;
    }
    if (with.size > 0) {
        memcpy(copy, with.data, with.size);
    }
    momi_free((void *)(uintptr_t)text->data);
    *text = momi_slice(copy, with.size);
    return true;
}

bool momi_member_set(struct momi_member *member, struct momi_slice name,
                     struct momi_slice address) {
    return replace_text(&member->name, name) && replace_text(&member->address, address);
}

/* --- reserve (R9) --------------------------------------------------------------------
 */

bool momi_registry_reserve(struct momi_registry *registry,
                           const struct momi_entry *entry) {
    if (entry->kind != MOMI_ENTRY_COMMANDS) {
        return true;
    }
    size_t members = registry->members_count + (size_t)entry->commands_count;
    size_t cost = RESERVE_BASE + 2 * entry->body.size +
                  (size_t)entry->commands_count * RESERVE_MEMBER +
                  4 * (members + 4) * sizeof *registry->members;
    if (registry->places == NULL) {
        cost += momi_reserve_cost((MOMI_SHARDS_MAX + 1) * sizeof *registry->places);
    }
    return momi_reserve_fill(&registry->reserve, cost);
}

/* --- commands ------------------------------------------------------------------------
 */

static void changed(struct momi_registry *registry) {
    registry->version++;
    registry->is_dirty = true;
}

static bool is_founded(const struct momi_registry *registry) {
    return registry->places != NULL;
}

/* A node that lost its place under this name keeps its record under NAME.ID, cut to fit:
 * names stay unambiguous. */
static void take_name(struct momi_member *member) {
    static const char digits[] = "0123456789abcdef";
    uint8_t name[MOMI_NAME_BYTES_MAX];
    size_t size = member->name.size;
    if (size > sizeof name - TAKEN_NAME_BYTES) {
        size = sizeof name - TAKEN_NAME_BYTES;
    }
    memcpy(name, member->name.data, size);
    name[size++] = '.';
    for (unsigned shift = 64; shift > 0; shift -= 4) {
        name[size++] = (uint8_t)digits[(member->node >> (shift - 4)) & 15];
    }
    bool renamed = replace_text(&member->name, momi_slice(name, size));
    MOMI_ASSERT(renamed); /* reserved */
}

static void put_member(struct momi_registry *registry,
                       const struct momi_member_record *record) {
    struct momi_member *member = find_member(registry, record->node);
    if (record->role != MOMI_ROLE_STORE ||
        (member == NULL && registry->members_count >= MOMI_MEMBERS_MAX) ||
        (member != NULL &&
         (member->removed || record->incarnation < member->incarnation))) {
        return;
    }
    struct momi_member *holder = find_named(registry, record->name);
    if (holder != NULL && holder->node != record->node) {
        if (!record->takes_name) {
            return;
        }
        take_name(holder);
    }
    bool is_same = member != NULL && member->incarnation == record->incarnation &&
                   momi_slice_equal(member->name, record->name) &&
                   momi_slice_equal(member->address, record->address);
    if (is_same) {
        return;
    }
    if (member == NULL) {
        member = momi_registry_insert(registry, record->node);
        MOMI_ASSERT(member != NULL); /* reserved */
    }
    member->incarnation = record->incarnation;
    member->role = record->role;
    bool is_set = momi_member_set(member, record->name, record->address);
    MOMI_ASSERT(is_set);
    changed(registry);
}

static void apply_found(struct momi_registry *registry, struct momi_slice body) {
    struct momi_mesh_found found;
    if (is_founded(registry) || !momi_mesh_found_parse(body, &found)) {
        return;
    }
    registry->places =
        momi_must_calloc((size_t)found.shards_count + 1, sizeof *registry->places);
    registry->mesh = found.mesh;
    registry->shards_count = found.shards_count;
    registry->copies_count = found.copies_count;
    registry->durable = found.durable;
    registry->replica_next = found.replica + 1;
    struct momi_shard_place *place = &registry->places[MOMI_REGISTRY_SHARD];
    place->plan = (struct momi_plan){.version = MOMI_GENESIS_VERSION, .count = 1};
    place->plan.at[0] = (struct momi_replica_at){
        .replica = found.replica, .node = found.founder.node, .votes = true};
    momi_plan_config(&place->plan, &place->genesis);
    place->current = place->genesis;
    place->done_version = MOMI_GENESIS_VERSION;
    place->is_founded = true;
    changed(registry);
    put_member(registry, &found.founder);
}

static bool holds_copies(const struct momi_registry *registry, uint64_t node) {
    for (uint32_t s = 0; s <= registry->shards_count; s++) {
        const struct momi_shard_place *place = &registry->places[s];
        if (place->is_founded && (momi_plan_on(&place->plan, node) != NULL ||
                                  momi_raft_config_on(&place->current, node) != NULL)) {
            return true;
        }
    }
    return false;
}

/* N4: who holds copies cannot go. The record stays, so that the node is known as gone. */
static void apply_remove(struct momi_registry *registry, struct momi_slice body) {
    uint64_t node = 0;
    if (!momi_member_remove_parse(body, &node)) {
        return;
    }
    struct momi_member *member = find_member(registry, node);
    if (member != NULL && !member->removed && !holds_copies(registry, node)) {
        member->removed = true;
        changed(registry);
    }
}

/* R2: every replica of the plan is in force already, on the same node, or its id is new.
 */
static bool replicas_are_legal(const struct momi_registry *registry,
                               const struct momi_shard_place *place,
                               const struct momi_plan *plan) {
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct momi_replica_at *at = &plan->at[i];
        const struct momi_replica_at *now =
            momi_raft_config_find(&place->current, at->replica);
        const struct momi_member *member = find_member(registry, at->node);
        bool is_kept = now != NULL && now->node == at->node;
        if ((!is_kept && at->replica < registry->replica_next) || member == NULL ||
            member->removed) {
            return false;
        }
    }
    return true;
}

static void apply_plan(struct momi_registry *registry, struct momi_slice body) {
    uint32_t shard = 0;
    struct momi_plan plan;
    if (!momi_place_plan_parse(body, &shard, &plan) || shard > registry->shards_count) {
        return;
    }
    struct momi_shard_place *place = &registry->places[shard];
    uint64_t version =
        place->is_founded ? place->plan.version + MOMI_PLAN_STEP : MOMI_GENESIS_VERSION;
    if (plan.version != version || (place->is_founded && !momi_place_is_settled(place)) ||
        !replicas_are_legal(registry, place, &plan)) {
        return;
    }
    place->plan = plan;
    if (!place->is_founded) {
        momi_plan_config(&plan, &place->genesis);
        place->current = place->genesis;
        place->done_version = plan.version;
        place->is_founded = true;
    }
    for (uint32_t i = 0; i < plan.count; i++) {
        if (plan.at[i].replica >= registry->replica_next) {
            registry->replica_next = plan.at[i].replica + 1;
        }
    }
    changed(registry);
}

/* N3: done when the plan's voters are in force, or given up by a simple configuration of
 * its version. */
static void apply_done(struct momi_registry *registry, struct momi_slice body) {
    uint32_t shard = 0;
    uint64_t version = 0;
    struct momi_raft_config config;
    if (!momi_place_done_parse(body, &shard, &version, &config) ||
        shard > registry->shards_count) {
        return;
    }
    struct momi_shard_place *place = &registry->places[shard];
    bool is_reached = momi_plan_is_reached(&place->plan, &config);
    if (!place->is_founded || momi_place_is_settled(place) ||
        version != place->plan.version || config.version > version ||
        (!is_reached && config.version != version)) {
        return;
    }
    for (uint32_t i = 0; i < config.count; i++) {
        if (config.at[i].replica >= registry->replica_next) {
            return;
        }
    }
    place->done_version = version;
    place->current = config;
    changed(registry);
}

static void apply_command(struct momi_registry *registry,
                          const struct momi_command *command) {
    if (command->version != MOMI_COMMAND_VERSION ||
        (!is_founded(registry) && command->type != CMD_FOUND)) {
        return;
    }
    struct momi_member_record record;
    switch (command->type) {
    case CMD_FOUND:
        apply_found(registry, command->body);
        break;
    case CMD_MEMBER_PUT:
        if (momi_member_record_parse(command->body, &record)) {
            put_member(registry, &record);
        }
        break;
    case CMD_MEMBER_REMOVE:
        apply_remove(registry, command->body);
        break;
    case CMD_PLAN:
        apply_plan(registry, command->body);
        break;
    case CMD_PLAN_DONE:
        apply_done(registry, command->body);
        break;
    default:
        break;
    }
}

void momi_registry_apply(struct momi_registry *registry, uint64_t index,
                         const struct momi_entry *entry) {
    MOMI_ASSERT(index == registry->applied + 1);
    if (entry->elapsed_us > registry->elapsed_us) {
        registry->elapsed_us = entry->elapsed_us;
    }
    if (entry->wall_us > registry->wall_us) {
        registry->wall_us = entry->wall_us;
    }
    if (entry->kind == MOMI_ENTRY_COMMANDS) {
        momi_reserve_enter(&registry->reserve);
        struct momi_command_reader reader = momi_command_reader(entry->body);
        struct momi_command command;
        while (momi_command_next(&reader, &command)) {
            apply_command(registry, &command);
        }
        momi_reserve_leave();
    }
    registry->applied = index;
    registry->applied_term = entry->term;
}
