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
    uint64_t last_index;
    bool has_header;
    bool is_damaged;
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
    struct momi_reader in = momi_reader(key);
    uint8_t letter = momi_get_u8(&in);
    uint32_t id = momi_get_be32(&in);
    if (!momi_reader_done(&in) || id > MOMI_SHARDS_MAX) {
        return; /* the store's own, or peers' incarnations */
    }
    struct found *found = found_of(core, id);
    struct momi_reader content = momi_reader(value);
    switch (letter) {
    case 'h':
        found->is_damaged =
            !momi_hard_state_decode(value, &found->hard) || found->is_damaged;
        break;
    case 's':
        found->has_header = momi_shard_header_decode(value, &found->header);
        found->is_damaged = !found->has_header || found->is_damaged;
        break;
    case 'l':
        found->last_index = momi_get_u64(&content);
        break;
    case 't':
        core->tombstones[id] = momi_get_u64(&content);
        break;
    default:
        break;
    }
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
    shard->restored_last = found->last_index;
    shard->is_damaged = found->is_damaged;
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

void momi_shard_restore_entry(struct momi_shard *shard, struct momi_slice key,
                              struct momi_slice value) {
    struct momi_reader in = momi_reader(key);
    (void)momi_get_be32(&in);
    uint64_t index = momi_get_be64(&in);
    struct momi_log *log = &shard->raft.log;
    struct momi_entry entry;
    if (shard->is_damaged || index != momi_log_last(log) + 1 ||
        index > shard->restored_last || !momi_entry_parse(value, &entry) ||
        entry.kind == MOMI_ENTRY_HOLLOW) {
        shard->is_damaged = index <= shard->restored_last || shard->is_damaged;
        return;
    }
    struct momi_buf *buf = momi_buf_copy(value);
    if (buf == NULL || !momi_log_reserve(log, 1)) {
        momi_buf_release(buf);
        shard->is_damaged =
            true; /* as good as unreadable: the replica waits for its peers */
        return;
    }
    momi_log_append(log, entry.term, buf, (uint32_t)value.size);
    momi_buf_release(buf);
    momi_log_evict(log, index, RESTORE_CACHE_BYTES);
    if (entry.elapsed_us > shard->raft.elapsed_us) {
        shard->raft.elapsed_us = entry.elapsed_us;
    }
    if (entry.wall_us > shard->raft.wall_us) {
        shard->raft.wall_us = entry.wall_us;
    }
    struct momi_raft_config config;
    if (entry.kind == MOMI_ENTRY_CONFIG && index > shard->applied &&
        momi_raft_config_decode(entry.body, &config)) {
        momi_raft_restore_config(&shard->raft, index, &config);
    }
}

/* D3: a shard whose state or log cannot be read whole starts again as an empty replica
 * that neither votes nor leads until its peers have made it whole. */
static void start_empty(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    momi_trace(core, "SHARD_DAMAGED", shard->id, shard->replica, shard->applied);
    if (shard->is_registry) {
        momi_registry_free(&shard->registry);
        momi_registry_init(&shard->registry);
    } else {
        momi_shard_free_machine(shard->machine);
        shard->machine = momi_shard_new_machine(core, shard->id);
        MOMI_ASSERT(shard->machine !=
                    NULL); /* start-up: there is nothing to go on with */
    }
    shard->has_state = false;
    shard->applied = 0;
    shard->applied_term = 0;
    shard->checkpoint_applied = 0;
    shard->raft.can_vote = false;
    shard->raft.commit = 0;
    momi_log_reset(&shard->raft.log, 1, 0);
}

void momi_shard_restored(struct momi_shard *shard) {
    if (!shard->is_damaged && momi_log_last(&shard->raft.log) < shard->restored_last) {
        shard->is_damaged = true; /* the end of the log is missing */
    }
    if (!shard->is_damaged && shard->has_state) {
        bool ok = shard->is_registry
                      ? momi_registry_loaded(&shard->registry, shard->applied,
                                             shard->applied_term)
                      : momi_machine_loaded(shard->machine, shard->applied,
                                            shard->applied_term);
        shard->is_damaged = !ok;
    }
    if (shard->is_damaged) {
        start_empty(shard);
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
        if (found_of(core, core->restore_shard)->has_header &&
            begin_shard(core, core->restore_shard) != NULL) {
            return true;
        }
    }
    return false;
}

bool momi_core_restore_next(struct momi_core *core, struct momi_restore_range *range) {
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
        from = momi_key_entry(core->restore_shard, shard->raft.log.first_index);
        to = momi_key_entry(core->restore_shard, shard->restored_last + 1);
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

void momi_core_restore_item(struct momi_core *core, struct momi_slice key,
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

void momi_core_restore_damaged(struct momi_core *core) {
    if (core->restore_stage == STAGE_LOG || core->restore_stage == STAGE_STATE) {
        core->shards[core->restore_shard]->is_damaged = true;
    }
}
