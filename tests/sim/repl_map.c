/* MAP of the replicated world: the map store, which loses nothing, and who coordinates. That is one of two hosts, for a
 * term that the store keeps for it; cut off from the store, or stopped for a while, it is deposed, and may not have
 * noticed: then there are two who believe that they coordinate, and nodes that believe the one or the other. */
#include "tests/sim/repl_internal.h"

#include <string.h>

static struct rw_coord *coord_of(struct cairn_coord *c)
{
    return CONTAINER_OF(c, struct rw_coord, core);
}

static struct rw_coord *elected(struct repl_world *rw)
{
    return &rw->coords[rw->elected];
}

static bool is_deposed(const struct rw_coord *co)
{
    return co->term != co->rw->term;
}

/* Nothing gets from there to the map store, and back. */
static bool is_cut_off(const struct rw_coord *co)
{
    return world_now_ns(co->rw->world) < co->cut_until_ns;
}

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

static void co_verdict(struct cairn_coord *c, const struct cairn_change *change, enum cairn_verdict verdict,
                       const struct cairn_slot_record *rec)
{
    struct rw_coord *co = coord_of(c);

    rw_post(co->rw, co->host, (uint32_t)change->from.node, RW_VERDICT, 0,
            cairn_wire_verdict_put(change, verdict, rec, &co->rw->post), NULL, 0);
}

/* ---- the store ---- */

static void store_take(struct rw_coord *co, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct repl_world *rw = co->rw;

    rw_judge_record(rw, &co->core, slot, &rw->stored[slot], rec);
    rw->stored[slot] = *rec;
    rw->changed[slot] = ++rw->revision;
}

/* A change has come to the store: it is fenced by the election of who made it, and compares the epoch. */
static bool store_accepts(const struct rw_coord *co, uint32_t slot, const struct cairn_slot_record *rec)
{
    co->rw->fenced += is_deposed(co);
    return !is_deposed(co) && rec->epoch == co->rw->stored[slot].epoch + 1;
}

static uint32_t slot_of_store(const struct rw_store *st)
{
    return (uint32_t)(st - st->co->stores);
}

static void on_late_store(void *arg)
{
    struct rw_store *st = arg;

    if (st->late_term == st->co->term && store_accepts(st->co, slot_of_store(st), &st->late_rec))
        store_take(st->co, slot_of_store(st), &st->late_rec);
}

static void store_late(struct rw_store *st, uint64_t ns)
{
    struct cairn_env *env = env_of(st->co->rw, st->co->host);

    if (cairn_timer_is_running(&st->late))
        return;
    st->late_rec = st->rec;
    st->late_term = st->co->term;
    cairn_timer_start(env, &st->late, cairn_env_now_ns(env) + ns);
}

/* No answer comes: the change was made, or is lost, or will be made when it arrives at last. From behind a cut it is not
 * made now, and may be late by as long as that lasts. */
static void store_in_doubt(struct rw_store *st)
{
    struct rw_coord *co = st->co;
    struct repl_world *rw = co->rw;
    bool cut = is_cut_off(co);

    rw->doubts++;
    switch (dice(rw, 3)) {
    case 0:
        if (!cut)
            store_take(co, slot_of_store(st), &st->rec);
        break;
    case 1:
        store_late(st, (cut ? co->cut_until_ns - world_now_ns(rw->world) : 0) + dice(rw, 200 * MS));
        break;
    }
    cairn_coord_on_stored(&co->core, slot_of_store(st), CAIRN_E_UNKNOWN);
}

static void coord_end(struct rw_coord *co);

static void on_store_over(void *arg)
{
    struct rw_store *st = arg;
    struct rw_coord *co = st->co;
    uint32_t slot = slot_of_store(st);
    bool accepted;

    if (is_cut_off(co)) {
        store_in_doubt(st);
        return;
    }
    accepted = store_accepts(co, slot, &st->rec);
    if (is_deposed(co) && !accepted) { /* the fence has refused: its term is over */
        coord_end(co);
        return;
    }
    if (accepted && dice(co->rw, 30) == 0) {
        store_in_doubt(st);
        return;
    }
    if (accepted)
        store_take(co, slot, &st->rec);
    cairn_coord_on_stored(&co->core, slot, accepted ? 0 : CAIRN_E_STATE);
}

static void on_read(void *arg)
{
    struct rw_store *st = arg;
    struct rw_coord *co = st->co;
    bool fails = is_cut_off(co) || dice(co->rw, 5) == 0;

    cairn_coord_on_read(&co->core, slot_of_store(st), fails ? CAIRN_E_TIMEOUT : 0, &co->rw->stored[slot_of_store(st)]);
}

static void co_read(struct cairn_coord *c, uint32_t slot)
{
    struct rw_coord *co = coord_of(c);
    struct cairn_env *env = env_of(co->rw, co->host);

    cairn_timer_start(env, &co->stores[slot].read, cairn_env_now_ns(env) + MS / 2 + dice(co->rw, 10 * MS));
}

/* Its term is valid by its own clock: so nobody else's is. */
static bool co_may_act(struct cairn_coord *c)
{
    struct rw_coord *co = coord_of(c);

    return co->up && (!co->rw->conf.rivals || cairn_env_now_ns(env_of(co->rw, co->host)) < co->valid_until_ns);
}

static void co_store(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct rw_coord *co = coord_of(c);
    struct repl_world *rw = co->rw;
    struct cairn_env *env = env_of(rw, co->host);

    CAIRN_ASSERT(is_deposed(co) || rec->epoch == rw->stored[slot].epoch + 1); /* I9 */
    for (uint32_t i = 0; i < rec->ninsync && !c->slots[slot].doubtful; i++)   /* a repetition: it was so at first */
        CAIRN_ASSERT(is_deposed(co) || cairn_slot_insync(&rw->stored[slot], rec->insync[i]) >= 0 ||
                     rec->insync[i].inc == rw->stored_nodes[rec->insync[i].node].inc);
    co->stores[slot].rec = *rec;
    cairn_timer_start(env, &co->stores[slot].timer, cairn_env_now_ns(env) + MS / 2 + dice(rw, 10 * MS));
}

static const struct cairn_coord_ops coord_ops = {
    .may_act = co_may_act,
    .store = co_store,
    .read = co_read,
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

static void on_coord_tick(void *arg)
{
    struct rw_coord *co = arg;
    struct cairn_env *env = env_of(co->rw, co->host);

    cairn_timer_start(env, &co->tick, cairn_env_now_ns(env) + 100 * MS);
    if (co->up && !co_may_act(&co->core)) {
        co->rw->lapses++;
        coord_end(co);
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

/* ---- elections ---- */

/* The store keeps the term for so long, and is late now and then; nothing in it is early. */
enum { TERM_MS = 1000, KEEP_MS = 250, EXPIRES_LATE_MS = 300, STANDS_MS = 100 };

/* §6: from the sending, by who holds it, less what clocks may differ, and a timer's lateness. */
static void on_kept(void *arg)
{
    struct rw_coord *co = arg;

    co->valid_until_ns = MAX(co->valid_until_ns, co->kept_ns + TERM_MS * MS - TERM_MS * MS / 500 - 50 * MS);
}

static void on_keep(void *arg)
{
    struct rw_coord *co = arg;
    struct repl_world *rw = co->rw;
    struct cairn_env *env = env_of(rw, co->host);
    uint64_t now = cairn_env_now_ns(env);

    cairn_timer_start(env, &co->keep, now + KEEP_MS * MS);
    if (!co->up || is_cut_off(co) || is_deposed(co) || cairn_timer_is_running(&co->kept))
        return;
    co->kept_ns = now;
    rw->term_until_ns = world_now_ns(rw->world) + TERM_MS * MS + dice(rw, EXPIRES_LATE_MS * MS);
    cairn_timer_start(env, &co->kept, now + (dice(rw, 3) == 0 ? dice(rw, 400 * MS) : dice(rw, 10 * MS)));
}

/* Elected: the predecessor's term is over, in the store. It loads what is there. */
static int coord_begin(struct rw_coord *co)
{
    struct repl_world *rw = co->rw;
    int rc = cairn_coord_init(&co->core, &coord_ops, env_of(rw, co->host), &rw_lease_times, rw->conf.slots, ++rw->term);

    elected(rw)->knows = rw->revision;
    rw->two_coords += elected(rw)->up;
    rw->elected = (uint32_t)(co - rw->coords);
    rw->coord = &co->core;
    rw->term_until_ns = world_now_ns(rw->world) + TERM_MS * MS;
    co->term = rw->term;
    co->valid_until_ns = cairn_env_now_ns(env_of(rw, co->host)) + TERM_MS * MS * 3 / 4; /* the claim took its time */
    co->core.lost_wait_ns = 3000 * MS;
    co->core.lost_may_shrink = true;
    for (uint32_t i = 1; rc == 0 && i <= rw->conf.nodes; i++) {
        if (rw->stored_nodes[i].inc != 0)
            rc = cairn_coord_load_node(&co->core, &rw->stored_nodes[i]);
    }
    for (uint32_t i = 0; rc == 0 && i < rw->conf.slots; i++) {
        if (rw->stored[i].epoch != 0)
            cairn_coord_load(&co->core, i, &rw->stored[i]);
    }
    co->up = true;
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) /* some have another view of the store, for long */
        rw->nodes[i].view_ns =
            world_now_ns(rw->world) + (rw->conf.rivals ? dice(rw, dice(rw, 3) == 0 ? 6000 * MS : 50 * MS) : 0);
    return rc;
}

/* What it has under way arrives, or not. */
static void coord_end(struct rw_coord *co)
{
    struct cairn_env *env = env_of(co->rw, co->host);

    co->up = false;
    cairn_timer_stop(env, &co->kept);
    for (uint32_t i = 0; i < co->rw->conf.slots; i++) {
        struct rw_store *st = &co->stores[i];

        cairn_timer_stop(env, &st->read);
        if (!cairn_timer_is_running(&st->timer))
            continue;
        cairn_timer_stop(env, &st->timer);
        if (is_cut_off(co))
            store_late(st, co->cut_until_ns - world_now_ns(co->rw->world) + dice(co->rw, 200 * MS));
        else if (dice(co->rw, 2) == 0 && store_accepts(co, i, &st->rec)) /* it was stored, and nobody heard */
            store_take(co, i, &st->rec);
    }
    cairn_coord_fini(&co->core);
    co->core.slots = NULL;
}

/* Whoever does not coordinate would, when the store has nobody any more. */
static void on_stand(void *arg)
{
    struct rw_coord *co = arg;
    struct repl_world *rw = co->rw;
    struct cairn_env *env = env_of(rw, co->host);

    cairn_timer_start(env, &co->stand, cairn_env_now_ns(env) + STANDS_MS * MS + dice(rw, STANDS_MS * MS));
    if (!rw->conf.rivals || is_cut_off(co) || world_now_ns(rw->world) < rw->term_until_ns || elected(rw) == co)
        return;
    if (co->up) /* deposed, and has not noticed */
        coord_end(co);
    rw->elections++;
    CAIRN_ASSERT(coord_begin(co) == 0);
}

bool repl_world_coord_is_up(const struct repl_world *rw)
{
    return rw->coords[rw->elected].up;
}

void repl_world_start_coord(struct repl_world *rw)
{
    if (!repl_world_coord_is_up(rw))
        CAIRN_ASSERT(coord_begin(elected(rw)) == 0);
}

void repl_world_crash_coord(struct repl_world *rw)
{
    if (repl_world_coord_is_up(rw))
        coord_end(elected(rw));
}

void repl_world_cut_coord(struct repl_world *rw, uint64_t ms)
{
    elected(rw)->cut_until_ns = world_now_ns(rw->world) + ms * MS;
}

void repl_world_pause_coord(struct repl_world *rw, uint64_t ms)
{
    world_slow(rw->world, elected(rw)->host, dice(rw, 400 * MS));
    world_stall(rw->world, elected(rw)->host, ms * MS);
}

void repl_world_mend_map(struct repl_world *rw)
{
    for (uint32_t k = 0; k < ARRAY_SIZE(rw->coords); k++) {
        rw->coords[k].cut_until_ns = 0;
        world_slow(rw->world, rw->coords[k].host, 0);
    }
    for (uint32_t i = 1; i <= rw->conf.nodes; i++)
        rw->nodes[i].view_ns = 0;
}

uint32_t rw_map_host(struct repl_node *n)
{
    if (world_now_ns(n->rw->world) >= n->view_ns)
        n->map_host = elected(n->rw)->host;
    return n->map_host;
}

uint32_t repl_world_map_host(const struct repl_world *rw)
{
    return rw->coords[rw->elected].host;
}

void rw_map_new(struct repl_world *rw)
{
    for (uint32_t k = 0; k < ARRAY_SIZE(rw->coords); k++) {
        struct rw_coord *co = &rw->coords[k];
        struct cairn_env *env;

        co->rw = rw;
        co->host = k == 0 ? 0 : rw->conf.nodes + rw->conf.clients + 1;
        env = env_of(rw, co->host);
        for (uint32_t i = 0; i < RW_SLOTS_MAX; i++) {
            co->stores[i].co = co;
            cairn_timer_init(&co->stores[i].timer, on_store_over, &co->stores[i]);
            cairn_timer_init(&co->stores[i].read, on_read, &co->stores[i]);
            cairn_timer_init(&co->stores[i].late, on_late_store, &co->stores[i]);
        }
        cairn_timer_init(&co->tick, on_coord_tick, co);
        cairn_timer_init(&co->keep, on_keep, co);
        cairn_timer_init(&co->kept, on_kept, co);
        cairn_timer_init(&co->stand, on_stand, co);
        cairn_timer_start(env, &co->tick, cairn_env_now_ns(env) + 100 * MS);
        cairn_timer_start(env, &co->keep, cairn_env_now_ns(env) + KEEP_MS * MS);
        cairn_timer_start(env, &co->stand, cairn_env_now_ns(env) + STANDS_MS * MS);
    }
    CAIRN_ASSERT(coord_begin(&rw->coords[0]) == 0);
}

void rw_map_free(struct repl_world *rw)
{
    for (uint32_t k = 0; k < ARRAY_SIZE(rw->coords); k++) {
        if (rw->coords[k].up)
            coord_end(&rw->coords[k]);
    }
}
