/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkout: which message goes to which consumer, and what becomes of it (M3 to M7). All
 * of it is computed when a committed command is applied, so that every replica knows
 * every lease.
 *
 * Called by machine.c only. Every function keeps these together: group.ready,
 * consumer.leases, the references in live.h, the due heap, the waiting list and the fresh
 * list.
 *
 * The bytes of a message are counted as the average of its entry (live.h message_bytes),
 * which is the same on every replica, does not change when the entry is hollowed, and
 * needs no size per message.
 */
#ifndef MOMI_CORE_CHECKOUT_H
#define MOMI_CORE_CHECKOUT_H

#include "core/machine.h"

/* Adds messages to a group (publish, fill, dead letter) and assigns what can be assigned.
 * References are taken here. */
void momi_checkout_add(struct momi_machine *machine, struct momi_group *group,
                       const struct momi_run *run);
/* Assigns ready messages to waiting consumers in fair turns, until one side is empty.
 * With W consumers waiting and N messages ready, a turn takes max(1, min(64, N / W))
 * messages, so that batches stay together and turns stay fair. */
void momi_checkout_assign(struct momi_machine *machine, struct momi_group *group);

/* A new consumer; MOM_EXISTS when the session has that number already, MOM_FULL over the
 * limits. */
int momi_checkout_attach(struct momi_machine *machine, struct momi_session *session,
                         uint64_t consumer, struct momi_group *group, uint64_t lease_us,
                         uint64_t credit);
/* Its messages return to their places: those told as handed out, and the lowest untold
 * one, count as a delivery (unless it is lost: only those told); over the limit they go
 * to the dead-letter queue. Frees the consumer.
 * CLEAN: by its own command, behind what it told; untold ones were never handed out.
 * UNSURE: its session was closed, but what it told before may not have come: untold ones
 * are marked. LOST: it was not heard any more. */
enum momi_detach { MOMI_DETACH_CLEAN, MOMI_DETACH_UNSURE, MOMI_DETACH_LOST };
void momi_checkout_detach(struct momi_machine *machine, struct momi_consumer *consumer,
                          enum momi_detach how);
/* All consumers of a session; none of them gets what another one leaves. */
void momi_checkout_detach_all(struct momi_machine *machine, struct momi_session *session,
                              enum momi_detach how);
/* Memory only, of all consumers of a session: the machine goes. */
void momi_checkout_free(struct momi_session *session);

/* CMD_CONSUME: (u64 consumer, u64 credit, u64 handed out through delivery, varint count,
 * then per settlement: u8 action, u32 epoch, u64 counter, varint tokens). Settlements
 * with unknown or old tokens are skipped: the value of the result counts the messages
 * settled. `credit` is absolute and may sink, not below `delivered`. */
struct momi_result momi_checkout_consume(struct momi_machine *machine,
                                         struct momi_session *session,
                                         struct momi_slice body);
void momi_checkout_put_consume(struct momi_bytes *out, uint64_t consumer, uint64_t credit,
                               uint64_t handed, const struct momi_settle *settles,
                               size_t settles_count);

/* Leases that are due at machine->elapsed_us, at most `max` messages of them; returns how
 * many. */
uint32_t momi_checkout_expire(struct momi_machine *machine, uint32_t max);

/* Everything waiting is dropped (purge); leases stay. Returns how many messages. */
uint64_t momi_checkout_purge(struct momi_machine *machine, struct momi_group *group);
/* The group goes: consumers end with `error` (machine->ended), all references are
 * released. The group's own struct is the caller's to free. */
void momi_checkout_drop(struct momi_machine *machine, struct momi_group *group,
                        int error);

/* Average bytes of a message of this entry, 0 when it is not live and is not the one that
 * was added last. */
uint64_t momi_checkout_message_bytes(const struct momi_machine *machine, uint64_t index);

/* Checkpoint of consumers (records 'c' session id, consumer, part) and of a group's ready
 * runs (records 'r' group id, block): those of machine->dirty_groups, which stay marked.
 * Deleted records are deleted before this. */
void momi_checkout_save(struct momi_machine *machine, uint8_t side,
                        struct momi_batch *batch);
bool momi_checkout_load(struct momi_machine *machine, struct momi_slice key,
                        struct momi_slice value);
/* After all records are loaded: links consumers into waiting lists and heaps. The fair
 * turn is restored in its order (it is state: consumers carry their turn number in their
 * record). */
bool momi_checkout_loaded(struct momi_machine *machine);

#endif
