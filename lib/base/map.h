/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive hash maps: by 64-bit id and by byte string. Nodes sit in the elements; the
 * map owns only its table of buckets; a zeroed struct is an empty map. A map never
 * allocates on insert of an element once momi_map_reserve has made room, and an insert
 * that cannot grow the table still works (chains get longer). Iteration order is
 * unspecified and must decide nothing: elements that are listed in order sit in a list or
 * a tree as well.
 */
#ifndef MOMI_BASE_MAP_H
#define MOMI_BASE_MAP_H

#include "base/buf.h"

struct momi_map_node {
    struct momi_map_node *next;
    uint64_t hash;
};

struct momi_map {
    struct momi_map_node **buckets; /* owned; a power of two of them, NULL while empty */
    size_t buckets_count;
    size_t count;
    struct momi_map_node
        *only_chain; /* in place of a table, until one could be allocated */
};

/* The table only; elements belong to their owner. */
void momi_map_free(struct momi_map *map);
bool momi_map_reserve(struct momi_map *map, size_t count);

uint64_t momi_hash_u64(uint64_t key); /* well mixed; the same on every machine */
/* FNV-1a 64, then mixed; the same on every machine. */
uint64_t momi_hash_bytes(struct momi_slice bytes);

/* The caller guarantees that the key is not in the map yet. */
void momi_map_insert(struct momi_map *map, struct momi_map_node *node, uint64_t hash);
void momi_map_remove(struct momi_map *map, struct momi_map_node *node);

/* Walks the chain of one hash: start with momi_map_first, go on with momi_map_next; NULL
 * at the end. */
struct momi_map_node *momi_map_first(const struct momi_map *map, uint64_t hash);
struct momi_map_node *momi_map_next(const struct momi_map_node *node);

/* Visits every node; the visitor may remove (and free) the node it is given. */
void momi_map_each(struct momi_map *map,
                   void (*visit)(struct momi_map_node *, void *user), void *user);

#endif
