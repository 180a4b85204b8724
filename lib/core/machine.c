/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of a data shard: life, apply, and what a leader asks before it
 * proposes (machine.h).
 *
 * Apply is a switch: sessions first, then commands that carry a number of a session, then
 * the leader's own. It reads nothing but the entry and memory, and cannot fail:
 * momi_machine_reserve has put the worst case aside (R9). A publish takes its slots of
 * the entry whether it is carried out or not, as everybody who counts slots does.
 */
#include "core/machine_internal.h"

int momi_machine_init(struct momi_machine *machine, uint32_t shard, uint32_t epoch,
                      struct momi_core_counters *counters) {
    *machine = (struct momi_machine){.shard = shard,
                                     .epoch = epoch,
                                     .id_next = 1,
                                     .counters = counters,
                                     .live = momi_live_new(shard)};
    if (machine->live == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a shard");
    }
    momi_list_init(&machine->sessions);
    momi_list_init(&machine->streams);
    momi_list_init(&machine->filling);
    momi_list_init(&machine->dirty_sessions);
    momi_list_init(&machine->dirty_streams);
    momi_list_init(&machine->dirty_groups);
    momi_list_init(&machine->dirty_consumers);
    momi_list_init(&machine->graves);
    momi_list_init(&machine->fresh_sessions);
    momi_list_init(&machine->fresh_consumers);
    momi_ring_init(&machine->ended, sizeof(struct momi_ended));
    return MOM_OK;
}

void momi_machine_free(struct momi_machine *machine) {
    if (machine->live == NULL) {
        return; /* never initialised */
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->streams) {
        struct momi_stream *stream = MOMI_CONTAINER_OF(link, struct momi_stream, link);
        MOMI_LIST_FOR_EACH_SAFE (at, next, &stream->groups) {
            momi_group_free(MOMI_CONTAINER_OF(at, struct momi_group, link));
        }
        momi_stream_free(stream);
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->sessions) {
        struct momi_session *session = MOMI_CONTAINER_OF(link, struct momi_session, link);
        momi_checkout_free(session);
        momi_session_free(session);
    }
    momi_machine_free_graves(machine);
    momi_map_free(&machine->sessions_by_id);
    momi_map_free(&machine->sessions_by_node);
    momi_map_free(&machine->streams_by_name);
    momi_map_free(&machine->streams_by_id);
    momi_map_free(&machine->groups_by_id);
    momi_map_free(&machine->consumers_by_id);
    momi_heap_free(&machine->due);
    momi_heap_free(&machine->retention);
    momi_ring_free(&machine->ended);
    momi_bytes_free(&machine->deleted_records);
    momi_reserve_free(&machine->reserve);
    momi_live_free(machine->live);
    *machine = (struct momi_machine){0};
}

/* --- what changed ----------------------------------------------------------------- */

enum { DIRTY_BYTES = 128 }; /* a changed record, about */

static void mark_dirty(struct momi_machine *machine, struct momi_list *dirty,
                       struct momi_list *link) {
    if (!momi_list_linked(link)) {
        momi_list_push_back(dirty, link);
        machine->dirty_bytes += DIRTY_BYTES;
    }
}

void momi_session_dirty(struct momi_machine *machine, struct momi_session *session) {
    mark_dirty(machine, &machine->dirty_sessions, &session->dirty_link);
}

void momi_stream_dirty(struct momi_machine *machine, struct momi_stream *stream) {
    mark_dirty(machine, &machine->dirty_streams, &stream->dirty_link);
}

void momi_group_dirty(struct momi_machine *machine, struct momi_group *group) {
    mark_dirty(machine, &machine->dirty_groups, &group->dirty_link);
}

void momi_consumer_dirty(struct momi_machine *machine, struct momi_consumer *consumer) {
    mark_dirty(machine, &machine->dirty_consumers, &consumer->dirty_link);
}

void momi_record_deleted(struct momi_machine *machine, struct momi_slice key) {
    MOMI_ASSERT(key.size <= UINT8_MAX);
    momi_put_u8(&machine->deleted_records, (uint8_t)key.size);
    momi_bytes_append(&machine->deleted_records, key.data, key.size);
    MOMI_ASSERT(!machine->deleted_records.failed); /* reserved */
    machine->dirty_bytes += key.size;
}

/* --- apply ------------------------------------------------------------------------ */

static struct momi_result attach(struct momi_machine *machine,
                                 struct momi_session *session, struct momi_slice body) {
    struct momi_consumer_attach attach;
    if (!momi_consumer_attach_parse(body, &attach) ||
        attach.lease_us > MOMI_OPTION_US_MAX) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_stream *stream = momi_machine_stream(machine, attach.kind, attach.name);
    if (stream == NULL) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    struct momi_group *group = momi_machine_group(stream, attach.subscription);
    if (group == NULL) {
        return (struct momi_result){.error = MOM_NOT_SUBSCRIBED};
    }
    if (attach.group != 0 && attach.group != group->id) { /* another one of that name */
        bool is_queue = attach.kind == MOMI_KIND_QUEUE;
        return (struct momi_result){.error =
                                        is_queue ? MOM_NOT_FOUND : MOM_NOT_SUBSCRIBED};
    }
    uint64_t lease_us = attach.lease_us != 0 ? attach.lease_us : stream->options.lease_us;
    int error = momi_checkout_attach(machine, session, attach.consumer, group, lease_us,
                                     attach.credit);
    return (struct momi_result){.error = error, .value = group->id};
}

static struct momi_result detach(struct momi_machine *machine,
                                 struct momi_session *session, struct momi_slice body) {
    uint64_t id;
    if (!momi_consumer_detach_parse(body, &id)) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_consumer *consumer = momi_machine_consumer(machine, session, id);
    if (consumer == NULL) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    momi_checkout_detach(machine, consumer, MOMI_DETACH_CLEAN);
    return (struct momi_result){.error = MOM_OK};
}

static struct momi_result refuse(struct momi_slice body) {
    int error;
    return (struct momi_result){.error = momi_refuse_parse(body, &error) ? error
                                                                         : MOM_INVALID};
}

/* The command of a session with the right number; a publish is NULL when it is malformed.
 */
static struct momi_result run(struct momi_machine *machine, struct momi_session *session,
                              const struct momi_command *command,
                              const struct momi_publish *publish, uint64_t index,
                              uint32_t slot) {
    if (command->version != MOMI_COMMAND_VERSION) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    switch (command->type) {
    case CMD_NOOP:
        return (struct momi_result){.error = MOM_OK};
    case CMD_REFUSE:
        return refuse(command->body);
    case CMD_STREAM_CREATE:
        return momi_stream_create(machine, session, command->body);
    case CMD_STREAM_DELETE:
        return momi_stream_delete(machine, command->body);
    case CMD_STREAM_PURGE:
        return momi_stream_purge(machine, command->body);
    case CMD_SUBSCRIPTION_CREATE:
        return momi_subscription_create(machine, session, command->body);
    case CMD_SUBSCRIPTION_DELETE:
        return momi_subscription_delete(machine, command->body);
    case CMD_PUBLISH:
        if (publish == NULL) {
            return (struct momi_result){.error = MOM_INVALID};
        }
        return momi_publish_apply(machine, session, publish, index, slot);
    case CMD_CONSUMER_ATTACH:
        return attach(machine, session, command->body);
    case CMD_CONSUMER_DETACH:
        return detach(machine, session, command->body);
    case CMD_CONSUME:
        return momi_checkout_consume(machine, session, command->body);
    default:
        return (struct momi_result){.error = MOM_INVALID};
    }
}

/* The deliberate bugs around numbers (mutant.h); true: the command is dealt with. */
static bool run_mutants(struct momi_machine *machine, struct momi_session **session,
                        const struct momi_command *command) {
    (void)machine;
    if (MUTANT(SESSION_BY_USE) && *session == NULL &&
        !momi_session_id_is_none(command->session)) {
        *session = momi_session_add(machine, command->session,
                                    momi_session_hash(command->session));
        MOMI_ASSERT(*session != NULL);
        (*session)->last = (*session)->answered = command->number - 1;
    }
    if (*session == NULL) {
        return false;
    }
    if (MUTANT(GAP_ACCEPTED) && command->number > (*session)->last + 1) {
        momi_ring_pop_front(&(*session)->results, (*session)->results.count);
        (*session)->last = (*session)->answered = command->number - 1;
    }
    if (MUTANT(REFUSAL_AFTER_RESEND) && command->type == CMD_REFUSE &&
        command->number <= (*session)->last && command->number > (*session)->answered) {
        struct momi_result *kept = momi_ring_at(
            &(*session)->results, (size_t)(command->number - (*session)->answered - 1));
        *kept = refuse(command->body);
        return true;
    }
    return false;
}

/* S2: applied only as last + 1; anything else changes nothing. */
static void apply_numbered(struct momi_machine *machine,
                           const struct momi_command *command,
                           const struct momi_publish *publish, uint64_t index,
                           uint32_t slot) {
    struct momi_session *session = momi_machine_session(machine, command->session);
    if (run_mutants(machine, &session, command) || session == NULL) {
        return;
    }
    if (MUTANT(DUPLICATE_APPLIED) && command->number == session->last &&
        command->type == CMD_PUBLISH) {
        (void)run(machine, session, command, publish, index, slot);
        return;
    }
    if (command->number != session->last + 1) {
        return;
    }
    momi_session_answered(machine, session, command->answered);
    struct momi_result result = run(machine, session, command, publish, index, slot);
    momi_session_result(machine, session, result);
    MOMI_CHECK(session->results.count <= session->last - command->answered ||
               command->answered > session->last);
    if (result.error != MOM_OK) {
        machine->counters->commands_refused++;
    }
}

static void apply_session(struct momi_machine *machine,
                          const struct momi_command *command) {
    struct momi_session *session = momi_machine_session(machine, command->session);
    if (session == NULL) {
        return;
    }
    switch (command->type) {
    case CMD_SESSION_CLOSE:
        momi_session_end(machine, session, MOMI_DETACH_UNSURE);
        break;
    case CMD_SESSION_EXPIRE:
        momi_session_end(machine, session, MOMI_DETACH_LOST);
        machine->counters->sessions_expired++;
        break;
    case CMD_SESSION_DETACH:
        momi_checkout_detach_all(machine, session, MOMI_DETACH_LOST);
        break;
    default:
        break;
    }
}

static void tick(struct momi_machine *machine) {
    uint32_t items = momi_checkout_expire(machine, MOMI_TICK_ITEMS_MAX);
    if (items < MOMI_TICK_ITEMS_MAX) {
        (void)momi_history_tick(machine, MOMI_TICK_ITEMS_MAX - items);
    }
}

/* Returns the slots that the command takes in its entry. */
static uint32_t apply_command(struct momi_machine *machine,
                              const struct momi_command *command, uint64_t index,
                              uint32_t place, uint32_t slot) {
    struct momi_publish publish;
    bool is_publish = command->type == CMD_PUBLISH &&
                      command->version == MOMI_COMMAND_VERSION &&
                      momi_publish_parse(command->body, &publish);
    switch (command->type) {
    case CMD_SESSION_OPEN:
        momi_session_open(machine,
                          (struct momi_session_id){
                              .index = index, .epoch = machine->epoch, .place = place},
                          command->body);
        break;
    case CMD_SESSION_CLOSE:
    case CMD_SESSION_EXPIRE:
    case CMD_SESSION_DETACH:
        apply_session(machine, command);
        break;
    case CMD_TICK:
        tick(machine);
        break;
    case CMD_FILL:
        (void)momi_fill_apply(machine, command->body);
        break;
    default:
        apply_numbered(machine, command, is_publish ? &publish : NULL, index, slot);
        break;
    }
    return is_publish ? publish.count : 0;
}

static void apply_commands(struct momi_machine *machine, uint64_t index,
                           const struct momi_entry *entry) {
    if (entry->slots_count > 0) {
        momi_live_add(machine->live, index, entry->term,
                      (uint32_t)(MOMI_ENTRY_HEADER + entry->body.size),
                      entry->slots_count);
    }
    struct momi_command_reader reader = momi_command_reader(entry->body);
    struct momi_command command;
    uint32_t place = 0;
    uint32_t slot = 0;
    while (momi_command_next(&reader, &command)) {
        uint32_t slots = apply_command(machine, &command, index, place, slot);
        slot += slots;
        place++;
    }
}

static void apply_stamps(struct momi_machine *machine, const struct momi_entry *entry) {
    uint64_t elapsed_us = MUTANT(WALL_CLOCK_LEASES) ? entry->wall_us : entry->elapsed_us;
    if (elapsed_us > machine->elapsed_us) {
        machine->elapsed_us = elapsed_us;
    }
    if (entry->wall_us > machine->wall_us) {
        machine->wall_us = entry->wall_us;
    }
}

void momi_machine_apply(struct momi_machine *machine, uint64_t index,
                        const struct momi_entry *entry) {
    MOMI_ASSERT(index == machine->applied + 1);
    momi_reserve_enter(&machine->reserve);
    apply_stamps(machine, entry);
    if (entry->kind == MOMI_ENTRY_COMMANDS) {
        apply_commands(machine, index, entry);
    }
    machine->applied = index;
    machine->applied_term = entry->term;
    momi_reserve_leave();
}

/* --- looking ---------------------------------------------------------------------- */

uint64_t momi_machine_due(const struct momi_machine *machine) {
    const struct momi_heap_node *lease = momi_heap_top(&machine->due);
    const struct momi_heap_node *kept = momi_heap_top(&machine->retention);
    uint64_t due_us = lease == NULL ? MOMI_NEVER : lease->due;
    return kept != NULL && kept->due < due_us ? kept->due : due_us;
}

bool momi_machine_is_timed(const struct momi_machine *machine) {
    return machine->due.count > 0 || machine->retention.count > 0;
}

uint64_t momi_machine_delivered(const struct momi_consumer *consumer) {
    return consumer->delivered;
}
