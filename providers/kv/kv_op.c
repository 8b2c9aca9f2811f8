/* Operations that wait: see kv_internal.h. Two kinds of machine.
 *
 *   kv-write    COPIED ---> COMMITTING ---> REPLIED        COPIED and COMMITTING may also go to FAILED.
 *
 *   COPIED      keys, lengths and value are where they stay until the end, the store knows of nothing.
 *   COMMITTING  the store's committer may read all of it, from its own thread; nothing is released, canceled or not.
 *   REPLIED     the request is answered.   FAILED  with an error: nothing was written, or, after a failed sync, who
 * knows.
 *
 *   kv-work     WAITING ---> ON_POOL ---> REPLIED          WAITING and ON_POOL may also go to FAILED.
 *
 *   WAITING     on the worker's list of reads, or about to get a job of its own; nothing was looked at.
 *   ON_POOL     a pool thread has it: its results, rc and err are that thread's.
 *   REPLIED     the request is answered.   FAILED  with an error. Canceled only before the pool had it: whatever was
 *               done is told as it is. */
#include "providers/kv/kv_internal.h"

#include <stdlib.h>
#include <string.h>

#define TO CAIRN_SM_TO

enum { WRITE_COPIED, WRITE_COMMITTING, WRITE_REPLIED, WRITE_FAILED, WRITE_NR };
static const struct cairn_sm_state write_states[WRITE_NR] = {
    [WRITE_COPIED] = { "COPIED", CAIRN_SM_INITIAL, TO(WRITE_COMMITTING) | TO(WRITE_FAILED) },
    [WRITE_COMMITTING] = { "COMMITTING", 0, TO(WRITE_REPLIED) | TO(WRITE_FAILED) },
    [WRITE_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [WRITE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool write_invariant(const struct cairn_sm *sm)
{
    const struct kv_op *op = CONTAINER_OF(sm, const struct kv_op, sm);
    bool over = sm->state == WRITE_REPLIED || sm->state == WRITE_FAILED;

    return CAIRN_HOLDS((op->rq == NULL) == over) && /* answered exactly once, at the end */
           CAIRN_HOLDS(sm->state != WRITE_COMMITTING || op->write.erase || op->write.value_bytes == 0 ||
                       op->write.values != NULL) &&
           CAIRN_HOLDS(sm->state != WRITE_COMMITTING || op->write.status != NULL) &&
           CAIRN_HOLDS(!over || op->old == NULL); /* the old value went out with the answer */
}

const struct cairn_sm_kind kv_write_kind = { "kv-write", write_states, WRITE_NR, write_invariant, 30000 };

enum { WORK_WAITING, WORK_ON_POOL, WORK_REPLIED, WORK_FAILED, WORK_NR };
static const struct cairn_sm_state work_states[WORK_NR] = {
    [WORK_WAITING] = { "WAITING", CAIRN_SM_INITIAL, TO(WORK_ON_POOL) | TO(WORK_FAILED) },
    [WORK_ON_POOL] = { "ON_POOL", 0, TO(WORK_REPLIED) | TO(WORK_FAILED) },
    [WORK_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [WORK_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool work_invariant(const struct cairn_sm *sm)
{
    const struct kv_op *op = CONTAINER_OF(sm, const struct kv_op, sm);
    const struct kv_worker *w = op->worker;
    bool over = sm->state == WORK_REPLIED || sm->state == WORK_FAILED, on_pool = sm->state == WORK_ON_POOL;

    return CAIRN_HOLDS((op->rq == NULL) == over) &&                 /* answered exactly once, at the end */
           CAIRN_HOLDS(sm->state != WORK_WAITING || op->rc == 0) && /* nobody has worked at it */
           CAIRN_HOLDS(!over || (op->rc == 0) == (sm->state == WORK_REPLIED)) &&
           CAIRN_HOLDS(!on_pool || (op->work != NULL && op->reply != NULL)) &&
           CAIRN_HOLDS(!on_pool || (op->is_call ? w->ncalls : w->njobs) > 0) && /* the worker waits for its job */
           CAIRN_HOLDS(w->njobs <= KV_READ_JOBS_MAX) &&                         /* reads leave the pool to others */
           CAIRN_HOLDS(!op->is_call || cairn_list_is_empty(&op->batch)) &&      /* what takes long holds up no other */
           CAIRN_HOLDS(!over || cairn_list_is_empty(&op->batch)); /* each of a job is answered for itself */
}

const struct cairn_sm_kind kv_work_kind = { "kv-work", work_states, WORK_NR, work_invariant, 30000 };

/* ---- life ---- */

static void on_start_reads(void *arg);

void kv_worker_init(struct kv_worker *w, struct kv_provider *p, struct cairn_loop *loop, uint32_t index)
{
    memset(w, 0, sizeof(*w));
    w->provider = p;
    w->loop = loop;
    w->index = index;
    cairn_list_init(&w->spare);
    cairn_list_init(&w->reads);
    cairn_task_init(&w->start_reads, on_start_reads, w);
    kv_worker_snapshots_init(w);
}

static void op_free(struct kv_op *op)
{
    cairn_kv_page_fini(&op->page);
    free(op->buf);
    free(op);
}

void kv_worker_fini(struct kv_worker *w)
{
    struct cairn_link *l;

    CAIRN_ASSERT(w->nops == 0 && w->njobs == 0 && w->ncalls == 0);
    cairn_timer_stop(&w->loop->env, &w->expire);
    while ((l = cairn_list_pop(&w->spare)) != NULL)
        op_free(CONTAINER_OF(l, struct kv_op, link));
    cairn_kv_page_fini(&w->page);
    free(w->statuses);
}

static void on_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct kv_op *op = arg;

    (void)rq;
    atomic_store_explicit(&op->canceled, true, memory_order_relaxed);
}

static struct kv_op *op_take(struct kv_worker *w)
{
    struct cairn_link *l = cairn_list_pop(&w->spare);

    if (l != NULL) {
        w->nspare--;
        return CONTAINER_OF(l, struct kv_op, link);
    }
    return calloc(1, sizeof(struct kv_op));
}

struct kv_op *kv_op_new(struct cairn_rpc_req *rq, const struct cairn_sm_kind *kind)
{
    struct kv_worker *w = kv_worker_of(rq);
    struct kv_op *op;

    if (w->nops >= KV_OPS_MAX) {
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "%s: %u operations wait already", w->provider->name, w->nops);
        return NULL;
    }
    op = op_take(w);
    if (op == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return NULL;
    }
    w->nops++;
    cairn_list_init(&op->link);
    cairn_list_init(&op->batch);
    op->worker = w;
    op->rq = rq;
    op->rc = 0;
    op->err.code = 0;
    op->err.text[0] = '\0';
    op->old = NULL;
    op->snapshot = NULL;
    op->work = NULL;
    op->reply = NULL;
    atomic_store_explicit(&op->canceled, rq->canceled, memory_order_relaxed);
    rq->on_cancel = on_cancel;
    rq->on_cancel_arg = op;
    cairn_sm_init(&op->sm, kind, &w->loop->machines);
    return op;
}

/* The structure goes back to its worker. */
void kv_op_end(struct kv_op *op)
{
    struct kv_worker *w = op->worker;

    cairn_sm_fini(&op->sm);
    kv_snapshot_done(w, op->snapshot);
    w->nops--;
    if (w->nspare >= KV_OPS_SPARE_MAX) {
        op_free(op);
        return;
    }
    cairn_kv_page_trim(&op->page, KV_OP_BUF_BYTES);
    cairn_list_add_head(&w->spare, &op->link);
    w->nspare++;
}

void kv_op_fail(struct kv_op *op, uint32_t state, int rc)
{
    struct cairn_rpc_req *rq = op->rq;

    op->rq = NULL;
    op->rc = rc;
    free(op->old);
    op->old = NULL;
    cairn_sm_fail(&op->sm, state, rc > 0 ? CAIRN_E_NOTFOUND : rc);
    if (op->err.text[0] != '\0')
        cairn_rpc_reply_err(rq, rc, "%s", op->err.text);
    else
        kv_reply_failure(rq, rc);
    kv_op_end(op);
}

/* ---- writes ---- */

/* On the committer's thread: keeps what was there until the answer. */
static void on_old(struct cairn_kv_write *write, const uint8_t *val, int64_t len)
{
    struct kv_op *op = CONTAINER_OF(write, struct kv_op, write);

    op->old_len = len;
    if (len <= 0)
        return;
    op->old = malloc((size_t)len);
    if (op->old != NULL)
        memcpy(op->old, val, (size_t)len);
}

static void on_written(struct cairn_kv_write *write, int rc)
{
    struct kv_op *op = CONTAINER_OF(write, struct kv_op, write);
    struct cairn_rpc_req *rq = op->rq;
    uint8_t *old = op->old;

    if (rc == 0 && write->n == 1 && op->status != 0 && write->status == &op->status)
        rc = op->status;
    if (rc != 0) {
        kv_op_fail(op, WRITE_FAILED, rc);
        return;
    }
    op->rq = NULL;
    op->old = NULL;
    cairn_sm_move(&op->sm, WRITE_REPLIED);
    if (write->want_old && op->old_len > 0 && old == NULL)
        cairn_rpc_reply_err(rq, CAIRN_E_UNKNOWN, "written, but there was no memory for the value that was there");
    else if (write->want_old)
        kv_reply_old(rq, old, op->old_len);
    else if (write->status == &op->status)
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    else
        kv_reply_statuses(rq, write->status, write->n);
    free(old);
    kv_op_end(op);
}

/* Puts the value where it stays: a small one into the kept buffer. */
static int op_copy_value(struct kv_op *op)
{
    struct cairn_rpc_req *rq = op->rq;
    int rc;

    op->write.value_bytes = rq->payload_len;
    if (rq->payload_len == 0 || rq->payload_len > KV_OP_BUF_BYTES) {
        rc = cairn_rpc_req_hold_payload(rq);
        op->write.values = rq->payload;
        return rc;
    }
    if (op->buf == NULL)
        op->buf = malloc(KV_OP_BUF_BYTES);
    if (op->buf == NULL)
        return CAIRN_E_NOMEM;
    memcpy(op->buf, rq->payload, rq->payload_len);
    op->write.values = op->buf;
    return 0;
}

void kv_op_write(struct kv_op *op)
{
    struct kv_worker *w = op->worker;
    struct cairn_kv_write *write = &op->write;
    int rc = op_copy_value(op);

    if (rc != 0) {
        kv_op_fail(op, WRITE_FAILED, rc);
        return;
    }
    write->old = on_old;
    write->loop = w->loop;
    write->worker = w->index;
    write->deadline_ns = op->rq->deadline_ns;
    write->canceled = &op->canceled;
    write->done = on_written;
    op->old_len = -1;
    cairn_sm_move(&op->sm, WRITE_COMMITTING);
    rc = w->provider->ops->write(w->provider->store, write);
    if (rc != CAIRN_KV_LATER)
        kv_op_fail(op, WRITE_FAILED, rc);
}

/* ---- work for the pool ---- */

static void work_finish(struct kv_op *op)
{
    if (op->rc != 0) { /* a cancel that came after the work does not count: a database was made or dropped */
        kv_op_fail(op, WORK_FAILED, op->rc);
        return;
    }
    op->reply(op);
    op->rq = NULL;
    cairn_sm_move(&op->sm, WORK_REPLIED);
    kv_op_end(op);
}

static void work_one(struct kv_op *op)
{
    if (atomic_load_explicit(&op->canceled, memory_order_relaxed))
        op->rc = CAIRN_E_CANCELED;
    else
        op->work(op);
}

/* On a pool thread. */
static void on_job_work(struct cairn_job *job)
{
    struct kv_op *op = CONTAINER_OF(job, struct kv_op, job);

    work_one(op);
    CAIRN_LIST_FOREACH (l, &op->batch) {
        work_one(CONTAINER_OF(l, struct kv_op, link));
    }
}

/* Calls have jobs of their own, so that one that takes long leaves the reads theirs. */
static uint32_t *jobs_of(struct kv_op *op)
{
    return op->is_call ? &op->worker->ncalls : &op->worker->njobs;
}

static void on_job_done(struct cairn_job *job)
{
    struct kv_op *op = CONTAINER_OF(job, struct kv_op, job);
    struct kv_worker *w = op->worker;
    struct cairn_link batch, *l;
    uint32_t *jobs = jobs_of(op);

    cairn_list_init(&batch);
    cairn_list_splice(&batch, &op->batch);
    work_finish(op);
    while ((l = cairn_list_pop(&batch)) != NULL)
        work_finish(CONTAINER_OF(l, struct kv_op, link));
    (*jobs)--;
    if (w->nreads > 0)
        cairn_env_defer(&w->loop->env, &w->start_reads);
}

/* Submits @op and those on its batch; false if the pool is full. */
static bool job_submit(struct kv_op *op)
{
    struct kv_worker *w = op->worker;

    op->job.work = on_job_work;
    op->job.done = on_job_done;
    (*jobs_of(op))++;
    cairn_sm_move(&op->sm, WORK_ON_POOL);
    CAIRN_LIST_FOREACH (l, &op->batch) {
        cairn_sm_move(&CONTAINER_OF(l, struct kv_op, link)->sm, WORK_ON_POOL);
    }
    if (cairn_pool_submit(w->provider->pool, w->loop, &op->job) == 0)
        return true;
    (*jobs_of(op))--; /* on to FAILED, by the caller */
    return false;
}

static void job_refused(struct kv_op *op)
{
    struct cairn_link batch, *l;

    cairn_list_init(&batch);
    cairn_list_splice(&batch, &op->batch);
    kv_op_fail(op, WORK_FAILED, CAIRN_E_BUSY);
    while ((l = cairn_list_pop(&batch)) != NULL)
        kv_op_fail(CONTAINER_OF(l, struct kv_op, link), WORK_FAILED, CAIRN_E_BUSY);
}

/* Spreads the reads that wait over the jobs that may still start: few reads go side by side, many go in larger jobs. */
static void on_start_reads(void *arg)
{
    struct kv_worker *w = arg;

    while (w->nreads > 0 && w->njobs < KV_READ_JOBS_MAX) {
        uint32_t jobs = KV_READ_JOBS_MAX - w->njobs;
        uint32_t share = MIN((w->nreads + jobs - 1) / jobs, (uint32_t)KV_READS_PER_JOB_MAX);
        struct kv_op *op = CONTAINER_OF(cairn_list_pop(&w->reads), struct kv_op, link);

        for (uint32_t i = 1; i < share; i++)
            cairn_list_add_tail(&op->batch, cairn_list_pop(&w->reads));
        w->nreads -= share;
        if (!job_submit(op))
            job_refused(op);
    }
}

void kv_op_read(struct kv_op *op)
{
    struct kv_worker *w = op->worker;

    op->is_call = false;
    cairn_list_add_tail(&w->reads, &op->link);
    w->nreads++;
    cairn_env_defer(&w->loop->env, &w->start_reads); /* when this turn's requests are all known */
}

void kv_op_call(struct kv_op *op)
{
    op->is_call = true;
    if (!job_submit(op))
        job_refused(op);
}
