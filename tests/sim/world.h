/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated world: nodes that run the production core, a network between them that
 * carries real frames through the real codec, a disk under each store, and programs that
 * use them. One seed decides everything.
 *
 * Time is world time in microseconds; each node has a clock of its own (offset and
 * drift). Everything that happens is a `sim_task` in one heap ordered by (due, sequence),
 * so that ties never depend on addresses.
 */
#ifndef MOM_SIM_WORLD_H
#define MOM_SIM_WORLD_H

#include "base/arena.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "core/core.h"
#include "disk.h"

enum {
    SIM_NODES_MAX = 12,
    SIM_STORY_LINES = 400,
    SIM_STORY_WIDTH = 160,
    SIM_UNHEARD_SHARDS = 32,
};

#define SIM_WALL_US (1000000 * MOMI_S) /* a right wall clock when the run begins */

/* Which faults exist in a run and how strong they are; drawn from the seed, most runs
 * lack most of them (swarm). */
struct sim_options {
    uint64_t seed;
    uint32_t stores, clients;
    uint32_t late_stores; /* of `stores`: join in the middle of the run */
    uint32_t shards, copies;
    bool form;       /* else the first is alone and the others join */
    bool liveness;   /* the second phase heals only a random majority */
    uint64_t run_us; /* of the first phase */
    /* Network. */
    uint64_t delay_min_us, delay_max_us;
    uint32_t loss_ppm, duplicate_ppm, reorder_ppm, slow_ppm, flip_ppm, straggler_ppm;
    uint64_t lane_close_us, partition_us, lane_full_us; /* mean time between; 0: none */
    /* Disk. */
    uint64_t sync_min_us, sync_max_us;
    uint32_t slow_sync_ppm;
    uint32_t survive_ppm;         /* chance of an unsynced page at a crash */
    uint32_t slow_disks;          /* a bit for each node whose disk is always slow */
    uint32_t late_completion_ppm; /* a write is done, and the loop hears it later */
    uint64_t disk_failure_us;     /* mean time between failed writes and syncs */
    uint64_t space_us;            /* mean time between shortages of space */
    /* Nodes. */
    uint64_t crash_us, crash_all_us, pause_us,
        client_crash_us; /* mean time between; 0: none */
    uint64_t restart_max_us;
    uint32_t damage_ppm;  /* records of one store are damaged at its start */
    uint32_t damage_node; /* that one */
    uint64_t transfer_us; /* clean close and reopen of a node */
    uint64_t change_us;   /* plans of changes.c */
    uint64_t hunt_us;     /* faults that hit who leads */
    bool storm;           /* short faults, one after the other: elections without end */
    uint32_t drift_ppm;
    uint64_t clock_jump_us; /* wall clock jumps */
    uint64_t checkpoint_log_bytes, log_behind_bytes;
    /* Programs. */
    uint32_t publishers, consumers, queues, topics;
    bool side;            /* the queue of side.c */
    uint32_t late_groups; /* subscriptions that are created late, from the beginning */
    uint32_t commands_min;
};

struct sim_totals {
    uint64_t elections, leader_changes, truncations, snapshots, writes_lost, redeliveries,
        config_changes, crashes, partitions, closes, pauses, commands, acknowledged,
        delivered, settled, expired, checkpoints, hollowed, deleted, frames, flipped,
        plans, hunts, disk_failures, shortages, full_lanes, stragglers, damages, repairs,
        virtual_us, faults;
};

enum sim_task_type {
    TASK_NONE,
    TASK_NODE_TIME, /* wake node `a`, generation `b` */
    TASK_FRAME,     /* deliver `data` from node `a` to `b` over lane generation `c` */
    TASK_DIAL,      /* node `a` dials node `b`, token `c` */
    TASK_LANE_DOWN, /* node `a` hears that its lane to `b`, generation `c`, is gone;
                       reason in `d` */
    TASK_DISK,      /* the journal of node `a`, life `b`, has finished */
    TASK_WRITTEN,   /* node `a`, life `b`, hears that writes up to `c` are done */
    TASK_ROOM,      /* the lane of node `a`, life `b`, to node `c` has room again */
    TASK_SPACE,     /* node `a`, life `b`, has space again */
    TASK_READ,      /* an answer to FX_READ or FX_SCAN: `data` */
    TASK_IDENTITY,
    TASK_RESTART, /* node `a` */
    TASK_RESUME,  /* node `a` goes on after a pause */
    TASK_FAULT,   /* next fault of kind `a` */
    TASK_HEAL,    /* partition `a` ends */
    TASK_PROGRAM, /* program `a` acts */
    TASK_PHASE,
};

struct sim_task {
    struct momi_heap_node heap;
    enum sim_task_type type;
    uint64_t a, b, c, d;
    void *data; /* owned by the task; freed with `free_data` when it is dropped */
    void (*free_data)(void *data);
};

/* One direction-less connection between two nodes. */
struct sim_lane {
    bool is_up[2];              /* as the lower and the higher node see it */
    uint64_t generation;        /* of the connection */
    uint64_t busy_until_us[2];  /* arrival of the last frame sent by each end */
    uint64_t quiet_since_us[2]; /* last frame that reached this end */
};

struct sim_node {
    struct momi_core *core; /* NULL: down */
    struct sim_disk disk;   /* stores; survives crashes */
    struct momi_effects effects;
    uint64_t
        id; /* node id: constant over lives for stores, new for each life of a client */
    enum momi_role role;
    bool is_late;
    bool is_paused;
    bool is_closing;
    bool is_dead;           /* liveness phase: stays away for ever */
    uint64_t founders_hash; /* of the list that it forms with */
    uint64_t life;          /* grows with each start */
    uint64_t time_generation;
    uint64_t offset_us; /* own clock = world + offset + drift */
    int64_t drift_ppm;
    int64_t wall_offset_us;
    uint64_t now_floor_us; /* own clock never goes back */
    /* Journal. */
    bool is_writing;
    uint64_t writing_number;
    bool writing_sync;
    uint64_t written_due_us; /* completions keep their order */
    uint32_t sync_factor;    /* of a slow disk */
    enum sim_disk_failure { DISK_SOUND, DISK_FAILS_WRITE, DISK_FAILS_SYNC } disk_failure;
    uint32_t frames_sent; /* in this second */
    uint64_t frames_second;
    bool has_failed_disk;     /* in this life: nothing is written any more */
    struct momi_batch *queue; /* batches waiting, owned array of moved batches */
    bool *queue_sync;
    size_t queue_count, queue_room;
    uint64_t
        resume_us; /* world time: what comes in while it is paused waits until then */
    /* Store snapshots of FX_SCAN sessions. */
    struct {
        uint64_t session;
        struct sim_table table;
    } scans[8];
};

struct sim_world {
    struct sim_options options;
    struct sim_totals totals;
    struct momi_heap heap;
    uint64_t now_us;
    uint64_t spins; /* tasks since time moved last */
    uint64_t sequence;
    struct momi_rng rng_net, rng_disk, rng_fault, rng_program, rng_node, rng_side;
    struct sim_node nodes[SIM_NODES_MAX];
    uint32_t nodes_count;
    struct sim_lane lanes[SIM_NODES_MAX][SIM_NODES_MAX]; /* [lower][higher] */
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX];              /* [from][to]: frames are lost */
    uint64_t partition_id;
    bool is_calm;        /* no more faults */
    uint64_t drain_left; /* messages not consumed, when the drain was looked at last */
    bool has_failed;
    char failure[512];
    char story[SIM_STORY_LINES][SIM_STORY_WIDTH];
    uint64_t story_count;
    uint64_t trace_hash; /* of each line of the story and each frame: equal runs have
                            equal hashes */
    bool is_verbose;
    bool tells_frames; /* every frame is in the story */
    struct sim_programs *programs;
    struct sim_side *side;
    struct sim_checks *checks;
    struct sim_machines *machines;
    struct sim_rules *rules;
    /* replicas.c: own time at which a leader first saw that it hears no quorum */
    uint64_t unheard_since_us[SIM_NODES_MAX][SIM_UNHEARD_SHARDS];
    struct momi_arena arena; /* decoding */
};

/* world.c */
void sim_options_draw(struct sim_options *options, uint64_t seed);
void sim_options_print(const struct sim_options *options);
/* Runs one seed to its end; false: a violation, described in world->failure. */
enum sim_story { SIM_STORY_KEPT, SIM_STORY_TOLD, SIM_STORY_WITH_FRAMES };
bool sim_world_run(struct sim_world *world, const struct sim_options *options,
                   enum sim_story story);
void sim_world_free(struct sim_world *world);
struct sim_task *sim_task_add(struct sim_world *world, uint64_t delay_us,
                              enum sim_task_type type, uint64_t a, uint64_t b,
                              uint64_t c);
/* A line of the story, and a part of the trace hash. */
void sim_say(struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* What is not told, and belongs to the trace all the same. */
void sim_trace(struct sim_world *world, uint64_t a, uint64_t b, uint64_t c);
/* A violation: the run ends. */
void sim_fail(struct sim_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t sim_draw(struct momi_rng *rng, uint64_t low, uint64_t high);

/* faults.c */
void sim_faults_begin(struct sim_world *world);
void sim_faults_end(struct sim_world *world); /* all that is to come back is back */
/* The others have a quorum of every shard without it. */
bool sim_faults_may_damage(const struct sim_world *world, uint32_t index);
void sim_faults_task(struct sim_world *world,
                     const struct sim_task *task); /* FAULT, HEAL, ROOM, SPACE */

/* changes.c: where copies are */
void sim_changes_issue(struct sim_world *world);
/* Who leads a shard drawn at random; UINT32_MAX: nobody. */
uint32_t sim_changes_draw_leader(struct sim_world *world);

/* node.c */
void sim_node_start(struct sim_world *world, uint32_t node);
void sim_node_crash(struct sim_world *world, uint32_t node);
void sim_node_pause(struct sim_world *world, uint32_t node, uint64_t pause_us);
void sim_node_close(struct sim_world *world,
                    uint32_t node); /* cleanly; starts again later */
void sim_node_event(struct sim_world *world, uint32_t node, struct momi_event *event);
void sim_node_task(struct sim_world *world,
                   struct sim_task *task); /* NODE_TIME, DISK, READ, IDENTITY, RESUME */
bool sim_node_is_up(const struct sim_world *world, uint32_t node);
void sim_node_count(struct sim_world *world,
                    uint32_t node); /* adds its counters to the totals */
void sim_node_free(struct sim_world *world, uint32_t node);

/* net.c */
void sim_net_send(struct sim_world *world, uint32_t from,
                  const struct momi_effect *effect);
void sim_net_dial(struct sim_world *world, uint32_t from,
                  const struct momi_effect *effect);
void sim_net_hangup(struct sim_world *world, uint32_t from, uint64_t node_id);
void sim_net_node_down(struct sim_world *world, uint32_t node); /* its process died */
void sim_net_close_lane(struct sim_world *world, uint32_t a, uint32_t b);
void sim_net_partition(struct sim_world *world);
void sim_net_isolate(struct sim_world *world, uint32_t node, bool cuts_out, bool cuts_in);
void sim_net_heal(struct sim_world *world);
void sim_net_task(struct sim_world *world,
                  struct sim_task *task); /* FRAME, DIAL, LANE_DOWN */
uint32_t sim_net_find(const struct sim_world *world,
                      uint64_t node_id); /* UINT32_MAX: nobody */
/* It has a lane to every store that is up, at both ends. */
bool sim_net_reaches_all(struct sim_world *world, uint32_t node);

/* programs.c: what uses the nodes */
struct sim_programs *sim_programs_new(struct sim_world *world);
void sim_programs_free(struct sim_programs *programs);
void sim_programs_task(struct sim_world *world, struct sim_task *task);
void sim_programs_completed(struct sim_world *world, uint32_t node,
                            const struct momi_effect *effect);
void sim_programs_messages(struct sim_world *world, uint32_t node,
                           const struct momi_effect *effect);
void sim_programs_ended(struct sim_world *world, uint32_t node,
                        const struct momi_effect *effect);
void sim_programs_node_down(struct sim_world *world, uint32_t node);
void sim_programs_node_up(struct sim_world *world, uint32_t node);
void sim_programs_calm(struct sim_world *world);        /* no new work; drain */
bool sim_programs_are_done(struct sim_world *world);    /* everything settled */
uint64_t sim_programs_left(struct sim_world *world);    /* acknowledged, not consumed */
void sim_programs_say_waiting(struct sim_world *world); /* why they are not done */
void sim_programs_judge(
    struct sim_world *world); /* the checkers over the whole history */

/* side.c: one queue with an exact model; its calls and consumers have ids from
 * SIM_SIDE_FIRST on */
#define SIM_SIDE_FIRST (1ull << 40)
struct sim_side *sim_side_new(struct sim_world *world);
void sim_side_free(struct sim_side *side);
void sim_side_task(struct sim_world *world, const struct sim_task *task);
void sim_side_completed(struct sim_world *world, const struct momi_effect *effect);
void sim_side_messages(struct sim_world *world, const struct momi_effect *effect);
void sim_side_ended(struct sim_world *world, const struct momi_effect *effect);
void sim_side_node_down(struct sim_world *world, uint32_t node);
void sim_side_calm(struct sim_world *world);
bool sim_side_is_done(const struct sim_world *world);
void sim_side_say_waiting(struct sim_world *world);

/* machines.c: the state machine of a replica, and what was seen of it before */
struct sim_machines *sim_machines_new(void);
void sim_machines_free(struct sim_machines *machines);
void sim_machines_check(struct sim_world *world, uint32_t node, uint32_t shard);

/* rules.c: the rules of replication, step by step */
struct sim_rules *sim_rules_new(void);
void sim_rules_free(struct sim_rules *rules);
void sim_rules_before(struct sim_world *world, uint32_t node,
                      const struct momi_event *event);
/* After the event itself, before the end of the turn. */
void sim_rules_stepped(struct sim_world *world, uint32_t node,
                       const struct momi_event *event,
                       const struct momi_effects *effects);
void sim_rules_after(struct sim_world *world, uint32_t node,
                     const struct momi_effects *effects);
void sim_rules_sent(struct sim_world *world, uint32_t node,
                    const struct momi_frame *frame);
void sim_rules_synced(struct sim_world *world, uint32_t node);

/* replicas.c */
void sim_replicas_check_quorum(struct sim_world *world, uint32_t node, uint32_t shard);
const char *sim_replicas_uneven(const struct sim_world *world);

/* checks.c: invariants of the cores, after every step */
struct sim_checks *sim_checks_new(void);
void sim_checks_free(struct sim_checks *checks);
void sim_checks_step(struct sim_world *world, uint32_t node);
void sim_checks_final(struct sim_world *world);

#endif
