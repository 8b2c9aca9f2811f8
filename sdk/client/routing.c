/* What a client has for clustered namespaces, as a whole, and the ways of those who ask several nodes: see
 * routing.h. */
#include "sdk/client/routing_internal.h"

#include "sdk/core/net/host.h"

#include <stdlib.h>

_Static_assert((int)CAIRN_HOST_ID_MAX <= (int)ROUTE_HOST_MAX, "the id of our host fits into the map");

/* Who waits for news, or has waited for ASKED_MS for an answer, makes the client ask for the map every LOOK_MS: when a
 * node dies nobody else tells of its successor. */
enum { LOOK_MS = 100, ASKED_MS = 250, OLD_MS = 20 };

/* Calls that are with a node which leads their slots no more go on to the one that does. What has just been sent is
 * about to be answered. */
static void leave_old(struct cairn_routing *r)
{
    CAIRN_LIST_FOREACH_SAFE (l, &r->asked) {
        struct cairn_route *route = CONTAINER_OF(l, struct cairn_route, link);

        if (routing_now(r) - route->asked_ns < OLD_MS * CAIRN_NS_PER_MS)
            break;
        route_on_old(r, route);
    }
}

void routing_look(struct cairn_routing *r)
{
    uint64_t ns = LOOK_MS * CAIRN_NS_PER_MS;

    if (cairn_timer_is_running(&r->look))
        return;
    ns += cairn_env_random(&r->c->loop.env) % (ns / 2);
    (void)cairn_timer_start(&r->c->loop.env, &r->look, routing_now(r) + ns); /* no memory: calls have their own timers */
}

static bool anybody_wants_the_map(struct cairn_routing *r)
{
    const struct cairn_route *asked = CONTAINER_OF(r->asked.next, const struct cairn_route, link);

    CAIRN_LIST_FOREACH_SAFE (l, &r->waiting) {
        if (route_waits_for_map(CONTAINER_OF(l, struct cairn_route, link)))
            return true;
    }
    if (!cairn_list_is_empty(&r->watches))
        return true;
    return !cairn_list_is_empty(&r->asked) && routing_now(r) - asked->asked_ns >= ASKED_MS * CAIRN_NS_PER_MS;
}

static void on_look(void *arg)
{
    struct cairn_routing *r = arg;

    leave_old(r);
    if (anybody_wants_the_map(r))
        route_fetch_want(r, -1);
    if (!cairn_list_is_empty(&r->waiting) || !cairn_list_is_empty(&r->asked) || !cairn_list_is_empty(&r->watches))
        routing_look(r);
}

struct cairn_routing *routing_of(struct cairn *c)
{
    struct cairn_routing *r = c->routing;
    char host[CAIRN_HOST_ID_MAX];

    if (r != NULL)
        return r;
    r = c->routing = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->c = c;
    r->try_ms = ROUTE_TRY_MS;
    r->session_idle_ns = ROUTE_IDLE_S * CAIRN_NS_PER_S;
    cairn_list_init(&r->waiting);
    cairn_list_init(&r->asked);
    cairn_list_init(&r->watches);
    cairn_timer_init(&r->look, on_look, r);
    cairn_host_id(host);
    cairn_route_map_init(&r->map, host);
    route_members_init(r);
    route_fetch_init(r);
    return r;
}

void routing_tell(struct cairn_routing *r)
{
    struct cairn_link watches;

    CAIRN_LIST_FOREACH_SAFE (l, &r->waiting)
        route_on_news(r, CONTAINER_OF(l, struct cairn_route, link));
    leave_old(r);
    /* Whoever is told may watch on, or end others that watch: each leaves the list before. */
    cairn_list_init(&watches);
    cairn_list_splice(&watches, &r->watches);
    while (!cairn_list_is_empty(&watches)) {
        struct cairn_route_watch *w = CONTAINER_OF(cairn_list_pop(&watches), struct cairn_route_watch, link);

        w->news(w);
    }
}

int cairn__route_watch(struct cairn *c, struct cairn_route_watch *w)
{
    struct cairn_routing *r = routing_of(c);

    if (r == NULL)
        return CAIRN_E_NOMEM;
    cairn_list_add_tail(&r->watches, &w->link);
    routing_look(r);
    return 0;
}

int cairn__route_leader(struct cairn *c, uint32_t slot, uint64_t *epoch)
{
    const struct cairn_route_slot *s = c->routing != NULL ? cairn_route_map_slot(&c->routing->map, slot) : NULL;

    if (s == NULL)
        return -1;
    *epoch = s->epoch;
    return s->holders[0];
}

int cairn__route_nearest(struct cairn *c, uint32_t slot)
{
    struct cairn_routing *r = c->routing;
    const struct cairn_route_slot *s = r != NULL ? cairn_route_map_slot(&r->map, slot) : NULL;

    return s != NULL ? cairn_route_map_nearest(&r->map, s, route_member_is_usable, r) : -1;
}

void cairn__route_avoid(struct cairn *c, uint16_t place, int rc)
{
    if (rc == CAIRN_E_TIMEOUT || rc == CAIRN_E_UNREACHABLE || rc == CAIRN_E_CLOSED)
        route_member_avoid(c->routing, place);
}

const char *cairn__route_name(const struct cairn *c, uint16_t place)
{
    return c->routing->map.nodes[place]->name;
}

uint32_t cairn__route_nodes(const struct cairn *c)
{
    return c->routing != NULL ? c->routing->map.nnodes : 0;
}

void cairn__route_refresh(struct cairn *c, int place)
{
    struct cairn_routing *r = routing_of(c);

    if (r != NULL)
        route_fetch_want(r, place);
}

uint64_t cairn__route_pause_ns(struct cairn *c, uint32_t tries)
{
    enum { FIRST_MS = 5, MAX_MS = 500 };
    uint64_t ms = MIN((uint64_t)FIRST_MS << MIN(tries, 10U), (uint64_t)MAX_MS);

    return ms * CAIRN_NS_PER_MS / 2 + cairn_env_random(&c->loop.env) % (ms * CAIRN_NS_PER_MS);
}

void cairn__routing_free(struct cairn *c)
{
    struct cairn_routing *r = c->routing;

    if (r == NULL)
        return;
    CAIRN_ASSERT(cairn_list_is_empty(&r->waiting) && cairn_list_is_empty(&r->asked));
    CAIRN_ASSERT(cairn_list_is_empty(&r->watches));
    cairn_timer_stop(&c->loop.env, &r->look);
    route_sessions_close(r);
    route_fetch_fini(r);
    route_members_fini(r);
    route_sessions_fini(r);
    cairn_route_map_fini(&r->map);
    free(r);
    c->routing = NULL;
}
