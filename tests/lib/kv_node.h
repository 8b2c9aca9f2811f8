/** A KV provider with a loop and local calls of its own, on a directory that outlives it: for tests of what stands on it. One
 * thread. */
#ifndef CAIRN_TESTS_KV_NODE_H
#define CAIRN_TESTS_KV_NODE_H

#include "server/node/conf/node_conf.h"
#include "server/port/provider.h"

enum { KV_NODE_TARGETS_MAX = 4 };

struct kv_node {
    struct cairn_loop loop, *loops[1];
    struct cairn_pool *pool;
    struct cairn_rpc *rpc;
    struct cairn_node_conf conf;
    const struct cairn_provider_desc *desc;
    struct cairn_provider_env env;
    struct cairn_rpc_target targets[KV_NODE_TARGETS_MAX]; /* the provider's is the first */
    uint32_t ntargets;
    void *ctx;
};

/** @backend: "memory" or "rocksdb". @more, if not NULL, adds services to n->targets before calls are possible. Ends the program
 * with a message when it cannot be had. */
void kv_node_start(struct kv_node *n, const char *backend, const char *dir, void (*more)(struct kv_node *n, void *arg),
                   void *arg);
/** No call may be under way. */
void kv_node_stop(struct kv_node *n);

#endif
