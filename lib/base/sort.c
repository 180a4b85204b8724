/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sort.h"

#include <stdint.h>
#include <string.h>

static void swap(uint8_t *a, uint8_t *b, size_t size) {
    uint8_t kept[64];
    while (size > 0) {
        size_t part = size < sizeof kept ? size : sizeof kept;
        memcpy(kept, a, part);
        memcpy(a, b, part);
        memcpy(b, kept, part);
        a += part;
        b += part;
        size -= part;
    }
}

/* Restores the heap below `at`, whose children are heaps. */
static void sift(uint8_t *elements, size_t at, size_t count, size_t size,
                 momi_compare_fn compare) {
    while (2 * at + 1 < count) {
        size_t child = 2 * at + 1;
        if (child + 1 < count &&
            compare(elements + child * size, elements + (child + 1) * size) < 0) {
            child++;
        }
        if (compare(elements + at * size, elements + child * size) >= 0) {
            return;
        }
        swap(elements + at * size, elements + child * size, size);
        at = child;
    }
}

void momi_sort(void *elements, size_t count, size_t size, momi_compare_fn compare) {
    uint8_t *bytes = elements;
    for (size_t at = count / 2; at > 0; at--) {
        sift(bytes, at - 1, count, size, compare);
    }
    for (size_t last = count; last > 1; last--) {
        swap(bytes, bytes + (last - 1) * size, size);
        sift(bytes, 0, last - 1, size, compare);
    }
}
