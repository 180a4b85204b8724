/* SPDX-License-Identifier: Apache-2.0 */
/* The result class of an error of nng; for the files that use nng. */
#ifndef MOMI_PORT_ERROR_NNG_H
#define MOMI_PORT_ERROR_NNG_H

#include "base/err.h"

int momi_nng_class(int nng_error);

#endif
