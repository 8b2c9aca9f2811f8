/* Regions of large values at the node that leads: they are given to the others before an entry names them (fetch.c
 * takes them), and the sweeper is told which ones logs and pins name. */
#include "server/cluster/service/fetch.h"

#include <stdlib.h>

/* ---- to the members ---- */

struct spreading {
    struct cairn_cluster_spread *s;
    Cairn__Wire__ClusterRegions msg;
    uint64_t *ids;
    uint32_t *lengths;
    uint32_t left;
    int rc;
    struct cairn_task task;
    struct cairn_rpc_call calls[CAIRN_REPLICAS_MAX];
};

static void spread_over(void *arg)
{
    struct spreading *x = arg;
    struct cairn_cluster_spread *s = x->s;
    int rc = x->rc;

    free(x->ids);
    free(x->lengths);
    free(x);
    s->done(s, rc);
}

static void on_told(struct cairn_rpc_call *call)
{
    struct spreading *x = call->arg;

    if (--x->left == 0) /* whatever they said: without the region a member acknowledges nothing that names it */
        spread_over(x);
}

static bool message_make(struct spreading *x)
{
    const struct cairn_cluster_spread *s = x->s;

    x->ids = malloc(s->nregions * sizeof(*x->ids));
    x->lengths = malloc(s->nregions * sizeof(*x->lengths));
    if (x->ids == NULL || x->lengths == NULL)
        return false;
    for (uint32_t i = 0; i < s->nregions; i++) {
        x->ids[i] = s->regions[i].id;
        x->lengths[i] = s->regions[i].len;
    }
    cairn__wire__cluster_regions__init(&x->msg);
    x->msg.slot = s->slot;
    x->msg.node = s->cluster->node;
    x->msg.owner = s->owner;
    x->msg.ids = x->ids;
    x->msg.lengths = x->lengths;
    x->msg.n_ids = x->msg.n_lengths = s->nregions;
    return true;
}

static void tell(struct spreading *x, uint64_t node)
{
    struct cairn_cluster *c = x->s->cluster;
    struct cairn_rpc_call *call = &x->calls[x->left];

    if (node == c->node || !cairn_cluster__peer(c, x->s->worker, node, &call->dest))
        return;
    call->iface = &cairn_iface_cluster;
    call->provider = CAIRN_PROVIDER_CLUSTER;
    call->method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGIONS;
    call->msg = &x->msg.base;
    call->timeout_ns = x->s->timeout_ns;
    call->done = on_told;
    call->arg = x;
    x->left++;
    cairn_rpc_call_start(call);
}

void cairn_cluster_spread(struct cairn_cluster_spread *s)
{
    struct cairn_cluster *c = s->cluster;
    struct spreading *x = calloc(1, sizeof(*x));
    struct cairn_slot_record rec;

    CAIRN_ASSERT(s->timeout_ns > 0 && s->nregions > 0);
    if (x == NULL) { /* without memory not even a task; the caller is on its own loop */
        s->done(s, CAIRN_E_NOMEM);
        return;
    }
    x->s = s;
    cairn_task_init(&x->task, spread_over, x);
    if (!cairn_cluster_records_slot(c->records, s->slot, &rec) || rec.primary.node != c->node)
        x->rc = CAIRN_E_MOVED;
    else if (!message_make(x))
        x->rc = CAIRN_E_NOMEM;
    for (uint32_t i = 0; x->rc == 0 && i < rec.ninsync; i++)
        tell(x, rec.insync[i].node);
    if (x->left == 0)
        cairn_env_defer(&c->side->workers[s->worker].loop->env, &x->task);
}

int cairn_cluster_region_note(struct cairn_cluster *c, uint64_t id)
{
    return cluster_regions_note(&c->side->regions, id, cairn_env_now_ns(&c->home->env));
}

void cairn_cluster_region_named(struct cairn_cluster *c, uint64_t id)
{
    cluster_regions_named(&c->side->regions, id);
}

/* ---- for the sweeper ---- */

void cairn_cluster_sweep_begin(struct cairn_cluster *c)
{
    cluster_regions_sweep_begin(&c->side->regions, cairn_env_now_ns(&c->home->env));
}

uint32_t cairn_cluster_doom(struct cairn_cluster *c, uint64_t *ids, uint32_t n)
{
    return cluster_regions_doom(&c->side->regions, ids, n);
}

void cairn_cluster_spare(struct cairn_cluster *c)
{
    cluster_regions_spare(&c->side->regions);
}

static void name_region(void *arg, uint64_t owner, struct cairn_record_region region)
{
    struct cairn_cluster_named *x = arg;

    (void)owner;
    x->fn(x->arg, region.id);
}

static void name_entry(void *arg, const struct cairn_log_entry *e)
{
    side_entry_names(e, name_region, arg);
}

static void name_on(struct side_worker *w, void *arg)
{
    struct cairn_cluster_named *x = arg;
    int rc = w->slots != NULL ? 0 : CAIRN_E_STATE;

    pthread_mutex_lock(&x->mutex);
    if (rc == 0)
        rc = cluster_slots_each_entry(w->slots, name_entry, x);
    if (x->rc == 0)
        x->rc = rc;
    pthread_mutex_unlock(&x->mutex);
}

static void name_over(void *arg)
{
    struct cairn_cluster_named *x = arg;

    pthread_mutex_destroy(&x->mutex);
    x->done(x->arg, x->rc);
}

void cairn_cluster_named(struct cairn_cluster_named *x)
{
    struct cairn_cluster *c = x->cluster;

    x->rc = atomic_load(&c->side->failed) ? CAIRN_E_STATE : 0;
    pthread_mutex_init(&x->mutex, NULL);
    if (side_each(c, name_on, name_over, x) != 0) {
        pthread_mutex_destroy(&x->mutex);
        x->done(x->arg, CAIRN_E_NOMEM);
    }
}
