/* DELETE: a key of a hashed namespace, and what it stands for.
 *
 *   OPEN ---> ERASE ---> RECLAIM ---> REPLIED        OPEN and ERASE may also go to FAILED.
 *
 * OPEN     the namespace's database is being opened.
 * ERASE    the record is being erased; if the namespace holds large values it comes back with the answer.
 * RECLAIM  nobody finds the value any more; its regions are being removed.
 * REPLIED  the caller knows.       FAILED  the value is still there, or there was none, or (CAIRN_E_UNKNOWN ...) nobody
 * knows. */
#include "server/router/router_internal.h"

enum { DELETE_OPEN, DELETE_ERASE, DELETE_RECLAIM, DELETE_REPLIED, DELETE_FAILED, DELETE_NR };

#define TO(state) CAIRN_SM_TO(DELETE_##state)
static const struct cairn_sm_state delete_states[DELETE_NR] = {
    [DELETE_OPEN] = { "OPEN", CAIRN_SM_INITIAL, TO(ERASE) | TO(FAILED) },
    [DELETE_ERASE] = { "ERASE", 0, TO(RECLAIM) | TO(FAILED) },
    [DELETE_RECLAIM] = { "RECLAIM", 0, TO(REPLIED) },
    [DELETE_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [DELETE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool delete_invariant(const struct cairn_sm *sm)
{
    const struct router_op *op = CONTAINER_OF(sm, const struct router_op, sm);

    return CAIRN_HOLDS(op->nold == 0 || sm->state == DELETE_ERASE || sm->state == DELETE_RECLAIM) &&
           CAIRN_HOLDS(!op->plain || op->nold == 0) && /* who does not look has nothing to remove */
           CAIRN_HOLDS(sm->state != DELETE_REPLIED || op->old == NULL);
}

const struct cairn_sm_kind router_delete_kind = { "router-delete", delete_states, DELETE_NR, delete_invariant, 60000 };

static void delete_finish(struct router_op *op)
{
    struct cairn_rpc_req *rq = op->rq;

    op->rq = NULL;
    cairn_sm_move(&op->sm, DELETE_REPLIED);
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    router_op_end(op);
}

static void delete_on_erased(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    if (call->rc != 0) {
        router_op_fail(op, call->rc);
        return;
    }
    if (!op->plain && ((const Cairn__Wire__KvPutReply *)call->reply)->replaced)
        router_op_note_old(op, call->reply_payload, call->reply_payload_len);
    cairn_sm_move(&op->sm, DELETE_RECLAIM);
    router_op_reclaim(op, true, delete_finish);
}

static void delete_on_replicated(struct router_op *op)
{
    if (op->rc != 0) {
        router_op_fail(op, op->rc);
        return;
    }
    cairn_sm_move(&op->sm, DELETE_RECLAIM);
    delete_finish(op);
}

static void delete_erase(struct router_op *op)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)op->rq->msg;

    cairn_sm_move(&op->sm, DELETE_ERASE);
    if (router_is_clustered(op->ns)) {
        router_clustered_write(op, &m->key, NULL, 0, m->rid, delete_on_replicated);
        return;
    }
    cairn__wire__kv_erase__init(&op->msg.erase);
    op->msg.erase.db = op->ns->db;
    op->msg.erase.key = m->key;
    op->msg.erase.durability = op->ns->durability;
    op->msg.erase.want_old = !op->plain;
    router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_ERASE, delete_on_erased);
    cairn_rpc_call_start(&op->call);
}

void router_handle_delete(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    struct router_op *op =
        router_op_new(rq, m->ns, m->ns_id, &m->key, ROUTER_WRITE, &router_delete_kind, DELETE_FAILED);

    if (LIKELY(op != NULL))
        router_op_open(op, delete_erase);
}
