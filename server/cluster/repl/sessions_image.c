/* The bytes of a session table: see sessions_image.h. */
#include "server/cluster/repl/sessions_image.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/le.h"

#include <stdlib.h>

/* Sessions and writes are in the order of their ids and numbers, but not of positions: a repetition may be appended
 * late. */
static uint32_t writes_until(const struct cairn_session *s, uint64_t pos)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->nwrites; i++)
        n += s->writes[i].pos <= pos;
    return n;
}

static uint32_t sessions_until(const struct cairn_sessions *t, uint64_t pos)
{
    uint32_t n = t->n;

    while (n > 0 && t->all[n - 1].id.pos > pos)
        n--;
    return n;
}

size_t cairn_sessions_image_bytes(const struct cairn_sessions *t, uint64_t pos)
{
    uint32_t n = sessions_until(t, pos);
    size_t len = CAIRN_SESSIONS_IMAGE_HEADER_BYTES + (size_t)n * CAIRN_SESSIONS_IMAGE_SESSION_BYTES;

    for (uint32_t i = 0; i < n; i++)
        len += (size_t)writes_until(&t->all[i], pos) * CAIRN_SESSIONS_IMAGE_WRITE_BYTES;
    return len;
}

static void put_session(const struct cairn_session *s, uint64_t pos, struct cairn_le_writer *to)
{
    cairn_le_put64(to, s->id.epoch);
    cairn_le_put64(to, s->id.pos);
    /* Of an entry behind @pos perhaps: what a client has the answers to is so at any position. */
    cairn_le_put64(to, s->floor);
    cairn_le_put32(to, writes_until(s, pos));
    for (uint32_t i = 0; i < s->nwrites; i++) {
        if (s->writes[i].pos > pos)
            continue;
        CAIRN_ASSERT(s->writes[i].applied);
        cairn_le_put64(to, s->writes[i].seq);
        cairn_le_put64(to, s->writes[i].pos);
        cairn_le_put32(to, (uint32_t)s->writes[i].result);
    }
}

void cairn_sessions_image_put(const struct cairn_sessions *t, uint64_t pos, uint8_t *to, size_t len)
{
    struct cairn_le_writer w = cairn_le_writer(to, len);
    uint32_t n = sessions_until(t, pos);

    cairn_le_put32(&w, CAIRN_SESSIONS_IMAGE_VERSION);
    cairn_le_put32(&w, 0); /* the checksum: below */
    cairn_le_put64(&w, pos);
    cairn_le_put32(&w, n);
    for (uint32_t i = 0; i < n; i++)
        put_session(&t->all[i], pos, &w);
    CAIRN_ASSERT(!w.failed && w.at == w.end);
    cairn_le_store32(to + 4, cairn_crc32c(0, to + 8, len - 8));
}

static bool get_write(struct cairn_session *s, uint64_t pos, struct cairn_le_reader *r)
{
    struct cairn_session_write w = { .applied = true };

    w.seq = cairn_le_get64(r);
    w.pos = cairn_le_get64(r);
    w.result = (int32_t)cairn_le_get32(r);
    if (w.seq < s->floor || (s->nwrites > 0 && w.seq <= s->writes[s->nwrites - 1].seq) || w.pos <= s->id.pos ||
        w.pos > pos)
        return false;
    s->writes[s->nwrites++] = w;
    return true;
}

static int get_session(struct cairn_sessions *t, uint64_t pos, struct cairn_le_reader *r)
{
    struct cairn_session *s = &t->all[t->n];
    uint32_t n;

    *s = (struct cairn_session){ 0 };
    s->id.epoch = cairn_le_get64(r);
    s->id.pos = cairn_le_get64(r);
    s->floor = cairn_le_get64(r);
    n = cairn_le_get32(r);
    if (r->failed || s->id.epoch == 0 || s->id.pos == 0 || s->id.pos > pos || s->floor == 0 ||
        n > CAIRN_SESSION_WRITES_MAX || cairn_le_left(r) < (size_t)n * CAIRN_SESSIONS_IMAGE_WRITE_BYTES)
        return CAIRN_E_CORRUPT;
    if (t->n > 0 && (!cairn_at_is_less(s[-1].id, s->id) || s->id.pos <= s[-1].id.pos))
        return CAIRN_E_CORRUPT;
    if (n > 0) {
        s->writes = calloc(n, sizeof(*s->writes));
        if (s->writes == NULL)
            return CAIRN_E_NOMEM;
    }
    s->room = n;
    t->n++;
    for (uint32_t i = 0; i < n; i++) {
        if (!get_write(s, pos, r))
            return CAIRN_E_CORRUPT;
    }
    return 0;
}

static int get_all(struct cairn_sessions *t, uint64_t pos, struct cairn_le_reader *r)
{
    uint64_t at = cairn_le_get64(r);
    uint32_t n = cairn_le_get32(r);
    int rc = 0;

    if (at != pos || r->failed || n > CAIRN_SESSIONS_MAX ||
        cairn_le_left(r) < (size_t)n * CAIRN_SESSIONS_IMAGE_SESSION_BYTES)
        return CAIRN_E_CORRUPT;
    if (n > 0) {
        t->all = calloc(n, sizeof(*t->all));
        if (t->all == NULL)
            return CAIRN_E_NOMEM;
        t->room = n;
    }
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = get_session(t, pos, r);
    return rc == 0 && cairn_le_left(r) > 0 ? CAIRN_E_CORRUPT : rc;
}

int cairn_sessions_image_get(struct cairn_sessions *t, uint64_t pos, const uint8_t *image, size_t len)
{
    struct cairn_le_reader r = cairn_le_reader(image, len);
    int rc;

    CAIRN_ASSERT(t->n == 0 && t->all == NULL);
    if (len < CAIRN_SESSIONS_IMAGE_HEADER_BYTES)
        return CAIRN_E_CORRUPT;
    if (cairn_le_get32(&r) != CAIRN_SESSIONS_IMAGE_VERSION)
        return CAIRN_E_FORMAT;
    if (cairn_le_get32(&r) != cairn_crc32c(0, image + 8, len - 8))
        return CAIRN_E_CORRUPT;
    rc = get_all(t, pos, &r);
    if (rc != 0)
        cairn_sessions_fini(t);
    return rc;
}
