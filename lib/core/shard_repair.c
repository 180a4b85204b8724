/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair (E7). An entry that the store cannot give back is asked for at every other
 * replica, checked against the term that the log or the table of live entries knows, and
 * written back. Whoever needs it waits. When all replicas of the configuration have
 * answered that they do not have it either, it is lost: who waits is told so (deliveries
 * go out damaged, and are refused by their checksum), and the question is repeated now
 * and then, since a copy may still come back.
 */
#include "base/assert.h"
#include "core/shard_internal.h"

#define REPAIR_AGAIN_US (500 * MOMI_MS)
#define REPAIR_LOST_US  (10 * MOMI_S)

static struct momi_repair *find(const struct momi_shard *shard, uint64_t index) {
    for (uint32_t i = 0; i < shard->repairs_end; i++) {
        if (shard->repairs[i].index == index) {
            return (struct momi_repair *)(uintptr_t)&shard->repairs[i];
        }
    }
    return NULL;
}

static void forget(struct momi_shard *shard, struct momi_repair *repair) {
    *repair = (struct momi_repair){0};
    while (shard->repairs_end > 0 && shard->repairs[shard->repairs_end - 1].index == 0) {
        shard->repairs_end--;
    }
}

bool momi_shard_is_damaged(const struct momi_shard *shard, uint64_t index) {
    return shard->repairs_end > 0 && find(shard, index) != NULL;
}

bool momi_shard_is_lost(const struct momi_shard *shard, uint64_t index) {
    const struct momi_repair *repair = find(shard, index);
    return repair != NULL && repair->is_lost;
}

static uint64_t term_of(const struct momi_shard *shard, uint64_t index) {
    const struct momi_log *log = &shard->raft.log;
    struct momi_live_entry live;
    if (index >= log->first_index && index <= momi_log_last(log)) {
        return momi_log_term(log, index);
    }
    bool is_live =
        !shard->is_registry && momi_live_find(shard->machine->live, index, &live);
    return is_live ? live.term : 0;
}

bool momi_shard_needs(const struct momi_shard *shard, uint64_t index) {
    return term_of(shard, index) != 0;
}

bool momi_shard_fits(const struct momi_shard *shard, uint64_t index,
                     const struct momi_entry *entry) {
    uint64_t term = term_of(shard, index);
    return term == 0 || entry->term == term;
}

static bool has_answered(const struct momi_repair *repair, uint64_t replica) {
    for (uint32_t i = 0; i < repair->answered_count; i++) {
        if (repair->answered[i] == replica) {
            return true;
        }
    }
    return false;
}

/* Asks all that have not answered yet; a lost entry everybody once more. */
static void ask(struct momi_shard *shard, struct momi_repair *repair) {
    struct momi_core *core = shard->core;
    const struct momi_raft_config *config = &shard->raft.config;
    repair->asked_us = core->now_us;
    bool all_answered = true;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct momi_replica_at *at = &config->at[i];
        if (at->replica == shard->replica) {
            continue;
        }
        bool is_known = has_answered(repair, at->replica);
        all_answered = all_answered && is_known;
        if ((is_known && !repair->is_lost) || !momi_mesh_lane_is_up(core, at->node)) {
            continue;
        }
        struct momi_frame *frame = momi_core_send(core, at->node, FRAME_FETCH);
        frame->shard = shard->id;
        frame->from_replica = shard->replica;
        frame->to_replica = at->replica;
        frame->index = repair->index;
        frame->number = repair->index;
    }
    if (all_answered && !repair->is_lost) {
        repair->is_lost = true;
        core->counters.entries_lost++;
        momi_trace(core, "ENTRY_LOST", shard->id, repair->index, 0);
        momi_core_notice(core, MOMI_NOTICE_LOST, shard->id, core->config.node,
                         "messages are damaged on every copy");
        shard->wants_turn = true;
    }
}

void momi_shard_repair(struct momi_shard *shard, uint64_t index) {
    if (!momi_shard_needs(shard, index) || find(shard, index) != NULL) {
        return;
    }
    struct momi_repair *repair = find(shard, 0);
    if (repair == NULL) {
        if (shard->repairs_end == SHARD_REPAIRS_MAX) {
            return; /* found again by the next who needs it */
        }
        repair = &shard->repairs[shard->repairs_end++];
    }
    *repair = (struct momi_repair){.index = index};
    momi_trace(shard->core, "ENTRY_DAMAGED", shard->id, index, 0);
    ask(shard, repair);
}

void momi_shard_repair_answered(struct momi_shard *shard, uint64_t replica,
                                uint64_t first, uint64_t last) {
    for (uint32_t i = 0; i < shard->repairs_end; i++) {
        struct momi_repair *repair = &shard->repairs[i];
        bool is_meant =
            repair->index != 0 && repair->index >= first && repair->index <= last;
        if (is_meant && !has_answered(repair, replica) &&
            repair->answered_count < 2 * MOMI_REPLICAS_MAX) {
            repair->answered[repair->answered_count++] = replica;
            repair->asked_us = 0; /* at the end of the turn: was it the last one? */
        }
    }
}

/* From first_index on the log holds whole entries only: followers get them. */
void momi_shard_repaired(struct momi_shard *shard, uint64_t index,
                         struct momi_slice bytes) {
    struct momi_repair *repair = find(shard, index);
    struct momi_entry entry;
    uint64_t term = term_of(shard, index);
    bool is_in_log = index >= shard->raft.log.first_index;
    if (repair == NULL || term == 0 || !momi_entry_parse(bytes, &entry) ||
        entry.term != term || (is_in_log && entry.kind == MOMI_ENTRY_HOLLOW)) {
        return;
    }
    struct momi_buf *buf = momi_buf_copy(bytes);
    if (buf == NULL) {
        return; /* asked for again */
    }
    momi_batch_put_entry(&shard->core->effects->batch, shard->id, index, buf);
    shard->has_batch = true;
    momi_shard_remember(shard, index, buf);
    momi_buf_release(buf);
    forget(shard, repair);
    shard->core->counters.entries_repaired++;
    momi_trace(shard->core, "ENTRY_REPAIRED", shard->id, index, term);
}

static uint64_t due(const struct momi_repair *repair) {
    return repair->asked_us == 0
               ? 0
               : repair->asked_us + (repair->is_lost ? REPAIR_LOST_US : REPAIR_AGAIN_US);
}

void momi_shard_repair_turn(struct momi_shard *shard) {
    for (uint32_t i = 0; i < shard->repairs_end; i++) {
        struct momi_repair *repair = &shard->repairs[i];
        if (repair->index == 0) {
            continue;
        }
        if (!momi_shard_needs(shard, repair->index)) {
            forget(shard, repair); /* dead, or replaced by a leader's */
        } else if (shard->core->now_us >= due(repair)) {
            ask(shard, repair);
        }
    }
}

uint64_t momi_shard_repair_deadline(const struct momi_shard *shard) {
    uint64_t first = MOMI_NEVER;
    for (uint32_t i = 0; i < shard->repairs_end; i++) {
        if (shard->repairs[i].index != 0) {
            first = momi_earlier(first, due(&shard->repairs[i]));
        }
    }
    return first;
}
