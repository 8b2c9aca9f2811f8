/* Requests for many keys: the same as kv_rpc.c, with one status or length per key. */
#include "providers/kv/kv_internal.h"

#include <stdlib.h>
#include <string.h>

/* Checks the keys of a batch; false if @rq was answered. */
static bool check_keys(struct cairn_rpc_req *rq, const struct cairn_kv_db *db, const ProtobufCBinaryData *keys,
                       size_t n)
{
    if (n > CAIRN_BATCH_MAX) {
        cairn_rpc_reply_err(rq, CAIRN_E_TOOBIG, "%zu keys in one call; the limit is %d", n, CAIRN_BATCH_MAX);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = cairn_kv_key_check(db->order, &keys[i]);

        if (UNLIKELY(rc != 0)) {
            kv_reply_bad_key(rq, db, rc, i);
            return false;
        }
    }
    return true;
}

/* ---- mget, mlength, mexists ---- */

/* A multi-get that is answered while the store holds the values in place, or from the worker's page: if they are many,
 * or the store holds none. */
struct mget {
    struct cairn_rpc_req *rq; /* NULL once answered */
    struct cairn_kv_page *page;
    bool views;
    uint32_t nviews, n;
    size_t bytes;
    int64_t lengths[CAIRN_KV_VIEWS_MAX];
    struct iovec view[CAIRN_KV_VIEWS_MAX];
};

static bool on_mget_found(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    struct mget *mg = arg;

    if (!mg->views)
        return cairn_kv_page_add(mg->page, val, len);
    if (val != NULL && len > 0) {
        if (mg->bytes + (size_t)len > CAIRN_KV_PAGE_BYTES)
            return false;
        mg->bytes += (size_t)len;
        mg->view[mg->nviews++] = (struct iovec){ .iov_base = (void *)(uintptr_t)val, .iov_len = (size_t)len };
    }
    mg->lengths[i] = len;
    mg->n = i + 1;
    return true;
}

static void reply_lengths(struct cairn_rpc_req *rq, int64_t *lengths, uint32_t n, const struct iovec *values,
                          uint32_t nvalues)
{
    Cairn__Wire__KvMgetReply reply = CAIRN__WIRE__KV_MGET_REPLY__INIT;

    reply.lengths = lengths;
    reply.n_lengths = n;
    cairn_rpc_reply(rq, 0, &reply.base, values, nvalues);
}

static void reply_page(struct cairn_rpc_req *rq, struct cairn_kv_page *page)
{
    struct iovec v = { .iov_base = page->values.ptr, .iov_len = page->values.len };

    if (page->rc != 0)
        cairn_rpc_reply(rq, page->rc, NULL, NULL, 0);
    else
        reply_lengths(rq, page->lengths, page->n, &v, v.iov_len > 0);
}

static void on_mget_end(void *arg)
{
    struct mget *mg = arg;
    struct cairn_rpc_req *rq = mg->rq;

    mg->rq = NULL;
    if (mg->views)
        reply_lengths(rq, mg->lengths, mg->n, mg->view, mg->nviews);
    else
        reply_page(rq, mg->page);
}

/* On a pool thread. */
static void mget_work(struct kv_op *op)
{
    cairn_kv_page_reset(&op->page, op->db.order, CAIRN_BATCH_MAX);
    op->rc = op->worker->provider->ops->read(op->worker->provider->store, &op->read);
}

static void mget_reply(struct kv_op *op)
{
    reply_page(op->rq, &op->page);
}

static void handle_mread(struct cairn_rpc_req *rq, enum cairn_kv_want want)
{
    const Cairn__Wire__KvMget *m = (const Cairn__Wire__KvMget *)rq->msg;
    struct kv_provider *p = kv_provider_of(rq);
    struct mget mg;
    struct cairn_kv_read rd = {
        .keys = m->keys, .n = (uint32_t)m->n_keys, .want = want, .found = on_mget_found, .end = on_mget_end, .arg = &mg
    };
    struct kv_worker *w = kv_worker_of(rq);
    struct kv_snapshot *snap;
    int rc;

    if (!kv_find(rq, m->db, &rd.db) || !check_keys(rq, &rd.db, m->keys, m->n_keys) ||
        !kv_snapshot_use(rq, m->snapshot, &snap))
        return;
    rd.at = snap != NULL ? snap->view : NULL;
    mg.rq = rq;
    mg.page = &w->page;
    mg.views = p->ops->holds_views && rd.n <= CAIRN_KV_VIEWS_MAX;
    mg.nviews = mg.n = 0;
    mg.bytes = 0;
    if (!mg.views)
        cairn_kv_page_reset(mg.page, rd.db.order, CAIRN_BATCH_MAX);
    rc = p->ops->read(p->store, &rd);
    if (rc == CAIRN_KV_LATER) {
        kv_read_later(rq, &rd, snap, mget_work, mget_reply);
        return;
    }
    if (rc != 0)
        kv_reply_failure(rq, rc);
    kv_snapshot_done(w, snap);
}

void kv_handle_mget(struct cairn_rpc_req *rq)
{
    handle_mread(rq, CAIRN_KV_WANT_VALUE);
}

void kv_handle_mlength(struct cairn_rpc_req *rq)
{
    handle_mread(rq, CAIRN_KV_WANT_LENGTH);
}

/* ---- mput, merase ---- */

void kv_reply_statuses(struct cairn_rpc_req *rq, const int32_t *status, uint32_t n)
{
    Cairn__Wire__KvStatuses reply = CAIRN__WIRE__KV_STATUSES__INIT;
    bool failed = false;

    for (uint32_t i = 0; i < n && !failed; i++)
        failed = status[i] != 0;
    if (failed) {
        reply.status = (int32_t *)(uintptr_t)status;
        reply.n_status = n;
    }
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void mwrite_now(struct cairn_rpc_req *rq, struct cairn_kv_write *w)
{
    struct kv_worker *worker = kv_worker_of(rq);
    struct kv_provider *p = worker->provider;
    int rc;

    if (worker->statuses == NULL)
        worker->statuses = malloc(CAIRN_BATCH_MAX * sizeof(worker->statuses[0]));
    if (worker->statuses == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    w->values = rq->payload;
    w->value_bytes = rq->payload_len;
    w->status = worker->statuses;
    rc = p->ops->write(p->store, w);
    if (rc != 0)
        kv_reply_failure(rq, rc);
    else
        kv_reply_statuses(rq, w->status, w->n);
}

/* What need not wait for the committer. True: @rq is answered. */
static bool mwrite_at_once(struct cairn_rpc_req *rq, struct cairn_kv_write *w)
{
    struct kv_provider *p = kv_provider_of(rq);
    int rc;

    if (p->ops->write_now == NULL)
        return false;
    w->values = rq->payload;
    w->value_bytes = rq->payload_len;
    rc = p->ops->write_now(p->store, w);
    if (rc == CAIRN_KV_LATER)
        return false;
    if (rc == 0)
        kv_reply_statuses(rq, NULL, 0);
    else
        kv_reply_failure(rq, rc);
    return true;
}

void kv_write_many(struct cairn_rpc_req *rq, struct cairn_kv_write *w)
{
    bool writes_inline = kv_provider_of(rq)->ops->writes_inline;
    struct kv_op *op;

    if (UNLIKELY(!cairn_rpc_req_check_durability(rq, w->durability)))
        return;
    /* An APPLY of nothing asks whether there is room, any other write of nothing for what was written before. */
    if (w->n == 0 && (writes_inline ? w->entries == NULL : w->durability != CAIRN__WIRE__DURABILITY__DURABILITY_SYNC)) {
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
        return;
    }
    if (writes_inline) {
        mwrite_now(rq, w);
        return;
    }
    if (mwrite_at_once(rq, w))
        return;
    w->status = cairn_arena_alloc(&rq->arena, w->n * sizeof(w->status[0]));
    if (w->status == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    op = kv_op_new(rq, &kv_write_kind);
    if (op == NULL)
        return;
    op->write = *w;
    kv_op_write(op);
}

void kv_handle_mput(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvMput *m = (const Cairn__Wire__KvMput *)rq->msg;
    struct cairn_kv_write w = { .keys = m->keys,
                                .n = (uint32_t)m->n_keys,
                                .lengths = m->lengths,
                                .if_absent = m->if_absent,
                                .durability = (uint32_t)m->durability };
    int rc;

    if (!kv_find(rq, m->db, &w.db) || !check_keys(rq, &w.db, m->keys, m->n_keys))
        return;
    rc = cairn_kv_lengths_check(m, rq->payload_len);
    if (rc != 0)
        cairn_rpc_reply_err(rq, rc, "%zu lengths for %zu keys and %u bytes of values, each at most %d", m->n_lengths,
                            m->n_keys, rq->payload_len, CAIRN_KV_VALUE_BYTES_MAX);
    else
        kv_write_many(rq, &w);
}

void kv_handle_merase(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvMget *m = (const Cairn__Wire__KvMget *)rq->msg;
    struct cairn_kv_write w = {
        .keys = m->keys, .n = (uint32_t)m->n_keys, .erase = true, .durability = (uint32_t)m->durability
    };

    if (!kv_find(rq, m->db, &w.db) || !check_keys(rq, &w.db, m->keys, m->n_keys))
        return;
    if (rq->payload_len > 0 || m->snapshot != 0)
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "an erase has no payload and no view");
    else
        kv_write_many(rq, &w);
}
