/* Ways of routed calls: see routing.h. */
#include "sdk/client/routing.h"

#include "sdk/client/hashed_internal.h"
#include "sdk/core/placement/placement.h"

#include "schema/repl.pb-c.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOTS_MAX = 4 << CAIRN_SLOT_BITS_MAX, /* four classes */
    WRITES_MAX = 192,                     /* of one session: nodes keep 256 between the lowest and the newest */
    MEMBER_ADDRS = 4,
    BACKOFF_FIRST_MS = 5,
    BACKOFF_MAX_MS = 500,
    TRY_MS = 2000,     /* an answer may take so long before another node is asked */
    UNREACHED_MS = 500 /* likewise while there is no connection */
};
#define TRY_BYTES_PER_S (UINT64_C(32) << 20) /* beside that, what a large value may take */

struct routing_member {
    uint64_t node;
    struct cairn_addr addrs[MEMBER_ADDRS];
    uint32_t naddrs;
    struct cairn_rpc_session *session; /* NULL: nothing was sent to it yet */
};

struct routing_slot {
    uint64_t epoch, primary;
    struct routing_session *session;
};

enum session_state { SESSION_NONE, SESSION_OPENING, SESSION_OPEN };

struct routing_session {
    struct cairn_routing *routing;
    enum session_state state;
    uint32_t slot;
    uint64_t epoch, pos, last_seq;
    struct cairn_link numbered; /* calls by ascending number; the first is the floor */
    struct cairn_link waiting;  /* calls that have none yet */
    Cairn__Wire__RouterOpened opened;
    struct cairn_error_info error;
};

struct cairn_routing {
    struct cairn *c;
    struct routing_member **members; /* by ascending node */
    uint32_t nmembers;
    struct routing_slot *slots;
    uint32_t nslots;
    uint64_t revision;
    struct cairn_link waiting; /* routed calls */

    /* the map is being fetched */
    struct cairn_rpc_call fetch;
    Cairn__Wire__ClusterFetch request;
    uint64_t asked;  /* which member; 0: whoever cairn_connect() found */
    uint64_t wanted; /* the member to be asked next: it has told us that our map is old */
    uint32_t turn;   /* likewise when none is wanted */
    struct cairn_err err;
    struct cairn_task task;
};

static uint64_t now_of(const struct cairn_routing *r)
{
    return cairn_loop_now(&r->c->loop);
}

/* ---- the map ---- */

static struct routing_member *member_find(struct cairn_routing *r, uint64_t node, uint32_t *at)
{
    uint32_t lo = 0, hi = r->nmembers;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (r->members[mid]->node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (at != NULL)
        *at = lo;
    return lo < r->nmembers && r->members[lo]->node == node ? r->members[lo] : NULL;
}

static struct routing_member *member_make(struct cairn_routing *r, uint64_t node)
{
    struct routing_member **more, *m;
    uint32_t at;

    m = member_find(r, node, &at);
    if (m != NULL || r->nmembers >= CAIRN_MEMBERS_MAX)
        return m;
    more = realloc(r->members, (r->nmembers + 1) * sizeof(struct routing_member *));
    m = more != NULL ? calloc(1, sizeof(*m)) : NULL;
    if (more != NULL)
        r->members = more;
    if (m == NULL)
        return NULL;
    m->node = node;
    memmove(r->members + at + 1, r->members + at, (r->nmembers - at) * sizeof(struct routing_member *));
    r->members[at] = m;
    r->nmembers++;
    return m;
}

/* A node that moved to other addresses is reached there at the next connection that we make; the one we have stays. */
static bool member_take(struct cairn_routing *r, const Cairn__Wire__MemberUpdate *u)
{
    struct routing_member *m = member_make(r, u->node);

    if (m == NULL)
        return false;
    m->naddrs = 0;
    for (size_t i = 0; i < u->n_addresses && m->naddrs < MEMBER_ADDRS; i++)
        m->naddrs += cairn_addr_parse(u->addresses[i], &m->addrs[m->naddrs], NULL) == 0;
    return true;
}

static bool slot_take(struct cairn_routing *r, const Cairn__Wire__SlotUpdate *u)
{
    const Cairn__Wire__SlotRecord *rec = u->record;

    if (rec == NULL || rec->primary == NULL || u->slot >= SLOTS_MAX)
        return true; /* of a kind that is not known here: calls to it find no way, and say so */
    if (u->slot >= r->nslots) {
        uint32_t n = MAX(u->slot + 1, 2 * r->nslots);
        struct routing_slot *more = realloc(r->slots, n * sizeof(*more));

        if (more == NULL)
            return false;
        memset(more + r->nslots, 0, (n - r->nslots) * sizeof(*more));
        r->slots = more;
        r->nslots = n;
    }
    if (rec->epoch > r->slots[u->slot].epoch) {
        r->slots[u->slot].epoch = rec->epoch;
        r->slots[u->slot].primary = rec->primary->node;
    }
    return true;
}

static bool map_take(struct cairn_routing *r, const Cairn__Wire__ClusterRecords *m)
{
    bool taken = true;

    for (size_t i = 0; taken && i < m->n_members; i++)
        taken = member_take(r, m->members[i]);
    for (size_t i = 0; taken && i < m->n_slots; i++)
        taken = slot_take(r, m->slots[i]);
    if (taken && m->revision > r->revision)
        r->revision = m->revision;
    return taken;
}

/* ---- sessions with nodes ---- */

static struct cairn_rpc_session *member_session(struct cairn_routing *r, struct routing_member *m)
{
    if (m->session == NULL && m->naddrs > 0)
        m->session = cairn_rpc_session_sibling(r->c->session, m->addrs, m->naddrs, NULL);
    return m->session;
}

/* ---- fetching the map ---- */

static void fetch_start(struct cairn_routing *r)
{
    struct routing_member *m = r->asked != 0 ? member_find(r, r->asked, NULL) : NULL;
    struct cairn_rpc_session *s = m != NULL ? member_session(r, m) : NULL;

    cairn__wire__cluster_fetch__init(&r->request);
    r->request.since = r->revision;
    r->request.members = true;
    r->fetch.dest = (struct cairn_rpc_dest){ .rpc = r->c->rpc, .session = s != NULL ? s : r->c->session };
    r->fetch.timeout_ns = UNREACHED_MS * CAIRN_NS_PER_MS;
    cairn_rpc_call_start(&r->fetch);
}

/* Whoever told us that it is old, or each node in turn. */
static void map_refresh(struct cairn_routing *r)
{
    if (cairn_rpc_call_is_running(&r->fetch) || !cairn_list_is_empty(&r->task.link))
        return;
    r->asked = r->wanted;
    r->wanted = 0;
    if (r->asked == 0 && r->nmembers > 0 && r->turn++ % (r->nmembers + 1) > 0)
        r->asked = r->members[r->turn % r->nmembers]->node;
    fetch_start(r);
}

static struct routing_slot *slot_of(struct cairn_routing *r, uint32_t slot)
{
    return slot < r->nslots ? &r->slots[slot] : NULL;
}

/* A record is newer than the one by which the call has tried. */
static bool route_has_news(struct cairn_routing *r, const struct cairn_route *route)
{
    const struct routing_slot *s = slot_of(r, route->slot);

    return s != NULL && s->epoch > route->epoch;
}

/* Whatever it waited for: it may come to wait for something else. */
static void route_wait_ends(struct cairn_call *call)
{
    struct cairn_route *route = &call->route;

    cairn_timer_stop(&call->c->loop.env, &route->timer);
    cairn_list_del(&route->waiting);
    if (route->rid.seq == 0) /* else it is among the session's numbered ones */
        cairn_list_del(&route->link);
    route->waits = false;
}

static void route_go_on(struct cairn_call *call)
{
    route_wait_ends(call);
    cairn__call_later(call);
}

static void on_fetched(struct cairn_rpc_call *rpc)
{
    struct cairn_routing *r = rpc->arg;
    const Cairn__Wire__ClusterRecords *m = (const Cairn__Wire__ClusterRecords *)rpc->reply;

    if (rpc->rc != 0)
        return; /* calls that wait have timers, and ask for it again, of another node */
    if (!map_take(r, m))
        return;
    if (m->more) {
        cairn_env_defer(&r->c->loop.env, &r->task);
        return;
    }
    CAIRN_LIST_FOREACH_SAFE (l, &r->waiting) {
        struct cairn_call *call = CONTAINER_OF(l, struct cairn_call, route.waiting);

        if (route_has_news(r, &call->route))
            route_go_on(call);
    }
}

static void on_fetch_more(void *arg)
{
    fetch_start(arg);
}

static struct cairn_routing *routing_of(struct cairn *c)
{
    struct cairn_routing *r = c->routing;

    if (r != NULL)
        return r;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->c = c;
    cairn_list_init(&r->waiting);
    cairn_task_init(&r->task, on_fetch_more, r);
    r->fetch.iface = &cairn_iface_cluster;
    r->fetch.provider = CAIRN_PROVIDER_CLUSTER;
    r->fetch.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS;
    r->fetch.msg = &r->request.base;
    r->fetch.done = on_fetched;
    r->fetch.arg = r;
    r->fetch.err = &r->err;
    c->routing = r;
    return r;
}

/* ---- waiting ---- */

static void on_route_timer(void *arg)
{
    struct cairn_call *call = arg;

    route_wait_ends(call);
    cairn__call_send(call);
}

/* False: no memory for a timer, so the call cannot wait. */
static bool route_wait(struct cairn_routing *r, struct cairn_call *call, uint64_t ns)
{
    struct cairn_route *route = &call->route;
    uint64_t at = MIN(now_of(r) + ns, call->deadline_ns);

    if (cairn_timer_start(&r->c->loop.env, &route->timer, at) != 0) {
        cairn__call_fail_later(call, CAIRN_E_NOMEM);
        return false;
    }
    route->waits = true;
    cairn_list_add_tail(&r->waiting, &route->waiting);
    return true;
}

static uint64_t backoff_ns(struct cairn_routing *r, uint32_t tries)
{
    uint64_t ms = MIN((uint64_t)BACKOFF_FIRST_MS << MIN(tries, 10U), (uint64_t)BACKOFF_MAX_MS);

    return ms * CAIRN_NS_PER_MS / 2 + cairn_env_random(&r->c->loop.env) % (ms * CAIRN_NS_PER_MS);
}

/* ---- numbers ---- */

static struct routing_session *session_of(struct cairn_routing *r, uint32_t slot)
{
    struct routing_slot *at = slot_of(r, slot);
    struct routing_session *s = at->session;

    if (s != NULL)
        return s;
    s = at->session = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->routing = r;
    s->slot = slot;
    cairn_list_init(&s->numbered);
    cairn_list_init(&s->waiting);
    return s;
}

static bool session_has_room(const struct routing_session *s)
{
    const struct cairn_call *first;

    if (cairn_list_is_empty(&s->numbered))
        return true;
    first = CONTAINER_OF(s->numbered.next, const struct cairn_call, route.link);
    return s->last_seq - first->route.rid.seq < WRITES_MAX;
}

/* Calls that may have numbers now try again; they take them in order. */
static void session_wake(struct routing_session *s)
{
    CAIRN_LIST_FOREACH_SAFE (l, &s->waiting) {
        struct cairn_call *call = CONTAINER_OF(l, struct cairn_call, route.link);

        route_go_on(call);
    }
}

static void on_session_opened(void *arg, int rc)
{
    struct routing_session *s = arg;

    s->state = rc == 0 ? SESSION_OPEN : SESSION_NONE;
    s->epoch = s->opened.epoch;
    s->pos = s->opened.pos;
    s->last_seq = 0;
    session_wake(s); /* after a failure the next one opens it, if it has time left */
}

static void open_answered(struct cairn_call *call)
{
    const Cairn__Wire__RouterOpened *r = (const Cairn__Wire__RouterOpened *)call->rpc.reply;
    struct routing_session *s = call->out;

    s->opened.epoch = r->epoch;
    s->opened.pos = r->pos;
    cairn__call_finish(call, r->epoch != 0 ? 0 : CAIRN_E_PROTO);
}

static void session_open(struct routing_session *s, struct cairn_ns *ns)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_call *call;

    o.error = &s->error;
    if (cairn__call_new(s->routing->c, &ns->h, &o, on_session_opened, s, &call) != 0)
        return; /* too many calls: those that wait for it try again */
    s->state = SESSION_OPENING;
    cairn__wire__router_open__init(&call->rq.open);
    call->rq.open.ns = ns->name;
    call->rq.open.slot = s->slot;
    call->out = s;
    call->inner = true;
    call->answered = open_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN);
    cairn__route_to(call, s->slot, NULL, false);
    cairn__call_go(call);
}

/* True: the call has its number. */
static bool number_take(struct cairn_routing *r, struct cairn_call *call)
{
    struct cairn_route *route = &call->route;
    struct routing_session *s = route->session;
    struct cairn_env *env = &r->c->loop.env;

    if (route->rid.seq != 0)
        return true;
    if (route->once) {
        route->rid.seq = cairn_env_random(env) | 1;
        return true;
    }
    s = session_of(r, route->slot);
    if (s == NULL) {
        cairn__call_fail_later(call, CAIRN_E_NOMEM);
        return false;
    }
    if (s->state == SESSION_OPEN && session_has_room(s)) {
        route->session = s;
        route->rid.session_epoch = s->epoch;
        route->rid.session_pos = s->pos;
        route->rid.seq = ++s->last_seq;
        cairn_list_add_tail(&s->numbered, &route->link);
        return true;
    }
    if (!route_wait(r, call, call->deadline_ns))
        return false;
    route->session = s;
    cairn_list_add_tail(&s->waiting, &route->link);
    if (s->state == SESSION_NONE)
        session_open(s, CONTAINER_OF(call->handle, struct cairn_ns, h));
    if (s->state == SESSION_NONE) { /* it could not even begin */
        route_wait_ends(call);
        route_wait(r, call, backoff_ns(r, route->tries++));
    }
    return false;
}

static void number_give(struct cairn_call *call)
{
    struct cairn_route *route = &call->route;
    struct routing_session *s = route->session;
    bool was_first;

    if (s == NULL)
        return;
    was_first = s->numbered.next == &route->link;
    cairn_list_del(&route->link);
    route->session = NULL;
    route->rid.seq = 0;
    if (was_first && !cairn_list_is_empty(&s->waiting) && s->state == SESSION_OPEN && session_has_room(s))
        session_wake(s);
}

/* The node does not know the session of this number any more. Those that bear others of it keep them: they will be told
 * so, too, and each knows whether it may have been done. */
static void session_lost(struct cairn_call *call)
{
    struct routing_session *s = call->route.session;

    if (s != NULL) {
        s->state = SESSION_NONE;
        CAIRN_LIST_FOREACH_SAFE (l, &s->numbered) {
            CONTAINER_OF(l, struct cairn_call, route.link)->route.session = NULL;
            cairn_list_del(l);
        }
    }
    call->route.rid.seq = 0;
}

/* ---- for call.c ---- */

void cairn__route_to(struct cairn_call *call, uint32_t slot, Cairn__Wire__RouterRid **rid_field, bool once)
{
    struct cairn_route *route = &call->route;

    memset(route, 0, sizeof(*route));
    route->on = true;
    route->slot = slot;
    route->once = once;
    cairn_list_init(&route->link);
    cairn_list_init(&route->waiting);
    cairn_timer_init(&route->timer, on_route_timer, call);
    if (rid_field != NULL) {
        route->writes = true;
        cairn__wire__router_rid__init(&route->rid);
        *rid_field = &route->rid;
    }
    call->has_steps = true;
}

static void number_floor(struct cairn_route *route)
{
    const struct cairn_call *first;

    if (route->session == NULL)
        return;
    first = CONTAINER_OF(route->session->numbered.next, const struct cairn_call, route.link);
    route->rid.floor = first->route.rid.seq;
}

bool cairn__route_find(struct cairn_call *call, uint64_t *timeout_ns)
{
    struct cairn_routing *r = routing_of(call->c);
    struct cairn_route *route = &call->route;
    struct routing_slot *at;
    struct routing_member *m;
    struct cairn_rpc_session *s;

    if (r == NULL) {
        cairn__call_fail_later(call, CAIRN_E_NOMEM);
        return false;
    }
    at = slot_of(r, route->slot);
    m = at != NULL && at->epoch != 0 ? member_find(r, at->primary, NULL) : NULL;
    s = m != NULL ? member_session(r, m) : NULL;
    if (s == NULL) {
        map_refresh(r);
        route_wait(r, call, backoff_ns(r, route->tries++));
        return false;
    }
    if (route->home != NULL && *route->home != 0 && *route->home != at->primary) {
        cairn__call_fail_answered(call, CAIRN_E_MOVED, "the node that had the first parts of it leads its slot no more");
        return false;
    }
    if (route->writes && !number_take(r, call))
        return false;
    if (route->home != NULL)
        *route->home = at->primary;
    number_floor(route);
    route->epoch = at->epoch;
    route->node = at->primary;
    call->rpc.dest.session = s;
    *timeout_ns = (cairn_rpc_session_is_up(s) ? MAX(route->try_ms, (uint32_t)TRY_MS) : (uint32_t)UNREACHED_MS) * CAIRN_NS_PER_MS +
                  call->expose_len * CAIRN_NS_PER_S / TRY_BYTES_PER_S;
    return true;
}

bool cairn__route_again(struct cairn_call *call)
{
    struct cairn_routing *r = call->c->routing;
    struct cairn_route *route = &call->route;
    int rc = call->rpc.rc;

    if (call->canceled || now_of(r) >= call->deadline_ns)
        return false;
    switch (rc) {
    case CAIRN_E_GONE:
        session_lost(call);
        if (route->unsure) {
            call->rpc.rc = cairn_err_set(&call->err, CAIRN_E_UNKNOWN,
                                         "it may have been done: the node that had it forgot who asked before it answered");
            return false;
        }
        cairn__call_later(call); /* it was not: the same again, in a new session */
        return true;
    case CAIRN_E_MOVED:
        r->wanted = r->slots[route->slot].primary;
        break;
    case CAIRN_E_BUSY:
    case CAIRN_E_CLOSED:
    case CAIRN_E_SHUTDOWN:
    case CAIRN_E_TIMEOUT:
    case CAIRN_E_UNKNOWN:
    case CAIRN_E_UNREACHABLE:
        break;
    default:
        return false;
    }
    route->unsure = true;
    map_refresh(r);
    route_wait(r, call, backoff_ns(r, route->tries++));
    return true;
}

void cairn__route_over(struct cairn_call *call)
{
    struct cairn_route *route = &call->route;

    cairn_timer_stop(&call->c->loop.env, &route->timer);
    cairn_list_del(&route->waiting);
    number_give(call);
    call->rpc.dest.session = call->c->session;
    route->on = false;
}

void cairn__route_cancel(struct cairn_call *call)
{
    if (call->route.waits)
        route_go_on(call);
}

uint32_t cairn__route_other(struct cairn *c, uint32_t first, uint32_t n, const uint64_t *nodes, uint32_t nnodes)
{
    for (uint32_t i = first; i < first + n; i++) {
        const struct routing_slot *s = c->routing != NULL ? slot_of(c->routing, i) : NULL;
        bool known = false;

        for (uint32_t k = 0; s != NULL && k < nnodes && !known; k++)
            known = nodes[k] == s->primary;
        if (!known)
            return i;
    }
    return UINT32_MAX;
}

void cairn__route_refresh(struct cairn *c)
{
    if (c->routing != NULL)
        map_refresh(c->routing);
}

/* ---- the end ---- */

static void on_member_closed(void *arg)
{
    --*(uint32_t *)arg;
}

void cairn__routing_free(struct cairn *c)
{
    struct cairn_routing *r = c->routing;
    uint32_t open = 0;

    if (r == NULL)
        return;
    CAIRN_ASSERT(cairn_list_is_empty(&r->waiting));
    cairn_rpc_call_cancel(&r->fetch);
    while (cairn_rpc_call_is_running(&r->fetch) || !cairn_list_is_empty(&r->task.link))
        cairn_loop_turn(&c->loop, UINT64_MAX);
    for (uint32_t i = 0; i < r->nmembers; i++) {
        if (r->members[i]->session == NULL)
            continue;
        open++;
        cairn_rpc_session_close(r->members[i]->session, on_member_closed, &open);
    }
    while (open > 0)
        cairn_loop_turn(&c->loop, UINT64_MAX);
    for (uint32_t i = 0; i < r->nmembers; i++)
        free(r->members[i]);
    for (uint32_t i = 0; i < r->nslots; i++)
        free(r->slots[i].session);
    free(r->members);
    free(r->slots);
    free(r);
    c->routing = NULL;
}
