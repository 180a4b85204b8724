/* SPDX-License-Identifier: Apache-2.0 */
/* A kept log as text: one line for each record, beginning with the moment before it. */
#ifndef MOM_TESTS_POWER_SHOW_H
#define MOM_TESTS_POWER_SHOW_H

/* Exit status. */
int show_log(const char *path);

#endif
