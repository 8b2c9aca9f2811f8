/* Namespaces whose keys are spread over the nodes of a cluster: which slot, and writes that every replica carries out. Reads
 * are the same machines as on one node, between cairn_cluster_read_begin() and read_end(). */
#include "server/router/router_internal.h"

#include "sdk/core/placement/placement.h"
#include "server/cluster/service/store_body.h"

#include <stdlib.h>
#include <string.h>

uint32_t router_clustered_slots(const struct cairn_router *r, const struct router_ns *ns, uint32_t *first)
{
    uint32_t n = ns->clustered && r->conf.cluster != NULL ? cairn_cluster_slots(r->conf.cluster) : 0;

    *first = n * (ns->replicas - 1); /* slots of a class follow those of the one before: cluster service */
    return n;
}

int router_clustered_slot(struct router_op *op, const ProtobufCBinaryData *key)
{
    uint32_t first, n = router_clustered_slots(op->w->router, op->ns, &first);

    if (n == 0)
        return cairn_err_set(&op->err, CAIRN_E_BUSY, "this node does not know the cluster's slots yet");
    op->slot = first + cairn_placement_slot(key->data, key->len, (uint32_t)__builtin_ctz(n));
    return 0;
}

/* ---- writes ---- */

struct clustered_write {
    struct cairn_cluster_write w;
    uint8_t body[];
};

static void on_written(struct cairn_cluster_write *w)
{
    struct router_op *op = w->arg;

    op->rc = w->rc == CAIRN_E_NOTFOUND ? CAIRN_E_MOVED : w->rc != 0 ? w->rc : w->result;
    op->next(op);
}

static struct clustered_write *write_new(struct router_op *op, uint32_t body_len, const Cairn__Wire__RouterRid *rid)
{
    struct clustered_write *c = malloc(sizeof(*c) + body_len);

    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof(*c));
    if (rid != NULL) {
        c->w.rid = (struct cairn_rid){ .session = { rid->session_epoch, rid->session_pos }, .seq = rid->seq };
        c->w.floor = rid->floor;
    }
    c->w.slot = op->slot;
    c->w.kind = CAIRN_ENTRY_WRITE;
    c->w.sync = op->ns->durability == CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    c->w.body = c->body;
    c->w.body_len = body_len;
    c->w.loop = op->w->loop;
    c->w.deadline_ns = op->rq->deadline_ns;
    c->w.done = on_written;
    c->w.arg = op;
    op->writes = &c->w;
    return c;
}

void router_clustered_write(struct router_op *op, const ProtobufCBinaryData *key, const uint8_t *record, size_t len,
                            const Cairn__Wire__RouterRid *rid, router_step *next)
{
    struct store_body body = { .op = record != NULL ? STORE_PUT : STORE_ERASE,
                               .flags = (uint8_t)((op->ns->write_once ? STORE_BODY_WRITE_ONCE : 0) |
                                                  (record != NULL && op->if_absent ? STORE_BODY_IF_ABSENT : 0)),
                               .ns = op->ns->id,
                               .key = key->data,
                               .key_len = (uint32_t)key->len,
                               .record = record,
                               .record_len = (uint32_t)len };
    struct clustered_write *c;

    if (rid == NULL || rid->seq == 0) {
        router_op_fail_text(op, CAIRN_E_INVAL, "a write to a namespace of a cluster has a number");
        return;
    }
    if (key->len > STORE_KEY_BYTES_MAX) {
        router_op_fail_text(op, CAIRN_E_INVAL, "a key of %zu bytes; in a cluster 1 to %d are possible", key->len,
                            STORE_KEY_BYTES_MAX);
        return;
    }
    c = write_new(op, store_body_bytes(&body), rid);
    if (c == NULL) {
        router_op_fail(op, CAIRN_E_NOMEM);
        return;
    }
    store_body_put(&body, c->body);
    op->next = next;
    cairn_cluster_write(op->w->router->conf.cluster, &c->w);
}

/* ---- sessions ---- */

/* OPEN: a session for writes to a slot.
 *
 *   ASK ---> REPLIED        ASK may also go to FAILED.
 *
 * ASK      the slot's primary is to note it, which is an entry of its log.
 * REPLIED  the client has its number.       FAILED  it has none. */
enum { OPEN_ASK, OPEN_REPLIED, OPEN_FAILED, OPEN_NR };

#define TO(state) CAIRN_SM_TO(OPEN_##state)
static const struct cairn_sm_state open_states[OPEN_NR] = {
    [OPEN_ASK] = { "ASK", CAIRN_SM_INITIAL, TO(REPLIED) | TO(FAILED) },
    [OPEN_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [OPEN_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool open_invariant(const struct cairn_sm *sm)
{
    const struct router_op *op = CONTAINER_OF(sm, const struct router_op, sm);

    return CAIRN_HOLDS((op->rq == NULL) == cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(sm->state != OPEN_REPLIED || op->writes->at.epoch != 0); /* a session has a number */
}

const struct cairn_sm_kind router_open_kind = { "router-open", open_states, OPEN_NR, open_invariant, 60000 };

static void open_done(struct router_op *op)
{
    Cairn__Wire__RouterOpened reply = CAIRN__WIRE__ROUTER_OPENED__INIT;
    struct cairn_rpc_req *rq = op->rq;

    if (op->rc != 0) {
        router_op_fail(op, op->rc);
        return;
    }
    reply.epoch = op->writes->at.epoch;
    reply.pos = op->writes->at.pos;
    op->rq = NULL;
    cairn_sm_move(&op->sm, OPEN_REPLIED);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
    router_op_end(op);
}

void router_handle_open(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterOpen *m = (const Cairn__Wire__RouterOpen *)rq->msg;
    struct router_op *op = router_op_new(rq, m->ns, NULL, ROUTER_WRITE, &router_open_kind, OPEN_FAILED);
    struct clustered_write *c;
    uint32_t first, n;

    if (op == NULL)
        return;
    n = router_clustered_slots(op->w->router, op->ns, &first);
    if (m->slot < first || m->slot - first >= n) {
        router_op_fail_text(op, CAIRN_E_INVAL, "slot %u is none of this namespace's", m->slot);
        return;
    }
    op->slot = m->slot;
    c = write_new(op, 0, NULL);
    if (c == NULL) {
        router_op_fail(op, CAIRN_E_NOMEM);
        return;
    }
    c->w.kind = CAIRN_ENTRY_OPEN;
    op->next = open_done;
    cairn_cluster_write(op->w->router->conf.cluster, &c->w);
}
