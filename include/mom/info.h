/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file info.h
 * What can be asked: queues, topics, subscriptions, nodes, shards, counters.
 *
 * Structs begin with their size; zero them with their `_init` macro before the call,
 * which fills in as much as the caller knows.
 */
#ifndef MOM_INFO_H
#define MOM_INFO_H

#include <mom/export.h>
#include <mom/options.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MOM_REPLICAS_MAX 9
#define MOM_MESH_ID_TEXT 33 /**< 32 hexadecimal digits and a zero */

/** A queue, a topic, or one subscription, as the leader of its shard sees it. */
typedef struct mom_stream_info {
    size_t size;
    uint32_t shard;
    uint32_t replicas_count;
    uint64_t leader;                     /**< node id */
    uint64_t replicas[MOM_REPLICAS_MAX]; /**< node ids */
    uint64_t messages_ready;  /**< waiting to be delivered; of a topic: kept as history */
    uint64_t messages_leased; /**< delivered and not settled */
    uint64_t bytes;           /**< of those that are ready */
    uint64_t sequence_first;  /**< of the oldest message there; 0: none */
    uint64_t sequence_next;   /**< what the next message will get */
    uint64_t consumers;       /**< attached now */
    uint64_t subscriptions;   /**< of a topic */
    uint64_t redelivered;     /**< deliveries that were not the first, since creation */
    uint64_t dead_lettered;   /**< since creation */
    uint64_t created_us;      /**< microseconds since 1970-01-01 UTC */
    uint64_t creator;         /**< node id */
    /* The options in force, defaults filled in (options.h). */
    uint64_t lease_ms;
    uint64_t messages_max;
    uint64_t bytes_max;
    uint64_t retention_ms;
    uint64_t retention_bytes;
    uint64_t retention_count;
    uint32_t deliveries_max;
    bool no_dead_letter;
    bool temporary;  /**< of a subscription */
    bool ignore_own; /**< of a subscription */
    bool is_filling; /**< a subscription still collects what it starts with */
    char leader_name[256];
} mom_stream_info;
#define mom_stream_info_init(info) mom_stream_info_init_size((info), sizeof *(info))
MOM_API void mom_stream_info_init_size(mom_stream_info *info, size_t size);

/** Names, sorted, each once. Free with mom_list_free (NULL is fine). */
typedef struct mom_list mom_list;
MOM_API size_t mom_list_count(const mom_list *list);
/** Terminated by a zero, valid until the list is freed; NULL beyond the end. */
MOM_API const char *mom_list_name(const mom_list *list, size_t index);
/** Of lists of the node's own streams: true if this node created it. */
MOM_API bool mom_list_is_own(const mom_list *list, size_t index);
MOM_API void mom_list_free(mom_list *list);

/** The mesh as one node sees it at one moment. Free with mom_status_free. */
typedef struct mom_status mom_status;

typedef struct mom_mesh_info {
    size_t size;
    uint64_t node; /**< id of the node that was asked */
    uint32_t shards;
    uint32_t copies;
    bool is_member; /**< this node has joined */
    bool is_ready;  /**< it sees a leader for every shard */
    bool is_durable;
    char mesh_id[MOM_MESH_ID_TEXT]; /**< "" until it has joined */
} mom_mesh_info;

typedef struct mom_node_info {
    size_t size;
    uint64_t node;
    uint64_t incarnation; /**< how often its directory was opened */
    mom_role role;
    bool is_up; /**< this node has a lane to it, or is it */
    bool is_self;
    uint32_t leads;      /**< shards, as far as this node knows */
    uint32_t copies;     /**< of shards */
    const char *name;    /**< valid until mom_status_free */
    const char *address; /**< the same; "" when it does not listen */
} mom_node_info;

typedef struct mom_shard_info {
    size_t size;
    uint32_t shard; /**< 0 is the registry */
    uint32_t replicas_count;
    uint64_t leader; /**< node id; 0: unknown here */
    uint64_t term;
    uint64_t replicas[MOM_REPLICAS_MAX];
    uint64_t commit;  /**< of the copy on the asked node; 0: it has none */
    uint64_t applied; /**< the same */
    bool is_here;     /**< the asked node has a copy */
} mom_shard_info;

#define mom_mesh_info_init(info)  mom_mesh_info_init_size((info), sizeof *(info))
#define mom_node_info_init(info)  mom_node_info_init_size((info), sizeof *(info))
#define mom_shard_info_init(info) mom_shard_info_init_size((info), sizeof *(info))
MOM_API void mom_mesh_info_init_size(mom_mesh_info *info, size_t size);
MOM_API void mom_node_info_init_size(mom_node_info *info, size_t size);
MOM_API void mom_shard_info_init_size(mom_shard_info *info, size_t size);

MOM_API int mom_status_mesh(const mom_status *status, mom_mesh_info *info);
MOM_API size_t mom_status_nodes_count(const mom_status *status);
/** *Errors:* `MOM_NOT_FOUND`: there are not as many. */
MOM_API int mom_status_node(const mom_status *status, size_t index, mom_node_info *info);
MOM_API size_t mom_status_shards_count(const mom_status *status);
MOM_API int mom_status_shard(const mom_status *status, size_t index,
                             mom_shard_info *info);
MOM_API void mom_status_free(mom_status *status);

/** Counters of one node since it was opened, except where the name says otherwise. */
#define MOM_METRICS_MAP(X)                                                               \
    X(turns_count, "turns of the loop")                                                  \
    X(events_count, "events stepped by the core")                                        \
    X(effects_count, "effects carried out")                                              \
    X(calls_count, "calls of the program")                                               \
    X(calls_pending, "calls without an answer now")                                      \
    X(mailbox_full_count, "calls refused or delayed because the mailbox was full")       \
    X(writes_count, "batches written to the store")                                      \
    X(write_bytes, "bytes of them")                                                      \
    X(syncs_count, "syncs of the store")                                                 \
    X(sync_p50_us, "median time of a synced write")                                      \
    X(sync_p99_us, "99th percentile of it")                                              \
    X(store_free_bytes, "free space of the file system of the store now")                \
    X(lanes_up, "lanes that passed their handshake now")                                 \
    X(lanes_refused_count, "handshakes refused")                                         \
    X(gossip_in_count, "datagrams, questions and answers received on bus and survey")    \
    X(gossip_out_count, "datagrams and questions sent there")                            \
    X(gossip_invalid_count, "of those received, what could not be read or did not fit")  \
    X(gossip_hints_count, "hints where a node may be reached")                           \
    X(frames_in_count, "frames received")                                                \
    X(frames_out_count, "frames sent")                                                   \
    X(frames_invalid_count, "frames that could not be decoded")                          \
    X(frames_dropped_count, "frames that did not fit, or came for nobody")               \
    X(lane_in_bytes, "bytes received")                                                   \
    X(lane_out_bytes, "bytes sent")                                                      \
    X(messages_published_count, "messages applied to queues and topics led here")        \
    X(messages_delivered_count, "messages sent to consumers by leaders here")            \
    X(messages_settled_count, "messages settled at leaders here")                        \
    X(messages_redelivered_count, "deliveries that were not the first")                  \
    X(messages_dead_lettered_count, "messages dead-lettered")                            \
    X(messages_buffered, "messages in consumers' buffers of this process now")           \
    X(leases_expired_count, "leases that ran out")                                       \
    X(elections_count, "elections started here")                                         \
    X(leader_changes_count, "leaders seen")                                              \
    X(entries_appended_count, "log entries appended")                                    \
    X(checkpoints_count, "checkpoints written")                                          \
    X(snapshots_sent_count, "snapshots sent")                                            \
    X(snapshots_installed_count, "snapshots installed")                                  \
    X(sessions_opened_count, "sessions opened at leaders here")                          \
    X(sessions_expired_count, "sessions expired")                                        \
    X(entries_repaired_count, "damaged log entries fetched from other copies")           \
    X(entries_lost_count, "log entries damaged on every copy that could be asked")       \
    X(damages_count, "shards whose copy here was damaged when the node was opened")

typedef struct mom_metrics {
    size_t size;
#define MOM_METRICS_FIELD(name, text) uint64_t name;
    MOM_METRICS_MAP(MOM_METRICS_FIELD)
#undef MOM_METRICS_FIELD
} mom_metrics;
#define mom_metrics_init(metrics) mom_metrics_init_size((metrics), sizeof *(metrics))
MOM_API void mom_metrics_init_size(mom_metrics *metrics, size_t size);
/** The counters by number, for printing them all: name and help of counter `index` from 0
 * (NULL beyond the end), and its value. */
MOM_API const char *mom_metrics_name(size_t index);
MOM_API const char *mom_metrics_help(size_t index);
MOM_API uint64_t mom_metrics_value(const mom_metrics *metrics, size_t index);

#ifdef __cplusplus
}
#endif
#endif
