/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mesh as one node sees it: who is there, which lanes to hold, how this node becomes
 * a member, where every shard is.
 *
 *   mesh.c           life, events, time, and the questions of client and shards
 *   mesh_peers.c     peers, dialling, pings, silence (N2, D1)
 *   mesh_form.c      the three ways to open: alone, join, form (N1)
 *   mesh_hint.c      where others say that a node is
 *   mesh_clock.c     the wall clocks of the others (R8)
 *   mesh_map.c       the map, where leaders are, asking for both
 *   mesh_places.c    what the map means for the replicas here (R2, R3)
 *   mesh_registry.c  what the leader of the registry does: members, plans (N3)
 *   mesh_status.c    the status, and what is waited for, in words
 *
 * Events only note what has changed and ask for time (momi_mesh_soon); everything that
 * makes or removes a replica, dials or repeats itself is done in momi_mesh_time, outside
 * any shard's turn. Each step function does what is due and returns when it wants to be
 * called again.
 *
 * Owned by the core. Nobody outside mesh*.c includes this header.
 */
#ifndef MOMI_CORE_MESH_INTERNAL_H
#define MOMI_CORE_MESH_INTERNAL_H

#include "core/core_internal.h"
#include "core/registry.h"

enum {
    MESH_PEERS_MAX = 4096,
    MESH_SEEDS_MAX = 64,      /* addresses to join by, or founders */
    MESH_JOINS_MAX = 64,      /* joins that the registry's leader has not answered yet */
    MESH_FULL_LANES_MAX = 32, /* stores, up to which each keeps a lane to every other */
    MESH_HINTS_MAX = 64,      /* nodes dialled by hints before there is a map */
    MESH_TEXT_BYTES = 256,
};

#define MESH_PING_US         (500 * MOMI_MS)
#define MESH_SILENT_US       (2 * MOMI_S)
#define MESH_PAUSE_US        MOMI_S /* we were not there ourselves: nobody was silent */
#define MESH_DIAL_MIN_US     (50 * MOMI_MS)
#define MESH_DIAL_MAX_US     (10 * MOMI_S)
#define MESH_DIAL_HIGHER_US  MOMI_S /* N2: the higher id waits so long for the lower */
#define MESH_WANT_US         (60 * MOMI_S)
#define MESH_ASK_MIN_US      (50 * MOMI_MS)
#define MESH_ASK_MAX_US      MOMI_S
#define MESH_FOLLOW_US       (5 * MOMI_S)
#define MESH_LOST_US         MOMI_S /* a leader that was lost is not believed in so long */
#define MESH_DAMAGE_US       (30 * MOMI_S) /* what is told of a damaged copy counts so long */
#define MESH_JOIN_US         (500 * MOMI_MS)
#define MESH_JOIN_REFUSED_US (5 * MOMI_S)
#define MESH_REPORT_US       (500 * MOMI_MS)
#define MESH_PLAN_US         (100 * MOMI_MS)
#define MESH_REPLAN_US       MOMI_S
#define MESH_GENESIS_US      (10 * MOMI_S) /* N1: then a majority is enough */
#define MESH_RETRY_US        MOMI_S

enum momi_open_way { OPEN_ALONE, OPEN_JOIN, OPEN_FORM };

/* A node that we have, had or want a lane to. */
struct momi_peer {
    uint64_t node;
    bool is_up;           /* a lane to it can be used */
    bool said_goodbye;    /* it closes in order */
    enum momi_role role;  /* as its last handshake said, like all up to address */
    uint64_t incarnation; /* of the current lane */
    struct momi_mesh_id mesh;
    uint64_t founders_hash;
    struct momi_slice name;    /* owned */
    struct momi_slice address; /* owned */
    struct momi_slice hint;    /* owned; where others say that it is; empty: none */
    bool hint_is_next;         /* the last attempt was at the hint */
    uint64_t incarnation_seen; /* D1: the highest */
    uint64_t heard_us;
    uint64_t pinged_us;
    uint64_t down_us;    /* down since */
    uint64_t want_us;    /* wanted until */
    uint64_t dial_token; /* of the FX_DIAL under way; 0: none */
    uint64_t dial_due_us;
    uint64_t map_version; /* of the map that it was sent last */
    uint64_t clock_us;    /* R8: its wall clock; 0: not heard */
    uint64_t clock_at_us; /* when it was heard, on our own monotonic clock */
};

/* An address to begin with, of the configuration. */
struct momi_seed {
    struct momi_slice name; /* borrowed from the configuration; empty when joining */
    struct momi_slice address;
    uint64_t node; /* who answered there; 0: nobody yet */
    uint64_t since_us;
    uint64_t dial_token;
    uint64_t dial_due_us;
    int error; /* of the last attempt */
};

/* A store has said that its copy of a shard is damaged. */
struct momi_damage_told {
    uint64_t node; /* 0: free */
    uint64_t heard_us;
};

/* What is known of a shard besides the map. */
struct momi_mesh_shard {
    uint64_t leader; /* node; 0: not known */
    uint64_t term;   /* of that leader, or of the last one */
    uint64_t lost_node, lost_us;
    struct momi_damage_told damaged[MOMI_REPLICAS_MAX];
    bool was_damaged;         /* every copy, when it was looked at last */
    bool leader_changed;      /* not told on yet */
    uint64_t told_replica;    /* the replica here that was told of the plan */
    uint64_t told_version;    /* and its version */
    uint64_t reached_version; /* plan to report as done; 0: none */
};

struct momi_joining {
    uint64_t node;
    uint64_t counter; /* of the request */
};

struct momi_mesh {
    enum momi_open_way way;
    uint64_t due_us;    /* of the next momi_mesh_time */
    uint64_t passed_us; /* the last time it was called */
    /* Peers. */
    struct momi_peer **peers; /* owned, by node */
    size_t peers_count, peers_room;
    uint64_t *lanes; /* nodes whose lanes are up, by node; room as for peers */
    size_t lanes_count;
    struct momi_seed seeds[MESH_SEEDS_MAX];
    size_t seeds_count;
    /* Becoming a member. */
    uint64_t founders_hash; /* of the list to form with */
    bool is_founding;       /* shard 0 was founded here, the identity is not stored yet */
    bool is_storing;        /* FX_IDENTITY is under way, for `storing` */
    struct momi_mesh_id storing;
    uint64_t found_due_us;
    uint64_t join_counter;
    uint64_t join_due_us;
    int refused_error; /* the join was refused, `refused_text` says why */
    char refused_text[MESH_TEXT_BYTES];
    bool was_member;
    bool was_ready;
    bool was_two_copies;
    /* The map, when there is no newer one in a replica of the registry here. */
    struct momi_registry map;
    uint64_t map_seen; /* version that was last worked on */
    struct momi_mesh_shard shards[MOMI_SHARDS_MAX + 1];
    size_t ask_next; /* lane to ask next */
    uint64_t ask_due_us;
    uint64_t ask_wait_us;
    /* Reports of reached plans. */
    struct momi_raft_config *reached; /* owned, one per shard; NULL on clients */
    uint64_t report_due_us;
    /* As leader of the registry. */
    bool is_registrar;
    uint64_t registrar_since_us;
    struct momi_joining joins[MESH_JOINS_MAX];
    size_t joins_count;
    uint64_t plan_due_us;
    bool plan_wanted;
    uint64_t
        planned_version; /* of the registry, when plans were proposed last; 0: none */
    uint64_t planned_us;
    uint64_t replica_next;
    uint64_t push_due_us;
};

/* mesh.c */
static inline void momi_mesh_soon(struct momi_mesh *mesh, uint64_t due_us) {
    mesh->due_us = momi_earlier(mesh->due_us, due_us);
}
static inline bool momi_mesh_has_id(const struct momi_core *core) {
    return !momi_mesh_id_is_none(&core->config.mesh);
}
bool momi_mesh_id_equal(const struct momi_mesh_id *a, const struct momi_mesh_id *b);

/* mesh_peers.c */
struct momi_peer *momi_mesh_peer(const struct momi_mesh *mesh,
                                 uint64_t node); /* NULL: none */
struct momi_peer *momi_mesh_peer_make(struct momi_core *core,
                                      uint64_t node); /* NULL: too many */
void momi_mesh_peers_free(struct momi_mesh *mesh);
void momi_mesh_lane_came(struct momi_core *core, const struct momi_lane_info *info);
void momi_mesh_lane_went(struct momi_core *core, uint64_t node,
                         enum momi_down_reason reason);
void momi_mesh_dial_failed(struct momi_core *core, uint64_t token, int error);
void momi_mesh_hang_up(struct momi_core *core, struct momi_peer *peer);
uint64_t momi_mesh_lanes_step(struct momi_core *core); /* pings, silence */
uint64_t momi_mesh_dial_step(struct momi_core *core);

/* mesh_hint.c */
void momi_mesh_hint(struct momi_core *core, uint64_t node, struct momi_slice address);
/* Where to dial it this time; empty: nothing is known. */
struct momi_slice momi_mesh_dial_address(struct momi_core *core, struct momi_peer *peer);
void momi_mesh_hint_free(struct momi_peer *peer);

/* mesh_form.c */
bool momi_mesh_seeds_init(struct momi_core *core); /* false: too many */
uint64_t momi_mesh_form_step(struct momi_core *core);
/* A map of this mesh was seen, and we belong to none yet. */
void momi_mesh_adopt(struct momi_core *core, const struct momi_mesh_id *mesh);
void momi_mesh_identity_stored(struct momi_core *core, int error);
uint64_t momi_mesh_join_step(struct momi_core *core);
void momi_mesh_join_reply(struct momi_core *core, uint64_t node,
                          const struct momi_frame *frame);
/* Why a founder cannot go on, to who waits; an empty name: all are there. */
struct momi_form_state {
    struct momi_slice waits_for; /* name of a founder */
    bool has_other_list;         /* it is there, but forms with another list */
};
struct momi_form_state momi_mesh_form_state(const struct momi_core *core);

/* mesh_map.c */
/* The newest map there is of our mesh; NULL: none yet. */
const struct momi_registry *momi_mesh_map(const struct momi_core *core);
void momi_mesh_map_request(struct momi_core *core, uint64_t node,
                           const struct momi_frame *frame);
void momi_mesh_map_frame(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame);
void momi_mesh_ask(struct momi_core *core,
                   uint64_t node); /* for the map and for leaders */
uint64_t momi_mesh_ask_step(struct momi_core *core);
uint64_t momi_mesh_push_step(struct momi_core *core);
uint64_t momi_mesh_tell_step(struct momi_core *core); /* leaders, readiness */
bool momi_mesh_knows_leaders(const struct momi_core *core, uint32_t *unknown);

/* mesh_damage.c */
/* Lines that tell of damaged copies here, MOMI_SHARDS_MAX + 1 at most; returns how many.
 */
uint32_t momi_mesh_damage_lines(const struct momi_core *core,
                                struct momi_heartbeat_line *lines);
void momi_mesh_damage_told(struct momi_core *core, uint64_t node, uint32_t shard);
void momi_mesh_damage_notice(struct momi_core *core);

/* mesh_places.c */
uint64_t momi_mesh_places_step(struct momi_core *core);
uint64_t momi_mesh_report_step(struct momi_core *core);

/* mesh_registry.c */
uint64_t momi_mesh_registry_step(struct momi_core *core);
void momi_mesh_join_request(struct momi_core *core, uint64_t node,
                            const struct momi_frame *frame);
void momi_mesh_plan_done(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame);
void momi_mesh_answer_joins(struct momi_core *core);
/* The own record as it should be. */
struct momi_member_record;
void momi_mesh_own_record(const struct momi_core *core,
                          struct momi_member_record *record);

/* mesh_status.c: text without stdio. */
struct momi_text {
    char *at;
    size_t size; /* with the final zero */
    size_t used;
};
void momi_text_add(struct momi_text *text, const char *words);
void momi_text_add_slice(struct momi_text *text, struct momi_slice bytes);
void momi_text_add_number(struct momi_text *text, uint64_t number);
void momi_text_add_node(struct momi_text *text, uint64_t node); /* 16 hex digits */

#endif
