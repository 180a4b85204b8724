/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leases of one consumer: runs of messages in a ring, by rising token and delivery
 * number (M3, M5).
 *
 * Between two commands every element holds messages. While a command is carried out, what
 * was cut out whole stays as an element without messages, so that positions do not move
 * under whoever walks; momi_lease_settle ends that. Deadlines rise with the position,
 * unless a lease was extended out of order: then `dues_mixed` is set, until no lease is
 * left.
 *
 * Only the ring, `leased`, `handed` and the machine's due heap are kept here; checkout.c
 * and settle.c keep the rest.
 */
#ifndef MOMI_CORE_LEASE_H
#define MOMI_CORE_LEASE_H

#include "core/machine_internal.h"

static inline struct momi_lease *momi_lease_at(const struct momi_consumer *consumer,
                                               size_t position) {
    return momi_ring_at(&consumer->leases, position);
}
static inline uint64_t momi_lease_end(const struct momi_lease *lease) {
    return lease->counter + lease->run.count;
}

/* Adds messages at the end, where they continue the last lease into it. */
void momi_lease_push(struct momi_machine *machine, struct momi_consumer *consumer,
                     const struct momi_lease *lease);
/* Position of the lease that holds the token, else of the next one with messages, else
 * the ring's count. */
size_t momi_lease_find(const struct momi_consumer *consumer, uint64_t counter);
/* Cuts the tokens [from, to) out of the lease at `position`, in which they lie. */
struct momi_lease momi_lease_cut(struct momi_machine *machine,
                                 struct momi_consumer *consumer, size_t position,
                                 uint64_t from, uint64_t to);
/* The tokens [from, to) of the lease at `position`, in which they lie, become due at
 * `due_us`. */
void momi_lease_extend(struct momi_machine *machine, struct momi_consumer *consumer,
                       size_t position, uint64_t from, uint64_t to, uint64_t due_us);
/* M4: told as handed out up to this delivery number: the countdown starts where it has
 * not. */
void momi_lease_hand_out(struct momi_machine *machine, struct momi_consumer *consumer,
                         uint64_t delivery, uint64_t due_us);
/* After a command's cuts: no empty elements, and the consumer's place in the due heap. */
void momi_lease_settle(struct momi_machine *machine, struct momi_consumer *consumer);
/* The earliest deadline; MOMI_NEVER: none. */
uint64_t momi_lease_due(const struct momi_consumer *consumer);

#endif
