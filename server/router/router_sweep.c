/* The sweeper: removes what nothing names. Runs at home: once after a start that follows an unclean end, for what a
 * crash left; and again and again in a cluster, where it alone removes regions of namespaces that are spread over
 * nodes.
 *
 *   DATABASES ---> DROP ---> DATABASES        for each KV provider: databases of namespaces that are no more
 *   DATABASES ---> LIST ---> BARRIER ---> OPEN ---> SCAN ---> REMOVE ---> DONE
 *   SCAN ---> OPEN        BARRIER ---> REMOVE        REMOVE ---> REMOVE        REMOVE ---> LIST
 *   BARRIER ---> LOGS ---> OPEN        LOGS ---> REMOVE        SCAN ---> FLUSH ---> REMOVE
 *   DATABASES ---> DONE        All may also go to STOPPED.
 *
 * DATABASES  a KV provider is being asked which databases it has.
 * DROP       one of a namespace that is gone is being dropped.
 * LIST       an extent provider is being asked for its regions; those that are ours (by their owner) are candidates.
 * BARRIER    candidates may belong to values that are being put right now. The workers answer when the puts that ran
 *            have ended: then each candidate is a part of an upload (and stays), is named by a record, or never will
 *            be. (Regions never change records.)
 * LOGS       in a cluster: candidates that entries of slots' logs name are being found; they are none any more. What is
 *            fetched or stored from the begin of the sweep on is pinned at the cluster's service to its end. A region
 *            is in a log before it is in a record: what no log names now, a record does by now, or nothing will.
 * OPEN       the next namespace that may name candidates is being looked for, its database opened.
 * SCAN       a page of its records is being read; candidates that it names are none any more.
 * FLUSH      in a cluster: all records have been seen, and are being made durable: a region is freed when what has
 *            replaced it is (PROTOCOL §5).
 * REMOVE     the candidates that are left, and are not pinned, are being removed; nobody can pin these meanwhile.
 * DONE       nothing is left.
 * STOPPED    something could not be learned, or the node ends: nothing was removed on a guess.
 *
 * Memory is bounded by candidates: at most ROUTER_SWEEP_SET_MAX at a time, and the records are read once for each such
 * part. Load is bounded by one call at a time, each followed by a rest as long as the call took. */
#include "server/router/sweep_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    SWEEP_REST_MS_MAX = 100,
    SWEEP_SHARE = 20, /* the next one begins after so many times as long as this one took, or so many intervals */
};

#define TO(state) CAIRN_SM_TO(SWEEP_##state)
static const struct cairn_sm_state sweep_states[SWEEP_NR] = {
    [SWEEP_DATABASES] = { "DATABASES", CAIRN_SM_INITIAL, TO(DROP) | TO(LIST) | TO(DONE) | TO(STOPPED) },
    [SWEEP_DROP] = { "DROP", 0, TO(DATABASES) | TO(STOPPED) },
    [SWEEP_LIST] = { "LIST", 0, TO(BARRIER) | TO(STOPPED) },
    [SWEEP_BARRIER] = { "BARRIER", 0, TO(LOGS) | TO(OPEN) | TO(REMOVE) | TO(STOPPED) },
    [SWEEP_LOGS] = { "LOGS", 0, TO(OPEN) | TO(REMOVE) | TO(STOPPED) },
    [SWEEP_OPEN] = { "OPEN", 0, TO(SCAN) | TO(STOPPED) },
    [SWEEP_SCAN] = { "SCAN", 0, TO(OPEN) | TO(FLUSH) | TO(REMOVE) | TO(STOPPED) },
    [SWEEP_FLUSH] = { "FLUSH", 0, TO(REMOVE) | TO(STOPPED) },
    [SWEEP_REMOVE] = { "REMOVE", 0, TO(REMOVE) | TO(LIST) | TO(DONE) | TO(STOPPED) },
    [SWEEP_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [SWEEP_STOPPED] = { "STOPPED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool sweep_invariant(const struct cairn_sm *sm)
{
    const struct router_sweep *s = CONTAINER_OF(sm, const struct router_sweep, sm);

    return CAIRN_HOLDS(sm->state != SWEEP_LOGS || s->router->conf.cluster != NULL) &&
           CAIRN_HOLDS(s->candidates.at == 0 ||
                       sm->state >= SWEEP_REMOVE) && /* none is taken while others are looked for */
           CAIRN_HOLDS(sm->state != SWEEP_REMOVE || s->space == s->nspaces) && /* every record was seen */
           CAIRN_HOLDS(sm->state == SWEEP_SCAN || s->pinned == NULL || cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(sm->state != SWEEP_DONE || (!s->more && !s->calling));
}

const struct cairn_sm_kind router_sweep_kind = { "router-sweep", sweep_states, SWEEP_NR, sweep_invariant, 0 };

static void sweep_plan(struct cairn_router *r);

/* ---- ends ---- */

static void sweep_ended(struct router_sweep *s)
{
    cairn_sm_fini(&s->sm);
    router_spread_fini(&s->spread);
    s->running = false;
    if (s->done != NULL)
        cairn_env_defer(&router_home(s->router)->loop->env, &s->done_task);
    else
        sweep_plan(s->router);
}

void router_sweep_stop(struct router_sweep *s, int rc, const char *why)
{
    atomic_store(&s->router->left_garbage, true);
    cairn_log_warn("the sweep for regions that nothing names ends early, the next start will go on: %s", why);
    cairn_sm_fail(&s->sm, SWEEP_STOPPED, rc);
    sweep_ended(s);
}

void router_sweep_finish(struct router_sweep *s)
{
    cairn_sm_move(&s->sm, SWEEP_DONE);
    if (s->removed > 0)
        cairn_log_info("%" PRIu64 " regions that nothing named were removed", s->removed);
    sweep_ended(s);
}

/* ---- one call at a time, and a rest after each ---- */

static void sweep_on_rested(void *arg)
{
    struct router_sweep *s = arg;

    if (s->stopping)
        router_sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
    else
        s->resume(s);
}

static void sweep_sleep(struct router_sweep *s, uint64_t ns, void (*resume)(struct router_sweep *s))
{
    struct cairn_env *env = &router_home(s->router)->loop->env;

    s->resume = resume;
    if (cairn_timer_start(env, &s->rest, cairn_env_now_ns(env) + ns) != 0)
        router_sweep_stop(s, CAIRN_E_NOMEM, "out of memory");
}

void router_sweep_rest(struct router_sweep *s, void (*resume)(struct router_sweep *s))
{
    uint64_t now = cairn_env_now_ns(&router_home(s->router)->loop->env), took = now - MIN(now, s->began_ns);

    sweep_sleep(s, MIN(took, SWEEP_REST_MS_MAX * CAIRN_NS_PER_MS), resume);
}

/* For somebody else's work, which will end by itself. */
void router_sweep_wait(struct router_sweep *s, void (*resume)(struct router_sweep *s))
{
    sweep_sleep(s, SWEEP_REST_MS_MAX * CAIRN_NS_PER_MS, resume);
}

void router_sweep_call(struct router_sweep *s, const struct cairn_rpc_target *target, uint32_t method,
                       void (*done)(struct cairn_rpc_call *call))
{
    struct router_worker *home = router_home(s->router);

    s->calling = true;
    s->began_ns = cairn_env_now_ns(&home->loop->env);
    router_call_prepare(&s->call, home->rpc, target, method, &s->msg.base, done, s, &s->err);
    cairn_rpc_call_start(&s->call);
}

/* In done(): true if the sweep goes on. */
bool router_sweep_called(struct router_sweep *s)
{
    s->calling = false;
    if (s->call.rc != 0)
        router_sweep_stop(s, s->call.rc, s->err.text);
    return s->call.rc == 0;
}

const struct cairn_rpc_target *router_sweep_target(const struct router_sweep *s)
{
    return &s->router->env.targets[s->target];
}

/* The next provider of @iface, from the present one on; false if there is none. */
bool router_sweep_next_target(struct router_sweep *s, const struct cairn_rpc_iface *iface)
{
    while (s->target < s->router->env.ntargets && router_sweep_target(s)->iface != iface)
        s->target++;
    return s->target < s->router->env.ntargets;
}

/* ---- to the router ---- */

static void sweep_run(struct cairn_router *r, bool again)
{
    struct router_sweep *s = calloc(1, sizeof(*s));

    if (s == NULL || router_spread_init(&s->spread, r) != 0) {
        free(s);
        atomic_store(&r->left_garbage, true);
        if (again)
            sweep_plan(r);
        return;
    }
    s->router = r;
    s->again = again;
    s->until = r->loaded;
    s->running = true;
    s->started_ns = cairn_env_now_ns(&router_home(r)->loop->env);
    cairn_timer_init(&s->rest, sweep_on_rested, s);
    cairn_sm_init(&s->sm, &router_sweep_kind, &router_home(r)->loop->machines);
    r->sweep = s;
    s->began_ns = cairn_env_now_ns(&router_home(r)->loop->env);
    router_sweep_rest(s, again ? router_sweep_list : router_sweep_databases);
}

static void sweep_on_time(void *arg)
{
    struct cairn_router *r = arg;

    router_sweep_free(r);
    sweep_run(r, true);
}

/* The next one. */
static void sweep_plan(struct cairn_router *r)
{
    struct cairn_env *env = &router_home(r)->loop->env;
    uint64_t now = cairn_env_now_ns(env), took = r->sweep != NULL ? now - r->sweep->started_ns : 0;
    uint64_t interval = r->conf.sweep_interval_ms * CAIRN_NS_PER_MS;

    if (r->conf.cluster == NULL || r->quiescing)
        return;
    cairn_timer_init(&r->sweep_timer, sweep_on_time, r);
    if (cairn_timer_start(env, &r->sweep_timer, now + MAX(interval, SWEEP_SHARE * MIN(took, interval))) != 0)
        atomic_store(&r->left_garbage, true); /* then it is the next start's */
}

void router_sweep_start(struct cairn_router *r)
{
    if (r->was_unclean || r->conf.sweep_always)
        sweep_run(r, false);
    else
        sweep_plan(r);
}

static void sweep_on_done(void *arg)
{
    struct router_sweep *s = arg;

    s->done(s->done_arg);
}

static void quiesce_on_idle(void *arg)
{
    struct cairn_router *r = arg;

    r->quiesced(r->quiesced_arg);
}

void router_sweep_quiesce(struct cairn_router *r, void (*done)(void *arg), void *arg)
{
    struct router_sweep *s = r->sweep;

    if (r->conf.cluster != NULL && !r->quiescing)
        cairn_timer_stop(&router_home(r)->loop->env, &r->sweep_timer);
    r->quiescing = true;
    if (s == NULL) {
        r->quiesced = done;
        r->quiesced_arg = arg;
        cairn_task_init(&r->quiesced_task, quiesce_on_idle, r);
        cairn_env_defer(&router_home(r)->loop->env, &r->quiesced_task);
        return;
    }
    s->done = done;
    s->done_arg = arg;
    s->stopping = true;
    cairn_task_init(&s->done_task, sweep_on_done, s);
    if (!s->running) {
        cairn_env_defer(&router_home(r)->loop->env, &s->done_task);
    } else if (!s->calling) {
        cairn_timer_stop(&router_home(r)->loop->env, &s->rest);
        router_sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
    }
}

void router_sweep_free(struct cairn_router *r)
{
    if (r->sweep == NULL)
        return;
    CAIRN_ASSERT(!r->sweep->running);
    router_sweep_set_fini(&r->sweep->candidates);
    free(r->sweep->spaces);
    free(r->sweep);
    r->sweep = NULL;
}

void router_sweep_status(const struct cairn_router *r, json_t *to)
{
    json_object_set_new(to, "swept_regions", json_integer((json_int_t)atomic_load(&r->swept)));
    json_object_set_new(to, "left_garbage", json_boolean(atomic_load(&r->left_garbage)));
}
