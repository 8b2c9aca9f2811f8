/* Records of a hashed namespace: see record.h. */
#include "server/cluster/service/record.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/err.h"
#include "sdk/core/base/le.h"
#include "sdk/core/base/macros.h"

#include <string.h>

static uint32_t extents_crc(const uint8_t *p, size_t len)
{
    return cairn_crc32c(cairn_crc32c(0, p, 4), p + 8, len - 8);
}

struct cairn_record_region cairn_record_region(const struct cairn_record *r, uint32_t i)
{
    const uint8_t *p = r->regions + (size_t)i * CAIRN_RECORD_REGION_BYTES;

    return (struct cairn_record_region){ .id = cairn_le_load64(p), .len = cairn_le_load32(p + 8) };
}

static int extents_parse(const uint8_t *p, size_t len, struct cairn_record *r)
{
    uint64_t sum = 0;

    if (len < CAIRN_RECORD_EXTENTS_HEAD_BYTES || cairn_le_load32(p + 4) != extents_crc(p, len))
        return CAIRN_E_CORRUPT;
    r->length = cairn_le_load64(p + 8);
    r->nregions = cairn_le_load32(p + 16);
    r->regions = p + CAIRN_RECORD_EXTENTS_HEAD_BYTES;
    if (r->nregions == 0 || r->nregions > CAIRN_PARTS_MAX || len != cairn_record_extents_bytes(r->nregions) ||
        r->length > CAIRN_VALUE_BYTES_MAX)
        return CAIRN_E_CORRUPT;
    for (uint32_t i = 0; i < r->nregions; i++) {
        uint32_t region_len = cairn_record_region(r, i).len;

        if (region_len == 0)
            return CAIRN_E_CORRUPT;
        sum += region_len;
    }
    return sum == r->length ? 0 : CAIRN_E_CORRUPT;
}

int64_t cairn_record_embedded_length(uint64_t len)
{
    uint64_t n, rest = len - CAIRN_RECORD_HEAD_BYTES;

    if (len < CAIRN_RECORD_HEAD_BYTES || len > CAIRN_KV_VALUE_BYTES_MAX)
        return CAIRN_E_CORRUPT;
    n = (rest + CAIRN_EXTENT_CHUNK_BYTES + 3) / (CAIRN_EXTENT_CHUNK_BYTES + 4);
    if (rest < 4 * n || cairn_record_embedded_bytes(rest - 4 * n) != len)
        return CAIRN_E_CORRUPT;
    return (int64_t)(rest - 4 * n);
}

void cairn_record_crcs(const struct cairn_record *r, uint32_t *to)
{
    for (uint32_t i = 0; i < r->ncrcs; i++)
        to[i] = cairn_le_load32(r->value + r->length + 4 * (size_t)i);
}

/* Of chunk @i of a value. */
static uint32_t chunk_crc(const uint8_t *value, uint64_t length, uint64_t i)
{
    uint64_t at = i * CAIRN_EXTENT_CHUNK_BYTES;

    return cairn_crc32c(0, value + at, (size_t)MIN(length - at, (uint64_t)CAIRN_EXTENT_CHUNK_BYTES));
}

bool cairn_record_is_sound(const struct cairn_record *r, uint64_t off, uint64_t len)
{
    for (uint64_t i = off / CAIRN_EXTENT_CHUNK_BYTES; i < r->ncrcs && i * CAIRN_EXTENT_CHUNK_BYTES < off + len; i++) {
        if (chunk_crc(r->value, r->length, i) != cairn_le_load32(r->value + r->length + 4 * i))
            return false;
    }
    return true;
}

static int embedded_parse(const uint8_t *p, size_t len, struct cairn_record *r)
{
    int64_t length = cairn_record_embedded_length(len);

    if (length < 0)
        return (int)length;
    r->length = (uint64_t)length;
    r->value = p + CAIRN_RECORD_HEAD_BYTES;
    r->ncrcs = cairn_record_ncrcs(r->length);
    return 0;
}

int64_t cairn_record_peek(const uint8_t *p, size_t n, uint64_t len)
{
    struct cairn_record r;
    uint64_t length;
    int rc;

    if (n >= CAIRN_RECORD_HEAD_BYTES && p[0] == CAIRN_RECORD_VERSION && p[3] == 0) {
        if (p[1] == CAIRN_RECORD_EMBEDDED)
            return cairn_record_embedded_length(len);
        if (p[1] == CAIRN_RECORD_EXTENTS && n < len && n >= CAIRN_RECORD_EXTENTS_HEAD_BYTES) {
            length = cairn_le_load64(p + 8);
            return length <= CAIRN_VALUE_BYTES_MAX && len == cairn_record_extents_bytes(cairn_le_load32(p + 16))
                       ? (int64_t)length
                       : CAIRN_E_CORRUPT;
        }
    }
    rc = cairn_record_parse(p, n, &r);
    return rc != 0 ? rc : (int64_t)r.length;
}

int cairn_record_parse(const uint8_t *p, size_t len, struct cairn_record *r)
{
    *r = (struct cairn_record){ 0 };
    if (len < CAIRN_RECORD_HEAD_BYTES)
        return CAIRN_E_CORRUPT;
    if (p[0] != CAIRN_RECORD_VERSION)
        return CAIRN_E_FORMAT;
    if (p[3] != 0)
        return CAIRN_E_CORRUPT;
    r->type = p[1];
    r->durability = p[2];
    if (r->type == CAIRN_RECORD_EMBEDDED)
        return embedded_parse(p, len, r);
    return r->type == CAIRN_RECORD_EXTENTS ? extents_parse(p, len, r) : CAIRN_E_FORMAT;
}

static void put_head(uint8_t *to, uint8_t type, uint32_t durability)
{
    to[0] = CAIRN_RECORD_VERSION;
    to[1] = type;
    to[2] = (uint8_t)durability;
    to[3] = 0;
}

void cairn_record_put_embedded(uint8_t *to, uint32_t durability, uint64_t length, const uint32_t *crcs)
{
    const uint8_t *value = to + CAIRN_RECORD_HEAD_BYTES;

    put_head(to, CAIRN_RECORD_EMBEDDED, durability);
    for (uint32_t i = 0; i < cairn_record_ncrcs(length); i++)
        cairn_le_store32(to + CAIRN_RECORD_HEAD_BYTES + length + 4 * (size_t)i,
                         crcs != NULL ? crcs[i] : chunk_crc(value, length, i));
}

void cairn_record_put_extents(uint8_t *to, uint32_t durability, const struct cairn_record_region *regions, uint32_t n)
{
    uint8_t *at = to + CAIRN_RECORD_EXTENTS_HEAD_BYTES;
    uint64_t length = 0;

    for (uint32_t i = 0; i < n; i++) {
        cairn_le_store64(at, regions[i].id);
        cairn_le_store32(at + 8, regions[i].len);
        at += CAIRN_RECORD_REGION_BYTES;
        length += regions[i].len;
    }
    put_head(to, CAIRN_RECORD_EXTENTS, durability);
    cairn_le_store64(to + 8, length);
    cairn_le_store32(to + 16, n);
    cairn_le_store32(to + 4, extents_crc(to, cairn_record_extents_bytes(n)));
}
