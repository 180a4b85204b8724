/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens the directory that a power cut has left, and says whether every promise holds.
 * Each opening is in a child of its own: a crash of the library is a verdict, too.
 */
#ifndef MOM_TESTS_POWER_JUDGE_H
#define MOM_TESTS_POWER_JUDGE_H

#include "power/facts.h"
#include "power/scene.h"

enum { VERDICT_BYTES = 600 };

enum judge_how {
    JUDGE_ONCE,   /* opens, compares, ends as if killed */
    JUDGE_TWICE,  /* and opens again: the same must be there */
    JUDGE_CLOSED, /* the same, with an orderly close between */
    JUDGE_STORES, /* of a mesh: opens only the stores: what each node promised by itself
                   */
};

struct judge; /* owned; memory shared with the children */
struct judge *judge_new(void);
void judge_free(struct judge *judge);

/* NULL: all is well; otherwise what is wrong, valid until the next call. */
const char *judge_directory(struct judge *judge, enum scene_shape shape,
                            enum judge_how how, const char *root, const char *sockets,
                            const struct facts *facts);

#endif
