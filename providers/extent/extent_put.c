/* PUT: a region made, filled and sealed in one round trip.
 *
 *   RESERVE ---> MOVE ---> SEAL ---> DONE        RESERVE, MOVE and SEAL may also go to FAILED.
 *
 * RESERVE  the region has a name; space for it is asked for.
 * MOVE     the region has its space; bytes come in and are compared with their checksums.
 * SEAL     every byte is with the store; bytes and record become as durable as was asked.
 * DONE     the region is visible and answered.   FAILED  its space is given back; nobody ever saw it.
 */
#include "providers/extent/extent_internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum { PUT_RESERVE, PUT_MOVE, PUT_SEAL, PUT_DONE, PUT_FAILED, PUT_NR };

#define TO(state) CAIRN_SM_TO(state)

struct put {
    struct cairn_sm sm;
    struct cairn_rpc_req *rq;
    struct cairn_extent_region *region; /* ours alone until it is in the table */
    const Cairn__Wire__ExtentPut *msg;
    struct cairn_link named; /* of the store's, if the caller gave the name */
    bool moved;
    struct cairn_extent_step step;
    struct cairn_extent_move move;
};

static const struct cairn_sm_state put_states[PUT_NR] = {
    [PUT_RESERVE] = { "RESERVE", CAIRN_SM_INITIAL, TO(PUT_MOVE) | TO(PUT_FAILED) },
    [PUT_MOVE] = { "MOVE", 0, TO(PUT_SEAL) | TO(PUT_FAILED) },
    [PUT_SEAL] = { "SEAL", 0, TO(PUT_DONE) | TO(PUT_FAILED) },
    [PUT_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [PUT_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool put_invariant(const struct cairn_sm *sm)
{
    const struct put *p = CONTAINER_OF(sm, const struct put, sm);

    return CAIRN_HOLDS(sm->state != PUT_SEAL || p->moved || p->region->length == 0) &&
           CAIRN_HOLDS((sm->state == PUT_DONE) == (p->region != NULL && atomic_load(&p->region->sealed))) &&
           CAIRN_HOLDS(sm->state != PUT_FAILED || !p->region->listed);
}

const struct cairn_sm_kind cairn_extent_put_kind = { "extent-put", put_states, PUT_NR, put_invariant, 60000 };

/* ---- names that the caller gives: nobody else may be storing the same one ---- */

static bool name_take(struct put *p)
{
    struct cairn_extent_store *s = p->region->store;
    struct cairn_extent_region *there;
    bool taken = false;

    pthread_mutex_lock(&s->drafts_mutex);
    there = cairn_extent_table_find(&s->table, p->region->id);
    CAIRN_LIST_FOREACH (l, &s->named)
        taken |= CONTAINER_OF(l, const struct put, named)->region->id == p->region->id;
    if (there == NULL && !taken)
        cairn_list_add_tail(&s->named, &p->named);
    pthread_mutex_unlock(&s->drafts_mutex);
    if (there != NULL)
        cairn_extent_region_put(there);
    return there == NULL && !taken;
}

static void name_give(struct put *p)
{
    struct cairn_extent_store *s = p->step.worker->store; /* the region may be gone by now */

    if (cairn_list_is_empty(&p->named))
        return;
    pthread_mutex_lock(&s->drafts_mutex);
    cairn_list_del(&p->named);
    pthread_mutex_unlock(&s->drafts_mutex);
}

static void put_fail(struct put *p, int rc)
{
    struct cairn_rpc_req *rq = p->rq;

    cairn_sm_fail(&p->sm, PUT_FAILED, rc);
    cairn_sm_fini(&p->sm);
    name_give(p);
    cairn_extent_region_put(p->region);
    free(p);
    if (rc == CAIRN_E_CORRUPT)
        cairn_rpc_reply_err(rq, rc, "checksum differs on arrival, nothing was stored");
    else
        cairn_extent__fail(rq, rc, 0);
}

/* ---- SEAL ---- */

static void put_sealed(struct put *p, int rc)
{
    struct cairn_extent_store *s = p->region->store;
    struct cairn_rpc_req *rq = p->rq;
    Cairn__Wire__ExtentId reply = CAIRN__WIRE__EXTENT_ID__INIT;

    if (rc != 0) {
        put_fail(p, rc);
        return;
    }
    reply.id = p->region->id;
    cairn_extent_table_seal(&s->table, p->region);
    cairn_sm_move(&p->sm, PUT_DONE);
    cairn_sm_fini(&p->sm);
    CAIRN_ASSERT(cairn_extent_table_add(&s->table, p->region)); /* names are unique; takes our reference */
    name_give(p);
    free(p);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void put_on_sealed(struct cairn_extent_step *step, int rc)
{
    put_sealed(step->arg, rc);
}

static void put_seal(struct put *p)
{
    int rc;

    cairn_sm_move(&p->sm, PUT_SEAL);
    p->step.done = put_on_sealed;
    p->step.durability = p->msg->durability;
    rc = p->region->store->ops->seal(&p->step);
    if (rc != CAIRN_EXTENT_LATER)
        put_sealed(p, rc);
}

/* ---- MOVE ---- */

static void put_moved(struct put *p, int rc)
{
    p->rq->on_cancel = NULL;
    if (rc == 0 && p->rq->canceled)
        rc = CAIRN_E_CANCELED; /* nobody would learn the name */
    p->moved = rc == 0;
    if (rc != 0)
        put_fail(p, rc);
    else
        put_seal(p);
}

static void put_on_moved(struct cairn_extent_move *m, int rc)
{
    put_moved(m->arg, rc);
}

static void put_on_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct put *p = arg;

    (void)rq;
    cairn_extent_move_cancel(&p->move);
}

static void put_reserved(struct put *p, int rc)
{
    if (rc == 0 && p->rq->canceled)
        rc = CAIRN_E_CANCELED;
    if (rc != 0) {
        put_fail(p, rc);
        return;
    }
    cairn_sm_move(&p->sm, PUT_MOVE);
    if (p->region->length == 0) {
        put_seal(p);
        return;
    }
    p->move = (struct cairn_extent_move){
        .worker = p->step.worker,
        .region = p->region,
        .len = p->region->length,
        .write = true,
        .want = p->msg->crcs,
        .rq = p->rq,
        .desc = p->msg->bulk,
        .parent = p->sm.id,
        .done = put_on_moved,
        .arg = p,
    };
    p->rq->on_cancel = put_on_cancel;
    p->rq->on_cancel_arg = p;
    rc = cairn_extent_move_start(&p->move);
    if (rc != CAIRN_EXTENT_LATER)
        put_moved(p, rc);
}

/* ---- RESERVE ---- */

static void put_on_reserved(struct cairn_extent_step *step, int rc)
{
    put_reserved(step->arg, rc);
}

void cairn_extent__put(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentPut *msg = (const Cairn__Wire__ExtentPut *)rq->msg;
    struct cairn_extent_worker *w = cairn_extent__worker(rq);
    struct cairn_extent_store *s = w->store;
    uint64_t id;
    struct put *p;
    int rc;

    if (!cairn_rpc_req_check_durability(rq, (uint32_t)msg->durability) ||
        !cairn_extent__check_length(rq, msg->length) ||
        !cairn_extent__check_write(rq, msg->length, msg->bulk, msg->n_crcs))
        return;
    id = msg->id != 0 ? msg->id : cairn_extent_store_new_name(s);
    p = id != 0 ? malloc(sizeof(*p)) : NULL;
    if (p != NULL)
        p->region = cairn_extent_region_new(s, id, msg->length, msg->owner);
    if (p == NULL || p->region == NULL || (!s->ops->immediate && cairn_rpc_req_hold_payload(rq) != 0)) {
        if (p != NULL && p->region != NULL)
            cairn_extent_region_put(p->region);
        free(p);
        cairn_rpc_reply(rq, id != 0 ? CAIRN_E_NOMEM : CAIRN_E_LIMIT, NULL, NULL, 0);
        return;
    }
    p->rq = rq;
    p->msg = msg;
    p->moved = false;
    cairn_list_init(&p->named);
    if (msg->id != 0 && !name_take(p)) {
        cairn_extent_region_put(p->region);
        free(p);
        cairn_rpc_reply_err(rq, CAIRN_E_EXISTS, "region %016" PRIx64 " is there already", msg->id);
        return;
    }
    p->step.worker = w;
    p->step.region = p->region;
    p->step.done = put_on_reserved;
    p->step.arg = p;
    cairn_sm_init(&p->sm, &cairn_extent_put_kind, &w->loop->machines);
    rc = s->ops->reserve(&p->step);
    if (rc != CAIRN_EXTENT_LATER)
        put_reserved(p, rc);
}
