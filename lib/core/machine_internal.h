/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the state machine share: machine.c (apply), session.c, streams.c,
 * subscription.c, publish.c, history.c, checkout.c and its parts, machine_save.c,
 * machine_load.c, machine_hash.c. Nobody else includes it.
 *
 * Record keys begin with a letter: 'm' the machine itself, 'a' session id, 's' stream id,
 * 'g' group id, 'h' stream id + block (history), 'w' stream id + block (its time marks),
 * 'r' group id + block (ready), 'c' session id + consumer, 'e' live entries. A checkpoint
 * deletes the deleted records first, then puts the changed ones: a key that ended and
 * came back within one checkpoint is there. Numbers in keys are big-endian, so that
 * records load in order: 'a' and 's' before what refers to them is not given; hence
 * loading is in two steps (load keeps, loaded links).
 */
#ifndef MOMI_CORE_MACHINE_INTERNAL_H
#define MOMI_CORE_MACHINE_INTERNAL_H

#include "base/assert.h"
#include "base/err.h"
#include "core/checkout.h"
#include "core/commands.h"
#include "core/filter.h"
#include "core/keys.h"
#include "core/live.h"
#include "core/machine.h"
#include "core/mutant.h"

/* Marks as changed since the checkpoint. */
void momi_session_dirty(struct momi_machine *machine, struct momi_session *session);
void momi_stream_dirty(struct momi_machine *machine, struct momi_stream *stream);
void momi_group_dirty(struct momi_machine *machine, struct momi_group *group);
void momi_consumer_dirty(struct momi_machine *machine, struct momi_consumer *consumer);
/* The record `key` must be deleted at the next checkpoint. */
void momi_record_deleted(struct momi_machine *machine, struct momi_slice key);

/* session.c */
uint64_t momi_session_hash(struct momi_session_id id); /* of sessions_by_id */
/* Empty, linked into maps and list; NULL: no memory (never inside a reserve). */
struct momi_session *momi_session_add(struct momi_machine *machine,
                                      struct momi_session_id id, uint64_t node);
void momi_session_open(struct momi_machine *machine, struct momi_session_id id,
                       struct momi_slice body);
void momi_session_end(struct momi_machine *machine, struct momi_session *session,
                      enum momi_detach how);
void momi_session_answered(struct momi_machine *machine, struct momi_session *session,
                           uint64_t answered);
/* The outcome of number last + 1. */
void momi_session_result(struct momi_machine *machine, struct momi_session *session,
                         struct momi_result result);
void momi_session_free(
    struct momi_session *session); /* memory only: in no list any more */

/* streams.c: commands, and the life of a stream. */
struct momi_result momi_stream_create(struct momi_machine *machine,
                                      struct momi_session *session,
                                      struct momi_slice body);
struct momi_result momi_stream_delete(struct momi_machine *machine,
                                      struct momi_slice body);
struct momi_result momi_stream_purge(struct momi_machine *machine,
                                     struct momi_slice body);
/* Makes a stream with these options (defaults are filled in), with its group when it is a
 * queue. */
struct momi_stream *momi_stream_make(struct momi_machine *machine, enum momi_kind kind,
                                     struct momi_slice name,
                                     const struct momi_stream_options *options,
                                     uint64_t creator);
/* Linked by id, without name and kind; NULL: no memory. momi_stream_named finishes it. */
struct momi_stream *momi_stream_add(struct momi_machine *machine, uint64_t stream);
bool momi_stream_named(struct momi_machine *machine, struct momi_stream *stream,
                       enum momi_kind kind, struct momi_slice name);
void momi_stream_free(struct momi_stream *stream); /* memory only, without its groups */
int momi_stream_options_check(const struct momi_stream_options *options);
bool momi_stream_is_full(const struct momi_stream *stream, const struct momi_group *group,
                         uint64_t count, uint64_t bytes);

/* subscription.c: commands, and the life of a group. */
struct momi_result momi_subscription_create(struct momi_machine *machine,
                                            struct momi_session *session,
                                            struct momi_slice body);
struct momi_result momi_subscription_delete(struct momi_machine *machine,
                                            struct momi_slice body);
struct momi_result momi_fill_apply(struct momi_machine *machine, struct momi_slice body);
/* Linked by id and into its stream; NULL: no memory. `filters` are copied. */
struct momi_group *momi_group_add(struct momi_machine *machine,
                                  struct momi_stream *stream, uint64_t group,
                                  struct momi_slice name,
                                  const struct momi_slice *filters,
                                  uint32_t filters_count);
/* Ends consumers with `error`, releases the messages, forgets the records, frees. */
void momi_group_end(struct momi_machine *machine, struct momi_group *group, int error);
void momi_group_free(struct momi_group *group); /* memory only: in no list any more */
void momi_group_fill_done(struct momi_group *group); /* nothing left to fill */

/* publish.c */
struct momi_result momi_publish_apply(struct momi_machine *machine,
                                      struct momi_session *session,
                                      const struct momi_publish *publish, uint64_t index,
                                      uint32_t slot);
int momi_publish_check(const struct momi_publish *publish, uint64_t node);

/* history.c: what a topic keeps. */
void momi_history_append(struct momi_machine *machine, struct momi_stream *stream,
                         const struct momi_run *run);
/* Drops the oldest beyond the options' bounds, at most `items_max` runs; returns how
 * many. */
uint32_t momi_history_trim(struct momi_machine *machine, struct momi_stream *stream,
                           uint32_t items_max);
uint32_t momi_history_tick(struct momi_machine *machine,
                           uint32_t items_max); /* by age, all topics */
uint64_t momi_history_clear(struct momi_machine *machine,
                            struct momi_stream *stream); /* how many messages */
uint64_t momi_history_since(const struct momi_stream *stream,
                            uint64_t wall_us); /* sequence to start at */
void momi_history_schedule(struct momi_machine *machine, struct momi_stream *stream);
#define MOMI_MARKS_MAX     1024u  /* time marks of one topic */
#define MOMI_MARK_US       MOMI_S /* the least distance of two marks */
#define MOMI_MARKS_BLOCK   128u   /* marks in one record */
#define MOMI_OPTION_US_MAX (100ull * 366 * 86400 * MOMI_S) /* leases and retention */

/* Keys of records: the letter, then numbers big-endian. */
struct momi_key momi_record_key(char letter, uint64_t id);
struct momi_key momi_record_block_key(char letter, uint64_t id, uint32_t block);
struct momi_key momi_record_session_key(struct momi_session_id id);

/* Saturates at MOMI_NEVER - 1: a deadline that is far is still a deadline. */
static inline uint64_t momi_due_after(uint64_t at_us, uint64_t by_us) {
    return at_us >= MOMI_NEVER - 1 - by_us ? MOMI_NEVER - 1 : at_us + by_us;
}

struct momi_group *momi_group_by_id(const struct momi_machine *machine,
                                    uint64_t group); /* while restoring */
struct momi_stream *momi_stream_by_id(const struct momi_machine *machine,
                                      uint64_t stream);

/* The dead-letter queue of a group, created when missing (streams.c); NULL: the stream
 * drops instead. */
struct momi_group *momi_stream_dead_letters(struct momi_machine *machine,
                                            struct momi_group *origin);
/* Adds a message to a stream under its next sequence, for the dead-letter move
 * (publish.c): the run keeps its entry. */
void momi_stream_move_in(struct momi_machine *machine, struct momi_group *target,
                         struct momi_run run);

/* graves.c: all messages of the set go, at once for whoever looks; the set is empty then,
 * and notes which records of it are to be deleted. In apply. */
void momi_machine_let_go(struct momi_machine *machine, struct momi_runs *runs);
typedef void (*momi_grave_fn)(void *user, const struct momi_runs *runs);
void momi_machine_each_grave(const struct momi_machine *machine, momi_grave_fn visit,
                             void *user);
void momi_machine_free_graves(struct momi_machine *machine);

#endif
