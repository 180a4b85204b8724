/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file options.h
 * What one says when opening, creating, sending and consuming.
 *
 * Each struct begins with its size and means "default" wherever it is zero; a NULL
 * pointer in its place means all defaults. In C, zero one with its `_init` macro:
 *
 *     mom_options options;
 *     mom_options_init(&options);
 *     options.data_dir = "data";
 *
 * Bindings and configuration files use `_new`, `_set(options, name, value)` and `_free`
 * instead: names are those of the fields, values are text ("true", "30000", "tcp://..."),
 * and the options keep their own copies. A later library accepts the struct of an earlier
 * program; an earlier library accepts that of a later program if what it does not know is
 * zero, and answers `MOM_VERSION` otherwise.
 *
 * Times are in milliseconds and sizes in bytes, as the names say.
 */
#ifndef MOM_OPTIONS_H
#define MOM_OPTIONS_H

#include <mom/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A timeout that never comes. 0 means: only what is ready, without waiting. */
#define MOM_FOREVER (-1)

/** Limits of what can be named, sent and asked for; over them a call is `MOM_TOO_BIG`
 * (messages) or `MOM_INVALID` (everything else) and nothing happens. */
#define MOM_BODY_BYTES_MAX    (8u << 20) /**< of one message */
#define MOM_NAME_BYTES_MAX    255u       /**< UTF-8, no control characters */
#define MOM_KEY_BYTES_MAX     255u
#define MOM_HEADERS_COUNT_MAX 64u
#define MOM_HEADERS_BYTES_MAX 16384u /**< names, values and 3 bytes for each */
#define MOM_FILTERS_MAX       64u    /**< of one subscription */
#define MOM_PREFETCH_MAX      65536u
#define MOM_MANY_MAX          65536u /**< messages in one call of a `_many` function */

/** What a node does in the mesh. */
typedef enum mom_role {
    MOM_ROLE_AUTO = 0,   /**< store with a data directory or `memory`, else client */
    MOM_ROLE_STORE = 1,  /**< holds copies and votes */
    MOM_ROLE_CLIENT = 2, /**< sends and receives only */
} mom_role;

typedef enum mom_log_level {
    MOM_LOG_ERROR = 1,
    MOM_LOG_WARNING = 2,
    MOM_LOG_INFO = 3,
    MOM_LOG_DEBUG = 4,
} mom_log_level;

/** Receives log lines. `id` is stable and can be searched for ("MOM-LANE-REFUSED"),
 * `group` is the part that speaks ("lane"), `message` one line of text; all are valid
 * during the call only. *Thread:* called on threads of the library and on threads that
 * are inside one of its calls, one at a time for each node; it may not call libmom and
 * should return soon. */
typedef void (*mom_log_fn)(mom_log_level level, const char *id, const char *group,
                           const char *message, void *user);

/**
 * How to open a node: alone (neither `join` nor `form`), `join`, or `form`.
 *
 * - *alone* founds a mesh of one at once. Without `listen` it opens no socket at all.
 * - *join* never founds; it asks the addresses until one answers.
 * - *form* is for starting N programs at the same moment: each gets the same full list.
 *
 * A directory that already belongs to a mesh returns to it, whatever is given here.
 */
typedef struct mom_options {
    size_t size;          /**< set by mom_options_init */
    const char *data_dir; /**< directory of the store, made if missing; NULL: none */
    const char *listen;   /**< `tcp://host:port` (port 0: any) or `ipc:///path` */
    const char *join;     /**< addresses, with commas between them */
    const char *form;     /**< `NAME=ADDRESS,...`: all founders, this node included */
    const char *name;     /**< a label for people; default: from the node id */
    mom_role role;
    bool memory;     /**< a store node without directory: nothing survives its close */
    uint32_t shards; /**< 1 to 256, of a mesh that is founded here; default 16 */
    uint32_t copies; /**< 1 to 9, of a mesh that is founded here; default 3 */
    uint64_t inflight_bytes_max; /**< sent and not acknowledged, default 64 MiB */
    uint64_t cache_bytes_max;    /**< recent messages kept in memory, default 64 MiB */
    mom_log_level log_level;     /**< what goes to `log`; default MOM_LOG_INFO */
    mom_log_fn log;              /**< NULL: nothing is logged */
    void *log_user;
    const char
        *advertise; /**< where peers reach this node if not at `listen` (0.0.0.0) */
    const char *listen_bus; /**< of store nodes, for hints among them: where nodes are and
                               that they live; default: beside `listen`, any port */
    const char *listen_survey; /**< the same, for asking who is there */
    bool no_gossip;            /**< neither of the two sockets is opened */
    void *owned;               /**< of mom_options_new; leave it alone */
} mom_options;

/** How a queue or topic behaves; fixed when it is created. */
typedef struct mom_stream_options {
    size_t size;
    bool if_missing;         /**< an existing one with the same options is OK */
    uint32_t deliveries_max; /**< then a message is dead-lettered; default 20 */
    uint64_t lease_ms;     /**< how long a consumer may keep a message unsettled; 30 s */
    uint64_t messages_max; /**< waiting messages, then `FULL`; default: no limit */
    uint64_t bytes_max;    /**< the same in bytes */
    uint64_t retention_ms; /**< topics: age of history; default: no limit */
    uint64_t retention_bytes; /**< topics: size of history; default 64 MiB */
    uint64_t retention_count; /**< topics: messages of history; default: no limit */
    bool no_dead_letter;      /**< drop instead of moving to the dead-letter queue */
    void *owned;
} mom_stream_options;

/** Where a new subscription starts. */
typedef enum mom_from {
    MOM_FROM_NEW = 0,      /**< with what is published from now on */
    MOM_FROM_FIRST = 1,    /**< with the first message that is still kept */
    MOM_FROM_SEQUENCE = 2, /**< with message `from_sequence` or the next that is kept */
    MOM_FROM_TIME = 3,     /**< with what was published at or after `from_time_us` */
} mom_from;

typedef struct mom_subscription_options {
    size_t size;
    bool if_missing; /**< an existing one with the same filters is OK */
    bool temporary;  /**< ends with this node's session, when it closes or is lost */
    bool ignore_own; /**< no messages that this node itself published */
    mom_from from;
    uint64_t from_sequence;
    uint64_t from_time_us;      /**< microseconds since 1970-01-01 UTC */
    const char *const *filters; /**< patterns with `*` and `#`; none: everything */
    size_t filters_count;
    void *owned;
} mom_subscription_options;

/** One header of a message to be sent. */
typedef struct mom_header {
    const char *name; /**< 1 to 255 bytes */
    const void *value;
    size_t value_size;
} mom_header;

typedef struct mom_send_options {
    size_t size;
    const char *key;           /**< routing key; the argument of mom_publish wins */
    const mom_header *headers; /**< the same for every message of a `_many` call */
    size_t headers_count;
    bool create; /**< make the queue or topic if it is missing, with default options */
    void *owned;
} mom_send_options;

typedef struct mom_consumer_options {
    size_t size;
    uint32_t prefetch; /**< messages held ready in this process; default 256 */
    uint64_t lease_ms; /**< default: that of the queue or topic */
    uint64_t limit;    /**< messages that it takes in all, then receiving answers
                          `MOM_EMPTY`; more are never asked for, so that the rest is
                          there for others; default: no limit */
    void *owned;
} mom_consumer_options;

/** Zero the struct and note the size that the caller knows. */
#define mom_options_init(options) mom_options_init_size((options), sizeof *(options))
#define mom_stream_options_init(options)                                                 \
    mom_stream_options_init_size((options), sizeof *(options))
#define mom_subscription_options_init(options)                                           \
    mom_subscription_options_init_size((options), sizeof *(options))
#define mom_send_options_init(options)                                                   \
    mom_send_options_init_size((options), sizeof *(options))
#define mom_consumer_options_init(options)                                               \
    mom_consumer_options_init_size((options), sizeof *(options))

MOM_API void mom_options_init_size(mom_options *options, size_t size);
MOM_API void mom_stream_options_init_size(mom_stream_options *options, size_t size);
MOM_API void mom_subscription_options_init_size(mom_subscription_options *options,
                                                size_t size);
MOM_API void mom_send_options_init_size(mom_send_options *options, size_t size);
MOM_API void mom_consumer_options_init_size(mom_consumer_options *options, size_t size);

/**
 * Options on the heap, for bindings. `_set` takes the name of a field and its value as
 * text. Booleans are "true" or "false"; `role` is "auto", "store", "client"; `from` is
 * "new", "first", "sequence", "time"; `filter` adds one pattern; "header.NAME" adds a
 * header. `log` and `log_user` are set with mom_options_set_log.
 *
 * *Owns:* the options keep copies; free them with `_free`, NULL is fine.
 * *Errors:* `_new` is NULL when out of memory. `_set`: `MOM_INVALID`: no such name, not a
 * value for it, or options that are not from `_new` (the text says which);
 * `MOM_NO_MEMORY`.
 */
MOM_API mom_options *mom_options_new(void);
MOM_API int mom_options_set(mom_options *options, const char *name, const char *value);
MOM_API void mom_options_free(mom_options *options);
/** Sets `log` and `log_user`, which are no text. */
MOM_API void mom_options_set_log(mom_options *options, mom_log_fn log, void *user);
MOM_API mom_stream_options *mom_stream_options_new(void);
MOM_API int mom_stream_options_set(mom_stream_options *options, const char *name,
                                   const char *value);
MOM_API void mom_stream_options_free(mom_stream_options *options);
MOM_API mom_subscription_options *mom_subscription_options_new(void);
MOM_API int mom_subscription_options_set(mom_subscription_options *options,
                                         const char *name, const char *value);
MOM_API void mom_subscription_options_free(mom_subscription_options *options);
MOM_API mom_send_options *mom_send_options_new(void);
MOM_API int mom_send_options_set(mom_send_options *options, const char *name,
                                 const char *value);
MOM_API void mom_send_options_free(mom_send_options *options);
/** Adds a header of any bytes. *Errors:* as `mom_send_options_set`. */
MOM_API int mom_send_options_add_header(mom_send_options *options, const char *name,
                                        const void *value, size_t value_size);
MOM_API mom_consumer_options *mom_consumer_options_new(void);
MOM_API int mom_consumer_options_set(mom_consumer_options *options, const char *name,
                                     const char *value);
MOM_API void mom_consumer_options_free(mom_consumer_options *options);

/** The host's own allocator. `realloc` and `free` behave as in the C library. */
typedef struct mom_allocator {
    size_t size;
    void *(*alloc)(size_t size, void *user);
    void *(*realloc)(void *block, size_t size, void *user);
    void (*free)(void *block, void *user);
    void *user;
} mom_allocator;

/** Has the whole library allocate with `allocator` (copied). Before any other call of
 * libmom. *Errors:* `MOM_CONFLICT`: memory was allocated already; `MOM_INVALID`. */
MOM_API int mom_set_allocator(const mom_allocator *allocator);

#ifdef __cplusplus
}
#endif
#endif
