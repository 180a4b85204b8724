/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refused means not done. A publish that answered an error other than UNKNOWN_OUTCOME was
 * not done and never will be: its message comes to nobody, before or after the answer
 * (include/mom/error.h). With an unknown outcome it may come or not. Aborted reads, in
 * the words of Adya (G1a) and of the Kafka workload of Jepsen.
 */
#include "check/ledger.h"

#include <mom/error.h>

static const char name[] = "refused is not done";

struct state {
    uint64_t refused, unknown, unknown_done;
};

static void feed(void *own, const struct check_step *step) {
    struct state *state = own;
    const struct check_message *message = step->message;
    if (message == NULL) {
        return;
    }
    if (check_step_comes(step) && message->outcome == CHECK_OUTCOME_REFUSED) {
        check_report(step->ledger, name, message, "was refused and is delivered");
    }
    if (check_step_is(step, CHECK_PUBLISH, CHECK_DONE)) {
        state->refused += step->outcome == CHECK_OUTCOME_REFUSED;
        state->unknown += step->outcome == CHECK_OUTCOME_UNKNOWN;
        if (step->outcome == CHECK_OUTCOME_REFUSED && message->known != 0) {
            check_report(step->ledger, name, message, "was delivered and refused (%s)",
                         check_result_name(step->record->result));
        }
    }
}

static void finish(void *own, struct check_ledger *ledger) {
    struct state *state = own;
    for (uint32_t i = 0; i < ledger->messages_count; i++) {
        const struct check_message *message = &ledger->messages[i];
        state->unknown_done +=
            message->outcome == CHECK_OUTCOME_UNKNOWN && message->known != 0;
    }
}

static void free_own(void *own) { (void)own; }

static const struct check_counter counters[] = {
    {"refused publishes", offsetof(struct state, refused)},
    {"unknown publishes", offsetof(struct state, unknown)},
    {"of these done", offsetof(struct state, unknown_done)},
    {NULL, 0},
};

const struct check_checker check_outcomes = {
    name, sizeof(struct state), feed, finish, free_own, counters, NULL};
