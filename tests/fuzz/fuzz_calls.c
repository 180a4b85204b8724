/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences of calls of include/mom on one node in memory, against a model
 * (calls_model.h) that says what each must answer.
 *
 * Each call is one byte that chooses it and a few that are its arguments; where the input
 * ends, they are 0. Leases are an hour long, so nothing depends on time. Settlements are
 * sent by the library when it likes: before a call to which that matters, they are
 * flushed. At the end all consumers are closed, what is left is received and compared,
 * and everything is deleted, so that one node serves many inputs.
 */
#include <mom/mom.h>

#include "fuzz/calls_ask.h"
#include "fuzz/calls_kinds.h"

void fuzz_end(void) {
    if (fuzz.node != NULL) {
        EXPECT(mom_close(fuzz.node, WAIT_MS), MOM_OK);
        mom_completions_close(fuzz.completions);
        fuzz.node = NULL;
        fuzz.inputs = 0;
    }
}

/* --- consumers and messages ------------------------------------------------------- */

static void call_open_consumer(void) {
    unsigned index = take() % CONSUMERS, at = take() % GROUPS;
    uint8_t how = take();
    struct consumer *consumer = &fuzz.consumers[index];
    struct group *group = &fuzz.model.groups[at];
    const struct stream *stream = &fuzz.model.streams[stream_of(at)];
    if (consumer->handle != NULL) {
        close_consumer(index);
    }
    flush();
    mom_consumer_options options;
    mom_consumer_options_init(&options);
    options.prefetch = how & 3;
    options.limit = (how >> 2) & 3;
    options.lease_ms = LEASE_MS;
    int expected = !stream->exists  ? MOM_NOT_FOUND
                   : !group->exists ? MOM_NOT_SUBSCRIBED
                                    : MOM_OK;
    bool is_queue = at < QUEUES || is_dead(at);
    EXPECT(is_queue ? mom_queue_consumer(fuzz.node, stream_name(stream_of(at)), &options,
                                         WAIT_MS, &consumer->handle)
                    : mom_subscription_consumer(fuzz.node, stream_name(stream_of(at)),
                                                subscription_name(at), &options, WAIT_MS,
                                                &consumer->handle),
           expected);
    if (expected != MOM_OK) {
        return;
    }
    fuzz.openings[index]++;
    *consumer = (struct consumer){.handle = consumer->handle,
                                  .group = at,
                                  .limit = options.limit,
                                  .is_alone = group->consumers == 0};
    for (unsigned i = 0; i < CONSUMERS; i++) {
        struct consumer *other = &fuzz.consumers[i];
        if (i != index && other->handle != NULL && other->group == at) {
            other->is_alone = false;
        }
    }
    for (size_t i = 0; i < group->rows.count && group->consumers == 0; i++) {
        group->rows.row[i].is_late = false;
    }
    group->consumers++;
}

/* What its consumers get was deleted: they hear of it in a moment. */
enum { RECEIVE_POLL, RECEIVE_WAIT, RECEIVE_MANY, RECEIVE_READY, RECEIVE_SUBMIT };

static void call_receive(void) {
    unsigned index = take() % CONSUMERS;
    unsigned how = take() % 5;
    struct consumer *consumer = &fuzz.consumers[index];
    mom_message *messages[MANY_MAX];
    size_t count = 1;
    if (consumer->handle == NULL) {
        return;
    }
    if (!consumer->is_alone || is_dead(consumer->group)) {
        flush(); /* what others gave back, or rejected */
    }
    bool is_there = consumer->gone == MOM_OK && is_certain(consumer);
    if (how == RECEIVE_SUBMIT && is_there) {
        EXPECT(SUBMIT(mom_receive_submit, consumer->handle), MOM_OK);
    }
    int error;
    if (how == RECEIVE_READY) {
        error = mom_receive_ready(consumer->handle, messages, MANY_MAX, &count);
    } else if (how == RECEIVE_WAIT || how == RECEIVE_MANY) {
        error = mom_receive_many(consumer->handle, messages,
                                 how == RECEIVE_WAIT ? 1 : MANY_MAX, &count,
                                 is_there ? WAIT_MS : 0);
    } else {
        error = mom_receive(consumer->handle, &messages[0], 0);
    }
    if (consumer->gone != MOM_OK) {
        EXPECT(error, consumer->gone);
    } else if (error == MOM_OK) {
        MOMI_ASSERT(count >= 1);
        MOMI_ASSERT(count <= MANY_MAX);
        for (size_t i = 0; i < count; i++) {
            got(index, messages[i]);
        }
    } else {
        EXPECT(error, MOM_EMPTY);
        if (how != RECEIVE_READY) {
            check_empty(consumer);
        }
    }
}

static void call_settle(void) {
    uint8_t which = take(), how = take();
    if (fuzz.held_count > 0) {
        size_t index = which % fuzz.held_count;
        if (how % 8 < ACTIONS) {
            settle(&fuzz.held[index], (enum action)(how % 8));
        }
        if (how & 0x18 || how % 8 == ACTIONS) {
            release(index);
        }
    }
}

static void fill_body(mom_slice *body, uint8_t *bytes, uint32_t serial) {
    size_t size = body_size(serial);
    memset(bytes, (uint8_t)serial, size);
    momi_store_le32(bytes, serial);
    *body = (mom_slice){bytes, size};
}

static int send(unsigned at, const mom_slice *bodies, const char *const *keys,
                size_t count, const mom_send_options *options, bool submit,
                uint64_t *sequence) {
    const char *name = stream_name(at);
    mom_completion done = {0};
    int error;
    if (submit && is_topic(at)) {
        error = mom_publish_many_submit(fuzz.node, name, keys, bodies, count, options,
                                        WAIT_MS, fuzz.completions, &fuzz);
    } else if (submit) {
        error = mom_send_many_submit(fuzz.node, name, bodies, count, options, WAIT_MS,
                                     fuzz.completions, &fuzz);
    } else if (is_topic(at)) {
        return count == 1 ? mom_publish(fuzz.node, name, keys[0], bodies[0].data,
                                        bodies[0].size, options, WAIT_MS)
                          : mom_publish_many(fuzz.node, name, keys, bodies, count,
                                             options, NULL, WAIT_MS);
    } else if (count == 1) {
        return mom_send(fuzz.node, name, bodies[0].data, bodies[0].size, options,
                        WAIT_MS);
    } else {
        int results[MANY_MAX];
        error = mom_send_many(fuzz.node, name, bodies, count, options, results, WAIT_MS);
        for (size_t i = 0; i < count; i++) {
            MOMI_ASSERT(results[i] == error);
        }
        return error;
    }
    error = completed(error, &done);
    MOMI_ASSERT(done.count == (error == MOM_OK ? count : 0));
    *sequence = error == MOM_OK ? done.sequence : 0;
    return error;
}

static void call_send(void) {
    unsigned at = take() % STREAMS;
    uint8_t how = take();
    struct stream *stream = &fuzz.model.streams[at];
    bool submit = (how & 1) != 0, create = (how & 2) != 0;
    size_t count = (how >> 2) % MANY_MAX + 1;
    static uint8_t bytes[MANY_MAX][BODY_MAX];
    mom_slice bodies[MANY_MAX];
    const char *keys[MANY_MAX];
    uint8_t key[MANY_MAX];
    uint32_t serial = fuzz.model.serial;
    uint8_t first_key = take();
    for (size_t i = 0; i < count; i++) {
        /* A queue has one key for all of them; each is sent alone or with its like. */
        key[i] = (uint8_t)((first_key + (is_topic(at) ? i : 0)) % KEYS);
        keys[i] = key_names[key[i]];
        fill_body(&bodies[i], bytes[i], serial + (uint32_t)i * 2);
    }
    static const mom_header header = {"serial", "even", 4};
    mom_send_options options;
    mom_send_options_init(&options);
    options.create = create;
    options.key = keys[0];
    options.headers = &header;
    options.headers_count = serial % 2 == 0;
    if (stream->messages_max != 0) {
        flush(); /* what was acknowledged makes room */
    }
    enum verdict verdict =
        stream->exists ? model_fits(&fuzz.model, at, key, count) : FITS;
    uint64_t sequence = 0;
    int error = send(at, bodies, keys, count, &options, submit, &sequence);
    int expected = at >= QUEUES + TOPICS                  ? MOM_FORBIDDEN
                   : !stream->exists && !create           ? MOM_NOT_FOUND
                   : verdict == FULL                      ? MOM_FULL
                   : verdict == EITHER && error != MOM_OK ? MOM_FULL
                                                          : MOM_OK;
    EXPECT(error, expected);
    if (error != MOM_OK) {
        return;
    }
    if (!stream->exists) {
        model_make(&fuzz.model, at, 0);
    }
    MOMI_ASSERT(!submit || sequence == stream->next);
    for (size_t i = 0; i < count; i++) {
        model_publish(&fuzz.model, at, &key[i], 1, serial + (uint32_t)i * 2);
    }
    fuzz.model.serial = serial % 2 == 0 ? serial + 2 * (uint32_t)count + 1
                                        : serial + 2 * (uint32_t)count - 1;
}

/* --- streams and subscriptions -------------------------------------------------------
 */

static void call_create(void) {
    unsigned at = take() % (QUEUES + TOPICS);
    uint8_t how = take();
    struct stream *stream = &fuzz.model.streams[at];
    bool if_missing = (how & 1) != 0, submit = (how & 0x20) != 0;
    unsigned set = how & (SET_LIMIT | SET_DELIVERIES | SET_NO_DEAD | SET_RETENTION);
    mom_stream_options options;
    mom_stream_options_init(&options);
    options.if_missing = if_missing;
    options.messages_max = set & SET_LIMIT ? 3 : 0;
    options.deliveries_max = set & SET_DELIVERIES ? 2 : 0;
    options.no_dead_letter = (set & SET_NO_DEAD) != 0;
    options.retention_count = set & SET_RETENTION ? 4 : 0;
    int expected = !is_topic(at) && (set & SET_RETENTION) ? MOM_INVALID
                   : !stream->exists                      ? MOM_OK
                   : !if_missing                          ? MOM_EXISTS
                   : model_is_same(stream, set)           ? MOM_OK
                                                          : MOM_CONFLICT;
    const char *name = stream_name(at);
    int error;
    if (is_topic(at)) {
        error = submit ? SUBMIT(mom_topic_create_submit, fuzz.node, name, &options)
                       : mom_topic_create(fuzz.node, name, &options, WAIT_MS);
    } else {
        error = submit ? SUBMIT(mom_queue_create_submit, fuzz.node, name, &options)
                       : mom_queue_create(fuzz.node, name, &options, WAIT_MS);
    }
    EXPECT(error, expected);
    if (error == MOM_OK && !stream->exists) {
        model_make(&fuzz.model, at, set);
    }
}

static void delete_stream(unsigned at, bool submit) {
    struct stream *stream = &fuzz.model.streams[at];
    const char *name = stream_name(at);
    flush();
    int error;
    if (is_topic(at)) {
        error = submit ? SUBMIT(mom_topic_delete_submit, fuzz.node, name)
                       : mom_topic_delete(fuzz.node, name, WAIT_MS);
    } else {
        error = submit ? SUBMIT(mom_queue_delete_submit, fuzz.node, name)
                       : mom_queue_delete(fuzz.node, name, WAIT_MS);
    }
    EXPECT(error, stream->exists ? MOM_OK : MOM_NOT_FOUND);
    for (unsigned i = 0; i < GROUPS && stream->exists; i++) {
        if (stream_of(i) == at) {
            end_consumers(i, MOM_NOT_FOUND);
        }
    }
    stream->exists = false;
}

static void call_delete(void) {
    unsigned at = take() % STREAMS;
    delete_stream(at, (take() & 1) != 0);
}

static void call_purge(void) {
    unsigned at = take() % (STREAMS - TOPICS);
    at += at >= QUEUES ? TOPICS : 0;
    flush();
    int error = (take() & 1) != 0
                    ? SUBMIT(mom_queue_purge_submit, fuzz.node, stream_name(at))
                    : mom_queue_purge(fuzz.node, stream_name(at), WAIT_MS);
    EXPECT(error, fuzz.model.streams[at].exists ? MOM_OK : MOM_NOT_FOUND);
    if (error == MOM_OK) {
        model_purge(&fuzz.model, at);
    }
}

static void wait_filled(unsigned at) {
    mom_stream_info info;
    mom_stream_info_init(&info);
    do {
        EXPECT(mom_subscription_info(fuzz.node, stream_name(stream_of(at)),
                                     subscription_name(at), &info, WAIT_MS),
               MOM_OK);
    } while (info.is_filling);
}

static void call_subscribe(void) {
    unsigned topic = QUEUES + take() % TOPICS;
    unsigned at = subscription_group(topic, take() % SUBSCRIPTIONS);
    uint8_t how = take(), start = take();
    struct stream *stream = &fuzz.model.streams[topic];
    struct group *group = &fuzz.model.groups[at];
    struct group wanted = {.filter = how % FILTERS,
                           .ignore_own = (how & 0x1c) == 0x1c,
                           .temporary = (how & 0x20) != 0};
    mom_subscription_options options;
    mom_subscription_options_init(&options);
    options.if_missing = (how & 0x40) != 0;
    options.ignore_own = wanted.ignore_own;
    options.temporary = wanted.temporary;
    options.filters = &filter_names[wanted.filter];
    options.filters_count = wanted.filter > 0;
    options.from = (mom_from)(start % 3);
    options.from_sequence = start / 3 % 8;
    uint64_t from = options.from == MOM_FROM_NEW     ? 0
                    : options.from == MOM_FROM_FIRST ? 1
                    : options.from_sequence == 0     ? 1
                                                     : options.from_sequence;
    bool is_same = group->exists && group->filter == wanted.filter &&
                   group->ignore_own == wanted.ignore_own &&
                   group->temporary == wanted.temporary;
    bool is_ahead = options.from == MOM_FROM_SEQUENCE && from > stream->next;
    int expected = !stream->exists                        ? MOM_NOT_FOUND
                   : group->exists && !options.if_missing ? MOM_EXISTS
                   : group->exists ? is_same ? MOM_OK : MOM_CONFLICT
                   : is_ahead      ? MOM_INVALID
                                   : MOM_OK;
    const char *name = stream_name(topic);
    int error = (how & 0x80) != 0
                    ? SUBMIT(mom_subscription_create_submit, fuzz.node, name,
                             subscription_name(at), &options)
                    : mom_subscription_create(fuzz.node, name, subscription_name(at),
                                              &options, WAIT_MS);
    EXPECT(error, expected);
    if (error == MOM_OK && !group->exists) {
        model_subscribe(&fuzz.model, topic, at, &wanted, from);
        wait_filled(at);
    }
}

static void call_unsubscribe(void) {
    unsigned at = QUEUES + take() % (ORIGINS - QUEUES);
    const struct stream *stream = &fuzz.model.streams[stream_of(at)];
    bool is_there = stream->exists && fuzz.model.groups[at].exists;
    flush();
    const char *topic = stream_name(stream_of(at)), *name = subscription_name(at);
    int error = (take() & 1) != 0
                    ? SUBMIT(mom_subscription_delete_submit, fuzz.node, topic, name)
                    : mom_subscription_delete(fuzz.node, topic, name, WAIT_MS);
    EXPECT(error, !stream->exists ? MOM_NOT_FOUND
                  : is_there      ? MOM_OK
                                  : MOM_NOT_SUBSCRIBED);
    if (error == MOM_OK) {
        end_consumers(at, MOM_NOT_SUBSCRIBED);
    }
}

/* --- the whole -----------------------------------------------------------------------
 */

/* Everything answers CLOSED, what is held can still be read. */
static void close_node(void) {
    mom_node *node = fuzz.node;
    EXPECT(mom_close(node, WAIT_MS), MOM_OK);
    EXPECT(mom_send(node, "one", "", 0, NULL, WAIT_MS), MOM_CLOSED);
    EXPECT(SUBMIT(mom_queue_create_submit, node, "one", NULL), MOM_CLOSED);
    for (size_t i = 0; i < fuzz.held_count; i++) {
        struct held *held = &fuzz.held[i];
        size_t size;
        MOMI_ASSERT(mom_message_body(held->message, &size) != NULL);
        MOMI_ASSERT(size >= 4);
        bool is_gone = is_open(held) && fuzz.consumers[held->consumer].gone != MOM_OK;
        EXPECT(mom_ack(held->message), is_gone            ? settles_with(held)
                                       : held->is_settled ? MOM_CONFLICT
                                                          : MOM_CLOSED);
        mom_message_release(held->message);
    }
    for (unsigned i = 0; i < CONSUMERS; i++) {
        struct consumer *consumer = &fuzz.consumers[i];
        mom_message *message;
        if (consumer->handle != NULL) {
            EXPECT(mom_receive(consumer->handle, &message, WAIT_MS),
                   consumer->gone != MOM_OK ? consumer->gone : MOM_CLOSED);
            EXPECT(mom_consumer_close(consumer->handle, WAIT_MS), MOM_OK);
            consumer->handle = NULL;
        }
    }
    mom_completions_close(fuzz.completions);
    fuzz.held_count = 0;
    fuzz.inputs = 0;
    memset(&fuzz.model, 0, sizeof fuzz.model);
    open_node();
}

/* All that should be there is there, in order, and nothing else. */
static void drain(unsigned at) {
    struct group *group = &fuzz.model.groups[at];
    struct counts counts = group_count(group);
    if (!group->exists || !fuzz.model.streams[stream_of(at)].exists ||
        counts.certain + counts.maybe == 0) {
        return;
    }
    const uint8_t how[] = {0, (uint8_t)at, 0};
    fuzz.at = how;
    fuzz.end = how + sizeof how;
    call_open_consumer();
    struct consumer *consumer = &fuzz.consumers[0];
    mom_message *message;
    int error = mom_receive(consumer->handle, &message, 0);
    while (error == MOM_OK) {
        got(0, message);
        settle(&fuzz.held[0], ACK);
        release(0);
        error = mom_receive(consumer->handle, &message, 0);
    }
    EXPECT(error, MOM_EMPTY);
    check_empty(consumer);
    close_consumer(0);
}

static void reset(void) {
    for (unsigned i = 0; i < CONSUMERS; i++) {
        if (fuzz.consumers[i].handle != NULL) {
            close_consumer(i);
        }
    }
    while (fuzz.held_count > 0) {
        release(0);
    }
    check_lists();
    for (unsigned at = 0; at < GROUPS; at++) {
        drain(at);
    }
    for (unsigned at = 0; at < STREAMS; at++) {
        if (fuzz.model.streams[at].exists) {
            check_stream(at);
            delete_stream(at, false);
        }
    }
    memset(&fuzz.model, 0, sizeof fuzz.model);
}

static void call_close_consumer(void) {
    unsigned index = take() % CONSUMERS;
    if (fuzz.consumers[index].handle != NULL) {
        close_consumer(index);
    }
}

static void call_flush(void) {
    struct consumer *consumer = &fuzz.consumers[take() % CONSUMERS];
    if (consumer->handle != NULL && consumer->gone == MOM_OK) {
        EXPECT(SUBMIT(mom_consumer_flush_submit, consumer->handle), MOM_OK);
        consumer->is_unsent = false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const calls[KINDS])(void) = {
        [CREATE] = call_create,
        [SEND] = call_send,
        [OPEN_CONSUMER] = call_open_consumer,
        [RECEIVE] = call_receive,
        [SETTLE] = call_settle,
        [SUBSCRIBE] = call_subscribe,
        [DELETE] = call_delete,
        [UNSUBSCRIBE] = call_unsubscribe,
        [FLUSH] = call_flush,
        [CLOSE] = call_close_consumer,
        [PURGE] = call_purge,
        [INFO] = call_info,
        [LIST] = check_lists,
        [WRONG] = call_wrong,
        [END] = close_node,
    };
    if (fuzz.inputs++ == NODE_INPUTS_MAX) {
        fuzz_end();
    }
    if (fuzz.node == NULL) {
        open_node();
    }
    fuzz.at = data;
    fuzz.end = size == 0 ? data : data + size;
    for (unsigned i = 0; i < CALLS_MAX && fuzz.at < fuzz.end; i++) {
        unsigned kind = take() % KINDS;
        calls[kind]();
        if (kind == END) {
            return 0;
        }
    }
    reset();
    return 0;
}
