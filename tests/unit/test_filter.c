/* SPDX-License-Identifier: Apache-2.0 */
/* Key filters against a plain recursive matcher, names, and the shard of a name. */
#include "t.h"

#include "base/rng.h"
#include "core/filter.h"

#include <mom/error.h>

static bool matches(const char *pattern, const char *key) {
    return momi_filter_matches(momi_slice_str(pattern), momi_slice_str(key));
}

static bool is_valid(const char *pattern) {
    return momi_filter_is_valid(momi_slice_str(pattern));
}

static void words_stars_and_hashes_match(void **state) {
    (void)state;
    CHECK(matches("a.b", "a.b"));
    CHECK(!matches("a.b", "a.c"));
    CHECK(!matches("a.b", "a.b.c"));
    CHECK(!matches("a.b", "a"));
    CHECK(matches("*", "a"));
    CHECK(!matches("*", "a.b"));
    CHECK(!matches("*", ""));
    CHECK(matches("#", ""));
    CHECK(matches("#", "a.b.c"));
    CHECK(matches("a.#", "a"));
    CHECK(matches("a.#", "a.b.c"));
    CHECK(!matches("a.#", "ab"));
    CHECK(matches("#.a", "a"));
    CHECK(matches("#.a", "b.c.a"));
    CHECK(!matches("#.a", "a.b"));
    CHECK(matches("a.*.c", "a.b.c"));
    CHECK(!matches("a.*.c", "a.c"));
    CHECK(matches("a.#.c", "a.c"));
    CHECK(matches("a.#.c", "a.c.c.b.c"));
    CHECK(matches("#.b.#.d.#", "a.b.c.d.e"));
    CHECK(!matches("#.b.#.d.#", "a.d.c.b.e"));
    CHECK(matches("#.*", "a"));
    CHECK(!matches("#.*", ""));
    CHECK(matches("a.*", "a."));
    CHECK(!matches("a", "a."));
    CHECK(matches("a..b", "a..b"));
    CHECK(matches("a.*.b", "a..b"));
    /* Other characters are literal, also in keys. */
    CHECK(matches("a+?[b]", "a+?[b]"));
    CHECK(!matches("a.b", "*.b"));
    CHECK(!matches("a.b", "a.#"));
    CHECK(matches("stra\xc3\x9f"
                  "e.*",
                  "stra\xc3\x9f"
                  "e.7"));
}

/* The definition, by recursion over words; NULL is the end. */
static const char *rest_of(const char *text, size_t *word) {
    const char *dot = strchr(text, '.');
    *word = dot == NULL ? strlen(text) : (size_t)(dot - text);
    return dot == NULL ? NULL : dot + 1;
}

static bool defined(const char *pattern, const char *key) {
    if (pattern == NULL) {
        return key == NULL;
    }
    size_t part;
    const char *pattern_rest = rest_of(pattern, &part);
    size_t word = 0;
    const char *key_rest = key == NULL ? NULL : rest_of(key, &word);
    if (part == 1 && pattern[0] == '#') {
        return defined(pattern_rest, key) || (key != NULL && defined(pattern, key_rest));
    }
    return key != NULL &&
           ((part == 1 && pattern[0] == '*') ||
            (part == word && memcmp(pattern, key, part) == 0)) &&
           defined(pattern_rest, key_rest);
}

static void random_ones_match_as_defined(void **state) {
    (void)state;
    static const char *const parts[] = {"a", "b", "*", "#", "aa", ""};
    struct momi_rng rng;
    momi_rng_seed(&rng, 11);
    unsigned matched = 0;
    for (unsigned round = 0; round < 200000; round++) {
        char pattern[64] = "";
        char key[64] = "";
        unsigned pattern_words = (unsigned)momi_rng_between(&rng, 1, 6);
        unsigned key_words = (unsigned)momi_rng_between(&rng, 0, 7);
        for (unsigned i = 0; i < pattern_words; i++) {
            strncat(pattern, parts[momi_rng_between(&rng, 0, 4)], 8);
            strncat(pattern, i + 1 < pattern_words ? "." : "", 2);
        }
        static const char *const words[] = {"a", "b", "aa", ""};
        for (unsigned i = 0; i < key_words; i++) {
            strncat(key, words[momi_rng_between(&rng, 0, 3)], 8);
            strncat(key, i + 1 < key_words ? "." : "", 2);
        }
        bool expected = defined(pattern, key[0] == '\0' ? NULL : key);
        if (matches(pattern, key) != expected) {
            print_message("pattern '%s', key '%s'\n", pattern, key);
            CHECK(false);
        }
        matched += expected;
    }
    CHECK(matched > 5000);
}

static void long_ones_end_soon(void **state) {
    (void)state;
    char pattern[256] = "";
    char key[256] = "";
    for (unsigned i = 0; i < 60; i++) {
        strncat(pattern, "#.a.", 5);
        strncat(key, "a.a.", 5);
    }
    strncat(pattern, "b", 2);
    strncat(key, "c", 2);
    CHECK(!matches(pattern, key));
}

static void patterns_are_checked(void **state) {
    (void)state;
    CHECK(is_valid("a"));
    CHECK(is_valid("*"));
    CHECK(is_valid("#"));
    CHECK(is_valid("a.*.#"));
    CHECK(!is_valid(""));
    CHECK(!is_valid("a*"));
    CHECK(!is_valid("a.b#.c"));
    CHECK(!is_valid("##"));
    CHECK(!is_valid("a\n"));
    CHECK(!is_valid("\xff"));
    char text[257];
    memset(text, 'x', sizeof text);
    CHECK(momi_filter_is_valid(momi_slice(text, 255)));
    CHECK(!momi_filter_is_valid(momi_slice(text, 256)));
}

static int check(enum momi_name_kind kind, const char *name) {
    return momi_name_check(kind, momi_slice_str(name));
}

static void names_are_checked(void **state) {
    (void)state;
    CHECK_OK(check(MOMI_NAME_STREAM, "orders"));
    CHECK_OK(check(MOMI_NAME_STREAM, "a/b c.d{e}"));
    CHECK_OK(check(MOMI_NAME_STREAM, "gr\xc3\xbc\xc3\x9f"
                                     "e"));
    CHECK_OK(check(MOMI_NAME_STREAM, "\xf0\x9f\x90\xab"));
    CHECK_ERR(check(MOMI_NAME_STREAM, ""), MOM_INVALID);
    CHECK_ERR(check(MOMI_NAME_STREAM, "a\tb"), MOM_INVALID);
    CHECK_ERR(check(MOMI_NAME_STREAM, "a\x7f"), MOM_INVALID);
    CHECK_ERR(check(MOMI_NAME_STREAM, "\xc2\x85"), MOM_INVALID);         /* U+0085 */
    CHECK_ERR(check(MOMI_NAME_STREAM, "\xc0\xaf"), MOM_INVALID);         /* overlong */
    CHECK_ERR(check(MOMI_NAME_STREAM, "\xe0\x80\xaf"), MOM_INVALID);     /* overlong */
    CHECK_ERR(check(MOMI_NAME_STREAM, "\xed\xa0\x80"), MOM_INVALID);     /* surrogate */
    CHECK_ERR(check(MOMI_NAME_STREAM, "\xf4\x90\x80\x80"), MOM_INVALID); /* too high */
    CHECK_ERR(check(MOMI_NAME_STREAM, "\xe2\x82"), MOM_INVALID);         /* cut off */
    CHECK_ERR(check(MOMI_NAME_STREAM, "$other"), MOM_INVALID);
    CHECK_OK(check(MOMI_NAME_STREAM, "$dead/queue/orders"));
    CHECK_OK(check(MOMI_NAME_STREAM, "$dead/topic/a/b/sub"));
    CHECK_ERR(check(MOMI_NAME_STREAM, "$dead/topic/a"), MOM_INVALID);
    CHECK_ERR(check(MOMI_NAME_STREAM, "$dead/queue/"), MOM_INVALID);
    CHECK_ERR(check(MOMI_NAME_STREAM, "$dead/queue/$dead/queue/q"), MOM_INVALID);
    CHECK_ERR(check(MOMI_NAME_STREAM, "$dead/queue"), MOM_INVALID);
    CHECK_OK(check(MOMI_NAME_SUBSCRIPTION, "mail"));
    CHECK_ERR(check(MOMI_NAME_SUBSCRIPTION, "a/b"), MOM_INVALID);
    CHECK_ERR(check(MOMI_NAME_SUBSCRIPTION, "$dead/queue/a"), MOM_INVALID);
    char text[600];
    memset(text, 'x', sizeof text);
    CHECK_OK(momi_name_check(MOMI_NAME_STREAM, momi_slice(text, 255)));
    CHECK_ERR(momi_name_check(MOMI_NAME_STREAM, momi_slice(text, 256)), MOM_INVALID);
    memcpy(text, "$dead/queue/", 12);
    CHECK_OK(momi_name_check(MOMI_NAME_STREAM, momi_slice(text, 12 + 255)));
    CHECK_ERR(momi_name_check(MOMI_NAME_STREAM, momi_slice(text, 12 + 256)), MOM_INVALID);
    CHECK_ERR(momi_name_check(MOMI_NAME_STREAM, momi_slice("a\0b", 3)), MOM_INVALID);
}

static uint32_t shard(const char *name, uint32_t count) {
    return momi_name_shard(momi_slice_str(name), count);
}

static void dead_letters_lie_beside_their_origin(void **state) {
    (void)state;
    char name[64];
    char dead[128];
    uint32_t seen = 0;
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "orders/%u", i);
        uint32_t at = shard(name, 16);
        CHECK(at >= 1);
        CHECK(at <= 16);
        seen |= 1u << at;
        snprintf(dead, sizeof dead, "$dead/queue/%s", name);
        CHECK_EQ(shard(dead, 16), at);
        snprintf(dead, sizeof dead, "$dead/topic/%s/sub", name);
        CHECK_EQ(shard(dead, 16), at);
    }
    CHECK_EQ(seen, 0x1fffe); /* all sixteen */
    CHECK_EQ(shard("x", 1), 1);
}

static void tags_keep_names_together(void **state) {
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        char name[64];
        snprintf(name, sizeof name, "%u.{customer}.%u", i, i * 7);
        CHECK_EQ(shard(name, 16), shard("{customer}", 16));
        CHECK_EQ(shard(name, 16), shard("customer", 16));
    }
    /* Without a closing brace, or with nothing in between, all of the name counts. */
    bool differ = false;
    for (char letter = 'a'; letter <= 'z'; letter++) {
        char name[8] = {letter, '{', '}', '\0'};
        differ = differ || shard(name, 16) != shard("a{}", 16);
    }
    CHECK(differ);
    CHECK(shard("{", 16) >= 1);
    CHECK(shard("}", 16) >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(words_stars_and_hashes_match),
        TEST(random_ones_match_as_defined),
        TEST(long_ones_end_soon),
        TEST(patterns_are_checked),
        TEST(names_are_checked),
        TEST(dead_letters_lie_beside_their_origin),
        TEST(tags_keep_names_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
