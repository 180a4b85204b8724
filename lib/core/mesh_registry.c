/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the leader of the registry does besides leading: it fills a new registry, takes up
 * members, notes plans that are done, and proposes the next ones (N1, N3).
 *
 * Everything is proposed from the applied state, and applying checks it again; what got
 * lost is proposed once more after a second.
 */
#include "base/mem.h"
#include "core/mesh_internal.h"
#include "core/placement.h"
#include "core/registry_commands.h"

static bool propose(struct momi_core *core, uint8_t command, struct momi_bytes *body) {
    bool is_proposed =
        !body->failed &&
        momi_shard_propose(core, MOMI_REGISTRY_SHARD, command, momi_bytes_slice(body));
    momi_bytes_free(body);
    return is_proposed;
}

/* The registry that we lead; NULL: we do not, or it is not founded. */
static const struct momi_registry *led_registry(const struct momi_core *core) {
    const struct momi_registry *registry = momi_shard_registry(core);
    bool is_led = momi_shard_is_leader(core, MOMI_REGISTRY_SHARD);
    return is_led && registry != NULL && registry->places != NULL ? registry : NULL;
}

/* --- members -------------------------------------------------------------------------
 */

static void answer_join(struct momi_core *core, uint64_t node, uint64_t counter,
                        int error, const struct momi_text *why) {
    struct momi_frame *frame = momi_core_send(core, node, FRAME_JOIN_REPLY);
    frame->counter = counter;
    frame->error = error;
    if (error == MOM_UNAVAILABLE) {
        frame->index = momi_mesh_leader(core, MOMI_REGISTRY_SHARD);
        frame->index = frame->index == core->config.node ? 0 : frame->index;
    }
    if (why != NULL) {
        frame->detail = momi_effect_copy(core->effects, momi_slice(why->at, why->used));
    }
}

static bool is_recorded(const struct momi_registry *registry,
                        const struct momi_member_record *record) {
    const struct momi_member *member = momi_registry_member(registry, record->node);
    return member != NULL && !member->removed &&
           member->incarnation == record->incarnation &&
           momi_slice_equal(member->name, record->name) &&
           momi_slice_equal(member->address, record->address);
}

/* The class to refuse a record with, and the words for it. */
static int examine(const struct momi_core *core, const struct momi_registry *registry,
                   struct momi_member_record *record, struct momi_text *why) {
    const struct momi_member *member = momi_registry_member(registry, record->node);
    const struct momi_member *holder = momi_registry_named(registry, record->name);
    if (record->role != MOMI_ROLE_STORE) {
        momi_text_add(why, "only stores are members");
        return MOM_INVALID;
    }
    if (member != NULL && member->removed) {
        momi_text_add(
            why, "it was removed from the mesh; an empty directory makes a new node");
        return MOM_FORBIDDEN;
    }
    if (member != NULL && record->incarnation < member->incarnation) {
        momi_text_add(why,
                      "it came back older than it was: its data was replaced by a copy");
        return MOM_CONFLICT;
    }
    if (registry->durable && !record->is_durable) {
        momi_text_add(
            why, "the mesh is durable, a node without a directory can only be a client");
        return MOM_FORBIDDEN;
    }
    if (record->address.size == 0 && (member == NULL || registry->members_count > 1)) {
        momi_text_add(why, "a store has to listen, so that others reach it");
        return MOM_INVALID;
    }
    if (member == NULL && registry->members_count >= MOMI_MEMBERS_MAX) {
        momi_text_add(why, "the mesh has as many members as it can have");
        return MOM_FULL;
    }
    if (holder != NULL && holder->node != record->node) {
        if (momi_mesh_lane_is_up(core, holder->node)) {
            momi_text_add(why, "the name ");
            momi_text_add_slice(why, record->name);
            momi_text_add(why, " is in use by node ");
            momi_text_add_node(why, holder->node);
            momi_text_add(why, "; give this one another name");
            return MOM_CONFLICT;
        }
        record->takes_name = true;
    }
    return MOM_OK;
}

void momi_mesh_join_request(struct momi_core *core, uint64_t node,
                            const struct momi_frame *frame) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_registry *registry = led_registry(core);
    struct momi_member_record record;
    char words[MESH_TEXT_BYTES];
    struct momi_text why = {.at = words, .size = sizeof words};
    if (registry == NULL) {
        answer_join(core, node, frame->counter, MOM_UNAVAILABLE, NULL);
        return;
    }
    if (!momi_member_record_parse(frame->name, &record) || record.node != node ||
        record.incarnation != momi_mesh_incarnation(core, node)) {
        momi_text_add(&why, "its record is not its own");
        answer_join(core, node, frame->counter, MOM_INVALID, &why);
        return;
    }
    record.takes_name = false;
    if (is_recorded(registry, &record)) {
        answer_join(core, node, frame->counter, MOM_OK, NULL);
        return;
    }
    int error = examine(core, registry, &record, &why);
    if (error != MOM_OK) {
        answer_join(core, node, frame->counter, error, &why);
        return;
    }
    if (mesh->joins_count == MESH_JOINS_MAX) {
        return; /* it asks again */
    }
    struct momi_bytes body = {.data = NULL};
    momi_member_record_put(&body, &record);
    if (propose(core, CMD_MEMBER_PUT, &body)) {
        mesh->joins[mesh->joins_count++] =
            (struct momi_joining){.node = node, .counter = frame->counter};
    }
}

/* Whose record is there as of its current incarnation. Others ask again. */
void momi_mesh_answer_joins(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    const struct momi_registry *registry = led_registry(core);
    size_t kept = 0;
    for (size_t i = 0; registry != NULL && i < mesh->joins_count; i++) {
        struct momi_joining *joining = &mesh->joins[i];
        const struct momi_member *member = momi_registry_member(registry, joining->node);
        uint64_t incarnation = momi_mesh_incarnation(core, joining->node);
        if (incarnation == 0) {
            continue; /* it is gone */
        }
        if (member != NULL && !member->removed && member->incarnation == incarnation) {
            answer_join(core, joining->node, joining->counter, MOM_OK, NULL);
        } else {
            mesh->joins[kept++] = *joining;
        }
    }
    mesh->joins_count = kept;
}

/* --- plans ---------------------------------------------------------------------------
 */

void momi_mesh_plan_done(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame) {
    const struct momi_registry *registry = led_registry(core);
    struct momi_raft_config config;
    if (registry == NULL || frame->shard > registry->shards_count ||
        !momi_raft_config_decode(frame->name, &config)) {
        return;
    }
    const struct momi_shard_place *place = &registry->places[frame->shard];
    /* Only who has a copy can know. */
    bool may_know = momi_raft_config_on(&config, node) != NULL ||
                    momi_raft_config_on(&place->current, node) != NULL;
    if (!may_know || momi_place_is_settled(place) ||
        frame->number != place->plan.version) {
        return;
    }
    struct momi_bytes body = {.data = NULL};
    momi_place_done_put(&body, frame->shard, frame->number, frame->name);
    (void)propose(core, CMD_PLAN_DONE, &body);
}

/* N1: data shards wait for all founders, after 10 s for a majority of them. */
static bool may_found(const struct momi_core *core,
                      const struct momi_registry *registry) {
    const struct momi_mesh *mesh = core->mesh;
    size_t present = 0;
    for (size_t i = 0; i < core->config.form_count; i++) {
        const struct momi_member *member =
            momi_registry_named(registry, core->config.form[i].name);
        present += member != NULL && momi_mesh_lane_is_up(core, member->node) ? 1 : 0;
    }
    bool is_late = core->now_us >= mesh->registrar_since_us + MESH_GENESIS_US;
    return present == core->config.form_count ||
           (is_late && present * 2 > core->config.form_count);
}

static size_t live_members(const struct momi_core *core,
                           const struct momi_registry *registry, uint64_t *live) {
    size_t count = 0;
    for (uint32_t i = 0; i < registry->members_count; i++) {
        const struct momi_member *member = &registry->members[i];
        if (!member->removed && momi_mesh_lane_is_up(core, member->node)) {
            live[count++] = member->node;
        }
    }
    return count;
}

static size_t propose_plans(struct momi_core *core, const struct momi_registry *registry,
                            bool is_genesis_due) {
    struct momi_mesh *mesh = core->mesh;
    enum { STEPS_MAX = MOMI_SHARDS_MAX + 1 };
    uint64_t *live =
        momi_effect_alloc(core->effects, sizeof *live * (registry->members_count + 1u));
    struct momi_placement_step *steps =
        momi_effect_alloc(core->effects, sizeof *steps * STEPS_MAX);
    struct momi_placement_input input = {.registry = registry,
                                         .live = live,
                                         .live_count = live_members(core, registry, live),
                                         .may_found = is_genesis_due};
    if (mesh->replica_next < registry->replica_next) {
        mesh->replica_next = registry->replica_next;
    }
    size_t count = momi_placement_steps(&input, &mesh->replica_next, steps, STEPS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct momi_bytes body = {.data = NULL};
        momi_place_plan_put(&body, steps[i].shard, &steps[i].plan);
        momi_trace(core, "PLAN", steps[i].shard, steps[i].plan.version,
                   steps[i].plan.count);
        (void)propose(core, CMD_PLAN, &body);
    }
    return count;
}

static bool has_unfounded(const struct momi_registry *registry) {
    for (uint32_t s = 1; s <= registry->shards_count; s++) {
        if (!registry->places[s].is_founded) {
            return true;
        }
    }
    return false;
}

static uint64_t plan_step(struct momi_core *core, const struct momi_registry *registry) {
    struct momi_mesh *mesh = core->mesh;
    bool is_under_way = mesh->planned_version == registry->version &&
                        core->now_us < mesh->planned_us + MESH_REPLAN_US;
    if (is_under_way) {
        return mesh->planned_us + MESH_REPLAN_US; /* or when they are applied */
    }
    if (!mesh->plan_wanted) {
        return MOMI_NEVER;
    }
    if (core->now_us < mesh->plan_due_us) {
        return mesh->plan_due_us;
    }
    mesh->plan_wanted = false;
    mesh->planned_version = 0;
    mesh->plan_due_us = core->now_us + MESH_PLAN_US;
    bool is_genesis_due = may_found(core, registry);
    if (propose_plans(core, registry, is_genesis_due) > 0) {
        mesh->plan_wanted = true;
        mesh->planned_version = registry->version;
        mesh->planned_us = core->now_us;
        return mesh->planned_us + MESH_REPLAN_US;
    }
    if (!is_genesis_due && has_unfounded(registry)) {
        mesh->plan_wanted = true; /* a founder that joins makes us look again */
        return core->now_us + MESH_RETRY_US;
    }
    return MOMI_NEVER;
}

/* --- all together --------------------------------------------------------------------
 */

static uint64_t fill_registry(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    struct momi_shard_view view;
    if (!momi_mesh_has_id(core) ||
        !momi_core_shard_view(core, MOMI_REGISTRY_SHARD, MOMI_VIEW_PLAIN, &view)) {
        return MOMI_NEVER;
    }
    if (core->now_us < mesh->found_due_us) {
        return mesh->found_due_us;
    }
    struct momi_mesh_found found = {.mesh = core->config.mesh,
                                    .shards_count = core->config.shards_count,
                                    .copies_count = core->config.copies_count,
                                    .durable = core->config.durable,
                                    .replica = view.replica};
    momi_mesh_own_record(core, &found.founder);
    struct momi_bytes body = {.data = NULL};
    momi_mesh_found_put(&body, &found);
    (void)propose(core, CMD_FOUND, &body);
    momi_trace(core, "MESH_FOUNDED", 0, core->config.node, found.shards_count);
    mesh->found_due_us = core->now_us + MESH_RETRY_US;
    return mesh->found_due_us;
}

uint64_t momi_mesh_registry_step(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    if (!momi_shard_is_leader(core, MOMI_REGISTRY_SHARD) || core->is_closing) {
        mesh->is_registrar = false;
        mesh->joins_count = 0;
        return MOMI_NEVER; /* leading calls us */
    }
    if (!mesh->is_registrar) {
        mesh->is_registrar = true;
        mesh->registrar_since_us = core->now_us;
        mesh->replica_next = 0;
        mesh->planned_version = 0;
        mesh->plan_wanted = true;
        mesh->found_due_us = 0;
    }
    const struct momi_registry *registry = led_registry(core);
    return registry == NULL ? fill_registry(core) : plan_step(core, registry);
}

void momi_mesh_registry_changed(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    if (core->effects == NULL) {
        return; /* restoring: momi_mesh_start looks at everything */
    }
    momi_mesh_answer_joins(core);
    mesh->plan_wanted = true;
    mesh->found_due_us = momi_mesh_has_id(core) ? mesh->found_due_us : 0;
    momi_mesh_soon(mesh, core->now_us);
}
