/** CRC32C (Castagnoli) as it is computed in steps: the processor's instruction for a few bytes, ISA-L for many. */
#ifndef CAIRN_PROTO_CRC32C_H
#define CAIRN_PROTO_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** The state after @n more bytes. A checksum begins with the state ~0 and is the inverse of the state at its end. */
uint32_t cairn_crc32c_step(uint32_t state, const void *p, size_t n);

#endif
