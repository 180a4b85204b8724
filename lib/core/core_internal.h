/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the core share: core.c (the switch, turns), shard*.c (replicas),
 * client*.c (the client half), mesh*.c (peers, lanes, formation, the map), registry.c.
 * Nobody outside lib/core includes it, except tests.
 *
 *          core.c ──> mesh      who is there, which lanes to hold, where leaders are
 *             ├─────> client    calls of this program, as commands in sessions
 *             └─────> shard[]   raft + state machine of each replica here
 *
 * Parts call each other through the functions below, never into each other's structs.
 */
#ifndef MOMI_CORE_CORE_INTERNAL_H
#define MOMI_CORE_CORE_INTERNAL_H

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/ring.h"
#include "base/rng.h"
#include "core/core.h"
#include "core/raft_config.h"

struct momi_client;
struct momi_mesh;
struct momi_shard;

struct momi_core {
    struct momi_core_config config; /* slices owned */
    uint64_t now_us;
    uint64_t wall_us;
    struct momi_rng rng;
    struct momi_core_counters counters;
    struct momi_effects *effects; /* of the turn; NULL outside a step */
    struct momi_client *client;   /* owned */
    struct momi_mesh *mesh;       /* owned */
    struct momi_shard
        *shards[MOMI_SHARDS_MAX + 1]; /* owned; NULL: no replica of it here */
    uint64_t tombstones[MOMI_SHARDS_MAX +
                        1]; /* R2: highest removed replica id of each shard here */
    uint32_t
        shards_end; /* one more than the highest shard that ever had a replica here */
    uint64_t batch_next;    /* number of the next FX_WRITE */
    uint64_t batch_written; /* completed */
    uint64_t token_next;    /* for FX_READ, FX_SCAN, FX_DIAL */
    uint64_t heartbeat_counter;
    uint64_t heartbeat_due_us;
    uint64_t space_free, space_total;
    uint64_t cached_bytes_max;
    struct momi_ring
        full_lanes; /* of uint64_t: nodes whose lanes are full (EV_LANE_FULL) */
    struct momi_ring local_frames; /* of struct momi_frame *, sent by this node to itself,
                                      handled in this turn */
    struct momi_reserve reserve;   /* around every step: what follows from input that was
                                      accepted may not fail */
    bool restore_is_short;         /* of memory, while restoring */
    bool is_stepping;
    bool is_closing;
    bool is_closed;
    bool store_failed;
    bool restore_refused; /* what it promised (votes, ends of logs) cannot be read */
    uint8_t restore_stage;
    uint32_t restore_shard;
    struct momi_bytes restore_key[2];
    void *restore_found; /* shard_restore.c's notes until it is done; owned */
};

/* --- core.c: sending
 * ---------------------------------------------------------------------------------------------
 */

/* Fills the core's reserve; false: out of memory. Not while it is entered. */
bool momi_core_reserve(struct momi_core *core);

/* A new frame to a node, to be filled in by the caller in this step. To this node itself
 * it is delivered within the same turn, without a lane. To a node without a lane it is
 * dropped, like any lost frame. Never NULL. */
struct momi_frame *momi_core_send(struct momi_core *core, uint64_t node,
                                  enum momi_frame_type type);
/* Its lane is up and not full: for what comes in any amount (deliveries, snapshots). */
bool momi_core_has_room(const struct momi_core *core, uint64_t node);
void momi_core_notice(struct momi_core *core, enum momi_notice notice, uint32_t shard,
                      uint64_t node, const char *text);
static inline void momi_trace(const struct momi_core *core, const char *point,
                              uint32_t shard, uint64_t a, uint64_t b) {
    if (core->config.trace != NULL) {
        core->config.trace(core->config.trace_user, core->now_us, point, shard, a, b);
    }
}
/* The earlier of two deadlines. */
static inline uint64_t momi_earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* --- mesh.c: routes, used by client and shards
 * -------------------------------------------------------------------- */

/* A lane to `node` (or the node is this one) is up. */
bool momi_mesh_lane_is_up(const struct momi_core *core, uint64_t node);
/* The caller needs a lane to this node now and then: the mesh dials it and keeps it up
 * for some time. */
void momi_mesh_want_lane(struct momi_core *core, uint64_t node);
/* Best knowledge of a shard's leader; 0: unknown. Hints come from NOT_LEADER frames,
 * heartbeats, own replicas. */
uint64_t momi_mesh_leader(const struct momi_core *core, uint32_t shard);
void momi_mesh_leader_hint(struct momi_core *core, uint32_t shard, uint64_t node,
                           uint64_t term);
/* The hinted node is not the leader (any more): forget it, ask around (MAP_REQUEST to
 * another replica's node). */
void momi_mesh_leader_lost(struct momi_core *core, uint32_t shard, uint64_t node);
/* 0 until the map is known. */
uint32_t momi_mesh_shards_count(const struct momi_core *core);
uint32_t momi_mesh_copies_count(const struct momi_core *core);
/* No leader, and every copy is damaged, as far as is known: its calls are CORRUPT. */
bool momi_mesh_is_damaged(const struct momi_core *core, uint32_t shard);
/* Address of a member, empty when unknown; borrowed until the next step. */
struct momi_slice momi_mesh_address(const struct momi_core *core, uint64_t node);
/* What the handshake of its current lane proved; 0: no lane. Of this node: its own. */
uint64_t momi_mesh_incarnation(const struct momi_core *core, uint64_t node);
struct momi_slice momi_mesh_name(const struct momi_core *core, uint64_t node);
/* D1: what the store remembers of a peer, at start-up. */
void momi_mesh_peer_restored(struct momi_core *core, uint64_t node, uint64_t incarnation);
/* R8. The median of the wall clocks of a shard's voters, as far as they are known now; 0:
 * a majority of them is not. */
uint64_t momi_mesh_wall(const struct momi_core *core,
                        const struct momi_raft_config *config);
/* A node told its wall clock. */
void momi_mesh_clock_heard(struct momi_core *core, uint64_t node, uint64_t wall_us);
/* Encoded struct momi_status (info.h) of the mesh as this node sees it. */
void momi_mesh_status(const struct momi_core *core, struct momi_bytes *out);

struct momi_mesh *momi_mesh_new(struct momi_core *core); /* NULL: out of memory */
void momi_mesh_free(struct momi_mesh *mesh);
void momi_mesh_start(struct momi_core *core); /* after the restore, in the first step */
void momi_mesh_event(struct momi_core *core,
                     const struct momi_event *event); /* LANE_UP, LANE_DOWN, DIAL_FAILED,
                                                       * IDENTITY, and frames MAP*, JOIN*,
                                                       * PLAN_DONE, GOODBYE */
void momi_mesh_heard(struct momi_core *core, uint64_t node); /* any frame came in */
void momi_mesh_time(struct momi_core *core);
uint64_t momi_mesh_deadline(const struct momi_core *core);
void momi_mesh_close(struct momi_core *core); /* GOODBYE to all */
bool momi_mesh_is_member(const struct momi_core *core);
/* S4: what the mesh knows of a node. Clients are members while their lane is up, and so
 * is a store whose record is on its way. */
enum momi_standing {
    MOMI_STANDING_STRANGER,
    MOMI_STANDING_MEMBER,
    MOMI_STANDING_REMOVED
};
enum momi_standing momi_mesh_standing(const struct momi_core *core, uint64_t node);
size_t momi_mesh_waiting_for(const struct momi_core *core, char *text, size_t size);
/* Every lane that is up, in order of node id: for heartbeats and maps. */
size_t momi_mesh_lanes(const struct momi_core *core, const uint64_t **nodes);

/* --- shard.c: replicas, used by mesh and core
 * ---------------------------------------------------------------------- */

/* R3. A genesis replica of this node (no record of the shard may exist), with the
 * configuration of the registry. */
void momi_shard_found(struct momi_core *core, uint32_t shard,
                      const struct momi_raft_config *config);
/* An empty learner that the shard's leader called by its first frame; ids up to the
 * tombstone are refused (R2). */
struct momi_shard *momi_shard_learn(struct momi_core *core, uint32_t shard,
                                    uint64_t replica);
/* The removal of replicas up to `replica` on this node was committed: delete it and
 * remember the tombstone. */
void momi_shard_remove(struct momi_core *core, uint32_t shard, uint64_t replica);
/* The plan in force for a shard (N3): its leader works towards it and answers with
 * PLAN_DONE through the mesh. */
struct momi_plan {
    uint64_t version;
    uint32_t count;
    struct momi_replica_at
        at[MOMI_REPLICAS_MAX]; /* node and replica id of every wanted voter */
    uint64_t leader;           /* preferred leader's node; 0: none */
};
void momi_shard_plan(struct momi_core *core, uint32_t shard,
                     const struct momi_plan *plan);
bool momi_shard_is_leader(const struct momi_core *core, uint32_t shard);
/* Damage has taken a part of this copy that only a leader can bring back. */
bool momi_shard_is_hurt(const struct momi_core *core, uint32_t shard);
/* Entries that a replica is behind the leader's last; known to the leader only, else 0.
 */
uint64_t momi_shard_lag(const struct momi_core *core, uint32_t shard, uint64_t replica);
/* Proposes a command without session (the registry's, ticks); false: not a serving
 * leader. `body` is copied. */
bool momi_shard_propose(struct momi_core *core, uint32_t shard, uint8_t command,
                        struct momi_slice body);
/* mesh.c: called by shard 0's replica after it applied registry commands, and when it is
 * installed or restored. */
void momi_mesh_registry_changed(struct momi_core *core);
/* mesh.c: a shard led here has reached plan `version` with `config`. */
void momi_mesh_plan_reached(struct momi_core *core, uint32_t shard,
                            const struct momi_raft_config *config);
/* The registry's state on this node; NULL: no replica of shard 0 with complete state
 * here. */
struct momi_registry *momi_shard_registry(const struct momi_core *core);

/* --- client.c
 * ------------------------------------------------------------------------------------------------------
 */

struct momi_client *momi_client_new(struct momi_core *core); /* NULL: out of memory */
void momi_client_free(struct momi_client *client);
void momi_client_event(
    struct momi_core *core,
    const struct momi_event *event); /* CALL*, CONSUMER_*, LANE_UP, LANE_DOWN */
/* SESSION_OPENED, RESULTS, DELIVER, CONSUMER_ENDED, NOT_LEADER, QUERY_REPLY. */
void momi_client_frame(struct momi_core *core, uint64_t node,
                       const struct momi_frame *frame);
void momi_client_turn_end(
    struct momi_core *core); /* closes command batches and sends them */
void momi_client_time(struct momi_core *core);
uint64_t momi_client_deadline(const struct momi_core *core);
/* The map changed, or a leader became known: go on with what waits. */
void momi_client_routes_changed(struct momi_core *core, uint32_t shard);
/* Completes every call (CLOSED when never sent, else UNKNOWN_OUTCOME) and closes the
 * sessions cleanly. */
void momi_client_close(struct momi_core *core);

#endif
