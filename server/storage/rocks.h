/** RocksDB, as Cairn uses it: one ordered keyspace in one directory, errors in our terms.
 *
 * The only header through which the rest of Cairn reaches RocksDB. Calls with @may_block are for pool threads; without
 * it they look only at what is in memory and answer CAIRN_ROCKS_LATER where that does not suffice. Any thread. */
#ifndef CAIRN_SERVER_STORAGE_ROCKS_H
#define CAIRN_SERVER_STORAGE_ROCKS_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CAIRN_ROCKS_LATER = 1 };

enum cairn_rocks_compression { CAIRN_ROCKS_NONE, CAIRN_ROCKS_LZ4, CAIRN_ROCKS_ZSTD };

struct cairn_rocks;
struct cairn_rocks_batch;
struct cairn_spare;

/** Keys have at least one byte. */
struct cairn_rocks_conf {
    const char *dir; /* made if it is not there; the caller has locked what it is in */
    uint64_t cache_bytes, write_buffer_bytes;
    uint32_t open_files;
    enum cairn_rocks_compression compression;
    const struct cairn_spare *spare; /* of that disk; outlives the keyspace. NULL: it is never full */
    bool fresh;     /* nothing was ever stored there: only then a database is made where there is none */
    bool only_look; /* nothing on the disk changes; only reads may follow */
};

/** CAIRN_E_CORRUPT: there is none, or it cannot be read. */
int cairn_rocks_open(const struct cairn_rocks_conf *conf, struct cairn_rocks **out, struct cairn_err *err);
/** How many bytes the engine gathers in memory before it writes a table; less than was asked for on a small disk. One
 * batch is never divided, and a larger one makes a larger table. */
uint64_t cairn_rocks_write_buffer(const struct cairn_rocks *r);
/** No call may be under way. Writes that skipped the log are flushed first. */
void cairn_rocks_close(struct cairn_rocks *r);

/** The keyspace as it is at this moment: files of what it shows stay until it is closed, before the keyspace. NULL:
 * no memory. */
struct cairn_rocks_snapshot;
struct cairn_rocks_snapshot *cairn_rocks_snapshot_open(struct cairn_rocks *r);
void cairn_rocks_snapshot_close(struct cairn_rocks *r, struct cairn_rocks_snapshot *s);

/** A value, pinned where it is. */
struct cairn_rocks_view {
    const uint8_t *ptr;
    size_t len;
    void *pin;
};

/** As of @at, or now if that is NULL.
 * 0, CAIRN_E_NOTFOUND, CAIRN_ROCKS_LATER, CAIRN_E_CORRUPT, CAIRN_E_IO ...; on 0 the view is to be dropped. */
int cairn_rocks_get(struct cairn_rocks *r, const struct cairn_rocks_snapshot *at, const void *key, size_t klen,
                    bool may_block, struct cairn_rocks_view *view);
void cairn_rocks_view_drop(struct cairn_rocks_view *view);

struct cairn_rocks_scan {
    const struct cairn_rocks_snapshot *at; /* NULL: now */
    const void *lo, *hi;                   /* lo <= key < hi */
    size_t lo_len, hi_len;
    bool reverse, may_block;
    uint64_t timeout_us; /* with may_block; 0: none */
    /** False: stop here; this entry was not taken. The views live for this call. */
    bool (*entry)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen);
    void *arg;
    bool more; /* out: entry() said stop */
};

/** 0, CAIRN_ROCKS_LATER (entry() may have been called), CAIRN_E_TIMEOUT, CAIRN_E_CORRUPT ... */
int cairn_rocks_scan(struct cairn_rocks *r, struct cairn_rocks_scan *scan);

/** A batch is applied wholly or not at all; it is reused after cairn_rocks_batch_clear(). NULL: no memory. */
struct cairn_rocks_batch *cairn_rocks_batch_new(void);
void cairn_rocks_batch_free(struct cairn_rocks_batch *b);
void cairn_rocks_batch_clear(struct cairn_rocks_batch *b);
/** How many bytes it is. */
size_t cairn_rocks_batch_bytes(const struct cairn_rocks_batch *b);
void cairn_rocks_batch_put(struct cairn_rocks_batch *b, const void *key, size_t klen, const void *val, size_t vlen);
void cairn_rocks_batch_erase(struct cairn_rocks_batch *b, const void *key, size_t klen);
/** All lo <= key < hi. */
void cairn_rocks_batch_erase_range(struct cairn_rocks_batch *b, const void *lo, size_t lo_len, const void *hi,
                                   size_t hi_len);
/** undo() takes back what was added since the last mark(). */
void cairn_rocks_batch_mark(struct cairn_rocks_batch *b);
void cairn_rocks_batch_undo(struct cairn_rocks_batch *b);

enum cairn_rocks_log {
    CAIRN_ROCKS_UNLOGGED, /* survives nothing before the next flush */
    CAIRN_ROCKS_LOGGED,   /* written to the kernel: survives the process */
    CAIRN_ROCKS_SYNCED,   /* survives power loss */
};

/** May block. After a failure nothing of the batch is seen; with CAIRN_ROCKS_SYNCED it may come to light at the next
 * start. CAIRN_E_NOSPACE while the disk is full: writes are refused until there is room again, which is noticed within
 * some seconds. CAIRN_E_IO after a sync that failed: it takes no more writes until it is opened anew. */
int cairn_rocks_write(struct cairn_rocks *r, struct cairn_rocks_batch *b, enum cairn_rocks_log log);
/** All that was written CAIRN_ROCKS_LOGGED before the call survives power loss when it returns 0. Otherwise
 * CAIRN_E_UNKNOWN: all of it can be read, and nobody knows what a crash would leave. So does every later call, without
 * trying: until it is opened anew, or, where a full disk was the cause, until writes go on. May block. */
int cairn_rocks_sync(struct cairn_rocks *r);
/** All that was written before the call, logged or not, is in files and survives power loss when it returns 0.
 * Otherwise nobody knows; it can be read as before, and may be asked for again. May block. */
int cairn_rocks_flush(struct cairn_rocks *r);

/** Deletes the files that hold nothing but lo <= key < hi, which needs no room; the rest of the range stays. Only for
 * what was erased before. May block. */
void cairn_rocks_drop_files(struct cairn_rocks *r, const void *lo, size_t lo_len, const void *hi, size_t hi_len);
/** Rewrites the files so that what was erased gives back its room, which the engine would do at leisure. May block
 * for as long as all of the keyspace takes to read and write; close() after reclaim_stop(), which ends it early. Not
 * by two threads at a time. */
void cairn_rocks_reclaim(struct cairn_rocks *r);
void cairn_rocks_reclaim_stop(struct cairn_rocks *r);

/** Bytes on disk of lo <= key < hi, roughly; and the whole keyspace's keys and bytes likewise. May block. */
uint64_t cairn_rocks_range_bytes(struct cairn_rocks *r, const void *lo, size_t lo_len, const void *hi, size_t hi_len);
uint64_t cairn_rocks_keys_estimate(struct cairn_rocks *r);

struct cairn_rocks_status {
    uint64_t corrupt_reads, failed_writes;
    bool read_only;                      /* the engine refuses writes at present */
    bool for_good;                       /* likewise, until it is opened anew: its errors are no matter of room, and the
                                          * C interface has no Resume() (as of 7.8) */
    char last_error[256];                /* "" if there was none */
    uint64_t cache_bytes;                /* in use */
    uint64_t cache_bytes_max;            /* what was configured */
    uint64_t memory_hits, memory_misses; /* reads that might not block, and whether memory sufficed */
};
void cairn_rocks_status(struct cairn_rocks *r, struct cairn_rocks_status *out);

#endif
