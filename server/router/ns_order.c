/* Orders: from the worker that wants one to home and back. See ns_order.h. */
#include "server/router/ns_order.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER_AGAIN_MS = 4, ORDER_AGAIN_DOUBLES = 7 };

struct router_order *router_order_new(struct router_worker *origin, const struct cairn_sm_kind *kind, const char *name,
                                      void (*begin)(struct router_order *o), void (*done)(struct router_order *o))
{
    struct router_order *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    o->router = origin->router;
    o->origin = origin;
    o->kind = kind;
    o->begin = begin;
    o->done = done;
    cairn_list_init(&o->link);
    snprintf(o->ns.name, sizeof(o->ns.name), "%s", name);
    if (router_spread_init(&o->spread, o->router) != 0) {
        free(o);
        return NULL;
    }
    return o;
}

void router_order_free(struct router_order *o)
{
    for (uint32_t i = 0; i < o->router->nworkers; i++)
        free(o->spread.news[i].ns);
    router_spread_fini(&o->spread);
    free(o->value);
    free(o->regions);
    free(o->from);
    free(o);
}

bool router_order_take_copies(struct router_order *o)
{
    for (uint32_t i = 0; i < o->router->nworkers; i++) {
        o->spread.news[i].ns = malloc(sizeof(struct router_ns));
        if (o->spread.news[i].ns == NULL)
            return false;
    }
    return true;
}

static void apply_made(struct router_news *n)
{
    router_ns_add(n->w, n->ns);
    n->ns = NULL;
    router_news_ack(n);
}

void router_order_tell_made(struct router_order *o, void (*done)(struct router_spread *s))
{
    for (uint32_t i = 0; i < o->router->nworkers; i++) {
        *o->spread.news[i].ns = o->ns;
        cairn_list_init(&o->spread.news[i].ns->link);
    }
    router_spread_start(&o->spread, apply_made, done);
}

struct router_order *router_order_of(struct cairn_router *r, const char *name)
{
    const struct router_ns *ns = router_ns_find(router_home(r), name);

    if (ns != NULL && ns->order != NULL)
        return ns->order;
    CAIRN_LIST_FOREACH (l, &r->creating) {
        struct router_order *o = CONTAINER_OF(l, struct router_order, link);

        if (strcmp(o->ns.name, name) == 0)
            return o;
    }
    return NULL;
}

void router_order_begin(struct router_order *o)
{
    o->home = router_ns_find(router_home(o->router), o->ns.name);
    o->holds = o->home != NULL && o->home->order == NULL;
    if (o->holds)
        o->home->order = o;
    cairn_sm_init(&o->sm, o->kind, &router_home(o->router)->loop->machines);
    o->begin(o);
}

/* Orders for one name go one after the other, also while it is being made: between those of several nodes the map store
 * decides. */
static bool order_must_wait(const struct router_order *o)
{
    const struct router_ns *ns = router_ns_find(router_home(o->router), o->ns.name);

    return router_order_of(o->router, o->ns.name) != NULL && !(ns != NULL && ns->removing && o->op != NULL);
}

static void on_at_home(void *arg)
{
    struct router_order *o = arg;

    if (order_must_wait(o))
        cairn_list_add_tail(&o->router->orders, &o->link);
    else
        router_order_begin(o);
}

void router_orders_wake(struct cairn_router *r)
{
    CAIRN_LIST_FOREACH_SAFE (l, &r->orders) {
        struct router_order *o = CONTAINER_OF(l, struct router_order, link);

        cairn_list_del(l);
        cairn_env_defer(&router_home(r)->loop->env, &o->task); /* those that must still wait come back here, in order */
    }
}

static void on_back(void *arg)
{
    struct router_order *o = arg;

    o->done(o);
}

void router_order_submit(struct router_order *o)
{
    cairn_task_init(&o->task, on_at_home, o);
    cairn_loop_post(router_home(o->router)->loop, &o->task);
}

void router_order_end(struct router_order *o)
{
    cairn_sm_fini(&o->sm);
    if (o->holds)
        o->home->order = NULL;
    cairn_list_del(&o->link);
    if (o->stale) /* before anybody else works on it */
        router_follow_look(o->router, o->ns.name);
    router_orders_wake(o->router);
    cairn_task_init(&o->task, on_back, o);
    cairn_loop_post(o->origin->loop, &o->task);
}

void router_order_call(struct router_order *o, const struct cairn_rpc_target *target, uint32_t method,
                       void (*done)(struct cairn_rpc_call *call))
{
    router_call_prepare(&o->call, router_home(o->router)->rpc, target, method, &o->msg.base, done, o,
                        o->rc == 0 ? &o->err : &o->undo_err);
    cairn_rpc_call_start(&o->call);
}

static void order_on_trimmed(struct cairn_map_log_trim *t)
{
    struct router_order *o = t->arg;

    o->stored(&o->change.op);
}

/* Now and then the log is cut first: whoever waits for the change keeps the node from ending meanwhile. */
static void order_on_stored(struct cairn_map_op *op)
{
    struct router_order *o = op->arg;
    struct cairn_map_log_trim *trim = &o->router->trim;

    cairn_map_log_line_fini(&o->log_line);
    if (!trim->trimming) {
        trim->prefix = CAIRN_MAP_LOG_PREFIX;
        trim->done = order_on_trimmed;
        trim->arg = o;
        if (cairn_map_log_trim(o->router->store, trim))
            return;
    }
    o->stored(op);
}

static void order_describe(struct router_order *o)
{
    const struct cairn_map_write *w = &o->writes[0];
    char author[32];

    snprintf(author, sizeof(author), "uid %" PRIu32, (uint32_t)o->who.uid);
    if (cairn_map_log_describe(&o->log_line, &router_home(o->router)->loop->env, author,
                               w->from == 0       ? "namespace created"
                               : w->value == NULL ? "namespace removed"
                                                  : "namespace changed",
                               w, 1) == 0)
        o->writes[o->change.nwrites++] = o->log_line.write; /* without memory the change goes unlogged */
}

bool router_order_again(struct router_order *o, uint64_t until_ns, void (*fn)(void *arg))
{
    struct cairn_env *env = &router_home(o->router)->loop->env;
    uint64_t ms = (uint64_t)ORDER_AGAIN_MS << MIN(o->tries, (uint32_t)ORDER_AGAIN_DOUBLES);
    uint64_t at = cairn_env_now_ns(env) + (ms + cairn_env_random(env) % ms) * CAIRN_NS_PER_MS;

    o->tries++;
    cairn_timer_init(&o->again, fn, o);
    return at < until_ns && cairn_timer_start(env, &o->again, at) == 0;
}

void router_order_store(struct router_order *o, uint8_t *value, uint32_t len, uint64_t from,
                        void (*done)(struct cairn_map_op *op))
{
    free(o->value);
    o->value = value;
    o->stored = done;
    snprintf(o->key, sizeof(o->key), "ns/%s", o->ns.name);
    o->writes[0] = (struct cairn_map_write){ .key = o->key, .value = value, .value_len = len, .from = from };
    o->change =
        (struct cairn_map_change){ .op = { .done = order_on_stored, .arg = o }, .writes = o->writes, .nwrites = 1 };
    if (!o->quiet)
        order_describe(o);
    cairn_map_store_change(o->router->store, router_home(o->router)->loop, &o->change);
}
