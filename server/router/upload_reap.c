/* The reaper: removes the parts of uploads that nobody goes on with. Runs at home while there are uploads.
 *
 *   WAIT ---> REMOVE ---> WAIT        WAIT may also go to DONE.
 *
 * WAIT    no upload's time is over; a timer runs until the next one's is.
 * REMOVE  one was taken out of the table; its regions are being removed.
 * DONE    there is no upload any more, or the node ends (its next start removes what is left). */
#include "server/router/upload.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

enum { REAP_WAIT, REAP_REMOVE, REAP_DONE, REAP_NR };

#define TO(state) CAIRN_SM_TO(REAP_##state)
static const struct cairn_sm_state reap_states[REAP_NR] = {
    [REAP_WAIT] = { "WAIT", CAIRN_SM_INITIAL, TO(REMOVE) | TO(DONE) },
    [REAP_REMOVE] = { "REMOVE", 0, TO(WAIT) },
    [REAP_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};

struct router_reaper {
    struct cairn_sm sm;
    struct cairn_router *router;
    struct cairn_task wake;
    atomic_bool posted, stopping;
    bool alive; /* @sm is */
    struct cairn_timer timer;
    struct router_expired expired; /* what is being removed */
    union router_msg msg;
    struct cairn_err err;
    struct cairn_rpc_call call;
    void (*done)(void *arg);
    void *done_arg;
};

static bool reap_invariant(const struct cairn_sm *sm)
{
    const struct router_reaper *x = CONTAINER_OF(sm, const struct router_reaper, sm);

    return CAIRN_HOLDS((sm->state == REAP_REMOVE) == (x->expired.ids != NULL)) &&
           CAIRN_HOLDS(sm->state == REAP_WAIT || !cairn_timer_is_running(&x->timer));
}

const struct cairn_sm_kind router_reap_kind = { "router-reap", reap_states, REAP_NR, reap_invariant, 0 };

static void reap_look(struct router_reaper *x);

static struct cairn_env *reap_env(const struct router_reaper *x)
{
    return &router_home(x->router)->loop->env;
}

static void reap_end(struct router_reaper *x)
{
    cairn_timer_stop(reap_env(x), &x->timer);
    cairn_sm_move(&x->sm, REAP_DONE);
    cairn_sm_fini(&x->sm);
    x->alive = false;
    if (x->done != NULL)
        router_sweep_quiesce(x->router, x->done, x->done_arg);
}

static void reap_on_removed(struct cairn_rpc_call *call)
{
    struct router_reaper *x = call->arg;
    uint32_t failed = 0;

    if (call->rc != 0) {
        failed = x->expired.nids;
        router_garbage_note_name(x->router, x->expired.ns, failed, x->err.text);
    } else {
        failed = router_count_left(call);
        if (failed > 0)
            router_garbage_note_name(x->router, x->expired.ns, failed, "the extent provider could not");
    }
    if (x->expired.nids > failed)
        cairn_log_info("namespace '%s': %" PRIu32 " parts of a value that was not completed were removed",
                       x->expired.ns, x->expired.nids - failed);
    free(x->expired.ids);
    x->expired.ids = NULL;
    cairn_sm_move(&x->sm, REAP_WAIT);
    reap_look(x);
}

static void reap_remove(struct router_reaper *x)
{
    cairn_timer_stop(reap_env(x), &x->timer);
    cairn_sm_move(&x->sm, REAP_REMOVE);
    cairn__wire__extent_remove__init(&x->msg.extent_remove);
    x->msg.extent_remove.ids = x->expired.ids;
    x->msg.extent_remove.n_ids = x->expired.nids;
    router_call_prepare(&x->call, router_home(x->router)->rpc, x->expired.extent,
                        CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, &x->msg.base, reap_on_removed, x, &x->err);
    cairn_rpc_call_start(&x->call);
}

static void reap_look(struct router_reaper *x)
{
    uint64_t next_ns;

    if (atomic_load(&x->stopping)) {
        reap_end(x);
        return;
    }
    if (router_uploads_take_expired(x->router, cairn_env_now_ns(reap_env(x)), &x->expired, &next_ns))
        reap_remove(x);
    else if (next_ns == UINT64_MAX)
        reap_end(x);
    else if (cairn_timer_start(reap_env(x), &x->timer, next_ns) != 0)
        cairn_log_warn("out of memory: parts of values that are not completed stay until the next upload");
}

static void reap_on_timer(void *arg)
{
    reap_look(arg);
}

static void reap_on_wake(void *arg)
{
    struct router_reaper *x = arg;

    atomic_store(&x->posted, false); /* before the look: what comes from now on wakes again */
    if (atomic_load(&x->stopping))
        return;
    if (!x->alive) {
        cairn_sm_init(&x->sm, &router_reap_kind, &router_home(x->router)->loop->machines);
        x->alive = true;
    }
    if (x->sm.state == REAP_WAIT)
        reap_look(x);
}

/* ---- to the router ---- */

int router_reap_init(struct cairn_router *r)
{
    struct router_reaper *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return CAIRN_E_NOMEM;
    x->router = r;
    cairn_task_init(&x->wake, reap_on_wake, x);
    cairn_timer_init(&x->timer, reap_on_timer, x);
    r->reaper = x;
    return 0;
}

void router_reap_wake(struct cairn_router *r)
{
    struct router_reaper *x = r->reaper;

    if (!atomic_load(&x->stopping) && !atomic_exchange(&x->posted, true))
        cairn_loop_post(router_home(r)->loop, &x->wake);
}

void router_reap_quiesce(struct cairn_router *r, void (*done)(void *arg), void *arg)
{
    struct router_reaper *x = r->reaper;

    atomic_store(&x->stopping, true); /* no request is left that could wake it */
    if (atomic_exchange(&x->posted, false))
        cairn_loop_unpost(router_home(r)->loop, &x->wake);
    if (!x->alive) {
        router_sweep_quiesce(r, done, arg);
        return;
    }
    x->done = done;
    x->done_arg = arg;
    if (x->sm.state == REAP_WAIT)
        reap_end(x);
}

void router_reap_free(struct cairn_router *r)
{
    CAIRN_ASSERT(r->reaper == NULL || !r->reaper->alive);
    free(r->reaper);
    r->reaper = NULL;
}
