/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client half: calls come in, are checked, wait for the map, and go to the part that
 * carries them out; deadlines; the end of a turn. Called by core.c and mesh.c only.
 *
 * Everything that can be wrong with a call by itself is answered at once. What remains
 * either gets a number in a session (client_session.c) or asks (client_query.c).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/filter.h"

/* --- timers --------------------------------------------------------------------- */

bool momi_client_timer_init(struct momi_client *client, struct momi_client_timer *timer,
                            enum momi_client_timer_kind kind) {
    if (!momi_heap_reserve(&client->timers, client->timers_count + 1)) {
        return false;
    }
    client->timers_count++;
    momi_heap_node_init(&timer->node);
    timer->node.tie = ++client->tie_next;
    timer->kind = kind;
    return true;
}

void momi_client_timer_set(struct momi_client *client, struct momi_client_timer *timer,
                           uint64_t at_us) {
    if (at_us == MOMI_NEVER) {
        momi_heap_remove(&client->timers, &timer->node);
    } else if (timer->node.position == MOMI_HEAP_NONE) {
        timer->node.due = at_us;
        momi_heap_insert(&client->timers, &timer->node);
    } else if (timer->node.due != at_us) {
        timer->node.due = at_us;
        momi_heap_update(&client->timers, &timer->node);
    }
}

void momi_client_timer_drop(struct momi_client *client, struct momi_client_timer *timer) {
    momi_heap_remove(&client->timers, &timer->node);
    client->timers_count--;
}

/* --- life ----------------------------------------------------------------------- */

struct momi_client *momi_client_new(struct momi_core *core) {
    struct momi_client *client = momi_calloc(1, sizeof *client);
    if (client == NULL) {
        return NULL;
    }
    client->core = core;
    momi_list_init(&client->dirty);
    momi_list_init(&client->consumers);
    momi_list_init(&client->unrouted);
    momi_list_init(&client->ready_waits);
    momi_list_init(&client->waiting_shards);
    if (!momi_client_timer_init(client, &client->ping, CLIENT_TIMER_PING)) {
        momi_free(client);
        return NULL;
    }
    return client;
}

void momi_client_call_drop(struct momi_client *client, struct momi_client_call *call) {
    if (call->state == CALL_STATE_ASKING) {
        momi_client_ask_free(client, call);
    } else if (call->state == CALL_STATE_WAITING) {
        momi_client_unwait(client, call);
    }
    momi_list_remove(&call->link);
    momi_map_remove(&client->calls, &call->by_id);
    momi_client_timer_drop(client, &call->timer);
    client->waiting_bytes -= call->block_bytes;
    client->calls_count--;
    momi_free(call);
}

static void free_mapped_call(struct momi_map_node *node, void *user) {
    momi_client_call_drop(user, MOMI_CONTAINER_OF(node, struct momi_client_call, by_id));
}

void momi_client_free(struct momi_client *client) {
    momi_map_each(&client->calls, free_mapped_call, client);
    while (!momi_list_empty(&client->consumers)) {
        momi_client_consumer_free(
            client,
            MOMI_CONTAINER_OF(client->consumers.next, struct momi_client_consumer, link));
    }
    for (size_t i = 0; i <= MOMI_SHARDS_MAX; i++) {
        if (client->shards[i] != NULL) {
            momi_client_shard_free(client, client->shards[i]);
        }
    }
    for (size_t i = 0; i < CLIENT_BUF_CLASSES; i++) {
        for (uint32_t j = 0; j < client->bufs_count[i]; j++) {
            momi_buf_release(client->bufs[i][j]);
        }
    }
    momi_bytes_free(&client->scratch);
    momi_heap_free(&client->timers);
    momi_map_free(&client->calls);
    momi_map_free(&client->consumers_by_handle);
    momi_map_free(&client->consumers_by_wire);
    momi_map_free(&client->requests);
    momi_free(client);
}

/* --- completing ----------------------------------------------------------------- */

void momi_client_complete(struct momi_core *core, uint64_t id,
                          const struct momi_completion *completion) {
    struct momi_effect *effect = momi_effect_add(core->effects, FX_COMPLETE);
    effect->token = id;
    effect->completion = *completion;
}

void momi_client_finish_with(struct momi_core *core, struct momi_client_call *call,
                             const struct momi_completion *completion) {
    momi_client_complete(core, call->call.id, completion);
    momi_client_call_drop(core->client, call);
}

void momi_client_finish(struct momi_core *core, struct momi_client_call *call, int error,
                        uint64_t value, struct momi_slice text) {
    struct momi_completion completion = {.error = error, .sequence = value, .text = text};
    momi_client_finish_with(core, call, &completion);
}

/* Completes a call that was refused by a check, with the text that the check left. */
static void refuse(struct momi_core *core, uint64_t id, int error) {
    struct momi_completion completion = {.error = error};
    completion.text =
        momi_effect_copy(core->effects, momi_slice_str(mom_last_error_text()));
    momi_client_complete(core, id, &completion);
}

static size_t write_number(char *at, uint32_t number) {
    char digits[10];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (size_t i = 0; i < count; i++) {
        at[i] = digits[count - 1 - i];
    }
    return count;
}

struct momi_slice momi_client_shards_text(struct momi_core *core, const char *prefix,
                                          const uint32_t *shards, size_t count) {
    size_t prefix_size = strlen(prefix);
    char *text = momi_effect_alloc(core->effects, prefix_size + count * 12 + 1);
    memcpy(text, prefix, prefix_size);
    size_t size = prefix_size;
    for (size_t i = 0; i < count; i++) {
        text[size++] = i == 0 ? ' ' : ',';
        size += write_number(text + size, shards[i]);
    }
    return momi_slice(text, size);
}

/* --- calls with memory of their own --------------------------------------------- */

static size_t copies_size(const struct momi_call *call) {
    size_t size = call->name.size + call->subscription.size + call->records.size +
                  call->filters_count * sizeof *call->filters;
    for (size_t i = 0; i < call->filters_count; i++) {
        size += call->filters[i].size;
    }
    return size;
}

static uint8_t *copy_to(uint8_t *at, struct momi_slice *slice) {
    if (slice->size > 0) {
        memcpy(at, slice->data, slice->size);
    }
    slice->data = at;
    return at + slice->size;
}

/* Points the copy's slices behind it and fills them. */
static void copy_slices(struct momi_client_call *copy) {
    struct momi_call *call = &copy->call;
    struct momi_slice *filters = (struct momi_slice *)(copy + 1);
    uint8_t *at = (uint8_t *)(filters + call->filters_count);
    for (size_t i = 0; i < call->filters_count; i++) {
        filters[i] = call->filters[i];
        at = copy_to(at, &filters[i]);
    }
    call->filters = filters;
    at = copy_to(at, &call->name);
    at = copy_to(at, &call->subscription);
    (void)copy_to(at, &call->records);
}

struct momi_client_call *momi_client_call_new(struct momi_core *core,
                                              const struct momi_call *call) {
    struct momi_client *client = core->client;
    size_t block_bytes = sizeof(struct momi_client_call) + copies_size(call);
    struct momi_client_call *copy = momi_alloc(block_bytes);
    if (copy == NULL) {
        return NULL;
    }
    memset(copy, 0, sizeof *copy);
    if (!momi_client_timer_init(client, &copy->timer, CLIENT_TIMER_CALL)) {
        momi_free(copy);
        return NULL;
    }
    copy->call = *call;
    copy->block_bytes = block_bytes;
    copy_slices(copy);
    momi_list_init(&copy->link);
    momi_map_insert(&client->calls, &copy->by_id, momi_hash_u64(call->id));
    momi_client_timer_set(client, &copy->timer, call->deadline_us);
    client->waiting_bytes += block_bytes;
    client->calls_count++;
    return copy;
}

static bool takes_calls(const struct momi_core *core, const struct momi_call *call) {
    const struct momi_client *client = core->client;
    return client->calls_count < CLIENT_CALLS_MAX &&
           (client->waiting_bytes == 0 ||
            client->waiting_bytes + copies_size(call) <= core->config.inflight_bytes_max);
}

/* --- where a call goes ---------------------------------------------------------- */

static void start_publish(struct momi_core *core, struct momi_client_shard *shard,
                          struct momi_client_call *call) {
    if (!momi_list_empty(&shard->waiting) ||
        !momi_client_window_admits(core->client, shard, call->call.records.size)) {
        momi_client_wait(core, shard, call);
        return;
    }
    int error = momi_client_publish_append(core, shard, &call->call);
    if (error != MOM_OK) {
        momi_client_finish(core, call, error, 0, momi_slice(NULL, 0));
        return;
    }
    momi_client_call_drop(core->client, call); /* its completion is the command's now */
}

/* The map is known. */
static void dispatch(struct momi_core *core, struct momi_client_call *call) {
    enum momi_call_type type = call->call.type;
    if (type >= CALL_CONSUMER_OPEN && type <= CALL_CONSUMER_FLUSH) {
        momi_client_consumer_call(core, call);
        return;
    }
    if (type == CALL_DESCRIBE || type == CALL_LIST || type == CALL_SUBSCRIPTIONS) {
        momi_client_ask(core, call);
        return;
    }
    struct momi_client_shard *shard =
        momi_client_shard(core, momi_client_shard_of_name(core, call->call.name));
    if (shard == NULL) {
        momi_client_finish(core, call, MOM_NO_MEMORY, 0, momi_slice(NULL, 0));
    } else if (type == CALL_PUBLISH) {
        start_publish(core, shard, call);
    } else if (!momi_list_empty(&shard->waiting)) {
        momi_client_wait(core, shard, call); /* order per session is order of calls */
    } else {
        momi_client_command_start(core, shard, call);
    }
}

static bool is_routable(const struct momi_core *core) {
    return momi_mesh_shards_count(core) != 0 && momi_list_empty(&core->client->unrouted);
}

static int check(const struct momi_core *core, const struct momi_call *call) {
    switch (call->type) {
    case CALL_PUBLISH:
        return momi_client_publish_check(core, call);
    case CALL_STREAM_CREATE:
    case CALL_STREAM_DELETE:
    case CALL_STREAM_PURGE:
    case CALL_SUBSCRIPTION_CREATE:
    case CALL_SUBSCRIPTION_DELETE:
        return momi_client_command_check(call);
    case CALL_CONSUMER_OPEN:
    case CALL_CONSUMER_CLOSE:
    case CALL_CONSUMER_POLL:
    case CALL_CONSUMER_FLUSH:
        return momi_client_consumer_check(call);
    case CALL_DESCRIBE:
    case CALL_LIST:
    case CALL_SUBSCRIPTIONS:
        return momi_client_ask_check(call);
    case CALL_WAIT_READY:
    case CALL_STATUS:
        return MOM_OK;
    }
    return momi_err(MOM_INVALID, "no such call: %d", (int)call->type);
}

/* A publish that can be done now costs no memory of its own. */
static bool publish_at_once(struct momi_core *core, const struct momi_call *call) {
    if (call->type != CALL_PUBLISH || !is_routable(core)) {
        return false;
    }
    struct momi_client_shard *shard =
        momi_client_shard(core, momi_client_shard_of_name(core, call->name));
    struct momi_completion completion = {.error = MOM_NO_MEMORY};
    if (shard != NULL) {
        if (!momi_list_empty(&shard->waiting) ||
            !momi_client_window_admits(core->client, shard, call->records.size)) {
            if (call->deadline_us > core->now_us) {
                return false;
            }
            completion.error = MOM_FULL; /* S5: it does not want to wait */
            momi_client_complete(core, call->id, &completion);
            return true;
        }
        completion.error = momi_client_publish_append(core, shard, call);
    }
    if (completion.error != MOM_OK) {
        momi_client_complete(core, call->id, &completion);
    }
    return true;
}

static void start_call(struct momi_core *core, const struct momi_call *call) {
    struct momi_client *client = core->client;
    if (client->is_closed) {
        momi_client_complete(core, call->id,
                             &(struct momi_completion){.error = MOM_CLOSED});
        return;
    }
    momi_err_clear();
    int error = check(core, call);
    if (error != MOM_OK) {
        refuse(core, call->id, error);
        return;
    }
    if (call->type == CALL_STATUS) {
        momi_client_status(core, call);
        return;
    }
    if (publish_at_once(core, call)) {
        return;
    }
    if (!takes_calls(core, call)) {
        momi_client_complete(core, call->id,
                             &(struct momi_completion){.error = MOM_FULL});
        return;
    }
    struct momi_client_call *copy = momi_client_call_new(core, call);
    if (copy == NULL) {
        momi_client_complete(core, call->id,
                             &(struct momi_completion){.error = MOM_NO_MEMORY});
    } else if (call->type == CALL_WAIT_READY) {
        momi_client_wait_ready(core, copy);
    } else if (is_routable(core)) {
        dispatch(core, copy);
    } else {
        copy->state = CALL_STATE_UNROUTED;
        momi_list_push_back(&client->unrouted, &copy->link);
    }
}

/* --- giving up ------------------------------------------------------------------ */

static void command_call_expired(struct momi_core *core, struct momi_client_call *call) {
    struct momi_client_shard *shard = call->shard;
    for (size_t i = 0; i < shard->commands.count; i++) {
        struct momi_client_command *command = momi_ring_at(&shard->commands, i);
        if (command->call != call) {
            continue;
        }
        command->call = NULL;
        if (i < shard->numbered) {
            command->is_given_up = true; /* S2: it goes on all the same */
            momi_client_finish(core, call, MOM_UNKNOWN_OUTCOME, 0, momi_slice(NULL, 0));
        } else {
            momi_client_command_remove(core, shard, i);
            momi_client_finish(core, call, MOM_TIMEOUT, 0,
                               momi_client_shards_text(core, "no leader reached of shard",
                                                       &shard->shard, 1));
        }
        return;
    }
    MOMI_ASSERT(!"a call in state COMMAND has a command");
}

static struct momi_slice waiting_text(struct momi_core *core) {
    char text[512];
    size_t size = momi_mesh_waiting_for(core, text, sizeof text);
    return momi_effect_copy(
        core->effects, momi_slice(text, size < sizeof text ? size : sizeof text - 1));
}

void momi_client_call_expire(struct momi_core *core, struct momi_client_call *call) {
    switch (call->state) {
    case CALL_STATE_UNROUTED:
    case CALL_STATE_READY:
        momi_client_finish(core, call, MOM_TIMEOUT, 0, waiting_text(core));
        break;
    case CALL_STATE_WAITING:
        momi_client_finish(core, call, MOM_TIMEOUT, 0, momi_slice(NULL, 0));
        core->client->has_room = true; /* for those behind it */
        break;
    case CALL_STATE_COMMAND:
        command_call_expired(core, call);
        break;
    case CALL_STATE_OPENING:
    case CALL_STATE_CLOSING:
    case CALL_STATE_POLLING:
    case CALL_STATE_FLUSHING:
        momi_client_consumer_call_expired(core, call);
        break;
    case CALL_STATE_ASKING:
        momi_client_ask_expired(core, call);
        break;
    }
}

static struct momi_client_call *find_call(const struct momi_client *client, uint64_t id) {
    for (struct momi_map_node *node = momi_map_first(&client->calls, momi_hash_u64(id));
         node != NULL; node = momi_map_next(node)) {
        struct momi_client_call *call =
            MOMI_CONTAINER_OF(node, struct momi_client_call, by_id);
        if (call->call.id == id) {
            return call;
        }
    }
    return NULL;
}

static void cancel(struct momi_core *core, uint64_t id) {
    struct momi_client_call *call = find_call(core->client, id);
    if (call != NULL) {
        momi_client_call_expire(core, call);
    } else {
        (void)momi_client_publish_cancel(core, id);
    }
}

/* --- events --------------------------------------------------------------------- */

static void lane_changed(struct momi_core *core, uint64_t node, bool is_up) {
    struct momi_client *client = core->client;
    for (size_t i = 0; i <= MOMI_SHARDS_MAX; i++) {
        struct momi_client_shard *shard = client->shards[i];
        if (shard == NULL) {
            continue;
        }
        if (shard->node == node) {
            /* Whatever was on the old lane may be lost: all of it goes again. */
            bool is_gone = !is_up && !momi_mesh_lane_is_up(core, node);
            if (is_gone) {
                momi_mesh_leader_lost(core, shard->shard, node);
            }
            momi_client_shard_unroute(
                core, shard, is_gone ? momi_client_retry_us(core, 0) : core->now_us);
            shard->synced_node = 0;
        } else if (is_up && shard->node == 0) {
            shard->hold_us = core->now_us;
            momi_client_shard_touch(client, shard);
        }
    }
}

void momi_client_event(struct momi_core *core, const struct momi_event *event) {
    switch (event->type) {
    case EV_CALL:
        start_call(core, event->call);
        break;
    case EV_CALL_CANCEL:
        cancel(core, event->token);
        break;
    case EV_CONSUMER_TAKEN:
        momi_client_consumer_taken(core, event->token, event->value, event->total);
        break;
    case EV_CONSUMER_SETTLE:
        momi_client_consumer_settle(core, event->token, event->settles,
                                    event->settles_count);
        break;
    case EV_LANE_UP:
        lane_changed(core, event->lane->node, true);
        break;
    case EV_LANE_DOWN:
        lane_changed(core, event->node, false);
        break;
    default:
        break;
    }
}

void momi_client_frame(struct momi_core *core, uint64_t node,
                       const struct momi_frame *frame) {
    if (core->client->is_closed || frame->shard > MOMI_SHARDS_MAX ||
        core->client->shards[frame->shard] == NULL) {
        if (frame->type == FRAME_NOT_LEADER && frame->shard <= MOMI_SHARDS_MAX &&
            frame->index != 0) {
            momi_mesh_leader_hint(core, frame->shard, frame->index, frame->term);
        }
        return; /* late, or nothing that we asked for */
    }
    switch (frame->type) {
    case FRAME_SESSION_OPENED:
        momi_client_session_opened(core, node, frame);
        break;
    case FRAME_RESULTS:
        momi_client_results(core, node, frame);
        break;
    case FRAME_NOT_LEADER:
        momi_client_not_leader(core, node, frame);
        break;
    case FRAME_DELIVER:
        momi_client_deliver(core, node, frame);
        break;
    case FRAME_CONSUMER_ENDED:
        momi_client_consumer_ended(core, frame);
        break;
    case FRAME_QUERY_REPLY:
        momi_client_query_reply(core, node, frame);
        break;
    default:
        core->counters.frames_dropped++;
        break;
    }
}

void momi_client_routes_changed(struct momi_core *core, uint32_t shard_id) {
    struct momi_client *client = core->client;
    if (client == NULL || client->is_closed || shard_id > MOMI_SHARDS_MAX ||
        client->shards[shard_id] == NULL) {
        return;
    }
    struct momi_client_shard *shard = client->shards[shard_id];
    uint64_t leader = momi_mesh_leader(core, shard_id);
    if (leader == 0 && momi_mesh_is_damaged(core, shard_id)) {
        momi_client_shard_touch(client, shard);
    }
    if (leader == 0 || leader == shard->node) {
        return;
    }
    if (shard->node != 0) {
        momi_client_shard_unroute(core, shard, core->now_us);
    } else if (shard->redirects <= 1) {
        shard->hold_us = core->now_us;
    }
    momi_client_shard_touch(client, shard);
}

/* --- the end of a turn, time ---------------------------------------------------- */

static void route_waiting(struct momi_core *core) {
    struct momi_client *client = core->client;
    if (momi_mesh_shards_count(core) == 0) {
        return;
    }
    while (!momi_list_empty(&client->unrouted)) {
        struct momi_client_call *call =
            MOMI_CONTAINER_OF(client->unrouted.next, struct momi_client_call, link);
        momi_list_remove(&call->link);
        dispatch(core, call);
    }
}

void momi_client_turn_end(struct momi_core *core) {
    struct momi_client *client = core->client;
    if (client->is_closed) {
        return;
    }
    momi_client_check_ready(core);
    route_waiting(core);
    momi_client_admit_waiting(core);
    /* Those touched meanwhile, or whose lane is full, come in the next round. */
    struct momi_list now;
    momi_list_init(&now);
    while (!momi_list_empty(&client->dirty)) {
        struct momi_list *link = client->dirty.next;
        momi_list_remove(link);
        momi_list_push_back(&now, link);
    }
    while (!momi_list_empty(&now)) {
        momi_client_shard_pump(
            core, MOMI_CONTAINER_OF(now.next, struct momi_client_shard, dirty_link));
    }
}

void momi_client_time(struct momi_core *core) {
    struct momi_client *client = core->client;
    if (client->is_closed) {
        return;
    }
    /* A timer that is set again for now waits for the next event: no endless loop here.
     */
    for (size_t left = client->timers.count; left > 0; left--) {
        struct momi_heap_node *top = momi_heap_top(&client->timers);
        if (top == NULL || top->due > core->now_us) {
            return;
        }
        momi_heap_remove(&client->timers, top);
        struct momi_client_timer *timer =
            MOMI_CONTAINER_OF(top, struct momi_client_timer, node);
        switch (timer->kind) {
        case CLIENT_TIMER_CALL:
            momi_client_call_expire(
                core, MOMI_CONTAINER_OF(timer, struct momi_client_call, timer));
            break;
        case CLIENT_TIMER_SHARD:
            momi_client_shard_time(
                core, MOMI_CONTAINER_OF(timer, struct momi_client_shard, timer));
            break;
        case CLIENT_TIMER_CONSUMER:
            momi_client_consumer_time(
                core, MOMI_CONTAINER_OF(timer, struct momi_client_consumer, timer));
            break;
        case CLIENT_TIMER_PING:
            momi_client_ping(core, 0);
            break;
        }
    }
}

uint64_t momi_client_deadline(const struct momi_core *core) {
    const struct momi_heap_node *top = momi_heap_top(&core->client->timers);
    return core->client->is_closed || top == NULL ? MOMI_NEVER : top->due;
}

/* --- closing -------------------------------------------------------------------- */

static void close_publishes(struct momi_core *core, struct momi_client_shard *shard) {
    size_t at = 0;
    for (size_t i = 0; i < shard->commands.count; i++) {
        const struct momi_client_command *command = momi_ring_at(&shard->commands, i);
        int error = i < shard->numbered ? MOM_UNKNOWN_OUTCOME : MOM_CLOSED;
        for (uint32_t j = 0; j < command->calls_count; j++) {
            struct momi_client_publish *publish = momi_ring_at(&shard->publishes, at++);
            if (publish->id != 0) {
                momi_client_complete(core, publish->id,
                                     &(struct momi_completion){.error = error});
                publish->id = 0;
            }
        }
        if (command->call != NULL) {
            momi_client_finish(core, command->call, error, 0, momi_slice(NULL, 0));
        }
    }
}

static int closing_error(const struct momi_client_call *call) {
    switch (call->state) {
    case CALL_STATE_OPENING:
        return call->consumer->state == CONSUMER_NEW ? MOM_CLOSED : MOM_UNKNOWN_OUTCOME;
    case CALL_STATE_CLOSING:
    case CALL_STATE_FLUSHING:
        return MOM_UNKNOWN_OUTCOME;
    default:
        return MOM_CLOSED;
    }
}

static void close_call(struct momi_map_node *node, void *user) {
    struct momi_client_call *call =
        MOMI_CONTAINER_OF(node, struct momi_client_call, by_id);
    momi_client_finish(user, call, closing_error(call), 0, momi_slice(NULL, 0));
}

/* M4: what the program holds counts as delivered, and is told now. The consumers are
 * detached by commands behind that: only what follows it in order may vouch for it, and
 * the end of the session does not. */
static void detach_consumers(struct momi_client *client) {
    MOMI_LIST_FOR_EACH (link, &client->consumers) {
        struct momi_client_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_client_consumer, link);
        if (consumer->state == CONSUMER_ATTACHED) {
            consumer->is_closing = true;
            momi_client_consumer_touch(client, consumer);
        }
    }
}

void momi_client_close(struct momi_core *core) {
    struct momi_client *client = core->client;
    if (client->is_closed) {
        return;
    }
    detach_consumers(client);
    momi_client_turn_end(core); /* what is settled is told before the sessions end */
    momi_client_ping(core, MOMI_FLAG_CLOSED);
    for (size_t i = 0; i <= MOMI_SHARDS_MAX; i++) {
        if (client->shards[i] != NULL) {
            close_publishes(core, client->shards[i]);
        }
    }
    momi_map_each(&client->calls, close_call, core);
    client->is_closed = true;
}
