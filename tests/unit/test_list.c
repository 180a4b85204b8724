/* SPDX-License-Identifier: Apache-2.0 */
/* The list against an array that is kept in the same order. */
#include "t.h"

#include "base/list.h"
#include "base/rng.h"

struct element {
    unsigned value;
    struct momi_list test_link; /* in `head` of the test */
};

static struct element *element_of(struct momi_list *link) {
    return MOMI_CONTAINER_OF(link, struct element, test_link);
}

static void a_new_list_is_empty(void **state) {
    (void)state;
    struct momi_list head;
    momi_list_init(&head);
    CHECK(momi_list_empty(&head));
    unsigned count = 0;
    MOMI_LIST_FOR_EACH (link, &head) {
        count++;
    }
    CHECK_EQ(count, 0);
}

static void elements_know_whether_they_are_linked(void **state) {
    (void)state;
    struct momi_list head;
    struct element one = {.value = 1};
    momi_list_init(&head);
    momi_list_init(&one.test_link);
    CHECK(!momi_list_linked(&one.test_link));
    momi_list_push_back(&head, &one.test_link);
    CHECK(momi_list_linked(&one.test_link));
    CHECK(!momi_list_empty(&head));
    CHECK(element_of(head.next) == &one);
    momi_list_remove(&one.test_link);
    CHECK(!momi_list_linked(&one.test_link));
    CHECK(momi_list_empty(&head));
    momi_list_remove(&one.test_link); /* in no list: nothing happens */
    CHECK(!momi_list_linked(&one.test_link));
}

static void random_work_keeps_the_order_of_a_model(void **state) {
    (void)state;
    enum { ELEMENTS = 30, STEPS = 20000 };
    struct element elements[ELEMENTS];
    unsigned model[ELEMENTS];
    size_t count = 0;
    struct momi_list head;
    struct momi_rng rng;
    momi_rng_seed(&rng, 4);
    momi_list_init(&head);
    for (unsigned index = 0; index < ELEMENTS; index++) {
        elements[index].value = index;
        momi_list_init(&elements[index].test_link);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned value = (unsigned)momi_rng_between(&rng, 0, ELEMENTS - 1);
        struct momi_list *link = &elements[value].test_link;
        size_t at = 0;
        if (momi_list_linked(link)) {
            while (model[at] != value) {
                at++;
            }
            memmove(model + at, model + at + 1, (count - at - 1) * sizeof *model);
            count--;
            momi_list_remove(link);
        } else {
            uint64_t where = momi_rng_between(&rng, 0, 2);
            at = where == 0 ? 0 : where == 1 ? count : momi_rng_between(&rng, 0, count);
            if (where == 0) {
                momi_list_push_front(&head, link);
            } else if (where == 1) {
                momi_list_push_back(&head, link);
            } else {
                momi_list_insert_before(
                    at == count ? &head : &elements[model[at]].test_link, link);
            }
            memmove(model + at + 1, model + at, (count - at) * sizeof *model);
            model[at] = value;
            count++;
        }
        size_t seen = 0;
        MOMI_LIST_FOR_EACH (each, &head) {
            CHECK(seen < count);
            CHECK_EQ(element_of(each)->value, model[seen]);
            CHECK(each->next->prev == each);
            seen++;
        }
        CHECK_EQ(seen, count);
    }
}

static void the_safe_walk_survives_removal(void **state) {
    (void)state;
    struct momi_list head;
    struct element elements[10];
    momi_list_init(&head);
    for (unsigned index = 0; index < 10; index++) {
        elements[index].value = index;
        momi_list_push_back(&head, &elements[index].test_link);
    }
    MOMI_LIST_FOR_EACH_SAFE (link, after, &head) {
        if (element_of(link)->value % 2 == 0) {
            momi_list_remove(link);
        }
    }
    unsigned expected = 1;
    MOMI_LIST_FOR_EACH (link, &head) {
        CHECK_EQ(element_of(link)->value, expected);
        expected += 2;
    }
    CHECK_EQ(expected, 11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_new_list_is_empty),
        TEST(elements_know_whether_they_are_linked),
        TEST(random_work_keeps_the_order_of_a_model),
        TEST(the_safe_walk_survives_removal),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
