/* Sessions of a worker with other nodes, and proposals to the coordinator.
 *
 * A session per node and worker, made when it is first wanted; its addresses are names perhaps, so the pool looks
 * them up. */
#include "server/cluster/service/peers.h"

#include <stdio.h>
#include <stdlib.h>

enum { LOOK_NS = 1000000000 };

/* ---- nodes ---- */

static uint32_t peer_place(const struct side_worker *w, uint64_t node)
{
    uint32_t lo = 0, hi = w->npeers;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (w->peers[mid]->node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct side_peer *peer_find(const struct side_worker *w, uint64_t node)
{
    uint32_t i = peer_place(w, node);

    return i < w->npeers && w->peers[i]->node == node ? w->peers[i] : NULL;
}

static bool peer_is_at(const struct side_peer *p, const struct cairn_wire_member *m)
{
    if (p->naddresses != m->naddresses || strcmp(p->conf.node, m->name) != 0)
        return false;
    for (uint32_t i = 0; i < m->naddresses; i++) {
        if (strcmp(p->addresses[i], m->addresses[i]) != 0)
            return false;
    }
    return true;
}

static void on_closed(void *arg)
{
    struct side_worker *w = arg;

    w->nclosing--;
    side_worker_step(w);
}

static void peer_drop(struct side_peer *p)
{
    struct side_worker *w = p->w;
    uint32_t i = peer_place(w, p->node);

    if (i < w->npeers && w->peers[i] == p) {
        memmove(w->peers + i, w->peers + i + 1, (w->npeers - i - 1) * sizeof(struct side_peer *));
        w->npeers--;
    }
    side_mail_drop(p);
    if (p->resolving) {
        p->stale = true;
        return;
    }
    if (p->session != NULL) {
        w->nclosing++;
        cairn_rpc_session_close(p->session, on_closed, w);
    }
    free(p);
}

/* On a pool thread. */
static void resolve(struct cairn_job *job)
{
    struct side_peer *p = job->arg;

    for (uint32_t i = 0; i < p->naddresses; i++) {
        if (cairn_addr_parse(p->addresses[i], &p->conf.addrs[p->conf.naddrs], NULL) == 0)
            p->conf.naddrs++;
    }
}

static void on_resolved(struct cairn_job *job)
{
    struct side_peer *p = job->arg;
    struct side_worker *w = p->w;

    w->nclosing--;
    p->resolving = false;
    if (p->stale || w->stopping) {
        peer_drop(p);
        side_worker_step(w);
        return;
    }
    if (p->conf.naddrs > 0)
        p->session = cairn_rpc_session_new(w->rpc, &p->conf, NULL);
    if (p->session == NULL)
        peer_drop(p); /* it is looked for again with the next message */
    else
        side_mail_go(p);
}

static void on_changed(struct cairn_rpc_session *s, bool up, const struct cairn_err *err, void *arg)
{
    (void)s;
    (void)err;
    if (up)
        side_mail_go(arg);
}

/* An address may be another's, or our own (that of a loopback interface is, on every machine): whoever is there has
 * to be the one we look for. Names are unique among those that live. */
static void conf_fill(struct side_peer *p, const char *name)
{
    const struct cairn_provider_node *node = p->w->c->env->node;

    p->conf.has_key = node->key != NULL;
    if (node->key != NULL)
        memcpy(p->conf.key, node->key, CAIRN_KEY_BYTES);
    p->conf.has_cluster_id = node->cluster_id != NULL;
    if (node->cluster_id != NULL)
        memcpy(p->conf.cluster_id, node->cluster_id, CAIRN_CLUSTER_ID_BYTES);
    p->conf.is_node = true;
    snprintf(p->conf.name, sizeof(p->conf.name), "%s", node->name);
    snprintf(p->conf.node, sizeof(p->conf.node), "%s", name);
    p->conf.changed = on_changed;
    p->conf.arg = p;
}

static void peer_make(struct side_worker *w, const struct cairn_wire_member *m)
{
    uint32_t i = peer_place(w, m->node);
    struct side_peer *p;

    if (w->stopping || m->naddresses == 0 || w->npeers >= SIDE_PEERS_MAX)
        return;
    if (w->npeers == w->peers_room) {
        uint32_t room = MAX(w->peers_room * 2, 16);
        struct side_peer **more = realloc(w->peers, room * sizeof(struct side_peer *));

        if (more == NULL)
            return;
        w->peers = more;
        w->peers_room = room;
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return;
    p->w = w;
    p->node = m->node;
    cairn_list_init(&p->mailing);
    for (uint32_t k = 0; k < m->naddresses; k++)
        snprintf(p->addresses[p->naddresses++], PEER_ADDRESS_BYTES, "%s", m->addresses[k]);
    conf_fill(p, m->name);
    p->looked_ns = cairn_loop_now(w->loop);
    p->job = (struct cairn_job){ .work = resolve, .done = on_resolved, .arg = p };
    if (cairn_pool_submit(w->c->env->pool, w->loop, &p->job) != 0) {
        free(p);
        return;
    }
    p->resolving = true;
    w->nclosing++;
    memmove(w->peers + i + 1, w->peers + i, (w->npeers - i) * sizeof(struct side_peer *));
    w->peers[i] = p;
    w->npeers++;
}

static struct side_peer *peer_at(struct side_worker *w, const struct cairn_wire_member *m)
{
    struct side_peer *p = peer_find(w, m->node);

    if (p != NULL && peer_is_at(p, m))
        return p;
    if (p != NULL)
        peer_drop(p);
    peer_make(w, m);
    return peer_find(w, m->node);
}

struct cairn_rpc_session *side_session(struct side_worker *w, const struct cairn_wire_member *m)
{
    struct side_peer *p = peer_at(w, m);

    if (p != NULL)
        p->only_asked = false;
    return p != NULL ? p->session : NULL;
}

struct side_peer *side_peer_of(struct side_worker *w, uint64_t node)
{
    struct side_peer *p = peer_find(w, node);
    struct cairn_wire_member m;
    struct cairn_arena a;
    bool old = p != NULL && p->session != NULL && !cairn_rpc_session_is_up(p->session) &&
               cairn_loop_now(w->loop) - p->looked_ns >= LOOK_NS; /* it may be elsewhere by now */

    if (p != NULL)
        p->only_asked = false;
    if (p != NULL && !old)
        return p;
    if (p != NULL)
        p->looked_ns = cairn_loop_now(w->loop);
    p = NULL;
    cairn_arena_init(&a, 1 << 16);
    if (cairn_cluster_records_member(w->c->records, node, &m, &a))
        p = peer_at(w, &m);
    cairn_arena_reset(&a);
    return p;
}

bool cairn_cluster__peer(struct cairn_cluster *c, uint32_t worker, uint64_t node, struct cairn_rpc_dest *dest)
{
    struct side_peer *p;

    *dest = (struct cairn_rpc_dest){ .rpc = c->rpcs[worker] };
    if (node == c->node)
        return true;
    p = side_peer_of(&c->side->workers[worker], node);
    dest->session = p != NULL ? p->session : NULL;
    return dest->session != NULL;
}

/* Anybody may be asked, so sessions that are for nothing else do not stay: with thousands of nodes each would come to
 * have one with each other. */
bool cairn_cluster__peer_to_ask(struct cairn_cluster *c, uint64_t node, struct cairn_rpc_dest *dest)
{
    struct side_worker *w = &c->side->workers[0];
    struct side_peer *p = w->asked != 0 && w->asked != node ? peer_find(w, w->asked) : NULL;
    bool only_asked, up;

    if (p != NULL && p->only_asked)
        peer_drop(p);
    p = peer_find(w, node);
    only_asked = p == NULL || p->only_asked;
    up = cairn_cluster__peer(c, 0, node, dest);
    w->asked = node;
    p = peer_find(w, node);
    if (p != NULL)
        p->only_asked = only_asked;
    return up;
}

/* ---- proposals ---- */

struct proposal {
    struct side_worker *w;
    struct cairn_rpc_call call;
    struct cairn_arena arena;
};

static void proposal_free(struct proposal *x)
{
    struct side_worker *w = x->w;

    w->ncalls--;
    cairn_arena_reset(&x->arena);
    free(x);
    side_worker_step(w);
}

static void on_proposed(struct cairn_rpc_call *call)
{
    struct proposal *x = call->arg;
    struct side_worker *w = x->w;
    struct cairn_slot_record rec;
    enum cairn_verdict verdict;
    struct cairn_change c;

    if (call->rc == 0 && !w->stopping &&
        cairn_wire_verdict_get((const Cairn__Wire__ClusterVerdict *)call->reply, &c, &verdict, &rec, NULL) == 0)
        cluster_slots_on_verdict(w->slots, &c, verdict, &rec);
    proposal_free(x);
}

/* What cannot be sent now is dropped: the replica proposes it again. */
void side_propose(void *arg, const struct cairn_change *c)
{
    struct side_worker *w = arg;
    uint64_t node = atomic_load(&w->c->side->coordinator);
    Cairn__Wire__ClusterChange *msg;
    struct cairn_rpc_dest dest;
    struct proposal *x;

    if (node == 0 || w->stopping || w->ncalls >= SIDE_MESSAGES_MAX || !cairn_cluster__peer(w->c, w->index, node, &dest))
        return;
    x = malloc(sizeof(*x));
    if (x == NULL)
        return;
    memset(&x->call, 0, offsetof(struct cairn_rpc_call, arena));
    x->w = w;
    w->ncalls++;
    cairn_arena_init(&x->arena, 1 << 20);
    msg = cairn_wire_change_put(c, &x->arena);
    if (msg == NULL) {
        proposal_free(x);
        return;
    }
    x->call.dest = dest;
    x->call.iface = &cairn_iface_cluster;
    x->call.provider = CAIRN_PROVIDER_CLUSTER;
    x->call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PROPOSE;
    x->call.msg = &msg->base;
    x->call.timeout_ns = SIDE_CALL_MS * CAIRN_NS_PER_MS;
    x->call.done = on_proposed;
    x->call.arg = x;
    cairn_rpc_call_start(&x->call);
}

/* ---- the end ---- */

void side_peers_stop(struct side_worker *w)
{
    while (w->npeers > 0)
        peer_drop(w->peers[w->npeers - 1]);
}

void side_peers_free(struct side_worker *w)
{
    free(w->peers);
}
