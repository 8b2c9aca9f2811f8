/* Views: opened on the pool, ended by their owner or by time. Each worker that has opened one looks after all of
 * them, as long as there are any. */
#include "providers/kv/kv_internal.h"

static void on_expire(void *arg)
{
    struct kv_worker *w = arg;
    uint64_t next = kv_snapshots_expire(&w->provider->snapshots, cairn_loop_now(w->loop));

    if (next != UINT64_MAX)
        cairn_timer_start(&w->loop->env, &w->expire, next); /* there is room: it has just run */
}

void kv_worker_snapshots_init(struct kv_worker *w)
{
    cairn_timer_init(&w->expire, on_expire, w);
}

static void open_work(struct kv_op *op)
{
    struct kv_snapshots *s = &op->worker->provider->snapshots;

    struct kv_snapshot *snap;

    op->rc = kv_snapshots_open(s, &snap, &op->snapshot_id);
    if (op->rc == 0)
        op->snapshot = snap;
    else if (op->rc == CAIRN_E_LIMIT)
        cairn_err_set(&op->err, op->rc, "there are %u views already, as many as `snapshots` allows", s->max);
}

static void open_reply(struct kv_op *op)
{
    struct kv_worker *w = op->worker;
    struct kv_snapshots *s = &w->provider->snapshots;
    Cairn__Wire__KvSnapshotOpened reply = CAIRN__WIRE__KV_SNAPSHOT_OPENED__INIT;

    if (!cairn_timer_is_running(&w->expire) &&
        cairn_timer_start(&w->loop->env, &w->expire, cairn_loop_now(w->loop) + s->idle_ns) != 0) {
        kv_snapshots_close(s, op->snapshot_id); /* time would not end it */
        cairn_rpc_reply(op->rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    reply.snapshot = op->snapshot_id;
    reply.idle_ms = s->idle_ns / CAIRN_NS_PER_MS;
    cairn_rpc_reply(op->rq, 0, &reply.base, NULL, 0);
}

void kv_handle_snapshot_open(struct cairn_rpc_req *rq)
{
    struct kv_provider *p = kv_provider_of(rq);

    if (p->ops->snapshot_open == NULL)
        cairn_rpc_reply_err(rq, CAIRN_E_UNSUPPORTED, "%s: backend %s has no views", rq->target->name, p->ops->name);
    else
        kv_call(rq, open_work, open_reply);
}

static void reply_gone(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply_err(rq, CAIRN_E_GONE, "%s: no such view; it was closed, or idle for too long", rq->target->name);
}

void kv_handle_snapshot_close(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvSnapshot *m = (const Cairn__Wire__KvSnapshot *)rq->msg;

    if (kv_snapshots_close(&kv_provider_of(rq)->snapshots, m->snapshot))
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    else
        reply_gone(rq);
}

bool kv_snapshot_find(struct cairn_rpc_req *rq, uint64_t id, struct kv_snapshot **snap)
{
    *snap = kv_snapshots_use(&kv_provider_of(rq)->snapshots, id);
    if (*snap == NULL)
        reply_gone(rq);
    return *snap != NULL;
}

void kv_snapshot_leave(struct kv_worker *w, struct kv_snapshot *snap)
{
    kv_snapshots_done(&w->provider->snapshots, snap, cairn_loop_now(w->loop));
}
