/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What checkout.c, settle.c and consumer_save.c share. Nobody else includes it.
 *
 * A message of a group is in `ready` or in one consumer's leases, and has one reference
 * in the live table for that. The functions here move it and keep the counts of the group
 * with it.
 */
#ifndef MOMI_CORE_CHECKOUT_INTERNAL_H
#define MOMI_CORE_CHECKOUT_INTERNAL_H

#include "core/lease.h"
#include "core/machine_internal.h"

/* In and out of the waiting list as credit and `delivered` say. Whoever enters is last.
 */
void momi_consumer_wait(struct momi_machine *machine, struct momi_consumer *consumer);
void momi_consumer_leave(struct momi_consumer *consumer);
/* Links a consumer into maps and lists; its session, id, group and number are set. */
void momi_consumer_link(struct momi_machine *machine, struct momi_consumer *consumer);
/* A new one with empty leases, in no list; NULL: no memory (never inside a reserve). */
struct momi_consumer *momi_consumer_new(struct momi_session *session, uint64_t id);
/* Out of everything, and freed. Its leases are gone already. */
void momi_consumer_end(struct momi_machine *machine, struct momi_consumer *consumer);
/* Forgets the records from number `kept` on that a checkpoint has written. */
void momi_consumer_forget(struct momi_machine *machine,
                          const struct momi_consumer *consumer, uint32_t kept);

enum momi_return {
    MOMI_RETURN_UNCOUNTED, /* was never handed out */
    MOMI_RETURN_MARKED,    /* may have been: shows as handed out once, is not counted */
    MOMI_RETURN_COUNTED,   /* was: over the limit it is a dead letter */
};
/* A message that was cut out of a lease of the group goes back to its place. */
void momi_checkout_return(struct momi_machine *machine, struct momi_group *group,
                          struct momi_run run, enum momi_return how);
/* Or to the dead-letter queue, or it is done with. */
void momi_checkout_bury(struct momi_machine *machine, struct momi_group *group,
                        const struct momi_run *run);
void momi_checkout_finish(struct momi_machine *machine, struct momi_group *group,
                          const struct momi_run *run);

#endif
