/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The naive model of the state machine for test_machine_model.c: every message one row of
 * an array, what each command does to the rows, and the comparison of all of it with a
 * machine.
 */
#ifndef MOM_TESTS_MACHINE_MODEL_H
#define MOM_TESTS_MACHINE_MODEL_H

#include "unit/machine_fixture.h"

enum {
    CLIENTS = 3,
    CONSUMERS = 3, /* ids 1 to 3 in each session */
    STREAMS = 5,   /* queues q0 q1 q2, topics t0 t1 */
    QUEUES = 3,
    SUBSCRIPTIONS = 3, /* s0 s1 s2 of each topic */
    KEYS = 4,
    GROUPS = 2 * (QUEUES + 2 * SUBSCRIPTIONS), /* and the dead-letter queue of each */
    MESSAGES_MAX = 4096,                       /* of one group, over its life */
};

static const char *const keys[KEYS] = {"a", "a.b", "b.b", "c.a.b"};
static const char *const filters[] = {NULL, "a.#", "*.b", "c.*.*"};

struct message {
    uint64_t sequence;
    uint64_t index; /* where its bytes are */
    uint32_t slot;
    uint32_t deliveries;
    bool is_there;
    /* As seen in the machine. */
    bool is_leased;
    struct momi_session_id session;
    uint64_t consumer;
    uint64_t counter;
    uint64_t due_us;
};

struct group {
    bool exists;
    bool is_dead_letters; /* the queue beside it */
    int filter;
    bool ignore_own;
    uint64_t creator;
    int owner; /* client of a temporary one; -1: none */
    uint64_t fill_from, fill_to;
    struct message *messages; /* by sequence; GROUPS arrays of MESSAGES_MAX */
    size_t count;
    uint64_t added, acked, dead, dropped;
};

struct kept {
    uint64_t sequence;
    uint64_t index;
    uint32_t slot;
    int key;
    uint64_t publisher;
};

struct stream {
    bool exists;
    uint64_t next;
    uint64_t messages_max;
    uint64_t retention_count;
    uint32_t deliveries_max;
    bool no_dead_letter;
    struct kept history[MESSAGES_MAX];
    size_t history_from, history_to;
};

struct model {
    struct world *world;
    struct momi_rng rng;
    struct client clients[CLIENTS];
    uint64_t incarnation[CLIENTS];
    struct stream streams[STREAMS];
    struct stream dead_streams[GROUPS]; /* `exists` and `next` only */
    struct group groups[GROUPS];
    struct message *all;
    uint64_t counter_seen;
    uint64_t checks;
};

static inline uint64_t draw(struct model *model, uint64_t high) {
    return momi_rng_between(&model->rng, 0, high);
}

static inline bool chance(struct model *model, unsigned percent) {
    return draw(model, 99) < percent;
}

static inline bool is_topic(int stream) { return stream >= QUEUES; }
static inline enum momi_kind kind_of(int stream) {
    return is_topic(stream) ? MOMI_KIND_TOPIC : MOMI_KIND_QUEUE;
}

static const char *stream_name(int stream) {
    static const char *const names[] = {"q0", "q1", "q2", "t0", "t1"};
    return names[stream];
}

static const char *subscription_name(int subscription) {
    static const char *const names[] = {"s0", "s1", "s2"};
    return names[subscription];
}

/* Groups: queues, then subscriptions by topic; behind them their dead-letter queues. */
static inline int origin_of(int group) { return group % (GROUPS / 2); }
static inline int dead_of(int group) { return group + GROUPS / 2; }
static inline bool is_dead(int group) { return group >= GROUPS / 2; }
static inline int stream_of_group(int group) {
    int origin = origin_of(group);
    return origin < QUEUES ? origin : QUEUES + (origin - QUEUES) / SUBSCRIPTIONS;
}
static inline int group_in(int stream, int subscription) {
    return is_topic(stream) ? QUEUES + (stream - QUEUES) * SUBSCRIPTIONS + subscription
                            : stream;
}

struct address {
    enum momi_kind kind;
    char name[64];
    const char *subscription;
};

static inline struct address address_of(int group) {
    struct address address = {.subscription = ""};
    int stream = stream_of_group(group);
    int origin = origin_of(group);
    const char *name =
        origin < QUEUES ? "" : subscription_name((origin - QUEUES) % SUBSCRIPTIONS);
    if (!is_dead(group)) {
        address.kind = kind_of(stream);
        snprintf(address.name, sizeof address.name, "%s", stream_name(stream));
        address.subscription = name;
        return address;
    }
    address.kind = MOMI_KIND_QUEUE;
    if (origin < QUEUES) {
        snprintf(address.name, sizeof address.name, "$dead/queue/%s",
                 stream_name(stream));
    } else {
        snprintf(address.name, sizeof address.name, "$dead/topic/%s/%s",
                 stream_name(stream), name);
    }
    return address;
}

static inline struct momi_group *machine_group(struct model *model, int group) {
    struct address address = address_of(group);
    return group_of(model->world, address.kind, address.name, address.subscription);
}

/* --- what the model does ---------------------------------------------------------- */

static inline struct message *add_message(struct group *group, uint64_t sequence,
                                          uint64_t index, uint32_t slot) {
    CHECK(group->count < MESSAGES_MAX);
    size_t at = group->count++;
    while (at > 0 && group->messages[at - 1].sequence > sequence) {
        group->messages[at] = group->messages[at - 1];
        at--;
    }
    group->messages[at] = (struct message){
        .sequence = sequence, .index = index, .slot = slot, .is_there = true};
    group->added++;
    return &group->messages[at];
}

static inline uint64_t there(const struct group *group) {
    uint64_t count = 0;
    for (size_t i = 0; i < group->count; i++) {
        count += group->messages[i].is_there;
    }
    return count;
}

static inline void reset_group(struct group *group) {
    struct message *messages = group->messages;
    *group = (struct group){.messages = messages, .owner = -1};
}

static inline void end_group(struct model *model, int group) {
    reset_group(&model->groups[group]);
}

static inline bool wants(const struct group *group, int key, uint64_t publisher) {
    if (group->ignore_own && group->creator == publisher) {
        return false;
    }
    return filters[group->filter] == NULL ||
           momi_filter_matches(momi_slice_str(filters[group->filter]),
                               momi_slice_str(keys[key]));
}

static inline void bury(struct model *model, int at, struct message *message) {
    struct group *group = &model->groups[at];
    message->is_there = false;
    group->dead++;
    if (is_dead(at) || model->streams[stream_of_group(at)].no_dead_letter) {
        return;
    }
    int dead = dead_of(at);
    struct stream *stream = &model->dead_streams[dead];
    if (!stream->exists) {
        *stream = (struct stream){.exists = true, .next = 1};
        reset_group(&model->groups[dead]);
        model->groups[dead].exists = true;
    }
    add_message(&model->groups[dead], stream->next++, message->index, message->slot);
}

enum how { UNCOUNTED, MARKED, COUNTED };

static inline void give_back(struct model *model, int at, struct message *message,
                             enum how how) {
    message->is_leased = false;
    if (how == COUNTED) {
        message->deliveries++;
    } else if (how == MARKED && message->deliveries == 0) {
        message->deliveries = 1;
    }
    uint32_t most = model->streams[stream_of_group(at)].deliveries_max;
    if (how == COUNTED && !is_dead(at) && message->deliveries >= most) {
        bury(model, at, message);
    }
}

/* The messages of a consumer, by token, and where they are. */
struct held {
    int group;
    size_t count;
    size_t list[MESSAGES_MAX]; /* positions in the group's messages */
};

static inline void held_by(struct model *model, struct momi_session_id session,
                           uint64_t consumer, struct held *held) {
    held->count = 0;
    held->group = -1;
    for (int at = 0; at < GROUPS; at++) {
        struct group *group = &model->groups[at];
        for (size_t i = 0; group->exists && i < group->count; i++) {
            struct message *message = &group->messages[i];
            if (!message->is_there || !message->is_leased ||
                message->consumer != consumer ||
                !momi_session_id_equal(message->session, session)) {
                continue;
            }
            held->group = at;
            size_t place = held->count++;
            while (place > 0 &&
                   group->messages[held->list[place - 1]].counter > message->counter) {
                held->list[place] = held->list[place - 1];
                place--;
            }
            held->list[place] = i;
        }
    }
}

static inline void lose_consumer(struct model *model, struct momi_session_id session,
                                 uint64_t consumer, enum momi_detach detach) {
    static struct held held;
    held_by(model, session, consumer, &held);
    bool has_counted = false;
    for (size_t i = 0; i < held.count; i++) {
        struct message *message = &model->groups[held.group].messages[held.list[i]];
        bool counts =
            message->due_us != 0 || (detach == MOMI_DETACH_LOST && !has_counted);
        enum how how = counts                        ? COUNTED
                       : detach == MOMI_DETACH_CLEAN ? UNCOUNTED
                                                     : MARKED;
        has_counted = has_counted || message->due_us == 0;
        give_back(model, held.group, message, how);
    }
}

static inline void lose_session(struct model *model, int client,
                                enum momi_detach detach) {
    /* In the order of attachment, as dead letters get their sequences in it. */
    struct momi_session *session = session_of(&model->clients[client]);
    if (session == NULL) {
        return;
    }
    MOMI_LIST_FOR_EACH (link, &session->consumers) {
        lose_consumer(model, session->id,
                      MOMI_CONTAINER_OF(link, struct momi_consumer, session_link)->id,
                      detach);
    }
}

static inline void end_temporary(struct model *model, int client) {
    for (int at = 0; at < GROUPS; at++) {
        if (model->groups[at].exists && model->groups[at].owner == client) {
            end_group(model, at);
        }
    }
}

/* --- looking at the machine ------------------------------------------------------- */

struct look {
    struct model *model;
    struct group *group;
    size_t at; /* next message of the group to be met */
    uint64_t ready;
    bool are_leased;
};

static inline struct message *find_message(struct group *group, uint64_t sequence) {
    for (size_t i = 0; i < group->count; i++) {
        if (group->messages[i].sequence == sequence) {
            return &group->messages[i];
        }
    }
    return NULL;
}

static inline void look_at_ready(void *user, const struct momi_run *run) {
    struct look *look = user;
    for (uint32_t i = 0; i < run->count; i++) {
        struct message *message = find_message(look->group, run->sequence + i);
        assert_non_null(message);
        CHECK(message->is_there);
        CHECK_EQ(message->index, run->index);
        CHECK_EQ(message->slot, run->slot + i);
        CHECK_EQ(message->deliveries, run->deliveries);
        CHECK(!message->is_leased); /* a lease ends only as the model says */
        look->ready++;
    }
}

static inline void look_at_lease(struct look *look, const struct momi_consumer *consumer,
                                 const struct momi_lease *lease) {
    for (uint32_t i = 0; i < lease->run.count; i++) {
        struct message *message = find_message(look->group, lease->run.sequence + i);
        assert_non_null(message);
        CHECK(message->is_there);
        CHECK_EQ(message->index, lease->run.index);
        CHECK_EQ(message->slot, lease->run.slot + i);
        CHECK_EQ(message->deliveries, lease->run.deliveries);
        if (message->is_leased) {
            CHECK(momi_session_id_equal(message->session, consumer->session->id));
            CHECK_EQ(message->consumer, consumer->id);
            CHECK_EQ(message->counter, lease->counter + i);
            CHECK_EQ(message->due_us, lease->due_us);
        } else {
            CHECK(lease->counter + i > look->model->counter_seen); /* a fresh token */
            CHECK_EQ(lease->due_us, 0);
            CHECK(look->group->fill_from == look->group->fill_to ||
                  message->sequence < look->group->fill_from);
            message->is_leased = true;
            message->session = consumer->session->id;
            message->consumer = consumer->id;
            message->counter = lease->counter + i;
            message->due_us = 0;
        }
    }
}

static inline void look_at_group(struct model *model, int at) {
    struct group *group = &model->groups[at];
    struct momi_group *found = machine_group(model, at);
    CHECK_EQ(found != NULL, group->exists);
    if (found == NULL) {
        return;
    }
    struct look look = {.model = model, .group = group};
    uint64_t leased = 0;
    MOMI_LIST_FOR_EACH (link, &found->consumers) {
        const struct momi_consumer *consumer =
            MOMI_CONTAINER_OF(link, struct momi_consumer, group_link);
        CHECK(consumer->delivered <= consumer->credit || consumer->credit == 0 ||
              consumer->leased > 0);
        for (size_t i = 0; i < consumer->leases.count; i++) {
            const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
            look_at_lease(&look, consumer, lease);
            leased += lease->run.count;
        }
    }
    momi_runs_each(&found->ready, look_at_ready, &look);
    CHECK_EQ(look.ready, found->ready.messages);
    CHECK_EQ(leased, found->leased);
    CHECK_EQ(look.ready + leased, there(group));
    CHECK_EQ(group->added,
             look.ready + leased + group->acked + group->dead + group->dropped);
    CHECK_EQ(found->dead_lettered, group->dead);
    CHECK_EQ(found->fill_from, group->fill_from);
    CHECK_EQ(found->fill_to, group->fill_to);
    model->checks++;
}

struct look_history {
    const struct stream *stream;
    size_t at;
};

static inline void look_at_kept(void *user, const struct momi_run *run) {
    struct look_history *look = user;
    for (uint32_t i = 0; i < run->count; i++) {
        CHECK(look->at < look->stream->history_to);
        const struct kept *kept = &look->stream->history[look->at++];
        CHECK_EQ(kept->sequence, run->sequence + i);
        CHECK_EQ(kept->index, run->index);
        CHECK_EQ(kept->slot, run->slot + i);
    }
}

static inline void look_at_all(struct model *model) {
    for (int at = 0; at < GROUPS; at++) {
        look_at_group(model, at);
    }
    for (int at = 0; at < STREAMS; at++) {
        const struct stream *stream = &model->streams[at];
        const struct momi_stream *found =
            stream_of(model->world, kind_of(at), stream_name(at));
        CHECK_EQ(found != NULL, stream->exists);
        if (found != NULL) {
            CHECK_EQ(found->sequence_next, stream->next);
            struct look_history look = {.stream = stream, .at = stream->history_from};
            momi_runs_each(&found->history, look_at_kept, &look);
            CHECK_EQ(look.at, stream->history_to);
        }
    }
    model->counter_seen = model->world->machine.counter;
}

#endif
