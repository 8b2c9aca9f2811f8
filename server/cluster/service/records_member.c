/* A node's copy of the map, its members: see records.h. */
#include "server/cluster/service/records_internal.h"

#include <stdlib.h>

static char *text_copy(char **to, const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = memcpy(*to, text, len);

    *to += len;
    return copy;
}

size_t records_member_bytes(const struct cairn_wire_member *m)
{
    size_t n = strlen(m->name) + 1 + strlen(m->zone) + 1 + strlen(m->host) + 1;

    for (uint32_t i = 0; i < m->naddresses; i++)
        n += strlen(m->addresses[i]) + 1;
    return n;
}

void records_member_copy(struct cairn_wire_member *to, const struct cairn_wire_member *m, char *text)
{
    *to = *m;
    to->name = text_copy(&text, m->name);
    to->zone = text_copy(&text, m->zone);
    to->host = text_copy(&text, m->host);
    for (uint32_t i = 0; i < m->naddresses; i++)
        to->addresses[i] = text_copy(&text, m->addresses[i]);
}

uint32_t records_member_place(const struct cairn_cluster_records *r, uint64_t node)
{
    uint32_t lo = 0, hi = r->nmembers;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (r->members[mid]->m.node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void records_member_drop(struct cairn_cluster_records *r, uint32_t i)
{
    cairn_list_del(&r->members[i]->item.link);
    cairn_list_del(&r->members[i]->item.coming);
    free(r->members[i]);
    memmove(r->members + i, r->members + i + 1, (--r->nmembers - i) * sizeof(struct records_member *));
}

/* The coordinator forgets those that are gone for good, and tells nobody: so does who has no room for another. One who
 * comes back is told of like any. */
static bool member_forget(struct cairn_cluster_records *r)
{
    uint32_t gone = r->nmembers;

    for (uint32_t i = 0; i < r->nmembers; i++) {
        const struct records_member *x = r->members[i];
        bool lost = x->m.state == CAIRN_WIRE_MEMBER_LOST;

        if (!lost && x->m.state != CAIRN_WIRE_MEMBER_SILENT)
            continue;
        if (gone == r->nmembers || lost > (r->members[gone]->m.state == CAIRN_WIRE_MEMBER_LOST) ||
            (x->m.state == r->members[gone]->m.state && x->item.version < r->members[gone]->item.version))
            gone = i;
    }
    if (gone == r->nmembers)
        return false;
    records_member_drop(r, gone);
    return true;
}

static int members_make_room(struct cairn_cluster_records *r)
{
    uint32_t room = MAX(r->members_room * 2, 16);
    struct records_member **more;

    if (r->nmembers >= CAIRN_CLUSTER_MEMBERS_MAX)
        return member_forget(r) ? 0 : CAIRN_E_LIMIT;
    if (r->nmembers < r->members_room)
        return 0;
    more = realloc(r->members, room * sizeof(struct records_member *));
    if (more == NULL)
        return CAIRN_E_NOMEM;
    r->members = more;
    r->members_room = room;
    return 0;
}

static bool is_alike(const struct cairn_wire_member *a, const struct cairn_wire_member *b)
{
    bool alike = a->node == b->node && a->inc == b->inc && a->weight == b->weight && a->state == b->state &&
                 a->naddresses == b->naddresses && strcmp(a->name, b->name) == 0 && strcmp(a->zone, b->zone) == 0 &&
                 strcmp(a->host, b->host) == 0;

    for (uint32_t i = 0; alike && i < a->naddresses; i++)
        alike = strcmp(a->addresses[i], b->addresses[i]) == 0;
    return alike;
}

/* *news: others are to be told of it. */
static int member_set(struct cairn_cluster_records *r, const struct cairn_wire_member *m, struct records_member **out,
                      bool *news)
{
    uint32_t i = records_member_place(r, m->node);
    bool known = i < r->nmembers && r->members[i]->m.node == m->node;
    struct records_member *x;
    int rc = known ? 0 : members_make_room(r);

    if (rc != 0)
        return rc;
    *news = !known || !is_alike(&r->members[i]->m, m);
    if (!*news) {
        *out = r->members[i];
        (*out)->gone_ns = 0; /* the map has it */
        return 0;
    }
    i = records_member_place(r, m->node); /* somebody may have been forgotten for it */
    *out = x = malloc(sizeof(*x) + records_member_bytes(m));
    if (x == NULL)
        return CAIRN_E_NOMEM;
    records_item_init(&x->item, true);
    x->gone_ns = 0;
    records_member_copy(&x->m, m, (char *)(x + 1));
    if (known) {
        records_item_replace(&r->members[i]->item, &x->item);
        free(r->members[i]);
    } else {
        memmove(r->members + i + 1, r->members + i, (r->nmembers - i) * sizeof(struct records_member *));
        r->nmembers++;
    }
    r->members[i] = x;
    return 0;
}

int records_take_member(struct cairn_cluster_records *r, const struct cairn_wire_member *m, uint64_t version)
{
    struct records_member *x;
    bool news;
    int rc = member_set(r, m, &x, &news);

    if (rc == 0 && news)
        records_item_changed(r, &x->item, version);
    return rc;
}

uint32_t cairn_cluster_records_nmembers(struct cairn_cluster_records *r)
{
    uint32_t n;

    pthread_rwlock_rdlock(&r->lock);
    n = r->nmembers;
    pthread_rwlock_unlock(&r->lock);
    return n;
}

void cairn_cluster_records_members(struct cairn_cluster_records *r,
                                   void (*fn)(const struct cairn_wire_member *m, void *arg), void *arg)
{
    pthread_rwlock_rdlock(&r->lock);
    for (uint32_t i = 0; i < r->nmembers; i++)
        fn(&r->members[i]->m, arg);
    pthread_rwlock_unlock(&r->lock);
}

bool cairn_cluster_records_member(struct cairn_cluster_records *r, uint64_t node, struct cairn_wire_member *m,
                                  struct cairn_arena *a)
{
    bool found = false;
    uint32_t i;

    pthread_rwlock_rdlock(&r->lock);
    i = records_member_place(r, node);
    if (i < r->nmembers && r->members[i]->m.node == node) {
        char *text = cairn_arena_alloc(a, records_member_bytes(&r->members[i]->m));

        found = text != NULL;
        if (found)
            records_member_copy(m, &r->members[i]->m, text);
    }
    pthread_rwlock_unlock(&r->lock);
    return found;
}

int cairn_cluster_records_put_member(struct cairn_cluster_records *r, const struct cairn_wire_member *m,
                                     uint64_t revision)
{
    struct records_member *x;
    bool news;
    int rc;

    pthread_rwlock_wrlock(&r->lock);
    rc = member_set(r, m, &x, &news);
    if (rc == 0 && news)
        records_item_changes(r, &x->item, revision);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}
