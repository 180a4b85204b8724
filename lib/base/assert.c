/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a process whose own state is wrong. The hook is process-wide and set at
 * start-up; without one a line goes to standard error, as with assert() of the C library.
 */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

static momi_panic_fn panic_hook;
static void *panic_user;

void momi_panic_set_hook(momi_panic_fn hook, void *user) {
    panic_hook = hook;
    panic_user = user;
}

_Noreturn void momi_panic(const char *file, int line, const char *what) {
    if (panic_hook != NULL) {
        panic_hook(file, line, what, panic_user);
    } else {
        fprintf(stderr, "libmom: %s:%d: broken invariant: %s\n", file, line, what);
    }
    abort();
}
