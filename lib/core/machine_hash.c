/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash over the logical content of the whole state, for comparing replicas. O(state).
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
    /* The references to entries follow from all this (machine_check.c), but for graves,
     * which replicas let go of in slices of their own. */
    return hasher.value;
}
