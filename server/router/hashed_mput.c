/* MPUT: many small values in one call.
 *
 *   OPEN ---> BATCH ---> REPLIED
 *   BATCH ---> SINGLE ---> RECLAIM ---> SINGLE ---> BARRIER ---> REPLIED        SINGLE may repeat.
 *   RECLAIM ---> BARRIER        OPEN ---> SLOTS ---> REPLIED
 *   OPEN, SINGLE and RECLAIM may also go to REPLIED; OPEN, BATCH and BARRIER to FAILED.
 *
 * OPEN     the namespace's database is being opened.
 * BATCH    all records are with the KV provider in one call. Where an old value may be large, only those whose keys are
 *          new are taken by it, since a batch cannot give old records back.
 * SINGLE   one of the others is being put by itself, and its old record comes back.
 * RECLAIM  the regions of that old record are being removed.
 * BARRIER  with `sync`: those were put as buffered, one sync makes them durable. A sync for each would take its time
 *          as often as there are entries.
 * SLOTS    of a clustered namespace: each record is with its slot's log, and has a result of its own.
 * REPLIED  every entry has its status.      FAILED  nothing was put, or (after a failure of the provider) nobody
 *          knows. */
#include "server/router/router_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MPUT_OPEN, MPUT_BATCH, MPUT_SINGLE, MPUT_RECLAIM, MPUT_BARRIER, MPUT_SLOTS, MPUT_REPLIED, MPUT_FAILED, MPUT_NR };

#define TO(state) CAIRN_SM_TO(MPUT_##state)
static const struct cairn_sm_state mput_states[MPUT_NR] = {
    [MPUT_OPEN] = { "OPEN", CAIRN_SM_INITIAL, TO(BATCH) | TO(SLOTS) | TO(REPLIED) | TO(FAILED) },
    [MPUT_BATCH] = { "BATCH", 0, TO(SINGLE) | TO(REPLIED) | TO(FAILED) },
    [MPUT_SINGLE] = { "SINGLE", 0, TO(SINGLE) | TO(RECLAIM) | TO(BARRIER) | TO(REPLIED) },
    [MPUT_RECLAIM] = { "RECLAIM", 0, TO(SINGLE) | TO(BARRIER) | TO(REPLIED) },
    [MPUT_BARRIER] = { "BARRIER", 0, TO(REPLIED) | TO(FAILED) },
    [MPUT_SLOTS] = { "SLOTS", 0, TO(REPLIED) },
    [MPUT_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [MPUT_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static const Cairn__Wire__RouterMput *mput_msg(const struct router_op *op)
{
    return (const Cairn__Wire__RouterMput *)op->rq->msg;
}

static bool mput_invariant(const struct cairn_sm *sm)
{
    const struct router_op *op = CONTAINER_OF(sm, const struct router_op, sm);
    bool one_by_one = sm->state == MPUT_SINGLE || sm->state == MPUT_RECLAIM;

    return CAIRN_HOLDS(!one_by_one || (!op->plain && op->statuses != NULL)) &&
           CAIRN_HOLDS(!one_by_one || op->at < mput_msg(op)->n_keys) && CAIRN_HOLDS(op->nold == 0 || one_by_one) &&
           CAIRN_HOLDS(sm->state == MPUT_SLOTS || cairn_sm_is_final(sm) || op->writes == NULL) &&
           CAIRN_HOLDS(sm->state != MPUT_REPLIED || !op->buffered);
}

const struct cairn_sm_kind router_mput_kind = { "router-mput", mput_states, MPUT_NR, mput_invariant, 60000 };

static void mput_reply(struct router_op *op)
{
    const Cairn__Wire__RouterMput *m = mput_msg(op);
    Cairn__Wire__KvStatuses reply = CAIRN__WIRE__KV_STATUSES__INIT;
    struct cairn_rpc_req *rq = op->rq;

    for (size_t i = 0; op->statuses != NULL && i < m->n_keys; i++) {
        if (op->statuses[i] != 0) {
            reply.status = op->statuses;
            reply.n_status = m->n_keys;
            break;
        }
    }
    cairn_sm_move(&op->sm, MPUT_REPLIED);
    op->rq = NULL;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
    router_op_end(op);
}

/* ---- one by one ---- */

static void mput_next_single(struct router_op *op);

static void mput_single_done(struct router_op *op)
{
    op->buf_at += (uint32_t)cairn_record_embedded_bytes(mput_msg(op)->lengths[op->at++]);
    mput_next_single(op);
}

static void mput_on_single(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    op->statuses[op->at] = call->rc;
    op->err.text[0] = '\0'; /* the status is all that there is room for */
    if (call->rc == 0 && ((const Cairn__Wire__KvPutReply *)call->reply)->replaced)
        router_op_note_old(op, call->reply_payload, call->reply_payload_len);
    if (op->nold == 0) {
        mput_single_done(op);
        return;
    }
    cairn_sm_move(&op->sm, MPUT_RECLAIM);
    router_op_reclaim(op, true, mput_single_done);
}

static void mput_on_barrier(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    if (call->rc != 0) {
        router_op_fail(op, call->rc);
        return;
    }
    op->buffered = false;
    mput_reply(op);
}

static void mput_end_singles(struct router_op *op)
{
    if (!op->buffered) {
        mput_reply(op);
        return;
    }
    cairn_sm_move(&op->sm, MPUT_BARRIER);
    cairn__wire__kv_mput__init(&op->msg.mput);
    op->msg.mput.db = op->ns->db;
    op->msg.mput.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_MPUT, mput_on_barrier);
    cairn_rpc_call_start(&op->call);
}

/* Puts the next entry that the batch left out. */
static void mput_next_single(struct router_op *op)
{
    const Cairn__Wire__RouterMput *m = mput_msg(op);

    while (op->at < m->n_keys && op->statuses[op->at] != CAIRN_E_EXISTS)
        op->buf_at += (uint32_t)cairn_record_embedded_bytes(m->lengths[op->at++]);
    if (op->at == m->n_keys) {
        mput_end_singles(op);
        return;
    }
    cairn_sm_move(&op->sm, MPUT_SINGLE);
    op->buffered = op->ns->durability == CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    cairn__wire__kv_put__init(&op->msg.put);
    op->msg.put.db = op->ns->db;
    op->msg.put.key = m->keys[op->at];
    op->msg.put.durability = op->buffered ? CAIRN__WIRE__DURABILITY__DURABILITY_BUFFERED : op->ns->durability;
    op->msg.put.want_old = true;
    router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_PUT, mput_on_single);
    op->call.payload[0] =
        (struct iovec){ .iov_base = op->buf + op->buf_at, .iov_len = cairn_record_embedded_bytes(m->lengths[op->at]) };
    op->call.payload_n = 1;
    cairn_rpc_call_start(&op->call);
}

/* ---- the batch ---- */

static bool mput_only_absent(const struct router_op *op)
{
    return mput_msg(op)->if_absent || op->ns->write_once;
}

static void mput_on_batch(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;
    const Cairn__Wire__RouterMput *m = mput_msg(op);
    const Cairn__Wire__KvStatuses *reply = (const Cairn__Wire__KvStatuses *)call->reply;

    if (call->rc != 0) {
        router_op_fail(op, call->rc);
        return;
    }
    if (reply->n_status == 0) { /* all well */
        mput_reply(op);
        return;
    }
    if (reply->n_status != m->n_keys) {
        router_op_fail_text(op, CAIRN_E_INTERNAL, "%zu statuses came for %zu entries", reply->n_status, m->n_keys);
        return;
    }
    op->statuses = malloc(m->n_keys * sizeof(op->statuses[0]));
    if (op->statuses == NULL) {
        router_op_fail_text(op, CAIRN_E_NOMEM, "out of memory; some of the values may have been put");
        return;
    }
    memcpy(op->statuses, reply->status, m->n_keys * sizeof(op->statuses[0]));
    if (op->plain || mput_only_absent(op))
        mput_reply(op);
    else
        mput_next_single(op);
}

static uint32_t *mput_lengths(const struct router_op *op)
{
    return (uint32_t *)(void *)(op->buf + cairn_round_up(op->buf_len, sizeof(uint32_t)));
}

static void mput_slots(struct router_op *op)
{
    const Cairn__Wire__RouterMput *m = mput_msg(op);

    op->statuses = calloc(m->n_keys, sizeof(op->statuses[0]));
    op->writes = calloc(m->n_keys, sizeof(op->writes[0]));
    if (op->statuses == NULL || op->writes == NULL) {
        free(op->writes);
        op->writes = NULL;
        router_op_fail(op, CAIRN_E_NOMEM);
        return;
    }
    cairn_sm_move(&op->sm, MPUT_SLOTS);
    router_clustered_mput(op, m, mput_lengths(op), mput_reply);
}

static void mput_batch(struct router_op *op)
{
    const Cairn__Wire__RouterMput *m = mput_msg(op);
    Cairn__Wire__KvMput *msg = &op->msg.mput;

    if (m->n_keys == 0) {
        mput_reply(op);
        return;
    }
    cairn_sm_move(&op->sm, MPUT_BATCH);
    cairn__wire__kv_mput__init(msg);
    msg->db = op->ns->db;
    msg->keys = m->keys;
    msg->n_keys = m->n_keys;
    msg->lengths = mput_lengths(op);
    msg->n_lengths = m->n_keys;
    msg->durability = op->ns->durability;
    msg->if_absent = !op->plain || mput_only_absent(op);
    router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_MPUT, mput_on_batch);
    op->call.payload[0] = (struct iovec){ .iov_base = op->buf, .iov_len = op->buf_len };
    op->call.payload_n = 1;
    cairn_rpc_call_start(&op->call);
}

/* ---- the request ---- */

static int mput_check(const struct router_op *op, struct cairn_err *err)
{
    const Cairn__Wire__RouterMput *m = mput_msg(op);
    uint64_t sum = 0, bytes = 0;
    size_t crcs = 0;

    if (m->n_keys > CAIRN_BATCH_MAX || m->n_lengths != m->n_keys)
        return cairn_err_set(err, CAIRN_E_INVAL, "%zu keys and %zu lengths; at most %d of both", m->n_keys,
                             m->n_lengths, CAIRN_BATCH_MAX);
    for (size_t i = 0; i < m->n_keys; i++) {
        if (m->keys[i].len == 0 || m->keys[i].len > CAIRN_KEY_BYTES_MAX)
            return cairn_err_set(err, CAIRN_E_INVAL, "key %zu has %zu bytes; 1 to %d are possible", i, m->keys[i].len,
                                 CAIRN_KEY_BYTES_MAX);
        if (m->lengths[i] > op->ns->embed_threshold)
            return cairn_err_set(err, CAIRN_E_TOOBIG,
                                 "value %zu has %" PRIu32 " bytes; above %" PRIu32 " it needs a call of its own", i,
                                 m->lengths[i], op->ns->embed_threshold);
        sum += m->lengths[i];
        bytes += cairn_record_embedded_bytes(m->lengths[i]);
        crcs += cairn_record_ncrcs(m->lengths[i]);
    }
    for (size_t i = 0; router_is_clustered(op->ns) && i < m->n_keys; i++) {
        if (m->n_rids != m->n_keys || m->rids[i]->seq == 0)
            return cairn_err_set(err, CAIRN_E_INVAL, "each write to a namespace of a cluster has a number");
    }
    if (sum != op->rq->payload_len)
        return cairn_err_set(err, CAIRN_E_INVAL, "values of %" PRIu64 " bytes, but %" PRIu32 " came", sum,
                             op->rq->payload_len);
    if (m->n_crcs != 0 && m->n_crcs != crcs)
        return cairn_err_set(err, CAIRN_E_INVAL, "%zu checksums for values that have %zu", m->n_crcs, crcs);
    if (bytes > CAIRN_FRAME_PAYLOAD_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_TOOBIG, "values of %" PRIu64 " bytes in one call", sum);
    return 0;
}

/* All records one behind the other, and behind them their lengths. */
static int mput_keep(struct router_op *op)
{
    const Cairn__Wire__RouterMput *m = mput_msg(op);
    const uint32_t *crcs = m->n_crcs > 0 ? m->crcs : NULL;
    const uint8_t *from = op->rq->payload;
    uint32_t *lengths;
    size_t len = 0;
    uint8_t *to;

    for (size_t i = 0; i < m->n_keys; i++)
        len += cairn_record_embedded_bytes(m->lengths[i]);
    op->buf_len = (uint32_t)len;
    len = cairn_round_up(len, sizeof(uint32_t));
    to = op->buf = malloc(len + m->n_keys * sizeof(uint32_t) + 1);
    if (to == NULL)
        return CAIRN_E_NOMEM;
    lengths = (uint32_t *)(void *)(op->buf + len);
    for (size_t i = 0; i < m->n_keys; i++) {
        struct cairn_record r;

        lengths[i] = (uint32_t)cairn_record_embedded_bytes(m->lengths[i]);
        if (m->lengths[i] > 0)
            memcpy(to + CAIRN_RECORD_HEAD_BYTES, from, m->lengths[i]);
        cairn_record_put_embedded(to, op->ns->durability, m->lengths[i], crcs);
        if (crcs != NULL && (cairn_record_parse(to, lengths[i], &r) != 0 || !cairn_record_is_sound(&r, 0, r.length)))
            return cairn_err_set(&op->err, CAIRN_E_CORRUPT,
                                 "the bytes of value %zu do not have the checksums that came with them", i);
        crcs = crcs != NULL ? crcs + cairn_record_ncrcs(m->lengths[i]) : NULL;
        from += m->lengths[i];
        to += lengths[i];
    }
    return 0;
}

void router_handle_mput(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMput *m = (const Cairn__Wire__RouterMput *)rq->msg;
    struct router_op *op = router_op_new(rq, m->ns, m->ns_id, NULL, ROUTER_WRITE, &router_mput_kind, MPUT_FAILED);
    int rc;

    if (UNLIKELY(op == NULL))
        return;
    rc = mput_check(op, &op->err);
    if (rc == 0)
        rc = mput_keep(op);
    if (rc != 0)
        router_op_fail(op, rc);
    else if (router_is_clustered(op->ns) && m->n_keys > 0)
        mput_slots(op);
    else
        router_op_open_to_store(op, mput_batch);
}
