/* MAP of the replicated world: what a coordinator does for the nodes, with the cluster's own core. Its store is
 * repl_store.c; who coordinates, repl_election.c. */
#include "tests/sim/repl_internal.h"

#include <string.h>

/* Records that changed after @since, the oldest change first; only some of them, so that pages follow one another. Who
 * is deposed knows no more than there was. */
static void map_page(const struct rw_coord *co, uint64_t since, struct cairn_wire_slot slots[RW_SLOTS_MAX],
                     struct cairn_wire_page *page)
{
    struct repl_world *rw = co->rw;
    uint64_t known = is_deposed(co) ? co->knows : rw->revision;
    uint32_t most = 1 + (uint32_t)dice(rw, RW_SLOTS_MAX);

    *page = (struct cairn_wire_page){ .revision = since, .slots = slots };
    for (;;) {
        uint32_t next = RW_SLOTS_MAX;

        for (uint32_t i = 0; i < rw->conf.slots; i++) {
            if (rw->changed[i] > page->revision && rw->changed[i] <= known &&
                (next == RW_SLOTS_MAX || rw->changed[i] < rw->changed[next]))
                next = i;
        }
        page->more = next != RW_SLOTS_MAX;
        if (!page->more || page->nslots == most)
            break;
        slots[page->nslots++] = (struct cairn_wire_slot){ next, rw->stored[next] };
        page->revision = rw->changed[next];
    }
}

static void map_publish(struct rw_coord *co, uint32_t to, uint32_t slot)
{
    struct repl_world *rw = co->rw;
    const struct cairn_wire_slot update = { slot, co->core.slots[slot].rec };
    const struct cairn_wire_page page = { .slots = &update, .nslots = 1 };

    if (update.rec.epoch != 0)
        rw_post(rw, co->host, to, RW_PUBLISH, 0, cairn_wire_page_put(&page, &rw->post), NULL, 0);
}

static void co_publish(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct rw_coord *co = coord_of(c);

    (void)rec;
    for (uint32_t i = 1; i <= co->rw->conf.nodes; i++)
        map_publish(co, i, slot);
}

/* It may come without its record: that is published, too. */
static void co_verdict(struct cairn_coord *c, const struct cairn_change *change, enum cairn_verdict verdict,
                       const struct cairn_slot_record *rec)
{
    struct rw_coord *co = coord_of(c);
    static const struct cairn_slot_record none;

    rw_post(co->rw, co->host, (uint32_t)change->from.node, RW_VERDICT, 0,
            cairn_wire_verdict_put(change, verdict, dice(co->rw, 4) == 0 ? &none : rec, &co->rw->post), NULL, 0);
}

/* Its term is valid by its own clock: so nobody else's is. */
static bool co_may_act(struct cairn_coord *c)
{
    struct rw_coord *co = coord_of(c);

    return co->up && (!co->rw->conf.rivals || cairn_env_now_ns(env_of(co->rw, co->host)) < co->valid_until_ns);
}

const struct cairn_coord_ops rw_coord_ops = {
    .may_act = co_may_act,
    .store = rw_store_write,
    .read = rw_store_read,
    .publish = co_publish,
    .verdict = co_verdict,
};

/* Any node that does not hold it and stays; 0: none. */
static uint64_t place(struct repl_world *rw, uint32_t slot, uint64_t from)
{
    for (uint32_t i = 0; i < rw->conf.nodes; i++) {
        uint64_t node = 1 + (from + i) % rw->conf.nodes;
        const struct cairn_coord_node *n = cairn_coord_node(rw->coord, node);

        if (n != NULL && !n->p.draining && !cairn_slot_places(&rw->stored[slot], node) &&
            !cairn_slot_names(&rw->stored[slot], node))
            return node;
    }
    return 0;
}

/* The planner's part, for a handful of slots: what drained nodes hold moves away, two slots at a time. */
static void drain_some(struct repl_world *rw)
{
    for (uint32_t slot = 0; slot < rw->conf.slots; slot++) {
        const struct cairn_slot_record *rec = &rw->coord->slots[slot].rec;

        for (uint32_t i = 0; i < rec->nreplicas && rec->state == CAIRN_SLOT_ACTIVE && rw->coord->moving < 2; i++) {
            const struct cairn_coord_node *n = cairn_coord_node(rw->coord, rec->replicas[i]);
            uint64_t to = n != NULL && n->p.draining ? place(rw, slot, rec->replicas[i]) : 0;

            if (to != 0 && cairn_coord_is_alive(rw->coord, rec->primary) &&
                cairn_coord_move(rw->coord, slot, rec->replicas[i], to, false) == 0)
                break;
        }
    }
}

/* What groups say of nodes, true or not: to MAP, and to whoever holds a slot with them. A dice of its own, so that the
 * other walks are what they would be without. */
static void spread_rumours(struct rw_coord *co)
{
    struct repl_world *rw = co->rw;
    uint64_t x = rw->rumour += UINT64_C(0x9e3779b97f4a7c15);
    uint32_t of, slot;

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    of = 1 + (uint32_t)(x >> 32) % rw->conf.nodes;
    slot = (uint32_t)(x >> 16) % rw->conf.slots;
    if (x % 5 < 2) {
        const struct cairn_coord_node *n = cairn_coord_node(&co->core, of);

        if (n != NULL)
            cairn_coord_found(&co->core, (struct cairn_who){ of, n->p.inc }, x % 5 == 0);
    }
    for (uint32_t i = 1; x % 5 >= 3 && i <= rw->conf.nodes; i++) {
        if (rw->nodes[i].up && rw->nodes[i].registered)
            cairn_replica_doubt(&rw->nodes[i].slots[slot].replica, of);
    }
}

void rw_coord_on_tick(void *arg)
{
    struct rw_coord *co = arg;
    struct cairn_env *env = env_of(co->rw, co->host);

    cairn_timer_start(env, &co->tick, cairn_env_now_ns(env) + 100 * MS);
    if (co->up && !co_may_act(&co->core)) {
        co->rw->lapses++;
        rw_coord_end(co);
    }
    if (!co->up)
        return;
    if (co->rw->conf.rumours)
        spread_rumours(co);
    cairn_coord_tick(&co->core);
    if (!is_deposed(co))
        drain_some(co->rw);
}

/* ---- what nodes ask ---- */

/* A word of a former self of the node, late: it could leave the lost disk as the only member's, and that is a loss. */
static bool is_of_a_lost_disk(struct repl_world *rw, uint32_t from, struct cairn_who who)
{
    return who.inc < rw->nodes[from].wiped_before_inc;
}

static void on_register(struct rw_coord *co, struct rw_letter *l)
{
    struct repl_world *rw = co->rw;
    struct cairn_coord_told told;
    struct cairn_coord_process p;
    struct cairn_err err;

    rw_must(cairn_wire_register_get((const void *)l->message, &l->arena, &p, &told, &err), &err);
    if (!co_may_act(&co->core) || cairn_coord_register(&co->core, &p, &told) != 0)
        return;
    if (is_cut_off(co) || is_deposed(co)) /* it is not in the store, so nobody is told; it asks again */
        return;
    rw->stored_nodes[l->from] = p;
    rw_post(rw, co->host, l->from, RW_REGISTERED, 0, cairn_wire_registered_put(&p, &rw->post), NULL, 0);
    for (uint32_t i = 0; i < rw->conf.slots; i++)
        map_publish(co, l->from, i);
}

static void on_beat(struct rw_coord *co, struct rw_letter *l)
{
    struct repl_world *rw = co->rw;
    struct cairn_wire_slot slots[RW_SLOTS_MAX];
    struct cairn_wire_heartbeat beat;
    struct cairn_wire_grant g;
    struct cairn_err err;

    rw_must(cairn_wire_heartbeat_get((const void *)l->message, &beat, &err), &err);
    if (is_of_a_lost_disk(rw, l->from, beat.who))
        return;
    g = (struct cairn_wire_grant){ .who = beat.who,
                                   .number = beat.number,
                                   .term = co->core.term,
                                   .wants_register = cairn_coord_wants_register(&co->core, l->from),
                                   .granted = cairn_coord_heartbeat(&co->core, beat.who, beat.term) };
    map_page(co, beat.revision, slots, &g.page); /* M1: the grant brings the map up to date */
    g.upto = g.page.revision;
    if (g.granted)
        rw_judge_grant(co, beat.who);
    rw_post(rw, co->host, l->from, RW_GRANT, 0, cairn_wire_grant_put(&g, &rw->post), NULL, 0);
}

static void on_propose(struct rw_coord *co, struct rw_letter *l)
{
    struct repl_world *rw = co->rw;
    struct cairn_change c;
    struct cairn_err err;

    rw_must(cairn_wire_change_get((const void *)l->message, &c, &err), &err);
    if (!is_of_a_lost_disk(rw, l->from, c.from))
        cairn_coord_propose(&co->core, &c);
}

static void on_fetch(struct rw_coord *co, struct rw_letter *l)
{
    struct repl_world *rw = co->rw;
    const Cairn__Wire__ClusterFetch *fetch = (const void *)l->message;
    struct cairn_wire_slot slots[RW_SLOTS_MAX];
    struct cairn_wire_page page;

    map_page(co, fetch->since, slots, &page);
    rw_post(rw, co->host, l->from, RW_RECORDS, l->id, cairn_wire_page_put(&page, &rw->post), NULL, 0);
}

void rw_map_receive(struct repl_world *rw, uint32_t host, struct rw_letter *l)
{
    struct rw_coord *co = &rw->coords[host == 0 ? 0 : 1];

    if (!co->up)
        return;
    switch (l->kind) {
    case RW_REGISTER:
        on_register(co, l);
        break;
    case RW_BEAT:
        on_beat(co, l);
        break;
    case RW_PROPOSE:
        on_propose(co, l);
        break;
    case RW_FETCH:
        on_fetch(co, l);
        break;
    default:
        break;
    }
}
