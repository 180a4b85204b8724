/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What consumers tell their leaders: attach, credit, hand-out, settlements, detach (M4,
 * M5). Derived from their state whenever their shard has a session and something changed;
 * at most one CMD_CONSUME of each goes in a turn, and a few wait for their results. What
 * comes meanwhile gathers.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/checkout.h"
#include "core/client_internal.h"

enum { SETTLES_ROOM_FIRST = 64 };

static uint64_t taken_to(const struct momi_client_consumer *consumer) {
    return consumer->handed > consumer->voided ? consumer->handed : consumer->voided;
}

/* --- from the program ----------------------------------------------------------- */

static void drop_buffered(struct momi_client_consumer *consumer, uint64_t number) {
    while (consumer->buffered.count > 0) {
        struct momi_client_buffered *first = momi_ring_at(&consumer->buffered, 0);
        if (first->delivery > number) {
            return;
        }
        uint64_t count = number - first->delivery + 1;
        if (count < first->count) {
            first->delivery += count;
            first->counter += count;
            first->count -= (uint32_t)count;
            return;
        }
        momi_ring_pop_front(&consumer->buffered, 1);
    }
}

void momi_client_consumer_taken(struct momi_core *core, uint64_t handle, uint64_t number,
                                uint64_t total) {
    struct momi_client_consumer *consumer =
        momi_client_consumer_find(core->client, handle);
    if (consumer == NULL || consumer->state == CONSUMER_ENDED) {
        return;
    }
    consumer->receive_us = core->now_us;
    consumer->gave_up_us = 0;
    consumer->is_paused = false;
    consumer->taken = total;
    uint64_t wire = number > consumer->base ? number - consumer->base : 0;
    wire = wire > consumer->delivered ? consumer->delivered : wire;
    if (wire > consumer->handed) {
        consumer->handed = wire;
        consumer->untold_us =
            consumer->untold_us == 0 ? core->now_us : consumer->untold_us;
        drop_buffered(consumer, wire);
    }
    momi_client_consumer_touch(core->client, consumer);
    momi_client_consumer_arm(core, consumer);
}

/* True: `next` follows `settle`, which has grown by it. */
static bool extend(struct momi_settle *settle, const struct momi_settle *next) {
    if (settle->action != next->action || settle->token.epoch != next->token.epoch ||
        settle->token.counter + settle->count != next->token.counter ||
        settle->count > UINT32_MAX - next->count) {
        return false;
    }
    settle->count += next->count;
    return true;
}

/* Merges the two last ranges as long as they touch: threads acknowledge out of order. */
static void merge_last(struct momi_client_consumer *consumer) {
    while (consumer->settles_count > 1) {
        struct momi_settle *last = &consumer->settles[consumer->settles_count - 1];
        struct momi_settle *before = last - 1;
        struct momi_settle joined = *last;
        if (extend(before, last)) {
            consumer->settles_count--;
        } else if (extend(&joined, before)) {
            *before = joined;
            consumer->settles_count--;
        } else {
            return;
        }
    }
}

void momi_client_consumer_add_settle(struct momi_client_consumer *consumer,
                                     const struct momi_settle *settle) {
    if (consumer->settles_count == consumer->settles_room) {
        size_t room =
            consumer->settles_room == 0 ? SETTLES_ROOM_FIRST : consumer->settles_room * 2;
        struct momi_settle *settles =
            momi_realloc(consumer->settles, room * sizeof *settles);
        if (settles == NULL) {
            /* Not told: its lease ends, and the message comes again. */
            momi_client_consumer_missed(consumer, MOM_CONFLICT);
            return;
        }
        consumer->settles = settles;
        consumer->settles_room = room;
    }
    consumer->settles[consumer->settles_count++] = *settle;
    consumer->settles_added += settle->count;
    merge_last(consumer);
}

void momi_client_consumer_settle(struct momi_core *core, uint64_t handle,
                                 const struct momi_settle *settles, size_t count) {
    struct momi_client_consumer *consumer =
        momi_client_consumer_find(core->client, handle);
    if (consumer == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (settles[i].count == 0 || settles[i].action < MOMI_SETTLE_ACK ||
            settles[i].action > MOMI_SETTLE_EXTEND) {
            continue;
        }
        if (consumer->state == CONSUMER_ATTACHED) {
            momi_client_consumer_add_settle(consumer, &settles[i]);
        } else { /* a lease of an attachment that is gone: too late */
            momi_client_consumer_missed(consumer, MOM_CONFLICT);
        }
    }
    if (consumer->state == CONSUMER_ATTACHED) {
        momi_client_consumer_touch(core->client, consumer);
    }
}

/* --- to the leader -------------------------------------------------------------- */

static struct momi_bytes *begin(struct momi_core *core, uint8_t type) {
    struct momi_bytes *scratch = &core->client->scratch;
    momi_bytes_clear(scratch);
    (void)momi_command_begin(scratch, type, (struct momi_session_id){0}, 0, 0);
    return scratch;
}

static struct momi_client_command *
push(struct momi_core *core, struct momi_client_consumer *consumer, uint8_t type) {
    struct momi_client_command *command =
        momi_client_command_push(core, consumer->shard, type);
    if (command != NULL) {
        command->consumer = consumer->id;
    }
    return command;
}

/* Messages wanted beyond those taken: the prefetch, and never more than the program will
 * take, so that what is left of the stream is there for others. */
static uint64_t wanted_messages(const struct momi_client_consumer *consumer) {
    if (consumer->limit == 0) {
        return consumer->prefetch;
    }
    uint64_t left =
        consumer->limit > consumer->taken ? consumer->limit - consumer->taken : 0;
    return left < consumer->prefetch ? left : consumer->prefetch;
}

static uint64_t wanted_credit(const struct momi_client_consumer *consumer) {
    if (!consumer->is_paused) {
        return taken_to(consumer) + wanted_messages(consumer);
    }
    return consumer->credit_told < consumer->delivered ? consumer->credit_told
                                                       : consumer->delivered;
}

static bool attach(struct momi_core *core, struct momi_client_consumer *consumer) {
    struct momi_consumer_attach body = {.kind = consumer->kind,
                                        .name = consumer->name,
                                        .subscription = consumer->subscription,
                                        .consumer = consumer->id,
                                        .lease_us = consumer->lease_us,
                                        .credit = wanted_credit(consumer),
                                        .group = consumer->group};
    momi_consumer_attach_put(begin(core, CMD_CONSUMER_ATTACH), &body);
    struct momi_client_command *command = push(core, consumer, CMD_CONSUMER_ATTACH);
    if (command == NULL) {
        return false;
    }
    command->credit = body.credit;
    consumer->credit_told = body.credit;
    consumer->credit_max = body.credit;
    consumer->state = CONSUMER_ATTACHING;
    return true;
}

static bool is_to_be_told(const struct momi_core *core,
                          const struct momi_client_consumer *consumer) {
    if (consumer->consumes_unanswered >= CLIENT_CONSUMES_UNANSWERED_MAX) {
        return false;
    }
    uint64_t wanted = wanted_credit(consumer);
    if (consumer->settles_count > 0 || wanted < consumer->credit_told) {
        return true;
    }
    uint64_t moved = wanted - consumer->credit_told;
    if (moved > 0 && moved >= consumer->prefetch / 4) {
        return true;
    }
    bool is_empty = consumer->delivered <= taken_to(consumer);
    bool waits = !momi_list_empty(&consumer->polls) ||
                 consumer->credit_told <= consumer->delivered;
    if (moved > 0 && is_empty && waits) {
        return true;
    }
    uint64_t lease_us =
        consumer->lease_us != 0 ? consumer->lease_us : MOMI_LEASE_DEFAULT_US;
    return consumer->untold_us != 0 &&
           core->now_us >= consumer->untold_us + lease_us / 10;
}

static void count_settles(struct momi_client_command *command,
                          const struct momi_settle *settles, size_t count) {
    for (size_t i = 0; i < count; i++) {
        command->settled += settles[i].count;
        bool must_hold = settles[i].action == MOMI_SETTLE_ACK ||
                         settles[i].action == MOMI_SETTLE_GIVE_BACK ||
                         settles[i].action == MOMI_SETTLE_REJECT;
        command->expected += must_hold ? settles[i].count : 0;
    }
}

static bool consume(struct momi_core *core, struct momi_client_consumer *consumer) {
    size_t count = consumer->settles_count < CLIENT_SETTLES_MAX ? consumer->settles_count
                                                                : CLIENT_SETTLES_MAX;
    uint64_t credit = wanted_credit(consumer);
    momi_checkout_put_consume(begin(core, CMD_CONSUME), consumer->id, credit,
                              consumer->handed, consumer->settles, count);
    struct momi_client_command *command = push(core, consumer, CMD_CONSUME);
    if (command == NULL) {
        return false;
    }
    count_settles(command, consumer->settles, count);
    command->credit = credit;
    consumer->credit_told = credit;
    consumer->credit_max = credit > consumer->credit_max ? credit : consumer->credit_max;
    consumer->handed_told = consumer->handed;
    consumer->untold_us = 0;
    consumer->consumes_unanswered++;
    consumer->settles_unanswered += command->settled > 0 ? 1 : 0;
    consumer->settles_count -= count;
    if (consumer->settles_count > 0) {
        memmove(consumer->settles, consumer->settles + count,
                consumer->settles_count * sizeof *consumer->settles);
    }
    return true;
}

/* A clean end: everything settled and handed out is told before (M4); what was not handed
 * out goes back by itself. */
static bool detach(struct momi_core *core, struct momi_client_consumer *consumer) {
    while (consumer->settles_count > 0 || consumer->handed > consumer->handed_told) {
        if (!momi_client_shard_takes_commands(consumer->shard) ||
            !consume(core, consumer)) {
            return false;
        }
    }
    momi_consumer_detach_put(begin(core, CMD_CONSUMER_DETACH), consumer->id);
    if (push(core, consumer, CMD_CONSUMER_DETACH) == NULL) {
        return false;
    }
    consumer->state = CONSUMER_DETACHING;
    momi_client_request_stop(core->client, &consumer->request);
    return true;
}

/* Some poll wants to know whether anything is there. */
static bool is_poll_open(const struct momi_client_consumer *consumer) {
    MOMI_LIST_FOR_EACH (link, &consumer->polls) {
        if (MOMI_CONTAINER_OF(link, struct momi_client_call, link)->poll_request !=
            UINT64_MAX) {
            return true;
        }
    }
    return false;
}

static void ask(struct momi_core *core, struct momi_client_consumer *consumer) {
    bool is_asking = consumer->request.id != 0;
    if (is_asking && consumer->request_is_poll) {
        return;
    }
    /* EMPTY is true only where there is credit, and what was settled before is applied.
     */
    bool may_poll = is_poll_open(consumer) && consumer->promised <= consumer->delivered &&
                    consumer->credit_acked > consumer->delivered &&
                    consumer->settles_count == 0 && consumer->settles_unanswered == 0;
    if (!may_poll && (is_asking || !consumer->wants_sync)) {
        return;
    }
    /* A question in place of one under way: it says the same, and asks more. */
    momi_client_request_stop(core->client, &consumer->request);
    consumer->request_is_poll = may_poll;
    consumer->wants_sync = false;
    momi_client_request_start(core, &consumer->request, consumer->shard);
}

void momi_client_consumer_pump(struct momi_core *core,
                               struct momi_client_consumer *consumer) {
    if (!momi_client_shard_takes_commands(consumer->shard)) {
        return; /* stays on the list; results make room */
    }
    bool is_done = true;
    switch (consumer->state) {
    case CONSUMER_NEW:
        is_done = core->now_us < consumer->attach_us || attach(core, consumer);
        break;
    case CONSUMER_ATTACHED:
        if (consumer->is_closing) {
            is_done = detach(core, consumer);
            break;
        }
        is_done = !is_to_be_told(core, consumer) || consume(core, consumer);
        ask(core, consumer);
        break;
    default:
        break;
    }
    if (is_done) {
        momi_list_remove(&consumer->dirty_link);
    }
    momi_client_consumer_arm(core, consumer);
}
