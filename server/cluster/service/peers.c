/* Messages of a worker's replicas to other nodes, and proposals to the coordinator.
 *
 * A session per node and worker, made when it is first wanted; its addresses are names perhaps, so the pool looks
 * them up. What cannot be sent now is dropped: the protocol says everything again. */
#include "sdk/core/base/log.h"
#include "server/cluster/service/fetch.h"

#include <stdio.h>
#include <stdlib.h>

enum { LOOK_NS = 1000000000, PEER_ADDRESS_BYTES = CAIRN_ADDR_TEXT_MAX };

struct side_peer {
    struct side_worker *w;
    uint64_t node;
    char addresses[CAIRN_WIRE_ADDRESSES_MAX][PEER_ADDRESS_BYTES];
    uint32_t naddresses;
    bool resolving, stale; /* stale: nobody wants it any more */
    struct cairn_job job;
    struct cairn_rpc_session_conf conf;
    struct cairn_rpc_session *session;
    uint64_t looked_ns;
};

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
    snprintf(p->conf.name, sizeof(p->conf.name), "%s", node->name);
    snprintf(p->conf.node, sizeof(p->conf.node), "%s", name);
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

struct cairn_rpc_session *side_session(struct side_worker *w, const struct cairn_wire_member *m)
{
    struct side_peer *p = peer_find(w, m->node);

    if (p != NULL && !peer_is_at(p, m)) {
        peer_drop(p);
        p = NULL;
    }
    if (p == NULL)
        peer_make(w, m);
    return p != NULL ? p->session : NULL;
}

static struct cairn_rpc_session *session_of(struct side_worker *w, uint64_t node)
{
    struct side_peer *p = peer_find(w, node);
    struct cairn_rpc_session *s = NULL;
    struct cairn_wire_member m;
    struct cairn_arena a;
    bool old = p != NULL && p->session != NULL && !cairn_rpc_session_is_up(p->session) &&
               cairn_loop_now(w->loop) - p->looked_ns >= LOOK_NS; /* it may be elsewhere by now */

    if (p != NULL && !old)
        return p->session;
    if (p != NULL)
        p->looked_ns = cairn_loop_now(w->loop);
    cairn_arena_init(&a, 1 << 16);
    if (cairn_cluster_records_member(w->c->records, node, &m, &a))
        s = side_session(w, &m);
    cairn_arena_reset(&a);
    return s;
}

bool cairn_cluster__peer(struct cairn_cluster *c, uint32_t worker, uint64_t node, struct cairn_rpc_dest *dest)
{
    *dest = (struct cairn_rpc_dest){ .rpc = c->rpcs[worker] };
    if (node == c->node)
        return true;
    dest->session = session_of(&c->side->workers[worker], node);
    return dest->session != NULL;
}

/* ---- messages ---- */

struct message {
    struct side_worker *w;
    struct cairn_rpc_call call;
    struct cairn_arena arena;
    uint8_t *payload;
    size_t len;
    struct cairn_change change; /* PROPOSE */
};

static void message_free(struct message *x)
{
    struct side_worker *w = x->w;

    w->ncalls--;
    w->call_bytes -= x->len;
    cairn_arena_reset(&x->arena);
    free(x->payload);
    free(x);
    side_worker_step(w);
}

static struct message *message_new(struct side_worker *w, uint64_t node, size_t len)
{
    struct cairn_rpc_dest dest;
    struct message *x;

    if (w->stopping || w->ncalls >= SIDE_MESSAGES_MAX || w->call_bytes + len > SIDE_MESSAGE_BYTES_MAX ||
        !cairn_cluster__peer(w->c, w->index, node, &dest))
        return NULL;
    x = malloc(sizeof(*x));
    if (x == NULL)
        return NULL;
    memset(&x->call, 0, offsetof(struct cairn_rpc_call, arena));
    x->w = w;
    x->payload = len > 0 ? malloc(len) : NULL;
    x->len = len;
    x->call.dest = dest;
    x->call.iface = &cairn_iface_cluster;
    x->call.provider = CAIRN_PROVIDER_CLUSTER;
    x->call.timeout_ns = SIDE_CALL_MS * CAIRN_NS_PER_MS;
    x->call.arg = x;
    cairn_arena_init(&x->arena, 1 << 20);
    w->ncalls++;
    w->call_bytes += len;
    if (len > 0 && x->payload == NULL) {
        message_free(x);
        return NULL;
    }
    return x;
}

static void on_sent(struct cairn_rpc_call *call)
{
    message_free(call->arg);
}

void side_send(void *arg, const struct cairn_repl_msg *m)
{
    struct side_worker *w = arg;
    struct iovec iov[CAIRN_APPEND_ENTRIES_MAX + 1];
    size_t len = m->len, at = 0;
    Cairn__Wire__ReplMessage *msg;
    struct message *x;
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->nentries; i++)
        len += m->entries[i].body_len;
    x = message_new(w, m->to.node, len);
    if (x == NULL)
        return;
    msg = cairn_wire_repl_put(m, &x->arena, iov, &n);
    if (msg == NULL) {
        message_free(x);
        return;
    }
    for (uint32_t i = 0; i < n; at += iov[i++].iov_len)
        memcpy(x->payload + at, iov[i].iov_base, iov[i].iov_len);
    x->call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL;
    x->call.msg = &msg->base;
    x->call.payload[0] = (struct iovec){ x->payload, len };
    x->call.payload_n = len > 0;
    x->call.done = on_sent;
    cairn_rpc_call_start(&x->call);
}

static void on_proposed(struct cairn_rpc_call *call)
{
    struct message *x = call->arg;
    struct side_worker *w = x->w;
    struct cairn_slot_record rec;
    enum cairn_verdict verdict;
    struct cairn_change c;

    if (call->rc == 0 && !w->stopping &&
        cairn_wire_verdict_get((const Cairn__Wire__ClusterVerdict *)call->reply, &c, &verdict, &rec, NULL) == 0)
        cluster_slots_on_verdict(w->slots, &c, verdict, &rec);
    message_free(x);
}

void side_propose(void *arg, const struct cairn_change *c)
{
    struct side_worker *w = arg;
    uint64_t node = atomic_load(&w->c->side->coordinator);
    struct message *x = node != 0 ? message_new(w, node, 0) : NULL;
    Cairn__Wire__ClusterChange *msg;

    if (x == NULL)
        return;
    msg = cairn_wire_change_put(c, &x->arena);
    if (msg == NULL) {
        message_free(x);
        return;
    }
    x->call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PROPOSE;
    x->call.msg = &msg->base;
    x->call.done = on_proposed;
    cairn_rpc_call_start(&x->call);
}

/* ---- messages that come ---- */

struct arrival {
    struct cairn_rpc_req *rq;
    struct side_worker *to;
    struct cairn_loop *origin;
    struct cairn_task task;
    int rc;
    struct cairn_err err;
};

static void take(struct arrival *x)
{
    struct cairn_repl_msg m;
    struct cairn_arena a;

    cairn_arena_init(&a, 1 << 20);
    x->rc = cairn_wire_repl_get((const Cairn__Wire__ReplMessage *)x->rq->msg, x->rq->payload, x->rq->payload_len, &a,
                                &m, &x->err);
    if (x->rc == 0 && !x->to->stopping && x->to->slots != NULL && cluster_fetch_admit(&x->to->fetches, &m)) {
        cluster_slots_receive(x->to->slots, &m);
        cluster_fetch_taken(&x->to->fetches, &m);
    }
    cairn_arena_reset(&a);
}

static void arrival_reply(void *arg)
{
    struct arrival *x = arg;

    if (x->rc == 0)
        cairn_rpc_reply(x->rq, 0, NULL, NULL, 0);
    else
        cairn_rpc_reply_err(x->rq, x->rc, "%s", x->err.text);
    free(x);
}

static void arrival_take(void *arg)
{
    struct arrival *x = arg;

    take(x);
    cairn_task_init(&x->task, arrival_reply, x);
    cairn_loop_post(x->origin, &x->task);
}

void cairn_cluster__side_on_repl(struct cairn_rpc_req *rq)
{
    struct cairn_cluster *c = rq->target->ctx;
    struct arrival here = { .rq = rq, .to = side_worker_of(c, ((const Cairn__Wire__ReplMessage *)rq->msg)->slot) }, *x;

    here.origin = cairn_rpc_loop(rq->rpc);
    if (here.to->loop == here.origin) {
        take(&here);
        if (here.rc == 0)
            cairn_rpc_reply(rq, 0, NULL, NULL, 0);
        else
            cairn_rpc_reply_err(rq, here.rc, "%s", here.err.text);
        return;
    }
    x = malloc(sizeof(*x));
    if (x == NULL || cairn_rpc_req_hold_payload(rq) != 0) {
        free(x);
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "a message of a replica");
        return;
    }
    *x = here;
    cairn_task_init(&x->task, arrival_take, x);
    cairn_loop_post(x->to->loop, &x->task);
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
