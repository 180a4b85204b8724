/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bus and survey of real nodes: with one address known, nodes hear of all the others;
 * sockets are where they were asked for, or not there.
 */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "integration/nodes.h"

enum { NODES = 3 };

/* What one node logged of others. */
struct ear {
    pthread_mutex_t mutex;
    pthread_cond_t heard_more;
    bool heard[NODES]; /* of the node with that name */
};

static void listen_to(mom_log_level level, const char *id, const char *group,
                      const char *message, void *user) {
    struct ear *ear = user;
    (void)level;
    (void)group;
    if (strcmp(id, "MOM-GOSSIP-NODE") != 0) {
        return;
    }
    pthread_mutex_lock(&ear->mutex);
    for (int i = 0; i < NODES; i++) {
        char name[16];
        snprintf(name, sizeof name, "(n%d)", i);
        ear->heard[i] = ear->heard[i] || strstr(message, name) != NULL;
    }
    pthread_cond_broadcast(&ear->heard_more);
    pthread_mutex_unlock(&ear->mutex);
}

static void wait_until_heard_of(struct ear *ear, int self) {
    struct timespec limit;
    CHECK_EQ(clock_gettime(CLOCK_REALTIME, &limit), 0);
    limit.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&ear->mutex);
    for (int i = 0; i < NODES; i++) {
        while (i != self && !ear->heard[i]) {
            if (pthread_cond_timedwait(&ear->heard_more, &ear->mutex, &limit) != 0) {
                pthread_mutex_unlock(&ear->mutex);
                fail_msg("n%d never heard of n%d", self, i);
            }
        }
    }
    pthread_mutex_unlock(&ear->mutex);
}

static mom_node *open_node(const char *scratch, int number, const char *join,
                           struct ear *ear) {
    char name[16];
    char dir[DIR_BYTES];
    snprintf(name, sizeof name, "n%d", number);
    nodes_path(dir, scratch, name);
    mom_options options;
    mom_options_init(&options);
    options.data_dir = dir;
    options.listen = "tcp://127.0.0.1:0";
    options.join = join;
    options.name = name;
    options.log = listen_to;
    options.log_user = ear;
    options.log_level = MOM_LOG_DEBUG;
    mom_node *node;
    CHECK_OK(mom_open(&options, &node));
    return node;
}

static void nodes_find_each_other_with_one_address_known(void **state) {
    (void)state;
    char scratch[DIR_BYTES];
    struct ear ears[NODES];
    mom_node *nodes[NODES];
    nodes_scratch(scratch);
    for (int i = 0; i < NODES; i++) {
        memset(&ears[i], 0, sizeof ears[i]);
        CHECK_EQ(pthread_mutex_init(&ears[i].mutex, NULL), 0);
        CHECK_EQ(pthread_cond_init(&ears[i].heard_more, NULL), 0);
        const char *first = i == 0 ? NULL : mom_node_address(nodes[0]);
        nodes[i] = open_node(scratch, i, first, &ears[i]);
    }
    for (int i = 0; i < NODES; i++) {
        wait_until_heard_of(&ears[i], i);
        CHECK_OK(mom_wait_ready(nodes[i], WAIT_MS));
    }
    for (int i = 0; i < NODES; i++) {
        mom_metrics metrics;
        mom_metrics_init(&metrics);
        CHECK_OK(mom_metrics_get(nodes[i], &metrics));
        CHECK(metrics.gossip_in_count > 0);
        CHECK(metrics.gossip_out_count > 0);
        CHECK_EQ(metrics.gossip_invalid_count, 0);
    }
    for (int i = NODES; i-- > 0;) {
        CHECK_OK(mom_close(nodes[i], WAIT_MS));
        pthread_mutex_destroy(&ears[i].mutex);
        pthread_cond_destroy(&ears[i].heard_more);
    }
    nodes_scratch_remove(scratch);
}

static int try_open(const char *scratch, const char *bus, const char *survey,
                    bool no_gossip, mom_node **node) {
    char dir[DIR_BYTES];
    char listen[DIR_BYTES + 32];
    nodes_path(dir, scratch, "data");
    snprintf(listen, sizeof listen, "ipc://%s/lane", scratch);
    mom_options options;
    mom_options_init(&options);
    options.data_dir = dir;
    options.listen = listen;
    options.listen_bus = bus;
    options.listen_survey = survey;
    options.no_gossip = no_gossip;
    nodes_log(&options);
    return mom_open(&options, node);
}

static bool is_there(const char *scratch, const char *name) {
    char path[DIR_BYTES];
    nodes_path(path, scratch, name);
    return access(path, F_OK) == 0;
}

static void sockets_are_where_they_were_asked_for(void **state) {
    (void)state;
    char scratch[DIR_BYTES];
    char bus[DIR_BYTES + 32];
    mom_node *node;
    nodes_scratch(scratch);
    snprintf(bus, sizeof bus, "ipc://%s/own", scratch);
    CHECK_OK(try_open(scratch, bus, NULL, false, &node));
    CHECK(is_there(scratch, "own"));
    CHECK(is_there(scratch, "lane.survey"));
    CHECK(!is_there(scratch, "lane.bus"));
    CHECK_OK(mom_close(node, WAIT_MS));
    CHECK_OK(try_open(scratch, NULL, NULL, true, &node));
    CHECK_OK(mom_wait_ready(node, WAIT_MS));
    CHECK(!is_there(scratch, "lane.survey"));
    CHECK_OK(mom_close(node, WAIT_MS));
    CHECK_ERR(try_open(scratch, "nonsense", NULL, false, &node), MOM_INVALID);
    CHECK(strstr(mom_last_error_text(), "listen_bus") != NULL);
    CHECK_ERR(try_open(scratch, NULL, bus, true, &node), MOM_INVALID);
    snprintf(bus, sizeof bus, "ipc://%s/no/such/folder", scratch);
    CHECK(try_open(scratch, bus, NULL, false, &node) != MOM_OK);
    CHECK_OK(try_open(scratch, NULL, NULL, false, &node)); /* it let go of everything */
    CHECK_OK(mom_wait_ready(node, WAIT_MS));
    CHECK_OK(mom_close(node, WAIT_MS));
    nodes_scratch_remove(scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nodes_find_each_other_with_one_address_known),
        TEST(sockets_are_where_they_were_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
