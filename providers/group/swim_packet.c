/* Packets: see swim_packet.h for what stands where. */
#include "providers/group/swim_packet.h"

#include "sdk/core/base/macros.h"

#include <string.h>

/* ---- reading ---- */

/* What people will read on a terminal: bytes, but no control characters. */
static const char *get_text(struct cairn_le_reader *r, uint8_t min, uint8_t max, uint8_t *len)
{
    const uint8_t *p;

    *len = cairn_le_get8(r);
    p = cairn_le_take(r, *len);
    if (p == NULL || *len < min || *len > max) {
        r->failed = true;
        return "";
    }
    for (uint32_t i = 0; i < *len; i++)
        r->failed |= p[i] < 0x20 || p[i] == 0x7f;
    return (const char *)p;
}

static void get_addr(struct cairn_le_reader *r, struct cairn_swim_addr *a)
{
    const uint8_t *p;

    memset(a, 0, sizeof(*a));
    a->port = cairn_le_get16(r);
    a->len = cairn_le_get8(r);
    p = cairn_le_take(r, a->len);
    if (p == NULL || (a->len != 4 && a->len != 16) || a->port == 0) {
        r->failed = true;
        a->len = 0;
        return;
    }
    memcpy(a->ip, p, a->len);
}

static void get_alive(struct cairn_le_reader *r, struct cairn_swim_update *u)
{
    u->load_seq = cairn_le_get32(r);
    u->load = cairn_le_get16(r);
    u->weight = cairn_le_get32(r);
    u->capacity = cairn_le_get64(r);
    u->node.node = cairn_le_get64(r);
    u->node.process = cairn_le_get64(r);
    get_addr(r, &u->addr);
    u->name = get_text(r, 1, CAIRN_SWIM_NAME_MAX, &u->name_len);
    u->zone = get_text(r, 0, CAIRN_SWIM_ZONE_MAX, &u->zone_len);
    u->service = get_text(r, 0, CAIRN_SWIM_SERVICE_MAX, &u->service_len);
    if (!r->failed)
        u->id = cairn_swim_id(u->name, u->name_len);
}

static void get_update(struct cairn_le_reader *r, struct cairn_swim_update *u)
{
    u->state = cairn_le_get8(r);
    u->nby = 0;
    u->id = u->state != CAIRN_SWIM_ALIVE ? cairn_le_get64(r) : 0;
    u->incarnation = cairn_le_get64(r);
    switch (u->state) {
    case CAIRN_SWIM_ALIVE:
        get_alive(r, u);
        return;
    case CAIRN_SWIM_SUSPECT:
        u->nby = cairn_le_get8(r);
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
        u->by[i] = cairn_le_get64(r);
}

static bool has_cursor(uint8_t kind)
{
    return kind == CAIRN_SWIM_SYNC || kind == CAIRN_SWIM_PAGE;
}

bool cairn_swim_decode(const uint8_t *bytes, size_t len, struct cairn_swim_msg *m)
{
    struct cairn_le_reader r = cairn_le_reader(bytes, len);

    if (len > CAIRN_SWIM_PACKET_BYTES_MAX)
        return false;
    m->kind = cairn_le_get8(&r);
    m->flags = cairn_le_get8(&r);
    m->load = cairn_le_get16(&r);
    m->seq = cairn_le_get32(&r);
    m->load_seq = cairn_le_get32(&r);
    m->about = cairn_le_get64(&r);
    m->incarnation = cairn_le_get64(&r);
    m->word.node = cairn_le_get64(&r);
    m->word.map = cairn_le_get64(&r);
    m->word.version = cairn_le_get64(&r);
    m->epoch = m->version = m->next = m->nupdates = 0;
    if (r.failed || m->kind < CAIRN_SWIM_PING || m->kind >= CAIRN_SWIM_KINDS_NR)
        return false;
    if (has_cursor(m->kind)) {
        m->epoch = cairn_le_get32(&r);
        m->version = cairn_le_get32(&r);
        m->next = cairn_le_get32(&r);
    }
    while (!r.failed && r.at < r.end) {
        if (m->nupdates == CAIRN_SWIM_UPDATES_MAX)
            return false;
        get_update(&r, &m->updates[m->nupdates++]);
    }
    return !r.failed;
}

/* ---- writing ---- */

static void put_text(struct cairn_le_writer *w, const void *p, uint8_t len)
{
    cairn_le_put8(w, len);
    cairn_le_put(w, p, len);
}

void cairn_swim_write_head(struct cairn_le_writer *w, uint8_t *to, const struct cairn_swim_msg *m)
{
    *w = cairn_le_writer(to, CAIRN_SWIM_PACKET_BYTES_MAX);
    cairn_le_put8(w, m->kind);
    cairn_le_put8(w, m->flags);
    cairn_le_put16(w, m->load);
    cairn_le_put32(w, m->seq);
    cairn_le_put32(w, m->load_seq);
    cairn_le_put64(w, m->about);
    cairn_le_put64(w, m->incarnation);
    cairn_le_put64(w, m->word.node);
    cairn_le_put64(w, m->word.map);
    cairn_le_put64(w, m->word.version);
    CAIRN_ASSERT(w->at == to + CAIRN_SWIM_HEAD_BYTES);
    if (has_cursor(m->kind)) {
        cairn_le_put32(w, m->epoch);
        cairn_le_put32(w, m->version);
        cairn_le_put32(w, m->next);
    }
}

static void put_alive(struct cairn_le_writer *w, const struct cairn_swim_update *u)
{
    cairn_le_put32(w, u->load_seq);
    cairn_le_put16(w, u->load);
    cairn_le_put32(w, u->weight);
    cairn_le_put64(w, u->capacity);
    cairn_le_put64(w, u->node.node);
    cairn_le_put64(w, u->node.process);
    cairn_le_put16(w, u->addr.port);
    put_text(w, u->addr.ip, u->addr.len);
    put_text(w, u->name, u->name_len);
    put_text(w, u->zone, u->zone_len);
    put_text(w, u->service, u->service_len);
}

static void put_doubt(struct cairn_le_writer *w, const struct cairn_swim_update *u)
{
    if (u->state == CAIRN_SWIM_SUSPECT)
        cairn_le_put8(w, u->nby);
    for (uint32_t i = 0; i < u->nby; i++)
        cairn_le_put64(w, u->by[i]);
}

bool cairn_swim_write_update(struct cairn_le_writer *w, const struct cairn_swim_update *u)
{
    const struct cairn_le_writer before = *w;

    cairn_le_put8(w, u->state);
    if (u->state != CAIRN_SWIM_ALIVE)
        cairn_le_put64(w, u->id);
    cairn_le_put64(w, u->incarnation);
    if (u->state == CAIRN_SWIM_ALIVE)
        put_alive(w, u);
    else
        put_doubt(w, u);
    if (!w->failed)
        return true;
    *w = before;
    return false;
}

/* ---- descriptions ---- */

void cairn_swim_update_to_desc(const struct cairn_swim_update *u, struct cairn_swim_desc *d)
{
    memset(d, 0, sizeof(*d));
    d->id = u->id;
    d->capacity = u->capacity;
    d->node = u->node;
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
    u->node = d->node;
    u->weight = d->weight;
    u->addr = d->addr;
    u->name = d->name;
    u->zone = d->zone;
    u->service = d->service;
    u->name_len = (uint8_t)strlen(d->name);
    u->zone_len = (uint8_t)strlen(d->zone);
    u->service_len = (uint8_t)strlen(d->service);
}
