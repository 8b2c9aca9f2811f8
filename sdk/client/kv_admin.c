/* Databases of a KV provider: open, drop, list them; list and measure one. */
#include "sdk/client/kv_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- open ---- */

static void opened(struct cairn_call *call)
{
    const Cairn__Wire__KvOpened *r = (const Cairn__Wire__KvOpened *)call->rpc.reply;
    struct cairn_kv *kv = malloc(sizeof(*kv));

    if (kv == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    cairn__handle_init(&kv->h, call->c, call->rpc.provider);
    kv->db = r->db;
    *(struct cairn_kv **)call->out = kv;
    cairn__call_finish(call, 0);
}

static void open_found(struct cairn_call *call, uint16_t provider)
{
    const struct cairn_kv_options *ko = &call->kv_options;
    Cairn__Wire__KvOpen *m = &call->rq.kv_open;

    cairn__wire__kv_open__init(m);
    m->name = (char *)(uintptr_t)call->find.second;
    m->create = ko->create;
    m->exclusive = ko->exclusive;
    m->write_once = ko->write_once;
    m->order =
        ko->order == CAIRN_KV_ORDER_UINT ? CAIRN__WIRE__KV_ORDER__KV_ORDER_UINT : CAIRN__WIRE__KV_ORDER__KV_ORDER_BYTES;
    call->answered = opened;
    cairn__call_to(call, &cairn_iface_kv, provider, KV_METHOD(OPEN));
    cairn__call_again(call);
}

static int kv_open(struct cairn *c, const char *provider, const char *name, const struct cairn_kv_options *ko,
                   struct cairn_kv **out, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__refuse_name(o, "database", name);

    if (rc == 0 && ko != NULL && !CAIRN_REACHES(ko, order))
        rc = cairn__refuse(o, CAIRN_E_INVAL, "kv_options: start from CAIRN_KV_OPTIONS_INIT");
    if (rc == 0)
        rc = cairn__find_new(c, provider, "kv", name, open_found, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->kv_options = (struct cairn_kv_options){ 0 };
    if (ko != NULL)
        CAIRN_TAKE(&call->kv_options, ko);
    call->out = out;
    return cairn__call_go(call);
}

int cairn_kv_open(struct cairn *c, const char *provider, const char *name, const struct cairn_kv_options *kv_options,
                  struct cairn_kv **out, const struct cairn_call_options *o)
{
    return kv_open(c, provider, name, kv_options, out, o, NULL, NULL);
}

int cairn_kv_open_async(struct cairn *c, const char *provider, const char *name,
                        const struct cairn_kv_options *kv_options, struct cairn_kv **out,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? kv_open(c, provider, name, kv_options, out, o, done, arg) : CAIRN_E_INVAL;
}

void cairn_kv_close(struct cairn_kv *kv)
{
    if (kv != NULL)
        cairn__handle_put(&kv->h);
}

/* ---- drop ---- */

static void drop_found(struct cairn_call *call, uint16_t provider)
{
    cairn__wire__kv_drop__init(&call->rq.kv_drop);
    call->rq.kv_drop.name = (char *)(uintptr_t)call->find.second;
    call->answered = cairn__answered_plainly;
    cairn__call_to(call, &cairn_iface_kv, provider, KV_METHOD(DROP));
    cairn__call_again(call);
}

static int kv_drop(struct cairn *c, const char *provider, const char *name, const struct cairn_call_options *o,
                   cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__refuse_name(o, "database", name);

    if (rc == 0)
        rc = cairn__find_new(c, provider, "kv", name, drop_found, o, done, arg, &call);
    return rc == 0 ? cairn__call_go(call) : rc;
}

int cairn_kv_drop(struct cairn *c, const char *provider, const char *name, const struct cairn_call_options *o)
{
    return kv_drop(c, provider, name, o, NULL, NULL);
}

int cairn_kv_drop_async(struct cairn *c, const char *provider, const char *name, const struct cairn_call_options *o,
                        cairn_done_fn *done, void *arg)
{
    return done != NULL ? kv_drop(c, provider, name, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- databases ---- */

static void databases_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvDatabases *r = (const Cairn__Wire__KvDatabases *)call->rpc.reply;
    struct cairn_kv_databases *d;
    size_t bytes = 0;
    char *at;

    for (size_t i = 0; i < r->n_databases; i++)
        bytes += strlen(r->databases[i]->name) + 1;
    d = cairn__block_new(sizeof(*d) + r->n_databases * sizeof(*d->databases), bytes, &at);
    if (d == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    d->n = r->n_databases;
    d->databases = (struct cairn_kv_database *)(void *)(d + 1);
    for (size_t i = 0; i < d->n; i++) {
        const Cairn__Wire__KvDatabase *x = r->databases[i];

        d->databases[i].name = cairn__block_text(&at, x->name, strlen(x->name));
        d->databases[i].write_once = x->write_once;
        d->databases[i].order =
            x->order == CAIRN__WIRE__KV_ORDER__KV_ORDER_UINT ? CAIRN_KV_ORDER_UINT : CAIRN_KV_ORDER_BYTES;
    }
    *(struct cairn_kv_databases **)call->out = d;
    cairn__call_finish(call, 0);
}

static void databases_found(struct cairn_call *call, uint16_t provider)
{
    cairn__wire__empty__init(&call->rq.empty);
    call->answered = databases_answered;
    cairn__call_to(call, &cairn_iface_kv, provider, KV_METHOD(DATABASES));
    cairn__call_again(call);
}

static int kv_databases(struct cairn *c, const char *provider, struct cairn_kv_databases **out,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__find_new(c, provider, "kv", NULL, databases_found, o, done, arg, &call);

    if (rc != 0)
        return rc;
    call->out = out;
    return cairn__call_go(call);
}

int cairn_kv_databases(struct cairn *c, const char *provider, struct cairn_kv_databases **out,
                       const struct cairn_call_options *o)
{
    return kv_databases(c, provider, out, o, NULL, NULL);
}

int cairn_kv_databases_async(struct cairn *c, const char *provider, struct cairn_kv_databases **out,
                             const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? kv_databases(c, provider, out, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- list ---- */

static void list_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvListReply *r = (const Cairn__Wire__KvListReply *)call->rpc.reply;
    bool values = call->out_arg != 0;
    struct cairn_page *page;
    uint64_t sum = 0;

    for (size_t i = 0; i < r->n_lengths; i++)
        sum += r->lengths[i];
    if ((values && (r->n_lengths != r->n_keys || sum != call->rpc.reply_payload_len)) || (r->more && r->n_keys == 0)) {
        cairn__call_fail(call, CAIRN_E_PROTO, "the reply is malformed: %zu keys, %zu lengths", r->n_keys, r->n_lengths);
        return;
    }
    page =
        cairn__page_new(r->keys, r->n_keys, call->rpc.reply_payload, values, values ? r->lengths : NULL, NULL, r->more);
    if (page != NULL)
        *(struct cairn_page **)call->out = page;
    cairn__call_finish(call, page != NULL ? 0 : CAIRN_E_NOMEM);
}

static int kv_list(struct cairn_kv *kv, const struct cairn_kv_range *range, struct cairn_page **page,
                   const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    static const struct cairn_kv_range everything = CAIRN_KV_RANGE_INIT;
    const struct cairn_kv_range *r = range != NULL ? range : &everything;
    Cairn__Wire__KvList *m;
    struct cairn_call *call;
    int rc;

    if (!CAIRN_REACHES(r, reverse))
        return cairn__refuse(o, CAIRN_E_INVAL, "range: start from CAIRN_KV_RANGE_INIT");
    if (r->prefix_len > CAIRN_KEY_BYTES_MAX || r->from_len > CAIRN_KEY_BYTES_MAX || r->to_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse(o, CAIRN_E_INVAL, "a bound of the range is longer than any key");
    rc = cairn__call_new(kv->h.c, &kv->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    m = &call->rq.kv_list;
    cairn__wire__kv_list__init(m);
    m->db = kv->db;
    m->prefix = cairn__bytes(r->prefix, r->prefix_len);
    m->from = cairn__bytes(r->from, r->from_len);
    m->to = cairn__bytes(r->to, r->to_len);
    m->after = r->after;
    m->max = MIN(r->max, (uint32_t)CAIRN_BATCH_MAX);
    m->values = r->values;
    m->reverse = r->reverse;
    call->out = page;
    call->out_arg = r->values;
    call->answered = list_answered;
    cairn__call_to(call, &cairn_iface_kv, kv->h.provider, KV_METHOD(LIST));
    return cairn__call_go(call);
}

int cairn_kv_list(struct cairn_kv *kv, const struct cairn_kv_range *range, struct cairn_page **page,
                  const struct cairn_call_options *o)
{
    return kv_list(kv, range, page, o, NULL, NULL);
}

int cairn_kv_list_async(struct cairn_kv *kv, const struct cairn_kv_range *range, struct cairn_page **page,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? kv_list(kv, range, page, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- stat ---- */

static void stat_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvStatReply *r = (const Cairn__Wire__KvStatReply *)call->rpc.reply;
    struct cairn_kv_stat *s = call->out;

    snprintf(s->name, sizeof(s->name), "%s", r->name);
    snprintf(s->backend, sizeof(s->backend), "%s", r->backend);
    s->keys = r->keys;
    s->bytes = r->bytes;
    s->keys_exact = r->keys_exact;
    cairn__call_finish(call, 0);
}

static int kv_stat(struct cairn_kv *kv, struct cairn_kv_stat *stat, const struct cairn_call_options *o,
                   cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc;

    if (!CAIRN_REACHES(stat, keys_exact))
        return cairn__refuse(o, CAIRN_E_INVAL, "stat: start from CAIRN_KV_STAT_INIT");
    rc = cairn__call_new(kv->h.c, &kv->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    cairn__wire__kv_stat__init(&call->rq.kv_stat);
    call->rq.kv_stat.db = kv->db;
    call->out = stat;
    call->answered = stat_answered;
    cairn__call_to(call, &cairn_iface_kv, kv->h.provider, KV_METHOD(STAT));
    return cairn__call_go(call);
}

int cairn_kv_stat(struct cairn_kv *kv, struct cairn_kv_stat *stat, const struct cairn_call_options *o)
{
    return kv_stat(kv, stat, o, NULL, NULL);
}

int cairn_kv_stat_async(struct cairn_kv *kv, struct cairn_kv_stat *stat, const struct cairn_call_options *o,
                        cairn_done_fn *done, void *arg)
{
    return done != NULL ? kv_stat(kv, stat, o, done, arg) : CAIRN_E_INVAL;
}
