/* What the core of fetches (service/fetch_core.h) asks of a node of the replicated world. A question that is lost is
 * repeated, as a session would. */
#include "tests/sim/repl_regions.h"

#include "schema/extent.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define RESEND_NS (100 * MS)
#define READ_NS   (10000 * MS)

struct rw_fetch {
    struct cluster_fetch f;
    struct repl_node *node;
    struct cairn_timer timer;
    uint64_t number, until_ns; /* of the question */
};

static struct rw_fetch *fetch_of(struct cluster_fetch *f)
{
    return CONTAINER_OF(f, struct rw_fetch, f);
}

static struct repl_node *node_of(struct cluster_fetches *s)
{
    return CONTAINER_OF(s, struct rw_regions, fetches)->node;
}

static void fetch_in(struct rw_fetch *x, uint64_t ns, void (*fn)(void *arg))
{
    struct cairn_env *env = env_of(x->node->rw, x->node->index);

    cairn_timer_stop(env, &x->timer);
    cairn_timer_init(&x->timer, fn, x);
    cairn_timer_start(env, &x->timer, cairn_env_now_ns(env) + ns);
}

static struct cluster_fetch *op_make(struct cluster_fetches *s)
{
    struct rw_fetch *x = calloc(1, sizeof(*x));

    CAIRN_ASSERT(x != NULL);
    x->node = node_of(s);
    cairn_timer_init(&x->timer, NULL, x);
    return &x->f;
}

static void op_over(struct cluster_fetch *f)
{
    struct rw_fetch *x = fetch_of(f);

    cairn_timer_stop(env_of(x->node->rw, x->node->index), &x->timer);
    free(x);
}

/* ---- here ---- */

static void look_done(void *arg)
{
    struct rw_fetch *x = arg;
    const struct rw_region *r = rw_region_find(x->node, x->f.want.region.id);
    struct fetch_found found = { .owner = RW_REGION_OWNER, .length = RW_REGION_LEN };

    if (r != NULL) {
        found.sealed = r->sealed && r->durable;
        found.damaged = r->damaged;
    }
    cluster_fetch_on_looked(&x->f, r != NULL ? 0 : CAIRN_E_NOTFOUND, &found);
}

static void op_look(struct cluster_fetch *f)
{
    fetch_in(fetch_of(f), dice(fetch_of(f)->node->rw, MS), look_done);
}

static void clear_done(void *arg)
{
    struct rw_fetch *x = arg;

    rw_region_remove(x->node, x->f.want.region.id);
    x->node->rw->refetched++;
    cluster_fetch_on_cleared(&x->f, 0);
}

static void op_clear(struct cluster_fetch *f)
{
    fetch_in(fetch_of(f), dice(fetch_of(f)->node->rw, 5 * MS), clear_done);
}

static void put_done(void *arg, struct rw_region *r)
{
    struct rw_fetch *x = arg;

    (void)r;
    x->node->rw->fetched++;
    cluster_fetch_on_put(&x->f, 0);
}

static int op_put(struct cluster_fetch *f)
{
    rw_region_store(fetch_of(f)->node, f->want.region.id, put_done, fetch_of(f));
    return 0;
}

/* ---- at its source ---- */

static void read_send(void *arg)
{
    struct rw_fetch *x = arg;
    struct repl_node *n = x->node;
    struct cairn_env *env = env_of(n->rw, n->index);
    Cairn__Wire__ClusterRegion m = CAIRN__WIRE__CLUSTER_REGION__INIT;

    if (cairn_env_now_ns(env) >= x->until_ns) {
        cluster_fetch_on_read(&x->f, CAIRN_E_TIMEOUT);
        return;
    }
    m.id = x->f.want.region.id;
    m.length = x->f.want.region.len;
    m.slot = x->f.want.slot;
    m.copy = x->f.want.copy;
    if (cluster_fetch_asks_leader(&x->f)) {
        m.epoch = x->f.want.epoch;
        m.inc = x->f.want.inc;
    }
    rw_post(n->rw, n->index, (uint32_t)x->f.source, RW_REGION_READ, x->number, &m, NULL, 0);
    fetch_in(x, RESEND_NS, read_send);
}

static int op_read(struct cluster_fetch *f)
{
    struct rw_fetch *x = fetch_of(f);
    struct repl_node *n = x->node;

    x->number = n->process << 32 | ++n->regions->nreads;
    x->until_ns = cairn_env_now_ns(env_of(n->rw, n->index)) + READ_NS;
    x->node->rw->elsewhere += f->nasked > 1;
    fetch_in(x, 0, read_send);
    return 0;
}

static void read_canceled(void *arg)
{
    struct rw_fetch *x = arg;

    cluster_fetch_on_read(&x->f, CAIRN_E_UNREACHABLE);
}

static void op_give_back(struct cluster_fetch *f)
{
    fetch_of(f)->number = 0;
}

static void op_cancel(struct cluster_fetch *f)
{
    if (f->sm.state == FETCH_READ)
        fetch_in(fetch_of(f), 0, read_canceled);
}

/* A region leaves a node as a whole, or not at all; a copy's waits for its turn. */
void rw_fetch_asked(struct repl_node *n, const struct rw_letter *l)
{
    const Cairn__Wire__ClusterRegion *m = (const void *)l->message;
    const struct rw_region *r = rw_region_find(n, m->id);
    Cairn__Wire__ExtentReadReply reply = CAIRN__WIRE__EXTENT_READ_REPLY__INIT;
    int32_t rc = 0;
    struct iovec payload = { &rc, sizeof(rc) };

    reply.length = RW_REGION_LEN;
    if (m->copy && dice(n->rw, 10) == 0)
        rc = CAIRN_E_BUSY;
    else if (r == NULL || !r->sealed)
        rc = cairn_replica_leads(&n->slots[m->slot].replica, m->epoch, m->inc) ? CAIRN_E_NOTFOUND : CAIRN_E_STATE;
    else if (r->damaged)
        rc = CAIRN_E_CORRUPT;
    rw_post(n->rw, n->index, l->from, RW_REGION, l->id, &reply, &payload, 1);
}

void rw_fetch_answered(struct repl_node *n, const struct rw_letter *l)
{
    int32_t rc;

    CAIRN_ASSERT(l->payload_len == sizeof(rc));
    memcpy(&rc, l->payload, sizeof(rc));
    CAIRN_LIST_FOREACH (at, &n->regions->fetches.reads) {
        struct rw_fetch *x = fetch_of(CONTAINER_OF(at, struct cluster_fetch, link));

        if (x->number != l->id)
            continue;
        cairn_timer_stop(env_of(n->rw, n->index), &x->timer);
        n->rw->gone += rc == CAIRN_E_NOTFOUND;
        cluster_fetch_on_read(&x->f, rc);
        return;
    }
}

/* ---- what the node knows ---- */

static enum fetch_peer op_peer(struct cluster_fetches *s, uint64_t node)
{
    const struct repl_node *n = node_of(s);
    struct repl_world *rw = n->rw;
    uint32_t to = (uint32_t)node;

    return rw->nodes[to].registered && !world_is_cut(rw->world, n->index, to) && !world_is_cut(rw->world, to, n->index)
               ? FETCH_PEER_UP
               : FETCH_PEER_DOWN;
}

static void op_connect(struct cluster_fetches *s, uint64_t node)
{
    (void)s;
    (void)node;
}

static bool op_record(struct cluster_fetches *s, uint32_t slot, struct cairn_slot_record *rec)
{
    *rec = node_of(s)->slots[slot].replica.rec;
    return rec->epoch != 0;
}

static bool op_has_entry(struct cluster_fetches *s, uint32_t slot, struct cairn_at at)
{
    return cairn_slot_log_has(&node_of(s)->slots[slot].replica.log, at);
}

static void op_entry_names(const struct cairn_log_entry *e, fetch_named_fn *fn, void *arg)
{
    uint64_t id = rw_entry_region(e);

    if (id != 0)
        fn(arg, RW_REGION_OWNER, (struct cairn_record_region){ .id = id, .len = RW_REGION_LEN });
}

static void op_page_names(const uint8_t *bytes, uint32_t len, fetch_named_fn *fn, void *arg)
{
    struct rw_page page;

    CAIRN_ASSERT(len == sizeof(page));
    memcpy(&page, bytes, sizeof(page));
    for (uint32_t i = 0; i < page.n; i++) {
        if (page.records[i].region != 0)
            fn(arg, RW_REGION_OWNER,
               (struct cairn_record_region){ .id = page.records[i].region, .len = RW_REGION_LEN });
    }
}

static bool op_ticked(struct cluster_fetches *s)
{
    (void)s;
    return false;
}

static const struct cluster_fetch_ops fetch_ops = {
    .make = op_make,
    .over = op_over,
    .look = op_look,
    .clear = op_clear,
    .read = op_read,
    .put = op_put,
    .give_back = op_give_back,
    .cancel = op_cancel,
    .peer = op_peer,
    .connect = op_connect,
    .record = op_record,
    .has_entry = op_has_entry,
    .entry_names = op_entry_names,
    .page_names = op_page_names,
    .ticked = op_ticked,
};

void rw_fetches_begin(struct repl_node *n)
{
    cluster_fetches_init(&n->regions->fetches, &fetch_ops, env_of(n->rw, n->index), n->machines, &n->regions->table,
                         n->index);
}

static void answer_anything(struct cluster_fetch *f)
{
    if (f->sm.state == FETCH_LOOK)
        cluster_fetch_on_looked(f, CAIRN_E_SHUTDOWN, NULL);
    else if (f->sm.state == FETCH_CLEAR)
        cluster_fetch_on_cleared(f, CAIRN_E_SHUTDOWN);
    else if (f->sm.state == FETCH_READ)
        cluster_fetch_on_read(f, CAIRN_E_SHUTDOWN);
    else
        cluster_fetch_on_put(f, CAIRN_E_SHUTDOWN);
}

void rw_fetches_end(struct repl_node *n)
{
    struct cluster_fetches *s = &n->regions->fetches;

    cluster_fetches_stop(s);
    while (s->n > 0) /* nothing else answers any more */
        answer_anything(
            CONTAINER_OF(cairn_list_is_empty(&s->reads) ? s->all.next : s->reads.next, struct cluster_fetch, link));
}
