/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three store nodes and clients in one process, over ipc: everything works on every node,
 * and goes on when the leader closes and when it comes back.
 */
#include <unistd.h>

#include "integration/nodes.h"

enum { MESSAGES = 200 };

static void every_node_sends_and_receives(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    for (size_t i = 0; i < mesh.count; i++) {
        char queue[32];
        snprintf(queue, sizeof queue, "queue-%zu", i);
        mom_node *sender = mesh.nodes[i];
        mom_node *receiver = mesh.nodes[(i + 1) % mesh.count];
        CHECK_OK(mom_queue_create(sender, queue, NULL, WAIT_MS));
        send_in_order(sender, queue, queue, 0, MESSAGES);
        mom_consumer *consumer;
        CHECK_OK(mom_queue_consumer(receiver, queue, NULL, WAIT_MS, &consumer));
        receive_in_order(consumer, queue, MESSAGES);
        mom_message *none;
        CHECK_ERR(mom_receive(consumer, &none, 0), MOM_EMPTY);
        CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    }
    mesh_close(&mesh);
}

static void lists_and_descriptions_are_the_same_on_every_node(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    static const char *const queues[] = {"alpha", "beta", "delta", "gamma"};
    for (size_t i = 4; i-- > 0;) {
        CHECK_OK(mom_queue_create(mesh.nodes[i % 3], queues[i], NULL, WAIT_MS));
    }
    send_in_order(mesh.nodes[0], "beta", "m", 0, 5);
    for (size_t i = 0; i < mesh.count; i++) {
        mom_list *list;
        mom_stream_info info;
        CHECK_OK(mom_queue_list(mesh.nodes[i], &list, WAIT_MS));
        CHECK_EQ(mom_list_count(list), 4);
        for (size_t j = 0; j < 4; j++) {
            CHECK_STR(mom_list_name(list, j), queues[j]);
        }
        mom_list_free(list);
        mom_stream_info_init(&info);
        CHECK_OK(mom_queue_info(mesh.nodes[i], "beta", &info, WAIT_MS));
        CHECK_EQ(info.messages_ready, 5);
        CHECK_EQ(info.replicas_count, 3);
        CHECK(info.leader != 0);
        CHECK(info.leader_name[0] != '\0');
    }
    mesh_close(&mesh);
}

static void service_goes_on_when_the_leader_closes_and_returns(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    CHECK_OK(mom_queue_create(mesh.nodes[0], "work", NULL, WAIT_MS));
    mom_node *client = mesh_client(&mesh);
    send_in_order(client, "work", "w", 0, MESSAGES);
    size_t leader = mesh_leader_of(&mesh, 0, "work");
    mesh_close_node(&mesh, leader);
    send_in_order(client, "work", "w", MESSAGES, MESSAGES);
    mesh_open_node(&mesh, leader);
    mesh_wait_ready(&mesh);
    send_in_order(client, "work", "w", 2 * MESSAGES, MESSAGES);
    mom_consumer *consumer;
    CHECK_OK(mom_queue_consumer(mesh.nodes[leader], "work", NULL, WAIT_MS, &consumer));
    receive_in_order(consumer, "w", 3 * MESSAGES);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(client, WAIT_MS));
    mesh_close(&mesh);
}

/* D3: it comes back to its mesh as someone else; what it had is kept aside. */
static void a_node_that_lost_promises_returns_under_a_new_id(void **state) {
    (void)state;
    struct mesh mesh;
    char dir[DIR_BYTES];
    char database[DIR_BYTES];
    char older[DIR_BYTES];
    char kept[DIR_BYTES];
    mesh_open(&mesh, 3);
    CHECK_OK(mom_queue_create(mesh.nodes[0], "q", NULL, WAIT_MS));
    uint64_t id = mom_node_id(mesh.nodes[2]);
    mesh_close_node(&mesh, 2);
    nodes_path(dir, mesh.scratch, "three");
    nodes_path(database, dir, "db");
    nodes_path(older, mesh.scratch, "older");
    nodes_path(kept, dir, "kept-1");
    nodes_copy(database, older);
    mesh_open_node(&mesh, 2);
    mesh_wait_ready(&mesh);
    send_in_order(mesh.nodes[2], "q", "m", 0, MESSAGES);
    mesh_close_node(&mesh, 2);
    nodes_scratch_remove(database);
    nodes_copy(older, database);
    mesh_open_node(&mesh, 2);
    mesh_wait_ready(&mesh);
    CHECK(mom_node_id(mesh.nodes[2]) != id);
    CHECK_EQ(access(kept, F_OK), 0);
    mom_consumer *consumer;
    CHECK_OK(mom_queue_consumer(mesh.nodes[2], "q", NULL, WAIT_MS, &consumer));
    receive_in_order(consumer, "m", MESSAGES);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    mesh_close(&mesh);
}

static void a_topic_reaches_matching_subscriptions_on_other_nodes(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    mom_node *client = mesh_client(&mesh);
    static const char *const filters[] = {"news.*", "alarm.#"};
    mom_subscription_options options;
    mom_subscription_options_init(&options);
    options.filters = filters;
    options.filters_count = 2;
    CHECK_OK(mom_topic_create(client, "events", NULL, WAIT_MS));
    CHECK_OK(mom_subscription_create(mesh.nodes[1], "events", "some", &options, WAIT_MS));
    CHECK_OK(mom_subscription_create(mesh.nodes[2], "events", "all", NULL, WAIT_MS));
    CHECK_ERR(mom_subscription_create(client, "events", "all", NULL, WAIT_MS),
              MOM_EXISTS);
    mom_consumer *some;
    mom_consumer *all;
    CHECK_OK(
        mom_subscription_consumer(mesh.nodes[0], "events", "some", NULL, WAIT_MS, &some));
    CHECK_OK(mom_subscription_consumer(client, "events", "all", NULL, WAIT_MS, &all));
    static const char *const keys[] = {"news.sport", "other", "alarm", "alarm.fire.now"};
    mom_slice bodies[4];
    for (size_t i = 0; i < 4; i++) {
        bodies[i] = (mom_slice){keys[i], strlen(keys[i])};
    }
    int results[4] = {1, 1, 1, 1};
    CHECK_OK(mom_publish_many(client, "events", keys, bodies, 4, NULL, results, WAIT_MS));
    mom_message *message;
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(results[i], MOM_OK);
        CHECK_OK(mom_receive(all, &message, WAIT_MS));
        check_body(message, keys[i]);
        CHECK_EQ(mom_message_publisher(message), mom_node_id(client));
        CHECK_OK(mom_ack_wait(message, WAIT_MS));
        mom_message_release(message);
        if (i == 1) {
            continue;
        }
        CHECK_OK(mom_receive(some, &message, WAIT_MS));
        check_body(message, keys[i]);
        CHECK_STR(mom_message_subscription(message), "some");
        CHECK_OK(mom_ack(message));
        mom_message_release(message);
    }
    CHECK_OK(mom_consumer_close(some, WAIT_MS));
    CHECK_OK(mom_consumer_close(all, WAIT_MS));
    CHECK_OK(mom_close(client, WAIT_MS));
    mesh_close(&mesh);
}

static void deleting_a_queue_ends_a_consumer_that_waits(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    mom_node *client = mesh_client(&mesh);
    mom_completions *completions;
    CHECK_OK(mom_completions_open(client, &completions));
    CHECK_OK(mom_queue_create(client, "gone", NULL, WAIT_MS));
    mom_consumer *consumer;
    CHECK_OK(mom_queue_consumer(client, "gone", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive_submit(consumer, WAIT_MS, completions, consumer));
    CHECK_ERR(mom_receive_submit(consumer, WAIT_MS, completions, NULL), MOM_EXISTS);
    CHECK_OK(mom_queue_delete(mesh.nodes[1], "gone", WAIT_MS));
    mom_completion completion;
    size_t count;
    CHECK_OK(mom_completions_wait(completions, &completion, 1, &count, WAIT_MS));
    CHECK(completion.user == consumer);
    CHECK_EQ(completion.error, MOM_NOT_FOUND);
    mom_message *message;
    CHECK_ERR(mom_receive(consumer, &message, WAIT_MS), MOM_NOT_FOUND);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    mom_completions_close(completions);
    CHECK_OK(mom_close(client, WAIT_MS));
    mesh_close(&mesh);
}

static void a_large_message_passes_whole(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    mom_node *client = mesh_client(&mesh);
    size_t size = MOM_BODY_BYTES_MAX;
    unsigned char *body = test_malloc(size);
    for (size_t i = 0; i < size; i++) {
        body[i] = (unsigned char)(i * 2654435761u >> 24);
    }
    CHECK_OK(mom_queue_create(client, "large", NULL, WAIT_MS));
    CHECK_OK(mom_send(client, "large", body, size, NULL, WAIT_MS));
    CHECK_ERR(mom_send(client, "large", body, size + 1, NULL, WAIT_MS), MOM_TOO_BIG);
    mom_consumer *consumer;
    mom_message *message;
    CHECK_OK(mom_queue_consumer(client, "large", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    size_t got;
    const void *received = mom_message_body(message, &got);
    CHECK_EQ(got, size);
    CHECK_BYTES(received, body, size);
    CHECK_OK(mom_ack_wait(message, WAIT_MS));
    mom_message_release(message);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(client, WAIT_MS));
    test_free(body);
    mesh_close(&mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_node_sends_and_receives),
        TEST(lists_and_descriptions_are_the_same_on_every_node),
        TEST(service_goes_on_when_the_leader_closes_and_returns),
        TEST(a_node_that_lost_promises_returns_under_a_new_id),
        TEST(a_topic_reaches_matching_subscriptions_on_other_nodes),
        TEST(deleting_a_queue_ends_a_consumer_that_waits),
        TEST(a_large_message_passes_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
