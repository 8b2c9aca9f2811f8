/* A log in segments from inside: its form on disk, and what segments.c (making, appending, forgetting) and
 * segments_read.c share. */
#ifndef CAIRN_SERVER_STORAGE_SEGMENTS_INTERNAL_H
#define CAIRN_SERVER_STORAGE_SEGMENTS_INTERNAL_H

#include "sdk/core/base/crc.h"
#include "server/storage/segments.h"

#define SEGMENT_MAGIC "CAIRNSEG" /* without its end */
enum { SEGMENT_VERSION = 1, HEADER_BYTES = 4096, TYPE_END = 0xffff };

struct segment_header {
    char magic[8];
    uint32_t version, nonce;
    uint64_t first;
    uint32_t crc; /* of all before */
};

struct record {
    uint32_t crc; /* of all that follows in the record */
    uint32_t bytes;
    uint64_t lsn, durable;
    uint32_t type, body;
};
_Static_assert(sizeof(struct record) == CAIRN_SEGMENT_RECORD_HEAD_BYTES, "the record header is a disk format");

static inline uint32_t cairn_segment__header_crc(const struct segment_header *h)
{
    return cairn_crc32c(0, h, offsetof(struct segment_header, crc));
}

static inline uint32_t cairn_segment__record_crc(uint32_t nonce, const void *record, uint32_t bytes)
{
    return cairn_crc32c(nonce, (const char *)record + sizeof(uint32_t), bytes - sizeof(uint32_t));
}

static inline struct cairn_segment *cairn_segments__newest(struct cairn_segments *s)
{
    return &s->all[s->n - 1];
}

/* Room in the list for one more. */
int cairn_segments__room(struct cairn_segments *s);

/* ---- segments_read.c ---- */

struct cairn_segments__reading {
    struct cairn_segments *s;
    cairn_segments_fn *fn;
    void *arg;
    struct cairn_segments_found *found;
    struct cairn_err *err;
    bool ended; /* the segment was closed by its END */
};

/* Reads all that is there, whatever it is; r->s has the segments, and its end, as far as they could be read. */
int cairn_segments__read(struct cairn_segments__reading *r);

#endif
