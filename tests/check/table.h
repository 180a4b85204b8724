/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers by a pair of numbers: open addressing, linear probing. What is found is a
 * number from 1 on; 0: nothing is there. A zeroed struct is an empty table.
 */
#ifndef MOM_CHECK_TABLE_H
#define MOM_CHECK_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct check_slot {
    uint64_t a, b;
    uint64_t value; /* 0: free */
};
struct check_table {
    struct check_slot *slots; /* owned */
    size_t size, count;       /* a power of two, at most half full */
};
void check_table_free(struct check_table *table);
uint64_t check_table_find(const struct check_table *table, uint64_t a, uint64_t b);
/* Where the value of (a, b) is, 0 if it is new; valid until the next call that changes
 * the table. The caller sets it to what is not 0. */
uint64_t *check_table_put(struct check_table *table, uint64_t a, uint64_t b);
/* Takes it out and returns it. */
uint64_t check_table_take(struct check_table *table, uint64_t a, uint64_t b);

#endif
