/* Checksums of chunks: see check.h. */
#include "sdk/client/check.h"

#include "cairn/limits.h"
#include "sdk/core/base/crc.h"
#include "sdk/core/base/macros.h"

uint64_t cairn_check_parts(uint64_t off, uint64_t len)
{
    if (len == 0)
        return 0;
    return (off + len - 1) / CAIRN_EXTENT_CHUNK_BYTES - off / CAIRN_EXTENT_CHUNK_BYTES + 1;
}

void cairn_check_compute(const void *p, uint64_t len, uint32_t *crcs)
{
    const uint8_t *at = p;

    while (len > 0) {
        uint64_t n = MIN(len, (uint64_t)CAIRN_EXTENT_CHUNK_BYTES);

        *crcs++ = cairn_crc32c(0, at, n);
        at += n;
        len -= n;
    }
}

void cairn_check_start(struct cairn_check *k, const void *p, uint64_t off, uint64_t len, const uint32_t *crcs)
{
    *k = (struct cairn_check){ .p = p, .crcs = crcs, .off = off, .len = len };
}

enum cairn_check_result cairn_check_step(struct cairn_check *k)
{
    uint64_t done = 0;

    while (k->len > 0 && done < CAIRN_CHECK_SLICE_BYTES) {
        uint64_t n = MIN(k->len, CAIRN_EXTENT_CHUNK_BYTES - k->off % CAIRN_EXTENT_CHUNK_BYTES);

        if (cairn_crc32c(0, k->p, n) != *k->crcs)
            return CAIRN_CHECK_BAD;
        k->crcs++;
        k->p += n;
        k->off += n;
        k->len -= n;
        done += n;
    }
    return k->len == 0 ? CAIRN_CHECK_GOOD : CAIRN_CHECK_MORE;
}
