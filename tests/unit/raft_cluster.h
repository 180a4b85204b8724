/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Raft group in one process, for the tests of raft*.c: replicas with a disk each, a
 * network that the test decides over, and virtual time. Checks the promises of Raft after
 * every turn:
 *
 *   election safety       one leader per term
 *   log matching          the same index and term: the same logs up to there
 *   leader completeness   a new leader has what was committed in earlier terms
 *   state machine safety  a committed index never holds anything else
 *   durability            at its commit an entry is on the disks of a quorum
 *
 * The first broken one is kept in `failure`; the test shows it with its seed.
 * Replica r lives on node NODE_BASE + r.
 */
#ifndef MOM_TESTS_RAFT_CLUSTER_H
#define MOM_TESTS_RAFT_CLUSTER_H

#include "raft_cluster_model.h"

/* --- the network -----------------------------------------------------------------------
 */

static inline void cluster_post(struct cluster *c, uint64_t from,
                                const struct momi_effect *fx) {
    uint64_t to = fx->node - NODE_BASE;
    if (to == 0 || to > REPLICAS || c->cut[from][to] ||
        momi_rng_chance(&c->rng, c->loss_ppm)) {
        return;
    }
    unsigned copies = momi_rng_chance(&c->rng, c->duplicate_ppm) ? 2 : 1;
    for (unsigned copy = 0; copy < copies; copy++) {
        CHECK(c->flying_count < FRAMES_MAX);
        struct flying *f = &c->flying[c->flying_count++];
        *f = (struct flying){.from = from, .to = to, .frame = *fx->frame};
        f->due_us =
            c->now_us + momi_rng_between(&c->rng, c->delay_min_us, c->delay_max_us);
        f->order = c->order++;
        size_t size = 0;
        for (uint32_t i = 0; i < fx->frame->parts_count; i++) {
            size += fx->frame->parts[i].bytes.size;
        }
        f->payload = momi_buf_new(size);
        size_t at = 0;
        for (uint32_t i = 0; i < fx->frame->parts_count; i++) {
            memcpy(f->payload->data + at, fx->frame->parts[i].bytes.data,
                   fx->frame->parts[i].bytes.size);
            at += fx->frame->parts[i].bytes.size;
        }
        if (fx->frame->lines_count > 0) {
            f->line = fx->frame->lines[0];
        }
        f->frame.parts = NULL;
        f->frame.parts_count = 0;
    }
}

static inline void cluster_drop_frames(struct cluster *c, uint64_t replica) {
    size_t kept = 0;
    for (size_t i = 0; i < c->flying_count; i++) {
        if (c->flying[i].from == replica || c->flying[i].to == replica) {
            momi_buf_release(c->flying[i].payload);
        } else {
            c->flying[kept++] = c->flying[i];
        }
    }
    c->flying_count = kept;
}

/* --- turns -----------------------------------------------------------------------------
 */

static inline void never_read(void *user, uint64_t index) {
    (void)user;
    (void)index;
    fail_msg("all bytes are in memory");
}

/* Ends the turn of a member: its effects are carried out, and what must hold is checked.
 */
static inline void turn_end(struct cluster *c, uint64_t replica) {
    struct member *m = &c->member[replica];
    struct momi_effects *effects = &m->effects;
    momi_raft_send_appends(&m->raft, c->now_us, never_read, NULL, effects);
    size_t ops = momi_batch_count(&effects->batch);
    CHECK(!effects->batch.failed);
    if (ops > 0) {
        CHECK(effects->batch_sync);
        CHECK(m->writes_count < WRITES_MAX);
        struct disk_write *write = &m->writes[m->writes_count];
        *write = (struct disk_write){.number = ++m->batch, .ops_count = ops};
        write->ops = momi_calloc(ops, sizeof *write->ops);
        uint64_t begin =
            m->writes_count == 0 ? c->now_us : m->writes[m->writes_count - 1].due_us;
        write->due_us = begin + momi_rng_between(&c->rng, c->sync_min_us, c->sync_max_us);
        m->writes_count++;
        for (size_t i = 0; i < ops; i++) {
            struct momi_batch_view view = momi_batch_at(&effects->batch, i);
            write->ops[i] = disk_op_of(&view);
        }
        momi_raft_batch_numbered(&m->raft, c->now_us, write->number);
    }
    for (size_t i = 0; i < effects->count; i++) {
        CHECK(effects->list[i].type == FX_SEND);
        cluster_post(c, replica, &effects->list[i]);
    }
    momi_effects_clear(effects);
    check_leader(c, replica);
    check_commit(c, replica);
    m->raft.became_leader = m->raft.lost_leadership = m->raft.config_committed = false;
    m->raft.truncated_from = 0;
}

static inline void cluster_start(struct cluster *c, uint64_t replica) {
    struct member *m = &c->member[replica];
    struct momi_raft_start start = {
        .shard = SHARD,
        .replica = replica,
        .node = NODE_BASE + replica,
        .term = m->disk.hard.term,
        .vote = m->disk.hard.vote,
        .seed = momi_rng_next(&c->rng),
        .now_us = c->now_us,
        .config = c->genesis,
        .has_state = true,
        .counters = &m->counters,
    };
    CHECK(momi_raft_init(&m->raft, &start));
    m->is_up = true;
    m->batch = 0;
    m->commit_seen = 0;
    m->heartbeat_due_us = c->now_us;
    uint64_t index = 1;
    for (; index < LOG_MAX && m->disk.entries[index] != NULL; index++) {
        struct momi_buf *entry = m->disk.entries[index];
        struct momi_entry parsed;
        CHECK(momi_entry_parse(momi_buf_slice(entry), &parsed));
        momi_log_append(&m->raft.log, parsed.term, entry, (uint32_t)entry->size);
        struct momi_raft_config config;
        if (parsed.kind == MOMI_ENTRY_CONFIG &&
            momi_raft_config_decode(parsed.body, &config)) {
            momi_raft_restore_config(&m->raft, index, &config);
        }
    }
    CHECK_EQ(m->disk.last, index - 1);
    momi_raft_restored(&m->raft);
}

/* A crash: of the writes in flight, the first few have reached the disk. */
static inline void cluster_crash(struct cluster *c, uint64_t replica) {
    struct member *m = &c->member[replica];
    size_t survive = (size_t)momi_rng_between(&c->rng, 0, m->writes_count);
    for (size_t i = 0; i < m->writes_count; i++) {
        if (i < survive) {
            disk_apply(&m->disk, &m->writes[i]);
        }
        write_free(&m->writes[i]);
    }
    m->writes_count = 0;
    momi_raft_free(&m->raft);
    momi_effects_clear(&m->effects);
    m->is_up = false;
    m->disk_is_stuck = false;
    cluster_drop_frames(c, replica);
}

/* What a lane tells about a process that ended, or came back. */
static inline void cluster_lanes(struct cluster *c, uint64_t replica, bool up) {
    for (uint64_t other = 1; other <= REPLICAS; other++) {
        struct member *m = &c->member[other];
        if (other == replica || !m->is_up) {
            continue;
        }
        if (up) {
            momi_raft_lane_up(&m->raft, c->now_us, NODE_BASE + replica, &m->effects);
        } else {
            momi_raft_lane_down(&m->raft, c->now_us, NODE_BASE + replica, true,
                                &m->effects);
        }
        turn_end(c, other);
    }
}

static inline void cluster_heartbeat(struct cluster *c, uint64_t replica) {
    struct member *m = &c->member[replica];
    m->heartbeat_due_us = c->now_us + MOMI_HEARTBEAT_US;
    m->heartbeat_counter++;
    for (uint64_t other = 1; other <= REPLICAS; other++) {
        struct momi_heartbeat_line line;
        if (other == replica ||
            !momi_raft_heartbeat_line(&m->raft, NODE_BASE + other, &line)) {
            continue;
        }
        struct momi_frame *frame =
            momi_effect_send(&m->effects, NODE_BASE + other, FRAME_HEARTBEAT);
        frame->counter = m->heartbeat_counter;
        frame->lines = momi_effect_alloc(&m->effects, sizeof line);
        frame->lines[0] = line;
        frame->lines_count = 1;
    }
    turn_end(c, replica);
}

static inline void deliver_lines(struct cluster *c, struct member *m,
                                 const struct flying *f) {
    uint64_t node = NODE_BASE + f->from;
    if (f->frame.type == FRAME_HEARTBEAT_REPLY) {
        momi_raft_heartbeat_reply(&m->raft, c->now_us, node, f->frame.counter, &f->line,
                                  0, &m->effects);
        return;
    }
    struct momi_heartbeat_line reply;
    if (momi_raft_heartbeat(&m->raft, c->now_us, node, &f->line, &reply, &m->effects)) {
        struct momi_frame *frame =
            momi_effect_send(&m->effects, node, FRAME_HEARTBEAT_REPLY);
        frame->counter = f->frame.counter;
        frame->lines = momi_effect_alloc(&m->effects, sizeof reply);
        frame->lines[0] = reply;
        frame->lines_count = 1;
    }
}

static inline void cluster_deliver(struct cluster *c, struct flying *f) {
    struct member *m = &c->member[f->to];
    if (!m->is_up || c->cut[f->from][f->to]) {
        momi_buf_release(f->payload);
        return;
    }
    if (f->frame.type == FRAME_HEARTBEAT || f->frame.type == FRAME_HEARTBEAT_REPLY) {
        deliver_lines(c, m, f);
    } else {
        struct momi_buf *entries[1024];
        uint64_t terms[1024];
        struct momi_reader in = momi_reader(momi_buf_slice(f->payload));
        CHECK(f->frame.count <= 1024);
        for (uint32_t i = 0; i < f->frame.count; i++) {
            uint32_t size = momi_get_u32(&in);
            entries[i] = momi_buf_copy(momi_get_bytes(&in, size));
            struct momi_entry entry;
            CHECK(momi_entry_parse(momi_buf_slice(entries[i]), &entry));
            terms[i] = entry.term;
        }
        CHECK(momi_reader_done(&in));
        momi_raft_frame(&m->raft, c->now_us, NODE_BASE + f->from, &f->frame, entries,
                        terms, f->frame.count, &m->effects);
        for (uint32_t i = 0; i < f->frame.count; i++) {
            momi_buf_release(entries[i]);
        }
    }
    momi_buf_release(f->payload);
    turn_end(c, f->to);
}

static inline void cluster_complete(struct cluster *c, uint64_t replica) {
    struct member *m = &c->member[replica];
    struct disk_write write = m->writes[0];
    memmove(m->writes, m->writes + 1, --m->writes_count * sizeof *m->writes);
    disk_apply(&m->disk, &write);
    write_free(&write);
    momi_raft_written(&m->raft, c->now_us, write.number, &m->effects);
    turn_end(c, replica);
}

/* The next thing that happens before `until_us`; false: nothing does. */
static inline bool cluster_step(struct cluster *c, uint64_t until_us) {
    uint64_t due = until_us;
    uint64_t replica = 0;
    enum { NOTHING, TIME, HEARTBEAT, WRITE, FRAME } what = NOTHING;
    for (uint64_t r = 1; r <= REPLICAS; r++) {
        struct member *m = &c->member[r];
        if (!m->is_up) {
            continue;
        }
        uint64_t deadline = momi_raft_deadline(&m->raft);
        if (deadline < due) {
            due = deadline, replica = r, what = TIME;
        }
        if (m->raft.role == RAFT_LEADER && m->heartbeat_due_us < due) {
            due = m->heartbeat_due_us, replica = r, what = HEARTBEAT;
        }
        if (m->writes_count > 0 && !m->disk_is_stuck && m->writes[0].due_us < due) {
            due = m->writes[0].due_us, replica = r, what = WRITE;
        }
    }
    size_t best = 0;
    for (size_t i = 0; i < c->flying_count; i++) {
        const struct flying *f = &c->flying[i];
        if (f->due_us < due ||
            (what == FRAME && f->due_us == due && f->order < c->flying[best].order)) {
            due = f->due_us, best = i, what = FRAME;
        }
    }
    c->now_us = due > c->now_us ? due : c->now_us;
    switch (what) {
    case NOTHING:
        return false;
    case TIME:
        momi_raft_time(&c->member[replica].raft, c->now_us, &c->member[replica].effects);
        turn_end(c, replica);
        return true;
    case HEARTBEAT:
        cluster_heartbeat(c, replica);
        return true;
    case WRITE:
        cluster_complete(c, replica);
        return true;
    case FRAME:
        break;
    }
    struct flying f = c->flying[best];
    c->flying[best] = c->flying[--c->flying_count];
    cluster_deliver(c, &f);
    return true;
}

static inline void cluster_run(struct cluster *c, uint64_t for_us) {
    uint64_t until = c->now_us + for_us;
    for (unsigned steps = 0; steps < 10000000 && cluster_step(c, until); steps++) {
        if (c->failure[0] != '\0') {
            return;
        }
    }
    c->now_us = until;
}

/* --- what tests do ---------------------------------------------------------------------
 */

static inline struct momi_raft_config cluster_config(uint64_t version,
                                                     const char *letters) {
    /* One letter per replica: v votes, l learns, - is not there. */
    struct momi_raft_config config = {.version = version};
    for (uint64_t r = 1; letters[r - 1] != '\0'; r++) {
        if (letters[r - 1] != '-') {
            config.at[config.count++] = (struct momi_replica_at){
                .replica = r, .node = NODE_BASE + r, .votes = letters[r - 1] == 'v'};
        }
    }
    return config;
}

static inline struct cluster *cluster_new(uint64_t seed, const char *letters) {
    struct cluster *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    momi_rng_seed(&c->rng, seed);
    c->now_us = 1000000;
    c->genesis = cluster_config(1, letters);
    c->delay_min_us = 100;
    c->delay_max_us = 300;
    c->sync_min_us = 500;
    c->sync_max_us = 1500;
    c->flying = calloc(FRAMES_MAX, sizeof *c->flying);
    CHECK(c->flying != NULL);
    for (uint64_t r = 1; r <= REPLICAS; r++) {
        momi_effects_init(&c->member[r].effects);
        cluster_start(c, r);
    }
    return c;
}

static inline void cluster_free(struct cluster *c) {
    for (uint64_t r = 1; r <= REPLICAS; r++) {
        struct member *m = &c->member[r];
        if (m->is_up) {
            cluster_crash(c, r);
        }
        disk_drop_from(&m->disk, 0);
        momi_effects_free(&m->effects);
    }
    for (size_t i = 0; i < c->flying_count; i++) {
        momi_buf_release(c->flying[i].payload);
    }
    free(c->flying);
    free(c);
}

/* The leader of the highest term; 0: nobody leads. */
static inline uint64_t cluster_leader(const struct cluster *c) {
    uint64_t leader = 0;
    for (uint64_t r = 1; r <= REPLICAS; r++) {
        const struct member *m = &c->member[r];
        if (m->is_up && m->raft.role == RAFT_LEADER &&
            (leader == 0 || m->raft.term > c->member[leader].raft.term)) {
            leader = r;
        }
    }
    return leader;
}

static inline struct momi_buf *cluster_entry(struct cluster *c, uint64_t term,
                                             size_t size) {
    struct momi_bytes body = {.data = NULL};
    momi_put_u64(&body, ++c->payload_next);
    while (body.size < size) {
        momi_put_u8(&body, 'x');
    }
    struct momi_slice piece = momi_bytes_slice(&body);
    struct momi_buf *entry =
        momi_entry_build(MOMI_ENTRY_COMMANDS, term, 1, 1, 1, 0, &piece, 1);
    CHECK(entry != NULL);
    momi_bytes_free(&body);
    return entry;
}

/* Returns the index; 0: it does not lead. */
static inline uint64_t cluster_propose(struct cluster *c, uint64_t replica, size_t size) {
    struct member *m = &c->member[replica];
    if (momi_log_last(&m->raft.log) + 10 >= LOG_MAX) {
        return 0;
    }
    struct momi_buf *entry = cluster_entry(c, m->raft.term, size);
    uint64_t index = momi_raft_propose(&m->raft, c->now_us, entry, &m->effects);
    momi_buf_release(entry);
    turn_end(c, replica);
    return index;
}

static inline int cluster_change(struct cluster *c, uint64_t replica,
                                 const struct momi_raft_config *config) {
    struct member *m = &c->member[replica];
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(config, &bytes);
    struct momi_slice body = momi_bytes_slice(&bytes);
    struct momi_buf *entry =
        momi_entry_build(MOMI_ENTRY_CONFIG, m->raft.term, 1, 1, 0, 0, &body, 1);
    int result =
        momi_raft_propose_config(&m->raft, c->now_us, config, entry, &m->effects);
    momi_buf_release(entry);
    momi_bytes_free(&bytes);
    turn_end(c, replica);
    return result;
}

/* Proposes the way from the configuration in force to `letters`. */
static inline int cluster_change_to(struct cluster *c, uint64_t replica,
                                    const char *letters) {
    struct momi_raft_config *now = &c->member[replica].raft.config;
    struct momi_raft_config target = cluster_config(now->version + 1, letters);
    struct momi_raft_config proposal;
    if (!momi_raft_config_enter(now, &target, &proposal)) {
        return MOM_CONFLICT;
    }
    return cluster_change(c, replica, &proposal);
}

static inline void cluster_cut(struct cluster *c, uint64_t replica, bool cut) {
    for (uint64_t other = 1; other <= REPLICAS; other++) {
        c->cut[replica][other] = c->cut[other][replica] = cut;
    }
}

#endif
