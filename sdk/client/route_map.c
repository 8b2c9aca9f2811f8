/* The map as a client knows it: see route_map.h. */
#include "sdk/client/route_map.h"

#include "sdk/core/base/macros.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 255 }; /* of a name, a zone, a host, an address: longer ones are not taken */

void cairn_route_map_init(struct cairn_route_map *m, const char *host)
{
    *m = (struct cairn_route_map){ 0 };
    snprintf(m->host, sizeof(m->host), "%s", host);
}

void cairn_route_map_fini(struct cairn_route_map *m)
{
    for (uint32_t i = 0; i < m->nnodes; i++) {
        free(m->nodes[i]->text);
        free(m->nodes[i]);
    }
    free(m->nodes);
    free(m->order);
    free(m->slots);
}

/* ---- nodes ---- */

/* Where in m->order @node is or would be. */
static uint32_t order_of(const struct cairn_route_map *m, uint64_t node)
{
    uint32_t lo = 0, hi = m->nnodes;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (m->nodes[m->order[mid]]->node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int cairn_route_map_place(const struct cairn_route_map *m, uint64_t node)
{
    uint32_t at = order_of(m, node);

    return at < m->nnodes && m->nodes[m->order[at]]->node == node ? m->order[at] : -1;
}

static bool nodes_make_room(struct cairn_route_map *m)
{
    uint32_t room = MAX(2 * m->room, 16U);
    struct cairn_route_node **nodes;
    uint16_t *order;

    if (m->nnodes < m->room)
        return true;
    nodes = realloc(m->nodes, room * sizeof(struct cairn_route_node *));
    if (nodes == NULL)
        return false;
    m->nodes = nodes;
    order = realloc(m->order, room * sizeof(*order));
    if (order == NULL)
        return false;
    m->order = order;
    m->room = room;
    return true;
}

/* The place of @node, which is made. CAIRN_E_NOMEM, CAIRN_E_LIMIT. */
static int node_make(struct cairn_route_map *m, uint64_t node)
{
    int place = cairn_route_map_place(m, node);
    uint32_t at = order_of(m, node);
    struct cairn_route_node *x;

    if (place >= 0)
        return place;
    if (m->nnodes == CAIRN_MEMBERS_MAX)
        return CAIRN_E_LIMIT;
    x = nodes_make_room(m) ? calloc(1, sizeof(*x)) : NULL;
    if (x == NULL)
        return CAIRN_E_NOMEM;
    x->node = node;
    x->name = x->zone = x->host = "";
    x->distance = ROUTE_ELSEWHERE;
    memmove(m->order + at + 1, m->order + at, (m->nnodes - at) * sizeof(*m->order));
    m->order[at] = (uint16_t)m->nnodes;
    m->nodes[m->nnodes] = x;
    return (int)m->nnodes++;
}

static bool is_text(const char *s)
{
    return strlen(s) <= TEXT_BYTES_MAX;
}

static const char *text_put(char **at, const char *s)
{
    size_t n = strlen(s) + 1;
    char *to = memcpy(*at, s, n);

    *at += n;
    return to;
}

static bool is_reached_alike(const struct cairn_route_node *x, const Cairn__Wire__MemberUpdate *u, uint32_t naddresses)
{
    bool alike = x->naddresses == naddresses && strcmp(x->name, u->name) == 0 && strcmp(x->host, u->host) == 0;

    for (uint32_t i = 0; alike && i < naddresses; i++)
        alike = strcmp(x->addresses[i], u->addresses[i]) == 0;
    return alike;
}

static int node_fill(struct cairn_route_node *x, const Cairn__Wire__MemberUpdate *u)
{
    uint32_t n = (uint32_t)MIN(u->n_addresses, (size_t)ROUTE_ADDRS_MAX);
    size_t bytes = strlen(u->name) + strlen(u->zone) + strlen(u->host) + 3;
    char *text, *at;

    for (uint32_t i = 0; i < n; i++)
        bytes += strlen(u->addresses[i]) + 1;
    at = text = malloc(bytes);
    if (text == NULL)
        return CAIRN_E_NOMEM;
    x->edition += !is_reached_alike(x, u, n);
    x->name = text_put(&at, u->name);
    x->zone = text_put(&at, u->zone);
    x->host = text_put(&at, u->host);
    for (x->naddresses = 0; x->naddresses < n; x->naddresses++)
        x->addresses[x->naddresses] = text_put(&at, u->addresses[x->naddresses]);
    free(x->text);
    x->text = text;
    return 0;
}

static int node_take(struct cairn_route_map *m, const Cairn__Wire__MemberUpdate *u, uint64_t revision)
{
    bool fits = u->node != 0 && is_text(u->name) && is_text(u->zone) && is_text(u->host);
    struct cairn_route_node *x;
    int place;

    for (size_t i = 0; fits && i < MIN(u->n_addresses, (size_t)ROUTE_ADDRS_MAX); i++)
        fits = is_text(u->addresses[i]);
    if (!fits)
        return 0; /* of a kind that is not known here */
    place = node_make(m, u->node);
    if (place < 0)
        return place;
    x = m->nodes[place];
    if (revision < x->revision)
        return 0;
    x->revision = revision;
    return node_fill(x, u);
}

/* How far each one is. Our zone is that of whoever shares our host. */
static void nodes_measure(struct cairn_route_map *m)
{
    m->zone = NULL;
    for (uint32_t i = 0; i < m->nnodes && m->host[0] != '\0'; i++) {
        if (strcmp(m->nodes[i]->host, m->host) == 0 && m->nodes[i]->zone[0] != '\0')
            m->zone = m->nodes[i]->zone;
    }
    for (uint32_t i = 0; i < m->nnodes; i++) {
        struct cairn_route_node *x = m->nodes[i];

        if (m->host[0] != '\0' && strcmp(x->host, m->host) == 0)
            x->distance = ROUTE_SAME_HOST;
        else
            x->distance = m->zone != NULL && strcmp(x->zone, m->zone) == 0 ? ROUTE_SAME_ZONE : ROUTE_ELSEWHERE;
    }
}

/* ---- slots ---- */

static bool slots_make_room(struct cairn_route_map *m, uint32_t slot)
{
    uint32_t n = MIN(MAX(slot + 1, 2 * m->nslots), (uint32_t)ROUTE_SLOTS_MAX);
    struct cairn_route_slot *more;

    if (slot < m->nslots)
        return true;
    more = realloc(m->slots, n * sizeof(*more));
    if (more == NULL)
        return false;
    memset(more + m->nslots, 0, (n - m->nslots) * sizeof(*more));
    m->slots = more;
    m->nslots = n;
    return true;
}

/* The leader first, then the others that are in sync. */
static int slot_fill(struct cairn_route_map *m, struct cairn_route_slot *s, const Cairn__Wire__SlotRecord *rec)
{
    int place = node_make(m, rec->primary->node);

    if (place < 0)
        return place;
    s->holders[s->nholders++] = (uint16_t)place;
    for (size_t i = 0; i < rec->n_insync && s->nholders < ROUTE_HOLDERS_MAX; i++) {
        if (rec->insync[i]->node == rec->primary->node || rec->insync[i]->node == 0)
            continue;
        place = node_make(m, rec->insync[i]->node);
        if (place < 0)
            return place;
        s->holders[s->nholders++] = (uint16_t)place;
    }
    return 0;
}

static int slot_take(struct cairn_route_map *m, const Cairn__Wire__SlotUpdate *u)
{
    const Cairn__Wire__SlotRecord *rec = u->record;
    struct cairn_route_slot s = { 0 };
    int rc;

    if (rec == NULL || rec->primary == NULL || rec->primary->node == 0 || u->slot >= ROUTE_SLOTS_MAX)
        return 0; /* of a kind that is not known here: calls to it find no way, and say so */
    if (!slots_make_room(m, u->slot))
        return CAIRN_E_NOMEM;
    if (rec->epoch <= m->slots[u->slot].epoch)
        return 0;
    s.epoch = rec->epoch;
    rc = slot_fill(m, &s, rec);
    if (rc == 0)
        m->slots[u->slot] = s;
    return rc;
}

/* ---- the whole ---- */

/* The map was put back to an older one, which has gone on: its revisions say nothing of those that we know, but its
 * epochs are beyond ours. False: it is an older one than ours, of a node that has not heard yet. */
static bool map_follow(struct cairn_route_map *m, uint64_t map)
{
    if (m->map != 0 && map >> 32 < m->map >> 32)
        return false;
    m->map = map;
    m->revision = 0;
    for (uint32_t i = 0; i < m->nnodes; i++)
        m->nodes[i]->revision = MIN(m->nodes[i]->revision, UINT64_C(1));
    return true;
}

int cairn_route_map_take(struct cairn_route_map *m, const Cairn__Wire__ClusterRecords *page)
{
    int rc = 0;

    if (page->map != m->map && !map_follow(m, page->map))
        return CAIRN_E_STATE;
    for (size_t i = 0; rc == 0 && i < page->n_members; i++)
        rc = node_take(m, page->members[i], page->revision);
    if (page->n_members > 0)
        nodes_measure(m);
    for (size_t i = 0; rc == 0 && i < page->n_slots; i++)
        rc = slot_take(m, page->slots[i]);
    if (rc == 0 && !page->more)
        m->revision = MAX(m->revision, page->revision);
    return rc;
}

const struct cairn_route_slot *cairn_route_map_slot(const struct cairn_route_map *m, uint32_t slot)
{
    return slot < m->nslots && m->slots[slot].epoch != 0 ? &m->slots[slot] : NULL;
}

uint16_t cairn_route_map_nearest(const struct cairn_route_map *m, const struct cairn_route_slot *s,
                                 bool (*usable)(void *arg, uint16_t place), void *arg)
{
    uint16_t best = s->holders[0];

    for (uint32_t i = 1; i < s->nholders; i++) {
        const struct cairn_route_node *x = m->nodes[s->holders[i]];

        if (x->distance < m->nodes[best]->distance && x->naddresses > 0 &&
            (usable == NULL || usable(arg, s->holders[i])))
            best = s->holders[i];
    }
    return best;
}

uint32_t cairn_route_map_addresses(const struct cairn_route_map *m, uint16_t place, const char *out[ROUTE_ADDRS_MAX])
{
    const struct cairn_route_node *x = m->nodes[place];
    bool knows = x->host[0] != '\0' && m->host[0] != '\0', here = knows && x->distance == ROUTE_SAME_HOST;
    uint32_t n = 0;

    for (int is_unix = 1; is_unix >= 0; is_unix--) {
        for (uint32_t i = 0; i < x->naddresses; i++) {
            if ((strncmp(x->addresses[i], "unix://", 7) == 0) != (is_unix != 0))
                continue;
            if (strncmp(x->addresses[i], "udp://", 6) == 0) /* of the nodes' own packets */
                continue;
            if (!is_unix || here || !knows) /* another machine's files are not ours */
                out[n++] = x->addresses[i];
        }
    }
    return n;
}
