/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers and ready runs in checkpoints: see checkout.h.
 *
 *   'c' session id, consumer, part 0:  u8 format, u64 group, varints: number, lease,
 *                                      credit, delivered, handed, turn; leases
 *   'c' session id, consumer, part n:  u8 format; more leases
 *   'r' group, block:                  a block of runs (runs_block.h)
 *
 * A lease is relative to the one before it in the same record. A consumer's records are
 * all written when it changed: with few leases, as usual, that is one. The bytes that are
 * loaded come from a disk or a peer; what does not fit is false.
 */
#include "core/checkout_internal.h"

#include "base/pack.h"

enum {
    FORMAT = 1,
    LEASE_BYTES_MAX = 5 + 10 + 10 + 10 + 10 + 5 + 5 + 10,
    SESSION_BYTES = 17, /* of a session's key */
    PARTS_MAX = 2048,
};

_Static_assert((MOMI_BLOCK_BYTES_MAX / LEASE_BYTES_MAX - 3) * PARTS_MAX >=
                   MOMI_CREDIT_MAX,
               "all leases of a consumer fit its records");

static struct momi_key consumer_key(const struct momi_consumer *consumer, uint32_t part) {
    struct momi_key key = momi_record_session_key(consumer->session->id);
    MOMI_ASSERT(key.size == SESSION_BYTES);
    key.bytes[0] = 'c';
    for (unsigned i = 0; i < 8; i++) {
        key.bytes[key.size++] = (uint8_t)(consumer->id >> (56 - 8 * i));
    }
    for (unsigned i = 0; i < 4; i++) {
        key.bytes[key.size++] = (uint8_t)(part >> (24 - 8 * i));
    }
    return key;
}

void momi_consumer_forget(struct momi_machine *machine,
                          const struct momi_consumer *consumer, uint32_t kept) {
    for (uint32_t part = kept; part < consumer->records_saved; part++) {
        struct momi_key key = consumer_key(consumer, part);
        momi_record_deleted(machine, momi_key_slice(&key));
    }
}

static uint64_t zigzag(uint64_t difference) {
    return difference << 1 ^ (difference >> 63 != 0 ? UINT64_MAX : 0);
}
static uint64_t unzigzag(uint64_t value) {
    return value >> 1 ^ ((value & 1) != 0 ? UINT64_MAX : 0);
}

/* --- saving ----------------------------------------------------------------------- */

static void put_head(struct momi_bytes *out, const struct momi_consumer *consumer) {
    uint64_t turn = consumer->turn;
    if (MUTANT(TURN_NOT_SAVED) && turn != 0) {
        turn = consumer->number;
    }
    momi_put_u64(out, consumer->group->id);
    momi_put_varint(out, consumer->number);
    momi_put_varint(out, consumer->lease_us);
    momi_put_varint(out, consumer->credit);
    momi_put_varint(out, consumer->delivered);
    momi_put_varint(out, consumer->handed);
    momi_put_varint(out, turn);
}

static void put_lease(struct momi_bytes *out, const struct momi_lease *before,
                      const struct momi_lease *lease) {
    uint32_t count = before->run.count;
    momi_put_varint(out, lease->run.count);
    momi_put_varint(out, lease->counter - (before->counter + count));
    momi_put_varint(out, lease->delivery - (before->delivery + count));
    momi_put_varint(out, zigzag(lease->run.sequence - (before->run.sequence + count)));
    momi_put_varint(out, zigzag(lease->run.index - before->run.index));
    momi_put_varint(out, lease->run.slot);
    momi_put_varint(out, lease->run.deliveries);
    momi_put_varint(out, lease->due_us);
}

static void save_consumer(struct momi_machine *machine, struct momi_consumer *consumer,
                          uint8_t side, struct momi_batch *batch) {
    uint8_t room[MOMI_BLOCK_BYTES_MAX];
    uint32_t part = 0;
    size_t next = 0;
    do {
        /* Never grows: a record is closed while one more lease would fit. */
        struct momi_bytes out = {.data = room, .room = sizeof room};
        momi_put_u8(&out, FORMAT);
        if (part == 0) {
            put_head(&out, consumer);
        }
        struct momi_lease before = {.run = {.count = 0}};
        while (next < consumer->leases.count &&
               out.size + LEASE_BYTES_MAX <= sizeof room) {
            const struct momi_lease *lease = momi_lease_at(consumer, next++);
            put_lease(&out, &before, lease);
            before = *lease;
        }
        MOMI_ASSERT(!out.failed);
        MOMI_ASSERT(out.data == room);
        struct momi_key key = consumer_key(consumer, part++);
        momi_batch_put_record(batch, machine->shard, side, momi_key_slice(&key),
                              momi_bytes_slice(&out));
    } while (next < consumer->leases.count);
    for (uint32_t gone = part; gone < consumer->records_saved; gone++) {
        struct momi_key key = consumer_key(consumer, gone);
        momi_batch_delete_record(batch, machine->shard, side, momi_key_slice(&key));
    }
    consumer->records_saved = part;
}

struct ready_saver {
    struct momi_batch *batch;
    uint64_t group;
    uint32_t shard;
    uint8_t side;
};

static void put_block(void *user, uint32_t block, const struct momi_slice *value) {
    const struct ready_saver *saver = user;
    struct momi_key key = momi_record_block_key('r', saver->group, block);
    if (value != NULL) {
        momi_batch_put_record(saver->batch, saver->shard, saver->side,
                              momi_key_slice(&key), *value);
    } else {
        momi_batch_delete_record(saver->batch, saver->shard, saver->side,
                                 momi_key_slice(&key));
    }
}

void momi_checkout_save(struct momi_machine *machine, uint8_t side,
                        struct momi_batch *batch) {
    MOMI_LIST_FOR_EACH (link, &machine->dirty_groups) {
        struct momi_group *group = MOMI_CONTAINER_OF(link, struct momi_group, dirty_link);
        struct ready_saver saver = {
            .batch = batch, .group = group->id, .shard = machine->shard, .side = side};
        momi_runs_save(&group->ready, put_block, &saver);
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &machine->dirty_consumers) {
        save_consumer(machine, MOMI_CONTAINER_OF(link, struct momi_consumer, dirty_link),
                      side, batch);
        momi_list_remove(link);
    }
}

/* --- loading ---------------------------------------------------------------------- */

static struct momi_consumer *load_head(struct momi_machine *machine,
                                       struct momi_session *session, uint64_t id,
                                       struct momi_reader *in) {
    if (machine->consumers_count >= MOMI_CONSUMERS_MAX ||
        momi_machine_consumer(machine, session, id) != NULL) {
        return NULL;
    }
    struct momi_consumer *consumer = momi_consumer_new(session, id);
    if (consumer == NULL) {
        return NULL;
    }
    momi_consumer_link(machine, consumer);
    consumer->group_id = momi_get_u64(in);
    consumer->number = momi_get_varint(in);
    consumer->lease_us = momi_get_varint(in);
    consumer->credit = momi_get_varint(in);
    consumer->delivered = momi_get_varint(in);
    consumer->handed = momi_get_varint(in);
    consumer->turn = momi_get_varint(in);
    bool is_good = !in->failed && consumer->number > 0 && consumer->lease_us > 0 &&
                   consumer->handed <= consumer->delivered &&
                   (consumer->turn != 0) == (consumer->credit > consumer->delivered);
    return is_good ? consumer : NULL;
}

static bool read_lease(struct momi_reader *in, const struct momi_lease *before,
                       struct momi_lease *lease) {
    uint64_t count = momi_get_varint(in);
    uint64_t counter = momi_get_varint(in);
    uint64_t delivery = momi_get_varint(in);
    uint64_t sequence = unzigzag(momi_get_varint(in));
    uint64_t index = unzigzag(momi_get_varint(in));
    uint64_t slot = momi_get_varint(in);
    uint64_t deliveries = momi_get_varint(in);
    uint64_t due_us = momi_get_varint(in);
    if (in->failed || count == 0 || count > MOMI_CREDIT_MAX || counter > UINT64_MAX / 4 ||
        delivery > UINT64_MAX / 4 || slot > UINT32_MAX - count ||
        deliveries > UINT32_MAX) {
        return false;
    }
    uint32_t skipped = before->run.count;
    *lease = (struct momi_lease){
        .run = {.sequence = before->run.sequence + skipped + sequence,
                .count = (uint32_t)count,
                .slot = (uint32_t)slot,
                .index = before->run.index + index,
                .deliveries = (uint32_t)deliveries},
        .counter = before->counter + skipped + counter,
        .delivery = before->delivery + skipped + delivery,
        .due_us = due_us,
    };
    return lease->run.sequence > 0 && lease->run.sequence < UINT64_MAX / 2 &&
           lease->counter > 0 && lease->counter < UINT64_MAX / 2 && lease->delivery > 0 &&
           lease->delivery < UINT64_MAX / 2;
}

static bool load_leases(struct momi_machine *machine, struct momi_consumer *consumer,
                        struct momi_reader *in) {
    struct momi_lease before = {.run = {.count = 0}};
    while (momi_reader_left(in) > 0) {
        struct momi_lease lease;
        if (!read_lease(in, &before, &lease)) {
            return false;
        }
        size_t count = consumer->leases.count;
        const struct momi_lease *last =
            count == 0 ? NULL : momi_lease_at(consumer, count - 1);
        if (last != NULL && (lease.counter < momi_lease_end(last) ||
                             lease.delivery < last->delivery + last->run.count)) {
            return false;
        }
        if (lease.delivery + lease.run.count - 1 > consumer->delivered ||
            !momi_ring_reserve(&consumer->leases, count + 1)) {
            return false;
        }
        momi_lease_push(machine, consumer, &lease);
        before = lease;
    }
    return !in->failed;
}

static bool load_consumer(struct momi_machine *machine, struct momi_reader *key,
                          struct momi_slice value) {
    struct momi_session_id session_id = {0};
    session_id.epoch = momi_get_be32(key);
    session_id.index = momi_get_be64(key);
    session_id.place = momi_get_be32(key);
    uint64_t id = momi_get_be64(key);
    uint32_t part = momi_get_be32(key);
    struct momi_reader in = momi_reader(value);
    bool is_known = momi_get_u8(&in) == FORMAT;
    if (!momi_reader_done(key) || !is_known || part >= PARTS_MAX) {
        return false;
    }
    struct momi_session *session = momi_machine_session(machine, session_id);
    if (session == NULL) { /* sessions come first */
        return false;
    }
    struct momi_consumer *consumer = part == 0
                                         ? load_head(machine, session, id, &in)
                                         : momi_machine_consumer(machine, session, id);
    if (consumer == NULL || consumer->records_saved != part) {
        return false;
    }
    consumer->records_saved = part + 1;
    return load_leases(machine, consumer, &in);
}

bool momi_checkout_load(struct momi_machine *machine, struct momi_slice key,
                        struct momi_slice value) {
    struct momi_reader in = momi_reader(key);
    uint8_t letter = momi_get_u8(&in);
    if (letter == 'c') {
        return load_consumer(machine, &in, value);
    }
    uint64_t id = momi_get_be64(&in);
    uint32_t block = momi_get_be32(&in);
    if (letter != 'r' || !momi_reader_done(&in)) {
        return false;
    }
    struct momi_group *group = momi_group_by_id(machine, id); /* groups come first */
    return group != NULL && momi_runs_load(&group->ready, block, value);
}

/* --- the whole -------------------------------------------------------------------- */

/* Runs refer to entries that live, and to sequences that were given. */
struct weigh {
    const struct momi_machine *machine;
    uint64_t sequence_next;
    uint64_t bytes;
    bool is_good;
};

static void weigh_run(void *user, const struct momi_run *run) {
    struct weigh *weigh = user;
    struct momi_live_entry entry;
    /* Asked for first: it unpacks the block, so that the look into it is cheap. */
    uint64_t bytes = momi_live_message_bytes(weigh->machine->live, run->index);
    bool is_good = momi_live_find(weigh->machine->live, run->index, &entry) &&
                   run->slot < entry.slots && run->count <= entry.slots - run->slot &&
                   run->sequence + run->count <= weigh->sequence_next;
    if (!is_good) {
        weigh->is_good = false;
        return;
    }
    weigh->bytes += bytes * run->count;
}

static bool ready_loaded(struct momi_machine *machine, struct momi_group *group) {
    struct weigh weigh = {.machine = machine,
                          .sequence_next = group->stream->sequence_next,
                          .is_good = true};
    if (!momi_runs_loaded(&group->ready)) {
        return false;
    }
    momi_runs_each(&group->ready, weigh_run, &weigh);
    group->ready_bytes = weigh.bytes;
    return weigh.is_good;
}

static bool consumer_loaded(struct momi_machine *machine,
                            struct momi_consumer *consumer) {
    struct momi_group *group = momi_group_by_id(machine, consumer->group_id);
    if (group == NULL || consumer->number >= machine->id_next) {
        return false;
    }
    consumer->group = group;
    momi_list_push_back(&group->consumers, &consumer->group_link);
    struct weigh weigh = {.machine = machine,
                          .sequence_next = group->stream->sequence_next,
                          .is_good = true};
    uint64_t due_us = 1;
    for (size_t i = 0; i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_lease_at(consumer, i);
        weigh_run(&weigh, &lease->run);
        uint64_t own_us = lease->due_us == 0 ? MOMI_NEVER : lease->due_us;
        if (own_us < due_us) {
            consumer->dues_mixed = true;
        }
        due_us = own_us;
        if (momi_lease_end(lease) - 1 > machine->counter) {
            return false;
        }
    }
    group->leased += consumer->leased;
    group->leased_bytes += weigh.bytes;
    return weigh.is_good;
}

static void sort_in(struct momi_machine *machine, struct momi_consumer *consumer,
                    uint64_t by) {
    consumer->due.due = by;
    consumer->due.tie = consumer->number;
    momi_heap_insert(&machine->due, &consumer->due);
}

static struct momi_consumer *sort_out(struct momi_machine *machine) {
    struct momi_heap_node *top = momi_heap_top(&machine->due);
    if (top == NULL) {
        return NULL;
    }
    momi_heap_remove(&machine->due, top);
    return MOMI_CONTAINER_OF(top, struct momi_consumer, due);
}

/* Order of attachment: of a session's consumers and of a group's. The due heap is empty
 * as yet, has room for all, and sorts. */
static bool link_attached(struct momi_machine *machine) {
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        struct momi_session *session = MOMI_CONTAINER_OF(link, struct momi_session, link);
        MOMI_LIST_FOR_EACH (at, &session->consumers) {
            struct momi_consumer *consumer =
                MOMI_CONTAINER_OF(at, struct momi_consumer, session_link);
            sort_in(machine, consumer, consumer->number);
        }
    }
    struct momi_consumer *consumer;
    while ((consumer = sort_out(machine)) != NULL) {
        momi_list_remove(&consumer->session_link);
        momi_list_push_back(&consumer->session->consumers, &consumer->session_link);
        if (!consumer_loaded(machine, consumer)) {
            return false;
        }
    }
    return true;
}

static void link_waiting(struct momi_machine *machine) {
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        struct momi_session *session = MOMI_CONTAINER_OF(link, struct momi_session, link);
        MOMI_LIST_FOR_EACH (at, &session->consumers) {
            struct momi_consumer *consumer =
                MOMI_CONTAINER_OF(at, struct momi_consumer, session_link);
            if (consumer->turn != 0) {
                sort_in(machine, consumer, consumer->turn);
            }
        }
    }
    struct momi_consumer *consumer;
    while ((consumer = sort_out(machine)) != NULL) {
        struct momi_group *group = consumer->group;
        momi_list_push_back(&group->waiting, &consumer->waiting_link);
        group->waiting_count++;
        group->turn_last = consumer->turn;
    }
}

bool momi_checkout_loaded(struct momi_machine *machine) {
    MOMI_LIST_FOR_EACH (link, &machine->streams) {
        struct momi_stream *stream = MOMI_CONTAINER_OF(link, struct momi_stream, link);
        MOMI_LIST_FOR_EACH (at, &stream->groups) {
            if (!ready_loaded(machine, MOMI_CONTAINER_OF(at, struct momi_group, link))) {
                return false;
            }
        }
    }
    if (!momi_heap_reserve(&machine->due, machine->consumers_count) ||
        !link_attached(machine)) {
        return false;
    }
    link_waiting(machine);
    MOMI_LIST_FOR_EACH (link, &machine->sessions) {
        struct momi_session *session = MOMI_CONTAINER_OF(link, struct momi_session, link);
        MOMI_LIST_FOR_EACH (at, &session->consumers) {
            momi_lease_settle(machine,
                              MOMI_CONTAINER_OF(at, struct momi_consumer, session_link));
        }
    }
    return true;
}
