/* The providers of a node, those that it always has among them: first all are planned, so that each may look the others
 * up, then they start, in the order of the configuration and the router last, which uses them all. */
#include "server/node/node.h"

#include "server/cluster/service/cluster.h"
#include "server/router/router.h"

#include <stdlib.h>

static void add_target(struct cairn_server *s, uint16_t id, const char *name, const struct cairn_rpc_iface *iface,
                       cairn_rpc_handler *const *handlers, void *ctx)
{
    s->targets[s->ntargets++] =
        (struct cairn_rpc_target){ .iface = iface, .handlers = handlers, .ctx = ctx, .name = name, .id = id };
}

/* What instance @i is. The router is the last, the service of a cluster, where there is one, before it. */
static const struct cairn_provider_desc *instance_desc(const struct cairn_server *s, uint32_t i)
{
    if (i + 1 == s->ninstances)
        return &cairn_router_desc;
    return i == s->conf.nproviders ? &cairn_cluster_desc : s->conf.provider_descs[i];
}

static uint16_t instance_id(const struct cairn_instance *p, uint32_t i)
{
    if (p->desc == &cairn_router_desc)
        return CAIRN_PROVIDER_ROUTER;
    return p->desc == &cairn_cluster_desc ? CAIRN_PROVIDER_CLUSTER : (uint16_t)(CAIRN_PROVIDER_FIRST + i);
}

int cairn_node__plan_instances(struct cairn_server *s, struct cairn_err *err)
{
    const struct cairn_node_conf *conf = &s->conf;

    s->ninstances = conf->nproviders + (conf->map_etcd ? 1 : 0) + 1;
    s->instances = calloc(s->ninstances, sizeof(*s->instances));
    if (s->instances == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "providers");
    s->provider_node = (struct cairn_provider_node){ .name = s->rpc_node.name,
                                                     .zone = conf->service.zone,
                                                     .cluster_id = s->rpc_node.cluster_id,
                                                     .key = s->rpc_node.key,
                                                     .addresses = s->addresses,
                                                     .naddresses = &s->nlisteners };
    add_target(s, CAIRN_PROVIDER_NODE, "node", &cairn_iface_node, cairn_node_handlers, s);
    add_target(s, CAIRN_PROVIDER_BULK, "bulk", &cairn_iface_bulk, cairn_bulk_handlers, NULL);
    for (uint32_t i = 0; i < s->ninstances; i++) {
        struct cairn_instance *p = &s->instances[i];
        bool is_configured = i < conf->nproviders;
        int rc;

        p->desc = instance_desc(s, i);
        p->env = (struct cairn_provider_env){
            .name = is_configured ? cairn_conf_str(conf->providers[i], "name") : p->desc->type,
            .node = &s->provider_node,
            .dir = p->dir,
            .conf = is_configured ? conf->providers[i] : NULL,
            .pool = s->pool,
            .spare = &s->spare,
            .gossip = &s->gossip,
            .loops = s->loops,
            .nloops = s->nworkers,
            .targets = s->targets,
        };
        rc = cairn_node__instance_open_dir(s, p, err);
        if (rc != 0)
            return rc;
        add_target(s, instance_id(p, i), p->env.name, p->desc->iface, p->desc->handlers, NULL);
    }
    return 0;
}

/* The cluster's service, which is started before the router; NULL: there is none. */
static void *cluster_ctx(const struct cairn_server *s)
{
    for (uint32_t i = 0; i < s->ninstances; i++) {
        if (s->instances[i].desc == &cairn_cluster_desc && s->instances[i].started)
            return s->instances[i].ctx;
    }
    return NULL;
}

static int start_instance(struct cairn_server *s, struct cairn_instance *p, struct cairn_err *err)
{
    struct cairn_router_conf router = { .kv = s->conf.router_kv,
                                        .extent = s->conf.router_extent,
                                        .embed_threshold = (uint32_t)s->conf.embed_threshold,
                                        .user_namespaces_max = s->conf.user_namespaces_max,
                                        .sweep_interval_ms = s->conf.sweep_interval_ms,
                                        .map = s->map,
                                        .cluster = cluster_ctx(s),
                                        .node = cluster_ctx(s) != NULL ? s->data.node_id : 0,
                                        .node_name = s->conf.name };
    struct cairn_cluster_conf cluster = s->conf.service;

    if (p->desc == &cairn_router_desc)
        return cairn_router_start(&p->env, &router, &p->ctx, err);
    if (p->desc != &cairn_cluster_desc)
        return p->desc->start(&p->env, &p->ctx, err);
    cluster.map = s->map;
    cluster.node_id = s->data.node_id;
    cluster.disk_id = s->data.disk_id;
    cluster.map_was_empty = s->map_was_empty;
    return cairn_cluster_start(&p->env, &cluster, &p->ctx, err);
}

int cairn_node__start_instances(struct cairn_server *s, struct cairn_err *err)
{
    for (uint32_t i = 0; i < s->ninstances; i++) {
        struct cairn_instance *p = &s->instances[i];
        int rc;

        p->env.ntargets = s->ntargets;
        cairn_notify_status(&s->notify, "starting: provider %s", p->env.name);
        rc = cairn_spare_explain(p->has_spare ? &p->spare : &s->spare, start_instance(s, p, err), err);
        if (rc != 0)
            return cairn_err_wrap(err, rc, "provider %s", p->env.name);
        p->started = true;
        s->targets[NODE_FIXED_TARGETS - 1 + i].ctx = p->ctx; /* node and bulk stand before them */
    }
    return 0;
}
