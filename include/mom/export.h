/* SPDX-License-Identifier: Apache-2.0 */
/** @file export.h  Visibility of the public functions. */
#ifndef MOM_EXPORT_H
#define MOM_EXPORT_H

#if defined(__GNUC__)
#define MOM_API __attribute__((visibility("default")))
#else
#define MOM_API
#endif

#endif
