/* Batches and listings of hashed namespaces. Small values go in pages; what is too large for that, one by one. */
#include "sdk/client/hashed_internal.h"

#include <stdlib.h>
#include <string.h>

static struct cairn_ns *batch_ns(struct cairn_call *call)
{
    return CONTAINER_OF(call->handle, struct cairn_ns, h);
}

/* ---- mput ---- */

static void mput_go_on(struct cairn_call *call)
{
    if (call->batch.from < call->batch.n)
        cairn__call_again(call);
    else
        cairn__call_finish(call, call->batch.rc);
}

static void mput_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvStatuses *r = (const Cairn__Wire__KvStatuses *)call->rpc.reply;
    int rc = call->rpc.rc;

    if (rc == 0)
        rc = cairn__batch_statuses(call, r->status, r->n_status);
    if (rc != 0) {
        cairn__batch_give_up(call, rc);
        cairn__call_finish(call, rc);
        return;
    }
    mput_go_on(call);
}

/* One that is too large for a page. What is wrong with it alone does not end the batch. */
static void mput_large_over(struct cairn_call *call, int rc)
{
    struct cairn_call_batch *b = &call->batch;

    if (rc != 0 && rc != CAIRN_E_EXISTS && rc != CAIRN_E_TOOBIG) {
        cairn__batch_give_up(call, rc);
        cairn__call_finish(call, rc);
        return;
    }
    b->puts[b->from++].status = rc;
    if (b->rc == 0)
        b->rc = rc;
    mput_go_on(call);
}

static void mput_large_answered(struct cairn_call *call)
{
    mput_large_over(call, call->rpc.rc);
}

static int mput_large(struct cairn_call *call)
{
    struct cairn_put_item *p = &call->batch.puts[call->batch.from];
    uint32_t inline_crcs[CLIENT_CRCS_INLINE], *crcs;
    size_t n;
    int rc = cairn__crcs_new(p->value, p->value_len, inline_crcs, &crcs, &n);

    if (rc != 0)
        return rc;
    if (call->crcs != call->crcs_inline)
        free(call->crcs);
    cairn__hashed_put_request(call, batch_ns(call), p->key, p->key_len, p->value, p->value_len, call->out_arg != 0);
    call->rq.put.crcs = cairn__crcs_give(call, inline_crcs, crcs, n);
    call->rq.put.n_crcs = n;
    call->answered = mput_large_answered;
    return 0;
}

static int mput_page(struct cairn_call *call)
{
    Cairn__Wire__RouterMput *m = &call->rq.mput;
    struct cairn_batch_page page;
    int rc = cairn__batch_page(call, &page);

    if (rc != 0)
        return rc;
    cairn__wire__router_mput__init(m);
    m->ns = batch_ns(call)->name;
    m->ns_id = batch_ns(call)->id;
    m->n_keys = m->n_lengths = page.n;
    m->keys = page.keys;
    m->lengths = page.lengths;
    m->crcs = page.crcs;
    m->n_crcs = page.ncrcs;
    m->if_absent = call->out_arg != 0;
    call->expose_len = 0;
    call->answered = mput_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT);
    return 0;
}

static void mput_next(struct cairn_call *call)
{
    struct cairn_call_batch *b = &call->batch;
    const struct cairn_put_item *p = &b->puts[b->from];
    bool by_parts = cairn__hashed_is_large(batch_ns(call), p->value_len);
    int rc;

    if (by_parts)
        rc = cairn__large_put(call, p->key, p->key_len, p->value, p->value_len, call->out_arg != 0, mput_large_over);
    else
        rc = p->value_len > b->value_max ? mput_large(call) : mput_page(call);
    if (rc != 0) {
        cairn__call_fail_later(call, rc);
        return;
    }
    if (!by_parts)
        cairn__call_send(call);
}

static int mput(struct cairn_ns *ns, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__batch_check_puts(o, items, n, CAIRN_VALUE_BYTES_MAX);

    if (rc == 0 && ns->slots > 0)
        return cairn__spread_mput(ns, items, n, o, done, arg);
    if (rc == 0)
        rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->batch = (struct cairn_call_batch){ .kind = CAIRN_BATCH_PUT, .puts = items, .n = n, .sums = true };
    call->batch.value_max = MIN(ns->embed_threshold, (uint32_t)CAIRN_KV_VALUE_BYTES_MAX);
    call->out_arg = (cairn__flags(o) & CAIRN_IF_ABSENT) != 0;
    call->answered = mput_answered;
    return cairn__batch_go(call, mput_next, true);
}

int cairn_mput(struct cairn_ns *ns, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o)
{
    return mput(ns, items, n, o, NULL, NULL);
}

int cairn_mput_async(struct cairn_ns *ns, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                     cairn_done_fn *done, void *arg)
{
    return done != NULL ? mput(ns, items, n, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- mget ---- */

/* What is wrong with one entry alone is no error of the call. */
static bool is_of_entry(int rc)
{
    return rc == CAIRN_E_NOTFOUND || rc == CAIRN_E_TOOBIG || rc == CAIRN_E_CORRUPT || rc == CAIRN_E_FORMAT ||
           rc == CAIRN_E_IO;
}

static void mget_large_over(struct cairn_call *call, int rc)
{
    struct cairn_call_batch *b = &call->batch;
    struct cairn_get_item *g = &b->gets[b->from++];

    g->status = rc;
    g->value_len = rc == 0 ? call->sink.got : rc == CAIRN_E_TOOBIG ? call->sink.total : 0;
    call->sink.restarted = false;
    if (rc == CAIRN_E_BUSY) { /* replaced again and again: the others may be well */
        b->rc = rc;
    } else if (rc != 0 && !is_of_entry(rc)) {
        cairn__batch_give_up(call, rc);
        cairn__call_finish(call, rc);
        return;
    }
    if (b->from < b->n)
        cairn__call_again(call);
    else
        cairn__call_finish(call, b->rc);
}

static void mget_large_answered(struct cairn_call *call)
{
    if (call->rpc.rc != 0)
        mget_large_over(call, call->rpc.rc);
    else
        cairn__hashed_get_answered(call);
}

/* The next large entry; the others have their results. */
static void mget_large_next(struct cairn_call *call)
{
    struct cairn_call_batch *b = &call->batch;
    struct cairn_get_item *g;

    while (b->from < b->n && b->gets[b->from].status != CAIRN_STATUS_LARGE)
        b->from++;
    if (b->from == b->n) {
        cairn__call_finish(call, b->rc);
        return;
    }
    g = &b->gets[b->from];
    call->sink = (struct cairn_call_sink){
        .buf = g->value,
        .room = g->room,
        .whole = true,
        .over = mget_large_over,
        .range = batch_ns(call)->part_bytes,
        .restarted = call->sink.restarted /* this one, when it was replaced meanwhile */
    };
    call->uses_sink = true;
    cairn__hashed_get_request(call, batch_ns(call), g->key, g->key_len);
    cairn__call_send(call);
}

static void mget_answered(struct cairn_call *call)
{
    const Cairn__Wire__RouterMgetReply *r = (const Cairn__Wire__RouterMgetReply *)call->rpc.reply;
    struct cairn_call_batch *b = &call->batch;
    int rc = call->rpc.rc;

    if (rc == 0)
        rc = cairn__batch_lengths(call, r->lengths, r->n_lengths, r->crcs, r->n_crcs);
    if (rc != 0) {
        cairn__batch_give_up(call, rc);
        cairn__call_finish(call, rc);
        return;
    }
    if (b->from == b->n && b->nlarge == 0) {
        cairn__call_finish(call, 0);
        return;
    }
    if (b->from == b->n) {
        b->from = 0;
        b->fetching_large = true;
        call->sink.restarted = false;
        call->next = mget_large_next;
        call->answered = mget_large_answered;
    }
    cairn__call_again(call);
}

static void mget_next(struct cairn_call *call)
{
    Cairn__Wire__RouterMget *m = &call->rq.mget;
    struct cairn_batch_page page;
    int rc = cairn__batch_page(call, &page);

    if (rc != 0) {
        cairn__call_fail_later(call, rc);
        return;
    }
    cairn__wire__router_mget__init(m);
    m->ns = batch_ns(call)->name;
    m->ns_id = batch_ns(call)->id;
    m->n_keys = page.n;
    m->keys = page.keys;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET);
    cairn__call_send(call);
}

static int mget(struct cairn_ns *ns, struct cairn_get_item *items, size_t n, const struct cairn_call_options *o,
                cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__batch_check_gets(o, items, n);

    if (rc == 0 && ns->slots > 0)
        return cairn__spread_mget(ns, items, n, o, done, arg);
    if (rc == 0)
        rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->batch = (struct cairn_call_batch){ .kind = CAIRN_BATCH_GET, .gets = items, .n = n };
    call->verify = (cairn__flags(o) & CAIRN_VERIFY) != 0;
    call->answered = mget_answered;
    return cairn__batch_go(call, mget_next, true);
}

int cairn_mget(struct cairn_ns *ns, struct cairn_get_item *items, size_t n, const struct cairn_call_options *o)
{
    return mget(ns, items, n, o, NULL, NULL);
}

int cairn_mget_async(struct cairn_ns *ns, struct cairn_get_item *items, size_t n, const struct cairn_call_options *o,
                     cairn_done_fn *done, void *arg)
{
    return done != NULL ? mget(ns, items, n, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- list ---- */

int cairn__key_cmp(const void *a, size_t an, const void *b, size_t bn)
{
    int d = MIN(an, bn) > 0 ? memcmp(a, b, MIN(an, bn)) : 0;

    return d != 0 ? d : (an > bn) - (an < bn);
}

bool cairn__list_is_wellformed(const Cairn__Wire__RouterList *m, const Cairn__Wire__RouterListReply *r)
{
    const ProtobufCBinaryData *last = &m->after;

    if (r->n_lengths != r->n_keys || (m->max != 0 && r->n_keys > m->max))
        return false;
    for (size_t i = 0; i < r->n_keys; i++) {
        const ProtobufCBinaryData *key = &r->keys[i];

        if (key->len == 0 || key->len > CAIRN_KEY_BYTES_MAX || key->len < m->prefix.len ||
            cairn__key_cmp(key->data, m->prefix.len, m->prefix.data, m->prefix.len) != 0 ||
            cairn__key_cmp(key->data, key->len, last->data, last->len) <= 0)
            return false;
        last = key;
    }
    return true;
}

static void list_answered(struct cairn_call *call)
{
    const Cairn__Wire__RouterListReply *r = (const Cairn__Wire__RouterListReply *)call->rpc.reply;
    struct cairn_page *page;

    if (!cairn__list_is_wellformed(&call->rq.list, r) || (r->more && r->n_keys == 0)) {
        cairn__call_fail(call, CAIRN_E_PROTO, "the reply is malformed: %zu keys, %zu lengths, or not those asked for",
                         r->n_keys, r->n_lengths);
        return;
    }
    page = cairn__page_new(r->keys, r->n_keys, NULL, false, NULL, r->lengths, r->more);
    if (page != NULL)
        *(struct cairn_page **)call->out = page;
    cairn__call_finish(call, page != NULL ? 0 : CAIRN_E_NOMEM);
}

int cairn__hashed_list(struct cairn_ns *ns, ProtobufCBinaryData prefix, ProtobufCBinaryData after, uint32_t max,
                       struct cairn_page **page, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    Cairn__Wire__RouterList *m;
    struct cairn_call *call;
    int rc = 0;

    if (prefix.len > CAIRN_KEY_BYTES_MAX || after.len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, MAX(prefix.len, after.len));
    if (ns->slots > 0)
        return cairn__spread_list(ns, prefix, after, max, page, o, done, arg);
    rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    m = &call->rq.list;
    cairn__wire__router_list__init(m);
    m->ns = ns->name;
    m->ns_id = ns->id;
    m->prefix = prefix;
    m->after = after;
    m->max = MIN(max, (uint32_t)CAIRN_BATCH_MAX);
    m->lengths = true;
    call->out = page;
    call->answered = list_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST);
    return cairn__call_go(call);
}

int cairn_list(struct cairn_ns *ns, const void *prefix, size_t prefix_len, const void *after, size_t after_len,
               uint32_t max, struct cairn_page **page, const struct cairn_call_options *o)
{
    return cairn__hashed_list(ns, cairn__bytes(prefix, prefix_len), cairn__bytes(after, after_len), max, page, o, NULL,
                              NULL);
}

int cairn_list_async(struct cairn_ns *ns, const void *prefix, size_t prefix_len, const void *after, size_t after_len,
                     uint32_t max, struct cairn_page **page, const struct cairn_call_options *o, cairn_done_fn *done,
                     void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return cairn__hashed_list(ns, cairn__bytes(prefix, prefix_len), cairn__bytes(after, after_len), max, page, o, done,
                              arg);
}
