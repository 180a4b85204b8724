/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of plain numbers. Taking out closes the gap, so that there are no
 * tombstones and a table of open calls stays as small as they are few.
 */
#include "check/table.h"

#include "check/memory.h"

static size_t hash_of(uint64_t a, uint64_t b) {
    uint64_t hash = (a ^ (b << 32 | b >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ b ^ (hash >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    return (size_t)(hash ^ (hash >> 32));
}

static struct check_slot *slot_of(const struct check_table *table, uint64_t a,
                                  uint64_t b) {
    size_t mask = table->size - 1;
    size_t at = hash_of(a, b) & mask;
    while (table->slots[at].value != 0 &&
           (table->slots[at].a != a || table->slots[at].b != b)) {
        at = (at + 1) & mask;
    }
    return &table->slots[at];
}

void check_table_free(struct check_table *table) {
    check_free(table->slots);
    *table = (struct check_table){.slots = NULL};
}

uint64_t check_table_find(const struct check_table *table, uint64_t a, uint64_t b) {
    return table->size == 0 ? 0 : slot_of(table, a, b)->value;
}

static void grow(struct check_table *table) {
    struct check_table old = *table;
    table->size = old.size == 0 ? 64 : old.size * 2;
    table->slots = check_calloc(table->size, sizeof *table->slots);
    for (size_t i = 0; i < old.size; i++) {
        if (old.slots[i].value != 0) {
            *slot_of(table, old.slots[i].a, old.slots[i].b) = old.slots[i];
        }
    }
    check_free(old.slots);
}

uint64_t *check_table_put(struct check_table *table, uint64_t a, uint64_t b) {
    if ((table->count + 1) * 2 > table->size) {
        grow(table);
    }
    struct check_slot *slot = slot_of(table, a, b);
    if (slot->value == 0) {
        table->count++;
        slot->a = a;
        slot->b = b;
    }
    return &slot->value;
}

uint64_t check_table_take(struct check_table *table, uint64_t a, uint64_t b) {
    struct check_slot *gap = table->size == 0 ? NULL : slot_of(table, a, b);
    if (gap == NULL || gap->value == 0) {
        return 0;
    }
    uint64_t value = gap->value;
    size_t mask = table->size - 1;
    size_t empty = (size_t)(gap - table->slots);
    for (size_t at = (empty + 1) & mask; table->slots[at].value != 0;
         at = (at + 1) & mask) {
        size_t home = hash_of(table->slots[at].a, table->slots[at].b) & mask;
        if (((at - home) & mask) >= ((at - empty) & mask)) {
            table->slots[empty] = table->slots[at];
            empty = at;
        }
    }
    table->slots[empty].value = 0;
    table->count--;
    return value;
}
