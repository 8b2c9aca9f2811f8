/* Namespaces that other nodes of a cluster make and remove: this node follows the map.
 *
 * What the map tells says only which name to look at; what is done is decided by what the map's view has then, and what
 * is here (router_follow_look(), the one place):
 *
 *   here            in the view   what is done
 *   ------------------------------------------------------------------------------------------------------
 *   -               -             nothing
 *   -               id a          it is adopted
 *   id a            -             it is forgotten, with what its database here holds
 *   id a            id b          likewise, and the name looked at when that has ended: then b is adopted
 *   id a            id a          the revision of its record is noted
 *   id a, newer     any           our own change, which the view has not seen yet: looked at again later
 *   an order works  any           the order is told, and the name looked at when it ends, however it does
 *
 * Nothing comes between the decision and the order that carries it out: that one begins at once. What cannot be done,
 * for want of memory, is done later: the map is told anew after a while.
 *
 * One that appears is taken into every worker's table:
 *
 *   SPREAD ---> DONE
 *
 * SPREAD   the workers are taking it into their tables.
 * DONE     every worker has it. */
#include "server/router/ns_order.h"

#include "sdk/core/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FOLLOW_AGAIN_MS = 1000 };

enum { ADOPT_SPREAD, ADOPT_DONE, ADOPT_NR };

static const struct cairn_sm_state adopt_states[ADOPT_NR] = {
    [ADOPT_SPREAD] = { "SPREAD", CAIRN_SM_INITIAL, CAIRN_SM_TO(ADOPT_DONE) },
    [ADOPT_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};

static bool adopt_invariant(const struct cairn_sm *sm)
{
    const struct router_order *o = CONTAINER_OF(sm, const struct router_order, sm);

    return CAIRN_HOLDS(o->ns.id != 0 && o->follows) && CAIRN_HOLDS(o->home == NULL); /* one of a name at a time */
}

const struct cairn_sm_kind router_adopt_kind = { "router-ns-adopt", adopt_states, ADOPT_NR, adopt_invariant, 30000 };

static void follow_done(struct router_order *o)
{
    struct router_follow *f = &o->router->follow;

    router_order_free(o);
    if (--f->running == 0 && f->stopped != NULL)
        f->stopped(f->stopped_arg);
}

static void adopt_on_spread(struct router_spread *s)
{
    struct router_order *o = CONTAINER_OF(s, struct router_order, spread);

    atomic_fetch_add(&o->router->nnamespaces, 1);
    cairn_sm_move(&o->sm, ADOPT_DONE);
    router_order_end(o);
}

static void adopt_begin(struct router_order *o)
{
    cairn_list_add_tail(&o->router->creating, &o->link);
    router_order_tell_made(o, adopt_on_spread);
}

/* The timer has its place among the others since the start: this needs no memory. */
static void follow_again(struct cairn_router *r)
{
    struct cairn_env *env = &router_home(r)->loop->env;
    uint64_t at = cairn_env_now_ns(env) + FOLLOW_AGAIN_MS * CAIRN_NS_PER_MS;

    if (!cairn_timer_is_running(&r->follow.again) || at < r->follow.again.at_ns)
        (void)cairn_timer_start(env, &r->follow.again, at);
}

static void follow_no_memory(struct cairn_router *r, const char *name)
{
    cairn_log_error("namespace '%s': no memory to follow the map; once more in a while", name);
    follow_again(r);
}

static void follow_begin(struct cairn_router *r, struct router_order *o)
{
    o->follows = true;
    r->follow.running++;
    router_order_begin(o);
}

static void follow_adopt(struct cairn_router *r, const struct router_ns *ns)
{
    struct router_order *o = router_order_new(router_home(r), &router_adopt_kind, ns->name, adopt_begin, follow_done);

    if (o != NULL && router_order_take_copies(o)) {
        o->ns = *ns;
        follow_begin(r, o);
        return;
    }
    if (o != NULL)
        router_order_free(o);
    follow_no_memory(r, ns->name);
}

static void follow_forget(struct cairn_router *r, const char *name)
{
    struct router_order *o =
        router_order_new(router_home(r), &router_remove_kind, name, router_remove_follow, follow_done);

    if (o == NULL) {
        follow_no_memory(r, name);
        return;
    }
    o->stale = true; /* another of its name may be there already */
    follow_begin(r, o);
}

/* What the view has of a name. */
struct look {
    struct cairn_router *router;
    struct cairn_map_ids ids;
    char key[8 + CAIRN_NAME_BYTES_MAX];
    bool there;
    int rc; /* why it cannot be read */
    struct router_ns ns;
};

static void look_on_entry(const struct cairn_map_entry *e, void *arg)
{
    struct look *l = arg;

    if (strcmp(e->key, l->key) != 0) /* longer */
        return;
    l->there = true;
    l->rc = router_ns_unpack(l->router, &l->ids, e, &l->ns);
}

static void look_failed(struct cairn_router *r, const char *name, int rc)
{
    if (rc == CAIRN_E_NOMEM)
        follow_no_memory(r, name);
    else
        cairn_log_error("the record of namespace '%s' cannot be read: %s", name, cairn_error_text(rc));
}

void router_follow_look(struct cairn_router *r, const char *name)
{
    struct look l = { .router = r };
    struct router_order *at_work = router_order_of(r, name);
    struct router_ns *home = router_ns_find(router_home(r), name);
    uint64_t revision;

    if (r->follow.watch.view == NULL)
        return;
    if (at_work != NULL) {
        at_work->stale = true;
        return;
    }
    revision = cairn_map_store_revision(r->store); /* the view is not older than this when it is looked at */
    l.ids = cairn_map_ids_of(r->store);
    snprintf(l.key, sizeof(l.key), "ns/%s", name);
    cairn_map_store_each(r->store, l.key, look_on_entry, &l);
    if (home != NULL && home->changed > revision)
        follow_again(r);
    else if (l.rc != 0)
        look_failed(r, name, l.rc);
    else if (home == NULL && l.there)
        follow_adopt(r, &l.ns);
    else if (home != NULL && (!l.there || home->id != l.ns.id))
        follow_forget(r, home->name);
    else if (home != NULL)
        home->changed = l.ns.changed;
}

/* Of what came and went unseen no entry tells: all that is here, or on its way, is looked at. A map that was put back
 * counts its revisions from an earlier one again: then none that is here is newer than the view. */
static void follow_unseen(struct cairn_router *r, uint64_t revision)
{
    struct router_worker *home = router_home(r);

    CAIRN_LIST_FOREACH (l, &r->creating)
        CONTAINER_OF(l, struct router_order, link)->stale = true;
    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &home->buckets[i]) {
            struct router_ns *ns = CONTAINER_OF(l, struct router_ns, link);

            if (revision < r->follow.revision)
                ns->changed = MIN(ns->changed, revision);
            router_follow_look(r, ns->name);
        }
    }
}

static void on_news(struct cairn_map_watch *w, enum cairn_map_news news, const struct cairn_map_entry *e,
                    uint64_t revision)
{
    struct cairn_router *r = w->arg;

    switch (news) {
    case CAIRN_MAP_RESET:
    case CAIRN_MAP_SKIPPED:
        r->follow.unseen = true;
        break;
    case CAIRN_MAP_ENTRY:
        router_follow_look(r, e->key + strlen("ns/"));
        break;
    case CAIRN_MAP_CURRENT:
        if (r->follow.unseen)
            follow_unseen(r, revision);
        r->follow.unseen = false;
        r->follow.revision = revision;
        break;
    }
}

static void follow_all(struct cairn_router *r)
{
    r->follow.watch = (struct cairn_map_watch){ .prefix = "ns/", .fn = on_news, .arg = r };
    cairn_map_watch_start(&r->store->view, &r->follow.watch);
}

static void on_again(void *arg)
{
    struct cairn_router *r = arg;

    (void)cairn_timer_start(&router_home(r)->loop->env, &r->follow.again, UINT64_MAX);
    cairn_map_watch_stop(&r->follow.watch);
    follow_all(r);
}

void router_follow_start(struct cairn_router *r)
{
    cairn_timer_init(&r->follow.again, on_again, r);
    if (cairn_timer_start(&router_home(r)->loop->env, &r->follow.again, UINT64_MAX) != 0)
        cairn_log_error("no memory for the timer that follows the map");
    follow_all(r);
}

void router_follow_quiesce(struct cairn_router *r, void (*done)(void *arg), void *arg)
{
    struct router_follow *f = &r->follow;

    if (f->watch.view != NULL) {
        cairn_timer_stop(&router_home(r)->loop->env, &f->again);
        cairn_map_watch_stop(&f->watch);
        f->watch.view = NULL;
    }
    if (f->running == 0) {
        done(arg);
        return;
    }
    f->stopped = done;
    f->stopped_arg = arg;
}
