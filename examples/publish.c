/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing to a topic: one message at a time, and many at once.
 *
 *     publish DIR [COUNT]
 *
 * Opens the directory DIR, which is made if it is missing: no other program is needed.
 * Returns when everything is on disk. Read it with `subscribe DIR`.
 */
#include <mom/mom.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, MANY = 100 };

static int report(const char *what, int error) {
    if (error != MOM_OK) {
        fprintf(stderr, "%s: %s (%s); %s\n", what, mom_strerror(error),
                mom_last_error_text(), mom_err_advice(error));
    }
    return error;
}

static int publish_one(mom_node *node) {
    const char *text = "the first";
    return report("publish", mom_publish(node, "news", "world.first", text, strlen(text),
                                         NULL, TIMEOUT_MS));
}

/* One call for many messages: they are encoded together and synced together. */
static int publish_many(mom_node *node, size_t count) {
    static char texts[MANY][32];
    mom_slice bodies[MANY];
    const char *keys[MANY];
    int error = MOM_OK;
    for (size_t done = 0; done < count && error == MOM_OK;) {
        size_t part = count - done < MANY ? count - done : MANY;
        for (size_t i = 0; i < part; i++) {
            int size = snprintf(texts[i], sizeof texts[i], "number %zu", done + i);
            bodies[i] = (mom_slice){texts[i], (size_t)size};
            keys[i] = (done + i) % 2 == 0 ? "count.even" : "count.odd";
        }
        error = report("publish", mom_publish_many(node, "news", keys, bodies, part, NULL,
                                                   NULL, TIMEOUT_MS));
        done += part;
    }
    return error;
}

/* A topic keeps nothing for readers that do not exist yet but its history; a subscription
 * is what remembers a reader. */
static int make_topic(mom_node *node) {
    mom_stream_options topic;
    mom_stream_options_init(&topic);
    topic.if_missing = true;
    int error = report("topic", mom_topic_create(node, "news", &topic, TIMEOUT_MS));
    mom_subscription_options reader;
    mom_subscription_options_init(&reader);
    reader.if_missing = true;
    if (error == MOM_OK) {
        error = report("subscription", mom_subscription_create(node, "news", "everything",
                                                               &reader, TIMEOUT_MS));
    }
    return error;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIR [COUNT]\n", argv[0]);
        return 2;
    }
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    mom_options options;
    mom_options_init(&options);
    options.data_dir = argv[1];
    mom_node *node;
    int error = report("open", mom_open(&options, &node));
    if (error != MOM_OK) {
        return -error;
    }
    error = make_topic(node);
    if (error == MOM_OK) {
        error = publish_one(node);
    }
    if (error == MOM_OK) {
        error = publish_many(node, count);
    }
    if (error == MOM_OK) {
        printf("published %zu messages\n", count + 1);
    }
    int close_error = report("close", mom_close(node, TIMEOUT_MS));
    return -(error != MOM_OK ? error : close_error);
}
