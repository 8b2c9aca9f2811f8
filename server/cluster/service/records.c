/* A node's copy of the map: see records.h. */
#include "server/cluster/service/records_internal.h"

#include <stdlib.h>

int cairn_cluster_records_init(struct cairn_cluster_records *r, uint64_t copy)
{
    memset(r, 0, sizeof(*r));
    r->copy = copy;
    cairn_list_init(&r->changes);
    cairn_list_init(&r->coming);
    return pthread_rwlock_init(&r->lock, NULL) == 0 ? 0 : CAIRN_E_NOMEM;
}

static void drop_all(struct cairn_cluster_records *r)
{
    for (uint32_t i = 0; i < r->slots_room; i++) {
        if (r->slots[i] != NULL)
            free(r->slots[i]->ahead);
        free(r->slots[i]);
    }
    for (uint32_t i = 0; i < r->nmembers; i++)
        records_member_free(r->members[i]);
    free(r->slots);
    free(r->members);
}

void records_forget(struct cairn_cluster_records *r, uint64_t map)
{
    drop_all(r);
    r->map = map;
    r->copy++; /* it begins anew: who is in the middle of its pages cannot go on */
    r->slots = NULL;
    r->members = NULL;
    r->slots_room = r->nslots = r->members_room = r->nmembers = 0;
    r->revision = 0;
    memset(&r->sweep, 0, sizeof(r->sweep));
    cairn_list_init(&r->changes);
    cairn_list_init(&r->coming);
}

void cairn_cluster_records_forget(struct cairn_cluster_records *r, uint64_t map)
{
    pthread_rwlock_wrlock(&r->lock);
    records_forget(r, map);
    pthread_rwlock_unlock(&r->lock);
}

void cairn_cluster_records_fini(struct cairn_cluster_records *r)
{
    drop_all(r);
    pthread_rwlock_destroy(&r->lock);
}

/* ---- items ---- */

void records_item_init(struct records_item *x, bool is_member)
{
    *x = (struct records_item){ .is_member = is_member };
    cairn_list_init(&x->link);
    cairn_list_init(&x->coming);
}

void records_item_replace(struct records_item *old, struct records_item *x)
{
    x->version = old->version;
    cairn_list_del(&old->coming);
    if (cairn_list_is_empty(&old->link))
        return;
    cairn_list_add_head(&old->link, &x->link);
    cairn_list_del(&old->link);
}

/* The newest change is the last of the list. Who knows of a newer version than that in which it changed is told once
 * more than he need be. */
void records_item_changed(struct cairn_cluster_records *r, struct records_item *x, uint64_t version)
{
    struct cairn_link *before;

    if (!cairn_list_is_empty(&x->link) && x->version >= version)
        return;
    cairn_list_del(&x->link);
    x->version = version;
    before = r->changes.prev;
    while (before != &r->changes && records_item_of(before)->version > version)
        before = before->prev;
    cairn_list_add_head(before, &x->link);
}

void records_item_changes(struct cairn_cluster_records *r, struct records_item *x, uint64_t version)
{
    CAIRN_ASSERT(version > r->revision);
    x->next = MAX(x->next, version);
    if (cairn_list_is_empty(&x->coming))
        cairn_list_add_tail(&r->coming, &x->coming);
}

/* It is what pages have from now on. */
static void slot_tell(struct records_slot *s, const struct cairn_slot_record *rec)
{
    s->slot.rec = *rec;
    if (s->ahead == NULL || s->ahead->epoch > rec->epoch)
        return;
    free(s->ahead);
    s->ahead = NULL;
}

void records_raise(struct cairn_cluster_records *r, uint64_t revision)
{
    r->revision = MAX(r->revision, revision);
    CAIRN_LIST_FOREACH_SAFE (l, &r->coming) {
        struct records_item *x = CONTAINER_OF(l, struct records_item, coming);
        uint64_t version = x->next;

        if (version > r->revision)
            continue;
        cairn_list_del(&x->coming);
        if (x->is_member)
            x = &records_member_step(r, records_member_of(x))->item;
        else if (records_slot_of(x)->ahead != NULL)
            slot_tell(records_slot_of(x), records_slot_of(x)->ahead);
        records_item_changed(r, x, version);
    }
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
        records_item_init(&s->item, false);
        r->slots[slot] = s;
        r->nslots++;
    }
    return s;
}

/* @out: NULL, and CAIRN_E_LIMIT or CAIRN_E_NOMEM. */
static int slot_get(struct cairn_cluster_records *r, uint32_t slot, struct records_slot **out)
{
    *out = slot < CAIRN_CLUSTER_SLOTS_MAX ? slot_make(r, slot) : NULL;
    if (*out != NULL)
        return 0;
    return slot < CAIRN_CLUSTER_SLOTS_MAX ? CAIRN_E_NOMEM : CAIRN_E_LIMIT;
}

int records_take_slot(struct cairn_cluster_records *r, const struct cairn_wire_slot *x, uint64_t version)
{
    struct records_slot *s;
    int rc = slot_get(r, x->slot, &s);

    if (rc == 0 && x->rec.epoch > s->slot.rec.epoch) {
        slot_tell(s, &x->rec);
        records_item_changed(r, &s->item, version);
    }
    return rc;
}

/* For this node alone, if it is news. */
static int slot_go_ahead(struct records_slot *s, const struct cairn_slot_record *rec)
{
    if (rec->epoch <= records_newest(s)->epoch)
        return 0;
    if (s->ahead == NULL)
        s->ahead = malloc(sizeof(*s->ahead));
    if (s->ahead == NULL)
        return CAIRN_E_NOMEM;
    *s->ahead = *rec;
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
    /* others are told when the page has come, and with it the version; what is half stored here comes first */
    newer = s != NULL && rec->epoch > records_newest(s)->epoch && cairn_list_is_empty(&s->item.coming) &&
            slot_go_ahead(s, rec) == 0;
    pthread_rwlock_unlock(&r->lock);
    return newer;
}

bool cairn_cluster_records_slot(struct cairn_cluster_records *r, uint32_t slot, struct cairn_slot_record *rec)
{
    bool found;

    pthread_rwlock_rdlock(&r->lock);
    found = slot < r->slots_room && r->slots[slot] != NULL && records_newest(r->slots[slot])->epoch != 0;
    if (found)
        *rec = *records_newest(r->slots[slot]);
    pthread_rwlock_unlock(&r->lock);
    return found;
}

/* ---- at the coordinator's node: change by change ---- */

int cairn_cluster_records_put_slot(struct cairn_cluster_records *r, uint32_t slot, const struct cairn_slot_record *rec,
                                   uint64_t revision)
{
    struct cairn_wire_slot x = { .slot = slot, .rec = *rec };
    struct records_slot *s;
    int rc;

    pthread_rwlock_wrlock(&r->lock);
    rc = revision <= r->revision ? records_take_slot(r, &x, revision) : slot_get(r, slot, &s);
    if (rc == 0 && revision > r->revision && rec->epoch > s->slot.rec.epoch) {
        rc = slot_go_ahead(s, rec);
        if (rc == 0)
            records_item_changes(r, &s->item, revision);
    }
    pthread_rwlock_unlock(&r->lock);
    return rc;
}

void cairn_cluster_records_upto(struct cairn_cluster_records *r, uint64_t revision)
{
    pthread_rwlock_wrlock(&r->lock);
    records_raise(r, revision);
    pthread_rwlock_unlock(&r->lock);
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
