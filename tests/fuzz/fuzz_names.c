/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters and names against plain definitions of their own:
 *
 *   f  pattern, zero byte, key: matching, by a table over words
 *   v  a pattern: is it valid
 *   n  kind of name, name: is it legal, whose is it, where does it live
 */
#include "core/filter.h"
#include "fuzz/fuzz.h"

#include <mom/error.h>

enum { WORDS_MAX = 256 };

struct words {
    struct momi_slice word[WORDS_MAX + 1];
    size_t count;
};

/* The empty text has no words, "a." has two. */
static void take_apart(struct momi_slice text, struct words *words) {
    words->count = 0;
    size_t begin = 0;
    for (size_t i = 0; text.size > 0 && i <= text.size; i++) {
        if (i == text.size || text.data[i] == '.') {
            words->word[words->count++] = momi_slice(text.data + begin, i - begin);
            begin = i + 1;
        }
    }
}

static bool is_word(struct momi_slice word, char letter) {
    return word.size == 1 && word.data[0] == (uint8_t)letter;
}

/* matches[k]: the pattern's words so far match the first k words of the key. */
static bool matches_by_table(struct momi_slice pattern, struct momi_slice key) {
    static struct words filter, words;
    bool now[WORDS_MAX + 2] = {true};
    take_apart(pattern, &filter);
    take_apart(key, &words);
    for (size_t p = 0; p < filter.count; p++) {
        bool next[WORDS_MAX + 2] = {false};
        for (size_t k = 0; k <= words.count; k++) {
            if (is_word(filter.word[p], '#')) {
                next[k] = now[k] || (k > 0 && next[k - 1]);
            } else {
                next[k] = k > 0 && now[k - 1] &&
                          (is_word(filter.word[p], '*') ||
                           momi_slice_equal(filter.word[p], words.word[k - 1]));
            }
        }
        memcpy(now, next, sizeof now);
    }
    return now[words.count];
}

/* RFC 3629, table 3-7 of the Unicode standard: the ranges of the second byte. */
static size_t utf8_size(const uint8_t *at, size_t left) {
    static const struct {
        uint8_t first_low, first_high, second_low, second_high, size;
    } rows[] = {{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2},
                {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
                {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
                {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        if (at[0] < rows[r].first_low || at[0] > rows[r].first_high) {
            continue;
        }
        if (rows[r].size > left) {
            return 0;
        }
        for (size_t i = 1; i < rows[r].size; i++) {
            uint8_t low = i == 1 ? rows[r].second_low : 0x80;
            uint8_t high = i == 1 ? rows[r].second_high : 0xbf;
            if (at[i] < low || at[i] > high) {
                return 0;
            }
        }
        return rows[r].size;
    }
    return 0;
}

static bool is_plain_text(struct momi_slice text) {
    for (size_t at = 0; at < text.size;) {
        const uint8_t *byte = text.data + at;
        size_t size = utf8_size(byte, text.size - at);
        bool is_control = byte[0] < 0x20 || byte[0] == 0x7f ||
                          (size == 2 && byte[0] == 0xc2 && byte[1] < 0xa0);
        if (size == 0 || is_control) {
            return false;
        }
        at += size;
    }
    return true;
}

static bool is_legal_filter(struct momi_slice pattern) {
    static struct words words;
    if (pattern.size == 0 || pattern.size > MOMI_KEY_BYTES_MAX ||
        !is_plain_text(pattern)) {
        return false;
    }
    take_apart(pattern, &words);
    for (size_t i = 0; i < words.count; i++) {
        for (size_t j = 0; j < words.word[i].size && words.word[i].size > 1; j++) {
            if (words.word[i].data[j] == '*' || words.word[i].data[j] == '#') {
                return false;
            }
        }
    }
    return true;
}

static void fuzz_match(struct momi_slice text) {
    const uint8_t *zero = text.size == 0 ? NULL : memchr(text.data, 0, text.size);
    if (zero == NULL) {
        return;
    }
    struct momi_slice pattern = momi_slice(text.data, (size_t)(zero - text.data));
    struct momi_slice key = momi_slice(zero + 1, text.size - pattern.size - 1);
    if (pattern.size > MOMI_KEY_BYTES_MAX || key.size > MOMI_KEY_BYTES_MAX ||
        !momi_filter_is_valid(pattern)) {
        return;
    }
    bool expected = matches_by_table(pattern, key);
    MOMI_ASSERT(momi_filter_matches(pattern, key) == expected);
    MOMI_ASSERT(momi_filter_matches(momi_slice_str("#"), key));
}

/* A name without `$` in front. */
static bool is_legal_plain(struct momi_slice name, bool may_have_slash) {
    return name.size > 0 && name.size <= MOMI_NAME_BYTES_MAX && is_plain_text(name) &&
           name.data[0] != '$' &&
           (may_have_slash || memchr(name.data, '/', name.size) == NULL);
}

static bool takes_prefix(struct momi_slice *name, const char *prefix) {
    size_t size = strlen(prefix);
    if (name->size < size || memcmp(name->data, prefix, size) != 0) {
        return false;
    }
    *name = momi_slice(name->data + size, name->size - size);
    return true;
}

static bool is_legal_name(enum momi_name_kind kind, struct momi_slice name) {
    if (kind == MOMI_NAME_STREAM && takes_prefix(&name, "$dead/queue/")) {
        return is_legal_plain(name, true);
    }
    if (kind == MOMI_NAME_STREAM && takes_prefix(&name, "$dead/topic/")) {
        const uint8_t *slash = name.size == 0 ? NULL : memrchr(name.data, '/', name.size);
        if (slash == NULL) {
            return false;
        }
        size_t topic = (size_t)(slash - name.data);
        return is_legal_plain(momi_slice(name.data, topic), true) &&
               is_legal_plain(momi_slice(slash + 1, name.size - topic - 1), false);
    }
    return is_legal_plain(name, kind != MOMI_NAME_SUBSCRIPTION);
}

static void fuzz_name(struct momi_slice text) {
    if (text.size == 0) {
        return;
    }
    enum momi_name_kind kind = (enum momi_name_kind)(text.data[0] % 3);
    struct momi_slice name = momi_slice(text.data + 1, text.size - 1);
    bool is_legal = momi_name_check(kind, name) == MOM_OK;
    MOMI_ASSERT(is_legal == is_legal_name(kind, name));
    struct momi_slice origin = momi_name_origin(name);
    MOMI_ASSERT(origin.size <= name.size);
    for (uint32_t shards = 0; shards <= MOMI_SHARDS_MAX; shards = shards * 4 + 1) {
        uint32_t shard = momi_name_shard(name, shards);
        MOMI_ASSERT(shard >= 1);
        MOMI_ASSERT(shard <= (shards == 0 ? 1 : shards));
        MOMI_ASSERT(momi_name_shard(origin, shards) == shard ||
                    momi_name_is_system(origin));
    }
}

void fuzz_end(void) {}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    uint8_t *bytes = fuzz_copy(momi_slice(data + 1, size - 1));
    struct momi_slice text = momi_slice(bytes, size - 1);
    switch (data[0]) {
    case 'f':
        fuzz_match(text);
        break;
    case 'v':
        MOMI_ASSERT(momi_filter_is_valid(text) == is_legal_filter(text));
        break;
    case 'n':
        fuzz_name(text);
        break;
    default:
        break;
    }
    momi_free(bytes);
    return 0;
}
