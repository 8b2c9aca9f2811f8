/* A region's way here, as fetch_core.h decides it: the calls to our own extent provider and to the node that has it,
 * the memory that it writes into, and what was exposed of that. On the worker's loop. */
#include "server/cluster/service/fetch.h"

#include "sdk/core/bulk/bulk.h"

#include "schema/extent.pb-c.h"

#include <stdlib.h>

enum {
    FETCH_LOCAL_MS = 30000, /* for our own extent provider: then it is told that nobody waits */
    FETCH_READ_MS = 10000,
};

struct side_fetch {
    struct cluster_fetch f;
    struct side_worker *w;
    uint8_t *buf;
    uint32_t *crcs;
    struct cairn_bulk_region exposed;
    union {
        Cairn__Wire__ExtentId id;
        Cairn__Wire__ExtentRemove remove;
        Cairn__Wire__ClusterRegion read;
        Cairn__Wire__ExtentPut put;
    } msg;
    struct cairn_rpc_call call;
};

static struct side_fetch *side_of(struct cluster_fetch *f)
{
    return CONTAINER_OF(f, struct side_fetch, f);
}

static struct side_worker *worker_of(struct cluster_fetches *s)
{
    return CONTAINER_OF(s, struct side_worker, fetches);
}

/* ---- one ---- */

static struct cluster_fetch *op_make(struct cluster_fetches *s)
{
    struct side_worker *w = worker_of(s);
    struct side_fetch *x = w->extent != NULL ? calloc(1, sizeof(*x)) : NULL;

    if (x == NULL)
        return NULL;
    x->w = w;
    return &x->f;
}

static void op_give_back(struct cluster_fetch *f)
{
    struct side_fetch *x = side_of(f);

    cairn_bulk_conceal(&x->exposed);
    free(x->crcs);
    x->crcs = NULL;
    free(x->buf);
    x->buf = NULL;
}

static void op_over(struct cluster_fetch *f)
{
    struct side_fetch *x = side_of(f);
    struct side_worker *w = x->w;

    free(x);
    side_holds_check(w);
    side_worker_step(w);
}

static void op_cancel(struct cluster_fetch *f)
{
    cairn_rpc_call_cancel(&side_of(f)->call);
}

/* ---- calls ---- */

/* Of @target, or (NULL) of another node's service. */
static void call_prepare(struct side_fetch *x, const struct cairn_rpc_target *target, uint32_t method,
                         const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call))
{
    memset(&x->call, 0, offsetof(struct cairn_rpc_call, arena));
    x->f.err.text[0] = '\0';
    x->call.dest.rpc = x->w->rpc;
    x->call.iface = target != NULL ? target->iface : &cairn_iface_cluster;
    x->call.provider = target != NULL ? target->id : CAIRN_PROVIDER_CLUSTER;
    x->call.method = (uint16_t)method;
    x->call.msg = msg;
    x->call.timeout_ns = (target != NULL ? FETCH_LOCAL_MS : FETCH_READ_MS) * CAIRN_NS_PER_MS;
    x->call.done = done;
    x->call.arg = x;
    x->call.err = &x->f.err;
}

static void on_looked(struct cairn_rpc_call *call)
{
    struct side_fetch *x = call->arg;
    const Cairn__Wire__ExtentStatReply *m = (const Cairn__Wire__ExtentStatReply *)call->reply;
    struct fetch_found found = { 0 };

    if (call->rc == 0)
        found = (struct fetch_found){
            .owner = m->owner, .length = m->length, .sealed = m->sealed, .damaged = m->quarantined
        };
    cluster_fetch_on_looked(&x->f, call->rc, &found);
}

static void op_look(struct cluster_fetch *f)
{
    struct side_fetch *x = side_of(f);

    cairn__wire__extent_id__init(&x->msg.id);
    x->msg.id.id = f->want.region.id;
    call_prepare(x, x->w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT, &x->msg.id.base, on_looked);
    cairn_rpc_call_start(&x->call);
}

static void on_cleared(struct cairn_rpc_call *call)
{
    struct side_fetch *x = call->arg;
    const Cairn__Wire__KvStatuses *m = (const Cairn__Wire__KvStatuses *)call->reply;
    int rc = call->rc;

    if (rc == 0 && m->n_status > 0 && m->status[0] != CAIRN_E_NOTFOUND)
        rc = m->status[0];
    cluster_fetch_on_cleared(&x->f, rc);
}

static void op_clear(struct cluster_fetch *f)
{
    struct side_fetch *x = side_of(f);

    cairn__wire__extent_remove__init(&x->msg.remove);
    x->msg.remove.ids = &f->want.region.id;
    x->msg.remove.n_ids = 1;
    x->msg.remove.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    call_prepare(x, x->w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, &x->msg.remove.base, on_cleared);
    cairn_rpc_call_start(&x->call);
}

/* ---- bytes ---- */

static int fetch_expose(struct side_fetch *x, uint32_t rights)
{
    cairn_bulk_conceal(&x->exposed);
    return cairn_bulk_expose(x->w->rpc, x->buf, x->f.want.region.len, rights, &x->exposed);
}

static bool is_answer(int rc)
{
    return rc != CAIRN_E_TIMEOUT && rc != CAIRN_E_CANCELED && rc != CAIRN_E_CLOSED && rc != CAIRN_E_UNREACHABLE &&
           rc != CAIRN_E_UNKNOWN;
}

static int take_crcs(struct side_fetch *x, const Cairn__Wire__ExtentReadReply *m)
{
    if (m->length != x->f.want.region.len || m->n_crcs != cairn_record_ncrcs(x->f.want.region.len))
        return CAIRN_E_PROTO;
    x->crcs = malloc(m->n_crcs * sizeof(*x->crcs));
    if (x->crcs == NULL)
        return CAIRN_E_NOMEM;
    memcpy(x->crcs, m->crcs, m->n_crcs * sizeof(*x->crcs));
    return 0;
}

static void on_read(struct cairn_rpc_call *call)
{
    struct side_fetch *x = call->arg;
    int rc = call->rc;

    if (is_answer(rc))
        cairn_bulk_settle(&x->exposed);
    if (rc == CAIRN_E_CANCELED)
        rc = CAIRN_E_UNREACHABLE;
    if (rc == 0)
        rc = take_crcs(x, (const Cairn__Wire__ExtentReadReply *)call->reply);
    cluster_fetch_on_read(&x->f, rc);
}

static int op_read(struct cluster_fetch *f)
{
    struct side_fetch *x = side_of(f);
    struct side_worker *w = x->w;
    struct cairn_rpc_dest dest;
    int rc;

    x->buf = malloc(f->want.region.len);
    if (x->buf == NULL)
        return CAIRN_E_NOMEM;
    if (!cairn_cluster__peer(w->c, w->index, f->source, &dest))
        return CAIRN_E_UNREACHABLE;
    rc = fetch_expose(x, CAIRN_BULK_CAN_WRITE);
    if (rc != 0)
        return rc;
    cairn__wire__cluster_region__init(&x->msg.read);
    x->msg.read.id = f->want.region.id;
    x->msg.read.length = f->want.region.len;
    x->msg.read.bulk = &x->exposed.desc;
    x->msg.read.slot = f->want.slot;
    if (cluster_fetch_asks_leader(f)) {
        x->msg.read.epoch = f->want.epoch;
        x->msg.read.inc = f->want.inc;
    }
    x->msg.read.copy = f->want.copy;
    call_prepare(x, NULL, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ, &x->msg.read.base, on_read);
    x->call.dest = dest;
    cairn_rpc_call_start(&x->call);
    return 0;
}

static void on_put(struct cairn_rpc_call *call)
{
    struct side_fetch *x = call->arg;

    if (is_answer(call->rc))
        cairn_bulk_settle(&x->exposed);
    cluster_fetch_on_put(&x->f, call->rc);
}

static int op_put(struct cluster_fetch *f)
{
    struct side_fetch *x = side_of(f);
    int rc = fetch_expose(x, CAIRN_BULK_CAN_READ);

    if (rc != 0)
        return rc;
    cairn__wire__extent_put__init(&x->msg.put);
    x->msg.put.id = f->want.region.id;
    x->msg.put.length = f->want.region.len;
    x->msg.put.owner = f->want.owner;
    x->msg.put.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC; /* whatever names it may be on disk any moment */
    x->msg.put.bulk = &x->exposed.desc;
    x->msg.put.crcs = x->crcs;
    x->msg.put.n_crcs = cairn_record_ncrcs(f->want.region.len);
    call_prepare(x, x->w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &x->msg.put.base, on_put);
    cairn_rpc_call_start(&x->call);
    return 0;
}

/* ---- what the node knows ---- */

static enum fetch_peer op_peer(struct cluster_fetches *s, uint64_t node)
{
    struct side_worker *w = worker_of(s);
    struct cairn_rpc_dest dest;

    if (!cairn_cluster__peer(w->c, w->index, node, &dest))
        return FETCH_PEER_UNKNOWN;
    if (dest.session == NULL) /* it is ourselves */
        return FETCH_PEER_UP;
    return cairn_rpc_session_is_up(dest.session) ? FETCH_PEER_UP : FETCH_PEER_DOWN;
}

static void op_connect(struct cluster_fetches *s, uint64_t node)
{
    struct side_worker *w = worker_of(s);
    struct cairn_rpc_dest dest;

    if (cairn_cluster__peer(w->c, w->index, node, &dest) && dest.session != NULL)
        cairn_rpc_session_connect(dest.session);
}

static bool op_record(struct cluster_fetches *s, uint32_t slot, struct cairn_slot_record *rec)
{
    return cairn_cluster_records_slot(worker_of(s)->c->records, slot, rec);
}

static bool op_has_entry(struct cluster_fetches *s, uint32_t slot, struct cairn_at at)
{
    return cluster_slots_has(worker_of(s)->slots, slot, at);
}

static bool op_ticked(struct cluster_fetches *s)
{
    struct side_worker *w = worker_of(s);

    side_holds_check(w);
    return !cairn_list_is_empty(&w->holds);
}

static const struct cluster_fetch_ops fetch_ops = {
    .make = op_make,
    .over = op_over,
    .look = op_look,
    .clear = op_clear,
    .read = op_read,
    .put = op_put,
    .give_back = op_give_back,
    .cancel = op_cancel,
    .peer = op_peer,
    .connect = op_connect,
    .record = op_record,
    .has_entry = op_has_entry,
    .entry_names = side_entry_names,
    .page_names = side_page_names,
    .ticked = op_ticked,
};

void side_fetches_init(struct side_worker *w)
{
    cairn_list_init(&w->holds);
    cluster_fetches_init(&w->fetches, &fetch_ops, &w->loop->env, &w->loop->machines, &w->c->side->regions, w->c->node);
}

void side_fetches_stop(struct side_worker *w)
{
    side_holds_stop(w);
    cluster_fetches_stop(&w->fetches);
}
