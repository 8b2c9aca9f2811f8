/* Nodes that do what a test says: see scripted_cluster.h. All run on one thread; the test's own thread changes what they share under
 * a mutex. */
#include "tests/lib/scripted_cluster.h"

#include "cairn/limits.h"
#include "sdk/core/net/addr.h"
#include "sdk/core/placement/placement.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"
#include "tests/lib/scratch.h"

#include "schema/node.pb-c.h"
#include "schema/repl.pb-c.h"
#include "schema/router.pb-c.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALUES_MAX = 8192, HELD_MAX = 4096, WRITES_MAX = 65536, FIRST_SLOT = SCRIPTED_SLOTS, THRESHOLD = 4096 };

struct map {
    uint64_t revision, epochs[SCRIPTED_SLOTS];
    uint32_t leaders[SCRIPTED_SLOTS];
};

struct value {
    uint8_t *key, *bytes;
    size_t key_len, len;
    uint32_t stores;
};

/* A write that was done, and what it came to. */
struct done {
    uint32_t slot;
    uint64_t pos, seq;
    int rc;
};

struct node {
    struct scripted_member m;
    struct scripted_cluster *c;
    uint32_t index;
    char address[SCRATCH_MAX + 32], name[16], host[64];
    struct map map; /* as it knows it */
    struct cairn_rpc *rpc, *workers[1];
    struct cairn_rpc_target targets[3];
    struct cairn_rpc_node rpc_node;
    struct cairn_watch listener;
};

struct scripted_cluster {
    pthread_mutex_t mutex;
    pthread_t thread;
    struct cairn_loop loop;
    char dir[SCRATCH_MAX];
    bool write_once;
    uint32_t n, drained;
    struct map map;
    struct node nodes[SCRIPTED_NODES_MAX];
    struct value values[VALUES_MAX]; /* in order of keys */
    size_t nvalues;
    uint64_t sessions[SCRIPTED_SLOTS]; /* the number of the newest; 0: none is known */
    uint64_t last_session;
    struct done done[WRITES_MAX];
    size_t ndone;
    struct cairn_rpc_req *held[HELD_MAX];
    size_t nheld;
};

static struct node *of(struct cairn_rpc_req *rq)
{
    return rq->target->ctx;
}

/* ---- values ---- */

static int compare(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
    int d = memcmp(a, b, MIN(an, bn));

    return d != 0 ? d : (an > bn) - (an < bn);
}

static struct value *find(struct scripted_cluster *c, const uint8_t *key, size_t len, bool *there)
{
    size_t i = 0;

    while (i < c->nvalues && compare(c->values[i].key, c->values[i].key_len, key, len) < 0)
        i++;
    *there = i < c->nvalues && compare(c->values[i].key, c->values[i].key_len, key, len) == 0;
    return &c->values[i];
}

static struct value *lookup(struct scripted_cluster *c, ProtobufCBinaryData key)
{
    bool there;
    struct value *v = find(c, key.data, key.len, &there);

    return there && v->bytes != NULL ? v : NULL;
}

static void store(struct scripted_cluster *c, const uint8_t *key, size_t key_len, const uint8_t *p, size_t len)
{
    bool there;
    struct value *v = find(c, key, key_len, &there);

    if (!there) {
        CAIRN_ASSERT(c->nvalues < VALUES_MAX);
        memmove(v + 1, v, (size_t)(c->values + c->nvalues++ - v) * sizeof(*v));
        *v = (struct value){ .key = malloc(key_len), .key_len = key_len };
        memcpy(v->key, key, key_len);
    }
    free(v->bytes);
    v->bytes = malloc(len + 1);
    if (len > 0)
        memcpy(v->bytes, p, len);
    v->len = len;
    v->stores++;
}

/* ---- faults ---- */

static enum scripted_fault fault_of(struct node *n)
{
    if (atomic_load(&n->m.times) <= 0 || atomic_fetch_sub(&n->m.times, 1) <= 0)
        return SCRIPTED_NONE;
    return atomic_load(&n->m.fault);
}

static void hang_up(struct cairn_rpc_req *rq)
{
    if (rq->conn != NULL)
        cairn_conn_fail(&rq->conn->conn, CAIRN_E_CLOSED);
    cairn_rpc_reply(rq, CAIRN_E_SHUTDOWN, NULL, NULL, 0); /* which nobody hears, and a session that comes again is told */
}

static void on_held_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct scripted_cluster *c = arg;

    for (size_t i = 0; i < c->nheld; i++) {
        if (c->held[i] == rq)
            c->held[i] = c->held[--c->nheld];
    }
    cairn_rpc_reply(rq, CAIRN_E_CANCELED, NULL, NULL, 0);
}

/* True: that is all that becomes of @rq. */
static bool misbehaves(struct cairn_rpc_req *rq, enum scripted_fault fault)
{
    struct scripted_cluster *c = of(rq)->c;

    switch (fault) {
    case SCRIPTED_MOVED:
        cairn_rpc_reply_err(rq, CAIRN_E_MOVED, "as told");
        return true;
    case SCRIPTED_BUSY:
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "as told");
        return true;
    case SCRIPTED_DENIED:
        cairn_rpc_reply_err(rq, CAIRN_E_DENIED, "as told");
        return true;
    case SCRIPTED_SILENT:
        CAIRN_ASSERT(c->nheld < HELD_MAX);
        rq->on_cancel = on_held_cancel;
        rq->on_cancel_arg = c;
        c->held[c->nheld++] = rq;
        return true;
    case SCRIPTED_DIE_BEFORE:
        hang_up(rq);
        return true;
    default:
        return false;
    }
}

static void reply(struct cairn_rpc_req *rq, enum scripted_fault fault, int rc, const ProtobufCMessage *m,
                  const struct iovec *p)
{
    if (fault == SCRIPTED_DIE_AFTER)
        hang_up(rq);
    else
        cairn_rpc_reply(rq, rc, m, p, p != NULL ? 1 : 0);
}

/* ---- the map ---- */

static uint32_t slot_of(ProtobufCBinaryData key)
{
    return cairn_placement_slot(key.data, key.len, SCRIPTED_SLOT_BITS);
}

/* As @n sees it: it leads; MOVED; or it thinks that it does, and has no lease. */
static int leads(const struct node *n, uint32_t slot)
{
    if (n->map.leaders[slot] != n->index)
        return CAIRN_E_MOVED;
    return n->c->map.leaders[slot] == n->index ? 0 : CAIRN_E_BUSY;
}

static void cluster_records(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterFetch *m = (const Cairn__Wire__ClusterFetch *)rq->msg;
    Cairn__Wire__ClusterRecords r = CAIRN__WIRE__CLUSTER_RECORDS__INIT;
    struct node *n = of(rq);
    struct scripted_cluster *c = n->c;
    Cairn__Wire__SlotUpdate *slots = calloc(SCRIPTED_SLOTS, sizeof(*slots)), **pslots = calloc(SCRIPTED_SLOTS, sizeof(*pslots));
    Cairn__Wire__SlotRecord *recs = calloc(SCRIPTED_SLOTS, sizeof(*recs));
    Cairn__Wire__MemberUpdate *members = calloc(c->n, sizeof(*members)), **pmembers = calloc(c->n, sizeof(*pmembers));
    Cairn__Wire__ReplWho *who = calloc(c->n, sizeof(*who)), **pwho = calloc(c->n, sizeof(*pwho));
    char **addresses = calloc(c->n, sizeof(*addresses));

    atomic_fetch_add(&n->m.maps, 1);
    pthread_mutex_lock(&c->mutex);
    r.revision = atomic_load(&n->m.lost) ? m->since : MAX(n->map.revision, m->since);
    for (uint32_t i = 0; i < c->n; i++) {
        cairn__wire__member_update__init(&members[i]);
        cairn__wire__repl_who__init(&who[i]);
        pwho[i] = &who[i];
        pmembers[i] = &members[i];
        who[i].node = members[i].node = 100 + i;
        who[i].inc = members[i].inc = 1;
        members[i].name = c->nodes[i].name;
        members[i].host = c->nodes[i].host;
        addresses[i] = c->nodes[i].address;
        members[i].addresses = &addresses[i];
        members[i].n_addresses = 1;
    }
    for (uint32_t i = 0; i < SCRIPTED_SLOTS; i++) {
        cairn__wire__slot_update__init(&slots[i]);
        cairn__wire__slot_record__init(&recs[i]);
        slots[i].slot = FIRST_SLOT + i;
        slots[i].record = &recs[i];
        recs[i].epoch = n->map.epochs[i];
        recs[i].primary = &who[n->map.leaders[i]];
        recs[i].insync = pwho;
        recs[i].n_insync = MIN(c->n, 8U);
        pslots[i] = &slots[i];
    }
    if (n->map.revision > m->since && !atomic_load(&n->m.lost)) {
        r.slots = pslots;
        r.n_slots = SCRIPTED_SLOTS;
        r.members = pmembers;
        r.n_members = c->n;
    }
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
    pthread_mutex_unlock(&c->mutex);
    free(slots);
    free(pslots);
    free(recs);
    free(members);
    free(pmembers);
    free(who);
    free(pwho);
    free(addresses);
}

static cairn_rpc_handler *const cluster_handlers[16] = {
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS] = cluster_records,
};

/* ---- node ---- */

static void node_ping(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static cairn_rpc_handler *const node_handlers[16] = {
    [CAIRN__WIRE__NODE_METHOD__NODE_PING] = node_ping,
};

/* ---- router ---- */

static void ns_show(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__NsName *m = (const Cairn__Wire__NsName *)rq->msg;
    Cairn__Wire__Namespace r = CAIRN__WIRE__NAMESPACE__INIT;

    r.name = m->name;
    r.embed_threshold = THRESHOLD;
    r.clustered = true;
    r.slots = SCRIPTED_SLOTS;
    r.first_slot = FIRST_SLOT;
    r.write_once = of(rq)->c->write_once;
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
}

static void router_open(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterOpen *m = (const Cairn__Wire__RouterOpen *)rq->msg;
    Cairn__Wire__RouterOpened r = CAIRN__WIRE__ROUTER_OPENED__INIT;
    struct node *n = of(rq);
    struct scripted_cluster *c = n->c;
    enum scripted_fault fault = fault_of(n);
    uint32_t slot = m->slot - FIRST_SLOT;
    int rc;

    atomic_fetch_add(&n->m.opens, 1);
    if (misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&c->mutex);
    rc = slot < SCRIPTED_SLOTS ? leads(n, slot) : CAIRN_E_INVAL;
    if (rc == 0) {
        r.epoch = 1;
        r.pos = c->sessions[slot] = ++c->last_session;
    }
    pthread_mutex_unlock(&c->mutex);
    reply(rq, fault, rc, rc == 0 ? &r.base : NULL, NULL);
}

/* A write as a slot's log would do it. @p NULL: what is there goes. */
static int write_one(struct node *n, ProtobufCBinaryData key, const Cairn__Wire__RouterRid *rid, bool if_absent,
                     const uint8_t *p, size_t len, enum scripted_fault fault)
{
    struct scripted_cluster *c = n->c;
    uint32_t slot = slot_of(key);
    struct value *v = lookup(c, key);
    int rc = leads(n, slot);

    if (rc != 0)
        return rc;
    if (rid == NULL || rid->seq == 0)
        return CAIRN_E_INVAL;
    if (fault == SCRIPTED_GONE)
        c->sessions[slot] = 0;
    if (!c->write_once && rid->session_pos != c->sessions[slot])
        return CAIRN_E_GONE;
    for (size_t i = 0; i < c->ndone; i++) {
        if (c->done[i].slot == slot && c->done[i].pos == rid->session_pos && c->done[i].seq == rid->seq)
            return c->done[i].rc;
    }
    rc = v != NULL && (if_absent || c->write_once) && p != NULL ? CAIRN_E_EXISTS : 0;
    if (rc == 0 && p != NULL) {
        store(c, key.data, key.len, p, len);
    } else if (rc == 0 && v != NULL) {
        free(v->bytes);
        v->bytes = NULL;
        v->stores++;
    }
    CAIRN_ASSERT(c->ndone < WRITES_MAX);
    c->done[c->ndone++] = (struct done){ slot, rid->session_pos, rid->seq, rc };
    return rc;
}

static void router_put(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterPut *m = (const Cairn__Wire__RouterPut *)rq->msg;
    struct node *n = of(rq);
    enum scripted_fault fault = fault_of(n);
    int rc;

    atomic_fetch_add(&n->m.puts, 1);
    if (misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = write_one(n, m->key, m->rid, m->if_absent, rq->payload != NULL ? rq->payload : (const uint8_t *)"",
                   rq->payload_len, fault);
    pthread_mutex_unlock(&n->c->mutex);
    reply(rq, fault, rc, NULL, NULL);
}

static void router_delete(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    struct node *n = of(rq);
    enum scripted_fault fault = fault_of(n);
    int rc;

    if (misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = write_one(n, m->key, m->rid, false, NULL, 0, fault);
    pthread_mutex_unlock(&n->c->mutex);
    reply(rq, fault, rc, NULL, NULL);
}

/* Whether @n may tell of @key, and what there is. */
static int read_one(struct node *n, ProtobufCBinaryData key, bool replica, struct value **v)
{
    int rc = leads(n, slot_of(key));
    bool by_replica = rc != 0 && replica && n->c->write_once;

    *v = lookup(n->c, key);
    atomic_fetch_add(&n->m.replica_gets, by_replica);
    if (by_replica)
        return *v != NULL ? 0 : CAIRN_E_MOVED;
    return rc != 0 ? rc : *v != NULL ? 0 : CAIRN_E_NOTFOUND;
}

static void router_get(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterGet *m = (const Cairn__Wire__RouterGet *)rq->msg;
    Cairn__Wire__RouterGetReply r = CAIRN__WIRE__ROUTER_GET_REPLY__INIT;
    struct node *n = of(rq);
    enum scripted_fault fault = fault_of(n);
    struct iovec p = { 0 };
    struct value *v;
    int rc;

    atomic_fetch_add(&n->m.gets, 1);
    if (misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = read_one(n, m->key, m->replica, &v);
    if (rc == 0) {
        r.total = r.length = v->len;
        p = (struct iovec){ v->bytes, v->len };
    }
    reply(rq, fault, rc, rc == 0 ? &r.base : NULL, rc == 0 ? &p : NULL);
    pthread_mutex_unlock(&n->c->mutex);
}

static void router_exists(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    Cairn__Wire__RouterExists r = CAIRN__WIRE__ROUTER_EXISTS__INIT;
    struct node *n = of(rq);
    enum scripted_fault fault = fault_of(n);
    struct value *v;
    int rc;

    if (misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = read_one(n, m->key, m->replica, &v);
    pthread_mutex_unlock(&n->c->mutex);
    r.exists = rc == 0;
    rc = rc == CAIRN_E_NOTFOUND ? 0 : rc;
    reply(rq, fault, rc, rc == 0 ? &r.base : NULL, NULL);
}

static void router_mput(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMput *m = (const Cairn__Wire__RouterMput *)rq->msg;
    Cairn__Wire__KvStatuses r = CAIRN__WIRE__KV_STATUSES__INIT;
    struct node *n = of(rq);
    enum scripted_fault fault = fault_of(n);
    int32_t *status = calloc(m->n_keys, sizeof(*status));
    const uint8_t *at = rq->payload != NULL ? rq->payload : (const uint8_t *)"";

    atomic_fetch_add(&n->m.mputs, 1);
    if (misbehaves(rq, fault)) {
        free(status);
        return;
    }
    CAIRN_ASSERT(m->n_rids == m->n_keys);
    pthread_mutex_lock(&n->c->mutex);
    for (size_t i = 0; i < m->n_keys; at += m->lengths[i++])
        status[i] = write_one(n, m->keys[i], m->rids[i], m->if_absent, at, m->lengths[i], fault);
    pthread_mutex_unlock(&n->c->mutex);
    r.n_status = m->n_keys;
    r.status = status;
    reply(rq, fault, 0, &r.base, NULL);
    free(status);
}

static void router_mget(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMget *m = (const Cairn__Wire__RouterMget *)rq->msg;
    Cairn__Wire__RouterMgetReply r = CAIRN__WIRE__ROUTER_MGET_REPLY__INIT;
    struct node *n = of(rq);
    enum scripted_fault fault = fault_of(n);
    int64_t *lengths = calloc(m->n_keys, sizeof(*lengths));
    uint8_t *page = malloc(4 << 20);
    struct iovec payload = { page, 0 };

    atomic_fetch_add(&n->m.mgets, 1);
    if (!misbehaves(rq, fault)) {
        pthread_mutex_lock(&n->c->mutex);
        for (size_t i = 0; i < m->n_keys; i++) {
            struct value *v = lookup(n->c, m->keys[i]);

            lengths[i] = leads(n, slot_of(m->keys[i])) != 0 ? -3 : v == NULL ? -1 : v->len > THRESHOLD ? -2 : (int64_t)v->len;
            if (lengths[i] <= 0)
                continue;
            memcpy(page + payload.iov_len, v->bytes, v->len);
            payload.iov_len += v->len;
        }
        pthread_mutex_unlock(&n->c->mutex);
        r.n_lengths = m->n_keys;
        r.lengths = lengths;
        reply(rq, fault, 0, &r.base, &payload);
    }
    free(lengths);
    free(page);
}

static void router_list(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterList *m = (const Cairn__Wire__RouterList *)rq->msg;
    Cairn__Wire__RouterListReply r = CAIRN__WIRE__ROUTER_LIST_REPLY__INIT;
    struct node *n = of(rq);
    struct scripted_cluster *c = n->c;
    enum scripted_fault fault = fault_of(n);
    ProtobufCBinaryData *keys = calloc(m->max, sizeof(*keys));
    uint64_t *lengths = calloc(m->max, sizeof(*lengths));
    uint32_t looked = 0;

    atomic_fetch_add(&n->m.lists, 1);
    CAIRN_ASSERT(m->max > 0);
    if (!misbehaves(rq, fault)) {
        pthread_mutex_lock(&c->mutex);
        for (size_t i = 0; i < c->nvalues; i++) {
            struct value *v = &c->values[i];
            ProtobufCBinaryData key = { v->key_len, v->key };

            if (v->bytes == NULL || key.len < m->prefix.len || (m->prefix.len > 0 && memcmp(key.data, m->prefix.data, m->prefix.len) != 0) ||
                (m->after.len > 0 && compare(key.data, key.len, m->after.data, m->after.len) <= 0))
                continue;
            if (looked++ == m->max) {
                r.more = true;
                break;
            }
            r.upto = key;
            if (leads(n, slot_of(key)) != 0)
                continue;
            keys[r.n_keys] = key;
            lengths[r.n_keys++] = v->len;
        }
        for (uint32_t i = 0; i < SCRIPTED_SLOTS; i++) {
            if (leads(n, i) != 0)
                continue;
            r.led++;
            r.led_sum += cairn_placement_slot_mark(FIRST_SLOT + i);
        }
        r.n_lengths = r.n_keys;
        r.keys = keys;
        r.lengths = lengths;
        reply(rq, fault, 0, &r.base, NULL);
        pthread_mutex_unlock(&c->mutex);
    }
    free(keys);
    free(lengths);
}

static cairn_rpc_handler *const router_handlers[32] = {
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW] = ns_show,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN] = router_open,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT] = router_put,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET] = router_get,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS] = router_exists,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE] = router_delete,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT] = router_mput,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET] = router_mget,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST] = router_list,
};

/* ---- life ---- */

static void on_listener(void *arg, uint32_t ready)
{
    struct node *n = arg;
    int fd = accept4(n->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    atomic_fetch_add(&n->m.hellos, fd >= 0);
    if (fd >= 0)
        cairn_rpc_accept(n->rpc, fd, true);
}

static void on_drained(void *arg)
{
    ((struct scripted_cluster *)arg)->drained++;
}

static void *cluster_thread(void *arg)
{
    struct scripted_cluster *c = arg;

    while (!atomic_load(&c->loop.stop))
        cairn_loop_turn(&c->loop, UINT64_MAX);
    for (uint32_t i = 0; i < c->n; i++) {
        int fd = c->nodes[i].listener.fd;

        cairn_watch_fini(&c->nodes[i].listener);
        close(fd);
        cairn_rpc_drain(c->nodes[i].rpc, 0, on_drained, c);
    }
    while (c->drained < c->n) {
        cairn_loop_turn(&c->loop, CAIRN_NS_PER_MS);
        while (c->nheld > 0)
            cairn_rpc_reply(c->held[--c->nheld], CAIRN_E_SHUTDOWN, NULL, NULL, 0);
    }
    return NULL;
}

static bool node_start(struct scripted_cluster *c, uint32_t i)
{
    struct node *n = &c->nodes[i];
    struct cairn_rpc_conf conf = { .targets = n->targets,
                                   .ntargets = ARRAY_SIZE(n->targets),
                                   .inflight_max = 1024,
                                   .inflight_bytes_max = 32 << 20,
                                   .output_bytes_max = 32 << 20 };
    struct cairn_addr addr;
    int fd;

    n->c = c;
    n->index = i;
    n->map = c->map;
    snprintf(n->name, sizeof(n->name), "n%u", i);
    snprintf(n->address, sizeof(n->address), "unix://%s/n%u.sock", c->dir, i);
    n->targets[0] = (struct cairn_rpc_target){ &cairn_iface_node, node_handlers, n, "node", CAIRN_PROVIDER_NODE };
    n->targets[1] = (struct cairn_rpc_target){ &cairn_iface_router, router_handlers, n, "router", CAIRN_PROVIDER_ROUTER };
    n->targets[2] =
        (struct cairn_rpc_target){ &cairn_iface_cluster, cluster_handlers, n, "cluster", CAIRN_PROVIDER_CLUSTER };
    n->rpc = cairn_rpc_new(&c->loop, &conf, NULL);
    if (n->rpc == NULL)
        return false;
    n->workers[0] = n->rpc;
    n->rpc_node = (struct cairn_rpc_node){ .incarnation = 1 + i,
                                           .connections_max = 64,
                                           .workers = n->workers,
                                           .nworkers = 1,
                                           .session_ttl_ns = 60 * CAIRN_NS_PER_S,
                                           .stalled_ns = 30 * CAIRN_NS_PER_S };
    snprintf(n->rpc_node.name, sizeof(n->rpc_node.name), "n%u", i);
    return cairn_rpc_serve(n->rpc, &n->rpc_node) == 0 && cairn_addr_parse(n->address, &addr, NULL) == 0 &&
           cairn_addr_listen(&addr, 16, 0700, &fd, NULL) == 0 &&
           cairn_watch_init(&n->listener, &c->loop, fd, on_listener, n) == 0 &&
           cairn_watch_arm(&n->listener, CAIRN_WATCH_READ) == 0;
}

struct scripted_cluster *scripted_cluster_start(uint32_t n, bool write_once)
{
    struct scripted_cluster *c = calloc(1, sizeof(*c));
    char file[SCRATCH_MAX + 32];
    FILE *f;

    c->n = n;
    c->write_once = write_once;
    c->map.revision = 10;
    pthread_mutex_init(&c->mutex, NULL);
    scratch_new(c->dir);
    for (uint32_t i = 0; i < SCRIPTED_SLOTS; i++) {
        c->map.leaders[i] = i % n;
        c->map.epochs[i] = 5;
    }
    if (cairn_loop_init(&c->loop, NULL, NULL) != 0)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (!node_start(c, i))
            return NULL;
    }
    snprintf(file, sizeof(file), "%s/node.json", c->dir);
    f = fopen(file, "w");
    fprintf(f, "{\"version\":1,\"addresses\":[\"%s\"],\"cluster_id\":\"%032d\",\"pid\":%d}\n", c->nodes[0].address, 0,
            (int)getpid());
    fclose(f);
    return pthread_create(&c->thread, NULL, cluster_thread, c) == 0 ? c : NULL;
}

void scripted_cluster_free(struct scripted_cluster *c)
{
    cairn_loop_stop(&c->loop);
    pthread_join(c->thread, NULL);
    for (uint32_t i = 0; i < c->n; i++)
        cairn_rpc_free(c->nodes[i].rpc);
    cairn_loop_fini(&c->loop);
    for (size_t i = 0; i < c->nvalues; i++) {
        free(c->values[i].key);
        free(c->values[i].bytes);
    }
    pthread_mutex_destroy(&c->mutex);
    scratch_remove(c->dir);
    free(c);
}

/* ---- for the test's thread ---- */

const char *scripted_cluster_workspace(const struct scripted_cluster *c)
{
    return c->dir;
}

struct scripted_member *scripted_cluster_node(struct scripted_cluster *c, uint32_t node)
{
    return &c->nodes[node].m;
}

void scripted_cluster_fault(struct scripted_cluster *c, uint32_t node, enum scripted_fault fault, int times)
{
    atomic_store(&c->nodes[node].m.fault, fault);
    atomic_store(&c->nodes[node].m.times, times);
}

uint32_t scripted_cluster_slot(const void *key, size_t len)
{
    return cairn_placement_slot(key, len, SCRIPTED_SLOT_BITS);
}

uint32_t scripted_cluster_leader(struct scripted_cluster *c, uint32_t slot)
{
    return c->map.leaders[slot];
}

void scripted_cluster_move(struct scripted_cluster *c, uint32_t slot, uint32_t node)
{
    pthread_mutex_lock(&c->mutex);
    c->map.revision++;
    c->map.epochs[slot]++;
    c->map.leaders[slot] = node;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!atomic_load(&c->nodes[i].m.frozen))
            c->nodes[i].map = c->map;
    }
    pthread_mutex_unlock(&c->mutex);
}

void scripted_cluster_host(struct scripted_cluster *c, uint32_t node, const char *host)
{
    pthread_mutex_lock(&c->mutex);
    snprintf(c->nodes[node].host, sizeof(c->nodes[node].host), "%s", host);
    pthread_mutex_unlock(&c->mutex);
}

uint32_t scripted_cluster_stores(struct scripted_cluster *c, const void *key, size_t len)
{
    struct value *v;
    uint32_t n;
    bool there;

    pthread_mutex_lock(&c->mutex);
    v = find(c, key, len, &there);
    n = there ? v->stores : 0;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

uint32_t scripted_cluster_connections(struct scripted_cluster *c, uint32_t node)
{
    return c->nodes[node].rpc->npeers;
}

void scripted_cluster_store(struct scripted_cluster *c, const void *key, size_t len, const void *value, size_t value_len)
{
    pthread_mutex_lock(&c->mutex);
    store(c, key, len, value, value_len);
    pthread_mutex_unlock(&c->mutex);
}
