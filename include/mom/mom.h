/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mom.h
 * Durable, replicated queues and topics inside your program. This header is all of it.
 *
 * A *node* is one open libmom in a process. Nodes of a *mesh* keep copies of every queue
 * and topic among themselves. `mom_send` returns 0 when a majority of the copies has the
 * message synced to disk (in a mesh of memory nodes: in memory; mom_status says which).
 *
 *     mom_options options;
 *     mom_options_init(&options);
 *     options.data_dir = "data";
 *     mom_node *node;
 *     int error = mom_open(&options, &node);
 *     if (error == 0) error = mom_queue_create(node, "work", NULL, 5000);
 *     if (error == 0) error = mom_send(node, "work", "hello", 5, NULL, 5000);
 *     ...
 *     mom_close(node, 5000);
 *
 * Rules for all functions:
 *
 * - They return 0 (`MOM_OK`) or minus the number of a class (error.h);
 * mom_last_error_text says more. An error other than `MOM_UNKNOWN_OUTCOME` means: not
 * done, now or later.
 * - A handle may be used by any number of threads at the same time, but not closed while
 *   another thread is about to begin a call on it; calls that wait are woken with
 *   `MOM_CLOSED` when the node is closed.
 * - Arguments are borrowed for the call and copied if kept. What an out-parameter gets is
 *   set on success only, and belongs to the caller.
 * - `timeout_ms`: how long to wait; `MOM_FOREVER`; 0 is "only what is ready" for
 * receiving and waiting, and `MOM_INVALID` for everything that changes or asks something.
 * - Every call may answer `MOM_INVALID` (the text names the argument), `MOM_CLOSED` (the
 *   node is closed, or this process was forked from the one that opened it),
 *   `MOM_NO_MEMORY`, and `MOM_IO` after the node's store has failed. *Errors:* below
 * names only what is special.
 * - A call with a deadline answers `MOM_TIMEOUT` when it passed and nothing was done, and
 *   `MOM_UNKNOWN_OUTCOME` when the command was on its way. Leaders that change meanwhile
 *   are waited for; `MOM_UNAVAILABLE` is for what cannot be waited for.
 * - Do not fork while a node is open and go on in the child without exec: every call
 * there answers `MOM_CLOSED`.
 */
#ifndef MOM_MOM_H
#define MOM_MOM_H

#include <mom/error.h>
#include <mom/export.h>
#include <mom/info.h>
#include <mom/message.h>
#include <mom/options.h>
#include <mom/version.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mom_node mom_node;
typedef struct mom_consumer mom_consumer;
typedef struct mom_completions mom_completions;

/** Bytes of the caller. */
typedef struct mom_slice {
    const void *data;
    size_t size;
} mom_slice;

/* --- nodes ----------------------------------------------------------------------------
 */

/**
 * Opens a node. It joins, or founds, its mesh in the background: mom_wait_ready waits for
 * that, and calls before it wait by themselves.
 *
 * *Blocks:* for local work: it opens the store and recovers it.
 * *Owns:* close the node with mom_close.
 * *Errors:* `MOM_CONFLICT`: the directory is in use (the text names the process), belongs
 * to another mesh, or the address to listen on is taken; `MOM_CORRUPT`: the directory
 * holds damaged data that no other node can replace; `MOM_IO`: it cannot be written;
 * `MOM_VERSION`: it was written by a later version, or the options are of one;
 * `MOM_FORBIDDEN`, `MOM_UNAVAILABLE`: the address cannot be listened on.
 */
MOM_API int mom_open(const mom_options *options, mom_node **node);

/**
 * Waits until the node is a member of its mesh and knows a leader for every shard.
 *
 * *Blocks:* up to the timeout; 0 looks only.
 * *Errors:* `MOM_TIMEOUT`: the text says what it waits for; `MOM_CONFLICT`: it was
 * refused for good, for instance because its directory belongs to another mesh.
 */
MOM_API int mom_wait_ready(mom_node *node, int timeout_ms);

/**
 * Closes the node: hands leadership over, syncs, and stops its threads. Membership stays
 * (closing is not leaving); an open consumer's messages go back. Calls that wait get
 * `MOM_CLOSED`, or `MOM_UNKNOWN_OUTCOME` if their command was on its way. Consumers and
 * completions stay valid handles until they are closed themselves.
 *
 * *Blocks:* up to the timeout for an orderly end (0 is fine), then as long as it takes to
 * stop threads; the handle is gone in every case, except that calls on it answer
 * `MOM_CLOSED` as long as one of its completion queues is open (a program that keeps one
 * open needs no lock of its own). Never from a callback of the library.
 * *Errors:* `MOM_TIMEOUT`: it was not orderly, as if the process had been killed (nothing
 * acknowledged is lost); `MOM_IO`: the last sync failed. NULL is fine.
 */
MOM_API int mom_close(mom_node *node, int timeout_ms);

/** The node's id: the fingerprint of its key, never 0. *Thread:* any. */
MOM_API uint64_t mom_node_id(const mom_node *node);
/** Its name, and the address where it listens with the port in force ("" if it does not).
 * Valid until mom_close. *Thread:* any. */
MOM_API const char *mom_node_name(const mom_node *node);
MOM_API const char *mom_node_address(const mom_node *node);
/** True when what this node stores survives a power cut. *Thread:* any. */
MOM_API bool mom_node_is_durable(const mom_node *node);

/** The mesh as this node sees it: nodes, shards, leaders. *Owns:* free with
 * mom_status_free. *Blocks:* briefly. */
MOM_API int mom_status_get(mom_node *node, mom_status **status, int timeout_ms);

/** Fills in the counters of this node, as they were at most a few milliseconds ago.
 * *Blocks:* never. */
MOM_API int mom_metrics_get(mom_node *node, mom_metrics *metrics);

/* --- queues and topics ----------------------------------------------------------------
 */

/**
 * Creates a queue or a topic on its copies. Both may have the same name. `options` NULL:
 * all defaults.
 *
 * *Blocks:* until a majority of the copies has it.
 * *Errors:* `MOM_EXISTS` (with `if_missing`: an existing one is fine, if its options are
 * the same, else `MOM_CONFLICT`); `MOM_FORBIDDEN`: names with `$` are made by the system;
 * `MOM_FULL`: too many; `MOM_TIMEOUT`, `MOM_UNKNOWN_OUTCOME`: create again with
 * `if_missing`.
 */
MOM_API int mom_queue_create(mom_node *node, const char *queue,
                             const mom_stream_options *options, int timeout_ms);
MOM_API int mom_topic_create(mom_node *node, const char *topic,
                             const mom_stream_options *options, int timeout_ms);

/** Deletes it with all its messages, at once for everyone; consumers end with
 * `MOM_NOT_FOUND`. *Errors:* `MOM_NOT_FOUND`. */
MOM_API int mom_queue_delete(mom_node *node, const char *queue, int timeout_ms);
MOM_API int mom_topic_delete(mom_node *node, const char *topic, int timeout_ms);

/** Drops the waiting messages of a queue; those that consumers hold stay.
 * *Errors:* `MOM_NOT_FOUND`. */
MOM_API int mom_queue_purge(mom_node *node, const char *queue, int timeout_ms);

/** Describes a queue or topic; zero `info` with mom_stream_info_init. *Blocks:* until the
 * leader of its shard has answered. *Errors:* `MOM_NOT_FOUND`, `MOM_UNAVAILABLE`. */
MOM_API int mom_queue_info(mom_node *node, const char *queue, mom_stream_info *info,
                           int timeout_ms);
MOM_API int mom_topic_info(mom_node *node, const char *topic, mom_stream_info *info,
                           int timeout_ms);

/** The names of all queues or topics of the mesh, sorted. *Owns:* free with
 * mom_list_free. *Errors:* `MOM_UNAVAILABLE`: some shards did not answer (the text names
 * them); never a list that is silently shorter. */
MOM_API int mom_queue_list(mom_node *node, mom_list **list, int timeout_ms);
MOM_API int mom_topic_list(mom_node *node, mom_list **list, int timeout_ms);

/**
 * Creates a durable reader of a topic, with its own position and filters. Several
 * consumers of one subscription compete. `options` NULL: everything, from now on.
 *
 * *Errors:* `MOM_NOT_FOUND`: no such topic; `MOM_EXISTS`; `MOM_CONFLICT`: with
 * `if_missing`, it exists with other filters; `MOM_FULL`.
 */
MOM_API int mom_subscription_create(mom_node *node, const char *topic, const char *name,
                                    const mom_subscription_options *options,
                                    int timeout_ms);
/** Consumers end with `MOM_NOT_SUBSCRIBED`. *Errors:* `MOM_NOT_FOUND`: no such topic;
 * `MOM_NOT_SUBSCRIBED`: no such subscription. */
MOM_API int mom_subscription_delete(mom_node *node, const char *topic, const char *name,
                                    int timeout_ms);
MOM_API int mom_subscription_info(mom_node *node, const char *topic, const char *name,
                                  mom_stream_info *info, int timeout_ms);
/** The names of a topic's subscriptions, sorted. */
MOM_API int mom_subscription_list(mom_node *node, const char *topic, mom_list **list,
                                  int timeout_ms);

/* --- sending --------------------------------------------------------------------------
 */

/**
 * Sends a message to a queue, where exactly one consumer gets it, or publishes it to a
 * topic, where each matching subscription gets it once. `key` is the routing key that
 * filters look at (NULL: that of the options, or none).
 *
 * *Blocks:* until a majority of the copies has it synced. For rates use many threads, the
 * `_many` form, or mom_send_submit.
 * *Errors:* `MOM_NOT_FOUND`: create it first, or set `create`; `MOM_TOO_BIG`; `MOM_FULL`:
 * the queue is at its limit, or the store short of space; `MOM_TIMEOUT`: not sent;
 * `MOM_UNKNOWN_OUTCOME`: it may have been sent.
 */
MOM_API int mom_send(mom_node *node, const char *queue, const void *body, size_t size,
                     const mom_send_options *options, int timeout_ms);
MOM_API int mom_publish(mom_node *node, const char *topic, const char *key,
                        const void *body, size_t size, const mom_send_options *options,
                        int timeout_ms);

/**
 * Sends `count` messages (at most MOM_MANY_MAX), in this order. `results`, if not NULL,
 * gets the outcome of each. `keys`, if not NULL, holds one routing key for each.
 *
 * *Errors:* as mom_send; the first error of any of them.
 */
MOM_API int mom_send_many(mom_node *node, const char *queue, const mom_slice *bodies,
                          size_t count, const mom_send_options *options, int *results,
                          int timeout_ms);
MOM_API int mom_publish_many(mom_node *node, const char *topic, const char *const *keys,
                             const mom_slice *bodies, size_t count,
                             const mom_send_options *options, int *results,
                             int timeout_ms);

/* --- receiving ------------------------------------------------------------------------
 */

/**
 * Opens a consumer of a queue, or of a subscription. Messages flow into its buffer ahead
 * of need (`prefetch`); competing consumers get fair turns.
 *
 * *Blocks:* until it is attached.
 * *Owns:* close it with mom_consumer_close, also after the node was closed.
 * *Errors:* `MOM_NOT_FOUND`; `MOM_NOT_SUBSCRIBED`; `MOM_FULL`: too many.
 */
MOM_API int mom_queue_consumer(mom_node *node, const char *queue,
                               const mom_consumer_options *options, int timeout_ms,
                               mom_consumer **consumer);
MOM_API int mom_subscription_consumer(mom_node *node, const char *topic, const char *name,
                                      const mom_consumer_options *options, int timeout_ms,
                                      mom_consumer **consumer);

/**
 * Sends what was settled, gives everything else back, and closes. Messages that the
 * program still holds stay readable, and go to someone else at once, as another delivery.
 *
 * *Blocks:* up to the timeout until that is known to be done (0: does not wait); the
 * handle is gone in every case. NULL is fine.
 * *Errors:* `MOM_TIMEOUT`.
 */
MOM_API int mom_consumer_close(mom_consumer *consumer, int timeout_ms);

/**
 * Takes the next message. From now on its lease runs: settle it in time (mom_ack,
 * mom_nack, mom_reject), then release it.
 *
 * *Blocks:* up to the timeout. With 0 it takes what is buffered, and otherwise asks the
 * leader whether there is anything (this is sure, and takes a round trip).
 * *Owns:* release the message with mom_message_release.
 * *Errors:* `MOM_EMPTY`: with timeout 0, nothing is there, or the `limit` of the consumer
 * was taken; `MOM_TIMEOUT`: nothing came;
 * `MOM_NOT_FOUND`: the queue or topic was deleted; `MOM_NOT_SUBSCRIBED`: the
 * subscription was;
 * `MOM_CLOSED`; `MOM_UNAVAILABLE`: with timeout 0, no leader to ask.
 */
MOM_API int mom_receive(mom_consumer *consumer, mom_message **message, int timeout_ms);

/** Takes 1 to `max` messages: waits for the first, then takes what is buffered.
 * *Errors:* as mom_receive. */
MOM_API int mom_receive_many(mom_consumer *consumer, mom_message **messages, size_t max,
                             size_t *count, int timeout_ms);

/** Takes 1 to `max` messages of those that are buffered here, and asks nobody: for event
 * loops, after a completion of mom_receive_submit. *Blocks:* never. *Errors:*
 * `MOM_EMPTY`: nothing is buffered (the leader may have some); else as mom_receive. */
MOM_API int mom_receive_ready(mom_consumer *consumer, mom_message **messages, size_t max,
                              size_t *count);

/** What becomes of a message after its handler. */
typedef enum mom_handled {
    MOM_HANDLED_ACK = 0,    /**< done with it */
    MOM_HANDLED_NACK = 1,   /**< give it back */
    MOM_HANDLED_REJECT = 2, /**< dead-letter it */
    MOM_HANDLED_KEEP = 3,   /**< the handler has settled it, or will; it releases it */
} mom_handled;
typedef mom_handled (*mom_handler_fn)(mom_message *message, void *user);

/**
 * Calls `handler` for each message, on the caller's thread, until mom_consumer_stop.
 *
 * *Blocks:* until stopped. Several threads may run one consumer.
 * *Errors:* 0 when stopped, or when the `limit` of the consumer was taken; otherwise what
 * ended the consumer, as mom_receive.
 */
MOM_API int mom_consumer_run(mom_consumer *consumer, mom_handler_fn handler, void *user);
/** Ends every mom_consumer_run of this consumer, each after its current message, and at
 * once those that begin later: of several threads one may come when all is done. To go
 * on, open another consumer. *Thread:* any, also in a handler. *Blocks:* never. */
MOM_API void mom_consumer_stop(mom_consumer *consumer);

/**
 * Settles a message: done with it (ack), back to its place for someone else (nack; counts
 * as a delivery), or to the dead-letter queue (reject). Each message once.
 *
 * *Blocks:* never; it is sent with others. If it is lost on the way, the message comes
 * again: mom_consumer_flush and mom_ack_wait know.
 * *Errors:* `MOM_CONFLICT`: settled already; `MOM_CLOSED`: its consumer is closed.
 */
MOM_API int mom_ack(mom_message *message);
MOM_API int mom_nack(mom_message *message);
MOM_API int mom_reject(mom_message *message);
/** Acknowledges many; the first error of any of them. */
MOM_API int mom_ack_many(mom_message *const *messages, size_t count);
/** Starts the lease of a message anew. *Blocks:* never. *Errors:* as mom_ack. */
MOM_API int mom_extend(mom_message *message);

/** Acknowledges, and returns when that is committed. *Errors:* as mom_ack;
 * `MOM_CONFLICT`: too late, the lease had ended (the message comes again);
 * `MOM_UNKNOWN_OUTCOME`. */
MOM_API int mom_ack_wait(mom_message *message, int timeout_ms);

/** Waits until everything settled so far on this consumer is committed. *Errors:*
 * `MOM_CONFLICT`: some of it was too late, these messages come again;
 * `MOM_UNKNOWN_OUTCOME`. */
MOM_API int mom_consumer_flush(mom_consumer *consumer, int timeout_ms);

/** Ends the use of a message. One that was not settled is given back. NULL is fine.
 * *Blocks:* never. */
MOM_API void mom_message_release(mom_message *message);

/* --- without blocking ------------------------------------------------------------------
 *
 * Each `_submit` function takes the arguments of its blocking form without the results,
 * and `completions` and `user`. It returns at once: 0 means accepted, and then exactly
 * one completion with `user` follows; otherwise nothing does. `timeout_ms` is the
 * deadline of the command; MOM_FOREVER: its completion tells the true outcome, however
 * long it takes. Accepting may answer MOM_FULL: too much is in flight; collect, then
 * submit again.
 */

typedef struct mom_completion {
    void *user;
    int error;              /**< the result of the call */
    uint32_t synced_copies; /**< sends: copies that had it synced; 0 in a memory mesh */
    uint64_t sequence;      /**< sends: of the first message */
    uint64_t count;         /**< `_many` sends: how many are acknowledged */
} mom_completion;

/** A queue of completions; any number for each node. *Owns:* close it with
 * mom_completions_close. */
MOM_API int mom_completions_open(mom_node *node, mom_completions **completions);
/** Closes it; completions that nobody collected are dropped. NULL is fine. */
MOM_API void mom_completions_close(mom_completions *completions);
/** A file descriptor that is readable while completions are there; for poll and event
 * loops. Do not read from it. Valid until mom_completions_close. */
MOM_API int mom_completions_fd(const mom_completions *completions);
/** Collects 1 to `max` completions. *Blocks:* up to the timeout, 0: takes what is there.
 * *Errors:* `MOM_EMPTY` with timeout 0, `MOM_TIMEOUT`, `MOM_CLOSED`: the node is closed
 * and all completions were collected. */
MOM_API int mom_completions_wait(mom_completions *completions, mom_completion *list,
                                 size_t max, size_t *count, int timeout_ms);

MOM_API int mom_send_submit(mom_node *node, const char *queue, const void *body,
                            size_t size, const mom_send_options *options, int timeout_ms,
                            mom_completions *completions, void *user);
MOM_API int mom_publish_submit(mom_node *node, const char *topic, const char *key,
                               const void *body, size_t size,
                               const mom_send_options *options, int timeout_ms,
                               mom_completions *completions, void *user);
/** One completion for all of them; `error` is the first error of any. */
MOM_API int mom_send_many_submit(mom_node *node, const char *queue,
                                 const mom_slice *bodies, size_t count,
                                 const mom_send_options *options, int timeout_ms,
                                 mom_completions *completions, void *user);
MOM_API int mom_publish_many_submit(mom_node *node, const char *topic,
                                    const char *const *keys, const mom_slice *bodies,
                                    size_t count, const mom_send_options *options,
                                    int timeout_ms, mom_completions *completions,
                                    void *user);
MOM_API int mom_wait_ready_submit(mom_node *node, int timeout_ms,
                                  mom_completions *completions, void *user);
MOM_API int mom_queue_create_submit(mom_node *node, const char *queue,
                                    const mom_stream_options *options, int timeout_ms,
                                    mom_completions *completions, void *user);
MOM_API int mom_topic_create_submit(mom_node *node, const char *topic,
                                    const mom_stream_options *options, int timeout_ms,
                                    mom_completions *completions, void *user);
MOM_API int mom_queue_delete_submit(mom_node *node, const char *queue, int timeout_ms,
                                    mom_completions *completions, void *user);
MOM_API int mom_topic_delete_submit(mom_node *node, const char *topic, int timeout_ms,
                                    mom_completions *completions, void *user);
MOM_API int mom_queue_purge_submit(mom_node *node, const char *queue, int timeout_ms,
                                   mom_completions *completions, void *user);
MOM_API int mom_subscription_create_submit(mom_node *node, const char *topic,
                                           const char *name,
                                           const mom_subscription_options *options,
                                           int timeout_ms, mom_completions *completions,
                                           void *user);
MOM_API int mom_subscription_delete_submit(mom_node *node, const char *topic,
                                           const char *name, int timeout_ms,
                                           mom_completions *completions, void *user);
/** Completes when everything settled before it on this consumer is committed. */
MOM_API int mom_consumer_flush_submit(mom_consumer *consumer, int timeout_ms,
                                      mom_completions *completions, void *user);
/** Acknowledges, and completes when that is committed. */
MOM_API int mom_ack_submit(mom_message *message, int timeout_ms,
                           mom_completions *completions, void *user);
/**
 * Completes with 0 as soon as mom_receive with timeout 0 would find a message in the
 * buffer (take all there are before submitting again), or with what mom_receive would
 * answer. One at a time for each consumer: `MOM_EXISTS` otherwise.
 */
MOM_API int mom_receive_submit(mom_consumer *consumer, int timeout_ms,
                               mom_completions *completions, void *user);

#ifdef __cplusplus
}
#endif
#endif
