/* Hashed namespaces, one key at a time: see cairn/hashed.h. Batches: hashed_batch.c. */
#include "sdk/client/hashed_internal.h"

#include <stdlib.h>
#include <string.h>

#define ROUTER(method) &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_##method

/* ---- opening ---- */

static void ns_open_answered(struct cairn_call *call)
{
    const Cairn__Wire__Namespace *r = (const Cairn__Wire__Namespace *)call->rpc.reply;
    size_t len = strlen(call->text) + 1;
    struct cairn_ns *ns;

    if (r->frontend != CAIRN__WIRE__FRONTEND__FRONTEND_HASHED) {
        cairn__call_fail(call, CAIRN_E_UNSUPPORTED, "namespace %s is of another type", call->text);
        return;
    }
    if ((r->slots & (r->slots - 1)) != 0 || (r->slots > 0 && r->slots < 1U << CAIRN_SLOT_BITS_MIN) ||
        r->slots > 1U << CAIRN_SLOT_BITS_MAX) {
        cairn__call_fail(call, CAIRN_E_PROTO, "namespace %s cannot have %u slots", call->text, r->slots);
        return;
    }
    ns = malloc(sizeof(*ns) + len);
    if (ns == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    cairn__handle_init(&ns->h, call->c, CAIRN_PROVIDER_ROUTER);
    ns->id = r->id;
    ns->embed_threshold = r->embed_threshold;
    ns->part_bytes = r->part_bytes != 0 ? r->part_bytes : CAIRN_PART_BYTES;
    ns->slots = r->slots;
    ns->first_slot = r->first_slot;
    ns->slot_bits = r->slots > 0 ? (uint32_t)__builtin_ctz(r->slots) : 0;
    ns->write_once = r->write_once;
    memcpy(ns->name, call->text, len);
    *(struct cairn_ns **)call->out = ns;
    cairn__call_finish(call, 0);
}

static int ns_open(struct cairn *c, const char *name, struct cairn_ns **out, const struct cairn_call_options *o,
                   cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__refuse_name(o, "namespace", name);

    if (rc == 0)
        rc = cairn__call_new(c, NULL, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->text = strdup(name);
    if (call->text == NULL)
        return cairn__call_drop(call, o, CAIRN_E_NOMEM);
    cairn__wire__ns_name__init(&call->rq.ns_name);
    call->rq.ns_name.name = call->text;
    call->out = out;
    call->answered = ns_open_answered;
    cairn__call_to(call, ROUTER(NS_SHOW));
    return cairn__call_go(call);
}

int cairn_ns_open(struct cairn *c, const char *name, struct cairn_ns **out, const struct cairn_call_options *o)
{
    return ns_open(c, name, out, o, NULL, NULL);
}

int cairn_ns_open_async(struct cairn *c, const char *name, struct cairn_ns **out, const struct cairn_call_options *o,
                        cairn_done_fn *done, void *arg)
{
    return done != NULL ? ns_open(c, name, out, o, done, arg) : CAIRN_E_INVAL;
}

void cairn_ns_close(struct cairn_ns *ns)
{
    if (ns != NULL)
        cairn__handle_put(&ns->h);
}

void cairn__hashed_route(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len,
                         Cairn__Wire__RouterRid **rid_field, protobuf_c_boolean *replica_field)
{
    if (ns->slots > 0)
        cairn__route_to(call, cairn__hashed_slot(ns, key, key_len), rid_field, ns->write_once,
                        ns->write_once ? replica_field : NULL);
}

/* ---- put ---- */

void cairn__answered_plainly(struct cairn_call *call)
{
    cairn__call_finish(call, 0);
}

void cairn__hashed_put_request(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len,
                               const void *value, size_t len, bool if_absent)
{
    Cairn__Wire__RouterPut *m = &call->rq.put;

    cairn__wire__router_put__init(m);
    m->ns = (char *)(uintptr_t)ns->name;
    m->ns_id = ns->id;
    m->key = cairn__bytes(key, key_len);
    m->length = len;
    m->if_absent = if_absent;
    call->rpc.payload_n = 0;
    call->expose_len = 0;
    if (len > CAIRN_BULK_THRESHOLD_BYTES) {
        call->expose_ptr = (void *)(uintptr_t)value; /* read only: the rights say so */
        call->expose_len = len;
        call->expose_rights = CAIRN_BULK_CAN_READ;
        call->expose_field = &m->bulk;
    } else if (len > 0) {
        call->rpc.payload[0] = (struct iovec){ (void *)(uintptr_t)value, len };
        call->rpc.payload_n = 1;
    }
    cairn__call_to(call, ROUTER(PUT));
}

/* The request that was made is too large for one: it tells what the parts are of. */
static void put_large_next(struct cairn_call *call)
{
    const Cairn__Wire__RouterPut m = call->rq.put;
    uint64_t len = call->expose_len;
    int rc;

    call->expose_len = 0;
    rc = cairn__large_put(call, m.key.data, m.key.len, call->expose_ptr, len, m.if_absent, cairn__call_finish);
    if (rc != 0)
        cairn__call_fail_later(call, rc);
}

bool cairn__hashed_is_large(const struct cairn_ns *ns, uint64_t len)
{
    return len > MAX(ns->part_bytes, (uint64_t)ns->embed_threshold);
}

static int put(struct cairn_ns *ns, const void *key, size_t key_len, const void *value, size_t len,
               const struct cairn_call_options *o, cairn_done_fn *done, void *arg, struct cairn_call **inner)
{
    uint32_t inline_crcs[CLIENT_CRCS_INLINE], *crcs = NULL;
    struct cairn_call *call;
    size_t ncrcs = 0;
    int rc = 0;

    if (key_len == 0 || key_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, key_len);
    if (len > CAIRN_VALUE_BYTES_MAX || len / CAIRN_PARTS_MAX > ns->part_bytes)
        return cairn__refuse(o, CAIRN_E_TOOBIG, "a value has at most %llu bytes",
                             (unsigned long long)MIN(CAIRN_VALUE_BYTES_MAX, ns->part_bytes * CAIRN_PARTS_MAX));
    if (!cairn__hashed_is_large(ns, len))
        rc = cairn__crcs_new(value, len, inline_crcs, &crcs, &ncrcs);
    if (rc != 0)
        return cairn__refuse(o, rc, "no memory for checksums");
    rc = inner != NULL ? cairn__call_new_inner(ns->h.c, &ns->h, o, done, arg, &call)
                       : cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0) {
        if (crcs != inline_crcs)
            free(crcs);
        return rc;
    }
    cairn__hashed_put_request(call, ns, key, key_len, value, len, (cairn__flags(o) & CAIRN_IF_ABSENT) != 0);
    if (ncrcs > 0) {
        call->rq.put.crcs = cairn__crcs_give(call, inline_crcs, crcs, ncrcs);
        call->rq.put.n_crcs = ncrcs;
    }
    call->answered = cairn__answered_plainly;
    if (cairn__hashed_is_large(ns, len)) {
        call->has_steps = true;
        call->next = put_large_next;
    } else {
        cairn__hashed_route(call, ns, key, key_len, &call->rq.put.rid, NULL);
        if (len > CAIRN_KV_VALUE_BYTES_MAX / 2)
            call->route.try_ms = CAIRN__LARGE_TRY_MS;
    }
    if (inner != NULL)
        *inner = call; /* before it begins: it never ends inside */
    return cairn__call_go(call);
}

int cairn_put(struct cairn_ns *ns, const void *key, size_t key_len, const void *value, size_t len,
              const struct cairn_call_options *o)
{
    return put(ns, key, key_len, value, len, o, NULL, NULL, NULL);
}

int cairn__hashed_put_inner(struct cairn_ns *ns, const struct cairn_put_item *item, const struct cairn_call_options *o,
                            cairn_done_fn *done, void *arg, struct cairn_call **inner)
{
    return put(ns, item->key, item->key_len, item->value, item->value_len, o, done, arg, inner);
}

int cairn_put_async(struct cairn_ns *ns, const void *key, size_t key_len, const void *value, size_t len,
                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? put(ns, key, key_len, value, len, o, done, arg, NULL) : CAIRN_E_INVAL;
}

/* ---- get ---- */

void cairn__hashed_get_answered(struct cairn_call *call)
{
    const Cairn__Wire__RouterGetReply *r = (const Cairn__Wire__RouterGetReply *)call->rpc.reply;

    if (call->sink.stamp_want != 0 && r->stamp != call->sink.stamp_want) {
        cairn_err_set(&call->err, CAIRN_E_BUSY, "the value was replaced while it was read");
        cairn__sink_refuse(call, CAIRN_E_BUSY);
        return;
    }
    call->sink.stamp = r->stamp;
    cairn__sink_take(call, r->length, r->total, r->crcs, r->n_crcs);
}

void cairn__hashed_get_request(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len)
{
    Cairn__Wire__RouterGet *m = &call->rq.get;

    cairn__wire__router_get__init(m);
    m->ns = (char *)(uintptr_t)ns->name;
    m->ns_id = ns->id;
    m->key = cairn__bytes(key, key_len);
    m->off = call->sink.off;
    m->length = cairn__sink_room(call);
    m->verify = call->verify;
    call->expose_field = &m->bulk;
    cairn__call_to(call, ROUTER(GET));
}

static void get_next(struct cairn_call *call)
{
    Cairn__Wire__RouterGet *m = &call->rq.get;

    m->bulk = NULL;
    m->length = cairn__sink_room(call);
    m->verify = call->verify;
    cairn__call_send(call);
}

void cairn__hashed_get_go(struct cairn_call *call, const struct cairn_ns *ns, const void *key, size_t key_len)
{
    cairn__hashed_get_request(call, ns, key, key_len);
    call->next = get_next;
    call->answered = cairn__hashed_get_answered;
}

int cairn__hashed_get(struct cairn_ns *ns, const void *key, size_t key_len, const struct cairn_call_sink *sink,
                      const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc;

    if (key_len == 0 || key_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, key_len);
    rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->sink = *sink;
    call->sink.range = ns->part_bytes;
    call->uses_sink = true;
    call->verify = (cairn__flags(o) & CAIRN_VERIFY) != 0;
    /* Up to here one request and one answer are enough, unless the bytes do not match their checksums. */
    call->has_steps =
        sink->alloc != NULL || sink->room > ns->embed_threshold || sink->room > CAIRN_BULK_THRESHOLD_BYTES;
    cairn__hashed_get_go(call, ns, key, key_len);
    cairn__hashed_route(call, ns, key, key_len, NULL, &call->rq.get.replica);
    return cairn__call_go(call);
}

int cairn_get(struct cairn_ns *ns, const void *key, size_t key_len, void *buf, size_t room, size_t *len,
              const struct cairn_call_options *o)
{
    struct cairn_call_sink s = { .buf = buf, .room = room, .len = len, .whole = true };

    return cairn__hashed_get(ns, key, key_len, &s, o, NULL, NULL);
}

int cairn_get_async(struct cairn_ns *ns, const void *key, size_t key_len, void *buf, size_t room, size_t *len,
                    const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink s = { .buf = buf, .room = room, .len = len, .whole = true };

    return done != NULL ? cairn__hashed_get(ns, key, key_len, &s, o, done, arg) : CAIRN_E_INVAL;
}

int cairn_get_alloc(struct cairn_ns *ns, const void *key, size_t key_len, void **value, size_t *len,
                    const struct cairn_call_options *o)
{
    struct cairn_call_sink s = { .alloc = value, .len = len, .whole = true, .probing = true };

    return cairn__hashed_get(ns, key, key_len, &s, o, NULL, NULL);
}

int cairn_get_alloc_async(struct cairn_ns *ns, const void *key, size_t key_len, void **value, size_t *len,
                          const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink s = { .alloc = value, .len = len, .whole = true, .probing = true };

    return done != NULL ? cairn__hashed_get(ns, key, key_len, &s, o, done, arg) : CAIRN_E_INVAL;
}

int cairn_read(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t off, void *buf, size_t room, size_t *len,
               uint64_t *total, const struct cairn_call_options *o)
{
    struct cairn_call_sink s = { .buf = buf, .room = room, .off = off, .len = len, .total_out = total };

    return cairn__hashed_get(ns, key, key_len, &s, o, NULL, NULL);
}

int cairn_read_async(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t off, void *buf, size_t room,
                     size_t *len, uint64_t *total, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink s = { .buf = buf, .room = room, .off = off, .len = len, .total_out = total };

    return done != NULL ? cairn__hashed_get(ns, key, key_len, &s, o, done, arg) : CAIRN_E_INVAL;
}

int cairn__hashed_get_inner(struct cairn_ns *ns, struct cairn_get_item *item, const struct cairn_call_options *o,
                            cairn_done_fn *done, void *arg, struct cairn_call **inner)
{
    struct cairn_call *call;
    int rc = cairn__call_new_inner(ns->h.c, &ns->h, o, done, arg, &call);

    if (rc != 0)
        return rc;
    call->sink = (struct cairn_call_sink){
        .buf = item->value, .room = item->room, .len = &item->value_len, .whole = true, .range = ns->part_bytes
    };
    call->uses_sink = call->has_steps = true;
    call->verify = (cairn__flags(o) & CAIRN_VERIFY) != 0;
    cairn__hashed_get_go(call, ns, item->key, item->key_len);
    cairn__hashed_route(call, ns, item->key, item->key_len, NULL, &call->rq.get.replica);
    *inner = call;
    return cairn__call_go(call);
}

/* ---- exists, length, delete ---- */

static int ask_key(struct cairn_ns *ns, const void *key, size_t key_len, uint16_t method, void *out,
                   void (*answered)(struct cairn_call *call), const struct cairn_call_options *o, cairn_done_fn *done,
                   void *arg)
{
    struct cairn_call *call;
    int rc;

    if (key_len == 0 || key_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, key_len);
    rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    cairn__wire__router_key__init(&call->rq.key);
    call->rq.key.ns = ns->name;
    call->rq.key.ns_id = ns->id;
    call->rq.key.key = cairn__bytes(key, key_len);
    call->out = out;
    call->answered = answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, method);
    if (method == CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE)
        cairn__hashed_route(call, ns, key, key_len, &call->rq.key.rid, NULL);
    else
        cairn__hashed_route(call, ns, key, key_len, NULL, &call->rq.key.replica);
    return cairn__call_go(call);
}

static void exists_answered(struct cairn_call *call)
{
    *(bool *)call->out = ((const Cairn__Wire__RouterExists *)call->rpc.reply)->exists;
    cairn__call_finish(call, 0);
}

static void length_answered(struct cairn_call *call)
{
    *(uint64_t *)call->out = ((const Cairn__Wire__RouterLength *)call->rpc.reply)->length;
    cairn__call_finish(call, 0);
}

int cairn_exists(struct cairn_ns *ns, const void *key, size_t key_len, bool *exists, const struct cairn_call_options *o)
{
    return ask_key(ns, key, key_len, CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS, exists, exists_answered, o, NULL, NULL);
}

int cairn_exists_async(struct cairn_ns *ns, const void *key, size_t key_len, bool *exists,
                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask_key(ns, key, key_len, CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS, exists, exists_answered, o, done, arg);
}

int cairn_length(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t *len,
                 const struct cairn_call_options *o)
{
    return ask_key(ns, key, key_len, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH, len, length_answered, o, NULL, NULL);
}

int cairn_length_async(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t *len,
                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask_key(ns, key, key_len, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH, len, length_answered, o, done, arg);
}

int cairn_delete(struct cairn_ns *ns, const void *key, size_t key_len, const struct cairn_call_options *o)
{
    return ask_key(ns, key, key_len, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, NULL, cairn__answered_plainly, o, NULL,
                   NULL);
}

int cairn_delete_async(struct cairn_ns *ns, const void *key, size_t key_len, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg)
{
    if (done == NULL)
        return CAIRN_E_INVAL;
    return ask_key(ns, key, key_len, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, NULL, cairn__answered_plainly, o, done,
                   arg);
}

/* ---- where ---- */

static void where_answered(struct cairn_call *call)
{
    char *text = strdup(((const Cairn__Wire__RouterText *)call->rpc.reply)->json);

    if (text != NULL)
        *(char **)call->out = text;
    cairn__call_finish(call, text != NULL ? 0 : CAIRN_E_NOMEM);
}

/* Of the node that is there, and not of the key's, which may be gone. */
static int where(struct cairn_ns *ns, const void *key, size_t key_len, char **json, const struct cairn_call_options *o,
                 cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc;

    if (key_len == 0 || key_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, key_len);
    rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    cairn__wire__router_key__init(&call->rq.key);
    call->rq.key.ns = ns->name;
    call->rq.key.ns_id = ns->id;
    call->rq.key.key = cairn__bytes(key, key_len);
    call->out = json;
    call->answered = where_answered;
    cairn__call_to(call, ROUTER(WHERE));
    return cairn__call_go(call);
}

int cairn_where(struct cairn_ns *ns, const void *key, size_t key_len, char **json, const struct cairn_call_options *o)
{
    return where(ns, key, key_len, json, o, NULL, NULL);
}

int cairn_where_async(struct cairn_ns *ns, const void *key, size_t key_len, char **json,
                      const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? where(ns, key, key_len, json, o, done, arg) : CAIRN_E_INVAL;
}
