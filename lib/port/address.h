/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of nodes: `tcp://host:port` and `ipc:///path`. Checked here before the
 * network library sees them, so that an error says what is wrong with the text. Pure
 * text; thread: any.
 */
#ifndef MOMI_PORT_ADDRESS_H
#define MOMI_PORT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum {
    MOMI_ADDRESS_BYTES_MAX = 256, /* with the final zero */
};

enum momi_address_use {
    MOMI_ADDRESS_LISTEN, /* the port may be 0: from the kernel */
    MOMI_ADDRESS_DIAL,
};

/* MOM_OK, or MOM_INVALID with the reason as text. NULL is invalid. */
int momi_address_check(const char *address, enum momi_address_use use);

bool momi_address_is_tcp(const char *address);

/* Writes the checked `address`, a tcp one with its port replaced by `port`. MOM_OK,
 * MOM_INVALID: no room. */
int momi_address_write_actual(const char *address, int port, char *actual,
                              size_t actual_size);

#endif
