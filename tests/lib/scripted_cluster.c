/* Nodes that do what a test says: see scripted_cluster.h. All run on one thread; the test's own thread changes what
 * they share under a mutex. */
#include "tests/lib/patience.h"
#include "tests/lib/scripted_cluster_internal.h"

#include "sdk/core/net/addr.h"

#include "schema/node.pb-c.h"
#include "schema/repl.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct scripted_peer *of(struct cairn_rpc_req *rq)
{
    return rq->target->ctx;
}

/* ---- the map ---- */

/* The second page is asked for, and not given yet. */
static bool is_refused(struct scripted_peer *n, uint64_t since)
{
    bool is;

    pthread_mutex_lock(&n->c->mutex);
    is = n->map.revision - since == 1 && n->refused < atomic_load(&n->m.busy);
    n->refused += is;
    pthread_mutex_unlock(&n->c->mutex);
    return is;
}

static void cluster_records(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterFetch *m = (const Cairn__Wire__ClusterFetch *)rq->msg;
    Cairn__Wire__ClusterRecords r = CAIRN__WIRE__CLUSTER_RECORDS__INIT;
    struct scripted_peer *n = of(rq);
    struct scripted_cluster *c = n->c;

    atomic_fetch_add(&n->m.maps, 1);
    if (atomic_load(&n->m.mute)) {
        scripted_hold(rq);
        return;
    }
    if (is_refused(n, m->since)) {
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "many ask for the map");
        return;
    }
    Cairn__Wire__SlotUpdate *slots = calloc(SCRIPTED_SLOTS, sizeof(*slots)),
                            **pslots = calloc(SCRIPTED_SLOTS, sizeof(*pslots));
    Cairn__Wire__SlotRecord *recs = calloc(SCRIPTED_SLOTS, sizeof(*recs));
    Cairn__Wire__MemberUpdate *members = calloc(c->n, sizeof(*members)), **pmembers = calloc(c->n, sizeof(*pmembers));
    Cairn__Wire__ReplWho *who = calloc(c->n, sizeof(*who)), **pwho = calloc(c->n, sizeof(*pwho));
    char *(*addresses)[2] = calloc(c->n, sizeof(*addresses));

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
        addresses[i][0] = (char *)(uintptr_t)c->nodes[i].told;
        addresses[i][1] = (char *)(uintptr_t)c->nodes[i].told_name;
        members[i].addresses = addresses[i];
        members[i].n_addresses = addresses[i][0] == NULL ? 0 : addresses[i][1] == NULL ? 1 : 2;
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
    if (atomic_load(&n->m.busy) > 0 && r.n_slots > 0) {
        r.more = m->since < n->map.revision - 1;
        r.revision -= r.more ? 1 : 0;
        r.n_slots /= 2;
        r.slots += r.more ? 0 : r.n_slots;
        n->refused = 0;
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

/* ---- life ---- */

static void on_listener(void *arg, uint32_t ready)
{
    struct scripted_peer *n = arg;
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
    WHILE_PATIENT (c->drained < c->n) {
        cairn_loop_turn(&c->loop, CAIRN_NS_PER_MS);
        while (c->nheld > 0)
            cairn_rpc_reply(c->held[--c->nheld], CAIRN_E_SHUTDOWN, NULL, NULL, 0);
    }
    return NULL;
}

static bool node_start(struct scripted_cluster *c, uint32_t i)
{
    struct scripted_peer *n = &c->nodes[i];
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
    n->told = n->address;
    n->targets[0] = (struct cairn_rpc_target){ &cairn_iface_node, node_handlers, n, "node", CAIRN_PROVIDER_NODE };
    n->targets[1] =
        (struct cairn_rpc_target){ &cairn_iface_router, scripted_router_handlers, n, "router", CAIRN_PROVIDER_ROUTER };
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
    scripted_values_fini(&c->values);
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

void scripted_cluster_session_ttl(struct scripted_cluster *c, uint64_t ttl_ms)
{
    pthread_mutex_lock(&c->mutex);
    c->session_ttl_ms = ttl_ms;
    pthread_mutex_unlock(&c->mutex);
}

void scripted_cluster_answer_opens(struct scripted_cluster *c)
{
    cairn_task_init(&c->answer, scripted_answer_opens, c);
    cairn_list_init(&c->answer.link);
    cairn_loop_post(&c->loop, &c->answer);
}

void scripted_cluster_step_down(struct scripted_cluster *c, uint32_t node, uint32_t slot, uint32_t heir,
                                enum scripted_fault fault)
{
    atomic_store(&c->nodes[node].steps_down, (uint64_t)slot << 32 | (heir + 1));
    scripted_cluster_fault(c, node, fault, 1);
}

uint32_t scripted_cluster_slot(const void *key, size_t len)
{
    return cairn_placement_slot(key, len, SCRIPTED_SLOT_BITS);
}

uint32_t scripted_cluster_leader(struct scripted_cluster *c, uint32_t slot)
{
    return c->map.leaders[slot];
}

/* Those that hear of changes hear of all. */
static void map_changed(struct scripted_cluster *c)
{
    c->map.revision++;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!atomic_load(&c->nodes[i].m.frozen))
            c->nodes[i].map = c->map;
    }
}

void scripted_cluster_move(struct scripted_cluster *c, uint32_t slot, uint32_t node)
{
    pthread_mutex_lock(&c->mutex);
    c->map.epochs[slot]++;
    c->map.leaders[slot] = node;
    map_changed(c);
    pthread_mutex_unlock(&c->mutex);
}

void scripted_cluster_tell(struct scripted_cluster *c, uint32_t node, const char *address)
{
    pthread_mutex_lock(&c->mutex);
    c->nodes[node].told = address;
    map_changed(c);
    pthread_mutex_unlock(&c->mutex);
}

void scripted_cluster_tell_name(struct scripted_cluster *c, uint32_t node, const char *name)
{
    pthread_mutex_lock(&c->mutex);
    c->nodes[node].told_name = name;
    map_changed(c);
    pthread_mutex_unlock(&c->mutex);
}

void scripted_cluster_address(struct scripted_cluster *c, uint32_t node, uint32_t other)
{
    scripted_cluster_tell(c, node, c->nodes[other].address);
}

void scripted_cluster_hide(struct scripted_cluster *c, uint32_t node)
{
    scripted_cluster_tell(c, node, NULL);
}

void scripted_cluster_unlisten(struct scripted_cluster *c, uint32_t node)
{
    CAIRN_ASSERT(unlink(c->nodes[node].address + strlen("unix://")) == 0);
}

void scripted_cluster_host(struct scripted_cluster *c, uint32_t node, const char *host)
{
    pthread_mutex_lock(&c->mutex);
    snprintf(c->nodes[node].host, sizeof(c->nodes[node].host), "%s", host);
    pthread_mutex_unlock(&c->mutex);
}

void scripted_cluster_remake(struct scripted_cluster *c)
{
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->values.n; i++)
        scripted_value_drop(&c->values.all[i]);
    atomic_fetch_add(&c->ns_made, 1);
    pthread_mutex_unlock(&c->mutex);
}

uint32_t scripted_cluster_stores(struct scripted_cluster *c, const void *key, size_t len)
{
    struct scripted_value *v;
    uint32_t n;

    pthread_mutex_lock(&c->mutex);
    v = scripted_values_find(&c->values, key, len);
    n = v != NULL ? v->stores : 0;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

uint32_t scripted_cluster_connections(struct scripted_cluster *c, uint32_t node)
{
    return (uint32_t)atomic_load(&c->nodes[node].rpc_node.counters.connections); /* its thread's the rest */
}

void scripted_cluster_store(struct scripted_cluster *c, const void *key, size_t len, const void *value,
                            size_t value_len)
{
    pthread_mutex_lock(&c->mutex);
    scripted_values_put(&c->values, key, len, value, value_len);
    pthread_mutex_unlock(&c->mutex);
}
