/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of nodes, as text. See the header. */
#include "port/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_DIGITS_MAX = 5, PORT_MAX = 65535 };

static bool begins_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

static int check_tcp(const char *address, enum momi_address_use use) {
    const char *host = address + strlen("tcp://");
    const char *colon = strrchr(host, ':');
    if (colon == NULL || colon == host || strpbrk(host, "/ \t\r\n?#@") != NULL) {
        return momi_err(MOM_INVALID, "'%s' is not tcp://host:port", address);
    }
    size_t digits = strspn(colon + 1, "0123456789");
    bool is_number = digits > 0 && digits <= PORT_DIGITS_MAX && colon[1 + digits] == '\0';
    long port = is_number ? strtol(colon + 1, NULL, 10) : -1;
    long least = use == MOMI_ADDRESS_LISTEN ? 0 : 1;
    if (port < least || port > PORT_MAX) {
        return momi_err(MOM_INVALID, "'%s' has no port between %ld and %d", address,
                        least, PORT_MAX);
    }
    return MOM_OK;
}

int momi_address_check(const char *address, enum momi_address_use use) {
    if (address == NULL) {
        return momi_err(MOM_INVALID, "no address");
    }
    if (strnlen(address, MOMI_ADDRESS_BYTES_MAX) == MOMI_ADDRESS_BYTES_MAX) {
        return momi_err(MOM_INVALID, "an address over %d bytes",
                        MOMI_ADDRESS_BYTES_MAX - 1);
    }
    if (begins_with(address, "tcp://")) {
        return check_tcp(address, use);
    }
    if (begins_with(address, "ipc:///")) {
        return address[strlen("ipc:///")] != '\0'
                   ? MOM_OK
                   : momi_err(MOM_INVALID, "'%s' names no file", address);
    }
    if (begins_with(address, "tls+tcp://")) {
        return momi_err(MOM_INVALID, "'%s': TLS is not supported yet", address);
    }
    return momi_err(MOM_INVALID, "'%s' is neither tcp://host:port nor ipc:///path",
                    address);
}

bool momi_address_is_tcp(const char *address) { return begins_with(address, "tcp://"); }

int momi_address_write_actual(const char *address, int port, char *actual,
                              size_t actual_size) {
    int length;
    if (momi_address_is_tcp(address)) {
        int host_length = (int)(strrchr(address, ':') - address);
        length = snprintf(actual, actual_size, "%.*s:%d", host_length, address, port);
    } else {
        length = snprintf(actual, actual_size, "%s", address);
    }
    if (length < 0 || (size_t)length >= actual_size) {
        return momi_err(MOM_INVALID, "no room for the actual address of %s", address);
    }
    return MOM_OK;
}
