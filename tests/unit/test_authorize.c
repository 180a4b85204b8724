/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what (docs/protocol.md S4): the rules, what a command asks for, and that a
 * leader asks before it lets anything in. */
#include "mesh_rig.h"

#include "core/authorize.h"
#include "core/checkout.h"
#include "core/commands.h"
#include "core/registry_commands.h"
#include "core/shard_internal.h"

static const struct momi_object whole_mesh = {.type = MOMI_OBJECT_MESH};

static int authorize(const struct rig *rig, int at, uint64_t principal, uint64_t node) {
    struct momi_principal who = {.id = principal, .node = node};
    return momi_authorize(rig->nodes[at].core, &who, MOMI_ACTION_PUBLISH, &whole_mesh);
}

/* Node 0 leads everything; node 1 is a client. */
static void store_and_client(struct rig *rig) {
    rig_init(rig);
    rig->nodes[1].role = MOMI_ROLE_CLIENT;
    rig->nodes[1].address[0] = 0;
    rig->nodes[1].join[rig->nodes[1].join_count++] =
        momi_slice_str(rig->nodes[0].address);
    rig_start(rig, 0);
    rig_run(rig, MOMI_S);
    rig_start(rig, 1);
    rig_run(rig, MOMI_S);
}

/* A call of the program on that node, with ten seconds; returns its outcome. */
static int call(struct rig *rig, int node, enum momi_call_type type, const char *name) {
    static uint64_t id;
    struct momi_call asked = {.type = type,
                              .id = ++id,
                              .deadline_us = rig->now_us + 10 * MOMI_S,
                              .kind = MOMI_KIND_QUEUE,
                              .name = momi_slice_str(name)};
    struct momi_event event = {.type = EV_CALL, .call = &asked};
    size_t before = rig->nodes[node].completions;
    rig_step(rig, node, &event);
    uint64_t until_us = rig->now_us + 20 * MOMI_S;
    while (rig->nodes[node].completions == before) {
        CHECK(rig_next(rig, until_us));
    }
    return rig->nodes[node].completed;
}

static void remove_member(struct rig *rig, int node) {
    struct momi_bytes body = {.data = NULL};
    momi_member_remove_put(&body, rig->nodes[node].id);
    bool is_proposed = false;
    for (int i = 0; i < RIG_NODES && !is_proposed; i++) {
        struct momi_core *core = rig->nodes[i].core;
        if (core == NULL || !momi_shard_is_leader(core, MOMI_REGISTRY_SHARD)) {
            continue;
        }
        /* As a step does it, so that the proposal finds its effects. */
        core->effects = &rig->nodes[i].effects;
        is_proposed = momi_shard_propose(core, MOMI_REGISTRY_SHARD, CMD_MEMBER_REMOVE,
                                         momi_bytes_slice(&body));
        core->effects = NULL;
        struct momi_event event = {.type = EV_TIME};
        rig_step(rig, i, &event);
    }
    CHECK(is_proposed);
    momi_bytes_free(&body);
    rig_run(rig, 2 * MOMI_S);
}

static void members_may_and_strangers_may_not(void **state) {
    (void)state;
    struct rig rig;
    store_and_client(&rig);
    uint64_t own = rig.nodes[0].id;
    uint64_t client = rig.nodes[1].id;
    CHECK_OK(authorize(&rig, 0, own, own));
    CHECK_OK(authorize(&rig, 0, client, client));
    CHECK_ERR(authorize(&rig, 0, 0, client), MOM_UNAUTHENTICATED);
    CHECK_ERR(authorize(&rig, 0, own, 0), MOM_UNAUTHENTICATED);
    CHECK_ERR(authorize(&rig, 0, 4711, 4711), MOM_UNAUTHENTICATED);
    /* The principal of a session and the node that speaks for it. */
    CHECK_ERR(authorize(&rig, 0, own, client), MOM_FORBIDDEN);
    CHECK_ERR(authorize(&rig, 0, client, own), MOM_FORBIDDEN);
    /* A client is one while its lane is up. */
    rig_kill(&rig, 1);
    rig_run(&rig, MOMI_S);
    CHECK_ERR(authorize(&rig, 0, client, client), MOM_UNAUTHENTICATED);
    rig_free(&rig);
}

/* The node that leads the only data shard, and one that holds nothing at all: only such a
 * one can be removed. */
static void find_leader_and_idle(const struct rig *rig, int count, int *leader,
                                 int *idle) {
    *leader = *idle = -1;
    for (int i = 0; i < count; i++) {
        const struct momi_core *core = rig->nodes[i].core;
        if (momi_shard_is_leader(core, 1)) {
            *leader = i;
        } else if (core->shards[0] == NULL && core->shards[1] == NULL) {
            *idle = i;
        }
    }
    CHECK(*leader >= 0);
    CHECK(*idle >= 0);
}

static void a_removed_member_is_refused_and_told(void **state) {
    (void)state;
    enum { STORES = 7 }; /* up to 5 hold the registry, one the shard */
    struct rig rig;
    rig_init(&rig);
    for (int i = 0; i < STORES; i++) {
        struct rig_node *node = &rig.nodes[i];
        node->shards_count = 1;
        node->copies_count = 1;
        if (i > 0) {
            node->join[node->join_count++] = momi_slice_str(rig.nodes[0].address);
        }
        rig_start(&rig, i);
        rig_run(&rig, MOMI_S);
    }
    rig_run(&rig, 20 * MOMI_S);
    int leader, idle;
    find_leader_and_idle(&rig, STORES, &leader, &idle);
    CHECK_OK(call(&rig, idle, CALL_STREAM_CREATE, "q"));
    CHECK_OK(call(&rig, idle, CALL_DESCRIBE, "q"));
    remove_member(&rig, idle);
    uint64_t removed = rig.nodes[idle].id;
    CHECK_ERR(authorize(&rig, leader, removed, removed), MOM_FORBIDDEN);
    CHECK_ERR(call(&rig, idle, CALL_STREAM_DELETE, "q"), MOM_FORBIDDEN);
    CHECK_ERR(call(&rig, idle, CALL_DESCRIBE, "q"), MOM_FORBIDDEN);
    CHECK_OK(call(&rig, leader, CALL_DESCRIBE, "q"));
    rig_free(&rig);
}

/* What the leader answers to one frame from a node. */
static struct momi_frame ask(struct rig *rig, int at, int from,
                             const struct momi_frame *frame) {
    struct rig_node *node = &rig->nodes[at];
    struct momi_event event = {.type = EV_FRAME,
                               .now_us = rig->now_us,
                               .node = rig->nodes[from].id,
                               .frame = frame};
    momi_core_step(node->core, &event, &node->effects);
    momi_core_turn_end(node->core, &node->effects);
    struct momi_frame answer = {.type = FRAME_GOODBYE};
    for (size_t i = 0; i < node->effects.count; i++) {
        const struct momi_effect *effect = &node->effects.list[i];
        if (effect->type == FX_SEND && effect->node == rig->nodes[from].id) {
            answer = *effect->frame;
        }
        CHECK(effect->type != FX_WRITE); /* nothing was proposed */
    }
    momi_effects_clear(&node->effects);
    return answer;
}

static void a_session_serves_its_own_node_only(void **state) {
    (void)state;
    struct rig rig;
    store_and_client(&rig);
    CHECK_OK(call(&rig, 0, CALL_STREAM_CREATE, "q"));
    CHECK_OK(call(&rig, 1, CALL_STREAM_DELETE, "q"));
    struct momi_session *session = NULL;
    uint32_t shard = 0;
    while (session == NULL) {
        shard++;
        session = momi_machine_session_of(rig.nodes[0].core->shards[shard]->machine,
                                          rig.nodes[0].id);
    }
    struct momi_bytes bytes = {.data = NULL};
    size_t at =
        momi_command_begin(&bytes, CMD_STREAM_DELETE, session->id, session->last + 1, 0);
    struct momi_stream_name name = {.kind = MOMI_KIND_QUEUE, .name = momi_slice_str("q")};
    momi_stream_name_put(&bytes, &name);
    momi_command_finish(&bytes, at);
    struct momi_frame frame = {.type = FRAME_COMMANDS,
                               .shard = shard,
                               .session = session->id,
                               .payload = momi_bytes_slice(&bytes)};
    uint64_t proposed = session->proposed;
    struct momi_frame answer = ask(&rig, 0, 1, &frame);
    CHECK_EQ(answer.type, FRAME_RESULTS);
    CHECK_ERR(answer.error, MOM_FORBIDDEN);
    CHECK_EQ(session->proposed, proposed); /* its owner's next number is still free */
    frame.session.index += 100;
    answer = ask(&rig, 0, 1, &frame);
    CHECK_EQ(answer.type, FRAME_RESULTS);
    CHECK_ERR(answer.error, MOM_NOT_FOUND); /* unknown: its node opens another */
    frame = (struct momi_frame){
        .type = FRAME_QUERY, .shard = shard, .counter = 9, .kind = 77};
    answer = ask(&rig, 0, 1, &frame);
    CHECK_EQ(answer.type, FRAME_QUERY_REPLY);
    CHECK_ERR(answer.error, MOM_INVALID);
    momi_bytes_free(&bytes);
    rig_free(&rig);
}

/* --- what is asked for ------------------------------------------------------------ */

/* Action and object of a command with this body. */
static bool examine(uint8_t type, const struct momi_bytes *body, enum momi_action *action,
                    struct momi_object *object) {
    struct momi_core_counters counters = {0};
    struct momi_machine machine;
    CHECK_OK(momi_machine_init(&machine, 1, 1, &counters));
    struct momi_command command = {.type = type, .body = momi_bytes_slice(body)};
    bool is_known = momi_command_action(&machine, &command, action, object);
    momi_machine_free(&machine);
    return is_known;
}

static void check_object(const struct momi_object *object, enum momi_kind kind,
                         const char *name, const char *subscription) {
    CHECK_EQ(object->type,
             subscription == NULL ? MOMI_OBJECT_STREAM : MOMI_OBJECT_SUBSCRIPTION);
    CHECK_EQ(object->kind, kind);
    CHECK(momi_slice_equal(object->name, momi_slice_str(name)));
    CHECK(subscription == NULL ||
          momi_slice_equal(object->subscription, momi_slice_str(subscription)));
}

static void commands_on_streams_name_them(void **state) {
    (void)state;
    struct momi_bytes body = {.data = NULL};
    enum momi_action action;
    struct momi_object object;
    struct momi_stream_create create = {.kind = MOMI_KIND_TOPIC,
                                        .name = momi_slice_str("news")};
    momi_stream_create_put(&body, &create);
    CHECK(examine(CMD_STREAM_CREATE, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_CREATE);
    check_object(&object, MOMI_KIND_TOPIC, "news", NULL);
    momi_bytes_clear(&body);
    struct momi_stream_name name = {.kind = MOMI_KIND_QUEUE,
                                    .name = momi_slice_str("work")};
    momi_stream_name_put(&body, &name);
    CHECK(examine(CMD_STREAM_DELETE, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_DELETE);
    check_object(&object, MOMI_KIND_QUEUE, "work", NULL);
    CHECK(examine(CMD_STREAM_PURGE, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_PURGE);
    momi_bytes_clear(&body);
    struct momi_publish publish = {.kind = MOMI_KIND_QUEUE,
                                   .publisher = 7,
                                   .name = momi_slice_str("work"),
                                   .count = 1};
    momi_publish_put_head(&body, &publish);
    CHECK(examine(CMD_PUBLISH, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_PUBLISH);
    check_object(&object, MOMI_KIND_QUEUE, "work", NULL);
    momi_bytes_free(&body);
}

static void commands_on_subscriptions_name_both(void **state) {
    (void)state;
    struct momi_bytes body = {.data = NULL};
    enum momi_action action;
    struct momi_object object;
    struct momi_subscription_create create = {.topic = momi_slice_str("news"),
                                              .name = momi_slice_str("mine")};
    momi_subscription_create_put(&body, &create);
    CHECK(examine(CMD_SUBSCRIPTION_CREATE, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_SUBSCRIBE);
    check_object(&object, MOMI_KIND_TOPIC, "news", "mine");
    momi_bytes_clear(&body);
    struct momi_subscription_name name = {.topic = momi_slice_str("news"),
                                          .name = momi_slice_str("mine")};
    momi_subscription_name_put(&body, &name);
    CHECK(examine(CMD_SUBSCRIPTION_DELETE, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_UNSUBSCRIBE);
    check_object(&object, MOMI_KIND_TOPIC, "news", "mine");
    momi_bytes_clear(&body);
    struct momi_consumer_attach attach = {.kind = MOMI_KIND_TOPIC,
                                          .name = momi_slice_str("news"),
                                          .subscription = momi_slice_str("mine"),
                                          .consumer = 1};
    momi_consumer_attach_put(&body, &attach);
    CHECK(examine(CMD_CONSUMER_ATTACH, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_CONSUME);
    check_object(&object, MOMI_KIND_TOPIC, "news", "mine");
    momi_bytes_free(&body);
}

static void what_clients_do_not_give_has_no_action(void **state) {
    (void)state;
    struct momi_bytes body = {.data = NULL};
    enum momi_action action;
    struct momi_object object;
    CHECK(examine(CMD_NOOP, &body, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_USE);
    static const uint8_t refused[] = {
        CMD_SESSION_OPEN, CMD_SESSION_EXPIRE, CMD_REFUSE,  CMD_TICK,    CMD_FILL,
        CMD_PLAN,         CMD_STREAM_CREATE,  CMD_PUBLISH, CMD_CONSUME, 99};
    for (size_t i = 0; i < sizeof refused; i++) {
        CHECK(!examine(refused[i], &body, &action, &object)); /* or malformed: empty */
    }
    momi_bytes_free(&body);
}

static void settling_concerns_what_the_consumer_reads(void **state) {
    (void)state;
    struct rig rig;
    store_and_client(&rig);
    CHECK_OK(call(&rig, 1, CALL_STREAM_CREATE, "q"));
    struct momi_call open = {.type = CALL_CONSUMER_OPEN,
                             .id = 1000,
                             .deadline_us = rig.now_us + MOMI_S,
                             .kind = MOMI_KIND_QUEUE,
                             .name = momi_slice_str("q"),
                             .consumer = 5};
    struct momi_event event = {.type = EV_CALL, .call = &open};
    rig_step(&rig, 1, &event);
    rig_run(&rig, MOMI_S);
    CHECK_OK(rig.nodes[1].completed);
    struct momi_session *session = NULL;
    const struct momi_machine *machine = NULL;
    for (uint32_t s = 1; s <= rig.nodes[1].shards_count && session == NULL; s++) {
        machine = rig.nodes[0].core->shards[s]->machine;
        session = momi_machine_session_of(machine, rig.nodes[1].id);
    }
    CHECK(session != NULL);
    const struct momi_consumer *consumer =
        MOMI_CONTAINER_OF(session->consumers.next, struct momi_consumer, session_link);
    struct momi_bytes body = {.data = NULL};
    momi_checkout_put_consume(&body, consumer->id, 9, 0, NULL, 0);
    struct momi_command command = {
        .type = CMD_CONSUME, .session = session->id, .body = momi_bytes_slice(&body)};
    enum momi_action action;
    struct momi_object object;
    CHECK(momi_command_action(machine, &command, &action, &object));
    CHECK_EQ(action, MOMI_ACTION_CONSUME);
    check_object(&object, MOMI_KIND_QUEUE, "q", NULL);
    command.session.index++; /* of nobody: an object without a name */
    CHECK(momi_command_action(machine, &command, &action, &object));
    check_object(&object, MOMI_KIND_QUEUE, "", NULL);
    momi_bytes_free(&body);
    rig_free(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(members_may_and_strangers_may_not),
        TEST(a_removed_member_is_refused_and_told),
        TEST(a_session_serves_its_own_node_only),
        TEST(commands_on_streams_name_them),
        TEST(commands_on_subscriptions_name_both),
        TEST(what_clients_do_not_give_has_no_action),
        TEST(settling_concerns_what_the_consumer_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
