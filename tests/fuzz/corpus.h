/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of make_corpus: each writes the first inputs of some targets. */
#ifndef MOM_TESTS_FUZZ_CORPUS_H
#define MOM_TESTS_FUZZ_CORPUS_H

#include "base/buf.h"

/* FOLDER/TARGET/NAME-NUMBER: `letter`, unless it is 0, and the bytes. */
void corpus_write(const char *target, const char *name, unsigned number, char letter,
                  struct momi_slice bytes);

void corpus_make_records(void); /* make_records.c: stored, snapshots */
void corpus_make_texts(void);   /* make_texts.c: names */
void corpus_make_calls(void);   /* make_calls.c: calls */

#endif
