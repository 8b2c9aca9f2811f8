/** What stands in the KV provider under a key of a hashed namespace. Pure; input is hostile (it comes from storage).
 *
 *  embedded    0 version 1   1 type 1   2 durability   3 zero   4 the value
 *  extents     0 version 1   1 type 2   2 durability   3 zero   4 CRC32C of all other bytes (4)   8 length of the value
 * (8) 16 number of regions (4)   20 regions in order: id (8), length (4)
 *
 * Numbers are little-endian. 4096 regions make 48 KiB. */
#ifndef CAIRN_SERVER_ROUTER_HASHED_RECORD_H
#define CAIRN_SERVER_ROUTER_HASHED_RECORD_H

#include <stddef.h>
#include <stdint.h>

enum {
    CAIRN_RECORD_VERSION = 1,
    CAIRN_RECORD_EMBEDDED = 1,
    CAIRN_RECORD_EXTENTS = 2,
    CAIRN_RECORD_HEAD_BYTES = 4,
    CAIRN_RECORD_EXTENTS_HEAD_BYTES = 20,
    CAIRN_RECORD_REGION_BYTES = 12,
};

struct cairn_record_region {
    uint64_t id;
    uint32_t len;
};

/** A record that was looked at; points into its bytes. */
struct cairn_record {
    uint8_t type, durability;
    uint64_t length;      /* of the value */
    const uint8_t *value; /* embedded */
    uint32_t nregions;    /* extents */
    const uint8_t *regions;
};

/** Returns 0, CAIRN_E_CORRUPT, or CAIRN_E_FORMAT for a version or type that is not known. */
int cairn_record_parse(const uint8_t *p, size_t len, struct cairn_record *r);
struct cairn_record_region cairn_record_region(const struct cairn_record *r, uint32_t i);

/** Writes the head of an embedded value's record. */
void cairn_record_put_head(uint8_t *to, uint32_t durability);
static inline size_t cairn_record_extents_bytes(uint32_t n)
{
    return CAIRN_RECORD_EXTENTS_HEAD_BYTES + (size_t)n * CAIRN_RECORD_REGION_BYTES;
}
/** Writes the record of a value in @n regions; @to has room for cairn_record_extents_bytes(). */
void cairn_record_put_extents(uint8_t *to, uint32_t durability, const struct cairn_record_region *regions, uint32_t n);

#endif
