/* A log without end in files of one size: see segments.h. */
#include "server/storage/segments.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

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

static const char magic[8] = { 'C', 'A', 'I', 'R', 'N', 'S', 'E', 'G' };
static const char spare[] = "spare";

static uint32_t header_crc(const struct segment_header *h)
{
    return cairn_crc32c(0, h, offsetof(struct segment_header, crc));
}

static uint32_t record_crc(uint32_t nonce, const void *record, uint32_t bytes)
{
    return cairn_crc32c(nonce, (const char *)record + sizeof(uint32_t), bytes - sizeof(uint32_t));
}

static void segment_name(uint64_t first, char name[32])
{
    snprintf(name, 32, "seg-%016" PRIx64, first);
}

static struct cairn_segment *newest(struct cairn_segments *s)
{
    return &s->all[s->n - 1];
}

/* ---- making segments ---- */

static int list_room(struct cairn_segments *s)
{
    uint32_t room = s->room == 0 ? 8 : s->room * 2;
    struct cairn_segment *all;

    if (s->n < s->room)
        return 0;
    if (s->n >= CAIRN_SEGMENTS_MAX)
        return CAIRN_E_NOSPACE;
    pthread_mutex_lock(&s->mutex); /* sync() looks into the list */
    all = realloc(s->all, room * sizeof(*all));
    if (all != NULL) {
        s->all = all;
        s->room = room;
    }
    pthread_mutex_unlock(&s->mutex);
    return all != NULL ? 0 : CAIRN_E_NOMEM;
}

static int header_write(int fd, uint64_t first, uint32_t *nonce)
{
    struct segment_header h = { .version = SEGMENT_VERSION, .first = first };
    uint8_t page[HEADER_BYTES] = { 0 };
    int rc;

    if (getrandom(&h.nonce, sizeof(h.nonce), 0) != sizeof(h.nonce))
        return CAIRN_E_IO;
    *nonce = h.nonce;
    memcpy(h.magic, magic, sizeof(magic));
    h.crc = header_crc(&h);
    memcpy(page, &h, sizeof(h));
    rc = cairn_file_pwrite(fd, page, sizeof(page), 0);
    if (rc == 0 && fsync(fd) != 0)
        rc = cairn_file_code(errno);
    return rc;
}

/* A file with room for all of a segment: an old one, or a new one. It has no name that a start looks at. */
static int spare_open(struct cairn_segments *s, int *fd)
{
    int e;

    *fd = openat(s->dirfd, spare, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        return cairn_file_code(errno);
    e = posix_fallocate(*fd, 0, (off_t)s->segment_bytes);
    s->spare = e == 0;
    if (e == 0)
        return 0;
    close(*fd);
    unlinkat(s->dirfd, spare, 0); /* what it got of a full disk is for others */
    return cairn_file_code(e);
}

/* All of a segment that begins with record @first but its name: until it has that, nothing has happened to the log. */
static int segment_make(struct cairn_segments *s, uint64_t first, struct cairn_segment *made)
{
    int rc = list_room(s);

    *made = (struct cairn_segment){ .first = first };
    if (rc == 0)
        rc = spare_open(s, &made->fd);
    if (rc != 0)
        return rc;
    rc = header_write(made->fd, first, &made->nonce);
    if (rc != 0)
        close(made->fd);
    return rc;
}

/* It is the newest from now on; on failure it is closed. */
static int segment_begin(struct cairn_segments *s, const struct cairn_segment *made)
{
    char name[32];
    int rc;

    segment_name(made->first, name);
    if (renameat(s->dirfd, spare, s->dirfd, name) != 0 || fsync(s->dirfd) != 0) {
        rc = cairn_file_code(errno);
        close(made->fd);
        return rc;
    }
    s->spare = false;
    pthread_mutex_lock(&s->mutex);
    s->all[s->n++] = *made;
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

/* Behind all that was read back. */
static int segment_first(struct cairn_segments *s)
{
    struct cairn_segment made;
    int rc = segment_make(s, s->end, &made);

    return rc != 0 ? rc : segment_begin(s, &made);
}

/* ---- reading back ---- */

/* The record at @at of @n bytes, if one with number @lsn stands there. */
static const struct record *record_at(uint32_t nonce, const uint8_t *p, uint64_t n, uint64_t at, uint64_t lsn)
{
    struct record h;

    if (n - at < sizeof(h))
        return NULL;
    memcpy(&h, p + at, sizeof(h));
    if (h.lsn != lsn || h.bytes < sizeof(h) || h.bytes > CAIRN_SEGMENT_RECORD_BYTES_MAX || h.bytes % 8 != 0 ||
        h.bytes > n - at || h.body > h.bytes - sizeof(h) || record_crc(nonce, p + at, h.bytes) != h.crc)
        return NULL;
    return (const struct record *)(const void *)(p + at);
}

/* Whether a later record of the segment vouches for what stood at @at. */
static bool is_vouched_for(uint32_t nonce, const uint8_t *p, uint64_t n, uint64_t at, uint64_t lsn)
{
    for (uint64_t i = 8; at + i + sizeof(struct record) <= n; i += 8) {
        const struct record *rec = record_at(nonce, p, n, at + i, lsn + i);

        if (rec != NULL && rec->durable > lsn)
            return true;
    }
    return false;
}

struct reading {
    struct cairn_segments *s;
    cairn_segments_fn *fn;
    void *arg;
    struct cairn_segments_found *found;
    struct cairn_err *err;
    bool ended; /* the segment was closed by its END */
};

/* All records of one segment; s->end moves behind the last. */
static int read_records(struct reading *r, const uint8_t *p, uint64_t n)
{
    struct cairn_segments *s = r->s;
    uint32_t nonce = newest(s)->nonce;
    uint64_t at = HEADER_BYTES;

    r->ended = false;
    for (;;) {
        const struct record *rec = record_at(nonce, p, n, at, s->end);
        int rc;

        if (rec == NULL)
            break;
        at += rec->bytes;
        s->end += rec->bytes;
        if (rec->type == TYPE_END) {
            r->ended = true;
            return 0;
        }
        r->found->records++;
        rc = r->fn(r->arg, rec->lsn, rec->type, rec + 1, rec->body);
        if (rc != 0)
            return rc;
    }
    if (is_vouched_for(nonce, p, n, at, s->end))
        return cairn_err_set(r->err, CAIRN_E_CORRUPT, "the log is damaged at %" PRIu64 ": what was there was durable",
                             s->end);
    return 0;
}

static int read_segment(struct reading *r, const char *name, uint64_t first)
{
    struct cairn_segments *s = r->s;
    struct segment_header h;
    struct stat st;
    uint8_t *p = NULL;
    int fd = openat(s->dirfd, name, O_RDWR | O_CLOEXEC), rc;

    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < HEADER_BYTES) {
        rc = cairn_err_set(r->err, CAIRN_E_IO, "%s: cannot be opened, or is cut", name);
        goto out;
    }
    p = malloc((size_t)st.st_size);
    rc = p == NULL ? CAIRN_E_NOMEM : cairn_file_pread(fd, p, (uint64_t)st.st_size, 0);
    /* What is taken for written must still be there after the next loss of power. */
    if (rc == 0 && fdatasync(fd) != 0)
        rc = CAIRN_E_IO;
    if (rc != 0) {
        cairn_err_set(r->err, rc, "%s: %s", name, cairn_error_text(rc));
        goto out;
    }
    memcpy(&h, p, sizeof(h));
    if (memcmp(h.magic, magic, sizeof(magic)) != 0 || h.crc != header_crc(&h) || h.first != first)
        rc = cairn_err_set(r->err, CAIRN_E_CORRUPT, "%s: its header is damaged", name);
    else if (h.version > SEGMENT_VERSION)
        rc = cairn_err_set(r->err, CAIRN_E_FORMAT, "%s: version %u, this program knows %d", name, h.version,
                           SEGMENT_VERSION);
    else
        rc = list_room(s);
    if (rc != 0)
        goto out;
    s->all[s->n++] = (struct cairn_segment){ .fd = fd, .nonce = h.nonce, .first = first };
    fd = -1;
    rc = read_records(r, p, (uint64_t)st.st_size);
out:
    free(p);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int is_segment(const struct dirent *d)
{
    uint64_t first;
    char end;

    return strlen(d->d_name) == 20 && sscanf(d->d_name, "seg-%16" SCNx64 "%c", &first, &end) == 1;
}

static void names_free(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

int cairn_segments_exist(int dirfd, bool *exist, struct cairn_err *err)
{
    struct dirent **names = NULL;
    int n = scandirat(dirfd, ".", &names, is_segment, NULL);

    if (n < 0)
        return cairn_err_errno(err, errno, "list the log's segments");
    *exist = n > 0;
    names_free(names, n);
    return 0;
}

static int read_all(struct reading *r)
{
    struct cairn_segments *s = r->s;
    struct dirent **names = NULL;
    int n = scandirat(s->dirfd, ".", &names, is_segment, alphasort), rc = 0;

    if (n < 0)
        return cairn_err_errno(r->err, errno, "list the log's segments");
    for (int i = 0; i < n && rc == 0; i++) {
        uint64_t first;

        CAIRN_ASSERT(sscanf(names[i]->d_name, "seg-%16" SCNx64, &first) == 1);
        if (i > 0 && first != s->end)
            rc = cairn_err_set(r->err, CAIRN_E_CORRUPT, "the log has a hole between %" PRIu64 " and %" PRIu64, s->end,
                               first);
        s->end = first;
        if (rc == 0)
            rc = read_segment(r, names[i]->d_name, first);
    }
    names_free(names, n);
    r->found->torn = n > 0 && !r->ended;
    r->found->bytes = s->n > 0 ? s->end - s->all[0].first : 0;
    return rc;
}

int cairn_segments_open(struct cairn_segments *s, int dirfd, uint64_t segment_bytes, cairn_segments_fn *fn, void *arg,
                        struct cairn_segments_found *found, struct cairn_err *err)
{
    struct reading r = { .s = s, .fn = fn, .arg = arg, .found = found, .err = err };
    int rc;

    CAIRN_ASSERT(segment_bytes >= CAIRN_SEGMENT_BYTES_MIN);
    *found = (struct cairn_segments_found){ 0 };
    *s = (struct cairn_segments){ .dirfd = dirfd, .segment_bytes = segment_bytes };
    pthread_mutex_init(&s->mutex, NULL);
    rc = read_all(&r);
    s->written = s->durable = s->end;
    if (rc == 0) {
        /* One without a whole record is named as the next would be: it is the next, and what is torn in it is void. */
        rc = s->n > 0 && newest(s)->first == s->end ? header_write(newest(s)->fd, s->end, &newest(s)->nonce)
                                                    : segment_first(s);
        if (rc != 0)
            cairn_err_set(err, rc, "begin a segment of the log: %s", cairn_error_text(rc));
    }
    if (rc != 0)
        cairn_segments_close(s);
    return rc;
}

void cairn_segments_close(struct cairn_segments *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        close(s->all[i].fd);
    free(s->all);
    free(s->buf);
    s->all = NULL;
    s->buf = NULL;
    s->n = 0;
    pthread_mutex_destroy(&s->mutex);
}

/* ---- appending ---- */

static int buf_reserve(struct cairn_segments *s, size_t more)
{
    size_t want = s->buf_room != 0 ? s->buf_room : 64 << 10;
    uint8_t *p;

    while (want < s->buf_n + more)
        want *= 2;
    if (want == s->buf_room)
        return 0;
    p = realloc(s->buf, want);
    if (p == NULL)
        return CAIRN_E_NOMEM;
    s->buf = p;
    s->buf_room = want;
    return 0;
}

static void record_put(struct cairn_segments *s, uint32_t type, const struct iovec *body, uint32_t n, uint32_t bytes,
                       uint32_t body_bytes)
{
    struct record h = { .bytes = bytes, .lsn = s->end, .type = type, .body = body_bytes };
    uint8_t *p = s->buf + s->buf_n, *at = p + sizeof(h);

    pthread_mutex_lock(&s->mutex);
    h.durable = s->durable;
    pthread_mutex_unlock(&s->mutex);
    memset(p + bytes - 8, 0, 8); /* the padding */
    memcpy(p, &h, sizeof(h));
    for (uint32_t i = 0; i < n; i++) {
        memcpy(at, body[i].iov_base, body[i].iov_len);
        at += body[i].iov_len;
    }
    h.crc = record_crc(newest(s)->nonce, p, bytes);
    memcpy(p, &h.crc, sizeof(h.crc));
    s->buf_n += bytes;
    s->end += bytes;
}

/* Closes the newest segment, all of it durable, and begins the next, which is made before: on a full disk the newest
 * one stays open. */
static int roll(struct cairn_segments *s)
{
    struct cairn_segment next;
    int rc = buf_reserve(s, sizeof(struct record));

    if (rc == 0)
        rc = segment_make(s, s->end + sizeof(struct record), &next);
    if (rc != 0)
        return rc;
    record_put(s, TYPE_END, NULL, 0, sizeof(struct record), 0);
    rc = cairn_segments_write(s);
    if (rc == 0)
        rc = cairn_segments_sync(s);
    if (rc != 0)
        close(next.fd);
    else
        rc = segment_begin(s, &next);
    if (rc != 0)
        atomic_store(&s->broken, true); /* it is closed, and there is no other */
    return rc == 0 ? 0 : CAIRN_E_IO;
}

int cairn_segments_add(struct cairn_segments *s, uint32_t type, const struct iovec *body, uint32_t n, uint64_t *lsn)
{
    uint64_t bytes, body_bytes = 0, used = HEADER_BYTES + s->end - newest(s)->first;
    int rc;

    if (atomic_load(&s->broken))
        return CAIRN_E_IO;
    for (uint32_t i = 0; i < n; i++)
        body_bytes += body[i].iov_len;
    bytes = cairn_segment_record_bytes(body_bytes);
    CAIRN_ASSERT(type < TYPE_END && bytes <= CAIRN_SEGMENT_RECORD_BYTES_MAX);
    if (used + bytes + sizeof(struct record) > s->segment_bytes) {
        rc = roll(s);
        if (rc != 0)
            return rc;
    }
    rc = buf_reserve(s, bytes);
    if (rc != 0)
        return rc;
    *lsn = s->end;
    record_put(s, type, body, n, (uint32_t)bytes, (uint32_t)body_bytes);
    return 0;
}

int cairn_segments_reserve(struct cairn_segments *s)
{
    int fd, rc = 0;

    if (!s->spare) {
        rc = spare_open(s, &fd);
        if (rc == 0)
            close(fd);
    }
    return rc;
}

uint64_t cairn_segments_room(const struct cairn_segments *s)
{
    uint64_t room = s->segment_bytes - MIN(s->segment_bytes, HEADER_BYTES + s->end - s->all[s->n - 1].first);

    return room + (s->spare && s->n < CAIRN_SEGMENTS_MAX ? s->segment_bytes - HEADER_BYTES : 0);
}

int cairn_segments_write(struct cairn_segments *s)
{
    struct cairn_segment *seg = newest(s);
    int rc = 0;

    if (atomic_load(&s->broken))
        return CAIRN_E_IO;
    if (s->buf_n > 0)
        rc = cairn_file_pwrite(seg->fd, s->buf, s->buf_n, HEADER_BYTES + (s->written - seg->first));
    s->buf_n = 0;
    pthread_mutex_lock(&s->mutex);
    if (rc == 0)
        s->written = s->end;
    else
        atomic_store(&s->broken, true);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int cairn_segments_sync(struct cairn_segments *s)
{
    uint64_t written, first;
    int fd, rc = 0;

    pthread_mutex_lock(&s->mutex);
    written = s->written;
    first = newest(s)->first; /* older ones are durable: roll() */
    fd = newest(s)->fd;
    newest(s)->users++;
    if (atomic_load(&s->broken))
        rc = CAIRN_E_IO;
    pthread_mutex_unlock(&s->mutex);
    if (rc == 0 && fdatasync(fd) != 0)
        rc = CAIRN_E_IO;
    pthread_mutex_lock(&s->mutex);
    for (uint32_t i = 0; i < s->n; i++)
        s->all[i].users -= s->all[i].first == first;
    if (rc != 0)
        atomic_store(&s->broken, true); /* no retry can tell what the disk holds */
    else
        s->durable = MAX(s->durable, written);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

/* ---- forgetting ---- */

void cairn_segments_release(struct cairn_segments *s, uint64_t lsn)
{
    struct stat st;

    while (s->n > 1) {
        char name[32];
        bool used;

        pthread_mutex_lock(&s->mutex);
        used = s->all[0].users > 0;
        pthread_mutex_unlock(&s->mutex);
        if (used || s->all[1].first > lsn)
            return;
        segment_name(s->all[0].first, name);
        if (fstatat(s->dirfd, spare, &st, 0) == 0 || renameat(s->dirfd, name, s->dirfd, spare) != 0)
            unlinkat(s->dirfd, name, 0);
        fsync(s->dirfd); /* oldest first, so that a loss of power leaves no hole */
        close(s->all[0].fd);
        pthread_mutex_lock(&s->mutex);
        s->n--;
        memmove(s->all, s->all + 1, s->n * sizeof(*s->all));
        pthread_mutex_unlock(&s->mutex);
    }
}

uint64_t cairn_segments_begin(const struct cairn_segments *s)
{
    return s->all[0].first;
}

uint64_t cairn_segments_newest(const struct cairn_segments *s)
{
    return s->all[s->n - 1].first;
}
