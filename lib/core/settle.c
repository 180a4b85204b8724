/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of leased messages: CMD_CONSUME (credit, hand-out, settlements) and leases
 * that run out (M3, M4, M6).
 *
 * A settlement names consecutive tokens. Those that the consumer does not hold (any more)
 * are skipped: an old token changes nothing. Messages given back are assigned again only
 * after the whole command, so that a turn sees all of it.
 */
#include "core/checkout_internal.h"

enum { SETTLE_BYTES_MIN = 1 + 4 + 8 + 1 };

struct consume {
    uint64_t consumer;
    uint64_t credit;
    uint64_t handed;
    uint64_t settles_count;
    struct momi_slice settles;
};

static bool read_settle(struct momi_reader *in, struct momi_settle *settle) {
    uint8_t action = momi_get_u8(in);
    settle->token.epoch = momi_get_u32(in);
    settle->token.counter = momi_get_u64(in);
    uint64_t count = momi_get_varint(in);
    if (in->failed || action < MOMI_SETTLE_ACK || action > MOMI_SETTLE_EXTEND ||
        count == 0 || count > MOMI_CREDIT_MAX ||
        settle->token.counter > UINT64_MAX - count) {
        return false;
    }
    settle->action = (enum momi_settle_action)action;
    settle->count = (uint32_t)count;
    return true;
}

/* All of it is checked before anything is changed. */
static bool consume_parse(struct momi_slice body, struct consume *consume) {
    struct momi_reader in = momi_reader(body);
    consume->consumer = momi_get_u64(&in);
    consume->credit = momi_get_u64(&in);
    consume->handed = momi_get_u64(&in);
    consume->settles_count = momi_get_varint(&in);
    size_t left = momi_reader_left(&in);
    if (in.failed || consume->settles_count > left / SETTLE_BYTES_MIN) {
        return false;
    }
    consume->settles = momi_slice(in.at, left);
    for (uint64_t i = 0; i < consume->settles_count; i++) {
        struct momi_settle settle;
        if (!read_settle(&in, &settle)) {
            return false;
        }
    }
    return momi_reader_done(&in);
}

void momi_checkout_put_consume(struct momi_bytes *out, uint64_t consumer, uint64_t credit,
                               uint64_t handed, const struct momi_settle *settles,
                               size_t settles_count) {
    momi_put_u64(out, consumer);
    momi_put_u64(out, credit);
    momi_put_u64(out, handed);
    momi_put_varint(out, settles_count);
    for (size_t i = 0; i < settles_count; i++) {
        MOMI_ASSERT(settles[i].count > 0);
        MOMI_ASSERT(settles[i].count <= MOMI_CREDIT_MAX);
        momi_put_u8(out, (uint8_t)settles[i].action);
        momi_put_u32(out, settles[i].token.epoch);
        momi_put_u64(out, settles[i].token.counter);
        momi_put_varint(out, settles[i].count);
    }
}

static void settle_piece(struct momi_machine *machine, struct momi_consumer *consumer,
                         size_t position, uint64_t from, uint64_t to,
                         enum momi_settle_action action) {
    struct momi_group *group = consumer->group;
    if (action == MOMI_SETTLE_EXTEND) {
        momi_lease_extend(machine, consumer, position, from, to,
                          momi_due_after(machine->elapsed_us, consumer->lease_us));
        return;
    }
    struct momi_lease piece = momi_lease_cut(machine, consumer, position, from, to);
    switch (action) {
    case MOMI_SETTLE_ACK:
        momi_checkout_finish(machine, group, &piece.run);
        break;
    case MOMI_SETTLE_GIVE_BACK:
        momi_checkout_return(machine, group, piece.run, MOMI_RETURN_COUNTED);
        break;
    case MOMI_SETTLE_REJECT:
        momi_checkout_bury(machine, group, &piece.run);
        break;
    case MOMI_SETTLE_RETURN:
        momi_checkout_return(machine, group, piece.run, MOMI_RETURN_UNCOUNTED);
        break;
    default:
        MOMI_ASSERT(false);
    }
}

/* Returns how many messages it concerned. */
static uint64_t settle_tokens(struct momi_machine *machine,
                              struct momi_consumer *consumer, uint64_t from, uint64_t to,
                              enum momi_settle_action action) {
    uint64_t settled = 0;
    while (from < to) {
        size_t position = momi_lease_find(consumer, from);
        if (position == consumer->leases.count) {
            break;
        }
        const struct momi_lease *lease = momi_lease_at(consumer, position);
        if (lease->counter >= to) {
            break;
        }
        from = from > lease->counter ? from : lease->counter;
        uint64_t end = momi_lease_end(lease);
        end = end < to ? end : to;
        settle_piece(machine, consumer, position, from, end, action);
        settled += end - from;
        from = end;
    }
    return settled;
}

/* The deliberate bug OLD_TOKEN_ACCEPTED: whoever had a message before settles it for the
 * one who has it now. */
static uint64_t settle_for_others(struct momi_machine *machine,
                                  const struct momi_consumer *consumer,
                                  const struct momi_settle *settle) {
    MOMI_LIST_FOR_EACH (link, &consumer->group->consumers) {
        struct momi_consumer *other =
            MOMI_CONTAINER_OF(link, struct momi_consumer, group_link);
        if (other->leases.count == 0) {
            continue;
        }
        const struct momi_lease *lease = momi_lease_at(other, 0);
        if (lease->run.deliveries > 0 && lease->counter > settle->token.counter) {
            uint64_t settled = settle_tokens(machine, other, lease->counter,
                                             lease->counter + 1, settle->action);
            momi_lease_settle(machine, other);
            momi_consumer_dirty(machine, other);
            return settled;
        }
    }
    return 0;
}

static uint64_t settle_all(struct momi_machine *machine, struct momi_consumer *consumer,
                           const struct consume *consume) {
    struct momi_reader in = momi_reader(consume->settles);
    uint64_t settled = 0;
    for (uint64_t i = 0; i < consume->settles_count; i++) {
        struct momi_settle settle;
        bool is_good = read_settle(&in, &settle);
        MOMI_ASSERT(is_good); /* consume_parse has read it */
        if (settle.token.epoch != machine->epoch && !MUTANT(OLD_TOKEN_ACCEPTED)) {
            continue;
        }
        uint64_t from = settle.token.counter;
        uint64_t found =
            settle_tokens(machine, consumer, from, from + settle.count, settle.action);
        if (MUTANT(OLD_TOKEN_ACCEPTED) && found == 0) {
            momi_lease_settle(machine, consumer);
            found = settle_for_others(machine, consumer, &settle);
        }
        settled += found;
    }
    return settled;
}

/* M5: absolute; it may sink, and leases and credit together have a bound. */
static void set_credit(struct momi_consumer *consumer, uint64_t credit) {
    uint64_t most = consumer->delivered;
    if (consumer->leased < MOMI_CREDIT_MAX) {
        most += MOMI_CREDIT_MAX - consumer->leased;
    }
    credit = credit < most ? credit : most;
    consumer->credit = credit > consumer->delivered ? credit : consumer->delivered;
}

struct momi_result momi_checkout_consume(struct momi_machine *machine,
                                         struct momi_session *session,
                                         struct momi_slice body) {
    struct consume consume;
    if (!consume_parse(body, &consume)) {
        return (struct momi_result){.error = MOM_INVALID};
    }
    struct momi_consumer *consumer =
        momi_machine_consumer(machine, session, consume.consumer);
    if (consumer == NULL) {
        return (struct momi_result){.error = MOM_NOT_FOUND};
    }
    momi_lease_hand_out(machine, consumer, consume.handed,
                        momi_due_after(machine->elapsed_us, consumer->lease_us));
    uint64_t settled = settle_all(machine, consumer, &consume);
    machine->counters->messages_settled += settled;
    momi_lease_settle(machine, consumer);
    set_credit(consumer, consume.credit);
    momi_consumer_wait(machine, consumer);
    momi_consumer_dirty(machine, consumer);
    momi_checkout_assign(machine, consumer->group);
    return (struct momi_result){.error = MOM_OK, .value = settled};
}

/* Cuts out what is due, at most `max` messages of it; returns how many. */
static uint32_t expire_consumer(struct momi_machine *machine,
                                struct momi_consumer *consumer, uint32_t max) {
    enum momi_return how =
        MUTANT(EXPIRY_NOT_COUNTED) ? MOMI_RETURN_UNCOUNTED : MOMI_RETURN_COUNTED;
    uint32_t expired = 0;
    for (size_t i = 0; i < consumer->leases.count && expired < max; i++) {
        const struct momi_lease *lease = momi_lease_at(consumer, i);
        if (lease->due_us == 0 || lease->due_us > machine->elapsed_us) {
            if (consumer->dues_mixed) {
                continue;
            }
            break;
        }
        uint32_t left = max - expired;
        uint32_t count = lease->run.count < left ? lease->run.count : left;
        struct momi_lease piece =
            momi_lease_cut(machine, consumer, i, lease->counter, lease->counter + count);
        momi_checkout_return(machine, consumer->group, piece.run, how);
        expired += count;
    }
    momi_lease_settle(machine, consumer);
    momi_consumer_dirty(machine, consumer);
    return expired;
}

uint32_t momi_checkout_expire(struct momi_machine *machine, uint32_t max) {
    uint32_t expired = 0;
    while (expired < max) {
        struct momi_heap_node *top = momi_heap_top(&machine->due);
        if (top == NULL || top->due > machine->elapsed_us) {
            break;
        }
        struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(top, struct momi_consumer, due);
        uint32_t count = expire_consumer(machine, consumer, max - expired);
        MOMI_ASSERT(count > 0); /* what is due is there */
        expired += count;
        momi_checkout_assign(machine, consumer->group);
    }
    machine->counters->leases_expired += expired;
    return expired;
}
