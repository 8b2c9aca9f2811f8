/* Calls of a session: they wait in order until its connection has credits for them, and a number where they need one;
 * what is told needs neither. See session.h. */
#include "sdk/core/rpc/session_internal.h"

void cairn_rpc__session_want(struct cairn_rpc_session *s, uint64_t at_ns)
{
    if (!cairn_timer_is_running(&s->timer) || s->timer.at_ns > at_ns)
        cairn_timer_start(&s->rpc->loop->env, &s->timer, at_ns);
}

/* It leaves the queue and ends from the loop. */
void cairn_rpc__session_end_waiting(struct cairn_rpc_session *s, struct cairn_rpc_call *call, int rc)
{
    cairn_list_del(&call->link);
    s->nwaiting--;
    if (call->numbered && s->seq_busy != NULL)
        s->seq_busy[call->seq & (s->window - 1)] = 0;
    call->rc = rc;
    if (call->err != NULL) {
        struct cairn_err why;

        cairn_rpc_session_why(s, &why);
        if (why.code != 0)
            cairn_err_set(call->err, rc, "%s", why.text);
    }
    cairn_env_defer(&s->rpc->loop->env, &call->task);
}

void cairn_rpc__session_end_all_waiting(struct cairn_rpc_session *s, int rc)
{
    while (!cairn_list_is_empty(&s->waiting))
        cairn_rpc__session_end_waiting(s, CONTAINER_OF(s->waiting.next, struct cairn_rpc_call, link), rc);
}

void cairn_rpc__session_queue(struct cairn_rpc_session *s, struct cairn_rpc_call *call)
{
    cairn_list_add_tail(&s->waiting, &call->link);
    s->nwaiting++;
    cairn_rpc__session_want(s, call->deadline_ns);
}

/* True if @call could be numbered, or needs no number. */
static bool session_number(struct cairn_rpc_session *s, struct cairn_rpc_call *call)
{
    if ((call_flags(call) & CAIRN_RPC_ONCE) == 0 || call->numbered)
        return true;
    if (s->seq_busy[s->next_seq & (s->window - 1)] != 0)
        return false;
    call->seq = s->next_seq++;
    call->numbered = true;
    s->seq_busy[call->seq & (s->window - 1)] = 1;
    return true;
}

static bool session_may_send(struct cairn_rpc_session *s, struct cairn_rpc_call *call)
{
    return s->sm.state == SESSION_UP && !s->peer->leaving && !s->peer->conn.broken &&
           cairn_rpc__peer_has_credit(s->peer, CAIRN_FRAME_HEADER_BYTES) && session_number(s, call);
}

static void session_send(struct cairn_rpc_session *s, struct cairn_rpc_call *call)
{
    struct cairn_rpc_peer *peer = s->peer;

    cairn_rpc__peer_send_call(peer, call);
    if (!call->numbered)
        return;
    if (call->sm.state == CALL_SENT)
        s->seq_of_place[call->id & (peer->calls_room - 1)] = (uint32_t)call->seq + 1;
    else
        s->seq_busy[call->seq & (s->window - 1)] = 0; /* no memory: it ends without having been sent */
}

void cairn_rpc__session_call(struct cairn_rpc_session *s, struct cairn_rpc_call *call)
{
    if (s->sm.state == SESSION_CLOSED || s->nwaiting >= CAIRN_SESSION_QUEUE_MAX) {
        call->rc = s->sm.state == SESSION_CLOSED ? CAIRN_E_CLOSED : CAIRN_E_BUSY;
        cairn_env_defer(&s->rpc->loop->env, &call->task);
        return;
    }
    if (s->nwaiting == 0 && session_may_send(s, call)) {
        session_send(s, call);
        return;
    }
    cairn_rpc__session_queue(s, call);
    if (s->sm.state == SESSION_IDLE)
        cairn_rpc__session_connect(s);
}

void cairn_rpc__session_call_cancel(struct cairn_rpc_session *s, struct cairn_rpc_call *call)
{
    if (call->sm.state == CALL_QUEUED) {
        cairn_rpc__session_end_waiting(s, call, CAIRN_E_CANCELED);
        return;
    }
    cairn_rpc__peer_abandon_call(s->peer, call); /* its number stays busy until the answer comes */
    call->numbered = false;
    cairn_sm_move(&call->sm, CALL_QUEUED);
    call->rc = CAIRN_E_CANCELED;
    cairn_env_defer(&s->rpc->loop->env, &call->task);
}

void cairn_rpc__session_pump(struct cairn_rpc_session *s)
{
    while (!cairn_list_is_empty(&s->waiting)) {
        struct cairn_rpc_call *call = CONTAINER_OF(s->waiting.next, struct cairn_rpc_call, link);

        if (!session_may_send(s, call))
            return;
        s->nwaiting--;
        session_send(s, call);
    }
}

/* Of what is told no answer comes: that the connection takes it is all the sign of life there is, so its loss is taken
 * for that of one which answered. */
int cairn_rpc_session_tell(struct cairn_rpc_session *s, const struct cairn_rpc_iface *iface, uint16_t provider,
                           uint16_t method, const struct iovec *payload, uint32_t n)
{
    struct cairn_frame f = {
        .kind = CAIRN_FRAME_REQUEST, .flags = CAIRN_FRAME_TOLD, .provider = provider, .method = method
    };

    CAIRN_ASSERT((iface->methods[method].flags & (CAIRN_RPC_TOLD | CAIRN_RPC_ONCE)) == CAIRN_RPC_TOLD);
    if (s->sm.state == SESSION_IDLE)
        cairn_rpc__session_connect(s);
    if (s->sm.state != SESSION_UP || s->peer->leaving || s->peer->conn.broken)
        return CAIRN_E_CLOSED;
    if (!cairn_rpc__peer_send(s->peer, &f, NULL, payload, n))
        return CAIRN_E_NOMEM;
    cairn_rpc__peer_budget(s->peer);
    return 0;
}

size_t cairn_rpc_session_unsent(const struct cairn_rpc_session *s)
{
    return s->sm.state == SESSION_UP ? s->peer->conn.out_bytes : 0;
}
