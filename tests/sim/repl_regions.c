/* Regions of large values on a node of the replicated world: its disk of them, and how a value that is put there gets
 * its region. The table of pins is the node's own (service/regions.h). */
#include "tests/sim/repl_regions.h"

#include <stdlib.h>
#include <string.h>

/* ---- the disk ---- */

static struct rw_region **place_of(const struct repl_node *n, uint64_t id)
{
    struct rw_region **at = &n->regions->buckets[id % RW_REGION_BUCKETS];

    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

struct rw_region *rw_region_find(const struct repl_node *n, uint64_t id)
{
    return *place_of(n, id);
}

bool rw_region_is_good(const struct repl_node *n, uint64_t id)
{
    const struct rw_region *r = rw_region_find(n, id);

    return r != NULL && r->durable && !r->damaged;
}

static void on_synced(void *arg)
{
    struct rw_region *r = arg;

    r->durable = true;
    r->stored(r->arg, r);
}

static void on_region_written(void *arg)
{
    struct rw_region *r = arg;
    struct repl_world *rw = r->node->rw;
    struct cairn_env *env = env_of(rw, r->node->index);

    r->sealed = true;
    cairn_timer_init(&r->timer, on_synced, r);
    cairn_timer_start(env, &r->timer, cairn_env_now_ns(env) + MS / 2 + dice(rw, rw->conf.disk_ns + 1));
}

void rw_region_store(struct repl_node *n, uint64_t id, void (*stored)(void *arg, struct rw_region *r), void *arg)
{
    struct cairn_env *env = env_of(n->rw, n->index);
    struct rw_region **at = place_of(n, id), *r = calloc(1, sizeof(*r));

    CAIRN_ASSERT(r != NULL && *at == NULL);
    *r = (struct rw_region){ .node = n, .id = id, .stored = stored, .arg = arg };
    *at = r;
    cairn_timer_init(&r->timer, on_region_written, r);
    cairn_timer_start(env, &r->timer, cairn_env_now_ns(env) + MS / 10 + dice(n->rw, 2 * MS));
}

static void region_drop(struct rw_region **at)
{
    struct rw_region *r = *at;

    *at = r->next;
    free(r);
}

void rw_region_remove(struct repl_node *n, uint64_t id)
{
    struct rw_region **at = place_of(n, id);

    CAIRN_ASSERT(*at != NULL && !cairn_timer_is_running(&(*at)->timer));
    region_drop(at);
}

/* What was not synced is gone, or there in part, or whole. */
static void region_crash(struct rw_region **at)
{
    struct rw_region *r = *at;
    struct repl_world *rw = r->node->rw;

    if (cairn_timer_is_running(&r->timer))
        cairn_timer_stop(env_of(rw, r->node->index), &r->timer);
    if (r->durable)
        return;
    if (dice(rw, 3) == 0) {
        region_drop(at);
        return;
    }
    r->damaged = !r->sealed || dice(rw, 2) == 0;
    r->sealed = r->durable = true;
    rw->torn += r->damaged;
}

/* @fn may take the region out of its place, and free it. */
static void regions_each(struct repl_node *n, void (*fn)(struct rw_region **at))
{
    for (uint32_t i = 0; i < RW_REGION_BUCKETS; i++) {
        struct rw_region **at = &n->regions->buckets[i];

        while (*at != NULL) {
            struct rw_region *next = (*at)->next;

            fn(at);
            if (*at != next)
                at = &(*at)->next;
        }
    }
}

void rw_regions_wipe(struct repl_node *n)
{
    if (n->regions != NULL)
        regions_each(n, region_drop);
}

/* ---- a value that is put here ---- */

static void upload_over(struct rw_upload *u, int rc)
{
    void (*done)(void *arg, int rc, uint64_t id) = u->done;
    void *arg = u->arg;
    uint64_t id = u->id;

    cairn_list_del(&u->link);
    free(u);
    done(arg, rc, id);
}

static void on_upload_told(void *arg)
{
    upload_over(arg, 0);
}

/* Whom the map names; without an answer it goes on as well: nothing depends on it. */
static void upload_tell(struct rw_upload *u)
{
    struct repl_node *n = u->node;
    const struct cairn_slot_record *rec = &n->slots[u->slot].replica.rec;
    uint32_t len = RW_REGION_LEN;

    for (uint32_t i = 0; i < rec->ninsync; i++) {
        Cairn__Wire__ClusterRegions m = CAIRN__WIRE__CLUSTER_REGIONS__INIT;

        if (rec->insync[i].node == n->index)
            continue;
        m.slot = u->slot;
        m.node = n->index;
        m.owner = RW_REGION_OWNER;
        m.ids = &u->id;
        m.lengths = &len;
        m.n_ids = m.n_lengths = 1;
        rw_post(n->rw, n->index, (uint32_t)rec->insync[i].node, RW_REGIONS, 0, &m, NULL, 0);
    }
}

static void on_upload_stored(void *arg, struct rw_region *r)
{
    struct rw_upload *u = arg;
    struct repl_node *n = u->node;
    struct cairn_env *env = env_of(n->rw, n->index);
    int rc = cluster_regions_note(&n->regions->table, r->id, cairn_env_now_ns(env));

    if (rc != 0) {
        upload_over(u, rc);
        return;
    }
    upload_tell(u);
    cairn_timer_start(env, &u->timer, cairn_env_now_ns(env) + dice(n->rw, 10 * MS));
}

void rw_region_upload(struct repl_node *n, uint32_t slot, void (*done)(void *arg, int rc, uint64_t id), void *arg)
{
    struct rw_upload *u = calloc(1, sizeof(*u));

    CAIRN_ASSERT(u != NULL && n->regions != NULL);
    *u = (struct rw_upload){ .node = n, .slot = slot, .id = ++n->rw->regions, .done = done, .arg = arg };
    cairn_timer_init(&u->timer, on_upload_told, u);
    cairn_list_add_tail(&n->regions->uploads, &u->link);
    rw_region_store(n, u->id, on_upload_stored, u);
}

void rw_region_named(struct repl_node *n, uint64_t id)
{
    cluster_regions_named(&n->regions->table, id);
}

/* ---- messages ---- */

uint64_t rw_entry_region(const struct cairn_log_entry *e)
{
    uint64_t body[3] = { 0 };

    if (e->kind == CAIRN_ENTRY_WRITE)
        memcpy(body, e->body, MIN(sizeof(body), (size_t)e->body_len));
    return body[2];
}

bool rw_regions_admit(struct repl_node *n, struct cairn_repl_msg *m)
{
    return n->regions == NULL || cluster_fetch_admit(&n->regions->fetches, m);
}

void rw_regions_taken(struct repl_node *n, const struct cairn_repl_msg *m)
{
    if (n->regions != NULL)
        cluster_fetch_taken(&n->regions->fetches, m);
}

static void on_regions(struct repl_node *n, const Cairn__Wire__ClusterRegions *m)
{
    struct fetch_want want = { .slot = m->slot, .node = m->node, .owner = m->owner };

    for (size_t i = 0; i < m->n_ids; i++) {
        want.region = (struct cairn_record_region){ .id = m->ids[i], .len = m->lengths[i] };
        (void)cluster_fetch_is_here(&n->regions->fetches, &want);
    }
}

void rw_regions_receive(struct repl_node *n, struct rw_letter *l)
{
    if (l->kind == RW_REGIONS)
        on_regions(n, (const void *)l->message);
    else if (l->kind == RW_REGION_READ)
        rw_fetch_asked(n, l);
    else
        rw_fetch_answered(n, l);
}

/* ---- life ---- */

void rw_regions_new(struct repl_node *n)
{
    if (n->rw->conf.large_percent == 0)
        return;
    n->regions = calloc(1, sizeof(*n->regions));
    CAIRN_ASSERT(n->regions != NULL);
    n->regions->node = n;
}

void rw_regions_free(struct repl_node *n)
{
    rw_regions_wipe(n);
    free(n->regions);
    n->regions = NULL;
}

void rw_regions_begin(struct repl_node *n)
{
    if (n->regions == NULL)
        return;
    cluster_regions_init(&n->regions->table);
    cairn_list_init(&n->regions->uploads);
    rw_fetches_begin(n);
    rw_sweep_begin(n);
}

void rw_regions_end(struct repl_node *n)
{
    struct rw_regions *x = n->regions;

    if (x == NULL)
        return;
    if (n->registered) {
        rw_sweep_end(n);
        while (!cairn_list_is_empty(&x->uploads)) {
            struct rw_upload *u = CONTAINER_OF(x->uploads.next, struct rw_upload, link);

            cairn_timer_stop(env_of(n->rw, n->index), &u->timer);
            upload_over(u, CAIRN_E_SHUTDOWN);
        }
        rw_fetches_end(n);
        cluster_regions_fini(&x->table);
    }
    regions_each(n, region_crash);
}
