/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Raft replica on a bench: the test hands it frames and completions one by one and
 * looks at what it sends and writes. It is replica 1 on node 101; replica r is on node
 * 100 + r.
 */
#ifndef MOM_TESTS_RAFT_RIG_H
#define MOM_TESTS_RAFT_RIG_H

#include "t.h"

#include "base/mem.h"
#include "core/effect.h"
#include "core/entry.h"
#include "core/keys.h"
#include "core/raft.h"

#include <mom/error.h>

enum { RIG_NODE = 100, RIG_SHARD = 3, RIG_START_US = 1000000 };

struct rig {
    struct momi_raft raft;
    struct momi_effects effects;
    struct momi_core_counters counters;
    uint64_t now_us;
    uint64_t batch;
    uint64_t read_index; /* last one asked for from the store */
    unsigned reads;
};

/* One letter per replica from 1 on: v votes, l learns, o voted before, b both (joint). */
static inline struct momi_raft_config rig_config(uint64_t version, const char *letters) {
    struct momi_raft_config config = {.version = version};
    for (uint64_t r = 1; letters[r - 1] != '\0'; r++) {
        char letter = letters[r - 1];
        if (letter == '-') {
            continue;
        }
        config.at[config.count++] =
            (struct momi_replica_at){.replica = r,
                                     .node = RIG_NODE + r,
                                     .votes = letter == 'v' || letter == 'b',
                                     .voted = letter == 'o' || letter == 'b'};
        config.is_joint = config.is_joint || letter == 'o' || letter == 'b';
    }
    return config;
}

static inline struct momi_buf *rig_entry(uint64_t term, size_t size) {
    uint8_t *bytes = calloc(1, size);
    struct momi_slice piece = momi_slice(bytes, size);
    struct momi_buf *entry =
        momi_entry_build(MOMI_ENTRY_COMMANDS, term, 5, 6, 1, 0, &piece, 1);
    CHECK(entry != NULL);
    free(bytes);
    return entry;
}

static inline struct momi_buf *rig_config_entry(uint64_t term,
                                                const struct momi_raft_config *config) {
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(config, &bytes);
    struct momi_slice body = momi_bytes_slice(&bytes);
    struct momi_buf *entry =
        momi_entry_build(MOMI_ENTRY_CONFIG, term, 5, 6, 0, 0, &body, 1);
    CHECK(entry != NULL);
    momi_bytes_free(&bytes);
    return entry;
}

static inline void rig_init_with(struct rig *rig, const char *letters, uint64_t term,
                                 const uint64_t *log_terms, size_t log_count) {
    *rig = (struct rig){.now_us = RIG_START_US};
    momi_effects_init(&rig->effects);
    struct momi_raft_start start = {
        .shard = RIG_SHARD,
        .replica = 1,
        .node = RIG_NODE + 1,
        .term = term,
        .seed = 11,
        .now_us = rig->now_us,
        .config = rig_config(1, letters),
        .has_state = true,
        .counters = &rig->counters,
    };
    CHECK(momi_raft_init(&rig->raft, &start));
    for (size_t i = 0; i < log_count; i++) {
        struct momi_buf *entry = rig_entry(log_terms[i], 8);
        momi_log_append(&rig->raft.log, log_terms[i], entry, (uint32_t)entry->size);
        momi_buf_release(entry);
    }
    momi_raft_restored(&rig->raft);
}

static inline void rig_init(struct rig *rig, const char *letters) {
    rig_init_with(rig, letters, 0, NULL, 0);
}

static inline void rig_free(struct rig *rig) {
    momi_raft_free(&rig->raft);
    momi_effects_free(&rig->effects);
}

/* What is sent from here on is new. */
static inline void rig_clear(struct rig *rig) { momi_effects_clear(&rig->effects); }

static inline void rig_read(void *user, uint64_t index) {
    struct rig *rig = user;
    rig->read_index = index;
    rig->reads++;
}

/* Ends a turn: sends, and numbers its batch. Returns the number; 0: nothing to write. */
static inline uint64_t rig_turn(struct rig *rig) {
    momi_raft_send_appends(&rig->raft, rig->now_us, rig_read, rig, &rig->effects);
    if (momi_batch_count(&rig->effects.batch) == 0) {
        return 0;
    }
    CHECK(!rig->effects.batch.failed);
    CHECK(rig->effects.batch_sync);
    momi_raft_batch_numbered(&rig->raft, rig->now_us, ++rig->batch);
    momi_batch_clear(&rig->effects.batch);
    return rig->batch;
}

static inline void rig_written(struct rig *rig, uint64_t number) {
    momi_raft_written(&rig->raft, rig->now_us, number, &rig->effects);
}

/* A turn whose batch is synced at once. */
static inline void rig_sync(struct rig *rig) {
    uint64_t number = rig_turn(rig);
    if (number != 0) {
        rig_written(rig, number);
    }
}

/* The newest frame of a type to a replica (0: to anybody); NULL: none. */
static inline const struct momi_frame *rig_sent(const struct rig *rig,
                                                enum momi_frame_type type, uint64_t to) {
    for (size_t i = rig->effects.count; i > 0; i--) {
        const struct momi_effect *effect = &rig->effects.list[i - 1];
        if (effect->type == FX_SEND && effect->frame->type == type &&
            (to == 0 || effect->frame->to_replica == to)) {
            CHECK_EQ(effect->node, RIG_NODE + effect->frame->to_replica);
            CHECK_EQ(effect->frame->shard, RIG_SHARD);
            CHECK_EQ(effect->frame->from_replica, 1);
            return effect->frame;
        }
    }
    return NULL;
}

static inline unsigned rig_count(const struct rig *rig, enum momi_frame_type type) {
    unsigned count = 0;
    for (size_t i = 0; i < rig->effects.count; i++) {
        count += rig->effects.list[i].type == FX_SEND &&
                 rig->effects.list[i].frame->type == type;
    }
    return count;
}

static inline void rig_frame(struct rig *rig, const struct momi_frame *frame) {
    momi_raft_frame(&rig->raft, rig->now_us, RIG_NODE + frame->from_replica, frame, NULL,
                    NULL, 0, &rig->effects);
}

static inline void rig_vote(struct rig *rig, uint64_t from, uint64_t term, uint64_t index,
                            uint64_t log_term, uint32_t flags) {
    struct momi_frame frame = {.type = FRAME_VOTE,
                               .from_replica = from,
                               .to_replica = 1,
                               .term = term,
                               .index = index,
                               .log_term = log_term,
                               .flags = flags};
    rig_frame(rig, &frame);
}

static inline void rig_vote_reply(struct rig *rig, uint64_t from, uint64_t term,
                                  uint32_t flags) {
    struct momi_frame frame = {.type = FRAME_VOTE_REPLY,
                               .from_replica = from,
                               .to_replica = 1,
                               .term = term,
                               .flags = flags};
    rig_frame(rig, &frame);
}

/* An append of small entries with these terms behind (index, log_term). */
static inline void rig_append(struct rig *rig, uint64_t from, uint64_t term,
                              uint64_t index, uint64_t log_term, uint64_t commit,
                              const uint64_t *terms, size_t count) {
    struct momi_buf *entries[8];
    CHECK(count <= 8);
    for (size_t i = 0; i < count; i++) {
        entries[i] = rig_entry(terms[i], 8);
    }
    struct momi_frame frame = {.type = FRAME_APPEND,
                               .from_replica = from,
                               .to_replica = 1,
                               .term = term,
                               .index = index,
                               .log_term = log_term,
                               .commit = commit,
                               .count = (uint32_t)count};
    momi_raft_frame(&rig->raft, rig->now_us, RIG_NODE + from, &frame, entries, terms,
                    count, &rig->effects);
    for (size_t i = 0; i < count; i++) {
        momi_buf_release(entries[i]);
    }
}

static inline void rig_append_reply(struct rig *rig, uint64_t from, uint64_t index,
                                    uint32_t flags) {
    struct momi_frame frame = {.type = FRAME_APPEND_REPLY,
                               .from_replica = from,
                               .to_replica = 1,
                               .term = rig->raft.term,
                               .index = index,
                               .number = index,
                               .log_term = momi_log_term(&rig->raft.log, index),
                               .flags = flags};
    rig_frame(rig, &frame);
}

static inline bool rig_line(struct rig *rig, uint64_t from, uint64_t term,
                            uint64_t commit, uint64_t *reply_term) {
    struct momi_heartbeat_line line = {.shard = RIG_SHARD,
                                       .from_replica = from,
                                       .to_replica = 1,
                                       .term = term,
                                       .commit = commit};
    struct momi_heartbeat_line reply = {.shard = 0};
    bool accepted = momi_raft_heartbeat(&rig->raft, rig->now_us, RIG_NODE + from, &line,
                                        &reply, &rig->effects);
    *reply_term = reply.term;
    return accepted;
}

static inline void rig_line_reply(struct rig *rig, uint64_t from, uint64_t term,
                                  uint64_t counter) {
    struct momi_heartbeat_line line = {
        .shard = RIG_SHARD, .from_replica = from, .to_replica = 1, .term = term};
    momi_raft_heartbeat_reply(&rig->raft, rig->now_us, RIG_NODE + from, counter, &line,
                              77, &rig->effects);
}

/* Lets time pass up to the next deadline. */
static inline void rig_wait(struct rig *rig) {
    uint64_t due = momi_raft_deadline(&rig->raft);
    CHECK(due != MOMI_NEVER);
    if (due > rig->now_us) {
        rig->now_us = due;
    }
    momi_raft_time(&rig->raft, rig->now_us, &rig->effects);
}

/* Makes it leader with the votes of the given replica; its no-op is written and synced,
 * confirmed by nobody else. */
static inline void rig_lead(struct rig *rig, uint64_t voter) {
    while (rig->raft.role != RAFT_PRE_CANDIDATE) {
        rig_wait(rig);
    }
    rig_vote_reply(rig, voter, rig->raft.term + 1, MOMI_FLAG_PRE | MOMI_FLAG_GRANTED);
    CHECK_EQ(rig->raft.role, RAFT_CANDIDATE);
    rig_sync(rig);
    rig_vote_reply(rig, voter, rig->raft.term, MOMI_FLAG_GRANTED);
    CHECK_EQ(rig->raft.role, RAFT_LEADER);
    rig_sync(rig);
}

/* A follower confirms everything. */
static inline void rig_confirm(struct rig *rig, uint64_t from) {
    rig_append_reply(rig, from, momi_log_last(&rig->raft.log), MOMI_FLAG_OK);
}

static inline uint64_t rig_propose(struct rig *rig, size_t size) {
    struct momi_buf *entry = rig_entry(rig->raft.term, size);
    uint64_t index = momi_raft_propose(&rig->raft, rig->now_us, entry, &rig->effects);
    momi_buf_release(entry);
    return index;
}

static inline int rig_change(struct rig *rig, const struct momi_raft_config *config) {
    struct momi_buf *entry = rig_config_entry(rig->raft.term, config);
    int result =
        momi_raft_propose_config(&rig->raft, rig->now_us, config, entry, &rig->effects);
    momi_buf_release(entry);
    return result;
}

#endif
