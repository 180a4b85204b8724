/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving a state (E6). Records go to the side that is not in use, and into a machine
 * of their own; log and state in force stay as they are for votes and answers. When all
 * live entries are here too, one batch switches sides. The other end of the conversation,
 * with its picture, is shard_snapshot_send.c.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/mutant.h"
#include "core/shard_internal.h"

enum { FETCH_AGAIN_US = 500 * 1000 };

static uint8_t unused_side(const struct momi_shard *shard) {
    return shard->side == 0 ? 1 : 0;
}

static void answer(struct momi_shard *shard, uint32_t flags) {
    const struct momi_snapshot_receive *receive = &shard->receive;
    struct momi_frame *frame =
        momi_core_send(shard->core, receive->from_node, FRAME_SNAPSHOT_REPLY);
    frame->shard = shard->id;
    frame->from_replica = shard->replica;
    frame->to_replica = receive->from_replica;
    frame->term = shard->raft.term;
    frame->counter = receive->id;
    frame->number = receive->part_next;
    frame->flags = flags;
}

static void free_incoming(struct momi_shard *shard) {
    if (shard->is_registry) {
        momi_registry_free(&shard->receive.registry);
    } else {
        momi_shard_free_machine(shard->receive.machine);
    }
}

void momi_shard_receive_abandon(struct momi_shard *shard) {
    if (shard->receive.is_on) {
        free_incoming(shard);
        shard->receive = (struct momi_snapshot_receive){0};
    }
}

static bool begin_receive(struct momi_shard *shard, uint64_t node,
                          const struct momi_frame *frame) {
    momi_shard_receive_abandon(shard);
    struct momi_snapshot_receive *receive = &shard->receive;
    if (shard->is_registry) {
        momi_registry_init(&receive->registry);
    } else {
        receive->machine = momi_shard_new_machine(shard->core, shard->id);
        if (receive->machine == NULL) {
            return false;
        }
    }
    receive->is_on = true;
    receive->id = frame->counter;
    receive->from_node = node;
    receive->from_replica = frame->from_replica;
    receive->term = frame->term;
    momi_batch_clear_side(&shard->core->effects->batch, shard->id, unused_side(shard));
    momi_trace(shard->core, "RECEIVE_BEGIN", shard->id, receive->id, frame->from_replica);
    return true;
}

static bool load_record(struct momi_shard *shard, struct momi_slice key,
                        struct momi_slice value) {
    struct momi_snapshot_receive *receive = &shard->receive;
    if (key.size == 0 || key.size > MOMI_RECORD_KEY_BYTES_MAX) {
        return false;
    }
    momi_batch_put_record(&shard->core->effects->batch, shard->id, unused_side(shard),
                          key, value);
    shard->has_batch = true;
    if (key.data[0] == 0) {
        receive->has_header = momi_shard_header_decode(value, &receive->header);
        return receive->has_header;
    }
    if (shard->is_registry) {
        return momi_registry_load(&receive->registry, key, value);
    }
    return momi_machine_load(receive->machine, key, value);
}

static bool load_part(struct momi_shard *shard, struct momi_slice payload) {
    struct momi_reader in = momi_reader(payload);
    while (momi_reader_left(&in) > 0) {
        struct momi_slice key = momi_get_slice(&in);
        struct momi_slice value = momi_get_slice(&in);
        if (in.failed || !load_record(shard, key, value)) {
            return false;
        }
    }
    return !in.failed;
}

/* All records are here: is it a state, and do we still want it? */
static bool finish_records(struct momi_shard *shard) {
    struct momi_snapshot_receive *receive = &shard->receive;
    const struct momi_shard_header *header = &receive->header;
    if (!receive->has_header || header->applied < shard->raft.commit) {
        return false;
    }
    bool ok = shard->is_registry
                  ? momi_registry_loaded(&receive->registry, header->applied,
                                         header->applied_term)
                  : momi_machine_loaded(receive->machine, header->applied,
                                        header->applied_term);
    receive->is_loaded = ok;
    receive->fetch_next = 1;
    return ok;
}

void momi_shard_snapshot_records(struct momi_shard *shard, uint64_t node,
                                 const struct momi_frame *frame) {
    struct momi_snapshot_receive *receive = &shard->receive;
    if (frame->term < shard->raft.term || momi_raft_is_leader(&shard->raft)) {
        shard->core->counters.frames_dropped++;
        return;
    }
    bool is_new =
        !receive->is_on || receive->id != frame->counter || receive->from_node != node;
    if (is_new && (frame->number != 0 || !begin_receive(shard, node, frame))) {
        return;
    }
    receive->heard_us = shard->core->now_us;
    if (receive->is_loaded || frame->number != receive->part_next) {
        answer(shard, 0);
        return;
    }
    bool ok = load_part(shard, frame->payload);
    receive->part_next++;
    momi_trace(shard->core, "RECORDS", shard->id, frame->number, ok);
    if (receive->has_header && shard->raft.commit >= receive->header.applied) {
        return; /* more is here already: momi_shard_receive_turn says so */
    }
    if (ok && (frame->flags & MOMI_FLAG_LAST) != 0) {
        ok = finish_records(shard);
    }
    answer(shard, ok ? 0 : MOMI_FLAG_REFUSED);
    if (!ok) {
        momi_shard_receive_abandon(shard);
    }
}

/* --- entries
 * ------------------------------------------------------------------------------------------------------
 */

/* Ours already, with the same term. */
static bool have_entry(const struct momi_shard *shard, uint64_t index, uint64_t term) {
    const struct momi_log *log = &shard->raft.log;
    if (index >= log->first_index && index <= momi_log_last(log)) {
        return momi_log_term(log, index) == term;
    }
    struct momi_live_entry live;
    return momi_live_find(shard->machine->live, index, &live) && live.term == term;
}

static bool next_missing(struct momi_shard *shard, struct momi_live_entry *live) {
    struct momi_snapshot_receive *receive = &shard->receive;
    while (momi_live_next(receive->machine->live, receive->fetch_next, live)) {
        if (!have_entry(shard, live->index, live->term)) {
            return true;
        }
        receive->fetch_next = live->index + 1;
    }
    return false;
}

static void ask(struct momi_shard *shard, uint64_t first) {
    struct momi_snapshot_receive *receive = &shard->receive;
    struct momi_live_entry live;
    uint64_t last = first;
    while (last - first + 1 < FETCH_ENTRIES_MAX &&
           momi_live_next(receive->machine->live, last + 1, &live) &&
           live.index == last + 1) {
        last++;
    }
    struct momi_frame *frame =
        momi_core_send(shard->core, receive->from_node, FRAME_FETCH);
    frame->shard = shard->id;
    frame->from_replica = shard->replica;
    frame->to_replica = receive->from_replica;
    frame->counter = receive->id;
    frame->index = first;
    frame->number = last;
    receive->fetch_last = last;
    momi_trace(shard->core, "FETCH", shard->id, first, last);
    receive->fetch_asked_us = shard->core->now_us;
}

/* An own entry of another term in its place was never committed: it goes first. */
static void make_place(struct momi_shard *shard, uint64_t index, uint64_t term) {
    struct momi_log *log = &shard->raft.log;
    if (index >= log->first_index && index <= momi_log_last(log) &&
        momi_log_term(log, index) != term && !MUTANT(STALE_ENTRY_KEPT) &&
        index > shard->raft.commit) {
        momi_raft_truncate(&shard->raft, index, shard->core->effects);
        momi_shard_raft_changed(shard);
    }
}

static void take_entry(struct momi_shard *shard, uint64_t index,
                       struct momi_slice bytes) {
    struct momi_entry entry;
    struct momi_live_entry live;
    if (!momi_entry_parse(bytes, &entry) ||
        !momi_live_find(shard->receive.machine->live, index, &live) ||
        entry.term != live.term || have_entry(shard, index, live.term)) {
        return;
    }
    struct momi_buf *buf = momi_buf_copy(bytes);
    if (buf == NULL) {
        return; /* asked for again */
    }
    make_place(shard, index, live.term);
    momi_batch_put_entry(&shard->core->effects->batch, shard->id, index, buf);
    shard->has_batch = true;
    momi_buf_release(buf);
}

void momi_shard_snapshot_entries(struct momi_shard *shard, uint64_t node,
                                 const struct momi_frame *frame) {
    struct momi_snapshot_receive *receive = &shard->receive;
    bool is_install = receive->is_on && receive->is_loaded && !shard->is_registry &&
                      receive->id == frame->counter && receive->from_node == node;
    momi_trace(shard->core, "ENTRIES", shard->id, frame->index, frame->number);
    bool is_repair = !is_install && frame->counter == 0;
    struct momi_reader in = momi_reader(frame->payload);
    for (uint32_t i = 0; i < frame->count; i++) {
        uint32_t size = momi_get_u32(&in);
        uint64_t index = momi_get_u64(&in);
        if (size < sizeof index) {
            return;
        }
        struct momi_slice bytes = momi_get_bytes(&in, size - sizeof index);
        if (in.failed) {
            return;
        }
        if (is_install) {
            take_entry(shard, index, bytes);
        } else if (is_repair) {
            momi_shard_repaired(shard, index, bytes);
        }
    }
    if (is_repair) {
        momi_shard_repair_answered(shard, frame->from_replica, frame->index,
                                   frame->number);
    }
    if (is_install && frame->index <= receive->fetch_next &&
        frame->number >= receive->fetch_next) {
        /* What was not sent is dead at the leader by now: the log behind the snapshot
         * says so. */
        receive->fetch_next = frame->number + 1;
        receive->fetch_last = 0;
        receive->heard_us = shard->core->now_us;
    }
}

/* --- the switch
 * ---------------------------------------------------------------------------------------------------
 */

/* Everything up to the snapshot's index that is not alive in it goes, whatever it was. */
static void delete_unlisted(struct momi_shard *shard) {
    struct momi_batch *batch = &shard->core->effects->batch;
    struct momi_live_entry live;
    uint64_t from = 0;
    while (!shard->is_registry &&
           momi_live_next(shard->receive.machine->live, from, &live)) {
        if (live.index > from) {
            struct momi_key low = momi_key_entry(shard->id, from);
            struct momi_key high = momi_key_entry(shard->id, live.index);
            momi_batch_delete_range(batch, MOMI_FAMILY_LOG, momi_key_slice(&low),
                                    momi_key_slice(&high));
        }
        from = live.index + 1;
    }
    struct momi_key low = momi_key_entry(shard->id, from);
    struct momi_key high = momi_key_entry(shard->id, shard->receive.header.applied + 1);
    momi_batch_delete_range(batch, MOMI_FAMILY_LOG, momi_key_slice(&low),
                            momi_key_slice(&high));
}

/* Stamps never fall (R8): entries that are kept may be younger than the state. */
static void pass_elapsed(struct momi_raft *raft, uint64_t elapsed_us) {
    if (elapsed_us > raft->elapsed_us) {
        raft->elapsed_us = elapsed_us;
    }
}

static void install(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    struct momi_snapshot_receive *receive = &shard->receive;
    const struct momi_shard_header *header = &receive->header;
    delete_unlisted(shard);
    if (shard->is_registry) {
        momi_registry_free(&shard->registry);
        shard->registry = receive->registry;
        pass_elapsed(&shard->raft, shard->registry.elapsed_us);
    } else {
        momi_shard_free_machine(shard->machine);
        shard->machine = receive->machine;
        pass_elapsed(&shard->raft, shard->machine->elapsed_us);
    }
    momi_batch_clear_side(&core->effects->batch, shard->id, shard->side);
    shard->side = unused_side(shard);
    shard->has_state = true;
    shard->is_damaged = false;
    shard->applied = header->applied;
    shard->applied_term = header->applied_term;
    shard->checkpoint_applied = header->applied;
    shard->checkpoint_log_bytes = 0;
    momi_shard_forget_recent(shard);
    momi_raft_install(&shard->raft, header->applied, header->applied_term,
                      &header->config, header->config_index, core->effects);
    shard->log_from = shard->raft.log.first_index;
    momi_shard_write_header(shard, MOMI_SYNC_NEEDED);
    momi_shard_raft_changed(shard);
    core->counters.snapshots_installed++;
    momi_trace(core, "SNAPSHOT_INSTALLED", shard->id, header->applied,
               header->applied_term);
    answer(shard, MOMI_FLAG_OK);
    *receive = (struct momi_snapshot_receive){0};
    if (shard->is_registry) {
        momi_mesh_registry_changed(core);
    }
}

void momi_shard_receive_turn(struct momi_shard *shard) {
    struct momi_snapshot_receive *receive = &shard->receive;
    if (!receive->is_on) {
        return;
    }
    uint64_t now_us = shard->core->now_us;
    bool has_it = receive->has_header && shard->raft.commit >= receive->header.applied &&
                  !MUTANT(INSTALL_OVER_LOG);
    if (has_it || momi_raft_is_leader(&shard->raft) ||
        now_us >= receive->heard_us + SNAPSHOT_SILENCE_US) {
        /* What is committed here already is as good as installed: the log goes on. */
        answer(shard, has_it ? MOMI_FLAG_OK : MOMI_FLAG_REFUSED);
        momi_shard_receive_abandon(shard);
        return;
    }
    if (!receive->is_loaded) {
        return;
    }
    struct momi_live_entry live;
    if (!shard->is_registry && next_missing(shard, &live)) {
        bool is_asked = receive->fetch_last >= live.index &&
                        now_us < receive->fetch_asked_us + FETCH_AGAIN_US;
        if (!is_asked) {
            receive->fetch_next = live.index;
            ask(shard, live.index);
        }
        return;
    }
    install(shard);
}
