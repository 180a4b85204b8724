/* SPDX-License-Identifier: Apache-2.0 */
/* The list is inline in its header; this file proves that the header stands alone. */
#include "base/list.h"

_Static_assert(sizeof(struct momi_list) == 2 * sizeof(void *), "a link is two pointers");
