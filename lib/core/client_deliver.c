/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaders send to consumers (M5): deliveries and endings; and what makes a delivered
 * message void again (M4).
 *
 * Nothing is copied: the program's messages lie in the frame's buffer, which the effect
 * holds. Numbers that are known are dropped, gaps are fine, lower terms are dropped. The
 * structure of the payload is checked here, once: whoever reads it after us may trust the
 * sizes. Checksums are compared by whoever hands the message to the program.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/mutant.h"

void momi_client_void_messages(struct momi_core *core,
                               struct momi_client_consumer *consumer, uint64_t number) {
    struct momi_effect *effect = momi_effect_add(core->effects, FX_MESSAGES);
    struct momi_delivery *delivery = momi_effect_alloc(core->effects, sizeof *delivery);
    memset(delivery, 0, sizeof *delivery);
    effect->token = consumer->handle;
    effect->shard = consumer->shard->shard;
    effect->value = consumer->base + number;
    effect->delivery = delivery;
}

void momi_client_return_buffered(struct momi_core *core,
                                 struct momi_client_consumer *consumer) {
    momi_trace(core, "client-return", consumer->shard->shard, consumer->handle,
               consumer->delivered);
    for (size_t i = 0; i < consumer->buffered.count; i++) {
        const struct momi_client_buffered *run = momi_ring_at(&consumer->buffered, i);
        struct momi_settle settle = {
            .token = {.epoch = run->epoch, .counter = run->counter},
            .count = run->count,
            .action = MOMI_SETTLE_RETURN};
        momi_client_consumer_add_settle(consumer, &settle);
    }
    momi_ring_pop_front(&consumer->buffered, consumer->buffered.count);
    consumer->voided = consumer->delivered;
    momi_client_void_messages(core, consumer, consumer->delivered);
}

/* --- deliveries ----------------------------------------------------------------- */

/* Passes over `count` records; false: they are not there. */
static bool skip_records(struct momi_slice *left, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct momi_record record;
        if (!momi_record_read(*left, &record)) {
            return false;
        }
        *left =
            momi_slice(left->data + record.whole.size, left->size - record.whole.size);
    }
    return true;
}

/* Takes one run off `left`. What the consumer has already is cut off its front; 0
 * messages may remain. False: malformed, or beyond the credit that was given. */
static bool take_run(const struct momi_client_consumer *consumer, uint64_t last,
                     struct momi_delivery_run *run, struct momi_slice *left,
                     struct momi_slice *kept) {
    if (run->count == 0 || run->bytes > left->size || run->delivery == 0 ||
        run->delivery > UINT64_MAX - run->count ||
        run->delivery + run->count - 1 > consumer->credit_max) {
        return false;
    }
    struct momi_slice bytes = momi_slice(left->data, run->bytes);
    *left = momi_slice(left->data + run->bytes, left->size - run->bytes);
    uint64_t known = run->delivery <= last ? last - run->delivery + 1 : 0;
    uint32_t cut = known < run->count ? (uint32_t)known : run->count;
    if (!skip_records(&bytes, cut)) {
        return false;
    }
    *kept = bytes;
    run->bytes = (uint32_t)bytes.size;
    run->delivery += cut;
    run->sequence += cut;
    run->counter += cut;
    run->count -= cut;
    return skip_records(&bytes, run->count) && bytes.size == 0;
}

static void buffer_run(struct momi_client_consumer *consumer,
                       const struct momi_delivery_run *run, uint32_t epoch) {
    struct momi_ring *buffered = &consumer->buffered;
    if (buffered->count > 0) {
        struct momi_client_buffered *last = momi_ring_at(buffered, buffered->count - 1);
        if (last->epoch == epoch && last->delivery + last->count == run->delivery &&
            last->counter + last->count == run->counter &&
            last->count <= UINT32_MAX - run->count) {
            last->count += run->count;
            return;
        }
    }
    struct momi_client_buffered *next = momi_ring_push(buffered);
    MOMI_ASSERT(next != NULL); /* reserved before */
    *next = (struct momi_client_buffered){.delivery = run->delivery,
                                          .counter = run->counter,
                                          .count = run->count,
                                          .epoch = epoch};
}

/* The bytes of the frame as a buffer that can be kept; NULL: out of memory. */
static struct momi_buf *hold_payload(struct momi_core *core,
                                     const struct momi_frame *frame,
                                     struct momi_slice *payload) {
    if (frame->buf != NULL) {
        momi_effect_hold(core->effects, frame->buf);
        return frame->buf;
    }
    struct momi_buf *copy = momi_buf_copy(*payload);
    if (copy != NULL) {
        momi_effect_hold(core->effects, copy);
        momi_buf_release(copy);
        *payload = momi_buf_slice(copy);
    }
    return copy;
}

static void give_messages(struct momi_core *core, struct momi_client_consumer *consumer,
                          const struct momi_frame *frame, struct momi_delivery_run *runs,
                          size_t runs_count, struct momi_slice payload) {
    struct momi_buf *buf = hold_payload(core, frame, &payload);
    if (buf == NULL ||
        !momi_ring_reserve(&consumer->buffered, consumer->buffered.count + runs_count)) {
        core->counters.frames_dropped++;
        return; /* no memory: as if lost; asked for again when it is quiet */
    }
    uint64_t taken =
        consumer->handed > consumer->voided ? consumer->handed : consumer->voided;
    if (consumer->delivered <= taken) {
        consumer->buffered_us = core->now_us;
    }
    for (size_t i = 0; i < runs_count; i++) {
        buffer_run(consumer, &runs[i], frame->epoch);
        consumer->delivered = runs[i].delivery + runs[i].count - 1;
        runs[i].delivery += consumer->base;
    }
    struct momi_effect *effect = momi_effect_add(core->effects, FX_MESSAGES);
    struct momi_delivery *delivery = momi_effect_alloc(core->effects, sizeof *delivery);
    *delivery = (struct momi_delivery){.runs = runs,
                                       .runs_count = runs_count,
                                       .buf = buf,
                                       .payload = payload,
                                       .epoch = frame->epoch};
    effect->token = consumer->handle;
    effect->shard = consumer->shard->shard;
    effect->value = consumer->base + consumer->delivered;
    effect->delivery = delivery;
    momi_client_consumer_arrived(core, consumer);
    momi_client_consumer_touch(core->client, consumer);
    momi_client_consumer_arm(core, consumer);
}

/* A consumer that this frame is for; NULL: none any more. */
static struct momi_client_consumer *receiver(struct momi_core *core,
                                             const struct momi_frame *frame) {
    struct momi_client_shard *shard = core->client->shards[frame->shard];
    struct momi_client_consumer *consumer =
        momi_client_consumer_find_wire(core->client, frame->consumer);
    if (shard->state != SESSION_OPEN ||
        !momi_session_id_equal(frame->session, shard->session) || consumer == NULL ||
        consumer->shard != shard) {
        return NULL;
    }
    return consumer;
}

void momi_client_deliver(struct momi_core *core, uint64_t node,
                         const struct momi_frame *frame) {
    struct momi_client_shard *shard = core->client->shards[frame->shard];
    struct momi_client_consumer *consumer = receiver(core, frame);
    if (consumer == NULL || consumer->state != CONSUMER_ATTACHED ||
        consumer->is_closing) {
        return;
    }
    if (frame->term < shard->term && !MUTANT(LOWER_TERM_DELIVERED)) {
        return; /* M5: a leader of the past */
    }
    shard->term = frame->term > shard->term ? frame->term : shard->term;
    if (node == shard->node) {
        shard->heard_us = core->now_us;
    }
    if (frame->number > consumer->delivered && !MUTANT(DELIVERY_GAP_ACCEPTED)) {
        consumer->wants_sync = true; /* M5: something before it was lost: all again */
        momi_client_consumer_touch(core->client, consumer);
        return;
    }
    struct momi_delivery_run *runs =
        momi_effect_alloc(core->effects, frame->runs_count * sizeof *runs);
    size_t runs_count = 0;
    struct momi_slice left = frame->payload;
    struct momi_slice payload = {0};
    uint64_t last = consumer->delivered;
    for (uint32_t i = 0; i < frame->runs_count; i++) {
        struct momi_delivery_run run = frame->runs[i];
        struct momi_slice kept;
        if (!take_run(consumer, last, &run, &left, &kept)) {
            core->counters.frames_dropped++;
            return; /* nothing of a malformed frame is used */
        }
        if (run.count == 0) {
            continue;
        }
        /* What is kept is one piece: known numbers come first, since numbers rise. */
        if (runs_count > 0 && payload.data + payload.size != kept.data) {
            core->counters.frames_dropped++;
            return;
        }
        payload.data = runs_count == 0 ? kept.data : payload.data;
        payload.size += kept.size;
        last = run.delivery + run.count - 1;
        runs[runs_count++] = run;
    }
    if (runs_count > 0) {
        give_messages(core, consumer, frame, runs, runs_count, payload);
    }
}

void momi_client_consumer_ended(struct momi_core *core, const struct momi_frame *frame) {
    struct momi_client_consumer *consumer = receiver(core, frame);
    if (consumer != NULL && consumer->state != CONSUMER_ENDED &&
        consumer->state != CONSUMER_NEW) {
        int error = frame->error < MOM_OK ? frame->error : MOM_NOT_FOUND;
        momi_client_consumer_end(core, consumer, error);
    }
}
