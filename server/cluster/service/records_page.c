/* A node's copy of the map, page by page, in and out: see records.h. */
#include "server/cluster/service/records_internal.h"

#include <stdlib.h>

static int take_page(struct cairn_cluster_records *r, const struct cairn_wire_page *page)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < page->nmembers; i++)
        rc = records_take_member(r, &page->members[i], page->revision);
    for (uint32_t i = 0; rc == 0 && i < page->nslots; i++)
        rc = records_take_slot(r, &page->slots[i], page->revision);
    return rc;
}

int cairn_cluster_records_take(struct cairn_cluster_records *r, const struct cairn_wire_page *pages, uint32_t n)
{
    int rc;

    CAIRN_ASSERT(n > 0 && !pages[n - 1].more);
    pthread_rwlock_wrlock(&r->lock);
    rc = pages[0].map == r->map ? 0 : CAIRN_E_STATE;
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = take_page(r, &pages[i]);
    if (rc == 0)
        records_raise(r, pages[n - 1].revision);
    else if (rc != CAIRN_E_STATE)
        records_forget(r, r->map);
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

/* The first item behind @since. Whoever asks knows most things, or nothing. */
static struct cairn_link *first_behind(struct cairn_cluster_records *r, uint64_t since)
{
    struct cairn_link *l = &r->changes;

    if (since == 0)
        return r->changes.next;
    while (l->prev != &r->changes && records_item_of(l->prev)->version > since)
        l = l->prev;
    return l;
}

/* What is of one version goes out together. False: it does not fit behind what is there already. */
static bool group_fits(struct cairn_cluster_records *r, struct cairn_link *l, const struct cairn_wire_page *page,
                       struct cairn_link **end)
{
    uint64_t version = records_item_of(l)->version;
    uint32_t nslots = page->nslots, nmembers = page->nmembers;

    for (; l != &r->changes && records_item_of(l)->version == version; l = l->next) {
        nmembers += records_item_of(l)->is_member;
        nslots += !records_item_of(l)->is_member;
    }
    *end = l;
    return nslots <= CAIRN_WIRE_PAGE_SLOTS_MAX && nmembers <= CAIRN_WIRE_PAGE_MEMBERS_MAX;
}

static bool page_add(struct records_item *x, bool members, struct cairn_arena *a, struct cairn_wire_slot *slots,
                     struct cairn_wire_member *all, struct cairn_wire_page *page)
{
    char *text;

    if (!x->is_member) {
        slots[page->nslots++] = records_slot_of(x)->slot;
        return true;
    }
    if (!members)
        return true;
    text = cairn_arena_alloc(a, records_member_bytes(&records_member_of(x)->m));
    if (text == NULL)
        return false;
    records_member_copy(&all[page->nmembers++], &records_member_of(x)->m, text);
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
    *page =
        (struct cairn_wire_page){ .map = r->map, .copy = r->copy, .revision = since, .slots = slots, .members = all };
    /* Of a newer change perhaps not all is here yet: cairn_cluster_records_upto() says when. */
    for (; l != &r->changes && records_item_of(l)->version <= r->revision;
         page->revision = records_item_of(end->prev)->version) {
        if (!group_fits(r, l, page, &end)) {
            page->more = true;
            return 0;
        }
        for (; l != end; l = l->next) {
            if (!page_add(records_item_of(l), members, a, slots, all, page))
                return CAIRN_E_NOMEM;
        }
    }
    page->revision = MAX(page->revision, r->revision);
    return 0;
}

bool cairn_cluster_records_fit(struct cairn_cluster_records *r, uint64_t since)
{
    uint32_t nslots = 0, nmembers = 0;

    pthread_rwlock_rdlock(&r->lock);
    for (struct cairn_link *l = r->changes.prev;
         l != &r->changes && records_item_of(l)->version > since && nslots <= CAIRN_WIRE_PAGE_SLOTS_MAX &&
         nmembers <= CAIRN_WIRE_PAGE_MEMBERS_MAX;
         l = l->prev) {
        nmembers += records_item_of(l)->is_member;
        nslots += !records_item_of(l)->is_member;
    }
    pthread_rwlock_unlock(&r->lock);
    return nslots <= CAIRN_WIRE_PAGE_SLOTS_MAX && nmembers <= CAIRN_WIRE_PAGE_MEMBERS_MAX;
}

int cairn_cluster_records_changed(struct cairn_cluster_records *r, uint64_t since, uint32_t **slots, uint32_t *n,
                                  uint64_t *revision)
{
    uint32_t *ids;

    pthread_rwlock_rdlock(&r->lock);
    *slots = ids = malloc((r->nslots + 1) * sizeof(*ids));
    *n = 0;
    *revision = r->revision;
    for (struct cairn_link *l = first_behind(r, since);
         ids != NULL && l != &r->changes && records_item_of(l)->version <= r->revision; l = l->next) {
        if (!records_item_of(l)->is_member)
            ids[(*n)++] = records_slot_of(records_item_of(l))->slot.slot;
    }
    pthread_rwlock_unlock(&r->lock);
    return ids != NULL ? 0 : CAIRN_E_NOMEM;
}

bool cairn_cluster_records_has_news(struct cairn_cluster_records *r, uint64_t since)
{
    bool has;

    pthread_rwlock_rdlock(&r->lock);
    has = !cairn_list_is_empty(&r->changes) && records_item_of(r->changes.prev)->version > since && r->revision > since;
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
