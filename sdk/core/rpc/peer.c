/* One established connection, for both ends.
 *
 *   GREETING ---> UP ---> LEAVING ---> DOWN       GREETING and UP may also go to DOWN.
 *
 * GREETING  HELLO is under way; nothing else is understood, and at most CAIRN_HELLO_BYTES_MAX are buffered.
 * UP        requests and answers go both ways.
 * LEAVING   we will close: no new requests are taken, those that run are answered first.
 * DOWN      the socket is closed; the structure lives on while references do. */
#include "sdk/core/base/log.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct cairn_sm_state peer_states[PEER_NR] = {
    [PEER_GREETING] = { "GREETING", CAIRN_SM_INITIAL, CAIRN_SM_TO(PEER_UP) | CAIRN_SM_TO(PEER_DOWN) },
    [PEER_UP] = { "UP", 0, CAIRN_SM_TO(PEER_LEAVING) | CAIRN_SM_TO(PEER_DOWN) },
    [PEER_LEAVING] = { "LEAVING", 0, CAIRN_SM_TO(PEER_DOWN) },
    [PEER_DOWN] = { "DOWN", CAIRN_SM_FINAL, 0 },
};

static bool peer_invariant(const struct cairn_sm *sm)
{
    const struct cairn_rpc_peer *peer = CONTAINER_OF(sm, const struct cairn_rpc_peer, sm);

    return CAIRN_HOLDS(sm->state != PEER_GREETING || (peer->ncalls == 0 && peer->nreqs == 0)) &&
           CAIRN_HOLDS((sm->state == PEER_DOWN) == peer->conn.closed) &&
           CAIRN_HOLDS(sm->state != PEER_DOWN || (peer->ncalls == 0 && peer->nreqs == 0 && peer->budgeted == 0));
}

const struct cairn_sm_kind cairn_rpc_peer_kind = { "rpc-peer", peer_states, PEER_NR, peer_invariant, 0 };

static struct cairn_rpc_call call_abandoned; /* only its address is used */
#define CALL_ABANDONED (&call_abandoned)

static struct cairn_rpc_peer *peer_of_conn(struct cairn_conn *c)
{
    return CONTAINER_OF(c, struct cairn_rpc_peer, conn);
}

const struct cairn_rpc_peer_info *cairn_rpc_peer_info(const struct cairn_rpc_peer *peer)
{
    return &peer->info;
}

struct cairn_rpc *cairn_rpc_peer_rpc(const struct cairn_rpc_peer *peer)
{
    return peer->rpc;
}

bool cairn_rpc_peer_is_up(const struct cairn_rpc_peer *peer)
{
    return peer->sm.state == PEER_UP || peer->sm.state == PEER_LEAVING;
}

struct cairn_bulk_peer **cairn_rpc_peer_bulk(struct cairn_rpc_peer *peer)
{
    return &peer->bulk;
}

void cairn_rpc_peer_get(struct cairn_rpc_peer *peer)
{
    CAIRN_ASSERT(peer->refs > 0);
    peer->refs++;
}

void cairn_rpc__peers_reap(void *arg)
{
    struct cairn_rpc *rpc = arg;
    struct cairn_link *l;

    while ((l = cairn_list_pop(&rpc->dead_peers)) != NULL) {
        struct cairn_rpc_peer *peer = CONTAINER_OF(l, struct cairn_rpc_peer, link);

        free(peer->calls);
        free(peer);
    }
}

/* The last reference may go while a frame of the connection is being handed out, below done() or a HELLO that moves to
 * another worker: whoever reads the stream still looks at it, so it is freed by a later task. */
void cairn_rpc_peer_put(struct cairn_rpc_peer *peer)
{
    struct cairn_rpc *rpc = peer->rpc;

    CAIRN_ASSERT(peer->refs > 0);
    if (--peer->refs > 0)
        return;
    CAIRN_ASSERT(peer->sm.state == PEER_DOWN);
    CAIRN_ASSERT(cairn_list_is_empty(&peer->waiting));
    rpc->npeers--;
    cairn_list_add_tail(&rpc->dead_peers, &peer->link);
    cairn_env_defer(&rpc->loop->env, &rpc->reaper);
}

/* ---- flow control ---- */

/* The node's budget is told in steps, so that it is not touched by every request. */
static void peer_budget(struct cairn_rpc_peer *peer)
{
    struct cairn_rpc_budget *b = peer->rpc->conf.budget;
    uint64_t now = peer->conn.closed ? 0 : peer->req_bytes + peer->conn.out_bytes + peer->conn.in_room;
    uint64_t change = now > peer->budgeted ? now - peer->budgeted : peer->budgeted - now;

    if (b == NULL || (change < PEER_BUDGET_STEP_BYTES && now != 0) || change == 0)
        return;
    atomic_fetch_add_explicit(&b->bytes, now - peer->budgeted, memory_order_relaxed); /* wraps where it shrinks */
    peer->budgeted = now;
}

static bool peer_node_is_full(const struct cairn_rpc_peer *peer)
{
    const struct cairn_rpc_budget *b = peer->rpc->conf.budget;

    return b != NULL && peer->budgeted > 0 && atomic_load_explicit(&b->bytes, memory_order_relaxed) > b->bytes_max;
}

/* Whether another frame may be taken from this peer, which might be a request. One at a time is always possible. And
 * whoever keeps to its credits is never stopped by them: the next frame may be an answer that its requests wait for. */
static bool peer_may_take(struct cairn_rpc_peer *peer)
{
    const struct cairn_rpc_conf *conf = &peer->rpc->conf;

    /* Only the end that was connected to: if both stopped reading because of their own output, both would for good. */
    if (peer->rpc->node != NULL && peer->conn.out_bytes >= conf->output_bytes_max)
        return false;
    if (peer->nreqs == 0)
        return true;
    if (peer->nreqs > conf->inflight_max ||
        peer->req_bytes > (uint64_t)conf->inflight_bytes_max + CAIRN_FRAME_BODY_BYTES_MAX)
        return false;
    if (!peer_node_is_full(peer))
        return true;
    cairn_rpc__peer_want(peer, cairn_loop_now(peer->rpc->loop) + PEER_BUDGET_RETRY_MS * CAIRN_NS_PER_MS);
    return false;
}

static void peer_resume(struct cairn_rpc_peer *peer)
{
    if (peer->conn.paused && !peer->conn.closed && peer_may_take(peer))
        cairn_conn_resume(&peer->conn);
}

/* ---- sending ---- */

/* Writes one frame to the output, where it does not count before cairn_conn_commit(). Returns its length; 0 when memory
 * is short, and then the connection is lost. */
static size_t peer_encode(struct cairn_rpc_peer *peer, struct cairn_frame *f, const ProtobufCMessage *msg,
                          const struct iovec *payload, uint32_t n)
{
    size_t body = msg != NULL ? protobuf_c_message_get_packed_size(msg) : 0, total = 0;
    uint8_t *p;

    for (uint32_t i = 0; i < n; i++)
        total += payload[i].iov_len;
    if (UNLIKELY(body > CAIRN_FRAME_BODY_BYTES_MAX || total > CAIRN_FRAME_PAYLOAD_BYTES_MAX)) {
        /* Who asks for a list does not choose how long it is, so it must not be able to end the process. */
        CAIRN_ASSERT(f->kind == CAIRN_FRAME_REPLY);
        cairn_log_error("%s: an answer of %zu bytes does not fit into a frame", peer->info.addr, body + total);
        f->value = CAIRN_E_TOOBIG;
        body = total = n = 0;
    }
    p = cairn_conn_reserve(&peer->conn, CAIRN_FRAME_HEADER_BYTES + body + total);
    if (p == NULL) {
        cairn_conn_fail(&peer->conn, CAIRN_E_NOMEM);
        return 0;
    }
    f->body = p + CAIRN_FRAME_HEADER_BYTES;
    f->payload = f->body + body;
    f->body_len = (uint32_t)body;
    f->payload_len = (uint32_t)total;
    if (body > 0)
        protobuf_c_message_pack(msg, p + CAIRN_FRAME_HEADER_BYTES);
    for (size_t i = 0, at = CAIRN_FRAME_HEADER_BYTES + body; i < n; at += payload[i++].iov_len) {
        if (payload[i].iov_len > 0)
            memcpy(p + at, payload[i].iov_base, payload[i].iov_len);
    }
    f->flags |= CAIRN_FRAME_CRC_PAYLOAD;
    cairn_frame_encode_header(p, f);
    return CAIRN_FRAME_HEADER_BYTES + body + total;
}

bool cairn_rpc__peer_send(struct cairn_rpc_peer *peer, struct cairn_frame *f, const ProtobufCMessage *msg,
                          const struct iovec *payload, uint32_t n)
{
    size_t len = peer_encode(peer, f, msg, payload, n);

    if (len > 0)
        cairn_conn_commit(&peer->conn, len);
    return len > 0;
}

/* Bytes that were encoded before: a remembered answer. */
static void peer_send_raw_reply(struct cairn_rpc_req *rq, const struct cairn_rpc_dedup_entry *e)
{
    struct cairn_frame f = {
        .kind = CAIRN_FRAME_REPLY, .id = rq->id, .provider = rq->target->id, .method = rq->method_no, .value = e->status
    };
    uint8_t *p;

    if (rq->conn == NULL)
        return;
    p = cairn_conn_reserve(&rq->conn->conn, CAIRN_FRAME_HEADER_BYTES + e->body_len + e->payload_len);
    if (p == NULL) {
        cairn_conn_fail(&rq->conn->conn, CAIRN_E_NOMEM);
        return;
    }
    if (e->bytes != NULL)
        memcpy(p + CAIRN_FRAME_HEADER_BYTES, e->bytes, e->body_len + e->payload_len);
    f.body = p + CAIRN_FRAME_HEADER_BYTES;
    f.payload = f.body + e->body_len;
    f.body_len = e->body_len;
    f.payload_len = e->payload_len;
    f.flags = CAIRN_FRAME_CRC_PAYLOAD;
    cairn_frame_encode_header(p, &f);
    cairn_conn_commit(&rq->conn->conn, CAIRN_FRAME_HEADER_BYTES + e->body_len + e->payload_len);
}

/* ---- target ---- */

/* @rq leaves its connection: credits are free again. */
static void peer_req_over(struct cairn_rpc_req *rq)
{
    struct cairn_rpc_peer *peer = rq->conn;

    if (peer == NULL)
        return;
    CAIRN_ASSERT(peer->nreqs > 0 && peer->req_bytes >= rq->bytes);
    cairn_list_del(&rq->link);
    peer->nreqs--;
    peer->req_bytes -= rq->bytes;
    rq->conn = NULL;
    if (peer->conn.closed)
        return;
    peer_budget(peer);
    peer_resume(peer);
    if (peer->sm.state == PEER_LEAVING && peer->nreqs == 0)
        cairn_rpc__peer_want(peer, 0);
}

static void req_replay(struct cairn_rpc_req *rq, const struct cairn_rpc_dedup_entry *e)
{
    peer_send_raw_reply(rq, e);
    peer_req_over(rq);
    cairn_sm_move(&rq->sm, REQ_ANSWERED);
    cairn_rpc__req_free(rq);
}

static void req_run(struct cairn_rpc_req *rq)
{
    rq->peer = rq->conn;
    cairn_rpc_peer_get(rq->peer);
    cairn_rpc__stats_start(rq);
    cairn_rpc__peer_want(rq->peer, rq->deadline_ns);
    cairn_rpc__req_dispatch(rq);
}

/* The first of two is answered. If it failed with its connection, nothing was done, and the second has its turn. */
static void req_end_waiter(struct cairn_rpc_req *waiter, struct cairn_rpc_dedup *d)
{
    const struct cairn_rpc_dedup_entry *known = NULL;

    waiter->dedup = NULL;
    if (cairn_rpc_dedup_admit(d, waiter, true, &known) == CAIRN_DEDUP_REPLAY) {
        req_replay(waiter, known);
        return;
    }
    waiter->dedup = d;
    cairn_sm_move(&waiter->sm, REQ_RUNNING);
    req_run(waiter);
}

void cairn_rpc__peer_reply(struct cairn_rpc_req *rq, int status, const ProtobufCMessage *msg,
                           const struct iovec *payload, uint32_t n)
{
    struct cairn_frame f = {
        .kind = CAIRN_FRAME_REPLY, .id = rq->id, .provider = rq->target->id, .method = rq->method_no, .value = status
    };
    struct cairn_rpc_peer *peer = rq->peer; /* a reference is held until the end */
    struct cairn_rpc_dedup *d = rq->dedup;
    struct cairn_rpc_req *waiter = NULL;
    size_t len = rq->conn != NULL ? peer_encode(rq->conn, &f, msg, payload, n) : 0;

    cairn_rpc__stats_end(rq, f.value, len > 0 ? f.body_len + f.payload_len : 0);
    if (d != NULL) {
        if (len == 0 && msg != NULL) { /* the connection is lost, its successor will ask */
            size_t room = protobuf_c_message_get_packed_size(msg);
            uint8_t *body = cairn_arena_alloc(&rq->arena, room + 1);

            f.body = body;
            f.body_len = body != NULL ? (uint32_t)protobuf_c_message_pack(msg, body) : 0;
        }
        rq->dedup = NULL;
        waiter = cairn_rpc_dedup_answered(d, rq->seq, f.value, f.body, f.body_len, payload, f.value == status ? n : 0);
    }
    if (len > 0)
        cairn_conn_commit(&rq->conn->conn, len); /* which may send it, and the encoded body is gone */
    if (waiter != NULL)
        req_end_waiter(waiter, d);
    peer_req_over(rq);
    if (peer != NULL)
        cairn_rpc_peer_put(peer);
}

static void peer_refuse(struct cairn_rpc_peer *peer, const struct cairn_frame *f, int status)
{
    struct cairn_frame r = {
        .kind = CAIRN_FRAME_REPLY, .id = f->id, .provider = f->provider, .method = f->method, .value = status
    };

    cairn_rpc__peer_send(peer, &r, NULL, NULL, 0);
}

/* Fills in what the handler needs. Returns 0, or why the request cannot be carried out. */
static int req_decode(struct cairn_rpc_req *rq, const struct cairn_frame *f)
{
    ProtobufCAllocator alloc = cairn_rpc__arena_allocator(&rq->arena);
    struct cairn_rpc *rpc = rq->rpc;

    rq->target = cairn_rpc_target_by_id(rpc, f->provider);
    if (rq->target == NULL)
        return CAIRN_E_NOPROVIDER;
    if (f->method >= rq->target->iface->nmethods)
        return CAIRN_E_NOMETHOD;
    rq->method = &rq->target->iface->methods[f->method];
    rq->msg = protobuf_c_message_unpack(rq->method->request, &alloc, f->body_len, f->body);
    return rq->msg != NULL ? 0 : CAIRN_E_PROTO;
}

/* True if @rq is to be carried out now. */
static bool peer_dedup(struct cairn_rpc_peer *peer, struct cairn_rpc_req *rq, bool retry)
{
    const struct cairn_rpc_dedup_entry *known = NULL;

    switch (cairn_rpc_dedup_admit(peer->dedup, rq, retry, &known)) {
    case CAIRN_DEDUP_RUN:
        rq->dedup = peer->dedup;
        return true;
    case CAIRN_DEDUP_WAIT:
        atomic_fetch_add_explicit(&rq->rpc->node->counters.retries_recognised, 1, memory_order_relaxed);
        rq->dedup = peer->dedup;
        cairn_sm_move(&rq->sm, REQ_WAITING);
        if (cairn_rpc_req_hold_payload(rq) != 0)
            cairn_conn_fail(&peer->conn, CAIRN_E_NOMEM);
        return false;
    case CAIRN_DEDUP_REPLAY:
        atomic_fetch_add_explicit(&rq->rpc->node->counters.retries_recognised, 1, memory_order_relaxed);
        req_replay(rq, known);
        return false;
    case CAIRN_DEDUP_BUSY:
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "a change that this session has given up is still being made");
        return false;
    case CAIRN_DEDUP_BAD:
        break;
    }
    cairn_conn_fail(&peer->conn, CAIRN_E_PROTO);
    peer_req_over(rq);
    cairn_sm_move(&rq->sm, REQ_ANSWERED);
    cairn_rpc__req_free(rq);
    return false;
}

static void peer_request(struct cairn_rpc_peer *peer, const struct cairn_frame *f)
{
    struct cairn_rpc *rpc = peer->rpc;
    struct cairn_rpc_req *rq = cairn_rpc__req_new(rpc);
    uint64_t now = cairn_loop_now(rpc->loop);
    int rc;

    if (rq == NULL) {
        peer_refuse(peer, f, CAIRN_E_NOMEM);
        return;
    }
    rc = req_decode(rq, f);
    if (rc == 0 && peer->sm.state == PEER_LEAVING)
        rc = CAIRN_E_SHUTDOWN;
    if (rc != 0) {
        cairn_sm_move(&rq->sm, REQ_ANSWERED);
        cairn_rpc__req_free(rq);
        peer_refuse(peer, f, rc);
        return;
    }
    rq->method_no = f->method;
    rq->id = f->id;
    rq->seq = f->seq;
    rq->payload = f->payload;
    rq->payload_len = f->payload_len;
    rq->bytes = CAIRN_FRAME_HEADER_BYTES + f->body_len + f->payload_len;
    rq->arrived_ns = now;
    rq->deadline_ns = now + (f->value > 0 ? (uint64_t)f->value : RPC_TIMEOUT_DEFAULT_S * 1000) * CAIRN_NS_PER_MS;
    rq->who = &peer->info.who;
    rq->conn = peer;
    cairn_list_add_tail(&peer->reqs, &rq->link);
    peer->nreqs++;
    peer->req_bytes += rq->bytes;
    if ((rq->method->flags & CAIRN_RPC_ONCE) != 0 && peer->dedup != NULL &&
        !peer_dedup(peer, rq, (f->flags & CAIRN_FRAME_RETRY) != 0))
        return;
    req_run(rq);
}

static void peer_cancel_request(struct cairn_rpc_peer *peer, uint32_t id)
{
    CAIRN_LIST_FOREACH (l, &peer->reqs) {
        struct cairn_rpc_req *rq = CONTAINER_OF(l, struct cairn_rpc_req, link);

        if (rq->id == id) {
            if (peer->rpc->node != NULL)
                atomic_fetch_add_explicit(&peer->rpc->node->counters.requests_canceled, 1, memory_order_relaxed);
            cairn_rpc__req_cancel(rq);
            return;
        }
    }
}

/* ---- origin ---- */

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

static void peer_reply_frame(struct cairn_rpc_peer *peer, const struct cairn_frame *f)
{
    struct cairn_rpc_call *call = peer->calls != NULL ? peer->calls[f->id & (peer->calls_room - 1)] : NULL;

    if (call == NULL || (call != CALL_ABANDONED && call->id != f->id) || f->value > 0) {
        cairn_conn_fail(&peer->conn, CAIRN_E_PROTO);
        return;
    }
    peer_free_place(peer, f->id);
    if (call != CALL_ABANDONED) {
        peer->calls_bytes -= call->bytes;
        if (f->value ==
            CAIRN_E_SHUTDOWN) { /* it crossed the goodbye: nothing was done, another connection may have it */
            call->sends = 0;
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

/* ---- what is overdue ---- */

void cairn_rpc__peer_want(struct cairn_rpc_peer *peer, uint64_t at_ns)
{
    if (cairn_timer_is_running(&peer->timer) && peer->timer.at_ns <= at_ns)
        return;
    if (cairn_timer_start(&peer->rpc->loop->env, &peer->timer, at_ns) != 0)
        cairn_conn_fail(&peer->conn, CAIRN_E_NOMEM);
}

static void sweep_calls(struct cairn_rpc_peer *peer, uint64_t now, uint64_t *next)
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

static void sweep_requests(struct cairn_rpc_peer *peer, uint64_t now, uint64_t *next)
{
    CAIRN_LIST_FOREACH_SAFE (l, &peer->reqs) {
        struct cairn_rpc_req *rq = CONTAINER_OF(l, struct cairn_rpc_req, link);

        if (rq->canceled)
            continue;
        if (rq->deadline_ns > now)
            *next = MIN(*next, rq->deadline_ns);
        else
            cairn_rpc__req_cancel(rq);
    }
}

static uint64_t peer_stalled_ns(const struct cairn_rpc_peer *peer)
{
    return peer->rpc->node != NULL ? peer->rpc->node->stalled_ns : RPC_TIMEOUT_DEFAULT_S * CAIRN_NS_PER_S;
}

/* Half a frame, or output that nobody takes. True: too old. */
static bool sweep_stalled(struct cairn_rpc_peer *peer, uint64_t since, uint64_t now, uint64_t *next)
{
    uint64_t limit = peer_stalled_ns(peer);

    if (since == 0)
        return false;
    *next = MIN(*next, since + limit);
    return since + limit <= now;
}

static void on_peer_timer(void *arg)
{
    struct cairn_rpc_peer *peer = arg;
    uint64_t now = cairn_loop_now(peer->rpc->loop), next = UINT64_MAX;

    if (peer->sm.state == PEER_GREETING) {
        if (peer->hello_deadline_ns <= now)
            cairn_rpc__peer_down(peer, CAIRN_E_TIMEOUT);
        else
            cairn_rpc__peer_want(peer, peer->hello_deadline_ns);
        return;
    }
    if (peer->sm.state == PEER_LEAVING && peer->nreqs == 0) {
        cairn_conn_flush(&peer->conn); /* of this turn's output nobody would tell us that it is gone */
        if (peer->conn.out_bytes == 0) {
            cairn_rpc__peer_down(peer, CAIRN_E_CLOSED);
            return;
        }
    }
    if (sweep_stalled(peer, peer->conn.paused ? 0 : peer->conn.in_since_ns, now, &next) ||
        sweep_stalled(peer, peer->conn.out_since_ns, now, &next)) {
        if (peer->rpc->node != NULL)
            atomic_fetch_add_explicit(&peer->rpc->node->counters.slow_readers_closed, 1, memory_order_relaxed);
        cairn_rpc__peer_down(peer, CAIRN_E_TIMEOUT);
        return;
    }
    cairn_rpc_peer_get(peer);
    sweep_calls(peer, now, &next);
    if (!peer->conn.closed) {
        sweep_requests(peer, now, &next);
        peer_budget(peer);
        peer_resume(peer);
        if (peer->conn.paused && peer->conn.out_bytes == 0)
            next = MIN(next, now + PEER_BUDGET_RETRY_MS * CAIRN_NS_PER_MS);
        if (next != UINT64_MAX)
            cairn_rpc__peer_want(peer, next);
    }
    cairn_rpc_peer_put(peer);
}

/* ---- the connection ---- */

static bool on_frame(struct cairn_conn *c, const struct cairn_frame *f)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    if (peer->sm.state == PEER_GREETING || f->kind == CAIRN_FRAME_HELLO) {
        if (peer->sm.state == PEER_GREETING && (f->kind == CAIRN_FRAME_HELLO || f->kind == CAIRN_FRAME_GOODBYE))
            peer->role->hello(peer, f);
        else
            cairn_conn_fail(c, CAIRN_E_PROTO); /* nothing but HELLO before it succeeds, and no second one after */
        return true;
    }
    switch (f->kind) {
    case CAIRN_FRAME_REQUEST:
        cairn_rpc_peer_get(peer);
        peer_request(peer, f);
        peer_budget(peer);
        cairn_rpc_peer_put(peer);
        return c->closed || peer_may_take(peer);
    case CAIRN_FRAME_REPLY:
        peer_reply_frame(peer, f);
        break;
    case CAIRN_FRAME_CANCEL:
        peer_cancel_request(peer, f->id);
        break;
    case CAIRN_FRAME_GOODBYE:
        peer->role->goodbye(peer);
        break;
    }
    return true;
}

static void on_lost(struct cairn_conn *c, int rc)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    if (peer->rpc->node != NULL && (rc == CAIRN_E_PROTO || rc == CAIRN_E_VERSION || rc == CAIRN_E_TOOBIG))
        atomic_fetch_add_explicit(&peer->rpc->node->counters.frames_malformed, 1, memory_order_relaxed);
    cairn_rpc__peer_down(peer, rc);
}

static void on_stalled(struct cairn_conn *c)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    if (peer->sm.state != PEER_GREETING) /* HELLO has a deadline of its own */
        cairn_rpc__peer_want(peer, cairn_loop_now(peer->rpc->loop) + peer_stalled_ns(peer));
}

static void on_drained(struct cairn_conn *c)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    peer_budget(peer);
    peer_resume(peer);
    if (peer->sm.state == PEER_LEAVING)
        cairn_rpc__peer_want(peer, 0);
}

static const struct cairn_conn_ops peer_conn_ops = {
    .frame = on_frame, .lost = on_lost, .stalled = on_stalled, .drained = on_drained
};

/* ---- life ---- */

struct cairn_rpc_peer *cairn_rpc__peer_new(struct cairn_rpc *rpc, int fd, const struct peer_role *role, void *role_data)
{
    struct cairn_rpc_peer *peer = calloc(1, sizeof(*peer));

    if (peer == NULL)
        return NULL;
    peer->rpc = rpc;
    peer->role = role;
    peer->role_data = role_data;
    peer->refs = 1;
    peer->next_id = 1;
    cairn_list_init(&peer->waiting);
    cairn_list_init(&peer->reqs);
    cairn_timer_init(&peer->timer, on_peer_timer, peer);
    if (cairn_conn_open(&peer->conn, &rpc->net, fd, &peer_conn_ops) != 0) {
        free(peer);
        return NULL;
    }
    cairn_sm_init(&peer->sm, &cairn_rpc_peer_kind, &rpc->loop->machines);
    cairn_list_add_tail(&rpc->peers, &peer->link);
    rpc->npeers++;
    peer->hello_deadline_ns = cairn_loop_now(rpc->loop) + CAIRN_HELLO_MS_MAX * CAIRN_NS_PER_MS;
    cairn_rpc__peer_want(peer, peer->hello_deadline_ns);
    return peer;
}

void cairn_rpc__peer_up(struct cairn_rpc_peer *peer, uint32_t inflight_max, uint64_t inflight_bytes_max)
{
    peer->calls_room = inflight_max;
    peer->calls_bytes_max = inflight_bytes_max;
    peer->conn.frame_bytes_max = CAIRN_FRAME_HEADER_BYTES + CAIRN_FRAME_BODY_BYTES_MAX + CAIRN_FRAME_PAYLOAD_BYTES_MAX;
    cairn_timer_stop(&peer->rpc->loop->env, &peer->timer);
    cairn_sm_move(&peer->sm, PEER_UP);
    if (peer->rpc->bulk_hooks != NULL)
        peer->rpc->bulk_hooks->peer_up(peer);
}

/* The requests that came over it go on; nobody waits for them, but a retry may ask for what became of them. */
static void peer_orphan_requests(struct cairn_rpc_peer *peer)
{
    struct cairn_link orphans;
    struct cairn_link *l;

    cairn_list_init(&orphans);
    cairn_list_splice(&orphans, &peer->reqs);
    peer->nreqs = 0;
    peer->req_bytes = 0;
    while ((l = cairn_list_pop(&orphans)) != NULL) {
        struct cairn_rpc_req *rq = CONTAINER_OF(l, struct cairn_rpc_req, link);

        rq->conn = NULL;
        if (rq->sm.state == REQ_WAITING) {
            cairn_rpc_dedup_forget_waiter(rq->dedup, rq);
            cairn_sm_move(&rq->sm, REQ_ANSWERED);
            cairn_rpc__req_free(rq);
        } else if (rq->dedup == NULL) { /* a change goes on: its retry will ask for the outcome */
            cairn_rpc__req_cancel(rq);
        }
    }
}

static void peer_lose_calls(struct cairn_rpc_peer *peer)
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

void cairn_rpc__peer_down(struct cairn_rpc_peer *peer, int rc)
{
    bool was_up = cairn_rpc_peer_is_up(peer);

    if (peer->sm.state == PEER_DOWN)
        return;
    cairn_timer_stop(&peer->rpc->loop->env, &peer->timer);
    cairn_conn_close(&peer->conn);
    peer_lose_calls(peer);
    peer_orphan_requests(peer);
    peer_budget(peer);
    cairn_list_del(&peer->link);
    cairn_sm_move(&peer->sm, PEER_DOWN);
    cairn_sm_fini(&peer->sm);
    if (was_up && peer->rpc->bulk_hooks != NULL)
        peer->rpc->bulk_hooks->peer_down(peer);
    peer->role->down(peer, rc);
    cairn_rpc_peer_put(peer);
}

void cairn_rpc__peer_leave(struct cairn_rpc_peer *peer)
{
    struct cairn_frame f = { .kind = CAIRN_FRAME_GOODBYE, .value = CAIRN_E_SHUTDOWN };

    if (peer->sm.state != PEER_UP)
        return;
    cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
    cairn_sm_move(&peer->sm, PEER_LEAVING);
    if (peer->nreqs == 0)
        cairn_rpc__peer_want(peer, 0);
}

void cairn_rpc__peer_credit_plain(struct cairn_rpc_peer *peer, uint32_t id)
{
    (void)id;
    peer_send_waiting(peer);
}
