/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli; RFC 3720 appendix B.4), in hardware where the processor has it. */
#ifndef MOMI_BASE_CRC_H
#define MOMI_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Continue with the value of the bytes before; start with 0. */
uint32_t momi_crc32c(uint32_t crc, const void *data, size_t size);
/* The same without the instruction; momi_crc32c chooses. */
uint32_t momi_crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
