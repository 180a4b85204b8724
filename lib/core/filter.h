/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key filters (U06): words separated by dots; `*` matches exactly one word, `#` zero or
 * more; every other character is literal. A pure function of two byte strings, without
 * recursion or allocation.
 */
#ifndef MOMI_CORE_FILTER_H
#define MOMI_CORE_FILTER_H

#include "core/types.h"

struct momi_filter {
    struct momi_slice pattern;
};

/* 1 to 255 bytes of UTF-8 without control characters; `*` and `#` only as whole words. */
bool momi_filter_is_valid(struct momi_slice pattern);
bool momi_filter_matches(struct momi_slice pattern, struct momi_slice key);

/* Names of streams and subscriptions: 1 to 255 bytes of UTF-8 without control characters;
 * a subscription holds no '/'.
 * `$` begins system names only, which are well-formed here (they can be consumed, purged,
 * deleted) but not creatable by clients: momi_name_is_system. */
enum momi_name_kind { MOMI_NAME_STREAM, MOMI_NAME_SUBSCRIPTION, MOMI_NAME_NODE };
/* MOM_OK or MOM_INVALID, with the reason as error text. */
int momi_name_check(enum momi_name_kind kind, struct momi_slice name);
static inline bool momi_name_is_system(struct momi_slice name) {
    return name.size > 0 && name.data[0] == '$';
}
/* `$dead/queue/NAME` or `$dead/topic/TOPIC/SUBSCRIPTION`: the name whose shard it lives
 * on; other names are their own. */
struct momi_slice momi_name_origin(struct momi_slice name);
/* The data shard of a name, 1 .. shards_count, the same for queues and topics: hash of
 * the origin's `{tag}` if it has one, else of the origin. */
uint32_t momi_name_shard(struct momi_slice name, uint32_t shards_count);

#endif
