/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner (placement.h). It works on a picture of the mesh as it will be when all
 * plans under way are done, and changes the picture with every step that it makes; a
 * shard that has a plan under way, or got one now, is busy and stays as it is.
 */
#include "core/placement.h"

#include "base/assert.h"
#include "base/mem.h"
#include "core/registry_commands.h"

enum { REGISTRY_VOTERS_FEW = 3, REGISTRY_VOTERS_MANY = 5 };

/* What a node carries of the data shards. */
struct load {
    uint64_t node;
    bool is_live;
    uint32_t copies;
    uint32_t leads;      /* shards that prefer it as leader */
    uint32_t reached_by; /* search for a leader path: the load before, plus one */
    uint32_t by_shard;   /* and the shard that leads there */
};

struct picture {
    struct momi_plan plan; /* as it will be */
    bool is_founded;
    bool is_busy;
};

struct planner {
    const struct momi_registry *registry;
    struct load *loads; /* one per member that was not removed, by node */
    uint32_t loads_count;
    uint32_t live_count;
    struct picture *pictures; /* shards_count + 1 */
    uint32_t in_flight;
    uint64_t *replica_next;
    struct momi_placement_step *steps;
    size_t steps_count, steps_max;
};

/* --- the picture ---------------------------------------------------------------------
 */

static struct load *load_of(const struct planner *planner, uint64_t node) {
    for (uint32_t i = 0; i < planner->loads_count; i++) {
        if (planner->loads[i].node == node) {
            return &planner->loads[i];
        }
    }
    return NULL;
}

static uint64_t weight(uint32_t shard, uint64_t node) {
    return momi_hash_u64(node ^ momi_hash_u64(shard + 1ull));
}

static void see_members(struct planner *planner,
                        const struct momi_placement_input *input) {
    const struct momi_registry *registry = planner->registry;
    for (uint32_t i = 0; i < registry->members_count; i++) {
        if (registry->members[i].removed) {
            continue;
        }
        struct load *load = &planner->loads[planner->loads_count++];
        *load = (struct load){.node = registry->members[i].node};
        for (size_t j = 0; j < input->live_count && !load->is_live; j++) {
            load->is_live = input->live[j] == load->node;
        }
        planner->live_count += load->is_live ? 1 : 0;
    }
}

/* The voters in force; a plan that is under way counts as done. */
static void see_place(struct picture *picture, const struct momi_shard_place *place) {
    picture->is_founded = place->is_founded;
    picture->is_busy = place->is_founded && !momi_place_is_settled(place);
    picture->plan = place->plan;
    if (!place->is_founded || picture->is_busy) {
        return;
    }
    picture->plan.count = 0;
    for (uint32_t i = 0; i < place->current.count; i++) {
        if (place->current.at[i].votes && picture->plan.count < MOMI_REPLICAS_MAX) {
            picture->plan.at[picture->plan.count++] = place->current.at[i];
        }
    }
    if (momi_plan_on(&picture->plan, picture->plan.leader) == NULL) {
        picture->plan.leader = 0;
    }
}

static void count_loads(struct planner *planner, uint32_t shard) {
    const struct momi_plan *plan = &planner->pictures[shard].plan;
    if (shard == MOMI_REGISTRY_SHARD || !planner->pictures[shard].is_founded) {
        return;
    }
    for (uint32_t i = 0; i < plan->count; i++) {
        struct load *load = load_of(planner, plan->at[i].node);
        if (load != NULL) {
            load->copies++;
            load->leads += plan->leader == load->node ? 1 : 0;
        }
    }
}

/* --- making steps --------------------------------------------------------------------
 */

static bool has_room(const struct planner *planner) {
    return planner->steps_count < planner->steps_max;
}

static bool may_start(const struct planner *planner) {
    return has_room(planner) && planner->in_flight < MOMI_PLANS_IN_FLIGHT_MAX;
}

static void add_step(struct planner *planner, uint32_t shard) {
    struct picture *picture = &planner->pictures[shard];
    MOMI_ASSERT(!picture->is_busy);
    picture->plan.version = picture->is_founded ? picture->plan.version + MOMI_PLAN_STEP
                                                : MOMI_GENESIS_VERSION;
    planner->in_flight += picture->is_founded ? 1 : 0;
    picture->is_founded = true;
    picture->is_busy = true;
    planner->steps[planner->steps_count++] =
        (struct momi_placement_step){.shard = shard, .plan = picture->plan};
}

/* The live node outside the plan with the fewest copies; NULL: none. */
static struct load *emptiest(const struct planner *planner, uint32_t shard) {
    const struct momi_plan *plan = &planner->pictures[shard].plan;
    struct load *best = NULL;
    for (uint32_t i = 0; i < planner->loads_count; i++) {
        struct load *load = &planner->loads[i];
        if (!load->is_live || momi_plan_on(plan, load->node) != NULL) {
            continue;
        }
        if (best == NULL || load->copies < best->copies ||
            (load->copies == best->copies &&
             weight(shard, load->node) > weight(shard, best->node))) {
            best = load;
        }
    }
    return best;
}

/* The live voter that the fewest shards prefer; NULL: none is live. */
static struct load *idlest(const struct planner *planner, uint32_t shard) {
    const struct momi_plan *plan = &planner->pictures[shard].plan;
    struct load *best = NULL;
    for (uint32_t i = 0; i < plan->count; i++) {
        struct load *load = load_of(planner, plan->at[i].node);
        if (load == NULL || !load->is_live) {
            continue;
        }
        if (best == NULL || load->leads < best->leads ||
            (load->leads == best->leads &&
             weight(shard, load->node) > weight(shard, best->node))) {
            best = load;
        }
    }
    return best;
}

static void choose_leader(struct planner *planner, uint32_t shard) {
    struct load *leader = idlest(planner, shard);
    if (leader != NULL && shard != MOMI_REGISTRY_SHARD) {
        planner->pictures[shard].plan.leader = leader->node;
        leader->leads++;
    }
}

static void add_copy(struct planner *planner, uint32_t shard, struct load *load) {
    struct momi_plan *plan = &planner->pictures[shard].plan;
    plan->at[plan->count++] = (struct momi_replica_at){
        .replica = (*planner->replica_next)++, .node = load->node, .votes = true};
    if (shard != MOMI_REGISTRY_SHARD) {
        load->copies++;
    }
}

static uint32_t lower(uint32_t a, uint32_t b) { return a < b ? a : b; }

static void found(struct planner *planner, uint32_t shard) {
    uint32_t copies = lower(planner->registry->copies_count, planner->live_count);
    if (copies == 0) {
        return;
    }
    planner->pictures[shard].plan = (struct momi_plan){.version = 0};
    for (uint32_t i = 0; i < copies; i++) {
        add_copy(planner, shard, emptiest(planner, shard));
    }
    choose_leader(planner, shard);
    add_step(planner, shard);
}

/* How many voters there should be: of the registry by the number of nodes. */
static uint32_t copies_wanted(const struct planner *planner, uint32_t shard) {
    if (shard != MOMI_REGISTRY_SHARD) {
        return planner->registry->copies_count;
    }
    uint32_t nodes = planner->live_count;
    const struct momi_plan *plan = &planner->pictures[shard].plan;
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct load *load = load_of(planner, plan->at[i].node);
        nodes += load == NULL || !load->is_live ? 1 : 0;
    }
    if (nodes >= REGISTRY_VOTERS_MANY) {
        return REGISTRY_VOTERS_MANY;
    }
    return lower(nodes, REGISTRY_VOTERS_FEW);
}

/* One copy more; an even number on the way to an odd one lasts as long as a change. */
static void grow(struct planner *planner, uint32_t shard) {
    const struct picture *picture = &planner->pictures[shard];
    if (!picture->is_founded || picture->is_busy || !may_start(planner) ||
        picture->plan.count >= copies_wanted(planner, shard)) {
        return;
    }
    struct load *load = emptiest(planner, shard);
    if (load == NULL) {
        return;
    }
    add_copy(planner, shard, load);
    if (picture->plan.leader == 0) {
        choose_leader(planner, shard);
    }
    add_step(planner, shard);
}

/* --- even copies ---------------------------------------------------------------------
 */

/* A shard with a copy on `from` and none on `to`, which suits `to` best; 0: none. */
static uint32_t movable(const struct planner *planner, const struct load *from,
                        const struct load *to) {
    uint32_t best = 0;
    for (uint32_t s = 1; s <= planner->registry->shards_count; s++) {
        const struct picture *picture = &planner->pictures[s];
        if (!picture->is_founded || picture->is_busy ||
            momi_plan_on(&picture->plan, from->node) == NULL ||
            momi_plan_on(&picture->plan, to->node) != NULL) {
            continue;
        }
        if (best == 0 || weight(s, to->node) > weight(best, to->node)) {
            best = s;
        }
    }
    return best;
}

static void move_copy(struct planner *planner, uint32_t shard, struct load *from,
                      struct load *to) {
    struct momi_plan *plan = &planner->pictures[shard].plan;
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->at[i].node == from->node) {
            plan->at[i] = (struct momi_replica_at){
                .replica = (*planner->replica_next)++, .node = to->node, .votes = true};
        }
    }
    from->copies--;
    to->copies++;
    if (plan->leader == from->node) {
        from->leads--;
        plan->leader = 0;
    }
    if (plan->leader == 0) {
        choose_leader(planner, shard);
    }
    add_step(planner, shard);
}

/* One move from a live node to another that has at least two copies less; the largest
 * difference for which a shard is free. False: nothing to do, or it is all under way. */
static bool even_copies(struct planner *planner) {
    uint32_t best_shard = 0;
    struct load *best_from = NULL;
    struct load *best_to = NULL;
    uint32_t best_difference = 1;
    for (uint32_t i = 0; i < planner->loads_count; i++) {
        for (uint32_t j = 0; j < planner->loads_count; j++) {
            struct load *from = &planner->loads[i];
            struct load *to = &planner->loads[j];
            if (!from->is_live || !to->is_live ||
                from->copies <= to->copies + best_difference) {
                continue;
            }
            uint32_t shard = movable(planner, from, to);
            if (shard != 0) {
                best_shard = shard;
                best_from = from;
                best_to = to;
                best_difference = from->copies - to->copies;
            }
        }
    }
    if (best_shard == 0) {
        return false;
    }
    move_copy(planner, best_shard, best_from, best_to);
    return true;
}

/* --- even leaders --------------------------------------------------------------------
 */

static void reset_search(struct planner *planner) {
    for (uint32_t i = 0; i < planner->loads_count; i++) {
        planner->loads[i].reached_by = 0;
    }
}

/* From `load` one step on: every live node with a copy of a shard that `load` leads. */
static void reach_from(struct planner *planner, uint32_t index) {
    const struct load *load = &planner->loads[index];
    for (uint32_t s = 1; s <= planner->registry->shards_count; s++) {
        const struct picture *picture = &planner->pictures[s];
        if (!picture->is_founded || picture->is_busy ||
            picture->plan.leader != load->node) {
            continue;
        }
        for (uint32_t i = 0; i < picture->plan.count; i++) {
            struct load *next = load_of(planner, picture->plan.at[i].node);
            if (next != NULL && next->is_live && next->reached_by == 0) {
                next->reached_by = index + 1;
                next->by_shard = s;
            }
        }
    }
}

/* Breadth first from `from`; the nearest node with two leaderships less, or NULL. Each
 * round reaches at least one more node, or it is the last. */
static struct load *find_relief(struct planner *planner, uint32_t from) {
    reset_search(planner);
    planner->loads[from].reached_by = from + 1;
    for (uint32_t round = 0; round < planner->loads_count; round++) {
        for (uint32_t i = 0; i < planner->loads_count; i++) {
            struct load *load = &planner->loads[i];
            if (load->reached_by != 0 && load->leads + 1 < planner->loads[from].leads) {
                return load;
            }
        }
        uint32_t reached = 0;
        bool is_reached[MOMI_MEMBERS_MAX];
        for (uint32_t i = 0; i < planner->loads_count; i++) {
            is_reached[i] = planner->loads[i].reached_by != 0;
            reached += is_reached[i] ? 1 : 0;
        }
        for (uint32_t i = 0; i < planner->loads_count; i++) {
            if (is_reached[i]) {
                reach_from(planner, i);
            }
        }
        uint32_t now_reached = 0;
        for (uint32_t i = 0; i < planner->loads_count; i++) {
            now_reached += planner->loads[i].reached_by != 0 ? 1 : 0;
        }
        if (now_reached == reached) {
            return NULL;
        }
    }
    return NULL;
}

/* Hands one leadership along the path: each node on it gives one and takes one. */
static void shift_leaders(struct planner *planner, uint32_t from, struct load *to) {
    struct load *at = to;
    at->leads++;
    planner->loads[from].leads--;
    while (at != &planner->loads[from] && has_room(planner)) {
        struct load *before = &planner->loads[at->reached_by - 1];
        planner->pictures[at->by_shard].plan.leader = at->node;
        add_step(planner, at->by_shard);
        at = before;
    }
}

static bool even_leaders(struct planner *planner) {
    uint32_t best = UINT32_MAX;
    struct load *best_to = NULL;
    uint32_t fewest = UINT32_MAX;
    for (uint32_t i = 0; i < planner->loads_count; i++) {
        if (planner->loads[i].is_live) {
            fewest = lower(fewest, planner->loads[i].leads);
        }
    }
    for (uint32_t i = 0; i < planner->loads_count; i++) {
        const struct load *load = &planner->loads[i];
        if (!load->is_live || load->leads <= fewest + 1 ||
            (best != UINT32_MAX && load->leads <= planner->loads[best].leads)) {
            continue;
        }
        struct load *to = find_relief(planner, i);
        if (to != NULL) {
            best = i;
            best_to = to;
        }
    }
    if (best == UINT32_MAX) {
        return false;
    }
    best_to = find_relief(planner, best); /* the marks of the path again */
    shift_leaders(planner, best, best_to);
    return true;
}

/* A shard without a preferred leader gets one. */
static void name_leader(struct planner *planner, uint32_t shard) {
    const struct picture *picture = &planner->pictures[shard];
    if (picture->is_founded && !picture->is_busy && picture->plan.leader == 0 &&
        may_start(planner) && idlest(planner, shard) != NULL) {
        choose_leader(planner, shard);
        add_step(planner, shard);
    }
}

/* --- all together --------------------------------------------------------------------
 */

static void make_steps(struct planner *planner, bool may_found) {
    uint32_t shards_count = planner->registry->shards_count;
    for (uint32_t s = 1; may_found && s <= shards_count && has_room(planner); s++) {
        if (!planner->pictures[s].is_founded) {
            found(planner, s);
        }
    }
    for (uint32_t s = 0; s <= shards_count; s++) {
        grow(planner, s);
    }
    while (may_start(planner) && even_copies(planner)) {
        continue;
    }
    for (uint32_t s = 1; s <= shards_count; s++) {
        name_leader(planner, s);
    }
    while (may_start(planner) && even_leaders(planner)) {
        continue;
    }
}

size_t momi_placement_steps(const struct momi_placement_input *input,
                            uint64_t *replica_next, struct momi_placement_step *steps,
                            size_t steps_max) {
    const struct momi_registry *registry = input->registry;
    MOMI_ASSERT(registry->places != NULL);
    uint64_t first_replica = *replica_next;
    struct planner planner = {
        .registry = registry,
        .loads = momi_calloc((size_t)registry->members_count + 1, sizeof(struct load)),
        .pictures =
            momi_calloc((size_t)registry->shards_count + 1, sizeof(struct picture)),
        .replica_next = replica_next,
        .steps = steps,
        .steps_max = steps_max,
    };
    if (planner.loads != NULL && planner.pictures != NULL) {
        see_members(&planner, input);
        for (uint32_t s = 0; s <= registry->shards_count; s++) {
            see_place(&planner.pictures[s], &registry->places[s]);
            count_loads(&planner, s);
            planner.in_flight += planner.pictures[s].is_busy ? 1 : 0;
        }
        make_steps(&planner, input->may_found);
    }
    MOMI_ASSERT(*replica_next >= first_replica);
    momi_free(planner.loads);
    momi_free(planner.pictures);
    return planner.steps_count;
}
