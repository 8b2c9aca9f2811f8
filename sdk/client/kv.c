/* KV databases, one key at a time: see cairn/kv.h. Opening and listing: kv_admin.c, batches: kv_batch.c. */
#include "sdk/client/kv_internal.h"

#include <string.h>

static int kv_call_new(struct cairn_kv *kv, size_t key_len, const struct cairn_call_options *o, cairn_done_fn *done,
                       void *arg, struct cairn_call **out)
{
    if (key_len == 0 || key_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, key_len);
    return cairn__call_new(kv->h.c, &kv->h, o, done, arg, out);
}

/* ---- put and erase, with or without what was there ---- */

/* The old value, if there was one, is the payload. */
static void old_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvPutReply *r = (const Cairn__Wire__KvPutReply *)call->rpc.reply;
    struct cairn_call_sink *s = &call->sink;

    if (call->out != NULL)
        *(bool *)call->out = r->replaced;
    if (s->len == NULL) {
        cairn__call_finish(call, 0);
    } else if (!r->replaced) {
        *s->len = 0;
        cairn__call_finish(call, 0);
    } else {
        cairn__sink_take_payload(call);
    }
}

static void take_answered(struct cairn_call *call)
{
    if (((const Cairn__Wire__KvPutReply *)call->rpc.reply)->replaced)
        cairn__sink_take_payload(call);
    else
        cairn__call_fail(call, CAIRN_E_NOTFOUND, "there is no such key");
}

static int put(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len,
               const struct cairn_call_sink *old, bool *replaced, const struct cairn_call_options *o,
               cairn_done_fn *done, void *arg)
{
    Cairn__Wire__KvPut *m;
    struct cairn_call *call;
    int rc;

    if (len > CAIRN_KV_VALUE_BYTES_MAX)
        return cairn__refuse(o, CAIRN_E_TOOBIG, "a value has at most %d bytes here, not %zu", CAIRN_KV_VALUE_BYTES_MAX,
                             len);
    rc = kv_call_new(kv, key_len, o, done, arg, &call);
    if (rc != 0)
        return rc;
    m = &call->rq.kv_put;
    cairn__wire__kv_put__init(m);
    m->db = kv->db;
    m->key = cairn__bytes(key, key_len);
    if (o != NULL) {
        m->durability = cairn__durability_to_wire(o->durability);
        m->if_absent = (o->flags & CAIRN_IF_ABSENT) != 0;
    }
    if (len > 0) {
        call->rpc.payload[0] = (struct iovec){ (void *)(uintptr_t)value, len };
        call->rpc.payload_n = 1;
    }
    call->answered = cairn__answered_plainly;
    if (old != NULL) {
        m->want_old = true;
        call->sink = *old;
        call->uses_sink = true;
        call->out = replaced;
        call->answered = old_answered;
    }
    cairn__call_to(call, &cairn_iface_kv, kv->h.provider, KV_METHOD(PUT));
    return cairn__call_go(call);
}

static int erase(struct cairn_kv *kv, const void *key, size_t key_len, const struct cairn_call_sink *old,
                 const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    Cairn__Wire__KvErase *m;
    struct cairn_call *call;
    int rc = kv_call_new(kv, key_len, o, done, arg, &call);

    if (rc != 0)
        return rc;
    m = &call->rq.kv_erase;
    cairn__wire__kv_erase__init(m);
    m->db = kv->db;
    m->key = cairn__bytes(key, key_len);
    if (o != NULL)
        m->durability = cairn__durability_to_wire(o->durability);
    call->answered = cairn__answered_plainly;
    if (old != NULL) {
        m->want_old = true;
        call->sink = *old;
        call->uses_sink = true;
        call->answered = take_answered;
    }
    cairn__call_to(call, &cairn_iface_kv, kv->h.provider, KV_METHOD(ERASE));
    return cairn__call_go(call);
}

int cairn_kv_put(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len,
                 const struct cairn_call_options *o)
{
    return put(kv, key, key_len, value, len, NULL, NULL, o, NULL, NULL);
}

int cairn_kv_put_async(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len,
                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? put(kv, key, key_len, value, len, NULL, NULL, o, done, arg) : CAIRN_E_INVAL;
}

int cairn_kv_exchange(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len, void *old,
                      size_t old_room, size_t *old_len, bool *replaced, const struct cairn_call_options *o)
{
    struct cairn_call_sink s = { .buf = old, .room = old_room, .len = old_len, .whole = true };

    return put(kv, key, key_len, value, len, &s, replaced, o, NULL, NULL);
}

int cairn_kv_exchange_async(struct cairn_kv *kv, const void *key, size_t key_len, const void *value, size_t len,
                            void *old, size_t old_room, size_t *old_len, bool *replaced,
                            const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink s = { .buf = old, .room = old_room, .len = old_len, .whole = true };

    return done != NULL ? put(kv, key, key_len, value, len, &s, replaced, o, done, arg) : CAIRN_E_INVAL;
}

int cairn_kv_erase(struct cairn_kv *kv, const void *key, size_t key_len, const struct cairn_call_options *o)
{
    return erase(kv, key, key_len, NULL, o, NULL, NULL);
}

int cairn_kv_erase_async(struct cairn_kv *kv, const void *key, size_t key_len, const struct cairn_call_options *o,
                         cairn_done_fn *done, void *arg)
{
    return done != NULL ? erase(kv, key, key_len, NULL, o, done, arg) : CAIRN_E_INVAL;
}

int cairn_kv_take(struct cairn_kv *kv, const void *key, size_t key_len, void *old, size_t old_room, size_t *old_len,
                  const struct cairn_call_options *o)
{
    struct cairn_call_sink s = { .buf = old, .room = old_room, .len = old_len, .whole = true };

    return erase(kv, key, key_len, &s, o, NULL, NULL);
}

int cairn_kv_take_async(struct cairn_kv *kv, const void *key, size_t key_len, void *old, size_t old_room,
                        size_t *old_len, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink s = { .buf = old, .room = old_room, .len = old_len, .whole = true };

    return done != NULL ? erase(kv, key, key_len, &s, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- reads ---- */

static int ask_key(struct cairn_kv *kv, const void *key, size_t key_len, uint16_t method,
                   const struct cairn_call_sink *sink, void *out, void (*answered)(struct cairn_call *call),
                   const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = kv_call_new(kv, key_len, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__kv_get__init(&call->rq.kv_get);
    call->rq.kv_get.db = kv->db;
    call->rq.kv_get.key = cairn__bytes(key, key_len);
    if (sink != NULL) {
        call->sink = *sink;
        call->uses_sink = true;
    }
    call->out = out;
    call->answered = answered;
    cairn__call_to(call, &cairn_iface_kv, kv->h.provider, method);
    return cairn__call_go(call);
}

static void length_answered(struct cairn_call *call)
{
    *(uint64_t *)call->out = ((const Cairn__Wire__KvLength *)call->rpc.reply)->length;
    cairn__call_finish(call, 0);
}

static void exists_answered(struct cairn_call *call)
{
    *(bool *)call->out = ((const Cairn__Wire__KvExists *)call->rpc.reply)->exists;
    cairn__call_finish(call, 0);
}

int cairn_kv_get(struct cairn_kv *kv, const void *key, size_t key_len, void *buf, size_t room, size_t *len,
                 const struct cairn_call_options *o)
{
    struct cairn_call_sink s = { .buf = buf, .room = room, .len = len, .whole = true };

    return ask_key(kv, key, key_len, KV_METHOD(GET), &s, NULL, cairn__sink_take_payload, o, NULL, NULL);
}

int cairn_kv_get_async(struct cairn_kv *kv, const void *key, size_t key_len, void *buf, size_t room, size_t *len,
                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink s = { .buf = buf, .room = room, .len = len, .whole = true };

    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask_key(kv, key, key_len, KV_METHOD(GET), &s, NULL, cairn__sink_take_payload, o, done, arg);
}

int cairn_kv_get_alloc(struct cairn_kv *kv, const void *key, size_t key_len, void **value, size_t *len,
                       const struct cairn_call_options *o)
{
    struct cairn_call_sink s = { .alloc = value, .len = len, .whole = true, .probing = true };

    return ask_key(kv, key, key_len, KV_METHOD(GET), &s, NULL, cairn__sink_take_payload, o, NULL, NULL);
}

int cairn_kv_get_alloc_async(struct cairn_kv *kv, const void *key, size_t key_len, void **value, size_t *len,
                             const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink s = { .alloc = value, .len = len, .whole = true, .probing = true };

    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask_key(kv, key, key_len, KV_METHOD(GET), &s, NULL, cairn__sink_take_payload, o, done, arg);
}

int cairn_kv_length(struct cairn_kv *kv, const void *key, size_t key_len, uint64_t *len,
                    const struct cairn_call_options *o)
{
    return ask_key(kv, key, key_len, KV_METHOD(LENGTH), NULL, len, length_answered, o, NULL, NULL);
}

int cairn_kv_length_async(struct cairn_kv *kv, const void *key, size_t key_len, uint64_t *len,
                          const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask_key(kv, key, key_len, KV_METHOD(LENGTH), NULL, len, length_answered, o, done, arg);
}

int cairn_kv_exists(struct cairn_kv *kv, const void *key, size_t key_len, bool *exists,
                    const struct cairn_call_options *o)
{
    return ask_key(kv, key, key_len, KV_METHOD(EXISTS), NULL, exists, exists_answered, o, NULL, NULL);
}

int cairn_kv_exists_async(struct cairn_kv *kv, const void *key, size_t key_len, bool *exists,
                          const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask_key(kv, key, key_len, KV_METHOD(EXISTS), NULL, exists, exists_answered, o, done, arg);
}
