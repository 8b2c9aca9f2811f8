/* CRC32C: see crc.h. */
#include "sdk/core/base/crc.h"

#include "proto/frame/crc32c.h"

uint32_t cairn_crc32c(uint32_t crc, const void *p, size_t n)
{
    return ~cairn_crc32c_step(~crc, p, n);
}
