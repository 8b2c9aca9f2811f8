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

void records_member_free(struct records_member *x)
{
    free(x->ahead);
    free(x);
}

void records_member_drop(struct cairn_cluster_records *r, uint32_t i)
{
    cairn_list_del(&r->members[i]->item.link);
    cairn_list_del(&r->members[i]->item.coming);
    records_member_free(r->members[i]);
    memmove(r->members + i, r->members + i + 1, (--r->nmembers - i) * sizeof(struct records_member *));
}

static enum cairn_wire_member_state state_of(const struct records_member *x)
{
    return x->ahead != NULL ? x->ahead->m.state : x->m.state;
}

static uint64_t version_of(const struct records_member *x)
{
    return MAX(x->item.version, x->item.next);
}

/* The coordinator forgets those that are gone for good, and tells nobody: so does who has no room for another. One who
 * comes back is told of like any. */
static bool member_forget(struct cairn_cluster_records *r)
{
    uint32_t gone = r->nmembers;

    for (uint32_t i = 0; i < r->nmembers; i++) {
        const struct records_member *x = r->members[i];
        bool lost = state_of(x) == CAIRN_WIRE_MEMBER_LOST;

        if (!lost && state_of(x) != CAIRN_WIRE_MEMBER_SILENT)
            continue;
        if (gone == r->nmembers || lost > (state_of(r->members[gone]) == CAIRN_WIRE_MEMBER_LOST) ||
            (state_of(x) == state_of(r->members[gone]) && version_of(x) < version_of(r->members[gone])))
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

static struct records_member *member_make(const struct cairn_wire_member *m)
{
    struct records_member *x = malloc(sizeof(*x) + records_member_bytes(m));

    if (x == NULL)
        return NULL;
    records_item_init(&x->item, true);
    x->ahead = NULL;
    x->gone_ns = 0;
    records_member_copy(&x->m, m, (char *)(x + 1));
    return x;
}

static struct records_member *member_find(const struct cairn_cluster_records *r, uint64_t node)
{
    uint32_t i = records_member_place(r, node);

    return i < r->nmembers && r->members[i]->m.node == node ? r->members[i] : NULL;
}

/* @x takes the place of the one of its node, or has a new one. */
static int member_place(struct cairn_cluster_records *r, struct records_member *x)
{
    struct records_member *old = member_find(r, x->m.node);
    uint32_t i;

    if (old != NULL) {
        records_item_replace(&old->item, &x->item);
        r->members[records_member_place(r, x->m.node)] = x;
        records_member_free(old);
        return 0;
    }
    if (members_make_room(r) != 0)
        return r->nmembers >= CAIRN_CLUSTER_MEMBERS_MAX ? CAIRN_E_LIMIT : CAIRN_E_NOMEM;
    i = records_member_place(r, x->m.node); /* somebody may have been forgotten for it */
    memmove(r->members + i + 1, r->members + i, (r->nmembers - i) * sizeof(struct records_member *));
    r->nmembers++;
    r->members[i] = x;
    return 0;
}

static int member_add(struct cairn_cluster_records *r, const struct cairn_wire_member *m, struct records_member **out)
{
    struct records_member *x = *out = member_make(m);
    int rc = x != NULL ? member_place(r, x) : CAIRN_E_NOMEM;

    if (rc != 0)
        free(x);
    return rc;
}

struct records_member *records_member_step(struct cairn_cluster_records *r, struct records_member *x)
{
    struct records_member *to = x->ahead;

    if (to == NULL)
        return x;
    x->ahead = NULL;
    (void)member_place(r, to); /* there is room: it is known */
    return to;
}

/* It is as it was, as far as this copy goes; true. */
static bool is_no_news(struct records_member *old, const struct cairn_wire_member *m)
{
    if (old == NULL || !is_alike(old->ahead != NULL ? &old->ahead->m : &old->m, m))
        return false;
    old->gone_ns = 0; /* the map has it */
    return true;
}

int records_take_member(struct cairn_cluster_records *r, const struct cairn_wire_member *m, uint64_t version)
{
    struct records_member *old = member_find(r, m->node), *x;
    int rc;

    if ((old != NULL && version < old->item.version) || (old != NULL && old->ahead == NULL && is_no_news(old, m)))
        return 0; /* a page of whoever is behind us, of which something is wanted anew; or one that overlaps */
    rc = member_add(r, m, &x);
    if (rc == 0)
        records_item_changed(r, &x->item, version);
    return rc;
}

static int member_put(struct cairn_cluster_records *r, const struct cairn_wire_member *m, uint64_t revision)
{
    struct records_member *old = member_find(r, m->node), *x;
    int rc;

    if (revision <= r->revision)
        return records_take_member(r, m, revision);
    if (is_no_news(old, m))
        return 0;
    if (old == NULL) {
        rc = member_add(r, m, &old);
        if (rc != 0)
            return rc;
    } else {
        x = member_make(m);
        if (x == NULL)
            return CAIRN_E_NOMEM;
        free(old->ahead);
        old->ahead = x;
    }
    records_item_changes(r, &old->item, revision);
    return 0;
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
    int rc;

    pthread_rwlock_wrlock(&r->lock);
    rc = member_put(r, m, revision);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}
