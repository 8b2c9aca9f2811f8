/* Calls that whichever node is asked sends on to the one that coordinates: see cluster_admin.c.
 *
 * While a coordinator ends and another is elected nobody can answer them, and one that is stopped does not even say so.
 * None of them does anything twice, so they are asked again, after a pause that grows, until the call's time is over.
 * What the last answer said is then the call's. */
#include "sdk/client/client_internal.h"

enum { TRY_FIRST_MS = 2000, TRY_MAX_MS = 4000 }; /* for an answer: a coordinator that is stopped gives none */

static void on_pause_over(void *arg)
{
    cairn__call_again(arg);
}

void cairn__again_on(struct cairn_call *call)
{
    call->again.on = true;
    call->again.tries = 0;
    call->again.rc = 0;
    cairn_timer_init(&call->again.timer, on_pause_over, call);
}

uint64_t cairn__again_try_ns(const struct cairn_call *call)
{
    return MIN((uint64_t)TRY_FIRST_MS << MIN(call->again.tries, 8U), (uint64_t)TRY_MAX_MS) * CAIRN_NS_PER_MS;
}

bool cairn__again(struct cairn_call *call)
{
    struct cairn_env *env = &call->c->loop.env;
    uint64_t at;

    if (call->canceled || !cairn__route_is_passing(call->rpc.rc))
        return false;
    at = cairn_loop_now(&call->c->loop) + cairn__route_pause_ns(call->c, call->again.tries);
    if (at >= call->deadline_ns || cairn_timer_start(env, &call->again.timer, at) != 0)
        return false;
    call->again.tries++;
    call->again.rc = call->rpc.rc;
    return true;
}

int cairn__again_over(struct cairn_call *call, int rc)
{
    call->again.on = false;
    return rc == CAIRN_E_TIMEOUT && call->again.rc != 0 ? call->again.rc : rc;
}

void cairn__again_cancel(struct cairn_call *call)
{
    if (!cairn_timer_is_running(&call->again.timer))
        return;
    cairn_timer_stop(&call->c->loop.env, &call->again.timer);
    cairn__call_again(call);
}
