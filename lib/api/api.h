/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the API share: checking arguments, and options of any size.
 *
 * The API checks and translates; everything else is the node's. An error text names the
 * argument. Called by the program's threads only.
 */
#ifndef MOMI_API_API_H
#define MOMI_API_API_H

#include <mom/mom.h>

#include "base/err.h"
#include "node/node.h"

/* Imports an options struct of the caller's size into ours: a missing tail is default, an
 * unknown tail must be zero. NULL is all defaults. MOM_OK, MOM_INVALID, MOM_VERSION. */
int momi_options_import(void *out, size_t out_size, const void *in, const char *what);

/* MOM_OK, or MOM_INVALID naming `argument`. A name may be a system name ("$dead/..."). */
int momi_check_stream(const char *name, const char *argument);
int momi_check_subscription(const char *name);
int momi_check_pointer(const void *pointer, const char *argument);
/* The timeout of a command: not 0. Its deadline goes to `deadline_us`. */
int momi_check_deadline(int timeout_ms, uint64_t *deadline_us);
/* The timeout of a wait: 0 is fine, and gives 0. */
int momi_check_wait(int timeout_ms, uint64_t *deadline_us);

/* --- options in text, options.c -------------------------------------------------------
 */

int momi_check_open(const mom_options *options);

/* --- publishes, publish_api.c: options into what a message carries ---------------------
 */

struct momi_outgoing_options {
    mom_send_options options;
    struct momi_bytes headers; /* encoded; owned */
};

/* --- submitting
 * --------------------------------------------------------------------------- */

/* Any command but a publish: reserves a completion and puts the call. */
int momi_submit(mom_node *node, const struct momi_call *call,
                mom_completions *completions, void *user);

#endif
