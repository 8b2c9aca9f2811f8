/* What others are told of what is here of a slot, and what people ask of the scrub. See scrub.h.
 *
 * A request hops to the slot's worker, waits there until as much is applied as the asker wants, is read by a scan, and
 * its answer hops back. */
#include "server/cluster/service/scrub.h"

#include "schema/common.pb-c.h"

#include <stdlib.h>

enum {
    SERVED_MAX = 8, /* of a worker, at a time */
    SERVED_WAIT_MS = 2000,
    SERVED_LOOK_MS = 5,
};

struct served {
    struct cairn_link link; /* of the worker's, until it is answered */
    struct side_worker *w;
    struct cairn_rpc_req *rq;
    struct cairn_loop *origin;
    struct cairn_task task;
    struct cairn_timer timer;
    uint64_t until_ns; /* it waits no longer */
    uint64_t applied, commit;
    int rc;
    bool stays; /* answered, as the worker is being stopped, while its scan may still be under way */
    struct store_scan scan;
};

static const Cairn__Wire__ClusterCompare *ask_of(const struct served *x)
{
    return (const Cairn__Wire__ClusterCompare *)x->rq->msg;
}

/* ---- back ---- */

static void served_free(struct served *x)
{
    store_scan_fini(&x->scan);
    free(x);
}

static void reply_keys(struct served *x, Cairn__Wire__ClusterCompared *m)
{
    ProtobufCBinaryData keys[SCAN_KEYS_MAX];
    uint64_t digests[SCAN_KEYS_MAX];
    uint32_t states[SCAN_KEYS_MAX];
    struct iovec payload = { x->scan.record, x->scan.record_len };

    for (uint32_t i = 0; i < x->scan.n; i++) {
        const struct store_scan_key *k = &x->scan.keys[i];

        keys[i] = (ProtobufCBinaryData){ .len = k->len, .data = (uint8_t *)(uintptr_t)k->key };
        digests[i] = k->digest;
        states[i] = k->state;
    }
    m->keys = keys;
    m->digests = digests;
    m->states = states;
    m->n_keys = m->n_digests = m->n_states = x->scan.n;
    m->more = x->scan.more;
    if (x->scan.one && x->scan.has_index)
        m->index = (ProtobufCBinaryData){ .len = STORE_INDEX_VALUE_BYTES, .data = x->scan.keys[0].index };
    cairn_rpc_reply(x->rq, 0, &m->base, &payload, x->scan.record_len > 0);
}

static void served_reply(void *arg)
{
    struct served *x = arg;
    struct cairn_rpc_req *rq = x->rq;
    Cairn__Wire__ClusterCompared m = CAIRN__WIRE__CLUSTER_COMPARED__INIT;

    x->rq = NULL;
    if (x->rc != 0) {
        cairn_rpc_reply_err(rq, x->rc, "slot %u cannot be compared now",
                            ((const Cairn__Wire__ClusterCompare *)rq->msg)->slot);
    } else {
        x->rq = rq;
        m.applied = x->applied;
        m.commit = x->commit;
        m.same = !x->scan.one && !x->scan.more && store_scan_digest(&x->scan, 0) == ask_of(x)->digest;
        if (m.same)
            cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
        else
            reply_keys(x, &m);
    }
    if (!x->stays)
        served_free(x);
}

static void served_over(struct served *x, int rc)
{
    if (!x->stays) {
        cairn_list_del(&x->link);
        x->w->nscrub_served--;
    }
    x->rc = rc;
    cairn_task_init(&x->task, served_reply, x);
    cairn_loop_post(x->origin, &x->task);
}

/* ---- there ---- */

static void on_scanned(struct store_scan *scan, int rc)
{
    struct served *x = scan->arg;
    const struct cairn_replica *r;

    if (x->stays)
        return;
    r = cluster_slots_replica(x->w->slots, scan->slot);
    if (rc == 0 && (r == NULL || r->rec.epoch != ask_of(x)->epoch))
        rc = CAIRN_E_BUSY;
    if (rc == 0)
        x->commit = r->commit;
    served_over(x, rc);
}

enum { NOT_YET = 1 };

/* Whether what is here is what @ask speaks of; NOT_YET: it will be soon. */
static int may_compare(struct served *x, const Cairn__Wire__ClusterCompare *ask)
{
    const struct cairn_replica *r;

    if (x->w->stopping || x->w->slots == NULL)
        return CAIRN_E_SHUTDOWN;
    r = cluster_slots_replica(x->w->slots, ask->slot);
    if (r == NULL || r->rec.epoch > ask->epoch)
        return CAIRN_E_MOVED;
    if (x->w->nscrub_served > SERVED_MAX || r->partial)
        return CAIRN_E_BUSY;
    if (r->rec.epoch < ask->epoch || r->applied < ask->applied)
        return NOT_YET;
    if (r->sm.state != REPLICA_BACKUP && r->sm.state != REPLICA_ACTIVE)
        return CAIRN_E_BUSY;
    x->applied = r->applied;
    return 0;
}

static void scan_start(struct served *x, const Cairn__Wire__ClusterCompare *ask)
{
    store_scan_init(&x->scan, cluster_slots_store(x->w->slots));
    x->scan.extent = x->w->extent;
    x->scan.slot = ask->slot;
    x->scan.one = ask->one;
    x->scan.after_len = (uint32_t)ask->after.len;
    x->scan.upto_len = (uint32_t)ask->upto.len;
    if (ask->after.len > 0)
        memcpy(x->scan.after, ask->after.data, ask->after.len);
    if (ask->upto.len > 0)
        memcpy(x->scan.upto, ask->upto.data, ask->upto.len);
    x->scan.done = on_scanned;
    x->scan.arg = x;
    store_scan_start(&x->scan);
}

static void served_look(void *arg)
{
    struct served *x = arg;
    const Cairn__Wire__ClusterCompare *ask = ask_of(x);
    struct cairn_env *env = &x->w->loop->env;
    uint64_t now = cairn_env_now_ns(env);
    int rc = may_compare(x, ask);

    if (rc == NOT_YET && now < x->until_ns &&
        cairn_timer_start(env, &x->timer, now + SERVED_LOOK_MS * CAIRN_NS_PER_MS) == 0)
        return;
    if (rc == 0)
        scan_start(x, ask);
    else
        served_over(x, rc == NOT_YET ? CAIRN_E_BUSY : rc);
}

static void served_begin(void *arg)
{
    struct served *x = arg;

    cairn_list_add_tail(&x->w->scrub_served, &x->link);
    x->w->nscrub_served++;
    x->until_ns = cairn_env_now_ns(&x->w->loop->env) + SERVED_WAIT_MS * CAIRN_NS_PER_MS;
    cairn_timer_init(&x->timer, served_look, x);
    served_look(x);
}

void cairn_cluster__side_on_compare(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterCompare *m = (const Cairn__Wire__ClusterCompare *)rq->msg;
    struct cairn_cluster *c = rq->target->ctx;
    struct served *x;

    if (!scrub_ask_is_good(m)) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "slot %u is to be compared: malformed", m->slot);
        return;
    }
    x = calloc(1, sizeof(*x));
    if (x == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "compare");
        return;
    }
    x->rq = rq;
    x->w = side_worker_of(c, m->slot);
    x->origin = cairn_rpc_loop(rq->rpc);
    cairn_task_init(&x->task, served_begin, x);
    cairn_loop_post(x->w->loop, &x->task);
}

/* ---- for people ---- */

struct scrub_hop {
    struct cairn_rpc_req *rq;
    struct cairn_cluster *c;
    struct cairn_task task;
};

static void scrub_reply(void *arg)
{
    struct scrub_hop *h = arg;
    json_t *o = scrub_report_json(h->c);
    char *text = o != NULL ? json_dumps(o, JSON_INDENT(1)) : NULL;
    Cairn__Wire__ClusterText m = CAIRN__WIRE__CLUSTER_TEXT__INIT;

    m.json = text;
    if (text != NULL)
        cairn_rpc_reply(h->rq, 0, &m.base, NULL, 0);
    else
        cairn_rpc_reply_err(h->rq, CAIRN_E_NOMEM, "scrub");
    free(text);
    json_decref(o);
    free(h);
}

/* At home: every worker has begun. */
static void scrub_on_begun(void *arg)
{
    struct scrub_hop *h = arg;

    cairn_task_init(&h->task, scrub_reply, h);
    cairn_loop_post(cairn_rpc_loop(h->rq->rpc), &h->task);
}

void cairn_cluster__side_on_scrub(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterScrub *m = (const Cairn__Wire__ClusterScrub *)rq->msg;
    struct scrub_hop *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "scrub");
        return;
    }
    h->rq = rq;
    h->c = rq->target->ctx;
    if (!m->start) {
        scrub_reply(h);
    } else if (side_each(h->c, side_scrub_begin, scrub_on_begun, h) != 0) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "scrub");
        free(h);
    }
}

/* ---- life ---- */

void side_scrub_serve_init(struct side_worker *w)
{
    cairn_list_init(&w->scrub_served);
}

/* Their scans end with the store, and say nothing then. */
void side_scrub_serve_stop(struct side_worker *w)
{
    CAIRN_LIST_FOREACH (l, &w->scrub_served) {
        struct served *x = CONTAINER_OF(l, struct served, link);

        x->stays = true;
        cairn_timer_stop(&w->loop->env, &x->timer);
        served_over(x, CAIRN_E_SHUTDOWN);
    }
}

void side_scrub_serve_free(struct side_worker *w)
{
    struct cairn_link *l;

    while ((l = cairn_list_pop(&w->scrub_served)) != NULL)
        served_free(CONTAINER_OF(l, struct served, link));
}
