/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C, reflected, polynomial 0x1EDC6F41: by the instruction of SSE4.2 where there is
 * one, otherwise by tables, eight bytes a step ("slicing-by-8": Kounavis and Berry, "A
 * Systematic Approach to Building High Performance, Software-based, CRC Generators",
 * 2005).
 *
 * A table entry is linear in its byte, so each of the eight tables follows from the
 * entries of the eight single bits; the compiler works the rest out.
 */
#include "base/crc.h"

#include "base/pack.h"

#define CRC_BIT(b, i, e) (((b) >> (i)&1u) != 0 ? (e) : 0u)
#define CRC_1(b, e0, e1, e2, e3, e4, e5, e6, e7)                                         \
    CRC_BIT(b, 0, e0) ^ CRC_BIT(b, 1, e1) ^ CRC_BIT(b, 2, e2) ^ CRC_BIT(b, 3, e3) ^      \
        CRC_BIT(b, 4, e4) ^ CRC_BIT(b, 5, e5) ^ CRC_BIT(b, 6, e6) ^ CRC_BIT(b, 7, e7)
#define CRC_4(b, ...)                                                                    \
    CRC_1(b, __VA_ARGS__), CRC_1((b) + 1u, __VA_ARGS__), CRC_1((b) + 2u, __VA_ARGS__),   \
        CRC_1((b) + 3u, __VA_ARGS__)
#define CRC_16(b, ...)                                                                   \
    CRC_4(b, __VA_ARGS__), CRC_4((b) + 4u, __VA_ARGS__), CRC_4((b) + 8u, __VA_ARGS__),   \
        CRC_4((b) + 12u, __VA_ARGS__)
#define CRC_64(b, ...)                                                                   \
    CRC_16(b, __VA_ARGS__), CRC_16((b) + 16u, __VA_ARGS__),                              \
        CRC_16((b) + 32u, __VA_ARGS__), CRC_16((b) + 48u, __VA_ARGS__)
#define CRC_TABLE(...)                                                                   \
    CRC_64(0u, __VA_ARGS__), CRC_64(64u, __VA_ARGS__), CRC_64(128u, __VA_ARGS__),        \
        CRC_64(192u, __VA_ARGS__)

/* Table k: what a byte contributes when k more bytes follow it in the step. */
static const uint32_t tables[8][256] = {
    {CRC_TABLE(0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu, 0x105ec76fu,
               0x20bd8edeu, 0x417b1dbcu, 0x82f63b78u)},
    {CRC_TABLE(0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u, 0x3fc5f181u,
               0x7f8be302u, 0xff17c604u, 0xfbc3faf9u)},
    {CRC_TABLE(0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u, 0x70a27d8au,
               0xe144fb14u, 0xc76580d9u, 0x8b277743u)},
    {CRC_TABLE(0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u, 0xe964b13du,
               0xd725148bu, 0xaba65fe7u, 0x52a0c93fu)},
    {CRC_TABLE(0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u, 0x8f2261d3u,
               0x1ba8b557u, 0x37516aaeu, 0x6ea2d55cu)},
    {CRC_TABLE(0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu, 0xc00c303eu,
               0x85f4168du, 0x0e045bebu, 0x1c08b7d6u)},
    {CRC_TABLE(0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u, 0x9c5bfaa6u,
               0x3d5b83bdu, 0x7ab7077au, 0xf56e0ef4u)},
    {CRC_TABLE(0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau, 0x847609b4u,
               0x0d006599u, 0x1a00cb32u, 0x34019664u)},
};

static uint32_t crc_by_table(uint32_t crc, const uint8_t *at, size_t size) {
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word = momi_load_le64(at) ^ crc;
        crc = 0;
        for (unsigned index = 0; index < 8; index++) {
            crc ^= tables[7 - index][(word >> (8 * index)) & 0xff];
        }
    }
    for (; size > 0; at++, size--) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *at) & 0xff];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc_by_instruction(uint32_t crc, const uint8_t *at, size_t size) {
    uint64_t wide = crc;
    for (; size >= 8; at += 8, size -= 8) {
        wide = __builtin_ia32_crc32di(wide, momi_load_le64(at));
    }
    crc = (uint32_t)wide;
    for (; size > 0; at++, size--) {
        crc = __builtin_ia32_crc32qi(crc, *at);
    }
    return crc;
}
#endif

uint32_t momi_crc32c_portable(uint32_t crc, const void *data, size_t size) {
    return ~crc_by_table(~crc, data, size);
}

uint32_t momi_crc32c(uint32_t crc, const void *data, size_t size) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_by_instruction(~crc, data, size);
    }
#endif
    return momi_crc32c_portable(crc, data, size);
}
