/* The target's side of one connection: requests come in, run, and are answered; and how many may do so at a time. */
#include "sdk/core/base/log.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"

#include <stdlib.h>
#include <string.h>

/* The node's budget is told in steps, so that it is not touched by every request. */
void cairn_rpc__peer_budget(struct cairn_rpc_peer *peer)
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
bool cairn_rpc__peer_may_take(struct cairn_rpc_peer *peer)
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

void cairn_rpc__peer_resume(struct cairn_rpc_peer *peer)
{
    if (peer->conn.paused && !peer->conn.closed && cairn_rpc__peer_may_take(peer))
        cairn_conn_resume(&peer->conn);
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
    cairn_rpc__peer_budget(peer);
    cairn_rpc__peer_resume(peer);
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
    size_t len = rq->conn != NULL && !rq->told ? cairn_rpc__peer_encode(rq->conn, &f, msg, payload, n) : 0;

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

    if ((f->flags & CAIRN_FRAME_TOLD) != 0) { /* nobody would hear of it but by the loss of the connection */
        if (status == CAIRN_E_PROTO)
            cairn_conn_fail(&peer->conn, status);
        return;
    }
    cairn_rpc__peer_send(peer, &r, NULL, NULL, 0);
}

/* Fills in what the handler needs. Returns 0, or why the request cannot be carried out. */
static int req_decode(struct cairn_rpc_req *rq, const struct cairn_frame *f)
{
    ProtobufCAllocator alloc = cairn_rpc_arena_allocator(&rq->arena);
    struct cairn_rpc *rpc = rq->rpc;

    rq->target = cairn_rpc_target_by_id(rpc, f->provider);
    if (rq->target == NULL)
        return CAIRN_E_NOPROVIDER;
    if (f->method >= rq->target->iface->nmethods)
        return CAIRN_E_NOMETHOD;
    rq->method = &rq->target->iface->methods[f->method];
    rq->told = (f->flags & CAIRN_FRAME_TOLD) != 0;
    if (rq->told && (rq->method->flags & CAIRN_RPC_TOLD) == 0)
        return CAIRN_E_PROTO;
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

void cairn_rpc__peer_request(struct cairn_rpc_peer *peer, const struct cairn_frame *f)
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

void cairn_rpc__peer_cancel_request(struct cairn_rpc_peer *peer, uint32_t id)
{
    CAIRN_LIST_FOREACH (l, &peer->reqs) {
        struct cairn_rpc_req *rq = CONTAINER_OF(l, struct cairn_rpc_req, link);

        if (rq->id == id) {
            cairn_rpc__req_cancel(rq);
            return;
        }
    }
}

void cairn_rpc__peer_sweep_requests(struct cairn_rpc_peer *peer, uint64_t now, uint64_t *next)
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

/* The requests that came over it go on; nobody waits for them, but a retry may ask for what became of them. */
void cairn_rpc__peer_orphan_requests(struct cairn_rpc_peer *peer)
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
