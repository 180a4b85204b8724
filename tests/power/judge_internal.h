/* SPDX-License-Identifier: Apache-2.0 */
/* What the checks in the child share: how to say what is wrong. */
#ifndef MOM_TESTS_POWER_JUDGE_INTERNAL_H
#define MOM_TESTS_POWER_JUDGE_INTERNAL_H

#include "power/judge.h"

/* Ends the child with this verdict. */
__attribute__((format(printf, 2, 3))) _Noreturn void judge_wrong(struct judge *judge,
                                                                 const char *format, ...);
const char *judge_error_text(int error); /* of the last call; valid until the next */
const struct facts *judge_facts(const struct judge *judge);

void aside_check(struct judge *judge, const char *root);

#endif
