/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of a Raft group: which replicas vote, which learn, and, while joint
 * (Ongaro, "Consensus: Bridging Theory and Practice", 4.3), which voted before. Carried
 * by config entries and snapshots; a pure value.
 */
#ifndef MOMI_CORE_RAFT_CONFIG_H
#define MOMI_CORE_RAFT_CONFIG_H

#include "base/pack.h"
#include "core/types.h"

struct momi_replica_at {
    uint64_t replica;
    uint64_t node;
    bool votes; /* in the (new) configuration */
    bool voted; /* in the outgoing half of a joint configuration */
};

struct momi_raft_config {
    uint64_t version; /* of the plan it serves (N3) */
    bool is_joint;
    uint32_t count;
    struct momi_replica_at at[2 * MOMI_REPLICAS_MAX]; /* sorted by replica id; neither
                                                         votes nor voted: a learner */
};

void momi_raft_config_encode(const struct momi_raft_config *config,
                             struct momi_bytes *out);
bool momi_raft_config_decode(struct momi_slice bytes,
                             struct momi_raft_config *config); /* false: malformed */
const struct momi_replica_at *momi_raft_config_find(const struct momi_raft_config *config,
                                                    uint64_t replica);
const struct momi_replica_at *momi_raft_config_on(const struct momi_raft_config *config,
                                                  uint64_t node);
/* In either half. */
bool momi_raft_config_is_voter(const struct momi_raft_config *config, uint64_t replica);
bool momi_raft_config_equal(const struct momi_raft_config *a,
                            const struct momi_raft_config *b);
/* What to propose to get from the simple configuration `now` to the simple `target`:
 * `target` itself when both have the same voters, else the joint one, with the version of
 * `target`. False: more replicas than one configuration holds, or one of the two is not
 * simple, or a replica would change its node. A voter that the target lists as a learner
 * leaves the group: it may come back under a new id. */
bool momi_raft_config_enter(const struct momi_raft_config *now,
                            const struct momi_raft_config *target,
                            struct momi_raft_config *proposal);
/* The simple configuration behind a joint one, same version: who only voted before is
 * gone. */
void momi_raft_config_leave(const struct momi_raft_config *joint,
                            struct momi_raft_config *simple);
/* Whether one may follow the other: from simple to simple with the same voters or into
 * joint, with a higher version; from joint to what momi_raft_config_leave gives (R1, N3).
 */
bool momi_raft_config_may_follow(const struct momi_raft_config *now,
                                 const struct momi_raft_config *next);
/* The largest index that a majority (of both halves, if joint) has reached;
 * `reached(user, replica)` gives each. */
uint64_t momi_raft_config_quorum(const struct momi_raft_config *config,
                                 uint64_t (*reached)(void *user, uint64_t replica),
                                 void *user);
/* Votes: 1 won, -1 lost, 0 open. `vote` gives 1 granted, -1 refused, 0 unknown. */
int momi_raft_config_votes(const struct momi_raft_config *config,
                           int (*vote)(void *user, uint64_t replica), void *user);

#endif
