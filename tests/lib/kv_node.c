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

/* ---- what is there ---- */

static void on_answer(struct cairn_rpc_call *call)
{
    struct kv_answer *a = call->arg;

    a->done = true;
    a->rc = call->rc;
    if (call->rc == 0 && call->method == CAIRN__WIRE__KV_METHOD__KV_OPEN)
        a->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    else if (call->rc == 0 && call->reply_payload_len > 0)
        memcpy(a->value, call->reply_payload, MIN(call->reply_payload_len, sizeof(a->value) - 1));
}

void kv_node_ask_with(struct kv_node *n, uint32_t method, const ProtobufCMessage *msg, const struct iovec *payload,
                      struct kv_answer *a)
{
    struct cairn_rpc_call call = { .dest.rpc = n->rpc,
                                   .iface = n->targets[0].iface,
                                   .provider = CAIRN_PROVIDER_FIRST,
                                   .method = (uint16_t)method,
                                   .msg = msg,
                                   .done = on_answer,
                                   .arg = a };

    *a = (struct kv_answer){ 0 };
    if (payload != NULL) {
        call.payload[0] = *payload;
        call.payload_n = 1;
    }
    cairn_rpc_call_start(&call);
    while (!a->done) /* it has a deadline */
        cairn_loop_turn(&n->loop, CAIRN_NS_PER_MS);
}

void kv_node_ask(struct kv_node *n, uint32_t method, const ProtobufCMessage *msg, struct kv_answer *a)
{
    kv_node_ask_with(n, method, msg, NULL, a);
}

bool kv_node_has(struct kv_node *n, const char *name, uint32_t *db)
{
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;
    struct kv_answer a;

    open.name = (char *)(uintptr_t)name;
    kv_node_ask(n, CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, &a);
    if (a.rc != 0 && a.rc != CAIRN_E_NOTFOUND) {
        fprintf(stderr, "kv_node: %s: %s\n", name, cairn_error_text(a.rc));
        exit(1);
    }
    *db = a.db;
    return a.rc == 0;
}

const char *kv_node_record(struct kv_node *n, uint32_t ns, const char *key)
{
    static struct kv_answer a;
    Cairn__Wire__KvGet get = CAIRN__WIRE__KV_GET__INIT;
    char name[32];

    snprintf(name, sizeof(name), "ns/%u", ns);
    if (!kv_node_has(n, name, &get.db))
        return "-";
    get.key = (ProtobufCBinaryData){ .len = strlen(key), .data = (uint8_t *)(uintptr_t)key };
    kv_node_ask(n, CAIRN__WIRE__KV_METHOD__KV_GET, &get.base, &a);
    return a.rc == 0 ? a.value : "-";
}

uint64_t kv_node_number(struct kv_node *n, const char *name)
{
    json_t *status = json_object();
    uint64_t number;

    n->desc->status(n->ctx, status);
    number = (uint64_t)json_integer_value(json_object_get(status, name));
    json_decref(status);
    return number;
}
