/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file message.h
 * A message that was received.
 *
 * What the getters return is borrowed and valid until mom_message_release. A message
 * belongs to one thread at a time; different messages may be used by different threads.
 * It stays readable after its consumer or node was closed; settling it answers
 * `MOM_CLOSED` then.
 */
#ifndef MOM_MESSAGE_H
#define MOM_MESSAGE_H

#include <mom/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mom_message mom_message;

/** The bytes that were sent; never NULL, also when there are none. */
MOM_API const void *mom_message_body(const mom_message *message, size_t *size);

/** The routing key, not terminated by a zero; "" and 0 when there is none. */
MOM_API const char *mom_message_key(const mom_message *message, size_t *size);

/** Its number in the queue or topic, from 1, without doubles; later ones are larger. */
MOM_API uint64_t mom_message_sequence(const mom_message *message);

/** When it was published: microseconds since 1970-01-01 UTC, on the clock of the mesh. */
MOM_API uint64_t mom_message_published_us(const mom_message *message);

/** The id of the node that published it; a publisher cannot forge it. */
MOM_API uint64_t mom_message_publisher(const mom_message *message);

/** How often it has been delivered, this time included: 1 is the first. */
MOM_API uint32_t mom_message_deliveries(const mom_message *message);

/** True when it was delivered before, so that someone may have acted on it already. */
MOM_API bool mom_message_redelivered(const mom_message *message);

/** Name of the queue or topic that it came from, terminated by a zero. */
MOM_API const char *mom_message_stream(const mom_message *message);

/** Name of the subscription that it came from; "" for a queue. */
MOM_API const char *mom_message_subscription(const mom_message *message);

/** One header of a received message. Neither name nor value ends with a zero. */
typedef struct mom_header_view {
    const char *name;
    size_t name_size;
    const void *value;
    size_t value_size;
} mom_header_view;

/** The value of the first header of this name. *Errors:* `MOM_NOT_FOUND`. */
MOM_API int mom_message_header(const mom_message *message, const char *name,
                               const void **value, size_t *size);
MOM_API size_t mom_message_headers_count(const mom_message *message);
/** Header `index`, from 0, in the order in which they were given. *Errors:*
 * `MOM_NOT_FOUND`: there are not as many. */
MOM_API int mom_message_header_at(const mom_message *message, size_t index,
                                  mom_header_view *header);

/* --- many at a time
 * ----------------------------------------------------------------------
 *
 * For bindings and for programs that pass batches on: one call where the getters above
 * need several for each message.
 */

/** A message as plain data, with all that the getters say; fields as there. */
typedef struct mom_message_view {
    const void *body;
    size_t body_size;
    const char *key;
    size_t key_size;
    uint64_t sequence;
    uint64_t published_us;
    uint64_t publisher;
    uint64_t deliveries;
    uint64_t headers_count;
} mom_message_view;

/** Describes `count` messages. `view_size` is `sizeof *views` of the caller, who gets as
 * much of each view as it knows. *Errors:* `MOM_INVALID`. */
MOM_API int mom_message_view_many(mom_message *const *messages, size_t count,
                                  mom_message_view *views, size_t view_size);

/** Copies the bodies of `count` messages into `buffer`, one behind the other, and returns
 * how many bytes they have. When that is more than `size` nothing is copied. */
MOM_API size_t mom_message_copy_many(mom_message *const *messages, size_t count,
                                     void *buffer, size_t size);

/** As mom_message_release (mom.h), of each. */
MOM_API void mom_message_release_many(mom_message *const *messages, size_t count);

#ifdef __cplusplus
}
#endif
#endif
