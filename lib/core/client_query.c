/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions that cost no command: describe, list, subscriptions, "is it empty" (M7), and
 * those that this node answers by itself: status, ready.
 *
 * A request stays with its shard until it is answered; whenever another leader is found
 * it is asked again, under the same id, so that late answers are recognised. A list asks
 * every shard and is never silently shorter (M10).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/filter.h"
#include "core/info.h"

static const struct momi_slice no_text = {0};

/* --- requests ------------------------------------------------------------------- */

void momi_client_request_start(struct momi_core *core,
                               struct momi_client_request *request,
                               struct momi_client_shard *shard) {
    MOMI_ASSERT(request->id == 0);
    request->id = ++core->client->request_next;
    request->shard = shard;
    request->is_sent = false;
    momi_list_push_back(&shard->requests, &request->link);
    momi_map_insert(&core->client->requests, &request->by_id, momi_hash_u64(request->id));
    momi_client_shard_touch(core->client, shard);
}

void momi_client_request_stop(struct momi_client *client,
                              struct momi_client_request *request) {
    if (request->id != 0) {
        momi_map_remove(&client->requests, &request->by_id);
        momi_list_remove(&request->link);
        request->id = 0;
    }
}

static void send_request(struct momi_core *core, struct momi_client_shard *shard,
                         struct momi_client_request *request) {
    struct momi_frame *frame = momi_core_send(core, shard->node, FRAME_QUERY);
    frame->shard = shard->shard;
    frame->counter = request->id;
    request->is_sent = true;
    request->sent_us = core->now_us;
    if (request->consumer != NULL) {
        frame->kind = QUERY_EMPTY;
        frame->session = shard->session;
        frame->consumer = request->consumer->id;
        frame->number = request->consumer->delivered;
        return;
    }
    const struct momi_call *call = &request->call->call;
    frame->kind = call->type == CALL_DESCRIBE ? QUERY_DESCRIBE
                  : call->type == CALL_LIST   ? QUERY_LIST
                                              : QUERY_SUBSCRIPTIONS;
    frame->count = (uint32_t)call->kind;
    frame->name = momi_effect_copy(core->effects, call->name);
    frame->detail = momi_effect_copy(core->effects, call->subscription);
}

void momi_client_requests_send(struct momi_core *core, struct momi_client_shard *shard) {
    MOMI_LIST_FOR_EACH (link, &shard->requests) {
        struct momi_client_request *request =
            MOMI_CONTAINER_OF(link, struct momi_client_request, link);
        bool is_possible = request->consumer == NULL || shard->state == SESSION_OPEN;
        if (!request->is_sent && is_possible) {
            send_request(core, shard, request);
        }
    }
}

void momi_client_requests_fail(struct momi_core *core, struct momi_client_shard *shard,
                               int error) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &shard->requests) {
        struct momi_client_request *request =
            MOMI_CONTAINER_OF(link, struct momi_client_request, link);
        if (request->call == NULL) {
            continue; /* its consumer asks for as long as it lives */
        }
        struct momi_slice text = momi_client_shards_text(
            core, "every copy is damaged of shard", &shard->shard, 1);
        momi_client_finish(core, request->call, error, 0, text);
        break; /* that may have ended others of the same call */
    }
    if (!momi_list_empty(&shard->requests)) {
        momi_client_shard_touch(core->client, shard);
    }
}

void momi_client_requests_again(struct momi_core *core, struct momi_client_shard *shard) {
    bool is_any_old = false;
    MOMI_LIST_FOR_EACH (link, &shard->requests) {
        struct momi_client_request *request =
            MOMI_CONTAINER_OF(link, struct momi_client_request, link);
        if (request->is_sent && core->now_us >= request->sent_us + CLIENT_ANSWER_US) {
            request->is_sent = false;
            is_any_old = true;
        }
    }
    if (is_any_old) {
        momi_client_shard_touch(core->client, shard);
    }
}

/* --- describe, list, subscriptions ---------------------------------------------- */

int momi_client_ask_check(const struct momi_call *call) {
    if (call->type != CALL_SUBSCRIPTIONS && call->kind != MOMI_KIND_QUEUE &&
        call->kind != MOMI_KIND_TOPIC) {
        return momi_err(MOM_INVALID, "neither queues nor topics");
    }
    if (call->type == CALL_LIST) {
        return call->name.size <= MOMI_SYSTEM_NAME_BYTES_MAX
                   ? MOM_OK
                   : momi_err(MOM_INVALID, "no name is that long");
    }
    int error = momi_name_check(MOMI_NAME_STREAM, call->name);
    if (error == MOM_OK && call->type == CALL_DESCRIBE && call->subscription.size > 0) {
        error = momi_name_check(MOMI_NAME_SUBSCRIPTION, call->subscription);
    }
    return error;
}

void momi_client_ask_free(struct momi_client *client, struct momi_client_call *call) {
    for (uint32_t i = 0; i < call->requests_count; i++) {
        momi_client_request_stop(client, &call->requests[i]);
        momi_buf_release(call->pages[i]);
    }
    momi_free(call->requests);
    momi_free((void *)call->pages);
    momi_free(call->pages_last);
}

static bool ask_shard(struct momi_core *core, struct momi_client_call *call,
                      uint32_t index, uint32_t shard_id) {
    struct momi_client_shard *shard = momi_client_shard(core, shard_id);
    if (shard == NULL) {
        return false;
    }
    call->requests[index].call = call;
    momi_list_init(&call->requests[index].link);
    momi_client_request_start(core, &call->requests[index], shard);
    return true;
}

void momi_client_ask(struct momi_core *core, struct momi_client_call *call) {
    bool is_list = call->call.type == CALL_LIST;
    uint32_t count = is_list ? momi_mesh_shards_count(core) : 1;
    call->state = CALL_STATE_ASKING;
    call->requests = momi_calloc(count, sizeof *call->requests);
    call->pages = momi_calloc(count, sizeof *call->pages);
    call->pages_last = momi_calloc(count, sizeof *call->pages_last);
    bool is_asked =
        call->requests != NULL && call->pages != NULL && call->pages_last != NULL;
    for (uint32_t i = 0; is_asked && i < count; i++) {
        uint32_t shard =
            is_list ? i + 1 : momi_client_shard_of_name(core, call->call.name);
        is_asked = ask_shard(core, call, i, shard);
        call->requests_count += is_asked ? 1 : 0;
    }
    if (!is_asked) {
        momi_client_finish(core, call, MOM_NO_MEMORY, 0, no_text);
    }
}

/* The answers of all shards, while they are put together. */
struct merge {
    struct momi_info_list *lists; /* one for each shard, sorted by name */
    size_t *next;                 /* first one of each that is not taken */
    uint32_t count;
    const bool *is_last; /* nothing comes after the list of this shard */
};

/* The shard whose next name is the lowest; `count` when all are through. A shard that has
 * more than it said, and is through, ends the page: what comes next may be its. */
static uint32_t lowest(const struct merge *merge, bool *is_cut) {
    uint32_t best = merge->count;
    for (uint32_t i = 0; i < merge->count; i++) {
        const struct momi_info_list *list = &merge->lists[i];
        if (merge->next[i] == list->streams_count) {
            *is_cut = *is_cut || (!merge->is_last[i] && list->streams_count > 0);
            continue;
        }
        struct momi_slice name = list->streams[merge->next[i]].name;
        if (best == merge->count ||
            momi_slice_compare(name, merge->lists[best].streams[merge->next[best]].name) <
                0) {
            best = i;
        }
    }
    return best;
}

/* Sorted by name, each name once; a place behind the streams that live there. True: more
 * names follow. */
static bool merge_streams(struct merge *merge, struct momi_bytes *out) {
    struct momi_slice before = {0};
    uint32_t taken = 0;
    bool is_cut = false;
    uint32_t at = lowest(merge, &is_cut);
    while (at < merge->count && !is_cut && taken < CLIENT_LIST_PAGE) {
        const struct momi_stream_info *stream =
            &merge->lists[at].streams[merge->next[at]++];
        bool is_new = taken == 0 || momi_slice_compare(stream->name, before) > 0;
        if (is_new) {
            momi_info_put_stream(out, stream);
            before = stream->name;
            taken++;
        }
        uint32_t next = lowest(merge, &is_cut);
        bool ends = next != at || is_cut || taken == CLIENT_LIST_PAGE;
        if (is_new && ends && stream->place.shard != 0) {
            momi_info_put_place(out, &stream->place);
        }
        at = next;
    }
    return at < merge->count || is_cut;
}

static void finish_list(struct momi_core *core, struct momi_client_call *call) {
    struct momi_arena *arena = &core->effects->arena;
    struct merge merge = {.count = call->requests_count, .is_last = call->pages_last};
    merge.lists = momi_effect_alloc(core->effects, merge.count * sizeof *merge.lists);
    merge.next = momi_effect_alloc(core->effects, merge.count * sizeof *merge.next);
    memset(merge.lists, 0, merge.count * sizeof *merge.lists);
    memset(merge.next, 0, merge.count * sizeof *merge.next);
    struct momi_completion completion = {.error = MOM_OK};
    for (uint32_t i = 0; i < merge.count && completion.error == MOM_OK; i++) {
        completion.error =
            momi_info_decode(momi_buf_slice(call->pages[i]), arena, &merge.lists[i]);
    }
    struct momi_bytes *out = &core->client->scratch;
    momi_bytes_clear(out);
    if (completion.error == MOM_OK) {
        completion.sequence = merge_streams(&merge, out) ? 1 : 0;
        completion.error = out->failed ? MOM_NO_MEMORY : MOM_OK;
    }
    if (completion.error == MOM_OK) {
        completion.body = momi_effect_copy(core->effects, momi_bytes_slice(out));
    }
    momi_client_finish_with(core, call, &completion);
}

static void answer_call(struct momi_core *core, struct momi_client_request *request,
                        const struct momi_frame *frame) {
    struct momi_client_call *call = request->call;
    if (call->call.type != CALL_LIST || frame->error != MOM_OK) {
        struct momi_completion completion = {
            .error = frame->error > MOM_OK ? MOM_VERSION : frame->error,
            .body = momi_effect_copy(core->effects, frame->payload),
            .text = momi_effect_copy(core->effects, frame->detail)};
        momi_client_finish_with(core, call, &completion);
        return;
    }
    size_t index = (size_t)(request - call->requests);
    momi_client_request_stop(core->client, request);
    call->pages[index] = momi_buf_copy(frame->payload);
    call->pages_last[index] = (frame->flags & MOMI_FLAG_LAST) != 0;
    if (call->pages[index] == NULL) {
        momi_client_finish(core, call, MOM_NO_MEMORY, 0, no_text);
    } else if (++call->answers_count == call->requests_count) {
        finish_list(core, call);
    }
}

void momi_client_ask_expired(struct momi_core *core, struct momi_client_call *call) {
    uint32_t *silent =
        momi_effect_alloc(core->effects, (call->requests_count + 1) * sizeof *silent);
    size_t count = 0;
    for (uint32_t i = 0; i < call->requests_count; i++) {
        if (call->requests[i].id != 0) {
            silent[count++] = call->requests[i].shard->shard;
        }
    }
    struct momi_slice text =
        momi_client_shards_text(core, "no answer of shard", silent, count);
    momi_client_finish(core, call,
                       call->call.type == CALL_LIST ? MOM_UNAVAILABLE : MOM_TIMEOUT, 0,
                       text);
}

void momi_client_query_reply(struct momi_core *core, uint64_t node,
                             const struct momi_frame *frame) {
    struct momi_client *client = core->client;
    struct momi_client_request *request = NULL;
    struct momi_map_node *at =
        momi_map_first(&client->requests, momi_hash_u64(frame->counter));
    for (; at != NULL && request == NULL; at = momi_map_next(at)) {
        struct momi_client_request *found =
            MOMI_CONTAINER_OF(at, struct momi_client_request, by_id);
        request = found->id == frame->counter ? found : NULL;
    }
    if (request == NULL || request->shard->shard != frame->shard) {
        return; /* answered before, or given up */
    }
    struct momi_client_shard *shard = request->shard;
    if (frame->error == MOM_UNAVAILABLE) {
        if (node == shard->node) {
            momi_client_shard_unroute(core, shard, momi_client_retry_us(core, 0));
        }
        return; /* asked again */
    }
    if (request->consumer == NULL) {
        answer_call(core, request, frame);
    } else {
        uint64_t id = request->id;
        momi_client_request_stop(client, request);
        if (frame->error == MOM_CLOSED) {
            if (node == shard->node && shard->state == SESSION_OPEN) {
                momi_client_session_lost(core, shard);
            }
        } else {
            momi_client_consumer_answered(core, request->consumer, id, frame->error,
                                          frame->number);
        }
    }
    momi_client_shard_heard(core, shard, node);
}

/* --- what this node knows by itself --------------------------------------------- */

void momi_client_status(struct momi_core *core, const struct momi_call *call) {
    struct momi_bytes *out = &core->client->scratch;
    momi_bytes_clear(out);
    momi_mesh_status(core, out);
    struct momi_completion completion = {.error = out->failed ? MOM_NO_MEMORY : MOM_OK};
    if (!out->failed) {
        completion.body = momi_effect_copy(core->effects, momi_bytes_slice(out));
    }
    momi_client_complete(core, call->id, &completion);
}

static bool is_ready(const struct momi_core *core) {
    uint32_t shards_count = momi_mesh_shards_count(core);
    if (shards_count == 0 || !momi_mesh_is_member(core)) {
        return false;
    }
    /* The registry too: without its leader nothing joins and nothing moves. */
    for (uint32_t shard = MOMI_REGISTRY_SHARD; shard <= shards_count; shard++) {
        if (momi_mesh_leader(core, shard) == 0 && !momi_mesh_is_damaged(core, shard)) {
            return false; /* what is damaged for good is not waited for */
        }
    }
    return true;
}

void momi_client_wait_ready(struct momi_core *core, struct momi_client_call *call) {
    call->state = CALL_STATE_READY;
    momi_list_push_back(&core->client->ready_waits, &call->link);
}

void momi_client_check_ready(struct momi_core *core) {
    struct momi_client *client = core->client;
    if (momi_list_empty(&client->ready_waits) || !is_ready(core)) {
        return;
    }
    while (!momi_list_empty(&client->ready_waits)) {
        momi_client_finish(
            core,
            MOMI_CONTAINER_OF(client->ready_waits.next, struct momi_client_call, link),
            MOM_OK, 0, no_text);
    }
}
