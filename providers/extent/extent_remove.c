/* REMOVE: several regions in one call, each with an answer of its own.
 *
 *   STRIKE ---> DONE
 *
 * STRIKE  the store strikes regions out, many in one group, as durably as was asked; those that it has taken are not
 * in the
 *         table any more, so nobody finds them.
 * DONE    each is gone, or there again with the reason why; space comes back when the last reader leaves.
 */
#include "providers/extent/extent_draft.h"
#include "providers/extent/extent_internal.h"

#include <stdlib.h>

enum { REMOVE_STRIKE, REMOVE_DONE, REMOVE_NR };
enum { REMOVE_STEPS = 64 }; /* under way at a time */

struct remove_op;

struct strike {
    struct remove_op *op; /* NULL: free */
    uint32_t i;
    struct cairn_extent_step step;
};

struct remove_op {
    struct cairn_sm sm;
    struct cairn_rpc_req *rq;
    const Cairn__Wire__ExtentRemove *msg;
    int32_t *statuses; /* in the request's arena */
    uint32_t next, inflight, nstrikes;
    bool running;
    struct strike strikes[];
};

static const struct cairn_sm_state remove_states[REMOVE_NR] = {
    [REMOVE_STRIKE] = { "STRIKE", CAIRN_SM_INITIAL, CAIRN_SM_TO(REMOVE_DONE) },
    [REMOVE_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};

static bool remove_invariant(const struct cairn_sm *sm)
{
    const struct remove_op *op = CONTAINER_OF(sm, const struct remove_op, sm);

    return CAIRN_HOLDS(op->inflight <= op->nstrikes) && CAIRN_HOLDS(op->next <= op->msg->n_ids) &&
           CAIRN_HOLDS(sm->state != REMOVE_DONE || (op->inflight == 0 && op->next == op->msg->n_ids));
}

const struct cairn_sm_kind cairn_extent_remove_kind = { "extent-remove", remove_states, REMOVE_NR, remove_invariant,
                                                        60000 };

static void remove_run(struct remove_op *op);

/* @r is out of the table, with two references: the table's, now ours, and ours. */
static void struck(struct strike *st, int rc)
{
    struct cairn_extent_region *r = st->step.region;
    bool back = false;

    if (rc != 0) { /* as before, and the reference is the table's again */
        atomic_store(&r->striking, false);
        back = cairn_extent_table_add(&r->store->table, r);
    }
    st->op->statuses[st->i] = rc;
    st->op->inflight--;
    st->op = NULL;
    if (!back)
        cairn_extent_region_put(r);
    cairn_extent_region_put(r);
}

static void on_struck(struct cairn_extent_step *step, int rc)
{
    struct strike *st = step->arg;
    struct remove_op *op = st->op;

    struck(st, rc);
    remove_run(op);
}

static struct strike *strike_free(struct remove_op *op)
{
    for (uint32_t i = 0; i < op->nstrikes; i++) {
        if (op->strikes[i].op == NULL)
            return &op->strikes[i];
    }
    return NULL;
}

static void strike_start(struct remove_op *op, struct strike *st, uint32_t i)
{
    struct cairn_extent_worker *w = cairn_extent__worker(op->rq);
    struct cairn_extent_store *s = w->store;
    struct cairn_extent_region *r = cairn_extent_table_find(&s->table, op->msg->ids[i]);
    int rc;

    if (r == NULL) {
        op->statuses[i] = CAIRN_E_NOTFOUND;
        return;
    }
    if (!atomic_load(&r->sealed)) {
        rc = cairn_extent_draft_drop(r);
        op->statuses[i] = rc;
        cairn_extent_region_put(r);
        if (rc == 0)
            cairn_extent_region_put(r);
        return;
    }
    if (atomic_exchange(&r->striking, true)) { /* another REMOVE is quicker, or is being refused */
        op->statuses[i] = CAIRN_E_BUSY;
        cairn_extent_region_put(r);
        return;
    }
    st->op = op;
    st->i = i;
    st->step = (struct cairn_extent_step){
        .worker = w, .region = r, .durability = op->msg->durability, .done = on_struck, .arg = st
    };
    rc = s->ops->remove(&st->step);
    if (rc < 0) { /* not taken: it was there all the time */
        st->op = NULL;
        op->statuses[i] = rc;
        atomic_store(&r->striking, false);
        cairn_extent_region_put(r);
        return;
    }
    CAIRN_ASSERT(cairn_extent_table_del(&s->table, r));
    op->inflight++;
    if (rc == 0)
        struck(st, 0);
}

static void remove_run(struct remove_op *op)
{
    struct cairn_rpc_req *rq = op->rq;
    Cairn__Wire__KvStatuses reply = CAIRN__WIRE__KV_STATUSES__INIT;
    struct strike *st;

    while (op->next < op->msg->n_ids && (st = strike_free(op)) != NULL)
        strike_start(op, st, op->next++);
    if (op->inflight > 0)
        return;
    reply.n_status = op->msg->n_ids;
    reply.status = op->statuses;
    cairn_sm_move(&op->sm, REMOVE_DONE);
    cairn_sm_fini(&op->sm);
    free(op);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

void cairn_extent__remove(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRemove *msg = (const Cairn__Wire__ExtentRemove *)rq->msg;
    uint32_t n = (uint32_t)MIN(msg->n_ids, (size_t)REMOVE_STEPS);
    struct remove_op *op;

    if (!cairn_rpc_req_check_durability(rq, (uint32_t)msg->durability))
        return;
    if (msg->n_ids > CAIRN_BATCH_MAX) {
        cairn_rpc_reply_err(rq, CAIRN_E_TOOBIG, "%zu regions in one call, at most %d", msg->n_ids, CAIRN_BATCH_MAX);
        return;
    }
    op = calloc(1, sizeof(*op) + n * sizeof(op->strikes[0]));
    if (op != NULL)
        op->statuses = cairn_arena_alloc(&rq->arena, MAX(msg->n_ids, 1) * sizeof(op->statuses[0]));
    if (op == NULL || op->statuses == NULL) {
        free(op);
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    op->rq = rq;
    op->msg = msg;
    op->nstrikes = n;
    cairn_sm_init(&op->sm, &cairn_extent_remove_kind, &cairn_rpc_loop(rq->rpc)->machines);
    remove_run(op);
}
