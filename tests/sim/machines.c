/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks into the state machines of the replicas while a run goes on: their own
 * invariants, and what can only be seen over time or across replicas: a token belongs to
 * one lease for ever, a message keeps its sequence, leases in the buffer do not count
 * down, what was handed out counts as a delivery, the elapsed clock does not run ahead of
 * time, and one wall clock that jumps does not move that of a stream.
 *
 * All of it is about committed state, so that it may be asked of any replica at any time;
 * notes are kept for each shard, over all replicas.
 */
#include "base/mem.h"
#include "core/shard_internal.h"
#include "world.h"

enum { SHARDS = 32 };

/* What was seen of a token. */
struct token_note {
    uint64_t owner;   /* hash of group, message, session and consumer; 0: not seen */
    uint64_t message; /* hash of group and message */
};

/* What was seen of a message in a group. */
struct message_note {
    uint64_t message; /* hash of group and message; 0: free */
    uint64_t token;   /* of a lease that was handed out */
    uint32_t deliveries;
    uint64_t sequence;
};

struct shard_notes {
    struct token_note *tokens; /* by counter */
    size_t tokens_room;
    struct message_note *messages; /* a hash table */
    size_t messages_room, messages_count;
    bool had_one_voter; /* then the time was that of one clock */
};

struct sim_machines {
    struct shard_notes shards[SHARDS];
    int64_t wall_ahead_us[SIM_NODES_MAX]; /* each store's clock, at most so far */
};

struct sim_machines *sim_machines_new(void) {
    return momi_must_calloc(1, sizeof(struct sim_machines));
}

void sim_machines_free(struct sim_machines *machines) {
    for (int i = 0; machines != NULL && i < SHARDS; i++) {
        momi_free(machines->shards[i].tokens);
        momi_free(machines->shards[i].messages);
    }
    momi_free(machines);
}

static uint64_t mix(uint64_t a, uint64_t b) {
    return momi_hash_u64(momi_hash_u64(a) + b) | 1;
}

static struct token_note *note_of_token(struct shard_notes *notes, uint64_t counter) {
    if (counter >= notes->tokens_room) {
        size_t room = notes->tokens_room == 0 ? 1024 : notes->tokens_room;
        while (room <= counter) {
            room *= 2;
        }
        notes->tokens = momi_must_realloc(notes->tokens, room * sizeof *notes->tokens);
        memset(notes->tokens + notes->tokens_room, 0,
               (room - notes->tokens_room) * sizeof *notes->tokens);
        notes->tokens_room = room;
    }
    return &notes->tokens[counter];
}

static struct message_note *find_message(struct shard_notes *notes, uint64_t message) {
    size_t at = message & (notes->messages_room - 1);
    while (notes->messages[at].message != 0 && notes->messages[at].message != message) {
        at = (at + 1) & (notes->messages_room - 1);
    }
    return &notes->messages[at];
}

static struct message_note *note_of_message(struct shard_notes *notes, uint64_t message) {
    if (notes->messages_count * 2 >= notes->messages_room) {
        struct shard_notes old = *notes;
        notes->messages_room = old.messages_room == 0 ? 1024 : old.messages_room * 2;
        notes->messages = momi_must_calloc(notes->messages_room, sizeof *notes->messages);
        for (size_t i = 0; i < old.messages_room; i++) {
            if (old.messages[i].message != 0) {
                *find_message(notes, old.messages[i].message) = old.messages[i];
            }
        }
        momi_free(old.messages);
    }
    struct message_note *note = find_message(notes, message);
    if (note->message == 0) {
        note->message = message;
        notes->messages_count++;
    }
    return note;
}

static void check_leased(struct sim_world *world, uint32_t node,
                         const struct momi_consumer *consumer,
                         const struct momi_lease *lease, uint32_t at,
                         struct shard_notes *notes) {
    uint64_t token = lease->counter + at;
    uint64_t message =
        mix(consumer->group->id, mix(lease->run.index, lease->run.slot + at));
    uint64_t owner = mix(message, mix(consumer->session->id.index, consumer->id));
    struct token_note *note = note_of_token(notes, token);
    if (note->owner != 0 && note->owner != owner) {
        sim_fail(world, "n%u: token %llu was given twice, for %s", node,
                 (unsigned long long)token,
                 note->message == message ? "the same message" : "different messages");
    }
    *note = (struct token_note){.owner = owner, .message = message};
    struct message_note *seen = note_of_message(notes, message);
    uint64_t sequence = lease->run.sequence + at;
    if (seen->sequence != 0 && seen->sequence != sequence) {
        sim_fail(world, "n%u: message %llu has become %llu", node,
                 (unsigned long long)seen->sequence, (unsigned long long)sequence);
    }
    seen->sequence = sequence;
    if (seen->token != 0 && token > seen->token &&
        lease->run.deliveries <= seen->deliveries) {
        sim_fail(world,
                 "n%u: message %llu was handed out with token %llu, and that is not "
                 "counted with token %llu: %u deliveries",
                 node, (unsigned long long)sequence, (unsigned long long)seen->token,
                 (unsigned long long)token, lease->run.deliveries);
    }
    if (lease->due_us != 0 && token > seen->token) {
        seen->token = token;
        seen->deliveries = lease->run.deliveries;
    }
}

static void check_consumer(struct sim_world *world, uint32_t node, uint32_t shard,
                           const struct momi_consumer *consumer) {
    struct shard_notes *notes = &world->machines->shards[shard];
    if (consumer->delivered > consumer->credit) {
        sim_fail(world, "n%u: consumer %llu got %llu messages with a credit of %llu",
                 node, (unsigned long long)consumer->id,
                 (unsigned long long)consumer->delivered,
                 (unsigned long long)consumer->credit);
    }
    for (size_t i = 0; i < consumer->leases.count && !world->has_failed; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        if (lease->due_us != 0 && lease->delivery > consumer->handed) {
            sim_fail(world,
                     "n%u: the lease of delivery %llu counts down, and only %llu were "
                     "handed out",
                     node, (unsigned long long)lease->delivery,
                     (unsigned long long)consumer->handed);
        }
        for (uint32_t at = 0; at < lease->run.count && !world->has_failed; at++) {
            check_leased(world, node, consumer, lease, at, notes);
        }
    }
}

/* R8. The median of two clocks or more (the lower of two) is not beyond the second of
 * all, if each is taken as it was when it was furthest ahead. */
static void check_wall(struct sim_world *world, uint32_t node,
                       const struct momi_shard *replica) {
    enum { SLACK_US = 10 * MOMI_S }; /* clocks that were heard a while ago, and drift */
    struct sim_machines *machines = world->machines;
    int64_t first_us = INT64_MIN;
    int64_t second_us = INT64_MIN;
    for (uint32_t i = 0; i < world->options.stores; i++) {
        int64_t ahead_us = world->nodes[i].wall_offset_us;
        int64_t *most_us = &machines->wall_ahead_us[i];
        *most_us = ahead_us > *most_us ? ahead_us : *most_us;
        if (*most_us > first_us) {
            second_us = first_us;
            first_us = *most_us;
        } else if (*most_us > second_us) {
            second_us = *most_us;
        }
    }
    struct shard_notes *notes = &machines->shards[replica->id];
    uint32_t voters = 0;
    for (uint32_t i = 0; i < replica->raft.config.count; i++) {
        voters += replica->raft.config.at[i].votes ? 1 : 0;
    }
    notes->had_one_voter = notes->had_one_voter || voters == 1;
    if (notes->had_one_voter || !world->options.form || world->options.copies < 2) {
        return;
    }
    int64_t ahead_us =
        (int64_t)replica->machine->wall_us - (int64_t)(world->now_us + SIM_WALL_US);
    if (ahead_us > second_us + (int64_t)SLACK_US) {
        sim_fail(
            world,
            "n%u shard %u: its wall clock is %lld ms ahead, only one store's was more "
            "than %lld ms",
            node, replica->id, (long long)(ahead_us / 1000),
            (long long)(second_us / 1000));
    }
}

void sim_machines_check(struct sim_world *world, uint32_t node, uint32_t shard) {
    const struct momi_shard *replica = world->nodes[node].core->shards[shard];
    if (world->has_failed || replica == NULL || replica->is_registry ||
        replica->machine == NULL || shard >= SHARDS) {
        return;
    }
    const struct momi_machine *machine = replica->machine;
    momi_machine_check(machine);
    /* No clock drifts by more than a fifth of a percent. */
    if (machine->elapsed_us > world->now_us + world->now_us / 500 + MOMI_S) {
        sim_fail(world,
                 "n%u shard %u: the elapsed clock says %llu ms, the run is %llu ms", node,
                 shard, (unsigned long long)(machine->elapsed_us / 1000),
                 (unsigned long long)(world->now_us / 1000));
    }
    check_wall(world, node, replica);
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        const struct momi_session *session =
            MOMI_CONTAINER_OF(link, struct momi_session, link);
        if (session->incarnation == 0 || session->opening == 0) {
            sim_fail(world, "n%u shard %u: session %llu was never opened", node, shard,
                     (unsigned long long)session->id.index);
        }
    }
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        const struct momi_stream *stream =
            MOMI_CONTAINER_OF(link, struct momi_stream, link);
        MOMI_LIST_FOR_EACH (at, &stream->groups) {
            const struct momi_group *group =
                MOMI_CONTAINER_OF(at, struct momi_group, link);
            MOMI_LIST_FOR_EACH (to, &group->consumers) {
                check_consumer(world, node, shard,
                               MOMI_CONTAINER_OF(to, struct momi_consumer, group_link));
            }
        }
    }
}
