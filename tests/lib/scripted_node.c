/* A node that does what a test says: see scripted_node.h. */
#include "tests/lib/scripted_node_internal.h"

#include "sdk/core/net/addr.h"
#include "tests/lib/patience.h"

#include "schema/node.pb-c.h"
#include "schema/repl.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    struct scripted_node *n = scripted_node_of(rq);

    CAIRN_ASSERT(n->nheld < HELD_MAX);
    rq->on_cancel = on_held_cancel;
    rq->on_cancel_arg = n;
    n->held[n->nheld++] = rq;
}

bool scripted_node_hold(struct cairn_rpc_req *rq)
{
    if (!atomic_load(&scripted_node_of(rq)->knobs.hold))
        return false;
    keep(rq);
    return true;
}

bool scripted_countdown(atomic_int *x)
{
    return atomic_load(x) > 0 && atomic_fetch_sub(x, 1) > 0;
}

/* ---- node ---- */

static void node_ping(struct cairn_rpc_req *rq)
{
    atomic_fetch_add(&scripted_node_of(rq)->knobs.pings, 1);
    if (!scripted_node_hold(rq))
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

/* ---- a cluster's coordinator ---- */

/* True: it has no answer now. */
static bool cluster_fails(struct cairn_rpc_req *rq)
{
    struct scripted_knobs *k = &scripted_node_of(rq)->knobs;

    atomic_fetch_add(&k->cluster_asks, 1);
    if (!scripted_countdown(&k->cluster_fails))
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
        (struct cairn_rpc_target){ &cairn_iface_router, scripted_node_router, n, "router", CAIRN_PROVIDER_ROUTER };
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
    scripted_values_fini(&n->values);
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
