/* Batches of KV databases. */
#include "sdk/client/kv_internal.h"

static struct cairn_kv *batch_kv(struct cairn_call *call)
{
    return CONTAINER_OF(call->handle, struct cairn_kv, h);
}

/* A page has been dealt with, or @rc says why not. */
static void batch_go_on(struct cairn_call *call, int rc)
{
    if (rc != 0) {
        cairn__batch_give_up(call, rc);
        cairn__call_finish(call, rc);
    } else if (call->batch.from < call->batch.n) {
        cairn__call_again(call);
    } else {
        cairn__call_finish(call, call->batch.rc);
    }
}

static void statuses_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvStatuses *r = (const Cairn__Wire__KvStatuses *)call->rpc.reply;

    batch_go_on(call, call->rpc.rc != 0 ? call->rpc.rc : cairn__batch_statuses(call, r->status, r->n_status));
}

static void lengths_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvMgetReply *r = (const Cairn__Wire__KvMgetReply *)call->rpc.reply;

    batch_go_on(call, call->rpc.rc != 0 ? call->rpc.rc : cairn__batch_lengths(call, r->lengths, r->n_lengths, NULL, 0));
}

static void mput_next(struct cairn_call *call)
{
    Cairn__Wire__KvMput *m = &call->rq.kv_mput;
    struct cairn_batch_page page;
    int rc = cairn__batch_page(call, &page);

    if (rc != 0) {
        cairn__call_fail_later(call, rc);
        return;
    }
    cairn__wire__kv_mput__init(m);
    m->db = batch_kv(call)->db;
    m->n_keys = m->n_lengths = page.n;
    m->keys = page.keys;
    m->lengths = page.lengths;
    m->durability = (Cairn__Wire__Durability)(call->out_arg & 0xff);
    m->if_absent = call->out_arg >> 8 != 0;
    cairn__call_send(call);
}

static int mput(struct cairn_kv *kv, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__batch_check_puts(o, items, n, CAIRN_KV_VALUE_BYTES_MAX);

    if (rc == 0)
        rc = cairn__call_new(kv->h.c, &kv->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->batch = (struct cairn_call_batch){ .kind = CAIRN_BATCH_PUT, .puts = items, .n = n, .value_max = SIZE_MAX };
    call->out_arg = (uint64_t)cairn__durability_to_wire(o != NULL ? o->durability : CAIRN_DURABILITY_DEFAULT);
    call->out_arg |= (cairn__flags(o) & CAIRN_IF_ABSENT) != 0 ? 1 << 8 : 0;
    call->answered = statuses_answered;
    cairn__call_to(call, &cairn_iface_kv, kv->h.provider, KV_METHOD(MPUT));
    return cairn__batch_go(call, mput_next, true);
}

static void keys_next(struct cairn_call *call)
{
    Cairn__Wire__KvMget *m = &call->rq.kv_mget;
    struct cairn_batch_page page;
    int rc = cairn__batch_page(call, &page);

    if (rc != 0) {
        cairn__call_fail_later(call, rc);
        return;
    }
    cairn__wire__kv_mget__init(m);
    m->db = batch_kv(call)->db;
    m->n_keys = page.n;
    m->keys = page.keys;
    m->durability = (Cairn__Wire__Durability)(call->out_arg & 0xff);
    cairn__call_send(call);
}

static int ask_keys(struct cairn_kv *kv, enum cairn_batch_kind kind, struct cairn_get_item *items, size_t n,
                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    static const uint16_t methods[] = { [CAIRN_BATCH_GET] = KV_METHOD(MGET),
                                        [CAIRN_BATCH_LENGTH] = KV_METHOD(MLENGTH),
                                        [CAIRN_BATCH_EXISTS] = KV_METHOD(MEXISTS),
                                        [CAIRN_BATCH_ERASE] = KV_METHOD(MERASE) };
    struct cairn_call *call;
    int rc = cairn__batch_check_gets(o, items, n);

    if (rc == 0)
        rc = cairn__call_new(kv->h.c, &kv->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->batch = (struct cairn_call_batch){ .kind = kind, .gets = items, .n = n };
    call->out_arg = (uint64_t)cairn__durability_to_wire(o != NULL ? o->durability : CAIRN_DURABILITY_DEFAULT);
    call->answered = kind == CAIRN_BATCH_ERASE ? statuses_answered : lengths_answered;
    cairn__call_to(call, &cairn_iface_kv, kv->h.provider, methods[kind]);
    return cairn__batch_go(call, keys_next, true);
}

int cairn_kv_mput(struct cairn_kv *kv, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o)
{
    return mput(kv, items, n, o, NULL, NULL);
}

int cairn_kv_mput_async(struct cairn_kv *kv, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                        cairn_done_fn *done, void *arg)
{
    return done != NULL ? mput(kv, items, n, o, done, arg) : CAIRN_E_INVAL;
}

#define KEYS_CALL(name, kind)                                                                                          \
    int cairn_kv_##name(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,                                   \
                        const struct cairn_call_options *o)                                                            \
    {                                                                                                                  \
        return ask_keys(kv, kind, items, n, o, NULL, NULL);                                                            \
    }                                                                                                                  \
    int cairn_kv_##name##_async(struct cairn_kv *kv, struct cairn_get_item *items, size_t n,                           \
                                const struct cairn_call_options *o, cairn_done_fn *done, void *arg)                    \
    {                                                                                                                  \
        return done != NULL ? ask_keys(kv, kind, items, n, o, done, arg) : CAIRN_E_INVAL;                              \
    }

KEYS_CALL(mget, CAIRN_BATCH_GET)
KEYS_CALL(mlength, CAIRN_BATCH_LENGTH)
KEYS_CALL(mexists, CAIRN_BATCH_EXISTS)
KEYS_CALL(merase, CAIRN_BATCH_ERASE)
