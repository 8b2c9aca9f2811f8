/* Append-only log of records: see file_log.h. */
#include "server/storage/file_log.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_VERSION = 1, LOG_HEADER_BYTES = 64, READ_BYTES = 1 << 20 };

struct log_header {
    char magic[8];
    uint32_t version, crc; /* of magic and version */
};

struct record {
    uint32_t crc; /* of all that follows in the record */
    uint32_t bytes;
    uint64_t at, durable;
    uint32_t type, body;
};
_Static_assert(sizeof(struct record) == 32, "the record header is a disk format");

static const char magic[8] = { 'C', 'A', 'I', 'R', 'N', 'L', 'O', 'G' };

static uint32_t header_crc(const struct log_header *h)
{
    return cairn_crc32c(0, h, offsetof(struct log_header, crc));
}

static uint32_t record_crc(const void *record, uint32_t bytes)
{
    return cairn_crc32c(0, (const char *)record + sizeof(uint32_t), bytes - sizeof(uint32_t));
}

/* ---- making the file and its room ---- */

static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[64 << 10];
    int rc = 0;

    for (uint64_t at = from; at < to && rc == 0; at += sizeof(zeros))
        rc = cairn_file_pwrite(fd, zeros, MIN(to - at, sizeof(zeros)), at);
    return rc;
}

static int make_room(struct cairn_file_log *log)
{
    uint64_t to = log->room + CAIRN_FILE_LOG_AHEAD_BYTES;
    int rc = write_zeros(log->fd, log->room, to);

    if (rc == 0)
        log->room = to;
    return rc;
}

/* An empty log under a temporary name. */
static int log_make(struct cairn_file_log *log, int dirfd, const char *name)
{
    struct log_header h = { .version = LOG_VERSION };
    uint8_t first[LOG_HEADER_BYTES] = { 0 };
    char temp[80];
    int rc;

    *log = (struct cairn_file_log){ .dirfd = dirfd, .end = LOG_HEADER_BYTES };
    atomic_init(&log->flushed, LOG_HEADER_BYTES);
    atomic_init(&log->durable, LOG_HEADER_BYTES);
    snprintf(log->name, sizeof(log->name), "%s", name);
    snprintf(temp, sizeof(temp), "%s.new", name);
    memcpy(h.magic, magic, sizeof(magic));
    h.crc = header_crc(&h);
    memcpy(first, &h, sizeof(h));
    log->fd = openat(dirfd, temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log->fd < 0)
        return cairn_file_code(errno);
    rc = cairn_file_pwrite(log->fd, first, sizeof(first), 0);
    log->room = sizeof(first);
    if (rc == 0)
        rc = make_room(log);
    if (rc != 0) {
        close(log->fd);
        unlinkat(dirfd, temp, 0);
    }
    return rc;
}

/* Durable, and under its own name; *@renamed tells whether a start may find it there already. */
static int log_publish(struct cairn_file_log *log, bool *renamed)
{
    char temp[80];

    *renamed = false;
    snprintf(temp, sizeof(temp), "%s.new", log->name);
    if (fsync(log->fd) != 0 || renameat(log->dirfd, temp, log->dirfd, log->name) != 0)
        return cairn_file_code(errno);
    *renamed = true;
    if (fsync(log->dirfd) != 0)
        return cairn_file_code(errno);
    atomic_store(&log->durable, log->flushed);
    return 0;
}

/* ---- reading back ---- */

/* A window over the file that moves forward, so that a log of any size is read in bounded memory. */
struct reader {
    int fd;
    uint64_t size, from, n;
    uint8_t *buf; /* [from, from + n) */
};

static int reader_at(struct reader *r, uint64_t at, uint64_t need, const uint8_t **p)
{
    if (at < r->from || at + need > r->from + r->n) {
        int rc;

        CAIRN_ASSERT(need <= READ_BYTES);
        r->from = at;
        r->n = MIN(r->size - at, (uint64_t)READ_BYTES);
        rc = cairn_file_pread(r->fd, r->buf, r->n, r->from);
        if (rc != 0)
            return rc;
    }
    *p = r->buf + (at - r->from);
    return 0;
}

/* *@rec is the whole record at @at, or NULL if none can be read there. */
static int record_at(struct reader *r, uint64_t at, const struct record **rec)
{
    const uint8_t *p;
    struct record h;
    int rc;

    *rec = NULL;
    if (r->size - at < sizeof(h))
        return 0;
    rc = reader_at(r, at, sizeof(h), &p);
    if (rc != 0)
        return rc;
    memcpy(&h, p, sizeof(h));
    if (h.at != at || h.bytes < sizeof(h) || h.bytes > CAIRN_FILE_LOG_RECORD_BYTES_MAX || h.bytes % 8 != 0 ||
        h.bytes > r->size - at || h.body > h.bytes - sizeof(h))
        return 0;
    rc = reader_at(r, at, h.bytes, &p);
    if (rc == 0 && record_crc(p, h.bytes) == h.crc)
        *rec = (const struct record *)(const void *)p;
    return rc;
}

/* The next record after @at that vouches for the bytes there having been durable; 0: there is none, the log ends. */
static int find_voucher(struct reader *r, uint64_t at, uint64_t *found)
{
    *found = 0;
    for (uint64_t next = at + 8; next + sizeof(struct record) <= r->size; next += 8) {
        const struct record *rec;
        int rc = record_at(r, next, &rec);

        if (rc != 0)
            return rc;
        if (rec != NULL && rec->durable > at) {
            *found = next;
            return 0;
        }
    }
    return 0;
}

static int read_all(struct cairn_file_log *log, struct reader *r, cairn_file_log_fn *fn, void *arg,
                    struct cairn_file_log_found *found)
{
    uint64_t at = LOG_HEADER_BYTES;

    for (;;) {
        const struct record *rec;
        uint64_t next;
        int rc = record_at(r, at, &rec);

        if (rc != 0)
            return rc;
        if (rec == NULL) {
            rc = find_voucher(r, at, &next);
            if (rc != 0)
                return rc;
            if (next == 0)
                break;
            if (found->damaged_bytes == 0)
                found->damaged_at = at;
            found->damaged_bytes += next - at;
            at = next;
            continue;
        }
        found->records++;
        next = at + rec->bytes;
        rc = fn(arg, rec->type, rec + 1, rec->body);
        if (rc != 0)
            return rc;
        at = next;
    }
    log->end = at;
    log->flushed = at;
    log->room = r->size;
    return 0;
}

/* A whole record that a crash left behind the torn one must not come to life once something is written in between. */
static int clear_tail(struct cairn_file_log *log, struct reader *r, struct cairn_file_log_found *found)
{
    uint64_t last = 0;
    int rc = 0;

    for (uint64_t at = log->end; at < r->size && rc == 0;) {
        const uint8_t *p;
        uint64_t n = MIN(r->size - at, (uint64_t)READ_BYTES);

        rc = reader_at(r, at, n, &p);
        for (uint64_t i = 0; rc == 0 && i < n; i++) {
            if (p[i] != 0)
                last = at + i + 1;
        }
        at += n;
    }
    if (rc != 0 || last == 0)
        return rc;
    found->torn_bytes = last - log->end;
    rc = write_zeros(log->fd, log->end, last);
    if (rc == 0 && fdatasync(log->fd) != 0)
        rc = cairn_file_code(errno);
    return rc;
}

static int check_header(const struct cairn_file_log *log, struct cairn_err *err)
{
    struct log_header h;

    if (cairn_file_pread(log->fd, &h, sizeof(h), 0) != 0 || memcmp(h.magic, magic, sizeof(magic)) != 0 ||
        h.crc != header_crc(&h))
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s: its header is damaged, or it is no log", log->name);
    if (h.version > LOG_VERSION)
        return cairn_err_set(err, CAIRN_E_FORMAT, "%s: version %u, this program knows %d", log->name, h.version,
                             LOG_VERSION);
    return 0;
}

static int log_recover(struct cairn_file_log *log, cairn_file_log_fn *fn, void *arg, struct cairn_file_log_found *found,
                       struct cairn_err *err)
{
    struct reader r = { .fd = log->fd };
    struct stat st;
    int rc = check_header(log, err);

    if (rc != 0)
        return rc;
    if (fstat(log->fd, &st) != 0)
        return cairn_err_errno(err, errno, "%s", log->name);
    r.size = (uint64_t)st.st_size;
    if (r.size < LOG_HEADER_BYTES)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s: cut within its header", log->name);
    r.buf = malloc(READ_BYTES);
    if (r.buf == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%s", log->name);
    rc = read_all(log, &r, fn, arg, found);
    if (rc == 0)
        rc = clear_tail(log, &r, found);
    free(r.buf);
    if (rc == 0 && fdatasync(log->fd) != 0)
        rc = cairn_file_code(errno);
    atomic_store(&log->durable, log->end);
    return rc != 0 ? cairn_err_set(err, rc, "%s: %s", log->name, cairn_error_text(rc)) : 0;
}

int cairn_file_log_open(struct cairn_file_log *log, int dirfd, const char *name, cairn_file_log_fn *fn, void *arg,
                        struct cairn_file_log_found *found, struct cairn_err *err)
{
    int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC), rc;
    bool renamed;

    *found = (struct cairn_file_log_found){ 0 };
    if (fd < 0 && errno != ENOENT)
        return cairn_err_errno(err, errno, "%s", name);
    if (fd < 0) {
        rc = log_make(log, dirfd, name);
        if (rc != 0)
            return cairn_err_set(err, rc, "make %s: %s", name, cairn_error_text(rc));
        rc = log_publish(log, &renamed);
        if (rc != 0)
            cairn_err_set(err, rc, "make %s: %s", name, cairn_error_text(rc));
    } else {
        *log = (struct cairn_file_log){ .dirfd = dirfd, .fd = fd };
        snprintf(log->name, sizeof(log->name), "%s", name);
        rc = log_recover(log, fn, arg, found, err);
    }
    if (rc != 0)
        cairn_file_log_close(log);
    return rc;
}

void cairn_file_log_close(struct cairn_file_log *log)
{
    free(log->buf);
    close(log->fd);
    log->buf = NULL;
    log->fd = -1;
}

/* ---- appending ---- */

static int buf_room(struct cairn_file_log *log, size_t more)
{
    size_t want = log->buf_room != 0 ? log->buf_room : 4096;
    uint8_t *p;

    while (want < log->buf_n + more)
        want *= 2;
    if (want == log->buf_room)
        return 0;
    p = realloc(log->buf, want);
    if (p == NULL)
        return CAIRN_E_NOMEM;
    log->buf = p;
    log->buf_room = want;
    return 0;
}

int cairn_file_log_add(struct cairn_file_log *log, uint32_t type, const struct iovec *body, uint32_t n, bool reserved)
{
    struct record h = { .at = log->end, .durable = atomic_load(&log->durable), .type = type };
    uint64_t keep = reserved ? 0 : CAIRN_FILE_LOG_RESERVE_BYTES, bytes = 0;
    uint8_t *p;
    int rc;

    if (atomic_load(&log->broken))
        return CAIRN_E_IO;
    for (uint32_t i = 0; i < n; i++)
        bytes += body[i].iov_len;
    CAIRN_ASSERT(bytes <= CAIRN_FILE_LOG_RECORD_BYTES_MAX - sizeof(h));
    h.body = (uint32_t)bytes;
    h.bytes = (uint32_t)cairn_round_up(sizeof(h) + bytes, 8);
    if (log->end + h.bytes + keep > log->room) {
        rc = make_room(log);
        if (rc != 0 && log->end + h.bytes + keep > log->room)
            return rc;
    }
    rc = buf_room(log, h.bytes);
    if (rc != 0)
        return rc;
    p = log->buf + log->buf_n;
    memset(p + h.bytes - 8, 0, 8); /* the padding */
    memcpy(p, &h, sizeof(h));
    bytes = sizeof(h);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(p + bytes, body[i].iov_base, body[i].iov_len);
        bytes += body[i].iov_len;
    }
    h.crc = record_crc(p, h.bytes);
    memcpy(p, &h.crc, sizeof(h.crc));
    log->buf_n += h.bytes;
    log->end += h.bytes;
    return 0;
}

int cairn_file_log_write(struct cairn_file_log *log)
{
    int rc = 0;

    if (log->buf_n > 0)
        rc = cairn_file_pwrite(log->fd, log->buf, log->buf_n, log->flushed);
    if (rc != 0) { /* what arrived of it is overwritten by the next, or cut off as torn */
        if (write_zeros(log->fd, log->flushed, log->end) != 0)
            atomic_store(&log->broken, true); /* a whole record may stand there, and come to life behind another */
        log->end = log->flushed;
    }
    log->flushed = log->end;
    log->buf_n = 0;
    return rc;
}

int cairn_file_log_sync(struct cairn_file_log *log)
{
    uint64_t flushed = atomic_load(&log->flushed);

    if (atomic_load(&log->broken))
        return CAIRN_E_IO;
    if (fdatasync(log->fd) != 0) {
        atomic_store(&log->broken, true);
        return CAIRN_E_IO;
    }
    atomic_store(&log->durable, flushed);
    return 0;
}

/* ---- writing anew ---- */

int cairn_file_log_rewrite_begin(const struct cairn_file_log *log, struct cairn_file_log *fresh)
{
    return log_make(fresh, log->dirfd, log->name);
}

/* Field by field: other threads may be looking at the atomic ones. */
static void log_replace(struct cairn_file_log *log, const struct cairn_file_log *by)
{
    log->fd = by->fd;
    log->end = by->end;
    log->room = by->room;
    log->buf = by->buf;
    log->buf_n = by->buf_n;
    log->buf_room = by->buf_room;
    atomic_store(&log->flushed, atomic_load(&by->flushed));
    atomic_store(&log->durable, atomic_load(&by->durable));
}

int cairn_file_log_rewrite_commit(struct cairn_file_log *log, struct cairn_file_log *fresh)
{
    bool renamed = false;
    int rc = cairn_file_log_write(fresh);

    if (rc == 0)
        rc = log_publish(fresh, &renamed);
    if (!renamed)
        return rc;
    cairn_file_log_close(log); /* it has no name any more: what it would be told now no start would read */
    log_replace(log, fresh);
    if (rc == 0)
        return 0;
    atomic_store(&log->broken, true);
    return CAIRN_E_UNKNOWN;
}

void cairn_file_log_rewrite_abort(struct cairn_file_log *fresh)
{
    char temp[80];

    snprintf(temp, sizeof(temp), "%s.new", fresh->name);
    unlinkat(fresh->dirfd, temp, 0);
    cairn_file_log_close(fresh);
}
