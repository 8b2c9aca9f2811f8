/* Removing a namespace.
 *
 *   CHECK ---> CLOSE ---> LOOK ---> STORE ---> WALK ---> RECLAIM ---> DROP ---> SPREAD ---> DONE
 *   RECLAIM ---> WALK
 *   CLOSE may also go to STORE; STORE and WALK to DROP; LOOK to UNNOTE; LOOK, UNNOTE and STORE to REOPEN;
 *   UNNOTE and STORE to LOOK; CHECK and REOPEN to FAILED.
 *
 * CHECK    nothing has happened.
 * CLOSE    the workers are being told to take no more operations; each answers when its last one has ended.
 * LOOK     nobody uses it; is it empty? In a cluster, of one that is spread over none of it: is no other node noted as
 *          one that holds something (ns_holders.c)?
 * UNNOTE   one is. Here there is nothing, and that is being noted: whoever goes to each of them removes it at the last.
 * STORE    its record is being erased. From here there is no way back, and a crash leaves what the sweeper finds;
 *          unless another node has changed it: then it is looked at again.
 * WALK     one page of records is being read, to learn which regions they name.
 * RECLAIM  the regions of that page are being removed.
 * DROP     its database is being dropped.
 * SPREAD   the workers are forgetting it.
 * DONE     there is no such namespace.
 * REOPEN   it stays: the workers are being told to take operations again.     FAILED  nothing has changed. */
#include "server/router/ns_order.h"
#include "server/router/upload.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    REMOVE_CHECK,
    REMOVE_CLOSE,
    REMOVE_LOOK,
    REMOVE_UNNOTE,
    REMOVE_STORE,
    REMOVE_WALK,
    REMOVE_RECLAIM,
    REMOVE_DROP,
    REMOVE_SPREAD,
    REMOVE_DONE,
    REMOVE_REOPEN,
    REMOVE_FAILED,
    REMOVE_NR
};

enum { WALK_PAGE = 256 };

#define TO(state) CAIRN_SM_TO(REMOVE_##state)
static const struct cairn_sm_state remove_states[REMOVE_NR] = {
    [REMOVE_CHECK] = { "CHECK", CAIRN_SM_INITIAL, TO(CLOSE) | TO(FAILED) },
    [REMOVE_CLOSE] = { "CLOSE", 0, TO(LOOK) | TO(STORE) },
    [REMOVE_LOOK] = { "LOOK", 0, TO(UNNOTE) | TO(STORE) | TO(REOPEN) },
    [REMOVE_UNNOTE] = { "UNNOTE", 0, TO(LOOK) | TO(REOPEN) },
    [REMOVE_STORE] = { "STORE", 0, TO(LOOK) | TO(WALK) | TO(DROP) | TO(REOPEN) },
    [REMOVE_WALK] = { "WALK", 0, TO(RECLAIM) | TO(DROP) },
    [REMOVE_RECLAIM] = { "RECLAIM", 0, TO(WALK) | TO(DROP) },
    [REMOVE_DROP] = { "DROP", 0, TO(SPREAD) },
    [REMOVE_SPREAD] = { "SPREAD", 0, TO(DONE) },
    [REMOVE_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [REMOVE_REOPEN] = { "REOPEN", 0, TO(FAILED) },
    [REMOVE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool remove_invariant(const struct cairn_sm *sm)
{
    const struct router_order *o = CONTAINER_OF(sm, const struct router_order, sm);
    bool ours = sm->state > REMOVE_CHECK && sm->state <= REMOVE_SPREAD;

    return CAIRN_HOLDS(!ours || (o->home != NULL && o->home->removing && o->holds)) &&
           CAIRN_HOLDS(sm->state < REMOVE_LOOK || sm->state > REMOVE_DROP || o->home->ops == 0) && /* nobody uses it */
           CAIRN_HOLDS(sm->state != REMOVE_DONE || o->home == NULL) &&
           CAIRN_HOLDS(sm->state != REMOVE_REOPEN || o->rc != 0);
}

const struct cairn_sm_kind router_remove_kind = { "router-ns-remove", remove_states, REMOVE_NR, remove_invariant, 0 };

static void remove_walk(struct router_order *o);

static void remove_fail(struct router_order *o, int rc)
{
    o->rc = rc;
    cairn_sm_fail(&o->sm, REMOVE_FAILED, rc);
    router_order_end(o);
}

/* ---- it stays ---- */

static void remove_on_reopened(struct router_spread *s)
{
    struct router_order *o = CONTAINER_OF(s, struct router_order, spread);

    remove_fail(o, o->rc);
}

static void remove_apply_reopen(struct router_news *n)
{
    const struct router_order *o = CONTAINER_OF(n->spread, const struct router_order, spread);

    struct router_ns *ns = router_ns_find(n->w, o->ns.name);

    ns->removing = false;
    ns->noted &= !o->unnoted;
    router_news_ack(n);
}

static void remove_reopen(struct router_order *o, int rc)
{
    o->rc = rc;
    cairn_sm_move(&o->sm, REMOVE_REOPEN);
    router_spread_start(&o->spread, remove_apply_reopen, remove_on_reopened);
}

/* ---- it goes ---- */

static void remove_on_forgotten(struct router_spread *s)
{
    struct router_order *o = CONTAINER_OF(s, struct router_order, spread);

    atomic_fetch_sub(&o->router->nnamespaces, 1);
    router_uploads_expire(o->router, o->ns.id);
    o->home = NULL;
    o->holds = false;
    cairn_sm_move(&o->sm, REMOVE_DONE);
    router_order_end(o);
}

static void remove_apply_forget(struct router_news *n)
{
    const struct router_order *o = CONTAINER_OF(n->spread, const struct router_order, spread);

    router_ns_del(n->w, router_ns_find(n->w, o->ns.name));
    router_news_ack(n);
}

static void remove_on_dropped(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;

    if (call->rc != 0 && call->rc != CAIRN_E_NOTFOUND)
        router_garbage_note(o->router, &o->ns, 0, o->err.text);
    cairn_sm_move(&o->sm, REMOVE_SPREAD);
    router_spread_start(&o->spread, remove_apply_forget, remove_on_forgotten);
}

static void remove_drop(struct router_order *o)
{
    cairn_sm_move(&o->sm, REMOVE_DROP);
    cairn__wire__kv_drop__init(&o->msg.drop);
    o->msg.drop.name = o->ns.db_name;
    router_order_call(o, o->ns.kv, CAIRN__WIRE__KV_METHOD__KV_DROP, remove_on_dropped);
}

static void remove_on_reclaimed(struct cairn_rpc_call *call);

/* The next of the page's regions: a few large values have more than one call may name. */
static void remove_reclaim(struct router_order *o)
{
    cairn__wire__extent_remove__init(&o->msg.extent_remove);
    o->msg.extent_remove.ids = o->regions + o->regions_at;
    o->msg.extent_remove.n_ids = MIN(o->nregions - o->regions_at, (uint32_t)CAIRN_BATCH_MAX);
    router_order_call(o, o->ns.extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, remove_on_reclaimed);
}

static void remove_on_reclaimed(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;
    uint32_t left = call->rc != 0 ? (uint32_t)o->msg.extent_remove.n_ids : router_count_left(call);

    if (left > 0)
        router_garbage_note(o->router, &o->ns, left, call->rc != 0 ? o->err.text : "the extent provider could not");
    o->regions_at += (uint32_t)o->msg.extent_remove.n_ids;
    if (o->regions_at < o->nregions)
        remove_reclaim(o);
    else if (o->from != NULL)
        remove_walk(o);
    else
        remove_drop(o);
}

/* All regions that the records of one page name; false for memory. */
static bool walk_collect(struct router_order *o, const Cairn__Wire__KvListReply *reply, const uint8_t *values,
                         size_t values_len)
{
    uint32_t room = 0;
    size_t at = 0;

    free(o->regions);
    o->regions = NULL;
    o->nregions = 0;
    for (size_t i = 0; i < reply->n_lengths && at + reply->lengths[i] <= values_len; at += reply->lengths[i++]) {
        struct cairn_record r;
        uint64_t *grown;

        if (cairn_record_parse(values + at, reply->lengths[i], &r) != 0) {
            router_garbage_note(o->router, &o->ns, 0, "a record cannot be read");
            continue;
        }
        if (r.nregions == 0)
            continue;
        if (o->nregions + r.nregions > room) {
            room = (o->nregions + r.nregions) * 2;
            grown = realloc(o->regions, room * sizeof(o->regions[0]));
            if (grown == NULL)
                return false;
            o->regions = grown;
        }
        for (uint32_t j = 0; j < r.nregions; j++)
            o->regions[o->nregions++] = cairn_record_region(&r, j).id;
    }
    return true;
}

/* Where the next page begins; o->from is NULL behind the last. */
static bool walk_step(struct router_order *o, const Cairn__Wire__KvListReply *reply)
{
    const ProtobufCBinaryData *last;

    free(o->from);
    o->from = NULL;
    if (!reply->more || reply->n_keys == 0)
        return true;
    last = &reply->keys[reply->n_keys - 1];
    o->from = malloc(last->len + 1);
    if (o->from == NULL)
        return false;
    memcpy(o->from, last->data, last->len);
    o->from_len = (uint32_t)last->len;
    return true;
}

static void remove_on_walked(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;
    const Cairn__Wire__KvListReply *reply = (const Cairn__Wire__KvListReply *)call->reply;

    if (call->rc != 0 || !walk_collect(o, reply, call->reply_payload, call->reply_payload_len) ||
        !walk_step(o, reply)) {
        router_garbage_note(o->router, &o->ns, 0, call->rc != 0 ? o->err.text : "out of memory");
        remove_drop(o);
        return;
    }
    if (o->nregions == 0 && o->from != NULL) {
        remove_walk(o);
        return;
    }
    if (o->nregions == 0 || o->ns.extent == NULL) {
        remove_drop(o);
        return;
    }
    cairn_sm_move(&o->sm, REMOVE_RECLAIM);
    o->regions_at = 0;
    remove_reclaim(o);
}

static void list_begin(struct router_order *o, uint32_t max)
{
    cairn__wire__kv_list__init(&o->msg.list);
    o->msg.list.db = o->home->db;
    o->msg.list.max = max;
}

static void remove_walk(struct router_order *o)
{
    if (o->sm.state != REMOVE_WALK)
        cairn_sm_move(&o->sm, REMOVE_WALK);
    list_begin(o, WALK_PAGE);
    o->msg.list.values = true;
    if (o->from != NULL) {
        o->msg.list.from = (ProtobufCBinaryData){ .data = o->from, .len = o->from_len };
        o->msg.list.after = true;
    }
    router_order_call(o, o->ns.kv, CAIRN__WIRE__KV_METHOD__KV_LIST, remove_on_walked);
}

/* What is here of it goes. */
static void remove_all(struct router_order *o)
{
    if (o->ns.kv != NULL && o->home->has_large && o->home->open) {
        remove_walk(o);
    } else if (o->ns.kv != NULL) {
        remove_drop(o);
    } else { /* the provider is not here: what it holds cannot be reached by anybody */
        cairn_sm_move(&o->sm, REMOVE_DROP);
        cairn_sm_move(&o->sm, REMOVE_SPREAD);
        router_spread_start(&o->spread, remove_apply_forget, remove_on_forgotten);
    }
}

static void remove_look_around(struct router_order *o);

static void remove_on_again(void *arg)
{
    remove_look_around(arg);
}

/* The record could not be written: another node noted something in it, or why. */
static void remove_not_written(struct router_order *o, const struct cairn_map_op *op)
{
    if (op->rc == CAIRN_E_STATE && router_order_again(o, o->rq->deadline_ns, remove_on_again)) {
        cairn_sm_move(&o->sm, REMOVE_LOOK);
        return;
    }
    o->err = op->err;
    remove_reopen(o, op->rc == CAIRN_E_STATE ? CAIRN_E_BUSY : op->rc);
}

static void remove_on_stored(struct cairn_map_op *op)
{
    struct router_order *o = op->arg;

    /* Perhaps it is gone: who stores something here notes it first, which is refused then. */
    o->unnoted = op->rc == CAIRN_E_UNKNOWN && !o->home->clustered;
    if (op->rc != 0)
        remove_not_written(o, op);
    else
        remove_all(o);
}

/* @from: the revision of the record that says that it may go. */
static void remove_store(struct router_order *o, uint64_t from)
{
    cairn_sm_move(&o->sm, REMOVE_STORE);
    o->quiet = false;
    if (o->follows) {
        remove_all(o);
        return;
    }
    router_order_store(o, NULL, 0, from, remove_on_stored);
}

/* ---- do other nodes hold something? ---- */

static int remove_refuse_others(struct router_order *o, const struct router_holders *h)
{
    char more[32] = "";

    if (h->others > 1)
        snprintf(more, sizeof(more), ", and %" PRIu32 " more,", h->others - 1);
    return cairn_err_set(&o->err, CAIRN_E_NOTEMPTY, "node %s%s may hold something of it", h->name, more);
}

static void remove_on_unnoted(struct cairn_map_op *op)
{
    struct router_order *o = op->arg;

    o->unnoted = op->rc == 0 || op->rc == CAIRN_E_UNKNOWN; /* who is not sure notes it again */
    if (op->rc == 0) {
        o->home->changed = op->revision;
        remove_reopen(o, CAIRN_E_NOTEMPTY);
    } else {
        remove_not_written(o, op);
    }
}

/* Here is nothing of it, or it is to go all the same. */
static void remove_look_around(struct router_order *o)
{
    struct router_holders h = { 0 };
    uint8_t *value = NULL;
    uint64_t from = 0;
    uint32_t len = 0;
    int rc = router_ns_holders(o->router, o->home, &h);

    if (rc == 0 && (o->force || (h.known && h.others == 0))) {
        remove_store(o, h.revision);
        return;
    }
    if (rc == 0 && h.others > 0)
        rc = remove_refuse_others(o, &h);
    else if (rc == 0)
        rc = cairn_err_set(&o->err, CAIRN_E_NOTEMPTY,
                           "nothing of it is here, but which other nodes hold something is not known: the map was put "
                           "back, comes from elsewhere, or an older version made it");
    if (rc == CAIRN_E_NOTEMPTY && h.here && h.others > 0 &&
        router_ns_edit(o->router, o->home, ROUTER_HOLDS_NOT, &value, &len, &from) == 0) {
        o->quiet = true;
        cairn_sm_move(&o->sm, REMOVE_UNNOTE);
        router_order_store(o, value, len, from, remove_on_unnoted);
        return;
    }
    remove_reopen(o, rc);
}

/* ---- is it empty? ---- */

static void remove_refuse(struct router_order *o)
{
    if (o->router->conf.node != 0)
        cairn_err_set(&o->err, CAIRN_E_NOTEMPTY, "node %s holds something of it", o->router->conf.node_name);
    else
        cairn_err_set(&o->err, CAIRN_E_NOTEMPTY, "the namespace is not empty");
    remove_reopen(o, CAIRN_E_NOTEMPTY);
}

static void remove_on_looked(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;
    const Cairn__Wire__KvListReply *reply = (const Cairn__Wire__KvListReply *)call->reply;

    if (call->rc != 0)
        remove_reopen(o, call->rc);
    else if (reply->n_keys > 0 && !o->force)
        remove_refuse(o);
    else if (o->router->conf.node != 0 && !o->force)
        remove_look_around(o);
    else
        remove_store(o, o->home->changed);
}

static void remove_on_opened(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;

    if (call->rc != 0) {
        remove_reopen(o, call->rc);
        return;
    }
    o->home->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    o->home->open = true;
    list_begin(o, 1);
    router_order_call(o, o->ns.kv, CAIRN__WIRE__KV_METHOD__KV_LIST, remove_on_looked);
}

static void remove_on_closed(struct router_spread *s)
{
    struct router_order *o = CONTAINER_OF(s, struct router_order, spread);

    if (o->follows || (o->ns.clustered && o->force)) {
        remove_store(o, o->home->changed);
        return;
    }
    if (o->ns.clustered) {
        cairn_sm_move(&o->sm, REMOVE_LOOK);
        remove_reopen(o,
                      cairn_err_set(&o->err, CAIRN_E_NOTEMPTY, "it is spread over a cluster, and may hold something"));
        return;
    }
    if (o->ns.kv == NULL) {
        if (o->force)
            remove_store(o, o->home->changed);
        else {
            cairn_sm_move(&o->sm, REMOVE_LOOK);
            remove_reopen(o, cairn_err_set(&o->err, CAIRN_E_NOPROVIDER, "its KV provider '%s' is not on this node",
                                           o->ns.kv_name));
        }
        return;
    }
    cairn_sm_move(&o->sm, REMOVE_LOOK);
    cairn__wire__kv_open__init(&o->msg.open); /* home may not have used it yet */
    o->msg.open.name = o->ns.db_name;
    o->msg.open.create = true;
    o->msg.open.write_once = o->ns.write_once;
    router_order_call(o, o->ns.kv, CAIRN__WIRE__KV_METHOD__KV_OPEN, remove_on_opened);
}

static void remove_apply_close(struct router_news *n)
{
    const struct router_order *o = CONTAINER_OF(n->spread, const struct router_order, spread);
    struct router_ns *ns = router_ns_find(n->w, o->ns.name);

    CAIRN_ASSERT(ns != NULL && ns->awaits_ops == NULL);
    ns->removing = true;
    if (ns->ops == 0)
        router_news_ack(n);
    else
        ns->awaits_ops = n;
}

static void remove_close(struct router_order *o)
{
    o->ns = *o->home;
    o->home->removing = true;
    cairn_sm_move(&o->sm, REMOVE_CLOSE);
    router_orders_wake(o->router); /* operations that we shall wait for may wait for such an order */
    router_spread_start(&o->spread, remove_apply_close, remove_on_closed);
}

void router_remove_follow(struct router_order *o)
{
    CAIRN_ASSERT(o->follows && o->holds);
    remove_close(o);
}

static void remove_begin(struct router_order *o)
{
    if (o->home == NULL) {
        remove_fail(o, cairn_err_set(&o->err, CAIRN_E_NOTFOUND, "there is no such namespace"));
        return;
    }
    if (!o->who.admin && o->who.uid != o->home->owner) {
        remove_fail(o, cairn_err_set(&o->err, CAIRN_E_DENIED, "only its owner, user %" PRIu32 ", may remove it",
                                     o->home->owner));
        return;
    }
    remove_close(o);
}

/* ---- at the origin ---- */

static void remove_done(struct router_order *o)
{
    if (o->rc != 0)
        cairn_rpc_reply_err(o->rq, o->rc, "namespace '%s': %s", o->ns.name,
                            o->err.text[0] != '\0' ? o->err.text : cairn_error_text(o->rc));
    else
        cairn_rpc_reply(o->rq, 0, NULL, NULL, 0);
    router_order_free(o);
}

void router_handle_ns_remove(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__NsName *m = (const Cairn__Wire__NsName *)rq->msg;
    struct router_worker *w = router_worker_of(rq);
    struct router_order *o;

    if (strlen(m->name) > CAIRN_NAME_BYTES_MAX) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "there is no such namespace");
        return;
    }
    o = router_order_new(w, &router_remove_kind, m->name, remove_begin, remove_done);
    if (o == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "namespace '%s'", m->name);
        return;
    }
    o->force = m->force;
    o->rq = rq;
    o->who = *rq->who;
    router_order_submit(o);
}
