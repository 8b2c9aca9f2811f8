/* CRC32C: see crc.h. */
#include "sdk/core/base/crc.h"

#include "sdk/core/base/macros.h"

#include <isa-l/crc.h>

uint32_t cairn_crc32c(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *b = p;

    /* ISA-L leaves both inversions to us and takes an int; the buffer is not written to despite its prototype. */
    crc = ~crc;
    while (n > 0) {
        size_t step = MIN(n, (size_t)1 << 30);

        crc = crc32_iscsi((unsigned char *)(uintptr_t)b, (int)step, crc);
        b += step;
        n -= step;
    }
    return ~crc;
}
