/* What other nodes ask: to fetch regions that an entry is going to name, and to give them one. */
#include "server/cluster/service/fetch.h"

#include "schema/extent.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- regions that are to be fetched ---- */

struct hold {
    struct cairn_link link; /* of the worker's */
    struct cairn_rpc_req *rq;
    struct side_worker *w;
    struct cairn_loop *origin;
    struct cairn_task task;
    size_t at; /* what became of those before it is known */
    int rc;
};

static void hold_reply(void *arg)
{
    struct hold *h = arg;

    if (h->rc == 0)
        cairn_rpc_reply(h->rq, 0, NULL, NULL, 0);
    else
        cairn_rpc_reply_err(h->rq, h->rc, "regions could not be fetched");
    free(h);
}

static void hold_over(struct hold *h, int rc)
{
    cairn_list_del(&h->link);
    h->rc = rc;
    cairn_task_init(&h->task, hold_reply, h);
    cairn_loop_post(h->origin, &h->task);
}

/* None of its regions is on the way any more, or nobody waits for them? */
static void hold_check(struct hold *h)
{
    const Cairn__Wire__ClusterRegions *m = (const Cairn__Wire__ClusterRegions *)h->rq->msg;
    bool late = cairn_env_now_ns(&h->w->loop->env) >= h->rq->deadline_ns;
    int rc = h->rc;

    while (h->at < m->n_ids) {
        enum region_state state = cluster_regions_state(&h->w->c->side->regions, m->ids[h->at]);

        if (state == REGION_FETCHING && !late) {
            h->rc = rc;
            return;
        }
        if (state != REGION_HERE)
            rc = CAIRN_E_BUSY;
        h->at++;
    }
    hold_over(h, rc);
}

void side_holds_check(struct side_worker *w)
{
    CAIRN_LIST_FOREACH_SAFE (l, &w->holds)
        hold_check(CONTAINER_OF(l, struct hold, link));
}

void side_holds_stop(struct side_worker *w)
{
    while (!cairn_list_is_empty(&w->holds))
        hold_over(CONTAINER_OF(w->holds.next, struct hold, link), CAIRN_E_SHUTDOWN);
}

static void hold_begin(void *arg)
{
    struct hold *h = arg;
    struct side_worker *w = h->w;
    const Cairn__Wire__ClusterRegions *m = (const Cairn__Wire__ClusterRegions *)h->rq->msg;
    struct fetch_want want = { .slot = m->slot, .node = m->node, .named = m->look, .owner = m->owner };
    int rc = w->stopping         ? CAIRN_E_SHUTDOWN
             : w->extent == NULL ? CAIRN_E_NOPROVIDER
                                 : cluster_fetches_watch(&w->fetches);

    cairn_list_add_tail(&w->holds, &h->link);
    if (rc != 0) {
        hold_over(h, rc);
        return;
    }
    for (size_t i = 0; i < m->n_ids; i++) {
        want.region = (struct cairn_record_region){ .id = m->ids[i], .len = m->lengths[i] };
        if (m->look)
            cluster_regions_doubt(&w->c->side->regions, m->ids[i]);
        (void)cluster_fetch_is_here(&w->fetches, &want);
    }
    hold_check(h);
}

void cairn_cluster__side_on_regions(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterRegions *m = (const Cairn__Wire__ClusterRegions *)rq->msg;
    struct cairn_cluster *c = rq->target->ctx;
    struct hold *h;
    bool good = m->n_ids == m->n_lengths && m->n_ids <= CAIRN_PARTS_MAX && m->slot < SIDE_SLOTS_MAX;

    for (size_t i = 0; good && i < m->n_ids; i++)
        good = m->ids[i] != 0 && m->lengths[i] > 0 && m->lengths[i] <= CAIRN_CLUSTER_REGION_BYTES;
    if (!good) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "regions of slot %u: malformed", m->slot);
        return;
    }
    h = calloc(1, sizeof(*h));
    if (h == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "regions");
        return;
    }
    h->rq = rq;
    h->w = side_worker_of(c, m->slot);
    h->origin = cairn_rpc_loop(rq->rpc);
    cairn_task_init(&h->task, hold_begin, h);
    cairn_loop_post(h->w->loop, &h->task);
}

/* ---- a region for another node ---- */

/* The extent provider writes it straight into that node's memory. That there is none is to be said by who leads the
 * slot that names it, so the slot's worker is asked. */
struct reading {
    struct cairn_rpc_req *rq;
    struct side_worker *w; /* the slot's */
    struct cairn_loop *origin;
    struct cairn_task task;
    struct cairn_timer turn; /* of a copy */
    Cairn__Wire__ExtentRead msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
};

static void reading_refuse(void *arg)
{
    struct reading *x = arg;

    cairn_rpc_reply_err(x->rq, x->call.rc, "%s", x->err.text);
    free(x);
}

static void reading_check(void *arg)
{
    struct reading *x = arg;
    const Cairn__Wire__ClusterRegion *m = (const Cairn__Wire__ClusterRegion *)x->rq->msg;

    if (x->w->stopping || x->w->slots == NULL || !cluster_slots_leads(x->w->slots, m->slot, m->epoch, m->inc))
        x->call.rc =
            cairn_err_set(&x->err, CAIRN_E_STATE, "region %016" PRIx64 " is not here, but it may be elsewhere", m->id);
    cairn_task_init(&x->task, reading_refuse, x);
    cairn_loop_post(x->origin, &x->task);
}

static void on_given(struct cairn_rpc_call *call)
{
    struct reading *x = call->arg;

    x->rq->on_cancel = NULL;
    if (call->rc == CAIRN_E_NOTFOUND) {
        cairn_task_init(&x->task, reading_check, x);
        cairn_loop_post(x->w->loop, &x->task);
        return;
    }
    if (call->rc != 0) {
        reading_refuse(x);
        return;
    }
    cairn_rpc_reply(x->rq, 0, call->reply, NULL, 0);
    free(x);
}

/* Whoever asked asks another by now. */
static void on_reading_canceled(struct cairn_rpc_req *rq, void *arg)
{
    struct reading *x = arg;

    if (cairn_rpc_call_is_running(&x->call)) {
        cairn_rpc_call_cancel(&x->call);
        return;
    }
    cairn_timer_stop(&cairn_rpc_loop(rq->rpc)->env, &x->turn);
    free(x);
    cairn_rpc_reply_err(rq, CAIRN_E_CANCELED, "a region");
}

static void reading_start(void *arg)
{
    struct reading *x = arg;
    struct cairn_rpc_req *rq = x->rq;

    x->call.timeout_ns = MAX(cairn_rpc_req_left_ns(rq, cairn_loop_now(cairn_rpc_loop(rq->rpc))), UINT64_C(1));
    cairn_rpc_call_start(&x->call);
}

/* When it is its turn. */
static void reading_wait(struct reading *x, struct cluster_pace *pace)
{
    struct cairn_env *env = &cairn_rpc_loop(x->rq->rpc)->env;
    const Cairn__Wire__ClusterRegion *m = (const Cairn__Wire__ClusterRegion *)x->rq->msg;
    uint64_t now = cairn_env_now_ns(env), at = now;

    if (m->copy && !cluster_pace_book(pace, (uint32_t)MIN(m->length, (uint64_t)CAIRN_CLUSTER_REGION_BYTES), now, &at)) {
        cairn_rpc_reply_err(x->rq, CAIRN_E_BUSY, "copies leave this node as fast as they may");
        free(x);
        return;
    }
    x->rq->on_cancel = on_reading_canceled;
    x->rq->on_cancel_arg = x;
    cairn_timer_init(&x->turn, reading_start, x);
    if (at <= now || cairn_timer_start(env, &x->turn, at) != 0)
        reading_start(x);
}

void cairn_cluster__side_on_region_read(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterRegion *m = (const Cairn__Wire__ClusterRegion *)rq->msg;
    struct cairn_cluster *c = rq->target->ctx;
    const struct cairn_rpc_target *extent = c->side->workers[cairn_rpc_index(rq->rpc)].extent;
    bool good = m->bulk != NULL && m->slot < SIDE_SLOTS_MAX;
    struct reading *x = extent != NULL && good ? calloc(1, sizeof(*x)) : NULL;

    if (x == NULL) {
        cairn_rpc_reply_err(rq,
                            extent == NULL ? CAIRN_E_NOPROVIDER
                            : !good        ? CAIRN_E_INVAL
                                           : CAIRN_E_NOMEM,
                            "region %016" PRIx64, m->id);
        return;
    }
    x->rq = rq;
    x->w = side_worker_of(c, m->slot);
    x->origin = cairn_rpc_loop(rq->rpc);
    cairn__wire__extent_read__init(&x->msg);
    x->msg.id = m->id;
    x->msg.length = m->length;
    x->msg.bulk = m->bulk;
    x->call.dest.rpc = rq->rpc;
    x->call.iface = extent->iface;
    x->call.provider = extent->id;
    x->call.method = CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ;
    x->call.msg = &x->msg.base;
    x->call.bulk_peer = rq->peer;
    x->call.done = on_given;
    x->call.arg = x;
    x->call.err = &x->err;
    reading_wait(x, &c->side->pace);
}
