/* Namespaces and the node: see cairn/admin.h. */
#include "cairn/admin.h"

#include "sdk/client/client_internal.h"

#include <stdlib.h>
#include <string.h>

#define NODE_METHOD(method)   CAIRN__WIRE__NODE_METHOD__NODE_##method
#define ROUTER_METHOD(method) CAIRN__WIRE__ROUTER_METHOD__ROUTER_##method

enum { NS_LIST_MAX = 1 << 16 }; /* far more than a node takes */

/* ---- namespaces ---- */

static int ns_create(struct cairn *c, const char *name, const struct cairn_ns_options *no,
                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    static const struct cairn_ns_options defaults = CAIRN_NS_OPTIONS_INIT;
    const struct cairn_ns_options *n = no != NULL ? no : &defaults;
    const char *kv = n->kv != NULL ? n->kv : "", *extent = n->extent != NULL ? n->extent : "";
    Cairn__Wire__Namespace *m;
    struct cairn_call *call;
    char *at;
    int rc = cairn__refuse_name(o, "namespace", name);

    if (rc == 0 && !CAIRN_REACHES(n, extent))
        rc = cairn__refuse(o, CAIRN_E_INVAL, "ns_options: start from CAIRN_NS_OPTIONS_INIT");
    if (rc == 0 && (strlen(kv) > CAIRN_NAME_BYTES_MAX || strlen(extent) > CAIRN_NAME_BYTES_MAX))
        rc = cairn__refuse(o, CAIRN_E_INVAL, "the name of a provider is longer than %d bytes", CAIRN_NAME_BYTES_MAX);
    if (rc == 0)
        rc = cairn__call_new(c, NULL, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->text = cairn__block_new(0, strlen(name) + strlen(kv) + strlen(extent) + 3, &at);
    if (call->text == NULL)
        return cairn__call_drop(call, o, CAIRN_E_NOMEM);
    m = &call->rq.ns;
    cairn__wire__namespace__init(m);
    m->name = cairn__block_text(&at, name, strlen(name));
    m->kv = cairn__block_text(&at, kv, strlen(kv));
    m->extent = cairn__block_text(&at, extent, strlen(extent));
    m->replicas = n->replicas;
    m->embed_threshold = n->embed_threshold;
    m->mode = n->mode;
    m->write_once = n->write_once;
    m->durability = cairn__durability_to_wire(n->durability);
    call->answered = cairn__answered_plainly;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, ROUTER_METHOD(NS_CREATE));
    return cairn__call_go(call);
}

int cairn_ns_create(struct cairn *c, const char *name, const struct cairn_ns_options *ns_options,
                    const struct cairn_call_options *o)
{
    return ns_create(c, name, ns_options, o, NULL, NULL);
}

int cairn_ns_create_async(struct cairn *c, const char *name, const struct cairn_ns_options *ns_options,
                          const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? ns_create(c, name, ns_options, o, done, arg) : CAIRN_E_INVAL;
}

static struct cairn_ns_info ns_info_of_wire(const Cairn__Wire__Namespace *r)
{
    return (struct cairn_ns_info){
        .name = r->name,
        .kv = r->kv,
        .extent = r->extent,
        .frontend = r->frontend == CAIRN__WIRE__FRONTEND__FRONTEND_HASHED ? "hashed" : "unknown",
        .id = r->id,
        .replicas = r->replicas,
        .embed_threshold = r->embed_threshold,
        .owner = r->owner,
        .group = r->group,
        .mode = r->mode,
        .durability = cairn__durability_of_wire(r->durability),
        .write_once = r->write_once,
        .clustered = r->clustered,
        .created_ms = r->created_ms,
    };
}

static size_t ns_info_bytes(const struct cairn_ns_info *i)
{
    return strlen(i->name) + strlen(i->kv) + strlen(i->extent) + 3;
}

/* Those of @before, which may be NULL, and then @n that have come. NULL for memory. */
static struct cairn_ns_list *ns_list_new(const struct cairn_ns_list *before, Cairn__Wire__Namespace *const *rows,
                                         size_t n)
{
    size_t nbefore = before != NULL ? before->n : 0, bytes = 0;
    struct cairn_ns_list *list;
    char *at;

    for (size_t i = 0; i < nbefore; i++)
        bytes += ns_info_bytes(&before->namespaces[i]);
    for (size_t i = 0; i < n; i++) {
        struct cairn_ns_info info = ns_info_of_wire(rows[i]);

        bytes += ns_info_bytes(&info);
    }
    list = cairn__block_new(sizeof(*list) + (nbefore + n) * sizeof(*list->namespaces), bytes, &at);
    if (list == NULL)
        return NULL;
    list->n = nbefore + n;
    list->namespaces = (struct cairn_ns_info *)(void *)(list + 1);
    for (size_t i = 0; i < list->n; i++) {
        struct cairn_ns_info *info = &list->namespaces[i];

        *info = i < nbefore ? before->namespaces[i] : ns_info_of_wire(rows[i - nbefore]);
        info->name = cairn__block_text(&at, info->name, strlen(info->name));
        info->kv = cairn__block_text(&at, info->kv, strlen(info->kv));
        info->extent = cairn__block_text(&at, info->extent, strlen(info->extent));
    }
    return list;
}

static void ns_show_answered(struct cairn_call *call)
{
    /* The row is only read; protobuf-c has no const of its own. */
    Cairn__Wire__Namespace *row = (Cairn__Wire__Namespace *)(uintptr_t)call->rpc.reply;
    struct cairn_ns_list *list = ns_list_new(NULL, &row, 1);

    if (list != NULL)
        *(struct cairn_ns_list **)call->out = list;
    cairn__call_finish(call, list != NULL ? 0 : CAIRN_E_NOMEM);
}

/* The list as far as it has come is in call->text, and with it the name that the next request follows. */
static void ns_list_answered(struct cairn_call *call)
{
    const Cairn__Wire__NamespaceList *r = (const Cairn__Wire__NamespaceList *)call->rpc.reply;
    struct cairn_ns_list *list = ns_list_new((const void *)call->text, r->namespaces, r->n_namespaces);

    free(call->text);
    call->text = (void *)list;
    if (list == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
    } else if (r->more && (r->n_namespaces == 0 || list->n > NS_LIST_MAX)) { /* it would be asked for ever */
        cairn__call_fail(call, CAIRN_E_PROTO, "the node's list of namespaces does not end");
    } else if (r->more) {
        call->rq.ns_list.after = (char *)(uintptr_t)list->namespaces[list->n - 1].name;
        cairn__call_again(call);
    } else {
        *(struct cairn_ns_list **)call->out = list;
        call->text = NULL;
        cairn__call_finish(call, 0);
    }
}

/* A request that is nothing but its method. */
static int ask(struct cairn *c, const struct cairn_rpc_iface *iface, uint16_t provider, uint16_t method, void *out,
               void (*answered)(struct cairn_call *call), const struct cairn_call_options *o, cairn_done_fn *done,
               void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(c, NULL, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__empty__init(&call->rq.empty);
    call->out = out;
    call->answered = answered;
    cairn__call_to(call, iface, provider, method);
    return cairn__call_go(call);
}

static int ns_list(struct cairn *c, struct cairn_ns_list **out, const struct cairn_call_options *o, cairn_done_fn *done,
                   void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(c, NULL, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__ns_list__init(&call->rq.ns_list);
    call->has_steps = true;
    call->out = out;
    call->answered = ns_list_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, ROUTER_METHOD(NS_LIST));
    return cairn__call_go(call);
}

int cairn_ns_list(struct cairn *c, struct cairn_ns_list **out, const struct cairn_call_options *o)
{
    return ns_list(c, out, o, NULL, NULL);
}

int cairn_ns_list_async(struct cairn *c, struct cairn_ns_list **out, const struct cairn_call_options *o,
                        cairn_done_fn *done, void *arg)
{
    return done != NULL ? ns_list(c, out, o, done, arg) : CAIRN_E_INVAL;
}

static int ns_named(struct cairn *c, const char *name, bool force, uint16_t method, void *out,
                    void (*answered)(struct cairn_call *call), const struct cairn_call_options *o, cairn_done_fn *done,
                    void *arg)
{
    struct cairn_call *call;
    int rc = cairn__refuse_name(o, "namespace", name);

    if (rc == 0)
        rc = cairn__call_new(c, NULL, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->text = strdup(name);
    if (call->text == NULL)
        return cairn__call_drop(call, o, CAIRN_E_NOMEM);
    cairn__wire__ns_name__init(&call->rq.ns_name);
    call->rq.ns_name.name = call->text;
    call->rq.ns_name.force = force;
    call->out = out;
    call->answered = answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, method);
    return cairn__call_go(call);
}

int cairn_ns_show(struct cairn *c, const char *name, struct cairn_ns_list **out, const struct cairn_call_options *o)
{
    return ns_named(c, name, false, ROUTER_METHOD(NS_SHOW), out, ns_show_answered, o, NULL, NULL);
}

int cairn_ns_show_async(struct cairn *c, const char *name, struct cairn_ns_list **out,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ns_named(c, name, false, ROUTER_METHOD(NS_SHOW), out, ns_show_answered, o, done, arg);
}

int cairn_ns_remove(struct cairn *c, const char *name, bool force, const struct cairn_call_options *o)
{
    return ns_named(c, name, force, ROUTER_METHOD(NS_REMOVE), NULL, cairn__answered_plainly, o, NULL, NULL);
}

int cairn_ns_remove_async(struct cairn *c, const char *name, bool force, const struct cairn_call_options *o,
                          cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ns_named(c, name, force, ROUTER_METHOD(NS_REMOVE), NULL, cairn__answered_plainly, o, done, arg);
}

/* ---- the node ---- */

int cairn_ping(struct cairn *c, const struct cairn_call_options *o)
{
    return ask(c, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(PING), NULL, cairn__answered_plainly, o, NULL,
               NULL);
}

int cairn_ping_async(struct cairn *c, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask(c, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(PING), NULL, cairn__answered_plainly, o, done,
               arg);
}

static void providers_answered(struct cairn_call *call)
{
    const Cairn__Wire__NodeProviders *r = (const Cairn__Wire__NodeProviders *)call->rpc.reply;
    struct cairn_providers *p;
    size_t bytes = 0;
    char *at;

    for (size_t i = 0; i < r->n_providers; i++)
        bytes += strlen(r->providers[i]->name) + strlen(r->providers[i]->type) + 2;
    p = cairn__block_new(sizeof(*p) + r->n_providers * sizeof(*p->providers), bytes, &at);
    if (p == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    p->n = r->n_providers;
    p->providers = (struct cairn_provider_info *)(void *)(p + 1);
    for (size_t i = 0; i < p->n; i++) {
        const Cairn__Wire__NodeProvider *x = r->providers[i];

        p->providers[i].id = x->id;
        p->providers[i].name = cairn__block_text(&at, x->name, strlen(x->name));
        p->providers[i].type = cairn__block_text(&at, x->type, strlen(x->type));
    }
    *(struct cairn_providers **)call->out = p;
    cairn__call_finish(call, 0);
}

int cairn_providers(struct cairn *c, struct cairn_providers **out, const struct cairn_call_options *o)
{
    return ask(c, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(PROVIDERS), out, providers_answered, o, NULL,
               NULL);
}

int cairn_providers_async(struct cairn *c, struct cairn_providers **out, const struct cairn_call_options *o,
                          cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask(c, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(PROVIDERS), out, providers_answered, o, done,
               arg);
}

static void text_answered(struct cairn_call *call)
{
    char *text = strdup(((const Cairn__Wire__NodeText *)call->rpc.reply)->text);

    if (text != NULL)
        *(char **)call->out = text;
    cairn__call_finish(call, text != NULL ? 0 : CAIRN_E_NOMEM);
}

#define TEXT_CALL(name, method)                                                                                        \
    int cairn_##name(struct cairn *c, char **json, const struct cairn_call_options *o)                                 \
    {                                                                                                                  \
        return ask(c, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(method), json, text_answered, o, NULL,       \
                   NULL);                                                                                              \
    }                                                                                                                  \
    int cairn_##name##_async(struct cairn *c, char **json, const struct cairn_call_options *o, cairn_done_fn *done,    \
                             void *arg)                                                                                \
    {                                                                                                                  \
        if (done == NULL)                                                                                              \
            return CAIRN_E_INVAL;                                                                                      \
        return ask(c, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(method), json, text_answered, o, done, arg); \
    }

TEXT_CALL(status, STATUS)
TEXT_CALL(metrics, METRICS)
TEXT_CALL(config, CONFIG)

static int machines(struct cairn *c, const char *graph, bool trace, char **text, const struct cairn_call_options *o,
                    cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = 0;

    if (graph != NULL)
        rc = cairn__refuse_name(o, "kind of machine", graph);
    if (rc == 0)
        rc = cairn__call_new(c, NULL, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->text = strdup(graph != NULL ? graph : "");
    if (call->text == NULL)
        return cairn__call_drop(call, o, CAIRN_E_NOMEM);
    cairn__wire__node_machines__init(&call->rq.machines);
    call->rq.machines.graph = call->text;
    call->rq.machines.trace = trace;
    call->out = text;
    call->answered = text_answered;
    cairn__call_to(call, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(MACHINES));
    return cairn__call_go(call);
}

int cairn_machines(struct cairn *c, const char *graph, bool trace, char **text, const struct cairn_call_options *o)
{
    return machines(c, graph, trace, text, o, NULL, NULL);
}

int cairn_machines_async(struct cairn *c, const char *graph, bool trace, char **text,
                         const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? machines(c, graph, trace, text, o, done, arg) : CAIRN_E_INVAL;
}

static int map(struct cairn *c, const struct cairn_map_ask *ask, char **json, const struct cairn_call_options *o,
               cairn_done_fn *done, void *arg)
{
    static const struct cairn_map_ask all = CAIRN_MAP_ASK_INIT;
    const struct cairn_map_ask *a = ask != NULL ? ask : &all;
    struct cairn_call *call;
    int rc = 0;

    if (!CAIRN_REACHES(a, last))
        rc = cairn__refuse(o, CAIRN_E_INVAL, "ask: start from CAIRN_MAP_ASK_INIT");
    if (rc == 0)
        rc = cairn__call_new(c, NULL, o, done, arg, &call);
    if (rc != 0)
        return rc;
    cairn__wire__node_map__init(&call->rq.map);
    call->rq.map.log = a->log;
    call->rq.map.people = a->people;
    call->rq.map.last = a->last;
    call->out = json;
    call->answered = text_answered;
    cairn__call_to(call, &cairn_iface_node, CAIRN_PROVIDER_NODE, NODE_METHOD(MAP));
    return cairn__call_go(call);
}

int cairn_map(struct cairn *c, const struct cairn_map_ask *ask, char **json, const struct cairn_call_options *o)
{
    return map(c, ask, json, o, NULL, NULL);
}

int cairn_map_async(struct cairn *c, const struct cairn_map_ask *ask, char **json, const struct cairn_call_options *o,
                    cairn_done_fn *done, void *arg)
{
    return done != NULL ? map(c, ask, json, o, done, arg) : CAIRN_E_INVAL;
}

static int dump(struct cairn *c, void *arg)
{
    cairn_sm_set_dump(&c->loop.machines, *(int *)arg);
    return 0;
}

int cairn_dump(struct cairn *c, int fd)
{
    return cairn__on_loop(c, dump, &fd);
}
