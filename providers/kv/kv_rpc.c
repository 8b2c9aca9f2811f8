/* Requests for one key: decode, ask the store, answer. What memory can answer is answered here and now; the rest
 * becomes an operation (kv_op.c). */
#include "providers/kv/kv_internal.h"

#include <string.h>

/* ---- answers ---- */

bool kv_find(struct cairn_rpc_req *rq, uint32_t handle, struct cairn_kv_db *db)
{
    if (LIKELY(cairn_kv_dir_find(&kv_provider_of(rq)->dir, handle, db)))
        return true;
    kv_reply_failure(rq, CAIRN_KV_GONE);
    return false;
}

void kv_reply_failure(struct cairn_rpc_req *rq, int rc)
{
    if (rc == CAIRN_KV_GONE)
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "%s: no database has this handle; was it dropped?", rq->target->name);
    else
        cairn_rpc_reply(rq, rc, NULL, NULL, 0);
}

void kv_reply_bad_key(struct cairn_rpc_req *rq, const struct cairn_kv_db *db, int rc, size_t index)
{
    if (rc == CAIRN_E_TOOBIG)
        cairn_rpc_reply_err(rq, rc, "key %zu has more than %d bytes", index, CAIRN_KEY_BYTES_MAX);
    else if (db->order == CAIRN_KV_UINT)
        cairn_rpc_reply_err(rq, rc, "key %zu is no number of 1 to %d bytes", index, CAIRN_KV_UINT_BYTES);
    else
        cairn_rpc_reply_err(rq, rc, "key %zu is empty", index);
}

/* Database and key of a request for one; false if @rq was answered. */
static bool find_key(struct cairn_rpc_req *rq, uint32_t handle, const ProtobufCBinaryData *key, struct cairn_kv_db *db)
{
    int rc;

    if (!kv_find(rq, handle, db))
        return false;
    rc = cairn_kv_key_check(db->order, key);
    if (LIKELY(rc == 0))
        return true;
    kv_reply_bad_key(rq, db, rc, 0);
    return false;
}

void kv_reply_old(struct cairn_rpc_req *rq, const uint8_t *val, int64_t len)
{
    Cairn__Wire__KvPutReply reply = CAIRN__WIRE__KV_PUT_REPLY__INIT;
    struct iovec v = { .iov_base = (void *)(uintptr_t)val, .iov_len = len > 0 ? (size_t)len : 0 };

    reply.replaced = len >= 0;
    cairn_rpc_reply(rq, 0, &reply.base, &v, len > 0);
}

/* ---- get, length, exists ---- */

/* An answer that is given while the store still holds the value in place, or from a copy. */
struct get {
    struct cairn_rpc_req *rq;   /* NULL once answered */
    struct cairn_kv_page *page; /* for the copy; NULL: the store holds the value */
    const uint8_t *val;
    int64_t len;
};

static bool on_get_found(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    struct get *get = arg;

    (void)i;
    get->val = val;
    get->len = len;
    if (get->page != NULL && val != NULL) {
        cairn_kv_page_add(get->page, val, len);
        get->val = get->page->values.ptr;
    }
    return true;
}

static void on_get_end(void *arg)
{
    struct get *get = arg;
    struct cairn_rpc_req *rq = get->rq;
    struct iovec v = { .iov_base = (void *)(uintptr_t)get->val, .iov_len = (size_t)get->len };

    get->rq = NULL;
    if (get->page != NULL && get->page->rc != 0)
        cairn_rpc_reply(rq, get->page->rc, NULL, NULL, 0);
    else if (get->len < 0)
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
    else
        cairn_rpc_reply(rq, 0, NULL, &v, v.iov_len > 0);
}

static void reply_length(struct cairn_rpc_req *rq, int64_t len)
{
    Cairn__Wire__KvLength length = CAIRN__WIRE__KV_LENGTH__INIT;
    Cairn__Wire__KvExists exists = CAIRN__WIRE__KV_EXISTS__INIT;

    if (rq->method->reply == &cairn__wire__kv_exists__descriptor) {
        exists.exists = len >= 0;
        cairn_rpc_reply(rq, 0, &exists.base, NULL, 0);
    } else if (len < 0) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
    } else {
        length.length = (uint64_t)len;
        cairn_rpc_reply(rq, 0, &length.base, NULL, 0);
    }
}

/* On a pool thread. */
static bool on_op_found(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    struct kv_op *op = arg;

    (void)i;
    return cairn_kv_page_add(&op->page, val, len);
}

/* Keeps the share as a mean that forgets: a look counts for a 64th. */
static void read_looked(struct kv_worker *w, bool missed)
{
    w->joined = 0;
    w->miss_share -= w->miss_share / 64;
    if (missed)
        w->miss_share += KV_MISS_SHARE_ALL / 64;
}

/* Whether a read should look at the store's memory before it goes to the pool: not when most looks fail of late and
 * others of this turn go there anyway, since a look that fails costs as much as the search on the pool. */
static bool read_looks(struct kv_worker *w)
{
    return w->nreads == 0 || w->miss_share < KV_MISS_SHARE_LOOK || ++w->joined > KV_JOINED_MAX;
}

void kv_read_later(struct cairn_rpc_req *rq, const struct cairn_kv_read *rd, struct kv_snapshot *snap,
                   void (*work)(struct kv_op *op), void (*reply)(struct kv_op *op))
{
    struct kv_worker *w = kv_worker_of(rq);
    struct kv_op *op = kv_op_new(rq, &kv_work_kind);

    if (op == NULL) {
        kv_snapshot_done(w, snap);
        return;
    }
    op->snapshot = snap;
    op->db = rd->db;
    op->read = *rd;
    op->read.may_block = true;
    op->read.found = on_op_found;
    op->read.end = NULL;
    op->read.arg = op;
    op->work = work;
    op->reply = reply;
    kv_op_read(op);
}

static void get_work(struct kv_op *op)
{
    cairn_kv_page_reset(&op->page, op->db.order, 1);
    op->rc = op->worker->provider->ops->read(op->worker->provider->store, &op->read);
    if (op->rc == 0)
        op->rc = op->page.rc;
}

static void get_reply(struct kv_op *op)
{
    struct get get = { .rq = op->rq, .val = op->page.values.ptr, .len = op->page.lengths[0] };

    if (op->read.want == CAIRN_KV_WANT_VALUE)
        on_get_end(&get);
    else
        reply_length(op->rq, get.len);
}

static void handle_read(struct cairn_rpc_req *rq, enum cairn_kv_want want)
{
    const Cairn__Wire__KvGet *m = (const Cairn__Wire__KvGet *)rq->msg;
    struct kv_provider *p = kv_provider_of(rq);
    struct kv_worker *w = kv_worker_of(rq);
    struct get get = { .rq = rq, .page = p->ops->holds_views ? NULL : &w->page, .len = -1 };
    struct cairn_kv_read rd = { .keys = &m->key, .n = 1, .want = want, .found = on_get_found, .arg = &get };
    struct kv_snapshot *snap;
    int rc = CAIRN_KV_LATER;

    if (!find_key(rq, m->db, &m->key, &rd.db) || !kv_snapshot_use(rq, m->snapshot, &snap))
        return;
    rd.at = snap != NULL ? snap->view : NULL;
    rd.end = want == CAIRN_KV_WANT_VALUE ? on_get_end : NULL;
    if (get.page != NULL)
        cairn_kv_page_reset(get.page, rd.db.order, 1);
    if (read_looks(w)) {
        rc = p->ops->read(p->store, &rd);
        read_looked(w, rc == CAIRN_KV_LATER);
    }
    if (rc == CAIRN_KV_LATER) {
        kv_read_later(rq, &rd, snap, get_work, get_reply);
        return;
    }
    if (rc != 0)
        kv_reply_failure(rq, rc);
    else if (want == CAIRN_KV_WANT_LENGTH)
        reply_length(rq, get.len);
    kv_snapshot_done(w, snap);
}

static void handle_get(struct cairn_rpc_req *rq)
{
    handle_read(rq, CAIRN_KV_WANT_VALUE);
}

static void handle_length(struct cairn_rpc_req *rq)
{
    handle_read(rq, CAIRN_KV_WANT_LENGTH);
}

/* ---- put, erase ---- */

/* A write that is carried out at once. */
struct write_now {
    struct cairn_kv_write w;
    struct cairn_rpc_req *rq; /* NULL once answered */
};

static void on_old_now(struct cairn_kv_write *w, const uint8_t *val, int64_t len)
{
    struct write_now *now = CONTAINER_OF(w, struct write_now, w);
    struct cairn_rpc_req *rq = now->rq;

    now->rq = NULL;
    kv_reply_old(rq, val, len);
}

static void write_now(struct cairn_rpc_req *rq, struct cairn_kv_write *w)
{
    struct kv_provider *p = kv_provider_of(rq);
    struct write_now now = { .w = *w, .rq = rq };
    int32_t status = 0;
    int rc;

    now.w.values = rq->payload;
    now.w.value_bytes = rq->payload_len;
    now.w.lengths = &rq->payload_len;
    now.w.status = &status;
    now.w.old = on_old_now;
    rc = p->ops->write(p->store, &now.w);
    if (now.rq != NULL) {
        rc = rc != 0 ? rc : status;
        if (rc != 0)
            kv_reply_failure(rq, rc);
        else
            cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    }
}

static void handle_write(struct cairn_rpc_req *rq, struct cairn_kv_write *w)
{
    struct kv_op *op;

    if (UNLIKELY(!cairn_rpc_req_check_durability(rq, w->durability)))
        return;
    if (kv_provider_of(rq)->ops->writes_inline) {
        write_now(rq, w);
        return;
    }
    op = kv_op_new(rq, &kv_write_kind);
    if (op == NULL)
        return;
    op->write = *w;
    op->status = 0;
    op->length = rq->payload_len;
    op->write.status = &op->status;
    op->write.lengths = &op->length;
    kv_op_write(op);
}

static void handle_put(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvPut *m = (const Cairn__Wire__KvPut *)rq->msg;
    struct cairn_kv_write w = { .keys = &m->key,
                                .n = 1,
                                .if_absent = m->if_absent,
                                .want_old = m->want_old,
                                .durability = (uint32_t)m->durability };

    if (!find_key(rq, m->db, &m->key, &w.db))
        return;
    if (rq->payload_len > CAIRN_KV_VALUE_BYTES_MAX)
        cairn_rpc_reply_err(rq, CAIRN_E_TOOBIG, "a value has at most %d bytes; larger ones belong into extents",
                            CAIRN_KV_VALUE_BYTES_MAX);
    else
        handle_write(rq, &w);
}

static void handle_erase(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvErase *m = (const Cairn__Wire__KvErase *)rq->msg;
    struct cairn_kv_write w = {
        .keys = &m->key, .n = 1, .erase = true, .want_old = m->want_old, .durability = (uint32_t)m->durability
    };

    if (!find_key(rq, m->db, &m->key, &w.db))
        return;
    if (rq->payload_len > 0)
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "an erase has no payload");
    else
        handle_write(rq, &w);
}

cairn_rpc_handler *const kv_handlers[] = {
    [CAIRN__WIRE__KV_METHOD__KV_OPEN] = kv_handle_open,
    [CAIRN__WIRE__KV_METHOD__KV_DROP] = kv_handle_drop,
    [CAIRN__WIRE__KV_METHOD__KV_DATABASES] = kv_handle_databases,
    [CAIRN__WIRE__KV_METHOD__KV_PUT] = handle_put,
    [CAIRN__WIRE__KV_METHOD__KV_GET] = handle_get,
    [CAIRN__WIRE__KV_METHOD__KV_LENGTH] = handle_length,
    [CAIRN__WIRE__KV_METHOD__KV_EXISTS] = handle_length,
    [CAIRN__WIRE__KV_METHOD__KV_ERASE] = handle_erase,
    [CAIRN__WIRE__KV_METHOD__KV_MPUT] = kv_handle_mput,
    [CAIRN__WIRE__KV_METHOD__KV_MGET] = kv_handle_mget,
    [CAIRN__WIRE__KV_METHOD__KV_MLENGTH] = kv_handle_mlength,
    [CAIRN__WIRE__KV_METHOD__KV_MEXISTS] = kv_handle_mlength,
    [CAIRN__WIRE__KV_METHOD__KV_MERASE] = kv_handle_merase,
    [CAIRN__WIRE__KV_METHOD__KV_LIST] = kv_handle_list,
    [CAIRN__WIRE__KV_METHOD__KV_STAT] = kv_handle_stat,
    [CAIRN__WIRE__KV_METHOD__KV_APPLY] = kv_handle_apply,
    [CAIRN__WIRE__KV_METHOD__KV_FLUSH] = kv_handle_flush,
    [CAIRN__WIRE__KV_METHOD__KV_SNAPSHOT_OPEN] = kv_handle_snapshot_open,
    [CAIRN__WIRE__KV_METHOD__KV_SNAPSHOT_CLOSE] = kv_handle_snapshot_close,
};
