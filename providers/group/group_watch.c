/* Requests that wait for the group to change, on whichever worker they came to. Worker 0, which sees the change, posts
 * one task to each worker where any waits.
 *
 *  WAITING ---> ANSWERED
 *
 *  WAITING   on its worker's list, with a deadline.
 *  ANSWERED  with what changed, or with an empty page: the time is over, the caller is gone or the node drains. */
#include "providers/group/group_internal.h"

enum { WATCH_WAITING, WATCH_ANSWERED, WATCH_NR };

static const struct cairn_sm_state watch_states[WATCH_NR] = {
    [WATCH_WAITING] = { "WAITING", CAIRN_SM_INITIAL, CAIRN_SM_TO(WATCH_ANSWERED) },
    [WATCH_ANSWERED] = { "ANSWERED", CAIRN_SM_FINAL, 0 },
};

struct group_watch {
    struct cairn_sm sm;
    struct cairn_link link;
    struct cairn_rpc_req *rq; /* which holds this, too */
    struct group_worker *worker;
    struct cairn_timer timer;
};

static bool watch_invariant(const struct cairn_sm *sm)
{
    const struct group_watch *w = CONTAINER_OF(sm, const struct group_watch, sm);

    return CAIRN_HOLDS(w->rq->deadline_ns > 0) &&
           CAIRN_HOLDS((sm->state == WATCH_ANSWERED) == cairn_list_is_empty(&w->link)) &&
           CAIRN_HOLDS(sm->state != WATCH_ANSWERED || !cairn_timer_is_running(&w->timer));
}

const struct cairn_sm_kind group_watch_kind = { "group-watch", watch_states, WATCH_NR, watch_invariant,
                                                2 * GROUP_WAIT_MS_MAX };

static void answer(struct group_watch *w)
{
    cairn_timer_stop(&w->worker->loop->env, &w->timer);
    cairn_list_del(&w->link);
    atomic_fetch_sub(&w->worker->nwatches, 1);
    cairn_sm_move(&w->sm, WATCH_ANSWERED);
    cairn_sm_fini(&w->sm);
    w->rq->on_cancel = NULL;
    group_reply_page(w->rq); /* and @w is gone */
}

static void on_timeout(void *arg)
{
    answer(arg);
}

static void on_cancel(struct cairn_rpc_req *rq, void *arg)
{
    (void)rq;
    answer(arg);
}

static void on_told(void *arg)
{
    struct group_worker *w = arg;
    struct cairn_link all;

    atomic_store(&w->told, false);
    cairn_list_init(&all);
    cairn_list_splice(&all, &w->watches); /* those that are answered may ask anew meanwhile */
    while (!cairn_list_is_empty(&all))
        answer(CONTAINER_OF(all.next, struct group_watch, link));
}

void group_worker_init(struct group_worker *w, struct group_provider *p, struct cairn_loop *loop)
{
    w->provider = p;
    w->loop = loop;
    cairn_list_init(&w->watches);
}

void group_watch_tell(struct group_provider *p)
{
    for (uint32_t i = 0; i < p->nworkers; i++) {
        struct group_worker *w = &p->workers[i];

        if (atomic_load(&w->nwatches) == 0 || atomic_exchange(&w->told, true))
            continue;
        cairn_task_init(&w->task, on_told, w);
        cairn_list_init(&w->task.link);
        cairn_loop_post(w->loop, &w->task);
    }
}

bool group_watch_begin(struct cairn_rpc_req *rq, uint32_t wait_ms)
{
    struct group_provider *p = rq->target->ctx;
    struct group_worker *worker = &p->workers[cairn_rpc_index(rq->rpc)];
    struct group_watch *w = cairn_arena_alloc(&rq->arena, sizeof(*w));
    uint64_t now = cairn_loop_now(worker->loop), wait_ns = wait_ms * CAIRN_NS_PER_MS;

    if (w == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return false;
    }
    w->rq = rq;
    w->worker = worker;
    cairn_timer_init(&w->timer, on_timeout, w);
    /* The answer has to be there before the caller's patience ends. */
    wait_ns = MIN(wait_ns, cairn_rpc_req_left_ns(rq, now) / 10 * 9);
    if (cairn_timer_start(&worker->loop->env, &w->timer, now + wait_ns) != 0) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return false;
    }
    cairn_list_add_tail(&worker->watches, &w->link);
    cairn_sm_init(&w->sm, &group_watch_kind, &worker->loop->machines);
    rq->on_cancel = on_cancel;
    rq->on_cancel_arg = w;
    return true;
}
