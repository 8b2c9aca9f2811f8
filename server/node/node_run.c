/* The life of a node that has been opened: its threads, and its end.
 *
 *   OPEN ---> SERVING ---> LEAVING ---> DRAINING ---> QUIESCING ---> ENDING ---> STOPPED
 *
 * OPEN       everything is open; no worker runs.
 * SERVING    the workers run and connections are accepted.
 * LEAVING    as ever; meanwhile others take over what this node does for them.
 * DRAINING   no new connections; the requests that run are answered, or cut off when the drain time is over.
 * QUIESCING  no connection is left; providers end what they do in the background.
 * ENDING     requests that nobody waits for any more come to their end, on whichever workers they need.
 * STOPPED    the loops end, and whoever waits is told. */
#include "server/node/node.h"

#include "server/node/workspace.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { NODE_OPEN, NODE_SERVING, NODE_LEAVING, NODE_DRAINING, NODE_QUIESCING, NODE_ENDING, NODE_STOPPED, NODE_NR };
enum { IDLE_RETRY_MS = 10, IDLE_ROUNDS = 2 };

static const struct cairn_sm_state node_states[NODE_NR] = {
    [NODE_OPEN] = { "OPEN", CAIRN_SM_INITIAL, CAIRN_SM_TO(NODE_SERVING) },
    [NODE_SERVING] = { "SERVING", 0, CAIRN_SM_TO(NODE_LEAVING) },
    [NODE_LEAVING] = { "LEAVING", 0, CAIRN_SM_TO(NODE_DRAINING) },
    [NODE_DRAINING] = { "DRAINING", 0, CAIRN_SM_TO(NODE_QUIESCING) },
    [NODE_QUIESCING] = { "QUIESCING", 0, CAIRN_SM_TO(NODE_ENDING) },
    [NODE_ENDING] = { "ENDING", 0, CAIRN_SM_TO(NODE_STOPPED) },
    [NODE_STOPPED] = { "STOPPED", CAIRN_SM_FINAL, 0 },
};

static bool node_invariant(const struct cairn_sm *sm)
{
    const struct cairn_server *s = CONTAINER_OF(sm, const struct cairn_server, sm);

    return CAIRN_HOLDS(sm->state < NODE_DRAINING || s->nlisteners == 0) && /* whoever drains accepts nobody */
           CAIRN_HOLDS(sm->state < NODE_DRAINING || s->leaving == 0) &&
           CAIRN_HOLDS(sm->state < NODE_QUIESCING || s->undrained == 0) &&
           CAIRN_HOLDS(sm->state < NODE_ENDING || s->quiescing == 0) &&
           CAIRN_HOLDS(sm->state != NODE_STOPPED || (s->unidle == 0 && s->idle_rounds == IDLE_ROUNDS));
}

const struct cairn_sm_kind cairn_node_kind = { "node", node_states, NODE_NR, node_invariant, 0 };

/* ---- the end ---- */

static void node_await_idle(struct cairn_server *s);

static void on_worker_task(void *arg)
{
    struct cairn_worker *w = arg;

    w->work(w);
}

static void worker_do(struct cairn_worker *w, void (*work)(struct cairn_worker *w))
{
    w->work = work;
    cairn_task_init(&w->task, on_worker_task, w);
    cairn_loop_post(&w->loop, &w->task);
}

static void worker_end(struct cairn_worker *w)
{
    cairn_loop_stop(&w->loop);
}

static void on_worker_idle_here(void *arg)
{
    struct cairn_server *s = arg;

    CAIRN_ASSERT(s->unidle > 0);
    if (--s->unidle > 0)
        return;
    if (++s->idle_rounds < IDLE_ROUNDS) {
        node_await_idle(s);
        return;
    }
    cairn_sm_move(&s->sm, NODE_STOPPED);
    for (uint32_t i = 0; i < s->nworkers; i++)
        worker_do(&s->workers[i], worker_end);
}

/* Requests whose connection was lost may still run; each has a deadline. */
static void on_idle_timer(void *arg)
{
    struct cairn_worker *w = arg;

    if (cairn_rpc_is_idle(w->rpc)) {
        cairn_task_init(&w->task, on_worker_idle_here, w->node);
        cairn_loop_post(&w->node->workers[0].loop, &w->task);
    } else {
        cairn_timer_start(&w->loop.env, &w->idle_timer, cairn_loop_now(&w->loop) + IDLE_RETRY_MS * CAIRN_NS_PER_MS);
    }
}

static void worker_await_idle(struct cairn_worker *w)
{
    cairn_timer_init(&w->idle_timer, on_idle_timer, w);
    on_idle_timer(w);
}

/* No loop ends before all workers have been idle: the request of one may need another, which has none of its own.
 * When all have been, all requests are answered; the second time, what they had left to do after that is done as
 * well. */
static void node_await_idle(struct cairn_server *s)
{
    s->unidle = s->nworkers;
    for (uint32_t i = 0; i < s->nworkers; i++)
        worker_do(&s->workers[i], worker_await_idle);
}

static void on_quiesced(void *arg)
{
    struct cairn_server *s = arg;

    CAIRN_ASSERT(s->quiescing > 0);
    if (--s->quiescing == 0) {
        cairn_sm_move(&s->sm, NODE_ENDING);
        node_await_idle(s);
    }
}

static void node_quiesce(struct cairn_server *s)
{
    cairn_sm_move(&s->sm, NODE_QUIESCING);
    s->quiescing = 1; /* ours, so that a provider that is done at once does not end it early */
    for (uint32_t i = s->ninstances; i-- > 0;) { /* the router first: it uses the others */
        struct cairn_instance *p = &s->instances[i];

        if (p->desc->quiesce != NULL) {
            s->quiescing++;
            p->desc->quiesce(p->ctx, on_quiesced, s);
        }
    }
    on_quiesced(s);
}

static void on_worker_drained_here(void *arg)
{
    struct cairn_server *s = arg;

    CAIRN_ASSERT(s->undrained > 0);
    if (--s->undrained == 0)
        node_quiesce(s);
}

static void on_worker_drained(void *arg)
{
    struct cairn_worker *w = arg;

    cairn_task_init(&w->task, on_worker_drained_here, w->node);
    cairn_loop_post(&w->node->workers[0].loop, &w->task);
}

static void worker_drain(struct cairn_worker *w)
{
    cairn_rpc_drain(w->rpc, cairn_loop_now(&w->loop) + w->node->conf.drain_ns, on_worker_drained, w);
}

static void node_drain(struct cairn_server *s)
{
    cairn_log_info("draining: no new connections, running requests are answered");
    atomic_store(&s->rpc_node.draining, true);
    cairn_workspace_withdraw(s->conf.workspace);
    cairn_node__listen_stop(s);
    cairn_watchdog_stop(s->watchdog);
    s->undrained = s->nworkers;
    cairn_sm_move(&s->sm, NODE_DRAINING);
    for (uint32_t i = 0; i < s->ninstances; i++) {
        if (s->instances[i].desc->drain != NULL)
            s->instances[i].desc->drain(s->instances[i].ctx);
    }
    for (uint32_t i = 0; i < s->nworkers; i++)
        worker_do(&s->workers[i], worker_drain);
}

static void on_left(void *arg)
{
    struct cairn_server *s = arg;

    CAIRN_ASSERT(s->leaving > 0);
    if (--s->leaving == 0)
        node_drain(s);
}

static void on_stop(void *arg)
{
    struct cairn_server *s = arg;

    if (s->sm.state != NODE_SERVING)
        return;
    cairn_notify_stopping(&s->notify, 2 * s->conf.drain_ns); /* LEAVING, then DRAINING */
    cairn_sm_move(&s->sm, NODE_LEAVING);
    s->leaving = 1; /* ours, as with quiescing */
    for (uint32_t i = 0; i < s->ninstances; i++) {
        struct cairn_instance *p = &s->instances[i];

        if (p->desc->leave != NULL) {
            s->leaving++;
            p->desc->leave(p->ctx, s->conf.drain_ns, on_left, s);
        }
    }
    on_left(s);
}

/* Set by a signal handler, perhaps: looked at whenever worker 0 is woken. */
static void on_worker0_flush(void *arg)
{
    struct cairn_server *s = arg;

    if (atomic_load_explicit(&s->stop_asked, memory_order_relaxed) && s->sm.state == NODE_SERVING)
        cairn_env_defer(&s->workers[0].loop.env, &s->stop_task);
}

void cairn_server_request_stop(struct cairn_server *s)
{
    atomic_store(&s->stop_asked, true);
    cairn_loop_wake(&s->workers[0].loop);
}

/* ---- threads ---- */

static void worker_crashed(void *arg)
{
    struct cairn_worker *w = arg;

    cairn_sm_set_dump(&w->loop.machines, w->node->log.fd);
}

static void worker_pin(struct cairn_worker *w)
{
    const struct cairn_node_conf *conf = &w->node->conf;
    cpu_set_t set;

    if (conf->npin == 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(conf->pin[w->index % conf->npin], &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
        cairn_log_warn("worker %u: cannot be pinned to CPU %u", w->index, conf->pin[w->index % conf->npin]);
}

static void node_serve(struct cairn_server *s)
{
    cairn_sm_init(&s->sm, &cairn_node_kind, &s->workers[0].loop.machines);
    cairn_sm_move(&s->sm, NODE_SERVING);
    for (uint32_t i = 0; i < s->ninstances; i++) {
        if (s->instances[i].desc->run != NULL)
            s->instances[i].desc->run(s->instances[i].ctx);
    }
    cairn_node__listen_start(s);
    cairn_watchdog_start(s->watchdog);
}

static void *worker_main(void *arg)
{
    struct cairn_worker *w = arg;
    struct cairn_server *s = w->node;
    struct cairn_hook hook = { .flush = on_worker0_flush, .arg = s };
    char name[16];

    snprintf(name, sizeof(name), "cairn-w%u", w->index);
    pthread_setname_np(pthread_self(), name);
    cairn_log_bind(&s->log);
    cairn_crash_hook(worker_crashed, w);
    worker_pin(w);
    if (w->index == 0) {
        cairn_task_init(&s->stop_task, on_stop, s);
        cairn_hook_add(&w->loop, &hook);
        node_serve(s);
    }
    cairn_loop_run(&w->loop);
    if (w->index == 0) {
        cairn_hook_del(&hook);
        cairn_sm_fini(&s->sm);
        pthread_mutex_lock(&s->mutex);
        s->stopped = true;
        pthread_cond_broadcast(&s->stopped_cond);
        pthread_mutex_unlock(&s->mutex);
    }
    cairn_crash_hook(NULL, NULL);
    cairn_log_bind(NULL);
    return NULL;
}

int cairn_node__run(struct cairn_server *s, struct cairn_err *err)
{
    for (uint32_t i = s->nworkers; i-- > 0;) { /* worker 0 last: it lets clients in */
        int e = pthread_create(&s->workers[i].thread, NULL, worker_main, &s->workers[i]);

        if (e != 0) {
            cairn_err_errno(err, e, "worker %u: thread", i);
            for (uint32_t j = i + 1; j < s->nworkers; j++)
                cairn_loop_stop(&s->workers[j].loop);
            cairn_node__join(s);
            return err->code;
        }
        s->workers[i].has_thread = true;
    }
    return 0;
}

void cairn_node__join(struct cairn_server *s)
{
    for (uint32_t i = 0; i < s->nworkers; i++) {
        if (s->workers[i].has_thread)
            pthread_join(s->workers[i].thread, NULL);
        s->workers[i].has_thread = false;
    }
}

int cairn_server_wait(struct cairn_server *s, int timeout_ms)
{
    struct timespec until;
    int e = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += MAX(timeout_ms, 0) / 1000;
    until.tv_nsec += (long)(MAX(timeout_ms, 0) % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->mutex);
    while (!s->stopped && e == 0) {
        if (timeout_ms < 0)
            pthread_cond_wait(&s->stopped_cond, &s->mutex);
        else
            e = pthread_cond_timedwait(&s->stopped_cond, &s->mutex, &until);
    }
    e = s->stopped ? CAIRN_OK : CAIRN_E_TIMEOUT;
    pthread_mutex_unlock(&s->mutex);
    return e;
}

void cairn_server_free(struct cairn_server *s)
{
    if (s == NULL)
        return;
    cairn_server_request_stop(s);
    cairn_server_wait(s, -1);
    cairn_node__join(s);
    cairn_node__close(s);
}
