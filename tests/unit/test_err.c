/* SPDX-License-Identifier: Apache-2.0 */
/* Result classes and the text of the last error. */
#include "t.h"

#include "base/assert.h"
#include "base/err.h"

#include <pthread.h>

static void every_class_has_name_text_and_advice(void **state) {
    (void)state;
    unsigned classes = 0;
#define CHECK_CLASS(name, number, text, advice)                                          \
    CHECK_EQ(MOM_##name, -(number));                                                     \
    CHECK_STR(mom_err_name(MOM_##name), #name);                                          \
    CHECK_STR(mom_strerror(MOM_##name), text);                                           \
    CHECK_STR(mom_err_advice(MOM_##name), advice);                                       \
    CHECK(strlen(text) > 0);                                                             \
    CHECK(strlen(advice) > 0);                                                           \
    classes++;
    MOM_ERROR_MAP(CHECK_CLASS)
#undef CHECK_CLASS
    CHECK_EQ(classes, 18);
    CHECK_STR(mom_err_name(0), "OK");
    CHECK_STR(mom_err_name(4), "UNKNOWN");
    CHECK_STR(mom_err_name(-1), "UNKNOWN");
    CHECK_STR(mom_err_name(-1000), "UNKNOWN");
    CHECK(strlen(mom_strerror(-1000)) > 0);
    CHECK(strlen(mom_err_advice(-1000)) > 0);
}

static void the_text_is_formatted_and_bounded(void **state) {
    (void)state;
    momi_err_clear();
    CHECK_STR(mom_last_error_text(), "");
    CHECK_EQ(momi_err(MOM_FULL, "queue %s: %d of %d", "jobs", 3, 3), MOM_FULL);
    CHECK_STR(mom_last_error_text(), "queue jobs: 3 of 3");
    /* The old text as an argument of the new one. */
    CHECK_EQ(momi_err(MOM_IO, "cannot send: %s", mom_last_error_text()), MOM_IO);
    CHECK_STR(mom_last_error_text(), "cannot send: queue jobs: 3 of 3");
    static char longest[5000];
    memset(longest, 'x', sizeof longest - 1);
    CHECK_EQ(momi_err(MOM_INVALID, "%s", longest), MOM_INVALID);
    CHECK(strlen(mom_last_error_text()) > 100);
    CHECK(strlen(mom_last_error_text()) < 5000);
    momi_err_clear();
    CHECK_STR(mom_last_error_text(), "");
}

static void *text_elsewhere(void *user) {
    char *seen = user;
    seen[0] = mom_last_error_text()[0];
    momi_err(MOM_IO, "elsewhere");
    return NULL;
}

static void each_thread_has_its_own_text(void **state) {
    (void)state;
    char seen[1] = {'?'};
    momi_err(MOM_IO, "here");
    pthread_t thread;
    CHECK_OK(pthread_create(&thread, NULL, text_elsewhere, seen));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(seen[0], '\0');
    CHECK_STR(mom_last_error_text(), "here");
}

static jmp_buf after_panic;
static char panic_text[100];
static void catch_panic(const char *file, int line, const char *what, void *user) {
    snprintf(panic_text, sizeof panic_text, "%s %d %s", strrchr(file, '/') + 1, line > 0,
             what);
    *(int *)user += 1;
    longjmp(after_panic, 1);
}

static void a_broken_assertion_calls_the_hook(void **state) {
    (void)state;
    static int calls;
    static int value;
    calls = 0;
    value = 2;
    momi_panic_set_hook(catch_panic, &calls);
    MOMI_ASSERT(value == 2);
    CHECK_EQ(calls, 0);
    if (setjmp(after_panic) == 0) {
        MOMI_ASSERT(value == 3);
    }
    momi_panic_set_hook(NULL, NULL);
    CHECK_EQ(calls, 1);
    CHECK_STR(panic_text, "test_err.c 1 value == 3");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_class_has_name_text_and_advice),
        TEST(the_text_is_formatted_and_bounded),
        TEST(each_thread_has_its_own_text),
        TEST(a_broken_assertion_calls_the_hook),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
