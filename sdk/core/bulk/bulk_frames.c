/* Pieces as calls on the peer's own connection: BULK_READ brings one in its reply, BULK_WRITE takes one along. They
 * need nothing but the connection, so they are what every other way falls back to, and what tests compare the others
 * with. */
#include "sdk/core/bulk/bulk_internal.h"

#include <string.h>

static void on_frame_done(struct cairn_rpc_call *call)
{
    struct cairn_bulk__piece *p = call->arg;
    struct cairn_bulk_op *op = p->op;
    int rc = call->rc;

    if (rc == 0 && !op->push) {
        if (call->reply_payload_len != p->len)
            rc = CAIRN_E_PROTO;
        else if (op->sm.state == OP_MOVE)
            memcpy(op->local + p->from, call->reply_payload, p->len);
    }
    cairn_bulk__piece_back(p, rc);
}

void cairn_bulk__frame_issue(struct cairn_bulk__piece *p)
{
    struct cairn_bulk_op *op = p->op;
    struct cairn_rpc_call *call = &p->call;
    uint64_t now = cairn_loop_now(cairn_rpc_loop(op->rpc));
    uint64_t until = op->timer.at_ns; /* the transfer's deadline: its timer runs */

    cairn__wire__bulk_piece__init(&p->msg);
    p->msg.key = op->desc.key;
    p->msg.off = op->off + p->from;
    p->msg.len = p->len;
    memset(call, 0, offsetof(struct cairn_rpc_call, arena));
    call->dest.rpc = op->rpc;
    call->dest.peer = op->peer;
    call->iface = &cairn_iface_bulk;
    call->provider = CAIRN_PROVIDER_BULK;
    call->method = op->push ? CAIRN__WIRE__BULK_METHOD__BULK_WRITE : CAIRN__WIRE__BULK_METHOD__BULK_READ;
    call->msg = &p->msg.base;
    if (op->push) {
        call->payload[0] = (struct iovec){ .iov_base = op->local + p->from, .iov_len = p->len };
        call->payload_n = 1;
    }
    call->timeout_ns = until > now ? until - now : 1;
    call->done = on_frame_done;
    call->arg = p;
    cairn_rpc_call_start(call);
}

void cairn_bulk__frame_cancel(struct cairn_bulk__piece *p)
{
    cairn_rpc_call_cancel(&p->call);
}

/* ---- the owner of the memory ---- */

static const Cairn__Wire__BulkPiece *piece_of(const struct cairn_rpc_req *rq)
{
    return CONTAINER_OF(rq->msg, const Cairn__Wire__BulkPiece, base);
}

void cairn_bulk__on_read(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__BulkPiece *m = piece_of(rq);
    struct cairn_bulk *b = bulk_of(rq->rpc);
    struct iovec iov;

    iov.iov_len = m->len;
    iov.iov_base = b != NULL ? cairn_bulk__memory(b, m->key, m->off, m->len, CAIRN_BULK_CAN_READ) : NULL;
    if (iov.iov_base == NULL)
        cairn_rpc_reply(rq, CAIRN_E_FAULT, NULL, NULL, 0);
    else if (m->len > CAIRN_FRAME_PAYLOAD_BYTES_MAX)
        cairn_rpc_reply(rq, CAIRN_E_TOOBIG, NULL, NULL, 0);
    else
        cairn_rpc_reply(rq, 0, NULL, &iov, 1);
}

void cairn_bulk__on_write(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__BulkPiece *m = piece_of(rq);
    struct cairn_bulk *b = bulk_of(rq->rpc);
    uint8_t *to = b != NULL ? cairn_bulk__memory(b, m->key, m->off, m->len, CAIRN_BULK_CAN_WRITE) : NULL;

    if (to == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_FAULT, NULL, NULL, 0);
    } else if (rq->payload_len != m->len) {
        cairn_rpc_reply(rq, CAIRN_E_PROTO, NULL, NULL, 0);
    } else {
        memcpy(to, rq->payload, m->len);
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    }
}
