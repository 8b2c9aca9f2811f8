/* A log without end in files of one size: see segments.h. */
#include "server/storage/segments_internal.h"

#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char spare[] = "spare";

static void segment_name(uint64_t first, char name[32])
{
    snprintf(name, 32, "seg-%016" PRIx64, first);
}

/* ---- making segments ---- */

int cairn_segments__room(struct cairn_segments *s)
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
    memcpy(h.magic, SEGMENT_MAGIC, sizeof(h.magic));
    h.crc = cairn_segment__header_crc(&h);
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
    int rc = cairn_segments__room(s);

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

int cairn_segments_open(struct cairn_segments *s, int dirfd, uint64_t segment_bytes, cairn_segments_fn *fn, void *arg,
                        struct cairn_segments_found *found, struct cairn_err *err)
{
    struct cairn_segments__reading r = { .s = s, .fn = fn, .arg = arg, .found = found, .err = err };
    int rc;

    CAIRN_ASSERT(segment_bytes >= CAIRN_SEGMENT_BYTES_MIN);
    *found = (struct cairn_segments_found){ 0 };
    *s = (struct cairn_segments){ .dirfd = dirfd, .segment_bytes = segment_bytes };
    pthread_mutex_init(&s->mutex, NULL);
    rc = cairn_segments__read(&r);
    s->written = s->durable = s->end;
    if (rc == 0) {
        /* One without a whole record is named as the next would be: it is the next, and what is torn in it is void. */
        rc = s->n > 0 && cairn_segments__newest(s)->first == s->end
                 ? header_write(cairn_segments__newest(s)->fd, s->end, &cairn_segments__newest(s)->nonce)
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
    h.crc = cairn_segment__record_crc(cairn_segments__newest(s)->nonce, p, bytes);
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
    uint64_t bytes, body_bytes = 0, used = HEADER_BYTES + s->end - cairn_segments__newest(s)->first;
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

uint64_t cairn_segments_room(const struct cairn_segments *s, uint64_t largest)
{
    uint64_t whole = s->segment_bytes - HEADER_BYTES - sizeof(struct record); /* the last record says that it ends */
    uint64_t rest = whole - MIN(whole, s->end - s->all[s->n - 1].first);

    return s->spare && s->n < CAIRN_SEGMENTS_MAX ? whole + rest - MIN(rest, largest) : rest;
}

int cairn_segments_write(struct cairn_segments *s)
{
    struct cairn_segment *seg = cairn_segments__newest(s);
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
    first = cairn_segments__newest(s)->first; /* older ones are durable: roll() */
    fd = cairn_segments__newest(s)->fd;
    cairn_segments__newest(s)->users++;
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
