/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mesh as one node sees it, and its counters by number. See <mom/info.h>.
 */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "base/arena.h"
#include "base/mem.h"
#include "core/info.h"

struct mom_status {
    struct momi_bytes body;  /* owned; texts lie in it */
    struct momi_arena arena; /* owned */
    struct momi_status status;
    bool is_ready;
    char **names, **addresses; /* owned, of each member: with a zero behind */
};

void mom_status_free(mom_status *status) {
    if (status == NULL) {
        return;
    }
    momi_bytes_free(&status->body);
    momi_arena_free(&status->arena);
    momi_free(status);
}

static char *text_in(struct momi_arena *arena, struct momi_slice text) {
    char *copy = momi_arena_alloc(arena, text.size + 1);
    if (copy != NULL) {
        if (text.size > 0) {
            memcpy(copy, text.data, text.size);
        }
        copy[text.size] = '\0';
    }
    return copy;
}

static int copy_texts(mom_status *status) {
    uint32_t count = status->status.members_count;
    status->names = momi_arena_alloc(&status->arena, (count + 1) * sizeof(char *));
    status->addresses = momi_arena_alloc(&status->arena, (count + 1) * sizeof(char *));
    bool ok = status->names != NULL && status->addresses != NULL;
    for (uint32_t i = 0; ok && i < count; i++) {
        const struct momi_member_info *member = &status->status.members[i];
        status->names[i] = text_in(&status->arena, member->name);
        status->addresses[i] = text_in(&status->arena, member->address);
        ok = status->names[i] != NULL && status->addresses[i] != NULL;
    }
    return ok ? MOM_OK : momi_err(MOM_NO_MEMORY, "no memory for a status");
}

static int fetch(mom_node *node, mom_status *status, uint64_t deadline_us) {
    struct momi_call call = {.type = CALL_STATUS, .deadline_us = deadline_us};
    struct momi_answer answer = {0};
    int error = momi_node_enter(node);
    if (error != MOM_OK) {
        return error;
    }
    error = momi_node_call(node, &call, NULL, &answer);
    if (error == MOM_OK) {
        struct momi_call ready = {.type = CALL_WAIT_READY};
        status->is_ready = momi_node_call(node, &ready, NULL, NULL) == MOM_OK;
    }
    momi_node_leave(node);
    status->body = answer.body;
    if (error == MOM_OK) {
        error = momi_status_decode(momi_bytes_slice(&status->body), &status->arena,
                                   &status->status);
    }
    return error == MOM_OK ? copy_texts(status) : error;
}

int mom_status_get(mom_node *node, mom_status **status_out, int timeout_ms) {
    uint64_t deadline_us = 0;
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(status_out, "status");
    }
    if (error == MOM_OK) {
        error = momi_check_deadline(timeout_ms, &deadline_us);
    }
    if (error != MOM_OK) {
        return error;
    }
    mom_status *status = momi_calloc(1, sizeof *status);
    if (status == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a status");
    }
    error = fetch(node, status, deadline_us);
    if (error != MOM_OK) {
        mom_status_free(status);
        return error;
    }
    *status_out = status;
    return MOM_OK;
}

static int export_info(void *out, const void *in, size_t in_size) {
    size_t size;
    memcpy(&size, out, sizeof size);
    if (size < sizeof size) {
        return momi_err(MOM_INVALID, "info: size is %zu; was it initialised?", size);
    }
    memcpy(out, in, size < in_size ? size : in_size);
    memcpy(out, &size, sizeof size);
    return MOM_OK;
}

static int check(const mom_status *status, const void *info) {
    int error = momi_check_pointer(status, "status");
    return error != MOM_OK ? error : momi_check_pointer(info, "info");
}

int mom_status_mesh(const mom_status *status, mom_mesh_info *info) {
    int error = check(status, info);
    if (error != MOM_OK) {
        return error;
    }
    const struct momi_status *from = &status->status;
    mom_mesh_info all = {.size = sizeof all,
                         .node = from->node,
                         .shards = from->shards_count,
                         .copies = from->copies_count,
                         .is_member = !momi_mesh_id_is_none(&from->mesh),
                         .is_ready = status->is_ready,
                         .is_durable = from->is_durable};
    for (size_t i = 0; all.is_member && i < sizeof from->mesh.bytes; i++) {
        (void)snprintf(all.mesh_id + 2 * i, 3, "%02x", from->mesh.bytes[i]);
    }
    return export_info(info, &all, sizeof all);
}

size_t mom_status_nodes_count(const mom_status *status) {
    return status == NULL ? 0 : status->status.members_count;
}

static bool has_copy(const struct momi_shard_info *shard, uint64_t node) {
    for (uint32_t i = 0; i < shard->replicas_count; i++) {
        if (shard->replicas[i].node == node) {
            return true;
        }
    }
    return false;
}

int mom_status_node(const mom_status *status, size_t index, mom_node_info *info) {
    int error = check(status, info);
    if (error != MOM_OK) {
        return error;
    }
    const struct momi_status *from = &status->status;
    if (index >= from->members_count) {
        return momi_err(MOM_NOT_FOUND, "no node number %zu", index);
    }
    const struct momi_member_info *member = &from->members[index];
    mom_node_info all = {.size = sizeof all,
                         .node = member->node,
                         .incarnation = member->incarnation,
                         .role = member->role == MOMI_ROLE_STORE ? MOM_ROLE_STORE
                                                                 : MOM_ROLE_CLIENT,
                         .is_up = member->is_alive,
                         .is_self = member->node == from->node,
                         .name = status->names[index],
                         .address = status->addresses[index]};
    for (uint32_t i = 0; i < from->shards_listed; i++) {
        all.leads += from->shards[i].leader == member->node ? 1 : 0;
        all.copies += has_copy(&from->shards[i], member->node) ? 1 : 0;
    }
    return export_info(info, &all, sizeof all);
}

size_t mom_status_shards_count(const mom_status *status) {
    return status == NULL ? 0 : status->status.shards_listed;
}

int mom_status_shard(const mom_status *status, size_t index, mom_shard_info *info) {
    int error = check(status, info);
    if (error != MOM_OK) {
        return error;
    }
    const struct momi_status *from = &status->status;
    if (index >= from->shards_listed) {
        return momi_err(MOM_NOT_FOUND, "no shard number %zu", index);
    }
    const struct momi_shard_info *shard = &from->shards[index];
    mom_shard_info all = {.size = sizeof all,
                          .shard = shard->shard,
                          .leader = shard->leader,
                          .term = shard->term,
                          .commit = shard->commit,
                          .applied = shard->applied,
                          .is_here = has_copy(shard, from->node)};
    for (uint32_t i = 0;
         i < shard->replicas_count && all.replicas_count < MOM_REPLICAS_MAX; i++) {
        all.replicas[all.replicas_count++] = shard->replicas[i].node;
    }
    return export_info(info, &all, sizeof all);
}

/* --- counters by number
 * ------------------------------------------------------------------ */

struct metric {
    const char *name;
    const char *help;
    size_t offset;
};
#define METRIC(name, help) {#name, help, offsetof(mom_metrics, name)},
static const struct metric metrics_table[] = {MOM_METRICS_MAP(METRIC)};
#undef METRIC
enum { METRICS_COUNT = sizeof metrics_table / sizeof metrics_table[0] };

const char *mom_metrics_name(size_t index) {
    return index < METRICS_COUNT ? metrics_table[index].name : NULL;
}

const char *mom_metrics_help(size_t index) {
    return index < METRICS_COUNT ? metrics_table[index].help : NULL;
}

uint64_t mom_metrics_value(const mom_metrics *metrics, size_t index) {
    uint64_t value = 0;
    if (metrics != NULL && index < METRICS_COUNT &&
        metrics_table[index].offset + sizeof value <= metrics->size) {
        memcpy(&value, (const unsigned char *)metrics + metrics_table[index].offset,
               sizeof value);
    }
    return value;
}
