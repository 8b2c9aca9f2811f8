/* A log in segments, read back at a start: see segments.h. What lies there is what a crash, or a damaged disk, has
 * left: nothing is taken for a record but by its checksum, its number and its place. */
#include "server/storage/segments_internal.h"

#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The record at @at of @n bytes, if one with number @lsn stands there. */
static const struct record *record_at(uint32_t nonce, const uint8_t *p, uint64_t n, uint64_t at, uint64_t lsn)
{
    struct record h;

    if (n - at < sizeof(h))
        return NULL;
    memcpy(&h, p + at, sizeof(h));
    if (h.lsn != lsn || h.bytes < sizeof(h) || h.bytes > CAIRN_SEGMENT_RECORD_BYTES_MAX || h.bytes % 8 != 0 ||
        h.bytes > n - at || h.body > h.bytes - sizeof(h) || cairn_segment__record_crc(nonce, p + at, h.bytes) != h.crc)
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

/* All records of one segment; s->end moves behind the last. */
static int read_records(struct cairn_segments__reading *r, const uint8_t *p, uint64_t n)
{
    struct cairn_segments *s = r->s;
    uint32_t nonce = cairn_segments__newest(s)->nonce;
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

static int read_segment(struct cairn_segments__reading *r, const char *name, uint64_t first)
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
    if (memcmp(h.magic, SEGMENT_MAGIC, sizeof(h.magic)) != 0 || h.crc != cairn_segment__header_crc(&h) ||
        h.first != first)
        rc = cairn_err_set(r->err, CAIRN_E_CORRUPT, "%s: its header is damaged", name);
    else if (h.version > SEGMENT_VERSION)
        rc = cairn_err_set(r->err, CAIRN_E_FORMAT, "%s: version %u, this program knows %d", name, h.version,
                           SEGMENT_VERSION);
    else
        rc = cairn_segments__room(s);
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

int cairn_segments__read(struct cairn_segments__reading *r)
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
