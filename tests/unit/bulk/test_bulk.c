/* Transfers by each way, against memory that is known, and against each other. The callee ("server", it moves) and the
 * caller
 * ("client", it exposes) live on one loop, so each story is one thread; where a caller must die or stall it is a child
 * process, made before anything opens libfabric. */
#include "sdk/core/bulk/bulk_internal.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"
#include "sdk/core/rpc/session.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MEM = 9 << 20, TURNS_MAX = 400000, CHILDREN = 8 };

static const struct cairn_rpc_target bulk_target = {
    .iface = &cairn_iface_bulk, .handlers = cairn_bulk_handlers, .name = "bulk", .id = CAIRN_PROVIDER_BULK
};
static const struct cairn_rpc_conf rpc_conf = { .targets = &bulk_target,
                                                .ntargets = 1,
                                                .inflight_max = 16,
                                                .inflight_bytes_max = 16 << 20,
                                                .output_bytes_max = 16 << 20 };
static const struct cairn_bulk_conf all_ways = {
    .vm = true, .fabric = true, .provider = "tcp;ofi_rxm", .domain = "lo", .fabric_after_bytes = 1
};

struct child {
    pid_t pid;
    int sock;
};
static struct child children[CHILDREN];
static uint32_t children_used;

struct fixture {
    struct cairn_loop loop;
    struct cairn_rpc *server, *client;
    struct cairn_rpc_node node;
    struct cairn_rpc *workers[1];
    struct cairn_watch listener;
    struct cairn_addr addr;
    struct cairn_rpc_session *session;
    struct cairn_rpc_peer *peer; /* the client, as the server sees it */
    char dir[64];
    bool closed;
    uint8_t *remote, *local; /* MEM each */
    struct cairn_bulk_region region;
    uint64_t seed;
};

static uint64_t rnd(struct fixture *fx)
{
    fx->seed = fx->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return fx->seed >> 24;
}

static void fill(struct fixture *fx, uint8_t *p)
{
    for (size_t i = 0; i < MEM; i += 8) {
        uint64_t x = rnd(fx);

        memcpy(p + i, &x, 8);
    }
}

static void on_listener(void *arg, uint32_t ready)
{
    struct fixture *fx = arg;
    int fd = accept4(fx->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    assert_true(fd >= 0);
    cairn_rpc_accept(fx->server, fd, cairn_addr_is_unix(&fx->addr));
}

static void setup_with(struct fixture *fx, const char *addr, const struct cairn_bulk_conf *conf)
{
    struct cairn_err err = { 0 };
    char text[128];
    int fd = -1;

    fx->seed = 11;
    assert_int_equal(cairn_loop_init(&fx->loop, NULL, NULL), 0);
    fx->server = cairn_rpc_new(&fx->loop, &rpc_conf, NULL);
    fx->client = cairn_rpc_new(&fx->loop, &rpc_conf, NULL);
    assert_int_equal(cairn_bulk_attach(fx->server, conf, &err), 0);
    assert_int_equal(cairn_bulk_attach(fx->client, conf, &err), 0);
    fx->workers[0] = fx->server;
    fx->node = (struct cairn_rpc_node){ .incarnation = 77,
                                        .name = "n1",
                                        .insecure = true,
                                        .connections_max = 8,
                                        .workers = fx->workers,
                                        .nworkers = 1,
                                        .session_ttl_ns = 60 * CAIRN_NS_PER_S,
                                        .stalled_ns = 30 * CAIRN_NS_PER_S };
    cairn_rpc_serve(fx->server, &fx->node);
    strcpy(fx->dir, "/tmp/cairn-bulk-XXXXXX");
    assert_non_null(mkdtemp(fx->dir));
    if (addr == NULL)
        snprintf(text, sizeof(text), "unix://%s/s", fx->dir);
    else
        snprintf(text, sizeof(text), "%s", addr);
    assert_int_equal(cairn_addr_parse(text, &fx->addr, &err), 0);
    assert_int_equal(cairn_addr_listen(&fx->addr, 16, 0700, &fd, &err), 0);
    assert_int_equal(cairn_watch_init(&fx->listener, &fx->loop, fd, on_listener, fx), 0);
    assert_int_equal(cairn_watch_arm(&fx->listener, CAIRN_WATCH_READ), 0);
    fx->remote = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fx->local = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(fx->remote != MAP_FAILED && fx->local != MAP_FAILED);
    fill(fx, fx->remote);
    fill(fx, fx->local);
}

static bool turn_until(struct fixture *fx, bool (*over)(struct fixture *fx))
{
    for (int i = 0; i < TURNS_MAX && !over(fx); i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    return over(fx);
}

static bool peer_is_there(struct fixture *fx)
{
    struct cairn_rpc_peer *peer;

    if (cairn_list_is_empty(&fx->server->peers))
        return false;
    peer = CONTAINER_OF(fx->server->peers.next, struct cairn_rpc_peer, link);
    return cairn_rpc_peer_is_up(peer) && peer->bulk != NULL && !cairn_rpc_call_is_running(&peer->bulk->vm_call) &&
           (fx->session == NULL || cairn_rpc_session_is_up(fx->session)) &&
           cairn_list_is_empty(&peer->bulk->vm_task.link);
}

static void find_peer(struct fixture *fx)
{
    assert_true(turn_until(fx, peer_is_there));
    fx->peer = CONTAINER_OF(fx->server->peers.next, struct cairn_rpc_peer, link);
}

static void client_connect(struct fixture *fx)
{
    struct cairn_rpc_session_conf conf = { .naddrs = 1, .name = "test" };

    conf.addrs[0] = fx->addr;
    fx->session = cairn_rpc_session_new(fx->client, &conf, NULL);
    cairn_rpc_session_connect(fx->session);
    find_peer(fx);
}

static int setup_bare(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    setup_with(fx, NULL, &all_ways);
    *state = fx;
    return 0;
}

static int setup_unix(void **state)
{
    setup_bare(state);
    client_connect(*state);
    return 0;
}

/* No vm here: TCP. */
static int setup_tcp(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    setup_with(fx, "tcp://127.0.0.1:0", &all_ways);
    client_connect(fx);
    *state = fx;
    return 0;
}

static void on_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static bool is_closed(struct fixture *fx)
{
    return fx->closed;
}

static bool is_quiet(struct fixture *fx)
{
    return fx->server->npeers == 0 && fx->client->npeers == 0 && fx->server->nreqs == 0 && fx->client->nreqs == 0;
}

static void close_session(struct fixture *fx)
{
    if (fx->session == NULL)
        return;
    fx->closed = false;
    cairn_rpc_session_close(fx->session, on_closed, fx);
    assert_true(turn_until(fx, is_closed));
    fx->session = NULL;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;
    char cmd[128];

    cairn_bulk_conceal(&fx->region);
    close_session(fx);
    close(fx->listener.fd);
    cairn_watch_fini(&fx->listener);
    fx->closed = false;
    cairn_rpc_drain(fx->server, cairn_loop_now(&fx->loop) + CAIRN_NS_PER_S, on_closed, fx);
    assert_true(turn_until(fx, is_closed));
    assert_true(turn_until(fx, is_quiet));
    cairn_bulk_detach(fx->server);
    cairn_bulk_detach(fx->client);
    cairn_rpc_free(fx->server);
    cairn_rpc_free(fx->client);
    cairn_loop_fini(&fx->loop);
    munmap(fx->remote, MEM);
    munmap(fx->local, MEM);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", fx->dir);
    assert_int_equal(system(cmd), 0);
    free(fx);
    return 0;
}

/* ---- one transfer ---- */

struct xfer {
    struct cairn_bulk_op op;
    bool done;
    int rc;
    uint64_t seen;    /* by arrived(), without gaps */
    uint64_t stop_at; /* cancels there; 0: does not */
};

static void on_arrived(struct cairn_bulk_op *op, uint64_t from, uint64_t to)
{
    struct xfer *x = op->arg;

    assert_true(from == x->seen && to > from && to <= op->len);
    x->seen = to;
    if (x->stop_at != 0 && to >= x->stop_at)
        cairn_bulk_cancel(op);
}

static void on_done(struct cairn_bulk_op *op, int rc)
{
    struct xfer *x = op->arg;

    assert_false(x->done);
    x->done = true;
    x->rc = rc;
}

static void xfer_start(struct fixture *fx, struct xfer *x, enum cairn_bulk_way way, bool push,
                       const Cairn__Wire__BulkDesc *desc, uint64_t off, uint64_t len)
{
    memset(x, 0, sizeof(*x));
    x->op = (struct cairn_bulk_op){ .peer = way == CAIRN_BULK_SELF ? NULL : fx->peer,
                                    .desc = *desc,
                                    .push = push,
                                    .off = off,
                                    .local = fx->local + off,
                                    .len = len,
                                    .deadline_ns = cairn_loop_now(&fx->loop) + 20 * CAIRN_NS_PER_S,
                                    .way = way,
                                    .arrived = on_arrived,
                                    .done = on_done,
                                    .arg = x };
    cairn_bulk_start(way == CAIRN_BULK_SELF ? fx->client : fx->server, &x->op);
    assert_false(x->done);
}

static int xfer_wait(struct fixture *fx, struct xfer *x)
{
    for (int i = 0; i < TURNS_MAX && !x->done; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(x->done);
    return x->rc;
}

static int xfer(struct fixture *fx, enum cairn_bulk_way way, bool push, uint64_t off, uint64_t len)
{
    struct xfer x;

    xfer_start(fx, &x, way, push, &fx->region.desc, off, len);
    return xfer_wait(fx, &x);
}

static void expose(struct fixture *fx, uint32_t rights)
{
    cairn_bulk_settle(&fx->region); /* nothing moves it any more */
    cairn_bulk_conceal(&fx->region);
    assert_int_equal(cairn_bulk_expose(fx->client, fx->remote, MEM, rights, &fx->region), 0);
}

static void expose_rw(struct fixture *fx)
{
    expose(fx, CAIRN_BULK_CAN_READ | CAIRN_BULK_CAN_WRITE);
}

static bool is_ready(struct fixture *fx)
{
    return fx->peer->bulk->ready || (fx->peer->bulk->intro == NULL && fx->peer->bulk->retry_ns != 0);
}

/* A first transfer by frames asks for the fabric; later ones use it. */
static void bring_fabric_up(struct fixture *fx)
{
    expose_rw(fx);
    fx->peer->bulk->frame_bytes = 1;
    assert_int_equal(xfer(fx, CAIRN_BULK_FRAMES, false, 0, 4096), 0);
    assert_true(turn_until(fx, is_ready));
    assert_true(fx->peer->bulk->ready);
    expose_rw(fx); /* what was exposed before can be had in frames alone */
    assert_true(fx->region.desc.fabric);
}

/* ---- every way moves the same bytes ---- */

static void each_length(struct fixture *fx, enum cairn_bulk_way way)
{
    static const uint64_t lens[] = {
        0, 1, 7, 4096, 65536, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 1 << 20, (1 << 20) + 3, (8 << 20) + 5
    };
    struct xfer x;

    for (size_t i = 0; i < ARRAY_SIZE(lens) + 12; i++) {
        uint64_t len = i < ARRAY_SIZE(lens) ? lens[i] : rnd(fx) % (3 << 20);
        uint64_t off = rnd(fx) % (MEM - len);
        uint8_t before = off > 0 ? fx->local[off - 1] : 0, after = off + len < MEM ? fx->local[off + len] : 0;

        xfer_start(fx, &x, way, false, &fx->region.desc, off, len);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_int_equal(x.op.way, way);
        assert_true(x.seen == len); /* arrived() has told of every byte, in order */
        assert_memory_equal(fx->local + off, fx->remote + off, len);
        assert_true((off == 0 || fx->local[off - 1] == before) && (off + len == MEM || fx->local[off + len] == after));

        for (uint64_t k = 0; k < len; k += 509)
            fx->local[off + k] = (uint8_t)rnd(fx);
        before = off > 0 ? fx->remote[off - 1] : 0;
        after = off + len < MEM ? fx->remote[off + len] : 0;
        xfer_start(fx, &x, way, true, &fx->region.desc, off, len);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_int_equal(x.op.way, way);
        assert_memory_equal(fx->local + off, fx->remote + off, len);
        assert_true((off == 0 || fx->remote[off - 1] == before) &&
                    (off + len == MEM || fx->remote[off + len] == after));
    }
}

static void frames_move_every_length(void **state)
{
    expose_rw(*state);
    each_length(*state, CAIRN_BULK_FRAMES);
}

static void vm_moves_every_length(void **state)
{
    struct fixture *fx = *state;

    expose_rw(fx);
    assert_int_equal(cairn_bulk_way_to(fx->peer, false), CAIRN_BULK_VM); /* proved at connect, with nothing said */
    assert_int_equal(cairn_bulk_way_to(fx->peer, true), CAIRN_BULK_VM);
    each_length(fx, CAIRN_BULK_VM);
}

static void self_moves_every_length(void **state)
{
    expose_rw(*state);
    each_length(*state, CAIRN_BULK_SELF);
}

static void fabric_moves_every_length(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;

    bring_fabric_up(fx);
    each_length(fx, CAIRN_BULK_FABRIC);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.introduced, 1);
    assert_int_equal(stats.switches, 0);
    assert_int_equal(stats.kills, 0);
    assert_true(stats.bytes[CAIRN_BULK_FABRIC] > 16 << 20);
}

static void many_at_once(struct fixture *fx, enum cairn_bulk_way way)
{
    struct xfer x[24];
    uint8_t *copy = malloc(MEM);

    memcpy(copy, fx->remote, MEM);
    for (size_t i = 0; i < ARRAY_SIZE(x); i++) /* neighbours, pulled at the same time */
        xfer_start(fx, &x[i], way, false, &fx->region.desc, i * (MEM / ARRAY_SIZE(x)), MEM / ARRAY_SIZE(x));
    for (size_t i = 0; i < ARRAY_SIZE(x); i++)
        assert_int_equal(xfer_wait(fx, &x[i]), 0);
    assert_memory_equal(fx->local, copy, MEM / ARRAY_SIZE(x) * ARRAY_SIZE(x));
    free(copy);
}

static void many_by_frames(void **state)
{
    expose_rw(*state);
    many_at_once(*state, CAIRN_BULK_FRAMES);
}

static void many_by_vm(void **state)
{
    expose_rw(*state);
    many_at_once(*state, CAIRN_BULK_VM);
}

static void many_by_fabric(void **state)
{
    bring_fabric_up(*state);
    many_at_once(*state, CAIRN_BULK_FABRIC);
}

/* Where the caller's part of a value begins is for the callee to add: nobody adds it twice. */
static void the_descriptors_offset_is_the_callees(void **state)
{
    struct fixture *fx = *state;
    static const enum cairn_bulk_way ways[] = { CAIRN_BULK_FRAMES, CAIRN_BULK_VM, CAIRN_BULK_SELF };
    Cairn__Wire__BulkDesc d;
    struct xfer x;

    expose_rw(fx);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        d = fx->region.desc;
        d.off = 1 << 20;
        memset(fx->local, 0, MEM);
        xfer_start(fx, &x, ways[i], false, &d, (1 << 20) + 4096, 300000);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_memory_equal(fx->local + (1 << 20) + 4096, fx->remote + (1 << 20) + 4096, 300000);
    }
}

/* ---- what must not be moved is not ---- */

static void refuses(struct fixture *fx, enum cairn_bulk_way way)
{
    Cairn__Wire__BulkDesc d;
    uint8_t *copy = malloc(MEM);
    struct xfer x;

    memcpy(copy, fx->remote, MEM);
    expose(fx, CAIRN_BULK_CAN_READ);
    assert_int_equal(xfer(fx, way, true, 0, 300000), CAIRN_E_FAULT); /* not for writing */
    d = fx->region.desc;
    d.rights |= CAIRN_BULK_CAN_WRITE; /* a lie, which the owner knows better */
    if (way != CAIRN_BULK_VM) {       /* where owner and liar are one, and it is their own memory */
        xfer_start(fx, &x, way, true, &d, 0, 300000);
        assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    }
    assert_memory_equal(fx->remote, copy, MEM);
    expose(fx, CAIRN_BULK_CAN_WRITE);
    assert_int_equal(xfer(fx, way, false, 0, 300000), CAIRN_E_FAULT);
    expose_rw(fx);
    d = fx->region.desc;
    d.key ^= 1;
    d.fabric_key ^= 1;
    xfer_start(fx, &x, way, false, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    xfer_start(fx, &x, way, true, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, way, false, MEM - 10, 11), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, way, false, UINT64_MAX - 5, 11), CAIRN_E_FAULT);
    assert_memory_equal(fx->remote, copy, MEM);
    d = fx->region.desc;
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_conceal(&fx->region); /* harmless */
    xfer_start(fx, &x, way, false, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT); /* too late */
    xfer_start(fx, &x, way, true, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_FAULT);
    assert_memory_equal(fx->remote, copy, MEM);
    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 300000), 0); /* and the peer is as good as before */
    free(copy);
}

static void frames_refuse(void **state)
{
    refuses(*state, CAIRN_BULK_FRAMES);
}

static void vm_refuses(void **state)
{
    refuses(*state, CAIRN_BULK_VM);
}

static void self_refuses(void **state)
{
    refuses(*state, CAIRN_BULK_SELF);
}

/* By the fabric a bad key looks like a lost connection: frames are asked, and they know. */
static void fabric_refuses(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc d;
    struct cairn_bulk_stats stats;
    struct xfer bad, good[4];

    bring_fabric_up(fx);
    d = fx->region.desc;
    d.key ^= 1;
    d.fabric_key ^= 1;
    xfer_start(fx, &bad, CAIRN_BULK_FABRIC, false, &d, 0, 300000);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) /* innocent, and torn down with it */
        xfer_start(fx, &good[i], CAIRN_BULK_FABRIC, false, &fx->region.desc, i << 21, 2 << 20);
    assert_int_equal(xfer_wait(fx, &bad), CAIRN_E_FAULT);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(xfer_wait(fx, &good[i]), 0);
    assert_memory_equal(fx->local, fx->remote, 8 << 20);
    cairn_bulk_stats(fx->server, &stats);
    assert_true(stats.switches >= 1);
    assert_int_equal(stats.failures, 1);
    assert_false(fx->peer->bulk->ready);
    fx->peer->bulk->retry_ns = 0; /* 30 s later */
    bring_fabric_up(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, 0, 2 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, MEM - 10, 11), CAIRN_E_FAULT);
    expose(fx, CAIRN_BULK_CAN_READ);
    d = fx->region.desc;
    d.rights |= CAIRN_BULK_CAN_WRITE;
    xfer_start(fx, &bad, CAIRN_BULK_FABRIC, true, &d, 0, 300000);
    assert_int_equal(xfer_wait(fx, &bad), CAIRN_E_FAULT);
}

static void memory_that_is_not_there(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;

    expose_rw(fx);
    munmap(fx->remote + (4 << 20), 1 << 20); /* the client has unmapped it amid the call */
    assert_int_equal(xfer(fx, CAIRN_BULK_VM, false, 0, 8 << 20), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, CAIRN_BULK_VM, true, 0, 8 << 20), CAIRN_E_FAULT);
    assert_int_equal(xfer(fx, CAIRN_BULK_VM, false, (4 << 20) - 100, 4096), CAIRN_E_FAULT);
    xfer_start(fx, &x, CAIRN_BULK_VM, false, &fx->region.desc, 5 << 20, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_VM); /* still trusted */
}

static void exposed_regions_are_counted_and_capped(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_region *r = calloc(CAIRN_BULK_EXPOSED_MAX + 1, sizeof(*r));
    struct cairn_bulk_stats stats;

    for (uint32_t i = 0; i < CAIRN_BULK_EXPOSED_MAX; i++) {
        assert_int_equal(cairn_bulk_expose(fx->client, fx->remote + i, 1, CAIRN_BULK_CAN_READ, &r[i]), 0);
        assert_true(r[i].desc.key != 0 && (i == 0 || r[i].desc.key != r[i - 1].desc.key));
    }
    assert_int_equal(cairn_bulk_expose(fx->client, fx->remote, 1, CAIRN_BULK_CAN_READ, &r[CAIRN_BULK_EXPOSED_MAX]),
                     CAIRN_E_LIMIT);
    cairn_bulk_conceal(&r[CAIRN_BULK_EXPOSED_MAX]); /* harmless */
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.exposed, CAIRN_BULK_EXPOSED_MAX);
    for (uint32_t i = 0; i < CAIRN_BULK_EXPOSED_MAX; i++)
        cairn_bulk_conceal(&r[i]);
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.exposed, 0);
    free(r);
}

static void areas_are_kept(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_area *a[CAIRN_BULK_AREAS_MAX], *more;

    for (uint32_t i = 0; i < CAIRN_BULK_AREAS_MAX; i++)
        assert_int_equal(cairn_bulk_register(fx->client, fx->remote, i == 0 ? MEM : 4096, &a[i]), 0);
    assert_int_equal(cairn_bulk_register(fx->client, fx->remote, MEM, &more), CAIRN_E_LIMIT);
    assert_null(more);
    bring_fabric_up(fx);
    assert_ptr_equal(fx->region.area, a[0]);
    assert_non_null(fx->region.mr); /* a software provider: as narrow as the region all the same */
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, 0, MEM), 0);
    assert_memory_equal(fx->local, fx->remote, MEM);
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    for (uint32_t i = 0; i < CAIRN_BULK_AREAS_MAX; i++)
        cairn_bulk_unregister(a[i]);
}

/* ---- ends ---- */

static void cancels(struct fixture *fx, enum cairn_bulk_way way)
{
    struct xfer x;

    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 8 << 20);
    cairn_bulk_cancel(&x.op); /* before it began */
    assert_false(x.done);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CANCELED);
    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 8 << 20);
    x.stop_at = 1 << 20; /* from arrived() */
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CANCELED);
    assert_true(x.seen >= 1 << 20 && x.seen < 8 << 20);
    xfer_start(fx, &x, way, true, &fx->region.desc, 0, 8 << 20);
    cairn_loop_turn(&fx->loop, 0);
    cairn_loop_turn(&fx->loop, 0);
    cairn_bulk_cancel(&x.op);
    cairn_bulk_cancel(&x.op); /* harmless */
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CANCELED);
    assert_int_equal(xfer(fx, way, false, 0, 1 << 20), 0);
}

static void frames_are_canceled(void **state)
{
    expose_rw(*state);
    cancels(*state, CAIRN_BULK_FRAMES);
}

static void vm_is_canceled(void **state)
{
    expose_rw(*state);
    cancels(*state, CAIRN_BULK_VM);
}

static void fabric_is_canceled(void **state)
{
    bring_fabric_up(*state);
    cancels(*state, CAIRN_BULK_FABRIC);
}

static void self_is_canceled(void **state)
{
    expose_rw(*state);
    cancels(*state, CAIRN_BULK_SELF);
}

static void ends_with_the_connection(struct fixture *fx, enum cairn_bulk_way way)
{
    struct xfer x;

    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 8 << 20);
    cairn_rpc_peer_get(fx->peer);
    cairn_loop_turn(&fx->loop, 0);
    cairn_rpc__peer_down(fx->peer, CAIRN_E_CLOSED);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CLOSED);
    xfer_start(fx, &x, way, false, &fx->region.desc, 0, 4096);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CLOSED); /* nor does another begin */
    cairn_rpc_peer_put(fx->peer);
}

static void frames_end_with_the_connection(void **state)
{
    expose_rw(*state);
    ends_with_the_connection(*state, CAIRN_BULK_FRAMES);
}

static void vm_ends_with_the_connection(void **state)
{
    expose_rw(*state);
    ends_with_the_connection(*state, CAIRN_BULK_VM);
}

static void fabric_ends_with_the_connection(void **state)
{
    bring_fabric_up(*state);
    ends_with_the_connection(*state, CAIRN_BULK_FABRIC);
}

static void others_are_served_between_the_pieces_of_a_copy(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;
    uint64_t turns = fx->loop.turns;

    expose_rw(fx);
    xfer_start(fx, &x, CAIRN_BULK_VM, false, &fx->region.desc, 0, 8 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_true(fx->loop.turns - turns >= 8); /* a MiB each */
}

/* ---- same-node copies and their agreement ---- */

static void a_process_that_changed_is_not_copied(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;

    expose_rw(fx);
    bulk_of(fx->client)->cookie[3] ^= 1; /* as after exec(), or when the number names another process */
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 3 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    assert_memory_equal(fx->local, fx->remote, 3 << 20);
    assert_int_equal(cairn_bulk_way_to(fx->peer, false), CAIRN_BULK_FRAMES);
}

static void a_process_that_changed_is_not_written(void **state)
{
    struct fixture *fx = *state;
    struct xfer x;

    expose_rw(fx);
    bulk_of(fx->client)->cookie[3] ^= 1;
    xfer_start(fx, &x, CAIRN_BULK_AUTO, true, &fx->region.desc, 0, 3 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    assert_memory_equal(fx->local, fx->remote, 3 << 20);
}

struct mover_thread {
    struct fixture *fx;
    _Atomic bool ended;
};

static void *mover_thread(void *arg)
{
    struct mover_thread *t = arg;

    while (atomic_load(&t->fx->region.live) != 0) /* until the owner has begun to take it back */
        sched_yield();
    for (int i = 0; i < 100; i++)
        sched_yield();
    atomic_store(&t->ended, true);
    atomic_store(&bulk_of(t->fx->server)->busy, 0);
    return NULL;
}

/* The memory is the owner's again only when no copy into it is under way. */
static void concealing_waits_for_a_copy(void **state)
{
    struct fixture *fx = *state;
    struct mover_thread t = { .fx = fx };
    pthread_t thread;

    expose_rw(fx);
    atomic_store(&bulk_of(fx->server)->busy, fx->region.desc.key); /* amid a push */
    assert_int_equal(pthread_create(&thread, NULL, mover_thread, &t), 0);
    cairn_bulk_conceal(&fx->region);
    assert_true(atomic_load(&t.ended));
    pthread_join(thread, NULL);

    expose_rw(fx);
    atomic_store(&bulk_of(fx->server)->busy, fx->region.desc.key);
    cairn_bulk_settle(&fx->region); /* the callee has answered: no look at it */
    cairn_bulk_conceal(&fx->region);
    expose(fx, CAIRN_BULK_CAN_READ);
    cairn_bulk_conceal(&fx->region); /* nobody writes there */
    atomic_store(&bulk_of(fx->server)->busy, 0);
}

/* The connection is lost, but the mover does not know yet. */
static void concealing_waits_for_a_mover_that_was_lost(void **state)
{
    struct fixture *fx = *state;
    struct mover_thread t = { .fx = fx };
    pthread_t thread;

    expose_rw(fx);
    atomic_store(&bulk_of(fx->server)->busy, fx->region.desc.key);
    close_session(fx);
    assert_int_equal(bulk_of(fx->client)->nmovers, 1);
    assert_int_equal(pthread_create(&thread, NULL, mover_thread, &t), 0);
    cairn_bulk_conceal(&fx->region);
    assert_true(atomic_load(&t.ended));
    pthread_join(thread, NULL);
    assert_int_equal(bulk_of(fx->client)->nmovers, 0); /* no open memory: nothing to fear */
}

/* ---- the fabric connection ---- */

static void transfers_never_wait_for_the_fabric(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;
    struct xfer x;

    expose_rw(fx);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 4096);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0); /* this one has asked for it */
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES);
    assert_true(turn_until(fx, is_ready));
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FRAMES); /* exposed too early */
    expose_rw(fx);
    xfer_start(fx, &x, CAIRN_BULK_AUTO, false, &fx->region.desc, 0, 1 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(x.op.way, CAIRN_BULK_FABRIC);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.transfers[CAIRN_BULK_FRAMES], 3);
    assert_int_equal(stats.transfers[CAIRN_BULK_FABRIC], 1);
}

static void a_fabric_that_is_killed_amid_transfers(void **state)
{
    struct fixture *fx = *state;
    struct xfer x[4];
    struct cairn_bulk_stats stats;

    bring_fabric_up(fx);
    for (size_t i = 0; i < ARRAY_SIZE(x); i++)
        xfer_start(fx, &x[i], CAIRN_BULK_FABRIC, (i & 1) != 0, &fx->region.desc, i << 21, 2 << 20);
    cairn_loop_turn(&fx->loop, 0);
    cairn_bulk__fabric_kill(bulk_of(fx->server), "the test wants it");
    for (size_t i = 0; i < ARRAY_SIZE(x); i++) {
        assert_int_equal(xfer_wait(fx, &x[i]), 0);
        assert_int_equal(x[i].op.way, CAIRN_BULK_FRAMES);
    }
    assert_memory_equal(fx->local, fx->remote, 8 << 20);
    fx->peer->bulk->retry_ns = 0;
    bring_fabric_up(fx); /* and comes back */
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, true, 0, 2 << 20), 0);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.introduced, 2);
    assert_int_equal(stats.kills, 1);
}

/* The callee may be amid a write that its provider would finish whatever happens to the registration. */
static void concealing_without_an_answer_closes_the_endpoint(void **state)
{
    struct fixture *fx = *state;
    struct cairn_bulk_stats stats;

    bring_fabric_up(fx);
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.kills, 0);
    expose_rw(fx);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_stats(fx->client, &stats);
    assert_int_equal(stats.kills, 1);
    expose_rw(fx);
    assert_false(fx->region.desc.fabric);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0); /* by frames */
}

static void providers_must_agree(void **state)
{
    struct fixture *fx = *state;

    strcpy(bulk_of(fx->client)->conf.provider, "net");
    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_true(turn_until(fx, is_ready));
    assert_false(fx->peer->bulk->ready);
    assert_int_equal(xfer(fx, CAIRN_BULK_FABRIC, false, 0, 1 << 20), CAIRN_E_UNSUPPORTED);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
}

static void a_provider_that_is_not_there(void **state)
{
    struct fixture *fx = *state;

    strcpy(bulk_of(fx->server)->conf.provider, "no-such-provider");
    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_true(turn_until(fx, is_ready));
    assert_false(fx->peer->bulk->ready);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 8 << 20), 0);
}

static void detaching_while_it_opens(void **state)
{
    struct fixture *fx = *state;

    expose_rw(fx);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_int_equal(xfer(fx, CAIRN_BULK_AUTO, false, 0, 1 << 20), 0);
    assert_true(bulk_of(fx->server)->opener != NULL || bulk_of(fx->server)->fabric != NULL);
    /* teardown() ends it as it is */
}

/* ---- hostile calls ---- */

struct call {
    struct cairn_rpc_call call;
    bool done;
};

static void on_call(struct cairn_rpc_call *call)
{
    ((struct call *)call->arg)->done = true;
}

static int ask(struct fixture *fx, uint16_t method, const ProtobufCMessage *msg, const void *payload, size_t len)
{
    struct call c = { 0 };

    c.call.dest.rpc = fx->server;
    c.call.dest.peer = fx->peer;
    c.call.iface = &cairn_iface_bulk;
    c.call.provider = CAIRN_PROVIDER_BULK;
    c.call.method = method;
    c.call.msg = msg;
    c.call.payload[0] = (struct iovec){ (void *)(uintptr_t)payload, len };
    c.call.payload_n = len > 0 ? 1 : 0;
    c.call.done = on_call;
    c.call.arg = &c;
    cairn_rpc_call_start(&c.call);
    for (int i = 0; i < TURNS_MAX && !c.done; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(c.done);
    return c.call.rc;
}

static void hostile_pieces(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkPiece m = CAIRN__WIRE__BULK_PIECE__INIT;
    uint16_t rd = CAIRN__WIRE__BULK_METHOD__BULK_READ, wr = CAIRN__WIRE__BULK_METHOD__BULK_WRITE;
    uint8_t byte[2] = { 1, 2 };

    expose_rw(fx);
    m.key = fx->region.desc.key;
    m.len = CAIRN_FRAME_PAYLOAD_BYTES_MAX + 1;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_TOOBIG);
    m.len = UINT32_MAX;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_FAULT);
    m.len = 1;
    m.off = UINT64_MAX;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_FAULT);
    m.off = MEM;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), CAIRN_E_FAULT);
    assert_int_equal(ask(fx, wr, &m.base, byte, 1), CAIRN_E_FAULT);
    m.off = MEM - 1;
    assert_int_equal(ask(fx, rd, &m.base, NULL, 0), 0);
    assert_int_equal(ask(fx, wr, &m.base, byte, 2), CAIRN_E_PROTO); /* it says one, and brings two */
    assert_int_equal(ask(fx, wr, &m.base, NULL, 0), CAIRN_E_PROTO);
    assert_int_equal(ask(fx, wr, &m.base, byte, 1), 0);
    assert_int_equal(fx->remote[MEM - 1], 1);
    m.key++;
    assert_int_equal(ask(fx, wr, &m.base, byte, 1), CAIRN_E_FAULT);
}

static void hostile_introductions(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkFabric f = CAIRN__WIRE__BULK_FABRIC__INIT;
    Cairn__Wire__BulkVm v = CAIRN__WIRE__BULK_VM__INIT;
    uint8_t junk[4096] = { 2, 0, 1 };
    uint16_t fabric = CAIRN__WIRE__BULK_METHOD__BULK_FABRIC, vm = CAIRN__WIRE__BULK_METHOD__BULK_VM;

    assert_int_equal(ask(fx, fabric, &f.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    f.provider = (char *)(uintptr_t)all_ways.provider;
    f.addr = (ProtobufCBinaryData){ sizeof(junk), junk };
    assert_int_equal(ask(fx, fabric, &f.base, NULL, 0), 0); /* the address only helps to choose a network */
    f.addr.len = 16;
    assert_int_equal(ask(fx, fabric, &f.base, NULL, 0), 0);
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    v.cookie = (ProtobufCBinaryData){ 16, junk };
    v.pid = UINT32_MAX;
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED);
    v.pid = (uint32_t)getpid();
    v.cookie_addr = 8;
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED); /* nothing lies there */
    v.cookie_addr = (uint64_t)(uintptr_t)fx->local;
    v.busy_addr = v.cookie_addr;
    assert_int_equal(ask(fx, vm, &v.base, NULL, 0), CAIRN_E_UNSUPPORTED); /* something else does */
}

/* ---- a caller that is another process ---- */

static void child_main(int sock)
{
    struct cairn_loop loop;
    struct cairn_rpc *rpc;
    struct cairn_rpc_session_conf conf = { .naddrs = 1, .name = "child" };
    struct cairn_bulk_region r;
    uint8_t *mem = malloc(MEM);
    char text[128] = "";

    if (read(sock, text, sizeof(text) - 1) <= 0 || mem == NULL)
        _exit(0);
    memset(mem, 0x42, MEM);
    if (cairn_loop_init(&loop, NULL, NULL) != 0 || (rpc = cairn_rpc_new(&loop, &rpc_conf, NULL)) == NULL ||
        cairn_bulk_attach(rpc, &all_ways, NULL) != 0 || cairn_addr_parse(text, &conf.addrs[0], NULL) != 0)
        _exit(1);
    cairn_rpc_session_connect(cairn_rpc_session_new(rpc, &conf, NULL));
    memset(&r, 0, sizeof(r));
    for (bool fabric = false;;) { /* exposes its memory at once, and anew when the fabric has come up */
        if (r.rpc == NULL || (!fabric && bulk_of(rpc)->told)) {
            fabric = bulk_of(rpc)->told;
            if (cairn_bulk_expose(rpc, mem, MEM, 3, &r) != 0)
                _exit(1);
            if (write(sock, &r.desc, sizeof(r.desc)) < 0)
                _exit(1);
            r.rpc = rpc;
            if (!fabric) {
                static struct cairn_bulk_region first;

                first = r; /* stays open under its own key */
                cairn_list_del(&r.link);
                cairn_list_add_tail(&bulk_of(rpc)->buckets[first.desc.key % BULK_BUCKETS], &first.link);
            }
        }
        cairn_loop_turn(&loop, CAIRN_NS_PER_S);
    }
}

static void children_make(void)
{
    for (uint32_t k = 0; k < CHILDREN; k++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
            abort();
        children[k].sock = pair[0];
        children[k].pid = fork();
        if (children[k].pid < 0)
            abort();
        if (children[k].pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (uint32_t i = 0; i <= k; i++)
                close(children[i].sock);
            child_main(pair[1]);
        }
        close(pair[1]);
    }
}

/* A child connects by @addr (NULL: unix) and exposes memory; with @fabric, the connection is brought up. */
static struct child *child_start(struct fixture *fx, bool fabric, Cairn__Wire__BulkDesc *desc)
{
    struct child *c = &children[children_used++];
    char text[160];
    struct xfer x;

    cairn_addr_format(&fx->addr, text);
    assert_true(write(c->sock, text, strlen(text)) > 0);
    find_peer(fx);
    assert_int_equal(read(c->sock, desc, sizeof(*desc)), sizeof(*desc));
    if (fabric) {
        fx->peer->bulk->frame_bytes = 1;
        xfer_start(fx, &x, CAIRN_BULK_FRAMES, false, desc, 0, 4096);
        assert_int_equal(xfer_wait(fx, &x), 0);
        assert_int_equal(fx->local[4095], 0x42);
        assert_true(turn_until(fx, is_ready));
        assert_true(fx->peer->bulk->ready);
        assert_int_equal(read(c->sock, desc, sizeof(*desc)), sizeof(*desc));
        assert_true(desc->fabric);
    }
    return c;
}

static void child_end(struct child *c)
{
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
}

static int setup_tcp_bare(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    setup_with(fx, "tcp://127.0.0.1:0", &all_ways);
    *state = fx;
    return 0;
}

/* Moves, stops the child amid it, and sees the end at the deadline. */
static void stalls(struct fixture *fx, struct child *c, const Cairn__Wire__BulkDesc *desc, enum cairn_bulk_way way)
{
    struct xfer x;

    kill(c->pid, SIGSTOP);
    xfer_start(fx, &x, way, false, desc, 0, 8 << 20);
    cairn_loop_turn(&fx->loop, 0);
    cairn_timer_start(&fx->loop.env, &x.op.timer, cairn_loop_now(&fx->loop) + 50 * CAIRN_NS_PER_MS);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_TIMEOUT);
    memset(fx->local, 0, MEM);
    kill(c->pid, SIGCONT); /* its bytes come now, and must not land */
    for (int i = 0; i < 20; i++)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    for (size_t i = 0; i < MEM; i++)
        assert_int_equal(fx->local[i], 0);
}

static void a_caller_that_stalls_by_frames(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);

    stalls(fx, c, &desc, CAIRN_BULK_FRAMES);
    child_end(c);
}

static void a_caller_that_stalls_by_fabric(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, true, &desc);
    struct cairn_bulk_stats stats;

    stalls(fx, c, &desc, CAIRN_BULK_FABRIC);
    cairn_bulk_stats(fx->server, &stats);
    assert_int_equal(stats.kills, 1);
    assert_true(fx->peer->bulk->banned);
    child_end(c);
}

/* Nothing of a same-node copy depends on the other's loop. */
static void a_caller_that_stalls_by_vm(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);
    struct xfer x;

    kill(c->pid, SIGSTOP);
    xfer_start(fx, &x, CAIRN_BULK_VM, false, &desc, 0, 8 << 20);
    assert_int_equal(xfer_wait(fx, &x), 0);
    assert_int_equal(fx->local[(8 << 20) - 1], 0x42);
    child_end(c);
}

static void dies(struct fixture *fx, struct child *c, const Cairn__Wire__BulkDesc *desc, enum cairn_bulk_way way)
{
    struct xfer x;

    kill(c->pid, SIGSTOP); /* so that it dies amid the transfer, not after */
    xfer_start(fx, &x, way, way == CAIRN_BULK_VM, desc, 0, 8 << 20);
    cairn_loop_turn(&fx->loop, 0);
    assert_false(x.done);
    child_end(c);
    assert_int_equal(xfer_wait(fx, &x), CAIRN_E_CLOSED);
}

static void a_caller_that_dies_by_frames(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);

    dies(fx, c, &desc, CAIRN_BULK_FRAMES);
}

static void a_caller_that_dies_by_fabric(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, true, &desc);

    dies(fx, c, &desc, CAIRN_BULK_FABRIC);
}

static void a_caller_that_dies_by_vm(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__BulkDesc desc;
    struct child *c = child_start(fx, false, &desc);

    dies(fx, c, &desc, CAIRN_BULK_VM);
}

/* ---- tables ---- */

static void tables_are_sound(void **state)
{
    struct cairn_err err;

    (void)state;
    assert_int_equal(cairn_sm_kind_check(&cairn_bulk_op_kind, &err), 0);
    assert_int_equal(cairn_sm_kind_check(&cairn_bulk_intro_kind, &err), 0);
}

int main(void)
{
#define U(f) cmocka_unit_test_setup_teardown(f, setup_unix, teardown)
#define N(f) cmocka_unit_test_setup_teardown(f, setup_tcp, teardown)
#define C(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
#define D(f) cmocka_unit_test_setup_teardown(f, setup_tcp_bare, teardown)
    const struct CMUnitTest tests[] = {
        U(frames_move_every_length),
        U(vm_moves_every_length),
        U(self_moves_every_length),
        N(fabric_moves_every_length),
        N(many_by_frames),
        U(many_by_vm),
        N(many_by_fabric),
        U(the_descriptors_offset_is_the_callees),
        U(frames_refuse),
        U(vm_refuses),
        U(self_refuses),
        N(fabric_refuses),
        U(memory_that_is_not_there),
        U(exposed_regions_are_counted_and_capped),
        N(areas_are_kept),
        U(frames_are_canceled),
        U(vm_is_canceled),
        N(fabric_is_canceled),
        U(self_is_canceled),
        U(frames_end_with_the_connection),
        U(vm_ends_with_the_connection),
        N(fabric_ends_with_the_connection),
        U(others_are_served_between_the_pieces_of_a_copy),
        U(a_process_that_changed_is_not_copied),
        U(a_process_that_changed_is_not_written),
        U(concealing_waits_for_a_copy),
        U(concealing_waits_for_a_mover_that_was_lost),
        N(transfers_never_wait_for_the_fabric),
        N(a_fabric_that_is_killed_amid_transfers),
        N(concealing_without_an_answer_closes_the_endpoint),
        N(providers_must_agree),
        N(a_provider_that_is_not_there),
        N(detaching_while_it_opens),
        U(hostile_pieces),
        N(hostile_introductions),
        D(a_caller_that_stalls_by_frames),
        D(a_caller_that_stalls_by_fabric),
        C(a_caller_that_stalls_by_vm),
        D(a_caller_that_dies_by_frames),
        D(a_caller_that_dies_by_fabric),
        C(a_caller_that_dies_by_vm),
        cmocka_unit_test(tables_are_sound),
    };

    children_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
