/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases. A message has at most one live lease in a group:
 *
 * - What is consumed stays consumed: after an acknowledgement that answered OK the
 *   message is not leased again, and no other acknowledgement of it answers OK.
 * - Tokens grow: a later lease has a higher token, no token is used twice, and an
 *   acknowledgement with a token lower than the highest that came is not accepted.
 * - Nobody gets a message while somebody else holds it: a second delivery comes after the
 *   lease of the one before (counted from when the program took the message, or extended
 *   it), or after it was given back, or after its reader closed, ended, or died, or when
 *   a fault was at work in between, which may have cut off its session.
 *
 * Tokens are fencing tokens (Gray and Cheriton, Leases, 1989; Burrows, Chubby, 2006). A
 * lease is exclusive as a lock is in the checkers of Jepsen for locks.
 */
#include "check/ledger.h"
#include "check/memory.h"

static const char name[] = "leases";

/* Clocks of nodes may differ in speed; a lease may look this much shorter. */
enum { LEASE_PERCENT = 95 };

struct own {             /* of a copy */
    uint64_t newest;     /* highest token that came */
    uint64_t taken;      /* last token that a program took */
    uint64_t taken_ns;   /* when, or when it was extended */
    uint64_t taken_step; /* 0: never */
    uint64_t first_ns;
    uint64_t consumed;      /* token, with is_consumed */
    uint32_t reader;        /* that took it */
    uint32_t n;             /* of that delivery */
    uint32_t before_reader; /* that took it before; number + 1 */
    uint32_t before_n;
    bool is_consumed, is_given_back;
};

struct state {
    struct own *copies;
    uint32_t copies_room;
    struct check_table tokens; /* (stream, token) -> copy + 1, and a bit: it was taken */
    uint64_t leases, settled, renewed, renewed_without_fault;
};

static struct own *own_of(struct state *state, const struct check_copy *copy) {
    state->copies = check_grow_to(state->copies, copy->number, &state->copies_room,
                                  sizeof *state->copies);
    return &state->copies[copy->number];
}

static void report(const struct check_step *step, const char *what) {
    check_report(step->ledger, name, step->message, "in %s %s, token %llu",
                 check_group_text(step->ledger, step->group->number), what,
                 (unsigned long long)step->about->token);
}

/* --- tokens ----------------------------------------------------------------------- */

static void tokens(struct state *state, struct own *own, const struct check_step *step) {
    uint64_t token = step->record->token;
    bool takes = step->record->kind == CHECK_DELIVER;
    if (token == 0) {
        return;
    }
    /* Tokens are counted for all streams of a shard; dead letters are on theirs. */
    uint64_t *found = check_table_put(&state->tokens, step->message->stream, token);
    uint64_t came = (uint64_t)(step->copy->number + 1) << 1;
    bool is_own = (*found & ~(uint64_t)1) == came;
    if (*found != 0 && !is_own) {
        report(step, "comes with another's token");
    } else if (is_own && !takes) {
        report(step, "comes twice with one token");
    } else if (is_own && (*found & 1) != 0) {
        report(step, "is handed out twice in one lease");
    }
    state->leases += *found == 0;
    *found = came | (takes ? 1 : 0);
    own->newest = token > own->newest ? token : own->newest;
}

/* --- exclusive -------------------------------------------------------------------- */

static bool is_lease_over(const struct own *own, const struct check_step *step) {
    const struct check_reader *reader = &step->ledger->readers[own->reader];
    uint64_t lease_ns = step->stream->lease_ns / 100 * LEASE_PERCENT;
    return own->is_given_back || reader->ended > own->taken_step ||
           reader->opened > own->taken_step || lease_ns == 0 ||
           step->record->time_ns - own->taken_ns >= lease_ns;
}

static void taken(struct state *state, struct own *own, const struct check_step *step) {
    const struct check_record *record = step->record;
    if (own->taken_step != 0) {
        bool is_faulty = check_ledger_faulty(step->ledger, own->taken_ns);
        state->renewed++;
        state->renewed_without_fault += !is_faulty;
        if (!is_faulty && !is_lease_over(own, step)) {
            report(step, "is handed out while another lease of it is live");
        }
        own->before_reader = own->reader + 1;
        own->before_n = own->n;
    } else {
        own->first_ns = record->time_ns;
    }
    own->taken_ns = record->time_ns;
    own->taken_step = step->number;
    own->reader = step->reader->number;
    own->n = record->deliveries;
    own->is_given_back = false;
}

/* Does this delivery belong to a lease that began after it was consumed? */
static bool is_after_consumed(const struct own *own, const struct check_step *step) {
    const struct check_record *record = step->record;
    if (record->token != 0) {
        return record->token > own->consumed;
    }
    return record->deliveries > own->n ||
           !check_ledger_faulty(step->ledger, own->first_ns);
}

static void comes(struct state *state, const struct check_step *step) {
    struct own *own = own_of(state, step->copy);
    if (own->is_consumed && is_after_consumed(own, step)) {
        report(step, "was consumed and comes again");
    }
    tokens(state, own, step);
    if (step->record->kind == CHECK_DELIVER) {
        taken(state, own, step);
    }
}

/* --- settling --------------------------------------------------------------------- */

/* Had this reader's lease ended, as others saw, before the call? */
static bool is_stale(const struct own *own, const struct check_step *step) {
    if (step->about->token != 0) {
        return step->about->token < own->newest;
    }
    return own->before_reader == step->reader->number + 1 &&
           own->reader != step->reader->number && own->taken_step < step->called &&
           own->n > own->before_n;
}

static void acknowledged(struct state *state, struct own *own,
                         const struct check_step *step) {
    if (own->is_consumed) {
        report(step, "is consumed twice");
    } else if (is_stale(own, step)) {
        report(step, "is acknowledged with a lease that had ended");
    }
    state->settled++;
    own->is_consumed = true;
    own->consumed = step->about->token;
}

static void settles(struct state *state, const struct check_step *step) {
    struct own *own = own_of(state, step->copy);
    const struct check_record *record = step->record;
    bool is_call = record->phase == CHECK_CALL;
    bool is_own = own->taken_step != 0 && own->reader == step->reader->number;
    if (record->kind == CHECK_ACK && step->outcome == CHECK_OUTCOME_OK && !is_call) {
        acknowledged(state, own, step);
    } else if (record->kind == CHECK_EXTEND && is_own && !is_call &&
               step->outcome == CHECK_OUTCOME_OK) {
        /* Anew from a moment between call and answer. */
        uint64_t from_ns = step->about->time_ns;
        own->taken_ns = own->taken_ns > from_ns ? own->taken_ns : from_ns;
    } else if (is_call && is_own && record->kind != CHECK_EXTEND) {
        own->is_given_back = own->is_given_back || record->kind != CHECK_ACK;
    }
}

static void feed(void *own, const struct check_step *step) {
    uint8_t kind = step->record->kind;
    if (step->copy == NULL) {
        return;
    }
    if (check_step_comes(step)) {
        comes(own, step);
    } else if (kind == CHECK_ACK || kind == CHECK_NACK || kind == CHECK_REJECT ||
               kind == CHECK_EXTEND) {
        settles(own, step);
    }
}

static void free_own(void *own) {
    struct state *state = own;
    check_table_free(&state->tokens);
    check_free(state->copies);
}

static const struct check_counter counters[] = {
    {"tokens", offsetof(struct state, leases)},
    {"accepted acknowledgements", offsetof(struct state, settled)},
    {"leases after the first", offsetof(struct state, renewed)},
    {"of these without a fault", offsetof(struct state, renewed_without_fault)},
    {NULL, 0},
};

const struct check_checker check_leases = {
    name, sizeof(struct state), feed, NULL, free_own, counters, NULL};
