/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failing calls on the files of one directory. The program's own functions stand before
 * those of libc, for RocksDB too. Armed and disarmed by one thread, met by any.
 */
#ifndef MOM_TESTS_DAMAGE_FAULT_H
#define MOM_TESTS_DAMAGE_FAULT_H

#include <stdbool.h>

enum fault_call { FAULT_WRITE, FAULT_SYNC, FAULT_CREATE, FAULT_RENAME, FAULT_CALLS };

/* The `at`-th call from now on fails with `error`; ENOSPC: so does every later one. */
void fault_arm(const char *dir, enum fault_call call, int error, unsigned long at);
void fault_disarm(void);
bool fault_has_struck(void);
/* A file whose sync had failed was synced again. */
bool fault_was_retried(void);

#endif
