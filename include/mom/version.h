/* SPDX-License-Identifier: Apache-2.0 */
/** @file version.h  The version of these headers, and of the library that runs. */
#ifndef MOM_VERSION_H
#define MOM_VERSION_H

#include <mom/export.h>

#define MOM_VERSION_MAJOR  0
#define MOM_VERSION_MINOR  1
#define MOM_VERSION_PATCH  0
#define MOM_VERSION_STRING "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the library that is loaded, "0.1.0". Before 1.0 anything may change.
 * *Thread:* any. The string is static. */
MOM_API const char *mom_version(void);

#ifdef __cplusplus
}
#endif
#endif
