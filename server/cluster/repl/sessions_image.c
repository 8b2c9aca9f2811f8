/* The bytes of a session table: see sessions_image.h. */
#include "server/cluster/repl/sessions_image.h"

#include "sdk/core/base/crc.h"

#include <endian.h>
#include <stdlib.h>

struct cursor {
    const uint8_t *at;
    size_t left;
};

static uint8_t *put32(uint8_t *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof(v));
    return to + sizeof(v);
}

static uint8_t *put64(uint8_t *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof(v));
    return to + sizeof(v);
}

/* The caller has looked at @left. */
static uint32_t get32(struct cursor *c)
{
    uint32_t v;

    memcpy(&v, c->at, sizeof(v));
    c->at += sizeof(v);
    c->left -= sizeof(v);
    return le32toh(v);
}

static uint64_t get64(struct cursor *c)
{
    uint64_t v;

    memcpy(&v, c->at, sizeof(v));
    c->at += sizeof(v);
    c->left -= sizeof(v);
    return le64toh(v);
}

/* Sessions and writes are in the order of their ids and numbers, but not of positions: a repetition may be appended late. */
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

static uint8_t *put_session(const struct cairn_session *s, uint64_t pos, uint8_t *to)
{
    to = put64(to, s->id.epoch);
    to = put64(to, s->id.pos);
    to = put64(to,
               s->floor); /* of an entry behind @pos perhaps: what a client has the answers to is so at any position */
    to = put32(to, writes_until(s, pos));
    for (uint32_t i = 0; i < s->nwrites; i++) {
        if (s->writes[i].pos > pos)
            continue;
        CAIRN_ASSERT(s->writes[i].applied);
        to = put64(to, s->writes[i].seq);
        to = put64(to, s->writes[i].pos);
        to = put32(to, (uint32_t)s->writes[i].result);
    }
    return to;
}

void cairn_sessions_image_put(const struct cairn_sessions *t, uint64_t pos, uint8_t *to)
{
    uint8_t *end = put64(to + 8, pos);
    uint32_t n = sessions_until(t, pos);

    put32(to, CAIRN_SESSIONS_IMAGE_VERSION);
    end = put32(end, n);
    for (uint32_t i = 0; i < n; i++)
        end = put_session(&t->all[i], pos, end);
    put32(to + 4, cairn_crc32c(0, to + 8, (size_t)(end - to) - 8));
}

static bool get_write(struct cairn_session *s, uint64_t pos, struct cursor *c)
{
    struct cairn_session_write w = { .applied = true };

    w.seq = get64(c);
    w.pos = get64(c);
    w.result = (int32_t)get32(c);
    if (w.seq < s->floor || (s->nwrites > 0 && w.seq <= s->writes[s->nwrites - 1].seq) || w.pos <= s->id.pos ||
        w.pos > pos)
        return false;
    s->writes[s->nwrites++] = w;
    return true;
}

static int get_session(struct cairn_sessions *t, uint64_t pos, struct cursor *c)
{
    struct cairn_session *s = &t->all[t->n];
    uint32_t n;

    if (c->left < CAIRN_SESSIONS_IMAGE_SESSION_BYTES)
        return CAIRN_E_CORRUPT;
    *s = (struct cairn_session){ 0 };
    s->id.epoch = get64(c);
    s->id.pos = get64(c);
    s->floor = get64(c);
    n = get32(c);
    if (s->id.epoch == 0 || s->id.pos == 0 || s->id.pos > pos || s->floor == 0 || n > CAIRN_SESSION_WRITES_MAX ||
        c->left < (size_t)n * CAIRN_SESSIONS_IMAGE_WRITE_BYTES)
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
        if (!get_write(s, pos, c))
            return CAIRN_E_CORRUPT;
    }
    return 0;
}

static int get_all(struct cairn_sessions *t, uint64_t pos, struct cursor *c)
{
    uint64_t at = get64(c);
    uint32_t n = get32(c);
    int rc = 0;

    if (at != pos || n > CAIRN_SESSIONS_MAX || c->left < (size_t)n * CAIRN_SESSIONS_IMAGE_SESSION_BYTES)
        return CAIRN_E_CORRUPT;
    if (n > 0) {
        t->all = calloc(n, sizeof(*t->all));
        if (t->all == NULL)
            return CAIRN_E_NOMEM;
        t->room = n;
    }
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = get_session(t, pos, c);
    return rc == 0 && c->left > 0 ? CAIRN_E_CORRUPT : rc;
}

int cairn_sessions_image_get(struct cairn_sessions *t, uint64_t pos, const uint8_t *image, size_t len)
{
    struct cursor c = { image, len };
    int rc;

    CAIRN_ASSERT(t->n == 0 && t->all == NULL);
    if (len < CAIRN_SESSIONS_IMAGE_HEADER_BYTES)
        return CAIRN_E_CORRUPT;
    if (get32(&c) != CAIRN_SESSIONS_IMAGE_VERSION)
        return CAIRN_E_FORMAT;
    if (get32(&c) != cairn_crc32c(0, image + 8, len - 8))
        return CAIRN_E_CORRUPT;
    rc = get_all(t, pos, &c);
    if (rc != 0)
        cairn_sessions_fini(t);
    return rc;
}
