/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive, doubly linked, circular list. The link sits in the element and is named
 * after its list
 * (`ready_link`); the head's comment says which type and link it threads. No allocation,
 * O(1) throughout.
 */
#ifndef MOMI_BASE_LIST_H
#define MOMI_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct momi_list {
    struct momi_list *next;
    struct momi_list *prev;
};

#define MOMI_CONTAINER_OF(pointer, type, member)                                         \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define MOMI_LIST_FOR_EACH(link, head)                                                   \
    for (struct momi_list *link = (head)->next; link != (head); link = link->next)
/* The current element may be removed in the body. */
#define MOMI_LIST_FOR_EACH_SAFE(link, after, head)                                       \
    for (struct momi_list *link = (head)->next, *after = link->next; link != (head);     \
         link = after, after = link->next)

static inline void momi_list_init(struct momi_list *head) {
    head->next = head->prev = head;
}
static inline bool momi_list_empty(const struct momi_list *head) {
    return head->next == head;
}
/* A link that momi_list_init or momi_list_remove has touched last is in no list. */
static inline bool momi_list_linked(const struct momi_list *link) {
    return link->next != link;
}
static inline void momi_list_insert_before(struct momi_list *at, struct momi_list *link) {
    link->next = at;
    link->prev = at->prev;
    at->prev->next = link;
    at->prev = link;
}
static inline void momi_list_push_back(struct momi_list *head, struct momi_list *link) {
    momi_list_insert_before(head, link);
}
static inline void momi_list_push_front(struct momi_list *head, struct momi_list *link) {
    momi_list_insert_before(head->next, link);
}
static inline void momi_list_remove(struct momi_list *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    momi_list_init(link);
}

#endif
