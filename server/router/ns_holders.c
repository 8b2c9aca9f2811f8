/* The record of a namespace while it is there: what is noted in it, and which nodes hold something of it.
 *
 * In a cluster each node has values of its own of a namespace that is spread over none of it, and no other node knows
 * them. So a node is noted in the record before it stores the first one (router_op_open_to_store()), and stands there
 * until it is found empty. Both are changes of the record, as the removal is: of two that are made at once, the map store
 * refuses one. Whoever removes a namespace in which nobody else is noted loses nobody's values, also none of a node that
 * is away. A map that was put back, or imported, has forgotten some, perhaps; there is another base of ids then. */
#include "server/router/router_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct found {
    const struct router_ns *ns;
    struct cairn_map_ids ids;
    char key[8 + CAIRN_NAME_BYTES_MAX];
    Cairn__Wire__NamespaceRecord *record;
    uint64_t revision;
    int rc;
};

static void found_on_entry(const struct cairn_map_entry *e, void *arg)
{
    struct found *f = arg;
    uint32_t id;

    if (strcmp(e->key, f->key) != 0) /* longer */
        return;
    errno = 0;
    f->record = cairn__wire__namespace_record__unpack(NULL, e->value_len, e->value);
    f->revision = e->changed;
    if (f->record == NULL || f->record->ns == NULL) {
        f->rc = f->record == NULL && errno == ENOMEM ? CAIRN_E_NOMEM : CAIRN_E_CORRUPT;
        return;
    }
    id = f->record->ns->id != 0 ? f->record->ns->id : cairn_map_id(&f->ids, e->created);
    f->rc = id == f->ns->id ? 0 : CAIRN_E_NOTFOUND;
}

/* found_free() in any case. */
static int found_get(struct found *f, const struct cairn_router *r, const struct router_ns *ns)
{
    *f = (struct found){ .ns = ns, .ids = cairn_map_ids_of(r->store), .rc = CAIRN_E_NOTFOUND };
    snprintf(f->key, sizeof(f->key), "ns/%s", ns->name);
    cairn_map_store_each(r->store, f->key, found_on_entry, f);
    return f->rc;
}

static void found_free(struct found *f)
{
    if (f->record != NULL)
        cairn__wire__namespace_record__free_unpacked(f->record, NULL);
}

static uint64_t counted_now(const struct cairn_map_ids *ids)
{
    return cairn_map_ids_base(ids) + 1; /* 0: none can be told */
}

uint64_t router_ns_counted(const struct cairn_router *r, const struct router_ns *ns)
{
    struct cairn_map_ids ids = cairn_map_ids_of(r->store);

    return r->conf.node != 0 && !ns->clustered ? counted_now(&ids) : 0;
}

int router_ns_holders(const struct cairn_router *r, const struct router_ns *ns, struct router_holders *h)
{
    struct found f;
    int rc = found_get(&f, r, ns);

    *h = (struct router_holders){ .revision = f.revision };
    for (size_t i = 0; rc == 0 && i < f.record->n_holders; i++) {
        const Cairn__Wire__NamespaceHolder *one = f.record->holders[i];

        if (one->node == r->conf.node)
            h->here = true;
        else if (h->others++ == 0)
            snprintf(h->name, sizeof(h->name), "%s", one->name);
    }
    h->known = rc == 0 && f.record->counted != 0 && f.record->counted == counted_now(&f.ids);
    found_free(&f);
    return rc;
}

/* Packs @record with @edit done to it; its own holders stay as they are. */
static uint8_t *edit_pack(const struct cairn_router *r, const Cairn__Wire__NamespaceRecord *record, uint32_t id,
                          enum router_edit edit, uint32_t *len)
{
    Cairn__Wire__NamespaceRecord edited = *record;
    Cairn__Wire__Namespace ns = *record->ns;
    Cairn__Wire__NamespaceHolder self = CAIRN__WIRE__NAMESPACE_HOLDER__INIT;
    uint8_t *value = NULL;

    ns.id = id; /* until now it may have been that of the entry's creation */
    edited.ns = &ns;
    edited.has_large |= edit == ROUTER_HAS_LARGE;
    edited.n_holders = 0;
    edited.holders = malloc((record->n_holders + 1) * sizeof(Cairn__Wire__NamespaceHolder *));
    if (edited.holders == NULL)
        return NULL;
    for (size_t i = 0; i < record->n_holders; i++) {
        if (edit == ROUTER_HAS_LARGE || record->holders[i]->node != r->conf.node)
            edited.holders[edited.n_holders++] = record->holders[i];
    }
    self.node = r->conf.node;
    self.name = (char *)(uintptr_t)(r->conf.node_name != NULL ? r->conf.node_name : "");
    if (edit == ROUTER_HOLDS)
        edited.holders[edited.n_holders++] = &self;
    *len = (uint32_t)cairn__wire__namespace_record__get_packed_size(&edited);
    value = malloc(*len + 1);
    if (value != NULL)
        cairn__wire__namespace_record__pack(&edited, value);
    free(edited.holders);
    return value;
}

int router_ns_edit(const struct cairn_router *r, const struct router_ns *ns, enum router_edit edit, uint8_t **value,
                   uint32_t *len, uint64_t *from)
{
    struct found f;
    int rc = found_get(&f, r, ns);

    *value = rc == 0 ? edit_pack(r, f.record, ns->id, edit, len) : NULL;
    *from = f.revision;
    found_free(&f);
    return rc == 0 && *value == NULL ? CAIRN_E_NOMEM : rc;
}
