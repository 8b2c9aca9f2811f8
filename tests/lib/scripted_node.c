/* A node that does what a test says: see scripted_node.h. */
#include "tests/lib/scripted_node.h"
#include "tests/lib/patience.h"

#include "cairn/limits.h"
#include "sdk/client/check.h"
#include "sdk/core/bulk/bulk.h"
#include "sdk/core/net/addr.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/peer.h"
#include "tests/lib/scratch.h"

#include "schema/node.pb-c.h"
#include "schema/repl.pb-c.h"
#include "schema/router.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALUES_MAX = 20000, HELD_MAX = 20000 };

struct value {
    uint8_t *key, *bytes;
    size_t key_len, len;
};

struct scripted_node {
    struct scripted_knobs knobs;
    char dir[SCRATCH_MAX], address[128], workspace_file[128];
    pthread_t thread;
    bool running;
    struct cairn_loop loop;
    struct cairn_rpc *rpc, *workers[1];
    struct cairn_rpc_target targets[4];
    struct cairn_rpc_node node;
    struct cairn_watch listener;
    struct value values[VALUES_MAX]; /* in order of keys */
    size_t n;
    struct cairn_rpc_req *held[HELD_MAX];
    size_t nheld;
    uint64_t incarnation;
    bool drained;
};

static struct scripted_node *of(struct cairn_rpc_req *rq)
{
    return rq->target->ctx;
}

static int key_compare(const struct value *v, const uint8_t *key, size_t len)
{
    int d = memcmp(v->key, key, MIN(v->key_len, len));

    return d != 0 ? d : (v->key_len > len) - (v->key_len < len);
}

/* Where @key is or would be. */
static size_t find(const struct scripted_node *n, const uint8_t *key, size_t len, bool *there)
{
    size_t i = 0;

    while (i < n->n && key_compare(&n->values[i], key, len) < 0)
        i++;
    *there = i < n->n && key_compare(&n->values[i], key, len) == 0;
    return i;
}

static struct value *lookup(struct scripted_node *n, ProtobufCBinaryData key)
{
    bool there;
    size_t i = find(n, key.data, key.len, &there);

    return there ? &n->values[i] : NULL;
}

static void store(struct scripted_node *n, ProtobufCBinaryData key, uint8_t *bytes, size_t len)
{
    bool there;
    size_t i = find(n, key.data, key.len, &there);
    struct value *v = &n->values[i];

    if (there) {
        free(v->bytes);
    } else {
        CAIRN_ASSERT(n->n < VALUES_MAX);
        memmove(v + 1, v, (n->n - i) * sizeof(*v));
        n->n++;
        v->key = malloc(key.len);
        memcpy(v->key, key.data, key.len);
        v->key_len = key.len;
    }
    v->bytes = bytes;
    v->len = len;
}

static uint8_t *copy_of(const void *p, size_t n)
{
    uint8_t *q = malloc(n + 1);

    if (n > 0)
        memcpy(q, p, n);
    return q;
}

/* ---- misbehaviour ---- */

static void on_held_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct scripted_node *n = arg;

    atomic_fetch_add(&n->knobs.cancels, 1);
    for (size_t i = 0; i < n->nheld; i++) {
        if (n->held[i] == rq)
            n->held[i] = n->held[--n->nheld];
    }
    cairn_rpc_reply(rq, CAIRN_E_CANCELED, NULL, NULL, 0);
}

static void keep(struct cairn_rpc_req *rq)
{
    struct scripted_node *n = of(rq);

    CAIRN_ASSERT(n->nheld < HELD_MAX);
    rq->on_cancel = on_held_cancel;
    rq->on_cancel_arg = n;
    n->held[n->nheld++] = rq;
}

static bool hold(struct cairn_rpc_req *rq)
{
    if (!atomic_load(&of(rq)->knobs.hold))
        return false;
    keep(rq);
    return true;
}

static bool countdown(atomic_int *x)
{
    return atomic_load(x) > 0 && atomic_fetch_sub(x, 1) > 0;
}

/* ---- node ---- */

static void node_ping(struct cairn_rpc_req *rq)
{
    atomic_fetch_add(&of(rq)->knobs.pings, 1);
    if (!hold(rq))
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static void node_providers(struct cairn_rpc_req *rq)
{
    Cairn__Wire__NodeProvider p = CAIRN__WIRE__NODE_PROVIDER__INIT, *all[] = { &p };
    Cairn__Wire__NodeProviders m = CAIRN__WIRE__NODE_PROVIDERS__INIT;

    p.id = 2;
    p.name = p.type = (char *)(uintptr_t) "router";
    m.n_providers = 1;
    m.providers = all;
    cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
}

static void node_status(struct cairn_rpc_req *rq)
{
    Cairn__Wire__NodeText m = CAIRN__WIRE__NODE_TEXT__INIT;

    m.text = (char *)(uintptr_t) "{\"version\":1}";
    cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
}

static cairn_rpc_handler *const node_handlers[6] = {
    [CAIRN__WIRE__NODE_METHOD__NODE_PING] = node_ping,
    [CAIRN__WIRE__NODE_METHOD__NODE_PROVIDERS] = node_providers,
    [CAIRN__WIRE__NODE_METHOD__NODE_STATUS] = node_status,
};

/* ---- router ---- */

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
        store(of(t->rq), m->key, t->bytes, m->length);
    else
        free(t->bytes);
    cairn_rpc_reply(t->rq, rc, NULL, NULL, 0);
    free(t);
}

static void router_put(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterPut *m = (const Cairn__Wire__RouterPut *)rq->msg;
    struct scripted_node *n = of(rq);
    struct transfer *t;

    atomic_fetch_add(&n->knobs.puts, 1);
    if (hold(rq))
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
        store(n, m->key, copy_of(rq->payload, rq->payload_len), rq->payload_len);
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
    struct scripted_node *n = of(rq);
    struct value *v = lookup(n, m->key);
    struct transfer *t;
    uint64_t len;

    atomic_fetch_add(&n->knobs.gets, 1);
    atomic_fetch_add(&n->knobs.verified_gets, m->verify);
    if (hold(rq))
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
    if (len > 0 && countdown(&n->knobs.corrupt_reads))
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

    r.exists = lookup(of(rq), ((const Cairn__Wire__RouterKey *)rq->msg)->key) != NULL;
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
}

static void router_length(struct cairn_rpc_req *rq)
{
    Cairn__Wire__RouterLength r = CAIRN__WIRE__ROUTER_LENGTH__INIT;
    struct value *v = lookup(of(rq), ((const Cairn__Wire__RouterKey *)rq->msg)->key);

    r.length = v != NULL ? v->len : 0;
    cairn_rpc_reply(rq, v != NULL ? 0 : CAIRN_E_NOTFOUND, v != NULL ? &r.base : NULL, NULL, 0);
}

static void router_delete(struct cairn_rpc_req *rq)
{
    struct scripted_node *n = of(rq);
    struct value *v = lookup(n, ((const Cairn__Wire__RouterKey *)rq->msg)->key);

    if (v == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
        return;
    }
    free(v->key);
    free(v->bytes);
    memmove(v, v + 1, (size_t)(n->values + n->n - v - 1) * sizeof(*v));
    n->n--;
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static void router_mput(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMput *m = (const Cairn__Wire__RouterMput *)rq->msg;
    Cairn__Wire__KvStatuses r = CAIRN__WIRE__KV_STATUSES__INIT;
    int32_t *status = calloc(m->n_keys, sizeof(*status));
    const uint8_t *at = rq->payload;
    bool failed = false;

    atomic_fetch_add(&of(rq)->knobs.mputs, 1);
    for (size_t i = 0; i < m->n_keys; i++) {
        if (m->if_absent && lookup(of(rq), m->keys[i]) != NULL)
            status[i] = CAIRN_E_EXISTS;
        else
            store(of(rq), m->keys[i], copy_of(at, m->lengths[i]), m->lengths[i]);
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
    size_t i, max = countdown(&of(rq)->knobs.short_pages) ? 1 : m->n_keys;

    atomic_fetch_add(&of(rq)->knobs.mgets, 1);
    for (i = 0; i < max; i++) {
        struct value *v = lookup(of(rq), m->keys[i]);

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
    struct scripted_node *n = of(rq);
    size_t max = (m->max != 0 ? m->max : 100) + lies(n, SCRIPTED_LONG_PAGES);
    ProtobufCBinaryData *keys;
    uint64_t *lengths;

    if (hold(rq))
        return;
    keys = calloc(max, sizeof(*keys));
    lengths = calloc(max, sizeof(*lengths));
    for (size_t i = 0; i < n->n; i++) {
        struct value *v = &n->values[i];

        if (!lies(n, SCRIPTED_NO_PREFIX) &&
            (v->key_len < m->prefix.len || (m->prefix.len > 0 && memcmp(v->key, m->prefix.data, m->prefix.len) != 0)))
            continue;
        if (!lies(n, SCRIPTED_SAME_PAGE) && m->after.len > 0 && key_compare(v, m->after.data, m->after.len) <= 0)
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

static cairn_rpc_handler *const router_handlers[32] = {
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

/* ---- a cluster's coordinator ---- */

/* True: it has no answer now. */
static bool cluster_fails(struct cairn_rpc_req *rq)
{
    struct scripted_knobs *k = &of(rq)->knobs;

    atomic_fetch_add(&k->cluster_asks, 1);
    if (!countdown(&k->cluster_fails))
        return false;
    if (atomic_load(&k->cluster_rc) == 0)
        keep(rq);
    else
        cairn_rpc_reply_err(rq, atomic_load(&k->cluster_rc), "nobody coordinates");
    return true;
}

static void cluster_status(struct cairn_rpc_req *rq)
{
    Cairn__Wire__ClusterText m = CAIRN__WIRE__CLUSTER_TEXT__INIT;

    m.json = (char *)"{}";
    if (!cluster_fails(rq))
        cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
}

static void cluster_drain(struct cairn_rpc_req *rq)
{
    Cairn__Wire__ClusterDrained m = CAIRN__WIRE__CLUSTER_DRAINED__INIT;

    m.slots = 7;
    if (!cluster_fails(rq))
        cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
}

static cairn_rpc_handler *const cluster_handlers[16] = {
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS] = cluster_status,
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_DRAIN] = cluster_drain,
};

/* ---- life ---- */

static void on_listener(void *arg, uint32_t ready)
{
    struct scripted_node *n = arg;
    int fd = accept4(n->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    if (fd >= 0)
        cairn_rpc_accept(n->rpc, fd, true);
}

static void on_drained(void *arg)
{
    ((struct scripted_node *)arg)->drained = true;
}

static void *node_thread(void *arg)
{
    struct scripted_node *n = arg;
    int fd = n->listener.fd;

    while (!atomic_load(&n->loop.stop))
        cairn_loop_turn(&n->loop, UINT64_MAX);
    cairn_watch_fini(&n->listener);
    close(fd);
    /* The connections go first, so that nobody hears what the held requests are answered with. */
    cairn_rpc_drain(n->rpc, 0, on_drained, n);
    WHILE_PATIENT (!n->drained) {
        cairn_loop_turn(&n->loop, CAIRN_NS_PER_MS);
        while (n->nheld > 0)
            cairn_rpc_reply(n->held[--n->nheld], CAIRN_E_SHUTDOWN, NULL, NULL, 0);
    }
    return NULL;
}

static bool node_start(struct scripted_node *n)
{
    struct cairn_rpc_conf conf = { .targets = n->targets,
                                   .ntargets = ARRAY_SIZE(n->targets),
                                   .inflight_max = 1024,
                                   .inflight_bytes_max = 32 << 20,
                                   .output_bytes_max = 32 << 20 };
    struct cairn_bulk_conf bulk = { .vm = true, .provider = "tcp;ofi_rxm" };
    struct cairn_addr addr;
    int fd;

    n->targets[0] = (struct cairn_rpc_target){ &cairn_iface_node, node_handlers, n, "node", CAIRN_PROVIDER_NODE };
    n->targets[1] = (struct cairn_rpc_target){ &cairn_iface_bulk, cairn_bulk_handlers, n, "bulk", CAIRN_PROVIDER_BULK };
    n->targets[2] =
        (struct cairn_rpc_target){ &cairn_iface_router, router_handlers, n, "router", CAIRN_PROVIDER_ROUTER };
    n->targets[3] =
        (struct cairn_rpc_target){ &cairn_iface_cluster, cluster_handlers, n, "cluster", CAIRN_PROVIDER_CLUSTER };
    n->drained = false;
    if (cairn_loop_init(&n->loop, NULL, NULL) != 0)
        return false;
    n->rpc = cairn_rpc_new(&n->loop, &conf, NULL);
    if (n->rpc == NULL || cairn_bulk_attach(n->rpc, &bulk, NULL) != 0)
        return false;
    n->workers[0] = n->rpc;
    n->node = (struct cairn_rpc_node){ .incarnation = ++n->incarnation,
                                       .name = "scripted",
                                       .connections_max = 64,
                                       .workers = n->workers,
                                       .nworkers = 1,
                                       .session_ttl_ns = 60 * CAIRN_NS_PER_S,
                                       .stalled_ns = 30 * CAIRN_NS_PER_S };
    if (cairn_rpc_serve(n->rpc, &n->node) != 0 || cairn_addr_parse(n->address, &addr, NULL) != 0 ||
        cairn_addr_listen(&addr, 16, 0700, &fd, NULL) != 0)
        return false;
    if (cairn_watch_init(&n->listener, &n->loop, fd, on_listener, n) != 0 ||
        cairn_watch_arm(&n->listener, CAIRN_WATCH_READ) != 0)
        return false;
    n->running = pthread_create(&n->thread, NULL, node_thread, n) == 0;
    return n->running;
}

struct scripted_node *scripted_node_start(void)
{
    struct scripted_node *n = calloc(1, sizeof(*n));
    FILE *f;

    scratch_new(n->dir);
    snprintf(n->address, sizeof(n->address), "unix://%s/cairn.sock", n->dir);
    snprintf(n->workspace_file, sizeof(n->workspace_file), "%s/node.json", n->dir);
    f = fopen(n->workspace_file, "w");
    fprintf(f, "{\"version\":1,\"addresses\":[\"%s\"],\"cluster_id\":\"%032d\",\"pid\":%d}\n", n->address, 0,
            (int)getpid());
    fclose(f);
    return node_start(n) ? n : NULL;
}

void scripted_node_stop(struct scripted_node *n)
{
    if (!n->running)
        return;
    cairn_loop_stop(&n->loop);
    pthread_join(n->thread, NULL);
    n->running = false;
    cairn_bulk_detach(n->rpc);
    cairn_rpc_free(n->rpc);
    cairn_loop_fini(&n->loop);
    for (size_t i = 0; i < n->n; i++) {
        free(n->values[i].key);
        free(n->values[i].bytes);
    }
    n->n = 0;
}

void scripted_node_restart(struct scripted_node *n)
{
    scripted_node_stop(n);
    if (!node_start(n))
        abort();
}

void scripted_node_free(struct scripted_node *n)
{
    scripted_node_stop(n);
    scratch_remove(n->dir);
    free(n);
}

const char *scripted_node_workspace(const struct scripted_node *n)
{
    return n->dir;
}

const char *scripted_node_address(const struct scripted_node *n)
{
    return n->address;
}

struct scripted_knobs *scripted_node_knobs(struct scripted_node *n)
{
    return &n->knobs;
}
