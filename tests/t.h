/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every test includes first: cmocka with the headers that it needs before itself,
 * and checks that read like the thing they check.
 */
#ifndef MOM_TESTS_T_H
#define MOM_TESTS_T_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) assert_true(condition)
/* Two numbers, shown as such when they differ. */
#define CHECK_EQ(actual, expected)                                                       \
    assert_int_equal((uintmax_t)(actual), (uintmax_t)(expected))
/* A call that must succeed, and one that must give this class. */
#define CHECK_OK(call)              assert_int_equal((call), 0)
#define CHECK_ERR(call, error)      assert_int_equal((call), (error))
#define CHECK_STR(actual, expected) assert_string_equal((actual), (expected))
#define CHECK_BYTES(actual, expected, size)                                              \
    assert_memory_equal((actual), (expected), (size))

#define TEST(name) cmocka_unit_test(name)

#endif
