/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-up: the core asks for ranges of the store and is fed their items (core.h). First
 * everything of the NODE family, then for each shard its checkpoint and its log.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/shard_internal.h"

enum {
    STAGE_NODE = 0,
    STAGE_FIND = 1,
    STAGE_STATE = 2,
    STAGE_LOG = 3,
    STAGE_DONE = UINT8_MAX - 1
};
enum {
    RESTORE_CACHE_BYTES = 1 << 20
}; /* bytes of the log's tail kept in memory, per shard */

/* What was found of a shard before its parts are read. */
struct found {
    struct momi_hard_state hard;
    struct momi_shard_header header;
    struct momi_log_end last;
    bool has_header;
};

static struct found *found_of(struct momi_core *core, uint32_t shard) {
    if (core->restore_found == NULL) {
        core->restore_found = momi_must_calloc(MOMI_SHARDS_MAX + 1, sizeof(struct found));
    }
    return (struct found *)core->restore_found + shard;
}

/* --- the NODE family
 * ----------------------------------------------------------------------------------------------
 */

static void node_item(struct momi_core *core, struct momi_slice key,
                      struct momi_slice value) {
    uint64_t peer;
    if (momi_key_peer_decode(key, &peer)) {
        uint64_t incarnation;
        bool is_number = momi_number_decode(value, &incarnation);
        core->restore_refused = core->restore_refused || !is_number;
        if (is_number) {
            momi_mesh_peer_restored(core, peer, incarnation);
        }
        return;
    }
    struct momi_reader in = momi_reader(key);
    uint8_t letter = momi_get_u8(&in);
    uint32_t id = momi_get_be32(&in);
    if (!momi_reader_done(&in) || id > MOMI_SHARDS_MAX) {
        return; /* the store's own */
    }
    struct found *found = found_of(core, id);
    bool is_sane = true;
    switch (letter) {
    case 'h':
        is_sane = momi_hard_state_decode(value, &found->hard);
        break;
    case 's':
        found->has_header = momi_shard_header_decode(value, &found->header);
        is_sane = found->has_header;
        break;
    case 'l':
        is_sane = momi_last_decode(value, &found->last.index, &found->last.term);
        break;
    case 't':
        is_sane = momi_number_decode(value, &core->tombstones[id]);
        break;
    default:
        break;
    }
    core->restore_refused = core->restore_refused || !is_sane;
}

static struct momi_shard *begin_shard(struct momi_core *core, uint32_t id) {
    struct found *found = found_of(core, id);
    struct momi_shard *shard = momi_shard_alloc(core, id);
    if (shard == NULL) {
        return NULL;
    }
    const struct momi_shard_header *header = &found->header;
    shard->replica = header->replica;
    shard->side = header->side;
    shard->has_state = header->has_state;
    shard->applied = header->applied;
    shard->applied_term = header->applied_term;
    shard->checkpoint_applied = header->applied;
    shard->restored_last = found->last;
    shard->log_from = header->first_index;
    struct momi_raft_start start = {
        .shard = id,
        .replica = header->replica,
        .node = core->config.node,
        .term = found->hard.term,
        .vote = found->hard.vote,
        .commit = header->applied,
        .seed = momi_rng_next(&core->rng),
        .config = header->config,
        .config_index = header->config_index,
        .has_state = header->has_state,
        .counters = &core->counters,
    };
    if (!momi_raft_init(&shard->raft, &start)) {
        core->shards[id] = NULL;
        momi_shard_free(shard);
        return NULL;
    }
    momi_log_reset(&shard->raft.log, header->first_index, header->before_term);
    return shard;
}

/* --- records and entries
 * ------------------------------------------------------------------------------------------
 */

void momi_shard_restore_record(struct momi_shard *shard, struct momi_slice key,
                               struct momi_slice value) {
    if (key.size > 0 && key.data[0] == 0) {
        return; /* the header's copy for snapshots */
    }
    bool ok;
    if (shard->is_registry) {
        ok = momi_registry_load(&shard->registry, key, value);
    } else {
        ok = momi_machine_load(shard->machine, key, value);
    }
    shard->is_damaged = !ok || shard->is_damaged;
}

/* D3. The log cannot be read on from behind its end. Up to the checkpoint it is kept for
 * slower replicas alone, and may as well begin behind it; its live messages are repaired
 * when they are needed. What is missing behind the checkpoint has to come again from a
 * leader: the log ends here, and counts in votes as long as it was. Nothing is deleted:
 * what is left behind the damage goes when its place is taken. */
static void break_log(struct momi_shard *shard) {
    struct momi_log *log = &shard->raft.log;
    uint64_t next = momi_log_last(log) + 1;
    momi_trace(shard->core, "LOG_DAMAGED", shard->id, next, shard->restored_last.index);
    shard->core->counters.damages_found++;
    if (next <= shard->applied) {
        momi_log_reset(log, shard->applied + 1, shard->applied_term);
    } else {
        shard->raft.cut_from = next;
    }
}

static bool is_cut(const struct momi_shard *shard) { return shard->raft.cut_from != 0; }

/* Of an entry that is part of the log now. */
static void note_entry(struct momi_shard *shard, uint64_t index,
                       const struct momi_entry *entry) {
    if (entry->elapsed_us > shard->raft.elapsed_us) {
        shard->raft.elapsed_us = entry->elapsed_us;
    }
    if (entry->wall_us > shard->raft.wall_us) {
        shard->raft.wall_us = entry->wall_us;
    }
    struct momi_raft_config config;
    if (entry->kind == MOMI_ENTRY_CONFIG && index > shard->applied &&
        momi_raft_config_decode(entry->body, &config)) {
        momi_raft_restore_config(&shard->raft, index, &config);
    }
}

void momi_shard_restore_entry(struct momi_shard *shard, struct momi_slice key,
                              struct momi_slice value) {
    struct momi_reader in = momi_reader(key);
    (void)momi_get_be32(&in);
    uint64_t index = momi_get_be64(&in);
    struct momi_log *log = &shard->raft.log;
    if (is_cut(shard) || index < log->first_index) {
        return;
    }
    if (index != momi_log_last(log) + 1) {
        break_log(shard);
        if (is_cut(shard) || index != momi_log_last(log) + 1) {
            return;
        }
    }
    struct momi_entry entry;
    if (!momi_entry_parse(value, &entry) || entry.kind == MOMI_ENTRY_HOLLOW ||
        entry.term < momi_log_term(log, index - 1)) {
        break_log(shard);
        return;
    }
    struct momi_buf *buf = momi_buf_copy(value);
    if (buf == NULL || !momi_log_reserve(log, 1)) {
        momi_buf_release(buf);
        shard->core->restore_is_short = true;
        return;
    }
    momi_log_append(log, entry.term, buf, (uint32_t)value.size);
    momi_buf_release(buf);
    momi_log_evict(log, index, RESTORE_CACHE_BYTES);
    note_entry(shard, index, &entry);
}

static void forget_state(struct momi_shard *shard) {
    if (shard->is_registry) {
        momi_registry_free(&shard->registry);
        momi_registry_init(&shard->registry);
    } else {
        momi_shard_free_machine(shard->machine);
        shard->machine = momi_shard_new_machine(shard->core, shard->id);
        MOMI_ASSERT(shard->machine !=
                    NULL); /* start-up: there is nothing to go on with */
    }
    shard->applied = 0;
    shard->applied_term = 0;
    shard->checkpoint_applied = 0;
    shard->core->counters.damages_found++;
}

/* D3: a log that reaches back to the first entry is the state. It goes to the other side,
 * since what remains of the damaged one is not to be mixed with it. */
static void replay(struct momi_shard *shard) {
    momi_trace(shard->core, "STATE_REPLAYED", shard->id, shard->replica, shard->applied);
    shard->replay_to = shard->applied;
    shard->side = shard->side == 0 ? 1 : 0;
    shard->clears_side = true;
    shard->is_damaged = false;
    forget_state(shard);
}

/* D3: a shard whose state cannot be read starts again without one, and does not lead
 * until its peers have made it whole. The store keeps what it has until then. */
static void start_empty(struct momi_shard *shard) {
    momi_trace(shard->core, "STATE_DAMAGED", shard->id, shard->replica, shard->applied);
    forget_state(shard);
    shard->has_state = false;
    shard->raft.can_vote = false;
    shard->raft.commit = 0;
    shard->raft.cut_from = 0;
    shard->raft.missing = shard->restored_last;
    momi_log_reset(&shard->raft.log, 1, 0);
}

static bool is_whole_log(const struct momi_shard *shard) {
    const struct momi_log *log = &shard->raft.log;
    return !is_cut(shard) && log->first_index == 1 &&
           momi_log_last(log) >= shard->applied &&
           momi_log_last(log) == shard->restored_last.index;
}

/* The end of the log, as far as it was found, against the record of it. */
static void check_end(struct momi_shard *shard) {
    struct momi_log *log = &shard->raft.log;
    if (momi_log_last(log) < shard->applied) {
        break_log(shard); /* nothing was found up to the checkpoint */
    }
    struct momi_log_end last = shard->restored_last;
    if (last.index > momi_log_last(log)) {
        shard->raft.missing = last;
        if (!is_cut(shard)) {
            break_log(shard);
        }
    }
}

void momi_shard_start(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    if (shard->clears_side) {
        shard->clears_side = false;
        momi_batch_clear_side(&core->effects->batch, shard->id, shard->side);
        shard->has_batch = true;
    }
    if (shard->is_damaged || shard->replay_to != 0 || shard->raft.missing.index != 0) {
        momi_core_notice(core, MOMI_NOTICE_DAMAGED, shard->id, core->config.node,
                         shard->replay_to != 0 ? "made again out of the log"
                                               : "waits for a leader");
    }
}

void momi_shard_restored(struct momi_shard *shard) {
    if (!shard->is_damaged && shard->has_state) {
        bool ok = shard->is_registry
                      ? momi_registry_loaded(&shard->registry, shard->applied,
                                             shard->applied_term)
                      : momi_machine_loaded(shard->machine, shard->applied,
                                            shard->applied_term);
        shard->is_damaged = !ok;
    }
    if (shard->is_damaged && is_whole_log(shard)) {
        replay(shard);
    } else if (shard->is_damaged) {
        start_empty(shard);
    } else if (shard->has_state) {
        check_end(shard);
    }
    uint64_t elapsed_us =
        shard->is_registry ? shard->registry.elapsed_us : shard->machine->elapsed_us;
    uint64_t wall_us =
        shard->is_registry ? shard->registry.wall_us : shard->machine->wall_us;
    if (elapsed_us > shard->raft.elapsed_us) {
        shard->raft.elapsed_us = elapsed_us;
    }
    if (wall_us > shard->raft.wall_us) {
        shard->raft.wall_us = wall_us;
    }
    momi_raft_restored(&shard->raft);
}

/* --- the loop
 * -----------------------------------------------------------------------------------------------------
 */

static void set_range(struct momi_core *core, struct momi_restore_range *range,
                      enum momi_family family, const struct momi_key *from,
                      const struct momi_key *to) {
    momi_bytes_clear(&core->restore_key[0]);
    momi_bytes_clear(&core->restore_key[1]);
    momi_bytes_append(&core->restore_key[0], from->bytes, from->size);
    momi_bytes_append(&core->restore_key[1], to->bytes, to->size);
    range->family = family;
    range->from = momi_bytes_slice(&core->restore_key[0]);
    range->to = momi_bytes_slice(&core->restore_key[1]);
}

/* Goes on to the next shard with a header; false: there is none. */
static bool next_shard(struct momi_core *core) {
    for (; core->restore_shard <= MOMI_SHARDS_MAX; core->restore_shard++) {
        if (!found_of(core, core->restore_shard)->has_header) {
            continue;
        }
        if (begin_shard(core, core->restore_shard) != NULL) {
            return true;
        }
        core->restore_is_short = true;
    }
    return false;
}

/* Without memory nothing can be told from damage: the node does not open (core.h). */
static void enter(struct momi_core *core) {
    if (!momi_core_reserve(core)) {
        core->restore_is_short = true;
    }
    momi_reserve_enter(&core->reserve);
}

static bool next_range(struct momi_core *core, struct momi_restore_range *range) {
    struct momi_key from = {.size = 0};
    struct momi_key to = {.size = 0};
    struct momi_shard *shard;
    switch (core->restore_stage) {
    case STAGE_NODE:
        from.bytes[0] = 1; /* keys that begin with 0 are the store's own */
        from.size = 1;
        to.bytes[0] = 0xff;
        to.size = 1;
        set_range(core, range, MOMI_FAMILY_NODE, &from, &to);
        core->restore_stage = STAGE_FIND;
        return true;
    case STAGE_LOG:
        shard = core->shards[core->restore_shard];
        from = momi_key_entry(core->restore_shard, momi_log_last(&shard->raft.log) + 1);
        to = momi_key_entry(core->restore_shard, shard->restored_last.index + 1);
        set_range(core, range, MOMI_FAMILY_LOG, &from, &to);
        core->restore_stage = STAGE_STATE;
        return true;
    case STAGE_STATE:
        momi_shard_restored(core->shards[core->restore_shard]);
        core->restore_shard++;
        break;
    default:
        break;
    }
    if (core->restore_stage == STAGE_DONE || !next_shard(core)) {
        momi_free(core->restore_found);
        core->restore_found = NULL;
        core->restore_stage = STAGE_DONE;
        return false;
    }
    shard = core->shards[core->restore_shard];
    from = momi_key_record(core->restore_shard, shard->side, (struct momi_slice){0});
    to = momi_key_record(core->restore_shard, (uint8_t)(shard->side + 1),
                         (struct momi_slice){0});
    set_range(core, range, MOMI_FAMILY_STATE, &from, &to);
    core->restore_stage = STAGE_LOG;
    return true;
}

bool momi_core_restore_next(struct momi_core *core, struct momi_restore_range *range) {
    enter(core);
    bool any = next_range(core, range);
    momi_reserve_leave();
    return any;
}

static void take_item(struct momi_core *core, struct momi_slice key,
                      struct momi_slice value) {
    enum { RECORD_PREFIX = 5 };
    switch (core->restore_stage) {
    case STAGE_FIND:
        node_item(core, key, value);
        break;
    case STAGE_LOG:
        if (key.size > RECORD_PREFIX) {
            momi_shard_restore_record(
                core->shards[core->restore_shard],
                momi_slice(key.data + RECORD_PREFIX, key.size - RECORD_PREFIX), value);
        }
        break;
    case STAGE_STATE:
        momi_shard_restore_entry(core->shards[core->restore_shard], key, value);
        break;
    default:
        break;
    }
}

void momi_core_restore_item(struct momi_core *core, struct momi_slice key,
                            struct momi_slice value) {
    enter(core);
    take_item(core, key, value);
    momi_reserve_leave();
}

bool momi_core_restore_is_short(const struct momi_core *core) {
    return core->restore_is_short;
}

void momi_core_restore_damaged(struct momi_core *core) {
    struct momi_shard *shard;
    switch (core->restore_stage) {
    case STAGE_FIND:
        core->restore_refused = true;
        break;
    case STAGE_LOG:
        core->shards[core->restore_shard]->is_damaged = true;
        break;
    case STAGE_STATE:
        shard = core->shards[core->restore_shard];
        if (!is_cut(shard)) {
            break_log(shard);
            /* Once more, from behind the checkpoint. */
            core->restore_stage = is_cut(shard) ? STAGE_STATE : STAGE_LOG;
        }
        break;
    default:
        break;
    }
}

bool momi_core_restore_is_refused(const struct momi_core *core) {
    return core->restore_refused;
}
