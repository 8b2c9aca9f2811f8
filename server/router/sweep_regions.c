/* What a sweep may remove, and removes: databases of namespaces that are no more, and regions of ours that nothing
 * names. Which of them something names is found in between: sweep_named.c. */
#include "server/router/sweep_internal.h"

#include "server/router/upload.h"

#include <stdio.h>
#include <string.h>

enum { SWEEP_LIST_PAGE = 4096, SWEEP_REMOVE_PAGE = 1024 };

/* ---- databases ---- */

/* A namespace that was there before this run and is not there now. */
static bool sweep_is_gone(const struct router_sweep *s, uint64_t id)
{
    return id <= s->until && router_ns_find_id(router_home(s->router), (uint32_t)id) == NULL;
}

static void sweep_on_dropped(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;

    if (router_sweep_called(s))
        router_sweep_rest(s, router_sweep_databases);
}

/* The id in "ns/42"; 0 if the name is none of ours. */
static uint64_t database_ns_id(const char *name)
{
    char again[32];
    unsigned long long id;

    if (sscanf(name, "ns/%llu", &id) != 1)
        return 0;
    snprintf(again, sizeof(again), "ns/%llu", id);
    return strcmp(again, name) == 0 ? id : 0;
}

static void sweep_on_databases(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    const Cairn__Wire__KvDatabases *reply = (const Cairn__Wire__KvDatabases *)call->reply;

    if (!router_sweep_called(s))
        return;
    for (size_t i = 0; i < reply->n_databases; i++) {
        uint64_t id = database_ns_id(reply->databases[i]->name);

        if (id == 0 || !sweep_is_gone(s, id))
            continue;
        snprintf(s->drop_name, sizeof(s->drop_name), "%s", reply->databases[i]->name);
        cairn_sm_move(&s->sm, SWEEP_DROP);
        cairn__wire__kv_drop__init(&s->msg.drop);
        s->msg.drop.name = s->drop_name;
        router_sweep_call(s, router_sweep_target(s), CAIRN__WIRE__KV_METHOD__KV_DROP, sweep_on_dropped);
        return;
    }
    s->target++;
    router_sweep_rest(s, router_sweep_databases);
}

void router_sweep_databases(struct router_sweep *s)
{
    if (s->sm.state == SWEEP_DROP)
        cairn_sm_move(&s->sm, SWEEP_DATABASES);
    if (!router_sweep_next_target(s, &cairn_iface_kv)) {
        s->target = 0;
        router_sweep_list(s);
        return;
    }
    cairn__wire__empty__init(&s->msg.empty);
    router_sweep_call(s, router_sweep_target(s), CAIRN__WIRE__KV_METHOD__KV_DATABASES, sweep_on_databases);
}

/* ---- candidates ---- */

static void sweep_on_barrier(struct router_spread *spread)
{
    struct router_sweep *s = CONTAINER_OF(spread, struct router_sweep, spread);

    s->calling = false;
    if (s->stopping) {
        router_sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
        return;
    }
    /* Parts of values that are still coming in have no record yet. Whoever's upload ends from here on either has its
     * record seen by the scan, or removes its regions itself. */
    router_uploads_each(s->router, router_sweep_target(s), router_sweep_keep, s);
    if (s->router->conf.cluster == NULL) {
        router_sweep_open(s);
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_LOGS);
    router_sweep_logs(s);
}

static void sweep_apply_barrier(struct router_news *n)
{
    struct router_worker *w = n->w;
    uint32_t old = w->period++ & 1;

    CAIRN_ASSERT(w->awaits_storing == NULL);
    if (w->storing[old] == 0)
        router_news_ack(n);
    else
        w->awaits_storing = n;
}

static bool was_removed(const struct cairn_router *r, uint32_t id)
{
    for (uint32_t i = 0; i < r->nremoved; i++) {
        if (r->removed[i] == id)
            return true;
    }
    return false;
}

/* A region of ours, of a namespace that existed when this run began; those of later ones are no work of a crash. One
 * that is not known here may be one that is not known here yet. */
static bool sweep_is_candidate(const struct router_sweep *s, uint64_t owner)
{
    uint32_t id = (uint32_t)owner;
    const struct router_ns *ns;

    if ((owner >> 32) != (CAIRN_REGION_OWNER_TAG >> 32))
        return false;
    if (!s->again)
        return id <= s->until;
    ns = router_ns_find_id(router_home(s->router), id);
    return ns != NULL ? ns->clustered : was_removed(s->router, id);
}

static void sweep_on_listed(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    const Cairn__Wire__ExtentListReply *reply = (const Cairn__Wire__ExtentListReply *)call->reply;
    int rc = 0;

    if (!router_sweep_called(s))
        return;
    /* Without owners nobody can tell our regions from those that users made: then they all stay. */
    for (size_t i = 0; i < reply->n_ids && rc == 0; i++) {
        if (i < reply->n_owners && sweep_is_candidate(s, reply->owners[i]))
            rc = router_sweep_set_add(&s->candidates, reply->ids[i]);
        s->after = reply->ids[i];
    }
    if (rc != 0) {
        router_sweep_stop(s, rc, rc == CAIRN_E_INVAL ? "regions were listed out of order" : cairn_error_text(rc));
        return;
    }
    s->more = reply->more && reply->n_ids > 0;
    if (s->more && s->candidates.n + SWEEP_LIST_PAGE <= ROUTER_SWEEP_SET_MAX) {
        router_sweep_rest(s, router_sweep_list);
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_BARRIER);
    s->calling = true;
    router_spread_start(&s->spread, sweep_apply_barrier, sweep_on_barrier);
}

void router_sweep_list(struct router_sweep *s)
{
    if (!router_sweep_next_target(s, &cairn_iface_extent)) {
        router_sweep_finish(s);
        return;
    }
    if (s->sm.state != SWEEP_LIST) {
        cairn_sm_move(&s->sm, SWEEP_LIST);
        router_sweep_set_clear(&s->candidates);
        s->scanned = NULL;
        if (s->router->conf.cluster != NULL)
            cairn_cluster_sweep_begin(s->router->conf.cluster);
    }
    cairn__wire__extent_list__init(&s->msg.extent_list);
    s->msg.extent_list.after = s->after;
    s->msg.extent_list.max = SWEEP_LIST_PAGE;
    router_sweep_call(s, router_sweep_target(s), CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST, sweep_on_listed);
}

/* ---- what is left ---- */

static void sweep_on_removed(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    uint64_t removed;

    if (s->router->conf.cluster != NULL)
        cairn_cluster_spare(s->router->conf.cluster);
    if (!router_sweep_called(s))
        return;
    removed = s->msg.extent_remove.n_ids - router_count_left(call);
    if (removed < s->msg.extent_remove.n_ids)
        atomic_store(&s->router->left_garbage, true);
    s->removed += removed;
    atomic_fetch_add(&s->router->swept, removed);
    router_sweep_rest(s, router_sweep_remove);
}

/* The next that are to go; none: there are none left. */
static uint32_t sweep_take(struct router_sweep *s, uint64_t **ids)
{
    struct cairn_cluster *c = s->router->conf.cluster;
    uint32_t n, left;

    while ((n = router_sweep_set_take(&s->candidates, SWEEP_REMOVE_PAGE, ids)) > 0) {
        left = c != NULL ? cairn_cluster_doom(c, *ids, n) : n;
        if (left > 0)
            return left;
        cairn_cluster_spare(c);
    }
    return 0;
}

void router_sweep_remove(struct router_sweep *s)
{
    uint64_t *ids;
    uint32_t n;

    cairn_sm_move(&s->sm, SWEEP_REMOVE);
    n = sweep_take(s, &ids);
    if (n > 0) {
        cairn__wire__extent_remove__init(&s->msg.extent_remove);
        s->msg.extent_remove.ids = ids;
        s->msg.extent_remove.n_ids = n;
        router_sweep_call(s, router_sweep_target(s), CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, sweep_on_removed);
        return;
    }
    if (!s->more) {
        s->target++;
        s->after = 0;
    }
    s->more = false;
    router_sweep_list(s);
}
