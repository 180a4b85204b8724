/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key filters and names (filter.h): pure functions of byte strings.
 *
 * A key is its words between dots; the empty key has no words (`#` matches it, `*` does
 * not), while "a." has the words "a" and "". Matching walks words with one point to go
 * back to, the last `#`: at worst the product of both lengths, no recursion, no
 * allocation.
 */
#include "core/filter.h"

#include "base/err.h"
#include "base/map.h"

#define DEAD_QUEUE "$dead/queue/"
#define DEAD_TOPIC "$dead/topic/"

/* Reads one character of UTF-8 at `at`; returns its size, 0 when it is malformed or a
 * control character. */
static size_t character_size(const uint8_t *at, size_t left) {
    uint8_t first = at[0];
    if (first < 0x80) {
        return first < 0x20 || first == 0x7f ? 0 : 1;
    }
    size_t size = first >= 0xc2 && first <= 0xdf   ? 2
                  : first >= 0xe0 && first <= 0xef ? 3
                  : first >= 0xf0 && first <= 0xf4 ? 4
                                                   : 0;
    if (size == 0 || size > left) {
        return 0;
    }
    uint32_t code = first & (0xffu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (at[i] & 0x3fu);
    }
    bool is_overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
    bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    bool is_control = code < 0xa0;
    return is_overlong || is_surrogate || is_control || code > 0x10ffff ? 0 : size;
}

static bool is_text(struct momi_slice text) {
    size_t at = 0;
    while (at < text.size) {
        size_t size = character_size(text.data + at, text.size - at);
        if (size == 0) {
            return false;
        }
        at += size;
    }
    return true;
}

/* A walk over words. `at` beyond `text.size` is the end: a last dot is followed by an
 * empty word. */
struct words {
    struct momi_slice text;
    size_t at;
};

static struct words words_of(struct momi_slice text) {
    return (struct words){.text = text, .at = text.size == 0 ? 1 : 0};
}

static bool words_end(const struct words *words) { return words->at > words->text.size; }

/* The word at `at`; `next` is where the one behind it begins. */
static struct momi_slice word_at(const struct words *words, size_t *next) {
    size_t end = words->at;
    while (end < words->text.size && words->text.data[end] != '.') {
        end++;
    }
    *next = end + 1;
    return momi_slice(words->text.data + words->at, end - words->at);
}

static bool word_is(struct momi_slice word, char wildcard) {
    return word.size == 1 && word.data[0] == (uint8_t)wildcard;
}

bool momi_filter_is_valid(struct momi_slice pattern) {
    if (pattern.size == 0 || pattern.size > MOMI_KEY_BYTES_MAX || !is_text(pattern)) {
        return false;
    }
    struct words words = words_of(pattern);
    while (!words_end(&words)) {
        size_t next;
        struct momi_slice word = word_at(&words, &next);
        if (word.size > 1 && (memchr(word.data, '*', word.size) != NULL ||
                              memchr(word.data, '#', word.size) != NULL)) {
            return false;
        }
        words.at = next;
    }
    return true;
}

bool momi_filter_matches(struct momi_slice pattern, struct momi_slice key) {
    struct words filter = words_of(pattern);
    struct words words = words_of(key);
    bool has_hash = false;
    size_t after_hash = 0; /* in the pattern, behind the last `#` */
    size_t hash_until = 0; /* in the key, where that `#` ends for now */
    while (!words_end(&words)) {
        size_t word_next;
        struct momi_slice word = word_at(&words, &word_next);
        if (!words_end(&filter)) {
            size_t filter_next;
            struct momi_slice part = word_at(&filter, &filter_next);
            if (word_is(part, '#')) {
                has_hash = true;
                after_hash = filter_next;
                hash_until = words.at;
                filter.at = filter_next;
                continue;
            }
            if (word_is(part, '*') || momi_slice_equal(part, word)) {
                filter.at = filter_next;
                words.at = word_next;
                continue;
            }
        }
        if (!has_hash) {
            return false;
        }
        /* The last `#` takes one word more, and the rest is tried anew. */
        words.at = hash_until;
        (void)word_at(&words, &hash_until);
        words.at = hash_until;
        filter.at = after_hash;
    }
    while (!words_end(&filter)) {
        size_t next;
        if (!word_is(word_at(&filter, &next), '#')) {
            return false;
        }
        filter.at = next;
    }
    return true;
}

static bool has_prefix(struct momi_slice name, const char *prefix,
                       struct momi_slice *rest) {
    size_t size = strlen(prefix);
    if (name.size < size || memcmp(name.data, prefix, size) != 0) {
        return false;
    }
    *rest = momi_slice(name.data + size, name.size - size);
    return true;
}

/* Splits TOPIC/SUBSCRIPTION at the last slash: a topic may hold some, a subscription
 * none. */
static bool split_topic(struct momi_slice rest, struct momi_slice *topic,
                        struct momi_slice *subscription) {
    for (size_t i = rest.size; i > 0; i--) {
        if (rest.data[i - 1] == '/') {
            *topic = momi_slice(rest.data, i - 1);
            *subscription = momi_slice(rest.data + i, rest.size - i);
            return true;
        }
    }
    return false;
}

static int check_plain(enum momi_name_kind kind, struct momi_slice name) {
    if (name.size == 0) {
        return momi_err(MOM_INVALID, "a name is empty");
    }
    if (name.size > MOMI_NAME_BYTES_MAX) {
        return momi_err(MOM_INVALID, "a name has %zu bytes, at most %u", name.size,
                        MOMI_NAME_BYTES_MAX);
    }
    if (!is_text(name)) {
        return momi_err(MOM_INVALID, "a name is not UTF-8, or holds control characters");
    }
    if (name.data[0] == '$') {
        return momi_err(MOM_INVALID, "names that begin with $ are the system's");
    }
    if (kind == MOMI_NAME_SUBSCRIPTION && memchr(name.data, '/', name.size) != NULL) {
        return momi_err(MOM_INVALID, "the name of a subscription holds a /");
    }
    return MOM_OK;
}

int momi_name_check(enum momi_name_kind kind, struct momi_slice name) {
    struct momi_slice rest;
    if (kind == MOMI_NAME_STREAM && has_prefix(name, DEAD_QUEUE, &rest)) {
        return check_plain(MOMI_NAME_STREAM, rest);
    }
    if (kind == MOMI_NAME_STREAM && has_prefix(name, DEAD_TOPIC, &rest)) {
        struct momi_slice topic;
        struct momi_slice subscription;
        if (!split_topic(rest, &topic, &subscription)) {
            return momi_err(MOM_INVALID,
                            "a dead-letter queue is $dead/topic/TOPIC/SUBSCRIPTION");
        }
        int error = check_plain(MOMI_NAME_STREAM, topic);
        return error != MOM_OK ? error
                               : check_plain(MOMI_NAME_SUBSCRIPTION, subscription);
    }
    return check_plain(kind, name);
}

struct momi_slice momi_name_origin(struct momi_slice name) {
    struct momi_slice rest;
    if (has_prefix(name, DEAD_QUEUE, &rest)) {
        return rest;
    }
    struct momi_slice topic;
    struct momi_slice subscription;
    if (has_prefix(name, DEAD_TOPIC, &rest) && split_topic(rest, &topic, &subscription)) {
        return topic;
    }
    return name;
}

uint32_t momi_name_shard(struct momi_slice name, uint32_t shards_count) {
    struct momi_slice hashed = momi_name_origin(name);
    const uint8_t *open = hashed.size == 0 ? NULL : memchr(hashed.data, '{', hashed.size);
    if (open != NULL) {
        size_t left = hashed.size - (size_t)(open + 1 - hashed.data);
        const uint8_t *close = left == 0 ? NULL : memchr(open + 1, '}', left);
        if (close != NULL && close > open + 1) {
            hashed = momi_slice(open + 1, (size_t)(close - (open + 1)));
        }
    }
    return shards_count == 0 ? 1 : 1 + (uint32_t)(momi_hash_bytes(hashed) % shards_count);
}
