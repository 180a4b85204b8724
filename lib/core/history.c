/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a topic keeps: its newest messages within age, bytes and count, for subscriptions
 * that start in the past.
 *
 * Each kept message is a reference in live.h. Age is on the elapsed clock (R8) and found
 * by time marks: about one a second, thinned out as they grow old, so a message may stay
 * longer than its age by the distance of two marks, never shorter. Trimmed at a publish
 * and at a tick, in bounded portions.
 */
#include "core/machine_internal.h"

static uint64_t run_bytes(const struct momi_machine *machine,
                          const struct momi_run *run) {
    return momi_checkout_message_bytes(machine, run->index) * run->count;
}

static struct momi_time_mark *mark_at(const struct momi_stream *stream, size_t index) {
    return momi_ring_at(&stream->marks, index);
}

enum { MARK_AGE_PARTS = 16 };

/* Drops marks so that neighbours stay apart by no more than a sixteenth of their age: 600
 * are enough for a century. Should that drop none, the second oldest goes. */
static void thin_marks(struct momi_stream *stream) {
    struct momi_ring *marks = &stream->marks;
    uint64_t now_us = mark_at(stream, marks->count - 1)->elapsed_us;
    size_t kept = 1;
    for (size_t i = 1; i < marks->count; i++) {
        bool is_last = i + 1 == marks->count;
        uint64_t next_us = is_last ? 0 : mark_at(stream, i + 1)->elapsed_us;
        uint64_t gap_us = is_last ? 0 : next_us - mark_at(stream, kept - 1)->elapsed_us;
        if (is_last || gap_us > (now_us - next_us) / MARK_AGE_PARTS) {
            *mark_at(stream, kept) = *mark_at(stream, i);
            kept++;
        }
    }
    if (kept == marks->count) {
        for (size_t i = 2; i < marks->count; i++) {
            *mark_at(stream, i - 1) = *mark_at(stream, i);
        }
        kept--;
    }
    momi_ring_pop_back(marks, marks->count - kept);
}

static void add_mark(const struct momi_machine *machine, struct momi_stream *stream,
                     uint64_t sequence) {
    if (stream->marks.count > 0) {
        const struct momi_time_mark *last = mark_at(stream, stream->marks.count - 1);
        if (machine->elapsed_us - last->elapsed_us < MOMI_MARK_US &&
            machine->wall_us - last->wall_us < MOMI_MARK_US) {
            return;
        }
    }
    if (stream->marks.count >= MOMI_MARKS_MAX) {
        thin_marks(stream);
    }
    struct momi_time_mark *mark = momi_ring_push(&stream->marks);
    MOMI_ASSERT(mark != NULL); /* reserved */
    *mark = (struct momi_time_mark){.sequence = sequence,
                                    .elapsed_us = machine->elapsed_us,
                                    .wall_us = machine->wall_us};
    stream->marks_dirty = true;
}

/* Marks whose messages are all gone say nothing any more; without history none does. */
static void drop_marks(struct momi_stream *stream) {
    struct momi_run first;
    bool any = momi_runs_first(&stream->history, &first);
    size_t gone = 0;
    while (gone < stream->marks.count) {
        bool is_last = gone + 1 == stream->marks.count;
        if (any && (is_last || mark_at(stream, gone + 1)->sequence > first.sequence)) {
            break;
        }
        gone++;
    }
    if (gone > 0) {
        momi_ring_pop_front(&stream->marks, gone);
        stream->marks_dirty = true;
    }
}

/* By when, at the latest, the messages of the oldest mark were published. */
static uint64_t oldest_until_us(const struct momi_stream *stream) {
    return stream->marks.count > 1
               ? mark_at(stream, 1)->elapsed_us
               : momi_due_after(mark_at(stream, 0)->elapsed_us, MOMI_MARK_US);
}

void momi_history_schedule(struct momi_machine *machine, struct momi_stream *stream) {
    if (stream->options.retention_us == 0 || stream->marks.count == 0) {
        momi_heap_remove(&machine->retention, &stream->retention_due);
        return;
    }
    uint64_t due_us =
        momi_due_after(oldest_until_us(stream), stream->options.retention_us);
    stream->retention_due.tie = stream->id;
    if (stream->retention_due.position == MOMI_HEAP_NONE) {
        stream->retention_due.due = due_us;
        momi_heap_insert(&machine->retention, &stream->retention_due);
    } else if (stream->retention_due.due != due_us) {
        stream->retention_due.due = due_us;
        momi_heap_update(&machine->retention, &stream->retention_due);
    }
}

void momi_history_append(struct momi_machine *machine, struct momi_stream *stream,
                         const struct momi_run *run) {
    momi_runs_append(&stream->history, run);
    momi_live_reference(machine->live, run->index, run->count);
    stream->history_bytes += run_bytes(machine, run);
    add_mark(machine, stream, run->sequence);
    momi_history_schedule(machine, stream);
    momi_stream_dirty(machine, stream);
}

static void release_run(struct momi_machine *machine, struct momi_stream *stream,
                        const struct momi_run *run) {
    uint64_t bytes = run_bytes(machine, run);
    MOMI_ASSERT(bytes <= stream->history_bytes);
    stream->history_bytes -= bytes;
    momi_live_release(machine->live, run->index, run->count);
}

/* How many messages at the head of the first run are beyond a bound. */
static uint32_t beyond(const struct momi_machine *machine,
                       const struct momi_stream *stream, const struct momi_run *first) {
    const struct momi_stream_options *options = &stream->options;
    uint64_t count = 0;
    if (options->retention_count != 0 &&
        stream->history.messages > options->retention_count) {
        count = stream->history.messages - options->retention_count;
    }
    if (stream->history_bytes > options->retention_bytes) {
        uint64_t each = momi_checkout_message_bytes(machine, first->index);
        uint64_t excess = stream->history_bytes - options->retention_bytes;
        uint64_t by_bytes = each == 0 ? first->count : (excess + each - 1) / each;
        count = by_bytes > count ? by_bytes : count;
    }
    if (options->retention_us != 0 &&
        momi_due_after(oldest_until_us(stream), options->retention_us) <=
            machine->elapsed_us) {
        uint64_t until = stream->marks.count > 1 ? mark_at(stream, 1)->sequence
                                                 : stream->sequence_next;
        uint64_t by_age = until > first->sequence ? until - first->sequence : 0;
        count = by_age > count ? by_age : count;
    }
    return count > first->count ? first->count : (uint32_t)count;
}

uint32_t momi_history_trim(struct momi_machine *machine, struct momi_stream *stream,
                           uint32_t items_max) {
    uint32_t items = 0;
    struct momi_run first;
    while (items < items_max && momi_runs_first(&stream->history, &first)) {
        uint32_t count = beyond(machine, stream, &first);
        struct momi_run gone;
        if (count == 0 || !momi_runs_take(&stream->history, count, &gone)) {
            break;
        }
        release_run(machine, stream, &gone);
        drop_marks(stream);
        items++;
    }
    if (items > 0) {
        momi_history_schedule(machine, stream);
        momi_stream_dirty(machine, stream);
    }
    return items;
}

uint32_t momi_history_tick(struct momi_machine *machine, uint32_t items_max) {
    uint32_t items = 0;
    while (items < items_max) {
        struct momi_heap_node *top = momi_heap_top(&machine->retention);
        if (top == NULL || top->due > machine->elapsed_us) {
            break;
        }
        struct momi_stream *stream =
            MOMI_CONTAINER_OF(top, struct momi_stream, retention_due);
        uint32_t trimmed = momi_history_trim(machine, stream, items_max - items);
        MOMI_ASSERT(trimmed > 0); /* what is due is there */
        items += trimmed;
    }
    return items;
}

uint64_t momi_history_clear(struct momi_machine *machine, struct momi_stream *stream) {
    uint64_t count = stream->history.messages;
    momi_machine_let_go(machine, &stream->history);
    stream->history_bytes = 0;
    drop_marks(stream);
    momi_history_schedule(machine, stream);
    momi_stream_dirty(machine, stream);
    return count;
}

uint64_t momi_history_since(const struct momi_stream *stream, uint64_t wall_us) {
    uint64_t sequence = stream->sequence_next;
    for (size_t i = stream->marks.count; i > 0; i--) {
        /* Messages of a mark may be as late as the next mark: start at the mark itself.
         */
        const struct momi_time_mark *mark = mark_at(stream, i - 1);
        uint64_t until_us = i == stream->marks.count ? mark->wall_us + MOMI_MARK_US
                                                     : mark_at(stream, i)->wall_us;
        if (until_us < wall_us) {
            break;
        }
        sequence = mark->sequence;
    }
    return sequence;
}
