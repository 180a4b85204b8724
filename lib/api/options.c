/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options: initialising, and setting them by name for bindings and configuration files.
 *
 * `_new` gives a struct with `owned` pointing to a list of the texts that were copied for
 * it; setting a text again keeps the older copy until `_free`.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/mem.h"

/* --- copies
 * ----------------------------------------------------------------------------- */

/* What `owned` points to: a list of blocks, and growing arrays. */
struct block {
    struct block *next;
};
struct owner {
    struct block *blocks;
    const char **filters; /* owned; mom_subscription_options.filters */
    size_t filters_room;
    mom_header *headers; /* owned; mom_send_options.headers */
    size_t headers_room;
};

static void *options_new(size_t size, size_t owned_at) {
    unsigned char *options = momi_calloc(1, size);
    struct owner *owner = momi_calloc(1, sizeof *owner);
    if (options == NULL || owner == NULL) {
        momi_free(options);
        momi_free(owner);
        (void)momi_err(MOM_NO_MEMORY, "no memory for options");
        return NULL;
    }
    memcpy(options, &size, sizeof size);
    memcpy(options + owned_at, &owner, sizeof owner);
    return options;
}

static void options_free(void *options, struct owner *owner) {
    if (options == NULL) {
        return;
    }
    if (owner != NULL) {
        while (owner->blocks != NULL) {
            struct block *next = owner->blocks->next;
            momi_free(owner->blocks);
            owner->blocks = next;
        }
        momi_free(owner->filters);
        momi_free(owner->headers);
        momi_free(owner);
    }
    momi_free(options);
}

/* A copy of the bytes with a zero behind them; NULL: out of memory. */
static char *keep(struct owner *owner, const void *bytes, size_t size) {
    struct block *block = momi_alloc(sizeof *block + size + 1);
    if (block == NULL) {
        return NULL;
    }
    block->next = owner->blocks;
    owner->blocks = block;
    char *copy = (char *)(block + 1);
    if (size > 0) {
        memcpy(copy, bytes, size);
    }
    copy[size] = '\0';
    return copy;
}

/* --- values
 * ------------------------------------------------------------------------------ */

enum field_type { FIELD_TEXT, FIELD_BOOL, FIELD_U32, FIELD_U64, FIELD_ENUM };
struct choice {
    const char *text;
    int value;
};
struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    const struct choice *choices; /* FIELD_ENUM */
};
#define FIELD(type, name, kind)                                                          \
    { #name, kind, offsetof(type, name), NULL }

static bool parse_number(const char *text, uint64_t *number) {
    char *end;
    if (text[0] < '0' || text[0] > '9') { /* no sign, no blanks */
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *number = value;
    return errno == 0 && *end == '\0';
}

static bool parse_bool(const char *text, bool *value) {
    *value = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    return *value || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
}

/* MOM_OK, MOM_NOT_FOUND: not a value; MOM_NO_MEMORY. */
static int set_field(unsigned char *at, const struct field *field, struct owner *owner,
                     const char *value) {
    uint64_t number = 0;
    bool flag = false;
    switch (field->type) {
    case FIELD_TEXT: {
        const char *copy = keep(owner, value, strlen(value));
        if (copy == NULL) {
            return MOM_NO_MEMORY;
        }
        memcpy(at, &copy, sizeof copy);
        return MOM_OK;
    }
    case FIELD_BOOL:
        if (!parse_bool(value, &flag)) {
            return MOM_NOT_FOUND;
        }
        memcpy(at, &flag, sizeof flag);
        return MOM_OK;
    case FIELD_U32: {
        if (!parse_number(value, &number) || number > UINT32_MAX) {
            return MOM_NOT_FOUND;
        }
        uint32_t small = (uint32_t)number;
        memcpy(at, &small, sizeof small);
        return MOM_OK;
    }
    case FIELD_U64:
        if (!parse_number(value, &number)) {
            return MOM_NOT_FOUND;
        }
        memcpy(at, &number, sizeof number);
        return MOM_OK;
    case FIELD_ENUM:
        for (const struct choice *choice = field->choices; choice->text != NULL;
             choice++) {
            if (strcmp(choice->text, value) == 0) {
                memcpy(at, &choice->value, sizeof choice->value);
                return MOM_OK;
            }
        }
        return MOM_NOT_FOUND;
    }
    return MOM_NOT_FOUND;
}

static int set_by_name(void *options, struct owner *owner, const struct field *fields,
                       size_t count, const char *name, const char *value) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, name) != 0) {
            continue;
        }
        int error = set_field((unsigned char *)options + fields[i].offset, &fields[i],
                              owner, value);
        if (error == MOM_NOT_FOUND) {
            return momi_err(MOM_INVALID, "%s: \"%s\" is not a value for it", name, value);
        }
        return error == MOM_OK ? MOM_OK : momi_err(error, "no memory for options");
    }
    return momi_err(MOM_INVALID, "no option is called \"%s\"", name);
}

static int check_set(const void *options, const struct owner *owner, const char *name,
                     const char *value) {
    if (options == NULL || name == NULL || value == NULL) {
        return momi_err(MOM_INVALID, "options, name or value is NULL");
    }
    return owner != NULL ? MOM_OK
                         : momi_err(MOM_INVALID, "the options are not from a _new");
}

/* --- the five kinds --------------------------------------------------------------------
 */

static const struct choice roles[] = {{"auto", MOM_ROLE_AUTO},
                                      {"store", MOM_ROLE_STORE},
                                      {"client", MOM_ROLE_CLIENT},
                                      {NULL, 0}};
static const struct choice levels[] = {{"error", MOM_LOG_ERROR},
                                       {"warning", MOM_LOG_WARNING},
                                       {"info", MOM_LOG_INFO},
                                       {"debug", MOM_LOG_DEBUG},
                                       {NULL, 0}};
static const struct choice froms[] = {{"new", MOM_FROM_NEW},
                                      {"first", MOM_FROM_FIRST},
                                      {"sequence", MOM_FROM_SEQUENCE},
                                      {"time", MOM_FROM_TIME},
                                      {NULL, 0}};

static const struct field node_fields[] = {
    FIELD(mom_options, data_dir, FIELD_TEXT),
    FIELD(mom_options, listen, FIELD_TEXT),
    FIELD(mom_options, listen_bus, FIELD_TEXT),
    FIELD(mom_options, listen_survey, FIELD_TEXT),
    FIELD(mom_options, no_gossip, FIELD_BOOL),
    FIELD(mom_options, advertise, FIELD_TEXT),
    FIELD(mom_options, join, FIELD_TEXT),
    FIELD(mom_options, form, FIELD_TEXT),
    FIELD(mom_options, name, FIELD_TEXT),
    {"role", FIELD_ENUM, offsetof(mom_options, role), roles},
    FIELD(mom_options, memory, FIELD_BOOL),
    FIELD(mom_options, shards, FIELD_U32),
    FIELD(mom_options, copies, FIELD_U32),
    FIELD(mom_options, inflight_bytes_max, FIELD_U64),
    FIELD(mom_options, cache_bytes_max, FIELD_U64),
    {"log_level", FIELD_ENUM, offsetof(mom_options, log_level), levels},
};
static const struct field stream_fields[] = {
    FIELD(mom_stream_options, if_missing, FIELD_BOOL),
    FIELD(mom_stream_options, deliveries_max, FIELD_U32),
    FIELD(mom_stream_options, lease_ms, FIELD_U64),
    FIELD(mom_stream_options, messages_max, FIELD_U64),
    FIELD(mom_stream_options, bytes_max, FIELD_U64),
    FIELD(mom_stream_options, retention_ms, FIELD_U64),
    FIELD(mom_stream_options, retention_bytes, FIELD_U64),
    FIELD(mom_stream_options, retention_count, FIELD_U64),
    FIELD(mom_stream_options, no_dead_letter, FIELD_BOOL),
};
static const struct field subscription_fields[] = {
    FIELD(mom_subscription_options, if_missing, FIELD_BOOL),
    FIELD(mom_subscription_options, temporary, FIELD_BOOL),
    FIELD(mom_subscription_options, ignore_own, FIELD_BOOL),
    {"from", FIELD_ENUM, offsetof(mom_subscription_options, from), froms},
    FIELD(mom_subscription_options, from_sequence, FIELD_U64),
    FIELD(mom_subscription_options, from_time_us, FIELD_U64),
};
static const struct field send_fields[] = {
    FIELD(mom_send_options, key, FIELD_TEXT),
    FIELD(mom_send_options, create, FIELD_BOOL),
};
static const struct field consumer_fields[] = {
    FIELD(mom_consumer_options, prefetch, FIELD_U32),
    FIELD(mom_consumer_options, lease_ms, FIELD_U64),
    FIELD(mom_consumer_options, limit, FIELD_U64),
};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* One definition for each kind: size, new, free. */
#define DEFINE_OPTIONS(type)                                                             \
    void type##_init_size(type *options, size_t size) {                                  \
        memset(options, 0, size);                                                        \
        options->size = size;                                                            \
    }                                                                                    \
    type *type##_new(void) { return options_new(sizeof(type), offsetof(type, owned)); }  \
    void type##_free(type *options) {                                                    \
        options_free(options, options == NULL ? NULL : options->owned);                  \
    }

DEFINE_OPTIONS(mom_options)
DEFINE_OPTIONS(mom_stream_options)
DEFINE_OPTIONS(mom_subscription_options)
DEFINE_OPTIONS(mom_send_options)
DEFINE_OPTIONS(mom_consumer_options)

int mom_options_set(mom_options *options, const char *name, const char *value) {
    int error = check_set(options, options == NULL ? NULL : options->owned, name, value);
    return error != MOM_OK ? error
                           : set_by_name(options, options->owned, node_fields,
                                         COUNT_OF(node_fields), name, value);
}

void mom_options_set_log(mom_options *options, mom_log_fn log, void *user) {
    if (options != NULL) {
        options->log = log;
        options->log_user = user;
    }
}

int mom_stream_options_set(mom_stream_options *options, const char *name,
                           const char *value) {
    int error = check_set(options, options == NULL ? NULL : options->owned, name, value);
    return error != MOM_OK ? error
                           : set_by_name(options, options->owned, stream_fields,
                                         COUNT_OF(stream_fields), name, value);
}

int mom_consumer_options_set(mom_consumer_options *options, const char *name,
                             const char *value) {
    int error = check_set(options, options == NULL ? NULL : options->owned, name, value);
    return error != MOM_OK ? error
                           : set_by_name(options, options->owned, consumer_fields,
                                         COUNT_OF(consumer_fields), name, value);
}

static int add_filter(mom_subscription_options *options, const char *filter) {
    struct owner *owner = options->owned;
    if (options->filters_count == owner->filters_room) {
        size_t room = owner->filters_room == 0 ? 8 : owner->filters_room * 2;
        const char **filters =
            momi_realloc(owner->filters, room * sizeof *owner->filters);
        if (filters == NULL) {
            return momi_err(MOM_NO_MEMORY, "no memory for options");
        }
        owner->filters = filters;
        owner->filters_room = room;
    }
    const char *copy = keep(owner, filter, strlen(filter));
    if (copy == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for options");
    }
    owner->filters[options->filters_count++] = copy;
    options->filters = owner->filters;
    return MOM_OK;
}

int mom_subscription_options_set(mom_subscription_options *options, const char *name,
                                 const char *value) {
    int error = check_set(options, options == NULL ? NULL : options->owned, name, value);
    if (error != MOM_OK) {
        return error;
    }
    if (strcmp(name, "filter") == 0) {
        return add_filter(options, value);
    }
    return set_by_name(options, options->owned, subscription_fields,
                       COUNT_OF(subscription_fields), name, value);
}

int mom_send_options_add_header(mom_send_options *options, const char *name,
                                const void *value, size_t value_size) {
    if (value == NULL && value_size > 0) {
        return momi_err(MOM_INVALID, "value is NULL");
    }
    int error = check_set(options, options == NULL ? NULL : options->owned, name, "");
    if (error != MOM_OK) {
        return error;
    }
    struct owner *owner = options->owned;
    if (options->headers_count == owner->headers_room) {
        size_t room = owner->headers_room == 0 ? 8 : owner->headers_room * 2;
        mom_header *headers = momi_realloc(owner->headers, room * sizeof *headers);
        if (headers == NULL) {
            return momi_err(MOM_NO_MEMORY, "no memory for options");
        }
        owner->headers = headers;
        owner->headers_room = room;
    }
    const char *name_copy = keep(owner, name, strlen(name));
    const char *value_copy = keep(owner, value, value_size);
    if (name_copy == NULL || value_copy == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for options");
    }
    owner->headers[options->headers_count++] =
        (mom_header){.name = name_copy, .value = value_copy, .value_size = value_size};
    options->headers = owner->headers;
    return MOM_OK;
}

int mom_send_options_set(mom_send_options *options, const char *name, const char *value) {
    static const char header[] = "header.";
    int error = check_set(options, options == NULL ? NULL : options->owned, name, value);
    if (error != MOM_OK) {
        return error;
    }
    if (strncmp(name, header, sizeof header - 1) == 0) {
        return mom_send_options_add_header(options, name + sizeof header - 1, value,
                                           strlen(value));
    }
    return set_by_name(options, options->owned, send_fields, COUNT_OF(send_fields), name,
                       value);
}

/* --- the allocator ---------------------------------------------------------------------
 */

int mom_set_allocator(const mom_allocator *allocator) {
    if (allocator == NULL || allocator->size < sizeof *allocator ||
        allocator->alloc == NULL || allocator->realloc == NULL ||
        allocator->free == NULL) {
        return momi_err(MOM_INVALID, "allocator: all three functions are needed");
    }
    if (momi_mem_allocations() > 0) {
        return momi_err(MOM_CONFLICT, "memory was allocated already");
    }
    struct momi_allocator hook = {.alloc = allocator->alloc,
                                  .realloc = allocator->realloc,
                                  .free = allocator->free,
                                  .user = allocator->user};
    momi_mem_set_allocator(&hook);
    return MOM_OK;
}

/* --- opening ---------------------------------------------------------------------------
 */

static int check_address(const char *field, const char *text, size_t size,
                         enum momi_node_address use) {
    char address[MOMI_NODE_ADDRESS_BYTES_MAX];
    if (size >= sizeof address) {
        return momi_err(MOM_INVALID, "%s: an address of %zu bytes", field, size);
    }
    memcpy(address, text, size);
    address[size] = '\0';
    if (momi_node_check_address(address, use) == MOM_OK) {
        return MOM_OK;
    }
    char reason[256];
    size_t length = strlen(mom_last_error_text());
    length = length < sizeof reason ? length : sizeof reason - 1;
    memcpy(reason, mom_last_error_text(), length);
    reason[length] = '\0';
    return momi_err(MOM_INVALID, "%s: %s", field, reason);
}

/* Each item of a list with commas; of `form` also its name. `found`: `name` is in it. */
static int check_list(const char *field, const char *list, const char *name,
                      bool *found) {
    while (*list != '\0') {
        const char *end = strchr(list, ',');
        size_t size = end == NULL ? strlen(list) : (size_t)(end - list);
        const char *address = list;
        if (found != NULL) {
            const char *equals = memchr(list, '=', size);
            if (equals == NULL || equals == list) {
                return momi_err(MOM_INVALID, "form: \"%.*s\" is not NAME=ADDRESS",
                                (int)size, list);
            }
            size_t name_size = (size_t)(equals - list);
            if (strlen(name) == name_size && memcmp(name, list, name_size) == 0) {
                *found = true;
            }
            address = equals + 1;
        }
        int error = check_address(field, address, size - (size_t)(address - list),
                                  MOMI_NODE_DIALS);
        if (error != MOM_OK) {
            return error;
        }
        list += end == NULL ? size : size + 1;
    }
    return MOM_OK;
}

static int check_role(const mom_options *options, bool is_alone) {
    bool has_store = options->data_dir != NULL || options->memory;
    bool is_store =
        options->role == MOM_ROLE_STORE || (options->role == MOM_ROLE_AUTO && has_store);
    if (options->role != MOM_ROLE_AUTO && options->role != MOM_ROLE_STORE &&
        options->role != MOM_ROLE_CLIENT) {
        return momi_err(MOM_INVALID, "role is %d", (int)options->role);
    }
    if (options->data_dir != NULL && options->memory) {
        return momi_err(MOM_INVALID, "data_dir and memory exclude each other");
    }
    if (options->role == MOM_ROLE_STORE && !has_store) {
        return momi_err(MOM_INVALID, "a store node needs data_dir, or memory");
    }
    if (!is_store && has_store) {
        return momi_err(MOM_INVALID, "a client has no store: data_dir or memory is set");
    }
    if (!is_store && is_alone) {
        return momi_err(MOM_INVALID,
                        "data_dir is missing; a client without it needs join");
    }
    if (!is_store && options->form != NULL) {
        return momi_err(MOM_INVALID, "form: a founder is a store node");
    }
    if (is_store && !is_alone && options->listen == NULL) {
        return momi_err(MOM_INVALID, "listen is missing: a store node of a mesh listens");
    }
    return MOM_OK;
}

static bool is_any_address(const char *listen) {
    return strncmp(listen, "tcp://0.0.0.0:", 14) == 0 ||
           strncmp(listen, "tcp://[::]:", 11) == 0 || strncmp(listen, "tcp://*:", 8) == 0;
}

static int check_gossip(const mom_options *options) {
    const char *const addresses[] = {options->listen_bus, options->listen_survey};
    const char *const fields[] = {"listen_bus", "listen_survey"};
    for (size_t i = 0; i < COUNT_OF(addresses); i++) {
        if (addresses[i] == NULL) {
            continue;
        }
        if (options->listen == NULL || options->no_gossip) {
            return momi_err(MOM_INVALID, "%s needs listen, and no_gossip unset",
                            fields[i]);
        }
        int error = check_address(fields[i], addresses[i], strlen(addresses[i]),
                                  MOMI_NODE_LISTENS_AT);
        if (error != MOM_OK) {
            return error;
        }
    }
    return MOM_OK;
}

static int check_network(const mom_options *options) {
    int error = MOM_OK;
    if (options->listen != NULL) {
        error = check_address("listen", options->listen, strlen(options->listen),
                              MOMI_NODE_LISTENS_AT);
        if (error == MOM_OK && is_any_address(options->listen) &&
            options->advertise == NULL && options->form == NULL) {
            error = momi_err(MOM_INVALID,
                             "advertise is missing: nobody can be told to "
                             "dial %s",
                             options->listen);
        }
    }
    if (error == MOM_OK && options->advertise != NULL) {
        error = check_address("advertise", options->advertise, strlen(options->advertise),
                              MOMI_NODE_DIALS);
    }
    if (error == MOM_OK) {
        error = check_gossip(options);
    }
    if (error == MOM_OK && options->join != NULL) {
        error = check_list("join", options->join, NULL, NULL);
    }
    if (error == MOM_OK && options->form != NULL) {
        bool found = false;
        if (options->name == NULL) {
            return momi_err(MOM_INVALID, "name is missing: form goes by names");
        }
        error = check_list("form", options->form, options->name, &found);
        if (error == MOM_OK && !found) {
            error = momi_err(MOM_INVALID, "form: this node's name \"%s\" is not in it",
                             options->name);
        }
    }
    return error;
}

int momi_check_open(const mom_options *options) {
    bool is_alone = options->join == NULL && options->form == NULL;
    if (options->join != NULL && options->form != NULL) {
        return momi_err(MOM_INVALID, "join and form exclude each other");
    }
    if (options->name != NULL) {
        size_t size = strlen(options->name);
        if (size == 0 || size > MOM_NAME_BYTES_MAX ||
            strpbrk(options->name, ",=") != NULL) {
            return momi_err(MOM_INVALID,
                            "name: 1 to %u bytes without commas and equal signs",
                            MOM_NAME_BYTES_MAX);
        }
    }
    if (options->shards > MOMI_SHARDS_MAX) {
        return momi_err(MOM_INVALID, "shards is %u, at most %u", options->shards,
                        MOMI_SHARDS_MAX);
    }
    if (options->copies > MOMI_REPLICAS_MAX) {
        return momi_err(MOM_INVALID, "copies is %u, at most %u", options->copies,
                        MOMI_REPLICAS_MAX);
    }
    if (options->log_level > MOM_LOG_DEBUG) {
        return momi_err(MOM_INVALID, "log_level is %d", (int)options->log_level);
    }
    int error = check_role(options, is_alone);
    return error != MOM_OK ? error : check_network(options);
}
