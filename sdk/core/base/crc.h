/** CRC32C (Castagnoli): proto/frame/crc32c.h, with both inversions. */
#ifndef CAIRN_CORE_BASE_CRC_H
#define CAIRN_CORE_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/** The checksum of @n bytes that follow bytes with checksum @crc; 0 starts. */
uint32_t cairn_crc32c(uint32_t crc, const void *p, size_t n);

#endif
