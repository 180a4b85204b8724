/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few whole cores in one process, for tests of the mesh: virtual time, lanes that come
 * up when an address is dialled, frames through the real codec, a store that survives a
 * restart. Everything is reliable unless the test kills, cuts or pauses something.
 */
#ifndef MOM_TESTS_MESH_RIG_H
#define MOM_TESTS_MESH_RIG_H

#include "t.h"

#include "base/mem.h"
#include "core/core_internal.h"
#include "core/keys.h"
#include "wire/codec.h"

enum { RIG_NODES = 8, RIG_NOTICES = 16 };

#define RIG_WALL_US (100000 * MOMI_S) /* a right wall clock when the test begins */

struct rig_item {
    enum momi_family family;
    struct momi_buf *key, *value;
};

struct rig_event {
    struct rig_event *next;
    uint64_t at_us;
    uint64_t life; /* of the receiver: events for an earlier one are dropped */
    int node;      /* index of the receiver */
    int from;      /* frames and lanes: index of the other */
    uint64_t lane; /* number of the lane that a frame came over */
    struct momi_event event;
    struct momi_lane_info info;
    struct momi_buf *bytes; /* an encoded frame, an entry, or what the items lie in */
    struct momi_scan_item *items;
};

struct rig_node {
    struct momi_core *core; /* NULL: not running */
    struct momi_effects effects;
    uint64_t id;
    char name[32], address[32];
    uint64_t incarnation;
    enum momi_role role;
    bool durable;
    struct momi_mesh_id mesh; /* stored */
    bool fail_identity;
    uint64_t life;
    uint64_t lanes[RIG_NODES]; /* number of the lane to each; 0: none */
    struct rig_item *items;
    size_t items_count;
    size_t notices[RIG_NOTICES];
    char refused[256]; /* text of the last such notice */
    size_t joins_sent;
    size_t completions;
    int completed; /* error of the last one */
    uint64_t dials;
    struct momi_slice join[RIG_NODES];
    size_t join_count;
    struct momi_founder form[RIG_NODES];
    size_t form_count;
    uint32_t shards_count, copies_count;
    uint64_t seed;
    int64_t wall_offset_us; /* its wall clock is set wrong by this */
};

struct rig {
    struct rig_node nodes[RIG_NODES];
    bool cut[RIG_NODES][RIG_NODES]; /* frames and dials from one to the other are lost */
    uint64_t now_us;
    uint64_t lane_next;
    struct rig_event *events; /* by time, first in first out */
    uint64_t random;
};

static inline void rig_init(struct rig *rig) {
    memset(rig, 0, sizeof *rig);
    rig->now_us = MOMI_S;
    rig->lane_next = 1;
    for (int i = 0; i < RIG_NODES; i++) {
        struct rig_node *node = &rig->nodes[i];
        node->id = 1000 + (uint64_t)((i * 5) % RIG_NODES); /* not in the order of names */
        snprintf(node->name, sizeof node->name, "node%d", i);
        snprintf(node->address, sizeof node->address, "ipc:///n%d", i);
        node->role = MOMI_ROLE_STORE;
        node->durable = true;
        node->shards_count = 4;
        node->copies_count = 3;
    }
}

static inline int rig_index(const struct rig *rig, uint64_t id) {
    for (int i = 0; i < RIG_NODES; i++) {
        if (rig->nodes[i].id == id) {
            return i;
        }
    }
    return -1;
}

/* --- events --------------------------------------------------------------------------
 */

static inline struct rig_event *rig_post(struct rig *rig, int node, uint64_t delay_us,
                                         enum momi_event_type type) {
    struct rig_event *event = calloc(1, sizeof *event);
    event->at_us = rig->now_us + delay_us;
    event->node = node;
    event->life = rig->nodes[node].life;
    event->event.type = type;
    struct rig_event **at = &rig->events;
    while (*at != NULL && (*at)->at_us <= event->at_us) {
        at = &(*at)->next;
    }
    event->next = *at;
    *at = event;
    return event;
}

static inline void rig_lane_end(struct rig *rig, int node, int other,
                                enum momi_down_reason reason) {
    if (rig->nodes[node].lanes[other] == 0) {
        return;
    }
    rig->nodes[node].lanes[other] = 0;
    if (rig->nodes[node].core != NULL) {
        struct rig_event *event = rig_post(rig, node, 50, EV_LANE_DOWN);
        event->event.node = rig->nodes[other].id;
        event->event.reason = reason;
    }
}

static inline void rig_lane_close(struct rig *rig, int node, int other,
                                  enum momi_down_reason own) {
    rig_lane_end(rig, node, other, own);
    if (!rig->cut[node][other]) {
        rig_lane_end(rig, other, node, MOMI_DOWN_CLOSED);
    }
}

static inline void rig_lane_up(struct rig *rig, int node, int other, uint64_t token) {
    struct rig_node *peer = &rig->nodes[other];
    struct momi_core_state state;
    momi_core_state(peer->core, &state);
    struct rig_event *event = rig_post(rig, node, 50, EV_LANE_UP);
    event->from = other;
    event->lane = rig->lane_next;
    event->info = (struct momi_lane_info){
        .node = peer->id,
        .incarnation = peer->incarnation,
        .role = peer->role,
        .mesh = state.mesh,
        .founders_hash = momi_founders_hash(peer->form, peer->form_count),
        .name = momi_slice_str(peer->name),
        .address = momi_slice_str(peer->address),
        .we_dialed = token != 0,
        .dial_token = token};
    rig->nodes[node].lanes[other] = rig->lane_next;
}

static inline void rig_dial(struct rig *rig, int node, const struct momi_effect *effect) {
    rig->nodes[node].dials++;
    int other = -1;
    for (int i = 0; i < RIG_NODES; i++) {
        const struct rig_node *peer = &rig->nodes[i];
        if (peer->core != NULL &&
            momi_slice_equal(effect->address, momi_slice_str(peer->address))) {
            other = i;
        }
    }
    int error = MOM_UNAVAILABLE;
    if (other >= 0 && other != node && !rig->cut[node][other] && !rig->cut[other][node] &&
        rig->nodes[node].lanes[other] == 0 && rig->nodes[other].lanes[node] == 0 &&
        (effect->node == 0 || effect->node == rig->nodes[other].id)) {
        struct momi_core_state own, peer;
        momi_core_state(rig->nodes[node].core, &own);
        momi_core_state(rig->nodes[other].core, &peer);
        error = momi_mesh_id_is_none(&own.mesh) || momi_mesh_id_is_none(&peer.mesh) ||
                        memcmp(&own.mesh, &peer.mesh, sizeof own.mesh) == 0
                    ? MOM_OK
                    : MOM_CONFLICT;
    }
    if (error != MOM_OK) {
        struct rig_event *event = rig_post(rig, node, 200, EV_DIAL_FAILED);
        event->event.token = effect->token;
        event->event.error = error;
        return;
    }
    rig_lane_up(rig, node, other, effect->token);
    rig_lane_up(rig, other, node, 0);
    rig->lane_next++;
}

/* --- the store -----------------------------------------------------------------------
 */

static inline int rig_compare(const struct rig_item *item, enum momi_family family,
                              struct momi_slice key) {
    if (item->family != family) {
        return item->family < family ? -1 : 1;
    }
    return momi_slice_compare(momi_buf_slice(item->key), key);
}

static inline size_t rig_find(const struct rig_node *node, enum momi_family family,
                              struct momi_slice key) {
    size_t at = 0;
    while (at < node->items_count && rig_compare(&node->items[at], family, key) < 0) {
        at++;
    }
    return at;
}

static inline void rig_delete(struct rig_node *node, enum momi_family family,
                              struct momi_slice from, struct momi_slice to) {
    size_t first = rig_find(node, family, from);
    size_t end = rig_find(node, family, to);
    for (size_t i = first; i < end; i++) {
        momi_buf_release(node->items[i].key);
        momi_buf_release(node->items[i].value);
    }
    if (end > first) {
        memmove(&node->items[first], &node->items[end],
                (node->items_count - end) * sizeof *node->items);
        node->items_count -= end - first;
    }
}

static inline void rig_delete_one(struct rig_node *node, enum momi_family family,
                                  struct momi_slice key) {
    uint8_t next[MOMI_BATCH_KEY_BYTES_MAX + 1] = {0};
    memcpy(next, key.data, key.size);
    rig_delete(node, family, key, momi_slice(next, key.size + 1));
}

static inline void rig_write(struct rig_node *node, const struct momi_batch *batch) {
    for (size_t i = 0; i < momi_batch_count(batch); i++) {
        struct momi_batch_view view = momi_batch_at(batch, i);
        if (view.kind == MOMI_BATCH_DELETE_RANGE) {
            rig_delete(node, view.family, view.key, view.to);
            continue;
        }
        rig_delete_one(node, view.family, view.key);
        if (view.kind == MOMI_BATCH_PUT) {
            node->items =
                realloc(node->items, (node->items_count + 1) * sizeof *node->items);
            size_t at = rig_find(node, view.family, view.key);
            memmove(&node->items[at + 1], &node->items[at],
                    (node->items_count - at) * sizeof *node->items);
            node->items_count++;
            node->items[at] = (struct rig_item){.family = view.family,
                                                .key = momi_buf_copy(view.key),
                                                .value = momi_buf_copy(view.value)};
        }
    }
}

static inline void rig_wipe(struct rig_node *node) {
    for (size_t i = 0; i < node->items_count; i++) {
        momi_buf_release(node->items[i].key);
        momi_buf_release(node->items[i].value);
    }
    free(node->items);
    node->items = NULL;
    node->items_count = 0;
    memset(&node->mesh, 0, sizeof node->mesh);
}

/* --- carrying out effects ------------------------------------------------------------
 */

static inline void rig_send(struct rig *rig, int index,
                            const struct momi_effect *effect) {
    int other = rig_index(rig, effect->node);
    if (other < 0 || rig->nodes[index].lanes[other] == 0 || rig->cut[index][other]) {
        return;
    }
    struct momi_arena arena = {0};
    struct momi_slice head;
    struct momi_bytes bytes = {.data = NULL};
    CHECK_OK(momi_codec_encode(effect->frame, &arena, &head));
    momi_bytes_append(&bytes, head.data, head.size);
    for (uint32_t i = 0; i < effect->frame->parts_count; i++) {
        struct momi_slice part = effect->frame->parts[i].bytes;
        momi_bytes_append(&bytes, part.data, part.size);
    }
    rig->nodes[index].joins_sent += effect->frame->type == FRAME_JOIN;
    struct rig_event *event = rig_post(rig, other, 100, EV_FRAME);
    event->from = index;
    event->lane = rig->nodes[index].lanes[other];
    event->bytes = momi_buf_copy(momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    momi_arena_free(&arena);
}

static inline void rig_read(struct rig *rig, int index,
                            const struct momi_effect *effect) {
    struct rig_node *node = &rig->nodes[index];
    struct momi_bytes key = {.data = NULL};
    momi_put_be32(&key, effect->shard);
    momi_put_be64(&key, effect->index);
    size_t at = rig_find(node, MOMI_FAMILY_LOG, momi_bytes_slice(&key));
    struct rig_event *event = rig_post(rig, index, 100, EV_READ);
    event->event.token = effect->token;
    bool is_there =
        at < node->items_count &&
        rig_compare(&node->items[at], MOMI_FAMILY_LOG, momi_bytes_slice(&key)) == 0;
    event->event.error = is_there ? MOM_OK : MOM_NOT_FOUND;
    event->bytes = is_there ? momi_buf_ref(node->items[at].value) : NULL;
    momi_bytes_free(&key);
}

/* All records in one answer. */
static inline void rig_scan(struct rig *rig, int index,
                            const struct momi_effect *effect) {
    enum { PREFIX = 5 };
    struct rig_node *node = &rig->nodes[index];
    struct momi_key from = momi_key_record(effect->shard, effect->side, effect->from);
    struct momi_key to = momi_key_record(effect->shard, (uint8_t)(effect->side + 1),
                                         (struct momi_slice){0});
    size_t at = rig_find(node, MOMI_FAMILY_STATE, momi_key_slice(&from));
    size_t end = rig_find(node, MOMI_FAMILY_STATE, momi_key_slice(&to));
    size_t bytes = 0;
    for (size_t i = at; i < end; i++) {
        bytes += node->items[i].key->size + node->items[i].value->size;
    }
    struct rig_event *event = rig_post(rig, index, 100, EV_SCANNED);
    event->event.token = effect->token;
    event->event.finished = true;
    event->bytes = momi_buf_new(bytes);
    event->items = calloc(end - at + 1, sizeof *event->items);
    event->event.items = event->items;
    uint8_t *to_bytes = event->bytes->data;
    for (size_t i = at; i < end; i++) {
        struct momi_slice key = momi_buf_slice(node->items[i].key);
        struct momi_slice value = momi_buf_slice(node->items[i].value);
        if (effect->from.size > 0 && momi_slice_equal(key, momi_key_slice(&from))) {
            continue;
        }
        memcpy(to_bytes, key.data, key.size);
        memcpy(to_bytes + key.size, value.data, value.size);
        event->items[event->event.items_count++] = (struct momi_scan_item){
            .key = momi_slice(to_bytes + PREFIX, key.size - PREFIX),
            .value = momi_slice(to_bytes + key.size, value.size)};
        to_bytes += key.size + value.size;
    }
}

static inline void rig_effect(struct rig *rig, int index,
                              const struct momi_effect *effect) {
    struct rig_node *node = &rig->nodes[index];
    int other = rig_index(rig, effect->node);
    struct rig_event *event;
    switch (effect->type) {
    case FX_SEND:
        rig_send(rig, index, effect);
        break;
    case FX_WRITE:
        rig_write(node, &node->effects.batch);
        event = rig_post(rig, index, 300, EV_WRITTEN);
        event->event.token = effect->token;
        break;
    case FX_READ:
        rig_read(rig, index, effect);
        break;
    case FX_DIAL:
        rig_dial(rig, index, effect);
        break;
    case FX_HANGUP:
        if (other >= 0) {
            rig_lane_close(rig, index, other, MOMI_DOWN_LOCAL);
        }
        break;
    case FX_IDENTITY:
        event = rig_post(rig, index, 500, EV_IDENTITY);
        event->event.error = node->fail_identity ? MOM_IO : MOM_OK;
        if (!node->fail_identity) {
            node->mesh = effect->mesh;
        }
        break;
    case FX_NOTICE:
        node->notices[effect->notice]++;
        if (effect->notice == MOMI_NOTICE_REFUSED) {
            snprintf(node->refused, sizeof node->refused, "%.*s", (int)effect->text.size,
                     (const char *)effect->text.data);
        }
        break;
    case FX_SCAN:
        rig_scan(rig, index, effect);
        break;
    case FX_COMPLETE:
        node->completions++;
        node->completed = effect->completion.error;
        break;
    default:
        break;
    }
}

static inline void rig_step(struct rig *rig, int index, struct momi_event *event) {
    struct rig_node *node = &rig->nodes[index];
    event->now_us = rig->now_us;
    event->wall_us =
        (uint64_t)((int64_t)(rig->now_us + RIG_WALL_US) + node->wall_offset_us);
    momi_core_step(node->core, event, &node->effects);
    momi_core_turn_end(node->core, &node->effects);
    for (size_t i = 0; i < node->effects.count; i++) {
        rig_effect(rig, index, &node->effects.list[i]);
    }
    momi_effects_clear(&node->effects);
}

static inline void rig_deliver(struct rig *rig, struct rig_event *event) {
    struct rig_node *node = &rig->nodes[event->node];
    bool is_late = node->core == NULL || node->life != event->life;
    struct momi_arena arena = {0};
    struct momi_frame frame;
    if (!is_late && event->event.type == EV_FRAME) {
        is_late = node->lanes[event->from] != event->lane;
        if (!is_late) {
            CHECK_OK(momi_codec_decode(momi_buf_slice(event->bytes), event->bytes, &arena,
                                       &frame));
            event->event.frame = &frame;
            event->event.node = rig->nodes[event->from].id;
        }
    } else if (!is_late && event->event.type == EV_LANE_UP) {
        is_late = node->lanes[event->from] != event->lane;
        event->event.lane = &event->info;
        if (is_late && event->info.dial_token != 0) {
            /* It closed before it was reported: the dial failed. */
            event->event = (struct momi_event){.type = EV_DIAL_FAILED,
                                               .token = event->info.dial_token,
                                               .error = MOM_UNAVAILABLE};
            is_late = false;
        }
    } else if (!is_late && event->event.type == EV_READ) {
        event->event.buf = event->bytes;
    }
    if (!is_late) {
        rig_step(rig, event->node, &event->event);
    }
    momi_arena_free(&arena);
    momi_buf_release(event->bytes);
    free(event->items);
    free(event);
}

/* The next thing that happens, at `until_us` at the latest; false: nothing does. */
static inline bool rig_next(struct rig *rig, uint64_t until_us) {
    uint64_t due_us = rig->events != NULL ? rig->events->at_us : MOMI_NEVER;
    int timer = -1;
    for (int i = 0; i < RIG_NODES; i++) {
        uint64_t node_us = rig->nodes[i].core == NULL
                               ? MOMI_NEVER
                               : momi_core_deadline(rig->nodes[i].core);
        if (node_us < due_us) {
            due_us = node_us;
            timer = i;
        }
    }
    if (due_us > until_us) {
        rig->now_us = until_us;
        return false;
    }
    rig->now_us = due_us > rig->now_us ? due_us : rig->now_us;
    if (timer >= 0) {
        struct momi_event event = {.type = EV_TIME};
        rig_step(rig, timer, &event);
        return true;
    }
    struct rig_event *event = rig->events;
    rig->events = event->next;
    rig_deliver(rig, event);
    return true;
}

static inline void rig_run(struct rig *rig, uint64_t for_us) {
    uint64_t until_us = rig->now_us + for_us;
    uint64_t steps = 0;
    while (rig_next(rig, until_us)) {
        CHECK(++steps < 5000000); /* nothing spins */
    }
}

/* --- life ----------------------------------------------------------------------------
 */

static inline void rig_restore(struct rig_node *node) {
    struct momi_restore_range range;
    while (momi_core_restore_next(node->core, &range)) {
        size_t end = rig_find(node, range.family, range.to);
        for (size_t i = rig_find(node, range.family, range.from); i < end; i++) {
            momi_core_restore_item(node->core, momi_buf_slice(node->items[i].key),
                                   momi_buf_slice(node->items[i].value));
        }
    }
}

static inline void rig_start(struct rig *rig, int index) {
    struct rig_node *node = &rig->nodes[index];
    CHECK(node->core == NULL);
    struct momi_core_config config = {.node = node->id,
                                      .incarnation = ++node->incarnation,
                                      .role = node->role,
                                      .name = momi_slice_str(node->name),
                                      .address = momi_slice_str(node->address),
                                      .mesh = node->mesh,
                                      .durable = node->durable,
                                      .seed = ++rig->random * 77 + (uint64_t)index,
                                      .join = node->join,
                                      .join_count = node->join_count,
                                      .form = node->form,
                                      .form_count = node->form_count,
                                      .shards_count = node->shards_count,
                                      .copies_count = node->copies_count};
    memset(&config.mesh_candidate, (int)(0x40 + rig->random),
           sizeof config.mesh_candidate);
    node->life++;
    momi_effects_init(&node->effects);
    node->core = momi_core_new(&config);
    CHECK(node->core != NULL);
    rig_restore(node);
    struct momi_event event = {.type = EV_TIME};
    rig_step(rig, index, &event);
}

static inline void rig_kill(struct rig *rig, int index) {
    struct rig_node *node = &rig->nodes[index];
    if (node->core == NULL) {
        return;
    }
    momi_core_free(node->core);
    momi_effects_free(&node->effects);
    node->core = NULL;
    node->life++;
    for (int i = 0; i < RIG_NODES; i++) {
        node->lanes[i] = 0;
        if (!rig->cut[index][i]) {
            rig_lane_end(rig, i, index, MOMI_DOWN_CLOSED);
        }
    }
}

static inline void rig_free(struct rig *rig) {
    for (int i = 0; i < RIG_NODES; i++) {
        rig_kill(rig, i);
        rig_wipe(&rig->nodes[i]);
    }
    while (rig->events != NULL) {
        struct rig_event *event = rig->events;
        rig->events = event->next;
        momi_buf_release(event->bytes);
        free(event->items);
        free(event);
    }
}

/* Both ways, and frames that are under way still arrive. */
static inline void rig_cut(struct rig *rig, int one, int two, bool is_cut) {
    rig->cut[one][two] = is_cut;
    rig->cut[two][one] = is_cut;
}

static inline struct momi_core_state rig_state(const struct rig *rig, int index) {
    struct momi_core_state state = {.is_member = false};
    if (rig->nodes[index].core != NULL) {
        momi_core_state(rig->nodes[index].core, &state);
    }
    return state;
}

static inline const char *rig_waiting(const struct rig *rig, int index) {
    static char text[512];
    (void)momi_core_waiting_for(rig->nodes[index].core, text, sizeof text);
    return text;
}

#endif
