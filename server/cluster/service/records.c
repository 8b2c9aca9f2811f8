/* A node's copy of the map: see records.h. */
#include "server/cluster/service/records.h"

#include <stdlib.h>

struct records_item {
    struct cairn_link link;
    uint64_t version;
    bool is_member;
};

struct records_slot {
    struct records_item item;
    struct cairn_wire_slot slot;
};

struct records_member {
    struct records_item item;
    struct cairn_wire_member m; /* its strings lie behind it */
};

static struct records_item *item_of(struct cairn_link *l)
{
    return CONTAINER_OF(l, struct records_item, link);
}

static struct records_slot *slot_of(struct records_item *x)
{
    return CONTAINER_OF(x, struct records_slot, item);
}

static struct records_member *member_of(struct records_item *x)
{
    return CONTAINER_OF(x, struct records_member, item);
}

int cairn_cluster_records_init(struct cairn_cluster_records *r)
{
    memset(r, 0, sizeof(*r));
    cairn_list_init(&r->changes);
    return pthread_rwlock_init(&r->lock, NULL) == 0 ? 0 : CAIRN_E_NOMEM;
}

static void drop_all(struct cairn_cluster_records *r)
{
    for (uint32_t i = 0; i < r->slots_room; i++)
        free(r->slots[i]);
    for (uint32_t i = 0; i < r->nmembers; i++)
        free(r->members[i]);
    free(r->slots);
    free(r->members);
}

void cairn_cluster_records_forget(struct cairn_cluster_records *r, uint64_t map)
{
    pthread_rwlock_wrlock(&r->lock);
    drop_all(r);
    r->map = map;
    r->slots = NULL;
    r->members = NULL;
    r->slots_room = r->nslots = r->members_room = r->nmembers = 0;
    r->revision = 0;
    cairn_list_init(&r->changes);
    pthread_rwlock_unlock(&r->lock);
}

void cairn_cluster_records_fini(struct cairn_cluster_records *r)
{
    drop_all(r);
    pthread_rwlock_destroy(&r->lock);
}

/* The newest change is the last of the list. Who knows of a newer version than that in which it changed is told once
 * more than he need be. */
static void item_changed(struct cairn_cluster_records *r, struct records_item *x, uint64_t version)
{
    struct cairn_link *before;

    if (!cairn_list_is_empty(&x->link) && x->version >= version)
        return;
    cairn_list_del(&x->link);
    x->version = version;
    before = r->changes.prev;
    while (before != &r->changes && item_of(before)->version > version)
        before = before->prev;
    cairn_list_add_head(before, &x->link);
}

/* ---- slots ---- */

static struct records_slot *slot_make(struct cairn_cluster_records *r, uint32_t slot)
{
    struct records_slot *s;

    if (slot >= r->slots_room) {
        uint32_t room = MAX(r->slots_room, 1024);
        struct records_slot **more;

        while (room <= slot)
            room *= 2;
        more = realloc(r->slots, room * sizeof(struct records_slot *));
        if (more == NULL)
            return NULL;
        memset(more + r->slots_room, 0, (room - r->slots_room) * sizeof(struct records_slot *));
        r->slots = more;
        r->slots_room = room;
    }
    s = r->slots[slot];
    if (s == NULL) {
        s = calloc(1, sizeof(*s));
        if (s == NULL)
            return NULL;
        s->slot.slot = slot;
        cairn_list_init(&s->item.link);
        r->slots[slot] = s;
        r->nslots++;
    }
    return s;
}

static int take_slot(struct cairn_cluster_records *r, const struct cairn_wire_slot *x, uint64_t version)
{
    struct records_slot *s;

    if (x->slot >= CAIRN_CLUSTER_SLOTS_MAX)
        return CAIRN_E_LIMIT;
    s = slot_make(r, x->slot);
    if (s == NULL)
        return CAIRN_E_NOMEM;
    if (x->rec.epoch > s->slot.rec.epoch)
        s->slot.rec = x->rec;
    item_changed(r, &s->item, version);
    return 0;
}

bool cairn_cluster_records_hint(struct cairn_cluster_records *r, uint64_t map, uint32_t slot,
                                const struct cairn_slot_record *rec)
{
    struct records_slot *s;
    bool newer = false;

    if (slot >= CAIRN_CLUSTER_SLOTS_MAX)
        return false;
    pthread_rwlock_wrlock(&r->lock);
    s = r->map == map ? slot_make(r, slot) : NULL;
    newer = s != NULL && rec->epoch > s->slot.rec.epoch;
    if (newer) /* others are told when the page has come, and with it the version */
        s->slot.rec = *rec;
    pthread_rwlock_unlock(&r->lock);
    return newer;
}

bool cairn_cluster_records_slot(struct cairn_cluster_records *r, uint32_t slot, struct cairn_slot_record *rec)
{
    bool found;

    pthread_rwlock_rdlock(&r->lock);
    found = slot < r->slots_room && r->slots[slot] != NULL;
    if (found)
        *rec = r->slots[slot]->slot.rec;
    pthread_rwlock_unlock(&r->lock);
    return found;
}

/* ---- members ---- */

static char *text_copy(char **to, const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = memcpy(*to, text, len);

    *to += len;
    return copy;
}

static size_t member_bytes(const struct cairn_wire_member *m)
{
    size_t n = strlen(m->name) + 1 + strlen(m->zone) + 1 + strlen(m->host) + 1;

    for (uint32_t i = 0; i < m->naddresses; i++)
        n += strlen(m->addresses[i]) + 1;
    return n;
}

/* @m and its strings, which go to @text. */
static void member_copy(struct cairn_wire_member *to, const struct cairn_wire_member *m, char *text)
{
    *to = *m;
    to->name = text_copy(&text, m->name);
    to->zone = text_copy(&text, m->zone);
    to->host = text_copy(&text, m->host);
    for (uint32_t i = 0; i < m->naddresses; i++)
        to->addresses[i] = text_copy(&text, m->addresses[i]);
}

/* Index of the first member that is not below @node. */
static uint32_t member_place(const struct cairn_cluster_records *r, uint64_t node)
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
    cairn_list_del(&r->members[gone]->item.link);
    free(r->members[gone]);
    memmove(r->members + gone, r->members + gone + 1, (--r->nmembers - gone) * sizeof(struct records_member *));
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

static int take_member(struct cairn_cluster_records *r, const struct cairn_wire_member *m, uint64_t version)
{
    uint32_t i = member_place(r, m->node);
    bool known = i < r->nmembers && r->members[i]->m.node == m->node;
    struct records_member *x;
    int rc = known ? 0 : members_make_room(r);

    if (rc != 0)
        return rc;
    i = member_place(r, m->node); /* somebody may have been forgotten for it */
    x = malloc(sizeof(*x) + member_bytes(m));
    if (x == NULL)
        return CAIRN_E_NOMEM;
    x->item.is_member = true;
    cairn_list_init(&x->item.link);
    member_copy(&x->m, m, (char *)(x + 1));
    if (known) {
        version = MAX(version, r->members[i]->item.version);
        cairn_list_del(&r->members[i]->item.link);
        free(r->members[i]);
    } else {
        memmove(r->members + i + 1, r->members + i, (r->nmembers - i) * sizeof(struct records_member *));
        r->nmembers++;
    }
    r->members[i] = x;
    item_changed(r, &x->item, version);
    return 0;
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
    i = member_place(r, node);
    if (i < r->nmembers && r->members[i]->m.node == node) {
        char *text = cairn_arena_alloc(a, member_bytes(&r->members[i]->m));

        found = text != NULL;
        if (found)
            member_copy(m, &r->members[i]->m, text);
    }
    pthread_rwlock_unlock(&r->lock);
    return found;
}

/* ---- at the coordinator's node: change by change ---- */

int cairn_cluster_records_put_slot(struct cairn_cluster_records *r, uint32_t slot, const struct cairn_slot_record *rec,
                                   uint64_t revision)
{
    struct cairn_wire_slot x = { .slot = slot, .rec = *rec };
    int rc;

    pthread_rwlock_wrlock(&r->lock);
    rc = take_slot(r, &x, revision);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

int cairn_cluster_records_put_member(struct cairn_cluster_records *r, const struct cairn_wire_member *m,
                                     uint64_t revision)
{
    int rc;

    pthread_rwlock_wrlock(&r->lock);
    rc = take_member(r, m, revision);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

void cairn_cluster_records_upto(struct cairn_cluster_records *r, uint64_t revision)
{
    pthread_rwlock_wrlock(&r->lock);
    r->revision = MAX(r->revision, revision);
    pthread_rwlock_unlock(&r->lock);
}

/* ---- pages ---- */

int cairn_cluster_records_take(struct cairn_cluster_records *r, const struct cairn_wire_page *page)
{
    int rc;

    pthread_rwlock_wrlock(&r->lock);
    rc = page->map == r->map ? 0 : CAIRN_E_STATE;
    for (uint32_t i = 0; rc == 0 && i < page->nmembers; i++)
        rc = take_member(r, &page->members[i], page->revision);
    for (uint32_t i = 0; rc == 0 && i < page->nslots; i++)
        rc = take_slot(r, &page->slots[i], page->revision);
    if (rc == 0)
        r->revision = MAX(r->revision, page->revision);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

uint64_t cairn_cluster_records_revision(struct cairn_cluster_records *r)
{
    uint64_t revision;

    pthread_rwlock_rdlock(&r->lock);
    revision = r->revision;
    pthread_rwlock_unlock(&r->lock);
    return revision;
}

uint64_t cairn_cluster_records_map(struct cairn_cluster_records *r)
{
    uint64_t map;

    pthread_rwlock_rdlock(&r->lock);
    map = r->map;
    pthread_rwlock_unlock(&r->lock);
    return map;
}

/* The first item behind @since. Whoever asks knows most things, or nothing. */
static struct cairn_link *first_behind(struct cairn_cluster_records *r, uint64_t since)
{
    struct cairn_link *l = &r->changes;

    if (since == 0)
        return r->changes.next;
    while (l->prev != &r->changes && item_of(l->prev)->version > since)
        l = l->prev;
    return l;
}

/* What is of one version goes out together. False: it does not fit behind what is there already. */
static bool group_fits(struct cairn_cluster_records *r, struct cairn_link *l, const struct cairn_wire_page *page,
                       struct cairn_link **end)
{
    uint64_t version = item_of(l)->version;
    uint32_t nslots = page->nslots, nmembers = page->nmembers;

    for (; l != &r->changes && item_of(l)->version == version; l = l->next) {
        nmembers += item_of(l)->is_member;
        nslots += !item_of(l)->is_member;
    }
    *end = l;
    return nslots <= CAIRN_WIRE_PAGE_SLOTS_MAX && nmembers <= CAIRN_WIRE_PAGE_MEMBERS_MAX;
}

static bool page_add(struct records_item *x, bool members, struct cairn_arena *a, struct cairn_wire_slot *slots,
                     struct cairn_wire_member *all, struct cairn_wire_page *page)
{
    char *text;

    if (!x->is_member) {
        slots[page->nslots++] = slot_of(x)->slot;
        return true;
    }
    if (!members)
        return true;
    text = cairn_arena_alloc(a, member_bytes(&member_of(x)->m));
    if (text == NULL)
        return false;
    member_copy(&all[page->nmembers++], &member_of(x)->m, text);
    return true;
}

static int page_fill(struct cairn_cluster_records *r, uint64_t since, bool members, struct cairn_arena *a,
                     struct cairn_wire_page *page)
{
    struct cairn_link *l = first_behind(r, since), *end;
    bool empty = l == &r->changes;
    struct cairn_wire_slot *slots =
        cairn_arena_alloc(a, (empty ? 0 : MIN(r->nslots, CAIRN_WIRE_PAGE_SLOTS_MAX)) * sizeof(*slots) + 1);
    struct cairn_wire_member *all =
        cairn_arena_alloc(a, (empty ? 0 : MIN(r->nmembers, CAIRN_WIRE_PAGE_MEMBERS_MAX)) * sizeof(*all) + 1);

    if (slots == NULL || all == NULL)
        return CAIRN_E_NOMEM;
    *page = (struct cairn_wire_page){ .map = r->map, .revision = since, .slots = slots, .members = all };
    /* Of a newer change perhaps not all is here yet: cairn_cluster_records_upto() says when. */
    for (; l != &r->changes && item_of(l)->version <= r->revision; page->revision = item_of(end->prev)->version) {
        if (!group_fits(r, l, page, &end)) {
            page->more = true;
            return 0;
        }
        for (; l != end; l = l->next) {
            if (!page_add(item_of(l), members, a, slots, all, page))
                return CAIRN_E_NOMEM;
        }
    }
    page->revision = MAX(page->revision, r->revision);
    return 0;
}

bool cairn_cluster_records_has_news(struct cairn_cluster_records *r, uint64_t since)
{
    bool has;

    pthread_rwlock_rdlock(&r->lock);
    has = !cairn_list_is_empty(&r->changes) && item_of(r->changes.prev)->version > since && r->revision > since;
    pthread_rwlock_unlock(&r->lock);
    return has;
}

int cairn_cluster_records_page(struct cairn_cluster_records *r, uint64_t since, bool members, struct cairn_arena *a,
                               struct cairn_wire_page *page)
{
    int rc;

    pthread_rwlock_rdlock(&r->lock);
    rc = page_fill(r, since, members, a, page);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}
