/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mesh reopened with damaged copies, as its programs see it. With one damaged copy:
 * what was acknowledged comes, what was consumed does not, all copies are equal at the
 * end, and the damaged node is whole again, or has come back as another. With all copies
 * damaged: either the same, or callers are told.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mom/mom.h>

#include "damage/damage.h"
#include "damage/fault.h"

enum {
    WAIT_MS = 60000,
    WAIT_ALL_MS = 6000, /* every copy is damaged: what cannot be done is not waited for */
    QUIET_MS = 1500,
    TURNS = 24, /* some of each node between two looks at them */
    BODY_BYTES = 4096,
    IO_MESSAGES = 120,
    IO_CALLS = 60, /* one of so many calls fails */
};

struct mesh {
    const char *path;
    const struct damage_ledger *ledger;
    struct damage_texts texts[DAMAGE_NODES];
    mom_node *nodes[DAMAGE_NODES];
    bool is_all; /* every copy is damaged */
    bool was_refused, was_aside, was_told, is_corrupt, was_stopped;
    enum damage_outcome outcome;
    char *why;
};

static void __attribute__((format(printf, 2, 3)))
violate(struct mesh *mesh, const char *format, ...) {
    if (mesh->outcome == OUTCOME_VIOLATION) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(mesh->why, DAMAGE_TEXT, format, arguments);
    va_end(arguments);
    mesh->outcome = OUTCOME_VIOLATION;
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

static void print_line(mom_log_level level, const char *id, const char *group,
                       const char *message, void *user) {
    (void)level;
    (void)group;
    fprintf(stderr, "%s %s %s\n", (const char *)user, id, message);
}

static int open_node(struct mesh *mesh, size_t index) {
    mom_options options;
    damage_node_options(&options, &mesh->texts[index], mesh->path, index);
    if (getenv("MOM_TEST_LOG") != NULL) {
        options.log = print_line;
        options.log_level = MOM_LOG_DEBUG;
        options.log_user = (void *)(uintptr_t)damage_names[index];
    }
    return mom_open(&options, &mesh->nodes[index]);
}

static void open_nodes(struct mesh *mesh) {
    damage_watch(true);
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        int error = open_node(mesh, i);
        char kept[DAMAGE_PATH];
        damage_path(kept, mesh->texts[i].dir, "kept-1");
        mesh->was_aside = mesh->was_aside || access(kept, F_OK) == 0;
        if (error == MOM_OK) {
            continue;
        }
        if (error != MOM_CORRUPT) {
            violate(mesh, "opening %s gives %s: %s", damage_names[i], mom_err_name(error),
                    mom_last_error_text());
            return;
        }
        /* What the message says: the operator takes the directory away. */
        mesh->was_refused = true;
        if (mesh->is_all) {
            mesh->was_told = true;
            return; /* there is nowhere to come back from */
        }
        damage_remove(mesh->texts[i].dir);
        error = open_node(mesh, i);
        if (error != MOM_OK) {
            violate(mesh, "an empty %s gives %s: %s", damage_names[i],
                    mom_err_name(error), mom_last_error_text());
            return;
        }
    }
}

/* --- messages ------------------------------------------------------------------------
 */

/* With every copy damaged, what cannot be had is told: as CORRUPT where all that is
 * missing is known, else as for a majority that is away. */
static bool is_told(struct mesh *mesh, int error) {
    bool is_said = error == MOM_CORRUPT || error == MOM_TIMEOUT ||
                   error == MOM_UNAVAILABLE || error == MOM_UNKNOWN_OUTCOME;
    mesh->was_told = mesh->was_told || (mesh->is_all && is_said);
    mesh->is_corrupt = mesh->is_corrupt || error == MOM_CORRUPT;
    return is_said && mesh->is_all;
}

static int wait_ms(const struct mesh *mesh) {
    return mesh->is_all ? WAIT_ALL_MS : WAIT_MS;
}

/* Which message it is; ends the case when it is none. */
static bool number_of(struct mesh *mesh, const mom_message *message, uint32_t *number) {
    char expected[BODY_BYTES];
    size_t size = 0;
    const char *body = mom_message_body(message, &size);
    *number = (uint32_t)strtoul(body, NULL, 10);
    if (*number >= mesh->ledger->count ||
        damage_body(*number, expected, sizeof expected) != size ||
        memcmp(body, expected, size) != 0) {
        violate(mesh, "a message from nowhere: %.40s", body);
        return false;
    }
    return true;
}

static uint32_t missing(const uint8_t *known, const uint8_t *seen, uint32_t count) {
    uint32_t missing_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        missing_count += known[i] == MESSAGE_SENT && seen[i] == 0;
    }
    return missing_count;
}

/* Receives until everything that must be there has come and nothing more comes. */
static void drain(struct mesh *mesh, mom_consumer *consumer, const uint8_t *known,
                  const char *name) {
    uint8_t *seen = calloc(DAMAGE_MESSAGES_MAX, 1);
    uint64_t due_ms = now_ms() + (uint64_t)wait_ms(mesh);
    while (mesh->outcome != OUTCOME_VIOLATION) {
        bool is_whole = missing(known, seen, mesh->ledger->count) == 0;
        mom_message *message = NULL;
        int error = mom_receive(consumer, &message, is_whole ? 1 : QUIET_MS);
        if (error == MOM_OK) {
            uint32_t number = 0;
            if (number_of(mesh, message, &number)) {
                if (known[number] == MESSAGE_CONSUMED) {
                    violate(mesh, "%s: message %u was consumed and is back", name,
                            number);
                }
                seen[number]++;
            }
            (void)mom_ack(message);
            mom_message_release(message);
        } else if (error == MOM_CORRUPT && is_told(mesh, error)) {
            break; /* every copy of what comes now is damaged */
        } else if (error != MOM_EMPTY && error != MOM_TIMEOUT) {
            violate(mesh, "%s: receiving gives %s: %s", name, mom_err_name(error),
                    mom_last_error_text());
        } else if (is_whole) {
            break;
        }
        if (now_ms() > due_ms && mesh->is_all) {
            mesh->was_told = true;
            break;
        }
        if (now_ms() > due_ms) {
            violate(mesh, "%s: %u messages that were acknowledged do not come", name,
                    missing(known, seen, mesh->ledger->count));
        }
    }
    free(seen);
    int error = mom_consumer_flush(consumer, wait_ms(mesh));
    if (error != MOM_OK && !is_told(mesh, error)) {
        violate(mesh, "%s: acknowledging gives %s", name, mom_err_name(error));
    }
    (void)mom_consumer_close(consumer, wait_ms(mesh));
}

static void drain_all(struct mesh *mesh, mom_node *node) {
    mom_consumer *consumer = NULL;
    int timeout_ms = wait_ms(mesh);
    int error = mom_queue_consumer(node, "work", NULL, timeout_ms, &consumer);
    if (error == MOM_OK) {
        drain(mesh, consumer, mesh->ledger->queue, "work");
    } else if (!is_told(mesh, error)) {
        violate(mesh, "a consumer of work gives %s", mom_err_name(error));
    }
    error = mom_subscription_consumer(node, "news", "all", NULL, timeout_ms, &consumer);
    if (error == MOM_OK) {
        drain(mesh, consumer, mesh->ledger->topic, "news");
    } else if (!is_told(mesh, error)) {
        violate(mesh, "a consumer of news gives %s", mom_err_name(error));
    }
    error = mom_send(node, "work", "after", 5, NULL, timeout_ms);
    if (error != MOM_OK && !is_told(mesh, error)) {
        violate(mesh, "sending gives %s: %s", mom_err_name(error), mom_last_error_text());
    }
}

/* --- copies ---------------------------------------------------------------------------
 */

enum standing { STANDING_EQUAL, STANDING_MOVING, STANDING_DIFFERENT };

static enum standing compare(struct mesh *mesh, uint32_t shard) {
    struct damage_view first = {0};
    bool has_first = false;
    enum standing standing = STANDING_EQUAL;
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        struct damage_view view;
        if (!damage_look(mom_node_id(mesh->nodes[i]), shard, &view)) {
            continue; /* it came back as another, and has no copy of it */
        }
        if (!view.has_state || view.is_hurt || view.applied != view.commit) {
            standing = STANDING_MOVING;
        } else if (!has_first) {
            first = view;
            has_first = true;
        } else if (view.applied != first.applied) {
            standing = STANDING_MOVING;
        } else if (view.hash != first.hash) {
            (void)snprintf(mesh->why, DAMAGE_TEXT, "shard %u: states differ at %llu",
                           shard, (unsigned long long)view.applied);
            return STANDING_DIFFERENT;
        }
    }
    return standing;
}

/* The log says so: restart the node. Once; its store knows then what to avoid. */
static bool restart_failed(struct mesh *mesh) {
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        struct damage_view view;
        bool has_failed = damage_look(mom_node_id(mesh->nodes[i]), 0, &view) &&
                          view.has_failed && !mesh->was_stopped;
        if (!has_failed) {
            continue;
        }
        mesh->was_stopped = true;
        (void)mom_close(mesh->nodes[i], WAIT_MS);
        damage_forget();
        int error = open_node(mesh, i);
        if (error != MOM_OK) {
            violate(mesh, "%s does not come back: %s: %s", damage_names[i],
                    mom_err_name(error), mom_last_error_text());
        }
        return error == MOM_OK;
    }
    return false;
}

static void describe(const struct mesh *mesh, uint32_t shard, char text[DAMAGE_TEXT]) {
    size_t size = 0;
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        struct damage_view view;
        if (size + 60 < DAMAGE_TEXT &&
            damage_look(mom_node_id(mesh->nodes[i]), shard, &view)) {
            size += (size_t)snprintf(
                text + size, DAMAGE_TEXT - size, " %s%s%s %llu/%llu", damage_names[i],
                view.has_state ? "" : " empty", view.is_hurt ? " hurt" : "",
                (unsigned long long)view.applied, (unsigned long long)view.commit);
        }
    }
}

static void compare_all(struct mesh *mesh) {
    uint64_t due_ms = now_ms() + WAIT_MS;
    for (;;) {
        enum standing worst = STANDING_EQUAL;
        uint32_t at = 0;
        damage_await_turns(TURNS);
        for (uint32_t s = 0; s <= DAMAGE_SHARDS; s++) {
            enum standing standing = compare(mesh, s);
            at = standing > worst ? s : at;
            worst = standing > worst ? standing : worst;
        }
        if (worst == STANDING_DIFFERENT) {
            mesh->outcome = OUTCOME_VIOLATION;
            return;
        }
        if (worst == STANDING_EQUAL && !restart_failed(mesh)) {
            return;
        }
        if (worst == STANDING_MOVING) {
            (void)restart_failed(mesh);
        }
        if (now_ms() > due_ms) {
            char text[DAMAGE_TEXT] = "";
            describe(mesh, at, text);
            violate(mesh, "shard %u: its copies do not become equal:%s", at, text);
            return;
        }
    }
}

static bool is_repaired(const struct mesh *mesh) {
    uint64_t count = 0;
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        mom_metrics metrics;
        mom_metrics_init(&metrics);
        if (mom_metrics_get(mesh->nodes[i], &metrics) == MOM_OK) {
            count += metrics.damages_count + metrics.entries_repaired_count +
                     metrics.entries_lost_count;
        }
    }
    return count > 0;
}

static void judge(struct mesh *mesh) {
    for (size_t i = 0; i < DAMAGE_NODES && mesh->outcome != OUTCOME_VIOLATION; i++) {
        int error = mom_wait_ready(mesh->nodes[i], wait_ms(mesh));
        if (error == MOM_IO && restart_failed(mesh)) {
            error = mom_wait_ready(mesh->nodes[i], wait_ms(mesh));
        }
        if (error != MOM_OK && !mesh->is_all) {
            violate(mesh, "%s is not ready: %s", damage_names[i], mom_last_error_text());
        } else if (error != MOM_OK) {
            mesh->was_told = true;
        }
    }
    if (mesh->outcome != OUTCOME_VIOLATION && !mesh->was_told) {
        drain_all(mesh, mesh->nodes[1]);
    }
    if (mesh->outcome != OUTCOME_VIOLATION && !mesh->was_told) {
        compare_all(mesh);
    }
}

enum damage_outcome damage_mesh_case(const char *path, size_t victim,
                                     const struct damage_ledger *ledger,
                                     char why[DAMAGE_TEXT]) {
    struct mesh mesh = {.path = path,
                        .ledger = ledger,
                        .why = why,
                        .is_all = victim >= DAMAGE_NODES,
                        .outcome = OUTCOME_HARMLESS};
    open_nodes(&mesh);
    if (mesh.outcome != OUTCOME_VIOLATION && !(mesh.is_all && mesh.was_refused)) {
        judge(&mesh);
    }
    if (mesh.outcome != OUTCOME_VIOLATION) {
        mesh.outcome = mesh.was_told        ? OUTCOME_REPORTED
                       : mesh.was_refused   ? OUTCOME_REFUSED
                       : mesh.was_aside     ? OUTCOME_ASIDE
                       : mesh.was_stopped   ? OUTCOME_STOPPED
                       : is_repaired(&mesh) ? OUTCOME_REPAIRED
                                            : OUTCOME_HARMLESS;
    }
    return mesh.outcome; /* the process ends with its nodes */
}

/* --- a disk that fails ----------------------------------------------------------------
 */

/* Through a node whose disk works: it has to go on. Through the other: whatever it says,
 * but what it says must be true. */
static void send_some(struct mesh *mesh, struct damage_ledger *ledger, size_t victim) {
    char body[BODY_BYTES];
    for (uint32_t i = 0; i < IO_MESSAGES && mesh->outcome != OUTCOME_VIOLATION; i++) {
        size_t at = i % DAMAGE_NODES;
        uint32_t number = ledger->count++;
        size_t size = damage_body(number, body, sizeof body);
        int timeout_ms = at == victim && fault_has_struck() ? 200 : WAIT_MS;
        int error = mom_send(mesh->nodes[at], "work", body, size, NULL, timeout_ms);
        ledger->queue[number] = error == MOM_OK ? MESSAGE_SENT : MESSAGE_UNKNOWN;
        if (error != MOM_OK && at != victim) {
            violate(mesh, "%s, whose disk works, cannot send: %s: %s", damage_names[at],
                    mom_err_name(error), mom_last_error_text());
        }
    }
}

static void reopen(struct mesh *mesh, size_t victim) {
    (void)mom_close(mesh->nodes[victim], WAIT_MS); /* says IO, if it has noticed */
    fault_disarm();
    int error = open_node(mesh, victim);
    if (error != MOM_OK) {
        violate(mesh, "reopening gives %s: %s", mom_err_name(error),
                mom_last_error_text());
    }
}

enum damage_outcome damage_io_case(const char *path, size_t victim,
                                   struct damage_ledger *ledger, struct momi_rng *rng,
                                   char harm[DAMAGE_TEXT], char why[DAMAGE_TEXT]) {
    static const char *const names[FAULT_CALLS] = {"write", "sync", "create", "rename"};
    struct mesh mesh = {
        .path = path, .ledger = ledger, .why = why, .outcome = OUTCOME_HARMLESS};
    enum fault_call call = (enum fault_call)momi_rng_between(rng, 0, 5);
    call = call >= FAULT_CALLS ? FAULT_SYNC : call;
    int error = momi_rng_between(rng, 0, 2) == 0 ? ENOSPC : EIO;
    bool is_rare = call == FAULT_CREATE || call == FAULT_RENAME;
    uint64_t at = momi_rng_between(rng, 1, is_rare ? 3 : IO_CALLS);
    (void)snprintf(harm, DAMAGE_TEXT, "%s %llu of node %s: %s", names[call],
                   (unsigned long long)at, damage_names[victim], strerror(error));
    open_nodes(&mesh);
    for (size_t i = 0; i < DAMAGE_NODES && mesh.outcome != OUTCOME_VIOLATION; i++) {
        if (mom_wait_ready(mesh.nodes[i], WAIT_MS) != MOM_OK) {
            violate(&mesh, "%s is not ready: %s", damage_names[i], mom_last_error_text());
        }
    }
    if (mesh.outcome != OUTCOME_VIOLATION) {
        fault_arm(mesh.texts[victim].dir, call, error, (unsigned long)at);
        send_some(&mesh, ledger, victim);
        reopen(&mesh, victim);
    }
    if (mesh.outcome != OUTCOME_VIOLATION && fault_was_retried() && error == EIO) {
        violate(&mesh, "a sync that had failed was tried again");
    }
    if (mesh.outcome != OUTCOME_VIOLATION) {
        judge(&mesh);
    }
    if (mesh.outcome != OUTCOME_VIOLATION) {
        char kept[DAMAGE_PATH];
        damage_path(kept, mesh.texts[victim].dir, "kept-1");
        mesh.outcome = access(kept, F_OK) == 0 ? OUTCOME_ASIDE
                       : fault_has_struck()    ? OUTCOME_REPAIRED
                                               : OUTCOME_HARMLESS;
    }
    return mesh.outcome;
}
