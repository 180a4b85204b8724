/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many at a time: messages as plain data, lists of more names than one answer holds; and
 * what a program that embeds the library keeps for itself: its signals.
 */
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "integration/nodes.h"

enum { MESSAGES = 100, QUEUES = 1100, COMPLETIONS = 64 };

static mom_node *open_memory(const char *listen) {
    mom_options options;
    mom_options_init(&options);
    options.memory = true;
    options.listen = listen;
    nodes_log(&options);
    mom_node *node;
    CHECK_OK(mom_open(&options, &node));
    CHECK_OK(mom_wait_ready(node, WAIT_MS));
    return node;
}

static void many_messages_are_described_copied_and_released_at_once(void **state) {
    (void)state;
    mom_node *node = open_memory(NULL);
    static const mom_header headers[] = {{"a", "1", 1}, {"b", "2", 1}};
    mom_send_options options;
    mom_send_options_init(&options);
    options.create = true;
    options.key = "k.l";
    options.headers = headers;
    options.headers_count = 2;
    char texts[MESSAGES][16];
    mom_slice bodies[MESSAGES];
    size_t total = 0;
    for (int i = 0; i < MESSAGES; i++) { /* the first is empty */
        int size = i == 0 ? 0 : snprintf(texts[i], sizeof texts[i], "body %d", i);
        bodies[i] = (mom_slice){texts[i], (size_t)size};
        total += (size_t)size;
    }
    CHECK_OK(mom_send_many(node, "q", bodies, MESSAGES, &options, NULL, WAIT_MS));
    mom_consumer *consumer;
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    mom_message *messages[MESSAGES];
    for (size_t have = 0; have < MESSAGES;) {
        size_t count;
        CHECK_OK(mom_receive_many(consumer, messages + have, MESSAGES - have, &count,
                                  WAIT_MS));
        have += count;
    }
    mom_message_view views[MESSAGES];
    CHECK_OK(mom_message_view_many(messages, MESSAGES, views, sizeof views[0]));
    for (int i = 0; i < MESSAGES; i++) {
        CHECK_EQ(views[i].body_size, bodies[i].size);
        CHECK_BYTES(views[i].body, texts[i], bodies[i].size);
        CHECK_EQ(views[i].key_size, 3);
        CHECK_BYTES(views[i].key, "k.l", 3);
        CHECK_EQ(views[i].sequence, i + 1);
        CHECK_EQ(views[i].published_us, mom_message_published_us(messages[i]));
        CHECK_EQ(views[i].publisher, mom_node_id(node));
        CHECK_EQ(views[i].deliveries, 1);
        CHECK_EQ(views[i].headers_count, 2);
    }
    CHECK_EQ(mom_message_copy_many(messages, MESSAGES, NULL, 0), total);
    char buffer[MESSAGES * 16] = "untouched";
    CHECK_EQ(mom_message_copy_many(messages, MESSAGES, buffer, total - 1), total);
    CHECK_STR(buffer, "untouched");
    CHECK_EQ(mom_message_copy_many(messages, MESSAGES, buffer, total), total);
    size_t at = 0;
    for (int i = 0; i < MESSAGES; i++) {
        CHECK_BYTES(buffer + at, texts[i], bodies[i].size);
        at += bodies[i].size;
    }
    CHECK_OK(mom_ack_many(messages, MESSAGES / 2));
    mom_message_release_many(messages, MESSAGES); /* the other half is given back */
    mom_message *again;
    CHECK_OK(mom_receive(consumer, &again, WAIT_MS));
    CHECK_EQ(mom_message_sequence(again), MESSAGES / 2 + 1);
    CHECK(mom_message_redelivered(again));
    mom_message_release_many(&again, 1);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void a_view_of_another_size_gets_what_both_know(void **state) {
    (void)state;
    mom_node *node = open_memory(NULL);
    mom_send_options options;
    mom_send_options_init(&options);
    options.create = true;
    CHECK_OK(mom_send(node, "q", "hello", 5, &options, WAIT_MS));
    mom_consumer *consumer;
    mom_message *message;
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_receive(consumer, &message, WAIT_MS));
    struct {
        const void *body;
        size_t body_size;
        uint64_t guard;
    } small = {.guard = 7};
    CHECK_OK(mom_message_view_many(&message, 1, (mom_message_view *)(void *)&small,
                                   offsetof(mom_message_view, key)));
    CHECK_EQ(small.body_size, 5);
    CHECK_EQ(small.guard, 7);
    struct {
        mom_message_view known;
        uint64_t later;
    } large = {.later = 7};
    CHECK_OK(mom_message_view_many(&message, 1, &large.known, sizeof large));
    CHECK_EQ(large.known.sequence, 1);
    CHECK_EQ(large.later, 0);
    CHECK_ERR(mom_message_view_many(&message, 1, NULL, sizeof large), MOM_INVALID);
    CHECK_ERR(mom_message_view_many(&message, 1, &large.known, 0), MOM_INVALID);
    mom_message_release(message);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void only_what_is_buffered_is_taken_without_asking(void **state) {
    (void)state;
    mom_node *node = open_memory(NULL);
    mom_consumer *consumer;
    mom_completions *completions;
    mom_message *messages[2];
    size_t count;
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    CHECK_OK(mom_completions_open(node, &completions));
    CHECK_ERR(mom_receive_ready(consumer, messages, 2, &count), MOM_EMPTY);
    CHECK_ERR(mom_receive_ready(consumer, messages, 0, &count), MOM_INVALID);
    CHECK_OK(mom_receive_submit(consumer, WAIT_MS, completions, NULL));
    CHECK_OK(mom_send(node, "q", "hello", 5, NULL, WAIT_MS));
    mom_completion done;
    CHECK_OK(mom_completions_wait(completions, &done, 1, &count, WAIT_MS));
    CHECK_OK(done.error);
    CHECK_OK(mom_receive_ready(consumer, messages, 2, &count));
    CHECK_EQ(count, 1);
    check_body(messages[0], "hello");
    CHECK_OK(mom_ack_wait(messages[0], WAIT_MS));
    mom_message_release(messages[0]);
    CHECK_ERR(mom_receive_ready(consumer, messages, 2, &count), MOM_EMPTY);
    CHECK_OK(mom_queue_delete(node, "q", WAIT_MS));
    CHECK_ERR(mom_receive_many(consumer, messages, 2, &count, WAIT_MS), MOM_NOT_FOUND);
    CHECK_ERR(mom_receive_ready(consumer, messages, 2, &count), MOM_NOT_FOUND);
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
    CHECK_ERR(mom_wait_ready(node, WAIT_MS), MOM_CLOSED); /* a queue is still open */
    CHECK_ERR(mom_close(node, WAIT_MS), MOM_CLOSED);
    mom_completions_close(completions);
}

static void count_line(mom_log_level level, const char *id, const char *group,
                       const char *message, void *user) {
    CHECK(level >= MOM_LOG_ERROR && level <= MOM_LOG_DEBUG);
    CHECK(id[0] != '\0' && group[0] != '\0' && message != NULL);
    ++*(int *)user;
}

static void a_log_is_set_without_knowing_the_struct(void **state) {
    (void)state;
    int lines = 0;
    mom_options *options = mom_options_new();
    CHECK(options != NULL);
    CHECK_OK(mom_options_set(options, "memory", "true"));
    CHECK_OK(mom_options_set(options, "log_level", "debug"));
    mom_options_set_log(options, count_line, &lines);
    mom_node *node;
    CHECK_OK(mom_open(options, &node));
    mom_options_free(options);
    CHECK_OK(mom_wait_ready(node, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
    CHECK(lines > 0);
}

static void a_list_is_whole_when_it_is_longer_than_one_answer(void **state) {
    (void)state;
    mom_node *node = open_memory(NULL);
    mom_completions *completions;
    CHECK_OK(mom_completions_open(node, &completions));
    for (int i = 0; i < QUEUES; i++) {
        char name[32];
        snprintf(name, sizeof name, "queue-%05d", i);
        CHECK_OK(mom_queue_create_submit(node, name, NULL, WAIT_MS, completions, NULL));
    }
    for (size_t done = 0; done < QUEUES;) {
        mom_completion list[COMPLETIONS];
        size_t count;
        CHECK_OK(mom_completions_wait(completions, list, COMPLETIONS, &count, WAIT_MS));
        for (size_t i = 0; i < count; i++) {
            CHECK_OK(list[i].error);
        }
        done += count;
    }
    mom_list *names;
    CHECK_OK(mom_queue_list(node, &names, WAIT_MS));
    CHECK_EQ(mom_list_count(names), QUEUES);
    for (int i = 0; i < QUEUES; i++) {
        char name[32];
        snprintf(name, sizeof name, "queue-%05d", i);
        CHECK_STR(mom_list_name(names, (size_t)i), name);
        CHECK(mom_list_is_own(names, (size_t)i));
    }
    CHECK(mom_list_name(names, QUEUES) == NULL);
    mom_list_free(names);
    mom_completions_close(completions);
    CHECK_OK(mom_close(node, WAIT_MS));
}

static void subscriptions_are_listed_sorted(void **state) {
    (void)state;
    static const char *const made[] = {"sport", "all", "others"};
    static const char *const listed[] = {"all", "others", "sport"};
    mom_node *node = open_memory(NULL);
    CHECK_OK(mom_topic_create(node, "t", NULL, WAIT_MS));
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(mom_subscription_create(node, "t", made[i], NULL, WAIT_MS));
    }
    mom_list *names;
    CHECK_OK(mom_subscription_list(node, "t", &names, WAIT_MS));
    CHECK_EQ(mom_list_count(names), 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK_STR(mom_list_name(names, i), listed[i]);
    }
    mom_list_free(names);
    CHECK_OK(mom_close(node, WAIT_MS));
}

static uint64_t blocked_by(const char *thread) {
    char path[64];
    char line[256];
    uint64_t blocked = 0;
    bool is_found = false;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        is_found = is_found || sscanf(line, "SigBlk: %" SCNx64, &blocked) == 1;
    }
    fclose(file);
    CHECK(is_found);
    return blocked;
}

/* Otherwise Ctrl-C may land on a thread of the library, and the program's own, which
 * waits, does not hear of it. */
static void threads_of_the_library_take_no_signals(void **state) {
    (void)state;
    mom_node *node = open_memory("tcp://127.0.0.1:0");
    char self[32];
    snprintf(self, sizeof self, "%d", (int)getpid());
    int threads = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        bool is_blocked = (blocked_by(entry->d_name) >> (SIGINT - 1) & 1) != 0;
        CHECK_EQ(is_blocked, strcmp(entry->d_name, self) != 0);
        threads++;
    }
    closedir(tasks);
    CHECK(threads > 3);
    CHECK_OK(mom_close(node, WAIT_MS));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(many_messages_are_described_copied_and_released_at_once),
        TEST(a_view_of_another_size_gets_what_both_know),
        TEST(only_what_is_buffered_is_taken_without_asking),
        TEST(a_log_is_set_without_knowing_the_struct),
        TEST(a_list_is_whole_when_it_is_longer_than_one_answer),
        TEST(subscriptions_are_listed_sorted),
        TEST(threads_of_the_library_take_no_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
