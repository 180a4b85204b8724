/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the integration tests share: nodes in scratch directories, meshes of a few nodes
 * in this process, and threads. Public headers only, as any program would.
 */
#ifndef MOM_TESTS_NODES_H
#define MOM_TESTS_NODES_H

#include <mom/mom.h>

#include "t.h"

/* Long enough for any machine; nothing waits so long when all is well. */
enum { WAIT_MS = 30000, NODES_MAX = 5, DIR_BYTES = 256 };

/* A new directory for everything that one test makes. */
void nodes_scratch(char path[DIR_BYTES]);
void nodes_scratch_remove(const char *path);
void nodes_path(char path[DIR_BYTES], const char *scratch, const char *name);

/* Copies a directory with everything in it; `target` must not exist. */
void nodes_copy(const char *source, const char *target);

/* Prints log lines when MOM_TEST_LOG is set. */
void nodes_log(mom_options *options);

mom_node *nodes_open_alone(const char *dir); /* and waits until it is ready */

/* A few store nodes, formed over ipc. */
struct mesh {
    char scratch[DIR_BYTES];
    char form[NODES_MAX * DIR_BYTES * 2];
    char addresses[NODES_MAX][DIR_BYTES];
    size_t count;
    mom_node *nodes[NODES_MAX]; /* NULL: closed */
};
void mesh_open(struct mesh *mesh, size_t count);
void mesh_open_node(struct mesh *mesh, size_t index);
void mesh_wait_ready(const struct mesh *mesh);
void mesh_close_node(struct mesh *mesh, size_t index);
void mesh_close(struct mesh *mesh);
mom_node *mesh_client(const struct mesh *mesh);
/* Index of the node that leads the queue's shard, as node `asked` knows it. */
size_t mesh_leader_of(const struct mesh *mesh, size_t asked, const char *queue);

/* Text of a message. */
void check_body(const mom_message *message, const char *text);
/* Receives `count` messages and acknowledges them; checks that they are TEXT-0, TEXT-1,
 * ...
 */
void receive_in_order(mom_consumer *consumer, const char *text, size_t count);
void send_in_order(mom_node *node, const char *queue, const char *text, size_t from,
                   size_t count);

#endif
