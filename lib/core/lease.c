/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of a consumer: see lease.h. Tokens and delivery numbers rise together from one
 * element to the next, and an emptied element keeps its numbers, so both are searched by
 * halves.
 */
#include "core/lease.h"

#include "base/assert.h"

/* The part [from, to) of a lease, by token. */
static struct momi_lease slice(const struct momi_lease *lease, uint64_t from,
                               uint64_t to) {
    MOMI_ASSERT(lease->counter <= from);
    MOMI_ASSERT(from <= to);
    MOMI_ASSERT(to <= momi_lease_end(lease));
    uint32_t skipped = (uint32_t)(from - lease->counter);
    struct momi_lease part = *lease;
    part.run.sequence += skipped;
    part.run.slot += skipped;
    part.run.count = (uint32_t)(to - from);
    part.counter += skipped;
    part.delivery += skipped;
    return part;
}

static bool continues(const struct momi_lease *lease, const struct momi_lease *next) {
    return lease->run.count > 0 && momi_run_continues(&lease->run, &next->run) &&
           momi_lease_end(lease) == next->counter &&
           lease->delivery + lease->run.count == next->delivery &&
           lease->due_us == next->due_us;
}

static struct momi_lease *push(struct momi_machine *machine,
                               struct momi_consumer *consumer) {
    size_t room = consumer->leases.room;
    struct momi_lease *lease = momi_ring_push(&consumer->leases);
    MOMI_ASSERT(lease != NULL); /* reserved */
    machine->leases_bytes += (consumer->leases.room - room) * sizeof *lease;
    return lease;
}

void momi_lease_push(struct momi_machine *machine, struct momi_consumer *consumer,
                     const struct momi_lease *lease) {
    consumer->leased += lease->run.count;
    size_t count = consumer->leases.count;
    if (count > 0 && continues(momi_lease_at(consumer, count - 1), lease)) {
        momi_lease_at(consumer, count - 1)->run.count += lease->run.count;
        return;
    }
    *push(machine, consumer) = *lease;
}

size_t momi_lease_find(const struct momi_consumer *consumer, uint64_t counter) {
    size_t low = 0; /* those below begin at or below `counter` */
    size_t high = consumer->leases.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (momi_lease_at(consumer, middle)->counter <= counter) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low > 0 && momi_lease_end(momi_lease_at(consumer, low - 1)) > counter) {
        return low - 1;
    }
    while (low < consumer->leases.count && momi_lease_at(consumer, low)->run.count == 0) {
        low++;
    }
    return low;
}

/* Puts a lease behind `position`. An emptied element on the way takes up the shift. */
static void insert_behind(struct momi_machine *machine, struct momi_consumer *consumer,
                          size_t position, struct momi_lease lease) {
    size_t free = position + 1;
    while (free < consumer->leases.count &&
           momi_lease_at(consumer, free)->run.count > 0) {
        free++;
    }
    if (free == consumer->leases.count) {
        (void)push(machine, consumer);
    } else {
        consumer->leases_empty--;
    }
    for (; free > position + 1; free--) {
        *momi_lease_at(consumer, free) = *momi_lease_at(consumer, free - 1);
    }
    *momi_lease_at(consumer, free) = lease;
}

struct momi_lease momi_lease_cut(struct momi_machine *machine,
                                 struct momi_consumer *consumer, size_t position,
                                 uint64_t from, uint64_t to) {
    struct momi_lease *lease = momi_lease_at(consumer, position);
    struct momi_lease piece = slice(lease, from, to);
    struct momi_lease behind = slice(lease, to, momi_lease_end(lease));
    bool has_front = from > lease->counter;
    consumer->leased -= piece.run.count;
    if (has_front) {
        *lease = slice(lease, lease->counter, from);
        if (behind.run.count > 0) {
            insert_behind(machine, consumer, position, behind);
        }
    } else if (behind.run.count > 0) {
        *lease = behind;
    } else {
        lease->run.count = 0;
        consumer->leases_empty++;
    }
    return piece;
}

void momi_lease_extend(struct momi_machine *machine, struct momi_consumer *consumer,
                       size_t position, uint64_t from, uint64_t to, uint64_t due_us) {
    struct momi_lease *lease = momi_lease_at(consumer, position);
    struct momi_lease piece = slice(lease, from, to);
    struct momi_lease behind = slice(lease, to, momi_lease_end(lease));
    piece.due_us = due_us;
    consumer->dues_mixed = true;
    if (from > lease->counter) {
        *lease = slice(lease, lease->counter, from);
        insert_behind(machine, consumer, position, piece);
        position++;
    } else {
        *lease = piece;
    }
    if (behind.run.count > 0) {
        insert_behind(machine, consumer, position, behind);
    }
}

/* Position of the first lease that ends above this delivery number. */
static size_t find_delivery(const struct momi_consumer *consumer, uint64_t delivery) {
    size_t low = 0;
    size_t high = consumer->leases.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct momi_lease *lease = momi_lease_at(consumer, middle);
        if (lease->delivery + lease->run.count <= delivery + 1) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void momi_lease_hand_out(struct momi_machine *machine, struct momi_consumer *consumer,
                         uint64_t delivery, uint64_t due_us) {
    delivery = delivery < consumer->delivered ? delivery : consumer->delivered;
    if (delivery <= consumer->handed) {
        return;
    }
    for (size_t i = find_delivery(consumer, consumer->handed); i < consumer->leases.count;
         i++) {
        struct momi_lease *lease = momi_lease_at(consumer, i);
        if (lease->delivery > delivery) {
            break;
        }
        if (lease->due_us != 0 || lease->run.count == 0) {
            continue;
        }
        uint64_t told = delivery + 1 - lease->delivery;
        struct momi_lease rest = {.run = {.count = 0}};
        if (told < lease->run.count) {
            rest = slice(lease, lease->counter + told, momi_lease_end(lease));
            *lease = slice(lease, lease->counter, lease->counter + told);
        }
        lease->due_us = due_us;
        if (i > 0 && continues(momi_lease_at(consumer, i - 1), lease)) {
            momi_lease_at(consumer, i - 1)->run.count += lease->run.count;
            *lease = slice(lease, momi_lease_end(lease), momi_lease_end(lease));
            consumer->leases_empty++;
        }
        if (rest.run.count > 0) {
            insert_behind(machine, consumer, i, rest);
            break;
        }
    }
    consumer->handed = delivery;
}

static void drop_empty(struct momi_consumer *consumer) {
    struct momi_ring *leases = &consumer->leases;
    size_t front = 0;
    while (front < leases->count && momi_lease_at(consumer, front)->run.count == 0) {
        front++;
    }
    momi_ring_pop_front(leases, front);
    bool is_dense = consumer->leases_empty == front;
    consumer->leases_empty = 0;
    if (is_dense) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < leases->count; i++) {
        struct momi_lease *lease = momi_lease_at(consumer, i);
        if (lease->run.count == 0) {
            continue;
        }
        if (kept > 0 && continues(momi_lease_at(consumer, kept - 1), lease)) {
            momi_lease_at(consumer, kept - 1)->run.count += lease->run.count;
            continue;
        }
        if (kept != i) {
            *momi_lease_at(consumer, kept) = *lease;
        }
        kept++;
    }
    momi_ring_pop_back(leases, leases->count - kept);
}

uint64_t momi_lease_due(const struct momi_consumer *consumer) {
    uint64_t due_us = MOMI_NEVER;
    for (size_t i = 0; i < consumer->leases.count; i++) {
        uint64_t own_us = momi_lease_at(consumer, i)->due_us;
        if (own_us != 0 && own_us < due_us) {
            due_us = own_us;
        }
        if (!consumer->dues_mixed) {
            break;
        }
    }
    return due_us;
}

void momi_lease_settle(struct momi_machine *machine, struct momi_consumer *consumer) {
    drop_empty(consumer);
    if (consumer->leases.count == 0) {
        MOMI_ASSERT(consumer->leased == 0);
        consumer->dues_mixed = false;
    }
    struct momi_heap_node *node = &consumer->due;
    uint64_t due_us = momi_lease_due(consumer);
    if (due_us == MOMI_NEVER) {
        momi_heap_remove(&machine->due, node);
    } else if (node->position == MOMI_HEAP_NONE) {
        node->due = due_us;
        node->tie = consumer->number;
        momi_heap_insert(&machine->due, node);
    } else if (node->due != due_us) {
        node->due = due_us;
        momi_heap_update(&machine->due, node);
    }
}
