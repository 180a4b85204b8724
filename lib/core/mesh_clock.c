/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wall clocks (docs/protocol.md R8): every heartbeat tells that of its sender, and a
 * leader stamps entries with the median of the clocks of its shard's voters, so that no
 * single clock that was set wrong moves the time of a stream.
 *
 * What was heard goes on with our own monotonic clock until it is heard again: a node
 * that is away for a while still counts. Of an even number of clocks the lower one of the
 * middle is taken; with fewer than a majority nothing is known, and time stands still.
 */
#include "core/mesh_internal.h"

void momi_mesh_clock_heard(struct momi_core *core, uint64_t node, uint64_t wall_us) {
    struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    if (peer != NULL && wall_us != 0 && wall_us <= INT64_MAX) {
        peer->clock_us = wall_us;
        peer->clock_at_us = core->now_us;
    }
}

/* 0: not known. */
static uint64_t clock_of(const struct momi_core *core, uint64_t node) {
    if (node == core->config.node) {
        return core->wall_us;
    }
    const struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    return peer == NULL || peer->clock_us == 0
               ? 0
               : peer->clock_us + (core->now_us - peer->clock_at_us);
}

uint64_t momi_mesh_wall(const struct momi_core *core,
                        const struct momi_raft_config *config) {
    uint64_t clocks[2 * MOMI_REPLICAS_MAX]; /* rising */
    uint32_t count = 0;
    uint32_t voters = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        uint64_t wall_us = config->at[i].votes ? clock_of(core, config->at[i].node) : 0;
        voters += config->at[i].votes ? 1 : 0;
        if (wall_us == 0) {
            continue;
        }
        uint32_t at = count++;
        for (; at > 0 && clocks[at - 1] > wall_us; at--) {
            clocks[at] = clocks[at - 1];
        }
        clocks[at] = wall_us;
    }
    return 2 * count > voters ? clocks[(count - 1) / 2] : 0;
}
