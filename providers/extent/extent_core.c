/* Decisions only: see extent_core.h. */
#include "providers/extent/extent_core.h"

#include "sdk/core/base/crc.h"

enum { CHUNK = CAIRN_EXTENT_CHUNK_BYTES };

bool cairn_extent_clip(uint64_t length, uint64_t off, uint64_t *len)
{
    if (off > length)
        return false;
    if (*len == 0 || *len > length - off)
        *len = length - off;
    return true;
}

void cairn_extent_widen(uint64_t length, uint64_t *off, uint64_t *len)
{
    uint64_t end = MIN(cairn_round_up(*off + *len, CHUNK), length);

    *off -= *off % CHUNK;
    *len = end - *off;
}

void cairn_extent_check_init(struct cairn_extent_check *c, const uint32_t *want, uint64_t len)
{
    *c = (struct cairn_extent_check){ .want = want, .len = len };
}

void cairn_extent_check_feed(struct cairn_extent_check *c, const uint8_t *p, uint64_t n)
{
    CAIRN_ASSERT(n <= c->len - c->at);
    while (n > 0) {
        uint64_t chunk = c->at / CHUNK, end = MIN((chunk + 1) * CHUNK, c->len);
        uint64_t now = MIN(n, end - c->at);

        c->crc = cairn_crc32c(c->crc, p, now);
        c->at += now;
        p += now;
        n -= now;
        if (c->at == end) {
            if (c->crc != c->want[chunk] && !c->bad) {
                c->bad = true;
                c->bad_at = chunk * CHUNK;
            }
            c->crc = 0;
        }
    }
}

bool cairn_extent_check_is_good(const struct cairn_extent_check *c)
{
    return c->at == c->len && !c->bad;
}

void cairn_extent_crcs(const uint8_t *p, uint64_t len, uint32_t *crcs)
{
    for (uint64_t at = 0; at < len; at += CHUNK)
        crcs[at / CHUNK] = cairn_crc32c(0, p + at, MIN(len - at, (uint64_t)CHUNK));
}

int64_t cairn_extent_first_bad(const uint8_t *p, uint64_t len, const uint32_t *crcs)
{
    for (uint64_t at = 0; at < len; at += CHUNK) {
        if (crcs[at / CHUNK] != cairn_crc32c(0, p + at, MIN(len - at, (uint64_t)CHUNK)))
            return (int64_t)(at / CHUNK);
    }
    return -1;
}

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014): every step can be undone, so it is a permutation. */
uint64_t cairn_extent_name(uint64_t salt, uint64_t counter)
{
    uint64_t x = counter ^ salt;

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}
