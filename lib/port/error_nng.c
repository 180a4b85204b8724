/* SPDX-License-Identifier: Apache-2.0 */
/* The result class of an error of nng. What is not listed is trouble of the network. */
#include "port/error_nng.h"

#include <nng/nng.h>

int momi_nng_class(int nng_error) {
    switch (nng_error) {
    case 0:
        return MOM_OK;
    case NNG_ENOMEM:
        return MOM_NO_MEMORY;
    case NNG_EADDRINUSE:
        return MOM_CONFLICT;
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
    case NNG_ENOTSUP:
        return MOM_INVALID;
    case NNG_EPERM:
        return MOM_FORBIDDEN;
    case NNG_ENOFILES:
        return MOM_FULL;
    case NNG_ECLOSED:
        return MOM_CLOSED;
    case NNG_ETIMEDOUT:
        return MOM_TIMEOUT;
    case NNG_EMSGSIZE:
        return MOM_TOO_BIG;
    default:
        return MOM_UNAVAILABLE;
    }
}
