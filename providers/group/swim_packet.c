/* Packets: see swim_packet.h for what stands where. */
#include "providers/group/swim_packet.h"

#include "sdk/core/base/macros.h"

#include <endian.h>
#include <string.h>

/* ---- reading: a reader that has failed gives zeros and stays failed ---- */

struct reader {
    const uint8_t *at, *end;
    bool failed;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    const uint8_t *p = r->at;

    if ((size_t)(r->end - r->at) < n) {
        r->failed = true;
        r->at = r->end;
        return NULL;
    }
    r->at += n;
    return p;
}

static uint8_t get8(struct reader *r)
{
    const uint8_t *p = take(r, 1);

    return p != NULL ? *p : 0;
}

static uint16_t get16(struct reader *r)
{
    const uint8_t *p = take(r, 2);
    uint16_t x = 0;

    if (p != NULL)
        memcpy(&x, p, sizeof(x));
    return le16toh(x);
}

static uint32_t get32(struct reader *r)
{
    const uint8_t *p = take(r, 4);
    uint32_t x = 0;

    if (p != NULL)
        memcpy(&x, p, sizeof(x));
    return le32toh(x);
}

static uint64_t get64(struct reader *r)
{
    const uint8_t *p = take(r, 8);
    uint64_t x = 0;

    if (p != NULL)
        memcpy(&x, p, sizeof(x));
    return le64toh(x);
}

/* What people will read on a terminal: bytes, but no control characters. */
static const char *get_text(struct reader *r, uint8_t min, uint8_t max, uint8_t *len)
{
    const uint8_t *p;

    *len = get8(r);
    p = take(r, *len);
    if (p == NULL || *len < min || *len > max) {
        r->failed = true;
        return "";
    }
    for (uint32_t i = 0; i < *len; i++)
        r->failed |= p[i] < 0x20 || p[i] == 0x7f;
    return (const char *)p;
}

static void get_addr(struct reader *r, struct cairn_swim_addr *a)
{
    const uint8_t *p;

    memset(a, 0, sizeof(*a));
    a->port = get16(r);
    a->len = get8(r);
    p = take(r, a->len);
    if (p == NULL || (a->len != 4 && a->len != 16) || a->port == 0) {
        r->failed = true;
        a->len = 0;
        return;
    }
    memcpy(a->ip, p, a->len);
}

static void get_alive(struct reader *r, struct cairn_swim_update *u)
{
    u->load_seq = get32(r);
    u->load = get16(r);
    u->weight = get32(r);
    u->capacity = get64(r);
    get_addr(r, &u->addr);
    u->name = get_text(r, 1, CAIRN_SWIM_NAME_MAX, &u->name_len);
    u->zone = get_text(r, 0, CAIRN_SWIM_ZONE_MAX, &u->zone_len);
    u->service = get_text(r, 0, CAIRN_SWIM_SERVICE_MAX, &u->service_len);
    if (!r->failed)
        u->id = cairn_swim_id(u->name, u->name_len);
}

static void get_update(struct reader *r, struct cairn_swim_update *u)
{
    u->state = get8(r);
    u->nby = 0;
    u->id = u->state != CAIRN_SWIM_ALIVE ? get64(r) : 0;
    u->incarnation = get64(r);
    switch (u->state) {
    case CAIRN_SWIM_ALIVE:
        get_alive(r, u);
        return;
    case CAIRN_SWIM_SUSPECT:
        u->nby = get8(r);
        break;
    case CAIRN_SWIM_DEAD:
    case CAIRN_SWIM_LEFT:
        u->nby = 1;
        break;
    default:
        r->failed = true;
        return;
    }
    if (u->nby < 1 || u->nby > CAIRN_SWIM_BY_MAX || u->id == 0) {
        r->failed = true;
        return;
    }
    for (uint32_t i = 0; i < u->nby; i++)
        u->by[i] = get64(r);
}

static bool has_cursor(uint8_t kind)
{
    return kind == CAIRN_SWIM_SYNC || kind == CAIRN_SWIM_PAGE;
}

bool cairn_swim_decode(const uint8_t *bytes, size_t len, struct cairn_swim_msg *m)
{
    struct reader r = { .at = bytes, .end = bytes + len };

    if (len > CAIRN_SWIM_PACKET_BYTES_MAX)
        return false;
    m->kind = get8(&r);
    m->flags = get8(&r);
    m->load = get16(&r);
    m->seq = get32(&r);
    m->load_seq = get32(&r);
    m->about = get64(&r);
    m->incarnation = get64(&r);
    m->epoch = m->version = m->next = m->nupdates = 0;
    if (r.failed || m->kind < CAIRN_SWIM_PING || m->kind >= CAIRN_SWIM_KINDS_NR)
        return false;
    if (has_cursor(m->kind)) {
        m->epoch = get32(&r);
        m->version = get32(&r);
        m->next = get32(&r);
    }
    while (!r.failed && r.at < r.end) {
        if (m->nupdates == CAIRN_SWIM_UPDATES_MAX)
            return false;
        get_update(&r, &m->updates[m->nupdates++]);
    }
    return !r.failed;
}

/* ---- writing ---- */

static void put(struct cairn_swim_writer *w, const void *p, size_t n)
{
    memcpy(w->at, p, n);
    w->at += n;
}

static void put8(struct cairn_swim_writer *w, uint8_t x)
{
    *w->at++ = x;
}

static void put16(struct cairn_swim_writer *w, uint16_t x)
{
    x = htole16(x);
    put(w, &x, sizeof(x));
}

static void put32(struct cairn_swim_writer *w, uint32_t x)
{
    x = htole32(x);
    put(w, &x, sizeof(x));
}

static void put64(struct cairn_swim_writer *w, uint64_t x)
{
    x = htole64(x);
    put(w, &x, sizeof(x));
}

static void put_text(struct cairn_swim_writer *w, const void *p, uint8_t len)
{
    put8(w, len);
    put(w, p, len);
}

void cairn_swim_write_head(struct cairn_swim_writer *w, uint8_t *to, const struct cairn_swim_msg *m)
{
    w->at = to;
    w->end = to + CAIRN_SWIM_PACKET_BYTES_MAX;
    put8(w, m->kind);
    put8(w, m->flags);
    put16(w, m->load);
    put32(w, m->seq);
    put32(w, m->load_seq);
    put64(w, m->about);
    put64(w, m->incarnation);
    CAIRN_ASSERT(w->at == to + CAIRN_SWIM_HEAD_BYTES);
    if (has_cursor(m->kind)) {
        put32(w, m->epoch);
        put32(w, m->version);
        put32(w, m->next);
    }
}

static size_t update_bytes(const struct cairn_swim_update *u)
{
    switch (u->state) {
    case CAIRN_SWIM_ALIVE:
        return 1 + 8 + 4 + 2 + 4 + 8 + 2 + 4 + (size_t)u->addr.len + u->name_len + u->zone_len + u->service_len;
    case CAIRN_SWIM_SUSPECT:
        return 1 + 8 + 8 + 1 + 8 * (size_t)u->nby;
    default:
        return 1 + 8 + 8 + 8;
    }
}

bool cairn_swim_write_update(struct cairn_swim_writer *w, const struct cairn_swim_update *u)
{
    if ((size_t)(w->end - w->at) < update_bytes(u))
        return false;
    put8(w, u->state);
    if (u->state != CAIRN_SWIM_ALIVE)
        put64(w, u->id);
    put64(w, u->incarnation);
    if (u->state == CAIRN_SWIM_ALIVE) {
        put32(w, u->load_seq);
        put16(w, u->load);
        put32(w, u->weight);
        put64(w, u->capacity);
        put16(w, u->addr.port);
        put_text(w, u->addr.ip, u->addr.len);
        put_text(w, u->name, u->name_len);
        put_text(w, u->zone, u->zone_len);
        put_text(w, u->service, u->service_len);
        return true;
    }
    if (u->state == CAIRN_SWIM_SUSPECT)
        put8(w, u->nby);
    for (uint32_t i = 0; i < u->nby; i++)
        put64(w, u->by[i]);
    return true;
}

/* ---- descriptions ---- */

void cairn_swim_update_to_desc(const struct cairn_swim_update *u, struct cairn_swim_desc *d)
{
    memset(d, 0, sizeof(*d));
    d->id = u->id;
    d->capacity = u->capacity;
    d->weight = u->weight;
    d->addr = u->addr;
    memcpy(d->name, u->name, u->name_len);
    memcpy(d->zone, u->zone, u->zone_len);
    memcpy(d->service, u->service, u->service_len);
}

void cairn_swim_desc_to_update(const struct cairn_swim_desc *d, struct cairn_swim_update *u)
{
    u->id = d->id;
    u->nby = 0;
    u->state = CAIRN_SWIM_ALIVE;
    u->capacity = d->capacity;
    u->weight = d->weight;
    u->addr = d->addr;
    u->name = d->name;
    u->zone = d->zone;
    u->service = d->service;
    u->name_len = (uint8_t)strlen(d->name);
    u->zone_len = (uint8_t)strlen(d->zone);
    u->service_len = (uint8_t)strlen(d->service);
}
