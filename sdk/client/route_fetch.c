/* The map, fetched: from whoever said that ours is old, else from each node in turn; by one request at a time,
 * however many calls want it.
 *
 *   IDLE ---> ASKING ---> RESTING ---> IDLE
 *   RESTING ---> ASKING        ASKING may repeat. ASKING may also go to IDLE, IDLE to ENDED.
 *
 * IDLE     nobody wants a newer map than there is.
 * ASKING   a node is asked for what has changed; again, as long as there is more. Only all of its pages make a revision:
 *          who has had some of them asks the next node from the beginning.
 * RESTING  an answer is here, or none came; who wants it again has to wait for a moment. So has who is in the middle of
 *          the pages, where a node gives only so many a second: it goes on there.
 * ENDED    the client ends. */
#include "sdk/client/routing_internal.h"

enum { FETCH_IDLE, FETCH_ASKING, FETCH_RESTING, FETCH_ENDED, FETCH_NR };
/* A link or a node that needs longer for a page than one is given gets more time with each failure. */
enum { REST_MS = 5, PAUSE_MS = 50, PAUSES_MAX = 100, AVOID_MS = 1000, DOUBLINGS_MAX = 4 };

#define TO(state) CAIRN_SM_TO(FETCH_##state)
static const struct cairn_sm_state fetch_states[FETCH_NR] = {
    [FETCH_IDLE] = { "IDLE", CAIRN_SM_INITIAL, TO(ASKING) | TO(ENDED) },
    [FETCH_ASKING] = { "ASKING", 0, TO(ASKING) | TO(RESTING) | TO(IDLE) },
    [FETCH_RESTING] = { "RESTING", 0, TO(IDLE) | TO(ASKING) },
    [FETCH_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};
#undef TO

static bool fetch_invariant(const struct cairn_sm *sm)
{
    const struct route_fetch *f = CONTAINER_OF(sm, const struct route_fetch, sm);

    return CAIRN_HOLDS(sm->state == FETCH_ASKING || f->goes_on || f->asked == -1) && /* or its session is held in vain */
           CAIRN_HOLDS(!f->goes_on || sm->state == FETCH_RESTING) &&
           CAIRN_HOLDS(sm->state != FETCH_IDLE || !f->wanted) &&
           CAIRN_HOLDS(cairn_timer_is_running(&f->timer) == (sm->state == FETCH_RESTING));
}

const struct cairn_sm_kind cairn_route_fetch_kind = { "route-fetch", fetch_states, FETCH_NR, fetch_invariant, 60000 };

static struct cairn_routing *routing_of_fetch(struct route_fetch *f)
{
    return CONTAINER_OF(f, struct cairn_routing, fetch);
}

/* Sessions that are held are given back before any move. */
static void fetch_let_go(struct route_fetch *f)
{
    if (f->asked >= 0)
        route_member_put(routing_of_fetch(f), (uint16_t)f->asked);
    f->asked = -1;
}

/* Who is asked when nobody is known to have a newer map: those that can be expected to answer, in turn, whoever
 * cairn_connect() found (-1) among them; when there are none, anybody. */
static int fetch_choose(struct cairn_routing *r)
{
    struct route_fetch *f = &r->fetch;
    bool first = cairn_rpc_session_is_up(r->c->session) && f->avoid_until_ns <= routing_now(r);
    uint32_t turn = f->turn++;
    int up;

    if (first && turn % 2 == 0)
        return -1;
    up = route_member_up(r, turn / 2);
    if (up >= 0 || first)
        return up;
    return turn % 2 > 0 && r->map.nnodes > 0 ? (int)(turn / 2 % r->map.nnodes) : -1;
}

static void fetch_failed(struct cairn_routing *r)
{
    struct route_fetch *f = &r->fetch;

    f->failures++;
    if (f->asked >= 0)
        route_member_avoid(r, (uint16_t)f->asked);
    else
        f->avoid_until_ns = routing_now(r) + AVOID_MS * CAIRN_NS_PER_MS;
}

static void fetch_ask(struct route_fetch *f)
{
    struct cairn_routing *r = routing_of_fetch(f);
    struct cairn_rpc_session *s = NULL;
    int place = f->next;

    if (place < 0)
        place = fetch_choose(r);
    if (place >= 0)
        s = route_member_get(r, (uint16_t)place);
    f->asked = s != NULL ? place : -1;
    f->next = -1;
    f->wanted = false;
    cairn__wire__cluster_fetch__init(&f->request);
    f->request.map = r->map.map;
    f->request.since = r->map.revision;
    f->request.members = true;
    f->pauses = 0;
    f->call.dest = (struct cairn_rpc_dest){ .rpc = r->c->rpc, .session = s != NULL ? s : r->c->session };
    f->call.timeout_ns = (uint64_t)ROUTE_UNREACHED_MS * CAIRN_NS_PER_MS << MIN(f->failures, (uint32_t)DOUBLINGS_MAX);
    cairn_timer_stop(&r->c->loop.env, &f->timer);
    cairn_sm_move(&f->sm, FETCH_ASKING);
    cairn_rpc_call_start(&f->call);
}

static void fetch_go_on(void *arg)
{
    struct route_fetch *f = arg;

    f->goes_on = false;
    f->request.map = routing_of_fetch(f)->map.map;
    f->request.since = f->upto;
    cairn_timer_stop(&routing_of_fetch(f)->c->loop.env, &f->timer);
    cairn_sm_move(&f->sm, FETCH_ASKING);
    cairn_rpc_call_start(&f->call);
}

static void on_rested(void *arg)
{
    struct route_fetch *f = arg;

    if (f->goes_on)
        fetch_go_on(f);
    else if (f->wanted)
        fetch_ask(f);
    else
        cairn_sm_move(&f->sm, FETCH_IDLE);
}

static void fetch_rest(struct route_fetch *f)
{
    struct cairn_routing *r = routing_of_fetch(f);

    fetch_let_go(f);
    if (cairn_timer_start(&r->c->loop.env, &f->timer, routing_now(r) + REST_MS * CAIRN_NS_PER_MS) == 0) {
        cairn_sm_move(&f->sm, FETCH_RESTING);
        return;
    }
    f->wanted = false; /* no memory: those who want it have timers, and come again */
    cairn_sm_move(&f->sm, FETCH_IDLE);
}

/* False: it has been so for long, or there is no memory for a timer. */
static bool fetch_pause(struct route_fetch *f)
{
    struct cairn_routing *r = routing_of_fetch(f);

    if (f->ends || f->pauses++ == PAUSES_MAX)
        return false;
    if (cairn_timer_start(&r->c->loop.env, &f->timer, routing_now(r) + PAUSE_MS * CAIRN_NS_PER_MS) != 0)
        return false;
    f->goes_on = true;
    cairn_sm_move(&f->sm, FETCH_RESTING);
    return true;
}

static void on_fetched(struct cairn_rpc_call *call)
{
    struct route_fetch *f = call->arg;
    struct cairn_routing *r = routing_of_fetch(f);
    const Cairn__Wire__ClusterRecords *m = (const Cairn__Wire__ClusterRecords *)call->reply;
    uint64_t map = r->map.map;
    bool told, taken = false, more = false;

    if (call->rc == CAIRN_E_BUSY && f->request.since > r->map.revision && fetch_pause(f))
        return;
    if (call->rc != 0 && call->rc != CAIRN_E_CANCELED)
        fetch_failed(r);
    if (call->rc == 0 && f->request.since > r->map.revision && m->copy != f->copy) {
        f->wanted = true; /* the node has begun anew with its own: what came before cannot be gone on with */
    } else if (call->rc == 0) {
        f->copy = m->copy;
        taken = cairn_route_map_take(&r->map, m) == 0;
        more = taken && m->more &&
               (m->revision > f->request.since || r->map.map != map); /* else it would go round in circles */
        f->upto = m->revision;
        f->pauses = 0;
        f->failures = more ? f->failures : 0;
    }
    told = call->rc == 0 && (m->n_slots > 0 || m->n_members > 0);
    if (more && !f->ends)
        cairn_env_defer(&r->c->loop.env, &f->task); /* the reply lives in the call that is to be started anew */
    else
        fetch_rest(f);
    if (told)
        routing_tell(r);
}

void route_fetch_init(struct cairn_routing *r)
{
    struct route_fetch *f = &r->fetch;

    f->next = f->asked = -1;
    f->call.iface = &cairn_iface_cluster;
    f->call.provider = CAIRN_PROVIDER_CLUSTER;
    f->call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS;
    f->call.msg = &f->request.base;
    f->call.done = on_fetched;
    f->call.arg = f;
    f->call.err = &f->err;
    cairn_task_init(&f->task, fetch_go_on, f);
    cairn_timer_init(&f->timer, on_rested, f);
    cairn_sm_init(&f->sm, &cairn_route_fetch_kind, &r->c->loop.machines);
}

void route_fetch_want(struct cairn_routing *r, int place)
{
    struct route_fetch *f = &r->fetch;

    if (place >= 0)
        f->next = place;
    if (f->sm.state == FETCH_IDLE)
        fetch_ask(f);
    else if (f->sm.state == FETCH_RESTING ||
             place >= 0) /* an answer that is on its way will do for those who know of none */
        f->wanted = true;
}

void route_fetch_fini(struct cairn_routing *r)
{
    struct route_fetch *f = &r->fetch;

    f->wanted = false;
    f->ends = true; /* whatever is there by now will do */
    if (f->goes_on) {
        f->goes_on = false;
        fetch_let_go(f);
    }
    cairn_rpc_call_cancel(&f->call);
    while (f->sm.state != FETCH_IDLE) {
        cairn_loop_turn(&r->c->loop, REST_MS * CAIRN_NS_PER_MS);
        f->wanted = false;
    }
    cairn_sm_move(&f->sm, FETCH_ENDED);
    cairn_sm_fini(&f->sm);
}
