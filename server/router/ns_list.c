/* What there is, and where: NS_LIST, NS_SHOW and WHERE. Answered from the worker's own copy, at once.
 *
 * A namespace is shown to its owner, to whoever may read or write it, and to administrators. Its name is no secret
 * beyond that: one that exists refuses others with CAIRN_E_DENIED, and nobody else can make one of that name. */
#include "server/router/router_internal.h"

#include "sdk/core/placement/placement.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A page fits into a frame many times over, and holds several hundred namespaces as a rule. */
enum { NS_PAGE_BYTES = 256 << 10, NS_ROW_BYTES_MORE = 8 /* tag and length */ };
_Static_assert(NS_PAGE_BYTES + 4096 < CAIRN_FRAME_BODY_BYTES_MAX, "a page is one frame's body");

static bool ns_is_visible(const struct router_ns *ns, const struct cairn_identity *who)
{
    return who->uid == ns->owner || router_ns_allows(ns, who, ROUTER_READ) || router_ns_allows(ns, who, ROUTER_WRITE);
}

static void ns_to_row(const struct router_worker *w, const struct router_ns *ns, Cairn__Wire__Namespace *row)
{
    router_ns_to_wire(ns, row);
    row->part_bytes = router_region_bytes(w->router, ns);
    row->slots = router_clustered_slots(w->router, ns, &row->first_slot);
}

/* Fills a page of @all, which is sorted, into @rows, which has room for all of them. */
static void ns_fill_page(const struct cairn_rpc_req *rq, struct router_ns *const *all, Cairn__Wire__Namespace *rows,
                         Cairn__Wire__NamespaceList *page)
{
    const Cairn__Wire__NsList *m = (const Cairn__Wire__NsList *)rq->msg;
    const struct router_worker *w = router_worker_of(rq);
    uint32_t max = m->max != 0 ? m->max : UINT32_MAX;
    size_t bytes = 0;

    for (uint32_t i = 0; i < w->nns && !page->more; i++) {
        Cairn__Wire__Namespace *row = &rows[page->n_namespaces];

        if (strcmp(all[i]->name, m->after) <= 0 || !ns_is_visible(all[i], rq->who))
            continue;
        ns_to_row(w, all[i], row);
        bytes += cairn__wire__namespace__get_packed_size(row) + NS_ROW_BYTES_MORE;
        if (page->n_namespaces == max || (page->n_namespaces > 0 && bytes > NS_PAGE_BYTES))
            page->more = true;
        else
            page->namespaces[page->n_namespaces++] = row;
    }
}

void router_handle_ns_list(struct cairn_rpc_req *rq)
{
    struct router_worker *w = router_worker_of(rq);
    Cairn__Wire__NamespaceList page = CAIRN__WIRE__NAMESPACE_LIST__INIT;
    struct router_ns **all = router_ns_sorted(w);
    Cairn__Wire__Namespace *rows = malloc((w->nns + 1) * sizeof(*rows));

    page.namespaces = malloc((w->nns + 1) * sizeof(Cairn__Wire__Namespace *));
    if (all == NULL || rows == NULL || page.namespaces == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "list of namespaces");
    } else {
        ns_fill_page(rq, all, rows, &page);
        cairn_rpc_reply(rq, 0, &page.base, NULL, 0);
    }
    free(all);
    free(rows);
    free(page.namespaces);
}

/* NULL: answered, with the reason. */
static const struct router_ns *ns_to_show(struct cairn_rpc_req *rq, const char *name)
{
    const struct router_ns *ns = router_ns_find(router_worker_of(rq), name);

    if (ns != NULL && ns_is_visible(ns, rq->who))
        return ns;
    if (ns == NULL)
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "there is no namespace '%.255s'", name);
    else
        cairn_rpc_reply_err(rq, CAIRN_E_DENIED, "user %u may neither read nor write namespace '%s'",
                            (unsigned)rq->who->uid, ns->name);
    return NULL;
}

void router_handle_ns_show(struct cairn_rpc_req *rq)
{
    const struct router_ns *ns = ns_to_show(rq, ((const Cairn__Wire__NsName *)rq->msg)->name);
    Cairn__Wire__Namespace reply;

    if (ns == NULL)
        return;
    ns_to_row(router_worker_of(rq), ns, &reply);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

/* Nobody is asked and no key looked up: so it is answered also where the key's nodes are gone. */
void router_handle_where(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    const struct router_ns *ns = ns_to_show(rq, m->ns);
    struct cairn_cluster *cluster = router_worker_of(rq)->router->conf.cluster;
    Cairn__Wire__RouterText reply = CAIRN__WIRE__ROUTER_TEXT__INIT;
    char hash[17];
    uint32_t slot;
    json_t *o;

    if (ns == NULL)
        return;
    if (m->ns_id != 0 && ns->id != m->ns_id) {
        cairn_rpc_reply_err(rq, ns->id < m->ns_id ? CAIRN_E_BUSY : CAIRN_E_NOTFOUND,
                            "namespace '%.255s' is another here than the one that was opened", ns->name);
        return;
    }
    snprintf(hash, sizeof(hash), "%016" PRIx64, cairn_placement_hash(m->key.data, m->key.len));
    o = json_pack("{s:i, s:s, s:s, s:b}", "version", 1, "namespace", ns->name, "hash", hash, "clustered",
                  (int)router_is_clustered(ns));
    if (o != NULL && router_is_clustered(ns) && cluster != NULL &&
        cairn_cluster_slot(cluster, ns->replicas, m->key.data, m->key.len, &slot))
        cairn_cluster_explain(cluster, slot, o);
    reply.json = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    if (reply.json != NULL)
        cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
    else
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "namespace '%s'", ns->name);
    free(reply.json);
}
