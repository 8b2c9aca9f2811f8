/* Namespaces whose keys are spread over the nodes of a cluster: which slot, and writes that every replica carries
 * out. Reads are the same machines as on one node, between cairn_cluster_read_begin() and read_end(). */
#include "server/router/router_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SPREAD_MS = 3000 }; /* who has a region by then has it; the others are waited for by the log, or removed */

uint32_t router_clustered_slots(const struct cairn_router *r, const struct router_ns *ns, uint32_t *first)
{
    uint32_t n = ns->clustered && r->conf.cluster != NULL ? cairn_cluster_slots(r->conf.cluster) : 0;

    *first = n * (ns->replicas - 1);
    return n;
}

int router_clustered_slot(struct router_op *op, const ProtobufCBinaryData *key)
{
    if (!cairn_cluster_slot(op->w->router->conf.cluster, op->ns->replicas, key->data, key->len, &op->slot))
        return cairn_err_set(&op->err, CAIRN_E_BUSY, "this node does not know the cluster's slots yet");
    return 0;
}

/* ---- writes ---- */

static void on_written(struct cairn_cluster_write *w, int rc)
{
    struct router_op *op = w->arg;

    op->rc = rc != 0 ? rc : w->result;
    op->next(op);
}

static void write_fill(struct cairn_cluster_write *w, struct router_op *op, enum cairn_cluster_op what)
{
    w->cluster = op->w->router->conf.cluster;
    w->worker = cairn_rpc_index(op->w->rpc);
    w->slot = op->slot;
    w->op = what;
    w->ns = op->ns->id;
    w->write_once = op->ns->write_once;
    w->sync = op->ns->durability == CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    w->timeout_ns = MAX(cairn_rpc_req_left_ns(op->rq, cairn_loop_now(op->w->loop)), UINT64_C(1));
    w->done = on_written;
    w->arg = op;
}

/* CAIRN_E_INVAL: what another slot knows by this number is another write, whose result would be this one's. */
static int write_key(struct cairn_cluster_write *w, const ProtobufCBinaryData *key, const uint8_t *record, size_t len,
                     const Cairn__Wire__RouterRid *rid)
{
    if (rid->slot != w->slot)
        return CAIRN_E_INVAL;
    w->session_epoch = rid->session_epoch;
    w->session_pos = rid->session_pos;
    w->number = rid->seq;
    w->floor = rid->floor;
    w->key = key->data;
    w->key_len = (uint32_t)key->len;
    w->record = record;
    w->record_len = (uint32_t)len;
    return 0;
}

static void fail_slot(struct router_op *op, const Cairn__Wire__RouterRid *rid)
{
    router_op_fail_text(op, CAIRN_E_INVAL,
                        "the write has a number of slot %" PRIu32 ", and its key is of slot %" PRIu32, rid->slot,
                        op->slot);
}

static struct cairn_cluster_write *write_new(struct router_op *op, enum cairn_cluster_op what)
{
    op->writes = calloc(1, sizeof(*op->writes));
    if (op->writes != NULL)
        write_fill(op->writes, op, what);
    return op->writes;
}

void router_clustered_write(struct router_op *op, const ProtobufCBinaryData *key, const uint8_t *record, size_t len,
                            const Cairn__Wire__RouterRid *rid, router_step *next)
{
    struct cairn_cluster_write *w;

    if (rid == NULL || rid->seq == 0) {
        router_op_fail_text(op, CAIRN_E_INVAL, "a write to a namespace of a cluster has a number");
        return;
    }
    w = write_new(op, record != NULL ? CAIRN_CLUSTER_PUT : CAIRN_CLUSTER_ERASE);
    if (w == NULL) {
        router_op_fail(op, CAIRN_E_NOMEM);
        return;
    }
    w->if_absent = record != NULL && op->if_absent;
    w->lead = op->leave;
    if (write_key(w, key, record, len, rid) != 0) {
        fail_slot(op, rid);
        return;
    }
    op->next = next;
    cairn_cluster_write(w);
}

void router_clustered_ask(struct router_op *op, const Cairn__Wire__RouterRid *rid, router_step *next)
{
    struct cairn_cluster_write *w = write_new(op, CAIRN_CLUSTER_ASK);

    if (w == NULL) {
        router_op_fail(op, CAIRN_E_NOMEM);
        return;
    }
    if (write_key(w, &op->key, NULL, 0, rid) != 0) {
        fail_slot(op, rid);
        return;
    }
    op->next = next;
    cairn_cluster_write(w);
}

/* ---- many writes ---- */

static void one_of_many_is_over(struct router_op *op)
{
    if (--op->at == 0)
        op->next(op);
}

static void on_one_of_many(struct cairn_cluster_write *w, int rc)
{
    struct router_op *op = w->arg;

    op->statuses[w - op->writes] = rc != 0 ? rc : w->result;
    one_of_many_is_over(op);
}

void router_clustered_mput(struct router_op *op, const Cairn__Wire__RouterMput *m, const uint32_t *lengths,
                           router_step *next)
{
    const uint8_t *record = op->buf;

    op->next = next;
    op->at = (uint32_t)m->n_keys + 1; /* those that are not over yet, and this loop */
    for (size_t i = 0; i < m->n_keys; record += lengths[i++]) {
        struct cairn_cluster_write *w = &op->writes[i];

        op->statuses[i] = router_clustered_slot(op, &m->keys[i]);
        if (op->statuses[i] == 0) {
            write_fill(w, op, CAIRN_CLUSTER_PUT);
            w->if_absent = m->if_absent;
            w->done = on_one_of_many;
            op->statuses[i] = write_key(w, &m->keys[i], record, lengths[i], m->rids[i]);
        }
        if (op->statuses[i] == 0)
            cairn_cluster_write(w);
        else
            one_of_many_is_over(op);
    }
    one_of_many_is_over(op);
}

/* ---- reads of many ---- */

static uint64_t key_leave(struct router_op *op, const ProtobufCBinaryData *key)
{
    const struct cairn_cluster *c = op->w->router->conf.cluster;
    uint64_t leave;

    if (router_clustered_slot(op, key) != 0)
        return 0;
    if (cairn_cluster_read_begin(c, op->slot, &leave) == 0)
        return leave;
    return op->by_replica && op->ns->write_once && cairn_cluster_is_in_sync(c, op->slot) ? ROUTER_LEAVE_BY_REPLICA : 0;
}

int router_clustered_mget_begin(struct router_op *op, const ProtobufCBinaryData *keys, size_t n)
{
    op->leaves = calloc(n + 1, sizeof(op->leaves[0]));
    if (op->leaves == NULL)
        return CAIRN_E_NOMEM;
    for (size_t i = 0; i < n; i++)
        op->leaves[i] = key_leave(op, &keys[i]);
    op->err.text[0] = '\0';
    return 0;
}

void router_clustered_mget_end(struct router_op *op, const ProtobufCBinaryData *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t *leave = &op->leaves[i];

        if (*leave == 0 || *leave == ROUTER_LEAVE_BY_REPLICA)
            continue;
        if (router_clustered_slot(op, &keys[i]) != 0 ||
            cairn_cluster_read_end(op->w->router->conf.cluster, op->slot, *leave) != 0)
            *leave = 0;
    }
}

int router_clustered_list_begin(struct router_op *op)
{
    uint32_t first, n = router_clustered_slots(op->w->router, op->ns, &first);

    return cairn_cluster_led(op->w->router->conf.cluster, first, n, &op->led);
}

/* Each key is listed by one node. A slot that came while they were looked up may have had more of them by then. */
int router_clustered_list_end(struct router_op *op, Cairn__Wire__RouterListReply *reply)
{
    struct cairn_cluster *c = op->w->router->conf.cluster;
    uint32_t first, slots = router_clustered_slots(op->w->router, op->ns, &first);
    struct cairn_cluster_led led;
    size_t n = 0;
    uint64_t leave;
    int rc;

    for (size_t i = 0; i < reply->n_keys; i++) {
        if (router_clustered_slot(op, &reply->keys[i]) != 0 || cairn_cluster_read_begin(c, op->slot, &leave) != 0)
            continue;
        reply->keys[n] = reply->keys[i];
        if (reply->n_lengths > 0)
            reply->lengths[n] = reply->lengths[i];
        n++;
    }
    reply->n_keys = n;
    reply->n_lengths = MIN(reply->n_lengths, n);
    rc = cairn_cluster_led(c, first, slots, &led);
    if (rc == 0 && led.since != op->led.since)
        rc = cairn_err_set(&op->err, CAIRN_E_BUSY, "slots came or went while keys were looked up");
    reply->led = led.n;
    reply->led_sum = led.sum;
    return rc;
}

/* ---- regions of large values ---- */

static void on_spread(struct cairn_cluster_spread *s, int rc)
{
    struct router_op *op = s->arg;

    op->rc = rc;
    op->next(op);
}

void router_clustered_spread(struct router_op *op, router_step *next)
{
    struct cairn_cluster *c = op->w->router->conf.cluster;
    uint64_t left = cairn_rpc_req_left_ns(op->rq, cairn_loop_now(op->w->loop));

    op->rc = 0;
    for (uint32_t i = 0; i < op->nregions && op->rc == 0; i++)
        op->rc = cairn_cluster_region_note(c, op->regions[i].id);
    if (op->rc != 0) {
        next(op);
        return;
    }
    op->next = next;
    op->spread = (struct cairn_cluster_spread){
        .cluster = c,
        .worker = cairn_rpc_index(op->w->rpc),
        .slot = op->slot,
        .owner = router_ns_region_owner(op->ns),
        .regions = op->regions,
        .nregions = op->nregions,
        .timeout_ns = MAX(MIN(left, SPREAD_MS * CAIRN_NS_PER_MS), UINT64_C(1)),
        .done = on_spread,
        .arg = op,
    };
    cairn_cluster_spread(&op->spread);
}

/* ---- sessions ---- */

/* OPEN: a session for writes to a slot; CLOSE: its client ends.
 *
 *   ASK ---> REPLIED        ASK may also go to FAILED.
 *
 * ASK      the slot's primary is to note it, which is an entry of its log.
 * REPLIED  the client has its number, or has given it back.       FAILED  it has none. */
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
           CAIRN_HOLDS(sm->state != OPEN_REPLIED || op->writes->session_epoch != 0); /* a session has a number */
}

const struct cairn_sm_kind router_open_kind = { "router-open", open_states, OPEN_NR, open_invariant, 60000 };

static void open_done(struct router_op *op)
{
    Cairn__Wire__RouterOpened reply = CAIRN__WIRE__ROUTER_OPENED__INIT;
    struct cairn_rpc_req *rq = op->rq;

    if (op->rc == CAIRN_E_BUSY && op->writes->sessions_full) {
        router_op_fail_text(op, CAIRN_E_BUSY, "as many clients as may write to slot %u do", op->slot);
        return;
    }
    if (op->rc != 0) {
        router_op_fail(op, op->rc);
        return;
    }
    reply.epoch = op->writes->session_epoch;
    reply.pos = op->writes->session_pos;
    reply.ttl_ms = op->writes->session_ttl_ns / CAIRN_NS_PER_MS;
    op->rq = NULL;
    cairn_sm_move(&op->sm, OPEN_REPLIED);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
    router_op_end(op);
}

static void close_done(struct router_op *op)
{
    struct cairn_rpc_req *rq = op->rq;

    if (op->rc != 0) {
        router_op_fail(op, op->rc);
        return;
    }
    op->rq = NULL;
    cairn_sm_move(&op->sm, OPEN_REPLIED);
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    router_op_end(op);
}

/* NULL: it is answered. */
static struct router_op *session_op(struct cairn_rpc_req *rq, const char *ns, uint32_t ns_id, uint32_t slot,
                                    enum cairn_cluster_op what)
{
    struct router_op *op = router_op_new(rq, ns, ns_id, NULL, ROUTER_WRITE, &router_open_kind, OPEN_FAILED);
    uint32_t first, n;

    if (op == NULL)
        return NULL;
    n = router_clustered_slots(op->w->router, op->ns, &first);
    op->slot = slot;
    if (slot < first || slot - first >= n)
        router_op_fail_text(op, CAIRN_E_INVAL, "slot %u is none of this namespace's", slot);
    else if (write_new(op, what) == NULL)
        router_op_fail(op, CAIRN_E_NOMEM);
    else
        return op;
    return NULL;
}

void router_handle_open(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterOpen *m = (const Cairn__Wire__RouterOpen *)rq->msg;
    struct router_op *op = session_op(rq, m->ns, m->ns_id, m->slot, CAIRN_CLUSTER_OPEN_SESSION);

    if (op == NULL)
        return;
    op->next = open_done;
    cairn_cluster_write(op->writes);
}

void router_handle_close(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterClose *m = (const Cairn__Wire__RouterClose *)rq->msg;
    struct router_op *op = session_op(rq, m->ns, 0, m->slot, CAIRN_CLUSTER_CLOSE_SESSION);

    if (op == NULL)
        return;
    op->next = close_done;
    op->writes->session_epoch = m->epoch;
    op->writes->session_pos = m->pos;
    cairn_cluster_write(op->writes);
}
