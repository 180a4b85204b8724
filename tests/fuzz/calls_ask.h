/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of fuzz_calls.c that change nothing: questions, and wrong arguments. */
#ifndef MOM_TESTS_FUZZ_CALLS_ASK_H
#define MOM_TESTS_FUZZ_CALLS_ASK_H

#include "fuzz/calls_rig.h"

static inline void check_group_info(const mom_stream_info *info,
                                    const struct group *group) {
    struct counts counts = group_count(group);
    uint64_t messages = info->messages_ready + info->messages_leased;
    MOMI_ASSERT(messages >= counts.certain);
    MOMI_ASSERT(messages <= counts.certain + counts.maybe);
    MOMI_ASSERT(info->messages_leased >= counts.held);
    MOMI_ASSERT(group->consumers > 0 || info->messages_leased == 0);
    MOMI_ASSERT(info->consumers == group->consumers);
    MOMI_ASSERT(info->dead_lettered == group->dead_lettered);
}

/* The oldest message of a topic: kept, or waiting in a subscription; what lies in the
 * buffer of a consumer does not wait. */
static inline void check_first(unsigned at, const mom_stream_info *info) {
    const struct stream *stream = &fuzz.model.streams[at];
    uint64_t kept = stream->history.count - stream->history_from;
    uint64_t highest = stream->next - kept, lowest = highest;
    FOR_EACH_GROUP(&fuzz.model, at, group) {
        for (size_t i = 0; i < group->rows.count && group->exists; i++) {
            const struct row *row = &group->rows.row[i];
            bool may_wait = !row->is_gone && !row->is_held;
            lowest = may_wait && row->sequence < lowest ? row->sequence : lowest;
            bool waits = may_wait && group->consumers == 0;
            highest = waits && row->sequence < highest ? row->sequence : highest;
        }
    }
    uint64_t first = info->sequence_first == 0 ? stream->next : info->sequence_first;
    MOMI_ASSERT(info->messages_ready == kept);
    MOMI_ASSERT(first >= lowest);
    MOMI_ASSERT(first <= highest);
}

static inline void check_stream_info(unsigned at, const mom_stream_info *info) {
    const struct stream *stream = &fuzz.model.streams[at];
    MOMI_ASSERT(info->sequence_next == stream->next);
    MOMI_ASSERT(info->messages_max == stream->messages_max);
    MOMI_ASSERT(info->deliveries_max == stream->deliveries_max);
    MOMI_ASSERT(info->retention_count == stream->retention_count);
    MOMI_ASSERT(info->no_dead_letter == stream->no_dead_letter);
    MOMI_ASSERT(info->creator == mom_node_id(fuzz.node));
    if (is_topic(at)) {
        check_first(at, info);
        unsigned subscriptions = 0;
        FOR_EACH_GROUP(&fuzz.model, at, group) { subscriptions += group->exists; }
        MOMI_ASSERT(info->subscriptions == subscriptions);
    } else {
        check_group_info(info, &fuzz.model.groups[group_of(at)]);
    }
}

static inline void check_stream(unsigned at) {
    mom_stream_info info;
    mom_stream_info_init(&info);
    int error = is_topic(at) ? mom_topic_info(fuzz.node, stream_name(at), &info, WAIT_MS)
                             : mom_queue_info(fuzz.node, stream_name(at), &info, WAIT_MS);
    EXPECT(error, fuzz.model.streams[at].exists ? MOM_OK : MOM_NOT_FOUND);
    if (error == MOM_OK) {
        check_stream_info(at, &info);
    }
}

static inline void check_subscription(unsigned at) {
    const struct stream *stream = &fuzz.model.streams[stream_of(at)];
    const struct group *group = &fuzz.model.groups[at];
    mom_stream_info info;
    mom_stream_info_init(&info);
    int error = mom_subscription_info(fuzz.node, stream_name(stream_of(at)),
                                      subscription_name(at), &info, WAIT_MS);
    EXPECT(error, !stream->exists  ? MOM_NOT_FOUND
                  : !group->exists ? MOM_NOT_SUBSCRIBED
                                   : MOM_OK);
    if (error == MOM_OK) {
        MOMI_ASSERT(info.temporary == group->temporary);
        MOMI_ASSERT(info.ignore_own == group->ignore_own);
        check_group_info(&info, group);
    }
}

static inline void call_info(void) {
    bool of_subscription = (take() & 1) != 0;
    uint8_t which = take();
    flush();
    if (of_subscription) {
        check_subscription(QUEUES + which % (ORIGINS - QUEUES));
    } else {
        check_stream(which % STREAMS);
    }
}

static inline void check_list(const mom_list *list, bool topics) {
    size_t count = 0;
    for (unsigned at = 0; at < STREAMS; at++) {
        if (is_topic(at) != topics || !fuzz.model.streams[at].exists) {
            continue;
        }
        bool is_listed = false;
        for (size_t i = 0; i < mom_list_count(list); i++) {
            is_listed = is_listed || strcmp(mom_list_name(list, i), stream_name(at)) == 0;
        }
        MOMI_ASSERT(is_listed);
        count++;
    }
    MOMI_ASSERT(mom_list_count(list) == count);
    for (size_t i = 1; i < count; i++) {
        MOMI_ASSERT(strcmp(mom_list_name(list, i - 1), mom_list_name(list, i)) < 0);
    }
}

static inline void check_lists(void) {
    mom_list *list;
    flush();
    EXPECT(mom_queue_list(fuzz.node, &list, WAIT_MS), MOM_OK);
    check_list(list, false);
    mom_list_free(list);
    EXPECT(mom_topic_list(fuzz.node, &list, WAIT_MS), MOM_OK);
    check_list(list, true);
    mom_list_free(list);
}

/* --- wrong arguments -----------------------------------------------------------------
 */

static inline void wrong_sends(void) {
    mom_node *node = fuzz.node;
    mom_send_options options;
    mom_send_options_init(&options);
    options.headers_count = MOM_HEADERS_COUNT_MAX + 1;
    static const mom_header headers[MOM_HEADERS_COUNT_MAX + 1];
    options.headers = headers;
    mom_slice body = {NULL, 1};
    char key[MOM_KEY_BYTES_MAX + 2] = {0};
    memset(key, 'k', sizeof key - 1);
    EXPECT(mom_send(NULL, "one", "", 0, NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_send(node, NULL, "", 0, NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_send(node, "", "", 0, NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_send(node, "one", NULL, 1, NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_send(node, "one", "", 0, NULL, 0), MOM_INVALID);
    EXPECT(mom_send(node, "one", "", 0, NULL, -2), MOM_INVALID);
    EXPECT(mom_send(node, "one", fuzz.body, sizeof fuzz.body, NULL, WAIT_MS),
           MOM_TOO_BIG);
    EXPECT(mom_send(node, "one", "", 0, &options, WAIT_MS), MOM_TOO_BIG);
    EXPECT(mom_publish(node, "one", key, "", 0, NULL, WAIT_MS), MOM_TOO_BIG);
    EXPECT(mom_send_many(node, "one", &body, 0, NULL, NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_send_many(node, "one", &body, 1, NULL, NULL, WAIT_MS), MOM_INVALID);
    options.size = 1;
    EXPECT(mom_send(node, "one", "", 0, &options, WAIT_MS), MOM_INVALID);
}

static inline void wrong_streams(void) {
    mom_node *node = fuzz.node;
    static const char *const patterns[] = {"a*"};
    mom_subscription_options options;
    mom_subscription_options_init(&options);
    options.filters = patterns;
    options.filters_count = 1;
    mom_stream_options stream_options;
    mom_stream_options_init(&stream_options);
    stream_options.lease_ms = UINT64_MAX / 1000;
    EXPECT(mom_queue_create(node, "a\n", NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_queue_create(node, "$other", NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_queue_create(node, "$dead/queue/one", NULL, WAIT_MS), MOM_FORBIDDEN);
    EXPECT(mom_queue_create(node, "three", &stream_options, WAIT_MS), MOM_INVALID);
    EXPECT(mom_queue_purge(node, "three", WAIT_MS), MOM_NOT_FOUND);
    EXPECT(mom_topic_delete(node, NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_subscription_create(node, "one", "s/t", NULL, WAIT_MS), MOM_INVALID);
    EXPECT(mom_subscription_create(node, "one", "x", &options, WAIT_MS), MOM_INVALID);
    EXPECT(mom_subscription_delete(node, "one", "", WAIT_MS), MOM_INVALID);
    EXPECT(mom_queue_info(node, "one", NULL, WAIT_MS), MOM_INVALID);
}

static inline void call_wrong(void) {
    mom_completion done;
    size_t count;
    mom_message *message;
    EXPECT(mom_completions_wait(fuzz.completions, &done, 1, &count, 0), MOM_EMPTY);
    EXPECT(mom_completions_wait(fuzz.completions, &done, 0, &count, 0), MOM_INVALID);
    EXPECT(mom_receive(NULL, &message, 0), MOM_INVALID);
    EXPECT(mom_ack(NULL), MOM_INVALID);
    EXPECT(mom_consumer_close(NULL, 0), MOM_OK);
    if (fuzz.consumers[0].handle != NULL) {
        mom_consumer *consumer = fuzz.consumers[0].handle;
        EXPECT(mom_receive(consumer, NULL, 0), MOM_INVALID);
        EXPECT(mom_receive_many(consumer, &message, 0, &count, 0), MOM_INVALID);
        EXPECT(mom_receive(consumer, &message, -2), MOM_INVALID);
        EXPECT(mom_consumer_flush(consumer, 0), MOM_INVALID);
    }
    wrong_sends();
    wrong_streams();
}

#endif
