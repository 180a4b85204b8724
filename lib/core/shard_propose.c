/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leader's way in: sessions and commands become entries (S1 to S5, E1).
 *
 * Commands wait in `pending` as the bytes their clients sent, and are put together into
 * entries at the end of a turn: while earlier entries are on their way to a majority, the
 * next batch fills.
 */
#include "base/assert.h"
#include "core/authorize.h"
#include "core/commands.h"
#include "core/mutant.h"
#include "core/shard_internal.h"

enum { PIECES_MAX = 512 };

/* --- sessions
 * -----------------------------------------------------------------------------------------------------
 */

static void answer_opening(struct momi_shard *shard, uint64_t node, uint64_t request,
                           int error, struct momi_session_id session) {
    struct momi_frame *frame = momi_core_send(shard->core, node, FRAME_SESSION_OPENED);
    frame->shard = shard->id;
    frame->counter = request;
    frame->error = error;
    frame->session = session;
    frame->term = shard->raft.term;
}

static const struct momi_session_id no_session = {0};

/* What a session opening comes to by the state alone: 1 answered, 0 it has to be
 * proposed. */
static bool opening_is_settled(struct momi_shard *shard,
                               const struct momi_opening *opening) {
    const struct momi_session *session =
        momi_machine_session_of(shard->machine, opening->node);
    if (session == NULL || session->incarnation < opening->incarnation ||
        (session->incarnation == opening->incarnation &&
         session->opening < opening->number)) {
        return false;
    }
    bool is_same = session->incarnation == opening->incarnation &&
                   session->opening == opening->number;
    answer_opening(shard, opening->node, opening->request,
                   is_same ? MOM_OK : MOM_CONFLICT, is_same ? session->id : no_session);
    return true;
}

/* S4, for what concerns no stream. */
static int may_use(const struct momi_shard *shard, uint64_t principal, uint64_t node) {
    struct momi_principal who = {.id = principal, .node = node};
    struct momi_object mesh = {.type = MOMI_OBJECT_MESH};
    return momi_authorize(shard->core, &who, MOMI_ACTION_USE, &mesh);
}

void momi_shard_session_open(struct momi_shard *shard, uint64_t node,
                             const struct momi_frame *frame) {
    if (shard->is_registry || !momi_shard_serves(shard)) {
        momi_shard_not_leader(shard, node, frame);
        return;
    }
    struct momi_opening opening = {.node = node,
                                   .incarnation =
                                       momi_mesh_incarnation(shard->core, node),
                                   .request = frame->counter,
                                   .number = frame->number};
    int error = may_use(shard, node, node);
    if (error != MOM_OK) {
        answer_opening(shard, node, frame->counter, error, no_session);
        return;
    }
    if (opening_is_settled(shard, &opening)) {
        return;
    }
    for (size_t i = 0; i < shard->openings.count; i++) {
        struct momi_opening *other = momi_ring_at(&shard->openings, i);
        if (other->node == node && other->number == opening.number &&
            other->incarnation == opening.incarnation) {
            other->request = opening.request;
            return; /* proposed already */
        }
    }
    if (shard->openings.count >= SHARD_OPENINGS_MAX ||
        shard->machine->sessions_count >= MOMI_SESSIONS_MAX) {
        answer_opening(shard, node, frame->counter, MOM_FULL, no_session);
        return;
    }
    struct momi_session_open body = {.node = node,
                                     .incarnation = opening.incarnation,
                                     .opening = opening.number,
                                     .principal = node};
    struct momi_bytes bytes = {0};
    momi_session_open_put(&bytes, &body);
    struct momi_opening *slot = momi_ring_push(&shard->openings);
    if (slot != NULL && momi_shard_propose_command(shard, CMD_SESSION_OPEN, no_session,
                                                   momi_bytes_slice(&bytes))) {
        *slot = opening;
    } else if (slot != NULL) {
        momi_ring_pop_back(&shard->openings, 1);
    }
    momi_bytes_free(&bytes);
}

void momi_shard_answer_openings(struct momi_shard *shard) {
    for (size_t i = 0; i < shard->openings.count;) {
        struct momi_opening opening =
            *(struct momi_opening *)momi_ring_at(&shard->openings, i);
        if (!opening_is_settled(shard, &opening)) {
            i++;
            continue;
        }
        *(struct momi_opening *)momi_ring_at(&shard->openings, i) =
            *(struct momi_opening *)momi_ring_at(&shard->openings,
                                                 shard->openings.count - 1);
        momi_ring_pop_back(&shard->openings, 1);
    }
}

void momi_shard_session_ping(struct momi_core *core, uint64_t node,
                             const struct momi_frame *frame) {
    for (uint32_t s = 1; s < core->shards_end; s++) {
        struct momi_shard *shard = core->shards[s];
        if (shard == NULL || !momi_shard_serves(shard)) {
            continue;
        }
        struct momi_session *session = momi_machine_session_of(shard->machine, node);
        if (session == NULL) {
            continue;
        }
        session->heard_us = core->now_us;
        if ((frame->flags & MOMI_FLAG_CLOSED) != 0) {
            (void)momi_shard_propose_command(shard, CMD_SESSION_CLOSE, session->id,
                                             (struct momi_slice){0});
        }
    }
    struct momi_frame *answer = momi_core_send(core, node, FRAME_SESSION_PING);
    answer->count = 1;
}

void momi_shard_not_leader(struct momi_shard *shard, uint64_t node,
                           const struct momi_frame *frame) {
    struct momi_frame *answer = momi_core_send(shard->core, node, FRAME_NOT_LEADER);
    answer->shard = shard->id;
    answer->counter = frame->counter;
    answer->index = shard->raft.leader_node;
    answer->term = shard->raft.term;
}

/* --- commands
 * -----------------------------------------------------------------------------------------------------
 */

static bool add_pending(struct momi_shard *shard, struct momi_buf *buf,
                        struct momi_slice commands, uint32_t commands_count,
                        uint32_t slots_count) {
    struct momi_pending *pending = momi_ring_push(&shard->pending);
    if (pending == NULL) {
        return false;
    }
    pending->buf = momi_buf_ref(buf);
    pending->commands = commands;
    pending->commands_count = commands_count;
    pending->slots_count = slots_count;
    shard->pending_bytes += commands.size;
    return true;
}

bool momi_shard_propose_command(struct momi_shard *shard, uint8_t type,
                                struct momi_session_id session, struct momi_slice body) {
    struct momi_bytes bytes = {0};
    size_t offset = momi_command_begin(&bytes, type, session, 0, 0);
    momi_bytes_append(&bytes, body.data, body.size);
    momi_command_finish(&bytes, offset);
    struct momi_buf *buf = bytes.failed ? NULL : momi_buf_copy(momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    bool added = buf != NULL && add_pending(shard, buf, momi_buf_slice(buf), 1, 0);
    momi_buf_release(buf);
    return added;
}

bool momi_shard_propose(struct momi_core *core, uint32_t id, uint8_t type,
                        struct momi_slice body) {
    return momi_shard_is_leader(core, id) &&
           momi_shard_propose_command(core->shards[id], type, no_session, body);
}

/* S3: in place of a command that is refused its number is used up by the refusal. */
static bool add_refusal(struct momi_shard *shard, const struct momi_command *command,
                        int error) {
    struct momi_bytes bytes = {0};
    size_t offset = momi_command_begin(&bytes, CMD_REFUSE, command->session,
                                       command->number, command->answered);
    momi_refuse_put(&bytes, error);
    momi_command_finish(&bytes, offset);
    struct momi_buf *buf = bytes.failed ? NULL : momi_buf_copy(momi_bytes_slice(&bytes));
    momi_bytes_free(&bytes);
    bool added = buf != NULL && add_pending(shard, buf, momi_buf_slice(buf), 1, 0);
    momi_buf_release(buf);
    shard->core->counters.commands_refused++;
    return added;
}

/* The class to refuse with, 0 to accept. Checksums of the records are compared here,
 * before anything is in the log. */
static int examine(struct momi_shard *shard, const struct momi_session *session,
                   const struct momi_command *command, uint32_t *slots_count) {
    uint32_t commands_count = 0;
    *slots_count = 0;
    struct momi_principal who = {.id = session->principal, .node = session->node};
    enum momi_action action;
    struct momi_object object;
    if (!momi_command_action(shard->machine, command, &action, &object)) {
        return MOM_INVALID;
    }
    int error = momi_authorize(shard->core, &who, action, &object);
    if (error != MOM_OK || command->type == CMD_NOOP) {
        return error;
    }
    if (!momi_entry_slots(command->whole, CHECK_SUMS, &commands_count, slots_count)) {
        return MOM_INVALID;
    }
    if (command->type == CMD_PUBLISH &&
        shard->core->space_free < shard->core->space_total / 50) {
        return MOM_FULL; /* D4 */
    }
    return momi_machine_validate(shard->machine, session->node, command);
}

/* All of the frame is refused, and no number is used up: the session is not there, or not
 * the sender's. */
static void refuse_frame(struct momi_shard *shard, uint64_t node,
                         const struct momi_frame *frame, int error) {
    struct momi_frame *answer = momi_core_send(shard->core, node, FRAME_RESULTS);
    answer->shard = shard->id;
    answer->session = frame->session;
    answer->error = error;
    answer->term = shard->raft.term;
}

/* Makes the commands of a frame one run of bytes in a buffer of our own. */
static struct momi_buf *keep_payload(const struct momi_frame *frame,
                                     struct momi_slice *payload) {
    *payload = frame->payload;
    if (frame->buf != NULL && frame->payload.size * 2 > frame->buf->size) {
        return momi_buf_ref(frame->buf);
    }
    struct momi_buf *copy = momi_buf_copy(frame->payload);
    if (copy != NULL) {
        *payload = momi_buf_slice(copy);
    }
    return copy;
}

static bool is_known_already(const struct momi_session *session,
                             const struct momi_command *command) {
    if (MUTANT(DUPLICATE_APPLIED) && command->number == session->proposed) {
        return false;
    }
    return command->number <= session->proposed;
}

/* Takes commands in order of their numbers; those known are skipped, a gap ends the frame
 * (S2). True: some were known, so this is a resend. */
static bool take_commands(struct momi_shard *shard, struct momi_session *session,
                          struct momi_buf *buf, struct momi_slice payload) {
    struct momi_command_reader reader = momi_command_reader(payload);
    struct momi_command command;
    struct momi_slice run = {.data = payload.data, .size = 0};
    uint32_t run_commands = 0;
    uint32_t run_slots = 0;
    bool is_full = false;
    bool is_resend = false;
    while (!is_full && momi_command_next(&reader, &command)) {
        bool fits = momi_session_id_equal(command.session, session->id);
        bool is_gap = command.number > session->proposed + 1;
        if (!fits || (is_gap && !MUTANT(GAP_PROPOSED) && !MUTANT(GAP_ACCEPTED))) {
            break;
        }
        uint32_t slots = 0;
        bool is_known = is_known_already(session, &command);
        if (is_known && MUTANT(REFUSAL_AFTER_RESEND)) {
            int late = examine(shard, session, &command, &slots);
            is_full = late != MOM_OK && !add_refusal(shard, &command, late);
        }
        is_resend = is_resend || is_known;
        int refusal = is_known ? MOM_OK : examine(shard, session, &command, &slots);
        bool extends = !is_known && refusal == MOM_OK &&
                       run.size + command.whole.size <= MOMI_ENTRY_BYTES_TARGET;
        if (!extends && run_commands > 0) {
            is_full = !add_pending(shard, buf, run, run_commands, run_slots);
            run_commands = 0;
        }
        if (is_known || is_full) {
            continue;
        }
        if (refusal != MOM_OK) {
            is_full = !add_refusal(shard, &command, refusal);
        } else {
            if (run_commands == 0) {
                run = momi_slice(command.whole.data, 0);
                run_slots = 0;
            }
            run.size += command.whole.size;
            run_slots += slots;
            run_commands++;
        }
        session->proposed = command.number;
    }
    if (run_commands > 0) {
        (void)add_pending(shard, buf, run, run_commands, run_slots);
    }
    return is_resend;
}

void momi_shard_commands(struct momi_shard *shard, uint64_t node,
                         const struct momi_frame *frame) {
    struct momi_core *core = shard->core;
    if (shard->is_registry || !momi_shard_serves(shard)) {
        momi_shard_not_leader(shard, node, frame);
        return;
    }
    struct momi_session *session = momi_machine_session(shard->machine, frame->session);
    if (session == NULL) {
        refuse_frame(shard, node, frame, MOM_NOT_FOUND);
        return;
    }
    if (session->node != node) {
        refuse_frame(shard, node, frame, may_use(shard, session->principal, node));
        return;
    }
    session->heard_us = core->now_us;
    if (shard->pending_bytes + shard->unapplied_bytes > core->config.inflight_bytes_max) {
        core->counters.frames_dropped++; /* the client sends them again; its own window
                                            holds it back */
        return;
    }
    struct momi_slice payload;
    struct momi_buf *buf = keep_payload(frame, &payload);
    if (buf == NULL) {
        return;
    }
    bool is_resend = take_commands(shard, session, buf, payload);
    momi_buf_release(buf);
    /* The answers to what is known may have been lost. */
    if (is_resend && session->sent > session->answered &&
        !momi_list_linked(&session->fresh_link)) {
        session->sent = session->answered;
        momi_list_push_back(&shard->machine->fresh_sessions, &session->fresh_link);
    }
}

void momi_shard_drop_pending(struct momi_shard *shard) {
    for (size_t i = 0; i < shard->pending.count; i++) {
        momi_buf_release(((struct momi_pending *)momi_ring_at(&shard->pending, i))->buf);
    }
    momi_ring_pop_front(&shard->pending, shard->pending.count);
    shard->pending_bytes = 0;
}

/* --- entries
 * ------------------------------------------------------------------------------------------------------
 */

/* Puts as many pending commands as fit into one entry and appends it; false: out of
 * memory. */
static bool build_entry(struct momi_shard *shard) {
    struct momi_core *core = shard->core;
    struct momi_slice pieces[PIECES_MAX];
    size_t count = 0;
    size_t bytes = 0;
    uint32_t commands = 0;
    uint32_t slots = 0;
    while (count < shard->pending.count && count < PIECES_MAX) {
        const struct momi_pending *pending = momi_ring_at(&shard->pending, count);
        if (count > 0 && bytes + pending->commands.size > MOMI_ENTRY_BYTES_TARGET) {
            break;
        }
        pieces[count++] = pending->commands;
        bytes += pending->commands.size;
        commands += pending->commands_count;
        slots += pending->slots_count;
    }
    uint64_t wall_us = MUTANT(WALL_OF_LEADER) ? core->wall_us
                                              : momi_mesh_wall(core, &shard->raft.config);
    if (wall_us < shard->raft.wall_us) {
        wall_us = shard->raft.wall_us; /* R8: it never goes back */
    }
    struct momi_buf *entry =
        momi_entry_build(MOMI_ENTRY_COMMANDS, shard->raft.term, momi_shard_elapsed(shard),
                         wall_us, commands, slots, pieces, count);
    if (entry == NULL) {
        return false;
    }
    uint64_t index = momi_raft_propose(&shard->raft, core->now_us, entry, core->effects);
    momi_buf_release(entry);
    if (index == 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        momi_buf_release(((struct momi_pending *)momi_ring_at(&shard->pending, i))->buf);
    }
    momi_ring_pop_front(&shard->pending, count);
    shard->pending_bytes -= bytes;
    shard->unapplied_bytes += MOMI_ENTRY_HEADER + bytes;
    shard->stamped_us = core->now_us;
    core->counters.entries_appended++;
    return true;
}

void momi_shard_build_entries(struct momi_shard *shard) {
    while (shard->pending.count > 0) {
        uint64_t unstable = momi_log_last(&shard->raft.log) - shard->raft.commit;
        if (unstable >= SHARD_UNSTABLE_MAX &&
            shard->pending_bytes < MOMI_ENTRY_BYTES_TARGET) {
            return;
        }
        if (!build_entry(shard)) {
            return;
        }
    }
}

/* --- what is due
 * ----------------------------------------------------------------------------------------------------
 */

static bool tick_is_under_way(const struct momi_shard *shard) {
    return shard->tick_index > shard->applied;
}

static void propose_tick(struct momi_shard *shard) {
    if (momi_shard_propose_command(shard, CMD_TICK, no_session, (struct momi_slice){0})) {
        /* It goes into the entry that is built in this turn or a later one. */
        shard->tick_index = momi_log_last(&shard->raft.log) + 1;
    }
}

/* S1: silence detaches consumers, long silence ends the session. */
static void propose_session_ends(struct momi_shard *shard) {
    uint64_t now_us = shard->core->now_us;
    MOMI_LIST_FOR_EACH (link, &shard->machine->sessions) {
        struct momi_session *session = MOMI_CONTAINER_OF(link, struct momi_session, link);
        uint64_t incarnation = momi_mesh_incarnation(shard->core, session->node);
        if (incarnation > session->incarnation) {
            /* Its program has died: nobody is left to speak for this session. */
            if (!session->end_proposed) {
                session->end_proposed = momi_shard_propose_command(
                    shard, CMD_SESSION_EXPIRE, session->id, (struct momi_slice){0});
            }
            continue;
        }
        if (session->node == shard->core->config.node || session->heard_us == 0) {
            /* Our own client half is as alive as we are; one just opened is heard now. */
            session->heard_us = now_us;
        }
        bool is_down = session->lane_down_us != 0 &&
                       now_us >= session->lane_down_us + MOMI_DETACH_CLOSED_US;
        bool is_silent = now_us >= session->heard_us + MOMI_DETACH_SILENT_US;
        if ((is_down || is_silent) && !session->detach_proposed &&
            !momi_list_empty(&session->consumers)) {
            session->detach_proposed = momi_shard_propose_command(
                shard, CMD_SESSION_DETACH, session->id, (struct momi_slice){0});
        }
        if (now_us >= session->heard_us + MOMI_SESSION_EXPIRY_US &&
            momi_shard_propose_command(shard, CMD_SESSION_EXPIRE, session->id,
                                       (struct momi_slice){0})) {
            session->heard_us =
                now_us; /* proposed again only after another term of silence */
        }
    }
}

void momi_shard_propose_due(struct momi_shard *shard) {
    if (shard->is_registry) {
        return;
    }
    uint64_t now_us = shard->core->now_us;
    uint64_t due_us = momi_machine_due(shard->machine);
    bool is_due = due_us != MOMI_NEVER && momi_shard_elapsed(shard) >= due_us;
    bool wants_stamp = momi_machine_is_timed(shard->machine) &&
                       now_us >= shard->stamped_us + MOMI_STAMP_US;
    if ((is_due || wants_stamp) && !tick_is_under_way(shard)) {
        propose_tick(shard);
    }
    if (now_us >= shard->sessions_due_us) {
        propose_session_ends(shard);
        shard->sessions_due_us = now_us + MOMI_S / 2;
    }
}

uint64_t momi_shard_propose_deadline(const struct momi_shard *shard) {
    if (shard->is_registry) {
        return MOMI_NEVER;
    }
    uint64_t due_us =
        shard->machine->sessions_count > 0 ? shard->sessions_due_us : MOMI_NEVER;
    uint64_t elapsed_due_us = momi_machine_due(shard->machine);
    if (elapsed_due_us != MOMI_NEVER && !tick_is_under_way(shard)) {
        uint64_t elapsed_us = momi_shard_elapsed(shard);
        uint64_t wait_us = elapsed_due_us > elapsed_us ? elapsed_due_us - elapsed_us : 0;
        due_us = momi_earlier(due_us, shard->core->now_us + wait_us);
    }
    if (momi_machine_is_timed(shard->machine) && !tick_is_under_way(shard)) {
        due_us = momi_earlier(due_us, shard->stamped_us + MOMI_STAMP_US);
    }
    return due_us;
}
