/* Requests to the cluster's service: those for the coordinator, which go home (cluster_hop.h), and those of any node. */
#include "server/cluster/service/cluster_hop.h"

#include "sdk/core/rpc/peer.h"
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/scrub.h"
#include "server/cluster/service/side.h"

#include "schema/common.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- REGISTER ---- */

static void serve_register(struct hop *h)
{
    cairn_coordinator_register(&h->home->coordinator, &h->ask);
}

static const ProtobufCMessage *answer_register(struct hop *h)
{
    Cairn__Wire__ClusterRegistered *w = cairn_wire_registered_put(&h->ask.p, &h->arena);

    return w != NULL ? &w->base : NULL;
}

static void handle_register(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterRegister *w = (const Cairn__Wire__ClusterRegister *)rq->msg;
    struct hop *h = cluster_hop_new(rq, serve_register, answer_register);
    int rc;

    if (h == NULL)
        return;
    rc = cairn_wire_register_get(w, &h->arena, &h->ask.p, &h->ask.told, &h->ask.err);
    if (rc == 0 && w->self == NULL)
        rc = cairn_err_set(&h->ask.err, CAIRN_E_INVAL, "REGISTER of a node without a name");
    if (rc == 0)
        rc = cairn_wire_member_get(w->self, &h->ask.self, &h->ask.err);
    if (rc == 0 && h->ask.self.node != h->ask.p.node)
        rc = cairn_err_set(&h->ask.err, CAIRN_E_INVAL, "REGISTER of node %" PRIx64 " by node %" PRIx64, h->ask.p.node,
                           h->ask.self.node);
    if (rc == 0 && h->ask.self.weight > CAIRN_CLUSTER_WEIGHT_MAX)
        rc = cairn_err_set(&h->ask.err, CAIRN_E_INVAL, "REGISTER of node %s: a weight of %u", h->ask.self.name,
                           h->ask.self.weight);
    cluster_hop_go(h, rc);
}

/* ---- HEARTBEAT ---- */

/* What the node of the heartbeat does not have, if that is one page, or nothing of it: not all nodes have the map from
 * here (grants.h), and our own looks into its records. */
static int fill_page(struct hop *h)
{
    struct cairn_cluster *c = &h->home->c;
    struct cairn_wire_page *page = &h->grant.page;
    uint64_t since = MIN(h->beat.revision, h->grant.upto);
    int rc;

    *page = (struct cairn_wire_page){ .map = h->grant.map };
    if (h->beat.map != h->grant.map) /* first it has to forget what it knows */
        return 0;
    page->revision = since;
    if (h->beat.who.node == c->node)
        return 0;
    if (!cairn_cluster_records_fit(c->records, since) ||
        (cairn_cluster_records_has_news(c->records, since) &&
         !cluster_page_may_go(&c->side->askers.grants, cairn_env_now_ns(&c->home->env)))) {
        page->more = true;
        return 0;
    }
    rc = cairn_cluster_records_page(c->records, since, true, &h->arena, page);
    return rc != 0 ? cairn_err_set(&h->ask.err, rc, "records") : 0;
}

/* M1: the grant is noted first, then what is to be learned for it: all that this node's records have by now. */
static void serve_heartbeat(struct hop *h)
{
    h->ask.rc = cairn_coordinator_heartbeat(&h->home->coordinator, &h->beat, &h->grant, &h->ask.err);
    if (h->ask.rc == 0) {
        h->grant.upto = cairn_cluster_records_revision(h->home->c.records);
        h->grant.ahead = h->beat.map == h->grant.map && h->beat.revision > h->grant.upto;
        h->ask.rc = fill_page(h);
    }
    cluster_hop_back(&h->ask);
}

static const ProtobufCMessage *answer_heartbeat(struct hop *h)
{
    Cairn__Wire__ClusterGrant *w = cairn_wire_grant_put(&h->grant, &h->arena);

    return w != NULL ? &w->base : NULL;
}

static void handle_heartbeat(struct cairn_rpc_req *rq)
{
    struct hop *h = cluster_hop_new(rq, serve_heartbeat, answer_heartbeat);

    if (h != NULL)
        cluster_hop_go(h,
                       cairn_wire_heartbeat_get((const Cairn__Wire__ClusterHeartbeat *)rq->msg, &h->beat, &h->ask.err));
}

/* ---- STOP ---- */

static void serve_stop(struct hop *h)
{
    cairn_coordinator_member_stops(&h->home->coordinator, &h->ask);
}

static const ProtobufCMessage *answer_stop(struct hop *h)
{
    Cairn__Wire__Empty *w = cairn_arena_alloc(&h->arena, sizeof(*w));

    if (w == NULL)
        return NULL;
    cairn__wire__empty__init(w);
    return &w->base;
}

static void handle_stop(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterStop *w = (const Cairn__Wire__ClusterStop *)rq->msg;
    struct hop *h = cluster_hop_new(rq, serve_stop, answer_stop);

    if (h == NULL)
        return;
    if (w->who != NULL) { /* otherwise it is nobody */
        h->ask.p.node = w->who->node;
        h->ask.p.inc = w->who->inc;
    }
    cluster_hop_go(h, 0);
}

/* ---- PROPOSE ---- */

static void serve_propose(struct hop *h)
{
    cairn_coordinator_propose(&h->home->coordinator, &h->ask);
}

static const ProtobufCMessage *answer_propose(struct hop *h)
{
    Cairn__Wire__ClusterVerdict *w = cairn_wire_verdict_put(&h->ask.change, h->ask.verdict, &h->ask.rec, &h->arena);

    return w != NULL ? &w->base : NULL;
}

static void handle_propose(struct cairn_rpc_req *rq)
{
    struct hop *h = cluster_hop_new(rq, serve_propose, answer_propose);

    if (h != NULL)
        cluster_hop_go(h,
                       cairn_wire_change_get((const Cairn__Wire__ClusterChange *)rq->msg, &h->ask.change, &h->ask.err));
}

/* ---- CREATE_CLASS, DRAIN ---- */

static void serve_class(struct hop *h)
{
    cairn_coordinator_create_class(&h->home->coordinator, &h->ask);
}

static const ProtobufCMessage *answer_class(struct hop *h)
{
    Cairn__Wire__ClusterClassMade *w = cairn_arena_alloc(&h->arena, sizeof(*w));

    if (w == NULL)
        return NULL;
    cairn__wire__cluster_class_made__init(w);
    w->slots = h->ask.nslots;
    w->revision = h->ask.revision;
    return &w->base;
}

static void handle_create_class(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterClass *w = (const Cairn__Wire__ClusterClass *)rq->msg;
    struct hop *h = cluster_hop_new(rq, serve_class, answer_class);

    if (h == NULL)
        return;
    h->of_people = true;
    if (!w->forwarded) {
        h->forward.class = *w;
        h->forward.class.forwarded = true;
    }
    h->ask.replicas = w->replicas;
    h->ask.min_insync = w->min_insync;
    cluster_hop_go(h, 0);
}

static void serve_drain(struct hop *h)
{
    cairn_coordinator_drain(&h->home->coordinator, &h->ask);
}

static void serve_lose(struct hop *h)
{
    cairn_coordinator_lose(&h->home->coordinator, &h->ask);
}

static const ProtobufCMessage *answer_drain(struct hop *h)
{
    Cairn__Wire__ClusterDrained *w = cairn_arena_alloc(&h->arena, sizeof(*w));

    if (w == NULL)
        return NULL;
    cairn__wire__cluster_drained__init(w);
    w->slots = h->ask.nslots;
    w->alone = h->ask.alone;
    return &w->base;
}

static void handle_drain(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterDrain *w = (const Cairn__Wire__ClusterDrain *)rq->msg;
    struct hop *h = cluster_hop_new(rq, w->lost ? serve_lose : serve_drain, answer_drain);

    if (h == NULL)
        return;
    h->of_people = true;
    snprintf(h->author, sizeof(h->author), "%s", w->author);
    if (!w->forwarded || !rq->who->node) { /* only a node speaks for another */
        snprintf(h->author, sizeof(h->author), "uid %" PRIu32, (uint32_t)rq->who->uid);
        h->forward.drain = *w;
        h->forward.drain.forwarded = true;
        h->forward.drain.author = h->author;
    }
    h->ask.p.node = w->node;
    h->ask.name = w->name;
    h->ask.author = h->author;
    h->ask.off = w->off;
    h->ask.force = w->force;
    cluster_hop_go(h,
                   w->lost && w->off ? cairn_err_set(&h->ask.err, CAIRN_E_INVAL, "who is lost is drained, or not") : 0);
}

/* ---- STATUS ---- */

static void serve_status(struct hop *h)
{
    json_t *o =
        cairn_coordinator_is_serving(&h->home->coordinator) ? cairn_coordinator_status(&h->home->coordinator) : NULL;

    h->ask.rc = o != NULL ? 0 : cairn_err_set(&h->ask.err, CAIRN_E_MOVED, "no node coordinates the cluster now");
    h->text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    cluster_hop_back(&h->ask);
}

static const ProtobufCMessage *answer_status(struct hop *h)
{
    Cairn__Wire__ClusterText *w = h->text != NULL ? cairn_arena_alloc(&h->arena, sizeof(*w)) : NULL;

    if (w == NULL)
        return NULL;
    cairn__wire__cluster_text__init(w);
    w->json = h->text;
    return &w->base;
}

static void handle_status(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterAsk *w = (const Cairn__Wire__ClusterAsk *)rq->msg;
    struct hop *h = cluster_hop_new(rq, serve_status, answer_status);

    if (h == NULL)
        return;
    h->of_people = true;
    if (!w->forwarded) {
        cairn__wire__cluster_ask__init(&h->forward.ask);
        h->forward.ask.forwarded = true;
    }
    cluster_hop_go(h, 0);
}

/* ---- of any node ---- */

/* Who holds the key and does not say that it is a node is a client: a service, or a command with --key. */
static bool is_node(const struct cairn_rpc_req *rq)
{
    return rq->who->node && (rq->peer == NULL || cairn_rpc_peer_info(rq->peer)->is_node);
}

/* A node that could ask another one as well is told so when many do; of a client its word is not taken for that. The
 * coordinator answers a node's last resort in any case. */
static bool may_ask(struct cairn_cluster *c, struct cairn_rpc_req *rq, const Cairn__Wire__ClusterFetch *w,
                    uint64_t since)
{
    struct cluster_askers *a = &c->side->askers;
    uint64_t now = cairn_loop_now(cairn_rpc_loop(rq->rpc));

    if (!cairn_cluster_records_has_news(c->records, since))
        return true;
    if (!is_node(rq))
        return cluster_client_may_ask(a, rq->peer, now);
    return !w->node || cluster_page_may_go(&a->nodes, now);
}

static void handle_records(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterFetch *w = (const Cairn__Wire__ClusterFetch *)rq->msg;
    struct cairn_cluster *c = rq->target->ctx;
    const Cairn__Wire__ClusterRecords *reply = NULL;
    uint64_t since = w->map == cairn_cluster_records_map(c->records) ? w->since : 0;
    struct cairn_wire_page page;
    struct cairn_arena arena;

    if (w->node && !rq->who->node) {
        cairn_rpc_reply_err(rq, CAIRN_E_AUTH, "records for a node: it has not proved that it holds the cluster's key");
        return;
    }
    if (!may_ask(c, rq, w, since)) {
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "many ask for the map");
        return;
    }
    cairn_arena_init(&arena, HOP_ARENA_BYTES_MAX);
    if (cairn_cluster_records_page(c->records, since, w->members, &arena, &page) == 0)
        reply = cairn_wire_page_put(&page, &arena);
    if (reply != NULL)
        cairn_rpc_reply(rq, 0, &reply->base, NULL, 0);
    else
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "records");
    cairn_arena_reset(&arena);
}

cairn_rpc_handler *const cluster_handlers[] = {
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL] = cairn_cluster__side_on_repl,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGISTER] = handle_register,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_HEARTBEAT] = handle_heartbeat,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PROPOSE] = handle_propose,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS] = handle_records,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PUBLISH] = cairn_cluster__side_on_publish,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_CREATE_CLASS] = handle_create_class,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_DRAIN] = handle_drain,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS] = handle_status,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGIONS] = cairn_cluster__side_on_regions,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ] = cairn_cluster__side_on_region_read,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_COMPARE] = cairn_cluster__side_on_compare,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_SCRUB] = cairn_cluster__side_on_scrub,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STOP] = handle_stop,
};
