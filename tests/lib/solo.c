/* A node on one thread: see solo.h. */
#include "tests/lib/solo.h"
#include "tests/lib/patience.h"

#include "sdk/core/bulk/bulk.h"
#include "server/node/node.h"
#include "server/port/pool.h"
#include "server/port/provider.h"
#include "server/router/router.h"
#include "tests/lib/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOLO_PROVIDERS_MAX = 8, SOLO_TURNS_MAX = 1000000 };

struct solo_provider {
    const struct cairn_provider_desc *desc;
    struct cairn_provider_env env;
    char dir[128];
    void *ctx;
};

struct solo {
    struct cairn_node_conf conf;
    struct cairn_loop loop;
    struct cairn_loop *loops[1];
    struct cairn_pool *pool;
    struct cairn_rpc *rpc;
    struct cairn_rpc_target targets[SOLO_PROVIDERS_MAX + 2];
    struct cairn_server node; /* what the node's own service looks at, no more */
    struct cairn_rpc *rpcs[1];
    struct cairn_rpc_stats_set *stats[1];
    struct solo_provider providers[SOLO_PROVIDERS_MAX]; /* the router is the last */
    uint32_t n, quiescing;
    char dir[SCRATCH_MAX];
};

static const uint8_t solo_cluster[CAIRN_CLUSTER_ID_BYTES], solo_key[CAIRN_KEY_BYTES];
static const uint32_t solo_naddresses = 0;
static const struct cairn_provider_node solo_node = {
    .name = "solo", .cluster_id = solo_cluster, .key = solo_key, .naddresses = &solo_naddresses
};

static void must(int rc, const struct cairn_err *err, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "solo: %s: %s\n", what, err->text);
    exit(1);
}

static void solo_start_provider(struct solo *s, const struct cairn_provider_desc *desc, const char *name,
                                const struct cairn_conf *conf, uint16_t id)
{
    struct solo_provider *p = &s->providers[s->n];
    struct cairn_err err = { 0 };

    p->desc = desc;
    snprintf(p->dir, sizeof(p->dir), "%s/%s", s->dir, name);
    mkdir(p->dir, 0700);
    p->env = (struct cairn_provider_env){ .name = name,
                                          .node = &solo_node,
                                          .dir = p->dir,
                                          .conf = conf,
                                          .pool = s->pool,
                                          .loops = s->loops,
                                          .nloops = 1,
                                          .targets = s->targets,
                                          .ntargets = s->n };
    if (desc == &cairn_router_desc)
        must(cairn_router_start(&p->env, NULL, &p->ctx, &err), &err, name);
    else
        must(desc->start(&p->env, &p->ctx, &err), &err, name);
    s->targets[s->n++] = (struct cairn_rpc_target){
        .iface = desc->iface, .handlers = desc->handlers, .ctx = p->ctx, .name = name, .id = id
    };
}

/* A node's view of itself: the targets in the order of a node, with its instances behind the fixed ones. */
static void solo_describe(struct solo *s)
{
    struct cairn_server *node = &s->node;

    node->conf = s->conf;
    node->pool = s->pool;
    node->loops = s->loops;
    node->rpcs = s->rpcs;
    node->nworkers = 1;
    node->instances = calloc(s->n, sizeof(*node->instances));
    if (node->instances == NULL)
        abort();
    node->ninstances = s->n;
    snprintf(node->rpc_node.name, sizeof(node->rpc_node.name), "solo");
    node->started_ns = cairn_loop_now(&s->loop);
    node->targets[0] = s->targets[s->n + 1];
    node->targets[1] = s->targets[s->n];
    node->ntargets = NODE_FIXED_TARGETS - 1 + s->n;
    for (uint32_t i = 0; i < s->n; i++) {
        node->targets[NODE_FIXED_TARGETS - 1 + i] = s->targets[i];
        node->descs[NODE_FIXED_TARGETS - 1 + i] = s->providers[i].desc;
        node->instances[i].desc = s->providers[i].desc;
        node->instances[i].env = s->providers[i].env;
        node->instances[i].ctx = s->providers[i].ctx;
    }
    for (uint32_t i = 0; i < node->conf.nlisten; i++)
        node->addresses[i] = (char *)(uintptr_t) "unix:///solo";
    s->stats[0] = cairn_rpc_stats_set_new(node->targets, node->ntargets);
    if (s->stats[0] == NULL)
        abort();
    node->metrics = (struct cairn_metrics){ .node = "solo",
                                            .version = "0",
                                            .started_ns = node->started_ns,
                                            .env = &s->loop.env,
                                            .targets = node->targets,
                                            .descs = node->descs,
                                            .ntargets = node->ntargets,
                                            .sets = s->stats,
                                            .nsets = 1,
                                            .counters = &node->rpc_node.counters,
                                            .pool = s->pool };
}

struct solo *solo_new(const char *yaml)
{
    struct solo *s = calloc(1, sizeof(*s));
    struct cairn_err err = { 0 };
    struct cairn_rpc_conf conf = { .inflight_max = 64, .inflight_bytes_max = 16 << 20, .output_bytes_max = 16 << 20 };
    struct cairn_bulk_conf bulk = { .vm = false, .fabric = false };

    if (s == NULL)
        abort();
    scratch_new_in_memory(s->dir);
    must(cairn_node_conf_parse(&s->conf, "solo", yaml, strlen(yaml), NULL, 0, cairn_provider_list, &err), &err,
         "configuration");
    must(cairn_loop_init(&s->loop, NULL, &err), &err, "loop");
    s->loops[0] = &s->loop;
    s->pool = cairn_pool_new(2, 1024, &err);
    if (s->pool == NULL)
        must(err.code, &err, "pool");
    for (uint32_t i = 0; i < s->conf.nproviders; i++)
        solo_start_provider(s, s->conf.provider_descs[i], cairn_conf_str(s->conf.providers[i], "name"),
                            s->conf.providers[i], (uint16_t)(CAIRN_PROVIDER_FIRST + i));
    solo_start_provider(s, &cairn_router_desc, "router", NULL, CAIRN_PROVIDER_ROUTER);
    s->targets[s->n] = (struct cairn_rpc_target){
        .iface = &cairn_iface_bulk, .handlers = cairn_bulk_handlers, .name = "bulk", .id = CAIRN_PROVIDER_BULK
    };
    s->targets[s->n + 1] = (struct cairn_rpc_target){ .iface = &cairn_iface_node,
                                                      .handlers = cairn_node_handlers,
                                                      .ctx = &s->node,
                                                      .name = "node",
                                                      .id = CAIRN_PROVIDER_NODE };
    solo_describe(s);
    conf.targets = s->targets;
    conf.ntargets = s->n + 2;
    conf.stats = s->stats[0];
    s->rpc = cairn_rpc_new(&s->loop, &conf, &err);
    if (s->rpc == NULL)
        must(err.code, &err, "rpc");
    s->rpcs[0] = s->rpc;
    must(cairn_bulk_attach(s->rpc, &bulk, &err), &err, "bulk");
    cairn_router_attach(s->providers[s->n - 1].ctx, s->rpc);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->providers[i].desc->run != NULL)
            s->providers[i].desc->run(s->providers[i].ctx);
    }
    return s;
}

static void on_quiesced(void *arg)
{
    ((struct solo *)arg)->quiescing--;
}

void solo_free(struct solo *s)
{
    for (uint32_t i = s->n; i-- > 0;) {
        if (s->providers[i].desc->quiesce == NULL)
            continue;
        s->quiescing++;
        s->providers[i].desc->quiesce(s->providers[i].ctx, on_quiesced, s);
    }
    WHILE_PATIENT (s->quiescing > 0 || !cairn_rpc_is_idle(s->rpc))
        cairn_loop_turn(&s->loop, CAIRN_NS_PER_MS);
    cairn_bulk_detach(s->rpc);
    cairn_rpc_free(s->rpc);
    for (uint32_t i = s->n; i-- > 0;)
        s->providers[i].desc->stop(s->providers[i].ctx);
    cairn_pool_free(s->pool);
    cairn_loop_fini(&s->loop);
    cairn_rpc_stats_set_free(s->stats[0]);
    free(s->node.instances);
    cairn_node_conf_free(&s->conf);
    scratch_remove(s->dir);
    free(s);
}

struct cairn_rpc *solo_rpc(struct solo *s)
{
    return s->rpc;
}

struct cairn_loop *solo_loop(struct solo *s)
{
    return &s->loop;
}

const struct cairn_rpc_target *solo_target(struct solo *s, const char *name)
{
    return cairn_rpc_target_by_name(s->rpc, name);
}

void solo_finish(struct solo *s, struct cairn_rpc_call *call)
{
    for (int i = 0; cairn_rpc_call_is_running(call); i++) {
        CAIRN_ASSERT(i < SOLO_TURNS_MAX);
        cairn_loop_turn(&s->loop, CAIRN_NS_PER_MS);
    }
}
