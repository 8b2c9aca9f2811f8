/* FLUSH: what skipped the log gets to the disk. One flush at a time serves all who asked before it began, on whatever
 * worker; who asks while one is under way waits for the next, since it may have written before that and after this
 * one began.
 *
 * Each flush makes a file, and the engine merges a few of them into all that is below: many small ones keep it at that,
 * until it lets no flush pass any more (half a second, where one alone takes 20 ms). Who asks alone is served at once;
 * but behind a flush that served several, as copies of many slots do, there is a gap, in which the next ones gather.
 *
 *   kv-flush    WAITING ---> REPLIED        WAITING may also go to FAILED.
 *
 *   WAITING     on one of the provider's lists, or on its way from there to its worker.
 *   REPLIED     the request is answered: on disk.   FAILED  with an error: nobody knows. A cancel changes nothing. */
#include "providers/kv/kv_internal.h"

enum { FLUSH_GAP_MS = 100 };

enum { FLUSH_WAITING, FLUSH_REPLIED, FLUSH_FAILED, FLUSH_NR };
static const struct cairn_sm_state flush_states[FLUSH_NR] = {
    [FLUSH_WAITING] = { "WAITING", CAIRN_SM_INITIAL, CAIRN_SM_TO(FLUSH_REPLIED) | CAIRN_SM_TO(FLUSH_FAILED) },
    [FLUSH_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [FLUSH_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool flush_invariant(const struct cairn_sm *sm)
{
    const struct kv_op *op = CONTAINER_OF(sm, const struct kv_op, sm);
    bool over = sm->state != FLUSH_WAITING;

    return CAIRN_HOLDS((op->rq == NULL) == over) &&                             /* answered exactly once, at the end */
           CAIRN_HOLDS(!over || cairn_list_is_empty(&op->link)) &&              /* no later flush speaks for it */
           CAIRN_HOLDS(!over || (op->rc == 0) == (sm->state == FLUSH_REPLIED)); /* no failure is told as a success */
}

const struct cairn_sm_kind kv_flush_kind = { "kv-flush", flush_states, FLUSH_NR, flush_invariant, 60000 };

void kv_flush_init(struct kv_flush *f)
{
    pthread_mutex_init(&f->mutex, NULL);
    cairn_list_init(&f->waiting);
    cairn_list_init(&f->served);
}

void kv_flush_fini(struct kv_flush *f)
{
    CAIRN_ASSERT(cairn_list_is_empty(&f->waiting) && cairn_list_is_empty(&f->served));
    if (f->busy) /* nobody waits for the end of the gap */
        cairn_timer_stop(&f->loop->env, &f->gap);
    pthread_mutex_destroy(&f->mutex);
}

void kv_flush_status(struct kv_flush *f, json_t *to)
{
    pthread_mutex_lock(&f->mutex);
    json_object_set_new(to, "flushes", json_integer((json_int_t)f->flushes));
    json_object_set_new(to, "flushes_asked", json_integer((json_int_t)f->asked));
    pthread_mutex_unlock(&f->mutex);
}

/* On the operation's own worker. */
static void on_answer(void *arg)
{
    struct kv_op *op = arg;
    struct cairn_rpc_req *rq = op->rq;

    if (op->rc != 0) {
        kv_op_fail(op, FLUSH_FAILED, op->rc);
        return;
    }
    op->rq = NULL;
    cairn_sm_move(&op->sm, FLUSH_REPLIED);
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    kv_op_end(op);
}

/* Gives each to its worker; those of @loop, the caller's, are answered now. Returns how many there were. */
static uint32_t answer_all(struct cairn_link *ops, struct cairn_loop *loop, int rc)
{
    struct cairn_link *l;
    uint32_t n = 0;

    while ((l = cairn_list_pop(ops)) != NULL) {
        struct kv_op *op = CONTAINER_OF(l, struct kv_op, link);

        op->rc = rc;
        n++;
        if (op->worker->loop == loop)
            on_answer(op);
        else
            cairn_loop_post(op->worker->loop, &op->answer);
    }
    return n;
}

/* On a pool thread. */
static void on_flush_work(struct cairn_job *job)
{
    struct kv_provider *p = CONTAINER_OF(job, struct kv_provider, flush.job);

    p->flush.rc = p->ops->flush(p->store);
}

/* Begins a flush for all that wait; when the pool is full they are told so. */
static void flush_start(struct kv_provider *p)
{
    struct kv_flush *f = &p->flush;
    struct cairn_loop *loop = f->loop;
    struct cairn_link refused;

    cairn_list_init(&refused);
    pthread_mutex_lock(&f->mutex);
    cairn_list_splice(&f->served, &f->waiting);
    f->flushes++;
    pthread_mutex_unlock(&f->mutex);
    if (cairn_pool_submit(p->pool, loop, &f->job) == 0)
        return;
    pthread_mutex_lock(&f->mutex);
    cairn_list_splice(&refused, &f->served);
    cairn_list_splice(&refused, &f->waiting); /* who came meanwhile */
    f->busy = false;
    f->flushes--;
    pthread_mutex_unlock(&f->mutex);
    answer_all(&refused, loop, CAIRN_E_BUSY);
}

/* The next one, if anybody waits for it. */
static void flush_next(void *arg)
{
    struct kv_provider *p = arg;
    struct kv_flush *f = &p->flush;
    bool again;

    pthread_mutex_lock(&f->mutex);
    again = f->busy = !cairn_list_is_empty(&f->waiting);
    pthread_mutex_unlock(&f->mutex);
    if (again)
        flush_start(p);
}

static void on_flush_done(struct cairn_job *job)
{
    struct kv_provider *p = CONTAINER_OF(job, struct kv_provider, flush.job);
    struct kv_flush *f = &p->flush;
    struct cairn_env *env = &f->loop->env;
    struct cairn_link served;
    bool several;

    cairn_list_init(&served);
    pthread_mutex_lock(&f->mutex);
    cairn_list_splice(&served, &f->served);
    pthread_mutex_unlock(&f->mutex);
    several = answer_all(&served, f->loop, f->rc) > 1;
    if (!several || cairn_timer_start(env, &f->gap, cairn_env_now_ns(env) + FLUSH_GAP_MS * CAIRN_NS_PER_MS) != 0)
        flush_next(p);
}

void kv_handle_flush(struct cairn_rpc_req *rq)
{
    struct kv_provider *p = kv_provider_of(rq);
    struct kv_flush *f = &p->flush;
    struct kv_op *op;
    bool first;

    if (p->ops->flush == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_UNSUPPORTED, "%s: backend %s keeps nothing on disk", rq->target->name,
                            p->ops->name);
        return;
    }
    op = kv_op_new(rq, &kv_flush_kind);
    if (op == NULL)
        return;
    cairn_task_init(&op->answer, on_answer, op);
    pthread_mutex_lock(&f->mutex);
    cairn_list_add_tail(&f->waiting, &op->link);
    f->asked++;
    first = !f->busy;
    f->busy = true;
    pthread_mutex_unlock(&f->mutex);
    if (!first)
        return;
    f->loop = op->worker->loop;
    f->job.work = on_flush_work;
    f->job.done = on_flush_done;
    cairn_timer_init(&f->gap, flush_next, p);
    flush_start(p);
}
