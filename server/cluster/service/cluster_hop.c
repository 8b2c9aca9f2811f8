/* Requests on their way home and back: see cluster_hop.h. */
#include "server/cluster/service/cluster_hop.h"

#include "sdk/core/rpc/peer.h"

#include <stdlib.h>

/* ---- on to the coordinator ---- */

static void hop_free(struct hop *h)
{
    cairn_arena_reset(&h->arena);
    free(h->text);
    free(h);
}

/* Without the map store nobody is elected, and whoever was last is none. The caller's @rc, or what is the cause. */
static int hop_why(struct hop *h, int rc)
{
    struct cairn_map_health health;

    if (!h->of_people)
        return rc;
    cairn_map_store_health(h->home->c.map, &health);
    if (health.reachable)
        return rc;
    return cairn_err_set(&h->ask.err, CAIRN_E_BUSY,
                         "nobody coordinates the cluster: the map store cannot be reached: %s", health.err.text);
}

static void hop_on_forwarded(struct cairn_rpc_call *call)
{
    struct hop *h = call->arg;

    if (call->rc == 0)
        cairn_rpc_reply(h->rq, 0, call->reply, NULL, 0);
    else if (call->rc == CAIRN_E_UNREACHABLE) /* whom we took for the coordinator; another one may know better */
        cairn_rpc_reply_err(h->rq, hop_why(h, call->rc), "%s", h->ask.err.text);
    else
        cairn_rpc_reply_err(h->rq, call->rc, "%s", h->ask.err.text);
    hop_free(h);
}

/* At the origin. False: there is no way to it. */
static bool hop_forward(struct hop *h)
{
    struct cairn_rpc *rpc = h->rq->rpc;
    uint64_t left = cairn_rpc_req_left_ns(h->rq, cairn_loop_now(h->origin));

    if (h->forward.base.descriptor == NULL || h->holder == 0 || h->holder == h->home->c.node || left == 0 ||
        !cairn_cluster__peer(&h->home->c, cairn_rpc_index(rpc), h->holder, &h->call.dest))
        return false;
    h->call.iface = h->rq->target->iface;
    h->call.provider = h->rq->target->id;
    h->call.method = h->rq->method_no;
    h->call.msg = &h->forward.base;
    h->call.timeout_ns = left;
    h->call.done = hop_on_forwarded;
    h->call.arg = h;
    h->call.err = &h->ask.err;
    cairn_rpc_call_start(&h->call);
    return true;
}

/* ---- back ---- */

static void hop_reply(void *arg)
{
    struct hop *h = arg;

    if (h->ask.rc == CAIRN_E_MOVED && hop_forward(h))
        return;
    if (h->ask.rc == CAIRN_E_MOVED || h->ask.rc == CAIRN_E_BUSY)
        h->ask.rc = hop_why(h, h->ask.rc);
    if (h->ask.rc == 0)
        cairn_rpc_reply(h->rq, 0, h->reply, NULL, 0);
    else
        cairn_rpc_reply_err(h->rq, h->ask.rc, "%s", h->ask.err.text);
    hop_free(h);
}

/* The one that people know a node by: its group's (udp://) is of no use to a client. */
static const char *address_of(const struct cairn_wire_member *m)
{
    for (uint32_t i = 0; i < m->naddresses; i++) {
        if (strncmp(m->addresses[i], "udp://", strlen("udp://")) != 0)
            return m->addresses[i];
    }
    return "without an address";
}

/* At home: who does coordinate is said in words; programs look at the map's `coordinator`. */
static void explain_moved(struct hop *h)
{
    struct cairn_wire_member m;
    uint64_t node = cairn_cluster__coordinator(&h->home->c, &h->arena, &m);

    h->holder = node;
    if (node != 0)
        cairn_err_set(&h->ask.err, CAIRN_E_MOVED, "node %s (%s) coordinates the cluster", m.name, address_of(&m));
}

void cluster_hop_back(struct cairn_coordinator_ask *ask)
{
    struct hop *h = CONTAINER_OF(ask, struct hop, ask);

    if (ask->rc == CAIRN_E_MOVED)
        explain_moved(h);
    if (ask->rc == 0) {
        h->reply = h->answer(h);
        if (h->reply == NULL)
            ask->rc = cairn_err_set(&ask->err, CAIRN_E_NOMEM, "%s", h->rq->method->name);
    }
    if (h->origin == h->home->c.home) {
        hop_reply(h);
        return;
    }
    cairn_task_init(&h->task, hop_reply, h);
    cairn_loop_post(h->origin, &h->task);
}

/* ---- there ---- */

static void hop_arrive(void *arg)
{
    struct hop *h = arg;

    if (!h->home->coordinator_runs) {
        h->ask.rc = cairn_err_set(&h->ask.err, CAIRN_E_SHUTDOWN, "this node is no part of the cluster now");
        cluster_hop_back(&h->ask);
        return;
    }
    h->serve(h);
}

struct hop *cluster_hop_new(struct cairn_rpc_req *rq, void (*serve)(struct hop *h),
                            const ProtobufCMessage *(*answer)(struct hop *h))
{
    struct hop *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "%s", rq->method->name);
        return NULL;
    }
    h->home = home_of(rq->target->ctx);
    h->rq = rq;
    h->origin = cairn_rpc_loop(rq->rpc);
    h->serve = serve;
    h->answer = answer;
    h->ask.done = cluster_hop_back;
    cairn_arena_init(&h->arena, HOP_ARENA_BYTES_MAX);
    return h;
}

void cluster_hop_go(struct hop *h, int rc)
{
    if (rc != 0) {
        h->ask.rc = rc;
        hop_reply(h);
    } else if (h->origin == h->home->c.home) {
        hop_arrive(h);
    } else {
        cairn_task_init(&h->task, hop_arrive, h);
        cairn_loop_post(h->home->c.home, &h->task);
    }
}
