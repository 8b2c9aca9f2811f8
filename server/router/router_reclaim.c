/* Regions that nothing names any more: an operation removes those it has replaced once nothing can name them again, and
 * what it cannot remove, or is not sure of, stays for the sweeper. No answer depends on it. */
#include "server/router/router_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

void router_garbage_note_name(struct cairn_router *r, const char *ns, uint32_t regions, const char *why)
{
    atomic_store_explicit(&r->left_garbage, true, memory_order_relaxed);
    cairn_log_warn("namespace '%s': %" PRIu32 " regions could not be removed, the next start will do so: %s", ns,
                   regions, why);
}

void router_garbage_note(struct cairn_router *r, const struct router_ns *ns, uint32_t regions, const char *why)
{
    router_garbage_note_name(r, ns->name, regions, why);
}

bool router_op_note_old(struct router_op *op, const uint8_t *record, size_t len)
{
    struct cairn_record r;
    int rc = cairn_record_parse(record, len, &r);

    CAIRN_ASSERT(op->old == NULL);
    if (rc != 0) {
        router_garbage_note(op->w->router, op->ns, 0, "the record that named them cannot be read");
        return false;
    }
    if (r.type != CAIRN_RECORD_EXTENTS)
        return true;
    op->old = malloc(r.nregions * sizeof(op->old[0]));
    if (op->old == NULL) {
        router_garbage_note(op->w->router, op->ns, r.nregions, "out of memory");
        return false;
    }
    for (uint32_t i = 0; i < r.nregions; i++)
        op->old[i] = cairn_record_region(&r, i).id;
    op->nold = r.nregions;
    return true;
}

uint32_t router_count_left(const struct cairn_rpc_call *call)
{
    const Cairn__Wire__KvStatuses *reply = (const Cairn__Wire__KvStatuses *)call->reply;
    uint32_t n = 0;

    for (size_t i = 0; i < reply->n_status; i++)
        n += reply->status[i] != 0 && reply->status[i] != CAIRN_E_NOTFOUND;
    return n;
}

static void on_reclaimed(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;
    uint32_t failed = 0;

    if (call->rc != 0) {
        router_garbage_note(op->w->router, op->ns, op->nold, cairn_error_text(call->rc));
    } else {
        failed = router_count_left(call);
        if (failed > 0)
            router_garbage_note(op->w->router, op->ns, failed, "the extent provider could not");
    }
    free(op->old);
    op->old = NULL;
    op->nold = 0;
    op->next(op);
}

static void reclaim_remove(struct router_op *op)
{
    cairn__wire__extent_remove__init(&op->msg.extent_remove);
    op->msg.extent_remove.ids = op->old;
    op->msg.extent_remove.n_ids = op->nold;
    router_op_call(op, op->ns->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, on_reclaimed);
    op->call.timeout_ns = 0; /* not the caller's time: it must be tried properly */
    op->call.err = NULL;     /* of no concern to the caller: whatever is to be told is in op->err already */
    cairn_rpc_call_start(&op->call);
}

static void reclaim_give_up(struct router_op *op, const char *why)
{
    router_garbage_note(op->w->router, op->ns, op->nold, why);
    free(op->old);
    op->old = NULL;
    op->nold = 0;
    op->next(op);
}

static void on_record_durable(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    if (call->rc == 0)
        reclaim_remove(op);
    else
        reclaim_give_up(op, "it is not known whether what replaced them is durable");
}

void router_op_reclaim(struct router_op *op, bool named, router_step *next)
{
    op->next = next;
    if (router_is_clustered(op->ns)) { /* a log may name them, here or elsewhere: the sweeper's alone */
        free(op->old);
        op->old = NULL;
        op->nold = 0;
    }
    if (op->nold == 0) {
        next(op);
    } else if (op->ns->extent == NULL) {
        reclaim_give_up(op, "this node does not have their provider");
    } else if (!named || (op->ns->durability != CAIRN__WIRE__DURABILITY__DURABILITY_BUFFERED && !op->buffered)) {
        reclaim_remove(op); /* with `sync` the record is durable by now, with `memory` nothing has to be */
    } else {
        cairn__wire__kv_mput__init(&op->msg.mput);
        op->msg.mput.db = op->ns->db;
        op->msg.mput.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
        router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_MPUT, on_record_durable);
        op->call.timeout_ns = 0;
        op->call.err = NULL;
        cairn_rpc_call_start(&op->call);
    }
}
