/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot path allocates next to nothing (docs/hot-path.md): memory is taken for a batch,
 * never for a message. Counted over the whole library, in a node alone, once it is warm.
 */
#include "base/mem.h"
#include "integration/nodes.h"

enum { MESSAGES = 20000, WINDOW = 512, BATCH = 256, SINGLE = 100, ROUNDS = 3 };

static const char body[100] = "a body of one hundred bytes";

static void publish(mom_node *node, mom_completions *completions) {
    size_t submitted = 0;
    size_t done = 0;
    while (done < MESSAGES) {
        while (submitted < MESSAGES && submitted - done < WINDOW) {
            CHECK_OK(mom_send_submit(node, "q", body, sizeof body, NULL, MOM_FOREVER,
                                     completions, NULL));
            submitted++;
        }
        mom_completion list[BATCH];
        size_t count;
        CHECK_OK(mom_completions_wait(completions, list, BATCH, &count, WAIT_MS));
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(list[i].error, MOM_OK);
        }
        done += count;
    }
}

static void consume(mom_consumer *consumer) {
    for (size_t done = 0; done < MESSAGES;) {
        mom_message *messages[BATCH];
        size_t count;
        CHECK_OK(mom_receive_many(consumer, messages, BATCH, &count, WAIT_MS));
        CHECK_OK(mom_ack_many(messages, count));
        for (size_t i = 0; i < count; i++) {
            mom_message_release(messages[i]);
        }
        done += count;
    }
    CHECK_OK(mom_consumer_flush(consumer, WAIT_MS));
}

static void messages_cost_no_allocations(void **state) {
    (void)state;
    char scratch[DIR_BYTES];
    char dir[DIR_BYTES];
    nodes_scratch(scratch);
    nodes_path(dir, scratch, "data");
    mom_node *node = nodes_open_alone(dir);
    mom_completions *completions;
    mom_consumer *consumer;
    CHECK_OK(mom_queue_create(node, "q", NULL, WAIT_MS));
    CHECK_OK(mom_completions_open(node, &completions));
    CHECK_OK(mom_queue_consumer(node, "q", NULL, WAIT_MS, &consumer));
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before = momi_mem_allocations();
        publish(node, completions);
        consume(consumer);
        uint64_t through = momi_mem_allocations() - before;
        before = momi_mem_allocations();
        for (int i = 0; i < SINGLE; i++) {
            CHECK_OK(mom_send(node, "q", body, sizeof body, NULL, WAIT_MS));
        }
        uint64_t single = momi_mem_allocations() - before;
        print_message("%.4f allocations for a message sent and received, %.2f for a "
                      "single send\n",
                      (double)through / MESSAGES, (double)single / SINGLE);
        CHECK_OK(mom_queue_purge(node, "q", WAIT_MS));
        if (round > 0) { /* the first one warms up */
            CHECK(through < MESSAGES / 4);
            CHECK(single < SINGLE * 20);
        }
    }
    CHECK_OK(mom_consumer_close(consumer, WAIT_MS));
    mom_completions_close(completions);
    CHECK_OK(mom_close(node, WAIT_MS));
    nodes_scratch_remove(scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(messages_cost_no_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
