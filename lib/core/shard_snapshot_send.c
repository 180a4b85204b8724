/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending a state (E6): the records of the last checkpoint, read under one store
 * snapshot, then the entries that the receiver asks for. A replica that lags behind the
 * log, or has no state, gets it from its leader.
 *
 *   leader                                   receiver
 *     SNAPSHOT_RECORDS (id, part, records) -->   fills its unused side
 *                       <-- SNAPSHOT_REPLY (id, parts had)
 *                                 <-- FETCH (first, last)      live entries that it lacks
 *     ENTRIES (first, last, entries)       -->   ... then switches sides in one batch
 *                       <-- SNAPSHOT_REPLY (id, OK)
 *
 * After a break the records start again under a new id; entries received stay received.
 */
#include "base/assert.h"
#include "core/shard_internal.h"

enum { SEND_SILENCE_US = 5 * 1000000 };

static struct momi_snapshot_send *find_send(struct momi_shard *shard, uint64_t replica) {
    for (int i = 0; i < SNAPSHOT_SENDS_MAX; i++) {
        if (shard->sends[i].replica == replica) {
            return &shard->sends[i];
        }
    }
    return NULL;
}

static void end_send(struct momi_shard *shard, struct momi_snapshot_send *send) {
    if (send->id != 0) {
        struct momi_effect *effect = momi_effect_add(shard->core->effects, FX_SCAN_END);
        effect->token = send->id;
    }
    struct momi_bytes after = send->after;
    momi_bytes_clear(&after);
    *send = (struct momi_snapshot_send){.after = after};
}

void momi_shard_snapshot_stop(struct momi_shard *shard) {
    for (int i = 0; i < SNAPSHOT_SENDS_MAX; i++) {
        if (shard->sends[i].replica != 0) {
            end_send(shard, &shard->sends[i]);
        }
    }
}

uint64_t momi_shard_snapshot_keep(const struct momi_shard *shard) {
    uint64_t keep = UINT64_MAX;
    for (int i = 0; i < SNAPSHOT_SENDS_MAX; i++) {
        if (shard->sends[i].replica != 0 &&
            shard->raft.log.bytes < MOMI_LOG_BEHIND_BYTES_MAX) {
            keep = momi_earlier(keep, shard->sends[i].keep_from);
        }
    }
    return keep;
}

static void scan_on(struct momi_shard *shard, struct momi_snapshot_send *send) {
    struct momi_core *core = shard->core;
    struct momi_effect *effect = momi_effect_add(core->effects, FX_SCAN);
    effect->token = core->token_next++;
    effect->session = send->id;
    effect->shard = shard->id;
    effect->side = shard->side;
    effect->value = SNAPSHOT_PART_BYTES;
    effect->from = momi_effect_copy(core->effects, momi_bytes_slice(&send->after));
    send->scan_token = effect->token;
}

static void begin_send(struct momi_shard *shard, const struct momi_progress *progress) {
    struct momi_snapshot_send *send = find_send(shard, 0);
    if (send == NULL) {
        return;
    }
    send->replica = progress->replica;
    send->node = progress->node;
    send->heard_us = shard->core->now_us;
    send->keep_from = shard->checkpoint_applied + 1;
    momi_trace(shard->core, "SNAPSHOT_BEGIN", shard->id, send->replica,
               shard->checkpoint_applied);
}

/* The checkpoint is on disk and the window has room: read on. */
static void send_on(struct momi_shard *shard, struct momi_snapshot_send *send) {
    if (send->id == 0) {
        if (shard->checkpoint_applied == 0) {
            shard->checkpoint_asked = true;
            return;
        }
        if (shard->checkpoint_batch != 0) {
            return; /* being written */
        }
        send->id = shard->core->token_next++;
        send->keep_from = shard->checkpoint_applied + 1;
        shard->core->counters.snapshots_sent++;
    }
    bool has_window = send->parts_sent - send->parts_answered < SNAPSHOT_WINDOW;
    if (!send->is_scanned && send->scan_token == 0 && has_window &&
        momi_core_has_room(shard->core, send->node)) {
        scan_on(shard, send);
    }
}

static void begin_sends(struct momi_shard *shard) {
    for (uint32_t i = 0; i < shard->raft.progress_count; i++) {
        const struct momi_progress *progress = &shard->raft.progress[i];
        if (progress->state == PROGRESS_SNAPSHOT && progress->replica != shard->replica &&
            find_send(shard, progress->replica) == NULL &&
            momi_mesh_lane_is_up(shard->core, progress->node)) {
            begin_send(shard, progress);
        }
    }
}

bool momi_shard_snapshot_scanned(struct momi_shard *shard,
                                 const struct momi_event *event) {
    struct momi_core *core = shard->core;
    struct momi_snapshot_send *send = NULL;
    for (int i = 0; i < SNAPSHOT_SENDS_MAX && send == NULL; i++) {
        if (shard->sends[i].replica != 0 && shard->sends[i].scan_token == event->token) {
            send = &shard->sends[i];
        }
    }
    if (send == NULL) {
        return false;
    }
    send->scan_token = 0;
    if (event->error != MOM_OK) {
        end_send(shard, send); /* started again from the beginning in a later turn */
        return true;
    }
    struct momi_bytes bytes = {0};
    for (size_t i = 0; i < event->items_count; i++) {
        momi_put_slice(&bytes, event->items[i].key);
        momi_put_slice(&bytes, event->items[i].value);
    }
    if (event->items_count > 0) {
        struct momi_slice last = event->items[event->items_count - 1].key;
        momi_bytes_clear(&send->after);
        momi_bytes_append(&send->after, last.data, last.size);
    }
    if (bytes.failed || send->after.failed) {
        momi_bytes_free(&bytes);
        end_send(shard, send);
        return true;
    }
    struct momi_frame *frame = momi_core_send(core, send->node, FRAME_SNAPSHOT_RECORDS);
    frame->shard = shard->id;
    frame->from_replica = shard->replica;
    frame->to_replica = send->replica;
    frame->term = shard->raft.term;
    frame->counter = send->id;
    frame->number = send->parts_sent++;
    frame->flags = event->finished ? MOMI_FLAG_LAST : 0;
    momi_frame_add_part(core->effects, frame, NULL, momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    send->is_scanned = event->finished;
    return true;
}

void momi_shard_snapshot_reply(struct momi_shard *shard, uint64_t node,
                               const struct momi_frame *frame) {
    struct momi_snapshot_send *send = find_send(shard, frame->from_replica);
    if (frame->from_replica == 0 || send == NULL || send->node != node ||
        send->id != frame->counter) {
        return;
    }
    send->heard_us = shard->core->now_us;
    if (frame->number > send->parts_answered && frame->number <= send->parts_sent) {
        send->parts_answered = frame->number;
    }
    bool is_installed = (frame->flags & MOMI_FLAG_OK) != 0;
    if (!is_installed && (frame->flags & MOMI_FLAG_REFUSED) == 0) {
        return;
    }
    momi_trace(shard->core, "SNAPSHOT_END", shard->id, send->replica, is_installed);
    momi_raft_snapshot_done(&shard->raft, send->replica, send->keep_from - 1,
                            is_installed);
    end_send(shard, send);
}

/* --- fetching
 * -----------------------------------------------------------------------------------------------------
 */

void momi_shard_fetch(struct momi_shard *shard, uint64_t node,
                      const struct momi_frame *frame) {
    if (frame->index == 0 || frame->number < frame->index ||
        frame->number - frame->index >= FETCH_ENTRIES_MAX) {
        shard->core->counters.frames_dropped++;
        return;
    }
    struct momi_snapshot_send *send = find_send(shard, frame->from_replica);
    if (send != NULL && frame->from_replica != 0) {
        send->heard_us = shard->core->now_us;
    }
    struct momi_fetch *fetch = NULL;
    for (int i = 0; i < SHARD_FETCHES_MAX; i++) {
        struct momi_fetch *one = &shard->fetches[i];
        if (one->node == node && one->replica == frame->from_replica) {
            fetch = one; /* asked again, or for more */
            break;
        }
        if (one->node == 0) {
            fetch = one;
        }
    }
    if (fetch != NULL) {
        *fetch = (struct momi_fetch){.node = node,
                                     .replica = frame->from_replica,
                                     .id = frame->counter,
                                     .first = frame->index,
                                     .last = frame->number};
    }
}

/* Whether the entry is ours to give: part of the log, or alive, and whole. */
static bool is_held(const struct momi_shard *shard, uint64_t index) {
    return momi_shard_needs(shard, index) && !momi_shard_is_damaged(shard, index);
}

/* False: something has to be read first. */
static bool answer_fetch(struct momi_shard *shard, struct momi_fetch *fetch) {
    struct momi_core *core = shard->core;
    size_t bytes = 0;
    uint64_t end = fetch->first;
    bool is_waiting = false;
    for (; end <= fetch->last && bytes < MOMI_ENTRY_BYTES_TARGET; end++) {
        bool gone = false;
        struct momi_buf *buf =
            is_held(shard, end) ? momi_shard_entry(shard, end, &gone) : NULL;
        if (buf == NULL && is_held(shard, end) && !gone) {
            is_waiting = true; /* the reads of the rest start as well */
        }
        bytes += buf == NULL ? 0 : buf->size;
    }
    if (is_waiting) {
        return false;
    }
    struct momi_frame *frame = momi_core_send(core, fetch->node, FRAME_ENTRIES);
    frame->shard = shard->id;
    frame->from_replica = shard->replica;
    frame->to_replica = fetch->replica;
    frame->counter = fetch->id;
    frame->index = fetch->first;
    frame->number = end - 1;
    for (uint64_t index = fetch->first; index < end; index++) {
        bool gone = false;
        struct momi_buf *buf =
            is_held(shard, index) ? momi_shard_entry(shard, index, &gone) : NULL;
        if (buf == NULL) {
            continue;
        }
        uint8_t head[12];
        momi_store_le32(head, (uint32_t)(sizeof(uint64_t) + buf->size));
        momi_store_le64(head + 4, index);
        momi_frame_add_part(core->effects, frame, NULL, momi_slice(head, sizeof head));
        momi_frame_add_part(core->effects, frame, buf, momi_buf_slice(buf));
        frame->count++;
    }
    return true;
}

void momi_shard_snapshot_turn(struct momi_shard *shard) {
    /* Also before its no-op is committed: it may need this very replica for that. */
    if (momi_raft_is_leader(&shard->raft) && shard->has_state) {
        begin_sends(shard);
    }
    for (int i = 0; i < SNAPSHOT_SENDS_MAX; i++) {
        struct momi_snapshot_send *send = &shard->sends[i];
        if (send->replica == 0) {
            continue;
        }
        const struct momi_progress *progress =
            momi_raft_progress(&shard->raft, send->replica);
        bool is_wanted = progress != NULL && progress->state == PROGRESS_SNAPSHOT;
        bool is_silent = shard->core->now_us >= send->heard_us + SEND_SILENCE_US;
        if (!is_wanted || is_silent || !momi_mesh_lane_is_up(shard->core, send->node)) {
            end_send(shard, send);
        } else {
            send_on(shard, send);
        }
    }
    for (int i = 0; i < SHARD_FETCHES_MAX; i++) {
        struct momi_fetch *fetch = &shard->fetches[i];
        if (fetch->node != 0 && (!momi_mesh_lane_is_up(shard->core, fetch->node) ||
                                 answer_fetch(shard, fetch))) {
            fetch->node = 0;
        }
    }
}
