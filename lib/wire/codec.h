/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames as bytes (docs/protocol-frames.md). A frame is
 *
 *   u16 magic 'mO', u8 version, u8 type, u32 control size, u32 payload size, u32 crc32c,
 *   control (protobuf message Control of mom.proto), payload
 *
 * little-endian. The checksum covers all of it, itself taken as 0: entries and message
 * records have checksums of their own, but one rule for every type costs little and finds
 * damage before anything is believed.
 *
 * Decoding trusts nothing: an unknown type, a field that the type does not use, a size
 * that does not fit exactly, a count over its limit are all refused, and memory is taken
 * only for what is there. Pure; called by the node for each lane and by the simulator.
 */
#ifndef MOMI_WIRE_CODEC_H
#define MOMI_WIRE_CODEC_H

#include "base/arena.h"
#include "base/err.h"
#include "wire/frame.h"
#include "wire/magic.h"

#define MOMI_CODEC_VERSION 1
#define MOMI_CODEC_HEADER  16u
/* Header, control and payload together. */
#define MOMI_CODEC_BYTES_MAX        (MOMI_ENTRY_BYTES_MAX + (64u << 10))
#define MOMI_CODEC_NAME_BYTES_MAX   2048u
#define MOMI_CODEC_DETAIL_BYTES_MAX 1024u
#define MOMI_CODEC_LINES_MAX        512u
#define MOMI_CODEC_RUNS_MAX         8192u

/* Fields of struct momi_frame: bit, name. */
#define MOMI_FRAME_FIELD_MAP(X)                                                          \
    X(SHARD, 0, "shard")                                                                 \
    X(FROM, 1, "from_replica")                                                           \
    X(TO, 2, "to_replica")                                                               \
    X(TERM, 3, "term")                                                                   \
    X(INDEX, 4, "index")                                                                 \
    X(LOG_TERM, 5, "log_term")                                                           \
    X(COMMIT, 6, "commit")                                                               \
    X(COUNTER, 7, "counter")                                                             \
    X(NUMBER, 8, "number")                                                               \
    X(FLAGS, 9, "flags")                                                                 \
    X(ERROR, 10, "error")                                                                \
    X(EPOCH, 11, "epoch")                                                                \
    X(SESSION, 12, "session")                                                            \
    X(CONSUMER, 13, "consumer")                                                          \
    X(COUNT, 14, "count")                                                                \
    X(FREE, 15, "free_bytes")                                                            \
    X(KIND, 16, "kind")                                                                  \
    X(NAME, 17, "name")                                                                  \
    X(DETAIL, 18, "detail")                                                              \
    X(LINES, 19, "lines")                                                                \
    X(RUNS, 20, "runs")                                                                  \
    X(PAYLOAD, 21, "payload")

enum momi_frame_field {
#define MOMI_FRAME_FIELD_ENUM(name, bit, text) F_##name = 1 << (bit),
    MOMI_FRAME_FIELD_MAP(MOMI_FRAME_FIELD_ENUM)
#undef MOMI_FRAME_FIELD_ENUM
};

enum {
    F_RAFT = F_SHARD | F_FROM | F_TO | F_TERM, /* between two replicas of a shard */
    F_CLIENT = F_SHARD | F_TERM | F_COUNTER | F_SESSION | F_ERROR | F_DETAIL,
};

/* Types of frames: which fields they use, and what they are. The rows are also those of
 * docs/protocol-frames.md. */
#define MOMI_FRAME_MAP(X)                                                                \
    X(HEARTBEAT, F_COUNTER | F_NUMBER | F_FREE | F_LINES,                                \
      "one line per shard that the sender leads towards the receiver (R4); number: its " \
      "wall clock (R8)")                                                                 \
    X(HEARTBEAT_REPLY, F_COUNTER | F_NUMBER | F_FREE | F_LINES,                          \
      "the counter echoed, a line with the own term per shard; number as before")        \
    X(VOTE, F_RAFT | F_INDEX | F_LOG_TERM | F_FLAGS,                                     \
      "asks for a vote or a pre-vote; index and log_term of the last entry")             \
    X(VOTE_REPLY, F_RAFT | F_FLAGS, "granted or refused (R5)")                           \
    X(APPEND, F_RAFT | F_INDEX | F_LOG_TERM | F_COMMIT | F_COUNT | F_PAYLOAD,            \
      "entries after `index`; payload: `count` times (u32 size, entry)")                 \
    X(APPEND_REPLY,                                                                      \
      F_RAFT | F_INDEX | F_LOG_TERM | F_COMMIT | F_NUMBER | F_FLAGS | F_FREE,            \
      "matched up to `index`, or a hint where to try")                                   \
    X(TIMEOUT_NOW, F_RAFT, "leadership is handed over: elect now")                       \
    X(SNAPSHOT,                                                                          \
      F_RAFT | F_INDEX | F_LOG_TERM | F_COMMIT | F_COUNTER | F_NUMBER | F_FLAGS |        \
          F_COUNT | F_NAME | F_PAYLOAD,                                                  \
      "begins a snapshot (E6); name: encoded configuration")                             \
    X(SNAPSHOT_RECORDS,                                                                  \
      F_RAFT | F_INDEX | F_LOG_TERM | F_COUNTER | F_NUMBER | F_FLAGS | F_COUNT |         \
          F_NAME | F_PAYLOAD,                                                            \
      "part `number` of the checkpoint records")                                         \
    X(SNAPSHOT_LIST,                                                                     \
      F_RAFT | F_INDEX | F_LOG_TERM | F_COUNTER | F_NUMBER | F_FLAGS | F_COUNT |         \
          F_PAYLOAD,                                                                     \
      "part `number` of the live entries: (index, term) each")                           \
    X(SNAPSHOT_REPLY,                                                                    \
      F_RAFT | F_INDEX | F_LOG_TERM | F_COUNTER | F_NUMBER | F_FLAGS | F_ERROR,          \
      "parts up to `number` are written; installed, or abandoned")                       \
    X(FETCH, F_RAFT | F_INDEX | F_LOG_TERM | F_COUNTER | F_NUMBER | F_FLAGS | F_COUNT,   \
      "asks for entries from `index` to `number` (E6, E7)")                              \
    X(ENTRIES,                                                                           \
      F_RAFT | F_INDEX | F_LOG_TERM | F_COUNTER | F_NUMBER | F_FLAGS | F_ERROR |         \
          F_COUNT | F_PAYLOAD,                                                           \
      "entries that were fetched; payload: `count` times (u32 size, u64 index, entry)")  \
    X(SESSION_OPEN, F_SHARD | F_COUNTER | F_NUMBER | F_FLAGS,                            \
      "opens a session (S1); number: of the opening")                                    \
    X(SESSION_OPENED, F_CLIENT | F_NUMBER | F_EPOCH | F_FLAGS,                           \
      "the session, or why there is none")                                               \
    X(COMMANDS, F_SHARD | F_SESSION | F_COUNTER | F_NUMBER | F_COUNT | F_PAYLOAD,        \
      "commands of one session as they go into the log")                                 \
    X(RESULTS, F_CLIENT | F_INDEX | F_NUMBER | F_EPOCH | F_FLAGS | F_COUNT | F_PAYLOAD,  \
      "outcomes of commands, or that the session is not known")                          \
    X(DELIVER,                                                                           \
      F_SHARD | F_TERM | F_SESSION | F_CONSUMER | F_EPOCH | F_NUMBER | F_COUNTER |       \
          F_FLAGS | F_COUNT | F_RUNS | F_PAYLOAD,                                        \
      "messages for one consumer; payload: records, `bytes` of each run in order")       \
    X(CONSUMER_ENDED, F_CLIENT | F_CONSUMER | F_EPOCH | F_NUMBER,                        \
      "a consumer ended by itself")                                                      \
    X(NOT_LEADER, F_CLIENT | F_INDEX, "the receiver knows better: node `index`, or 0")   \
    X(QUERY,                                                                             \
      F_SHARD | F_COUNTER | F_KIND | F_NAME | F_DETAIL | F_SESSION | F_CONSUMER |        \
          F_NUMBER | F_INDEX | F_FLAGS | F_COUNT,                                        \
      "a read: description, list, emptiness (M7)")                                       \
    X(QUERY_REPLY,                                                                       \
      F_CLIENT | F_KIND | F_NAME | F_NUMBER | F_INDEX | F_CONSUMER | F_FLAGS | F_COUNT | \
          F_PAYLOAD,                                                                     \
      "the answer (info.h)")                                                             \
    X(SESSION_PING, F_SHARD | F_COUNTER | F_SESSION | F_FLAGS | F_COUNT,                 \
      "keeps the sessions of a node pair alive and attached")                            \
    X(MAP_REQUEST, F_SHARD | F_COUNTER | F_NUMBER | F_INDEX | F_FLAGS,                   \
      "asks for the map of the mesh, if newer than `number`")                            \
    X(MAP,                                                                               \
      F_SHARD | F_TERM | F_COUNTER | F_NUMBER | F_INDEX | F_FLAGS | F_COUNT | F_NAME |   \
          F_LINES | F_PAYLOAD,                                                           \
      "the map: the content of the registry; lines: leaders that are known")             \
    X(JOIN, F_COUNTER | F_NUMBER | F_FLAGS | F_NAME | F_DETAIL,                          \
      "asks to become a member; name: encoded member")                                   \
    X(JOIN_REPLY,                                                                        \
      F_COUNTER | F_NUMBER | F_INDEX | F_FLAGS | F_ERROR | F_NAME | F_DETAIL | F_COUNT | \
          F_PAYLOAD,                                                                     \
      "accepted with the map, or why not, or who to ask")                                \
    X(PLAN_DONE,                                                                         \
      F_SHARD | F_FROM | F_TERM | F_INDEX | F_COUNTER | F_NUMBER | F_FLAGS | F_NAME |    \
          F_PAYLOAD,                                                                     \
      "a shard has reached plan `number` (N3); name: encoded configuration")             \
    X(GOODBYE, F_FLAGS | F_COUNTER | F_ERROR | F_DETAIL,                                 \
      "the sender closes; what follows on this lane is nothing")

/* Encodes all but the payload: `head` is the fixed header and the control part, in the
 * arena; the bytes of the frame's parts follow as they are, all as one frame of the lane.
 * MOM_OK; MOM_INVALID: a field that the type does not use, or a value out of its limits
 * (the error text names it); MOM_TOO_BIG; MOM_NO_MEMORY. */
int momi_codec_encode(const struct momi_frame *frame, struct momi_arena *arena,
                      struct momi_slice *head);

/* Decodes one whole frame that lies in `chunk` (borrowed; it becomes frame->buf, and may
 * be NULL). Lists, name and detail lie in the arena, the payload in the input. MOM_OK;
 * MOM_VERSION: not a version that we read; MOM_CORRUPT: the checksum differs;
 * MOM_INVALID: malformed; MOM_NO_MEMORY. Nothing is written to `frame` unless MOM_OK. */
int momi_codec_decode(struct momi_slice bytes, struct momi_buf *chunk,
                      struct momi_arena *arena, struct momi_frame *frame);

/* Name of a type ("APPEND"), NULL when there is none; the fields that it uses. */
const char *momi_frame_type_name(unsigned type);
uint32_t momi_frame_type_fields(unsigned type); /* bits F_..., 0: no such type */

/* The lists of the control part, codec_lists.c. Packing gives the bytes in the arena;
 * false: out of memory. Unpacking answers MOM_OK, MOM_INVALID, MOM_NO_MEMORY. */
bool momi_codec_pack_lines(const struct momi_frame *frame, struct momi_arena *arena,
                           struct momi_slice *packed);
bool momi_codec_pack_runs(const struct momi_frame *frame, struct momi_arena *arena,
                          struct momi_slice *packed);
int momi_codec_unpack_lines(struct momi_slice packed, struct momi_arena *arena,
                            struct momi_frame *frame);
int momi_codec_unpack_runs(struct momi_slice packed, struct momi_arena *arena,
                           struct momi_frame *frame);

#endif
