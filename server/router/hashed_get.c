/* GET: a value, or a part of it.
 *
 *   OPEN ---> LOOKUP ---> READ ---> REPLIED
 *   LOOKUP ---> REPLIED        READ ---> LOOKUP        OPEN, LOOKUP and READ may also go to FAILED.
 *
 * OPEN     the namespace's database is being opened.
 * LOOKUP   the record is being fetched. It answers by itself when the value is in it.
 * READ     the regions that the wanted range touches are being read, straight into the caller's memory where it has
 *          some. Back to LOOKUP when one of them is gone: the value has been replaced meanwhile.
 * REPLIED  the caller has the bytes, with the checksums that they were stored with.      FAILED  it has none that
 *          count. */
#include "server/router/router_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { GET_OPEN, GET_LOOKUP, GET_READ, GET_REPLIED, GET_FAILED, GET_NR };

#define TO(state) CAIRN_SM_TO(GET_##state)
static const struct cairn_sm_state get_states[GET_NR] = {
    [GET_OPEN] = { "OPEN", CAIRN_SM_INITIAL, TO(LOOKUP) | TO(FAILED) },
    [GET_LOOKUP] = { "LOOKUP", 0, TO(READ) | TO(REPLIED) | TO(FAILED) },
    [GET_READ] = { "READ", 0, TO(LOOKUP) | TO(REPLIED) | TO(FAILED) },
    [GET_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [GET_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static const Cairn__Wire__RouterGet *get_msg(const struct router_op *op)
{
    return (const Cairn__Wire__RouterGet *)op->rq->msg;
}

/* Of READ and of what it leaves: the range lies inside the value and inside the caller's room, each region is asked
 * for once, in order, and checksums are kept for all of it or, where it goes as a payload, for none. */
static bool get_parts_fit(const struct router_op *op, const struct router_parts *p)
{
    const Cairn__Wire__RouterGet *m = op->rq != NULL ? get_msg(op) : NULL;

    return CAIRN_HOLDS(p->len > 0 && p->len <= p->total && p->off <= p->total - p->len) &&
           CAIRN_HOLDS(p->next <= p->nregions && p->running <= p->next) &&
           CAIRN_HOLDS(p->running <= CAIRN_ROUTER_PARTS_INFLIGHT) &&
           CAIRN_HOLDS(m == NULL || (m->bulk != NULL) == (p->crcs != NULL)) &&
           CAIRN_HOLDS(m == NULL || m->bulk == NULL || p->len <= m->bulk->len - m->bulk->off);
}

static bool get_invariant(const struct cairn_sm *sm)
{
    const struct router_op *op = CONTAINER_OF(sm, const struct router_op, sm);
    const struct router_parts *p = op->parts;

    return CAIRN_HOLDS(sm->state != GET_READ || (p != NULL && p->next == 0 && get_parts_fit(op, p))) &&
           CAIRN_HOLDS(sm->state == GET_READ || cairn_sm_is_final(sm) || p == NULL) &&
           CAIRN_HOLDS(p == NULL || sm->state == GET_READ || p->running == 0) && /* none writes to the caller */
           CAIRN_HOLDS(op->buf == NULL || p != NULL) &&                          /* many regions, one payload */
           CAIRN_HOLDS(op->tries <= ROUTER_RELOOKUPS_MAX && (op->tries == 0 || op->stamp != 0)) &&
           CAIRN_HOLDS(sm->state != GET_LOOKUP || (op->rc == 0 && op->rq->on_cancel == NULL)) &&
           CAIRN_HOLDS(cairn_sm_is_final(sm) == (op->rq == NULL)) && /* answered once, and by its last move */
           CAIRN_HOLDS(sm->state != GET_REPLIED || op->rc == 0) &&
           CAIRN_HOLDS(sm->state != GET_REPLIED || p == NULL || (p->next == p->nregions && get_parts_fit(op, p)));
}

const struct cairn_sm_kind router_get_kind = { "router-get", get_states, GET_NR, get_invariant, 60000 };

static void get_lookup(struct router_op *op);
static void get_part_start(struct router_part *part);

static void get_reply(struct router_op *op, Cairn__Wire__RouterGetReply *reply, const uint8_t *payload, size_t len)
{
    struct iovec iov = { .iov_base = (void *)payload, .iov_len = len };
    struct cairn_rpc_req *rq = op->rq;
    int rc = router_op_read_end(op);

    if (UNLIKELY(rc != 0)) {
        router_op_fail(op, rc);
        return;
    }
    op->rq = NULL;
    cairn_sm_move(&op->sm, GET_REPLIED);
    cairn_rpc_reply(rq, 0, &reply->base, &iov, len > 0 ? 1 : 0);
    router_op_end(op);
}

/* What the caller has room for of [off, total). */
static uint64_t get_range(const Cairn__Wire__RouterGet *m, uint64_t total)
{
    uint64_t left = m->off < total ? total - m->off : 0;

    return m->length != 0 ? MIN(left, m->length) : left;
}

/* ---- large values ---- */

/* Checksums of [off, off+len) of a value: one for each chunk that it touches. Regions begin with a chunk. */
static size_t crcs_of(uint64_t off, uint64_t len)
{
    return (size_t)((off + len - 1) / CAIRN_EXTENT_CHUNK_BYTES - off / CAIRN_EXTENT_CHUNK_BYTES + 1);
}

static void get_read_done(struct router_op *op, const uint8_t *only_payload)
{
    struct router_parts *p = op->parts;
    bool by_bulk = get_msg(op)->bulk != NULL;
    Cairn__Wire__RouterGetReply reply = CAIRN__WIRE__ROUTER_GET_REPLY__INIT;

    op->rq->on_cancel = NULL;
    if (op->rc == CAIRN_E_NOTFOUND && op->tries < ROUTER_RELOOKUPS_MAX) {
        op->tries++;
        op->rc = 0;
        op->err.text[0] = '\0';
        op->stamp = p->stamp;
        free(op->buf);
        op->buf = NULL;
        router_op_drop_parts(op);
        get_lookup(op);
        return;
    }
    if (op->rc == CAIRN_E_NOTFOUND) {
        router_op_fail_text(op, CAIRN_E_BUSY, "the value is replaced faster than it can be read");
        return;
    }
    if (op->rc != 0) {
        router_op_fail(op, op->rc);
        return;
    }
    reply.length = p->len;
    reply.total = p->total;
    reply.stamp = p->stamp;
    reply.by_bulk = by_bulk;
    if (by_bulk) {
        reply.crcs = p->crcs;
        reply.n_crcs = p->ncrcs;
        get_reply(op, &reply, NULL, 0);
    } else {
        get_reply(op, &reply, op->buf != NULL ? op->buf : only_payload, p->len);
    }
}

/* Whether the reply is what was asked for; if so its checksums, and bytes, are where they belong. */
static int get_part_take(struct router_part *part, const struct cairn_rpc_call *call)
{
    struct router_op *op = part->op;
    struct router_parts *p = op->parts;
    const Cairn__Wire__ExtentReadReply *reply = (const Cairn__Wire__ExtentReadReply *)call->reply;
    bool by_bulk = get_msg(op)->bulk != NULL;
    size_t crcs_at = (size_t)(part->off / CAIRN_EXTENT_CHUNK_BYTES - p->off / CAIRN_EXTENT_CHUNK_BYTES);

    if (reply->length != part->len)
        return cairn_err_set(&part->err, CAIRN_E_CORRUPT, "region %" PRIu64 " is shorter than its record says",
                             p->regions[part->region].id);
    if (by_bulk && reply->n_crcs != 0) {
        if (reply->n_crcs != crcs_of(part->off, part->len) || crcs_at + reply->n_crcs > p->ncrcs)
            return cairn_err_set(&part->err, CAIRN_E_INTERNAL, "%zu checksums came with %" PRIu64 " bytes",
                                 reply->n_crcs, part->len);
        memcpy(p->crcs + crcs_at, reply->crcs, reply->n_crcs * sizeof(p->crcs[0]));
    } else if (by_bulk) {
        return cairn_err_set(&part->err, CAIRN_E_INTERNAL, "no checksums came with %" PRIu64 " bytes", part->len);
    } else if (call->reply_payload_len != part->len) {
        return cairn_err_set(&part->err, CAIRN_E_INTERNAL, "%" PRIu32 " bytes came, not %" PRIu64,
                             call->reply_payload_len, part->len);
    } else if (op->buf != NULL) {
        memcpy(op->buf + (part->off - p->off), call->reply_payload, part->len);
    }
    return 0;
}

static void get_cancel_parts(struct router_op *op)
{
    for (uint32_t i = 0; i < CAIRN_ROUTER_PARTS_INFLIGHT; i++)
        cairn_rpc_call_cancel(&op->parts->part[i].call);
}

static void get_on_cancel(struct cairn_rpc_req *rq, void *arg)
{
    (void)rq;
    get_cancel_parts(arg);
}

static void get_on_part(struct cairn_rpc_call *call)
{
    struct router_part *part = call->arg;
    struct router_op *op = part->op;
    struct router_parts *p = op->parts;
    int rc = call->rc;

    p->running--;
    if (rc == 0)
        rc = get_part_take(part, call);
    if (op->rc == 0 && op->rq->canceled)
        op->rc = CAIRN_E_CANCELED;
    if (op->rc == 0 && rc != 0) {
        op->rc = rc;
        op->err = part->err;
        get_cancel_parts(op);
    }
    if (op->rc == 0 && p->next < p->nregions)
        get_part_start(part);
    else if (p->running == 0)
        get_read_done(op, call->reply_payload);
}

static void get_part_start(struct router_part *part)
{
    struct router_op *op = part->op;
    struct router_parts *p = op->parts;
    const Cairn__Wire__RouterGet *m = get_msg(op);
    Cairn__Wire__ExtentRead *msg = &part->msg.extent_read;
    uint64_t region_off = p->region_off, end = p->off + p->len;

    part->region = p->next++;
    p->region_off += p->regions[part->region].len;
    part->off = MAX(region_off, p->off);
    part->len = MIN(p->region_off, end) - part->off;
    cairn__wire__extent_read__init(msg);
    msg->id = p->regions[part->region].id;
    msg->off = part->off - region_off;
    msg->length = part->len;
    msg->verify = m->verify || m->bulk == NULL; /* a payload goes on without checksums: nobody else will compare them */
    if (m->bulk != NULL) {
        part->bulk = *m->bulk;
        part->bulk.off += part->off - p->off;
        msg->bulk = &part->bulk;
    }
    router_part_call(part, CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ, get_on_part);
    cairn_rpc_call_start(&part->call);
}

/* Takes over the regions that [off, off+len) touches; false for memory, or when regions do not begin with a chunk. */
static int get_take_regions(struct router_op *op, const struct cairn_record *r, uint64_t off, uint64_t len)
{
    uint64_t at = 0, first_off = 0;
    uint32_t first = 0, n = 0;
    struct router_parts *p;

    for (uint32_t i = 0; i < r->nregions && at < off + len; i++) {
        uint64_t next = at + cairn_record_region(r, i).len;

        if (at % CAIRN_EXTENT_CHUNK_BYTES != 0)
            return cairn_err_set(&op->err, CAIRN_E_CORRUPT, "a region does not begin with a chunk");
        if (next > off && n++ == 0) {
            first = i;
            first_off = at;
        }
        at = next;
    }
    if (!router_op_take_parts(op, n))
        return CAIRN_E_NOMEM;
    p = op->parts;
    for (uint32_t i = 0; i < n; i++)
        p->regions[i] = cairn_record_region(r, first + i);
    p->region_off = first_off;
    p->off = off;
    p->len = len;
    p->total = r->length;
    return 0;
}

static int get_take_room(struct router_op *op, bool by_bulk)
{
    struct router_parts *p = op->parts;

    if (by_bulk) {
        p->ncrcs = crcs_of(p->off, p->len);
        p->crcs = calloc(p->ncrcs, sizeof(p->crcs[0]));
        return p->crcs != NULL ? 0 : CAIRN_E_NOMEM;
    }
    if (p->nregions == 1)
        return 0; /* the extent provider's payload goes on as it is */
    op->buf = malloc(p->len);
    return op->buf != NULL ? 0 : CAIRN_E_NOMEM;
}

static void get_large(struct router_op *op, const struct cairn_record *r, uint64_t stamp)
{
    const Cairn__Wire__RouterGet *m = get_msg(op);
    Cairn__Wire__RouterGetReply reply = CAIRN__WIRE__ROUTER_GET_REPLY__INIT;
    uint64_t len = MIN(get_range(m, r->length), CAIRN_ROUTER_GET_BYTES_MAX);
    int rc;

    if (op->tries > 0 && stamp == op->stamp) { /* nobody has replaced it */
        router_op_fail_text(op, CAIRN_E_CORRUPT, "the record names a region that is not there");
        return;
    }
    reply.total = r->length;
    reply.stamp = stamp;
    if (m->bulk != NULL)
        len = MIN(len, m->bulk->len - m->bulk->off);
    if (len == 0 || (m->bulk == NULL && len > CAIRN_ROUTER_INLINE_BYTES_MAX)) {
        get_reply(op, &reply, NULL,
                  0); /* nothing is there, or the caller asks again with memory: it knows the size now */
        return;
    }
    if (op->ns->extent == NULL) {
        router_op_fail_text(op, CAIRN_E_NOPROVIDER, "the extent provider '%s' is not on this node",
                            op->ns->extent_name);
        return;
    }
    rc = get_take_regions(op, r, m->off, len);
    if (rc == 0)
        rc = get_take_room(op, m->bulk != NULL);
    if (rc != 0) {
        router_op_fail(op, rc);
        return;
    }
    op->parts->stamp = stamp;
    cairn_sm_move(&op->sm, GET_READ);
    op->rq->on_cancel = get_on_cancel;
    op->rq->on_cancel_arg = op;
    for (uint32_t i = 0; i < CAIRN_ROUTER_PARTS_INFLIGHT && op->parts->next < op->parts->nregions; i++)
        get_part_start(&op->parts->part[i]);
}

/* ---- the record ---- */

/* Never 0. Records of large values name regions, whose ids are never given twice, so equal stamps are equal values. */
static uint64_t stamp_of(const uint8_t *record, size_t len)
{
    uint64_t h = XXH3_64bits(record, len);

    return h != 0 ? h : 1;
}

static void get_on_record(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;
    Cairn__Wire__RouterGetReply reply = CAIRN__WIRE__ROUTER_GET_REPLY__INIT;
    const Cairn__Wire__RouterGet *m = get_msg(op);
    uint32_t crcs[CAIRN_RECORD_CRCS_MAX];
    struct cairn_record r;
    int rc = call->rc;

    if (LIKELY(rc == 0)) {
        rc = cairn_record_parse(call->reply_payload, call->reply_payload_len, &r);
        if (rc != 0)
            cairn_err_set(&op->err, rc, "the stored record is %s",
                          rc == CAIRN_E_FORMAT ? "of another version" : "malformed");
    }
    if (UNLIKELY(rc != 0)) {
        router_op_fail(op, rc);
        return;
    }
    if (r.type != CAIRN_RECORD_EMBEDDED) {
        get_large(op, &r, stamp_of(call->reply_payload, call->reply_payload_len));
        return;
    }
    reply.total = r.length;
    reply.length = get_range(m, r.length);
    if (UNLIKELY((reply.length < r.length || m->verify) && !cairn_record_is_sound(&r, m->off, reply.length))) {
        router_op_fail_text(op, CAIRN_E_CORRUPT, "the stored bytes do not match their checksums");
        return;
    }
    if (UNLIKELY(reply.length < r.length)) { /* who reads it in pieces wants to know whether they fit together */
        reply.stamp = stamp_of(call->reply_payload, call->reply_payload_len);
    } else {
        cairn_record_crcs(&r, crcs);
        reply.crcs = crcs;
        reply.n_crcs = r.ncrcs;
    }
    get_reply(op, &reply, r.value + (reply.length > 0 ? m->off : 0), reply.length);
}

static void get_lookup(struct router_op *op)
{
    cairn_sm_move(&op->sm, GET_LOOKUP);
    cairn__wire__kv_get__init(&op->msg.get);
    op->msg.get.db = op->ns->db;
    op->msg.get.key = get_msg(op)->key;
    router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_GET, get_on_record);
    cairn_rpc_call_start(&op->call);
}

void router_handle_get(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterGet *m = (const Cairn__Wire__RouterGet *)rq->msg;
    struct router_op *op =
        router_op_new(rq, m->ns, m->ns_id, &m->key, router_read_access(m->replica), &router_get_kind, GET_FAILED);

    if (UNLIKELY(op == NULL))
        return;
    if (UNLIKELY(m->bulk != NULL && m->bulk->off > m->bulk->len)) {
        router_op_fail_text(op, CAIRN_E_INVAL, "the exposed memory ends before its offset");
        return;
    }
    router_op_open(op, get_lookup);
}
