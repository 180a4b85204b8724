/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkout: see checkout.h. Here: messages into groups and out to consumers, and the life
 * of consumers. settle.c has what happens to a leased message, lease.c the leases of one
 * consumer, consumer_save.c the checkpoint.
 *
 * Nothing here may depend on how runs happen to be cut: turns, credits and limits count
 * messages.
 */
#include "core/checkout_internal.h"

enum { TURN_MESSAGES_MAX = 64 };

uint64_t momi_checkout_message_bytes(const struct momi_machine *machine, uint64_t index) {
    return momi_live_message_bytes(machine->live, index);
}

static uint64_t run_bytes(const struct momi_machine *machine,
                          const struct momi_run *run) {
    return momi_live_message_bytes(machine->live, run->index) * run->count;
}

/* The set of ready messages was changed: what a checkpoint would write with it. */
static void ready_changed(struct momi_machine *machine, struct momi_group *group,
                          size_t dirty_before) {
    size_t dirty_now = momi_runs_dirty_bytes(&group->ready);
    if (dirty_now >= dirty_before) {
        machine->dirty_bytes += dirty_now - dirty_before;
    } else {
        size_t less = dirty_before - dirty_now;
        machine->dirty_bytes -= less < machine->dirty_bytes ? less : machine->dirty_bytes;
    }
    momi_group_dirty(machine, group);
}

/* --- waiting and turns ------------------------------------------------------------ */

void momi_consumer_leave(struct momi_consumer *consumer) {
    if (momi_list_linked(&consumer->waiting_link)) {
        momi_list_remove(&consumer->waiting_link);
        consumer->group->waiting_count--;
        consumer->turn = 0;
    }
}

void momi_consumer_wait(struct momi_machine *machine, struct momi_consumer *consumer) {
    bool is_waiting = momi_list_linked(&consumer->waiting_link);
    bool has_credit = consumer->credit > consumer->delivered;
    if (has_credit && !is_waiting) {
        struct momi_group *group = consumer->group;
        momi_list_push_back(&group->waiting, &consumer->waiting_link);
        group->waiting_count++;
        consumer->turn = ++group->turn_last;
        momi_consumer_dirty(machine, consumer);
    } else if (!has_credit && is_waiting) {
        momi_consumer_leave(consumer);
        momi_consumer_dirty(machine, consumer);
    }
}

static void lease_to(struct momi_machine *machine, struct momi_consumer *consumer,
                     const struct momi_run *run) {
    struct momi_group *group = consumer->group;
    struct momi_lease lease = {
        .run = *run,
        .counter = machine->counter + 1,
        .delivery = consumer->delivered + 1,
    };
    if (MUTANT(LEASE_ENDS_IN_BUFFER)) {
        lease.due_us = momi_due_after(machine->elapsed_us, consumer->lease_us);
    }
    bool is_given_anew = run->deliveries > 0;
    if (MUTANT(TOKEN_NOT_GROWING) && is_given_anew && machine->counter > run->count) {
        lease.counter = machine->counter - run->count + 1;
    } else {
        machine->counter += run->count;
    }
    consumer->delivered += run->count;
    momi_lease_push(machine, consumer, &lease);
    uint64_t bytes = run_bytes(machine, run);
    group->ready_bytes -= bytes;
    group->leased += run->count;
    group->leased_bytes += bytes;
    if (is_given_anew) {
        group->redelivered += run->count;
        machine->counters->redeliveries += run->count;
    }
}

/* At most `count` messages to the consumer whose turn it is; then it is the last. */
static void give_turn(struct momi_machine *machine, struct momi_group *group,
                      uint64_t count, uint64_t limit) {
    struct momi_consumer *consumer =
        MOMI_CONTAINER_OF(group->waiting.next, struct momi_consumer, waiting_link);
    uint64_t credit = consumer->credit - consumer->delivered;
    count = count < credit || MUTANT(CREDIT_IGNORED) ? count : credit;
    struct momi_run run;
    while (count > 0 && momi_runs_first(&group->ready, &run) && run.sequence < limit) {
        uint64_t below = limit - run.sequence;
        uint64_t most = count < below ? count : below;
        bool is_there = momi_runs_take(&group->ready, (uint32_t)most, &run);
        MOMI_ASSERT(is_there);
        lease_to(machine, consumer, &run);
        count -= run.count;
    }
    if (MUTANT(LEASE_ENDS_IN_BUFFER)) {
        momi_lease_settle(machine, consumer);
    }
    momi_consumer_leave(consumer);
    momi_consumer_wait(machine, consumer);
    momi_consumer_dirty(machine, consumer);
    if (!momi_list_linked(&consumer->fresh_link)) {
        momi_list_push_back(&machine->fresh_consumers, &consumer->fresh_link);
    }
}

void momi_checkout_assign(struct momi_machine *machine, struct momi_group *group) {
    if (group->waiting_count == 0 || group->ready.messages == 0) {
        return;
    }
    uint64_t limit = momi_group_fill_limit(group);
    uint64_t count = group->ready.messages / group->waiting_count;
    count = count < TURN_MESSAGES_MAX ? count : TURN_MESSAGES_MAX;
    count = count > 0 ? count : 1;
    size_t dirty_before = momi_runs_dirty_bytes(&group->ready);
    struct momi_run run;
    while (group->waiting_count > 0 && momi_runs_first(&group->ready, &run) &&
           run.sequence < limit) {
        give_turn(machine, group, count, limit);
    }
    ready_changed(machine, group, dirty_before);
}

/* --- messages --------------------------------------------------------------------- */

static void put_ready(struct momi_machine *machine, struct momi_group *group,
                      const struct momi_run *run) {
    size_t dirty_before = momi_runs_dirty_bytes(&group->ready);
    momi_runs_insert(&group->ready, run);
    group->ready_bytes += run_bytes(machine, run);
    ready_changed(machine, group, dirty_before);
}

void momi_checkout_add(struct momi_machine *machine, struct momi_group *group,
                       const struct momi_run *run) {
    momi_live_reference(machine->live, run->index, run->count);
    put_ready(machine, group, run);
    momi_checkout_assign(machine, group);
}

static void unlease(struct momi_machine *machine, struct momi_group *group,
                    const struct momi_run *run) {
    uint64_t bytes = run_bytes(machine, run);
    MOMI_ASSERT(group->leased >= run->count);
    MOMI_ASSERT(group->leased_bytes >= bytes);
    group->leased -= run->count;
    group->leased_bytes -= bytes;
    momi_group_dirty(machine, group);
}

void momi_checkout_finish(struct momi_machine *machine, struct momi_group *group,
                          const struct momi_run *run) {
    unlease(machine, group, run);
    momi_live_release(machine->live, run->index, run->count);
}

void momi_checkout_bury(struct momi_machine *machine, struct momi_group *group,
                        const struct momi_run *run) {
    group->dead_lettered += run->count;
    machine->counters->dead_letters += run->count;
    bool is_dropped = group->stream->options.no_dead_letter;
    struct momi_group *target =
        is_dropped ? NULL : momi_stream_dead_letters(machine, group);
    for (uint32_t i = 0; target != NULL && i < run->count; i++) {
        /* One by one: turns in the other queue must not depend on how leases are cut. */
        struct momi_run moved = *run;
        moved.sequence += i;
        moved.slot += i;
        moved.count = 1;
        moved.deliveries = 0; /* in its new place it was never handed out */
        momi_stream_move_in(machine, target, moved);
    }
    if (MUTANT(DEAD_LETTER_COPIED)) {
        unlease(machine, group, run);
        put_ready(machine, group, run);
        return;
    }
    momi_checkout_finish(machine, group, run);
}

static bool is_over_limit(const struct momi_group *group, const struct momi_run *run) {
    uint32_t most = group->stream->options.deliveries_max;
    most = most == 0 ? MOMI_DELIVERIES_DEFAULT : most;
    return most != UINT32_MAX && run->deliveries >= most;
}

void momi_checkout_return(struct momi_machine *machine, struct momi_group *group,
                          struct momi_run run, enum momi_return how) {
    if (how == MOMI_RETURN_COUNTED && run.deliveries < UINT32_MAX - 1) {
        run.deliveries++;
    }
    if (how == MOMI_RETURN_MARKED && run.deliveries == 0) {
        run.deliveries = 1;
    }
    if (how == MOMI_RETURN_COUNTED && is_over_limit(group, &run)) {
        momi_checkout_bury(machine, group, &run);
        return;
    }
    unlease(machine, group, &run);
    if (MUTANT(GIVEN_BACK_TO_END)) {
        run.sequence = group->stream->sequence_next;
        group->stream->sequence_next += run.count;
    }
    put_ready(machine, group, &run);
}

uint64_t momi_checkout_purge(struct momi_machine *machine, struct momi_group *group) {
    uint64_t count = group->ready.messages;
    size_t dirty_before = momi_runs_dirty_bytes(&group->ready);
    if (MUTANT(PURGE_FORGETS_REFERENCES)) {
        momi_runs_clear(&group->ready);
    } else {
        momi_machine_let_go(machine, &group->ready);
    }
    group->ready_bytes = 0;
    ready_changed(machine, group, dirty_before);
    return count;
}

/* --- the life of consumers -------------------------------------------------------- */

static uint64_t consumer_hash(struct momi_session_id session, uint64_t id) {
    return momi_hash_u64(momi_session_hash(session) ^ momi_hash_u64(id));
}

struct momi_consumer *momi_machine_consumer(const struct momi_machine *machine,
                                            const struct momi_session *session,
                                            uint64_t id) {
    struct momi_map_node *node =
        momi_map_first(&machine->consumers_by_id, consumer_hash(session->id, id));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(node, struct momi_consumer, by_id);
        if (consumer->session == session && consumer->id == id) {
            return consumer;
        }
    }
    return NULL;
}

struct momi_consumer *momi_consumer_new(struct momi_session *session, uint64_t id) {
    struct momi_consumer *consumer = momi_calloc(1, sizeof *consumer);
    if (consumer == NULL) {
        return NULL;
    }
    consumer->session = session;
    consumer->id = id;
    momi_ring_init(&consumer->leases, sizeof(struct momi_lease));
    momi_heap_node_init(&consumer->due);
    momi_list_init(&consumer->session_link);
    momi_list_init(&consumer->group_link);
    momi_list_init(&consumer->waiting_link);
    momi_list_init(&consumer->dirty_link);
    momi_list_init(&consumer->fresh_link);
    return consumer;
}

void momi_consumer_link(struct momi_machine *machine, struct momi_consumer *consumer) {
    momi_map_insert(&machine->consumers_by_id, &consumer->by_id,
                    consumer_hash(consumer->session->id, consumer->id));
    momi_list_push_back(&consumer->session->consumers, &consumer->session_link);
    machine->consumers_count++;
}

int momi_checkout_attach(struct momi_machine *machine, struct momi_session *session,
                         uint64_t id, struct momi_group *group, uint64_t lease_us,
                         uint64_t credit) {
    if (momi_machine_consumer(machine, session, id) != NULL) {
        return MOM_EXISTS;
    }
    if (machine->consumers_count >= MOMI_CONSUMERS_MAX) {
        return MOM_FULL;
    }
    /* The heap has room for all consumers, so that a lease never makes it grow. */
    bool has_room = momi_heap_reserve(&machine->due, machine->consumers_count + 1);
    struct momi_consumer *consumer = momi_consumer_new(session, id);
    MOMI_ASSERT(has_room); /* reserved */
    MOMI_ASSERT(consumer != NULL);
    consumer->group = group;
    consumer->lease_us = lease_us == 0 ? MOMI_LEASE_DEFAULT_US : lease_us;
    consumer->credit = credit < MOMI_CREDIT_MAX ? credit : MOMI_CREDIT_MAX;
    consumer->number = machine->id_next++;
    momi_consumer_link(machine, consumer);
    momi_list_push_back(&group->consumers, &consumer->group_link);
    momi_consumer_wait(machine, consumer);
    momi_consumer_dirty(machine, consumer);
    momi_checkout_assign(machine, group);
    return MOM_OK;
}

void momi_consumer_end(struct momi_machine *machine, struct momi_consumer *consumer) {
    momi_consumer_forget(machine, consumer, 0);
    momi_consumer_leave(consumer);
    momi_heap_remove(&machine->due, &consumer->due);
    momi_map_remove(&machine->consumers_by_id, &consumer->by_id);
    momi_list_remove(&consumer->session_link);
    momi_list_remove(&consumer->group_link);
    momi_list_remove(&consumer->dirty_link);
    momi_list_remove(&consumer->fresh_link);
    machine->consumers_count--;
    machine->leases_bytes -= consumer->leases.room * sizeof(struct momi_lease);
    momi_ring_free(&consumer->leases);
    momi_free(consumer);
}

/* M4: those told as handed out count, and of the untold ones the lowest, when nobody can
 * say whether the program had it. */
static void return_lease(struct momi_machine *machine, struct momi_group *group,
                         const struct momi_lease *lease, enum momi_detach how,
                         bool *has_counted_untold) {
    if (lease->due_us != 0) {
        momi_checkout_return(machine, group, lease->run,
                             MUTANT(LOSS_NOT_COUNTED) ? MOMI_RETURN_MARKED
                                                      : MOMI_RETURN_COUNTED);
        return;
    }
    if (how == MOMI_DETACH_CLEAN) {
        momi_checkout_return(machine, group, lease->run, MOMI_RETURN_UNCOUNTED);
        return;
    }
    struct momi_run rest = lease->run;
    if (how == MOMI_DETACH_LOST && !*has_counted_untold) {
        *has_counted_untold = true;
        struct momi_run lowest = rest;
        lowest.count = 1;
        rest.sequence++;
        rest.slot++;
        rest.count--;
        momi_checkout_return(machine, group, lowest, MOMI_RETURN_COUNTED);
    }
    if (rest.count > 0) {
        momi_checkout_return(machine, group, rest, MOMI_RETURN_MARKED);
    }
}

static void detach(struct momi_machine *machine, struct momi_consumer *consumer,
                   enum momi_detach how) {
    struct momi_group *group = consumer->group;
    bool has_counted_untold = false;
    for (size_t i = 0; i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_lease_at(consumer, i);
        if (MUTANT(DETACH_FORGETS_LEASES)) {
            unlease(machine, group, &lease->run);
            continue;
        }
        return_lease(machine, group, lease, how, &has_counted_untold);
    }
    momi_consumer_end(machine, consumer);
    momi_checkout_assign(machine, group);
}

void momi_checkout_detach(struct momi_machine *machine, struct momi_consumer *consumer,
                          enum momi_detach how) {
    momi_consumer_leave(consumer);
    detach(machine, consumer, how);
}

void momi_checkout_detach_all(struct momi_machine *machine, struct momi_session *session,
                              enum momi_detach how) {
    MOMI_LIST_FOR_EACH (link, &session->consumers) {
        momi_consumer_leave(MOMI_CONTAINER_OF(link, struct momi_consumer, session_link));
    }
    while (!momi_list_empty(&session->consumers)) {
        detach(machine,
               MOMI_CONTAINER_OF(session->consumers.next, struct momi_consumer,
                                 session_link),
               how);
    }
}

void momi_checkout_free(struct momi_session *session) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &session->consumers) {
        struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_consumer, session_link);
        momi_ring_free(&consumer->leases);
        momi_free(consumer);
    }
    momi_list_init(&session->consumers);
}

struct forget {
    struct momi_machine *machine;
    uint64_t group;
};

static void forget_block(void *user, uint32_t block, const struct momi_slice *value) {
    const struct forget *forget = user;
    MOMI_ASSERT(value == NULL);
    struct momi_key key = momi_record_block_key('r', forget->group, block);
    momi_record_deleted(forget->machine, momi_key_slice(&key));
}

void momi_checkout_drop(struct momi_machine *machine, struct momi_group *group,
                        int error) {
    while (!momi_list_empty(&group->consumers)) {
        struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(group->consumers.next, struct momi_consumer, group_link);
        struct momi_ended *ended = momi_ring_push(&machine->ended);
        MOMI_ASSERT(ended != NULL); /* reserved */
        *ended = (struct momi_ended){
            .session = consumer->session->id,
            .node = consumer->session->node,
            .consumer = consumer->id,
            .error = error,
        };
        for (size_t i = 0; i < consumer->leases.count; i++) {
            momi_checkout_finish(machine, group, &momi_lease_at(consumer, i)->run);
        }
        momi_consumer_end(machine, consumer);
    }
    (void)momi_checkout_purge(machine, group);
    struct forget forget = {.machine = machine, .group = group->id};
    momi_runs_records(&group->ready, forget_block, &forget);
    momi_runs_free(&group->ready);
}
