/* Operations and progress.
 *
 *      post ---> waiting ---> flying ---> over ---> done()
 *                   ^            |
 *                   +-- EAGAIN --+   (refused at once: no room, or no connection yet)
 *
 * Before each sleep, in this order: completions are taken from the queue, waiting operations are offered again, then
 * fi_trywait() is asked, and only if it agrees the loop may sleep. Left out, completions that arrived in between wake
 * nobody (FACTS: 400 reads took 3.2 s instead of 0.1 s). Busy polling is no way out: it takes the core from the peer.
 * A target does its part of a transfer in the same calls: one whose loop stalls stalls the initiator for as long. */
#include "sdk/core/fabric/fabric_internal.h"

#include "sdk/core/base/log.h"

enum { FABRIC_REAP = 32, FABRIC_REAP_ROUNDS = 8 };

static void op_end(struct cairn_fabric *f, struct cairn_fabric_op *op, int rc)
{
    cairn_list_del(&op->link);
    if (op->flying)
        f->nflying--;
    op->flying = false;
    op->rc = rc != 0 && f->severing ? CAIRN_E_CANCELED : rc;
    cairn_list_add_tail(&f->over, &op->link);
    if (rc != 0)
        f->stats.errors++;
}

void cairn_fabric__deliver(struct cairn_fabric *f)
{
    struct cairn_link *l;

    while ((l = cairn_list_pop(&f->over)) != NULL) {
        struct cairn_fabric_op *op = CONTAINER_OF(l, struct cairn_fabric_op, link);

        op->done(op, op->rc);
    }
}

static void on_deliver(void *arg)
{
    cairn_fabric__deliver(arg);
}

void cairn_fabric__ops_init(struct cairn_fabric *f)
{
    cairn_list_init(&f->waiting);
    cairn_list_init(&f->flying);
    cairn_list_init(&f->over);
    cairn_task_init(&f->deliver, on_deliver, f);
}

void cairn_fabric__ops_cancel(struct cairn_fabric *f)
{
    cairn_list_splice(&f->flying, &f->waiting);
    CAIRN_LIST_FOREACH_SAFE (l, &f->flying)
        op_end(f, CONTAINER_OF(l, struct cairn_fabric_op, link), CAIRN_E_CANCELED);
    CAIRN_ASSERT(f->nflying == 0);
    if (f->loop != NULL)
        cairn_env_defer(&f->loop->env, &f->deliver);
}

/* 0, -FI_EAGAIN, or another error. */
static ssize_t op_issue(struct cairn_fabric *f, struct cairn_fabric_op *op)
{
    void *desc = op->local_mr != NULL && op->local_mr->fid != NULL ? fi_mr_desc(op->local_mr->fid) : NULL;

    return op->push ? fi_write(f->ep, op->local, op->len, desc, op->peer, op->remote, op->key, op)
                    : fi_read(f->ep, op->local, op->len, desc, op->peer, op->remote, op->key, op);
}

/* Offers waiting operations to the provider, in order. One that is refused does not hold up those to other peers. */
static void fabric_offer(struct cairn_fabric *f)
{
    uint64_t refused = UINT64_MAX;

    CAIRN_LIST_FOREACH_SAFE (l, &f->waiting) {
        struct cairn_fabric_op *op = CONTAINER_OF(l, struct cairn_fabric_op, link);
        ssize_t rc;

        if (f->nflying >= f->nflying_max)
            return;
        if (op->peer == refused)
            continue;
        rc = op_issue(f, op);
        f->agreed = false;
        if (rc == -FI_EAGAIN) {
            refused = op->peer;
            f->stats.retries++;
        } else if (rc != 0) {
            op_end(f, op, CAIRN_E_UNREACHABLE);
        } else {
            cairn_list_del(&op->link);
            cairn_list_add_tail(&f->flying, &op->link);
            op->flying = true;
            f->nflying++;
            f->stats.ops++;
            f->stats.bytes += op->len;
        }
    }
}

static void fabric_reap_error(struct cairn_fabric *f)
{
    struct fi_cq_err_entry e = { 0 };

    if (fi_cq_readerr(f->cq, &e, 0) != 1)
        return;
    if (e.op_context == NULL) /* not one of ours: a connection that somebody else opened to us */
        return;
    cairn_log_debug("fabric: a transfer ended: %s", f->lib->strerror(e.err));
    op_end(f, e.op_context, CAIRN_E_UNREACHABLE);
}

/* True if it may have left some. */
bool cairn_fabric__reap(struct cairn_fabric *f)
{
    struct fi_cq_entry done[FABRIC_REAP];

    for (int i = 0; i < FABRIC_REAP_ROUNDS; i++) {
        ssize_t n = fi_cq_read(f->cq, done, FABRIC_REAP);

        f->stats.reaps++;
        if (n == -FI_EAVAIL) {
            fabric_reap_error(f);
            continue;
        }
        if (n <= 0)
            return false;
        for (ssize_t k = 0; k < n; k++)
            op_end(f, done[k].op_context, 0);
    }
    return true;
}

/* True: do not sleep. */
static bool fabric_progress(struct cairn_fabric *f)
{
    struct fid *fids[1] = { &f->cq->fid };
    bool more;

    more = cairn_fabric__reap(f);
    fabric_offer(f);
    if (!cairn_list_is_empty(&f->waiting) && !cairn_timer_is_running(&f->retry))
        (void)cairn_timer_start(&f->loop->env, &f->retry,
                                cairn_env_now_ns(&f->loop->env) + CAIRN_FABRIC_RETRY_MS * CAIRN_NS_PER_MS);
    if (!cairn_list_is_empty(&f->over)) {
        cairn_env_defer(&f->loop->env, &f->deliver);
        return true;
    }
    f->agreed = !more && fi_trywait(f->fabric, fids, 1) == FI_SUCCESS;
    return !f->agreed;
}

static bool fabric_before_sleep(void *arg)
{
    struct cairn_fabric *f = arg;

    return f->ep != NULL && !f->agreed && fabric_progress(f);
}

/* A turn that leaves tasks behind does not ask about sleep: what it posted must go out all the same. */
static void fabric_flush(void *arg)
{
    (void)fabric_before_sleep(arg);
}

static void on_queue(void *arg, uint32_t ready)
{
    struct cairn_fabric *f = arg;

    (void)ready;
    if (f->ep != NULL)
        fabric_progress(f);
}

static void on_retry(void *arg)
{
    struct cairn_fabric *f = arg;

    if (f->ep != NULL)
        fabric_progress(f);
}

int cairn_fabric_start(struct cairn_fabric *f, struct cairn_loop *loop)
{
    int rc = cairn_watch_init(&f->watch, loop, f->fd, on_queue, f);

    if (rc == 0)
        rc = cairn_watch_arm(&f->watch, CAIRN_WATCH_READ);
    if (rc != 0) {
        cairn_watch_fini(&f->watch);
        return rc;
    }
    f->loop = loop;
    cairn_timer_init(&f->retry, on_retry, f);
    f->hook = (struct cairn_hook){ .before_sleep = fabric_before_sleep, .flush = fabric_flush, .arg = f };
    cairn_hook_add(loop, &f->hook);
    return 0;
}

void cairn_fabric_post(struct cairn_fabric *f, struct cairn_fabric_op *op)
{
    op->flying = false;
    op->rc = 0;
    if (f->ep == NULL) {
        cairn_list_init(&op->link);
        op_end(f, op, CAIRN_E_CANCELED);
        cairn_env_defer(&f->loop->env, &f->deliver);
        return;
    }
    cairn_list_add_tail(&f->waiting, &op->link);
    f->agreed = false; /* it is offered at the end of the turn, with all others of this turn */
}

bool cairn_fabric_unpost(struct cairn_fabric *f, struct cairn_fabric_op *op)
{
    (void)f;
    if (op->flying || cairn_list_is_empty(&op->link))
        return false;
    cairn_list_del(&op->link);
    return true;
}
