/* Making it known that a namespace holds large values; or, in a cluster, that this node holds something of it.
 *
 *   CHECK ---> STORE ---> SPREAD ---> DONE        CHECK may also go to DONE; CHECK and STORE to FAILED.
 *
 * CHECK   nothing has happened.
 * STORE   the flag is being made durable: after a crash somebody may find a large value there. Many nodes may want to
 *         note something at once: who was refused writes again, after a while that grows.
 * SPREAD  the workers are being told. Of large values, each answers when the last operation that would replace a value
 *         unseen has ended.
 * DONE    every worker knows.       FAILED  none does. */
#include "server/router/ns_order.h"

#include <stdlib.h>

enum { FLAG_CHECK, FLAG_STORE, FLAG_SPREAD, FLAG_DONE, FLAG_FAILED, FLAG_NR };

#define TO(state) CAIRN_SM_TO(FLAG_##state)
static const struct cairn_sm_state flag_states[FLAG_NR] = {
    [FLAG_CHECK] = { "CHECK", CAIRN_SM_INITIAL, TO(STORE) | TO(DONE) | TO(FAILED) },
    [FLAG_STORE] = { "STORE", 0, TO(SPREAD) | TO(FAILED) },
    [FLAG_SPREAD] = { "SPREAD", 0, TO(DONE) },
    [FLAG_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [FLAG_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool flag_is_set(const struct router_order *o)
{
    return o->edit == ROUTER_HAS_LARGE ? o->home->has_large : o->home->noted;
}

static bool flag_invariant(const struct cairn_sm *sm)
{
    const struct router_order *o = CONTAINER_OF(sm, const struct router_order, sm);

    return CAIRN_HOLDS(sm->state != FLAG_SPREAD || o->home != NULL) && /* it cannot go away: it is busy with us */
           CAIRN_HOLDS(sm->state != FLAG_DONE || (flag_is_set(o) && o->rc == 0));
}

const struct cairn_sm_kind router_flag_kind = { "router-ns-flag", flag_states, FLAG_NR, flag_invariant, 60000 };

static void flag_on_spread(struct router_spread *s)
{
    struct router_order *o = CONTAINER_OF(s, struct router_order, spread);

    cairn_sm_move(&o->sm, FLAG_DONE);
    router_order_end(o);
}

static void flag_apply(struct router_news *n)
{
    const struct router_order *o = CONTAINER_OF(n->spread, const struct router_order, spread);
    struct router_ns *ns = router_ns_find(n->w, o->ns.name);

    CAIRN_ASSERT(ns != NULL && ns->awaits_plain == NULL);
    ns->noted |= o->edit == ROUTER_HOLDS;
    ns->has_large |= o->edit == ROUTER_HAS_LARGE;
    if (ns->plain == 0 || o->edit != ROUTER_HAS_LARGE)
        router_news_ack(n);
    else
        ns->awaits_plain = n;
}

static void flag_fail(struct router_order *o, int rc)
{
    o->rc = rc;
    cairn_sm_fail(&o->sm, FLAG_FAILED, rc);
    router_order_end(o);
}

static void flag_store(struct router_order *o);

static void flag_on_again(void *arg)
{
    flag_store(arg);
}

static void flag_on_stored(struct cairn_map_op *op)
{
    struct router_order *o = op->arg;

    if (op->rc == CAIRN_E_STATE && router_order_again(o, o->op->rq->deadline_ns, flag_on_again))
        return;
    if (op->rc != 0) {
        o->err = op->err;
        /* We can be reached, and who asked may ask again. */
        flag_fail(o, op->rc == CAIRN_E_STATE || op->rc == CAIRN_E_UNKNOWN || op->rc == CAIRN_E_UNREACHABLE
                         ? CAIRN_E_BUSY
                         : op->rc);
        return;
    }
    o->home->changed = op->revision;
    cairn_sm_move(&o->sm, FLAG_SPREAD);
    router_spread_start(&o->spread, flag_apply, flag_on_spread);
}

static void flag_store(struct router_order *o)
{
    uint8_t *value;
    uint64_t from;
    uint32_t len;
    int rc = router_ns_edit(o->router, o->home, o->edit, &value, &len, &from);

    if (rc != 0)
        flag_fail(o, cairn_err_set(&o->err, rc, "its record: %s", cairn_error_text(rc)));
    else
        router_order_store(o, value, len, from, flag_on_stored);
}

static void flag_begin(struct router_order *o)
{
    /* The operation that asked counts in its worker's copy, so the namespace is still there. */
    CAIRN_ASSERT(o->home != NULL);
    if (o->home->removing) {
        flag_fail(o, cairn_err_set(&o->err, CAIRN_E_BUSY, "the namespace is being removed"));
        return;
    }
    if (flag_is_set(o)) { /* by an order before ours, whose workers have all answered */
        cairn_sm_move(&o->sm, FLAG_DONE);
        router_order_end(o);
        return;
    }
    cairn_sm_move(&o->sm, FLAG_STORE);
    flag_store(o);
}

static void flag_done(struct router_order *o)
{
    struct router_op *op = o->op;
    bool large = o->edit == ROUTER_HAS_LARGE;
    int rc = o->rc;

    op->err = o->err;
    router_order_free(o);
    if (rc != 0) {
        router_op_fail(op, rc);
    } else {
        op->ns->large_ready |= large;
        op->next(op);
    }
}

void router_flag(struct router_op *op, enum router_edit edit, router_step *next)
{
    struct router_order *o = router_order_new(op->w, &router_flag_kind, op->ns->name, flag_begin, flag_done);

    if (o == NULL) {
        router_op_fail_text(op, CAIRN_E_NOMEM, "out of memory");
        return;
    }
    o->who = *op->rq->who;
    o->edit = edit;
    o->quiet = edit == ROUTER_HOLDS;
    op->next = next;
    o->op = op;
    router_order_submit(o);
}
