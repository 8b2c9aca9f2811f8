/* Namespaces: one worker's table, who may do what, and their form on the wire and in the map store. */
#include "server/router/router_internal.h"

#include "sdk/core/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static struct cairn_link *bucket(struct router_worker *w, const char *name)
{
    return &w->buckets[XXH3_64bits(name, strlen(name)) % ROUTER_BUCKETS];
}

struct router_ns *router_ns_find(struct router_worker *w, const char *name)
{
    struct cairn_link *head = bucket(w, name);

    CAIRN_LIST_FOREACH (l, head) {
        struct router_ns *ns = CONTAINER_OF(l, struct router_ns, link);

        if (strcmp(ns->name, name) == 0)
            return ns;
    }
    return NULL;
}

struct router_ns *router_ns_find_id(struct router_worker *w, uint32_t id)
{
    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &w->buckets[i]) {
            struct router_ns *ns = CONTAINER_OF(l, struct router_ns, link);

            if (ns->id == id)
                return ns;
        }
    }
    return NULL;
}

void router_ns_add(struct router_worker *w, struct router_ns *ns)
{
    cairn_list_add_head(bucket(w, ns->name), &ns->link);
    w->nns++;
}

/* For the sweeper, whose work its regions are. Ids are never given twice. Whether the oldest was swept is not known
 * here. */
static void note_removed(struct cairn_router *r, uint32_t id)
{
    if (r->nremoved == ROUTER_REMOVED_MAX)
        atomic_store(&r->left_garbage, true);
    else
        r->nremoved++;
    r->removed[r->next_removed] = id;
    r->next_removed = (r->next_removed + 1) % ROUTER_REMOVED_MAX;
}

void router_ns_del(struct router_worker *w, struct router_ns *ns)
{
    CAIRN_ASSERT(w->nns > 0 && ns->ops == 0);
    if (ns->clustered && w == router_home(w->router))
        note_removed(w->router, ns->id);
    w->nns--;
    cairn_list_del(&ns->link);
    free(ns);
}

static int ns_cmp(const void *a, const void *b)
{
    return strcmp((*(struct router_ns *const *)a)->name, (*(struct router_ns *const *)b)->name);
}

struct router_ns **router_ns_sorted(struct router_worker *w)
{
    struct router_ns **all = malloc((w->nns + 1) * sizeof(*all));
    uint32_t n = 0;

    if (all == NULL)
        return NULL;
    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &w->buckets[i])
            all[n++] = CONTAINER_OF(l, struct router_ns, link);
    }
    CAIRN_ASSERT(n == w->nns);
    qsort(all, n, sizeof(*all), ns_cmp);
    return all;
}

void router_ns_put(struct router_ns *ns)
{
    CAIRN_ASSERT(ns->ops > 0);
    ns->ops--;
    if (UNLIKELY(ns->ops == 0 && ns->awaits_ops != NULL)) {
        struct router_news *n = ns->awaits_ops;

        ns->awaits_ops = NULL;
        router_news_ack(n);
    }
}

void router_ns_put_plain(struct router_ns *ns)
{
    CAIRN_ASSERT(ns->plain > 0);
    ns->plain--;
    if (UNLIKELY(ns->plain == 0 && ns->awaits_plain != NULL)) {
        struct router_news *n = ns->awaits_plain;

        ns->awaits_plain = NULL;
        router_news_ack(n);
    }
}

/* ---- names ---- */

/* Length of the UTF-8 character at @p, 0 if there is none, or none that can be printed. */
static size_t printable_utf8(const unsigned char *p)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 }; /* longer than needed is not UTF-8 */
    uint32_t c = p[0];
    size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;

    if (n > 1)
        c &= 0x7fU >> n;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (n == 0 || c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) ? 0 : n;
}

int router_ns_name_check(const char *name, struct cairn_err *err)
{
    size_t len = strlen(name);

    if (len == 0 || len > CAIRN_NAME_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "a namespace's name has 1 to %d bytes, not %zu", CAIRN_NAME_BYTES_MAX,
                             len);
    for (size_t i = 0, n; i < len; i += n) {
        n = printable_utf8((const unsigned char *)name + i);
        if (n == 0)
            return cairn_err_set(err, CAIRN_E_INVAL, "a namespace's name is printable UTF-8; byte %zu is not", i);
        if (name[i] == '/')
            return cairn_err_set(err, CAIRN_E_INVAL, "a namespace's name contains no '/'");
    }
    return 0;
}

bool router_ns_allows(const struct router_ns *ns, const struct cairn_identity *who, enum router_access access)
{
    uint32_t shift = who->uid == ns->owner ? 6 : cairn_identity_is_in(who, ns->group) ? 3 : 0;

    return who->admin || ((ns->mode >> shift) & access) != 0;
}

/* ---- wire and store ---- */

void router_ns_to_wire(const struct router_ns *ns, Cairn__Wire__Namespace *to)
{
    cairn__wire__namespace__init(to);
    to->name = (char *)ns->name;
    to->kv = (char *)ns->kv_name;
    to->extent = (char *)ns->extent_name;
    to->id = ns->id;
    to->frontend = CAIRN__WIRE__FRONTEND__FRONTEND_HASHED;
    to->replicas = ns->replicas;
    to->durability = ns->durability;
    to->write_once = ns->write_once;
    to->embed_threshold = ns->embed_threshold;
    to->owner = ns->owner;
    to->group = ns->group;
    to->mode = ns->mode;
    to->created_ms = ns->created_ms;
    to->clustered = ns->clustered;
}

uint8_t *router_ns_pack(const struct router_ns *ns, uint64_t counted, uint32_t *len)
{
    Cairn__Wire__NamespaceRecord record = CAIRN__WIRE__NAMESPACE_RECORD__INIT;
    Cairn__Wire__Namespace wire;
    uint8_t *p;

    router_ns_to_wire(ns, &wire);
    record.ns = &wire;
    record.has_large = ns->has_large;
    record.counted = counted;
    *len = (uint32_t)cairn__wire__namespace_record__get_packed_size(&record);
    p = malloc(*len + 1);
    if (p != NULL)
        cairn__wire__namespace_record__pack(&record, p);
    return p;
}

static const struct cairn_rpc_target *target_find(const struct cairn_router *r, const char *name,
                                                  const struct cairn_rpc_iface *iface)
{
    for (uint32_t i = 0; i < r->env.ntargets; i++) {
        const struct cairn_rpc_target *t = &r->env.targets[i];

        if (t->iface == iface && strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

void router_ns_complete(const struct cairn_router *r, struct router_ns *ns)
{
    cairn_list_init(&ns->link);
    ns->kv = target_find(r, ns->kv_name, &cairn_iface_kv);
    ns->extent = ns->extent_name[0] != '\0' ? target_find(r, ns->extent_name, &cairn_iface_extent) : NULL;
    snprintf(ns->db_name, sizeof(ns->db_name), "ns/%" PRIu32, ns->id);
    ns->noted = ns->clustered || r->conf.node == 0;
}

static bool name_fits(const char *name)
{
    return strlen(name) <= CAIRN_NAME_BYTES_MAX;
}

int router_ns_unpack(const struct cairn_router *r, const struct cairn_map_ids *ids, const struct cairn_map_entry *e,
                     struct router_ns *ns)
{
    Cairn__Wire__NamespaceRecord *record;
    const Cairn__Wire__Namespace *wire;
    int rc;
    uint32_t id;

    errno = 0;
    record = cairn__wire__namespace_record__unpack(NULL, e->value_len, e->value);
    rc = record == NULL && errno == ENOMEM ? CAIRN_E_NOMEM : CAIRN_E_CORRUPT;
    if (record == NULL || record->ns == NULL)
        goto out;
    wire = record->ns;
    if (strcmp(wire->name, e->key + strlen("ns/")) != 0 || router_ns_name_check(wire->name, NULL) != 0 ||
        !name_fits(wire->kv) || !name_fits(wire->extent))
        goto out;
    id = wire->id != 0 ? wire->id : cairn_map_id(ids, e->created); /* once it was changed or moved, the record's */
    if (id == 0)
        goto out;
    rc = CAIRN_E_FORMAT;
    if (wire->frontend != CAIRN__WIRE__FRONTEND__FRONTEND_HASHED ||
        wire->durability > CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY)
        goto out;
    rc = 0;
    memset(ns, 0, sizeof(*ns));
    snprintf(ns->name, sizeof(ns->name), "%s", wire->name);
    snprintf(ns->kv_name, sizeof(ns->kv_name), "%s", wire->kv);
    snprintf(ns->extent_name, sizeof(ns->extent_name), "%s", wire->extent);
    ns->id = id;
    ns->changed = e->changed;
    ns->replicas = wire->replicas;
    ns->durability = wire->durability;
    ns->write_once = wire->write_once;
    ns->embed_threshold = wire->embed_threshold;
    ns->owner = wire->owner;
    ns->group = wire->group;
    ns->mode = wire->mode;
    ns->created_ms = wire->created_ms;
    ns->clustered = wire->clustered;
    ns->has_large = ns->large_ready = record->has_large;
    router_ns_complete(r, ns);
    for (size_t i = 0; i < record->n_holders; i++)
        ns->noted |= record->holders[i]->node == r->conf.node;
out:
    if (record != NULL)
        cairn__wire__namespace_record__free_unpacked(record, NULL);
    return rc;
}

struct load {
    struct cairn_router *router;
    struct cairn_map_ids ids;
    struct cairn_err *err;
    int rc;
};

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    struct load *load = arg;
    struct cairn_router *r = load->router;
    struct router_ns ns;

    if (load->rc != 0)
        return;
    load->rc = router_ns_unpack(r, &load->ids, e, &ns);
    if (load->rc != 0) {
        cairn_err_set(load->err, load->rc, "the record of namespace '%s' %s", e->key + strlen("ns/"),
                      load->rc == CAIRN_E_FORMAT  ? "was written by a newer version"
                      : load->rc == CAIRN_E_NOMEM ? "cannot be read: out of memory"
                                                  : "is malformed");
        return;
    }
    if (ns.kv == NULL)
        cairn_log_warn("namespace '%s' lives in the KV provider '%s', which this node does not have", ns.name,
                       ns.kv_name);
    for (uint32_t i = 0; i < r->nworkers && load->rc == 0; i++) {
        struct router_ns *copy = malloc(sizeof(*copy));

        if (copy == NULL) {
            load->rc = cairn_err_set(load->err, CAIRN_E_NOMEM, "namespaces");
        } else {
            *copy = ns;
            cairn_list_init(&copy->link);
            router_ns_add(&r->workers[i], copy);
        }
    }
    r->nnamespaces++;
}

int router_ns_load(struct cairn_router *r, struct cairn_err *err)
{
    struct load load = { .router = r, .ids = cairn_map_ids_of(r->store), .err = err };

    cairn_map_store_each(r->store, "ns/", on_entry, &load);
    return load.rc;
}

struct stored {
    const struct cairn_router *router;
    const struct cairn_map_ids *ids;
    const char *name;
    uint32_t id;
    bool is;
};

static void stored_look(const struct cairn_map_entry *e, void *arg)
{
    struct stored *s = arg;
    struct router_ns ns;

    if (strcmp(e->key + strlen("ns/"), s->name) == 0)
        s->is = router_ns_unpack(s->router, s->ids, e, &ns) != 0 || ns.id == s->id;
}

bool router_ns_is_stored(const struct cairn_router *r, const char *name, uint32_t id)
{
    struct cairn_map_ids ids = cairn_map_ids_of(r->store);
    struct stored s = { .router = r, .ids = &ids, .name = name, .id = id };
    char key[sizeof("ns/") + CAIRN_NAME_BYTES_MAX];

    if ((size_t)snprintf(key, sizeof(key), "ns/%s", name) < sizeof(key))
        cairn_map_store_each(r->store, key, stored_look, &s);
    return s.is;
}

int cairn_router_map_entry(const struct cairn_map_entry *e, const struct cairn_map_ids *ids, uint8_t **value,
                           uint32_t *len, struct cairn_err *err)
{
    Cairn__Wire__NamespaceRecord *record;
    int rc = 0;

    *value = NULL;
    if (strncmp(e->key, "ns/", 3) != 0)
        return 0;
    record = cairn__wire__namespace_record__unpack(NULL, e->value_len, e->value);
    if (record == NULL || record->ns == NULL) {
        rc = cairn_err_set(err, CAIRN_E_CORRUPT, "the record of namespace '%s' is malformed", e->key + 3);
    } else if (record->ns->id == 0 && cairn_map_id(ids, e->created) == 0) {
        rc = cairn_err_set(err, CAIRN_E_CORRUPT, "the id of namespace '%s' cannot be told", e->key + 3);
    } else if (record->ns->id == 0) {
        record->ns->id = cairn_map_id(ids, e->created);
        *len = (uint32_t)cairn__wire__namespace_record__get_packed_size(record);
        *value = malloc(*len + 1);
        if (*value != NULL)
            cairn__wire__namespace_record__pack(record, *value);
        else
            rc = cairn_err_set(err, CAIRN_E_NOMEM, "namespaces");
    }
    if (record != NULL)
        cairn__wire__namespace_record__free_unpacked(record, NULL);
    return rc;
}
