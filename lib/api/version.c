/* SPDX-License-Identifier: Apache-2.0 */
/* The version of the library. */
#include <mom/version.h>

const char *mom_version(void) { return MOM_VERSION_STRING; }
