/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening, up to the threads: who the node is (D1), its store (D2, D3), where it listens,
 * and the core with what the store knows. Each step undoes itself on failure, so that
 * momi_node_unprepare may be called at any point.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"
#include "node/node_internal.h"
#include "node/owner.h"

enum { LIST_MAX = 64 };

/* What the text options say, taken apart. Slices into the options. */
struct parsed {
    struct momi_slice join[LIST_MAX];
    size_t join_count;
    struct momi_founder form[LIST_MAX];
    size_t form_count;
};

/* --- options
 * ---------------------------------------------------------------------------------- */

static struct momi_slice next_item(const char **text) {
    const char *end = strchr(*text, ',');
    size_t size = end == NULL ? strlen(*text) : (size_t)(end - *text);
    struct momi_slice item = momi_slice(*text, size);
    *text += end == NULL ? size : size + 1;
    return item;
}

static int parse(const mom_options *options, struct parsed *parsed) {
    memset(parsed, 0, sizeof *parsed);
    const char *text = options->join == NULL ? "" : options->join;
    while (*text != '\0') {
        if (parsed->join_count == LIST_MAX) {
            return momi_err(MOM_INVALID, "join: more than %d addresses", LIST_MAX);
        }
        parsed->join[parsed->join_count++] = next_item(&text);
    }
    text = options->form == NULL ? "" : options->form;
    while (*text != '\0') {
        if (parsed->form_count == LIST_MAX) {
            return momi_err(MOM_INVALID, "form: more than %d founders", LIST_MAX);
        }
        struct momi_slice item = next_item(&text);
        const uint8_t *equals = memchr(item.data, '=', item.size);
        if (equals == NULL) {
            return momi_err(MOM_INVALID, "form: \"%.*s\" is not NAME=ADDRESS",
                            (int)item.size, (const char *)item.data);
        }
        size_t name_size = (size_t)(equals - item.data);
        parsed->form[parsed->form_count++] = (struct momi_founder){
            .name = momi_slice(item.data, name_size),
            .address = momi_slice(equals + 1, item.size - name_size - 1)};
    }
    return MOM_OK;
}

static const struct momi_founder *find_founder(const struct parsed *parsed,
                                               const char *name) {
    for (size_t i = 0; i < parsed->form_count; i++) {
        if (momi_slice_equal(parsed->form[i].name, momi_slice_str(name))) {
            return &parsed->form[i];
        }
    }
    return NULL;
}

/* --- identity and store
 * -------------------------------------------------------------------------- */

static void take_identity(mom_node *node) {
    const struct momi_datadir_identity *identity = momi_datadir_identity(node->dir);
    momi_key_from_seed(&node->key, identity->seed);
    node->incarnation = identity->incarnation;
    node->boot_nonce = identity->boot_nonce;
}

static int open_identity(mom_node *node, const mom_options *options) {
    int error = momi_keys_init();
    if (error != MOM_OK) {
        return error;
    }
    if (options->data_dir != NULL) {
        error = momi_datadir_open(options->data_dir, &node->dir);
        if (error == MOM_OK) {
            take_identity(node);
        }
        return error;
    }
    momi_key_generate(&node->key);
    node->incarnation = 1;
    node->boot_nonce = momi_random_u64();
    return MOM_OK;
}

/* D3: with a mesh to return to, what has lost promises is kept aside, and the node comes
 * back as someone else. Alone it may hold the only copy: that is for the operator. */
static int open_again(mom_node *node, const mom_options *options,
                      struct momi_store_report *report) {
    bool can_return = options->join != NULL || options->form != NULL;
    if (!can_return || (report->found != MOMI_STORE_LOST_PROMISES &&
                        report->found != MOMI_STORE_CORRUPT)) {
        return MOM_CORRUPT; /* with the text of the store */
    }
    momi_log(&node->log, MOM_LOG_ERROR, "MOM-STORE-LOST-PROMISES", "store",
             "the store is short of what it had acknowledged (%s); it is kept aside, and "
             "the node joins again under a new id",
             mom_last_error_text());
    int error = momi_datadir_set_aside(node->dir);
    if (error != MOM_OK) {
        return error;
    }
    take_identity(node);
    return momi_store_open_rocksdb(&node->store, options->data_dir, NULL, report);
}

static int open_store(mom_node *node, const mom_options *options, uint64_t *batch_next) {
    *batch_next = 1;
    if (node->dir == NULL) {
        return momi_store_open_memory(&node->store);
    }
    struct momi_store_report report;
    int error = momi_store_open_rocksdb(&node->store, options->data_dir, NULL, &report);
    if (error == MOM_CORRUPT) {
        error = open_again(node, options, &report);
    }
    if (error == MOM_OK) {
        uint64_t id = momi_key_node_id(&node->key.public_key);
        error = momi_owner_take(node->store, node->dir, id, report.number + 1);
        take_identity(node);
        *batch_next = report.number + 2;
        node->is_durable = true;
    }
    return error;
}

/* --- network
 * --------------------------------------------------------------------------------------
 */

static int open_network(mom_node *node, const mom_options *options,
                        const struct parsed *parsed) {
    if (options->listen == NULL) {
        return MOM_OK; /* a node alone starts no thread of the network at all */
    }
    int error =
        momi_peers_listen(node, options->listen, node->listen, sizeof node->listen);
    if (error != MOM_OK) {
        return error;
    }
    const struct momi_founder *self = find_founder(parsed, node->name);
    if (options->advertise != NULL) {
        (void)snprintf(node->address, sizeof node->address, "%s", options->advertise);
    } else if (self != NULL) {
        (void)snprintf(node->address, sizeof node->address, "%.*s",
                       (int)self->address.size, (const char *)self->address.data);
    } else {
        (void)snprintf(node->address, sizeof node->address, "%s", node->listen);
    }
    return momi_discovery_open(node, options);
}

/* --- core
 * -------------------------------------------------------------------------------------------
 */

static bool restore_item(struct momi_slice key, struct momi_slice value, void *user) {
    momi_core_restore_item(user, key, value);
    return true;
}

static int restore(mom_node *node) {
    struct momi_restore_range range;
    while (momi_core_restore_next(node->core, &range)) {
        int error = momi_store_scan(node->store, NULL, range.family, range.from, range.to,
                                    restore_item, node->core);
        if (error == MOM_NO_MEMORY) {
            return error;
        }
        if (error != MOM_OK) {
            momi_log(&node->log, MOM_LOG_ERROR, "MOM-STORE-DAMAGED", "store",
                     "a part of the store cannot be read: %s", mom_last_error_text());
            momi_core_restore_damaged(node->core);
        }
    }
    if (momi_core_restore_is_short(node->core)) {
        return momi_err(MOM_NO_MEMORY, "no memory for what the store holds");
    }
    if (momi_core_restore_is_refused(node->core)) {
        return momi_err(MOM_CORRUPT, "the store holds a record that cannot be right");
    }
    return MOM_OK;
}

static int open_core(mom_node *node, const mom_options *options,
                     const struct parsed *parsed, uint64_t batch_next) {
    struct momi_core_config config = {
        .node = node->id,
        .incarnation = node->incarnation,
        .role = node->role,
        .name = momi_slice_str(node->name),
        .address = momi_slice_str(node->address),
        .durable = node->is_durable,
        .batch_next = batch_next,
        .seed = momi_random_u64(),
        .join = parsed->join,
        .join_count = parsed->join_count,
        .form = parsed->form,
        .form_count = parsed->form_count,
        .shards_count = options->shards,
        .copies_count = options->copies,
        .inflight_bytes_max = options->inflight_bytes_max,
        .cache_bytes_max = options->cache_bytes_max,
    };
    if (node->dir != NULL) {
        memcpy(config.mesh.bytes, momi_datadir_identity(node->dir)->mesh_id,
               sizeof config.mesh.bytes);
    }
    momi_random_bytes(config.mesh_candidate.bytes, sizeof config.mesh_candidate.bytes);
    node->founders_hash = momi_founders_hash(parsed->form, parsed->form_count);
    node->core = momi_core_new(&config);
    if (node->core == NULL ||
        !momi_reserve_fill(&node->reserve, MOMI_NODE_RESERVE_BYTES)) {
        return momi_err(MOM_NO_MEMORY, "no memory for a node");
    }
    return restore(node);
}

/* --- all of it
 * ----------------------------------------------------------------------------------------
 */

static void choose_role(mom_node *node, const mom_options *options) {
    bool has_store = options->data_dir != NULL || options->memory;
    node->role =
        options->role == MOM_ROLE_CLIENT || (options->role == MOM_ROLE_AUTO && !has_store)
            ? MOMI_ROLE_CLIENT
            : MOMI_ROLE_STORE;
}

static void choose_name(mom_node *node, const mom_options *options) {
    if (options->name != NULL) {
        (void)snprintf(node->name, sizeof node->name, "%s", options->name);
    } else {
        (void)snprintf(node->name, sizeof node->name, "node-%08x",
                       (unsigned)(node->id >> 32));
    }
}

int momi_node_prepare(mom_node *node, const mom_options *options) {
    struct parsed parsed;
    uint64_t batch_next;
    choose_role(node, options);
    int error = parse(options, &parsed);
    if (error == MOM_OK) {
        error = momi_peers_init(&node->peers);
    }
    if (error != MOM_OK) {
        return error;
    }
    node->has_peers = true;
    error = open_identity(node, options);
    if (error == MOM_OK) {
        error = open_store(node, options, &batch_next);
    }
    if (error == MOM_OK) {
        node->id = momi_key_node_id(&node->key.public_key);
        choose_name(node, options);
        error = momi_journal_init(&node->journal, node, node->store, node->dir);
        node->has_journal = error == MOM_OK;
    }
    if (error == MOM_OK) {
        error = momi_reader_init(&node->reader, &node->mailbox, node->store);
        node->has_reader = error == MOM_OK;
    }
    if (error == MOM_OK) {
        error = open_network(node, options, &parsed);
    }
    if (error == MOM_OK) {
        error = open_core(node, options, &parsed, batch_next);
    }
    if (error != MOM_OK) {
        momi_mailbox_end(&node->mailbox); /* peers may be knocking already */
        int ignored = MOM_OK;
        momi_node_unprepare(node, &ignored);
    }
    return error;
}

/* Keeps the error text of the caller. */
void momi_node_unprepare(mom_node *node, int *error) {
    if (momi_discovery_close(node) != MOM_OK) {
        momi_node_ref(node); /* a socket of it hangs: what it refers to is left behind */
    }
    if (node->has_peers && momi_peers_close(&node->peers) != MOM_OK) {
        momi_node_ref(node); /* the network still holds on to it: left behind */
    }
    if (node->has_journal) {
        momi_journal_stop(&node->journal);
        momi_journal_destroy(&node->journal);
    }
    if (node->has_reader) {
        momi_reader_stop(&node->reader);
        momi_reader_destroy(&node->reader);
    }
    momi_core_free(node->core);
    node->core = NULL;
    momi_effects_free(&node->effects);
    momi_arena_free(&node->arena);
    momi_reserve_free(&node->reserve);
    momi_bytes_free(&node->taken);
    while (!momi_list_empty(&node->free_jobs)) {
        struct momi_job *job =
            MOMI_CONTAINER_OF(node->free_jobs.next, struct momi_job, link);
        momi_list_remove(&job->link);
        momi_job_free(job);
    }
    momi_free(node->consumers);
    node->consumers = NULL;
    node->consumers_room = 0;
    if (node->store != NULL) {
        *error = momi_store_close(node->store);
        node->store = NULL;
    }
    momi_datadir_close(node->dir);
    node->dir = NULL;
}
