/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out: one allocation of the library fails, at every site in turn, while
 * a program opens nodes, creates, sends, receives, settles and closes. Each call answers
 * NO_MEMORY or does what it should; nothing crashes, hangs or leaks; what was refused is
 * not there, what was acknowledged is, and the same nodes serve again at once.
 *
 * A scenario runs with allocation number 1, 2, 3, ... failing until one passes in which
 * none did. The test run takes a sample of the numbers, which shifts with nothing; all of
 * them: MOM_MEMORY_STEP=1 (tests/campaign.sh memory).
 */
#include "integration/nodes.h"

#include "base/mem.h"

enum { SENDS = 3, SITES_MAX = 200000 };

struct outcome {
    unsigned refused;  /* calls that were NO_MEMORY */
    unsigned accepted; /* sends acknowledged */
    unsigned unknown;  /* sends of which it is not known */
};

enum part {
    PART_OPEN,
    PART_CREATE,
    PART_SEND,
    PART_RECEIVE,
    PART_ASK,
    PART_CLOSE,
    PARTS
};
static enum part now_part;
static int64_t now_nth; /* of `now_part`: what fails */

/* What a call may answer while memory fails. */
static bool took(struct outcome *outcome, int error) {
    if (error == MOM_NO_MEMORY) {
        outcome->refused++;
    } else if (error != MOM_OK) {
        fail_msg("%s: %s (part %d, allocation %lld)", mom_err_name(error),
                 mom_last_error_text(), (int)now_part, (long long)now_nth);
    }
    return error == MOM_OK;
}

static void send_some(mom_node *node, struct outcome *outcome) {
    for (int i = 0; i < SENDS; i++) {
        int error = mom_send(node, "q", "body", 4, NULL, WAIT_MS);
        if (error == MOM_UNKNOWN_OUTCOME) {
            outcome->unknown++;
        } else {
            outcome->accepted += took(outcome, error);
        }
    }
}

static unsigned drain(mom_consumer *consumer, struct outcome *outcome) {
    unsigned received = 0;
    for (;;) {
        mom_message *message;
        int error = mom_receive(consumer, &message, 0);
        if (error == MOM_EMPTY) {
            return received;
        }
        if (took(outcome, error)) {
            check_body(message, "body");
            received += took(outcome, mom_ack_wait(message, WAIT_MS));
            mom_message_release(message); /* not acknowledged: it comes again */
        }
    }
}

/* --- a node alone ----------------------------------------------------------------- */

struct scene {
    char scratch[DIR_BYTES];
    char dir[DIR_BYTES];
    bool is_memory;
};

static mom_node *open_node(const struct scene *scene, struct outcome *outcome) {
    mom_options options;
    mom_node *node = NULL;
    mom_options_init(&options);
    options.memory = scene->is_memory;
    options.data_dir = scene->is_memory ? NULL : scene->dir;
    options.shards = 2;
    return took(outcome, mom_open(&options, &node)) ? node : NULL;
}

static bool was_left; /* the number of this pass was not reached */

static void disarm(void) {
    was_left = was_left || momi_mem_will_fail();
    momi_mem_fail_after(-1, false);
}

static void arm(enum part part, enum part wanted, int64_t nth) {
    disarm();
    if (part == wanted) {
        momi_mem_fail_after(nth, false);
    }
}

static void create_part(mom_node *node, struct outcome *outcome) {
    mom_stream_options options;
    mom_subscription_options subscription;
    static const char *const filters[] = {"a.*"};
    mom_stream_options_init(&options);
    mom_subscription_options_init(&subscription);
    options.if_missing = true;
    subscription.if_missing = true;
    subscription.filters = filters;
    subscription.filters_count = 1;
    (void)took(outcome, mom_queue_create(node, "q", &options, WAIT_MS));
    if (took(outcome, mom_topic_create(node, "t", &options, WAIT_MS))) {
        (void)took(outcome,
                   mom_subscription_create(node, "t", "s", &subscription, WAIT_MS));
    }
}

static void ask_part(mom_node *node, struct outcome *outcome) {
    mom_stream_info info;
    mom_list *list = NULL;
    mom_status *status = NULL;
    mom_stream_info_init(&info);
    (void)took(outcome, mom_queue_info(node, "q", &info, WAIT_MS));
    if (took(outcome, mom_queue_list(node, &list, WAIT_MS))) {
        CHECK_EQ(mom_list_count(list), 1);
        mom_list_free(list);
    }
    if (took(outcome, mom_subscription_list(node, "t", &list, WAIT_MS))) {
        CHECK_EQ(mom_list_count(list), 1);
        mom_list_free(list);
    }
    if (took(outcome, mom_status_get(node, &status, WAIT_MS))) {
        CHECK_EQ(mom_status_shards_count(status), 3);
        mom_status_free(status);
    }
}

static void receive_part(mom_node *node, struct outcome *outcome, unsigned *received) {
    mom_consumer *consumer = NULL;
    if (took(outcome, mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer))) {
        *received += drain(consumer, outcome);
        (void)took(outcome, mom_consumer_close(consumer, WAIT_MS));
    }
}

/* True: an allocation was made to fail. */
static bool pass(const struct scene *scene, enum part wanted, int64_t nth) {
    struct outcome outcome = {0};
    struct outcome certain = {0};
    unsigned received = 0;
    was_left = false;
    arm(PART_OPEN, wanted, nth);
    mom_node *node = open_node(scene, &outcome);
    if (node == NULL) {
        disarm();
        node = open_node(scene, &certain);
    }
    (void)took(&outcome, mom_wait_ready(node, WAIT_MS));
    arm(PART_CREATE, wanted, nth);
    create_part(node, &outcome);
    disarm();
    create_part(node, &certain);
    arm(PART_SEND, wanted, nth);
    send_some(node, &outcome);
    arm(PART_RECEIVE, wanted, nth);
    receive_part(node, &outcome, &received);
    arm(PART_ASK, wanted, nth);
    ask_part(node, &outcome);
    disarm();
    receive_part(node, &certain, &received); /* the node serves again */
    CHECK(received >= outcome.accepted);
    CHECK(received <= outcome.accepted + outcome.unknown);
    arm(PART_CLOSE, wanted, nth);
    int error = mom_close(node, WAIT_MS);
    disarm();
    CHECK(error == MOM_OK || error == MOM_NO_MEMORY);
    CHECK_EQ(certain.refused, 0);
    return !was_left;
}

/* The next number to try: all of the first ones, then in growing steps. */
static int64_t after(int64_t nth, enum part part) {
    const char *step = getenv("MOM_MEMORY_STEP");
    if (step != NULL) {
        return nth + strtol(step, NULL, 10);
    }
    return nth < 4 ? nth + 1 : nth + nth / 2 + (int64_t)part % 3;
}

static void run_alone(bool is_memory) {
    struct scene scene = {.is_memory = is_memory};
    for (enum part part = PART_OPEN; part < PARTS; part++) {
        int64_t nth = 0;
        bool has_failed = true;
        while (has_failed && nth < SITES_MAX) {
            nodes_scratch(scene.scratch);
            nodes_path(scene.dir, scene.scratch, "data");
            int64_t live = momi_mem_live();
            now_part = part;
            now_nth = nth;
            has_failed = pass(&scene, part, nth);
            CHECK_EQ(momi_mem_live(), live);
            nodes_scratch_remove(scene.scratch);
            nth = after(nth, part);
        }
        CHECK(nth > 1);
        CHECK(nth < SITES_MAX);
        print_message("part %d: up to allocation %lld\n", (int)part, (long long)nth);
    }
}

static void a_node_in_memory_survives_every_failing_allocation(void **state) {
    (void)state;
    run_alone(true);
}

static void a_node_on_disk_survives_every_failing_allocation(void **state) {
    (void)state;
    run_alone(false);
}

/* --- three nodes ------------------------------------------------------------------ */

/* Allocations of all three count, whichever comes; the same mesh goes on throughout. */
static void a_mesh_of_three_survives_failing_allocations(void **state) {
    (void)state;
    enum { ROUNDS = 40, ROUNDS_ALL = 2000 };
    struct mesh mesh;
    struct outcome outcome = {0};
    struct outcome certain = {0};
    unsigned received = 0;
    int rounds = getenv("MOM_MEMORY_STEP") != NULL ? ROUNDS_ALL : ROUNDS;
    mesh_open(&mesh, 3);
    create_part(mesh.nodes[0], &certain);
    for (int round = 0; round < rounds; round++) {
        mom_node *node = mesh.nodes[round % 3];
        momi_mem_fail_after(round % (rounds / 2), false);
        send_some(node, &outcome);
        receive_part(node, &outcome, &received);
        momi_mem_fail_after(-1, false);
    }
    receive_part(mesh.nodes[1], &certain, &received);
    CHECK_EQ(certain.refused, 0);
    CHECK(received >= outcome.accepted);
    CHECK(received <= outcome.accepted + outcome.unknown);
    mesh_close(&mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_node_in_memory_survives_every_failing_allocation),
        TEST(a_node_on_disk_survives_every_failing_allocation),
        TEST(a_mesh_of_three_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
