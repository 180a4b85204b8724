/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers of this program: their life, their calls, and when their buffer is given back
 * (M4, M7). What they tell their leader is in client_credit.c, what they get from it in
 * client_deliver.c.
 *
 * The program's consumer outlives its attachments: when the session expires, or the
 * leader has detached it for silence, the buffer is void and it attaches again under a
 * new number of the wire.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/filter.h"

static const struct momi_slice no_text = {0};

/* --- maps, lists, timer --------------------------------------------------------- */

struct momi_client_consumer *momi_client_consumer_find(const struct momi_client *client,
                                                       uint64_t handle) {
    struct momi_map_node *node =
        momi_map_first(&client->consumers_by_handle, momi_hash_u64(handle));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_client_consumer *consumer =
            MOMI_CONTAINER_OF(node, struct momi_client_consumer, by_handle);
        if (consumer->handle == handle) {
            return consumer;
        }
    }
    return NULL;
}

struct momi_client_consumer *
momi_client_consumer_find_wire(const struct momi_client *client, uint64_t id) {
    struct momi_map_node *node =
        momi_map_first(&client->consumers_by_wire, momi_hash_u64(id));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_client_consumer *consumer =
            MOMI_CONTAINER_OF(node, struct momi_client_consumer, by_wire);
        if (consumer->id == id) {
            return consumer;
        }
    }
    return NULL;
}

void momi_client_consumer_touch(struct momi_client *client,
                                struct momi_client_consumer *consumer) {
    struct momi_client_shard *shard = consumer->shard;
    if (!momi_list_linked(&consumer->dirty_link)) {
        momi_list_push_back(&shard->consumers_dirty, &consumer->dirty_link);
    }
    momi_client_shard_touch(client, shard);
}

static uint64_t lease_us(const struct momi_client_consumer *consumer) {
    return consumer->lease_us != 0 ? consumer->lease_us : MOMI_LEASE_DEFAULT_US;
}

static uint64_t taken_to(const struct momi_client_consumer *consumer) {
    return consumer->handed > consumer->voided ? consumer->handed : consumer->voided;
}

static bool is_buffer_empty(const struct momi_client_consumer *consumer) {
    return consumer->delivered <= taken_to(consumer);
}

/* M4: when buffered messages have waited for one lease; MOMI_NEVER: none do. */
static uint64_t return_due_us(const struct momi_client_consumer *consumer) {
    if (is_buffer_empty(consumer) || !momi_list_empty(&consumer->polls)) {
        return MOMI_NEVER;
    }
    uint64_t since_us = consumer->buffered_us > consumer->receive_us
                            ? consumer->buffered_us
                            : consumer->receive_us;
    return momi_client_later(since_us, lease_us(consumer));
}

static uint64_t gave_up_due_us(const struct momi_client_consumer *consumer) {
    return consumer->gave_up_us == 0 || consumer->is_paused
               ? MOMI_NEVER
               : consumer->gave_up_us + CLIENT_GAVE_UP_US;
}

void momi_client_consumer_arm(struct momi_core *core,
                              struct momi_client_consumer *consumer) {
    uint64_t due_us = MOMI_NEVER;
    if (consumer->state == CONSUMER_NEW && consumer->attach_us > core->now_us) {
        due_us = consumer->attach_us;
    } else if (consumer->state == CONSUMER_ATTACHED && !consumer->is_closing) {
        due_us = momi_earlier(return_due_us(consumer), gave_up_due_us(consumer));
        if (consumer->untold_us != 0) {
            uint64_t tell_us = consumer->untold_us + lease_us(consumer) / 10;
            /* Past that, it waits for results, which look again. */
            due_us = tell_us > core->now_us ? momi_earlier(due_us, tell_us) : due_us;
        }
    }
    momi_client_timer_set(core->client, &consumer->timer, due_us);
}

void momi_client_consumer_time(struct momi_core *core,
                               struct momi_client_consumer *consumer) {
    if (consumer->state == CONSUMER_ATTACHED && !consumer->is_closing) {
        if (return_due_us(consumer) <= core->now_us) {
            momi_client_return_buffered(core, consumer);
            consumer->is_paused = true;
        }
        if (gave_up_due_us(consumer) <= core->now_us) {
            consumer->is_paused = true;
            consumer->gave_up_us = 0;
        }
    }
    momi_client_consumer_touch(core->client, consumer);
    momi_client_consumer_arm(core, consumer);
}

/* --- life ----------------------------------------------------------------------- */

static bool copy_name(struct momi_slice *to, struct momi_slice from) {
    uint8_t *copy = momi_alloc(from.size);
    if (copy == NULL) {
        return false;
    }
    if (from.size > 0) {
        memcpy(copy, from.data, from.size);
    }
    *to = momi_slice(copy, from.size);
    return true;
}

static void new_wire_number(struct momi_client *client,
                            struct momi_client_consumer *consumer) {
    consumer->id = ++client->consumer_next;
    momi_map_insert(&client->consumers_by_wire, &consumer->by_wire,
                    momi_hash_u64(consumer->id));
}

static struct momi_client_consumer *consumer_new(struct momi_core *core,
                                                 struct momi_client_shard *shard,
                                                 const struct momi_call *call) {
    struct momi_client *client = core->client;
    struct momi_client_consumer *consumer = momi_calloc(1, sizeof *consumer);
    if (consumer == NULL) {
        return NULL;
    }
    if (!copy_name(&consumer->name, call->name) ||
        !copy_name(&consumer->subscription, call->subscription) ||
        !momi_client_timer_init(client, &consumer->timer, CLIENT_TIMER_CONSUMER)) {
        momi_free((void *)(uintptr_t)consumer->name.data);
        momi_free((void *)(uintptr_t)consumer->subscription.data);
        momi_free(consumer);
        return NULL;
    }
    consumer->handle = call->consumer;
    consumer->shard = shard;
    consumer->kind = call->kind;
    consumer->lease_us = call->lease_us;
    consumer->prefetch = call->prefetch == 0 ? CLIENT_PREFETCH_DEFAULT : call->prefetch;
    consumer->limit = call->limit;
    consumer->receive_us = core->now_us;
    consumer->request.consumer = consumer;
    momi_ring_init(&consumer->buffered, sizeof(struct momi_client_buffered));
    momi_list_init(&consumer->polls);
    momi_list_init(&consumer->flushes);
    momi_list_init(&consumer->dirty_link);
    momi_list_init(&consumer->request.link);
    momi_list_init(&consumer->shard_link);
    momi_list_init(&consumer->link);
    momi_list_push_back(&shard->consumers, &consumer->shard_link);
    momi_list_push_back(&client->consumers, &consumer->link);
    momi_map_insert(&client->consumers_by_handle, &consumer->by_handle,
                    momi_hash_u64(consumer->handle));
    new_wire_number(client, consumer);
    return consumer;
}

static void forget_handle(struct momi_client *client,
                          struct momi_client_consumer *consumer) {
    if (consumer->handle != 0) {
        momi_map_remove(&client->consumers_by_handle, &consumer->by_handle);
        consumer->handle = 0;
    }
}

void momi_client_consumer_free(struct momi_client *client,
                               struct momi_client_consumer *consumer) {
    forget_handle(client, consumer);
    momi_client_request_stop(client, &consumer->request);
    momi_map_remove(&client->consumers_by_wire, &consumer->by_wire);
    momi_list_remove(&consumer->dirty_link);
    momi_list_remove(&consumer->shard_link);
    momi_list_remove(&consumer->link);
    momi_client_timer_drop(client, &consumer->timer);
    momi_ring_free(&consumer->buffered);
    momi_free(consumer->settles);
    momi_free((void *)(uintptr_t)consumer->name.data);
    momi_free((void *)(uintptr_t)consumer->subscription.data);
    momi_free(consumer);
}

static void finish_list(struct momi_core *core, struct momi_list *calls, int error) {
    while (!momi_list_empty(calls)) {
        momi_client_finish(core,
                           MOMI_CONTAINER_OF(calls->next, struct momi_client_call, link),
                           error, 0, no_text);
    }
}

static void finish_open(struct momi_core *core, struct momi_client_consumer *consumer,
                        int error) {
    struct momi_client_call *call = consumer->open_call;
    consumer->open_call = NULL;
    if (call != NULL) {
        momi_client_finish(core, call, error, 0, no_text);
    }
}

/* The worse of two: not done, or nobody knows. */
static int worse(int a, int b) {
    if (a == MOM_UNKNOWN_OUTCOME || b == MOM_UNKNOWN_OUTCOME) {
        return MOM_UNKNOWN_OUTCOME;
    }
    return a != MOM_OK ? a : b;
}

void momi_client_consumer_missed(struct momi_client_consumer *consumer, int error) {
    consumer->flush_error = worse(consumer->flush_error, error);
}

/* Of the settlements [from, to) some, or all, came to nothing. Where only a part of them
 * belongs to a flush, it cannot say whether it is that part. */
enum missed { MISSED_SOME, MISSED_ALL };
static void note_missed(struct momi_client_consumer *consumer, uint64_t from, uint64_t to,
                        enum missed missed, int error) {
    MOMI_LIST_FOR_EACH (link, &consumer->flushes) {
        struct momi_client_call *call =
            MOMI_CONTAINER_OF(link, struct momi_client_call, link);
        if (from < call->flush_at && to > call->flush_from) {
            bool is_inside = from >= call->flush_from && to <= call->flush_at;
            call->flush_error =
                worse(call->flush_error,
                      is_inside || missed == MISSED_ALL ? error : MOM_UNKNOWN_OUTCOME);
        }
    }
    if (to > consumer->flushed_to) {
        bool is_inside = from >= consumer->flushed_to;
        momi_client_consumer_missed(
            consumer, is_inside || missed == MISSED_ALL ? error : MOM_UNKNOWN_OUTCOME);
    }
}

static void check_flushes(struct momi_core *core, struct momi_client_consumer *consumer) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &consumer->flushes) {
        struct momi_client_call *call =
            MOMI_CONTAINER_OF(link, struct momi_client_call, link);
        if (consumer->settles_done < call->flush_at) {
            return;
        }
        momi_client_finish(core, call, call->flush_error, 0, no_text);
    }
}

/* No answer will come for any of them. In flight: nobody knows; else `error`: not done.
 */
static void lose_settles(struct momi_core *core, struct momi_client_consumer *consumer,
                         int error) {
    uint64_t queued = 0;
    for (size_t i = 0; i < consumer->settles_count; i++) {
        queued += consumer->settles[i].count;
    }
    uint64_t told = consumer->settles_added - queued;
    if (consumer->settles_done < told) {
        note_missed(consumer, consumer->settles_done, told, MISSED_ALL,
                    MOM_UNKNOWN_OUTCOME);
    }
    if (queued > 0) {
        note_missed(consumer, told, consumer->settles_added, MISSED_ALL, error);
    }
    consumer->settles_done = consumer->settles_added;
    consumer->settles_count = 0;
    consumer->settles_unanswered = 0;
    consumer->consumes_unanswered = 0;
    check_flushes(core, consumer);
}

/* It is detached, or never was attached. */
static void finish_close(struct momi_core *core, struct momi_client_consumer *consumer,
                         int error) {
    struct momi_client_call *call = consumer->close_call;
    consumer->close_call = NULL;
    finish_open(core, consumer, MOM_CLOSED);
    finish_list(core, &consumer->polls, MOM_CLOSED);
    lose_settles(core, consumer, MOM_CLOSED);
    if (call != NULL) {
        momi_client_finish(core, call, error, 0, no_text);
    }
    momi_client_consumer_free(core->client, consumer);
}

void momi_client_consumer_end(struct momi_core *core,
                              struct momi_client_consumer *consumer, int error) {
    if (consumer->is_closing) {
        finish_close(core, consumer, MOM_OK);
        return;
    }
    momi_trace(core, "client-consumer-ended", consumer->shard->shard, consumer->handle,
               (uint64_t)-error);
    finish_list(core, &consumer->polls, error);
    lose_settles(core, consumer, error);
    if (consumer->open_call != NULL) {
        finish_open(core, consumer, error);
        momi_client_consumer_free(core->client, consumer);
        return;
    }
    struct momi_effect *effect = momi_effect_add(core->effects, FX_CONSUMER_ENDED);
    effect->token = consumer->handle;
    effect->error = error;
    consumer->state = CONSUMER_ENDED;
    consumer->error = error;
    momi_client_request_stop(core->client, &consumer->request);
    momi_list_remove(&consumer->dirty_link);
    momi_list_remove(&consumer->shard_link);
    momi_client_timer_set(core->client, &consumer->timer, MOMI_NEVER);
}

void momi_client_consumer_lost(struct momi_core *core,
                               struct momi_client_consumer *consumer) {
    struct momi_client *client = core->client;
    if (consumer->is_closing) {
        finish_close(core, consumer, MOM_OK);
        return;
    }
    if (consumer->state == CONSUMER_NEW || consumer->state == CONSUMER_ENDED) {
        return;
    }
    momi_trace(core, "client-consumer-lost", consumer->shard->shard, consumer->handle,
               consumer->delivered);
    if (consumer->state == CONSUMER_ATTACHED) {
        momi_client_void_messages(core, consumer, consumer->delivered);
    }
    lose_settles(core, consumer, MOM_CONFLICT);
    momi_client_request_stop(client, &consumer->request);
    momi_ring_pop_front(&consumer->buffered, consumer->buffered.count);
    momi_map_remove(&client->consumers_by_wire, &consumer->by_wire);
    new_wire_number(client, consumer);
    consumer->base += consumer->delivered;
    consumer->delivered = consumer->handed = consumer->voided = 0;
    consumer->handed_told = consumer->promised = 0;
    consumer->credit_told = consumer->credit_acked = consumer->credit_max = 0;
    consumer->untold_us = 0;
    consumer->wants_sync = false;
    consumer->state = CONSUMER_NEW;
    consumer->attach_us = core->now_us;
    momi_client_consumer_touch(client, consumer);
    momi_client_consumer_arm(core, consumer);
}

/* --- calls ---------------------------------------------------------------------- */

int momi_client_consumer_check(const struct momi_call *call) {
    if (call->consumer == 0) {
        return momi_err(MOM_INVALID, "no consumer given");
    }
    if (call->type != CALL_CONSUMER_OPEN) {
        return MOM_OK;
    }
    if (call->kind != MOMI_KIND_QUEUE && call->kind != MOMI_KIND_TOPIC) {
        return momi_err(MOM_INVALID, "neither a queue nor a topic");
    }
    int error = momi_name_check(MOMI_NAME_STREAM, call->name);
    if (error == MOM_OK && call->kind == MOMI_KIND_TOPIC) {
        error = momi_name_check(MOMI_NAME_SUBSCRIPTION, call->subscription);
    }
    if (error != MOM_OK) {
        return error;
    }
    if (call->kind == MOMI_KIND_QUEUE && call->subscription.size > 0) {
        return momi_err(MOM_INVALID, "a queue has no subscriptions");
    }
    if (call->prefetch > MOMI_CREDIT_MAX) {
        return momi_err(MOM_INVALID, "prefetch of %u, at most %u", call->prefetch,
                        MOMI_CREDIT_MAX);
    }
    return MOM_OK;
}

static void open_consumer(struct momi_core *core, struct momi_client_call *call) {
    struct momi_client *client = core->client;
    if (momi_client_consumer_find(client, call->call.consumer) != NULL) {
        momi_client_finish(core, call, MOM_INVALID, 0, no_text);
        return;
    }
    struct momi_client_shard *shard =
        momi_client_shard(core, momi_client_shard_of_name(core, call->call.name));
    struct momi_client_consumer *consumer =
        shard == NULL ? NULL : consumer_new(core, shard, &call->call);
    if (consumer == NULL) {
        momi_client_finish(core, call, MOM_NO_MEMORY, 0, no_text);
        return;
    }
    momi_client_publish_close(shard); /* what was published before is there before */
    call->state = CALL_STATE_OPENING;
    call->consumer = consumer;
    consumer->open_call = call;
    momi_client_consumer_touch(client, consumer);
}

static void close_consumer(struct momi_core *core, struct momi_client_consumer *consumer,
                           struct momi_client_call *call) {
    call->state = CALL_STATE_CLOSING;
    call->consumer = consumer;
    consumer->close_call = call;
    consumer->is_closing = true;
    forget_handle(core->client, consumer);
    finish_list(core, &consumer->polls, MOM_CLOSED);
    if (consumer->state == CONSUMER_NEW || consumer->state == CONSUMER_ENDED) {
        finish_close(core, consumer, MOM_OK);
        return;
    }
    finish_open(core, consumer, MOM_CLOSED);
    momi_client_consumer_touch(core->client, consumer);
}

/* M7, and the sign that the program waits. */
static void poll_consumer(struct momi_core *core, struct momi_client_consumer *consumer,
                          struct momi_client_call *call) {
    consumer->receive_us = core->now_us;
    consumer->gave_up_us = 0;
    if (!is_buffer_empty(consumer)) {
        momi_client_finish(core, call, MOM_OK, 0, no_text);
        momi_client_consumer_arm(core, consumer);
        return;
    }
    consumer->is_paused = false;
    call->state = CALL_STATE_POLLING;
    call->consumer = consumer;
    call->poll_request = core->client->request_next + 1;
    momi_list_push_back(&consumer->polls, &call->link);
    momi_client_consumer_touch(core->client, consumer);
    momi_client_consumer_arm(core, consumer);
}

/* It covers what was settled since the flush before. */
static void flush_consumer(struct momi_core *core, struct momi_client_consumer *consumer,
                           struct momi_client_call *call) {
    call->flush_from = consumer->flushed_to;
    call->flush_at = consumer->settles_added;
    call->flush_error = consumer->flush_error;
    consumer->flushed_to = consumer->settles_added;
    consumer->flush_error = MOM_OK;
    call->state = CALL_STATE_FLUSHING;
    call->consumer = consumer;
    momi_list_push_back(&consumer->flushes, &call->link);
    check_flushes(core, consumer);
}

void momi_client_consumer_call(struct momi_core *core, struct momi_client_call *call) {
    if (call->call.type == CALL_CONSUMER_OPEN) {
        open_consumer(core, call);
        return;
    }
    struct momi_client_consumer *consumer =
        momi_client_consumer_find(core->client, call->call.consumer);
    if (consumer == NULL) {
        momi_client_finish(core, call, MOM_NOT_FOUND, 0, no_text);
    } else if (call->call.type == CALL_CONSUMER_CLOSE) {
        close_consumer(core, consumer, call);
    } else if (consumer->state == CONSUMER_ENDED) {
        momi_client_finish(core, call, consumer->error, 0, no_text);
    } else if (call->call.type == CALL_CONSUMER_POLL) {
        poll_consumer(core, consumer, call);
    } else {
        flush_consumer(core, consumer, call);
    }
}

static void poll_ended(struct momi_core *core, struct momi_client_consumer *consumer) {
    if (momi_list_empty(&consumer->polls)) {
        consumer->gave_up_us = core->now_us;
        consumer->receive_us = core->now_us;
    }
    momi_client_consumer_arm(core, consumer);
}

void momi_client_consumer_call_expired(struct momi_core *core,
                                       struct momi_client_call *call) {
    struct momi_client_consumer *consumer = call->consumer;
    switch (call->state) {
    case CALL_STATE_OPENING:
        consumer->open_call = NULL;
        if (consumer->state == CONSUMER_NEW) {
            struct momi_slice text = momi_client_shards_text(
                core, "no leader reached of shard", &consumer->shard->shard, 1);
            momi_client_finish(core, call, MOM_TIMEOUT, 0, text);
            finish_close(core, consumer, MOM_OK);
        } else {
            momi_client_finish(core, call, MOM_UNKNOWN_OUTCOME, 0, no_text);
            consumer->is_closing = true; /* detached as soon as it is attached */
            forget_handle(core->client, consumer);
            momi_client_consumer_touch(core->client, consumer);
        }
        break;
    case CALL_STATE_CLOSING:
        consumer->close_call = NULL;
        momi_client_finish(core, call, MOM_UNKNOWN_OUTCOME, 0, no_text);
        break;
    case CALL_STATE_POLLING:
        momi_client_finish(core, call, MOM_TIMEOUT, 0, no_text);
        poll_ended(core, consumer);
        break;
    default:
        momi_client_finish(core, call, MOM_UNKNOWN_OUTCOME, 0, no_text);
        break;
    }
}

/* --- what comes back ------------------------------------------------------------ */

static void attached(struct momi_core *core, struct momi_client_consumer *consumer,
                     const struct momi_client_command *command) {
    if (command->error == MOM_OK) {
        consumer->state = CONSUMER_ATTACHED;
        consumer->group = command->value;
        consumer->wants_sync = false; /* nothing was delivered before */
        consumer->credit_acked = command->credit;
        consumer->receive_us = core->now_us;
        finish_open(core, consumer, MOM_OK);
        momi_client_consumer_touch(core->client, consumer);
        return;
    }
    bool is_passing = command->error == MOM_FULL || command->error == MOM_UNAVAILABLE ||
                      command->error == MOM_NO_MEMORY;
    if (is_passing && consumer->open_call == NULL && !consumer->is_closing) {
        consumer->state = CONSUMER_NEW;
        consumer->attach_us = core->now_us + CLIENT_ATTACH_AGAIN_US;
        momi_client_consumer_touch(core->client, consumer);
        momi_client_consumer_arm(core, consumer);
    } else {
        momi_client_consumer_end(core, consumer, command->error);
    }
}

static void consumed(struct momi_core *core, struct momi_client_consumer *consumer,
                     const struct momi_client_command *command) {
    uint64_t from = consumer->settles_done;
    uint64_t to = from + command->settled;
    consumer->consumes_unanswered--;
    consumer->settles_unanswered -= command->settled > 0 ? 1 : 0;
    if (command->error != MOM_OK) {
        note_missed(consumer, from, to, MISSED_ALL, MOM_CONFLICT);
    } else {
        consumer->credit_acked = command->credit;
        if (command->value < command->settled && command->expected > 0) {
            /* Extensions and returns count as well, and may be what came too late. */
            bool is_sure = command->expected == command->settled;
            note_missed(consumer, from, to,
                        command->value == 0 ? MISSED_ALL : MISSED_SOME,
                        is_sure ? MOM_CONFLICT : MOM_UNKNOWN_OUTCOME);
        }
    }
    consumer->settles_done = to;
    check_flushes(core, consumer);
    if (command->error == MOM_NOT_FOUND) {
        momi_client_consumer_lost(core, consumer);
    } else if (command->error != MOM_OK) {
        momi_client_consumer_end(core, consumer, command->error);
    } else {
        momi_client_consumer_touch(core->client, consumer);
    }
}

void momi_client_consumer_result(struct momi_core *core,
                                 const struct momi_client_command *command) {
    struct momi_client_consumer *consumer =
        momi_client_consumer_find_wire(core->client, command->consumer);
    if (consumer == NULL || consumer->state == CONSUMER_ENDED) {
        return; /* of an attachment that is gone */
    }
    switch (command->type) {
    case CMD_CONSUMER_ATTACH:
        attached(core, consumer, command);
        break;
    case CMD_CONSUMER_DETACH:
        finish_close(core, consumer,
                     command->error == MOM_NOT_FOUND ? MOM_OK : command->error);
        break;
    default:
        consumed(core, consumer, command);
        break;
    }
}

void momi_client_consumer_arrived(struct momi_core *core,
                                  struct momi_client_consumer *consumer) {
    finish_list(core, &consumer->polls, MOM_OK);
    consumer->receive_us = core->now_us;
}

void momi_client_consumer_answered(struct momi_core *core,
                                   struct momi_client_consumer *consumer,
                                   uint64_t request, int error, uint64_t number) {
    if (error == MOM_NOT_FOUND) {
        momi_client_consumer_lost(core, consumer);
        return;
    }
    if (error == MOM_OK && number > consumer->delivered) {
        consumer->promised = number; /* comes, or is asked for again when it is quiet */
    } else if (consumer->request_is_poll) {
        MOMI_LIST_FOR_EACH_SAFE (link, after, &consumer->polls) {
            struct momi_client_call *call =
                MOMI_CONTAINER_OF(link, struct momi_client_call, link);
            if (call->poll_request > request) {
                continue; /* came after the question */
            }
            call->poll_request = UINT64_MAX;
            if (call->call.deadline_us != MOMI_NEVER) {
                momi_client_finish(core, call, error == MOM_OK ? MOM_EMPTY : error, 0,
                                   no_text);
                poll_ended(core, consumer);
            }
        }
    }
    momi_client_consumer_touch(core->client, consumer);
}
