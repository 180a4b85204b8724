/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mesh's life and its part of the switch: events come in, time passes, and client and
 * shards ask who is where (mesh_internal.h).
 */
#include "base/mem.h"
#include "core/mesh_internal.h"

bool momi_mesh_id_equal(const struct momi_mesh_id *a, const struct momi_mesh_id *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* --- life ----------------------------------------------------------------------------
 */

struct momi_mesh *momi_mesh_new(struct momi_core *core) {
    struct momi_mesh *mesh = momi_calloc(1, sizeof *mesh);
    if (mesh == NULL) {
        return NULL;
    }
    mesh->due_us = MOMI_NEVER;
    momi_registry_init(&mesh->map);
    if (core->config.role == MOMI_ROLE_STORE) {
        mesh->reached = momi_calloc(MOMI_SHARDS_MAX + 1, sizeof *mesh->reached);
        if (mesh->reached == NULL) {
            momi_free(mesh);
            return NULL;
        }
    }
    return mesh;
}

void momi_mesh_free(struct momi_mesh *mesh) {
    if (mesh == NULL) {
        return;
    }
    momi_mesh_peers_free(mesh);
    momi_registry_free(&mesh->map);
    momi_free(mesh->reached);
    momi_free(mesh);
}

void momi_mesh_start(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    mesh->passed_us = core->now_us;
    if (!momi_mesh_seeds_init(core)) {
        momi_core_notice(
            core, MOMI_NOTICE_REFUSED, 0, core->config.node,
            "more addresses to join by than can be tried: the rest is left out");
    }
    mesh->plan_wanted = true;
    momi_mesh_soon(mesh, core->now_us);
}

void momi_mesh_close(struct momi_core *core) {
    const struct momi_mesh *mesh = core->mesh;
    for (size_t i = 0; i < mesh->lanes_count; i++) {
        (void)momi_core_send(core, mesh->lanes[i], FRAME_GOODBYE);
    }
}

/* --- events --------------------------------------------------------------------------
 */

static void goodbye(struct momi_core *core, uint64_t node) {
    struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    if (peer == NULL) {
        return;
    }
    /* It moved its leaderships and is gone for a while. Its lane closes by itself, which
     * starts elections where it still led (R5). */
    peer->said_goodbye = true;
    momi_trace(core, "GOODBYE", 0, node, 0);
}

static void frame_came(struct momi_core *core, uint64_t node,
                       const struct momi_frame *frame) {
    switch (frame->type) {
    case FRAME_MAP_REQUEST:
        momi_mesh_map_request(core, node, frame);
        break;
    case FRAME_MAP:
        momi_mesh_map_frame(core, node, frame);
        break;
    case FRAME_JOIN:
        momi_mesh_join_request(core, node, frame);
        break;
    case FRAME_JOIN_REPLY:
        momi_mesh_join_reply(core, node, frame);
        break;
    case FRAME_PLAN_DONE:
        momi_mesh_plan_done(core, node, frame);
        break;
    case FRAME_GOODBYE:
        goodbye(core, node);
        break;
    default:
        core->counters.frames_dropped++;
        break;
    }
}

void momi_mesh_event(struct momi_core *core, const struct momi_event *event) {
    switch (event->type) {
    case EV_LANE_UP:
        momi_mesh_lane_came(core, event->lane);
        break;
    case EV_LANE_DOWN:
        momi_mesh_lane_went(core, event->node, event->reason);
        break;
    case EV_PEER_HINT:
        momi_mesh_hint(core, event->lane->node, event->lane->address);
        break;
    case EV_DIAL_FAILED:
        momi_mesh_dial_failed(core, event->token, event->error);
        break;
    case EV_IDENTITY:
        momi_mesh_identity_stored(core, event->error);
        break;
    case EV_FRAME:
        frame_came(core, event->node, event->frame);
        break;
    default:
        break;
    }
}

/* --- time ----------------------------------------------------------------------------
 */

void momi_mesh_time(struct momi_core *core) {
    struct momi_mesh *mesh = core->mesh;
    if (core->now_us < mesh->due_us) {
        return;
    }
    mesh->due_us = MOMI_NEVER;
    uint64_t due_us = momi_mesh_lanes_step(core);
    due_us = momi_earlier(due_us, momi_mesh_form_step(core));
    due_us = momi_earlier(due_us, momi_mesh_places_step(core));
    due_us = momi_earlier(due_us, momi_mesh_registry_step(core));
    due_us = momi_earlier(due_us, momi_mesh_tell_step(core));
    due_us = momi_earlier(due_us, momi_mesh_join_step(core));
    due_us = momi_earlier(due_us, momi_mesh_report_step(core));
    due_us = momi_earlier(due_us, momi_mesh_push_step(core));
    due_us = momi_earlier(due_us, momi_mesh_ask_step(core));
    due_us = momi_earlier(due_us, momi_mesh_dial_step(core));
    mesh->passed_us = core->now_us;
    momi_mesh_soon(mesh, due_us);
}

uint64_t momi_mesh_deadline(const struct momi_core *core) { return core->mesh->due_us; }

/* --- questions -----------------------------------------------------------------------
 */

uint64_t momi_mesh_incarnation(const struct momi_core *core, uint64_t node) {
    if (node == core->config.node) {
        return core->config.incarnation;
    }
    const struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    return peer != NULL && peer->is_up ? peer->incarnation : 0;
}

enum momi_standing momi_mesh_standing(const struct momi_core *core, uint64_t node) {
    const struct momi_registry *map = momi_mesh_map(core);
    const struct momi_member *member =
        map == NULL ? NULL : momi_registry_member(map, node);
    if (member != NULL) {
        return member->removed ? MOMI_STANDING_REMOVED : MOMI_STANDING_MEMBER;
    }
    return momi_mesh_lane_is_up(core, node) ? MOMI_STANDING_MEMBER
                                            : MOMI_STANDING_STRANGER;
}

struct momi_slice momi_mesh_name(const struct momi_core *core, uint64_t node) {
    if (node == core->config.node) {
        return core->config.name;
    }
    const struct momi_registry *map = momi_mesh_map(core);
    const struct momi_member *member =
        map == NULL ? NULL : momi_registry_member(map, node);
    const struct momi_peer *peer = momi_mesh_peer(core->mesh, node);
    if (member != NULL) {
        return member->name;
    }
    return peer == NULL ? (struct momi_slice){0} : peer->name;
}
