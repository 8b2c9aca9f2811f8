/* EXISTS, LENGTH, MGET and LIST: questions that one call to the KV provider answers.
 *
 *   OPEN ---> ASK ---> REPLIED        OPEN and ASK may also go to FAILED.
 *
 * OPEN     the namespace's database is being opened.
 * ASK      the KV provider has the question.
 * REPLIED  its answer, with records turned into values, has gone to the caller.       FAILED  there was none. */
#include "server/router/router_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ASK_OPEN, ASK_ASK, ASK_REPLIED, ASK_FAILED, ASK_NR };

#define TO(state) CAIRN_SM_TO(ASK_##state)
static const struct cairn_sm_state ask_states[ASK_NR] = {
    [ASK_OPEN] = { "OPEN", CAIRN_SM_INITIAL, TO(ASK) | TO(FAILED) },
    [ASK_ASK] = { "ASK", 0, TO(REPLIED) | TO(FAILED) },
    [ASK_REPLIED] = { "REPLIED", CAIRN_SM_FINAL, 0 },
    [ASK_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool ask_invariant(const struct cairn_sm *sm)
{
    const struct router_op *op = CONTAINER_OF(sm, const struct router_op, sm);

    return CAIRN_HOLDS(!op->plain && op->parts == NULL && op->nold == 0) && /* a question changes nothing */
           CAIRN_HOLDS(sm->state != ASK_ASK || op->ns->open) && CAIRN_HOLDS((op->rq == NULL) == cairn_sm_is_final(sm));
}

const struct cairn_sm_kind router_ask_kind = { "router-ask", ask_states, ASK_NR, ask_invariant, 60000 };

static void ask_reply(struct router_op *op, const ProtobufCMessage *reply, const struct iovec *payload, uint32_t n)
{
    struct cairn_rpc_req *rq = op->rq;
    int rc = router_op_read_end(op);

    if (UNLIKELY(rc != 0)) {
        router_op_fail(op, rc);
        return;
    }
    op->rq = NULL;
    cairn_sm_move(&op->sm, ASK_REPLIED);
    cairn_rpc_reply(rq, 0, reply, payload, n);
    router_op_end(op);
}

static void ask_call(struct router_op *op, uint32_t method, void (*done)(struct cairn_rpc_call *call))
{
    cairn_sm_move(&op->sm, ASK_ASK);
    router_op_call(op, op->ns->kv, method, done);
    cairn_rpc_call_start(&op->call);
}

/* Length of the value whose record is @p; an error code if it cannot be told. */
static int64_t record_length(const uint8_t *p, size_t len)
{
    struct cairn_record r;
    int rc = cairn_record_parse(p, len, &r);

    return rc != 0 ? rc : (int64_t)r.length;
}

/* ---- EXISTS ---- */

static void exists_on_told(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;
    Cairn__Wire__RouterExists reply = CAIRN__WIRE__ROUTER_EXISTS__INIT;

    if (call->rc != 0) {
        router_op_fail(op, call->rc);
        return;
    }
    reply.exists = ((const Cairn__Wire__KvExists *)call->reply)->exists;
    if (!reply.exists && op->by_replica) {
        router_op_fail(op, CAIRN_E_NOTFOUND);
        return;
    }
    ask_reply(op, &reply.base, NULL, 0);
}

static void exists_ask(struct router_op *op)
{
    cairn__wire__kv_get__init(&op->msg.get);
    op->msg.get.db = op->ns->db;
    op->msg.get.key = ((const Cairn__Wire__RouterKey *)op->rq->msg)->key;
    ask_call(op, CAIRN__WIRE__KV_METHOD__KV_EXISTS, exists_on_told);
}

void router_handle_exists(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    struct router_op *op =
        router_op_new(rq, m->ns, m->ns_id, &m->key, router_read_access(m->replica), &router_ask_kind, ASK_FAILED);

    if (LIKELY(op != NULL))
        router_op_open(op, exists_ask);
}

/* ---- LENGTH ---- */

static void length_reply(struct router_op *op, int64_t length)
{
    Cairn__Wire__RouterLength reply = CAIRN__WIRE__ROUTER_LENGTH__INIT;

    if (length < 0) {
        router_op_fail_text(op, (int)length, "the stored record cannot be read");
        return;
    }
    reply.length = (uint64_t)length;
    ask_reply(op, &reply.base, NULL, 0);
}

static void length_on_record(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    if (call->rc != 0)
        router_op_fail(op, call->rc);
    else
        length_reply(op, record_length(call->reply_payload, call->reply_payload_len));
}

static void length_on_told(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    if (call->rc != 0)
        router_op_fail(op, call->rc);
    else
        length_reply(op, cairn_record_embedded_length(((const Cairn__Wire__KvLength *)call->reply)->length));
}

static void length_ask(struct router_op *op)
{
    cairn__wire__kv_get__init(&op->msg.get);
    op->msg.get.db = op->ns->db;
    op->msg.get.key = ((const Cairn__Wire__RouterKey *)op->rq->msg)->key;
    if (op->ns->has_large || router_is_clustered(op->ns))
        ask_call(op, CAIRN__WIRE__KV_METHOD__KV_GET, length_on_record);
    else /* every record is a value, with its head and checksums */
        ask_call(op, CAIRN__WIRE__KV_METHOD__KV_LENGTH, length_on_told);
}

void router_handle_length(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    struct router_op *op =
        router_op_new(rq, m->ns, m->ns_id, &m->key, router_read_access(m->replica), &router_ask_kind, ASK_FAILED);

    if (LIKELY(op != NULL))
        router_op_open(op, length_ask);
}

/* ---- MGET ---- */

static int keys_check(const ProtobufCBinaryData *keys, size_t n, struct cairn_err *err)
{
    if (n > CAIRN_BATCH_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "%zu keys in one call; at most %d", n, CAIRN_BATCH_MAX);
    for (size_t i = 0; i < n; i++) {
        if (keys[i].len == 0 || keys[i].len > CAIRN_KEY_BYTES_MAX)
            return cairn_err_set(err, CAIRN_E_INVAL, "key %zu has %zu bytes; 1 to %d are possible", i, keys[i].len,
                                 CAIRN_KEY_BYTES_MAX);
    }
    return 0;
}

/* What one answer to MGET is made of: one piece of memory, with the arrays (and values, if they must be joined) behind
 * it. */
struct mget_answer {
    Cairn__Wire__RouterMgetReply reply;
    struct iovec iov[CAIRN_RPC_PAYLOAD_IOV_MAX];
    uint32_t niov;
    uint8_t *joined; /* instead of iov, for more values than that */
    size_t joined_len;
};

/* The value of entry @i, whose record is [@p, @p + @len). One that cannot be read is no matter of the others: who asks
 * for it by itself is told why. */
static void mget_entry(struct mget_answer *a, size_t i, const uint8_t *p, size_t len)
{
    struct cairn_record r;
    int rc = cairn_record_parse(p, len, &r);

    if (rc != 0 || r.type == CAIRN_RECORD_EXTENTS) {
        a->reply.lengths[i] = -2;
        a->reply.large[i] = rc == 0 ? r.length : 0;
        a->reply.n_large = a->reply.n_lengths;
        return;
    }
    a->reply.lengths[i] = (int64_t)r.length;
    cairn_record_crcs(&r, a->reply.crcs + a->reply.n_crcs);
    a->reply.n_crcs += r.ncrcs;
    if (r.length == 0)
        return;
    if (a->joined != NULL) {
        memcpy(a->joined + a->joined_len, r.value, r.length);
        a->joined_len += r.length;
    } else {
        a->iov[a->niov++] = (struct iovec){ .iov_base = (void *)r.value, .iov_len = r.length };
    }
}

/* @leaves: NULL, or for each entry whether this node can tell of it. */
static int mget_translate(struct mget_answer *a, const Cairn__Wire__KvMgetReply *from, const uint8_t *values,
                          size_t values_len, const uint64_t *leaves)
{
    size_t at = 0;

    for (size_t i = 0; i < from->n_lengths; i++) {
        bool by_replica = leaves != NULL && leaves[i] == ROUTER_LEAVE_BY_REPLICA;
        bool ours = leaves == NULL || (leaves[i] != 0 && !(by_replica && from->lengths[i] == -1));

        a->reply.large[i] = 0;
        a->reply.lengths[i] = ours ? from->lengths[i] : -3;
        if (from->lengths[i] == -2 && ours)
            a->reply.n_large = from->n_lengths;
        if (from->lengths[i] < 0)
            continue;
        if ((uint64_t)from->lengths[i] > values_len - at)
            return CAIRN_E_INTERNAL;
        if (ours)
            mget_entry(a, i, values + at, (size_t)from->lengths[i]);
        at += (size_t)from->lengths[i];
    }
    return 0;
}

static struct mget_answer *mget_answer_new(struct router_op *op, size_t n, size_t values_len)
{
    size_t crcs_max = n + values_len / CAIRN_EXTENT_CHUNK_BYTES;
    bool join = n > CAIRN_RPC_PAYLOAD_IOV_MAX;
    struct mget_answer *a;

    op->buf = malloc(sizeof(*a) + n * (sizeof(int64_t) + sizeof(uint64_t)) + crcs_max * sizeof(uint32_t) +
                     (join ? values_len : 0));
    if (op->buf == NULL)
        return NULL;
    a = (struct mget_answer *)(void *)op->buf;
    *a = (struct mget_answer){ .reply = CAIRN__WIRE__ROUTER_MGET_REPLY__INIT };
    a->reply.n_lengths = n;
    a->reply.lengths = (int64_t *)(a + 1);
    a->reply.large = (uint64_t *)(a->reply.lengths + n);
    a->reply.crcs = (uint32_t *)(a->reply.large + n);
    a->joined = join ? (uint8_t *)(a->reply.crcs + crcs_max) : NULL;
    return a;
}

static void mget_on_told(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;
    const Cairn__Wire__KvMgetReply *from = (const Cairn__Wire__KvMgetReply *)call->reply;
    struct mget_answer *a;
    int rc;

    if (call->rc != 0) {
        router_op_fail(op, call->rc);
        return;
    }
    a = mget_answer_new(op, from->n_lengths, call->reply_payload_len);
    if (a == NULL) {
        router_op_fail_text(op, CAIRN_E_NOMEM, "out of memory");
        return;
    }
    if (op->leaves != NULL)
        router_clustered_mget_end(op, op->msg.mget.keys, from->n_lengths);
    rc = mget_translate(a, from, call->reply_payload, call->reply_payload_len, op->leaves);
    if (rc != 0) {
        router_op_fail_text(op, rc, "the KV provider's answer is malformed");
        return;
    }
    if (a->joined != NULL && a->joined_len > 0)
        a->iov[a->niov++] = (struct iovec){ .iov_base = a->joined, .iov_len = a->joined_len };
    ask_reply(op, &a->reply.base, a->iov, a->niov);
}

static void mget_ask(struct router_op *op)
{
    const Cairn__Wire__RouterMget *m = (const Cairn__Wire__RouterMget *)op->rq->msg;

    cairn__wire__kv_mget__init(&op->msg.mget);
    op->msg.mget.db = op->ns->db;
    op->msg.mget.keys = m->keys;
    op->msg.mget.n_keys = m->n_keys;
    if (router_is_clustered(op->ns) && router_clustered_mget_begin(op, m->keys, m->n_keys) != 0) {
        router_op_fail(op, CAIRN_E_NOMEM);
        return;
    }
    ask_call(op, CAIRN__WIRE__KV_METHOD__KV_MGET, mget_on_told);
}

void router_handle_mget(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMget *m = (const Cairn__Wire__RouterMget *)rq->msg;
    struct router_op *op =
        router_op_new(rq, m->ns, m->ns_id, NULL, router_read_access(m->replica), &router_ask_kind, ASK_FAILED);
    int rc;

    if (UNLIKELY(op == NULL))
        return;
    rc = keys_check(m->keys, m->n_keys, &op->err);
    if (rc != 0)
        router_op_fail(op, rc);
    else
        router_op_open(op, mget_ask);
}

/* ---- LIST ---- */

static int list_lengths(const Cairn__Wire__KvListReply *from, const uint8_t *values, size_t values_len, uint64_t *to)
{
    size_t at = 0, n;

    if (from->n_lengths != from->n_keys)
        return CAIRN_E_INTERNAL;
    for (size_t i = 0; i < from->n_lengths; i++) {
        int64_t length;

        n = MIN(from->lengths[i], (uint32_t)CAIRN_RECORD_PEEK_BYTES);
        if (n > values_len - at)
            return CAIRN_E_INTERNAL;
        length = cairn_record_peek(values + at, n, from->lengths[i]);
        to[i] = length >= 0 ? (uint64_t)length : CAIRN_LENGTH_UNKNOWN; /* the others are listed all the same */
        at += n;
    }
    return 0;
}

static void list_on_told(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;
    const Cairn__Wire__KvListReply *from = (const Cairn__Wire__KvListReply *)call->reply;
    Cairn__Wire__RouterListReply reply = CAIRN__WIRE__ROUTER_LIST_REPLY__INIT;
    int rc;

    if (call->rc != 0) {
        router_op_fail(op, call->rc);
        return;
    }
    reply.keys = from->keys;
    reply.n_keys = from->n_keys;
    reply.more = from->more;
    if (router_is_clustered(op->ns) && from->n_keys > 0)
        reply.upto = from->keys[from->n_keys - 1];
    if (op->msg.list.values && from->n_keys > 0) {
        op->buf = malloc(from->n_keys * sizeof(uint64_t));
        rc = op->buf == NULL
                 ? CAIRN_E_NOMEM
                 : list_lengths(from, call->reply_payload, call->reply_payload_len, (uint64_t *)(void *)op->buf);
        if (rc != 0) {
            router_op_fail_text(op, rc,
                                rc == CAIRN_E_NOMEM ? "out of memory" : "the KV provider's answer is malformed");
            return;
        }
        reply.lengths = (uint64_t *)(void *)op->buf;
        reply.n_lengths = from->n_keys;
    }
    rc = router_is_clustered(op->ns) ? router_clustered_list_end(op, &reply) : 0;
    if (rc != 0) {
        router_op_fail(op, rc);
        return;
    }
    ask_reply(op, &reply.base, NULL, 0);
}

static void list_ask(struct router_op *op)
{
    const Cairn__Wire__RouterList *m = (const Cairn__Wire__RouterList *)op->rq->msg;

    cairn__wire__kv_list__init(&op->msg.list);
    op->msg.list.db = op->ns->db;
    op->msg.list.prefix = m->prefix;
    op->msg.list.from = m->after;
    op->msg.list.after = m->after.len > 0;
    op->msg.list.max = m->max;
    op->msg.list.values = m->lengths;
    op->msg.list.head = CAIRN_RECORD_PEEK_BYTES;
    if (router_is_clustered(op->ns)) {
        int rc = router_clustered_list_begin(op);

        if (rc != 0) {
            router_op_fail(op, rc);
            return;
        }
    }
    ask_call(op, CAIRN__WIRE__KV_METHOD__KV_LIST, list_on_told);
}

void router_handle_list(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterList *m = (const Cairn__Wire__RouterList *)rq->msg;
    struct router_op *op = router_op_new(rq, m->ns, m->ns_id, NULL, ROUTER_READ, &router_ask_kind, ASK_FAILED);

    if (UNLIKELY(op == NULL))
        return;
    if (m->prefix.len > CAIRN_KEY_BYTES_MAX || m->after.len > CAIRN_KEY_BYTES_MAX || m->max > CAIRN_BATCH_MAX)
        router_op_fail_text(op, CAIRN_E_INVAL, "a prefix or key of more than %d bytes, or more than %d keys asked for",
                            CAIRN_KEY_BYTES_MAX, CAIRN_BATCH_MAX);
    else
        router_op_open(op, list_ask);
}
