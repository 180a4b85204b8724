/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest program on the public headers: built outside of the tree, against an
 * installed libmom. */
#include <mom/error.h>

#include <stdio.h>
#include <string.h>

int main(void) {
    printf("%s: %s\n", mom_err_name(MOM_NOT_FOUND), mom_strerror(MOM_NOT_FOUND));
    return strcmp(mom_err_name(MOM_NOT_FOUND), "NOT_FOUND") == 0 ? 0 : 1;
}
