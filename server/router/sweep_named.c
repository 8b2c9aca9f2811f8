/* What stays in a sweep: regions that entries of slots' logs, or records, name. All of them are seen before one goes,
 * and what cannot be read ends the sweep. */
#include "server/router/sweep_internal.h"

#include <stdlib.h>
#include <string.h>

enum { SWEEP_SCAN_PAGE = 256 };

void router_sweep_keep(void *arg, uint64_t id)
{
    struct router_sweep *s = arg;

    router_sweep_set_name(&s->candidates, id);
}

static void sweep_on_named(void *arg, int rc)
{
    struct router_sweep *s = arg;

    s->calling = false;
    if (s->stopping)
        router_sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
    else if (rc == CAIRN_E_BUSY)
        router_sweep_wait(s, router_sweep_logs);
    else if (rc != 0)
        router_sweep_stop(s, rc, "the logs of slots are not known");
    else
        router_sweep_open(s);
}

void router_sweep_logs(struct router_sweep *s)
{
    s->calling = true;
    s->named = (struct cairn_cluster_named){
        .cluster = s->router->conf.cluster, .fn = router_sweep_keep, .done = sweep_on_named, .arg = s
    };
    cairn_cluster_named(&s->named);
}

/* ---- records ---- */

/* Namespaces whose records may name candidates. */
static bool sweep_take_spaces(struct router_sweep *s)
{
    struct router_worker *home = router_home(s->router);

    free(s->spaces);
    s->nspaces = s->space = 0;
    s->from_len = 0;
    s->spaces = malloc((home->nns + 1) * sizeof(s->spaces[0]));
    if (s->spaces == NULL)
        return false;
    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &home->buckets[i]) {
            const struct router_ns *ns = CONTAINER_OF(l, const struct router_ns, link);

            if ((ns->clustered || (ns->has_large && !s->again)) && ns->extent == router_sweep_target(s))
                s->spaces[s->nspaces++] = ns->id;
        }
    }
    return true;
}

/* False if a record cannot be read: then nobody knows what it names, and everything must stay. */
static bool sweep_name_page(struct router_sweep *s, const Cairn__Wire__KvListReply *reply, const uint8_t *values,
                            size_t len)
{
    size_t at = 0;

    if (reply->n_lengths != reply->n_keys)
        return false;
    for (size_t i = 0; i < reply->n_lengths; i++) {
        struct cairn_record r;

        if (reply->lengths[i] > len - at || cairn_record_parse(values + at, reply->lengths[i], &r) != 0)
            return false;
        for (uint32_t j = 0; j < r.nregions; j++)
            router_sweep_set_name(&s->candidates, cairn_record_region(&r, j).id);
        at += reply->lengths[i];
    }
    return true;
}

static void sweep_unpin(struct router_sweep *s)
{
    struct router_ns *ns = s->pinned;

    s->pinned = NULL;
    router_ns_put(ns);
}

static void sweep_on_scanned(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    const Cairn__Wire__KvListReply *reply = (const Cairn__Wire__KvListReply *)call->reply;
    const ProtobufCBinaryData *last;

    sweep_unpin(s);
    if (!router_sweep_called(s))
        return;
    if (!sweep_name_page(s, reply, call->reply_payload, call->reply_payload_len)) {
        router_sweep_stop(s, CAIRN_E_CORRUPT, "a record cannot be read");
        return;
    }
    if (reply->more && reply->n_keys > 0) {
        last = &reply->keys[reply->n_keys - 1];
        CAIRN_ASSERT(last->len <= sizeof(s->from));
        memcpy(s->from, last->data, last->len);
        s->from_len = (uint32_t)last->len;
    } else {
        s->space++;
        s->from_len = 0;
    }
    router_sweep_rest(s, router_sweep_open);
}

static void sweep_scan(struct router_sweep *s)
{
    cairn_sm_move(&s->sm, SWEEP_SCAN);
    s->scanned = s->pinned->kv;
    cairn__wire__kv_list__init(&s->msg.list);
    s->msg.list.db = s->pinned->db;
    s->msg.list.from = (ProtobufCBinaryData){ .data = s->from, .len = s->from_len };
    s->msg.list.after = s->from_len > 0;
    s->msg.list.max = SWEEP_SCAN_PAGE;
    s->msg.list.values = true;
    router_sweep_call(s, s->pinned->kv, CAIRN__WIRE__KV_METHOD__KV_LIST, sweep_on_scanned);
}

static void sweep_on_opened(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    struct router_ns *ns = s->pinned;

    if (call->rc == 0) {
        ns->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
        ns->open = true;
    }
    if (!router_sweep_called(s)) {
        sweep_unpin(s);
        return;
    }
    sweep_scan(s);
}

static void sweep_on_flushed(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;

    if (call->rc == CAIRN_E_UNSUPPORTED) /* there is no disk to be flushed to */
        call->rc = 0;
    if (router_sweep_called(s))
        router_sweep_rest(s, router_sweep_remove);
}

static void sweep_flush(struct router_sweep *s)
{
    if (s->router->conf.cluster == NULL || s->scanned == NULL) {
        router_sweep_remove(s);
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_FLUSH);
    cairn__wire__empty__init(&s->msg.empty);
    router_sweep_call(s, s->scanned, CAIRN__WIRE__KV_METHOD__KV_FLUSH, sweep_on_flushed);
}

/* Pins the next namespace for one page. Between two pages it may be removed: then its regions go with it, or are
 * garbage. While it is being removed nobody knows yet. */
void router_sweep_open(struct router_sweep *s)
{
    struct router_ns *ns = NULL;

    if ((s->sm.state == SWEEP_BARRIER || s->sm.state == SWEEP_LOGS) && !sweep_take_spaces(s)) {
        router_sweep_stop(s, CAIRN_E_NOMEM, "out of memory");
        return;
    }
    while (s->space < s->nspaces) {
        ns = router_ns_find_id(router_home(s->router), s->spaces[s->space]);
        if (ns != NULL)
            break;
        s->space++;
        s->from_len = 0;
    }
    if (s->space < s->nspaces && ns->removing) { /* it may stay after all, as one that is not empty does */
        router_sweep_wait(s, router_sweep_open);
        return;
    }
    if (s->space == s->nspaces || s->candidates.n == 0) {
        s->space = s->nspaces;
        sweep_flush(s);
        return;
    }
    if (ns->kv == NULL) {
        router_sweep_stop(s, CAIRN_E_NOPROVIDER, "a namespace's KV provider is not on this node");
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_OPEN);
    s->pinned = ns;
    router_ns_get(ns);
    if (ns->open) {
        sweep_scan(s);
        return;
    }
    cairn__wire__kv_open__init(&s->msg.open);
    s->msg.open.name = ns->db_name;
    s->msg.open.create = true;
    s->msg.open.write_once = ns->write_once;
    router_sweep_call(s, ns->kv, CAIRN__WIRE__KV_METHOD__KV_OPEN, sweep_on_opened);
}
