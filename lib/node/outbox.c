/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending on a lane: frames are encoded once and handed to the transport, which gathers
 * them and writes once a turn. What it does not take waits here in two lines, of which
 * the urgent one (heartbeats, votes, answers) goes first; large frames leave in
 * fragments.
 *
 * Loop thread only. A frame that finds no memory or too much waiting is dropped, as if it
 * was lost: whoever needs it sends it again.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "node/node_internal.h"
#include "wire/codec.h"

void momi_outbox_init(struct momi_outbox *outbox) {
    momi_list_init(&outbox->urgent);
    momi_list_init(&outbox->bulk);
}

static void outgoing_free(struct momi_outgoing *out) {
    momi_list_remove(&out->link);
    for (uint32_t i = 0; i < out->parts_count; i++) {
        momi_buf_release(out->parts[i].buf);
    }
    momi_free(out);
}

void momi_outbox_clear(struct momi_outbox *outbox) {
    while (!momi_list_empty(&outbox->urgent)) {
        outgoing_free(MOMI_CONTAINER_OF(outbox->urgent.next, struct momi_outgoing, link));
    }
    while (!momi_list_empty(&outbox->bulk)) {
        outgoing_free(MOMI_CONTAINER_OF(outbox->bulk.next, struct momi_outgoing, link));
    }
    outbox->bytes = 0;
}

static bool is_urgent(enum momi_frame_type type) {
    switch (type) {
    case FRAME_APPEND:
    case FRAME_SNAPSHOT:
    case FRAME_SNAPSHOT_RECORDS:
    case FRAME_SNAPSHOT_LIST:
    case FRAME_ENTRIES:
    case FRAME_COMMANDS:
    case FRAME_DELIVER:
    case FRAME_QUERY_REPLY:
    case FRAME_MAP:
    case FRAME_GOODBYE: /* the last, after all others */
        return false;
    default:
        return true;
    }
}

static size_t parts_size(const struct momi_frame *frame) {
    size_t size = 0;
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        size += frame->parts[i].bytes.size;
    }
    return size;
}

static void touch(struct momi_peer_lane *lane) {
    if (!momi_list_linked(&lane->touched_link)) {
        momi_list_push_back(&lane->node->peers.touched, &lane->touched_link);
    }
}

/* --- waiting
 * ---------------------------------------------------------------------------- */

/* One block: the struct, the parts, the head, and the bytes of parts without a buffer. */
static struct momi_outgoing *outgoing_new(struct momi_slice head,
                                          const struct momi_frame *frame, size_t size) {
    size_t bytes = head.size;
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        bytes += frame->parts[i].buf == NULL ? frame->parts[i].bytes.size : 0;
    }
    struct momi_outgoing *out =
        momi_alloc(sizeof *out + frame->parts_count * sizeof *out->parts + bytes);
    if (out == NULL) {
        return NULL;
    }
    memset(out, 0, sizeof *out);
    momi_list_init(&out->link);
    out->size = size;
    out->parts = (struct momi_part *)(out + 1);
    out->parts_count = frame->parts_count;
    uint8_t *at = (uint8_t *)(out->parts + frame->parts_count);
    memcpy(at, head.data, head.size);
    out->head = momi_slice(at, head.size);
    at += head.size;
    for (uint32_t i = 0; i < frame->parts_count; i++) {
        out->parts[i] = frame->parts[i];
        if (frame->parts[i].buf != NULL) {
            (void)momi_buf_ref(frame->parts[i].buf);
            continue;
        }
        if (frame->parts[i].bytes.size > 0) {
            memcpy(at, frame->parts[i].bytes.data, frame->parts[i].bytes.size);
        }
        out->parts[i].bytes.data = at;
        at += frame->parts[i].bytes.size;
    }
    return out;
}

static void enqueue(struct momi_peer_lane *lane, struct momi_list *line,
                    struct momi_slice head, const struct momi_frame *frame, size_t size) {
    struct momi_outbox *outbox = &lane->outbox;
    struct momi_outgoing *out = NULL;
    if (outbox->bytes + size <= MOMI_OUTBOX_BYTES_MAX) {
        out = outgoing_new(head, frame, size);
    }
    if (out == NULL) {
        lane->node->peers.frames_dropped++;
        return;
    }
    momi_list_push_back(line, &out->link);
    outbox->bytes += size;
    if (outbox->bytes > MOMI_OUTBOX_FULL_BYTES && !lane->full_told) {
        /* The core is told in the next turn. */
        (void)momi_mailbox_post(&lane->node->mailbox, &lane->post);
    }
}

/* --- handing over
 * ------------------------------------------------------------------------ */

/* True: the lane has it, or never will. False: it has no room now. */
static bool hand_over(struct momi_peer_lane *lane, const struct momi_slice *slices,
                      size_t count) {
    int error = momi_lane_send(lane->lane, slices, count);
    if (error == MOM_FULL) {
        lane->outbox.is_blocked = true;
        return false;
    }
    if (error != MOM_OK) {
        lane->node->peers.frames_dropped++;
    }
    touch(lane);
    return true;
}

bool momi_outbox_raw(struct momi_peer_lane *lane, struct momi_slice bytes) {
    int error = momi_lane_send(lane->lane, &bytes, 1);
    touch(lane);
    return error == MOM_OK;
}

static bool hand_over_whole(struct momi_peer_lane *lane, struct momi_slice head,
                            const struct momi_part *parts, uint32_t parts_count) {
    struct momi_slice *slices =
        momi_arena_alloc(&lane->node->effects.arena, (parts_count + 1) * sizeof *slices);
    if (slices == NULL) {
        lane->node->peers.frames_dropped++;
        return true;
    }
    slices[0] = head;
    for (uint32_t i = 0; i < parts_count; i++) {
        slices[i + 1] = parts[i].bytes;
    }
    return hand_over(lane, slices, parts_count + 1);
}

/* True: all fragments were handed over. */
static bool pump_fragments(struct momi_peer_lane *lane, struct momi_outgoing *out) {
    enum { SLICES_MAX = 64 };
    struct momi_outbox *outbox = &lane->outbox;
    if (!outbox->is_splitting) {
        momi_split_begin(&outbox->split, outbox->stream_next++, out->head, out->parts,
                         out->parts_count);
        outbox->is_splitting = true;
    }
    for (;;) {
        struct momi_slice slices[SLICES_MAX];
        struct momi_split before = outbox->split;
        size_t count = momi_split_next(&outbox->split, slices, SLICES_MAX);
        if (count == 0) {
            outbox->is_splitting = false;
            return true;
        }
        if (!hand_over(lane, slices, count)) {
            outbox->split = before; /* the same fragment again */
            return false;
        }
    }
}

void momi_outbox_pump(struct momi_peer_lane *lane) {
    struct momi_outbox *outbox = &lane->outbox;
    while (!outbox->is_blocked) {
        bool is_first = !momi_list_empty(&outbox->urgent);
        struct momi_list *line = is_first ? &outbox->urgent : &outbox->bulk;
        if (momi_list_empty(line)) {
            return;
        }
        struct momi_outgoing *out =
            MOMI_CONTAINER_OF(line->next, struct momi_outgoing, link);
        bool is_done =
            momi_split_is_needed(out->size)
                ? pump_fragments(lane, out)
                : hand_over_whole(lane, out->head, out->parts, out->parts_count);
        if (is_done) {
            outbox->bytes -= out->size;
            outgoing_free(out);
        }
    }
}

void momi_outbox_send(mom_node *node, uint64_t peer, const struct momi_frame *frame) {
    struct momi_peer_lane *lane = momi_peers_current(node, peer);
    if (lane == NULL || lane->state != LANE_UP) {
        node->peers.frames_dropped++;
        return;
    }
    struct momi_slice head;
    int error = momi_codec_encode(frame, &node->effects.arena, &head);
    if (error != MOM_OK) {
        node->peers.frames_dropped++;
        momi_log(&node->log, MOM_LOG_ERROR, "MOM-FRAME-REFUSED", "lane",
                 "a frame cannot be sent: %s", mom_last_error_text());
        return;
    }
    node->peers.frames_out++;
    size_t size = head.size + parts_size(frame);
    bool needs_split = momi_split_is_needed(size);
    struct momi_outbox *outbox = &lane->outbox;
    struct momi_list *line =
        is_urgent(frame->type) && !needs_split ? &outbox->urgent : &outbox->bulk;
    bool must_wait = outbox->is_blocked || outbox->is_splitting ||
                     !momi_list_empty(&outbox->urgent) || !momi_list_empty(&outbox->bulk);
    if (must_wait || needs_split ||
        !hand_over_whole(lane, head, frame->parts, frame->parts_count)) {
        enqueue(lane, line, head, frame, size);
        momi_outbox_pump(lane);
    }
}
