/** A log without end in files of one size: appended, made durable, read back at the next start, forgotten from the
 * front.
 *
 * Each record has a log sequence number (LSN): how many bytes of the log are before it. A segment that nobody needs
 * any more becomes a later one, under a new name. So an append overwrites, fdatasync has no length to journal, and a
 * record reaches the disk once. What a file held before is never taken for anything: checksums begin with a number
 * that is drawn anew each time a segment begins.
 *
 *      seg-LSN   "CAIRNSEG" version nonce first-LSN crc, padded to a page; then records, 8-byte aligned
 *      record    crc, bytes (whole record), lsn, durable, type, body bytes | body | padding
 *
 * `durable` is how far the log was on disk when the record was written: so a start can tell a torn tail (a crash:
 * what was never acknowledged) from damage (what a later record vouches for). A start appends to no segment that
 * holds records.
 *
 * Everything blocks: for pool threads and start-up. add, write, release and close exclude one another by the caller;
 * sync may run beside them. */
#ifndef CAIRN_SERVER_STORAGE_SEGMENTS_H
#define CAIRN_SERVER_STORAGE_SEGMENTS_H

#include "sdk/core/base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    CAIRN_SEGMENT_RECORD_BYTES_MAX = 3 << 20,
    CAIRN_SEGMENT_RECORD_HEAD_BYTES = 32,
    CAIRN_SEGMENT_BYTES_MIN = 4 << 20, /* a record always fits */
    CAIRN_SEGMENTS_MAX = 4096,         /* of one log */
};

struct cairn_segment {
    int fd;
    uint32_t nonce; /* that checksums begin with */
    uint32_t users; /* sync() has it in hand */
    uint64_t first; /* LSN of its first record */
};

struct cairn_segments {
    int dirfd;
    uint64_t segment_bytes;
    pthread_mutex_t mutex;     /* of what follows, against sync() */
    struct cairn_segment *all; /* ascending; the last one is written to */
    uint32_t n, room;
    uint64_t end, written, durable; /* LSNs; durable <= written <= end */
    atomic_bool broken;             /* a write or a sync failed: nothing more is promised */
    uint8_t *buf;                   /* [written, end) */
    size_t buf_n, buf_room;
    bool spare; /* a file is there for the next segment, with all of its room */
};

struct cairn_segments_found {
    uint64_t records, bytes;
    bool torn; /* the log ended in the middle of something: normal after a crash */
};

/** @body is valid during the call; a result other than 0 ends the reading and the open fails with it. */
typedef int cairn_segments_fn(void *arg, uint64_t lsn, uint32_t type, const void *body, uint32_t len);

/** Whether @dirfd has segments: false of one that never was a log's, and of one whose log is gone. CAIRN_E_*. */
int cairn_segments_exist(int dirfd, bool *exist, struct cairn_err *err);
/** Reads all segments in @dirfd (borrowed) in order, each record by @fn, and begins a new one behind them.
 * CAIRN_E_FORMAT: written by a newer version. CAIRN_E_CORRUPT: records that were durable cannot be read. */
int cairn_segments_open(struct cairn_segments *s, int dirfd, uint64_t segment_bytes, cairn_segments_fn *fn, void *arg,
                        struct cairn_segments_found *found, struct cairn_err *err);
void cairn_segments_close(struct cairn_segments *s);

/** Puts a record behind the others, in memory; @type is below 2^16. @lsn: its number. CAIRN_E_NOSPACE (there is no
 * room for another segment: it may be tried again) or CAIRN_E_NOMEM: the log is as it was. CAIRN_E_IO: it is broken. */
int cairn_segments_add(struct cairn_segments *s, uint32_t type, const struct iovec *body, uint32_t n, uint64_t *lsn);
/** Sees to it that the disk has set aside the next segment, too: one that it took from the log's beginning, or a new
 * one. CAIRN_E_NOSPACE and others: it has not. */
int cairn_segments_reserve(struct cairn_segments *s);
/** Bytes of records, none of more than @largest, that can be added without asking the disk for room, whatever their
 * sizes: what is left of a segment may be too little for the next one. */
uint64_t cairn_segments_room(const struct cairn_segments *s, uint64_t largest);
/** What a record counts in it. */
static inline uint64_t cairn_segment_record_bytes(uint64_t body)
{
    return (CAIRN_SEGMENT_RECORD_HEAD_BYTES + body + 7) & ~UINT64_C(7);
}
/** Writes what was added: it survives the process. A failure breaks the log: what the disk holds is unknown. */
int cairn_segments_write(struct cairn_segments *s);
/** Makes what was written before the call durable. Likewise. */
int cairn_segments_sync(struct cairn_segments *s);

/** Records below @lsn are not needed any more. Segments wholly below it are kept for later use, at most one, or
 * removed. */
void cairn_segments_release(struct cairn_segments *s, uint64_t lsn);
/** LSN of the oldest record that is still there. */
uint64_t cairn_segments_begin(const struct cairn_segments *s);
/** LSN of the first record of the segment that is written to. */
uint64_t cairn_segments_newest(const struct cairn_segments *s);

#endif
