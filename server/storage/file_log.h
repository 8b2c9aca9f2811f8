/** A log of small records in one file: appended, made durable, read back at the next start.
 *
 * Every record carries a checksum, its own position and how much of the log was durable when it was written. So a start
 * can tell a torn tail (a crash: what was never acknowledged, cut off) from damage (a record that was durable does not
 * read back, found because a later one vouches for it): the first is normal, the second is reported.
 *
 * The file is written with zeros ahead of its end and never cut, so an append is an overwrite: fdatasync has no length
 * to journal, and a full disk still has room for records that free some (`reserve`).
 *
 *      file    "CAIRNLOG" version crc, padded to 64 bytes; then records, 8-byte aligned; then zeros
 *      record  crc, bytes (whole record), at, durable, type, body bytes | body | padding
 *
 * Everything blocks: for pool threads and start-up. Not locked: add, write and rewrite exclude one another by the
 * caller's mutex; sync may run beside add and write. */
#ifndef CAIRN_SERVER_STORAGE_FILE_LOG_H
#define CAIRN_SERVER_STORAGE_FILE_LOG_H

#include "sdk/core/base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    CAIRN_FILE_LOG_RECORD_BYTES_MAX = 128 << 10,
    CAIRN_FILE_LOG_AHEAD_BYTES = 1 << 20,     /* zeros are written ahead by this much */
    CAIRN_FILE_LOG_RESERVE_BYTES = 256 << 10, /* of which ordinary records leave this much */
};

struct cairn_file_log {
    int dirfd, fd;
    char name[64];
    uint64_t end;                 /* where the next record goes */
    uint64_t room;                /* file bytes that are there already */
    atomic_uint_fast64_t flushed; /* up to here write() was done */
    atomic_uint_fast64_t durable; /* up to here fdatasync was done */
    uint8_t *buf;                 /* [flushed, end) */
    size_t buf_n, buf_room;
    atomic_bool broken; /* a sync failed: nothing more is promised */
};

/** What reading back found beyond whole records. */
struct cairn_file_log_found {
    uint64_t records;
    uint64_t torn_bytes;    /* cut off at the end: normal after a crash */
    uint64_t damaged_bytes; /* were durable and cannot be read: records are lost */
    uint64_t damaged_at;    /* the first of them */
};

/** @body is valid during the call; a result other than 0 ends the reading and the open fails with it. */
typedef int cairn_file_log_fn(void *arg, uint32_t type, const void *body, uint32_t len);

/** Opens @name in @dirfd (borrowed), making it if it is not there, and calls @fn for each record.
 * CAIRN_E_FORMAT: written by a newer version. CAIRN_E_CORRUPT: not a log at all. */
int cairn_file_log_open(struct cairn_file_log *log, int dirfd, const char *name, cairn_file_log_fn *fn, void *arg,
                        struct cairn_file_log_found *found, struct cairn_err *err);
void cairn_file_log_close(struct cairn_file_log *log);

/** Puts one record behind the others, in memory. @reserved: it frees space, and may use the last room. CAIRN_E_NOSPACE
 * or CAIRN_E_NOMEM: the log is as it was. */
int cairn_file_log_add(struct cairn_file_log *log, uint32_t type, const struct iovec *body, uint32_t n, bool reserved);
/** write()s what was added: it survives the process. On failure all that was added since the last write is dropped. */
int cairn_file_log_write(struct cairn_file_log *log);
/** Makes what was written durable. On failure the log is broken: what the disk holds is unknown, and no retry can tell.
 */
int cairn_file_log_sync(struct cairn_file_log *log);

/** Writes the log anew: begin, add and write to @fresh, then commit, which makes @fresh durable under the old name and
 * puts it in @log's place; or abort. If commit fails the old log goes on, and @fresh is to be aborted, except after
 * CAIRN_E_UNKNOWN: @fresh is in its place, but which of both a start would find nobody knows, so the log is broken. */
int cairn_file_log_rewrite_begin(const struct cairn_file_log *log, struct cairn_file_log *fresh);
int cairn_file_log_rewrite_commit(struct cairn_file_log *log, struct cairn_file_log *fresh);
void cairn_file_log_rewrite_abort(struct cairn_file_log *fresh);

#endif
