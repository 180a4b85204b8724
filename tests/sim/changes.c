/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of where copies are, as an operator's drain or the registry would issue them:
 * a copy is removed, added, or moved to another node, or another node is preferred as
 * leader. The plan goes through the registry's leader like any other (N3); its planner
 * goes on at the same time, and fills up what is missing, also on the node that has just
 * lost its copy. The registry itself keeps its copies.
 */
#include "core/mesh_internal.h"
#include "core/registry_commands.h"
#include "core/shard_internal.h"
#include "world.h"

enum change { CHANGE_REMOVE, CHANGE_ADD, CHANGE_MOVE, CHANGE_LEADER, CHANGES };

static uint32_t leading_node(const struct sim_world *world, uint32_t shard) {
    for (uint32_t i = 0; i < world->options.stores; i++) {
        const struct sim_node *node = &world->nodes[i];
        if (node->core != NULL && !node->is_paused && !node->is_closing &&
            momi_shard_is_leader(node->core, shard)) {
            return i;
        }
    }
    return UINT32_MAX;
}

static void drop_copy(struct momi_plan *plan, uint32_t at) {
    if (plan->leader == plan->at[at].node) {
        plan->leader = 0;
    }
    for (uint32_t i = at; i + 1 < plan->count; i++) {
        plan->at[i] = plan->at[i + 1];
    }
    plan->count--;
}

/* False: every member has a copy already. */
static bool add_copy(struct sim_world *world, const struct momi_registry *registry,
                     struct momi_plan *plan, uint64_t not_on, uint64_t replica) {
    struct momi_rng *rng = &world->rng_fault;
    uint32_t first = (uint32_t)sim_draw(rng, 0, registry->members_count - 1);
    for (uint32_t i = 0; i < registry->members_count; i++) {
        const struct momi_member *member =
            &registry->members[(first + i) % registry->members_count];
        if (!member->removed && member->node != not_on &&
            momi_plan_on(plan, member->node) == NULL) {
            plan->at[plan->count++] = (struct momi_replica_at){
                .replica = replica, .node = member->node, .votes = true};
            return true;
        }
    }
    return false;
}

/* False: there is no such change here. */
static bool make_change(struct sim_world *world, const struct momi_registry *registry,
                        enum change change, uint64_t replica, struct momi_plan *plan) {
    struct momi_rng *rng = &world->rng_fault;
    uint32_t at = (uint32_t)sim_draw(rng, 0, plan->count - 1);
    uint64_t gone = plan->at[at].node;
    switch (change) {
    case CHANGE_REMOVE:
        if (plan->count < 2) {
            return false;
        }
        drop_copy(plan, at);
        return true;
    case CHANGE_ADD:
        return plan->count < MOMI_REPLICAS_MAX &&
               add_copy(world, registry, plan, 0, replica);
    case CHANGE_MOVE:
        drop_copy(plan, at);
        return add_copy(world, registry, plan, gone, replica);
    default:
        plan->leader = gone;
        return true;
    }
}

void sim_changes_issue(struct sim_world *world) {
    struct momi_rng *rng = &world->rng_fault;
    uint32_t registrar = leading_node(world, MOMI_REGISTRY_SHARD);
    if (registrar == UINT32_MAX) {
        return;
    }
    struct momi_core *core = world->nodes[registrar].core;
    const struct momi_registry *registry = momi_shard_registry(core);
    if (registry == NULL || registry->places == NULL || registry->members_count == 0) {
        return;
    }
    uint32_t shard = (uint32_t)sim_draw(rng, momi_rng_chance(rng, 100000) ? 0 : 1,
                                        registry->shards_count);
    enum change change = (enum change)sim_draw(rng, 0, CHANGES - 1);
    if (shard == MOMI_REGISTRY_SHARD) {
        change = CHANGE_LEADER; /* docs/simulator.md: what is not simulated */
    }
    const struct momi_shard_place *place = &registry->places[shard];
    if (!momi_place_is_settled(place)) {
        return;
    }
    struct momi_plan plan = place->plan;
    uint64_t replica = core->mesh->replica_next > registry->replica_next
                           ? core->mesh->replica_next
                           : registry->replica_next;
    if (!make_change(world, registry, change, replica, &plan)) {
        return;
    }
    core->mesh->replica_next = replica + 1;
    plan.version += MOMI_PLAN_STEP;
    struct momi_bytes body = {0};
    momi_place_plan_put(&body, shard, &plan);
    static const char *const names[] = {"removes a copy", "adds a copy", "moves a copy",
                                        "prefers a leader"};
    sim_say(world, "plan %llu of shard %u %s", (unsigned long long)plan.version, shard,
            names[change]);
    world->totals.plans++;
    (void)momi_shard_propose(core, MOMI_REGISTRY_SHARD, CMD_PLAN,
                             momi_bytes_slice(&body));
    momi_bytes_free(&body);
    struct momi_event event = {.type = EV_TIME};
    sim_node_event(world, registrar, &event);
}

/* The node that leads a shard drawn at random; UINT32_MAX: nobody does now. */
uint32_t sim_changes_draw_leader(struct sim_world *world) {
    return leading_node(world,
                        (uint32_t)sim_draw(&world->rng_fault, 0, world->options.shards));
}
