/* End-to-end checksums: CRC32C of each CAIRN_EXTENT_CHUNK_BYTES, as a pure function of bytes and position. */
#ifndef CAIRN_CLIENT_CHECK_H
#define CAIRN_CLIENT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CAIRN_CHECK_SLICE_BYTES = 1 << 20 }; /* what is compared at once: about 0.1 ms */

/** Parts into which [off, off + len) falls where chunks begin at multiples of CAIRN_EXTENT_CHUNK_BYTES. */
uint64_t cairn_check_parts(uint64_t off, uint64_t len);

/** Fills @crcs, cairn_check_parts(0, @len) of them. */
void cairn_check_compute(const void *p, uint64_t len, uint32_t *crcs);

/** A comparison that is done in slices. */
struct cairn_check {
    const uint8_t *p;
    const uint32_t *crcs;
    uint64_t off, len; /* of what is left */
    uint32_t *own;     /* malloc'ed copy of the checksums, or NULL */
};

enum cairn_check_result { CAIRN_CHECK_GOOD, CAIRN_CHECK_BAD, CAIRN_CHECK_MORE };

/** @crcs are as many as cairn_check_parts(@off, @len). */
void cairn_check_start(struct cairn_check *k, const void *p, uint64_t off, uint64_t len, const uint32_t *crcs);
/** Compares the next slice. */
enum cairn_check_result cairn_check_step(struct cairn_check *k);

#endif
