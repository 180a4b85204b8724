/* SPDX-License-Identifier: Apache-2.0 */
/* What the judge asks the total queue in the middle of a run. */
#ifndef MOM_CHECK_TOTAL_QUEUE_H
#define MOM_CHECK_TOTAL_QUEUE_H

#include "check/ledger.h"

uint64_t check_total_queue_missing(const void *state, const struct check_ledger *ledger);

#endif
