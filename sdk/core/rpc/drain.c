/* The end of a target: those who connected to it are told, and leave when their requests are answered. Our own
 * sessions with others are their users' to close, who may need them until then. See accept.h. */
#include "sdk/core/rpc/accept.h"

#include "sdk/core/rpc/rpc_internal.h"

static struct cairn_rpc_peer *accepted_peer(struct cairn_link *l)
{
    struct cairn_rpc_peer *peer = CONTAINER_OF(l, struct cairn_rpc_peer, link);

    return peer->role->accepted ? peer : NULL;
}

static bool has_accepted(struct cairn_rpc *rpc)
{
    CAIRN_LIST_FOREACH (l, &rpc->peers) {
        if (accepted_peer(l) != NULL)
            return true;
    }
    return false;
}

void cairn_rpc__drain_check(struct cairn_rpc *rpc)
{
    if (rpc->drain.on && !has_accepted(rpc))
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

    CAIRN_LIST_FOREACH_SAFE (l, &rpc->peers) {
        if (accepted_peer(l) != NULL)
            cairn_rpc__peer_down(accepted_peer(l), CAIRN_E_SHUTDOWN);
    }
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
        struct cairn_rpc_peer *peer = accepted_peer(l);

        if (peer == NULL)
            continue;
        if (peer->sm.state == PEER_UP)
            cairn_rpc__peer_leave(peer);
        else if (peer->sm.state == PEER_GREETING)
            cairn_rpc__peer_down(peer, CAIRN_E_SHUTDOWN);
    }
    cairn_rpc__drain_check(rpc);
}
