/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of replication that can be held against every single step: what a frame may
 * change, what a promise needs before it leaves, what a leader may commit, and which
 * configuration is in force. Most of them are looked at from outside: the votes, answers
 * and commits of a node against what its disk, and the disks of the others, have synced.
 *
 *   R1  one vote per term, for ever; a leader commits an entry of its own term that
 *       majorities of both halves have synced; the newest configuration is in force; one
 *       change at a time
 *   R2  frames for another replica change nothing; removed ids stay removed
 *   R4  frames of a lower term change nothing
 *   R6  what is called durable, or confirmed, is synced with the term that the log has;
 *       what is written at an index of the log is what the log holds there
 *   E6  no vote without a complete state
 *   E3  entries below the log go with the checkpoint that knows them dead
 *   R8  stamps never fall along the log
 *   M5  deliveries of a lower term, or after one that is missing, are dropped
 */
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/keys.h"
#include "core/raft_internal.h"
#include "core/shard_internal.h"
#include "world.h"

enum { SHARDS = 32, VOTES_ROOM_MIN = 256 };

/* A replica before a step. */
struct before {
    uint64_t replica; /* 0: none */
    uint64_t term, vote, last, commit, leader_heard_us, peer_heard_us;
    uint64_t config_index; /* of the newest configuration in the log */
    enum momi_raft_role role;
};

struct vote {
    uint64_t key; /* hash of shard, replica and term; 0: free */
    uint64_t candidate;
};

/* What was seen of a replica last; forgotten with its node's life. */
struct seen {
    uint64_t replica;
    uint64_t durable, durable_term;
    uint64_t commit;
    uint64_t stamp_index, stamp_term, stamp_us; /* of the entry written last */
};

struct sim_rules {
    struct before before[SHARDS];
    uint64_t client_term[SHARDS]; /* highest term that the node's client half knows */
    uint64_t delivered;           /* of the consumer that the frame is for */
    struct vote *votes;           /* a hash table */
    size_t votes_room, votes_count;
    struct seen seen[SIM_NODES_MAX][SHARDS];
    uint64_t seen_life[SIM_NODES_MAX];
    uint64_t removed[SIM_NODES_MAX][SHARDS]; /* highest id whose removal is synced */
};

struct sim_rules *sim_rules_new(void) {
    return momi_must_calloc(1, sizeof(struct sim_rules));
}

void sim_rules_free(struct sim_rules *rules) {
    if (rules != NULL) {
        momi_free(rules->votes);
    }
    momi_free(rules);
}

static uint32_t shards_end(const struct sim_world *world) {
    return world->options.shards + 1 < SHARDS ? world->options.shards + 1 : SHARDS;
}

static unsigned long long llu(uint64_t number) { return number; }

/* --- what is on disk ------------------------------------------------------------------
 */

static struct momi_slice synced_value(const struct sim_node *node,
                                      enum momi_family family,
                                      const struct momi_key *key) {
    const struct sim_table *table = &node->disk.synced[family];
    struct momi_slice wanted = momi_key_slice(key);
    size_t at = sim_table_seek(table, wanted);
    if (at < table->count &&
        momi_slice_equal(momi_buf_slice(table->items[at].key), wanted)) {
        return momi_buf_slice(table->items[at].value);
    }
    return (struct momi_slice){0};
}

/* Term of the synced entry; 0: there is none. */
static uint64_t synced_term(const struct sim_node *node, uint32_t shard, uint64_t index) {
    struct momi_key key = momi_key_entry(shard, index);
    struct momi_slice bytes = synced_value(node, MOMI_FAMILY_LOG, &key);
    struct momi_entry entry;
    return bytes.data != NULL && momi_entry_peek(bytes, &entry) ? entry.term : 0;
}

static bool synced_hard(const struct sim_node *node, uint32_t shard,
                        struct momi_hard_state *hard) {
    struct momi_key key = momi_key_node('h', shard);
    struct momi_slice bytes = synced_value(node, MOMI_FAMILY_NODE, &key);
    *hard = (struct momi_hard_state){0};
    return bytes.data == NULL || momi_hard_state_decode(bytes, hard);
}

static uint64_t synced_replica(const struct sim_node *node, uint32_t shard) {
    struct momi_key key = momi_key_node('s', shard);
    struct momi_slice bytes = synced_value(node, MOMI_FAMILY_NODE, &key);
    struct momi_shard_header header;
    return bytes.data != NULL && momi_shard_header_decode(bytes, &header) ? header.replica
                                                                          : 0;
}

/* --- before and after a step ----------------------------------------------------------
 */

static const struct momi_config_at *config_from_end(const struct momi_raft *raft,
                                                    size_t place) {
    size_t count = raft->config_history.count;
    return place < count ? momi_ring_at(&raft->config_history, count - 1 - place) : NULL;
}

static void note_before(struct before *before, const struct momi_shard *shard,
                        uint64_t peer) {
    *before = (struct before){0};
    if (shard == NULL) {
        return;
    }
    const struct momi_raft *raft = &shard->raft;
    const struct momi_progress *progress =
        peer == 0 ? NULL
                  : momi_raft_progress_on((struct momi_raft *)(uintptr_t)raft, peer);
    *before = (struct before){
        .replica = shard->replica,
        .term = raft->term,
        .vote = raft->vote,
        .last = momi_log_last(&raft->log),
        .commit = raft->commit,
        .leader_heard_us = raft->leader_heard_us,
        .peer_heard_us = progress == NULL ? 0 : progress->heard_us,
        .config_index = config_from_end(raft, 0)->index,
        .role = raft->role,
    };
}

void sim_rules_before(struct sim_world *world, uint32_t node,
                      const struct momi_event *event) {
    struct sim_rules *rules = world->rules;
    const struct momi_core *core = world->nodes[node].core;
    uint64_t peer = event->type == EV_FRAME ? event->node : 0;
    for (uint32_t s = 0; s < shards_end(world); s++) {
        note_before(&rules->before[s], core->shards[s], peer);
        const struct momi_client_shard *client = core->client->shards[s];
        rules->client_term[s] = client == NULL ? 0 : client->term;
    }
    if (event->type == EV_FRAME && event->frame->type == FRAME_DELIVER) {
        const struct momi_client_consumer *consumer =
            momi_client_consumer_find_wire(core->client, event->frame->consumer);
        rules->delivered = consumer == NULL ? 0 : consumer->delivered;
    }
}

static bool is_unchanged(const struct before *a, const struct before *b) {
    return a->replica == b->replica && a->term == b->term && a->vote == b->vote &&
           a->last == b->last && a->commit == b->commit && a->role == b->role &&
           a->leader_heard_us == b->leader_heard_us &&
           a->peer_heard_us == b->peer_heard_us;
}

/* One frame, or one line of a heartbeat. */
static void check_words(struct sim_world *world, uint32_t node, uint64_t from, uint32_t s,
                        uint64_t term, uint64_t to_replica, bool may_be_low) {
    struct sim_rules *rules = world->rules;
    if (s >= shards_end(world) || rules->before[s].replica == 0) {
        return;
    }
    const struct before *before = &rules->before[s];
    bool is_low = term < before->term && !may_be_low;
    bool is_strange = to_replica != before->replica;
    if (!is_low && !is_strange) {
        return;
    }
    struct before after;
    note_before(&after, world->nodes[node].core->shards[s], from);
    if (is_unchanged(before, &after)) {
        return;
    }
    if (is_strange) {
        sim_fail(world, "n%u shard %u: a frame for replica %llu has changed replica %llu",
                 node, s, llu(to_replica), llu(before->replica));
    } else {
        sim_fail(world, "n%u shard %u: a frame of term %llu counts in term %llu", node, s,
                 llu(term), llu(before->term));
    }
}

static bool is_of_raft(enum momi_frame_type type) {
    return type >= FRAME_VOTE && type <= FRAME_TIMEOUT_NOW;
}

static bool gives_messages(const struct momi_effects *effects) {
    for (size_t i = 0; i < effects->count; i++) {
        const struct momi_effect *effect = &effects->list[i];
        if (effect->type == FX_MESSAGES && effect->delivery->runs_count > 0) {
            return true;
        }
    }
    return false;
}

static void check_delivery(struct sim_world *world, uint32_t node,
                           const struct momi_frame *frame) {
    const struct sim_rules *rules = world->rules;
    uint64_t known = rules->client_term[frame->shard];
    if (frame->term < known) {
        sim_fail(world,
                 "n%u takes messages of shard %u from a leader of term %llu, and knows "
                 "one of term %llu",
                 node, frame->shard, llu(frame->term), llu(known));
    } else if (frame->number > rules->delivered) {
        sim_fail(world,
                 "n%u takes messages of shard %u after delivery %llu, and has only %llu",
                 node, frame->shard, llu(frame->number), llu(rules->delivered));
    }
}

static void check_frame(struct sim_world *world, uint32_t node,
                        const struct momi_event *event,
                        const struct momi_effects *effects) {
    const struct momi_frame *frame = event->frame;
    bool is_heartbeat =
        frame->type == FRAME_HEARTBEAT || frame->type == FRAME_HEARTBEAT_REPLY;
    if (is_of_raft(frame->type)) {
        /* An election may end with a refusal, whatever its term. */
        bool may_be_low = frame->type == FRAME_VOTE_REPLY;
        check_words(world, node, event->node, frame->shard, frame->term,
                    frame->to_replica, may_be_low);
    }
    for (uint32_t i = 0; is_heartbeat && i < frame->lines_count; i++) {
        const struct momi_heartbeat_line *line = &frame->lines[i];
        check_words(world, node, event->node, line->shard, line->term, line->to_replica,
                    false);
    }
    if (frame->type == FRAME_DELIVER && frame->shard < shards_end(world) &&
        gives_messages(effects)) {
        check_delivery(world, node, frame);
    }
}

/* --- replicas -------------------------------------------------------------------------
 */

static void check_replica_id(struct sim_world *world, uint32_t node, uint32_t s,
                             const struct momi_shard *shard, struct seen *seen) {
    if (seen->replica == shard->replica) {
        return;
    }
    uint64_t removed = world->rules->removed[node][s];
    if (shard->replica <= removed) {
        sim_fail(world,
                 "n%u has replica %llu of shard %u, and has removed replica %llu before",
                 node, llu(shard->replica), s, llu(removed));
    }
    *seen = (struct seen){.replica = shard->replica, .commit = shard->raft.commit};
}

static void check_durable(struct sim_world *world, uint32_t node, uint32_t s,
                          const struct momi_raft *raft, struct seen *seen) {
    uint64_t term = momi_log_term(&raft->log, raft->durable);
    if (raft->durable == seen->durable && term == seen->durable_term) {
        return;
    }
    seen->durable = raft->durable;
    seen->durable_term = term;
    if (raft->durable < raft->log.first_index ||
        raft->durable > momi_log_last(&raft->log)) {
        return;
    }
    uint64_t synced = synced_term(&world->nodes[node], s, raft->durable);
    if (synced != term) {
        sim_fail(world,
                 "n%u shard %u: entry %llu of term %llu is called durable, and the disk "
                 "has term %llu there",
                 node, s, llu(raft->durable), llu(term), llu(synced));
    }
}

static void check_config(struct sim_world *world, uint32_t node, uint32_t s,
                         const struct momi_raft *raft) {
    const struct momi_config_at *newest = config_from_end(raft, 0);
    const struct momi_config_at *second = config_from_end(raft, 1);
    /* D3: what took the log left the configuration. */
    uint64_t last = momi_raft_end(raft).index;
    if (raft->config_index != newest->index || raft->config_index > last) {
        sim_fail(world,
                 "n%u shard %u: configuration %llu is in force, and the newest in the "
                 "log is %llu",
                 node, s, llu(raft->config_index), llu(newest->index));
    }
    /* A new leader does not know yet what its predecessor has committed. */
    if (momi_raft_serves(raft) && second != NULL && second->index > raft->commit) {
        sim_fail(world,
                 "n%u shard %u: configurations %llu and %llu are both not committed",
                 node, s, llu(second->index), llu(newest->index));
    }
}

/* Whether a majority of a half (the new one: those that vote) has the entry on disk. */
static bool half_has(const struct sim_world *world, const struct momi_raft_config *config,
                     bool is_new, uint32_t s, uint64_t index, uint64_t term) {
    uint32_t count = 0;
    uint32_t have = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct momi_replica_at *at = &config->at[i];
        if (is_new ? !at->votes : !at->voted) {
            continue;
        }
        count++;
        uint32_t node = sim_net_find(world, at->node);
        bool has = node != UINT32_MAX &&
                   synced_term(&world->nodes[node], s, index) == term &&
                   synced_replica(&world->nodes[node], s) == at->replica;
        have += has ? 1 : 0;
    }
    return have > count / 2;
}

/* Answers that a paused leader hears late were true when they were given: by now its
 * successor may have taken copies away. */
static bool is_deposed(const struct sim_world *world, uint32_t s, uint64_t term) {
    for (uint32_t i = 0; i < world->options.stores; i++) {
        const struct momi_core *core = world->nodes[i].core;
        if (core != NULL && core->shards[s] != NULL &&
            core->shards[s]->raft.term > term) {
            return true;
        }
    }
    return false;
}

static void check_commit(struct sim_world *world, uint32_t node, uint32_t s,
                         const struct momi_raft *raft, struct seen *seen) {
    uint64_t index = raft->commit;
    bool is_new = index > seen->commit;
    seen->commit = index > seen->commit ? index : seen->commit;
    if (!is_new || raft->role != RAFT_LEADER) {
        return;
    }
    uint64_t term = momi_log_term(&raft->log, index);
    if (term != raft->term) {
        sim_fail(world,
                 "n%u leads shard %u in term %llu and has committed entry %llu of term "
                 "%llu by itself",
                 node, s, llu(raft->term), llu(index), llu(term));
        return;
    }
    /* The one that was in force before the step: committing one appends the next. */
    uint64_t at = world->rules->before[s].config_index;
    const struct momi_raft_config *config = momi_raft_config_at(raft, at, &at);
    if (config == NULL) {
        return;
    }
    bool is_held = half_has(world, config, true, s, index, term) &&
                   (!config->is_joint || half_has(world, config, false, s, index, term));
    if (!is_held && !is_deposed(world, s, raft->term)) {
        sim_fail(world,
                 "n%u leads shard %u and has committed entry %llu, which is not synced "
                 "on a majority%s",
                 node, s, llu(index), config->is_joint ? " of both halves" : "");
    }
}

void sim_rules_stepped(struct sim_world *world, uint32_t node,
                       const struct momi_event *event,
                       const struct momi_effects *effects) {
    if (event->type == EV_FRAME && !world->has_failed) {
        check_frame(world, node, event, effects);
    }
}

static void check_entry(struct sim_world *world, uint32_t node, uint32_t s,
                        uint64_t index, struct momi_slice bytes) {
    const struct momi_log *log = &world->nodes[node].core->shards[s]->raft.log;
    struct seen *seen = &world->rules->seen[node][s];
    struct momi_entry entry;
    if (index < log->first_index || index > momi_log_last(log) ||
        !momi_entry_peek(bytes, &entry)) {
        return;
    }
    if (entry.term != momi_log_term(log, index)) {
        sim_fail(world,
                 "n%u shard %u: entry %llu is written with term %llu, and the log holds "
                 "term %llu there",
                 node, s, llu(index), llu(entry.term), llu(momi_log_term(log, index)));
    } else if (index == seen->stamp_index + 1 && entry.elapsed_us < seen->stamp_us &&
               momi_log_term(log, index - 1) == seen->stamp_term) {
        sim_fail(world,
                 "n%u shard %u: the stamp of entry %llu is %llu us, the one before it "
                 "%llu us",
                 node, s, llu(index), llu(entry.elapsed_us), llu(seen->stamp_us));
    }
    seen->stamp_index = index;
    seen->stamp_term = entry.term;
    seen->stamp_us = entry.elapsed_us;
}

/* What is written at an index of the log is what the log holds there; what is deleted
 * below it goes in the batch that says from where on the log is kept. */
static void check_batch(struct sim_world *world, uint32_t node,
                        const struct momi_batch *batch) {
    uint32_t deleting = 0; /* a bit for each shard */
    uint32_t saving = 0;
    for (size_t i = 0; i < momi_batch_count(batch) && !world->has_failed; i++) {
        struct momi_batch_view op = momi_batch_at(batch, i);
        uint32_t s = 0;
        uint64_t index = 0;
        uint8_t letter = 0;
        if (op.family == MOMI_FAMILY_NODE && momi_key_node_decode(op.key, &letter, &s) &&
            letter == 's' && s < SHARDS) {
            saving |= 1u << s;
        }
        if (op.family != MOMI_FAMILY_LOG || !momi_key_entry_decode(op.key, &s, &index) ||
            s >= shards_end(world) || world->nodes[node].core->shards[s] == NULL) {
            continue;
        }
        if (op.kind == MOMI_BATCH_PUT) {
            check_entry(world, node, s, index,
                        op.buf != NULL ? momi_buf_slice(op.buf) : op.value);
        } else if (index < world->nodes[node].core->shards[s]->raft.log.first_index) {
            deleting |= 1u << s;
        }
    }
    if ((deleting & ~saving) != 0) {
        sim_fail(world, "n%u deletes entries below its log without a checkpoint", node);
    }
}

void sim_rules_after(struct sim_world *world, uint32_t node,
                     const struct momi_effects *effects) {
    struct sim_rules *rules = world->rules;
    struct sim_node *at = &world->nodes[node];
    if (world->has_failed || at->role != MOMI_ROLE_STORE) {
        return;
    }
    if (rules->seen_life[node] != at->life) {
        rules->seen_life[node] = at->life;
        memset(rules->seen[node], 0, sizeof rules->seen[node]);
    }
    check_batch(world, node, &effects->batch);
    for (uint32_t s = 0; s < shards_end(world) && !world->has_failed; s++) {
        const struct momi_shard *shard = at->core->shards[s];
        struct seen *seen = &rules->seen[node][s];
        if (shard == NULL) {
            *seen = (struct seen){0};
            continue;
        }
        if (shard->raft.is_stopped) {
            continue;
        }
        check_replica_id(world, node, s, shard, seen);
        check_durable(world, node, s, &shard->raft, seen);
        check_config(world, node, s, &shard->raft);
        check_commit(world, node, s, &shard->raft, seen);
    }
}

/* Called when a sync is done: removals that are on disk are for ever. */
void sim_rules_synced(struct sim_world *world, uint32_t node) {
    for (uint32_t s = 0; s < shards_end(world); s++) {
        struct momi_key key = momi_key_node('t', s);
        struct momi_slice bytes =
            synced_value(&world->nodes[node], MOMI_FAMILY_NODE, &key);
        uint64_t removed = 0;
        if (bytes.data != NULL && momi_number_decode(bytes, &removed)) {
            world->rules->removed[node][s] = removed;
        }
    }
}

/* --- promises that leave --------------------------------------------------------------
 */

static struct vote *find_vote(struct sim_rules *rules, uint64_t key) {
    size_t at = key & (rules->votes_room - 1);
    while (rules->votes[at].key != 0 && rules->votes[at].key != key) {
        at = (at + 1) & (rules->votes_room - 1);
    }
    return &rules->votes[at];
}

static struct vote *vote_of(struct sim_rules *rules, uint32_t s, uint64_t replica,
                            uint64_t term) {
    if (rules->votes_count * 2 >= rules->votes_room) {
        struct sim_rules old = *rules;
        rules->votes_room = old.votes_room == 0 ? VOTES_ROOM_MIN : old.votes_room * 2;
        rules->votes = momi_must_calloc(rules->votes_room, sizeof *rules->votes);
        for (size_t i = 0; i < old.votes_room; i++) {
            if (old.votes[i].key != 0) {
                *find_vote(rules, old.votes[i].key) = old.votes[i];
            }
        }
        momi_free(old.votes);
    }
    uint64_t key = momi_hash_u64(momi_hash_u64(replica * SHARDS + s) + term) | 1;
    struct vote *vote = find_vote(rules, key);
    if (vote->key == 0) {
        vote->key = key;
        rules->votes_count++;
    }
    return vote;
}

static void check_vote(struct sim_world *world, uint32_t node, uint32_t s,
                       uint64_t replica, uint64_t candidate, uint64_t term) {
    struct momi_hard_state hard;
    if (!synced_hard(&world->nodes[node], s, &hard) || hard.term != term ||
        hard.vote != candidate) {
        sim_fail(
            world,
            "n%u shard %u: the vote for replica %llu in term %llu leaves, and synced "
            "is a vote for %llu in term %llu",
            node, s, llu(candidate), llu(term), llu(hard.vote), llu(hard.term));
        return;
    }
    struct vote *vote = vote_of(world->rules, s, replica, term);
    if (vote->candidate != 0 && vote->candidate != candidate) {
        sim_fail(world,
                 "n%u shard %u: replica %llu votes for %llu in term %llu, and has voted "
                 "for %llu before",
                 node, s, llu(replica), llu(candidate), llu(term), llu(vote->candidate));
    }
    vote->candidate = candidate;
}

static void check_answer(struct sim_world *world, uint32_t node,
                         const struct momi_frame *frame, const struct momi_raft *raft) {
    struct momi_hard_state hard;
    if (!synced_hard(&world->nodes[node], frame->shard, &hard) ||
        hard.term != frame->term) {
        sim_fail(world, "n%u shard %u: an answer in term %llu leaves, and synced is %llu",
                 node, frame->shard, llu(frame->term), llu(hard.term));
    }
    if (frame->index < raft->log.first_index ||
        frame->index > momi_log_last(&raft->log)) {
        return;
    }
    uint64_t term = momi_log_term(&raft->log, frame->index);
    uint64_t synced = synced_term(&world->nodes[node], frame->shard, frame->index);
    if (term != synced) {
        sim_fail(world,
                 "n%u shard %u: entry %llu of term %llu is confirmed, and synced is one "
                 "of term %llu",
                 node, frame->shard, llu(frame->index), llu(term), llu(synced));
    }
}

void sim_rules_sent(struct sim_world *world, uint32_t node,
                    const struct momi_frame *frame) {
    const struct momi_core *core = world->nodes[node].core;
    if (!is_of_raft(frame->type) || frame->shard >= shards_end(world) ||
        core->shards[frame->shard] == NULL || world->has_failed) {
        return;
    }
    const struct momi_shard *shard = core->shards[frame->shard];
    bool is_pre = (frame->flags & MOMI_FLAG_PRE) != 0;
    bool is_granted =
        frame->type == FRAME_VOTE_REPLY && (frame->flags & MOMI_FLAG_GRANTED) != 0;
    /* One that lost its state knows where its log ended (D3). */
    if (is_granted && !shard->has_state && shard->raft.missing.index == 0) {
        sim_fail(world, "n%u shard %u: a replica without state votes", node,
                 frame->shard);
    } else if (is_granted && !is_pre) {
        check_vote(world, node, frame->shard, frame->from_replica, frame->to_replica,
                   frame->term);
    } else if (frame->type == FRAME_VOTE && !is_pre) {
        check_vote(world, node, frame->shard, frame->from_replica, frame->from_replica,
                   frame->term);
    } else if (frame->type == FRAME_APPEND_REPLY && (frame->flags & MOMI_FLAG_OK) != 0) {
        check_answer(world, node, frame, &shard->raft);
    }
}
