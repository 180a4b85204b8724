/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending and publishing, one and many, waiting and submitted. See <mom/mom.h>.
 *
 * Many messages become as few publish calls as fit (MOMI_COMMAND_MESSAGES_MAX messages,
 * about MOMI_ENTRY_BYTES_TARGET bytes each); all of them are put before any is waited
 * for.
 */
#include <string.h>

#include "api/api.h"
#include "base/mem.h"
#include "base/pack.h"
#include "core/entry.h"

/* Everything about one call of the program, checked. */
struct publish {
    mom_node *node;
    struct momi_call call;
    struct momi_messages messages;
    struct momi_bytes headers; /* encoded; owned */
};

/* --- checks ----------------------------------------------------------------------------
 */

static int encode_headers(const mom_send_options *options, struct momi_bytes *out) {
    if (options->headers_count > 0 && options->headers == NULL) {
        return momi_err(MOM_INVALID, "headers is NULL");
    }
    if (options->headers_count > MOM_HEADERS_COUNT_MAX) {
        return momi_err(MOM_TOO_BIG, "%zu headers, at most %u", options->headers_count,
                        MOM_HEADERS_COUNT_MAX);
    }
    for (size_t i = 0; i < options->headers_count; i++) {
        const mom_header *header = &options->headers[i];
        size_t name_size = header->name == NULL ? 0 : strlen(header->name);
        if (name_size == 0 || name_size > UINT8_MAX) {
            return momi_err(MOM_INVALID, "headers[%zu]: a name has 1 to 255 bytes", i);
        }
        if (header->value == NULL && header->value_size > 0) {
            return momi_err(MOM_INVALID, "headers[%zu]: value is NULL", i);
        }
        if (out->size + name_size + header->value_size + 3 > MOM_HEADERS_BYTES_MAX) {
            return momi_err(MOM_TOO_BIG, "headers of more than %u bytes",
                            MOM_HEADERS_BYTES_MAX);
        }
        momi_put_u8(out, (uint8_t)name_size);
        momi_bytes_append(out, header->name, name_size);
        momi_put_u16(out, (uint16_t)header->value_size);
        momi_bytes_append(out, header->value, header->value_size);
    }
    return out->failed ? momi_err(MOM_NO_MEMORY, "no memory for headers") : MOM_OK;
}

static int check_key(const char *key) {
    size_t size = key == NULL ? 0 : strlen(key);
    return size <= MOM_KEY_BYTES_MAX
               ? MOM_OK
               : momi_err(MOM_TOO_BIG, "key of %zu bytes, at most %u", size,
                          MOM_KEY_BYTES_MAX);
}

static int check_bodies(const struct momi_messages *messages) {
    for (size_t i = 0; i < messages->count; i++) {
        const mom_slice *body = &messages->bodies[i];
        if (body->data == NULL && body->size > 0) {
            return momi_err(MOM_INVALID, "body of message %zu is NULL", i);
        }
        if (body->size > MOM_BODY_BYTES_MAX) {
            return momi_err(MOM_TOO_BIG, "body of %zu bytes, at most %u", body->size,
                            MOM_BODY_BYTES_MAX);
        }
        int error = messages->keys == NULL ? MOM_OK : check_key(messages->keys[i]);
        if (error != MOM_OK) {
            return error;
        }
    }
    return MOM_OK;
}

static int check_stream(const mom_node *node, enum momi_kind kind, const char *name) {
    int error = momi_check_pointer(node, "node");
    return error != MOM_OK
               ? error
               : momi_check_stream(name, kind == MOMI_KIND_QUEUE ? "queue" : "topic");
}

/* Enters the node on success; then publish_end has to follow. */
static int publish_begin(struct publish *publish, mom_node *node, enum momi_kind kind,
                         const char *name, const char *key, const mom_slice *bodies,
                         size_t count, const mom_send_options *options, int timeout_ms) {
    mom_send_options known;
    publish->node = node;
    publish->headers = (struct momi_bytes){0};
    int error = check_stream(node, kind, name);
    if (error == MOM_OK) {
        error = momi_options_import(&known, sizeof known, options, "options");
    }
    if (error == MOM_OK && (bodies == NULL || count == 0 || count > MOM_MANY_MAX)) {
        error =
            momi_err(MOM_INVALID, "count is %zu: 1 to %u messages", count, MOM_MANY_MAX);
    }
    if (error == MOM_OK) {
        key = key != NULL ? key : known.key;
        error = check_key(key);
    }
    if (error == MOM_OK) {
        error = momi_check_deadline(timeout_ms, &publish->call.deadline_us);
    }
    if (error != MOM_OK) {
        return error;
    }
    publish->messages.bodies = bodies;
    publish->messages.count = count;
    publish->messages.key = momi_slice_str(key == NULL ? "" : key);
    error = check_bodies(&publish->messages);
    if (error == MOM_OK && known.headers_count > 0) {
        error = encode_headers(&known, &publish->headers);
    }
    if (error == MOM_OK) {
        error = momi_node_enter(node);
    }
    if (error != MOM_OK) {
        momi_bytes_free(&publish->headers);
        return error;
    }
    publish->messages.headers = momi_bytes_slice(&publish->headers);
    publish->call.type = CALL_PUBLISH;
    publish->call.kind = kind;
    publish->call.name = momi_slice_str(name);
    publish->call.create = known.create;
    return MOM_OK;
}

static void publish_end(struct publish *publish) {
    momi_bytes_free(&publish->headers);
    momi_node_leave(publish->node);
}

/* --- one
 * ---------------------------------------------------------------------------------- */

static int publish_one(mom_node *node, enum momi_kind kind, const char *name,
                       const char *key, const void *body, size_t size,
                       const mom_send_options *options, int timeout_ms) {
    struct publish publish = {0};
    mom_slice slice = {body, size};
    int error =
        publish_begin(&publish, node, kind, name, key, &slice, 1, options, timeout_ms);
    if (error == MOM_OK) {
        error = momi_node_call(node, &publish.call, &publish.messages, NULL);
        publish_end(&publish);
    }
    return error;
}

int mom_send(mom_node *node, const char *queue, const void *body, size_t size,
             const mom_send_options *options, int timeout_ms) {
    return publish_one(node, MOMI_KIND_QUEUE, queue, NULL, body, size, options,
                       timeout_ms);
}

int mom_publish(mom_node *node, const char *topic, const char *key, const void *body,
                size_t size, const mom_send_options *options, int timeout_ms) {
    return publish_one(node, MOMI_KIND_TOPIC, topic, key, body, size, options,
                       timeout_ms);
}

static int check_completions(const mom_node *node, const mom_completions *completions) {
    int error = momi_check_pointer(completions, "completions");
    return error == MOM_OK && completions->node != node
               ? momi_err(MOM_INVALID, "completions are of another node")
               : error;
}

static int submit_one(mom_node *node, enum momi_kind kind, const char *name,
                      const char *key, const void *body, size_t size,
                      const mom_send_options *options, int timeout_ms,
                      mom_completions *completions, void *user) {
    struct publish publish = {0};
    mom_slice slice = {body, size};
    int error = check_completions(node, completions);
    if (error == MOM_OK) {
        error = publish_begin(&publish, node, kind, name, key, &slice, 1, options,
                              timeout_ms);
    }
    if (error != MOM_OK) {
        return error;
    }
    error = momi_completions_reserve(completions);
    if (error == MOM_OK) {
        struct momi_call_target target = {
            .target = SLOT_COMPLETIONS, .completions = completions, .user = user};
        error = momi_calls_put(momi_node_calls(node), &publish.call, &publish.messages,
                               &target, NULL, NULL, NULL);
        if (error != MOM_OK) {
            momi_completions_unreserve(completions);
        }
    }
    publish_end(&publish);
    return error;
}

int mom_send_submit(mom_node *node, const char *queue, const void *body, size_t size,
                    const mom_send_options *options, int timeout_ms,
                    mom_completions *completions, void *user) {
    return submit_one(node, MOMI_KIND_QUEUE, queue, NULL, body, size, options, timeout_ms,
                      completions, user);
}

int mom_publish_submit(mom_node *node, const char *topic, const char *key,
                       const void *body, size_t size, const mom_send_options *options,
                       int timeout_ms, mom_completions *completions, void *user) {
    return submit_one(node, MOMI_KIND_TOPIC, topic, key, body, size, options, timeout_ms,
                      completions, user);
}

/* --- many
 * ------------------------------------------------------------------------------------ */

/* The first part of what is left that makes one publish call. */
static struct momi_messages next_part(const struct momi_messages *all, size_t from) {
    struct momi_messages part = *all;
    part.bodies += from;
    part.keys = all->keys == NULL ? NULL : all->keys + from;
    size_t bytes = 0;
    size_t count = 0;
    while (from + count < all->count && count < MOMI_COMMAND_MESSAGES_MAX) {
        size_t key = part.keys != NULL && part.keys[count] != NULL
                         ? strlen(part.keys[count])
                         : part.key.size;
        bytes += momi_record_size(key, part.headers.size, part.bodies[count].size);
        if (count > 0 && bytes > MOMI_ENTRY_BYTES_TARGET) {
            break;
        }
        count++;
    }
    part.count = count;
    return part;
}

struct part_under_way {
    struct momi_slot *slot; /* NULL: it was not put, with `error` */
    int error;
    size_t count;
};

static int wait_for_parts(mom_node *node, const struct part_under_way *parts,
                          size_t parts_count, int *results) {
    int first_error = MOM_OK;
    size_t at = 0;
    for (size_t i = 0; i < parts_count; i++) {
        int error = parts[i].slot == NULL
                        ? parts[i].error
                        : momi_calls_wait(momi_node_calls(node), parts[i].slot, NULL);
        for (size_t j = 0; results != NULL && j < parts[i].count; j++) {
            results[at + j] = error;
        }
        at += parts[i].count;
        if (first_error == MOM_OK) {
            first_error = error;
        }
    }
    return first_error;
}

/* S2: after a part that could not be put nothing later is, so that order is kept. */
static int call_many(struct publish *publish, int *results) {
    const struct momi_messages *all = &publish->messages;
    size_t parts_max = 0;
    for (size_t at = 0; at < all->count; at += next_part(all, at).count) {
        parts_max++;
    }
    struct part_under_way *parts = momi_calloc(parts_max, sizeof *parts);
    if (parts == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for %zu publishes", parts_max);
    }
    struct momi_call_target target = {.target = SLOT_THREAD, .may_wait = true};
    size_t parts_count = 0;
    int error = MOM_OK;
    for (size_t at = 0; at < all->count; parts_count++) {
        struct momi_messages messages = next_part(all, at);
        struct part_under_way *part = &parts[parts_count];
        part->count = messages.count;
        if (error == MOM_OK) {
            error = momi_calls_put(momi_node_calls(publish->node), &publish->call,
                                   &messages, &target, NULL, &part->slot, NULL);
        }
        if (error != MOM_OK) {
            part->slot = NULL;
            part->error = error;
        }
        at += messages.count;
    }
    error = wait_for_parts(publish->node, parts, parts_count, results);
    momi_free(parts);
    return error;
}

static int publish_many(mom_node *node, enum momi_kind kind, const char *name,
                        const char *const *keys, const mom_slice *bodies, size_t count,
                        const mom_send_options *options, int *results, int timeout_ms) {
    struct publish publish = {.messages = {.keys = keys}};
    int error = publish_begin(&publish, node, kind, name, NULL, bodies, count, options,
                              timeout_ms);
    if (error == MOM_OK) {
        error = call_many(&publish, results);
        publish_end(&publish);
    }
    return error;
}

int mom_send_many(mom_node *node, const char *queue, const mom_slice *bodies,
                  size_t count, const mom_send_options *options, int *results,
                  int timeout_ms) {
    return publish_many(node, MOMI_KIND_QUEUE, queue, NULL, bodies, count, options,
                        results, timeout_ms);
}

int mom_publish_many(mom_node *node, const char *topic, const char *const *keys,
                     const mom_slice *bodies, size_t count,
                     const mom_send_options *options, int *results, int timeout_ms) {
    return publish_many(node, MOMI_KIND_TOPIC, topic, keys, bodies, count, options,
                        results, timeout_ms);
}

/* Accepted once its first part is; a later one that finds no room shows in the one
 * completion, and nothing behind it is sent. */
static int submit_parts(struct publish *publish, struct momi_call_group *group) {
    const struct momi_messages *all = &publish->messages;
    struct momi_call_target target = {.target = SLOT_GROUP, .group = group};
    mom_completions *completions = group->completions;
    size_t at = 0;
    int error = MOM_OK;
    while (at < all->count && error == MOM_OK) {
        struct momi_messages messages = next_part(all, at);
        pthread_mutex_lock(&completions->mutex);
        group->pending++;
        pthread_mutex_unlock(&completions->mutex);
        error = momi_calls_put(momi_node_calls(publish->node), &publish->call, &messages,
                               &target, NULL, NULL, NULL);
        if (error == MOM_OK) {
            at += messages.count;
        } else if (at > 0) {
            momi_call_group_done(group, error, 0, NULL, NULL);
        }
    }
    if (at == 0) {
        return error;
    }
    momi_call_group_done(group, MOM_OK, 0, NULL, NULL); /* the submitter's own */
    return MOM_OK;
}

static int submit_many(mom_node *node, enum momi_kind kind, const char *name,
                       const char *const *keys, const mom_slice *bodies, size_t count,
                       const mom_send_options *options, int timeout_ms,
                       mom_completions *completions, void *user) {
    struct publish publish = {.messages = {.keys = keys}};
    int error = check_completions(node, completions);
    if (error == MOM_OK) {
        error = publish_begin(&publish, node, kind, name, NULL, bodies, count, options,
                              timeout_ms);
    }
    if (error != MOM_OK) {
        return error;
    }
    struct momi_call_group *group = momi_calloc(1, sizeof *group);
    error = group == NULL ? momi_err(MOM_NO_MEMORY, "no memory for a completion")
                          : momi_completions_reserve(completions);
    if (error == MOM_OK) {
        group->completions = completions;
        group->pending = 1;
        group->completion.user = user;
        error = submit_parts(&publish, group);
        if (error != MOM_OK) {
            momi_completions_unreserve(completions);
        }
    }
    if (error != MOM_OK) {
        momi_free(group);
    }
    publish_end(&publish);
    return error;
}

int mom_send_many_submit(mom_node *node, const char *queue, const mom_slice *bodies,
                         size_t count, const mom_send_options *options, int timeout_ms,
                         mom_completions *completions, void *user) {
    return submit_many(node, MOMI_KIND_QUEUE, queue, NULL, bodies, count, options,
                       timeout_ms, completions, user);
}

int mom_publish_many_submit(mom_node *node, const char *topic, const char *const *keys,
                            const mom_slice *bodies, size_t count,
                            const mom_send_options *options, int timeout_ms,
                            mom_completions *completions, void *user) {
    return submit_many(node, MOMI_KIND_TOPIC, topic, keys, bodies, count, options,
                       timeout_ms, completions, user);
}
