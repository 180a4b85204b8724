/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated network: lanes with delay, loss, duplication, reordering, closing, and
 * cuts in one or both directions. Frames pass through the real codec as bytes.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "wire/codec.h"
#include "world.h"

enum {
    SILENCE_US = 3 * 1000000,
    DIAL_TIMEOUT_US = 1000000,
    FRAMES_PER_SECOND_MAX = 4000
};

uint32_t sim_net_find(const struct sim_world *world, uint64_t node_id) {
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        if (world->nodes[i].id == node_id) {
            return i;
        }
    }
    return UINT32_MAX;
}

static struct sim_lane *lane_of(struct sim_world *world, uint32_t a, uint32_t b) {
    return a < b ? &world->lanes[a][b] : &world->lanes[b][a];
}

static bool *end_of(struct sim_world *world, uint32_t node, uint32_t peer) {
    return &lane_of(world, node, peer)->is_up[node < peer ? 0 : 1];
}

bool sim_net_reaches_all(struct sim_world *world, uint32_t node) {
    for (uint32_t peer = 0; peer < world->options.stores; peer++) {
        bool is_needed = peer != node && sim_node_is_up(world, peer);
        if (is_needed && !(*end_of(world, node, peer) && *end_of(world, peer, node))) {
            return false;
        }
    }
    return true;
}

static uint64_t draw_delay(struct sim_world *world) {
    uint64_t delay_us = sim_draw(&world->rng_net, world->options.delay_min_us,
                                 world->options.delay_max_us);
    if (!world->is_calm && momi_rng_chance(&world->rng_net, world->options.slow_ppm)) {
        delay_us *= sim_draw(&world->rng_net, 5, 50);
    }
    return delay_us;
}

/* --- frames
 * -------------------------------------------------------------------------------- */

static void free_buf(void *data) { momi_buf_release(data); }

static struct momi_buf *encode(struct sim_world *world, const struct momi_frame *frame) {
    struct momi_slice head;
    momi_arena_reset(&world->arena);
    int error = momi_codec_encode(frame, &world->arena, &head);
    if (error != MOM_OK) {
        sim_fail(world, "a frame of type %d could not be encoded: %s", (int)frame->type,
                 mom_err_name(error));
        return NULL;
    }
    size_t size = head.size;
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        size += frame->parts[i].bytes.size;
    }
    struct momi_buf *bytes = momi_buf_new(size);
    MOMI_ASSERT(bytes != NULL);
    memcpy(bytes->data, head.data, head.size);
    size_t at = head.size;
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        if (frame->parts[i].bytes.size > 0) {
            memcpy(bytes->data + at, frame->parts[i].bytes.data,
                   frame->parts[i].bytes.size);
        }
        at += frame->parts[i].bytes.size;
    }
    return bytes;
}

/* A lane keeps the order of its frames, but for those that a fault lets overtake. */
static void post_frame(struct sim_world *world, uint32_t from, uint32_t to,
                       struct momi_buf *bytes, bool is_flipped) {
    struct sim_lane *lane = lane_of(world, from, to);
    uint64_t *busy_us = &lane->busy_until_us[from < to ? 0 : 1];
    uint64_t due_us = world->now_us + draw_delay(world);
    bool overtakes =
        !world->is_calm && momi_rng_chance(&world->rng_net, world->options.reorder_ppm);
    if (!overtakes && due_us <= *busy_us) {
        due_us = *busy_us + 1;
    }
    if (due_us > *busy_us) {
        *busy_us = due_us;
    }
    struct sim_task *task = sim_task_add(world, due_us - world->now_us, TASK_FRAME, from,
                                         to, lane->generation);
    task->d = is_flipped;
    task->data = momi_buf_ref(bytes);
    task->free_data = free_buf;
}

/* A copy that comes long after, when it no longer fits anything. */
static void post_straggler(struct sim_world *world, uint32_t from, uint32_t to,
                           struct momi_buf *bytes, bool is_flipped) {
    struct sim_task *task =
        sim_task_add(world, sim_draw(&world->rng_net, 100 * MOMI_MS, 8 * MOMI_S),
                     TASK_FRAME, from, to, lane_of(world, from, to)->generation);
    task->d = is_flipped;
    task->data = momi_buf_ref(bytes);
    task->free_data = free_buf;
    world->totals.stragglers++;
}

/* Nodes that ask and answer each other without end get nowhere, and nobody sees it. */
static void count_frame(struct sim_world *world, uint32_t from) {
    struct sim_node *node = &world->nodes[from];
    uint64_t second = world->now_us / MOMI_S;
    node->frames_sent = node->frames_second == second ? node->frames_sent + 1 : 1;
    node->frames_second = second;
    if (node->frames_sent == FRAMES_PER_SECOND_MAX) {
        sim_fail(world, "n%u has sent %u frames within a second", from,
                 node->frames_sent);
    }
}

void sim_net_send(struct sim_world *world, uint32_t from,
                  const struct momi_effect *effect) {
    uint32_t to = sim_net_find(world, effect->node);
    if (to == UINT32_MAX || to == from || !*end_of(world, from, to)) {
        return;
    }
    world->totals.frames++;
    count_frame(world, from);
    sim_trace(world, effect->frame->type, (uint64_t)from << 32 | to,
              effect->frame->term ^ effect->frame->index << 20 ^
                  effect->frame->number << 40);
    if (world->tells_frames) {
        const struct momi_frame *f = effect->frame;
        sim_say(world,
                "n%u > n%u frame %d s%u term %llu index %llu number %llu counter %llu "
                "count %u flags %u error %d",
                from, to, (int)f->type, f->shard, (unsigned long long)f->term,
                (unsigned long long)f->index, (unsigned long long)f->number,
                (unsigned long long)f->counter, f->count, f->flags, f->error);
    }
    bool is_faulty = !world->is_calm;
    if (world->cut[from][to] ||
        (is_faulty && momi_rng_chance(&world->rng_net, world->options.loss_ppm))) {
        return;
    }
    struct momi_buf *bytes = encode(world, effect->frame);
    if (bytes == NULL) {
        return;
    }
    bool is_flipped =
        is_faulty && momi_rng_chance(&world->rng_net, world->options.flip_ppm);
    if (is_flipped) {
        size_t at = sim_draw(&world->rng_net, 0, bytes->size - 1);
        bytes->data[at] ^= (uint8_t)(1u << sim_draw(&world->rng_net, 0, 7));
        world->totals.flipped++;
    }
    post_frame(world, from, to, bytes, is_flipped);
    if (is_faulty && momi_rng_chance(&world->rng_net, world->options.duplicate_ppm)) {
        post_frame(world, from, to, bytes, is_flipped);
    }
    if (is_faulty && momi_rng_chance(&world->rng_net, world->options.straggler_ppm)) {
        post_straggler(world, from, to, bytes, is_flipped);
    }
    momi_buf_release(bytes);
}

static void frame_arrives(struct sim_world *world, struct sim_task *task) {
    uint32_t from = (uint32_t)task->a;
    uint32_t to = (uint32_t)task->b;
    struct sim_lane *lane = lane_of(world, from, to);
    if (lane->generation != task->c || !*end_of(world, to, from) ||
        world->cut[from][to]) {
        return;
    }
    lane->quiet_since_us[to < from ? 0 : 1] = world->now_us;
    struct momi_buf *bytes = task->data;
    struct momi_frame frame;
    momi_arena_reset(&world->arena);
    if (momi_codec_decode(momi_buf_slice(bytes), bytes, &world->arena, &frame) !=
        MOM_OK) {
        if (task->d == 0) {
            sim_fail(world, "a frame that n%u sent to n%u cannot be read: %s", from, to,
                     mom_last_error_text());
        }
        return; /* counted and dropped by the shell */
    }
    struct momi_event event = {
        .type = EV_FRAME, .node = world->nodes[from].id, .frame = &frame};
    sim_node_event(world, to, &event);
}

/* --- lanes
 * --------------------------------------------------------------------------------- */

static void post_down(struct sim_world *world, uint32_t node, uint32_t peer,
                      uint64_t delay_us, enum momi_down_reason reason) {
    struct sim_task *task = sim_task_add(world, delay_us, TASK_LANE_DOWN, node, peer,
                                         lane_of(world, node, peer)->generation);
    task->d = reason;
}

static void tell_down(struct sim_world *world, uint32_t node, uint32_t peer,
                      enum momi_down_reason reason) {
    bool *is_up = end_of(world, node, peer);
    if (!*is_up) {
        return;
    }
    *is_up = false;
    struct momi_event event = {
        .type = EV_LANE_DOWN, .node = world->nodes[peer].id, .reason = reason};
    sim_node_event(world, node, &event);
}

void sim_net_close_lane(struct sim_world *world, uint32_t a, uint32_t b) {
    if (*end_of(world, a, b) || *end_of(world, b, a)) {
        sim_say(world, "lane %u-%u closes", a, b);
        post_down(world, a, b, draw_delay(world), MOMI_DOWN_CLOSED);
        post_down(world, b, a, draw_delay(world), MOMI_DOWN_CLOSED);
    }
}

void sim_net_node_down(struct sim_world *world, uint32_t node) {
    for (uint32_t peer = 0; peer < world->nodes_count; peer++) {
        if (peer == node) {
            continue;
        }
        *end_of(world, node, peer) = false;
        if (*end_of(world, peer, node)) {
            bool is_cut = world->cut[node][peer];
            post_down(world, peer, node, is_cut ? SILENCE_US : draw_delay(world),
                      is_cut ? MOMI_DOWN_SILENT : MOMI_DOWN_CLOSED);
        }
    }
}

void sim_net_hangup(struct sim_world *world, uint32_t from, uint64_t node_id) {
    uint32_t to = sim_net_find(world, node_id);
    if (to != UINT32_MAX && to != from) {
        post_down(world, from, to, 1, MOMI_DOWN_LOCAL);
        if (!world->cut[from][to]) {
            post_down(world, to, from, draw_delay(world), MOMI_DOWN_CLOSED);
        }
    }
}

/* --- dialling
 * ------------------------------------------------------------------------------ */

void sim_net_dial(struct sim_world *world, uint32_t from,
                  const struct momi_effect *effect) {
    /* Addresses are "sim:" and a letter. */
    uint32_t to = UINT32_MAX;
    if (effect->address.size == 5 && memcmp(effect->address.data, "sim:", 4) == 0) {
        to = (uint32_t)(effect->address.data[4] - 'a');
    }
    bool is_cut =
        to < world->nodes_count && (world->cut[from][to] || world->cut[to][from]);
    struct sim_task *task =
        sim_task_add(world, is_cut ? DIAL_TIMEOUT_US : 3 * draw_delay(world), TASK_DIAL,
                     from, to, effect->token);
    task->d = world->nodes[from].life;
}

static void lane_up(struct sim_world *world, uint32_t node, uint32_t peer, bool we_dialed,
                    uint64_t token) {
    const struct sim_node *other = &world->nodes[peer];
    struct momi_core_state state;
    momi_core_state(other->core, &state);
    char address[8] = {'s', 'i', 'm', ':', (char)('a' + peer)};
    char name[8] = {'n', (char)('a' + peer)};
    bool listens = other->role == MOMI_ROLE_STORE;
    struct momi_lane_info info = {
        .node = other->id,
        .incarnation =
            other->role == MOMI_ROLE_STORE ? other->disk.incarnation : other->life,
        .role = other->role,
        .mesh = state.mesh,
        .founders_hash = other->founders_hash,
        .name = momi_slice(name, 2),
        .address = listens ? momi_slice(address, 5) : (struct momi_slice){0},
        .we_dialed = we_dialed,
        .dial_token = token,
    };
    *end_of(world, node, peer) = true;
    struct momi_event event = {.type = EV_LANE_UP, .lane = &info};
    sim_node_event(world, node, &event);
}

static void dial_failed(struct sim_world *world, uint32_t from, uint64_t token,
                        int error) {
    struct momi_event event = {.type = EV_DIAL_FAILED, .token = token, .error = error};
    sim_node_event(world, from, &event);
}

static bool meshes_fit(struct sim_world *world, uint32_t a, uint32_t b) {
    struct momi_core_state one;
    struct momi_core_state other;
    momi_core_state(world->nodes[a].core, &one);
    momi_core_state(world->nodes[b].core, &other);
    return momi_mesh_id_is_none(&one.mesh) || momi_mesh_id_is_none(&other.mesh) ||
           memcmp(&one.mesh, &other.mesh, sizeof one.mesh) == 0;
}

static void dial_ends(struct sim_world *world, struct sim_task *task) {
    uint32_t from = (uint32_t)task->a;
    uint32_t to = (uint32_t)task->b;
    if (!sim_node_is_up(world, from) || world->nodes[from].life != task->d) {
        return;
    }
    bool reached = to < world->nodes_count && to != from && sim_node_is_up(world, to) &&
                   !world->nodes[to].is_paused && !world->cut[from][to] &&
                   !world->cut[to][from];
    if (!reached) {
        dial_failed(world, from, task->c, MOM_UNAVAILABLE);
        return;
    }
    if (!meshes_fit(world, from, to)) {
        dial_failed(world, from, task->c, MOM_CONFLICT);
        return;
    }
    struct sim_lane *lane = lane_of(world, from, to);
    lane->generation++;
    lane->busy_until_us[0] = lane->busy_until_us[1] = world->now_us;
    lane->quiet_since_us[0] = world->now_us;
    lane->quiet_since_us[1] = world->now_us;
    *end_of(world, from, to) = true;
    lane_up(world, to, from, false, 0);
    if (sim_node_is_up(world, from) && sim_node_is_up(world, to)) {
        lane_up(world, from, to, true, task->c);
    }
}

/* --- partitions
 * ------------------------------------------------------------------------------ */

/* Each end that hears nothing for long gives its lane up. */
static void post_silence(struct sim_world *world) {
    for (uint32_t a = 0; a < world->nodes_count; a++) {
        for (uint32_t b = 0; b < world->nodes_count; b++) {
            if (a != b && world->cut[b][a] && *end_of(world, a, b)) {
                post_down(world, a, b, SILENCE_US, MOMI_DOWN_SILENT);
            }
        }
    }
}

/* Who may hear whom. A bridge is one node that both halves reach; in a ring each reaches
 * the two beside it. */
enum cut { CUT_HALVES, CUT_ONE, CUT_BRIDGE, CUT_RING };
static const char *const cut_names[] = {"in two", "of one", "with a bridge", "to a ring"};

static bool separates(const struct sim_world *world, enum cut cut, uint64_t side,
                      uint32_t alone, uint32_t a, uint32_t b) {
    uint32_t step = a < b ? b - a : a - b;
    switch (cut) {
    case CUT_ONE:
        return a == alone || b == alone;
    case CUT_BRIDGE:
        return a != alone && b != alone && (((side >> a) ^ (side >> b)) & 1) != 0;
    case CUT_RING:
        return step != 1 && step != world->nodes_count - 1;
    default:
        return (((side >> a) ^ (side >> b)) & 1) != 0;
    }
}

void sim_net_partition(struct sim_world *world) {
    memset(world->cut, 0, sizeof world->cut);
    struct momi_rng *rng = &world->rng_fault;
    uint64_t side = momi_rng_next(rng);
    bool one_way = momi_rng_chance(rng, 300000);
    uint32_t alone = (uint32_t)sim_draw(rng, 0, world->nodes_count - 1);
    static const enum cut cuts[] = {CUT_HALVES, CUT_HALVES, CUT_HALVES, CUT_ONE,
                                    CUT_ONE,    CUT_ONE,    CUT_BRIDGE, CUT_RING};
    enum cut cut = cuts[sim_draw(rng, 0, sizeof cuts / sizeof cuts[0] - 1)];
    for (uint32_t a = 0; a < world->nodes_count; a++) {
        for (uint32_t b = 0; b < world->nodes_count; b++) {
            bool is_from = cut == CUT_ONE ? a == alone : ((side >> a) & 1) != 0;
            world->cut[a][b] = a != b && separates(world, cut, side, alone, a, b) &&
                               (!one_way || is_from);
        }
    }
    world->partition_id++;
    world->totals.partitions++;
    sim_say(world, "partition %s%s", one_way ? "one way " : "", cut_names[cut]);
    post_silence(world);
}

void sim_net_isolate(struct sim_world *world, uint32_t node, bool cuts_out,
                     bool cuts_in) {
    memset(world->cut, 0, sizeof world->cut);
    bool keeps_clients = momi_rng_chance(&world->rng_fault, 500000);
    uint32_t end = keeps_clients ? world->options.stores : world->nodes_count;
    for (uint32_t peer = 0; peer < end; peer++) {
        if (peer != node) {
            world->cut[node][peer] = cuts_out;
            world->cut[peer][node] = cuts_in;
        }
    }
    world->partition_id++;
    world->totals.partitions++;
    sim_say(world, "n%u is isolated%s", node,
            !cuts_in    ? ": it hears"
            : !cuts_out ? ": it is heard"
                        : "");
    post_silence(world);
}

void sim_net_heal(struct sim_world *world) {
    memset(world->cut, 0, sizeof world->cut);
    world->partition_id++;
    sim_say(world, "partition heals");
}

void sim_net_task(struct sim_world *world, struct sim_task *task) {
    uint32_t node = (uint32_t)task->a;
    uint32_t peer = (uint32_t)task->b;
    switch (task->type) {
    case TASK_FRAME:
        frame_arrives(world, task);
        break;
    case TASK_DIAL:
        dial_ends(world, task);
        break;
    case TASK_LANE_DOWN:
        if (lane_of(world, node, peer)->generation == task->c) {
            bool is_silent =
                task->d != MOMI_DOWN_SILENT ||
                world->now_us >=
                    lane_of(world, node, peer)->quiet_since_us[node < peer ? 0 : 1] +
                        SILENCE_US;
            if (is_silent) {
                tell_down(world, node, peer, (enum momi_down_reason)task->d);
            }
        }
        break;
    default:
        break;
    }
}
