/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rights of principals (authorize.h): what is asked for is taken from the bytes of
 * the command, and judged by what the mesh knows of the principal.
 */
#include "core/authorize.h"

#include "core/commands.h"
#include "core/machine_internal.h"

int momi_authorize(const struct momi_core *core, const struct momi_principal *principal,
                   enum momi_action action, const struct momi_object *object) {
    (void)action; /* as long as there are no users, a member may do all of them */
    (void)object;
    if (principal->id == 0 || principal->node == 0) {
        return momi_err(MOM_UNAUTHENTICATED, "a request of nobody");
    }
    switch (momi_mesh_standing(core, principal->node)) {
    case MOMI_STANDING_STRANGER:
        return momi_err(MOM_UNAUTHENTICATED, "the node is not known to this mesh");
    case MOMI_STANDING_REMOVED:
        return momi_err(MOM_FORBIDDEN, "the node was removed from the mesh");
    case MOMI_STANDING_MEMBER:
        break;
    }
    if (principal->id != principal->node) {
        return momi_err(MOM_FORBIDDEN, "the session is another node's");
    }
    return MOM_OK;
}

/* --- what is asked for ------------------------------------------------------------ */

static void set_stream(struct momi_object *object, enum momi_kind kind,
                       struct momi_slice name) {
    *object =
        (struct momi_object){.type = MOMI_OBJECT_STREAM, .kind = kind, .name = name};
}

static void set_subscription(struct momi_object *object, struct momi_slice topic,
                             struct momi_slice name) {
    *object = (struct momi_object){.type = MOMI_OBJECT_SUBSCRIPTION,
                                   .kind = MOMI_KIND_TOPIC,
                                   .name = topic,
                                   .subscription = name};
}

static bool stream_created(struct momi_slice body, struct momi_object *object) {
    struct momi_stream_create create;
    if (!momi_stream_create_parse(body, &create)) {
        return false;
    }
    set_stream(object, create.kind, create.name);
    return true;
}

static bool stream_named(struct momi_slice body, struct momi_object *object) {
    struct momi_stream_name name;
    if (!momi_stream_name_parse(body, &name)) {
        return false;
    }
    set_stream(object, name.kind, name.name);
    return true;
}

static bool stream_published(struct momi_slice body, struct momi_object *object) {
    struct momi_publish publish;
    if (!momi_publish_peek(body, &publish)) {
        return false;
    }
    set_stream(object, publish.kind, publish.name);
    return true;
}

static bool subscription_created(struct momi_slice body, struct momi_object *object) {
    struct momi_subscription_create create;
    if (!momi_subscription_create_parse(body, &create)) {
        return false;
    }
    set_subscription(object, create.topic, create.name);
    return true;
}

static bool subscription_named(struct momi_slice body, struct momi_object *object) {
    struct momi_subscription_name name;
    if (!momi_subscription_name_parse(body, &name)) {
        return false;
    }
    set_subscription(object, name.topic, name.name);
    return true;
}

static bool source_attached(struct momi_slice body, struct momi_object *object) {
    struct momi_consumer_attach attach;
    if (!momi_consumer_attach_parse(body, &attach)) {
        return false;
    }
    if (attach.kind == MOMI_KIND_TOPIC) {
        set_subscription(object, attach.name, attach.subscription);
    } else {
        set_stream(object, attach.kind, attach.name);
    }
    return true;
}

/* What the consumer of that session reads. */
static void set_source(const struct momi_machine *machine,
                       struct momi_session_id session_id, uint64_t id,
                       struct momi_object *object) {
    struct momi_session *session = momi_machine_session(machine, session_id);
    const struct momi_consumer *consumer =
        session == NULL ? NULL : momi_machine_consumer(machine, session, id);
    if (consumer == NULL) {
        set_stream(object, MOMI_KIND_QUEUE, momi_slice(NULL, 0));
        return;
    }
    const struct momi_group *group = consumer->group;
    if (group->stream->kind == MOMI_KIND_TOPIC) {
        set_subscription(object, group->stream->name, group->name);
    } else {
        set_stream(object, group->stream->kind, group->stream->name);
    }
}

static bool source_consumed(const struct momi_machine *machine,
                            const struct momi_command *command,
                            struct momi_object *object) {
    struct momi_reader in = momi_reader(command->body);
    uint64_t id = momi_get_u64(&in); /* both bodies begin with it */
    if (in.failed) {
        return false;
    }
    set_source(machine, command->session, id, object);
    return true;
}

bool momi_command_action(const struct momi_machine *machine,
                         const struct momi_command *command, enum momi_action *action,
                         struct momi_object *object) {
    switch (command->type) {
    case CMD_NOOP:
        *action = MOMI_ACTION_USE;
        *object = (struct momi_object){.type = MOMI_OBJECT_MESH};
        return true;
    case CMD_STREAM_CREATE:
        *action = MOMI_ACTION_CREATE;
        return stream_created(command->body, object);
    case CMD_STREAM_DELETE:
        *action = MOMI_ACTION_DELETE;
        return stream_named(command->body, object);
    case CMD_STREAM_PURGE:
        *action = MOMI_ACTION_PURGE;
        return stream_named(command->body, object);
    case CMD_SUBSCRIPTION_CREATE:
        *action = MOMI_ACTION_SUBSCRIBE;
        return subscription_created(command->body, object);
    case CMD_SUBSCRIPTION_DELETE:
        *action = MOMI_ACTION_UNSUBSCRIBE;
        return subscription_named(command->body, object);
    case CMD_PUBLISH:
        *action = MOMI_ACTION_PUBLISH;
        return stream_published(command->body, object);
    case CMD_CONSUMER_ATTACH:
        *action = MOMI_ACTION_CONSUME;
        return source_attached(command->body, object);
    case CMD_CONSUMER_DETACH:
    case CMD_CONSUME:
        *action = MOMI_ACTION_CONSUME;
        return source_consumed(machine, command, object);
    default:
        return false;
    }
}

bool momi_query_action(const struct momi_machine *machine, const struct momi_frame *query,
                       enum momi_action *action, struct momi_object *object) {
    enum momi_kind kind =
        query->count == MOMI_KIND_TOPIC ? MOMI_KIND_TOPIC : MOMI_KIND_QUEUE;
    switch (query->kind) {
    case QUERY_DESCRIBE:
        *action = MOMI_ACTION_DESCRIBE;
        if (query->detail.size > 0) {
            set_subscription(object, query->name, query->detail);
        } else {
            set_stream(object, kind, query->name);
        }
        return true;
    case QUERY_LIST:
        *action = MOMI_ACTION_LIST;
        *object = (struct momi_object){.type = MOMI_OBJECT_MESH, .kind = kind};
        return true;
    case QUERY_SUBSCRIPTIONS:
        *action = MOMI_ACTION_DESCRIBE;
        set_stream(object, MOMI_KIND_TOPIC, query->name);
        return true;
    case QUERY_EMPTY:
        *action = MOMI_ACTION_CONSUME;
        set_source(machine, query->session, query->consumer, object);
        return true;
    default:
        return false;
    }
}
