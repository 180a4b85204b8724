/* SPDX-License-Identifier: Apache-2.0 */
/* First inputs of fuzz_calls.c. */
#include "fuzz/calls_kinds.h"
#include "fuzz/corpus.h"

#define WRITE(name, ...)                                                                 \
    do {                                                                                 \
        static const uint8_t bytes[] = {__VA_ARGS__};                                    \
        corpus_write("calls", name, 0, 0, momi_slice(bytes, sizeof bytes));              \
    } while (0)

static void make_queues(void) {
    WRITE("queue", CREATE, 0, 0, SEND, 0, 0x10, 1, OPEN_CONSUMER, 0, 0, 0, RECEIVE, 0, 0,
          SETTLE, 0, 0, RECEIVE, 0, 1, SETTLE, 0, 0x10, RECEIVE, 0, 2, INFO, 0, 0, FLUSH,
          0, CLOSE, 0, LIST);
    WRITE("full", CREATE, 1, 2, SEND, 1, 8, 0, SEND, 1, 0, 0, OPEN_CONSUMER, 0, 1, 1,
          RECEIVE, 0, 0, SETTLE, 0, 0, SEND, 1, 1, 0, SETTLE, 0, 8, SEND, 1, 2, 0, PURGE,
          1, 0, SEND, 1, 2, 0);
    WRITE("dead", CREATE, 0, 4, SEND, 0, 0, 1, OPEN_CONSUMER, 0, 0, 0, RECEIVE, 0, 1,
          SETTLE, 0, 9, RECEIVE, 0, 1, SETTLE, 0, 9, OPEN_CONSUMER, 1, 6, 0, RECEIVE, 1,
          0, SETTLE, 0, 2, INFO, 0, 4, LIST, SEND, 4, 0, 0);
    WRITE("shared", CREATE, 0, 0, SEND, 0, 0x10, 0, SEND, 0, 0x10, 0, OPEN_CONSUMER, 0, 0,
          1, OPEN_CONSUMER, 1, 0, 0, RECEIVE, 0, 0, RECEIVE, 1, 0, RECEIVE, 0, 0, RECEIVE,
          1, 2, SETTLE, 0, 1, CLOSE, 1, RECEIVE, 0, 0, RECEIVE, 0, 0, PURGE, 0, 1,
          RECEIVE, 0, 0);
    WRITE("ready", SEND, 0, 2, 0, OPEN_CONSUMER, 0, 0, 0, RECEIVE, 0, 4, RECEIVE, 0, 3,
          SEND, 0, 0x10, 2, RECEIVE, 0, 3, SETTLE, 0, 6, SETTLE, 0, 11, RECEIVE, 0, 1,
          PURGE, 0, 0, RECEIVE, 0, 0);
}

static void make_topics(void) {
    WRITE("topic", CREATE, 2, 0, SUBSCRIBE, 0, 0, 0, 0, SUBSCRIBE, 0, 1, 1, 0, SEND, 2,
          0x0c, 0, SEND, 2, 0x0d, 1, OPEN_CONSUMER, 0, 2, 0, OPEN_CONSUMER, 1, 3, 1,
          RECEIVE, 0, 2, RECEIVE, 1, 0, SETTLE, 1, 4, SETTLE, 0, 5, INFO, 1, 0, INFO, 1,
          1, UNSUBSCRIBE, 0, 1, DELETE, 2, 1);
    WRITE("past", CREATE, 3, 16, SEND, 3, 0x10, 0, SEND, 3, 0x10, 1, SUBSCRIBE, 1, 0, 2,
          1, SUBSCRIBE, 1, 1, 0x40, 11, INFO, 1, 2, INFO, 1, 3, OPEN_CONSUMER, 2, 4, 3,
          RECEIVE, 2, 2, RECEIVE, 2, 2, SUBSCRIBE, 1, 0, 0x42, 0);
}

static void make_ends(void) {
    WRITE("close", CREATE, 0, 0, SEND, 0, 0x10, 0, OPEN_CONSUMER, 0, 0, 0, RECEIVE, 0, 1,
          RECEIVE, 0, 1, SETTLE, 0, 0, WRONG, END);
    WRITE("gone", CREATE, 0, 0, SEND, 0, 0x10, 0, OPEN_CONSUMER, 0, 0, 0, RECEIVE, 0, 1,
          DELETE, 0, 0, SETTLE, 0, 0, RECEIVE, 0, 0, FLUSH, 0, CREATE, 0, 0x20, SEND, 0,
          2, 3, RECEIVE, 0, 0);
    WRITE("unsub", CREATE, 2, 0, SUBSCRIBE, 0, 0, 0xa0, 0, SEND, 2, 0, 0, OPEN_CONSUMER,
          0, 2, 0, RECEIVE, 0, 4, UNSUBSCRIBE, 0, 0, RECEIVE, 0, 0, SETTLE, 0, 0, CLOSE,
          0, WRONG);
}

void corpus_make_calls(void) {
    make_queues();
    make_topics();
    make_ends();
}
