/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history of a run: what programs asked for, what they were told, what they received,
 * and which faults there were. The checkers (judge.h) judge it; nothing here knows the
 * library. Simulated runs add records in memory, real processes write lines of text, one
 * file for each process.
 *
 * A line is one record:
 *
 *     TIME PROCESS PHASE KIND [FIELD=VALUE]...
 *
 * TIME: nanoseconds of a monotonic clock that all processes share (CLOCK_MONOTONIC of one
 * machine); never falls within a file. PROCESS: a number from 1 on, never used again
 * after its death; one that makes calls at the same time gives each its own `op`. PHASE:
 * `call` (before the call), `done` (after it), `saw` (something that has no beginning). A
 * `call` is written before it is made, with write(2) and not through a buffer, so that a
 * killed process has said what it may have done. A `call` without `done` has an unknown
 * outcome. A last line without its end is left out. Lines that begin with # are comments.
 * Values have no blanks: put `%XX` for a blank, a control character, or a per cent sign.
 *
 *     kind          phases      fields
 *     create        call done   op stream lease_ms deliveries if_missing | result
 *     delete        call done   op stream | result
 *     subscribe     call done   op stream sub filter from=first|new if_missing | result
 *     unsubscribe   call done   op stream sub | result
 *     describe      call done   op stream | result next
 *     purge         call done   op stream | result
 *     publish       call done   op stream pub msg key life digest | result seq
 *     open          call done   op stream sub consumer | result
 *     close         call done   op stream sub consumer | result
 *     ack nack reject extend
 *                   call done   op stream sub consumer pub msg token | result
 *     arrive        saw         as deliver
 *     deliver       saw         stream sub consumer pub msg seq key digest n re token
 *     end           saw         stream sub consumer result
 *     hash          saw         shard index hash
 *     death         saw         of
 *     fault         call done   op what
 *     drained       saw         stream sub
 *     abandoned     saw         stream sub
 *
 * `done` repeats nothing: op names the call. What is not known is left out.
 *
 * - stream, sub: names; a queue has no sub. A dead-letter queue has its own name, that of
 *   the library ($dead/queue/NAME, $dead/topic/TOPIC/SUBSCRIPTION), and holds the same
 *   messages (pub, msg).
 * - pub, msg: who wrote a message and its number there, from 0, rising in the order of
 * the calls. One publisher is one thread of a program. `life` changes when it goes on
 * over another node or after a restart: order is promised within one life.
 * - digest: of key and body, hexadecimal; must come as it was sent.
 * - seq: the number of the message in its stream. Of a batch, each message its own.
 * - consumer: number of an open consumer, unique within its process.
 * - n: deliveries, this one included (1 is the first); re=1: it was marked as
 * redelivered.
 * - token: of the lease; 0 or left out where the program cannot see it. An ack without
 *   token belongs to the last delivery of the message to this process.
 * - result: a class of include/mom/error.h by name (OK, NOT_FOUND, UNKNOWN_OUTCOME, ...).
 *   The result of an ack is what mom_ack_wait says. Acks that end with a common flush:
 *   each OK if the flush is OK, else each UNKNOWN_OUTCOME.
 * - arrive: a message came into the library's buffer; only the simulator sees that.
 *   deliver: the program took it.
 * - end: the consumer was told that it is none any more. death: process `of` was killed.
 * - fault: from the first moment in which it may disturb until everything that it
 *   disturbed can be well again (a session that ends, a node that returns).
 * - drained: everything that was in this queue or subscription has been received and
 *   settled by now; no publish or settlement follows. Every stream that is judged needs
 * it.
 */
#ifndef MOM_CHECK_HISTORY_H
#define MOM_CHECK_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CHECK_KIND_MAP(X)                                                                \
    X(CREATE, create)                                                                    \
    X(DELETE, delete)                                                                    \
    X(SUBSCRIBE, subscribe)                                                              \
    X(UNSUBSCRIBE, unsubscribe)                                                          \
    X(DESCRIBE, describe)                                                                \
    X(PURGE, purge)                                                                      \
    X(PUBLISH, publish)                                                                  \
    X(OPEN, open)                                                                        \
    X(CLOSE, close)                                                                      \
    X(ACK, ack)                                                                          \
    X(NACK, nack)                                                                        \
    X(REJECT, reject)                                                                    \
    X(EXTEND, extend)                                                                    \
    X(ARRIVE, arrive)                                                                    \
    X(DELIVER, deliver)                                                                  \
    X(END, end)                                                                          \
    X(HASH, hash)                                                                        \
    X(DEATH, death)                                                                      \
    X(FAULT, fault)                                                                      \
    X(DRAINED, drained)                                                                  \
    X(ABANDONED, abandoned)

enum check_kind {
#define CHECK_KIND_ENUM(upper, lower) CHECK_##upper,
    CHECK_KIND_MAP(CHECK_KIND_ENUM)
#undef CHECK_KIND_ENUM
        CHECK_KINDS_COUNT
};
const char *check_kind_name(enum check_kind kind);
const char *check_result_name(int16_t result);

enum check_phase { CHECK_CALL, CHECK_DONE, CHECK_SAW };

enum check_from { CHECK_FROM_NEW, CHECK_FROM_FIRST };

/* One record; zero where a field is not used. Names are numbers of check_names. */
struct check_record {
    uint64_t time_ns;
    uint64_t op;
    uint64_t consumer;
    uint64_t sequence; /* seq; of a describe: next */
    uint64_t token;
    uint64_t digest; /* or hash */
    uint64_t value;  /* create: lease in ms; hash: index; death: of */
    uint32_t process;
    uint32_t stream, subscription; /* names; 0: none */
    uint32_t publisher, message;
    uint32_t key;        /* name; fault: what */
    uint32_t filter;     /* name */
    uint32_t life;       /* publish; hash: shard */
    uint32_t deliveries; /* n; create: the most */
    int16_t result;      /* MOM_OK or a class of mom/error.h */
    uint8_t kind;        /* enum check_kind */
    uint8_t phase;       /* enum check_phase */
    bool is_redelivered;
    bool if_missing;
    uint8_t from;  /* enum check_from */
    uint16_t file; /* text: which file it is from, */
    uint32_t line; /* and the line; in memory: its number */
};

/* Strings, each once; number 0 is "". */
struct check_names;
struct check_names *check_names_new(void);
void check_names_free(struct check_names *names);
uint32_t check_name(struct check_names *names, const char *text, size_t size);
uint32_t check_name_str(struct check_names *names, const char *text);
const char *check_name_text(const struct check_names *names, uint32_t name);
uint32_t check_names_count(const struct check_names *names);

/* --- text (text.c) --- */

enum { CHECK_LINE_MAX = 1024 };

/* Writes the record as one line with its end; returns its size without the zero; at most
 * CHECK_LINE_MAX - 1, whatever the names are (they are cut to fit). */
size_t check_write(const struct check_names *names, const struct check_record *record,
                   char line[CHECK_LINE_MAX]);

/* Reads a line without its end. 1: a record; 0: blank or a comment; -1: wrong, and
 * `*why` says what (a static string). */
int check_read(struct check_names *names, const char *line, size_t size,
               struct check_record *record, const char **why);

/* --- files (history.c) --- */

/* All records of some files in the order of their times. At equal times calls of one file
 * come before what other files saw and got: that claims no order that was not seen. */
struct check_history {
    struct check_names *names;
    struct check_record *records;
    size_t count, room;
    char **files; /* names, owned */
    size_t files_count;
    size_t torn; /* last lines without their end */
};
void check_history_init(struct check_history *history);
void check_history_free(struct check_history *history);
void check_history_add(struct check_history *history, const struct check_record *record);
/* Adds the records of a file. false: it cannot be read or is no history; says so on
 * `complaints` with file and line. */
bool check_history_load(struct check_history *history, const char *path,
                        FILE *complaints);
/* Brings what was loaded into order; once, after the last file. */
void check_history_merge(struct check_history *history);

#endif
