/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history of a run goes straight to the judge of tests/check, record by record, so
 * that a violation ends the run where it shows, with the story that led to it.
 *
 * Faults are one long fault here, from the beginning until a while after they have ended:
 * what they may excuse (a reader that is cut off, a lease that is taken over) is judged
 * afterwards without excuse. Everything else is judged throughout.
 */
#include "base/mem.h"
#include "programs.h"

enum { WELL_AGAIN_US = 30 * 1000 * 1000, KEYS_MAX = 8 };

struct sim_history {
    struct check_names *names;
    struct check_judge *judge;
    uint64_t ops;
    uint64_t calm_us;
    bool has_fault;
};

enum { OWN_PROCESS = UINT32_MAX };

static void feed(struct sim_world *world, struct check_record *record) {
    struct sim_history *history = world->programs->history;
    record->time_ns = world->now_us * 1000;
    if (world->tells_frames) {
        char line[CHECK_LINE_MAX];
        size_t size = check_write(history->names, record, line);
        sim_say(world, "%.*s", (int)(size - 1), line);
    }
    if (check_judge_feed(history->judge, record)) {
        return;
    }
    const struct check_violations *violations = check_judge_violations(history->judge);
    if (violations->count > 0) {
        sim_fail(world, "%s: %s", violations->list[violations->count - 1].checker,
                 violations->list[violations->count - 1].text);
    }
}

struct sim_history *sim_history_new(struct sim_world *world) {
    (void)world;
    struct sim_history *history = momi_must_calloc(1, sizeof *history);
    history->names = check_names_new();
    history->judge = check_judge_new(history->names);
    return history;
}

void sim_history_free(struct sim_history *history) {
    if (history != NULL) {
        check_judge_free(history->judge);
        check_names_free(history->names);
    }
    momi_free(history);
}

uint32_t sim_history_name(struct sim_world *world, const char *name) {
    return check_name_str(world->programs->history->names, name);
}

uint32_t sim_history_slice(struct sim_world *world, struct momi_slice key) {
    return check_name(world->programs->history->names, (const char *)key.data, key.size);
}

uint32_t sim_history_process(const struct sim_world *world, uint32_t node) {
    /* `life` grows at each start and at each end; the end belongs to what ends. */
    return (uint32_t)((world->nodes[node].life + 1) / 2) * SIM_NODES_MAX + node + 1;
}

uint64_t sim_history_ops(struct sim_world *world, uint32_t count) {
    uint64_t first = world->programs->history->ops + 1;
    world->programs->history->ops += count;
    return first;
}

/* Begins with the first record, and ends when everything is well again. */
static void tell_fault(struct sim_world *world) {
    struct sim_history *history = world->programs->history;
    struct check_record record = {.kind = CHECK_FAULT, .process = OWN_PROCESS, .op = 1};
    if (!history->has_fault && history->calm_us == 0) {
        history->has_fault = true;
        record.phase = CHECK_CALL;
        feed(world, &record);
    }
    if (history->calm_us == 0 && world->is_calm) {
        history->calm_us = world->now_us;
    }
    if (history->has_fault && history->calm_us != 0 &&
        world->now_us > history->calm_us + WELL_AGAIN_US) {
        history->has_fault = false;
        record.phase = CHECK_DONE;
        feed(world, &record);
    }
}

void sim_history_add(struct sim_world *world, uint32_t node, enum check_kind kind,
                     enum check_phase phase, struct check_record record) {
    tell_fault(world);
    record.kind = (uint8_t)kind;
    record.phase = (uint8_t)phase;
    record.process = sim_history_process(world, node);
    feed(world, &record);
}

void sim_history_done(struct sim_world *world, uint32_t node, enum check_kind kind,
                      uint64_t op, int result, uint64_t sequence) {
    sim_history_add(
        world, node, kind, CHECK_DONE,
        (struct check_record){.op = op, .result = (int16_t)result, .sequence = sequence});
}

int sim_history_flushed(int error) {
    return error == MOM_OK ? MOM_OK : MOM_UNKNOWN_OUTCOME;
}

uint64_t sim_history_missing(const struct sim_world *world) {
    return check_judge_missing(world->programs->history->judge);
}

void sim_history_finish(struct sim_world *world) {
    struct sim_history *history = world->programs->history;
    if (!check_judge_finish(history->judge)) {
        const struct check_violations *violations =
            check_judge_violations(history->judge);
        sim_fail(world, "%s: %s (%llu in all)",
                 violations->list[violations->count - 1].checker,
                 violations->list[violations->count - 1].text,
                 (unsigned long long)violations->all);
    }
}
