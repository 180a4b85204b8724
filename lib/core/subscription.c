/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: the one of a queue, and the subscriptions of a topic, with their filters and
 * where they start (M2).
 *
 * A subscription that starts in the past and takes everything gets the history at once.
 * One that has to look at keys or publishers is filled by its leader, which reads the
 * kept entries and proposes CMD_FILL; until that is done live matches wait in `ready`
 * from fill_to on, and momi_group_fill_limit keeps them there.
 */
#include "core/machine_internal.h"

struct momi_group *momi_machine_group(const struct momi_stream *stream,
                                      struct momi_slice name) {
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        if (momi_slice_equal(group->name, name)) {
            return group;
        }
    }
    return NULL;
}

struct momi_group *momi_group_by_id(const struct momi_machine *machine, uint64_t id) {
    struct momi_map_node *node =
        momi_map_first(&machine->groups_by_id, momi_hash_u64(id));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_group *group = MOMI_CONTAINER_OF(node, struct momi_group, by_id);
        if (group->id == id) {
            return group;
        }
    }
    return NULL;
}

/* Filters and their patterns in one block; the name in another. */
static bool copy_texts(struct momi_group *group, struct momi_slice name,
                       const struct momi_slice *filters, uint32_t filters_count) {
    size_t size = filters_count * sizeof *group->filters;
    for (uint32_t i = 0; i < filters_count; i++) {
        size += filters[i].size;
    }
    uint8_t *copy = momi_alloc(name.size);
    group->filters = filters_count == 0 ? NULL : momi_alloc(size);
    if (copy == NULL || (filters_count > 0 && group->filters == NULL)) {
        momi_free(copy);
        momi_free(group->filters);
        return false;
    }
    if (name.size > 0) {
        memcpy(copy, name.data, name.size);
    }
    group->name = momi_slice(copy, name.size);
    group->filters_count = filters_count;
    if (filters_count > 0) {
        uint8_t *at = (uint8_t *)(group->filters + filters_count);
        for (uint32_t i = 0; i < filters_count; i++) {
            memcpy(at, filters[i].data, filters[i].size);
            group->filters[i].pattern = momi_slice(at, filters[i].size);
            at += filters[i].size;
        }
    }
    return true;
}

struct momi_group *momi_group_add(struct momi_machine *machine,
                                  struct momi_stream *stream, uint64_t id,
                                  struct momi_slice name,
                                  const struct momi_slice *filters,
                                  uint32_t filters_count) {
    struct momi_group *group = momi_calloc(1, sizeof *group);
    if (group == NULL || !copy_texts(group, name, filters, filters_count)) {
        momi_free(group);
        return NULL;
    }
    group->stream = stream;
    group->id = id;
    momi_runs_init(&group->ready);
    momi_list_init(&group->consumers);
    momi_list_init(&group->waiting);
    momi_list_init(&group->temporary_link);
    momi_list_init(&group->dirty_link);
    momi_list_init(&group->fill_link);
    momi_map_insert(&machine->groups_by_id, &group->by_id, momi_hash_u64(id));
    momi_list_push_back(&stream->groups, &group->link);
    stream->groups_count++;
    return group;
}

void momi_group_free(struct momi_group *group) {
    momi_runs_free(&group->ready);
    momi_free(group->filters);
    momi_free((void *)(uintptr_t)group->name.data);
    momi_free(group);
}

void momi_group_end(struct momi_machine *machine, struct momi_group *group, int error) {
    momi_checkout_drop(machine, group, error);
    struct momi_key key = momi_record_key('g', group->id);
    momi_record_deleted(machine, momi_key_slice(&key));
    momi_map_remove(&machine->groups_by_id, &group->by_id);
    momi_list_remove(&group->link);
    momi_list_remove(&group->temporary_link);
    momi_list_remove(&group->dirty_link);
    momi_list_remove(&group->fill_link);
    group->stream->groups_count--;
    momi_group_free(group);
}

void momi_group_fill_done(struct momi_group *group) {
    group->fill_from = group->fill_to;
    momi_list_remove(&group->fill_link);
}

static bool texts_are_valid(const struct momi_subscription_create *create) {
    if (momi_name_check(MOMI_NAME_SUBSCRIPTION, create->name) != MOM_OK) {
        return false;
    }
    for (uint32_t i = 0; i < create->filters_count; i++) {
        if (!momi_filter_is_valid(create->filters[i])) {
            return false;
        }
    }
    return true;
}

/* With if_missing: is what is there what is asked for? Where it started is of the past,
 * and not compared. */
static bool is_same(const struct momi_group *group,
                    const struct momi_subscription_create *create,
                    const struct momi_session *session) {
    if (group->filters_count != create->filters_count ||
        group->ignore_own != create->ignore_own ||
        group->owner != (create->temporary ? session : NULL) ||
        (create->ignore_own && group->creator != session->node)) {
        return false;
    }
    for (uint32_t i = 0; i < group->filters_count; i++) {
        if (!momi_slice_equal(group->filters[i].pattern, create->filters[i])) {
            return false;
        }
    }
    return true;
}

/* The first sequence that the subscription is to see; 0: the place asked for is not there
 * yet. */
static uint64_t start_of(const struct momi_stream *stream,
                         const struct momi_subscription_create *create) {
    switch (create->from) {
    case MOMI_FROM_NEW:
        break;
    case MOMI_FROM_FIRST:
        return 1;
    case MOMI_FROM_SEQUENCE:
        if (create->from_value > stream->sequence_next) {
            return 0;
        }
        return create->from_value == 0 ? 1 : create->from_value;
    case MOMI_FROM_TIME:
        return momi_history_since(stream, create->from_value);
    }
    return stream->sequence_next;
}

/* Adds what of the history lies in [from, to). */
static void add_history(struct momi_machine *machine, struct momi_group *group,
                        uint64_t from, uint64_t to) {
    struct momi_run run;
    while (from < to && momi_runs_at(&group->stream->history, from, &run) &&
           run.sequence < to) {
        if (run.count > to - run.sequence) {
            run.count = (uint32_t)(to - run.sequence);
        }
        from = run.sequence + run.count;
        momi_checkout_add(machine, group, &run);
    }
}

static void start(struct momi_machine *machine, struct momi_group *group, uint64_t from) {
    struct momi_stream *stream = group->stream;
    struct momi_run first;
    bool any = momi_runs_at(&stream->history, from, &first);
    group->fill_from = group->fill_to = stream->sequence_next;
    if (!any) {
        return;
    }
    if (group->filters_count == 0 && !group->ignore_own) {
        add_history(machine, group, first.sequence, stream->sequence_next);
        return;
    }
    group->fill_from = first.sequence;
    momi_list_push_back(&machine->filling, &group->fill_link);
}

struct momi_result momi_subscription_create(struct momi_machine *machine,
                                            struct momi_session *session,
                                            struct momi_slice body) {
    struct momi_subscription_create create;
    if (!momi_subscription_create_parse(body, &create) || !texts_are_valid(&create)) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_stream *stream =
        momi_machine_stream(machine, MOMI_KIND_TOPIC, create.topic);
    if (stream == NULL) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    struct momi_group *group = momi_machine_group(stream, create.name);
    if (group != NULL) {
        int error = !create.if_missing                 ? MOM_EXISTS
                    : is_same(group, &create, session) ? MOM_OK
                                                       : MOM_CONFLICT;
        return (struct momi_result){.error = error, .value = group->id};
    }
    uint64_t from = start_of(stream, &create);
    if (from == 0) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    if (stream->groups_count >= MOMI_SUBSCRIPTIONS_MAX) {
        return (struct momi_result){.error = MOM_FULL};
    }
    group = momi_group_add(machine, stream, machine->id_next++, create.name,
                           create.filters, create.filters_count);
    MOMI_ASSERT(group != NULL); /* reserved */
    group->ignore_own = create.ignore_own;
    group->creator = session->node;
    if (create.temporary) {
        group->owner = session;
        momi_list_push_back(&session->temporary, &group->temporary_link);
    }
    start(machine, group, from);
    momi_group_dirty(machine, group);
    return (struct momi_result){.error = MOM_OK, .value = group->id};
}

struct momi_result momi_subscription_delete(struct momi_machine *machine,
                                            struct momi_slice body) {
    struct momi_subscription_name name;
    if (!momi_subscription_name_parse(body, &name)) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_stream *stream =
        momi_machine_stream(machine, MOMI_KIND_TOPIC, name.topic);
    if (stream == NULL) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    struct momi_group *group = momi_machine_group(stream, name.name);
    if (group == NULL) {
        return (struct momi_result){.error = MOM_NOT_SUBSCRIBED};
    }
    uint64_t id = group->id;
    momi_group_end(machine, group, MOM_NOT_SUBSCRIBED);
    return (struct momi_result){.error = MOM_OK, .value = id};
}

struct momi_result momi_fill_apply(struct momi_machine *machine, struct momi_slice body) {
    struct momi_fill fill;
    if (!momi_fill_parse(body, &fill)) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_group *group = momi_group_by_id(machine, fill.group);
    if (group == NULL || group->stream->id != fill.stream) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    if (group->fill_from == group->fill_to || group->fill_from != fill.from ||
        fill.to > group->fill_to) {
        return (struct momi_result){.error = MOM_CONFLICT};
    }
    struct momi_fill_range range;
    while (momi_fill_next(&fill, &range)) {
        add_history(machine, group, range.sequence, range.sequence + range.count);
    }
    group->fill_from = fill.to;
    if (group->fill_from == group->fill_to) {
        momi_group_fill_done(group);
    }
    momi_group_dirty(machine, group);
    momi_checkout_assign(machine, group);
    return (struct momi_result){.error = MOM_OK, .value = group->fill_from};
}
