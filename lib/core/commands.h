/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of commands (entry.h): what is between a command's header and the next
 * command.
 *
 * Clients put stream commands, leaders put session commands, refusals, ticks and fills;
 * the state machine parses all of them. Each `put` appends only the body: call it between
 * momi_command_begin and momi_command_finish. Each `parse` reads bytes of peers and
 * disks: it checks every size and every enumeration, never trusts, and is false for
 * anything that is not exactly one body. Slices in parsed structs are borrowed from the
 * command.
 *
 * Empty bodies (nothing to put): SESSION_CLOSE, SESSION_EXPIRE, SESSION_DETACH (the
 * session is in the header), NOOP, TICK. CMD_PUBLISH is in entry.h, CMD_CONSUME in
 * checkout.h.
 */
#ifndef MOMI_CORE_COMMANDS_H
#define MOMI_CORE_COMMANDS_H

#include "core/call.h"
#include "core/entry.h"

/* CMD_SESSION_OPEN: (u64 node, u64 incarnation, u64 opening, u64 principal). Proposed by
 * the leader from what the lane's handshake proved. The same (incarnation, opening) of a
 * node is the same session. */
struct momi_session_open {
    uint64_t node;
    uint64_t incarnation;
    uint64_t opening; /* the client's number of this opening, from 1 */
    uint64_t principal;
};
void momi_session_open_put(struct momi_bytes *out, const struct momi_session_open *open);
bool momi_session_open_parse(struct momi_slice body, struct momi_session_open *open);

/* CMD_REFUSE: (u8 class). `error` is a result class, negative as everywhere; session and
 * number are the refused command's. */
void momi_refuse_put(struct momi_bytes *out, int error);
bool momi_refuse_parse(struct momi_slice body, int *error);

/* CMD_STREAM_CREATE: (u8 kind, u8 flags, name, options). Options stay as given: 0 is the
 * default. */
struct momi_stream_create {
    enum momi_kind kind;
    bool if_missing;
    struct momi_slice name;
    struct momi_stream_options options;
};
void momi_stream_create_put(struct momi_bytes *out,
                            const struct momi_stream_create *create);
bool momi_stream_create_parse(struct momi_slice body, struct momi_stream_create *create);

/* CMD_STREAM_DELETE and CMD_STREAM_PURGE: (u8 kind, name). */
struct momi_stream_name {
    enum momi_kind kind;
    struct momi_slice name;
};
void momi_stream_name_put(struct momi_bytes *out, const struct momi_stream_name *stream);
bool momi_stream_name_parse(struct momi_slice body, struct momi_stream_name *stream);

/* CMD_SUBSCRIPTION_CREATE: (u8 flags, u8 from, u64 from_value, topic, name, varint
 * filters, each filter). */
struct momi_subscription_create {
    struct momi_slice topic;
    struct momi_slice name;
    struct momi_slice filters[MOMI_FILTERS_MAX];
    uint32_t filters_count;
    enum momi_from from;
    uint64_t from_value; /* sequence, or wall microseconds */
    bool temporary;
    bool ignore_own;
    bool if_missing;
};
void momi_subscription_create_put(struct momi_bytes *out,
                                  const struct momi_subscription_create *create);
bool momi_subscription_create_parse(struct momi_slice body,
                                    struct momi_subscription_create *create);

/* CMD_SUBSCRIPTION_DELETE: (topic, name). */
struct momi_subscription_name {
    struct momi_slice topic;
    struct momi_slice name;
};
void momi_subscription_name_put(struct momi_bytes *out,
                                const struct momi_subscription_name *subscription);
bool momi_subscription_name_parse(struct momi_slice body,
                                  struct momi_subscription_name *subscription);

/* CMD_CONSUMER_ATTACH: (u8 kind, name, subscription, u64 consumer, u64 lease_us, u64
 * credit, u64 group). */
struct momi_consumer_attach {
    enum momi_kind kind;
    struct momi_slice name;
    struct momi_slice subscription; /* empty for a queue */
    uint64_t consumer; /* the client's number, unique in its session, never 0 */
    uint64_t lease_us; /* 0: the stream's */
    uint64_t credit;   /* absolute delivery number (M5): the first message is number 1 */
    uint64_t group;    /* attached before: the value of that result, so that a stream made
                        * anew    under the same name is not taken for it; 0: any */
};
void momi_consumer_attach_put(struct momi_bytes *out,
                              const struct momi_consumer_attach *attach);
bool momi_consumer_attach_parse(struct momi_slice body,
                                struct momi_consumer_attach *attach);

/* CMD_CONSUMER_DETACH: (u64 consumer). */
void momi_consumer_detach_put(struct momi_bytes *out, uint64_t consumer);
bool momi_consumer_detach_parse(struct momi_slice body, uint64_t *consumer);

/* CMD_FILL (M2): (u64 stream, u64 group, u64 from, u64 to, varint ranges, per range
 * varint sequence, varint count). The leader has looked at the history in [from, to) and
 * these ranges of it match. `from` must be the group's fill_from; `to` becomes it. Ranges
 * rise, do not overlap, and lie in [from, to). */
#define MOMI_FILL_RANGES_MAX 4096u
struct momi_fill_range {
    uint64_t sequence;
    uint64_t count;
};
struct momi_fill {
    uint64_t stream;
    uint64_t group;
    uint64_t from;
    uint64_t to;
    uint32_t ranges_count;
    struct momi_slice ranges; /* encoded; walk with momi_fill_next */
};
void momi_fill_put(
    struct momi_bytes *out, const struct momi_fill *fill,
    const struct momi_fill_range *ranges,
    size_t ranges_count); /* `fill->ranges` and `ranges_count` are not looked at */
bool momi_fill_parse(struct momi_slice body, struct momi_fill *fill);
/* Takes the next range off a parsed fill; false at the end. */
bool momi_fill_next(struct momi_fill *fill, struct momi_fill_range *range);

#endif
