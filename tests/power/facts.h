/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was promised up to a moment: the facts of the log, added up. The judge compares a
 * directory with them.
 */
#ifndef MOM_TESTS_POWER_FACTS_H
#define MOM_TESTS_POWER_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "power/record.h"

enum {
    FACTS_MESSAGES_ROOM = 1 << 14,
    FACTS_STREAMS_MAX = 512,
    FACTS_NODES_MAX = 3,
    FACTS_SHARDS_MAX = 8,
};

enum {
    FACT_TRIED = 1,
    FACT_DONE = 2,
    FACT_ACK_TRIED = 4, /* of a stream: deleting it was tried */
    FACT_ACKED = 8,     /* of a stream: it is deleted */
    FACT_SEEN = 16,     /* by the judge */
};

struct facts_message {
    uint64_t number;
    uint32_t stream;
    uint32_t flags; /* 0: a free place of the table */
};

struct facts_shard {
    uint64_t term;
    uint64_t vote_term;
    uint64_t vote;
    uint64_t match_term;
    uint64_t match;
};

struct facts_node {
    uint64_t id; /* 0: not seen */
    uint64_t incarnation;
    uint64_t mesh;
    struct facts_shard shards[FACTS_SHARDS_MAX];
};

struct facts {
    struct facts_message messages[FACTS_MESSAGES_ROOM];
    size_t messages_count;
    uint32_t streams[FACTS_STREAMS_MAX]; /* flags */
    struct facts_node nodes[FACTS_NODES_MAX];
    uint64_t count; /* of facts taken in */
};

void facts_add(struct facts *facts, const struct power_fact *fact);
/* NULL: never heard of. */
struct facts_message *facts_find(struct facts *facts, uint32_t stream, uint64_t number);
struct facts_node *facts_node(struct facts *facts, uint64_t id);

/* In the recorded program: writes a fact into the log, if there is a recorder. */
void facts_tell(const struct power_fact *fact);

#endif
