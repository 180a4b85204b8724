/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store node that is the follower of another, for the snapshot target and its corpus: a
 * mesh of two with one data shard is brought up once; then the follower is started anew
 * from what it had stored, with a lane to a leader that is not there, whose frames the
 * input makes up.
 */
#ifndef MOM_TESTS_FUZZ_SNAPSHOT_RIG_H
#define MOM_TESTS_FUZZ_SNAPSHOT_RIG_H

#include "core/mesh_internal.h"
#include "core/shard_internal.h"
#include "unit/mesh_rig.h"

enum { LEADER = 0, FOLLOWER = 1, DATA_SHARD = 1 };

struct snapshot_rig {
    struct rig rig; /* both nodes are down; the follower's items are what it stored */
    uint64_t leader_replica[2]; /* of the registry, of the data shard */
    uint64_t follower_replica[2];
    uint64_t term[2];
    uint64_t commit[2];
    struct momi_raft_config config; /* of the data shard */
};

static inline void snapshot_rig_init(struct snapshot_rig *rig) {
    memset(rig, 0, sizeof *rig);
    rig_init(&rig->rig);
    for (int i = LEADER; i <= FOLLOWER; i++) {
        rig->rig.nodes[i].shards_count = 1;
        rig->rig.nodes[i].copies_count = 2;
    }
    rig_start(&rig->rig, LEADER);
    rig_run(&rig->rig, MOMI_S);
    struct rig_node *follower = &rig->rig.nodes[FOLLOWER];
    follower->join[0] = momi_slice_str(rig->rig.nodes[LEADER].address);
    follower->join_count = 1;
    rig_start(&rig->rig, FOLLOWER);
    rig_run(&rig->rig, 30 * MOMI_S);
    for (uint32_t shard = 0; shard <= DATA_SHARD; shard++) {
        struct momi_shard_view leader, other;
        CHECK(momi_core_shard_view(rig->rig.nodes[LEADER].core, shard, MOMI_VIEW_PLAIN,
                                   &leader));
        CHECK(momi_core_shard_view(follower->core, shard, MOMI_VIEW_PLAIN, &other));
        if (shard == DATA_SHARD) {
            rig->config = follower->core->shards[shard]->raft.config;
        }
        rig->leader_replica[shard] = leader.replica;
        rig->follower_replica[shard] = other.replica;
        rig->term[shard] = other.term;
        rig->commit[shard] = other.commit;
    }
    CHECK_EQ(rig->config.count, 2);
    rig_kill(&rig->rig, LEADER);
    rig_kill(&rig->rig, FOLLOWER);
}

static inline void snapshot_rig_free(struct snapshot_rig *rig) { rig_free(&rig->rig); }

/* The follower with its own copy of the items, up, and with a lane to the leader. */
static inline void snapshot_rig_begin(struct snapshot_rig *base, struct rig *rig) {
    *rig = base->rig;
    rig->events = NULL;
    struct rig_node *follower = &rig->nodes[FOLLOWER];
    const struct rig_item *items = follower->items;
    size_t count = follower->items_count;
    memset(&rig->nodes[LEADER].items, 0, sizeof rig->nodes[LEADER].items);
    rig->nodes[LEADER].items_count = 0;
    follower->items = calloc(count + 1, sizeof *follower->items);
    for (size_t i = 0; i < count; i++) {
        follower->items[i] = (struct rig_item){.family = items[i].family,
                                               .key = momi_buf_ref(items[i].key),
                                               .value = momi_buf_ref(items[i].value)};
    }
}

static inline void snapshot_rig_up(struct rig *rig) {
    struct rig_node *leader = &rig->nodes[LEADER];
    rig_start(rig, FOLLOWER);
    struct momi_lane_info info = {.node = leader->id,
                                  .incarnation = leader->incarnation,
                                  .role = leader->role,
                                  .mesh = leader->mesh,
                                  .name = momi_slice_str(leader->name),
                                  .address = momi_slice_str(leader->address)};
    struct momi_event event = {.type = EV_LANE_UP, .lane = &info};
    rig_step(rig, FOLLOWER, &event);
    rig->nodes[FOLLOWER].lanes[LEADER] = rig->lane_next++;
}

#endif
