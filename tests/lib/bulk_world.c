/* See bulk_world.h. */
#include "tests/lib/bulk_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct cairn_rpc_target bulk_target = {
    .iface = &cairn_iface_bulk, .handlers = cairn_bulk_handlers, .name = "bulk", .id = CAIRN_PROVIDER_BULK
};
const struct cairn_rpc_conf bulk_world_rpc_conf = { .targets = &bulk_target,
                                                    .ntargets = 1,
                                                    .inflight_max = 16,
                                                    .inflight_bytes_max = 16 << 20,
                                                    .output_bytes_max = 16 << 20 };
const struct cairn_bulk_conf bulk_world_conf = {
    .vm = true, .fabric = true, .provider = "tcp;ofi_rxm", .domain = "lo", .fabric_after_bytes = 1
};

uint64_t rnd(struct fixture *fx)
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
    fx->server = cairn_rpc_new(&fx->loop, &bulk_world_rpc_conf, NULL);
    fx->client = cairn_rpc_new(&fx->loop, &bulk_world_rpc_conf, NULL);
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
    scratch_new(fx->dir);
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

bool turn_until(struct fixture *fx, bool (*over)(struct fixture *fx))
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

void find_peer(struct fixture *fx)
{
    assert_true(turn_until(fx, peer_is_there));
    fx->peer = CONTAINER_OF(fx->server->peers.next, struct cairn_rpc_peer, link);
}

void client_connect(struct fixture *fx)
{
    struct cairn_rpc_session_conf conf = { .naddrs = 1, .name = "test" };

    conf.addrs[0] = fx->addr;
    fx->session = cairn_rpc_session_new(fx->client, &conf, NULL);
    cairn_rpc_session_connect(fx->session);
    find_peer(fx);
}

int setup_bare(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    setup_with(fx, NULL, &bulk_world_conf);
    *state = fx;
    return 0;
}

int setup_unix(void **state)
{
    setup_bare(state);
    client_connect(*state);
    return 0;
}

/* No vm here: TCP. */
int setup_tcp(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    setup_with(fx, "tcp://127.0.0.1:0", &bulk_world_conf);
    client_connect(fx);
    *state = fx;
    return 0;
}

int setup_tcp_bare(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    setup_with(fx, "tcp://127.0.0.1:0", &bulk_world_conf);
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

void close_session(struct fixture *fx)
{
    if (fx->session == NULL)
        return;
    fx->closed = false;
    cairn_rpc_session_close(fx->session, on_closed, fx);
    assert_true(turn_until(fx, is_closed));
    fx->session = NULL;
}

int teardown(void **state)
{
    struct fixture *fx = *state;

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
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

/* ---- one transfer ---- */

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

void xfer_start(struct fixture *fx, struct xfer *x, enum cairn_bulk_way way, bool push,
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

int xfer_wait(struct fixture *fx, struct xfer *x)
{
    for (int i = 0; i < TURNS_MAX && !x->done; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(x->done);
    return x->rc;
}

int xfer(struct fixture *fx, enum cairn_bulk_way way, bool push, uint64_t off, uint64_t len)
{
    struct xfer x;

    xfer_start(fx, &x, way, push, &fx->region.desc, off, len);
    return xfer_wait(fx, &x);
}

void expose(struct fixture *fx, uint32_t rights)
{
    cairn_bulk_settle(&fx->region); /* nothing moves it any more */
    cairn_bulk_conceal(&fx->region);
    assert_int_equal(cairn_bulk_expose(fx->client, fx->remote, MEM, rights, &fx->region), 0);
}

void expose_rw(struct fixture *fx)
{
    expose(fx, CAIRN_BULK_CAN_READ | CAIRN_BULK_CAN_WRITE);
}

bool intro_is_over(struct fixture *fx)
{
    return fx->peer->bulk->ready || (fx->peer->bulk->intro == NULL && fx->peer->bulk->retry_ns != 0);
}

/* A first transfer by frames asks for the fabric; later ones use it. */
void bring_fabric_up(struct fixture *fx)
{
    expose_rw(fx);
    fx->peer->bulk->frame_bytes = 1;
    assert_int_equal(xfer(fx, CAIRN_BULK_FRAMES, false, 0, 4096), 0);
    assert_true(turn_until(fx, intro_is_over));
    assert_true(fx->peer->bulk->ready);
    expose_rw(fx); /* what was exposed before can be had in frames alone */
    assert_true(fx->region.desc.fabric);
}
