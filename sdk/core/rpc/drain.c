/* The end of a target: its peers are told, and leave when their requests are answered. See accept.h. */
#include "sdk/core/rpc/accept.h"

#include "sdk/core/rpc/rpc_internal.h"

void cairn_rpc__drain_check(struct cairn_rpc *rpc)
{
    if (rpc->drain.on && cairn_list_is_empty(&rpc->peers))
        cairn_env_defer(&rpc->loop->env, &rpc->drain.task);
}

static void on_drained(void *arg)
{
    struct cairn_rpc *rpc = arg;

    if (!rpc->drain.on)
        return;
    rpc->drain.on = false;
    cairn_timer_stop(&rpc->loop->env, &rpc->drain.timer);
    cairn_rpc__sessions_drained(rpc);
    rpc->drain.done(rpc->drain.arg);
}

static void on_drain_deadline(void *arg)
{
    struct cairn_rpc *rpc = arg;

    CAIRN_LIST_FOREACH_SAFE (l, &rpc->peers)
        cairn_rpc__peer_down(CONTAINER_OF(l, struct cairn_rpc_peer, link), CAIRN_E_SHUTDOWN);
    cairn_rpc__drain_check(rpc);
}

void cairn_rpc_drain(struct cairn_rpc *rpc, uint64_t deadline_ns, void (*done)(void *arg), void *arg)
{
    rpc->drain.on = rpc->drain.begun = true;
    rpc->drain.done = done;
    rpc->drain.arg = arg;
    cairn_task_init(&rpc->drain.task, on_drained, rpc);
    cairn_timer_init(&rpc->drain.timer, on_drain_deadline, rpc);
    cairn_timer_start(&rpc->loop->env, &rpc->drain.timer, deadline_ns);
    CAIRN_LIST_FOREACH_SAFE (l, &rpc->peers) {
        struct cairn_rpc_peer *peer = CONTAINER_OF(l, struct cairn_rpc_peer, link);

        if (peer->sm.state == PEER_UP)
            cairn_rpc__peer_leave(peer);
        else if (peer->sm.state == PEER_GREETING)
            cairn_rpc__peer_down(peer, CAIRN_E_SHUTDOWN);
    }
    cairn_rpc__drain_check(rpc);
}
