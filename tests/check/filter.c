/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters as the documentation describes them: words between dots, `*` for exactly one
 * word, `#` for any number of them. Written anew on purpose; not the code under test.
 */
#include "check/ledger.h"

#include <string.h>

static const char *word_end(const char *word) {
    const char *dot = strchr(word, '.');
    return dot == NULL ? word + strlen(word) : dot;
}

/* The word behind the one that ends here; NULL: there is none. */
static const char *word_after(const char *end) { return *end == '.' ? end + 1 : NULL; }

static bool is_same_word(const char *filter, const char *key) {
    size_t size = (size_t)(word_end(filter) - filter);
    return (size == 1 && *filter == '*') ||
           (size == (size_t)(word_end(key) - key) && memcmp(filter, key, size) == 0);
}

bool check_filter_matches(const char *filter, const char *key) {
    const char *f = filter;
    const char *k = *key == 0 ? NULL : key;
    const char *retry_f =
        NULL; /* behind the last `#`, and the key that it was tried at */
    const char *retry_k = NULL;
    while (f != NULL || k != NULL) {
        if (f != NULL && *f == '#' && word_end(f) == f + 1) {
            f = word_after(f + 1);
            if (f == NULL) {
                return true;
            }
            retry_f = f;
            retry_k = k;
        } else if (f != NULL && k != NULL && is_same_word(f, k)) {
            f = word_after(word_end(f));
            k = word_after(word_end(k));
        } else if (retry_k != NULL) {
            f = retry_f;
            retry_k = word_after(word_end(retry_k));
            k = retry_k;
        } else {
            return false;
        }
    }
    return true;
}
