/* PUT's machine (hashed_put.c) where a value is too large for its record: its regions are stored, given to the other
 * nodes that hold it, and named. */
#include "sdk/core/base/crc.h"
#include "server/router/hashed_put.h"
#include "server/router/ns_order.h"

#include <stdlib.h>

void router_put_regions(struct router_op *op)
{
    size_t len = cairn_record_extents_bytes(op->nregions);

    op->buf = malloc(len);
    if (op->buf == NULL) {
        op->rc = CAIRN_E_NOMEM;
        if (op->upload != NULL) /* the parts stay: it may be tried again */
            router_op_fail(op, op->rc);
        else
            router_put_undo(op);
        return;
    }
    cairn_record_put_extents(op->buf, op->ns->durability, op->regions, op->nregions);
    router_put_record(op, op->buf, len);
}

static void put_on_stored(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    op->rq->on_cancel = NULL; /* from here it must come to an end by itself */
    op->rc = call->rc;
    if (op->rc == 0) {
        op->one.id = ((const Cairn__Wire__ExtentId *)call->reply)->id;
        if (op->one.id == 0)
            op->rc = cairn_err_set(&op->err, CAIRN_E_INTERNAL, "the extent provider gave no id");
    }
    if (op->rc == 0 && op->rq->canceled)
        op->rc = CAIRN_E_CANCELED;
    op->next(op);
}

static void put_on_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct router_op *op = arg;

    (void)rq;
    cairn_rpc_call_cancel(&op->call);
}

/* A payload came without checksums, since its frame has one. */
static bool put_sum_payload(struct router_op *op)
{
    const struct cairn_rpc_req *rq = op->rq;
    size_t n = (rq->payload_len + CAIRN_EXTENT_CHUNK_BYTES - 1) / CAIRN_EXTENT_CHUNK_BYTES;

    op->crcs = malloc(n * sizeof(op->crcs[0]));
    if (op->crcs == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t at = i * CAIRN_EXTENT_CHUNK_BYTES;

        op->crcs[i] = cairn_crc32c(0, rq->payload + at, MIN(rq->payload_len - at, (size_t)CAIRN_EXTENT_CHUNK_BYTES));
    }
    return true;
}

void router_put_store(struct router_op *op, uint64_t length, Cairn__Wire__BulkDesc *bulk, uint32_t *crcs, size_t ncrcs,
                      router_step *next)
{
    Cairn__Wire__ExtentPut *msg = &op->msg.extent_put;

    if (op->rq->canceled || (ncrcs == 0 && !put_sum_payload(op))) {
        router_op_fail(op, op->rq->canceled ? CAIRN_E_CANCELED : CAIRN_E_NOMEM);
        return;
    }
    op->one = (struct cairn_record_region){ .len = (uint32_t)length };
    op->regions = &op->one;
    op->nregions = 1;
    op->next = next;
    router_op_storing(op);
    cairn_sm_move(&op->sm, PUT_STORE);
    cairn__wire__extent_put__init(msg);
    msg->length = length;
    msg->durability = router_is_clustered(op->ns) ? CAIRN__WIRE__DURABILITY__DURABILITY_SYNC : op->ns->durability;
    msg->owner = router_ns_region_owner(op->ns);
    msg->bulk = bulk;
    msg->crcs = ncrcs > 0 ? crcs : op->crcs;
    msg->n_crcs = (size_t)((length + CAIRN_EXTENT_CHUNK_BYTES - 1) / CAIRN_EXTENT_CHUNK_BYTES);
    router_op_call(op, op->ns->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, put_on_stored);
    op->call.bulk_peer = op->rq->peer;
    if (bulk == NULL) {
        op->call.payload[0] =
            (struct iovec){ .iov_base = (void *)(uintptr_t)op->rq->payload, .iov_len = (size_t)length };
        op->call.payload_n = 1;
    }
    op->rq->on_cancel = put_on_cancel;
    op->rq->on_cancel_arg = op;
    cairn_rpc_call_start(&op->call);
}

void router_put_spread(struct router_op *op, router_step *next)
{
    if (!router_is_clustered(op->ns)) {
        next(op);
        return;
    }
    cairn_sm_move(&op->sm, PUT_SPREAD);
    router_clustered_spread(op, next);
}

static void put_spread(struct router_op *op)
{
    if (op->rc != 0)
        router_put_undo(op);
    else
        router_put_regions(op);
}

static void put_stored(struct router_op *op)
{
    if (op->rc != 0)
        router_put_undo(op);
    else
        router_put_spread(op, put_spread);
}

static void put_flagged(struct router_op *op)
{
    const Cairn__Wire__RouterPut *m = put_msg(op);

    router_put_store(op, m->length, m->bulk, m->crcs, m->n_crcs, put_stored);
}

void router_put_large(struct router_op *op)
{
    router_op_look(op);
    router_put_flag(op, put_flagged);
}

void router_put_flag(struct router_op *op, router_step *next)
{
    if (op->ns->large_ready || router_is_clustered(op->ns)) { /* there nobody looks at what he replaces */
        next(op);
        return;
    }
    cairn_sm_move(&op->sm, PUT_FLAG);
    router_flag(op, ROUTER_HAS_LARGE, next);
}
