/** The cluster of a world whose namespace is spread over nodes: the test says who leads. */
#ifndef CAIRN_TEST_ROUTER_WORLD_CLUSTER_H
#define CAIRN_TEST_ROUTER_WORLD_CLUSTER_H

#include "world.h"

enum { SLOT = 5, NUMBER = 9, FIRST_SLOT = 1024 };

/* A cluster of one slot, which is led since @lead (0: from elsewhere). */
struct cairn_cluster {
    uint64_t lead;
    uint32_t puts, asks, spreads;
    int ask_rc;
    bool in_sync; /* though it is led from elsewhere */
};
static struct cairn_cluster cluster;
static bool spreads_slowly;

uint32_t cairn_cluster_slots(const struct cairn_cluster *c)
{
    (void)c;
    return FIRST_SLOT;
}

bool cairn_cluster_slot(const struct cairn_cluster *c, uint32_t replicas, const void *key, size_t len, uint32_t *slot)
{
    (void)c;
    (void)replicas;
    (void)key;
    (void)len;
    *slot = SLOT;
    return true;
}

int cairn_cluster_read_begin(const struct cairn_cluster *c, uint32_t slot, uint64_t *token)
{
    assert_int_equal(slot, SLOT);
    *token = c->lead;
    return c->lead != 0 ? 0 : CAIRN_E_MOVED;
}

int cairn_cluster_read_end(const struct cairn_cluster *c, uint32_t slot, uint64_t token)
{
    (void)slot;
    return c->lead == token ? 0 : CAIRN_E_BUSY;
}

/* The caller is on worker @worker's loop, and so are we: its task comes later. */
static struct cairn_task task;
static struct cairn_cluster_spread *spreading; /* one that takes its time */
static struct world *world;

static void run_write(void *arg)
{
    struct cairn_cluster_write *w = arg;
    int rc = 0;

    if (w->op == CAIRN_CLUSTER_OPEN_SESSION) {
        w->session_epoch = w->session_pos = 3;
        w->session_ttl_ns = 45 * CAIRN_NS_PER_S;
    } else if (w->op == CAIRN_CLUSTER_ASK) {
        cluster.asks++;
        rc = cluster.ask_rc;
    } else if (cluster.lead == 0 || (w->lead != 0 && w->lead != cluster.lead)) {
        rc = CAIRN_E_MOVED;
    } else {
        cluster.puts++;
    }
    w->done(w, rc);
}

void cairn_cluster_write(struct cairn_cluster_write *w)
{
    assert_int_equal(w->slot, w->op == CAIRN_CLUSTER_OPEN_SESSION ? FIRST_SLOT : SLOT);
    assert_int_equal(w->number, w->op == CAIRN_CLUSTER_OPEN_SESSION ? 0 : NUMBER);
    cairn_task_init(&task, run_write, w);
    cairn_env_defer(&world->loops[w->worker].env, &task);
}

int cairn_cluster_region_note(struct cairn_cluster *c, uint64_t id)
{
    (void)c;
    return id != 0 ? 0 : CAIRN_E_INVAL;
}

void cairn_cluster_region_named(struct cairn_cluster *c, uint64_t id)
{
    (void)c;
    (void)id;
}

static void run_spread(void *arg)
{
    struct cairn_cluster_spread *s = arg;

    s->done(s, 0);
}

void cairn_cluster_spread(struct cairn_cluster_spread *s)
{
    cluster.spreads++;
    if (spreads_slowly) {
        spreading = s;
        return;
    }
    cairn_task_init(&task, run_spread, s);
    cairn_env_defer(&world->loops[s->worker].env, &task);
}

/* What else the router might ask, and does not here. */

void cairn_cluster_why_busy(const struct cairn_cluster *c, struct cairn_err *err)
{
    (void)c;
    (void)err;
}

bool cairn_cluster_is_in_sync(const struct cairn_cluster *c, uint32_t slot)
{
    (void)slot;
    return c->lead != 0 || c->in_sync;
}

int cairn_cluster_led(const struct cairn_cluster *c, uint32_t first, uint32_t n, struct cairn_cluster_led *led)
{
    (void)c;
    (void)first;
    (void)n;
    *led = (struct cairn_cluster_led){ 0 };
    return CAIRN_E_BUSY;
}

void cairn_cluster_explain(struct cairn_cluster *c, uint32_t slot, json_t *to)
{
    (void)c;
    (void)slot;
    (void)to;
}

void cairn_cluster_named(struct cairn_cluster_named *x)
{
    x->done(x->arg, CAIRN_E_BUSY);
}

void cairn_cluster_sweep_begin(struct cairn_cluster *c)
{
    (void)c;
}

uint32_t cairn_cluster_doom(struct cairn_cluster *c, uint64_t *ids, uint32_t n)
{
    (void)c;
    (void)ids;
    return n;
}

void cairn_cluster_spare(struct cairn_cluster *c)
{
    (void)c;
}

/* The namespace "n" of @w becomes one that is spread over its nodes. */
static inline void cluster_begin(struct world *w)
{
    cluster = (struct cairn_cluster){ .lead = 100, .ask_rc = CAIRN_E_NOTFOUND };
    world = w;
    spreads_slowly = false;
    spreading = NULL;
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct router_ns *ns = router_ns_find(&((struct cairn_router *)w->router)->workers[i], "n");

        ns->clustered = true;
        ns->replicas = 2;
    }
    ((struct cairn_router *)w->router)->conf.cluster = &cluster;
}

#endif
