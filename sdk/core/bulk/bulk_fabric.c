/* The fabric's endpoint as the bulk module uses it: opened in the background when first needed, killed when that is the
 * only way to get memory back, and pieces that go over it.
 *
 * Opening takes 50 to 150 ms and tens of MB and may block (fi_getinfo asks the system for its networks), so a thread of
 * its own does it and posts the result back. Until then, and where it fails, pieces travel in frames. */
#include "sdk/core/bulk/bulk_internal.h"

#include "sdk/core/base/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct bulk_opener {
    struct cairn_bulk *bulk;
    struct cairn_task task;
    pthread_t thread;
    char provider[64], domain[64];
    uint8_t near[CAIRN_FABRIC_ADDR_BYTES_MAX];
    size_t near_len;
    struct cairn_fabric *fabric;
    struct cairn_err err;
    int rc;
};

/* ---- opening ---- */

static void *opener_main(void *arg)
{
    struct bulk_opener *o = arg;
    struct cairn_fabric_conf conf = { .provider = o->provider, .domain = o->domain };

    if (o->near_len > 0) {
        conf.near = o->near;
        conf.near_len = o->near_len;
    }
    o->rc = cairn_fabric_open(&o->fabric, &conf, &o->err);
    cairn_loop_post(o->bulk->loop, &o->task);
    return NULL;
}

/* Eight random bytes that peers may read: what a mover tries a new connection with. */
static int fabric_expose_probe(struct cairn_bulk *b)
{
    b->probe_value = cairn_env_random(&b->loop->env);
    return cairn_fabric_mr_new(b->fabric, &b->probe_value, sizeof(b->probe_value), CAIRN_FABRIC_REMOTE_READ,
                               cairn_env_random(&b->loop->env), &b->probe_mr);
}

static void fabric_tell_waiters(struct cairn_bulk *b, int rc)
{
    struct cairn_link all, *l;

    cairn_list_init(&all);
    cairn_list_splice(&all, &b->waiters);
    b->nwaiters = 0;
    while ((l = cairn_list_pop(&all)) != NULL) {
        struct bulk_waiter *w = CONTAINER_OF(l, struct bulk_waiter, link);

        w->fn(w, rc);
    }
}

static void on_opened(void *arg)
{
    struct bulk_opener *o = arg;
    struct cairn_bulk *b = o->bulk;
    int rc = o->rc;

    pthread_join(o->thread, NULL); /* it has nothing left to do */
    b->opener = NULL;
    if (rc == 0) {
        b->fabric = o->fabric;
        b->fabric_epoch++;
        rc = cairn_fabric_start(b->fabric, b->loop);
        if (rc == 0)
            rc = fabric_expose_probe(b);
        if (rc != 0) {
            cairn_fabric_free(b->fabric);
            b->fabric = NULL;
            cairn_err_set(&o->err, rc, "fabric: %s", cairn_error_text(rc));
        }
    }
    if (rc != 0) {
        b->open_retry_ns = cairn_loop_now(b->loop) + BULK_OPEN_RETRY_S * CAIRN_NS_PER_S;
        cairn_log_info("bulk: %s; pieces go on in frames", o->err.text);
    }
    free(o);
    fabric_tell_waiters(b, rc);
}

static int opener_start(struct cairn_bulk *b, const uint8_t *near, size_t near_len)
{
    struct bulk_opener *o = calloc(1, sizeof(*o));
    sigset_t all, before;
    int rc;

    if (o == NULL)
        return CAIRN_E_NOMEM;
    o->bulk = b;
    cairn_task_init(&o->task, on_opened, o);
    memcpy(o->provider, b->conf.provider, sizeof(o->provider));
    memcpy(o->domain, b->conf.domain, sizeof(o->domain));
    if (near != NULL && near_len <= sizeof(o->near)) {
        memcpy(o->near, near, near_len);
        o->near_len = near_len;
    }
    sigfillset(&all); /* signals are for the threads that expect them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&o->thread, NULL, opener_main, o);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        free(o);
        return CAIRN_E_LIMIT;
    }
    b->opener = o;
    return 0;
}

int cairn_bulk__fabric_want(struct cairn_bulk *b, const uint8_t *near, size_t near_len, struct bulk_waiter *w)
{
    int rc;

    if (!b->conf.fabric)
        return CAIRN_E_UNSUPPORTED;
    if (b->nwaiters >= BULK_WAITERS_MAX)
        return CAIRN_E_BUSY;
    if (b->opener == NULL) {
        if (b->corpse != NULL || cairn_loop_now(b->loop) < b->open_retry_ns)
            return CAIRN_E_UNSUPPORTED;
        rc = opener_start(b, near, near_len);
        if (rc != 0)
            return rc;
    }
    cairn_list_add_tail(&b->waiters, &w->link);
    b->nwaiters++;
    return 0;
}

/* ---- closing ---- */

static void on_bury(void *arg)
{
    struct cairn_bulk *b = arg;

    cairn_fabric_free(b->corpse);
    b->corpse = NULL;
}

/* Every registration goes before the fabric itself does. */
static void fabric_forget_regions(struct cairn_bulk *b)
{
    for (uint32_t i = 0; i < BULK_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &b->buckets[i]) {
            struct cairn_bulk_region *r = CONTAINER_OF(l, struct cairn_bulk_region, link);

            cairn_fabric_mr_free(r->mr);
            r->mr = NULL;
        }
    }
    CAIRN_LIST_FOREACH (l, &b->areas) {
        struct cairn_bulk_area *a = CONTAINER_OF(l, struct cairn_bulk_area, link);

        cairn_fabric_mr_free(a->mr);
        a->mr = NULL;
    }
    cairn_fabric_mr_free(b->probe_mr);
    b->probe_mr = NULL;
}

void cairn_bulk__fabric_kill(struct cairn_bulk *b, const char *why)
{
    if (b->fabric == NULL)
        return;
    cairn_log_info("bulk: the fabric endpoint is closed: %s", why);
    cairn_fabric_kill(b->fabric);
    cairn_stats_add(&b->counters.kills, 1);
    b->corpse = b->fabric;
    b->fabric = NULL;
    b->told = false;
    CAIRN_LIST_FOREACH (l, &b->peers) {
        struct cairn_bulk_peer *bp = CONTAINER_OF(l, struct cairn_bulk_peer, link);

        bp->ready = false;
        cairn_bulk__intro_killed(bp);
    }
    fabric_forget_regions(b);
    CAIRN_LIST_FOREACH (l, &b->ops) {
        struct cairn_bulk_op *op = CONTAINER_OF(l, struct cairn_bulk_op, link);

        cairn_bulk__rma_release(op); /* a dead one: its memory is free */
        if (op->way == CAIRN_BULK_FABRIC)
            cairn_bulk__op_switch(op);
    }
    cairn_env_defer(&b->loop->env, &b->bury); /* after the operations were told, by a task that is queued already */
}

void cairn_bulk__fabric_forget_peer(struct cairn_bulk_peer *bp)
{
    struct cairn_bulk *b = bp->bulk;

    if (b->fabric != NULL && bp->fabric_epoch == b->fabric_epoch)
        cairn_fabric_peer_del(b->fabric, bp->fabric_peer);
    bp->fabric_epoch = 0;
}

void cairn_bulk__fabric_init(struct cairn_bulk *b)
{
    cairn_list_init(&b->waiters);
    cairn_task_init(&b->bury, on_bury, b);
}

void cairn_bulk__fabric_fini(struct cairn_bulk *b)
{
    struct bulk_opener *o = b->opener;

    if (o != NULL) {
        pthread_join(o->thread, NULL);
        cairn_loop_unpost(b->loop, &o->task);
        cairn_fabric_free(o->fabric);
        free(o);
        b->opener = NULL;
    }
    b->conf.fabric = false;
    fabric_tell_waiters(b, CAIRN_E_SHUTDOWN);
    if (b->fabric != NULL)
        cairn_bulk__fabric_kill(b, "the node shuts down");
    if (b->corpse != NULL) {
        cairn_task_cancel(&b->bury);
        on_bury(b);
    }
}

/* ---- memory of ours ---- */

static uint32_t region_access(uint32_t rights)
{
    return ((rights & CAIRN_BULK_CAN_READ) != 0 ? CAIRN_FABRIC_REMOTE_READ : 0) |
           ((rights & CAIRN_BULK_CAN_WRITE) != 0 ? CAIRN_FABRIC_REMOTE_WRITE : 0);
}

/* Below 0.5 us on software providers: by default every region has a registration of its own, as narrow as it is. Where
 * registering pins memory, an area that was registered for reuse lends its own. */
void cairn_bulk__region_register(struct cairn_bulk *b, struct cairn_bulk_region *r)
{
    struct cairn_bulk_area *a = r->area;

    if (b->fabric == NULL || !b->told || r->len == 0)
        return; /* nobody could use it */
    if (a != NULL && cairn_fabric_pins(b->fabric)) {
        if (a->mr == NULL &&
            cairn_fabric_mr_new(b->fabric, a->ptr, a->len, CAIRN_FABRIC_REMOTE_READ | CAIRN_FABRIC_REMOTE_WRITE,
                                cairn_env_random(&b->loop->env), &a->mr) != 0)
            return;
        r->desc.fabric_key = cairn_fabric_mr_key(a->mr);
        r->desc.fabric_addr = cairn_fabric_mr_base(a->mr) + (uint64_t)(r->ptr - a->ptr);
        r->desc.fabric = true;
        return;
    }
    if (cairn_fabric_mr_new(b->fabric, r->ptr, r->len, region_access(r->rights), r->desc.key, &r->mr) != 0)
        return; /* frames will do */
    r->desc.fabric_key = cairn_fabric_mr_key(r->mr);
    r->desc.fabric_addr = cairn_fabric_mr_base(r->mr);
    r->desc.fabric = true;
}

/* ---- pieces ---- */

uint32_t cairn_bulk__rma_piece_bytes(struct cairn_bulk *b)
{
    uint64_t max = b->fabric != NULL ? cairn_fabric_piece_max(b->fabric) : CAIRN_BULK_PIECE_BYTES;

    return (uint32_t)MIN(max, (uint64_t)CAIRN_BULK_PIECE_BYTES);
}

int cairn_bulk__rma_prepare(struct cairn_bulk_op *op)
{
    struct cairn_bulk *b = bulk_of(op->rpc);

    if (!cairn_fabric_wants_local(b->fabric))
        return 0;
    return cairn_fabric_mr_new(b->fabric, op->local, op->len, CAIRN_FABRIC_LOCAL, cairn_env_random(&b->loop->env),
                               &op->local_mr);
}

void cairn_bulk__rma_release(struct cairn_bulk_op *op)
{
    cairn_fabric_mr_free(op->local_mr);
    op->local_mr = NULL;
}

static void on_rma_done(struct cairn_fabric_op *rma, int rc)
{
    struct cairn_bulk__piece *p = CONTAINER_OF(rma, struct cairn_bulk__piece, rma);

    p->op->bp->rma_flying--;
    cairn_bulk__piece_back(p, rc);
}

void cairn_bulk__rma_issue(struct cairn_bulk__piece *p)
{
    struct cairn_bulk_op *op = p->op;

    p->rma = (struct cairn_fabric_op){
        .peer = op->bp->fabric_peer,
        .push = op->push,
        .local = op->local + p->from,
        .len = p->len,
        .local_mr = op->local_mr,
        .remote = op->desc.fabric_addr + op->off + p->from,
        .key = op->desc.fabric_key,
        .done = on_rma_done,
    };
    op->bp->rma_flying++;
    cairn_fabric_post(bulk_of(op->rpc)->fabric, &p->rma);
}

void cairn_bulk__rma_cancel(struct cairn_bulk__piece *p)
{
    struct cairn_bulk *b = bulk_of(p->op->rpc);

    if (b->fabric == NULL || !cairn_fabric_unpost(b->fabric, &p->rma))
        return;
    p->op->bp->rma_flying--;
    cairn_bulk__piece_back(p, CAIRN_E_CANCELED);
}
