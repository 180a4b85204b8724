/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of the state machine (docs/protocol.md S1, S2): opened and ended by commands,
 * never by use.
 *
 * A node has at most one session in a shard. Its results are kept from answered + 1 to
 * last, at most MOMI_SESSION_WINDOW of them: a client that leaves more unanswered has
 * lost the oldest. Sessions are freed here; consumers and temporary subscriptions end
 * with them. Called by machine.c in apply.
 */
#include "core/machine_internal.h"

uint64_t momi_session_hash(struct momi_session_id id) {
    return momi_hash_u64(id.index ^ momi_hash_u64((uint64_t)id.epoch << 32 | id.place));
}

struct momi_session *momi_machine_session(const struct momi_machine *machine,
                                          struct momi_session_id id) {
    struct momi_map_node *node =
        momi_map_first(&machine->sessions_by_id, momi_session_hash(id));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_session *session =
            MOMI_CONTAINER_OF(node, struct momi_session, by_id);
        if (momi_session_id_equal(session->id, id)) {
            return session;
        }
    }
    return NULL;
}

struct momi_session *momi_machine_session_of(const struct momi_machine *machine,
                                             uint64_t node_id) {
    struct momi_map_node *node =
        momi_map_first(&machine->sessions_by_node, momi_hash_u64(node_id));
    for (; node != NULL; node = momi_map_next(node)) {
        struct momi_session *session =
            MOMI_CONTAINER_OF(node, struct momi_session, by_node);
        if (session->node == node_id) {
            return session;
        }
    }
    return NULL;
}

struct momi_session *momi_session_add(struct momi_machine *machine,
                                      struct momi_session_id id, uint64_t node) {
    struct momi_session *session = momi_calloc(1, sizeof *session);
    if (session == NULL) {
        return NULL;
    }
    session->id = id;
    session->node = node;
    momi_ring_init(&session->results, sizeof(struct momi_result));
    momi_list_init(&session->consumers);
    momi_list_init(&session->temporary);
    momi_list_init(&session->dirty_link);
    momi_list_init(&session->fresh_link);
    momi_map_insert(&machine->sessions_by_id, &session->by_id, momi_session_hash(id));
    momi_map_insert(&machine->sessions_by_node, &session->by_node, momi_hash_u64(node));
    momi_list_push_back(&machine->sessions, &session->link);
    machine->sessions_count++;
    return session;
}

void momi_session_free(struct momi_session *session) {
    momi_ring_free(&session->results);
    momi_free(session);
}

void momi_session_end(struct momi_machine *machine, struct momi_session *session,
                      enum momi_detach how) {
    momi_checkout_detach_all(machine, session, how);
    while (!momi_list_empty(&session->temporary)) {
        struct momi_group *group =
            MOMI_CONTAINER_OF(session->temporary.next, struct momi_group, temporary_link);
        momi_group_end(machine, group, MOM_NOT_FOUND);
    }
    struct momi_key key = momi_record_session_key(session->id);
    momi_record_deleted(machine, momi_key_slice(&key));
    momi_map_remove(&machine->sessions_by_id, &session->by_id);
    momi_map_remove(&machine->sessions_by_node, &session->by_node);
    momi_list_remove(&session->link);
    momi_list_remove(&session->dirty_link);
    momi_list_remove(&session->fresh_link);
    machine->sessions_count--;
    momi_session_free(session);
}

void momi_session_open(struct momi_machine *machine, struct momi_session_id id,
                       struct momi_slice body) {
    struct momi_session_open open;
    if (!momi_session_open_parse(body, &open)) {
        return;
    }
    struct momi_session *session = momi_machine_session_of(machine, open.node);
    if (session != NULL) {
        /* S1: the same number is the same session, a lower one is refused. */
        bool is_newer = open.incarnation != session->incarnation
                            ? open.incarnation > session->incarnation
                            : open.opening > session->opening;
        if (!is_newer) {
            return;
        }
        momi_session_end(machine, session, MOMI_DETACH_LOST);
    }
    if (machine->sessions_count >= MOMI_SESSIONS_MAX) {
        return; /* FULL: the leader finds no session and says so */
    }
    session = momi_session_add(machine, id, open.node);
    MOMI_ASSERT(session != NULL); /* reserved */
    session->incarnation = open.incarnation;
    session->opening = open.opening;
    session->principal = open.principal;
    momi_session_dirty(machine, session);
    machine->counters->sessions_opened++;
}

void momi_session_answered(struct momi_machine *machine, struct momi_session *session,
                           uint64_t answered) {
    if (answered > session->last) {
        answered = session->last; /* an answer that was never given: a client's mistake */
    }
    if (MUTANT(ANSWERED_IGNORED) || answered <= session->answered) {
        return;
    }
    momi_ring_pop_front(&session->results, answered - session->answered);
    session->answered = answered;
    momi_session_dirty(machine, session);
}

void momi_session_result(struct momi_machine *machine, struct momi_session *session,
                         struct momi_result result) {
    if (session->results.count >= MOMI_SESSION_WINDOW && !MUTANT(ANSWERED_IGNORED)) {
        momi_ring_pop_front(&session->results, 1);
        session->answered++;
    }
    struct momi_result *kept = momi_ring_push(&session->results);
    MOMI_ASSERT(kept != NULL); /* reserved */
    *kept = result;
    session->last++;
    if (!momi_list_linked(&session->fresh_link)) {
        momi_list_push_back(&machine->fresh_sessions, &session->fresh_link);
    }
    momi_session_dirty(machine, session);
}
