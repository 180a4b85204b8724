/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sorting in place, without recursion and without allocation: heapsort (Williams,
 * "Algorithm 232", 1964). O(n log n) in every case. Not stable.
 */
#ifndef MOMI_BASE_SORT_H
#define MOMI_BASE_SORT_H

#include <stddef.h>

/* <0, 0, >0 as `left` belongs before, beside or behind `right`. */
typedef int (*momi_compare_fn)(const void *left, const void *right);

void momi_sort(void *elements, size_t count, size_t size, momi_compare_fn compare);

#endif
