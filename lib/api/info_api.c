/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking: queues, topics, subscriptions, the mesh, counters. Answers come encoded from
 * the core (core/info.h) and are copied into what the program sees. See <mom/info.h>.
 */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "base/arena.h"
#include "base/mem.h"
#include "base/sort.h"
#include "core/info.h"

/* --- asking ----------------------------------------------------------------------------
 */

/* `answer`: its body is the caller's to free, also after an error. */
static int ask(mom_node *node, const struct momi_call *call, struct momi_answer *answer) {
    int error = momi_node_enter(node);
    if (error == MOM_OK) {
        error = momi_node_call(node, call, NULL, answer);
        momi_node_leave(node);
    }
    return error;
}

static int decode(const struct momi_bytes *body, struct momi_arena *arena,
                  struct momi_info_list *list) {
    int error = momi_info_decode(momi_bytes_slice(body), arena, list);
    return error == MOM_INVALID ? momi_err(MOM_VERSION, "an answer that cannot be read")
                                : error;
}

/* --- streams
 * ------------------------------------------------------------------------------ */

#define DEFINE_INIT(type)                                                                \
    void type##_init_size(type *info, size_t size) {                                     \
        memset(info, 0, size);                                                           \
        info->size = size;                                                               \
    }
DEFINE_INIT(mom_stream_info)
DEFINE_INIT(mom_mesh_info)
DEFINE_INIT(mom_node_info)
DEFINE_INIT(mom_shard_info)
DEFINE_INIT(mom_metrics)

/* Copies as much as the caller knows. */
static int export_info(void *out, const void *in, size_t in_size) {
    size_t size;
    memcpy(&size, out, sizeof size);
    if (size < sizeof size) {
        return momi_err(MOM_INVALID, "info: size is %zu; was it initialised?", size);
    }
    memcpy(out, in, size < in_size ? size : in_size);
    memcpy(out, &size, sizeof size);
    return MOM_OK;
}

static void copy_options(mom_stream_info *info,
                         const struct momi_stream_options *options) {
    info->lease_ms = options->lease_us / MOMI_MS;
    info->deliveries_max = options->deliveries_max;
    info->messages_max = options->messages_max;
    info->bytes_max = options->bytes_max;
    info->retention_ms = options->retention_us / MOMI_MS;
    info->retention_bytes = options->retention_bytes;
    info->retention_count = options->retention_count;
    info->no_dead_letter = options->no_dead_letter;
}

static void copy_stream(mom_stream_info *info, const struct momi_stream_info *stream) {
    info->shard = stream->place.shard;
    info->leader = stream->place.leader;
    for (uint32_t i = 0;
         i < stream->place.replicas_count && info->replicas_count < MOM_REPLICAS_MAX;
         i++) {
        info->replicas[info->replicas_count++] = stream->place.replicas[i];
    }
    info->messages_ready = stream->depth;
    info->messages_leased = stream->leased;
    info->bytes = stream->bytes;
    info->sequence_first =
        stream->first_sequence == stream->next_sequence ? 0 : stream->first_sequence;
    info->sequence_next = stream->next_sequence;
    info->consumers = stream->consumers;
    info->subscriptions = stream->subscriptions_count;
    info->redelivered = stream->redelivered;
    info->dead_lettered = stream->dead_lettered;
    info->created_us = stream->created_wall_us;
    info->creator = stream->creator;
    copy_options(info, &stream->options);
}

static void copy_subscription(mom_stream_info *info,
                              const struct momi_subscription_info *subscription) {
    info->messages_ready = subscription->depth;
    info->messages_leased = subscription->leased;
    info->bytes = subscription->bytes;
    info->sequence_first = subscription->next_sequence;
    info->consumers = subscription->consumers;
    info->subscriptions = 0;
    info->redelivered = subscription->redelivered;
    info->dead_lettered = subscription->dead_lettered;
    info->creator = subscription->creator;
    info->temporary = subscription->temporary;
    info->ignore_own = subscription->ignore_own;
    info->is_filling = subscription->filling;
}

/* The leader's name, as far as this node knows it. */
static void name_leader(mom_node *node, mom_stream_info *info, int timeout_ms) {
    mom_status *status;
    if (info->leader == 0 || mom_status_get(node, &status, timeout_ms) != MOM_OK) {
        return;
    }
    mom_node_info about;
    mom_node_info_init(&about);
    for (size_t i = 0; mom_status_node(status, i, &about) == MOM_OK; i++) {
        if (about.node == info->leader) {
            (void)snprintf(info->leader_name, sizeof info->leader_name, "%s", about.name);
        }
    }
    mom_status_free(status);
}

static int describe(mom_node *node, enum momi_kind kind, const char *name,
                    const char *subscription, mom_stream_info *info, int timeout_ms) {
    struct momi_call call = {.type = CALL_DESCRIBE, .kind = kind};
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(info, "info");
    }
    if (error == MOM_OK) {
        error = momi_check_stream(name, kind == MOMI_KIND_QUEUE ? "queue" : "topic");
    }
    if (error != MOM_OK) {
        return error;
    }
    call.name = momi_slice_str(name);
    call.subscription = momi_slice_str(subscription == NULL ? "" : subscription);
    struct momi_answer answer = {0};
    struct momi_arena arena = {0};
    struct momi_info_list list;
    mom_stream_info all = {.size = sizeof all};
    error = momi_check_deadline(timeout_ms, &call.deadline_us);
    if (error == MOM_OK) {
        error = ask(node, &call, &answer);
    }
    if (error == MOM_OK) {
        error = decode(&answer.body, &arena, &list);
    }
    if (error == MOM_OK && (list.streams_count == 0 ||
                            (subscription != NULL && list.subscriptions_count == 0))) {
        error = momi_err(MOM_VERSION, "an answer without what was asked for");
    }
    if (error == MOM_OK) {
        copy_stream(&all, &list.streams[0]);
        if (subscription != NULL) {
            copy_subscription(&all, &list.subscriptions[0]);
        }
        name_leader(node, &all, timeout_ms);
        error = export_info(info, &all, sizeof all);
    }
    momi_arena_free(&arena);
    momi_bytes_free(&answer.body);
    return error;
}

int mom_queue_info(mom_node *node, const char *queue, mom_stream_info *info,
                   int timeout_ms) {
    return describe(node, MOMI_KIND_QUEUE, queue, NULL, info, timeout_ms);
}

int mom_topic_info(mom_node *node, const char *topic, mom_stream_info *info,
                   int timeout_ms) {
    return describe(node, MOMI_KIND_TOPIC, topic, NULL, info, timeout_ms);
}

int mom_subscription_info(mom_node *node, const char *topic, const char *name,
                          mom_stream_info *info, int timeout_ms) {
    int error = momi_check_subscription(name);
    return error != MOM_OK
               ? error
               : describe(node, MOMI_KIND_TOPIC, topic, name, info, timeout_ms);
}

/* --- lists
 * -------------------------------------------------------------------------------- */

struct list_item {
    size_t name_at;   /* in `texts` */
    const char *name; /* the same, once the list is whole */
    bool is_own;
};
struct mom_list {
    struct list_item *items; /* owned */
    size_t count;
    char *texts; /* owned */
    size_t texts_bytes;
};

void mom_list_free(mom_list *list) {
    if (list != NULL) {
        momi_free(list->items);
        momi_free(list->texts);
        momi_free(list);
    }
}

size_t mom_list_count(const mom_list *list) { return list == NULL ? 0 : list->count; }

const char *mom_list_name(const mom_list *list, size_t index) {
    return list == NULL || index >= list->count ? NULL : list->items[index].name;
}

bool mom_list_is_own(const mom_list *list, size_t index) {
    return list != NULL && index < list->count && list->items[index].is_own;
}

struct named {
    struct momi_slice name;
    uint64_t creator;
};

static struct named item_of(const struct momi_info_list *from, bool subscriptions,
                            size_t index) {
    if (subscriptions) {
        return (struct named){from->subscriptions[index].name,
                              from->subscriptions[index].creator};
    }
    return (struct named){from->streams[index].name, from->streams[index].creator};
}

/* False: out of memory; the list is as long as before. */
static bool list_append(mom_list *list, const struct momi_info_list *from,
                        bool subscriptions, uint64_t self) {
    size_t count = subscriptions ? from->subscriptions_count : from->streams_count;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += item_of(from, subscriptions, i).name.size + 1;
    }
    struct list_item *items =
        momi_realloc(list->items, (list->count + count + 1) * sizeof *items);
    if (items == NULL) {
        return false;
    }
    list->items = items;
    char *texts = momi_realloc(list->texts, list->texts_bytes + bytes + 1);
    if (texts == NULL) {
        return false;
    }
    list->texts = texts;
    for (size_t i = 0; i < count; i++) {
        struct named named = item_of(from, subscriptions, i);
        char *at = texts + list->texts_bytes;
        memcpy(at, named.name.data, named.name.size);
        at[named.name.size] = '\0';
        items[list->count++] = (struct list_item){.name_at = list->texts_bytes,
                                                  .is_own = named.creator == self};
        list->texts_bytes += named.name.size + 1;
    }
    return true;
}

static int compare_names(const void *left, const void *right) {
    return strcmp(((const struct list_item *)left)->name,
                  ((const struct list_item *)right)->name);
}

/* Nothing is appended any more. Subscriptions come in the order of their creation. */
static void list_end(mom_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].name = list->texts + list->items[i].name_at;
    }
    momi_sort(list->items, list->count, sizeof *list->items, compare_names);
}

/* One page; `more` when there is another behind its last name. */
static int get_page(mom_node *node, const struct momi_call *call, bool subscriptions,
                    mom_list *list, bool *more) {
    struct momi_answer answer = {0};
    struct momi_arena arena = {0};
    struct momi_info_list found;
    size_t before = list->count;
    int error = ask(node, call, &answer);
    if (error == MOM_OK) {
        error = decode(&answer.body, &arena, &found);
    }
    if (error == MOM_OK &&
        !list_append(list, &found, subscriptions, momi_node_id(node))) {
        error = momi_err(MOM_NO_MEMORY, "no memory for a list");
    }
    *more = error == MOM_OK && call->type == CALL_LIST && answer.sequence == 1 &&
            list->count > before;
    momi_arena_free(&arena);
    momi_bytes_free(&answer.body);
    return error;
}

static int get_list(mom_node *node, struct momi_call *call, bool subscriptions,
                    mom_list **list_out, int timeout_ms) {
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(list_out, "list");
    }
    if (error == MOM_OK) {
        error = momi_check_deadline(timeout_ms, &call->deadline_us);
    }
    if (error != MOM_OK) {
        return error;
    }
    mom_list *list = momi_calloc(1, sizeof *list);
    if (list == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a list");
    }
    bool more = true;
    while (error == MOM_OK && more) {
        error = get_page(node, call, subscriptions, list, &more);
        if (more) {
            call->name =
                momi_slice_str(list->texts + list->items[list->count - 1].name_at);
        }
    }
    if (error != MOM_OK) {
        mom_list_free(list);
        return error;
    }
    list_end(list);
    *list_out = list;
    return MOM_OK;
}

int mom_queue_list(mom_node *node, mom_list **list, int timeout_ms) {
    struct momi_call call = {.type = CALL_LIST, .kind = MOMI_KIND_QUEUE};
    return get_list(node, &call, false, list, timeout_ms);
}

int mom_topic_list(mom_node *node, mom_list **list, int timeout_ms) {
    struct momi_call call = {.type = CALL_LIST, .kind = MOMI_KIND_TOPIC};
    return get_list(node, &call, false, list, timeout_ms);
}

int mom_subscription_list(mom_node *node, const char *topic, mom_list **list,
                          int timeout_ms) {
    struct momi_call call = {.type = CALL_SUBSCRIPTIONS, .kind = MOMI_KIND_TOPIC};
    int error = momi_check_stream(topic, "topic");
    if (error != MOM_OK) {
        return error;
    }
    call.name = momi_slice_str(topic);
    return get_list(node, &call, true, list, timeout_ms);
}
