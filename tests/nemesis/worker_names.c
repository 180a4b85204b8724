/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The roles around names: `setup` makes what the others work on, `names` creates, deletes
 * and describes a few names that several processes quarrel about, `watch` tells who
 * leads.
 */
#include "worker.h"

#include <stdio.h>
#include <string.h>

enum {
    CALL_MS = 10000,
    SETUP_MS = 60000,
    WATCH_MS = 1000,
    NAMES = 3,
    FILTERS_MAX = 1,
};

static void fail(const char *what, int error) {
    fprintf(stderr, "%s: %s: %s\n", what, mom_strerror(error), mom_last_error_text());
}

/* --- single calls ---------------------------------------------------------------------
 */

struct stream_wish {
    const char *name;
    bool is_topic;
    bool if_missing;
    uint32_t deliveries_max;
    uint64_t lease_ms;
    uint64_t messages_max;
};

static int create(struct worker *worker, const struct stream_wish *wish, int timeout_ms) {
    mom_stream_options options;
    mom_stream_options_init(&options);
    options.if_missing = wish->if_missing;
    options.deliveries_max = wish->deliveries_max;
    options.lease_ms = wish->lease_ms;
    options.messages_max = wish->messages_max;
    uint64_t op =
        log_call(worker, (struct check_record){.kind = CHECK_CREATE,
                                               .stream = name_of(worker, wish->name),
                                               .value = wish->lease_ms,
                                               .deliveries = wish->deliveries_max,
                                               .if_missing = wish->if_missing});
    int error = wish->is_topic
                    ? mom_topic_create(worker->node, wish->name, &options, timeout_ms)
                    : mom_queue_create(worker->node, wish->name, &options, timeout_ms);
    log_done(worker, CHECK_CREATE, op, error, 0);
    return error;
}

static int subscribe(struct worker *worker, const char *topic, const char *sub,
                     const char *filter, bool if_missing, int timeout_ms) {
    const char *filters[FILTERS_MAX] = {filter};
    mom_subscription_options options;
    mom_subscription_options_init(&options);
    options.if_missing = if_missing;
    options.from = MOM_FROM_FIRST;
    options.filters = filters;
    options.filters_count = filter[0] != 0 ? 1 : 0;
    uint64_t op =
        log_call(worker, (struct check_record){.kind = CHECK_SUBSCRIBE,
                                               .stream = name_of(worker, topic),
                                               .subscription = name_of(worker, sub),
                                               .filter = name_of(worker, filter),
                                               .if_missing = if_missing,
                                               .from = CHECK_FROM_FIRST});
    int error = mom_subscription_create(worker->node, topic, sub, &options, timeout_ms);
    log_done(worker, CHECK_SUBSCRIBE, op, error, 0);
    return error;
}

static void unsubscribe(struct worker *worker, const char *topic, const char *sub,
                        int timeout_ms) {
    uint64_t op =
        log_call(worker, (struct check_record){.kind = CHECK_UNSUBSCRIBE,
                                               .stream = name_of(worker, topic),
                                               .subscription = name_of(worker, sub)});
    int error = mom_subscription_delete(worker->node, topic, sub, timeout_ms);
    log_done(worker, CHECK_UNSUBSCRIBE, op, error, 0);
}

static void delete (struct worker *worker, const char *name, int timeout_ms) {
    uint64_t op =
        log_call(worker, (struct check_record){.kind = CHECK_DELETE,
                                               .stream = name_of(worker, name)});
    int error = mom_queue_delete(worker->node, name, timeout_ms);
    log_done(worker, CHECK_DELETE, op, error, 0);
}

static void describe(struct worker *worker, const char *name, int timeout_ms) {
    mom_stream_info info;
    mom_stream_info_init(&info);
    uint64_t op =
        log_call(worker, (struct check_record){.kind = CHECK_DESCRIBE,
                                               .stream = name_of(worker, name)});
    int error = mom_queue_info(worker->node, name, &info, timeout_ms);
    log_done(worker, CHECK_DESCRIBE, op, error, error == 0 ? info.sequence_next : 0);
}

/* --- roles ----------------------------------------------------------------------------
 */

int role_setup(struct worker *worker) {
    static const struct stream_wish wishes[] = {
        {.name = "work", .deliveries_max = 4, .lease_ms = 3000},
        {.name = "small", .deliveries_max = 6, .lease_ms = 2000, .messages_max = 300},
        {.name = "news", .is_topic = true, .deliveries_max = 4, .lease_ms = 3000},
        {.name = "shelf", .is_topic = true, .deliveries_max = 4, .lease_ms = 3000},
    };
    int error = mom_wait_ready(worker->node, SETUP_MS);
    for (size_t i = 0; error == 0 && i < sizeof wishes / sizeof *wishes; i++) {
        error = create(worker, &wishes[i], SETUP_MS);
    }
    if (error == 0) {
        error = subscribe(worker, "news", "all", "", false, SETUP_MS);
    }
    if (error == 0) {
        error = subscribe(worker, "news", "odd", "odd.#", false, SETUP_MS);
    }
    if (error != 0) {
        fail("setup", error);
    }
    return -error;
}

int role_names(struct worker *worker) {
    static const int timeouts_ms[] = {500, 2000, CALL_MS};
    while (!stopping()) {
        char name[NAME_BYTES], sub[NAME_BYTES];
        unsigned number = (unsigned)draw(worker, NAMES);
        int timeout_ms =
            timeouts_ms[draw(worker, sizeof timeouts_ms / sizeof *timeouts_ms)];
        bool if_missing = draw(worker, 2) == 0;
        snprintf(name, sizeof name, "name-%u", number);
        snprintf(sub, sizeof sub, "reader-%u", number);
        struct stream_wish wish = {.name = name,
                                   .if_missing = if_missing,
                                   .deliveries_max = 4,
                                   .lease_ms = 3000};
        switch (draw(worker, 6)) {
        case 0:
        case 1:
            (void)create(worker, &wish, timeout_ms);
            break;
        case 2:
            delete (worker, name, timeout_ms);
            break;
        case 3:
            describe(worker, name, timeout_ms);
            break;
        case 4:
            (void)subscribe(worker, "shelf", sub, "", if_missing, timeout_ms);
            break;
        default:
            unsubscribe(worker, "shelf", sub, timeout_ms);
            break;
        }
        pause_ms(1000 / (int)worker->rate);
    }
    return 0;
}

/* Lines `leader STREAM NAME` on standard output, at each change. */
int role_watch(struct worker *worker) {
    static const struct {
        const char *name;
        bool is_topic;
    } streams[] = {{"work", false}, {"small", false}, {"news", true}};
    enum { STREAMS = sizeof streams / sizeof *streams };
    char leaders[STREAMS][sizeof(((mom_stream_info *)0)->leader_name)] = {{0}};
    while (!stopping()) {
        for (size_t i = 0; i < STREAMS; i++) {
            mom_stream_info info;
            mom_stream_info_init(&info);
            int error =
                streams[i].is_topic
                    ? mom_topic_info(worker->node, streams[i].name, &info, WATCH_MS)
                    : mom_queue_info(worker->node, streams[i].name, &info, WATCH_MS);
            if (error == 0 && strcmp(leaders[i], info.leader_name) != 0) {
                snprintf(leaders[i], sizeof leaders[i], "%s", info.leader_name);
                printf("leader %s %s\n", streams[i].name, leaders[i]);
                fflush(stdout);
            }
        }
        pause_ms(LOOK_MS);
    }
    return 0;
}
