/* Listings, a page at a time. A short page is looked for in memory, on the loop; a long one, or what would touch the
 * disk, is the pool's where the engine can block. */
#include "providers/kv/kv_internal.h"

enum { LOOP_ENTRIES_MAX = 256 }; /* that a loop lists itself from an engine that may block */

static bool on_entry(void *arg, const uint8_t *key, uint32_t klen, const uint8_t *val, uint32_t vlen)
{
    return cairn_kv_page_add_key(arg, key, klen, val, vlen);
}

/* @rq's arena holds the arrays of the answer: their number is bounded by CAIRN_BATCH_MAX. */
static void reply_list(struct cairn_rpc_req *rq, struct cairn_kv_page *page, bool values, bool more)
{
    Cairn__Wire__KvListReply reply = CAIRN__WIRE__KV_LIST_REPLY__INIT;
    struct iovec v = { .iov_base = page->values.ptr, .iov_len = page->values.len };
    uint8_t *key = page->keys.ptr;

    reply.keys = cairn_arena_alloc(&rq->arena, page->n * sizeof(reply.keys[0]));
    reply.lengths = cairn_arena_alloc(&rq->arena, page->n * sizeof(reply.lengths[0]));
    if (page->rc != 0 || reply.keys == NULL || reply.lengths == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    for (uint32_t i = 0; i < page->n; i++) {
        reply.keys[i] = (ProtobufCBinaryData){ .len = page->key_lengths[i], .data = key };
        reply.lengths[i] = (uint32_t)page->lengths[i];
        key += page->key_lengths[i];
    }
    reply.n_keys = page->n;
    reply.n_lengths = values ? page->n : 0;
    reply.more = more;
    cairn_rpc_reply(rq, 0, &reply.base, &v, v.iov_len > 0);
}

static void list_work(struct kv_op *op)
{
    op->rc = op->worker->provider->ops->scan(op->worker->provider->store, &op->scan);
    if (op->rc == CAIRN_E_TIMEOUT && op->page.n > 0) { /* what was found in time is an answer, too */
        op->rc = 0;
        op->scan.more = true;
    }
}

static void list_reply(struct kv_op *op)
{
    reply_list(op->rq, &op->page, op->scan.values, op->scan.more);
}

/* Takes @snap. */
static void list_later(struct cairn_rpc_req *rq, const struct cairn_kv_scan *scan, struct kv_snapshot *snap,
                       uint32_t max, uint32_t head)
{
    struct kv_worker *w = kv_worker_of(rq);
    struct kv_op *op = kv_op_new(rq, &kv_work_kind);

    if (op == NULL) {
        kv_snapshot_done(w, snap);
        return;
    }
    op->snapshot = snap;
    op->db = scan->db;
    op->scan = *scan;
    op->scan.may_block = true;
    op->scan.arg = &op->page;
    /* Half of the time is left for the way back: a page that is short beats none. */
    op->scan.deadline_ns = rq->deadline_ns - cairn_rpc_req_left_ns(rq, cairn_loop_now(op->worker->loop)) / 2;
    cairn_kv_page_reset(&op->page, scan->db.order, max);
    op->page.head = head;
    op->work = list_work;
    op->reply = list_reply;
    kv_op_read(op);
}

void kv_handle_list(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvList *m = (const Cairn__Wire__KvList *)rq->msg;
    struct kv_provider *p = kv_provider_of(rq);
    struct kv_worker *w = kv_worker_of(rq);
    struct cairn_kv_range *range = cairn_arena_alloc(&rq->arena, sizeof(*range));
    struct cairn_kv_scan scan = {
        .range = range, .reverse = m->reverse, .values = m->values, .entry = on_entry, .arg = &w->page
    };
    uint32_t max = m->max == 0 || m->max > CAIRN_BATCH_MAX ? CAIRN_BATCH_MAX : m->max;
    uint32_t head = m->head == 0 ? UINT32_MAX : m->head;
    struct kv_snapshot *snap;
    int rc;

    if (!kv_find(rq, m->db, &scan.db))
        return;
    rc = range != NULL ? cairn_kv_range_make(scan.db.order, m, range) : CAIRN_E_NOMEM;
    if (rc != 0) {
        cairn_rpc_reply_err(rq, rc, "prefix, from or to: longer than %d bytes, or not a number where keys are",
                            CAIRN_KEY_BYTES_MAX);
        return;
    }
    if (!kv_snapshot_use(rq, m->snapshot, &snap))
        return;
    scan.at = snap != NULL ? snap->view : NULL;
    cairn_kv_page_reset(&w->page, scan.db.order, max);
    w->page.head = head;
    rc = !p->ops->writes_inline && max > LOOP_ENTRIES_MAX ? CAIRN_KV_LATER : p->ops->scan(p->store, &scan);
    if (rc == CAIRN_KV_LATER) {
        list_later(rq, &scan, snap, max, head);
        return;
    }
    if (rc != 0)
        kv_reply_failure(rq, rc);
    else
        reply_list(rq, &w->page, scan.values, scan.more);
    kv_snapshot_done(w, snap);
}
