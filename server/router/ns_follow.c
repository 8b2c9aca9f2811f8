/* Namespaces that other nodes of a cluster make and remove: this node follows the map.
 *
 * A namespace that appears is taken into every worker's table, one that is gone leaves them, with its database:
 *
 *   CHECK ---> SPREAD ---> DONE        CHECK may also go to DONE.
 *
 * CHECK    nothing has happened; whoever has it, or makes it here and now, is left alone.
 * SPREAD   the workers are taking it into their tables.
 * DONE     the table is as the map was. */
#include "server/router/ns_order.h"

#include "sdk/core/base/log.h"

#include <stdlib.h>
#include <string.h>

enum { ADOPT_CHECK, ADOPT_SPREAD, ADOPT_DONE, ADOPT_NR };

#define TO(state) CAIRN_SM_TO(ADOPT_##state)
static const struct cairn_sm_state adopt_states[ADOPT_NR] = {
    [ADOPT_CHECK] = { "CHECK", CAIRN_SM_INITIAL, TO(SPREAD) | TO(DONE) },
    [ADOPT_SPREAD] = { "SPREAD", 0, TO(DONE) },
    [ADOPT_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};

static bool adopt_invariant(const struct cairn_sm *sm)
{
    const struct router_order *o = CONTAINER_OF(sm, const struct router_order, sm);

    return CAIRN_HOLDS(o->ns.id != 0 && o->follows) &&
           CAIRN_HOLDS(sm->state != ADOPT_SPREAD || o->home == NULL || o->home->id == o->ns.id);
}

const struct cairn_sm_kind router_adopt_kind = { "router-ns-adopt", adopt_states, ADOPT_NR, adopt_invariant, 30000 };

static void follow_done(struct router_order *o)
{
    for (uint32_t i = 0; i < o->router->nworkers; i++)
        free(o->spread.news[i].ns);
    o->router->follow.running--;
    router_order_free(o);
}

static void adopt_end(struct router_order *o)
{
    cairn_sm_move(&o->sm, ADOPT_DONE);
    router_order_end(o);
}

static void adopt_on_spread(struct router_spread *s)
{
    struct router_order *o = CONTAINER_OF(s, struct router_order, spread);

    atomic_fetch_add(&o->router->nnamespaces, 1);
    adopt_end(o);
}

static void adopt_apply(struct router_news *n)
{
    router_ns_add(n->w, n->ns);
    n->ns = NULL;
    router_news_ack(n);
}

static bool is_being_made(const struct cairn_router *r, const char *name)
{
    CAIRN_LIST_FOREACH (l, &r->creating) {
        if (strcmp(CONTAINER_OF(l, const struct router_order, link)->ns.name, name) == 0)
            return true;
    }
    return false;
}

static void adopt_begin(struct router_order *o)
{
    if (o->home != NULL || is_being_made(o->router, o->ns.name)) {
        adopt_end(o);
        return;
    }
    cairn_list_add_tail(&o->router->creating, &o->link);
    cairn_sm_move(&o->sm, ADOPT_SPREAD);
    for (uint32_t i = 0; i < o->router->nworkers; i++) {
        *o->spread.news[i].ns = o->ns;
        cairn_list_init(&o->spread.news[i].ns->link);
    }
    router_spread_start(&o->spread, adopt_apply, adopt_on_spread);
}

static struct router_order *follow_order(struct cairn_router *r, const struct cairn_sm_kind *kind, const char *name,
                                         void (*begin)(struct router_order *o))
{
    struct router_order *o = router_order_new(router_home(r), kind, name, begin, follow_done);

    if (o == NULL) {
        cairn_log_error("namespace '%s': no memory to follow the map; the next change of it will", name);
        return NULL;
    }
    o->follows = true;
    r->follow.running++;
    return o;
}

static void follow_adopt(struct cairn_router *r, const struct router_ns *ns)
{
    struct router_order *o = follow_order(r, &router_adopt_kind, ns->name, adopt_begin);

    if (o == NULL)
        return;
    o->ns = *ns;
    for (uint32_t i = 0; i < r->nworkers; i++) {
        o->spread.news[i].ns = malloc(sizeof(struct router_ns));
        if (o->spread.news[i].ns == NULL) {
            cairn_log_error("namespace '%s': no memory to follow the map; the next change of it will", ns->name);
            follow_done(o);
            return;
        }
    }
    router_order_submit(o);
}

/* @id 0: whichever has the name. */
static void follow_forget(struct cairn_router *r, const char *name, uint32_t id)
{
    struct router_order *o = follow_order(r, &router_remove_kind, name, router_remove_follow);

    if (o == NULL)
        return;
    o->ns.id = id;
    router_order_submit(o);
}

static void on_stored(struct cairn_router *r, const struct cairn_map_entry *e)
{
    const struct router_ns *home;
    struct router_ns ns;
    struct cairn_map_ids ids = cairn_map_ids_of(r->store);
    int rc = router_ns_unpack(r, &ids, e, &ns);

    if (rc != 0) {
        cairn_log_error("the record of namespace '%s' cannot be read: %s", e->key + strlen("ns/"),
                        cairn_error_text(rc));
        return;
    }
    home = router_ns_find(router_home(r), ns.name);
    if (home != NULL && home->id == ns.id)
        return;
    if (home != NULL) /* removed, and made anew, unseen */
        follow_forget(r, ns.name, home->id);
    follow_adopt(r, &ns);
}

/* All that is in no map is gone. */
static void on_all_told(struct cairn_router *r, uint64_t revision)
{
    struct router_worker *home = router_home(r);

    (void)revision;
    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &home->buckets[i]) {
            struct router_ns *ns = CONTAINER_OF(l, struct router_ns, link);

            if (!ns->told && !ns->busy)
                follow_forget(r, ns->name, ns->id);
        }
    }
}

static void on_news(struct cairn_map_watch *w, enum cairn_map_news news, const struct cairn_map_entry *e,
                    uint64_t revision)
{
    struct cairn_router *r = w->arg;
    struct router_ns *home;

    switch (news) {
    case CAIRN_MAP_RESET:
        r->follow.telling = true;
        for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
            CAIRN_LIST_FOREACH (l, &router_home(r)->buckets[i])
                CONTAINER_OF(l, struct router_ns, link)->told = false;
        }
        break;
    case CAIRN_MAP_ENTRY:
        home = router_ns_find(router_home(r), e->key + strlen("ns/"));
        if (home != NULL)
            home->told = true;
        if (e->value != NULL)
            on_stored(r, e);
        else if (home != NULL)
            follow_forget(r, home->name, home->id);
        break;
    case CAIRN_MAP_CURRENT:
        if (r->follow.telling)
            on_all_told(r, revision);
        r->follow.telling = false;
        break;
    case CAIRN_MAP_SKIPPED:
        break; /* differences follow */
    }
}

void router_follow_start(struct cairn_router *r)
{
    r->follow.watch = (struct cairn_map_watch){ .prefix = "ns/", .fn = on_news, .arg = r };
    cairn_map_watch_start(&r->store->view, &r->follow.watch);
}

void router_follow_stop(struct cairn_router *r)
{
    if (r->follow.watch.view != NULL)
        cairn_map_watch_stop(&r->follow.watch);
}
