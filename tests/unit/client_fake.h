/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A core that is only a client half, and a mesh that is a table: included by the tests of
 * the client, once per program. It gives the functions that client*.c takes from core.c
 * and mesh.c, keeps what is sent, and answers as leaders would.
 */
#ifndef MOM_TESTS_CLIENT_FAKE_H
#define MOM_TESTS_CLIENT_FAKE_H

#include "t.h"

#include "base/mem.h"
#include "core/client_internal.h"

enum { FAKE_SENT_MAX = 4096, FAKE_DONE_MAX = 65536, FAKE_NODES_MAX = 8, FAKE_SELF = 1 };

struct fake_sent {
    uint64_t node;
    struct momi_frame *frame;
};

struct fake_done {
    uint64_t id;
    int error;
    uint64_t sequence;
    uint32_t synced_copies;
};

static struct {
    struct momi_core core;
    struct momi_effects effects;
    uint32_t shards_count; /* 0: the map is not known */
    bool is_member;
    uint64_t leaders[MOMI_SHARDS_MAX + 1];
    bool is_damaged[MOMI_SHARDS_MAX + 1]; /* every copy */
    bool is_up[FAKE_NODES_MAX];
    bool has_room[FAKE_NODES_MAX];
    uint32_t losses; /* calls of momi_mesh_leader_lost */
    bool forgets;    /* then the leader is unknown */
    struct fake_sent sent[FAKE_SENT_MAX];
    size_t sent_count, sent_next;
    struct fake_done done[FAKE_DONE_MAX];
    size_t done_count, done_next;
    char text[256]; /* of the last completion */
} fake;

/* --- what the client takes from others ------------------------------------------ */

struct momi_frame *momi_core_send(struct momi_core *core, uint64_t node,
                                  enum momi_frame_type type) {
    assert_true(core->effects != NULL);
    assert_true(fake.sent_count < FAKE_SENT_MAX);
    struct momi_frame *frame = momi_effect_alloc(core->effects, sizeof *frame);
    memset(frame, 0, sizeof *frame);
    frame->type = type;
    fake.sent[fake.sent_count++] = (struct fake_sent){.node = node, .frame = frame};
    return frame;
}
bool momi_core_has_room(const struct momi_core *core, uint64_t node) {
    (void)core;
    return fake.is_up[node] && fake.has_room[node];
}
bool momi_mesh_lane_is_up(const struct momi_core *core, uint64_t node) {
    (void)core;
    return fake.is_up[node];
}
void momi_mesh_want_lane(struct momi_core *core, uint64_t node) {
    (void)core;
    (void)node;
}
uint64_t momi_mesh_leader(const struct momi_core *core, uint32_t shard) {
    (void)core;
    return fake.leaders[shard];
}
void momi_mesh_leader_hint(struct momi_core *core, uint32_t shard, uint64_t node,
                           uint64_t term) {
    (void)term;
    fake.leaders[shard] = node;
    momi_client_routes_changed(core, shard);
}
void momi_mesh_leader_lost(struct momi_core *core, uint32_t shard, uint64_t node) {
    (void)core;
    fake.losses++;
    if (fake.forgets && fake.leaders[shard] == node) {
        fake.leaders[shard] = 0;
    }
}
bool momi_mesh_is_damaged(const struct momi_core *core, uint32_t shard) {
    (void)core;
    return fake.is_damaged[shard];
}
uint32_t momi_mesh_shards_count(const struct momi_core *core) {
    (void)core;
    return fake.shards_count;
}
bool momi_mesh_is_member(const struct momi_core *core) {
    (void)core;
    return fake.is_member;
}
size_t momi_mesh_waiting_for(const struct momi_core *core, char *text, size_t size) {
    (void)core;
    return (size_t)snprintf(text, size, "waiting for the map");
}
void momi_mesh_status(const struct momi_core *core, struct momi_bytes *out) {
    (void)core;
    momi_bytes_append(out, "status", 6);
}

/* --- turns ---------------------------------------------------------------------- */

static inline void fake_release_frames(void) {
    for (size_t i = 0; i < fake.sent_count; i++) {
        struct momi_frame *frame = fake.sent[i].frame;
        for (uint32_t p = 0; p < frame->parts_count; p++) {
            momi_buf_release(frame->parts[p].buf);
        }
    }
    fake.sent_count = fake.sent_next = 0;
}

/* What the last turn sent is forgotten; its completions and messages are. */
static inline void fake_clear(void) {
    fake_release_frames();
    momi_effects_clear(&fake.effects);
    fake.core.effects = &fake.effects;
}

static inline void fake_collect(void) {
    for (size_t i = 0; i < fake.effects.count; i++) {
        const struct momi_effect *effect = &fake.effects.list[i];
        if (effect->type == FX_COMPLETE) {
            assert_true(fake.done_count < FAKE_DONE_MAX);
            fake.done[fake.done_count++] =
                (struct fake_done){.id = effect->token,
                                   .error = effect->completion.error,
                                   .sequence = effect->completion.sequence,
                                   .synced_copies = effect->completion.synced_copies};
            size_t size = effect->completion.text.size < sizeof fake.text - 1
                              ? effect->completion.text.size
                              : sizeof fake.text - 1;
            if (size > 0) {
                memcpy(fake.text, effect->completion.text.data, size);
            }
            fake.text[size] = 0;
        }
    }
}

/* The end of a turn. Frames and effects stay until the next fake_begin. */
static inline void fake_end(void) {
    momi_client_turn_end(&fake.core);
    fake_collect();
}
static inline void fake_begin(void) { fake_clear(); }

/* A turn in which nothing happens but that it is `at_us`. */
static inline void fake_at(uint64_t at_us) {
    fake_begin();
    assert_true(at_us >= fake.core.now_us);
    fake.core.now_us = at_us;
    momi_client_time(&fake.core);
    fake_end();
}
/* Every deadline until `at_us`, one after the other; what was sent last stays. */
static inline void fake_run_until(uint64_t at_us) {
    for (int turns = 0; momi_client_deadline(&fake.core) <= at_us; turns++) {
        assert_true(turns < 10000); /* no busy loop */
        uint64_t due_us = momi_client_deadline(&fake.core);
        fake_at(due_us > fake.core.now_us ? due_us : fake.core.now_us);
    }
    fake.core.now_us = at_us;
}

static inline void fake_open(uint64_t inflight_bytes_max) {
    memset(&fake, 0, sizeof fake);
    fake.core.config.node = FAKE_SELF;
    fake.core.config.inflight_bytes_max = inflight_bytes_max;
    fake.core.now_us = 1000 * MOMI_S;
    momi_rng_seed(&fake.core.rng, 7);
    fake.shards_count = 1;
    fake.is_member = true;
    for (size_t i = 0; i < FAKE_NODES_MAX; i++) {
        fake.is_up[i] = fake.has_room[i] = true;
    }
    for (size_t i = 0; i <= MOMI_SHARDS_MAX; i++) {
        fake.leaders[i] = 2;
    }
    momi_effects_init(&fake.effects);
    fake.core.effects = &fake.effects;
    fake.core.client = momi_client_new(&fake.core);
    assert_non_null(fake.core.client);
}

static inline void fake_shut(void) {
    fake_clear();
    momi_client_free(fake.core.client);
    momi_effects_free(&fake.effects);
}

/* --- the program ---------------------------------------------------------------- */

static inline void fake_call(const struct momi_call *call) {
    struct momi_event event = {.type = EV_CALL, .now_us = fake.core.now_us, .call = call};
    momi_client_event(&fake.core, &event);
}

static inline void fake_cancel(uint64_t id) {
    struct momi_event event = {
        .type = EV_CALL_CANCEL, .now_us = fake.core.now_us, .token = id};
    momi_client_event(&fake.core, &event);
}

/* `count` messages of `size` bytes in one call; each begins with the id and its place. */
static inline void fake_publish_many(uint64_t id, const char *queue, uint32_t count,
                                     size_t size, uint64_t deadline_us) {
    static uint8_t records[2 << 20];
    static uint8_t body[1 << 20];
    size_t at = 0;
    assert_true(size >= 12);
    for (uint32_t i = 0; i < count; i++) {
        memset(body, 0, size);
        momi_store_le64(body, id);
        momi_store_le32(body + 8, i);
        struct momi_record record = {.body = momi_slice(body, size)};
        momi_record_write(records + at, &record);
        at += momi_record_size(0, 0, size);
    }
    struct momi_call call = {.type = CALL_PUBLISH,
                             .id = id,
                             .deadline_us = deadline_us,
                             .kind = MOMI_KIND_QUEUE,
                             .name = momi_slice_str(queue),
                             .records_count = count,
                             .records = momi_slice(records, at)};
    fake_call(&call);
}
static inline void fake_publish(uint64_t id, const char *queue, uint64_t deadline_us) {
    fake_publish_many(id, queue, 1, 100, deadline_us);
}

/* --- what came out -------------------------------------------------------------- */

static inline const struct fake_sent *fake_next_sent(enum momi_frame_type type) {
    while (fake.sent_next < fake.sent_count) {
        const struct fake_sent *sent = &fake.sent[fake.sent_next++];
        if (sent->frame->type == type) {
            return sent;
        }
    }
    return NULL;
}

static inline size_t fake_sent_of(enum momi_frame_type type) {
    size_t count = 0;
    for (size_t i = 0; i < fake.sent_count; i++) {
        count += fake.sent[i].frame->type == type ? 1 : 0;
    }
    return count;
}

/* The payload of a frame that was sent, as its reader sees it; valid until the next call.
 */
static inline struct momi_slice fake_payload(const struct momi_frame *frame) {
    static struct momi_bytes bytes;
    momi_bytes_clear(&bytes);
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        momi_bytes_append(&bytes, frame->parts[i].bytes.data, frame->parts[i].bytes.size);
    }
    struct momi_slice payload = momi_bytes_slice(&bytes);
    if (frame->parts_count == 0) {
        momi_bytes_free(&bytes);
    }
    return payload;
}

/* All commands that the turn sent for a shard, in order; returns how many. */
static inline size_t fake_commands(uint32_t shard, struct momi_command *commands,
                                   size_t max) {
    static struct momi_bytes bytes;
    momi_bytes_clear(&bytes);
    for (size_t i = 0; i < fake.sent_count; i++) {
        const struct momi_frame *frame = fake.sent[i].frame;
        if (frame->type == FRAME_COMMANDS && frame->shard == shard) {
            struct momi_slice payload = fake_payload(frame);
            momi_bytes_append(&bytes, payload.data, payload.size);
        }
    }
    struct momi_command_reader reader = momi_command_reader(momi_bytes_slice(&bytes));
    size_t count = 0;
    while (count < max && momi_command_next(&reader, &commands[count])) {
        count++;
    }
    assert_false(reader.failed);
    return count;
}

static inline const struct fake_done *fake_next_done(void) {
    return fake.done_next < fake.done_count ? &fake.done[fake.done_next++] : NULL;
}
#define CHECK_DONE(expected_id, expected_error)                                          \
    do {                                                                                 \
        const struct fake_done *done_ = fake_next_done();                                \
        assert_non_null(done_);                                                          \
        CHECK_EQ(done_->id, (expected_id));                                              \
        CHECK_ERR(done_->error, (expected_error));                                       \
    } while (0)
#define CHECK_NOTHING_DONE() CHECK_EQ(fake.done_count, fake.done_next)

/* --- leaders -------------------------------------------------------------------- */

static struct momi_session_id fake_session = {.index = 10, .epoch = 0, .place = 1};

static inline void fake_frame(uint64_t node, struct momi_frame *frame) {
    momi_client_frame(&fake.core, node, frame);
}

/* Answers the session opening that the last turn has sent. */
static inline void fake_opened(uint64_t node, uint32_t shard) {
    const struct fake_sent *opening = NULL;
    for (size_t i = 0; i < fake.sent_count; i++) {
        if (fake.sent[i].frame->type == FRAME_SESSION_OPEN &&
            fake.sent[i].frame->shard == shard) {
            opening = &fake.sent[i];
        }
    }
    assert_non_null(opening);
    CHECK_EQ(opening->node, node);
    struct momi_frame frame = {.type = FRAME_SESSION_OPENED,
                               .shard = shard,
                               .counter = opening->frame->counter,
                               .session = fake_session};
    fake_begin();
    fake_frame(node, &frame);
    fake_end();
}

struct fake_result {
    int error;
    uint64_t value;
};

/* Does not begin or end a turn. */
static inline void fake_results(uint64_t node, uint32_t shard, uint64_t first,
                                const struct fake_result *results, uint32_t count) {
    struct momi_bytes bytes = {0};
    for (uint32_t i = 0; i < count; i++) {
        momi_put_varint(&bytes, (uint64_t)-results[i].error);
        momi_put_varint(&bytes, results[i].value);
    }
    struct momi_frame frame = {.type = FRAME_RESULTS,
                               .shard = shard,
                               .session = fake_session,
                               .number = first,
                               .count = count,
                               .index = 2,
                               .payload = momi_bytes_slice(&bytes)};
    fake_frame(node, &frame);
    momi_bytes_free(&bytes);
}

/* A turn with one result. */
static inline void fake_result(uint64_t node, uint32_t shard, uint64_t number, int error,
                               uint64_t value) {
    struct fake_result result = {.error = error, .value = value};
    fake_begin();
    fake_results(node, shard, number, &result, 1);
    fake_end();
}

static inline void fake_not_leader(uint64_t node, uint32_t shard, uint64_t leader) {
    struct momi_frame frame = {
        .type = FRAME_NOT_LEADER, .shard = shard, .index = leader, .term = 5};
    fake_begin();
    fake_frame(node, &frame);
    fake_end();
}

static inline void fake_lane(uint64_t node, bool is_up) {
    struct momi_lane_info info = {.node = node};
    struct momi_event event = {.type = is_up ? EV_LANE_UP : EV_LANE_DOWN,
                               .now_us = fake.core.now_us,
                               .node = node,
                               .lane = &info};
    fake.is_up[node] = is_up;
    fake_begin();
    momi_client_event(&fake.core, &event);
    fake_end();
}

/* The first of its type in the turn; NULL: none. */
static inline const struct momi_effect *fake_effect_of(enum momi_effect_type type) {
    for (size_t i = 0; i < fake.effects.count; i++) {
        if (fake.effects.list[i].type == type) {
            return &fake.effects.list[i];
        }
    }
    return NULL;
}

/* The question that the turn sent last; NULL: none. */
static inline const struct momi_frame *fake_query_sent(void) {
    const struct momi_frame *found = NULL;
    for (size_t i = 0; i < fake.sent_count; i++) {
        if (fake.sent[i].frame->type == FRAME_QUERY) {
            found = fake.sent[i].frame;
        }
    }
    return found;
}
static inline void fake_reply(uint64_t request, int error, uint64_t number) {
    struct momi_frame frame = {.type = FRAME_QUERY_REPLY,
                               .shard = 1,
                               .counter = request,
                               .error = error,
                               .number = number,
                               .flags = MOMI_FLAG_LAST};
    fake_begin();
    fake_frame(2, &frame);
    fake_end();
}

#endif
