/* PUT: a value under a key of a hashed namespace. Also PART, COMMIT and ABORT, by which a value comes that is too large
 * for one request: PART ends when its region is stored, COMMIT begins where the record is put (hashed_part.c).
 *
 *   OPEN ---> RECORD ---> RECLAIM ---> REPLIED
 *   OPEN ---> PULL ---> RECORD
 *   OPEN ---> FLAG ---> STORE ---> RECORD
 *   OPEN ---> STORE                        when it is known that the namespace holds large values; and PART
 *   FLAG ---> RECORD                       COMMIT
 *   OPEN ---> RECLAIM                      ABORT
 *   STORE ---> REPLIED                     PART
 *   STORE ---> SPREAD ---> RECORD          in a namespace that is spread over nodes; PART: SPREAD ---> REPLIED
 *   OPEN ---> SPREAD                       COMMIT
 *   OPEN ---> ASK ---> REPLIED             COMMIT
 *   STORE ---> UNDO ---> FAILED
 *   RECORD ---> VERIFY ---> UNDO           OPEN, ASK, PULL, FLAG, SPREAD, RECORD and VERIFY may also go to FAILED,
 *                                          RECORD and SPREAD to UNDO.
 *
 * OPEN     nothing is stored; the namespace's database is being opened; in a
 *          cluster the map is told before that this node will hold something of it, if it does not know.
 * ASK      the parts are not here, of a value that is spread over nodes: whoever asks may have been here before, or
 *          with another who led then, and have missed the answer. The slot's sessions are being asked,
 *          or the key's record if it is write-once.
 * PULL     a value that will stand in its record is being brought from the caller's memory.
 * FLAG     all workers are being told that the namespace holds large values, so that nobody replaces one unseen.
 * STORE    a region is being written. Once complete it is durable, and named by nothing yet.
 * SPREAD   every region is complete here; the other nodes that hold the value are fetching them.
 * RECORD   every region is complete; the record that names them (or holds the value) is being put.
 * RECLAIM  the value is stored; the regions of the one that it replaced are being removed.
 * REPLIED  the caller knows.
 * VERIFY   the record may or may not have been put: it is being read back.
 * UNDO     the record was not put; our regions are being removed.
 * FAILED   the value that was there before is there still; or, with CAIRN_E_UNKNOWN, one of the two.
 *
 * A crash in STORE or before the end of RECLAIM leaves regions that nothing names: the sweeper's work. Of a namespace
 * that is spread over nodes all removing is, since logs name regions, too: UNDO and RECLAIM have nothing to do. */
#include "server/router/hashed_put.h"
#include "sdk/core/base/crc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TO(state) CAIRN_SM_TO(PUT_##state)
static const struct cairn_sm_state put_states[PUT_NR] = {
    [PUT_OPEN] = { "OPEN", CAIRN_SM_INITIAL,
                   TO(ASK) | TO(PULL) | TO(FLAG) | TO(STORE) | TO(SPREAD) | TO(RECORD) | TO(RECLAIM) | TO(FAILED) },
    [PUT_ASK] = { "ASK", 0, TO(REPLIED) | TO(FAILED) },
    [PUT_PULL] = { "PULL", 0, TO(RECORD) | TO(FAILED) },
    [PUT_FLAG] = { "FLAG", 0, TO(STORE) | TO(RECORD) | TO(FAILED) },
    [PUT_STORE] = { "STORE", 0, TO(SPREAD) | TO(RECORD) | TO(UNDO) | TO(REPLIED) },
    [PUT_SPREAD] = { "SPREAD", 0, TO(RECORD) | TO(REPLIED) | TO(UNDO) | TO(FAILED) },
    [PUT_RECORD] = { "RECORD", 0, TO(RECLAIM) | TO(VERIFY) | TO(UNDO) | TO(FAILED) },
    [PUT_RECLAIM] = { "RECLAIM", 0, TO(REPLIED) },
    [PUT_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [PUT_VERIFY] = { "VERIFY", 0, TO(UNDO) | TO(FAILED) },
    [PUT_UNDO] = { "UNDO", 0, TO(FAILED) },
    [PUT_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool regions_are_complete(const struct router_op *op)
{
    for (uint32_t i = 0; i < op->nregions; i++) {
        if (op->regions[i].id == 0)
            return false;
    }
    return true;
}

static bool put_invariant(const struct cairn_sm *sm)
{
    const struct router_op *op = CONTAINER_OF(sm, const struct router_op, sm);
    bool large = op->regions != NULL, clustered = router_is_clustered(op->ns);

    return CAIRN_HOLDS(!large || !op->plain) && /* who stores large values looks at old ones */
           CAIRN_HOLDS((sm->state == PUT_PULL) == (op->pull != NULL) || cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(sm->state != PUT_ASK || (clustered && op->refused != 0 && op->upload == NULL)) &&
           CAIRN_HOLDS(sm->state != PUT_STORE || (large && op->storing)) && /* the sweeper waits for us */
           CAIRN_HOLDS(sm->state != PUT_RECORD || !large ||
                       ((op->ns->large_ready || clustered) && regions_are_complete(op))) &&
           CAIRN_HOLDS(sm->state != PUT_SPREAD || (clustered && large && regions_are_complete(op))) &&
           CAIRN_HOLDS(sm->state != PUT_RECORD || op->upload == NULL || op->upload_spent) && /* nobody tries again */
           CAIRN_HOLDS((sm->state != PUT_UNDO && sm->state != PUT_VERIFY) || op->rc != 0);
}

const struct cairn_sm_kind router_put_kind = { "router-put", put_states, PUT_NR, put_invariant, 60000 };

/* ---- failure ---- */

static void put_undone(struct router_op *op)
{
    router_op_fail(op, op->rc);
}

/* Removes those of our regions that are there. */
void router_put_undo(struct router_op *op)
{
    cairn_sm_move(&op->sm, PUT_UNDO);
    free(op->old);
    op->nold = 0;
    op->old = malloc(op->nregions * sizeof(op->old[0]));
    if (op->old == NULL) {
        router_garbage_note(op->w->router, op->ns, op->nregions, "out of memory");
    } else {
        for (uint32_t i = 0; i < op->nregions; i++) {
            if (op->regions[i].id != 0)
                op->old[op->nold++] = op->regions[i].id;
        }
    }
    router_op_reclaim(op, false, put_undone);
}

/* ---- the record ---- */

void router_put_finish(struct router_op *op)
{
    struct cairn_rpc_req *rq = op->rq;

    op->rq = NULL;
    cairn_sm_move(&op->sm, PUT_REPLIED);
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    router_op_end(op);
}

void router_put_reclaim(struct router_op *op)
{
    cairn_sm_move(&op->sm, PUT_RECLAIM);
    router_op_reclaim(op, true, router_put_finish);
}

/* The record was not put. An upload stays as it is if only the moment was wrong: the same COMMIT may come again, and
 * its parts may have taken hours. */
static void put_not_recorded(struct router_op *op)
{
    if (op->upload == NULL || !cairn_rpc_may_come_again(op->rc)) {
        router_put_undo(op);
        return;
    }
    op->upload_spent = false;
    router_op_fail(op, op->rc);
}

static void put_on_verified(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;
    struct cairn_record r;

    if (call->rc == CAIRN_E_NOTFOUND ||
        (call->rc == 0 && cairn_record_parse(call->reply_payload, call->reply_payload_len, &r) == 0 &&
         (r.nregions == 0 || cairn_record_region(&r, 0).id != op->regions[0].id))) {
        put_not_recorded(op);
        return;
    }
    /* It is there, though nobody knows how durably; or nobody can tell. What it names, or what it replaced, stays. */
    router_garbage_note(op->w->router, op->ns, op->nregions, "the outcome of putting their record is unknown");
    router_op_fail(op, CAIRN_E_UNKNOWN);
}

static bool failure_is_definite(int rc)
{
    switch (rc) {
    case CAIRN_E_EXISTS:
    case CAIRN_E_NOSPACE:
    case CAIRN_E_INVAL:
    case CAIRN_E_TOOBIG:
    case CAIRN_E_NOMEM:
    case CAIRN_E_BUSY:
    case CAIRN_E_NOPROVIDER:
    case CAIRN_E_NOTFOUND:
    case CAIRN_E_UNSUPPORTED:
        return true;
    default:
        return false;
    }
}

static void put_record_failed(struct router_op *op, int rc)
{
    op->rc = rc;
    if (op->regions == NULL) {
        router_op_fail(op, rc);
    } else if (failure_is_definite(rc)) {
        put_not_recorded(op);
    } else {
        cairn_sm_move(&op->sm, PUT_VERIFY);
        cairn__wire__kv_get__init(&op->msg.get);
        op->msg.get.db = op->ns->db;
        op->msg.get.key = op->key;
        router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_GET, put_on_verified);
        op->call.timeout_ns = 0; /* the caller's time may be what ran out */
        op->call.err = NULL;     /* the text of the first failure is the one to tell */
        cairn_rpc_call_start(&op->call);
    }
}

static void put_on_recorded(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    if (UNLIKELY(call->rc != 0)) {
        put_record_failed(op, call->rc);
        return;
    }
    if (!op->plain && ((const Cairn__Wire__KvPutReply *)call->reply)->replaced)
        router_op_note_old(op, call->reply_payload, call->reply_payload_len);
    router_put_reclaim(op);
}

/* Whether an entry names the regions is not known, and need not be: the same COMMIT may come again, and bears the
 * same number. */
static bool may_commit_again(int rc)
{
    return cairn_rpc_may_come_again(rc) || rc == CAIRN_E_MOVED || rc == CAIRN_E_GONE || rc == CAIRN_E_SHUTDOWN;
}

static void put_on_replicated(struct router_op *op)
{
    for (uint32_t i = 0; op->rc == 0 && i < op->nregions; i++)
        cairn_cluster_region_named(op->w->router->conf.cluster, op->regions[i].id);
    if (op->rc == 0) {
        router_put_reclaim(op);
        return;
    }
    if (may_commit_again(op->rc))
        op->upload_spent = false;
    router_op_fail(op, op->rc);
}

void router_put_record(struct router_op *op, const uint8_t *record, size_t len)
{
    op->upload_spent = true;
    cairn_sm_move(&op->sm, PUT_RECORD);
    if (router_is_clustered(op->ns)) {
        router_clustered_write(op, &op->key, record, len, op->rid, put_on_replicated);
        return;
    }
    cairn__wire__kv_put__init(&op->msg.put);
    op->msg.put.db = op->ns->db;
    op->msg.put.key = op->key;
    op->msg.put.durability = op->ns->durability;
    op->msg.put.if_absent = op->if_absent || op->ns->write_once;
    op->msg.put.want_old = !op->plain && !op->msg.put.if_absent;
    router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_PUT, put_on_recorded);
    op->call.payload[0] = (struct iovec){ .iov_base = (void *)record, .iov_len = len };
    op->call.payload_n = 1;
    cairn_rpc_call_start(&op->call);
}

/* ---- small values ---- */

static const uint8_t *put_small_bytes(const struct router_op *op)
{
    return op->buf != NULL ? op->buf : op->small;
}

static void put_small(struct router_op *op)
{
    router_put_record(op, put_small_bytes(op), cairn_record_embedded_bytes(put_msg(op)->length));
}

/* Chunk by chunk, whether these are the bytes that the caller meant. */
static bool bytes_are_sound(const Cairn__Wire__RouterPut *m, const uint8_t *p)
{
    for (size_t i = 0; i < m->n_crcs; i++) {
        size_t at = i * CAIRN_EXTENT_CHUNK_BYTES;
        size_t n = (size_t)MIN(m->length - at, (uint64_t)CAIRN_EXTENT_CHUNK_BYTES);

        if (cairn_crc32c(0, p + at, n) != m->crcs[i])
            return false;
    }
    return true;
}

/* The value is in its place: whether it is what was meant. Its record takes over the caller's checksums. */
static int put_complete_small(struct router_op *op, uint8_t *record)
{
    const Cairn__Wire__RouterPut *m = put_msg(op);

    if (!bytes_are_sound(m, record + CAIRN_RECORD_HEAD_BYTES))
        return cairn_err_set(&op->err, CAIRN_E_CORRUPT,
                             "the bytes that came do not have the checksums that came with them");
    cairn_record_put_embedded(record, op->ns->durability, m->length, m->n_crcs > 0 ? m->crcs : NULL);
    return 0;
}

/* The payload is the frame's only as long as the handler runs, so it moves behind the record's head now. */
static int put_keep_small(struct router_op *op)
{
    const struct cairn_rpc_req *rq = op->rq;
    size_t bytes = cairn_record_embedded_bytes(rq->payload_len);
    uint8_t *to = op->small;

    if (bytes > sizeof(op->small))
        to = op->buf = malloc(bytes);
    if (to == NULL)
        return CAIRN_E_NOMEM;
    if (rq->payload_len > 0)
        memcpy(to + CAIRN_RECORD_HEAD_BYTES, rq->payload, rq->payload_len);
    return put_complete_small(op, to);
}

static void put_on_pulled(struct cairn_bulk_op *pull, int rc)
{
    struct router_op *op = pull->arg;

    op->rq->on_cancel = NULL;
    free(op->pull);
    op->pull = NULL;
    if (rc == 0)
        rc = put_complete_small(op, op->buf);
    if (rc != 0)
        router_op_fail(op, rc);
    else
        put_small(op);
}

static void put_on_pull_canceled(struct cairn_rpc_req *rq, void *arg)
{
    struct router_op *op = arg;

    (void)rq;
    cairn_bulk_cancel(op->pull);
}

static void put_pull(struct router_op *op)
{
    const Cairn__Wire__RouterPut *m = put_msg(op);

    op->buf = malloc(cairn_record_embedded_bytes(m->length));
    op->pull = calloc(1, sizeof(*op->pull));
    if (op->buf == NULL || op->pull == NULL || op->rq->canceled) {
        free(op->pull);
        op->pull = NULL;
        router_op_fail(op, op->rq->canceled ? CAIRN_E_CANCELED : CAIRN_E_NOMEM);
        return;
    }
    cairn_sm_move(&op->sm, PUT_PULL);
    op->pull->peer = op->rq->peer;
    op->pull->desc = *m->bulk;
    op->pull->off = m->bulk->off;
    op->pull->local = op->buf + CAIRN_RECORD_HEAD_BYTES;
    op->pull->len = m->length;
    op->pull->deadline_ns = op->rq->deadline_ns;
    op->pull->done = put_on_pulled;
    op->pull->arg = op;
    op->rq->on_cancel = put_on_pull_canceled;
    op->rq->on_cancel_arg = op;
    cairn_bulk_start(op->w->rpc, op->pull);
}

/* ---- the request ---- */

struct router_op *router_put_new(struct cairn_rpc_req *rq, const char *ns, uint32_t id, const ProtobufCBinaryData *key)
{
    return router_op_new(rq, ns, id, key, ROUTER_WRITE, &router_put_kind, PUT_FAILED);
}

int router_bytes_check(const struct cairn_rpc_req *rq, uint64_t length, const Cairn__Wire__BulkDesc *bulk, size_t ncrcs,
                       struct cairn_err *err)
{
    uint64_t crcs = (length + CAIRN_EXTENT_CHUNK_BYTES - 1) / CAIRN_EXTENT_CHUNK_BYTES;

    if (bulk == NULL && length != rq->payload_len)
        return cairn_err_set(err, CAIRN_E_INVAL, "a value of %" PRIu64 " bytes, but %" PRIu32 " came with it", length,
                             rq->payload_len);
    if (bulk != NULL && (rq->payload_len > 0 || length == 0 || bulk->off > bulk->len || length > bulk->len - bulk->off))
        return cairn_err_set(err, CAIRN_E_INVAL, "the exposed memory does not hold a value of %" PRIu64 " bytes",
                             length);
    if (ncrcs != crcs && (ncrcs != 0 || bulk != NULL)) /* whoever moves bytes vouches for them */
        return cairn_err_set(err, CAIRN_E_INVAL, "%zu checksums for a value of %" PRIu64 " bytes", ncrcs, length);
    return 0;
}

uint64_t router_region_bytes(const struct cairn_router *r, const struct router_ns *ns)
{
    return ns->clustered ? MIN(r->conf.region_bytes, (uint64_t)CAIRN_CLUSTER_REGION_BYTES) : r->conf.region_bytes;
}

/* In a namespace that is spread over nodes, what an entry of the log can hold is in the log, and reaches the disk
 * twice; the rest goes to regions, once. */
static uint64_t embedded_bytes_max(const struct router_ns *ns)
{
    return router_is_clustered(ns) ? CAIRN_RECORD_EMBEDDED_BYTES_MAX : ns->embed_threshold;
}

static int put_check(const struct router_op *op, struct cairn_err *err)
{
    const Cairn__Wire__RouterPut *m = put_msg(op);
    uint64_t max = MAX(router_region_bytes(op->w->router, op->ns), embedded_bytes_max(op->ns));

    if (m->length > max)
        return cairn_err_set(err, CAIRN_E_TOOBIG,
                             "a value of %" PRIu64 " bytes in one request; above %" PRIu64 " it comes in parts",
                             m->length, max);
    return router_bytes_check(op->rq, m->length, m->bulk, m->n_crcs, err);
}

void router_handle_put(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterPut *m = (const Cairn__Wire__RouterPut *)rq->msg;
    struct router_op *op = router_put_new(rq, m->ns, m->ns_id, &m->key);
    bool large;
    int rc;

    if (UNLIKELY(op == NULL))
        return;
    op->key = m->key;
    op->rid = m->rid;
    op->if_absent = m->if_absent;
    rc = put_check(op, &op->err);
    if (UNLIKELY(rc != 0)) {
        router_op_fail(op, rc);
        return;
    }
    large = m->length > embedded_bytes_max(op->ns);
    if (large && op->ns->extent == NULL) {
        router_op_fail_text(op, CAIRN_E_TOOBIG,
                            "values above %" PRIu64 " bytes need an extent provider, and it has none here",
                            embedded_bytes_max(op->ns));
        return;
    }
    if (!large && m->bulk != NULL) {
        router_op_open_to_store(op, put_pull);
        return;
    }
    rc = large ? cairn_rpc_req_hold_payload(rq) : put_keep_small(op);
    if (UNLIKELY(rc != 0)) {
        router_op_fail(op, rc);
        return;
    }
    router_op_open_to_store(op, large ? router_put_large : put_small);
}
