/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads of the state machine: describe, list, subscriptions. A leader asks after
 * ReadIndex and sends the answers (info.h) on; nothing here changes state.
 */
#include "core/info.h"
#include "core/machine_internal.h"

static uint64_t consumers_of(const struct momi_group *group) {
    uint64_t count = 0;
    MOMI_LIST_FOR_EACH (link, &group->consumers) {
        count++;
    }
    return count;
}

/* Of what waits or is kept, the lowest; next_sequence when there is nothing. */
static uint64_t first_sequence(const struct momi_stream *stream) {
    struct momi_run run;
    uint64_t first = stream->sequence_next;
    if (momi_runs_first(&stream->history, &run)) {
        first = run.sequence;
    }
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        if (momi_runs_first(&group->ready, &run) && run.sequence < first) {
            first = run.sequence;
        }
    }
    return first;
}

static struct momi_stream_info stream_info(const struct momi_stream *stream) {
    struct momi_stream_info info = {
        .kind = stream->kind,
        .name = stream->name,
        .id = stream->id,
        .created_wall_us = stream->created_wall_us,
        .creator = stream->creator,
        .options = stream->options,
        .depth = stream->history.messages,
        .first_sequence = first_sequence(stream),
        .next_sequence = stream->sequence_next,
        .bytes = stream->history_bytes,
    };
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        info.leased += group->leased;
        info.consumers += consumers_of(group);
        info.redelivered += group->redelivered;
        info.dead_lettered += group->dead_lettered;
        if (stream->kind == MOMI_KIND_QUEUE) {
            info.depth = group->ready.messages;
            info.bytes = group->ready_bytes;
        } else {
            info.subscriptions_count++;
        }
    }
    return info;
}

static void put_subscription(struct momi_bytes *out, const struct momi_group *group) {
    struct momi_slice filters[MOMI_FILTERS_MAX];
    MOMI_ASSERT(group->filters_count <= MOMI_FILTERS_MAX);
    for (uint32_t i = 0; i < group->filters_count; i++) {
        filters[i] = group->filters[i].pattern;
    }
    struct momi_run run;
    bool any = momi_runs_first(&group->ready, &run);
    struct momi_subscription_info info = {
        .name = group->name,
        .filters = filters,
        .filters_count = group->filters_count,
        .temporary = group->owner != NULL,
        .ignore_own = group->ignore_own,
        .filling = group->fill_from != group->fill_to,
        .creator = group->creator,
        .depth = group->ready.messages,
        .bytes = group->ready_bytes,
        .leased = group->leased,
        .consumers = consumers_of(group),
        .next_sequence = any ? run.sequence : 0,
        .redelivered = group->redelivered,
        .dead_lettered = group->dead_lettered,
    };
    momi_info_put_subscription(out, &info);
}

static int finished(const struct momi_bytes *out) {
    return out->failed ? momi_err(MOM_NO_MEMORY, "no memory for an answer") : MOM_OK;
}

int momi_machine_describe(const struct momi_machine *machine, enum momi_kind kind,
                          struct momi_slice name, struct momi_slice subscription,
                          struct momi_bytes *out) {
    const struct momi_stream *stream = momi_machine_stream(machine, kind, name);
    if (stream == NULL) {
        return momi_err(MOM_NOT_FOUND, "no such %s",
                        kind == MOMI_KIND_TOPIC ? "topic" : "queue");
    }
    const struct momi_group *group =
        subscription.size == 0 ? NULL : momi_machine_group(stream, subscription);
    if (subscription.size != 0 && group == NULL) {
        return momi_err(MOM_NOT_SUBSCRIBED, "no such subscription");
    }
    struct momi_stream_info info = stream_info(stream);
    momi_info_put_stream(out, &info);
    if (group != NULL) {
        put_subscription(out, group); /* behind its topic, whose options it has */
    }
    return finished(out);
}

/* The streams with the lowest names, by name. */
struct page {
    const struct momi_stream **list; /* owned; room for `max` */
    size_t count;
    size_t max;
    bool more; /* one did not fit */
};

/* Where the name belongs among those found so far. */
static size_t page_place(const struct page *page, struct momi_slice name) {
    size_t low = 0;
    size_t high = page->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (momi_slice_compare(page->list[middle]->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void page_add(struct page *page, const struct momi_stream *stream) {
    size_t at = page_place(page, stream->name);
    if (page->count == page->max) {
        page->more = true;
        if (at == page->max) {
            return;
        }
        page->count--; /* the highest goes */
    }
    memmove(page->list + at + 1, page->list + at,
            (page->count - at) * sizeof(struct momi_stream *));
    page->list[at] = stream;
    page->count++;
}

int momi_machine_list(const struct momi_machine *machine, enum momi_kind kind,
                      struct momi_slice after, uint32_t max, struct momi_bytes *out,
                      bool *more) {
    struct page page = {.max =
                            max < machine->streams_count ? max : machine->streams_count};
    *more = false;
    if (page.max == 0) {
        return finished(out);
    }
    page.list = momi_calloc(page.max, sizeof(struct momi_stream *));
    if (page.list == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a list");
    }
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        const struct momi_stream *stream =
            MOMI_CONTAINER_OF(link, struct momi_stream, link);
        if (stream->kind == kind && momi_slice_compare(stream->name, after) > 0) {
            page_add(&page, stream);
        }
    }
    for (size_t i = 0; i < page.count; i++) {
        struct momi_stream_info info = stream_info(page.list[i]);
        momi_info_put_stream(out, &info);
    }
    momi_free((void *)page.list);
    *more = page.more;
    return finished(out);
}

int momi_machine_subscriptions(const struct momi_machine *machine,
                               struct momi_slice topic, struct momi_bytes *out) {
    const struct momi_stream *stream =
        momi_machine_stream(machine, MOMI_KIND_TOPIC, topic);
    if (stream == NULL) {
        return momi_err(MOM_NOT_FOUND, "no such topic");
    }
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        put_subscription(out, MOMI_CONTAINER_OF(link, struct momi_group, link));
    }
    return finished(out);
}
