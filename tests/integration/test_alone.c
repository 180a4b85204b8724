/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One node alone: what it keeps, what it refuses, how it waits, how it ends.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "integration/nodes.h"

static char scratch[DIR_BYTES];
static char dir[DIR_BYTES];

static int setup(void **state) {
    (void)state;
    nodes_scratch(scratch);
    nodes_path(dir, scratch, "data");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    nodes_scratch_remove(scratch);
    return 0;
}

static int64_t now_ms(void) {
    struct timespec now;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- what is kept
 * -------------------------------------------------------------------------- */

static void
acknowledged_is_gone_and_unacknowledged_is_there_after_reopening(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "jobs", NULL, WAIT_MS));
    send_in_order(node, "jobs", "j", 0, 10);
    mom_consumer *consumer;
    CHECK_OK(mom_queue_consumer(node, "jobs", NULL, WAIT_MS, &consumer));
    receive_in_order(consumer, "j", 4);
    mom_message *held;
    CHECK_OK(mom_receive(consumer, &held, WAIT_MS));
    check_body(held, "j-4");
    CHECK(!mom_message_redelivered(held));
    CHECK_OK(mom_close(node, WAIT_MS));
    check_body(held, "j-4"); /* stays readable */
    CHECK_ERR(mom_ack(held), MOM_CLOSED);
    mom_message_release(held);
    CHECK_ERR(mom_receive(consumer, &held, 0), MOM_CLOSED);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));

    node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_consumer(node, "jobs", NULL, WAIT_MS, &consumer));
    for (int i = 4; i < 10; i++) {
        char body[16];
        mom_message *message;
        snprintf(body, sizeof body, "j-%d", i);
        CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
        check_body(message, body);
        CHECK_EQ(mom_message_redelivered(message), i == 4);
        CHECK_EQ(mom_message_sequence(message), i + 1);
        CHECK_OK(mom_ack(message));
        mom_message_release(message);
    }
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void a_message_carries_what_it_was_given(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    static const mom_header headers[] = {{"kind", "blue", 4}, {"empty", NULL, 0}};
    mom_send_options options;
    mom_send_options_init(&options);
    options.key = "a.b";
    options.headers = headers;
    options.headers_count = 2;
    options.create = true;
    CHECK_OK(mom_send(node, "made", NULL, 0, &options, WAIT_MS));
    mom_consumer *consumer;
    mom_message *message;
    CHECK_OK(mom_queue_consumer(node, "made", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    size_t size = 1;
    CHECK(mom_message_body(message, &size) != NULL);
    CHECK_EQ(size, 0);
    const char *key = mom_message_key(message, &size);
    CHECK_EQ(size, 3);
    CHECK_BYTES(key, "a.b", 3);
    CHECK_STR(mom_message_stream(message), "made");
    CHECK_STR(mom_message_subscription(message), "");
    CHECK_EQ(mom_message_headers_count(message), 2);
    const void *value;
    CHECK_OK(mom_message_header(message, "kind", &value, &size));
    CHECK_EQ(size, 4);
    CHECK_BYTES(value, "blue", 4);
    CHECK_ERR(mom_message_header(message, "other", &value, &size), MOM_NOT_FOUND);
    mom_header_view view;
    CHECK_OK(mom_message_header_at(message, 1, &view));
    CHECK_EQ(view.name_size, 5);
    CHECK_EQ(view.value_size, 0);
    CHECK_ERR(mom_message_header_at(message, 2, &view), MOM_NOT_FOUND);
    CHECK_EQ(mom_message_publisher(message), mom_node_id(node));
    CHECK(mom_message_published_us(message) > 1500000000000000ull);
    CHECK_EQ(mom_message_deliveries(message), 1);
    CHECK_OK(mom_ack(message));
    CHECK_ERR(mom_ack(message), MOM_CONFLICT);
    mom_message_release(message);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void given_back_comes_again_and_rejected_is_dead_lettered(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    send_in_order(node, "q", "m", 0, 2);
    mom_consumer *consumer;
    mom_message *message;
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    check_body(message, "m-0");
    CHECK_OK(mom_nack(message));
    mom_message_release(message);
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    check_body(message, "m-1");
    CHECK_OK(mom_reject(message));
    mom_message_release(message);
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    check_body(message, "m-0");
    CHECK_EQ(mom_message_deliveries(message), 2);
    mom_message_release(message); /* not settled: given back */
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    check_body(message, "m-0");
    CHECK_EQ(mom_message_deliveries(message), 3);
    CHECK_OK(mom_extend(message));
    CHECK_OK(mom_ack_wait(message, WAIT_MS));
    mom_message_release(message);
    CHECK_ERR(mom_receive(consumer, &message, 0), MOM_EMPTY);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_queue_consumer(node, "$dead/queue/q", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    check_body(message, "m-1");
    CHECK_OK(mom_ack_wait(message, WAIT_MS));
    mom_message_release(message);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void a_limit_leaves_the_rest_to_others(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    send_in_order(node, "q", "m", 0, 10);
    mom_consumer_options options;
    mom_consumer_options_init(&options);
    options.limit = 4;
    mom_consumer *limited;
    mom_consumer *other;
    mom_message *messages[10];
    size_t count = 0;
    size_t taken = 0;
    CHECK_OK(mom_queue_consumer(node, "q", &options, WAIT_MS, &limited));
    while (taken < 4) {
        CHECK_OK(mom_receive_many(limited, messages + taken, 10, &count, WAIT_MS));
        taken += count;
    }
    CHECK_EQ(taken, 4);
    CHECK_ERR(mom_receive(limited, messages, MOM_FOREVER), MOM_EMPTY);
    CHECK_ERR(mom_receive(limited, messages, 0), MOM_EMPTY);
    /* The first one still holds its four: the others are there at once, and unmarked. */
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &other));
    for (int i = 4; i < 10; i++) {
        mom_message *message;
        char body[8];
        snprintf(body, sizeof body, "m-%d", i);
        CHECK_OK(mom_receive(other, &message, WAIT_MS));
        check_body(message, body);
        CHECK(!mom_message_redelivered(message));
        CHECK_OK(mom_ack(message));
        mom_message_release(message);
    }
    CHECK_ERR(mom_receive(other, &messages[4], 0), MOM_EMPTY);
    CHECK_OK(mom_ack_many(messages, 4));
    for (size_t i = 0; i < 4; i++) {
        mom_message_release(messages[i]);
    }
    CHECK_OK(mom_consumer_flush(limited, WAIT_MS));
    CHECK_OK(mom_consumer_close(limited, WAIT_MS));
    CHECK_OK(mom_consumer_close(other, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

static mom_handled count_messages(mom_message *message, void *user) {
    (void)message;
    ++*(int *)user;
    return MOM_HANDLED_ACK;
}

static void a_limit_ends_who_waits(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    mom_consumer_options *options = mom_consumer_options_new();
    CHECK_OK(mom_consumer_options_set(options, "limit", "3"));
    mom_consumer *consumer;
    CHECK_OK(mom_queue_consumer(node, "q", options, WAIT_MS, &consumer));
    mom_completions *completions;
    CHECK_OK(mom_completions_open(node, &completions));
    send_in_order(node, "q", "m", 0, 5);
    int handled = 0;
    CHECK_OK(mom_consumer_run(consumer, count_messages, &handled));
    CHECK_EQ(handled, 3);
    CHECK_ERR(mom_receive_submit(consumer, WAIT_MS, completions, NULL), MOM_EMPTY);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    mom_completions_close(completions);
    mom_consumer_options_free(options);
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void a_message_comes_again_when_its_lease_ends(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    send_in_order(node, "q", "m", 0, 1);
    mom_consumer_options options;
    mom_consumer_options_init(&options);
    options.lease_ms = 200;
    mom_consumer *consumer;
    mom_message *late;
    mom_message *message;
    CHECK_OK(mom_queue_consumer(node, "q", &options, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &late, WAIT_MS));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    check_body(message, "m-0");
    CHECK(mom_message_redelivered(message));
    CHECK_ERR(mom_ack_wait(late, WAIT_MS), MOM_CONFLICT);
    mom_message_release(late);
    CHECK_OK(mom_ack_wait(message, WAIT_MS));
    mom_message_release(message);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

/* --- what is refused
 * ----------------------------------------------------------------------- */

static void wrong_calls_say_what_is_wrong(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    char long_name[300];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    CHECK_ERR(mom_send(NULL, "q", "x", 1, NULL, WAIT_MS), MOM_INVALID);
    CHECK(strstr(mom_last_error_text(), "node") != NULL);
    CHECK_ERR(mom_send(node, NULL, "x", 1, NULL, WAIT_MS), MOM_INVALID);
    CHECK(strstr(mom_last_error_text(), "queue") != NULL);
    CHECK_ERR(mom_send(node, "", "x", 1, NULL, WAIT_MS), MOM_INVALID);
    CHECK_ERR(mom_send(node, long_name, "x", 1, NULL, WAIT_MS), MOM_INVALID);
    CHECK_ERR(mom_send(node, "a\nb", "x", 1, NULL, WAIT_MS), MOM_INVALID);
    CHECK_ERR(mom_send(node, "q", NULL, 1, NULL, WAIT_MS), MOM_INVALID);
    CHECK_ERR(mom_send(node, "q", "x", 1, NULL, 0), MOM_INVALID);
    CHECK(strstr(mom_last_error_text(), "timeout_ms") != NULL);
    CHECK_ERR(mom_send(node, "q", "x", 1, NULL, -2), MOM_INVALID);
    CHECK_ERR(mom_send(node, "q", "x", 1, NULL, WAIT_MS), MOM_NOT_FOUND);
    mom_send_options options;
    mom_send_options_init(&options);
    options.key = long_name;
    CHECK_ERR(mom_send(node, "q", "x", 1, &options, WAIT_MS), MOM_TOO_BIG);
    options.size = 3;
    CHECK_ERR(mom_send(node, "q", "x", 1, &options, WAIT_MS), MOM_INVALID);
    struct {
        mom_send_options known;
        uint64_t unknown;
    } later = {.unknown = 0};
    mom_send_options_init_size(&later.known, sizeof later);
    CHECK_ERR(mom_send(node, "q", "x", 1, &later.known, WAIT_MS), MOM_NOT_FOUND);
    later.unknown = 1;
    CHECK_ERR(mom_send(node, "q", "x", 1, &later.known, WAIT_MS), MOM_VERSION);
    mom_consumer *consumer;
    CHECK_ERR(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer), MOM_NOT_FOUND);
    CHECK_ERR(mom_queue_delete(node, "q", WAIT_MS), MOM_NOT_FOUND);
    CHECK_ERR(mom_topic_delete(node, "q", WAIT_MS), MOM_NOT_FOUND);
    CHECK_OK(mom_topic_create(node, "t", NULL, WAIT_MS));
    CHECK_ERR(mom_topic_create(node, "t", NULL, WAIT_MS), MOM_EXISTS);
    CHECK_ERR(mom_subscription_consumer(node, "t", "s", NULL, WAIT_MS, &consumer),
              MOM_NOT_SUBSCRIBED);
    CHECK_ERR(mom_subscription_delete(node, "t", "s", WAIT_MS), MOM_NOT_SUBSCRIBED);
    CHECK_OK(mom_close(node, WAIT_MS));
    CHECK_OK(mom_close(NULL, 0));
}

static void options_that_do_not_fit_are_named(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *name2, *value2, *blamed;
    } rows[] = {
        {"role", "store", NULL, NULL, "data_dir"},
        {"role", "client", NULL, NULL, "join"},
        {"join", "tcp://127.0.0.1:1", "form", "a=tcp://127.0.0.1:1", "exclude"},
        {"join", "nonsense", "name", "n", "join"},
        {"memory", "true", "join", "tcp://127.0.0.1:1", "listen"},
        {"memory", "true", "data_dir", "d", "exclude"},
        {"memory", "true", "listen", "tcp://0.0.0.0:0", "advertise"},
        {"memory", "true", "shards", "1000", "shards"},
        {"memory", "true", "copies", "10", "copies"},
        {"memory", "true", "name", "a,b", "name"},
        {"memory", "true", "listen", "udp://127.0.0.1:1", "listen"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mom_options *options = mom_options_new();
        mom_node *node;
        CHECK(options != NULL);
        CHECK_OK(mom_options_set(options, rows[i].name, rows[i].value));
        if (rows[i].name2 != NULL) {
            CHECK_OK(mom_options_set(options, rows[i].name2, rows[i].value2));
        }
        CHECK_ERR(mom_open(options, &node), MOM_INVALID);
        if (strstr(mom_last_error_text(), rows[i].blamed) == NULL) {
            fail_msg("row %zu: %s", i, mom_last_error_text());
        }
        mom_options_free(options);
    }
    mom_options *options = mom_options_new();
    CHECK_ERR(mom_options_set(options, "nothing", "1"), MOM_INVALID);
    CHECK_ERR(mom_options_set(options, "shards", "-1"), MOM_INVALID);
    CHECK_ERR(mom_options_set(options, "shards", "12x"), MOM_INVALID);
    CHECK_ERR(mom_options_set(options, "memory", "perhaps"), MOM_INVALID);
    mom_options_free(options);
    mom_options plain;
    mom_options_init(&plain);
    CHECK_ERR(mom_options_set(&plain, "shards", "1"), MOM_INVALID);
}

static void a_directory_belongs_to_one_node_at_a_time(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    mom_options options;
    mom_options_init(&options);
    options.data_dir = dir;
    mom_node *second;
    CHECK_ERR(mom_open(&options, &second), MOM_CONFLICT);
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    CHECK(strstr(mom_last_error_text(), pid) != NULL);
    CHECK_OK(mom_close(node, WAIT_MS));
    options.data_dir = "/proc/nowhere";
    CHECK_ERR(mom_open(&options, &second), MOM_IO);
}

/* D2, D3: an older database under a newer mark has lost what was acknowledged. */
static void a_store_that_lost_promises_is_corrupt_where_it_is_alone(void **state) {
    (void)state;
    char database[DIR_BYTES];
    char older[DIR_BYTES];
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
    nodes_path(database, dir, "db");
    nodes_path(older, scratch, "older");
    nodes_copy(database, older);
    node = nodes_open_alone(dir);
    send_in_order(node, "q", "m", 0, 10);
    CHECK_OK(mom_close(node, WAIT_MS));
    nodes_scratch_remove(database);
    nodes_copy(older, database);
    mom_options options;
    mom_options_init(&options);
    options.data_dir = dir;
    CHECK_ERR(mom_open(&options, &node), MOM_CORRUPT);
    CHECK(strlen(mom_last_error_text()) > 0);
    CHECK_ERR(mom_open(&options, &node), MOM_CORRUPT); /* and stays so */
}

/* R7: a failed write is final. In a process of its own: the limit that makes it fail
 * stays, and threads of the database are left in this one. */
static int fail_writes(void) {
    mom_message *message;
    mom_consumer *consumer;
    mom_node *node = nodes_open_alone(dir);
    if (mom_queue_create(node, "q", NULL, WAIT_MS) != MOM_OK ||
        mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer) != MOM_OK) {
        return 1;
    }
    struct rlimit limit = {.rlim_cur = 4096, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return 2;
    }
    int error = MOM_OK;
    for (int i = 0; i < 1000 && error == MOM_OK; i++) {
        error = mom_send(node, "q", "hello", 5, NULL, WAIT_MS);
    }
    if (error != MOM_UNKNOWN_OUTCOME && error != MOM_IO) {
        return 3;
    }
    if (mom_send(node, "q", "hello", 5, NULL, WAIT_MS) != MOM_IO) {
        return 4;
    }
    do { /* what was delivered before is still there */
        error = mom_receive(consumer, &message, WAIT_MS);
        if (error == MOM_OK) {
            mom_message_release(message);
        }
    } while (error == MOM_OK);
    if (error != MOM_IO) {
        return 5;
    }
    (void)mom_consumer_close(consumer, WAIT_MS);
    error = mom_close(node, WAIT_MS);
    return error == MOM_OK || error == MOM_IO ? 0 : 6;
}

static void a_failed_store_refuses_and_closes(void **state) {
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "test_alone", dir, (char *)NULL);
        _exit(127);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    mom_node *node = nodes_open_alone(dir); /* what is there is whole */
    CHECK_ERR(mom_queue_create(node, "q", NULL, WAIT_MS), MOM_EXISTS);
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void a_forked_child_gets_closed(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    send_in_order(node, "q", "m", 0, 1);
    mom_consumer *consumer;
    mom_message *message;
    mom_completions *completions;
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    CHECK_OK(mom_completions_open(node, &completions));
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        mom_message *other;
        mom_completion completion;
        size_t count;
        bool ok = mom_send(node, "q", "x", 1, NULL, 1000) == MOM_CLOSED &&
                  mom_receive(consumer, &other, 1000) == MOM_CLOSED &&
                  mom_ack(message) == MOM_CLOSED &&
                  mom_consumer_close(consumer, 1000) == MOM_CLOSED &&
                  mom_completions_wait(completions, &completion, 1, &count, 1000) ==
                      MOM_CLOSED &&
                  mom_queue_purge(node, "q", 1000) == MOM_CLOSED &&
                  mom_close(node, 1000) == MOM_CLOSED;
        _exit(ok ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_OK(mom_ack_wait(message, WAIT_MS)); /* the parent goes on */
    mom_message_release(message);
    mom_completions_close(completions);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

/* --- waiting
 * --------------------------------------------------------------------------------- */

static void waiting_ends_at_its_deadline(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    mom_consumer *consumer;
    mom_message *message;
    mom_completion completion;
    mom_completions *completions;
    size_t count;
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_completions_open(node, &completions));
    CHECK_ERR(mom_receive(consumer, &message, 0), MOM_EMPTY);
    int64_t begin = now_ms();
    CHECK_ERR(mom_receive(consumer, &message, 120), MOM_TIMEOUT);
    CHECK(now_ms() - begin >= 120);
    CHECK_ERR(mom_completions_wait(completions, &completion, 1, &count, 0), MOM_EMPTY);
    begin = now_ms();
    CHECK_ERR(mom_completions_wait(completions, &completion, 1, &count, 50), MOM_TIMEOUT);
    CHECK(now_ms() - begin >= 50);
    CHECK_OK(mom_receive_submit(consumer, 60, completions, &message));
    CHECK_OK(mom_completions_wait(completions, &completion, 1, &count, WAIT_MS));
    CHECK_EQ(completion.error, MOM_TIMEOUT);
    /* The consumer still gets what comes later. */
    send_in_order(node, "q", "m", 0, 1);
    receive_in_order(consumer, "m", 1);
    mom_completions_close(completions);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void a_client_without_a_mesh_says_what_it_waits_for(void **state) {
    (void)state;
    mom_options options;
    mom_options_init(&options);
    options.join = "tcp://127.0.0.1:1";
    mom_node *node;
    CHECK_OK(mom_open(&options, &node));
    CHECK_ERR(mom_wait_ready(node, 0), MOM_TIMEOUT);
    CHECK_ERR(mom_wait_ready(node, 200), MOM_TIMEOUT);
    CHECK(strlen(mom_last_error_text()) > 0);
    CHECK_ERR(mom_send(node, "q", "x", 1, NULL, 100), MOM_TIMEOUT);
    CHECK_OK(mom_close(node, WAIT_MS));
}

/* --- completions
 * ------------------------------------------------------------------------------- */

static void submitted_calls_complete_once_each_through_the_descriptor(void **state) {
    (void)state;
    enum { CALLS = 2000, MANY = 3000 };
    mom_node *node = nodes_open_alone(dir);
    mom_completions *completions;
    static int seen[CALLS];
    memset(seen, 0, sizeof seen);
    CHECK_OK(mom_completions_open(node, &completions));
    CHECK_OK(mom_queue_create_submit(node, "q", NULL, WAIT_MS, completions, NULL));
    mom_completion list[64];
    size_t count;
    CHECK_OK(mom_completions_wait(completions, list, 64, &count, WAIT_MS));
    CHECK_EQ(count, 1);
    CHECK_EQ(list[0].error, MOM_OK);
    for (int i = 0; i < CALLS; i++) {
        CHECK_OK(mom_send_submit(node, "q", "abc", 3, NULL, MOM_FOREVER, completions,
                                 &seen[i]));
    }
    struct pollfd entry = {.fd = mom_completions_fd(completions), .events = POLLIN};
    uint64_t last = 0;
    for (size_t done = 0; done < CALLS;) {
        CHECK_EQ(poll(&entry, 1, WAIT_MS), 1);
        CHECK_OK(mom_completions_wait(completions, list, 64, &count, 0));
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(list[i].error, MOM_OK);
            CHECK_EQ(list[i].count, 1);
            CHECK_EQ(list[i].synced_copies, 1);
            CHECK(list[i].sequence > last);
            last = list[i].sequence;
            (*(int *)list[i].user)++;
        }
        done += count;
    }
    CHECK_EQ(poll(&entry, 1, 0), 0);
    for (int i = 0; i < CALLS; i++) {
        CHECK_EQ(seen[i], 1);
    }
    static mom_slice bodies[MANY];
    for (int i = 0; i < MANY; i++) {
        bodies[i] = (mom_slice){"0123456789", (size_t)(i % 10)};
    }
    CHECK_OK(mom_send_many_submit(node, "q", bodies, MANY, NULL, WAIT_MS, completions,
                                  &seen[0]));
    CHECK_OK(mom_completions_wait(completions, list, 64, &count, WAIT_MS));
    CHECK_EQ(count, 1);
    CHECK_EQ(list[0].error, MOM_OK);
    CHECK_EQ(list[0].count, MANY);
    CHECK_OK(mom_send_submit(node, "none", "abc", 3, NULL, WAIT_MS, completions, NULL));
    CHECK_OK(mom_completions_wait(completions, list, 64, &count, WAIT_MS));
    CHECK_EQ(list[0].error, MOM_NOT_FOUND);
    mom_stream_info info;
    mom_stream_info_init(&info);
    CHECK_OK(mom_queue_info(node, "q", &info, WAIT_MS));
    CHECK_EQ(info.messages_ready, CALLS + MANY);
    CHECK_OK(mom_queue_purge(node, "q", WAIT_MS));
    CHECK_OK(mom_queue_info(node, "q", &info, WAIT_MS));
    CHECK_EQ(info.messages_ready, 0);
    CHECK_OK(mom_close(node, WAIT_MS));
    CHECK_ERR(mom_completions_wait(completions, list, 64, &count, MOM_FOREVER),
              MOM_CLOSED);
    mom_completions_close(completions);
}

/* --- many threads
 * -------------------------------------------------------------------------------- */

enum { SENDERS = 4, RECEIVERS = 4, EACH = 300 };

struct crowd {
    mom_node *node;
    mom_consumer *consumer;
    pthread_mutex_t mutex;
    int received[SENDERS][EACH];
    int total;
};

struct worker {
    struct crowd *crowd;
    int number;
};

static void *send_many_singly(void *user) {
    const struct worker *worker = user;
    for (int i = 0; i < EACH; i++) {
        int body[2] = {worker->number, i};
        if (mom_send(worker->crowd->node, "crowd", body, sizeof body, NULL, WAIT_MS) !=
            MOM_OK) {
            return worker->crowd;
        }
    }
    return NULL;
}

static mom_handled count_message(mom_message *message, void *user) {
    struct crowd *crowd = user;
    int body[2];
    size_t size;
    const void *bytes = mom_message_body(message, &size);
    memcpy(body, bytes, sizeof body);
    pthread_mutex_lock(&crowd->mutex);
    crowd->received[body[0]][body[1]]++;
    bool is_last = ++crowd->total == SENDERS * EACH;
    pthread_mutex_unlock(&crowd->mutex);
    if (is_last) {
        mom_consumer_stop(crowd->consumer);
    }
    return MOM_HANDLED_ACK;
}

static void *run_handler(void *user) {
    const struct worker *worker = user;
    int error = mom_consumer_run(worker->crowd->consumer, count_message, worker->crowd);
    return error == MOM_OK ? NULL : worker->crowd;
}

static void eight_threads_share_one_node_and_one_consumer(void **state) {
    (void)state;
    static struct crowd crowd;
    memset(&crowd, 0, sizeof crowd);
    CHECK_EQ(pthread_mutex_init(&crowd.mutex, NULL), 0);
    crowd.node = nodes_open_alone(dir);
    CHECK_OK(mom_queue_create(crowd.node, "crowd", NULL, WAIT_MS));
    CHECK_OK(mom_queue_consumer(crowd.node, "crowd", NULL, WAIT_MS, &crowd.consumer));
    pthread_t threads[SENDERS + RECEIVERS];
    struct worker workers[SENDERS + RECEIVERS];
    for (int i = 0; i < SENDERS + RECEIVERS; i++) {
        workers[i] = (struct worker){&crowd, i};
        CHECK_EQ(pthread_create(&threads[i], NULL,
                                i < SENDERS ? send_many_singly : run_handler,
                                &workers[i]),
                 0);
    }
    for (int i = 0; i < SENDERS + RECEIVERS; i++) {
        void *failed;
        CHECK_EQ(pthread_join(threads[i], &failed), 0);
        CHECK(failed == NULL);
    }
    for (int i = 0; i < SENDERS; i++) {
        for (int j = 0; j < EACH; j++) {
            CHECK_EQ(crowd.received[i][j], 1);
        }
    }
    CHECK_OK(mom_consumer_flush(crowd.consumer, WAIT_MS));
    mom_message *none;
    CHECK_ERR(mom_receive(crowd.consumer, &none, 0), MOM_EMPTY);
    /* A thread that comes when all is done does not wait for ever. */
    CHECK_OK(mom_consumer_run(crowd.consumer, count_message, &crowd));
    CHECK_OK(mom_consumer_close(crowd.consumer, WAIT_MS));
    CHECK_OK(mom_close(crowd.node, WAIT_MS));
    pthread_mutex_destroy(&crowd.mutex);
}

static void the_mesh_of_one_describes_itself(void **state) {
    (void)state;
    mom_node *node = nodes_open_alone(dir);
    mom_status *status;
    mom_mesh_info mesh;
    mom_node_info about;
    mom_shard_info shard;
    CHECK_OK(mom_status_get(node, &status, WAIT_MS));
    mom_mesh_info_init(&mesh);
    CHECK_OK(mom_status_mesh(status, &mesh));
    CHECK(mesh.is_member);
    CHECK(mesh.is_ready);
    CHECK(mesh.is_durable);
    CHECK_EQ(mesh.shards, 16);
    CHECK_EQ(strlen(mesh.mesh_id), 32);
    CHECK_EQ(mom_status_nodes_count(status), 1);
    mom_node_info_init(&about);
    CHECK_OK(mom_status_node(status, 0, &about));
    CHECK_EQ(about.node, mom_node_id(node));
    CHECK(about.is_self);
    CHECK(about.is_up);
    CHECK_STR(about.name, mom_node_name(node));
    CHECK_EQ(about.leads, 17);
    CHECK_EQ(mom_status_shards_count(status), 17);
    mom_shard_info_init(&shard);
    CHECK_OK(mom_status_shard(status, 3, &shard));
    CHECK_EQ(shard.leader, mom_node_id(node));
    CHECK(shard.is_here);
    CHECK_ERR(mom_status_shard(status, 17, &shard), MOM_NOT_FOUND);
    mom_status_free(status);
    mom_metrics metrics;
    mom_metrics_init(&metrics);
    CHECK_OK(mom_metrics_get(node, &metrics));
    CHECK(metrics.turns_count > 0);
    int64_t until = now_ms() + WAIT_MS; /* counters may be a moment old */
    while (metrics.syncs_count == 0 && now_ms() < until) {
        CHECK_OK(mom_wait_ready(node, WAIT_MS));
        CHECK_OK(mom_metrics_get(node, &metrics));
    }
    CHECK(metrics.syncs_count > 0);
    CHECK_STR(mom_metrics_name(0), "turns_count");
    CHECK_EQ(mom_metrics_value(&metrics, 0), metrics.turns_count);
    CHECK_OK(mom_close(node, WAIT_MS));
}

int main(int argc, char **argv) {
    if (argc == 2) { /* a_failed_store_refuses_and_closes */
        snprintf(dir, sizeof dir, "%s", argv[1]);
        return fail_writes();
    }
#define ALONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        ALONE(acknowledged_is_gone_and_unacknowledged_is_there_after_reopening),
        ALONE(a_message_carries_what_it_was_given),
        ALONE(given_back_comes_again_and_rejected_is_dead_lettered),
        ALONE(a_limit_leaves_the_rest_to_others),
        ALONE(a_limit_ends_who_waits),
        ALONE(a_message_comes_again_when_its_lease_ends),
        ALONE(wrong_calls_say_what_is_wrong),
        ALONE(options_that_do_not_fit_are_named),
        ALONE(a_directory_belongs_to_one_node_at_a_time),
        ALONE(a_store_that_lost_promises_is_corrupt_where_it_is_alone),
        ALONE(a_failed_store_refuses_and_closes),
        ALONE(a_forked_child_gets_closed),
        ALONE(waiting_ends_at_its_deadline),
        ALONE(a_client_without_a_mesh_says_what_it_waits_for),
        ALONE(submitted_calls_complete_once_each_through_the_descriptor),
        ALONE(eight_threads_share_one_node_and_one_consumer),
        ALONE(the_mesh_of_one_describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
