/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A completion queue: answers of submitted calls, for the program to collect.
 *
 * A submission reserves room first, so that putting the answer in cannot fail. The file
 * descriptor (an eventfd) is readable while the queue is not empty or its node is closed;
 * it is written once for each turn that found the queue empty.
 *
 * Reference counted: the program's handle and every reservation hold one. Outlives its
 * node.
 */
#ifndef MOMI_NODE_COMPLETIONS_H
#define MOMI_NODE_COMPLETIONS_H

#include <mom/mom.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/ring.h"

struct mom_completions {
    atomic_uint refs;
    mom_node *node; /* a reference */
    int fd;
    pthread_mutex_t mutex;
    struct momi_ring ring; /* mom_completion */
    size_t reserved;
    bool is_signalled; /* the descriptor is readable */
    bool is_closed;    /* by the program: answers are dropped */
    bool is_node_closed;
    struct momi_list link;         /* mom_node.completions, under the node's mutex */
    struct momi_list touched_link; /* the loop thread's list of a turn */
};

int momi_completions_new(mom_node *node, mom_completions **completions);
void momi_completions_ref(mom_completions *completions);
void momi_completions_unref(mom_completions *completions);

/* Room for one more answer; takes a reference. MOM_OK, MOM_NO_MEMORY, MOM_FULL. */
int momi_completions_reserve(mom_completions *completions);
void momi_completions_unreserve(mom_completions *completions); /* nothing was submitted */
/* Uses up one reservation. Loop thread: its reference ends with the signal of the turn.
 * Other threads give no `touched`: then it signals at once. */
void momi_completions_put(mom_completions *completions, const mom_completion *completion,
                          struct momi_list *touched);
/* Loop thread: one wake-up for each queue that got something in this turn. */
void momi_completions_signal(struct momi_list *touched);
/* The node is closed: who waits is woken for good. */
void momi_completions_node_closed(mom_completions *completions);

void momi_completions_close(mom_completions *completions);
int momi_completions_wait(mom_completions *completions, mom_completion *list, size_t max,
                          size_t *count, uint64_t deadline_us);

#endif
