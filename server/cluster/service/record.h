/** What stands in the KV provider under a key of a hashed namespace. Pure; input is hostile (it comes from storage).
 *
 *  offset  embedded                                    extents
 *  0       version 2                                   version 2
 *  1       type 1                                      type 2
 *  2       durability                                  durability
 *  3       zero                                        zero
 *  4       the value, behind it the CRC32C of each     CRC32C of all other bytes (4)
 *          chunk of it (4 each)
 *  8                                                   length of the value (8)
 *  16                                                  number of regions (4)
 *  20                                                  regions in order: id (8), length (4)
 *
 * Numbers are little-endian. 4096 regions make 48 KiB. The checksums of an embedded value are the writer's, and for the
 * reader to compare; whoever takes a part of it compares here. Chunks are those of extents. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_RECORD_H
#define CAIRN_SERVER_CLUSTER_SERVICE_RECORD_H

#include "cairn/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CAIRN_RECORD_VERSION = 2,
    CAIRN_RECORD_EMBEDDED = 1,
    CAIRN_RECORD_EXTENTS = 2,
    CAIRN_RECORD_HEAD_BYTES = 4,
    CAIRN_RECORD_EXTENTS_HEAD_BYTES = 20,
    CAIRN_RECORD_REGION_BYTES = 12,
    CAIRN_RECORD_PEEK_BYTES = 64, /* a value of three regions is seen whole */
    CAIRN_RECORD_CRCS_MAX = CAIRN_KV_VALUE_BYTES_MAX / CAIRN_EXTENT_CHUNK_BYTES,
    /* a value that is embedded */
    CAIRN_RECORD_EMBEDDED_BYTES_MAX = CAIRN_KV_VALUE_BYTES_MAX - CAIRN_RECORD_HEAD_BYTES - 4 * CAIRN_RECORD_CRCS_MAX,
};

struct cairn_record_region {
    uint64_t id;
    uint32_t len;
};

/* Regions of values carry this in the upper half of their owner, the namespace in the lower. */
#define CAIRN_REGION_OWNER_TAG (UINT64_C(0x63726f75) << 32)

/** A record that was looked at; points into its bytes. */
struct cairn_record {
    uint8_t type, durability;
    uint64_t length;      /* of the value */
    const uint8_t *value; /* embedded */
    uint32_t ncrcs;       /* behind the value: cairn_record_crcs() */
    uint32_t nregions;    /* extents */
    const uint8_t *regions;
};

/** Returns 0, CAIRN_E_CORRUPT, or CAIRN_E_FORMAT for a version or type that is not known. */
int cairn_record_parse(const uint8_t *p, size_t len, struct cairn_record *r);
struct cairn_record_region cairn_record_region(const struct cairn_record *r, uint32_t i);

static inline uint32_t cairn_record_ncrcs(uint64_t length)
{
    return (uint32_t)((length + CAIRN_EXTENT_CHUNK_BYTES - 1) / CAIRN_EXTENT_CHUNK_BYTES);
}
static inline size_t cairn_record_embedded_bytes(uint64_t length)
{
    return CAIRN_RECORD_HEAD_BYTES + (size_t)length + 4 * (size_t)cairn_record_ncrcs(length);
}
/** Length of the value whose record has @len bytes, from the first @n of them (CAIRN_RECORD_PEEK_BYTES, or all). Only
 * what is there is proved by its checksum: an answer for listings. Errors as cairn_record_parse(). */
int64_t cairn_record_peek(const uint8_t *p, size_t n, uint64_t len);
/** Length of the value in an embedded record of @len bytes; CAIRN_E_CORRUPT if none has so many. */
int64_t cairn_record_embedded_length(uint64_t len);
/** Writes what stands around an embedded value, which is at @to + CAIRN_RECORD_HEAD_BYTES already. @crcs: its
 * checksums, or NULL to compute them. */
void cairn_record_put_embedded(uint8_t *to, uint32_t durability, uint64_t length, const uint32_t *crcs);
/** The checksums of an embedded value, @r->ncrcs of them. */
void cairn_record_crcs(const struct cairn_record *r, uint32_t *to);
/** Whether those bytes of an embedded value that share a chunk with [@off, @off + @len) have their checksums. */
bool cairn_record_is_sound(const struct cairn_record *r, uint64_t off, uint64_t len);
static inline size_t cairn_record_extents_bytes(uint32_t n)
{
    return CAIRN_RECORD_EXTENTS_HEAD_BYTES + (size_t)n * CAIRN_RECORD_REGION_BYTES;
}
/** Writes the record of a value in @n regions; @to has room for cairn_record_extents_bytes(). */
void cairn_record_put_extents(uint8_t *to, uint32_t durability, const struct cairn_record_region *regions, uint32_t n);

#endif
