/** Reads and writes of files that do not block the loop: io_uring, or the storage pool where io_uring is refused.
 *
 * One per loop. With io_uring what a turn of the loop starts is submitted together at its end, and completions come
 * through an eventfd that the loop watches; a ring that takes nothing more is left for the pool. At most @depth
 * operations are under way, the others wait in order. Loop's own thread only. */
#ifndef CAIRN_SERVER_STORAGE_FILE_IO_H
#define CAIRN_SERVER_STORAGE_FILE_IO_H

#include "sdk/core/base/err.h"
#include "server/port/pool.h"

enum cairn_file_io_kind { CAIRN_FILE_IO_AUTO, CAIRN_FILE_IO_URING, CAIRN_FILE_IO_POOL };

struct cairn_file_io;

/** One read or write of all of @len bytes, held by its user until done(). */
struct cairn_file_op {
    int fd;
    bool write;
    void *buf;
    uint64_t len, off;
    /** rc: 0 (all of it), CAIRN_E_NOSPACE, CAIRN_E_IO (also for a read beyond the end), or what the errno says. Runs
     * once, later, on the loop. */
    void (*done)(struct cairn_file_op *op, int rc);
    void *arg;

    /* private from here */
    struct cairn_file_io *io;
    struct cairn_link link;
    struct cairn_job job;
    uint64_t moved;
    int rc;
};

/** What new() would say of @kind, leaving nothing behind. */
int cairn_file_io_check(enum cairn_file_io_kind kind, struct cairn_err *err);
/** AUTO tries io_uring and falls back; URING fails with CAIRN_E_UNSUPPORTED where it is refused. */
int cairn_file_io_new(struct cairn_loop *loop, struct cairn_pool *pool, enum cairn_file_io_kind kind, uint32_t depth,
                      struct cairn_file_io **io, struct cairn_err *err);
/** Asserts that nothing is under way. */
void cairn_file_io_free(struct cairn_file_io *io);
/** URING or POOL: what it uses now. */
enum cairn_file_io_kind cairn_file_io_kind(const struct cairn_file_io *io);

/** Starts @op; never fails by itself. The number of operations is bounded by what brings them: staging buffers. */
void cairn_file_io_start(struct cairn_file_io *io, struct cairn_file_op *op);

/** What a failed read or write of data means: CAIRN_E_NOSPACE, CAIRN_E_NOMEM or CAIRN_E_IO. The meaning that an errno
 * has for names and sockets would mislead. */
int cairn_file_code(int errnum);

/** Blocking, for pool threads and start-up: all of @len bytes, interrupted calls repeated. Returns 0 or CAIRN_E_*. */
int cairn_file_pwrite(int fd, const void *buf, uint64_t len, uint64_t off);
/** Likewise; a read beyond the end is CAIRN_E_IO. */
int cairn_file_pread(int fd, void *buf, uint64_t len, uint64_t off);
/** Writes @name in @dirfd anew: whole and durable, or as it was (temporary file, fsync, rename, fsync of the
 * directory). */
int cairn_file_replace(int dirfd, const char *name, const void *buf, uint64_t len, struct cairn_err *err);
/** Makes the directory @path, for this user alone, if it is not there; its name is durable then. */
int cairn_file_mkdir(const char *path, struct cairn_err *err);
/** Makes *@fd hold an exclusive lock on the file @name in @dirfd; CAIRN_E_LOCKED if another process holds it. */
int cairn_file_lock(int dirfd, const char *name, int *fd, struct cairn_err *err);
/** Whether lock() would succeed now, without making the file. */
int cairn_file_lock_check(int dirfd, const char *name, struct cairn_err *err);

#endif
