/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and subscriptions in the answers of queries: see info.h. The status of the mesh
 * is in info_status.c. */
#include "core/info.h"

#include "base/assert.h"
#include "base/pack.h"

enum {
    TAG_STREAM = 'q',
    TAG_SUBSCRIPTION = 's',
    TAG_PLACE = 'p',
    FORMAT = 1,
    /* The least that an item takes bounds the memory that hostile bytes can ask for. */
    STREAM_BYTES_MIN = 23,
    SUBSCRIPTION_BYTES_MIN = 12,
    OPTION_NO_DEAD_LETTER = 1,
    SUBSCRIPTION_TEMPORARY = 1,
    SUBSCRIPTION_IGNORE_OWN = 2,
    SUBSCRIPTION_FILLING = 4,
};

/* --- writing --- */

/* An item is written behind a size of fixed width: a varint of five bytes. */
static size_t begin_item(struct momi_bytes *out, uint8_t tag) {
    static const uint8_t size[5];
    momi_put_u8(out, tag);
    momi_bytes_append(out, size, sizeof size);
    momi_put_u8(out, FORMAT);
    return out->size;
}

static void finish_item(struct momi_bytes *out, size_t begin) {
    if (out->failed) {
        return;
    }
    size_t size = out->size - begin + 1; /* with the format */
    MOMI_ASSERT(size <= UINT32_MAX);
    uint8_t *at = out->data + begin - 6;
    for (unsigned index = 0; index < 5; index++) {
        at[index] = (uint8_t)((size >> 7 * index & 0x7f) | (index < 4 ? 0x80 : 0));
    }
}

static void put_options(struct momi_bytes *out,
                        const struct momi_stream_options *options) {
    momi_put_varint(out, options->lease_us);
    momi_put_varint(out, options->deliveries_max);
    momi_put_varint(out, options->messages_max);
    momi_put_varint(out, options->bytes_max);
    momi_put_varint(out, options->retention_us);
    momi_put_varint(out, options->retention_bytes);
    momi_put_varint(out, options->retention_count);
    momi_put_varint(out, options->no_dead_letter ? OPTION_NO_DEAD_LETTER : 0);
}

void momi_info_put_stream(struct momi_bytes *out, const struct momi_stream_info *stream) {
    size_t begin = begin_item(out, TAG_STREAM);
    momi_put_u8(out, (uint8_t)stream->kind);
    momi_put_slice(out, stream->name);
    momi_put_varint(out, stream->id);
    momi_put_varint(out, stream->created_wall_us);
    momi_put_varint(out, stream->creator);
    put_options(out, &stream->options);
    momi_put_varint(out, stream->depth);
    momi_put_varint(out, stream->leased);
    momi_put_varint(out, stream->consumers);
    momi_put_varint(out, stream->first_sequence);
    momi_put_varint(out, stream->next_sequence);
    momi_put_varint(out, stream->bytes);
    momi_put_varint(out, stream->subscriptions_count);
    momi_put_varint(out, stream->redelivered);
    momi_put_varint(out, stream->dead_lettered);
    finish_item(out, begin);
}

void momi_info_put_subscription(struct momi_bytes *out,
                                const struct momi_subscription_info *subscription) {
    size_t begin = begin_item(out, TAG_SUBSCRIPTION);
    momi_put_slice(out, subscription->name);
    momi_put_varint(out, subscription->filters_count);
    for (uint32_t index = 0; index < subscription->filters_count; index++) {
        momi_put_slice(out, subscription->filters[index]);
    }
    momi_put_varint(out, (subscription->temporary ? SUBSCRIPTION_TEMPORARY : 0u) |
                             (subscription->ignore_own ? SUBSCRIPTION_IGNORE_OWN : 0u) |
                             (subscription->filling ? SUBSCRIPTION_FILLING : 0u));
    momi_put_varint(out, subscription->creator);
    momi_put_varint(out, subscription->depth);
    momi_put_varint(out, subscription->bytes);
    momi_put_varint(out, subscription->leased);
    momi_put_varint(out, subscription->consumers);
    momi_put_varint(out, subscription->next_sequence);
    momi_put_varint(out, subscription->redelivered);
    momi_put_varint(out, subscription->dead_lettered);
    finish_item(out, begin);
}

void momi_info_put_place(struct momi_bytes *out, const struct momi_place_info *place) {
    MOMI_ASSERT(place->replicas_count <= 2 * MOMI_REPLICAS_MAX);
    size_t begin = begin_item(out, TAG_PLACE);
    momi_put_varint(out, place->shard);
    momi_put_varint(out, place->leader);
    momi_put_varint(out, place->replicas_count);
    for (uint32_t index = 0; index < place->replicas_count; index++) {
        momi_put_varint(out, place->replicas[index]);
    }
    finish_item(out, begin);
}

/* --- reading --- */

static uint64_t get_max(struct momi_reader *in, uint64_t max) {
    uint64_t value = momi_get_varint(in);
    if (value > max) {
        in->failed = true;
        return 0;
    }
    return value;
}

static struct momi_slice get_text(struct momi_reader *in, size_t max) {
    struct momi_slice text = momi_get_slice(in);
    in->failed = in->failed || text.size > max;
    return text;
}

static void get_options(struct momi_reader *in, struct momi_stream_options *options) {
    options->lease_us = momi_get_varint(in);
    options->deliveries_max = (uint32_t)get_max(in, UINT32_MAX);
    options->messages_max = momi_get_varint(in);
    options->bytes_max = momi_get_varint(in);
    options->retention_us = momi_get_varint(in);
    options->retention_bytes = momi_get_varint(in);
    options->retention_count = momi_get_varint(in);
    options->no_dead_letter = get_max(in, OPTION_NO_DEAD_LETTER) == OPTION_NO_DEAD_LETTER;
}

static void get_stream(struct momi_reader *in, struct momi_stream_info *stream) {
    memset(stream, 0, sizeof *stream);
    uint8_t kind = momi_get_u8(in);
    in->failed = in->failed || (kind != MOMI_KIND_QUEUE && kind != MOMI_KIND_TOPIC);
    stream->kind = (enum momi_kind)kind;
    stream->name = get_text(in, MOMI_SYSTEM_NAME_BYTES_MAX);
    stream->id = momi_get_varint(in);
    stream->created_wall_us = momi_get_varint(in);
    stream->creator = momi_get_varint(in);
    get_options(in, &stream->options);
    stream->depth = momi_get_varint(in);
    stream->leased = momi_get_varint(in);
    stream->consumers = momi_get_varint(in);
    stream->first_sequence = momi_get_varint(in);
    stream->next_sequence = momi_get_varint(in);
    stream->bytes = momi_get_varint(in);
    stream->subscriptions_count = momi_get_varint(in);
    stream->redelivered = momi_get_varint(in);
    stream->dead_lettered = momi_get_varint(in);
}

/* False: out of memory. */
static bool get_subscription(struct momi_reader *in, struct momi_arena *arena,
                             struct momi_subscription_info *subscription) {
    memset(subscription, 0, sizeof *subscription);
    subscription->name = get_text(in, MOMI_NAME_BYTES_MAX);
    uint32_t count = (uint32_t)get_max(in, MOMI_FILTERS_MAX);
    if (count > momi_reader_left(in)) {
        in->failed = true;
        return true;
    }
    if (count > 0) {
        subscription->filters =
            momi_arena_alloc(arena, count * sizeof *subscription->filters);
        if (subscription->filters == NULL) {
            return false;
        }
        for (uint32_t index = 0; index < count; index++) {
            subscription->filters[index] = get_text(in, MOMI_KEY_BYTES_MAX);
        }
        subscription->filters_count = count;
    }
    uint64_t flags = get_max(in, SUBSCRIPTION_TEMPORARY | SUBSCRIPTION_IGNORE_OWN |
                                     SUBSCRIPTION_FILLING);
    subscription->temporary = (flags & SUBSCRIPTION_TEMPORARY) != 0;
    subscription->ignore_own = (flags & SUBSCRIPTION_IGNORE_OWN) != 0;
    subscription->filling = (flags & SUBSCRIPTION_FILLING) != 0;
    subscription->creator = momi_get_varint(in);
    subscription->depth = momi_get_varint(in);
    subscription->bytes = momi_get_varint(in);
    subscription->leased = momi_get_varint(in);
    subscription->consumers = momi_get_varint(in);
    subscription->next_sequence = momi_get_varint(in);
    subscription->redelivered = momi_get_varint(in);
    subscription->dead_lettered = momi_get_varint(in);
    return true;
}

static void get_place(struct momi_reader *in, struct momi_place_info *place) {
    memset(place, 0, sizeof *place);
    place->shard = (uint32_t)get_max(in, MOMI_SHARDS_MAX);
    place->leader = momi_get_varint(in);
    place->replicas_count = (uint32_t)get_max(in, 2 * MOMI_REPLICAS_MAX);
    for (uint32_t index = 0; index < place->replicas_count; index++) {
        place->replicas[index] = momi_get_varint(in);
    }
}

/* The next item's tag, and a reader of its fields; 0: the end, or `error` is set. */
static uint8_t next_item(struct momi_reader *in, struct momi_reader *fields, int *error) {
    if (momi_reader_left(in) == 0) {
        return 0;
    }
    uint8_t tag = momi_get_u8(in);
    struct momi_slice item = momi_get_slice(in);
    if (in->failed || item.size == 0) {
        *error = MOM_INVALID;
        return 0;
    }
    *fields = momi_reader(item);
    if (momi_get_u8(fields) != FORMAT ||
        (tag != TAG_STREAM && tag != TAG_SUBSCRIPTION && tag != TAG_PLACE)) {
        *error = MOM_VERSION;
        return 0;
    }
    size_t left = momi_reader_left(fields);
    if ((tag == TAG_STREAM && left < STREAM_BYTES_MIN - 1) ||
        (tag == TAG_SUBSCRIPTION && left < SUBSCRIPTION_BYTES_MIN - 1)) {
        *error = MOM_INVALID;
        return 0;
    }
    return tag;
}

/* Room for all items of a list, which is otherwise empty. */
static int reserve_list(struct momi_slice bytes, struct momi_arena *arena,
                        struct momi_info_list *list) {
    struct momi_reader in = momi_reader(bytes);
    struct momi_reader fields;
    size_t streams = 0, subscriptions = 0;
    int error = MOM_OK;
    uint8_t tag;
    while ((tag = next_item(&in, &fields, &error)) != 0) {
        streams += tag == TAG_STREAM;
        subscriptions += tag == TAG_SUBSCRIPTION;
    }
    if (error != MOM_OK) {
        return error;
    }
    *list = (struct momi_info_list){.streams = NULL};
    list->streams = momi_arena_alloc(arena, streams * sizeof *list->streams);
    list->subscriptions =
        momi_arena_alloc(arena, subscriptions * sizeof *list->subscriptions);
    return list->streams == NULL || list->subscriptions == NULL ? MOM_NO_MEMORY : MOM_OK;
}

int momi_info_decode(struct momi_slice bytes, struct momi_arena *arena,
                     struct momi_info_list *list) {
    struct momi_info_list found;
    int error = reserve_list(bytes, arena, &found);
    if (error != MOM_OK) {
        return error;
    }
    size_t placed = 0; /* streams whose place is known */
    struct momi_reader in = momi_reader(bytes);
    struct momi_reader fields;
    struct momi_place_info place;
    uint8_t tag;
    while ((tag = next_item(&in, &fields, &error)) != 0) {
        if (tag == TAG_STREAM) {
            get_stream(&fields, &found.streams[found.streams_count++]);
        } else if (tag == TAG_SUBSCRIPTION) {
            if (!get_subscription(&fields, arena,
                                  &found.subscriptions[found.subscriptions_count++])) {
                return MOM_NO_MEMORY;
            }
        } else {
            get_place(&fields, &place);
            while (placed < found.streams_count) {
                found.streams[placed++].place = place;
            }
        }
        if (!momi_reader_done(&fields)) {
            return MOM_INVALID;
        }
    }
    *list = found;
    return MOM_OK;
}
