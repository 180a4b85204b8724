/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was purged or deleted, and is not let go of yet (E4): the runs of a large set are
 * moved here in one step, and their references to log entries are released in slices,
 * turn by turn, so that a stream of a million messages does not stop the loop.
 *
 * Graves are no state: at the command the messages are gone for everybody, no decision
 * looks at them, and a checkpoint waits until there are none. Replicas may be at
 * different slices.
 */
#include "core/machine_internal.h"

#ifdef MOMI_CHECKS
enum { GRAVE_RUNS_MIN = 4, SLICE_BLOCKS = 1 }; /* the simulator's sets are small */
#else
enum { GRAVE_RUNS_MIN = 2048, SLICE_BLOCKS = 64 };
#endif

struct grave {
    struct momi_list link; /* momi_machine.graves */
    struct momi_runs runs;
};

static void release_run(void *user, const struct momi_run *run) {
    struct momi_machine *machine = user;
    momi_live_release(machine->live, run->index, run->count);
}

void momi_machine_let_go(struct momi_machine *machine, struct momi_runs *runs) {
    if (runs->runs < GRAVE_RUNS_MIN) {
        momi_runs_each(runs, release_run, machine);
        momi_runs_clear(runs);
        return;
    }
    struct grave *grave = momi_must_calloc(1, sizeof *grave); /* reserved */
    momi_runs_move(runs, &grave->runs);
    momi_list_push_back(&machine->graves, &grave->link);
}

bool momi_machine_has_graves(const struct momi_machine *machine) {
    return !momi_list_empty(&machine->graves);
}

bool momi_machine_bury(struct momi_machine *machine) {
    /* Each run may be of an entry whose references have to be unpacked. */
    size_t cost =
        momi_live_cost(machine->live, (uint64_t)SLICE_BLOCKS * MOMI_RUNS_BLOCK_MAX);
    if (!momi_reserve_fill(&machine->reserve, cost)) {
        return false;
    }
    momi_reserve_enter(&machine->reserve);
    for (int i = 0; i < SLICE_BLOCKS && !momi_list_empty(&machine->graves); i++) {
        struct grave *grave = MOMI_CONTAINER_OF(machine->graves.next, struct grave, link);
        if (!momi_runs_bury(&grave->runs, release_run, machine)) {
            momi_list_remove(&grave->link);
            momi_runs_free(&grave->runs);
            momi_free(grave);
        }
    }
    momi_reserve_leave();
    return true;
}

void momi_machine_each_grave(const struct momi_machine *machine, momi_grave_fn visit,
                             void *user) {
    MOMI_LIST_FOR_EACH (link, &machine->graves) {
        visit(user, &MOMI_CONTAINER_OF(link, struct grave, link)->runs);
    }
}

void momi_machine_free_graves(struct momi_machine *machine) {
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->graves) {
        struct grave *grave = MOMI_CONTAINER_OF(link, struct grave, link);
        momi_list_remove(link);
        momi_runs_free(&grave->runs);
        momi_free(grave);
    }
}
