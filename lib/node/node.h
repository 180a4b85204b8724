/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node, as the API sees it: opened, called, closed.
 *
 * Every call of the program begins with momi_node_enter (fork, closed) and ends with
 * momi_node_leave; in between the node cannot go. Handles that outlive the node
 * (consumers, completions, messages) hold references to its memory.
 */
#ifndef MOMI_NODE_NODE_H
#define MOMI_NODE_NODE_H

#include <mom/mom.h>

#include "core/call.h"
#include "node/calls.h"
#include "node/completions.h"
#include "node/consumers.h"

enum { MOMI_NODE_ADDRESS_BYTES_MAX = 256 }; /* with the final zero */
enum momi_node_address { MOMI_NODE_LISTENS_AT, MOMI_NODE_DIALS };
/* MOM_OK, or MOM_INVALID with what is wrong with it. */
int momi_node_check_address(const char *address, enum momi_node_address use);
/* Monotonic: so long from now. */
uint64_t momi_node_deadline_us(uint32_t timeout_ms);

/* `options` are complete and checked for form by the API. See mom_open for errors. */
int momi_node_open(const mom_options *options, mom_node **node);
int momi_node_close(mom_node *node, uint64_t deadline_us);

/* MOM_OK, or MOM_CLOSED with the reason as text. */
int momi_node_enter(mom_node *node);
void momi_node_leave(mom_node *node);
void momi_node_ref(mom_node *node);
void momi_node_unref(mom_node *node);
/* MOM_OK in the process that opened it, else MOM_CLOSED. */
int momi_node_check_fork(const mom_node *node);

/* Any thread, between enter and leave. Calls and waits; the error text is set.
 * `messages`: of a publish, else NULL. `answer` may be NULL. */
int momi_node_call(mom_node *node, const struct momi_call *call,
                   const struct momi_messages *messages, struct momi_answer *answer);
struct momi_calls *momi_node_calls(mom_node *node);

int momi_node_completions(mom_node *node, mom_completions **completions);
void momi_node_forget_completions(mom_node *node, mom_completions *completions);

uint64_t momi_node_id(const mom_node *node);
const char *momi_node_name(const mom_node *node);
const char *momi_node_address(const mom_node *node);
bool momi_node_is_durable(const mom_node *node);
void momi_node_metrics(mom_node *node, mom_metrics *metrics);

#endif
