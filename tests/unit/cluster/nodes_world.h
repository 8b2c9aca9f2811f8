/* Three nodes on one thread, with real logs, KV providers and sockets, that share a map store, and a clock that a busy
 * machine does not move (paced_clock.h). Regions of large values are names only. */
#ifndef CAIRN_TESTS_NODES_WORLD_H
#define CAIRN_TESTS_NODES_WORLD_H

#include "sdk/core/bulk/bulk.h"
#include "sdk/core/rpc/accept.h"
#include "server/cluster/map_store.h"
#include "server/cluster/service/coordinator.h"
#include "server/cluster/service/record.h"
#include "server/cluster/service/side.h"
#include "server/port/gossip.h"
#include "tests/lib/kv_node.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include "schema/extent.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { NS = 1 << 30 }; /* one that the map may yet have */
enum { LEN = 1000, NODES = 3, SLOT_BITS = 10, MS = 1000000, PATH_ROOM = SCRATCH_MAX + 48 };

/* The regions that a node has. */
struct extents {
    uint64_t ids[64];
    uint32_t n, reads, removes;
    uint64_t damaged, longer, foreign; /* one of them that is quarantined, or of another length, or owner */
    bool holds;                        /* what is to be stored stays under way */
    struct cairn_rpc_req *held;
    bool holds_reads; /* likewise what is to be read, so many */
    struct cairn_rpc_req *held_reads[16];
    uint32_t nheld;
};

struct node {
    struct world *w;
    struct extents extents;
    uint32_t id;
    bool up, over, misses_log; /* it does not start */
    char dir[PATH_ROOM], kv_dir[PATH_ROOM], cluster_dir[PATH_ROOM], address[PATH_ROOM], name[16];
    char *addresses[1];
    uint32_t naddresses;
    struct kv_node kv;
    struct cairn_provider_node about;
    struct cairn_provider_env env;
    struct cairn_gossip gossip;
    struct cairn_gossip_carrier carrier;
    bool hears[3]; /* of whom, where there is a group */
    struct cairn_rpc_node rpc_node;
    struct cairn_addr addr;
    struct cairn_watch listener;
    void *ctx;
    struct cairn_cluster *c;
};

struct world {
    char dir[SCRATCH_MAX];
    struct cairn_loop loop; /* the map store's home */
    struct cairn_pool *pool;
    struct cairn_map_store *map;
    uint64_t lease_ns;
    bool has_group;
    struct node nodes[NODES];
};

/* A round of a group's packets. */
static inline void gossip(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        for (int k = 0; k < NODES; k++) {
            struct cairn_gossip *to = &w->nodes[i].gossip;
            struct cairn_gossip_word word = w->nodes[k].gossip.word;

            if (i != k && w->nodes[i].up && w->nodes[k].up && w->nodes[i].hears[k] && word.version > to->word.version)
                cairn_gossip_hear(to, &word);
        }
    }
}

static inline void turn(struct world *w)
{
    cairn_loop_turn(&w->loop, 0);
    if (w->has_group)
        gossip(w);
    for (int i = 0; i < NODES; i++) {
        if (w->nodes[i].up)
            cairn_loop_turn(&w->nodes[i].kv.loop, MS / 5);
    }
}

static inline void turns(struct world *w, const bool *until)
{
    WHILE_PATIENT (!*until)
        turn(w);
}

/* ---- nodes ---- */

static inline void on_connection(void *arg, uint32_t ready)
{
    struct node *n = arg;
    int fd = accept4(n->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    if (fd >= 0)
        cairn_rpc_accept(n->kv.rpc, fd, true);
}

static inline bool extents_has(const struct extents *x, uint64_t id)
{
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->ids[i] == id)
            return true;
    }
    return false;
}

static inline void extents_add(struct extents *x, uint64_t id)
{
    assert_true(x->n < ARRAY_SIZE(x->ids));
    x->ids[x->n++] = id;
}

static inline void on_region_stat(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentId *m = (const Cairn__Wire__ExtentId *)rq->msg;
    Cairn__Wire__ExtentStatReply reply = CAIRN__WIRE__EXTENT_STAT_REPLY__INIT;
    const struct extents *x = rq->target->ctx;

    reply.length = m->id == x->longer ? LEN + 1 : LEN;
    reply.owner = (CAIRN_REGION_OWNER_TAG | NS) + (m->id == x->foreign);
    reply.quarantined = m->id == x->damaged;
    reply.sealed = true;
    cairn_rpc_reply(rq, extents_has(x, m->id) ? 0 : CAIRN_E_NOTFOUND, &reply.base, NULL, 0);
}

static inline void region_read(const struct extents *x, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRead *m = (const Cairn__Wire__ExtentRead *)rq->msg;
    Cairn__Wire__ExtentReadReply reply = CAIRN__WIRE__EXTENT_READ_REPLY__INIT;
    uint32_t crc = 0;

    reply.length = m->length;
    reply.crcs = &crc;
    reply.n_crcs = 1;
    cairn_rpc_reply(rq, extents_has(x, m->id) ? 0 : CAIRN_E_NOTFOUND, &reply.base, NULL, 0);
}

/* Whoever asked is gone, or we are. */
static inline void on_read_canceled(struct cairn_rpc_req *rq, void *arg)
{
    struct extents *x = arg;

    for (uint32_t i = 0; i < x->nheld; i++) {
        if (x->held_reads[i] == rq)
            x->held_reads[i] = x->held_reads[--x->nheld];
    }
    cairn_rpc_reply_err(rq, CAIRN_E_CANCELED, "canceled");
}

static inline void on_region_read(struct cairn_rpc_req *rq)
{
    struct extents *x = rq->target->ctx;

    assert_non_null(rq->peer); /* another node's memory */
    x->reads++;
    if (!x->holds_reads) {
        region_read(x, rq);
        return;
    }
    assert_true(x->nheld < ARRAY_SIZE(x->held_reads));
    x->held_reads[x->nheld++] = rq;
    rq->on_cancel = on_read_canceled;
    rq->on_cancel_arg = x;
}

static inline void reads_go_on(struct extents *x)
{
    x->holds_reads = false;
    while (x->nheld > 0)
        region_read(x, x->held_reads[--x->nheld]);
}

static inline void on_region_remove(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRemove *m = (const Cairn__Wire__ExtentRemove *)rq->msg;
    Cairn__Wire__KvStatuses reply = CAIRN__WIRE__KV_STATUSES__INIT;
    struct extents *x = rq->target->ctx;
    int32_t status = CAIRN_E_NOTFOUND;

    assert_int_equal(m->n_ids, 1);
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->ids[i] != m->ids[0])
            continue;
        x->ids[i] = x->ids[--x->n];
        status = 0;
    }
    x->damaged = x->damaged == m->ids[0] ? 0 : x->damaged;
    x->longer = x->longer == m->ids[0] ? 0 : x->longer;
    x->removes++;
    reply.status = &status;
    reply.n_status = 1;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static inline void region_stored(struct extents *x, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentPut *m = (const Cairn__Wire__ExtentPut *)rq->msg;
    Cairn__Wire__ExtentId reply = CAIRN__WIRE__EXTENT_ID__INIT;

    assert_int_equal(m->durability, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC);
    assert_true(m->owner == (CAIRN_REGION_OWNER_TAG | NS));
    assert_false(extents_has(x, m->id));
    reply.id = m->id;
    extents_add(x, m->id);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static inline void on_region_put(struct cairn_rpc_req *rq)
{
    struct extents *x = rq->target->ctx;

    if (x->holds)
        x->held = rq;
    else
        region_stored(x, rq);
}

static cairn_rpc_handler *const extent_handlers[] = {
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT] = on_region_put,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ] = on_region_read,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT] = on_region_stat,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE] = on_region_remove,
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_SCRUB] = NULL,
};

static inline void on_carry(struct cairn_gossip_carrier *c, const struct cairn_gossip_word *w)
{
    (void)c;
    (void)w; /* the next round has it */
}

static inline enum cairn_gossip_belief on_believes(struct cairn_gossip_carrier *c, const struct cairn_gossip_self *who)
{
    (void)c;
    (void)who;
    return CAIRN_GOSSIP_UNKNOWN;
}

static inline uint32_t on_size(struct cairn_gossip_carrier *c)
{
    (void)c;
    return NODES; /* nobody is missing */
}

static inline void add_cluster(struct kv_node *kv, void *arg)
{
    struct node *n = arg;
    struct cairn_err err = { 0 };
    struct cairn_cluster_conf conf = { .map = n->w->map,
                                       .node_id = n->id + 1,
                                       .disk_id = 1000 + n->id,
                                       .kv = "kv",
                                       .extent = "extents",
                                       .slot_bits = SLOT_BITS,
                                       .zone = n->name,
                                       .weight = 100,
                                       .lease_ns = n->w->lease_ns,
                                       .heartbeat_ns = 100 * MS,
                                       .election_ns = UINT64_C(2000) * MS,
                                       .resend_ns = 50 * MS,
                                       .ack_ns = UINT64_C(4000) * MS, /* a real disk's syncs may take that long */
                                       .learner_ns = 200 * MS,
                                       .session_ttl_ns = UINT64_C(600000) * MS,
                                       .sync_interval_ns = 20 * MS,
                                       .checkpoint_bytes = UINT64_C(256) << 20,
                                       .lost_wait_ns = UINT64_C(60000) * MS,
                                       .moves_max = 64,
                                       .moves_per_node_max = 64 };

    n->env = kv->env;
    n->env.name = "cluster";
    n->env.dir = n->cluster_dir;
    n->env.node = &n->about;
    if (n->w->has_group) {
        n->gossip = (struct cairn_gossip){ 0 };
        n->carrier = (struct cairn_gossip_carrier){ .carry = on_carry, .believes = on_believes, .size = on_size };
        cairn_gossip_join(&n->gossip, &n->carrier);
        n->env.gossip = &n->gossip;
    }
    if (n->misses_log) {
        assert_int_equal(cairn_cluster_start(&n->env, &conf, &n->ctx, &err), CAIRN_E_CORRUPT);
        return;
    }
    if (cairn_cluster_start(&n->env, &conf, &n->ctx, &err) != 0)
        fail_msg("%s", err.text);
    n->c = n->ctx;
    kv->targets[kv->ntargets++] = (struct cairn_rpc_target){ .iface = cairn_cluster_desc.iface,
                                                             .handlers = cairn_cluster_desc.handlers,
                                                             .ctx = n->ctx,
                                                             .name = "cluster",
                                                             .id = CAIRN_PROVIDER_CLUSTER };
    kv->targets[kv->ntargets++] = (struct cairn_rpc_target){ .iface = &cairn_iface_extent,
                                                             .handlers = extent_handlers,
                                                             .ctx = &n->extents,
                                                             .name = "extents",
                                                             .id = CAIRN_PROVIDER_FIRST + 9 };
}

static inline void node_start(struct world *w, uint32_t i)
{
    const struct cairn_bulk_conf bulk = { .vm = false };
    struct node *n = &w->nodes[i];
    struct cairn_err err = { 0 };
    char root[SCRATCH_MAX];
    int fd;

    memcpy(root, w->dir, sizeof(root));
    n->w = w;
    n->id = i;
    memcpy(n->name, (char[]){ 'n', (char)('1' + i), '\0' }, 3);
    snprintf(n->dir, sizeof(n->dir), "%s/%u", root, i);
    snprintf(n->kv_dir, sizeof(n->kv_dir), "%s/%u/kv", root, i);
    snprintf(n->cluster_dir, sizeof(n->cluster_dir), "%s/%u/cluster", root, i);
    snprintf(n->address, sizeof(n->address), "unix://%s/%u/sock", root, i);
    mkdir(n->dir, 0700);
    mkdir(n->kv_dir, 0700);
    mkdir(n->cluster_dir, 0700);
    n->addresses[0] = n->address;
    n->naddresses = 1;
    n->about = (struct cairn_provider_node){ .name = n->name,
                                             .cluster_id = n->rpc_node.cluster_id,
                                             .key = n->rpc_node.key,
                                             .addresses = n->addresses,
                                             .naddresses = &n->naddresses };
    kv_node_start(&n->kv, "rocksdb", n->kv_dir, add_cluster, n);
    assert_int_equal(cairn_bulk_attach(n->kv.rpc, &bulk, &err), 0);
    n->rpc_node.incarnation++;
    memcpy(n->rpc_node.name, n->name, sizeof(n->name));
    n->rpc_node.has_key = true;
    n->rpc_node.connections_max = 64;
    n->rpc_node.session_ttl_ns = CAIRN_NS_PER_S;
    n->rpc_node.stalled_ns = 30 * CAIRN_NS_PER_S;
    n->rpc_node.workers = &n->kv.rpc;
    n->rpc_node.nworkers = 1;
    assert_int_equal(cairn_rpc_serve(n->kv.rpc, &n->rpc_node), 0);
    assert_int_equal(cairn_addr_parse(n->address, &n->addr, &err), 0);
    assert_int_equal(cairn_addr_listen(&n->addr, 64, 0600, &fd, &err), 0);
    assert_int_equal(cairn_watch_init(&n->listener, &n->kv.loop, fd, on_connection, n), 0);
    cairn_watch_arm(&n->listener, CAIRN_WATCH_READ);
    cairn_cluster_attach(n->ctx, n->kv.rpc);
    n->up = true;
    cairn_cluster_desc.run(n->ctx);
}

static inline void on_over(void *arg)
{
    *(bool *)arg = true;
}

/* What is left of a stop when the service was told to end. */
static inline void node_end(struct world *w, uint32_t i)
{
    struct node *n = &w->nodes[i];
    int fd = n->listener.fd;

    cairn_watch_fini(&n->listener);
    close(fd);
    turns(w, &n->over);
    n->over = false;
    cairn_rpc_drain(n->kv.rpc, cairn_loop_now(&n->kv.loop), on_over, &n->over);
    turns(w, &n->over);
    for (int k = 0; k < 50 || !cairn_rpc_is_idle(n->kv.rpc); k++)
        turn(w);
    n->up = false;
    cairn_cluster_desc.stop(n->ctx);
    cairn_bulk_detach(n->kv.rpc);
    kv_node_stop(&n->kv);
}

static inline void node_stop(struct world *w, uint32_t i)
{
    struct node *n = &w->nodes[i];

    n->over = false;
    cairn_cluster_desc.drain(n->ctx);
    cairn_cluster_desc.quiesce(n->ctx, on_over, &n->over);
    node_end(w, i);
}

static inline int setup_world(void **state, uint64_t lease_ns, bool has_group)
{
    struct world *w = calloc(1, sizeof(*w));
    struct cairn_err err = { 0 };

    w->lease_ns = lease_ns;
    w->has_group = has_group;
    for (uint32_t i = 0; i < NODES; i++)
        memset(w->nodes[i].hears, true, sizeof(w->nodes[i].hears));
    scratch_new(w->dir);
    assert_int_equal(cairn_loop_init(&w->loop, NULL, &err), 0);
    w->pool = cairn_pool_new(1, 64, &err);
    assert_int_equal(cairn_map_store_local_open("", w->pool, &w->loop, &w->map, &err), 0);
    *state = w;
    for (uint32_t i = 0; i < NODES; i++)
        node_start(w, i);
    return 0;
}

static inline int setup_with(void **state, uint64_t lease_ns)
{
    return setup_world(state, lease_ns, false);
}

static inline int setup(void **state)
{
    return setup_with(state, UINT64_C(2000) * MS);
}

static inline int setup_group(void **state)
{
    return setup_world(state, UINT64_C(10000) * MS, true);
}

static inline int setup_long_leases(void **state)
{
    return setup_with(state, UINT64_C(10000) * MS);
}

static inline int teardown(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 0; i < NODES; i++) {
        if (w->nodes[i].up)
            node_stop(w, i);
    }
    cairn_map_store_close(w->map);
    cairn_pool_free(w->pool);
    cairn_loop_fini(&w->loop);
    scratch_remove(w->dir);
    free(w);
    return 0;
}

/* ---- what is asked ---- */

struct asked {
    bool done;
    int rc;
    char text[CAIRN_ERR_TEXT_MAX];
};

static inline void on_asked(struct cairn_rpc_call *call)
{
    struct asked *a = call->arg;

    a->done = true;
    a->rc = call->rc;
    if (call->rc != 0)
        snprintf(a->text, sizeof(a->text), "%s", call->err->text);
}

/* Of whoever coordinates. */
static inline void create_class(struct world *w, uint32_t replicas)
{
    Cairn__Wire__ClusterClass msg = CAIRN__WIRE__CLUSTER_CLASS__INIT;
    struct asked a = { .rc = CAIRN_E_MOVED };

    msg.replicas = replicas;
    msg.min_insync = 1;
    for (uint32_t i = 0; a.rc == CAIRN_E_MOVED || a.rc == CAIRN_E_BUSY; i = (i + 1) % NODES) {
        struct cairn_err err = { 0 };
        struct cairn_rpc_call call = { .dest.rpc = w->nodes[i].kv.rpc,
                                       .iface = &cairn_iface_cluster,
                                       .provider = CAIRN_PROVIDER_CLUSTER,
                                       .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_CREATE_CLASS,
                                       .msg = &msg.base,
                                       .done = on_asked,
                                       .err = &err,
                                       .arg = &a };

        a.done = false;
        cairn_rpc_call_start(&call);
        turns(w, &a.done);
    }
    if (a.rc != 0)
        fail_msg("no class: %s", a.text);
}

static inline bool leads(struct world *w, uint32_t i, uint32_t slot)
{
    uint64_t token;

    return w->nodes[i].up && cairn_cluster_read_begin(w->nodes[i].c, slot, &token) == 0;
}

static inline uint32_t leader_of(struct world *w, uint32_t slot)
{
    WHILE_PATIENT (true) {
        for (uint32_t i = 0; i < NODES; i++) {
            if (leads(w, i, slot))
                return i;
        }
        turn(w);
    }
}

/* Another may be elected first. */
static inline uint32_t coordinator_of(struct world *w)
{
    WHILE_PATIENT (true) {
        for (uint32_t i = 0; i < NODES; i++) {
            if (w->nodes[i].up && cairn_coordinator_is_serving(w->nodes[i].c->coordinator))
                return i;
        }
        turn(w);
    }
}

static inline void expect_leases(struct world *w)
{
    for (uint32_t i = 0; i < NODES; i++) {
        WHILE_PATIENT (!side_lease_is_valid(w->nodes[i].c))
            turn(w);
    }
}

static inline void on_written(struct cairn_cluster_write *cw, int rc)
{
    struct asked *a = cw->arg;

    a->done = true;
    a->rc = rc;
}

static inline int put(struct world *w, uint32_t i, uint32_t slot, const char *key, const char *record, int32_t *result)
{
    struct asked a = { 0 };
    struct cairn_cluster_write cw = { .cluster = w->nodes[i].c,
                                      .slot = slot,
                                      .op = CAIRN_CLUSTER_PUT,
                                      .ns = NS,
                                      .write_once = true,
                                      .sync = true,
                                      .number = 1 + (uint64_t)(uintptr_t)record % 97,
                                      .key = (const uint8_t *)key,
                                      .key_len = (uint32_t)strlen(key),
                                      .record = (const uint8_t *)record,
                                      .record_len = (uint32_t)strlen(record),
                                      .timeout_ns = 10 * CAIRN_NS_PER_S,
                                      .done = on_written,
                                      .arg = &a };

    cairn_cluster_write(&cw);
    assert_false(a.done);
    turns(w, &a.done);
    *result = cw.result;
    return a.rc;
}

/* To whoever leads, until it is done. */
static inline int32_t put_somewhere(struct world *w, uint32_t slot, const char *key, const char *record)
{
    int32_t result;
    int rc;

    do {
        rc = put(w, leader_of(w, slot), slot, key, record, &result);
    } while (rc == CAIRN_E_MOVED || rc == CAIRN_E_BUSY || rc == CAIRN_E_TIMEOUT);
    assert_int_equal(rc, 0);
    return result;
}

static inline void expect_all_active(struct world *w, uint32_t replicas)
{
    for (uint32_t slot = (replicas - 1) << SLOT_BITS; slot < replicas << SLOT_BITS; slot++)
        leader_of(w, slot);
}

#endif
