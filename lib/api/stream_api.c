/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues, topics and subscriptions: created, deleted, purged. What can be asked about
 * them is in info_api.c. See <mom/mom.h>.
 */
#include <string.h>

#include "api/api.h"

/* Waits for the answer, or submits when there are completions. */
struct how {
    bool submit;
    mom_completions *completions;
    void *user;
};

static int carry_out(mom_node *node, const struct momi_call *call,
                     const struct how *how) {
    if (how->submit) {
        return momi_submit(node, call, how->completions, how->user);
    }
    int error = momi_node_enter(node);
    if (error == MOM_OK) {
        error = momi_node_call(node, call, NULL, NULL);
        momi_node_leave(node);
    }
    return error;
}

static const char *word(enum momi_kind kind) {
    return kind == MOMI_KIND_QUEUE ? "queue" : "topic";
}

static int begin(mom_node *node, enum momi_call_type type, enum momi_kind kind,
                 const char *name, int timeout_ms, struct momi_call *call) {
    *call = (struct momi_call){.type = type, .kind = kind};
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_stream(name, word(kind));
    }
    if (error == MOM_OK) {
        error = momi_check_deadline(timeout_ms, &call->deadline_us);
    }
    if (error == MOM_OK) {
        call->name = momi_slice_str(name);
    }
    return error;
}

/* --- queues and topics
 * ------------------------------------------------------------------- */

static int create(mom_node *node, enum momi_kind kind, const char *name,
                  const mom_stream_options *options, int timeout_ms,
                  const struct how *how) {
    struct momi_call call;
    mom_stream_options known;
    int error = begin(node, CALL_STREAM_CREATE, kind, name, timeout_ms, &call);
    if (error == MOM_OK) {
        error = momi_options_import(&known, sizeof known, options, "options");
    }
    if (error != MOM_OK) {
        return error;
    }
    if (known.lease_ms > UINT64_MAX / MOMI_MS ||
        known.retention_ms > UINT64_MAX / MOMI_MS) {
        return momi_err(MOM_INVALID, "lease_ms or retention_ms is too large");
    }
    if (kind == MOMI_KIND_QUEUE &&
        (known.retention_ms | known.retention_bytes | known.retention_count) != 0) {
        return momi_err(MOM_INVALID, "retention is of topics; a queue keeps what waits");
    }
    call.if_missing = known.if_missing;
    call.options = (struct momi_stream_options){
        .lease_us = known.lease_ms * MOMI_MS,
        .deliveries_max = known.deliveries_max,
        .messages_max = known.messages_max,
        .bytes_max = known.bytes_max,
        .retention_us = known.retention_ms * MOMI_MS,
        .retention_bytes = known.retention_bytes,
        .retention_count = known.retention_count,
        .no_dead_letter = known.no_dead_letter,
    };
    return carry_out(node, &call, how);
}

static int simple(mom_node *node, enum momi_call_type type, enum momi_kind kind,
                  const char *name, int timeout_ms, const struct how *how) {
    struct momi_call call;
    int error = begin(node, type, kind, name, timeout_ms, &call);
    return error != MOM_OK ? error : carry_out(node, &call, how);
}

static const struct how waiting = {.submit = false};

int mom_queue_create(mom_node *node, const char *queue, const mom_stream_options *options,
                     int timeout_ms) {
    return create(node, MOMI_KIND_QUEUE, queue, options, timeout_ms, &waiting);
}

int mom_topic_create(mom_node *node, const char *topic, const mom_stream_options *options,
                     int timeout_ms) {
    return create(node, MOMI_KIND_TOPIC, topic, options, timeout_ms, &waiting);
}

int mom_queue_delete(mom_node *node, const char *queue, int timeout_ms) {
    return simple(node, CALL_STREAM_DELETE, MOMI_KIND_QUEUE, queue, timeout_ms, &waiting);
}

int mom_topic_delete(mom_node *node, const char *topic, int timeout_ms) {
    return simple(node, CALL_STREAM_DELETE, MOMI_KIND_TOPIC, topic, timeout_ms, &waiting);
}

int mom_queue_purge(mom_node *node, const char *queue, int timeout_ms) {
    return simple(node, CALL_STREAM_PURGE, MOMI_KIND_QUEUE, queue, timeout_ms, &waiting);
}

int mom_queue_create_submit(mom_node *node, const char *queue,
                            const mom_stream_options *options, int timeout_ms,
                            mom_completions *completions, void *user) {
    return create(node, MOMI_KIND_QUEUE, queue, options, timeout_ms,
                  &(struct how){true, completions, user});
}

int mom_topic_create_submit(mom_node *node, const char *topic,
                            const mom_stream_options *options, int timeout_ms,
                            mom_completions *completions, void *user) {
    return create(node, MOMI_KIND_TOPIC, topic, options, timeout_ms,
                  &(struct how){true, completions, user});
}

int mom_queue_delete_submit(mom_node *node, const char *queue, int timeout_ms,
                            mom_completions *completions, void *user) {
    return simple(node, CALL_STREAM_DELETE, MOMI_KIND_QUEUE, queue, timeout_ms,
                  &(struct how){true, completions, user});
}

int mom_topic_delete_submit(mom_node *node, const char *topic, int timeout_ms,
                            mom_completions *completions, void *user) {
    return simple(node, CALL_STREAM_DELETE, MOMI_KIND_TOPIC, topic, timeout_ms,
                  &(struct how){true, completions, user});
}

int mom_queue_purge_submit(mom_node *node, const char *queue, int timeout_ms,
                           mom_completions *completions, void *user) {
    return simple(node, CALL_STREAM_PURGE, MOMI_KIND_QUEUE, queue, timeout_ms,
                  &(struct how){true, completions, user});
}

/* --- subscriptions
 * ------------------------------------------------------------------------ */

static int check_filters(const mom_subscription_options *known,
                         struct momi_slice *filters) {
    if (known->filters_count > MOM_FILTERS_MAX) {
        return momi_err(MOM_INVALID, "filters: %zu, at most %u", known->filters_count,
                        MOM_FILTERS_MAX);
    }
    if (known->filters_count > 0 && known->filters == NULL) {
        return momi_err(MOM_INVALID, "filters is NULL");
    }
    for (size_t i = 0; i < known->filters_count; i++) {
        if (known->filters[i] == NULL) {
            return momi_err(MOM_INVALID, "filters[%zu] is NULL", i);
        }
        filters[i] = momi_slice_str(known->filters[i]);
        if (filters[i].size > MOM_KEY_BYTES_MAX) {
            return momi_err(MOM_INVALID, "filters[%zu] has %zu bytes, at most %u", i,
                            filters[i].size, MOM_KEY_BYTES_MAX);
        }
    }
    return MOM_OK;
}

static int create_subscription(mom_node *node, const char *topic, const char *name,
                               const mom_subscription_options *options, int timeout_ms,
                               const struct how *how) {
    struct momi_call call;
    struct momi_slice filters[MOM_FILTERS_MAX];
    mom_subscription_options known;
    int error =
        begin(node, CALL_SUBSCRIPTION_CREATE, MOMI_KIND_TOPIC, topic, timeout_ms, &call);
    if (error == MOM_OK) {
        error = momi_check_subscription(name);
    }
    if (error == MOM_OK) {
        error = momi_options_import(&known, sizeof known, options, "options");
    }
    if (error == MOM_OK) {
        error = check_filters(&known, filters);
    }
    if (error == MOM_OK && (int)known.from > MOM_FROM_TIME) {
        error = momi_err(MOM_INVALID, "from is %d", (int)known.from);
    }
    if (error != MOM_OK) {
        return error;
    }
    call.subscription = momi_slice_str(name);
    call.if_missing = known.if_missing;
    call.temporary = known.temporary;
    call.ignore_own = known.ignore_own;
    call.filters = filters;
    call.filters_count = known.filters_count;
    call.from = (enum momi_from)known.from;
    if (known.from == MOM_FROM_SEQUENCE) {
        call.from_value = known.from_sequence;
    } else if (known.from == MOM_FROM_TIME) {
        call.from_value = known.from_time_us;
    }
    return carry_out(node, &call, how);
}

static int delete_subscription(mom_node *node, const char *topic, const char *name,
                               int timeout_ms, const struct how *how) {
    struct momi_call call;
    int error =
        begin(node, CALL_SUBSCRIPTION_DELETE, MOMI_KIND_TOPIC, topic, timeout_ms, &call);
    if (error == MOM_OK) {
        error = momi_check_subscription(name);
    }
    if (error != MOM_OK) {
        return error;
    }
    call.subscription = momi_slice_str(name);
    return carry_out(node, &call, how);
}

int mom_subscription_create(mom_node *node, const char *topic, const char *name,
                            const mom_subscription_options *options, int timeout_ms) {
    return create_subscription(node, topic, name, options, timeout_ms, &waiting);
}

int mom_subscription_delete(mom_node *node, const char *topic, const char *name,
                            int timeout_ms) {
    return delete_subscription(node, topic, name, timeout_ms, &waiting);
}

int mom_subscription_create_submit(mom_node *node, const char *topic, const char *name,
                                   const mom_subscription_options *options,
                                   int timeout_ms, mom_completions *completions,
                                   void *user) {
    return create_subscription(node, topic, name, options, timeout_ms,
                               &(struct how){true, completions, user});
}

int mom_subscription_delete_submit(mom_node *node, const char *topic, const char *name,
                                   int timeout_ms, mom_completions *completions,
                                   void *user) {
    return delete_subscription(node, topic, name, timeout_ms,
                               &(struct how){true, completions, user});
}
