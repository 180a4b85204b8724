/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariants of the state machine. What was loaded from a disk or a peer is held
 * against all of them before it is used; tests and the simulator hold the running machine
 * against them.
 *
 * That every entry has as many references as there are messages in it is compared by a
 * sum over all references of a hash of their entry: no memory, and a difference stays
 * hidden once in 2^64.
 */
#include "base/assert.h"
#include "core/machine_internal.h"

/* Returns its text from the function when it does not hold. */
#define HOLDS(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            return #condition;                                                           \
        }                                                                                \
    } while (0)
#define HOLDS_IN(call)                                                                   \
    do {                                                                                 \
        const char *fault_ = (call);                                                     \
        if (fault_ != NULL) {                                                            \
            return fault_;                                                               \
        }                                                                                \
    } while (0)

struct check {
    const struct momi_machine *machine;
    uint64_t references; /* over all ready, leased and kept messages, hashed */
    uint64_t bytes;      /* of the runs visited */
    uint64_t end;        /* sequence after the last run visited */
    const char *fault;   /* of a visited run */
};

static const char *run_fault(struct check *check, const struct momi_run *run) {
    struct momi_live_entry entry;
    /* Asked for first: it unpacks the block, so that the look into it is cheap. */
    uint64_t bytes = momi_checkout_message_bytes(check->machine, run->index);
    bool is_live = momi_live_find(check->machine->live, run->index, &entry);
    HOLDS(is_live);
    HOLDS(run->count > 0);
    HOLDS((uint64_t)run->slot + run->count <= entry.slots);
    HOLDS(run->sequence >= check->end);
    HOLDS(run->sequence <= UINT64_MAX - run->count);
    check->end = run->sequence + run->count;
    check->references += momi_hash_u64(run->index) * run->count;
    check->bytes += bytes * run->count;
    return NULL;
}

static void check_run(void *user, const struct momi_run *run) {
    struct check *check = user;
    if (check->fault == NULL) {
        check->fault = run_fault(check, run);
    }
}

static const char *runs_fault(struct check *check, const struct momi_runs *runs) {
    check->end = 0;
    check->bytes = 0;
    momi_runs_each(runs, check_run, check);
    return check->fault;
}

static void check_grave(void *user, const struct momi_runs *runs) {
    (void)runs_fault(user, runs);
}

static const char *leases_fault(struct check *check,
                                const struct momi_consumer *consumer) {
    uint64_t leased = 0;
    uint64_t counter = 0;
    uint64_t delivery = 0;
    for (size_t i = 0; i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        check->end = 0; /* by token, not by sequence */
        HOLDS_IN(run_fault(check, &lease->run));
        HOLDS(check->end <= consumer->group->stream->sequence_next);
        HOLDS(lease->counter > counter);
        HOLDS(lease->delivery > delivery);
        HOLDS(lease->counter <= UINT64_MAX - lease->run.count);
        HOLDS(lease->delivery <= UINT64_MAX - lease->run.count);
        counter = lease->counter + lease->run.count - 1;
        delivery = lease->delivery + lease->run.count - 1;
        leased += lease->run.count;
    }
    HOLDS(counter <= check->machine->counter);
    HOLDS(delivery <= consumer->delivered);
    HOLDS(leased == consumer->leased);
    return NULL;
}

static const char *consumer_fault(struct check *check,
                                  const struct momi_consumer *consumer) {
    HOLDS_IN(leases_fault(check, consumer));
    HOLDS(consumer->handed <= consumer->delivered);
    HOLDS(consumer->number < check->machine->id_next);
    HOLDS(momi_list_linked(&consumer->waiting_link) ==
          (consumer->credit > consumer->delivered));
    HOLDS(momi_machine_consumer(check->machine, consumer->session, consumer->id) ==
          consumer);
    return NULL;
}

static const char *consumers_fault(struct check *check, const struct momi_group *group) {
    uint64_t leased = 0;
    check->bytes = 0;
    MOMI_LIST_FOR_EACH (link, &group->consumers) {
        const struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_consumer, group_link);
        HOLDS(consumer->group == group);
        HOLDS_IN(consumer_fault(check, consumer));
        leased += consumer->leased;
    }
    HOLDS(leased == group->leased);
    HOLDS(check->bytes == group->leased_bytes);
    return NULL;
}

static const char *group_fault(struct check *check, const struct momi_group *group) {
    HOLDS_IN(runs_fault(check, &group->ready));
    HOLDS(check->bytes == group->ready_bytes);
    HOLDS(check->end <= group->stream->sequence_next);
    HOLDS_IN(consumers_fault(check, group));
    HOLDS(group->id < check->machine->id_next);
    HOLDS(group->fill_from <= group->fill_to);
    HOLDS(group->fill_to <= group->stream->sequence_next);
    HOLDS(momi_list_linked(&group->fill_link) == (group->fill_from != group->fill_to));
    HOLDS(momi_list_linked(&group->temporary_link) == (group->owner != NULL));
    /* Nothing that could be handed out is kept back. */
    struct momi_run first;
    bool is_assignable = momi_runs_first(&group->ready, &first) &&
                         first.sequence < momi_group_fill_limit(group);
    HOLDS(!is_assignable || momi_list_empty(&group->waiting));
    return NULL;
}

static const char *stream_fault(struct check *check, const struct momi_stream *stream) {
    HOLDS_IN(runs_fault(check, &stream->history));
    HOLDS(check->bytes == stream->history_bytes);
    HOLDS(check->end <= stream->sequence_next);
    HOLDS((stream->history.messages > 0) == (stream->marks.count > 0));
    HOLDS(stream->kind == MOMI_KIND_TOPIC || stream->history.messages == 0);
    uint32_t groups = 0;
    uint64_t id = 0;
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        HOLDS(group->stream == stream);
        HOLDS(group->id > id);
        id = group->id;
        HOLDS_IN(group_fault(check, group));
        groups++;
    }
    HOLDS(groups == stream->groups_count);
    HOLDS(stream->kind != MOMI_KIND_QUEUE || groups == 1);
    HOLDS(momi_machine_stream(check->machine, stream->kind, stream->name) == stream);
    return NULL;
}

static const char *sessions_fault(const struct momi_machine *machine) {
    uint32_t sessions = 0;
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        const struct momi_session *session =
            MOMI_CONTAINER_OF(link, struct momi_session, link);
        HOLDS(session->results.count == session->last - session->answered);
        HOLDS(momi_machine_session_of(machine, session->node) == session);
        sessions++;
    }
    HOLDS(sessions == machine->sessions_count);
    return NULL;
}

const char *momi_machine_fault(const struct momi_machine *machine) {
    struct check check = {.machine = machine};
    HOLDS_IN(sessions_fault(machine));
    uint32_t streams = 0;
    uint64_t id = 0;
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        const struct momi_stream *stream =
            MOMI_CONTAINER_OF(link, struct momi_stream, link);
        HOLDS(stream->id > id);
        HOLDS(stream->id < machine->id_next);
        id = stream->id;
        HOLDS_IN(stream_fault(&check, stream));
        streams++;
    }
    HOLDS(streams == machine->streams_count);
    momi_machine_each_grave(machine, check_grave, &check);
    HOLDS_IN(check.fault);
    uint64_t references = 0;
    struct momi_live_entry entry;
    for (uint64_t index = 0; momi_live_next(machine->live, index, &entry);
         index = entry.index + 1) {
        references += momi_hash_u64(entry.index) * entry.references;
    }
    HOLDS(references == check.references);
    return NULL;
}

void momi_machine_check(const struct momi_machine *machine) {
    const char *fault = momi_machine_fault(machine);
    if (fault != NULL) {
        momi_panic(__FILE__, __LINE__, fault);
    }
}
