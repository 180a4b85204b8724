/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte of each call in the inputs of fuzz_calls.c, modulo KINDS. */
#ifndef MOM_TESTS_FUZZ_CALLS_KINDS_H
#define MOM_TESTS_FUZZ_CALLS_KINDS_H

enum {
    CREATE,        /* queue or topic, options */
    SEND,          /* stream, how, key */
    OPEN_CONSUMER, /* which, group, options */
    RECEIVE,       /* consumer, how */
    SETTLE,        /* message held, how */
    SUBSCRIBE,     /* topic, subscription, options, start */
    DELETE,        /* stream, how */
    UNSUBSCRIBE,   /* subscription, how */
    FLUSH,         /* consumer */
    CLOSE,         /* consumer */
    PURGE,         /* queue, how */
    INFO,          /* of what kind, which */
    LIST,
    WRONG, /* arguments */
    END,   /* closes the node, and is the last */
    KINDS,
};

#endif
