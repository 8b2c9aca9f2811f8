/* Three nodes on one thread, with real logs, KV providers and sockets, that share a map store: they register, slots
 * are placed, what is written is read where it is led from, and another leads when a node is gone. Regions of large
 * values are names only. */
#include "sdk/core/bulk/bulk.h"
#include "sdk/core/rpc/accept.h"
#include "server/cluster/map_store.h"
#include "server/cluster/service/coordinator.h"
#include "server/cluster/service/record.h"
#include "server/cluster/service/side.h"
#include "tests/lib/kv_node.h"
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
enum { LEN = 1000, NODES = 3, SLOT_BITS = 10, TURNS_MAX = 100000, MS = 1000000, PATH_ROOM = SCRATCH_MAX + 48 };

/* The regions that a node has. */
struct extents {
    uint64_t ids[64];
    uint32_t n, reads;
    bool holds; /* what is to be stored stays under way */
    struct cairn_rpc_req *held;
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
    struct node nodes[NODES];
};

static void turn(struct world *w)
{
    cairn_loop_turn(&w->loop, 0);
    for (int i = 0; i < NODES; i++) {
        if (w->nodes[i].up)
            cairn_loop_turn(&w->nodes[i].kv.loop, MS / 5);
    }
}

static void turns(struct world *w, const bool *until)
{
    for (int i = 0; !*until; i++) {
        assert_true(i < TURNS_MAX);
        turn(w);
    }
}

/* ---- nodes ---- */

static void on_connection(void *arg, uint32_t ready)
{
    struct node *n = arg;
    int fd = accept4(n->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    if (fd >= 0)
        cairn_rpc_accept(n->kv.rpc, fd, true);
}

static bool extents_has(const struct extents *x, uint64_t id)
{
    for (uint32_t i = 0; i < x->n; i++) {
        if (x->ids[i] == id)
            return true;
    }
    return false;
}

static void on_region_stat(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentId *m = (const Cairn__Wire__ExtentId *)rq->msg;
    Cairn__Wire__ExtentStatReply reply = CAIRN__WIRE__EXTENT_STAT_REPLY__INIT;

    reply.length = LEN;
    reply.sealed = true;
    cairn_rpc_reply(rq, extents_has(rq->target->ctx, m->id) ? 0 : CAIRN_E_NOTFOUND, &reply.base, NULL, 0);
}

static void on_region_read(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRead *m = (const Cairn__Wire__ExtentRead *)rq->msg;
    Cairn__Wire__ExtentReadReply reply = CAIRN__WIRE__EXTENT_READ_REPLY__INIT;
    struct extents *x = rq->target->ctx;
    uint32_t crc = 0;

    assert_non_null(rq->peer); /* another node's memory */
    x->reads++;
    reply.length = m->length;
    reply.crcs = &crc;
    reply.n_crcs = 1;
    cairn_rpc_reply(rq, extents_has(x, m->id) ? 0 : CAIRN_E_NOTFOUND, &reply.base, NULL, 0);
}

static void region_stored(struct extents *x, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentPut *m = (const Cairn__Wire__ExtentPut *)rq->msg;
    Cairn__Wire__ExtentId reply = CAIRN__WIRE__EXTENT_ID__INIT;

    assert_int_equal(m->durability, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC);
    assert_true(m->owner == (CAIRN_REGION_OWNER_TAG | NS));
    x->ids[x->n++] = reply.id = m->id;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void on_region_put(struct cairn_rpc_req *rq)
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
    [CAIRN__WIRE__EXTENT_METHOD__EXTENT_SCRUB] = NULL,
};

static void add_cluster(struct kv_node *kv, void *arg)
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
                                       .ack_ns = 400 * MS,
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

static void node_start(struct world *w, uint32_t i)
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

static void on_over(void *arg)
{
    *(bool *)arg = true;
}

static void node_stop(struct world *w, uint32_t i)
{
    struct node *n = &w->nodes[i];
    int fd = n->listener.fd;

    cairn_watch_fini(&n->listener);
    close(fd);
    n->over = false;
    cairn_cluster_desc.drain(n->ctx);
    cairn_cluster_desc.quiesce(n->ctx, on_over, &n->over);
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

static int setup_with(void **state, uint64_t lease_ns)
{
    struct world *w = calloc(1, sizeof(*w));
    struct cairn_err err = { 0 };

    w->lease_ns = lease_ns;
    scratch_new(w->dir);
    assert_int_equal(cairn_loop_init(&w->loop, NULL, &err), 0);
    w->pool = cairn_pool_new(1, 64, &err);
    assert_int_equal(cairn_map_store_local_open("", w->pool, &w->loop, &w->map, &err), 0);
    *state = w;
    for (uint32_t i = 0; i < NODES; i++)
        node_start(w, i);
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, UINT64_C(2000) * MS);
}

static int setup_long_leases(void **state)
{
    return setup_with(state, UINT64_C(10000) * MS);
}

static int setup_endless_leases(void **state)
{
    return setup_with(state, UINT64_C(60000) * MS);
}

static int teardown(void **state)
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

static void on_asked(struct cairn_rpc_call *call)
{
    struct asked *a = call->arg;

    a->done = true;
    a->rc = call->rc;
    if (call->rc != 0)
        snprintf(a->text, sizeof(a->text), "%s", call->err->text);
}

/* Of whoever coordinates. */
static void create_class(struct world *w, uint32_t replicas)
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

static bool leads(struct world *w, uint32_t i, uint32_t slot)
{
    uint64_t token;

    return w->nodes[i].up && cairn_cluster_read_begin(w->nodes[i].c, slot, &token) == 0;
}

static uint32_t leader_of(struct world *w, uint32_t slot)
{
    for (int k = 0; k < TURNS_MAX; k++) {
        for (uint32_t i = 0; i < NODES; i++) {
            if (leads(w, i, slot))
                return i;
        }
        turn(w);
    }
    fail_msg("nobody leads slot %u", slot);
    return 0;
}

static void expect_leases(struct world *w)
{
    for (uint32_t i = 0; i < NODES; i++) {
        for (int k = 0; !side_lease_is_valid(w->nodes[i].c); k++) {
            if (k == TURNS_MAX)
                fail_msg("node %u is %s", i, side_life_state(w->nodes[i].c));
            turn(w);
        }
    }
}

static void on_written(struct cairn_cluster_write *cw, int rc)
{
    struct asked *a = cw->arg;

    a->done = true;
    a->rc = rc;
}

static int put(struct world *w, uint32_t i, uint32_t slot, const char *key, const char *record, int32_t *result)
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
static int32_t put_somewhere(struct world *w, uint32_t slot, const char *key, const char *record)
{
    int32_t result;
    int rc;

    do {
        rc = put(w, leader_of(w, slot), slot, key, record, &result);
    } while (rc == CAIRN_E_MOVED || rc == CAIRN_E_BUSY || rc == CAIRN_E_TIMEOUT);
    assert_int_equal(rc, 0);
    return result;
}

static void expect_all_active(struct world *w, uint32_t replicas)
{
    for (uint32_t slot = (replicas - 1) << SLOT_BITS; slot < replicas << SLOT_BITS; slot++)
        leader_of(w, slot);
}

/* ---- stories ---- */

static void nodes_register_and_lead(void **state)
{
    struct world *w = *state;
    uint32_t led[NODES] = { 0 }, slot;
    char key[32];

    expect_leases(w);
    create_class(w, 3);
    expect_all_active(w, 3);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        assert_true(cairn_cluster_slot(w->nodes[i % NODES].c, 3, key, strlen(key), &slot));
        assert_in_range(slot, 2 << SLOT_BITS, (3 << SLOT_BITS) - 1);
        assert_int_equal(put_somewhere(w, slot, key, "record"), 0);
        led[leader_of(w, slot)]++;
        assert_int_equal(cairn_cluster_leader(w->nodes[i % NODES].c, slot), leader_of(w, slot) + 1);
    }
    for (uint32_t i = 0; i < NODES; i++)
        assert_true(led[i] > 0);
    assert_int_equal(put_somewhere(w, slot, key, "other"), CAIRN_E_EXISTS);
}

/* Who does not lead says so, and a token does not outlive the lead. */
/* Of each slot one node tells; what they tell of adds up to all, by number and by marks. */
static void expect_told_once(struct world *w, uint32_t replicas)
{
    uint32_t first = (replicas - 1) << SLOT_BITS, n = 0;
    uint64_t sum = 0, all = 0;

    for (uint32_t i = 0; i < NODES; i++) {
        struct cairn_cluster_led led, again;

        assert_int_equal(cairn_cluster_led(w->nodes[i].c, first, 1 << SLOT_BITS, &led), 0);
        assert_int_equal(cairn_cluster_led(w->nodes[i].c, first, 1 << SLOT_BITS, &again), 0);
        assert_true(led.n == again.n && led.sum == again.sum && led.since == again.since);
        n += led.n;
        sum += led.sum;
    }
    for (uint32_t slot = first; slot < first + (1 << SLOT_BITS); slot++)
        all += cairn_placement_slot_mark(slot);
    assert_int_equal(n, 1 << SLOT_BITS);
    assert_true(sum == all);
    assert_int_equal(cairn_cluster_led(w->nodes[0].c, UINT32_MAX, 2, &(struct cairn_cluster_led){ 0 }), CAIRN_E_INVAL);
}

/* As many nodes may tell what they have of it. */
static void expect_in_sync(struct world *w, uint32_t slot, uint32_t n)
{
    uint32_t in_sync = 0;

    for (uint32_t i = 0; i < NODES; i++) {
        in_sync += cairn_cluster_is_in_sync(w->nodes[i].c, slot);
        assert_true(!leads(w, i, slot) || cairn_cluster_is_in_sync(w->nodes[i].c, slot));
        assert_false(cairn_cluster_is_in_sync(w->nodes[i].c, UINT32_MAX));
    }
    assert_int_equal(in_sync, n);
}

static void another_leads_when_a_node_is_gone(void **state)
{
    struct world *w = *state;
    uint32_t slot, first;
    uint64_t token;
    int32_t result;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    assert_int_equal(put_somewhere(w, slot, "k", "one"), 0);
    first = leader_of(w, slot);
    for (uint32_t i = 0; i < NODES; i++) {
        if (i != first)
            assert_int_equal(put(w, i, slot, "k", "two", &result), CAIRN_E_MOVED);
    }
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, slot, &token), 0);
    assert_int_equal(cairn_cluster_read_end(w->nodes[first].c, slot, token), 0);
    assert_int_not_equal(cairn_cluster_read_end(w->nodes[(first + 1) % NODES].c, slot, token), 0);
    expect_all_active(w, 2);
    expect_told_once(w, 2);
    expect_in_sync(w, slot, 2);
    node_stop(w, first);
    assert_int_equal(put_somewhere(w, slot, "k", "two"), CAIRN_E_EXISTS);
    assert_int_equal(put_somewhere(w, slot, "k2", "three"), 0);
    assert_int_not_equal(leader_of(w, slot), first);
    node_start(w, first); /* it comes back, with another incarnation and its records */
    expect_leases(w);
    expect_all_active(w, 2);
}

static uint32_t coordinator_of(struct world *w)
{
    uint32_t found = NODES;

    for (uint32_t i = 0; i < NODES; i++) {
        if (w->nodes[i].up && cairn_coordinator_is_serving(w->nodes[i].c->coordinator))
            found = i;
    }
    assert_true(found < NODES);
    return found;
}

static void stand_still(uint64_t ms)
{
    struct timespec t = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * MS) };

    nanosleep(&t, NULL);
}

/* A lease is judged by the clock, when the answer is given: a node whose loops stand still for longer than it lasts
 * gives no more answers, before any timer of its own has run. */
static void a_stalled_node_gives_no_answer(void **state)
{
    struct world *w = *state;
    uint32_t slot, first;
    uint64_t token;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    assert_int_equal(put_somewhere(w, slot, "k", "one"), 0);
    first = leader_of(w, slot);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, slot, &token), 0);
    stand_still(2001);
    assert_int_not_equal(cairn_cluster_read_end(w->nodes[first].c, slot, token), 0);
    assert_int_not_equal(cairn_cluster_read_begin(w->nodes[first].c, slot, &token), 0);
    expect_leases(w);
}

/* One that stood still for a quarter of it gives it up, though it is not over, and asks anew. */
static void a_node_that_stood_still_gives_its_lease_up(void **state)
{
    struct world *w = *state;
    uint32_t first;

    expect_leases(w);
    first = (coordinator_of(w) + 1) % NODES; /* whose heartbeats nobody answers meanwhile */
    stand_still(2700);
    assert_true(side_lease_is_valid(w->nodes[first].c));
    for (int i = 0; i < 3; i++)
        cairn_loop_turn(&w->nodes[first].kv.loop, 0);
    assert_false(side_lease_is_valid(w->nodes[first].c));
    expect_leases(w);
}

/* Whoever coordinates grants itself nothing beyond its term, so its successor waits for nobody: what the old one led
 * has another leader long before a lease that anybody else held would be over. */
static void slots_of_a_coordinator_that_left_wait_for_no_lease(void **state)
{
    struct world *w = *state;
    uint32_t first = NODES, slot = 0;
    uint64_t killed, led;
    char key[32];

    expect_leases(w);
    create_class(w, 2);
    expect_all_active(w, 2);
    for (int i = 0; first == NODES; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_true(cairn_cluster_slot(w->nodes[0].c, 2, key, strlen(key), &slot));
        if (leader_of(w, slot) == coordinator_of(w))
            first = coordinator_of(w);
    }
    assert_int_equal(put_somewhere(w, slot, key, "one"), 0);
    assert_true(atomic_load(&w->nodes[first].c->side->lease_until_ns) <=
                cairn_coordinator_term_until(w->nodes[first].c->coordinator));
    killed = cairn_env_now_ns(&w->loop.env);
    node_stop(w, first);
    assert_int_equal(put_somewhere(w, slot, key, "two"), CAIRN_E_EXISTS);
    led = cairn_env_now_ns(&w->loop.env);
    assert_true(led - killed < w->lease_ns / 2);
}

/* A coordinator that is silent answers no heartbeat, nor is there anybody to say so. Another one hears from all who are
 * left as soon as it is elected, not when those heartbeats have had their time, which is that of a lease. */
static void another_coordinator_hears_all_at_once(void **state)
{
    struct world *w = *state;
    uint32_t silent, next = NODES;
    bool heard = false;

    expect_leases(w);
    silent = coordinator_of(w);
    w->nodes[silent].up = false;
    for (int k = 0; k < 2500; k++) /* heartbeats go out */
        turn(w);
    cairn_coordinator_stop(w->nodes[silent].c->coordinator); /* its election is on the store's loop, and would go on */
    for (int k = 0; !heard && k < TURNS_MAX / 4; k++) {
        turn(w);
        for (uint32_t i = 0; i < NODES; i++) {
            if (i != silent && cairn_coordinator_is_serving(w->nodes[i].c->coordinator))
                next = i;
        }
        heard = next < NODES;
        for (uint32_t i = 0; i < NODES && heard; i++) {
            const struct cairn_coord_node *n = cairn_coord_node(&w->nodes[next].c->coordinator->coord, i + 1);

            heard = i == silent || (n != NULL && n->granted);
        }
    }
    w->nodes[silent].up = true;
    if (!heard)
        fail_msg("node %u coordinates, and has not heard all", next);
}

/* ---- regions ---- */

struct large {
    struct asked a;
    struct cairn_cluster_write cw;
    uint8_t record[CAIRN_RECORD_EXTENTS_HEAD_BYTES + CAIRN_RECORD_REGION_BYTES];
};

/* A write of @key by node @i, whose record names region @id. */
static void large_put(struct world *w, struct large *x, uint32_t i, uint32_t slot, const char *key, uint64_t id)
{
    struct cairn_record_region region = { .id = id, .len = LEN };

    cairn_record_put_extents(x->record, 0, &region, 1);
    x->a = (struct asked){ 0 };
    x->cw = (struct cairn_cluster_write){ .cluster = w->nodes[i].c,
                                          .slot = slot,
                                          .op = CAIRN_CLUSTER_PUT,
                                          .ns = NS,
                                          .write_once = true,
                                          .sync = true,
                                          .number = id,
                                          .key = (const uint8_t *)key,
                                          .key_len = (uint32_t)strlen(key),
                                          .record = x->record,
                                          .record_len = sizeof(x->record),
                                          .timeout_ns = 10 * CAIRN_NS_PER_S,
                                          .done = on_written,
                                          .arg = &x->a };
    cairn_cluster_write(&x->cw);
}

static void on_spread(struct cairn_cluster_spread *s, int rc)
{
    struct asked *a = s->arg;

    a->done = true;
    a->rc = rc;
}

struct names {
    bool done;
    int rc;
    uint32_t n;
    uint64_t ids[16];
};

static void on_name(void *arg, uint64_t id)
{
    struct names *x = arg;

    x->ids[x->n++] = id;
}

static void on_named(void *arg, int rc)
{
    struct names *x = arg;

    x->done = true;
    x->rc = rc;
}

static bool is_member(struct world *w, uint32_t slot, uint32_t i)
{
    struct cairn_slot_record rec;

    for (uint32_t k = 0; k < NODES; k++) {
        if (!cairn_cluster_records_slot(w->nodes[k].c->records, slot, &rec))
            continue;
        for (uint32_t n = 0; n < rec.ninsync; n++) {
            if (rec.insync[n].node == i + 1)
                return true;
        }
    }
    return false;
}

static uint32_t member_other_than(struct world *w, uint32_t slot, uint32_t i)
{
    struct cairn_slot_record rec;

    assert_true(cairn_cluster_records_slot(w->nodes[i].c->records, slot, &rec));
    assert_int_equal(rec.ninsync, 2);
    return (uint32_t)rec.insync[rec.insync[0].node == i + 1 ? 1 : 0].node - 1;
}

/* I11: nobody has an entry, so nobody acknowledges it, before he has what it names. */
static void an_entry_waits_for_its_region(void **state)
{
    struct world *w = *state;
    struct names names = { 0 };
    struct cairn_cluster_named named = { .fn = on_name, .done = on_named, .arg = &names };
    struct large x;
    struct extents *leads, *other;
    uint32_t slot, i, k;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    assert_int_equal(put_somewhere(w, slot, "first", "one"), 0);
    i = leader_of(w, slot);
    k = member_other_than(w, slot, i);
    leads = &w->nodes[i].extents;
    other = &w->nodes[k].extents;

    leads->ids[leads->n++] = 77;
    other->holds = true;
    large_put(w, &x, i, slot, "k", 77);
    for (int n = 0; n < TURNS_MAX && other->held == NULL; n++)
        turn(w);
    for (int n = 0; n < 100; n++) {
        turn(w);
        assert_true(!x.a.done || !is_member(w, slot, k)); /* it is given up if this takes too long */
    }
    assert_int_equal(leads->reads, 1); /* however often the entry came */
    other->holds = false;
    region_stored(other, other->held);
    turns(w, &x.a.done);
    assert_int_equal(x.a.rc, 0);

    /* What the one that leads has no more, though its log names it, nobody waits for. */
    do {
        large_put(w, &x, i, slot, "k2", 78);
        turns(w, &x.a.done);
    } while (x.a.rc == CAIRN_E_BUSY);
    assert_int_equal(x.a.rc, 0);
    for (int n = 0; n < TURNS_MAX && leads->reads == 1; n++)
        turn(w);

    /* The sweeper hears of both, at either. */
    for (int n = 0; names.n < 2; n++) {
        assert_true(n < 1000);
        names = (struct names){ 0 };
        named.cluster = w->nodes[k].c;
        cairn_cluster_named(&named);
        turns(w, &names.done);
        assert_int_equal(names.rc, 0);
    }
    assert_true(names.ids[0] == 77 && names.ids[1] == 78);
}

static void members_fetch_what_they_are_told_of(void **state)
{
    struct world *w = *state;
    struct cairn_record_region regions[] = { { 11, LEN }, { 12, LEN }, { 13, LEN } };
    struct asked a = { 0 };
    struct cairn_cluster_spread s = { .owner = CAIRN_REGION_OWNER_TAG | NS,
                                      .regions = regions,
                                      .nregions = 3,
                                      .timeout_ns = 10 * CAIRN_NS_PER_S,
                                      .done = on_spread,
                                      .arg = &a };
    uint64_t ids[] = { 10, 11, 12, 13, 14 };
    uint32_t i, k;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &s.slot));
    assert_int_equal(put_somewhere(w, s.slot, "first", "one"), 0);
    i = leader_of(w, s.slot);
    k = member_other_than(w, s.slot, i);
    for (uint32_t n = 0; n < 3; n++)
        w->nodes[i].extents.ids[w->nodes[i].extents.n++] = regions[n].id;
    w->nodes[k].extents.ids[w->nodes[k].extents.n++] = 12; /* it is there from another time */

    s.cluster = w->nodes[k].c;
    cairn_cluster_spread(&s);
    turns(w, &a.done);
    assert_int_equal(a.rc, CAIRN_E_MOVED);
    for (int n = 0; n < 2; n++) { /* the second time there is nothing to be done */
        a.done = false;
        s.cluster = w->nodes[i].c;
        cairn_cluster_spread(&s);
        assert_false(a.done);
        turns(w, &a.done);
        assert_int_equal(a.rc, 0);
        assert_int_equal(w->nodes[k].extents.n, 3);
        assert_int_equal(w->nodes[i].extents.reads, 2);
    }

    /* Pinned, they are not the sweeper's; and what is the sweeper's cannot be pinned. */
    cairn_cluster_sweep_begin(w->nodes[k].c);
    assert_int_equal(cairn_cluster_doom(w->nodes[k].c, ids, 5), 2);
    assert_true(ids[0] == 10 && ids[1] == 14);
    assert_int_equal(cairn_cluster_region_note(w->nodes[k].c, 14), CAIRN_E_BUSY);
    cairn_cluster_spare(w->nodes[k].c);
    assert_int_equal(cairn_cluster_region_note(w->nodes[k].c, 14), 0);
}

/* A node that has lost its slot log, with its number and its records still there, does not begin another: it would
 * claim what it has applied and forget what it has acknowledged. With the log put back it goes on. */
static void a_node_misses_its_log(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[2];
    char log[PATH_ROOM + 8], away[PATH_ROOM + 8];

    snprintf(log, sizeof(log), "%s/log", n->cluster_dir);
    snprintf(away, sizeof(away), "%s/away", n->cluster_dir);
    node_stop(w, 2);
    assert_int_equal(rename(log, away), 0);
    n->misses_log = true;
    for (int i = 0; i < 2; i++) {
        kv_node_start(&n->kv, "rocksdb", n->kv_dir, add_cluster, n);
        kv_node_stop(&n->kv);
    }
    n->misses_log = false;
    assert_int_equal(rmdir(log), 0); /* nothing was made in it */
    assert_int_equal(rename(away, log), 0);
    node_start(w, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_register_and_lead, setup, teardown),
        cmocka_unit_test_setup_teardown(another_leads_when_a_node_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stalled_node_gives_no_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_stood_still_gives_its_lease_up, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(slots_of_a_coordinator_that_left_wait_for_no_lease, setup_long_leases,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_coordinator_hears_all_at_once, setup_endless_leases, teardown),
        cmocka_unit_test_setup_teardown(an_entry_waits_for_its_region, setup, teardown),
        cmocka_unit_test_setup_teardown(members_fetch_what_they_are_told_of, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_misses_its_log, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
