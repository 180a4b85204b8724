/* SPDX-License-Identifier: Apache-2.0 */
/* See facts.h. */
#include "power/facts.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static struct facts_message *slot_of(struct facts *facts, uint32_t stream,
                                     uint64_t number) {
    size_t at =
        (size_t)((number * 0x9e3779b97f4a7c15ULL + stream) >> 32) % FACTS_MESSAGES_ROOM;
    struct facts_message *slot = &facts->messages[at];
    while (slot->flags != 0 && (slot->stream != stream || slot->number != number)) {
        at = (at + 1) % FACTS_MESSAGES_ROOM;
        slot = &facts->messages[at];
    }
    return slot;
}

struct facts_message *facts_find(struct facts *facts, uint32_t stream, uint64_t number) {
    struct facts_message *slot = slot_of(facts, stream, number);
    return slot->flags == 0 ? NULL : slot;
}

static void mark_messages(struct facts *facts, const struct power_fact *fact,
                          uint32_t flag) {
    for (uint64_t i = 0; i < fact->count; i++) {
        struct facts_message *slot = slot_of(facts, fact->stream, fact->value + i);
        if (slot->flags == 0) {
            facts->messages_count++;
            MOMI_ASSERT(facts->messages_count < FACTS_MESSAGES_ROOM / 2);
            slot->stream = fact->stream;
            slot->number = fact->value + i;
        }
        slot->flags |= flag;
    }
}

struct facts_node *facts_node(struct facts *facts, uint64_t id) {
    for (size_t i = 0; i < FACTS_NODES_MAX; i++) {
        struct facts_node *node = &facts->nodes[i];
        if (node->id == 0) {
            node->id = id;
        }
        if (node->id == id) {
            return node;
        }
    }
    momi_panic(__FILE__, __LINE__, "more identities than nodes");
}

static void raise_to(uint64_t *number, uint64_t value) {
    *number = value > *number ? value : *number;
}

static void add_promise(struct facts_shard *shard, const struct power_fact *fact) {
    raise_to(&shard->term, fact->value);
    if (fact->kind == POWER_VOTED && fact->value >= shard->vote_term) {
        shard->vote_term = fact->value;
        shard->vote = fact->other;
    }
    if (fact->kind == POWER_MATCHED && fact->value >= shard->match_term) {
        shard->match = fact->value > shard->match_term ? 0 : shard->match;
        shard->match_term = fact->value;
        raise_to(&shard->match, fact->other);
    }
}

void facts_add(struct facts *facts, const struct power_fact *fact) {
    facts->count++;
    switch ((enum power_fact_kind)fact->kind) {
    case POWER_OPENED:
        raise_to(&facts_node(facts, fact->node)->incarnation, fact->value);
        break;
    case POWER_MESH:
        facts_node(facts, fact->node)->mesh = fact->value;
        break;
    case POWER_CREATE_TRY:
        facts->streams[fact->stream] |= FACT_TRIED;
        break;
    case POWER_CREATE_DONE:
        facts->streams[fact->stream] |= FACT_DONE;
        break;
    case POWER_DELETE_TRY:
        facts->streams[fact->stream] |= FACT_ACK_TRIED;
        break;
    case POWER_DELETE_DONE:
        facts->streams[fact->stream] |= FACT_ACKED;
        break;
    case POWER_SEND_TRY:
        mark_messages(facts, fact, FACT_TRIED);
        break;
    case POWER_SEND_DONE:
        mark_messages(facts, fact, FACT_DONE);
        break;
    case POWER_ACK_TRY:
        mark_messages(facts, fact, FACT_ACK_TRIED);
        break;
    case POWER_ACK_DONE:
        mark_messages(facts, fact, FACT_ACKED);
        break;
    case POWER_LED:
    case POWER_TERM:
    case POWER_VOTED:
    case POWER_MATCHED:
        if (fact->stream < FACTS_SHARDS_MAX) {
            add_promise(&facts_node(facts, fact->node)->shards[fact->stream], fact);
        }
        break;
    }
}

/* ---- In the recorded program ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void (*recorder)(const struct power_fact *fact);

static void find_recorder(void) {
    *(void **)(void *)&recorder = dlsym(RTLD_DEFAULT, "power_fact");
}

void facts_tell(const struct power_fact *fact) {
    (void)pthread_once(&once, find_recorder);
    if (recorder != NULL) {
        recorder(fact);
    }
}
