/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assertions about our own state; never about data of a peer, a disk or the user, and
 * never about memory. MOMI_ASSERT is O(1) and always on. MOMI_CHECK may cost O(n) and is
 * on in debug builds and the simulator. A broken one calls the panic hook (an embedding
 * host gets a last word), then abort.
 */
#ifndef MOMI_BASE_ASSERT_H
#define MOMI_BASE_ASSERT_H

typedef void (*momi_panic_fn)(const char *file, int line, const char *what, void *user);
void momi_panic_set_hook(momi_panic_fn hook, void *user);
_Noreturn void momi_panic(const char *file, int line, const char *what);

#define MOMI_ASSERT(condition)                                                           \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            momi_panic(__FILE__, __LINE__, #condition);                                  \
        }                                                                                \
    } while (0)

#ifdef MOMI_CHECKS
#define MOMI_CHECK(condition) MOMI_ASSERT(condition)
#else
#define MOMI_CHECK(condition) ((void)0)
#endif

#endif
