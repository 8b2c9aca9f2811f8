/* The node's own service: who it is, what it hosts, how it is. */
#include "server/node/node.h"

#include "sdk/core/rpc/session.h"

#include "schema/common.pb-c.h"
#include "schema/node.pb-c.h"

#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void handle_ping(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

void cairn_node__reply_text(struct cairn_rpc_req *rq, char *text)
{
    Cairn__Wire__NodeText m = CAIRN__WIRE__NODE_TEXT__INIT;

    if (text == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    m.text = text;
    if (cairn__wire__node_text__get_packed_size(&m) <= CAIRN_FRAME_BODY_BYTES_MAX)
        cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
    else
        cairn_rpc_reply(rq, CAIRN_E_TOOBIG, NULL, NULL, 0);
    free(text);
}

static void handle_providers(struct cairn_rpc_req *rq)
{
    struct cairn_server *s = rq->target->ctx;
    Cairn__Wire__NodeProviders m = CAIRN__WIRE__NODE_PROVIDERS__INIT;
    Cairn__Wire__NodeProvider rows[CAIRN_PROVIDERS_MAX], *list[CAIRN_PROVIDERS_MAX];

    for (uint32_t i = 0; i < s->ntargets; i++) {
        cairn__wire__node_provider__init(&rows[i]);
        rows[i].id = s->targets[i].id;
        rows[i].name = (char *)(uintptr_t)s->targets[i].name;
        rows[i].type = (char *)(uintptr_t)s->targets[i].iface->name;
        list[i] = &rows[i];
    }
    m.providers = list;
    m.n_providers = s->ntargets;
    cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
}

/* Worse of two: "ok" < "readonly" < "degraded" < "failed". */
static const char *worse_health(const char *a, const char *b)
{
    static const char *const order[] = { "ok", "readonly", "degraded", "failed" };
    size_t worst = 0;

    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        if (strcmp(order[i], a) == 0 || (b != NULL && strcmp(order[i], b) == 0))
            worst = i;
    }
    return order[worst];
}

static json_t *status_providers(struct cairn_server *s, const char **health)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->ninstances; i++) {
        struct cairn_instance *p = &s->instances[i];
        json_t *o = json_pack("{s:s, s:s, s:i}", "name", p->env.name, "type", p->desc->type, "id",
                              (int)s->targets[NODE_FIXED_TARGETS - 1 + i].id);

        if (p->desc->status != NULL)
            p->desc->status(p->ctx, o);
        *health = worse_health(*health, json_string_value(json_object_get(o, "health")));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *status_addresses(struct cairn_server *s)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->conf.nlisten; i++)
        json_array_append_new(list, json_string(s->addresses[i]));
    return list;
}

static void handle_status(struct cairn_rpc_req *rq)
{
    struct cairn_server *s = rq->target->ctx;
    const struct cairn_rpc_node *n = &s->rpc_node;
    char cluster[CAIRN_CLUSTER_ID_BYTES * 2 + 1], node_id[17];
    const char *health = "ok";
    json_t *providers = status_providers(s, &health), *o;
    uint64_t uptime = (cairn_loop_now(cairn_rpc_loop(rq->rpc)) - s->started_ns) / CAIRN_NS_PER_S;

    sodium_bin2hex(cluster, sizeof(cluster), n->cluster_id, sizeof(n->cluster_id));
    snprintf(node_id, sizeof(node_id), "%016" PRIx64, s->data.node_id);
    o = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:I, s:I, s:I, s:b, s:b, s:s, s:s, s:o, s:o}", "version", 1,
                  "node", n->name, "node_id", node_id, "cluster_id", cluster, "state",
                  atomic_load(&s->rpc_node.draining) ? "draining" : "serving", "health", health, "uptime_s",
                  (json_int_t)uptime, "workers", (int)s->nworkers, "connections",
                  (json_int_t)atomic_load(&s->rpc_node.counters.connections), "connections_max",
                  (json_int_t)n->connections_max, "bytes_in_flight", (json_int_t)atomic_load(&s->budget.bytes),
                  "insecure", n->insecure, "munge", n->munge, "data", s->conf.data, "workspace", s->conf.workspace,
                  "addresses", status_addresses(s), "providers", providers);
    cairn_node__reply_text(rq, o != NULL ? json_dumps(o, JSON_COMPACT) : NULL);
    json_decref(o);
}

static void handle_metrics(struct cairn_rpc_req *rq)
{
    struct cairn_server *s = rq->target->ctx;
    json_t *o = cairn_metrics_json(&s->metrics);

    cairn_node__reply_text(rq, o != NULL ? json_dumps(o, JSON_COMPACT) : NULL);
    json_decref(o);
}

static void handle_config(struct cairn_rpc_req *rq)
{
    struct cairn_server *s = rq->target->ctx;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (f != NULL) {
        cairn_conf_print(s->conf.doc, f);
        fclose(f);
    }
    cairn_node__reply_text(rq, text);
}

cairn_rpc_handler *const cairn_node_handlers[] = {
    [CAIRN__WIRE__NODE_METHOD__NODE_PING] = handle_ping,
    [CAIRN__WIRE__NODE_METHOD__NODE_PROVIDERS] = handle_providers,
    [CAIRN__WIRE__NODE_METHOD__NODE_STATUS] = handle_status,
    [CAIRN__WIRE__NODE_METHOD__NODE_MACHINES] = cairn_node__handle_machines,
    [CAIRN__WIRE__NODE_METHOD__NODE_METRICS] = handle_metrics,
    [CAIRN__WIRE__NODE_METHOD__NODE_CONFIG] = handle_config,
    [CAIRN__WIRE__NODE_METHOD__NODE_MAP] = cairn_node__handle_map,
};
