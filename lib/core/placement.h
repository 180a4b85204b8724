/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where copies of shards should be (N3): a pure planner. From the registry and the nodes
 * that are there it derives the next few plans; the registry's leader proposes them.
 *
 *  - A shard without genesis gets min(copies, live nodes) replicas on the nodes with the
 *    fewest copies.
 *  - A founded shard with fewer copies than wanted gets one more; one copy moves from the
 *    fullest live node to the emptiest while they differ by more than one; preferred
 *    leaders move likewise. One voter in and one out per plan at most, a few shards at a
 *    time, a shard's next plan only when its last is done.
 *  - The registry has as many voters as there are nodes, then 3, then 5.
 *
 * Rendezvous weights break ties, so that equal inputs give equal plans everywhere.
 * Automation never takes a voter away without a new one, and leaves dead nodes alone.
 */
#ifndef MOMI_CORE_PLACEMENT_H
#define MOMI_CORE_PLACEMENT_H

#include "core/registry.h"

enum { MOMI_PLANS_IN_FLIGHT_MAX = 4 }; /* genesis does not count */

struct momi_placement_input {
    const struct momi_registry *registry; /* founded */
    const uint64_t *live; /* nodes, in any order; others get nothing new */
    size_t live_count;
    bool may_found; /* genesis of data shards may be decided */
};

struct momi_placement_step {
    uint32_t shard;
    struct momi_plan plan;
};

/* Writes up to `steps_max` steps, each for another shard, and returns their number; 0
 * also when out of memory. New replicas get ids from *replica_next on, which is raised.
 */
size_t momi_placement_steps(const struct momi_placement_input *input,
                            uint64_t *replica_next, struct momi_placement_step *steps,
                            size_t steps_max);

#endif
