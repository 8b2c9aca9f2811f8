/** A KV provider with a loop and local calls of its own, on a directory that outlives it: for tests of what stands on
 * it. One thread. */
#ifndef CAIRN_TESTS_KV_NODE_H
#define CAIRN_TESTS_KV_NODE_H

#include "server/node/conf/node_conf.h"
#include "server/port/provider.h"

#include "schema/kv.pb-c.h"

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

/** @backend: "memory" or "rocksdb". @more, if not NULL, adds services to n->targets before calls are possible. Ends
 * the program with a message when it cannot be had. */
void kv_node_start(struct kv_node *n, const char *backend, const char *dir, void (*more)(struct kv_node *n, void *arg),
                   void *arg);
/** No call may be under way. */
void kv_node_stop(struct kv_node *n);

/* ---- what is there ---- */

enum { KV_ANSWER_BYTES = 64 };

struct kv_answer {
    bool done;
    int rc;
    uint32_t db;                 /* of OPEN */
    char value[KV_ANSWER_BYTES]; /* what came as payload, as text, or as much as there is room for */
};

/** Asks the provider, and turns @n's loop until it has answered. */
void kv_node_ask(struct kv_node *n, uint32_t method, const ProtobufCMessage *msg, struct kv_answer *a);
/** Likewise, with a payload. */
void kv_node_ask_with(struct kv_node *n, uint32_t method, const ProtobufCMessage *msg, const struct iovec *payload,
                      struct kv_answer *a);
/** Whether there is a database of that name. */
bool kv_node_has(struct kv_node *n, const char *name, uint32_t *db);
/** What @key has in the database "ns/<ns>", until the next call; "-": there is none. */
const char *kv_node_record(struct kv_node *n, uint32_t ns, const char *key);
/** A number of its status; 0: it has none of that name. */
uint64_t kv_node_number(struct kv_node *n, const char *name);

#endif
