/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine against a naive model: every message one row of an array.
 *
 * Random commands of three clients (resent, reordered and malformed ones too) go to both.
 * The model says what each result must be, which messages each group has, and how often
 * each was delivered; who gets which message is looked up in the machine, and must keep
 * the promises of a lease: at most one, by a token above all before, in order, within
 * credit, kept until it is settled or runs out. Now and then the machine is saved, or
 * thrown away, loaded from its last checkpoint and brought up by the log: its hash must
 * be the same.
 *
 * Conservation, for each group at each step: messages added = ready + leased +
 * acknowledged + dead + dropped.
 */
#include "unit/machine_model.h"

enum { STEPS = 700 };

/* --- random commands -------------------------------------------------------------- */

static void create_step(struct model *model, struct client *client) {
    int at = (int)draw(model, STREAMS - 1);
    struct stream *stream = &model->streams[at];
    struct momi_stream_options options = {
        .messages_max = chance(model, 30) ? 10 + draw(model, 30) : 0,
        .deliveries_max = 1 + (uint32_t)draw(model, 3),
        .retention_count = is_topic(at) && chance(model, 60) ? 5 + draw(model, 40) : 0,
        .no_dead_letter = chance(model, 20),
    };
    int error = create(client, kind_of(at), stream_name(at), options).error;
    CHECK_EQ(error, stream->exists ? MOM_EXISTS : MOM_OK);
    if (error == MOM_OK) {
        stream->exists = true;
        stream->next = 1;
        stream->messages_max = options.messages_max;
        stream->deliveries_max = options.deliveries_max;
        stream->retention_count = options.retention_count;
        stream->no_dead_letter = options.no_dead_letter;
        stream->history_from = stream->history_to = 0;
        if (!is_topic(at)) {
            reset_group(&model->groups[at]);
            model->groups[at].exists = true;
        }
    }
}

static void delete_step(struct model *model, struct client *client) {
    int at = (int)draw(model, STREAMS - 1);
    struct stream *stream = &model->streams[at];
    int error =
        name_command(client, CMD_STREAM_DELETE, kind_of(at), stream_name(at)).error;
    CHECK_EQ(error, stream->exists ? MOM_OK : MOM_NOT_FOUND);
    if (error == MOM_OK) {
        stream->exists = false;
        for (int i = 0; i < (is_topic(at) ? SUBSCRIPTIONS : 1); i++) {
            end_group(model, group_in(at, i));
        }
    }
}

static uint64_t purge_group(struct group *group) {
    uint64_t count = 0;
    for (size_t i = 0; i < group->count; i++) {
        struct message *message = &group->messages[i];
        if (message->is_there && !message->is_leased) {
            message->is_there = false;
            group->dropped++;
            count++;
        }
    }
    group->fill_from = group->fill_to;
    return count;
}

static void purge_step(struct model *model, struct client *client) {
    int at = (int)draw(model, STREAMS - 1);
    struct stream *stream = &model->streams[at];
    struct momi_result result =
        name_command(client, CMD_STREAM_PURGE, kind_of(at), stream_name(at));
    CHECK_EQ(result.error, stream->exists ? MOM_OK : MOM_NOT_FOUND);
    if (result.error == MOM_OK) {
        uint64_t count = 0;
        for (int i = 0; i < (is_topic(at) ? SUBSCRIPTIONS : 1); i++) {
            if (model->groups[group_in(at, i)].exists) {
                count += purge_group(&model->groups[group_in(at, i)]);
            }
        }
        if (is_topic(at)) {
            count = stream->history_to - stream->history_from;
            stream->history_from = stream->history_to;
        }
        CHECK_EQ(result.value, count);
    }
}

static bool would_be_full(struct model *model, int at, const int *picked, uint32_t count,
                          uint64_t publisher) {
    const struct stream *stream = &model->streams[at];
    for (int i = 0; i < (is_topic(at) ? SUBSCRIPTIONS : 1); i++) {
        const struct group *group = &model->groups[group_in(at, i)];
        uint64_t more = 0;
        for (uint32_t n = 0; group->exists && n < count; n++) {
            more += !is_topic(at) || wants(group, picked[n], publisher);
        }
        if (stream->messages_max != 0 && more > 0 &&
            there(group) + more > stream->messages_max) {
            return true;
        }
    }
    return false;
}

static void published(struct model *model, int at, const int *picked, uint32_t count,
                      uint64_t publisher) {
    struct stream *stream = &model->streams[at];
    uint64_t index = model->world->machine.applied;
    for (uint32_t n = 0; n < count; n++) {
        for (int i = 0; i < (is_topic(at) ? SUBSCRIPTIONS : 1); i++) {
            struct group *group = &model->groups[group_in(at, i)];
            if (group->exists && (!is_topic(at) || wants(group, picked[n], publisher))) {
                add_message(group, stream->next, index, n);
            }
        }
        if (is_topic(at)) {
            CHECK(stream->history_to < MESSAGES_MAX);
            stream->history[stream->history_to++] =
                (struct kept){.sequence = stream->next,
                              .index = index,
                              .slot = n,
                              .key = picked[n],
                              .publisher = publisher};
        }
        stream->next++;
    }
    while (stream->retention_count != 0 &&
           stream->history_to - stream->history_from > stream->retention_count) {
        stream->history_from++;
    }
}

static void publish_step(struct model *model, struct client *client) {
    int at = (int)draw(model, STREAMS - 1);
    struct stream *stream = &model->streams[at];
    uint32_t count = 1 + (uint32_t)draw(model, chance(model, 10) ? 40 : 4);
    int picked[64];
    const char *texts[64];
    for (uint32_t i = 0; i < count; i++) {
        picked[i] = (int)draw(model, KEYS - 1);
        texts[i] = keys[picked[i]];
    }
    bool is_full =
        stream->exists && would_be_full(model, at, picked, count, client->node);
    put_publish(client, kind_of(at), stream_name(at), 0, texts, count,
                (size_t)draw(model, 60));
    struct momi_result result = commit(client);
    CHECK_EQ(result.error, !stream->exists ? MOM_NOT_FOUND : is_full ? MOM_FULL : MOM_OK);
    if (result.error == MOM_OK) {
        CHECK_EQ(result.value, stream->next);
        published(model, at, picked, count, client->node);
    }
}

static void subscribe_step(struct model *model, struct client *client, int client_at) {
    int topic = QUEUES + (int)draw(model, 1);
    int number = (int)draw(model, SUBSCRIPTIONS - 1);
    struct stream *stream = &model->streams[topic];
    int at = group_in(topic, number);
    struct group *group = &model->groups[at];
    int filter = (int)draw(model, 3);
    struct momi_subscription_create create_ = {
        .topic = momi_slice_str(stream_name(topic)),
        .name = momi_slice_str(subscription_name(number)),
        .from = chance(model, 50)   ? MOMI_FROM_FIRST
                : chance(model, 40) ? MOMI_FROM_SEQUENCE
                                    : MOMI_FROM_NEW,
        .temporary = chance(model, 25),
        .ignore_own = chance(model, 25),
    };
    create_.from_value = create_.from == MOMI_FROM_SEQUENCE && stream->exists
                             ? draw(model, stream->next)
                             : 0;
    if (filters[filter] != NULL) {
        create_.filters[create_.filters_count++] = momi_slice_str(filters[filter]);
    }
    int error = subscribe(client, &create_).error;
    CHECK_EQ(error, !stream->exists ? MOM_NOT_FOUND
                    : group->exists ? MOM_EXISTS
                                    : MOM_OK);
    if (error != MOM_OK) {
        return;
    }
    reset_group(group);
    group->exists = true;
    group->filter = filter;
    group->ignore_own = create_.ignore_own;
    group->creator = client->node;
    group->owner = create_.temporary ? client_at : -1;
    group->fill_from = group->fill_to = stream->next;
    uint64_t from = create_.from == MOMI_FROM_NEW ? stream->next : create_.from_value;
    bool is_direct = filters[filter] == NULL && !create_.ignore_own;
    for (size_t i = stream->history_from; i < stream->history_to; i++) {
        const struct kept *kept = &stream->history[i];
        if (kept->sequence < from) {
            continue;
        }
        if (!is_direct) {
            group->fill_from = kept->sequence;
            break;
        }
        add_message(group, kept->sequence, kept->index, kept->slot);
    }
}

static void unsubscribe_step(struct model *model, struct client *client) {
    int topic = QUEUES + (int)draw(model, 1);
    int number = (int)draw(model, SUBSCRIPTIONS - 1);
    int at = group_in(topic, number);
    int error = unsubscribe(client, stream_name(topic), subscription_name(number)).error;
    CHECK_EQ(error, !model->streams[topic].exists ? MOM_NOT_FOUND
                    : model->groups[at].exists    ? MOM_OK
                                                  : MOM_NOT_SUBSCRIBED);
    if (error == MOM_OK) {
        end_group(model, at);
    }
}

/* The leader's work on a subscription that starts in the past. */
static void fill_step(struct model *model) {
    if (momi_list_empty(&model->world->machine.filling)) {
        return;
    }
    for (int at = QUEUES; at < GROUPS / 2; at++) {
        struct group *group = &model->groups[at];
        if (!group->exists || group->fill_from == group->fill_to || chance(model, 30)) {
            continue;
        }
        const struct stream *stream = &model->streams[stream_of_group(at)];
        uint64_t from = group->fill_from;
        uint64_t to = from + 1 + draw(model, group->fill_to - from - 1);
        struct momi_fill_range ranges[64];
        size_t count = 0;
        for (size_t i = stream->history_from; i < stream->history_to; i++) {
            const struct kept *kept = &stream->history[i];
            if (kept->sequence >= from && kept->sequence < to && count < 64 &&
                wants(group, kept->key, kept->publisher)) {
                ranges[count++] =
                    (struct momi_fill_range){.sequence = kept->sequence, .count = 1};
                add_message(group, kept->sequence, kept->index, kept->slot);
                to = count == 64 ? kept->sequence + 1 : to;
            }
        }
        group->fill_from = to;
        fill(model->world, machine_group(model, at), from, to, ranges, count);
        look_at_all(model);
    }
}

static void attach_step(struct model *model, struct client *client) {
    int at = (int)draw(model, GROUPS - 1);
    struct address address = address_of(at);
    uint64_t consumer = 1 + draw(model, CONSUMERS - 1);
    bool is_there = consumer_of(client, consumer) != NULL;
    int error = attach(client, address.kind, address.name, address.subscription, consumer,
                       draw(model, 20))
                    .error;
    bool has_stream = is_dead(at) ? model->dead_streams[at].exists
                                  : model->streams[stream_of_group(at)].exists;
    CHECK_EQ(error, !has_stream                 ? MOM_NOT_FOUND
                    : !model->groups[at].exists ? MOM_NOT_SUBSCRIBED
                    : is_there                  ? MOM_EXISTS
                                                : MOM_OK);
}

static void detach_step(struct model *model, struct client *client) {
    uint64_t consumer = 1 + draw(model, CONSUMERS - 1);
    bool is_there = consumer_of(client, consumer) != NULL;
    if (is_there) {
        lose_consumer(model, client->id, consumer, MOMI_DETACH_CLEAN);
    }
    CHECK_EQ(detach(client, consumer).error, is_there ? MOM_OK : MOM_NOT_FOUND);
}

static void settled(struct model *model, int at, struct message *message,
                    enum momi_settle_action action, uint64_t due_us) {
    struct group *group = &model->groups[at];
    switch (action) {
    case MOMI_SETTLE_ACK:
        message->is_there = false;
        message->is_leased = false;
        group->acked++;
        break;
    case MOMI_SETTLE_GIVE_BACK:
        give_back(model, at, message, COUNTED);
        break;
    case MOMI_SETTLE_REJECT:
        message->is_leased = false;
        bury(model, at, message);
        break;
    case MOMI_SETTLE_RETURN:
        give_back(model, at, message, UNCOUNTED);
        break;
    case MOMI_SETTLE_EXTEND:
        message->due_us = due_us;
        break;
    }
}

static void consume_step(struct model *model, struct client *client) {
    static struct held held;
    uint64_t id = 1 + draw(model, CONSUMERS - 1);
    const struct momi_consumer *consumer = consumer_of(client, id);
    uint64_t delivered = consumer == NULL ? 0 : consumer->delivered;
    uint64_t handed = delivered == 0 ? 0 : draw(model, delivered);
    uint64_t credit = delivered + draw(model, 12);
    held_by(model, client->id, id, &held);
    uint64_t lease_us = consumer == NULL ? 0 : consumer->lease_us;
    uint64_t due_us = model->world->elapsed_us + lease_us;
    /* Handed out: the countdown begins where it has not. */
    for (size_t i = 0; consumer != NULL && i < consumer->leases.count; i++) {
        const struct momi_lease *lease = momi_ring_at(&consumer->leases, i);
        for (uint32_t n = 0; n < lease->run.count; n++) {
            struct message *message =
                find_message(&model->groups[held.group], lease->run.sequence + n);
            if (lease->delivery + n <= handed && message->due_us == 0) {
                message->due_us = due_us;
            }
        }
    }
    struct momi_settle settles[4];
    size_t settles_count = (size_t)draw(model, 3);
    uint64_t expected = 0;
    for (size_t i = 0; i < settles_count; i++) {
        enum momi_settle_action action =
            chance(model, 60) ? MOMI_SETTLE_ACK
                              : (enum momi_settle_action)(2 + draw(model, 3));
        size_t first = held.count == 0 ? 0 : (size_t)draw(model, held.count - 1);
        uint64_t counter =
            held.count == 0 || chance(model, 10)
                ? draw(model, model->counter_seen + 3) + 1
                : model->groups[held.group].messages[held.list[first]].counter;
        settles[i] = (struct momi_settle){
            .token = {.epoch = chance(model, 5) ? 0 : 1, .counter = counter},
            .count = 1 + (uint32_t)draw(model, 6),
            .action = action};
        for (size_t n = 0; settles[i].token.epoch == 1 && n < held.count; n++) {
            struct message *message = &model->groups[held.group].messages[held.list[n]];
            if (message->is_there && message->is_leased && message->counter >= counter &&
                message->counter < counter + settles[i].count) {
                settled(model, held.group, message, action, due_us);
                expected++;
            }
        }
    }
    struct momi_result result =
        consume(client, id, credit, handed, settles, settles_count);
    CHECK_EQ(result.error, consumer == NULL ? MOM_NOT_FOUND : MOM_OK);
    CHECK_EQ(result.value, expected);
}

/* Time passes; what is due at a tick returns, counted, in the order in which consumers
 * are due. */
static void tick_step(struct model *model) {
    struct world *world = model->world;
    uint64_t due_us = momi_machine_due(&world->machine);
    bool is_due = due_us != MOMI_NEVER && chance(model, 60);
    world->elapsed_us = is_due && due_us > world->elapsed_us
                            ? due_us
                            : world->elapsed_us + draw(model, MOMI_S);
    world->wall_us += draw(model, 100 * MOMI_S);
    /* Dead letters take their sequences in that order; with one due consumer at a time it
     * is known. */
    static struct held held;
    uint64_t due_of[CLIENTS][CONSUMERS + 1];
    uint64_t tie_of[CLIENTS][CONSUMERS + 1];
    for (;;) {
        int client_found = -1;
        uint64_t consumer_found = 0;
        for (int c = 0; c < CLIENTS; c++) {
            for (uint64_t id = 1; id <= CONSUMERS; id++) {
                const struct momi_consumer *consumer =
                    consumer_of(&model->clients[c], id);
                held_by(model, model->clients[c].id, id, &held);
                due_of[c][id] = UINT64_MAX;
                for (size_t i = 0; i < held.count; i++) {
                    uint64_t due =
                        model->groups[held.group].messages[held.list[i]].due_us;
                    if (due != 0 && due <= world->elapsed_us && due < due_of[c][id]) {
                        due_of[c][id] = due;
                    }
                }
                tie_of[c][id] = consumer == NULL ? 0 : consumer->due.tie;
                if (due_of[c][id] != UINT64_MAX &&
                    (client_found < 0 ||
                     due_of[c][id] < due_of[client_found][consumer_found] ||
                     (due_of[c][id] == due_of[client_found][consumer_found] &&
                      tie_of[c][id] < tie_of[client_found][consumer_found]))) {
                    client_found = c;
                    consumer_found = id;
                }
            }
        }
        if (client_found < 0) {
            break;
        }
        held_by(model, model->clients[client_found].id, consumer_found, &held);
        for (size_t i = 0; i < held.count; i++) {
            struct message *message = &model->groups[held.group].messages[held.list[i]];
            if (message->due_us != 0 && message->due_us <= world->elapsed_us) {
                give_back(model, held.group, message, COUNTED);
            }
        }
    }
    tick(world);
}

static void session_step(struct model *model, int client_at) {
    struct client *client = &model->clients[client_at];
    struct world *world = model->world;
    unsigned what = (unsigned)draw(model, 3);
    lose_session(model, client_at, what == 0 ? MOMI_DETACH_UNSURE : MOMI_DETACH_LOST);
    if (what != 3) {
        end_temporary(model, client_at);
    }
    switch (what) {
    case 0:
        put_plain(world, CMD_SESSION_CLOSE, client->id);
        world_commit(world);
        break;
    case 1:
        put_plain(world, CMD_SESSION_EXPIRE, client->id);
        world_commit(world);
        break;
    case 2: /* a higher incarnation while the older one lives */
        break;
    default:
        put_plain(world, CMD_SESSION_DETACH, client->id);
        world_commit(world);
        return;
    }
    model->incarnation[client_at]++;
    put_open(world, client->node, model->incarnation[client_at], 1);
    world_commit(world);
    struct momi_session *session = momi_machine_session_of(&world->machine, client->node);
    assert_non_null(session);
    CHECK_EQ(session->incarnation, model->incarnation[client_at]);
    *client = (struct client){.world = world, .node = client->node, .id = session->id};
}

/* What must change nothing: a number applied already, a gap, a stranger, an opening of
 * old. */
static void noise_step(struct model *model, struct client *client) {
    uint64_t hash_parts = model->world->machine.counter;
    uint64_t number = client->number;
    struct momi_result before = result_of(client, number);
    bool is_gap = chance(model, 50);
    client->number = is_gap ? number + 1 + draw(model, 3) : draw(model, number);
    bool applies = client->number == number;
    client->number -= applies ? 1 : 0;
    if (number == 0 && !is_gap) {
        client->number = number;
        return;
    }
    put_publish(client, MOMI_KIND_QUEUE, "q0", MOMI_PUBLISH_CREATE, NULL, 2, 3);
    struct client stranger = *client;
    stranger.id.index += 100000;
    put_publish(&stranger, MOMI_KIND_QUEUE, "q1", MOMI_PUBLISH_CREATE, NULL, 1, 3);
    put_open(model->world, client->node, 0, 9);
    world_commit(model->world);
    client->number = number;
    struct momi_result after = result_of(client, number);
    CHECK_EQ(after.error, before.error);
    CHECK_EQ(after.value, before.value);
    CHECK_EQ(session_of(client)->last, number);
    CHECK_EQ(model->world->machine.counter, hash_parts);
}

static void step(struct model *model) {
    int client_at = (int)draw(model, CLIENTS - 1);
    struct client *client = &model->clients[client_at];
    if (chance(model, 50)) {
        client->answered = client->number - draw(model, client->number < 3 ? 0 : 3);
    }
    uint64_t dice = draw(model, 99);
    if (dice < 30) {
        publish_step(model, client);
    } else if (dice < 55) {
        consume_step(model, client);
    } else if (dice < 66) {
        attach_step(model, client);
    } else if (dice < 71) {
        tick_step(model);
    } else if (dice < 76) {
        subscribe_step(model, client, client_at);
    } else if (dice < 82) {
        create_step(model, client);
    } else if (dice < 87) {
        fill_step(model);
    } else if (dice < 90) {
        detach_step(model, client);
    } else if (dice < 92) {
        session_step(model, client_at);
    } else if (dice < 96) {
        noise_step(model, client);
    } else if (dice < 98) {
        unsubscribe_step(model, client);
    } else if (dice == 98) {
        purge_step(model, client);
    } else if (chance(model, 40)) {
        delete_step(model, client);
    }
    look_at_all(model);
    if (chance(model, 6)) {
        world_save(model->world);
    }
    if (chance(model, 4)) {
        world_check_restart(model->world);
    }
}

static uint64_t run_seed(uint64_t seed) {
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->all = calloc((size_t)GROUPS * MESSAGES_MAX, sizeof *model->all);
    assert_non_null(model->all);
    momi_rng_seed(&model->rng, seed);
    model->world = world_new();
    model->world->is_starved = seed % 2 == 0;
    for (int at = 0; at < GROUPS; at++) {
        model->groups[at].messages = model->all + (size_t)at * MESSAGES_MAX;
        model->groups[at].owner = -1;
    }
    for (int at = 0; at < CLIENTS; at++) {
        model->incarnation[at] = 1;
        model->clients[at] = client_open(model->world, 70 + (uint64_t)at);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        step(model);
    }
    world_save(model->world);
    world_check_restart(model->world);
    if (getenv("MOM_SHOW") != NULL) {
        const struct momi_core_counters *c = &model->world->counters;
        print_message(
            "published %llu settled %llu dead %llu expired %llu redelivered %llu refused "
            "%llu "
            "sessions %llu\n",
            (unsigned long long)c->messages_published,
            (unsigned long long)c->messages_settled, (unsigned long long)c->dead_letters,
            (unsigned long long)c->leases_expired, (unsigned long long)c->redeliveries,
            (unsigned long long)c->commands_refused,
            (unsigned long long)c->sessions_opened);
    }
    uint64_t checks = model->checks;
    world_free(model->world);
    free(model->all);
    free(model);
    return checks;
}

static void the_machine_is_its_model(void **state) {
    (void)state;
    const char *one = getenv("MOM_SEED");
    uint64_t first = one == NULL ? 1 : strtoull(one, NULL, 10);
    uint64_t last = one == NULL ? 60 : first;
    const char *until = getenv("MOM_SEED_LAST");
    last = until == NULL ? last : strtoull(until, NULL, 10);
    uint64_t checks = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        if (one != NULL) {
            print_message("seed %llu\n", (unsigned long long)seed);
        }
        checks += run_seed(seed);
    }
    CHECK(checks > 1000 * (last - first + 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(the_machine_is_its_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
