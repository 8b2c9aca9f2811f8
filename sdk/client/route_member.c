/* Sessions with nodes: made when a call goes there, closed when none has gone there for a minute, and never more than
 * so many.
 *
 *   ABSENT ---> OPEN ---> CLOSING ---> ABSENT        ABSENT may also go to ENDED.
 *
 * ABSENT   there is none.
 * OPEN     it is there for whoever asks; it connects, and connects again, by itself (rpc-session). Without users it
 *          waits in line to be closed: for a new one's sake, for its age, or since the node is now reached by other
 *          addresses.
 * CLOSING  it is being closed: nobody uses it.
 * ENDED    the client ends.
 *
 * A session is made of those addresses that are known at once: unix sockets and numbers. Hosts' names are looked up, by
 * a thread, only where there is nothing else, or that led nowhere. */
#include "sdk/client/routing_internal.h"
#include "sdk/core/net/lookup.h"

#include <stdlib.h>
#include <string.h>

enum { MEMBER_ABSENT, MEMBER_OPEN, MEMBER_CLOSING, MEMBER_ENDED, MEMBER_NR };
enum { IDLE_S = 60, AVOID_MS = 1000 };

#define TO(state) CAIRN_SM_TO(MEMBER_##state)
static const struct cairn_sm_state member_states[MEMBER_NR] = {
    [MEMBER_ABSENT] = { "ABSENT", CAIRN_SM_INITIAL, TO(OPEN) | TO(ENDED) },
    [MEMBER_OPEN] = { "OPEN", 0, TO(CLOSING) },
    [MEMBER_CLOSING] = { "CLOSING", 0, TO(ABSENT) },
    [MEMBER_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};
#undef TO

static bool member_invariant(const struct cairn_sm *sm)
{
    const struct route_member *m = CONTAINER_OF(sm, const struct route_member, sm);
    const struct route_members *all = &m->routing->members;

    return CAIRN_HOLDS((m->session != NULL) == (sm->state == MEMBER_OPEN)) &&
           CAIRN_HOLDS(m->users == 0 || sm->state == MEMBER_OPEN) &&
           CAIRN_HOLDS(sm->state == MEMBER_OPEN || cairn_list_is_empty(&m->idle)) &&
           CAIRN_HOLDS(all->nopen <= all->open_max) && CAIRN_HOLDS(sm->state != MEMBER_ENDED || m->lookup == NULL);
}

const struct cairn_sm_kind cairn_route_member_kind = { "route-member", member_states, MEMBER_NR, member_invariant, 0 };

static void on_idle_timer(void *arg);

void route_members_init(struct cairn_routing *r)
{
    r->members.open_max = ROUTE_SESSIONS_MAX;
    r->members.idle_ns = IDLE_S * CAIRN_NS_PER_S;
    cairn_list_init(&r->members.idle);
    cairn_timer_init(&r->members.timer, on_idle_timer, r);
}

static struct route_member *member_make(struct cairn_routing *r, uint16_t place)
{
    struct route_members *all = &r->members;
    struct route_member *m;

    if (place >= all->room) {
        uint32_t room = MAX(2 * all->room, (uint32_t)place + 16);
        struct route_member **more = realloc(all->all, room * sizeof(struct route_member *));

        if (more == NULL)
            return NULL;
        for (uint32_t i = all->room; i < room; i++)
            more[i] = NULL;
        all->all = more;
        all->room = room;
    }
    m = all->all[place];
    if (m != NULL)
        return m;
    m = all->all[place] = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->routing = r;
    m->place = place;
    cairn_list_init(&m->idle);
    cairn_sm_init(&m->sm, &cairn_route_member_kind, &r->c->loop.machines);
    return m;
}

/* ---- closing ---- */

static void on_closed(void *arg)
{
    struct route_member *m = arg;

    m->routing->members.nopen--;
    m->routing->members.nclosing--;
    cairn_sm_move(&m->sm, MEMBER_ABSENT);
}

static void member_close(struct route_member *m)
{
    struct cairn_rpc_session *s = m->session;

    CAIRN_ASSERT(m->users == 0);
    cairn_list_del(&m->idle);
    m->session = NULL;
    m->routing->members.nclosing++;
    cairn_sm_move(&m->sm, MEMBER_CLOSING);
    cairn_rpc_session_close(s, on_closed, m);
}

/* Without memory for a timer they are closed when others want their places. */
static void idle_watch(struct cairn_routing *r)
{
    struct route_members *all = &r->members;
    const struct route_member *first;

    if (cairn_list_is_empty(&all->idle) || cairn_timer_is_running(&all->timer))
        return;
    first = CONTAINER_OF(all->idle.next, const struct route_member, idle);
    (void)cairn_timer_start(&r->c->loop.env, &all->timer, first->idle_since_ns + all->idle_ns);
}

static void on_idle_timer(void *arg)
{
    struct cairn_routing *r = arg;
    uint64_t now = routing_now(r);

    CAIRN_LIST_FOREACH_SAFE (l, &r->members.idle) {
        struct route_member *m = CONTAINER_OF(l, struct route_member, idle);

        if (m->idle_since_ns + r->members.idle_ns > now)
            break;
        member_close(m);
    }
    idle_watch(r);
}

/* ---- opening ---- */

/* Those that are known at once into @addrs; the others, by name, are @names. Returns how many are known. */
static uint32_t addresses_of(const struct cairn_routing *r, uint16_t place, struct cairn_addr addrs[ROUTE_ADDRS_MAX],
                             const char *names[ROUTE_ADDRS_MAX], uint32_t *nnames)
{
    const char *texts[ROUTE_ADDRS_MAX];
    uint32_t n = cairn_route_map_addresses(&r->map, place, texts), naddrs = 0;

    *nnames = 0;
    for (uint32_t i = 0; i < n; i++) {
        int rc = cairn_addr_parse_numeric(texts[i], &addrs[naddrs], NULL);

        naddrs += rc == 0;
        if (rc == CAIRN_E_NOTFOUND)
            names[(*nnames)++] = texts[i];
    }
    return naddrs;
}

static void lookup_end(struct route_member *m)
{
    cairn_lookup_drop(m->lookup);
    m->lookup = NULL;
}

/* Its names, unless they are looked up already, or were not known a moment ago. */
static void lookup_begin(struct route_member *m, const char *names[], uint32_t nnames)
{
    struct route_members *all = &m->routing->members;

    if (m->lookup != NULL || nnames == 0 || routing_now(m->routing) < m->look_again_ns)
        return;
    if (all->lookups == NULL)
        all->lookups = cairn_lookups_new();
    if (all->lookups != NULL)
        m->lookup = cairn_lookup_start(all->lookups, names, nnames);
}

/* What its names lead to, as far as that is known by now. */
static uint32_t lookup_found(struct route_member *m, struct cairn_addr *found)
{
    uint32_t n = 0;

    if (m->lookup == NULL || !cairn_lookup_is_over(m->lookup, found, &n) || n > 0)
        return n;
    lookup_end(m);
    route_member_avoid(m->routing, m->place);
    m->look_again_ns = routing_now(m->routing) + AVOID_MS * CAIRN_NS_PER_MS;
    return 0;
}

static bool is_home(const struct cairn_routing *r, uint16_t place)
{
    const char *name = r->map.nodes[place]->name;

    return name[0] != '\0' && strcmp(cairn_rpc_session_facts(r->c->session)->node, name) == 0;
}

bool route_member_is_nowhere(const struct cairn_routing *r, uint16_t place)
{
    const char *texts[ROUTE_ADDRS_MAX];

    /* Of a name that is not known here there may be more to know in a moment. */
    return r->map.nodes[place]->revision != 0 && cairn_route_map_addresses(&r->map, place, texts) == 0 &&
           !is_home(r, place);
}

/* Its addresses led nowhere a moment ago. */
static bool member_is_lost(const struct cairn_routing *r, const struct route_member *m)
{
    return m->edition == r->map.nodes[m->place]->edition && routing_now(r) < m->look_again_ns;
}

bool route_member_is_in_line(const struct cairn_routing *r, uint16_t place)
{
    const struct route_member *m = place < r->members.room ? r->members.all[place] : NULL;

    if (m == NULL || m->sm.state == MEMBER_OPEN || m->lookup != NULL || member_is_lost(r, m))
        return false;
    return m->sm.state == MEMBER_CLOSING || r->members.nopen >= r->members.open_max;
}

/* The map says something else of where it is than when that was looked at last. */
static void member_follow(struct route_member *m, uint32_t edition)
{
    if (m->edition == edition)
        return;
    lookup_end(m);
    m->look_again_ns = 0;
    m->edition = edition;
}

/* Whoever cairn_connect() found is where it was found, if it says nothing better. */
static bool member_open(struct cairn_routing *r, struct route_member *m)
{
    const struct cairn_route_node *node = r->map.nodes[m->place];
    struct route_members *all = &r->members;
    struct cairn_addr addrs[ROUTE_ADDRS_MAX];
    const char *names[ROUTE_ADDRS_MAX];
    uint32_t nnames, naddrs, nfound;

    member_follow(m, node->edition);
    naddrs = addresses_of(r, m->place, addrs, names, &nnames);
    nfound = lookup_found(m, addrs + naddrs);
    if (naddrs + nfound == 0 && !is_home(r, m->place)) {
        lookup_begin(m, names, nnames);
        return false;
    }
    if (all->nopen >= all->open_max) {
        if (all->nclosing == 0 && !cairn_list_is_empty(&all->idle))
            member_close(CONTAINER_OF(all->idle.next, struct route_member, idle));
        return false; /* its place is free in a moment */
    }
    m->session = cairn_rpc_session_sibling(r->c->session, addrs, naddrs + nfound, node->name, NULL);
    if (m->session == NULL)
        return false;
    m->by_name = nfound > 0;
    if (nfound > 0)
        lookup_end(m);
    all->nopen++;
    cairn_sm_move(&m->sm, MEMBER_OPEN);
    return true;
}

/* Where there is another way now, its users end, and no others come. */
static bool member_is_outdated(struct cairn_routing *r, struct route_member *m)
{
    struct cairn_addr addrs[ROUTE_ADDRS_MAX];
    const char *names[ROUTE_ADDRS_MAX];
    struct cairn_err why;
    uint32_t nnames;

    if (m->edition != r->map.nodes[m->place]->edition)
        return true;
    if (m->by_name || cairn_rpc_session_is_up(m->session))
        return false;
    if (lookup_found(m, addrs) > 0)
        return true;
    cairn_rpc_session_why(m->session, &why);
    if (why.code != 0) {
        (void)addresses_of(r, m->place, addrs, names, &nnames);
        lookup_begin(m, names, nnames);
    }
    return false;
}

struct cairn_rpc_session *route_member_get(struct cairn_routing *r, uint16_t place)
{
    struct route_member *m = place < r->members.room ? r->members.all[place] : NULL;

    if (m == NULL)
        m = member_make(r, place);
    if (m == NULL)
        return NULL;
    if (m->sm.state == MEMBER_OPEN && member_is_outdated(r, m)) {
        if (m->users == 0)
            member_close(m);
        else if (!cairn_rpc_session_is_up(m->session))
            return NULL;
    }
    if (m->sm.state != MEMBER_OPEN && (m->sm.state != MEMBER_ABSENT || !member_open(r, m)))
        return NULL;
    if (m->users++ == 0)
        cairn_list_del(&m->idle);
    return m->session;
}

void route_member_put(struct cairn_routing *r, uint16_t place)
{
    struct route_member *m = r->members.all[place];

    CAIRN_ASSERT(m->users > 0);
    if (--m->users > 0)
        return;
    m->idle_since_ns = routing_now(r);
    cairn_list_add_tail(&r->members.idle, &m->idle);
    idle_watch(r);
}

void route_member_avoid(struct cairn_routing *r, uint16_t place)
{
    struct route_member *m = member_make(r, place);

    if (m != NULL)
        m->avoid_until_ns = routing_now(r) + AVOID_MS * CAIRN_NS_PER_MS;
}

bool route_member_is_usable(void *routing, uint16_t place)
{
    const struct cairn_routing *r = routing;
    const struct route_member *m = place < r->members.room ? r->members.all[place] : NULL;

    return m == NULL || m->avoid_until_ns <= routing_now(r);
}

bool route_member_is_up(const struct cairn_routing *r, uint16_t place)
{
    const struct route_member *m = place < r->members.room ? r->members.all[place] : NULL;

    return m != NULL && m->session != NULL && cairn_rpc_session_is_up(m->session) &&
           m->avoid_until_ns <= routing_now(r);
}

int route_member_up(const struct cairn_routing *r, uint32_t from)
{
    for (uint32_t i = 0; i < r->members.room; i++) {
        uint16_t place = (uint16_t)((from + i) % r->members.room);

        if (route_member_is_up(r, place))
            return place;
    }
    return -1;
}

void route_members_fini(struct cairn_routing *r)
{
    struct route_members *all = &r->members;

    for (uint32_t i = 0; i < all->room; i++) {
        if (all->all[i] != NULL && all->all[i]->sm.state == MEMBER_OPEN)
            member_close(all->all[i]);
    }
    while (all->nopen > 0)
        cairn_loop_turn(&r->c->loop, UINT64_MAX);
    cairn_timer_stop(&r->c->loop.env, &all->timer);
    for (uint32_t i = 0; i < all->room; i++) {
        if (all->all[i] == NULL)
            continue;
        lookup_end(all->all[i]);
        cairn_sm_move(&all->all[i]->sm, MEMBER_ENDED);
        cairn_sm_fini(&all->all[i]->sm);
        free(all->all[i]);
    }
    cairn_lookups_free(all->lookups);
    free(all->all);
}
