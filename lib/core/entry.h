/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries, commands and message records: one encoding for log, replication and delivery
 * (E1).
 *
 * All integers little-endian. An entry is
 *
 *   header (MOMI_ENTRY_HEADER bytes): crc32c of all that follows the crc, format, kind,
 * term, elapsed and wall stamp (R8), number of commands, number of message records
 * (slots); then the commands.
 *
 * A command is a header (size, type, version, session, number, answered) and a body.
 * Producers encode their commands once; the leader puts entries together from them
 * without touching a byte. A message record is (size, crc32c, flags, key, headers, body);
 * its slot is its place among all records of its entry.
 *
 *   entry    u32 crc32c, u8 format, u8 kind, u16 zero, u64 term, u64 elapsed, u64 wall,
 * u32 commands, u32 slots command  u32 size (of all of it), u8 type, u8 version, u16
 * flags, u64 session index, u32 session epoch, u32 session place, u64 number, u64
 * answered, body record   u32 size (of all of it), u32 crc32c of what follows the crc, u8
 * flags, u8 key size, u16 headers size, key, headers, body
 *
 * A hollow entry (E5) keeps the header and a table of (u32 slot, u64 publisher, record)
 * of what lives.
 *
 * Everything that parses here checks sizes and never trusts: it serves bytes of peers and
 * disks.
 */
#ifndef MOMI_CORE_ENTRY_H
#define MOMI_CORE_ENTRY_H

#include "base/pack.h"
#include "core/types.h"

#define MOMI_ENTRY_FORMAT    1
#define MOMI_ENTRY_HEADER    40u
#define MOMI_COMMAND_HEADER  40u
#define MOMI_COMMAND_VERSION 1
#define MOMI_RECORD_HEADER   12u

enum momi_entry_kind {
    MOMI_ENTRY_COMMANDS = 1,
    MOMI_ENTRY_NOOP = 2,   /* the first of a term; also carries a stamp */
    MOMI_ENTRY_CONFIG = 3, /* body: an encoded configuration (raft_config.h) */
    MOMI_ENTRY_HOLLOW = 4, /* never replicated as log, only as message store */
};

struct momi_entry {
    enum momi_entry_kind kind;
    uint64_t term;
    uint64_t elapsed_us;
    uint64_t wall_us;
    uint32_t commands_count;
    uint32_t slots_count;
    struct momi_slice body; /* borrowed */
};

/* The header only; true when the fixed fields are sane. Does not read the body. */
bool momi_entry_peek(struct momi_slice bytes, struct momi_entry *entry);
/* The header, and the checksum over all of it; false: damaged. */
bool momi_entry_parse(struct momi_slice bytes, struct momi_entry *entry);

enum momi_command_type {
    /* Sessions (S1). Proposed by leaders; the session field is that of the session
       concerned. */
    CMD_SESSION_OPEN = 1,
    CMD_SESSION_CLOSE = 2,
    CMD_SESSION_EXPIRE = 3,
    CMD_SESSION_DETACH = 4, /* the consumers of the session are detached, it lives on */
    CMD_NOOP = 5,           /* fills the number of a call that was given up (S2) */
    CMD_REFUSE = 6,         /* the leader's refusal in place of the command (S3) */
    /* Streams, sent by clients in sessions. */
    CMD_STREAM_CREATE = 16,
    CMD_STREAM_DELETE = 17,
    CMD_STREAM_PURGE = 18,
    CMD_SUBSCRIPTION_CREATE = 19,
    CMD_SUBSCRIPTION_DELETE = 20,
    CMD_PUBLISH = 21,
    CMD_CONSUMER_ATTACH = 22,
    CMD_CONSUMER_DETACH = 23,
    CMD_CONSUME = 24, /* credit, hand-out and settlements of one consumer */
    /* Proposed by the leader itself, no session. */
    CMD_TICK = 32, /* releases what is due at the entry's elapsed stamp */
    CMD_FILL = 33, /* M2: matches of a subscription that starts in the past */
    /* The registry (shard 0), proposed by its leader, no session. */
    CMD_FOUND = 48,
    CMD_MEMBER_PUT = 49,
    CMD_MEMBER_REMOVE = 50,
    CMD_PLAN = 51,
    CMD_PLAN_DONE = 52,
};

struct momi_command {
    uint8_t type; /* enum momi_command_type; unknown ones are INVALID at apply */
    uint8_t version;
    uint16_t flags;
    struct momi_session_id session;
    uint64_t number;
    uint64_t answered;       /* S2: the highest number whose result the client has */
    struct momi_slice whole; /* header and body, borrowed */
    struct momi_slice body;
};

/* Walks commands one after the other. */
struct momi_command_reader {
    struct momi_slice left;
    bool failed;
};
static inline struct momi_command_reader momi_command_reader(struct momi_slice commands) {
    return (struct momi_command_reader){.left = commands};
}
/* False at the end, or when the rest is malformed (then `failed`). The version is the
 * caller's to judge. */
bool momi_command_next(struct momi_command_reader *reader, struct momi_command *command);

/* Writes a command header with size 0 and returns its offset; momi_command_finish sets
 * the size. */
size_t momi_command_begin(struct momi_bytes *out, uint8_t type,
                          struct momi_session_id session, uint64_t number,
                          uint64_t answered);
void momi_command_finish(struct momi_bytes *out, size_t offset);

/* A message as the program gives and gets it. */
struct momi_record {
    struct momi_slice key;
    struct momi_slice
        headers; /* encoded: repeated (u8 name size, name, u16 value size, value) */
    struct momi_slice body;
    struct momi_slice whole; /* the encoded record, borrowed (set by the parser) */
};
static inline size_t momi_record_size(size_t key, size_t headers, size_t body) {
    return MOMI_RECORD_HEADER + key + headers + body;
}
/* Encodes at `at`, which has momi_record_size bytes of room. */
void momi_record_write(uint8_t *at, const struct momi_record *record);
/* The first record of `bytes`: sizes, the limits of types.h and the structure of the
 * headers (`momi_record_check` compares the checksum). */
bool momi_record_read(struct momi_slice bytes, struct momi_record *record);
bool momi_record_check(const struct momi_record *record);
/* Makes the checksum of an encoded record wrong. */
void momi_record_spoil(uint8_t *at);

/* Walks the headers of a record that momi_record_read gave; false at the end. */
bool momi_headers_next(struct momi_slice *left, struct momi_slice *name,
                       struct momi_slice *value);

/* The body of CMD_PUBLISH: (u8 kind, u8 flags, u64 publisher, varint name, u32 count,
 * records). The leader refuses a publish whose `publisher` is not the node of its
 * session, so that a client cannot forge it. */
#define MOMI_PUBLISH_CREATE                                                              \
    1u /* create the stream with default options when it is missing (U16) */
struct momi_publish {
    enum momi_kind kind;
    uint8_t flags;
    uint64_t publisher; /* node id */
    struct momi_slice name;
    uint32_t count;
    struct momi_slice records;
};
/* True when exactly `count` (1 to MOMI_COMMAND_MESSAGES_MAX) records fill the rest of the
 * body; sizes only. */
bool momi_publish_parse(struct momi_slice body, struct momi_publish *publish);
/* The same without a look at the records: of entries whose commands were checked. */
bool momi_publish_peek(struct momi_slice body, struct momi_publish *publish);
/* Everything of a publish body before its records; the records follow as they are. */
void momi_publish_put_head(struct momi_bytes *out, const struct momi_publish *publish);

/* Checks the commands of a client frame before they become part of an entry: whole
 * commands of version 1, publish commands that parse, and their records' checksums if
 * asked. False: malformed, or more than an entry may hold. */
enum momi_sums { CHECK_SUMS, SKIP_SUMS };
bool momi_entry_slots(struct momi_slice commands, enum momi_sums sums,
                      uint32_t *commands_count, uint32_t *slots_count);

/* Builds an entry of borrowed pieces in one allocation; NULL: out of memory. The slots
 * are counted from the publish commands, which must have been checked (momi_entry_slots).
 */
struct momi_buf *momi_entry_build(enum momi_entry_kind kind, uint64_t term,
                                  uint64_t elapsed_us, uint64_t wall_us,
                                  uint32_t commands_count, uint32_t slots_count,
                                  const struct momi_slice *pieces, size_t pieces_count);

/* Finds the record of a slot in a whole or hollow entry. The cursor remembers where the
 * last one was, so that a walk in rising order is linear. Zero-initialise the cursor; it
 * belongs to one entry. */
struct momi_slot_cursor {
    size_t offset; /* of the next record in the entry's body, or of the next command when
                      none is left */
    size_t left;   /* records left in the publish command at `offset` */
    size_t end;    /* of that command */
    uint32_t slot; /* of the record at `offset` */
    uint64_t
        publisher; /* of the record found last; a hollow entry keeps it for each slot */
    bool started;
};
bool momi_entry_record(const struct momi_entry *entry, uint32_t slot,
                       struct momi_slot_cursor *cursor, struct momi_record *record);

/* E5: a hollow copy that keeps the records of the given slots (rising), of a whole or
 * hollow entry. NULL: out of memory, or damaged, or a slot is not there. */
struct momi_buf *momi_entry_hollow(struct momi_slice whole, const uint32_t *slots,
                                   size_t slots_count);

#endif
