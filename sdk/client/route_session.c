/* Sessions for writes, one for each slot: they give the numbers by which a write that is sent twice is done once
 * (PROTOCOL §8).
 *
 *   NONE ---> OPENING ---> OPEN ---> NONE        OPENING may also go to NONE. NONE and OPEN may also go to ENDED.
 *
 * NONE     the slot's primary knows of none, or of none any more; the next write that comes opens one.
 * OPENING  an OPEN is under way, like any routed call; writes wait. It has a time of its own, and goes on when the last
 *          of them ends: where it takes longer than a write may, the next write finds what the one before it began.
 * OPEN     numbers are given, by ascending order, so far ahead of the lowest that is still waited for as nodes
 *          remember. After a pause in which nodes may have forgotten it, the next write opens one anew: a number
 *          that they refuse leaves in doubt what they were asked before.
 * ENDED    the client ends. */
#include "sdk/client/routing_internal.h"

#include <stdlib.h>
#include <string.h>

/* A client that ends waits so long for the ends of so many sessions, no more: the others end by themselves. */
enum { CLOSE_MS = 100, CLOSE_MAX = 1024 };

enum { SESSION_NONE, SESSION_OPENING, SESSION_OPEN, SESSION_ENDED, SESSION_NR };

#define TO(state) CAIRN_SM_TO(SESSION_##state)
static const struct cairn_sm_state session_states[SESSION_NR] = {
    [SESSION_NONE] = { "NONE", CAIRN_SM_INITIAL, TO(OPENING) | TO(ENDED) },
    [SESSION_OPENING] = { "OPENING", 0, TO(OPEN) | TO(NONE) },
    [SESSION_OPEN] = { "OPEN", 0, TO(NONE) | TO(ENDED) },
    [SESSION_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};
#undef TO

struct route_session {
    struct cairn_sm sm;
    struct cairn *c;
    uint32_t slot;
    uint64_t epoch, pos, last_seq, used_ns; /* used_ns: when it was opened, or had a number last */
    uint64_t idle_ns;                       /* nodes may have forgotten it after so long */
    struct cairn_link numbered;             /* by ascending number; the first is the floor */
    struct cairn_link waiting;              /* those that have none yet */
    struct cairn_call *open;                /* OPENING: the OPEN */
    const struct cairn_ns *ns; /* in whose name it is being opened: a refusal is for those alone who write there */
    struct cairn_error_info error;
    char *opened_ns; /* in whose name it was opened: it is closed in the same, when the handle is gone */
};

static const struct cairn_number *number_of(const struct cairn_link *l)
{
    return CONTAINER_OF(l, const struct cairn_number, link);
}

static bool session_invariant(const struct cairn_sm *sm)
{
    const struct route_session *s = CONTAINER_OF(sm, const struct route_session, sm);
    bool any = !cairn_list_is_empty(&s->numbered);

    return CAIRN_HOLDS(!any || s->last_seq >= number_of(s->numbered.prev)->rid.seq) &&
           CAIRN_HOLDS(!any || s->last_seq - number_of(s->numbered.next)->rid.seq < ROUTE_WRITES_MAX) &&
           CAIRN_HOLDS(sm->state == SESSION_OPEN || !any) && /* numbers of a session that is over are nobody's */
           CAIRN_HOLDS(sm->state != SESSION_OPEN || s->epoch != 0) &&
           CAIRN_HOLDS(sm->state == SESSION_OPENING || s->open == NULL) &&
           CAIRN_HOLDS(sm->state != SESSION_ENDED || cairn_list_is_empty(&s->waiting));
}

const struct cairn_sm_kind cairn_route_session_kind = { "route-session", session_states, SESSION_NR, session_invariant,
                                                        0 };

static struct route_session *session_of(struct cairn_routing *r, uint32_t slot)
{
    struct route_session *s;

    if (slot >= r->sessions_room) {
        uint32_t room = MIN(MAX(slot + 1, 2 * r->sessions_room), (uint32_t)ROUTE_SLOTS_MAX);
        struct route_session **more = slot < room ? realloc(r->sessions, room * sizeof(struct route_session *)) : NULL;

        if (more == NULL)
            return NULL;
        for (uint32_t i = r->sessions_room; i < room; i++)
            more[i] = NULL;
        r->sessions = more;
        r->sessions_room = room;
    }
    s = r->sessions[slot];
    if (s != NULL)
        return s;
    s = r->sessions[slot] = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->c = r->c;
    s->slot = slot;
    cairn_list_init(&s->numbered);
    cairn_list_init(&s->waiting);
    cairn_sm_init(&s->sm, &cairn_route_session_kind, &r->c->loop.machines);
    return s;
}

static void session_leave_idle(struct route_session *s)
{
    const struct cairn_routing *r = s->c->routing;

    if (s->sm.state == SESSION_OPEN && cairn_list_is_empty(&s->numbered) &&
        routing_now(r) - s->used_ns >= MIN(s->idle_ns, r->session_idle_ns))
        cairn_sm_move(&s->sm, SESSION_NONE);
}

/* How many more numbers may be given now. */
static uint64_t session_room(const struct route_session *s)
{
    if (s->sm.state != SESSION_OPEN)
        return 0;
    return cairn_list_is_empty(&s->numbered)
               ? ROUTE_WRITES_MAX
               : ROUTE_WRITES_MAX - 1 - (s->last_seq - number_of(s->numbered.next)->rid.seq);
}

/* The first @n that wait do so no more; @rc: why those in whose name it was to be opened were refused. They stay the
 * session's: one that ends without having taken a number leaves its turn to the next. Whoever waits again meanwhile is
 * not among them. */
static void session_wake(struct route_session *s, uint64_t n, int rc)
{
    struct cairn_link now, *l;

    cairn_list_init(&now);
    cairn_list_splice(&now, &s->waiting);
    for (; n > 0 && (l = cairn_list_pop(&now)) != NULL; n--) {
        struct cairn_number *x = CONTAINER_OF(l, struct cairn_number, link);

        x->ready(x, x->ns == s->ns ? rc : 0);
    }
    cairn_list_splice(&now, &s->waiting);
    cairn_list_splice(&s->waiting, &now);
}

/* ---- opening ---- */

static void on_opened(void *arg, int rc)
{
    struct route_session *s = arg;

    s->last_seq = 0;
    s->open = NULL;
    cairn_sm_move(&s->sm, rc == 0 ? SESSION_OPEN : SESSION_NONE);
    if (rc == 0)
        session_wake(s, session_room(s), 0);
    else /* who has time left opens it again, in another name or unless that is of no use */
        session_wake(s, UINT64_MAX, cairn__route_is_passing(rc) || rc == CAIRN_E_CANCELED ? 0 : rc);
}

static void open_answered(struct cairn_call *call)
{
    const Cairn__Wire__RouterOpened *r = (const Cairn__Wire__RouterOpened *)call->rpc.reply;
    struct route_session *s = call->out;

    s->epoch = r->epoch;
    s->pos = r->pos;
    s->idle_ns = r->ttl_ms != 0 ? MIN(r->ttl_ms, (uint64_t)UINT32_MAX) * CAIRN_NS_PER_MS / 2 : UINT64_MAX;
    s->used_ns = cairn_loop_now(&call->c->loop);
    free(s->opened_ns);
    s->opened_ns = strdup(call->rq.open.ns); /* without memory it ends by itself, later */
    cairn__call_finish(call, r->epoch != 0 ? 0 : CAIRN_E_PROTO);
}

static int session_open(struct route_session *s, struct cairn_ns *ns)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_call *call;
    int rc;

    o.error = &s->error;
    o.timeout_ms =
        MAX((uint32_t)ROUTE_OPEN_MS, (uint32_t)MIN(s->c->timeout_ns / CAIRN_NS_PER_MS, (uint64_t)UINT32_MAX));
    rc = cairn__call_new_inner(s->c, &ns->h, &o, on_opened, s, &call);
    if (rc != 0)
        return rc;
    cairn_sm_move(&s->sm, SESSION_OPENING);
    cairn__wire__router_open__init(&call->rq.open);
    call->rq.open.ns = ns->name;
    call->rq.open.ns_id = ns->id;
    s->ns = ns;
    s->open = call;
    call->rq.open.slot = s->slot;
    call->out = s;
    call->answered = open_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN);
    cairn__route_to(call, s->slot, NULL, false, NULL);
    return cairn__call_go(call);
}

/* ---- numbers ---- */

void cairn__number_init(struct cairn_number *n, bool once, void (*ready)(struct cairn_number *n, int rc))
{
    cairn__wire__router_rid__init(&n->rid);
    n->session = NULL;
    n->ns = NULL;
    cairn_list_init(&n->link);
    n->once = once;
    n->ready = ready;
}

bool cairn__number_take(struct cairn *c, struct cairn_number *n, struct cairn_ns *ns, uint32_t slot, int *rc)
{
    struct route_session *s;

    *rc = 0;
    if (n->rid.seq != 0)
        return true;
    n->rid.slot = slot;
    if (n->once) {
        n->rid.seq = cairn_env_random(&c->loop.env) | 1;
        return true;
    }
    s = routing_of(c) != NULL ? session_of(c->routing, slot) : NULL;
    if (s == NULL) {
        *rc = CAIRN_E_NOMEM;
        return false;
    }
    cairn_list_del(&n->link);
    session_leave_idle(s);
    if (session_room(s) > 0) {
        n->session = s;
        n->rid.session_epoch = s->epoch;
        n->rid.session_pos = s->pos;
        n->rid.seq = ++s->last_seq;
        cairn_list_add_tail(&s->numbered, &n->link);
        return true;
    }
    if (s->sm.state == SESSION_NONE)
        *rc = session_open(s, ns);
    if (*rc != 0)
        return false;
    n->session = s;
    n->ns = ns;
    cairn_list_add_tail(&s->waiting, &n->link);
    if (s->open != NULL)
        cairn__call_quiet(s->open, false);
    return false;
}

bool cairn__number_is_coming(const struct cairn_number *n)
{
    return n->session != NULL && n->session->sm.state == SESSION_OPENING;
}

const char *cairn__number_error(const struct cairn_number *n)
{
    return n->session->error.text;
}

void cairn__number_floor(struct cairn_number *n)
{
    if (n->session != NULL)
        n->rid.floor = number_of(n->session->numbered.next)->rid.seq;
}

void cairn__number_give(struct cairn_number *n)
{
    struct route_session *s = n->session;

    cairn_list_del(&n->link);
    if (s != NULL && n->rid.seq != 0)
        s->used_ns = routing_now(s->c->routing);
    n->session = NULL;
    n->rid.seq = 0;
    if (s != NULL && !cairn_list_is_empty(&s->waiting))
        session_wake(s, session_room(s), 0);
    else if (s != NULL && s->open != NULL)
        cairn__call_quiet(s->open, true);
}

void cairn__number_gone(struct cairn_number *n)
{
    struct route_session *s = n->session;
    struct cairn_link *l;

    n->session = NULL;
    if (s != NULL) {
        while ((l = cairn_list_pop(&s->numbered)) != NULL)
            CONTAINER_OF(l, struct cairn_number, link)->session = NULL;
        cairn_sm_move(&s->sm, SESSION_NONE);
        session_wake(s, UINT64_MAX, 0); /* the first one opens the next, the others wait for it */
    }
    cairn_list_del(&n->link);
    n->rid.seq = 0;
}

/* ---- the client ends ---- */

struct closing {
    struct cairn_rpc_call call;
    Cairn__Wire__RouterClose m;
    uint16_t place;
    struct cairn_routing *routing;
    uint32_t *left;
};

static void on_closed(struct cairn_rpc_call *call)
{
    struct closing *x = call->arg;

    route_member_put(x->routing, x->place);
    --*x->left;
}

/* Whoever leads its slot is told that it is not needed any more, if that is one with whom there is a connection. */
static bool session_close(struct cairn_routing *r, const struct route_session *s, struct closing *x)
{
    const struct cairn_route_slot *slot = cairn_route_map_slot(&r->map, s->slot);
    struct cairn_rpc_session *to = NULL;

    if (s->sm.state != SESSION_OPEN || s->opened_ns == NULL || slot->nholders == 0 ||
        !route_member_is_up(r, slot->holders[0]))
        return false;
    to = route_member_get(r, slot->holders[0]);
    if (to == NULL)
        return false;
    cairn__wire__router_close__init(&x->m);
    x->m.ns = s->opened_ns;
    x->m.slot = s->slot;
    x->m.epoch = s->epoch;
    x->m.pos = s->pos;
    x->place = slot->holders[0];
    x->routing = r;
    x->call = (struct cairn_rpc_call){ .dest = { .rpc = r->c->rpc, .session = to },
                                       .iface = &cairn_iface_router,
                                       .provider = CAIRN_PROVIDER_ROUTER,
                                       .method = CAIRN__WIRE__ROUTER_METHOD__ROUTER_CLOSE,
                                       .msg = &x->m.base,
                                       .timeout_ns = CLOSE_MS * CAIRN_NS_PER_MS,
                                       .done = on_closed,
                                       .arg = x };
    cairn_rpc_call_start(&x->call);
    return true;
}

void route_sessions_close(struct cairn_routing *r)
{
    struct closing *all = calloc(CLOSE_MAX, sizeof(*all));
    uint32_t n = 0, left = 0;

    for (uint32_t i = 0; all != NULL && i < r->sessions_room && n < CLOSE_MAX; i++) {
        if (r->sessions[i] == NULL)
            continue;
        all[n].left = &left;
        if (session_close(r, r->sessions[i], &all[n])) {
            left++;
            n++;
        }
    }
    while (left > 0)
        cairn_loop_turn(&r->c->loop, UINT64_MAX);
    free(all);
}

void route_sessions_fini(struct cairn_routing *r)
{
    for (uint32_t i = 0; i < r->sessions_room; i++) {
        struct route_session *s = r->sessions[i];

        if (s == NULL)
            continue;
        cairn_sm_move(&s->sm, SESSION_ENDED);
        cairn_sm_fini(&s->sm);
        free(s->opened_ns);
        free(s);
    }
    free(r->sessions);
}
