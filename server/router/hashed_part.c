/* PART, COMMIT and ABORT: a value that is too large for one PUT. Their machine is PUT's (hashed_put.c), from which they
 * take a part each; what is kept between them is in upload.h. */
#include "server/router/hashed_put.h"
#include "server/router/upload.h"

#include <inttypes.h>
#include <stdlib.h>

static bool has_extents(struct router_op *op)
{
    if (op->ns->extent != NULL)
        return true;
    router_op_fail_text(op, CAIRN_E_NOPROVIDER, "parts need an extent provider, and it has none here");
    return false;
}

/* ---- PART ---- */

/* Whoever has not fetched it by now is told once more with COMMIT. */
static void part_spread(struct router_op *op)
{
    if (op->rc != 0)
        router_op_fail(op, op->rc);
    else
        router_put_finish(op);
}

static void part_stored(struct router_op *op)
{
    if (op->rc == 0 && !router_upload_keep(op, op->one.id)) {
        op->rc = CAIRN_E_STATE; /* not CANCELED: the part must not come again, and make a new upload */
        cairn_err_set(&op->err, op->rc, "the upload was aborted meanwhile");
    }
    if (op->rc != 0)
        router_put_undo(op);
    else
        router_put_spread(op, part_spread);
}

/* Parts come to whoever leads the value's slot, which is who can make them a value. */
static int part_slot_check(struct router_op *op, const Cairn__Wire__RouterPart *m)
{
    if (!router_is_clustered(op->ns))
        return 0;
    if (m->key.len == 0)
        return cairn_err_set(&op->err, CAIRN_E_INVAL, "a part of a value that is spread over nodes names its key");
    return cairn_cluster_read_begin(op->w->router->conf.cluster, op->slot, &op->leave);
}

void router_handle_part(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterPart *m = (const Cairn__Wire__RouterPart *)rq->msg;
    struct router_op *op = router_put_new(rq, m->ns, m->ns_id, m->key.len > 0 ? &m->key : NULL);
    int rc;

    if (op == NULL || !has_extents(op))
        return;
    router_op_look(op);
    rc = part_slot_check(op, m);
    if (rc == 0)
        rc = router_bytes_check(rq, m->length, m->bulk, m->n_crcs, &op->err);
    if (rc == 0)
        rc = cairn_rpc_req_hold_payload(rq);
    if (rc == 0)
        rc = router_upload_part(op, m->upload, m->number, m->length);
    if (rc != 0)
        router_op_fail(op, rc);
    else
        router_put_store(op, m->length, m->bulk, m->crcs, m->n_crcs, part_stored);
}

/* ---- COMMIT ---- */

static void commit_spread(struct router_op *op)
{
    if (op->rc == 0 && op->rq->canceled)
        op->rc = CAIRN_E_CANCELED;
    if (op->rc != 0) /* the parts stay */
        router_op_fail(op, op->rc);
    else
        router_put_regions(op);
}

static void commit_flagged(struct router_op *op)
{
    router_put_spread(op, commit_spread);
}

static void commit_opened(struct router_op *op)
{
    router_put_flag(op, commit_flagged);
}

/* The parts cannot be taken, unless they were before: then it is told once more what came of it. */
static void commit_asked(struct router_op *op)
{
    if (op->rc == 0) {
        router_put_finish(op);
        return;
    }
    if (op->rc == CAIRN_E_NOTFOUND)
        op->rc = CAIRN_E_INVAL; /* for certain: NOTFOUND is also said where a namespace is not known yet */
    else if (op->rc == CAIRN_E_UNSUPPORTED)
        op->rc = op->refused;
    else
        op->err.text[0] = '\0';
    router_op_fail(op, op->rc);
}

static void commit_refused(struct router_op *op, int rc)
{
    bool may_be_done = rc == CAIRN_E_NOTFOUND || rc == CAIRN_E_INVAL;

    if (!may_be_done || !router_is_clustered(op->ns) || op->rid == NULL || op->rid->seq == 0) {
        router_op_fail(op, rc);
        return;
    }
    op->refused = rc;
    cairn_sm_move(&op->sm, PUT_ASK);
    router_clustered_ask(op, op->rid, commit_asked);
}

void router_handle_commit(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterCommit *m = (const Cairn__Wire__RouterCommit *)rq->msg;
    struct router_op *op = router_put_new(rq, m->ns, m->ns_id, &m->key);
    int rc;

    if (op == NULL || !has_extents(op))
        return;
    router_op_look(op);
    op->key = m->key;
    op->rid = m->rid;
    op->if_absent = m->if_absent;
    rc = router_upload_commit(op, m->upload, m->parts, m->length);
    if (rc != 0)
        commit_refused(op, rc);
    else
        router_op_open_to_store(op, commit_opened);
}

/* ---- ABORT ---- */

void router_handle_abort(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterAbort *m = (const Cairn__Wire__RouterAbort *)rq->msg;
    struct router_op *op = router_put_new(rq, m->ns, m->ns_id, NULL);
    int rc;

    if (op == NULL || !has_extents(op))
        return;
    router_op_look(op);
    rc = router_upload_abort(op, m->upload);
    if (rc != 0)
        router_op_fail(op, rc);
    else
        router_put_reclaim(op);
}
