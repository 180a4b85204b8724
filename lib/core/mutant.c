/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of the deliberate bug, and the names of all of them; empty in other builds.
 */
#include "core/mutant.h"

#ifdef MOMI_MUTANTS

#include "base/assert.h"

int momi_mutant = MOMI_MUTANT_NONE;

const char *momi_mutant_name(int mutant) {
    static const char *const names[] = {"NONE",
#define MOMI_MUTANT_NAME(name, what) #name,
                                        MOMI_MUTANT_MAP(MOMI_MUTANT_NAME)
#undef MOMI_MUTANT_NAME
    };
    MOMI_ASSERT(mutant >= 0);
    MOMI_ASSERT(mutant < MOMI_MUTANTS_END);
    return names[mutant];
}

const char *momi_mutant_what(int mutant) {
    static const char *const texts[] = {"no bug",
#define MOMI_MUTANT_WHAT(name, what) what,
                                        MOMI_MUTANT_MAP(MOMI_MUTANT_WHAT)
#undef MOMI_MUTANT_WHAT
    };
    MOMI_ASSERT(mutant >= 0);
    MOMI_ASSERT(mutant < MOMI_MUTANTS_END);
    return texts[mutant];
}

#endif
