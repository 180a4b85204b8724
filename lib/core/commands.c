/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoders and decoders of command bodies (commands.h). Fixed order of fields, integers
 * little-endian, names with a varint size before them. Unknown flags and enumerations,
 * and bytes left over, make a body malformed: a later version of a command says so in its
 * header, not by a longer body.
 */
#include "core/commands.h"

#include <mom/error.h>

enum {
    CREATE_IF_MISSING = 1,
    CREATE_FLAGS = 1,
    OPTION_NO_DEAD_LETTER = 1,
    OPTION_FLAGS = 1,
    SUBSCRIBE_TEMPORARY = 1,
    SUBSCRIBE_IGNORE_OWN = 2,
    SUBSCRIBE_IF_MISSING = 4,
    SUBSCRIBE_FLAGS = 7,
};

static bool get_kind(struct momi_reader *in, enum momi_kind *kind) {
    uint8_t value = momi_get_u8(in);
    if (in->failed || (value != MOMI_KIND_QUEUE && value != MOMI_KIND_TOPIC)) {
        return false;
    }
    *kind = (enum momi_kind)value;
    return true;
}

static bool get_flags(struct momi_reader *in, uint8_t known, uint8_t *flags) {
    *flags = momi_get_u8(in);
    return !in->failed && (*flags & ~known) == 0;
}

void momi_session_open_put(struct momi_bytes *out, const struct momi_session_open *open) {
    momi_put_u64(out, open->node);
    momi_put_u64(out, open->incarnation);
    momi_put_u64(out, open->opening);
    momi_put_u64(out, open->principal);
}

bool momi_session_open_parse(struct momi_slice body, struct momi_session_open *open) {
    struct momi_reader in = momi_reader(body);
    open->node = momi_get_u64(&in);
    open->incarnation = momi_get_u64(&in);
    open->opening = momi_get_u64(&in);
    open->principal = momi_get_u64(&in);
    return momi_reader_done(&in) && open->node != 0;
}

void momi_refuse_put(struct momi_bytes *out, int error) {
    momi_put_u8(out, (uint8_t)-error);
}

bool momi_refuse_parse(struct momi_slice body, int *error) {
    struct momi_reader in = momi_reader(body);
    uint8_t number = momi_get_u8(&in);
    *error = -(int)number;
    return momi_reader_done(&in) && *error <= MOM_INVALID && *error >= MOM_VERSION;
}

static void put_options(struct momi_bytes *out,
                        const struct momi_stream_options *options) {
    momi_put_u64(out, options->lease_us);
    momi_put_u32(out, options->deliveries_max);
    momi_put_u64(out, options->messages_max);
    momi_put_u64(out, options->bytes_max);
    momi_put_u64(out, options->retention_us);
    momi_put_u64(out, options->retention_bytes);
    momi_put_u64(out, options->retention_count);
    momi_put_u8(out, options->no_dead_letter ? OPTION_NO_DEAD_LETTER : 0);
}

static bool get_options(struct momi_reader *in, struct momi_stream_options *options) {
    options->lease_us = momi_get_u64(in);
    options->deliveries_max = momi_get_u32(in);
    options->messages_max = momi_get_u64(in);
    options->bytes_max = momi_get_u64(in);
    options->retention_us = momi_get_u64(in);
    options->retention_bytes = momi_get_u64(in);
    options->retention_count = momi_get_u64(in);
    uint8_t flags;
    if (!get_flags(in, OPTION_FLAGS, &flags)) {
        return false;
    }
    options->no_dead_letter = (flags & OPTION_NO_DEAD_LETTER) != 0;
    return true;
}

void momi_stream_create_put(struct momi_bytes *out,
                            const struct momi_stream_create *create) {
    momi_put_u8(out, (uint8_t)create->kind);
    momi_put_u8(out, create->if_missing ? CREATE_IF_MISSING : 0);
    momi_put_slice(out, create->name);
    put_options(out, &create->options);
}

bool momi_stream_create_parse(struct momi_slice body, struct momi_stream_create *create) {
    struct momi_reader in = momi_reader(body);
    uint8_t flags;
    if (!get_kind(&in, &create->kind) || !get_flags(&in, CREATE_FLAGS, &flags)) {
        return false;
    }
    create->if_missing = (flags & CREATE_IF_MISSING) != 0;
    create->name = momi_get_slice(&in);
    return get_options(&in, &create->options) && momi_reader_done(&in);
}

void momi_stream_name_put(struct momi_bytes *out, const struct momi_stream_name *stream) {
    momi_put_u8(out, (uint8_t)stream->kind);
    momi_put_slice(out, stream->name);
}

bool momi_stream_name_parse(struct momi_slice body, struct momi_stream_name *stream) {
    struct momi_reader in = momi_reader(body);
    if (!get_kind(&in, &stream->kind)) {
        return false;
    }
    stream->name = momi_get_slice(&in);
    return momi_reader_done(&in);
}

void momi_subscription_create_put(struct momi_bytes *out,
                                  const struct momi_subscription_create *create) {
    uint8_t flags = (uint8_t)((create->temporary ? SUBSCRIBE_TEMPORARY : 0) |
                              (create->ignore_own ? SUBSCRIBE_IGNORE_OWN : 0) |
                              (create->if_missing ? SUBSCRIBE_IF_MISSING : 0));
    momi_put_u8(out, flags);
    momi_put_u8(out, (uint8_t)create->from);
    momi_put_u64(out, create->from_value);
    momi_put_slice(out, create->topic);
    momi_put_slice(out, create->name);
    momi_put_varint(out, create->filters_count);
    for (uint32_t i = 0; i < create->filters_count; i++) {
        momi_put_slice(out, create->filters[i]);
    }
}

bool momi_subscription_create_parse(struct momi_slice body,
                                    struct momi_subscription_create *create) {
    struct momi_reader in = momi_reader(body);
    uint8_t flags;
    if (!get_flags(&in, SUBSCRIBE_FLAGS, &flags)) {
        return false;
    }
    create->temporary = (flags & SUBSCRIBE_TEMPORARY) != 0;
    create->ignore_own = (flags & SUBSCRIBE_IGNORE_OWN) != 0;
    create->if_missing = (flags & SUBSCRIBE_IF_MISSING) != 0;
    uint8_t from = momi_get_u8(&in);
    if (from > MOMI_FROM_TIME) {
        return false;
    }
    create->from = (enum momi_from)from;
    create->from_value = momi_get_u64(&in);
    create->topic = momi_get_slice(&in);
    create->name = momi_get_slice(&in);
    uint64_t count = momi_get_varint(&in);
    if (in.failed || count > MOMI_FILTERS_MAX) {
        return false;
    }
    create->filters_count = (uint32_t)count;
    for (uint32_t i = 0; i < create->filters_count; i++) {
        create->filters[i] = momi_get_slice(&in);
    }
    return momi_reader_done(&in);
}

void momi_subscription_name_put(struct momi_bytes *out,
                                const struct momi_subscription_name *subscription) {
    momi_put_slice(out, subscription->topic);
    momi_put_slice(out, subscription->name);
}

bool momi_subscription_name_parse(struct momi_slice body,
                                  struct momi_subscription_name *subscription) {
    struct momi_reader in = momi_reader(body);
    subscription->topic = momi_get_slice(&in);
    subscription->name = momi_get_slice(&in);
    return momi_reader_done(&in);
}

void momi_consumer_attach_put(struct momi_bytes *out,
                              const struct momi_consumer_attach *attach) {
    momi_put_u8(out, (uint8_t)attach->kind);
    momi_put_slice(out, attach->name);
    momi_put_slice(out, attach->subscription);
    momi_put_u64(out, attach->consumer);
    momi_put_u64(out, attach->lease_us);
    momi_put_u64(out, attach->credit);
    momi_put_u64(out, attach->group);
}

bool momi_consumer_attach_parse(struct momi_slice body,
                                struct momi_consumer_attach *attach) {
    struct momi_reader in = momi_reader(body);
    if (!get_kind(&in, &attach->kind)) {
        return false;
    }
    attach->name = momi_get_slice(&in);
    attach->subscription = momi_get_slice(&in);
    attach->consumer = momi_get_u64(&in);
    attach->lease_us = momi_get_u64(&in);
    attach->credit = momi_get_u64(&in);
    attach->group = momi_get_u64(&in);
    return momi_reader_done(&in) && attach->consumer != 0;
}

void momi_consumer_detach_put(struct momi_bytes *out, uint64_t consumer) {
    momi_put_u64(out, consumer);
}

bool momi_consumer_detach_parse(struct momi_slice body, uint64_t *consumer) {
    struct momi_reader in = momi_reader(body);
    *consumer = momi_get_u64(&in);
    return momi_reader_done(&in) && *consumer != 0;
}

void momi_fill_put(struct momi_bytes *out, const struct momi_fill *fill,
                   const struct momi_fill_range *ranges, size_t ranges_count) {
    momi_put_u64(out, fill->stream);
    momi_put_u64(out, fill->group);
    momi_put_u64(out, fill->from);
    momi_put_u64(out, fill->to);
    momi_put_varint(out, ranges_count);
    for (size_t i = 0; i < ranges_count; i++) {
        momi_put_varint(out, ranges[i].sequence);
        momi_put_varint(out, ranges[i].count);
    }
}

bool momi_fill_next(struct momi_fill *fill, struct momi_fill_range *range) {
    if (fill->ranges_count == 0) {
        return false;
    }
    struct momi_reader in = momi_reader(fill->ranges);
    range->sequence = momi_get_varint(&in);
    range->count = momi_get_varint(&in);
    if (in.failed) {
        fill->ranges_count = 0;
        return false;
    }
    fill->ranges = momi_slice(in.at, momi_reader_left(&in));
    fill->ranges_count--;
    return true;
}

/* Rising, apart, not empty, inside [from, to), and nothing behind them. */
static bool fill_is_sane(struct momi_fill fill) {
    uint64_t from = fill.from;
    uint32_t count = fill.ranges_count;
    struct momi_fill_range range;
    uint32_t seen = 0;
    while (momi_fill_next(&fill, &range)) {
        if (range.sequence < from || range.sequence >= fill.to || range.count == 0 ||
            range.count > fill.to - range.sequence) {
            return false;
        }
        from = range.sequence + range.count;
        seen++;
    }
    return seen == count && fill.ranges.size == 0;
}

bool momi_fill_parse(struct momi_slice body, struct momi_fill *fill) {
    struct momi_reader in = momi_reader(body);
    fill->stream = momi_get_u64(&in);
    fill->group = momi_get_u64(&in);
    fill->from = momi_get_u64(&in);
    fill->to = momi_get_u64(&in);
    uint64_t count = momi_get_varint(&in);
    if (in.failed || count > MOMI_FILL_RANGES_MAX || fill->from >= fill->to) {
        return false;
    }
    fill->ranges_count = (uint32_t)count;
    fill->ranges = momi_slice(in.at, momi_reader_left(&in));
    return fill_is_sane(*fill);
}
