/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a topic through a durable subscription with filters.
 *
 *     subscribe DIR [FILTER]...
 *
 * Without filters it reads the subscription that `publish` has made; with them it makes
 * one that starts with the first message that is still kept. It ends when nothing is
 * left. What was acknowledged does not come again, however often it is started.
 */
#include <mom/mom.h>
#include <stdio.h>

enum { TIMEOUT_MS = 10000, BATCH = 64 };

static int report(const char *what, int error) {
    if (error != MOM_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, mom_strerror(error),
                mom_last_error_text());
    }
    return error;
}

static int make_subscription(mom_node *node, const char *name, const char *const *filters,
                             size_t count) {
    mom_subscription_options options;
    mom_subscription_options_init(&options);
    options.if_missing = true;
    options.from = MOM_FROM_FIRST;
    options.filters = filters;
    options.filters_count = count;
    return report("subscribe",
                  mom_subscription_create(node, "news", name, &options, TIMEOUT_MS));
}

/* Takes what there is, in batches; MOM_EMPTY is the leader's word that nothing is left.
 */
static int read_all(mom_consumer *consumer) {
    size_t total = 0;
    for (;;) {
        mom_message *messages[BATCH];
        size_t count;
        int error = mom_receive_many(consumer, messages, BATCH, &count, 0);
        if (error == MOM_EMPTY) {
            break;
        }
        if (error != MOM_OK) {
            return report("receive", error);
        }
        for (size_t i = 0; i < count; i++) {
            size_t size;
            size_t key_size;
            const char *body = mom_message_body(messages[i], &size);
            const char *key = mom_message_key(messages[i], &key_size);
            printf("%.*s: %.*s\n", (int)key_size, key, (int)size, body);
        }
        error = report("acknowledge", mom_ack_many(messages, count));
        for (size_t i = 0; i < count; i++) {
            mom_message_release(messages[i]);
        }
        if (error != MOM_OK) {
            return error;
        }
        total += count;
    }
    fprintf(stderr, "received %zu messages\n", total);
    return report("flush", mom_consumer_flush(consumer, TIMEOUT_MS));
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIR [FILTER]...\n", argv[0]);
        return 2;
    }
    mom_options options;
    mom_options_init(&options);
    options.data_dir = argv[1];
    mom_node *node;
    int error = report("open", mom_open(&options, &node));
    if (error != MOM_OK) {
        return -error;
    }
    const char *name = argc > 2 ? "filtered" : "everything";
    if (argc > 2) {
        error = make_subscription(node, name, (const char *const *)&argv[2],
                                  (size_t)argc - 2);
    }
    mom_consumer *consumer = NULL;
    if (error == MOM_OK) {
        error = report("consumer", mom_subscription_consumer(node, "news", name, NULL,
                                                             TIMEOUT_MS, &consumer));
    }
    if (error == MOM_OK) {
        error = read_all(consumer);
    }
    mom_consumer_close(consumer, TIMEOUT_MS);
    int close_error = report("close", mom_close(node, TIMEOUT_MS));
    return -(error != MOM_OK ? error : close_error);
}
