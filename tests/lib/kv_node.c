/* A KV provider on one thread: see kv_node.h. */
#include "tests/lib/kv_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int rc, const struct cairn_err *err, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "kv_node: %s: %s\n", what, err->text);
    exit(1);
}

void kv_node_start(struct kv_node *n, const char *backend, const char *dir, void (*more)(struct kv_node *n, void *arg),
                   void *arg)
{
    struct cairn_rpc_conf conf = { .inflight_max = 64, .inflight_bytes_max = 16 << 20, .output_bytes_max = 16 << 20 };
    struct cairn_err err = { 0 };
    char yaml[128];

    memset(n, 0, sizeof(*n));
    snprintf(yaml, sizeof(yaml), "providers: [{type: kv, name: kv, backend: %s}]\n", backend);
    must(cairn_node_conf_parse(&n->conf, "kv_node", yaml, strlen(yaml), NULL, 0, cairn_provider_list, &err), &err,
         yaml);
    must(cairn_loop_init(&n->loop, NULL, &err), &err, "loop");
    n->loops[0] = &n->loop;
    n->pool = cairn_pool_new(2, 1024, &err);
    if (n->pool == NULL)
        must(CAIRN_E_NOMEM, &err, "pool");
    n->desc = n->conf.provider_descs[0];
    n->env = (struct cairn_provider_env){ .name = "kv",
                                          .dir = dir,
                                          .conf = n->conf.providers[0],
                                          .pool = n->pool,
                                          .loops = n->loops,
                                          .nloops = 1,
                                          .targets = n->targets,
                                          .ntargets = KV_NODE_TARGETS_MAX };
    must(n->desc->start(&n->env, &n->ctx, &err), &err, dir);
    n->targets[0] = (struct cairn_rpc_target){
        .iface = n->desc->iface, .handlers = n->desc->handlers, .ctx = n->ctx, .name = "kv", .id = CAIRN_PROVIDER_FIRST
    };
    n->ntargets = 1;
    if (more != NULL)
        more(n, arg);
    conf.targets = n->targets;
    conf.ntargets = n->ntargets;
    n->rpc = cairn_rpc_new(&n->loop, &conf, &err);
    if (n->rpc == NULL)
        must(CAIRN_E_NOMEM, &err, "rpc");
}

void kv_node_stop(struct kv_node *n)
{
    cairn_rpc_free(n->rpc);
    n->desc->stop(n->ctx);
    cairn_pool_free(n->pool);
    cairn_loop_fini(&n->loop);
    cairn_node_conf_free(&n->conf);
}
