/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Equal states. Replicas of a shard that have applied the same entries are in the same
 * state: state machine safety (Ongaro and Ousterhout, Raft, figure 3; Schneider, state
 * machine approach). Judged by the hash of the state at each applied index that was seen.
 */
#include "check/ledger.h"
#include "check/memory.h"

static const char name[] = "equal states";

struct state {
    struct check_table indexes; /* (shard, index) -> number of a hash + 1 */
    uint64_t *hashes;
    uint32_t count, room;
    uint64_t seen, compared;
};

static void feed(void *own, const struct check_step *step) {
    struct state *state = own;
    const struct check_record *record = step->record;
    if (record->kind != CHECK_HASH) {
        return;
    }
    state->seen++;
    uint64_t *found = check_table_put(&state->indexes, record->life, record->value);
    if (*found == 0) {
        state->hashes =
            check_grow(state->hashes, state->count, &state->room, sizeof *state->hashes);
        state->hashes[state->count++] = record->digest;
        *found = state->count;
        return;
    }
    state->compared++;
    if (state->hashes[*found - 1] != record->digest) {
        check_report(step->ledger, name, NULL,
                     "states of shard %u differ at applied index %llu (process %u)",
                     record->life, (unsigned long long)record->value, record->process);
    }
}

static void free_own(void *own) {
    struct state *state = own;
    check_table_free(&state->indexes);
    check_free(state->hashes);
}

static const struct check_counter counters[] = {
    {"hashes", offsetof(struct state, seen)},
    {"hashes compared", offsetof(struct state, compared)},
    {NULL, 0},
};

const struct check_checker check_hashes = {
    name, sizeof(struct state), feed, NULL, free_own, counters, NULL};
