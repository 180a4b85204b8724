/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leader's way out: results, deliveries, ended consumers and answers to queries, all
 * derived from the applied state (R10, M5, M7). What cannot be sent now, for want of a
 * lane or of bytes in memory, stays on its fresh list.
 */
#include "base/assert.h"
#include "core/authorize.h"
#include "core/info.h"
#include "core/shard_internal.h"

enum { RUNS_MAX = 512 };

/* --- results
 * ------------------------------------------------------------------------------------------------------
 */

/* How many copies were synced at least before anything was answered. */
static uint32_t quorum_of(const struct momi_raft_config *config) {
    uint32_t voters = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        voters += config->at[i].votes ? 1 : 0;
    }
    return voters / 2 + 1;
}

static void send_results(struct momi_shard *shard, struct momi_session *session) {
    struct momi_core *core = shard->core;
    uint64_t from = session->sent > session->answered ? session->sent : session->answered;
    if (session->last <= from) {
        return;
    }
    struct momi_bytes bytes = {0};
    for (uint64_t number = from + 1; number <= session->last; number++) {
        const struct momi_result *result =
            momi_ring_at(&session->results, number - session->answered - 1);
        momi_put_varint(&bytes, (uint64_t)-result->error);
        momi_put_varint(&bytes, result->value);
    }
    if (!bytes.failed) {
        struct momi_frame *frame = momi_core_send(core, session->node, FRAME_RESULTS);
        frame->shard = shard->id;
        frame->session = session->id;
        frame->number = from + 1;
        frame->count = (uint32_t)(session->last - from);
        frame->term = shard->raft.term;
        frame->index = core->config.durable ? quorum_of(&shard->raft.config) : 0;
        momi_frame_add_part(core->effects, frame, NULL, momi_bytes_slice(&bytes));
        session->sent = session->last;
    }
    momi_bytes_free(&bytes);
}

static void answer_sessions(struct momi_shard *shard) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &shard->machine->fresh_sessions) {
        struct momi_session *session =
            MOMI_CONTAINER_OF(link, struct momi_session, fresh_link);
        if (momi_mesh_lane_is_up(shard->core, session->node)) {
            send_results(shard, session);
        }
        momi_list_remove(link); /* when its lane comes back it is put on the list again */
    }
}

static void tell_ended(struct momi_shard *shard) {
    struct momi_ring *ended = &shard->machine->ended;
    for (size_t i = 0; i < ended->count; i++) {
        const struct momi_ended *one = momi_ring_at(ended, i);
        struct momi_frame *frame =
            momi_core_send(shard->core, one->node, FRAME_CONSUMER_ENDED);
        frame->shard = shard->id;
        frame->session = one->session;
        frame->consumer = one->consumer;
        frame->error = one->error;
        frame->term = shard->raft.term;
    }
    momi_ring_pop_front(ended, ended->count);
}

/* --- deliveries
 * ---------------------------------------------------------------------------------------------------
 */

struct outgoing {
    struct momi_frame *frame;
    struct momi_delivery_run *runs;
    uint32_t runs_count;
    size_t bytes;
};

/* Adds the messages of one lease, from delivery number `from` on, as far as there is
 * room; returns how many. Records of one publish lie side by side, so that a run goes out
 * as one part. */
static uint32_t add_lease(struct momi_shard *shard, struct outgoing *out,
                          const struct momi_lease *lease, uint64_t from,
                          struct momi_buf *buf) {
    struct momi_entry entry;
    bool is_sane = momi_entry_peek(momi_buf_slice(buf), &entry);
    MOMI_ASSERT(is_sane);
    uint32_t skip = (uint32_t)(from - lease->delivery);
    struct momi_slot_cursor cursor = {0};
    struct momi_delivery_run *run = NULL;
    struct momi_slice part = {0};
    uint32_t done = 0;
    for (uint32_t i = skip; i < lease->run.count && out->bytes < SHARD_DELIVER_BYTES;
         i++) {
        struct momi_record record;
        if (!momi_entry_record(&entry, lease->run.slot + i, &cursor, &record)) {
            break;
        }
        bool extends = run != NULL && part.data + part.size == record.whole.data &&
                       run->publisher == cursor.publisher;
        if (!extends) {
            if (part.size > 0) {
                momi_frame_add_part(shard->core->effects, out->frame, buf, part);
            }
            if (out->runs_count == RUNS_MAX) {
                part.size = 0;
                break;
            }
            part = momi_slice(record.whole.data, 0);
            run = &out->runs[out->runs_count++];
            *run = (struct momi_delivery_run){.delivery = lease->delivery + i,
                                              .sequence = lease->run.sequence + i,
                                              .counter = lease->counter + i,
                                              .deliveries = lease->run.deliveries,
                                              .wall_us = entry.wall_us,
                                              .publisher = cursor.publisher};
        }
        part.size += record.whole.size;
        run->count++;
        run->bytes += (uint32_t)record.whole.size;
        out->bytes += record.whole.size;
        done++;
    }
    if (part.size > 0) {
        momi_frame_add_part(shard->core->effects, out->frame, buf, part);
    }
    return done;
}

/* E7: no copy has these messages any more. They go out as records that no checksum fits,
 * so that the program is told (CORRUPT), and what comes behind them is not held up. */
static uint32_t add_lost_lease(struct momi_shard *shard, struct outgoing *out,
                               const struct momi_lease *lease, uint64_t from) {
    uint32_t skip = (uint32_t)(from - lease->delivery);
    uint32_t count = lease->run.count - skip;
    uint32_t room = SHARD_DELIVER_BYTES / MOMI_RECORD_HEADER;
    count = count < room ? count : room;
    if (out->runs_count == RUNS_MAX || out->bytes >= SHARD_DELIVER_BYTES) {
        return 0;
    }
    size_t size = (size_t)count * MOMI_RECORD_HEADER;
    uint8_t *records = momi_effect_alloc(shard->core->effects, size);
    for (uint32_t i = 0; i < count; i++) {
        static const struct momi_record nothing = {0};
        uint8_t *record = records + (size_t)i * MOMI_RECORD_HEADER;
        momi_record_write(record, &nothing);
        momi_record_spoil(record);
    }
    out->runs[out->runs_count++] =
        (struct momi_delivery_run){.delivery = lease->delivery + skip,
                                   .sequence = lease->run.sequence + skip,
                                   .counter = lease->counter + skip,
                                   .deliveries = lease->run.deliveries,
                                   .count = count,
                                   .bytes = (uint32_t)size};
    momi_frame_add_part(shard->core->effects, out->frame, NULL,
                        momi_slice(records, size));
    out->bytes += size;
    return count;
}

static struct momi_frame *new_delivery(struct momi_shard *shard,
                                       const struct momi_consumer *consumer,
                                       struct outgoing *out) {
    struct momi_core *core = shard->core;
    struct momi_frame *frame =
        momi_core_send(core, consumer->session->node, FRAME_DELIVER);
    frame->shard = shard->id;
    frame->session = consumer->session->id;
    frame->consumer = consumer->id;
    frame->term = shard->raft.term;
    frame->epoch = shard->machine->epoch;
    frame->number = consumer->sent; /* what came before: a gap shows (M5) */
    out->frame = frame;
    out->runs = momi_effect_alloc(core->effects, sizeof *out->runs * RUNS_MAX);
    out->runs_count = 0;
    out->bytes = 0;
    return frame;
}

/* The first lease with a delivery number above `sent`; leases are in rising order of both
 * numbers. */
static size_t first_unsent(const struct momi_consumer *consumer) {
    size_t low = 0;
    size_t high = consumer->leases.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, middle);
        if (lease->delivery + lease->run.count - 1 <= consumer->sent) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* True when everything assigned was sent. */
static bool deliver(struct momi_shard *shard, struct momi_consumer *consumer) {
    struct outgoing out = {0};
    bool is_done = true;
    for (size_t i = first_unsent(consumer); i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        bool gone = false;
        struct momi_buf *buf = momi_shard_entry(shard, lease->run.index, &gone);
        bool is_lost = buf == NULL && momi_shard_is_lost(shard, lease->run.index);
        if (buf == NULL && !is_lost) {
            is_done = false; /* order within a consumer is kept: later leases wait for
                                this one */
            break;
        }
        if (out.frame == NULL) {
            (void)new_delivery(shard, consumer, &out);
        }
        uint64_t last = lease->delivery + lease->run.count - 1;
        uint64_t from =
            consumer->sent + 1 > lease->delivery ? consumer->sent + 1 : lease->delivery;
        uint32_t done = is_lost ? add_lost_lease(shard, &out, lease, from)
                                : add_lease(shard, &out, lease, from, buf);
        shard->core->counters.messages_delivered += done;
        consumer->sent = done == 0 ? consumer->sent : from + done - 1;
        if (from + done - 1 < last || done == 0) {
            is_done = false;
            shard->wants_turn = true;
            break;
        }
    }
    if (out.frame != NULL) {
        out.frame->runs = out.runs;
        out.frame->runs_count = out.runs_count;
    }
    return is_done;
}

static void deliver_all(struct momi_shard *shard) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &shard->machine->fresh_consumers) {
        struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_consumer, fresh_link);
        if (!momi_mesh_lane_is_up(shard->core, consumer->session->node)) {
            momi_list_remove(link); /* its client asks again when it is back (M5) */
        } else if (momi_core_has_room(shard->core, consumer->session->node) &&
                   deliver(shard, consumer)) {
            momi_list_remove(link);
        }
    }
}

/* --- queries
 * ------------------------------------------------------------------------------------------------------
 */

/* S4. The principal of a question is the node that asks; one about a consumer is
 * answered out of the session that has it, to nobody else. */
static int examine_query(const struct momi_shard *shard, uint64_t node,
                         const struct momi_frame *frame) {
    struct momi_principal who = {.id = node, .node = node};
    enum momi_action action;
    struct momi_object object;
    if (!momi_query_action(shard->machine, frame, &action, &object)) {
        return MOM_INVALID;
    }
    return momi_authorize(shard->core, &who, action, &object);
}

static void refuse_query(struct momi_shard *shard, uint64_t node,
                         const struct momi_frame *frame, int error) {
    struct momi_frame *answer = momi_core_send(shard->core, node, FRAME_QUERY_REPLY);
    answer->shard = shard->id;
    answer->counter = frame->counter;
    answer->term = shard->raft.term;
    answer->error = error;
}

void momi_shard_query(struct momi_shard *shard, uint64_t node,
                      const struct momi_frame *frame) {
    struct momi_core *core = shard->core;
    if (shard->is_registry || !momi_shard_serves(shard)) {
        momi_shard_not_leader(shard, node, frame);
        return;
    }
    int error = examine_query(shard, node, frame);
    if (error != MOM_OK) {
        refuse_query(shard, node, frame, error);
        return;
    }
    uint64_t token = ++shard->query_next;
    if (shard->queries.count >= SHARD_QUERIES_MAX ||
        !momi_raft_read_index(&shard->raft, token, core->heartbeat_counter + 1)) {
        momi_shard_not_leader(shard, node, frame);
        return;
    }
    struct momi_buf *names = momi_buf_new(frame->name.size + frame->detail.size + 1);
    struct momi_query_waiting *waiting =
        names == NULL ? NULL : momi_ring_push(&shard->queries);
    if (waiting == NULL) {
        momi_buf_release(names);
        return;
    }
    if (frame->name.size > 0) {
        memcpy(names->data, frame->name.data, frame->name.size);
    }
    if (frame->detail.size > 0) {
        memcpy(names->data + frame->name.size, frame->detail.data, frame->detail.size);
    }
    names->size = frame->name.size + frame->detail.size;
    *waiting = (struct momi_query_waiting){.token = token,
                                           .node = node,
                                           .request = frame->counter,
                                           .kind = frame->kind,
                                           .arg = frame->count,
                                           .session = frame->session,
                                           .consumer = frame->consumer,
                                           .number = frame->number,
                                           .names = names,
                                           .name_size = (uint32_t)frame->name.size};
    core->heartbeat_due_us =
        core->now_us; /* waiting reads share one immediate heartbeat */
}

/* M5, M7: the client says which delivery it has; the rest of its leases is sent again. */
static int answer_empty(struct momi_shard *shard, const struct momi_query_waiting *query,
                        struct momi_frame *answer) {
    struct momi_session *session = momi_machine_session(shard->machine, query->session);
    if (session == NULL || session->node != query->node) {
        return MOM_CLOSED;
    }
    struct momi_consumer *consumer =
        momi_machine_consumer(shard->machine, session, query->consumer);
    if (consumer == NULL) {
        return MOM_NOT_FOUND;
    }
    answer->number = momi_machine_delivered(consumer);
    if (query->number < answer->number) {
        /* Also when nothing was sent yet: while its lane was down it was passed over. */
        consumer->sent = query->number;
        if (!momi_list_linked(&consumer->fresh_link)) {
            momi_list_push_back(&shard->machine->fresh_consumers, &consumer->fresh_link);
        }
    }
    return answer->number > query->number ? MOM_OK : MOM_EMPTY;
}

/* Where the streams of this shard live. */
static void put_place(const struct momi_shard *shard, struct momi_bytes *out) {
    struct momi_place_info place = {.shard = shard->id,
                                    .leader = shard->core->config.node};
    for (uint32_t i = 0; i < shard->raft.config.count; i++) {
        place.replicas[place.replicas_count++] = shard->raft.config.at[i].node;
    }
    momi_info_put_place(out, &place);
}

static void answer_query(struct momi_shard *shard,
                         const struct momi_query_waiting *query) {
    struct momi_core *core = shard->core;
    struct momi_slice name = momi_slice(query->names->data, query->name_size);
    struct momi_slice detail = momi_slice(query->names->data + query->name_size,
                                          query->names->size - query->name_size);
    enum momi_kind kind =
        query->arg == MOMI_KIND_TOPIC ? MOMI_KIND_TOPIC : MOMI_KIND_QUEUE;
    struct momi_frame *answer = momi_core_send(core, query->node, FRAME_QUERY_REPLY);
    answer->shard = shard->id;
    answer->counter = query->request;
    answer->term = shard->raft.term;
    answer->flags = MOMI_FLAG_LAST;
    struct momi_bytes bytes = {0};
    bool more = false;
    switch (query->kind) {
    case QUERY_DESCRIBE:
        answer->error = momi_machine_describe(shard->machine, kind, name, detail, &bytes);
        break;
    case QUERY_LIST:
        answer->error =
            momi_machine_list(shard->machine, kind, name, SHARD_LIST_PAGE, &bytes, &more);
        break;
    case QUERY_SUBSCRIPTIONS:
        answer->error = momi_machine_subscriptions(shard->machine, name, &bytes);
        break;
    case QUERY_EMPTY:
        answer->error = answer_empty(shard, query, answer);
        break;
    default:
        answer->error = MOM_INVALID;
        break;
    }
    if (answer->error == MOM_OK &&
        (query->kind == QUERY_DESCRIBE || query->kind == QUERY_LIST)) {
        put_place(shard, &bytes);
    }
    if (more) {
        answer->flags = 0;
    }
    if (bytes.failed) {
        answer->error = MOM_NO_MEMORY;
    } else if (bytes.size > 0) {
        momi_frame_add_part(core->effects, answer, NULL, momi_bytes_slice(&bytes));
    }
    momi_bytes_free(&bytes);
}

static void confirm_reads(struct momi_shard *shard) {
    struct momi_read_index confirmed[16];
    size_t count = momi_raft_take_reads(&shard->raft, confirmed, 16);
    while (count > 0) {
        for (size_t i = 0; i < count; i++) {
            for (size_t q = 0; q < shard->queries.count; q++) {
                struct momi_query_waiting *query = momi_ring_at(&shard->queries, q);
                if (query->token == confirmed[i].request) {
                    query->index = confirmed[i].index;
                    query->is_confirmed = true;
                    break;
                }
            }
        }
        count = momi_raft_take_reads(&shard->raft, confirmed, 16);
    }
}

static void answer_queries(struct momi_shard *shard) {
    if (shard->queries.count == 0) {
        return;
    }
    confirm_reads(shard);
    while (shard->queries.count > 0) {
        struct momi_query_waiting *query = momi_ring_at(&shard->queries, 0);
        if (!query->is_confirmed || query->index > shard->applied) {
            return; /* confirmations come in order */
        }
        answer_query(shard, query);
        momi_buf_release(query->names);
        momi_ring_pop_front(&shard->queries, 1);
    }
}

void momi_shard_drop_queries(struct momi_shard *shard) {
    for (size_t i = 0; i < shard->queries.count; i++) {
        momi_buf_release(
            ((struct momi_query_waiting *)momi_ring_at(&shard->queries, i))->names);
    }
    momi_ring_pop_front(&shard->queries, shard->queries.count);
}

void momi_shard_answer(struct momi_shard *shard) {
    if (shard->is_registry) {
        return;
    }
    momi_shard_answer_openings(shard);
    answer_sessions(shard);
    tell_ended(shard);
    deliver_all(shard);
    answer_queries(shard);
}
