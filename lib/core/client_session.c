/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shard as seen by a client: the way to its leader, the session there, numbers and
 * results (S1 to S3).
 *
 * Commands stand in one ring, in the order of the session. The front part has numbers and
 * was handed to a lane at least once; it is sent again, with the same numbers, to every
 * new leader until it is answered, whether or not somebody still waits (S2). The rest has
 * none yet and can still be taken back.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/mutant.h"

enum { SHIFTS_MAX = 2, FINDS_BEFORE_LAST_NODE = 3, OPEN_AGAIN_US = 1000000 };

/* --- life ----------------------------------------------------------------------- */

struct momi_client_shard *momi_client_shard(struct momi_core *core, uint32_t id) {
    struct momi_client *client = core->client;
    MOMI_ASSERT(id <= MOMI_SHARDS_MAX);
    struct momi_client_shard *shard = client->shards[id];
    if (shard != NULL) {
        return shard;
    }
    shard = momi_calloc(1, sizeof *shard);
    if (shard == NULL) {
        return NULL;
    }
    if (!momi_client_timer_init(client, &shard->timer, CLIENT_TIMER_SHARD)) {
        momi_free(shard);
        return NULL;
    }
    shard->shard = id;
    shard->number_first = 1;
    shard->retry_us = MOMI_NEVER;
    shard->calls_due_us = MOMI_NEVER;
    momi_ring_init(&shard->commands, sizeof(struct momi_client_command));
    momi_ring_init(&shard->publishes, sizeof(struct momi_client_publish));
    momi_list_init(&shard->waiting);
    momi_list_init(&shard->waiting_link);
    momi_list_init(&shard->consumers);
    momi_list_init(&shard->consumers_dirty);
    momi_list_init(&shard->requests);
    momi_list_init(&shard->dirty_link);
    client->shards[id] = shard;
    return shard;
}

void momi_client_shard_free(struct momi_client *client, struct momi_client_shard *shard) {
    for (size_t i = 0; i < shard->commands.count; i++) {
        struct momi_client_command *command = momi_ring_at(&shard->commands, i);
        momi_buf_release(command->buf);
    }
    momi_ring_free(&shard->commands);
    momi_ring_free(&shard->publishes);
    momi_client_timer_drop(client, &shard->timer);
    client->shards[shard->shard] = NULL;
    momi_free(shard);
}

void momi_client_shard_touch(struct momi_client *client,
                             struct momi_client_shard *shard) {
    if (!momi_list_linked(&shard->dirty_link)) {
        momi_list_push_back(&client->dirty, &shard->dirty_link);
    }
}

/* --- the way to the leader ------------------------------------------------------ */

uint64_t momi_client_retry_us(struct momi_core *core, uint32_t attempt) {
    uint64_t wait_us =
        momi_rng_between(&core->rng, CLIENT_RETRY_MIN_US, CLIENT_RETRY_MAX_US);
    return core->now_us + (attempt < CLIENT_RETRIES_SHORT ? wait_us : wait_us * 10);
}

static bool needs_session(const struct momi_client_shard *shard) {
    return shard->commands.count > 0 || !momi_list_empty(&shard->consumers);
}

static bool needs_route(const struct momi_client_shard *shard) {
    return needs_session(shard) || !momi_list_empty(&shard->requests) ||
           shard->state == SESSION_OPEN;
}

static bool awaits_answer(const struct momi_client_shard *shard) {
    return shard->numbered > 0 || shard->opening_is_sent ||
           !momi_list_empty(&shard->requests);
}

void momi_client_shard_arm(struct momi_core *core, struct momi_client_shard *shard) {
    uint64_t due_us = shard->calls_due_us;
    if (shard->node == 0 && needs_route(shard)) {
        due_us = momi_earlier(due_us, shard->hold_us);
    } else if (shard->node != 0) {
        due_us = momi_earlier(due_us, shard->retry_us);
    }
    momi_client_timer_set(core->client, &shard->timer, due_us);
}

static void await_answer(struct momi_core *core, struct momi_client_shard *shard) {
    if (shard->retry_us == MOMI_NEVER && awaits_answer(shard)) {
        uint32_t shifts = shard->timeouts < SHIFTS_MAX ? shard->timeouts : SHIFTS_MAX;
        uint64_t wait_us =
            shard->has_answered ? CLIENT_ANSWER_US : CLIENT_ANSWER_FIRST_US;
        shard->retry_us = core->now_us + (wait_us << shifts);
    }
}

static void forget_sent(struct momi_client_shard *shard) {
    shard->sent = 0;
    shard->opening_is_sent = false;
    shard->retry_us = MOMI_NEVER;
    MOMI_LIST_FOR_EACH (link, &shard->requests) {
        MOMI_CONTAINER_OF(link, struct momi_client_request, link)->is_sent = false;
    }
    if (MUTANT(RETRY_RENUMBERED)) {
        shard->number_first += shard->numbered;
        shard->numbered = 0;
        shard->publishes_unanswered = 0;
    }
}

void momi_client_shard_unroute(struct momi_core *core, struct momi_client_shard *shard,
                               uint64_t hold_us) {
    shard->node = 0;
    shard->hold_us = hold_us;
    forget_sent(shard);
    momi_client_shard_touch(core->client, shard);
}

void momi_client_shard_heard(struct momi_core *core, struct momi_client_shard *shard,
                             uint64_t node) {
    if (node != shard->node) {
        return;
    }
    shard->heard_us = core->now_us;
    shard->has_answered = true;
    shard->redirects = 0;
    shard->timeouts = 0;
    shard->retry_us = MOMI_NEVER;
    momi_client_requests_again(core, shard); /* the leader answers, but not these */
    await_answer(core, shard);
    momi_client_shard_touch(core->client, shard);
}

static void use_leader(struct momi_core *core, struct momi_client_shard *shard,
                       uint64_t node) {
    momi_trace(core, "client-leader", shard->shard, node, shard->numbered);
    shard->node = node;
    shard->last_node = node;
    shard->finds = 0;
    shard->dialed_us = 0;
    shard->has_answered = false;
    shard->heard_us = core->now_us;
    forget_sent(shard);
    if (shard->synced_node == node) {
        return;
    }
    shard->synced_node = node;
    MOMI_LIST_FOR_EACH (link, &shard->consumers) {
        struct momi_client_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_client_consumer, shard_link);
        consumer->wants_sync = true;
        momi_client_consumer_touch(core->client, consumer);
    }
}

/* Asks around on the first attempts, then less and less often. */
static void ask_around(struct momi_core *core, struct momi_client_shard *shard) {
    uint32_t finds = shard->finds;
    if ((finds & (finds - 1)) == 0 || finds % 16 == 0) {
        momi_mesh_leader_lost(core, shard->shard, shard->last_node);
    }
}

/* True: a lane to the leader, as far as is known, is up. */
static bool find_leader(struct momi_core *core, struct momi_client_shard *shard) {
    if (shard->node != 0 && momi_mesh_lane_is_up(core, shard->node)) {
        return true;
    }
    if (shard->node != 0) {
        momi_client_shard_unroute(core, shard, core->now_us);
    }
    if (core->now_us < shard->hold_us) {
        return false;
    }
    uint64_t leader = momi_mesh_leader(core, shard->shard);
    if (leader == 0 && shard->last_node != 0 && shard->finds >= FINDS_BEFORE_LAST_NODE &&
        momi_mesh_lane_is_up(core, shard->last_node)) {
        leader = shard->last_node; /* it is the leader still, or knows the new one */
    }
    if (leader != 0) {
        momi_mesh_want_lane(core, leader);
        if (momi_mesh_lane_is_up(core, leader)) {
            use_leader(core, shard, leader);
            return true;
        }
        if (shard->dialed_us == 0) {
            shard->dialed_us = core->now_us;
        } else if (core->now_us >= shard->dialed_us + CLIENT_ANSWER_FIRST_US) {
            momi_mesh_leader_lost(core, shard->shard, leader);
            shard->dialed_us = 0;
        }
    } else {
        ask_around(core, shard);
    }
    shard->hold_us = momi_client_retry_us(core, shard->finds++);
    return false;
}

void momi_client_not_leader(struct momi_core *core, uint64_t node,
                            const struct momi_frame *frame) {
    struct momi_client_shard *shard = core->client->shards[frame->shard];
    bool is_hint = frame->index != 0 && frame->index != node;
    if (node == shard->node) {
        /* The first hint is followed at once; nodes that point at each other are not. */
        bool is_first = is_hint && shard->redirects == 0;
        uint64_t hold_us =
            is_first ? core->now_us : momi_client_retry_us(core, shard->redirects);
        shard->redirects++;
        momi_client_shard_unroute(core, shard, hold_us);
    }
    momi_mesh_leader_lost(core, shard->shard, node);
    if (is_hint) {
        momi_mesh_leader_hint(core, shard->shard, frame->index, frame->term);
    }
}

/* --- the session ---------------------------------------------------------------- */

static void send_opening(struct momi_core *core, struct momi_client_shard *shard) {
    struct momi_frame *frame = momi_core_send(core, shard->node, FRAME_SESSION_OPEN);
    frame->shard = shard->shard;
    frame->counter = shard->opening_request;
    frame->number = shard->opening;
    shard->opening_is_sent = true;
}

static void open_session(struct momi_core *core, struct momi_client_shard *shard) {
    if (shard->state == SESSION_NONE) {
        shard->state = SESSION_OPENING;
        shard->opening++;
        shard->opening_request = ++core->client->request_next;
    }
    if (!shard->opening_is_sent) {
        send_opening(core, shard);
    }
}

/* Everything that waits for a session that cannot be had ends. */
static void fail_unsent(struct momi_core *core, struct momi_client_shard *shard,
                        int error) {
    struct momi_slice none = momi_slice(NULL, 0);
    while (shard->commands.count > 0) {
        struct momi_client_command command =
            *(struct momi_client_command *)momi_ring_at(&shard->commands, 0);
        momi_ring_pop_front(&shard->commands, 1);
        momi_client_window_release(core->client, shard, &command);
        command.error = error;
        momi_client_publish_result(core, shard, &command);
        if (command.call != NULL) {
            momi_client_finish(core, command.call, error, 0, none);
        }
        momi_client_buf_put(core->client, command.buf);
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &shard->consumers) {
        struct momi_client_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_client_consumer, shard_link);
        if (consumer->open_call != NULL) {
            momi_client_consumer_end(core, consumer, error);
        }
    }
}

/* D3: there will be no leader. What was sent before may have been done, and waits for its
 * deadline. */
static void fail_damaged(struct momi_core *core, struct momi_client_shard *shard) {
    if (shard->numbered == 0) {
        shard->state = SESSION_NONE;
        fail_unsent(core, shard, MOM_CORRUPT);
    }
    momi_client_requests_fail(core, shard, MOM_CORRUPT);
}

static void set_session(struct momi_core *core, struct momi_client_shard *shard,
                        struct momi_session_id id) {
    momi_trace(core, "client-session", shard->shard, id.index, shard->opening);
    shard->state = SESSION_OPEN;
    shard->session = id;
    if (core->client->ping.node.position == MOMI_HEAP_NONE) {
        momi_client_timer_set(core->client, &core->client->ping,
                              core->now_us + CLIENT_PING_US);
    }
}

/* Takes the first command out of the ring and gives its result to whoever waits. */
static void finish_first(struct momi_core *core, struct momi_client_shard *shard) {
    struct momi_client_command command =
        *(struct momi_client_command *)momi_ring_at(&shard->commands, 0);
    momi_ring_pop_front(&shard->commands, 1);
    MOMI_ASSERT(shard->numbered > 0);
    shard->number_first++;
    shard->numbered--;
    shard->sent -= shard->sent > 0 ? 1 : 0;
    momi_client_window_release(core->client, shard, &command);
    momi_client_publish_result(core, shard, &command);
    switch (command.type) {
    case CMD_PUBLISH:
        shard->publishes_unanswered--;
        break;
    case CMD_CONSUMER_ATTACH:
    case CMD_CONSUMER_DETACH:
    case CMD_CONSUME:
        momi_client_consumer_result(core, &command);
        break;
    default:
        if (command.call != NULL) {
            momi_client_finish(core, command.call, command.error, command.value,
                               momi_slice(NULL, 0));
        }
        break;
    }
    momi_client_buf_put(core->client, command.buf);
}

/* S1: it has expired. What was sent may have been done; what was not goes on. */
void momi_client_session_lost(struct momi_core *core, struct momi_client_shard *shard) {
    momi_trace(core, "client-session-lost", shard->shard, shard->session.index,
               shard->numbered);
    shard->state = SESSION_NONE;
    shard->session = (struct momi_session_id){0};
    MOMI_LIST_FOR_EACH_SAFE (link, after, &shard->consumers) {
        momi_client_consumer_lost(
            core, MOMI_CONTAINER_OF(link, struct momi_client_consumer, shard_link));
    }
    while (shard->numbered > 0) {
        struct momi_client_command *command = momi_ring_at(&shard->commands, 0);
        if (!command->is_answered) {
            command->error = MOM_UNKNOWN_OUTCOME;
        }
        finish_first(core, shard);
    }
    shard->number_first = 1;
    forget_sent(shard);
    momi_client_shard_touch(core->client, shard);
}

void momi_client_session_opened(struct momi_core *core, uint64_t node,
                                const struct momi_frame *frame) {
    struct momi_client_shard *shard = core->client->shards[frame->shard];
    if (shard->state == SESSION_NONE || frame->counter != shard->opening_request) {
        return;
    }
    shard->opening_is_sent = false;
    momi_client_shard_heard(core, shard, node);
    if (frame->error == MOM_OK && !momi_session_id_is_none(frame->session)) {
        bool is_same = shard->state == SESSION_OPEN &&
                       momi_session_id_equal(shard->session, frame->session);
        if (!is_same && shard->state == SESSION_OPEN) {
            momi_client_session_lost(core, shard); /* the sign of life made a new one */
        }
        if (!is_same) {
            set_session(core, shard, frame->session);
        }
        return;
    }
    switch (frame->error) {
    case MOM_CONFLICT: /* a later opening is known there: take a higher number */
        if (shard->state == SESSION_OPEN) {
            momi_client_session_lost(core, shard);
        }
        shard->state = SESSION_NONE;
        momi_client_shard_unroute(core, shard, momi_client_retry_us(core, 0));
        break;
    case MOM_OK:
    case MOM_UNAVAILABLE:
    case MOM_TIMEOUT:
    case MOM_NO_MEMORY:
        momi_client_shard_unroute(core, shard, momi_client_retry_us(core, 0));
        break;
    default:
        if (shard->state == SESSION_OPENING) {
            fail_unsent(core, shard, frame->error);
            shard->state = SESSION_NONE;
        }
        momi_client_shard_unroute(core, shard, core->now_us + OPEN_AGAIN_US);
        break;
    }
}

/* M5, S1: a quiet leader may be none any more; whoever is asked says so. Consumers ask
 * in turns, whether anything was sent that did not come. */
static void check_quiet(struct momi_core *core, struct momi_client_shard *shard) {
    uint64_t quiet_us = core->now_us - shard->heard_us;
    if (!momi_list_empty(&shard->consumers)) {
        /* Also while others are served: the last delivery to this one may be lost. */
        struct momi_list *first = shard->consumers.next;
        struct momi_client_consumer *consumer =
            MOMI_CONTAINER_OF(first, struct momi_client_consumer, shard_link);
        momi_list_remove(first);
        momi_list_push_back(&shard->consumers, first); /* in turns */
        consumer->wants_sync = true;
        momi_client_consumer_touch(core->client, consumer);
    } else if (quiet_us >= CLIENT_IDLE_US && !awaits_answer(shard)) {
        send_opening(core, shard);
        await_answer(core, shard);
        momi_client_shard_arm(core, shard);
    }
}

void momi_client_ping(struct momi_core *core, uint32_t flags) {
    struct momi_client *client = core->client;
    uint64_t nodes[MOMI_SHARDS_MAX + 1];
    size_t count = 0;
    bool is_any_open = false;
    for (size_t i = 0; i <= MOMI_SHARDS_MAX; i++) {
        struct momi_client_shard *shard = client->shards[i];
        if (shard == NULL || shard->state != SESSION_OPEN) {
            continue;
        }
        is_any_open = true;
        momi_client_requests_again(core, shard);
        if (shard->node == 0) {
            continue;
        }
        momi_mesh_want_lane(core, shard->node);
        size_t at = 0;
        while (at < count && nodes[at] != shard->node) {
            at++;
        }
        if (at == count) {
            nodes[count++] = shard->node;
            momi_core_send(core, shard->node, FRAME_SESSION_PING)->flags = flags;
        }
        if ((flags & MOMI_FLAG_CLOSED) == 0) {
            check_quiet(core, shard);
        }
    }
    momi_client_timer_set(client, &client->ping,
                          is_any_open ? core->now_us + CLIENT_PING_US : MOMI_NEVER);
}

/* --- commands ------------------------------------------------------------------- */

bool momi_client_shard_takes_commands(const struct momi_client_shard *shard) {
    return shard->commands.count < MOMI_SESSION_WINDOW;
}

struct momi_client_command *momi_client_command_push(struct momi_core *core,
                                                     struct momi_client_shard *shard,
                                                     uint8_t type) {
    struct momi_bytes *scratch = &core->client->scratch;
    if (scratch->failed || shard->commands.count >= CLIENT_COMMANDS_MAX) {
        return NULL;
    }
    struct momi_buf *buf = momi_client_buf_get(core->client, scratch->size);
    if (buf == NULL) {
        return NULL;
    }
    struct momi_client_command *command = momi_ring_push(&shard->commands);
    if (command == NULL) {
        momi_client_buf_put(core->client, buf);
        return NULL;
    }
    memcpy(buf->data, scratch->data, scratch->size);
    buf->size = scratch->size;
    /* An open publish stays the last: it is on its own what more is gathered in. */
    if (shard->commands.count > 1) {
        struct momi_client_command *before =
            momi_ring_at(&shard->commands, shard->commands.count - 2);
        if (before->is_open) {
            *command = *before;
            memset(before, 0, sizeof *before);
            command = before;
        }
    }
    command->buf = buf;
    command->type = type;
    command->calls_due_us = MOMI_NEVER;
    momi_client_shard_touch(core->client, shard);
    return command;
}

void momi_client_command_remove(struct momi_core *core, struct momi_client_shard *shard,
                                size_t index) {
    MOMI_ASSERT(index >= shard->numbered);
    struct momi_client_command *removed = momi_ring_at(&shard->commands, index);
    momi_client_window_release(core->client, shard, removed);
    momi_client_buf_put(core->client, removed->buf);
    /* What it leaves in the ring of publishes, zeros, goes to the next one, or away. */
    if (index + 1 < shard->commands.count) {
        struct momi_client_command *next = momi_ring_at(&shard->commands, index + 1);
        next->calls_count += removed->calls_count;
    } else {
        momi_ring_pop_back(&shard->publishes, removed->calls_count);
    }
    for (size_t i = index + 1; i < shard->commands.count; i++) {
        struct momi_client_command *from = momi_ring_at(&shard->commands, i);
        *(struct momi_client_command *)momi_ring_at(&shard->commands, i - 1) = *from;
    }
    momi_ring_pop_back(&shard->commands, 1);
}

/* Gives the first command without number its number, in the header of its bytes. */
static void give_number(struct momi_client_shard *shard,
                        struct momi_client_command *command) {
    uint64_t number = shard->number_first + shard->numbered;
    if (command->is_open) {
        momi_client_publish_close(shard);
    }
    /* Written in place: the room is there since the command was made. */
    struct momi_bytes view = {.data = command->buf->data, .room = command->buf->room};
    (void)momi_command_begin(&view, command->type, shard->session, number,
                             shard->number_first - 1);
    view.size = command->buf->size;
    momi_command_finish(&view, 0);
    MOMI_ASSERT(view.data == command->buf->data);
    shard->numbered++;
    if (command->type == CMD_PUBLISH) {
        shard->publishes_unanswered++;
    }
}

/* Nothing may be numbered now: the window is full, or more is to be gathered first. */
static bool is_held_back(const struct momi_client_shard *shard,
                         const struct momi_client_command *command) {
    return shard->numbered >= MOMI_SESSION_WINDOW ||
           (command->is_open &&
            shard->publishes_unanswered >= CLIENT_PUBLISHES_UNANSWERED_MAX);
}

static void send_commands(struct momi_core *core, struct momi_client_shard *shard) {
    struct momi_frame *frame = NULL;
    size_t frame_bytes = 0;
    for (; shard->sent < shard->commands.count; shard->sent++) {
        struct momi_client_command *command = momi_ring_at(&shard->commands, shard->sent);
        if (shard->sent >= shard->numbered) {
            if (is_held_back(shard, command)) {
                break;
            }
            give_number(shard, command);
        } else if (MUTANT(GIVEN_UP_DROPPED) && command->is_given_up) {
            continue;
        }
        if (frame == NULL || frame_bytes + command->buf->size > MOMI_ENTRY_BYTES_TARGET) {
            frame = momi_core_send(core, shard->node, FRAME_COMMANDS);
            frame->shard = shard->shard;
            frame->session = shard->session;
            frame_bytes = 0;
        }
        momi_frame_add_part(core->effects, frame, command->buf,
                            momi_buf_slice(command->buf));
        frame_bytes += command->buf->size;
    }
}

void momi_client_shard_pump(struct momi_core *core, struct momi_client_shard *shard) {
    momi_list_remove(&shard->dirty_link);
    if (!needs_route(shard) || !find_leader(core, shard)) {
        if (needs_route(shard) && momi_mesh_is_damaged(core, shard->shard)) {
            fail_damaged(core, shard);
        }
        momi_list_remove(&shard->dirty_link); /* it waits for its timer or for news */
        momi_client_shard_arm(core, shard);
        return;
    }
    if (!momi_core_has_room(core, shard->node)) {
        momi_client_shard_touch(core->client, shard); /* looks again in the next turn */
        momi_client_shard_arm(core, shard);
        return;
    }
    if (shard->state != SESSION_OPEN) {
        if (needs_session(shard)) {
            open_session(core, shard);
        }
    } else {
        MOMI_LIST_FOR_EACH_SAFE (link, after, &shard->consumers_dirty) {
            momi_client_consumer_pump(
                core, MOMI_CONTAINER_OF(link, struct momi_client_consumer, dirty_link));
        }
        send_commands(core, shard);
    }
    momi_client_requests_send(core, shard);
    await_answer(core, shard);
    momi_list_remove(&shard->dirty_link);
    momi_client_shard_arm(core, shard);
}

void momi_client_shard_time(struct momi_core *core, struct momi_client_shard *shard) {
    if (shard->calls_due_us <= core->now_us) {
        momi_client_publish_expire(core, shard);
    }
    if (shard->node == 0) {
        momi_client_shard_touch(core->client, shard);
    } else if (shard->retry_us <= core->now_us) {
        /* No answer: it is lost, or the node leads no more, or both are slow. All of it
         * goes again; the numbers make that harmless (S2). */
        shard->timeouts++;
        if (!shard->has_answered || shard->timeouts > 1) {
            momi_mesh_leader_lost(core, shard->shard, shard->node);
        }
        momi_trace(core, "client-no-answer", shard->shard, shard->node, shard->timeouts);
        momi_client_shard_unroute(core, shard, core->now_us);
    }
    momi_client_shard_arm(core, shard);
}

/* --- results -------------------------------------------------------------------- */

static int class_of(uint64_t number) {
    return number == 0                        ? MOM_OK
           : number <= (uint64_t)-MOM_VERSION ? -(int)number
                                              : MOM_VERSION;
}

void momi_client_results(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame) {
    struct momi_client_shard *shard = core->client->shards[frame->shard];
    if (shard->state != SESSION_OPEN ||
        !momi_session_id_equal(frame->session, shard->session)) {
        return; /* of a session that is gone */
    }
    if (frame->count == 0) {
        if (frame->error == MOM_NOT_FOUND && node == shard->node) {
            momi_client_shard_heard(core, shard, node);
            momi_client_session_lost(core, shard);
        }
        return;
    }
    struct momi_reader in = momi_reader(frame->payload);
    for (uint32_t i = 0; i < frame->count; i++) {
        int error = class_of(momi_get_varint(&in));
        uint64_t value = momi_get_varint(&in);
        uint64_t number = frame->number + i;
        if (in.failed) {
            core->counters.frames_dropped++;
            break;
        }
        if (MUTANT(LATE_RESULT) && number < shard->number_first) {
            number = shard->number_first;
        }
        if (number < shard->number_first ||
            number - shard->number_first >= shard->numbered) {
            continue; /* known, or never asked */
        }
        struct momi_client_command *command =
            momi_ring_at(&shard->commands, (size_t)(number - shard->number_first));
        if (!command->is_answered) {
            command->is_answered = true;
            command->error = error;
            command->value = value;
            command->synced_copies = (uint32_t)frame->index;
        }
    }
    while (shard->numbered > 0) {
        const struct momi_client_command *first = momi_ring_at(&shard->commands, 0);
        if (!first->is_answered) {
            break;
        }
        finish_first(core, shard);
    }
    momi_client_shard_heard(core, shard, node);
    momi_client_shard_touch(core->client, shard);
}
