/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive hash maps with chains. The table doubles when there are more elements than
 * buckets; when the memory for that is refused, chains grow instead. Until there is a
 * first table, everything sits in `only_chain`.
 */
#include "base/map.h"

#include "base/assert.h"
#include "base/mem.h"

enum { BUCKETS_MIN = 16 };

static struct momi_map_node **chain_of(const struct momi_map *map, uint64_t hash) {
    if (map->buckets == NULL) {
        return &((struct momi_map *)(uintptr_t)map)->only_chain;
    }
    return &map->buckets[hash & (map->buckets_count - 1)];
}

static void chain_push(struct momi_map *map, struct momi_map_node *node) {
    struct momi_map_node **chain = chain_of(map, node->hash);
    node->next = *chain;
    *chain = node;
}

/* Moves every node of a chain to where it belongs in the table as it is now. */
static void chain_rehash(struct momi_map *map, struct momi_map_node *node) {
    while (node != NULL) {
        struct momi_map_node *after = node->next;
        chain_push(map, node);
        node = after;
    }
}

/* `table` has room for `count` buckets and becomes the map's. */
static void table_take(struct momi_map *map, struct momi_map_node **table, size_t count) {
    struct momi_map_node **old_table = map->buckets;
    size_t old_count = map->buckets_count;
    struct momi_map_node *only_chain = map->only_chain;
    memset(table, 0, count * sizeof *table);
    map->buckets = table;
    map->buckets_count = count;
    map->only_chain = NULL;
    chain_rehash(map, only_chain);
    for (size_t index = 0; index < old_count; index++) {
        chain_rehash(map, old_table[index]);
    }
    momi_free(old_table);
}

/* The number of buckets for `count` elements; 0 when that is more than memory could hold.
 */
static size_t buckets_for(const struct momi_map *map, size_t count) {
    size_t buckets = map->buckets_count < BUCKETS_MIN ? BUCKETS_MIN : map->buckets_count;
    while (buckets < count) {
        if (buckets > SIZE_MAX / 4 / sizeof(struct momi_map_node *)) {
            return 0;
        }
        buckets *= 2;
    }
    return buckets;
}

void momi_map_free(struct momi_map *map) {
    momi_free(map->buckets);
    *map = (struct momi_map){.buckets = NULL};
}

bool momi_map_reserve(struct momi_map *map, size_t count) {
    if (count <= map->buckets_count) {
        return true;
    }
    size_t buckets = buckets_for(map, count);
    struct momi_map_node **table =
        buckets == 0 ? NULL : momi_alloc(buckets * sizeof *table);
    if (table == NULL) {
        return false;
    }
    table_take(map, table, buckets);
    return true;
}

uint64_t momi_hash_u64(uint64_t key) {
    /* The finaliser of splitmix64. */
    key = (key ^ (key >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    key = (key ^ (key >> 27)) * UINT64_C(0x94d049bb133111eb);
    return key ^ (key >> 31);
}

uint64_t momi_hash_bytes(struct momi_slice bytes) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t index = 0; index < bytes.size; index++) {
        hash = (hash ^ bytes.data[index]) * UINT64_C(0x100000001b3);
    }
    return momi_hash_u64(hash);
}

void momi_map_insert(struct momi_map *map, struct momi_map_node *node, uint64_t hash) {
    if (map->count >= map->buckets_count) {
        size_t buckets = buckets_for(map, map->count + 1);
        struct momi_map_node **table =
            buckets == 0 ? NULL : momi_alloc_optional(buckets * sizeof *table);
        if (table != NULL) {
            table_take(map, table, buckets);
        }
    }
    node->hash = hash;
    chain_push(map, node);
    map->count++;
}

void momi_map_remove(struct momi_map *map, struct momi_map_node *node) {
    struct momi_map_node **link = chain_of(map, node->hash);
    while (*link != node) {
        MOMI_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    map->count--;
}

/* The first node with `hash` at or behind `node`. */
static struct momi_map_node *find_from(struct momi_map_node *node, uint64_t hash) {
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

struct momi_map_node *momi_map_first(const struct momi_map *map, uint64_t hash) {
    return find_from(*chain_of(map, hash), hash);
}

struct momi_map_node *momi_map_next(const struct momi_map_node *node) {
    return find_from(node->next, node->hash);
}

static void chain_each(struct momi_map_node *node,
                       void (*visit)(struct momi_map_node *, void *user), void *user) {
    while (node != NULL) {
        struct momi_map_node *after = node->next;
        visit(node, user);
        node = after;
    }
}

void momi_map_each(struct momi_map *map,
                   void (*visit)(struct momi_map_node *, void *user), void *user) {
    chain_each(map->only_chain, visit, user);
    for (size_t index = 0; index < map->buckets_count; index++) {
        chain_each(map->buckets[index], visit, user);
    }
}
