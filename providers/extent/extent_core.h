/** What the extent provider decides without doing anything: chunk arithmetic, checksums as bytes arrive, names of
 * regions. */
#ifndef CAIRN_PROVIDERS_EXTENT_CORE_H
#define CAIRN_PROVIDERS_EXTENT_CORE_H

#include "cairn/limits.h"
#include "sdk/core/base/macros.h"

#include <stdbool.h>
#include <stdint.h>

/** Chunks, and so stored checksums, of @len bytes that start on a chunk. */
static inline uint32_t cairn_extent_chunks(uint64_t len)
{
    return (uint32_t)((len + CAIRN_EXTENT_CHUNK_BYTES - 1) / CAIRN_EXTENT_CHUNK_BYTES);
}

/** Parts of [off, off+len) that each lie in one chunk: checksums of a read's reply. */
static inline uint32_t cairn_extent_parts(uint64_t off, uint64_t len)
{
    return len == 0 ? 0 : cairn_extent_chunks(off % CAIRN_EXTENT_CHUNK_BYTES + len);
}

/** The range that a read really covers: 0 or beyond the end means up to the end. False if @off is beyond @length. */
bool cairn_extent_clip(uint64_t length, uint64_t off, uint64_t *len);

/** [off, off+len) widened to whole chunks of a region of @length bytes (the last chunk may be short). */
void cairn_extent_widen(uint64_t length, uint64_t *off, uint64_t *len);

/* ---- checksums while bytes arrive ---- */

/** Compares bytes that arrive in order with one checksum per chunk, counted from the first byte. */
struct cairn_extent_check {
    const uint32_t *want; /* cairn_extent_chunks(len) of them, borrowed */
    uint64_t len, at;     /* at: how many bytes were seen */
    uint32_t crc;         /* of the chunk that @at lies in, so far */
    bool bad;
    uint64_t bad_at; /* first byte of the first chunk that differs */
};

void cairn_extent_check_init(struct cairn_extent_check *c, const uint32_t *want, uint64_t len);
/** The next @n bytes. */
void cairn_extent_check_feed(struct cairn_extent_check *c, const uint8_t *p, uint64_t n);
/** True if all bytes came and none differs. */
bool cairn_extent_check_is_good(const struct cairn_extent_check *c);

/** Checksums of @len bytes, one per chunk counted from @p. */
void cairn_extent_crcs(const uint8_t *p, uint64_t len, uint32_t *crcs);
/** The first chunk of @len bytes at @p that differs from @crcs, or -1. */
int64_t cairn_extent_first_bad(const uint8_t *p, uint64_t len, const uint32_t *crcs);

/* ---- names of regions ---- */

/** Regions are named by a counter that is never set back, sent through a permutation of the 64-bit numbers: unique
 * without looking, and spread evenly, which the table (extent_table.h) builds on. Each start of a store takes a fresh
 * epoch, so nothing has to be written per name. */
enum { CAIRN_EXTENT_NAME_BITS = 42 };

/** The name for counter value @counter: a permutation. */
uint64_t cairn_extent_name(uint64_t salt, uint64_t counter);

#endif
