/* The origin's side of one connection: calls go out as credits allow, and their answers find them. */
#include "sdk/core/rpc/rpc_internal.h"

#include <stdlib.h>

static struct cairn_rpc_call call_abandoned; /* only its address is used */
#define CALL_ABANDONED (&call_abandoned)

bool cairn_rpc__peer_has_credit(const struct cairn_rpc_peer *peer, uint32_t bytes)
{
    return peer->ncalls == 0 || (peer->ncalls < peer->calls_room && peer->calls_bytes + bytes <= peer->calls_bytes_max);
}

static uint32_t call_bytes(const struct cairn_rpc_call *call)
{
    size_t n = CAIRN_FRAME_HEADER_BYTES;

    for (uint32_t i = 0; i < call->payload_n; i++)
        n += call->payload[i].iov_len;
    return (uint32_t)MIN(n, (size_t)UINT32_MAX);
}

/* A place in the table whose present occupant is answered. There is one, since there is credit. */
static uint32_t peer_new_id(struct cairn_rpc_peer *peer)
{
    while (peer->calls[peer->next_id & (peer->calls_room - 1)] != NULL)
        peer->next_id++;
    return peer->next_id++;
}

void cairn_rpc__peer_send_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call)
{
    uint64_t now = cairn_loop_now(peer->rpc->loop);
    uint64_t left_ms = (call->deadline_ns - MIN(call->deadline_ns, now)) / CAIRN_NS_PER_MS;
    struct cairn_frame f = { .kind = CAIRN_FRAME_REQUEST,
                             .provider = call->provider,
                             .method = call->method,
                             .value = (int32_t)MIN(MAX(left_ms, UINT64_C(1)), (uint64_t)INT32_MAX),
                             .seq = call->seq,
                             .flags = call->sends > 0 ? CAIRN_FRAME_RETRY : 0 };

    if (peer->calls == NULL) {
        peer->calls = calloc(peer->calls_room, sizeof(*peer->calls));
        if (peer->calls == NULL) {
            cairn_list_del(&call->link);
            call->rc = CAIRN_E_NOMEM;
            cairn_env_defer(&peer->rpc->loop->env, &call->task); /* perhaps we are inside its start */
            return;
        }
    }
    call->bytes = call_bytes(call);
    call->id = f.id = peer_new_id(peer);
    call->sends++;
    call->was_sent = true;
    cairn_list_del(&call->link);
    peer->calls[call->id & (peer->calls_room - 1)] = call;
    peer->ncalls++;
    peer->calls_bytes += call->bytes;
    cairn_sm_move(&call->sm, CALL_SENT);
    cairn_rpc__peer_want(peer, call->deadline_ns);
    cairn_rpc__peer_send(peer, &f, call->msg, call->payload, call->payload_n);
    call->bytes += f.body_len; /* as the target counts them: the last call may exceed the bound by its body */
    peer->calls_bytes += f.body_len;
}

/* The place of a call that was sent is free again. */
static void peer_free_place(struct cairn_rpc_peer *peer, uint32_t id)
{
    peer->calls[id & (peer->calls_room - 1)] = NULL;
    CAIRN_ASSERT(peer->ncalls > 0);
    peer->ncalls--;
}

void cairn_rpc__peer_abandon_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call)
{
    struct cairn_frame f = { .kind = CAIRN_FRAME_CANCEL, .id = call->id };

    CAIRN_ASSERT(peer->calls[call->id & (peer->calls_room - 1)] == call);
    peer->calls[call->id & (peer->calls_room - 1)] =
        CALL_ABANDONED; /* its answer will come, and must find no other call */
    peer->calls_bytes -= call->bytes;
    cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
}

void cairn_rpc__peer_answer(struct cairn_rpc_peer *peer, const struct cairn_frame *f)
{
    struct cairn_rpc_call *call = peer->calls != NULL ? peer->calls[f->id & (peer->calls_room - 1)] : NULL;

    if (call == NULL || (call != CALL_ABANDONED && call->id != f->id) || f->value > 0) {
        cairn_conn_fail(&peer->conn, CAIRN_E_PROTO);
        return;
    }
    peer_free_place(peer, f->id);
    if (call != CALL_ABANDONED) {
        peer->calls_bytes -= call->bytes;
        if (f->value == CAIRN_E_SHUTDOWN && peer->leaving) {
            call->sends = 0; /* it crossed the goodbye: nothing was done, another connection may have it */
            peer->role->lost_call(peer, call);
            return;
        }
        cairn_rpc__call_finish(call, f->value, f->body, f->body_len, f->payload, f->payload_len);
    }
    if (!peer->conn.closed)
        peer->role->credit(peer, f->id);
}

void cairn_rpc__peer_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call)
{
    if (!cairn_rpc_peer_is_up(peer)) {
        call->rc = CAIRN_E_CLOSED;
        cairn_env_defer(&peer->rpc->loop->env, &call->task);
    } else if (cairn_list_is_empty(&peer->waiting) && cairn_rpc__peer_has_credit(peer, call_bytes(call))) {
        cairn_rpc__peer_send_call(peer, call);
    } else {
        cairn_list_add_tail(&peer->waiting, &call->link);
        cairn_rpc__peer_want(peer, call->deadline_ns);
    }
}

void cairn_rpc__peer_call_cancel(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call)
{
    if (call->sm.state == CALL_SENT)
        cairn_rpc__peer_abandon_call(peer, call);
    cairn_list_del(&call->link);
    if (call->sm.state == CALL_SENT) {
        /* It leaves the table and ends from the loop, never inside the caller's own call. */
        cairn_sm_move(&call->sm, CALL_QUEUED);
    }
    call->rc = CAIRN_E_CANCELED;
    cairn_env_defer(&peer->rpc->loop->env, &call->task);
}

/* Calls that waited for credit, to a peer that is not a session's. */
static void peer_send_waiting(struct cairn_rpc_peer *peer)
{
    while (!cairn_list_is_empty(&peer->waiting)) {
        struct cairn_rpc_call *call = CONTAINER_OF(peer->waiting.next, struct cairn_rpc_call, link);

        if (!cairn_rpc__peer_has_credit(peer, call_bytes(call)))
            return;
        cairn_rpc__peer_send_call(peer, call);
    }
}

void cairn_rpc__peer_sweep_calls(struct cairn_rpc_peer *peer, uint64_t now, uint64_t *next)
{
    for (uint32_t i = 0; peer->calls != NULL && i < peer->calls_room && !peer->conn.closed; i++) {
        struct cairn_rpc_call *call = peer->calls[i];

        if (call == NULL || call == CALL_ABANDONED)
            continue;
        if (call->deadline_ns > now) {
            *next = MIN(*next, call->deadline_ns);
            continue;
        }
        cairn_rpc__peer_abandon_call(peer, call);
        /* What done() starts in a place that was passed already asks for the timer itself. */
        cairn_rpc__call_fail(call, CAIRN_E_TIMEOUT, NULL);
    }
    CAIRN_LIST_FOREACH_SAFE (l, &peer->waiting) {
        struct cairn_rpc_call *call = CONTAINER_OF(l, struct cairn_rpc_call, link);

        if (call->deadline_ns > now) {
            *next = MIN(*next, call->deadline_ns);
        } else {
            cairn_list_del(&call->link);
            call->rc = CAIRN_E_TIMEOUT;
            cairn_env_defer(&peer->rpc->loop->env, &call->task);
        }
    }
}

void cairn_rpc__peer_lose_calls(struct cairn_rpc_peer *peer)
{
    for (uint32_t i = 0; peer->calls != NULL && i < peer->calls_room; i++) {
        struct cairn_rpc_call *call = peer->calls[i];

        if (call == NULL)
            continue;
        peer->calls[i] = NULL;
        peer->ncalls--;
        if (call != CALL_ABANDONED)
            peer->role->lost_call(peer, call);
    }
    while (!cairn_list_is_empty(&peer->waiting)) {
        struct cairn_rpc_call *call = CONTAINER_OF(cairn_list_pop(&peer->waiting), struct cairn_rpc_call, link);

        call->rc = CAIRN_E_CLOSED;
        cairn_env_defer(&peer->rpc->loop->env, &call->task);
    }
}

void cairn_rpc__peer_credit_plain(struct cairn_rpc_peer *peer, uint32_t id)
{
    (void)id;
    peer_send_waiting(peer);
}
