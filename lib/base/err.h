/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors inside the library: the public result classes, and the thread-local text of the
 * last one.
 */
#ifndef MOMI_BASE_ERR_H
#define MOMI_BASE_ERR_H

#include <mom/error.h>

/* Sets the text of mom_last_error_text for this thread and returns `error`, so that one
 * can write `return momi_err(MOM_TOO_BIG, "body of %zu bytes, at most %zu", size,
 * limit);`. */
int momi_err(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
void momi_err_clear(void);

#endif
