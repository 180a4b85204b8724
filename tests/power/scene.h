/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the recorded program and the judge must agree on: names, bodies, and how nodes are
 * opened (small memtables and checkpoints, so that a short life writes every kind of
 * file).
 */
#ifndef MOM_TESTS_POWER_SCENE_H
#define MOM_TESTS_POWER_SCENE_H

#include <mom/mom.h>

#include "power/record.h"

enum {
    SCENE_NODES = 3,       /* of a mesh */
    SCENE_LASTING = 3,     /* streams 0 to 2 last for ever; 2 is a topic */
    SCENE_TOPIC = 2,       /* with the one subscription */
    SCENE_WAIT_MS = 20000, /* nothing waits so long when all is well */
    SCENE_PATH_BYTES = 256,
    SCENE_NAME_BYTES = 32,
    SCENE_BODY_BYTES_MAX = 40000,
    /* Numbers of messages: (life * SCENE_NODES + publisher) * SCENE_RANGE + count. */
    SCENE_RANGE = 100000,
};

enum scene_shape {
    SCENE_ALONE,
    SCENE_MESH,
    SCENE_ASIDE, /* no nodes: a directory whose store is set aside (aside.c) */
};

extern const char *const scene_names[SCENE_NODES];

void scene_stream_name(uint32_t stream, char name[SCENE_NAME_BYTES]);

/* Opens node `index` of the shape in `root`/NAME; sockets of a mesh lie in `sockets`. */
int scene_open(enum scene_shape shape, const char *root, const char *sockets,
               size_t index, mom_node **node);
int scene_consumer(mom_node *node, uint32_t stream, mom_consumer **consumer);

/* The body of a message says which it is, and can be checked to the last byte. */
size_t scene_body(uint32_t stream, uint64_t number, size_t filling, uint8_t *body);
bool scene_body_read(const uint8_t *body, size_t size, uint32_t *stream,
                     uint64_t *number);

uint64_t scene_hash(const char *text);
/* Its own: mom_status tells that of the registry, which follows a moment later. */
uint64_t scene_incarnation(const mom_node *node);
/* The id of the node that owns the seed of an identity. */
uint64_t scene_node_id(const uint8_t *seed);

/* The recorded program: one life; ends without closing. Exit status. */
int scene_live(enum scene_shape shape, const char *root, const char *sockets,
               uint64_t seed, uint64_t life);
int aside_live(const char *root, uint64_t seed);

#endif
