/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what: the one place that decides it (docs/protocol.md S4).
 *
 * A leader asks before it opens a session, before it proposes a command, and before it
 * takes up a question. The principal is that of the session, which comes from the
 * handshake of a lane, never from the sender's word. Applying does not ask again: what
 * was refused is in the log as a refusal (S3), and a replica decides nothing by what it
 * alone knows (R9).
 *
 * There are no users yet. The principal is the id of the node, every member of the mesh
 * may do everything, and clients count as members while their lane is up.
 */
#ifndef MOMI_CORE_AUTHORIZE_H
#define MOMI_CORE_AUTHORIZE_H

#include "core/core_internal.h"
#include "core/machine.h"

enum momi_action {
    MOMI_ACTION_USE, /* a session in this mesh; the filler of a number (S2) */
    MOMI_ACTION_CREATE,
    MOMI_ACTION_DELETE,
    MOMI_ACTION_PURGE,
    MOMI_ACTION_SUBSCRIBE,
    MOMI_ACTION_UNSUBSCRIBE,
    MOMI_ACTION_PUBLISH,
    MOMI_ACTION_CONSUME, /* attach, credit, settle, detach, "is it empty" */
    MOMI_ACTION_DESCRIBE,
    MOMI_ACTION_LIST,
};

enum momi_object_type {
    MOMI_OBJECT_MESH,
    MOMI_OBJECT_STREAM,
    MOMI_OBJECT_SUBSCRIPTION,
};

struct momi_object {
    enum momi_object_type type;
    enum momi_kind kind;            /* not of the mesh */
    struct momi_slice name;         /* of the stream; borrowed */
    struct momi_slice subscription; /* borrowed */
};

struct momi_principal {
    uint64_t id;   /* of the session; 0: nobody */
    uint64_t node; /* whose lane it came over, as the handshake proved */
};

/* MOM_OK; MOM_UNAUTHENTICATED: nobody vouches for the principal; MOM_FORBIDDEN: it is
 * known, and may not. The error text says which. */
int momi_authorize(const struct momi_core *core, const struct momi_principal *principal,
                   enum momi_action action, const struct momi_object *object);

/* What a client's command does, and to what. False: not a command of clients, or
 * malformed. A consumer that is not there is an object without a name. */
bool momi_command_action(const struct momi_machine *machine,
                         const struct momi_command *command, enum momi_action *action,
                         struct momi_object *object);
/* The same for a question (wire/frame.h); false: there is no such question. */
bool momi_query_action(const struct momi_machine *machine, const struct momi_frame *query,
                       enum momi_action *action, struct momi_object *object);

#endif
