/* The life of a routed call between its requests: see routing.h.
 *
 *   FIND ---> ASKED ---> OVER
 *   FIND ---> MAP ---> FIND        FIND ---> NUMBER ---> FIND        ASKED ---> PAUSED ---> FIND        ASKED ---> FIND
 *   FIND, MAP, NUMBER and PAUSED may also go to OVER.
 *
 * FIND    its node is being chosen; nothing is with anybody.
 * MAP     the map does not name a node for it, or none that can be reached now: it waits for news, or for a moment.
 * NUMBER  a write that waits for a number of its slot's session.
 * ASKED   a request is with the RPC layer, and a session with a node is held for it. Back to FIND at once when the call
 *         has another request, the map a newer record, or a replica no answer that counts. When the map names another
 *         node, and this one has not answered yet, its time is over.
 * PAUSED  a try has ended without an answer: it waits for a newer record, or until its pause is over. Pauses grow.
 * OVER    the call has its answer, or its time is over, or nobody wants it any more. */
#include "sdk/client/routing_internal.h"

#include <string.h>

enum { ROUTE_FIND, ROUTE_MAP, ROUTE_NUMBER, ROUTE_ASKED, ROUTE_PAUSED, ROUTE_OVER, ROUTE_NR };
#define TRY_BYTES_PER_S (UINT64_C(32) << 20) /* beside its time a try has what a large value may take */

#define TO(state) CAIRN_SM_TO(ROUTE_##state)
static const struct cairn_sm_state route_states[ROUTE_NR] = {
    [ROUTE_FIND] = { "FIND", CAIRN_SM_INITIAL, TO(MAP) | TO(NUMBER) | TO(ASKED) | TO(OVER) },
    [ROUTE_MAP] = { "MAP", 0, TO(FIND) | TO(OVER) },
    [ROUTE_NUMBER] = { "NUMBER", 0, TO(FIND) | TO(OVER) },
    [ROUTE_ASKED] = { "ASKED", 0, TO(FIND) | TO(PAUSED) | TO(OVER) },
    [ROUTE_PAUSED] = { "PAUSED", 0, TO(FIND) | TO(OVER) },
    [ROUTE_OVER] = { "OVER", CAIRN_SM_FINAL, 0 },
};
#undef TO

static bool route_waits(const struct cairn_route *route)
{
    uint8_t s = route->sm.state;

    return s == ROUTE_MAP || s == ROUTE_NUMBER || s == ROUTE_PAUSED;
}

static bool route_invariant(const struct cairn_sm *sm)
{
    const struct cairn_route *x = CONTAINER_OF(sm, const struct cairn_route, sm);
    bool asked = sm->state == ROUTE_ASKED, waits = route_waits(x);

    return CAIRN_HOLDS(cairn_timer_is_running(&x->timer) == waits) && /* every wait has an end */
           CAIRN_HOLDS(cairn_list_is_empty(&x->link) == !(waits || asked)) &&
           CAIRN_HOLDS(!asked || !x->writes || x->number.rid.seq != 0) && /* nothing is written without a number */
           CAIRN_HOLDS(!asked || x->epoch != 0 || x->direct) &&           /* and nothing asked but by a record */
           CAIRN_HOLDS(sm->state != ROUTE_NUMBER || (x->writes && x->number.rid.seq == 0)) &&
           CAIRN_HOLDS(sm->state != ROUTE_PAUSED || !x->direct) && /* that is asked once */
           CAIRN_HOLDS(!x->asks_replica || (!x->writes && x->replica_field != NULL)) &&
           CAIRN_HOLDS(sm->state != ROUTE_OVER || x->number.session == NULL);
}

const struct cairn_sm_kind cairn_route_kind = { "route", route_states, ROUTE_NR, route_invariant, 120000 };

static struct cairn_call *call_of(struct cairn_route *route)
{
    return CONTAINER_OF(route, struct cairn_call, route);
}

/* ---- waiting ---- */

int cairn__route_doubt(struct cairn_call *call, int rc)
{
    if (!call->route.on || !call->route.writes || !call->route.unsure)
        return rc;
    return cairn_err_set(&call->err, CAIRN_E_UNKNOWN, "it may have been done, and cannot be asked about again: %s",
                         cairn_error_text(rc));
}

/* False: no memory for a timer, so the call cannot wait, and ends. */
static bool route_wait(struct cairn_call *call, uint32_t state, uint64_t ns)
{
    struct cairn_routing *r = call->c->routing;
    struct cairn_route *route = &call->route;
    uint64_t left = call->deadline_ns - MIN(routing_now(r), call->deadline_ns);

    if (cairn_timer_start(&call->c->loop.env, &route->timer, routing_now(r) + MIN(ns, left)) != 0) {
        cairn__call_fail_later(call, cairn__route_doubt(call, CAIRN_E_NOMEM));
        return false;
    }
    cairn_list_add_tail(&r->waiting, &route->link);
    routing_look(r);
    cairn_sm_move(&route->sm, state);
    return true;
}

static void route_wait_ends(struct cairn_route *route)
{
    cairn_timer_stop(&call_of(route)->c->loop.env, &route->timer);
    cairn_list_del(&route->link);
    cairn_sm_move(&route->sm, ROUTE_FIND);
}

static void on_timer(void *arg)
{
    struct cairn_call *call = arg;

    route_wait_ends(&call->route);
    cairn__call_send(call);
}

void route_on_news(struct cairn_routing *r, struct cairn_route *route)
{
    const struct cairn_route_slot *s = cairn_route_map_slot(&r->map, route->slot);

    if ((s == NULL && !route->direct) || route->sm.state == ROUTE_NUMBER ||
        (route->sm.state == ROUTE_PAUSED && s->epoch <= route->epoch))
        return;
    route_wait_ends(route);
    cairn__call_send_later(call_of(route));
}

bool route_waits_for_map(const struct cairn_route *route)
{
    return route->sm.state == ROUTE_MAP || route->sm.state == ROUTE_PAUSED;
}

/* A replica is asked again, or its primary, when it has had its time: it may answer as well as before. */
void route_on_old(struct cairn_routing *r, struct cairn_route *route)
{
    const struct cairn_route_slot *s = cairn_route_map_slot(&r->map, route->slot);

    if (!route->direct && !route->asks_replica && s->epoch > route->epoch && s->holders[0] != route->place)
        cairn_rpc_call_cancel(&call_of(route)->rpc);
}

static void on_number(struct cairn_number *n, int rc)
{
    struct cairn_route *route = CONTAINER_OF(n, struct cairn_route, number);
    struct cairn_call *call = call_of(route);

    if (route->sm.state != ROUTE_NUMBER)
        return; /* its time was over in the same moment */
    route_wait_ends(route);
    if (rc == 0) {
        cairn__call_send_later(call);
        return;
    }
    cairn_err_set(&call->err, rc, "%s", cairn__number_error(n));
    cairn__call_fail_later(call, rc);
}

/* ---- for call.c ---- */

void cairn__route_to(struct cairn_call *call, uint32_t slot, Cairn__Wire__RouterRid **rid_field, bool once,
                     protobuf_c_boolean *replica_field)
{
    struct cairn_route *route = &call->route;

    memset(route, 0, sizeof(*route));
    route->on = true;
    route->slot = slot;
    route->replica_field = replica_field;
    cairn_list_init(&route->link);
    cairn_timer_init(&route->timer, on_timer, call);
    cairn__number_init(&route->number, once, on_number);
    if (rid_field != NULL) {
        route->writes = true;
        *rid_field = &route->number.rid;
    }
}

void cairn__route_to_node(struct cairn_call *call, uint16_t place)
{
    cairn__route_to(call, 0, NULL, false, NULL);
    call->route.direct = true;
    call->route.place = place;
}

/* The node, and the session with it, into the route and the request. */
static bool route_choose(struct cairn_call *call, const struct cairn_route_slot *s)
{
    struct cairn_routing *r = call->c->routing;
    struct cairn_route *route = &call->route;
    struct cairn_rpc_session *session;
    uint16_t place;

    if (route->direct) {
        call->rpc.dest.session = session = route_member_get(r, route->place);
        return session != NULL;
    }
    place = s->holders[0];
    if (route->replica_field != NULL)
        place = cairn_route_map_nearest(&r->map, s, route_member_is_usable, r);
    session = route_member_get(r, place);
    if (session == NULL && place != s->holders[0]) {
        place = s->holders[0];
        session = route_member_get(r, place);
    }
    if (session == NULL)
        return false;
    if (s->epoch != route->epoch) { /* how often another did not answer says nothing of this one */
        route->tries = route->silences = 0;
        route->moved = false;
    }
    route->place = place;
    route->epoch = s->epoch;
    route->asks_replica = place != s->holders[0];
    if (route->replica_field != NULL)
        *route->replica_field = route->asks_replica;
    call->rpc.dest.session = session;
    return true;
}

/* No way leads to the node, and to wait would be of no use: then the call ends. */
static bool route_is_closed(struct cairn_call *call, const struct cairn_route_slot *s)
{
    const struct cairn_routing *r = call->c->routing;
    uint16_t place;

    if (s == NULL && !call->route.direct)
        return false;
    place = call->route.direct ? call->route.place : s->holders[0];
    if (!route_member_is_nowhere(r, place))
        return false;
    cairn_err_set(&call->err, CAIRN_E_UNSUPPORTED,
                  "node %s, which has to be asked, has no address that leads there from here",
                  r->map.nodes[place]->name);
    cairn__call_fail_later(call, cairn__route_doubt(call, CAIRN_E_UNSUPPORTED));
    return true;
}

/* The session with the node is given back. */
static void route_leave(struct cairn_call *call)
{
    if (call->route.sm.state == ROUTE_ASKED) {
        cairn_list_del(&call->route.link);
        route_member_put(call->c->routing, call->route.place);
    }
    call->rpc.dest.session = call->c->session;
}

/* What was asked and not answered in its time is given twice as much the next time: who needs longer than a try lasts
 * would else be asked the same for ever. If another leads meanwhile it is not waited for (route_on_old()). */
static uint64_t route_try_ms(const struct cairn_call *call)
{
    const struct cairn_route *route = &call->route;

    if (!cairn_rpc_session_is_up(call->rpc.dest.session))
        return ROUTE_UNREACHED_MS;
    return (uint64_t)MAX(route->try_ms, call->c->routing->try_ms) << MIN(route->silences, 8U);
}

bool cairn__route_find(struct cairn_call *call, uint64_t *timeout_ns)
{
    struct cairn_routing *r = routing_of(call->c);
    struct cairn_route *route = &call->route;
    const struct cairn_route_slot *s;
    int rc;

    if (r == NULL) {
        cairn__call_fail_later(call, CAIRN_E_NOMEM);
        return false;
    }
    if (!route->begun)
        cairn_sm_init(&route->sm, &cairn_route_kind, &call->c->loop.machines);
    route->begun = true;
    if (route->sm.state == ROUTE_ASKED) { /* the call's next request */
        route_leave(call);
        cairn_sm_move(&route->sm, ROUTE_FIND);
    }
    s = cairn_route_map_slot(&r->map, route->slot);
    if (s != NULL && route->home != NULL && *route->home != 0 && *route->home != r->map.nodes[s->holders[0]]->node &&
        !(route->writes && route->unsure)) { /* that one: whoever leads knows whether it was done */
        cairn_err_set(&call->err, CAIRN_E_MOVED, "the node that had the first parts of it leads its slot no more");
        cairn__call_fail_later(call, CAIRN_E_MOVED);
        return false;
    }
    if (s != NULL && route->writes &&
        !cairn__number_take(call->c, &route->number, CONTAINER_OF(call->handle, struct cairn_ns, h), route->slot,
                            &rc)) {
        if (rc == 0)
            route_wait(call, ROUTE_NUMBER, UINT64_MAX);
        else if (cairn__route_is_passing(rc))
            route_wait(call, ROUTE_MAP, cairn__route_pause_ns(call->c, route->tries++));
        else
            cairn__call_fail_later(call, rc);
        return false;
    }
    if ((s == NULL && !route->direct) || !route_choose(call, s)) {
        call->rpc.dest.session = call->c->session;
        if (route_is_closed(call, s))
            return false;
        if (route->direct && !route_member_is_in_line(r, route->place)) { /* who has planned it plans anew */
            cairn__call_fail_later(call, CAIRN_E_UNREACHABLE);
            return false;
        }
        route_fetch_want(r, -1);
        route_wait(call, ROUTE_MAP, cairn__route_pause_ns(call->c, route->tries++));
        return false;
    }
    if (route->home != NULL)
        *route->home = r->map.nodes[s->holders[0]]->node;
    cairn__number_floor(&route->number);
    route->asked_ns = routing_now(r);
    cairn_list_add_tail(&r->asked, &route->link);
    routing_look(r);
    cairn_sm_move(&route->sm, ROUTE_ASKED);
    *timeout_ns = route_try_ms(call) * CAIRN_NS_PER_MS + call->expose_len * CAIRN_NS_PER_S / TRY_BYTES_PER_S;
    return true;
}

bool cairn__route_is_passing(int rc)
{
    return rc == CAIRN_E_MOVED || rc == CAIRN_E_BUSY || rc == CAIRN_E_CLOSED || rc == CAIRN_E_SHUTDOWN ||
           rc == CAIRN_E_TIMEOUT || rc == CAIRN_E_UNKNOWN || rc == CAIRN_E_UNREACHABLE;
}

static bool route_at_once(struct cairn_call *call)
{
    route_leave(call);
    cairn_sm_move(&call->route.sm, ROUTE_FIND);
    cairn__call_send_later(call);
    return true;
}

/* Whatever a replica says that is no value proves nothing (PROTOCOL §8): the primary is asked. */
static bool again_at_primary(struct cairn_call *call)
{
    struct cairn_route *route = &call->route;

    cairn__route_avoid(call->c, route->place, call->rpc.rc);
    *route->replica_field = false;
    route->replica_field = NULL;
    route->asks_replica = false;
    return route_at_once(call);
}

/* The node does not know the session any more, in which the write has its number. */
static bool again_in_new_session(struct cairn_call *call)
{
    struct cairn_route *route = &call->route;

    cairn__number_gone(&route->number);
    if (!route->unsure)
        return route_at_once(call);
    call->rpc.rc = cairn_err_set(&call->err, CAIRN_E_UNKNOWN,
                                 "it may have been done: the node that had it forgot who asked before it answered");
    return false;
}

static void route_note(struct cairn_call *call)
{
    struct cairn_routing *r = call->c->routing;

    if (call->err.code != CAIRN_E_BUSY)
        return;
    r->busy.slot = call->route.slot;
    r->busy.at_ns = routing_now(r);
    memcpy(r->busy.text, call->err.text, sizeof(r->busy.text));
}

/* Its time is over, or nobody wants it any more. What the last try came to says nothing of those before it. */
static void route_give_up(struct cairn_call *call)
{
    const struct cairn_route *route = &call->route;
    int rc = call->rpc.rc;

    /* To whom it should go next is nothing that a caller could do. */
    if (rc == CAIRN_E_MOVED || (route->writes && route->unsure && cairn__route_is_passing(rc) && rc != CAIRN_E_UNKNOWN))
        call->rpc.rc = call->canceled ? CAIRN_E_CANCELED : CAIRN_E_TIMEOUT;
}

/* The answer may have been another call's: that of the OPEN which a write waited for. */
void cairn__route_late(struct cairn_call *call, int rc)
{
    const struct cairn_routing *r = call->c->routing;
    const struct cairn_route *route = &call->route;
    const char *fate = !route->writes   ? ""
                       : !route->unsure ? ", nothing was done"
                                        : ", it may have been done, or be done yet";
    const struct cairn_route_slot *s =
        r != NULL && !route->direct && !route->moved ? cairn_route_map_slot(&r->map, route->slot) : NULL;
    const char *leader = s != NULL ? r->map.nodes[s->holders[0]]->name : NULL;

    if (rc == CAIRN_E_UNREACHABLE) {
        if (leader != NULL)
            cairn_err_wrap(&call->err, rc, "node %s, which leads its slot, has not answered", leader);
        return;
    }
    if (r != NULL && r->busy.slot == route->slot && r->busy.at_ns + call->timeout_ns >= call->deadline_ns)
        cairn_err_set(&call->err, CAIRN_E_TIMEOUT, "the time is over%s, and the last answer was: %s", fate,
                      r->busy.text);
    else if (leader != NULL)
        cairn_err_set(&call->err, CAIRN_E_TIMEOUT, "the time is over%s: node %s, which leads its slot, has not answered",
                      fate, leader);
    else if (route->writes)
        cairn_err_set(&call->err, CAIRN_E_TIMEOUT, "the time is over%s", fate);
}

bool cairn__route_again(struct cairn_call *call)
{
    struct cairn_routing *r = call->c->routing;
    struct cairn_route *route = &call->route;
    const struct cairn_route_slot *s = cairn_route_map_slot(&r->map, route->slot);
    int rc = call->rpc.rc;

    if (route->direct)
        return false;
    route->unsure |= call->rpc.was_sent && cairn__route_is_passing(rc);
    if (call->canceled || routing_now(r) >= call->deadline_ns) {
        route_give_up(call);
        return false;
    }
    if (route->asks_replica)
        return again_at_primary(call);
    if (rc == CAIRN_E_GONE && route->writes)
        return again_in_new_session(call);
    if (!cairn__route_is_passing(rc))
        return false;
    if (rc == CAIRN_E_BUSY)
        route_note(call);
    route->silences += rc == CAIRN_E_TIMEOUT;
    route->moved |= rc == CAIRN_E_MOVED;
    if (s->epoch > route->epoch)
        return route_at_once(call);
    route_fetch_want(r, rc == CAIRN_E_MOVED ? route->place : -1);
    route_leave(call);
    if (!route_wait(call, ROUTE_PAUSED, cairn__route_pause_ns(call->c, route->tries++)))
        cairn_sm_move(&route->sm, ROUTE_FIND); /* where it ends: the session with the node is given back */
    return true;
}

void cairn__route_over(struct cairn_call *call)
{
    struct cairn_route *route = &call->route;

    route->on = false;
    if (!route->begun)
        return;
    route_leave(call);
    cairn_timer_stop(&call->c->loop.env, &route->timer);
    cairn_list_del(&route->link);
    cairn__number_give(&route->number);
    cairn_sm_move(&route->sm, ROUTE_OVER);
    cairn_sm_fini(&route->sm);
}

void cairn__route_cancel(struct cairn_call *call)
{
    if (!call->route.begun || !route_waits(&call->route))
        return;
    route_wait_ends(&call->route);
    cairn__call_send_later(call);
}
