/* What a scripted node answers as a router: see scripted_node.h. */
#include "tests/lib/scripted_node_internal.h"

#include "cairn/limits.h"
#include "sdk/client/check.h"

#include "schema/router.pb-c.h"

#include <stdlib.h>
#include <string.h>

static struct scripted_value *lookup(struct scripted_node *n, ProtobufCBinaryData key)
{
    return scripted_values_get(&n->values, key.data, key.len);
}

static void store(struct scripted_node *n, ProtobufCBinaryData key, const uint8_t *bytes, size_t len)
{
    scripted_values_put(&n->values, key.data, key.len, bytes, len);
}

static uint8_t *copy_of(const void *p, size_t n)
{
    uint8_t *q = malloc(n + 1);

    if (n > 0)
        memcpy(q, p, n);
    return q;
}

static void ns_show(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__NsName *m = (const Cairn__Wire__NsName *)rq->msg;
    Cairn__Wire__Namespace r = CAIRN__WIRE__NAMESPACE__INIT;

    if (strcmp(m->name, "absent") == 0) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "no namespace %s", m->name);
        return;
    }
    r.name = m->name;
    r.embed_threshold = SCRIPTED_EMBED_THRESHOLD;
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
}

struct transfer {
    struct cairn_bulk_op op;
    struct cairn_rpc_req *rq;
    Cairn__Wire__RouterGetReply reply;
    uint32_t *crcs;
    uint8_t *bytes;
};

static bool crcs_match(const uint8_t *p, uint64_t len, const uint32_t *crcs, size_t n)
{
    struct cairn_check k;
    enum cairn_check_result r;

    if (n != cairn_check_parts(0, len))
        return false;
    cairn_check_start(&k, p, 0, len, crcs);
    while ((r = cairn_check_step(&k)) == CAIRN_CHECK_MORE)
        ;
    return r == CAIRN_CHECK_GOOD;
}

static void on_pulled(struct cairn_bulk_op *op, int rc)
{
    struct transfer *t = op->arg;
    const Cairn__Wire__RouterPut *m = (const Cairn__Wire__RouterPut *)t->rq->msg;

    if (rc == 0 && !crcs_match(t->bytes, m->length, m->crcs, m->n_crcs))
        rc = CAIRN_E_CORRUPT;
    if (rc == 0)
        store(scripted_node_of(t->rq), m->key, t->bytes, m->length);
    cairn_rpc_reply(t->rq, rc, NULL, NULL, 0);
    free(t->bytes);
    free(t);
}

static void router_put(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterPut *m = (const Cairn__Wire__RouterPut *)rq->msg;
    struct scripted_node *n = scripted_node_of(rq);
    struct transfer *t;

    atomic_fetch_add(&n->knobs.puts, 1);
    if (scripted_node_hold(rq))
        return;
    if (atomic_load(&n->knobs.fail) != 0) {
        cairn_rpc_reply_err(rq, atomic_load(&n->knobs.fail), "as told");
        return;
    }
    if (m->if_absent && lookup(n, m->key) != NULL) {
        cairn_rpc_reply(rq, CAIRN_E_EXISTS, NULL, NULL, 0);
        return;
    }
    if (m->bulk == NULL) {
        if (rq->payload_len != m->length ||
            (m->length > SCRIPTED_EMBED_THRESHOLD && !crcs_match(rq->payload, m->length, m->crcs, m->n_crcs))) {
            cairn_rpc_reply(rq, CAIRN_E_CORRUPT, NULL, NULL, 0);
            return;
        }
        store(n, m->key, rq->payload, rq->payload_len);
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
        return;
    }
    atomic_fetch_add(&n->knobs.bulk_puts, 1);
    t = calloc(1, sizeof(*t));
    t->rq = rq;
    t->bytes = malloc(m->length);
    t->op = (struct cairn_bulk_op){ .peer = rq->peer, .desc = *m->bulk, .local = t->bytes, .len = m->length };
    t->op.deadline_ns = rq->deadline_ns;
    t->op.done = on_pulled;
    t->op.arg = t;
    cairn_bulk_start(rq->rpc, &t->op);
}

static void on_pushed(struct cairn_bulk_op *op, int rc)
{
    struct transfer *t = op->arg;

    cairn_rpc_reply(t->rq, rc, &t->reply.base, NULL, 0);
    free(t->crcs);
    free(t->bytes);
    free(t);
}

/* Checksums of the parts of [off, off + len) as they lie in chunks. */
static uint32_t *part_crcs(const uint8_t *p, uint64_t off, uint64_t len, size_t *n)
{
    uint32_t *crcs = calloc(cairn_check_parts(off, len) + 1, sizeof(*crcs));
    size_t k = 0;

    while (len > 0) {
        uint64_t part = MIN(len, CAIRN_EXTENT_CHUNK_BYTES - off % CAIRN_EXTENT_CHUNK_BYTES);

        cairn_check_compute(p, part, &crcs[k++]);
        p += part;
        off += part;
        len -= part;
    }
    *n = k;
    return crcs;
}

static bool lies(struct scripted_node *n, enum scripted_lie lie)
{
    return atomic_load(&n->knobs.lie) == lie;
}

static void router_get(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterGet *m = (const Cairn__Wire__RouterGet *)rq->msg;
    struct scripted_node *n = scripted_node_of(rq);
    struct scripted_value *v = lookup(n, m->key);
    struct transfer *t;
    uint64_t len;

    atomic_fetch_add(&n->knobs.gets, 1);
    atomic_fetch_add(&n->knobs.verified_gets, m->verify);
    if (scripted_node_hold(rq))
        return;
    if (v == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "no such key");
        return;
    }
    t = calloc(1, sizeof(*t));
    t->rq = rq;
    cairn__wire__router_get_reply__init(&t->reply);
    len = v->len - MIN(m->off, (uint64_t)v->len);
    if (m->length != 0)
        len = MIN(len, m->length);
    t->reply.total = v->len;
    if (lies(n, SCRIPTED_SHORT_RANGES) && m->off > 0) {
        len /= 2;
        t->reply.total = m->off + len;
    }
    t->bytes = copy_of(v->bytes + MIN(m->off, (uint64_t)v->len), len);
    t->reply.length = len;
    t->reply.stamp = lies(n, SCRIPTED_NO_STAMP) ? 0 : 1;
    if (v->len > SCRIPTED_EMBED_THRESHOLD)
        t->reply.crcs = t->crcs = part_crcs(t->bytes, m->off, len, &t->reply.n_crcs);
    if (len > 0 && scripted_countdown(&n->knobs.corrupt_reads))
        t->bytes[len / 2] ^= 4;
    if (m->bulk == NULL || len <= CAIRN_BULK_THRESHOLD_BYTES) {
        struct iovec p = { t->bytes, len };

        cairn_rpc_reply(rq, 0, &t->reply.base, &p, 1);
        free(t->crcs);
        free(t->bytes);
        free(t);
        return;
    }
    atomic_fetch_add(&n->knobs.bulk_gets, 1);
    t->reply.by_bulk = true;
    t->op = (struct cairn_bulk_op){ .peer = rq->peer, .desc = *m->bulk, .local = t->bytes, .len = len, .push = true };
    t->op.deadline_ns = rq->deadline_ns;
    t->op.done = on_pushed;
    t->op.arg = t;
    cairn_bulk_start(rq->rpc, &t->op);
}

static void router_exists(struct cairn_rpc_req *rq)
{
    Cairn__Wire__RouterExists r = CAIRN__WIRE__ROUTER_EXISTS__INIT;

    r.exists = lookup(scripted_node_of(rq), ((const Cairn__Wire__RouterKey *)rq->msg)->key) != NULL;
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
}

static void router_length(struct cairn_rpc_req *rq)
{
    Cairn__Wire__RouterLength r = CAIRN__WIRE__ROUTER_LENGTH__INIT;
    struct scripted_value *v = lookup(scripted_node_of(rq), ((const Cairn__Wire__RouterKey *)rq->msg)->key);

    r.length = v != NULL ? v->len : 0;
    cairn_rpc_reply(rq, v != NULL ? 0 : CAIRN_E_NOTFOUND, v != NULL ? &r.base : NULL, NULL, 0);
}

static void router_delete(struct cairn_rpc_req *rq)
{
    struct scripted_value *v = lookup(scripted_node_of(rq), ((const Cairn__Wire__RouterKey *)rq->msg)->key);

    if (v == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
        return;
    }
    scripted_value_drop(v);
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static void router_mput(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMput *m = (const Cairn__Wire__RouterMput *)rq->msg;
    Cairn__Wire__KvStatuses r = CAIRN__WIRE__KV_STATUSES__INIT;
    int32_t *status = calloc(m->n_keys, sizeof(*status));
    const uint8_t *at = rq->payload;
    bool failed = false;

    atomic_fetch_add(&scripted_node_of(rq)->knobs.mputs, 1);
    for (size_t i = 0; i < m->n_keys; i++) {
        if (m->if_absent && lookup(scripted_node_of(rq), m->keys[i]) != NULL)
            status[i] = CAIRN_E_EXISTS;
        else
            store(scripted_node_of(rq), m->keys[i], at, m->lengths[i]);
        failed |= status[i] != 0;
        at += m->lengths[i];
    }
    CAIRN_ASSERT(at == rq->payload + rq->payload_len);
    r.n_status = failed ? m->n_keys : 0;
    r.status = status;
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
    free(status);
}

static void router_mget(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMget *m = (const Cairn__Wire__RouterMget *)rq->msg;
    Cairn__Wire__RouterMgetReply r = CAIRN__WIRE__ROUTER_MGET_REPLY__INIT;
    int64_t *lengths = calloc(m->n_keys, sizeof(*lengths));
    uint64_t *large = calloc(m->n_keys, sizeof(*large));
    uint8_t *page = malloc(1 << 20);
    struct iovec payload = { page, 0 };
    size_t i, max = scripted_countdown(&scripted_node_of(rq)->knobs.short_pages) ? 1 : m->n_keys;

    atomic_fetch_add(&scripted_node_of(rq)->knobs.mgets, 1);
    for (i = 0; i < max; i++) {
        struct scripted_value *v = lookup(scripted_node_of(rq), m->keys[i]);

        if (v != NULL && payload.iov_len + v->len > 1 << 20)
            break;
        lengths[i] = v == NULL ? -1 : v->len > SCRIPTED_EMBED_THRESHOLD ? -2 : (int64_t)v->len;
        if (lengths[i] == -2)
            large[i] = v->len;
        if (lengths[i] <= 0)
            continue;
        memcpy(page + payload.iov_len, v->bytes, v->len);
        payload.iov_len += v->len;
    }
    r.n_lengths = r.n_large = i;
    r.lengths = lengths;
    r.large = large;
    cairn_rpc_reply(rq, 0, &r.base, &payload, 1);
    free(lengths);
    free(large);
    free(page);
}

static void router_list(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterList *m = (const Cairn__Wire__RouterList *)rq->msg;
    Cairn__Wire__RouterListReply r = CAIRN__WIRE__ROUTER_LIST_REPLY__INIT;
    struct scripted_node *n = scripted_node_of(rq);
    size_t max = (m->max != 0 ? m->max : 100) + lies(n, SCRIPTED_LONG_PAGES);
    ProtobufCBinaryData *keys;
    uint64_t *lengths;

    atomic_fetch_add(&n->knobs.lists, 1);
    if (scripted_node_hold(rq))
        return;
    keys = calloc(max, sizeof(*keys));
    lengths = calloc(max, sizeof(*lengths));
    for (size_t i = 0; i < n->values.n; i++) {
        struct scripted_value *v = &n->values.all[i];

        if (v->bytes == NULL ||
            (!lies(n, SCRIPTED_NO_PREFIX) && !scripted_value_begins(v, m->prefix.data, m->prefix.len)))
            continue;
        if (!lies(n, SCRIPTED_SAME_PAGE) && m->after.len > 0 &&
            scripted_value_compare(v, m->after.data, m->after.len) <= 0)
            continue;
        if (r.n_keys == max) {
            r.more = true;
            break;
        }
        keys[r.n_keys].data = v->key;
        keys[r.n_keys].len = v->key_len;
        lengths[r.n_keys++] = v->len;
    }
    if (lies(n, SCRIPTED_DISORDER) && r.n_keys > 1) {
        ProtobufCBinaryData first = keys[0];

        keys[0] = keys[1];
        keys[1] = first;
    }
    r.n_lengths = r.n_keys;
    r.keys = keys;
    r.lengths = lengths;
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
    free(keys);
    free(lengths);
}

cairn_rpc_handler *const scripted_node_router[32] = {
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW] = ns_show,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT] = router_put,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET] = router_get,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS] = router_exists,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH] = router_length,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE] = router_delete,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT] = router_mput,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET] = router_mget,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST] = router_list,
};
