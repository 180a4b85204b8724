/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two looks at the whole state, each O(state): a hash over its logical content, for
 * comparing replicas, and the invariants, for debug builds, tests and the simulator.
 *
 * Runs and leases are joined where they continue each other before they are hashed, so
 * that the hash does not depend on how they happen to be cut. Blocks, caches, dirty marks
 * and everything that is the leader's own are left out.
 */
#include "core/machine_internal.h"

struct hasher {
    uint64_t value;
    struct momi_run run; /* put together; count 0: none */
};

static void mix(struct hasher *hasher, uint64_t value) {
    hasher->value = momi_hash_u64(hasher->value ^ value) + value;
}

static void mix_slice(struct hasher *hasher, struct momi_slice bytes) {
    mix(hasher, bytes.size);
    mix(hasher, momi_hash_bytes(bytes));
}

static void mix_run(struct hasher *hasher, const struct momi_run *run) {
    mix(hasher, run->sequence);
    mix(hasher, run->count);
    mix(hasher, run->slot);
    mix(hasher, run->index);
    mix(hasher, run->deliveries);
}

static bool continues(const struct momi_run *run, const struct momi_run *next) {
    return run->sequence + run->count == next->sequence && run->index == next->index &&
           (uint64_t)run->slot + run->count == next->slot &&
           run->deliveries == next->deliveries;
}

static void join_run(void *user, const struct momi_run *run) {
    struct hasher *hasher = user;
    if (hasher->run.count > 0 && continues(&hasher->run, run)) {
        hasher->run.count += run->count;
        return;
    }
    if (hasher->run.count > 0) {
        mix_run(hasher, &hasher->run);
    }
    hasher->run = *run;
}

static void mix_runs(struct hasher *hasher, const struct momi_runs *runs) {
    hasher->run.count = 0;
    momi_runs_each(runs, join_run, hasher);
    if (hasher->run.count > 0) {
        mix_run(hasher, &hasher->run);
    }
    mix(hasher, runs->messages);
}

static void mix_lease(struct hasher *hasher, const struct momi_lease *lease) {
    mix_run(hasher, &lease->run);
    mix(hasher, lease->counter);
    mix(hasher, lease->delivery);
    mix(hasher, lease->due_us);
}

static void mix_leases(struct hasher *hasher, const struct momi_consumer *consumer) {
    struct momi_lease joined = {0};
    for (size_t i = 0; i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        if (joined.run.count > 0 && continues(&joined.run, &lease->run) &&
            joined.counter + joined.run.count == lease->counter &&
            joined.delivery + joined.run.count == lease->delivery &&
            joined.due_us == lease->due_us) {
            joined.run.count += lease->run.count;
            continue;
        }
        if (joined.run.count > 0) {
            mix_lease(hasher, &joined);
        }
        joined = *lease;
    }
    if (joined.run.count > 0) {
        mix_lease(hasher, &joined);
    }
}

static void mix_session_id(struct hasher *hasher, const struct momi_session *session) {
    struct momi_session_id id = {0};
    if (session != NULL) {
        id = session->id;
    }
    mix(hasher, id.index);
    mix(hasher, (uint64_t)id.epoch << 32 | id.place);
}

static void mix_session(struct hasher *hasher, const struct momi_session *session) {
    mix_session_id(hasher, session);
    mix(hasher, session->node);
    mix(hasher, session->incarnation);
    mix(hasher, session->opening);
    mix(hasher, session->principal);
    mix(hasher, session->last);
    mix(hasher, session->answered);
    for (size_t i = 0; i < session->results.count; i++) {
        const struct momi_result *result = momi_ring_at(&session->results, i);
        mix(hasher, (uint64_t)(int64_t)result->error);
        mix(hasher, result->value);
    }
    MOMI_LIST_FOR_EACH (link, &session->consumers) {
        mix(hasher, MOMI_CONTAINER_OF(link, struct momi_consumer, session_link)->id);
    }
    MOMI_LIST_FOR_EACH (link, &session->temporary) {
        mix(hasher, MOMI_CONTAINER_OF(link, struct momi_group, temporary_link)->id);
    }
}

static void mix_consumer(struct hasher *hasher, const struct momi_consumer *consumer) {
    mix_session_id(hasher, consumer->session);
    mix(hasher, consumer->id);
    mix(hasher, consumer->lease_us);
    mix(hasher, consumer->credit);
    mix(hasher, consumer->delivered);
    mix(hasher, consumer->handed);
    mix(hasher, consumer->leased);
    mix_leases(hasher, consumer);
}

static void mix_group(struct hasher *hasher, const struct momi_group *group) {
    mix(hasher, group->id);
    mix_slice(hasher, group->name);
    mix(hasher, group->filters_count);
    for (uint32_t i = 0; i < group->filters_count; i++) {
        mix_slice(hasher, group->filters[i].pattern);
    }
    mix(hasher, group->ignore_own);
    mix(hasher, group->creator);
    mix_session_id(hasher, group->owner);
    mix_runs(hasher, &group->ready);
    mix(hasher, group->ready_bytes);
    mix(hasher, group->fill_from);
    mix(hasher, group->fill_to);
    mix(hasher, group->leased);
    mix(hasher, group->leased_bytes);
    mix(hasher, group->redelivered);
    mix(hasher, group->dead_lettered);
    MOMI_LIST_FOR_EACH (link, &group->consumers) {
        mix_consumer(hasher, MOMI_CONTAINER_OF(link, struct momi_consumer, group_link));
    }
    MOMI_LIST_FOR_EACH (link, &group->waiting) {
        const struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_consumer, waiting_link);
        mix_session_id(hasher, consumer->session);
        mix(hasher, consumer->id);
    }
}

static void mix_stream(struct hasher *hasher, const struct momi_stream *stream) {
    const struct momi_stream_options *options = &stream->options;
    mix(hasher, stream->id);
    mix(hasher, (uint64_t)stream->kind);
    mix_slice(hasher, stream->name);
    mix(hasher, options->lease_us);
    mix(hasher, options->deliveries_max);
    mix(hasher, options->messages_max);
    mix(hasher, options->bytes_max);
    mix(hasher, options->retention_us);
    mix(hasher, options->retention_bytes);
    mix(hasher, options->retention_count);
    mix(hasher, options->no_dead_letter);
    mix(hasher, stream->creator);
    mix(hasher, stream->created_wall_us);
    mix(hasher, stream->sequence_next);
    mix_runs(hasher, &stream->history);
    mix(hasher, stream->history_bytes);
    for (size_t i = 0; i < stream->marks.count; i++) {
        const struct momi_time_mark *mark = momi_ring_at(&stream->marks, i);
        mix(hasher, mark->sequence);
        mix(hasher, mark->elapsed_us);
        mix(hasher, mark->wall_us);
    }
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        mix_group(hasher, MOMI_CONTAINER_OF(link, struct momi_group, link));
    }
}

uint64_t momi_machine_hash(const struct momi_machine *machine) {
    struct hasher hasher = {0};
    mix(&hasher, machine->epoch);
    mix(&hasher, machine->applied);
    mix(&hasher, machine->applied_term);
    mix(&hasher, machine->elapsed_us);
    mix(&hasher, machine->wall_us);
    mix(&hasher, machine->counter);
    mix(&hasher, machine->id_next);
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        mix_session(&hasher, MOMI_CONTAINER_OF(link, struct momi_session, link));
    }
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        mix_stream(&hasher, MOMI_CONTAINER_OF(link, struct momi_stream, link));
    }
    struct momi_live_entry entry;
    for (uint64_t index = 0; momi_live_next(machine->live, index, &entry);
         index = entry.index + 1) {
        mix(&hasher, entry.index);
        mix(&hasher, entry.term);
        mix(&hasher, entry.slots);
        mix(&hasher, entry.references);
    }
    return hasher.value;
}

/* --- invariants ------------------------------------------------------------------- */

struct check {
    const struct momi_machine *machine;
    uint64_t references; /* over all ready, leased and kept messages */
    uint64_t bytes;      /* of the runs visited */
    uint64_t end;        /* sequence after the last run visited */
};

static void check_run(void *user, const struct momi_run *run) {
    struct check *check = user;
    struct momi_live_entry entry;
    bool is_live = momi_live_find(check->machine->live, run->index, &entry);
    MOMI_ASSERT(is_live);
    MOMI_ASSERT(run->count > 0);
    MOMI_ASSERT((uint64_t)run->slot + run->count <= entry.slots);
    MOMI_ASSERT(run->sequence >= check->end);
    check->end = run->sequence + run->count;
    check->references += run->count;
    check->bytes += momi_checkout_message_bytes(check->machine, run->index) * run->count;
}

static void check_consumer(struct check *check, const struct momi_consumer *consumer) {
    uint64_t leased = 0;
    uint64_t counter = 0;
    uint64_t delivery = 0;
    for (size_t i = 0; i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        check->end = 0; /* by token, not by sequence */
        check_run(check, &lease->run);
        MOMI_ASSERT(lease->counter > counter);
        MOMI_ASSERT(lease->delivery > delivery);
        counter = lease->counter + lease->run.count - 1;
        delivery = lease->delivery + lease->run.count - 1;
        leased += lease->run.count;
    }
    MOMI_ASSERT(counter <= check->machine->counter);
    MOMI_ASSERT(delivery <= consumer->delivered);
    MOMI_ASSERT(consumer->handed <= consumer->delivered);
    MOMI_ASSERT(leased == consumer->leased);
    MOMI_ASSERT(momi_list_linked(&consumer->waiting_link) ==
                (consumer->credit > consumer->delivered));
    MOMI_ASSERT(momi_machine_consumer(check->machine, consumer->session, consumer->id) ==
                consumer);
}

static void check_group(struct check *check, const struct momi_group *group) {
    check->end = 0;
    check->bytes = 0;
    momi_runs_each(&group->ready, check_run, check);
    MOMI_ASSERT(check->bytes == group->ready_bytes);
    MOMI_ASSERT(check->end <= group->stream->sequence_next);
    uint64_t leased = 0;
    check->bytes = 0;
    MOMI_LIST_FOR_EACH (link, &group->consumers) {
        const struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_consumer, group_link);
        MOMI_ASSERT(consumer->group == group);
        check_consumer(check, consumer);
        leased += consumer->leased;
    }
    MOMI_ASSERT(leased == group->leased);
    MOMI_ASSERT(check->bytes == group->leased_bytes);
    MOMI_ASSERT(group->fill_from <= group->fill_to);
    MOMI_ASSERT(momi_list_linked(&group->fill_link) ==
                (group->fill_from != group->fill_to));
    MOMI_ASSERT(momi_list_linked(&group->temporary_link) == (group->owner != NULL));
    /* Nothing that could be handed out is kept back. */
    struct momi_run first;
    bool is_assignable = momi_runs_first(&group->ready, &first) &&
                         first.sequence < momi_group_fill_limit(group);
    MOMI_ASSERT(!is_assignable || momi_list_empty(&group->waiting));
}

static void check_stream(struct check *check, const struct momi_stream *stream) {
    check->end = 0;
    check->bytes = 0;
    momi_runs_each(&stream->history, check_run, check);
    MOMI_ASSERT(check->bytes == stream->history_bytes);
    MOMI_ASSERT(check->end <= stream->sequence_next);
    MOMI_ASSERT((stream->history.messages > 0) == (stream->marks.count > 0));
    uint32_t groups = 0;
    uint64_t id = 0;
    MOMI_LIST_FOR_EACH (link, &stream->groups) {
        const struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, link);
        MOMI_ASSERT(group->stream == stream);
        MOMI_ASSERT(group->id > id);
        id = group->id;
        check_group(check, group);
        groups++;
    }
    MOMI_ASSERT(groups == stream->groups_count);
    MOMI_ASSERT(stream->kind != MOMI_KIND_QUEUE || groups == 1);
    MOMI_ASSERT(momi_machine_stream(check->machine, stream->kind, stream->name) ==
                stream);
}

void momi_machine_check(const struct momi_machine *machine) {
    struct check check = {.machine = machine};
    uint32_t sessions = 0;
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        const struct momi_session *session =
            MOMI_CONTAINER_OF(link, struct momi_session, link);
        MOMI_ASSERT(session->results.count == session->last - session->answered);
        MOMI_ASSERT(momi_machine_session_of(machine, session->node) == session);
        sessions++;
    }
    MOMI_ASSERT(sessions == machine->sessions_count);
    uint32_t streams = 0;
    uint64_t id = 0;
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        const struct momi_stream *stream =
            MOMI_CONTAINER_OF(link, struct momi_stream, link);
        MOMI_ASSERT(stream->id > id);
        id = stream->id;
        check_stream(&check, stream);
        streams++;
    }
    MOMI_ASSERT(streams == machine->streams_count);
    uint64_t references = 0;
    struct momi_live_entry entry;
    for (uint64_t index = 0; momi_live_next(machine->live, index, &entry);
         index = entry.index + 1) {
        references += entry.references;
    }
    MOMI_ASSERT(references == check.references);
}
